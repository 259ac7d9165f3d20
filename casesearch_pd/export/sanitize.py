"""Cells of a file for spreadsheets: lists as readable text, and no text that is a formula.

A spreadsheet takes text that begins with ``=``, ``+``, ``-`` or ``@`` for a formula and runs it,
so anyone who can write the title of a case could run one on the computer of a person who opens
the file. Such text gets an apostrophe before it, which spreadsheets read as "this is text"; so
does text that begins with a tab, carriage return or line feed, because some programs drop these
before they look (OWASP, "CSV Injection"). Numbers never change: -73.9 stays a number.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from casesearch_pd.reading.frames.arrow_tables import as_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

__all__ = ["escape_formula", "holds_no_text", "join_cell", "safe_cells", "safe_names"]

# Some programs drop invisible characters before they look at the first one: spaces and control
# characters, the soft hyphen, marks of width and direction, the byte order mark.
_INVISIBLE = "\x00-\x20\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060\u3000\ufeff"
_SIGNS = r"=+@\-\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b"  # ASCII, full-width, small
_FORMULA = re.compile(f"[\t\r\n]|[{_INVISIBLE}]*[{_SIGNS}]")


def escape_formula(text: str) -> str:
    """Return a text with an apostrophe before it where a spreadsheet would run it.

    >>> escape_formula("=1+1"), escape_formula("a=1+1")
    ("'=1+1", 'a=1+1')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def join_cell(cell: Any) -> Any:
    """Return a list as its items, a mapping as JSON, and any other cell unchanged.

    >>> join_cell(["team=red", "vip"]), join_cell({"a": 1}), join_cell(-73.9)
    ('team=red, vip', '{"a": 1}', -73.9)
    """
    match cell:
        case dict():
            return as_json(cell)
        case list() | tuple() | set() | frozenset() | np.ndarray():
            return ", ".join(item if isinstance(item, str) else as_json(item) for item in cell)
        case _:
            return cell


def holds_no_text(column: pd.Series[Any]) -> bool:
    """Return whether the dtype of a column allows only numbers, booleans, times and durations."""
    return getattr(column.dtype, "kind", "O") in "biufcmM"


def safe_cells(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column whose cells a spreadsheet cannot run."""
    if holds_no_text(column):
        return column
    return column.astype(object).map(_safe_cell, na_action="ignore")


def safe_names(names: Iterable[Any]) -> list[Any]:
    """Return column names that a spreadsheet cannot run."""
    return [_safe_cell(name) for name in names]


_NEVER_TEXT = (Number, date, timedelta)  # includes datetime, Timestamp and Timedelta


def _safe_cell(cell: Any) -> Any:
    if isinstance(cell, str):
        return escape_formula(cell)
    flat = join_cell(cell)
    return flat if isinstance(flat, _NEVER_TEXT) else escape_formula(str(flat))
