"""Rows that are new laid over a frame that is old: the frame's columns, dtypes and order.

A frame that comes back from a file may hold its values in another form than a read gives them;
what is new takes on the form of what is there.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expressions import literals
from casesearch_pd.query.serialization import filter_from_json
from casesearch_pd.reading.frames.frame import (
    FrameFormat,
    keep_newest,
    mask,
    require_distinct_columns,
    sort_rows,
)
from casesearch_pd.reading.incremental.changes import (
    IncrementalRead,
    PreviousRead,
    full_read_reason,
    read_changes,
    read_part,
)
from casesearch_pd.reading.local_filter import normalize_cells
from casesearch_pd.reading.plan import build_query, parse_lookback
from casesearch_pd.reading.provenance import digest_ids, read_provenance, write_provenance
from casesearch_pd.sources.registry import require_same_source, require_source, resolve_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.frames.frame import DtypeBackend
    from casesearch_pd.reading.plan import Query
    from casesearch_pd.sources.base import Sort, Source

__all__ = [
    "arrays_to_lists",
    "cast_like",
    "overlay_rows",
    "refresh_frame",
    "sort_if_possible",
    "source_of",
]


def overlay_rows(
    old: pd.DataFrame, fresh: pd.DataFrame, order: Sequence[Sort]
) -> tuple[pd.DataFrame, int]:
    """Lay new rows over old ones by `case_id`: the newer of two versions stays.

    Parameters
    ----------
    old
        The frame; its columns and dtypes are kept.
    fresh
        The new rows, with all columns of the order.
    order
        The whole order of the rows.

    Returns
    -------
    tuple
        The frame; and how many new rows are last, because `old` lacks a column that tells their
        places. The others keep theirs.
    """
    fresh = sort_rows(fresh, order)
    old = _with_categories(old, fresh)
    whole = keep_newest(pd.concat([old, cast_like(fresh, old)], ignore_index=True))
    if _tells(old, order):
        return sort_rows(whole, order), 0
    coming = fresh.loc[~fresh["case_id"].isin(old["case_id"]), "case_id"]
    places = [*old["case_id"], *coming]
    at = pd.Series(range(len(whole)), index=whole["case_id"])
    return whole.iloc[at[places]].reset_index(drop=True), len(coming)


def sort_if_possible(frame: pd.DataFrame, order: Sequence[Sort]) -> pd.DataFrame:
    """Bring a frame into an order, if it has the columns for it."""
    return sort_rows(frame, order) if _tells(frame, order) else frame


def _tells(frame: pd.DataFrame, order: Sequence[Sort]) -> bool:
    return all(item.field.column in frame for item in order)


def arrays_to_lists(old: pd.DataFrame, tz: str) -> pd.DataFrame:
    """Make lists of the arrays that a file gave back for them."""
    held = {
        name: normalize_cells(old[name], tz) for name in _names(old) if old[name].dtype == object
    }
    return old.assign(**{name: cells for name, cells in held.items() if cells.dtype == object})


def cast_like(found: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """Bring what was read into the columns and dtypes of a frame.

    Raises
    ------
    FilterError
        If a value does not fit.
    """
    cast = {name: _cast(found[name], old[name].dtype) for name in _names(old)}
    return found[_names(old)].assign(**cast)


def _names(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns]


def _cast(column: pd.Series[Any], dtype: Any) -> pd.Series[Any]:
    if column.dtype == dtype:
        return column
    if column.isna().all():
        column = pd.Series([None] * len(column), index=column.index, dtype=object)
    elif column.dtype == object and pd.api.types.is_string_dtype(dtype):
        column = column.map(_as_json, na_action="ignore")  # as to_parquet writes nested values
    try:
        return column.astype(dtype)
    except (ValueError, TypeError) as error:
        raise FilterError(
            f"the column {column.name!r} now holds values that are not {dtype}; read_cases anew"
        ) from error


def _as_json(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False, default=str)


def _with_categories(old: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """Make room for values that a categorical column has not held so far."""
    kinds = (name for name in _names(old) if isinstance(old[name].dtype, pd.CategoricalDtype))
    return old.assign(**{name: _wider(old[name], fresh[name]) for name in kinds})


def _wider(column: pd.Series[Any], fresh: pd.Series[Any]) -> pd.Series[Any]:
    return column.cat.add_categories(sorted({*fresh.dropna()} - {*column.cat.categories}))


def refresh_frame(
    frame: pd.DataFrame, source: Source | None, lookback: timedelta | str | float | None
) -> pd.DataFrame:
    """Bring a frame up to date.

    Parameters
    ----------
    frame
        What `read_cases` read; it stays as it is.
    source
        Where it was read; made anew from the provenance if None.
    lookback
        By how much the search may lag behind the writes, as in `read_cases`.

    Raises
    ------
    FilterError
        If the frame is not what was read, or the source not where it was read.
    """
    told = _told(frame)
    source = source_of(told, source)
    fields = _fields(frame, told, source.schema)
    query = replace(_asked(source, told), columns=tuple(fields.values()), all_columns=False)
    look = FrameFormat(told["tz"], _backend(frame))
    refresh = IncrementalRead(source, query, look, parse_lookback(source, lookback))
    ours = {item.column: column for column, item in fields.items()}
    old = frame.set_axis([*ours], axis="columns")
    then = _then(refresh, told)
    why = full_read_reason(refresh, then)
    whole = _anew(refresh, old, why) if then is None or why else _upserted(refresh, then, old)
    return _signed(refresh, whole.rename(columns=ours), ours)


def source_of(told: Mapping[str, Any], source: Source | None) -> Source:
    """Find where a frame was read.

    Parameters
    ----------
    told
        The frame's provenance.
    source
        Where its user says that it was read; None to find the source, or make it anew.

    Raises
    ------
    FilterError
        If it was read somewhere else, or at an address that credentials are not sent to unasked.
    """
    if source is None:
        source = resolve_source(told["source"])
    require_source(source)
    require_same_source(source, told["source"])
    return source


# --- what the frame is --------------------------------------------------------------------

_NEEDED = {
    "source", "filter", "search", "tz", "columns", "sort", "limit", "now", "rows", "complete",
    "as_of", "ids",
}  # fmt: skip


def _told(frame: pd.DataFrame) -> dict[str, Any]:
    """Read the provenance of a frame that can be refreshed."""
    told = read_provenance(frame)
    if not told.keys() >= _NEEDED:
        raise FilterError(
            "this frame does not tell what was read; what read_cases returns can be refreshed, "
            "also when it comes back from Parquet or pickle: read it again"
        )
    if told.get("part"):
        raise FilterError(
            "this is one chunk of what was read, and a refresh is of the whole; use read_cases, or "
            "to_parquet and pandas.read_parquet"
        )
    require_distinct_columns(frame)
    if not told["complete"]:
        raise FilterError("this frame is not whole, so it can only be read again: read_cases")
    if len(frame) != told["rows"] or digest_ids(frame["case_id"]) != told["ids"]:
        raise FilterError(
            f"this frame of {len(frame)} rows is no longer what was read, which were "
            f"{told['rows']} cases; refresh first, filter after: df.cases.refresh().cases.where(…)"
        )
    return told


def _fields(frame: pd.DataFrame, told: Mapping[str, Any], schema: Schema) -> dict[str, Field]:
    """Find the field of every column, by its id: a label may have changed since."""
    ids = told["columns"]
    own = next((column for column in frame.columns if column not in ids), None)
    if own is not None:
        raise FilterError(
            f"nothing tells the field of the column {own!r}; refresh first and add columns of your "
            f"own after, or leave it out: df.drop(columns={own!r})"
        )
    known = {item.id: item for item in schema.fields}
    return {
        column: known.get(ids[column]) or _guessed(column, ids, schema)
        for column in map(str, frame)
    }


def _guessed(column: str, ids: Mapping[str, str], schema: Schema) -> Field:
    if schema.open and ids[column].startswith("fields."):
        return schema.resolve(ids[column])
    raise FilterError(
        f"the service has no field for the column {column!r} any more; leave it out, "
        f"df.drop(columns={column!r}), or read_cases anew"
    )


def _backend(frame: pd.DataFrame) -> DtypeBackend:
    dtype = frame["case_id"].dtype
    if isinstance(dtype, pd.ArrowDtype):
        return "pyarrow"
    nullable = isinstance(dtype, pd.StringDtype) and dtype.na_value is pd.NA
    return "numpy_nullable" if nullable else None


def _asked(source: Source, told: Mapping[str, Any]) -> Query:
    names = ("search", "sort", "limit", "tz")
    return build_query(
        source, filter_from_json(told["filter"]), {}, **{name: told[name] for name in names}
    )


def _then(refresh: IncrementalRead, told: Mapping[str, Any]) -> PreviousRead | None:
    """Tell when the frame was read; None if nothing was asked for it."""
    if told["as_of"] is None:
        return None
    as_of, now = pd.Timestamp(told["as_of"]), pd.Timestamp(told["now"])
    return PreviousRead(as_of - refresh.lag, now, refresh.look.tz)


def _signed(refresh: IncrementalRead, frame: pd.DataFrame, ours: Mapping[str, str]) -> pd.DataFrame:
    """Write down how the frame is now, under its own columns."""
    columns = tuple(replace(item, column=ours[item.column]) for item in refresh.query.columns)
    refresh.new.rows = len(frame)
    return write_provenance(
        frame,
        refresh.source,
        replace(refresh.query, columns=columns),
        refresh.new,
        refresh.run,
        ids=digest_ids(frame["case_id"]),
        tz=refresh.look.tz,
    )


# --- laying over --------------------------------------------------------------------------


def _anew(refresh: IncrementalRead, old: pd.DataFrame, why: str) -> pd.DataFrame:
    found = read_part(refresh, refresh.query)
    refresh.new.total = read_provenance(found)["total"]
    refresh.new.notes.append(f"read anew: {why}")
    return cast_like(found, old)


def _upserted(refresh: IncrementalRead, then: PreviousRead, old: pd.DataFrame) -> pd.DataFrame:
    """Read what was touched, lay it over the frame, and take off what does not match any more."""
    found = read_changes(refresh, then, [*old.columns])
    kept = old[~old["case_id"].isin(found.gone)]
    kept = _staying(kept, found.stays, refresh.look.tz)
    return _placed(refresh, kept.reset_index(drop=True), found.rows)


def _staying(old: pd.DataFrame, bounds: Sequence[Expression], tz: str) -> pd.DataFrame:
    for bound in bounds:
        names = {literal.target.column for literal in literals(bound)}
        held = pd.DataFrame(
            {name: normalize_cells(old[name], tz) for name in names}, index=old.index
        )
        old = old[mask(held, bound)]
    return old


def _placed(
    refresh: IncrementalRead, kept: pd.DataFrame, fresh: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    kept = arrays_to_lists(kept, refresh.look.tz)
    if not any(map(len, fresh)):
        return sort_if_possible(kept, refresh.order)
    rows = keep_newest(pd.concat(fresh, ignore_index=True))
    whole, last = overlay_rows(kept, rows, refresh.order)
    if last:
        names = ", ".join(item.field.column for item in refresh.order)
        refresh.new.notes.append(
            f"without the columns {names} nothing tells the places of {last} new rows; they are "
            "last"
        )
    return whole
