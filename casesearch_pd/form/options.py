"""The order of the rows: a list to choose a column from, and one more after each that is used."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import ipywidgets as widgets

from casesearch_pd.errors import FilterError
from casesearch_pd.form.groups import Desk
from casesearch_pd.form.model.question import FormQuery
from casesearch_pd.form.model.tree import distinct_labels
from casesearch_pd.form.value_inputs import ValueEditor, choice_editor, close, say, sendable
from casesearch_pd.reading.frames.columns import OBJECT_TYPES
from casesearch_pd.reading.plan import build_query
from casesearch_pd.render.html import element

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.form.model.tree import Group
    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.base import Source

__all__ = ["OptionsEditor", "sort_editor"]

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
    fields = [item for item in desk.source.schema.fields if item.visible]
    known = [item.column for item in fields if item.type not in OBJECT_TYPES]
    strange = [name.removeprefix("-") for name in given]
    return list(dict.fromkeys([*known, *strange]))


def _texts(names: list[str], desk: Desk) -> list[str]:
    """Tell what the columns are called; those that the service cannot sort by are marked."""
    told = []
    for name in names:
        field = desk.labels.schema.find(name)
        here = field is not None and not desk.source.can_sort_by(field)
        told.append(desk.labels.text_of(name) + (" (sorted here)" if here else ""))
    return ["—", *distinct_labels(told, names)]


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


_NAMES = {
    "search": "Search",
    "tags": "Tags",
    "columns": "Columns",
    "sort": "Order",
    "limit": "Rows at most",
    "tz": "Time zone",
}


class OptionsEditor:
    """The controls for all that a question holds besides its tree.

    Parameters
    ----------
    source
        Who is going to be asked.
    question
        What they begin with; an option that nobody edits stays exactly as it is here.
    on_change
        Called after each edit of somebody's, from whatever thread it comes in.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=1) as local:
    ...     options = OptionsEditor(local.persona_cases(), Question(limit=20))
    >>> options.question(Question().tree) == Question(limit=20), options.problems
    (True, ())
    """

    def __init__(
        self,
        source: Source,
        question: FormQuery | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        # Of the zone that is edited here nothing depends on it but what is read at the end.
        self._desk = Desk(source, "UTC", on_change)
        self.widget = self._desk.kit.stack("cs-read-options")
        self._parts: dict[str, tuple[ValueEditor, widgets.HTML]] = {}
        self.show(question or FormQuery())

    def question(self, tree: Group) -> FormQuery:
        """Put a tree and the options together; what is no value of an option stays out of it."""
        with self._desk.edits.lock:
            held = {name: editor.value for name, (editor, _) in self._parts.items()}
        if isinstance(held["limit"], str):
            held["limit"] = None
        return FormQuery(tree, **held)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the options cannot be asked for, in sentences; empty if they can."""
        with self._desk.edits.lock:
            found = [(_NAMES[name], self._wrong(name)) for name in self._parts]
        return tuple(f"{name}: {wrong}" for name, wrong in found if wrong)

    def show(self, question: FormQuery) -> None:
        """Put other options on the screen; this is no edit, so nobody is told."""
        with self._desk.edits.quietly():
            before, gone = self.widget.children, [editor for editor, _ in self._parts.values()]
            names = [name for name in _MAKERS if self._has(name, question)]
            made = {name: _MAKERS[name](getattr(question, name), self._desk) for name in names}
            self._parts = {name: (made[name], self._desk.kit.message()) for name in made}
            for name, part in self._parts.items():
                self._hear(name, part[0])
                self._check(name)
            self.widget.children = [self._block(name) for name in self._parts]
            for editor in gone:
                editor.close()
            for child in before:
                close(child)

    def _has(self, name: str, question: FormQuery) -> bool:
        """Tell whether to show an option: also if it was asked for and the source has none."""
        match name:
            case "search":
                return self._desk.source.can_search or question.search is not None
            case "tags":
                return self._desk.source.schema.find("tags") is not None or question.tags != ()
            case _:
                return True

    def _block(self, name: str) -> widgets.Widget:
        editor, message = self._parts[name]
        inside = (editor.widget, message)
        return self._desk.kit.make(widgets.VBox, "cs-option", f"cs-option-{name}", children=inside)

    def _hear(self, name: str, editor: ValueEditor) -> None:
        for control, _ in editor.named:
            trait = "index" if control.has_trait("index") else "value"
            self._desk.edits.on(control, trait, partial(self._check, name))

    def _check(self, name: str) -> None:
        wrong = self._wrong(name)
        words = element("div", wrong, class_="cs-wrong", role="status", aria_live="polite")
        say(self._parts[name][1], *([words] if wrong else []))

    def _wrong(self, name: str) -> str:
        """Say why an option cannot be asked for; empty if it can."""
        held = self._parts[name][0].value
        source = self._desk.source
        try:
            if name == "tags":
                held = FormQuery(tags=held).arguments(source.schema).get("tags")
            build_query(source, None, {}, **({} if held is None else {name: held}))
        except FilterError as error:
            return str(error)
        return ""


# --- one option each --------------------------------------------------------------------


def _search(given: str | None, desk: Desk) -> ValueEditor:
    return _text(given, desk, "cs-search-text", _NAMES["search"], "words in any field")


def _text(given: Any, desk: Desk, css: str, words: str, hint: str) -> ValueEditor:
    shown = "" if given is None else sendable(str(given))
    box = desk.kit.make(widgets.Text, css, value=shown, description=words, placeholder=hint)
    return ValueEditor(box, given, lambda: box.value, lambda: box.value or None, ((box, words),))


def _tags(given: tuple[str, ...], desk: Desk) -> ValueEditor:
    tags = desk.source.schema.find("tags")
    keyed = tags is not None and tags.type == "tags"
    hint = "key=value, one a line" if keyed else "one tag a line"
    box = desk.kit.make(
        widgets.Textarea, "cs-tags", description=_NAMES["tags"], placeholder=hint, rows=2,
        value=sendable("\n".join(given)),
    )  # fmt: skip
    return ValueEditor(
        box, given, lambda: box.value, lambda: _lines(box.value), ((box, _NAMES["tags"]),)
    )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def _columns(given: tuple[str, ...] | None, desk: Desk) -> ValueEditor:
    offered = [item for item in _fields(desk) if item.visible]
    every = sum(item.active for item in offered)
    return choice_editor(
        given,
        [item.column for item in offered],
        [desk.labels.text_of(item.column) for item in offered],
        desk,
        css="cs-columns",
        words=_NAMES["columns"],
        stranger="no column",
        none=f"all {every} active columns",
    )


def _fields(desk: Desk) -> tuple[Field, ...]:
    return desk.source.schema.fields


def _limit(given: int | None, desk: Desk) -> ValueEditor:
    words = _NAMES["limit"]
    text = _text(given, desk, "cs-limit", words, "all")
    return ValueEditor(text.widget, given, text.state, lambda: _whole(text.read()), text.named)


def _whole(text: str | None) -> int | str | None:
    """Read a whole number; what is none stays text, which the check refuses."""
    plain = "" if text is None else text.strip().replace(",", "").replace("_", "")
    return int(plain) if plain.isascii() and plain.isdigit() else text


def _zone(given: str, desk: Desk) -> ValueEditor:
    box = desk.kit.make(
        widgets.Combobox, "cs-zone", value=sendable(given), options=_zones(), placeholder="UTC",
        description=_NAMES["tz"],
    )  # fmt: skip
    named = ((box, _NAMES["tz"]),)
    return ValueEditor(box, given, lambda: box.value, lambda: box.value.strip() or "UTC", named)


@cache
def _zones() -> tuple[str, ...]:
    return tuple(sorted(available_timezones()))


_MAKERS: dict[str, Callable[..., ValueEditor]] = {
    "search": _search,
    "tags": _tags,
    "limit": _limit,
    "tz": _zone,
    "sort": sort_editor,
    "columns": _columns,
}
