"""The wire of Persona (JSON:API): an authorised request in, its documented answer out.

Status codes and headers are those of Persona's OpenAPI description (2025-12-08). Whoever has no
valid key gets 401, whatever the path; every other answer carries the rate limit and request ids.
"""

from collections.abc import Mapping
from hmac import compare_digest
from typing import Any

import msgspec

from casesearch_pd.local import persona_operations as operations
from casesearch_pd.local.http import Reply, Request
from casesearch_pd.local.persona_environment import PREFIX, Environment
from casesearch_pd.local.persona_parameters import inflection
from casesearch_pd.local.persona_query import PersonaError
from casesearch_pd.local.rates import Standing
from casesearch_pd.local.schema import made_id

_HIT = "You have hit your rate limit of {} requests / min."
ROUTES: Mapping[tuple[str, ...], tuple[str, operations.Operation]] = {
    ("cases", "search"): ("POST", operations.search),
    ("cases",): ("GET", operations.list_cases),
    ("cases", "*"): ("GET", operations.retrieve),
    ("case-templates", "*"): ("GET", operations.template),
    ("rate-limits",): ("GET", operations.rate_limits),
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


def _route(request: Request) -> tuple[operations.Operation, str]:
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
