"""What Persona's search can compare, and how large a filter may be: expression in, split out.

Operators and limits as Persona's OpenAPI description has them: eq, gt, gte, lt, lte; two levels
of and, or, not; twenty terms in each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expr import TRUE, And, Compare, Expression, Or, all_of, literals
from casesearch_pd.query.pushdown import Split
from casesearch_pd.query.shape import Limits, shape
from casesearch_pd.sources.persona_names import USER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.query.pushdown import Judge, Verdict
    from casesearch_pd.query.schema import Field

__all__ = [
    "LIMITS",
    "SORTED",
    "by_id",
    "ids_of",
    "judge",
    "judge_listed",
    "legal",
    "legal_listed",
    "narrowed",
]

LIMITS = Limits(depth=2, breadth=20)
_EXACT = 2**53  # whole numbers that JSON readers hold exactly

# Searchable attributes, and of these the ones that the samples sort by.
_SEARCHED = {
    "status", "created-at", "updated-at", "resolved-at", "sla-expires-at",
    "case-template", "case-queue", "assignee-id", "state", "resolver",
}  # fmt: skip
SORTED = {"created-at", "updated-at", "resolved-at"}
_NO_IDS = {"", ".", ".."}  # no case's; their address would be another one than a case's


def judge(literal: Compare, assume: Mapping[str, bool]) -> Verdict:
    """Say how well search answers one comparison: equality and order, never "is missing"."""
    target = literal.target
    if not target.shown:
        return "unseen" if literal.op == "eq" else "no"
    if literal.op in {"isna", "contains"}:
        return "no"
    if target.namespace == "system" and target.id not in _SEARCHED:
        return "no"
    return _by_type(target, literal.op, literal.value, assume)


def judge_listed(literal: Compare) -> Verdict:
    """Say how well List answers one comparison: it takes a status and a template."""
    if literal.op == "eq" and literal.target.id in {"status", "case-template"}:
        return "superset"
    return "no"


def _by_type(target: Field, op: str, value: Any, assume: Mapping[str, bool]) -> Verdict:
    if target.id == "assignee-id":  # cells show an address, search takes a user id
        return "unseen" if op == "eq" and value.startswith(USER) else "no"
    if target.id in {"case-template", "case-queue"}:
        return "exact" if op == "eq" else "no"
    if target.type == "datetime":
        return "exact" if value == value.floor("ms") else "superset"
    if isinstance(value, str):
        return ("exact" if assume["exact_text"] else "superset") if op == "eq" else "no"
    return "exact" if abs(value) <= _EXACT else "no"


def legal(parts: Split, judge: Judge) -> Split:
    """Bring what is pushed to search within its limits."""
    shaped = shape(parts.pushed, LIMITS, lambda item: judge(item) in {"exact", "unseen"})
    _check_left(shaped.left, judge)
    return Split(shaped.parts, all_of([parts.residual, shaped.left]), shaped.how)


def narrowed(where: Expression, bound: Expression, judge: Judge) -> Expression | None:
    """Join a filter and a bound in one search; None if they do not fit into one."""
    shaped = shape(all_of([where, bound]), LIMITS, lambda item: judge(item) in {"exact", "unseen"})
    return shaped.parts[0] if len(shaped.parts) == 1 and shaped.left == TRUE else None


def legal_listed(parts: Split, judge: Judge) -> Split:
    """Keep of what is pushed as much as List takes."""
    terms = parts.pushed.terms if isinstance(parts.pushed, And) else (parts.pushed,)
    kept: list[Expression] = []
    left: list[Expression] = []
    for term in terms:
        (kept if _listable(all_of([*kept, term])) else left).append(term)
    _check_left(all_of(left), judge)
    return Split((all_of(kept),), all_of([parts.residual, *left]))


def _listable(term: Expression) -> bool:
    """Tell whether List takes the filter: one status and one template at most."""
    terms = term.terms if isinstance(term, And) else (term,)
    names = [item.target.id for item in terms if isinstance(item, Compare)]
    return len(names) == len(terms) == len(set(names))


def _check_left(left: Expression, judge: Judge) -> None:
    hidden = next((item for item in literals(left) if judge(item) == "unseen"), None)
    if hidden is not None:
        raise FilterError(
            f"{hidden.target.column!r} can only be compared by the service, and this filter is "
            "more than its requests may hold; ask in several reads"
        )


def by_id(where: Expression, judge: Judge) -> Split | None:
    """See whether the cases are named by their ids: then each is a request of its own."""
    terms = where.terms if isinstance(where, And) else (where,)
    named = next((term for term in terms if ids_of(term)), None)
    if named is None:
        return None
    rest = all_of(term for term in terms if term != named)
    # What only search can see has to go through search.
    if any(judge(item) == "unseen" for item in literals(rest)):
        return None
    asked = tuple(item for item in literals(named) if item.value not in _NO_IDS)
    return Split(asked, rest, "one by one")


def ids_of(term: Expression) -> tuple[str, ...]:
    """List the ids if an expression is nothing but "one of these cases"."""
    terms = term.terms if isinstance(term, Or) else (term,)
    if all(
        isinstance(item, Compare) and item.op == "eq" and item.target.id == "id" for item in terms
    ):
        return tuple(item.value for item in terms)  # type: ignore[union-attr]
    return ()
