"""A stream of frames in, Parquet out: one file, or a folder with one schema a file.

The rows are written beside their place and moved there at the end, so that a read that breaks
off leaves what was there. What is known only at the end, the provenance, goes into the footer:
pandas finds its ``attrs`` and dtypes in the Arrow schema that is kept there.
"""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from casesearch_pd.errors import CaseSearchError, IncompleteReadError
from casesearch_pd.reading.frames.arrow_tables import empty_table, storable, to_table, unify_types
from casesearch_pd.reading.output.atomic import PART, replace_parts, temporary_sibling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.fetch.stream import Chunks
    from casesearch_pd.reading.frames.frame import FrameFormat
    from casesearch_pd.reading.output.atomic import OutputPath

__all__ = ["MAX_PIECE_ROWS", "write_parquet"]

MAX_PIECE_ROWS = 5_000
"""Rows that are best in memory as a frame at once: Arrow tables, of which many make a row
group, take a fraction of the room that lists and texts of Python take."""

_ROWS = 1_000_000  # of a part file, at most


def write_parquet(chunks: Chunks, place: OutputPath, *, group: int) -> Path:
    """Write a stream to its end, so many rows a row group.

    Raises
    ------
    CaseSearchError
        If the disk fills; what was there is intact, as after any error of the read.
    """
    with chunks, temporary_sibling(place) as work:
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
    look: FrameFormat
    group: int
    writer: pq.ParquetWriter = field(init=False)
    rows: int = 0
    held: list[pa.Table] = field(default_factory=list)  # rows that are no row group yet

    def __post_init__(self) -> None:
        """Open it."""
        schema = storable(self.fields, self.look)
        self.writer = pq.ParquetWriter(self.path, schema, store_schema=False)

    def add(self, frame: pd.DataFrame) -> None:
        """Add rows to the row group, or begin another."""
        if sum(table.num_rows for table in self.held) + len(frame) > self.group:
            self._flush()
        if len(frame):
            self.held.append(to_table(frame, self.fields, self.look))
        self.rows += len(frame)

    def _flush(self) -> None:
        if self.held:
            self.writer.write_table(pa.concat_tables(self.held))
        self.held.clear()

    def close(self, attrs: dict[str, str] | None = None) -> None:
        """Write the last rows, and say what pandas is to make of all of them."""
        self._flush()
        last = to_table(empty_table(self.fields, self.look), self.fields, self.look)
        told = dict(last.schema.metadata)
        if attrs is not None:
            told[b"PANDAS_ATTRS"] = json.dumps(attrs).encode()
        schema = last.schema.with_metadata(told)
        # Arrow and pandas look into the schema first, and other readers into what is beside it.
        told[b"ARROW:schema"] = base64.b64encode(schema.serialize())
        self.writer.add_key_value_metadata(told)
        self.writer.close()


@contextmanager
def _opened(path: Path, fields: Sequence[Field], look: FrameFormat, group: int) -> Iterator[_File]:
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
            late = unify_types(late, chunk, chunks.fields)
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
