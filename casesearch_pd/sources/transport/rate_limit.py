"""Rate limits: when the next request may be sent, and what throttles reveal about the true rate.

`RateLimiter` spaces requests by the generic cell rate algorithm. `RateEstimate` replaces the
configured rate by a measured one as soon as the service throttles all the same.

pyrate-limiter keeps a rate that it is given, and urllib3's ``Retry`` and stamina space the
attempts of one request; none of them finds the rate that many requests share.
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

# Of the estimate.
_GROWTH = 0.7  # with it the next throttle is due after 2 to 3 times the sample
_MAX_SAMPLE = 60.0  # requests that an estimate rests on: about one throttle in as many requests
_DECAY = 0.5  # weight of earlier measurements in the next one, because rates change
_PLAUSIBLE_FACTOR = 5.0  # up to this times the measured rate, the attempted one may be right
_HALF_REQUEST = 0.5  # where no request passed, the bucket was half full on average
_MIN_RATE = 0.2  # requests per second that are attempted even if none passes
_MIN_SECONDS = 0.001  # of a measurement
# Of the limiter.
_BURST_GROWTH = 0.25  # more requests of a burst at once, for each response so far
_REST_SHARE = 0.5  # of one interval: the pause of all workers after a throttle
_RESCHEDULE_FACTOR = 1.2  # growth of the rate after which waiting workers reserve again
_MAX_WINDOW_WAIT = 0.25  # seconds between two looks at a window that is used up
_IDLE_SECONDS = 1.0  # without a request, after which a bucket may have filled


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission to send one request: its number, and the monotonic time in seconds."""

    number: int
    sent_at: float


@dataclass(slots=True)
class RateEstimate:
    """The rate that a service has shown by throttling.

    A throttled request found the service's token bucket empty. Between two throttles the bucket
    went from empty to empty, so the number of requests that passed, divided by the time, is the
    rate at which it fills, whatever its size. A bucket too small to store what a slow client
    leaves unused yields too low a rate this way; there the rate of the attempt that ended in the
    throttle is the better estimate.

    After each success the attempted rate grows a little, by so little that the next throttle is
    due after about as many requests as the estimate rests on: each throttle doubles the sample,
    and throttles become rare.
    """

    rate: float = math.inf  # requests per second to attempt; `math.inf` until the first throttle
    _first: Permit | None = None  # the first request after an idle time
    _last_throttle: Permit | None = None  # the last request that found the bucket empty
    _last_known_number: int = 0  # requests up to this number were sent before the last throttle
    _throttles: int = 0  # since the bucket was empty
    _successes: int = 0  # since the last throttle
    _sample: float = 0.0  # requests that `rate` rests on
    _passed: float = 0.0  # requests between two throttles; earlier measurements weigh less
    _seconds: float = 0.0  # the time of those requests

    @property
    def is_measured(self) -> bool:
        """Whether the rate was measured between two throttles."""
        return self._seconds > 0

    def restart(self, permit: Permit) -> None:
        """Start a new measurement after an idle time, in which the bucket may have filled."""
        self._first, self._last_throttle, self._throttles = permit, None, 0

    def record_success(self, permit: Permit, ceiling: float) -> None:
        """Raise the attempted rate a little, the more the longer nothing was throttled.

        Once the configured rate (`ceiling`) has been sustained, the estimate is forgotten.
        """
        if math.isinf(self.rate) or permit.number <= self._last_known_number:
            return
        self._successes += 1
        growth = _GROWTH * self._successes / (1 + self._sample) ** 3
        self.rate = min(ceiling, self.rate * (1 + min(1.0, growth)))
        if self.rate == ceiling and self._successes > _MAX_SAMPLE:
            self.rate, self._last_throttle = math.inf, None
            self._passed = self._seconds = 0.0

    def record_throttle(self, permit: Permit, last_sent: int, ceiling: float) -> bool:
        """Update the rate after a throttle; return whether the throttle was informative.

        Requests up to `last_sent` that are still under way will be throttled for the same reason,
        and contain no new information.
        """
        if self._last_throttle is not None and permit.number > self._last_throttle.number:
            self._throttles += 1
        if permit.number <= self._last_known_number:
            return False
        if self._last_throttle is None:
            rate = self._first_rate(permit)
        else:
            rate = self._measured_rate(permit, self._last_throttle)
        self.rate = min(ceiling, max(rate, _MIN_RATE))
        self._last_throttle, self._last_known_number = permit, last_sent
        self._throttles = self._successes = 0
        return True

    def _first_rate(self, permit: Permit) -> float:
        """Return the rate so far: an upper bound, because it includes the first burst."""
        first = self._first or permit
        passed, seconds = permit.number - first.number, permit.sent_at - first.sent_at
        self._sample = min(passed, _MAX_SAMPLE)
        return min(self.rate, passed / seconds if seconds > 0 and passed else math.inf)

    def _measured_rate(self, permit: Permit, last_throttle: Permit) -> float:
        passed = permit.number - last_throttle.number - self._throttles
        self._add_measurement(passed, max(permit.sent_at - last_throttle.sent_at, _MIN_SECONDS))
        measured = max(self._passed, _HALF_REQUEST) / self._seconds
        # A small bucket loses what a slow client leaves unused, so the measured rate may be too
        # low. The attempted rate, a little lowered, is preferred while it is plausible.
        lowered = self.rate * (1 - 2 / (passed + 4))
        return lowered if measured < lowered < _PLAUSIBLE_FACTOR * measured else measured

    def _add_measurement(self, passed: int, seconds: float) -> None:
        self._passed = self._passed * _DECAY + passed
        self._seconds = self._seconds * _DECAY + seconds
        if self._passed > _MAX_SAMPLE:
            self._seconds *= _MAX_SAMPLE / self._passed
            self._passed = _MAX_SAMPLE
        self._sample = self._passed


@dataclass
class RateLimiter:
    """Space the requests of all workers: at a rate, after an initial burst.

    The generic cell rate algorithm needs one number: the time at which all requests so far
    would have been sent at exactly the rate. Each request moves it by one interval, and may be
    sent while it is less than a burst ahead of the clock. One request of the burst is held
    back, because requests that are sent at exactly the rate arrive closer together than that.
    """

    rate: float = math.inf  # requests per second; `math.inf` never waits
    burst: float = 1.0  # requests that the service accepts at once after a pause
    _estimate: RateEstimate = field(default_factory=RateEstimate, init=False, repr=False)
    _on_schedule_at: float = field(default=-math.inf, init=False, repr=False)
    _closed_until: float = field(default=-math.inf, init=False, repr=False)
    _last_slot: float = field(default=-math.inf, init=False, repr=False)
    # What the service says it still accepts, and until when.
    _window_requests: float = field(default=math.inf, init=False, repr=False)
    _window_end: float = field(default=-math.inf, init=False, repr=False)
    # Slots of an earlier generation are invalid: workers that wait for one reserve again.
    _generation: int = field(default=0, init=False, repr=False)
    _slot_rate: float = field(default=math.inf, init=False, repr=False)
    _requests: int = field(default=0, init=False, repr=False)
    _last_request_at: float = field(default=-math.inf, init=False, repr=False)
    _responses: int = field(default=0, init=False, repr=False)  # errors included
    _last_response_at: float = field(default=-math.inf, init=False, repr=False)
    _successes: int = field(default=0, init=False, repr=False)
    _min_latency: float = field(default=math.inf, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Reject a rate at which no request could ever be sent."""
        _require_number(
            "rate", self.rate, "a number of requests per second above 0", lambda r: r > 0
        )
        _require_number("burst", self.burst, "a number of requests, at least 1", lambda b: b >= 1)

    @property
    def current_rate(self) -> float:
        """Requests per second at present: the configured rate, or a lower measured one."""
        return min(self.rate, self._estimate.rate)

    def acquire(self, context: ReadContext) -> Permit:
        """Wait until one request may be sent.

        Raises
        ------
        ThrottledError
            If the time limit of the read is reached first.
        ServiceUnavailableError
            If it has been reached before.
        Cancelled
            If the read is cancelled first.
        """
        while True:
            context.raise_if_cancelled()
            # Also for a request that need not wait: answers slower than the rate would otherwise
            # never meet the limit.
            context.check_time("the next request")
            wait, generation = self._reserve(context.remaining())
            if wait is None:
                raise ThrottledError(
                    f"the rate limit of {self.current_rate:g} requests per second allows no "
                    f"further request within {context.limit_text}; pass a longer timeout= or a "
                    "narrower filter"
                )
            if wait > 0:
                context.sleep(wait)
            permit = self._use_slot(generation)
            if permit is not None:
                context.count_request()
                return permit

    def _reserve(self, max_wait: float) -> tuple[float | None, int]:
        """Reserve the next slot; return the seconds until then (None: too far), its generation."""
        with self._lock:
            now = monotonic_time()
            rate, burst = self._current_limits()
            interval = 0.0 if math.isinf(rate) else 1 / rate
            slot = max(
                now,
                self._closed_until,
                self._on_schedule_at - (burst - 1) * interval,
                self._last_slot + self._burst_spacing(),
            )
            if slot - now > max_wait:
                return None, self._generation
            self._on_schedule_at = max(self._on_schedule_at, slot) + interval
            self._last_slot = slot
            return slot - now, self._generation

    def _current_limits(self) -> tuple[float, float]:
        """Return rate and burst at present; a measured rate has no burst, the bucket is empty."""
        if not math.isinf(self._estimate.rate):
            return self.current_rate, 1.0
        return self.rate, max(self.burst - 1, 1.0)

    def _burst_spacing(self) -> float:
        """Return the seconds between two requests of a burst.

        Spaced by the latency, one request is under way at a time; by half of it, two (Little's
        law). The spacing shrinks with each success, so that few requests run into a limit that
        is lower than configured.
        """
        if not self._successes or not math.isinf(self._estimate.rate):
            return 0.0
        return self._min_latency / (1 + _BURST_GROWTH * self._successes)

    def _use_slot(self, generation: int) -> Permit | None:
        """Return a permit, or None if the slot is invalid by now."""
        with self._lock:
            now = monotonic_time()
            if generation != self._generation or not self._take_from_window(now):
                return None
            all_answered = self._requests == self._responses
            idle = all_answered and now - self._last_response_at > _IDLE_SECONDS
            self._requests, self._last_request_at = self._requests + 1, now
            permit = Permit(self._requests, now)
            if idle:
                self._estimate.restart(permit)
            return permit

    def _invalidate_slots(self, at: float) -> None:
        """Invalidate all reserved slots: those who wait reserve a new one, from `at` on."""
        rate, burst = self._current_limits()
        self._generation, self._slot_rate = self._generation + 1, self.current_rate
        self._last_slot = self._last_request_at
        self._on_schedule_at = at if math.isinf(rate) else at + (burst - 1) / rate  # no burst

    def set_limits(self, rate: float, burst: float) -> None:
        """Change the limits; a burst that is not paid off yet is paid off at the new rate.

        Raise FilterError if no request could be sent at that rate; the old limits remain.
        """
        RateLimiter(rate, burst)
        with self._lock:
            now = monotonic_time()
            ahead = max(0.0, self._on_schedule_at - now)
            ahead_requests = 0.0 if math.isinf(self.rate) else ahead * self.rate
            self.rate, self.burst = rate, burst
            if ahead:
                self._on_schedule_at = now + ahead_requests / rate
            self._generation, self._last_slot = self._generation + 1, self._last_request_at

    def pause(self, seconds: float) -> None:
        """Send no request for `seconds`, as the service requires."""
        with self._lock:
            self._pause_until(monotonic_time() + seconds)

    def _pause_until(self, until: float) -> None:
        if until > self._closed_until:
            self._closed_until = until
            self._invalidate_slots(until)

    def limit_window(self, requests: float, seconds: float) -> None:
        """Send at most `requests` within `seconds`, as the service requires."""
        with self._lock:
            # The service may or may not have counted the requests under way. Each response
            # brings a new number, so they are subtracted: too few for a moment is safe.
            self._window_requests = requests - (self._requests - self._responses - 1)
            self._window_end = monotonic_time() + seconds
            if requests <= 0:
                self._pause_until(self._window_end)

    def _take_from_window(self, now: float) -> bool:
        """Use one request of the window; close for a moment and return False if none is left."""
        if now >= self._window_end:
            return True
        if self._window_requests < 1:
            wait = min(max(self._min_latency, _MIN_SECONDS), _MAX_WINDOW_WAIT)
            self._pause_until(min(now + wait, self._window_end))
            return False
        self._window_requests -= 1
        return True

    def record_success(self, permit: Permit) -> None:
        """Count a response, and raise a measured rate a little."""
        with self._lock:
            self._count_response()
            self._successes += 1
            self._min_latency = min(self._min_latency, self._last_response_at - permit.sent_at)
            self._estimate.record_success(permit, self.rate)
            if self.current_rate > _RESCHEDULE_FACTOR * self._slot_rate:
                self._invalidate_slots(self._last_request_at + 1 / self.current_rate)

    def record_failure(self) -> None:
        """Count a request that failed for another reason than the rate."""
        with self._lock:
            self._count_response()

    def record_throttle(self, permit: Permit) -> float | None:
        """Update the measured rate; return the seconds to pause, once the rate is measured."""
        with self._lock:
            self._count_response()
            if self._estimate.record_throttle(permit, self._requests, self.rate):
                self._invalidate_slots(self._last_response_at)
            return _REST_SHARE / self._estimate.rate if self._estimate.is_measured else None

    def _count_response(self) -> None:
        self._responses += 1
        self._last_response_at = monotonic_time()


def _require_number(
    name: str, value: float, allowed: str, is_valid: Callable[[float], bool]
) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not is_valid(value):
        raise FilterError(f"{name} must be {allowed}, got {value!r}")


_LIMITERS: dict[tuple[object, ...], RateLimiter] = {}
_LIMITERS_LOCK = threading.Lock()


def rate_limiter_for(key: tuple[object, ...], *, rate: float, burst: float) -> RateLimiter:
    """Return the rate limiter that all sources with this key share, created if necessary.

    The service counts their requests together. The limits of the last call apply to all.
    """
    with _LIMITERS_LOCK:
        limiter = _LIMITERS.get(key)
        if limiter is None:
            limiter = _LIMITERS[key] = RateLimiter(rate, burst)
        elif (limiter.rate, limiter.burst) != (rate, burst):
            limiter.set_limits(rate, burst)
        return limiter
