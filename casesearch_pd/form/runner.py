"""The search of a form: it runs in the background, its progress is shown, it can be cancelled."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from traceback import format_exception_only
from typing import TYPE_CHECKING

import ipywidgets as widgets

from casesearch_pd.analysis.display_names import plural
from casesearch_pd.errors import CaseSearchError, IncompleteReadError, ReadInterrupted
from casesearch_pd.form.jobs import Jobs
from casesearch_pd.form.widgets import Messages, button
from casesearch_pd.reading.background import BackgroundRead
from casesearch_pd.reading.frames.frame import FrameFormat
from casesearch_pd.reading.options import ReadOptions

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from casesearch_pd.form.model.query import FormQuery
    from casesearch_pd.reading.background import Snapshot
    from casesearch_pd.sources.base import Source

__all__ = [
    "RunBar",
    "SearchRunner",
    "SearchView",
    "outcome_text",
    "progress_fraction",
    "progress_text",
]

_MIN_WAIT = 0.5  # seconds of waiting for the rate limit that are worth a message


def progress_fraction(snapshot: Snapshot) -> float | None:
    """Return how much of a read is done, from 0 to 1; None if it is unknown.

    >>> from casesearch_pd.reading.background import Snapshot
    >>> progress_fraction(Snapshot(rows=50, total=100, current_pass=2, passes=2))
    0.75
    """
    if not snapshot.total or not snapshot.passes:
        return None
    # Every pass reads the same cases, with other columns.
    earlier_rows = max(0, snapshot.current_pass - 1) * snapshot.total
    return min(1.0, (earlier_rows + snapshot.rows) / (snapshot.total * snapshot.passes))


def progress_text(snapshot: Snapshot) -> str:
    """Return the progress of a read in words.

    >>> from casesearch_pd.reading.background import Snapshot
    >>> progress_text(Snapshot(rows=50, total=1234, pages=1, passes=1, requests=1, waiting=2.4))
    '50 of 1,234 rows · 1 page · 1 request · 0 s · waiting 3 s for the rate limit'
    """
    total = "" if snapshot.total is None else f" of {snapshot.total:,}"
    parts = [
        f"{snapshot.rows:,}{total} rows",
        f"pass {snapshot.current_pass} of {snapshot.passes}" if snapshot.passes > 1 else "",
        plural(snapshot.pages, "page"),
        plural(snapshot.requests, "request"),
        f"{snapshot.seconds:.0f} s",
    ]
    if snapshot.waiting > _MIN_WAIT:
        parts.append(f"waiting {math.ceil(snapshot.waiting)} s for the rate limit")
    return " · ".join(part for part in parts if part)


def outcome_text(read: BackgroundRead) -> str:
    """Return how a read ended, in a sentence or two."""
    snapshot, error = read.progress, read.error
    cases = plural(0 if read.frame is None else len(read.frame), "case")
    requests = f"{plural(snapshot.requests, 'request')}, {snapshot.seconds:.1f} s"
    partial_results = "Partial results are shown below."
    match error:
        case None:
            return f"{cases} read: {requests}."
        case ReadInterrupted():
            return f"Cancelled after {cases}: {requests}. {partial_results}"
        case IncompleteReadError():
            return f"{_as_sentence(str(error))} {partial_results}"
        case CaseSearchError():
            return _as_sentence(str(error))
        case _:
            # A bug of this package, or of a source that is not part of it.
            details = "".join(format_exception_only(error)).strip()
            return f"The search failed because of a bug ({details}); please report it."


def _as_sentence(text: str) -> str:
    sentence = text[:1].upper() + text[1:]
    return sentence if sentence.endswith((".", "!", "?", "…")) else f"{sentence}."


_PAGES_PER_LAP = 20  # that fill the bar once if the number of pages is unknown


class RunBar(widgets.VBox):  # type: ignore[misc]  # untyped
    """The controls of a search: the buttons, the progress bar and the messages."""

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

    def show_error(self, text: str) -> None:
        """Show what is wrong; an empty text removes the message."""
        self._error.show(text, "error")

    def show_failure(self, text: str) -> None:
        """Show why a search or its results could not be shown, and allow another search."""
        self._search.disabled, self._cancel.disabled = False, True
        self._status.show("", "plain")
        self.show_error(text)

    def show_start(self) -> None:
        """Show that a search begins."""
        self._search.disabled, self._cancel.disabled = True, False
        self._bar.bar_style, self._bar.value = "info", 0.0
        self._bar.layout.visibility = "visible"
        self.show_error("")
        self._status.show("Searching …", "plain")

    def show_progress(self, snapshot: Snapshot) -> None:
        """Show the progress of a search, unless it is being cancelled."""
        if self._cancel.disabled:
            return
        fraction = progress_fraction(snapshot)
        lap = (snapshot.pages % _PAGES_PER_LAP) / _PAGES_PER_LAP
        self._bar.value = lap if fraction is None else fraction
        self._status.show(progress_text(snapshot), "plain")

    def show_cancelling(self) -> None:
        """Show that a search is being cancelled."""
        self._cancel.disabled = True
        self._status.show("Cancelling: waiting for the current page …", "plain")

    def show_outcome(self, read: BackgroundRead, status: str) -> None:
        """Show how a search ended; without results, show the status instead."""
        is_complete, outcome = read.error is None, outcome_text(read)
        if not is_complete and read.frame is not None:
            status = ""
        self._search.disabled, self._cancel.disabled = False, True
        self._bar.value = 1.0
        self._bar.bar_style = (
            "success" if is_complete else "warning" if read.cancelled else "danger"
        )
        self._status.show(outcome if is_complete else status, "plain")
        self.show_error("" if is_complete else outcome)


_PROGRESS_INTERVAL = 0.2  # seconds: the bar moves smoothly, and the browser is not flooded


@dataclass(frozen=True)
class SearchView:
    """What shows a search; called from any thread, under the lock of the runner."""

    start: Callable[[], None]
    progress: Callable[[Snapshot], None]
    end: Callable[[BackgroundRead, FormQuery], None]
    error: Callable[[Exception], None]  # of one of the others


@dataclass
class SearchRunner:
    """Run the searches of a form; a new search cancels the one before."""

    source: Source
    view: SearchView
    lock: threading.RLock
    read: BackgroundRead | None = None
    _jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the thread that follows a search."""
        self._jobs = Jobs(self.lock, self.view.error)

    def start(self, query: FormQuery) -> None:
        """Begin a search; one that is running is cancelled, and its results are dropped."""
        with self.lock:
            self.close()
            # The frame has its times in the time zone of the query, as with `read_cases`.
            options = ReadOptions(frame_format=FrameFormat(tz=query.tz))
            self.read = BackgroundRead(self.source, query.to_query(self.source.schema), options)
            self.view.start()
            self.read.start()
            # A thread of its own: the read must not wait for a browser that is slow to respond.
            follow = partial(self._follow, self.read)
            self._jobs.submit(follow, lambda read: self.view.end(read, query))

    def cancel(self) -> bool:
        """Cancel the running search; return whether there was one."""
        with self.lock:
            if self.read is None or self.read.done:
                return False
            self.read.cancel()
            return True

    def close(self) -> None:
        """Cancel the running search, and drop its results."""
        with self.lock:
            self.cancel()
            self._jobs.cancel()

    def wait(self, timeout: float | None) -> bool:
        """Wait until the last search is shown, at most `timeout` seconds; return whether it is."""
        return self._jobs.wait(timeout)

    def _follow(self, read: BackgroundRead) -> BackgroundRead:
        """Show the progress of a read until it ends or another one has replaced it."""
        while not read.wait(_PROGRESS_INTERVAL):
            # Under the lock, so that no progress is shown after the start of another search.
            with self.lock:
                if read is not self.read or not self._jobs.is_busy:
                    break
                self.view.progress(read.progress)
        return read
