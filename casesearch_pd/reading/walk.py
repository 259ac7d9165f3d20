"""One walk in, its pages out: cursors are followed to the end, and lost ways found again.

A cursor is opaque, and may be an offset inside the service: when it expires, repeats or leads
to an empty page, rows may have been skipped. The walk then begins anew at the creation time of
its last row, where ties come twice and nothing is lost. `created_at` makes that possible: no
update can change it. A walk in any other order has no such place, and its trouble is an error.

When the count moves between two pages, no cursor is trusted any more: every further page is
asked for by its place. A fall begins at the beginning, because a case that left may have been
made up for by one that came, pages ago. A rise does so too, unless there are only as many
changed cases as the count has risen.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import BadAnswerError, RefusedError, ServiceError
from casesearch_pd.query.expr import Compare

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    import pandas as pd

    from casesearch_pd.reading.trail import Trail
    from casesearch_pd.sources.contract import Page, Scan, Source
    from casesearch_pd.sources.run import Run

__all__ = ["changed", "pages", "past"]


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
        if lost is not None and trail.came == came and trouble in (None, _EARLY):
            raise lost  # not even the last row is there: this is no end to believe in
        if trouble is None or (trouble is _EARLY and not trail.fresh):
            return
        lost = None if trouble in (_EARLY, _MOVED, _FELL) else trouble
        scan = trail.from_the_beginning() if trouble is _FELL else trail.anew(source, trouble)


def changed(source: Source, scan: Scan, since: pd.Timestamp, run: Run) -> int:
    """Count the cases of a scan that were created or updated since a time."""
    updated = source.schema.find("updated_at")
    if updated is None:
        return 0  # nobody can tell, and walking twice would not either
    where = source.narrow(scan.where, Compare(updated, "gte", since))
    return sys.maxsize if where is None else source.count(replace(scan, where=where), run)


_EMPTY = 20  # empty pages that are followed before the first row
_MOVED = BadAnswerError("the count moved on the way: rows may be skipped")
_FELL = BadAnswerError("the count moved on the way: rows may have been skipped")
_EARLY = BadAnswerError("the service stopped before all the cases were shown that it had counted")


def _follow(
    source: Source, trail: Trail, scan: Scan, run: Run
) -> Generator[Page, None, ServiceError | None]:
    """Yield pages until the end, or until the cursors cannot be trusted: return why."""
    way = _Way(source.name, trail.position)
    cursor: str | None = None
    while True:
        try:
            page = source.page(scan, cursor, run)
        except RefusedError as error:
            if cursor is None:
                raise
            return error  # it expired, or the service ends its results here
        if way.moved(page) and trail.patient and trail.onward(source) is not None:
            return _moved(source, trail, way.rise(page), run)
        way.go(page)
        yield trail.note(page)
        cursor = page.cursor
        if cursor is None:
            early = trail.seekable and _early(source, trail, way, page)
            return _EARLY if early else None
        if trail.seeking and trail.position != way.start:
            return _MOVED
        if way.lost(page, standing=trail.position is not None):
            return BadAnswerError(
                f"{source.name} hands out page cursors that lead nowhere; report it to the "
                "service, and narrow the filter meanwhile"
            )


def _moved(source: Source, trail: Trail, rise: int, run: Run) -> ServiceError:
    """Seek from now on; tell whether what came until now may have gaps."""
    if trail.seeking:
        return _MOVED  # within a long tie: where it began, nothing is before it
    trail.seeking = True
    assert trail.as_of is not None, "a count moves from page to page"
    if not trail.rewinds or (rise > 0 and changed(source, trail.scan, trail.as_of, run) <= rise):
        return _MOVED
    return _FELL


def _early(source: Source, trail: Trail, way: _Way, page: Page) -> bool:
    """Tell whether the service stopped before its count, or, without one, after a full page.

    A result that is longer than what the service lets page through ends so.
    """
    if way.count is not None:
        return 0 < way.rows < way.count
    return page.rows >= source.page_size and trail.onward(source) is not None


@dataclass
class _Way:
    """The cursors and counts of one walk between two new beginnings."""

    name: str
    start: pd.Timestamp | None = None
    count: int | None = None
    rows: int = 0
    seen: set[str] = field(default_factory=set)

    def moved(self, page: Page) -> bool:
        return None not in (self.count, page.total) and page.total != self.count

    def rise(self, page: Page) -> int:
        return (page.total or 0) - (self.count or 0)

    def go(self, page: Page) -> None:
        self.rows += page.rows
        self.count = page.total if page.total is not None else self.count

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
