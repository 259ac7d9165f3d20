"""What the editors of a form share: the source, its labels, the time zone, events, controls."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.form.model.checks import CheckResult, available_operators, check
from casesearch_pd.form.model.labels import FieldLabels, label_distinctly
from casesearch_pd.reading.options import binding_context
from casesearch_pd.render.html import Fragment, fragment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casesearch_pd.form.model.tree import Rule
    from casesearch_pd.query.binding import BindingContext
    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.base import Source

__all__ = ["ControlFactory", "EditEvents", "EditorContext", "close_widget", "set_message"]

_log = logging.getLogger(__name__)


class EditorContext:
    """What the parts of an editor share."""

    def __init__(self, source: Source, tz: str, on_change: Callable[[], None] | None) -> None:
        self.source = source
        self.events = EditEvents(on_change)
        self.controls = ControlFactory()
        self.labels = FieldLabels(source.schema)
        self._tz = binding_context(source.schema, tz).tz
        self._operators: dict[str, dict[str, str]] = {}
        self._option_labels: dict[str, tuple[str, ...]] = {}

    @property
    def tz(self) -> str:
        """The time zone of times without one."""
        return self._tz

    @tz.setter
    def tz(self, tz: str) -> None:
        self._tz = binding_context(self.source.schema, tz).tz

    def binding(self) -> BindingContext:
        """Return the meaning of names and times at this moment."""
        return binding_context(self.source.schema, self._tz)

    def check(self, rule: Rule) -> CheckResult:
        """Check a rule."""
        return check(rule, self.source, self.binding())

    def accepts(self, rule: Rule) -> bool:
        """Return whether a rule, complete or not, has no error and no warning."""
        result = self.check(rule)
        return not result.error and not result.warnings

    def operators(self, name: str, field: Field) -> dict[str, str]:
        """Return the operators for a field by key, with their labels."""
        if name not in self._operators:
            self._operators[name] = available_operators(name, field, self.source, self.binding())
        return self._operators[name]

    def option_labels(self, field: Field) -> tuple[str, ...]:
        """Return the labels of the options of a field, in their order."""
        if field.column not in self._option_labels:
            labels = [item.label + ("" if item.active else _INACTIVE) for item in field.options]
            values = [item.value for item in field.options]
            self._option_labels[field.column] = tuple(label_distinctly(labels, values))
        return self._option_labels[field.column]


_INACTIVE = " (inactive)"


class EditEvents:
    """The edits that a user makes in the controls of one editor."""

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        self.lock = RLock()
        self._on_change = on_change
        self._pauses = 0

    def on(self, control: widgets.Widget, trait: str, handler: Callable[[], None]) -> None:
        """Call a handler whenever the user changes a trait of a control."""
        control.observe(lambda _: self._handle(handler), trait)

    def on_click(self, button: widgets.Button, handler: Callable[[], None]) -> None:
        """Call a handler whenever the user clicks a button."""
        button.on_click(lambda _: self._handle(handler))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Change controls without handling the changes as edits."""
        with self.lock:
            self._pauses += 1
            try:
                yield
            finally:
                self._pauses -= 1

    def _handle(self, handler: Callable[[], None]) -> None:
        with self.lock:
            # A handler that changes a control causes an event too, which is not an edit.
            if self._pauses:
                return
            with self.paused():
                _call(handler)
        # Outside the lock: the callback takes the lock of the form, and reads this editor under it.
        if self._on_change is not None:
            _call(self._on_change)


def _call(function: Callable[[], None]) -> None:
    """Call a function and log its error, because the event loop of widgets would hide it."""
    try:
        function()
    except Exception:  # noqa: BLE001 - an edit must not undo another one
        _log.exception("an edit of the form failed")


class ControlFactory:
    """Make the controls of one editor, each with a CSS class and a label.

    A widget brings two more models, for its layout and its style. Here all controls of one type
    share theirs, which makes a form of many rows three times lighter.
    """

    def __init__(self) -> None:
        self._models: dict[type, dict[str, Any]] = {}

    def make(self, widget_type: type, *classes: str, **traits: Any) -> Any:
        """Return a control with some CSS classes; its description is its label."""
        control = widget_type(**self._models.get(widget_type, {}), **traits)
        shared = ("layout", "style") if control.has_trait("style") else ("layout",)
        self._models.setdefault(widget_type, {name: getattr(control, name) for name in shared})
        # What add_class sets, in one message to the browser.
        control._dom_classes = classes  # noqa: SLF001 - see above
        return control

    def button(self, css: str, label: str, *, has_text: bool = False) -> Any:
        """Return a button with a text, or with a sign of the style sheet."""
        classes = (css,) if has_text else (css, "cs-sign")
        return self.make(widgets.Button, *classes, description=label, tooltip=label)

    def message(self) -> Any:
        """Return a place for a message."""
        return self.make(widgets.HTML, "cs-message")

    def row(self, css: str, *children: Any) -> Any:
        """Return a row of controls, which wraps on narrow screens."""
        return self.make(widgets.Box, css, children=children)

    def column(self, css: str, *children: Any) -> Any:
        """Return a column of controls."""
        return self.make(widgets.VBox, css, children=children)


def set_message(message: widgets.HTML, *content: Fragment) -> None:
    """Replace the contents of a message; without contents it is empty."""
    html = fragment(*content) if content else ""
    if message.value != html:
        message.value = html


def close_widget(widget: widgets.Widget) -> None:
    """Remove a widget and its children from the screen and from the kernel."""
    for child in getattr(widget, "children", ()):
        close_widget(child)
    widget.close()
