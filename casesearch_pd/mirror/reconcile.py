"""Compare a mirror with its service, to find the cases that were missed or deleted.

An increment sees neither a deleted case nor one that a lagging search index returned only after the
lookback. If the service counts, the counts of windows of ``created_at`` are compared, each with a
64th of the cases; a window whose counts differ is halved until it is a few pages long, and then
read. If it does not count, all ids are read. (A window in which as many cases were missed as were
deleted has equal counts, so nothing is found there.)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.mirror.filter_sql import to_sql
from casesearch_pd.query.expressions import TRUE, Compare, Expression, all_of
from casesearch_pd.reading.fetch.windows import TimeWindow
from casesearch_pd.reading.incremental.changes import read_query
from casesearch_pd.reading.plan import make_plan
from casesearch_pd.sources.base import Scan, Sort
from casesearch_pd.sources.transport.timestamps import MILLISECOND, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from casesearch_pd.mirror.metadata import StoredColumn
    from casesearch_pd.reading.incremental.changes import IncrementalRead
    from casesearch_pd.reading.plan import ReadPlan

__all__ = ["MirrorRows", "Reconciliation", "reconcile"]

_READ_PAGES = 4  # pages of a window that is read instead of halved
_WINDOWS = 64  # windows at the start, a request each
_MAX_SINGLE_TIMES = 50  # creation times that are read one by one


@dataclass(frozen=True)
class MirrorRows:
    """The ids and creation times of a mirror, in the table ``mirror_rows``."""

    connection: duckdb.DuckDBPyConnection
    created: StoredColumn

    def select(self, columns: str, where: Expression = TRUE) -> list[tuple[Any, ...]]:
        """Return rows of the cases that match a condition on their creation time."""
        condition = to_sql(where, {self.created.field.column: self.created})
        sql = f"SELECT {columns} FROM mirror_rows WHERE {condition.sql}"
        return self.connection.execute(sql, condition.parameters).fetchall()

    def count(self, where: Expression = TRUE) -> int:
        """Return the number of cases that match a condition on their creation time."""
        ((count,),) = self.select("count(*)", where)
        return int(count)

    def ids(self, where: Expression = TRUE) -> set[str]:
        """Return the ids of the cases that match a condition on their creation time."""
        return {case_id for (case_id,) in self.select("case_id", where)}

    def quantiles(self, shares: Sequence[float], where: Expression = TRUE) -> list[pd.Timestamp]:
        """Return quantiles of the creation times, in milliseconds as requests send them."""
        if not shares:
            return []
        quantiles = f"quantile_disc(created_at, [{', '.join(map(str, shares))}]::DOUBLE[])"
        column = f"list_transform({quantiles}, lambda created: epoch_us(created))"
        ((micros,),) = self.select(column, where)
        timestamps = pd.to_datetime(micros or [], unit="us", utc=True)
        return [to_milliseconds(at) for at in timestamps if not pd.isna(at)]


@dataclass
class Reconciliation:
    """The differences between a mirror and its service."""

    frames: list[pd.DataFrame] = field(default_factory=list)  # current cases of differing parts
    deleted: set[str] = field(default_factory=set)  # ids that the service does not have


def reconcile(incremental: IncrementalRead, mirror_rows: MirrorRows) -> Reconciliation:
    """Compare the rows of a mirror with its source."""
    plan = make_plan(incremental.source, incremental.query, quiet=True)
    if _can_count_windows(plan):
        return _reconcile_counts(incremental, mirror_rows, plan)
    return _reconcile_ids(incremental, mirror_rows)


def _can_count_windows(plan: ReadPlan) -> bool:
    if not plan.source.can_count or plan.pushdown.residual != TRUE:
        return False
    probe = pd.Timestamp(0, tz="UTC")
    windows = (TimeWindow(None, probe), TimeWindow(probe, probe))
    return all(scan is not None for window in windows for scan in _window_scans(plan, window))


def _window_scans(plan: ReadPlan, window: TimeWindow) -> list[Scan | None]:
    """Return the scans that count a window; None for one that a request cannot express."""
    scans = plan.pass_scans((plan.source.schema.resolve("case_id"),))
    bounds = [plan.source.with_bound(scan.where, _where(plan, window)) for scan in scans]
    return [
        None if bound is None else replace(scan, where=bound)
        for scan, bound in zip(scans, bounds, strict=True)
    ]


def _where(plan: ReadPlan, window: TimeWindow) -> Expression:
    return window.where(plan.source.schema.resolve("created_at"))


def _reconcile_counts(
    incremental: IncrementalRead, mirror_rows: MirrorRows, plan: ReadPlan
) -> Reconciliation:
    result = Reconciliation()
    for where in _differing_windows(incremental, mirror_rows, plan):
        frame = _read(incremental, where)
        result.frames.append(frame)
        result.deleted |= mirror_rows.ids(where) - {*frame["case_id"]}
    return result


def _differing_windows(
    incremental: IncrementalRead, mirror_rows: MirrorRows, plan: ReadPlan
) -> Iterator[Expression]:
    """Yield the windows whose counts differ, each a few pages long."""
    max_rows = _READ_PAGES * incremental.source.page_size
    windows = _initial_windows(mirror_rows, max_rows)
    while windows:
        window = windows.pop()
        where = _where(plan, window)
        local_count = mirror_rows.count(where)
        service_count = sum(
            incremental.source.count(scan, incremental.context)
            for scan in _window_scans(plan, window)
            if scan is not None
        )
        if local_count == service_count:
            continue
        # Half of the window's cases in the mirror are before the median. There is none if it has no
        # such case, and a window of one creation time cannot be halved.
        median = next(iter(mirror_rows.quantiles([0.5], where)), None)
        small = max(local_count, service_count) <= max_rows
        if small or median is None or median == window.start:
            yield where
        else:
            windows += reversed(window.split(median))


def _initial_windows(mirror_rows: MirrorRows, max_rows: int) -> list[TimeWindow]:
    """Return windows that cover all time with about the same number of cases in each."""
    number = min(_WINDOWS, mirror_rows.count() // max_rows)
    edges = sorted({*mirror_rows.quantiles([at / number for at in range(1, number)])})
    return [
        TimeWindow(start, end) for start, end in zip([None, *edges], [*edges, None], strict=True)
    ]


def _read(incremental: IncrementalRead, where: Expression) -> pd.DataFrame:
    query = incremental.query
    by_creation = (Sort(incremental.source.schema.resolve("created_at")),)
    return read_query(
        incremental, replace(query, where=all_of([query.where, where]), sort=by_creation)
    )


def _reconcile_ids(incremental: IncrementalRead, mirror_rows: MirrorRows) -> Reconciliation:
    schema = incremental.source.schema
    columns = (schema.resolve("case_id"), schema.resolve("created_at"))
    frame = read_query(incremental, replace(incremental.query, columns=columns, all_columns=False))
    ids = mirror_rows.ids()
    missing = frame.loc[~frame["case_id"].isin(ids), "created_at"]
    frames = [_read(incremental, where) for where in _conditions(incremental, missing)]
    return Reconciliation(frames, ids - {*frame["case_id"]})


def _conditions(incremental: IncrementalRead, created: pd.Series[Any]) -> Sequence[Expression]:
    """Return conditions that match some creation times: one for each, or one range for many."""
    field = incremental.source.schema.resolve("created_at")
    times = [to_milliseconds(at) for at in created.dropna().unique()]
    ranges = [(at, at) for at in times]
    if len(times) > _MAX_SINGLE_TIMES:
        ranges = [(min(times), max(times))]
    windows = [TimeWindow(first, last + MILLISECOND).where(field) for first, last in ranges]
    return [*windows, *([Compare(field, "isna", None)] if created.isna().any() else [])]
