"""One walk in, its pages out: cursors are followed to the end, and lost ways found again.

A cursor is opaque, and may be an offset inside the service: when it expires, repeats or leads
to an empty page, or when the count falls between two pages, rows may have been skipped. The
walk then begins anew at the creation time of its last row, where ties come twice and nothing
is lost. `created_at` makes that possible: no update can change it. A walk in any other order
has no such place, and its trouble is an error.
"""

from __future__ import annotations

import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from tqdm.auto import tqdm

from casesearch_pd.errors import BadAnswerError, RefusedError, ServiceError
from casesearch_pd.query.expr import Compare

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from casesearch_pd.sources.contract import Page, Scan, Source
    from casesearch_pd.sources.pace import Run

__all__ = ["Progress", "Trail", "moment", "pages", "past", "progress_bar"]

Progress = Literal["auto"] | bool


@dataclass
class Trail:
    """Where a walk is, and how it went.

    Parameters
    ----------
    scan
        What is walked.
    position
        The creation time of the last row; None before the first.
    rows
        How many rows came, those that came twice counted once.
    total
        How many cases matched at the first page, where the service counts.
    as_of
        The service's clock at the first page.
    pages
        How many pages came.
    moved
        Whether the count changed on the way.
    fresh
        Whether rows came since the walk last began anew.
    origin
        Where the first page ended.
    came
        How many rows came, those that came twice counted twice.
    """

    scan: Scan
    position: pd.Timestamp | None = None
    rows: int = 0
    total: int | None = None
    as_of: pd.Timestamp | None = None
    pages: int = 0
    moved: bool = False
    fresh: bool = True
    origin: pd.Timestamp | None = None
    came: int = 0
    _edge: set[str] = field(default_factory=set)  # the cases at the position

    def note(self, page: Page) -> None:
        """Move on by one page."""
        if self.as_of is None:
            self.as_of, self.total = page.served_at, page.total
        self.pages += 1
        self.came += page.rows
        ids = page.columns.get("case_id", [])
        new = [case for case in ids if case not in self._edge]
        self.rows += len(new)
        if not new:
            return
        self.fresh = True
        created = page.columns.get("created_at")
        if self.seekable and created is not None:
            self._stand_at(created, ids)

    def _stand_at(self, created: list[Any], ids: list[str]) -> None:
        last = next((text for text in reversed(created) if text is not None), None)
        at = None if last is None else moment(last)
        if at is None:
            return
        if self.origin is None:
            self.origin = at
        if self.position is None or at > self.position:
            self.position, self._edge = at, set()
        self._edge |= {case for case, text in zip(ids, created, strict=True) if text == last}

    @property
    def seekable(self) -> bool:
        """Whether the walk goes by creation time, upwards."""
        first = self.scan.sort[0] if self.scan.sort else None
        return first is not None and first.field.column == "created_at" and not first.descending

    def anew(self, source: Source, why: ServiceError) -> Scan:
        """Write the scan that goes on from the position.

        Raises
        ------
        ServiceError
            `why`, if there is no position, or nothing came since it was last tried.
        """
        if self.position is None or not self.fresh:
            raise why
        self.fresh = False
        bound = Compare(self.scan.sort[0].field, "gte", self.position)
        narrowed = source.narrow(self.scan.where, bound)
        if narrowed is None:
            raise why
        return replace(self.scan, where=narrowed)


def moment(text: Any) -> pd.Timestamp | None:
    """Read an instant as services write it; None if it is none."""
    try:
        return (
            pd.Timestamp(pd.to_datetime(text, format="ISO8601", utc=True)).floor("us").as_unit("us")
        )
    except (ValueError, TypeError, OverflowError):
        return None


def pages(source: Source, trail: Trail, run: Run) -> Iterator[Page]:
    """Follow one walk to the end.

    Parameters
    ----------
    source
        Who is asked.
    trail
        Where the walk is; moves on with each page.
    run
        The read that it belongs to.

    Raises
    ------
    ServiceError
        If the service does not answer; `BadAnswerError`, if its cursors lead nowhere.
    """
    scan, lost = trail.scan, None
    while True:
        came = trail.came
        trouble = yield from _follow(source, trail, scan, run)
        if lost is not None and trail.came == came:
            raise lost  # not even the last row is there: this is no end to believe in
        if trouble is None or (trouble is _EARLY and not trail.fresh):
            return
        lost = None if trouble in (_EARLY, _FELL) else trouble
        scan = trail.anew(source, trouble)


_EMPTY = 20  # empty pages that are followed before the first row
_FELL = BadAnswerError("the count fell on the way: rows may have been skipped")
_EARLY = BadAnswerError("the service stopped before all the cases were shown that it had counted")


def _follow(
    source: Source, trail: Trail, scan: Scan, run: Run
) -> Generator[Page, None, ServiceError | None]:
    """Yield pages until the end, or until the cursors cannot be trusted: return why."""
    way = _Way(source.name)
    cursor: str | None = None
    while True:
        try:
            page = source.page(scan, cursor, run)
        except RefusedError as error:
            if cursor is None:
                raise
            return error  # it expired, or the service ends its results here
        trail.moved = trail.moved or way.moved(page)
        if way.fell(page) and trail.seekable:
            return _FELL
        way.go(page)
        trail.note(page)
        yield page
        cursor = page.cursor
        if cursor is None:
            return _EARLY if way.early and trail.seekable else None
        if way.lost(page, standing=trail.position is not None):
            return BadAnswerError(
                f"{source.name} hands out page cursors that lead nowhere; report it to the "
                "service, and narrow the filter meanwhile"
            )


@dataclass
class _Way:
    """The cursors and counts of one walk between two new beginnings."""

    name: str
    count: int | None = None
    rows: int = 0
    seen: set[str] = field(default_factory=set)

    def moved(self, page: Page) -> bool:
        return None not in (self.count, page.total) and page.total != self.count

    def fell(self, page: Page) -> bool:
        return self.count is not None and page.total is not None and page.total < self.count

    def go(self, page: Page) -> None:
        self.rows += page.rows
        self.count = page.total if page.total is not None else self.count

    @property
    def early(self) -> bool:
        return self.count is not None and 0 < self.rows < self.count

    def lost(self, page: Page, *, standing: bool) -> bool:
        """Tell whether a cursor was seen before, or leads on from an empty page.

        Before the first row there is no place to begin anew at, so empty pages are followed.
        """
        again = page.cursor in self.seen
        self.seen.add(str(page.cursor))
        return again or (not page.rows and (standing or len(self.seen) > _EMPTY))


def past(page: Page, by: Sequence[str], rows: int, limit: int) -> bool:
    """Tell whether the limit is reached, and the last row is not tied with later ones.

    Rows that share a sort value come in an order of the service's own; ours goes on by
    case_id, so the whole tie must be here before the head of it is taken.

    Parameters
    ----------
    page
        The last page.
    by
        The columns of the order.
    rows
        How many rows came, this page included.
    limit
        How many are wanted.
    """
    if rows < limit:
        return False
    if by[-1] == "case_id":  # the service breaks ties as we do
        return True
    edge, last = max(limit - 1 - (rows - page.rows), 0), page.rows - 1
    return any(_differ(page.columns.get(name), edge, last) for name in by)


def _differ(values: list[Any] | None, edge: int, last: int) -> bool:
    return values is not None and edge <= last and values[edge] != values[last]


@contextmanager
def progress_bar(progress: Progress, source: Source) -> Iterator[Any]:
    """Show how far a read is: where somebody can see it, and only if it takes a while."""
    auto = progress == "auto"
    disable = None if auto and not _in_notebook() else progress is False
    bar = tqdm(
        desc=f"reading {source.name}", unit=" cases", disable=disable, delay=0.5 if auto else 0
    )
    with closing(bar):
        yield bar


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")  # a notebook has loaded it already
    return shell is not None and hasattr(shell.get_ipython(), "kernel")
