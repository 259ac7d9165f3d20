"""Lives of cases: when they arrive, are closed, reopened, touched last."""

from dataclasses import dataclass

import numpy as np

from casesearch_pd.local.draws import NEVER, Flags, Floats, Ints, chance

_SPAN_DAYS = 120
HOUR = 3_600_000
_WEEKDAYS = np.array([1.25, 1.15, 1.05, 1.0, 0.95, 0.35, 0.25])
_HOURS = np.array(
    [1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 19, 18, 15, 16, 17, 16, 14, 12, 9, 7, 6, 4, 3, 2]
)
_CLOSE_HOURS = np.array([140.0, 60.0, 20.0, 6.0])  # low, normal, high, urgent


@dataclass(frozen=True)
class Lives:
    """What happened to each case, in milliseconds since 1970; `NEVER` is not yet."""

    created: Ints
    priority: Ints
    closed: Ints
    reopened: Ints
    updated: Ints
    is_open: Flags


def arrivals(rng: np.random.Generator, cases: int, end: int) -> Ints:
    """Return sorted times of arrival; about one in fifty shares the time of the one before."""
    first = (end // HOUR - _SPAN_DAYS * 24) * HOUR
    hours = np.arange(_SPAN_DAYS * 24)
    since_monday = hours + first // HOUR + 3 * 24  # 1970-01-01 was a Thursday
    weights = _HOURS[since_monday % 24] * _WEEKDAYS[since_monday // 24 % 7]
    chosen = rng.choice(hours, size=cases, p=weights / weights.sum())
    times = np.sort(first + chosen * HOUR + rng.integers(0, HOUR, cases))
    same = np.flatnonzero(chance(rng, cases, 0.02))
    times[same] = times[np.maximum(same - 1, 0)]
    return np.sort(times).astype(np.int64)


def lives_of(rng: np.random.Generator, created: Ints, end: int) -> Lives:
    """Return what happens to cases that arrive at these times, up to an end."""
    size = len(created)
    priority = rng.choice(4, size=size, p=[0.22, 0.5, 0.21, 0.07])
    stale = chance(rng, size, 0.05)
    closed = np.where(stale, NEVER, created + _spell(rng, _CLOSE_HOURS[priority]))
    closed = np.where(closed > end, NEVER, closed)
    again = chance(rng, size, 0.08) & (closed != NEVER)
    reopened = np.where(again, np.minimum(closed, end) + _spell(rng, np.full(size, 30.0)), NEVER)
    reopened = np.where(reopened > end, NEVER, reopened)
    second = np.where(reopened == NEVER, 0, reopened) + _spell(rng, _CLOSE_HOURS[priority] / 2)
    done_again = (reopened != NEVER) & (second <= end) & (chance(rng, size, 0.75))
    closed = np.where(done_again, second, closed)
    is_open = (closed == NEVER) | ((reopened != NEVER) & ~done_again)
    last = np.maximum(created, np.maximum(_or_zero(closed), _or_zero(reopened)))
    touched = last + ((end - last) * rng.beta(0.6, 2.5, size)).astype(np.int64)
    settled = np.minimum(last + rng.integers(0, 4 * HOUR, size), end)
    return Lives(created, priority, closed, reopened, np.where(is_open, touched, settled), is_open)


def _spell(rng: np.random.Generator, median_hours: Floats) -> Ints:
    drawn = median_hours * np.exp(rng.normal(0.0, 1.0, len(median_hours)))
    return (drawn * HOUR).astype(np.int64) + 60_000


def _or_zero(times: Ints) -> Ints:
    return np.where(times == NEVER, 0, times)
