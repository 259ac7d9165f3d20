"""Build DataFrames from typed columns; sort, deduplicate, join and filter their rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.util import hash_array

from casesearch_pd.errors import FilterError
from casesearch_pd.query.option_values import parse_zone
from casesearch_pd.reading.frames.columns import MEMORY_POOL
from casesearch_pd.reading.frames.masks import mask

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.sources.base import Sort

__all__ = [
    "DtypeBackend",
    "FrameFormat",
    "build_frame",
    "filter_rows",
    "join_passes_on_id",
    "keep_newest",
    "require_distinct_columns",
    "sort_rows",
]

DtypeBackend = Literal["numpy_nullable", "pyarrow"] | None
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FrameFormat:
    """How a DataFrame represents its values: the time zone of times, and the kind of dtypes."""

    tz: str = "UTC"
    dtype_backend: DtypeBackend = None

    def __post_init__(self) -> None:
        """Check the zone and the kind of dtypes before anything is read."""
        object.__setattr__(self, "tz", parse_zone(self.tz))
        _types_mapper(self.dtype_backend)


_NULLABLE = {
    pa.float64(): pd.Float64Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_DEFAULT = {**_NULLABLE, pa.large_string(): pd.StringDtype(na_value=np.nan)}


def build_frame(
    columns: Mapping[str, pa.ChunkedArray | list[Any]], *, tz: str, backend: DtypeBackend
) -> pd.DataFrame:
    """Build a DataFrame from Arrow arrays (typed columns) and lists (columns of objects)."""
    arrays = {
        name: _to_zone(column, tz)
        for name, column in columns.items()
        if not isinstance(column, list)
    }
    table = pa.table(arrays)
    # Each Arrow column is freed as soon as it is converted, so both never exist as a whole.
    frame: pd.DataFrame = table.to_pandas(
        types_mapper=_types_mapper(backend),
        self_destruct=True,
        split_blocks=True,
        memory_pool=MEMORY_POOL,
    )
    del table, arrays
    for position, (name, column) in enumerate(columns.items()):
        if isinstance(column, list):
            frame.insert(position, name, pd.Series(column, index=frame.index, dtype=object))
    return frame


def _to_zone(array: pa.ChunkedArray, tz: str) -> pa.ChunkedArray:
    if not pa.types.is_timestamp(array.type):
        return array
    array = pc.cast(array, pa.timestamp("us", tz), memory_pool=MEMORY_POOL)
    # pandas cannot show a time whose date in the zone is before year 1 or after year 9999. Services
    # use such dates as placeholders, so they are moved by some hours, and never become missing.
    first, last = _first_and_last_time(tz)
    counts = array.cast(pa.int64())
    extremes = pc.min_max(counts)
    low, high = extremes["min"].as_py(), extremes["max"].as_py()
    if low is None or (low >= first and high <= last):
        return array
    counts = pc.max_element_wise(counts, pa.scalar(first), skip_nulls=False)
    counts = pc.min_element_wise(counts, pa.scalar(last), skip_nulls=False)
    return counts.cast(array.type)


_YEAR_1 = -62_135_596_800_000_000  # microseconds since 1970
_YEAR_10000 = 253_402_300_800_000_000


@cache
def _first_and_last_time(tz: str) -> tuple[int, int]:
    """Return the first and the last instant, in microseconds, that pandas can show in a zone."""
    days = pd.DatetimeIndex(["0001-01-03", "9999-12-29"], dtype="datetime64[us]")
    naive = days.to_numpy().astype(np.int64)
    utc = days.tz_localize(tz).tz_convert("UTC").tz_localize(None).to_numpy().astype(np.int64)
    early, late = (int(offset) for offset in naive - utc)
    return max(_YEAR_1, _YEAR_1 - early), min(_YEAR_10000, _YEAR_10000 - late) - 1


def _types_mapper(backend: DtypeBackend) -> Any:
    match backend:
        case None:
            return _DEFAULT.get
        case "numpy_nullable":
            return {**_NULLABLE, pa.large_string(): pd.StringDtype()}.get
        case "pyarrow":
            return pd.ArrowDtype
        case _:
            raise FilterError(
                f"dtype_backend must be None, 'numpy_nullable' or 'pyarrow', got {backend!r}"
            )


def require_distinct_columns(frame: pd.DataFrame, names: Collection[object] | None = None) -> None:
    """Raise FilterError if several columns have one name, of these or (None) of all names."""
    duplicates = frame.columns[frame.columns.duplicated()]
    name = next((name for name in duplicates if names is None or name in names), None)
    if name is not None:
        count = int((frame.columns == name).sum())
        raise FilterError(f"the DataFrame has {count} columns {name!r}; keep one of them")


def sort_rows(frame: pd.DataFrame, sort: Sequence[Sort]) -> pd.DataFrame:
    """Sort by the given fields, missing values last; a sorted DataFrame is returned as it is."""
    by = [item.field.column for item in sort]
    _check_sortable(frame, by)
    ascending = [not item.descending for item in sort]
    if _is_sorted(frame, by, ascending):
        return frame
    frame = frame.sort_values(
        by[0], ascending=ascending[0], kind="stable", na_position="last", ignore_index=True
    )
    return _sort_ties(frame, by, ascending) if len(by) > 1 else frame


_TIE_GROUP = "rows with the same first value"


def _sort_ties(frame: pd.DataFrame, by: Sequence[str], ascending: Sequence[bool]) -> pd.DataFrame:
    """Sort the rows with the same first value: few, where that is a time."""
    # Sorting by several columns at once would hash the ids of all rows.
    first = frame[by[0]]
    previous = first.shift()
    equal = first.eq(previous) | (first.isna() & previous.isna())
    as_before = equal.to_numpy(dtype=bool, na_value=False, copy=True)
    as_before[:1] = False  # there is no row before the first
    ties = np.flatnonzero(as_before | np.roll(as_before, -1))
    if not len(ties):
        return frame
    keys = frame.loc[ties, list(by[1:])].assign(**{_TIE_GROUP: np.cumsum(~as_before)[ties]})
    keys = keys.sort_values(
        [_TIE_GROUP, *by[1:]], ascending=[True, *ascending[1:]], kind="stable", na_position="last"
    )
    positions = np.arange(len(frame))
    positions[ties] = keys.index.to_numpy()
    return frame.iloc[positions].reset_index(drop=True)


def _check_sortable(frame: pd.DataFrame, by: Sequence[str]) -> None:
    lists = [column for column in by if frame[column].dtype == object]
    if lists:
        raise FilterError(
            f"cannot sort by {lists[0]!r}, which holds lists or other objects; use another column"
        )


def _is_sorted(frame: pd.DataFrame, by: Sequence[str], ascending: Sequence[bool]) -> bool:
    """Return whether the rows are sorted; exact only for the usual order, time and then id."""
    first = frame[by[0]]
    monotonic = first.is_monotonic_increasing if ascending[0] else first.is_monotonic_decreasing
    if not monotonic or first.hasnans:
        return False
    ties = first.eq(first.shift()).to_numpy(dtype=bool, na_value=False)
    if not ties.any():
        return True
    return len(by) == 2 and _ties_are_sorted(frame[by[1]], ties, ascending=ascending[1])  # noqa: PLR2004


def _ties_are_sorted(second: pd.Series[Any], ties: Mask, *, ascending: bool) -> bool:
    previous, current = second.shift()[ties], second[ties]
    in_order = previous.le(current) if ascending else previous.ge(current)
    return bool(in_order.to_numpy(dtype=bool, na_value=False).all())


def keep_newest(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep each case once, in its newest version: it can move to a later page during a read."""
    if not _may_have_duplicates(frame["case_id"]):
        return frame
    # Duplicates are few, so that only they are sorted and copied, not the whole frame.
    duplicates = frame.loc[frame["case_id"].duplicated(keep=False)]
    if "updated_at" in duplicates:
        duplicates = duplicates.sort_values("updated_at", kind="stable", na_position="first")
    older = duplicates.index[duplicates["case_id"].duplicated(keep="last")]
    return frame.drop(index=older).reset_index(drop=True)


_SLICE = 10_000  # rows


def _may_have_duplicates(ids: pd.Series[Any]) -> bool:
    """Compare the hashes of the ids: all ids as Python strings would take much memory."""
    slices = (ids.iloc[start : start + _SLICE] for start in range(0, len(ids), _SLICE))
    hashes = [hash_array(part.to_numpy(dtype=object), categorize=False) for part in slices]
    hashes_in_order = np.sort(np.concatenate(hashes)) if hashes else np.empty(0)
    return bool((hashes_in_order[1:] == hashes_in_order[:-1]).any())


def join_passes_on_id(first: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Join two passes over the same cases: those in both, in the order of the first."""
    if first["case_id"].equals(other["case_id"]):
        right = other.drop(columns="case_id")
    else:
        first = first[first["case_id"].isin(other["case_id"])].reset_index(drop=True)
        right = other.set_index("case_id").loc[first["case_id"]].reset_index(drop=True)
    right.index = first.index
    return first.join(right)


def filter_rows(frame: pd.DataFrame, expression: Expression) -> pd.DataFrame:
    """Return the rows that match an expression."""
    matches = mask(frame, expression)
    return frame if matches.all() else frame[matches].reset_index(drop=True)
