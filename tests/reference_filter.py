"""A reference implementation of the filter language, for one row of Python values.

It takes nothing from the package but the four node types of expressions.
"""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from operator import eq, ge, gt, le, lt
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from casesearch_pd.query.expressions import And, Compare, Not, Or


def matches(expression, row, tz="UTC"):
    """Return whether a row matches an unbound expression: two-valued, missing matches nothing."""
    match expression:
        case And(terms):
            return all(matches(term, row, tz) for term in terms)
        case Or(terms):
            return any(matches(term, row, tz) for term in terms)
        case Not(term):
            return not matches(term, row, tz)
        case Compare(name, op, value):
            return _compare(row[name], op, value, tz)


def _compare(cell, op, value, tz):
    if op == "ne":
        return not _compare(cell, "eq", value, tz)
    if isinstance(value, tuple) and op in {"eq", "in"}:
        return any(_compare(cell, "eq", item, tz) for item in value)
    if op == "isna" or (op == "eq" and value is None):
        return cell is None
    if cell is None:
        return False
    if op == "between":
        return _compare(cell, "gte", value[0], tz) and _compare(cell, "lte", value[1], tz)
    if op == "contains":
        return value in cell if isinstance(cell, list) else value.casefold() in cell.casefold()
    if isinstance(cell, datetime):
        return _compare_time(cell, op, value, tz)
    scalar = value.item() if isinstance(value, np.generic) else value
    return isinstance(cell, bool) == isinstance(scalar, bool) and _COMPARE[op](cell, scalar)


_COMPARE = {"eq": eq, "lt": lt, "lte": le, "gt": gt, "gte": ge}


def _compare_time(cell, op, value, tz):
    start, end = nanoseconds(value, tz)
    now = _since_epoch(cell)
    inside = now == start if end is None else start <= now < end
    after = now > start if end is None else now >= end
    match op:
        case "eq":
            return inside
        case "lt":
            return now < start
        case "lte":
            return not after
        case "gt":
            return after
        case _:
            return now >= start


@lru_cache(maxsize=100_000)
def nanoseconds(value, tz):
    """Return the first nanosecond of a period and the first after it; an instant has no end."""
    match value:
        case pd.Period():
            ends = value.start_time, (value + 1).start_time
            return tuple(_to_nanoseconds(end.to_pydatetime(), tz) for end in ends)
        case pd.Timestamp():
            timestamp = value.to_pydatetime(warn=False)
            return _to_nanoseconds(timestamp, tz) + value.nanosecond, None
        case datetime():
            return _to_nanoseconds(value, tz), None
        case date():
            return _parse_date(value.isoformat(), tz)
        case _:
            return _parse_text(str(value), tz)


def _parse_text(text, tz):
    return (
        _parse_date(text, tz)
        if len(text) <= len("2026-03-14")
        else (_parse_timestamp(text, tz), None)
    )


def _to_nanoseconds(timestamp, tz):
    return _since_epoch(timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=ZoneInfo(tz)))


def _since_epoch(timestamp):
    return (timestamp - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _parse_date(text, tz):
    year, month, day = [int(part) for part in text.split("-")] + [None] * (2 - text.count("-"))
    first = datetime(year, month or 1, day or 1)  # noqa: DTZ001 - local time
    if day:
        last = first + timedelta(days=1)
    elif month:
        last = datetime(year + month // 12, month % 12 + 1, 1)  # noqa: DTZ001 - local time
    else:
        last = datetime(year + 1, 1, 1)  # noqa: DTZ001 - local time
    return _to_nanoseconds(first, tz), _to_nanoseconds(last, tz)


def _parse_timestamp(text, tz):
    clock, fraction, zone = _TIMESTAMP.fullmatch(text).groups(default="")
    timestamp = datetime.fromisoformat(clock + zone)
    return _to_nanoseconds(timestamp, tz) + int(fraction[1:].ljust(9, "0"))


_TIMESTAMP = re.compile(r"(.{16}(?::\d\d)?)(\.\d+)?(Z|[+-]\d\d:\d\d)?")
