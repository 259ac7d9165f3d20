"""A route in, partitions of its result out that can be read apart from each other, anywhere.

A partition is a half-open window of ``created_at``, which no update can change. The windows are
disjoint and cover all that was created before a bound, which is frozen from the service's own
clock: the first is "not at or after the cut", so that a case without the time is in exactly one.

Where the service counts, windows are divided by counts, about one request for each partition.
Where it does not, how densely cases were created is looked at in a few places. Either way a bad
guess makes partitions of unlike sizes, and never loses a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from casesearch_pd.query.expressions import TRUE, Compare, Expression, all_of, literals, negate
from casesearch_pd.reading.fetch.pagination import parse_timestamp
from casesearch_pd.sources.base import InProcessSource, Scan, Sort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.base import Page
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["Partition", "partitions"]

_ROWS = 50_000  # of a partition: 500 pages, so that a lost worker costs minutes and not hours
_LEAST = 2_000  # rows that a partition is worth: its own request is a twentieth of its pages
_TURNS = 4  # partitions for each reader, so that none is alone at the end for long
_PLACES = 8  # where the density of cases is looked at, between the first and the last
_PLACES_AT_MOST = 48
_GOLDEN = (5**0.5 - 1) / 2  # so that places fall on all hours of the day and days of the week
_ROWS_A_PLACE = 2_000  # so that looking costs a twentieth of the pages
_BURST = 10.0  # times the usual density; more is one busy moment and says nothing of the rest
_MOST = 10_000  # partitions that a guess may lead to
_TICK = pd.Timedelta(1, "ms")
_SECOND = pd.Timedelta(1, "s")


@dataclass(frozen=True, slots=True)
class Partition:
    """The cases created from `start` up to, not including, `end`.

    Parameters
    ----------
    start
        None also takes the cases without a creation time.
    end
        None for every case.
    """

    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None

    def where(self, created: Field | str) -> Expression:
        """Write the window as a filter of the creation time."""
        if self.end is None:
            return TRUE
        if self.start is None:
            return negate(Compare(created, "gte", self.end))
        return all_of([Compare(created, "gte", self.start), Compare(created, "lt", self.end)])


def partitions(
    route: ReadPlan, run: ReadContext, *, number: int | None = None, readers: int = 1
) -> tuple[Partition, ...]:
    """Divide the result of a route.

    Parameters
    ----------
    route
        How it would be read as a whole.
    run
        What the requests of planning belong to.
    number
        How many partitions; None for as many as pay.
    readers
        How many may read at a time, each with its share of the rate.

    Returns
    -------
    tuple of Partition
        In the order of time; one that takes everything, if the service cannot be asked for
        windows of this filter. It may be fewer than `number`, where there are fewer times.

    Raises
    ------
    ServiceError
        If the service does not answer.
    """
    asked = _Asked(route, run)
    if not asked.divisible:
        return (Partition(),)
    newest = asked.pages(descending=True)
    end = _end(newest, at_hand=isinstance(route.source, InProcessSource))
    cuts = _cuts(asked, newest, number, readers)
    inner = sorted({cut for cut in cuts if cut < end})
    starts: list[pd.Timestamp | None] = [None, *inner]
    return tuple(map(Partition, starts, [*inner, end]))


@dataclass(frozen=True)
class _Asked:
    """The questions of planning: pages and counts of the whole result, part by part."""

    route: ReadPlan
    run: ReadContext

    @property
    def created(self) -> Field:
        return self.route.source.schema.resolve("created_at")

    @property
    def divisible(self) -> bool:
        """Whether the service can be asked for a window of this filter."""
        if not self.route.pushdown.parts:
            return False
        now = self.route.query.now
        bound = self._bound(now, now)
        asked = self.route.source.push_down(all_of([self.route.query.where, bound]))
        return {*literals(bound)}.isdisjoint(literals(asked.residual))

    def pages(
        self,
        *,
        descending: bool = False,
        start: pd.Timestamp | None = None,
        end: pd.Timestamp | None = None,
    ) -> list[Page]:
        """Ask for the first page of every part, with nothing but the creation times."""
        scans = self._scans((Sort(self.created, descending),), start, end)
        return [self.route.source.page(scan, None, self.run) for scan in scans]

    def count(self, start: pd.Timestamp, end: pd.Timestamp) -> int:
        """Count the cases of a stretch of time."""
        scans = self._scans((), start, end)
        return sum(self.route.source.count(scan, self.run) for scan in scans)

    def _scans(
        self, sort: tuple[Sort, ...], start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> list[Scan]:
        query = self.route.query
        where = all_of([query.where, self._bound(start, end)])
        parts = self.route.source.push_down(where).parts
        return [Scan(part, (self.created,), sort, query.search) for part in parts]

    def _bound(self, start: pd.Timestamp | None, end: pd.Timestamp | None) -> Expression:
        bounds = (("gte", start), ("lt", end))
        return all_of(Compare(self.created, op, at) for op, at in bounds if at is not None)


def _end(newest: Sequence[Page], *, at_hand: bool) -> pd.Timestamp:
    """Freeze the bound: the service's clock, and no earlier than the newest case.

    The clock tells whole seconds, and a copy how it stood when the copying began, so the newest
    case may lie behind it.
    """
    end = newest[0].served_at
    last = max(_times(newest), default=end)
    behind = last >= end if at_hand else end <= last < end + _SECOND
    return (last + _TICK).floor("ms") if behind else end


def _cuts(
    asked: _Asked, newest: Sequence[Page], number: int | None, readers: int
) -> list[pd.Timestamp]:
    """Find where to cut; nowhere, if the result is not worth it."""
    end = newest[0].served_at
    times = sorted(_times(newest))
    if all(page.cursor is None for page in newest):
        return _shared_out(times, number or 1)
    total = sum(page.total or 0 for page in newest) if asked.route.source.can_count else None
    wanted = number or (None if total is None else _worth(total, readers))
    if wanted == 1 or total == 0:
        return []
    oldest = asked.pages(end=end)
    first, last = min(_times(oldest), default=end), max(times, default=end)
    whole = _Stretch(first, last + _TICK, total or 0)
    if first >= last:  # one busy moment
        return []
    if wanted is not None and total is not None:
        wanted = min(wanted, total)
        return _even(list(_divided(whole, total / wanted, asked.count)), wanted)
    return _quantiles(_density(asked, whole, oldest, newest), number, readers)


def _shared_out(times: Sequence[pd.Timestamp], number: int) -> list[pd.Timestamp]:
    """Cut what is known case by case."""
    cuts = [times[len(times) * at // number].floor("ms") for at in range(1, number) if times]
    return [cut for cut in cuts if cut > times[0]]


def _times(pages: Sequence[Page]) -> list[pd.Timestamp]:
    told = [text for page in pages for text in page.columns.get("created_at") or []]
    return [at for at in map(parse_timestamp, told) if at is not None]


def _worth(rows: float, readers: int) -> int:
    """Tell how many partitions so many rows are worth: as many for each reader."""
    share = rows / (readers * _TURNS) if readers > 1 else _ROWS
    number = max(1, math.ceil(rows / min(_ROWS, max(_LEAST, share))))
    return min(_MOST, number if number < readers else readers * math.ceil(number / readers))


# --- by counts ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A stretch of time with so many rows, and so many before it."""

    start: pd.Timestamp
    end: pd.Timestamp
    rows: float
    before: float = 0.0

    def borders(self, share: float) -> range:
        """List by number the borders of even shares that are to be found in it.

        A border is found once one is known that is less than half a share away.
        """
        first, last = (round(at / share) for at in (self.before, self.before + self.rows))
        return range(first + 1, last)

    def middle(self, rows: float) -> pd.Timestamp:
        """Guess up to when there are so many rows, as if they came evenly."""
        length = (self.end - self.start) * ((rows - self.before) / self.rows)
        return (self.start + length).floor("ms")


def _divided(
    whole: _Stretch, share: float, count: Callable[[pd.Timestamp, pd.Timestamp], int]
) -> Iterator[_Stretch]:
    """Divide a stretch until every even share has a border near, one count at a time."""
    borders = whole.borders(share)
    middle = whole.middle(borders[len(borders) // 2] * share) if borders else whole.start
    if not whole.start < middle < whole.end:
        yield whole
        return
    first = min(whole.rows, count(whole.start, middle))
    yield from _divided(replace(whole, end=middle, rows=first), share, count)
    before, rest = whole.before + first, whole.rows - first
    yield from _divided(replace(whole, start=middle, rows=rest, before=before), share, count)


def _even(stretches: Sequence[_Stretch], number: int) -> list[pd.Timestamp]:
    """Choose of the known borders those that are nearest to even shares."""
    whole = stretches[-1].before + stretches[-1].rows
    known = np.array([one.before for one in stretches[1:]])
    wanted = whole * np.arange(1, number) / number
    nearest = np.searchsorted((known[1:] + known[:-1]) / 2, wanted)
    return [stretches[1 + at].start for at in nearest.tolist()] if len(known) else []


# --- by density -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Density:
    """How many rows a second were created at a place."""

    place: pd.Timestamp
    rows: float


def _density(
    asked: _Asked, whole: _Stretch, oldest: Sequence[Page], newest: Sequence[Page]
) -> list[_Density]:
    """Look at a stretch at its ends, and at some places between."""
    first = _dense(oldest, whole.start, whole.end)
    last = _dense(newest, min(_times(newest), default=whole.start), whole.end)
    length = whole.end - whole.start
    likely = length.total_seconds() * (first.rows + last.rows) / 2
    wanted = min(max(_PLACES, round(likely / _ROWS_A_PLACE)), _PLACES_AT_MOST)
    number = max(1, wanted // len(oldest))  # every part of the filter is asked for a page
    shares = [(at + (at + 1) * _GOLDEN % 1) / number for at in range(number)]
    places = [(whole.start + length * share).floor("ms") for share in shares]
    between = [_dense(asked.pages(start=place), place, whole.end) for place in places]
    return [first, *between, replace(last, place=whole.end)]


def _dense(pages: Sequence[Page], since: pd.Timestamp, end: pd.Timestamp) -> _Density:
    return _Density(since, sum(page.rows / _seconds(page, since, end) for page in pages))


def _seconds(page: Page, since: pd.Timestamp, end: pd.Timestamp) -> float:
    """Tell how long a time the rows of a page were created in."""
    times = [] if page.cursor is None else _times([page])
    return max((max(times, default=end) - since).total_seconds(), _TICK.total_seconds())


def _quantiles(found: Sequence[_Density], number: int | None, readers: int) -> list[pd.Timestamp]:
    """Cut so that each piece has about as many rows, as far as the densities tell."""
    start, dense = found[0].place, _smooth(np.array([one.rows for one in found]))
    seconds = np.array([(one.place - start).total_seconds() for one in found])
    rows = np.append(0.0, np.cumsum(np.diff(seconds) * (dense[1:] + dense[:-1]) / 2))
    wanted = number or _worth(float(rows[-1]), readers)
    at = np.interp(rows[-1] * np.arange(1, wanted) / wanted, rows, seconds)
    return [(start + pd.Timedelta(one, "s")).floor("ms") for one in at.tolist()]


def _smooth(told: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Take the trend of densities: of many cases, a page shows one hour of the day or night."""
    held = np.minimum(told, _BURST * np.median(told))
    around = np.ones(1 + max(0, len(told) - _PLACES) // 4 * 2)
    of = np.convolve(np.ones(len(told)), around, mode="same")  # fewer at the ends
    return np.convolve(held, around, mode="same") / of
