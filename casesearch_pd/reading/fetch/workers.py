"""Read a result with several workers, each of which reads windows of creation time.

One worker begins. If the service is what takes the time, others join, and whoever has nothing to
do takes the later half of the longest remainder ("work stealing"). So no plan is needed of how
the cases are spread over time, and all workers are busy to the end.
"""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.errors import ServiceError
from casesearch_pd.reading.fetch.pagination import ScanState, count_changes, iter_pages
from casesearch_pd.reading.fetch.windows import TimeWindow, Window, gaps, restrict, undated
from casesearch_pd.sources.transport.context import Cancelled
from casesearch_pd.sources.transport.timestamps import parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.reading.fetch.checkpoint import PassCheckpoint, SavedWindow
    from casesearch_pd.reading.frames.columns import Columns
    from casesearch_pd.sources.base import Page, Scan, Source
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["WindowedReader", "useful_workers"]

_MAX_WORKERS = 8  # unless the user says otherwise
_MIN_LATENCY = 0.04  # seconds a request; below, this machine is slow and not the service
_JOIN_SECONDS = 0.5
_FIRST = pd.Timestamp.min.tz_localize("UTC")


def useful_workers(context: ReadContext, rate: float, max_workers: int | None) -> int:
    """Return how many workers are useful at a time.

    Within the time of one response, ``latency * rate`` requests may be sent; more workers than
    that would only wait for the rate limit.

    Parameters
    ----------
    context
        The read so far.
    rate
        The requests that may be sent, per second.
    max_workers
        The number that the user chose; None for as many as useful, at most 8.
    """
    if max_workers is not None:
        return max_workers
    latency = context.response_seconds / max(1, context.requests)
    concurrent = max(1.0, latency * rate)
    return 1 if latency < _MIN_LATENCY else math.ceil(min(_MAX_WORKERS, concurrent))


class WindowedReader:
    """Read the scans of one pass with several workers.

    Parameters
    ----------
    source
        The source to read.
    context
        The read that the requests belong to.
    max_workers
        The maximum number of workers; None for as many as useful.
    new_columns
        Returns empty columns for a window.
    on_page
        Called with each page, by one worker at a time.
    checkpoint
        The checkpoint of the pass, if there is one.
    latest
        The creation time of the newest case, if it is known already.

    Attributes
    ----------
    windows
        The windows that were read, in the order of the scans and of time.
    """

    def __init__(
        self,
        source: Source,
        context: ReadContext,
        *,
        max_workers: int | None,
        new_columns: Callable[[], Columns],
        on_page: Callable[[Window, Page], None],
        checkpoint: PassCheckpoint | None = None,
        latest: pd.Timestamp | None = None,
    ) -> None:
        self.windows: list[Window] = []
        self.latest = latest
        self._source, self._context, self._max_workers = source, context, max_workers
        self._new_columns, self._on_page, self._checkpoint = new_columns, on_page, checkpoint
        self._lock = threading.Lock()
        self._queue: list[Window] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._pages = 0
        self._can_share = True
        self._min_rows = context.tuning.min_split_pages * source.page_size

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
        self._queue = [window for window in self.windows if not window.done]
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

    # --- windows --------------------------------------------------------------------------

    def _initial_windows(self, part: int, scan: Scan) -> list[Window]:
        """Return the windows of a scan: one, or what a checkpoint has and the gaps between."""
        saved = self._checkpoint.saved_windows(part) if self._checkpoint is not None else []
        missing = gaps(one.span for one in saved) if saved else []
        scans = [restrict(self._source, scan, self._where(scan, span)) for span in missing]
        if not saved or None in scans:  # the filter has no room for a window: read all of it
            return [self._window(part, scan, TimeWindow(), scan)]
        windows = [self._window_from_file(part, scan, one) for one in saved]
        for span, narrow in zip(missing, scans, strict=True):
            assert narrow is not None, "no scan is None"
            windows.append(self._window(part, scan, span, narrow))
        return sorted(windows, key=lambda window: window.span.start or _FIRST)

    def _where(self, scan: Scan, span: TimeWindow) -> Expression:
        return span.where(scan.sort[0].field)

    def _window(self, part: int, scan: Scan, span: TimeWindow, narrow: Scan) -> Window:
        window = Window(scan, span, ScanState(narrow), self._new_columns(), part=part)
        if self._checkpoint is not None:
            window.files = self._checkpoint.open_files(part, span)
        return window

    def _window_from_file(self, part: int, scan: Scan, saved: SavedWindow) -> Window:
        window = Window(
            scan, saved.span, ScanState(scan), self._new_columns(), part=part, done=True
        )
        window.columns.add(saved.page())
        return window

    # --- the work of one worker -----------------------------------------------------------

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
            if window.done:
                break
            if self._can_share and self._pages >= self._context.tuning.pages_before_workers:
                self._start_workers()
        window.done = True
        if window.files is not None:
            window.files.finish(window)

    def _add(self, window: Window, page: Page) -> None:
        with self._lock:
            page = window.add(page)
            self._pages += 1
            self._on_page(window, page)
        if window.files is not None:
            window.files.add(window, page)

    # --- sharing the work -----------------------------------------------------------------

    def _start_workers(self) -> None:
        """Start more workers, if they are useful and enough is left to read."""
        number = useful_workers(self._context, self._source.rate, self._max_workers)
        self._can_share = False  # this is decided once
        first = self.windows[0]
        short = first.expected is not None and first.expected - first.state.rows < self._min_rows
        if number > 1 and not short and first.state.is_seekable:
            # Only the first helper waits for the newest case, whose time bounds the last window.
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
    # guess makes unequal halves, which are split again as soon as somebody is idle. The owner of
    # the window is not disturbed: it goes on with its cursor and stops at the new end, and the
    # rows of its last page that are behind it are dropped.
    def _split_longest(self) -> Window | None:
        """Take the later half of the window with the longest remainder; None if all are short."""
        latest = self.latest
        if latest is None or not self.windows:
            return None
        longest = max(self.windows, key=lambda window: window.rows_left(latest))
        rows, start = longest.rows_left(latest), longest.position
        if rows < self._min_rows or start is None:
            return None
        middle = (start + ((longest.span.end or latest) - start) / 2).floor("ms")
        if middle <= start:
            return None
        scan, (_, later) = longest.scan, longest.span.split(middle)
        narrow = restrict(self._source, scan, self._where(scan, later))
        if narrow is None or undated(self._source, scan, middle) is None:
            return None
        half = longest.split(middle, ScanState(narrow), self._new_columns(), rows / 2)
        if self._checkpoint is not None:
            half.files = self._checkpoint.open_files(half.part, half.span)
        self.windows.insert(self.windows.index(longest) + 1, half)
        return half

    # --- proof of completeness ------------------------------------------------------------

    def _read_undated(self, part: int) -> None:
        """Read the cases without a creation time, if the first window ended before them."""
        windows = [window for window in self.windows if window.part == part]
        first = windows[0]
        if first.span.end is None or (first.span == first.requested and not first.is_unrestricted):
            return
        total = first.state.total if first.is_unrestricted else None
        if total is not None and sum(window.columns.rows for window in windows) >= total:
            return  # all that were counted are here
        scan = undated(self._source, first.scan, first.span.end)
        if scan is not None:
            for page in iter_pages(self._source, ScanState(scan), self._context):
                first.columns.add(page)
                self._on_page(first, page)

    # If one case leaves a result as another one enters it, the total never changes, and an offset
    # inside the cursor skips a row. Only a case that was created or updated since the first page
    # can have entered. If there is none, nothing was skipped; if there is, or the service has to
    # be asked and says so, the windows are read again by seek, which skips nothing.
    def _reread_if_skipped(self, part: int) -> None:
        """Read windows again where cursors may have skipped rows unnoticed."""
        suspects = [one for one in self.windows if one.part == part and one.relied_on_cursors]
        if suspects and self._changed(suspects):
            for window in suspects:
                window.state, window.done = ScanState(window.state.scan, seeking=True), False
                self._read_window(window)

    def _changed(self, windows: Sequence[Window]) -> bool:
        """Return whether a case may have entered the windows while they were read."""
        first = windows[0]
        if len(windows) == 1 and first.span.end is None and first.state.is_stable:
            return False
        since = min(one.state.as_of for one in windows if one.state.as_of is not None)
        return count_changes(self._source, first.scan, since, self._context) > 0
