"""Plots of durations: the ages of open cases, and the time until cases are closed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from casesearch_pd.analysis.display_names import plural
from casesearch_pd.analysis.lifecycle import (
    DAY,
    MISSING,
    as_of,
    column_of,
    is_open,
    timestamp_microseconds,
    to_microseconds,
)
from casesearch_pd.analysis.metrics import durations
from casesearch_pd.analysis.survival import quantiles, survival_curve, warn_of_survivorship_bias
from casesearch_pd.plots.common import (
    BLUE,
    COLOURS,
    GREY,
    Groups,
    axes_or_new,
    draw_empty_state,
    format_count_axis,
    format_share_axis,
    group_cases,
    legend_beside,
    set_title,
    shorten_middle,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from casesearch_pd.analysis.display_names import DisplayNames

__all__ = ["ages", "time_to_close"]

_AGE_EDGES = (0, 1, 2, 4, 7, 14, 30, 60, 90, 180, 365)  # days
_MIN_AGE_EDGES = 2
_MOST = 0.95  # of the closed cases decide the extent of the x axis
_MAX_BANDS = 4  # more would hide each other
_MAX_LEVELS = 2_000  # steps of a curve; more than a plot has pixels
_CURVE_COLUMNS = ("days", "closed", "low", "high")


def ages(cases: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a bar of open cases for each age range; see `CasePlots.ages`."""
    ax = axes_or_new(ax)
    days = _open_case_ages(cases)
    counts, range_labels = _count_by_age_range(days)
    bars = ax.bar(np.arange(len(range_labels)), counts, color=BLUE)
    ax.bar_label(bars, labels=[f"{count:,}" if count else "" for count in counts], padding=2)
    ax.set_xticks(range(len(range_labels)), range_labels)
    ax.set(xlabel="age (days)", ylabel="open cases", ylim=(0, max(1, *counts) * 1.12))
    format_count_axis(ax.yaxis)
    set_title(ax, f"{plural(len(days), 'open case')} by age", cases)
    return ax


def _open_case_ages(cases: pd.DataFrame) -> NDArray[np.float64]:
    """Return the ages in days; unlike `durations` this needs no ``closed_at``."""
    created = to_microseconds(column_of(cases, "created_at"))
    created = created[is_open(cases).to_numpy() & (created != MISSING)]
    days: NDArray[np.float64] = (timestamp_microseconds(as_of(cases)) - created) / DAY
    # The service's clock has whole seconds, so a new case may seem to be created after the read.
    return days.clip(min=0)


def _count_by_age_range(days: NDArray[np.float64]) -> tuple[list[int], list[str]]:
    """Return counts and labels of ranges of growing width, up to the oldest case."""
    oldest = float(days.max()) if len(days) else 0.0
    edges = [
        edge
        for at, edge in enumerate(_AGE_EDGES)
        if at < _MIN_AGE_EDGES or _AGE_EDGES[at - 1] < oldest
    ]
    counts = np.histogram(days, bins=[*edges, np.inf] if oldest >= edges[-1] else edges)[0]
    range_labels = [_range_label(low, high) for low, high in pairwise(edges)]
    if oldest >= edges[-1]:
        range_labels.append(f"{edges[-1]}+")
    return [int(count) for count in counts], range_labels


def _range_label(low: int, high: int) -> str:
    return f"<{high}" if low == 0 else f"{low}–{high}"  # noqa: RUF001 - a dash between numbers


def time_to_close(
    cases: pd.DataFrame,
    by: str | None = None,
    *,
    names: DisplayNames = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of cases closed after each number of days; see `CasePlots.time_to_close`."""
    warn_of_survivorship_bias(cases, "time to close")
    ax = axes_or_new(ax)
    days = durations(cases)[["close_days", "age_days"]].to_numpy(float, na_value=np.nan)
    title = f"Time to close of {plural(len(cases), 'case')}"
    if by is None:
        curves = [_curve(days, "all")]
        title = f"{title}: median {curves[0].median}" if len(cases) else title
    else:
        curves = _group_curves(days, group_cases(cases, by, names, at_most=len(COLOURS) + 1))
        title = f"{title} by {shorten_middle(by)}"
    _draw_curves(ax, curves)
    if by is not None and curves:
        legend_beside(ax, f"{shorten_middle(by)}: median")
    set_title(ax, title, cases)
    return ax if len(cases) else draw_empty_state(ax)


@dataclass(frozen=True)
class _Curve:
    """The share of a group that is closed after each number of days."""

    label: str
    colour: str
    steps: pd.DataFrame  # the visible ones of its `survival_curve`
    median: str  # "2.5 days", "not reached"
    extent: float  # days within which most of its closed cases were closed


def _group_curves(days: NDArray[np.float64], groups: Groups) -> list[_Curve]:
    # Grey, so that the group of all others is not mistaken for a group like the rest.
    palette = dict(enumerate(COLOURS))
    if groups.has_other:
        palette[len(groups.labels) - 1] = GREY
    return [
        _curve(days[groups.members(group)], label, palette.get(group, GREY))
        for group, label in enumerate(groups.labels)
    ]


def _curve(days: NDArray[np.float64], label: str, colour: str = BLUE) -> _Curve:
    closed, still_open = (column[~np.isnan(column)] for column in days.T)
    (median,) = quantiles(closed, still_open, [0.5])
    text = "not reached" if np.isnan(median) else f"{median:,.1f} days"
    extent = float(np.quantile(closed, _MOST)) if len(closed) else 0.0
    return _Curve(label, colour, _visible_steps(survival_curve(closed, still_open)), text, extent)


def _visible_steps(steps: pd.DataFrame) -> pd.DataFrame:
    # A million steps would take seconds to draw and megabytes in a report: one per level of
    # the share, and the last one, look the same.
    levels = (steps["closed"].to_numpy(float) * _MAX_LEVELS).astype(int)
    first_of_level = np.unique(levels, return_index=True)[1]
    return steps.iloc[np.union1d(first_of_level, [len(steps) - 1])] if len(steps) else steps


def _draw_curves(ax: Axes, curves: list[_Curve]) -> None:
    for curve in curves:
        days, closed, low, high = (curve.steps[name].to_numpy(float) for name in _CURVE_COLUMNS)
        label = f"{curve.label}: {curve.median}"
        ax.step(days, closed, where="post", color=curve.colour, label=label)
        if len(curves) <= _MAX_BANDS:
            band = ax.fill_between(days, low, high, step="post", color=curve.colour, linewidth=0)
            band.set_alpha(0.2)
    ax.set(xlabel="time since creation (days)", ylabel="share closed", ylim=(0, 1.04))
    ax.set_xlim(0, _x_limit(curves))
    format_share_axis(ax.yaxis)


def _x_limit(curves: list[_Curve]) -> float:
    """Return the number of days to draw: twice the extent of a typical group."""
    # The last cases may wait for years, which would press the curves against the y axis.
    typical = float(np.median([curve.extent for curve in curves])) if curves else 0.0
    longest = max((curve.steps["days"].max() for curve in curves if len(curve.steps)), default=0.0)
    return min(2 * typical, float(longest)) or float(longest) or 1.0
