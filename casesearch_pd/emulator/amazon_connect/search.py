"""SearchCases: the check of its request, the rows of a page, and field values as it shows them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from casesearch_pd.emulator.amazon_connect.filter import (
    InvalidRequest,
    check_members,
    condition,
    connect_expression,
    find_field,
    parse_field_ids,
    parse_list,
    parse_page_size,
    parse_text,
)
from casesearch_pd.emulator.amazon_connect.responses import Domain, token_position
from casesearch_pd.emulator.data.schema import Column
from casesearch_pd.emulator.data.store import EVERYTHING, Row, SortKey, SqlValue, Where, all_of
from casesearch_pd.emulator.data.values import wire_time

_MEMBERS = {"maxResults", "nextToken", "searchTerm", "filter", "sorts", "fields"}
_MAX_PAGE_SIZE, _DEFAULT_PAGE_SIZE = 100, 25
_MAX_FIELDS, _MAX_SORTS = 25, 2
_MAX_TERM_LENGTH = 255
_BASE_COLUMNS = ("case_id", "template_id", "tags")


@dataclass(frozen=True)
class _Position:
    """The start of a page: the sort values of the row before it, and the number of rows before."""

    after: Sequence[SqlValue] | None = None
    offset: int = 0


@dataclass(frozen=True)
class _Search:
    """A valid request: the cases, their order, the columns, the page and what its token covers."""

    where: Where
    order: Sequence[SortKey]
    columns: Sequence[Column]
    size: int
    position: _Position
    scope: Sequence[Any]


def search_cases(domain: Domain, content: Any) -> dict[str, Any]:
    """Return the response to SearchCases.

    Raises
    ------
    InvalidRequest
        If the service model does not allow the request.
    """
    search = _parse_search(domain, content)
    rows = _rows(domain, search)
    # A result window (an option) ends the result early: no row after it, and no token to one.
    size = _rows_within_window(domain, search.position, search.size)
    response: dict[str, Any] = {
        "cases": _cases(domain, rows[:size], search),
        "totalCount": domain.store.count(search.where),
    }
    if len(rows) > size and _rows_within_window(domain, search.position, search.size + 1) > size:
        # Both kinds of position are in each token, since the option for the cursor decides which
        # of them counts: sort values survive inserts and deletes, a number of rows does not.
        last = [list(rows[size - 1][: len(search.order)]), search.position.offset + size]
        response["nextToken"] = domain.tokens.issue(last, search.scope)
    return response


def _parse_search(domain: Domain, content: Any) -> _Search:
    check_members(content, _MEMBERS, "body")
    body = {name: value for name, value in content.items() if value is not None}
    size = parse_page_size(
        body.get("maxResults"), "maxResults", maximum=_MAX_PAGE_SIZE, default=_DEFAULT_PAGE_SIZE
    )
    where = _where(domain, body)
    order = _order(domain, body.get("sorts", []))
    columns = _columns(domain, body.get("fields"))
    # A token continues its own request only, and the page size is part of that: a client that
    # changes anything between two pages is refused.
    scope = ["search", {name: body[name] for name in sorted(body) if name != "nextToken"}]
    position = _parse_position(domain, body.get("nextToken"), scope)
    return _Search(where, order, columns, size, position, scope)


def _rows(domain: Domain, search: _Search) -> list[Row]:
    """Return the rows of the page, and the row after them if there is one."""
    return domain.store.page(
        [*_BASE_COLUMNS, *(column.name for column in search.columns)],
        search.where,
        search.order,
        after=search.position.after,
        limit=search.size + 1,
        offset=search.position.offset if domain.options.cursor == "offset" else 0,
    )


def _rows_within_window(domain: Domain, position: _Position, size: int) -> int:
    """Return how many rows of a page are within the result window."""
    window = domain.options.window
    return size if window is None else min(size, window - position.offset)


def _where(domain: Domain, body: Mapping[str, Any]) -> Where:
    parts = []
    term = parse_text(body.get("searchTerm", ""), "searchTerm", maximum=_MAX_TERM_LENGTH)
    if term.strip():
        parts.append(domain.store.having_words(term))
    if "filter" in body:
        parts.append(condition(domain.store, body["filter"], domain.options))
    return all_of(parts) if parts else EVERYTHING


def _order(domain: Domain, sorts: Any) -> list[SortKey]:
    items = parse_list(sorts, "sorts", maximum=_MAX_SORTS)
    keys = [_sort_key(domain, sort, number) for number, sort in enumerate(items, 1)]
    if not keys:
        # "sorted from most-recently to least-recently updated": Connect administrator guide.
        keys = [domain.store.key("updated_at", descending=True)]
    # Whether equal cases have a stable order is not documented; without one a page could not begin
    # after a case.
    return [*keys, domain.store.key("case_id")]


def _sort_key(domain: Domain, sort: Any, number: int) -> SortKey:
    path = f"sorts.{number}.member"
    check_members(sort, {"fieldId", "sortOrder"}, path)
    column = find_field(domain.store.schema, sort.get("fieldId"), f"{path}.fieldId")
    direction = sort.get("sortOrder")
    if direction not in ("Asc", "Desc"):
        raise InvalidRequest(f"{path}.sortOrder: {direction!r} is not one of ['Asc', 'Desc']")
    return domain.store.key(
        column.name,
        expression=connect_expression(domain.store, column),
        descending=direction == "Desc",
        nulls_last=domain.options.nulls_last,
    )


def _columns(domain: Domain, fields: Any) -> list[Column]:
    if fields is None:
        if domain.options.default_fields == "none":
            return []
        return [field for field in domain.store.schema.by_connect.values() if not field.custom]
    return [
        find_field(domain.store.schema, one, f"fields.{number}.member.id")
        for number, one in enumerate(parse_field_ids(fields, maximum=_MAX_FIELDS), 1)
    ]


def _parse_position(domain: Domain, token: Any, scope: Any) -> _Position:
    position = token_position(domain, token, scope)
    if position is None:
        return _Position()
    after, offset = position
    return _Position(None if domain.options.cursor == "offset" else after, offset)


def _cases(domain: Domain, rows: Sequence[Row], search: _Search) -> list[dict[str, Any]]:
    encoders = [value_encoder(column) for column in search.columns]
    ids = [column.connect for column in search.columns]
    # A row is its sort values, then the base columns, then the requested fields.
    keys = len(search.order)
    first = keys + len(_BASE_COLUMNS)
    missing = missing_value(domain)
    omit = domain.options.unset == "omit"
    return [
        {
            "caseId": row[keys],
            "templateId": row[keys + 1],
            "fields": [
                {"id": field_id, "value": missing if value is None else encode(value)}
                for field_id, encode, value in zip(ids, encoders, row[first:], strict=True)
                if value is not None or not omit
            ],
            "tags": tag_map(row[keys + 2]),
        }
        for row in rows
    ]


def missing_value(domain: Domain) -> Any:
    """Return the value of a field that a case does not have, where such fields are included."""
    return {"emptyValue": {}} if domain.options.unset == "empty" else None


def value_encoder(column: Column) -> Callable[[SqlValue], dict[str, Any]]:
    """Return the function that encodes a stored value as a FieldValueUnion."""
    match column.kind:
        case "datetime":
            return lambda value: {"stringValue": wire_time(str(value))}
        case "boolean":
            return lambda value: {"booleanValue": bool(value)}
        case "number" | "integer":
            return lambda value: {"doubleValue": value}
        case "user":
            return lambda value: {"userArnValue": value}
        case "list":
            return lambda value: {"stringValue": join_list(value)}
        case _:
            return lambda value: {"stringValue": value}


def join_list(value: SqlValue) -> str:
    """Return a stored list of text as one text, as Connect shows it."""
    return ", ".join(msgspec.json.decode(str(value), type=list[str]))


def tag_map(value: SqlValue) -> dict[str, str]:
    """Return stored tags, a list of ``key=value``, as a map."""
    if value is None or value == "[]":
        return {}
    pairs = (tag.partition("=") for tag in msgspec.json.decode(str(value), type=list[str]))
    return {key: value for key, _, value in pairs}
