"""Coercion: turn one value of a user into the type of a field, or explain what fits.

The difficult idea is time. A user may name an *instant* ("2026-03-14T09:30") or a *period*
("2026-03", a date, a `pandas.Period`): both become a half-open `TimeSpan` of UTC microseconds, so
that a comparison with a period needs no case of its own. Days are counted on the calendar of
the zone, never as 24 hours: two days a year have 23 or 25.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from casesearch_pd.errors import FilterError, nearest, warn

if TYPE_CHECKING:
    from casesearch_pd.query.schema import Field

__all__ = [
    "MAX_EXACT_INTEGER",
    "TimeSpan",
    "check_spelling",
    "coerce_scalar",
    "coerce_time_span",
    "is_collection",
    "is_missing",
    "members_of",
    "require_valid_text",
    "to_hashable",
    "unwrap",
]

_PERIOD_PATTERN = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_INSTANT_PATTERN = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?", re.IGNORECASE
)
MAX_EXACT_INTEGER = 2**53  # the largest range in which a double represents every integer
_MICROSECOND = pd.Timedelta(1, "us")
_MIN_TIME = pd.Timestamp("0001-01-01T00:00Z")
_MAX_TIME = pd.Timestamp("9999-12-31T23:59:59.999Z")  # in the milliseconds of both services
_OUT_OF_RANGE = (pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta, OverflowError)
# Units of numpy that are periods; its weeks begin on Thursday, like the first day of 1970.
_PERIOD_FREQUENCIES = {"Y": "Y", "M": "M", "W": "W-WED", "D": "D"}


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """The instants from ``start`` up to, not including, ``end``; an instant has a microsecond."""

    start: pd.Timestamp
    end: pd.Timestamp


def is_missing(value: Any) -> bool:
    """Return whether a user means "no value": None, NA, NaT or NaN."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def coerce_scalar(field: Field, value: object) -> Any:
    """Return a value in the type of the field that it is compared with.

    Raise FilterError if the value has another type; the message shows what fits.
    """
    value = unwrap(value)
    match field.type:
        case "number" | "integer":
            return _coerce_number(field, value)
        case "boolean":
            return _coerce_boolean(field, value)
        case "select":
            return _coerce_option(field, _coerce_text(field, value))
        case "any":
            return _coerce_any(field, value)
        case _:
            return _coerce_text(field, value)


def _coerce_number(field: Field, value: object) -> int | float:
    if isinstance(value, Decimal):
        raise _type_error(field, value, f"a number that a float can hold, such as {float(value)}")
    # NumPy registers its timedelta64, the only scalar that unwrap() leaves, as a number.
    if isinstance(value, (bool, np.generic)) or not isinstance(value, numbers.Real):
        raise _type_error(field, value, "a number such as 3 or 2.5")
    if not isinstance(value, int) and not math.isfinite(value):
        raise _type_error(field, value, "a finite number; None matches missing values")
    return value if isinstance(value, (int, float)) else float(value)


def _coerce_boolean(field: Field, value: object) -> bool:
    if not isinstance(value, bool):
        raise _type_error(field, value, "True or False")
    return value


def _coerce_text(field: Field, value: object) -> str:
    if not isinstance(value, str):
        raise _type_error(field, value, f"text such as {_text_example(field, value)!r}")
    require_valid_text(field, value)
    return value


def _text_example(field: Field, value: object) -> str:
    """Return the text that a user may have meant, else a value of the field."""
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    # The text of any other object would be its repr, which no case contains.
    if isinstance(value, (int, float, Decimal, UUID, PurePath)) and not isinstance(value, bool):
        return str(value)
    return next(iter((*(option.value for option in field.options), *field.examples, "open")))


def require_valid_text(field: Field, text: str) -> None:
    """Raise FilterError if a text has half of a surrogate pair: UTF-8 cannot encode it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FilterError(
            f"{field.column!r}: {text!r} contains half of a surrogate pair, which no case has; "
            "remove it"
        ) from error


def _coerce_any(field: Field, value: object) -> Any:
    if isinstance(value, str):
        return _coerce_text(field, value)
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Real):
        return _coerce_number(field, value)
    raise _type_error(field, value, "text, a number, True or False")


def _coerce_option(field: Field, value: str) -> str:
    values = [option.value for option in field.options]
    if not values or value in values:
        return value
    matching = _matching_options(field, value)
    if len(matching) == 1:
        return matching[0]
    close = nearest(value, values) or nearest(value, [option.label for option in field.options])
    hint = f"the nearest is {close[0]!r}" if close else f"the options are {_format_options(values)}"
    warn(f"{value!r} is not an option of {field.column!r}; {hint}")
    return value


def _matching_options(field: Field, text: str) -> list[str]:
    """Return the values of the options with this label, or with it in another letter case."""
    folded = text.casefold()
    by_label = [item.value for item in field.options if item.label == text]
    by_folded_value = [item.value for item in field.options if item.value.casefold() == folded]
    by_folded_label = [item.value for item in field.options if item.label.casefold() == folded]
    return list(dict.fromkeys(by_label or by_folded_value or by_folded_label))


def check_spelling(field: Field, value: object) -> None:
    """Warn if a text is none of the values that the field is known to have, but similar to one.

    It is never replaced: whether the service distinguishes letter case may not be documented.
    """
    if not isinstance(value, str) or not field.examples or value in field.examples:
        return
    folded = value.casefold()
    same = [item for item in field.examples if item.casefold() == folded]
    if close := same or nearest(value, field.examples):
        warn(f"no case read so far has {field.column}={value!r}; the nearest is {close[0]!r}")


def _format_options(values: list[str]) -> str:
    text = ", ".join(map(repr, values[:8]))
    return f"{text}, …" if len(values) > 8 else text  # noqa: PLR2004 - what fits on a line


def _type_error(field: Field, value: object, expected: str) -> FilterError:
    return FilterError(
        f"{field.column!r} is of type {field.type} and cannot be compared with {value!r}; write "
        f"{expected}"
    )


def coerce_time_span(field: Field, value: object, *, tz: str, now: pd.Timestamp) -> TimeSpan:
    """Return the span of an instant, a period or a distance from now.

    Text is ISO 8601. Naive times are in `tz`; a timedelta is relative to `now`, which is in UTC.
    """
    try:
        span = _to_time_span(field, value, tz, now)
    except _OUT_OF_RANGE as error:
        raise _range_error(field, value) from error
    if span.end <= _MIN_TIME or span.start.year > _MAX_TIME.year:
        raise _range_error(field, value)
    return TimeSpan(_clip(span.start), _clip(span.end))


def _clip(timestamp: pd.Timestamp) -> pd.Timestamp:
    return min(max(timestamp, _MIN_TIME), _MAX_TIME)


def _range_error(field: Field, value: object) -> FilterError:
    return FilterError(
        f"{field.column!r}: {value!r} is out of range; write a time between the years 1 and 9999, "
        "and one with nanoseconds between 1678 and 2261"
    )


def _to_time_span(field: Field, value: object, tz: str, now: pd.Timestamp) -> TimeSpan:
    if isinstance(value, str):
        value = _parse_text(field, value)
    if isinstance(value, np.datetime64):
        value = _from_numpy(value)
    if isinstance(value, (timedelta, np.timedelta64)):
        return _instant_span(now + pd.Timedelta(value))
    if isinstance(value, pd.Period):
        return _calendar_span(value, tz)
    if isinstance(value, datetime):
        return _instant_span(_localize(field, pd.Timestamp(value), tz))
    if isinstance(value, date):
        return _calendar_span(pd.Period(value, "D"), tz)
    raise _type_error(field, value, "a time such as '2026-03', '2026-03-14' or '2026-03-14T09:30'")


def _parse_text(field: Field, value: str) -> pd.Period | pd.Timestamp:
    text = value.strip()
    try:
        if _PERIOD_PATTERN.fullmatch(text):
            return pd.Period(text)
        # Words are rejected here: pandas would take "today" for the present instant.
        if _INSTANT_PATTERN.fullmatch(text):
            return pd.Timestamp(text.upper())
    except _OUT_OF_RANGE:
        raise
    except ValueError as error:
        raise FilterError(f"{field.column!r}: {value!r} is not a date of the calendar") from error
    raise _type_error(field, value, "a time such as '2026-03', '2026-03-14' or '2026-03-14T09:30'")


def _from_numpy(value: np.datetime64) -> pd.Period | pd.Timestamp:
    unit, _ = np.datetime_data(value.dtype)
    if unit not in _PERIOD_FREQUENCIES:
        return pd.Timestamp(value)
    day = value.astype("datetime64[D]").astype(object)
    if not isinstance(day, date):  # beyond the years of Python's calendar
        raise OverflowError(str(value))
    return pd.Period(day, _PERIOD_FREQUENCIES[unit])


def _localize(field: Field, timestamp: pd.Timestamp, tz: str) -> pd.Timestamp:
    if timestamp.tzinfo is not None:
        return timestamp
    try:
        return timestamp.tz_localize(tz)
    except ValueError as error:  # a clock change skips or repeats it
        example = timestamp.to_pydatetime().replace(tzinfo=ZoneInfo(tz)).isoformat()
        raise FilterError(
            f"{field.column!r}: {timestamp} occurs twice or not at all in {tz}; "
            f"add an offset, such as {example!r}"
        ) from error


def _instant_span(timestamp: pd.Timestamp) -> TimeSpan:
    # An instant between two microseconds equals neither. An empty span at the later one makes
    # == false, and < and > correct.
    utc = timestamp.tz_convert("UTC")
    start = utc.as_unit("us")  # rounds down
    end = start + _MICROSECOND
    return TimeSpan(start if start == utc else end, end)


def _calendar_span(period: pd.Period, tz: str) -> TimeSpan:
    return TimeSpan(_midnight(period.start_time, tz), _midnight((period + 1).start_time, tz))


def _midnight(naive: pd.Timestamp, tz: str) -> pd.Timestamp:
    if naive.year > _MAX_TIME.year:  # pandas periods have no limit there
        return _MAX_TIME
    # Where a clock change skips midnight, the day begins after the gap; where midnight occurs
    # twice, it begins with the first one.
    local = naive.tz_localize(tz, nonexistent="shift_forward", ambiguous=True)
    return local.tz_convert("UTC").as_unit("us")


def unwrap(value: Any) -> Any:
    """Return the value inside of an enumeration, an array without dimensions or a NumPy scalar.

    A Decimal becomes the int or float that equals it, if there is one.

    >>> unwrap(np.array(3.0)), unwrap(Decimal("2.5")), unwrap(np.bool_(True))
    (3.0, 2.5, True)
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.ndarray) and value.ndim == 0 and value is not np.ma.masked:
        value = value[()]
    if isinstance(value, np.generic) and value.dtype.kind not in "mM":  # item() loses their units
        value = value.item()
    if isinstance(value, Decimal) and value.is_finite():
        number = int(value) if value == value.to_integral_value() else float(value)
        # The shortest text of a float is what a user means by it.
        value = number if Decimal(repr(number)) == value else value
    return value


def to_hashable(name: str, value: Any) -> Any:
    """Return a value that the caller cannot change any more; expressions are immutable.

    Raise FilterError if the value is a mapping, a slice or a collection of collections.
    """
    value = unwrap(value)
    if isinstance(value, Mapping):
        raise FilterError(f"{name!r} cannot be compared with a mapping; write a value or a list")
    if not is_collection(value):
        return _require_hashable(name, value)
    values = tuple(map(unwrap, members_of(value)))
    inner = next(
        (item for item in values if isinstance(item, Mapping) or is_collection(item)), None
    )
    if inner is not None:
        raise FilterError(f"{name!r} cannot be compared with {inner!r}; write one flat list")
    return tuple(_require_hashable(name, item) for item in values)


def _require_hashable(name: str, value: Any) -> Any:
    if isinstance(value, slice):  # hashable since Python 3.12
        raise FilterError(
            f"{name!r} cannot be compared with {value!r}; write "
            f"{name}__between=({value.start!r}, {value.stop!r})"
        )
    try:
        hash(value)
    except TypeError:
        raise FilterError(
            f"{name!r} cannot be compared with {value!r}; write a text, a number, a time, True, "
            "False or None"
        ) from None
    return value


def is_collection(value: object) -> bool:
    """Return whether a value means "any of these"."""
    is_single = isinstance(value, (str, bytes, bytearray, Mapping))
    return not is_single and pd.api.types.is_list_like(value)


def members_of(value: Any) -> tuple[Any, ...]:
    """Return the members of a collection; those of a set in the same order every time."""
    if isinstance(value, AbstractSet):
        return tuple(sorted(value, key=repr))
    # tolist() would turn times in nanoseconds into integers.
    is_array = isinstance(value, np.ndarray) and value.dtype.kind not in "mM"
    return tuple(value.tolist() if is_array else value)
