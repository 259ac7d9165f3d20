"""What every editor of a value is: controls, what they show, and the value that this means.

An editor that nobody touched gives back exactly the value that it was given, whatever its boxes
can show of it: a text that looks like a number stays text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError
from casesearch_pd.notebook.form.editing.kit import close
from casesearch_pd.notebook.form.model.entries import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import ipywidgets as widgets

    from casesearch_pd.query.schema import FieldType

__all__ = ["ValueEditor", "in_a_box", "parsed", "sendable"]


@dataclass(frozen=True)
class ValueEditor:
    """The controls for one value, or for the many of one row.

    Parameters
    ----------
    widget
        What is put on the screen.
    given
        The value that it began with.
    state
        Tells what the controls show; the same again is the given value again.
    read
        Tells what they mean.
    named
        The controls, each with the words that name it; the number of the row stands behind.
    """

    widget: widgets.Widget
    given: Any
    state: Callable[[], Hashable]
    read: Callable[[], Any]
    named: tuple[tuple[widgets.Widget, str], ...] = ()
    _began: list[Hashable] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Remember what is shown before anybody edits."""
        self._began.append(self.state())

    @property
    def value(self) -> Any:
        """The value: the given one until it is edited."""
        return self.given if self.state() == self._began[0] else self.read()

    def close(self) -> None:
        """Take the controls away, those too that are hidden at the moment."""
        close(self.widget)
        for control, _ in self.named:
            control.close()

    def number(self, row: int) -> None:
        """Name the controls after their row."""
        for control, words in self.named:
            control.description = f"{words} of row {row}"


def parsed(kind: FieldType, text: str) -> Any:
    """Read what was typed; what is no value of this type stays text, which the check refuses.

    >>> parsed("number", "2.50"), parsed("number", "2.5.0"), parsed("text", "")
    (2.5, '2.5.0', None)
    """
    try:
        return from_text(kind, text)
    except FilterError:
        return text


def in_a_box(value: Any) -> str:
    """Write a value as `parsed` reads it."""
    return sendable(to_text(value))


def sendable(text: str) -> str:
    """Write a text as it can be sent to a browser: without halves of surrogate pairs."""
    return _HALVES.sub("\ufffd", text)


_HALVES = re.compile("[\ud800-\udfff]")
