"""Background jobs of the form, and the one that estimates the cost of a search while it is edited.

A control that is changed several times in a row needs the result for its last state only. So the
result of a job that was replaced is dropped, and a job that was replaced before it began is never
run. A query is planned, and counted where the service counts with one request, a moment after the
last edit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from casesearch_pd.errors import CaseSearchError, capture_warnings
from casesearch_pd.form.widgets import error_text
from casesearch_pd.reading.explain import Plan
from casesearch_pd.reading.plan import plan_read

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import RLock

    from casesearch_pd.form.model.query import FormQuery
    from casesearch_pd.reading.explain import Cost
    from casesearch_pd.sources.base import Source

__all__ = ["DRAWING_LOCK", "CostEstimator", "CostPreview", "Jobs"]

DRAWING_LOCK = Lock()
"""Held while matplotlib draws, because it must not be used in two threads at a time."""

_DELAY = 0.4  # seconds without an edit, after which a query is planned
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


@dataclass(frozen=True)
class CostPreview:
    """What is known about a search before it runs."""

    query: FormQuery
    plan: Plan | None = None  # None if the query is not planned yet, or cannot be
    cost: Cost | None = None  # None if the cases are not counted
    problem: str = ""  # why the query cannot be read, or could not be counted
    warnings: tuple[str, ...] = ()
    is_counting: bool = False


class CostEstimator:
    """Estimate the cost of the last query, and show it under a lock, from a background thread."""

    def __init__(
        self,
        source: Source,
        show: Callable[[CostPreview], None],
        lock: RLock,
        *,
        delay: float = _DELAY,
    ) -> None:
        self._source, self._show, self._delay = source, show, delay
        self._query: FormQuery | None = None
        # A count that waits for the service must not delay the plan of the next query.
        self._plans = Jobs(lock, self._show_error)
        self._counts = Jobs(lock, self._show_error)
        self._last_count: tuple[str, Cost] | None = None

    def submit(self, query: FormQuery) -> None:
        """Estimate the cost of a query instead of the one before."""
        self._query = query
        self._counts.cancel()
        self._plans.submit(partial(self._plan, query), self._show_plan, delay=self._delay)

    def cancel(self) -> None:
        """Show nothing more about the last query."""
        self._plans.cancel()
        self._counts.cancel()

    def _show_error(self, error: Exception) -> None:
        if self._query is not None:
            self._show(CostPreview(self._query, problem=error_text(error)))

    def _plan(self, query: FormQuery) -> CostPreview:
        try:
            with capture_warnings() as warnings:
                read_plan = plan_read(self._source, query.to_query(self._source.schema))
        except CaseSearchError as error:
            return CostPreview(query, problem=str(error))
        plan = Plan(read_plan)
        cost = self._known_cost(plan)
        is_counting = cost is None and self._source.can_count and plan.partitions == 1
        return CostPreview(query, plan, cost, warnings=tuple(warnings), is_counting=is_counting)

    def _known_cost(self, plan: Plan) -> Cost | None:
        """Return the last count if this plan sends the same requests."""
        if self._last_count is not None and self._last_count[0] == _requests_key(plan):
            return self._last_count[1]
        return None

    def _show_plan(self, preview: CostPreview) -> None:
        self._show(preview)
        if preview.plan is not None and preview.is_counting:
            self._counts.submit(partial(self._count, preview, preview.plan), self._show)

    def _count(self, preview: CostPreview, plan: Plan) -> CostPreview:
        try:
            cost = plan.count()
        except CaseSearchError as error:
            return replace(preview, problem=str(error), is_counting=False)
        self._last_count = (_requests_key(plan), cost)
        return replace(preview, cost=cost, is_counting=False)


def _requests_key(plan: Plan) -> str:
    return f"{plan.requests!r} {plan.read_plan.query.limit!r}"
