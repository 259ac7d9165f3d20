"""The wire format of a service as faults need it: its cursors, cases and errors; JSON helpers."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from casesearch_pd.emulator.server import Reply, Request, parse_json


@dataclass(frozen=True)
class WireFormat:
    """The wire format of one service."""

    name: str
    operations: frozenset[str]
    operation_of: Callable[[Request], str]
    request_cursor: Callable[[Request], str | None]
    # The request with another cursor, or without one.
    with_cursor: Callable[[Request, str | None], Request]
    # The list of cases (or fields, templates …) of a response, or None.
    cases: Callable[[Any], list[Any] | None]
    next_cursor: Callable[[Any], str | None]
    # Sets the next cursor of a response to the same request; None ends the pages.
    set_next_cursor: Callable[[Any, Request, str | None], None]
    # Set the place of the next cursor to any value, and remove it; False where there is none.
    set_next_raw: Callable[[Any, Any], None]
    remove_next: Callable[[Any], bool]
    # Sets the value of a field in a case; False where the case does not have the field.
    set_value: Callable[[Any, str | None, Any], bool]
    # The object and the key of a case's update time, or None where it has none.
    update_time: Callable[[Any], tuple[dict[str, Any], str] | None]
    # The error of a status and a message in the documented shape.
    error: Callable[[int, str], Reply]


def case_id(case: Any) -> str | None:
    """Return the id of a case of either service, or None for anything else."""
    value = case.get("caseId", case.get("id"))
    return value if isinstance(value, str) else None


def dump_json(body: Any) -> bytes:
    """Return JSON bytes as compact as the service's own."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def request_body(request: Request) -> dict[str, Any]:
    """Return the body of a request, or an empty one where it is not an object."""
    try:
        body = parse_json(request.content or b"{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def with_query(request: Request, name: str, value: str | None) -> Request:
    """Return a request with one parameter of its query string set, or removed for None."""
    # An existing parameter keeps its position.
    parameters = {**dict(request.query), name: value}
    query = urlencode({key: one for key, one in parameters.items() if one is not None})
    return replace(request, target=urlsplit(request.target)._replace(query=query).geturl())


def is_none(value: Any) -> bool:
    """Return whether there is no value."""
    return value is None


def _is_any(_: Any) -> bool:
    return True


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Return whether a value is a positive integer."""
    return _is_integer(value) and value >= 1


def is_time(value: Any) -> bool:
    """Return whether a value is a finite, non-negative number of seconds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0


def _is_latency(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and all(map(is_time, value)) and value[0] <= value[1]  # noqa: PLR2004 - a pair
    return is_time(value)


def _is_drip(value: Any) -> bool:
    match value:
        case ("head" | "body", seconds):
            return is_time(seconds)
        case _:
            return is_time(value)


def _is_retry_after(value: Any) -> bool:
    return value is None or isinstance(value, str | timedelta) or is_time(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_headers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(text, str | None) for name, text in value.items()
    )


_COUNT = (is_count, "a positive number of cases")
_INTEGER = (_is_integer, "an integer")
# By kind: whether a value fits, and a description of values that do; other kinds have none.
VALUE_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "short_page": _COUNT,
    "long_page": _COUNT,
    "repeated_case": (lambda value: value in (None, "older"), "'older', or omitted"),
    "token": (_is_any, "anything"),
    "absolute_link": (
        lambda value: value is None or _is_text(value),
        "an origin such as 'https://elsewhere.example', or omitted",
    ),
    "total": _INTEGER,
    "moving_total": _INTEGER,
    "body": (_is_any, "anything"),
    "value": (_is_any, "anything"),
    "without": (_is_text, "the name of a member"),
    "keys": (lambda value: value in ("kebab", "snake", "camel"), "'kebab', 'snake' or 'camel'"),
    "headers": (_is_headers, "a mapping of names to text or None"),
    "throttle": (_is_retry_after, "seconds, a timedelta, text, or omitted"),
    "redirect": (_is_text, "an address"),
    "latency": (_is_latency, "non-negative seconds, or a pair of minimum and maximum"),
    "silence": (is_time, "non-negative seconds"),
    "drip": (_is_drip, "non-negative seconds, or ('head', seconds) or ('body', seconds)"),
    "reset": (lambda value: value in ("before", "in", "after"), "'before', 'in' or 'after'"),
}
