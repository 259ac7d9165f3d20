"""Values of cases: checked and turned into what the store keeps, and back for a frame."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pandas as pd

from casesearch_pd.local.schema import JSON_KINDS, TEXT_KINDS, Column
from casesearch_pd.local.times import parse_date, parse_instant, stored_time
from casesearch_pd.local.where import SqlValue

_MOST = 2**63 - 1


def stored_value(column: Column, value: Any) -> SqlValue:
    """Return a value as the store keeps it; missing of any kind is None.

    Raises
    ------
    ValueError
        The value does not fit the column's kind, or no JSON could carry it.
    """
    if value is None or value is pd.NA or value is pd.NaT or _is_nan(value):
        return None
    try:
        return _ENCODERS[column.kind](value)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise ValueError(
            f"column {column.name!r}: {value!r} is no {column.kind}: {error}"
        ) from error


def shown_series(column: Column, kept: list[SqlValue]) -> pd.Series:
    """Return stored values as the column of a frame that has the fitting dtype."""
    if column.kind == "datetime":
        times = pd.Series(kept, dtype="str")
        return pd.to_datetime(times, format="ISO8601", utc=True).astype("datetime64[us, UTC]")
    if column.kind in JSON_KINDS:
        decoded = [None if v is None else msgspec.json.decode(str(v)) for v in kept]
        return pd.Series(decoded, dtype=object)
    return pd.Series(kept, dtype=_DTYPES.get(column.kind, "str"))


_DTYPES: Mapping[str, str] = {"number": "Float64", "integer": "Int64", "boolean": "boolean"}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text is needed")
    value.encode()  # a lone surrogate is no text that JSON could carry
    return str(value)


def _number(value: Any) -> float | int:
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        raise ValueError("a finite number is needed")
    if float(value).is_integer() and not isinstance(value, float):
        return _integer(value)
    return float(value)


def _integer(value: Any) -> int:
    whole = int(value)
    if isinstance(value, (bool, str)) or whole != value or not -_MOST <= whole <= _MOST:
        raise ValueError("a whole number of at most 64 bits is needed")
    return whole


def _boolean(value: Any) -> int:
    if str(value) not in {"True", "False"} or isinstance(value, str):
        raise ValueError("True or False is needed")
    return int(value)


def _datetime(value: Any) -> str:
    if isinstance(value, str):
        return parse_instant(value)[:23]
    if not isinstance(value, datetime):
        raise TypeError("a date-time is needed")
    return stored_time(value)


def _date(value: Any) -> str:
    if isinstance(value, str):
        return parse_date(value)
    if not isinstance(value, date):
        raise TypeError("a date is needed")
    return value.isoformat()[:10]


def _texts(value: Any) -> str:
    if isinstance(value, str):
        raise TypeError("a list of text is needed")
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
    "hash": _json,
    "json": _json,
}
