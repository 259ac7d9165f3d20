"""Operations of Persona, and the choice of the one that a request names.

Paths, members and parameters are those of Persona's OpenAPI description (2025-12-08).
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from hmac import compare_digest
from typing import Any
from urllib.parse import urlencode

from casesearch_pd.emulator.data.schema import PERSONA_RELATIONSHIPS, PERSONA_STATUS, make_id
from casesearch_pd.emulator.data.store import EVERYTHING, NOTHING, Store, Where, all_of
from casesearch_pd.emulator.data.values import stored_time, wire_time
from casesearch_pd.emulator.limits import RateLimitStatus
from casesearch_pd.emulator.persona.filter import PersonaError, bad_request, condition, sort_keys
from casesearch_pd.emulator.persona.responses import (
    CaseLayout,
    Environment,
    Inflect,
    case_layout,
    case_object,
    persona_error_reply,
    reply,
    template_object,
)
from casesearch_pd.emulator.persona.search import (
    PREFIX,
    OrderedCases,
    case_page,
    parse_body,
    parse_inflection,
    parse_page,
    parse_query,
)
from casesearch_pd.emulator.server import Reply, Request

_RATE_LIMIT_DETAILS = "You have hit your rate limit of {} requests / min."
# The last argument is the id in the path, or its last segment where there is no id.
Operation = Callable[[Environment, Request, Inflect, str], dict[str, Any]]


def is_persona(request: Request) -> bool:
    """Return whether a request is for Persona: by its path or its bearer token."""
    bearer = request.headers.get("authorization", "").lower().startswith("bearer ")
    return bearer or f"{request.path}/".startswith(f"{PREFIX}/")


def answer_persona(environment: Environment, request: Request) -> Reply:
    """Return the reply to a request, the documented error if the request is invalid."""
    title = _authentication_error(environment, request)
    if title:
        return reply(401, {"errors": [{"title": title}]})
    # Only requests with a valid token count.
    status = environment.window.take()
    result = _rate_limit_reply(status) if status.exceeded else _answer_once(environment, request)
    headers = {**result.headers, **_headers(environment, status)}
    return Reply(result.status, result.content, headers)


def operation_of(request: Request) -> str:
    """Return the name of the requested operation, or "" where there is none."""
    try:
        return _route(request)[0].__name__
    except PersonaError:
        return ""


def _authentication_error(environment: Environment, request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return "Must be authenticated to access this endpoint"
    is_known = compare_digest(token.strip().encode(), environment.token.encode())
    return "" if is_known else "Token is invalid"


def _headers(environment: Environment, status: RateLimitStatus) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(status.limit),
        "RateLimit-Remaining": str(status.remaining),
        "RateLimit-Reset": str(status.reset),
        "Request-Id": make_id("req", next(environment.request_numbers)),
        "Persona-Environment-Id": make_id("env", "local"),
        "Persona-Organization-Id": make_id("org", "local"),
    }


def _rate_limit_reply(status: RateLimitStatus) -> Reply:
    details = _RATE_LIMIT_DETAILS.format(status.limit)
    return persona_error_reply(PersonaError(429, "Rate limit exceeded", details))


def _answer_once(environment: Environment, request: Request) -> Reply:
    """Return the reply to a request, the first one again where its Idempotency-Key was used."""
    # Persona applies the key to every POST, so also to a search, whose reply is then outdated.
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return _answer_now(environment, request)
    content = f"{request.target}\n".encode() + request.content
    first_content, first_reply = environment.replays.get_or_create(
        key, lambda: (content, _answer_now(environment, request))
    )
    if first_content != content:
        details = "Idempotency-Key was used with other parameters"
        return persona_error_reply(PersonaError(409, "Conflict", details))
    return first_reply


def _answer_now(environment: Environment, request: Request) -> Reply:
    try:
        inflect = parse_inflection(request)
        operation, argument = _route(request)
        return reply(200, operation(environment, request, inflect, argument))
    except PersonaError as error:
        return persona_error_reply(error)


def _route(request: Request) -> tuple[Operation, str]:
    """Return the operation and the id in the path; GET /cases/search names a case "search"."""
    has_prefix = request.path.startswith(f"{PREFIX}/")
    parts = tuple(request.parts[2:]) if has_prefix else ()
    routes = [ROUTES[path] for path in (parts, (*parts[:-1], "*")) if path in ROUTES]
    for method, operation in routes:
        if method == request.method:
            return operation, parts[-1]
    if routes:
        raise PersonaError(405, "Method not allowed", f"{request.method} is not allowed here")
    raise PersonaError(404, "Record not found")


def search(environment: Environment, request: Request, inflect: Inflect, _: str) -> dict[str, Any]:
    """Answer POST /cases/search; a page in the query string takes precedence over the body's."""
    body, query = parse_body(request), parse_query(request, {"page", "fields"})
    page = parse_page({**body.get("page", {}), **query.get("page", {})})
    store, options = environment.store, environment.options
    where = condition(store, body["query"], options) if "query" in body else EVERYTHING
    keys = sort_keys(store, body.get("sort"), options)
    layout = _layout(environment, inflect, query.get("fields", {}).get("case"))
    cases = OrderedCases(store, where, tuple(keys))
    return case_page(environment, cases, page, layout, f"{PREFIX}/cases/search")


def list_cases(
    environment: Environment, request: Request, inflect: Inflect, _: str
) -> dict[str, Any]:
    """Answer GET /cases, newest first; its links keep filters and fieldsets."""
    query = parse_query(request, {"page", "fields", "filter"})
    store = environment.live
    where = _list_filter(store, query.get("filter", {}))
    keys = tuple(store.key(name, descending=True) for name in ("created_at", "case_id"))
    parameters = [pair for pair in request.query if not pair[0].startswith("page[")]
    path = f"{PREFIX}/cases" + (f"?{urlencode(parameters)}" if parameters else "")
    layout = _layout(environment, inflect, query.get("fields", {}).get("case"))
    page = parse_page(query.get("page", {}))
    return case_page(environment, OrderedCases(store, where, keys), page, layout, path)


def retrieve(
    environment: Environment, request: Request, inflect: Inflect, case_id: str
) -> dict[str, Any]:
    """Answer GET /cases/ID."""
    query = parse_query(request, {"fields", "include"})
    fieldset = query.get("fields", {}).get("case")
    body: dict[str, Any] = {"data": _case(environment, inflect, case_id, fieldset)}
    if "include" in query:
        names = [name for name in query["include"][""].split(",") if name]
        body["included"] = _related_objects(environment, inflect, case_id, names)
    return body


def template(
    environment: Environment, request: Request, inflect: Inflect, template_id: str
) -> dict[str, Any]:
    """Answer GET /case-templates/ID."""
    parse_query(request, {"fields", "include"})
    return {"data": _template(environment, inflect, template_id)}


def rate_limits(
    environment: Environment, request: Request, inflect: Inflect, _: str
) -> dict[str, Any]:
    """Answer GET /rate-limits."""
    parse_query(request, set())
    status = environment.window.status()
    attributes = {
        "limit": status.limit,
        "remaining": status.remaining,
        inflect("seconds_to_reset"): status.reset,
    }
    return {"data": [{"type": "rate-limit/api", "attributes": attributes}]}


def _case(
    environment: Environment, inflect: Inflect, case_id: str, fieldset: str | None
) -> dict[str, Any]:
    live = environment.live
    layout = _layout(environment, inflect, fieldset)
    rows = live.rows(layout.columns, live.is_case(case_id))
    if not rows:
        raise PersonaError(404, "Record not found")
    return case_object(layout, rows[0])


def _layout(environment: Environment, inflect: Inflect, fieldset: str | None) -> CaseLayout:
    schema, options = environment.live.schema, environment.options
    create = partial(case_layout, schema, inflect, fieldset, options=options)
    return environment.layouts.get_or_create((inflect, fieldset), create)


def _related_objects(
    environment: Environment, inflect: Inflect, case_id: str, names: list[str]
) -> list[dict[str, Any]]:
    """Return the objects of ``include``: the complete template, others by type and id."""
    unknown = sorted(set(names) - {inflect(name) for name in PERSONA_RELATIONSHIPS})
    if unknown:
        raise bad_request(f"include {unknown[0]!r} is not a relationship of a case")
    relationships = _case(environment, inflect, case_id, None)["relationships"]
    values = [relationships[name]["data"] for name in names if name in relationships]
    links = [
        link for data in values for link in (data if isinstance(data, list) else [data]) if link
    ]
    return [_expand(environment, inflect, link) for link in links]


def _expand(environment: Environment, inflect: Inflect, link: dict[str, Any]) -> dict[str, Any]:
    if link["type"] != "case-template":
        return link
    return _template(environment, inflect, link["id"])


def _template(environment: Environment, inflect: Inflect, template_id: str) -> dict[str, Any]:
    schema = environment.live.schema
    case_template = schema.template(template_id)
    if case_template is None:
        raise PersonaError(404, "Record not found")
    created = wire_time(stored_time(environment.created))
    return template_object(schema, case_template, inflect, created)


def _list_filter(store: Store, filters: Mapping[str, str]) -> Where:
    parts = []
    for name, value in filters.items():
        # Filters may be written in any inflection.
        key = re.sub(r"([A-Z])", r"_\1", name).lower().replace("-", "_")
        if key not in _LIST_FILTERS:
            raise bad_request(f"filter[{name}] is not allowed")
        parts.append(_LIST_FILTERS[key](store, value))
    return all_of(parts)


def _equals(column: str) -> Callable[[Store, str], Where]:
    return lambda store, value: Where(f"{store.expression(column)} = ?", (value,))


def _contains(column: str) -> Callable[[Store, str], Where]:
    return lambda store, value: Where(f"has_item({store.expression(column)}, ?)", (value,))


_LIST_FILTERS: Mapping[str, Callable[[Store, str], Where]] = {
    "status": _equals(PERSONA_STATUS),
    "case_template_id": _equals("template_id"),
    "account_id": _contains("accounts"),
    "inquiry_id": _contains("inquiries"),
    "report_id": _contains("reports"),
    # The accounts of generated cases have no reference ids.
    "reference_id": lambda _, __: NOTHING,
}
ROUTES: Mapping[tuple[str, ...], tuple[str, Operation]] = {
    ("cases", "search"): ("POST", search),
    ("cases",): ("GET", list_cases),
    ("cases", "*"): ("GET", retrieve),
    ("case-templates", "*"): ("GET", template),
    ("rate-limits",): ("GET", rate_limits),
}
