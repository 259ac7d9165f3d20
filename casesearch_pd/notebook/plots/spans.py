"""How long: ages of open cases, and the time until cases are closed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from casesearch_pd.notebook import numbers, survival
from casesearch_pd.notebook.cases import MISSING, column_of, instants, is_open, read_at
from casesearch_pd.notebook.plots.grouping import Groups, groups_of
from casesearch_pd.notebook.plots.paper import (
    BLUE,
    COLOURS,
    GREY,
    axes_or_new,
    count_along,
    counted,
    entitle,
    explain_beside,
    say_nothing_is_there,
    share_along,
    short,
)
from casesearch_pd.notebook.survivors import warn_of_survivors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from casesearch_pd.notebook.names import Names

__all__ = ["ages", "time_to_close"]

_DAY = 86_400_000_000  # microseconds
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
    entitle(ax, f"{counted(len(days), 'open case')} by age", cases)
    return ax


def _ages(cases: pd.DataFrame) -> NDArray[np.float64]:
    """Measure the open cases; this needs no ``closed_at``, as `numbers.durations` does."""
    created = instants(column_of(cases, "created_at"))
    created = created[is_open(cases).to_numpy() & (created != MISSING)]
    # Created while the read began: the service tells its clock in whole seconds.
    days: NDArray[np.float64] = (read_at(cases).value // 1000 - created) / _DAY
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
    cases: pd.DataFrame, by: str | None = None, *, names: Names = None, ax: Axes | None = None
) -> Axes:
    """Draw the share of cases closed within so many days, with its 95 % band.

    Open cases are not left out: they are known to take longer than their age (Kaplan and Meier).

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
    warn_of_survivors(cases, "time to close")
    ax = axes_or_new(ax)
    days = numbers.durations(cases)[["close_days", "age_days"]].to_numpy(
        dtype=float, na_value=np.nan
    )
    if by is None:
        half = _draw_curve(ax, days, BLUE, "closed")
        said = f"Time to close of {counted(len(cases))}: {half}"
    else:
        _draw_curves(ax, days, groups_of(cases, by, names, at_most=len(COLOURS) + 1))
        explain_beside(ax, f"{short(by)}, median")
        said = f"Time to close of {counted(len(cases))}, by {short(by)}"
    ax.set(xlabel="time since creation (days)", ylabel="share closed", ylim=(0, 1.02))
    ax.set_xlim(left=0)
    share_along(ax.yaxis)
    entitle(ax, said, cases)
    return ax if len(cases) else say_nothing_is_there(ax)


def _draw_curves(ax: Axes, days: NDArray[np.float64], groups: Groups) -> None:
    for group, label in enumerate(groups.labels):
        rest = groups.has_other and group == len(groups.labels) - 1
        colour = GREY if rest else COLOURS[group]
        _draw_curve(ax, days[groups.members(group)], colour, label)


def _draw_curve(ax: Axes, days: NDArray[np.float64], colour: str, label: str) -> str:
    closed, still = (column[~np.isnan(column)] for column in days.T)
    steps = survival.curve(closed, still)
    half = survival.quantiles(closed, still, [0.5])[0]
    said = "less than half closed" if np.isnan(half) else f"{half:.1f} days"
    ax.step(steps["days"], steps["closed"], where="post", color=colour, label=f"{label}: {said}")
    ax.fill_between(
        steps["days"],
        steps["low"],
        steps["high"],
        step="post",
        color=colour,
        alpha=0.2,
        linewidth=0,
    )
    return said
