"""What throttles teach of a service's true rate: requests and their fates in, a pace out.

A throttled request found the service's token bucket empty. Between two throttles it went from
empty to empty, so what it let pass in that time is its rate, whatever the burst. A bucket too
small to keep what a slow pace leaves shows less than its rate so; there the pace that ended in
the throttle tells more. With each answer a little more is tried, so little that the next
throttle is due after about as many requests as the estimate rests on: it doubles its sample,
and throttles become rare.

pyrate-limiter keeps to a rate that it is told, urllib3's ``Retry`` and stamina space out the
tries of one request; none of them finds the rate that many requests share. No clock is read here.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from casesearch_pd.errors import FilterError, ThrottledError
from casesearch_pd.sources.transport.context import monotonic_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["Permit", "RateEstimate", "RateLimiter", "rate_limiter_for"]


@dataclass(frozen=True, slots=True)
class Permit:
    """One request that was let go: the how manieth of its budget, and when, in seconds."""

    number: int
    at: float


@dataclass(slots=True)
class RateEstimate:
    """The rate that a service lets pass, as far as it has shown.

    Parameters
    ----------
    pace
        Requests a second that are tried; `math.inf` as long as nothing was throttled.
    """

    pace: float = math.inf
    _began: Permit | None = None  # the first request after a time without any
    _emptied: Permit | None = None  # the last request that found the bucket empty
    _taught: int = 0  # the last request that went before the last lesson
    _refused: int = 0  # throttles among the requests since the bucket was empty
    _answers: int = 0  # to requests since the last lesson
    _sample: float = 0.0  # requests that the pace rests on
    _passed: float = 0.0  # requests that passed from empty to empty; older ones count less
    _seconds: float = 0.0  # and in which time

    @property
    def measured(self) -> bool:
        """Whether the pace was measured from empty to empty."""
        return self._seconds > 0

    def begins(self, leave: Permit) -> None:
        """Measure anew: after a time without requests the bucket may be full."""
        self._began, self._emptied, self._refused = leave, None, 0

    def served(self, leave: Permit, ceiling: float) -> None:
        """Try a little more, the bolder the longer nothing is throttled.

        Parameters
        ----------
        leave
            The request that was answered.
        ceiling
            The rate that is wanted; once it has held for a while, all lessons are forgotten.
        """
        if math.isinf(self.pace) or leave.number <= self._taught:
            return
        self._answers += 1
        bolder = _BOLDNESS * self._answers / (1 + self._sample) ** 3
        self.pace = min(ceiling, self.pace * (1 + min(1.0, bolder)))
        if self.pace == ceiling and self._answers > _SAMPLE:
            self.pace, self._emptied, self._passed, self._seconds = math.inf, None, 0.0, 0.0

    def throttled(self, leave: Permit, sent: int, ceiling: float) -> bool:
        """Learn from a throttle; tell whether there was something to learn.

        Parameters
        ----------
        leave
            The request that was throttled.
        sent
            How many requests went until now: those on their way teach nothing new.
        ceiling
            The rate that is wanted.
        """
        if self._emptied is not None and leave.number > self._emptied.number:
            self._refused += 1
        if leave.number <= self._taught:
            return False
        learned = self._first(leave) if self._emptied is None else self._next(leave, self._emptied)
        self.pace = min(ceiling, max(learned, _LEAST))
        self._emptied, self._taught, self._refused, self._answers = leave, sent, 0, 0
        return True

    def _first(self, leave: Permit) -> float:
        """Take what passed until now: the true rate is lower, for the first burst is in it."""
        began = self._began or leave
        passed, seconds = leave.number - began.number, leave.at - began.at
        self._sample = min(passed, _SAMPLE)
        return min(self.pace, passed / seconds if seconds > 0 and passed else math.inf)

    def _next(self, leave: Permit, emptied: Permit) -> float:
        passed = leave.number - emptied.number - self._refused
        self._remember(passed, max(leave.at - emptied.at, _MOMENT))
        known = max(self._passed, _HALF) / self._seconds
        less = self.pace * (1 - 2 / (passed + 4))
        return less if known < less < _NEAR * known else known

    def _remember(self, passed: int, seconds: float) -> None:
        self._passed = self._passed * _MEMORY + passed
        self._seconds = self._seconds * _MEMORY + seconds
        if self._passed > _SAMPLE:
            self._seconds *= _SAMPLE / self._passed
            self._passed = _SAMPLE
        self._sample = self._passed


_BOLDNESS = 0.7  # with it the next throttle is due after 2 to 3 times the sample
_SAMPLE = 60.0  # requests that an estimate rests on at most: one throttle in about so many
_MEMORY = 0.5  # what a lesson leaves of the lessons before, for rates change
_NEAR = 5.0  # up to so many times what passed, the pace that was tried may be nearly right
_HALF = 0.5  # of a request: where none passed, the bucket was filled half on the average
_LEAST = 0.2  # requests a second that are tried when nothing passes at all
_MOMENT = 0.001  # seconds


@dataclass
class RateLimiter:
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

    def acquire(self, run: ReadContext) -> Permit:
        """Wait for the leave to send one request.

        Raises
        ------
        ThrottledError
            If the run's time is over first.
        Halted
            If the run is stopped first.
        """
        while True:
            run.raise_if_cancelled()
            wait, queue = self._reserve(run.remaining())
            if wait is None:
                raise ThrottledError(
                    f"the deadline passes before the rate limit of {self.pace:g} requests a "
                    "second lets another one go; give a longer timeout= or a narrower filter"
                )
            if wait > 0:
                run.sleep(wait)
            leave = self._depart(queue)
            if leave is not None:
                run.count_request()
                return leave

    def _reserve(self, patience: float) -> tuple[float | None, int]:
        """Take the next place in the queue; no place, if that is too far away."""
        with self._lock:
            now = monotonic_time()
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

    def _depart(self, queue: int) -> Permit | None:
        """Go, unless everybody was to queue again meanwhile."""
        with self._lock:
            now = monotonic_time()
            if queue != self._queue or not self._take_one_left(now):
                return None
            idle = self._sent == self._ended and now - self._ended_at > _IDLE
            self._sent, self._sent_at = self._sent + 1, now
            leave = Permit(self._sent, now)
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
        RateLimiter(rate, burst)
        with self._lock:
            now = monotonic_time()
            ahead = max(0.0, self._even_at - now)
            owed = 0.0 if math.isinf(self.rate) else ahead * self.rate
            self.rate, self.burst = rate, burst
            if ahead:
                self._even_at = now + owed / rate
            self._queue, self._last_place = self._queue + 1, self._sent_at  # who waits asks again

    def close_for(self, seconds: float) -> None:
        """Let nobody send for so many seconds: the service said so."""
        with self._lock:
            self._close(monotonic_time() + seconds)

    def _close(self, until: float) -> None:
        if until > self._closed_until:
            self._closed_until = until
            self._queue_again(until)

    def leave_only(self, requests: float, seconds: float) -> None:
        """Let no more than so many go within so many seconds: the service said so."""
        with self._lock:
            # Those on their way may be counted already or not; each that comes back tells anew.
            self._left = requests - (self._sent - self._ended - 1)
            self._left_until = monotonic_time() + seconds
            if requests <= 0:
                self._close(self._left_until)

    def _take_one_left(self, now: float) -> bool:
        """Take one of the requests that the service said are left; wait a little if none is."""
        if now >= self._left_until:
            return True
        if self._left < 1:
            self._close(
                min(now + min(max(self._latency, _MOMENT_pace), _BRIEFLY), self._left_until)
            )
            return False
        self._left -= 1
        return True

    def served(self, leave: Permit) -> None:
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

    def throttled(self, leave: Permit) -> float | None:
        """Learn from a throttle; tell how many seconds to wait, once the rate was measured."""
        with self._lock:
            self._end()
            if self._estimate.throttled(leave, self._sent, self.rate):
                self._queue_again(self._ended_at)
            return _REST / self._estimate.pace if self._estimate.measured else None

    def _end(self) -> None:
        self._ended += 1
        self._ended_at = monotonic_time()


_OPENING = 0.25  # further requests on their way at once for each answer that came
_REST = 0.5  # of the time that one request takes: how long a throttle keeps all back
_FASTER = 1.2  # times the old pace: worth queuing again
_MOMENT_pace, _BRIEFLY = 0.001, 0.25  # seconds
_IDLE = 1.0  # seconds without a request, after which a bucket may have filled


def _check(name: str, value: float, allowed: str, holds: Callable[[float], bool]) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not holds(value):
        raise FilterError(f"{name}={value!r} lets no request pass; give {allowed}")


_BUDGETS: dict[tuple[object, ...], RateLimiter] = {}
_BUDGETS_LOCK = threading.Lock()


def rate_limiter_for(key: tuple[object, ...], *, rate: float, burst: float) -> RateLimiter:
    """Find the budget that everybody with this key shares, or open it.

    The service counts all of them together, so there is one; the last rate named holds.
    """
    with _BUDGETS_LOCK:
        known = _BUDGETS.get(key)
        if known is None:
            known = _BUDGETS[key] = RateLimiter(rate, burst)
        elif (known.rate, known.burst) != (rate, burst):
            known.change(rate, burst)
        return known
