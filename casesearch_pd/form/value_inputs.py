"""Input controls for values: times with presets, and options to select from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.form.editor import close_widget, set_message
from casesearch_pd.form.model.labels import label_distinctly
from casesearch_pd.form.model.tree import from_text, to_text
from casesearch_pd.render.cell_text import single_line
from casesearch_pd.render.html import element

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from casesearch_pd.form.editor import EditorContext
    from casesearch_pd.form.model.tree import Rule
    from casesearch_pd.query.schema import FieldType

__all__ = [
    "PRESETS",
    "ValueEditor",
    "browser_text",
    "input_text",
    "option_editor",
    "parse_input",
    "preset_of",
    "presets",
    "time_editor",
]


@dataclass(frozen=True)
class ValueEditor:
    """The controls for one value, or for the values of one row."""

    widget: widgets.Widget  # the outermost control
    initial: Any
    # Returns what the controls show; in its first state the value is exactly the initial one.
    state: Callable[[], Hashable]
    read: Callable[[], Any]  # returns the value that the controls show
    # The controls with their labels, to which the number of the row is added.
    labels: tuple[tuple[widgets.Widget, str], ...] = ()
    _initial_state: list[Hashable] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Remember the state before any edit."""
        self._initial_state.append(self.state())

    @property
    def value(self) -> Any:
        """The value: exactly the initial one until it is edited."""
        return self.initial if self.state() == self._initial_state[0] else self.read()

    def close(self) -> None:
        """Remove the controls, including those that are hidden at the moment."""
        close_widget(self.widget)
        for control, _ in self.labels:
            control.close()

    def number(self, row: int) -> None:
        """Add the number of the row to the labels."""
        for control, label in self.labels:
            control.description = f"{label} of row {row}"


def parse_input(field_type: FieldType, text: str) -> Any:
    """Return the value of a text, or the text itself if it is invalid, for the check to report.

    >>> parse_input("number", "2.50"), parse_input("number", "2.5.0"), parse_input("text", "")
    (2.5, '2.5.0', None)
    """
    try:
        return from_text(field_type, text)
    except FilterError:
        return text


def input_text(value: Any) -> str:
    """Return the text that `parse_input` reads as a value."""
    return browser_text(to_text(value))


def browser_text(text: str) -> str:
    """Return a text without halves of surrogate pairs, which cannot be sent to a browser."""
    return _SURROGATES.sub("\ufffd", text)


_SURROGATES = re.compile("[\ud800-\udfff]")


PRESETS = (
    "today", "yesterday", "last 24 hours", "last 7 days", "last 30 days", "this month",
    "last month", "this year",
)  # fmt: skip
"""The labels of the presets."""


def presets(now: pd.Timestamp, tz: str) -> tuple[tuple[str, Any], ...]:
    """Return the operator and the value of each preset.

    >>> now = pd.Timestamp("2026-03-01T00:30Z")
    >>> for preset in zip(PRESETS, presets(now, "Europe/Berlin")): print(*preset)
    today ('eq', '2026-03-01')
    yesterday ('eq', '2026-02-28')
    last 24 hours ('gte', Timedelta('-1 days +00:00:00'))
    last 7 days ('gte', Timedelta('-7 days +00:00:00'))
    last 30 days ('gte', Timedelta('-30 days +00:00:00'))
    this month ('eq', '2026-03')
    last month ('eq', '2026-02')
    this year ('eq', '2026')
    """
    day = pd.Period(now.tz_convert(tz).tz_localize(None), "D")
    month = day.asfreq("M")
    return (
        ("eq", str(day)),
        ("eq", str(day - 1)),
        ("gte", pd.Timedelta(days=-1)),
        ("gte", pd.Timedelta(days=-7)),
        ("gte", pd.Timedelta(days=-30)),
        ("eq", str(month)),
        ("eq", str(month - 1)),
        ("eq", str(day.year)),
    )


def preset_of(rule: Rule, now: pd.Timestamp, tz: str) -> int | None:
    """Return the index of the preset that a rule equals, if there is one."""
    pair = (rule.operator, rule.value)
    indices = (index for index, preset in enumerate(presets(now, tz)) if preset == pair)
    return next(indices, None)


_ISO_DAY = re.compile(r"\s*(?P<day>\d{4}-\d{2}-\d{2})(?P<time>[T ].*)?\s*", re.DOTALL)


def time_editor(initial: Any, context: EditorContext, css: str, label: str) -> ValueEditor:
    """Return a text box for a time, with a calendar that fills in a day."""
    make, text = context.controls.make, input_text(initial)
    hint = "2026-03-14 or 7 days ago"
    box = make(widgets.Text, css, value=text, description=label, placeholder=hint)
    # Each control changes the other; an edit that comes from a handler is not handled again.
    day = make(widgets.DatePicker, "cs-day", description="Day", value=_day_in(text))
    context.events.on(day, "value", lambda: _set_day(box, day.value))
    context.events.on(box, "value", lambda: day.set_trait("value", _day_in(box.value)))
    return ValueEditor(
        context.controls.row("cs-time", box, day),
        initial,
        state=lambda: box.value,
        read=lambda: parse_input("datetime", box.value),
        labels=((box, label), (day, f"Day for {label[0].lower()}{label[1:]}")),
    )


def _day_in(text: str) -> date | None:
    match = _ISO_DAY.fullmatch(text)
    try:
        return date.fromisoformat(match["day"]) if match else None
    except ValueError:  # such as February 30
        return None


def _set_day(box: widgets.Text, day: date | None) -> None:
    """Write a day into the box, and keep the time of day that is there."""
    if day is not None:
        match = _ISO_DAY.fullmatch(box.value)
        box.value = day.isoformat() + ((match and match["time"]) or "")


_MIN_OPTIONS_FOR_FIND = 13  # with a box to find options by a part of their labels
_VISIBLE_ROWS = 6
_MAX_NAMES = 4  # of selected options below the list


def option_editor(
    initial: Any,
    values: Sequence[str],
    texts: Sequence[str],
    context: EditorContext,
    *,
    css: str = "cs-options",
    label: str = "Options",
    unknown_label: str = "no option",  # follows a selected value that is not among the options
    empty_label: str = "none selected",  # is shown below the list
) -> ValueEditor:
    """Return a list to select any number of options from; no two texts are the same."""
    selection = _as_list(initial)
    known = set(values)
    unknown = [item for item in selection if item not in known]
    all_values = [*values, *unknown]
    all_texts = list(texts)
    if unknown:
        unknown_texts = [f"{input_text(item)} ({unknown_label})" for item in unknown]
        names = [*map(input_text, all_values)]
        all_texts = label_distinctly([*all_texts, *unknown_texts], names)
    index_of = {value: index for index, value in enumerate(all_values)}
    indices = [index_of[item] for item in selection]
    options = _OptionList(
        all_texts, indices, context, css=css, label=label, empty_label=empty_label
    )
    return ValueEditor(
        options.widget,
        initial,
        state=lambda: tuple(options.selection),
        read=lambda: tuple(all_values[index] for index in options.selection) or None,
        labels=options.labels,
    )


def _as_list(initial: Any) -> list[Any]:
    """Return the selected values without duplicates."""
    values = initial if isinstance(initial, tuple) else () if initial is None else (initial,)
    return list(dict.fromkeys(values))


class _OptionList:
    """The list, the box to find options, and the selection: indices in the order of selection."""

    def __init__(
        self,
        texts: list[str],
        selection: list[int],
        context: EditorContext,
        *,
        css: str,
        label: str,
        empty_label: str,
    ) -> None:
        self.selection = selection
        self._texts, self._empty_label = texts, empty_label
        self._folded_texts = [text.casefold() for text in texts]
        self._visible = list(range(len(texts)))
        make, find_label = context.controls.make, f"Find in {label.lower()}"
        self._list = make(
            widgets.SelectMultiple, css, options=texts, index=tuple(selection), description=label,
            rows=max(2, min(_VISIBLE_ROWS, len(texts))), tooltip="Ctrl or Shift selects several",
        )  # fmt: skip
        self._find = make(widgets.Text, "cs-find", description=find_label, placeholder="find …")
        self._names = make(widgets.HTML, "cs-chosen")
        context.events.on(self._list, "index", self._on_select)
        context.events.on(self._find, "value", self._on_find)
        self._show_names()
        has_find = len(texts) >= _MIN_OPTIONS_FOR_FIND
        parts = (self._find, self._list, self._names) if has_find else (self._list, self._names)
        self.widget = context.controls.column("cs-choices", *parts)
        self.labels = ((self._list, label), (self._find, find_label))

    def _on_select(self) -> None:
        # Options that the list does not show at the moment stay selected.
        visible = set(self._visible)
        selected = [self._visible[index] for index in self._list.index]
        still_selected = [at for at in self.selection if at not in visible or at in selected]
        self.selection = [*still_selected, *(at for at in selected if at not in still_selected)]
        self._show_names()

    def _on_find(self) -> None:
        text = single_line(self._find.value).casefold()
        self._visible = [at for at, folded in enumerate(self._folded_texts) if text in folded]
        selection = set(self.selection)
        # In one message, so that the selection is never applied to the previous options.
        with self._list.hold_sync():
            self._list.options = [self._texts[at] for at in self._visible]
            self._list.index = tuple(
                index for index, at in enumerate(self._visible) if at in selection
            )

    def _show_names(self) -> None:
        names = [self._texts[at] for at in self.selection[:_MAX_NAMES]]
        others = len(self.selection) - len(names)
        text = ", ".join([*names, f"{others} more"] if others > 0 else names)
        set_message(self._names, element("span", text or self._empty_label, class_="cs-quiet"))
