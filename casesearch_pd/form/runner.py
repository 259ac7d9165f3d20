"""Work that would keep the kernel busy, in a thread of its own: one job at a time.

Where several are asked for while one is done, the last of them is next: what is asked for by
turning a control is of no use when it is turned again.
"""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass
from threading import Event, Lock, Thread
from traceback import format_exception_only
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from casesearch_pd.errors import CaseSearchError, IncompleteReadError, ReadInterrupted
from casesearch_pd.form.widgets import Messages, button
from casesearch_pd.reading.background import BackgroundRead
from casesearch_pd.render.sentences import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from casesearch_pd.reading.background import Snapshot
    from casesearch_pd.sources.base import Source

__all__ = ["DRAWING", "Jobs", "RunBar", "SearchRunner", "SearchView", "ended", "share", "under_way"]

DRAWING = Lock()
"""Held by whoever draws: matplotlib is not made for several threads at a time."""

_log = logging.getLogger(__name__)


class Jobs:
    """Do one thing after the other, and of those that wait the last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next: Callable[[], None] | None = None
        self._idle = Event()
        self._idle.set()

    @property
    def busy(self) -> bool:
        """Whether something is done or waits."""
        return not self._idle.is_set()

    def ask(self, job: Callable[[], None]) -> None:
        """Do this next, instead of what waits."""
        with self._lock:
            self._next = job
            if self._idle.is_set():
                self._idle.clear()
                Thread(target=self._work, daemon=True, name="case form").start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all is done; tell whether it is."""
        return self._idle.wait(timeout)

    def _work(self) -> None:
        while (job := self._take()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001 - a job tells what went wrong; here the telling did
                _log.exception("a job of the form failed")

    def _take(self) -> Callable[[], None] | None:
        with self._lock:
            job, self._next = self._next, None
            if job is None:
                self._idle.set()
            return job


_WORTH_TELLING = 0.5  # seconds of waiting


def share(now: Snapshot) -> float | None:
    """Tell how much of a read is done, from 0 to 1; None where nobody knows.

    >>> from casesearch_pd.reading.background import Snapshot
    >>> share(Snapshot(rows=50, total=100, this_pass=2, passes=2))
    0.75
    """
    if not now.total or not now.passes:
        return None
    before = max(0, now.this_pass - 1) * now.total
    return min(1.0, (before + now.rows) / (now.total * now.passes))


def under_way(now: Snapshot) -> str:
    """Say how far a read is.

    >>> from casesearch_pd.reading.background import Snapshot
    >>> under_way(Snapshot(rows=50, total=1234, pages=1, passes=1, requests=1, waiting=2.4))
    '50 of 1,234 rows · 1 page · 1 request · 0 s · waiting 3 s for the rate limit'
    """
    whole = "" if now.total is None else f" of {now.total:,}"
    parts = [
        f"{now.rows:,}{whole} rows",
        f"pass {now.this_pass} of {now.passes}" if now.passes > 1 else "",
        plural(now.pages, "page"),
        plural(now.requests, "request"),
        f"{now.seconds:.0f} s",
    ]
    if now.waiting > _WORTH_TELLING:
        parts.append(f"waiting {math.ceil(now.waiting)} s for the rate limit")
    return " · ".join(part for part in parts if part)


def ended(read: BackgroundRead) -> str:
    """Say how a read ended, in a sentence or two."""
    now, frame, error = read.progress, read.frame, read.error
    took = f"{plural(now.requests, 'request')}, {now.seconds:.1f} s"
    match error:
        case None:
            return f"{_rows(frame)} read: {took}."
        case ReadInterrupted():
            return f"Cancelled after {_rows(frame)}: {took}. What came is below; it is not all."
        case IncompleteReadError():
            return f"{_sentence(str(error))} What came is below; it is not all."
        case CaseSearchError():
            return _sentence(str(error))
        case _:  # a mistake of this package, or of a source of a user's own
            said = "".join(format_exception_only(error)).strip()
            return f"The search broke off by a mistake in the program ({said}); please report it."


def _rows(frame: pd.DataFrame | None) -> str:
    return plural(0 if frame is None else len(frame), "case")


def _sentence(text: str) -> str:
    begun = text[:1].upper() + text[1:]
    return begun if begun.endswith((".", "!", "?", "…")) else f"{begun}."


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


_TICK = 0.2  # seconds between two looks at a read: a bar that moves, and no flood of messages
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchView:
    """Where runs are shown; called on any thread, under the lock of the runs.

    Parameters
    ----------
    begins
        Is told that a run begins.
    goes_on
        Is told how far it is.
    ends
        Is told of a run that has ended, in whatever way, and what it was given.
    """

    begins: Callable[[], None]
    goes_on: Callable[[Snapshot], None]
    ends: Callable[[BackgroundRead, Mapping[str, Any]], None]


@dataclass
class SearchRunner:
    """The runs of one form.

    Parameters
    ----------
    source
        Where to read.
    screen
        Where they are shown.
    lock
        What the screen changes under.
    """

    source: Source
    screen: SearchView
    lock: threading.RLock
    _number: int = 0
    _read: BackgroundRead | None = None
    _shown: threading.Event | None = None

    def start(self, arguments: Mapping[str, Any]) -> None:
        """Begin a run; one under way is cancelled, and not heard any more."""
        with self.lock:
            self.forget()
            self._read, self._shown = BackgroundRead(self.source, arguments), threading.Event()
            self.screen.begins()
            self._read.start()
            watch = threading.Thread(
                target=self._watch,
                args=(self._number, self._read, self._shown, arguments),
                name="cases-watch",
                daemon=True,
            )
            watch.start()

    def cancel(self) -> bool:
        """Cancel the run under way; tell whether there was one."""
        with self.lock:
            if self._read is None or self._read.done:
                return False
            self._read.cancel()
            return True

    def forget(self) -> None:
        """Cancel the run under way, and hear of it no more."""
        with self.lock:
            self._number += 1
            self.cancel()
            if self._shown is not None:
                self._shown.set()

    def wait(self, timeout: float | None) -> bool:
        """Wait until the last run is shown, so many seconds at most; tell whether it is."""
        shown = self._shown
        return shown is None or shown.wait(timeout)

    def _watch(
        self,
        number: int,
        read: BackgroundRead,
        shown: threading.Event,
        arguments: Mapping[str, Any],
    ) -> None:
        try:
            while not read.wait(_TICK):
                self._if_heard(number, lambda: self.screen.goes_on(read.progress))
            self._if_heard(number, lambda: self.screen.ends(read, arguments))
        except Exception:  # noqa: BLE001 - nobody would see it raised
            _LOG.exception("a form could not show what came")
        finally:
            shown.set()

    def _if_heard(self, number: int, show: Callable[[], None]) -> None:
        with self.lock:
            if number == self._number:
                show()
