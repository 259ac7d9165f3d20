"""A tree to an expression of the filter language, and back.

Back is a reading: whatever `read_cases` takes is found its rows, if the form has rows for it. An
expression that it has none for (an empty any-of, a week) is refused with the reason; nothing is
left out.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.notebook.form.entries import from_lines, to_text
from casesearch_pd.notebook.form.operators import INVERSE, OPERATORS, fitting
from casesearch_pd.notebook.form.tree import Group, Rule
from casesearch_pd.query.expr import And, Compare, Expression, Not, Or, all_of, any_of, negate
from casesearch_pd.query.values import is_missing

if TYPE_CHECKING:
    from casesearch_pd.query.schema import Field, Schema

__all__ = ["from_expression", "is_finished", "to_expression"]


def is_finished(rule: Rule) -> bool:
    """Tell whether a rule says something: a field, and the values that its operator takes."""
    if not rule.field or rule.operator not in OPERATORS:
        return False
    match OPERATORS[rule.operator].takes:
        case "none":
            return True
        case "many":
            return bool(rule.value)
        case "pair":
            return isinstance(rule.value, tuple) and None not in rule.value
        case "one":
            return rule.value is not None


def to_expression(member: Rule | Group) -> Expression:
    """Say what a tree means; rules that are not finished say nothing.

    >>> rules = (Rule("status", "in", ("open",)), Rule("queue", "contains", "a"))
    >>> to_expression(Group("or", members=rules))
    (field('status') == 'open') | field('queue').contains('a')
    """
    if isinstance(member, Rule):
        return _compared(member)
    said = [item for item in member.members if isinstance(item, Group) or is_finished(item)]
    terms = [to_expression(item) for item in said if not _is_empty(item)]
    joined = any_of(terms) if member.combinator == "or" and terms else all_of(terms)
    return negate(joined) if member.negated and terms else joined


def _is_empty(member: Rule | Group) -> bool:
    """Tell whether a group asks for nothing; one that was just added keeps every case."""
    if isinstance(member, Rule):
        return not is_finished(member)
    return all(_is_empty(item) for item in member.members)


def _compared(rule: Rule) -> Expression:
    match rule.operator:
        case "in" if len(rule.value) == 1:
            return Compare(rule.field, "eq", rule.value[0])
        case "not in":
            return negate(_compared(Rule(rule.field, "in", rule.value)))
        case "not contains":
            return negate(Compare(rule.field, "contains", rule.value))
        case "missing":
            return Compare(rule.field, "isna", value=True)
        case "there":
            return negate(Compare(rule.field, "isna", value=True))
        case operator:
            return Compare(rule.field, operator, rule.value)


# --- back -------------------------------------------------------------------------------


def from_expression(expression: Expression, schema: Schema) -> Group:
    """Find the rows that say an expression.

    Parameters
    ----------
    expression
        What `read_cases` would take; its names and values fit the schema.
    schema
        The fields of the source.

    Raises
    ------
    FilterError
        If the form has no rows for it.
    """
    read = _read(expression, schema)
    return read if isinstance(read, Group) else Group(members=(read,))


def _read(term: Expression, schema: Schema) -> Rule | Group:
    match term:
        case And(terms):
            return Group("and", members=tuple(_read(item, schema) for item in terms))
        case Or(()):
            raise FilterError(
                "this filter keeps no case at all, which the form has no rows for; leave out the "
                "empty list in it"
            )
        case Or(terms):
            return Group("or", members=tuple(_read(item, schema) for item in terms))
        case Not(inner):
            return _negated(_read(inner, schema))
        case Compare():
            return _row(term, schema)
        case _:
            assert_never(term)


def _negated(member: Rule | Group) -> Rule | Group:
    match member:
        case Rule(field, operator, value) if operator in INVERSE:
            return Rule(field, INVERSE[operator], value)
        case Group(combinator, False, members):
            return Group(combinator, True, members)
        case _:
            return Group("and", True, (member,))


def _row(term: Compare, schema: Schema) -> Rule | Group:
    field = schema.resolve(term.field) if isinstance(term.field, str) else term.field
    name = _name(field, schema)
    match term.op, term.value:
        case "isna", asked:
            return Rule(name, "missing" if asked else "there")
        case (("eq" | "in"), tuple() as values):
            return _any_of(name, field, values)
        case "ne", tuple() as values:
            return _negated(_any_of(name, field, values))
        case ("eq" | "ne") as operator, value:
            equal = _equal(name, field, value)
            return equal if operator == "eq" else _negated(equal)
        case "between", (low, high):
            return Rule(name, "between", (_plain(field, low), _plain(field, high)))
        case operator, value:
            return Rule(name, operator, _plain(field, value))


def _name(field: Field, schema: Schema) -> str:
    """Name a field so that it is found again: one that no schema told goes by its id."""
    return field.column if schema.find(field.column) == field else field.id


def _equal(name: str, field: Field, value: Any) -> Rule:
    if is_missing(value):
        return Rule(name, "missing")
    plain = _plain(field, value)
    return Rule(name, "in", (plain,)) if field.type == "select" else Rule(name, "eq", plain)


def _any_of(name: str, field: Field, values: tuple[Any, ...]) -> Rule | Group:
    """Find a row for any-of; missing values, and text of several lines, have rows of their own."""
    if not values:
        raise FilterError(
            f"{field.column!r} is compared with an empty list, which the form has no row for; "
            "give a value, or leave the condition out"
        )
    rows = {repr(row): row for row in (_equal(name, field, value) for value in values)}
    listed = [row for row in rows.values() if _fits_a_list(row, field)]
    apart = [row for row in rows.values() if row not in listed]
    if len(listed) > 1 or (listed and not apart):
        flat = {to_text(item): item for row in listed for item in _members(row)}
        listed = [Rule(name, "in", tuple(flat.values()))]
    members = (*listed, *apart)
    return members[0] if len(members) == 1 else Group("or", members=members)


def _fits_a_list(row: Rule, field: Field) -> bool:
    """Tell whether a value can be a line among others, and is what that line would be read as."""
    if row.operator == "missing" or OPERATORS["in"] not in fitting(field):
        return False
    read = [from_lines(field.type, to_text(item)) for item in _members(row)]
    return [repr(item) for item in read] == [repr((item,)) for item in _members(row)]


def _members(row: Rule) -> tuple[Any, ...]:
    return row.value if isinstance(row.value, tuple) else (row.value,)


def _plain(field: Field, value: Any) -> Any:
    """Write a value as a row shows it: times as text, choices by their value."""
    if isinstance(value, timedelta | np.timedelta64):
        return pd.Timedelta(value)
    if isinstance(value, np.datetime64):
        return _time_of_numpy(field, value)
    if isinstance(value, np.generic):
        return _plain(field, value.item())
    if isinstance(value, pd.Period):
        return _period(field, value)
    if isinstance(value, datetime):
        return pd.Timestamp(value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if field.type == "select":
        return _choice(field, value)
    return value if isinstance(value, str | bool | int | float) else float(value)


def _time_of_numpy(field: Field, value: np.datetime64) -> str:
    unit, _ = np.datetime_data(value.dtype)
    if unit == "W":
        raise _no_row(field, value)
    return str(value) if unit in ("Y", "M", "D") else pd.Timestamp(value).isoformat()


def _period(field: Field, value: pd.Period) -> str:
    if value.freqstr[0] not in "YMD" or "-" in value.freqstr.removesuffix("-DEC"):
        raise _no_row(field, value)
    return str(value)


def _no_row(field: Field, value: object) -> FilterError:
    return FilterError(
        f"{field.column!r} is compared with {value!r}, and the form knows years, months and days; "
        "write a pair of days with __between"
    )


def _choice(field: Field, value: Any) -> Any:
    """Take a choice by its value, where it was named by its label."""
    if any(option.value == value for option in field.options):
        return value
    by_label = [option.value for option in field.options if option.label == value]
    return by_label[0] if len(by_label) == 1 else value
