"""The pictures of a report: drawn as SVG, each with its title as words."""

from __future__ import annotations

import io
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from casesearch_pd.notebook.report.about import About, part
from casesearch_pd.notebook.report.markup import element, image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from xml.etree.ElementTree import Element

    from matplotlib.axes import Axes

    from casesearch_pd.notebook.names import Names
    from casesearch_pd.notebook.plots import CasePlots

__all__ = ["pictures"]

_SIZE = (8, 4.5)  # inches
# Text stays text, so that the browser's fonts show what matplotlib's do not have; the same cases
# make the same bytes.
_DRAWN: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "cases"}
_GROUPED = ("queue", "assignee", "status")


def pictures(about: About) -> Iterator[Element]:
    """Draw what the columns of the frame allow, and say what they do not."""
    drawn: list[Element] = []
    left: list[Element] = []
    for what, draw in _drawings(about).items():
        with part(what) as told:
            drawn.append(_figure(draw))
        if told.failed:
            left += told.elements
        elif told.notes:
            drawn[-1].append(element("figcaption", " ".join(dict.fromkeys(told.notes))))
    yield element("div", *drawn, class_="pictures")
    yield from left


def _drawings(about: About) -> dict[str, Callable[[Axes], Axes]]:
    """Say what is drawn, in which order, each under the words for leaving it out."""
    from casesearch_pd.notebook.plots import CasePlots  # noqa: PLC0415 - matplotlib is dear

    plot = CasePlots(about.cases)
    grouped = [by for by in _GROUPED if by in about.cases.columns]
    return {
        "The picture of what came and was closed": lambda ax: plot.flow(ax=ax),
        "The picture of the backlog": lambda ax: plot.backlog(ax=ax),
        "The picture of the ages of open cases": lambda ax: plot.ages(ax=ax),
        "The picture of the time to close": lambda ax: plot.time_to_close(ax=ax),
        **{
            f"The picture of cases by {by}": partial(_breakdown, plot, by, about.names)
            for by in grouped
            if about.cases[by].notna().any()
        },
        "The picture of the SLA": lambda ax: plot.sla(ax=ax),
        "The picture of the week": lambda ax: plot.heatmap(ax=ax),
    }


def _breakdown(plot: CasePlots, by: str, names: Names, ax: Axes) -> Axes:
    return plot.breakdown(by, names=names, ax=ax)


def _figure(draw: Callable[[Axes], Axes]) -> Element:
    """Draw on a figure of our own, whatever styles and figures the session has."""
    import matplotlib as mpl  # noqa: PLC0415 - dear
    from matplotlib import style  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    # Missing glyphs are missing in matplotlib's measurements only: the browser draws the text.
    warnings.filterwarnings("ignore", message="Glyph")
    drawn = io.BytesIO()
    with style.context("default"), mpl.rc_context(_DRAWN):
        figure = Figure(figsize=_SIZE, layout="constrained")
        ax = draw(figure.add_subplot())
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return element("figure", image(drawn.getvalue(), _words(ax)))


def _words(ax: Axes) -> str:
    """Say what a picture shows to who cannot see it."""
    title = ", ".join(ax.get_title().splitlines())
    along = [label for label in (ax.get_ylabel(), ax.get_xlabel()) if label]
    return f"{title}. {' against '.join(along)}".strip()
