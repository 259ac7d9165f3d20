"""A question in, the code that asks it out: ``df = cs.read_cases(source, …)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

import pandas as pd

from casesearch_pd.query.expr import And, Compare, Expression, Not, Or, literals

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["as_code", "in_code"]

_LINE = 88  # characters
_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def as_code(arguments: Mapping[str, Any]) -> str:
    """Write the call that reads a frame.

    Parameters
    ----------
    arguments
        What `read_cases` is given besides the source.

    Examples
    --------
    >>> print(as_code({"status": "open", "limit": 20}))
    df = cs.read_cases(source, status="open", limit=20)
    """
    given = ["source", *(_argument(name, value) for name, value in arguments.items())]
    line = f"df = cs.read_cases({', '.join(given)})"
    if len(line) > _LINE:
        line = "\n".join(["df = cs.read_cases(", *(f"    {item}," for item in given), ")"])
    return (
        f"import pandas as pd\n\n{line}" if _has_span(arguments.get("where"), arguments) else line
    )


def _has_span(where: Expression | None, arguments: Mapping[str, Any]) -> bool:
    """Tell whether some value is a time from now, which only pandas can write."""
    compared = [] if where is None else [literal.value for literal in literals(where)]
    values = [*arguments.values(), *compared]
    flat = [item for value in values for item in (value if isinstance(value, _MANY) else (value,))]
    return any(isinstance(item, pd.Timedelta) for item in flat)


_MANY = (list, tuple)


def _argument(name: str, value: Any) -> str:
    if name == "where":
        return in_code(value)
    return f"{name}={_value(value)}"


def in_code(term: Expression) -> str:
    """Write an expression as it is typed.

    >>> from casesearch_pd.query.names import field
    >>> in_code((field("status") == "open") & ~field("queue").isna())
    '(cs.field("status") == "open") & cs.field("queue").notna()'
    """
    match term:
        case Compare():
            return _compared(term)
        case Not(Compare(field, "isna", True)):
            return f"{_field(field)}.notna()"
        case Not(inner):
            return f"~{_in_brackets(inner)}"
        case And(terms):
            return " & ".join(map(_in_brackets, terms))
        case Or(terms):
            return " | ".join(map(_in_brackets, terms))
        case _:
            assert_never(term)


def _in_brackets(term: Expression) -> str:
    written = in_code(term)
    bare = isinstance(term, Not) or (isinstance(term, Compare) and term.op not in _SIGNS)
    return written if bare else f"({written})"


def _compared(term: Compare) -> str:
    name, value = _field(term.field), term.value
    match term.op:
        case "isna":
            return f"{name}.isna()"
        case "in":
            return f"{name}.isin({_value(list(value))})"
        case "between":
            return f"{name}.between({_value(value[0])}, {_value(value[1])})"
        case "contains":
            return f"{name}.contains({_value(value)})"
        case op:
            return f"{name} {_SIGNS[op]} {_value(value)}"


def _field(field: Any) -> str:
    return f"cs.field({_value(field if isinstance(field, str) else field.column)})"


def _value(value: Any) -> str:
    match value:
        case str():
            return _text(value)
        case pd.Timedelta():
            return _span(value)
        case tuple():
            return f"({', '.join(map(_value, value))})"
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return (
                f"{{{', '.join(f'{_value(key)}: {_value(held)}' for key, held in value.items())}}}"
            )
        case _:
            return repr(value)


def _text(value: str) -> str:
    """Write text in double quotes, as formatters do."""
    written = repr(value)
    if written[0] == '"' or '"' in value:
        return written
    return '"' + written[1:-1] + '"'


def _span(span: pd.Timedelta) -> str:
    for unit in ("days", "hours", "minutes", "seconds"):
        whole = pd.Timedelta(1, unit)
        if not span % whole:
            return f"pd.Timedelta({unit}={span // whole})"
    return f"pd.Timedelta({str(span)!r})"
