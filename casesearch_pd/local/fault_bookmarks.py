"""Cursors of the faults' own: back to a page of which some cases have been shown.

A bookmark holds all it needs, so it is good as long as the page it leads to.
"""

import base64
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

import msgspec

from casesearch_pd.local.fault_wire import Wire, case_id, dumped
from casesearch_pd.local.http import Reply, Request, parse_json

MARK = "case_again-"
_OK = 200


@dataclass(frozen=True)
class _Bookmark:
    """The cursor of a page, how many of its cases were shown, and the last of them."""

    cursor: str | None
    shown: int
    last: str | None


def bookmark(cursor: str | None, shown: int, last: str | None) -> str:
    """Return the cursor to the rest of a page.

    Parameters
    ----------
    cursor
        The cursor that the page itself was asked for with; it may be a bookmark.
    shown
        How many of its cases have been shown.
    last
        The id of the last one shown.
    """
    held = _read(cursor)
    if held is not None:
        cursor, shown, last = held.cursor, held.shown + shown, last or held.last
    told = dumped(astuple(_Bookmark(cursor, shown, last)))
    return MARK + base64.urlsafe_b64encode(told).decode()


def resumed(answer: Callable[[Request], Reply], wire: Wire, request: Request) -> Reply:
    """Answer a request, which may have come by a bookmark."""
    held = _read(wire.sent_cursor(request))
    if held is None:
        return answer(request)
    reply = answer(wire.with_cursor(request, held.cursor))
    return _rest(reply, wire, held) if reply.status == _OK else reply


def _read(cursor: str | None) -> _Bookmark | None:
    if cursor is None or not cursor.startswith(MARK):
        return None
    try:
        told = base64.b64decode(cursor.removeprefix(MARK), altchars=b"-_", validate=True)
        return _Bookmark(*msgspec.json.decode(told, type=tuple[str | None, int, str | None]))
    except (ValueError, msgspec.DecodeError):  # not one of ours: the service will refuse it
        return None


def _rest(reply: Reply, wire: Wire, held: _Bookmark) -> Reply:
    page = parse_json(reply.content)
    cases = wire.cases(page) or []
    del cases[: _shown([case_id(case) for case in cases], held)]
    return replace(reply, content=dumped(page))


def _shown(ids: list[str | None], held: _Bookmark) -> int:
    """Return how many cases of the page as it is now have been shown."""
    if held.last is None:
        return held.shown
    if held.last in ids:  # the count alone would miss what came and went before it
        return ids.index(held.last) + 1
    return held.shown - 1
