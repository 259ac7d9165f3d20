"""The wire of Persona (JSON:API): an authorised request in, its documented answer out.

Paths, members and status codes are those of Persona's OpenAPI description (2025-12-08). Whoever
has no valid key gets 401, whatever the path; every other answer carries the rate limit and request ids.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hmac import compare_digest
from itertools import count
from typing import Any
from urllib.parse import urlencode

import msgspec

from casesearch_pd.local.choices import Choices
from casesearch_pd.local.http import Reply, Request, parse_json
from casesearch_pd.local.persona_query import (
    PersonaError,
    bad_request,
    condition,
    order,
)
from casesearch_pd.local.persona_render import (
    INFLECTIONS,
    Inflect,
    case_object,
    plan,
    template_object,
)
from casesearch_pd.local.rates import Standing, Window
from casesearch_pd.local.schema import made_id
from casesearch_pd.local.store import Key, Row, Store
from casesearch_pd.local.times import stored_time, wire_time
from casesearch_pd.local.where import EVERYTHING, NOTHING, Where, all_of

PREFIX = "/api/v1"
VERSIONS = frozenset({
    "2026-09-29", "2025-12-08", "2025-10-27", "2023-01-05", "2022-09-01",
    "2021-08-18", "2021-07-05", "2021-02-21", "2020-05-18",
})  # fmt: skip
_MOST, _DEFAULT = 100, 10
_REPLAYS_KEPT = 1000
_INCLUDED = frozenset({
    "case-template", "case-queue", "case-comments", "accounts", "inquiries", "reports",
    "verifications", "txns",
})  # fmt: skip


@dataclass
class _Replays:
    """Replies kept by Idempotency-Key, with what they were replies to."""

    kept: OrderedDict[str, tuple[bytes, Reply]] = field(default_factory=OrderedDict)


@dataclass
class _Offsets:
    """How many rows came before a cursor when it was handed out, for cursors that are offsets."""

    kept: OrderedDict[tuple[Where, str], int] = field(default_factory=OrderedDict)


@dataclass(frozen=True)
class Environment:
    """A Persona environment: its cases and how it answers.

    Parameters
    ----------
    store
        The cases that search sees.
    live
        The cases that List and retrieve see.
    token
        The API key that is let in.
    window
        The rate limit of the environment.
    created
        When its templates were made.
    choices
        How it answers where no document says it.
    """

    store: Store
    live: Store
    token: str = field(repr=False)
    window: Window
    created: datetime
    choices: Choices
    replays: _Replays = field(default_factory=_Replays)
    offsets: _Offsets = field(default_factory=_Offsets)
    numbers: Iterator[int] = field(default_factory=count)


@dataclass(frozen=True)
class _Page:
    """The page asked for: its size and the case that it starts after or ends before."""

    size: int
    after: str | None = None
    before: str | None = None


def answer(environment: Environment, request: Request) -> Reply:
    """Return the reply to a request; whatever is wrong with it becomes the documented error."""
    title = _unauthorised(environment, request)
    if title:
        return _reply(401, {"errors": [{"title": title}]})
    standing = environment.window.take()
    reply = _refused(standing) if standing.refused else _replayed(environment, request)
    return Reply(reply.status, reply.content, {**reply.headers, **_headers(environment, standing)})


def error_reply(error: PersonaError) -> Reply:
    """Return an error in the shape of Persona's OpenAPI description."""
    shown: dict[str, Any] = {"title": error.title}
    if error.details:
        shown["details"] = error.details
    if error.pointer:
        shown["source"] = {"pointer": error.pointer}
    return _reply(error.status, {"errors": [shown]})


def _reply(status: int, body: Any) -> Reply:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Reply(status, msgspec.json.encode(body), headers)


def _unauthorised(environment: Environment, request: Request) -> str:
    sent = request.headers.get("authorization", "")
    scheme, _, token = sent.partition(" ")
    if scheme.lower() != "bearer" or not token:
        return "Must be authenticated to access this endpoint"
    known = compare_digest(token.strip().encode(), environment.token.encode())
    return "" if known else "Token is invalid"


def _headers(environment: Environment, standing: Standing) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(standing.limit),
        "RateLimit-Remaining": str(standing.remaining),
        "RateLimit-Reset": str(standing.reset),
        "Request-Id": made_id("req", next(environment.numbers)),
        "Persona-Environment-Id": made_id("env", "local"),
        "Persona-Organization-Id": made_id("org", "local"),
    }


def _refused(standing: Standing) -> Reply:
    details = (
        f"You have hit your rate limit of {standing.limit} requests / min. "
        "Please reach out to support@withpersona.com if you need this changed."
    )
    return error_reply(PersonaError(429, "Rate limit exceeded", details))


def _replayed(environment: Environment, request: Request) -> Reply:
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return _answered(environment, request)
    sent = f"{request.target}\n".encode() + request.content
    kept = environment.replays.kept
    if key not in kept:
        kept[key] = (sent, _answered(environment, request))
        while len(kept) > _REPLAYS_KEPT:
            kept.popitem(last=False)
    if kept[key][0] != sent:
        details = "Idempotency-Key was used with other parameters"
        return error_reply(PersonaError(409, "Conflict", details))
    return kept[key][1]


def _answered(environment: Environment, request: Request) -> Reply:
    try:
        inflect = _inflection(request)
        operation, ids = _route(request)
        return _reply(200, operation(environment, request, inflect, ids))
    except PersonaError as error:
        return error_reply(error)


def _inflection(request: Request) -> Inflect:
    version = request.headers.get("persona-version")
    if version is not None and version not in VERSIONS:
        raise bad_request(f"Persona-Version {version!r} is not a known version")
    name = request.headers.get("key-inflection", "kebab")
    if name not in INFLECTIONS:
        raise bad_request(f"Key-Inflection must be one of: {', '.join(INFLECTIONS)}")
    return INFLECTIONS[name]


def _route(request: Request) -> tuple["Operation", list[str]]:
    parts = request.parts[2:] if request.path.startswith(f"{PREFIX}/") else []
    match request.method, parts:
        case "POST", ["cases", "search"]:
            return _search, []
        case "GET", ["cases"]:
            return _list, []
        case "GET", ["cases", case_id]:
            return _retrieve, [case_id]
        case "GET", ["case-templates", template_id]:
            return _template, [template_id]
        case "GET", ["rate-limits"]:
            return _rate_limits, []
        case _, ["cases"] | ["cases", _] | ["case-templates", _] | ["rate-limits"]:
            raise PersonaError(405, "Method not allowed", f"{request.method} is not allowed here")
        case _:
            raise PersonaError(404, "Record not found")


def _search(
    environment: Environment, request: Request, inflect: Inflect, _: Sequence[str]
) -> dict[str, Any]:
    body = _body(request)
    query = _query(request, {"page", "fields"})
    page = _page({**_body_page(body), **query.get("page", {})})
    where = EVERYTHING
    if "query" in body:
        where = condition(environment.store, body["query"], environment.choices)
    keys = order(environment.store, body.get("sort"), environment.choices)
    path = f"{PREFIX}/cases/search"
    return _answer_page(environment, environment.store, where, keys, page, query, inflect, path)


def _list(
    environment: Environment, request: Request, inflect: Inflect, _: Sequence[str]
) -> dict[str, Any]:
    query = _query(request, {"page", "fields", "filter"})
    where = _list_filter(environment.live, query.get("filter", {}))
    keys = [
        environment.live.key("created_at", descending=True),
        environment.live.key("case_id", descending=True),
    ]
    kept = [pair for pair in request.query if not pair[0].startswith("page[")]
    path = f"{PREFIX}/cases" + (f"?{urlencode(kept)}" if kept else "")
    page = _page(query.get("page", {}))
    return _answer_page(environment, environment.live, where, keys, page, query, inflect, path)


def _answer_page(
    environment: Environment,
    store: Store,
    where: Where,
    keys: Sequence[Key],
    page: _Page,
    query: Mapping[str, Mapping[str, str]],
    inflect: Inflect,
    path: str,
) -> dict[str, Any]:
    fieldset = query.get("fields", {}).get("case")
    shown = plan(store.schema, inflect, fieldset, choices=environment.choices)
    rows, earlier, later = _read(environment, store, shown.columns, where, keys, page)
    ids = [row[len(keys)] for row in rows]
    return {
        "data": [case_object(shown, row[len(keys) :]) for row in rows],
        "links": {
            "prev": _link(path, "before", ids[0], page.size) if ids and earlier else None,
            "next": _link(path, "after", ids[-1], page.size) if ids and later else None,
        },
    }


def _read(
    environment: Environment,
    store: Store,
    columns: Sequence[str],
    where: Where,
    keys: Sequence[Key],
    page: _Page,
) -> tuple[list[Row], bool, bool]:
    """Return the rows of a page, and whether there are rows before and after it."""
    backwards = page.before is not None
    walked = [key.reversed() for key in keys] if backwards else list(keys)
    place, skipped = _start(environment, store, where, walked, page)
    after = None if skipped else place
    rows = store.page(columns, where, walked, after=after, limit=page.size + 1, offset=skipped)
    more = len(rows) > page.size
    rows = rows[: page.size]
    if backwards:
        return rows[::-1], more, True
    reached = _reached(environment, store, where, walked, rows, skipped)
    return rows, place is not None, more and not reached


def _start(
    environment: Environment, store: Store, where: Where, walked: Sequence[Key], page: _Page
) -> tuple[Row | None, int]:
    """Return the sort keys of the cursor's case, or how many rows to skip."""
    cursor = page.after or page.before
    if cursor is None:
        return None, 0
    place = store.place_of(cursor, walked)
    if place is None:
        raise bad_request(f"page cursor {cursor!r} is not a case")
    return place, environment.offsets.kept.get((where, cursor), 0)


def _reached(
    environment: Environment,
    store: Store,
    where: Where,
    walked: Sequence[Key],
    rows: Sequence[Row],
    skipped: int,
) -> bool:
    """Return whether the page ends the result window; note its end where cursors are offsets."""
    choices = environment.choices
    if not rows or (choices.window is None and choices.cursor == "keyset"):
        return False
    last = rows[-1][: len(walked)]
    rank = store.rank(where, walked, last)
    if choices.cursor == "offset":
        environment.offsets.kept[where, str(last[-1])] = (
            rank if not skipped else skipped + len(rows)
        )
    return choices.window is not None and rank >= choices.window


def _link(path: str, side: str, case_id: Any, size: int) -> str:
    joint = "&" if "?" in path else "?"
    return f"{path}{joint}{urlencode({f'page[{side}]': case_id, 'page[size]': size})}"


def _retrieve(
    environment: Environment, request: Request, inflect: Inflect, ids: Sequence[str]
) -> dict[str, Any]:
    query = _query(request, {"fields", "include"})
    fieldset = query.get("fields", {}).get("case")
    live = environment.live
    shown = plan(live.schema, inflect, fieldset, choices=environment.choices)
    rows = live.rows(shown.columns, Where(f"{live.expression('case_id')} = ?", (ids[0],)))
    if not rows:
        raise PersonaError(404, "Record not found")
    found: dict[str, Any] = {"data": case_object(shown, rows[0])}
    if "include" in query:
        found["included"] = _included(environment, ids[0], query["include"][""], inflect)
    return found


def _included(
    environment: Environment, case_id: str, include: str, inflect: Inflect
) -> list[dict[str, Any]]:
    """Return the related objects asked for: the template whole, others by type and id."""
    names = [name for name in include.split(",") if name]
    unknown = sorted(set(names) - {inflect(name.replace("-", "_")) for name in _INCLUDED})
    if unknown:
        raise bad_request(f"include {unknown[0]!r} is not a relationship of a case")
    live = environment.live
    whole = plan(live.schema, inflect, None, choices=environment.choices)
    row = live.rows(whole.columns, Where(f"{live.expression('case_id')} = ?", (case_id,)))[0]
    related = case_object(whole, row).get("relationships", {})
    found = [related[name]["data"] for name in names if name in related]
    flat = [one for held in found for one in (held if isinstance(held, list) else [held]) if one]
    return [_full(environment, one, inflect) for one in flat]


def _full(environment: Environment, link: dict[str, Any], inflect: Inflect) -> dict[str, Any]:
    if link["type"] != "case-template":
        return link
    return _template(environment, None, inflect, [link["id"]])["data"]  # type: ignore[no-any-return]


def _template(
    environment: Environment, request: Request | None, inflect: Inflect, ids: Sequence[str]
) -> dict[str, Any]:
    if request is not None:
        _query(request, {"fields", "include"})
    template = environment.live.schema.template(ids[0])
    if template is None:
        raise PersonaError(404, "Record not found")
    made = wire_time(stored_time(environment.created))
    return {"data": template_object(environment.live.schema, template, inflect, made)}


def _rate_limits(
    environment: Environment, request: Request, inflect: Inflect, _: Sequence[str]
) -> dict[str, Any]:
    _query(request, set())
    standing = environment.window.standing()
    attributes = {
        "limit": standing.limit,
        "remaining": standing.remaining,
        inflect("seconds_to_reset"): standing.reset,
    }
    return {"data": [{"type": "rate-limit/api", "attributes": attributes}]}


def _body(request: Request) -> dict[str, Any]:
    try:
        body = parse_json(request.content or b"{}")
    except ValueError as error:
        raise bad_request(str(error)) from error
    if not isinstance(body, dict):
        raise bad_request("the body must be an object")
    unknown = sorted(set(body) - {"query", "sort", "page"})
    if unknown:
        raise bad_request(f"{unknown[0]} is not allowed in the body")
    if "sort" in body and body["sort"] is None:
        raise bad_request("sort must be an object of attribute and direction")
    return body


def _body_page(body: Mapping[str, Any]) -> dict[str, Any]:
    page = body.get("page", {})
    if not isinstance(page, dict):
        raise bad_request("page must be an object")
    return page


def _page(sent: Mapping[str, Any]) -> _Page:
    unknown = sorted(set(sent) - {"size", "after", "before"})
    if unknown:
        raise bad_request(f"page.{unknown[0]} is not allowed")
    size = sent.get("size", _DEFAULT)
    if isinstance(size, str) and re.fullmatch(r"\d{1,9}", size, re.ASCII):
        size = int(size)
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _MOST:
        raise bad_request(f"page.size must be an integer from 1 to {_MOST}")
    cursors = {side: sent[side] for side in ("after", "before") if side in sent}
    if len(cursors) > 1:
        raise bad_request("page.after and page.before cannot be used together")
    if not all(isinstance(cursor, str) and cursor for cursor in cursors.values()):
        raise bad_request("page.after and page.before must be the id of a case")
    return _Page(size, **cursors)


def _query(request: Request, known: set[str]) -> dict[str, dict[str, str]]:
    """Return the query string as ``{"page": {"size": "10"}}``; a plain name has the key ""."""
    found: dict[str, dict[str, str]] = {}
    for name, value in request.query:
        match = re.fullmatch(r"([^\[\]]+)(?:\[([^\[\]]+)\])?", name)
        if match is None or match.group(1) not in known:
            raise bad_request(f"{name} is not allowed in the query string")
        inner = found.setdefault(match.group(1), {})
        if inner.setdefault(match.group(2) or "", value) != value:
            raise bad_request(f"{name} is given twice in the query string")
    return found


def _list_filter(store: Store, sent: Mapping[str, str]) -> Where:
    parts = []
    for name, value in sent.items():
        key = re.sub(r"([A-Z])", r"_\1", name).lower().replace("-", "_")
        if key not in _LIST_FILTERS:
            raise bad_request(f"filter[{name}] is not allowed")
        parts.append(_LIST_FILTERS[key](store, value))
    return all_of(parts)


def _equals(column: str) -> Callable[[Store, str], Where]:
    return lambda store, value: Where(f"{store.expression(column)} = ?", (value,))


def _has(column: str) -> Callable[[Store, str], Where]:
    return lambda store, value: Where(f"has_item({store.expression(column)}, ?)", (value,))


_LIST_FILTERS: Mapping[str, Callable[[Store, str], Where]] = {
    "status": _equals("status"),
    "case_template_id": _equals("template_id"),
    "account_id": _has("accounts"),
    "inquiry_id": _has("inquiries"),
    "report_id": _has("reports"),
    "reference_id": lambda _, __: NOTHING,  # accounts have no reference ids here
}

Operation = Callable[[Environment, Request, Inflect, Sequence[str]], dict[str, Any]]
