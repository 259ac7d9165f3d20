"""Along the calendar: the backlog, and what came and was closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from casesearch_pd.analysis import flow as lives
from casesearch_pd.analysis.lifecycle import MISSING, as_of, column_of, to_microseconds, zone_of
from casesearch_pd.plots.common import (
    BLUE,
    ORANGE,
    VERMILLION,
    axes_or_new,
    count_along,
    count_label,
    draw_empty_state,
    explain_above,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["backlog", "date_along", "fitting", "flow", "heatmap", "period_word", "places_of"]

_DAYS = {"h": 1 / 24, "D": 1.0, "W": 7.0, "MS": 30.4, "YS": 365.2}  # a period takes so many
_BARS, _POINTS = 60, 400  # periods that can be told apart as bars, and as points of a line
_WORDS = {"h": "hour", "D": "day", "W": "week", "M": "month", "Q": "quarter", "Y": "year"}


def backlog(cases: pd.DataFrame, freq: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw how many cases were open at the end of each period.

    Parameters
    ----------
    cases
        The frame.
    freq
        The length of a period; one that fits if None.
    ax
        Where to draw; a new figure if None.
    """
    ax = axes_or_new(ax)
    level = lives.flow(cases, freq or _of_frame(cases, _POINTS))["open"]
    starts = pd.DatetimeIndex(level.index)
    still = int(level.iloc[-1]) if len(level) else 0
    ax.set_ylabel("open cases")
    if len(level):
        heights = np.array([0, *level])  # before the first case came there was none
        places = _until_now(starts, cases)
        ax.fill_between(places, heights, color=BLUE, alpha=0.35, linewidth=0)
        ax.plot(places, heights, color=BLUE)
        date_along(ax, starts)
    _from_zero(ax, level.to_numpy())
    set_title(ax, f"Backlog: {count_label(still, 'open case')}", cases)
    return ax if len(level) else draw_empty_state(ax)


def flow(cases: pd.DataFrame, freq: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw how many cases came, were closed and were reopened in each period.

    Parameters
    ----------
    cases
        The frame.
    freq
        The length of a period; one that fits if None.
    ax
        Where to draw; a new figure if None.
    """
    ax = axes_or_new(ax)
    freq = freq or _of_frame(cases, _BARS)
    events = lives.flow(cases, freq)[["opened", "closed", "reopened"]]
    if len(events):
        starts = pd.DatetimeIndex(events.index)
        _draw_flow(ax, events, _until_now(starts, cases))
        date_along(ax, starts)
        explain_above(ax)
    ax.set_ylabel(f"cases per {period_word(freq)}")
    _from_zero(ax, events.to_numpy())
    opened, closed, _ = events.sum()
    set_title(ax, f"{count_label(opened)} opened, {closed:,} closed", cases, room=1)
    return ax if len(events) else draw_empty_state(ax)


def _draw_flow(ax: Axes, events: pd.DataFrame, edges: NDArray[np.float64]) -> None:
    ax.stairs(events["opened"], edges, fill=True, color=BLUE, alpha=0.5, label="opened")
    ax.stairs(events["closed"], edges, color=VERMILLION, linewidth=1.5, label="closed")
    if events["reopened"].any():
        ax.stairs(events["reopened"], edges, color=ORANGE, linewidth=1.5, label="reopened")


def _of_frame(cases: pd.DataFrame, most: int) -> str:
    created, now = to_microseconds(column_of(cases, "created_at")), as_of(cases)
    known = created[created != MISSING]
    first = pd.Timestamp(known.min(), unit="us", tz="UTC") if len(known) else now
    return fitting(first, now, most)


def fitting(first: pd.Timestamp, now: pd.Timestamp, most: int = _BARS) -> str:
    """Choose the shortest period of which no more than `most` lie between two moments.

    >>> fitting(pd.Timestamp("2026-01-01T00Z"), pd.Timestamp("2026-03-01T00Z"))
    'D'
    """
    days = (now - first) / pd.Timedelta(days=1)
    return next((freq for freq, length in _DAYS.items() if days <= most * length), "YS")


def _until_now(starts: pd.DatetimeIndex, cases: pd.DataFrame) -> NDArray[np.float64]:
    """Place periods whose last one ends with the read, so that it looks as short as it is."""
    end = max(as_of(cases).tz_convert(starts.tz), starts[-1])
    return np.append(places_of(starts), places_of(pd.DatetimeIndex([end])))


def places_of(times: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Place moments on an axis of dates: elapsed time, on which no hour comes twice."""
    elapsed = times.tz_convert("UTC").tz_localize(None).to_numpy()
    return np.asarray(mdates.date2num(elapsed))  # type: ignore[no-untyped-call] # has no types


def date_along(ax: Axes, starts: pd.DatetimeIndex) -> None:
    """Write dates along the axis by the clocks of the periods' zone."""
    # matplotlib.dates has no types.
    locator = mdates.AutoDateLocator(tz=starts.tz, minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    words = mdates.ConciseDateFormatter(locator, tz=starts.tz)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(words)
    ax.margins(x=0.01)


def period_word(freq: str) -> str:
    """Say "day" for "D", "week" for "W-SAT"."""
    return _WORDS[freq[0]]


def _from_zero(ax: Axes, heights: NDArray[np.int64]) -> None:
    count_along(ax.yaxis)
    ax.set_ylim(0, max(1, heights.max(initial=0)) * 1.06)


_DAYS_week = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
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
    ax.set_yticks(range(7), _DAYS_week)
    ax.set_xticks(np.arange(0, _HOURS, 3), [f"{hour:02}:00" for hour in range(0, _HOURS, 3)])
    ax.set_xlabel(f"hour of creation ({times.tz})")
    set_title(ax, f"{count_label(len(times))} by weekday and hour", cases)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    return ax


def _clock_times(created: pd.Series[Any]) -> pd.DatetimeIndex:
    known = to_microseconds(created[created.notna()]).astype("datetime64[us]")
    return pd.DatetimeIndex(known, tz="UTC").tz_convert(zone_of(created))
