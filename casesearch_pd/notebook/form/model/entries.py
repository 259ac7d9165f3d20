r"""What is typed into a value box in, a value of the field's type out; and back.

Times are written as in filters (``2026-03``, ``2026-03-14T09:30``), or from now: ``7 days ago``,
``in 3 hours``, ``now``. Text is taken as it is typed. What no line can hold (nothing at all, line
breaks) is written as a JSON string, ``""`` or ``"two\nlines"``, and only what would be read as
one of these is written so too: whoever types ``"urgent"`` asks for the quotes.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.notebook.words import length_of

if TYPE_CHECKING:
    from casesearch_pd.query.schema import FieldType

__all__ = ["from_lines", "from_text", "kind_of", "to_lines", "to_text"]

_AGO = re.compile(r"\s*(?P<span>.+?)\s+ago\s*", re.IGNORECASE)
_AHEAD = re.compile(r"\s*in\s+(?P<span>.+?)\s*", re.IGNORECASE)
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")
_UNTYPED = re.compile("[\n\r\0\ud800-\udfff]")  # what a line of text cannot hold
_TRUTHS = {"yes": True, "true": True, "no": False, "false": False}


def kind_of(kind: FieldType, value: Any) -> FieldType:
    """Tell how a value is typed: where the type is not known, the value has one.

    >>> kind_of("any", 5), kind_of("any", "5"), kind_of("url", "5")
    ('number', 'text', 'url')
    """
    if kind != "any" or isinstance(value, str):
        return "text" if kind == "any" else kind
    return "boolean" if isinstance(value, bool) else "number"


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
        case "boolean":
            return _truth(text)
        case "datetime":
            return _time(text)
        case _:
            quoted = _quoted(text)
            return text if quoted is None else quoted


def _number(text: str) -> int | float:
    try:
        number = int(text) if _WHOLE.fullmatch(text) else float(text)
    except ValueError as error:
        raise FilterError(f"{text!r} is no number; write one such as 3 or 2.5") from error
    if isinstance(number, float) and not math.isfinite(number):
        raise FilterError(f"{text!r} is no finite number; 'is missing' asks for none")
    return number


def _truth(text: str) -> bool:
    known = _TRUTHS.get(text.strip().lower())
    if known is None:
        raise FilterError(f"{text!r} is neither yes nor no")
    return known


def _quoted(text: str) -> str | None:
    """Read text that was written in quotes because no line can hold it."""
    if len(text) < 2 or not text[0] == text[-1] == '"':  # noqa: PLR2004 - a pair of quotes
        return None
    try:
        held = json.loads(text)
    except ValueError:
        return None
    return held if isinstance(held, str) and _needs_quotes(held) else None


def _needs_quotes(text: str) -> bool:
    return not text or _UNTYPED.search(text) is not None or _quoted(text) is not None


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

    >>> to_text(pd.Timedelta(days=-7)), to_text(2.5), to_text(None), to_text("")
    ('7 days ago', '2.5', '', '""')
    """
    match value:
        case None:
            return ""
        case pd.Timedelta():
            return _from_now(value)
        case bool():
            return "yes" if value else "no"
        case str():
            return json.dumps(value) if _needs_quotes(value) else value
        case _:
            return repr(value)


def _from_now(span: pd.Timedelta) -> str:
    if not span:
        return "now"
    length = length_of(span)
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
