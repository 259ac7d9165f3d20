"""Read a plan to its end: into one DataFrame, or in batches for the sinks that need no more.

::

    ReadPlan ── passes ── windows ── workers ── pages          (fetch: the only IO)
        └─ rows ── local filter, order, limit ── DataFrame     `read_frame`
    ReadPlan ── pages in order ── batches ── chunks            `batches`, `chunks`

`read_frame` is the sink of `read_cases`, of increments, of refreshes and of Dask partitions. It
holds all rows, so it may read in parallel, prove that none is missing, and read again what
changed. `Chunks` delivers rows in order as they come, for `iter_cases`, Parquet and a new mirror.
Both finish their rows with `finish_rows`, and both end in `outcome`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd.errors import CaseSearchError, warn
from casesearch_pd.query.expressions import TRUE
from casesearch_pd.reading.fetch.checkpoint import Checkpoint, query_fingerprint
from casesearch_pd.reading.fetch.outcome import (
    INTERRUPTED,
    PartialResult,
    ShortResultError,
    check_count,
    end_early,
    raise_interrupted,
)
from casesearch_pd.reading.fetch.passes import PassReader
from casesearch_pd.reading.frames.columns import describe_invalid_values
from casesearch_pd.reading.frames.frame import build_frame, filter_rows, sort_rows
from casesearch_pd.reading.plan import total_order
from casesearch_pd.reading.progress import progress_bar
from casesearch_pd.reading.provenance import ReadMetadata, digest_ids, write_provenance
from casesearch_pd.sources.base import InProcessSource, Scan
from casesearch_pd.sources.transport.context import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from casesearch_pd.reading.frames.frame import FrameFormat
    from casesearch_pd.reading.options import ReadOptions
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.reading.progress import Bar
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "count_in_process",
    "finish_rows",
    "in_process_scan",
    "iter_in_process",
    "read_frame",
]


def read_frame(plan: ReadPlan, context: ReadContext, options: ReadOptions) -> pd.DataFrame:
    """Read a plan into one DataFrame.

    Raises
    ------
    ServiceError
        Before the first page, and always for errors of credentials or names.
    IncompleteReadError
        After it; ``.partial`` has the rows.
    ReadInterrupted
        If the user interrupts it, also by `ReadContext.cancel`.
    """
    if isinstance(plan.source, InProcessSource):
        return _read_in_process(plan, context, options.frame_format)
    with progress_bar(options.progress, plan.source) as bar:
        read = _FrameRead(plan, context, options, bar)
        try:
            frame = read.run()
        except (KeyboardInterrupt, Cancelled, CaseSearchError, ShortResultError) as error:
            return end_early(error, read, options.on_error)
    if not read.metadata.complete:  # cancelled when all rows were there
        raise_interrupted(read)
    if read.checkpoint is not None:
        read.checkpoint.clear()
    return frame


class _FrameRead:
    """One read into a DataFrame."""

    def __init__(
        self, plan: ReadPlan, context: ReadContext, options: ReadOptions, bar: Bar
    ) -> None:
        self.plan, self.context, self.options = plan, context, options
        self.metadata = ReadMetadata()
        self.checkpoint: Checkpoint | None = None
        if options.checkpoint is not None:
            self.checkpoint = Checkpoint.open(options.checkpoint, query_fingerprint(plan))
        self._reader = PassReader(
            plan, context, options, bar, self.metadata, checkpoint=self.checkpoint
        )
        self._result: pd.DataFrame | None = None

    def run(self) -> pd.DataFrame:
        self._result = self._finish(self._read())
        return self._result

    # The count proves that rows are missing only if it stands still. A result that comes out
    # short is read again; if it is short again by a count that did not change, rows are lost and
    # the read fails. If the count changes all the time, nothing can be proved either way, and the
    # rows are accepted with a note.
    def _read(self) -> pd.DataFrame:
        """Read until the rows agree with the count."""
        metadata, checks = self.metadata, []
        for _ in range(self.context.tuning.max_short_reads):
            frame = self._read_once()
            total = None if self._reader.is_at_limit else self._reader.total
            check = check_count(
                self.plan, self.context, len(frame), total, is_resumed=self._reader.is_resumed
            )
            if not check.is_short:
                metadata.notes += check.notes
                return self._reader.reread_changes(frame)
            checks.append(check)
            metadata.notes.append(f"{check}; read again")
        if len({count for check in checks for count in (check.total, check.recount)} - {None}) > 1:
            metadata.notes.append("the total changed all the time, so it proves nothing")
            return self._reader.reread_changes(frame)
        raise ShortResultError(checks)

    def _read_once(self) -> pd.DataFrame:
        plan = self.plan
        if not plan.stops_at_limit:
            return self._reader.read()
        frame = self._reader.read(limit=plan.query.limit)
        if self._reader.is_at_limit and not _are_first_rows(frame, plan):
            self.metadata.notes.append(
                "the service sorts differently: all rows were read and sorted locally"
            )
            frame = self._reader.read()
        return frame

    def _finish(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Filter, sort and cut the rows, choose their columns, and write the provenance."""
        plan, metadata, reader = self.plan, self.metadata, self._reader
        if plan.pushdown.residual != TRUE:
            frame = filter_rows(frame, plan.pushdown.residual)
        frame = sort_rows(frame, total_order(plan.source, plan.query))
        if plan.query.limit is not None and len(frame) > plan.query.limit:
            frame = frame.head(plan.query.limit)
        metadata.rows, metadata.passes = len(frame), len(plan.passes)
        metadata.total = reader.total
        metadata.new_fields = {name: item.id for name, item in reader.new_fields.items()}
        ids = digest_ids(frame["case_id"])
        if reader.invalid:
            metadata.notes.append(describe_invalid_values(reader.invalid))
            warn(describe_invalid_values(reader.invalid))
        if metadata.complete and self.context.cancelled:  # the last moment that it can be
            metadata.complete = False
            metadata.notes.append(INTERRUPTED)
        return finish_rows(
            frame,
            plan,
            self.context,
            metadata,
            ids=ids,
            tz=self.options.frame_format.tz,
            new_columns=[*reader.new_fields],
        )

    @property
    def started(self) -> bool:
        return self.metadata.as_of is not None

    def missing(self) -> list[str]:
        return self._reader.missing()

    def partial(self, note: str) -> PartialResult:
        frame = self._result
        if frame is None:
            self.metadata.complete = False
            self.metadata.notes.append(note)
            frame = self._finish(self._reader.partial())
        return PartialResult(frame, f"{len(frame)} rows")


def finish_rows(
    frame: pd.DataFrame,
    plan: ReadPlan,
    context: ReadContext,
    metadata: ReadMetadata,
    *,
    ids: str,
    tz: str,
    new_columns: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the rows with the columns of the query, the new ones, and their provenance."""
    names = [item.column for item in plan.query.columns]
    names += [name for name in new_columns if name not in names]
    frame = frame[names].copy(deep=False)
    return write_provenance(frame, plan.source, plan.query, metadata, context, ids=ids, tz=tz)


def _are_first_rows(frame: pd.DataFrame, plan: ReadPlan) -> bool:
    """Return whether the rows are the first ones by the order of this package too."""
    keys = [item.field.column for item in plan.query.sort]
    if frame[keys].isna().to_numpy().any():
        return False  # other rows may have a value, and missing ones are last
    limit = plan.query.limit or 0
    head = sort_rows(frame, plan.query.sort).head(limit)
    return head["case_id"].tolist() == frame["case_id"].head(limit).tolist()


#
# A mirror filters, sorts and limits exactly as local evaluation does, so one scan is enough.


def in_process_scan(plan: ReadPlan) -> Scan:
    """Return the one scan of a plan: its rows in order, with ``case_id``, cut at the limit."""
    query, case_id = plan.query, plan.source.schema.resolve("case_id")
    fields = tuple(dict.fromkeys([*query.columns, case_id]))
    return Scan(query.where, fields, total_order(plan.source, plan.query), limit=query.limit)


def count_in_process(plan: ReadPlan, context: ReadContext) -> int:
    """Return the number of rows of a plan."""
    count, limit = plan.source.count(in_process_scan(plan), context), plan.query.limit
    return count if limit is None else min(count, limit)


def iter_in_process(
    plan: ReadPlan, frame_format: FrameFormat, size: int | None = None
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a plan, with ``case_id``; all at once if `size` is None."""
    assert isinstance(plan.source, InProcessSource), "the source is in this process"
    for columns in plan.source.read_batches(in_process_scan(plan), size):
        yield build_frame(columns, tz=frame_format.tz, backend=frame_format.dtype_backend)


def _read_in_process(
    plan: ReadPlan, context: ReadContext, frame_format: FrameFormat
) -> pd.DataFrame:
    assert isinstance(plan.source, InProcessSource), "the source is in this process"
    (frame,) = iter_in_process(plan, frame_format)
    metadata = ReadMetadata(as_of=plan.source.as_of, passes=len(plan.passes))
    metadata.rows = metadata.total = len(frame)
    ids = digest_ids(frame["case_id"])
    return finish_rows(frame, plan, context, metadata, ids=ids, tz=frame_format.tz)
