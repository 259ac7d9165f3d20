"""When in the week cases come: weekday and hour of their creation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from casesearch_pd.notebook.cases import column_of, instants, zone_of
from casesearch_pd.notebook.plots.paper import axes_or_new, counted, entitle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["heatmap"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOURS = 24


def heatmap(cases: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how many cases came in each hour of the week, by the clocks of the frame's zone.

    Parameters
    ----------
    cases
        The frame.
    ax
        Where to draw; a new figure if None.
    """
    ax = axes_or_new(ax)
    times = _clock_times(column_of(cases, "created_at"))
    cells = times.day_of_week.to_numpy() * _HOURS + times.hour.to_numpy()
    counts = np.bincount(cells, minlength=7 * _HOURS).reshape(7, _HOURS)
    shown = ax.imshow(counts, cmap="cividis", aspect="auto", vmin=0, vmax=max(1, counts.max()))
    ticks = MaxNLocator(nbins=6, integer=True)
    ax.figure.colorbar(shown, ax=ax, label="cases", ticks=ticks, format="{x:,.0f}")
    ax.set_yticks(range(7), _DAYS)
    ax.set_xticks(np.arange(0, _HOURS, 3), [f"{hour:02}:00" for hour in range(0, _HOURS, 3)])
    ax.set_xlabel(f"hour of creation ({times.tz})")
    entitle(ax, f"{counted(len(times))} by weekday and hour", cases)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    return ax


def _clock_times(created: pd.Series[Any]) -> pd.DatetimeIndex:
    known = instants(created[created.notna()]).astype("datetime64[us]")
    return pd.DatetimeIndex(known, tz="UTC").tz_convert(zone_of(created))
