"""Windows of creation time: `TimeWindow`, the value, and `Window`, the one that a worker reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.query.expressions import Compare, Expression, all_of, negate
from casesearch_pd.reading.fetch.pagination import ScanState, take_rows
from casesearch_pd.sources.transport.timestamps import parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.fetch.checkpoint import WindowFiles
    from casesearch_pd.reading.frames.columns import Columns
    from casesearch_pd.sources.base import Page, Scan, Source

__all__ = ["TimeWindow", "Window", "gaps", "restrict", "undated"]

_TICK = pd.Timedelta(1, "ms")  # the precision of the services


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A half-open range of creation times; no update moves a case from one into another.

    Parameters
    ----------
    start
        The first time of the window; None for the first window, which also has the cases
        without a creation time.
    end
        The first time after the window; None for the last window.

    Examples
    --------
    >>> before, since = TimeWindow().split(pd.Timestamp("2026-03-01", tz="UTC"))
    >>> before.where("created_at")
    ~(field('created_at') >= '2026-03-01T00:00:00+00:00')
    >>> since.where("created_at")
    field('created_at') >= '2026-03-01T00:00:00+00:00'
    >>> str(since)
    'created_at from 2026-03-01T00:00:00+00:00 to the end'
    """

    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None

    def where(self, field: Field | str) -> Expression:
        """Return the condition that a case is in the window."""
        bounds: list[Expression] = []
        if self.start is not None:
            bounds.append(Compare(field, "gte", self.start))
        if self.end is not None:
            # A comparison with a missing time is false. "Not at or after the end" therefore
            # keeps the cases without a time in the first window, and no other window has them.
            after = Compare(field, "gte", self.end)
            bounds.append(negate(after) if self.start is None else Compare(field, "lt", self.end))
        return all_of(bounds)

    def contains(self, timestamp: pd.Timestamp | None) -> bool:
        """Return whether a case of this creation time is in the window."""
        if timestamp is None:
            return self.start is None
        after_start = self.start is None or timestamp >= self.start
        return after_start and (self.end is None or timestamp < self.end)

    def split(self, at: pd.Timestamp) -> tuple[TimeWindow, TimeWindow]:
        """Return the windows before a time, and from it on."""
        return TimeWindow(self.start, at), TimeWindow(at, self.end)

    def __str__(self) -> str:
        start = "the beginning" if self.start is None else self.start.isoformat()
        end = "the end" if self.end is None else self.end.isoformat()
        return f"created_at from {start} to {end}"


def gaps(windows: Iterable[TimeWindow]) -> list[TimeWindow]:
    """Return the windows that are missing between the given ones, which are in order."""
    missing: list[TimeWindow] = []
    edge: pd.Timestamp | None = None
    for window in windows:
        if window.start is not None and (edge is None or window.start > edge):
            missing.append(TimeWindow(edge, window.start))
        if window.end is None:
            return missing
        edge = window.end
    return [*missing, TimeWindow(edge)]


def restrict(source: Source, scan: Scan, bound: Expression) -> Scan | None:
    """Return a scan with one more condition; None if one request cannot hold both."""
    where = source.with_bound(scan.where, bound)
    return None if where is None else replace(scan, where=where)


# The services sort missing values last. A first window that is read in ascending order, and ends
# before the end of the scan, never comes to its cases without a time; they need a request of
# their own. Not every service can be asked for missing values, but each can for "neither before
# nor at or after a time", which is the same in two-valued logic.
def undated(source: Source, scan: Scan, at: pd.Timestamp) -> Scan | None:
    """Return the scan of the cases without a creation time; None if it cannot be requested."""
    created = scan.sort[0].field
    bounds = (Compare(created, "lt", at), Compare(created, "gte", at))
    return restrict(source, scan, all_of(map(negate, bounds)))


@dataclass(eq=False)
class Window:
    """A time window of one scan, and the rows of it that were read.

    Parameters
    ----------
    scan
        The scan without the window.
    span
        The window; its end moves when the later half is given to another worker.
    state
        The position in the scan as it is sent.
    columns
        The rows.
    part
        The number of the scan among those of the pass.
    estimate
        How many rows to expect, until the first page is here.
    expected
        How many rows there are, if the service counted just these.
    done
        Whether there is nothing left to read.
    at_limit
        Whether that is because a limit was reached.
    files
        The checkpoint of the window, if there is one.
    """

    scan: Scan
    span: TimeWindow
    state: ScanState
    columns: Columns
    part: int = 0
    estimate: float = 0.0
    expected: int | None = None
    done: bool = False
    at_limit: bool = False
    files: WindowFiles | None = None
    requested: TimeWindow = field(init=False)  # what the scan as it is sent covers

    def __post_init__(self) -> None:
        """Remember the window as it is requested."""
        self.requested = self.span

    @property
    def position(self) -> pd.Timestamp | None:
        """How far it is read."""
        return self.state.position or self.span.start

    @property
    def is_unrestricted(self) -> bool:
        """Whether it is requested without a bound of its own, so that its count is the scan's."""
        return self.state.scan == self.scan

    @property
    def relied_on_cursors(self) -> bool:
        """Whether all was read and rows may have been skipped although no total changed."""
        return self.done and not self.at_limit and self.state.relied_on_cursors

    @property
    def missing(self) -> TimeWindow:
        """What is left to read."""
        return TimeWindow(self.position, self.span.end)

    def add(self, page: Page) -> Page:
        """Add the rows of a page, and return it without those that are behind the end."""
        if page.total is not None and self.state.pages == 1 and self.span == self.requested:
            self.expected = page.total
        end, position = self.span.end, self.state.position
        if end is not None and position is not None and position >= end:
            page, self.done = _rows_before(page, end), True
        self.columns.add(page)
        return page

    def rows_left(self, latest: pd.Timestamp) -> float:
        """Estimate the rows that are left to read, by the count or by their density so far.

        Parameters
        ----------
        latest
            The creation time of the newest case.
        """
        position, end, state = self.position, self.span.end or latest, self.state
        if self.done or position is None or end - position < 2 * _TICK:
            return 0.0
        if self.expected is not None:
            return max(0.0, self.expected - state.rows)
        # Without a start, the first page spans no known time; the density is that of the others.
        since = self.span.start or state.first_page_end or position
        rows = state.rows - (0 if self.span.start is not None else state.first_page_rows)
        if not rows or position <= since:
            return self.estimate
        return rows * ((end - position) / (position - since))

    def split(self, at: pd.Timestamp, later: ScanState, columns: Columns, rows: float) -> Window:
        """Leave the later half to a new window, and return it.

        Parameters
        ----------
        at
            Where to split.
        later, columns
            The state and the empty columns of the new window.
        rows
            An estimate of the rows in each half.
        """
        self.span, span = self.span.split(at)
        self.expected, self.estimate = None, rows
        return Window(self.scan, span, later, columns, part=self.part, estimate=rows)


def _rows_before(page: Page, end: pd.Timestamp) -> Page:
    """Return the rows of a page that are not in a later window."""
    created = [
        None if text is None else parse_timestamp(text) for text in page.columns["created_at"]
    ]
    before = TimeWindow(None, end)
    return take_rows(page, [row for row, at in enumerate(created) if before.contains(at)])
