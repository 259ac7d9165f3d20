"""Operations on the domain itself: its fields, options and templates.

Paths, members and limits are those of botocore's service model (connectcases, 2022-10-03).
"""

from collections.abc import Sequence
from typing import Any

from casesearch_pd.local.connect_answers import (
    body_of,
    domain_summary,
    field_summary,
    listing,
    not_found,
    template_summary,
)
from casesearch_pd.local.connect_domain import Domain
from casesearch_pd.local.connect_filter import InvalidRequest, field_ids, members, text
from casesearch_pd.local.http import Request
from casesearch_pd.local.schema import Column
from casesearch_pd.local.times import stored_time, wire_time

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
