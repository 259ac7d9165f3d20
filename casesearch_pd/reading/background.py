"""What `read_cases` takes in, the same read in a thread of its own out: watched, and cancelled.

All that a read does goes on in its thread, discovery and planning too, so nobody waits for a
request. A read ends in one of three ways: whole, with a frame and no error; broken, with an
error, and with the rows that came if any did; or cancelled, which is a `ReadInterrupted`. It is
whole or cancelled, never both: a cancel that comes after the last look at it changes nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, Self

from casesearch_pd.errors import CaseSearchError, ReadInterrupted, capture_warnings
from casesearch_pd.reading.api import bind_arguments, read_routed, routed
from casesearch_pd.reading.explain import Plan
from casesearch_pd.sources.transport.context import (
    Cancelled,
    ReadContext,
    monotonic_time,
    use_context,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from casesearch_pd.sources.base import Source

__all__ = ["BackgroundRead", "Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """How far a read is at one moment.

    Parameters
    ----------
    rows
        Rows of this pass that came.
    total
        Rows that one pass will have; None as long as nobody knows.
    pages
        Pages that came, of all passes, and of what was looked at again.
    this_pass
        The number of the pass, from 1; 0 before the first.
    passes
        How many there are; 0 before they are planned.
    requests
        Requests that were sent, discovery aside.
    waiting
        Seconds until the rate limit, or a pause after a fault, lets the next request go; 0 while
        one is under way.
    seconds
        Since the read was started, until it ended.
    """

    rows: int = 0
    total: int | None = None
    pages: int = 0
    this_pass: int = 0
    passes: int = 0
    requests: int = 0
    waiting: float = 0.0
    seconds: float = 0.0


class BackgroundRead:
    """A read in a thread of its own, which can be watched and cancelled.

    Parameters
    ----------
    source
        Where to read.
    filters
        What `read_cases` takes by name: ``where``, its options, and filters. ``progress`` and
        ``on_error`` have no say: the read is watched here, and what broke off is here too.

    Attributes
    ----------
    frame
        The whole result; or, after a cancel or a break, what there is of it. None before the
        end, and if the read ended before it knew the columns.
    error
        What ended the read, if it is not whole: `ReadInterrupted` after a cancel, or what
        `read_cases` raises. No error escapes the thread.
    plan
        The plan, as soon as there is one.
    said
        What it warned of.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> from casesearch_pd.reading.background import BackgroundRead
    >>> with cs.LocalCases(cases=250) as local:
    ...     read = BackgroundRead(local.connect_cases(), {"columns": ["case_id"]}).start()
    ...     read.wait(timeout=60)
    True
    >>> len(read.frame), read.progress.rows, read.progress.total, read.error
    (250, 250, 250, None)
    """

    def __init__(self, source: Source, filters: Mapping[str, Any]) -> None:
        self.frame: pd.DataFrame | None = None
        self.error: BaseException | None = None
        self.plan: Plan | None = None
        self.said: tuple[str, ...] = ()
        self._source, self._filters = source, dict(filters)
        self._run, self._watch, self._ended = ReadContext(), _Watch(), threading.Event()
        self._began = self._took = 0.0
        # A daemon: nobody waits for it at the end of the process.
        self._thread = threading.Thread(target=self._live, name="cases-read", daemon=True)

    def start(self) -> Self:
        """Begin to read, and return at once.

        Raises
        ------
        RuntimeError
            If it was started before.
        """
        self._thread.start()
        return self

    def cancel(self) -> None:
        """End the read, as soon as the requests that are under way are answered.

        Whoever waits for the rate limit, or after a fault, is woken. One that was not started
        yet will end as it begins; to one that has ended this does nothing.
        """
        if not self.done:
            self._run.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, so many seconds at most; tell whether it has come.

        One that nobody starts does not end.
        """
        return self._ended.wait(timeout)

    @property
    def done(self) -> bool:
        """Whether the read has ended, in whatever way."""
        return self._ended.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether the read has ended because it was cancelled."""
        return self.done and self._run.cancelled and isinstance(self.error, ReadInterrupted)

    @property
    def progress(self) -> Snapshot:
        """How far the read is; cheap enough to be asked many times a second."""
        seen, run = self._watch.seen(), self._run
        return Snapshot(*seen, run.requests, run.seconds_until_next_request, self._seconds())

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled else "done" if self.done else "under way"
        return f"{type(self).__name__}({self._source.name}: {state}, {self._watch.rows} rows)"

    def _seconds(self) -> float:
        if self.done or not self._began:
            return self._took
        return monotonic_time() - self._began

    # --- in its thread --------------------------------------------------------------------

    def _live(self) -> None:
        self._began = monotonic_time()
        try:
            with capture_warnings() as heard, use_context(self._run):
                try:
                    self.frame = self._read()
                finally:
                    self.said = tuple(heard)
        except BaseException as error:  # noqa: BLE001 - it is told where the user is
            self.error, self.frame = error, getattr(error, "partial", None)
            _let_go(error)
        finally:
            self._took = monotonic_time() - self._began
            self._ended.set()

    def _read(self) -> pd.DataFrame:
        try:
            given = bind_arguments(self._source, self._filters) | {"on_error": "raise"}
            self._run.deadline = ReadContext.with_timeout(given["timeout"]).deadline
            route = routed(given)
            self.plan = Plan(route)
            return read_routed(route, given, self._run, self._watch)
        except (Cancelled, CaseSearchError) as error:
            if not self._run.cancelled:
                raise
            raise ReadInterrupted("stopped before anything was read") from error


def _let_go(error: BaseException | None) -> None:
    """Free what the frames of a traceback hold: all that was read, beside the frame of it."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


class _Watch:
    """A bar that nobody sees: it keeps what it is told, for who asks."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.rows = self._pages = self._number = self._passes = 0
        self._lock = threading.Lock()

    def begin(self, number: int, passes: int) -> None:
        """Count the rows of a pass from nothing."""
        with self._lock:
            self._number, self._passes, self.rows = number, passes, 0

    def update(self, rows: int) -> None:
        """Count a page."""
        with self._lock:
            self.rows += rows
            self._pages += 1

    def seen(self) -> tuple[int, int | None, int, int, int]:
        """Tell rows, total, pages, pass and passes."""
        with self._lock:
            whole, passes = self.total, self._passes
            total = None if whole is None or not passes else whole // passes
            return self.rows, total, self._pages, self._number, passes
