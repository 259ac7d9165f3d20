"""Rows that are new laid over a frame that is old: the frame's columns, dtypes and order.

A frame that comes back from a file may hold its values in another form than a read gives them;
what is new takes on the form of what is there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.reading.frame import newest, ordered
from casesearch_pd.reading.where import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casesearch_pd.sources.contract import Sort

__all__ = ["alike", "laid_over", "listed", "placed"]


def laid_over(
    old: pd.DataFrame, fresh: pd.DataFrame, order: Sequence[Sort]
) -> tuple[pd.DataFrame, int]:
    """Lay new rows over old ones by `case_id`: the newer of two versions stays.

    Parameters
    ----------
    old
        The frame; its columns and dtypes are kept.
    fresh
        The new rows, with all columns of the order.
    order
        The whole order of the rows.

    Returns
    -------
    tuple
        The frame; and how many new rows are last, because `old` lacks a column that tells their
        places. The others keep theirs.
    """
    fresh = ordered(fresh, order)
    old = _with_categories(old, fresh)
    whole = newest(pd.concat([old, alike(fresh, old)], ignore_index=True))
    if _tells(old, order):
        return ordered(whole, order), 0
    coming = fresh.loc[~fresh["case_id"].isin(old["case_id"]), "case_id"]
    places = [*old["case_id"], *coming]
    at = pd.Series(range(len(whole)), index=whole["case_id"])
    return whole.iloc[at[places]].reset_index(drop=True), len(coming)


def placed(frame: pd.DataFrame, order: Sequence[Sort]) -> pd.DataFrame:
    """Bring a frame into an order, if it has the columns for it."""
    return ordered(frame, order) if _tells(frame, order) else frame


def _tells(frame: pd.DataFrame, order: Sequence[Sort]) -> bool:
    return all(item.field.column in frame for item in order)


def listed(old: pd.DataFrame, tz: str) -> pd.DataFrame:
    """Make lists of the arrays that a file gave back for them."""
    held = {name: plain(old[name], tz) for name in _names(old) if old[name].dtype == object}
    return old.assign(**{name: cells for name, cells in held.items() if cells.dtype == object})


def alike(found: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """Bring what was read into the columns and dtypes of a frame.

    Raises
    ------
    FilterError
        If a value does not fit.
    """
    cast = {name: _cast(found[name], old[name].dtype) for name in _names(old)}
    return found[_names(old)].assign(**cast)


def _names(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns]


def _cast(column: pd.Series[Any], dtype: Any) -> pd.Series[Any]:
    if column.dtype == dtype:
        return column
    if column.isna().all():
        column = pd.Series([None] * len(column), index=column.index, dtype=object)
    elif column.dtype == object and pd.api.types.is_string_dtype(dtype):
        column = column.map(_as_json, na_action="ignore")  # as to_parquet writes nested values
    try:
        return column.astype(dtype)
    except (ValueError, TypeError) as error:
        raise FilterError(
            f"the column {column.name!r} now holds values that are not {dtype}; read_cases anew"
        ) from error


def _as_json(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False, default=str)


def _with_categories(old: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """Make room for values that a categorical column has not held so far."""
    kinds = (name for name in _names(old) if isinstance(old[name].dtype, pd.CategoricalDtype))
    return old.assign(**{name: _wider(old[name], fresh[name]) for name in kinds})


def _wider(column: pd.Series[Any], fresh: pd.Series[Any]) -> pd.Series[Any]:
    return column.cat.add_categories(sorted({*fresh.dropna()} - {*column.cat.categories}))
