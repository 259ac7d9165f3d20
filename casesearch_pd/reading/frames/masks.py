"""Evaluate a filter locally: the residual of a read and ``df.cases.where`` both use `mask`.

Any of many values is one lookup, not one comparison for each of them.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeGuard, assert_never

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or, any_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["mask"]

Mask = npt.NDArray[np.bool_]


def mask(frame: pd.DataFrame, expression: Expression) -> Mask:
    """Return for each row whether it matches a bound expression: two-valued, never NA."""
    match expression:
        case Compare():
            return _compare(frame[expression.target.column], expression)
        case Not(term):
            return np.logical_not(mask(frame, term), dtype=bool)
        case And(terms):
            return _mask_all(frame, terms)
        case Or(terms):
            return _mask_any(frame, terms)
        case _:
            assert_never(expression)


def _mask_all(frame: pd.DataFrame, terms: Sequence[Expression]) -> Mask:
    every = np.ones(len(frame), dtype=bool)
    # None of many values: a lookup, like any of them.
    negated = [term.term for term in terms if isinstance(term, Not)]
    if negated:
        every &= ~mask(frame, any_of(negated))
    others = [term for term in terms if not isinstance(term, Not)]
    for term in sorted(others, key=_is_expensive):
        if _is_expensive(term):  # only on the rows that the other terms leave
            remaining = np.flatnonzero(every)
            every[remaining] = mask(frame[[term.target.column]].iloc[remaining], term)
        else:
            every &= mask(frame, term)
    return every


def _is_expensive(term: Expression) -> TypeGuard[Compare]:
    return isinstance(term, Compare) and term.op == "contains"  # folds the case of every text


def _mask_any(frame: pd.DataFrame, terms: Sequence[Expression]) -> Mask:
    some = np.zeros(len(frame), dtype=bool)
    values: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    intervals: defaultdict[str, list[Interval]] = defaultdict(list)
    for term in terms:
        if isinstance(term, Compare) and term.op in {"eq", "contains"}:
            values[term.target.column, term.op].append(term.value)
        elif interval := _time_interval(term):
            intervals[interval[0]].append(interval[1:])
        else:
            some |= mask(frame, term)
    for (column, op), members in values.items():
        some |= (_equals_any if op == "eq" else _contains_any)(frame[column], members)
    for column, pairs in intervals.items():
        some |= _is_within_any(frame[column], pairs)
    return some


def _equals_any(column: pd.Series[Any], values: Sequence[Any]) -> Mask:
    if column.dtype == object:
        return _object_equals_any(column, values)
    lookup = [value for value in values if _is_looked_up(column, value)]
    some = np.zeros(len(column), dtype=bool)
    if lookup:
        some |= _two_valued(column.isin(_exact_members(column, lookup)))
    for value in values:
        if not _is_looked_up(column, value):
            some |= _compare_values(column, "eq", value)
    return some


def _is_looked_up(column: pd.Series[Any], value: Any) -> bool:
    """Return whether pandas' isin finds a value without rounding it or the column."""
    if isinstance(value, str):
        return pd.api.types.is_string_dtype(column.dtype)
    if not isinstance(value, (int, float)) or not _is_comparable(column, value):
        return False
    is_long = getattr(column.dtype, "itemsize", None) == _LONG
    return (is_long and column.dtype.kind == "f") or column.dtype.kind == "i"


_LONG = 8  # bytes; a number would be rounded to a shorter one


def _exact_members(column: pd.Series[Any], values: list[Any]) -> Any:
    if isinstance(values[0], str):
        return values
    if column.dtype.kind == "f":
        return np.array(values, dtype=np.float64)
    # As one list with fractions, large integers would be rounded; no integer equals a fraction.
    return np.array([int(value) for value in values if value == int(value)], dtype=np.int64)


def _object_equals_any(column: pd.Series[Any], values: Sequence[Any]) -> Mask:
    members = {(isinstance(value, bool), value) for value in values}

    def is_member(cell: Any) -> bool:
        cell = _plain_cell(cell)
        try:
            return cell is not None and (isinstance(cell, bool), cell) in members
        except TypeError:  # not hashable
            return any(_matches(operator.eq, cell, value) for value in values)

    return np.fromiter(map(is_member, column), dtype=bool, count=len(column))


def _contains_any(column: pd.Series[Any], values: Sequence[str]) -> Mask:
    if column.dtype != object or len(values) == 1:
        some = np.zeros(len(column), dtype=bool)
        for value in values:
            some |= _contains(column, value)
        return some
    members = set(values)

    def has_member(cell: Any) -> bool:
        try:
            return isinstance(cell, list) and not members.isdisjoint(cell)
        except TypeError:  # a list of mappings
            return any(value in cell for value in values)

    return np.fromiter(map(has_member, column), dtype=bool, count=len(column))


Interval = tuple[pd.Timestamp, pd.Timestamp]


def _time_interval(term: Expression) -> tuple[str, pd.Timestamp, pd.Timestamp] | None:
    """Return the column and the ends of a bound equality with a time, which is a period."""
    match term:
        case And((Compare(op="gte") as lower, Compare(op="lt") as upper)):
            ends = lower.value, upper.value
            if lower.field == upper.field and all(map(_is_whole_microsecond, ends)):
                return lower.target.column, *ends
    return None


def _is_within_any(column: pd.Series[Any], pairs: Sequence[Interval]) -> Mask:
    """Return which times are in one of the intervals, which do not contain their ends."""
    times = _microseconds(column)
    if times is None or len(pairs) == 1:
        some = np.zeros(len(column), dtype=bool)
        for start, end in pairs:
            some |= _compare_values(column, "gte", start) & _compare_values(column, "lt", end)
        return some
    ticks = [[time.as_unit("us").asm8.astype(np.int64) for time in pair] for pair in pairs]
    ends = np.array(sorted(ticks), dtype=np.int64)
    starts, last = ends[:, 0], np.maximum.accumulate(ends[:, 1])
    # Of the intervals that begin before a time, one contains it if the last of their ends is later.
    position = np.searchsorted(starts, times, side="right") - 1
    return (position >= 0) & (times < last[np.maximum(position, 0)])


def _microseconds(column: pd.Series[Any]) -> npt.NDArray[np.int64] | None:
    """Return times as microseconds since 1970, rounded down; None for another kind of column."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return column.to_numpy(dtype="datetime64[us]").view(np.int64)
    if str(column.dtype).startswith("timestamp[us, tz="):
        missing = np.iinfo(np.int64).min
        cells = pa.chunked_array(pa.array(column.array)).cast(pa.int64()).fill_null(missing)
        return np.asarray(cells.to_numpy())
    return None


def _is_whole_microsecond(value: Any) -> bool:
    # Times of a column that are finer are rounded down, which changes no comparison with these.
    return isinstance(value, pd.Timestamp) and value.nanosecond == 0


_MAX_EXACT = 2**53  # up to here a double represents every integer
_OPERATORS = {
    "eq": operator.eq,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def _compare(column: pd.Series[Any], comparison: Compare) -> Mask:
    op, value = comparison.op, comparison.value
    if op == "isna":
        return column.isna().to_numpy(dtype=bool)
    if op == "contains":
        return _contains(column, value)
    return _compare_values(column, op, value)


def _compare_values(column: pd.Series[Any], op: str, value: Any) -> Mask:
    compare = _OPERATORS[op]
    if column.dtype == object or not _is_comparable(column, value):
        matches = (_matches(compare, cell, value) for cell in column)
        return np.fromiter(matches, dtype=bool, count=len(column))
    return _two_valued(compare(column, value))


def _two_valued(matches: pd.Series[Any]) -> Mask:
    return matches.to_numpy(dtype=bool, na_value=False)


def _is_comparable(column: pd.Series[Any], value: Any) -> bool:
    """Return whether pandas can compare the whole column at once."""
    if isinstance(value, str):
        return pd.api.types.is_string_dtype(column.dtype)
    if isinstance(value, bool):
        return pd.api.types.is_bool_dtype(column.dtype)
    if isinstance(value, pd.Timestamp):
        return isinstance(column.dtype, pd.DatetimeTZDtype) or str(column.dtype).startswith(
            "timestamp"
        )
    return _is_exact(column, value)


def _is_exact(column: pd.Series[Any], value: float) -> bool:
    """Return whether a number can be compared with a column without rounding either."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return False
    if pd.api.types.is_integer_dtype(column.dtype) and isinstance(value, int):
        return -(2**63) <= value < 2**63
    return pd.api.types.is_numeric_dtype(column.dtype) and abs(value) < _MAX_EXACT


def _matches(compare: Any, cell: Any, value: Any) -> bool:
    cell = _plain_cell(cell)
    if cell is None or isinstance(cell, bool) != isinstance(value, bool):
        return False
    try:
        return bool(compare(cell, value))
    except TypeError:  # text and a number are neither equal nor in order
        return False


def _plain_cell(cell: Any) -> Any:
    """Return a cell that can be compared with a value; None for a missing or nested one."""
    if cell is None or cell is pd.NA or isinstance(cell, (list, dict)):
        return None
    # A scalar of numpy would round the value to its own width, or fail.
    return cell.item() if isinstance(cell, np.generic) else cell


def _contains(column: pd.Series[Any], value: str) -> Mask:
    if column.dtype == object:
        members = (isinstance(cell, list) and value in cell for cell in column)
        return np.fromiter(members, dtype=bool, count=len(column))
    if not pd.api.types.is_string_dtype(column.dtype):
        return np.zeros(len(column), dtype=bool)
    return _two_valued(_casefold(column).str.contains(value.casefold(), regex=False))


def _casefold(column: pd.Series[Any]) -> pd.Series[Any]:
    """Fold the letter case as Unicode does: lower() would keep ß and SS apart."""
    ascii_only = bool(column.dropna().str.isascii().all())
    return column.str.lower() if ascii_only else column.str.casefold()  # the first is far faster
