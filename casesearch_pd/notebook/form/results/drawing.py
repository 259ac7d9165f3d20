"""A frame and a choice in, a picture and its words out: drawn in any thread, without pyplot."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import hearing
from casesearch_pd.notebook.cells import is_plain
from casesearch_pd.notebook.form.results.jobs import DRAWING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CHARTS", "Picture", "draw", "groupings"]

CHARTS = {
    "ages": "Ages of open cases",
    "backlog": "Backlog",
    "flow": "What came and was closed",
    "time_to_close": "Time to close",
    "heatmap": "Hours of the week",
    "breakdown": "Cases by group",
    "sla": "Within SLA",
}
"""The pictures of the accessor that the form offers, and what they are called."""

_SIZE = (8, 4.5)  # inches
_DPI = 110
_FIRST = ("queue", "assignee", "status", "priority", "template", "tags")
_TELLING = {"case_id", "reference", "title", "summary"}  # every case has its own
# What systems have for scripts that matplotlib's own font lacks, and its boxes for the rest.
_FONTS = (
    "DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "PingFang SC",
    "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Noto Sans Devanagari", "Nirmala UI",
    "Last Resort High-Efficiency",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture.

    Parameters
    ----------
    png
        The picture itself.
    words
        What it shows, for who cannot see it.
    notes
        What its numbers warn of.
    """

    png: bytes
    words: str
    notes: tuple[str, ...] = ()


def draw(cases: pd.DataFrame, chart: str, by: str | None = None) -> Picture:
    """Draw one of the accessor's pictures.

    Parameters
    ----------
    cases
        The frame.
    chart
        One of `CHARTS`.
    by
        The column that tells the group, where the chart has groups.

    Raises
    ------
    KeyError, ValueError
        What the cases lack, in words.
    """
    with DRAWING, hearing() as said:
        from casesearch_pd.notebook.plots.paper import in_words  # noqa: PLC0415 - dear

        figure, ax = _drawn(cases, chart, by)
        _use_fonts(figure, ax)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=_DPI)
    return Picture(png.getvalue(), in_words(ax), tuple(dict.fromkeys(said)))


def _drawn(cases: pd.DataFrame, chart: str, by: str | None) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - dear

    from casesearch_pd.notebook.plots import CasePlots  # noqa: PLC0415 - dear

    if chart == "breakdown" and by is None:
        raise KeyError("no column tells groups; read one too, such as queue, assignee or status")
    figure = Figure(figsize=_SIZE, layout="constrained")
    ax = figure.add_subplot()
    grouped = {} if by is None else {"by": by}
    return figure, getattr(CasePlots(cases), chart)(ax=ax, **grouped)


def _use_fonts(figure: Figure, ax: Axes) -> None:
    """Name fonts for every script; a sign that no font has would be warned of beside the form."""
    from matplotlib.font_manager import fontManager  # noqa: PLC0415 - dear
    from matplotlib.text import Text  # noqa: PLC0415

    there = {font.name for font in fontManager.ttflist}
    fonts = [name for name in _FONTS if name in there]
    for text in figure.findobj(Text):
        text.set_fontfamily(fonts)
    ax.tick_params(which="both", labelfontfamily=fonts)


def groupings(cases: pd.DataFrame) -> list[str]:
    """List the columns that may tell groups, those that mostly do first."""
    found = [name for name, column in cases.items() if isinstance(name, str) and _tells(column)]
    first = [name for name in _FIRST if name in found]
    return [*first, *(name for name in found if name not in {*first, *_TELLING})]


def _tells(column: pd.Series[Any]) -> bool:
    return not is_plain(column) or column.dtype.kind == "b"
