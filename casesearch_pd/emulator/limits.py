"""Request budgets: a token bucket an operation (Connect), a window of a minute (Persona)."""

import base64
import binascii
import hashlib
import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import msgspec

Clock = Callable[[], float]
_WINDOW = 60.0


@dataclass
class _Level:
    tokens: float
    at: float


class Buckets:
    """One token bucket for each operation, as Amazon Connect Cases counts its quotas.

    Parameters
    ----------
    rate
        Requests per second that are refilled, or None for no limit.
    burst
        Requests that a full bucket holds.
    clock
        Seconds, steadily rising.
    """

    def __init__(self, rate: float | None, burst: float, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate, max(burst, 1.0), clock
        self._levels: dict[str, _Level] = {}
        self._lock = threading.Lock()

    def refuses(self, operation: str) -> bool:
        """Take one request from an operation's bucket; return whether it was empty."""
        if self._rate is None:
            return False
        with self._lock:
            now = self._clock()
            level = self._levels.setdefault(operation, _Level(self._burst, now))
            level.tokens = min(self._burst, level.tokens + (now - level.at) * self._rate)
            level.at = now
            if level.tokens < 1:
                return True
            level.tokens -= 1
            return False


@dataclass(frozen=True, slots=True)
class Standing:
    """What the ``RateLimit-*`` headers say: requests a window, those left, seconds to its end."""

    limit: int
    remaining: int
    reset: int
    refused: bool = False


class Window:
    """A fixed window of a minute from its first request, as Persona counts.

    Parameters
    ----------
    limit
        Requests taken in one window.
    clock
        Seconds, steadily rising.
    """

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit, self._clock = limit, clock
        self._start, self._used = clock(), 0
        self._lock = threading.Lock()

    def take(self) -> Standing:
        """Count one request and return the standing after it."""
        with self._lock:
            now = self._clock()
            if self._used == 0 or now - self._start >= _WINDOW:
                self._start, self._used = now, 0
            refused = self._used >= self._limit
            self._used += not refused
            return self._standing(now, refused=refused)

    def standing(self) -> Standing:
        """Return the standing as it is, counting nothing."""
        with self._lock:
            return self._standing(self._clock(), refused=False)

    def _standing(self, now: float, *, refused: bool) -> Standing:
        reset = max(ceil(_WINDOW - (now - self._start)), 1)
        return Standing(self._limit, self._limit - self._used, reset, refused)


_SIGNED = 16


@dataclass(frozen=True)
class Tokens:
    """Makes and reads the tokens of one service.

    Parameters
    ----------
    secret
        The key of the signatures.
    clock
        Seconds, steadily rising.
    lifetime
        Seconds for which a token is taken, or None for as long as the service runs.
    """

    secret: bytes
    clock: Callable[[], float]
    lifetime: float | None = None

    def issue(self, position: Any, scope: Any) -> str:
        """Return a token for a position in the results of a request."""
        issued = 0.0 if self.lifetime is None else self.clock()  # else the same bytes every time
        body = msgspec.json.encode([position, issued])
        return base64.urlsafe_b64encode(self._signature(body, scope) + body).decode()

    def read(self, token: str, scope: Any) -> Any:
        """Return the position of a token given for the same request.

        Raises
        ------
        ValueError
            The token is not one of ours, not for this request, or has expired.
        """
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("the token is not valid") from error
        signature, body = raw[:_SIGNED], raw[_SIGNED:]
        if not hmac.compare_digest(signature, self._signature(body, scope)):
            raise ValueError("the token is not valid for these parameters")
        position, issued = msgspec.json.decode(body)
        if self.lifetime is not None and self.clock() - issued > self.lifetime:
            raise ValueError("the token has expired")
        return position

    def _signature(self, body: bytes, scope: Any) -> bytes:
        bound = msgspec.json.encode(scope, order="deterministic")
        return hmac.digest(self.secret, bound + b"\n" + body, hashlib.sha256)[:_SIGNED]
