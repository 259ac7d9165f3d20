"""Calendar periods of a zone: a frequency and two moments come in, the starts of periods go out.

A day is from one midnight to the next on the clocks of the zone, be it 23, 24 or 25 hours; a
day that the zone left out (Samoa had no 30 December 2011) is no period.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

__all__ = ["FREQUENCIES", "starts_of"]

_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# What users write, and what pandas calls the period; a week ends on the weekday of its name.
FREQUENCIES = {
    "h": "h",
    "D": "D",
    "W": "W-SUN",
    **{f"W-{day}": f"W-{day}" for day in _WEEKDAYS},
    **{written: written[0] for written in ("M", "MS", "ME", "Q", "QS", "QE", "Y", "YS", "YE")},
}


def starts_of(freq: str, first: pd.Timestamp, last: pd.Timestamp) -> pd.DatetimeIndex:
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
