"""The edits of one editor: one at a time, silent while the kernel itself writes, told once.

JupyterLab hands the events of widgets to several threads of the kernel at once, so everything
that reads or changes the controls of an editor does it under the one lock of that editor.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import ipywidgets as widgets

__all__ = ["Edits"]

_log = logging.getLogger(__name__)


class Edits:
    """Hears what people do to the controls of one editor.

    Parameters
    ----------
    tell
        Called after each edit, outside the lock, from whatever thread the edit came.
    """

    def __init__(self, tell: Callable[[], None] | None = None) -> None:
        self.lock = RLock()
        self._tell = tell
        self._silent = 0

    def on(self, control: widgets.Widget, trait: str, act: Callable[[], None]) -> None:
        """Do something whenever somebody changes a trait of a control."""
        control.observe(lambda _: self._do(act), trait)

    def on_click(self, button: widgets.Button, act: Callable[[], None]) -> None:
        """Do something whenever somebody presses a button."""
        button.on_click(lambda _: self._do(act))

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Change controls without that being heard as edits."""
        with self.lock:
            self._silent += 1
            try:
                yield
            finally:
                self._silent -= 1

    def _do(self, act: Callable[[], None]) -> None:
        with self.lock:
            if self._silent:
                return
            with self.quietly():
                _safely(act)
        if self._tell is not None:
            _safely(self._tell)


def _safely(act: Callable[[], None]) -> None:
    """Let nothing out into the loop that hands out events; it would end in no place."""
    try:
        act()
    except Exception:  # noqa: BLE001 - whoever called has nobody to hand it to
        _log.exception("an edit of the form went wrong")
