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
from dataclasses import dataclass

__all__ = ["Leave", "RateEstimate"]


@dataclass(frozen=True, slots=True)
class Leave:
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
    _began: Leave | None = None  # the first request after a time without any
    _emptied: Leave | None = None  # the last request that found the bucket empty
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

    def begins(self, leave: Leave) -> None:
        """Measure anew: after a time without requests the bucket may be full."""
        self._began, self._emptied, self._refused = leave, None, 0

    def served(self, leave: Leave, ceiling: float) -> None:
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

    def throttled(self, leave: Leave, sent: int, ceiling: float) -> bool:
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

    def _first(self, leave: Leave) -> float:
        """Take what passed until now: the true rate is lower, for the first burst is in it."""
        began = self._began or leave
        passed, seconds = leave.number - began.number, leave.at - began.at
        self._sample = min(passed, _SAMPLE)
        return min(self.pace, passed / seconds if seconds > 0 and passed else math.inf)

    def _next(self, leave: Leave, emptied: Leave) -> float:
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
