"""Operations of Persona: search, list and retrieve cases, case templates, rate limits.

Paths, members and parameters are those of Persona's OpenAPI description (2025-12-08).
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from casesearch_pd.local.http import Request
from casesearch_pd.local.persona_environment import PREFIX, Environment
from casesearch_pd.local.persona_pages import Walk, page_answer
from casesearch_pd.local.persona_parameters import body_of, page_of, query_of
from casesearch_pd.local.persona_query import PersonaError, bad_request, condition, order
from casesearch_pd.local.persona_render import (
    RELATIONSHIPS,
    Inflect,
    Plan,
    case_object,
    plan,
    template_object,
)
from casesearch_pd.local.store import Store
from casesearch_pd.local.times import stored_time, wire_time
from casesearch_pd.local.where import EVERYTHING, NOTHING, Where, all_of

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
