"""Pushdown on Persona: which comparisons search and List evaluate, and how large a filter may be.

Operators and limits as Persona's OpenAPI description has them: eq, gt, gte, lt, lte; two levels
of and, or, not; twenty terms in each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casesearch_pd.query.coercion import MAX_EXACT_INTEGER
from casesearch_pd.query.expressions import (
    Compare,
    Expression,
    Or,
    all_of,
    comparisons,
    conjuncts,
)
from casesearch_pd.query.limits import RequestLimits
from casesearch_pd.query.pushdown import Pushdown, require_evaluable
from casesearch_pd.sources.persona.field_names import USER_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.query.pushdown import PushdownSupport, SupportFunction
    from casesearch_pd.query.schema import Field

__all__ = [
    "LIMITS",
    "SORT_FIELDS",
    "case_ids",
    "fit_to_list",
    "list_support",
    "push_down_ids",
    "search_support",
]

LIMITS = RequestLimits(depth=2, breadth=20)

# The attributes that search evaluates, and of these the ones that the samples sort by.
_SEARCHABLE = {
    "status", "created-at", "updated-at", "resolved-at", "sla-expires-at",
    "case-template", "case-queue", "assignee-id", "state", "resolver",
}  # fmt: skip
SORT_FIELDS = {"created-at", "updated-at", "resolved-at"}
_INVALID_IDS = {"", ".", ".."}  # GET /cases/.. would be another address than a case's


def search_support(comparison: Compare, assume: Mapping[str, bool]) -> PushdownSupport:
    """Return how well search evaluates a comparison: equality and order, never "is missing"."""
    target = comparison.target
    if not target.visible:
        return "remote_only" if comparison.op == "eq" else "unsupported"
    if comparison.op in {"isna", "contains"} or target.derived:
        return "unsupported"
    if target.namespace == "system" and target.id not in _SEARCHABLE:
        return "unsupported"
    return _support_by_type(target, comparison.op, comparison.value, assume)


def list_support(comparison: Compare) -> PushdownSupport:
    """Return how well List evaluates a comparison: it takes a status and a template."""
    if comparison.op == "eq" and comparison.target.id in {"status", "case-template"}:
        return "inexact"
    return "unsupported"


def _support_by_type(
    target: Field, op: str, value: Any, assume: Mapping[str, bool]
) -> PushdownSupport:
    # Cells show the address of an assignee; search compares user ids.
    if target.id == "assignee-id":
        return "remote_only" if op == "eq" and value.startswith(USER_PREFIX) else "unsupported"
    if target.id in {"case-template", "case-queue"}:
        return "exact" if op == "eq" else "unsupported"
    if target.type == "datetime":
        return "exact" if value == value.floor("ms") else "inexact"
    if isinstance(value, str):
        # Whether search compares text exactly is not documented.
        return ("exact" if assume["exact_text"] else "inexact") if op == "eq" else "unsupported"
    return "exact" if abs(value) <= MAX_EXACT_INTEGER else "unsupported"


def fit_to_list(pushdown: Pushdown, support: SupportFunction) -> Pushdown:
    """Return a pushdown with what one List request accepts: one status and one template.

    Raise FilterError if a condition that only the service can evaluate does not fit.
    """
    pushed: list[Expression] = []
    remainder: list[Expression] = []
    for term in conjuncts(pushdown.pushed):
        (pushed if _fits_list(all_of([*pushed, term])) else remainder).append(term)
    require_evaluable(all_of(remainder), support)
    return Pushdown((all_of(pushed),), all_of([pushdown.residual, *remainder]))


def _fits_list(term: Expression) -> bool:
    terms = conjuncts(term)
    names = [item.target.id for item in terms if isinstance(item, Compare)]
    return len(names) == len(terms) == len(set(names))


def push_down_ids(where: Expression, support: SupportFunction) -> Pushdown | None:
    """Return one request per case if the filter names the cases by id; None if it does not."""
    terms = conjuncts(where)
    by_id = next((term for term in terms if case_ids(term)), None)
    if by_id is None:
        return None
    residual = all_of(term for term in terms if term != by_id)
    # What only search can evaluate has to be sent to search.
    if any(support(item) == "remote_only" for item in comparisons(residual)):
        return None
    requests = tuple(item for item in comparisons(by_id) if item.value not in _INVALID_IDS)
    return Pushdown(requests, residual, "one by one")


def case_ids(term: Expression) -> tuple[str, ...]:
    """Return the ids that an expression compares `case_id` with; empty if it does more."""
    terms = term.terms if isinstance(term, Or) else (term,)
    if all(
        isinstance(item, Compare) and item.op == "eq" and item.target.id == "id" for item in terms
    ):
        return tuple(item.value for item in terms)  # type: ignore[union-attr]
    return ()
