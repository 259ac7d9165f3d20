"""Cells of a frame in, cells of a file out: lists as readable text, and no text that is a formula.

A spreadsheet takes text that begins with ``=``, ``+``, ``-`` or ``@`` for a formula and runs it,
so whoever can write a case's title could run one on the desk of whoever opens the file. Such
text gets an apostrophe before it, which spreadsheets take for "this is text"; tab, carriage
return and line feed at the beginning too, since programs drop them before they look (OWASP,
"CSV Injection"). Numbers are never touched: -73.9 stays a number.
"""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

__all__ = ["as_json", "escape_formula", "is_plain_text", "join_cell", "safe_cells", "safe_names"]

# What is not seen before the sign is dropped by one program or the other: spaces and control
# characters, soft hyphen, marks of width and direction, the byte order mark.
_UNSEEN = "\x00-\x20\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060\u3000\ufeff"
_SIGNS = r"=+@\-\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b"  # ASCII, full-width, small
_FORMULA = re.compile(f"[\t\r\n]|[{_UNSEEN}]*[{_SIGNS}]")


def escape_formula(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would take for a formula.

    >>> defused("=1+1"), defused("a=1+1")
    ("'=1+1", 'a=1+1')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def join_cell(cell: Any) -> Any:
    """Write a list as its items and a mapping as JSON; anything else stays what it is.

    >>> joined(["team=red", "vip"]), joined({"a": 1}), joined(-73.9)
    ('team=red, vip', '{"a": 1}', -73.9)
    """
    match cell:
        case dict():
            return as_json(cell)
        case list() | tuple() | set() | frozenset() | np.ndarray():
            return _listed(cell)
        case _:
            return cell


def _listed(cells: Iterable[Any]) -> str:
    return ", ".join(one if isinstance(one, str) else as_json(one) for one in cells)


def as_json(cell: Any) -> str:
    """Write any cell as JSON; what JSON does not know becomes its text."""
    return json.dumps(cell, ensure_ascii=False, default=str)


def is_plain_text(column: pd.Series[Any]) -> bool:
    """Tell whether a column can hold numbers, truth values, times and spans of time only."""
    return getattr(column.dtype, "kind", "O") in "biufcmM"


def safe_cells(column: pd.Series[Any]) -> pd.Series[Any]:
    """Make every cell of a column one that is safe in a file."""
    if is_plain_text(column):
        return column
    return column.astype(object).map(_safe, na_action="ignore")


def _safe(cell: Any) -> Any:
    if isinstance(cell, str):
        return escape_formula(cell)
    flat = join_cell(cell)
    return flat if isinstance(flat, _HARMLESS) else escape_formula(str(flat))


_HARMLESS = (Number, date, timedelta)  # so are datetime, Timestamp and Timedelta


def safe_names(names: Iterable[Any]) -> list[Any]:
    """Make names of columns ones that are safe in a file."""
    return [_safe(name) for name in names]
