"""The Parquet sink: a read written to one file, or to a folder with one schema per file.

The rows are written next to their destination and moved there at the end, so that a read that
fails leaves what was there. What is known only at the end, the provenance, goes into the footer:
pandas finds its ``attrs`` and dtypes in the Arrow schema that is kept there.
"""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from casesearch_pd.errors import CaseSearchError, IncompleteReadError
from casesearch_pd.reading.atomic import PART, replace_parts, temporary_sibling
from casesearch_pd.reading.fetch.chunks import Chunks
from casesearch_pd.reading.frames.arrow_tables import (
    arrow_schema,
    empty_frame,
    to_table,
    unify_types,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.atomic import OutputPath
    from casesearch_pd.reading.frames.frame import FrameFormat
    from casesearch_pd.reading.options import ReadOptions
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["write_parquet"]

# Rows that exist as a frame at once. A row group consists of many such pieces as Arrow tables,
# which take a fraction of the memory of Python's lists and strings.
_MAX_PIECE_ROWS = 5_000
_MAX_FILE_ROWS = 1_000_000  # of a part file


def write_parquet(
    plan: ReadPlan, context: ReadContext, options: ReadOptions, output: OutputPath
) -> Path:
    """Read and write the rows of a plan; after an error the old file is intact."""
    pieces = replace(options, chunksize=min(options.chunksize, _MAX_PIECE_ROWS))
    group_rows = options.chunksize
    path = output.path
    with (
        Chunks(plan, context, pieces, open_columns=output.is_folder) as chunks,
        temporary_sibling(output) as work,
    ):
        try:
            if output.is_folder:
                _write_parts(chunks, work, group_rows)
                replace_parts(work, path)
            else:
                _write_file(chunks, work / path.name, group_rows)
                output.replace_by(work / path.name)
        except IncompleteReadError as error:
            error.add_note(f"{path} was not written: what was there is intact")
            raise
        except OSError as error:
            raise CaseSearchError(
                f"cannot write {path} ({error}); free disk space and read again: what was there "
                "is intact"
            ) from error
    return path


@dataclass
class _ParquetFile:
    """One Parquet file that is being written."""

    path: Path
    fields: tuple[Field, ...]
    frame_format: FrameFormat
    group_rows: int
    rows: int = 0
    writer: pq.ParquetWriter = field(init=False)
    pending: list[pa.Table] = field(default_factory=list)  # rows of the next row group

    def __post_init__(self) -> None:
        """Open the file."""
        schema = arrow_schema(self.fields, self.frame_format)
        self.writer = pq.ParquetWriter(self.path, schema, store_schema=False)

    def add(self, frame: pd.DataFrame) -> None:
        """Add rows to the row group, or begin another one."""
        if sum(table.num_rows for table in self.pending) + len(frame) > self.group_rows:
            self._flush()
        if len(frame):
            self.pending.append(to_table(frame, self.fields, self.frame_format))
        self.rows += len(frame)

    def _flush(self) -> None:
        if self.pending:
            self.writer.write_table(pa.concat_tables(self.pending))
        self.pending.clear()

    def close(self, attrs: dict[str, str] | None = None) -> None:
        """Write the last rows, and the metadata from which pandas restores dtypes and attrs."""
        self._flush()
        empty = empty_frame(self.fields, self.frame_format)
        template = to_table(empty, self.fields, self.frame_format)
        metadata = dict(template.schema.metadata)
        if attrs is not None:
            metadata[b"PANDAS_ATTRS"] = json.dumps(attrs).encode()
        schema = template.schema.with_metadata(metadata)
        # Arrow and pandas read this schema first; other readers read the keys next to it.
        metadata[b"ARROW:schema"] = base64.b64encode(schema.serialize())
        self.writer.add_key_value_metadata(metadata)
        self.writer.close()


@contextmanager
def _open_file(
    path: Path, fields: Sequence[Field], frame_format: FrameFormat, group_rows: int
) -> Iterator[_ParquetFile]:
    file = _ParquetFile(path, tuple(fields), frame_format, group_rows)
    try:
        yield file
    finally:
        # A complete file is closed already. After an error the file is not kept, so that its
        # own error would only hide the first one.
        with suppress(OSError):
            file.writer.close()


def _write_file(chunks: Chunks, path: Path, group_rows: int) -> None:
    with _open_file(path, chunks.fields, chunks.frame_format, group_rows) as file:
        for chunk in chunks:
            file.add(chunk)
        file.close(chunks.attrs)


def _write_parts(chunks: Chunks, folder: Path, group_rows: int) -> None:
    """Write part files, and one without rows that sorts first and describes all of them.

    Readers of a folder as one table take columns and provenance from its first file.
    """
    new_fields: dict[str, Field] = {}
    with ExitStack() as stack:
        file: _ParquetFile | None = None
        for number, chunk in enumerate(chunks, 1):
            new_fields = unify_types(new_fields, chunk, chunks.fields)
            fields = (*chunks.fields, *new_fields.values())
            if file is None or file.fields != fields or file.rows >= _MAX_FILE_ROWS:
                _close(file)
                stack.close()
                path = folder / PART.format(number)
                file = stack.enter_context(
                    _open_file(path, fields, chunks.frame_format, group_rows)
                )
            file.add(chunk)
        _close(file)
    fields = (*chunks.fields, *new_fields.values())
    with _open_file(folder / PART.format(0), fields, chunks.frame_format, group_rows) as head:
        head.close(chunks.attrs)


def _close(file: _ParquetFile | None) -> None:
    if file is not None:
        file.close()
