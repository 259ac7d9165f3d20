"""Ages, times to close and SLA attainment, per case and per group.

Elapsed time is real time, whatever the local clocks did in between; ages count up to the time of
the read (`as_of`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.display_names import DisplayNames, labels
from casesearch_pd.analysis.lifecycle import (
    DAY,
    MISSING,
    as_of,
    closed_at,
    column_of,
    is_open,
    microseconds_if_present,
    timestamp_microseconds,
    to_microseconds,
)
from casesearch_pd.analysis.survival import quantiles, survival_curve, warn_of_survivorship_bias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Times = NDArray[np.int64]
    Days = NDArray[np.float64]

__all__ = [
    "UNKNOWN_ATTAINMENT",
    "durations",
    "sla_attainment",
    "summary",
    "time_to_close",
    "within_sla",
]

# Clocks differ, and a service states its own in whole seconds: a case may seem to be created
# up to a minute after the read.
_MAX_SKEW = 60_000_000  # microseconds
_QUANTILES = (0.5, 0.9)
UNKNOWN_ATTAINMENT = "no closed case has a value in sla_at, so SLA attainment is unknown"


def durations(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the durations of each case in days.

    Parameters
    ----------
    cases
        A frame with ``created_at``, ``closed_at`` and, where the service decides by it,
        ``status``; ``sla_at`` is used if present.

    Returns
    -------
    pandas.DataFrame
        With the index of the frame: ``age_days`` of open cases; ``close_days`` of closed cases,
        from creation to the last closing; ``sla_days``, the days left of open cases, negative
        if overdue. NA where a time is missing or before the creation.

    Raises
    ------
    KeyError
        If a column is needed that was not read.

    Examples
    --------
    >>> days = pd.to_datetime(["2026-03-01", "2026-03-04"], utc=True)
    >>> case = {"case_id": "a", "status": "closed", "created_at": days[:1], "closed_at": days[1:]}
    >>> durations(pd.DataFrame(case))
       age_days  close_days  sla_days
    0      <NA>         3.0      <NA>
    """
    now, open_mask = timestamp_microseconds(as_of(cases)), is_open(cases).to_numpy()
    created = to_microseconds(column_of(cases, "created_at"))
    closed = to_microseconds(closed_at(cases))
    due = microseconds_if_present(cases, "sla_at")
    ages = _days(created, now, open_mask & (now - created >= -_MAX_SKEW))
    return pd.DataFrame(
        {
            "age_days": ages.clip(lower=0.0),
            "close_days": _days(created, closed, (closed != MISSING) & (closed >= created)),
            "sla_days": _days(np.full(len(due), now), due, open_mask & (due != MISSING)),
        }
    ).set_axis(cases.index)


def _days(start: Times, end: Times | int, mask: NDArray[np.bool_]) -> pd.Series[Any]:
    """Return the days between times; NA outside the mask or without a start."""
    mask = mask & (start != MISSING)
    with np.errstate(over="ignore"):  # of missing times, which are masked
        days = (end - start) / DAY
    return pd.Series(pd.array(np.where(mask, days, np.nan), dtype="Float64"))


def within_sla(cases: pd.DataFrame) -> pd.Series[Any]:
    """Return whether each case met its SLA, with dtype ``boolean``.

    True or False for a closed case; False for an open one whose SLA has expired; NA for one that
    still has time, has no SLA, or was closed at an unknown time.
    """
    closed, due = to_microseconds(closed_at(cases)), microseconds_if_present(cases, "sla_at")
    open_mask, now = is_open(cases).to_numpy(), timestamp_microseconds(as_of(cases))
    is_met = ~open_mask & (closed <= due)
    is_known = (due != MISSING) & np.where(open_mask, due < now, closed != MISSING)
    values = pd.array(np.where(is_known, is_met, False), dtype="boolean")
    values[~is_known] = pd.NA
    return pd.Series(values, index=cases.index, name="within_sla")


def sla_attainment(cases: pd.DataFrame) -> pd.Series[Any]:
    """Return `within_sla` for computing shares: all NA where attainment is unknown.

    A service that states only the next breach drops it when a case is closed. Then every case
    that was on time is NA in `within_sla`, and the share of the others would be 0.
    """
    within = within_sla(cases)
    is_dropped = within[~is_open(cases).to_numpy()].isna().all()
    return within.mask(np.full(len(within), is_dropped))


def time_to_close(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the `survival_curve` of the cases, open ones censored."""
    warn_of_survivorship_bias(cases, "time to close")
    days = durations(cases)
    closed, still_open = _floats(days["close_days"]), _floats(days["age_days"])
    return survival_curve(_not_nan(closed), _not_nan(still_open))


def _floats(column: pd.Series[Any]) -> Days:
    return column.to_numpy(dtype=float, na_value=np.nan)


def _not_nan(days: Days) -> Days:
    return days[~np.isnan(days)]


def summary(
    cases: pd.DataFrame, by: str | Sequence[str] = "status", names: DisplayNames = None
) -> pd.DataFrame:
    """Return counts, ages, times to close and SLA attainment of each group.

    Parameters
    ----------
    cases
        A frame with ``created_at``, ``closed_at`` and, where the service decides by it,
        ``status``; ``sla_at`` is used if present.
    by
        The column or columns to group by; a missing value is a group of its own.
    names
        Names for the ids of groups: a mapping, a Series, or a function of the id.

    Returns
    -------
    pandas.DataFrame
        One row per group: ``count``, ``open``, ``median_age_days`` of the open cases,
        ``median_close_days`` and ``p90_close_days`` by Kaplan and Meier (NA where fewer are
        closed), ``within_sla`` (share, 0 to 1, of the cases that met or missed theirs; NA
        where the service drops ``sla_at`` of closed cases).

    Raises
    ------
    KeyError
        If a column is needed that was not read.
    ValueError
        If `by` is empty or names a column of lists.

    Warns
    -----
    UserWarning
        If the result has times to close of a frame that was filtered by status or closing.
    """
    keys = _group_keys(cases, [by] if isinstance(by, str) else list(by))
    measures = _measures(cases)
    grouped = measures.groupby(keys, dropna=False)
    result = pd.DataFrame({"count": grouped.size(), "open": grouped["open"].sum()}).astype("int64")
    result["median_age_days"] = grouped["age"].median()
    group_numbers = grouped.ngroup().to_numpy()
    median, p90 = _close_quantiles(measures, group_numbers, len(result)).T
    result = result.assign(median_close_days=median, p90_close_days=p90)
    result["within_sla"] = grouped["within_sla"].mean()
    if result["median_close_days"].notna().any():
        warn_of_survivorship_bias(cases, "time to close")
    return _with_labels(result.astype(dict.fromkeys(result.columns[2:], "Float64")), names)


def _group_keys(cases: pd.DataFrame, by: Sequence[str]) -> list[pd.Series[Any]]:
    keys = [column_of(cases, column).reset_index(drop=True) for column in by]
    if not keys:
        raise ValueError("summary needs a column to group by, such as by='status'")
    for key in keys:
        if key.dtype == object and pd.api.types.infer_dtype(key) == "mixed":
            raise ValueError(
                f"{key.name!r} holds lists, so a case can be in several groups; give each item "
                f"its own row first: df.explode({key.name!r})"
            )
    return keys


def _measures(cases: pd.DataFrame) -> pd.DataFrame:
    # Plain floats, because grouping them is much faster than grouping nullable columns.
    days = durations(cases)
    columns = {
        "age": days["age_days"],
        "close": days["close_days"],
        "within_sla": sla_attainment(cases),
    }
    floats = {name: _floats(column) for name, column in columns.items()}
    return pd.DataFrame(floats | {"open": is_open(cases).to_numpy()})


def _close_quantiles(measures: pd.DataFrame, group_numbers: NDArray[Any], groups: int) -> Days:
    """Return the median and the 90th percentile of the time to close of each group."""
    # In the order of the groups each group is one slice, found without a pass per group.
    order = np.argsort(group_numbers, kind="stable")
    borders = np.searchsorted(group_numbers[order], np.arange(1, groups))
    days = measures[["close", "age"]].to_numpy()[order]
    rows = [
        quantiles(_not_nan(part[:, 0]), _not_nan(part[:, 1]), _QUANTILES)
        for part in (np.split(days, borders) if groups else [])
    ]
    return np.array(rows, dtype=float).reshape(groups, len(_QUANTILES))


def _with_labels(result: pd.DataFrame, names: DisplayNames) -> pd.DataFrame:
    if names is None:
        return result
    if isinstance(result.index, pd.MultiIndex):
        levels = [labels(level, names) for level in result.index.levels]
        return result.set_axis(result.index.set_levels(levels))
    return result.set_axis(pd.Index(labels(result.index, names), name=result.index.name))
