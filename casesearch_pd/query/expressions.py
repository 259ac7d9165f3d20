"""The filter language: comparisons joined by and, or, not; immutable, and free of any service.

Four nodes say everything. `Compare` holds one field, one operator and one value; before
binding the field is the name that the user wrote, afterwards it is the `Field` of a schema
and the value is of the field's own type. `all_of` and `any_of` fold while they build: they
flatten, drop duplicates and let TRUE (an empty `And`) and FALSE (an empty `Or`) take effect.

A comparison with a missing value is false, and `~` flips it: the logic is two-valued, so
``~(a < 5)`` keeps the rows whose ``a`` is missing, and ``a >= 5`` does not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from casesearch_pd.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from casesearch_pd.query.schema import Field

__all__ = [
    "FALSE",
    "TRUE",
    "And",
    "Compare",
    "Expression",
    "Node",
    "Not",
    "Or",
    "all_of",
    "any_of",
    "fields_of",
    "literals",
    "negate",
    "to_nnf",
]


class Node:
    """What all nodes can be: joined by & and |, flipped by ~, and never taken for true."""

    __slots__ = ()

    def __and__(self, other: object) -> Expression:
        return all_of([_node(self), _node(other)])

    def __or__(self, other: object) -> Expression:
        return any_of([_node(self), _node(other)])

    __rand__, __ror__ = __and__, __or__

    def __invert__(self) -> Expression:
        return negate(_node(self))

    def __bool__(self) -> bool:
        raise FilterError(
            "a filter has no truth of its own; join filters with & | ~, each in parentheses"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Compare(Node):
    """One comparison: ``op`` is eq, ne, lt, lte, gt, gte, in, contains, isna or between.

    A bound comparison has only eq, lt, lte, gt, gte, contains and isna; the others are folded.
    """

    field: str | Field
    op: str
    value: Any
    _truth: bool | tuple[bool, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Tell True from 1, which Python takes for equal and a case does not."""
        object.__setattr__(self, "_truth", _truth(self.value))

    @property
    def target(self) -> Field:
        """The field of a bound comparison."""
        assert not isinstance(self.field, str), "this comparison is not bound to a schema"
        return self.field

    def __repr__(self) -> str:
        name = self.field if isinstance(self.field, str) else self.field.column
        if self.op == "isna" and self.value is False:
            return f"field({name!r}).notna()"
        shown = self.value.isoformat() if hasattr(self.value, "isoformat") else self.value
        return _WRITTEN[self.op].format(f"field({name!r})", shown)


def _truth(value: Any) -> bool | tuple[bool, ...]:
    if isinstance(value, tuple):
        return tuple(isinstance(item, bool) for item in value)
    return isinstance(value, bool)


@dataclass(frozen=True, slots=True, repr=False)
class And(Node):
    """True where every term is true; without terms it is TRUE."""

    terms: tuple[Expression, ...]

    def __repr__(self) -> str:
        return " & ".join(map(_in_brackets, self.terms)) or "TRUE"


@dataclass(frozen=True, slots=True, repr=False)
class Or(Node):
    """True where at least one term is true; without terms it is FALSE."""

    terms: tuple[Expression, ...]

    def __repr__(self) -> str:
        return " | ".join(map(_in_brackets, self.terms)) or "FALSE"


@dataclass(frozen=True, slots=True, repr=False)
class Not(Node):
    """True where the term is not."""

    term: Expression

    def __repr__(self) -> str:
        return f"~{_in_brackets(self.term)}"


Expression = Compare | And | Or | Not
TRUE = And(())
FALSE = Or(())

_WRITTEN = {
    "eq": "{} == {!r}",
    "ne": "{} != {!r}",
    "lt": "{} < {!r}",
    "lte": "{} <= {!r}",
    "gt": "{} > {!r}",
    "gte": "{} >= {!r}",
    "in": "{}.isin({!r})",
    "contains": "{}.contains({!r})",
    "between": "{}.between{!r}",
    "isna": "{}.isna()",
}


def _in_brackets(term: Expression) -> str:
    bare = isinstance(term, Not) or (isinstance(term, Compare) and term.op in _METHODS)
    return repr(term) if bare else f"({term!r})"


_METHODS = {"in", "contains", "between", "isna"}


def _node(term: object) -> Expression:
    """Take what is joined by an operator; a bare True or False folds away."""
    if isinstance(term, bool):
        return TRUE if term else FALSE
    if isinstance(term, Compare | And | Or | Not):
        return term
    raise FilterError(f"{term!r} is no filter; compare a field with a value, in parentheses")


def all_of(terms: Iterable[Expression]) -> Expression:
    """Join by AND, folded."""
    return _join(And, Or, terms)


def any_of(terms: Iterable[Expression]) -> Expression:
    """Join by OR, folded."""
    return _join(Or, And, terms)


def _join(same: type[And | Or], other: type[And | Or], terms: Iterable[Expression]) -> Expression:
    try:
        flat = dict.fromkeys(_flat(same, terms))
    except RecursionError as error:
        raise FilterError(
            "this filter is nested too deeply to be read; join its conditions side by side, or "
            "ask for any of several values with isin"
        ) from error
    if other(()) in flat:  # FALSE in an AND, TRUE in an OR
        return other(())
    return next(iter(flat)) if len(flat) == 1 else same(tuple(flat))


def _flat(same: type[And | Or], terms: Iterable[Expression]) -> Iterator[Expression]:
    for term in terms:
        yield from term.terms if isinstance(term, same) else (term,)


def negate(term: Expression) -> Expression:
    """Flip, folded: a double negation falls away, TRUE and FALSE change places."""
    match term:
        case Not(inner):
            return inner
        case And(()):
            return FALSE
        case Or(()):
            return TRUE
        case _:
            return Not(term)


def to_nnf(term: Expression) -> Expression:
    """Move every negation down to the comparisons, by De Morgan and by nothing else."""
    match term:
        case Compare():
            return term
        case And(terms):
            return all_of(to_nnf(item) for item in terms)
        case Or(terms):
            return any_of(to_nnf(item) for item in terms)
        case Not(And(terms)):
            return any_of(to_nnf(negate(item)) for item in terms)
        case Not(Or(terms)):
            return all_of(to_nnf(negate(item)) for item in terms)
        case Not(Not(inner)):
            return to_nnf(inner)
        case Not():
            return term
        case _:
            assert_never(term)


def literals(term: Expression) -> tuple[Compare, ...]:
    """List the comparisons of an expression, in order."""
    match term:
        case Compare():
            return (term,)
        case Not(inner):
            return literals(inner)
        case And(terms) | Or(terms):
            return tuple(literal for item in terms for literal in literals(item))
        case _:
            assert_never(term)


def fields_of(term: Expression) -> tuple[Field, ...]:
    """List the fields that a bound expression looks at, each once, in order."""
    return tuple(dict.fromkeys(literal.target for literal in literals(term)))
