"""What a form holds: rules in nested groups, as they are on the screen.

The tree is what the widgets edit, rows that are not finished included. What it means is an
expression of the filter language (`meaning`), which folds away what changes nothing: a group
within one of its own kind, a rule that stands there twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.stored import value_to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Combinator", "Group", "Rule", "from_json", "rules_of", "to_json"]

Combinator = Literal["and", "or"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: a field, an operator and a value.

    Parameters
    ----------
    field
        The column; empty while none is chosen.
    operator
        A key of `operators.OPERATORS`.
    value
        Text, a number, True or False, a `pandas.Timedelta` from now, or a tuple of these; None
        while there is none, also as half of a pair, and always for operators that take none.
    """

    field: str = ""
    operator: str = "eq"
    value: Any = None


@dataclass(frozen=True, slots=True)
class Group:
    """Rules and groups that are joined.

    Parameters
    ----------
    combinator
        ``"and"`` or ``"or"``.
    negated
        Whether the cases are wanted that the group does not keep.
    members
        Rules and groups, in order.
    """

    combinator: Combinator = "and"
    negated: bool = False
    members: tuple[Rule | Group, ...] = ()


def rules_of(group: Group) -> Iterator[Rule]:
    """List the rules of a tree, from top to bottom."""
    for member in group.members:
        if isinstance(member, Group):
            yield from rules_of(member)
        else:
            yield member


def to_json(member: Rule | Group) -> dict[str, Any]:
    """Write a tree, unfinished rules included.

    >>> to_json(Group("or", members=(Rule("status", "in", ("open",)),)))["members"][0]["value"]
    ['open']
    """
    if isinstance(member, Rule):
        value = value_to_json(member.value)
        return {"field": member.field, "operator": member.operator, "value": value}
    members = [to_json(item) for item in member.members]
    return {"combinator": member.combinator, "negated": member.negated, "members": members}


def from_json(told: object) -> Group:
    """Read what `to_json` wrote.

    Raises
    ------
    FilterError
        If it is something else.
    """
    try:
        read = _member(told)
    except RecursionError as error:
        raise FilterError("this form is nested too deeply to be read") from error
    if isinstance(read, Rule):
        raise FilterError(f"a saved form begins with a group, not with {_short(told)}")
    return read


def _member(told: object) -> Rule | Group:
    match told:
        case {"field": str(field), "operator": str(operator), "value": value, **more} if not more:
            return Rule(field, operator, _value(value))
        case {
            "combinator": "and" | "or" as kind,
            "negated": bool(no),
            "members": list(said),
            **more,
        } if not more:
            return Group(kind, no, tuple(_member(item) for item in said))
        case _:
            raise FilterError(f"this is no part of a saved form: {_short(told)}")


_short = Repr().repr


def _value(told: object) -> Any:
    """Read a value that a rule may hold."""
    if isinstance(told, list):
        return tuple(_one(item) for item in told)
    return None if told is None else _one(told)


def _one(told: object) -> str | bool | float | pd.Timedelta | None:
    """Read one value; half of a pair may still be missing."""
    match told:
        case None | str() | bool() | int():
            return told
        case float() if math.isfinite(told):
            return told
        case {"timedelta": str(text)} if _is_span(text):
            return pd.Timedelta(text)
        case _:
            raise FilterError(f"a saved form holds no value such as {_short(told)}")


def _is_span(text: str) -> bool:
    try:
        return not pd.isna(pd.Timedelta(text))
    except (ValueError, OverflowError):
        return False
