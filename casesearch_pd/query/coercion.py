"""Coercion: turn one value of a user into the type of a field, or explain what fits.

The difficult idea is time. A user may name an *instant* ("2026-03-14T09:30") or a *period*
("2026-03", a date, a `pandas.Period`): both become a half-open `Period` of UTC microseconds, so
that a comparison with a period needs no case of its own. Days are counted on the calendar of
the zone, never as 24 hours: two days a year have 23 or 25.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from casesearch_pd.errors import FilterError, nearest, warn

if TYPE_CHECKING:
    from casesearch_pd.query.schema import Field

__all__ = [
    "Period",
    "coerce_period",
    "coerce_scalar",
    "is_collection",
    "is_missing",
    "members_of",
    "require_valid_text",
    "to_hashable",
]

_PERIOD = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?", re.IGNORECASE
)
_TICK = pd.Timedelta(1, "us")
_FIRST = pd.Timestamp("0001-01-01T00:00Z")
_LAST = pd.Timestamp("9999-12-31T23:59:59.999Z")  # in the milliseconds of both services
_OUT_OF_RANGE = (pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta, OverflowError)
# Units of numpy that are periods; its weeks begin on Thursday, like the first day of 1970.
_PERIODS = {"Y": "Y", "M": "M", "W": "W-WED", "D": "D"}


@dataclass(frozen=True, slots=True)
class Period:
    """The instants from ``start`` up to, not including, ``end``; an instant is one tick long."""

    start: pd.Timestamp
    end: pd.Timestamp


def is_missing(value: Any) -> bool:
    """Return whether a user means "no value": None, NA, NaT or NaN."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def coerce_scalar(field: Field, value: object) -> Any:
    """Return a value in the type of the field that it is compared with.

    Raises FilterError if the value has another type; the message shows what fits.
    """
    value = value.item() if isinstance(value, np.generic) else value
    match field.type:
        case "number" | "integer":
            return _number(field, value)
        case "boolean":
            return _boolean(field, value)
        case "select":
            return _option(field, _text(field, value))
        case "any":
            return _any(field, value)
        case _:
            return _text(field, value)


def _number(field: Field, value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _type_error(field, value, "a number such as 3 or 2.5")
    if not isinstance(value, int) and not math.isfinite(value):
        raise _type_error(field, value, "a finite number; None matches missing values")
    return value if isinstance(value, (int, float)) else float(value)


def _boolean(field: Field, value: object) -> bool:
    if not isinstance(value, bool):
        raise _type_error(field, value, "True or False")
    return value


def _text(field: Field, value: object) -> str:
    if not isinstance(value, str):
        raise _type_error(field, value, f"text such as {str(value)!r}")
    require_valid_text(field, value)
    return value


def require_valid_text(field: Field, text: str) -> None:
    """Raise FilterError if a text has half of a surrogate pair: UTF-8 cannot encode it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FilterError(
            f"{field.column!r}: {text!r} contains half of a surrogate pair, which no case has; "
            "remove it"
        ) from error


def _any(field: Field, value: object) -> Any:
    if isinstance(value, str):
        return _text(field, value)
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Real):
        return _number(field, value)
    raise _type_error(field, value, "text, a number, True or False")


def _option(field: Field, value: str) -> str:
    values = [option.value for option in field.options]
    if not values or value in values:
        return value
    by_label = [option.value for option in field.options if option.label == value]
    if len(by_label) == 1:
        return by_label[0]
    close = nearest(value, values) or nearest(value, [option.label for option in field.options])
    hint = f"the nearest is {close[0]!r}" if close else f"the options are {_first_of(values)}"
    warn(f"{value!r} is not an option of {field.column!r}; {hint}")
    return value


def _first_of(values: list[str]) -> str:
    text = ", ".join(map(repr, values[:8]))
    return f"{text}, …" if len(values) > 8 else text  # noqa: PLR2004 - what fits on a line


def _type_error(field: Field, value: object, expected: str) -> FilterError:
    return FilterError(
        f"{field.column!r} is of type {field.type} and cannot be compared with {value!r}; write "
        f"{expected}"
    )


def coerce_period(field: Field, value: object, *, tz: str, now: pd.Timestamp) -> Period:
    """Return the period of an instant, a period or a distance from now.

    Text is ISO 8601. Naive times are in `tz`; a timedelta is relative to `now`, which is in UTC.
    """
    try:
        period = _to_period(field, value, tz, now)
    except _OUT_OF_RANGE as error:
        raise _range_error(field, value) from error
    if period.end <= _FIRST or period.start.year > _LAST.year:
        raise _range_error(field, value)
    return Period(_clip(period.start), _clip(period.end))


def _clip(timestamp: pd.Timestamp) -> pd.Timestamp:
    return min(max(timestamp, _FIRST), _LAST)


def _range_error(field: Field, value: object) -> FilterError:
    return FilterError(
        f"{field.column!r}: {value!r} is outside the years 1 to 9999, "
        "or finer than a microsecond and outside 1678 to 2261"
    )


def _to_period(field: Field, value: object, tz: str, now: pd.Timestamp) -> Period:
    if isinstance(value, str):
        value = _parse_text(field, value)
    if isinstance(value, np.datetime64):
        value = _from_numpy(value)
    if isinstance(value, (timedelta, np.timedelta64)):
        return _instant_period(now + pd.Timedelta(value))
    if isinstance(value, pd.Period):
        return _calendar_period(value, tz)
    if isinstance(value, datetime):
        return _instant_period(_localize(field, pd.Timestamp(value), tz))
    if isinstance(value, date):
        return _calendar_period(pd.Period(value, "D"), tz)
    raise _type_error(field, value, "a time such as '2026-03', '2026-03-14' or '2026-03-14T09:30'")


def _parse_text(field: Field, value: str) -> pd.Period | pd.Timestamp:
    text = value.strip()
    try:
        if _PERIOD.fullmatch(text):
            return pd.Period(text)
        # Words are rejected here: pandas would take "today" for the present instant.
        if _INSTANT.fullmatch(text):
            return pd.Timestamp(text.upper())
    except _OUT_OF_RANGE:
        raise
    except ValueError as error:
        raise FilterError(f"{field.column!r}: {value!r} is not a date of the calendar") from error
    raise _type_error(field, value, "a time such as '2026-03', '2026-03-14' or '2026-03-14T09:30'")


def _from_numpy(value: np.datetime64) -> pd.Period | pd.Timestamp:
    unit, _ = np.datetime_data(value.dtype)
    if unit not in _PERIODS:
        return pd.Timestamp(value)
    day = value.astype("datetime64[D]").astype(object)
    if not isinstance(day, date):  # beyond the years of Python's calendar
        raise OverflowError(str(value))
    return pd.Period(day, _PERIODS[unit])


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


def _instant_period(timestamp: pd.Timestamp) -> Period:
    # An instant finer than a microsecond is between two ticks: with an empty period there,
    # every comparison is right.
    utc = timestamp.tz_convert("UTC")
    tick = utc.as_unit("us")  # rounds down
    return Period(tick if tick == utc else tick + _TICK, tick + _TICK)


def _calendar_period(period: pd.Period, tz: str) -> Period:
    return Period(_midnight(period.start_time, tz), _midnight((period + 1).start_time, tz))


def _midnight(naive: pd.Timestamp, tz: str) -> pd.Timestamp:
    if naive.year > _LAST.year:  # pandas periods have no limit there
        return _LAST
    # Where a clock change skips midnight, the day begins after the gap; where midnight occurs
    # twice, it begins with the first one.
    local = naive.tz_localize(tz, nonexistent="shift_forward", ambiguous=True)
    return local.tz_convert("UTC").as_unit("us")


# --- collections ------------------------------------------------------------------------


def to_hashable(name: str, value: Any) -> Any:
    """Return a value that the caller cannot change any more; expressions are immutable.

    Raises FilterError if the value is a mapping or a collection of collections.
    """
    if isinstance(value, Mapping):
        raise FilterError(f"{name!r} cannot be compared with a mapping; write a value or a list")
    if not is_collection(value):
        return value
    values = members_of(value)
    inner = next(
        (item for item in values if isinstance(item, Mapping) or is_collection(item)), None
    )
    if inner is not None:
        raise FilterError(f"{name!r} cannot be compared with {inner!r}; write one flat list")
    return values


def is_collection(value: object) -> bool:
    """Return whether a value means "any of these"."""
    return not isinstance(value, (str, bytes, Mapping)) and pd.api.types.is_list_like(value)


def members_of(value: Any) -> tuple[Any, ...]:
    """Return the members of a collection; those of a set in the same order every time."""
    if isinstance(value, AbstractSet):
        return tuple(sorted(value, key=repr))
    # tolist() would turn times in nanoseconds into integers.
    is_array = isinstance(value, np.ndarray) and value.dtype.kind not in "mM"
    return tuple(value.tolist() if is_array else value)
