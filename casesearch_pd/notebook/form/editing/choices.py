"""A list of things to choose from, with a box to find some of them by.

What is chosen stays chosen while it is not among those found. What was chosen and is not on offer
(an option that is gone) is in the list all the same, and said to be: nothing is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.notebook.form.editing.entry import ValueEditor, in_a_box
from casesearch_pd.notebook.form.editing.kit import say
from casesearch_pd.notebook.form.model.labels import distinct, on_one_line
from casesearch_pd.notebook.markup import element

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casesearch_pd.notebook.form.editing.desk import Desk

__all__ = ["MANY", "choice_editor"]

MANY = 12
"""More choices than this have a box to find some by."""

_ROWS = 6  # that are seen at once
_SAID = 4  # of the chosen ones by name


def choice_editor(
    given: Any,
    values: Sequence[str],
    texts: Sequence[str],
    desk: Desk,
    *,
    css: str = "cs-options",
    words: str = "Options",
    stranger: str = "no option",
    none: str = "none chosen",
) -> ValueEditor:
    """Make a list to choose any number from.

    Parameters
    ----------
    given
        What is chosen: a tuple of values, or None.
    values
        What is on offer.
    texts
        What it is called, in the same order; no two alike.
    desk
        What the editor shares.
    css
        The class of the list.
    words
        The label of the list.
    stranger
        What is said of a chosen value that is not on offer.
    none
        What is said while nothing is chosen.
    """
    chosen = _as_values(given)
    offered = set(values)
    strange = [item for item in chosen if item not in offered]
    every = [*values, *strange]
    shown = list(texts)
    if strange:
        called = [f"{in_a_box(item)} ({stranger})" for item in strange]
        shown = distinct([*shown, *called], [*map(in_a_box, every)])
    places = {value: at for at, value in enumerate(every)}
    held = _Choices(shown, [places[item] for item in chosen], desk, (css, words, none))
    return ValueEditor(
        held.widget,
        given,
        state=lambda: tuple(held.chosen),
        read=lambda: tuple(every[at] for at in held.chosen) or None,
        named=held.named,
    )


def _as_values(given: Any) -> list[Any]:
    """List what is chosen, each once."""
    listed = given if isinstance(given, tuple) else () if given is None else (given,)
    return list(dict.fromkeys(listed))


class _Choices:
    """The list, the box to find by, and what is chosen, by place and in order."""

    def __init__(
        self, texts: list[str], chosen: list[int], desk: Desk, look: tuple[str, str, str]
    ) -> None:
        css, words, self._none = look
        self.chosen = chosen
        self._texts = texts
        self._folded = [text.casefold() for text in texts]
        self._seen = list(range(len(texts)))
        make = desk.kit.make
        self._list = make(
            widgets.SelectMultiple, css, options=texts, index=tuple(chosen), description=words,
            rows=max(2, min(_ROWS, len(texts))), tooltip="Ctrl or Shift chooses several",
        )  # fmt: skip
        self._find = make(
            widgets.Text, "cs-find", description=f"Find in {words.lower()}", placeholder="find …"
        )
        self._said = make(widgets.HTML, "cs-chosen")
        desk.edits.on(self._list, "index", self._choose)
        desk.edits.on(self._find, "value", self._search)
        self._say()
        crowded = len(texts) > MANY
        parts = (self._find, self._list, self._said) if crowded else (self._list, self._said)
        self.widget = desk.kit.stack("cs-choices", *parts)
        self.named = ((self._list, words), (self._find, f"Find in {words.lower()}"))

    def _choose(self) -> None:
        seen = set(self._seen)
        picked = [self._seen[at] for at in self._list.index]
        kept = [at for at in self.chosen if at not in seen or at in picked]
        self.chosen = [*kept, *(at for at in picked if at not in kept)]
        self._say()

    def _search(self) -> None:
        wanted = on_one_line(self._find.value).casefold()
        self._seen = [at for at, text in enumerate(self._folded) if wanted in text]
        chosen = set(self.chosen)
        with self._list.hold_sync():
            self._list.options = [self._texts[at] for at in self._seen]
            self._list.index = tuple(at for at, place in enumerate(self._seen) if place in chosen)

    def _say(self) -> None:
        named = [self._texts[at] for at in self.chosen[:_SAID]]
        more = len(self.chosen) - len(named)
        line = ", ".join([*named, f"{more} more"] if more > 0 else named)
        say(self._said, element("span", line or self._none, class_="cs-quiet"))
