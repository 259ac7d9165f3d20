"""Cursors of the faults' own: back to a page of which some cases have been shown.

A bookmark holds all it needs, so it is good as long as the page it leads to.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from casesearch_pd.emulator.data.values import stored_time, wire_time
from casesearch_pd.emulator.faults.fault import Effect, Turn
from casesearch_pd.emulator.faults.wire import Wire, case_id, dumped
from casesearch_pd.emulator.server import Reply, Request, parse_json

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


Change = Callable[[Turn, dict[str, Any]], bool]
_A_MINUTE = timedelta(minutes=1)


def on_page(change: Change) -> Effect:
    """Return the effect of a change to parsed pages."""

    def effect(turn: Turn) -> Reply | None:
        page = turn.page()
        return turn.changed(page) if page is not None and change(turn, page) else None

    return effect


def _empty(turn: Turn, page: dict[str, Any]) -> bool:
    return _cut(turn, page, 0)


def _short(turn: Turn, page: dict[str, Any]) -> bool:
    return _cut(turn, page, turn.fault.value)


def _cut(turn: Turn, page: dict[str, Any], size: int) -> bool:
    cases = turn.cases(page)
    if len(cases) <= size:
        return False
    _lead_back(turn, page, turn.cursor, cases[:size])
    del cases[size:]
    return True


def _lead_back(turn: Turn, page: Any, cursor: str | None, shown: list[Any]) -> None:
    """Let a page lead to what the page of a cursor has after those shown."""
    last = case_id(shown[-1]) if shown else None
    turn.wire.lead_to(page, turn.request, bookmark(cursor, len(shown), last))


def _long(turn: Turn, page: dict[str, Any]) -> bool:
    cursor = turn.wire.next_cursor(page)
    if cursor is None:
        return False
    following = turn.page_of(turn.ask(turn.wire.with_cursor(turn.request, cursor)))
    if following is None:
        return False
    found = turn.cases(following)
    taken = found[: turn.fault.value]
    turn.cases(page).extend(taken)
    if taken == found:
        turn.wire.lead_to(page, turn.request, turn.wire.next_cursor(following))
    else:
        _lead_back(turn, page, cursor, taken)
    return True


def _repeat(turn: Turn, page: dict[str, Any]) -> bool:
    cases = turn.cases(page)
    if not cases:
        return False
    _lead_back(turn, page, turn.cursor, cases[:-1])
    if turn.fault.value == "older":
        _age(turn, cases[-1])
    return True


def _age(turn: Turn, case: Any) -> None:
    place = turn.wire.update_time(case)
    if place is not None:
        holder, key = place
        holder[key] = wire_time(stored_time(datetime.fromisoformat(holder[key]) - _A_MINUTE))


def _same_token(turn: Turn, page: dict[str, Any]) -> bool:
    if turn.cursor is not None:
        turn.wire.lead_to(page, turn.request, turn.cursor)
    return turn.cursor is not None


def _cycle(turn: Turn, page: dict[str, Any]) -> bool:
    """Hand out the token of the reply before the last one, found by the token that was sent."""
    earlier = turn.memory.get(turn.cursor or "")
    handed = earlier or turn.wire.next_cursor(page)
    if handed is not None:
        turn.memory[handed] = turn.cursor
        turn.wire.lead_to(page, turn.request, handed)
    return earlier is not None


def _no_token(turn: Turn, page: dict[str, Any]) -> bool:
    return turn.wire.drop_next(page)


def _token(turn: Turn, page: dict[str, Any]) -> bool:
    turn.wire.set_next(page, turn.fault.value)
    return True


def _absolute(turn: Turn, page: dict[str, Any]) -> bool:
    link = page["links"].get("next")
    if not link:
        return False
    origin = turn.fault.value or f"http://{turn.request.headers.get('host', '127.0.0.1')}"
    turn.wire.set_next(page, origin.rstrip("/") + link)
    return True


def _total(turn: Turn, page: dict[str, Any]) -> bool:
    return _count_more(page, turn.fault.value)


def _moving_total(turn: Turn, page: dict[str, Any]) -> bool:
    return _count_more(page, turn.fault.value * turn.number)


def _count_more(page: dict[str, Any], more: int) -> bool:
    if "totalCount" in page:
        page["totalCount"] = max(page["totalCount"] + more, 0)
    return "totalCount" in page


def _expired(turn: Turn) -> Reply | None:
    if turn.cursor is None:
        return None
    return turn.wire.error(400, "the page token has expired")


PAGES: Mapping[str, Effect] = {
    "empty_page": on_page(_empty),
    "short_page": on_page(_short),
    "long_page": on_page(_long),
    "repeated_case": on_page(_repeat),
    "same_token": on_page(_same_token),
    "token_cycle": on_page(_cycle),
    "no_token": on_page(_no_token),
    "token": on_page(_token),
    "expired_token": _expired,
    "absolute_link": on_page(_absolute),
    "total": on_page(_total),
    "moving_total": on_page(_moving_total),
}
