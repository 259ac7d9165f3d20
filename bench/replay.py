"""A server that replays recorded responses of the emulator at a fixed latency.

Cases are read once from the emulator, in the formats of both services, and stored as bytes with two
gaps: the id and the creation time. A page is a concatenation of such bytes, so that a benchmark
measures the reader and not the server, and any number of cases fits into memory. Row `n` is created
`n` steps after the first, so a half-open window of creation times is a range of rows and its count
a subtraction. Any other filter is refused: to evaluate it would take a database.

Every request other than a search (fields, options, templates) is sent to the emulator, once.
"""

import argparse
import http.client
import json
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

from casesearch_pd.emulator import CaseService

SAMPLE = 2_000  # distinct cases, apart from id and time
PAGE = 100
FIELDS = 25  # maximum of one SearchCases request (botocore's service model)
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/cases/aws4_request, "
    f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
)
_SPAN = timedelta(days=365)
_ID, _TIME = "<the id>", "<the creation time>"


@dataclass(frozen=True)
class ReplayServer:
    """The address and the contents of a replay.

    Parameters
    ----------
    url, domain_id, token
        What a client needs to know.
    cases
        The number of cases.
    fields
        The ids of the 25 Connect fields that each case has.
    """

    url: str
    domain_id: str
    token: str
    cases: int
    fields: tuple[str, ...]


@dataclass(frozen=True)
class CaseTemplate:
    """The bytes of one case around its id and its creation time."""

    before: bytes
    between: bytes
    after: bytes

    @classmethod
    def of(cls, case: Mapping[str, Any]) -> "CaseTemplate":
        """Return the template of a case with placeholders for id and creation time."""
        text = json.dumps(case, ensure_ascii=False, separators=(",", ":"))
        before, _, rest = text.partition(_ID)
        between, _, after = rest.partition(_TIME)
        return cls(before.encode(), between.encode(), after.encode())


# --- recording the cases --------------------------------------------------------------


class EmulatorClient:
    """A client of the emulator that caches responses."""

    def __init__(self, service: CaseService) -> None:
        self.service = service
        self._responses: dict[tuple[str, str, bytes], bytes] = {}
        self._lock = threading.Lock()

    def send(self, method: str, target: str, body: bytes = b"", *, persona: bool = False) -> bytes:
        """Return the response to a request; a repeated request is answered from the cache."""
        with self._lock:
            key = (method, target, body)
            if key not in self._responses:
                self._responses[key] = self._send(*key, persona=persona)
            return self._responses[key]

    def _send(self, method: str, target: str, body: bytes, *, persona: bool = False) -> bytes:
        headers = {"Authorization": f"Bearer {self.service.token}" if persona else SIGNATURE}
        headers |= {"X-Amz-Date": "20260101T000000Z", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port)
        connection.request(method, target, body or None, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status != http.client.OK:
            raise RuntimeError(content.decode())
        return content

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The ids of the 25 fields that most cases have."""
        path = f"/domains/{self.service.domain_id}/fields-list?maxResults=100"
        ids = [item["fieldId"] for item in json.loads(self.send("POST", path))["fields"]]
        counts: Counter[str] = Counter()
        for at in range(0, len(ids), FIELDS):
            for case in self._connect_cases(ids[at : at + FIELDS]):
                counts.update(item["id"] for item in case["fields"])
        del counts["case_id"]  # it is in every response
        return tuple(name for name, _ in counts.most_common(FIELDS))

    def connect_templates(self) -> Iterator[CaseTemplate]:
        """Read all cases with 25 fields by SearchCases."""
        for case in self._connect_cases(self.fields):
            case["caseId"] = _ID
            values = {item["id"]: item for item in case["fields"]}
            values["created_datetime"]["value"] = {"stringValue": _TIME}
            yield CaseTemplate.of(case)

    def _connect_cases(self, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        path = f"/domains/{self.service.domain_id}/cases-search"
        body = {"maxResults": PAGE, "fields": [{"id": name} for name in fields]}
        while True:
            page = json.loads(self._send("POST", path, json.dumps(body).encode()))
            yield from page["cases"]
            if "nextToken" not in page:
                return
            body["nextToken"] = page["nextToken"]

    def persona_templates(self) -> Iterator[CaseTemplate]:
        """Read all cases with all fields by search."""
        path, body = "/api/v1/cases/search", json.dumps({"page": {"size": PAGE}}).encode()
        while path is not None:
            page = json.loads(self._send("POST", path, body, persona=True))
            for case in page["data"]:
                case["id"] = _ID
                case["attributes"]["created-at"] = _TIME
                yield CaseTemplate.of(case)
            path = page["links"]["next"]


# --- rows and windows -----------------------------------------------------------------


class Rows:
    """Rows of cases that are created at a fixed interval."""

    def __init__(self, cases: int) -> None:
        self.all = range(cases)
        self.step = max(_SPAN // max(cases, 1), timedelta(milliseconds=1))
        self.step -= self.step % timedelta(milliseconds=1)  # the resolution of times in responses
        first = datetime.now(UTC).replace(microsecond=0) - _SPAN - timedelta(days=1)
        self.first = first
        self.times = [self._time(row) for row in self.all]

    def _time(self, row: int) -> bytes:
        moment = self.first + row * self.step
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()

    def window(self, op: str, moment: str) -> range:
        """Return the rows on one side of a time."""
        elapsed = datetime.fromisoformat(moment) - self.first
        # The first row at or after the time, and the first row after it.
        at, beyond = -(-elapsed // self.step), elapsed // self.step + 1
        match op:
            case "lt":
                return self.all[: max(at, 0)]
            case "lte":
                return self.all[: max(beyond, 0)]
            case "gte":
                return self.all[max(at, 0) :]
            case "gt":
                return self.all[max(beyond, 0) :]
            case _:
                raise ValueError(f"{op!r} of a creation time is not replayed")

    def changed(self, op: str, moment: str) -> range:
        """Return the rows that were updated since a time: none, as these cases never change."""
        if op != "gte" or datetime.fromisoformat(moment) < self.first + _SPAN:
            raise ValueError(f"{op} {moment} of an update time is not replayed")
        return self.all[:0]

    def complement(self, rows: range) -> range:
        """Return all other rows; the given ones are at one end."""
        return self.all[: rows.start] if rows.stop == self.all.stop else self.all[rows.stop :]

    def intersection(self, windows: list[range]) -> range:
        """Return the rows that are in all windows."""
        start = max(window.start for window in windows)
        return self.all[start : max(start, min(window.stop for window in windows))]


_CONNECT_OPS = {
    "greaterThan": "gt",
    "greaterThanOrEqualTo": "gte",
    "lessThan": "lt",
    "lessThanOrEqualTo": "lte",
}


def connect_window(rows: Rows, condition: Mapping[str, Any]) -> range:
    """Return the rows of a SearchCases filter: windows of ``created_datetime``."""
    ((kind, inner),) = condition.items()
    match kind:
        case "andAll":
            return rows.intersection([connect_window(rows, term) for term in inner])
        case "not":
            return rows.complement(connect_window(rows, inner))
        case "field":
            ((op, target),) = inner.items()
            bound = target["value"]["stringValue"]
            if target["id"] == "last_updated_datetime":
                return rows.changed(_CONNECT_OPS.get(op, op), bound)
            _check_target(target["id"], "created_datetime")
            return rows.window(_CONNECT_OPS.get(op, op), bound)
        case _:
            raise ValueError(f"{kind!r} is not replayed")


def persona_window(rows: Rows, condition: Mapping[str, Any]) -> range:
    """Return the rows of a Persona query: windows of ``created_at``."""
    match condition:
        case {"and": terms}:
            return rows.intersection([persona_window(rows, term) for term in terms])
        case {"not": inner}:
            return rows.complement(persona_window(rows, inner))
        case {"attribute": "updated_at", "operator": op, "value": moment}:
            return rows.changed(op, moment)
        case {"attribute": name, "operator": op, "value": moment}:
            _check_target(name, "created_at")
            return rows.window(op, moment)
        case _:
            raise ValueError(f"{condition} is not replayed")


def _check_target(name: str, created: str) -> None:
    if name != created:
        raise ValueError(f"only {created} is replayed as a filter, not {name!r}")


# --- responding -----------------------------------------------------------------------


class Replay:
    """The responses of both services, for the same rows."""

    def __init__(self, emulator: EmulatorClient, cases: int) -> None:
        self.emulator = emulator
        self.rows = Rows(cases)
        self.connect = list(emulator.connect_templates())
        self.persona = list(emulator.persona_templates())

    def respond(self, method: str, target: str, body: bytes) -> bytes:
        """Return the body of the response to a request."""
        parts = urlsplit(target)
        if parts.path.endswith("/cases-search"):
            return self._connect(json.loads(body))
        if parts.path == "/api/v1/cases/search":
            return self._persona(json.loads(body or b"{}"), parse_qs(parts.query))
        persona = parts.path.startswith("/api/v1/")
        return self.emulator.send(method, target, body, persona=persona)

    def _connect(self, request: Mapping[str, Any]) -> bytes:
        rows = (
            connect_window(self.rows, request["filter"]) if "filter" in request else self.rows.all
        )
        total = len(rows)
        sorts = request.get("sorts") or [{"fieldId": "created_datetime", "sortOrder": "Asc"}]
        _check_target(sorts[0]["fieldId"], "created_datetime")
        if sorts[0]["sortOrder"] == "Desc":
            rows = rows[::-1]
        begin = int(request.get("nextToken", "row-0").removeprefix("row-"))
        end = begin + request.get("maxResults", 10)
        token = b',"nextToken":"row-%d"' % end if end < total else b""
        cases = self._cases(self.connect, rows[begin:end])
        return b'{"cases":[%b],"totalCount":%d%b}' % (cases, total, token)

    def _persona(self, request: Mapping[str, Any], query: Mapping[str, list[str]]) -> bytes:
        rows = persona_window(self.rows, request["query"]) if "query" in request else self.rows.all
        sort = request.get("sort") or {"attribute": "created_at", "direction": "asc"}
        _check_target(sort["attribute"], "created_at")
        if sort["direction"] == "desc":
            rows = rows[::-1]
        begin = int(query.get("page[after]", ["0"])[0])
        end = begin + request.get("page", {}).get("size", 10)
        path = b"/api/v1/cases/search?page%%5Bafter%%5D=%d" % end
        next_link = b'"%b"' % path if end < len(rows) else b"null"
        cases = self._cases(self.persona, rows[begin:end])
        return b'{"data":[%b],"links":{"prev":null,"next":%b}}' % (cases, next_link)

    def _cases(self, templates: list[CaseTemplate], rows: range) -> bytes:
        times, count = self.rows.times, len(templates)
        parts = []
        for row in rows:
            case, case_id = templates[row % count], b"case_%024d" % row
            parts.append(b"".join((case.before, case_id, case.between, times[row], case.after)))
        return b",".join(parts)


class Handler(socketserver.StreamRequestHandler):
    """One persistent connection, with as much of HTTP/1.1 as the clients need."""

    server: "Server"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Respond until the client closes the connection."""
        while line := self.rfile.readline():
            method, target, _ = line.decode("ascii").split(" ", 2)
            body = self.rfile.read(self._length())
            due = time.monotonic() + self.server.latency
            response = self._response(method, target, body)
            time.sleep(max(0.0, due - time.monotonic()))
            self.request.sendall(response)

    def _length(self) -> int:
        length = 0
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return length

    def _response(self, method: str, target: str, body: bytes) -> bytes:
        status, content = b"200 OK", b""
        try:
            content = self.server.replay.respond(method, target, body)
        except (ValueError, KeyError, RuntimeError) as error:
            status, content = b"400 Bad Request", json.dumps({"message": str(error)}).encode()
        head = (
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nDate: %b\r\n"
            b"Content-Length: %d\r\n\r\n"
        )
        return head % (status, formatdate(usegmt=True).encode(), len(content)) + content


class Server(socketserver.ThreadingTCPServer):
    """A server on this machine with a thread per connection."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, replay: Replay, latency: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replay = replay
        self.latency = latency


def main() -> None:
    """Serve until standard input is closed: no server outlives the process that started it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument(
        "--latency", type=float, default=0.0, help="seconds from request to response"
    )
    args = parser.parse_args()
    with CaseService(SAMPLE, request_log_size=0) as service:
        emulator = EmulatorClient(service)
        with Server(Replay(emulator, args.cases), args.latency) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}"
            server_info = ReplayServer(
                url, service.domain_id, service.token, args.cases, emulator.fields
            )
            print(json.dumps(asdict(server_info)), flush=True)
            sys.stdin.read()
            server.shutdown()


if __name__ == "__main__":
    main()
