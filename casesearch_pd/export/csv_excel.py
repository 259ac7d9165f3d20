"""A frame of cases in, an Excel workbook out: one sheet, ready to be sorted and filtered.

Excel knows neither zones nor times before March 1900, holds 15 digits of a number and 32,767
characters of a text: what does not fit is written as text, cut and told, or refused.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.errors import CaseSearchError, FilterError, warn
from casesearch_pd.export.sanitize import as_json, safe_cells, safe_names
from casesearch_pd.reading.frames.frame import require_distinct_columns
from casesearch_pd.reading.output.atomic import OutputPath, temporary_sibling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from xlsxwriter import Workbook
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

__all__ = ["replace_file", "to_csv", "to_excel", "to_parquet"]

# Microsoft, "Excel specifications and limits"
_ROWS = 1_048_576
_COLUMNS = 16_384
_TEXT = 32_767  # UTF-16 units
_WHOLE = 10**15  # of more digits the last ones are lost
# Excel counts a 29th of February 1900, and other programs count before it as they like.
_FIRST, _LAST = pd.Timestamp(1900, 3, 1), pd.Timestamp("9999-12-31T23:59:59")

_OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}
_DAY = 86_400  # seconds
_WIDEST = 60  # characters
_LOOKED_AT = 1_000  # rows whose cells decide about the widths


def to_excel(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a workbook; see `CasesAccessor.to_excel`."""
    _check_size(frame)
    columns = [_column(frame.iloc[:, at]) for at in range(frame.shape[1])]
    with replace_file(path) as (target, new), _workbook(new) as book:
        cut = _fill(_sheet(book, columns, len(frame)), columns)
    if cut:
        told = ", ".join(f"{count:,} in {name!r}" for name, count in cut.items())
        warn(
            f"Excel holds {_TEXT:,} characters a cell: longer text was cut ({told}); "
            "df.cases.to_csv or to_parquet keeps all of it"
        )
    return target


def _check_size(frame: pd.DataFrame) -> None:
    if len(frame) >= _ROWS:
        raise FilterError(
            f"{len(frame):,} cases do not fit into a sheet of {_ROWS:,} rows; use "
            "df.cases.to_parquet or to_csv, or write parts, such as df[:1_000_000]"
        )
    if frame.shape[1] > _COLUMNS:
        raise FilterError(
            f"{frame.shape[1]:,} columns do not fit into a sheet of {_COLUMNS:,}; choose some of "
            "them: df[[…]].cases.to_excel"
        )


@contextmanager
def _workbook(path: Path) -> Iterator[Workbook]:
    try:
        import xlsxwriter  # noqa: PLC0415 - an extra, and needed by nothing else
        from xlsxwriter.exceptions import XlsxFileError  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            "to_excel needs xlsxwriter, which is not installed; add it with "
            "pip install 'casesearch_pd[excel]', or use df.cases.to_csv"
        ) from error
    book = xlsxwriter.Workbook(path, _OPTIONS | {"tmpdir": path.parent})
    try:
        yield book
    except BaseException:
        with suppress(XlsxFileError):  # what it has open is closed; nothing of it is kept
            book.close()
        raise
    try:
        book.close()
    except XlsxFileError as error:  # what it makes of every OSError, and of a file too large
        raise OSError(str(error)) from error


# --- columns ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """One column as Excel takes it.

    Parameters
    ----------
    name
        What stands in the first row.
    cells
        Texts, numbers, truth values and times of no zone; None where there is nothing.
    """

    name: str
    cells: Sequence[Any]

    @property
    def width(self) -> int:
        """How many characters are seen of it."""
        head = [len(_line(cell)) for cell in self.cells[:_LOOKED_AT]]
        return min(_WIDEST, max([len(self.name) + 4, *head])) + 1  # 4: the filter's button


def _line(cell: Any) -> str:
    return str(cell).partition("\n")[0]


def _column(column: pd.Series[Any]) -> _Column:
    name = str(safe_names([column.name])[0])
    match getattr(column.dtype, "kind", "O"):
        case "M":
            return _of_times(name, column)
        case "m":
            days = column.dt.total_seconds() / _DAY
            return _Column(f"{name} (days)", _nothing_missing(days))
        case _:
            return _Column(name, _nothing_missing(safe_cells(column)))


def _of_times(name: str, column: pd.Series[Any]) -> _Column:
    """Take the zone from the times and tell it in the name."""
    zone = getattr(column.dt, "tz", None)
    if zone is None:
        return _Column(name, _nothing_missing(column))
    return _Column(f"{name} ({zone})", _nothing_missing(column.dt.tz_localize(None)))


def _nothing_missing(column: pd.Series[Any]) -> list[Any]:
    cells = column.astype(object)
    return cells.where(cells.notna().to_numpy(), None).tolist()


# --- the sheet ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sheet:
    """The sheet and the looks of its cells."""

    sheet: Worksheet
    head: Format
    time: Format
    plain: Format


def _sheet(book: Workbook, columns: Sequence[_Column], rows: int) -> _Sheet:
    """Make a sheet with its first row, which stays in sight and filters."""
    sheet = book.add_worksheet("cases")
    sheet.freeze_panes(1, 0)
    if columns:
        sheet.autofilter(0, 0, rows, len(columns) - 1)
    for at, column in enumerate(columns):
        sheet.set_column(at, at, column.width)
    head = book.add_format({"bold": True, "bottom": 1})
    time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    return _Sheet(sheet, head, time, book.add_format({}))


def _fill(on: _Sheet, columns: Sequence[_Column]) -> dict[str, int]:
    """Write all cells; tell of which columns how many texts were cut."""
    cut: Counter[str] = Counter()
    for at, column in enumerate(columns):
        _write_text(on, 0, at, column.name, on.head)
    for row, cells in enumerate(zip(*(column.cells for column in columns), strict=True), 1):
        for at, cell in enumerate(cells):
            if cell is not None and not _write(on, row, at, cell):
                cut[columns[at].name] += 1
    return dict(cut)


def _write(on: _Sheet, row: int, at: int, cell: Any) -> bool:
    """Write one cell by its kind; tell whether all of it went in."""
    match cell:
        case bool():
            on.sheet.write_boolean(row, at, cell)
        case pd.Timestamp() if cell.tz is None and _FIRST <= cell <= _LAST:
            on.sheet.write_datetime(row, at, cell, on.time)
        case Real() | Decimal() if _fits(cell):
            on.sheet.write_number(row, at, float(cell))
        case _:
            return _write_text(on, row, at, str(cell))
    return True


def _fits(number: Real | Decimal) -> bool:
    """Tell whether Excel holds a number as it is: finite, and exact if it is whole."""
    return math.isfinite(number) and (not isinstance(number, Integral) or int(abs(number)) < _WHOLE)


def _write_text(on: _Sheet, row: int, at: int, text: str, look: Format | None = None) -> bool:
    kept = _cut(text)
    if kept.startswith("<r>"):
        # xlsxwriter takes "<r>…</r>" for its own rich text and would write it as bare XML.
        on.sheet.write_rich_string(row, at, kept[0], on.plain, kept[1:])
    else:
        on.sheet.write_string(row, at, kept, look)
    return len(kept) == len(text)


def _cut(text: str) -> str:
    if len(text) <= _TEXT // 2:  # cannot be too long, whatever its characters are
        return text
    return text.encode("utf-16-le", "surrogatepass")[: 2 * _TEXT].decode("utf-16-le", "ignore")


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """Give the path of a file, and a place beside it; what is written there replaces the file.

    Raises
    ------
    FilterError
        If no file can be written there.
    CaseSearchError
        If the disk fails or fills; what was there is intact.
    """
    place = OutputPath.of(os.path.expanduser(os.fspath(path)))  # noqa: PTH111 - a Path drops the slash
    if place.folder:
        raise FilterError(f"{str(place.path)!r} is a folder; name a file in it")
    with temporary_sibling(place) as work:
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
    names = header if isinstance(header, bool) else safe_names(header)
    with replace_file(path) as (target, new):
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
    cells = [safe_cells(frame.iloc[:, at]) for at in range(frame.shape[1])]
    safe = pd.concat(cells, axis=1) if cells else frame.copy(deep=False)
    safe.columns = pd.Index(safe_names(frame.columns), dtype=object)
    safe.index = _safe_labels(frame.index)
    return safe


def _safe_labels(index: pd.Index[Any]) -> pd.Index[Any]:
    labels = index.to_frame(index=False)
    safe = [safe_cells(labels.iloc[:, at]) for at in range(labels.shape[1])]
    names = safe_names(index.names)
    if len(safe) == 1:
        labelled: pd.Index[Any] = pd.Index(safe[0], name=names[0])
        return labelled
    return pd.MultiIndex.from_arrays(safe, names=names)


def to_parquet(frame: pd.DataFrame, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write Parquet with the provenance in it; see `CasesAccessor.to_parquet`."""
    require_distinct_columns(frame)  # Parquet finds columns by name
    stored = frame.copy(deep=False)
    stored.attrs = {key: value for key, value in frame.attrs.items() if _is_json(value)}
    for at in range(stored.shape[1]):
        if stored.iloc[:, at].dtype == object:
            stored.isetitem(at, _stored(stored.iloc[:, at]).array)
    with replace_file(path) as (target, new):
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
