"""What an expression of the filter language means, for one row of plain Python values.

A reading of its own: from the package it takes nothing but the four nodes that an expression is
made of.
"""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from operator import eq, ge, gt, le, lt
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from casesearch_pd.query.expressions import And, Compare, Not, Or


def holds(expression, row, tz="UTC"):
    """Decide whether one row meets an unbound expression: two-valued, missing meets nothing."""
    match expression:
        case And(terms):
            return all(holds(term, row, tz) for term in terms)
        case Or(terms):
            return any(holds(term, row, tz) for term in terms)
        case Not(term):
            return not holds(term, row, tz)
        case Compare(name, op, value):
            return _holds(row[name], op, value, tz)


def _holds(held, op, value, tz):
    if op == "ne":
        return not _holds(held, "eq", value, tz)
    if isinstance(value, tuple) and op in {"eq", "in"}:
        return any(_holds(held, "eq", item, tz) for item in value)
    if op == "isna" or (op == "eq" and value is None):
        return held is None
    if held is None:
        return False
    if op == "between":
        return _holds(held, "gte", value[0], tz) and _holds(held, "lte", value[1], tz)
    if op == "contains":
        return value in held if isinstance(held, list) else value.casefold() in held.casefold()
    if isinstance(held, datetime):
        return _in_time(held, op, value, tz)
    plain = value.item() if isinstance(value, np.generic) else value
    return isinstance(held, bool) == isinstance(plain, bool) and _COMPARE[op](held, plain)


_COMPARE = {"eq": eq, "lt": lt, "lte": le, "gt": gt, "gte": ge}


def _in_time(held, op, value, tz):
    start, end = nanoseconds(value, tz)
    now = _since_epoch(held)
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
    """Tell from which nanosecond up to which a time lasts; an instant has no end."""
    match value:
        case pd.Period():
            ends = value.start_time, (value + 1).start_time
            return tuple(_wall(end.to_pydatetime(), tz) for end in ends)
        case pd.Timestamp():
            micro = value.to_pydatetime(warn=False)
            return _wall(micro, tz) + value.nanosecond, None
        case datetime():
            return _wall(value, tz), None
        case date():
            return _calendar(value.isoformat(), tz)
        case _:
            return _written(str(value), tz)


def _written(text, tz):
    return _calendar(text, tz) if len(text) <= len("2026-03-14") else (_clock(text, tz), None)


def _wall(moment, tz):
    return _since_epoch(moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(tz)))


def _since_epoch(moment):
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _calendar(text, tz):
    year, month, day = [int(part) for part in text.split("-")] + [None] * (2 - text.count("-"))
    first = datetime(year, month or 1, day or 1)  # noqa: DTZ001 - on the wall
    if day:
        last = first + timedelta(days=1)
    elif month:
        last = datetime(year + month // 12, month % 12 + 1, 1)  # noqa: DTZ001 - on the wall
    else:
        last = datetime(year + 1, 1, 1)  # noqa: DTZ001 - on the wall
    return _wall(first, tz), _wall(last, tz)


def _clock(text, tz):
    clock, fraction, zone = _CLOCK.fullmatch(text).groups(default="")
    moment = datetime.fromisoformat(clock + zone)
    return _wall(moment, tz) + int(fraction[1:].ljust(9, "0"))


_CLOCK = re.compile(r"(.{16}(?::\d\d)?)(\.\d+)?(Z|[+-]\d\d:\d\d)?")
