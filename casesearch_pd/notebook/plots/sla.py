"""SLA attainment: the share of cases closed in time, by a column or by when they were due.

By time a case counts in the period in which its SLA ran out: all of these are decided, while
of the cases *created* last week only the quick ones are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.notebook.cases import column_of, instants, read_at, zone_of
from casesearch_pd.notebook.numbers import attained
from casesearch_pd.notebook.periods import starts_of
from casesearch_pd.notebook.plots.calendar import (
    date_along,
    fitting,
    period_word,
    places_of,
)
from casesearch_pd.notebook.plots.grouping import groups_of
from casesearch_pd.notebook.plots.groups import name_bars
from casesearch_pd.notebook.plots.paper import (
    BLUE,
    axes_or_new,
    counted,
    entitle,
    say_nothing_is_there,
    share_along,
    short,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from casesearch_pd.notebook.names import Names

__all__ = ["sla"]


def sla(
    cases: pd.DataFrame,
    by: str | None = None,
    *,
    freq: str | None = None,
    names: Names = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of cases that were closed within their SLA.

    Parameters
    ----------
    cases
        The frame.
    by
        The column that tells the group; None for periods.
    freq
        The length of a period; one that fits if None.
    names
        Words for the ids in the column.
    ax
        Where to draw; a new figure if None.

    Raises
    ------
    ValueError
        If both `by` and `freq` are given.
    """
    column_of(cases, "sla_at")
    if by is None:
        return _by_period(cases, freq, axes_or_new(ax))
    if freq is not None:
        raise ValueError("sla() draws groups (by=) or periods (freq=); give one of them")
    return _by_group(cases, by, names, axes_or_new(ax))


def _by_group(cases: pd.DataFrame, by: str, names: Names, ax: Axes) -> Axes:
    within = attained(cases)
    decided, met = within.notna().to_numpy(), within.to_numpy(dtype=bool, na_value=False)
    groups = groups_of(cases, by, names, among=decided)
    counts, kept = groups.count(decided), groups.count(met)
    bars = ax.barh(np.arange(len(counts)), kept / counts, color=BLUE)
    said = [f"{ok / all_:.0%} of {all_:,}" for ok, all_ in zip(kept, counts, strict=True)]
    ax.bar_label(bars, labels=said, padding=3)
    name_bars(ax, groups)
    ax.set(xlim=(0, 1.28), xlabel="closed within SLA")
    share_along(ax.xaxis)
    entitle(ax, f"{_overall(met.sum(), decided.sum())} by {short(by)}", cases)
    return ax if decided.any() else say_nothing_is_there(ax, _NOTHING)


def _by_period(cases: pd.DataFrame, freq: str | None, ax: Axes) -> Axes:
    due, met = _due_and_met(cases)
    ax.set(ylim=(0, 1.04), ylabel="closed within SLA")
    share_along(ax.yaxis)
    if len(due):
        now = read_at(cases)
        freq = freq or fitting(due.min(), now)
        _draw_periods(ax, due, met, starts_of(freq, due.min(), now.tz_convert(due.tz)))
        ax.set_xlabel(f"{period_word(freq)} in which the SLA ran out ({due.tz})")
    entitle(ax, _overall(met.sum(), len(due)), cases)
    return ax if len(due) else say_nothing_is_there(ax, _NOTHING)


_NOTHING = "no closed case tells its SLA,\nso nobody knows which were in time"


def _due_and_met(cases: pd.DataFrame) -> tuple[pd.DatetimeIndex, NDArray[np.bool_]]:
    """Tell when the SLA of each case ran out that did so before the read, and if it was met."""
    within, column = attained(cases), column_of(cases, "sla_at")
    times = pd.DatetimeIndex(instants(column).astype("datetime64[us]"), tz="UTC")
    ran_out = within.notna().to_numpy() & (times <= read_at(cases))
    met = within.to_numpy(dtype=bool, na_value=False)
    return times[ran_out].tz_convert(zone_of(column)), met[ran_out]


def _draw_periods(
    ax: Axes, due: pd.DatetimeIndex, met: NDArray[np.bool_], starts: pd.DatetimeIndex
) -> None:
    period = starts.searchsorted(due, side="right") - 1
    counts = np.bincount(period, minlength=len(starts) - 1)
    kept = np.bincount(period[met], minlength=len(starts) - 1)
    share = np.divide(kept, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    edges = places_of(starts)
    ax.stairs(share, edges, fill=True, color=BLUE, alpha=0.35)
    ax.stairs(share, edges, color=BLUE)
    date_along(ax, starts)


def _overall(met: Any, decided: Any) -> str:
    """Say the share and its numbers; nothing where there are none.

    >>> _overall(3, 4), _overall(0, 0)
    ('Within SLA: 75% (3 of 4 cases)', 'Within SLA')
    """
    if not decided:
        return "Within SLA"
    return f"Within SLA: {met / decided:.0%} ({met:,} of {counted(int(decided))})"
