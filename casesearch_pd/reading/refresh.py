"""A frame and its source in, the frame as it would be read now out, for the price of the change.

What may differ has been *touched*: it was updated since the read, or its time has passed a bound
that is relative to now. For each such touch the ids of all cases are asked for first, whatever
the filter, and then the rows that match. Who is among the ids and not among the rows does not
match any more. In this order nothing is dropped wrongly: a case that changes between the two is
at worst kept in its old version, and was updated after the time that the next refresh begins at.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expr import all_of, literals
from casesearch_pd.query.stored import from_json
from casesearch_pd.reading.exhaust import exhaust
from casesearch_pd.reading.frame import Look, check_distinct, mask, newest
from casesearch_pd.reading.overlay import alike, laid_over, listed, placed
from casesearch_pd.reading.plan import ask, overlap_of, plan
from casesearch_pd.reading.provenance import Told, digest, inscribe, read_back
from casesearch_pd.reading.touched import Then, touches, updated_since
from casesearch_pd.reading.where import plain
from casesearch_pd.sources.again import again, check_opened, check_same
from casesearch_pd.sources.contract import Sort
from casesearch_pd.sources.pace import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from casesearch_pd.query.expr import Expression
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.frame import DtypeBackend
    from casesearch_pd.reading.plan import Query
    from casesearch_pd.reading.touched import Touch
    from casesearch_pd.sources.contract import Source

__all__ = ["refreshed", "source_of"]


@dataclass
class _Refresh:
    """One refresh under way.

    Parameters
    ----------
    source
        Who is asked.
    query
        What the frame was read by, bound anew.
    told
        The frame's provenance.
    look
        How the frame looks.
    lag
        By how much the search may lag behind the writes.
    """

    source: Source
    query: Query
    told: Mapping[str, Any]
    look: Look
    lag: pd.Timedelta
    run: Run = field(default_factory=Run)
    new: Told = field(default_factory=Told)

    @property
    def then(self) -> Then:
        """When the frame was read."""
        as_of = pd.Timestamp(self.told["as_of"])
        return Then(as_of - self.lag, pd.Timestamp(self.told["now"]), self.look.tz)

    @property
    def order(self) -> tuple[Sort, ...]:
        """The whole order of the rows."""
        case_id = self.source.schema.resolve("case_id")
        sort = self.query.sort
        return sort if any(item.field == case_id for item in sort) else (*sort, Sort(case_id))


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
    refresh = _Refresh(
        source, query, told, Look(told["tz"], _backend(frame)), overlap_of(source, overlap)
    )
    ours = {item.column: column for column, item in fields.items()}
    old = frame.set_axis([*ours], axis="columns")
    why = _why_anew(refresh)
    whole = _anew(refresh, old, why) if why else _upserted(refresh, old)
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


def _signed(refresh: _Refresh, frame: pd.DataFrame, ours: Mapping[str, str]) -> pd.DataFrame:
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


# --- reading ------------------------------------------------------------------------------


def _why_anew(refresh: _Refresh) -> str:
    """Say why only a whole new read can tell what changed; empty if a refresh can."""
    query, updated = refresh.query, refresh.source.schema.find("updated_at")
    if query.limit is not None:
        return f"limit={query.limit} is the head of an order that any change may change"
    if query.search is not None:
        return "what search= finds is the service's alone to say"
    if refresh.told["as_of"] is None:
        return "nothing was asked of the service before"
    if updated is None or refresh.source.judge(updated_since(updated, refresh.then)) == "no":
        return "the service cannot be asked for what was updated"
    return ""


def _anew(refresh: _Refresh, old: pd.DataFrame, why: str) -> pd.DataFrame:
    found = _read(refresh, refresh.query)
    refresh.new.total = read_back(found)["total"]
    refresh.new.notes.append(f"read anew: {why}")
    return alike(found, old)


def _read(refresh: _Refresh, query: Query) -> pd.DataFrame:
    route = plan(refresh.source, query, quiet=True)
    found = exhaust(route, refresh.run, refresh.look, overlap=refresh.lag)
    told, new = read_back(found), refresh.new
    if new.as_of is None and told["as_of"] is not None:
        new.as_of = pd.Timestamp(told["as_of"])
    new.passes = max(new.passes, told["passes"])
    new.notes += told["notes"]
    return found


def _upserted(refresh: _Refresh, old: pd.DataFrame) -> pd.DataFrame:
    """Read what was touched, lay it over the frame, and take off what does not match any more."""
    ways = touches(refresh.query, refresh.source.schema, refresh.then, [*old.columns])
    asked = {touch: _ids(refresh, touch) for touch in ways if touch.leaves}
    entering = [touch for touch in ways if touch.enters and asked.get(touch) != set()]
    fresh = [_rows(refresh, touch) for touch in entering]
    matching = {case for rows in fresh for case in rows["case_id"]}
    kept = old[~old["case_id"].isin(set().union(*asked.values()) - matching)]
    kept = _staying(kept, [touch.stays for touch in ways], refresh.look.tz)
    return _placed(refresh, kept.reset_index(drop=True), fresh)


def _staying(old: pd.DataFrame, bounds: Sequence[Expression], tz: str) -> pd.DataFrame:
    for bound in bounds:
        names = {literal.target.column for literal in literals(bound)}
        held = pd.DataFrame({name: plain(old[name], tz) for name in names}, index=old.index)
        old = old[mask(held, bound)]
    return old


def _placed(refresh: _Refresh, kept: pd.DataFrame, fresh: Sequence[pd.DataFrame]) -> pd.DataFrame:
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


def _ids(refresh: _Refresh, touch: Touch) -> set[str]:
    """Ask for all that a touch concerns, whatever the filter."""
    columns = (refresh.source.schema.resolve("case_id"),)
    return set(_read(refresh, _touched(refresh, touch.where, columns))["case_id"])


def _rows(refresh: _Refresh, touch: Touch) -> pd.DataFrame:
    """Ask for the rows that a touch concerns and that match."""
    schema, query = refresh.source.schema, refresh.query
    keys = (item.field for item in refresh.order)
    columns = tuple(dict.fromkeys([*query.columns, schema.resolve("updated_at"), *keys]))
    return _read(refresh, _touched(refresh, all_of([query.where, touch.where]), columns))


def _touched(refresh: _Refresh, where: Expression, columns: Sequence[Field]) -> Query:
    by_creation = (Sort(refresh.source.schema.resolve("created_at")),)
    return replace(refresh.query, where=where, columns=tuple(columns), sort=by_creation)
