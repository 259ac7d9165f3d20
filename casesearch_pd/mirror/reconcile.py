"""What a mirror holds and what the service has in, what was missed and what was deleted out.

An increment cannot see a case that was deleted, nor one that a lagging search kept back for
longer than the lookback. A service that counts is asked for the counts of half-open windows of
``created_at``, each a 64th of the cases; one that differs is halved until it is a few pages long,
and then read. Any other service is asked for all ids. (A window in which as many cases were missed
as were deleted looks sound by its count.)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.mirror.filter_sql import to_sql
from casesearch_pd.query.expressions import TRUE, Compare, Expression, all_of
from casesearch_pd.reading.fetch.windows import between
from casesearch_pd.reading.incremental.changes import read_part
from casesearch_pd.reading.plan import make_plan
from casesearch_pd.sources.base import Scan, Sort

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from casesearch_pd.mirror.metadata import StoredColumn
    from casesearch_pd.reading.incremental.changes import IncrementalRead
    from casesearch_pd.reading.plan import ReadPlan

__all__ = ["PresentRows", "Reconciliation", "reconcile"]

_PAGES = 4  # of a window that is read rather than halved
_WINDOWS = 64  # at first: a request each
_FEW = 50  # moments that are read one by one
_TICK = pd.Timedelta(1, "ms")  # what is finer, no wire can say
_Edge = pd.Timestamp | None


@dataclass(frozen=True)
class PresentRows:
    """The ids and creation times that a mirror has, in the table ``present``."""

    connection: duckdb.DuckDBPyConnection
    created: StoredColumn

    def ask(self, what: str, where: Expression = TRUE) -> list[tuple[Any, ...]]:
        """Select something of the cases that meet a condition on their creation time."""
        asked = to_sql(where, {self.created.field.column: self.created})
        sql = f"SELECT {what} FROM present WHERE {asked.sql}"
        return self.connection.execute(sql, asked.parameters).fetchall()

    def moments(self, what: str, where: Expression = TRUE) -> list[pd.Timestamp]:
        """Select a list of creation times, in the milliseconds that a wire can say."""
        ((micros,),) = self.ask(f"list_transform({what}, lambda one: epoch_us(one))", where)
        times = pd.to_datetime(micros or [], unit="us", utc=True)
        return [one.floor("ms").as_unit("us") for one in times if not pd.isna(one)]

    def middle(self, where: Expression) -> _Edge:
        """Find the creation time that has as many cases before it as after it."""
        return next(iter(self.moments("quantile_disc(created_at, [0.5])", where)), None)


@dataclass
class Reconciliation:
    """What an audit finds.

    Parameters
    ----------
    rows
        The cases as they are in the parts that differ.
    gone
        The ids of those that are not there any more.
    """

    rows: list[pd.DataFrame] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)


def reconcile(inquiry: IncrementalRead, present: PresentRows) -> Reconciliation:
    """Hold what a mirror has against its source."""
    route = make_plan(inquiry.source, inquiry.query, quiet=True)
    if _counts(route):
        return _by_counts(inquiry, present, route)
    return _by_ids(inquiry, present)


def _counts(route: ReadPlan) -> bool:
    """Tell whether the service can count what matches in a window."""
    exact = route.source.can_count and route.pushdown.residual == TRUE
    probe = pd.Timestamp(0, tz="UTC")
    return exact and all(_narrowed(route, scan, (probe, probe)) for scan in _scans(route))


def _scans(route: ReadPlan) -> tuple[Scan, ...]:
    return route.pass_scans((route.source.schema.resolve("case_id"),))


def _narrowed(route: ReadPlan, scan: Scan, window: tuple[_Edge, _Edge]) -> Scan | None:
    where = route.source.with_bound(scan.where, between(scan, *window))
    return None if where is None else replace(scan, where=where)


# --- by counts ----------------------------------------------------------------------------


def _by_counts(inquiry: IncrementalRead, present: PresentRows, route: ReadPlan) -> Reconciliation:
    found = Reconciliation()
    for where in _differing(inquiry, present, route):
        rows = _rows(inquiry, where)
        found.rows.append(rows)
        found.gone |= {case for (case,) in present.ask("case_id", where)} - {*rows["case_id"]}
    return found


def _differing(
    inquiry: IncrementalRead, present: PresentRows, route: ReadPlan
) -> Iterator[Expression]:
    """Find the windows in which the counts differ, each a few pages long."""
    few = _PAGES * inquiry.source.page_size
    windows = _windows(present, few)
    while windows:
        start, end = windows.pop()
        where = between(_scans(route)[0], start, end)
        ((ours,),) = present.ask("count(*)", where)
        scans = [_narrowed(route, scan, (start, end)) for scan in _scans(route)]
        theirs = sum(inquiry.source.count(scan, inquiry.run) for scan in scans if scan is not None)
        middle = present.middle(where)
        if ours == theirs:
            continue
        if max(ours, theirs) <= few or middle is None or middle == start:
            yield where
        else:
            windows += [(middle, end), (start, middle)]


def _windows(present: PresentRows, few: int) -> list[tuple[_Edge, _Edge]]:
    """Divide all time into windows of about as many cases, each more than a few pages long."""
    ((rows,),) = present.ask("count(*)")
    number = min(_WINDOWS, rows // few)
    shares = ", ".join(str(at / number) for at in range(1, number))
    edges = present.moments(f"quantile_disc(created_at, [{shares}]::DOUBLE[])") if shares else []
    starts: list[_Edge] = [None, *sorted({*edges})]
    return [*zip(starts, [*starts[1:], None], strict=True)]


def _rows(inquiry: IncrementalRead, where: Expression) -> pd.DataFrame:
    query = inquiry.query
    by_creation = (Sort(inquiry.source.schema.resolve("created_at")),)
    return read_part(inquiry, replace(query, where=all_of([query.where, where]), sort=by_creation))


# --- by ids -------------------------------------------------------------------------------


def _by_ids(inquiry: IncrementalRead, present: PresentRows) -> Reconciliation:
    schema = inquiry.source.schema
    columns = (schema.resolve("case_id"), schema.resolve("created_at"))
    told = read_part(inquiry, replace(inquiry.query, columns=columns, all_columns=False))
    ours = {case for (case,) in present.ask("case_id")}
    missed = told.loc[~told["case_id"].isin(ours), "created_at"]
    gone = ours - {*told["case_id"]}
    return Reconciliation([_rows(inquiry, where) for where in _around(inquiry, missed)], gone)


def _around(inquiry: IncrementalRead, moments: pd.Series[Any]) -> Sequence[Expression]:
    """Write the windows that hold some creation times: one each, or one for all of many."""
    created = inquiry.source.schema.resolve("created_at")
    at = [moment.floor("ms").as_unit("us") for moment in moments.dropna().unique()]
    spans = [(one, one) for one in at] if len(at) <= _FEW else [(min(at), max(at))]
    windows = [
        all_of([Compare(created, "gte", first), Compare(created, "lt", last + _TICK)])
        for first, last in spans
    ]
    return [*windows, *([Compare(created, "isna", None)] if moments.isna().any() else [])]
