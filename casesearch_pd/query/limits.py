"""A pushed filter and a service's limits in; legal requests out, and what none of them can hold.

A service may bound how deep and, or and not are nested, and how many terms each holds. A
filter that is over the bounds is nested (wide groups in groups), distributed (sums of
products, or products of sums), or split into requests whose results are disjoint, in that
order; what remains is left to the residual. The requests together have the rows of the
filter, and none twice.
"""

from __future__ import annotations

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
    literals,
    negate,
    to_nnf,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["FittedFilter", "RequestLimits", "Strategy", "fit_to_limits"]

Strategy = Literal["as it is", "nested", "distributed", "split", "one by one"]

_TERMS = 400  # terms of a distributed filter; beyond them it is no use
_REQUESTS = 64  # requests that one filter may be split into


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may hold.

    Parameters
    ----------
    depth
        Levels of and, or, not above a comparison.
    breadth
        Terms in one and, or one or.
    """

    depth: int
    breadth: int

    def hold(self, term: Expression) -> bool:
        """Tell whether an expression is within them."""
        return _depth(term) <= self.depth and _breadth(term) <= self.breadth


@dataclass(frozen=True, slots=True)
class FittedFilter:
    """Requests with disjoint results, what they cannot hold, and how they came about."""

    parts: tuple[Expression, ...]
    left: Expression
    how: Strategy


def fit_to_limits(
    term: Expression, limits: RequestLimits, exact: Callable[[Compare], bool]
) -> FittedFilter:
    """Bring a filter within the limits.

    Parameters
    ----------
    term
        The filter, with negations at the comparisons only.
    limits
        What one request may hold.
    exact
        Tells whether a comparison means to the service what it means here, so that its
        negation may be sent to keep two requests apart.
    """
    if limits.hold(term):
        return FittedFilter((term,), TRUE, "as it is")
    if len(literals(term)) > limits.breadth**limits.depth:
        return _split(term, limits, exact)  # more than any one request can hold
    nested = _nested(term, limits.breadth)
    if limits.hold(nested):
        return FittedFilter((nested,), TRUE, "nested")
    for spread in (_spread(term, Or), _spread(term, And)):
        if spread is not None and limits.hold(candidate := _nested(spread, limits.breadth)):
            return FittedFilter((candidate,), TRUE, "distributed")
    return _split(term, limits, exact)


# --- measuring ----------------------------------------------------------------------------


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


# --- nesting --------------------------------------------------------------------------------


def _nested(term: Expression, breadth: int) -> Expression:
    match term:
        case And(terms):
            return And(_grouped([_nested(item, breadth) for item in terms], breadth, And))
        case Or(terms):
            return Or(_grouped([_nested(item, breadth) for item in terms], breadth, Or))
        case _:
            return term


def _grouped(
    terms: list[Expression], breadth: int, group: type[And | Or]
) -> tuple[Expression, ...]:
    if len(terms) <= breadth:
        return tuple(terms)
    # What is shallow goes down a level; what is deep already stays at the top.
    terms = sorted(terms, key=_depth)
    over = -(-(len(terms) - breadth) // (breadth - 1))
    inner, rest = terms[: over * breadth], terms[over * breadth :]
    groups: list[Expression] = [group(chunk) for chunk in _chunks(inner, breadth)]
    return _grouped([*groups, *rest], breadth, group)


def _chunks(terms: Sequence[Expression], size: int) -> Iterable[tuple[Expression, ...]]:
    return (tuple(terms[at : at + size]) for at in range(0, len(terms), size))


# --- distributing -----------------------------------------------------------------------------


def _spread(term: Expression, outer: type[And | Or]) -> Expression | None:
    """Write a filter as an or of ands, or an and of ors; None if that grows too large."""
    clauses = _clauses(term, outer)
    if clauses is None:
        return None
    join, inside = (any_of, all_of) if outer is Or else (all_of, any_of)
    return join(inside(clause) for clause in clauses)


def _clauses(term: Expression, outer: type[And | Or]) -> list[tuple[Expression, ...]] | None:
    if not isinstance(term, (And, Or)):
        return [(term,)]
    below = [_clauses(item, outer) for item in term.terms]
    if any(item is None for item in below):
        return None
    found = [item for item in below if item is not None]
    if isinstance(term, outer):
        merged = [clause for item in found for clause in item]
        return merged if len(merged) <= _TERMS else None
    return _products(found)


def _products(
    factors: Iterable[Sequence[tuple[Expression, ...]]], most: int = _TERMS
) -> list[tuple[Expression, ...]] | None:
    out: list[tuple[Expression, ...]] = [()]
    for factor in factors:
        if len(out) * len(factor) > most:
            return None
        out = [tuple(dict.fromkeys((*one, *other))) for one in out for other in factor]
    return out


# --- splitting --------------------------------------------------------------------------------


def _split(
    term: Expression, limits: RequestLimits, exact: Callable[[Compare], bool]
) -> FittedFilter:
    """Take in one conjunct after the other, the simple ones first, as long as all stays legal."""
    conjuncts = term.terms if isinstance(term, And) else (term,)
    parts: list[tuple[Expression, ...]] = [()]
    left: list[Expression] = []
    for conjunct in sorted(conjuncts, key=lambda item: (_depth(item), len(literals(item)))):
        full = any(len(part) >= limits.breadth for part in parts)
        most = 0 if full else _REQUESTS // max(1, len(parts))
        cases = _cases(conjunct, limits, exact, most) if most else None
        taken = None if cases is None else _products([parts, cases], _REQUESTS)
        if taken is None or not all(limits.hold(all_of(part)) for part in taken):
            left.append(conjunct)
        else:
            parts = [part for part in taken if not _contradicts(part)]
    return FittedFilter(tuple(all_of(part) for part in parts), all_of(left), "split")


def _cases(
    term: Expression, limits: RequestLimits, exact: Callable[[Compare], bool], most: int
) -> list[tuple[Expression, ...]] | None:
    """Write a filter as `most` alternatives of which no row meets two; None if it cannot be."""
    match term:
        case Or(terms) if all(isinstance(item, Compare) for item in terms):
            if len(terms) <= limits.breadth:
                return [(term,)]
            if _exclusive(terms):
                chunks = [*_chunks(terms, limits.breadth)]
                return [(Or(chunk),) for chunk in chunks] if len(chunks) <= most else None
            return _alternatives(terms, limits, exact, most)
        case Or(terms):
            return _alternatives(terms, limits, exact, most)
        case And(terms):
            return _crossed(terms, limits, exact, most)
        case _:
            return [(term,)]


def _crossed(
    terms: Sequence[Expression], limits: RequestLimits, exact: Callable[[Compare], bool], most: int
) -> list[tuple[Expression, ...]] | None:
    out: list[tuple[Expression, ...]] = [()]
    for term in terms:
        cases = _cases(term, limits, exact, most // max(1, len(out)))
        crossed = None if cases is None else _products([out, cases], most)
        if crossed is None or any(len(case) > limits.breadth for case in crossed):
            return None
        out = crossed
    return out


def _alternatives(
    terms: Sequence[Expression], limits: RequestLimits, exact: Callable[[Compare], bool], most: int
) -> list[tuple[Expression, ...]] | None:
    if len(terms) > most:
        return None
    out: list[tuple[Expression, ...]] = []
    for at, term in enumerate(terms):
        rivals = [rival for rival in terms[:at] if not _exclusive([rival, term])]
        if not all(exact(literal) for rival in rivals for literal in literals(rival)):
            return None
        apart = all_of([term, *(to_nnf(negate(rival)) for rival in rivals)])
        cases = [] if apart == FALSE else _cases(apart, limits, exact, most - len(out))
        if cases is None:
            return None
        out += [case for case in cases if not _contradicts(case)]
    return out


def _exclusive(terms: Sequence[Expression]) -> bool:
    """Tell whether no row meets two of the terms: each wants another value of one field."""
    wanted = [_values(term) for term in terms]
    shared = set(wanted[0]).intersection(*wanted[1:])
    return any(len({values[name] for values in wanted}) == len(terms) for name in shared)


def _values(term: Expression) -> dict[str, object]:
    """Find the one value that each field must have; text without its letter case."""
    terms = term.terms if isinstance(term, And) else (term,)
    return {
        item.target.id: item.value.casefold() if isinstance(item.value, str) else item.value
        for item in terms
        if isinstance(item, Compare) and item.op == "eq"
    }


def _contradicts(terms: Iterable[Expression]) -> bool:
    held = set(terms)
    return any(negate(term) in held for term in held)
