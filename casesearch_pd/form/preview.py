"""The cost of a search before it runs, computed in the background while the form is edited.

A query is planned, and counted where the service counts with one request, a moment after the last
edit. Each query replaces the one before; no edit waits for a request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from casesearch_pd.errors import CaseSearchError, capture_warnings
from casesearch_pd.form.jobs import Jobs
from casesearch_pd.form.widgets import error_text
from casesearch_pd.reading.explain import Plan
from casesearch_pd.reading.plan import plan_read

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import RLock

    from casesearch_pd.form.model.query import FormQuery
    from casesearch_pd.reading.explain import Cost
    from casesearch_pd.sources.base import Source

__all__ = ["CostEstimator", "CostPreview"]

_DELAY = 0.4  # seconds without an edit, after which a query is planned


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
