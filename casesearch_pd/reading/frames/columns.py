"""Pages in, typed Arrow columns out; a cell that does not fit costs itself, never the page.

Values are collected as plain lists and turned into Arrow arrays every thousand rows, all
of a column at once. A column whose values are all of its type takes the short way; any other
is looked at cell by cell: what does not fit becomes NA and is counted under its name.
"""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

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
"""Types whose cells stay Python objects: Arrow would give lists back as arrays."""

MEMORY_POOL = pa.system_memory_pool()
"""Where columns live: Arrow's own pool keeps a third more than the many small arrays need."""

_FLUSH = 1_000  # rows: few enough that their texts are still near the processor
_TIME = pa.timestamp("us", "UTC")
_ARROW: dict[str, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "datetime": _TIME,
}


def arrow_type(kind: FieldType) -> pa.DataType:
    """Tell the Arrow type of a field type's column."""
    return _ARROW.get(kind, pa.large_string())


@dataclass
class Columns:
    """The columns of one walk, growing page by page.

    Parameters
    ----------
    fields
        The columns to keep, in order.
    open
        Whether fields that only a page shows are kept too.
    """

    fields: Sequence[Field]
    open: bool = False
    rows: int = 0
    invalid: Counter[str] = field(default_factory=Counter)
    _known: dict[str, Field] = field(init=False)
    _plain: dict[str, list[Any]] = field(default_factory=dict)
    _chunks: dict[str, list[pa.Array]] = field(default_factory=dict)
    _flushed: int = 0

    def __post_init__(self) -> None:
        """Open one list a column."""
        self._known = {item.column: item for item in self.fields}
        for column in self._known:
            self._plain[column], self._chunks[column] = [], []

    def add(self, page: Page) -> None:
        """Take a page in."""
        if self.open:
            for late in page.new_fields.values():
                self._meet(late)
        for column, plain in self._plain.items():
            held = page.columns.get(column)
            cells = held if held is not None else [None] * page.rows
            plain.extend(_packed(cells) if _keeps(self._known[column].type) else cells)
        self.invalid.update(page.invalid)
        self.rows += page.rows
        if self.rows - self._flushed >= _FLUSH:
            self._flush()

    def absorb(self, other: Columns) -> None:
        """Take the rows of another walk in, after those that are here."""
        self._flush()
        other._flush()
        for late in list(other._known.values()):
            self._meet(late)
            other._meet(self._known[late.column])
        for column, item in self._known.items():
            if column not in other._known:
                self._skip(column, item, other.rows)
            else:
                self._plain[column].extend(other._plain[column])
                self._chunks[column].extend(other._chunks[column])
        self.invalid.update(other.invalid)
        self.rows += other.rows
        self._flushed = self.rows

    def _skip(self, column: str, item: Field, rows: int) -> None:
        if _keeps(item.type):
            self._plain[column].extend([None] * rows)
        elif rows:
            self._chunks[column].append(
                pa.nulls(rows, arrow_type(item.type), memory_pool=MEMORY_POOL)
            )

    def _meet(self, late: Field) -> None:
        """Open a column for a field that no schema told; two types of one field undo each other."""
        known = self._known.get(late.column)
        if known is None:
            self._open_late(late)
        elif known.type != late.type and known not in self.fields:
            self._loosen(known)

    def _loosen(self, known: Field) -> None:
        """Let the cells of a column decide its type, at the end."""
        told = [cell for chunk in self._chunks[known.column] for cell in _plain_cells(chunk)]
        self._known[known.column] = replace(known, type="any")
        self._plain[known.column][:0] = told
        self._chunks[known.column] = []

    def _open_late(self, late: Field) -> None:
        self._known[late.column] = late
        self._plain[late.column] = [None] * (
            self.rows - (0 if _keeps(late.type) else self._flushed)
        )
        self._chunks[late.column] = []
        if not _keeps(late.type) and self._flushed:
            self._chunks[late.column].append(
                pa.nulls(self._flushed, arrow_type(late.type), memory_pool=MEMORY_POOL)
            )

    def _flush(self) -> None:
        for column, plain in self._plain.items():
            kind = self._known[column].type
            if not _keeps(kind) and plain:
                array, odd = to_arrow(plain, kind)
                self._chunks[column].append(array)
                self._count(column, odd)
                plain.clear()
        self._flushed = self.rows

    def _count(self, column: str, odd: int) -> None:
        if odd:
            self.invalid[column] += odd

    def finish(self) -> tuple[dict[str, pa.ChunkedArray | list[Any]], dict[str, Field]]:
        """Close all columns; those of objects come as lists, all others as Arrow."""
        self._flush()
        with pause_gc():
            closed = {column: self._closed(item) for column, item in self._known.items()}
        return closed, dict(self._known)

    def _closed(self, item: Field) -> pa.ChunkedArray | list[Any]:
        if item.type in OBJECT_TYPES:
            return _unpacked(self._plain[item.column])
        if item.type == "any":
            return self._guessed(item.column, self._plain[item.column])
        return pa.chunked_array(self._chunks[item.column], arrow_type(item.type))

    def _guessed(self, column: str, values: list[Any]) -> pa.ChunkedArray | list[Any]:
        """Decide the type of a column that nobody told: text wins over numbers."""
        kinds = set(map(type, values)) - {type(None)}
        if kinds & {tuple, dict}:
            return _unpacked(values)
        kind = _kind_of(kinds)
        plain = values if kind != "text" else [None if v is None else _as_text(v) for v in values]
        array, odd = to_arrow(plain, kind)
        self._count(column, odd)
        return pa.chunked_array([array])


def _keeps(kind: FieldType) -> bool:
    """Tell whether values stay as they are until the end."""
    return kind in OBJECT_TYPES or kind == "any"


def _plain_cells(chunk: pa.Array) -> list[Any]:
    told: list[Any] = (chunk.cast(pa.string()) if chunk.type == _TIME else chunk).to_pylist()
    return told


def _packed(cells: Iterable[Any]) -> list[Any]:
    """Hold lists as tuples: the garbage collector need not walk through tuples of text.

    Hundreds of thousands of lists would have it do so again and again during a read.
    """
    return [tuple(cell) if type(cell) is list else cell for cell in cells]


def _unpacked(cells: list[Any]) -> list[Any]:
    """Make lists of tuples in place, few at a time: both at once would be twice the memory."""
    for at in range(0, len(cells), _FLUSH):
        some = cells[at : at + _FLUSH]
        cells[at : at + _FLUSH] = [list(cell) if type(cell) is tuple else cell for cell in some]
    return cells


@contextmanager
def pause_gc() -> Iterator[None]:
    """Keep the collector from walking through what is made here, none of which is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _kind_of(kinds: set[type]) -> FieldType:
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return "integer"
    if kinds and kinds <= {int, float}:
        return "number"
    return "text"


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value!r}"


def describe_invalid_values(odd: Counter[str]) -> str:
    """Say in which columns how many values do not fit."""
    named = ", ".join(f"{column} ({count})" for column, count in sorted(odd.items()))
    return f"values that do not fit their column's type, or not exactly: {named}"


def to_arrow(values: list[Any], kind: FieldType) -> tuple[pa.Array, int]:
    """Turn plain values into an Arrow array.

    Parameters
    ----------
    values
        One value a row; None is missing.
    kind
        The type that the schema tells.

    Returns
    -------
    tuple
        The array, and how many values did not fit or lost digits.
    """
    maker, convert = _MAKERS.get(kind, (_texts, _text))
    fitting = _FITTING.get(kind)
    if fitting is None or set(map(type, values)) <= fitting:
        try:
            return maker(values), 0
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            pass  # one of them is no such value or out of range; see which
    return _cell_by_cell(values, convert, arrow_type(kind))


def _cell_by_cell(
    values: Iterable[Any], convert: Callable[[Any], tuple[Any, bool]], to: pa.DataType
) -> tuple[pa.Array, int]:
    cells = [(None, False) if value is None else convert(value) for value in values]
    return pa.array([cell for cell, _ in cells], to, memory_pool=MEMORY_POOL), sum(
        odd for _, odd in cells
    )


def _texts(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.large_string(), memory_pool=MEMORY_POOL)


def _numbers(values: list[Any]) -> pa.Array:
    array = pa.array(values, pa.float64(), memory_pool=MEMORY_POOL)
    nan = pc.is_nan(array)
    return pc.if_else(nan, None, array) if pc.any(nan).as_py() else array


def _integers(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.int64(), memory_pool=MEMORY_POOL)


def _booleans(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.bool_(), memory_pool=MEMORY_POOL)


def _times(values: list[Any]) -> pa.Array:
    return pc.cast(pa.array(values, pa.string()), _TIME, memory_pool=MEMORY_POOL)


def _text(value: Any) -> tuple[str | None, bool]:
    if not isinstance(value, str):
        return None, True
    clean = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return clean, clean != value


def _number(value: Any) -> tuple[float | None, bool]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None, True
    try:
        number = float(value)
    except OverflowError:
        return None, True
    return (None, False) if number != number else (number, number != value)  # noqa: PLR0124 - NaN


def _integer(value: Any) -> tuple[int | None, bool]:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return (value, False) if fits else (None, True)


def _boolean(value: Any) -> tuple[bool | None, bool]:
    return (value, False) if isinstance(value, bool) else (None, True)


def _time(value: Any) -> tuple[pd.Timestamp | None, bool]:
    # To pandas the word "today" is this very moment.
    if not isinstance(value, str) or not value[:1].isdigit():
        return None, True
    try:
        moment = pd.to_datetime(value, format="ISO8601", utc=True)
    except (ValueError, OverflowError):
        return None, True
    return (None, True) if pd.isna(moment) else (moment.floor("us").as_unit("us"), False)


# Arrow refuses what is no text by itself; it takes True for 1, and 1.0 for 1.
_FITTING: dict[str, set[type]] = {
    "number": {int, float, type(None)},
    "integer": {int, type(None)},
    "boolean": {bool, type(None)},
}
_MAKERS: dict[str, tuple[Callable[[list[Any]], pa.Array], Callable[[Any], tuple[Any, bool]]]] = {
    "number": (_numbers, _number),
    "integer": (_integers, _integer),
    "boolean": (_booleans, _boolean),
    "datetime": (_times, _time),
}
