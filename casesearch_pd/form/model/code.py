r"""What is typed into a value box in, a value of the field's type out; and back.

Times are written as in filters (``2026-03``, ``2026-03-14T09:30``), or from now: ``7 days ago``,
``in 3 hours``, ``now``. Text is taken as it is typed. What no line can hold (nothing at all, line
breaks) is written as a JSON string, ``""`` or ``"two\nlines"``, and only what would be read as
one of these is written so too: whoever types ``"urgent"`` asks for the quotes.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, assert_never

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or, literals
from casesearch_pd.render.sentences import length_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.query.schema import FieldType

__all__ = ["as_code", "from_lines", "from_text", "kind_of", "to_lines", "to_literal", "to_text"]

_AGO = re.compile(r"\s*(?P<span>.+?)\s+ago\s*", re.IGNORECASE)
_AHEAD = re.compile(r"\s*in\s+(?P<span>.+?)\s*", re.IGNORECASE)
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")
_UNTYPED = re.compile("[\n\r\0\ud800-\udfff]")  # what a line of text cannot hold
_TRUTHS = {"yes": True, "true": True, "no": False, "false": False}


def kind_of(kind: FieldType, value: Any) -> FieldType:
    """Tell how a value is typed: where the type is not known, the value has one.

    >>> kind_of("any", 5), kind_of("any", "5"), kind_of("url", "5")
    ('number', 'text', 'url')
    """
    if kind != "any" or isinstance(value, str):
        return "text" if kind == "any" else kind
    return "boolean" if isinstance(value, bool) else "number"


def from_text(kind: FieldType, text: str) -> Any:
    """Read what somebody typed; None where nothing is there.

    >>> from_text("number", "2.50"), from_text("datetime", "7 days ago"), from_text("text", " a")
    (2.5, Timedelta('-7 days +00:00:00'), ' a')

    Raises
    ------
    FilterError
        If it is no value of this type.
    """
    if not text:
        return None
    match kind:
        case "number" | "integer":
            return _number(text)
        case "boolean":
            return _truth(text)
        case "datetime":
            return _time(text)
        case _:
            quoted = _quoted(text)
            return text if quoted is None else quoted


def _number(text: str) -> int | float:
    try:
        number = int(text) if _WHOLE.fullmatch(text) else float(text)
    except ValueError as error:
        raise FilterError(f"{text!r} is no number; write one such as 3 or 2.5") from error
    if isinstance(number, float) and not math.isfinite(number):
        raise FilterError(f"{text!r} is no finite number; 'is missing' asks for none")
    return number


def _truth(text: str) -> bool:
    known = _TRUTHS.get(text.strip().lower())
    if known is None:
        raise FilterError(f"{text!r} is neither yes nor no")
    return known


def _quoted(text: str) -> str | None:
    """Read text that was written in quotes because no line can hold it."""
    if len(text) < 2 or not text[0] == text[-1] == '"':  # noqa: PLR2004 - a pair of quotes
        return None
    try:
        held = json.loads(text)
    except ValueError:
        return None
    return held if isinstance(held, str) and _needs_quotes(held) else None


def _needs_quotes(text: str) -> bool:
    return not text or _UNTYPED.search(text) is not None or _quoted(text) is not None


def _time(text: str) -> str | pd.Timedelta:
    if text.strip().lower() == "now":
        return pd.Timedelta(0)
    for form, sign in ((_AGO, -1), (_AHEAD, 1)):
        found = form.fullmatch(text)
        if found is not None:
            return sign * _span(found["span"])
    return text.strip()


def _span(text: str) -> pd.Timedelta:
    try:
        span = pd.Timedelta(text)
    except (ValueError, OverflowError) as error:
        raise FilterError(
            f"{text!r} is no length of time; write '7 days ago' or 'in 3 hours'"
        ) from error
    if pd.isna(span):
        raise FilterError(f"{text!r} is no length of time; write '7 days ago' or 'in 3 hours'")
    return span


def to_text(value: Any) -> str:
    """Write a value as `from_text` reads it.

    >>> to_text(pd.Timedelta(days=-7)), to_text(2.5), to_text(None), to_text("")
    ('7 days ago', '2.5', '', '""')
    """
    match value:
        case None:
            return ""
        case pd.Timedelta():
            return _from_now(value)
        case bool():
            return "yes" if value else "no"
        case str():
            return json.dumps(value) if _needs_quotes(value) else value
        case _:
            return repr(value)


def _from_now(span: pd.Timedelta) -> str:
    if not span:
        return "now"
    length = length_of(span)
    return f"{length} ago" if span < pd.Timedelta(0) else f"in {length}"


def from_lines(kind: FieldType, text: str) -> tuple[Any, ...]:
    r"""Read any number of values, one a line; empty lines are passed over.

    >>> from_lines("integer", "1\n2\n")
    (1, 2)
    """
    return tuple(from_text(kind, line) for line in text.split("\n") if line)


def to_lines(values: tuple[Any, ...]) -> str:
    """Write values as `from_lines` reads them."""
    return "\n".join(map(to_text, values))


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
        return to_literal(value)
    return f"{name}={_value(value)}"


def to_literal(term: Expression) -> str:
    """Write an expression as it is typed.

    >>> from casesearch_pd.query.references import field
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
    written = to_literal(term)
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
    flat = to_literal(term)
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
            return _span_code(value)
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


def _span_code(span: pd.Timedelta) -> str:
    for unit in ("days", "hours", "minutes", "seconds"):
        whole = pd.Timedelta(1, unit)
        if not span % whole:
            return f"pd.Timedelta({unit}={span // whole})"
    return f"pd.Timedelta({_text(str(span))})"
