"""What the value of a fault can be, kind by kind."""

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any


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
