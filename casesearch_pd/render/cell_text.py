"""The text of a table: column headings, the format of a column, and cells as readable text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.export.sanitize import holds_no_text, join_cell
from casesearch_pd.render.html import replace_control_chars

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "cell_format",
    "cell_text",
    "cell_texts",
    "column_heading",
    "holds_times",
    "shorten",
    "single_line",
]


def column_heading(column: pd.Series[Any]) -> str:
    """Return the name of a column, with the time zone of its times.

    >>> column_heading(pd.Series(pd.to_datetime(["2026-03-14"], utc=True), name="created_at"))
    'created_at (UTC)'
    """
    zone = getattr(column.dt, "tz", None) if holds_times(column) else None
    return f"{column.name} ({zone})" if zone else str(column.name)


def holds_times(column: pd.Series[Any]) -> bool:
    """Return whether the dtype of a column is a date-time."""
    return pd.api.types.is_datetime64_any_dtype(column.dtype)


def cell_format(column: pd.Series[Any], texts: Sequence[str], wide: int) -> str:
    """Return ``"time"``, ``"number"``, ``"long"`` (a text of more than `wide`) or ``"text"``."""
    if holds_times(column):
        return "time"
    if holds_no_text(column) and pd.api.types.is_numeric_dtype(column.dtype):
        return "number"
    return "long" if max(map(len, texts), default=0) > wide else "text"


def cell_texts(column: pd.Series[Any]) -> list[str]:
    """Return the text of every cell: times to the minute in their zone, lists as their items.

    >>> cell_texts(pd.Series([["a", "b"], None, 1.5]))
    ['a, b', '', '1.5']
    """
    if holds_times(column):
        column = column.dt.strftime("%Y-%m-%d %H:%M")
    return [cell_text(cell) for cell in column.astype(object)]


def cell_text(cell: Any) -> str:
    """Return the text of one cell; an empty text for a missing value."""
    flat = join_cell(cell)
    if pd.api.types.is_scalar(flat) and pd.isna(flat):
        return ""
    return str(flat)


def shorten(text: str, longest: int) -> str:
    """Return a text of at most `longest` characters, with an ellipsis for the rest.

    >>> shorten("a long title", 7)
    'a long…'
    """
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def single_line(text: str) -> str:
    r"""Return a text without line breaks and without invisible or misleading characters.

    >>> single_line(" Order\nvalue ")
    'Order value'
    """
    # In this order, because str.split() would drop some control characters unseen.
    return " ".join(replace_control_chars(text).split())
