"""Operations on the domain itself: its fields, options and templates.

Paths, members and limits are those of botocore's service model (connectcases, 2022-10-03).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from casesearch_pd.emulator.amazon_connect import related as connect_related
from casesearch_pd.emulator.amazon_connect.filter import (
    InvalidRequest,
    field_ids,
    members,
    page_size,
    text,
)
from casesearch_pd.emulator.amazon_connect.responses import (
    ConnectError,
    Domain,
    body_of,
    domain_summary,
    error_reply,
    field_summary,
    given,
    listing,
    listing_page,
    not_found,
    reply,
    template_summary,
)
from casesearch_pd.emulator.amazon_connect.search import (
    missing_value,
    search_cases,
    shown_tags,
    value_shower,
)
from casesearch_pd.emulator.data.related import PRINCIPAL, Event, cases_of_contact, history
from casesearch_pd.emulator.data.schema import Column
from casesearch_pd.emulator.data.store import SqlValue
from casesearch_pd.emulator.data.values import stored_time, wire_time
from casesearch_pd.emulator.server import Reply, Request

_MOST_IN_BATCH = 50
_MOST_DOMAINS = 10
_LONGEST_OPTION = 100


def get_domain(domain: Domain, _: Request, __: Sequence[str]) -> dict[str, Any]:
    """Answer GetDomain."""
    return {
        **domain_summary(domain),
        "createdTime": wire_time(stored_time(domain.created)),
        "domainStatus": "Active",
        "tags": {},
    }


def list_fields(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer ListFields, 100 a page."""
    shown = [field_summary(domain, column) for column in domain.store.schema.by_connect.values()]
    return listing(domain, request, "fields", shown)


def list_field_options(domain: Domain, request: Request, ids: Sequence[str]) -> dict[str, Any]:
    """Answer ListFieldOptions."""
    column = domain.store.schema.by_connect.get(ids[1])
    if column is None:
        raise not_found("Field", ids[1])
    values = [value for name, value in request.query if name == "values"]
    if len(values) > 1:
        raise InvalidRequest(f"values: {len(values)} members, 0 to 1 are allowed")
    wanted = [text(value, "values", most=_LONGEST_OPTION) for value in values]
    shown = [
        {"name": option.label, "value": option.value, "active": True}
        for option in column.options
        if not wanted or option.value in wanted
    ]
    return listing(domain, request, "options", shown, more="values")


def list_templates(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer ListTemplates."""
    wanted = [value for name, value in request.query if name == "status"]
    unknown = set(wanted) - {"Active", "Inactive"}
    if unknown or len(wanted) > 2:  # noqa: PLR2004 - the model's limit
        raise InvalidRequest(f"status: {wanted} must be one or two of ['Active', 'Inactive']")
    shown = [template_summary(domain, template) for template in domain.store.schema.templates]
    shown = [one for one in shown if not wanted or one["status"] in wanted]
    return listing(domain, request, "templates", shown, more="status")


def list_domains(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer ListDomains."""
    return listing(domain, request, "domains", [domain_summary(domain)], most=_MOST_DOMAINS)


def get_template(domain: Domain, _: Request, ids: Sequence[str]) -> dict[str, Any]:
    """Answer GetTemplate."""
    template = domain.live.schema.template(ids[1])
    if template is None:
        raise not_found("Template", ids[1])
    return {
        **template_summary(domain, template),
        "description": "",
        "requiredFields": [{"fieldId": one} for one in _required(domain)],
        "tags": {},
        "deleted": False,
        **_made(domain),
    }


def _required(domain: Domain) -> list[str]:
    return [name for name in ("title",) if name in domain.live.schema.by_connect]


def _made(domain: Domain) -> dict[str, str]:
    made = wire_time(stored_time(domain.created))
    return {"createdTime": made, "lastModifiedTime": made}


def batch_get_field(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer BatchGetField: the fields there are, an error for each of the others."""
    body = body_of(request)
    members(body, {"fields"}, "body")
    ids = field_ids(body.get("fields"), least=1, most=_MOST_IN_BATCH)
    known = domain.live.schema.by_connect
    return {
        "fields": [_field(domain, known[one]) for one in ids if one in known],
        "errors": [_field_error(one) for one in ids if one not in known],
    }


def _field(domain: Domain, column: Column) -> dict[str, Any]:
    return {**field_summary(domain, column), "tags": {}, "deleted": False, **_made(domain)}


def _field_error(field_id: str) -> dict[str, str]:
    return {"id": field_id, "errorCode": "ResourceNotFoundException", "message": "Field not found"}


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


_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}/[a-z0-9-]+/cases/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=[0-9a-f]{64}"
)

Operation = Callable[[Domain, Request, Sequence[str]], Any]


def answer(domain: Domain, request: Request, throttled: Callable[[str], bool]) -> Reply:
    """Return the reply to a request; whatever is wrong with it becomes the documented error."""
    try:
        _authenticate(domain, request)
        operation, ids = _route(request)
        _admit(domain, ids, throttled=throttled(operation.__name__))
        return reply(200, operation(domain, request, ids))
    except InvalidRequest as error:
        return error_reply(ConnectError(400, "ValidationException", str(error)))
    except ConnectError as error:
        return error_reply(error)


def operation_of(request: Request) -> str:
    """Return the name of the operation that a request asks for, or "" where there is none."""
    try:
        return _route(request)[0].__name__
    except ConnectError:
        return ""


def _admit(domain: Domain, ids: Sequence[str], *, throttled: bool) -> None:
    if throttled:
        raise ConnectError(429, "ThrottlingException", "Rate exceeded")
    if ids and ids[0] != domain.domain_id:
        raise not_found("Domain", ids[0])


def _authenticate(domain: Domain, request: Request) -> None:
    sent = request.headers.get("authorization")
    if sent is None:
        code = "MissingAuthenticationTokenException"
        raise ConnectError(403, code, "Missing Authentication Token")
    match = _SIGNATURE.fullmatch(sent)
    signed = match.group(2).split(";") if match else []
    fits = "host" in signed and "x-amz-date" in signed and "x-amz-date" in request.headers
    known = match is not None and domain.access_key in (None, match.group(1))
    if not (fits and known):
        message = "The security token included in the request is invalid."
        raise ConnectError(403, "UnrecognizedClientException", message)


def _route(request: Request) -> tuple[Operation, list[str]]:
    for pattern, operation in ROUTES.items():
        ids = _matched(pattern, request.parts)
        if ids is not None and request.method == "POST":
            return operation, ids
        if ids is not None:
            raise ConnectError(405, "MethodNotAllowedException", f"{request.method} is not allowed")
    raise ConnectError(404, "UnknownOperationException", f"no operation at {request.path}")


def _matched(pattern: str, parts: Sequence[str]) -> list[str] | None:
    wanted = pattern.split("/")
    pairs = list(zip(wanted, parts, strict=False))
    if len(wanted) != len(parts) or any(w not in ("*", part) for w, part in pairs):
        return None
    return [part for w, part in pairs if w == "*"]


ROUTES: Mapping[str, Operation] = {
    "domains-list": list_domains,
    "domains/*": get_domain,
    "domains/*/cases-search": search,
    "domains/*/cases/*": get_case,
    "domains/*/cases/*/audit-history": get_case_audit_events,
    "domains/*/cases/*/related-items-search": connect_related.search_related_items,
    "domains/*/fields-list": list_fields,
    "domains/*/fields-batch": batch_get_field,
    "domains/*/fields/*/options-list": list_field_options,
    "domains/*/list-cases-for-contact": list_cases_for_contact,
    "domains/*/related-items-search": connect_related.search_all_related_items,
    "domains/*/templates-list": list_templates,
    "domains/*/templates/*": get_template,
}
