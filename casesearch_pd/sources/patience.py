"""One request sent until it has an answer, the error is final, or the patience is at an end."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from casesearch_pd.sources.run import clock, time_of_day

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.errors import ServiceError
    from casesearch_pd.sources.pace import Budget
    from casesearch_pd.sources.rate_estimate import Leave
    from casesearch_pd.sources.run import Run

__all__ = ["Trouble", "patiently", "retry_after"]

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
    began = clock()
    try:
        return send()
    finally:
        run.took(clock() - began)


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
        self.until = min(self.until, clock() + FAULT_PATIENCE)
        pause = _backoff(self.faults, _FAULT_PAUSE) if trouble.wait is None else trouble.wait
        return pause if self.faults < FAULT_TRIES and clock() + pause <= self.until else None


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
    return max(0.0, when - (served_at if served_at is not None else time_of_day()))
