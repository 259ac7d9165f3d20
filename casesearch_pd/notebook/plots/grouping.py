"""Which case is in which group: a column comes in, at most a dozen named groups go out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.notebook.cases import column_of
from casesearch_pd.notebook.names import Names, labels
from casesearch_pd.notebook.plots.paper import short

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Groups", "groups_of"]

DOZEN = 12


@dataclass(frozen=True)
class Groups:
    """The groups of a column, largest first, the smallest ones together at the end.

    Parameters
    ----------
    labels
        A label for each group.
    codes
        The group of each entry.
    rows
        The row of each entry; a row of two tags has two entries.
    has_other
        Whether the last group holds the smallest ones.
    """

    labels: list[str]
    codes: NDArray[np.intp]
    rows: NDArray[np.intp]
    has_other: bool

    def count(self, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Count the chosen rows in each group."""
        return np.bincount(self.codes[chosen[self.rows]], minlength=len(self.labels))

    def members(self, group: int) -> NDArray[np.intp]:
        """Find the rows of a group."""
        rows: NDArray[np.intp] = self.rows[self.codes == group]
        return rows


def groups_of(
    cases: pd.DataFrame,
    by: str,
    names: Names = None,
    *,
    at_most: int = DOZEN,
    among: NDArray[np.bool_] | None = None,
) -> Groups:
    """Sort the cases into groups by a column.

    Parameters
    ----------
    cases
        The frame.
    by
        The column; of a column of lists each element is a group, and a missing value is one.
    names
        Words for the ids in the column.
    at_most
        How many groups there may be; if there are more, the smallest become "other".
    among
        Which rows are sorted; all if None.
    """
    column = column_of(cases, by).reset_index(drop=True)
    rows, entries = _entries(column if among is None else column[among])
    found, values = pd.factorize(entries, use_na_sentinel=False)
    sizes = np.bincount(found, minlength=len(values))
    order = np.argsort(-sizes, kind="stable")
    kept = order if len(order) <= at_most else order[: at_most - 1]
    place = np.full(len(values), len(kept))
    place[kept] = np.arange(len(kept))
    said = [_label(value) for value in labels(values.take(kept), names)]
    rest = len(order) - len(kept)
    return Groups(
        labels=[*said, f"other ({rest:,})"] if rest else said,
        codes=place[found],
        rows=rows,
        has_other=bool(rest),
    )


def _entries(column: pd.Series[Any]) -> tuple[NDArray[np.intp], Any]:
    """List rows and values; lists are taken apart, and what Python cannot hash becomes text."""
    rows = column.index.to_numpy()
    if column.dtype != object:
        return rows, column
    lists = [_texts(value) for value in column]
    values = np.fromiter(chain.from_iterable(lists), dtype=object)
    return rows.repeat([len(texts) for texts in lists]), values


def _texts(value: Any) -> list[str | None]:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [str(item) for item in value] or [None]
    missing = pd.api.types.is_scalar(value) and pd.isna(value)
    return [None if missing else str(value)]


def _label(value: Any) -> str:
    if pd.isna(value):
        return "(missing)"
    return short(f"{value:g}" if isinstance(value, float) else value)
