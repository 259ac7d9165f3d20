"""Files of cases for other programs: CSV, Excel and Parquet.

Excel has neither time zones nor dates before March 1900, 15 digits per number and 32,767
characters per text: a value that does not fit is written as text, shortened with a warning, or
rejected.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.analysis.display_names import label_cells, option_labels
from casesearch_pd.errors import FilterError, warn
from casesearch_pd.export.sanitize import safe_cells, safe_names
from casesearch_pd.reading.atomic import atomic_write
from casesearch_pd.reading.frames.arrow_tables import as_json
from casesearch_pd.reading.frames.frame import require_distinct_columns
from casesearch_pd.reading.provenance import zone_of_frame

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from xlsxwriter import Workbook
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

__all__ = ["to_csv", "to_excel", "to_parquet"]

_CSV_DEFAULTS = {"index": False, "quoting": csv.QUOTE_NONNUMERIC}
_SAFE_QUOTING = {csv.QUOTE_NONNUMERIC, csv.QUOTE_ALL}

# Microsoft, "Excel specifications and limits"
_MAX_ROWS = 1_048_576
_MAX_COLUMNS = 16_384
_MAX_TEXT = 32_767  # UTF-16 units
_MAX_INTEGER = 10**15  # larger ones lose their last digits
# Excel believes in a 29 February 1900, and other programs count the days before it differently.
_FIRST_TIME, _LAST_TIME = pd.Timestamp(1900, 3, 1), pd.Timestamp("9999-12-31T23:59:59")
_WORKBOOK_OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}
_DAY = 86_400  # seconds
_MAX_WIDTH = 60  # characters
_SAMPLE_ROWS = 1_000  # whose cells decide the widths


def to_csv(
    frame: pd.DataFrame, path: str | os.PathLike[str], *, labels: bool = False, **options: Any
) -> Path:
    """Write a CSV file; see `CasesAccessor.to_csv`."""
    if labels:
        frame = label_cells(frame, option_labels(frame))
    options = _CSV_DEFAULTS | options
    _require_safe_options(options)
    columns, header = options.pop("columns", None), options.pop("header", True)
    safe = _safe_frame(frame if columns is None else frame[list(columns)])
    names = header if isinstance(header, bool) else safe_names(header)
    with atomic_write(path) as (target, temporary):
        safe.to_csv(temporary, header=names, **options)
    return target


def _require_safe_options(options: dict[str, Any]) -> None:
    # Any other quoting leaves a bare carriage return in the file, where readers begin a row.
    if options["quoting"] not in _SAFE_QUOTING:
        raise FilterError(
            f"quoting={options['quoting']!r} would let a carriage return in a cell begin a new "
            "row; leave quoting= out, or use csv.QUOTE_ALL"
        )
    if "mode" in options:
        raise FilterError(
            f"mode={options['mode']!r} is not supported: the file is always replaced; "
            "leave mode= out"
        )


def _safe_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose cells, column names and row labels a spreadsheet cannot run."""
    cells = [safe_cells(frame.iloc[:, at]) for at in range(frame.shape[1])]
    safe = pd.concat(cells, axis=1) if cells else frame.copy(deep=False)
    safe.columns = pd.Index(safe_names(frame.columns), dtype=object)
    safe.index = _safe_index(frame.index)
    return safe


def _safe_index(index: pd.Index[Any]) -> pd.Index[Any]:
    levels = index.to_frame(index=False)
    safe = [safe_cells(levels.iloc[:, at]) for at in range(levels.shape[1])]
    names = safe_names(index.names)
    if len(safe) == 1:
        flat: pd.Index[Any] = pd.Index(safe[0], name=names[0])
        return flat
    return pd.MultiIndex.from_arrays(safe, names=names)


def to_excel(frame: pd.DataFrame, path: str | os.PathLike[str], *, labels: bool = False) -> Path:
    """Write an Excel workbook; see `CasesAccessor.to_excel`."""
    _require_fit(frame)
    if labels:
        frame = label_cells(frame, option_labels(frame))
    zone = zone_of_frame(frame, default="")
    columns = [_column(frame.iloc[:, at], zone) for at in range(frame.shape[1])]
    with atomic_write(path) as (target, temporary), _open_workbook(temporary) as workbook:
        shortened = _write_cells(_add_sheet(workbook, columns, len(frame)), columns)
    if shortened:
        counts = ", ".join(f"{count:,} in {name!r}" for name, count in shortened.items())
        warn(
            f"Excel allows {_MAX_TEXT:,} characters per cell: longer text was truncated "
            f"({counts}); df.cases.to_csv and df.cases.to_parquet keep all of it"
        )
    return target


def _require_fit(frame: pd.DataFrame) -> None:
    if len(frame) >= _MAX_ROWS:
        raise FilterError(
            f"{len(frame):,} cases do not fit into a sheet of {_MAX_ROWS:,} rows; use "
            "df.cases.to_parquet or to_csv, or write parts, such as df[:1_000_000]"
        )
    if frame.shape[1] > _MAX_COLUMNS:
        raise FilterError(
            f"{frame.shape[1]:,} columns do not fit into a sheet of {_MAX_COLUMNS:,}; select some "
            "of them: df[[…]].cases.to_excel"
        )


@contextmanager
def _open_workbook(path: Path) -> Iterator[Workbook]:
    try:
        import xlsxwriter  # noqa: PLC0415 - an extra, and used by nothing else
        from xlsxwriter.exceptions import XlsxFileError  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            "to_excel needs xlsxwriter, which is not installed; install it with "
            "pip install 'casesearch_pd[excel]', or use df.cases.to_csv"
        ) from error
    workbook = xlsxwriter.Workbook(path, _WORKBOOK_OPTIONS | {"tmpdir": path.parent})
    try:
        yield workbook
    except BaseException:
        # Closing releases its temporary files; the unfinished workbook itself is discarded.
        with suppress(XlsxFileError):
            workbook.close()
        raise
    # xlsxwriter raises its own error for every OSError, and for a file that is too large.
    try:
        workbook.close()
    except XlsxFileError as error:
        raise OSError(str(error)) from error


@dataclass(frozen=True)
class _Column:
    """One column in the types of Excel."""

    name: str
    cells: Sequence[Any]  # texts, numbers, booleans, times without a zone, or None

    @property
    def width(self) -> int:
        """The width of the column in characters."""
        lengths = [len(_first_line(cell)) for cell in self.cells[:_SAMPLE_ROWS]]
        # Four more for the button of the filter.
        return min(_MAX_WIDTH, max([len(self.name) + 4, *lengths])) + 1


def _first_line(cell: Any) -> str:
    return str(cell).partition("\n")[0]


def _column(column: pd.Series[Any], frame_zone: Any) -> _Column:
    name = str(safe_names([column.name])[0])
    match getattr(column.dtype, "kind", "O"):
        case "M":
            return _time_column(name, column, frame_zone)
        case "m":
            days = column.dt.total_seconds() / _DAY
            return _Column(f"{name} (days)", _cells_or_none(days))
        case _:
            return _Column(name, _cells_or_none(safe_cells(column)))


def _time_column(name: str, column: pd.Series[Any], frame_zone: Any) -> _Column:
    """Return a column of local times, with their zone in its name if it is known."""
    zone = getattr(column.dt, "tz", None) or frame_zone
    local = column.dt.tz_localize(None)
    return _Column(name if not zone else f"{name} ({zone})", _cells_or_none(local))


def _cells_or_none(column: pd.Series[Any]) -> list[Any]:
    cells = column.astype(object)
    return cells.where(cells.notna().to_numpy(), None).tolist()


@dataclass(frozen=True)
class _Sheet:
    """A sheet and the formats of its cells."""

    sheet: Worksheet
    heading: Format
    time: Format
    default: Format


def _add_sheet(workbook: Workbook, columns: Sequence[_Column], rows: int) -> _Sheet:
    """Add a sheet whose first row stays visible and has filter buttons."""
    sheet = workbook.add_worksheet("cases")
    sheet.freeze_panes(1, 0)
    if columns:
        sheet.autofilter(0, 0, rows, len(columns) - 1)
    for at, column in enumerate(columns):
        sheet.set_column(at, at, column.width)
    heading = workbook.add_format({"bold": True, "bottom": 1})
    time = workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    return _Sheet(sheet, heading, time, workbook.add_format({}))


def _write_cells(sheet: _Sheet, columns: Sequence[_Column]) -> dict[str, int]:
    """Write all cells; return the number of shortened texts per column."""
    shortened: Counter[str] = Counter()
    for at, column in enumerate(columns):
        _write_text(sheet, 0, at, column.name, sheet.heading)
    # Row by row, because a workbook of constant memory keeps only the current row.
    for row, cells in enumerate(zip(*(column.cells for column in columns), strict=True), 1):
        for at, cell in enumerate(cells):
            if cell is not None and not _write_cell(sheet, row, at, cell):
                shortened[columns[at].name] += 1
    return dict(shortened)


def _write_cell(sheet: _Sheet, row: int, at: int, cell: Any) -> bool:
    """Write one cell by its type; return whether it was written completely."""
    match cell:
        case bool():
            sheet.sheet.write_boolean(row, at, cell)
        case pd.Timestamp() if cell.tz is None and _FIRST_TIME <= cell <= _LAST_TIME:
            sheet.sheet.write_datetime(row, at, cell, sheet.time)
        case Real() | Decimal() if _is_exact(cell):
            sheet.sheet.write_number(row, at, float(cell))
        case _:
            return _write_text(sheet, row, at, str(cell))
    return True


def _is_exact(number: Real | Decimal) -> bool:
    """Return whether Excel can store a number: finite, and an integer without loss."""
    if not math.isfinite(number):
        return False
    return not isinstance(number, Integral) or int(abs(number)) < _MAX_INTEGER


def _write_text(
    sheet: _Sheet, row: int, at: int, text: str, cell_format: Format | None = None
) -> bool:
    """Write a text, truncated if it is too long; return whether it was written completely."""
    fitting_text = _truncate(text)
    if fitting_text.startswith("<r>"):
        # xlsxwriter takes "<r>…</r>" for its own rich text and would write it as bare XML.
        sheet.sheet.write_rich_string(row, at, fitting_text[0], sheet.default, fitting_text[1:])
    else:
        sheet.sheet.write_string(row, at, fitting_text, cell_format)
    return len(fitting_text) == len(text)


def _truncate(text: str) -> str:
    if len(text) <= _MAX_TEXT // 2:  # never too long, even if each character takes two units
        return text
    return text.encode("utf-16-le", "surrogatepass")[: 2 * _MAX_TEXT].decode("utf-16-le", "ignore")


def to_parquet(frame: pd.DataFrame, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write a Parquet file with the provenance in it; see `CasesAccessor.to_parquet`."""
    require_distinct_columns(frame)  # Parquet identifies columns by name
    storable = frame.copy(deep=False)
    storable.attrs = {key: value for key, value in frame.attrs.items() if _is_json(value)}
    for at in range(storable.shape[1]):
        if storable.iloc[:, at].dtype == object:
            storable.isetitem(at, _storable_column(storable.iloc[:, at]).array)
    with atomic_write(path) as (target, temporary):
        storable.to_parquet(temporary, engine="pyarrow", **options)
    return target


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


_LIST_TYPES = (list, tuple, set, frozenset, np.ndarray)
_UNIFORM_TYPES = {
    "string", "bytes", "boolean", "integer", "floating", "decimal", "datetime", "date", "empty",
}  # fmt: skip


def _storable_column(column: pd.Series[Any]) -> pd.Series[Any]:
    # Parquet gives each mapping the keys of all others and refuses values of several types:
    # these become JSON text, while lists and values of one type are stored as they are.
    if all(isinstance(cell, _LIST_TYPES) for cell in column.dropna()):
        return column.map(_item_texts, na_action="ignore")
    if pd.api.types.infer_dtype(column, skipna=True) in _UNIFORM_TYPES:
        return column
    return column.map(as_json, na_action="ignore")


def _item_texts(items: Any) -> list[str]:
    return [item if isinstance(item, str) else as_json(item) for item in items]
