"""The state of one read: its time limit, its counters, its cancellation; and the only clock.

Only this module reads the clock and waits, so that a test can replace both.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from casesearch_pd.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Cancelled",
    "ReadContext",
    "Tuning",
    "default_tuning",
    "monotonic_time",
    "use_context",
    "use_tuning",
    "wall_time",
]


def monotonic_time() -> float:
    """Return the monotonic time in seconds."""
    return time.monotonic()


def wall_time() -> float:
    """Return the seconds since the epoch."""
    return time.time()


@dataclass(frozen=True, slots=True)
class Tuning:
    """Numbers that balance speed, memory and persistence; no result depends on them.

    Users need not know them. Tests replace some with `use_tuning`.
    """

    # How long one request is retried: waiting for throttles in total, and for any other transient
    # error by time and by number of attempts.
    max_throttle_seconds: float = 120.0
    # How long one request is retried: waiting for throttles in total, and for any other transient
    # error by time and by number of attempts.
    max_fault_seconds: float = 20.0
    # How long one request is retried: waiting for throttles in total, and for any other transient
    # error by time and by number of attempts.
    max_fault_attempts: int = 6
    # Seconds without a response, or without a connection, after which an attempt has failed.
    read_timeout: float = 20.0
    # Seconds without a response, or without a connection, after which an attempt has failed.
    connect_timeout: float = 5.0
    # Pages of a result (cases of a per-case read) that one worker reads before others join.
    pages_before_workers: int = 8
    # Pages of a result (cases of a per-case read) that one worker reads before others join.
    cases_before_workers: int = 8
    # Pages that must remain of a window before it is split between two workers.
    min_split_pages: int = 3
    max_empty_pages: int = 20  # empty pages with a cursor that are followed before the first row
    max_restarts: int = 3  # restarts of a scan at the same position before its cursor is an error
    max_rereads: int = 3  # passes over what changed during a read
    max_short_reads: int = 2  # reads of a result that has fewer rows than the count
    pages_per_checkpoint_file: int = 20  # pages between two files of a checkpoint
    # Rows that are converted together, and rows that are completed and filtered together.
    flush_rows: int = 1_000
    # Rows that are converted together, and rows that are completed and filtered together.
    batch_rows: int = 10_000
    # Rows that are sorted at once, rows of each run in memory during a merge, and the size below
    # which no temporary file is written.
    sort_run_rows: int = 10_000
    # Rows that are sorted at once, rows of each run in memory during a merge, and the size below
    # which no temporary file is written.
    merge_step_rows: int = 500
    # Rows that are sorted at once, rows of each run in memory during a merge, and the size below
    # which no temporary file is written.
    merge_memory_bytes: int = 16 << 20
    part_rows: int = 1_000_000  # rows of one Parquet file
    partition_rows: int = 50_000  # rows of one Dask partition, intended and at least
    min_partition_rows: int = 2_000  # rows of one Dask partition, intended and at least


_tuning = Tuning()


def default_tuning() -> Tuning:
    """Return the tuning of reads that begin now."""
    return _tuning


@contextmanager
def use_tuning(tuning: Tuning) -> Iterator[Tuning]:
    """Make a tuning the default of this process, in all threads, until the block ends."""
    global _tuning  # noqa: PLW0603 - reads begin in threads that inherit no context variable
    previous, _tuning = _tuning, tuning
    try:
        yield tuning
    finally:
        _tuning = previous


@dataclass(slots=True)
class ReadContext:
    """The state of one read, shared by all its workers."""

    deadline: float = math.inf  # on the monotonic clock
    requests: int = 0
    throttled: int = 0
    response_seconds: float = 0.0  # spent waiting for responses
    cancelled: bool = False  # by the user; `cancel_event` is also set when a worker fails
    started_at: float = field(default_factory=monotonic_time)
    cancel_event: threading.Event = field(default_factory=threading.Event)
    tuning: Tuning = field(default_factory=default_tuning)
    _responses: int = field(default=0, repr=False)
    _wake_times: list[float] = field(default_factory=list, repr=False)  # one per waiting worker
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def cancel(self) -> None:
        """Stop the read before its next request; wake the workers that are waiting."""
        self.cancelled = True
        self.cancel_event.set()

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the read was stopped."""
        if self.cancel_event.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait; raise `Cancelled` if the read is stopped before the time is over."""
        until = monotonic_time() + seconds
        with self._lock:
            self._wake_times.append(until)
        try:
            if self.cancel_event.wait(seconds):
                raise Cancelled
        finally:
            with self._lock:
                self._wake_times.remove(until)

    @property
    def seconds_until_next_request(self) -> float:
        """Seconds until the next request may be sent; 0 while one is under way or none waits."""
        with self._lock:
            if self.requests > self._responses or not self._wake_times:
                return 0.0
            return max(0.0, min(self._wake_times) - monotonic_time())

    def count_request(self) -> None:
        """Count one request."""
        with self._lock:
            self.requests += 1

    def count_response(self, seconds: float) -> None:
        """Count a response, and add the time that it took."""
        with self._lock:
            self._responses += 1
            self.response_seconds += seconds

    @classmethod
    def with_timeout(cls, seconds: float | None) -> ReadContext:
        """Return a read that begins now; None has no time limit.

        Raises FilterError if the timeout is not a positive number of seconds.
        """
        if seconds is None:
            return cls()
        number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not number or not seconds > 0:
            raise FilterError(
                f"timeout must be a positive number of seconds or None, got {seconds!r}"
            )
        return cls(monotonic_time() + seconds)

    @classmethod
    def for_discovery(cls) -> ReadContext:
        """Return a context for discovery requests within the current read of this thread.

        It is cancelled with that read and its waits are visible there. It counts its own
        requests and has no time limit, because later reads use the schema too.
        """
        parent = _CURRENT.get()
        if parent is None:
            return cls()
        return cls(
            cancel_event=parent.cancel_event,
            tuning=parent.tuning,
            _wake_times=parent._wake_times,  # noqa: SLF001 - its own class
            _lock=parent._lock,  # noqa: SLF001 - its own class
        )

    def elapsed(self) -> float:
        """Return the seconds since the read began."""
        return monotonic_time() - self.started_at

    def remaining(self) -> float:
        """Return the seconds that remain, never below 0."""
        return max(0.0, self.deadline - monotonic_time())


_CURRENT: ContextVar[ReadContext | None] = ContextVar("the current read", default=None)


@contextmanager
def use_context(context: ReadContext) -> Iterator[None]:
    """Make discovery requests of this thread part of a read."""
    token = _CURRENT.set(context)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class Cancelled(Exception):  # noqa: N818 - ends a thread, and no user sees it
    """The read was stopped before this request was sent."""
