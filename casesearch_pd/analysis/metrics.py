"""A frame of cases comes in; how many, how old, how long and how well goes out.

The frame's own provenance says what day it is (`read_at`) and what open means (`is_open`).
Elapsed time is real time, whatever the clocks on the wall did meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis import survival
from casesearch_pd.analysis.display_names import DisplayNames, labels
from casesearch_pd.analysis.flow import flow
from casesearch_pd.analysis.lifecycle import (
    DAY,
    MISSING,
    as_of,
    closed_at,
    column_of,
    is_open,
    microseconds_if_present,
    service_of,
    timestamp_microseconds,
    to_microseconds,
)
from casesearch_pd.analysis.status_history import time_in_status
from casesearch_pd.analysis.survival import warn_of_survivorship_bias
from casesearch_pd.analysis.tags import tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Times = NDArray[np.int64]
    Days = NDArray[np.float64]

__all__ = [
    "as_of",
    "closed_at",
    "durations",
    "flow",
    "is_open",
    "service_of",
    "sla_attainment",
    "summary",
    "tags",
    "time_in_status",
    "time_to_close",
    "within_sla",
]

_SKEW = 60_000_000  # microseconds: clocks differ, and a service tells its own in whole seconds


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

    Raises
    ------
    KeyError
        If a column is needed that was not read.

    Examples
    --------
    >>> days = pd.to_datetime(["2026-03-01", "2026-03-04"], utc=True)
    >>> desk = {"case_id": "a", "status": "closed", "created_at": days[:1], "closed_at": days[1:]}
    >>> durations(pd.DataFrame(desk))
       age_days  close_days  sla_days
    0      <NA>         3.0      <NA>
    """
    now, still = timestamp_microseconds(as_of(cases)), is_open(cases).to_numpy()
    created, closed = (
        to_microseconds(column_of(cases, "created_at")),
        to_microseconds(closed_at(cases)),
    )
    due = microseconds_if_present(cases, "sla_at")
    return pd.DataFrame(
        {
            "age_days": _days(created, now, still & (now - created >= -_SKEW)).clip(lower=0.0),
            "close_days": _days(created, closed, (closed != MISSING) & (closed >= created)),
            "sla_days": _days(np.full(len(due), now), due, still & (due != MISSING)),
        }
    ).set_axis(cases.index)


def _days(start: Times, end: Times | int, known: NDArray[np.bool_]) -> pd.Series[Any]:
    known = known & (start != MISSING)
    with np.errstate(over="ignore"):  # of a missing time, which is masked
        days = (end - start) / DAY
    return pd.Series(pd.array(np.where(known, days, np.nan), dtype="Float64"))


def within_sla(cases: pd.DataFrame) -> pd.Series[Any]:
    """Tell which cases kept their SLA.

    Returns
    -------
    pandas.Series
        True or False for a closed case; False for an open one past its SLA; NA for one that
        still has time, has no SLA, or whose closing nobody knows. Dtype ``boolean``.
    """
    closed, due = to_microseconds(closed_at(cases)), microseconds_if_present(cases, "sla_at")
    still, now = is_open(cases).to_numpy(), timestamp_microseconds(as_of(cases))
    kept = ~still & (closed <= due)
    known = (due != MISSING) & np.where(still, due < now, closed != MISSING)
    answer = pd.array(np.where(known, kept, False), dtype="boolean")
    answer[~known] = pd.NA
    return pd.Series(answer, index=cases.index, name="within_sla")


def sla_attainment(cases: pd.DataFrame) -> pd.Series[Any]:
    """Tell which cases kept their SLA, fit for a share: NA throughout where it would mislead.

    A service that tells the next breach only, as Amazon Connect's
    ``next_sla_breach_datetime``, forgets it when a case is closed. Then every case that was in
    time is missing from `within_sla`, and its share would be 0.
    """
    kept = within_sla(cases)
    forgotten = kept[~is_open(cases).to_numpy()].isna().all()
    return kept.mask(np.full(len(kept), forgotten))


def time_to_close(cases: pd.DataFrame) -> pd.DataFrame:
    """Tell which share of the cases is closed within so many days, open ones censored.

    Returns
    -------
    pandas.DataFrame
        Columns ``days``, ``closed`` (a share), ``low`` and ``high`` (its 95 % band), as
        `casesearch_pd.analysis.survival.curve` makes them.
    """
    warn_of_survivorship_bias(cases, "time to close")
    days = durations(cases)
    return survival.survival_curve(
        _known(_floats(days["close_days"])), _known(_floats(days["age_days"]))
    )


def _floats(column: pd.Series[Any]) -> Days:
    return column.to_numpy(dtype=float, na_value=np.nan)


def _known(days: Days) -> Days:
    return days[~np.isnan(days)]


def summary(
    cases: pd.DataFrame, by: str | Sequence[str] = "status", names: DisplayNames = None
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
        closed), ``within_sla`` (share, 0 to 1, of the cases that kept or missed theirs; NA
        where closed cases do not keep ``sla_at``, as on Amazon Connect).

    Raises
    ------
    KeyError
        If a column is needed that was not read.
    ValueError
        If `by` names a column of lists, or none.

    Warns
    -----
    UserWarning
        If times to close are told of a frame whose own filter chose by status or closing.
    """
    keys = _keys(cases, [by] if isinstance(by, str) else list(by))
    measured = _measured(cases)
    grouped = measured.groupby(keys, dropna=False)
    found = pd.DataFrame({"count": grouped.size(), "open": grouped["open"].sum()}).astype("int64")
    found["median_age_days"] = grouped["age"].median()
    group = grouped.ngroup().to_numpy()
    median, p90 = _close_quantiles(measured, group, len(found)).T
    found = found.assign(median_close_days=median, p90_close_days=p90)
    found["within_sla"] = grouped["kept"].mean()
    if found["median_close_days"].notna().any():
        warn_of_survivorship_bias(cases, "time to close")
    return _worded(found.astype(dict.fromkeys(found.columns[2:], "Float64")), names)


def _keys(cases: pd.DataFrame, by: Sequence[str]) -> list[pd.Series[Any]]:
    keys = [column_of(cases, column).reset_index(drop=True) for column in by]
    if not keys:
        raise ValueError("summary needs a column to group by, such as by='status'")
    for key in keys:
        if key.dtype == object and pd.api.types.infer_dtype(key) == "mixed":
            raise ValueError(
                f"{key.name!r} holds lists, so a case is in several groups; give each its row: "
                f"df.explode({key.name!r})"
            )
    return keys


def _measured(cases: pd.DataFrame) -> pd.DataFrame:
    """Take what groups are measured by, in plain floats: much faster to group than NA."""
    days = durations(cases)
    told = {"age": days["age_days"], "close": days["close_days"], "kept": sla_attainment(cases)}
    floats = {name: _floats(column) for name, column in told.items()}
    return pd.DataFrame(floats | {"open": is_open(cases).to_numpy()})


def _close_quantiles(measured: pd.DataFrame, group: NDArray[Any], groups: int) -> Days:
    """Find the median and the 90th percentile of each group; numbers of groups come in."""
    order = np.argsort(group, kind="stable")
    borders = np.searchsorted(group[order], np.arange(1, groups))
    days = measured[["close", "age"]].to_numpy()[order]
    found = [
        survival.quantiles(_known(part[:, 0]), _known(part[:, 1]), (0.5, 0.9))
        for part in (np.split(days, borders) if groups else [])
    ]
    return np.array(found, dtype=float).reshape(groups, 2)


def _worded(found: pd.DataFrame, names: DisplayNames) -> pd.DataFrame:
    if names is None:
        return found
    if isinstance(found.index, pd.MultiIndex):
        levels = [labels(level, names) for level in found.index.levels]
        return found.set_axis(found.index.set_levels(levels))
    return found.set_axis(pd.Index(labels(found.index, names), name=found.index.name))
