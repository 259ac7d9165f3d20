"""Background jobs of the form: a new job replaces the one before it.

A control that is changed several times in a row needs the result for its last state only. So the
result of a job that was replaced is dropped, and a job that was replaced before it began is never
run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import RLock

__all__ = ["DRAWING_LOCK", "Jobs"]

DRAWING_LOCK = Lock()
"""Held while matplotlib draws, because it must not be used in two threads at a time."""

_Result = TypeVar("_Result")


class Jobs:
    """Run functions in background threads, one at a time; a new function replaces the others.

    Parameters
    ----------
    lock
        Guards the widgets that show results and errors; held while they change.
    show_error
        Shows the error of a function, or of showing its result.

    Examples
    --------
    >>> from threading import RLock
    >>> results = []
    >>> jobs = Jobs(RLock(), show_error=print)
    >>> jobs.submit(lambda: 6 * 7, show=results.append)
    >>> jobs.wait(timeout=30), results
    (True, [42])
    """

    def __init__(self, lock: RLock, show_error: Callable[[Exception], None]) -> None:
        self._lock, self._show_error = lock, show_error
        self._turn = Lock()
        self._job: _Job | None = None

    def submit(
        self,
        function: Callable[[], _Result],
        show: Callable[[_Result], None],
        *,
        delay: float = 0.0,
    ) -> None:
        """Run a function instead of the one before, and show its result.

        Parameters
        ----------
        function
            Runs in a background thread.
        show
            Called with the result, unless the job was replaced or cancelled before.
        delay
            Seconds to wait for a newer job before the function runs.
        """
        with self._lock:
            self.cancel()
            job = self._job = _Job(function, show, delay)
        Thread(target=self._run, args=(job,), name="case-form", daemon=True).start()

    def cancel(self) -> None:
        """Drop the result of the current job, and do not run it if it has not begun."""
        with self._lock:
            if self._job is not None:
                self._job.is_over.set()

    @property
    def is_busy(self) -> bool:
        """Whether a job waits or runs whose result will be shown."""
        job = self._job
        return job is not None and not job.is_over.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the current job is done or cancelled; return whether it is."""
        job = self._job
        return job is None or job.is_over.wait(timeout)

    def _run(self, job: _Job) -> None:
        # The delay ends early if a newer job replaces this one.
        if job.is_over.wait(job.delay):
            return
        try:
            # A function that runs already cannot be stopped, so the next one waits for its end.
            with self._turn:
                if not job.is_over.is_set():
                    self._finish(job)
        finally:
            job.is_over.set()

    def _finish(self, job: _Job) -> None:
        try:
            result = job.function()
            self._show(job, job.show, result)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown in the form
            self._show(job, self._show_error, error)

    def _show(self, job: _Job, show: Callable[[Any], None], result: Any) -> None:
        # Under the lock, so that no newer job can begin between the test and the change.
        with self._lock:
            if not job.is_over.is_set():
                show(result)


@dataclass(frozen=True)
class _Job:
    """A function and what shows its result; over when it is done, replaced or cancelled."""

    function: Callable[[], Any]
    show: Callable[[Any], None]
    delay: float
    is_over: Event = field(default_factory=Event)
