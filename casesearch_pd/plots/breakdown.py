"""Plots by group: open and closed cases, and the share of cases closed within their SLA."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.display_names import plural, shorten_middle
from casesearch_pd.analysis.flow import period_starts
from casesearch_pd.analysis.lifecycle import (
    as_of,
    case_count,
    column_of,
    is_open,
    one_row_per_case,
    times_of,
    zone_of,
)
from casesearch_pd.analysis.metrics import sla_attainment, unknown_attainment
from casesearch_pd.plots.common import (
    BLUE,
    LITERAL_TEXT,
    ORANGE,
    Groups,
    axes_or_new,
    finish_plot,
    format_count_axis,
    format_share_axis,
    group_cases,
    legend_above,
)
from casesearch_pd.plots.time_series import (
    date_positions,
    format_date_axis,
    period_noun,
    suitable_freq,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text
    from numpy.typing import NDArray

    from casesearch_pd.analysis.display_names import DisplayNames

__all__ = ["breakdown", "sla"]

_MESSAGE_LENGTH = 48  # characters per line


def breakdown(
    cases: pd.DataFrame, by: str, *, names: DisplayNames = None, ax: Axes | None = None
) -> Axes:
    """Draw a bar for each group, open cases before closed ones; see `CasePlots.breakdown`."""
    ax = axes_or_new(ax)
    column_of(cases, by)
    cases = one_row_per_case(cases, [by])
    open_mask, groups = is_open(cases).to_numpy(), group_cases(cases, by, names)
    bar_labels = _draw_stacked_bars(ax, groups, open_mask)
    ax.set_xlabel("cases")
    format_count_axis(ax.xaxis)
    if len(cases):
        legend_above(ax)
    total = f"{plural(case_count(cases), 'case')} ({case_count(cases[open_mask]):,} open)"
    return finish_plot(
        ax,
        cases,
        f"{total} by {shorten_middle(by)}",
        empty=None if len(cases) else "no cases",
        legend_lines=1,
        bar_labels=bar_labels,
    )


def _draw_stacked_bars(ax: Axes, groups: Groups, open_mask: NDArray[np.bool_]) -> list[Text]:
    """Draw the bars, and return the labels at their ends."""
    open_counts, closed_counts = groups.count(open_mask), groups.count(~open_mask)
    totals = open_counts + closed_counts
    positions = np.arange(len(groups.labels))
    ax.barh(positions, open_counts, color=ORANGE, label="open")
    bars = ax.barh(positions, closed_counts, left=open_counts, color=BLUE, label="closed")
    bar_labels = ax.bar_label(bars, labels=[f"{total:,}" for total in totals], padding=3)
    ax.set_xlim(0, totals.max(initial=1) * 1.12)
    _label_bars(ax, groups)
    return list(bar_labels)


def _label_bars(ax: Axes, groups: Groups) -> None:
    """Label each bar with its group, the first group on top."""
    ax.set_yticks(range(len(groups.labels)), groups.labels, **LITERAL_TEXT)
    ax.set_ylim(max(len(groups.labels), 1) - 0.4, -0.6)


def sla(
    cases: pd.DataFrame,
    by: str | None = None,
    *,
    freq: str | None = None,
    names: DisplayNames = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of cases closed within their SLA, by group or by period.

    Raises
    ------
    ValueError
        If both `by` and `freq` are given.
    """
    column_of(cases, "sla_at")
    if by is None:
        return _sla_by_period(one_row_per_case(cases), freq, axes_or_new(ax))
    if freq is not None:
        raise ValueError(
            f"by={by!r} and freq={freq!r} exclude each other: sla() draws groups (by=) or "
            "periods (freq=)"
        )
    column_of(cases, by)
    return _sla_by_group(one_row_per_case(cases, [by]), by, names, axes_or_new(ax))


def _sla_by_group(cases: pd.DataFrame, by: str, names: DisplayNames, ax: Axes) -> Axes:
    attainment = sla_attainment(cases)
    known = attainment.notna().to_numpy()
    within = attainment.to_numpy(dtype=bool, na_value=False)
    groups = group_cases(cases, by, names, mask=known)
    totals, within_counts = groups.count(known), groups.count(within)
    bars = ax.barh(np.arange(len(totals)), within_counts / totals, color=BLUE)
    shares = zip(within_counts, totals, strict=True)
    bar_labels = [f"{count / total:.0%} of {total:,}" for count, total in shares]
    texts = ax.bar_label(bars, labels=bar_labels, padding=3)
    _label_bars(ax, groups)
    ax.set(xlim=(0, 1.28), xlabel="closed within SLA")
    format_share_axis(ax.xaxis)
    overall = _overall_text(case_count(cases[within]), case_count(cases[known]))
    return finish_plot(
        ax,
        cases,
        f"{overall} by {shorten_middle(by)}",
        empty=None if known.any() else _empty_message(cases),
        bar_labels=texts,
    )


def _sla_by_period(cases: pd.DataFrame, freq: str | None, ax: Axes) -> Axes:
    due, within = _expired_slas(cases)
    ax.set(ylim=(0, 1.04), ylabel="closed within SLA")
    format_share_axis(ax.yaxis)
    if len(due):
        now = as_of(cases)
        freq = freq or suitable_freq(due.min(), now)
        _draw_share_per_period(
            ax, due, within, period_starts(freq, due.min(), now.tz_convert(due.tz))
        )
        ax.set_xlabel(f"{period_noun(freq)} in which the SLA expired ({due.tz})", **LITERAL_TEXT)
    empty = None if len(due) else _empty_message(cases)
    return finish_plot(ax, cases, _overall_text(within.sum(), len(due)), empty=empty)


def _empty_message(cases: pd.DataFrame) -> str:
    return fill(unknown_attainment(cases), _MESSAGE_LENGTH) if len(cases) else "no cases"


def _expired_slas(cases: pd.DataFrame) -> tuple[pd.DatetimeIndex, NDArray[np.bool_]]:
    """Return when each SLA expired that did so before the read, and whether it was met."""
    attainment = sla_attainment(cases)
    times = pd.DatetimeIndex(times_of(cases, "sla_at").astype("datetime64[us]"), tz="UTC")
    expired = attainment.notna().to_numpy() & (times <= as_of(cases))
    within = attainment.to_numpy(dtype=bool, na_value=False)
    return times[expired].tz_convert(zone_of(cases)), within[expired]


def _draw_share_per_period(
    ax: Axes, due: pd.DatetimeIndex, within: NDArray[np.bool_], starts: pd.DatetimeIndex
) -> None:
    period = starts.searchsorted(due, side="right") - 1
    totals = np.bincount(period, minlength=len(starts) - 1)
    counts = np.bincount(period[within], minlength=len(starts) - 1)
    # A period in which no SLA expired has no share: a gap, not 0 %.
    share = np.divide(counts, totals, out=np.full(len(totals), np.nan), where=totals > 0)
    edges = date_positions(starts)
    ax.stairs(share, edges, fill=True, color=BLUE, alpha=0.35)
    ax.stairs(share, edges, color=BLUE)
    format_date_axis(ax, starts)


def _overall_text(within: Any, total: Any) -> str:
    """Return the share of all cases with its counts; without cases, only the name of the metric.

    >>> _overall_text(3, 4), _overall_text(0, 0)
    ('Within SLA: 75% (3 of 4 cases)', 'Within SLA')
    """
    if not total:
        return "Within SLA"
    return f"Within SLA: {within / total:.0%} ({within:,} of {plural(int(total), 'case')})"
