"""Read the pages of one scan, and recover where its cursors or its count cannot be trusted.

`iter_pages` is the page loop; each of its branches is one recovery step. All of them rest on the
same idea: a scan in the order of ``created_at``, which no update changes, can be resumed at any
of its rows ("seek") by asking for ``created_at >= the last row``. The rows of that time come
twice then; `ScanState` remembers them and drops those that are the same.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import InvalidRequestError, InvalidResponseError, ServiceError
from casesearch_pd.query.expressions import Compare, fields_of
from casesearch_pd.sources.transport.timestamps import parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from casesearch_pd.sources.base import Page, Scan, Source
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "ScanState",
    "concat_pages",
    "count_changes",
    "is_limit_reached",
    "iter_pages",
    "take_rows",
]

_IMMUTABLE = {"case_id", "created_at"}  # the columns that no update can change


def iter_pages(source: Source, state: ScanState, context: ReadContext) -> Iterator[Page]:
    """Yield the pages of a scan to its end.

    Raises
    ------
    ServiceError
        If the service does not answer; `InvalidResponseError` if its cursors do not advance.
    """
    paging = _Paging(source, state, context)
    while paging.scan is not None:
        try:
            page = source.read_page(paging.scan, paging.cursor, context)
        except InvalidRequestError as error:
            paging.recover_from_rejected_cursor(error)
            continue
        if paging.total_changed(page):
            paging.recover_from_changed_total(page)
            continue
        paging.record_page(page)
        yield state.add(page)
        if page.cursor is None:
            paging.finish_or_recover(page)
        elif state.uses_seek and state.position != paging.start:
            paging.seek_next_page()
        elif paging.is_stuck(page):
            paging.recover_from_stuck_cursor()
        else:
            paging.cursor = page.cursor


class _Paging:
    """The next request of one scan, and what was received since its last restart."""

    def __init__(self, source: Source, state: ScanState, context: ReadContext) -> None:
        self.source, self.state, self.context = source, state, context
        self._idle_restarts = 0  # that brought no new row
        self._rewinds = 0
        self._start(state.scan)

    def _start(self, scan: Scan | None, failure: ServiceError | None = None) -> None:
        self.scan = scan  # None at the end
        self.cursor: str | None = None
        self.start = self.state.position
        self.failure = failure  # the error that made this restart necessary
        self._rows_before = self.state.rows_received
        self._rows = 0
        self._total: int | None = None
        self._cursors: set[str] = set()

    def record_page(self, page: Page) -> None:
        """Count a page, and remember its total."""
        self._rows += page.rows
        self._total = page.total if page.total is not None else self._total

    @property
    def _can_restart(self) -> bool:
        return self.state.has_progressed or self._idle_restarts < self.context.tuning.max_restarts

    def _restart(self, reason: ServiceError, failure: ServiceError | None = None) -> None:
        """Seek to the position, or start over if the filter takes no bound.

        `reason` is raised if no restart is left, `failure` if the next scan is empty.
        """
        state = self.state
        if not self._can_restart or (state.position is None and state.rows_received):
            raise reason
        self._idle_restarts = 0 if state.has_progressed else self._idle_restarts + 1
        state.has_progressed = False
        scan = state.seek_scan(self.source)
        if scan is None:
            self._rewinds += 1
            rewindable = state.can_rewind or not state.rows_received
            if self._rewinds > self.context.tuning.max_restarts or not rewindable:
                raise reason
            scan = state.rewind()
        self._start(scan, failure)

    # A cursor may have expired, or the service may end a long result with an error. Either way
    # the rows after the last one can be had by seek. Without a cursor the request itself is wrong.
    def recover_from_rejected_cursor(self, error: InvalidRequestError) -> None:
        """Restart at the position after the service rejected a cursor."""
        if self.cursor is None:
            raise error
        self._restart(error, failure=error)

    def is_stuck(self, page: Page) -> bool:
        """Return whether the cursor was returned before, or follows an empty page.

        Before the first row there is no position to restart at; some empty pages are followed.
        """
        repeated = page.cursor in self._cursors
        self._cursors.add(str(page.cursor))
        too_many = len(self._cursors) > self.context.tuning.max_empty_pages
        return repeated or (not page.rows and (self.state.position is not None or too_many))

    def recover_from_stuck_cursor(self) -> None:
        """Restart at the position after a repeated or cyclic cursor, or an empty page."""
        error = InvalidResponseError(
            f"{self.source.name} returned a pagination cursor that does not advance; report it to "
            "the service, and narrow the filter until it is fixed"
        )
        self._restart(error, failure=error)

    def total_changed(self, page: Page) -> bool:
        """Return whether the total differs from the page before, and seeking is possible."""
        if self._total is None or page.total in (None, self._total):
            return False
        return self._can_restart and self.state.seek_scan(self.source) is not None

    # Inside the service a cursor may be an offset. If a case before it disappears, all later rows
    # move up by one and the next page skips one, so that this page is dropped and the scan
    # continues by seek. What was read before may have such a gap too, unless the total only rose,
    # and by no more than what was created or updated since the first page: then no case can have
    # disappeared, and the scan need not start over.
    def recover_from_changed_total(self, page: Page) -> None:
        """Seek from now on, from the beginning if rows may have been skipped already."""
        state, reason = self.state, _total_changed_error()
        within_tie = state.uses_seek  # it began at this very time: no row is before it
        state.uses_seek = True
        if within_tie or not state.can_rewind or self._only_grew(page):
            self._restart(reason)
        else:
            self._start(state.rewind())

    def _only_grew(self, page: Page) -> bool:
        growth = (page.total or 0) - (self._total or 0)
        since = self.state.as_of
        assert since is not None, "the total changes from one page to the next"
        return growth > 0 and (
            count_changes(self.source, self.state.scan, since, self.context) <= growth
        )

    def seek_next_page(self) -> None:
        """Ask for the next page by the time of the last row instead of its cursor."""
        self._restart(_total_changed_error())

    def finish_or_recover(self, page: Page) -> None:
        """End the scan, or restart it where the service stopped before the end."""
        stopped_early = self.state.is_seekable and self._stopped_early(page)
        nothing_new = self.state.rows_received == self._rows_before
        if self.failure is not None and nothing_new:
            raise self.failure  # not even the last row came again: this end proves nothing
        if stopped_early and self.state.has_progressed:
            self._restart(
                InvalidResponseError(
                    "the service stopped before it returned all the cases that it had counted; "
                    "read again later, or narrow the filter"
                )
            )
        else:
            self._start(None)

    # Persona ends a result that is longer than what it pages through without an error: the last
    # page is full and has no cursor.
    def _stopped_early(self, page: Page) -> bool:
        """Return whether fewer rows came than counted or, without a count, the page is full."""
        if self._total is not None:
            return 0 < self._rows < self._total
        full = page.rows >= self.source.page_size
        return full and self.state.seek_scan(self.source) is not None


def _total_changed_error() -> InvalidResponseError:
    return InvalidResponseError(
        "the total changed during pagination, so rows may have been skipped; read again later, or "
        "narrow the filter"
    )


@dataclass
class ScanState:
    """The position in a scan, the rows that are tied there, and the totals."""

    scan: Scan  # from its beginning
    uses_seek: bool = False  # each page is requested by the time of the last row
    can_rewind: bool = True  # False where rows were delivered already
    position: pd.Timestamp | None = None  # the creation time of the last row
    rows: int = 0  # repeated ones counted once
    rows_received: int = 0  # repeated ones counted each time
    pages: int = 0
    total: int | None = None  # the count on the first page
    as_of: pd.Timestamp | None = None  # the service's clock at the first page
    has_progressed: bool = True  # new rows came since the scan was last started
    first_page_end: pd.Timestamp | None = None  # the position after the first page
    first_page_rows: int = 0
    has_update_times: bool = False  # the rows have their time of update
    has_changes: bool = False  # a row was created or updated after the first page
    _ties: dict[str, list[Any]] = field(default_factory=dict)  # rows at the position, by id

    @property
    def is_seekable(self) -> bool:
        """Whether the scan is in ascending order of creation time."""
        first = self.scan.sort[0] if self.scan.sort else None
        return first is not None and first.field.column == "created_at" and not first.descending

    @property
    def may_have_skipped(self) -> bool:
        """Whether rows may have been skipped although the total never changed."""
        has_total = self.total is not None and self.as_of is not None
        return has_total and self.position is not None and not self.uses_seek and self.pages > 1

    @property
    def is_stable(self) -> bool:
        """Whether the rows prove that no case entered the result during the scan.

        Only a case that was created or updated after the first page can enter; if no update
        changes what the filter compares, only a new one.
        """
        immutable = {item.column for item in fields_of(self.scan.where)} <= _IMMUTABLE
        created = self.position is not None and self.position >= (self.as_of or self.position)
        return (immutable and not created) or (self.has_update_times and not self.has_changes)

    def add(self, page: Page) -> Page:
        """Advance by one page, and return it without the rows that were received before."""
        if self.as_of is None:
            self.as_of, self.total = page.served_at, page.total
        self.pages += 1
        self.rows_received += page.rows
        self._note_changes(page)
        ids = page.columns.get("case_id", [])
        repeated = self._repeated_rows(ids)
        self.rows += len(ids) - len(repeated)
        new_page = self._without_ties(page, repeated)
        if len(repeated) < len(ids):
            self.has_progressed = True
            if self.is_seekable and "created_at" in page.columns:
                self._advance(page)
        return new_page

    def _repeated_rows(self, ids: list[str]) -> set[int]:
        if self._ties.keys().isdisjoint(ids):
            return set()
        return {row for row, case_id in enumerate(ids) if case_id in self._ties}

    def _without_ties(self, page: Page, repeated: set[int]) -> Page:
        """Drop the repeated rows that are the same; a newer version of a row stays."""
        ids = page.columns.get("case_id", [])
        same = {row for row in repeated if _cells(page, row) == self._ties[ids[row]]}
        return (
            take_rows(page, [row for row in range(page.rows) if row not in same]) if same else page
        )

    def _note_changes(self, page: Page) -> None:
        updated = page.columns.get("updated_at")
        self.has_update_times = updated is not None
        if self.has_changes or self.as_of is None:
            return
        # Both services write UTC, so that texts compare like times; only a text of the same hour
        # or later is worth parsing.
        latest = _latest_text(updated or [])
        if latest >= self.as_of.isoformat()[: len("2026-03-14T")]:
            timestamp = parse_timestamp(latest)
            self.has_changes = timestamp is not None and timestamp >= self.as_of

    # All rows of one creation time are ties: a seek returns every one of them again, and a page
    # may end in the middle of them. They are remembered until the position moves past them.
    def _advance(self, page: Page) -> None:
        created, ids = page.columns["created_at"], page.columns["case_id"]
        last = next((text for text in reversed(created) if text is not None), None)
        timestamp = None if last is None else parse_timestamp(last)
        if timestamp is None:
            return
        if self.first_page_end is None:
            self.first_page_end, self.first_page_rows = timestamp, self.rows
        if self.position is None or timestamp > self.position:
            self.position, self._ties = timestamp, {}
        # As a rule the last row has its time alone; only then need no other row be compared.
        single = created[-1] == last and created.count(last) == 1
        rows = [len(created) - 1] if single else range(len(created))
        self._ties |= {ids[row]: _cells(page, row) for row in rows if created[row] == last}

    def seek_scan(self, source: Source) -> Scan | None:
        """Return the scan from the position on; None if there is none."""
        if self.position is None:
            return None
        bound = Compare(self.scan.sort[0].field, "gte", self.position)
        where = source.with_bound(self.scan.where, bound)
        return None if where is None else replace(self.scan, where=where)

    def rewind(self) -> Scan:
        """Forget the position, and return the scan from its beginning."""
        self.position, self.rows, self._ties = None, 0, {}
        return self.scan


def count_changes(source: Source, scan: Scan, since: pd.Timestamp, context: ReadContext) -> int:
    """Return how many cases of a scan were created or updated since a time."""
    updated = source.schema.find("updated_at")
    if updated is None:
        return 0  # without updated_at, changes cannot be found
    where = source.with_bound(scan.where, Compare(updated, "gte", since))
    return sys.maxsize if where is None else source.count(replace(scan, where=where), context)


def take_rows(page: Page, rows: Sequence[int]) -> Page:
    """Return some rows of a page, in the given order."""
    if isinstance(rows, range) and rows.step == 1:
        part = slice(rows.start, rows.stop)
        columns = {name: values[part] for name, values in page.columns.items()}
    else:
        columns = {name: [values[row] for row in rows] for name, values in page.columns.items()}
    return replace(page, rows=len(rows), columns=columns, invalid=page.invalid if len(rows) else {})


def concat_pages(pages: Sequence[Page]) -> Page:
    """Return the rows of several pages as one page."""
    first = pages[0]
    if len(pages) == 1:
        return first
    names = dict.fromkeys(name for page in pages for name in page.columns)
    columns = {
        name: [value for page in pages for value in page.columns.get(name) or [None] * page.rows]
        for name in names
    }
    return replace(
        first,
        rows=sum(page.rows for page in pages),
        columns=columns,
        new_fields={name: item for page in pages for name, item in page.new_fields.items()},
        invalid=dict(sum((Counter(page.invalid) for page in pages), Counter())),
    )


def _latest_text(texts: list[Any]) -> str:
    try:
        return str(max(texts, default=""))
    except TypeError:  # some are missing
        return max((text for text in texts if isinstance(text, str)), default="")


def _cells(page: Page, row: int) -> list[Any]:
    return [values[row] for values in page.columns.values()]


def is_limit_reached(page: Page, columns: Sequence[str], rows: int, limit: int) -> bool:
    """Return whether the limit is reached and the last row is not tied with later ones.

    The service orders rows with equal sort values in its own way, and this package by case_id;
    so the first rows of a tie are only known when all of the tie was received.
    """
    if rows < limit:
        return False
    if columns[-1] == "case_id":  # the service breaks ties in the same way
        return True
    last_index, last = max(limit - 1 - (rows - page.rows), 0), page.rows - 1
    return any(_differ(page.columns.get(name), last_index, last) for name in columns)


def _differ(values: list[Any] | None, index: int, last: int) -> bool:
    return values is not None and index <= last and values[index] != values[last]
