"""Work that would keep the kernel busy, in a thread of its own: one job at a time.

Where several are asked for while one is done, the last of them is next: what is asked for by
turning a control is of no use when it is turned again.
"""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DRAWING", "Jobs"]

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
