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

__all__ = ["from_expression", "is_complete", "name_of", "to_expression"]


_PAIR = 2


def is_complete(rule: Rule) -> bool:
    """Tell whether a rule says something: a field, and the values that its operator takes."""
    if not rule.field or rule.operator not in OPERATORS:
        return False
    value = rule.value
    match OPERATORS[rule.operator].takes:
        case "none":
            return True
        case "many":
            return isinstance(value, tuple) and value != () and None not in value
        case "pair":
            return isinstance(value, tuple) and len(value) == _PAIR and None not in value
        case "one":
            return value is not None and not isinstance(value, tuple)


def to_expression(member: Rule | Group) -> Expression:
    """Say what a tree means; rules that are not finished say nothing.

    >>> rules = (Rule("status", "in", ("open",)), Rule("queue", "contains", "a"))
    >>> to_expression(Group("or", members=rules))
    (field('status') == 'open') | field('queue').contains('a')
    """
    if isinstance(member, Rule):
        return _compared(member) if is_complete(member) else TRUE
    terms = [to_expression(item) for item in member.members if not _is_empty(item)]
    joined = any_of(terms) if member.combinator == "or" and terms else all_of(terms)
    return _denied(joined) if member.negated and terms else joined


def _is_empty(member: Rule | Group) -> bool:
    """Tell whether a group asks for nothing; one that was just added keeps every case."""
    if isinstance(member, Rule):
        return not is_complete(member)
    return all(_is_empty(item) for item in member.members)


def _compared(rule: Rule) -> Expression:
    match rule.operator:
        case "in" | "not in" as operator:
            found = _one_of(rule.field, rule.value)
            return found if operator == "in" else _denied(found)
        case "not contains":
            return negate(Compare(rule.field, "contains", rule.value))
        case "missing":
            return Compare(rule.field, "isna", value=True)
        case "there":
            return negate(Compare(rule.field, "isna", value=True))
        case operator:
            return Compare(rule.field, operator, rule.value)


def _one_of(name: str, values: tuple[Any, ...]) -> Compare:
    """Ask for any of some values, each named once."""
    found = tuple({repr(item): item for item in values}.values())
    return Compare(name, "eq", found[0]) if len(found) == 1 else Compare(name, "in", found)


def _denied(term: Expression) -> Expression:
    """Flip; what has an operator for it takes that, so that one question is written in one way."""
    match term:
        case Compare(field, "eq" | "ne" as op, value):
            return Compare(field, "ne" if op == "eq" else "eq", value)
        case _:
            return negate(term)


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
    read = _group(_folded(expression), schema)
    # Rows of a missing value, found within an any-of, may make groups that fold.
    return _group(to_expression(read), schema)


def _group(expression: Expression, schema: Schema) -> Group:
    read = _read(expression, schema)
    return read if isinstance(read, Group) else Group(members=(read,))


def _folded(term: Expression) -> Expression:
    """Fold what somebody built by hand, node by node."""
    match term:
        case And(terms):
            return all_of(_folded(item) for item in terms)
        case Or(terms):
            return any_of(_folded(item) for item in terms)
        case Not(inner):
            return negate(_folded(inner))
        case Compare():
            return term
        case _:
            assert_never(term)


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
    name = name_of(field, schema)
    match term.op, term.value:
        case "isna", asked:  # a bound comparison has no value here
            return Rule(name, "missing" if asked is None or asked else "there")
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


def name_of(field: Field, schema: Schema) -> str:
    """Name a field so that it is found again: one that no schema told goes by its id."""
    return field.column if schema.find(field.column) == field else field.id


def _equal(name: str, field: Field, value: Any) -> Rule:
    if is_missing(value):
        return Rule(name, "missing")
    plain = _plain(field, value)
    return Rule(name, "in", (plain,)) if field.type == "select" else Rule(name, "eq", plain)


def _any_of(name: str, field: Field, values: tuple[Any, ...]) -> Rule | Group:
    """Find a row for any-of; missing values, and values of other types, have rows of their own."""
    if not values:
        raise FilterError(
            f"{field.column!r} is compared with an empty list, which the form has no row for; "
            "give a value, or leave the condition out"
        )
    rows = list({repr(row): row for row in (_equal(name, field, item) for item in values)}.values())
    held = tuple(item for row in rows if _fits_a_list(row, field) for item in _members(row))
    apart = [row for row in rows if not _fits_a_list(row, field)]
    if not held:
        return apart[0] if len(apart) == 1 else Group("or", members=tuple(apart))
    listed = Rule(name, "in", held)
    return Group("or", members=(listed, *apart)) if apart else _single(listed, field)


def _single(listed: Rule, field: Field) -> Rule:
    """Write any-of one value as equality, where there is an operator for that."""
    alone = len(listed.value) == 1 and OPERATORS["eq"] in operators_for(field)
    return Rule(listed.field, "eq", listed.value[0]) if alone else listed


def _fits_a_list(row: Rule, field: Field) -> bool:
    """Tell whether a value can be a line among others: it is what that line would be read as."""
    if row.operator == "missing" or OPERATORS["in"] not in operators_for(field):
        return False
    return field.type != "any" or isinstance(row.value, str)


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
        return _moment(pd.Timestamp(value))
    if isinstance(value, date):
        return value.isoformat()
    return _typed(field, value)


def _typed(field: Field, value: Any) -> Any:
    """Take text and numbers out of classes of their own, such as enumerations."""
    match value:
        case bool():
            return value
        case str():
            text = str.__str__(value)
            return _choice(field, text.strip() if field.type == "datetime" else text)
        case int():
            return int(value)
        case _:
            return float(value)


def _moment(moment: pd.Timestamp) -> str:
    """Write a time; old offsets had seconds, which no filter takes."""
    offset = moment.utcoffset()
    odd = offset is not None and offset % timedelta(minutes=1)
    return (moment.tz_convert("UTC") if odd else moment).isoformat()


def _time_of_numpy(field: Field, value: np.datetime64) -> str:
    unit, _ = np.datetime_data(value.dtype)
    if unit == "W":
        raise _no_row(field, value)
    return str(value) if unit in ("Y", "M", "D") else _moment(pd.Timestamp(value))


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
