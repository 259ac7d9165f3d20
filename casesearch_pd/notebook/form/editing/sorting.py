"""The order of the rows: a list to choose a column from, and one more after each that is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.notebook.form.editing.entry import ValueEditor
from casesearch_pd.notebook.form.model.labels import distinct
from casesearch_pd.reading.columns import OBJECTS

if TYPE_CHECKING:
    from casesearch_pd.notebook.form.editing.desk import Desk

__all__ = ["sort_editor"]

_SLOTS = 3  # to sort by more is possible where a question does already


def sort_editor(given: tuple[str, ...], desk: Desk) -> ValueEditor:
    """Make the controls for an order.

    Parameters
    ----------
    given
        Columns, those with a ``-`` descending.
    desk
        What the editor shares.
    """
    names = _sortable(given, desk)
    texts = _texts(names, desk)
    slots = [
        _Slot(at, given[at] if at < len(given) else "", names, texts, desk)
        for at in range(max(_SLOTS, len(given)))
    ]
    whole = desk.kit.stack("cs-order", *(slot.widget for slot in slots))

    def read() -> tuple[str, ...]:
        return tuple(dict.fromkeys(slot.name for slot in slots if slot.name))

    return ValueEditor(
        whole,
        given,
        state=lambda: tuple(slot.state for slot in slots),
        read=read,
        named=tuple(pair for slot in slots for pair in slot.named),
    )


def _sortable(given: tuple[str, ...], desk: Desk) -> list[str]:
    """List the columns that have an order, and what is given whether it has one or not."""
    fields = [item for item in desk.source.schema.fields if item.shown]
    known = [item.column for item in fields if item.type not in OBJECTS]
    strange = [name.removeprefix("-") for name in given]
    return list(dict.fromkeys([*known, *strange]))


def _texts(names: list[str], desk: Desk) -> list[str]:
    """Tell what the columns are called; those that the service cannot sort by are marked."""
    told = []
    for name in names:
        field = desk.labels.schema.find(name)
        here = field is not None and not desk.source.sortable(field)
        told.append(desk.labels.text_of(name) + (" (sorted here)" if here else ""))
    return ["—", *distinct(told, names)]


class _Slot:
    """One column to sort by."""

    def __init__(self, at: int, given: str, names: list[str], texts: list[str], desk: Desk) -> None:
        self._names = ["", *names]
        words = "Sort by" if at == 0 else "then by"
        place = self._names.index(given.removeprefix("-"))
        down = given.startswith("-")
        make = desk.kit.make
        self._column = make(
            widgets.Dropdown, "cs-sort", options=texts, index=place, description=words
        )
        self._down = make(
            widgets.Checkbox, "cs-descending", value=down, description="descending", indent=False
        )
        self.widget = desk.kit.box("cs-sort-slot", self._column, self._down)
        self.named: tuple[tuple[Any, str], ...] = (
            (self._column, words),
            (self._down, "descending"),
        )

    @property
    def name(self) -> str:
        """The column, with a ``-`` if descending; empty if none is chosen."""
        chosen = self._names[self._column.index]
        return f"-{chosen}" if chosen and self._down.value else chosen

    @property
    def state(self) -> tuple[int, bool]:
        """What the controls show."""
        return self._column.index, self._down.value
