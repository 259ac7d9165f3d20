"""Collect the values of pages in typed Arrow columns; an invalid cell never fails its page.

Values are collected in lists and converted to Arrow arrays every thousand rows, a column at a
time. A column whose values all have its type is converted at once; any other is converted cell by
cell: a value that does not fit becomes NA and is counted under the name of the column.
"""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from casesearch_pd.sources.transport.context import default_tuning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from casesearch_pd.query.schema import Field, FieldType
    from casesearch_pd.sources.base import Page

__all__ = [
    "MEMORY_POOL",
    "OBJECT_TYPES",
    "Columns",
    "arrow_type",
    "describe_invalid_values",
    "pause_gc",
    "to_arrow",
]

OBJECT_TYPES: frozenset[FieldType] = frozenset({"list", "tags", "json"})
"""Types whose cells stay Python objects: Arrow would return lists as arrays."""

MEMORY_POOL = pa.system_memory_pool()
"""The memory pool of all columns: Arrow's own keeps a third more than many small arrays need."""

_UNPACK_ROWS = 1_000  # rows that exist as tuples and as lists at once
_TIME = pa.timestamp("us", "UTC")
_ARROW: dict[str, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "datetime": _TIME,
}


def arrow_type(type_: FieldType) -> pa.DataType:
    """Return the Arrow type of the columns of a field type."""
    return _ARROW.get(type_, pa.large_string())


@dataclass
class Columns:
    """The columns of one window or pass, growing page by page."""

    fields: Sequence[Field]
    open: bool = False  # whether fields that are not in the schema are collected too
    rows: int = 0
    invalid: Counter[str] = field(default_factory=Counter)
    _by_column: dict[str, Field] = field(init=False)
    _values: dict[str, list[Any]] = field(default_factory=dict)  # not converted yet
    _chunks: dict[str, list[pa.Array]] = field(default_factory=dict)
    _flushed: int = 0  # rows that are converted

    def __post_init__(self) -> None:
        """Create one list per column."""
        self._by_column = {item.column: item for item in self.fields}
        for column in self._by_column:
            self._values[column], self._chunks[column] = [], []

    def add(self, page: Page) -> None:
        """Append the rows of a page."""
        if self.open:
            for new_field in page.new_fields.values():
                self._add_field(new_field)
        for column, values in self._values.items():
            cells = page.columns.get(column)
            if cells is None:
                cells = [None] * page.rows
            values.extend(_pack(cells) if _keeps_objects(self._by_column[column].type) else cells)
        self.invalid.update(page.invalid)
        self.rows += page.rows
        # Few enough rows that their texts are still in the cache of the processor.
        if self.rows - self._flushed >= default_tuning().flush_rows:
            self._flush()

    def append(self, other: Columns) -> None:
        """Append the rows of other columns."""
        self._flush()
        other._flush()
        for new_field in list(other._by_column.values()):
            self._add_field(new_field)
            other._add_field(self._by_column[new_field.column])
        for column, item in self._by_column.items():
            if column not in other._by_column:
                self._append_missing(item, other.rows)
            else:
                self._values[column].extend(other._values[column])
                self._chunks[column].extend(other._chunks[column])
        self.invalid.update(other.invalid)
        self.rows += other.rows
        self._flushed = self.rows

    def _append_missing(self, item: Field, rows: int) -> None:
        if _keeps_objects(item.type):
            self._values[item.column].extend([None] * rows)
        elif rows:
            self._chunks[item.column].append(_nulls(rows, item.type))

    def _add_field(self, new_field: Field) -> None:
        """Add a column for a field that is not in the schema; conflicting types make it untyped."""
        known = self._by_column.get(new_field.column)
        if known is None:
            self._add_column(new_field)
        elif known.type != new_field.type and known not in self.fields:
            self._make_untyped(known)

    def _make_untyped(self, known: Field) -> None:
        """Let the values of a column determine its type, at the end."""
        values = [value for chunk in self._chunks[known.column] for value in _to_values(chunk)]
        self._by_column[known.column] = replace(known, type="any")
        self._values[known.column][:0] = values
        self._chunks[known.column] = []

    def _add_column(self, new_field: Field) -> None:
        column, type_ = new_field.column, new_field.type
        self._by_column[column], self._chunks[column] = new_field, []
        # Earlier rows have no value: as Arrow where they are converted, else as a list.
        converted = 0 if _keeps_objects(type_) else self._flushed
        self._values[column] = [None] * (self.rows - converted)
        if converted:
            self._chunks[column].append(_nulls(converted, type_))

    def _flush(self) -> None:
        """Convert the values that are not converted yet."""
        for column, values in self._values.items():
            type_ = self._by_column[column].type
            if not _keeps_objects(type_) and values:
                array, invalid = to_arrow(values, type_)
                self._chunks[column].append(array)
                self._count_invalid(column, invalid)
                values.clear()
        self._flushed = self.rows

    def _count_invalid(self, column: str, invalid: int) -> None:
        if invalid:
            self.invalid[column] += invalid

    def finish(self) -> tuple[dict[str, pa.ChunkedArray | list[Any]], dict[str, Field]]:
        """Return all columns, as lists if they hold objects and else as Arrow; and their fields."""
        self._flush()
        with pause_gc():
            columns = {
                column: self._finish_column(item) for column, item in self._by_column.items()
            }
        return columns, dict(self._by_column)

    def _finish_column(self, item: Field) -> pa.ChunkedArray | list[Any]:
        if item.type in OBJECT_TYPES:
            return _unpack(self._values[item.column])
        if item.type == "any":
            return self._infer_column(item.column, self._values[item.column])
        return pa.chunked_array(self._chunks[item.column], arrow_type(item.type))

    def _infer_column(self, column: str, values: list[Any]) -> pa.ChunkedArray | list[Any]:
        """Convert a column without a type by its values: text wins over numbers."""
        types = set(map(type, values)) - {type(None)}
        if types & {tuple, dict}:
            return _unpack(values)
        type_ = _infer_type(types)
        if type_ == "text":
            values = [None if value is None else _to_text(value) for value in values]
        array, invalid = to_arrow(values, type_)
        self._count_invalid(column, invalid)
        return pa.chunked_array([array])


def _nulls(rows: int, type_: FieldType) -> pa.Array:
    return pa.nulls(rows, arrow_type(type_), memory_pool=MEMORY_POOL)


def _keeps_objects(type_: FieldType) -> bool:
    """Return whether values stay Python objects until the end."""
    return type_ in OBJECT_TYPES or type_ == "any"


def _to_values(chunk: pa.Array) -> list[Any]:
    values: list[Any] = (chunk.cast(pa.string()) if chunk.type == _TIME else chunk).to_pylist()
    return values


# Hundreds of thousands of lists would be traversed by the garbage collector again and again during
# a read. Tuples of text are not, so lists are kept as tuples until the end.
def _pack(cells: Iterable[Any]) -> list[Any]:
    return [tuple(cell) if type(cell) is list else cell for cell in cells]


def _unpack(cells: list[Any]) -> list[Any]:
    """Turn tuples into lists in place, few at a time: all at once would double the memory."""
    for start in range(0, len(cells), _UNPACK_ROWS):
        part = cells[start : start + _UNPACK_ROWS]
        cells[start : start + _UNPACK_ROWS] = [
            list(cell) if type(cell) is tuple else cell for cell in part
        ]
    return cells


@contextmanager
def pause_gc() -> Iterator[None]:
    """Pause the garbage collector while many objects are created, none of which is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _infer_type(types: set[type]) -> FieldType:
    if types == {bool}:
        return "boolean"
    if types == {int}:
        return "integer"
    if types and types <= {int, float}:
        return "number"
    return "text"


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value!r}"


def describe_invalid_values(invalid: Counter[str]) -> str:
    """Return a sentence with the number of invalid values in each column."""
    counts = ", ".join(f"{column} ({count})" for column, count in sorted(invalid.items()))
    return (
        f"values that do not fit the type of their column (now missing, or rounded): {counts}; "
        "compare them with the service's own display"
    )


def to_arrow(values: list[Any], type_: FieldType) -> tuple[pa.Array, int]:
    """Convert Python values to an Arrow array; also return how many did not fit exactly."""
    convert_all, convert_one = _CONVERTERS.get(type_, (_convert_texts, _convert_text))
    python_types = _PYTHON_TYPES.get(type_)
    if python_types is None or set(map(type, values)) <= python_types:
        # If one of the values is invalid or out of range, the slow way finds out which.
        with suppress(pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            return convert_all(values), 0
    return _convert_cells(values, convert_one, arrow_type(type_))


def _convert_cells(
    values: Iterable[Any], convert: Callable[[Any], tuple[Any, bool]], to: pa.DataType
) -> tuple[pa.Array, int]:
    cells = [(None, False) if value is None else convert(value) for value in values]
    array = pa.array([cell for cell, _ in cells], to, memory_pool=MEMORY_POOL)
    return array, sum(invalid for _, invalid in cells)


def _convert_texts(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.large_string(), memory_pool=MEMORY_POOL)


def _convert_numbers(values: list[Any]) -> pa.Array:
    array = pa.array(values, pa.float64(), memory_pool=MEMORY_POOL)
    nan = pc.is_nan(array)
    return pc.if_else(nan, None, array) if pc.any(nan).as_py() else array


def _convert_integers(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.int64(), memory_pool=MEMORY_POOL)


def _convert_booleans(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.bool_(), memory_pool=MEMORY_POOL)


def _convert_times(values: list[Any]) -> pa.Array:
    return pc.cast(pa.array(values, pa.string()), _TIME, memory_pool=MEMORY_POOL)


def _convert_text(value: Any) -> tuple[str | None, bool]:
    if not isinstance(value, str):
        return None, True
    clean = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return clean, clean != value


def _convert_number(value: Any) -> tuple[float | None, bool]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None, True
    try:
        number = float(value)
    except OverflowError:
        return None, True
    return (None, False) if number != number else (number, number != value)  # noqa: PLR0124 - NaN


def _convert_integer(value: Any) -> tuple[int | None, bool]:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return (value, False) if fits else (None, True)


def _convert_boolean(value: Any) -> tuple[bool | None, bool]:
    return (value, False) if isinstance(value, bool) else (None, True)


def _convert_time(value: Any) -> tuple[pd.Timestamp | None, bool]:
    # pandas would parse the word "today" as the current time.
    if not isinstance(value, str) or not value[:1].isdigit():
        return None, True
    try:
        timestamp = pd.to_datetime(value, format="ISO8601", utc=True)
    except (ValueError, OverflowError):
        return None, True
    return (None, True) if pd.isna(timestamp) else (timestamp.floor("us").as_unit("us"), False)


# Arrow refuses what is not text by itself, but accepts True as 1, and 1.0 as 1.
_PYTHON_TYPES: dict[str, set[type]] = {
    "number": {int, float, type(None)},
    "integer": {int, type(None)},
    "boolean": {bool, type(None)},
}
_CONVERTERS: dict[
    str, tuple[Callable[[list[Any]], pa.Array], Callable[[Any], tuple[Any, bool]]]
] = {
    "number": (_convert_numbers, _convert_number),
    "integer": (_convert_integers, _convert_integer),
    "boolean": (_convert_booleans, _convert_boolean),
    "datetime": (_convert_times, _convert_time),
}
