"""Operations on cases: search, one case, the cases of a contact, the history of a case.

Paths, members and limits are those of botocore's service model (connectcases, 2022-10-03).
"""

from collections.abc import Sequence
from typing import Any

from casesearch_pd.local.connect_answers import body_of, given, listing_page, not_found
from casesearch_pd.local.connect_domain import Domain
from casesearch_pd.local.connect_filter import field_ids, page_size, text
from casesearch_pd.local.connect_search import (
    missing_value,
    search_cases,
    shown_tags,
    value_shower,
)
from casesearch_pd.local.http import Request
from casesearch_pd.local.related import PRINCIPAL, Event, cases_of_contact, history
from casesearch_pd.local.schema import Column
from casesearch_pd.local.times import stored_time, wire_time
from casesearch_pd.local.where import SqlValue

_MOST_IN_CASE = 220
_MOST_FOR_CONTACT = 10
_MOST_EVENTS = 25
_LONGEST_ID = 500


def search(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer SearchCases."""
    return search_cases(domain, body_of(request))


def get_case(domain: Domain, request: Request, ids: Sequence[str]) -> dict[str, Any]:
    """Answer GetCase: the fields asked for, of the case as it stands now."""
    body = given(request, {"fields", "nextToken"})
    columns = [
        _column(domain, one) for one in field_ids(body.get("fields"), least=1, most=_MOST_IN_CASE)
    ]
    names = ["template_id", "tags", *(column.name for column in columns)]
    rows = domain.live.rows(names, domain.live.is_case(ids[1]))
    if not rows:
        raise not_found("Case", ids[1])
    template_id, tags, *values = rows[0]
    shown = [
        {"id": column.connect, "value": _shown(domain, column, value)}
        for column, value in zip(columns, values, strict=True)
        if value is not None or domain.choices.unset != "omit"
    ]
    return {"fields": shown, "templateId": template_id, "tags": shown_tags(tags)}


def _column(domain: Domain, field_id: str) -> Column:
    column = domain.live.schema.by_connect.get(field_id)
    if column is None:
        raise not_found("Field", field_id)
    return column


def _shown(domain: Domain, column: Column, value: SqlValue) -> Any:
    return missing_value(domain) if value is None else value_shower(column)(value)


def list_cases_for_contact(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer ListCasesForContact."""
    body = given(request, {"contactArn", "maxResults", "nextToken"})
    contact = text(body.get("contactArn"), "contactArn", least=1, most=_LONGEST_ID)
    size = page_size(body.get("maxResults"), "maxResults", most=_MOST_FOR_CONTACT, default=10)
    found = cases_of_contact(domain.live, contact)
    shown = [{"caseId": case_id, "templateId": template} for case_id, template in found]
    scope = ["contact", contact, size]
    return listing_page(domain, "cases", shown, size=size, token=body.get("nextToken"), scope=scope)


def get_case_audit_events(domain: Domain, request: Request, ids: Sequence[str]) -> dict[str, Any]:
    """Answer GetCaseAuditEvents, oldest first."""
    body = given(request, {"maxResults", "nextToken"})
    size = page_size(body.get("maxResults"), "maxResults", most=_MOST_EVENTS, default=25)
    events = history(domain.live, ids[1], stored_time(domain.clock()))
    if events is None:
        raise not_found("Case", ids[1])
    shown = [_event(ids[1], event) for event in events]
    scope = ["audit", ids[1], size]
    return listing_page(
        domain, "auditEvents", shown, size=size, token=body.get("nextToken"), scope=scope
    )


def _event(case_id: str, event: Event) -> dict[str, Any]:
    user = {"user": {"userArn": event.author}} if event.author else {}
    item = {"relatedItemType": event.item_type} if event.item_type else {}
    return {
        "eventId": f"{case_id}-{event.number}",
        "type": event.type,
        "performedTime": wire_time(event.at),
        "fields": [_change(*change) for change in event.changes],
        "performedBy": {"iamPrincipalArn": PRINCIPAL, **user},
        **item,
    }


def _change(column: Column, old: SqlValue, new: SqlValue) -> dict[str, Any]:
    show = value_shower(column)
    shown = {
        "eventFieldId": column.connect,
        "newValue": {"emptyValue": {}} if new is None else show(new),
    }
    return shown if old is None else {**shown, "oldValue": show(old)}
