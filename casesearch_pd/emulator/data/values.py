"""Stored values: their encoding from Python values, and ISO 8601 times as comparable text.

A time is stored as 23 characters of UTC, ``2022-03-16T23:16:57.893``, without the zone's letter.
Such texts compare as instants, also with a finer one: ``…57.893`` < ``…57.8931`` < ``…57.894``.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pandas as pd

from casesearch_pd.emulator.data.files import FILE_KINDS, without_addresses
from casesearch_pd.emulator.data.schema import JSON_KINDS, TEXT_KINDS, Column
from casesearch_pd.emulator.data.store import SqlValue

# Date, time, fraction and offset of ISO 8601; re.ASCII excludes the digits of other scripts.
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))?(?:([Zz])|([+-])(\d\d)(?::?(\d\d))?)",
    re.ASCII,
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def stored_time(time: datetime) -> str:
    """Return a time as stored: UTC, truncated (not rounded) to milliseconds."""
    utc = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return utc.replace(tzinfo=None).isoformat(timespec="milliseconds")


def wire_time(time: str) -> str:
    """Return a stored time as both services write it, ``2022-03-16T23:16:57.893Z``."""
    return time + "Z"


def parse_instant(text: str) -> str:
    """Return ISO 8601 text with an offset as comparable text with all digits of its fraction.

    Raises
    ------
    ValueError
        If it is not a date, time and offset, or the calendar does not have that time.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an ISO 8601 date-time with an offset")
    day, clock, fraction, _, sign, hours, minutes = match.groups()
    if fraction and clock.count(":") == 1:
        raise ValueError(f"{text!r} has a fraction of a minute")
    time = datetime.fromisoformat(f"{day}T{clock}") - _offset(sign, hours, minutes)
    # Python's times end at microseconds; the fraction stays text so that no digit is lost.
    digits = (fraction or "").rstrip("0").ljust(3, "0")
    return f"{time.isoformat(timespec='seconds')}.{digits}"


def parse_date(text: str) -> str:
    """Return a calendar date, ``YYYY-MM-DD``; raise ValueError for anything else."""
    if _DATE.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a date of the form YYYY-MM-DD")
    return date.fromisoformat(text).isoformat()


def _offset(sign: str | None, hours: str | None, minutes: str | None) -> timedelta:
    if sign is None or hours is None:
        return timedelta()
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if int(minutes or 0) >= 60:  # noqa: PLR2004 - minutes of an hour
        raise ValueError("the offset has more than 59 minutes")
    # The constructor raises for an offset of a day or more.
    timezone(offset)
    return -offset if sign == "-" else offset


_MAX_INTEGER = 2**63 - 1


def stored_value(column: Column, value: Any) -> SqlValue:
    """Return a value as stored; a missing value of any type is None.

    Raises
    ------
    ValueError
        If the value does not fit the column's kind, or JSON cannot represent it.
    """
    if value is None or value is pd.NA or value is pd.NaT or _is_nan(value):
        return None
    try:
        return _ENCODERS[column.kind](value)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise ValueError(
            f"column {column.name!r} of kind {column.kind} cannot hold {value!r}: {error}"
        ) from error


def to_series(column: Column, values: list[SqlValue]) -> pd.Series:
    """Return stored values as a Series of the dtype for the column's kind."""
    if column.kind == "datetime":
        times = pd.Series(values, dtype="str")
        return pd.to_datetime(times, format="ISO8601", utc=True).astype("datetime64[us, UTC]")
    if column.kind in JSON_KINDS:
        decoded = [None if v is None else _shown(column, v) for v in values]
        return pd.Series(decoded, dtype=object)
    return pd.Series(values, dtype=_DTYPES.get(column.kind, "str"))


def _shown(column: Column, value: SqlValue) -> Any:
    return without_addresses(msgspec.json.decode(str(value)), column.kind)


_DTYPES: Mapping[str, str] = {"number": "Float64", "integer": "Int64", "boolean": "boolean"}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text is required")
    # A lone surrogate has no UTF-8 encoding, so JSON cannot represent it.
    value.encode()
    return str(value)


def _number(value: Any) -> float | int:
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        raise ValueError("a finite number is required")
    if isinstance(value, Decimal) and Decimal(repr(float(value))) != value:
        raise ValueError("JSON numbers have about 17 digits")
    if float(value).is_integer() and not isinstance(value, float):
        return _integer(value)
    return float(value)


def _integer(value: Any) -> int:
    integer = int(value)
    if (
        isinstance(value, (bool, str))
        or integer != value
        or not -_MAX_INTEGER <= integer <= _MAX_INTEGER
    ):
        raise ValueError("an integer of at most 64 bits is required")
    return integer


def _boolean(value: Any) -> int:
    if str(value) not in {"True", "False"} or isinstance(value, str):
        raise ValueError("True or False is required")
    return int(value)


def _datetime(value: Any) -> str:
    if isinstance(value, str):
        return parse_instant(value)[:23]
    if not isinstance(value, datetime):
        raise TypeError("a date-time is required")
    return stored_time(value)


def _date(value: Any) -> str:
    if isinstance(value, str):
        return parse_date(value)
    if not isinstance(value, date):
        raise TypeError("a date is required")
    return value.isoformat()[:10]


def _texts(value: Any) -> str:
    if isinstance(value, str):
        raise TypeError("a list of text is required")
    return msgspec.json.encode([_text(item) for item in value]).decode()


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def now_utc() -> datetime:
    """Return the machine's time, in UTC."""
    return datetime.now(UTC)


_ENCODERS: Mapping[str, Callable[[Any], SqlValue]] = {
    **dict.fromkeys(TEXT_KINDS, _text),
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "datetime": _datetime,
    "date": _date,
    "list": _texts,
    "choices": _texts,
    **dict.fromkeys(("hash", "json", "documents", *FILE_KINDS), _json),
}
