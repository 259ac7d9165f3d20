"""The tags of cases come in as lists; a table with a column a tag goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.lifecycle import column_of, service_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["tags"]


def tags(cases: pd.DataFrame) -> pd.DataFrame:
    """Spread the tags of each case over columns.

    Parameters
    ----------
    cases
        A frame with ``tags``.

    Returns
    -------
    pandas.DataFrame
        With the index of the frame, columns in order of the alphabet. Amazon Connect, whose
        tags are ``key=value``: a text column a key, NA where a case has none, several values
        joined by ``", "``. Persona, whose tags are words: a ``boolean`` column a tag, NA where
        nobody knows the tags. A frame of neither is told by its tags: all have a ``=``.

    Raises
    ------
    KeyError
        If the tags were not read.
    TypeError
        If they are text, as a CSV file gives them back.

    Examples
    --------
    >>> frame = pd.DataFrame({"case_id": ["a", "b"], "tags": [["team=red", "vip=1"], []]})
    >>> tags(frame)
      team  vip
    0  red    1
    1  NaN  NaN
    """
    column = column_of(cases, "tags")
    _check_lists(column)
    each = column.reset_index(drop=True).explode().dropna().astype("str")
    wide = _by_key if _has_keys(cases, each) else _by_tag
    return wide(each, column.isna().to_numpy()).set_axis(cases.index)


def _check_lists(column: pd.Series[Any]) -> None:
    if pd.api.types.is_string_dtype(column) and column.notna().any():
        raise TypeError(
            "'tags' holds text here, not lists, as text files give them back; keep frames as "
            "Parquet or pickle"
        )


def _has_keys(cases: pd.DataFrame, each: pd.Series[str]) -> bool:
    service = service_of(cases)
    return service == "connect" if service else bool(each.str.contains("=", regex=False).all())


def _by_key(each: pd.Series[str], unknown: NDArray[np.bool_]) -> pd.DataFrame:
    parts = each.str.partition("=").reindex(columns=range(3))  # without a row there is no column
    pairs = pd.DataFrame({"row": each.index, "key": parts[0].array, "value": parts[2].array})
    twice = pairs.duplicated(["row", "key"], keep=False)
    joined = pairs[twice].groupby(["row", "key"])["value"].agg(", ".join)
    values = pd.concat([pairs[~twice].set_index(["row", "key"])["value"], joined])
    wide = pd.DataFrame(values.unstack())  # noqa: PD010 - the values are the cells
    return wide.reindex(range(len(unknown))).rename_axis(columns=None)


def _by_tag(each: pd.Series[str], unknown: NDArray[np.bool_]) -> pd.DataFrame:
    codes, words = pd.factorize(each, sort=True)
    has = np.zeros((len(unknown), len(words)), dtype=bool)
    has[each.index, codes] = True
    columns = {word: _unless(unknown, has[:, at]) for at, word in enumerate(words)}
    return pd.DataFrame(columns, index=range(len(unknown)))


def _unless(unknown: NDArray[np.bool_], has: NDArray[np.bool_]) -> Any:
    return pd.arrays.BooleanArray(has.copy(), unknown.copy())
