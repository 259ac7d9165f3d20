"""What a form holds: rules in nested groups, as they are on the screen.

The tree is what the widgets edit, rows that are not finished included. What it means is an
expression of the filter language (`form.meaning`), which folds away what changes nothing: a group
within one of its own kind, a rule that stands there twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from casesearch_pd.errors import FilterError
from casesearch_pd.query.stored import value_from_json, value_to_json

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
        while there is none, and always for operators that take none.
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
    read = _member(told)
    if isinstance(read, Rule):
        raise FilterError(f"a saved form begins with a group, not with {told!r}")
    return read


def _member(told: object) -> Rule | Group:
    if not isinstance(told, Mapping):
        raise FilterError(f"this is no part of a saved form: {told!r}")
    match dict(told):
        case {"field": str(field), "operator": str(operator), "value": value}:
            return Rule(field, operator, value_from_json(value))
        case {"combinator": "and" | "or" as combinator, "negated": bool(no), "members": list(said)}:
            return Group(combinator, no, tuple(_member(item) for item in said))
        case _:
            raise FilterError(f"this is no part of a saved form: {told!r}")
