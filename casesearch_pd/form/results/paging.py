"""Parts of the results: a listing to copy, the order and pages of a table, its columns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.form.widgets import CopyButton, Messages, button, dropdown, row
from casesearch_pd.render.cell_text import cell_text
from casesearch_pd.render.html import element, fragment, replace_control_chars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from threading import RLock

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PAGE_SIZES", "ColumnSelector", "Listing", "Page", "Pager", "sorted_positions"]


class Listing(widgets.VBox):  # type: ignore[misc]  # untyped
    """A text to read and copy: code, JSON, a command."""

    def __init__(self, css: str, caption: str, button: str) -> None:
        self._caption = caption
        self._html = widgets.HTML()
        self._copy = CopyButton(button)
        self._copy.add_class(f"{css}-copy")
        super().__init__([self._copy, self._html])
        self.add_class(css)

    def show(self, text: str) -> None:
        """Show another text."""
        listing = element("pre", element("code", text), tabindex="0", aria_label=self._caption)
        self._copy.show(text)
        self._html.value = fragment(listing)


PAGE_SIZES = (25, 50, 100, 500)  # rows


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a table."""

    rows: int = 0  # of the table
    size: int = PAGE_SIZES[0]  # rows of a page
    number: int = 0  # from 0

    @property
    def last(self) -> int:
        """The number of the last page; an empty table has one page too."""
        return max(0, math.ceil(self.rows / self.size) - 1)

    @property
    def start(self) -> int:
        """The position of its first row."""
        return self.number * self.size

    @property
    def stop(self) -> int:
        """The position after its last row."""
        return min(self.start + self.size, self.rows)

    def at(self, number: int) -> Page:
        """Return a page by its number, limited to the pages that exist."""
        return replace(self, number=min(max(number, 0), self.last))

    def with_size(self, size: int) -> Page:
        """Return the page of another size that shows the first row of this one."""
        return replace(self, size=size, number=self.start // size)

    def __str__(self) -> str:
        if not self.rows:
            return "no rows"
        return f"rows {self.start + 1:,}–{self.stop:,} of {self.rows:,}"  # noqa: RUF001 - a range


def sorted_positions(column: pd.Series[Any], *, descending: bool = False) -> NDArray[np.intp]:
    """Return the positions of the rows in the order of a column: stable, missing values last.

    Numbers and times are compared by value, text by code points, and lists and mappings by the
    text of their cells.
    """
    values = _comparable(column).reset_index(drop=True)
    try:
        in_order = _sort(values, descending=descending)
    # Values of several types, such as times with and without a time zone.
    except (TypeError, ValueError, NotImplementedError):
        in_order = _sort(_as_text(values), descending=descending)
    return in_order.index.to_numpy()


def _sort(column: pd.Series[Any], *, descending: bool) -> pd.Series[Any]:
    return column.sort_values(ascending=not descending, kind="stable", na_position="last")


def _comparable(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return the column with values that can be compared with each other."""
    match column.dtype:
        case pd.CategoricalDtype(ordered=ordered) if not ordered:
            return column.astype(object)
        case pd.ArrowDtype(type=python_type) if python_type in (list, dict):
            return _as_text(column.astype(object))
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in _COMPARABLE:
        return _as_text(column)
    return column


# Kinds of `pandas.api.types.infer_dtype` whose values pandas can compare with each other.
_COMPARABLE = {
    "string", "integer", "floating", "mixed-integer-float", "decimal", "boolean", "datetime",
    "date", "time", "timedelta",
}  # fmt: skip


def _as_text(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.astype(object).map(cell_text, na_action="ignore")


class Pager(widgets.HBox):  # type: ignore[misc]  # untyped
    """Controls to go to another page of a table."""

    def __init__(self, on_page: Callable[[Page], None]) -> None:
        self._on_page = on_page
        self._page = Page()
        self._first = self._button("First", "first", lambda page: page.at(0))
        self._previous = self._button("Previous", "previous", lambda page: page.at(page.number - 1))
        self._next = self._button("Next", "next", lambda page: page.at(page.number + 1))
        self._last = self._button("Last", "last", lambda page: page.at(page.last))
        self._size = dropdown("Rows per page", "cs-page-size", [(str(n), n) for n in PAGE_SIZES])
        self._size.observe(self._on_size, names="value")
        self._text = widgets.HTML()
        self._text.add_class("cs-page-words")
        super().__init__(
            [self._first, self._previous, self._text, self._next, self._last, self._size]
        )
        self.add_class("cs-controls")
        self.show(self._page)

    def _button(self, label: str, name: str, step: Callable[[Page], Page]) -> widgets.Button:
        return button(label, f"cs-page-{name}", lambda: self._on_page(step(self._page)))

    def _on_size(self, change: dict[str, Any]) -> None:
        if change["new"] != self._page.size:
            self._on_page(self._page.with_size(change["new"]))

    def show(self, page: Page) -> None:
        """Show which page of the table is on the screen."""
        self._page = page
        self._size.value = page.size
        self._text.value = fragment(element("span", str(page), role="status"))
        self._first.disabled = self._previous.disabled = page.number == 0
        self._next.disabled = self._last.disabled = page.number == page.last


_DEFAULT_COLUMNS = 30  # at most
_VISIBLE_LINES = 8


class ColumnSelector(widgets.VBox):  # type: ignore[misc]  # untyped
    """Controls to select columns by their positions in the frame."""

    def __init__(self, lock: RLock, on_select: Callable[[], None]) -> None:
        self._lock, self._on_select = lock, on_select
        self._names: tuple[str, ...] = ()
        self._positions: tuple[int, ...] = ()
        self._is_filling = False
        self._open = widgets.ToggleButton(description="Columns", layout={"width": "auto"})
        self._find = widgets.Text(description="Find", placeholder="part of a name")
        self._list = widgets.SelectMultiple(description="Shown", rows=_VISIBLE_LINES)
        self._all = button("Show all", "cs-table-columns-all", self._show_all)
        self._reset = button("Reset", "cs-table-columns-reset", self._show_default)
        hint = Messages("cs-table-columns-hint")
        hint.show("Ctrl or ⌘ with a click, or with Space, adds or removes one column.", "quiet")
        self._panel = widgets.VBox([self._find, self._list, hint, row(self._all, self._reset)])
        super().__init__([self._open, self._panel])
        self._add_classes()
        self._observe()

    def _add_classes(self) -> None:
        self.add_class("cs-table-columns")
        self._open.add_class("cs-table-columns-open")
        self._find.add_class("cs-table-columns-find")
        self._list.add_class("cs-table-columns-list")

    def _observe(self) -> None:
        self._on_toggle({"new": False})
        self._open.observe(self._on_toggle, names="value")
        self._find.observe(lambda _: self._fill(), names="value")
        self._list.observe(self._on_list, names="value")

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions of the selected columns, in the order of the frame."""
        return self._positions

    def show(self, names: Sequence[str]) -> None:
        """Offer the columns of a frame; the selection stays if the columns are the same."""
        if tuple(names) != self._names:
            self._names = tuple(names)
            self._positions = self._default_positions()
        self._fill()

    def _default_positions(self) -> tuple[int, ...]:
        return tuple(range(min(_DEFAULT_COLUMNS, len(self._names))))

    def _show_all(self) -> None:
        self._select(range(len(self._names)))

    def _show_default(self) -> None:
        self._select(self._default_positions())

    def _select(self, positions: Iterable[int]) -> None:
        with self._lock:
            self._positions = tuple(sorted(positions))
            self._fill()
            self._on_select()

    def _on_toggle(self, change: dict[str, Any]) -> None:
        self._panel.layout.display = None if change["new"] else "none"

    def _fill(self) -> None:
        """List the columns whose names contain the text; the selection of others stays."""
        with self._lock:
            text = self._find.value.strip().casefold()
            matches = [at for at, name in enumerate(self._names) if text in name.casefold()]
            # Replacing the options changes the selection, which is not a selection of the user.
            self._is_filling = True
            try:
                self._list.options = [
                    (replace_control_chars(self._names[at]), at) for at in matches
                ]
                self._list.value = tuple(at for at in self._positions if at in set(matches))
            finally:
                self._is_filling = False
            self._open.description = f"Columns ({len(self._positions)} of {len(self._names)})"

    def _on_list(self, change: dict[str, Any]) -> None:
        with self._lock:
            if self._is_filling:
                return
            listed_positions = {at for _, at in self._list.options}
            self._select((set(self._positions) - listed_positions) | set(change["new"]))
