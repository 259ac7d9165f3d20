"""Which columns of a frame are seen: a list to choose from, with a box that narrows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.notebook.form.looks.controls import button, row
from casesearch_pd.notebook.form.looks.messages import Messages
from casesearch_pd.notebook.markup import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from threading import RLock

__all__ = ["FIRST", "ColumnChoice"]

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
                self._list.options = [(harmless(self._names[at]), at) for at in found]
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
