"""A stream of frames in, Parquet out: one file, or a folder with one schema a file.

The rows are written beside their place and moved there at the end, so that a read that breaks
off leaves what was there. What is known only at the end, the provenance, goes into the footer:
pandas finds its ``attrs`` and dtypes in the Arrow schema that is kept there.
"""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from casesearch_pd.errors import CaseSearchError, IncompleteReadError
from casesearch_pd.query.schema import Field
from casesearch_pd.reading.columns import Columns, arrow_type
from casesearch_pd.reading.frame import build
from casesearch_pd.reading.place import PART, beside, replace_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from casesearch_pd.query.schema import FieldType
    from casesearch_pd.reading.frame import Look
    from casesearch_pd.reading.place import Place
    from casesearch_pd.reading.stream import Chunks

__all__ = ["PIECE", "write"]

PIECE = 5_000
"""Rows that are best in memory as a frame at once: Arrow tables, of which many make a row
group, take a fraction of the room that lists and texts of Python take."""

_LISTS = pa.list_(pa.large_string())
_ROWS = 1_000_000  # of a part file, at most


def write(chunks: Chunks, place: Place, *, group: int) -> Path:
    """Write a stream to its end, so many rows a row group.

    Raises
    ------
    CaseSearchError
        If the disk fills; what was there is intact, as after any error of the read.
    """
    with chunks, beside(place) as work:
        try:
            if place.folder:
                _write_parts(chunks, work, group)
                replace_parts(work, place.path)
            else:
                _write_one(chunks, work / place.path.name, group)
                (work / place.path.name).replace(place.path)
        except IncompleteReadError as error:
            error.add_note(f"{place.path} was not written: what was there is intact")
            raise
        except OSError as error:
            raise CaseSearchError(
                f"{place.path} cannot be written ({error}); make room and read again: what was "
                "there is intact"
            ) from error
    return place.path


# --- files --------------------------------------------------------------------------------


@dataclass
class _File:
    """One Parquet file under way."""

    path: Path
    fields: tuple[Field, ...]
    look: Look
    group: int
    writer: pq.ParquetWriter = field(init=False)
    rows: int = 0
    held: list[pa.Table] = field(default_factory=list)  # rows that are no row group yet

    def __post_init__(self) -> None:
        """Open it."""
        schema = _schema(self.fields, self.look)
        self.writer = pq.ParquetWriter(self.path, schema, store_schema=False)

    def add(self, frame: pd.DataFrame) -> None:
        """Add rows to the row group, or begin another."""
        if sum(table.num_rows for table in self.held) + len(frame) > self.group:
            self._flush()
        if len(frame):
            self.held.append(_table(frame, self.fields, self.look))
        self.rows += len(frame)

    def _flush(self) -> None:
        if self.held:
            self.writer.write_table(pa.concat_tables(self.held))
        self.held.clear()

    def close(self, attrs: dict[str, str] | None = None) -> None:
        """Write the last rows, and say what pandas is to make of all of them."""
        self._flush()
        empty = _table(_empty(self.fields, self.look), self.fields, self.look)
        told = dict(empty.schema.metadata)
        if attrs is not None:
            told[b"PANDAS_ATTRS"] = json.dumps(attrs).encode()
        schema = empty.schema.with_metadata(told)
        # Arrow and pandas look into the schema first, and other readers into what is beside it.
        told[b"ARROW:schema"] = base64.b64encode(schema.serialize())
        self.writer.add_key_value_metadata(told)
        self.writer.close()


@contextmanager
def _opened(path: Path, fields: Sequence[Field], look: Look, group: int) -> Iterator[_File]:
    """Open a file; what breaks off is closed without a word, since it is not kept."""
    file = _File(path, tuple(fields), look, group)
    try:
        yield file
    finally:
        with suppress(OSError):  # what has to be whole is closed already
            file.writer.close()


def _write_one(chunks: Chunks, path: Path, group: int) -> None:
    with _opened(path, chunks.fields, chunks.look, group) as file:
        for chunk in chunks:
            file.add(chunk)
        file.close(chunks.attrs)


def _write_parts(chunks: Chunks, folder: Path, group: int) -> None:
    """Write part files, and before them one without rows that tells what all of them are.

    Who reads a folder as one table takes columns and provenance from its first file.
    """
    late: dict[str, Field] = {}
    with ExitStack() as part:
        file: _File | None = None
        for number, chunk in enumerate(chunks, 1):
            late = _met(late, chunk, chunks.fields)
            fields = (*chunks.fields, *late.values())
            if file is None or file.fields != fields or file.rows >= _ROWS:
                _close(file)
                part.close()
                path = folder / PART.format(number)
                file = part.enter_context(_opened(path, fields, chunks.look, group))
            file.add(chunk)
        _close(file)
    fields = (*chunks.fields, *late.values())
    with _opened(folder / PART.format(0), fields, chunks.look, group) as head:
        head.close(chunks.attrs)


def _close(file: _File | None) -> None:
    if file is not None:
        file.close()


# --- tables -------------------------------------------------------------------------------


def _schema(fields: Sequence[Field], look: Look) -> pa.Schema:
    return pa.schema([(item.column, _stored(item.type, look)) for item in fields])


def _stored(kind: FieldType, look: Look) -> pa.DataType:
    if kind in _LISTED:
        return _LISTS
    return pa.timestamp("us", look.tz) if kind == "datetime" else arrow_type(kind)


_LISTED: frozenset[FieldType] = frozenset({"list", "tags"})


def _empty(fields: Sequence[Field], look: Look) -> pd.DataFrame:
    columns, _ = Columns(fields).finish()
    return build(columns, tz=look.tz, backend=look.backend)


def _table(frame: pd.DataFrame, fields: Sequence[Field], look: Look) -> pa.Table:
    """Make a table of just these fields; pandas' description of its dtypes comes with it."""
    like = _empty([_texted(item) for item in fields], look)
    columns = {item.column: _cells(frame.get(item.column), item.type) for item in fields}
    shown = pd.DataFrame(
        {
            name: pd.Series(cells, index=frame.index, dtype=like[name].dtype)
            for name, cells in columns.items()
        },
        index=frame.index,
    )
    return pa.Table.from_pandas(shown, schema=_schema(fields, look), preserve_index=False)


def _texted(item: Field) -> Field:
    """Take nested values as JSON text: Arrow would give each all keys of all others."""
    return replace(item, type="text") if item.type == "json" else item


def _cells(column: pd.Series[Any] | None, kind: FieldType) -> Any:
    if column is None:
        return None
    if kind in _LISTED:
        return column.map(_listed, na_action="ignore")
    if kind == "json":
        return column.map(_as_json, na_action="ignore")
    if kind == "text" and not pd.api.types.is_string_dtype(column.dtype):
        return column.map(_as_json, na_action="ignore")
    return column


def _listed(cell: Any) -> list[str]:
    cells = cell if isinstance(cell, list) else [cell]
    return [one if isinstance(one, str) else _as_json(one) for one in cells if one is not None]


def _as_json(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False, default=str)


# --- fields that no schema told -----------------------------------------------------------


def _met(late: dict[str, Field], chunk: pd.DataFrame, known: Sequence[Field]) -> dict[str, Field]:
    """Add the fields that a chunk shows first; where two types clash, text wins."""
    told = {item.column for item in known}
    new = {name: _kind(chunk[name].dropna()) for name in chunk.columns if name not in told}
    kinds = {name: kind for name, kind in new.items() if kind is not None}
    return late | {
        name: Field(name, name, name, _wider(late[name].type if name in late else kind, kind))
        for name, kind in kinds.items()
    }


def _kind(held: pd.Series[Any]) -> FieldType | None:
    """Tell the type of a column; None if it has no values."""
    types = pd.api.types
    if held.empty:
        return None
    if types.is_bool_dtype(held.dtype):
        return "boolean"
    if types.is_integer_dtype(held.dtype):
        return "integer"
    if types.is_numeric_dtype(held.dtype):
        return "number"
    return "json" if held.dtype == object else "text"


def _wider(one: FieldType, other: FieldType) -> FieldType:
    if one == other:
        return one
    if {one, other} == {"integer", "number"}:
        return "number"
    return "json" if "json" in (one, other) else "text"
