"""A frame of cases in, an Excel workbook out: one sheet, ready to be sorted and filtered.

Excel knows neither zones nor times before March 1900, holds 15 digits of a number and 32,767
characters of a text: what does not fit is written as text, cut and told, or refused.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError, warn
from casesearch_pd.notebook.cells import shown, shown_names
from casesearch_pd.notebook.export import replaced

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from xlsxwriter import Workbook
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

__all__ = ["to_excel"]

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
    with replaced(path) as (target, new), _workbook(new) as book:
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
    name = str(shown_names([column.name])[0])
    match getattr(column.dtype, "kind", "O"):
        case "M":
            return _of_times(name, column)
        case "m":
            days = column.dt.total_seconds() / _DAY
            return _Column(f"{name} (days)", _nothing_missing(days))
        case _:
            return _Column(name, _nothing_missing(shown(column)))


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
