"""English sentences for filters.

Without a schema a sentence uses column names and values, as a stored filter has them; with one
it uses the labels that the service shows to people.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
import pandas as pd

from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or, conjuncts
from casesearch_pd.render.cell_text import shorten, single_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from casesearch_pd.query.schema import Field, Schema

__all__ = [
    "describe_conditions",
    "describe_filter",
    "duration_text",
    "field_label",
    "join_words",
]

_MAX_VALUES = 8  # named in a sentence before a read
_MAX_TEXT = 81  # characters, with the ellipsis, of a text quoted in a sentence before a read
_YEAR_DIGITS = 4


def describe_conditions(expression: Expression) -> list[str]:
    """Return a sentence for each condition of a filter; all of them must hold.

    >>> from casesearch_pd.query.references import field
    >>> describe_conditions((field("status") == "open") & (field("amount") > 5))
    ["status is 'open'", 'amount is more than 5']
    """
    return [describe_filter(term) for term in conjuncts(expression)]


@dataclass(frozen=True)
class _Style:
    """How sentences are written; see `describe_filter`."""

    schema: Schema | None
    before_read: bool


def describe_filter(
    expression: Expression, schema: Schema | None = None, *, before_read: bool = False
) -> str:
    """Return one sentence for a filter, with the labels of a schema if there is one.

    Before a read, relative times are written as ``7 days ago`` instead of ``7 days before the
    read``, and long lists and texts are shortened.

    >>> from casesearch_pd.query.references import field
    >>> describe_filter(~(field("title").contains("refund") | field("queue").isna()))
    "not (title contains 'refund' or queue is empty)"
    """
    return _sentence(expression, _Style(schema, before_read))


def _sentence(expression: Expression, style: _Style) -> str:
    match expression:
        case Compare():
            return _condition(expression, expression.op, style)
        case Not(Compare(_, "isna", True) as inner):
            return _condition(inner, "notna", style)
        case And(()):
            return "every case"
        case Or(()):
            return "no case"
        case And(terms):
            return " and ".join(_in_brackets(term, style) for term in terms)
        case Or(terms):
            return " or ".join(_in_brackets(term, style) for term in terms)
        case Not(Compare(_, op) as inner) if style.schema and op in _NEGATIONS:
            return _condition(inner, _NEGATIONS[op], style)
        case Not(inner):
            return f"not {_in_brackets(inner, style)}"
        case _:
            assert_never(expression)


_NEGATIONS = {"eq": "ne", "in": "ne", "contains": "not contains", "isna": "notna"}


def _in_brackets(term: Expression, style: _Style) -> str:
    sentence = _sentence(term, style)
    # With a schema most negations are in the verb ("is not"), which needs no brackets.
    is_compound = isinstance(term, And | Or)
    is_clear = isinstance(term, Compare) or (style.schema and not sentence.startswith("not "))
    return sentence if is_clear and not is_compound else f"({sentence})"


def _condition(term: Compare, op: str, style: _Style) -> str:
    field = _field(term, style)
    if field is not None and style.schema is not None:
        name = field_label(field, style.schema)
    else:
        name = term.field if isinstance(term.field, str) else term.field.column
    return f"{name} {_comparison(op, term.value, _values(field, style))}"


def _field(term: Compare, style: _Style) -> Field | None:
    """Return the field of a comparison, where the comparison or the schema knows it."""
    if not isinstance(term.field, str):
        return term.field
    return None if style.schema is None else style.schema.find(term.field)


def field_label(field: Field, schema: Schema) -> str:
    """Return the label of a field, followed by its column where another field has that label.

    A system field keeps its bare label next to custom fields, as it keeps its column name.
    """
    label = single_line(field.label)
    others = [item for item in schema.fields if single_line(item.label) == label and item != field]
    is_system = field.namespace == "system"
    is_clear = all(is_system and item.namespace == "custom" for item in others)
    return label if label and is_clear else f"{label} ({field.column})".lstrip()


@dataclass(frozen=True)
class _Values:
    """How the values of one field are written."""

    before_read: bool
    are_lists: bool = False
    are_times: bool = False
    are_past: bool = False  # its times never lie in the future
    labels: Mapping[str, str] | None = None  # of its options


_PAST = {"created_at", "updated_at", "closed_at"}


def _values(field: Field | None, style: _Style) -> _Values:
    if field is None or style.schema is None:
        return _Values(style.before_read)
    counts = Counter(option.label for option in field.options)
    return _Values(
        style.before_read,
        are_lists=field.type in ("list", "tags"),
        are_times=field.type == "datetime",
        are_past=field.column in _PAST,
        # A label of two options would not say which of them is meant.
        labels={
            option.value: single_line(option.label)
            for option in field.options
            if counts[option.label] == 1
        },
    )


def _comparison(op: str, value: Any, values: _Values) -> str:
    match op, value:
        case ("isna", False) | ("notna", _) | ("ne", None):
            return "is not empty"
        case ("isna", _) | ("eq", None):
            return "is empty"
        case "between", (low, high):
            return f"is from {_value(low, values)} to {_value(high, values)}"
        case (("eq" | "in"), tuple()):
            return f"is {_any_of(value, values)}"
        case "ne", tuple():
            return f"is not {_any_of(value, values)}"
        case (("contains" | "not contains"), _) if values.are_lists:
            return f"{_LIST_VERBS[op]} {_value(value, values)}"
        # "Within the last 7 days" has an end, now, which only times of the past have too.
        case ("gte", timedelta()) if values.before_read and values.are_past and value < _ZERO:
            return f"is within the last {duration_text(value).removeprefix('1 ')}"
        case (("gte" | "gt" | "lte" | "lt"), timedelta()) if values.before_read:
            return _RELATIVE_VERBS[op].format(_value(value, values))
        case (("eq" | "ne"), str()) if values.are_times:
            return f"{_VERBS[op]} {_PREPOSITIONS.get(len(value), 'at')} {value}"
        case _:
            is_time = values.are_times or _is_time(value)
            return f"{(_TIME_VERBS if is_time else _VERBS)[op]} {_value(value, values)}"


_ZERO = timedelta()
_PREPOSITIONS = {4: "in", 7: "in", 10: "on"}  # by the length of 2026, 2026-03, 2026-03-14

_VERBS = {
    "eq": "is",
    "ne": "is not",
    "in": "is",
    "contains": "contains",
    "not contains": "does not contain",
    "lt": "is less than",
    "lte": "is at most",
    "gt": "is more than",
    "gte": "is at least",
}
_TIME_VERBS = _VERBS | {
    "lt": "is before",
    "lte": "is on or before",
    "gt": "is after",
    "gte": "is on or after",
}
_LIST_VERBS = {"contains": "has", "not contains": "does not have"}
_RELATIVE_VERBS = {
    "lt": "is earlier than {}",
    "lte": "is {} or earlier",
    "gt": "is later than {}",
    "gte": "is {} or later",
}


def _any_of(items: tuple[Any, ...], values: _Values) -> str:
    if not items:
        return "one of no values"
    texts = [_value(item, values) for item in items]
    return join_words(texts, "or", most=_MAX_VALUES if values.before_read else None)


def join_words(items: Sequence[str], word: str, *, most: int | None = None) -> str:
    """Return items joined by commas and a word; of more than `most`, count the rest.

    >>> join_words(["a", "b", "c"], "or"), join_words(["a", "b", "c"], "and", most=2)
    ('a, b or c', 'a and 2 others')
    """
    if most is not None and len(items) > most:
        items = [*items[: most - 1], f"{len(items) - most + 1:,} others"]
    *before, last = items
    return f"{', '.join(before)} {word} {last}" if before else last


def _value(value: Any, values: _Values) -> str:
    match value:
        case timedelta():
            return _relative_time(pd.Timedelta(value), before_read=values.before_read)
        case datetime():
            return value.isoformat(sep=" ")
        case str() if values.labels and value in values.labels:
            return values.labels[value]
        case str() if not values.are_times and not _is_date_text(value):
            return repr(shorten(value, _MAX_TEXT) if values.before_read else value)
        case bool() if values.labels is not None:
            return "yes" if value else "no"
        case None:
            return "empty"
        case _:
            return str(value)


def _is_time(value: Any) -> bool:
    if isinstance(value, str):
        return _is_date_text(value)
    return isinstance(value, date | timedelta | pd.Period | np.datetime64 | np.timedelta64)


def _is_date_text(text: str) -> bool:
    """Return whether a text begins as an ISO date, such as "2026-03" or "2026-03-14T12:00"."""
    return len(text) > _YEAR_DIGITS and text[:_YEAR_DIGITS].isdigit() and text[_YEAR_DIGITS] == "-"


def _relative_time(span: pd.Timedelta, *, before_read: bool) -> str:
    is_past = span < pd.Timedelta(0)
    if not before_read:
        length = str(abs(span)).removesuffix(" 00:00:00")
        return f"{length} {'before' if is_past else 'after'} the read"
    if not span:
        return "now"
    return f"{duration_text(span)} {'ago' if is_past else 'from now'}"


def duration_text(span: timedelta) -> str:
    """Return a duration in the largest unit of which it is a whole number.

    >>> duration_text(pd.Timedelta(days=-1)), duration_text(pd.Timedelta(minutes=90))
    ('1 day', '90 minutes')
    """
    length = abs(pd.Timedelta(span))
    for unit in ("days", "hours", "minutes", "seconds"):
        if not length % pd.Timedelta(1, unit):
            number = length // pd.Timedelta(1, unit)
            return f"{number} {unit.removesuffix('s') if number == 1 else unit}"
    return str(length).removeprefix("0 days ")
