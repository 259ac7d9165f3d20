"""A window of ``created_at`` that one reader walks, and its files in a checkpoint.

Windows are half-open and no update can move a case from one into another; the last one is "not
before the cut", so that a case without the time is in exactly one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.query.expr import TRUE, Compare, Expression, all_of, negate
from casesearch_pd.reading.checkpoint import Saved
from casesearch_pd.reading.trail import Trail, followed, moment, taken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from casesearch_pd.errors import ServiceError
    from casesearch_pd.reading.checkpoint import Checkpoint
    from casesearch_pd.reading.columns import Columns
    from casesearch_pd.sources.contract import Page, Scan

__all__ = ["Book", "Window", "before", "between", "cut"]

_TICK = pd.Timedelta(1, "ms")


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
    trail: Trail = field(init=False)
    log: list[Page] = field(default_factory=list)
    saved: pd.Timestamp | None = None
    files: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Stand at the beginning."""
        self.trail = Trail(self.scan)

    @property
    def at(self) -> pd.Timestamp | None:
        """How far it is read."""
        return self.trail.position or self.start

    @property
    def followed(self) -> bool:
        """Whether all was read, and the count alone tells that no row was skipped."""
        return self.done and not self.headed and followed(self.trail)

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


@dataclass
class Book:
    """The files of one pass in a checkpoint.

    Parameters
    ----------
    checkpoint
        Where they are.
    saved
        What was there when the read began.
    at
        The number of the pass.
    began
        The service's clock when the read first began; None until the first page.
    """

    checkpoint: Checkpoint
    saved: Sequence[Saved]
    at: int
    began: Callable[[], pd.Timestamp]

    def of(self, part: int) -> list[Saved]:
        """List what is held of one part."""
        return [one for one in self.saved if one.walk == (self.at, part)]

    def save(self, window: Window, *, whole: bool) -> None:
        """Save what no file holds yet: all, or what is before the last creation time."""
        edge = window.end if whole else window.trail.position
        if not whole and (edge is None or edge == window.saved):
            return  # a long tie, or no times: it goes with the next
        told, window.log = (window.log, []) if whole else _parted(window.log)
        columns = {
            name: [value for page in told for value in page.columns.get(name, [None] * page.rows)]
            for name in dict.fromkeys(name for page in told for name in page.columns)
        }
        path = self.checkpoint.save(
            Saved(
                walk=(self.at, window.part),
                start=None if window.saved is None else window.saved.isoformat(),
                end=None if edge is None else edge.isoformat(),
                began=self.began().isoformat(),
                rows=sum(page.rows for page in told),
                columns=columns,
                found={name: item for page in told for name, item in page.found.items()},
                odd=dict(sum((Counter(page.odd) for page in told), Counter())),
            )
        )
        window.saved = edge
        window.files.append(path)

    def forget(self, window: Window) -> None:
        """Remove the files of a window that is read from its beginning again."""
        for path in window.files:
            path.unlink(missing_ok=True)
        window.files, window.saved = [], window.start


def before(at: pd.Timestamp | None, other: pd.Timestamp | None) -> bool:
    """Tell whether a place may lie before another."""
    return other is None or at is None or at < other


def between(scan: Scan, start: pd.Timestamp | None, end: pd.Timestamp | None) -> Expression:
    """Write the bound of a window."""
    created = scan.sort[0].field
    if end is None:  # "not before": a case without the time is here, and nowhere else
        return TRUE if start is None else negate(Compare(created, "lt", start))
    until = Compare(created, "lt", end)
    return until if start is None else all_of([Compare(created, "gte", start), until])


def _parted(pages: Sequence[Page]) -> tuple[list[Page], list[Page]]:
    """Part the rows that share the last creation time, of which more may come, from the others."""
    last = next(text for text in reversed(pages[-1].columns["created_at"]) if text is not None)
    before, tied = [], []
    for page in pages:
        rows = range(page.rows)
        same = [text == last for text in page.columns["created_at"]]
        before.append(taken(page, [row for row in rows if not same[row]]))
        tied.append(taken(page, [row for row in rows if same[row]]))
    return before, [page for page in tied if page.rows]


def cut(page: Page, end: pd.Timestamp) -> Page:
    """Leave out the rows that belong to the next window."""
    created = [None if text is None else moment(text) for text in page.columns["created_at"]]
    return taken(page, [row for row, at in enumerate(created) if at is None or at < end])
