"""What a form shows after a run: the cases as table, chart and files, and how they were asked for.

It knows nothing of the form, and a frame is all that it needs. The style sheet is the form's: show
`casesearch_pd.notebook.form.looks.style.style` once beside it.

Every control has a class that stays, for style sheets and tests:

========= ==================================================================================
results   ``cs-results``, ``cs-results-heading``, ``cs-results-notes``, ``cs-results-tabs``
Table     ``cs-table``; ``cs-table-columns``, ``cs-table-columns-open``, ``-find``, ``-list``,
          ``-hint``, ``-all``, ``-reset``; ``cs-table-sort``, ``cs-table-descending``,
          ``cs-table-said``, ``cs-table-problem``; ``cs-page``, ``cs-page-first``,
          ``-previous``, ``-next``, ``-last``, ``-size``, ``-words``; ``cs-grid-place`` around
          itables' ``cs-grid``
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

from threading import RLock
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.notebook.form.looks.messages import Messages
from casesearch_pd.notebook.form.results.chart import Chart
from casesearch_pd.notebook.form.results.files import Files
from casesearch_pd.notebook.form.results.listing import Listing
from casesearch_pd.notebook.form.results.requests import Requests
from casesearch_pd.notebook.form.results.table import CaseTable
from casesearch_pd.notebook.markup import element, fragment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casesearch_pd.reading.explain import Plan

__all__ = ["Results"]

_TITLES = ("Table", "Chart", "Code", "Request", "Export")
_CHART, _REQUEST = 1, 3


class Results(widgets.VBox):  # type: ignore[misc]  # untyped
    """The results of a run; nothing is seen before the first one.

    All of it may be called on any thread.

    Parameters
    ----------
    interactive
        Whether small frames are shown by itables' widget; see
        `casesearch_pd.notebook.form.results.table.CaseTable`.

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
