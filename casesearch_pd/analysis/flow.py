"""Arrivals, closings and the backlog per calendar period of a time zone.

A day lasts from one local midnight to the next, be it 23, 24 or 25 hours; a day that a zone
skipped (Samoa had no 30 December 2011) is no period.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.lifecycle import (
    MISSING,
    Lifecycle,
    as_of,
    one_row_per_case,
    zone_of,
)
from casesearch_pd.analysis.survival import warn_of_survivorship_bias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.int64]

__all__ = ["FREQUENCIES", "flow", "period_starts"]

_DAY = np.timedelta64(24, "h")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# What users write, and the period of pandas; a week ends on the weekday in its name.
FREQUENCIES = {
    "h": "h",
    "D": "D",
    "W": "W-SUN",
    **{f"W-{day}": f"W-{day}" for day in _WEEKDAYS},
    **{alias: alias[0] for alias in ("M", "MS", "ME", "Q", "QS", "QE", "Y", "YS", "YE")},
}


def flow(cases: pd.DataFrame, freq: str = "D") -> pd.DataFrame:
    """Count cases opened, closed and reopened per period, and open at its end.

    Parameters
    ----------
    cases
        A frame with ``created_at``, ``closed_at`` and, where the service decides by it,
        ``status``; ``last_reopened_datetime`` is used if present.
    freq
        A calendar period in the frame's zone: ``"h"``, ``"D"``, ``"W"`` (from Monday),
        ``"MS"``, ``"QS"``, ``"YS"``.

    Returns
    -------
    pandas.DataFrame
        One row per period from the first creation to the time of the read, without gaps,
        indexed by its start; int64 columns ``opened, closed, reopened, open``. The last ``open``
        is the number of cases that `is_open`. Events at an unknown time, before the creation or
        after the read are not counted: a case that was closed at such a time is in no ``open``,
        and an open case that was created at such a time only in the last.

    Raises
    ------
    KeyError
        If a column is needed that was not read.
    ValueError
        If `freq` is not a supported period, or a case is in the frame twice.

    Warns
    -----
    UserWarning
        If the frame was read with a filter by status or time, so that cases are missing.

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
    cases = one_row_per_case(cases)
    events = _events(Lifecycle.of(cases))
    starts = _periods(events["opened"], freq, as_of(cases), zone_of(cases))
    counts = {name: _count(times, starts) for name, times in events.items()}
    change = counts.pop("entry") - counts.pop("exit") + counts.pop("return")
    return pd.DataFrame(counts | {"open": change.cumsum()}, index=starts[:-1].rename("period"))


def _events(lifecycle: Lifecycle) -> dict[str, Times]:
    """Return the times of each event, and those at which the number of open cases changes."""
    created, open_mask = lifecycle.created, lifecycle.is_open
    # Without its creation, the other events of a case would be those of one that never began.
    closed, reopened = (
        np.where(created == MISSING, MISSING, times)
        for times in (lifecycle.last_closed, lifecycle.reopened)
    )
    # A service keeps only the last closing and the last reopening. So an open case that was
    # closed before counts as closed in between only if it is known to have returned after that.
    returned = open_mask & (closed != MISSING) & (reopened >= closed)
    # A case that was closed at an unknown time is in no count of open cases from the start.
    exits = np.where(~open_mask & (closed == MISSING), created, closed)
    return {
        "opened": created,
        "closed": closed,
        "reopened": reopened,
        # That a case is open is known as of the read, even if its creation is not.
        "entry": np.where(open_mask & (created == MISSING), lifecycle.as_of, created),
        "exit": np.where(~open_mask | returned, exits, MISSING),
        "return": np.where(returned, reopened, MISSING),
    }


def _periods(created: Times, freq: str, now: pd.Timestamp, zone: Any) -> pd.DatetimeIndex:
    known = created[created != MISSING]
    first = pd.Timestamp(known.min(), unit="us", tz="UTC") if len(known) else now
    starts = period_starts(freq, first.tz_convert(zone), now.tz_convert(zone))
    return starts if len(known) else starts[:1]


def _count(times: Times, starts: pd.DatetimeIndex) -> NDArray[np.int64]:
    """Return the number of times in each period; missing and later ones are in none."""
    edges = starts.as_unit("us").asi8
    # The last bin of np.histogram includes its right edge, but a period does not include its end.
    return np.histogram(times[times < edges[-1]], bins=edges)[0] if len(edges) > 1 else edges[:0]


def period_starts(freq: str, first: pd.Timestamp, last: pd.Timestamp) -> pd.DatetimeIndex:
    """Return the starts of the periods from that of `first` to the one after that of `last`.

    Both times are in the zone of the calendar. Raise ValueError if `freq` is not supported.
    """
    if freq not in FREQUENCIES:
        raise ValueError(f"unknown freq {freq!r}; use one of {', '.join(FREQUENCIES)}")
    # One period more on each side: near a clock change local and absolute order differ.
    local = pd.period_range(
        _period(first, freq) - 1, _period(last, freq) + 2, freq=FREQUENCIES[freq]
    )
    starts = _localize(local.start_time, first.tz, hourly=freq == "h")
    begin = starts.searchsorted(first, side="right") - 1
    end = starts.searchsorted(last, side="right")
    return starts[begin : end + 1]


def _period(time: pd.Timestamp, freq: str) -> pd.Period:
    return time.tz_localize(None).to_period(FREQUENCIES[freq])


def _localize(local: pd.DatetimeIndex, zone: Any, *, hourly: bool) -> pd.DatetimeIndex:
    """Return the absolute times of local times, each once and in order."""
    times = _localize_once(local, zone, first=True)
    # A repeated hour is two hours, but a repeated midnight begins one day.
    if hourly:
        times = times.append(_localize_once(local, zone, first=False))
    return pd.DatetimeIndex(times.unique().sort_values())


def _localize_once(local: pd.DatetimeIndex, zone: Any, *, first: bool) -> pd.Index[Any]:
    """Return the first or the second of the absolute times that repeated local times have."""
    choice = np.full(len(local), first)
    # Of the midnight of a skipped day, pandas' shift_forward makes a time in the morning after
    # (3.1). Shifted from a day before, and 24 hours on, it is the end of the day before.
    is_skipped = local.tz_localize(zone, ambiguous=choice, nonexistent="NaT").isna()
    shift = pd.TimedeltaIndex(np.where(is_skipped, _DAY, np.timedelta64(0, "h")))
    shifted = (local - shift).tz_localize(zone, ambiguous=choice, nonexistent="shift_forward")
    return shifted + shift
