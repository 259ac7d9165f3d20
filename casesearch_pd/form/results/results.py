"""`Results`: what a form shows after a search, and the charts among it.

It depends on no other part of the form, and a DataFrame is all that it needs. It uses the style
sheet of the form: show `casesearch_pd.form.widgets.style_sheet` once on the same page.

Every control has a CSS class, for style sheets and tests:

========= ==================================================================================
results   ``cs-results``, ``cs-results-heading``, ``cs-results-notes``, ``cs-results-tabs``
Table     ``cs-table``; ``cs-table-columns``, ``cs-table-columns-open``, ``-find``, ``-list``,
          ``-hint``, ``-all``, ``-reset``; ``cs-table-sort``, ``cs-table-descending``,
          ``cs-table-said``, ``cs-table-problem``; ``cs-page``, ``cs-page-first``,
          ``-previous``, ``-next``, ``-last``, ``-size``, ``-words``; ``cs-grid-place`` around
          the ``cs-grid`` of itables
Chart     ``cs-chart``, ``cs-chart-what``, ``cs-chart-by``, ``cs-chart-said``,
          ``cs-chart-picture``
Code      ``cs-code``, ``cs-code-copy``
Request   ``cs-requests``, ``cs-request-which``, ``cs-request``, ``cs-request-copy``,
          ``cs-command``, ``cs-command-copy``, ``cs-request-checked``, ``cs-request-said``
Export    ``cs-export``, ``cs-export-name``, ``cs-export-replace``, ``cs-export-csv``,
          ``-excel``, ``-parquet``, ``-report``, ``cs-export-said``, ``cs-export-link``
========= ==================================================================================
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.errors import capture_warnings
from casesearch_pd.export.sanitize import holds_no_text
from casesearch_pd.form.jobs import DRAWING_LOCK, Jobs
from casesearch_pd.form.results.files import Files, Requests
from casesearch_pd.form.results.paging import Listing
from casesearch_pd.form.results.table import CaseTable
from casesearch_pd.form.widgets import Messages, dropdown, error_text, row, set_options
from casesearch_pd.render.html import element, fragment, image, replace_control_chars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from casesearch_pd.reading.explain import Plan

__all__ = ["CHARTS", "Chart", "Picture", "Results", "draw", "grouping_columns"]

CHARTS = {
    "ages": "Ages of open cases",
    "backlog": "Backlog",
    "flow": "Created and closed cases",
    "time_to_close": "Time to close",
    "heatmap": "Hours of the week",
    "breakdown": "Cases by group",
    "sla": "Within SLA",
}
"""The plots of the accessor that the form offers, with their labels."""

_SIZE = (8, 4.5)  # inches
_DPI = 110
_LIKELY_GROUPS = ("queue", "assignee", "status", "priority", "template", "tags")
_UNIQUE_COLUMNS = {"case_id", "reference", "title", "summary"}
# Common system fonts for scripts that the font of matplotlib lacks, and a font of placeholders for
# all other characters.
_FONTS = (
    "DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "PingFang SC",
    "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Noto Sans Devanagari", "Nirmala UI",
    "Last Resort High-Efficiency",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart as an image."""

    png: bytes
    description: str  # for those who cannot see the image
    warnings: tuple[str, ...] = ()


def draw(cases: pd.DataFrame, chart: str, by: str | None = None) -> Picture:
    """Draw a plot of the accessor, in any thread and without pyplot.

    Raise KeyError, ValueError if the cases lack what the chart needs.
    """
    with DRAWING_LOCK, capture_warnings() as warnings:
        # Plots are imported late, because they load matplotlib.
        from casesearch_pd.plots.common import describe_plot  # noqa: PLC0415 - see above

        figure, ax = _plot(cases, chart, by)
        _set_fonts(figure, ax)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=_DPI)
    return Picture(png.getvalue(), describe_plot(ax), tuple(dict.fromkeys(warnings)))


def _plot(cases: pd.DataFrame, chart: str, by: str | None) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    from casesearch_pd.plots.accessor import CasePlots  # noqa: PLC0415 - slow to import

    if chart == "breakdown" and by is None:
        raise KeyError("no column to group by; read one such as queue, assignee or status")
    # Not a figure of pyplot, which keeps every figure and belongs to the main thread.
    figure = Figure(figsize=_SIZE, layout="constrained")
    ax = figure.add_subplot()
    group_options = {} if by is None else {"by": by}
    return figure, getattr(CasePlots(cases), chart)(ax=ax, **group_options)


def _set_fonts(figure: Figure, ax: Axes) -> None:
    """Set fonts for every script, because matplotlib warns about characters without a glyph."""
    from matplotlib.font_manager import fontManager  # noqa: PLC0415 - slow to import
    from matplotlib.text import Text  # noqa: PLC0415 - slow to import

    available = {font.name for font in fontManager.ttflist}
    fonts = [name for name in _FONTS if name in available]
    for text in figure.findobj(Text):
        text.set_fontfamily(fonts)
    ax.tick_params(which="both", labelfontfamily=fonts)


def grouping_columns(cases: pd.DataFrame) -> list[str]:
    """Return the columns that cases can be grouped by, the likely ones first."""
    names = [
        name
        for name, column in cases.items()
        if isinstance(name, str) and (not holds_no_text(column) or column.dtype.kind == "b")
    ]
    likely = [name for name in _LIKELY_GROUPS if name in names]
    return [*likely, *(name for name in names if name not in {*likely, *_UNIQUE_COLUMNS})]


_GROUPED = {"breakdown", "sla"}
_OVER_TIME = ""  # the value of the option without a column


class Chart(widgets.VBox):  # type: ignore[misc]  # untyped
    """A chart of the cases, drawn in the background when its tab is open.

    The picture is an ``<img>`` of `widgets.HTML`, because `widgets.Image` has no alternative text
    for screen readers.
    """

    def __init__(self, lock: RLock) -> None:
        self._lock, self._jobs = lock, Jobs(lock, self._show_error)
        self._cases = pd.DataFrame()
        self._is_open, self._is_stale, self._is_filling = False, True, False
        self._chart = dropdown(
            "Chart", "cs-chart-what", [(label, name) for name, label in CHARTS.items()]
        )
        self._by = dropdown("By", "cs-chart-by")
        self._messages = Messages("cs-chart-said")
        self._picture = widgets.HTML()
        self._picture.add_class("cs-chart-picture")
        super().__init__([row(self._chart, self._by), self._messages, self._picture])
        self.add_class("cs-chart")
        self._chart.observe(self._on_chart, names="value")
        self._by.observe(self._on_group, names="value")

    def show(self, cases: pd.DataFrame) -> None:
        """Replace the cases; they are drawn when the tab is open."""
        with self._lock:
            self._cases = cases
            self._picture.value = ""
            self._offer_groups()
            self._redraw()

    def set_open(self, *, is_open: bool) -> None:
        """Set whether the tab is open."""
        with self._lock:
            self._is_open = is_open
            self._draw_if_open()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the chart is drawn; return whether it is."""
        return self._jobs.wait(timeout)

    def _on_chart(self, _: dict[str, Any]) -> None:
        with self._lock:
            self._offer_groups()
            self._redraw()

    def _on_group(self, _: dict[str, Any]) -> None:
        with self._lock:
            if not self._is_filling:
                self._redraw()

    def _offer_groups(self) -> None:
        """Offer the columns to group by if the chart has groups; the selected one stays."""
        has_groups = self._chart.value in _GROUPED
        options = [("over time", _OVER_TIME)] if self._chart.value == "sla" else []
        options += [(replace_control_chars(name), name) for name in grouping_columns(self._cases)]
        self._is_filling = True
        try:
            if has_groups:
                set_options(self._by, options)
        finally:
            self._is_filling = False
        self._by.layout.display = None if has_groups else "none"

    def _redraw(self) -> None:
        """Draw again, at once or when the tab is open; a chart being drawn is dropped."""
        # A chart of the previous cases must not appear with the new ones.
        self._jobs.cancel()
        self._is_stale = True
        self._draw_if_open()

    def _draw_if_open(self) -> None:
        if self._is_open and self._is_stale:
            self._is_stale = False
            self._messages.show("drawing …", "quiet")
            chart = self._chart.value
            by = (self._by.value or None) if chart in _GROUPED else None
            self._jobs.submit(partial(draw, self._cases, chart, by), self._show_picture)

    def _show_picture(self, picture: Picture) -> None:
        figure = element("figure", image(picture.png, picture.description, "png"))
        self._picture.value = fragment(figure)
        self._messages.show(picture.warnings)

    def _show_error(self, error: Exception) -> None:
        self._picture.value = ""
        self._messages.show(error_text(error))


_TITLES = ("Table", "Chart", "Code", "Request", "Export")
_CHART_TAB, _REQUEST_TAB = 1, 3


class Results(widgets.VBox):  # type: ignore[misc]  # untyped
    """The results of a search, hidden before the first one; usable from any thread.

    Raise ImportError if `interactive` is True and itables is not installed.
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
        self._tabs = self._make_tabs()
        super().__init__([self._heading, self._notes, self._tabs])
        self.add_class("cs-results")
        self.layout.display = "none"

    def _make_tabs(self) -> widgets.Tab:
        children = (self.table, self.chart, self.code, self.requests, self.files)
        tabs = widgets.Tab(children, titles=_TITLES, selected_index=0)
        tabs.add_class("cs-results-tabs")
        tabs.observe(self._on_tab, names="selected_index")
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
        """Show the results of a search instead of the previous ones."""
        with self._lock:
            self._heading.value = fragment(element("div", heading)) if heading else ""
            self._notes.show(notes)
            self._fill(frame, code, plan)
            self.layout.display = None

    def clear(self) -> None:
        """Hide the results, and release the cases."""
        with self._lock:
            self.layout.display = "none"
            self._fill(pd.DataFrame(), "", None)

    def _fill(self, frame: pd.DataFrame, code: str, plan: Plan | None) -> None:
        self.table.show(frame)
        self.chart.show(frame)
        self.code.show(code)
        self.requests.show(plan)
        self.files.show(frame)

    def _on_tab(self, change: dict[str, Any]) -> None:
        self.chart.set_open(is_open=change["new"] == _CHART_TAB)
        self.requests.set_open(is_open=change["new"] == _REQUEST_TAB)
