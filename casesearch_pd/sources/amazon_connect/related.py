"""The history and the related items of Amazon Connect cases, as listings of one case at a time.

Shapes follow botocore's service model ``connectcases/2022-10-03``. An invalid value costs only
itself; an entry without its identifier makes the response invalid.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from casesearch_pd import errors
from casesearch_pd.query.schema import Field
from casesearch_pd.sources.amazon_connect.codec import union_value
from casesearch_pd.sources.base import Page, PerCaseListing
from casesearch_pd.sources.transport.body import count_replaced, parse_json
from casesearch_pd.sources.transport.context import use_context
from casesearch_pd.sources.transport.retry import send_with_retry
from casesearch_pd.sources.transport.timestamps import parse_date_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from casesearch_pd.query.schema import FieldType
    from casesearch_pd.sources.amazon_connect.client import ConnectClient
    from casesearch_pd.sources.transport.context import ReadContext
    from casesearch_pd.sources.transport.rate_limit import RateLimiter

__all__ = [
    "KINDS",
    "RelatedRequests",
    "event_rows",
    "history_listing",
    "item_rows",
    "related_listing",
]

_Row = dict[str, Any]
_ColumnLookup = Callable[[str], str]  # the column of a field, by the field's id

KINDS = ("contact", "comment", "file", "sla", "case", "custom")
"""Kinds of related items, in the order of the service model."""

_WIRE_KINDS = {"case": "connectCase"}  # kinds that the wire spells differently
_KINDS_BY_TYPE = {"connectcase": "case"}  # by the type of an entry, in lower case
_EXACT = 2**53  # up to here a double holds every whole number
_PAGE_SIZE = 25  # entries in one request (service model)
_INVALID = object()  # a value of an unknown form


def _build_fields(**types: FieldType) -> tuple[Field, ...]:
    return tuple(Field(name, name, name, field_type) for name, field_type in types.items())


_EVENT_FIELDS = _build_fields(
    case_id="text", at="datetime", event="text", field="text", old="text", new="text", by="text",
    event_id="text",
)  # fmt: skip
_ITEM_FIELDS = _build_fields(
    case_id="text", related_id="text", kind="text", at="datetime", by="text", tags="tags",
    contact_arn="text", channel="text", connected_at="datetime", body="text", file_arn="text",
    sla_name="text", sla_status="text", sla_field="text", sla_target="text",
    sla_target_at="datetime", sla_completed_at="datetime", other_case_id="text", custom="text",
)  # fmt: skip


@dataclass(frozen=True)
class RelatedRequests:
    """Send requests about single cases of one operation."""

    connection: ConnectClient  # sends the requests
    rate_limiter: RateLimiter  # the rate limiter of the operation
    column_of: _ColumnLookup  # returns the column of a field by its id


def history_listing(client: RelatedRequests) -> PerCaseListing:
    """Return the history: one row per changed field, and one per event that changed none."""
    return _per_case(client, _EVENTS, "audit history", {})


def related_listing(client: RelatedRequests, kinds: Sequence[str]) -> PerCaseListing:
    """Return the related items of some kinds."""
    # Without a filter the service also returns kinds that are newer than this list.
    filters: list[dict[str, Any]] = [{_WIRE_KINDS.get(kind, kind): {}} for kind in kinds]
    parameters = {} if set(kinds) == set(KINDS) else {"filters": filters}
    return _per_case(client, _ITEMS, "related items", parameters)


def event_rows(event: _Row, column_of: _ColumnLookup) -> Iterator[_Row]:
    """Yield a row for each field that an event changed, or one for an event that changed none.

    Raise ValueError if the event lacks its id, its type, or the id of a field.
    """
    by = _object(event.get("performedBy"))
    row = {
        "event_id": _require_text(event, "eventId"),
        "at": _time(event.get("performedTime")),
        "event": _require_text(event, "type"),
        "by": _person(by.get("user")) or by.get("iamPrincipalArn"),
    }
    fields = _objects(event.get("fields"))
    for changed_field in fields:
        yield {
            **row,
            "field": column_of(_require_text(changed_field, "eventFieldId")),
            "old": _text(changed_field.get("oldValue")),
            "new": _text(changed_field.get("newValue")),
        }
    # Without fields, a related item was added, removed or changed: its type is the only detail.
    if not fields:
        side = "old" if row["event"].endswith(".Deleted") else "new"
        yield {**row, side: event.get("relatedItemType")}


def item_rows(entry: _Row, column_of: _ColumnLookup) -> Iterator[_Row]:
    """Yield the row of a related item; raise ValueError if it lacks its id or its type."""
    kind = _require_text(entry, "type").lower()
    kind = _KINDS_BY_TYPE.get(kind, kind)
    content = _object(_object(entry.get("content")).get(_WIRE_KINDS.get(kind, kind)))
    details = _CONTENTS.get(kind)
    yield {
        "related_id": _require_text(entry, "relatedItemId"),
        "kind": kind,
        "at": _time(entry.get("associationTime")),
        "by": _person(entry.get("performedBy")),
        "tags": sorted(f"{key}={value or ''}" for key, value in _object(entry.get("tags")).items()),
        **(details(content, column_of) if details else {}),
    }


def _contact(content: _Row, _: _ColumnLookup) -> _Row:
    return {
        "contact_arn": content.get("contactArn"),
        "channel": content.get("channel"),
        "connected_at": _time(content.get("connectedToSystemTime")),
    }


def _comment(content: _Row, _: _ColumnLookup) -> _Row:
    return {"body": content.get("body")}


def _file(content: _Row, _: _ColumnLookup) -> _Row:
    return {"file_arn": content.get("fileArn")}


def _sla(content: _Row, column_of: _ColumnLookup) -> _Row:
    sla = _object(content.get("slaConfiguration"))
    field_id, targets = sla.get("fieldId"), _objects(sla.get("targetFieldValues"))
    return {
        "sla_name": sla.get("name"),
        "sla_status": sla.get("status"),
        "sla_field": column_of(field_id) if isinstance(field_id, str) else None,
        "sla_target": _text(targets[0]) if targets else None,  # there is one (service model)
        "sla_target_at": _time(sla.get("targetTime")),
        "sla_completed_at": _time(sla.get("completionTime")),
    }


def _case(content: _Row, _: _ColumnLookup) -> _Row:
    return {"other_case_id": content.get("caseId")}


def _custom(content: _Row, column_of: _ColumnLookup) -> _Row:
    values = {
        column_of(_require_text(field, "id")): _none_if_invalid(_text(field.get("value")))
        for field in _objects(content.get("fields"))
    }
    return {"custom": json.dumps(values, ensure_ascii=False)}


_CONTENTS = {
    "contact": _contact,
    "comment": _comment,
    "file": _file,
    "sla": _sla,
    "case": _case,
    "custom": _custom,
}


def _none_if_invalid(value: Any) -> Any:
    return None if value is _INVALID else value


def _require_text(entry: _Row, key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise ValueError(f"an entry has no {key}")  # noqa: TRY004 - wire, not a type
    return value


def _object(value: Any) -> _Row:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[_Row]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _time(value: Any) -> Any:
    """Return a time as text; botocore's parser makes it a `datetime`."""
    return value.isoformat() if isinstance(value, datetime) else value


def _person(union: Any) -> Any:
    person = _object(union)
    return person.get("userArn") or person.get("customEntity")


def _text(union: Any) -> Any:
    """Return the value of a union as text, whatever its type; None if it is empty.

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
            return _INVALID
        case None | str():
            return value
        case int() | float():
            return repr(value)
        case _:
            return _INVALID


@dataclass(frozen=True)
class _Listing:
    """One operation: the member with its entries, the columns, and the rows of an entry."""

    operation: str
    member: str
    fields: tuple[Field, ...]
    rows: Callable[[_Row, _ColumnLookup], Iterator[_Row]]
    key: tuple[str, ...]
    key_only: tuple[str, ...] = ()


_EVENTS = _Listing(
    "GetCaseAuditEvents",
    "auditEvents",
    _EVENT_FIELDS,
    event_rows,
    key=("case_id", "event_id", "field"),
    key_only=("event_id",),
)
_ITEMS = _Listing(
    "SearchRelatedItems", "relatedItems", _ITEM_FIELDS, item_rows, key=("case_id", "related_id")
)


def _per_case(
    client: RelatedRequests, listing: _Listing, name: str, parameters: Mapping[str, Any]
) -> PerCaseListing:
    def read_page(case_id: str, cursor: str | None, context: ReadContext) -> Page | None:
        request = {"caseId": case_id, "maxResults": _PAGE_SIZE, **parameters}
        if cursor is not None:
            request["nextToken"] = cursor
        try:
            # The columns of changed fields are discovered while a page is decoded, in the thread of
            # a worker: within the time limit of this read.
            with use_context(context):
                return send_with_retry(
                    lambda: _request_page(client, listing, request, context),
                    client.rate_limiter,
                    context,
                )
        except errors.NotFoundError as error:
            if _is_about_case(error, case_id):
                return None
            raise

    return PerCaseListing(
        name, listing.fields, listing.key, client.rate_limiter.rate, read_page, listing.key_only
    )


def _is_about_case(error: errors.NotFoundError, case_id: str) -> bool:
    """Return whether the case is missing and not the domain: the service names the resource."""
    response = getattr(error.__cause__, "response", {})
    kind, resource = str(response.get("resourceType")), str(response.get("resourceId"))
    return kind.casefold() == "case" or resource.rpartition("/")[2] == case_id


def _request_page(
    client: RelatedRequests, listing: _Listing, request: dict[str, Any], context: ReadContext
) -> Page:
    def decode(response: Any) -> Page:
        parsed, replaced = (
            parse_json(response) if isinstance(response, bytes) else (response, False)
        )
        entries, cursor = _entries(parsed, listing.member)
        rows = [
            {**row, "case_id": request["caseId"]}
            for entry in entries
            for row in listing.rows(entry, client.column_of)
        ]
        invalid = Counter(name for row in rows for name, value in row.items() if value is _INVALID)
        columns = {
            item.column: [_none_if_invalid(row.get(item.column)) for row in rows]
            for item in listing.fields
        }
        if replaced:
            invalid.update(count_replaced(columns, cursor, listing.key))
        return Page(len(rows), columns, cursor, invalid=dict(invalid))

    page, headers = client.connection.read(listing.operation, request, decode, context)
    page.served_at = parse_date_header(headers)
    return page


def _entries(parsed: Any, member: str) -> tuple[list[_Row], str | None]:
    """Return the entries and the token of a response.

    Raise ValueError if the response is invalid.
    """
    entries = parsed.get(member) if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"the response has no list {member}")  # noqa: TRY004 - wire, not a type
    entries = [entry for entry in entries if entry is not None]
    if not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"an entry of {member} is not an object")
    cursor = parsed.get("nextToken") or None
    if cursor is not None and not isinstance(cursor, str):
        raise ValueError("the response's nextToken is not text")
    return entries, cursor
