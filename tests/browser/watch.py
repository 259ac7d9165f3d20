"""Requests of pages to other machines, and errors in pages."""

import re
from dataclasses import dataclass, field

# The template of Voila requests these; without them only its icons are missing.
FONT_AWESOME = "https://cdn.jsdelivr.net/npm/@fortawesome/fontawesome-free@%5E5/css/"
VOILA_REQUESTS = frozenset({f"{FONT_AWESOME}all.min.css", f"{FONT_AWESOME}v4-shims.min.css"})
# The scripts of Voila report this about two copies of a module, and continue to work.
IGNORED_ERRORS = ("getter for the shared module is not a function",)

OUTSIDE = re.compile(r"^(?:http|ws)s?://(?!(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?/)")


@dataclass
class Watch:
    """Blocked requests to other machines, and errors of scripts and the console.

    A test removes those that it expects; any other one fails the test at its end.
    """

    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def unexpected(self) -> list[str]:
        """Return everything but the known requests of Voila."""
        return [url for url in self.outside if url not in VOILA_REQUESTS] + self.errors


def watch_context(context) -> Watch:
    """Block and record the requests to other machines from any page of a browser context."""
    watch = Watch()
    context.route(OUTSIDE, lambda route: route.abort())
    context.on("request", lambda request: _record_request(watch, request.url))
    context.on("console", lambda message: _record_message(watch, message))
    context.on("weberror", lambda error: _record_error(watch, str(error.error)))
    context.on(
        "page", lambda page: page.on("websocket", lambda socket: _record_request(watch, socket.url))
    )
    return watch


def _record_request(watch: Watch, url: str) -> None:
    if OUTSIDE.match(url):
        watch.outside.append(url)


def _record_message(watch: Watch, message) -> None:
    # Blocked requests are recorded already.
    if message.type == "error" and not OUTSIDE.match(message.location["url"]):
        _record_error(watch, f"{message.text} ({message.location['url']})")


def _record_error(watch: Watch, text: str) -> None:
    if not any(known in text for known in IGNORED_ERRORS):
        watch.errors.append(text)
