"""An entry of a Connect case's history, or one of its related items, in; rows out.

Shapes follow botocore's service model ``connectcases/2022-10-03``. A value of no known form
costs itself, and an entry without what names it is no answer.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from casesearch_pd import errors
from casesearch_pd.query.schema import Field
from casesearch_pd.sources.amazon_connect.codec import union_value
from casesearch_pd.sources.base import Page, PerCaseListing
from casesearch_pd.sources.transport.retry import send_with_retry
from casesearch_pd.sources.transport.timestamps import served_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from casesearch_pd.query.schema import FieldType
    from casesearch_pd.sources.transport.context import ReadContext
    from casesearch_pd.sources.transport.rate_limit import RateLimiter

__all__ = [
    "EVENT_COLUMNS",
    "FILTERS",
    "ITEM_COLUMNS",
    "KINDS",
    "MAX_EMPTY_PAGES",
    "ODD",
    "RelatedClient",
    "RequestFunction",
    "Row",
    "changes",
    "events",
    "item",
    "known",
    "related",
]

Row = dict[str, Any]

KINDS = ("contact", "comment", "file", "sla", "case", "custom")
"""Kinds of related items, in the order of the service model."""

FILTERS = {"case": "connectCase"}
"""What the wire calls a kind, where it is another word."""

_KIND_OF = {"connectcase": "case"}  # of a type in lower case
_EXACT = 2**53  # whole numbers that a double holds exactly

ODD = object()
"""Stands for a value of no known form."""


def known(held: Any) -> Any:
    """Take what is of no known form for missing."""
    return None if held is ODD else held


def _id(entry: Row, name: str) -> str:
    held = entry.get(name)
    if not isinstance(held, str):
        raise ValueError(f"an entry has no {name}")  # noqa: TRY004 - wire, not a type
    return held


def _object(held: Any) -> Row:
    return held if isinstance(held, dict) else {}


def _objects(held: Any) -> list[Row]:
    return [item for item in held if isinstance(item, dict)] if isinstance(held, list) else []


def _time(held: Any) -> Any:
    """Take a time as the wire writes it; botocore's parser has made a `datetime` of it."""
    return held.isoformat() if isinstance(held, datetime) else held


def _person(union: Any) -> Any:
    told = _object(union)
    return told.get("userArn") or told.get("customEntity")


def _text(union: Any) -> Any:
    """Write a value as text, whatever its type; None where it is empty.

    Whole numbers have no decimal point, booleans are ``true`` and ``false``.
    """
    if union is None:
        return None
    is_known, value = union_value(union)
    match value:
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) <= _EXACT:
            return str(int(value))
        case None if not is_known:
            return ODD
        case None | str():
            return value
        case int() | float():
            return repr(value)
        case _:
            return ODD


def _fields(**names: FieldType) -> tuple[Field, ...]:
    return tuple(Field(name, name, name, kind) for name, kind in names.items())


def changes(event: Row, column: Callable[[str], str]) -> Iterator[Row]:
    """Yield a row for each field that an event changed, or one for an event that changed none.

    Raises
    ------
    ValueError
        If it lacks its id, its type, or the id of a field.
    """
    by = _object(event.get("performedBy"))
    told = {
        "event_id": _id(event, "eventId"),
        "at": _time(event.get("performedTime")),
        "event": _id(event, "type"),
        "by": _person(by.get("user")) or by.get("iamPrincipalArn"),
    }
    fields = _objects(event.get("fields"))
    for one in fields:
        old, new = _text(one.get("oldValue")), _text(one.get("newValue"))
        yield {**told, "field": column(_id(one, "eventFieldId")), "old": old, "new": new}
    if not fields:  # a related item came, went or changed: its type is what there is to tell
        side = "old" if told["event"].endswith(".Deleted") else "new"
        yield {**told, side: event.get("relatedItemType")}


EVENT_COLUMNS = _fields(
    case_id="text", at="datetime", event="text", field="text", old="text", new="text", by="text",
    event_id="text",
)  # fmt: skip
"""Of the rows of `changes`."""


def item(entry: Row, column: Callable[[str], str]) -> Iterator[Row]:
    """Yield the row of a related item.

    Raises
    ------
    ValueError
        If it lacks its id or its type.
    """
    kind = _id(entry, "type").lower()
    kind = _KIND_OF.get(kind, kind)
    content = _object(entry.get("content"))
    read = _CONTENTS.get(kind)
    yield {
        "related_id": _id(entry, "relatedItemId"),
        "kind": kind,
        "at": _time(entry.get("associationTime")),
        "by": _person(entry.get("performedBy")),
        "tags": sorted(f"{key}={value or ''}" for key, value in _object(entry.get("tags")).items()),
        **(read(_object(content.get(FILTERS.get(kind, kind))), column) if read else {}),
    }


def _contact(held: Row, _: Callable[[str], str]) -> Row:
    return {
        "contact_arn": held.get("contactArn"),
        "channel": held.get("channel"),
        "connected_at": _time(held.get("connectedToSystemTime")),
    }


def _comment(held: Row, _: Callable[[str], str]) -> Row:
    return {"body": held.get("body")}


def _file(held: Row, _: Callable[[str], str]) -> Row:
    return {"file_arn": held.get("fileArn")}


def _sla(held: Row, column: Callable[[str], str]) -> Row:
    told = _object(held.get("slaConfiguration"))
    name, targets = told.get("fieldId"), _objects(told.get("targetFieldValues"))
    return {
        "sla_name": told.get("name"),
        "sla_status": told.get("status"),
        "sla_field": column(name) if isinstance(name, str) else None,
        "sla_target": _text(targets[0]) if targets else None,  # there is one (service model)
        "sla_target_at": _time(told.get("targetTime")),
        "sla_completed_at": _time(told.get("completionTime")),
    }


def _case(held: Row, _: Callable[[str], str]) -> Row:
    return {"other_case_id": held.get("caseId")}


def _custom(held: Row, column: Callable[[str], str]) -> Row:
    told = {
        column(_id(one, "id")): known(_text(one.get("value")))
        for one in _objects(held.get("fields"))
    }
    return {"custom": json.dumps(told, ensure_ascii=False)}


_CONTENTS = {
    "contact": _contact,
    "comment": _comment,
    "file": _file,
    "sla": _sla,
    "case": _case,
    "custom": _custom,
}
ITEM_COLUMNS = _fields(
    case_id="text", related_id="text", kind="text", at="datetime", by="text", tags="tags",
    contact_arn="text", channel="text", connected_at="datetime", body="text", file_arn="text",
    sla_name="text", sla_status="text", sla_field="text", sla_target="text",
    sla_target_at="datetime", sla_completed_at="datetime", other_case_id="text", custom="text",
)  # fmt: skip
"""Of the rows of `item`."""

_Told = TypeVar("_Told")
_ENTRIES = 25  # in one request (service model)

MAX_EMPTY_PAGES = {
    "GetCaseAuditEvents": b'{"auditEvents":[]}',
    "SearchRelatedItems": b'{"relatedItems":[]}',
}
"""What to leave to botocore's parser in the place of an answer that is read here."""


class RequestFunction(Protocol):
    """Sends one request, and reads its answer with `read`, which says ValueError to a bad one."""

    def __call__(
        self, operation: str, asked: dict[str, Any], read: Callable[[Any], _Told]
    ) -> tuple[_Told, Mapping[str, str]]:
        """Return what was read, and the headers."""
        ...


@dataclass(frozen=True)
class RelatedClient:
    """How one domain is asked.

    Parameters
    ----------
    ask
        Sends one request; its answer is the body, or what botocore made of it where the body
        was not to be had.
    budget
        Finds the request budget of an operation.
    column
        Tells the column of a field's id.
    """

    ask: RequestFunction
    budget: Callable[[str], RateLimiter]
    column: Callable[[str], str]


@dataclass(frozen=True)
class _Listing:
    """One operation that lists: its member, the columns, and what an entry has for them."""

    operation: str
    member: str
    fields: tuple[Field, ...]
    rows: Callable[[Row, Callable[[str], str]], Iterator[Row]]
    key: tuple[str, ...]
    hidden: tuple[str, ...] = ()


_EVENTS = _Listing(
    "GetCaseAuditEvents",
    "auditEvents",
    EVENT_COLUMNS,
    changes,
    key=("case_id", "event_id", "field"),
    hidden=("event_id",),
)
_ITEMS = _Listing(
    "SearchRelatedItems", "relatedItems", ITEM_COLUMNS, item, key=("case_id", "related_id")
)


# --- asking -----------------------------------------------------------------------------------


def events(desk: RelatedClient) -> PerCaseListing:
    """List the changes of a case: one row a changed field, and one of an event without any."""
    return _per_case(desk, _EVENTS, "audit history")


def related(desk: RelatedClient, kinds: Sequence[str]) -> PerCaseListing:
    """List the related items of a case, of some kinds."""
    # Without a filter there may also be kinds that are newer than this list.
    wanted: list[dict[str, Any]] = [{FILTERS.get(kind, kind): {}} for kind in kinds]
    more: dict[str, Any] = {} if set(kinds) == set(KINDS) else {"filters": wanted}
    return _per_case(desk, _ITEMS, "related items", **more)


def _per_case(desk: RelatedClient, listing: _Listing, name: str, **more: object) -> PerCaseListing:
    budget = desk.budget(listing.operation)

    def page(case_id: str, cursor: str | None, run: ReadContext) -> Page | None:
        asked = {"caseId": case_id, "maxResults": _ENTRIES, **more}
        asked |= {} if cursor is None else {"nextToken": cursor}
        try:
            return send_with_retry(lambda: _page(desk, listing, asked), budget, run)
        except errors.NotFoundError as error:
            if _is_of_case(error, case_id):
                return None
            raise

    return PerCaseListing(name, listing.fields, listing.key, budget.rate, page, listing.hidden)


def _is_of_case(error: errors.NotFoundError, case_id: str) -> bool:
    """Tell a case that is gone from a domain that is none: the service names the resource."""
    told = getattr(error.__cause__, "response", {})
    kind, named = str(told.get("resourceType")), str(told.get("resourceId"))
    return kind.casefold() == "case" or named.rpartition("/")[2] == case_id


def _page(desk: RelatedClient, listing: _Listing, asked: dict[str, Any]) -> Page:
    def read(answer: Any) -> tuple[list[Row], str | None]:
        entries, cursor = _listed(answer, listing.member)
        rows = [row for entry in entries for row in listing.rows(entry, desk.column)]
        return [{**row, "case_id": asked["caseId"]} for row in rows], cursor

    (rows, cursor), headers = desk.ask(listing.operation, asked, read)
    odd = Counter(name for row in rows for name, held in row.items() if held is ODD)
    columns = {one.column: [known(row.get(one.column)) for row in rows] for one in listing.fields}
    return Page(len(rows), columns, cursor, None, served_at(headers), invalid=dict(odd))


def _listed(answer: Any, member: str) -> tuple[list[Row], str | None]:
    """Take the entries and the token out of an answer.

    Raises
    ------
    ValueError
        If it is none.
    """
    told = json.loads(answer.decode()) if isinstance(answer, bytes) else answer
    entries = told.get(member) if isinstance(told, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"the answer has no list {member}")  # noqa: TRY004 - wire, not a type
    entries = [entry for entry in entries if entry is not None]
    if not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"an entry of {member} is no object")
    cursor = told.get("nextToken") or None
    if cursor is not None and not isinstance(cursor, str):
        raise ValueError("the answer's nextToken is not text")
    return entries, cursor
