"""The table of the cases: the columns that somebody chose, by itables' widget or as plain pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.notebook.form.looks.messages import Messages, telling
from casesearch_pd.notebook.form.results.column_choice import ColumnChoice
from casesearch_pd.notebook.form.results.grid import MOST_ROWS, fits, grid, is_installed
from casesearch_pd.notebook.form.results.plain_table import PlainTable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from threading import RLock

__all__ = ["MOST_ROWS", "CaseTable"]


class CaseTable(widgets.VBox):  # type: ignore[misc]  # untyped
    """Show a frame of any number of rows.

    Parameters
    ----------
    lock
        What guards the state of the results that it belongs to.
    interactive
        Whether frames of at most 2,000 rows are shown by itables' widget, which sorts and
        searches in the browser; None where itables is installed. Larger ones, of which the
        browser would need all rows at once, are always shown a page at a time.

    Raises
    ------
    ImportError
        If itables is asked for and not installed.
    """

    def __init__(self, lock: RLock, *, interactive: bool | None = None) -> None:
        if interactive and not is_installed():
            raise ImportError(
                "interactive=True needs itables, which is not installed; add it with "
                "pip install 'casesearch_pd[widgets]', or leave interactive= out"
            )
        self._interactive = is_installed() if interactive is None else interactive
        self._lock = lock
        self._frame = pd.DataFrame()
        self._columns = ColumnChoice(lock, self._rechosen)
        self._said = Messages("cs-table-problem")
        self._grid = widgets.VBox()
        self._grid.add_class("cs-grid-place")
        self._plain = PlainTable(lock)
        super().__init__([self._columns, self._said, self._grid, self._plain])
        self.add_class("cs-table")

    @property
    def page(self) -> pd.DataFrame:
        """The rows and columns of the plain table's page."""
        return self._plain.page

    def show(self, frame: pd.DataFrame) -> None:
        """Show a frame from its first row, in its own order."""
        with self._lock, telling(self._said):
            self._frame = frame
            self._columns.show([str(name) for name in frame.columns])
            self._plain.show(frame, self._columns.places)
            self._draw_grid()

    def _rechosen(self) -> None:
        with self._lock, telling(self._said):
            self._plain.choose(self._columns.places)
            self._draw_grid()

    def _draw_grid(self) -> None:
        """Show itables' widget in the place of the plain table, or the plain table."""
        self._said.tell()
        seen = self._frame.iloc[:, list(self._columns.places)]
        by_itables = self._interactive and seen.shape[1] > 0 and fits(self._frame)
        before = self._grid.children
        self._grid.children = (grid(seen),) if by_itables else ()
        self._plain.layout.display = "none" if by_itables else None
        _close(before)


def _close(shown: Iterable[widgets.Widget]) -> None:
    """Let the browser forget widgets that are not seen any more."""
    for widget in shown:
        widget.close()
