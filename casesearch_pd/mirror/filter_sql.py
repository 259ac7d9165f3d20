"""Translate a bound filter to SQL in which each comparison means the same as for a frame.

SQL has three truth values and the filter language two. A condition that is not negated drops a row
for NULL as for FALSE, so all negations are moved to the comparisons, where ``IS NOT TRUE`` inverts
one by the rules of the language.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, assert_never

import pandas as pd
import pyarrow as pa

from casesearch_pd.mirror.metadata import quote_identifier
from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or, to_nnf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.mirror.metadata import StoredColumn

__all__ = ["SqlCondition", "casefold_array", "has_member", "irregular_letters", "to_sql"]

_OPERATORS = {"eq": "=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_INT64_END = 2**63
_NEVER = "FALSE"
_MATCHES_NONE = "IS NULL AND FALSE"  # after a column: no row
_MATCHES_ANY = "IS NOT NULL"  # after a column: every row that has a value
_MAX_LIST = 50  # values that are written one by one
_UNICODE_END = 0x10000  # no letter from here on casefolds to ASCII


@dataclass
class SqlCondition:
    """A condition in SQL and the values of its placeholders, in order."""

    columns: Mapping[str, StoredColumn]  # by column name in frames
    parameters: list[Any] = field(default_factory=list)
    sql: str = "TRUE"

    def write(self, term: Expression) -> str:
        """Return the SQL of an expression in negation normal form, and add its parameters."""
        match term:
            case Compare():
                return self._comparison(term)
            case Not(Compare() as inner):
                return f"({self._comparison(inner)}) IS NOT TRUE"
            case And(terms):
                return " AND ".join(self._terms(terms, negated=True)) or "TRUE"
            case Or(terms):
                return " OR ".join(self._terms(terms, negated=False)) or _NEVER
            case Not():
                raise AssertionError(term)
            case _:
                assert_never(term)

    def _terms(self, terms: tuple[Expression, ...], *, negated: bool) -> list[str]:
        """Return the terms of an OR, with one list of all values that a column may equal.

        Those of an AND (`negated`) have one list of all values that a column must not equal.
        """
        lists: dict[tuple[str, str], list[Any]] = {}  # by column and type
        others: list[Expression] = []
        for term in terms:
            comparison = term.term if negated and isinstance(term, Not) else term
            value = None
            if isinstance(comparison, Compare) and isinstance(term, Not) == negated:
                value = self._list_value(comparison)
            if value is None:
                others.append(term)
            else:
                column, kind, item = value
                lists.setdefault((column, kind), []).append(item)
        sql = [self._in_list(*key, values) for key, values in lists.items()]
        if negated:
            sql = [f"({text}) IS NOT TRUE" for text in sql]
        return [*sql, *(f"({self.write(term)})" for term in others)]

    def _list_value(self, comparison: Compare) -> tuple[str, str, Any] | None:
        """Return column, SQL type and value of a comparison that can be one of an IN list."""
        column, value = comparison.target.column, comparison.value
        if comparison.op != "eq":
            return None
        if isinstance(value, pd.Timestamp):
            return column, "TIMESTAMPTZ", value.to_pydatetime()
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            is_integer = self.columns[column].field.type == "integer"
            op, number = (_int64_bound if is_integer else _double_bound)("eq", value)
            return (column, "BIGINT" if is_integer else "DOUBLE", number) if op == "eq" else None
        return (column, "VARCHAR", value) if _is_valid_text(value) else None

    def _in_list(self, column: str, kind: str, values: list[Any]) -> str:
        name = quote_identifier(self.columns[column].name)
        if len(values) > _MAX_LIST:
            # DuckDB compares with each item of a list, but looks values of a table up.
            return f"{name} IN (SELECT unnest({self._placeholder(values)}::{kind}[]))"
        cast = "" if kind == "VARCHAR" else f"::{kind}"
        return f"{name} IN ({', '.join(self._placeholder(value) + cast for value in values)})"

    def _placeholder(self, value: object) -> str:
        self.parameters.append(value)
        return "?"

    def _comparison(self, comparison: Compare) -> str:
        column, op, value = self.columns[comparison.target.column], comparison.op, comparison.value
        name = quote_identifier(column.name)
        if op == "isna":
            return f"{name} IS NULL"
        if op == "contains":
            return self._contains(column, value)
        match value:
            case pd.Timestamp():
                placeholder = self._placeholder(value.to_pydatetime())
                return f"{name} {_OPERATORS[op]} {placeholder}::TIMESTAMPTZ"
            case str():
                return self._compare_text(name, op, value)
            case int() | float() if not isinstance(value, bool):
                integer = column.field.type == "integer"
                return self._compare_number(
                    name, *(_int64_bound(op, value) if integer else _double_bound(op, value))
                )
            case _:
                return f"{name} {_OPERATORS[op]} {self._placeholder(value)}"

    def _compare_number(self, name: str, op: str, value: float | None) -> str:
        if value is None:
            return f"{name} {op}"
        return f"{name} {_OPERATORS[op]} {self._placeholder(value)}"

    def _compare_text(self, name: str, op: str, value: str) -> str:
        if _is_valid_text(value):
            return f"{name} {_OPERATORS[op]} {self._placeholder(value)}"
        if op == "eq":  # no stored text has a lone surrogate
            return _NEVER
        encoded = value.encode("utf-8", "surrogatepass")
        return f"encode({name}) {_OPERATORS[op]} {self._placeholder(encoded)}::BLOB"

    def _contains(self, column: StoredColumn, value: str) -> str:
        name = quote_identifier(column.name)
        if not _is_valid_text(value):
            return _NEVER
        match column.form:
            case "lists":
                return f"list_contains({name}, {self._placeholder(value)})"
            case "json":
                return f"has_member({name}, {self._placeholder(value)})"
            case _:
                return self._substring(name, value.casefold())

    def _substring(self, name: str, folded: str) -> str:
        """Return a search in casefolded text that rarely calls the slow `casefold`."""
        # For ASCII text lower() is casefold(), and much faster. For other text it finds an ASCII
        # substring just as well, unless the text has letters that casefold to ASCII.
        fast = f"contains(lower({name}), {self._placeholder(folded)})"
        sql = f"CASE WHEN strlen({name}) = length({name}) THEN {fast}"
        if folded.isascii():
            irregular = f"regexp_matches({name}, {self._placeholder(irregular_letters())})"
            fast = f"contains(lower({name}), {self._placeholder(folded)})"
            sql += f" WHEN NOT {irregular} THEN {fast}"
        return f"{sql} ELSE contains(casefold({name}), {self._placeholder(folded)}) END"


def to_sql(where: Expression, columns: Mapping[str, StoredColumn]) -> SqlCondition:
    """Return a bound filter as a condition on stored columns."""
    condition = SqlCondition(columns)
    condition.sql = condition.write(to_nnf(where))
    return condition


def _is_valid_text(value: object) -> bool:
    """Return whether a value is text that UTF-8 can store: without lone surrogates."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _int64_bound(op: str, value: float) -> tuple[str, int | None]:
    """Return the operator and the 64-bit integer that compare as any number does."""
    low, high = math.floor(value), math.ceil(value)
    if op == "eq":
        fits = low == high and -_INT64_END <= low < _INT64_END
        return ("eq", low) if fits else (_MATCHES_NONE, None)
    # A fraction is between two integers: "below 2.5" is "at most 2".
    if op in ("lt", "lte"):
        bound, op = (low, "lte") if low != high else (low, op)
        always, never = bound >= _INT64_END, bound < -_INT64_END
    else:
        bound, op = (high, "gte") if low != high else (high, op)
        always, never = bound < -_INT64_END, bound >= _INT64_END
    if always or never:
        return (_MATCHES_ANY if always else _MATCHES_NONE), None
    return op, bound


def _double_bound(op: str, value: float) -> tuple[str, float | None]:
    """Return the operator and the double that compare as any number does."""
    below, above = _adjacent_doubles(value)
    if below == above:
        return op, below
    if op == "eq":
        return _MATCHES_NONE, None
    return ("lte", below) if op in ("lt", "lte") else ("gte", above)


def _adjacent_doubles(value: float) -> tuple[float, float]:
    """Return the doubles below and above a number; the same twice if it is a double itself."""
    try:
        nearest = float(value)
    except OverflowError:
        largest = math.nextafter(math.inf, 0)
        return (largest, math.inf) if value > 0 else (-math.inf, -largest)
    if nearest == value:
        return nearest, nearest
    if nearest > value:
        return math.nextafter(nearest, -math.inf), nearest
    return nearest, math.nextafter(nearest, math.inf)


def casefold_array(texts: pa.ChunkedArray) -> pa.Array:
    """Return casefolded texts, as filters on frames compare them; lower() keeps ß and SS apart."""
    folded = [None if text is None else text.casefold() for text in texts.to_pylist()]
    return pa.array(folded, pa.large_string())


def has_member(cells: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.Array:
    """Return whether lists stored as JSON contain a text."""
    pairs = zip(cells.to_pylist(), values.to_pylist(), strict=True)
    return pa.array([_contains_value(cell, value) for cell, value in pairs], pa.bool_())


def _contains_value(cell: str | None, value: str | None) -> bool:
    members = None if cell is None else json.loads(cell)
    return isinstance(members, list) and value in members


@cache
def irregular_letters() -> str:
    """Return a pattern of the non-ASCII letters that casefold to ASCII, such as ß and ﬁ."""
    letters = (chr(code) for code in range(0x80, _UNICODE_END))
    irregular = (char for char in letters if any(part.isascii() for part in char.casefold()))
    return f"[{re.escape(''.join(irregular))}]"
