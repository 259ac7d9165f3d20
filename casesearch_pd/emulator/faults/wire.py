"""What faults must know of a wire: where its pages hold cases and cursors, how its errors look."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from casesearch_pd.emulator.server import Reply, Request, parse_json


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


def is_none(value: Any) -> bool:
    """Return whether there is no value."""
    return value is None


def _is_any(_: Any) -> bool:
    return True


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Return whether a value is a whole number from 1."""
    return _is_whole(value) and value >= 1


def is_time(value: Any) -> bool:
    """Return whether a value is a finite number of seconds from 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0


def _is_latency(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and all(map(is_time, value)) and value[0] <= value[1]  # noqa: PLR2004 - a pair
    return is_time(value)


def _is_retry_after(value: Any) -> bool:
    return value is None or isinstance(value, str | timedelta) or is_time(value)


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_headers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(held, str | None) for name, held in value.items()
    )


_COUNT = (is_count, "a number of cases, from 1")
_WHOLE = (_is_whole, "a whole number of cases")
VALUES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "short_page": _COUNT,
    "long_page": _COUNT,
    "repeated_case": (lambda value: value in (None, "older"), "'older', or left out"),
    "token": (_is_any, "anything"),
    "absolute_link": (
        lambda value: value is None or _is_address(value),
        "an origin such as 'https://elsewhere.example', or left out",
    ),
    "total": _WHOLE,
    "moving_total": _WHOLE,
    "body": (_is_any, "anything"),
    "value": (_is_any, "anything"),
    "without": (_is_address, "the name of a member"),
    "keys": (lambda value: value in ("kebab", "snake", "camel"), "'kebab', 'snake' or 'camel'"),
    "headers": (_is_headers, "a mapping of names to text or None"),
    "throttle": (_is_retry_after, "seconds, a timedelta, text, or left out"),
    "redirect": (_is_address, "an address"),
    "latency": (_is_latency, "seconds from 0, or a pair of them in order"),
    "silence": (is_time, "seconds from 0"),
    "reset": (lambda value: value in ("before", "in", "after"), "'before', 'in' or 'after'"),
}
"""Kind → whether a value fits it, and what would; kinds that are not here take none."""
