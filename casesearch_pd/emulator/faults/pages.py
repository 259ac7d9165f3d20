"""Faults of pages and cursors, and the bookmarks by which a later request gets the other rows.

A fault that shortens a page returns a bookmark instead of the service's cursor: it encodes the
cursor of the same page and the number of cases sent. No state is stored, so it never expires.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import msgspec

from casesearch_pd.emulator.data.values import stored_time, wire_time
from casesearch_pd.emulator.faults.fault import Effect, Exchange
from casesearch_pd.emulator.faults.wire import WireFormat, case_id, dump_json
from casesearch_pd.emulator.server import Reply, Request, parse_json

BOOKMARK_PREFIX = "case_again-"


@dataclass(frozen=True)
class _Bookmark:
    """The cursor of a page, the number of its cases that were sent, and the id of the last one."""

    cursor: str | None
    count: int
    last: str | None


def make_bookmark(cursor: str | None, count: int, last: str | None) -> str:
    """Return the cursor to the rest of a page of which a number of cases was sent.

    `cursor` is that of the page itself, perhaps a bookmark; `last` is the id of the last case sent.
    """
    bookmark = _parse_bookmark(cursor)
    if bookmark is not None:
        cursor, count, last = bookmark.cursor, bookmark.count + count, last or bookmark.last
    content = dump_json(astuple(_Bookmark(cursor, count, last)))
    return BOOKMARK_PREFIX + base64.urlsafe_b64encode(content).decode()


def answer_bookmark(
    answer: Callable[[Request], Reply], wire: WireFormat, request: Request
) -> Reply:
    """Return the reply to a request, whose cursor may be a bookmark."""
    bookmark = _parse_bookmark(wire.request_cursor(request))
    if bookmark is None:
        return answer(request)
    reply = answer(wire.with_cursor(request, bookmark.cursor))
    return _remaining_cases(reply, wire, bookmark) if reply.status == HTTPStatus.OK else reply


def _parse_bookmark(cursor: str | None) -> _Bookmark | None:
    if cursor is None or not cursor.startswith(BOOKMARK_PREFIX):
        return None
    try:
        text = cursor.removeprefix(BOOKMARK_PREFIX)
        content = base64.b64decode(text, altchars=b"-_", validate=True)
        return _Bookmark(*msgspec.json.decode(content, type=tuple[str | None, int, str | None]))
    except (ValueError, msgspec.DecodeError):
        # Not a bookmark of this module: the service refuses the cursor.
        return None


def _remaining_cases(reply: Reply, wire: WireFormat, bookmark: _Bookmark) -> Reply:
    page = parse_json(reply.content)
    cases = wire.cases(page) or []
    del cases[: _position_in_page([case_id(case) for case in cases], bookmark)]
    return replace(reply, content=dump_json(page))


def _position_in_page(ids: list[str | None], bookmark: _Bookmark) -> int:
    """Return how many cases of the current page were sent before."""
    if bookmark.last is None:
        return bookmark.count
    # Cases may have been inserted or deleted since, so the last id decides, not the count.
    if bookmark.last in ids:
        return ids.index(bookmark.last) + 1
    # The last case was deleted: those before it were sent, and the next one has its place.
    return bookmark.count - 1


Change = Callable[[Exchange, dict[str, Any]], bool]
_A_MINUTE = timedelta(minutes=1)


def page_effect(change: Change) -> Effect:
    """Return the effect that applies a change to parsed pages."""

    def effect(exchange: Exchange) -> Reply | None:
        page = exchange.page()
        return exchange.with_page(page) if page is not None and change(exchange, page) else None

    return effect


def _empty(exchange: Exchange, page: dict[str, Any]) -> bool:
    return _shorten(exchange, page, 0)


def _short(exchange: Exchange, page: dict[str, Any]) -> bool:
    return _shorten(exchange, page, exchange.fault.value)


def _shorten(exchange: Exchange, page: dict[str, Any], size: int) -> bool:
    cases = exchange.cases(page)
    if len(cases) <= size:
        return False
    _set_bookmark(exchange, page, exchange.cursor, cases[:size])
    del cases[size:]
    return True


def _set_bookmark(exchange: Exchange, page: Any, cursor: str | None, cases: list[Any]) -> None:
    """Set the next cursor of a page to the cases after these of the cursor's page."""
    # The cursor of the page itself, not the one to the next page, since that one would skip the
    # cases that were not sent.
    last = case_id(cases[-1]) if cases else None
    exchange.wire.set_next_cursor(page, exchange.request, make_bookmark(cursor, len(cases), last))


def _long(exchange: Exchange, page: dict[str, Any]) -> bool:
    cursor = exchange.wire.next_cursor(page)
    if cursor is None:
        return False
    following = exchange.page_of(
        exchange.answer(exchange.wire.with_cursor(exchange.request, cursor))
    )
    if following is None:
        return False
    cases = exchange.cases(following)
    extra = cases[: exchange.fault.value]
    exchange.cases(page).extend(extra)
    # If the whole next page fits, its own cursor follows; else a bookmark to the rest of it.
    if extra == cases:
        exchange.wire.set_next_cursor(page, exchange.request, exchange.wire.next_cursor(following))
    else:
        _set_bookmark(exchange, page, cursor, extra)
    return True


def _repeat(exchange: Exchange, page: dict[str, Any]) -> bool:
    cases = exchange.cases(page)
    if not cases:
        return False
    # The last case is sent, but the bookmark counts the cases before it: it comes once more.
    _set_bookmark(exchange, page, exchange.cursor, cases[:-1])
    if exchange.fault.value == "older":
        _make_older(exchange, cases[-1])
    return True


def _make_older(exchange: Exchange, case: Any) -> None:
    location = exchange.wire.update_time(case)
    if location is not None:
        holder, key = location
        holder[key] = wire_time(stored_time(datetime.fromisoformat(holder[key]) - _A_MINUTE))


def _same_token(exchange: Exchange, page: dict[str, Any]) -> bool:
    if exchange.cursor is not None:
        exchange.wire.set_next_cursor(page, exchange.request, exchange.cursor)
    return exchange.cursor is not None


def _cycle(exchange: Exchange, page: dict[str, Any]) -> bool:
    """Set the next token to that of the reply before the last one: A, B, A, B, …."""
    # The memory has the cursor that each token was returned to.
    earlier = exchange.memory.get(exchange.cursor or "")
    token = earlier or exchange.wire.next_cursor(page)
    if token is not None:
        exchange.memory[token] = exchange.cursor
        exchange.wire.set_next_cursor(page, exchange.request, token)
    return earlier is not None


def _no_token(exchange: Exchange, page: dict[str, Any]) -> bool:
    return exchange.wire.remove_next(page)


def _token(exchange: Exchange, page: dict[str, Any]) -> bool:
    exchange.wire.set_next_raw(page, exchange.fault.value)
    return True


def _absolute_link(exchange: Exchange, page: dict[str, Any]) -> bool:
    link = page["links"].get("next")
    if not link:
        return False
    origin = exchange.fault.value or f"http://{exchange.request.headers.get('host', '127.0.0.1')}"
    exchange.wire.set_next_raw(page, origin.rstrip("/") + link)
    return True


def _total(exchange: Exchange, page: dict[str, Any]) -> bool:
    return _add_to_total(page, exchange.fault.value)


def _moving_total(exchange: Exchange, page: dict[str, Any]) -> bool:
    return _add_to_total(page, exchange.fault.value * exchange.number)


def _add_to_total(page: dict[str, Any], more: int) -> bool:
    if "totalCount" in page:
        page["totalCount"] = max(page["totalCount"] + more, 0)
    return "totalCount" in page


def _expired_token(exchange: Exchange) -> Reply | None:
    if exchange.cursor is None:
        return None
    return exchange.wire.error(400, "the page token has expired")


PAGE_EFFECTS: Mapping[str, Effect] = {
    "empty_page": page_effect(_empty),
    "short_page": page_effect(_short),
    "long_page": page_effect(_long),
    "repeated_case": page_effect(_repeat),
    "same_token": page_effect(_same_token),
    "token_cycle": page_effect(_cycle),
    "no_token": page_effect(_no_token),
    "token": page_effect(_token),
    "expired_token": _expired_token,
    "absolute_link": page_effect(_absolute_link),
    "total": page_effect(_total),
    "moving_total": page_effect(_moving_total),
}
