"""Calendar periods of a zone: a frequency and two moments come in, the starts of periods go out.

A day is from one midnight to the next on the clocks of the zone, be it 23, 24 or 25 hours; a
day that the zone left out (Samoa had no 30 December 2011) is no period.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.lifecycle import (
    MISSING,
    as_of,
    column_of,
    is_open,
    microseconds_if_present,
    to_microseconds,
    zone_of,
)
from casesearch_pd.analysis.survival import warn_of_survivorship_bias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.int64]

__all__ = ["FREQUENCIES", "flow", "period_starts"]

_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# What users write, and what pandas calls the period; a week ends on the weekday of its name.
FREQUENCIES = {
    "h": "h",
    "D": "D",
    "W": "W-SUN",
    **{f"W-{day}": f"W-{day}" for day in _WEEKDAYS},
    **{written: written[0] for written in ("M", "MS", "ME", "Q", "QS", "QE", "Y", "YS", "YE")},
}


def period_starts(freq: str, first: pd.Timestamp, last: pd.Timestamp) -> pd.DatetimeIndex:
    """List the starts of the periods from that of `first` to the one after that of `last`.

    Parameters
    ----------
    freq
        ``"h"``, ``"D"``, ``"W"`` (from Monday), ``"W-SAT"`` (to Saturday), ``"MS"``, ``"QS"``,
        ``"YS"``.
    first, last
        Moments in the zone of the calendar.

    Raises
    ------
    ValueError
        If `freq` is none of these.
    """
    if freq not in FREQUENCIES:
        raise ValueError(f"unknown freq {freq!r}; write one of {', '.join(FREQUENCIES)}")
    wall = pd.period_range(
        _period(first, freq) - 1, _period(last, freq) + 2, freq=FREQUENCIES[freq]
    )
    starts = _in_zone(wall.start_time, first.tz, within_a_day=freq == "h")
    begin = starts.searchsorted(first, side="right") - 1
    end = starts.searchsorted(last, side="right")
    return starts[begin : end + 1]


def _period(moment: pd.Timestamp, freq: str) -> pd.Period:
    return moment.tz_localize(None).to_period(FREQUENCIES[freq])


def _in_zone(wall: pd.DatetimeIndex, zone: Any, *, within_a_day: bool) -> pd.DatetimeIndex:
    """Find the moments of times on the wall; one that the clocks skip is where they went on.

    An hour that comes twice is two hours, a midnight that comes twice begins one day.
    """
    moments = _first_or_second(wall, zone, first=True)
    if within_a_day:
        moments = moments.append(_first_or_second(wall, zone, first=False))
    return pd.DatetimeIndex(moments.unique().sort_values())


def _first_or_second(wall: pd.DatetimeIndex, zone: Any, *, first: bool) -> pd.Index[Any]:
    """Localize; a skipped time is a day of 24 hours after that of the day before.

    pandas' own ``shift_forward`` makes one in the morning of a skipped day's midnight (3.1).
    """
    choice = np.full(len(wall), first)
    skipped = wall.tz_localize(zone, ambiguous=choice, nonexistent="NaT").isna()
    moved = pd.TimedeltaIndex(np.where(skipped, _DAY, np.timedelta64(0)))
    there = (wall - moved).tz_localize(zone, ambiguous=choice, nonexistent="shift_forward")
    return there + moved


_DAY = np.timedelta64(24, "h")


def flow(cases: pd.DataFrame, freq: str = "D") -> pd.DataFrame:
    """Count what came, was closed, was reopened in each period, and was open at its end.

    Parameters
    ----------
    cases
        A frame with ``created_at``, ``closed_at`` and, but for Persona, ``status``;
        ``last_reopened_datetime`` is used where it is there.
    freq
        A calendar period of the frame's zone: ``"h"``, ``"D"``, ``"W"`` (from Monday),
        ``"MS"``, ``"QS"``, ``"YS"``.

    Returns
    -------
    pandas.DataFrame
        A row a period from the first creation to the time of the read, without a gap, indexed
        by its start; int64 columns ``opened, closed, reopened, open``. What happened at an
        unknown time, or before the creation, is not counted; a case that was closed at such a
        time is in no ``open``.

    Raises
    ------
    KeyError
        If a column is needed that was not read.
    ValueError
        If `freq` is no such period.

    Warns
    -----
    UserWarning
        If the frame's own filter chose by status or time, so that cases are missing.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=100) as local:
    ...     df = cs.read_cases(local.connect_cases(), tz="Europe/Berlin")
    >>> weeks = flow(df, "W")
    >>> int(weeks["opened"].sum()), bool(weeks["open"].iloc[-1] == df.cases.is_open.sum())
    (100, True)
    """
    warn_of_survivorship_bias(cases, "flow")
    lives = _lives(cases)
    zone = zone_of(column_of(cases, "created_at"))
    starts = _periods(lives["opened"], freq, as_of(cases), zone)
    counted = {name: _count(times, starts) for name, times in lives.items()}
    change = counted["opened"] - counted.pop("left") + counted.pop("came back")
    return pd.DataFrame(counted | {"open": change.cumsum()}, index=starts[:-1].rename("period"))


def _lives(cases: pd.DataFrame) -> dict[str, Times]:
    """List the times of what happened, and of what made a case leave the open ones or come back.

    A service keeps the last closing and the last reopening only. So an open case that was
    closed before has left only if it came back afterwards as far as is known.
    """
    created, still = to_microseconds(column_of(cases, "created_at")), is_open(cases).to_numpy()
    closed = _not_before(created, to_microseconds(column_of(cases, "closed_at")))
    reopened = _not_before(created, microseconds_if_present(cases, "last_reopened_datetime"))
    back = still & (closed != MISSING) & (reopened >= closed)
    # Nobody knows when: it is left out of the open ones from the start.
    left = np.where(~still & (closed == MISSING), created, closed)
    return {
        "opened": created,
        "closed": closed,
        "reopened": reopened,
        "left": np.where(~still | back, left, MISSING),
        "came back": np.where(back, reopened, MISSING),
    }


def _not_before(created: Times, times: Times) -> Times:
    return np.where((created != MISSING) & (times >= created), times, MISSING)


def _periods(opened: Times, freq: str, now: pd.Timestamp, zone: Any) -> pd.DatetimeIndex:
    known = opened[opened != MISSING]
    first = pd.Timestamp(known.min(), unit="us", tz="UTC") if len(known) else now
    first = first.tz_convert(zone)
    last = max(first, now.tz_convert(zone))
    starts = period_starts(freq, first, last)
    return starts if len(known) else starts[:1]


def _count(times: Times, starts: pd.DatetimeIndex) -> NDArray[np.int64]:
    """Count times by period; what is missing or after the last period is in none."""
    edges = starts.as_unit("us").asi8
    return np.histogram(times[times < edges[-1]], bins=edges)[0] if len(edges) > 1 else edges[:0]
