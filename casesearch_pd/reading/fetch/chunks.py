"""Deliver the rows of a read in DataFrames of a chosen size."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import pandas as pd
from pyarrow import ArrowInvalid

from casesearch_pd.errors import ServiceError, warn
from casesearch_pd.reading.fetch.batches import BatchReader, with_fixed_type
from casesearch_pd.reading.fetch.outcome import (
    PartialResult,
    ShortResultError,
    check_count,
    end_early,
)
from casesearch_pd.reading.fetch.pipeline import finish_rows
from casesearch_pd.reading.fetch.windows import TimeWindow
from casesearch_pd.reading.frames.columns import describe_invalid_values
from casesearch_pd.reading.progress import progress_bar
from casesearch_pd.reading.provenance import (
    Provenance,
    ReadMetadata,
    combine_digests,
    digest_ids,
    write_provenance,
)
from casesearch_pd.sources.transport.context import Cancelled

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.frames.frame import FrameFormat
    from casesearch_pd.reading.options import ReadOptions
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.reading.progress import Bar
    from casesearch_pd.reading.recent_reads import ChunkedRead
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["Chunks"]


class Chunks:
    """An iterator over the rows of a read; close it, or use it in a ``with`` statement.

    With `open_columns`, fields that are not in the schema are kept, and chunks differ in their
    columns. With `keep_checkpoint`, the checkpoint outlives the read. A `memory` recognizes the
    chunks when they are concatenated.
    """

    def __init__(
        self,
        plan: ReadPlan,
        context: ReadContext,
        options: ReadOptions,
        *,
        open_columns: bool = False,
        keep_checkpoint: bool = False,
        memory: ChunkedRead | None = None,
    ) -> None:
        self.context = context
        self._memory = memory
        self.metadata = ReadMetadata()
        self._plan, self._options = plan, options
        self._open, self._keep_checkpoint = open_columns, keep_checkpoint
        self._reader = BatchReader(plan, context, options, self.metadata, open_columns=open_columns)
        self._buffer: pd.DataFrame | None = None  # rows that are no chunk yet
        self._undelivered: list[pd.DataFrame] = []  # rows of a read that ended early
        self._rows = 0  # delivered
        self._ids = digest_ids(pd.Series([], dtype="str"))  # digest of the delivered ids
        self._chunks = self._read()
        self._first: pd.DataFrame | None = None

    @property
    def total(self) -> int | None:
        """How many rows there will be, if the service counts just what was asked for."""
        if not self.started and self._first is None:
            self._first = next(self._chunks, None)
        return self._reader.total

    @property
    def attrs(self) -> dict[str, str]:
        """The provenance of all rows delivered so far, as ``DataFrame.attrs``."""
        metadata = self._with_notes(replace(self.metadata, rows=self._rows))
        plan, tz = self._plan, self.frame_format.tz
        frame = write_provenance(
            pd.DataFrame(), plan.source, plan.query, metadata, self.context, ids=self._ids, tz=tz
        )
        return frame.attrs  # type: ignore[return-value] # its keys are texts

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of every chunk, in the order of its columns."""
        return tuple(with_fixed_type(item) for item in self._plan.query.columns)

    @property
    def new_fields(self) -> dict[str, Field]:
        """The fields so far that are not in the schema, by column."""
        return dict(self._reader.new_fields)

    @property
    def frame_format(self) -> FrameFormat:
        """The format of the chunks."""
        return self._options.frame_format

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pd.DataFrame:
        if self._first is None:
            return next(self._chunks)
        chunk, self._first = self._first, None
        return chunk

    def close(self) -> None:
        """Stop the read; no request, thread or file remains."""
        self._first = None
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> Generator[pd.DataFrame]:
        """Yield the chunks; the last may be shorter, or the only one empty."""
        with progress_bar(self._options.progress, self._plan.source) as bar:
            try:
                yield from self._resize(bar)
            except (KeyboardInterrupt, Cancelled, ServiceError, ShortResultError) as error:
                end_early(error, self, self._options.on_error)
                yield from self._deliver_rest()
                return
        if not self._keep_checkpoint:
            self._reader.checkpoint.clear()
        if self._memory is not None:
            self._memory.end()
        if self._reader.invalid:
            warn(describe_invalid_values(self._reader.invalid))

    def _resize(self, bar: Bar) -> Iterator[pd.DataFrame]:
        """Join and cut the batches to the size of a chunk."""
        self._buffer, size = self._reader.empty_frame(), self._options.chunksize
        for batch in self._limited(bar):
            if self._open and len(self._buffer):  # its columns may be others than the batch's
                yield self._deliver(self._buffer)
                self._buffer = batch
            else:
                is_empty = not len(self._buffer)
                self._buffer = (
                    batch if is_empty else pd.concat([self._buffer, batch], ignore_index=True)
                )
            while len(self._buffer) >= size:
                chunk = self._buffer.head(size)
                self._buffer = self._buffer.iloc[size:].reset_index(drop=True)
                yield self._deliver(chunk)
        if len(self._buffer) or not self._rows:
            chunk, self._buffer = self._buffer, None
            yield self._deliver(chunk)

    def _limited(self, bar: Bar) -> Iterator[pd.DataFrame]:
        """Yield the batches up to the limit, and check the count at the end."""
        limit = self._plan.query.limit
        with closing(self._reader.read(bar)) as batches:
            for batch in batches:
                yield batch if limit is None else batch.head(limit)
                limit = None if limit is None else max(0, limit - len(batch))
                if limit == 0:
                    return
        self._check_count()

    def _check_count(self) -> None:
        reader = self._reader
        check = check_count(
            self._plan,
            self.context,
            reader.rows,
            self.metadata.total,
            is_resumed=reader.checkpoint.started_at is not None,
        )
        # Chunks that were delivered cannot be read again, so one short count has to do.
        if check.is_short and check.is_stable:
            raise ShortResultError([check])
        if check.is_short:
            self.metadata.notes.append(f"the total was {check.total} at first; {check}")
        self.metadata.notes += check.notes

    def _deliver(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Finish a chunk, and count it as delivered."""
        chunk, ids = self._finish(frame)
        self._rows, self._ids = self._rows + len(chunk), combine_digests(self._ids, ids)
        if self._memory is not None:
            self._memory.remember(chunk, Provenance.from_attrs(chunk))
        return chunk

    def _finish(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        self.metadata.passes = len(self._plan.passes)
        metadata = replace(self.metadata, rows=len(frame), is_chunk=True)
        ids = digest_ids(frame["case_id"])
        chunk = finish_rows(
            frame,
            self._plan,
            self.context,
            self._with_notes(metadata),
            ids=ids,
            tz=self.frame_format.tz,
            new_columns=[n for n in sorted(self._reader.new_fields) if self._open and n in frame],
        )
        return chunk, ids

    def _with_notes(self, metadata: ReadMetadata) -> ReadMetadata:
        invalid = self._reader.invalid
        if not invalid:
            return metadata
        return replace(metadata, notes=[*metadata.notes, describe_invalid_values(invalid)])

    @property
    def started(self) -> bool:
        """Whether a page was received."""
        return self.metadata.as_of is not None

    def missing(self) -> list[str]:
        """Return what was not read."""
        first = self._plan.order[0]
        if first.field.column != "created_at" or first.descending:
            return [f"what follows the first {self._reader.rows} cases"]
        return [str(TimeWindow(self._reader.edge))]

    def partial(self, note: str) -> PartialResult:
        """Return the rows that were not delivered."""
        self._undelivered = self._take_undelivered()
        self.metadata.complete = False
        self.metadata.notes.append(note)
        frame, _ = self._finish(pd.concat(self._undelivered, ignore_index=True))
        undelivered = len(frame) if self._rows else None
        return PartialResult(frame, f"{self._rows + len(frame)} rows", undelivered)

    def _take_undelivered(self) -> list[pd.DataFrame]:
        """Return the rows that were not delivered; at least one frame, if an empty one."""
        try:
            pending = self._reader.pending_rows()
        except (ArrowInvalid, ValueError):  # interrupted within a page: some columns lack it
            pending = self._reader.empty_frame()
        frames = [one for one in (self._buffer, pending) if one is not None and len(one)]
        frames = frames or [pending]
        if self._plan.query.limit is None:
            return frames
        rows = pd.concat(frames, ignore_index=True)
        return [rows.head(self._plan.query.limit - self._rows)]

    def _deliver_rest(self) -> Iterator[pd.DataFrame]:
        """Yield what is left of a read that ended early: at least one chunk, which says so."""
        size = self._options.chunksize
        for frame in self._undelivered:
            for start in range(0, max(1, len(frame)), size):
                yield self._deliver(frame.iloc[start : start + size].reset_index(drop=True))
