"""The table of the cases: pages of HTML, or for small frames the widget of itables.

The widget gets texts only, the same as in the pages, and escapes them itself. DataTables, on which
it is built, recognizes numbers and times among the texts and sorts them by value, with missing
values first.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.form.results.paging import (
    PAGE_SIZES,
    ColumnSelector,
    Page,
    Pager,
    sorted_positions,
)
from casesearch_pd.form.widgets import Messages, checkbox, dropdown, row, set_options, show_errors
from casesearch_pd.render.cell_text import cell_format, cell_texts, column_heading, shorten
from casesearch_pd.render.html import element, fragment, replace_control_chars, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import RLock

    import numpy as np
    from numpy.typing import NDArray

    from casesearch_pd.render.html import Fragment

__all__ = [
    "MAX_GRID_ROWS",
    "CaseTable",
    "PagedTable",
    "fits_grid",
    "has_itables",
    "make_grid",
    "page_html",
]

_MAX_GRID_TEXT = 80  # characters of a cell
MAX_GRID_ROWS = 2_000  # all of them are sent to the browser at once


def has_itables() -> bool:
    """Return whether itables is installed, without importing it."""
    return find_spec("itables") is not None


def fits_grid(frame: pd.DataFrame) -> bool:
    """Return whether a frame is small enough for the widget, with unique names of columns."""
    return 0 < len(frame) <= MAX_GRID_ROWS and frame.columns.is_unique


def make_grid(frame: pd.DataFrame) -> Any:
    """Return the widget of itables for a frame of at most `MAX_GRID_ROWS` rows."""
    from itables.widget import ITable  # noqa: PLC0415 - an extra

    return ITable(
        _grid_texts(frame),
        allow_html=False,
        classes="display nowrap compact cs-grid",
        lengthMenu=list(PAGE_SIZES),
        maxBytes=0,  # no limit
        maxColumns=0,
        order=[],  # that of the frame
        pageLength=PAGE_SIZES[0],
        showIndex=False,
        style="table-layout:auto;width:auto;margin:0",
        text_in_header_can_be_selected=False,  # else only the small arrows would sort
        warn_on_unexpected_types=False,
    )


def _grid_texts(frame: pd.DataFrame) -> pd.DataFrame:
    columns = [frame.iloc[:, at] for at in range(frame.shape[1])]
    texts = {
        replace_control_chars(column_heading(column)): _grid_cells(cell_texts(column))
        for column in columns
    }
    return pd.DataFrame(texts, dtype=object)


def _grid_cells(texts: list[str]) -> list[str]:
    lines = [" ".join(text.split()) for text in texts]
    return [replace_control_chars(shorten(line, _MAX_GRID_TEXT)) for line in lines]


_MAX_PAGE_TEXT = 120  # characters of a cell
_WIDE = 32  # characters of a cell that may not fit into its column


def page_html(rows: pd.DataFrame, caption: str) -> str:
    """Return a page of the table as HTML, with a caption for screen readers."""
    columns = [rows.iloc[:, at] for at in range(rows.shape[1])]
    texts = [cell_texts(column) for column in columns]
    content = table(
        caption,
        [shorten(column_heading(column), _MAX_PAGE_TEXT) for column in columns],
        zip(*(map(_cell, column) for column in texts), strict=True),
        formats={at: cell_format(columns[at], texts[at], _WIDE) for at in range(len(columns))},
    )
    return fragment(content)


def _cell(text: str) -> Fragment:
    """Return the text of a cell; a long one is shortened, with the whole text as its tooltip."""
    if len(text) <= _WIDE and "\n" not in text:
        return text
    return element("span", shorten(text, _MAX_PAGE_TEXT), title=text)


_ORDER_OF_READ = -1  # instead of the position of a column


class PagedTable(widgets.VBox):  # type: ignore[misc]  # untyped
    """A frame of any number of rows, one page at a time, with controls to sort it."""

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._frame = pd.DataFrame()
        self._columns: Sequence[int] = ()
        self._page = Page()
        self._order: NDArray[np.intp] | None = None
        self._is_filling = False
        self._sort = dropdown("Sort by", "cs-table-sort")
        self._descending = checkbox("descending", "cs-table-descending")
        self._pager = Pager(self._show_page)
        self._html = widgets.HTML()
        self._html.add_class("cs-page")
        self._messages = Messages("cs-table-said")
        controls = row(self._sort, self._descending)
        super().__init__([controls, self._messages, self._pager, self._html])
        self._sort.observe(self._on_sort, names="value")
        self._descending.observe(self._on_sort, names="value")

    @property
    def page(self) -> pd.DataFrame:
        """The rows of the page, with the selected columns."""
        with self._lock:
            positions = slice(self._page.start, self._page.stop)
            rows = self._frame.iloc[positions if self._order is None else self._order[positions]]
            return rows.iloc[:, list(self._columns)]

    def show(self, frame: pd.DataFrame, columns: Sequence[int]) -> None:
        """Show the first page of a frame, in its own order."""
        with self._lock:
            self._frame, self._columns, self._order = frame, columns, None
            self._page = Page(len(frame), self._page.size)
            self._offer_sorting()
            self._draw()

    def select(self, columns: Sequence[int]) -> None:
        """Show other columns of the same page."""
        with self._lock:
            self._columns = columns
            self._draw()

    def _offer_sorting(self) -> None:
        names = [replace_control_chars(str(name)) for name in self._frame.columns]
        self._is_filling = True
        try:
            options = [(name, at) for at, name in enumerate(names)]
            set_options(self._sort, [("the order of the read", _ORDER_OF_READ), *options])
            self._sort.value, self._descending.value = _ORDER_OF_READ, False
        finally:
            self._is_filling = False

    def _on_sort(self, _: dict[str, Any]) -> None:
        with self._lock, show_errors(self._messages):
            if self._is_filling:
                return
            at = self._sort.value
            column = None if at == _ORDER_OF_READ else self._frame.iloc[:, at]
            self._order = _order(len(self._frame), column, descending=self._descending.value)
            self._show_page(self._page.at(0))

    def _show_page(self, page: Page) -> None:
        with self._lock:
            self._page = page
            self._draw()

    def _draw(self) -> None:
        with show_errors(self._messages):
            self._pager.show(self._page)
            reason = self._empty_reason()
            self._messages.show(reason, "quiet")
            self._html.value = "" if reason else page_html(self.page, self._caption())

    def _empty_reason(self) -> str:
        """Return why there is nothing to see; empty if there is something."""
        if not len(self._frame):
            return "No case matches."
        return "" if self._columns else "Choose a column to see: press “Columns”."

    def _caption(self) -> str:
        at, caption = self._sort.value, str(self._page).capitalize()
        if at == _ORDER_OF_READ:
            return caption
        direction = ", descending" if self._descending.value else ""
        return f"{caption}, by {column_heading(self._frame.iloc[:, at])}{direction}"


def _order(
    rows: int, column: pd.Series[Any] | None, *, descending: bool
) -> NDArray[np.intp] | None:
    """Return the order of the rows; None is that of the frame."""
    if column is not None:
        return sorted_positions(column, descending=descending)
    return pd.RangeIndex(rows)[::-1].to_numpy() if descending else None


class CaseTable(widgets.VBox):  # type: ignore[misc]  # untyped
    """A frame of any number of rows, with controls to select its columns.

    Small frames are shown by the widget of itables, if `interactive` is True, or if it is None and
    itables is installed. Larger ones are shown in pages, because the widget sends all rows to the
    browser.

    Raise ImportError if `interactive` is True and itables is not installed.
    """

    def __init__(self, lock: RLock, *, interactive: bool | None = None) -> None:
        if interactive and not has_itables():
            raise ImportError(
                "interactive=True needs itables, which is not installed; install it with "
                "pip install 'casesearch_pd[widgets]', or omit interactive="
            )
        self._interactive = has_itables() if interactive is None else interactive
        self._lock = lock
        self._frame = pd.DataFrame()
        self._columns = ColumnSelector(lock, self._on_columns)
        self._messages = Messages("cs-table-problem")
        self._grid = widgets.VBox()
        self._grid.add_class("cs-grid-place")
        self._pages = PagedTable(lock)
        super().__init__([self._columns, self._messages, self._grid, self._pages])
        self.add_class("cs-table")

    @property
    def page(self) -> pd.DataFrame:
        """The rows and columns of the page."""
        return self._pages.page

    def show(self, frame: pd.DataFrame) -> None:
        """Show the first page of a frame, in its own order."""
        with self._lock, show_errors(self._messages):
            self._frame = frame
            self._columns.show([str(name) for name in frame.columns])
            self._pages.show(frame, self._columns.positions)
            self._draw_grid()

    def _on_columns(self) -> None:
        with self._lock, show_errors(self._messages):
            self._pages.select(self._columns.positions)
            self._draw_grid()

    def _draw_grid(self) -> None:
        """Show either the widget of itables or the pages."""
        self._messages.show()
        selection = self._frame.iloc[:, list(self._columns.positions)]
        has_grid = self._interactive and selection.shape[1] > 0 and fits_grid(self._frame)
        previous = self._grid.children
        self._grid.children = (make_grid(selection),) if has_grid else ()
        self._pages.layout.display = "none" if has_grid else None
        # The browser keeps all rows of a widget until it is closed.
        for widget in previous:
            widget.close()
