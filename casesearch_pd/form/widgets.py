"""The style sheet of the form, and the widgets that its parts share."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anywidget
import ipywidgets as widgets
from traitlets import Unicode

from casesearch_pd.render.html import element, fragment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from xml.etree.ElementTree import Element

__all__ = [
    "FILTER_CSS",
    "STYLE_SHEET",
    "CopyButton",
    "Messages",
    "Tone",
    "button",
    "checkbox",
    "dropdown",
    "error_text",
    "row",
    "set_options",
    "show_errors",
    "style_sheet",
]

_STATIC = Path(__file__).parent / "static"
FILTER_CSS = (_STATIC / "filter.css").read_text("utf-8")
STYLE_SHEET = "\n".join(
    [
        (_STATIC / "base.css").read_text("utf-8"),
        FILTER_CSS,
        (_STATIC / "results.css").read_text("utf-8"),
    ]
)


def style_sheet() -> widgets.HTML:
    """Return the widget that adds the style sheet to the page; a form needs one."""
    widget = widgets.HTML(fragment(element("style", STYLE_SHEET)))
    widget.add_class("cs-style")
    return widget


_AUTO = {"width": "auto"}


def row(*children: widgets.Widget) -> widgets.HBox:
    """Return a row of controls, which wraps on narrow screens."""
    box = widgets.HBox(children)
    box.add_class("cs-controls")
    return box


def button(description: str, css: str, on_click: Callable[[], None]) -> widgets.Button:
    """Return a button with a CSS class."""
    control = widgets.Button(description=description, layout=_AUTO)
    control.add_class(css)
    control.on_click(lambda _: on_click())
    return control


def checkbox(description: str, css: str) -> widgets.Checkbox:
    """Return a checkbox with a CSS class."""
    control = widgets.Checkbox(description=description, indent=False, layout=_AUTO)
    control.add_class(css)
    return control


def dropdown(
    description: str, css: str, options: Sequence[tuple[str, Any]] = ()
) -> widgets.Dropdown:
    """Return a dropdown list with a CSS class."""
    control = widgets.Dropdown(
        options=options,
        description=description,
        style={"description_width": "auto"},
        layout=_AUTO | {"max_width": "100%"},
    )
    control.add_class(css)
    return control


def set_options(control: widgets.Dropdown, options: Sequence[tuple[str, Any]]) -> None:
    """Replace the options; the selected one stays selected, or else the first one is."""
    values, selected = [value for _, value in options], control.value
    control.options = options
    # A list whose options were empty would keep its selection empty.
    control.value = selected if selected in values else next(iter(values), None)


Tone = Literal["note", "error", "done", "quiet", "plain"]


class Messages(widgets.HTML):  # type: ignore[misc]  # untyped
    """A place for messages, none of which is read as markup."""

    def __init__(self, css: str) -> None:
        super().__init__()
        self.add_class(css)

    def show(
        self,
        sentences: Iterable[str] | str = (),
        tone: Tone = "note",
        *,
        notes: Iterable[str] = (),
    ) -> None:
        """Replace the messages; without arguments there are none."""
        messages = [sentences] if isinstance(sentences, str) else list(sentences)
        lines = [*_lines(messages, tone), *_lines(notes, "note")]
        self.value = fragment(*lines) if lines else ""


def _lines(sentences: Iterable[str], tone: Tone) -> Iterator[Element]:
    role = "alert" if tone == "error" else "status"
    return (element("div", text, class_=f"cs-{tone}", role=role) for text in sentences if text)


def error_text(error: BaseException) -> str:
    """Return the message of an error, or its type if it has none.

    >>> error_text(KeyError("this needs the column 'status'")), error_text(ValueError())
    ("this needs the column 'status'", 'ValueError')
    """
    # str() of a KeyError is the repr of its message.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text or type(error).__name__


@contextmanager
def show_errors(messages: Messages) -> Iterator[None]:
    """Show the error of a callback, which the event loop of widgets would hide."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        messages.show(error_text(error), "error")


class CopyButton(anywidget.AnyWidget):
    """A button that copies a text exactly as it is."""

    _esm = (_STATIC / "copy_button.js").read_text("utf-8")

    description = Unicode("Copy").tag(sync=True)
    text = Unicode("").tag(sync=True)

    def __init__(self, description: str = "Copy", text: str = "") -> None:
        super().__init__(description=description)
        self.show(text)

    def show(self, text: str) -> None:
        """Set the text that the next click copies."""
        self.text = text.encode("utf-8", "replace").decode("utf-8")
