"""Tags as columns: one per key where tags have keys, one per tag where they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.lifecycle import column_of, may_be_persona, service_traits

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["tags"]


def tags(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the tags of each case as columns.

    Parameters
    ----------
    cases
        A frame with ``tags``.

    Returns
    -------
    pandas.DataFrame
        With the index of the frame and sorted columns. Where the tags of the service have keys
        (``key=value``): a text column per key, NA where a case does not have it, several values
        joined by ``", "``. Otherwise a ``boolean`` column per tag, NA where the tags are not
        known. In a frame of unknown origin tags have keys if each of them contains a ``=``.

    Raises
    ------
    KeyError
        If the tags were not read.
    TypeError
        If they are text, as in a CSV file.
    ValueError
        If the origin is unknown and both readings of the tags are possible.

    Examples
    --------
    >>> frame = pd.DataFrame({"case_id": ["a", "b"], "tags": [["team=red", "vip=1"], []]})
    >>> tags(frame)
      team  vip
    0  red    1
    1  NaN  NaN
    """
    column = column_of(cases, "tags")
    _require_lists(column)
    single_tags = column.reset_index(drop=True).explode().dropna().astype("str")
    to_columns = _key_columns if _have_keys(cases, single_tags) else _tag_columns
    return to_columns(single_tags, column.isna().to_numpy()).set_axis(cases.index)


def _require_lists(column: pd.Series[Any]) -> None:
    if pd.api.types.is_string_dtype(column) and column.notna().any():
        raise TypeError(
            "'tags' must hold lists, got text, as text files contain it; store DataFrames as "
            "Parquet or pickle"
        )


def _have_keys(cases: pd.DataFrame, single_tags: pd.Series[str]) -> bool:
    keyed = service_traits(cases).keyed_tags
    if keyed is not None:
        return keyed
    keyed = bool(single_tags.str.contains("=", regex=False).all())
    if keyed and len(single_tags) and may_be_persona(cases):
        raise ValueError(
            "this DataFrame has no provenance, and its tags may have keys or not; pandas drops "
            "attrs in merge and concat; keep them: new.attrs.update(df.attrs)"
        )
    return keyed


def _key_columns(single_tags: pd.Series[str], is_missing: NDArray[np.bool_]) -> pd.DataFrame:
    # Without any tag, partition() returns no columns at all.
    parts = single_tags.str.partition("=").reindex(columns=range(3))
    pairs = pd.DataFrame({"row": single_tags.index, "key": parts[0].array, "value": parts[2].array})
    # Only the few keys with several values are joined in Python.
    is_repeated = pairs.duplicated(["row", "key"], keep=False)
    repeated = pairs[is_repeated].groupby(["row", "key"])["value"].agg(", ".join)
    values = pd.concat([pairs[~is_repeated].set_index(["row", "key"])["value"], repeated])
    wide = pd.DataFrame(values.unstack())  # noqa: PD010 - the values are the cells
    return wide.reindex(range(len(is_missing))).rename_axis(columns=None)


def _tag_columns(single_tags: pd.Series[str], is_missing: NDArray[np.bool_]) -> pd.DataFrame:
    codes, names = pd.factorize(single_tags, sort=True)
    has_tag = np.zeros((len(is_missing), len(names)), dtype=bool)
    has_tag[single_tags.index, codes] = True
    columns = {
        name: pd.arrays.BooleanArray(has_tag[:, at].copy(), is_missing.copy())
        for at, name in enumerate(names)
    }
    return pd.DataFrame(columns, index=range(len(is_missing)))
