"""A filter in, sentences that people read out.

Without a schema fields go by their columns and choices by their values, as a stored filter has
them; with one, both go by what the service shows to people.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
import pandas as pd

from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from casesearch_pd.query.schema import Field, Schema

__all__ = [
    "filter_conditions",
    "filter_in_words",
    "join_words",
    "label_of",
    "length_of",
    "plural",
    "single_line",
]


def filter_conditions(term: Expression) -> list[str]:
    """Say a filter as conditions that all must hold; none for every case.

    >>> from casesearch_pd.query.references import field
    >>> conditions((field("status") == "open") & (field("amount") > 5))
    ["status is 'open'", 'amount is more than 5']
    """
    return (
        [filter_in_words(item) for item in term.terms]
        if isinstance(term, And)
        else [filter_in_words(term)]
    )


@dataclass(frozen=True)
class _Manner:
    """How a filter is said: with the labels of a schema or without, before a read or after."""

    schema: Schema | None
    ahead: bool


def filter_in_words(term: Expression, schema: Schema | None = None, *, ahead: bool = False) -> str:
    """Say a filter in one sentence.

    Parameters
    ----------
    term
        The filter.
    schema
        Where the labels of fields and choices are found.
    ahead
        Whether the read is still to come: then ``7 days ago`` is said of what is counted from
        the read, and of long lists and texts the beginning.

    Examples
    --------
    >>> from casesearch_pd.query.references import field
    >>> in_words(~(field("title").contains("refund") | field("queue").isna()))
    "not (title contains 'refund' or queue is missing)"
    """
    return _sentence(term, _Manner(schema, ahead))


def _sentence(term: Expression, manner: _Manner) -> str:
    match term:
        case Compare(_, op, value):
            return f"{_name(term, manner)} {_compared(op, value, _spoken(term, manner))}"
        case Not(Compare(_, "isna", True) as inner):
            return _sentence(Compare(inner.field, "isna", value=False), manner)
        case And(()):
            return "every case"
        case Or(()):
            return "no case"
        case And(terms):
            return " and ".join(_in_brackets(item, manner) for item in terms)
        case Or(terms):
            return " or ".join(_in_brackets(item, manner) for item in terms)
        case Not(Compare(_, op, value) as inner) if manner.schema and op in _DENIED:
            return f"{_name(inner, manner)} {_compared(_DENIED[op], value, _spoken(inner, manner))}"
        case Not(inner):
            return f"not {_in_brackets(inner, manner)}"
        case _:
            assert_never(term)


_DENIED = {"eq": "ne", "in": "ne", "contains": "not contains", "isna": "notna"}


def _in_brackets(term: Expression, manner: _Manner) -> str:
    written = _sentence(term, manner)
    bare = isinstance(term, Compare) or (manner.schema and not written.startswith("not "))
    joined = isinstance(term, And | Or)
    return written if bare and not joined else f"({written})"


# --- fields -----------------------------------------------------------------------------


def label_of(field: Field, schema: Schema) -> str:
    """Name a field as people know it; with its column where another bears the same label.

    A field of the service's own keeps its label, as it keeps its column.
    """
    label = single_line(field.label)
    alike = [item for item in schema.fields if single_line(item.label) == label and item != field]
    own = field.namespace == "system"
    clear = all(own and item.namespace == "custom" for item in alike)
    return label if label and clear else f"{label} ({field.column})".lstrip()


def plural(number: int, one: str) -> str:
    """Count something in words.

    >>> many(1, "page"), many(2_000, "page")
    ('1 page', '2,000 pages')
    """
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"


def single_line(text: str) -> str:
    """Take the line breaks out of a label, which would break a sentence."""
    return " ".join(text.split())


def _field(term: Compare, manner: _Manner) -> Field | None:
    """Find the field of a comparison, where a schema tells it."""
    if manner.schema is None or not isinstance(term.field, str):
        return None if isinstance(term.field, str) else term.field
    return manner.schema.find(term.field)


def _name(term: Compare, manner: _Manner) -> str:
    field = _field(term, manner)
    if field is not None and manner.schema is not None:
        return label_of(field, manner.schema)
    return term.field if isinstance(term.field, str) else term.field.column


# --- values -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Values:
    """How the values of one field are said."""

    ahead: bool
    lists: bool = False
    times: bool = False
    past: bool = False
    labels: Mapping[str, str] | None = None


def _spoken(term: Compare, manner: _Manner) -> _Values:
    field = _field(term, manner)
    if field is None or manner.schema is None:
        return _Values(manner.ahead)
    many = Counter(item.label for item in field.options)
    labels = {
        item.value: single_line(item.label) for item in field.options if many[item.label] == 1
    }
    lists, times = field.type in ("list", "tags"), field.type == "datetime"
    return _Values(manner.ahead, lists, times, field.column in _PAST, labels)


_PAST = {"created_at", "updated_at", "closed_at"}  # times that are never to come


def _compared(op: str, value: Any, values: _Values) -> str:
    match op, value:
        case ("isna", False) | ("notna", _) | ("ne", None):
            return "is there"
        case ("isna", _) | ("eq", None):
            return "is missing"
        case "between", (low, high):
            return f"is from {_said(low, values)} to {_said(high, values)}"
        case (("eq" | "in"), tuple()):
            return f"is {_any_of(value, values)}"
        case "ne", tuple():
            return f"is not {_any_of(value, values)}"
        case (("contains" | "not contains"), _) if values.lists:
            return f"{_OF_LISTS[op]} {_said(value, values)}"
        case ("gte", timedelta()) if values.ahead and values.past and value < timedelta():
            return f"is within the last {length_of(value).removeprefix('1 ')}"
        case (("gte" | "gt" | "lte" | "lt"), timedelta()) if values.ahead:
            return _OF_SPANS[op].format(_said(value, values))
        case (("eq" | "ne"), str()) if values.times:
            return f"{_OF_OTHERS[op]} {_ON.get(len(value), 'at')} {value}"
        case _:
            times = values.times or _is_time(value)
            return f"{(_OF_TIMES if times else _OF_OTHERS)[op]} {_said(value, values)}"


_ON = {4: "in", 7: "in", 10: "on"}  # years and months; days

_OF_OTHERS = {
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
_OF_TIMES = _OF_OTHERS | {
    "lt": "is before",
    "lte": "is not after",
    "gt": "is after",
    "gte": "is not before",
}
_OF_LISTS = {"contains": "has", "not contains": "has not"}
_OF_SPANS = {
    "lt": "is earlier than {}",
    "lte": "is {} or earlier",
    "gt": "is later than {}",
    "gte": "is {} or later",
}


def _any_of(items: tuple[Any, ...], values: _Values) -> str:
    said = [_said(item, values) for item in items] if items else ["none of anything"]
    return join_words(said, "or", most=_FEW if values.ahead else None)


_FEW = 8  # values that a sentence names


def join_words(items: Sequence[str], word: str, *, most: int | None = None) -> str:
    """Join by commas and a word; of more than `most`, say how many others there are.

    >>> listed(["a", "b", "c"], "or"), listed(["a", "b", "c"], "and", most=2)
    ('a, b or c', 'a and 2 others')
    """
    if most is not None and len(items) > most:
        items = [*items[: most - 1], f"{len(items) - most + 1:,} others"]
    *before, last = items
    return f"{', '.join(before)} {word} {last}" if before else last


def _is_time(value: Any) -> bool:
    if isinstance(value, str):
        return _reads_as_time(value)
    return isinstance(value, date | timedelta | pd.Period | np.datetime64 | np.timedelta64)


def _reads_as_time(text: str) -> bool:
    """Tell whether text is a date of this form, such as "2026-03" or "2026-03-14T12:00"."""
    return len(text) > _YEAR and text[:_YEAR].isdigit() and text[_YEAR] == "-"


_YEAR = 4  # digits
_LONG = 80  # characters of a text that a sentence quotes


def _said(value: Any, values: _Values) -> str:
    match value:
        case timedelta():
            return _from_read(pd.Timedelta(value), ahead=values.ahead)
        case datetime():
            return value.isoformat(sep=" ")
        case str() if values.labels and value in values.labels:
            return values.labels[value]
        case str() if not values.times and not _reads_as_time(value):
            return repr(f"{value[:_LONG]}…" if values.ahead and len(value) > _LONG else value)
        case bool() if values.labels is not None:
            return "yes" if value else "no"
        case None:
            return "missing"
        case _:
            return str(value)


def _from_read(span: pd.Timedelta, *, ahead: bool) -> str:
    past = span < pd.Timedelta(0)
    if not ahead:
        length = str(abs(span)).removesuffix(" 00:00:00")
        return f"{length} {'before' if past else 'after'} the read"
    if not span:
        return "now"
    return f"{length_of(span)} {'ago' if past else 'from now'}"


def length_of(span: timedelta) -> str:
    """Say how long a time is, in the largest unit of which it is a whole number.

    >>> length_of(pd.Timedelta(days=-1)), length_of(pd.Timedelta(minutes=90))
    ('1 day', '90 minutes')
    """
    length = abs(pd.Timedelta(span))
    for unit in ("days", "hours", "minutes", "seconds"):
        if not length % pd.Timedelta(1, unit):
            number = length // pd.Timedelta(1, unit)
            return f"{number} {unit.removesuffix('s') if number == 1 else unit}"
    return str(length).removeprefix("0 days ")
