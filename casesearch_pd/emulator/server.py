"""The HTTP server on loopback: requests, replies, and delivery of a reply late or in part."""

import io
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, assert_never
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import msgspec


@dataclass(frozen=True)
class Request:
    """One request: raw target, headers with lower-case names, raw body."""

    method: str
    target: str
    headers: Mapping[str, str]
    content: bytes = b""

    @property
    def path(self) -> str:
        """The path as sent, still percent-encoded."""
        return urlsplit(self.target).path

    @property
    def parts(self) -> list[str]:
        """The decoded segments of the path."""
        return [unquote(part) for part in self.path.strip("/").split("/")]

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded pairs of the query string, in order, blank values kept."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)


SentPart = Literal["nothing", "half a head", "half a body"]
DripPart = Literal["head", "body"]


@dataclass(frozen=True)
class Delivery:
    """A delivery that is disturbed by faults."""

    # Seconds from the arrival of the request until the reply is sent.
    delay: float = 0.0
    # The part that is sent before the connection ends, or None for the complete reply.
    part: SentPart | None = None
    # Whether the connection ends with a TCP reset instead of an orderly shutdown.
    reset: bool = False
    # The part that is sent one byte at a time, and the seconds before each of its bytes.
    drip: tuple[DripPart, float] | None = None


@dataclass(frozen=True)
class Reply:
    """One reply: status, body, further headers, and its delivery if that is disturbed."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: Delivery | None = None


def parse_json(content: bytes) -> Any:
    """Return a decoded JSON body; the message of the error can be sent to the client.

    Raises
    ------
    ValueError
        If the body is not JSON in UTF-8, has a lone surrogate, or is nested too deeply.
    """
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("the body is nested too deeply") from error


_LOG = logging.getLogger(__name__)
# A search has a few kilobytes at most; a larger body is an error of the client.
_MAX_BODY_BYTES = 1 << 20
# SO_LINGER on, with no time to send the rest: closing sends a reset. Windows has two shorts here.
_RESET_ON_CLOSE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

Responder = Callable[[Request], Reply]


@dataclass(frozen=True)
class ReceivedRequest:
    """A request that the service answered.

    Parameters
    ----------
    method, path
        As received; the path is still percent-encoded and has no query string.
    query
        The decoded query string: values by name.
    headers
        Values by lower-case name, without ``authorization``.
    body
        The parsed JSON body, or None.
    status
        The status of the reply.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any
    status: int


class Server(ThreadingHTTPServer):
    """A threaded server on 127.0.0.1 whose `close` leaves no thread and no socket.

    `requests` has at least the latest `log_size` requests before the oldest are dropped.
    """

    # `server_close` joins the threads of connections, so that none outlives the service.
    daemon_threads = False
    # The default of 5 refuses connections when many clients connect at once.
    request_queue_size = 128

    def __init__(
        self, answer: Responder, *, clock: Callable[[], datetime], port: int, log_size: int
    ) -> None:
        self.answer = answer
        self.clock = clock
        self.requests: list[ReceivedRequest] = []
        self._log_size = log_size
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)
        # `close` waits for at most one poll interval.
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="cases")

    def open(self) -> None:
        """Begin to accept connections."""
        self._thread.start()

    def close(self) -> None:
        """End every connection and wait for all threads."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _shut_down(connection)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Register a connection before its thread begins, so that `close` can end it."""
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Remove a connection that has ended."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def record(self, request: Request, reply: Reply) -> None:
        """Store a request and the status of its reply, without the authorization."""
        _LOG.debug("%s %s %d", request.method, request.path, reply.status)
        if not self._log_size:
            return
        with self._lock:
            self.requests.append(_record_of(request, reply))
            # Dropping half of the list at once keeps the cost per request constant.
            if len(self.requests) > 2 * self._log_size:
                del self.requests[: -self._log_size]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as inherited
        """Log the error of a connection; a client that closed it is not an error."""
        _LOG.debug("connection from %s ended", client_address, exc_info=True)


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        _LOG.debug("a connection was closed already")


def _record_of(request: Request, reply: Reply) -> ReceivedRequest:
    parts = urlsplit(request.target)
    headers = {name: value for name, value in request.headers.items() if name != "authorization"}
    query = parse_qs(parts.query, keep_blank_values=True)
    return ReceivedRequest(
        request.method, parts.path, query, headers, _json(request.content), reply.status
    )


def _json(content: bytes) -> Any:
    try:
        return parse_json(content) if content else None
    except ValueError:
        return None


class _Handler(BaseHTTPRequestHandler):
    """One connection: HTTP/1.1 with keep-alive."""

    server: Server
    protocol_version = "HTTP/1.1"
    # Without these two, a client's delayed acknowledgement adds 40 ms to each reply.
    disable_nagle_algorithm = True
    wbufsize = 1 << 20
    error_content_type = "application/json"
    error_message_format = '{"message": "%(message)s"}'

    def answer(self) -> None:
        """Answer one request."""
        # Latency counts from here, so it includes the time that the service itself needs.
        arrived = time.monotonic()
        content = self._content()
        if content is None:
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, content)
        reply = self.server.answer(request)
        # Recorded before it is sent: a client that has its reply finds its request in the log.
        self.server.record(request, reply)
        if reply.delivery is None:
            self._send(reply)
        else:
            self._deliver(reply, reply.delivery, arrived)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer  # noqa: N815

    def _content(self) -> bytes | None:
        """Return the body, or None after an error reply to it."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self._refuse(411, "a Content-Length is needed")
        elif int(length) > _MAX_BODY_BYTES:
            self._refuse(413, f"a body may have {_MAX_BODY_BYTES} bytes")
        else:
            return self.rfile.read(int(length))
        return None

    def _refuse(self, status: int, message: str) -> None:
        self.close_connection = True
        self.send_error(status, message)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content)

    def _deliver(self, reply: Reply, delivery: Delivery, arrived: float) -> None:
        """Send a reply late, in part or not at all, unless the service stops before."""
        delay = arrived + delivery.delay - time.monotonic()
        if delay > 0 and self.server.stopping.wait(delay):
            self.close_connection = True
        elif delivery.part is None and delivery.drip is None:
            self._send(reply)
        else:
            content = self._rendered(reply)
            if delivery.part is not None:
                content = content[: _part_size(content, delivery.part)]
                self.close_connection = True
            self._write(content, delivery.drip)
            if delivery.reset:
                self._reset()

    def _rendered(self, reply: Reply) -> bytes:
        """Return the bytes of a reply, with its head."""
        connection, buffer = self.wfile, io.BytesIO()
        self.wfile = buffer
        self._send(reply)
        self.wfile = connection
        return buffer.getvalue()

    def _write(self, content: bytes, drip: tuple[DripPart, float] | None) -> None:
        """Send bytes, those of one part one at a time where the reply drips."""
        # A head is dripped up to its empty line, so that no byte of the body comes before its end.
        part, seconds = drip or ("body", 0.0)
        head = len(content) if drip is None else _head_size(content)
        first, end = (0, head) if part == "head" else (head, len(content))
        self.wfile.write(content[:first])
        for number in range(first, end):
            self.wfile.flush()
            # A client that has gone is noticed by the write, which raises.
            if self.server.stopping.wait(seconds):
                self.close_connection = True
                return
            self.wfile.write(content[number : number + 1])
        self.wfile.write(content[end:])
        self.wfile.flush()

    def _reset(self) -> None:
        """End the connection with a reset: it must be closed before its orderly shutdown."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        for stream in (self.rfile, self.wfile, self.connection):
            stream.close()
        # The inherited handler flushes `wfile` once more.
        self.wfile = io.BytesIO()

    def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002 - as inherited
        """Return the service's time, which may not be the machine's."""
        return format_datetime(self.server.clock(), usegmt=True)

    def version_string(self) -> str:
        """Return the value of the Server header."""
        return "casesearch"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        """Log nothing here: `Server.record` logs, without query and headers."""


def _head_size(content: bytes) -> int:
    head, separator, _ = content.partition(b"\r\n\r\n")
    return len(head) + len(separator)


def _part_size(content: bytes, part: SentPart) -> int:
    head = _head_size(content)
    match part:
        case "nothing":
            return 0
        case "half a head":
            return head // 2
        case "half a body":
            return (head + len(content)) // 2
        case _:
            assert_never(part)
