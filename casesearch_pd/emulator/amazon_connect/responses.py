"""A Cases domain as the operations of Amazon Connect see it: stores, names, tokens, choices."""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from casesearch_pd.emulator.amazon_connect.filter import InvalidRequest, members, page_size, text
from casesearch_pd.emulator.data.related import RelatedItems
from casesearch_pd.emulator.data.schema import Column, Template
from casesearch_pd.emulator.data.store import Store
from casesearch_pd.emulator.limits import Tokens
from casesearch_pd.emulator.options import EmulatorOptions
from casesearch_pd.emulator.server import Reply, Request, parse_json


@dataclass(frozen=True)
class Domain:
    """A Cases domain: its cases and how it answers.

    Parameters
    ----------
    store
        The cases that search sees.
    domain_id, region, account
        What the domain's ARNs are made of.
    created
        When the domain was made.
    tokens
        Makes and reads page tokens.
    access_key
        The one access key id let in, or None for any.
    choices
        How it answers where no document says it.
    live
        The cases that everything but search sees.
    items
        The related items of all cases.
    clock
        The service's time.
    """

    store: Store
    domain_id: str
    region: str
    account: str
    created: datetime
    tokens: Tokens
    access_key: str | None
    choices: EmulatorOptions
    live: Store
    items: RelatedItems
    clock: Callable[[], datetime]


_MOST_LISTED = 100
_LONGEST_TOKEN = 9000


@dataclass
class ConnectError(Exception):
    """An error of the service model: its name, status, message and further members."""

    status: int
    code: str
    message: str
    more: Mapping[str, Any] = field(default_factory=dict)


def error_reply(error: ConnectError) -> Reply:
    """Return an error in the shape that botocore reads."""
    body = {"message": error.message, **error.more}
    return reply(error.status, body, {"x-amzn-ErrorType": error.code})


def not_found(kind: str, resource_id: str) -> ConnectError:
    """Return the error for a resource that this domain does not have."""
    more = {"resourceId": resource_id, "resourceType": kind}
    return ConnectError(404, "ResourceNotFoundException", f"{kind} not found", more)


def reply(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply with a request id."""
    shown = {
        "Content-Type": "application/json",
        "x-amzn-RequestId": str(uuid.uuid4()),
        **(headers or {}),
    }
    return Reply(status, msgspec.json.encode(body), shown)


def body_of(request: Request) -> Any:
    """Return the JSON body of a request; an empty one is an empty structure."""
    try:
        return parse_json(request.content or b"{}")
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def given(request: Request, known: set[str]) -> dict[str, Any]:
    """Return the members of a body that are set, or raise InvalidRequest at an unknown one."""
    body = body_of(request)
    members(body, known, "body")
    return {name: value for name, value in body.items() if value is not None}


def domain_summary(domain: Domain) -> dict[str, Any]:
    """Return the domain as ListDomains shows it."""
    return {"domainId": domain.domain_id, "domainArn": arn(domain), "name": "cases"}


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


def template_summary(domain: Domain, template: Template) -> dict[str, Any]:
    """Return a template as ListTemplates shows it."""
    return {
        "templateId": template.id,
        "templateArn": arn(domain, "template", template.id),
        "name": template.name,
        "status": "Active" if template.active else "Inactive",
    }


def listing(
    domain: Domain,
    request: Request,
    name: str,
    items: Sequence[Any],
    *,
    most: int = _MOST_LISTED,
    more: str = "",
) -> dict[str, Any]:
    """Return one page of a list whose paging is in the query string.

    Parameters
    ----------
    domain, request
        Where it is asked, and what.
    name
        The member that holds the list.
    items
        The whole list.
    most
        The longest page, which is also the default.
    more
        A further query parameter of the operation.
    """
    sent = dict(request.query)
    unknown = sorted(set(sent) - {"maxResults", "nextToken"} - {more})
    if unknown:
        raise InvalidRequest(f"unknown query parameter {unknown[0]!r}")
    size = page_size(_number(sent.get("maxResults")), "maxResults", most=most, default=most)
    scope = [request.path, sorted(pair for pair in request.query if pair[0] == more)]
    token = sent.get("nextToken")
    return listing_page(domain, name, items, size=size, token=token, scope=scope)


def listing_page(
    domain: Domain, name: str, items: Sequence[Any], *, size: int, token: Any, scope: Any
) -> dict[str, Any]:
    """Return one page of a list that is held as a whole."""
    start = position(domain, token, scope) or 0
    page: dict[str, Any] = {name: list(items[start : start + size])}
    if start + size < len(items):
        page["nextToken"] = domain.tokens.issue(start + size, scope)
    return page


def position(domain: Domain, token: Any, scope: Any) -> Any:
    """Return the position of a page token, None without one, or raise InvalidRequest."""
    if token in (None, ""):
        return None
    sent = text(token, "nextToken", most=_LONGEST_TOKEN)
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
