"""The controls that turn pages: first, previous, next, last, and how many rows stand on one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.notebook.form.looks.controls import button, dropdown
from casesearch_pd.notebook.form.results.paging import SIZES, Page
from casesearch_pd.notebook.markup import element, fragment

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pager"]


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
