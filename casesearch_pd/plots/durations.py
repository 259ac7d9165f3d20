"""Plots of durations: the ages of open cases, and the time until cases are closed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from casesearch_pd.analysis.display_names import plural, shorten_middle
from casesearch_pd.analysis.lifecycle import Lifecycle, case_count, column_of, one_row_per_case
from casesearch_pd.analysis.survival import (
    grouping_bias,
    quantiles,
    survival_curve,
    warn_of_survivorship_bias,
)
from casesearch_pd.plots.common import (
    BLUE,
    COLOURS,
    GREY,
    Groups,
    axes_or_new,
    finish_plot,
    format_count_axis,
    format_days_axis,
    format_share_axis,
    group_cases,
    legend_beside,
    no_times_reason,
    undated_text,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from casesearch_pd.analysis.display_names import DisplayNames

__all__ = ["ages", "time_to_close"]

_AGE_EDGES = (0, 1, 2, 4, 7, 14, 30, 60, 90, 180, 365)  # days
_MIN_AGE_EDGES = 2
_MOST = 0.95  # of the closed cases decide the extent of the x axis
_MESSAGE_LENGTH = 48  # characters per line
_MAX_BANDS = 4  # more would hide each other
_MAX_LEVELS = 2_000  # steps of a curve; more than a plot has pixels
_CURVE_COLUMNS = ("days", "closed", "low", "high")


def ages(cases: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a bar of open cases for each age range; see `CasePlots.ages`."""
    ax = axes_or_new(ax)
    cases = one_row_per_case(cases)
    # A read of open cases has no reason to include closed_at.
    lifecycle = Lifecycle.of(cases, needs_closed_at=False)
    days = lifecycle.age_days[~np.isnan(lifecycle.age_days)]
    if len(days):
        _draw_ages(ax, days)
    ax.set(xlabel="age (days)", ylabel="open cases")
    number = int(lifecycle.is_open.sum())
    title = f"{plural(number, 'open case')} by age{undated_text(number - len(days))}"
    empty = no_times_reason(cases) if number or not len(cases) else "no open cases"
    return finish_plot(ax, cases, title, empty=None if len(days) else empty)


def _draw_ages(ax: Axes, days: NDArray[np.float64]) -> None:
    counts, range_labels = _count_by_age_range(days)
    bars = ax.bar(np.arange(len(range_labels)), counts, color=BLUE)
    ax.bar_label(bars, labels=[f"{count:,}" if count else "" for count in counts], padding=2)
    ax.set_xticks(range(len(range_labels)), range_labels)
    ax.set_ylim(0, max(1, *counts) * 1.12)
    format_count_axis(ax.yaxis)


def _count_by_age_range(days: NDArray[np.float64]) -> tuple[list[int], list[str]]:
    """Return counts and labels of ranges of growing width, up to the oldest case."""
    oldest = float(days.max())
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
    if by is not None:
        column_of(cases, by)
    cases = one_row_per_case(cases, [by] if by is not None else [])
    lifecycle = Lifecycle.of(cases)
    days = np.column_stack([lifecycle.close_days, lifecycle.age_days])
    title = f"Time to close of {plural(case_count(cases), 'case')}"
    empty = no_times_reason(cases) if np.isnan(days).all() else None
    if by is None:
        curves = [_curve(days, "all")]
        title = title if empty else f"{title}: median {curves[0].median}"
    else:
        reason = grouping_bias(by)
        empty = empty or (reason and fill(reason, _MESSAGE_LENGTH))
        groups = group_cases(cases, by, names, at_most=len(COLOURS) + 1)
        curves = [] if empty else _group_curves(days, groups)
        title = f"{title} by {shorten_middle(by)}"
    entries = _draw_curves(ax, curves)
    if by is not None and curves:
        legend_beside(ax, f"{shorten_middle(by)}: median", entries)
    return finish_plot(ax, cases, title, empty=empty)


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


def _draw_curves(ax: Axes, curves: list[_Curve]) -> list[tuple[Artist, str]]:
    """Draw the curves, and return the entries of their legend."""
    entries: list[tuple[Artist, str]] = []
    for curve in curves:
        days, closed, low, high = (curve.steps[name].to_numpy(float) for name in _CURVE_COLUMNS)
        (line,) = ax.step(days, closed, where="post", color=curve.colour)
        entries.append((line, f"{curve.label}: {curve.median}"))
        if len(curves) <= _MAX_BANDS:
            band = ax.fill_between(days, low, high, step="post", color=curve.colour, linewidth=0)
            band.set_alpha(0.2)
    ax.set(xlabel="time since creation (days)", ylabel="share closed", ylim=(0, 1.04))
    ax.set_xlim(0, _x_limit(curves))
    format_days_axis(ax.xaxis)
    format_share_axis(ax.yaxis)
    return entries


def _x_limit(curves: list[_Curve]) -> float:
    """Return the number of days to draw: twice the extent of a typical group."""
    # The last cases may wait for years, which would press the curves against the y axis.
    typical = float(np.median([curve.extent for curve in curves])) if curves else 0.0
    longest = max((curve.steps["days"].max() for curve in curves if len(curve.steps)), default=0.0)
    return min(2 * typical, float(longest)) or float(longest) or 1.0
