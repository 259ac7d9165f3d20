"""What a form holds: rules in nested groups, as they are on the screen.

The tree is what the widgets edit, rows that are not finished included. What it means is an
expression of the filter language (`meaning`), which folds away what changes nothing: a group
within one of its own kind, a rule that stands there twice.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.serialization import value_to_json
from casesearch_pd.render.html import replace_control_chars

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from casesearch_pd.query.schema import Field, FieldType, Schema

__all__ = [
    "INVERSE",
    "OPERATORS",
    "Combinator",
    "FieldLabels",
    "Group",
    "Operator",
    "Rule",
    "Takes",
    "distinct_labels",
    "from_json",
    "operators_for",
    "rules_of",
    "single_line",
    "to_json",
]

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


def operators_for(field: Field) -> tuple[Operator, ...]:
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


def single_line(text: str) -> str:
    r"""Write a text as a box of one line shows it, without signs that only mislead.

    >>> on_one_line(" Order\nvalue ")
    'Order value'
    """
    return " ".join(replace_control_chars(text).split())


def distinct_labels(
    labels: Sequence[str], names: Sequence[str], taken: Iterable[str] = ()
) -> list[str]:
    """Tell things apart that bear the same label: their names stand behind it.

    Parameters
    ----------
    labels
        What they are called.
    names
        What tells them apart, in the same order.
    taken
        Texts that mean something else.

    Examples
    --------
    >>> distinct(["Open", "Status", "status"], ["open", "status", "status_2"])
    ['Open', 'Status (status)', 'status (status_2)']
    """
    lines = [single_line(label) for label in labels]
    counts = Counter(line.casefold() for line in lines)
    counts.update(taken)
    found: dict[str, None] = {}
    for line, name in zip(lines, names, strict=True):
        alone = bool(line) and counts[line.casefold()] == 1
        found[_unused(line if alone else f"{line} ({single_line(name)})".strip(), found)] = None
    return list(found)


def _unused(text: str, taken: dict[str, None]) -> str:
    number, found = 2, text
    while found in taken:
        number, found = number + 1, f"{text} #{number}"
    return found


class FieldLabels:
    """What the fields of a schema are called, and which field a text means.

    Parameters
    ----------
    schema
        The fields of a source.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        fields = schema.fields
        found = distinct_labels(
            [item.label for item in fields],
            [item.column for item in fields],
            _names_of_others(fields),
        )
        self.texts = tuple(found)
        """The texts, in the order of the fields."""
        self._shown = dict(zip((item.column for item in fields), found, strict=True))
        self._meant = {text: item.column for text, item in zip(found, fields, strict=True)}
        self._folded = _folded(fields, self._meant)

    def text_of(self, name: str) -> str:
        """Tell what a field is called that a rule names; an unknown one by that name."""
        known = self.schema.find(name)
        return single_line(name) if known is None else self._shown[known.column]

    def meant(self, text: str) -> str:
        """Find the name of the field that a text means; the text itself if none is known."""
        plain = text.strip()
        known = self.schema.find(plain)
        if plain not in self._meant and known is not None:
            return known.column
        return self._meant.get(plain) or self._folded.get(plain.casefold()) or plain

    def field(self, name: str) -> Field | None:
        """Look up the field that a rule names, also one that the service did not tell of."""
        try:
            return self.schema.resolve(name) if name else None
        except FilterError:
            return None


def _names_of_others(fields: Sequence[Field]) -> list[str]:
    """List the names that would mean another field if they stood there as a label."""
    return [
        name
        for item in fields
        for name in {name.casefold() for name in item.names} - {single_line(item.label).casefold()}
    ]


def _folded(fields: Sequence[Field], texts: dict[str, str]) -> dict[str, str]:
    """Index texts, names and labels by their small letters, where these mean one field.

    A column's own name means it whoever else bears that label, as it does in filters.
    """
    said = [(text.casefold(), column) for text, column in texts.items()]
    said += [(name.casefold(), item.column) for item in fields for name in item.names]
    said += [(single_line(item.label).casefold(), item.column) for item in fields]
    columns = [(item.column.casefold(), item.column) for item in fields]
    return _alone(said) | _alone(columns)


def _alone(said: Iterable[tuple[str, str]]) -> dict[str, str]:
    meant: dict[str, set[str]] = {}
    for text, column in said:
        meant.setdefault(text, set()).add(column)
    return {text: next(iter(columns)) for text, columns in meant.items() if len(columns) == 1}
