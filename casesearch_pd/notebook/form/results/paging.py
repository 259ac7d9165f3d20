"""Which rows of a sorted column stand on a page; nothing of widgets.

A page costs what its rows cost: of a million cases a few dozen are written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.notebook.lines import line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SIZES", "Page", "in_order"]

SIZES = (25, 50, 100, 500)  # rows a page


@dataclass(frozen=True, slots=True)
class Page:
    """A page of so many rows.

    Parameters
    ----------
    rows
        How many rows there are in all.
    size
        How many stand on a page.
    number
        Which page it is, from 0.
    """

    rows: int = 0
    size: int = SIZES[0]
    number: int = 0

    @property
    def last(self) -> int:
        """The number of the last page; an empty frame has one page too."""
        return max(0, math.ceil(self.rows / self.size) - 1)

    @property
    def start(self) -> int:
        """The place of its first row."""
        return self.number * self.size

    @property
    def stop(self) -> int:
        """The place after its last row."""
        return min(self.start + self.size, self.rows)

    def at(self, number: int) -> Page:
        """Turn to a page; beyond the last one there is the last one."""
        return replace(self, number=min(max(number, 0), self.last))

    def sized(self, size: int) -> Page:
        """Change how many rows a page has, and keep the first row that is seen in sight."""
        return replace(self, size=size, number=self.start // size)

    def __str__(self) -> str:
        if not self.rows:
            return "no rows"
        return f"rows {self.start + 1:,}–{self.stop:,} of {self.rows:,}"  # noqa: RUF001 - a range


def in_order(column: pd.Series[Any], *, descending: bool = False) -> NDArray[np.intp]:
    """Find the places of the rows in the order of a column: stable, missing last both ways.

    Numbers and times go by value, text by the code of its letters, lists and mappings by the text
    that a cell shows.
    """
    plain = _comparable(column).reset_index(drop=True)
    try:
        ordered = _sorted(plain, descending=descending)
    except (TypeError, ValueError, NotImplementedError):  # times with and without a zone, and such
        ordered = _sorted(_as_text(plain), descending=descending)
    return ordered.index.to_numpy()


def _sorted(column: pd.Series[Any], *, descending: bool) -> pd.Series[Any]:
    return column.sort_values(ascending=not descending, kind="stable", na_position="last")


def _comparable(column: pd.Series[Any]) -> pd.Series[Any]:
    """Make a column that can be sorted as people would."""
    match column.dtype:
        case pd.CategoricalDtype(ordered=ordered) if not ordered:
            return column.astype(object)
        case pd.ArrowDtype(type=held) if held in (list, dict):
            return _as_text(column.astype(object))
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in _COMPARED:
        return _as_text(column)
    return column


_COMPARED = {
    "string", "integer", "floating", "mixed-integer-float", "decimal", "boolean", "datetime",
    "date", "time", "timedelta",
}  # fmt: skip


def _as_text(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.astype(object).map(line, na_action="ignore")
