"""One user value and one field type in, one canonical value out, or an error that says what fits.

The hard idea is time. A user may name an *instant* ("2026-03-14T09:30") or a *period*
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
    "check_whole",
    "coerce_period",
    "coerce_scalar",
    "is_collection",
    "is_missing",
    "members",
    "to_hashable",
]

_PERIOD = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?", re.IGNORECASE
)
_TICK = pd.Timedelta(1, "us")
_FIRST = pd.Timestamp("0001-01-01T00:00Z")
_LAST = pd.Timestamp("9999-12-31T23:59:59.999Z")  # in the milliseconds of the wires
_BEYOND = (pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta, OverflowError)
# Units of numpy that are periods; its weeks begin on Thursday, as the first of 1970 was one.
_PERIODS = {"Y": "Y", "M": "M", "W": "W-WED", "D": "D"}


@dataclass(frozen=True, slots=True)
class Period:
    """The instants from ``start`` up to, not including, ``end``; an instant is one tick long."""

    start: pd.Timestamp
    end: pd.Timestamp


def is_missing(value: Any) -> bool:
    """Tell whether a user means "no value": None, NA, NaT or NaN."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def coerce_scalar(field: Field, value: object) -> Any:
    """Take one value for a comparison with `field`, in the field's own type.

    Raises
    ------
    FilterError
        If the value is of another type; the message shows what fits.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    match field.type:
        case "number" | "integer":
            return _number(field, plain)
        case "boolean":
            return _boolean(field, plain)
        case "select":
            return _option(field, _text(field, plain))
        case "any":
            return _any(field, plain)
        case _:
            return _text(field, plain)


def _number(field: Field, value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _unfit(field, value, "a number such as 3 or 2.5")
    if not isinstance(value, int) and not math.isfinite(value):
        raise _unfit(field, value, "a finite number; None asks for missing values")
    return value if isinstance(value, (int, float)) else float(value)


def _boolean(field: Field, value: object) -> bool:
    if not isinstance(value, bool):
        raise _unfit(field, value, "True or False")
    return value


def _text(field: Field, value: object) -> str:
    if not isinstance(value, str):
        raise _unfit(field, value, f"text such as {str(value)!r}")
    check_whole(field, value)
    return value


def check_whole(field: Field, text: str) -> None:
    """Refuse half of a surrogate pair: it is no text that could be sent, or that a case holds.

    Raises
    ------
    FilterError
        If there is one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FilterError(
            f"{field.column!r}: {text!r} holds half of a surrogate pair, which no case can hold; "
            "leave it out"
        ) from error


def _any(field: Field, value: object) -> Any:
    if isinstance(value, str):
        return _text(field, value)
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Real):
        return _number(field, value)
    raise _unfit(field, value, "text, a number, True or False")


def _option(field: Field, value: str) -> str:
    values = [option.value for option in field.options]
    if not values or value in values:
        return value
    by_label = [option.value for option in field.options if option.label == value]
    if len(by_label) == 1:
        return by_label[0]
    close = nearest(value, values) or nearest(value, [option.label for option in field.options])
    hint = f"the nearest is {close[0]!r}" if close else f"the options are {_some(values)}"
    warn(f"{value!r} is not an option of {field.column!r}; {hint}")
    return value


def _some(values: list[str]) -> str:
    shown = ", ".join(map(repr, values[:8]))
    return f"{shown}, …" if len(values) > 8 else shown  # noqa: PLR2004 - as many as fit a line


def _unfit(field: Field, value: object, fits: str) -> FilterError:
    return FilterError(
        f"{field.column!r} is of type {field.type}: {value!r} does not fit; write {fits}"
    )


def coerce_period(field: Field, value: object, *, tz: str, now: pd.Timestamp) -> Period:
    """Read an instant, a period or a distance from now.

    Parameters
    ----------
    field
        The date-time field that the value is compared with; named in errors.
    value
        Text in ISO 8601, a date, datetime, `pandas.Timestamp`, `pandas.Period`,
        `numpy.datetime64` or a timedelta.
    tz
        The zone of times that name none.
    now
        What a timedelta counts from; UTC.
    """
    try:
        found = _span(field, value, tz, now)
    except _BEYOND as error:
        raise _outside(field, value) from error
    if found.end <= _FIRST or found.start.year > _LAST.year:
        raise _outside(field, value)
    return Period(_within(found.start), _within(found.end))


def _within(moment: pd.Timestamp) -> pd.Timestamp:
    return min(max(moment, _FIRST), _LAST)


def _outside(field: Field, value: object) -> FilterError:
    return FilterError(
        f"{field.column!r}: {value!r} is outside the years 1 to 9999, "
        "or finer than a microsecond and outside 1678 to 2261"
    )


def _span(field: Field, value: object, tz: str, now: pd.Timestamp) -> Period:
    if isinstance(value, str):
        value = _from_text(field, value)
    if isinstance(value, np.datetime64):
        value = _from_numpy(value)
    if isinstance(value, (timedelta, np.timedelta64)):
        return _instant(now + pd.Timedelta(value))
    if isinstance(value, pd.Period):
        return _period(value, tz)
    if isinstance(value, datetime):
        return _instant(_in_zone(field, pd.Timestamp(value), tz))
    if isinstance(value, date):
        return _period(pd.Period(value, "D"), tz)
    raise _unfit(field, value, "a time such as '2026-03', '2026-03-14' or '2026-03-14T09:30'")


def _from_text(field: Field, value: str) -> pd.Period | pd.Timestamp:
    text = value.strip()
    try:
        if _PERIOD.fullmatch(text):
            return pd.Period(text)
        # Words are refused here: pandas would read "today" as this very moment.
        if _INSTANT.fullmatch(text):
            return pd.Timestamp(text.upper())
    except _BEYOND:
        raise
    except ValueError as error:
        raise FilterError(f"{field.column!r}: {value!r} is not on the calendar") from error
    raise _unfit(field, value, "a time such as '2026-03', '2026-03-14' or '2026-03-14T09:30'")


def _from_numpy(value: np.datetime64) -> pd.Period | pd.Timestamp:
    unit, _ = np.datetime_data(value.dtype)
    if unit not in _PERIODS:
        return pd.Timestamp(value)
    day = value.astype("datetime64[D]").astype(object)
    if not isinstance(day, date):  # numpy counts on where Python's calendar ends
        raise OverflowError(str(value))
    return pd.Period(day, _PERIODS[unit])


def _in_zone(field: Field, moment: pd.Timestamp, tz: str) -> pd.Timestamp:
    if moment.tzinfo is not None:
        return moment
    try:
        return moment.tz_localize(tz)
    except ValueError as error:  # a clock change skips or repeats it
        one = moment.to_pydatetime().replace(tzinfo=ZoneInfo(tz)).isoformat()
        raise FilterError(
            f"{field.column!r}: {moment} happens twice or not at all in {tz}; "
            f"give an offset, such as {one!r}"
        ) from error


def _instant(moment: pd.Timestamp) -> Period:
    # A bound finer than a microsecond lies between two ticks: an empty span there keeps
    # every comparison right.
    utc = moment.tz_convert("UTC")
    tick = utc.as_unit("us")  # cuts
    return Period(tick if tick == utc else tick + _TICK, tick + _TICK)


def _period(period: pd.Period, tz: str) -> Period:
    return Period(_midnight(period.start_time, tz), _midnight((period + 1).start_time, tz))


def _midnight(naive: pd.Timestamp, tz: str) -> pd.Timestamp:
    if naive.year > _LAST.year:  # which only pandas can say
        return _LAST
    # Where a clock change skips midnight the day begins when clocks resume; where it comes
    # twice, with the first.
    local = naive.tz_localize(tz, nonexistent="shift_forward", ambiguous=True)
    return local.tz_convert("UTC").as_unit("us")


# --- collections ------------------------------------------------------------------------


def to_hashable(name: str, value: Any) -> Any:
    """Copy what a caller could change after the call; expressions are immutable.

    Raises
    ------
    FilterError
        If the value is a mapping, or a collection of collections: nothing can be compared with
        those.
    """
    if isinstance(value, Mapping):
        raise FilterError(f"{name!r} cannot be compared with a mapping; write a value or a list")
    if not is_collection(value):
        return value
    found = members(value)
    inner = next((item for item in found if isinstance(item, Mapping) or is_collection(item)), None)
    if inner is not None:
        raise FilterError(f"{name!r} cannot be compared with {inner!r}; write one flat list")
    return found


def is_collection(value: object) -> bool:
    """Tell whether a value means any-of."""
    return not isinstance(value, (str, bytes, Mapping)) and pd.api.types.is_list_like(value)


def members(value: Any) -> tuple[Any, ...]:
    """List the members of a collection; those of a set in the same order every time."""
    if isinstance(value, AbstractSet):
        return tuple(sorted(value, key=repr))
    # Of times in nanoseconds numpy would make whole numbers.
    plain = isinstance(value, np.ndarray) and value.dtype.kind not in "mM"
    return tuple(value.tolist() if plain else value)
