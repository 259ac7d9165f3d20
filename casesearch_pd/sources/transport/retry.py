"""Retries: send one request until it has a response, a permanent error, or no attempt left.

A source raises `TransientError` for what may succeed when it is sent again; any other exception
ends the request. Throttles and other faults have separate limits: a throttled request was valid
but too early, so it may be repeated for minutes, while a service that answers with 500 again
and again will rarely recover within them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from casesearch_pd.errors import (
    AccessDeniedError,
    InvalidRequestError,
    InvalidResponseError,
    NotFoundError,
    ServiceError,
    ServiceUnavailableError,
    ThrottledError,
)
from casesearch_pd.sources.transport.context import Tuning, monotonic_time, wall_time
from casesearch_pd.sources.transport.timestamps import parse_date_header

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from casesearch_pd.sources.transport.context import ReadContext
    from casesearch_pd.sources.transport.rate_limit import Permit, RateLimiter

__all__ = [
    "ErrorAdvice",
    "ErrorResponse",
    "TransientError",
    "invalid_request_error",
    "invalid_response_error",
    "parse_retry_after",
    "permanent_error",
    "send_with_retry",
    "transient_error",
]

_Response = TypeVar("_Response")

# Seconds. A pause doubles with each attempt, from a first one up to the longest.
_FIRST_THROTTLE_PAUSE = 0.4
_FIRST_FAULT_PAUSE = 0.1
_LONGEST_PAUSE = 20.0
_SHORTEST_PAUSE = 0.05
_FIRST_SERVER_ERROR = HTTPStatus.INTERNAL_SERVER_ERROR
_MAX_DOUBLINGS = 32  # beyond them the longest pause applies anyway, and 2**n stays a float


class TransientError(Exception):
    """An error that may not occur again when the request is repeated."""

    def __init__(
        self, error: ServiceError, *, throttled: bool = False, wait: float | None = None
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.throttled = throttled
        self.wait = wait


def send_with_retry(
    send: Callable[[], _Response], rate_limiter: RateLimiter, context: ReadContext
) -> _Response:
    """Send a request until there is a response, a permanent error, or no attempt left.

    `send` sends it once, and raises `TransientError` for an error worth another attempt.

    Raises
    ------
    ServiceError
        The error of the last attempt.
    Cancelled
        If the read is cancelled; no request is sent after that.
    """
    attempts = _Attempts(context.tuning)
    while True:
        permit = rate_limiter.acquire(context)
        try:
            response = _send_timed(send, context)
        except TransientError as fault:
            pause = attempts.next_pause(fault, _report(fault, permit, rate_limiter))
            if pause is None:
                raise fault.error from fault.__cause__
            if pause > context.remaining():
                raise _without_time(fault.error, context) from fault.__cause__
            # The service counts the requests of all workers together, so a throttle stops them
            # all; any other fault concerns this request alone.
            if fault.throttled:
                context.throttled += 1
                rate_limiter.pause(pause)
            else:
                context.sleep(pause)
        except BaseException:
            rate_limiter.record_failure()
            raise
        else:
            rate_limiter.record_success(permit)
            return response


def _report(fault: TransientError, permit: Permit, rate_limiter: RateLimiter) -> float | None:
    """Report a fault to the rate limiter; return the pause it proposes, if it proposes one."""
    if fault.throttled:
        return rate_limiter.record_throttle(permit)
    rate_limiter.record_failure()
    return None


def _without_time(error: ServiceError, context: ReadContext) -> ServiceError:
    """Return the error of an attempt that cannot be repeated within the time limit."""
    message = f"{error}; {context.limit_text} allows no further attempt"
    return type(error)(message, status=error.status, code=error.code, request_id=error.request_id)


def _send_timed(send: Callable[[], _Response], context: ReadContext) -> _Response:
    start = monotonic_time()
    try:
        return send()
    finally:
        context.count_response(monotonic_time() - start)


@dataclass(slots=True)
class _Attempts:
    """The faults of one request so far, and the pause before its next attempt."""

    tuning: Tuning
    throttles: int = 0
    throttle_seconds: float = 0.0
    faults: int = 0
    fault_deadline: float = math.inf

    def next_pause(self, fault: TransientError, proposed: float | None) -> float | None:
        """Return the seconds before the next attempt; None if there is none left.

        `proposed` is the time in which the service takes one more request, once throttles showed
        its rate.
        """
        return (
            self._pause_after_throttle(fault, proposed)
            if fault.throttled
            else self._pause_after_fault(fault)
        )

    def _pause_after_throttle(self, fault: TransientError, proposed: float | None) -> float | None:
        self.throttles += 1
        pause = _backoff(self.throttles, _FIRST_THROTTLE_PAUSE)
        # Once the service's rate is known, there is no need to wait for more than a few requests.
        if proposed is not None:
            pause = min(pause, proposed * 2 ** min(self.throttles - 1, _MAX_DOUBLINGS))
        # The service's own time takes precedence; "0 seconds" again and again would be no pause.
        if fault.wait is not None:
            pause = max(fault.wait, _SHORTEST_PAUSE)
        self.throttle_seconds += pause
        return pause if self.throttle_seconds <= self.tuning.max_throttle_seconds else None

    def _pause_after_fault(self, fault: TransientError) -> float | None:
        self.faults += 1
        now = monotonic_time()
        # The time limit starts with the first fault: a request that was throttled for a minute
        # still has all its attempts.
        self.fault_deadline = min(self.fault_deadline, now + self.tuning.max_fault_seconds)
        pause = _backoff(self.faults, _FIRST_FAULT_PAUSE) if fault.wait is None else fault.wait
        in_time = now + pause <= self.fault_deadline
        return pause if in_time and self.faults < self.tuning.max_fault_attempts else None


def _backoff(attempt: int, first: float) -> float:
    """Return a random part of an exponentially growing pause.

    Without the randomness all workers that failed together would come back together.
    """
    longest = min(_LONGEST_PAUSE, first * 2 ** min(attempt - 1, _MAX_DOUBLINGS))
    return float(random.uniform(0.5, 1.0) * longest)  # noqa: S311 - spreads requests, protects nothing


def parse_retry_after(value: str | None, served_at: float | None = None) -> float | None:
    """Return the seconds of a ``Retry-After`` header, a number or a date; None if it is invalid.

    >>> parse_retry_after("7"), parse_retry_after("-3"), parse_retry_after("soon")
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
    return max(0.0, when - (served_at if served_at is not None else wall_time()))


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A response that is an error."""

    status: int  # the HTTP status
    code: str  # the service's name for the error
    request_id: str | None  # the id that the service's support asks for, if there is one
    text: str  # the service's own text

    def error(self, kind: type[ServiceError], message: str) -> ServiceError:
        """Return an exception with the status, code and request id of the response."""
        return kind(message, status=self.status, code=self.code, request_id=self.request_id)


@dataclass(frozen=True, slots=True)
class ErrorAdvice:
    """What a user can do about a permanent error."""

    access_denied: str  # if access is denied
    not_found: str  # if what was requested does not exist
    redirected: str  # if the service redirects elsewhere


def transient_error(
    response: ErrorResponse,
    retry_after: str | None,
    headers: Mapping[str, str],
    *,
    throttled: bool = False,
) -> TransientError | None:
    """Return the transient error of a throttle or a 5xx response; None for any other response.

    `throttled` says that the service throttles, whatever the status; `retry_after` is the value of
    ``Retry-After`` or of the header that takes its place.
    """
    if response.status == HTTPStatus.TOO_MANY_REQUESTS or throttled:
        error = response.error(
            ThrottledError, f"the service is throttling ({response.text}); pass a lower rate="
        )
        wait = parse_retry_after(retry_after, parse_date_header(headers).timestamp())
        return TransientError(error, throttled=True, wait=wait)
    if response.status == HTTPStatus.REQUEST_TIMEOUT or response.status >= _FIRST_SERVER_ERROR:
        message = f"the service failed ({response.text}); try again later"
        return TransientError(response.error(ServiceUnavailableError, message))
    return None


def permanent_error(
    response: ErrorResponse, advice: ErrorAdvice, *, denied: bool = False
) -> ServiceError:
    """Return the error of a response that no retry would change.

    `denied` says that the code of the error denies access, whatever the status.
    """
    if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} or denied:
        message = f"access denied ({response.text}); {advice.access_denied}"
        return response.error(AccessDeniedError, message)
    if response.status == HTTPStatus.NOT_FOUND:
        return response.error(NotFoundError, f"not found ({response.text}); {advice.not_found}")
    if response.status < HTTPStatus.BAD_REQUEST:
        message = f"the service redirects elsewhere ({response.status}), {advice.redirected}"
        return response.error(NotFoundError, message)
    return invalid_request_error(response)


def invalid_request_error(response: ErrorResponse) -> ServiceError:
    """Return the error of a request that the service rejects."""
    return response.error(
        InvalidRequestError,
        f"the service rejected the request ({response.text}); compare it with the requests of "
        "explain_cases",
    )


def invalid_response_error(
    reason: object, status: int | None, request_id: str | None
) -> InvalidResponseError:
    """Return the error of a success status without a valid result."""
    return InvalidResponseError(
        f"the service returned status {status} without a valid result ({reason}); "
        "check a proxy in between, or report the request id to the service",
        status=status,
        request_id=request_id,
    )
