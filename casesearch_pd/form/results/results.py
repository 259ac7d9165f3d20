"""A frame and a choice in, a picture and its words out: drawn in any thread, without pyplot."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.errors import capture_warnings
from casesearch_pd.export.sanitize import is_plain_text
from casesearch_pd.form.results.files import Files, Requests
from casesearch_pd.form.results.paging import Listing
from casesearch_pd.form.results.table import CaseTable
from casesearch_pd.form.runner import DRAWING, Jobs
from casesearch_pd.form.widgets import Messages, dropdown, in_words, offer, row
from casesearch_pd.render.html import element, fragment, image, replace_control_chars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from casesearch_pd.reading.explain import Plan

__all__ = ["CHARTS", "Chart", "Picture", "Results", "draw", "groupings"]

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
    with DRAWING, capture_warnings() as said:
        from casesearch_pd.plots.common import describe_plot  # noqa: PLC0415 - dear

        figure, ax = _drawn(cases, chart, by)
        _use_fonts(figure, ax)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=_DPI)
    return Picture(png.getvalue(), describe_plot(ax), tuple(dict.fromkeys(said)))


def _drawn(cases: pd.DataFrame, chart: str, by: str | None) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - dear

    from casesearch_pd.plots import CasePlots  # noqa: PLC0415 - dear

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
    return not is_plain_text(column) or column.dtype.kind == "b"


_GROUPED = {"breakdown", "sla"}
_OVER_TIME = ""  # no column


class Chart(widgets.VBox):  # type: ignore[misc]  # untyped
    """Show one of the accessor's pictures.

    The picture is an ``<img>`` of `widgets.HTML`, because `widgets.Image` has no place for the
    words that a screen reader reads in its stead.

    Parameters
    ----------
    lock
        What guards the state of the results that it belongs to.
    """

    def __init__(self, lock: RLock) -> None:
        self._lock, self._jobs = lock, Jobs()
        self._cases = pd.DataFrame()
        self._number = 0  # of the picture that is wanted
        self._open, self._stale, self._filling = False, True, False
        self._what = dropdown(
            "Chart", "cs-chart-what", [(words, name) for name, words in CHARTS.items()]
        )
        self._by = dropdown("By", "cs-chart-by")
        self._said = Messages("cs-chart-said")
        self._picture = widgets.HTML()
        self._picture.add_class("cs-chart-picture")
        super().__init__([row(self._what, self._by), self._said, self._picture])
        self.add_class("cs-chart")
        self._what.observe(self._turned, names="value")
        self._by.observe(self._redrawn, names="value")

    def show(self, cases: pd.DataFrame) -> None:
        """Take other cases; they are drawn when somebody looks."""
        with self._lock:
            self._cases = cases
            self._picture.value = ""
            self._offer_groups()
            self._want()

    def look(self, *, open_: bool) -> None:
        """Tell whether somebody looks."""
        with self._lock:
            self._open = open_
            self._draw_if_seen()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the picture is drawn; tell whether it is."""
        return self._jobs.wait(timeout)

    # --- what is asked --------------------------------------------------------------------

    def _turned(self, _: dict[str, Any]) -> None:
        with self._lock:
            self._offer_groups()
            self._want()

    def _redrawn(self, _: dict[str, Any]) -> None:
        with self._lock:
            if not self._filling:
                self._want()

    def _offer_groups(self) -> None:
        """Offer the columns that tell groups, where the chart has some; keep what was chosen."""
        grouped = self._what.value in _GROUPED
        over_time = [("over time", _OVER_TIME)] if self._what.value == "sla" else []
        found = [
            *over_time,
            *((replace_control_chars(name), name) for name in groupings(self._cases)),
        ]
        self._filling = True
        try:
            if grouped:
                offer(self._by, found)
        finally:
            self._filling = False
        self._by.layout.display = None if grouped else "none"

    def _want(self) -> None:
        """Take what is seen for outdated."""
        self._number += 1
        self._stale = True
        self._draw_if_seen()

    def _draw_if_seen(self) -> None:
        if self._open and self._stale:
            self._stale = False
            self._said.tell("drawing …", "quiet")
            by = self._by.value if self._what.value in _GROUPED else None
            chosen = (self._cases, self._what.value, by or None)
            self._jobs.ask(partial(self._draw, self._number, *chosen))

    # --- what is drawn --------------------------------------------------------------------

    def _draw(self, number: int, cases: pd.DataFrame, what: str, by: str | None) -> None:
        try:
            picture = draw(cases, what, by)
        except Exception as error:  # noqa: BLE001 - whatever it is, the user is told
            self._answer(number, "", (in_words(error),))
        else:
            drawn = element("figure", image(picture.png, picture.words, "png"))
            self._answer(number, fragment(drawn), picture.notes)

    def _answer(self, number: int, drawn: str, notes: tuple[str, ...]) -> None:
        """Show a picture, unless another one is wanted meanwhile."""
        with self._lock:
            if number == self._number:
                self._picture.value = drawn
                self._said.tell(notes)


_TITLES = ("Table", "Chart", "Code", "Request", "Export")
_CHART, _REQUEST = 1, 3


class Results(widgets.VBox):  # type: ignore[misc]  # untyped
    """The results of a run; nothing is seen before the first one.

    All of it may be called on any thread.

    Parameters
    ----------
    interactive
        Whether small frames are shown by itables' widget; see
        `casesearch_pd.form.results.table.CaseTable`.

    Raises
    ------
    ImportError
        If itables is asked for and not installed.
    """

    def __init__(self, *, interactive: bool | None = None) -> None:
        self._lock = RLock()
        self.table = CaseTable(self._lock, interactive=interactive)
        self.chart = Chart(self._lock)
        self.code = Listing("cs-code", "the code that reads these cases", "Copy code")
        self.requests = Requests(self._lock)
        self.files = Files(self._lock)
        self._heading = widgets.HTML()
        self._heading.add_class("cs-results-heading")
        self._notes = Messages("cs-results-notes")
        self._tabs = self._row_of_tabs()
        super().__init__([self._heading, self._notes, self._tabs])
        self.add_class("cs-results")
        self.layout.display = "none"

    def _row_of_tabs(self) -> widgets.Tab:
        inside = (self.table, self.chart, self.code, self.requests, self.files)
        tabs = widgets.Tab(inside, titles=_TITLES, selected_index=0)
        tabs.add_class("cs-results-tabs")
        tabs.observe(self._turned, names="selected_index")
        return tabs

    def show(
        self,
        frame: pd.DataFrame,
        *,
        code: str,
        plan: Plan | None,
        notes: Sequence[str] = (),
        heading: str = "",
    ) -> None:
        """Show the results of a run instead of those before.

        Parameters
        ----------
        frame
            The cases, any number of them.
        code
            What reads them again.
        plan
            How they were read; None if nobody knows.
        notes
            What should be known besides, such as what is missing.
        heading
            What stands above.
        """
        with self._lock:
            self._heading.value = fragment(element("div", heading)) if heading else ""
            self._notes.tell(notes)
            self._fill(frame, code, plan)
            self.layout.display = None

    def clear(self) -> None:
        """Show nothing, and let go of the cases."""
        with self._lock:
            self.layout.display = "none"
            self._fill(pd.DataFrame(), "", None)

    def _fill(self, frame: pd.DataFrame, code: str, plan: Plan | None) -> None:
        self.table.show(frame)
        self.chart.show(frame)
        self.code.show(code)
        self.requests.show(plan)
        self.files.show(frame)

    def _turned(self, change: dict[str, Any]) -> None:
        self.chart.look(open_=change["new"] == _CHART)
        self.requests.look(open_=change["new"] == _REQUEST)
