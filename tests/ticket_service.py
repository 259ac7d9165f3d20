"""A small REST service of tickets on loopback, for the source of one's own in ticket_source."""

import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = "tickets-0123456789"
FIELDS = [
    ("key", "Key", "text"),
    ("opened", "Opened", "datetime"),
    ("updated", "Updated", "datetime"),
    ("state", "State", "text"),
    ("subject", "Subject", "text"),
    ("hours", "Hours spent", "number"),
    ("tags", "Tags", "list"),
]
NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


def generate_tickets(count):
    """Return tickets, three of them opened at each time, every fourth one done."""
    return [
        {
            "key": f"T-{number:05d}",
            "opened": (NOW - timedelta(hours=count - number // 3)).isoformat(),
            "updated": (NOW - timedelta(minutes=count - number)).isoformat(),
            "state": ("done", "new", "waiting", "new")[number % 4],
            "subject": f"Ticket {number}" if number % 5 else None,
            "hours": number / 4,
            "tags": ["urgent"] if number % 7 == 0 else [],
        }
        for number in range(count)
    ]


class TicketService:
    """The service; ``.tickets`` may be changed, ``.requests`` lists the paths it was sent."""

    def __init__(self, tickets, *, throttle_every=0):
        self.tickets = tickets
        self.requests = []
        self.throttle_every = throttle_every
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.service = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self):
        """Return what `open_source` takes."""
        return f"tickets://127.0.0.1:{self._server.server_port}/api"

    def respond(self, path, token):
        """Return status and body of a request."""
        self.requests.append(path)
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "unknown token"}
        if self.throttle_every and len(self.requests) % self.throttle_every == 0:
            return 429, {"error": "slow down"}
        parts = urlsplit(path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/api/fields":
            return 200, [dict(zip(("name", "label", "type"), one, strict=True)) for one in FIELDS]
        if parts.path == "/api/tickets":
            return 200, self.search(**query)
        return 404, {"error": "no such path"}

    def search(self, size, after="", state=None, **times):
        """Return one page; raise TypeError for an unknown parameter."""
        bounds = {name: datetime.fromisoformat(text) for name, text in times.items()}
        tickets = [one for one in self.tickets if _matches(one, state, **bounds)]
        tickets.sort(key=lambda one: (one["opened"], one["key"]))
        keys = [one["key"] for one in tickets]
        start = keys.index(after) + 1 if after else 0
        page = tickets[start : start + int(size)]
        more = start + len(page) < len(tickets)
        return {"tickets": page, "next": page[-1]["key"] if more else None, "total": len(tickets)}


def _matches(ticket, state, opened_from=None, opened_before=None, updated_from=None):
    opened, updated = (datetime.fromisoformat(ticket[name]) for name in ("opened", "updated"))
    return (
        (state is None or ticket["state"] == state)
        and (opened_from is None or opened >= opened_from)
        and (opened_before is None or opened < opened_before)
        and (updated_from is None or updated >= updated_from)
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def do_GET(self):
        status, body = self.server.service.respond(self.path, self.headers["Authorization"])
        content = json.dumps(body).encode()
        self.send_response_only(status)
        self.send_header("Date", formatdate(NOW.timestamp(), usegmt=True))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Write no log."""
