"""A frame and its source in, the frame as it would be read now out, for the price of the change.

`changed` tells who left and who is new; here it is laid over the frame.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expr import literals
from casesearch_pd.query.stored import from_json
from casesearch_pd.reading.changes import Inquiry, changed, inquire, why_anew
from casesearch_pd.reading.frame import Look, check_distinct, mask, newest
from casesearch_pd.reading.overlay import alike, laid_over, listed, placed
from casesearch_pd.reading.plan import ask, overlap_of
from casesearch_pd.reading.provenance import digest, inscribe, read_back
from casesearch_pd.reading.touched import Then
from casesearch_pd.reading.where import plain
from casesearch_pd.sources.again import again, check_opened, check_same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from casesearch_pd.query.expr import Expression
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.frame import DtypeBackend
    from casesearch_pd.reading.plan import Query
    from casesearch_pd.sources.contract import Source

__all__ = ["refreshed", "source_of"]


def refreshed(
    frame: pd.DataFrame, source: Source | None, overlap: timedelta | str | float | None
) -> pd.DataFrame:
    """Bring a frame up to date.

    Parameters
    ----------
    frame
        What `read_cases` read; it stays as it is.
    source
        Where it was read; made anew from the provenance if None.
    overlap
        By how much the search may lag behind the writes, as in `read_cases`.

    Raises
    ------
    FilterError
        If the frame is not what was read, or the source not where it was read.
    """
    told = _told(frame)
    source = source_of(told, source)
    fields = _fields(frame, told, source.schema)
    query = replace(_asked(source, told), columns=tuple(fields.values()), every=False)
    look = Look(told["tz"], _backend(frame))
    refresh = Inquiry(source, query, look, overlap_of(source, overlap))
    ours = {item.column: column for column, item in fields.items()}
    old = frame.set_axis([*ours], axis="columns")
    then = _then(refresh, told)
    why = why_anew(refresh, then)
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
        source = again(told["source"])
    check_opened(source)
    check_same(source, told["source"])
    return source


# --- what the frame is --------------------------------------------------------------------

_NEEDED = {
    "source", "filter", "search", "tz", "columns", "sort", "limit", "now", "rows", "complete",
    "as_of", "ids",
}  # fmt: skip


def _told(frame: pd.DataFrame) -> dict[str, Any]:
    """Read the provenance of a frame that can be refreshed."""
    told = read_back(frame)
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
    check_distinct(frame)
    if not told["complete"]:
        raise FilterError("this frame is not whole, so it can only be read again: read_cases")
    if len(frame) != told["rows"] or digest(frame["case_id"]) != told["ids"]:
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
    return ask(source, from_json(told["filter"]), {}, **{name: told[name] for name in names})


def _then(refresh: Inquiry, told: Mapping[str, Any]) -> Then | None:
    """Tell when the frame was read; None if nothing was asked for it."""
    if told["as_of"] is None:
        return None
    as_of, now = pd.Timestamp(told["as_of"]), pd.Timestamp(told["now"])
    return Then(as_of - refresh.lag, now, refresh.look.tz)


def _signed(refresh: Inquiry, frame: pd.DataFrame, ours: Mapping[str, str]) -> pd.DataFrame:
    """Write down how the frame is now, under its own columns."""
    columns = tuple(replace(item, column=ours[item.column]) for item in refresh.query.columns)
    refresh.new.rows = len(frame)
    return inscribe(
        frame,
        refresh.source,
        replace(refresh.query, columns=columns),
        refresh.new,
        refresh.run,
        ids=digest(frame["case_id"]),
        tz=refresh.look.tz,
    )


# --- laying over --------------------------------------------------------------------------


def _anew(refresh: Inquiry, old: pd.DataFrame, why: str) -> pd.DataFrame:
    found = inquire(refresh, refresh.query)
    refresh.new.total = read_back(found)["total"]
    refresh.new.notes.append(f"read anew: {why}")
    return alike(found, old)


def _upserted(refresh: Inquiry, then: Then, old: pd.DataFrame) -> pd.DataFrame:
    """Read what was touched, lay it over the frame, and take off what does not match any more."""
    found = changed(refresh, then, [*old.columns])
    kept = old[~old["case_id"].isin(found.gone)]
    kept = _staying(kept, found.stays, refresh.look.tz)
    return _placed(refresh, kept.reset_index(drop=True), found.rows)


def _staying(old: pd.DataFrame, bounds: Sequence[Expression], tz: str) -> pd.DataFrame:
    for bound in bounds:
        names = {literal.target.column for literal in literals(bound)}
        held = pd.DataFrame({name: plain(old[name], tz) for name in names}, index=old.index)
        old = old[mask(held, bound)]
    return old


def _placed(refresh: Inquiry, kept: pd.DataFrame, fresh: Sequence[pd.DataFrame]) -> pd.DataFrame:
    kept = listed(kept, refresh.look.tz)
    if not any(map(len, fresh)):
        return placed(kept, refresh.order)
    rows = newest(pd.concat(fresh, ignore_index=True))
    whole, last = laid_over(kept, rows, refresh.order)
    if last:
        names = ", ".join(item.field.column for item in refresh.order)
        refresh.new.notes.append(
            f"without the columns {names} nothing tells the places of {last} new rows; they are "
            "last"
        )
    return whole
