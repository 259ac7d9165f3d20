"""Search and Cancel, how far the search is, and how it ended.

Classes of its controls: ``cs-run``, ``cs-search``, ``cs-cancel``, ``cs-bar``, ``cs-status``,
``cs-problem``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from casesearch_pd.notebook.form.looks.controls import button
from casesearch_pd.notebook.form.looks.messages import Messages
from casesearch_pd.notebook.form.running.words import ended, share, under_way

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.reading.background import BackgroundRead, Snapshot

__all__ = ["RunBar"]

_LAP = 20  # pages in which the bar goes round where nobody knows how many there are


class RunBar(widgets.VBox):  # type: ignore[misc]  # untyped
    """The controls of a run.

    Parameters
    ----------
    search, cancel
        Called when their button is clicked.
    """

    def __init__(self, search: Callable[[], None], cancel: Callable[[], None]) -> None:
        self._search = button("Search", "cs-search", search)
        self._search.button_style = "primary"
        self._cancel = button("Cancel", "cs-cancel", cancel)
        self._cancel.disabled = True
        self._bar = widgets.FloatProgress(
            min=0.0, max=1.0, description="Progress", layout={"visibility": "hidden"}
        )
        self._bar.add_class("cs-bar")
        self._status, self._error = Messages("cs-status"), Messages("cs-problem")
        line = widgets.HBox([self._search, self._cancel, self._bar, self._status])
        line.add_class("cs-line")
        super().__init__([line, self._error])
        self.add_class("cs-run")

    def complain(self, text: str) -> None:
        """Tell what is wrong; nothing clears it."""
        self._error.tell(text, "error")

    def begin(self) -> None:
        """Show that a search begins."""
        self._search.disabled, self._cancel.disabled = True, False
        self._bar.bar_style, self._bar.value = "info", 0.0
        self._bar.layout.visibility = "visible"
        self.complain("")
        self._status.tell("Searching …", "plain")

    def go_on(self, now: Snapshot) -> None:
        """Show how far it is."""
        if self._cancel.disabled:
            return  # it is being cancelled, which was said
        done = share(now)
        self._bar.value = (now.pages % _LAP) / _LAP if done is None else done
        self._status.tell(under_way(now), "plain")

    def cancelling(self) -> None:
        """Show that a cancel was heard."""
        self._cancel.disabled = True
        self._status.tell("Cancelling: the page under way comes to its end …", "plain")

    def end(self, read: BackgroundRead, kept: str) -> None:
        """Show how it ended.

        Parameters
        ----------
        read
            The search.
        kept
            What is said where it brought nothing.
        """
        whole, said = read.error is None, ended(read)
        self._search.disabled, self._cancel.disabled = False, True
        self._bar.value = 1.0
        self._bar.bar_style = "success" if whole else "warning" if read.cancelled else "danger"
        self._status.tell(said if whole else kept if read.frame is None else "", "plain")
        self.complain("" if whole else said)
