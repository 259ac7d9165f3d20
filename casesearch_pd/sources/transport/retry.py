"""One request sent until it has an answer, the error is final, or the patience is at an end."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
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
from casesearch_pd.sources.transport.context import monotonic_time, wall_time
from casesearch_pd.sources.transport.timestamps import served_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from casesearch_pd.sources.transport.context import ReadContext
    from casesearch_pd.sources.transport.rate_limit import Permit, RateLimiter

__all__ = [
    "ErrorAdvice",
    "ErrorResponse",
    "TransientError",
    "invalid_request",
    "malformed_response",
    "parse_retry_after",
    "permanent_error",
    "send_with_retry",
    "transient_error",
]

Answer = TypeVar("Answer")

MAX_THROTTLE_SECONDS = 120.0  # seconds of being throttled, for one request
MAX_FAULT_SECONDS = 20.0  # seconds of any other passing fault, for one request
MAX_FAULT_ATTEMPTS = 6
READ_TIMEOUT = 20.0  # seconds without an answer
CONNECT_TIMEOUT = 5.0
_THROTTLE_PAUSE = 0.4  # seconds at most after the first throttle, and twice as long each time
_FAULT_PAUSE = 0.1
_LONGEST_PAUSE = 20.0
_SHORTEST_PAUSE = 0.05
_DOUBLINGS = 32  # of a pause; beyond them its bound holds anyway


class TransientError(Exception):  # noqa: N818 - a signal between a source and its budget, not an error that users see
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


def send_with_retry(send: Callable[[], Answer], budget: RateLimiter, run: ReadContext) -> Answer:
    """Send until there is an answer, a final error, or no patience left.

    Parameters
    ----------
    send
        Sends once; raises `TransientError` for a passing fault, anything else is final.

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
        except TransientError as trouble:
            pause = patience.pause(trouble, _learn(budget, leave, trouble))
            if pause is None or pause > run.remaining():
                raise trouble.error from trouble.__cause__
            if trouble.throttled:
                run.throttled += 1
                budget.close_for(pause)  # for everybody: the service counts all together
            else:
                run.sleep(pause)
        except BaseException:
            budget.failed()
            raise
        else:
            budget.served(leave)
            return answer


def _learn(budget: RateLimiter, leave: Permit, trouble: TransientError) -> float | None:
    if trouble.throttled:
        return budget.throttled(leave)
    budget.failed()
    return None


def _timed(send: Callable[[], Answer], run: ReadContext) -> Answer:
    began = monotonic_time()
    try:
        return send()
    finally:
        run.count_response(monotonic_time() - began)


@dataclass(slots=True)
class _Patience:
    """How much longer one request is worth trying."""

    throttled_for: float = 0.0
    slowed: int = 0
    faults: int = 0
    until: float = math.inf

    def pause(self, trouble: TransientError, known: float | None) -> float | None:
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
            return pause if self.throttled_for <= MAX_THROTTLE_SECONDS else None
        self.faults += 1
        self.until = min(self.until, monotonic_time() + MAX_FAULT_SECONDS)
        pause = _backoff(self.faults, _FAULT_PAUSE) if trouble.wait is None else trouble.wait
        return (
            pause
            if self.faults < MAX_FAULT_ATTEMPTS and monotonic_time() + pause <= self.until
            else None
        )


def _backoff(attempt: int, base: float) -> float:
    """Wait a random part of an exponentially growing time, so that many readers spread out."""
    longest = min(_LONGEST_PAUSE, base * 2 ** min(attempt - 1, _DOUBLINGS))
    return float(random.uniform(0.5, 1.0) * longest)  # noqa: S311 - spreads readers, hides nothing


def parse_retry_after(value: str | None, served_at: float | None = None) -> float | None:
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
    return max(0.0, when - (served_at if served_at is not None else wall_time()))


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An answer that is an error.

    Parameters
    ----------
    status
        The HTTP status.
    code
        The service's name for the error.
    request_id
        What the service's support asks for, where it gave one.
    words
        The service's own text.
    """

    status: int
    code: str
    request_id: str | None
    words: str

    def error(self, kind: type[ServiceError], message: str) -> ServiceError:
        """Make an error that has what the answer tells."""
        return kind(message, status=self.status, code=self.code, request_id=self.request_id)


@dataclass(frozen=True, slots=True)
class ErrorAdvice:
    """What a user can do about a final error.

    Parameters
    ----------
    denied
        Where access is denied.
    missing
        Where there is no such thing.
    elsewhere
        Where the service redirects.
    """

    denied: str
    missing: str
    elsewhere: str


def transient_error(
    failure: ErrorResponse,
    waits: str | None,
    headers: Mapping[str, str],
    *,
    throttled: bool = False,
) -> TransientError | None:
    """Say what passes by itself: throttles and 5xx; None for what is final.

    Parameters
    ----------
    failure
        The answer.
    waits
        Its ``Retry-After``, or what stands for it.
    headers
        Its headers, for the service's clock.
    throttled
        Whether the service throttles, whatever the status.
    """
    words, status = failure.words, failure.status
    if status == 429 or throttled:  # noqa: PLR2004 - statuses are known by number, here and below
        message = f"the service is throttling ({words}); pass a lower rate="
        wait = parse_retry_after(waits, served_at(headers).timestamp())
        return TransientError(failure.error(ThrottledError, message), throttled=True, wait=wait)
    if status == 408 or status >= 500:  # noqa: PLR2004
        message = f"the service fails ({words}); try again later"
        return TransientError(failure.error(ServiceUnavailableError, message))
    return None


def permanent_error(
    failure: ErrorResponse, advice: ErrorAdvice, *, denied: bool = False
) -> ServiceError:
    """Say what no other try would change; `denied` where the code says so and not the status."""
    status, words = failure.status, failure.words
    if status in {401, 403} or denied:
        message = f"the service denies access ({words}); {advice.denied}"
        return failure.error(AccessDeniedError, message)
    if status == 404:  # noqa: PLR2004
        return failure.error(NotFoundError, f"not found ({words}); {advice.missing}")
    if status < 400:  # noqa: PLR2004
        message = f"the service redirects elsewhere ({status}), {advice.elsewhere}"
        return failure.error(NotFoundError, message)
    return invalid_request(failure)


def invalid_request(failure: ErrorResponse) -> ServiceError:
    """Say that the service does not accept the request."""
    message = f"the service refuses the request ({failure.words})"
    return failure.error(InvalidRequestError, message)


def malformed_response(
    why: object, status: int | None, request_id: str | None
) -> InvalidResponseError:
    """Say that a success holds no answer."""
    return InvalidResponseError(
        f"the service answered {status} with what is no answer ({why}); "
        "a proxy between may have changed it",
        status=status,
        request_id=request_id,
    )
