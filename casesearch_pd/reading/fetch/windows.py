"""A window of ``created_at`` that one reader walks, and its files in a checkpoint.

Windows are half-open and no update can move a case from one into another; the last one is "not
before the cut", so that a case without the time is in exactly one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.query.expressions import TRUE, Compare, Expression, all_of, negate
from casesearch_pd.reading.fetch.pagination import (
    ScanState,
    followed_cursors,
    take_rows,
)
from casesearch_pd.sources.transport.timestamps import parse_timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from casesearch_pd.errors import ServiceError
    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.frames.columns import Columns
    from casesearch_pd.sources.base import Page, Scan

__all__ = ["TimeWindow", "Window", "between", "precedes", "rows_before"]

_TICK = pd.Timedelta(1, "ms")


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


@dataclass(eq=False)
class Window:
    """The cases of one scan from ``start`` up to, not including, ``end``.

    Parameters
    ----------
    base
        The scan without the window.
    scan
        The scan as it is asked.
    columns
        The rows.
    part
        Which of the scans it belongs to.
    counted
        How many rows there are, if the service counted just these.
    guess
        How many there may be, until the first of them are here.
    done
        Whether there is nothing more to ask.
    headed
        Whether that is because only the head was wanted.
    halved
        Whether its end was moved forward after it was asked for.
    error
        Why not all could be read.
    log
        Pages that no checkpoint holds yet.
    saved
        Up to where a checkpoint holds it.
    files
        The files that do.
    """

    base: Scan
    scan: Scan
    columns: Columns
    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None
    part: int = 0
    counted: int | None = None
    guess: float = 0.0
    done: bool = False
    headed: bool = False
    halved: bool = False
    error: ServiceError | None = None
    trail: ScanState = field(init=False)
    log: list[Page] = field(default_factory=list)
    saved: pd.Timestamp | None = None
    files: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Stand at the beginning."""
        self.trail = ScanState(self.scan)

    @property
    def at(self) -> pd.Timestamp | None:
        """How far it is read."""
        return self.trail.position or self.start

    @property
    def followed(self) -> bool:
        """Whether all was read, and the count alone tells that no row was skipped."""
        return self.done and not self.headed and followed_cursors(self.trail)

    def left(self, latest: pd.Timestamp) -> float:
        """Reckon how many rows are still to come, by the count or by how dense they were."""
        at, end = self.at, self.end or latest
        if self.done or at is None or end - at < 2 * _TICK:
            return 0.0
        if self.counted is not None:
            return max(0.0, self.counted - self.trail.rows)
        # Where nothing says when the window begins, its first page is no stretch of time.
        since = self.start or self.trail.origin or at
        rows = self.trail.rows - (0 if self.start is not None else self.trail.first)
        return rows * ((end - at) / (at - since)) if rows and at > since else self.guess

    def __str__(self) -> str:
        """Name what is still missing of it."""
        start = "the beginning" if self.at is None else self.at.isoformat()
        end = "the end" if self.end is None else self.end.isoformat()
        return f"created_at from {start} to {end}"


def precedes(at: pd.Timestamp | None, other: pd.Timestamp | None) -> bool:
    """Tell whether a place may lie before another."""
    return other is None or at is None or at < other


def between(scan: Scan, start: pd.Timestamp | None, end: pd.Timestamp | None) -> Expression:
    """Write the bound of a window."""
    created = scan.sort[0].field
    if end is None:  # "not before": a case without the time is here, and nowhere else
        return TRUE if start is None else negate(Compare(created, "lt", start))
    until = Compare(created, "lt", end)
    return until if start is None else all_of([Compare(created, "gte", start), until])


def rows_before(page: Page, end: pd.Timestamp) -> Page:
    """Leave out the rows that belong to the next window."""
    created = [
        None if text is None else parse_timestamp(text) for text in page.columns["created_at"]
    ]
    return take_rows(page, [row for row, at in enumerate(created) if at is None or at < end])
