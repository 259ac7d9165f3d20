"""SearchCases: the request's body in, one page of cases out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from casesearch_pd.emulator.amazon_connect.filter import (
    InvalidRequest,
    condition,
    connect_expression,
    field_ids,
    known_field,
    listed,
    members,
    page_size,
    text,
)
from casesearch_pd.emulator.amazon_connect.responses import Domain, position
from casesearch_pd.emulator.data.schema import Column
from casesearch_pd.emulator.data.store import EVERYTHING, Key, Row, SqlValue, Where, all_of
from casesearch_pd.emulator.data.values import wire_time

_MEMBERS = {"maxResults", "nextToken", "searchTerm", "filter", "sorts", "fields"}
_MOST_RESULTS, _USUAL_RESULTS = 100, 25
_MOST_FIELDS, _MOST_SORTS = 25, 2
_LONGEST_TERM = 255
_ALWAYS = ("case_id", "template_id", "tags")


@dataclass(frozen=True)
class _Place:
    """Where a page starts: the keys of the row before it, and how many rows came before."""

    after: Sequence[SqlValue] | None = None
    skipped: int = 0


@dataclass(frozen=True)
class _Search:
    """A request, checked: which cases in which order, what of them, how many from where."""

    where: Where
    order: Sequence[Key]
    columns: Sequence[Column]
    size: int
    place: _Place
    scope: Sequence[Any]


def search_cases(domain: Domain, sent: Any) -> dict[str, Any]:
    """Return the answer to SearchCases.

    Raises
    ------
    InvalidRequest
        Anything that the service model does not allow.
    """
    search = _checked(domain, sent)
    rows = _rows(domain, search)
    reach = _reach(domain, search.place, search.size)
    answer: dict[str, Any] = {
        "cases": _cases(domain, rows[:reach], search),
        "totalCount": domain.store.count(search.where),
    }
    if len(rows) > reach and _reach(domain, search.place, search.size + 1) > reach:
        last = [list(rows[reach - 1][: len(search.order)]), search.place.skipped + reach]
        answer["nextToken"] = domain.tokens.issue(last, search.scope)
    return answer


def _checked(domain: Domain, sent: Any) -> _Search:
    members(sent, _MEMBERS, "body")
    body = {name: value for name, value in sent.items() if value is not None}
    asked = body.get("maxResults")
    size = page_size(asked, "maxResults", most=_MOST_RESULTS, default=_USUAL_RESULTS)
    where = _where(domain, body)
    order = _order(domain, body.get("sorts", []))
    columns = _columns(domain, body.get("fields"))
    scope = ["search", {name: body[name] for name in sorted(body) if name != "nextToken"}]
    place = _place(domain, body.get("nextToken"), scope)
    return _Search(where, order, columns, size, place, scope)


def _rows(domain: Domain, search: _Search) -> list[Row]:
    """Return the rows of the page, and one more if there is one."""
    return domain.store.page(
        [*_ALWAYS, *(column.name for column in search.columns)],
        search.where,
        search.order,
        after=search.place.after,
        limit=search.size + 1,
        offset=search.place.skipped if domain.choices.cursor == "offset" else 0,
    )


def _reach(domain: Domain, place: _Place, size: int) -> int:
    """Return how many rows of a page are within the result window."""
    window = domain.choices.window
    return size if window is None else min(size, window - place.skipped)


def _where(domain: Domain, body: Mapping[str, Any]) -> Where:
    parts = []
    term = text(body.get("searchTerm", ""), "searchTerm", most=_LONGEST_TERM)
    if term.strip():
        parts.append(domain.store.having_words(term))
    if "filter" in body:
        parts.append(condition(domain.store, body["filter"], domain.choices))
    return all_of(parts) if parts else EVERYTHING


def _order(domain: Domain, sorts: Any) -> list[Key]:
    asked = listed(sorts, "sorts", most=_MOST_SORTS)
    keys = [_sort_key(domain, sort, number) for number, sort in enumerate(asked, 1)]
    if not keys:
        # "sorted from most-recently to least-recently updated": Connect administrator guide
        keys = [domain.store.key("updated_at", descending=True)]
    return [*keys, domain.store.key("case_id")]


def _sort_key(domain: Domain, sort: Any, number: int) -> Key:
    path = f"sorts.{number}.member"
    members(sort, {"fieldId", "sortOrder"}, path)
    column = known_field(domain.store.schema, sort.get("fieldId"), f"{path}.fieldId")
    direction = sort.get("sortOrder")
    if direction not in ("Asc", "Desc"):
        raise InvalidRequest(f"{path}.sortOrder: {direction!r} is not one of ['Asc', 'Desc']")
    return domain.store.key(
        column.name,
        expression=connect_expression(domain.store, column),
        descending=direction == "Desc",
        nulls_last=domain.choices.nulls_last,
    )


def _columns(domain: Domain, fields: Any) -> list[Column]:
    if fields is None:
        shown = domain.choices.default_fields == "system"
        return [one for one in domain.store.schema.by_connect.values() if shown and not one.custom]
    return [
        known_field(domain.store.schema, one, f"fields.{number}.member.id")
        for number, one in enumerate(field_ids(fields, most=_MOST_FIELDS), 1)
    ]


def _place(domain: Domain, token: Any, scope: Any) -> _Place:
    found = position(domain, token, scope)
    if found is None:
        return _Place()
    after, skipped = found
    return _Place(None if domain.choices.cursor == "offset" else after, skipped)


def _cases(domain: Domain, rows: Sequence[Row], search: _Search) -> list[dict[str, Any]]:
    shows = [value_shower(column) for column in search.columns]
    ids = [column.connect for column in search.columns]
    keys = len(search.order)
    first = keys + len(_ALWAYS)
    missing = missing_value(domain)
    omit = domain.choices.unset == "omit"
    return [
        {
            "caseId": row[keys],
            "templateId": row[keys + 1],
            "fields": [
                {"id": field_id, "value": missing if value is None else show(value)}
                for field_id, show, value in zip(ids, shows, row[first:], strict=True)
                if value is not None or not omit
            ],
            "tags": shown_tags(row[keys + 2]),
        }
        for row in rows
    ]


def missing_value(domain: Domain) -> Any:
    """Return what is shown for a field that a case does not have, where it is shown at all."""
    return {"emptyValue": {}} if domain.choices.unset == "empty" else None


def value_shower(column: Column) -> Callable[[SqlValue], dict[str, Any]]:
    """Return the function that turns a stored value into a FieldValueUnion."""
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
            return lambda value: {"stringValue": joined_list(value)}
        case _:
            return lambda value: {"stringValue": value}


def joined_list(stored: SqlValue) -> str:
    """Return a stored list of text as the one text that Connect shows of it."""
    return ", ".join(msgspec.json.decode(str(stored), type=list[str]))


def shown_tags(stored: SqlValue) -> dict[str, str]:
    """Return stored tags, a list of ``key=value``, as a map."""
    if stored is None or stored == "[]":
        return {}
    pairs = (tag.partition("=") for tag in msgspec.json.decode(str(stored), type=list[str]))
    return {key: value for key, _, value in pairs}
