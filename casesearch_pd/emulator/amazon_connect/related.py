"""Operations on related items: of one case or of all cases, filtered by type.

Paths, members and limits are those of botocore's service model (connectcases, 2022-10-03).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from casesearch_pd.emulator.amazon_connect.filter import (
    InvalidRequest,
    check_members,
    parse_list,
    parse_page_size,
    parse_text,
    union_member,
)
from casesearch_pd.emulator.amazon_connect.responses import (
    Domain,
    not_found,
    parse_body,
    token_position,
)
from casesearch_pd.emulator.data.related import ITEMS, items_of
from casesearch_pd.emulator.data.store import EVERYTHING, SqlValue, Store, Where, all_of, any_of
from casesearch_pd.emulator.data.values import stored_time, wire_time
from casesearch_pd.emulator.server import Request

_MAX_PAGE_SIZE = 25
_MAX_FILTERS = 10
_MAX_SORTS = 2
_MAX_ID_LENGTH = 500
_SLA_STATUSES = ("Active", "Overdue", "Met", "NotMet")
_ITEM_SORTS = {"AssociationTime": "at", "CaseId": "case_id"}


@dataclass(frozen=True)
class _ItemFilter:
    """A filter of one type of items: columns by member, and members without a column."""

    type: str
    columns: Mapping[str, str] = field(default_factory=dict)
    other_members: tuple[str, ...] = ()


_FILTERS: Mapping[str, _ItemFilter] = {
    "contact": _ItemFilter("Contact", {"contactArn": "contact_arn"}, ("channel",)),
    "comment": _ItemFilter("Comment"),
    "file": _ItemFilter("File", {"fileArn": "file_arn"}),
    "sla": _ItemFilter("Sla", {"name": "sla_name", "status": "sla_status"}),
    # Generated cases have no items of these two types.
    "connectCase": _ItemFilter("ConnectCase", other_members=("caseId",)),
    "custom": _ItemFilter("Custom", other_members=("fields",)),
}


def search_related_items(domain: Domain, request: Request, ids: Sequence[str]) -> dict[str, Any]:
    """Answer SearchRelatedItems: the items of one case, oldest first."""
    body = parse_body(request, {"maxResults", "nextToken", "filters"})
    if not domain.live.rows(["case_id"], domain.live.is_case(ids[1])):
        raise not_found("Case", ids[1])
    # A store for one request: its items are few, and get filters, order and pages like all items.
    items = Store(ITEMS, identity="item_id")
    try:
        items.add(items_of(domain.live, domain.live.is_case(ids[1]), stored_time(domain.clock())))
        return _items_page(
            domain, items, body, [("at", False)], ["related", ids[1]], with_case=False
        )
    finally:
        items.close()


def search_all_related_items(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer SearchAllRelatedItems; the first one after a change generates all items.

    That takes a few seconds for 100,000 cases; later pages take 2 ms each.
    """
    body = parse_body(request, {"maxResults", "nextToken", "filters", "sorts"})
    members = parse_list(body.get("sorts", []), "sorts", maximum=_MAX_SORTS)
    sorts = [_item_sort(member, number) for number, member in enumerate(members, 1)]
    items = domain.items.current(stored_time(domain.clock()))
    return _items_page(
        domain, items, body, sorts or [("at", True)], ["all related"], with_case=True
    )


def _item_sort(sort: Any, number: int) -> tuple[str, bool]:
    path = f"sorts.{number}.member"
    check_members(sort, {"sortProperty", "sortOrder"}, path)
    if sort.get("sortProperty") not in _ITEM_SORTS:
        raise InvalidRequest(f"{path}.sortProperty: must be one of {sorted(_ITEM_SORTS)}")
    if sort.get("sortOrder") not in ("Asc", "Desc"):
        raise InvalidRequest(f"{path}.sortOrder: must be one of ['Asc', 'Desc']")
    return _ITEM_SORTS[sort["sortProperty"]], sort["sortOrder"] == "Desc"


def _items_page(
    domain: Domain,
    items: Store,
    body: Mapping[str, Any],
    sorts: Sequence[tuple[str, bool]],
    scope: list[Any],
    *,
    with_case: bool,
) -> dict[str, Any]:
    size = parse_page_size(body.get("maxResults"), "maxResults", maximum=_MAX_PAGE_SIZE, default=25)
    where = _items_filter(items, body.get("filters", []))
    keys = [items.key(name, descending=down) for name, down in sorts]
    keys.append(items.key("item_id"))
    # A page token is valid for the same request only.
    token_scope = [*scope, {name: body[name] for name in body if name != "nextToken"}]
    after = token_position(domain, body.get("nextToken"), token_scope)
    names = ("item_id", "case_id", "type", "at", "content", "author")
    rows = items.page(names, where, keys, after=after, limit=size + 1)
    objects = [_item_object(row[len(keys) :], with_case=with_case) for row in rows[:size]]
    response: dict[str, Any] = {"relatedItems": objects}
    if len(rows) > size:
        last = list(rows[size - 1][: len(keys)])
        response["nextToken"] = domain.tokens.issue(last, token_scope)
    return response


def _item_object(row: Sequence[SqlValue], *, with_case: bool) -> dict[str, Any]:
    item_id, case_id, kind, at, content, author = row
    return {
        "relatedItemId": item_id,
        **({"caseId": case_id} if with_case else {}),
        "type": kind,
        "associationTime": wire_time(str(at)),
        "content": msgspec.Raw(str(content).encode()),
        "tags": {},
        **({"performedBy": {"userArn": author}} if author else {}),
    }


def _items_filter(items: Store, filters: Any) -> Where:
    parts = []
    for number, member in enumerate(parse_list(filters, "filters", maximum=_MAX_FILTERS), 1):
        path = f"filters.{number}.member"
        kind, body = union_member(member, set(_FILTERS), path)
        parts.append(_item_condition(items, _FILTERS[kind], body, f"{path}.{kind}"))
    return any_of(parts) if parts else EVERYTHING


def _item_condition(items: Store, item_filter: _ItemFilter, body: Any, path: str) -> Where:
    check_members(body, {*item_filter.columns, *item_filter.other_members}, path)
    parts = [_equals(items, "type", item_filter.type)]
    values = parse_list(body.get("channel") or [], f"{path}.channel", maximum=3)
    channels = [parse_text(value, f"{path}.channel", minimum=1, maximum=100) for value in values]
    if channels:
        parts.append(any_of([_equals(items, "channel", channel) for channel in channels]))
    if body.get("status", "Active") not in _SLA_STATUSES:
        raise InvalidRequest(f"{path}.status: must be one of {list(_SLA_STATUSES)}")
    for name, column in item_filter.columns.items():
        if body.get(name) is not None:
            value = parse_text(body[name], f"{path}.{name}", minimum=1, maximum=_MAX_ID_LENGTH)
            parts.append(_equals(items, column, value))
    return all_of(parts)


def _equals(items: Store, name: str, value: SqlValue) -> Where:
    return Where(f"{items.expression(name)} = ?", (value,))
