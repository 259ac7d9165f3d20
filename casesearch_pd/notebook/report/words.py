"""A stored filter in, sentences that people read out."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, assert_never

import numpy as np
import pandas as pd

from casesearch_pd.query.expr import And, Compare, Expression, Not, Or

__all__ = ["conditions", "in_words"]


def conditions(term: Expression) -> list[str]:
    """Say a filter as conditions that all must hold; none for every case.

    >>> from casesearch_pd.query.names import field
    >>> conditions((field("status") == "open") & (field("amount") > 5))
    ["status is 'open'", 'amount is more than 5']
    """
    return [in_words(item) for item in term.terms] if isinstance(term, And) else [in_words(term)]


def in_words(term: Expression) -> str:
    """Say a filter in one sentence.

    >>> from casesearch_pd.query.names import field
    >>> in_words(~(field("title").contains("refund") | field("queue").isna()))
    "not (title contains 'refund' or queue is missing)"
    """
    match term:
        case Compare(field, op, value):
            name = field if isinstance(field, str) else field.column
            return f"{name} {_compared(op, value)}"
        case Not(Compare(field, "isna", True)):
            return in_words(Compare(field, "isna", value=False))
        case And(()):
            return "every case"
        case Or(()):
            return "no case"
        case And(terms):
            return " and ".join(map(_in_brackets, terms))
        case Or(terms):
            return " or ".join(map(_in_brackets, terms))
        case Not(inner):
            return f"not {_in_brackets(inner)}"
        case _:
            assert_never(term)


def _in_brackets(term: Expression) -> str:
    return in_words(term) if isinstance(term, Compare) else f"({in_words(term)})"


def _compared(op: str, value: Any) -> str:
    match op, value:
        case "isna", False:
            return "is there"
        case ("isna", _) | ("eq", None):
            return "is missing"
        case "ne", None:
            return "is there"
        case "between", (low, high):
            return f"is from {_said(low)} to {_said(high)}"
        case (("eq" | "in"), tuple()):
            return f"is {_any_of(value)}"
        case "ne", tuple():
            return f"is not {_any_of(value)}"
        case _:
            return f"{(_OF_TIMES if _is_time(value) else _OF_OTHERS)[op]} {_said(value)}"


_OF_OTHERS = {
    "eq": "is",
    "ne": "is not",
    "in": "is",
    "contains": "contains",
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


def _any_of(values: tuple[Any, ...]) -> str:
    *most, last = map(_said, values) if values else ("none of anything",)
    return f"{', '.join(most)} or {last}" if most else last


def _is_time(value: Any) -> bool:
    if isinstance(value, str):
        return _reads_as_time(value)
    return isinstance(value, date | timedelta | pd.Period | np.datetime64 | np.timedelta64)


def _reads_as_time(text: str) -> bool:
    """Tell whether text is a date of this form, such as "2026-03" or "2026-03-14T12:00"."""
    return len(text) > _YEAR and text[:_YEAR].isdigit() and text[_YEAR] == "-"


_YEAR = 4  # digits


def _said(value: Any) -> str:
    match value:
        case timedelta():
            span = str(abs(pd.Timedelta(value))).removesuffix(" 00:00:00")
            return f"{span} {'before' if value < timedelta() else 'after'} the read"
        case datetime():
            return value.isoformat(sep=" ")
        case str() if not _reads_as_time(value):
            return repr(value)
        case None:
            return "missing"
        case _:
            return str(value)
