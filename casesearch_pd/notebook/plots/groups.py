"""By a column: how many cases are open and closed in each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from casesearch_pd.notebook.cases import is_open
from casesearch_pd.notebook.plots.grouping import Groups, groups_of
from casesearch_pd.notebook.plots.paper import (
    BLUE,
    LITERALLY,
    ORANGE,
    axes_or_new,
    count_along,
    counted,
    entitle,
    explain_above,
    say_nothing_is_there,
    short,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from casesearch_pd.notebook.names import Names

__all__ = ["breakdown", "name_bars"]


def breakdown(cases: pd.DataFrame, by: str, *, names: Names = None, ax: Axes | None = None) -> Axes:
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
    still, groups = is_open(cases).to_numpy(), groups_of(cases, by, names)
    _stack(ax, groups, still)
    ax.set_xlabel("cases")
    count_along(ax.xaxis)
    if len(cases):
        explain_above(ax)
    total = f"{counted(len(cases))} ({int(still.sum()):,} open)"
    entitle(ax, f"{total} by {short(by)}", cases, room=1)
    return ax if len(cases) else say_nothing_is_there(ax)


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
