"""A small frame in, itables' widget out: search, sort and paging in the browser, offline.

It is given texts only, the same that the plain table shows, and escapes them itself; DataTables,
which is inside, finds numbers and times among texts by their looks and sorts them as such; what is
missing comes first.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.form.results.paging import SIZES, ColumnChoice, Page, Pager, in_order
from casesearch_pd.form.widgets import Messages, checkbox, dropdown, offer, row, with_message
from casesearch_pd.render.cell_text import cell_format, cell_texts, heading, shorten
from casesearch_pd.render.html import element, fragment, replace_control_chars, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from threading import RLock

    import numpy as np
    from numpy.typing import NDArray

    from casesearch_pd.render.html import Fragment

__all__ = ["MOST_ROWS", "CaseTable", "PlainTable", "fits", "grid", "is_installed", "page_table"]

_LONGEST = 80  # characters of a cell
MOST_ROWS = 2_000  # all of them are sent to the browser at once


def is_installed() -> bool:
    """Tell whether itables is there, without importing it."""
    return find_spec("itables") is not None


def fits(frame: pd.DataFrame) -> bool:
    """Tell whether a frame is small enough, and its columns are told apart by their headings."""
    return 0 < len(frame) <= MOST_ROWS and frame.columns.is_unique


def grid(frame: pd.DataFrame) -> Any:
    """Make the widget.

    Parameters
    ----------
    frame
        The columns that are seen of the frame, at most `MOST_ROWS` rows.
    """
    from itables.widget import ITable  # noqa: PLC0415 - an extra

    return ITable(
        _as_texts(frame),
        allow_html=False,
        classes="display nowrap compact cs-grid",
        lengthMenu=list(SIZES),
        maxBytes=0,  # nothing is left out
        maxColumns=0,
        order=[],  # that of the frame
        pageLength=SIZES[0],
        showIndex=False,
        style="table-layout:auto;width:auto;margin:0",
        text_in_header_can_be_selected=False,  # else its small arrows alone would sort
        warn_on_unexpected_types=False,
    )


def _as_texts(frame: pd.DataFrame) -> pd.DataFrame:
    columns = [frame.iloc[:, at] for at in range(frame.shape[1])]
    texts = {
        replace_control_chars(heading(column)): _plain(cell_texts(column)) for column in columns
    }
    return pd.DataFrame(texts, dtype=object)


def _plain(texts: list[str]) -> list[str]:
    return [replace_control_chars(shorten(" ".join(text.split()), _LONGEST)) for text in texts]


_LONGEST_page_table = 120  # characters of a cell
_WIDE = 32  # characters of a cell that the column may have no room for


def page_table(rows: pd.DataFrame, caption: str) -> str:
    """Write the rows of a page.

    Parameters
    ----------
    rows
        As many as are to be seen.
    caption
        Which they are.
    """
    columns = [rows.iloc[:, at] for at in range(rows.shape[1])]
    texts = [cell_texts(column) for column in columns]
    made = table(
        caption,
        [shorten(heading(column), _LONGEST_page_table) for column in columns],
        zip(*(map(_cell, column) for column in texts), strict=True),
        looks={at: cell_format(columns[at], texts[at], _WIDE) for at in range(len(columns))},
    )
    return fragment(made)


def _cell(text: str) -> Fragment:
    """Cut what is long; the whole of it is seen where the mouse rests."""
    if len(text) <= _WIDE and "\n" not in text:
        return text
    return element("span", shorten(text, _LONGEST_page_table), title=text)


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
        names = [replace_control_chars(str(name)) for name in self._frame.columns]
        self._filling = True
        try:
            found = [(name, at) for at, name in enumerate(names)]
            offer(self._sort, [("the order of the read", _AS_READ), *found])
            self._sort.value, self._descending.value = _AS_READ, False
        finally:
            self._filling = False

    def _resort(self, _: dict[str, Any]) -> None:
        with self._lock, with_message(self._said):
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
        with with_message(self._said):
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
        with self._lock, with_message(self._said):
            self._frame = frame
            self._columns.show([str(name) for name in frame.columns])
            self._plain.show(frame, self._columns.places)
            self._draw_grid()

    def _rechosen(self) -> None:
        with self._lock, with_message(self._said):
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
