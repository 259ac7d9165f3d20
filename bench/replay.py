"""A case service that only replays: real answers in, the same answers out at a set time.

Cases are taken once from the embedded service, on both wires, and kept as bytes with two gaps: the
id and the creation time. A page is those bytes joined, so that a reader and not the server is
measured, and any number of cases fits into memory. Row `n` was created `n` steps after the first,
so a half-open window of creation times is a range of rows and its count a subtraction. Any other
filter is refused: answering it would take a database, and ignoring it would measure nonsense.

Everything that is no search (fields, options, templates) is asked of the embedded service, once.
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

SAMPLE = 2_000  # cases that differ in more than id and time
PAGE = 100
FIELDS = 25  # the most that one SearchCases request may name (botocore's service model)
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/cases/aws4_request, "
    f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
)
_SPAN = timedelta(days=365)
_ID, _TIME = "<the id>", "<the creation time>"


@dataclass(frozen=True)
class Served:
    """How to reach the replay, and what it holds.

    Parameters
    ----------
    url, domain_id, token
        As a client has to know them.
    cases
        How many there are.
    fields
        The ids of the 25 Connect fields that each case bears.
    """

    url: str
    domain_id: str
    token: str
    cases: int
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Mould:
    """One case as bytes around its id and its creation time."""

    before: bytes
    between: bytes
    after: bytes

    @classmethod
    def of(cls, case: Mapping[str, Any]) -> "Mould":
        """Cast a case whose id and creation time are marked."""
        text = json.dumps(case, ensure_ascii=False, separators=(",", ":"))
        before, _, rest = text.partition(_ID)
        between, _, after = rest.partition(_TIME)
        return cls(before.encode(), between.encode(), after.encode())


# --- taking the cases -----------------------------------------------------------------


class Embedded:
    """The embedded service over http.client, remembering what it answered."""

    def __init__(self, service: CaseService) -> None:
        self.service = service
        self._told: dict[tuple[str, str, bytes], bytes] = {}
        self._lock = threading.Lock()

    def ask(self, method: str, target: str, body: bytes = b"", *, persona: bool = False) -> bytes:
        """Send one request; the same request again is answered from memory."""
        with self._lock:
            asked = (method, target, body)
            if asked not in self._told:
                self._told[asked] = self._send(*asked, persona=persona)
            return self._told[asked]

    def _send(self, method: str, target: str, body: bytes, *, persona: bool = False) -> bytes:
        headers = {"Authorization": f"Bearer {self.service.token}" if persona else SIGNATURE}
        headers |= {"X-Amz-Date": "20260101T000000Z", "Content-Type": "application/json"}
        link = http.client.HTTPConnection("127.0.0.1", self.service.port)
        link.request(method, target, body or None, headers)
        answer = link.getresponse()
        content = answer.read()
        link.close()
        if answer.status != http.client.OK:
            raise RuntimeError(content.decode())
        return content

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The 25 fields that cases bear most often, by their ids."""
        path = f"/domains/{self.service.domain_id}/fields-list?maxResults=100"
        listed = [item["fieldId"] for item in json.loads(self.ask("POST", path))["fields"]]
        borne: Counter[str] = Counter()
        for at in range(0, len(listed), FIELDS):
            for case in self._connect_cases(listed[at : at + FIELDS]):
                borne.update(item["id"] for item in case["fields"])
        del borne["case_id"]  # it comes in any answer
        return tuple(name for name, _ in borne.most_common(FIELDS))

    def connect_moulds(self) -> Iterator[Mould]:
        """Read all cases with 25 fields by SearchCases."""
        for case in self._connect_cases(self.fields):
            case["caseId"] = _ID
            held = {item["id"]: item for item in case["fields"]}
            held["created_datetime"]["value"] = {"stringValue": _TIME}
            yield Mould.of(case)

    def _connect_cases(self, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        path = f"/domains/{self.service.domain_id}/cases-search"
        body = {"maxResults": PAGE, "fields": [{"id": name} for name in fields]}
        while True:
            page = json.loads(self._send("POST", path, json.dumps(body).encode()))
            yield from page["cases"]
            if "nextToken" not in page:
                return
            body["nextToken"] = page["nextToken"]

    def persona_moulds(self) -> Iterator[Mould]:
        """Read all cases, whole, by search."""
        path, body = "/api/v1/cases/search", json.dumps({"page": {"size": PAGE}}).encode()
        while path is not None:
            page = json.loads(self._send("POST", path, body, persona=True))
            for case in page["data"]:
                case["id"] = _ID
                case["attributes"]["created-at"] = _TIME
                yield Mould.of(case)
            path = page["links"]["next"]


# --- rows and windows -----------------------------------------------------------------


class Rows:
    """Cases by number, a fixed time apart."""

    def __init__(self, cases: int) -> None:
        self.all = range(cases)
        self.step = max(_SPAN // max(cases, 1), timedelta(milliseconds=1))
        self.step -= self.step % timedelta(milliseconds=1)  # the wires tell milliseconds
        first = datetime.now(UTC).replace(microsecond=0) - _SPAN - timedelta(days=1)
        self.first = first
        self.times = [self._time(row) for row in self.all]

    def _time(self, row: int) -> bytes:
        moment = self.first + row * self.step
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()

    def window(self, op: str, moment: str) -> range:
        """Tell the rows on one side of a time."""
        passed = datetime.fromisoformat(moment) - self.first
        at, beyond = -(-passed // self.step), passed // self.step + 1  # the first row not before
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
        """Tell the rows that were updated since: none, for these cases stand still."""
        if op != "gte" or datetime.fromisoformat(moment) < self.first + _SPAN:
            raise ValueError(f"{op} {moment} of an update time is not replayed")
        return self.all[:0]

    def without(self, rows: range) -> range:
        """Tell the other rows, of what lies at one end."""
        return self.all[: rows.start] if rows.stop == self.all.stop else self.all[rows.stop :]

    def both(self, windows: list[range]) -> range:
        """Tell the rows that all windows share."""
        start = max(window.start for window in windows)
        return self.all[start : max(start, min(window.stop for window in windows))]


_CONNECT_OPS = {
    "greaterThan": "gt",
    "greaterThanOrEqualTo": "gte",
    "lessThan": "lt",
    "lessThanOrEqualTo": "lte",
}


def connect_window(rows: Rows, asked: Mapping[str, Any]) -> range:
    """Read a SearchCases filter: windows of ``created_datetime``."""
    ((kind, inner),) = asked.items()
    match kind:
        case "andAll":
            return rows.both([connect_window(rows, term) for term in inner])
        case "not":
            return rows.without(connect_window(rows, inner))
        case "field":
            ((op, target),) = inner.items()
            bound = target["value"]["stringValue"]
            if target["id"] == "last_updated_datetime":
                return rows.changed(_CONNECT_OPS.get(op, op), bound)
            _check_target(target["id"], "created_datetime")
            return rows.window(_CONNECT_OPS.get(op, op), bound)
        case _:
            raise ValueError(f"{kind!r} is not replayed")


def persona_window(rows: Rows, asked: Mapping[str, Any]) -> range:
    """Read a Persona query: windows of ``created_at``."""
    match asked:
        case {"and": terms}:
            return rows.both([persona_window(rows, term) for term in terms])
        case {"not": inner}:
            return rows.without(persona_window(rows, inner))
        case {"attribute": "updated_at", "operator": op, "value": moment}:
            return rows.changed(op, moment)
        case {"attribute": name, "operator": op, "value": moment}:
            _check_target(name, "created_at")
            return rows.window(op, moment)
        case _:
            raise ValueError(f"{asked} is not replayed")


def _check_target(name: str, created: str) -> None:
    if name != created:
        raise ValueError(f"only {created} is replayed as a filter, not {name!r}")


# --- answering ------------------------------------------------------------------------


class Replay:
    """Both wires over the same rows."""

    def __init__(self, embedded: Embedded, cases: int) -> None:
        self.embedded = embedded
        self.rows = Rows(cases)
        self.connect = list(embedded.connect_moulds())
        self.persona = list(embedded.persona_moulds())

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        """Answer one request."""
        parts = urlsplit(target)
        if parts.path.endswith("/cases-search"):
            return self._connect(json.loads(body))
        if parts.path == "/api/v1/cases/search":
            return self._persona(json.loads(body or b"{}"), parse_qs(parts.query))
        persona = parts.path.startswith("/api/v1/")
        return self.embedded.ask(method, target, body, persona=persona)

    def _connect(self, asked: Mapping[str, Any]) -> bytes:
        rows = connect_window(self.rows, asked["filter"]) if "filter" in asked else self.rows.all
        total = len(rows)
        sorts = asked.get("sorts") or [{"fieldId": "created_datetime", "sortOrder": "Asc"}]
        _check_target(sorts[0]["fieldId"], "created_datetime")
        if sorts[0]["sortOrder"] == "Desc":
            rows = rows[::-1]
        begin = int(asked.get("nextToken", "row-0").removeprefix("row-"))
        end = begin + asked.get("maxResults", 10)
        more = b',"nextToken":"row-%d"' % end if end < total else b""
        cases = self._cases(self.connect, rows[begin:end])
        return b'{"cases":[%b],"totalCount":%d%b}' % (cases, total, more)

    def _persona(self, asked: Mapping[str, Any], query: Mapping[str, list[str]]) -> bytes:
        rows = persona_window(self.rows, asked["query"]) if "query" in asked else self.rows.all
        sort = asked.get("sort") or {"attribute": "created_at", "direction": "asc"}
        _check_target(sort["attribute"], "created_at")
        if sort["direction"] == "desc":
            rows = rows[::-1]
        begin = int(query.get("page[after]", ["0"])[0])
        end = begin + asked.get("page", {}).get("size", 10)
        path = b"/api/v1/cases/search?page%%5Bafter%%5D=%d" % end
        following = b'"%b"' % path if end < len(rows) else b"null"
        cases = self._cases(self.persona, rows[begin:end])
        return b'{"data":[%b],"links":{"prev":null,"next":%b}}' % (cases, following)

    def _cases(self, moulds: list[Mould], rows: range) -> bytes:
        times, count = self.rows.times, len(moulds)
        parts = []
        for row in rows:
            mould = moulds[row % count]
            name = b"case_%024d" % row
            parts.append(b"".join((mould.before, name, mould.between, times[row], mould.after)))
        return b",".join(parts)


class Handler(socketserver.StreamRequestHandler):
    """One connection, kept alive: the least of HTTP/1.1 that the clients speak."""

    server: "Server"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Answer until the client leaves."""
        while line := self.rfile.readline():
            method, target, _ = line.decode("ascii").split(" ", 2)
            body = self.rfile.read(self._length())
            due = time.monotonic() + self.server.latency
            reply = self._reply(method, target, body)
            time.sleep(max(0.0, due - time.monotonic()))
            self.request.sendall(reply)

    def _length(self) -> int:
        length = 0
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return length

    def _reply(self, method: str, target: str, body: bytes) -> bytes:
        status, answer = b"200 OK", b""
        try:
            answer = self.server.replay.answer(method, target, body)
        except (ValueError, KeyError, RuntimeError) as error:
            status, answer = b"400 Bad Request", json.dumps({"message": str(error)}).encode()
        head = (
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nDate: %b\r\n"
            b"Content-Length: %d\r\n\r\n"
        )
        return head % (status, formatdate(usegmt=True).encode(), len(answer)) + answer


class Server(socketserver.ThreadingTCPServer):
    """A thread a connection, on loopback."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, replay: Replay, latency: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replay = replay
        self.latency = latency


def main() -> None:
    """Serve until standard input ends, so that no server outlives who started it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds from request to reply")
    given = parser.parse_args()
    with CaseService(SAMPLE, kept_requests=0) as service:
        embedded = Embedded(service)
        with Server(Replay(embedded, given.cases), given.latency) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}"
            served = Served(url, service.domain_id, service.token, given.cases, embedded.fields)
            print(json.dumps(asdict(served)), flush=True)
            sys.stdin.read()
            server.shutdown()


if __name__ == "__main__":
    main()
