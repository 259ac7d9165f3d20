"""Persona as faults see it: cursors in links, and in requests the query string before the body."""

from dataclasses import replace
from http.client import responses
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from casesearch_pd.emulator.faults.wire import Wire, dumped, sent_body, with_query
from casesearch_pd.emulator.persona import routes as persona
from casesearch_pd.emulator.persona.query import PersonaError
from casesearch_pd.emulator.server import Reply, Request

_AFTER, _SIZE = "page[after]", "page[size]"
_USUAL_SIZE = 10


def _sent_page(request: Request) -> dict[str, Any]:
    page = sent_body(request).get("page")
    return page if isinstance(page, dict) else {}


def _sent_after(request: Request) -> str | None:
    return dict(request.query).get(_AFTER) or _sent_page(request).get("after") or None


def _with_after(request: Request, after: str | None) -> Request:
    """Return the request with its cursor in the query string, which goes before the body."""
    page = _sent_page(request)
    if page.pop("after", None) is not None:
        request = replace(request, content=dumped({**sent_body(request), "page": page}))
    return with_query(request, _AFTER, after)


def _cases(body: Any) -> list[Any] | None:
    found: list[Any] | None = body.get("data")
    return found


def _next_after(body: Any) -> str | None:
    link = body["links"]["next"]
    return dict(parse_qsl(urlsplit(link).query)).get(_AFTER) if link else None


def _lead_to(body: Any, request: Request, after: str | None) -> None:
    if after is None:
        body["links"]["next"] = None
    else:
        link = body["links"].get("next") or _own_link(request)
        body["links"]["next"] = with_query(replace(request, target=link), _AFTER, after).target


def _own_link(request: Request) -> str:
    """Return a link as the service would make it, where the page has none."""
    sent = dict(request.query)
    kept = {} if request.method == "POST" else sent
    size = str(sent.get(_SIZE) or _sent_page(request).get("size") or _USUAL_SIZE)
    return with_query(
        replace(request, target=f"{request.path}?{urlencode(kept)}"), _SIZE, size
    ).target


def _set_link(body: Any, link: Any) -> None:
    body["links"]["next"] = link


def _drop_link(body: Any) -> bool:
    del body["links"]["next"]
    return True


def _set_value(case: Any, field: str | None, value: Any) -> bool:
    attributes = case["attributes"]
    custom = attributes.get("fields", {})
    holder = custom if field is None or field in custom else attributes
    name = next(reversed(holder), None) if field is None else field
    if name not in holder:
        return False
    holder[name] = value
    return True


def _update_time(case: Any) -> tuple[dict[str, Any], str] | None:
    attributes = case["attributes"]
    names = ("updated-at", "updated_at", "updatedAt")
    return next(((attributes, name) for name in names if name in attributes), None)


def _error(status: int, message: str) -> Reply:
    return persona.error_reply(PersonaError(status, responses.get(status, "Error"), message))


PERSONA = Wire(
    name="persona",
    operations=frozenset(operation.__name__ for _, operation in persona.ROUTES.values()),
    operation_of=persona.operation_of,
    sent_cursor=_sent_after,
    with_cursor=_with_after,
    cases=_cases,
    next_cursor=_next_after,
    lead_to=_lead_to,
    set_next=_set_link,
    drop_next=_drop_link,
    set_value=_set_value,
    update_time=_update_time,
    error=_error,
)
