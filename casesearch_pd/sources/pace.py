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
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from casesearch_pd.errors import FilterError, ServiceError, ThrottledError
from casesearch_pd.sources.rate_estimate import Leave, RateEstimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "Budget",
    "Halted",
    "Run",
    "Trouble",
    "budget_for",
    "clock",
    "leading",
    "patiently",
    "retry_after",
]

Answer = TypeVar("Answer")

THROTTLE_PATIENCE = 120.0  # seconds of being throttled, for one request
FAULT_PATIENCE = 20.0  # seconds of any other passing fault, for one request
FAULT_TRIES = 6
READ_TIMEOUT = 20.0  # seconds without an answer
CONNECT_TIMEOUT = 5.0
_THROTTLE_PAUSE = 0.4  # seconds at most after the first throttle, and twice as long each time
_FAULT_PAUSE = 0.1
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
    cancelled: bool = False  # by the user; a read also halts when one of its readers fails
    began: float = field(default_factory=time.monotonic)
    halt: threading.Event = field(default_factory=threading.Event)
    _answered: int = field(default=0, repr=False)
    _resting: list[float] = field(default_factory=list, repr=False)  # when each may go
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def cancel(self) -> None:
        """End the read as soon as no request is under way; whoever waits for leave is woken."""
        self.cancelled = True
        self.halt.set()

    def check(self) -> None:
        """Go on only if nobody halted the read.

        Raises
        ------
        Halted
            If somebody did.
        """
        if self.halt.is_set():
            raise Halted

    def rest(self, seconds: float) -> None:
        """Wait, unless the read is halted meanwhile.

        Raises
        ------
        Halted
            If it is.
        """
        until = time.monotonic() + seconds
        with self._lock:
            self._resting.append(until)
        try:
            if self.halt.wait(seconds):
                raise Halted
        finally:
            with self._lock:
                self._resting.remove(until)

    @property
    def waiting(self) -> float:
        """Seconds until the next request may go; 0 while one is under way or none waits."""
        with self._lock:
            if self.requests > self._answered or not self._resting:
                return 0.0
            return max(0.0, min(self._resting) - time.monotonic())

    def sends(self) -> None:
        """Count one request."""
        with self._lock:
            self.requests += 1

    def took(self, seconds: float) -> None:
        """Count an answer, and add how long it took."""
        with self._lock:
            self._answered += 1
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

    @classmethod
    def discovery(cls) -> Run:
        """Begin to ask for the fields: beside the read that needs them, halted and seen with it.

        It counts its requests apart, and has no deadline: what it finds serves later reads too.
        """
        leader = _LEADER.get()
        if leader is None:
            return cls()
        return cls(halt=leader.halt, _resting=leader._resting, _lock=leader._lock)  # noqa: SLF001 - its own class

    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def left(self) -> float:
        """Seconds that remain; never below 0."""
        return max(0.0, self.until - time.monotonic())


_LEADER: ContextVar[Run | None] = ContextVar("the read of this thread", default=None)


@contextmanager
def leading(run: Run) -> Iterator[None]:
    """Have what this thread asks of a source's fields belong to a read."""
    token = _LEADER.set(run)
    try:
        yield
    finally:
        _LEADER.reset(token)


def clock() -> float:
    """Tell the monotonic time, in seconds."""
    return time.monotonic()


class Halted(Exception):  # noqa: N818 - ends a thread, and reaches nobody
    """The read was stopped before this request was sent."""


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
    ahead. One request of the burst is kept back, because those that follow each other at
    exactly the rate arrive at times closer together than they were sent. Where the service
    throttles all the same, its true rate is lower, and `RateEstimate` finds it.

    Parameters
    ----------
    rate
        Requests a second; `math.inf` never waits.
    burst
        Requests that the service takes at once after a pause.
    """

    rate: float = math.inf
    burst: float = 1.0
    _estimate: RateEstimate = field(default_factory=RateEstimate, init=False, repr=False)
    _even_at: float = field(default=-math.inf, init=False, repr=False)
    _closed_until: float = field(default=-math.inf, init=False, repr=False)
    _last_place: float = field(default=-math.inf, init=False, repr=False)  # when it is reached
    _left: float = field(default=math.inf, init=False, repr=False)  # what may still go
    _left_until: float = field(default=-math.inf, init=False, repr=False)  # and until when
    _queue: int = field(default=0, init=False, repr=False)  # how often everybody queued again
    _queue_pace: float = field(default=math.inf, init=False, repr=False)  # when they last did
    _sent: int = field(default=0, init=False, repr=False)
    _sent_at: float = field(default=-math.inf, init=False, repr=False)
    _ended: int = field(default=0, init=False, repr=False)
    _ended_at: float = field(default=-math.inf, init=False, repr=False)
    _answers: int = field(default=0, init=False, repr=False)
    _latency: float = field(default=math.inf, init=False, repr=False)  # the least that was met
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a rate that no request could ever pass."""
        _check("rate", self.rate, "requests per second above 0", lambda rate: rate > 0)
        _check("burst", self.burst, "1 or more", lambda burst: burst >= 1)

    @property
    def pace(self) -> float:
        """Requests a second that go at present: the rate, unless throttles taught a lower one."""
        return min(self.rate, self._estimate.pace)

    def acquire(self, run: Run) -> Leave:
        """Wait for the leave to send one request.

        Raises
        ------
        ThrottledError
            If the run's time is over first.
        Halted
            If the run is stopped first.
        """
        while True:
            run.check()
            wait, queue = self._reserve(run.left())
            if wait is None:
                raise ThrottledError(
                    f"the deadline passes before the rate limit of {self.pace:g} requests a "
                    "second lets another one go; give a longer deadline= or a narrower filter"
                )
            if wait > 0:
                run.rest(wait)
            leave = self._depart(queue)
            if leave is not None:
                run.sends()
                return leave

    def _reserve(self, patience: float) -> tuple[float | None, int]:
        """Take the next place in the queue; no place, if that is too far away."""
        with self._lock:
            now = time.monotonic()
            rate, burst = self._allowed()
            interval = 0.0 if math.isinf(rate) else 1 / rate
            go = max(
                now,
                self._closed_until,
                self._even_at - (burst - 1) * interval,
                self._last_place + self._spacing(),
            )
            if go - now > patience:
                return None, self._queue
            self._even_at, self._last_place = max(self._even_at, go) + interval, go
            return go - now, self._queue

    def _allowed(self) -> tuple[float, float]:
        """Tell rate and burst at present."""
        if not math.isinf(self._estimate.pace):
            return self.pace, 1.0
        return self.rate, max(self.burst - 1, 1.0)

    def _spacing(self) -> float:
        """Tell the seconds between two requests of a burst: as few passed, few meet a limit.

        By Little's law so many are on their way at once as go within one round trip.
        """
        if not self._answers or not math.isinf(self._estimate.pace):
            return 0.0
        return self._latency / (1 + _OPENING * self._answers)

    def _depart(self, queue: int) -> Leave | None:
        """Go, unless everybody was to queue again meanwhile."""
        with self._lock:
            now = time.monotonic()
            if queue != self._queue or not self._take_one_left(now):
                return None
            idle = self._sent == self._ended and now - self._ended_at > _IDLE
            self._sent, self._sent_at = self._sent + 1, now
            leave = Leave(self._sent, now)
            if idle:
                self._estimate.begins(leave)
            return leave

    def _queue_again(self, until: float) -> None:
        """Take all places back: whoever waits asks for a new one, from then on, with no burst."""
        rate, burst = self._allowed()
        self._queue, self._queue_pace = self._queue + 1, self.pace
        self._last_place = self._sent_at
        self._even_at = until if math.isinf(rate) else until + (burst - 1) / rate

    def change(self, rate: float, burst: float) -> None:
        """Keep to another rate from now on; what went ahead of the old one is owed at the new.

        Raises
        ------
        FilterError
            If it lets no request pass; the old rate stays.
        """
        Budget(rate, burst)
        with self._lock:
            now = time.monotonic()
            ahead = max(0.0, self._even_at - now)
            owed = 0.0 if math.isinf(self.rate) else ahead * self.rate
            self.rate, self.burst = rate, burst
            if ahead:
                self._even_at = now + owed / rate
            self._queue, self._last_place = self._queue + 1, self._sent_at  # who waits asks again

    def close_for(self, seconds: float) -> None:
        """Let nobody send for so many seconds: the service said so."""
        with self._lock:
            self._close(time.monotonic() + seconds)

    def _close(self, until: float) -> None:
        if until > self._closed_until:
            self._closed_until = until
            self._queue_again(until)

    def leave_only(self, requests: float, seconds: float) -> None:
        """Let no more than so many go within so many seconds: the service said so."""
        with self._lock:
            # Those on their way may be counted already or not; each that comes back tells anew.
            self._left = requests - (self._sent - self._ended - 1)
            self._left_until = time.monotonic() + seconds
            if requests <= 0:
                self._close(self._left_until)

    def _take_one_left(self, now: float) -> bool:
        """Take one of the requests that the service said are left; wait a little if none is."""
        if now >= self._left_until:
            return True
        if self._left < 1:
            self._close(min(now + min(max(self._latency, _MOMENT), _BRIEFLY), self._left_until))
            return False
        self._left -= 1
        return True

    def served(self, leave: Leave) -> None:
        """Count an answer, and try a little more."""
        with self._lock:
            self._end()
            self._answers += 1
            self._latency = min(self._latency, self._ended_at - leave.at)
            self._estimate.served(leave, self.rate)
            if self.pace > _FASTER * self._queue_pace:
                self._queue_again(self._sent_at + 1 / self.pace)

    def failed(self) -> None:
        """Count a request that came to nothing."""
        with self._lock:
            self._end()

    def throttled(self, leave: Leave) -> float | None:
        """Learn from a throttle; tell how many seconds to wait, once the rate was measured."""
        with self._lock:
            self._end()
            if self._estimate.throttled(leave, self._sent, self.rate):
                self._queue_again(self._ended_at)
            return _REST / self._estimate.pace if self._estimate.measured else None

    def _end(self) -> None:
        self._ended += 1
        self._ended_at = time.monotonic()


_OPENING = 0.25  # further requests on their way at once for each answer that came
_REST = 0.5  # of the time that one request takes: how long a throttle keeps all back
_FASTER = 1.2  # times the old pace: worth queuing again
_MOMENT, _BRIEFLY = 0.001, 0.25  # seconds
_IDLE = 1.0  # seconds without a request, after which a bucket may have filled


def _check(name: str, value: float, allowed: str, holds: Callable[[float], bool]) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not holds(value):
        raise FilterError(f"{name}={value!r} lets no request pass; give {allowed}")


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
            known.change(rate, burst)
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
    Halted
        If the run is stopped; no request of it goes after that.
    """
    patience = _Patience()
    while True:
        leave = budget.acquire(run)
        try:
            answer = _timed(send, run)
        except Trouble as trouble:
            pause = patience.pause(trouble, _learn(budget, leave, trouble))
            if pause is None or pause > run.left():
                raise trouble.error from trouble.__cause__
            if trouble.throttled:
                run.throttles += 1
                budget.close_for(pause)  # for everybody: the service counts all together
            else:
                run.rest(pause)
        except BaseException:
            budget.failed()
            raise
        else:
            budget.served(leave)
            return answer


def _learn(budget: Budget, leave: Leave, trouble: Trouble) -> float | None:
    if trouble.throttled:
        return budget.throttled(leave)
    budget.failed()
    return None


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
            The seconds after which the service may take another one, if throttles taught it.
        """
        if trouble.throttled:
            self.slowed += 1
            backoff = _backoff(self.slowed, _THROTTLE_PAUSE)
            if known is not None:  # a place or two further back in the queue will do
                backoff = min(backoff, known * 2 ** min(self.slowed - 1, _DOUBLINGS))
            # "At once" over and over would be no pause at all.
            pause = backoff if trouble.wait is None else max(trouble.wait, _SHORTEST_PAUSE)
            self.throttled_for += pause
            return pause if self.throttled_for <= THROTTLE_PATIENCE else None
        self.faults += 1
        self.until = min(self.until, time.monotonic() + FAULT_PATIENCE)
        pause = _backoff(self.faults, _FAULT_PAUSE) if trouble.wait is None else trouble.wait
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
