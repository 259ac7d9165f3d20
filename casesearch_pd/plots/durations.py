"""How long: ages of open cases, and the time until cases are closed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from casesearch_pd.analysis import metrics as numbers
from casesearch_pd.analysis import survival
from casesearch_pd.analysis.lifecycle import (
    DAY,
    MISSING,
    as_of,
    column_of,
    is_open,
    timestamp_microseconds,
    to_microseconds,
)
from casesearch_pd.analysis.survival import warn_of_survivorship_bias
from casesearch_pd.plots.common import (
    BLUE,
    COLOURS,
    GREY,
    Groups,
    axes_or_new,
    count_along,
    count_label,
    draw_empty_state,
    explain_beside,
    group_cases,
    set_title,
    share_along,
    shorten_middle,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from casesearch_pd.analysis.display_names import DisplayNames

__all__ = ["ages", "time_to_close"]

_MOSTLY = 0.95  # of the closed cases
_BANDS = 4  # more hide each other
_LEVELS = 2_000  # more than a picture has pixels
_STEPS = ("days", "closed", "low", "high")
_EDGES = (0, 1, 2, 4, 7, 14, 30, 60, 90, 180, 365)  # days


def ages(cases: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how old the open cases were when the frame was read: a bar for each span of ages.

    Parameters
    ----------
    cases
        The frame.
    ax
        Where to draw; a new figure if None.
    """
    ax = axes_or_new(ax)
    days = _ages(cases)
    counts, labels = _in_spans(days)
    bars = ax.bar(np.arange(len(labels)), counts, color=BLUE)
    ax.bar_label(bars, labels=[f"{count:,}" if count else "" for count in counts], padding=2)
    ax.set_xticks(range(len(labels)), labels)
    ax.set(xlabel="age (days)", ylabel="open cases", ylim=(0, max(1, *counts) * 1.12))
    count_along(ax.yaxis)
    set_title(ax, f"{count_label(len(days), 'open case')} by age", cases)
    return ax


def _ages(cases: pd.DataFrame) -> NDArray[np.float64]:
    """Measure the open cases; this needs no ``closed_at``, as `numbers.durations` does."""
    created = to_microseconds(column_of(cases, "created_at"))
    created = created[is_open(cases).to_numpy() & (created != MISSING)]
    # Created while the read began: the service tells its clock in whole seconds.
    days: NDArray[np.float64] = (timestamp_microseconds(as_of(cases)) - created) / DAY
    return days.clip(min=0)


def _in_spans(days: NDArray[np.float64]) -> tuple[list[int], list[str]]:
    """Count by spans that grow; spans beyond the oldest case are left out."""
    oldest = float(days.max()) if len(days) else 0.0
    edges = [edge for at, edge in enumerate(_EDGES) if at < 2 or _EDGES[at - 1] < oldest]  # noqa: PLR2004
    counts = np.histogram(days, bins=[*edges, np.inf] if oldest >= edges[-1] else edges)[0]
    labels = [_span(low, high) for low, high in pairwise(edges)]
    if oldest >= edges[-1]:
        labels.append(f"{edges[-1]}+")
    return [int(count) for count in counts], labels


def _span(low: int, high: int) -> str:
    return f"<{high}" if low == 0 else f"{low}–{high}"  # noqa: RUF001 - a dash between figures


def time_to_close(
    cases: pd.DataFrame,
    by: str | None = None,
    *,
    names: DisplayNames = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of cases closed within so many days, with its 95 % band.

    Open cases are not left out: they are known to take longer than their age (Kaplan and Meier).
    The bands of more than four groups would hide each other; they are left out.

    Parameters
    ----------
    cases
        The frame.
    by
        The column that tells the group; None for one curve.
    names
        Words for the ids in the column.
    ax
        Where to draw; a new figure if None.
    """
    warn_of_survivorship_bias(cases, "time to close")
    ax = axes_or_new(ax)
    days = numbers.durations(cases)[["close_days", "age_days"]].to_numpy(float, na_value=np.nan)
    said = f"Time to close of {count_label(len(cases))}"
    if by is None:
        curves = [_curve(days, "all")]
        said = f"{said}: half {curves[0].half}" if len(cases) else said
    else:
        curves = _curves(days, group_cases(cases, by, names, at_most=len(COLOURS) + 1))
        said = f"{said} by {shorten_middle(by)}"
    _draw(ax, curves)
    if by is not None and curves:
        explain_beside(ax, f"{shorten_middle(by)}: half closed")
    set_title(ax, said, cases)
    return ax if len(cases) else draw_empty_state(ax)


@dataclass(frozen=True)
class _Curve:
    """The share of a group that is closed within so many days.

    Parameters
    ----------
    label, colour
        The group.
    steps
        What `survival.curve` tells, as much of it as can be seen.
    half
        In how many days half of the group is closed: "in 2.5 days", "not yet".
    mostly
        The days in which most were closed of those that are.
    """

    label: str
    colour: str
    steps: pd.DataFrame
    half: str
    mostly: float


def _curves(days: NDArray[np.float64], groups: Groups) -> list[_Curve]:
    palette = dict(enumerate(COLOURS))
    if groups.has_other:
        palette[len(groups.labels) - 1] = GREY
    return [
        _curve(days[groups.members(group)], label, palette.get(group, GREY))
        for group, label in enumerate(groups.labels)
    ]


def _curve(days: NDArray[np.float64], label: str, colour: str = BLUE) -> _Curve:
    closed, still = (column[~np.isnan(column)] for column in days.T)
    (half,) = survival.quantiles(closed, still, [0.5])
    said = "not yet" if np.isnan(half) else f"in {half:,.1f} days"
    mostly = float(np.quantile(closed, _MOSTLY)) if len(closed) else 0.0
    return _Curve(label, colour, _thinned(survival.survival_curve(closed, still)), said, mostly)


def _thinned(steps: pd.DataFrame) -> pd.DataFrame:
    """Keep of a million steps those that can be seen, and the last one."""
    levels = (steps["closed"].to_numpy(float) * _LEVELS).astype(int)
    kept = np.unique(levels, return_index=True)[1]
    return steps.iloc[np.union1d(kept, [len(steps) - 1])] if len(steps) else steps


def _draw(ax: Axes, curves: list[_Curve]) -> None:
    """Draw the days in which the curves rise, not the years in which the last cases wait."""
    for curve in curves:
        days, closed, low, high = (curve.steps[name].to_numpy(float) for name in _STEPS)
        label = f"{curve.label}: {curve.half}"
        ax.step(days, closed, where="post", color=curve.colour, label=label)
        if len(curves) <= _BANDS:
            band = ax.fill_between(days, low, high, step="post", color=curve.colour, linewidth=0)
            band.set_alpha(0.2)
    ax.set(xlabel="time since creation (days)", ylabel="share closed", ylim=(0, 1.04))
    ax.set_xlim(0, _horizon(curves))
    share_along(ax.yaxis)


def _horizon(curves: list[_Curve]) -> float:
    """Choose how many days are shown: twice those in which most cases of most groups closed."""
    mostly = float(np.median([curve.mostly for curve in curves])) if curves else 0.0
    known = max((curve.steps["days"].max() for curve in curves if len(curve.steps)), default=0.0)
    return min(2 * mostly, float(known)) or float(known) or 1.0
