"""Operations of Amazon Connect Cases, and the choice of the one that a request names.

Paths, members and limits are those of botocore's service model (connectcases, 2022-10-03).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from casesearch_pd.emulator.amazon_connect.filter import (
    InvalidRequest,
    check_members,
    parse_field_ids,
    parse_page_size,
    parse_text,
)
from casesearch_pd.emulator.amazon_connect.related import (
    search_all_related_items,
    search_related_items,
)
from casesearch_pd.emulator.amazon_connect.responses import (
    ConnectError,
    Domain,
    connect_error_reply,
    domain_summary,
    field_summary,
    json_body,
    list_page,
    list_response,
    not_found,
    parse_body,
    reply,
    template_summary,
)
from casesearch_pd.emulator.amazon_connect.search import (
    missing_value,
    search_cases,
    tag_map,
    value_encoder,
)
from casesearch_pd.emulator.data.related import PRINCIPAL, Event, cases_of_contact, history
from casesearch_pd.emulator.data.schema import Column
from casesearch_pd.emulator.data.store import SqlValue
from casesearch_pd.emulator.data.values import stored_time, wire_time
from casesearch_pd.emulator.server import Reply, Request

_MAX_BATCH_FIELDS = 50
_MAX_DOMAINS = 10
_MAX_OPTION_LENGTH = 100
_MAX_CASE_FIELDS = 220
_MAX_CONTACT_CASES = 10
_MAX_EVENTS = 25
_MAX_ID_LENGTH = 500
_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}/[a-z0-9-]+/cases/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=[0-9a-f]{64}"
)
# The ids are the variable segments of the path: the domain, then perhaps a case, field or template.
Operation = Callable[[Domain, Request, Sequence[str]], Any]


def answer_connect(domain: Domain, request: Request, throttled: Callable[[str], bool]) -> Reply:
    """Return the reply to a request, the documented error if the request is invalid."""
    try:
        _authenticate(domain, request)
        operation, ids = _route(request)
        _check_access(domain, ids, throttled=throttled(operation.__name__))
        return reply(200, operation(domain, request, ids))
    except InvalidRequest as error:
        return connect_error_reply(ConnectError(400, "ValidationException", str(error)))
    except ConnectError as error:
        return connect_error_reply(error)


def operation_of(request: Request) -> str:
    """Return the name of the requested operation, or "" where there is none."""
    try:
        return _route(request)[0].__name__
    except ConnectError:
        return ""


def _check_access(domain: Domain, ids: Sequence[str], *, throttled: bool) -> None:
    # Quotas come before the lookup of the domain: a throttled request learns nothing.
    if throttled:
        raise ConnectError(429, "ThrottlingException", "Rate exceeded")
    if ids and ids[0] != domain.domain_id:
        raise not_found("Domain", ids[0])


def _authenticate(domain: Domain, request: Request) -> None:
    header = request.headers.get("authorization")
    if header is None:
        code = "MissingAuthenticationTokenException"
        raise ConnectError(403, code, "Missing Authentication Token")
    # The signature itself is not verified: clients in any language may use any secret key.
    match = _SIGNATURE.fullmatch(header)
    signed_headers = match.group(2).split(";") if match else []
    is_signed = {"host", "x-amz-date"} <= set(signed_headers) and "x-amz-date" in request.headers
    is_known = match is not None and domain.access_key in (None, match.group(1))
    if not (is_signed and is_known):
        message = "The security token included in the request is invalid."
        raise ConnectError(403, "UnrecognizedClientException", message)


def _route(request: Request) -> tuple[Operation, list[str]]:
    for pattern, operation in ROUTES.items():
        ids = _match_path(pattern, request.parts)
        if ids is not None and request.method == "POST":
            return operation, ids
        if ids is not None:
            raise ConnectError(405, "MethodNotAllowedException", f"{request.method} is not allowed")
    raise ConnectError(404, "UnknownOperationException", f"no operation at {request.path}")


def _match_path(pattern: str, parts: Sequence[str]) -> list[str] | None:
    segments = pattern.split("/")
    if len(segments) != len(parts):
        return None
    pairs = list(zip(segments, parts, strict=True))
    if any(segment not in ("*", part) for segment, part in pairs):
        return None
    return [part for segment, part in pairs if segment == "*"]


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
    fields = [field_summary(domain, column) for column in domain.store.schema.by_connect.values()]
    return list_response(domain, request, "fields", fields)


def list_field_options(domain: Domain, request: Request, ids: Sequence[str]) -> dict[str, Any]:
    """Answer ListFieldOptions."""
    column = domain.store.schema.by_connect.get(ids[1])
    if column is None:
        raise not_found("Field", ids[1])
    values = [value for name, value in request.query if name == "values"]
    if len(values) > 1:
        raise InvalidRequest(f"values: {len(values)} members, 0 to 1 are allowed")
    only = [parse_text(value, "values", maximum=_MAX_OPTION_LENGTH) for value in values]
    options = [
        {"name": option.label, "value": option.value, "active": True}
        for option in column.options
        if not only or option.value in only
    ]
    return list_response(domain, request, "options", options, parameter="values")


def list_templates(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer ListTemplates."""
    statuses = [value for name, value in request.query if name == "status"]
    unknown = set(statuses) - {"Active", "Inactive"}
    if unknown or len(statuses) > 2:  # noqa: PLR2004 - the model's limit
        raise InvalidRequest(f"status: {statuses} must be one or two of ['Active', 'Inactive']")
    summaries = [template_summary(domain, template) for template in domain.store.schema.templates]
    templates = [item for item in summaries if not statuses or item["status"] in statuses]
    return list_response(domain, request, "templates", templates, parameter="status")


def list_domains(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer ListDomains."""
    return list_response(domain, request, "domains", [domain_summary(domain)], maximum=_MAX_DOMAINS)


def get_template(domain: Domain, _: Request, ids: Sequence[str]) -> dict[str, Any]:
    """Answer GetTemplate."""
    template = domain.live.schema.template(ids[1])
    if template is None:
        raise not_found("Template", ids[1])
    required = [{"fieldId": "title"}] if "title" in domain.live.schema.by_connect else []
    return {
        **template_summary(domain, template),
        "description": "",
        "requiredFields": required,
        "tags": {},
        "deleted": False,
        **_timestamps(domain),
    }


def _timestamps(domain: Domain) -> dict[str, str]:
    created = wire_time(stored_time(domain.created))
    return {"createdTime": created, "lastModifiedTime": created}


def batch_get_field(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer BatchGetField: known fields, and an error for each unknown one."""
    body = json_body(request)
    check_members(body, {"fields"}, "body")
    ids = parse_field_ids(body.get("fields"), minimum=1, maximum=_MAX_BATCH_FIELDS)
    known = domain.live.schema.by_connect
    return {
        "fields": [_field(domain, known[field_id]) for field_id in ids if field_id in known],
        "errors": [_field_error(field_id) for field_id in ids if field_id not in known],
    }


def _field(domain: Domain, column: Column) -> dict[str, Any]:
    return {**field_summary(domain, column), "tags": {}, "deleted": False, **_timestamps(domain)}


def _field_error(field_id: str) -> dict[str, str]:
    return {"id": field_id, "errorCode": "ResourceNotFoundException", "message": "Field not found"}


def search(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer SearchCases."""
    return search_cases(domain, json_body(request))


def get_case(domain: Domain, request: Request, ids: Sequence[str]) -> dict[str, Any]:
    """Answer GetCase: the requested fields of the current case."""
    body = parse_body(request, {"fields", "nextToken"})
    columns = [
        _column(domain, field_id)
        for field_id in parse_field_ids(body.get("fields"), minimum=1, maximum=_MAX_CASE_FIELDS)
    ]
    names = ["template_id", "tags", *(column.name for column in columns)]
    rows = domain.live.rows(names, domain.live.is_case(ids[1]))
    if not rows:
        raise not_found("Case", ids[1])
    template_id, tags, *values = rows[0]
    fields = [
        {"id": column.connect, "value": _encode(domain, column, value)}
        for column, value in zip(columns, values, strict=True)
        if value is not None or domain.options.unset != "omit"
    ]
    return {"fields": fields, "templateId": template_id, "tags": tag_map(tags)}


def _column(domain: Domain, field_id: str) -> Column:
    column = domain.live.schema.by_connect.get(field_id)
    if column is None:
        raise not_found("Field", field_id)
    return column


def _encode(domain: Domain, column: Column, value: SqlValue) -> Any:
    return missing_value(domain) if value is None else value_encoder(column)(value)


def list_cases_for_contact(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    """Answer ListCasesForContact."""
    body = parse_body(request, {"contactArn", "maxResults", "nextToken"})
    contact = parse_text(body.get("contactArn"), "contactArn", minimum=1, maximum=_MAX_ID_LENGTH)
    size = parse_page_size(
        body.get("maxResults"), "maxResults", maximum=_MAX_CONTACT_CASES, default=10
    )
    cases = [
        {"caseId": case_id, "templateId": template_id}
        for case_id, template_id in cases_of_contact(domain.live, contact)
    ]
    scope = ["contact", contact, size]
    return list_page(domain, "cases", cases, size=size, token=body.get("nextToken"), scope=scope)


def get_case_audit_events(domain: Domain, request: Request, ids: Sequence[str]) -> dict[str, Any]:
    """Answer GetCaseAuditEvents, oldest first."""
    body = parse_body(request, {"maxResults", "nextToken"})
    size = parse_page_size(body.get("maxResults"), "maxResults", maximum=_MAX_EVENTS, default=25)
    events = history(domain.live, ids[1], stored_time(domain.clock()))
    if events is None:
        raise not_found("Case", ids[1])
    objects = [_event(ids[1], event) for event in events]
    scope = ["audit", ids[1], size]
    return list_page(
        domain, "auditEvents", objects, size=size, token=body.get("nextToken"), scope=scope
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
    encode = value_encoder(column)
    change = {
        "eventFieldId": column.connect,
        "newValue": {"emptyValue": {}} if new is None else encode(new),
    }
    return change if old is None else {**change, "oldValue": encode(old)}


ROUTES: Mapping[str, Operation] = {
    "domains-list": list_domains,
    "domains/*": get_domain,
    "domains/*/cases-search": search,
    "domains/*/cases/*": get_case,
    "domains/*/cases/*/audit-history": get_case_audit_events,
    "domains/*/cases/*/related-items-search": search_related_items,
    "domains/*/fields-list": list_fields,
    "domains/*/fields-batch": batch_get_field,
    "domains/*/fields/*/options-list": list_field_options,
    "domains/*/list-cases-for-contact": list_cases_for_contact,
    "domains/*/related-items-search": search_all_related_items,
    "domains/*/templates-list": list_templates,
    "domains/*/templates/*": get_template,
}
