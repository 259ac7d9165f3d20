r"""The filter of a form: rules in nested groups, and the text of their values in input boxes.

The widgets edit this tree, unfinished rows included. `conversion` turns it into an expression of
the filter language, where a group inside a group of its own kind and a repeated rule disappear.

Times are written as in filters (``2026-03``, ``2026-03-14T09:30``) or relative to now: ``7 days
ago``, ``in 3 hours``, ``now``. Other text is taken literally. Text that no line can hold (an empty
text, line breaks) is written as a JSON string, ``""`` or ``"two\nlines"``, and so is text that
would otherwise be read as such a string: ``"urgent"`` searches for the quotes too.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.render.sentences import duration_text

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
    "from_lines",
    "from_text",
    "operators_for",
    "rules_of",
    "to_lines",
    "to_text",
    "value_type",
]

_AGO = re.compile(r"\s*(?P<duration>.+?)\s+ago\s*", re.IGNORECASE)
_FROM_NOW = re.compile(r"\s*in\s+(?P<duration>.+?)\s*", re.IGNORECASE)
_INTEGER = re.compile(r"\s*[+-]?\d+\s*")
_NEEDS_ESCAPE = re.compile("[\n\r\0\ud800-\udfff]")
_BOOLEANS = {"yes": True, "true": True, "no": False, "false": False}

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


def value_type(field_type: FieldType, value: Any) -> FieldType:
    """Return the type that a value is typed as: that of the value if the field has none.

    >>> value_type("any", 5), value_type("any", "5"), value_type("url", "5")
    ('number', 'text', 'url')
    """
    if field_type != "any" or isinstance(value, str):
        return "text" if field_type == "any" else field_type
    return "boolean" if isinstance(value, bool) else "number"


def from_text(field_type: FieldType, text: str) -> Any:
    """Return the value of a text, or None if the text is empty.

    >>> from_text("number", "2.50"), from_text("datetime", "7 days ago"), from_text("text", " a")
    (2.5, Timedelta('-7 days +00:00:00'), ' a')

    Raise FilterError if the text is not a value of this type.
    """
    if not text:
        return None
    match field_type:
        case "number" | "integer":
            return _number(text)
        case "boolean":
            return _boolean(text)
        case "datetime":
            return _time(text)
        case _:
            unquoted = _unquote(text)
            return text if unquoted is None else unquoted


def _number(text: str) -> int | float:
    try:
        # int() keeps all digits of a long integer, which float() would round.
        number = int(text) if _INTEGER.fullmatch(text) else float(text)
    except ValueError as error:
        raise FilterError(f"{text!r} is not a number; write one such as 3 or 2.5") from error
    if isinstance(number, float) and not math.isfinite(number):
        raise FilterError(
            f"{text!r} is not a finite number; use 'is empty' to search for missing values"
        )
    return number


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.strip().lower())
    if value is None:
        raise FilterError(f"{text!r} is not a truth value; write yes or no")
    return value


def _unquote(text: str) -> str | None:
    """Return the text of a JSON string that had to be written in quotes, else None."""
    if len(text) < 2 or not text[0] == text[-1] == '"':  # noqa: PLR2004 - a pair of quotes
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, str) and _needs_quotes(value) else None


def _needs_quotes(text: str) -> bool:
    # The last case keeps text apart that a user typed with quotes, such as "two\\nlines".
    return not text or _NEEDS_ESCAPE.search(text) is not None or _unquote(text) is not None


def _time(text: str) -> str | pd.Timedelta:
    if text.strip().lower() == "now":
        return pd.Timedelta(0)
    for pattern, sign in ((_AGO, -1), (_FROM_NOW, 1)):
        match = pattern.fullmatch(text)
        if match is not None:
            return sign * _duration(match["duration"])
    return text.strip()


def _duration(text: str) -> pd.Timedelta:
    try:
        duration = pd.Timedelta(text)
    except (ValueError, OverflowError) as error:
        raise _duration_error(text) from error
    if pd.isna(duration):
        raise _duration_error(text)
    return duration


def _duration_error(text: str) -> FilterError:
    return FilterError(f"{text!r} is not a length of time; write '7 days ago' or 'in 3 hours'")


def to_text(value: Any) -> str:
    """Return the text that `from_text` reads as a value.

    >>> to_text(pd.Timedelta(days=-7)), to_text(2.5), to_text(None), to_text("")
    ('7 days ago', '2.5', '', '""')
    """
    match value:
        case None:
            return ""
        case pd.Timedelta():
            return _relative_time(value)
        case bool():
            return "yes" if value else "no"
        case str():
            return json.dumps(value) if _needs_quotes(value) else value
        case _:
            return repr(value)


def _relative_time(duration: pd.Timedelta) -> str:
    if not duration:
        return "now"
    length = duration_text(duration)
    return f"{length} ago" if duration < pd.Timedelta(0) else f"in {length}"


def from_lines(field_type: FieldType, text: str) -> tuple[Any, ...]:
    r"""Return the values of a text with one value per line; empty lines are skipped.

    >>> from_lines("integer", "1\n2\n")
    (1, 2)
    """
    return tuple(from_text(field_type, line) for line in text.split("\n") if line)


def to_lines(values: tuple[Any, ...]) -> str:
    """Return the text that `from_lines` reads as these values."""
    return "\n".join(map(to_text, values))
