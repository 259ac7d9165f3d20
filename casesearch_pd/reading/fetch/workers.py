"""Read a result with several workers, each of which reads windows of creation time.

One worker begins. If the service is what takes the time, others join, and a worker that is idle
takes the later half of the longest remainder ("work stealing"). So no plan is needed of how
the cases are spread over time, and all workers are busy to the end.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from casesearch_pd.errors import ServiceError
from casesearch_pd.reading.fetch.pagination import (
    ScanState,
    count_changes,
    is_limit_reached,
    iter_pages,
    take_rows,
)
from casesearch_pd.reading.fetch.windows import (
    TimeWindow,
    may_match_undated,
    missing_windows,
    restrict_to_window,
    undated_scan,
)
from casesearch_pd.sources.transport.context import Cancelled
from casesearch_pd.sources.transport.timestamps import (
    EPOCH,
    MILLISECOND,
    MIN_TIME,
    parse_timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from casesearch_pd.reading.fetch.checkpoint import PassCheckpoint, SavedWindow, WindowFiles
    from casesearch_pd.reading.frames.columns import Columns
    from casesearch_pd.reading.progress import Bar
    from casesearch_pd.sources.base import Page, Scan, Source
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["Window", "WindowedReader", "useful_workers"]

_MAX_WORKERS = 8  # unless the user says otherwise
_MIN_LATENCY = 0.04  # seconds a request; below, this machine is slow and not the service
_JOIN_SECONDS = 0.5


def useful_workers(context: ReadContext, rate: float, max_workers: int | None) -> int:
    """Return how many workers are useful at a time.

    Within the time of one response, ``latency * rate`` requests may be sent; more workers than
    that would only wait for the rate limit. `max_workers` is the user's choice, or None.
    """
    if max_workers is not None:
        return max_workers
    latency = context.response_seconds / max(1, context.requests)
    concurrent = max(1.0, latency * rate)
    return 1 if latency < _MIN_LATENCY else math.ceil(min(_MAX_WORKERS, concurrent))


@dataclass(eq=False)
class Window:
    """A time window of one scan, and the rows of it that were read."""

    scan: Scan  # the scan without the window
    span: TimeWindow  # its end moves when the later half is given to another worker
    state: ScanState  # the state of the scan as it is sent
    columns: Columns
    part: int = 0  # the number of the scan among those of the pass
    estimate: float = 0.0  # the estimated rows, until the first page is received
    expected_rows: int | None = None  # the rows, if the service counted exactly these
    is_complete: bool = False  # there is nothing left to read
    is_at_limit: bool = False  # whether it is complete because a limit was reached
    files: WindowFiles | None = None  # the checkpoint of the window
    requested_window: TimeWindow = field(init=False)  # what the scan as it is sent covers

    def __post_init__(self) -> None:
        """Remember the window as requested."""
        self.requested_window = self.span

    @property
    def position(self) -> pd.Timestamp | None:
        """The creation time up to which the window is read."""
        return self.state.position or self.span.start

    @property
    def is_unrestricted(self) -> bool:
        """Whether it is requested without a bound of its own, so that its count is the scan's."""
        return self.state.scan == self.scan

    @property
    def may_have_skipped(self) -> bool:
        """Whether all was read and rows may have been skipped although no total changed."""
        return self.is_complete and not self.is_at_limit and self.state.may_have_skipped

    @property
    def missing(self) -> TimeWindow:
        """The part that is not read yet."""
        return TimeWindow(self.position, self.span.end)

    def add(self, page: Page) -> Page:
        """Add the rows of a page, and return it without those that are after the end."""
        if page.total is not None and self.state.pages == 1 and self.span == self.requested_window:
            self.expected_rows = page.total
        end, position = self.span.end, self.state.position
        if end is not None and position is not None and position >= end:
            page, self.is_complete = _rows_before(page, end), True
        self.columns.add(page)
        return page

    def rows_left(self, latest: pd.Timestamp) -> float:
        """Estimate the rows up to the newest case, by the count or by their density so far."""
        position, end, state = self.position, self.span.end or latest, self.state
        if self.is_complete or position is None or end - position < 2 * MILLISECOND:
            return 0.0
        if self.expected_rows is not None:
            return max(0.0, self.expected_rows - state.rows)
        # Without a start, the first page spans no known time; the density is that of the others.
        since = self.span.start or state.first_page_end or position
        rows = state.rows - (0 if self.span.start is not None else state.first_page_rows)
        if not rows or position <= since:
            return self.estimate
        return rows * ((end - position) / (position - since))

    def split(self, at: pd.Timestamp, later: ScanState, columns: Columns, rows: float) -> Window:
        """Leave the later half, of as many rows, to a new window, and return it."""
        self.span, span = self.span.split(at)
        self.expected_rows, self.estimate = None, rows
        return Window(self.scan, span, later, columns, part=self.part, estimate=rows)


def _rows_before(page: Page, end: pd.Timestamp) -> Page:
    """Return the rows of a page that are not in a later window."""
    created = [
        None if text is None else parse_timestamp(text) for text in page.columns["created_at"]
    ]
    before = TimeWindow(None, end)
    return take_rows(page, [row for row, at in enumerate(created) if before.contains(at)])


class WindowedReader:
    """Read the scans of one pass with several workers.

    `on_first_page` is called with the first page of each window. With a `limit` the only scan is
    in the order of the query and stops there (`is_at_limit`). `latest` is the creation time of the
    newest case, and `windows` are the windows in the order of the scans and of time.
    """

    def __init__(
        self,
        source: Source,
        context: ReadContext,
        *,
        bar: Bar,
        max_workers: int | None,
        new_columns: Callable[[], Columns],
        on_first_page: Callable[[Window, Page], None],
        limit: int | None = None,
        checkpoint: PassCheckpoint | None = None,
        latest: pd.Timestamp | None = None,
    ) -> None:
        self.windows: list[Window] = []
        self.latest = latest
        self.is_at_limit = False
        self._source, self._context, self._bar = source, context, bar
        self._max_workers = max_workers if limit is None else 1
        self._new_columns, self._on_first_page = new_columns, on_first_page
        self._limit, self._checkpoint = limit, checkpoint
        self._lock = threading.Lock()
        self._queue: list[Window] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._pages = 0
        self._can_share = True
        self._min_split_rows = context.tuning.min_split_pages * source.page_size

    def read(self, scans: Sequence[Scan]) -> None:
        """Read all scans into `windows`.

        Raises
        ------
        ServiceError
            What ended a window; the other workers finish theirs first.
        Cancelled
            If the read was cancelled.
        """
        for part, scan in enumerate(scans):
            self.windows += self._initial_windows(part, scan)
        self._queue = [window for window in self.windows if not window.is_complete]
        try:
            self._work()
            self._join_threads()
        except Cancelled:
            pass  # the user cancelled, or another worker failed, which is raised below
        except BaseException:
            self._context.cancel_event.set()  # wakes the workers that wait for a permit
            raise
        finally:
            self._join_threads()
        if self._failures:
            raise self._failures[0]
        self._context.raise_if_cancelled()
        self._can_share = False
        for part in range(len(scans)):
            self._read_undated(part)
            self._reread_if_skipped(part)

    def _join_threads(self) -> None:
        for thread in self._threads:
            while thread.is_alive():  # without a timeout, Ctrl-C would wait for the thread
                thread.join(_JOIN_SECONDS)

    def _initial_windows(self, part: int, scan: Scan) -> list[Window]:
        """Return the windows of a scan: one, or what a checkpoint has and the gaps between."""
        from_files = self._checkpoint.saved_windows(part) if self._checkpoint is not None else []
        missing = missing_windows(window.span for window in from_files) if from_files else []
        scans = [restrict_to_window(self._source, scan, span) for span in missing]
        if not from_files or None in scans or not self._can_read_undated(scan):
            # The filter takes no further condition: read all of it.
            return [self._window(part, scan, TimeWindow(), scan)]
        windows = [self._window_from_file(part, scan, window) for window in from_files]
        for span, narrow in zip(missing, scans, strict=True):
            assert narrow is not None, "no scan is None"
            windows.append(self._window(part, scan, span, narrow))
        return sorted(windows, key=lambda window: window.span.start or MIN_TIME)

    def _window(self, part: int, scan: Scan, span: TimeWindow, narrow: Scan) -> Window:
        window = Window(scan, span, ScanState(narrow), self._new_columns(), part=part)
        if self._checkpoint is not None:
            window.files = self._checkpoint.open_files(part, span)
        return window

    def _window_from_file(self, part: int, scan: Scan, file: SavedWindow) -> Window:
        window = Window(
            scan, file.span, ScanState(scan), self._new_columns(), part=part, is_complete=True
        )
        window.columns.add(file.page())
        return window

    def _work(self) -> None:
        while (window := self._take_window()) is not None:
            try:
                self._read_window(window)
            except ServiceError as error:
                self._failures.append(error)

    def _read_window(self, window: Window) -> None:
        for page in iter_pages(self._source, window.state, self._context):
            self._add(window, page)
            if self._context.cancel_event.is_set():
                return
            if window.is_complete:
                break
            if self._can_share and self._pages >= self._context.tuning.pages_before_workers:
                self._start_workers()
        window.is_complete = True
        if window.files is not None:
            window.files.finish(window.span.end)

    def _add(self, window: Window, page: Page) -> None:
        with self._lock:
            page = window.add(page)
            self._pages += 1
            if window.state.pages == 1:
                self._on_first_page(window, page)
            surplus = 0 if self._limit is None else max(0, window.state.rows - self._limit)
            self._bar.update(max(0, page.rows - surplus))
            if self._limit is not None and page.cursor is not None:
                self._stop_at_limit(window, page, self._limit)
        if window.files is not None:
            window.files.add(page, window.position, is_last=window.is_complete)

    def _stop_at_limit(self, window: Window, page: Page, limit: int) -> None:
        columns = [item.field.column for item in window.scan.sort]
        if is_limit_reached(page, columns, window.state.rows, limit):
            window.is_complete = window.is_at_limit = self.is_at_limit = True

    def _start_workers(self) -> None:
        """Start more workers, if they are useful and enough is left to read."""
        number = useful_workers(self._context, self._source.rate, self._max_workers)
        self._can_share = False  # this is decided once
        first = self.windows[0]
        expected_rows = math.inf if first.expected_rows is None else first.expected_rows
        is_short = expected_rows - first.state.rows < self._min_split_rows
        if number > 1 and not is_short and first.state.is_seekable:
            # The first helper alone requests the newest case: its time bounds the last window,
            # and the other workers need not wait for it.
            self._start_thread(1, lambda: self._start_helpers(number))

    def _start_thread(self, number: int, work: Callable[[], None]) -> None:
        name = f"cases-{number}"
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _start_helpers(self, number: int) -> None:
        self.latest = self.latest or self._newest_creation()
        for index in range(2, number):
            self._start_thread(index, self._work)
        self._work()

    def _newest_creation(self) -> pd.Timestamp | None:
        scan = self.windows[0].scan
        descending = (replace(scan.sort[0], descending=True),)
        newest = replace(scan, sort=descending, fields=scan.fields[:1])
        page = self._source.read_page(newest, None, self._context)
        return parse_timestamp((page.columns.get("created_at") or [None])[0])

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the thread of the user
            self._failures.append(error)
            self._context.cancel_event.set()

    def _take_window(self) -> Window | None:
        with self._lock:
            if self._failures or self._context.cancel_event.is_set():
                return None
            return self._queue.pop(0) if self._queue else self._split_longest()

    # The remainder of a window is split by time, as if its cases were spread evenly. A wrong
    # guess makes unequal halves, which are split again as soon as a worker is idle. The owner of
    # the window is not disturbed: it continues with its cursor and stops at the new end, and the
    # rows of its last page that are after it are dropped.
    def _split_longest(self) -> Window | None:
        """Take the later half of the window with the longest remainder; None if all are short."""
        latest = self.latest
        if latest is None or not self.windows:
            return None
        longest = max(self.windows, key=lambda window: window.rows_left(latest))
        rows, start = longest.rows_left(latest), longest.position
        if rows < self._min_split_rows or start is None:
            return None
        middle = (start + ((longest.span.end or latest) - start) / 2).floor("ms")
        if middle <= start:
            return None
        scan, (_, later) = longest.scan, longest.span.split(middle)
        narrow = restrict_to_window(self._source, scan, later)
        if narrow is None or not self._can_read_undated(scan):
            return None
        half = longest.split(middle, ScanState(narrow), self._new_columns(), rows / 2)
        if self._checkpoint is not None:
            half.files = self._checkpoint.open_files(half.part, half.span)
        self.windows.insert(self.windows.index(longest) + 1, half)
        return half

    def _read_undated(self, part: int) -> None:
        """Read the cases without a creation time, if the first window ended before them."""
        windows = [window for window in self.windows if window.part == part]
        first = windows[0]
        was_not_split = first.span == first.requested_window and not first.is_unrestricted
        if first.span.end is None or was_not_split or not may_match_undated(first.scan):
            return
        total = first.state.total if first.is_unrestricted else None
        if total is not None and sum(window.columns.rows for window in windows) >= total:
            return  # all that were counted were received
        scan = undated_scan(self._source, first.scan, first.span.end)
        if scan is not None:
            for page in iter_pages(self._source, ScanState(scan), self._context):
                first.columns.add(page)
                self._bar.update(page.rows)

    def _can_read_undated(self, scan: Scan) -> bool:
        return not may_match_undated(scan) or undated_scan(self._source, scan, EPOCH) is not None

    # If one case leaves a result as another one enters it, the total never changes, and an offset
    # inside the cursor skips a row. Only a case that was created or updated since the first page
    # can have entered. If there is none, nothing was skipped; if there is, or the service has to
    # be asked and says so, the windows are read again by seek, which skips nothing.
    def _reread_if_skipped(self, part: int) -> None:
        """Read windows again where cursors may have skipped rows unnoticed."""
        suspects = [
            window for window in self.windows if window.part == part and window.may_have_skipped
        ]
        if suspects and self._may_have_changed(suspects):
            for window in suspects:
                window.state, window.is_complete = (
                    ScanState(window.state.scan, uses_seek=True),
                    False,
                )
                self._read_window(window)

    def _may_have_changed(self, windows: Sequence[Window]) -> bool:
        """Return whether a case may have entered the windows while they were read."""
        first = windows[0]
        if len(windows) == 1 and first.span.end is None and first.state.is_stable:
            return False
        since = min(window.state.as_of for window in windows if window.state.as_of is not None)
        return count_changes(self._source, first.scan, since, self._context) > 0
