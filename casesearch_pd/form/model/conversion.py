"""Conversion between the tree of a form and an expression of the filter language.

Whatever `read_cases` accepts is converted into rows, if the form has rows for it. An expression
without rows (an empty list, a week) is an error that gives the reason; nothing is left out.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.form.model.tree import INVERSE, OPERATORS, Group, Rule, operators_for
from casesearch_pd.query.coercion import is_missing
from casesearch_pd.query.expressions import (
    TRUE,
    And,
    Compare,
    Expression,
    Not,
    Or,
    all_of,
    any_of,
    negate,
)

if TYPE_CHECKING:
    from casesearch_pd.query.schema import Field, Schema

__all__ = ["from_expression", "is_complete", "reference_name", "to_expression"]

_PAIR = 2


def is_complete(rule: Rule) -> bool:
    """Return whether a rule has a field, and the values that its operator takes."""
    if not rule.field or rule.operator not in OPERATORS:
        return False
    value = rule.value
    match OPERATORS[rule.operator].arity:
        case "none":
            return True
        case "many":
            return isinstance(value, tuple) and value != () and None not in value
        case "pair":
            return isinstance(value, tuple) and len(value) == _PAIR and None not in value
        case "one":
            return value is not None and not isinstance(value, tuple)


def to_expression(member: Rule | Group) -> Expression:
    """Return the expression of a tree; incomplete rules are ignored.

    >>> rules = (Rule("status", "in", ("open",)), Rule("queue", "contains", "a"))
    >>> to_expression(Group("or", members=rules))
    (field('status') == 'open') | field('queue').contains('a')
    """
    if isinstance(member, Rule):
        return _rule_expression(member) if is_complete(member) else TRUE
    # An "or" without terms would match no case, but a group that was just added must not hide
    # every case until its first row is complete.
    terms = [to_expression(item) for item in member.members if not _is_blank(item)]
    combined = any_of(terms) if member.combinator == "or" and terms else all_of(terms)
    return _negate_expression(combined) if member.negated and terms else combined


def _is_blank(member: Rule | Group) -> bool:
    """Return whether a member has no complete rule."""
    if isinstance(member, Rule):
        return not is_complete(member)
    return all(_is_blank(item) for item in member.members)


def _rule_expression(rule: Rule) -> Expression:
    match rule.operator:
        case "in" | "not in" as operator:
            membership = _membership(rule.field, rule.value)
            return membership if operator == "in" else _negate_expression(membership)
        case "not contains":
            return negate(Compare(rule.field, "contains", rule.value))
        case "isna":
            return Compare(rule.field, "isna", value=True)
        case "notna":
            return negate(Compare(rule.field, "isna", value=True))
        case operator:
            return Compare(rule.field, operator, rule.value)


def _membership(name: str, values: tuple[Any, ...]) -> Compare:
    """Return the comparison with any of some values, without duplicates."""
    # By repr, because a set would take True for 1 and 1 for 1.0.
    distinct = tuple({repr(value): value for value in values}.values())
    if len(distinct) == 1:
        return Compare(name, "eq", distinct[0])
    return Compare(name, "in", distinct)


def _negate_expression(term: Expression) -> Expression:
    """Return the negation, with ``ne`` for ``eq`` so that each filter has one spelling."""
    match term:
        case Compare(field, "eq" | "ne" as op, value):
            return Compare(field, "ne" if op == "eq" else "eq", value)
        case _:
            return negate(term)


def from_expression(expression: Expression, schema: Schema) -> Group:
    """Return the tree of an expression.

    Raise FilterError if the form has no rows for the expression.
    """
    tree = _as_group(_simplify(expression), schema)
    # A missing value in a list becomes a row of its own, in a group that may be redundant; the
    # second conversion removes such groups.
    return _as_group(to_expression(tree), schema)


def _as_group(expression: Expression, schema: Schema) -> Group:
    member = _member(expression, schema)
    return member if isinstance(member, Group) else Group(members=(member,))


def _simplify(term: Expression) -> Expression:
    """Return an expression built from nodes by hand as the operators would have built it."""
    match term:
        case And(terms):
            return all_of(_simplify(item) for item in terms)
        case Or(terms):
            return any_of(_simplify(item) for item in terms)
        case Not(inner):
            return negate(_simplify(inner))
        case Compare():
            return term
        case _:
            assert_never(term)


def _member(term: Expression, schema: Schema) -> Rule | Group:
    match term:
        case And(terms):
            return Group("and", members=tuple(_member(item, schema) for item in terms))
        case Or(()):
            raise FilterError(
                "this filter matches no case at all, and the form has no rows for that; remove "
                "the empty list from it"
            )
        case Or(terms):
            return Group("or", members=tuple(_member(item, schema) for item in terms))
        case Not(inner):
            return _negate_member(_member(inner, schema))
        case Compare():
            return _row(term, schema)
        case _:
            assert_never(term)


def _negate_member(member: Rule | Group) -> Rule | Group:
    match member:
        case Rule(field, operator, value) if operator in INVERSE:
            return Rule(field, INVERSE[operator], value)
        case Group(combinator, False, members):
            return Group(combinator, True, members)
        case _:
            return Group("and", True, (member,))


def _row(term: Compare, schema: Schema) -> Rule | Group:
    field = schema.resolve(term.field) if isinstance(term.field, str) else term.field
    name = reference_name(field, schema)
    match term.op, term.value:
        # A bound comparison has None here, where an unbound one has True or False.
        case "isna", value:
            return Rule(name, "isna" if value is None or value else "notna")
        case (("eq" | "in"), tuple() as values):
            return _membership_rows(name, field, values)
        case "ne", tuple() as values:
            return _negate_member(_membership_rows(name, field, values))
        case ("eq" | "ne") as operator, value:
            row = _equality_row(name, field, value)
            return row if operator == "eq" else _negate_member(row)
        case "between", (low, high):
            return Rule(name, "between", (_row_value(field, low), _row_value(field, high)))
        case operator, value:
            return Rule(name, operator, _row_value(field, value))


def reference_name(field: Field, schema: Schema) -> str:
    """Return a name that resolves to the field again: the id if the schema does not list it."""
    return field.column if schema.find(field.column) == field else field.id


def _equality_row(name: str, field: Field, value: Any) -> Rule:
    if is_missing(value):
        return Rule(name, "isna")
    row_value = _row_value(field, value)
    return Rule(name, "in", (row_value,)) if field.type == "select" else Rule(name, "eq", row_value)


def _membership_rows(name: str, field: Field, values: tuple[Any, ...]) -> Rule | Group:
    """Return one row for a list; missing values and values of another type get their own rows."""
    if not values:
        raise FilterError(
            f"{field.column!r} is compared with an empty list, and the form has no row for that; "
            "give a value, or remove the condition"
        )
    # By repr, because True equals 1.
    rows = list(
        {repr(row): row for row in (_equality_row(name, field, value) for value in values)}.values()
    )
    list_values = tuple(item for row in rows if _fits_list(row, field) for item in _values(row))
    other_rows = [row for row in rows if not _fits_list(row, field)]
    if not list_values:
        return other_rows[0] if len(other_rows) == 1 else Group("or", members=tuple(other_rows))
    list_row = Rule(name, "in", list_values)
    if other_rows:
        return Group("or", members=(list_row, *other_rows))
    return _equality_if_single(list_row, field)


def _equality_if_single(row: Rule, field: Field) -> Rule:
    """Return an equality for a list of one value, if the field has that operator."""
    is_equality = len(row.value) == 1 and OPERATORS["eq"] in operators_for(field)
    return Rule(row.field, "eq", row.value[0]) if is_equality else row


def _fits_list(row: Rule, field: Field) -> bool:
    """Return whether the value of a row can be a line of a list without changing its type."""
    if row.operator == "isna" or OPERATORS["in"] not in operators_for(field):
        return False
    return field.type != "any" or isinstance(row.value, str)


def _values(row: Rule) -> tuple[Any, ...]:
    return row.value if isinstance(row.value, tuple) else (row.value,)


def _row_value(field: Field, value: Any) -> Any:
    """Return a value as a row shows it: a time as text, an option by its value."""
    if isinstance(value, timedelta | np.timedelta64):
        return pd.Timedelta(value)
    if isinstance(value, np.datetime64):
        return _numpy_time_text(field, value)
    if isinstance(value, np.generic):
        return _row_value(field, value.item())
    if isinstance(value, pd.Period):
        return _period_text(field, value)
    if isinstance(value, datetime):
        return _timestamp_text(pd.Timestamp(value))
    if isinstance(value, date):
        return value.isoformat()
    return _builtin_value(field, value)


def _builtin_value(field: Field, value: Any) -> Any:
    """Return text and numbers of subclasses, such as enumerations, as the built-in types."""
    match value:
        case bool():
            return value
        case str():
            text = str.__str__(value)
            return _option_value(field, text.strip() if field.type == "datetime" else text)
        case int():
            return int(value)
        case _:
            return float(value)


def _timestamp_text(timestamp: pd.Timestamp) -> str:
    """Return an instant as ISO 8601."""
    # Offsets before about 1900 have seconds, which filters reject.
    offset = timestamp.utcoffset()
    has_seconds = offset is not None and offset % timedelta(minutes=1)
    return (timestamp.tz_convert("UTC") if has_seconds else timestamp).isoformat()


def _numpy_time_text(field: Field, value: np.datetime64) -> str:
    unit, _ = np.datetime_data(value.dtype)
    if unit == "W":
        raise _no_row_error(field, value)
    return str(value) if unit in ("Y", "M", "D") else _timestamp_text(pd.Timestamp(value))


def _period_text(field: Field, value: pd.Period) -> str:
    if value.freqstr[0] not in "YMD" or "-" in value.freqstr.removesuffix("-DEC"):
        raise _no_row_error(field, value)
    return str(value)


def _no_row_error(field: Field, value: object) -> FilterError:
    return FilterError(
        f"{field.column!r} is compared with {value!r}, but the form has rows only for years, "
        "months and days; give a pair of days with __between"
    )


def _option_value(field: Field, value: Any) -> Any:
    """Return the value of an option that was named by its label."""
    if any(option.value == value for option in field.options):
        return value
    matches = [option.value for option in field.options if option.label == value]
    return matches[0] if len(matches) == 1 else value
