"""The requests of a search, as JSON and shell commands, and the files of its cases."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from casesearch_pd.analysis.display_names import plural
from casesearch_pd.errors import FilterError, capture_warnings
from casesearch_pd.form.jobs import DRAWING_LOCK, Jobs
from casesearch_pd.form.results.paging import Listing
from casesearch_pd.form.widgets import (
    Messages,
    Tone,
    button,
    checkbox,
    dropdown,
    error_text,
    row,
    show_errors,
)
from casesearch_pd.reading.atomic import expand
from casesearch_pd.render.html import element, fragment, replace_control_chars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from threading import RLock
    from xml.etree.ElementTree import Element

    from casesearch_pd.reading.explain import Plan
    from casesearch_pd.sources.base import Request

__all__ = ["MAX_LINKED_BYTES", "MAX_REQUESTS", "Files", "Requests"]

MAX_REQUESTS = 20  # that are shown
_NO_PLAN = "The requests are unknown, because these cases were not read by this form."


class Requests(widgets.VBox):  # type: ignore[misc]  # untyped
    """The first request of each scan, exactly as it is sent; later pages differ in their cursor."""

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._plan: Plan | None = None
        self._is_open, self._is_stale, self._is_filling = False, True, False
        self._listings: tuple[tuple[str, str], ...] = ()
        self._messages = Messages("cs-request-said")
        self._selector = dropdown("Request", "cs-request-which")
        self._body = Listing("cs-request", "the body of the request", "Copy JSON")
        self._command = Listing("cs-command", "the request as a shell command", "Copy command")
        self._conditions = widgets.HTML()
        self._conditions.add_class("cs-request-checked")
        self._listing_box = widgets.VBox([self._selector, self._body, self._command])
        super().__init__([self._messages, self._listing_box, self._conditions])
        self.add_class("cs-requests")
        self._selector.observe(self._on_select, names="value")

    def show(self, plan: Plan | None) -> None:
        """Replace the plan; its requests are written when the tab is open."""
        with self._lock:
            self._plan, self._is_stale = plan, True
            self._write_if_open()

    def set_open(self, *, is_open: bool) -> None:
        """Set whether the tab is open."""
        with self._lock:
            self._is_open = is_open
            self._write_if_open()

    def _write_if_open(self) -> None:
        # A plan may have many requests, which are written only if the user looks at them.
        if self._is_open and self._is_stale:
            self._is_stale = False
            with show_errors(self._messages):
                self._write()

    def _write(self) -> None:
        plan = self._plan
        requests, commands = ((), ()) if plan is None else (plan.requests, plan.commands)
        pairs = list(zip(requests, commands, strict=True))[:MAX_REQUESTS]
        self._listings = tuple((_body_json(request), command) for request, command in pairs)
        self._offer([request for request, _ in pairs], len(requests))
        self._listing_box.layout.display = None if pairs else "none"
        self._messages.show(_requests_text(plan, len(requests)), "quiet")
        conditions = () if plan is None else _local_conditions(plan.rechecked)
        self._conditions.value = "" if plan is None else fragment(*conditions)

    def _offer(self, requests: Sequence[Request], total: int) -> None:
        """Offer the requests for selection, and show the first one."""
        # New options select another request, which is not a selection of the user.
        self._is_filling = True
        try:
            texts = [
                f"{number} of {total:,}: {request.method} {request.path}"
                for number, request in enumerate(requests, 1)
            ]
            self._selector.options = [
                (replace_control_chars(text), index) for index, text in enumerate(texts)
            ]
            self._selector.value = 0 if requests else None
        finally:
            self._is_filling = False
        self._show_selected()

    def _on_select(self, _: dict[str, Any]) -> None:
        with self._lock, show_errors(self._messages):
            if not self._is_filling:
                self._show_selected()

    def _show_selected(self) -> None:
        index = self._selector.value
        body, command = ("", "") if index is None else self._listings[index]
        self._body.show(body)
        self._command.show(command)


def _body_json(request: Request) -> str:
    body = request.body if request.body is not None else dict(request.query)
    return json.dumps(body, indent=2, ensure_ascii=False)


def _requests_text(plan: Plan | None, total: int) -> str:
    if plan is None:
        return _NO_PLAN
    if not total:
        return "No request was sent, because no case can match this filter."
    text = "The first request of each scan of the result; later pages differ in their cursor."
    more = f" The first {MAX_REQUESTS} of {total:,} are shown; explain_cases lists all."
    return text + (more if total > MAX_REQUESTS else "")


def _local_conditions(conditions: dict[str, str]) -> Iterator[Element]:
    """Yield what was evaluated again on this machine, with the reasons."""
    if not conditions:
        yield element("p", "The service evaluates the whole filter.", class_="cs-quiet")
        return
    items = ((element("code", condition), f": {why}") for condition, why in conditions.items())
    yield element("p", "Filtered locally:")
    yield element("ul", *(element("li", *item) for item in items))


MAX_LINKED_BYTES = 5_000_000  # of a file that the page holds too, for the download


@dataclass(frozen=True, slots=True)
class _FileType:
    """A type of file: the label of its button, its suffix and MIME type, and its writer."""

    label: str
    suffix: str
    mime: str
    write: Callable[[pd.DataFrame, Path], Path]


# The writers are imported late, because most forms write no file.
def _csv(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.export.files import to_csv  # noqa: PLC0415 - see above

    return to_csv(cases, path)


def _excel(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.export.files import to_excel  # noqa: PLC0415 - see above

    return to_excel(cases, path)


def _parquet(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.export.files import to_parquet  # noqa: PLC0415 - see above

    return to_parquet(cases, path)


def _report(cases: pd.DataFrame, path: Path) -> Path:
    from casesearch_pd.report.report import report  # noqa: PLC0415 - see above

    with DRAWING_LOCK:
        return report(cases, path)


_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_FILE_TYPES = {
    "csv": _FileType("CSV", ".csv", "text/csv", _csv),
    "excel": _FileType("Excel", ".xlsx", _XLSX, _excel),
    "parquet": _FileType("Parquet", ".parquet", "application/vnd.apache.parquet", _parquet),
    "report": _FileType("Report", ".html", "text/html", _report),
}


class Files(widgets.VBox):  # type: ignore[misc]  # untyped
    """Controls that save the cases to a file in the background, one file at a time."""

    def __init__(self, lock: RLock) -> None:
        self._lock, self._jobs = lock, Jobs(lock, self._show_error)
        self._cases = pd.DataFrame()
        self._name = widgets.Text(
            "cases", description="File name", style={"description_width": "auto"}
        )
        self._name.add_class("cs-export-name")
        self._replace = checkbox("replace an existing file", "cs-export-replace")
        buttons = [self._button(name, file_type) for name, file_type in _FILE_TYPES.items()]
        self._messages = Messages("cs-export-said")
        self._link = widgets.HTML()
        self._link.add_class("cs-export-link")
        super().__init__(
            [row(self._name, self._replace), row(*buttons), self._messages, self._link]
        )
        self.add_class("cs-export")

    def _button(self, name: str, file_type: _FileType) -> widgets.Button:
        control = button(file_type.label, f"cs-export-{name}", lambda: self._on_click(file_type))
        control.tooltip = f"Save the cases as a {file_type.suffix} file"
        return control

    def show(self, cases: pd.DataFrame) -> None:
        """Replace the cases; files of the previous cases remain."""
        with self._lock:
            self._cases = cases
            self._replace.value = False
            # The message of a running job names its file when it is done.
            if not self._jobs.is_busy:
                self._show_message("", "quiet")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the file is written; return whether it is."""
        return self._jobs.wait(timeout)

    def _on_click(self, file_type: _FileType) -> None:
        with self._lock, show_errors(self._messages):
            if self._jobs.is_busy:
                self._messages.show("A file is being written; wait until it is done.")
                return
            self._link.value = ""
            path = self._path(file_type)
            # The permission to replace a file is for one file only.
            self._replace.value = False
            self._show_message(f"writing {path} …", "quiet")
            self._jobs.submit(partial(_write, file_type, path, self._cases), self._show_file)

    def _path(self, file_type: _FileType) -> Path:
        """Return the path to write; an existing file is replaced only if the box is ticked."""
        path = _with_suffix(self._name.value, file_type.suffix)
        if path.exists() and not self._replace.value:
            raise FilterError(
                f"{path} exists already; tick “{self._replace.description}” and click "
                f"{file_type.label} again, or enter another name"
            )
        return path

    def _show_file(self, file: _WrittenFile) -> None:
        text = f"{plural(file.rows, 'case')} written to {file.path}"
        self._show_message(text, "done", notes=file.warnings, link=file.link)

    def _show_error(self, error: Exception) -> None:
        self._show_message(error_text(error), "error")

    def _show_message(
        self, text: str, tone: Tone, *, notes: Iterable[str] = (), link: str = ""
    ) -> None:
        self._messages.show(text, tone, notes=notes)
        self._link.value = link


@dataclass(frozen=True, slots=True)
class _WrittenFile:
    path: Path
    rows: int
    warnings: list[str]
    link: str


def _write(file_type: _FileType, path: Path, cases: pd.DataFrame) -> _WrittenFile:
    with capture_warnings() as warnings:
        file = file_type.write(cases, path)
    return _WrittenFile(file, len(cases), warnings, _download_link(file, file_type.mime))


def _with_suffix(name: str, suffix: str) -> Path:
    """Return the path of a name, with the suffix of the file type."""
    path = Path(expand(name.strip()))
    if not path.name:
        raise FilterError("name the file, such as cases")
    has_suffix = path.suffix.lower() in {file_type.suffix for file_type in _FILE_TYPES.values()}
    file = path.with_suffix(suffix) if has_suffix else path.with_name(path.name + suffix)
    return file.absolute()


def _download_link(path: Path, mime: str) -> str:
    """Return a link that holds the file itself, because the browser may be on another machine."""
    if path.stat().st_size > MAX_LINKED_BYTES:
        text = "The file is too large for a download link."
        return fragment(element("p", text, class_="cs-quiet"))
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    address = f"data:{mime};base64,{content}"
    return fragment(element("a", f"Download {path.name}", href=address, download=path.name))
