"""Controls that share their looks: each has a stable CSS class and a label of its own.

A widget brings two models more, for its layout and its style; here all of one kind have the same,
which makes a form of many rows three times lighter.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from casesearch_pd.notebook.markup import Inside, fragment

__all__ = ["Kit", "close", "say"]


class Kit:
    """Makes the controls of one editor."""

    def __init__(self) -> None:
        self._looks: dict[type, dict[str, Any]] = {}

    def make(self, kind: type, *classes: str, **traits: Any) -> Any:
        """Make a control of a kind of widget; its description is its label."""
        made = kind(**self._looks.get(kind, {}), **traits)
        shared = ("layout", "style") if made.has_trait("style") else ("layout",)
        self._looks.setdefault(kind, {name: getattr(made, name) for name in shared})
        made._dom_classes = classes  # noqa: SLF001 - what add_class sets, in one message
        return made

    def button(self, css: str, words: str, *, plain: bool = False) -> Any:
        """Make a button; a plain one shows words, the others a sign that the style sheet has."""
        classes = (css,) if plain else (css, "cs-sign")
        return self.make(widgets.Button, *classes, description=words, tooltip=words)

    def message(self) -> Any:
        """Make a place for words."""
        return self.make(widgets.HTML, "cs-message")

    def box(self, css: str, *children: Any) -> Any:
        """Make a row of controls, which breaks where there is little room."""
        return self.make(widgets.Box, css, children=children)

    def stack(self, css: str, *children: Any) -> Any:
        """Make a column of controls."""
        return self.make(widgets.VBox, css, children=children)


def say(message: widgets.HTML, *inside: Inside) -> None:
    """Put words into a message, or take them away."""
    written = fragment(*inside) if inside else ""
    if message.value != written:
        message.value = written


def close(widget: widgets.Widget) -> None:
    """Take a widget and all within it off the screen and out of the kernel."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()
