"""`ReadContext`: the time limit, the counters and the cancellation of one read.

All waiting, and the clock of rate limits and timeouts, are here, so that a test can replace them.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from casesearch_pd.errors import FilterError, ServiceUnavailableError
from casesearch_pd.query.option_values import parse_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Cancelled",
    "ReadContext",
    "RequestUnderWay",
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

    max_throttle_seconds: float = 120.0  # total wait for throttles of one request
    max_fault_seconds: float = 20.0  # time for retries after other errors
    max_fault_attempts: int = 6  # attempts in that time
    read_timeout: float = 20.0  # seconds without a response
    connect_timeout: float = 5.0  # seconds without a connection
    pages_before_workers: int = 8  # pages that one worker reads before others join
    cases_before_workers: int = 8  # the same for a read per case
    min_split_pages: int = 3  # pages that remain of a window that is split between two workers
    max_empty_pages: int = 20  # empty pages with a cursor that are followed before the first row
    max_restarts: int = 3  # restarts of a scan at the same position before its cursor is an error
    max_rereads: int = 3  # passes over what changed during a read
    max_short_reads: int = 2  # reads of a result that has fewer rows than the count
    pages_per_checkpoint_file: int = 20  # pages between two files of a checkpoint
    flush_rows: int = 1_000  # rows converted to Arrow together
    batch_rows: int = 10_000  # rows completed and filtered together
    sort_run_rows: int = 10_000  # rows sorted at once
    merge_step_rows: int = 500  # rows of each run in memory
    merge_memory_bytes: int = 16 << 20  # a smaller sort needs no temporary file
    partition_rows: int = 50_000  # intended rows of a Dask partition
    min_partition_rows: int = 2_000  # its minimum


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


class RequestUnderWay(Protocol):
    """A request that can be ended."""

    def interrupt(self) -> None:
        """End it at once; called in another thread."""


@dataclass(slots=True)
class ReadContext:
    """The state of one read, shared by all its workers."""

    deadline: float = math.inf  # on the monotonic clock
    timeout: float | None = None  # seconds from the beginning to the deadline, for messages
    requests: int = 0
    throttled: int = 0
    response_seconds: float = 0.0  # spent waiting for responses
    cancelled: bool = False  # by the user; `cancel_event` is also set when a worker fails
    started_at: float = field(default_factory=monotonic_time)
    cancel_event: threading.Event = field(default_factory=threading.Event)
    tuning: Tuning = field(default_factory=default_tuning)
    _responses: int = field(default=0, repr=False)
    _wake_times: list[float] = field(default_factory=list, repr=False)  # one per waiting worker
    _exchanges: set[RequestUnderWay] = field(default_factory=set, repr=False)  # requests under way
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def cancel(self) -> None:
        """Stop the read for its user."""
        self.cancelled = True
        self.stop()

    def stop(self) -> None:
        """Stop the read: send no request, wake the workers that wait, end requests under way."""
        self.cancel_event.set()
        with self._lock:
            exchanges = tuple(self._exchanges)
        for exchange in exchanges:
            exchange.interrupt()

    def add_exchange(self, exchange: RequestUnderWay) -> None:
        """Register a request under way, so that a cancel ends it."""
        with self._lock:
            self._exchanges.add(exchange)
        if self.cancel_event.is_set():  # `stop` may have come just before
            exchange.interrupt()

    def discard_exchange(self, exchange: RequestUnderWay) -> None:
        """Remove a request that has ended."""
        with self._lock:
            self._exchanges.discard(exchange)

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the read was cancelled."""
        if self.cancel_event.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait; raise `Cancelled` if the read is cancelled before the time is over."""
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

        Raise FilterError if the timeout is not a positive number of seconds.
        """
        context = cls()
        context.start_timeout(seconds)
        return context

    def start_timeout(self, seconds: float | None) -> None:
        """Limit the time of the read from now on; None has no limit.

        Raise FilterError if the timeout is not a positive number of seconds.
        """
        if seconds is None:
            self.timeout, self.deadline = None, math.inf
            return
        length = parse_seconds(seconds)
        if length is None or length <= 0:
            raise FilterError(
                "timeout must be a positive number of seconds, a timedelta or None, got "
                f"{seconds!r}"
            )
        self.timeout, self.deadline = length, monotonic_time() + length

    @classmethod
    def for_discovery(cls) -> ReadContext:
        """Return a context for discovery requests within the current read of this thread.

        It ends and is cancelled with that read, and its waits are visible there. It counts its
        own requests.
        """
        parent = _CURRENT.get()
        if parent is None:
            return cls()
        return cls(
            deadline=parent.deadline,
            timeout=parent.timeout,
            cancel_event=parent.cancel_event,
            tuning=parent.tuning,
            _wake_times=parent._wake_times,  # noqa: SLF001 - its own class
            _exchanges=parent._exchanges,  # noqa: SLF001 - its own class
            _lock=parent._lock,  # noqa: SLF001 - its own class
        )

    def elapsed(self) -> float:
        """Return the seconds since the read began."""
        return monotonic_time() - self.started_at

    def remaining(self) -> float:
        """Return the seconds that remain, never below 0."""
        return max(0.0, self.deadline - monotonic_time())

    def check_time(self, waiting_for: str) -> None:
        """Raise ServiceUnavailableError if the time limit has passed."""
        if not self.remaining():
            raise self.time_over(waiting_for)

    @property
    def limit_text(self) -> str:
        """The time limit as a user wrote it."""
        return "the timeout" if self.timeout is None else f"timeout={self.timeout:g} s"

    def time_over(self, waiting_for: str) -> ServiceUnavailableError:
        """Return the error of a read whose time is over, with what it was waiting for."""
        return ServiceUnavailableError(
            f"{self.limit_text} is over while waiting for {waiting_for}; pass a longer timeout= or "
            "a narrower filter"
        )


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
    """The read was cancelled before this request was sent."""
