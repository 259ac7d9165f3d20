"""The editors of the options of a query: search text, tags, columns, order, limit, time zone."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import ipywidgets as widgets

from casesearch_pd.errors import FilterError
from casesearch_pd.form.editor import EditorContext, close_widget, set_message
from casesearch_pd.form.model.labels import label_distinctly
from casesearch_pd.form.model.query import FormQuery, tags_argument
from casesearch_pd.form.value_inputs import ValueEditor, browser_text, option_editor
from casesearch_pd.reading.frames.columns import OBJECT_TYPES
from casesearch_pd.reading.options import Query, bind_query
from casesearch_pd.render.html import element

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.form.model.tree import Group
    from casesearch_pd.sources.base import Source

__all__ = ["OptionsEditor", "sort_editor"]

_LABELS = {
    "search": "Search",
    "tags": "Tags",
    "limit": "Maximum rows",
    "tz": "Time zone",
    "sort": "Order",
    "columns": "Columns",
}


class OptionsEditor:
    """The controls for everything in a query but its tree.

    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=1) as local:
    ...     options = OptionsEditor(local.persona_cases(), FormQuery(limit=20))
    >>> options.query(FormQuery().tree) == FormQuery(limit=20), options.problems
    (True, ())
    """

    def __init__(
        self,
        source: Source,
        query: FormQuery | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        # The time zone is one of the options here; nothing else depends on it.
        self._context = EditorContext(source, "UTC", on_change)
        self.widget = self._context.controls.column("cs-read-options")
        self._parts: dict[str, tuple[ValueEditor, widgets.HTML]] = {}
        self.show(query or FormQuery())

    def query(self, tree: Group) -> FormQuery:
        """Return the query of a tree and the options; an invalid limit is left out."""
        with self._context.events.lock:
            values = {name: editor.value for name, (editor, _) in self._parts.items()}
        return FormQuery(
            tree=tree,
            search=values.get("search"),
            tags=values.get("tags", ()),
            columns=values["columns"],
            sort=values["sort"],
            limit=None if isinstance(values["limit"], str) else values["limit"],
            tz=values["tz"],
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the options are invalid, in sentences; empty if they are valid."""
        with self._context.events.lock:
            errors = [(_LABELS[name], self._error(name)) for name in self._parts]
        return tuple(f"{label}: {error}" for label, error in errors if error)

    def show(self, query: FormQuery) -> None:
        """Put other options on the screen, without reporting an edit."""
        with self._context.events.paused():
            previous = self.widget.children
            previous_editors = [editor for editor, _ in self._parts.values()]
            context, message = self._context, self._context.controls.message
            editors = {
                "search": _search_editor(query.search, context),
                "tags": _tags_editor(query.tags, context),
                "limit": _limit_editor(query.limit, context),
                "tz": _time_zone_editor(query.tz, context),
                "sort": sort_editor(query.sort, context),
                "columns": _columns_editor(query.columns, context),
            }
            # An option that the source lacks is shown if the query has it, with the error.
            for name in [name for name in editors if not self._is_shown(name, query)]:
                editors.pop(name).close()
            self._parts = {name: (editor, message()) for name, editor in editors.items()}
            for name, editor in editors.items():
                self._observe(name, editor)
                self._check(name)
            self.widget.children = [self._block(name) for name in self._parts]
            # Closed after the new ones are shown, so that the page does not jump.
            for editor in previous_editors:
                editor.close()
            for child in previous:
                close_widget(child)

    def _is_shown(self, name: str, query: FormQuery) -> bool:
        """Return whether the source has an option, or the query has it although it has not."""
        match name:
            case "search":
                return self._context.source.can_search or query.search is not None
            case "tags":
                return self._context.source.schema.find("tags") is not None or query.tags != ()
            case _:
                return True

    def _block(self, name: str) -> widgets.Widget:
        editor, message = self._parts[name]
        children = (editor.widget, message)
        classes = ("cs-option", f"cs-option-{name}")
        return self._context.controls.make(widgets.VBox, *classes, children=children)

    def _observe(self, name: str, editor: ValueEditor) -> None:
        for control, _ in editor.labels:
            trait = "index" if control.has_trait("index") else "value"
            self._context.events.on(control, trait, partial(self._check, name))

    def _check(self, name: str) -> None:
        error = self._error(name)
        message = element("div", error, class_="cs-wrong", role="status", aria_live="polite")
        set_message(self._parts[name][1], *([message] if error else []))

    def _error(self, name: str) -> str:
        """Return why an option is invalid; empty if it is valid."""
        source, value = self._context.source, self._parts[name][0].value
        try:
            bind_query(source, self._query_of_one(name, value))
        except FilterError as error:
            return str(error)
        return ""

    def _query_of_one(self, name: str, value: Any) -> Query:
        """Return a query with one option only, so that an error is about that option."""
        match name:
            case "search":
                return Query(search=value)
            case "tags":
                return Query(tags=tags_argument(value, self._context.source.schema))
            case "limit":
                return Query(limit=value)
            case "tz":
                return Query(tz=value)
            case "sort":
                return Query(sort=value)
            case _:
                return Query(columns=value)


_MIN_SORT_COLUMNS = 3  # that can be selected; a query may have more


def sort_editor(initial: tuple[str, ...], context: EditorContext) -> ValueEditor:
    """Return the controls for the order of the rows."""
    names = _sortable_names(initial, context)
    texts = _sort_texts(names, context)
    slots = [
        _SortColumn(index, initial[index] if index < len(initial) else "", names, texts, context)
        for index in range(max(_MIN_SORT_COLUMNS, len(initial)))
    ]

    def read() -> tuple[str, ...]:
        return tuple(dict.fromkeys(slot.name for slot in slots if slot.name))

    return ValueEditor(
        context.controls.column("cs-order", *(slot.widget for slot in slots)),
        initial,
        state=lambda: tuple(slot.state for slot in slots),
        read=read,
        labels=tuple(pair for slot in slots for pair in slot.labels),
    )


def _sortable_names(initial: tuple[str, ...], context: EditorContext) -> list[str]:
    """Return the columns that can be sorted by, and the initial ones in any case."""
    fields = [item for item in context.source.schema.fields if item.visible]
    sortable = [item.column for item in fields if item.type not in OBJECT_TYPES]
    return list(dict.fromkeys([*sortable, *(name.removeprefix("-") for name in initial)]))


def _sort_texts(names: list[str], context: EditorContext) -> list[str]:
    """Return the labels of columns; those that the service cannot sort by are marked."""
    labels = []
    for name in names:
        field = context.labels.schema.find(name)
        is_local = field is not None and not context.source.can_sort_by(field)
        labels.append(context.labels.label_of(name) + (" (sorted locally)" if is_local else ""))
    return ["—", *label_distinctly(labels, names)]


class _SortColumn:
    """The controls for one column to sort by."""

    def __init__(
        self, index: int, initial: str, names: list[str], texts: list[str], context: EditorContext
    ) -> None:
        self._names = ["", *names]
        label = "Sort by" if index == 0 else "then by"
        selected = self._names.index(initial.removeprefix("-"))
        make = context.controls.make
        self._column = make(
            widgets.Dropdown, "cs-sort", options=texts, index=selected, description=label
        )
        self._descending = make(
            widgets.Checkbox, "cs-descending", value=initial.startswith("-"),
            description="descending", indent=False,
        )  # fmt: skip
        self.widget = context.controls.row("cs-sort-slot", self._column, self._descending)
        self.labels: tuple[tuple[Any, str], ...] = (
            (self._column, label),
            (self._descending, "descending"),
        )

    @property
    def name(self) -> str:
        """The column, with a ``-`` if descending; empty if none is selected."""
        name = self._names[self._column.index]
        return f"-{name}" if name and self._descending.value else name

    @property
    def state(self) -> tuple[int, bool]:
        """What the controls show."""
        return self._column.index, self._descending.value


def _search_editor(initial: str | None, context: EditorContext) -> ValueEditor:
    hint = "words in any field"
    return _text_editor(initial, context, "cs-search-text", _LABELS["search"], hint)


def _text_editor(
    initial: Any, context: EditorContext, css: str, label: str, hint: str
) -> ValueEditor:
    text = "" if initial is None else browser_text(str(initial))
    box = context.controls.make(widgets.Text, css, value=text, description=label, placeholder=hint)
    return ValueEditor(box, initial, lambda: box.value, lambda: box.value or None, ((box, label),))


def _tags_editor(initial: tuple[str, ...], context: EditorContext) -> ValueEditor:
    tags, label = context.source.schema.find("tags"), _LABELS["tags"]
    has_keys = tags is not None and tags.type == "tags"
    hint = "key=value, one per line" if has_keys else "one tag per line"
    box = context.controls.make(
        widgets.Textarea, "cs-tags", description=label, placeholder=hint, rows=2,
        value=browser_text("\n".join(initial)),
    )  # fmt: skip
    return ValueEditor(box, initial, lambda: box.value, lambda: _lines(box.value), ((box, label),))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def _columns_editor(initial: tuple[str, ...] | None, context: EditorContext) -> ValueEditor:
    fields = [item for item in context.source.schema.fields if item.visible]
    active = sum(item.active for item in fields)
    return option_editor(
        initial,
        [item.column for item in fields],
        [context.labels.label_of(item.column) for item in fields],
        context,
        css="cs-columns",
        label=_LABELS["columns"],
        unknown_label="no column",
        empty_label=f"all {active} active columns",
    )


def _limit_editor(initial: int | None, context: EditorContext) -> ValueEditor:
    text = _text_editor(initial, context, "cs-limit", _LABELS["limit"], "all")
    return ValueEditor(
        text.widget, initial, text.state, lambda: _to_integer(text.read()), text.labels
    )


def _to_integer(text: str | None) -> int | str | None:
    """Return the integer of a text; another text stays as it is, for the check to report."""
    digits = "" if text is None else text.strip().replace(",", "").replace("_", "")
    return int(digits) if digits.isascii() and digits.isdigit() else text


def _time_zone_editor(initial: str, context: EditorContext) -> ValueEditor:
    box = context.controls.make(
        widgets.Combobox, "cs-zone", value=browser_text(initial), options=_time_zones(),
        placeholder="UTC", description=_LABELS["tz"],
    )  # fmt: skip
    labels = ((box, _LABELS["tz"]),)
    return ValueEditor(box, initial, lambda: box.value, lambda: box.value.strip() or "UTC", labels)


@cache
def _time_zones() -> tuple[str, ...]:
    return tuple(sorted(available_timezones()))
