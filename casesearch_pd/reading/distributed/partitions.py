"""Divide the result of a plan into partitions that can be read separately, anywhere.

A partition is a `TimeWindow` of ``created_at``, which no update can change. The windows are
disjoint and cover what was created before a bound, frozen from the clock of the service.

Where the service counts, windows are divided by counts, about one request per partition. Where it
does not, the density of cases is sampled at a few times. Either way a bad estimate leads to
partitions of different sizes, and never loses a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from casesearch_pd.query.expressions import Compare, Expression, all_of, comparisons
from casesearch_pd.reading.fetch.windows import TimeWindow
from casesearch_pd.sources.base import InProcessSource, Scan, Sort
from casesearch_pd.sources.transport.timestamps import MILLISECOND, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.base import Page
    from casesearch_pd.sources.transport.context import ReadContext, Tuning

__all__ = ["plan_partitions"]

# 50,000 rows are 500 pages, so that a lost worker costs minutes and not hours; of 2,000 rows the
# request for the partition itself is a twentieth (`Tuning.partition_rows, min_partition_rows`).
_PARTITIONS_PER_WORKER = 4  # so that no worker is alone at the end for long
_MAX_PARTITIONS = 10_000  # to which an estimate may lead
_MIN_SAMPLES, _MAX_SAMPLES = 8, 48  # times at which the density is sampled
_ROWS_PER_SAMPLE = 2_000  # so that sampling costs a twentieth of the pages
_GOLDEN_RATIO = (5**0.5 - 1) / 2  # spreads the samples over all hours and weekdays
_MAX_BURST = 10.0  # times the median density; more is one busy moment, not a trend

_SECOND = pd.Timedelta(1, "s")


def plan_partitions(
    plan: ReadPlan, context: ReadContext, *, npartitions: int | None = None, n_workers: int = 1
) -> tuple[TimeWindow, ...]:
    """Divide the result of a plan into partitions, as many as useful if `npartitions` is None.

    Returns
    -------
    tuple of TimeWindow
        In the order of time; a single one with all cases if the service cannot be queried for
        windows of this filter; fewer than `npartitions` if there are fewer creation times.
    """
    probe = _Probe(plan, context)
    if not probe.can_query_windows:
        return (TimeWindow(),)
    newest = probe.first_pages(descending=True)
    end = _upper_bound(newest, in_process=isinstance(plan.source, InProcessSource))
    cuts = _cuts(probe, newest, npartitions, n_workers)
    inner = sorted({at for at in cuts if at < end})
    starts: list[pd.Timestamp | None] = [None, *inner]
    return tuple(map(TimeWindow, starts, [*inner, end]))


@dataclass(frozen=True)
class _Probe:
    """The requests of planning: pages and counts of the whole result, for all parts."""

    plan: ReadPlan
    context: ReadContext

    @property
    def created_at(self) -> Field:
        return self.plan.source.schema.resolve("created_at")

    @property
    def can_query_windows(self) -> bool:
        """Whether the service can evaluate a window together with this filter."""
        if not self.plan.pushdown.parts:
            return False
        now = self.plan.query.now
        bounds = self._bounds(now, now)
        pushdown = self.plan.source.push_down(all_of([self.plan.query.where, bounds]))
        # A window in the residual would have every partition fetch all cases.
        return {*comparisons(bounds)}.isdisjoint(comparisons(pushdown.residual))

    def first_pages(
        self,
        *,
        descending: bool = False,
        start: pd.Timestamp | None = None,
        end: pd.Timestamp | None = None,
    ) -> list[Page]:
        """Return the first page of every part, with nothing but the creation times."""
        scans = self._scans((Sort(self.created_at, descending),), start, end)
        return [self.plan.source.read_page(scan, None, self.context) for scan in scans]

    def count(self, start: pd.Timestamp, end: pd.Timestamp) -> int:
        """Return the number of cases in a range of time."""
        scans = self._scans((), start, end)
        return sum(self.plan.source.count(scan, self.context) for scan in scans)

    def _scans(
        self, sort: tuple[Sort, ...], start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> list[Scan]:
        query = self.plan.query
        where = all_of([query.where, self._bounds(start, end)])
        parts = self.plan.source.push_down(where).parts
        return [Scan(part, (self.created_at,), sort, query.search) for part in parts]

    def _bounds(self, start: pd.Timestamp | None, end: pd.Timestamp | None) -> Expression:
        # Not a TimeWindow: cases without a time have no place in planning.
        bounds = (("gte", start), ("lt", end))
        return all_of(Compare(self.created_at, op, at) for op, at in bounds if at is not None)


def _upper_bound(newest: Sequence[Page], *, in_process: bool) -> pd.Timestamp:
    """Return the bound of all partitions: the clock of the service, but after the newest case.

    The clock has whole seconds, and the clock of a copy is when the copying began, so the newest
    case may be later.
    """
    end = newest[0].served_at
    last = max(_times(newest), default=end)
    later = last >= end if in_process else end <= last < end + _SECOND
    return (last + MILLISECOND).floor("ms") if later else end


def _cuts(
    probe: _Probe, newest: Sequence[Page], npartitions: int | None, n_workers: int
) -> list[pd.Timestamp]:
    """Return the times at which to cut; none if the result is too small."""
    tuning = probe.context.tuning
    end = newest[0].served_at
    times = sorted(_times(newest))
    if all(page.cursor is None for page in newest):
        return _quantiles(times, npartitions or 1)
    counts = probe.plan.source.can_count
    total = sum(page.total or 0 for page in newest) if counts else None
    number = npartitions
    if number is None and total is not None:
        number = _useful_partitions(total, n_workers, tuning)
    if number == 1 or total == 0:
        return []
    oldest = probe.first_pages(end=end)
    first, last = min(_times(oldest), default=end), max(times, default=end)
    if first >= last:  # all cases were created at the same time
        return []
    result = _Range(first, last + MILLISECOND, total or 0)
    if number is not None and total is not None:
        number = min(number, total)
        return _nearest_cuts(list(_bisect(result, total / number, probe.count)), number)
    densities = _sample_densities(probe, result, oldest, newest)
    return _cuts_by_density(densities, npartitions, n_workers, tuning)


def _quantiles(times: Sequence[pd.Timestamp], number: int) -> list[pd.Timestamp]:
    """Return the cuts between equal parts of known creation times."""
    cuts = [times[len(times) * part // number].floor("ms") for part in range(1, number) if times]
    return [at for at in cuts if at > times[0]]


def _times(pages: Sequence[Page]) -> list[pd.Timestamp]:
    cells = [cell for page in pages for cell in page.columns.get("created_at") or []]
    return [at for at in map(parse_timestamp, cells) if at is not None]


def _useful_partitions(rows: float, n_workers: int, tuning: Tuning) -> int:
    """Return a useful number of partitions for some rows: the same number for each worker."""
    share: float = tuning.partition_rows
    if n_workers > 1:
        per_worker = rows / (n_workers * _PARTITIONS_PER_WORKER)
        share = min(share, max(tuning.min_partition_rows, per_worker))
    number = max(1, math.ceil(rows / share))
    if number >= n_workers:
        number = n_workers * math.ceil(number / n_workers)
    return min(_MAX_PARTITIONS, number)


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of time, with the number of its rows and of those before it."""

    start: pd.Timestamp
    end: pd.Timestamp
    rows: float
    rows_before: float = 0.0

    def missing_borders(self, share: float) -> range:
        """Return the numbers of the borders between equal shares that this range must resolve.

        A border is resolved once a known time is less than half a share away from it.
        """
        ends = (self.rows_before, self.rows_before + self.rows)
        first, last = (round(rows / share) for rows in ends)
        return range(first + 1, last)

    def interpolate(self, rows: float) -> pd.Timestamp:
        """Return the time before which there are `rows` rows, if they are spread evenly."""
        offset = (self.end - self.start) * ((rows - self.rows_before) / self.rows)
        return (self.start + offset).floor("ms")


def _bisect(
    range_: _Range, share: float, count: Callable[[pd.Timestamp, pd.Timestamp], int]
) -> Iterator[_Range]:
    """Yield the ranges of a division in which every border has a known time near it.

    Each step interpolates the middle border and counts the rows before it, so that a border
    costs about one request if the cases are spread evenly, and a few if they are not.
    """
    borders = range_.missing_borders(share)
    middle = range_.interpolate(borders[len(borders) // 2] * share) if borders else range_.start
    if not range_.start < middle < range_.end:
        yield range_
        return
    rows = min(range_.rows, count(range_.start, middle))
    yield from _bisect(replace(range_, end=middle, rows=rows), share, count)
    rest = replace(
        range_, start=middle, rows=range_.rows - rows, rows_before=range_.rows_before + rows
    )
    yield from _bisect(rest, share, count)


def _nearest_cuts(ranges: Sequence[_Range], number: int) -> list[pd.Timestamp]:
    """Return, for each border between equal shares, the known time that is nearest to it."""
    total = ranges[-1].rows_before + ranges[-1].rows
    known = np.array([item.rows_before for item in ranges[1:]])
    borders = total * np.arange(1, number) / number
    nearest = np.searchsorted((known[1:] + known[:-1]) / 2, borders)
    return [ranges[1 + index].start for index in nearest.tolist()] if len(known) else []


@dataclass(frozen=True, slots=True)
class _Density:
    """How many rows per second were created at a time."""

    at: pd.Timestamp
    rows: float


def _sample_densities(
    probe: _Probe, range_: _Range, oldest: Sequence[Page], newest: Sequence[Page]
) -> list[_Density]:
    """Return the density at the ends of a range and at some times between."""
    first = _density(oldest, range_.start, range_.end)
    last = _density(newest, min(_times(newest), default=range_.start), range_.end)
    length = range_.end - range_.start
    rows = length.total_seconds() * (first.rows + last.rows) / 2
    samples = min(max(_MIN_SAMPLES, round(rows / _ROWS_PER_SAMPLE)), _MAX_SAMPLES)
    samples = max(1, samples // len(oldest))  # each costs one page of every part of the filter
    shares = [(index + (index + 1) * _GOLDEN_RATIO % 1) / samples for index in range(samples)]
    times = [(range_.start + length * share).floor("ms") for share in shares]
    between = [_density(probe.first_pages(start=at), at, range_.end) for at in times]
    return [first, *between, replace(last, at=range_.end)]


def _density(pages: Sequence[Page], start: pd.Timestamp, end: pd.Timestamp) -> _Density:
    return _Density(start, sum(page.rows / _duration(page, start, end) for page in pages))


def _duration(page: Page, start: pd.Timestamp, end: pd.Timestamp) -> float:
    """Return the seconds in which the rows of a page were created."""
    times = [] if page.cursor is None else _times([page])
    return max((max(times, default=end) - start).total_seconds(), MILLISECOND.total_seconds())


def _cuts_by_density(
    densities: Sequence[_Density], npartitions: int | None, n_workers: int, tuning: Tuning
) -> list[pd.Timestamp]:
    """Return the cuts between partitions of about the same number of rows."""
    start = densities[0].at
    density = _smooth(np.array([item.rows for item in densities]))
    seconds = np.array([(item.at - start).total_seconds() for item in densities])
    # The rows before each sampled time: the integral of the density by the trapezoidal rule.
    rows = np.append(0.0, np.cumsum(np.diff(seconds) * (density[1:] + density[:-1]) / 2))
    number = npartitions or _useful_partitions(float(rows[-1]), n_workers, tuning)
    offsets = np.interp(rows[-1] * np.arange(1, number) / number, rows, seconds)
    return [(start + pd.Timedelta(offset, "s")).floor("ms") for offset in offsets.tolist()]


def _smooth(density: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the trend of densities: of many cases, a page shows one hour of day or night."""
    clipped = np.minimum(density, _MAX_BURST * np.median(density))
    kernel = np.ones(1 + max(0, len(density) - _MIN_SAMPLES) // 4 * 2)
    neighbours = np.convolve(np.ones(len(density)), kernel, mode="same")  # fewer at the ends
    return np.convolve(clipped, kernel, mode="same") / neighbours
