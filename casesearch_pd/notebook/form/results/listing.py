"""A text that is read and copied with one click: code, JSON, a command."""

from __future__ import annotations

import ipywidgets as widgets

from casesearch_pd.notebook.form.results.copy_button import CopyButton
from casesearch_pd.notebook.markup import element, fragment

__all__ = ["Listing"]


class Listing(widgets.VBox):  # type: ignore[misc]  # untyped
    """A text that is read and copied: code, JSON, a command.

    Parameters
    ----------
    name
        The stable class of the whole; that of its button is ``NAME-copy``.
    caption
        What it is, for who cannot see where it stands.
    button
        What stands on its button.
    """

    def __init__(self, name: str, caption: str, button: str) -> None:
        self._caption = caption
        self._html = widgets.HTML()
        self._copy = CopyButton(button)
        self._copy.add_class(f"{name}-copy")
        super().__init__([self._copy, self._html])
        self.add_class(name)

    def show(self, text: str) -> None:
        """Show another text."""
        read = element("pre", element("code", text), tabindex="0", aria_label=self._caption)
        self._copy.show(text)
        self._html.value = fragment(read)
