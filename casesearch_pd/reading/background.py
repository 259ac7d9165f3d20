"""A read in a thread of its own, which can be watched and cancelled.

The thread does everything that a read does, discovery and planning too, so that no caller waits
for a request. A read ends complete, with a frame and no error; failed, with an error, and with
the rows that were read, if any; or cancelled, with a `ReadInterrupted`. It is never both complete
and cancelled: a cancel that comes after its last check changes nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from traceback import clear_frames
from typing import TYPE_CHECKING, Self

from casesearch_pd.errors import CaseSearchError, ReadInterrupted, capture_warnings
from casesearch_pd.reading.explain import Plan
from casesearch_pd.reading.fetch.pipeline import read_frame
from casesearch_pd.reading.options import ReadOptions
from casesearch_pd.reading.plan import plan_read
from casesearch_pd.reading.provenance import Provenance
from casesearch_pd.reading.recent_reads import remember_read
from casesearch_pd.sources.transport.context import (
    Cancelled,
    ReadContext,
    monotonic_time,
    use_context,
)

if TYPE_CHECKING:
    import pandas as pd

    from casesearch_pd.reading.options import Query
    from casesearch_pd.sources.base import Source

__all__ = ["BackgroundRead", "Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """The progress of a read at one moment."""

    rows: int = 0  # of the current pass so far
    total: int | None = None  # rows of one pass; None as long as it is not known
    pages: int = 0  # of all passes, and of what was read again
    current_pass: int = 0  # from 1; 0 before the first
    passes: int = 0  # 0 before they are planned
    requests: int = 0  # without discovery
    waiting: float = 0.0  # seconds until the rate limit or a retry permits the next request
    seconds: float = 0.0  # from the start of the read to its end or to now


class BackgroundRead:
    """A read in a thread of its own.

    Parameters
    ----------
    source
        The source to read.
    query
        What to read.
    options
        How to read it. ``progress`` and ``on_error`` have no effect: the progress is here, and
        so is what was read before an error.

    Attributes
    ----------
    frame
        The whole result; or, after a cancel or an error, the part that was read. None before
        the end, and if the read ended before the columns were known.
    error
        What ended the read, unless it is complete: `ReadInterrupted` after a cancel, or what
        `read_cases` raises. No error escapes from the thread.
    plan
        The plan, as soon as there is one.
    warnings
        The warnings of the read, in the end.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> from casesearch_pd.reading.background import BackgroundRead
    >>> from casesearch_pd.reading.options import Query
    >>> with cs.LocalCases(cases=250) as local:
    ...     read = BackgroundRead(local.connect_cases(), Query(columns=["case_id"])).start()
    ...     read.wait(timeout=60)
    True
    >>> len(read.frame), read.progress.rows, read.progress.total, read.error
    (250, 250, 250, None)
    """

    def __init__(self, source: Source, query: Query, options: ReadOptions | None = None) -> None:
        self.frame: pd.DataFrame | None = None
        self.error: BaseException | None = None
        self.plan: Plan | None = None
        self.warnings: tuple[str, ...] = ()
        self._counter = _ProgressCounter()
        # The caller may change its mapping of filters later.
        self._source, self._query = source, replace(query, filters=dict(query.filters))
        self._options = replace(options or ReadOptions(), progress=self._counter, on_error="raise")
        self._context, self._end = ReadContext(), threading.Event()
        self._start_time = self._duration = 0.0
        # A daemon thread, so that the process can exit while it waits for a response.
        self._thread = threading.Thread(target=self._run, name="cases-read", daemon=True)

    def start(self) -> Self:
        """Start the read, and return at once.

        Raises
        ------
        RuntimeError
            If it was started before.
        """
        self._thread.start()
        return self

    def cancel(self) -> None:
        """End the read at once, requests in flight and waiting for the rate limit included.

        A read that is not started yet
        will end as it begins; one that has ended is not affected.
        """
        if not self.done:
            self._context.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds for the end, and return whether the read has ended.

        A read that is never started does not end.
        """
        return self._end.wait(timeout)

    @property
    def done(self) -> bool:
        """Whether the read has ended, in whatever way."""
        return self._end.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether the read has ended because it was cancelled."""
        return self.done and self._context.cancelled and isinstance(self.error, ReadInterrupted)

    @property
    def progress(self) -> Snapshot:
        """The progress so far; cheap enough to be read many times a second."""
        context = self._context
        rows, total, pages, current_pass, passes = self._counter.counts()
        return Snapshot(
            rows=rows,
            total=total,
            pages=pages,
            current_pass=current_pass,
            passes=passes,
            requests=context.requests,
            waiting=context.seconds_until_next_request,
            seconds=self._seconds(),
        )

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled else "done" if self.done else "running"
        return f"{type(self).__name__}({self._source.name}: {state}, {self._counter.rows} rows)"

    def _seconds(self) -> float:
        if self.done or not self._start_time:
            return self._duration
        return monotonic_time() - self._start_time

    def _run(self) -> None:
        self._start_time = monotonic_time()
        try:
            with capture_warnings() as messages, use_context(self._context):
                try:
                    self.frame = self._read()
                finally:
                    self.warnings = tuple(messages)
        except BaseException as error:  # noqa: BLE001 - the caller finds it in `error`
            self.error, self.frame = error, getattr(error, "partial", None)
            _release_memory(error)
        finally:
            self._duration = monotonic_time() - self._start_time
            self._end.set()

    def _read(self) -> pd.DataFrame:
        try:
            self._context.start_timeout(self._options.timeout)
            plan = plan_read(self._source, self._query)
            self.plan = Plan(plan)
            frame = read_frame(plan, self._context, self._options)
        except (Cancelled, CaseSearchError) as error:
            if not self._context.cancelled:
                raise
            # What a cancel breaks off raises all kinds of errors, and none of them matters.
            raise ReadInterrupted("cancelled before anything was read") from error
        remember_read(frame, Provenance.from_attrs(frame))
        return frame


def _release_memory(error: BaseException | None) -> None:
    """Clear the variables that tracebacks keep alive: all rows but those of the partial frame."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


class _ProgressCounter:
    """A progress bar that only counts, for `BackgroundRead.progress`."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.rows = self._pages = self._current_pass = self._passes = 0
        self._lock = threading.Lock()

    def begin(self, number: int, passes: int) -> None:
        """Count the rows of a pass from 0."""
        with self._lock:
            self._current_pass, self._passes, self.rows = number, passes, 0

    def update(self, rows: int) -> None:
        """Count a page."""
        with self._lock:
            self.rows += rows
            self._pages += 1

    def counts(self) -> tuple[int, int | None, int, int, int]:
        """Return rows, total, pages, the current pass and the number of passes."""
        with self._lock:
            total, passes = self.total, self._passes
            total_per_pass = None if total is None or not passes else total // passes
            return self.rows, total_per_pass, self._pages, self._current_pass, passes
