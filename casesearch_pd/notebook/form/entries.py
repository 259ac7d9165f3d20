"""What is typed into a value box in, a value of the field's type out; and back.

Times are written as in filters (``2026-03``, ``2026-03-14T09:30``), or from now: ``7 days ago``,
``in 3 hours``, ``now``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError

if TYPE_CHECKING:
    from casesearch_pd.query.schema import FieldType

__all__ = ["from_lines", "from_text", "to_lines", "to_text"]

_AGO = re.compile(r"\s*(?P<span>.+?)\s+ago\s*", re.IGNORECASE)
_AHEAD = re.compile(r"\s*in\s+(?P<span>.+?)\s*", re.IGNORECASE)
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")


def from_text(kind: FieldType, text: str) -> Any:
    """Read what somebody typed; None where nothing is there.

    >>> from_text("number", "2.50"), from_text("datetime", "7 days ago"), from_text("text", " a")
    (2.5, Timedelta('-7 days +00:00:00'), ' a')

    Raises
    ------
    FilterError
        If it is no value of this type.
    """
    if not text:
        return None
    match kind:
        case "number" | "integer":
            return _number(text)
        case "datetime":
            return _time(text)
        case _:
            return text


def _number(text: str) -> int | float:
    try:
        return int(text) if _WHOLE.fullmatch(text) else float(text)
    except ValueError as error:
        raise FilterError(f"{text!r} is no number; write one such as 3 or 2.5") from error


def _time(text: str) -> str | pd.Timedelta:
    if text.strip().lower() == "now":
        return pd.Timedelta(0)
    for form, sign in ((_AGO, -1), (_AHEAD, 1)):
        found = form.fullmatch(text)
        if found is not None:
            return sign * _span(found["span"])
    return text.strip()


def _span(text: str) -> pd.Timedelta:
    try:
        span = pd.Timedelta(text)
    except (ValueError, OverflowError) as error:
        raise FilterError(
            f"{text!r} is no length of time; write '7 days ago' or 'in 3 hours'"
        ) from error
    if pd.isna(span):
        raise FilterError(f"{text!r} is no length of time; write '7 days ago' or 'in 3 hours'")
    return span


def to_text(value: Any) -> str:
    """Write a value as `from_text` reads it.

    >>> to_text(pd.Timedelta(days=-7)), to_text(2.5), to_text(None)
    ('7 days ago', '2.5', '')
    """
    if value is None:
        return ""
    if isinstance(value, pd.Timedelta):
        return _from_now(value)
    return value if isinstance(value, str) else repr(value)


def _from_now(span: pd.Timedelta) -> str:
    if not span:
        return "now"
    length = str(abs(span)).removesuffix(" 00:00:00").removeprefix("0 days ")
    length = f"{length[:-1]}" if length == "1 days" else length
    return f"{length} ago" if span < pd.Timedelta(0) else f"in {length}"


def from_lines(kind: FieldType, text: str) -> tuple[Any, ...]:
    r"""Read any number of values, one a line; empty lines are passed over.

    >>> from_lines("integer", "1\n2\n")
    (1, 2)
    """
    return tuple(from_text(kind, line) for line in text.split("\n") if line)


def to_lines(values: tuple[Any, ...]) -> str:
    """Write values as `from_lines` reads them."""
    return "\n".join(map(to_text, values))
