"""Update a DataFrame with the changes since it was read, keeping its columns, dtypes and order.

A DataFrame that was loaded from a file may hold its values in another form than a read returns
them; new values take on the form of the old ones.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expressions import fields_of
from casesearch_pd.query.serialization import filter_from_json
from casesearch_pd.reading.frames.arrow_tables import as_json
from casesearch_pd.reading.frames.cells import arrays_to_lists, typed_cells
from casesearch_pd.reading.frames.frame import (
    FrameFormat,
    keep_newest,
    require_distinct_columns,
    sort_rows,
)
from casesearch_pd.reading.frames.masks import mask
from casesearch_pd.reading.incremental.changes import (
    IncrementalRead,
    PreviousRead,
    full_read_reason,
    read_changes,
    read_query,
)
from casesearch_pd.reading.options import Query, ReadOptions, bind_query
from casesearch_pd.reading.provenance import Provenance, digest_ids, write_provenance
from casesearch_pd.reading.recent_reads import remember_read
from casesearch_pd.sources.registry import require_same_source, require_source, resolve_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.frames.frame import DtypeBackend
    from casesearch_pd.reading.options import BoundQuery
    from casesearch_pd.sources.base import Sort, Source

__all__ = ["cast_like", "refresh_frame", "source_of"]


def refresh_frame(
    frame: pd.DataFrame, source: Source | None, lookback: timedelta | str | float | None
) -> pd.DataFrame:
    """Return a DataFrame of `read_cases` updated with the changes since it was read."""
    provenance = _refreshable_provenance(frame)
    source = source_of(provenance, source)
    fields = _fields(frame, provenance, source.schema)
    # Labels may have changed: the read uses today's column names, and the result the old ones.
    old_names = {item.column: column for column, item in fields.items()}
    rows = frame.set_axis([*old_names], axis="columns")
    incremental = IncrementalRead(
        source,
        replace(_bind(source, provenance), columns=tuple(fields.values()), all_columns=False),
        ReadOptions(FrameFormat(provenance.tz, _dtype_backend(frame)), lookback=lookback),
    )
    previous = _previous_read(incremental, provenance)
    reason = full_read_reason(incremental, previous)
    if previous is None or reason:
        result = _read_again(incremental, rows, reason)
    else:
        result = _read_changes(incremental, previous, rows)
    result = _with_provenance(incremental, result.rename(columns=old_names), old_names)
    remember_read(result, Provenance.from_attrs(result))
    return result


def source_of(provenance: Provenance, source: Source | None) -> Source:
    """Return the source that the user passed for a DataFrame, or recreate it if that is None.

    Raises
    ------
    FilterError
        If the DataFrame was read somewhere else, or at an address to which credentials are not
        sent unless the user passes the source.
    """
    if source is None:
        source = resolve_source(provenance.source)
    require_source(source)
    require_same_source(source, provenance.source)
    return source


def _refreshable_provenance(frame: pd.DataFrame) -> Provenance:
    provenance = Provenance.from_attrs(frame)
    known = Provenance.of(frame)
    if known.parts:
        raise FilterError(
            f"this DataFrame was put together of {len(known.parts)} reads; refresh each of them, "
            "and concatenate the results: pd.concat([one.cases.refresh(), …])"
        )
    required = (provenance.filter, provenance.now, provenance.rows, provenance.ids)
    if None in required or provenance.complete is None or not provenance.source:
        raise FilterError(
            "this DataFrame has no casesearch provenance; only what read_cases returns can be "
            "refreshed, also when it is loaded from Parquet or pickle: read it again"
        )
    if provenance.is_chunk:
        raise FilterError(
            "one chunk of a read cannot be refreshed; use read_cases, or to_parquet and "
            "pandas.read_parquet"
        )
    require_distinct_columns(frame)
    if not provenance.complete:
        raise FilterError("an incomplete result cannot be refreshed; read again: read_cases")
    repeated = frame["case_id"][frame["case_id"].duplicated()]
    if len(repeated):
        raise FilterError(
            f"case_id {repeated.iloc[0]!r} occurs more than once; keep one row per case and "
            "refresh: df.drop_duplicates('case_id').cases.refresh()"
        )
    if len(frame) != provenance.rows or digest_ids(frame["case_id"]) != provenance.ids:
        raise FilterError(
            f"this DataFrame of {len(frame)} rows no longer has the {provenance.rows} cases that "
            "were read; refresh first, filter after: df.cases.refresh().cases.where(…)"
        )
    return provenance


def _fields(frame: pd.DataFrame, provenance: Provenance, schema: Schema) -> dict[str, Field]:
    """Return the field of every column, found by its id: a label may have changed since."""
    ids = provenance.columns
    unknown = next((column for column in frame.columns if column not in ids), None)
    if unknown is not None:
        raise FilterError(
            f"the field of the column {unknown!r} is not known; refresh first and add columns of "
            f"your own after, or leave it out: df.drop(columns={unknown!r})"
        )
    by_id = {item.id: item for item in schema.fields}
    return {
        column: by_id.get(ids[column]) or _undiscovered_field(column, ids[column], schema)
        for column in map(str, frame)
    }


def _undiscovered_field(column: str, field_id: str, schema: Schema) -> Field:
    # A service with open fields has no list of them; any can be read by its id.
    if schema.open and field_id.startswith("fields."):
        return schema.resolve(field_id)
    raise FilterError(
        f"the service no longer has a field for the column {column!r}; leave it out, "
        f"df.drop(columns={column!r}), or read again: read_cases"
    )


def _dtype_backend(frame: pd.DataFrame) -> DtypeBackend:
    dtype = frame["case_id"].dtype
    if isinstance(dtype, pd.ArrowDtype):
        return "pyarrow"
    nullable = isinstance(dtype, pd.StringDtype) and dtype.na_value is pd.NA
    return "numpy_nullable" if nullable else None


def _bind(source: Source, provenance: Provenance) -> BoundQuery:
    assert provenance.filter is not None, "a refreshable frame has a filter"
    query = Query(
        where=filter_from_json(provenance.filter),
        search=provenance.search,
        sort=provenance.sort,
        limit=provenance.limit,
        tz=provenance.tz,
    )
    return bind_query(source, query)


def _previous_read(incremental: IncrementalRead, provenance: Provenance) -> PreviousRead | None:
    """Return when the frame was read; None if no request was sent for it."""
    if provenance.as_of is None or provenance.now is None:
        return None
    return PreviousRead(provenance.as_of - incremental.lookback, provenance.now, provenance.tz)


def _with_provenance(
    incremental: IncrementalRead, frame: pd.DataFrame, old_names: Mapping[str, str]
) -> pd.DataFrame:
    columns = tuple(
        replace(item, column=old_names[item.column]) for item in incremental.query.columns
    )
    incremental.metadata.rows = len(frame)
    return write_provenance(
        frame,
        incremental.source,
        replace(incremental.query, columns=columns),
        incremental.metadata,
        incremental.context,
        ids=digest_ids(frame["case_id"]),
        tz=incremental.frame_format.tz,
    )


def _read_again(incremental: IncrementalRead, old: pd.DataFrame, reason: str) -> pd.DataFrame:
    rows = read_query(incremental, incremental.query)
    incremental.metadata.total = Provenance.from_attrs(rows).total
    incremental.metadata.notes.append(f"all was read again: {reason}")
    return cast_like(rows, old, incremental.frame_format.tz)


def _read_changes(
    incremental: IncrementalRead, previous: PreviousRead, old: pd.DataFrame
) -> pd.DataFrame:
    """Read what changed, merge it into the frame, and drop what no longer matches."""
    tz = incremental.frame_format.tz
    changes = read_changes(incremental, previous, [*old.columns])
    rows = old[~old["case_id"].isin(changes.removed_ids)]
    for condition in changes.conditions:
        rows = rows[_condition_mask(rows, condition, tz)]
    return _merge(incremental, rows.reset_index(drop=True), changes.rows)


def _condition_mask(frame: pd.DataFrame, condition: Expression, tz: str) -> Any:
    cells = {
        item.column: typed_cells(frame[item.column], tz, item.type) for item in fields_of(condition)
    }
    return mask(pd.DataFrame(cells, index=frame.index), condition)


def _merge(
    incremental: IncrementalRead, old: pd.DataFrame, changed: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """Replace and add rows by `case_id`; the newer of two versions stays."""
    order, tz = incremental.order, incremental.frame_format.tz
    old = _arrays_to_lists(old)
    if not any(map(len, changed)):
        return sort_rows(old, order) if _has_sort_columns(old, order) else old
    new = sort_rows(keep_newest(pd.concat(changed, ignore_index=True)), order)
    old = _with_categories(old, new)
    rows = keep_newest(pd.concat([old, cast_like(new, old, tz)], ignore_index=True))
    if _has_sort_columns(old, order):
        return sort_rows(rows, order)

    # Without the sort columns every old row keeps its position, and added ones come last.
    added = new.loc[~new["case_id"].isin(old["case_id"]), "case_id"]
    if len(added):
        names = ", ".join(item.field.column for item in order)
        incremental.metadata.notes.append(
            f"without the columns {names} the position of {len(added)} new rows is not known; "
            "they are last"
        )
    positions = pd.Series(range(len(rows)), index=rows["case_id"])
    return rows.iloc[positions[[*old["case_id"], *added]]].reset_index(drop=True)


def _has_sort_columns(frame: pd.DataFrame, order: Sequence[Sort]) -> bool:
    return all(item.field.column in frame for item in order)


def _arrays_to_lists(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn the arrays that a file returns for lists back into lists."""
    names = [name for name in _column_names(frame) if frame[name].dtype == object]
    return frame.assign(**{name: arrays_to_lists(frame[name]) for name in names})


def cast_like(new: pd.DataFrame, old: pd.DataFrame, tz: str = "UTC") -> pd.DataFrame:
    """Return rows with the columns and dtypes of another frame, whose naive times are in a zone."""
    names = _column_names(old)
    return new[names].assign(**{name: _cast(new[name], old[name].dtype, tz) for name in names})


def _column_names(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns]


def _cast(column: pd.Series[Any], dtype: Any, tz: str) -> pd.Series[Any]:
    """Return a column with another dtype and the same values; raise FilterError if it has others.

    ``astype`` alone turns what does not fit into something else: a missing value into False, 2.7
    into 2, a new category into a missing value.
    """
    if column.dtype == dtype:
        return column
    values = column
    if column.isna().all():
        values = pd.Series([None] * len(column), index=column.index, dtype=object, name=column.name)
    elif column.dtype == object and pd.api.types.is_string_dtype(dtype):
        values = column.map(as_json, na_action="ignore")  # as to_parquet writes nested values
    elif _is_naive(dtype) and isinstance(column.dtype, pd.DatetimeTZDtype):
        # Naive times of a frame are in the zone of its read.
        values = column = column.dt.tz_convert(tz).dt.tz_localize(None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's about a lossy cast, which is checked here
            result = values.astype(_extended(dtype, values))
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise _value_error(column, dtype, values.dropna()) from error
    lost = _differs(values, result)
    if lost.any():
        raise _value_error(column, dtype, values[lost])
    return result


def _is_naive(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "M"


def _extended(dtype: Any, values: pd.Series[Any]) -> Any:
    """Return a dtype that also has the new categories, unless its categories have an order."""
    if not isinstance(dtype, pd.CategoricalDtype) or dtype.ordered or dtype.categories is None:
        return dtype
    new = [value for value in values.dropna().unique() if value not in dtype.categories]
    if not new:
        return dtype
    return pd.CategoricalDtype([*dtype.categories, *sorted(new)])


def _differs(values: pd.Series[Any], result: pd.Series[Any]) -> pd.Series[bool]:
    """Return which values a cast has changed, or made missing, or no longer missing."""
    before, after = values.astype(object), result.astype(object)
    missing = before.isna()
    if pd.api.types.is_string_dtype(result.dtype):  # any value can be written as text
        return missing != after.isna()
    # Where one is missing the other is too, or the comparison does not count.
    changed = [
        not is_missing and not _is_same(one, other)
        for one, other, is_missing in zip(before, after, missing, strict=True)
    ]
    return (missing != after.isna()) | pd.Series(changed, index=values.index, dtype=bool)


_BOOLEANS = (bool, np.bool_)


def _is_same(one: Any, other: Any) -> bool:
    try:
        # True == 1, but a number is not a Boolean.
        return isinstance(one, _BOOLEANS) == isinstance(other, _BOOLEANS) and bool(one == other)
    except (TypeError, ValueError):  # lists and arrays, which no cast changes
        return isinstance(one, (list, dict))


def _value_error(column: pd.Series[Any], dtype: Any, values: pd.Series[Any]) -> FilterError:
    example = f", such as {values.iloc[0]!r}" if len(values) else ""
    return FilterError(
        f"the column {column.name!r} now holds values that are not {dtype}{example}; refresh "
        "before you convert: df.cases.refresh().astype(…), or read again: read_cases"
    )


def _with_categories(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Add the new values of categorical columns to their categories."""
    names = [
        name for name in _column_names(old) if isinstance(old[name].dtype, pd.CategoricalDtype)
    ]
    return old.assign(**{name: _add_categories(old[name], new[name]) for name in names})


def _add_categories(column: pd.Series[Any], new: pd.Series[Any]) -> pd.Series[Any]:
    if column.cat.ordered:  # nobody knows where a new one belongs
        return column
    return column.cat.add_categories(sorted({*new.dropna()} - {*column.cat.categories}))
