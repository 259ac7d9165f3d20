"""The cases as files: where they are written, what is there already, and a link to the file."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.errors import FilterError, hearing
from casesearch_pd.notebook.form.looks.controls import button, checkbox, row
from casesearch_pd.notebook.form.looks.messages import Messages, Tone, in_words, telling
from casesearch_pd.notebook.form.results.jobs import DRAWING, Jobs
from casesearch_pd.notebook.markup import element, fragment
from casesearch_pd.notebook.words import many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from threading import RLock

__all__ = ["LINKED", "Files"]

LINKED = 5_000_000  # bytes of a file that the page holds too, to be downloaded


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of file: what its button says, how its name ends, what it is, how it is written."""

    words: str
    suffix: str
    mime: str
    write: Callable[[pd.DataFrame, Path], Path]


def _csv(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.notebook.export import to_csv  # noqa: PLC0415 - waits for the first file

    return to_csv(cases, path)


def _excel(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.notebook.excel import to_excel  # noqa: PLC0415 - waits for the first file

    return to_excel(cases, path)


def _parquet(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.notebook.export import to_parquet  # noqa: PLC0415 - waits for the first file

    return to_parquet(cases, path)


def _report(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.notebook.report import report  # noqa: PLC0415 - waits for the first one

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
        with self._lock, telling(self._said):
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
            with hearing() as said:
                there = kind.write(cases, path)
            told = f"{many(len(cases), 'case')} written to {there}"
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
