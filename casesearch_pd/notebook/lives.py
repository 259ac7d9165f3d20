"""Cases come in; how many came, left and were open in each period of the calendar goes out.

A case is open from its creation until its closing, and again from its reopening. Of several
closings and reopenings a service tells the last ones only. So a case that was closed, reopened
and closed again counts as open throughout, and its first closing is in no row; a case that is
open, was closed and came back has the gap that the two times tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.notebook.cases import (
    MISSING,
    column_of,
    instants,
    instants_if_read,
    is_open,
    read_at,
    zone_of,
)
from casesearch_pd.notebook.periods import starts_of
from casesearch_pd.notebook.survivors import warn_of_survivors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.int64]

__all__ = ["flow"]


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
    ...     df = cs.read_cases(local.connect(), tz="Europe/Berlin")
    >>> weeks = flow(df, "W")
    >>> int(weeks["opened"].sum()), bool(weeks["open"].iloc[-1] == df.cases.is_open.sum())
    (100, True)
    """
    warn_of_survivors(cases, "flow")
    lives = _lives(cases)
    zone = zone_of(column_of(cases, "created_at"))
    starts = _periods(lives["opened"], freq, read_at(cases), zone)
    counted = {name: _count(times, starts) for name, times in lives.items()}
    change = counted["opened"] - counted.pop("left") + counted.pop("came back")
    return pd.DataFrame(counted | {"open": change.cumsum()}, index=starts[:-1].rename("period"))


def _lives(cases: pd.DataFrame) -> dict[str, Times]:
    """List the times of what happened, and of what made a case leave the open ones or come back.

    A service keeps the last closing and the last reopening only. So an open case that was
    closed before has left only if it came back afterwards as far as is known.
    """
    created, still = instants(column_of(cases, "created_at")), is_open(cases).to_numpy()
    closed = _not_before(created, instants(column_of(cases, "closed_at")))
    reopened = _not_before(created, instants_if_read(cases, "last_reopened_datetime"))
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
    starts = starts_of(freq, first, last)
    return starts if len(known) else starts[:1]


def _count(times: Times, starts: pd.DatetimeIndex) -> NDArray[np.int64]:
    """Count times by period; what is missing or after the last period is in none."""
    edges = starts.as_unit("us").asi8
    return np.histogram(times[times < edges[-1]], bins=edges)[0] if len(edges) > 1 else edges[:0]
