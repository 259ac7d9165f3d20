"""What faults must know of a wire: where its pages hold cases and cursors, how its errors look."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from casesearch_pd.local.http import Reply, Request, parse_json


@dataclass(frozen=True)
class Wire:
    """One wire, as faults see it.

    Parameters
    ----------
    name
        ``connect`` or ``persona``.
    operations
        The names of its operations.
    operation_of
        The name of the operation that a request asks for.
    sent_cursor, with_cursor
        The cursor of a request, and the same request with another one, or without.
    cases
        The list of cases (or fields, templates …) in an answer, or None.
    next_cursor, lead_to
        The cursor that an answer leads on with, and the change of it to another one for the
        same request, or to the end.
    set_next, drop_next
        The change of what stands in the place of the next cursor to anything, or to nothing;
        False where nothing stands there.
    set_value
        The change of a field's value in a case; False where the case does not show the field.
    update_time
        The object and key that hold when a case was updated, or None where it is not shown.
    error
        The error of a status, in the documented shape.
    """

    name: str
    operations: frozenset[str]
    operation_of: Callable[[Request], str]
    sent_cursor: Callable[[Request], str | None]
    with_cursor: Callable[[Request, str | None], Request]
    cases: Callable[[Any], list[Any] | None]
    next_cursor: Callable[[Any], str | None]
    lead_to: Callable[[Any, Request, str | None], None]
    set_next: Callable[[Any, Any], None]
    drop_next: Callable[[Any], bool]
    set_value: Callable[[Any, str | None, Any], bool]
    update_time: Callable[[Any], tuple[dict[str, Any], str] | None]
    error: Callable[[int, str], Reply]


def case_id(case: Any) -> str | None:
    """Return the id of a case of either wire, or None for anything else."""
    found = case.get("caseId", case.get("id"))
    return found if isinstance(found, str) else None


def dumped(body: Any) -> bytes:
    """Return JSON bytes as compact as the service's own."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def sent_body(request: Request) -> dict[str, Any]:
    """Return the body of a request; one that is no object says nothing here."""
    try:
        body = parse_json(request.content or b"{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def with_query(request: Request, name: str, value: str | None) -> Request:
    """Return a request with one pair of its query string set, or without it."""
    pairs = {**dict(request.query), name: value}  # a pair that is there keeps its place
    query = urlencode({key: held for key, held in pairs.items() if held is not None})
    return replace(request, target=urlsplit(request.target)._replace(query=query).geturl())
