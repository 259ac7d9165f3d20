"""Expressions: comparisons combined by and, or, not; immutable, and independent of a service.

There are four nodes. `Compare` has one field, one operator and one value. Before binding the
field is the name that the user wrote; afterwards it is the `Field` of a schema, and the value
has the field's type. `all_of` and `any_of` simplify: they flatten, remove duplicates and apply
TRUE (an empty `And`) and FALSE (an empty `Or`).

A comparison with a missing value is false, and `~` inverts it: the logic is two-valued, so
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
    "comparisons",
    "conjuncts",
    "fields_of",
    "negate",
    "to_nnf",
]


class Node:
    """The operators of all nodes: & and | combine, ~ inverts; a node has no truth value."""

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
            "the truth value of a filter is ambiguous; combine filters with &, | and ~, each in "
            "parentheses"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Compare(Node):
    """One comparison: ``op`` is eq, ne, lt, lte, gt, gte, in, contains, isna or between.

    A bound comparison has only eq, lt, lte, gt, gte, contains and isna.
    """

    field: str | Field
    op: str
    value: Any
    _is_bool: bool | tuple[bool, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Distinguish True from 1, which are equal in Python and different values of a case."""
        object.__setattr__(self, "_is_bool", _is_bool(self.value))

    @property
    def target(self) -> Field:
        """The field of a bound comparison."""
        assert not isinstance(self.field, str), "this comparison is not bound to a schema"
        return self.field

    def __repr__(self) -> str:
        name = self.field if isinstance(self.field, str) else self.field.column
        if self.op == "isna" and self.value is False:
            return f"field({name!r}).notna()"
        value = self.value.isoformat() if hasattr(self.value, "isoformat") else self.value
        return _FORMATS[self.op].format(f"field({name!r})", value)


def _is_bool(value: Any) -> bool | tuple[bool, ...]:
    if isinstance(value, tuple):
        return tuple(isinstance(item, bool) for item in value)
    return isinstance(value, bool)


@dataclass(frozen=True, slots=True, repr=False)
class And(Node):
    """True where every term is true; without terms it is TRUE."""

    terms: tuple[Expression, ...]

    def __repr__(self) -> str:
        return " & ".join(map(_operand_repr, self.terms)) or "TRUE"


@dataclass(frozen=True, slots=True, repr=False)
class Or(Node):
    """True where at least one term is true; without terms it is FALSE."""

    terms: tuple[Expression, ...]

    def __repr__(self) -> str:
        return " | ".join(map(_operand_repr, self.terms)) or "FALSE"


@dataclass(frozen=True, slots=True, repr=False)
class Not(Node):
    """True where the term is not."""

    term: Expression

    def __repr__(self) -> str:
        return f"~{_operand_repr(self.term)}"


Expression = Compare | And | Or | Not
TRUE = And(())
FALSE = Or(())

_FORMATS = {
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
_METHODS = {"in", "contains", "between", "isna"}


def _operand_repr(term: Expression) -> str:
    is_atom = isinstance(term, Not) or (isinstance(term, Compare) and term.op in _METHODS)
    return repr(term) if is_atom else f"({term!r})"


def _node(term: object) -> Expression:
    """Return an operand as a node; True and False stand for TRUE and FALSE."""
    if isinstance(term, bool):
        return TRUE if term else FALSE
    if isinstance(term, Compare | And | Or | Not):
        return term
    raise FilterError(
        f"cannot combine a filter with {term!r}; compare a field with a value, in parentheses"
    )


def all_of(terms: Iterable[Expression]) -> Expression:
    """Return the terms combined by AND, simplified."""
    return _combine(And, Or, terms)


def any_of(terms: Iterable[Expression]) -> Expression:
    """Return the terms combined by OR, simplified."""
    return _combine(Or, And, terms)


def _combine(
    node_type: type[And | Or], dual: type[And | Or], terms: Iterable[Expression]
) -> Expression:
    try:
        flat = dict.fromkeys(_flatten(node_type, terms))
    except RecursionError as error:
        raise FilterError(
            "this filter is nested too deeply; combine its conditions in one chain of & or |, or "
            "match several values with isin([…])"
        ) from error
    if dual(()) in flat:  # FALSE in an AND, TRUE in an OR
        return dual(())
    return next(iter(flat)) if len(flat) == 1 else node_type(tuple(flat))


def _flatten(node_type: type[And | Or], terms: Iterable[Expression]) -> Iterator[Expression]:
    for term in terms:
        yield from term.terms if isinstance(term, node_type) else (term,)


def conjuncts(expression: Expression) -> tuple[Expression, ...]:
    """Return the terms of a conjunction; any other expression is its own only term."""
    return expression.terms if isinstance(expression, And) else (expression,)


def negate(term: Expression) -> Expression:
    """Return the negation: that of ``~x`` is ``x``, that of TRUE is FALSE."""
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
    """Return the negation normal form: De Morgan's laws move every negation to a comparison.

    A negated comparison stays as it is, because ``~(a < 5)`` is not ``a >= 5`` (see the
    module docstring).
    """
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


def comparisons(term: Expression) -> tuple[Compare, ...]:
    """Return the comparisons of an expression, in order."""
    match term:
        case Compare():
            return (term,)
        case Not(inner):
            return comparisons(inner)
        case And(terms) | Or(terms):
            return tuple(comparison for item in terms for comparison in comparisons(item))
        case _:
            assert_never(term)


def fields_of(term: Expression) -> tuple[Field, ...]:
    """Return the fields of a bound expression, each once, in order."""
    return tuple(dict.fromkeys(comparison.target for comparison in comparisons(term)))
