"""The one request budget: every request asks it for leave, and tells it how it went.

This is the only room with a clock and the only one that sleeps. A `Budget` is a token bucket
that all sources of one account and region (or host and token) share within the process,
because the services count them together. `patiently` sends one request until it has an answer,
the error is final, or the patience is at an end.
"""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from casesearch_pd.errors import (
    FilterError,
    ServiceError,
    ThrottledError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Budget", "Halted", "Run", "Trouble", "budget_for", "patiently", "retry_after"]

Answer = TypeVar("Answer")

THROTTLE_PATIENCE = 120.0  # seconds of being throttled, for one request
FAULT_PATIENCE = 20.0  # seconds of any other passing fault, for one request
FAULT_TRIES = 6
READ_TIMEOUT = 20.0  # seconds without an answer
CONNECT_TIMEOUT = 5.0
_LONGEST_PAUSE = 20.0
_SHORTEST_PAUSE = 0.05
_DOUBLINGS = 32  # of a pause; beyond them its bound holds anyway


@dataclass(slots=True)
class Run:
    """One read: when it has to be done, on the monotonic clock, and what it has sent."""

    until: float = math.inf
    requests: int = 0
    throttles: int = 0
    busy: float = 0.0  # seconds spent waiting for answers
    halt: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def rest(self, seconds: float) -> None:
        """Wait, unless the read is halted meanwhile.

        Raises
        ------
        Halted
            If it is.
        """
        if self.halt.wait(seconds):
            raise Halted

    def sends(self) -> None:
        """Count one request."""
        with self._lock:
            self.requests += 1

    def took(self, seconds: float) -> None:
        """Add how long an answer took."""
        with self._lock:
            self.busy += seconds

    @classmethod
    def within(cls, seconds: float | None) -> Run:
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
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds that remain; never below 0."""
        return max(0.0, self.until - time.monotonic())


class Halted(Exception):  # noqa: N818 - ends a thread, and reaches nobody
    """The read was stopped while this request waited for leave to be sent."""


class Trouble(Exception):  # noqa: N818 - a signal between a source and its budget, not an error that users see
    """A passing fault: worth another try.

    Parameters
    ----------
    error
        What to raise when the patience is at an end.
    throttled
        Whether the service asked to slow down.
    wait
        Seconds that the service asked to wait, where it said so.
    """

    def __init__(
        self, error: ServiceError, *, throttled: bool = False, wait: float | None = None
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.throttled = throttled
        self.wait = wait


@dataclass
class Budget:
    """Leave to send, at so many requests a second after a first burst.

    The leave is given by the generic cell rate algorithm: each request moves the time at which
    the budget would be even by one interval, and may go as long as that is less than a burst
    ahead. Where the service throttles all the same, its true rate is lower: between two
    throttles its own bucket went from empty to empty, so what it let pass in that time is its
    rate. From there the budget tries a little more with every answer.

    Parameters
    ----------
    rate
        Requests a second; `math.inf` never waits.
    burst
        Requests that may go at once when the budget is full.
    """

    rate: float = math.inf
    burst: float = 1.0
    learned: float = field(default=math.inf, init=False)
    _even_at: float = field(default=-math.inf, init=False, repr=False)
    _closed_until: float = field(default=-math.inf, init=False, repr=False)
    _taught_at: float | None = field(default=None, init=False, repr=False)
    _since: float | None = field(default=None, init=False, repr=False)
    _served: int = field(default=0, init=False, repr=False)
    _lessons: int = field(default=0, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a rate that no request could ever pass."""
        if not self.rate > 0:
            raise FilterError(
                f"rate={self.rate!r} lets no request pass; give requests per second above 0"
            )
        if not self.burst >= 1:
            raise FilterError(f"burst={self.burst!r} lets no request pass; give 1 or more")

    def acquire(self, run: Run) -> None:
        """Wait for the leave to send one request.

        Raises
        ------
        ThrottledError
            If the run's time is over first.
        """
        wait = self._reserve(run.left())
        if wait is None:
            rate = min(self.rate, self.learned)
            raise ThrottledError(
                f"the deadline passes before the rate limit of {rate:g} requests a second "
                "lets another one go; give a longer deadline= or a narrower filter"
            )
        if wait > 0:
            run.rest(wait)
        run.sends()

    def _reserve(self, patience: float) -> float | None:
        """Take the next place in the queue; None, and no place, if that is too far away."""
        with self._lock:
            now = time.monotonic()
            if self._since is None:
                self._since = now
            rate = min(self.rate, self.learned)
            burst = self.burst if math.isinf(self.learned) else 1.0
            interval = 0.0 if math.isinf(rate) else 1 / rate
            go = max(now, self._closed_until, self._even_at - (burst - 1) * interval)
            if go - now > patience:
                return None
            self._even_at = max(self._even_at, go) + interval
            return go - now

    def close_for(self, seconds: float) -> None:
        """Let nobody send for so many seconds: the service said so."""
        with self._lock:
            self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    def served(self) -> None:
        """Count an answer, and try a little more."""
        with self._lock:
            self._served += 1
            # The longer nothing is throttled, the bolder.
            self.learned *= 1 + _MORE * self._served
            if self.learned >= self.rate:
                self.learned = math.inf

    def throttled(self, granted: float) -> float | None:
        """Learn from a throttle; tell how long one more request takes, once that is known.

        Parameters
        ----------
        granted
            When the throttled request was let go: what was sent before the last lesson
            teaches nothing new.
        """
        with self._lock:
            now = time.monotonic()
            if self._taught_at is None or granted >= self._taught_at:
                self._learn(now)
            measured = self._lessons > 1 and not math.isinf(self.learned)
            return 1 / self.learned if measured else None

    def _learn(self, now: float) -> None:
        elapsed = now - (self._since if self._since is not None else now)
        known = min(self.learned, self.rate)
        if elapsed > 0 and (self._served >= _SAMPLE or (self._served and self._lessons < 2)):  # noqa: PLR2004
            self.learned = min(self._served / elapsed, self.rate)
        elif not math.isinf(known):  # too little passed to measure: two may have come together
            self.learned = max(known * _LESS, _LEAST)
        self._lessons += 1
        self._taught_at = self._since = self._even_at = now
        self._served = 0


_SAMPLE = 8  # answers that measure a rate
_MORE = 0.0001  # by how much the rate is tried higher with each answer since the last throttle
_LESS = 0.95  # how far a throttle brings a rate down that could not be measured
_LEAST = 0.2  # requests a second that are tried when nothing passes at all

_BUDGETS: dict[tuple[object, ...], Budget] = {}
_BUDGETS_LOCK = threading.Lock()


def budget_for(key: tuple[object, ...], *, rate: float, burst: float) -> Budget:
    """Find the budget that everybody with this key shares, or open it.

    The service counts all of them together, so there is one; the last rate named holds.
    """
    with _BUDGETS_LOCK:
        known = _BUDGETS.get(key)
        if known is None:
            known = _BUDGETS[key] = Budget(rate, burst)
        elif (known.rate, known.burst) != (rate, burst):
            Budget(rate, burst)  # an impossible rate is refused, and the old one stays
            known.rate, known.burst = rate, burst
        return known


def patiently(send: Callable[[], Answer], budget: Budget, run: Run) -> Answer:
    """Send until there is an answer, a final error, or no patience left.

    Parameters
    ----------
    send
        Sends once; raises `Trouble` for a passing fault, anything else is final.

    Raises
    ------
    ServiceError
        The last trouble's error.
    """
    patience = _Patience()
    while True:
        budget.acquire(run)
        granted = time.monotonic()
        try:
            answer = _timed(send, run)
        except Trouble as trouble:
            known = budget.throttled(granted) if trouble.throttled else None
            pause = patience.pause(trouble, known)
            if pause is None or pause > run.left():
                raise trouble.error from trouble.__cause__
            if trouble.throttled:
                run.throttles += 1
                budget.close_for(pause)  # for everybody: the service counts all together
            else:
                run.rest(pause)
        else:
            budget.served()
            return answer


def _timed(send: Callable[[], Answer], run: Run) -> Answer:
    began = time.monotonic()
    try:
        return send()
    finally:
        run.took(time.monotonic() - began)


@dataclass(slots=True)
class _Patience:
    """How much longer one request is worth trying."""

    throttled_for: float = 0.0
    slowed: int = 0
    faults: int = 0
    until: float = math.inf

    def pause(self, trouble: Trouble, known: float | None) -> float | None:
        """Tell how long to wait before the next try; None when it is enough.

        Parameters
        ----------
        trouble
            What happened.
        known
            The seconds that the service takes for a request, as far as throttles taught it.
        """
        if trouble.throttled:
            self.slowed += 1
            backoff = _backoff(self.slowed, 1.0)
            if known is not None:  # a place or two further back in the queue will do
                backoff = min(backoff, known * 2 ** min(self.slowed - 1, _DOUBLINGS))
            # "At once" over and over would be no pause at all.
            pause = backoff if trouble.wait is None else max(trouble.wait, _SHORTEST_PAUSE)
            self.throttled_for += pause
            return pause if self.throttled_for <= THROTTLE_PATIENCE else None
        self.faults += 1
        self.until = min(self.until, time.monotonic() + FAULT_PATIENCE)
        pause = _backoff(self.faults, 0.1) if trouble.wait is None else trouble.wait
        return (
            pause if self.faults < FAULT_TRIES and time.monotonic() + pause <= self.until else None
        )


def _backoff(attempt: int, base: float) -> float:
    """Wait a random part of an exponentially growing time, so that many readers spread out."""
    longest = min(_LONGEST_PAUSE, base * 2 ** min(attempt - 1, _DOUBLINGS))
    return float(random.uniform(0.5, 1.0) * longest)  # noqa: S311 - spreads readers, hides nothing


def retry_after(value: str | None, served_at: float | None = None) -> float | None:
    """Read ``Retry-After`` in seconds, as seconds or as a date; None for rubbish.

    >>> retry_after("7"), retry_after("-3"), retry_after("soon")
    (7.0, None, None)
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = float(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, when - (served_at if served_at is not None else time.time()))
