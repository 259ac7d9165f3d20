"""Request limits: a token bucket per operation (Connect), a one-minute window (Persona)."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

Clock = Callable[[], float]
_WINDOW_SECONDS = 60.0


class TokenBuckets:
    """One token bucket for each operation, as Amazon Connect Cases counts its quotas.

    `rate` is in requests per second, None for no limit; `burst` is the capacity of a bucket.
    """

    def __init__(self, rate: float | None, burst: float, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate, max(burst, 1.0), clock
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def refuses(self, operation: str) -> bool:
        """Take one request from an operation's bucket; return whether the bucket was empty."""
        if self._rate is None:
            return False
        with self._lock:
            now = self._clock()
            bucket = self._buckets.setdefault(operation, _Bucket(self._burst, now))
            # A bucket is refilled only when it is used; no timer is needed.
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.updated_at) * self._rate)
            bucket.updated_at = now
            if bucket.tokens < 1:
                return True
            bucket.tokens -= 1
            return False


@dataclass
class _Bucket:
    tokens: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """The values of the ``RateLimit-*`` headers after a request."""

    limit: int
    remaining: int
    # Seconds to the end of the window.
    reset: int
    # Whether the request is refused.
    exceeded: bool = False


class RateLimitWindow:
    """A fixed window of one minute that begins with its first request, as Persona counts."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit, self._clock = limit, clock
        self._start, self._used = clock(), 0
        self._lock = threading.Lock()

    def take(self) -> RateLimitStatus:
        """Count one request and return the status after it."""
        with self._lock:
            now = self._clock()
            if self._used == 0 or now - self._start >= _WINDOW_SECONDS:
                self._start, self._used = now, 0
            exceeded = self._used >= self._limit
            self._used += not exceeded
            return self._status(now, exceeded=exceeded)

    def status(self) -> RateLimitStatus:
        """Return the current status without counting a request."""
        with self._lock:
            return self._status(self._clock(), exceeded=False)

    def _status(self, now: float, *, exceeded: bool) -> RateLimitStatus:
        reset = max(ceil(_WINDOW_SECONDS - (now - self._start)), 1)
        return RateLimitStatus(self._limit, self._limit - self._used, reset, exceeded)
