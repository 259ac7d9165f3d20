"""Operations of Persona: search, list and retrieve cases, case templates, rate limits.

Paths, members and parameters are those of Persona's OpenAPI description (2025-12-08).
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from hmac import compare_digest
from typing import Any
from urllib.parse import urlencode

import msgspec

from casesearch_pd.emulator.data.schema import made_id
from casesearch_pd.emulator.data.store import EVERYTHING, NOTHING, Store, Where, all_of
from casesearch_pd.emulator.data.values import stored_time, wire_time
from casesearch_pd.emulator.limits import Standing
from casesearch_pd.emulator.persona.pages import (
    PREFIX,
    Environment,
    Walk,
    body_of,
    inflection,
    page_answer,
    page_of,
    query_of,
)
from casesearch_pd.emulator.persona.query import PersonaError, bad_request, condition, order
from casesearch_pd.emulator.persona.render import (
    RELATIONSHIPS,
    Inflect,
    Plan,
    case_object,
    plan,
    template_object,
)
from casesearch_pd.emulator.server import Reply, Request

Operation = Callable[[Environment, Request, Inflect, str], dict[str, Any]]


def search(environment: Environment, request: Request, inflect: Inflect, _: str) -> dict[str, Any]:
    """Answer POST /cases/search; a page in the query string goes before one in the body."""
    body, query = body_of(request), query_of(request, {"page", "fields"})
    page = page_of({**body.get("page", {}), **query.get("page", {})})
    store, choices = environment.store, environment.choices
    where = condition(store, body["query"], choices) if "query" in body else EVERYTHING
    keys = order(store, body.get("sort"), choices)
    shown = _plan(environment, inflect, query.get("fields", {}).get("case"))
    walk = Walk(store, where, tuple(keys))
    return page_answer(environment, walk, page, shown, f"{PREFIX}/cases/search")


def list_cases(
    environment: Environment, request: Request, inflect: Inflect, _: str
) -> dict[str, Any]:
    """Answer GET /cases, newest first; its links keep filters and fieldsets."""
    query = query_of(request, {"page", "fields", "filter"})
    store = environment.live
    where = _list_filter(store, query.get("filter", {}))
    keys = tuple(store.key(name, descending=True) for name in ("created_at", "case_id"))
    kept = [pair for pair in request.query if not pair[0].startswith("page[")]
    path = f"{PREFIX}/cases" + (f"?{urlencode(kept)}" if kept else "")
    shown = _plan(environment, inflect, query.get("fields", {}).get("case"))
    page = page_of(query.get("page", {}))
    return page_answer(environment, Walk(store, where, keys), page, shown, path)


def retrieve(
    environment: Environment, request: Request, inflect: Inflect, case_id: str
) -> dict[str, Any]:
    """Answer GET /cases/ID."""
    query = query_of(request, {"fields", "include"})
    found = {"data": _case(environment, inflect, case_id, query.get("fields", {}).get("case"))}
    if "include" in query:
        names = [name for name in query["include"][""].split(",") if name]
        found["included"] = _included(environment, inflect, case_id, names)
    return found


def _case(
    environment: Environment, inflect: Inflect, case_id: str, fieldset: str | None
) -> dict[str, Any]:
    live = environment.live
    shown = _plan(environment, inflect, fieldset)
    rows = live.rows(shown.columns, live.is_case(case_id))
    if not rows:
        raise PersonaError(404, "Record not found")
    return case_object(shown, rows[0])


def _plan(environment: Environment, inflect: Inflect, fieldset: str | None) -> Plan:
    """Return what to show of a case, worked out once for each way of asking."""
    schema, choices = environment.live.schema, environment.choices
    make = partial(plan, schema, inflect, fieldset, choices=choices)
    return environment.plans.once((inflect, fieldset), make)


def _included(environment: Environment, inflect: Inflect, case_id: str, names: list[str]) -> Any:
    """Return the related objects asked for: the template whole, others by type and id."""
    unknown = sorted(set(names) - {inflect(name) for name in RELATIONSHIPS})
    if unknown:
        raise bad_request(f"include {unknown[0]!r} is not a relationship of a case")
    links = _case(environment, inflect, case_id, None)["relationships"]
    held = [links[name]["data"] for name in names if name in links]
    flat = [one for data in held for one in (data if isinstance(data, list) else [data]) if one]
    return [_full(environment, inflect, one) for one in flat]


def _full(environment: Environment, inflect: Inflect, link: dict[str, Any]) -> dict[str, Any]:
    if link["type"] != "case-template":
        return link
    return _template(environment, inflect, link["id"])


def template(
    environment: Environment, request: Request, inflect: Inflect, template_id: str
) -> dict[str, Any]:
    """Answer GET /case-templates/ID."""
    query_of(request, {"fields", "include"})
    return {"data": _template(environment, inflect, template_id)}


def _template(environment: Environment, inflect: Inflect, template_id: str) -> dict[str, Any]:
    schema = environment.live.schema
    found = schema.template(template_id)
    if found is None:
        raise PersonaError(404, "Record not found")
    made = wire_time(stored_time(environment.created))
    return template_object(schema, found, inflect, made)


def rate_limits(
    environment: Environment, request: Request, inflect: Inflect, _: str
) -> dict[str, Any]:
    """Answer GET /rate-limits."""
    query_of(request, set())
    standing = environment.window.standing()
    attributes = {
        "limit": standing.limit,
        "remaining": standing.remaining,
        inflect("seconds_to_reset"): standing.reset,
    }
    return {"data": [{"type": "rate-limit/api", "attributes": attributes}]}


def _list_filter(store: Store, sent: Mapping[str, str]) -> Where:
    parts = []
    for name, value in sent.items():
        key = re.sub(r"([A-Z])", r"_\1", name).lower().replace("-", "_")
        if key not in _LIST_FILTERS:
            raise bad_request(f"filter[{name}] is not allowed")
        parts.append(_LIST_FILTERS[key](store, value))
    return all_of(parts)


def _equals(column: str) -> Callable[[Store, str], Where]:
    return lambda store, value: Where(f"{store.expression(column)} = ?", (value,))


def _has(column: str) -> Callable[[Store, str], Where]:
    return lambda store, value: Where(f"has_item({store.expression(column)}, ?)", (value,))


_LIST_FILTERS: Mapping[str, Callable[[Store, str], Where]] = {
    "status": _equals("status"),
    "case_template_id": _equals("template_id"),
    "account_id": _has("accounts"),
    "inquiry_id": _has("inquiries"),
    "report_id": _has("reports"),
    "reference_id": lambda _, __: NOTHING,  # accounts have no reference ids here
}

_HIT = "You have hit your rate limit of {} requests / min."
ROUTES: Mapping[tuple[str, ...], tuple[str, Operation]] = {
    ("cases", "search"): ("POST", search),
    ("cases",): ("GET", list_cases),
    ("cases", "*"): ("GET", retrieve),
    ("case-templates", "*"): ("GET", template),
    ("rate-limits",): ("GET", rate_limits),
}


def answer(environment: Environment, request: Request) -> Reply:
    """Return the reply to a request; whatever is wrong with it becomes the documented error."""
    title = _unauthorised(environment, request)
    if title:
        return _reply(401, {"errors": [{"title": title}]})
    standing = environment.window.take()
    reply = _refused(standing) if standing.refused else _replayed(environment, request)
    return Reply(reply.status, reply.content, {**reply.headers, **_headers(environment, standing)})


def is_persona(request: Request) -> bool:
    """Return whether a request is for Persona: by its path or its bearer token."""
    bearer = request.headers.get("authorization", "").lower().startswith("bearer ")
    return bearer or f"{request.path}/".startswith(f"{PREFIX}/")


def operation_of(request: Request) -> str:
    """Return the name of the operation that a request asks for, or "" where there is none."""
    try:
        return _route(request)[0].__name__
    except PersonaError:
        return ""


def error_reply(error: PersonaError) -> Reply:
    """Return an error in the shape of Persona's OpenAPI description."""
    shown: dict[str, Any] = {"title": error.title}
    if error.details:
        shown["details"] = error.details
    if error.pointer:
        shown["source"] = {"pointer": error.pointer}
    return _reply(error.status, {"errors": [shown]})


def _reply(status: int, body: Any) -> Reply:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Reply(status, msgspec.json.encode(body), headers)


def _unauthorised(environment: Environment, request: Request) -> str:
    sent = request.headers.get("authorization", "")
    scheme, _, token = sent.partition(" ")
    if scheme.lower() != "bearer" or not token:
        return "Must be authenticated to access this endpoint"
    known = compare_digest(token.strip().encode(), environment.token.encode())
    return "" if known else "Token is invalid"


def _headers(environment: Environment, standing: Standing) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(standing.limit),
        "RateLimit-Remaining": str(standing.remaining),
        "RateLimit-Reset": str(standing.reset),
        "Request-Id": made_id("req", next(environment.numbers)),
        "Persona-Environment-Id": made_id("env", "local"),
        "Persona-Organization-Id": made_id("org", "local"),
    }


def _refused(standing: Standing) -> Reply:
    return error_reply(PersonaError(429, "Rate limit exceeded", _HIT.format(standing.limit)))


def _replayed(environment: Environment, request: Request) -> Reply:
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return _answered(environment, request)
    sent = f"{request.target}\n".encode() + request.content
    first, reply = environment.replays.once(key, lambda: (sent, _answered(environment, request)))
    if first != sent:
        details = "Idempotency-Key was used with other parameters"
        return error_reply(PersonaError(409, "Conflict", details))
    return reply


def _answered(environment: Environment, request: Request) -> Reply:
    try:
        inflect = inflection(request)
        operation, argument = _route(request)
        return _reply(200, operation(environment, request, inflect, argument))
    except PersonaError as error:
        return error_reply(error)


def _route(request: Request) -> tuple[Operation, str]:
    """Return the operation and the id in the path; GET /cases/search asks for a case "search"."""
    here = request.path.startswith(f"{PREFIX}/")
    parts = tuple(request.parts[2:]) if here else ()
    ways = [ROUTES[form] for form in (parts, (*parts[:-1], "*")) if form in ROUTES]
    for method, operation in ways:
        if method == request.method:
            return operation, parts[-1]
    if ways:
        raise PersonaError(405, "Method not allowed", f"{request.method} is not allowed here")
    raise PersonaError(404, "Record not found")
