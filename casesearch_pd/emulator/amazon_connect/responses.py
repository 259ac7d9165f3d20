"""Responses of Amazon Connect Cases: the domain, page tokens, errors, summaries and lists."""

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from casesearch_pd.emulator.amazon_connect.filter import (
    InvalidRequest,
    check_members,
    parse_page_size,
    parse_text,
)
from casesearch_pd.emulator.data.related import RelatedItems
from casesearch_pd.emulator.data.schema import Column, Template
from casesearch_pd.emulator.data.store import Store
from casesearch_pd.emulator.options import EmulatorOptions
from casesearch_pd.emulator.server import Reply, Request, parse_json

_MAX_LIST_SIZE = 100
_MAX_TOKEN_LENGTH = 9000
_SIGNATURE_BYTES = 16


@dataclass(frozen=True)
class PageTokens:
    """Issues and reads the page tokens of one domain, which are signed with a secret."""

    secret: bytes
    clock: Callable[[], float]
    # Seconds for which a token is accepted, or None for as long as the service runs.
    lifetime: float | None = None

    def issue(self, position: Any, scope: Any) -> str:
        """Return a token for a position in the results of a request."""
        # Without a lifetime, the same position has the same token in every run.
        issued_at = 0.0 if self.lifetime is None else self.clock()
        payload = msgspec.json.encode([position, issued_at])
        return base64.urlsafe_b64encode(self._signature(payload, scope) + payload).decode()

    def read(self, token: str, scope: Any) -> Any:
        """Return the position of a token; raise ValueError if it is not valid for the request."""
        try:
            content = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("the token is not valid") from error
        signature, payload = content[:_SIGNATURE_BYTES], content[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(payload, scope)):
            raise ValueError("the token is not valid for these parameters")
        position, issued_at = msgspec.json.decode(payload)
        if self.lifetime is not None and self.clock() - issued_at > self.lifetime:
            raise ValueError("the token has expired")
        return position

    def _signature(self, payload: bytes, scope: Any) -> bytes:
        # The signature covers the request's parameters: a token is valid for its own request only.
        parameters = msgspec.json.encode(scope, order="deterministic")
        digest = hmac.digest(self.secret, parameters + b"\n" + payload, hashlib.sha256)
        return digest[:_SIGNATURE_BYTES]


@dataclass(frozen=True)
class Domain:
    """A Cases domain: its cases and its behavior."""

    # The cases as search sees them; all other operations see `live`.
    store: Store
    # The parts of the domain's ARNs.
    domain_id: str
    region: str
    account: str
    created: datetime
    tokens: PageTokens
    # The only access key id that is accepted, or None for any.
    access_key: str | None
    options: EmulatorOptions
    live: Store
    items: RelatedItems
    clock: Callable[[], datetime]


@dataclass
class ConnectError(Exception):
    """An error of the service model: its status, code, message and further members."""

    status: int
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


def connect_error_reply(error: ConnectError) -> Reply:
    """Return an error in the shape that botocore reads."""
    body = {"message": error.message, **error.details}
    return reply(error.status, body, {"x-amzn-ErrorType": error.code})


def not_found(kind: str, resource_id: str) -> ConnectError:
    """Return the error for a resource that this domain does not have."""
    details = {"resourceId": resource_id, "resourceType": kind}
    return ConnectError(404, "ResourceNotFoundException", f"{kind} not found", details)


def reply(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply with a request id."""
    all_headers = {
        "Content-Type": "application/json",
        "x-amzn-RequestId": str(uuid.uuid4()),
        **(headers or {}),
    }
    return Reply(status, msgspec.json.encode(body), all_headers)


def json_body(request: Request) -> Any:
    """Return the JSON body of a request, an empty structure where there is none."""
    try:
        return parse_json(request.content or b"{}")
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def parse_body(request: Request, known: set[str]) -> dict[str, Any]:
    """Return the members of a body that are not null, or raise InvalidRequest at an unknown one."""
    body = json_body(request)
    check_members(body, known, "body")
    return {name: value for name, value in body.items() if value is not None}


def domain_summary(domain: Domain) -> dict[str, Any]:
    """Return the domain as it appears in ListDomains."""
    return {"domainId": domain.domain_id, "domainArn": arn(domain), "name": "cases"}


def field_summary(domain: Domain, column: Column) -> dict[str, Any]:
    """Return a field as it appears in ListFields."""
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


def template_summary(domain: Domain, template: Template) -> dict[str, Any]:
    """Return a template as it appears in ListTemplates."""
    return {
        "templateId": template.id,
        "templateArn": arn(domain, "template", template.id),
        "name": template.name,
        "status": "Active" if template.active else "Inactive",
    }


def list_response(
    domain: Domain,
    request: Request,
    name: str,
    items: Sequence[Any],
    *,
    maximum: int = _MAX_LIST_SIZE,
    parameter: str = "",
) -> dict[str, Any]:
    """Return one page of a list whose paging is in the query string.

    `name` is the member of the list, `maximum` the largest and default page size, and `parameter`
    the name of a further query parameter of the operation.
    """
    query = dict(request.query)
    unknown = sorted(set(query) - {"maxResults", "nextToken"} - {parameter})
    if unknown:
        raise InvalidRequest(f"unknown query parameter {unknown[0]!r}")
    requested_size = _parse_integer(query.get("maxResults"))
    size = parse_page_size(requested_size, "maxResults", maximum=maximum, default=maximum)
    scope = [request.path, sorted(pair for pair in request.query if pair[0] == parameter)]
    token = query.get("nextToken")
    return list_page(domain, name, items, size=size, token=token, scope=scope)


def list_page(
    domain: Domain, name: str, items: Sequence[Any], *, size: int, token: Any, scope: Any
) -> dict[str, Any]:
    """Return one page of a list that is complete in memory."""
    start = token_position(domain, token, scope) or 0
    page: dict[str, Any] = {name: list(items[start : start + size])}
    if start + size < len(items):
        page["nextToken"] = domain.tokens.issue(start + size, scope)
    return page


def token_position(domain: Domain, token: Any, scope: Any) -> Any:
    """Return the position of a page token, None without one, or raise InvalidRequest."""
    if token in (None, ""):
        return None
    text = parse_text(token, "nextToken", maximum=_MAX_TOKEN_LENGTH)
    try:
        return domain.tokens.read(text, scope)
    except ValueError as error:
        raise InvalidRequest(f"nextToken: {error}") from error


def _parse_integer(text: str | None) -> Any:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,9}", text, re.ASCII) else text


def arn(domain: Domain, *parts: str) -> str:
    """Return the ARN of the domain, or of a resource in it."""
    resource = "/".join(["domain", domain.domain_id, *parts])
    return f"arn:aws:cases:{domain.region}:{domain.account}:{resource}"
