"""SearchCases: the request's body in, one page of cases out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from casesearch_pd.local.connect_filter import (
    InvalidRequest,
    Reading,
    condition,
    connect_expression,
    known_field,
    listed,
    members,
    text,
)
from casesearch_pd.local.schema import Column
from casesearch_pd.local.store import Key, Row, Store
from casesearch_pd.local.times import wire_time
from casesearch_pd.local.tokens import Tokens
from casesearch_pd.local.where import EVERYTHING, SqlValue, Where, all_of

_MEMBERS = {"maxResults", "nextToken", "searchTerm", "filter", "sorts", "fields"}
_MOST_RESULTS, _DEFAULT_RESULTS = 100, 25
_MOST_FIELDS, _MOST_SORTS = 25, 2
_LONGEST_TERM, _LONGEST_TOKEN = 255, 9000
_ALWAYS = ("case_id", "template_id", "tags")


@dataclass(frozen=True)
class Domain:
    """A Cases domain: its cases and how it answers.

    Parameters
    ----------
    store
        The cases.
    domain_id, region, account
        What the domain's ARNs are made of.
    created
        When the domain was made.
    tokens
        Makes and reads page tokens.
    access_key
        The one access key id let in, or None for any.
    reading
        How filters are read where the documents leave it open.
    unset
        A field asked for and not set on a case: ``omit`` it, or show it as ``empty`` or ``null``.
    nulls_last
        Whether cases without the sort field come last, in both directions.
    window
        How many cases of a result can be reached by paging, or None for all.
    offsets
        Whether a page token is an offset in the result instead of a place in the order.
    """

    store: Store
    domain_id: str
    region: str
    account: str
    created: datetime
    tokens: Tokens
    access_key: str | None = None
    reading: Reading = Reading()
    unset: str = "omit"
    nulls_last: bool = True
    window: int | None = None
    offsets: bool = False


@dataclass(frozen=True)
class _Place:
    """Where a page starts: the keys of the row before it, and how many rows came before."""

    after: Sequence[SqlValue] | None = None
    skipped: int = 0


def search_cases(domain: Domain, sent: Any) -> dict[str, Any]:
    """Return the answer to SearchCases.

    Raises
    ------
    InvalidRequest
        Anything that the service model does not allow.
    """
    members(sent, _MEMBERS, "body")
    body = {name: value for name, value in sent.items() if value is not None}
    size = page_size(body.get("maxResults"), "maxResults", most=_MOST_RESULTS, default=25)
    where = _where(domain, body)
    order = _order(domain, body.get("sorts", []))
    columns = _columns(domain, body.get("fields", []))
    scope = ["search", {name: body[name] for name in sorted(body) if name != "nextToken"}]
    place = _place(domain, body.get("nextToken"), scope)
    rows, more = _read(domain, where, order, columns, place, size)
    answer: dict[str, Any] = {
        "cases": _cases(domain, rows, columns, len(order)),
        "totalCount": domain.store.count(where),
    }
    if more:
        position = [list(rows[-1][: len(order)]), place.skipped + len(rows)]
        answer["nextToken"] = domain.tokens.issue(position, scope)
    return answer


def _where(domain: Domain, body: Mapping[str, Any]) -> Where:
    parts = []
    term = text(body.get("searchTerm", ""), "searchTerm", most=_LONGEST_TERM)
    if term.strip():
        parts.append(domain.store.having_words(term))
    if "filter" in body:
        parts.append(condition(domain.store, body["filter"], domain.reading))
    return all_of(parts) if parts else EVERYTHING


def _order(domain: Domain, sorts: Any) -> list[Key]:
    keys = [
        _sort_key(domain, sort, number)
        for number, sort in enumerate(listed(sorts, "sorts", most=_MOST_SORTS), 1)
    ]  # noqa: E501
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
        nulls_last=domain.nulls_last,
    )


def _columns(domain: Domain, fields: Any) -> list[Column]:
    found = []
    for number, item in enumerate(listed(fields, "fields", most=_MOST_FIELDS), 1):
        path = f"fields.{number}.member"
        members(item, {"id"}, path)
        found.append(known_field(domain.store.schema, item.get("id"), f"{path}.id"))
    return found


def _place(domain: Domain, token: Any, scope: Any) -> _Place:
    sent = text("" if token is None else token, "nextToken", most=_LONGEST_TOKEN)
    if not sent:
        return _Place()
    try:
        after, skipped = domain.tokens.read(sent, scope)
    except ValueError as error:
        raise InvalidRequest(f"nextToken: {error}") from error
    return _Place(None if domain.offsets else after, skipped)


def _read(
    domain: Domain,
    where: Where,
    order: Sequence[Key],
    columns: Sequence[Column],
    place: _Place,
    size: int,
) -> tuple[list[Row], bool]:
    reach = size if domain.window is None else min(size, domain.window - place.skipped)
    rows = domain.store.page(
        [*_ALWAYS, *(column.name for column in columns)],
        where,
        order,
        after=place.after,
        limit=size + 1,
        offset=place.skipped if domain.offsets else 0,
    )
    at_window = domain.window is not None and place.skipped + reach >= domain.window
    return rows[:reach], len(rows) > reach and not at_window


def _cases(
    domain: Domain, rows: Sequence[Row], columns: Sequence[Column], keys: int
) -> list[dict[str, Any]]:
    shows = [value_shower(column) for column in columns]
    ids = [column.connect for column in columns]
    first = keys + len(_ALWAYS)
    missing = MISSING[domain.unset]
    return [
        {
            "caseId": row[keys],
            "templateId": row[keys + 1],
            "fields": [
                {"id": field_id, "value": missing if value is None else show(value)}
                for field_id, show, value in zip(ids, shows, row[first:], strict=True)
                if value is not None or missing is not OMIT
            ],
            "tags": shown_tags(row[keys + 2]),
        }
        for row in rows
    ]


OMIT: Any = object()
MISSING: Mapping[str, Any] = {"omit": OMIT, "empty": {"emptyValue": {}}, "null": None}
"""How a field that a case does not have is shown; which of them holds is not documented."""


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


def page_size(value: Any, path: str, *, most: int, default: int) -> int:
    """Return the number of results asked for, within its limits."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{path}: {value!r} is not an integer")
    if not 1 <= value <= most:
        raise InvalidRequest(f"{path}: {value} is not between 1 and {most}")
    return value
