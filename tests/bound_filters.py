"""Bound filters and rows to try them on: what Hypothesis draws, and a plain reading of both."""

import operator

import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st

from casesearch_pd.query.expressions import (
    FALSE,
    TRUE,
    And,
    Compare,
    Not,
    Or,
    all_of,
    any_of,
    negate,
)
from casesearch_pd.query.schema import Field, Option, Schema

# The same examples everywhere: a law is not a lottery, and machines are slow now and then.
LAW = settings(deadline=None, derandomize=True, max_examples=150, database=None)

TEXT = Field("title", "title", "Title", "text")
CHOICE = Field(
    "priority",
    "6cf16554-78fc",
    "Priority",
    "select",
    "custom",
    options=(Option("p1", "High"), Option("p2", "Low"), Option("p3", "low")),
)
NUMBER = Field("amount", "amount-id", "Amount", "number", "custom")
WHOLE = Field("contacts", "contacts-id", "Contacts", "integer", "custom")
TRUTH = Field("vip", "vip-id", "VIP", "boolean", "custom")
TIME = Field("created_at", "created_datetime", "Created", "datetime", aliases=("created",))
LIST = Field("labels", "labels-id", "Labels", "list", "custom")
FIELDS = (TEXT, CHOICE, NUMBER, WHOLE, TRUTH, TIME, LIST)

NOON = pd.Timestamp("2026-03-14T12:00Z").as_unit("us")
VALUES = {
    "text": ["open", "Open", "", "Straße", "日本", "open case"],
    "select": ["p1", "p2", "p3"],
    "number": [0, -1.5, 2.0, 2**53, 2**53 + 1, 10**400],
    "integer": [0, 1, 2, 2.5, 2**60, 2**60 + 1, 2.0**60, 2**70],
    "boolean": [True, False],
    "datetime": [NOON + pd.Timedelta(us, "us") for us in (-1, 0, 1, 1_000)],
    "list": ["red", "blue"],
}
CELLS = {
    **VALUES,
    "number": [0.0, -1.5, 2.0, 2.0**53],
    "integer": [0, 1, 2, 2**60, 2**60 + 1],
    "list": [[], ["red"], ["blue", "red"]],
}
_ORDERED = ["eq", "lt", "lte", "gt", "gte"]
OPS = {
    "text": ["eq", "lt", "gte", "contains"],
    "select": ["eq"],
    "boolean": ["eq"],
    "list": ["contains"],
    "number": _ORDERED,
    "integer": _ORDERED,
    "datetime": _ORDERED,
}


def a_comparison(fields=FIELDS):
    """Draw one bound comparison, of a missing value now and then."""
    return st.sampled_from(fields).flatmap(
        lambda target: st.one_of(
            st.just(Compare(target, "isna", None)),
            st.builds(
                Compare,
                st.just(target),
                st.sampled_from(OPS[target.type]),
                st.sampled_from([value for value in VALUES[target.type] if value != ""]),
            ),
        )
    )


def an_expression(fields=FIELDS):
    """Draw a tree, built as users build it: folded on the way."""
    return st.recursive(
        a_comparison(fields) | st.sampled_from([TRUE, FALSE]),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4).map(all_of),
            st.lists(inner, max_size=4).map(any_of),
            inner.map(negate),
            inner.map(Not),  # not folded, as somebody else may build it
        ),
        max_leaves=12,
    )


def a_row(fields=FIELDS):
    """Draw one case: any value may be missing."""
    return st.fixed_dictionaries(
        {item.column: st.none() | st.sampled_from(CELLS[item.type]) for item in fields}
    )


def keeps(expression, row):
    """Tell whether an expression keeps a row of plain values: the language in ten lines."""
    match expression:
        case Compare():
            return _meets(row[expression.target.column], expression.op, expression.value)
        case Not(term):
            return not keeps(term, row)
        case And(terms):
            return all(keeps(term, row) for term in terms)
        case Or(terms):
            return any(keeps(term, row) for term in terms)


def _meets(values, op, value):
    if op == "isna":
        return values is None
    if values is None:
        return False
    if op == "contains":
        return (
            value in values if isinstance(values, list) else value.casefold() in values.casefold()
        )
    compare = {"lte": "le", "gte": "ge"}.get(op, op)
    return bool(getattr(operator, compare)(values, value))


def a_schema(*more, **named):
    """Make a schema of the fields above and some more."""
    return Schema((*FIELDS, *more), **named)
