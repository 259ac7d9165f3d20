"""The pictures of a report: drawn as SVG, each with its title as words."""

from __future__ import annotations

import io
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from casesearch_pd.notebook import numbers
from casesearch_pd.notebook.markup import element, image
from casesearch_pd.notebook.report.about import About, LacksError, Part, left_out, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from xml.etree.ElementTree import Element

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.path import Path

    from casesearch_pd.notebook.names import Names
    from casesearch_pd.notebook.plots import CasePlots

__all__ = ["pictures"]

_SIZE = (8, 4.5)  # inches
# Text stays text, so that the browser's fonts show what matplotlib's do not have; the same cases
# make the same bytes.
_DRAWN: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "cases"}
_POINTS = 5_000  # of a line or area: more than the width of a picture in pixels, by far
_DPI = 150  # of what is drawn in pixels
_GROUPED = ("queue", "assignee", "status")


def pictures(about: About) -> Iterator[Element]:
    """Draw what the columns of the frame allow, and say what they do not."""
    drawn: list[Element] = []
    parts: dict[str, Part] = {}
    for what, draw in _drawings(about).items():
        with part() as parts[what]:
            drawn.append(_figure(draw))
        if parts[what].notes:
            drawn[-1].append(element("figcaption", " ".join(parts[what].notes)))
    yield element("div", *drawn, class_="pictures")
    yield from left_out(parts)


def _drawings(about: About) -> dict[str, Callable[[Axes], Axes]]:
    """Name what is drawn, in order."""
    from casesearch_pd.notebook.plots import CasePlots  # noqa: PLC0415 - matplotlib is dear

    plot = CasePlots(about.cases)
    grouped = [by for by in _GROUPED if by in about.cases and about.cases[by].notna().any()]
    return {
        "what came and was closed": lambda ax: plot.flow(ax=ax),
        "backlog": lambda ax: plot.backlog(ax=ax),
        "ages of open cases": lambda ax: plot.ages(ax=ax),
        "time to close": lambda ax: plot.time_to_close(ax=ax),
        **{f"cases by {by}": partial(_breakdown, plot, by, about.names) for by in grouped},
        "SLA": partial(_sla, plot, about.cases),
        "hours of the week": lambda ax: plot.heatmap(ax=ax),
    }


def _breakdown(plot: CasePlots, by: str, names: Names, ax: Axes) -> Axes:
    return plot.breakdown(by, names=names, ax=ax)


def _sla(plot: CasePlots, cases: pd.DataFrame, ax: Axes) -> Axes:
    """Draw what share was in time, unless only those are known that were not."""
    drawn = plot.sla(ax=ax)
    if not numbers.within_sla(cases)[~numbers.is_open(cases).to_numpy()].notna().any():
        raise LacksError("no closed case tells its SLA, so nobody knows which ones were in time")
    return drawn


def _figure(draw: Callable[[Axes], Axes]) -> Element:
    """Draw on a figure of our own, whatever styles and figures the session has."""
    import matplotlib as mpl  # noqa: PLC0415 - dear
    from matplotlib import style  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    from casesearch_pd.notebook.plots.paper import in_words  # noqa: PLC0415

    drawn = io.BytesIO()
    with warnings.catch_warnings(), style.context("default"), mpl.rc_context(_DRAWN):
        # Missing glyphs are missing in the measurements only: the browser draws the text.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=_SIZE, layout="constrained")
        ax = draw(figure.add_subplot())
        _bound(ax)
        figure.savefig(drawn, format="svg", dpi=_DPI, metadata={"Date": None})
    return element("figure", image(drawn.getvalue(), in_words(ax)))


def _bound(ax: Axes) -> None:
    """Draw in pixels what has so many points that the file would be of the size of the cases."""
    lines: list[Any] = [*ax.lines, *ax.patches]
    for line in lines:
        line.set_rasterized(_points(line.get_path()) > _POINTS)
    for area in ax.collections:
        area.set_rasterized(sum(map(_points, area.get_paths())) > _POINTS)


def _points(path: Path) -> int:
    return len(np.asarray(path.vertices))
