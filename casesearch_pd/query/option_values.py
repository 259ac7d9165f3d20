"""Values of options: time zones, whole numbers and durations in every type that users have."""

from __future__ import annotations

import math
import numbers
import operator
import re
from datetime import timedelta, tzinfo
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.coercion import unwrap

__all__ = ["parse_seconds", "parse_zone", "whole_number"]

_UNIT_PATTERN = re.compile(r"[a-zA-Zµ:]")  # pandas takes text without a unit for nanoseconds
_OFFSET_PATTERN = re.compile(r"([+-])(\d{2}):?(\d{2})")


def parse_zone(tz: object) -> str:
    """Return the name of a time zone, or its offset from UTC as text.

    Raise FilterError if it is neither.

    >>> from datetime import timezone
    >>> parse_zone(ZoneInfo("Europe/Paris")), parse_zone(timezone(timedelta(hours=2)))
    ('Europe/Paris', '+02:00')
    """
    if isinstance(tz, str):
        offset = _OFFSET_PATTERN.fullmatch(tz)
        if offset is not None and int(offset[2]) < 24 and int(offset[3]) < 60:  # noqa: PLR2004 - a clock
            return f"{offset[1]}{offset[2]}:{offset[3]}" if int(offset[2] + offset[3]) else "UTC"
        name: object = tz
    else:
        # zoneinfo calls its name "key", pytz "zone".
        name = getattr(tz, "key", None) or getattr(tz, "zone", None)
        if name is None and isinstance(tz, tzinfo):
            return _fixed_offset(tz)
    try:
        return ZoneInfo(name).key  # type: ignore[arg-type] # a TypeError is expected
    except (ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError) as error:
        raise FilterError(
            f"unknown time zone {tz!r}; use 'UTC', a name such as 'Europe/Berlin', or an offset "
            "such as '+02:00'"
        ) from error


def _fixed_offset(tz: tzinfo) -> str:
    offset = tz.utcoffset(None)
    if offset is None or offset % timedelta(minutes=1):
        raise FilterError(
            f"the time zone {tz!r} has no name and no offset in whole minutes; use "
            "zoneinfo.ZoneInfo('Europe/Berlin')"
        )
    if not offset:
        return "UTC"
    minutes = abs(offset) // timedelta(minutes=1)
    return f"{'-' if offset < timedelta(0) else '+'}{minutes // 60:02}:{minutes % 60:02}"


def whole_number(value: object) -> int | None:
    """Return an integer of any type as an int; None if it is something else.

    >>> from decimal import Decimal
    >>> whole_number(np.int64(5)), whole_number(Decimal(5)), whole_number(5.0), whole_number(True)
    (5, 5, None, None)
    """
    value = unwrap(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, Fraction) and value.denominator == 1:
        value = int(value)
    try:
        return operator.index(value)  # type: ignore[arg-type] # a TypeError is expected
    except TypeError:
        return None


def parse_seconds(value: Any) -> float | None:
    """Return a duration as seconds; None if it is something else.

    >>> parse_seconds(timedelta(minutes=1)), parse_seconds("5s"), parse_seconds("soon")
    (60.0, 5.0, None)
    """
    value = unwrap(value)
    has_unit = isinstance(value, str) and _UNIT_PATTERN.search(value) is not None
    try:
        # NumPy registers its timedelta64 as a number.
        if has_unit or isinstance(value, (timedelta, np.timedelta64)):
            length = pd.Timedelta(value).total_seconds()
        elif isinstance(value, numbers.Real) and not isinstance(value, bool):
            length = float(value)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(length) else length
