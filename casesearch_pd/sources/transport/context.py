"""One read under way: its end, what it has sent, who stops it; and the one clock.

This is the only room that reads the clock and the only one that waits, so that a test can put
another time in the place of both.
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

__all__ = ["Cancelled", "ReadContext", "monotonic_time", "use_context", "wall_time"]


def monotonic_time() -> float:
    """Tell the monotonic time, in seconds."""
    return time.monotonic()


def wall_time() -> float:
    """Tell the seconds since the epoch."""
    return time.time()


@dataclass(slots=True)
class ReadContext:
    """One read: when it has to be done, on the monotonic clock, and what it has sent."""

    deadline: float = math.inf
    requests: int = 0
    throttled: int = 0
    response_seconds: float = 0.0  # seconds spent waiting for answers
    cancelled: bool = False  # by the user; a read also halts when one of its readers fails
    started_at: float = field(default_factory=monotonic_time)
    cancel_event: threading.Event = field(default_factory=threading.Event)
    _answered: int = field(default=0, repr=False)
    _resting: list[float] = field(default_factory=list, repr=False)  # when each may go
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def cancel(self) -> None:
        """End the read as soon as no request is under way; whoever waits for leave is woken."""
        self.cancelled = True
        self.cancel_event.set()

    def raise_if_cancelled(self) -> None:
        """Go on only if nobody halted the read.

        Raises
        ------
        Halted
            If somebody did.
        """
        if self.cancel_event.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Wait, unless the read is halted meanwhile.

        Raises
        ------
        Halted
            If it is.
        """
        until = monotonic_time() + seconds
        with self._lock:
            self._resting.append(until)
        try:
            if self.cancel_event.wait(seconds):
                raise Cancelled
        finally:
            with self._lock:
                self._resting.remove(until)

    @property
    def seconds_until_next_request(self) -> float:
        """Seconds until the next request may go; 0 while one is under way or none waits."""
        with self._lock:
            if self.requests > self._answered or not self._resting:
                return 0.0
            return max(0.0, min(self._resting) - monotonic_time())

    def count_request(self) -> None:
        """Count one request."""
        with self._lock:
            self.requests += 1

    def count_response(self, seconds: float) -> None:
        """Count an answer, and add how long it took."""
        with self._lock:
            self._answered += 1
            self.response_seconds += seconds

    @classmethod
    def with_timeout(cls, seconds: float | None) -> ReadContext:
        """Start counting now; None is without end.

        Raises
        ------
        FilterError
            If the time is over before it begins.
        """
        if seconds is None:
            return cls()
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise FilterError(f"deadline={seconds!r} is no time; give seconds")
        if not seconds > 0:
            raise FilterError(
                f"deadline={seconds!r} is over before it begins; give seconds above 0"
            )
        return cls(monotonic_time() + seconds)

    @classmethod
    def for_discovery(cls) -> ReadContext:
        """Begin to ask for the fields: beside the read that needs them, halted and seen with it.

        It counts its requests apart, and has no deadline: what it finds serves later reads too.
        """
        leader = _LEADER.get()
        if leader is None:
            return cls()
        return cls(cancel_event=leader.cancel_event, _resting=leader._resting, _lock=leader._lock)  # noqa: SLF001 - its own class

    def elapsed(self) -> float:
        """Seconds since it began."""
        return monotonic_time() - self.started_at

    def remaining(self) -> float:
        """Seconds that remain; never below 0."""
        return max(0.0, self.deadline - monotonic_time())


_LEADER: ContextVar[ReadContext | None] = ContextVar("the read of this thread", default=None)


@contextmanager
def use_context(run: ReadContext) -> Iterator[None]:
    """Have what this thread asks of a source's fields belong to a read."""
    token = _LEADER.set(run)
    try:
        yield
    finally:
        _LEADER.reset(token)


class Cancelled(Exception):  # noqa: N818 - ends a thread, and reaches nobody
    """The read was stopped before this request was sent."""
