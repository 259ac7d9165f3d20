"""A picture of the cases, drawn when somebody looks: which one, by what, and what it lacks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.notebook.form.looks.controls import dropdown, offer, row
from casesearch_pd.notebook.form.looks.messages import Messages, in_words
from casesearch_pd.notebook.form.results.drawing import CHARTS, draw, groupings
from casesearch_pd.notebook.form.results.jobs import Jobs
from casesearch_pd.notebook.markup import element, fragment, harmless, image

if TYPE_CHECKING:
    from threading import RLock

__all__ = ["Chart"]

_GROUPED = {"breakdown", "sla"}
_OVER_TIME = ""  # no column


class Chart(widgets.VBox):  # type: ignore[misc]  # untyped
    """Show one of the accessor's pictures.

    The picture is an ``<img>`` of `widgets.HTML`, because `widgets.Image` has no place for the
    words that a screen reader reads in its stead.

    Parameters
    ----------
    lock
        What guards the state of the results that it belongs to.
    """

    def __init__(self, lock: RLock) -> None:
        self._lock, self._jobs = lock, Jobs()
        self._cases = pd.DataFrame()
        self._number = 0  # of the picture that is wanted
        self._open, self._stale, self._filling = False, True, False
        self._what = dropdown(
            "Chart", "cs-chart-what", [(words, name) for name, words in CHARTS.items()]
        )
        self._by = dropdown("By", "cs-chart-by")
        self._said = Messages("cs-chart-said")
        self._picture = widgets.HTML()
        self._picture.add_class("cs-chart-picture")
        super().__init__([row(self._what, self._by), self._said, self._picture])
        self.add_class("cs-chart")
        self._what.observe(self._turned, names="value")
        self._by.observe(self._redrawn, names="value")

    def show(self, cases: pd.DataFrame) -> None:
        """Take other cases; they are drawn when somebody looks."""
        with self._lock:
            self._cases = cases
            self._picture.value = ""
            self._offer_groups()
            self._want()

    def look(self, *, open_: bool) -> None:
        """Tell whether somebody looks."""
        with self._lock:
            self._open = open_
            self._draw_if_seen()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the picture is drawn; tell whether it is."""
        return self._jobs.wait(timeout)

    # --- what is asked --------------------------------------------------------------------

    def _turned(self, _: dict[str, Any]) -> None:
        with self._lock:
            self._offer_groups()
            self._want()

    def _redrawn(self, _: dict[str, Any]) -> None:
        with self._lock:
            if not self._filling:
                self._want()

    def _offer_groups(self) -> None:
        """Offer the columns that tell groups, where the chart has some; keep what was chosen."""
        grouped = self._what.value in _GROUPED
        over_time = [("over time", _OVER_TIME)] if self._what.value == "sla" else []
        found = [*over_time, *((harmless(name), name) for name in groupings(self._cases))]
        self._filling = True
        try:
            if grouped:
                offer(self._by, found)
        finally:
            self._filling = False
        self._by.layout.display = None if grouped else "none"

    def _want(self) -> None:
        """Take what is seen for outdated."""
        self._number += 1
        self._stale = True
        self._draw_if_seen()

    def _draw_if_seen(self) -> None:
        if self._open and self._stale:
            self._stale = False
            self._said.tell("drawing …", "quiet")
            by = self._by.value if self._what.value in _GROUPED else None
            chosen = (self._cases, self._what.value, by or None)
            self._jobs.ask(partial(self._draw, self._number, *chosen))

    # --- what is drawn --------------------------------------------------------------------

    def _draw(self, number: int, cases: pd.DataFrame, what: str, by: str | None) -> None:
        try:
            picture = draw(cases, what, by)
        except Exception as error:  # noqa: BLE001 - whatever it is, the user is told
            self._answer(number, "", (in_words(error),))
        else:
            drawn = element("figure", image(picture.png, picture.words, "png"))
            self._answer(number, fragment(drawn), picture.notes)

    def _answer(self, number: int, drawn: str, notes: tuple[str, ...]) -> None:
        """Show a picture, unless another one is wanted meanwhile."""
        with self._lock:
            if number == self._number:
                self._picture.value = drawn
                self._said.tell(notes)
