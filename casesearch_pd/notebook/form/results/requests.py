"""A plan in, what was sent out: each request as JSON and as a command, and what is checked here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.notebook.form.looks.controls import dropdown
from casesearch_pd.notebook.form.looks.messages import Messages, telling
from casesearch_pd.notebook.form.results.listing import Listing
from casesearch_pd.notebook.markup import element, fragment, harmless

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from threading import RLock
    from xml.etree.ElementTree import Element

    from casesearch_pd.reading.explain import Plan
    from casesearch_pd.sources.contract import Request

__all__ = ["MOST", "Requests"]

MOST = 20  # requests that are shown
_NO_PLAN = "Nobody planned these cases: they were not read here."


class Requests(widgets.VBox):  # type: ignore[misc]  # untyped
    """Show the first page's request of every walk, exactly as it was sent.

    The pages after it differ in their cursor only.

    Parameters
    ----------
    lock
        What guards the state of the results that it belongs to.
    """

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._plan: Plan | None = None
        self._open, self._stale, self._filling = False, True, False
        self._sent: tuple[tuple[str, str], ...] = ()
        self._said = Messages("cs-request-said")
        self._which = dropdown("Request", "cs-request-which")
        self._body = Listing("cs-request", "the request's body", "Copy JSON")
        self._command = Listing("cs-command", "the request as a shell command", "Copy command")
        self._checked = widgets.HTML()
        self._checked.add_class("cs-request-checked")
        self._listings = widgets.VBox([self._which, self._body, self._command])
        super().__init__([self._said, self._listings, self._checked])
        self.add_class("cs-requests")
        self._which.observe(self._chosen, names="value")

    def show(self, plan: Plan | None) -> None:
        """Take another plan; its requests are written when somebody looks."""
        with self._lock:
            self._plan, self._stale = plan, True
            self._write_if_seen()

    def look(self, *, open_: bool) -> None:
        """Tell whether somebody looks."""
        with self._lock:
            self._open = open_
            self._write_if_seen()

    def _write_if_seen(self) -> None:
        if self._open and self._stale:
            self._stale = False
            with telling(self._said):
                self._write()

    def _write(self) -> None:
        plan = self._plan
        requests, commands = ((), ()) if plan is None else (plan.requests, plan.commands)
        shown = list(zip(requests, commands, strict=True))[:MOST]
        self._sent = tuple((_as_json(request), command) for request, command in shown)
        self._offer([request for request, _ in shown], len(requests))
        self._listings.layout.display = None if shown else "none"
        self._said.tell(_told(plan, len(requests)), "quiet")
        self._checked.value = "" if plan is None else fragment(*_checked(plan.rechecked))

    def _offer(self, shown: Sequence[Request], in_all: int) -> None:
        """Offer the requests to choose from, and show the first one."""
        self._filling = True
        try:
            self._which.options = [
                (harmless(f"{at} of {in_all:,}: {request.method} {request.path}"), at - 1)
                for at, request in enumerate(shown, 1)
            ]
            self._which.value = 0 if shown else None
        finally:
            self._filling = False
        self._show_chosen()

    def _chosen(self, _: dict[str, Any]) -> None:
        with self._lock, telling(self._said):
            if not self._filling:
                self._show_chosen()

    def _show_chosen(self) -> None:
        at = self._which.value
        body, command = ("", "") if at is None else self._sent[at]
        self._body.show(body)
        self._command.show(command)


def _as_json(request: Request) -> str:
    body = request.body if request.body is not None else dict(request.query)
    return json.dumps(body, indent=2, ensure_ascii=False)


def _told(plan: Plan | None, requests: int) -> str:
    if plan is None:
        return _NO_PLAN
    if not requests:
        return "Nothing was sent: no case can match this filter."
    each = "The first request of each walk over the result; later pages differ in their cursor."
    left = f" The first {MOST} of {requests:,} are here; explain_cases shows all."
    return each + (left if requests > MOST else "")


def _checked(conditions: dict[str, str]) -> Iterator[Element]:
    """Say what was checked again on this machine, and why."""
    if not conditions:
        yield element("p", "The service decides all of the filter.", class_="cs-quiet")
        return
    yield element("p", "Checked again on this machine:")
    yield element(
        "ul",
        *(element("li", element("code", what), f": {why}") for what, why in conditions.items()),
    )
