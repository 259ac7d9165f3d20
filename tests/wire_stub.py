"""Both wires once more, written for tests alone: a scriptable service on loopback.

`Stub` answers whatever a Python callable says: proper answers, broken ones, half ones, none.
The helpers below it render small but valid answers of both services, and share no code with
the client or with the embedded service, so that a mistake cannot hide by being made twice.
"""

import gzip
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

# --- the server -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it came in; header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        """Read the body."""
        return json.loads(self.body)

    @property
    def is_search(self):
        """Tell a search from discovery."""
        return self.path.endswith(("/cases-search", "/cases/search"))


@dataclass(frozen=True)
class Raw:
    """Bytes for the wire as they stand, head and all, and what comes after them."""

    content: bytes = b""
    then: str = "close"  # or "reset", or "hang"


RESET = Raw(then="reset")
HANG = Raw(then="hang")
Reply = tuple[int, Mapping[str, str], bytes] | Raw


@dataclass
class Stub:
    """A server on loopback that answers by a callable and keeps the requests."""

    reply: Callable[[ReceivedRequest], Reply]
    requests: list[ReceivedRequest] = field(default_factory=list)

    def __post_init__(self):
        self._over = threading.Event()
        self._open: set[socket.socket] = set()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._server.shutdown()
        for connection in tuple(self._open):
            _shut(connection)  # wakes the thread that waits for a next request on it
        self._server.server_close()
        self._thread.join()

    @property
    def url(self):
        """The address, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def searches(self):
        """List the searches among the requests."""
        return [one for one in self.requests if one.is_search]


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for them, so that none outlives its test
    request_queue_size = 64

    def __init__(self, stub):
        self.stub = stub
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request, client_address):
        """Stay quiet: clients of this server go away in the middle on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    disable_nagle_algorithm = True
    wbufsize = 1 << 20  # head and body in one send

    def setup(self):
        super().setup()
        self.server.stub._open.add(self.request)

    def finish(self):
        self.server.stub._open.discard(self.request)
        super().finish()

    def _answer(self):
        stub, parts = self.server.stub, urlsplit(self.path)
        request = ReceivedRequest(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        stub.requests.append(request)
        reply = stub.reply(request)
        if isinstance(reply, Raw):
            self._raw(reply)
        else:
            self._proper(*reply)

    do_GET = do_POST = _answer  # noqa: N815 - the names that http.server looks for

    def _proper(self, status, headers, body):
        self.send_response(status)
        named = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        for name, value in named.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _raw(self, reply):
        self.wfile.write(reply.content)
        self.wfile.flush()
        if reply.then == "hang":
            self.server.stub._over.wait()
        if reply.then == "reset":  # no farewell: the client's kernel says "connection reset"
            linger = struct.pack("ii", 1, 0)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.request.close()
        self.close_connection = True

    def log_message(self, *_):
        """Write nothing."""


def _shut(connection):
    with suppress(OSError):  # the client was first
        connection.shutdown(socket.SHUT_RDWR)


# --- answers ------------------------------------------------------------------------------------


def ok(answer, **headers):
    """Answer 200 with JSON, or with bytes as they are; header names with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return 200, named, answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def head(length, status="200 OK"):
    """Write the head of an answer that promises so many bytes."""
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def script(*replies):
    """Give the replies one after the other, then the last one for ever."""
    left = list(replies)

    def next_reply(request):
        reply = left.pop(0) if len(left) > 1 else left[0]
        return reply(request) if callable(reply) else reply

    return next_reply


def broken_answers(whole, *, members, word):
    """Break a whole answer in every way that a proxy or a crash may.

    Parameters
    ----------
    whole
        The bytes of a proper answer.
    members
        The name of its list.
    word
        Bytes that stand within a text of it.
    """
    return {
        "html": ok(b"<html>Sign in to the hotel's network</html>"),
        "empty": ok(b""),
        "truncated": ok(whole[:-20]),
        "not an object": ok([]),
        "no list": ok({}),
        "null for the list": ok({members: None}),
        "shorter than said": Raw(head(len(whole) + 10) + whole),
        "gzip": ok(gzip.compress(whole)),
        "not UTF-8": ok(whole.replace(word, b"\xff\xfe")),
        "too deep": ok(b'{"%b": ' % members.encode() + b"[" * 99_999),
    }


# --- Amazon Connect Cases -------------------------------------------------------------------


def connect_field(name, kind="Text", *, label=None, namespace="Custom"):
    """Describe a field as ListFields does."""
    arn = f"arn:aws:cases:us-east-1:123456789012:domain/d/field/{name}"
    described = {"fieldId": name, "fieldArn": arn, "name": label or name, "type": kind}
    return {**described, "namespace": namespace}


SYSTEM = tuple(
    connect_field(name, kind, namespace="System")
    for name, kind in {
        "title": "Text",
        "status": "SingleSelect",
        "created_datetime": "DateTime",
        "last_updated_datetime": "DateTime",
    }.items()
)
CUSTOM = (
    connect_field("f-text", "Text", label="Note"),
    connect_field("f-num", "Number", label="Amount"),
    connect_field("f-bool", "Boolean", label="Urgent"),
    connect_field("f-time", "DateTime", label="Due"),
    connect_field("f-user", "User", label="Owner"),
    connect_field("f-url", "Url", label="Link"),
)
CREATED = "2026-03-14T09:30:00.000Z"


def union(value):
    """Write a value as the union that its Python type suggests; a dict goes as it is."""
    if isinstance(value, dict):
        return value
    if isinstance(value, bool):
        return {"booleanValue": value}
    return {"stringValue" if isinstance(value, str) else "doubleValue": value}


def connect_case(name, values=(), **extra):
    """Write a case of SearchCases; a value of None leaves the field out."""
    told = {"created_datetime": CREATED, "last_updated_datetime": CREATED, **dict(values)}
    fields = [
        {"id": one, "value": union(value)} for one, value in told.items() if value is not None
    ]
    return {"caseId": name, "templateId": "t-1", "fields": fields, "tags": {}, **extra}


def connect_page(cases, *, token=None, total=None):
    """Write an answer of SearchCases."""
    return {
        "cases": cases,
        "nextToken": token,
        "totalCount": len(cases) if total is None else total,
    }


def connect_pages(cases, size=100):
    """Answer searches over these cases, so many a page; the cursor is an offset."""

    def search(request):
        body = request.json
        start, step = int(body.get("nextToken") or 0), min(size, body.get("maxResults", 25))
        token = str(start + step) if start + step < len(cases) else None
        return ok(connect_page(cases[start : start + step], token=token, total=len(cases)))

    return search


def connect_domain(search, *, fields=(*SYSTEM, *CUSTOM), options=(("Open", "open"),)):
    """Answer as one Cases domain: discovery from here, searches by `search`."""
    lists = {
        "fields-list": {"fields": list(fields)},
        "options-list": {
            "options": [{"name": name, "value": value, "active": True} for name, value in options]
        },
        "templates-list": {
            "templates": [
                {"templateId": "t-1", "templateArn": "arn:t", "name": "General", "status": "Active"}
            ]
        },
    }

    def reply(request):
        if request.is_search:
            return search(request)
        return ok(lists[request.path.rsplit("/", 1)[1]])

    return reply


def connect_error(status, code, message="no reason", **headers):
    """Answer with an error of Amazon Connect Cases."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named |= {"x-amzn-ErrorType": code, "x-amzn-RequestId": "req-aws-1"}
    return status, named, json.dumps({"message": message}).encode()


# --- Persona ------------------------------------------------------------------------------------

RELATED = ("case-comments", "accounts", "inquiries", "reports", "verifications", "txns")
ATTRIBUTES = {
    "status": "open",
    "name": "KCAS-1",
    "resolution": None,
    "created-at": CREATED,
    "updated-at": CREATED,
    "assigned-at": None,
    "resolved-at": None,
    "redacted-at": None,
    "sla-expires-at": None,
    "creator-id": None,
    "creator-type": "user",
    "assignee-id": "ann@example.com",
    "assigner-id": None,
    "assigner-type": None,
    "resolver-id": None,
    "resolver-type": None,
    "updater-id": None,
    "updater-type": None,
    "tags": [],
    "fields": {},
    "attachments": [],
}
RATES = {"RateLimit-Limit": "300", "RateLimit-Remaining": "299", "RateLimit-Reset": "60"}


def persona_case(name, attributes=(), *, template="ctmpl_1", **fields):
    """Write a case object; a keyword is a custom field, as it goes on the wire."""
    held = {**ATTRIBUTES, **dict(attributes)}
    to_one = {"case-template": ("case-template", template), "case-queue": ("case-queue", None)}
    related = {
        key: {"data": None if one is None else {"type": kind, "id": one}}
        for key, (kind, one) in to_one.items()
    }
    related |= {key: {"data": []} for key in RELATED}
    attributes = {**held, "fields": {**held["fields"], **fields}}
    return {"type": "case", "id": name, "attributes": attributes, "relationships": related}


def persona_page(cases, following=None):
    """Write an answer of search or List."""
    return {"data": cases, "links": {"prev": None, "next": following}}


def persona_next(request, after):
    """Write a next link as the service does: relative, percent-encoded, paging only."""
    return f"{request.path}?{urlencode({'page[after]': after, 'page[size]': 100})}"


def persona_pages(cases, size=100):
    """Answer searches over these cases, so many a page; the cursor is an id."""
    names = [case["id"] for case in cases]

    def search(request):
        after = request.query.get("page[after]")
        start = names.index(after) + 1 if after else 0
        page = cases[start : start + size]
        more = start + size < len(cases)
        return ok(persona_page(page, persona_next(request, page[-1]["id"]) if more else None))

    return search


def persona_template(name="ctmpl_1", **kinds):
    """Describe a case template; a keyword is a field and its type."""
    schemas = [{"type": kind, "key": key, "label": key.title()} for key, kind in kinds.items()]
    attributes = {"name": "Review", "status": "active", "field-schemas": schemas}
    return {"type": "case-template", "id": name, "attributes": attributes}


def persona_environment(search, *, newest=(), template=None, cases=()):
    """Answer as one Persona environment: discovery from here, searches by `search`.

    `newest` is the page that discovery sees, `cases` are there for retrieval by id.
    """
    listed = list(newest) or [persona_case("case_new")]
    by_id = {case["id"]: case for case in cases}

    def reply(request):
        status, headers, body = _persona(request) if not request.is_search else (0, {}, b"")
        return (status, {**RATES, **headers}, body) if status else search(request)

    def _persona(request):
        last = request.path.rsplit("/", 1)[1]
        if request.path.endswith("/cases"):
            return ok(persona_page(listed))
        if "/case-templates/" in request.path:
            return ok({"data": {**(template or persona_template()), "id": last}})
        if last in by_id:
            return ok({"data": by_id[last]})
        return persona_error(404, "Record not found")

    return reply


def persona_error(status, title="Error", details=None, **headers):
    """Answer with an error of Persona."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = {"title": title} if details is None else {"title": title, "details": details}
    return status, {"Request-Id": "req_1", **named}, json.dumps({"errors": [told]}).encode()
