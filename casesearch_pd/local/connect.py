"""The wire of Amazon Connect Cases (rest-json): a signed request in, its documented answer out.

Paths, members, limits and error names are those of botocore's service model (connectcases,
2022-10-03). A signature is looked at, not verified: any key of the right form is let in.
"""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from casesearch_pd.local.connect_filter import InvalidRequest, text
from casesearch_pd.local.connect_search import Domain, page_size, search_cases
from casesearch_pd.local.http import Reply, Request, parse_json
from casesearch_pd.local.schema import Column, Template
from casesearch_pd.local.times import stored_time, wire_time

_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}/[a-z0-9-]+/cases/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=[0-9a-f]{64}"
)
_MOST_LISTED = 100
_LONGEST_OPTION = 100

Operation = Callable[[Domain, Request, Sequence[str]], Any]


@dataclass
class ConnectError(Exception):
    """An error of the service model: its name, status, message and further members."""

    status: int
    code: str
    message: str
    more: Mapping[str, Any] = field(default_factory=dict)


def answer(domain: Domain, request: Request, throttled: Callable[[str], bool]) -> Reply:
    """Return the reply to a request; whatever is wrong with it becomes the documented error."""
    try:
        _authenticate(domain, request)
        operation, ids = _route(request)
        if throttled(operation.__name__):
            raise ConnectError(429, "ThrottlingException", "Rate exceeded")
        if ids and ids[0] != domain.domain_id:
            raise not_found("Domain", ids[0])
        return _reply(200, operation(domain, request, ids))
    except InvalidRequest as error:
        return error_reply(ConnectError(400, "ValidationException", str(error)))
    except ConnectError as error:
        return error_reply(error)


def error_reply(error: ConnectError) -> Reply:
    """Return an error in the shape that botocore reads."""
    body = {"message": error.message, **error.more}
    return _reply(error.status, body, {"x-amzn-ErrorType": error.code})


def not_found(kind: str, resource_id: str) -> ConnectError:
    """Return the error for a resource that this domain does not have."""
    more = {"resourceId": resource_id, "resourceType": kind}
    return ConnectError(404, "ResourceNotFoundException", f"{kind} not found", more)


def _reply(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    shown = {
        "Content-Type": "application/json",
        "x-amzn-RequestId": str(uuid.uuid4()),
        **(headers or {}),
    }
    return Reply(status, msgspec.json.encode(body), shown)


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


def _search_cases(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    return search_cases(domain, body_of(request))


def body_of(request: Request) -> Any:
    """Return the JSON body of a request; an empty one is an empty structure."""
    try:
        return parse_json(request.content or b"{}")
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _get_domain(domain: Domain, _: Request, __: Sequence[str]) -> dict[str, Any]:
    return {
        **_domain_summary(domain),
        "createdTime": wire_time(stored_time(domain.created)),
        "domainStatus": "Active",
        "tags": {},
    }


def _domain_summary(domain: Domain) -> dict[str, Any]:
    return {"domainId": domain.domain_id, "domainArn": arn(domain), "name": "cases"}


def _list_fields(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    shown = [field_summary(domain, column) for column in domain.store.schema.by_connect.values()]
    return _listing(domain, request, "fields", shown)


def field_summary(domain: Domain, column: Column) -> dict[str, Any]:
    """Return a field as ListFields shows it."""
    summary: dict[str, Any] = {
        "fieldId": column.connect,
        "fieldArn": arn(domain, "field", column.connect),
        "name": column.label,
        "type": column.connect_type,
        "namespace": "Custom" if column.custom else "System",
    }
    if column.connect_type == "Text":
        summary["attributes"] = {"text": {"isMultiline": column.multiline}}
    return summary


def _list_field_options(domain: Domain, request: Request, ids: Sequence[str]) -> dict[str, Any]:
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
    return _listing(domain, request, "options", shown, {"values"})


def _list_templates(domain: Domain, request: Request, _: Sequence[str]) -> dict[str, Any]:
    wanted = [value for name, value in request.query if name == "status"]
    unknown = set(wanted) - {"Active", "Inactive"}
    if unknown or len(wanted) > 2:  # noqa: PLR2004 - the model's limit
        raise InvalidRequest(f"status: {wanted} must be one or two of ['Active', 'Inactive']")
    shown = [template_summary(domain, template) for template in domain.store.schema.templates]
    shown = [one for one in shown if not wanted or one["status"] in wanted]
    return _listing(domain, request, "templates", shown, {"status"})


def template_summary(domain: Domain, template: Template) -> dict[str, Any]:
    """Return a template as ListTemplates shows it."""
    return {
        "templateId": template.id,
        "templateArn": arn(domain, "template", template.id),
        "name": template.name,
        "status": "Active" if template.active else "Inactive",
    }


def _listing(
    domain: Domain,
    request: Request,
    name: str,
    items: Sequence[Any],
    more: frozenset[str] | set[str] = frozenset(),
) -> dict[str, Any]:
    given = dict(request.query)
    unknown = sorted(set(given) - {"maxResults", "nextToken"} - more)
    if unknown:
        raise InvalidRequest(f"unknown query parameter {unknown[0]!r}")
    size = page_size(_number(given.get("maxResults")), "maxResults", most=_MOST_LISTED, default=100)
    scope = [request.path, sorted(pair for pair in request.query if pair[0] in more)]
    return listing_page(domain, name, items, size, given.get("nextToken"), scope)


def listing_page(
    domain: Domain, name: str, items: Sequence[Any], size: int, token: Any, scope: Any
) -> dict[str, Any]:
    """Return one page of a list that is held as a whole."""
    start = 0
    if token not in (None, ""):
        start = read_token(domain, token, scope)
    page = {name: list(items[start : start + size])}
    if start + size < len(items):
        page["nextToken"] = domain.tokens.issue(start + size, scope)
    return page


def read_token(domain: Domain, token: Any, scope: Any) -> Any:
    """Return the position of a page token, or raise InvalidRequest."""
    sent = text(token, "nextToken", most=9000)
    try:
        return domain.tokens.read(sent, scope)
    except ValueError as error:
        raise InvalidRequest(f"nextToken: {error}") from error


def _number(sent: str | None) -> Any:
    return int(sent) if sent is not None and re.fullmatch(r"-?\d{1,9}", sent, re.ASCII) else sent


def arn(domain: Domain, *parts: str) -> str:
    """Return the ARN of the domain, or of something in it."""
    resource = "/".join(["domain", domain.domain_id, *parts])
    return f"arn:aws:cases:{domain.region}:{domain.account}:{resource}"


ROUTES: Mapping[str, Operation] = {
    "domains/*": _get_domain,
    "domains/*/cases-search": _search_cases,
    "domains/*/fields-list": _list_fields,
    "domains/*/fields/*/options-list": _list_field_options,
    "domains/*/templates-list": _list_templates,
}
