"""The editor of a rule's value, by the arity of the operator and the type of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.form.model.tree import OPERATORS, to_text
from casesearch_pd.form.value_inputs import (
    ValueEditor,
    browser_text,
    input_text,
    option_editor,
    parse_input,
    time_editor,
)

if TYPE_CHECKING:
    from casesearch_pd.form.editor import EditorContext
    from casesearch_pd.form.model.tree import Arity
    from casesearch_pd.query.schema import Field, FieldType

__all__ = ["arity_of", "fit_arity", "value_editor"]


def arity_of(operator: str) -> Arity:
    """Return the arity of an operator; an unknown operator takes one value."""
    return OPERATORS[operator].arity if operator in OPERATORS else "one"


def fit_arity(value: Any, arity: Arity) -> Any:
    """Return a value for an operator of another arity.

    >>> fit_arity("open", "many"), fit_arity(("open", "closed"), "one"), fit_arity(3, "pair")
    (('open',), 'open', (3, None))
    """
    values = value if isinstance(value, tuple) else () if value is None else (value,)
    match arity:
        case "many":
            return tuple(item for item in values if item is not None) or None
        case "pair":
            return (*values, None, None)[:2] if values else None
        case "one":
            return next((item for item in values if item is not None), None)
        case "none":
            return None


def value_editor(
    operator: str, initial: Any, field: Field | None, context: EditorContext
) -> ValueEditor:
    """Return the controls for a value."""
    # Without a field there is no type; a value of a saved form is shown nevertheless.
    if field is None and initial is None:
        return _no_value(initial, context)
    match arity_of(operator):
        case "none":
            return _no_value(initial, context)
        case "many":
            return _many_values(initial, field, context)
        case "pair":
            return _pair(initial, field, context)
        case "one":
            return _single_value(initial, field, context)


def _no_value(initial: Any, context: EditorContext) -> ValueEditor:
    box = context.controls.row("cs-no-value")
    return ValueEditor(box, initial, lambda: None, lambda: None)


def _single_value(
    initial: Any,
    field: Field | None,
    context: EditorContext,
    css: str = "cs-value",
    label: str = "Value",
) -> ValueEditor:
    match "any" if field is None else field.type:
        case "boolean":
            return _yes_or_no(initial, context, css, label)
        case "datetime":
            return time_editor(initial, context, css, label)
        case "any":
            return _any_type(initial, context, css, label)
        case field_type:
            box = _text_box(initial, field, context, css, label)
            read = _reader(field_type, box)
            return ValueEditor(box, initial, lambda: box.value, read, ((box, label),))


def _reader(field_type: FieldType, box: widgets.Text) -> Any:
    return lambda: parse_input(field_type, box.value)


def _text_box(
    initial: Any, field: Field | None, context: EditorContext, css: str, label: str
) -> widgets.Widget:
    """Return a text box, with several lines for a text that has some."""
    make = context.controls.make
    if isinstance(initial, str) and "\n" in initial and browser_text(initial) == initial:
        traits = {"value": initial, "description": label, "rows": 3}
        return make(widgets.Textarea, css, "cs-tall", **traits)
    text = input_text(initial)
    if field is not None and field.options:
        values = tuple(browser_text(item.value) for item in field.options)
        return make(widgets.Combobox, css, value=text, description=label, options=values)
    return make(widgets.Text, css, value=text, description=label)


def _yes_or_no(initial: Any, context: EditorContext, css: str, label: str) -> ValueEditor:
    values: list[Any] = [None, True, False]
    # By identity, because 1 equals True. A value that is neither stays as a fourth option.
    if not any(item is initial for item in values):
        values.append(initial)
    texts = ["choose …", "yes", "no", browser_text(repr(initial))][: len(values)]
    index = next(at for at, item in enumerate(values) if item is initial)
    dropdown = context.controls.make(
        widgets.Dropdown, css, options=texts, index=index, description=label
    )
    return ValueEditor(
        dropdown,
        initial,
        state=lambda: dropdown.index,
        read=lambda: values[dropdown.index],
        labels=((dropdown, label),),
    )


_TYPES: tuple[FieldType, ...] = ("text", "number", "boolean")
_TYPE_LABELS = ("text", "number", "yes/no")
_BOOLEAN = 2  # the index of boolean in both


def _type_index(value: Any) -> int:
    if isinstance(value, bool):
        return _BOOLEAN
    return 1 if isinstance(value, int | float) else 0


def _type_dropdown(value: Any, context: EditorContext) -> widgets.Dropdown:
    index = _type_index(value)
    return context.controls.make(
        widgets.Dropdown, "cs-kind", options=_TYPE_LABELS, index=index, description="Type"
    )


def _any_type(initial: Any, context: EditorContext, css: str, label: str) -> ValueEditor:
    """Return a box for a field of unknown type, after a dropdown for the type of the value."""
    value_type = _type_dropdown(initial, context)
    is_boolean = isinstance(initial, bool)
    box = _text_box(None if is_boolean else initial, None, context, css, label)
    boolean = _yes_or_no(initial if is_boolean else None, context, css, label)
    outer = context.controls.row("cs-any")

    def show() -> None:
        outer.children = (value_type, boolean.widget if value_type.index == _BOOLEAN else box)

    def read() -> Any:
        index = value_type.index
        return boolean.value if index == _BOOLEAN else parse_input(_TYPES[index], box.value)

    show()
    context.events.on(value_type, "index", show)
    return ValueEditor(
        outer,
        initial,
        state=lambda: (value_type.index, box.value, boolean.state()),
        read=read,
        labels=((value_type, f"Type of {_lower_first(label)}"), (box, label), *boolean.labels),
    )


def _lower_first(label: str) -> str:
    return label[0].lower() + label[1:]


def _pair(initial: Any, field: Field | None, context: EditorContext) -> ValueEditor:
    is_pair = isinstance(initial, tuple) and len(initial) == 2  # noqa: PLR2004 - a pair
    low, high = initial if is_pair else (fit_arity(initial, "one"), None)
    first = _single_value(low, field, context, "cs-value", "Lowest value")
    last = _single_value(high, field, context, "cs-value-2", "Highest value")

    def read() -> Any:
        ends = (first.value, last.value)
        return None if ends == (None, None) else ends

    separator = context.controls.make(widgets.HTML, "cs-and", value="<span>and</span>")
    return ValueEditor(
        context.controls.row("cs-pair", first.widget, separator, last.widget),
        initial,
        state=lambda: (first.state(), last.state()),
        read=read,
        labels=(*first.labels, *last.labels),
    )


def _many_values(initial: Any, field: Field | None, context: EditorContext) -> ValueEditor:
    if field is not None and field.type == "select" and field.options:
        values = [item.value for item in field.options]
        return option_editor(initial, values, context.option_labels(field), context)
    if field is None or field.type == "any":
        return _lines_of_any_type(initial, context)
    return _lines(initial, field.type, context)


def _lines(initial: Any, field_type: FieldType, context: EditorContext) -> ValueEditor:
    box, extra = _line_box(initial, field_type, context)
    return ValueEditor(
        box.widget,
        initial,
        state=box.state,
        read=lambda: _read_lines(field_type, box.state(), extra),
        labels=box.labels,
    )


def _lines_of_any_type(initial: Any, context: EditorContext) -> ValueEditor:
    first = initial[0] if isinstance(initial, tuple) and initial else initial
    value_type = _type_dropdown(first, context)
    box, extra = _line_box(initial, _TYPES[value_type.index], context)
    return ValueEditor(
        context.controls.row("cs-any", value_type, box.widget),
        initial,
        state=lambda: (value_type.index, box.state()),
        read=lambda: _read_lines(_TYPES[value_type.index], box.state(), extra),
        labels=((value_type, "Type of values"), *box.labels),
    )


def _line_box(
    initial: Any, field_type: FieldType, context: EditorContext
) -> tuple[ValueEditor, tuple[Any, ...]]:
    """Return a box with one value per line, and the values that no line can hold."""
    values = initial if isinstance(initial, tuple) else () if initial is None else (initial,)
    # Values with line breaks, or that would be read as another type, are shown but not editable.
    lines = [input_text(item) for item in values if _fits_line(item, field_type)]
    extra = tuple(item for item in values if not _fits_line(item, field_type))
    box = context.controls.make(
        widgets.Textarea, "cs-value", "cs-tall", description="Values", rows=3,
        value="\n".join(lines), placeholder="one value per line",
    )  # fmt: skip
    parts = [box, *(_extra_value(item, context) for item in extra)]
    stack = context.controls.column("cs-lines", *parts)
    editor = ValueEditor(stack, initial, lambda: box.value, lambda: None, ((box, "Values"),))
    return editor, extra


def _extra_value(value: Any, context: EditorContext) -> widgets.Widget:
    return context.controls.make(
        widgets.Textarea, "cs-kept", description="Additional value, not editable", rows=2,
        value=browser_text(to_text(value)), disabled=True,
    )  # fmt: skip


def _fits_line(value: Any, field_type: FieldType) -> bool:
    line = input_text(value)
    has_break = "\n" in line or "\r" in line
    return bool(line) and not has_break and repr(parse_input(field_type, line)) == repr(value)


def _read_lines(field_type: FieldType, text: Any, extra: tuple[Any, ...]) -> tuple[Any, ...] | None:
    values = [parse_input(field_type, line) for line in str(text).split("\n")]
    return (*(value for value in values if value is not None), *extra) or None
