"""The editor of one row: a field, an operator, a value, the check of these, and buttons.

Classes of its controls: ``cs-row`` (the row), ``cs-field``, ``cs-operator``, ``cs-preset``,
``cs-message``, ``cs-duplicate``, ``cs-up``, ``cs-down``, ``cs-remove``; and within ``cs-values``
``cs-value``, ``cs-value-2``, ``cs-day``, ``cs-kind``, ``cs-options``, ``cs-find``, ``cs-chosen``,
``cs-kept``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.form.editor import close_widget, set_message
from casesearch_pd.form.model.checks import CheckResult
from casesearch_pd.form.model.tree import OPERATORS, Rule
from casesearch_pd.form.value_editor import arity_of, fit_arity, value_editor
from casesearch_pd.form.value_inputs import PRESETS, preset_of, presets
from casesearch_pd.render.cell_text import single_line
from casesearch_pd.render.html import element

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from casesearch_pd.form.editor import EditorContext
    from casesearch_pd.form.value_inputs import ValueEditor
    from casesearch_pd.query.schema import Field

__all__ = ["RuleEditor", "focusable_button"]

_BUTTONS = {
    "up": "Move row {} up",
    "down": "Move row {} down",
    "duplicate": "Duplicate row {}",
    "remove": "Remove row {}",
}


class RuleEditor:
    """The controls for one rule."""

    def __init__(
        self, rule: Rule, context: EditorContext, on_button: Callable[[str, RuleEditor], None]
    ) -> None:
        self._context = context
        # A rule may name a field by an id or an alias, which the label of the field would replace.
        self._initial_name = rule.field
        self._field = context.labels.field(rule.field)
        # The last operator and value of the user, which return with a field that takes them.
        self._last_operator: str | None = rule.operator if rule.field else None
        self._last_value = rule.value
        self._number = 0
        self.check_result = CheckResult()
        self._make_controls(rule)
        self._arrange()
        self._observe(on_button)
        self._signature = self._value_signature(rule.operator)
        self.check()

    def _make_controls(self, rule: Rule) -> None:
        controls, labels = self._context.controls, self._context.labels
        self._initial_label = labels.label_of(rule.field)
        self._name = controls.make(
            widgets.Combobox, "cs-field", value=self._initial_label, options=labels.labels,
            placeholder="find a field …",
        )  # fmt: skip
        self._keys, texts = self._operators(rule.operator)
        index = self._keys.index(rule.operator)
        self._operator = controls.make(widgets.Dropdown, "cs-operator", options=texts, index=index)
        self._value = value_editor(rule.operator, rule.value, self._field, self._context)
        preset_texts = ("preset …", *PRESETS)
        self._preset = controls.make(widgets.Dropdown, "cs-preset", options=preset_texts, index=0)
        self._values = controls.row("cs-values", self._value.widget)
        self._message = controls.message()
        self._buttons = {key: controls.button(f"cs-{key}", "") for key in _BUTTONS}

    def _arrange(self) -> None:
        make_row = self._context.controls.row
        buttons = make_row("cs-buttons", *self._buttons.values())
        self.widget = make_row(
            "cs-row", self._name, self._operator, self._values, self._message, buttons
        )

    def _observe(self, on_button: Callable[[str, RuleEditor], None]) -> None:
        events = self._context.events
        events.on(self._name, "value", self._on_name)
        events.on(self._operator, "index", self._on_operator)
        events.on(self._preset, "index", self._on_preset)
        self._observe_value()
        for key, button in self._buttons.items():
            events.on_click(button, _bind_button(on_button, key, self))

    def _observe_value(self) -> None:
        for control, _ in self._value.labels:
            trait = "index" if control.has_trait("index") else "value"
            self._context.events.on(control, trait, self._on_value)

    @property
    def member(self) -> Rule:
        """The rule as it is on the screen."""
        return Rule(self._field_name(), self._key(), self._value.value)

    def rows(self) -> tuple[RuleEditor, ...]:
        """Return this row, as a group returns its rows."""
        return (self,)

    def number(self, row: int) -> int:
        """Assign a number to this row, and return the next number."""
        if row != self._number:
            self._number = row
            self._name.description = f"Field of row {row}"
            self._operator.description = f"Operator of row {row}"
            self._preset.description = f"Preset for row {row}"
            self._value.number(row)
            for key, button in self._buttons.items():
                button.description = button.tooltip = _BUTTONS[key].format(row)
        return row + 1

    def set_position(self, *, is_first: bool, is_last: bool) -> None:
        """Enable the buttons that can move the row."""
        self._buttons["up"].disabled = is_first
        self._buttons["down"].disabled = is_last

    def focus(self, key: str) -> None:
        """Put the focus on a button, or with ``"field"`` on the field."""
        (self._name if key == "field" else focusable_button(self._buttons, key)).focus()

    def close(self) -> None:
        """Remove the row."""
        self._value.close()
        self._preset.close()
        close_widget(self.widget)

    def _field_name(self) -> str:
        if self._name.value == self._initial_label:
            return self._initial_name
        return self._context.labels.column_of(str(self._name.value))

    def _key(self) -> str:
        key: str = self._keys[self._operator.index]
        return key

    def _operators(self, key: str) -> tuple[list[str], list[str]]:
        """Return the keys and labels of the operators for the field, and `key` in any case."""
        if self._field is None:
            labels = {item.key: item.label for item in OPERATORS.values()}
        else:
            labels = self._context.operators(self._field_name(), self._field)
        if key not in labels:
            label = OPERATORS[key].label if key in OPERATORS else single_line(key)
            labels = labels | {key: f"{label} (not offered)"}
        return list(labels), list(labels.values())

    def _on_name(self) -> None:
        """Keep operator and value if they fit the new field; an unknown name changes neither."""
        name = self._field_name()
        field = self._context.labels.field(name)
        if field is not None:
            self._field = field
            operator = self._fitting_operator(name, field)
            self._offer_operators(operator)
            self._restore_value(operator)
        self.check()

    def _fitting_operator(self, name: str, field: Field) -> str:
        operators = self._context.operators(name, field)
        last = self._last_operator
        operator = last if last in operators else next(iter(operators), None)
        return operator or self._key()

    def _on_operator(self) -> None:
        self._last_operator = self._key()
        self._restore_value(self._last_operator)
        self.check()

    def _on_value(self) -> None:
        self._last_value = self._value.value
        self._last_operator = self._key()
        self.check()

    def _on_preset(self) -> None:
        if self._preset.index:
            binding = self._context.binding()
            key, value = presets(binding.now, binding.tz)[self._preset.index - 1]
            self._last_operator, self._last_value = key, value
            self._offer_operators(key)
            self._replace_editor(key, value)
        self.check()

    def _offer_operators(self, key: str) -> None:
        self._keys, texts = self._operators(key)
        # In one message: a browser that has the new options and the old index shows a wrong one.
        with self._operator.hold_sync():
            self._operator.options = texts
            self._operator.index = self._keys.index(key)

    def _restore_value(self, operator: str) -> None:
        """Show the last value as far as the field and the operator take it."""
        value = fit_arity(self._last_value, arity_of(operator))
        # A value that does not fit is hidden, not lost: it returns with a field that takes it.
        rule = Rule(self._field_name(), operator, value)
        if value is not None and not self._context.accepts(rule):
            value = None
        needs_controls = self._value_signature(operator) != self._signature
        if needs_controls or not _is_same(value, self._value.value):
            self._replace_editor(operator, value)

    def _value_signature(self, operator: str) -> tuple[Any, ...]:
        """Return what decides on the controls for a value."""
        field = self._field
        field_type = "" if field is None else field.type
        options = field.column if field is not None and field.options else ""
        return (arity_of(operator), field_type, options)

    def _replace_editor(self, operator: str, value: Any) -> None:
        previous: ValueEditor = self._value
        self._value = value_editor(operator, value, self._field, self._context)
        self._signature = self._value_signature(operator)
        self._value.number(self._number)
        self._values.children = self._value_parts()
        self._observe_value()
        previous.close()

    def _value_parts(self) -> tuple[Any, ...]:
        is_time = self._field is not None and self._field.type == "datetime"
        return (self._value.widget, self._preset) if is_time else (self._value.widget,)

    def check(self) -> None:
        """Check the rule again, and show the result and the preset that it equals."""
        rule = self.member
        self.check_result = self._context.check(rule)
        set_message(self._message, *_message_lines(self.check_result))
        parts = self._value_parts()
        if self._values.children != parts:
            self._values.children = parts
        if len(parts) > 1:
            binding = self._context.binding()
            preset = preset_of(rule, binding.now, binding.tz)
            self._preset.index = 0 if preset is None else preset + 1


def focusable_button(buttons: Mapping[str, Any], key: str) -> Any:
    """Return a button, or the one of the opposite direction if it is disabled."""
    opposite = {"up": "down", "down": "up"}.get(key, key)
    return buttons[opposite if buttons[key].disabled else key]


def _bind_button(on_button: Callable[[str, RuleEditor], None], key: str, row: RuleEditor) -> Any:
    return lambda: on_button(key, row)


def _is_same(first: Any, second: Any) -> bool:
    """Return whether two values are the same, with 1 and True being different."""
    return repr(first) == repr(second)


def _message_lines(result: CheckResult) -> list[Any]:
    messages = [
        ("cs-todo", result.missing),
        ("cs-wrong", result.error),
        *(("cs-warned", text) for text in result.warnings),
        ("cs-checked", f"filtered locally: {result.local_reason}" if result.local_reason else ""),
        ("cs-checked", "only the service can evaluate this" if result.is_remote_only else ""),
    ]
    lines = [element("div", text, class_=css) for css, text in messages if text]
    return [element("div", *lines, role="status", aria_live="polite")] if lines else []
