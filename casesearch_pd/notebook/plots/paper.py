"""What all pictures share: Axes, colours, titles, legends, and words that are safe to draw."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter, StrMethodFormatter

from casesearch_pd.notebook.cases import read_at, zone_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = [
    "BLUE",
    "COLOURS",
    "GREY",
    "LITERALLY",
    "ORANGE",
    "VERMILLION",
    "axes_or_new",
    "count_along",
    "counted",
    "entitle",
    "explain_above",
    "explain_beside",
    "in_words",
    "plain",
    "say_nothing_is_there",
    "share_along",
    "short",
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


def entitle(ax: Axes, what: str, cases: pd.DataFrame, *, room: int = 0) -> None:
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
    ax.set_title(f"{fill(plain(what), _TITLE)}\nas of {when}", pad=pad, **LITERALLY)
    ax.spines[["top", "right"]].set_visible(False)


def _moment(cases: pd.DataFrame) -> pd.Timestamp:
    """Tell the time of the read on the clocks by which the cases were created."""
    now = read_at(cases)
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


def say_nothing_is_there(ax: Axes, what: str = "no cases") -> Axes:
    """Write into empty Axes that they are meant to be empty."""
    ax.text(0.5, 0.5, what, transform=ax.transAxes, ha="center", va="center")
    ax.set(xticks=[], yticks=[])
    return ax


def in_words(ax: Axes) -> str:
    """Say what a picture shows to who cannot see it."""
    title = ", ".join(ax.get_title().splitlines())
    along = [label for label in (ax.get_ylabel(), ax.get_xlabel()) if label]
    return f"{title}. {' against '.join(along)}".strip()


def counted(number: int, noun: str = "case") -> str:
    """Say how many.

    >>> counted(1), counted(1234, "open case")
    ('1 case', '1,234 open cases')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def short(text: object) -> str:
    """Cut the middle out of a long label: alike names differ at their ends.

    >>> short("billing"), short("a very long name of a queue, region north")
    ('billing', 'a very long name o…ion north')
    """
    said = plain(text)
    if len(said) <= _LABEL:
        return said or "(empty)"
    return f"{said[: _LABEL * 2 // 3]}…{said[-(_LABEL // 3) :]}"


def plain(text: object) -> str:
    """Keep of a text what can be drawn in one line: no line breaks, no invisible signs."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
