"""A column of a frame in, what stands in a table's cells out: a heading, a look, plain texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.export.sanitize import is_plain_text, join_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cell_format", "cell_text", "cell_texts", "heading", "is_time", "shorten"]


def heading(column: pd.Series[Any]) -> str:
    """Name a column, and the zone of its times.

    >>> heading(pd.Series(pd.to_datetime(["2026-03-14"], utc=True), name="created_at"))
    'created_at (UTC)'
    """
    zone = getattr(column.dt, "tz", None) if is_time(column) else None
    return f"{column.name} ({zone})" if zone else str(column.name)


def is_time(column: pd.Series[Any]) -> bool:
    """Tell whether a column holds times and nothing else."""
    return pd.api.types.is_datetime64_any_dtype(column.dtype)


def cell_format(column: pd.Series[Any], texts: Sequence[str], wide: int) -> str:
    """Tell how a column is best shown: as a time, a number, a text or a long one.

    Parameters
    ----------
    column
        The column.
    texts
        Its `cell_texts`.
    wide
        Characters of a cell that would rather have a wide column.
    """
    if is_time(column):
        return "time"
    if is_plain_text(column) and pd.api.types.is_numeric_dtype(column.dtype):
        return "number"
    return "long" if max(map(len, texts), default=0) > wide else "text"


def cell_texts(column: pd.Series[Any]) -> list[str]:
    """Write every cell: times to the minute on the clocks of their zone, lists as their items.

    >>> lines(pd.Series([["a", "b"], None, 1.5]))
    ['a, b', '', '1.5']
    """
    if is_time(column):
        column = column.dt.strftime("%Y-%m-%d %H:%M")
    return [cell_text(cell) for cell in column.astype(object)]


def cell_text(cell: Any) -> str:
    """Write one cell; nothing where there is nothing."""
    flat = join_cell(cell)
    if pd.api.types.is_scalar(flat) and pd.isna(flat):
        return ""
    return str(flat)


def shorten(text: str, longest: int) -> str:
    """Cut a text that would make a table unreadable.

    >>> shortened("a long title", 7)
    'a long…'
    """
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
