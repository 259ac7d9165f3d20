"""The wire format of Persona: cursors are in links; a request's query string precedes its body."""

from dataclasses import replace
from http.client import responses
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from casesearch_pd.emulator.faults.wire import WireFormat, dump_json, request_body, with_query
from casesearch_pd.emulator.persona.filter import PersonaError
from casesearch_pd.emulator.persona.responses import persona_error_reply
from casesearch_pd.emulator.persona.routes import ROUTES, operation_of
from casesearch_pd.emulator.server import Reply, Request

_AFTER, _SIZE = "page[after]", "page[size]"
_DEFAULT_PAGE_SIZE = 10


def _body_page(request: Request) -> dict[str, Any]:
    page = request_body(request).get("page")
    return page if isinstance(page, dict) else {}


def _cursor_of(request: Request) -> str | None:
    return dict(request.query).get(_AFTER) or _body_page(request).get("after") or None


def _with_cursor(request: Request, after: str | None) -> Request:
    """Return the request with its cursor in the query string, which takes precedence."""
    # A cursor in the body would count as well where the query string has none, so it is removed.
    page = _body_page(request)
    if page.pop("after", None) is not None:
        request = replace(request, content=dump_json({**request_body(request), "page": page}))
    return with_query(request, _AFTER, after)


def _cases(body: Any) -> list[Any] | None:
    cases: list[Any] | None = body.get("data")
    return cases


def _next_cursor(body: Any) -> str | None:
    link = body["links"]["next"]
    return dict(parse_qsl(urlsplit(link).query)).get(_AFTER) if link else None


def _set_next_cursor(body: Any, request: Request, after: str | None) -> None:
    if after is None:
        body["links"]["next"] = None
    else:
        link = body["links"].get("next") or _own_link(request)
        body["links"]["next"] = with_query(replace(request, target=link), _AFTER, after).target


def _own_link(request: Request) -> str:
    """Return a link as the service would write it, for a page that has none."""
    query = dict(request.query)
    size = str(query.get(_SIZE) or _body_page(request).get("size") or _DEFAULT_PAGE_SIZE)
    # A search has its filter in the body; the links of a list repeat the whole query string.
    link_query = {} if request.method == "POST" else query
    link = replace(request, target=f"{request.path}?{urlencode(link_query)}")
    return with_query(link, _SIZE, size).target


def _set_link(body: Any, link: Any) -> None:
    body["links"]["next"] = link


def _remove_link(body: Any) -> bool:
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
    return persona_error_reply(PersonaError(status, responses.get(status, "Error"), message))


PERSONA = WireFormat(
    name="persona",
    operations=frozenset(operation.__name__ for _, operation in ROUTES.values()),
    operation_of=operation_of,
    request_cursor=_cursor_of,
    with_cursor=_with_cursor,
    cases=_cases,
    next_cursor=_next_cursor,
    set_next_cursor=_set_next_cursor,
    set_next_raw=_set_link,
    remove_next=_remove_link,
    set_value=_set_value,
    update_time=_update_time,
    error=_error,
)
