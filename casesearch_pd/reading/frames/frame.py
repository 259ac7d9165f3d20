"""Typed columns in, one DataFrame out; and the mask that checks a filter on a frame.

The mask is the one place where a filter meets rows on this machine: the part of a filter that
a service could not answer goes through it.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, assert_never

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.util import hash_array

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or
from casesearch_pd.reading.frames.columns import MEMORY_POOL

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from casesearch_pd.sources.base import Sort

__all__ = [
    "DtypeBackend",
    "FrameFormat",
    "build_frame",
    "filter_rows",
    "join_passes_on_id",
    "keep_newest",
    "mask",
    "require_distinct_columns",
    "sort_rows",
]

DtypeBackend = Literal["numpy_nullable", "pyarrow"] | None
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FrameFormat:
    """How a frame is to look.

    Parameters
    ----------
    tz
        The zone of its times.
    dtype_backend
        The kind of its dtypes.

    Raises
    ------
    FilterError
        If there is no such kind.
    """

    tz: str = "UTC"
    dtype_backend: DtypeBackend = None

    def __post_init__(self) -> None:
        """Refuse a kind of dtypes that is none before anything is read."""
        _mapper(self.dtype_backend)


_NULLABLE = {
    pa.float64(): pd.Float64Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_DEFAULT = {**_NULLABLE, pa.large_string(): pd.StringDtype(na_value=np.nan)}


def build_frame(
    columns: Mapping[str, pa.ChunkedArray | list[Any]], *, tz: str, backend: DtypeBackend
) -> pd.DataFrame:
    """Make the frame: one column each, in the order given.

    Parameters
    ----------
    columns
        Arrow arrays for typed columns, lists for columns of objects.
    tz
        The zone that times are shown in.
    backend
        The kind of dtypes, as everywhere in pandas.
    """
    typed = {
        name: _in_zone(held, tz) for name, held in columns.items() if not isinstance(held, list)
    }
    table = pa.table(typed)
    frame: pd.DataFrame = table.to_pandas(
        types_mapper=_mapper(backend),
        self_destruct=True,
        split_blocks=True,
        memory_pool=MEMORY_POOL,
    )
    del table, typed
    for at, (name, held) in enumerate(columns.items()):
        if isinstance(held, list):
            frame.insert(at, name, pd.Series(held, index=frame.index, dtype=object))
    return frame


def _in_zone(array: pa.ChunkedArray, tz: str) -> pa.ChunkedArray:
    if not pa.types.is_timestamp(array.type):
        return array
    return pc.cast(array, pa.timestamp("us", tz), memory_pool=MEMORY_POOL)


def _mapper(backend: DtypeBackend) -> Any:
    match backend:
        case None:
            return _DEFAULT.get
        case "numpy_nullable":
            return {**_NULLABLE, pa.large_string(): pd.StringDtype()}.get
        case "pyarrow":
            return pd.ArrowDtype
        case _:
            raise FilterError(
                f"dtype_backend={backend!r} is none of None, 'numpy_nullable', 'pyarrow'"
            )


def require_distinct_columns(frame: pd.DataFrame, names: Collection[object] | None = None) -> None:
    """Refuse several columns of one name, of which nobody knows the one that is meant.

    Parameters
    ----------
    frame
        Any frame.
    names
        The columns that matter; all if None.

    Raises
    ------
    FilterError
        If there are some.
    """
    twice = frame.columns[frame.columns.duplicated()]
    several = next((name for name in twice if names is None or name in names), None)
    if several is not None:
        count = int((frame.columns == several).sum())
        raise FilterError(f"the frame has {count} columns {several!r}; keep one of them")


def sort_rows(frame: pd.DataFrame, sort: Sequence[Sort]) -> pd.DataFrame:
    """Sort by the given fields, missing values last; a frame in order already is left alone.

    Raises
    ------
    FilterError
        If a column turned out to hold lists, which have no order.
    """
    by = [item.field.column for item in sort]
    _check_order(frame, by)
    ascending = [not item.descending for item in sort]
    if _in_order(frame, by, ascending):
        return frame
    frame = frame.sort_values(
        by[0], ascending=ascending[0], kind="stable", na_position="last", ignore_index=True
    )
    return _ties_ordered(frame, by, ascending) if len(by) > 1 else frame


def _ties_ordered(
    frame: pd.DataFrame, by: Sequence[str], ascending: Sequence[bool]
) -> pd.DataFrame:
    """Sort the rows that share the first value: few, where that is a time."""
    first = frame[by[0]]
    before = first.shift()
    alike = first.eq(before) | (first.isna() & before.isna())
    same = alike.to_numpy(dtype=bool, na_value=False, copy=True)
    same[:1] = False  # nothing is before the first row
    tied = np.flatnonzero(same | np.roll(same, -1))
    if not len(tied):
        return frame
    keys = frame.loc[tied, list(by[1:])].assign(**{_GROUP: np.cumsum(~same)[tied]})
    in_order = keys.sort_values(
        [_GROUP, *by[1:]], ascending=[True, *ascending[1:]], kind="stable", na_position="last"
    )
    places = np.arange(len(frame))
    places[tied] = in_order.index.to_numpy()
    return frame.iloc[places].reset_index(drop=True)


_GROUP = "rows that share the first value"


def _check_order(frame: pd.DataFrame, by: Sequence[str]) -> None:
    lists = [column for column in by if frame[column].dtype == object]
    if lists:
        raise FilterError(f"{lists[0]!r} holds lists, which have no order; sort by another column")


def _in_order(frame: pd.DataFrame, by: Sequence[str], ascending: Sequence[bool]) -> bool:
    """Tell whether the rows need no sorting; cheap for the usual order, time and then id."""
    first = frame[by[0]]
    rising = first.is_monotonic_increasing if ascending[0] else first.is_monotonic_decreasing
    if not rising or first.hasnans:
        return False
    tied = first.eq(first.shift()).to_numpy(dtype=bool, na_value=False)
    if not tied.any():
        return True
    return len(by) == 2 and _ties_rise(frame[by[1]], tied, ascending=ascending[1])  # noqa: PLR2004


def _ties_rise(second: pd.Series[Any], tied: Mask, *, ascending: bool) -> bool:
    before, after = second.shift()[tied], second[tied]
    rising = before.le(after) if ascending else before.ge(after)
    return bool(rising.to_numpy(dtype=bool, na_value=False).all())


def keep_newest(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep each case once, in its newest version: it can move to a later page while it is read."""
    if not _any_twice(frame["case_id"]):
        return frame
    twice = frame["case_id"].duplicated(keep=False)
    found = frame.loc[twice]  # few, so that the whole frame is neither sorted nor copied for them
    if "updated_at" in found:
        found = found.sort_values("updated_at", kind="stable", na_position="first")
    older = found.index[found["case_id"].duplicated(keep="last")]
    return frame.drop(index=older).reset_index(drop=True)


def _any_twice(ids: pd.Series[Any]) -> bool:
    """Tell whether an id may be there twice, by its hash: all ids as Python texts are a lot."""
    slices = (ids.iloc[at : at + _SLICE] for at in range(0, len(ids), _SLICE))
    hashes = [hash_array(one.to_numpy(dtype=object), categorize=False) for one in slices]
    found = np.sort(np.concatenate(hashes)) if hashes else np.empty(0)
    return bool((found[1:] == found[:-1]).any())


_SLICE = 10_000


def join_passes_on_id(first: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Join two passes over the same cases: the cases that both have, in the order of the first."""
    if first["case_id"].equals(other["case_id"]):
        right = other.drop(columns="case_id")
    else:
        first = first[first["case_id"].isin(other["case_id"])].reset_index(drop=True)
        right = other.set_index("case_id").loc[first["case_id"]].reset_index(drop=True)
    right.index = first.index
    return first.join(right)


def filter_rows(frame: pd.DataFrame, expression: Expression) -> pd.DataFrame:
    """Keep the rows that an expression keeps."""
    found = mask(frame, expression)
    return frame if found.all() else frame[found].reset_index(drop=True)


def mask(frame: pd.DataFrame, expression: Expression) -> Mask:
    """Tell for each row whether a bound expression keeps it: two-valued, never NA."""
    match expression:
        case Compare():
            return _compared(frame[expression.target.column], expression)
        case Not(term):
            return np.logical_not(mask(frame, term), dtype=bool)
        case And(terms):
            every = np.ones(len(frame), dtype=bool)
            for term in sorted(terms, key=_is_dear):
                if _is_dear(term):  # letter case is folded text by text: only where it decides
                    left = np.flatnonzero(every)
                    every[left] = mask(frame[[term.target.column]].iloc[left], term)
                else:
                    every &= mask(frame, term)
            return every
        case Or(terms):
            some = np.zeros(len(frame), dtype=bool)
            for term in terms:
                some |= mask(frame, term)
            return some
        case _:
            assert_never(expression)


def _is_dear(term: Expression) -> TypeGuard[Compare]:
    return isinstance(term, Compare) and term.op == "contains"


_EXACT = 2**53  # up to here a double holds every whole number
_OPERATORS = {
    "eq": operator.eq,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def _compared(column: pd.Series[Any], literal: Compare) -> Mask:
    op, value = literal.op, literal.value
    if op == "isna":
        return column.isna().to_numpy(dtype=bool)
    if op == "contains":
        return _contains(column, value)
    compare = _OPERATORS[op]
    if column.dtype == object or not _comparable(column, value):
        return np.fromiter(
            (_holds(compare, held, value) for held in column), dtype=bool, count=len(column)
        )
    return _two_valued(compare(column, value))


def _two_valued(found: pd.Series[Any]) -> Mask:
    return found.to_numpy(dtype=bool, na_value=False)


def _comparable(column: pd.Series[Any], value: Any) -> bool:
    """Tell whether pandas can compare the whole column at once."""
    if isinstance(value, str):
        return pd.api.types.is_string_dtype(column.dtype)
    if isinstance(value, bool):
        return pd.api.types.is_bool_dtype(column.dtype)
    if isinstance(value, pd.Timestamp):
        return isinstance(column.dtype, pd.DatetimeTZDtype) or str(column.dtype).startswith(
            "timestamp"
        )
    return _exact(column, value)


def _exact(column: pd.Series[Any], value: float) -> bool:
    """Tell whether a number can be compared with a column without rounding either."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return False
    if pd.api.types.is_integer_dtype(column.dtype) and isinstance(value, int):
        return -(2**63) <= value < 2**63
    return pd.api.types.is_numeric_dtype(column.dtype) and abs(value) < _EXACT


def _holds(compare: Any, held: Any, value: Any) -> bool:
    if held is None or held is pd.NA or isinstance(held, (list, dict)):
        return False
    if isinstance(held, np.generic):  # which rounds the value to its own width, or fails
        held = held.item()
    if isinstance(held, bool) != isinstance(value, bool):
        return False
    try:
        return bool(compare(held, value))
    except TypeError:  # text and a number: equal to nothing, before and after nothing
        return False


def _contains(column: pd.Series[Any], value: str) -> Mask:
    if column.dtype == object:
        members = (isinstance(held, list) and value in held for held in column)
        return np.fromiter(members, dtype=bool, count=len(column))
    if not pd.api.types.is_string_dtype(column.dtype):
        return np.zeros(len(column), dtype=bool)
    return _two_valued(_folded(column).str.contains(value.casefold(), regex=False))


def _folded(column: pd.Series[Any]) -> pd.Series[Any]:
    """Take letter case off, as Unicode folds it: lower() would leave ß and SS apart."""
    ascii_only = bool(column.dropna().str.isascii().all())
    return column.str.lower() if ascii_only else column.str.casefold()  # the first is far quicker
