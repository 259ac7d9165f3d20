"""The wire of Amazon Connect Cases (rest-json): a signed request in, its documented answer out.

Paths, members, limits and error names are those of botocore's service model (connectcases,
2022-10-03). A signature is looked at, not verified: any key of the right form is let in.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from casesearch_pd.local import connect_cases, connect_lists, connect_related
from casesearch_pd.local.connect_answers import ConnectError, error_reply, not_found, reply
from casesearch_pd.local.connect_domain import Domain
from casesearch_pd.local.connect_filter import InvalidRequest
from casesearch_pd.local.http import Reply, Request

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
    "domains-list": connect_lists.list_domains,
    "domains/*": connect_lists.get_domain,
    "domains/*/cases-search": connect_cases.search,
    "domains/*/cases/*": connect_cases.get_case,
    "domains/*/cases/*/audit-history": connect_cases.get_case_audit_events,
    "domains/*/cases/*/related-items-search": connect_related.search_related_items,
    "domains/*/fields-list": connect_lists.list_fields,
    "domains/*/fields-batch": connect_lists.batch_get_field,
    "domains/*/fields/*/options-list": connect_lists.list_field_options,
    "domains/*/list-cases-for-contact": connect_cases.list_cases_for_contact,
    "domains/*/related-items-search": connect_related.search_all_related_items,
    "domains/*/templates-list": connect_lists.list_templates,
    "domains/*/templates/*": connect_lists.get_template,
}
