"""A frame of cases comes in; how many, how old, how long and how well goes out.

The frame's own provenance says what day it is (`read_at`) and what open means (`is_open`);
elapsed time is real time, calendar periods are those of the zone of ``created_at``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.notebook import survival
from casesearch_pd.notebook.cases import (
    MISSING,
    closed_at,
    column_of,
    instants,
    is_open,
    read_at,
    service_of,
    zone_of,
)
from casesearch_pd.notebook.names import Names, labels
from casesearch_pd.notebook.periods import starts_of
from casesearch_pd.notebook.survivors import warn_of_survivors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Times = NDArray[np.int64]

__all__ = [
    "closed_at",
    "durations",
    "flow",
    "is_open",
    "read_at",
    "service_of",
    "summary",
    "time_to_close",
    "within_sla",
]

_DAY = 86_400_000_000  # microseconds
_SKEW = 60_000_000  # microseconds: clocks differ, and a service tells its own in whole seconds
_REOPENED = "last_reopened_datetime"


def durations(cases: pd.DataFrame) -> pd.DataFrame:
    """Measure each case in days.

    Parameters
    ----------
    cases
        A frame with ``created_at``, ``closed_at`` and, but for Persona, ``status``.

    Returns
    -------
    pandas.DataFrame
        With the index of the frame: ``age_days`` of open cases; ``close_days`` of closed ones,
        from creation to the last closing; ``sla_days`` left to open cases, less than 0 where
        overdue. NA where a time is missing or before the creation.
    """
    now, still = _micros(read_at(cases)), is_open(cases).to_numpy()
    created, closed = _times(cases, "created_at"), instants(closed_at(cases))
    due = _times_if_read(cases, "sla_at")
    return pd.DataFrame(
        {
            "age_days": _days(created, now, still & (now - created >= -_SKEW)).clip(lower=0.0),
            "close_days": _days(created, closed, (closed != MISSING) & (closed >= created)),
            "sla_days": _days(np.full(len(due), now), due, still & (due != MISSING)),
        }
    ).set_axis(cases.index)


def _times(cases: pd.DataFrame, column: str) -> Times:
    return instants(column_of(cases, column))


def _times_if_read(cases: pd.DataFrame, column: str) -> Times:
    """Take times that a service or a read may not have."""
    missing = column not in cases.columns
    return np.full(len(cases), MISSING) if missing else _times(cases, column)


def _micros(moment: pd.Timestamp) -> int:
    return int(moment.as_unit("us")._value)  # noqa: SLF001 - what asi8 is of an index


def _days(start: Times, end: Times | int, known: NDArray[np.bool_]) -> pd.Series[Any]:
    known = known & (start != MISSING)
    with np.errstate(over="ignore"):  # of a missing time, which is masked
        days = (end - start) / _DAY
    return pd.Series(pd.array(np.where(known, days, np.nan), dtype="Float64"))


def within_sla(cases: pd.DataFrame) -> pd.Series[Any]:
    """Tell which cases kept their SLA.

    Returns
    -------
    pandas.Series
        True or False for a closed case; False for an open one past its SLA; NA for one that
        still has time, has no SLA, or whose closing nobody knows. Dtype ``boolean``.
    """
    closed, due = instants(closed_at(cases)), _times_if_read(cases, "sla_at")
    still, now = is_open(cases).to_numpy(), _micros(read_at(cases))
    kept = ~still & (closed <= due)
    known = (due != MISSING) & np.where(still, due < now, closed != MISSING)
    answer = pd.array(np.where(known, kept, False), dtype="boolean")
    answer[~known] = pd.NA
    return pd.Series(answer, index=cases.index, name="within_sla")


def time_to_close(cases: pd.DataFrame) -> pd.DataFrame:
    """Tell which share of the cases is closed within so many days, open ones censored.

    Returns
    -------
    pandas.DataFrame
        Columns ``days``, ``closed`` (a share), ``low`` and ``high`` (its 95 % band), as
        `casesearch_pd.notebook.survival.curve` makes them.
    """
    warn_of_survivors(cases, "time to close")
    days = durations(cases)
    return survival.curve(_known(days["close_days"]), _known(days["age_days"]))


def _known(days: pd.Series[Any]) -> NDArray[np.float64]:
    return days.dropna().to_numpy(dtype=float)


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
        by its start; int64 columns ``opened, closed, reopened, open``.
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
    created, still = _times(cases, "created_at"), is_open(cases).to_numpy()
    closed = _not_before(created, _times(cases, "closed_at"))
    reopened = _not_before(created, _times_if_read(cases, _REOPENED))
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


def summary(
    cases: pd.DataFrame, by: str | Sequence[str] = "status", names: Names = None
) -> pd.DataFrame:
    """Count and time the cases of each group.

    Parameters
    ----------
    cases
        A frame with ``created_at``, ``closed_at`` and, but for Persona, ``status``;
        ``sla_at`` is used where it is there.
    by
        The column or columns to group by; a missing value is a group of its own.
    names
        Words for the ids of groups: a mapping, a Series, or a function of the id.

    Returns
    -------
    pandas.DataFrame
        A row a group: ``count``, ``open``, ``median_age_days`` of the open cases,
        ``median_close_days`` and ``p90_close_days`` by Kaplan and Meier (NA where fewer are
        closed), ``within_sla`` (share, 0 to 1, of the cases that kept or missed one).
    """
    by = [by] if isinstance(by, str) else list(by)
    keys = [column_of(cases, column).reset_index(drop=True) for column in by]
    still = is_open(cases).to_numpy()
    rows = durations(cases).reset_index(drop=True).assign(open=still, kept=within_sla(cases).array)
    grouped = rows.groupby(keys if len(keys) > 1 else keys[0], dropna=False, sort=True)
    found = pd.DataFrame(
        {
            "count": grouped.size().astype("int64"),
            "open": grouped["open"].sum().astype("int64"),
            "median_age_days": grouped["age_days"].median().astype("Float64"),
        }
    )
    found[["median_close_days", "p90_close_days"]] = _close_quantiles(grouped)
    found["within_sla"] = grouped["kept"].mean().astype("Float64")
    if found["median_close_days"].notna().any():
        warn_of_survivors(cases, "time to close")
    return _worded(found, names)


def _close_quantiles(grouped: Any) -> Any:
    found = [
        survival.quantiles(_known(rows["close_days"]), _known(rows["age_days"]), (0.5, 0.9))
        for _, rows in grouped[["close_days", "age_days"]]
    ]
    return pd.array(np.array(found).reshape(-1).tolist(), dtype="Float64").reshape(-1, 2)


def _worded(found: pd.DataFrame, names: Names) -> pd.DataFrame:
    if names is None:
        return found
    if isinstance(found.index, pd.MultiIndex):
        levels = [labels(level, names) for level in found.index.levels]
        return found.set_axis(found.index.set_levels(levels))
    return found.set_axis(pd.Index(labels(found.index, names), name=found.index.name))
