"""A plan in, what was sent out: each request as JSON and as a command, and what is checked here."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.errors import FilterError, capture_warnings
from casesearch_pd.form.results.paging import Listing
from casesearch_pd.form.runner import DRAWING, Jobs
from casesearch_pd.form.widgets import (
    Messages,
    Tone,
    button,
    checkbox,
    dropdown,
    in_words,
    row,
    with_message,
)
from casesearch_pd.render.html import element, fragment, replace_control_chars
from casesearch_pd.render.sentences import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from threading import RLock
    from xml.etree.ElementTree import Element

    from casesearch_pd.reading.explain import Plan
    from casesearch_pd.sources.base import Request

__all__ = ["LINKED", "MOST", "Files", "Requests"]

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
            with with_message(self._said):
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
                (
                    replace_control_chars(f"{at} of {in_all:,}: {request.method} {request.path}"),
                    at - 1,
                )
                for at, request in enumerate(shown, 1)
            ]
            self._which.value = 0 if shown else None
        finally:
            self._filling = False
        self._show_chosen()

    def _chosen(self, _: dict[str, Any]) -> None:
        with self._lock, with_message(self._said):
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


LINKED = 5_000_000  # bytes of a file that the page holds too, to be downloaded


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of file: what its button says, how its name ends, what it is, how it is written."""

    words: str
    suffix: str
    mime: str
    write: Callable[[pd.DataFrame, Path], Path]


def _csv(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.export.csv_excel import to_csv  # noqa: PLC0415 - waits for the first file

    return to_csv(cases, path)


def _excel(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.export.csv_excel import to_excel  # noqa: PLC0415 - waits for the first file

    return to_excel(cases, path)


def _parquet(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.export.csv_excel import to_parquet  # noqa: PLC0415 - waits for the first file

    return to_parquet(cases, path)


def _report(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.report.report import report  # noqa: PLC0415 - waits for the first one

    with DRAWING:
        return report(cases, path)


_SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_KINDS = {
    "csv": _Kind("CSV", ".csv", "text/csv", _csv),
    "excel": _Kind("Excel", ".xlsx", _SHEET, _excel),
    "parquet": _Kind("Parquet", ".parquet", "application/vnd.apache.parquet", _parquet),
    "report": _Kind("Report", ".html", "text/html", _report),
}


class Files(widgets.VBox):  # type: ignore[misc]  # untyped
    """Write the cases to a file, in a thread, one file at a time.

    Parameters
    ----------
    lock
        What guards the state of the results that it belongs to.
    """

    def __init__(self, lock: RLock) -> None:
        self._lock, self._jobs = lock, Jobs()
        self._cases = pd.DataFrame()
        self._name = widgets.Text(
            "cases", description="File name", style={"description_width": "auto"}
        )
        self._name.add_class("cs-export-name")
        self._replace = checkbox("replace a file of this name", "cs-export-replace")
        self._buttons = {name: self._button(name, kind) for name, kind in _KINDS.items()}
        self._said = Messages("cs-export-said")
        self._link = widgets.HTML()
        self._link.add_class("cs-export-link")
        super().__init__(
            [row(self._name, self._replace), row(*self._buttons.values()), self._said, self._link]
        )
        self.add_class("cs-export")

    def _button(self, name: str, kind: _Kind) -> widgets.Button:
        made = button(kind.words, f"cs-export-{name}", lambda: self._clicked(kind))
        made.tooltip = f"Write the cases to a {kind.suffix} file"
        return made

    def show(self, cases: pd.DataFrame) -> None:
        """Take other cases; what was written of the ones before stays where it is."""
        with self._lock:
            self._cases = cases
            self._replace.value = False
            if not self._jobs.busy:  # then it tells where its file is
                self._answer("", "quiet")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the file is written; tell whether it is."""
        return self._jobs.wait(timeout)

    def _clicked(self, kind: _Kind) -> None:
        with self._lock, with_message(self._said):
            if self._jobs.busy:
                self._said.tell("A file is being written; wait until it is there.")
                return
            self._link.value = ""  # what is told from here on is not about the file before
            path = self._path(kind)
            self._replace.value = False
            self._answer(f"writing {path} …", "quiet")
            self._jobs.ask(partial(self._write, kind, path, self._cases))

    def _path(self, kind: _Kind) -> Path:
        """Find out where to write; what is there already is replaced only if somebody says so."""
        path = _named(self._name.value, kind.suffix)
        if path.exists() and not self._replace.value:
            raise FilterError(
                f"{path} is there already; tick “{self._replace.description}” and press "
                f"{kind.words} again, or give another name"
            )
        return path

    def _write(self, kind: _Kind, path: Path, cases: pd.DataFrame) -> None:
        try:
            with capture_warnings() as said:
                there = kind.write(cases, path)
            told = f"{plural(len(cases), 'case')} written to {there}"
            self._answer(told, "done", notes=said, link=_link(there, kind.mime))
        except Exception as error:  # noqa: BLE001 - whatever it is, the user is told
            self._answer(in_words(error), "error")

    def _answer(
        self, sentence: str, tone: Tone, *, notes: Iterable[str] = (), link: str = ""
    ) -> None:
        with self._lock:
            self._said.tell(sentence, tone, notes=notes)
            self._link.value = link


def _named(name: str, suffix: str) -> Path:
    """Make a path of what somebody typed: its name ends as files of this kind do."""
    path = Path(name.strip()).expanduser()
    if not path.name:
        raise FilterError("name the file, such as cases")
    known = path.suffix.lower() in {kind.suffix for kind in _KINDS.values()}
    return (path.with_suffix(suffix) if known else path.with_name(path.name + suffix)).absolute()


def _link(path: Path, mime: str) -> str:
    """Make a link that holds the file itself: the browser may be on another machine."""
    if path.stat().st_size > LINKED:
        return fragment(element("p", "It is too large for a link to download.", class_="cs-quiet"))
    held = base64.b64encode(path.read_bytes()).decode("ascii")
    address = f"data:{mime};base64,{held}"
    return fragment(element("a", f"Download {path.name}", href=address, download=path.name))
