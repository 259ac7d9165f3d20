"""Plots along time: backlog and flow per period, and arrivals by weekday and hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from casesearch_pd.analysis.display_names import plural
from casesearch_pd.analysis.flow import flow as flow_counts
from casesearch_pd.analysis.lifecycle import (
    MISSING,
    as_of,
    case_count,
    creation_times,
    is_open,
    one_row_per_case,
    zone_of,
)
from casesearch_pd.plots.common import (
    BLUE,
    LITERAL_TEXT,
    ORANGE,
    VERMILLION,
    axes_or_new,
    finish_plot,
    format_count_axis,
    legend_above,
    no_times_reason,
    undated_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = [
    "backlog",
    "date_positions",
    "flow",
    "format_date_axis",
    "heatmap",
    "period_noun",
    "suitable_freq",
]

_PERIOD_DAYS = {"h": 1 / 24, "D": 1.0, "W": 7.0, "MS": 30.4, "YS": 365.2}
_PERIOD_NOUNS = {"h": "hour", "D": "day", "W": "week", "M": "month", "Q": "quarter", "Y": "year"}
_MAX_BARS, _MAX_POINTS = 60, 400  # periods that can be distinguished as bars, as points of a line
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOURS = 24


def backlog(cases: pd.DataFrame, freq: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw how many cases were open at the end of each period; see `CasePlots.backlog`."""
    ax = axes_or_new(ax)
    cases = one_row_per_case(cases)
    open_counts = flow_counts(cases, freq or _suitable_freq_of(cases, _MAX_POINTS))["open"]
    starts = pd.DatetimeIndex(open_counts.index)
    ax.set_ylabel("open cases")
    if len(open_counts):
        heights = np.array([0, *open_counts])  # there was none before the first case
        positions = _period_edges(starts, cases)
        ax.fill_between(positions, heights, color=BLUE, alpha=0.35, linewidth=0)
        ax.plot(positions, heights, color=BLUE)
        format_date_axis(ax, starts)
    _start_at_zero(ax, open_counts.to_numpy())
    open_mask = is_open(cases).to_numpy()
    undated = int((open_mask & (creation_times(cases) == MISSING)).sum())
    title = f"Backlog: {plural(int(open_mask.sum()), 'open case')}{undated_text(undated)}"
    empty = None if len(open_counts) else no_times_reason(cases)
    return finish_plot(ax, cases, title, empty=empty)


def flow(cases: pd.DataFrame, freq: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw how many cases were opened, closed and reopened per period; see `CasePlots.flow`."""
    ax = axes_or_new(ax)
    freq = freq or _suitable_freq_of(cases, _MAX_BARS)
    counts = flow_counts(cases, freq)[["opened", "closed", "reopened"]]
    if len(counts):
        starts = pd.DatetimeIndex(counts.index)
        _draw_flow(ax, counts, _period_edges(starts, cases))
        format_date_axis(ax, starts)
        legend_above(ax)
    ax.set_ylabel(f"cases per {period_noun(freq)}")
    _start_at_zero(ax, counts.to_numpy())
    totals = counts.sum()
    title = f"{plural(totals['opened'], 'case')} opened, {totals['closed']:,} closed"
    title += undated_text(case_count(cases) - int(totals["opened"]))
    empty = None if len(counts) else no_times_reason(cases)
    return finish_plot(ax, cases, title, empty=empty, legend_lines=1)


def _draw_flow(ax: Axes, counts: pd.DataFrame, edges: NDArray[np.float64]) -> None:
    ax.stairs(counts["opened"], edges, fill=True, color=BLUE, alpha=0.5, label="opened")
    ax.stairs(counts["closed"], edges, color=VERMILLION, linewidth=1.5, label="closed")
    if counts["reopened"].any():
        ax.stairs(counts["reopened"], edges, color=ORANGE, linewidth=1.5, label="reopened")


def _suitable_freq_of(cases: pd.DataFrame, most: int) -> str:
    created, now = creation_times(cases), as_of(cases)
    known = created[created != MISSING]
    first = pd.Timestamp(known.min(), unit="us", tz="UTC") if len(known) else now
    return suitable_freq(first, now, most)


def suitable_freq(first: pd.Timestamp, last: pd.Timestamp, most: int = _MAX_BARS) -> str:
    """Return the shortest period of which at most `most` lie between two times.

    >>> suitable_freq(pd.Timestamp("2026-01-01T00Z"), pd.Timestamp("2026-03-01T00Z"))
    'D'
    """
    days = (last - first) / pd.Timedelta(days=1)
    return next((freq for freq, length in _PERIOD_DAYS.items() if days <= most * length), "YS")


def _period_edges(starts: pd.DatetimeIndex, cases: pd.DataFrame) -> NDArray[np.float64]:
    """Return the positions of the periods' edges; the last period ends with the read.

    Drawn at full width, an unfinished period would look like a fall.
    """
    end = max(as_of(cases).tz_convert(starts.tz), starts[-1])
    return np.append(date_positions(starts), date_positions(pd.DatetimeIndex([end])))


def date_positions(times: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Return the positions of times on a date axis."""
    # In UTC, because matplotlib would put the two hours of a clock change at one position.
    elapsed = times.tz_convert("UTC").tz_localize(None).to_numpy()
    return np.asarray(mdates.date2num(elapsed))  # type: ignore[no-untyped-call] # has no types


def format_date_axis(ax: Axes, starts: pd.DatetimeIndex) -> None:
    """Label the x axis with dates in the zone of the periods."""
    # matplotlib.dates has no types.
    locator = mdates.AutoDateLocator(tz=starts.tz, minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    formatter = mdates.ConciseDateFormatter(locator, tz=starts.tz)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(formatter)
    ax.margins(x=0.01)


def period_noun(freq: str) -> str:
    """Return "day" for "D", "week" for "W-SAT"."""
    return _PERIOD_NOUNS[freq[0]]


def _start_at_zero(ax: Axes, heights: NDArray[np.int64]) -> None:
    format_count_axis(ax.yaxis)
    ax.set_ylim(0, max(1, heights.max(initial=0)) * 1.06)


def heatmap(cases: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how many cases were created in each hour of the week; see `CasePlots.heatmap`."""
    ax = axes_or_new(ax)
    cases = one_row_per_case(cases)
    times = _local_times(cases)
    colorbar = _draw_heatmap(ax, times) if len(times) else None
    ax.set_xlabel(f"hour of creation ({times.tz})", **LITERAL_TEXT)
    title = f"{plural(len(times), 'case')} by weekday and hour"
    title += undated_text(len(cases) - len(times))
    empty = None if len(times) else no_times_reason(cases)
    finish_plot(ax, cases, title, empty=empty, colorbar=colorbar)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    return ax


def _draw_heatmap(ax: Axes, times: pd.DatetimeIndex) -> Axes:
    """Draw the hours of a week, and return the Axes of the colorbar."""
    # One number per hour of the week, from Monday 0:00.
    hours = times.day_of_week.to_numpy() * _HOURS + times.hour.to_numpy()
    counts = np.bincount(hours, minlength=7 * _HOURS).reshape(7, _HOURS)
    image = ax.imshow(counts, cmap="cividis", aspect="auto", vmin=0, vmax=max(1, counts.max()))
    ticks = MaxNLocator(nbins=6, integer=True)
    bar = ax.figure.colorbar(image, ax=ax, label="cases", ticks=ticks, format="{x:,.0f}")
    ax.set_yticks(range(7), _WEEKDAYS)
    ax.set_xticks(np.arange(0, _HOURS, 3), [f"{hour:02}:00" for hour in range(0, _HOURS, 3)])
    return bar.ax


def _local_times(cases: pd.DataFrame) -> pd.DatetimeIndex:
    created = creation_times(cases)
    known = created[created != MISSING].astype("datetime64[us]")
    return pd.DatetimeIndex(known, tz="UTC").tz_convert(zone_of(cases))
