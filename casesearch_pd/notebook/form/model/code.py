"""A question in, the code that asks it out: ``df = cs.read_cases(source, …)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

import pandas as pd

from casesearch_pd.query.expr import And, Compare, Expression, Not, Or, literals

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["as_code", "in_code"]

_LINE = 88  # characters
_STEP = "    "
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
    flat = ["source", *(_argument(name, value) for name, value in arguments.items())]
    line = f"df = cs.read_cases({', '.join(flat)})"
    if len(line) > _LINE:
        laid = ["source", *(_laid_argument(name, value) for name, value in arguments.items())]
        line = "\n".join(["df = cs.read_cases(", *(f"{_STEP}{item}," for item in laid), ")"])
    needs_pandas = _has_span(arguments.get("where"), arguments)
    return f"import pandas as pd\n\n{line}" if needs_pandas else line


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
        case Not(Compare(field)) if _is_there(term):
            return f"{_field(field)}.notna()"
        case Not(inner):
            return f"~{_in_brackets(inner)}"
        case And(terms):
            return " & ".join(map(_in_brackets, terms))
        case Or(terms):
            return " | ".join(map(_in_brackets, terms))
        case _:
            assert_never(term)


def _is_there(term: Not) -> bool:
    return isinstance(term.term, Compare) and term.term.op == "isna"


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


# --- on several lines -------------------------------------------------------------------


def _laid_argument(name: str, value: Any) -> str:
    if name == "where":
        return _laid(value, _STEP)
    flat = _value(value)
    if _fits(f"{name}={flat}", _STEP) or not isinstance(value, (list, dict)):
        return f"{name}={flat}"
    return f"{name}={_filled(value, _STEP)}"


def _fits(written: str, pad: str) -> bool:
    return len(pad) + len(written) < _LINE


def _laid(term: Expression, pad: str) -> str:
    """Write an expression within brackets that stand around it, a line for each of its terms."""
    flat = in_code(term)
    match term:
        case _ if _fits(flat, pad):
            return flat
        case And(terms):
            return f"\n{pad}& ".join(_laid_in_brackets(item, pad) for item in terms)
        case Or(terms):
            return f"\n{pad}| ".join(_laid_in_brackets(item, pad) for item in terms)
        case Not(inner) if not _is_there(term):
            return f"~{_laid_in_brackets(inner, pad)}"
        case Compare(field, "in", value):
            return f"{_field(field)}.isin({_filled(list(value), pad)})"
        case _:
            return flat


def _laid_in_brackets(term: Expression, pad: str) -> str:
    flat = _in_brackets(term)
    if _fits(f"& {flat}", pad):
        return flat
    if not flat.startswith("("):
        return _laid(term, pad)
    return f"(\n{pad}{_STEP}{_laid(term, pad + _STEP)}\n{pad})"


def _filled(items: list[Any] | dict[str, str], pad: str) -> str:
    """Write a long list or mapping with as many items a line as fit."""
    held = _value(items)
    written = (
        [f"{_value(key)}: {_value(item)}" for key, item in items.items()]
        if isinstance(items, dict)
        else [*map(_value, items)]
    )
    lines: list[str] = []
    for item in written:
        if lines and _fits(f"{lines[-1]} {item},", pad + _STEP):
            lines[-1] += f" {item},"
        else:
            lines.append(f"{item},")
    inner = "".join(f"\n{pad}{_STEP}{line}" for line in lines)
    return f"{held[0]}{inner}\n{pad}{held[-1]}"


# --- values -----------------------------------------------------------------------------


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
    return f"pd.Timedelta({_text(str(span))})"
