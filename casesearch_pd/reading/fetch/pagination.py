"""Where a walk is and how it went: the place that it can begin anew at, and what it has seen.

`created_at` is that place: no update can change it. Rows that come twice, because a walk began
anew at the time of its last row, are left out here if they are the same.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import InvalidRequestError, InvalidResponseError, ServiceError
from casesearch_pd.query.expressions import Compare, fields_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from casesearch_pd.sources.base import Page, Scan, Source
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "STUCK",
    "ScanState",
    "followed_cursors",
    "iter_pages",
    "limit_reached",
    "parse_timestamp",
    "result_changed",
    "take_rows",
    "unchanged_during_scan",
]

STUCK = 3  # new beginnings at one place
_FIXED = {"case_id", "created_at"}  # what no update can change
_WIRE = len("2026-03-14T09:30:00.000Z")


@dataclass
class ScanState:
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
    seeking
        Whether pages are asked for by their place, because the count moved on the way.
    fresh
        Whether rows came since the walk last began anew.
    origin
        Where the first page ended.
    first
        How many rows it had.
    came
        How many rows came, those that came twice counted twice.
    rewinds
        Whether it may begin at the beginning again; not where rows were handed on already.
    dated
        Whether the rows tell when they were updated.
    late
        Whether a row was created or updated after the first page.
    """

    scan: Scan
    position: pd.Timestamp | None = None
    rows: int = 0
    total: int | None = None
    as_of: pd.Timestamp | None = None
    pages: int = 0
    seeking: bool = False
    fresh: bool = True
    origin: pd.Timestamp | None = None
    first: int = 0
    came: int = 0
    rewinds: bool = True
    dated: bool = False
    late: bool = False
    _edge: dict[str, list[Any]] = field(default_factory=dict)  # the cases at the position
    _stuck: int = 0  # new beginnings that brought no new row
    _rewound: int = 0  # new beginnings at the beginning

    def note(self, page: Page) -> Page:
        """Move on by one page; leave out the rows of it that came already, just as they are."""
        if self.as_of is None:
            self.as_of, self.total = page.served_at, page.total
        self.pages += 1
        self.came += page.rows
        self._see_changes(page)
        ids = page.columns.get("case_id", [])
        again = self._again(ids)
        self.rows += len(ids) - len(again)
        if len(again) == len(ids):
            return self._without(page, again)
        self.fresh = True
        fresh = self._without(page, again)
        if self.seekable and "created_at" in page.columns:
            self._stand_at(page)
        return fresh

    def _again(self, ids: list[str]) -> set[int]:
        if self._edge.keys().isdisjoint(ids):
            return set()
        return {row for row, case in enumerate(ids) if case in self._edge}

    def _without(self, page: Page, again: set[int]) -> Page:
        same = {row for row in again if _row(page, row) == self._edge[page.columns["case_id"][row]]}
        return (
            take_rows(page, [row for row in range(page.rows) if row not in same]) if same else page
        )

    def _see_changes(self, page: Page) -> None:
        told = page.columns.get("updated_at")
        self.dated = told is not None
        # Both services write times in UTC; whatever else looks late is looked at.
        if self.late or self.as_of is None:
            return
        last = _latest(told or [])
        if last >= self.as_of.isoformat()[: len("2026-03-14T")]:
            at = parse_timestamp(last)
            self.late = at is not None and at >= self.as_of

    def _stand_at(self, page: Page) -> None:
        created, ids = page.columns["created_at"], page.columns["case_id"]
        last = next((text for text in reversed(created) if text is not None), None)
        at = None if last is None else parse_timestamp(last)
        if at is None:
            return
        if self.origin is None:
            self.origin, self.first = at, self.rows
        if self.position is None or at > self.position:
            self.position, self._edge = at, {}
        alone = created[-1] == last and created.count(last) == 1  # as a rule
        rows = [len(created) - 1] if alone else range(len(created))
        tied = [row for row in rows if created[row] == last]
        self._edge |= {ids[row]: _row(page, row) for row in tied}

    @property
    def seekable(self) -> bool:
        """Whether the walk goes by creation time, upwards."""
        first = self.scan.sort[0] if self.scan.sort else None
        return first is not None and first.field.column == "created_at" and not first.descending

    @property
    def patient(self) -> bool:
        """Whether another new beginning may bring new rows."""
        return self.fresh or self._stuck < STUCK

    def onward(self, source: Source) -> Scan | None:
        """Write the scan that goes on from the position; None if there is none."""
        if self.position is None:
            return None
        bound = Compare(self.scan.sort[0].field, "gte", self.position)
        narrowed = source.with_bound(self.scan.where, bound)
        return None if narrowed is None else replace(self.scan, where=narrowed)

    def anew(self, source: Source, why: ServiceError) -> Scan:
        """Begin anew at the position, or, where a filter has no room for a place, at the beginning.

        Raises
        ------
        ServiceError
            `why`, if nothing new came since it was last tried.
        """
        if not self.patient or (self.position is None and self.came):
            raise why
        self._stuck = 0 if self.fresh else self._stuck + 1
        self.fresh = False
        scan = self.onward(source)
        if scan is not None:
            return scan
        self._rewound += 1
        if self._rewound > STUCK or (self.came and not self.rewinds):
            raise why
        return self.from_the_beginning()

    def from_the_beginning(self) -> Scan:
        """Forget the position."""
        self.position, self.rows, self._edge = None, 0, {}
        return self.scan


def take_rows(page: Page, rows: Sequence[int]) -> Page:
    """Take some rows of a page, in the order given."""
    if isinstance(rows, range) and rows.step == 1:
        cut = slice(rows.start, rows.stop)
        columns = {name: values[cut] for name, values in page.columns.items()}
    else:
        columns = {name: [values[row] for row in rows] for name, values in page.columns.items()}
    return replace(page, rows=len(rows), columns=columns, invalid=page.invalid if len(rows) else {})


def _latest(told: list[Any]) -> str:
    """Find the last of the texts that are times, as both services write them, in UTC."""
    try:
        return str(max(told, default=""))
    except TypeError:  # some are missing
        return max((text for text in told if isinstance(text, str)), default="")


def _row(page: Page, row: int) -> list[Any]:
    return [values[row] for values in page.columns.values()]


def parse_timestamp(text: Any) -> pd.Timestamp | None:
    """Read an instant as services write it; None if it is none."""
    if isinstance(text, str) and len(text) == _WIRE and text[-1] == "Z":
        with suppress(ValueError):  # the usual form, by the quick way; once a page adds up
            return pd.Timestamp(datetime.fromisoformat(text)).as_unit("us")
    try:
        at = pd.to_datetime(text, format="ISO8601", utc=True)
        return None if pd.isna(at) else pd.Timestamp(at).floor("us").as_unit("us")
    except (ValueError, TypeError, OverflowError):
        return None


def followed_cursors(trail: ScanState) -> bool:
    """Tell whether cursors were trusted from page to page, so that rows may have been skipped."""
    counted = trail.total is not None and trail.as_of is not None
    return counted and trail.position is not None and not trail.seeking and trail.pages > 1


def unchanged_during_scan(trail: ScanState) -> bool:
    """Tell, from the rows alone, whether no case came into the result while it was walked.

    One that came was created or updated since, and where no update can change what the filter
    says, created. Where neither the rows nor the filter tell, only the service can.
    """
    fixed = {item.column for item in fields_of(trail.scan.where)} <= _FIXED
    created = trail.position is not None and trail.position >= (trail.as_of or trail.position)
    return (fixed and not created) or (trail.dated and not trail.late)


def iter_pages(source: Source, trail: ScanState, run: ReadContext) -> Iterator[Page]:
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
        If the service does not answer; `InvalidResponseError`, if its cursors lead nowhere.
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


def result_changed(source: Source, scan: Scan, since: pd.Timestamp, run: ReadContext) -> int:
    """Count the cases of a scan that were created or updated since a time."""
    updated = source.schema.find("updated_at")
    if updated is None:
        return 0  # nobody can tell, and walking twice would not either
    where = source.with_bound(scan.where, Compare(updated, "gte", since))
    return sys.maxsize if where is None else source.count(replace(scan, where=where), run)


_EMPTY = 20  # empty pages that are followed before the first row
_MOVED = InvalidResponseError("the count moved on the way: rows may be skipped")
_FELL = InvalidResponseError("the count moved on the way: rows may have been skipped")
_EARLY = InvalidResponseError(
    "the service stopped before all the cases were shown that it had counted"
)


def _follow(
    source: Source, trail: ScanState, scan: Scan, run: ReadContext
) -> Generator[Page, None, ServiceError | None]:
    """Yield pages until the end, or until the cursors cannot be trusted: return why."""
    way = _Way(source.name, trail.position)
    cursor: str | None = None
    while True:
        try:
            page = source.page(scan, cursor, run)
        except InvalidRequestError as error:
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
            return InvalidResponseError(
                f"{source.name} hands out page cursors that lead nowhere; report it to the "
                "service, and narrow the filter meanwhile"
            )


def _moved(source: Source, trail: ScanState, rise: int, run: ReadContext) -> ServiceError:
    """Seek from now on; tell whether what came until now may have gaps."""
    if trail.seeking:
        return _MOVED  # within a long tie: where it began, nothing is before it
    trail.seeking = True
    assert trail.as_of is not None, "a count moves from page to page"
    if not trail.rewinds or (
        rise > 0 and result_changed(source, trail.scan, trail.as_of, run) <= rise
    ):
        return _MOVED
    return _FELL


def _early(source: Source, trail: ScanState, way: _Way, page: Page) -> bool:
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


def limit_reached(page: Page, by: Sequence[str], rows: int, limit: int) -> bool:
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
