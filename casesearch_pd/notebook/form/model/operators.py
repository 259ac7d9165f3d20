"""The operators of a rule: which fit a field, what they are called, what they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from casesearch_pd.query.schema import Field, FieldType

__all__ = ["INVERSE", "OPERATORS", "Operator", "Takes", "fitting"]

Takes = Literal["one", "many", "pair", "none"]


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the form.

    Parameters
    ----------
    key
        How trees and saved forms name it.
    label
        What it is called.
    takes
        Whether it takes one value, any number, a pair, or none.
    of_times
        What it is called where the field is a time.
    """

    key: str
    label: str
    takes: Takes = "one"
    of_times: str = ""

    def labelled(self, kind: FieldType) -> str:
        """Tell what it is called for a field of this type."""
        if kind in ("list", "tags"):
            return _OF_LISTS.get(self.key, self.label)
        return self.of_times if kind == "datetime" and self.of_times else self.label


OPERATORS = {
    operator.key: operator
    for operator in (
        Operator("eq", "is", of_times="is on"),
        Operator("ne", "is not", of_times="is not on"),
        Operator("in", "is any of", "many"),
        Operator("not in", "is none of", "many"),
        Operator("contains", "contains"),
        Operator("not contains", "does not contain"),
        Operator("lt", "is less than", of_times="is before"),
        Operator("lte", "is at most", of_times="is not after"),
        Operator("gt", "is more than", of_times="is after"),
        Operator("gte", "is at least", of_times="is not before"),
        Operator("between", "is between", "pair"),
        Operator("missing", "is missing", "none"),
        Operator("there", "is there", "none"),
    )
}

INVERSE = {
    "eq": "ne",
    "ne": "eq",
    "in": "not in",
    "not in": "in",
    "contains": "not contains",
    "not contains": "contains",
    "missing": "there",
    "there": "missing",
}
"""The operators whose negation is an operator too."""

_OF_LISTS = {"contains": "has", "not contains": "has not"}
_ORDER = ("lt", "lte", "gt", "gte", "between")
_ANY_OF = ("in", "not in")
_WHETHER = ("missing", "there")


def fitting(field: Field) -> tuple[Operator, ...]:
    """List the operators that fit a field, the likeliest first.

    >>> from casesearch_pd.query.schema import Field
    >>> [operator.label for operator in fitting(Field("active", "active", "Active", "boolean"))]
    ['is', 'is not', 'is missing', 'is there']
    """
    return tuple(OPERATORS[key] for key in _keys(field.type))


def _keys(kind: FieldType) -> tuple[str, ...]:
    match kind:
        case "datetime":
            return ("gte", "lt", "eq", "ne", "gt", "lte", "between", *_ANY_OF, *_WHETHER)
        case "number" | "integer":
            return ("eq", "ne", *_ORDER, *_ANY_OF, *_WHETHER)
        case "boolean":
            return ("eq", "ne", *_WHETHER)
        case "select":
            return (*_ANY_OF, *_WHETHER)
        case "list" | "tags":
            return ("contains", "not contains", *_WHETHER)
        case "json":
            return _WHETHER
        case _:
            return ("eq", "ne", "contains", "not contains", *_ANY_OF, *_ORDER, *_WHETHER)
