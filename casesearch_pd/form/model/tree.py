"""The filter of a form: rules in nested groups, as they stand on the screen.

The widgets edit this tree, unfinished rows included. `conversion` turns it into an expression of
the filter language, where a group inside a group of its own kind and a repeated rule disappear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casesearch_pd.query.schema import Field, FieldType

__all__ = [
    "EMPTY_TREE",
    "INVERSE",
    "OPERATORS",
    "Arity",
    "Combinator",
    "Group",
    "Operator",
    "Rule",
    "operators_for",
    "rules_of",
]

Combinator = Literal["and", "or"]
Arity = Literal["one", "many", "pair", "none"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the form: a field, an operator and a value."""

    field: str = ""  # the name of a column; empty while no field is selected
    operator: str = "eq"  # a key of OPERATORS
    # Text, a number, True or False, a Timedelta relative to now, or a tuple of these. None, also as
    # half of a pair, stands for a value that is not entered yet.
    value: Any = None


@dataclass(frozen=True, slots=True)
class Group:
    """Rules and groups that are combined."""

    combinator: Combinator = "and"
    negated: bool = False  # whether the group matches the cases that its members do not match
    members: tuple[Rule | Group, ...] = ()


EMPTY_TREE = Group()
"""The tree without rules, which matches every case."""


def rules_of(group: Group) -> Iterator[Rule]:
    """Yield the rules of a tree, from top to bottom."""
    for member in group.members:
        if isinstance(member, Group):
            yield from rules_of(member)
        else:
            yield member


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the form."""

    key: str  # its name in trees and saved forms
    label: str  # its name on the screen
    arity: Arity = "one"
    time_label: str = ""  # its name for times, if that is another one

    def label_for(self, field_type: FieldType) -> str:
        """Return the name on the screen for a field of a type."""
        if field_type in ("list", "tags"):
            return _LIST_LABELS.get(self.key, self.label)
        return self.time_label if field_type == "datetime" and self.time_label else self.label


OPERATORS = {
    operator.key: operator
    for operator in (
        Operator("eq", "is", time_label="is on"),
        Operator("ne", "is not", time_label="is not on"),
        Operator("in", "is any of", "many"),
        Operator("not in", "is none of", "many"),
        Operator("contains", "contains"),
        Operator("not contains", "does not contain"),
        Operator("lt", "is less than", time_label="is before"),
        Operator("lte", "is at most", time_label="is on or before"),
        Operator("gt", "is more than", time_label="is after"),
        Operator("gte", "is at least", time_label="is on or after"),
        Operator("between", "is between", "pair"),
        Operator("isna", "is empty", "none"),
        Operator("notna", "is not empty", "none"),
    )
}

INVERSE = {
    "eq": "ne",
    "ne": "eq",
    "in": "not in",
    "not in": "in",
    "contains": "not contains",
    "not contains": "contains",
    "isna": "notna",
    "notna": "isna",
}
"""The operators whose negation is an operator too."""

_LIST_LABELS = {"contains": "has", "not contains": "does not have"}
_COMPARISONS = ("lt", "lte", "gt", "gte", "between")
_MEMBERSHIP = ("in", "not in")
_EMPTINESS = ("isna", "notna")


def operators_for(field: Field) -> tuple[Operator, ...]:
    """Return the operators that fit a field, the most likely first.

    >>> from casesearch_pd.query.schema import Field
    >>> [item.label for item in operators_for(Field("active", "active", "Active", "boolean"))]
    ['is', 'is not', 'is empty', 'is not empty']
    """
    return tuple(OPERATORS[key] for key in _operator_keys(field.type))


def _operator_keys(field_type: FieldType) -> tuple[str, ...]:
    match field_type:
        case "datetime":
            return ("gte", "lt", "eq", "ne", "gt", "lte", "between", *_MEMBERSHIP, *_EMPTINESS)
        case "number" | "integer":
            return ("eq", "ne", *_COMPARISONS, *_MEMBERSHIP, *_EMPTINESS)
        case "boolean":
            return ("eq", "ne", *_EMPTINESS)
        case "select":
            return (*_MEMBERSHIP, *_EMPTINESS)
        case "list" | "tags":
            return ("contains", "not contains", *_EMPTINESS)
        case "json":
            return _EMPTINESS
        case _:
            contains = ("contains", "not contains")
            return ("eq", "ne", *contains, *_MEMBERSHIP, *_COMPARISONS, *_EMPTINESS)
