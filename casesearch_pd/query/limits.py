"""Request limits: rewrite a pushed filter so that every request is within what a service accepts.

A service may limit how deeply and, or and not are nested, and how many terms each contains. A
filter beyond the limits is nested (wide groups become groups of groups), distributed (into an
or of ands, or an and of ors), or split into requests with disjoint results, in that order. What
remains is left to local evaluation. The requests have disjoint results, which together are the
rows of the filter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

from casesearch_pd.query.expressions import (
    FALSE,
    TRUE,
    And,
    Compare,
    Expression,
    Not,
    Or,
    all_of,
    any_of,
    comparisons,
    conjuncts,
    negate,
    to_nnf,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["FittedFilter", "RequestLimits", "Strategy", "fit_to_limits"]

Strategy = Literal["as it is", "nested", "distributed", "split", "one by one"]

_MAX_TERMS = 400  # of a distributed filter; a larger one fits into no request
_MAX_REQUESTS = 64  # that one filter may be split into

_Clause = tuple[Expression, ...]  # terms that are combined by AND, or by OR
_IsExact = Callable[[Compare], bool]


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The largest filter of one request."""

    depth: int  # levels of and, or, not above a comparison
    breadth: int  # terms in one and, or in one or

    def allows(self, term: Expression) -> bool:
        """Return whether an expression is within the limits."""
        return _depth(term) <= self.depth and _breadth(term) <= self.breadth


@dataclass(frozen=True, slots=True)
class FittedFilter:
    """Requests with disjoint results, what they do not contain, and how they were made."""

    parts: tuple[Expression, ...]
    remainder: Expression
    strategy: Strategy

    @property
    def is_one_request(self) -> bool:
        """Whether one request contains the whole filter."""
        return len(self.parts) == 1 and self.remainder == TRUE


def fit_to_limits(term: Expression, limits: RequestLimits, is_exact: _IsExact) -> FittedFilter:
    """Return requests within the limits.

    Negations are at the comparisons only. `is_exact` returns whether a comparison means to the
    service what it means here, so that its negation may be used to make two requests disjoint.
    """
    if limits.allows(term):
        return FittedFilter((term,), TRUE, "as it is")
    # No tree within the limits has more comparisons, so nesting and distributing are not tried.
    if len(comparisons(term)) > limits.breadth**limits.depth:
        return _split_into_requests(term, limits, is_exact)
    nested = _nest(term, limits.breadth)
    if limits.allows(nested):
        return FittedFilter((nested,), TRUE, "nested")
    for outer in (Or, And):
        distributed = _distribute(term, outer)
        if distributed is not None:
            candidate = _nest(distributed, limits.breadth)
            if limits.allows(candidate):
                return FittedFilter((candidate,), TRUE, "distributed")
    return _split_into_requests(term, limits, is_exact)


def _depth(term: Expression) -> int:
    match term:
        case Compare():
            return 0
        case Not(inner):
            return 1 + _depth(inner)
        case And(terms) | Or(terms):
            return 1 + max((_depth(item) for item in terms), default=0)
        case _:
            assert_never(term)


def _breadth(term: Expression) -> int:
    match term:
        case Compare():
            return 1
        case Not(inner):
            return _breadth(inner)
        case And(terms) | Or(terms):
            return max([len(terms), *map(_breadth, terms)])
        case _:
            assert_never(term)


def _nest(term: Expression, breadth: int) -> Expression:
    match term:
        case And(terms):
            return And(_group([_nest(item, breadth) for item in terms], breadth, And))
        case Or(terms):
            return Or(_group([_nest(item, breadth) for item in terms], breadth, Or))
        case _:
            return term


def _group(terms: list[Expression], breadth: int, node_type: type[And | Or]) -> _Clause:
    """Return at most `breadth` terms: some as they are, the others in groups of their kind."""
    if len(terms) <= breadth:
        return tuple(terms)
    # Grouping adds a level, so the shallow terms are grouped and the deep ones stay at the top.
    # Each group replaces `breadth` terms by one.
    terms = sorted(terms, key=_depth)
    group_count = math.ceil((len(terms) - breadth) / (breadth - 1))
    inner, others = terms[: group_count * breadth], terms[group_count * breadth :]
    groups: list[Expression] = [node_type(chunk) for chunk in _chunks(inner, breadth)]
    return _group([*groups, *others], breadth, node_type)


def _chunks(terms: Sequence[Expression], size: int) -> Iterable[_Clause]:
    return (tuple(terms[start : start + size]) for start in range(0, len(terms), size))


def _distribute(term: Expression, outer: type[And | Or]) -> Expression | None:
    """Return a filter as an or of ands, or an and of ors; None if that is too large."""
    clauses = _clauses(term, outer)
    if clauses is None:
        return None
    combine, combine_clause = (any_of, all_of) if outer is Or else (all_of, any_of)
    return combine(combine_clause(clause) for clause in clauses)


def _clauses(term: Expression, outer: type[And | Or]) -> list[_Clause] | None:
    if not isinstance(term, (And, Or)):
        return [(term,)]
    members: list[list[_Clause]] = []
    for item in term.terms:
        clauses = _clauses(item, outer)
        if clauses is None:
            return None
        members.append(clauses)
    if isinstance(term, outer):
        merged = [clause for clauses in members for clause in clauses]
        return merged if len(merged) <= _MAX_TERMS else None
    return _products(members)


def _products(
    factors: Iterable[Sequence[_Clause]], limit: int = _MAX_TERMS
) -> list[_Clause] | None:
    """Return every combination of one clause from each factor; None if there are too many."""
    products: list[_Clause] = [()]
    for factor in factors:
        if len(products) * len(factor) > limit:
            return None
        products = [
            tuple(dict.fromkeys((*product, *clause))) for product in products for clause in factor
        ]
    return products


def _split_into_requests(
    term: Expression, limits: RequestLimits, is_exact: _IsExact
) -> FittedFilter:
    """Return several requests with disjoint results.

    A part is a list of terms combined by AND. Every conjunct of the filter is turned into
    disjoint alternatives and multiplied with the parts so far. Simple conjuncts come first; one
    that would exceed the limits is left to local evaluation.
    """
    parts: list[_Clause] = [()]
    remainder: list[Expression] = []
    for conjunct in sorted(
        conjuncts(term), key=lambda item: (_depth(item), len(comparisons(item)))
    ):
        is_full = any(len(part) >= limits.breadth for part in parts)
        limit = 0 if is_full else _MAX_REQUESTS // max(1, len(parts))
        alternatives = _alternatives(conjunct, limits, is_exact, limit) if limit else None
        products = None if alternatives is None else _products([parts, alternatives], _MAX_REQUESTS)
        if products is None or not all(limits.allows(all_of(part)) for part in products):
            remainder.append(conjunct)
        else:
            parts = [part for part in products if not _is_contradiction(part)]
    return FittedFilter(tuple(all_of(part) for part in parts), all_of(remainder), "split")


def _alternatives(
    term: Expression, limits: RequestLimits, is_exact: _IsExact, limit: int
) -> list[_Clause] | None:
    """Return a filter as up to `limit` alternatives, no row matching two; None if impossible."""
    match term:
        case Or(terms) if all(isinstance(item, Compare) for item in terms):
            if len(terms) <= limits.breadth:
                return [(term,)]
            # "One of these values" is split without negations.
            if _are_exclusive(terms):
                chunks = [*_chunks(terms, limits.breadth)]
                return [(Or(chunk),) for chunk in chunks] if len(chunks) <= limit else None
            return _make_disjoint(terms, limits, is_exact, limit)
        case Or(terms):
            return _make_disjoint(terms, limits, is_exact, limit)
        case And(terms):
            return _multiply(terms, limits, is_exact, limit)
        case _:
            return [(term,)]


def _multiply(
    terms: Sequence[Expression],
    limits: RequestLimits,
    is_exact: _IsExact,
    limit: int,
) -> list[_Clause] | None:
    products: list[_Clause] = [()]
    for term in terms:
        alternatives = _alternatives(term, limits, is_exact, limit // max(1, len(products)))
        larger = None if alternatives is None else _products([products, alternatives], limit)
        if larger is None or any(len(clause) > limits.breadth for clause in larger):
            return None
        products = larger
    return products


def _make_disjoint(
    terms: Sequence[Expression],
    limits: RequestLimits,
    is_exact: _IsExact,
    limit: int,
) -> list[_Clause] | None:
    """Return the members of an OR, each without the rows of the members before it.

    A | B | C becomes A; B & ~A; C & ~A & ~B. The negations are only right where the service
    evaluates the members exactly: the negation of an inexact comparison would lose rows.
    """
    if len(terms) > limit:
        return None
    disjoint: list[_Clause] = []
    for index, term in enumerate(terms):
        overlapping = [
            previous for previous in terms[:index] if not _are_exclusive([previous, term])
        ]
        if not all(
            map(is_exact, (item for previous in overlapping for item in comparisons(previous)))
        ):
            return None
        rest = all_of([term, *(to_nnf(negate(previous)) for previous in overlapping)])
        if rest == FALSE:
            continue
        alternatives = _alternatives(rest, limits, is_exact, limit - len(disjoint))
        if alternatives is None:
            return None
        disjoint += [clause for clause in alternatives if not _is_contradiction(clause)]
    return disjoint


def _are_exclusive(terms: Sequence[Expression]) -> bool:
    """Return whether no row matches two of the terms: each needs another value of one field."""
    values = [_required_values(term) for term in terms]
    shared = set(values[0]).intersection(*values[1:])
    return any(len({required[name] for required in values}) == len(terms) for name in shared)


def _required_values(term: Expression) -> dict[str, object]:
    """Return the one value that each field must have; text without regard to letter case."""
    return {
        item.target.id: item.value.casefold() if isinstance(item.value, str) else item.value
        for item in conjuncts(term)
        if isinstance(item, Compare) and item.op == "eq"
    }


def _is_contradiction(clause: Iterable[Expression]) -> bool:
    terms = set(clause)
    return any(negate(term) in terms for term in terms)
