"""Pages of cases on Persona: request parameters, and the rows before or after a cursor."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from casesearch_pd.emulator.data.store import Row, SortKey, Store, Where
from casesearch_pd.emulator.persona.filter import bad_request
from casesearch_pd.emulator.persona.responses import (
    INFLECTIONS,
    CaseLayout,
    Environment,
    Inflect,
    case_object,
)
from casesearch_pd.emulator.server import Request, parse_json

PREFIX = "/api/v1"
# The versions of the OpenAPI description, and one added by the documentation of autumn 2026.
VERSIONS = frozenset({
    "2026-09-29", "2025-12-08", "2025-10-27", "2023-01-05", "2022-09-01",
    "2021-08-18", "2021-07-05", "2021-02-21", "2020-05-18",
})  # fmt: skip

_MAX_PAGE_SIZE, _DEFAULT_PAGE_SIZE = 100, 10
_UNBRACKETED = "include"

Query = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Page:
    """The requested page: its size and the case that it starts after or ends before."""

    size: int
    after: str | None = None
    before: str | None = None


def parse_inflection(request: Request) -> Inflect:
    """Return the requested inflection; raise PersonaError for an unknown version or inflection."""
    version = request.headers.get("persona-version")
    if version is not None and version not in VERSIONS:
        raise bad_request(f"Persona-Version {version!r} is not a known version")
    # kebab-case is the documented default.
    name = request.headers.get("key-inflection", "kebab")
    if name not in INFLECTIONS:
        raise bad_request(f"Key-Inflection must be one of: {', '.join(INFLECTIONS)}")
    return INFLECTIONS[name]


def parse_query(request: Request, known: set[str]) -> Query:
    """Return the query string as ``{"page": {"size": "10"}}``; without brackets the key is ""."""
    parameters: Query = {}
    for name, value in request.query:
        match = re.fullmatch(r"([^\[\]]+)(?:\[([^\[\]]+)\])?", name)
        if (
            match is None
            or match[1] not in known
            or (match[2] is None) != (match[1] == _UNBRACKETED)
        ):
            raise bad_request(f"{name} is not allowed in the query string")
        inner = parameters.setdefault(match[1], {})
        if inner.setdefault(match[2] or "", value) != value:
            raise bad_request(f"{name} is given twice in the query string")
    return parameters


def parse_body(request: Request) -> dict[str, Any]:
    """Return the body of a search."""
    try:
        body = parse_json(request.content or b"{}")
    except ValueError as error:
        raise bad_request(str(error)) from error
    if not isinstance(body, dict):
        raise bad_request("the body must be an object")
    unknown = sorted(set(body) - {"query", "sort", "page"})
    if unknown:
        raise bad_request(f"{unknown[0]} is not allowed in the body")
    if body.get("sort", {}) is None:
        raise bad_request("sort must be an object of attribute and direction")
    if not isinstance(body.get("page", {}), dict):
        raise bad_request("page must be an object")
    return body


def parse_page(parameters: Mapping[str, Any]) -> Page:
    """Return the page of parameters that come from a body, a query string or both."""
    unknown = sorted(set(parameters) - {"size", "after", "before"})
    if unknown:
        raise bad_request(f"page.{unknown[0]} is not allowed")
    # The cursor is the id of a case, not an opaque token.
    cursors = {side: parameters[side] for side in ("after", "before") if side in parameters}
    if len(cursors) > 1:
        raise bad_request("page.after and page.before cannot be used together")
    if not all(isinstance(cursor, str) and cursor for cursor in cursors.values()):
        raise bad_request("page.after and page.before must be the id of a case")
    return Page(_parse_size(parameters.get("size", _DEFAULT_PAGE_SIZE)), **cursors)


def _parse_size(value: Any) -> int:
    size = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _MAX_PAGE_SIZE:
        raise bad_request(f"page.size must be an integer from 1 to {_MAX_PAGE_SIZE}")
    return size


@dataclass(frozen=True)
class OrderedCases:
    """The matching cases of a request, and their order."""

    store: Store
    where: Where
    keys: tuple[SortKey, ...]

    def reverse(self) -> "OrderedCases":
        """Return the same cases in the opposite order."""
        return OrderedCases(self.store, self.where, tuple(key.reverse() for key in self.keys))


@dataclass(frozen=True)
class _Rows:
    """The rows of a page, and whether there are rows before and after it."""

    rows: Sequence[Row]
    has_previous: bool
    has_next: bool


def case_page(
    environment: Environment, cases: OrderedCases, page: Page, layout: CaseLayout, path: str
) -> dict[str, Any]:
    """Return one page of cases with the links to its neighbors, which begin with `path`."""
    read = _rows_before if page.before else _rows_after
    result = read(environment, cases, page, layout.columns)
    start = len(cases.keys)
    ids = [row[start] for row in result.rows]
    has_previous, has_next = bool(ids) and result.has_previous, bool(ids) and result.has_next
    return {
        "data": [case_object(layout, row[start:]) for row in result.rows],
        "links": {
            "prev": _link(path, "before", ids[0], page.size) if has_previous else None,
            "next": _link(path, "after", ids[-1], page.size) if has_next else None,
        },
    }


def _rows_after(
    environment: Environment, cases: OrderedCases, page: Page, columns: Sequence[str]
) -> _Rows:
    after = _cursor_values(cases, page.after)
    # Where cursors are offsets, the cursor's number of rows replaces its position in the order.
    offset = environment.offsets.get((cases, page.after)) or 0
    # There is a next page if there is one row more than the page has.
    rows = cases.store.page(
        columns,
        cases.where,
        cases.keys,
        after=None if offset else after,
        limit=page.size + 1,
        offset=offset,
    )
    page_rows = rows[: page.size]
    is_last = bool(page_rows) and _ends_window(environment, cases, page_rows, offset)
    return _Rows(page_rows, after is not None, len(rows) > page.size and not is_last)


def _rows_before(_: Environment, cases: OrderedCases, page: Page, columns: Sequence[str]) -> _Rows:
    # The page before a case is the page after it in the opposite order, turned round.
    opposite = cases.reverse()
    after = _cursor_values(opposite, page.before)
    rows = cases.store.page(
        columns, opposite.where, opposite.keys, after=after, limit=page.size + 1
    )
    return _Rows(rows[: page.size][::-1], len(rows) > page.size, has_next=True)


def _cursor_values(cases: OrderedCases, cursor: str | None) -> Row | None:
    """Return the sort values of the cursor's case."""
    if cursor is None:
        return None
    values = cases.store.sort_values_of(cursor, cases.keys)
    if values is None:
        raise bad_request(f"page cursor {cursor!r} is not a case")
    return values


def _ends_window(
    environment: Environment, cases: OrderedCases, rows: Sequence[Row], offset: int
) -> bool:
    """Return whether the page ends the result window; store its end where cursors are offsets."""
    options = environment.options
    # A rank costs a count of the whole result, which is spent only where an option needs it.
    if options.window is None and options.cursor == "keyset":
        return False
    last = rows[-1][: len(cases.keys)]
    end = offset + len(rows) if offset else cases.store.rank(cases.where, cases.keys, last)
    if options.cursor == "offset":
        environment.offsets.put((cases, last[-1]), end)
    return options.window is not None and end >= options.window


def _link(path: str, side: str, case_id: Any, size: int) -> str:
    separator = "&" if "?" in path else "?"
    return f"{path}{separator}{urlencode({f'page[{side}]': case_id, 'page[size]': size})}"
