"""A bound filter in, SQL out: values are parameters, and each means what the local mask means.

SQL has three truth values and the filter language two. In a condition that is not negated a NULL
drops the row as FALSE does; so every negation is moved inward, where ``IS NOT TRUE`` flips one
comparison by the language's own rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

import pandas as pd

from casesearch_pd.mirror.metadata import quote_identifier
from casesearch_pd.mirror.storage import irregular_letters
from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or, to_nnf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.mirror.metadata import StoredColumn

__all__ = ["SqlCondition", "to_sql"]

_SIGNS = {"eq": "=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_WIDEST = 2**63
_NEVER, _PRESENT = "FALSE", "IS NOT NULL"


@dataclass
class SqlCondition:
    """A condition in SQL.

    Parameters
    ----------
    kept
        What there is to compare, by column.
    parameters
        The parameters so far, in order.
    sql
        The condition.
    """

    kept: Mapping[str, StoredColumn]
    parameters: list[Any] = field(default_factory=list)
    sql: str = "TRUE"

    def _with(self, value: object) -> str:
        self.parameters.append(value)
        return "?"

    # --- the tree ---

    def written(self, term: Expression) -> str:
        """Write a tree whose negations stand at its comparisons."""
        match term:
            case Compare():
                return self._compared(term)
            case Not(Compare() as inner):
                return f"({self._compared(inner)}) IS NOT TRUE"
            case And(terms):
                return " AND ".join(self._in_brackets(one) for one in terms) or "TRUE"
            case Or(terms):
                return " OR ".join(self._any_of(terms)) or _NEVER
            case Not():
                raise AssertionError(term)  # negations stand at the comparisons by now
            case _:
                assert_never(term)

    def _in_brackets(self, term: Expression) -> str:
        return f"({self.written(term)})"

    def _any_of(self, terms: tuple[Expression, ...]) -> list[str]:
        """Write the texts that one column may equal as one list, which is looked up."""
        equal: dict[str, list[str]] = {}
        others = []
        for term in terms:
            if isinstance(term, Compare) and term.op == "eq" and _is_text(term.value):
                equal.setdefault(term.target.column, []).append(term.value)
            else:
                others.append(term)
        listed = [self._listed(column, texts) for column, texts in equal.items()]
        return [*listed, *(self._in_brackets(term) for term in others)]

    def _listed(self, column: str, texts: list[str]) -> str:
        asked = ", ".join(self._with(text) for text in texts)
        return f"{self._name(column)} IN ({asked})"

    # --- one comparison ---

    def _name(self, column: str) -> str:
        return quote_identifier(self.kept[column].name)

    def _compared(self, literal: Compare) -> str:
        kept, op, value = self.kept[literal.target.column], literal.op, literal.value
        name = quote_identifier(kept.name)
        if op == "isna":
            return f"{name} IS NULL"
        if op == "contains":
            return self._contains(kept, value)
        match value:
            case pd.Timestamp():
                return f"{name} {_SIGNS[op]} {self._with(value.to_pydatetime())}::TIMESTAMPTZ"
            case str():
                return self._text(name, op, value)
            case int() | float() if not isinstance(value, bool):
                exact = _whole if kept.field.type == "integer" else _double
                return self._number(name, *exact(op, value))
            case _:
                return f"{name} {_SIGNS[op]} {self._with(value)}"

    def _number(self, name: str, op: str, value: float | None) -> str:
        return f"{name} {op}" if value is None else f"{name} {_SIGNS[op]} {self._with(value)}"

    def _text(self, name: str, op: str, value: str) -> str:
        if _is_text(value):
            return f"{name} {_SIGNS[op]} {self._with(value)}"
        if op == "eq":  # half a character, which no case holds
            return _NEVER
        there = value.encode("utf-8", "surrogatepass")
        return f"encode({name}) {_SIGNS[op]} {self._with(there)}::BLOB"

    def _contains(self, kept: StoredColumn, value: str) -> str:
        name = quote_identifier(kept.name)
        if not _is_text(value):
            return _NEVER
        match kept.form:
            case "lists":
                return f"list_contains({name}, {self._with(value)})"
            case "json":
                return f"has_member({name}, {self._with(value)})"
            case _:
                return self._substring(name, value.casefold())

    def _substring(self, name: str, folded: str) -> str:
        """Look into the folded text; most need not be folded letter by letter.

        Of ASCII, lower() is casefold(), and quicker by far. Of other texts it can tell whether a
        part of ASCII is in them, unless there are letters in them that fold into ASCII.
        """
        quick = f"contains(lower({name}), {self._with(folded)})"
        sql = f"CASE WHEN strlen({name}) = length({name}) THEN {quick}"
        if folded.isascii():
            odd = f"regexp_matches({name}, {self._with(irregular_letters())})"
            sql += f" WHEN NOT {odd} THEN contains(lower({name}), {self._with(folded)})"
        return f"{sql} ELSE contains(casefold({name}), {self._with(folded)}) END"


def to_sql(where: Expression, kept: Mapping[str, StoredColumn]) -> SqlCondition:
    """Write a bound filter as a condition.

    Parameters
    ----------
    where
        The filter.
    kept
        What there is to compare, by column.
    """
    made = SqlCondition(kept)
    made.sql = made.written(to_nnf(where))
    return made


def _is_text(value: object) -> bool:
    """Tell text that a file can hold from text with half a character in it, and from no text."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- numbers ------------------------------------------------------------------------------


def _whole(op: str, value: float) -> tuple[str, int | None]:
    """Compare whole numbers of 64 bits with any number, without rounding either."""
    low, high = math.floor(value), math.ceil(value)
    if op == "eq":
        return ("eq", low) if low == high and -_WIDEST <= low < _WIDEST else (_NOTHING, None)
    if op in ("lt", "lte"):
        bound, op = (low, "lte") if low != high else (low, op)
        beyond, never = bound >= _WIDEST, bound < -_WIDEST
    else:
        bound, op = (high, "gte") if low != high else (high, op)
        beyond, never = bound < -_WIDEST, bound >= _WIDEST
    if beyond or never:
        return (_PRESENT if beyond else _NOTHING), None
    return op, bound


_NOTHING = "IS NULL AND FALSE"


def _double(op: str, value: float) -> tuple[str, float | None]:
    """Compare doubles with any number: between two doubles, with the nearer one."""
    below, above = _around(value)
    if below == above:
        return op, below
    if op == "eq":
        return _NOTHING, None
    return ("lte", below) if op in ("lt", "lte") else ("gte", above)


def _around(value: float) -> tuple[float, float]:
    """Find the doubles on both sides of a number; twice the same if it is one itself."""
    try:
        near = float(value)
    except OverflowError:
        largest = math.nextafter(math.inf, 0)
        return (largest, math.inf) if value > 0 else (-math.inf, -largest)
    if near == value:
        return near, near
    if near > value:
        return math.nextafter(near, -math.inf), near
    return near, math.nextafter(near, math.inf)
