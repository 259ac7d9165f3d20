"""The call of `read_cases` that reads what a form searches for, as Python code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

import pandas as pd

from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or, comparisons

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["expression_code", "read_cases_code"]

_LINE_WIDTH = 88  # characters
_INDENT = "    "
_OPERATORS = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


def read_cases_code(arguments: Mapping[str, Any]) -> str:
    """Return the code of a call of `read_cases`.

    >>> print(read_cases_code({"status": "open", "limit": 20}))
    df = cs.read_cases(source, status="open", limit=20)
    """
    items = ["source", *(_argument(name, value) for name, value in arguments.items())]
    code = f"df = cs.read_cases({', '.join(items)})"
    if len(code) > _LINE_WIDTH:
        items = ["source", *(_argument_lines(name, value) for name, value in arguments.items())]
        code = "\n".join(["df = cs.read_cases(", *(f"{_INDENT}{item}," for item in items), ")"])
    return f"import pandas as pd\n\n{code}" if _needs_pandas(arguments) else code


def _needs_pandas(arguments: Mapping[str, Any]) -> bool:
    """Return whether a value is a time relative to now, which is written with pandas."""
    where: Expression | None = arguments.get("where")
    operands = [] if where is None else [comparison.value for comparison in comparisons(where)]
    return any(
        isinstance(item, pd.Timedelta)
        for value in (*arguments.values(), *operands)
        for item in (value if isinstance(value, (list, tuple)) else (value,))
    )


def _argument(name: str, value: Any) -> str:
    if name == "where":
        return expression_code(value)
    return f"{name}={_value_code(value)}"


def expression_code(term: Expression) -> str:
    """Return the code of an expression, on one line.

    >>> from casesearch_pd.query.references import field
    >>> expression_code((field("status") == "open") & ~field("queue").isna())
    '(cs.field("status") == "open") & cs.field("queue").notna()'
    """
    match term:
        case Compare():
            return _comparison_code(term)
        case Not(Compare(field)) if _is_notna(term):
            return f"{_field_code(field)}.notna()"
        case Not(inner):
            return f"~{_operand_code(inner)}"
        case And(terms):
            return " & ".join(map(_operand_code, terms))
        case Or(terms):
            return " | ".join(map(_operand_code, terms))
        case _:
            assert_never(term)


def _is_notna(term: Not) -> bool:
    return isinstance(term.term, Compare) and term.term.op == "isna"


def _operand_code(term: Expression) -> str:
    """Return the code of a term of ``&``, ``|`` or ``~``, in parentheses where it needs them."""
    code = expression_code(term)
    # Method calls and ~ bind more tightly than & and |; comparisons such as == do not.
    binds_tightly = isinstance(term, Not) or (
        isinstance(term, Compare) and term.op not in _OPERATORS
    )
    return code if binds_tightly else f"({code})"


def _comparison_code(term: Compare) -> str:
    name, value = _field_code(term.field), term.value
    match term.op:
        case "isna":
            return f"{name}.isna()"
        case "in":
            return f"{name}.isin({_value_code(list(value))})"
        case "between":
            return f"{name}.between({_value_code(value[0])}, {_value_code(value[1])})"
        case "contains":
            return f"{name}.contains({_value_code(value)})"
        case op:
            return f"{name} {_OPERATORS[op]} {_value_code(value)}"


def _field_code(field: Any) -> str:
    return f"cs.field({_value_code(field if isinstance(field, str) else field.column)})"


def _argument_lines(name: str, value: Any) -> str:
    if name == "where":
        return _expression_lines(value, _INDENT)
    code = _value_code(value)
    if _fits(f"{name}={code}", _INDENT) or not isinstance(value, (list, dict)):
        return f"{name}={code}"
    return f"{name}={_collection_lines(value, _INDENT)}"


def _fits(code: str, indent: str) -> bool:
    return len(indent) + len(code) < _LINE_WIDTH


def _expression_lines(term: Expression, indent: str) -> str:
    """Return an expression, inside parentheses that exist already, with one line for each term."""
    code = expression_code(term)
    match term:
        case _ if _fits(code, indent):
            return code
        case And(terms):
            return f"\n{indent}& ".join(_operand_lines(item, indent) for item in terms)
        case Or(terms):
            return f"\n{indent}| ".join(_operand_lines(item, indent) for item in terms)
        case Not(inner) if not _is_notna(term):
            return f"~{_operand_lines(inner, indent)}"
        case Compare(field, "in", value):
            return f"{_field_code(field)}.isin({_collection_lines(list(value), indent)})"
        case _:
            return code


def _operand_lines(term: Expression, indent: str) -> str:
    code = _operand_code(term)
    if _fits(f"& {code}", indent):
        return code
    if not code.startswith("("):
        return _expression_lines(term, indent)
    return f"(\n{indent}{_INDENT}{_expression_lines(term, indent + _INDENT)}\n{indent})"


def _collection_lines(items: list[Any] | dict[str, str], indent: str) -> str:
    """Return a long list or mapping with as many items per line as fit."""
    # Only the first and the last character are used: the brackets of the type.
    brackets = _value_code(items)
    item_codes = (
        [f"{_value_code(key)}: {_value_code(item)}" for key, item in items.items()]
        if isinstance(items, dict)
        else [*map(_value_code, items)]
    )
    lines: list[str] = []
    for item_code in item_codes:
        if lines and _fits(f"{lines[-1]} {item_code},", indent + _INDENT):
            lines[-1] += f" {item_code},"
        else:
            lines.append(f"{item_code},")
    content = "".join(f"\n{indent}{_INDENT}{line}" for line in lines)
    return f"{brackets[0]}{content}\n{indent}{brackets[-1]}"


def _value_code(value: Any) -> str:
    match value:
        case str():
            return _text_code(value)
        case pd.Timedelta():
            return _duration_code(value)
        case tuple():
            return f"({', '.join(map(_value_code, value))})"
        case list():
            return f"[{', '.join(map(_value_code, value))}]"
        case dict():
            pairs = (f"{_value_code(key)}: {_value_code(item)}" for key, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        case _:
            return repr(value)


def _text_code(value: str) -> str:
    """Return a text in double quotes, as code formatters write it."""
    code = repr(value)
    # repr prefers single quotes unless the text contains one.
    if code[0] == '"' or '"' in value:
        return code
    return '"' + code[1:-1] + '"'


def _duration_code(duration: pd.Timedelta) -> str:
    # The largest unit of which the duration is a whole number reads best.
    for unit in ("days", "hours", "minutes", "seconds"):
        one = pd.Timedelta(1, unit)
        if not duration % one:
            return f"pd.Timedelta({unit}={duration // one})"
    return f"pd.Timedelta({_text_code(str(duration))})"
