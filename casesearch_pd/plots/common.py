"""What all plots share: Axes, colours, titles, legends, text that is safe to draw, and groups."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import chain
from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from casesearch_pd.analysis.display_names import (
    DisplayNames,
    distinct_labels,
    drawable_text,
    labels,
)
from casesearch_pd.analysis.lifecycle import as_of, column_of, zone_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.legend import Legend
    from matplotlib.text import Text
    from numpy.typing import NDArray

__all__ = [
    "BLUE",
    "COLOURS",
    "GREY",
    "LITERAL_TEXT",
    "MAX_GROUPS",
    "ORANGE",
    "VERMILLION",
    "Groups",
    "axes_or_new",
    "describe_plot",
    "finish_plot",
    "format_count_axis",
    "format_days_axis",
    "format_share_axis",
    "group_cases",
    "legend_above",
    "legend_beside",
    "no_times_reason",
    "undated_text",
]

# The palette of Okabe and Ito, which is safe for colour-blind people on white and on black.
BLUE, ORANGE, VERMILLION, GREY = "#0072B2", "#E69F00", "#D55E00", "#999999"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", VERMILLION)

# Names of queues and columns may contain $ and _, which matplotlib would take for a formula.
LITERAL_TEXT: dict[str, Any] = {"parse_math": False, "usetex": False}

MAX_GROUPS = 12
_TITLE_LENGTH = 60  # characters per line
_LEGEND_LINE = 1.6  # height of a line of the legend, in font sizes
_CHARACTER = 0.56  # the mean width of a character, in font sizes
_MARGIN = 3  # pixels between text and the edge of the figure
_MIN_SIZE = 0.2  # of the figure for the plot; if it is less, text is scaled down
_LEAST_SIZE = 0.05  # of the figure
_USUAL_WIDTH = 6  # inches
_ABOVE = "legend above"  # the id of such a legend in SVG
_SCALE, _MAX_SCALINGS = 0.8, 6  # of text that does not fit
_MAX_ROUNDS = 6  # each change of the plot area may change its tick labels


def axes_or_new(ax: Axes | None) -> Axes:
    """Return the Axes, or those of a new figure if there are none."""
    if ax is not None:
        return ax
    _, new = plt.subplots(figsize=(8, 4.5), layout="constrained")
    return new


def finish_plot(
    ax: Axes,
    cases: pd.DataFrame,
    title: str,
    *,
    empty: str | None = None,
    legend_lines: int = 0,
    bar_labels: Sequence[Text] = (),
    colorbar: Axes | None = None,
) -> Axes:
    """Write the title, fit all text into the figure, and return the Axes.

    If it is known why there is nothing to see (`empty`), that is written into them. Space is
    reserved for a legend above the plot and for the labels at the ends of horizontal bars.
    """
    if empty is not None:
        _draw_empty_state(ax, empty)
    _set_title(ax, title, cases, legend_lines)
    _fit(ax, bar_labels, colorbar)
    return ax


def _set_title(ax: Axes, text: str, cases: pd.DataFrame, legend_lines: int) -> None:
    """Write what the plot shows, and as of when; above a legend of so many lines."""
    pad = plt.rcParams["axes.titlepad"] + legend_lines * _LEGEND_LINE * plt.rcParams["font.size"]
    time = f"{as_of(cases).tz_convert(zone_of(cases)):%Y-%m-%d %H:%M %Z}".rstrip()
    points = ax.figure.bbox.width / ax.figure.dpi * 72 * _share_of_width(ax)
    length = min(_TITLE_LENGTH, int(points / (_CHARACTER * float(ax.title.get_fontsize()))))
    lines = [fill(drawable_text(line), max(length, 1)) for line in (text, f"as of {time}")]
    ax.set_title("\n".join(lines), pad=pad, **LITERAL_TEXT)
    ax.spines[["top", "right"]].set_visible(False)


def _share_of_width(ax: Axes) -> float:
    """Return the share of the figure's width that a grid of plots leaves for one of them."""
    cell = ax.get_subplotspec()
    return 1.0 if cell is None else len(cell.colspan) / cell.get_gridspec().ncols


def _fit(ax: Axes, bar_labels: Sequence[Text] = (), colorbar: Axes | None = None) -> None:
    """Move and shrink the plot area until all text is within the figure, at last the text too."""
    # In a figure of a usual size, a layout engine does all that.
    if _has_layout(ax) and ax.figure.bbox.width >= _USUAL_WIDTH * ax.figure.dpi:
        return
    areas = [ax] if colorbar is None else [ax, colorbar]
    positions = [area.get_position(original=True) for area in areas]
    for _ in range(_MAX_SCALINGS):
        if _shrink_to_fit(areas, bar_labels):
            return
        _scale_text(areas)
        if not _has_layout(ax):
            _move(areas, [position.bounds for position in positions])


def _shrink_to_fit(areas: Sequence[Axes], bar_labels: Sequence[Text]) -> bool:
    """Shrink the plot area until text fits; return False if too little of it would be left."""
    for _ in range(_MAX_ROUNDS):
        overflow = _overflow(areas, bar_labels)
        if max(overflow) < 1 or _has_layout(areas[0]):
            break
        _shrink(areas, overflow)
    area, figure = areas[0].bbox, areas[0].figure.bbox
    size = min(area.width / figure.width, area.height / figure.height)
    return max(overflow) < 1 and size >= _MIN_SIZE


def _has_layout(ax: Axes) -> bool:
    return ax.figure.get_layout_engine() is not None


def _overflow(areas: Sequence[Axes], bar_labels: Sequence[Text]) -> list[float]:
    """Return how far text is beyond each edge of the figure, after shifting what can be shifted."""
    ax = areas[0]
    if _has_layout(ax):
        # A warning that the plot has no space is premature: text is scaled down then.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ax.figure.canvas.figure.draw_without_rendering()
    ax.get_tightbbox()  # puts the title where it will be drawn
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
        _shift_inside(ax, text)
    _shift_legend(ax)
    _extend_axis_for(ax, bar_labels)
    box = Bbox.union([box for area in areas if (box := area.get_tightbbox()) is not None])
    outer = ax.figure.bbox.padded(-_MARGIN)
    distances = (outer.x0 - box.x0, outer.y0 - box.y0, box.x1 - outer.x1, box.y1 - outer.y1)
    return [max(0.0, distance) for distance in distances]


def _scale_text(areas: Sequence[Axes]) -> None:
    for area in areas:
        size = area.xaxis.get_ticklabels()[:1] or area.yaxis.get_ticklabels()[:1]
        for label in size:
            area.tick_params(labelsize=_SCALE * float(label.get_fontsize()))
        legend = area.get_legend()
        in_legend = [legend.get_title(), *legend.get_texts()] if legend else []
        for text in (area.title, area.xaxis.label, area.yaxis.label, *area.texts, *in_legend):
            text.set_fontsize(_SCALE * float(text.get_fontsize()))


def _shift_inside(ax: Axes, text: Text) -> None:
    """Shift a title or axis label, which is centred on the plot, along its axis if necessary."""
    if not text.get_text():
        return
    box, outer, area = text.get_window_extent(), ax.figure.bbox.padded(-_MARGIN), ax.bbox
    x, y = text.get_position()
    if text is ax.yaxis.label:
        shift = max(0.0, outer.y0 - box.y0) - max(0.0, box.y1 - outer.y1)
        text.set_y(y + shift / max(area.height, 1))
    else:
        shift = max(0.0, outer.x0 - box.x0) - max(0.0, box.x1 - outer.x1)
        text.set_x(x + shift / max(area.width, 1))


def _shift_legend(ax: Axes) -> None:
    """Shift a legend above the plot, which is centred on it, if necessary."""
    legend = ax.get_legend()
    if legend is None or legend.get_gid() != _ABOVE:
        return
    box, outer = legend.get_window_extent(), ax.figure.bbox.padded(-_MARGIN)
    shift = max(0.0, outer.x0 - box.x0) - max(0.0, box.x1 - outer.x1)
    if shift:
        anchor = legend.get_bbox_to_anchor().x0 + shift
        x = (anchor - ax.bbox.x0) / max(ax.bbox.width, 1)
        legend.set_bbox_to_anchor((x, 1), transform=ax.transAxes)


def _extend_axis_for(ax: Axes, bar_labels: Sequence[Text]) -> None:
    """Extend the x axis until the labels at the ends of the bars are within the plot area."""
    for _ in range(_MAX_ROUNDS):
        overlap = max((text.get_window_extent().x1 for text in bar_labels), default=0) - ax.bbox.x1
        if overlap <= 0 or not bar_labels:
            return
        ax.set_xlim(0, ax.get_xlim()[1] * (1 + overlap / max(ax.bbox.width, 1)))


def _shrink(areas: Sequence[Axes], overflow: Sequence[float]) -> None:
    """Move the edges of some Axes, as of one area, inwards by `overflow` pixels."""
    boxes = [area.get_position(original=True) for area in areas]
    x0, y0, width, height = Bbox.union(boxes).bounds
    sizes = [*areas[0].figure.bbox.size] * 2
    shares = [pixels / size for pixels, size in zip(overflow, sizes, strict=True)]
    x_scale = max(width - shares[0] - shares[2], _LEAST_SIZE) / width
    y_scale = max(height - shares[1] - shares[3], _LEAST_SIZE) / height
    x0_new = min(x0 + shares[0], 1 - x_scale * width)
    y0_new = min(y0 + shares[1], 1 - y_scale * height)
    bounds = [
        (
            x0_new + (box.x0 - x0) * x_scale,
            y0_new + (box.y0 - y0) * y_scale,
            box.width * x_scale,
            box.height * y_scale,
        )
        for box in boxes
    ]
    _move(areas, bounds)


def _move(areas: Sequence[Axes], bounds: Sequence[tuple[float, float, float, float]]) -> None:
    for area, position in zip(areas, bounds, strict=True):
        area.set_position(position)
        # set_position excludes Axes from a layout that the user may still ask for.
        area.set_in_layout(True)


def legend_above(ax: Axes) -> None:
    """Put the legend, in one line, between the title and the plot, where it covers neither."""
    legend = ax.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, borderpad=0
    )
    legend.set_gid(_ABOVE)


def legend_beside(ax: Axes, title: str, entries: Sequence[tuple[Artist, str]]) -> None:
    """Put the legend, one entry per line, to the right of the plot."""
    options: dict[str, Any] = {"title": title, "alignment": "left"}
    legend = _draw_legend(
        ax, entries, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, **options
    )
    # In a small figure, a legend outside would leave no space for the plot.
    for size in ("small", "x-small", "xx-small"):
        if legend.get_window_extent().width <= ax.figure.bbox.width / 2:
            return
        sizes = {"fontsize": size, "title_fontsize": size}
        legend = _draw_legend(ax, entries, loc="best", **sizes, **options)


def _draw_legend(ax: Axes, entries: Sequence[tuple[Artist, str]], **options: Any) -> Legend:
    # Matplotlib leaves out labels that begin with an underscore, so they are set afterwards.
    legend = ax.legend([handle for handle, _ in entries], ["-"] * len(entries), **options)
    for text, (_, label) in zip(legend.get_texts(), entries, strict=True):
        text.set_text(label)
    for text in (legend.get_title(), *legend.get_texts()):
        text.set(**LITERAL_TEXT)
    return legend


class _InnerLocator(MaxNLocator):
    """A `MaxNLocator` without the ticks beyond the limits, whose labels are never drawn."""

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return the positions of the ticks between two limits."""
        low, high = min(vmin, vmax), max(vmin, vmax)
        margin = 1e-9 * (high - low)
        ticks = super().tick_values(vmin, vmax)
        return [tick for tick in ticks if low - margin <= tick <= high + margin]


def format_count_axis(axis: Axis) -> None:
    """Label an axis with whole numbers."""
    axis.set_major_locator(_InnerLocator(nbins="auto", integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def format_days_axis(axis: Axis) -> None:
    """Label an axis with numbers of days."""
    axis.set_major_locator(_InnerLocator(nbins="auto", steps=[1, 2, 2.5, 5, 10]))


def format_share_axis(axis: Axis) -> None:
    """Label an axis of shares with percentages."""
    axis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def _draw_empty_state(ax: Axes, message: str) -> None:
    ax.text(0.5, 0.5, message, transform=ax.transAxes, ha="center", va="center")
    ax.set(xticks=[], yticks=[])


def no_times_reason(cases: pd.DataFrame) -> str:
    """Return why a plot along time is empty."""
    return "no case has a known creation time" if len(cases) else "no cases"


def undated_text(number: int) -> str:
    """Return a note for the title on cases that are not drawn; empty if there are none."""
    return f" ({number:,} without a known creation time)" if number else ""


def describe_plot(ax: Axes) -> str:
    """Return a text for those who cannot see the plot: its title and its axes."""
    title = ", ".join(ax.get_title().splitlines())
    axis_labels = [label for label in (ax.get_ylabel(), ax.get_xlabel()) if label]
    return f"{title}. {' against '.join(axis_labels)}".strip()


@dataclass(frozen=True)
class Groups:
    """The groups of a column, largest first, the smallest ones together at the end."""

    labels: list[str]
    # The group and the row of each entry; a row with two tags has two entries.
    codes: NDArray[np.intp]
    rows: NDArray[np.intp]
    # Whether the last group is that of the smallest ones.
    has_other: bool

    def count(self, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the number of masked rows in each group."""
        return np.bincount(self.codes[mask[self.rows]], minlength=len(self.labels))

    def members(self, group: int) -> NDArray[np.intp]:
        """Return the rows of a group."""
        rows: NDArray[np.intp] = self.rows[self.codes == group]
        return rows


def group_cases(
    cases: pd.DataFrame,
    by: str,
    names: DisplayNames = None,
    *,
    at_most: int = MAX_GROUPS,
    mask: NDArray[np.bool_] | None = None,
) -> Groups:
    """Return at most so many groups of the (masked) cases, the smallest ones joined as "other".

    Each item of a list is a group of its own, and so is a missing value.
    """
    column = column_of(cases, by).reset_index(drop=True)
    rows, entries = _entries(column if mask is None else column[mask])
    value_codes, values = pd.factorize(entries, use_na_sentinel=False)
    sizes = np.bincount(value_codes, minlength=len(values))
    order = np.argsort(-sizes, kind="stable")
    largest = order if len(order) <= at_most else order[: at_most - 1]
    # Every value outside the largest groups has the code after theirs: "other".
    group_of = np.full(len(values), len(largest))
    group_of[largest] = np.arange(len(largest))
    others = len(order) - len(largest)
    names_of_groups = labels(values.take(largest), names)
    return Groups(
        labels=distinct_labels([*names_of_groups, *([f"other ({others:,})"] if others else [])]),
        codes=group_of[value_codes],
        rows=rows,
        has_other=bool(others),
    )


def _entries(column: pd.Series[Any]) -> tuple[NDArray[np.intp], Any]:
    """Return row and value of each entry; lists have several, and unhashable values are text."""
    rows = column.index.to_numpy()
    if column.dtype != object:
        return rows, column
    texts = [_entry_texts(value) for value in column]
    # np.array would make a matrix of lists of equal length.
    values = np.fromiter(chain.from_iterable(texts), dtype=object)
    return rows.repeat([len(row_texts) for row_texts in texts]), values


def _entry_texts(value: Any) -> list[str | None]:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [str(item) for item in value] or [None]
    is_missing = pd.api.types.is_scalar(value) and pd.isna(value)
    return [None if is_missing else str(value)]
