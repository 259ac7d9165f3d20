"""What Persona's search can compare, and how large a filter may be: expression in, split out.

Operators and limits as Persona's OpenAPI description has them: eq, gt, gte, lt, lte; two levels
of and, or, not; twenty terms in each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expressions import TRUE, And, Compare, Expression, Or, all_of, literals
from casesearch_pd.query.limits import RequestLimits, fit_to_limits
from casesearch_pd.query.pushdown import Pushdown
from casesearch_pd.sources.persona.field_names import USER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.query.pushdown import PushdownSupport, SupportFunction
    from casesearch_pd.query.schema import Field

__all__ = [
    "LIMITS",
    "SORTED",
    "by_id",
    "ids_of",
    "legal",
    "legal_listed",
    "list_pushdown_support",
    "pushdown_support",
    "with_bound",
]

LIMITS = RequestLimits(depth=2, breadth=20)
_EXACT = 2**53  # whole numbers that JSON readers hold exactly

# Searchable attributes, and of these the ones that the samples sort by.
_SEARCHED = {
    "status", "created-at", "updated-at", "resolved-at", "sla-expires-at",
    "case-template", "case-queue", "assignee-id", "state", "resolver",
}  # fmt: skip
SORTED = {"created-at", "updated-at", "resolved-at"}
_NO_IDS = {"", ".", ".."}  # no case's; their address would be another one than a case's


def pushdown_support(literal: Compare, assume: Mapping[str, bool]) -> PushdownSupport:
    """Say how well search answers one comparison: equality and order, never "is missing"."""
    target = literal.target
    if not target.visible:
        return "remote_only" if literal.op == "eq" else "unsupported"
    if literal.op in {"isna", "contains"}:
        return "unsupported"
    if target.namespace == "system" and target.id not in _SEARCHED:
        return "unsupported"
    return _by_type(target, literal.op, literal.value, assume)


def list_pushdown_support(literal: Compare) -> PushdownSupport:
    """Say how well List answers one comparison: it takes a status and a template."""
    if literal.op == "eq" and literal.target.id in {"status", "case-template"}:
        return "inexact"
    return "unsupported"


def _by_type(target: Field, op: str, value: Any, assume: Mapping[str, bool]) -> PushdownSupport:
    if target.id == "assignee-id":  # cells show an address, search takes a user id
        return "remote_only" if op == "eq" and value.startswith(USER) else "unsupported"
    if target.id in {"case-template", "case-queue"}:
        return "exact" if op == "eq" else "unsupported"
    if target.type == "datetime":
        return "exact" if value == value.floor("ms") else "inexact"
    if isinstance(value, str):
        return ("exact" if assume["exact_text"] else "inexact") if op == "eq" else "unsupported"
    return "exact" if abs(value) <= _EXACT else "unsupported"


def legal(parts: Pushdown, judge: SupportFunction) -> Pushdown:
    """Bring what is pushed to search within its limits."""
    shaped = fit_to_limits(
        parts.pushed, LIMITS, lambda item: judge(item) in {"exact", "remote_only"}
    )
    _check_left(shaped.left, judge)
    return Pushdown(shaped.parts, all_of([parts.residual, shaped.left]), shaped.how)


def with_bound(where: Expression, bound: Expression, judge: SupportFunction) -> Expression | None:
    """Join a filter and a bound in one search; None if they do not fit into one."""
    shaped = fit_to_limits(
        all_of([where, bound]), LIMITS, lambda item: judge(item) in {"exact", "remote_only"}
    )
    return shaped.parts[0] if len(shaped.parts) == 1 and shaped.left == TRUE else None


def legal_listed(parts: Pushdown, judge: SupportFunction) -> Pushdown:
    """Keep of what is pushed as much as List takes."""
    terms = parts.pushed.terms if isinstance(parts.pushed, And) else (parts.pushed,)
    kept: list[Expression] = []
    left: list[Expression] = []
    for term in terms:
        (kept if _listable(all_of([*kept, term])) else left).append(term)
    _check_left(all_of(left), judge)
    return Pushdown((all_of(kept),), all_of([parts.residual, *left]))


def _listable(term: Expression) -> bool:
    """Tell whether List takes the filter: one status and one template at most."""
    terms = term.terms if isinstance(term, And) else (term,)
    names = [item.target.id for item in terms if isinstance(item, Compare)]
    return len(names) == len(terms) == len(set(names))


def _check_left(left: Expression, judge: SupportFunction) -> None:
    hidden = next((item for item in literals(left) if judge(item) == "remote_only"), None)
    if hidden is not None:
        raise FilterError(
            f"{hidden.target.column!r} can only be compared by the service, and this filter is "
            "more than its requests may hold; ask in several reads"
        )


def by_id(where: Expression, judge: SupportFunction) -> Pushdown | None:
    """See whether the cases are named by their ids: then each is a request of its own."""
    terms = where.terms if isinstance(where, And) else (where,)
    named = next((term for term in terms if ids_of(term)), None)
    if named is None:
        return None
    rest = all_of(term for term in terms if term != named)
    # What only search can see has to go through search.
    if any(judge(item) == "remote_only" for item in literals(rest)):
        return None
    asked = tuple(item for item in literals(named) if item.value not in _NO_IDS)
    return Pushdown(asked, rest, "one by one")


def ids_of(term: Expression) -> tuple[str, ...]:
    """List the ids if an expression is nothing but "one of these cases"."""
    terms = term.terms if isinstance(term, Or) else (term,)
    if all(
        isinstance(item, Compare) and item.op == "eq" and item.target.id == "id" for item in terms
    ):
        return tuple(item.value for item in terms)  # type: ignore[union-attr]
    return ()
