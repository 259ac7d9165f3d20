"""A question that is being written in, what it will cost out, a moment after the last keystroke.

Each question replaces the one before: only the last is planned, and, where the service counts and
one request is enough, counted. Nothing here is waited for by whoever types.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casesearch_pd.errors import CaseSearchError, capture_warnings
from casesearch_pd.reading.api import explain_cases

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.form.model.question import FormQuery
    from casesearch_pd.reading.explain import Cost, Plan
    from casesearch_pd.sources.base import Source

__all__ = ["CostEstimator", "CostPreview"]

_PAUSE = 0.4  # seconds without a change, after which a question is taken for written
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CostPreview:
    """What is known of a question before it runs.

    Parameters
    ----------
    question
        What is asked.
    plan
        How it would be read; None if it cannot be.
    cost
        What it would cost; None while nobody has counted.
    problem
        Why it cannot be asked, or could not be counted.
    said
        What planning warned of.
    counting
        Whether the count is still on its way.
    """

    question: FormQuery
    plan: Plan | None = None
    cost: Cost | None = None
    problem: str = ""
    said: tuple[str, ...] = ()
    counting: bool = False


class CostEstimator:
    """Tells what the last question would cost.

    Parameters
    ----------
    source
        Who would be asked.
    tell
        Is told what is known, from a thread of its own; of the last question only.
    pause
        Seconds without a change, after which a question is planned and counted.
    """

    def __init__(
        self, source: Source, tell: Callable[[CostPreview], None], *, pause: float = _PAUSE
    ) -> None:
        self._source, self._tell, self._pause = source, tell, pause
        self._lock = threading.RLock()
        self._number = 0
        self._timer: threading.Timer | None = None
        self._counted: tuple[str, Cost] | None = None

    def ask(self, question: FormQuery) -> None:
        """Take a question; whatever was asked before is forgotten."""
        with self._lock:
            self.forget()
            self._timer = threading.Timer(self._pause, self._work, (self._number, question))
            self._timer.daemon = True
            self._timer.start()

    def forget(self) -> None:
        """Tell no more of what was asked."""
        with self._lock:
            self._number += 1
            if self._timer is not None:
                self._timer.cancel()

    def _work(self, number: int, question: FormQuery) -> None:
        try:
            outlook = self._planned(question)
            self._told(number, outlook)
            if outlook.counting and number == self._number:
                self._told(number, self._count(outlook))
        except Exception:  # noqa: BLE001 - nobody would see it raised
            _LOG.exception("the forecast of a form failed")

    def _told(self, number: int, outlook: CostPreview) -> None:
        # Not under the lock: whoever is told has a lock of its own, under which it asks.
        if number == self._number:
            self._tell(outlook)

    def _planned(self, question: FormQuery) -> CostPreview:
        try:
            with capture_warnings() as said:
                plan = explain_cases(self._source, **question.arguments(self._source.schema))
        except CaseSearchError as error:
            return CostPreview(question, problem=str(error))
        known = self._known(plan)
        one = known is None and self._source.can_count and plan.partitions == 1
        return CostPreview(question, plan, known, said=tuple(said), counting=one)

    def _known(self, plan: Plan) -> Cost | None:
        """Find the cost of a question that differs in no request from one that was counted."""
        counted = self._counted
        return counted[1] if counted is not None and counted[0] == _key(plan) else None

    def _count(self, outlook: CostPreview) -> CostPreview:
        plan, question, said = outlook.plan, outlook.question, outlook.said
        assert plan is not None, "what is counted was planned"
        try:
            cost = plan.count()
        except CaseSearchError as error:
            return CostPreview(question, plan, problem=str(error), said=said)
        self._counted = (_key(plan), cost)
        return CostPreview(question, plan, cost, said=said)


def _key(plan: Plan) -> str:
    return f"{plan.requests!r} {plan.route.query.limit!r}"
