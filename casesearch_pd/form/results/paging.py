"""A text that is read and copied with one click: code, JSON, a command."""

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

__all__ = ["FIRST", "SIZES", "ColumnChoice", "Listing", "Page", "Pager", "in_order"]


class Listing(widgets.VBox):  # type: ignore[misc]  # untyped
    """A text that is read and copied: code, JSON, a command.

    Parameters
    ----------
    name
        The stable class of the whole; that of its button is ``NAME-copy``.
    caption
        What it is, for who cannot see where it stands.
    button
        What stands on its button.
    """

    def __init__(self, name: str, caption: str, button: str) -> None:
        self._caption = caption
        self._html = widgets.HTML()
        self._copy = CopyButton(button)
        self._copy.add_class(f"{name}-copy")
        super().__init__([self._copy, self._html])
        self.add_class(name)

    def show(self, text: str) -> None:
        """Show another text."""
        read = element("pre", element("code", text), tabindex="0", aria_label=self._caption)
        self._copy.show(text)
        self._html.value = fragment(read)


SIZES = (25, 50, 100, 500)  # rows a page


@dataclass(frozen=True, slots=True)
class Page:
    """A page of so many rows.

    Parameters
    ----------
    rows
        How many rows there are in all.
    size
        How many stand on a page.
    number
        Which page it is, from 0.
    """

    rows: int = 0
    size: int = SIZES[0]
    number: int = 0

    @property
    def last(self) -> int:
        """The number of the last page; an empty frame has one page too."""
        return max(0, math.ceil(self.rows / self.size) - 1)

    @property
    def start(self) -> int:
        """The place of its first row."""
        return self.number * self.size

    @property
    def stop(self) -> int:
        """The place after its last row."""
        return min(self.start + self.size, self.rows)

    def at(self, number: int) -> Page:
        """Turn to a page; beyond the last one there is the last one."""
        return replace(self, number=min(max(number, 0), self.last))

    def sized(self, size: int) -> Page:
        """Change how many rows a page has, and keep the first row that is seen in sight."""
        return replace(self, size=size, number=self.start // size)

    def __str__(self) -> str:
        if not self.rows:
            return "no rows"
        return f"rows {self.start + 1:,}–{self.stop:,} of {self.rows:,}"  # noqa: RUF001 - a range


def in_order(column: pd.Series[Any], *, descending: bool = False) -> NDArray[np.intp]:
    """Find the places of the rows in the order of a column: stable, missing last both ways.

    Numbers and times go by value, text by the code of its letters, lists and mappings by the text
    that a cell shows.
    """
    plain = _comparable(column).reset_index(drop=True)
    try:
        ordered = _sorted(plain, descending=descending)
    except (TypeError, ValueError, NotImplementedError):  # times with and without a zone, and such
        ordered = _sorted(_as_text(plain), descending=descending)
    return ordered.index.to_numpy()


def _sorted(column: pd.Series[Any], *, descending: bool) -> pd.Series[Any]:
    return column.sort_values(ascending=not descending, kind="stable", na_position="last")


def _comparable(column: pd.Series[Any]) -> pd.Series[Any]:
    """Make a column that can be sorted as people would."""
    match column.dtype:
        case pd.CategoricalDtype(ordered=ordered) if not ordered:
            return column.astype(object)
        case pd.ArrowDtype(type=held) if held in (list, dict):
            return _as_text(column.astype(object))
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in _COMPARED:
        return _as_text(column)
    return column


_COMPARED = {
    "string", "integer", "floating", "mixed-integer-float", "decimal", "boolean", "datetime",
    "date", "time", "timedelta",
}  # fmt: skip


def _as_text(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.astype(object).map(cell_text, na_action="ignore")


class Pager(widgets.HBox):  # type: ignore[misc]  # untyped
    """Turn the pages of a table.

    Parameters
    ----------
    turned
        What is called with the page that a user asks for; it answers by `show`.
    """

    def __init__(self, turned: Callable[[Page], None]) -> None:
        self._turned = turned
        self._page = Page()
        self._first = self._button("First", "first", lambda page: page.at(0))
        self._previous = self._button("Previous", "previous", lambda page: page.at(page.number - 1))
        self._next = self._button("Next", "next", lambda page: page.at(page.number + 1))
        self._last = self._button("Last", "last", lambda page: page.at(page.last))
        self._size = dropdown("Rows a page", "cs-page-size", [(str(size), size) for size in SIZES])
        self._size.observe(self._resized, names="value")
        self._words = widgets.HTML()
        self._words.add_class("cs-page-words")
        super().__init__(
            [self._first, self._previous, self._words, self._next, self._last, self._size]
        )
        self.add_class("cs-controls")
        self.show(self._page)

    def _button(self, text: str, name: str, step: Callable[[Page], Page]) -> widgets.Button:
        return button(text, f"cs-page-{name}", lambda: self._turned(step(self._page)))

    def _resized(self, change: dict[str, Any]) -> None:
        if change["new"] != self._page.size:
            self._turned(self._page.sized(change["new"]))

    def show(self, page: Page) -> None:
        """Tell which page is seen."""
        self._page = page
        self._size.value = page.size
        self._words.value = fragment(element("span", str(page), role="status"))
        self._first.disabled = self._previous.disabled = page.number == 0
        self._next.disabled = self._last.disabled = page.number == page.last


FIRST = 30  # columns that are seen unasked
_LINES = 8  # of the list


class ColumnChoice(widgets.VBox):  # type: ignore[misc]  # untyped
    """Choose columns by their places in the frame.

    Parameters
    ----------
    lock
        What guards the state of the table that it belongs to.
    chosen
        What is called when a user chose others.
    """

    def __init__(self, lock: RLock, chosen: Callable[[], None]) -> None:
        self._lock, self._chosen = lock, chosen
        self._names: tuple[str, ...] = ()
        self._places: tuple[int, ...] = ()
        self._filling = False
        self._open = widgets.ToggleButton(description="Columns", layout={"width": "auto"})
        self._find = widgets.Text(description="Find", placeholder="part of a name")
        self._list = widgets.SelectMultiple(description="Shown", rows=_LINES)
        self._all = button("Show all", "cs-table-columns-all", self._show_all)
        self._reset = button("As at first", "cs-table-columns-reset", self._show_first)
        hint = Messages("cs-table-columns-hint")
        hint.tell("Ctrl or ⌘ with a click, or with Space, adds one or takes one away.", "quiet")
        self._inside = widgets.VBox([self._find, self._list, hint, row(self._all, self._reset)])
        super().__init__([self._open, self._inside])
        self._name_them()
        self._listen()

    def _name_them(self) -> None:
        self.add_class("cs-table-columns")
        self._open.add_class("cs-table-columns-open")
        self._find.add_class("cs-table-columns-find")
        self._list.add_class("cs-table-columns-list")

    def _listen(self) -> None:
        self._toggled({"new": False})
        self._open.observe(self._toggled, names="value")
        self._find.observe(lambda _: self._list_them(), names="value")
        self._list.observe(self._picked, names="value")

    @property
    def places(self) -> tuple[int, ...]:
        """The places of the columns that are seen, in the order of the frame."""
        return self._places

    def show(self, names: Sequence[str]) -> None:
        """Offer the columns of a frame; if they are those of before, so is the choice."""
        if tuple(names) != self._names:
            self._names = tuple(names)
            self._places = self._at_first()
        self._list_them()

    def _at_first(self) -> tuple[int, ...]:
        return tuple(range(min(FIRST, len(self._names))))

    def _show_all(self) -> None:
        self._take(range(len(self._names)))

    def _show_first(self) -> None:
        self._take(self._at_first())

    def _take(self, places: Iterable[int]) -> None:
        with self._lock:
            self._places = tuple(sorted(places))
            self._list_them()
            self._chosen()

    def _toggled(self, change: dict[str, Any]) -> None:
        self._inside.layout.display = None if change["new"] else "none"

    def _list_them(self) -> None:
        """List what is looked for; what is not listed stays as it is."""
        with self._lock:
            wanted = self._find.value.strip().casefold()
            found = [at for at, name in enumerate(self._names) if wanted in name.casefold()]
            self._filling = True
            try:
                self._list.options = [(replace_control_chars(self._names[at]), at) for at in found]
                self._list.value = tuple(at for at in self._places if at in set(found))
            finally:
                self._filling = False
            self._open.description = f"Columns ({len(self._places)} of {len(self._names)})"

    def _picked(self, change: dict[str, Any]) -> None:
        with self._lock:
            if self._filling:
                return
            listed = {at for _, at in self._list.options}
            self._take((set(self._places) - listed) | set(change["new"]))
