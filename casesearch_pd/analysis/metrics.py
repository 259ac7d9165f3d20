"""Ages, times to close and SLA attainment, per case and per group.

Elapsed time is real time, whatever the local clocks did in between; ages count up to the time of
the read (`as_of`). Naive times are in the zone of the read, else of another column, else in UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.display_names import DisplayNames, labels
from casesearch_pd.analysis.lifecycle import (
    DAY,
    MISSING,
    Lifecycle,
    check_repeated_cases,
    column_of,
    one_row_per_case,
    service_traits,
    times_if_present,
)
from casesearch_pd.analysis.survival import (
    grouping_bias,
    quantiles,
    survival_curve,
    warn_of_survivorship_bias,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Days = NDArray[np.float64]

__all__ = [
    "durations",
    "sla_attainment",
    "summary",
    "time_to_close",
    "unknown_attainment",
    "within_sla",
]

_QUANTILES = (0.5, 0.9)


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
        if overdue. NA where a time is missing, before the creation or after the read.

    Raises
    ------
    KeyError
        If a column is needed that was not read.
    ValueError
        If a case is in the frame twice.

    Examples
    --------
    >>> days = pd.to_datetime(["2026-03-01", "2026-03-04"], utc=True)
    >>> case = {"case_id": "a", "status": "closed", "created_at": days[:1], "closed_at": days[1:]}
    >>> durations(pd.DataFrame(case))
       age_days  close_days  sla_days
    0      <NA>         3.0      <NA>
    """
    check_repeated_cases(cases)
    lifecycle = Lifecycle.of(cases)
    days = {
        "age_days": lifecycle.age_days,
        "close_days": lifecycle.close_days,
        "sla_days": _sla_days(cases, lifecycle),
    }
    arrays = {name: pd.array(values, dtype="Float64") for name, values in days.items()}
    return pd.DataFrame(arrays, index=cases.index)


def _sla_days(cases: pd.DataFrame, lifecycle: Lifecycle) -> Days:
    due = times_if_present(cases, "sla_at")
    with np.errstate(over="ignore"):  # of missing times
        days = (due - lifecycle.as_of) / DAY
    return np.where(lifecycle.is_open & (due != MISSING), days, np.nan)


def within_sla(cases: pd.DataFrame) -> pd.Series[Any]:
    """Return whether each case met its SLA, with dtype ``boolean``.

    True or False for a closed case; False for an open one whose SLA has expired; NA for one that
    still has time, has no SLA, or was closed at an unknown time. Amazon Connect states only the
    next breach of a case, which a closed one no longer has.
    """
    check_repeated_cases(cases)
    return _within_sla(cases, Lifecycle.of(cases))


def _within_sla(cases: pd.DataFrame, lifecycle: Lifecycle) -> pd.Series[Any]:
    due, closed = times_if_present(cases, "sla_at"), lifecycle.closed
    is_met = ~lifecycle.is_open & (closed <= due)
    is_over = np.where(lifecycle.is_open, due < lifecycle.as_of, closed != MISSING)
    is_known = (due != MISSING) & is_over
    values = pd.array(np.where(is_known, is_met, False), dtype="boolean")
    values[~is_known] = pd.NA
    return pd.Series(values, index=cases.index, name="within_sla")


def sla_attainment(cases: pd.DataFrame) -> pd.Series[Any]:
    """Return `within_sla` for computing shares: all NA where attainment is unknown.

    A service that states only the next breach drops it when a case is closed. Then every case
    that was on time is NA in `within_sla`, and the share of the others would be 0.
    """
    check_repeated_cases(cases)
    return _attainment(cases, Lifecycle.of(cases))


def unknown_attainment(cases: pd.DataFrame) -> str:
    """Return why `sla_attainment` is unknown, and where it is found instead."""
    text = "no closed case has a value in sla_at, so SLA attainment is unknown"
    traits = service_traits(cases)
    if not traits.next_breach_only:
        return text
    return (
        f"{text}: {traits.display_name} states only the next breach of a case, which ends when it "
        "is closed; its SLA items have the outcome: cs.read_related(source, df, kinds='sla')"
    )


def _attainment(cases: pd.DataFrame, lifecycle: Lifecycle) -> pd.Series[Any]:
    within = _within_sla(cases, lifecycle)
    is_dropped = within[~lifecycle.is_open].isna().all()
    return within.mask(np.full(len(within), is_dropped))


def time_to_close(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the `survival_curve` of the cases, open ones censored."""
    warn_of_survivorship_bias(cases, "time to close")
    lifecycle = Lifecycle.of(one_row_per_case(cases))
    return survival_curve(_not_nan(lifecycle.close_days), _not_nan(lifecycle.age_days))


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
        closed, and in groups by status or another column that changes when a case is closed),
        ``within_sla`` (share, 0 to 1, of the cases that met or missed theirs; NA where the
        service drops ``sla_at`` of closed cases, as Amazon Connect does). A case with several
        rows, as ``df.explode("tags")`` gives it, counts once in each group.

    Raises
    ------
    KeyError
        If a column is needed that was not read.
    ValueError
        If `by` is empty or names a column of lists, or a case is in the frame twice.

    Warns
    -----
    UserWarning
        If the result has times to close of a frame that was filtered by status or closing.
    """
    columns = [by] if isinstance(by, str) else list(by)
    _require_groups(cases, columns)
    cases = one_row_per_case(cases, columns)
    keys = [column_of(cases, column).reset_index(drop=True) for column in columns]
    measures = _measures(cases, columns)
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


def _require_groups(cases: pd.DataFrame, by: Sequence[str]) -> None:
    if not by:
        raise ValueError("summary needs a column to group by, such as by='status'")
    for column in by:
        key = column_of(cases, column)
        if key.dtype == object and pd.api.types.infer_dtype(key) == "mixed":
            raise ValueError(
                f"{column!r} holds lists, so a case can be in several groups; give each item "
                f"its own row first: df.explode({column!r})"
            )


def _measures(cases: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    # Plain floats, because grouping them is much faster than grouping nullable columns.
    lifecycle = Lifecycle.of(cases)
    within = _attainment(cases, lifecycle).to_numpy(dtype=float, na_value=np.nan)
    close = lifecycle.close_days
    if any(grouping_bias(column) for column in by):
        close = np.full(len(close), np.nan)
    columns = {"age": lifecycle.age_days, "close": close, "within_sla": within}
    return pd.DataFrame(columns | {"open": lifecycle.is_open})


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
