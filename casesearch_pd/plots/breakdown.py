"""By a column: how many cases are open and closed in each group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.flow import period_starts
from casesearch_pd.analysis.lifecycle import as_of, column_of, is_open, to_microseconds, zone_of
from casesearch_pd.analysis.metrics import sla_attainment
from casesearch_pd.plots.common import (
    BLUE,
    LITERALLY,
    ORANGE,
    Groups,
    axes_or_new,
    count_along,
    count_label,
    draw_empty_state,
    explain_above,
    group_cases,
    set_title,
    share_along,
    shorten_middle,
)
from casesearch_pd.plots.time_series import date_along, fitting, period_word, places_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from casesearch_pd.analysis.display_names import DisplayNames

__all__ = ["breakdown", "name_bars", "sla"]


def breakdown(
    cases: pd.DataFrame, by: str, *, names: DisplayNames = None, ax: Axes | None = None
) -> Axes:
    """Draw a bar for each group, open cases before closed ones.

    Parameters
    ----------
    cases
        The frame.
    by
        The column that tells the group; a case with several tags is in several bars.
    names
        Words for the ids in the column.
    ax
        Where to draw; a new figure if None.
    """
    ax = axes_or_new(ax)
    still, groups = is_open(cases).to_numpy(), group_cases(cases, by, names)
    _stack(ax, groups, still)
    ax.set_xlabel("cases")
    count_along(ax.xaxis)
    if len(cases):
        explain_above(ax)
    total = f"{count_label(len(cases))} ({int(still.sum()):,} open)"
    set_title(ax, f"{total} by {shorten_middle(by)}", cases, room=1)
    return ax if len(cases) else draw_empty_state(ax)


def _stack(ax: Axes, groups: Groups, still: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    left, done = groups.count(still), groups.count(~still)
    places = np.arange(len(groups.labels))
    ax.barh(places, left, color=ORANGE, label="open")
    bars = ax.barh(places, done, left=left, color=BLUE, label="closed")
    ax.bar_label(bars, labels=[f"{count:,}" for count in left + done], padding=3)
    ax.set_xlim(0, (left + done).max(initial=1) * 1.12)
    name_bars(ax, groups)


def name_bars(ax: Axes, groups: Groups) -> None:
    """Write the groups beside their bars, from the top."""
    ax.set_yticks(range(len(groups.labels)), groups.labels, **LITERALLY)
    ax.set_ylim(max(len(groups.labels), 1) - 0.4, -0.6)


def sla(
    cases: pd.DataFrame,
    by: str | None = None,
    *,
    freq: str | None = None,
    names: DisplayNames = None,
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


def _by_group(cases: pd.DataFrame, by: str, names: DisplayNames, ax: Axes) -> Axes:
    within = sla_attainment(cases)
    decided, met = within.notna().to_numpy(), within.to_numpy(dtype=bool, na_value=False)
    groups = group_cases(cases, by, names, among=decided)
    counts, kept = groups.count(decided), groups.count(met)
    bars = ax.barh(np.arange(len(counts)), kept / counts, color=BLUE)
    said = [f"{ok / all_:.0%} of {all_:,}" for ok, all_ in zip(kept, counts, strict=True)]
    ax.bar_label(bars, labels=said, padding=3)
    name_bars(ax, groups)
    ax.set(xlim=(0, 1.28), xlabel="closed within SLA")
    share_along(ax.xaxis)
    set_title(ax, f"{_overall(met.sum(), decided.sum())} by {shorten_middle(by)}", cases)
    return ax if decided.any() else draw_empty_state(ax, _NOTHING)


def _by_period(cases: pd.DataFrame, freq: str | None, ax: Axes) -> Axes:
    due, met = _due_and_met(cases)
    ax.set(ylim=(0, 1.04), ylabel="closed within SLA")
    share_along(ax.yaxis)
    if len(due):
        now = as_of(cases)
        freq = freq or fitting(due.min(), now)
        _draw_periods(ax, due, met, period_starts(freq, due.min(), now.tz_convert(due.tz)))
        ax.set_xlabel(f"{period_word(freq)} in which the SLA ran out ({due.tz})")
    set_title(ax, _overall(met.sum(), len(due)), cases)
    return ax if len(due) else draw_empty_state(ax, _NOTHING)


_NOTHING = "no closed case tells its SLA,\nso nobody knows which were in time"


def _due_and_met(cases: pd.DataFrame) -> tuple[pd.DatetimeIndex, NDArray[np.bool_]]:
    """Tell when the SLA of each case ran out that did so before the read, and if it was met."""
    within, column = sla_attainment(cases), column_of(cases, "sla_at")
    times = pd.DatetimeIndex(to_microseconds(column).astype("datetime64[us]"), tz="UTC")
    ran_out = within.notna().to_numpy() & (times <= as_of(cases))
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
    return f"Within SLA: {met / decided:.0%} ({met:,} of {count_label(int(decided))})"
