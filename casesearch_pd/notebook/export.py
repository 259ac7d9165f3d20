"""A frame of cases in, a file that others can open safely out: CSV and Parquet.

A file is written beside its place and moved there when it is whole, so that what was there
survives whatever goes wrong.
"""

from __future__ import annotations

import csv
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.errors import CaseSearchError, FilterError
from casesearch_pd.notebook.cells import as_json, shown, shown_names
from casesearch_pd.reading.frame import check_distinct
from casesearch_pd.reading.place import Place, beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["replaced", "to_csv", "to_parquet"]


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """Give the path of a file, and a place beside it; what is written there replaces the file.

    Raises
    ------
    FilterError
        If no file can be written there.
    CaseSearchError
        If the disk fails or fills; what was there is intact.
    """
    place = Place.of(os.path.expanduser(os.fspath(path)))  # noqa: PTH111 - a Path drops the slash
    if place.folder:
        raise FilterError(f"{str(place.path)!r} is a folder; name a file in it")
    with beside(place) as work:
        try:
            yield place.path, work / place.path.name
            (work / place.path.name).replace(place.path)
        except OSError as error:
            raise CaseSearchError(
                f"{str(place.path)!r} cannot be written ({error}); make room or name another "
                "place: what was there is intact"
            ) from error


def to_csv(frame: pd.DataFrame, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write CSV whose text no spreadsheet takes for a formula; see `CasesAccessor.to_csv`."""
    options = _checked(_DEFAULTS | options)
    columns, header = options.pop("columns", None), options.pop("header", True)
    safe = _safe(frame if columns is None else frame[list(columns)])
    names = header if isinstance(header, bool) else shown_names(header)
    with replaced(path) as (target, new):
        safe.to_csv(new, header=names, **options)
    return target


_DEFAULTS = {"index": False, "quoting": csv.QUOTE_NONNUMERIC}
_SAFE = {csv.QUOTE_NONNUMERIC, csv.QUOTE_ALL}  # others leave a bare carriage return in the file


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    if options["quoting"] not in _SAFE:
        raise FilterError(
            f"quoting={options['quoting']!r} lets a carriage return in a cell begin a new row; "
            "leave quoting= out, or use csv.QUOTE_ALL"
        )
    if "mode" in options:
        raise FilterError("mode= would add to a file, but it is written whole; leave mode= out")
    return options


def _safe(frame: pd.DataFrame) -> pd.DataFrame:
    """Make a frame of cells, names and labels of rows that are safe in a file."""
    cells = [shown(frame.iloc[:, at]) for at in range(frame.shape[1])]
    safe = pd.concat(cells, axis=1) if cells else frame.copy(deep=False)
    safe.columns = pd.Index(shown_names(frame.columns), dtype=object)
    safe.index = _safe_labels(frame.index)
    return safe


def _safe_labels(index: pd.Index[Any]) -> pd.Index[Any]:
    labels = index.to_frame(index=False)
    safe = [shown(labels.iloc[:, at]) for at in range(labels.shape[1])]
    names = shown_names(index.names)
    if len(safe) == 1:
        labelled: pd.Index[Any] = pd.Index(safe[0], name=names[0])
        return labelled
    return pd.MultiIndex.from_arrays(safe, names=names)


def to_parquet(frame: pd.DataFrame, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write Parquet with the provenance in it; see `CasesAccessor.to_parquet`."""
    check_distinct(frame)  # Parquet finds columns by name
    stored = frame.copy(deep=False)
    stored.attrs = {key: value for key, value in frame.attrs.items() if _is_json(value)}
    for at in range(stored.shape[1]):
        if stored.iloc[:, at].dtype == object:
            stored.isetitem(at, _stored(stored.iloc[:, at]).array)
    with replaced(path) as (target, new):
        stored.to_parquet(new, engine="pyarrow", **options)
    return target


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _stored(column: pd.Series[Any]) -> pd.Series[Any]:
    """Keep lists and what is of one kind; make JSON text of what Parquet would twist or refuse."""
    if all(isinstance(cell, _LISTS) for cell in column.dropna()):
        return column.map(_texts, na_action="ignore")
    if pd.api.types.infer_dtype(column, skipna=True) in _ONE_KIND:
        return column
    return column.map(as_json, na_action="ignore")


_LISTS = (list, tuple, set, frozenset, np.ndarray)
_ONE_KIND = {
    "string", "bytes", "boolean", "integer", "floating", "decimal", "datetime", "date", "empty",
}  # fmt: skip


def _texts(cells: Any) -> list[str]:
    return [one if isinstance(one, str) else as_json(one) for one in cells]
