"""What all pictures share: Axes, colours, titles, legends, and words that are safe to draw."""

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
    "LITERALLY",
    "ORANGE",
    "VERMILLION",
    "Groups",
    "axes_or_new",
    "count_along",
    "count_label",
    "describe_plot",
    "draw_empty_state",
    "drawable_text",
    "explain_above",
    "explain_beside",
    "group_cases",
    "set_title",
    "share_along",
    "shorten_middle",
]

# The palette of Okabe and Ito, told apart by colour-blind eyes, on white and on black.
BLUE, ORANGE, VERMILLION, GREY = "#0072B2", "#E69F00", "#D55E00", "#999999"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", VERMILLION)

# What people call their things may hold $ and _, which are no formulas.
LITERALLY: dict[str, Any] = {"parse_math": False, "usetex": False}

_LABEL = 28  # characters of a label; longer ones lose their middle
_TITLE = 60  # characters of a line of a title
_LINE = 1.6  # heights of a line of the legend, in sizes of its letters


def axes_or_new(ax: Axes | None) -> Axes:
    """Take the Axes given, or those of a new figure."""
    if ax is not None:
        return ax
    _, made = plt.subplots(figsize=(8, 4.5), layout="constrained")
    return made


def set_title(ax: Axes, what: str, cases: pd.DataFrame, *, room: int = 0) -> None:
    """Say above the picture what it shows and when that was so.

    Parameters
    ----------
    ax
        The picture.
    what
        What it shows, and how many.
    cases
        The frame, which knows when it was read.
    room
        Lines of the legend that stand between.
    """
    pad = plt.rcParams["axes.titlepad"] + room * _LINE * plt.rcParams["font.size"]
    when = f"{_moment(cases):%Y-%m-%d %H:%M %Z}".rstrip()
    ax.set_title(f"{fill(drawable_text(what), _TITLE)}\nas of {when}", pad=pad, **LITERALLY)
    ax.spines[["top", "right"]].set_visible(False)


def _moment(cases: pd.DataFrame) -> pd.Timestamp:
    """Tell the time of the read on the clocks by which the cases were created."""
    now = as_of(cases)
    return now.tz_convert(zone_of(cases["created_at"])) if "created_at" in cases.columns else now


def explain_above(ax: Axes) -> None:
    """Put the legend, one line, between title and picture, where it covers neither."""
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, borderpad=0)


def explain_beside(ax: Axes, title: str) -> None:
    """Put the legend, one entry a line, to the right of the picture."""
    legend = ax.legend(
        title=title, loc="upper left", bbox_to_anchor=(1, 1), alignment="left", frameon=False
    )
    for text in (legend.get_title(), *legend.get_texts()):
        text.set(**LITERALLY)


def count_along(axis: Axis) -> None:
    """Count along an axis in whole numbers, thousands apart."""
    axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def share_along(axis: Axis) -> None:
    """Tell shares along an axis in per cent."""
    axis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def draw_empty_state(ax: Axes, what: str = "no cases") -> Axes:
    """Write into empty Axes that they are meant to be empty."""
    ax.text(0.5, 0.5, what, transform=ax.transAxes, ha="center", va="center")
    ax.set(xticks=[], yticks=[])
    return ax


def describe_plot(ax: Axes) -> str:
    """Say what a picture shows to who cannot see it."""
    title = ", ".join(ax.get_title().splitlines())
    along = [label for label in (ax.get_ylabel(), ax.get_xlabel()) if label]
    return f"{title}. {' against '.join(along)}".strip()


def count_label(number: int, noun: str = "case") -> str:
    """Say how many.

    >>> counted(1), counted(1234, "open case")
    ('1 case', '1,234 open cases')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shorten_middle(text: object) -> str:
    """Cut the middle out of a long label: alike names differ at their ends.

    >>> short("billing"), short("a very long name of a queue, region north")
    ('billing', 'a very long name o…ion north')
    """
    said = drawable_text(text)
    if len(said) <= _LABEL:
        return said or "(empty)"
    return f"{said[: _LABEL * 2 // 3]}…{said[-(_LABEL // 3) :]}"


def drawable_text(text: object) -> str:
    """Keep of a text what can be drawn in one line: no line breaks, no invisible signs."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())


DOZEN = 12


@dataclass(frozen=True)
class Groups:
    """The groups of a column, largest first, the smallest ones together at the end.

    Parameters
    ----------
    labels
        A label for each group.
    codes
        The group of each entry.
    rows
        The row of each entry; a row of two tags has two entries.
    has_other
        Whether the last group holds the smallest ones.
    """

    labels: list[str]
    codes: NDArray[np.intp]
    rows: NDArray[np.intp]
    has_other: bool

    def count(self, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Count the chosen rows in each group."""
        return np.bincount(self.codes[chosen[self.rows]], minlength=len(self.labels))

    def members(self, group: int) -> NDArray[np.intp]:
        """Find the rows of a group."""
        rows: NDArray[np.intp] = self.rows[self.codes == group]
        return rows


def group_cases(
    cases: pd.DataFrame,
    by: str,
    names: DisplayNames = None,
    *,
    at_most: int = DOZEN,
    among: NDArray[np.bool_] | None = None,
) -> Groups:
    """Sort the cases into groups by a column.

    Parameters
    ----------
    cases
        The frame.
    by
        The column; of a column of lists each element is a group, and a missing value is one.
    names
        Words for the ids in the column.
    at_most
        How many groups there may be; if there are more, the smallest become "other".
    among
        Which rows are sorted; all if None.
    """
    column = column_of(cases, by).reset_index(drop=True)
    rows, entries = _entries(column if among is None else column[among])
    found, values = pd.factorize(entries, use_na_sentinel=False)
    sizes = np.bincount(found, minlength=len(values))
    order = np.argsort(-sizes, kind="stable")
    kept = order if len(order) <= at_most else order[: at_most - 1]
    place = np.full(len(values), len(kept))
    place[kept] = np.arange(len(kept))
    said = [_label(value) for value in labels(values.take(kept), names)]
    rest = len(order) - len(kept)
    return Groups(
        labels=[*said, f"other ({rest:,})"] if rest else said,
        codes=place[found],
        rows=rows,
        has_other=bool(rest),
    )


def _entries(column: pd.Series[Any]) -> tuple[NDArray[np.intp], Any]:
    """List rows and values; lists are taken apart, and what Python cannot hash becomes text."""
    rows = column.index.to_numpy()
    if column.dtype != object:
        return rows, column
    lists = [_texts(value) for value in column]
    values = np.fromiter(chain.from_iterable(lists), dtype=object)
    return rows.repeat([len(texts) for texts in lists]), values


def _texts(value: Any) -> list[str | None]:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [str(item) for item in value] or [None]
    missing = pd.api.types.is_scalar(value) and pd.isna(value)
    return [None if missing else str(value)]


def _label(value: Any) -> str:
    if pd.isna(value):
        return "(missing)"
    return shorten_middle(f"{value:g}" if isinstance(value, float) else value)
