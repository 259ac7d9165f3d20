"""One run at a time: a read in the background, watched by a thread, told with its number.

What an earlier run has still to say is not heard: a new run, and the end of the form, take the
number away from it.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from casesearch_pd.reading.background import BackgroundRead

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from casesearch_pd.reading.background import Snapshot
    from casesearch_pd.sources.contract import Source

__all__ = ["Runs", "Screen"]

_TICK = 0.2  # seconds between two looks at a read: a bar that moves, and no flood of messages
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Screen:
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
class Runs:
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
    screen: Screen
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
