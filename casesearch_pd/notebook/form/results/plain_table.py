"""A frame of any number of rows as a table: sorted here, and a page at a time made into HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.notebook.form.looks.controls import checkbox, dropdown, offer, row
from casesearch_pd.notebook.form.looks.messages import Messages, telling
from casesearch_pd.notebook.form.results.page_table import page_table
from casesearch_pd.notebook.form.results.pager import Pager
from casesearch_pd.notebook.form.results.paging import Page, in_order
from casesearch_pd.notebook.lines import heading
from casesearch_pd.notebook.markup import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import RLock

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PlainTable"]

_AS_READ = -1  # the place of no column


class PlainTable(widgets.VBox):  # type: ignore[misc]  # untyped
    """Show a page of a frame, and sort and turn it.

    Parameters
    ----------
    lock
        What guards the state of the table that it belongs to.
    """

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._frame = pd.DataFrame()
        self._places: Sequence[int] = ()
        self._page = Page()
        self._order: NDArray[np.intp] | None = None
        self._filling = False
        self._sort = dropdown("Sort by", "cs-table-sort")
        self._descending = checkbox("descending", "cs-table-descending")
        self._pager = Pager(self._turn)
        self._html = widgets.HTML()
        self._html.add_class("cs-page")
        self._said = Messages("cs-table-said")
        controls = row(self._sort, self._descending)
        super().__init__([controls, self._said, self._pager, self._html])
        self._sort.observe(self._resort, names="value")
        self._descending.observe(self._resort, names="value")

    @property
    def page(self) -> pd.DataFrame:
        """The rows of the page, with the columns that are seen."""
        with self._lock:
            span = slice(self._page.start, self._page.stop)
            rows = self._frame.iloc[span if self._order is None else self._order[span]]
            return rows.iloc[:, list(self._places)]

    def show(self, frame: pd.DataFrame, places: Sequence[int]) -> None:
        """Show a frame from its first row, in its own order."""
        with self._lock:
            self._frame, self._places, self._order = frame, places, None
            self._page = Page(len(frame), self._page.size)
            self._offer_sorting()
            self._draw()

    def choose(self, places: Sequence[int]) -> None:
        """Show other columns of the same page."""
        with self._lock:
            self._places = places
            self._draw()

    def _offer_sorting(self) -> None:
        names = [harmless(str(name)) for name in self._frame.columns]
        self._filling = True
        try:
            found = [(name, at) for at, name in enumerate(names)]
            offer(self._sort, [("the order of the read", _AS_READ), *found])
            self._sort.value, self._descending.value = _AS_READ, False
        finally:
            self._filling = False

    def _resort(self, _: dict[str, Any]) -> None:
        with self._lock, telling(self._said):
            if self._filling:
                return
            at = self._sort.value
            column = None if at == _AS_READ else self._frame.iloc[:, at]
            self._order = _order(len(self._frame), column, descending=self._descending.value)
            self._turn(self._page.at(0))

    def _turn(self, page: Page) -> None:
        with self._lock:
            self._page = page
            self._draw()

    def _draw(self) -> None:
        with telling(self._said):
            self._pager.show(self._page)
            self._said.tell(self._lacks(), "quiet")
            self._html.value = "" if self._lacks() else page_table(self.page, self._caption())

    def _lacks(self) -> str:
        """Say why there is nothing to see."""
        if not len(self._frame):
            return "No case matches."
        return "" if self._places else "Choose a column to see: press “Columns”."

    def _caption(self) -> str:
        at, words = self._sort.value, str(self._page).capitalize()
        if at == _AS_READ:
            return words
        falling = ", descending" if self._descending.value else ""
        return f"{words}, by {heading(self._frame.iloc[:, at])}{falling}"


def _order(
    rows: int, column: pd.Series[Any] | None, *, descending: bool
) -> NDArray[np.intp] | None:
    """Find the order of the rows; None is that of the frame."""
    if column is not None:
        return in_order(column, descending=descending)
    return pd.RangeIndex(rows)[::-1].to_numpy() if descending else None
