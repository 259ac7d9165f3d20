"""Headers, query strings and bodies of Persona requests, checked and taken apart."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from casesearch_pd.local.http import Request, parse_json
from casesearch_pd.local.persona_query import bad_request
from casesearch_pd.local.persona_render import INFLECTIONS, Inflect

VERSIONS = frozenset({
    "2026-09-29", "2025-12-08", "2025-10-27", "2023-01-05", "2022-09-01",
    "2021-08-18", "2021-07-05", "2021-02-21", "2020-05-18",
})  # fmt: skip
"""Those of the OpenAPI description, and the one that the documentation of autumn 2026 adds."""

_MOST, _USUAL = 100, 10
_PLAIN = "include"

Query = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Page:
    """The page asked for: its size and the case that it starts after or ends before."""

    size: int
    after: str | None = None
    before: str | None = None


def inflection(request: Request) -> Inflect:
    """Return the inflection asked for, once the version is one that there is."""
    version = request.headers.get("persona-version")
    if version is not None and version not in VERSIONS:
        raise bad_request(f"Persona-Version {version!r} is not a known version")
    name = request.headers.get("key-inflection", "kebab")
    if name not in INFLECTIONS:
        raise bad_request(f"Key-Inflection must be one of: {', '.join(INFLECTIONS)}")
    return INFLECTIONS[name]


def query_of(request: Request, known: set[str]) -> Query:
    """Return the query string as ``{"page": {"size": "10"}}``; a plain name has the key ""."""
    found: Query = {}
    for name, value in request.query:
        match = re.fullmatch(r"([^\[\]]+)(?:\[([^\[\]]+)\])?", name)
        if match is None or match[1] not in known or (match[2] is None) != (match[1] == _PLAIN):
            raise bad_request(f"{name} is not allowed in the query string")
        inner = found.setdefault(match[1], {})
        if inner.setdefault(match[2] or "", value) != value:
            raise bad_request(f"{name} is given twice in the query string")
    return found


def body_of(request: Request) -> dict[str, Any]:
    """Return the body of a search."""
    try:
        body = parse_json(request.content or b"{}")
    except ValueError as error:
        raise bad_request(str(error)) from error
    if not isinstance(body, dict):
        raise bad_request("the body must be an object")
    unknown = sorted(set(body) - {"query", "sort", "page"})
    if unknown:
        raise bad_request(f"{unknown[0]} is not allowed in the body")
    if body.get("sort", {}) is None:
        raise bad_request("sort must be an object of attribute and direction")
    if not isinstance(body.get("page", {}), dict):
        raise bad_request("page must be an object")
    return body


def page_of(sent: Mapping[str, Any]) -> Page:
    """Return the page that parameters ask for, from a body, a query string or both."""
    unknown = sorted(set(sent) - {"size", "after", "before"})
    if unknown:
        raise bad_request(f"page.{unknown[0]} is not allowed")
    cursors = {side: sent[side] for side in ("after", "before") if side in sent}
    if len(cursors) > 1:
        raise bad_request("page.after and page.before cannot be used together")
    if not all(isinstance(cursor, str) and cursor for cursor in cursors.values()):
        raise bad_request("page.after and page.before must be the id of a case")
    return Page(_size(sent.get("size", _USUAL)), **cursors)


def _size(sent: Any) -> int:
    size = int(sent) if isinstance(sent, str) and re.fullmatch("[0-9]{1,9}", sent) else sent
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _MOST:
        raise bad_request(f"page.size must be an integer from 1 to {_MOST}")
    return size
