"""One pass in, all its rows out, read by as many hands as pay.

A pass begins as one walk. Once it has shown to be long, and the service to be slow to answer
rather than short of requests, more readers join: whoever is idle takes the later half of what
the slowest has before it. So the result is cut into half-open windows of `created_at`, which
no update can change; the last one is "not before the cut", so that a case without the time is
in exactly one.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.errors import ServiceError
from casesearch_pd.query.expr import TRUE, Compare, Expression, all_of, negate
from casesearch_pd.reading.checkpoint import Saved, gaps
from casesearch_pd.reading.walk import Trail, changed, followed, moment, pages, steady, taken
from casesearch_pd.sources.pace import Halted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from casesearch_pd.reading.checkpoint import Checkpoint
    from casesearch_pd.reading.columns import Columns
    from casesearch_pd.sources.contract import Page, Scan, Source
    from casesearch_pd.sources.pace import Run

__all__ = ["Book", "Crew", "Window"]

_ALONE = 8  # pages that one reader walks before others are asked to join
_WORKERS = 8  # readers, unless the user says otherwise
_CPU = 0.04  # seconds a page below which it is this machine that is slow, not the service
_PAGES_A_FILE = 20  # pages between two files of a checkpoint
_WORTH = 3  # pages of which the later half is worth a walk, and so a request, of its own
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


class Crew:
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
    """

    def __init__(
        self,
        source: Source,
        run: Run,
        *,
        workers: int | None,
        open_columns: Callable[[], Columns],
        on_page: Callable[[Window, Page], None],
        book: Book | None = None,
    ) -> None:
        self.windows: list[Window] = []
        self._source, self._run, self._workers = source, run, workers
        self._open_columns, self._on_page, self._book = open_columns, on_page, book
        self._lock = threading.Lock()
        self._waiting: list[Window] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._latest: pd.Timestamp | None = None
        self._pages = 0
        self._worth = _WORTH * source.page_size  # rows

    def read(self, scans: Sequence[Scan]) -> None:
        """Read all scans into `windows`, in the order of the scans and of the time.

        Raises
        ------
        ServiceError
            What ended a window; the other readers finish theirs first.
        """
        for part, scan in enumerate(scans):
            self.windows += self._windows(part, scan)
        self._waiting = [window for window in self.windows if not window.done]
        try:
            self._work()
            self._wait()
        except Halted:
            pass  # another reader failed, and says why
        except BaseException:
            self._run.halt.set()  # whoever waits for leave to send is woken
            raise
        finally:
            self._wait()
        if self._failures:
            raise self._failures[0]
        self._prove()

    def _wait(self) -> None:
        for thread in self._threads:
            thread.join()

    def _prove(self) -> None:
        """Walk again, by place, where one case came as another left: the count stands still."""
        for part in sorted({window.part for window in self.windows}):
            these = [one for one in self.windows if one.part == part and one.followed]
            if these and self._moved(these):
                for window in these:
                    window.trail, window.done = Trail(window.scan, seeking=True), False
                    self._walk(window)

    def _moved(self, windows: Sequence[Window]) -> bool:
        """Tell whether a case may have come into a part of the result while it was walked."""
        first = windows[0]
        if len(windows) == 1 and first.end is None and steady(first.trail):
            return False
        since = min(one.trail.as_of for one in windows if one.trail.as_of is not None)
        return changed(self._source, first.base, since, self._run) > 0

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

    def _filled(self, part: int, scan: Scan, saved: Saved) -> Window:
        start, end = saved.window
        window = Window(
            scan, scan, self._open_columns(), start=start, end=end, part=part, done=True
        )
        window.columns.add(saved.page())
        return window

    def _narrowed(
        self, scan: Scan, start: pd.Timestamp | None, end: pd.Timestamp | None
    ) -> Scan | None:
        where = self._source.narrow(scan.where, _between(scan, start, end))
        return None if where is None else replace(scan, where=where)

    def _work(self) -> None:
        while (window := self._take()) is not None:
            try:
                self._walk(window)
            except ServiceError as error:
                window.error = error
                self._failures.append(error)

    def _walk(self, window: Window) -> None:
        for page in pages(self._source, window.trail, self._run):
            self._keep(window, page)
            if self._run.halt.is_set():
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
                page, window.done = _cut(page, window.end), True
            window.columns.add(page)
            self._pages += 1
            self._on_page(window, page)
        if self._book is not None:
            if window.files and _before(window.at, window.saved):
                self._book.forget(window)
            window.log.append(page)
            # A page that was cut stands beyond the end: what is behind it is another window's.
            if len(window.log) >= _PAGES_A_FILE and not window.done:
                self._book.save(window, whole=False)

    # --- sharing ------------------------------------------------------------------------------

    def _hire(self) -> None:
        """Ask others to join, if the service is what takes the time."""
        wanted = self._wanted()
        self._pages += 1  # once is enough
        window = self.windows[0]
        short = window.counted is not None and window.counted - window.trail.rows < self._worth
        if wanted == 1 or short or not window.trail.seekable:
            return
        self._latest = self._newest()
        for number in range(1, wanted):
            thread = threading.Thread(target=self._help, name=f"cases-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _wanted(self) -> int:
        latency = self._run.busy / max(1, self._run.requests)
        if self._workers is not None:
            return self._workers
        if latency < _CPU or latency * self._source.rate <= 1:
            return 1
        return math.ceil(min(_WORKERS, latency * self._source.rate))

    def _newest(self) -> pd.Timestamp | None:
        scan = self.windows[0].base
        newest = replace(
            scan, sort=(replace(scan.sort[0], descending=True),), fields=scan.fields[:1]
        )
        told = self._source.page(newest, None, self._run).columns.get("created_at") or [None]
        return moment(told[0])

    def _help(self) -> None:
        try:
            self._work()
        except Halted:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where the user is
            self._failures.append(error)
            self._run.halt.set()

    def _take(self) -> Window | None:
        with self._lock:
            if self._failures or self._run.halt.is_set():
                return None
            if self._waiting:
                return self._waiting.pop(0)
            return self._half()

    def _half(self) -> Window | None:
        """Take the later half of what is the longest way to go."""
        latest = self._latest
        if latest is None:
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


def _before(at: pd.Timestamp | None, other: pd.Timestamp | None) -> bool:
    return other is None or at is None or at < other


def _between(scan: Scan, start: pd.Timestamp | None, end: pd.Timestamp | None) -> Expression:
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


def _cut(page: Page, end: pd.Timestamp) -> Page:
    """Leave out the rows that belong to the next window."""
    created = [None if text is None else moment(text) for text in page.columns["created_at"]]
    return taken(page, [row for row, at in enumerate(created) if at is None or at < end])
