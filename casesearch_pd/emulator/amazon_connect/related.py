"""Operations on related items: those of one case, those of all, filtered by type.

Paths, members and limits are those of botocore's service model (connectcases, 2022-10-03).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from casesearch_pd.emulator.amazon_connect.filter import (
    InvalidRequest,
    listed,
    members,
    one_member,
    page_size,
    text,
)
from casesearch_pd.emulator.amazon_connect.responses import Domain, given, not_found, position
from casesearch_pd.emulator.data.related import ITEMS, items_of
from casesearch_pd.emulator.data.store import EVERYTHING, SqlValue, Store, Where, all_of, any_of
from casesearch_pd.emulator.data.values import stored_time, wire_time
from casesearch_pd.emulator.server import Request

_MOST_ITEMS = 25
_MOST_FILTERS = 10
_MOST_SORTS = 2
_LONGEST_ID = 500
_SLA_STATUSES = ("Active", "Overdue", "Met", "NotMet")
_ITEM_SORTS = {"AssociationTime": "at", "CaseId": "case_id"}


def search_related_items(domain: Domain, request: Request, ids: Sequence[str]) -> dict[str, Any]:
    """Answer SearchRelatedItems: the items of one case, oldest first."""
    body = given(request, {"maxResults", "nextToken", "filters"})
    if not domain.live.rows(["case_id"], domain.live.is_case(ids[1])):
        raise not_found("Case", ids[1])
    items = Store(ITEMS, identity="item_id")
    try:
        items.add(items_of(domain.live, domain.live.is_case(ids[1]), stored_time(domain.clock())))
        return _items_page(
            domain, items, body, [("at", False)], ["related", ids[1]], with_case=False
        )
    finally:
        items.close()


def search_all_related_items(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer SearchAllRelatedItems; the first one after a change gathers all items.

    That takes a few seconds for 100,000 cases, and the pages after it 2 ms each.
    """
    body = given(request, {"maxResults", "nextToken", "filters", "sorts"})
    sorts = [
        _item_sort(one, number)
        for number, one in enumerate(listed(body.get("sorts", []), "sorts", most=_MOST_SORTS), 1)
    ]
    items = domain.items.current(stored_time(domain.clock()))
    return _items_page(
        domain, items, body, sorts or [("at", True)], ["all related"], with_case=True
    )


def _item_sort(sort: Any, number: int) -> tuple[str, bool]:
    path = f"sorts.{number}.member"
    members(sort, {"sortProperty", "sortOrder"}, path)
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
    size = page_size(body.get("maxResults"), "maxResults", most=_MOST_ITEMS, default=25)
    where = _items_filter(items, body.get("filters", []))
    keys = [items.key(name, descending=down) for name, down in sorts]
    keys.append(items.key("item_id"))
    bound = [*scope, {name: body[name] for name in body if name != "nextToken"}]
    after = position(domain, body.get("nextToken"), bound)
    names = ("item_id", "case_id", "type", "at", "content", "author")
    rows = items.page(names, where, keys, after=after, limit=size + 1)
    shown = [_shown_item(row[len(keys) :], with_case=with_case) for row in rows[:size]]
    answer: dict[str, Any] = {"relatedItems": shown}
    if len(rows) > size:
        answer["nextToken"] = domain.tokens.issue(list(rows[size - 1][: len(keys)]), bound)
    return answer


def _shown_item(row: Sequence[SqlValue], *, with_case: bool) -> dict[str, Any]:
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
    for number, one in enumerate(listed(filters, "filters", most=_MOST_FILTERS), 1):
        path = f"filters.{number}.member"
        kind, inner = one_member(one, set(_FILTERS), path)
        parts.append(_FILTERS[kind](items, inner, f"{path}.{kind}"))
    return any_of(parts) if parts else EVERYTHING


def _is(items: Store, name: str, value: SqlValue) -> Where:
    return Where(f"{items.expression(name)} = ?", (value,))


def _contact_filter(items: Store, inner: Any, path: str) -> Where:
    members(inner, {"channel", "contactArn"}, path)
    channels = listed(inner.get("channel") or [], f"{path}.channel", most=3)
    checked = [text(one, f"{path}.channel", least=1, most=100) for one in channels]
    parts = [_is(items, "type", "Contact")]
    if checked:
        parts.append(any_of([_is(items, "channel", channel) for channel in checked]))
    return all_of([*parts, *_equal(items, inner, path, contactArn="contact_arn")])


def _comment_filter(items: Store, inner: Any, path: str) -> Where:
    members(inner, set(), path)
    return _is(items, "type", "Comment")


def _file_filter(items: Store, inner: Any, path: str) -> Where:
    members(inner, {"fileArn"}, path)
    return all_of([_is(items, "type", "File"), *_equal(items, inner, path, fileArn="file_arn")])


def _sla_filter(items: Store, inner: Any, path: str) -> Where:
    members(inner, {"name", "status"}, path)
    if inner.get("status", "Active") not in _SLA_STATUSES:
        raise InvalidRequest(f"{path}.status: must be one of {list(_SLA_STATUSES)}")
    equal = _equal(items, inner, path, name="sla_name", status="sla_status")
    return all_of([_is(items, "type", "Sla"), *equal])


def _case_filter(items: Store, inner: Any, path: str) -> Where:
    """Match linked cases, of which generated data have none."""
    members(inner, {"caseId"}, path)
    return _is(items, "type", "ConnectCase")


def _custom_filter(items: Store, inner: Any, path: str) -> Where:
    """Match custom items, of which generated data have none."""
    members(inner, {"fields"}, path)
    return _is(items, "type", "Custom")


def _equal(items: Store, inner: Mapping[str, Any], path: str, **names: str) -> list[Where]:
    return [
        _is(items, column, text(inner[name], f"{path}.{name}", least=1, most=_LONGEST_ID))
        for name, column in names.items()
        if inner.get(name) is not None
    ]


_FILTERS: Mapping[str, Callable[[Store, Any, str], Where]] = {
    "contact": _contact_filter,
    "comment": _comment_filter,
    "file": _file_filter,
    "sla": _sla_filter,
    "connectCase": _case_filter,
    "custom": _custom_filter,
}
