"""Controls that have their place, their label and a class that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["button", "checkbox", "dropdown", "offer", "row"]

_AUTO = {"width": "auto"}


def row(*inside: widgets.Widget) -> widgets.HBox:
    """Put controls into a row that breaks where there is little room."""
    made = widgets.HBox(inside)
    made.add_class("cs-controls")
    return made


def button(description: str, name: str, clicked: Callable[[], None]) -> widgets.Button:
    """Make a button; `name` is its class."""
    made = widgets.Button(description=description, layout=_AUTO)
    made.add_class(name)
    made.on_click(lambda _: clicked())
    return made


def checkbox(description: str, name: str) -> widgets.Checkbox:
    """Make a box to tick; `name` is its class."""
    made = widgets.Checkbox(description=description, indent=False, layout=_AUTO)
    made.add_class(name)
    return made


def dropdown(
    description: str, name: str, options: Sequence[tuple[str, Any]] = ()
) -> widgets.Dropdown:
    """Make a list to choose one from; `name` is its class."""
    made = widgets.Dropdown(
        options=options,
        description=description,
        style={"description_width": "auto"},
        layout=_AUTO | {"max_width": "100%"},
    )
    made.add_class(name)
    return made


def offer(control: widgets.Dropdown, options: Sequence[tuple[str, Any]]) -> None:
    """Offer other options; what was chosen stays chosen, else it is the first one."""
    values, before = [value for _, value in options], control.value
    control.options = options
    # A list that had nothing to choose from would go on with nothing chosen.
    control.value = before if before in values else next(iter(values), None)
