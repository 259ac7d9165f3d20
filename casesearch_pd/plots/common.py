"""What all plots share: Axes, colours, titles, legends, text that is safe to draw, and groups."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter, StrMethodFormatter

from casesearch_pd.analysis.display_names import DisplayNames, labels
from casesearch_pd.analysis.lifecycle import as_of, column_of, zone_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
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
    "draw_empty_state",
    "drawable_text",
    "format_count_axis",
    "format_share_axis",
    "group_cases",
    "legend_above",
    "legend_beside",
    "set_title",
    "shorten_middle",
]

# The palette of Okabe and Ito, which is safe for colour-blind people on white and on black.
BLUE, ORANGE, VERMILLION, GREY = "#0072B2", "#E69F00", "#D55E00", "#999999"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", VERMILLION)

# Names of queues and columns may contain $ and _, which matplotlib would take for a formula.
LITERAL_TEXT: dict[str, Any] = {"parse_math": False, "usetex": False}

MAX_GROUPS = 12
_LABEL_LENGTH = 28  # characters
_TITLE_LENGTH = 60  # characters per line
_LEGEND_LINE = 1.6  # height of a line of the legend, in font sizes


def axes_or_new(ax: Axes | None) -> Axes:
    """Return the Axes, or those of a new figure if there are none."""
    if ax is not None:
        return ax
    _, new = plt.subplots(figsize=(8, 4.5), layout="constrained")
    return new


def set_title(ax: Axes, text: str, cases: pd.DataFrame, *, legend_lines: int = 0) -> None:
    """Write the title: what the plot shows, and as of when; above a legend of so many lines."""
    pad = plt.rcParams["axes.titlepad"] + legend_lines * _LEGEND_LINE * plt.rcParams["font.size"]
    time = f"{_local_as_of(cases):%Y-%m-%d %H:%M %Z}".rstrip()
    title = fill(drawable_text(text), _TITLE_LENGTH)
    ax.set_title(f"{title}\nas of {time}", pad=pad, **LITERAL_TEXT)
    ax.spines[["top", "right"]].set_visible(False)


def _local_as_of(cases: pd.DataFrame) -> pd.Timestamp:
    """Return the time of the read in the zone of ``created_at``."""
    time = as_of(cases)
    return time.tz_convert(zone_of(cases["created_at"])) if "created_at" in cases.columns else time


def legend_above(ax: Axes) -> None:
    """Put the legend, in one line, between the title and the plot, where it covers neither."""
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, borderpad=0)


def legend_beside(ax: Axes, title: str) -> None:
    """Put the legend, one entry per line, to the right of the plot."""
    legend = ax.legend(
        title=title, loc="upper left", bbox_to_anchor=(1, 1), alignment="left", frameon=False
    )
    for text in (legend.get_title(), *legend.get_texts()):
        text.set(**LITERAL_TEXT)


def format_count_axis(axis: Axis) -> None:
    """Label an axis with whole numbers."""
    axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def format_share_axis(axis: Axis) -> None:
    """Label an axis of shares with percentages."""
    axis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def draw_empty_state(ax: Axes, message: str = "no cases") -> Axes:
    """Write into empty Axes why they are empty, and return them."""
    ax.text(0.5, 0.5, message, transform=ax.transAxes, ha="center", va="center")
    ax.set(xticks=[], yticks=[])
    return ax


def describe_plot(ax: Axes) -> str:
    """Return a text for those who cannot see the plot: its title and its axes."""
    title = ", ".join(ax.get_title().splitlines())
    axis_labels = [label for label in (ax.get_ylabel(), ax.get_xlabel()) if label]
    return f"{title}. {' against '.join(axis_labels)}".strip()


def shorten_middle(value: object) -> str:
    """Return a label without its middle if it is long: similar names differ at their ends.

    >>> shorten_middle("billing"), shorten_middle("a very long name of a queue, region north")
    ('billing', 'a very long name o…ion north')
    """
    text = drawable_text(value)
    if len(text) <= _LABEL_LENGTH:
        return text or "(empty)"
    return f"{text[: _LABEL_LENGTH * 2 // 3]}…{text[-(_LABEL_LENGTH // 3) :]}"


def drawable_text(value: object) -> str:
    """Return the text of a value in one line, without invisible characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(value)).split())


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
    # Every value outside the largest groups has the code behind theirs: "other".
    group_of = np.full(len(values), len(largest))
    group_of[largest] = np.arange(len(largest))
    texts = [_label(value) for value in labels(values.take(largest), names)]
    others = len(order) - len(largest)
    return Groups(
        labels=[*texts, f"other ({others:,})"] if others else texts,
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


def _label(value: Any) -> str:
    if pd.isna(value):
        return "(missing)"
    return shorten_middle(f"{value:g}" if isinstance(value, float) else value)
