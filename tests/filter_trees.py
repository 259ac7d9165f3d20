"""Expressions to try: what Hypothesis draws of the filter language for a source and its rows."""

from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from operator import and_, ge, gt, le, lt, or_
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from hypothesis import strategies as st

import casesearch_pd as cs
from tests.hostile_cases import TEXTS
from tests.reference_filter import nanoseconds

ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu")


@dataclass(frozen=True, repr=False)
class Column:
    """A column to filter by: its names, its lookups, and some of its values."""

    names: tuple[str, ...]
    type: str
    lookups: tuple[str, ...]
    cells: tuple[object, ...]

    def __repr__(self):
        return f"<{self.names[0]}>"


@dataclass(frozen=True)
class SearchableTable:
    """The columns and rows of a source, under every name of a field."""

    columns: tuple[Column, ...]
    rows: tuple[dict[str, object], ...]


def searchable_table(source, rows):
    """Bring rows under the names of a source's fields."""
    entries = cs.list_fields(source).set_index("column")
    columns = tuple(
        Column(
            (name, details["id"]),
            details["type"],
            tuple(details["operators"]),
            tuple({repr(row[name]): row[name] for row in rows if row[name] is not None}.values()),
        )
        for name, details in entries.iterrows()
        if name in rows[0]
    )
    return SearchableTable(columns, tuple(_under_all_names(row, columns) for row in rows))


def _under_all_names(row, columns):
    return {alias: row[item.names[0]] for item in columns for alias in item.names}


def trees(table, tz="UTC", most=10):
    """Draw expressions of up to `most` conditions, and wide ones now and then."""
    leaf = conditions(table, tz)
    wide = st.lists(leaf, min_size=8, max_size=25)
    return st.recursive(leaf, _grown, max_leaves=most) | _joined(wide)


def _grown(inner):
    combined = _joined(st.lists(inner, min_size=2, max_size=4))
    return combined | combined | inner.map(lambda term: ~term)


def _joined(terms):
    return st.builds(reduce, st.sampled_from([and_, or_]), terms)


def conditions(table, tz="UTC"):
    """Draw one condition on any column, by any lookup that fits it."""
    return st.sampled_from(table.columns).flatmap(lambda column: _conditions(column, tz))


def _conditions(column, tz):
    lookups = [*column.lookups, *({"eq"} - {*column.lookups})]
    return st.tuples(st.sampled_from(column.names), st.sampled_from(lookups)).flatmap(
        lambda sample: _condition(cs.field(sample[0]), sample[1], column, tz)
    )


def _condition(name, lookup, column, tz):
    value = values(column)
    match lookup:
        case "eq" | "ne":
            some = st.none() if lookup not in column.lookups else st.none() | value | value
            return some.map((lambda v: name == v) if lookup == "eq" else (lambda v: name != v))
        case "in":
            most = 4 if column.names[0] == "case_id" else 45
            return st.lists(st.none() | value | value, max_size=most).map(name.isin)
        case "isna":
            return st.sampled_from([name.isna(), name.notna()])
        case "contains":
            return _parts(column).map(name.contains)
        case "between":
            return st.tuples(value, value).map(lambda two: name.between(*_rising(two, column, tz)))
        case _:
            compare = {"lt": lt, "lte": le, "gt": gt, "gte": ge}[lookup]
            return value.map(lambda v: compare(name, v))


def _rising(ends, column, tz):
    if column.type == "datetime":
        return sorted(ends, key=lambda end: nanoseconds(end, tz)[0])
    return sorted(ends, key=lambda end: end.item() if isinstance(end, np.generic) else end)


_FORMED = {"customer_id", "birthdate"}


def values(column):
    """Draw a value to compare with: one that a case has, one near it, or a hostile one."""
    cells = st.sampled_from(column.cells) if column.cells else st.nothing()
    match column.type:
        case "number" | "integer":
            return cells | cells.flatmap(_near) | st.sampled_from(NUMBERS)
        case "boolean":
            return st.sampled_from([True, False, np.True_])
        case "datetime":
            return cells.flatmap(_spellings) | st.sampled_from(PERIODS)
        case _ if column.names[0] == "case_id":
            return cells | st.sampled_from(
                ["", ".", "..", "search", "case-001?", "a/b", "CASE-001"]
            )
        case _ if column.names[0] in _FORMED:  # the services mind the form
            return cells
        case "select":
            return cells | _other_texts(column)
        case _:
            return cells | cells.map(str.swapcase) | st.sampled_from(TEXTS)


def _other_texts(column):
    """Draw texts that are no option of a select, in any letter case: those mean the option."""
    options = {text.casefold() for text in column.cells}
    return st.sampled_from([text for text in TEXTS if text.casefold() not in options])


MEMBERS = ["none", "=", "a=ä", "a=b=c", "ß"]
NUMBERS = [0, -0.0, 0.1, 3, np.int64(7), np.float32(0.1), 2**53, -(2**53), 2**53 + 1, 1e300, 5e-324]
PERIODS = [
    "2026", "2026-03", "2026-03-29", "2025-10-26", "2018-11-04", "2018-02-17", "1970", "1969-12-31",
    date(2026, 3, 29), date(2025, 12, 31), pd.Period("2026-03", "M"), pd.Period("2026Q1", "Q"),
    pd.Period("2026-03-29", "D"), np.datetime64("2026-03"), np.datetime64("2026-03-14"),
    "2026-03-14T12:00", "2026-03-14 12:00:00.0005", "2026-03-14T12:00:00.000000001Z",
    "2026-03-14T12:00:00.001+02:00", datetime(2026, 3, 14, 12),  # noqa: DTZ001 - in `tz`
    np.datetime64("2026-03-14T12:00:00.001"),
]  # fmt: skip


def _near(number):
    return st.sampled_from([number + 1, -number, np.nextafter(float(number), np.inf).item()])


def _spellings(moment):
    stamp = pd.Timestamp(moment)
    finer = [pd.Timedelta(step, unit) for step in (-1, 1) for unit in ("ns", "us", "ms")]
    return st.sampled_from(
        [
            moment,
            moment.isoformat(),
            moment.astimezone(ZoneInfo("Asia/Kathmandu")),
            moment.strftime("%Y-%m-%d"),
            *(stamp.as_unit("ns") + step for step in finer),
        ]
    )


def _parts(column):
    if column.type in {"list", "tags"}:
        # A document among the members is a mapping, which no text is equal to.
        members = [item for cells in column.cells for item in cells if isinstance(item, str)]
        return st.sampled_from(members + MEMBERS)
    whole = st.sampled_from([text for text in (*column.cells, *TEXTS) if text])
    return st.tuples(whole, st.integers(0, 8), st.integers(1, 8), st.booleans()).map(_part)


def _part(sample):
    text, start, length, flip = sample
    part = text[start : start + length] or text
    return part.swapcase() if flip else part
