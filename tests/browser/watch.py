"""What pages ask for outside this machine, and what goes wrong in them."""

import re
from dataclasses import dataclass, field

# The template of Voila's own look asks for these; without them only its icons are missing.
FONT_AWESOME = "https://cdn.jsdelivr.net/npm/@fortawesome/fontawesome-free@%5E5/css/"
VOILAS_OWN = frozenset({f"{FONT_AWESOME}all.min.css", f"{FONT_AWESOME}v4-shims.min.css"})
# Voila's own scripts say this of two copies of one module, and go on working.
HARMLESS = ("getter for the shared module is not a function",)

OUTSIDE = re.compile(r"^(?:http|ws)s?://(?!(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?/)")


@dataclass
class Watch:
    """Addresses outside that were asked for, each blocked, and errors of scripts and console.

    A test that provokes one takes it out of the list; what is left at the end fails the test.
    """

    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def unexpected(self) -> list[str]:
        """Tell all but what Voila itself is known for."""
        return [one for one in self.outside if one not in VOILAS_OWN] + self.complaints


def watched(context) -> Watch:
    """Block and note what leaves this machine from any page of a browser context."""
    watch = Watch()
    context.route(OUTSIDE, lambda route: route.abort())
    context.on("request", lambda request: _note_request(watch, request.url))
    context.on("console", lambda message: _note_message(watch, message))
    context.on("weberror", lambda error: _note_error(watch, str(error.error)))
    context.on("page", lambda page: page.on("websocket", lambda one: _note_request(watch, one.url)))
    return watch


def _note_request(watch: Watch, url: str) -> None:
    if OUTSIDE.match(url):
        watch.outside.append(url)


def _note_message(watch: Watch, message) -> None:
    # That a request was blocked is noted already.
    if message.type == "error" and not OUTSIDE.match(message.location["url"]):
        _note_error(watch, f"{message.text} ({message.location['url']})")


def _note_error(watch: Watch, text: str) -> None:
    if not any(known in text for known in HARMLESS):
        watch.complaints.append(text)
