"""One row of the form: a field, an operator, a value, what there is to say of them, and buttons.

Classes of its controls: ``cs-row`` (the row), ``cs-field``, ``cs-operator``, ``cs-preset``,
``cs-message``, ``cs-duplicate``, ``cs-up``, ``cs-down``, ``cs-remove``; and within ``cs-values``
``cs-value``, ``cs-value-2``, ``cs-day``, ``cs-kind``, ``cs-options``, ``cs-find``, ``cs-chosen``,
``cs-kept``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.form.model.checks import Problem
from casesearch_pd.form.model.tree import OPERATORS, Rule, single_line
from casesearch_pd.form.value_editor import shaped, takes_of, value_editor
from casesearch_pd.form.value_inputs import PRESETS, close, preset_of, presets, say
from casesearch_pd.render.html import element

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from casesearch_pd.form.groups import Desk
    from casesearch_pd.form.value_inputs import ValueEditor
    from casesearch_pd.query.schema import Field

__all__ = ["RuleEditor", "usable"]

_BUTTONS = {"up": "Move row {} up", "down": "Move row {} down"} | {
    "duplicate": "Duplicate row {}",
    "remove": "Remove row {}",
}


class RuleEditor:
    """The controls for one rule.

    Parameters
    ----------
    rule
        What it begins with, which stays exactly this until somebody edits it.
    desk
        What the editor shares.
    press
        Called with ``"up"``, ``"down"``, ``"duplicate"`` or ``"remove"``, and this row.
    """

    def __init__(self, rule: Rule, desk: Desk, press: Callable[[str, RuleEditor], None]) -> None:
        self._desk = desk
        self._given = rule.field
        self._field = desk.labels.field(rule.field)
        # What somebody chose last: it comes back where a field or operator takes it again.
        self._chosen: str | None = rule.operator if rule.field else None
        self._meant = rule.value
        self._number = 0
        self.finding = Problem()
        self._make(rule, press)
        self._signature = self._signed(rule.operator)
        self.check()

    def _make(self, rule: Rule, press: Callable[[str, RuleEditor], None]) -> None:
        make, labels = self._desk.kit.make, self._desk.labels
        self._began = labels.text_of(rule.field)
        self._name = make(
            widgets.Combobox, "cs-field", value=self._began, options=labels.texts,
            placeholder="find a field …",
        )  # fmt: skip
        self._keys, texts = self._operators(rule.operator)
        at = self._keys.index(rule.operator)
        self._operator = make(widgets.Dropdown, "cs-operator", options=texts, index=at)
        self._value = value_editor(rule.operator, rule.value, self._field, self._desk)
        self._preset = make(widgets.Dropdown, "cs-preset", options=("preset …", *PRESETS), index=0)
        self._values = self._desk.kit.box("cs-values", self._value.widget)
        self._message = self._desk.kit.message()
        self._buttons = {key: self._desk.kit.button(f"cs-{key}", "") for key in _BUTTONS}
        self._place()
        self._hear(press)

    def _place(self) -> None:
        buttons = self._desk.kit.box("cs-buttons", *self._buttons.values())
        self.widget = self._desk.kit.box(
            "cs-row", self._name, self._operator, self._values, self._message, buttons
        )

    def _hear(self, press: Callable[[str, RuleEditor], None]) -> None:
        edits = self._desk.edits
        edits.on(self._name, "value", self._name_edited)
        edits.on(self._operator, "index", self._operator_edited)
        edits.on(self._preset, "index", self._preset_chosen)
        self._hear_value()
        for key, button in self._buttons.items():
            edits.on_click(button, _bound(press, key, self))

    def _hear_value(self) -> None:
        for control, _ in self._value.named:
            trait = "index" if control.has_trait("index") else "value"
            self._desk.edits.on(control, trait, self._value_edited)

    # --- what it holds ----------------------------------------------------------------------

    @property
    def member(self) -> Rule:
        """The rule, as it stands there."""
        return Rule(self._named(), self._key(), self._value.value)

    def rows(self) -> tuple[RuleEditor, ...]:
        """List the rows: this one."""
        return (self,)

    def number(self, row: int) -> int:
        """Take a number; tell the next one."""
        if row != self._number:
            self._number = row
            self._name.description = f"Field of row {row}"
            self._operator.description = f"Operator of row {row}"
            self._preset.description = f"Preset for row {row}"
            self._value.number(row)
            self._name_buttons(row)
        return row + 1

    def _name_buttons(self, row: int) -> None:
        for key, button in self._buttons.items():
            button.description = button.tooltip = _BUTTONS[key].format(row)

    def stand(self, *, first: bool, last: bool) -> None:
        """Learn whether there is a place further up or down."""
        self._buttons["up"].disabled = first
        self._buttons["down"].disabled = last

    def focus(self, key: str) -> None:
        """Put the focus on a button, or with ``"field"`` on the field."""
        (self._name if key == "field" else usable(self._buttons, key)).focus()

    def close(self) -> None:
        """Take the row away."""
        self._value.close()
        self._preset.close()
        close(self.widget)

    def _named(self) -> str:
        if self._name.value == self._began:
            return self._given
        return self._desk.labels.meant(str(self._name.value))

    def _key(self) -> str:
        key: str = self._keys[self._operator.index]
        return key

    def _operators(self, key: str) -> tuple[list[str], list[str]]:
        """List the operators for the field, and `key` whether it fits or not."""
        if self._field is None:
            told = {item.key: item.label for item in OPERATORS.values()}
        else:
            told = self._desk.offered(self._named(), self._field)
        if key not in told:
            label = OPERATORS[key].label if key in OPERATORS else single_line(key)
            told = told | {key: f"{label} (not offered)"}
        return list(told), list(told.values())

    # --- edits ------------------------------------------------------------------------------

    def _name_edited(self) -> None:
        """Keep operator and value where they fit the new field; while none is named, as it is."""
        name = self._named()
        field = self._desk.labels.field(name)
        if field is not None:
            self._field = field
            operator = self._fitting_operator(name, field)
            self._offer(operator)
            self._carry(operator)
        self.check()

    def _fitting_operator(self, name: str, field: Field) -> str:
        offered = self._desk.offered(name, field)
        fits = self._chosen if self._chosen in offered else next(iter(offered), None)
        return fits or self._key()

    def _operator_edited(self) -> None:
        self._chosen = self._key()
        self._carry(self._chosen)
        self.check()

    def _value_edited(self) -> None:
        self._meant = self._value.value
        self._chosen = self._key()
        self.check()

    def _preset_chosen(self) -> None:
        if self._preset.index:
            binding = self._desk.binding()
            key, value = presets(binding.now, binding.tz)[self._preset.index - 1]
            self._chosen, self._meant = key, value
            self._offer(key)
            self._edit(key, value)
        self.check()

    def _offer(self, key: str) -> None:
        self._keys, texts = self._operators(key)
        with self._operator.hold_sync():
            self._operator.options = texts
            self._operator.index = self._keys.index(key)

    def _carry(self, operator: str) -> None:
        """Edit what was meant last, as far as the field and the operator take it."""
        value = shaped(self._meant, takes_of(operator))
        if value is not None and not self._desk.accepts(Rule(self._named(), operator, value)):
            value = None
        if self._signed(operator) != self._signature or not _same(value, self._value.value):
            self._edit(operator, value)

    def _signed(self, operator: str) -> tuple[Any, ...]:
        """Tell what the controls for a value depend on."""
        field = self._field
        kind = "" if field is None else field.type
        options = field.column if field is not None and field.options else ""
        return (takes_of(operator), kind, options)

    def _edit(self, operator: str, value: Any) -> None:
        before: ValueEditor = self._value
        self._value = value_editor(operator, value, self._field, self._desk)
        self._signature = self._signed(operator)
        self._value.number(self._number)
        self._values.children = self._parts()
        self._hear_value()
        before.close()

    def _parts(self) -> tuple[Any, ...]:
        times = self._field is not None and self._field.type == "datetime"
        return (self._value.widget, self._preset) if times else (self._value.widget,)

    # --- what there is to say ---------------------------------------------------------------

    def check(self) -> None:
        """Say anew what there is to say of the rule, and which preset it is."""
        rule = self.member
        self.finding = self._desk.check(rule)
        say(self._message, *_words(self.finding))
        parts = self._parts()
        if self._values.children != parts:
            self._values.children = parts
        if len(parts) > 1:
            binding = self._desk.binding()
            at = preset_of(rule, binding.now, binding.tz)
            self._preset.index = 0 if at is None else at + 1


def usable(buttons: Mapping[str, Any], key: str) -> Any:
    """Find a button that takes the focus: at the end of the way, the one that leads back."""
    back = {"up": "down", "down": "up"}.get(key, key)
    return buttons[back if buttons[key].disabled else key]


def _bound(press: Callable[[str, RuleEditor], None], key: str, row: RuleEditor) -> Any:
    return lambda: press(key, row)


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same, also for a reader who tells 1 from True."""
    return repr(one) == repr(other)


def _words(finding: Problem) -> list[Any]:
    said = [
        ("cs-todo", finding.missing),
        ("cs-wrong", finding.wrong),
        *(("cs-warned", text) for text in finding.warned),
        ("cs-checked", f"checked here: {finding.checked}" if finding.checked else ""),
        ("cs-checked", "only the service can see this" if finding.unseen else ""),
    ]
    lines = [element("div", text, class_=css) for css, text in said if text]
    return [element("div", *lines, role="status", aria_live="polite")] if lines else []
