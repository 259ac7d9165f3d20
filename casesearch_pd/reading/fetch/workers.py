"""What a read has cost so far in, how many readers pay for the rest out."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.errors import ServiceError
from casesearch_pd.reading.fetch.checkpoint import SavedWindow, gaps
from casesearch_pd.reading.fetch.pagination import (
    ScanState,
    iter_pages,
    parse_timestamp,
    result_changed,
    unchanged_during_scan,
)
from casesearch_pd.reading.fetch.windows import Window, between, precedes, rows_before
from casesearch_pd.sources.transport.context import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casesearch_pd.reading.fetch.checkpoint import CheckpointWriter
    from casesearch_pd.reading.frames.columns import Columns
    from casesearch_pd.sources.base import Page, Scan, Source
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["WindowedReader", "useful_workers"]

_WORKERS = 8  # readers, unless the user says otherwise
_CPU = 0.04  # seconds a request below which it is this machine that is slow, not the service


def useful_workers(run: ReadContext, rate: float, workers: int | None) -> int:
    """Tell how many readers may wait for answers at one time.

    As many requests are under way as are sent in the time that one answer takes; more readers
    would wait for leave to send.

    Parameters
    ----------
    run
        The read so far.
    rate
        Requests a second that may be sent.
    workers
        Readers at most, as the user wants it; None for as many as pay.
    """
    if workers is not None:
        return workers
    latency = run.response_seconds / max(1, run.requests)
    under_way = latency * rate
    return 1 if latency < _CPU else math.ceil(min(_WORKERS, max(1.0, under_way)))


_ALONE = 8  # pages that one reader walks before others are asked to join
_MOMENT = 0.5  # seconds
_PAGES_A_FILE = 20  # pages between two files of a checkpoint
_WORTH = 3  # pages of which the later half is worth a walk, and so a request, of its own


class WindowedReader:
    """The readers of one pass.

    Parameters
    ----------
    source
        Who is asked.
    run
        The read that this belongs to.
    workers
        Readers at most; None for as many as pay.
    open_columns
        Makes empty columns for a window.
    on_page
        Told of each page, under a lock.
    book
        Where finished windows are saved, and taken up from.
    latest
        When the newest case was created, if that is known already.
    """

    def __init__(
        self,
        source: Source,
        run: ReadContext,
        *,
        workers: int | None,
        open_columns: Callable[[], Columns],
        on_page: Callable[[Window, Page], None],
        book: CheckpointWriter | None = None,
        latest: pd.Timestamp | None = None,
    ) -> None:
        self.windows: list[Window] = []
        self.latest = latest
        self._source, self._run, self._workers = source, run, workers
        self._open_columns, self._on_page, self._book = open_columns, on_page, book
        self._lock = threading.Lock()
        self._waiting: list[Window] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._pages = 0
        self._worth = _WORTH * source.page_size  # rows

    def read(self, scans: Sequence[Scan]) -> None:
        """Read all scans into `windows`, in the order of the scans and of the time.

        Raises
        ------
        ServiceError
            What ended a window; the other readers finish theirs first.
        Halted
            If the user stopped the read.
        """
        for part, scan in enumerate(scans):
            self.windows += self._windows(part, scan)
        self._waiting = [window for window in self.windows if not window.done]
        try:
            self._work()
            self._wait()
        except Cancelled:
            pass  # the user wanted it, or another reader failed, and says why
        except BaseException:
            self._run.cancel_event.set()  # whoever waits for leave to send is woken
            raise
        finally:
            self._wait()
        if self._failures:
            raise self._failures[0]
        self._run.raise_if_cancelled()
        self._prove()

    def _wait(self) -> None:
        for thread in self._threads:
            while thread.is_alive():  # a Ctrl-C just before an endless join would wait for it
                thread.join(_MOMENT)

    def _prove(self) -> None:
        """Walk again, by place, where one case came as another left: the count stands still."""
        for part in sorted({window.part for window in self.windows}):
            these = [one for one in self.windows if one.part == part and one.followed]
            if these and self._moved(these):
                for window in these:
                    window.trail, window.done = ScanState(window.scan, seeking=True), False
                    self._walk(window)

    def _moved(self, windows: Sequence[Window]) -> bool:
        """Tell whether a case may have come into a part of the result while it was walked."""
        first = windows[0]
        if len(windows) == 1 and first.end is None and unchanged_during_scan(first.trail):
            return False
        since = min(one.trail.as_of for one in windows if one.trail.as_of is not None)
        return result_changed(self._source, first.base, since, self._run) > 0

    def _windows(self, part: int, scan: Scan) -> list[Window]:
        """Begin a scan: whole, or with what a checkpoint holds and the gaps between."""
        saved = self._book.of(part) if self._book is not None else []
        asked = {gap: self._narrowed(scan, *gap) for gap in gaps(saved)} if saved else {}
        if not saved or None in asked.values():
            return [Window(scan, scan, self._open_columns(), part=part)]
        held = [self._filled(part, scan, one) for one in saved]
        missing = [
            Window(scan, narrow, self._open_columns(), start=start, end=end, part=part, saved=start)
            for (start, end), narrow in asked.items()
            if narrow is not None
        ]
        first = pd.Timestamp.min.tz_localize("UTC")
        return sorted([*held, *missing], key=lambda window: window.start or first)

    def _filled(self, part: int, scan: Scan, saved: SavedWindow) -> Window:
        start, end = saved.window
        window = Window(
            scan, scan, self._open_columns(), start=start, end=end, part=part, done=True
        )
        window.columns.add(saved.page())
        return window

    def _narrowed(
        self, scan: Scan, start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> Scan | None:
        where = self._source.with_bound(scan.where, between(scan, start, end))
        return None if where is None else replace(scan, where=where)

    def _work(self) -> None:
        while (window := self._take()) is not None:
            try:
                self._walk(window)
            except ServiceError as error:
                window.error = error
                self._failures.append(error)

    def _walk(self, window: Window) -> None:
        for page in iter_pages(self._source, window.trail, self._run):
            self._keep(window, page)
            if self._run.cancel_event.is_set():
                return
            if window.done:
                break
            if self._pages == _ALONE:
                self._hire()
        window.done = True
        if self._book is not None:
            self._book.save(window, whole=True)

    def _keep(self, window: Window, page: Page) -> None:
        with self._lock:
            if page.total is not None and window.trail.pages == 1 and not window.halved:
                window.counted = page.total  # of what was asked, which a half is less than
            at = window.trail.position
            if window.end is not None and at is not None and at >= window.end:
                page, window.done = rows_before(page, window.end), True
            window.columns.add(page)
            self._pages += 1
            self._on_page(window, page)
        if self._book is not None:
            if window.files and precedes(window.at, window.saved):
                self._book.forget(window)
            window.log.append(page)
            # A page that was cut stands beyond the end: what is behind it is another window's.
            if len(window.log) >= _PAGES_A_FILE and not window.done:
                self._book.save(window, whole=False)

    # --- sharing ------------------------------------------------------------------------------

    def _hire(self) -> None:
        """Ask others to join, if the service is what takes the time."""
        wanted = useful_workers(self._run, self._source.rate, self._workers)
        self._pages += 1  # once is enough
        window = self.windows[0]
        short = window.counted is not None and window.counted - window.trail.rows < self._worth
        if wanted == 1 or short or not window.trail.seekable:
            return
        self._join(1, lambda: self._recruit(wanted))  # nobody else waits for what it asks

    def _join(self, number: int, work: Callable[[], None]) -> None:
        name = f"cases-{number}"
        thread = threading.Thread(target=self._help, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _recruit(self, wanted: int) -> None:
        """Ask how far there is to go, let the others join, and join."""
        self.latest = self.latest or self._newest()
        for number in range(2, wanted):
            self._join(number, self._work)
        self._work()

    def _newest(self) -> pd.Timestamp | None:
        scan = self.windows[0].base
        newest = replace(
            scan, sort=(replace(scan.sort[0], descending=True),), fields=scan.fields[:1]
        )
        told = self._source.page(newest, None, self._run).columns.get("created_at") or [None]
        return parse_timestamp(told[0])

    def _help(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where the user is
            self._failures.append(error)
            self._run.cancel_event.set()

    def _take(self) -> Window | None:
        with self._lock:
            if self._failures or self._run.cancel_event.is_set():
                return None
            if self._waiting:
                return self._waiting.pop(0)
            return self._half()

    def _half(self) -> Window | None:
        """Take the later half of what is the longest way to go."""
        latest = self.latest
        if latest is None or not self.windows:
            return None
        victim = max(self.windows, key=lambda window: window.left(latest))
        left = victim.left(latest)
        if left < self._worth or victim.at is None:
            return None
        middle = (victim.at + ((victim.end or latest) - victim.at) / 2).floor("ms")
        asked = self._narrowed(victim.base, middle, victim.end)
        if middle <= victim.at or asked is None:
            return None
        half = Window(
            victim.base,
            asked,
            self._open_columns(),
            start=middle,
            end=victim.end,
            part=victim.part,
            guess=left / 2,
            saved=middle,
        )
        victim.end, victim.halved = middle, True
        victim.counted, victim.guess = None, left / 2
        self.windows.insert(self.windows.index(victim) + 1, half)
        return half
