"""A route in, completed batches of its rows out: the pages of a stream, by way of frames.

With several passes, the rows of a batch are completed by walks over their own window of
``created_at``. Rows of one creation time are in one batch, so that batches are in order when
each of them is.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
from pyarrow import ArrowInvalid

from casesearch_pd.errors import (
    AccessDeniedError,
    FilterError,
    IncompleteReadError,
    NotFoundError,
    ReadInterrupted,
    ServiceError,
    warn,
)
from casesearch_pd.query.expressions import TRUE, Compare, all_of
from casesearch_pd.reading.fetch.checkpoint import StreamCheckpoint
from casesearch_pd.reading.fetch.merge import hold_back_ties, merge_ordered, sort_pages
from casesearch_pd.reading.fetch.pagination import ScanState, iter_pages
from casesearch_pd.reading.fetch.pipeline import count_in_process, in_process_batches
from casesearch_pd.reading.fetch.progress import progress_bar
from casesearch_pd.reading.frames.columns import Columns, describe_invalid_values
from casesearch_pd.reading.frames.frame import (
    build_frame,
    filter_rows,
    join_passes_on_id,
    keep_newest,
    sort_rows,
)
from casesearch_pd.reading.plan import NO_LOOKBACK
from casesearch_pd.reading.provenance import (
    ReadMetadata,
    combine_digests,
    digest_ids,
    write_provenance,
)
from casesearch_pd.sources.base import InProcessSource, Sort
from casesearch_pd.sources.transport.context import Cancelled

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.fetch.pipeline import OnError
    from casesearch_pd.reading.fetch.progress import Progress
    from casesearch_pd.reading.frames.frame import FrameFormat
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.base import Page, Scan
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "Chunks",
    "Options",
    "Stream",
    "complete_batches",
    "empty_frame",
    "first_pass_scans",
    "pending_rows",
    "with_settled_type",
]

_BATCH = 10_000  # rows that are completed and checked together, at most


@dataclass
class Stream:
    """One streamed read under way.

    Parameters
    ----------
    route, run, look
        How it is read.
    open
        Whether fields that no schema told are kept; and types that none told, chunk by chunk.
    chunksize
        Rows that are handed on together.
    shelf
        Where it is saved.
    """

    plan: ReadPlan
    context: ReadContext
    frame_format: FrameFormat
    open: bool
    chunksize: int
    shelf: StreamCheckpoint
    metadata: ReadMetadata = field(default_factory=ReadMetadata)
    total: int | None = None
    new_fields: dict[str, Field] = field(default_factory=dict)
    invalid: Counter[str] = field(default_factory=Counter)
    bar: Any = None
    gathered: Columns | None = None  # rows that are no batch yet
    tail: list[Page] = field(default_factory=list)  # rows of whose moment more may come
    held: pd.DataFrame | None = None  # rows that are no chunk yet
    before: frozenset[str] = frozenset()  # cases of the last batch
    found: int = 0  # cases that came, each counted once
    edge: pd.Timestamp | None = None  # the last creation time among them
    rows: int = 0  # rows handed on
    ids: str = digest_ids(pd.Series([], dtype="str"))  # and the fingerprint of their ids

    @property
    def counted(self) -> bool:
        """Whether the service tells how many rows there will be."""
        return self.plan.pushdown.residual == TRUE

    @property
    def by_creation(self) -> bool:
        """Whether the rows come by creation time, upwards."""
        first = self.plan.order[0]
        return first.field.column == "created_at" and not first.descending


def empty_frame(stream: Stream) -> pd.DataFrame:
    """Build the frame of a read that has nothing to ask: every column, and no row."""
    route = stream.plan
    fields = dict.fromkeys([route.source.schema.resolve("case_id"), *route.required_fields])
    return _built(stream, Columns([_settled(stream, item) for item in fields]))


def complete_batches(stream: Stream) -> Generator[pd.DataFrame]:
    """Yield what comes home and passes the second look, a few pages at a time."""
    if isinstance(stream.plan.source, InProcessSource):
        yield from _at_hand(stream)
        return
    limit = stream.plan.query.limit
    size = min(stream.chunksize, _BATCH, limit or _BATCH)
    with closing(_pages(stream)) as came:
        for whole in hold_back_ties(came, _ties(stream), stream.tail):
            if _gather(stream, whole) >= size:
                yield _batch(stream)
        if stream.gathered is not None:
            yield _batch(stream)


def _at_hand(stream: Stream) -> Iterator[pd.DataFrame]:
    """Hand on what a source has at hand, which is complete as it comes."""
    route = stream.plan
    assert isinstance(route.source, InProcessSource), "the source has its cases at hand"
    stream.metadata.as_of = route.source.as_of
    stream.metadata.total = stream.total = stream.bar.total = count_in_process(
        route, stream.context
    )
    for frame in in_process_batches(route, stream.frame_format, stream.chunksize):
        stream.found += len(frame)
        stream.bar.update(len(frame))
        yield frame


def _gather(stream: Stream, whole: list[Page]) -> int:
    """Take pages in; tell how many rows there are now."""
    if stream.gathered is None:
        every = stream.open and stream.plan.query.all_columns
        stream.gathered = Columns(_kept(stream), open=every)
    for page in whole:
        stream.gathered.add(page)
    return stream.gathered.rows


def _batch(stream: Stream) -> pd.DataFrame:
    """Build what gathered, and complete it."""
    assert stream.gathered is not None, "something gathered"
    frame = _completed(stream, _new(stream, stream.gathered))
    stream.gathered = None
    return _checked(stream, frame)


def _ties(stream: Stream) -> list[str]:
    """Name the columns of the order, unless the service breaks ties as we do."""
    order, one = stream.plan.order, len(stream.plan.pushdown.parts) == 1
    settled = one and order[-1].field.column == "case_id" and _sorts(stream.plan)
    return [] if settled else [item.field.column for item in stream.plan.query.sort]


def _sorts(route: ReadPlan) -> bool:
    """Tell whether walks come in the order that is asked for, and not one case by one."""
    return route.pushdown.strategy != "one by one" and route.source.can_sort_by(
        route.order[0].field
    )


def _pages(stream: Stream) -> Generator[Page]:
    """Read all parts of the filter, merged into one order."""
    walks = [_walk(stream, part, scan) for part, scan in enumerate(first_pass_scans(stream))]
    changes = stream.shelf.changes(stream.context)
    if not _sorts(stream.plan):
        yield from sort_pages(chain.from_iterable(walks))
    else:
        yield from merge_ordered([*walks, *changes])


def first_pass_scans(stream: Stream) -> tuple[Scan, ...]:
    """List the walks of the first pass, one for each part of the filter."""
    return stream.plan.pass_scans(stream.plan.passes[0])


def _walk(stream: Stream, part: int, scan: Scan) -> Iterator[Page]:
    """Read one part of the filter, and tell of every page."""
    counted = bool(stream.shelf.of(part))  # by the read that began it
    for page in stream.shelf.pages(part, scan, stream.context):
        if not counted:
            _begin(stream, page)
        counted = True
        stream.metadata.as_of = stream.metadata.as_of or stream.shelf.began or page.served_at
        _name_late(stream, page)
        stream.bar.total = stream.total
        stream.bar.update(page.rows)
        yield page


def _begin(stream: Stream, page: Page) -> None:
    """Add the count of one part of the filter, at its first page."""
    if page.total is None:
        return
    stream.metadata.total = page.total + (stream.metadata.total or 0)
    limit = stream.plan.query.limit
    if stream.plan.pushdown.residual == TRUE:
        stream.total = stream.metadata.total if limit is None else min(stream.metadata.total, limit)


def _name_late(stream: Stream, page: Page) -> None:
    late = {name: item for name, item in page.new_fields.items() if name not in stream.new_fields}
    if not late or not stream.plan.query.all_columns:
        return
    stream.new_fields |= late
    if not stream.open:
        warn(
            f"fields that no template told are left out: {', '.join(sorted(late))}; name them in "
            "columns=, or use read_cases"
        )


def _kept(stream: Stream) -> list[Field]:
    route = stream.plan
    later = {item for other in route.passes[1:] for item in other} - set(route.passes[0])
    kept = dict.fromkeys(
        [route.source.schema.resolve("case_id"), *route.required_fields, *route.passes[0]]
    )
    return [_settled(stream, item) for item in kept if item not in later]


def _settled(stream: Stream, item: Field) -> Field:
    return item if stream.open else with_settled_type(item)


def with_settled_type(item: Field) -> Field:
    """Fix a type that nobody told: all chunks must have the same."""
    return replace(item, type="text") if item.type == "any" else item


def _new(stream: Stream, gathered: Columns) -> pd.DataFrame:
    """Build the rows that gathered; leave out what the last batch had.

    A case can move over a page border while it is read, into the next batch too.
    """
    frame = _built(stream, gathered)
    frame = frame[~frame["case_id"].isin(stream.before)].reset_index(drop=True)
    stream.before = frozenset(frame["case_id"])
    stream.found += len(frame)
    if "created_at" in frame and len(frame):
        last = frame["created_at"].max()
        stream.edge = stream.edge if pd.isna(last) else last
    return frame


def _built(stream: Stream, gathered: Columns) -> pd.DataFrame:
    columns, _ = gathered.finish()
    stream.invalid.update(gathered.invalid)
    return keep_newest(
        build_frame(columns, tz=stream.frame_format.tz, backend=stream.frame_format.dtype_backend)
    )


def _completed(stream: Stream, frame: pd.DataFrame) -> pd.DataFrame:
    """Read the other passes over the window of these rows, and join them."""
    known = set(frame.columns)
    for fields in stream.plan.passes[1:]:
        new = [_settled(stream, item) for item in fields if item.column not in known]
        gathered = Columns([stream.plan.source.schema.resolve("case_id"), *new])
        for scan in stream.plan.pass_scans(fields) if len(frame) else ():
            for page in _within(stream, scan, frame):
                gathered.add(page)
        frame = join_passes_on_id(frame, _built(stream, gathered))
        known |= {item.column for item in new}
    return frame


def _within(stream: Stream, scan: Scan, frame: pd.DataFrame) -> Iterator[Page]:
    """Read what a scan has in the window of some rows."""
    source, window = stream.plan.source, _window(stream, frame)
    where = source.with_bound(scan.where, window)
    narrowed = replace(scan, where=all_of([scan.where, window]) if where is None else where)
    return iter_pages(source, ScanState(narrowed, rewinds=False), stream.context)


def _window(stream: Stream, frame: pd.DataFrame) -> Expression:
    created = stream.plan.source.schema.resolve("created_at")
    first, last = (moment.tz_convert("UTC") for moment in frame["created_at"].agg(["min", "max"]))
    return all_of([Compare(created, "gte", first), Compare(created, "lte", last)])


def _checked(stream: Stream, frame: pd.DataFrame) -> pd.DataFrame:
    query, residual = stream.plan.query, stream.plan.pushdown.residual
    if residual != TRUE:
        frame = filter_rows(frame, residual)
    if stream.plan.order[: len(query.sort)] != query.sort or len(query.sort) > 1:
        return frame
    return sort_rows(frame, (*query.sort, Sort(stream.plan.source.schema.resolve("case_id"))))


def pending_rows(stream: Stream) -> pd.DataFrame:
    """Build what gathered, but is no batch yet; rows that lack a pass are no rows."""
    _gather(stream, stream.tail)
    return empty_frame(stream) if len(stream.plan.passes) > 1 else _batch(stream)


@dataclass(frozen=True)
class Options:
    """How a stream is read.

    Parameters
    ----------
    chunksize
        Rows of a frame, at most.
    progress
        Whether to show a bar.
    on_error
        Whether a read that breaks off ends with an error or a warning.
    checkpoint
        A folder that what was read is saved in.
    lookback
        By how much the service's search may lag behind its writes.
    open
        Whether fields that no schema told are kept; then chunks differ in their columns.
    keep
        Whether what was saved outlives the read: somebody has more to do with it.

    Raises
    ------
    FilterError
        If one of them is nothing to read by.
    """

    chunksize: int = 10_000
    progress: Progress = "auto"
    on_error: OnError = "raise"
    checkpoint: str | os.PathLike[str] | None = None
    lookback: pd.Timedelta = NO_LOOKBACK
    open: bool = False
    keep: bool = False

    def __post_init__(self) -> None:
        """Refuse before anything is read."""
        size = self.chunksize
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise FilterError(f"chunksize={size!r} is no number of rows; write 1 or more")
        if self.on_error not in ("raise", "partial"):
            raise FilterError(f"on_error={self.on_error!r} is neither 'raise' nor 'partial'")


class Chunks:
    """The rows of a read, a frame at a time; close it, or use it in a ``with`` statement.

    Parameters
    ----------
    route
        How the rows are read.
    run
        The read's time and requests.
    look
        How the frames look.
    options
        How they are streamed.
    """

    def __init__(
        self, route: ReadPlan, run: ReadContext, look: FrameFormat, options: Options
    ) -> None:
        shelf = StreamCheckpoint.open(route, options.checkpoint, options.lookback)
        self._stream = Stream(route, run, look, options.open, options.chunksize, shelf)
        self._frames = _frames(self._stream, options)
        self._first: pd.DataFrame | None = None

    @property
    def total(self) -> int | None:
        """How many rows there will be, if the service counts just what was asked for."""
        if self._stream.metadata.as_of is None and self._first is None:
            self._first = next(self._frames, None)
        return self._stream.total

    @property
    def attrs(self) -> dict[str, str]:
        """The provenance of all rows handed on so far, as ``DataFrame.attrs`` of one frame."""
        stream = self._stream
        told = replace(stream.metadata, rows=stream.rows)
        return _inscribed(stream, pd.DataFrame(), told, stream.ids).attrs  # type: ignore[return-value] # its keys are texts

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of every chunk, in the order of its columns."""
        return tuple(with_settled_type(item) for item in self._stream.plan.query.columns)

    @property
    def late(self) -> dict[str, Field]:
        """The fields that no schema told, as far as they came, by column."""
        return dict(self._stream.new_fields)

    @property
    def told(self) -> ReadMetadata:
        """What there is to tell of the read so far."""
        return self._stream.metadata

    @property
    def look(self) -> FrameFormat:
        """How the frames look."""
        return self._stream.frame_format

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pd.DataFrame:
        if self._first is None:
            return next(self._frames)
        frame, self._first = self._first, None
        return frame

    def close(self) -> None:
        """Stop reading; nothing is left behind."""
        self._first = None
        self._frames.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# --- frames -------------------------------------------------------------------------------


def _frames(stream: Stream, options: Options) -> Generator[pd.DataFrame]:
    """Yield finished frames; the last may be shorter, or the only one empty."""
    with progress_bar(options.progress, stream.plan.source) as stream.bar:
        try:
            yield from _cut(stream)
        except (KeyboardInterrupt, Cancelled) as stop:
            raise _interrupted(stream) from stop
        except (AccessDeniedError, NotFoundError):
            raise
        except (ServiceError, _ShortError) as error:
            if stream.metadata.as_of is None:  # not even one page came
                raise
            left = _left(stream)
            broken = _broken(stream, left, error)
            if options.on_error == "raise":
                raise broken from error
            warn(f"this read is not whole: {broken}")
            yield from _last(stream, left)
            return
    if not options.keep:
        stream.shelf.clear()
    if stream.invalid:
        warn(describe_invalid_values(stream.invalid))


def _cut(stream: Stream) -> Iterator[pd.DataFrame]:
    stream.held, size = empty_frame(stream), stream.chunksize
    for found in _limited(stream):
        if stream.open and len(stream.held):  # chunks of other columns do not join
            yield _handed(stream, stream.held)
            stream.held = found
        else:
            join = len(stream.held) > 0
            stream.held = pd.concat([stream.held, found], ignore_index=True) if join else found
        while len(stream.held) >= size:
            chunk = stream.held.head(size)
            stream.held = stream.held.iloc[size:].reset_index(drop=True)
            yield _handed(stream, chunk)
    if len(stream.held) or not stream.rows:
        chunk, stream.held = stream.held, None
        yield _handed(stream, chunk)


def _last(stream: Stream, left: list[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Hand on what is left of a stream that broke off; at least one chunk says that it did."""
    for frame in left:
        for at in range(0, max(1, len(frame)), stream.chunksize):
            yield _handed(stream, frame.iloc[at : at + stream.chunksize].reset_index(drop=True))


def _limited(stream: Stream) -> Iterator[pd.DataFrame]:
    """Yield what comes, up to the limit; see at the end whether it is all there."""
    left = stream.plan.query.limit
    with closing(complete_batches(stream)) as found:
        for frame in found:
            yield frame if left is None else frame.head(left)
            left = None if left is None else max(0, left - len(frame))
            if left == 0:
                return
    _check_count(stream)


def _handed(stream: Stream, frame: pd.DataFrame) -> pd.DataFrame:
    """Finish a chunk, and count it among those that were handed on."""
    chunk, ids = _finished(stream, frame)
    stream.rows, stream.ids = stream.rows + len(chunk), combine_digests(stream.ids, ids)
    return chunk


def _finished(stream: Stream, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    query = stream.plan.query
    stream.metadata.passes = len(stream.plan.passes)
    told = replace(stream.metadata, rows=len(frame), is_chunk=True)
    ids = digest_ids(frame["case_id"])
    shown = [item.column for item in query.columns]
    late = [name for name in sorted(stream.new_fields) if stream.open and name in frame]
    chunk = frame[[*shown, *(name for name in late if name not in shown)]].copy(deep=False)
    return _inscribed(stream, chunk, told, ids), ids


def _inscribed(stream: Stream, frame: pd.DataFrame, told: ReadMetadata, ids: str) -> pd.DataFrame:
    notes = [*told.notes, describe_invalid_values(stream.invalid)] if stream.invalid else told.notes
    route, look = stream.plan, stream.frame_format
    told = replace(told, notes=notes)
    return write_provenance(
        frame, route.source, route.query, told, stream.context, ids=ids, tz=look.tz
    )


# --- how a stream ends --------------------------------------------------------------------


class _ShortError(Exception):
    """Fewer cases came than the service counts."""


def _check_count(stream: Stream) -> None:
    """Hold the cases that came against the count; more than the count are no harm."""
    source, total = stream.plan.source, stream.metadata.total
    resumed = source.can_count and stream.shelf.began is not None  # nobody counted all of it
    if not resumed and (total is None or stream.found >= total):
        return
    now = sum(source.count(scan, stream.context) for scan in first_pass_scans(stream))
    if stream.found >= now:
        if total is not None:
            stream.metadata.notes.append(f"the count fell from {total} to {now} during the read")
    elif now == total or total is None:
        raise _ShortError(f"the service counts {now} cases and shows {stream.found}")
    else:
        stream.metadata.notes.append(
            f"the service counted {total} cases, then {now}, and showed {stream.found}"
        )


def _broken(stream: Stream, left: list[pd.DataFrame], error: Exception) -> IncompleteReadError:
    """Say what is missing, with the rows that were not handed on."""
    missing = [] if isinstance(error, _ShortError) else [_missing(stream)]
    where = f"; not read is {missing[0]}" if missing else ""
    partial = _partial(stream, left, f"broke off{where}: {error}")
    return IncompleteReadError(
        f"the read broke off after {stream.rows} rows, with {len(partial)} more in .partial{where}"
        f": {error}",
        partial=partial,
        missing=missing or [str(error)],
    )


def _interrupted(stream: Stream) -> ReadInterrupted:
    partial = _partial(stream, _left(stream), "stopped by the user")
    return ReadInterrupted(
        f"stopped after {stream.rows} rows; {len(partial)} more are in sys.last_value.partial",
        partial=partial,
    )


def _partial(stream: Stream, left: list[pd.DataFrame], why: str) -> pd.DataFrame:
    stream.metadata.complete = False
    stream.metadata.notes.append(why)
    partial, _ = _finished(stream, pd.concat(left, ignore_index=True))
    return partial


def _missing(stream: Stream) -> str:
    if not stream.by_creation:
        return f"what comes after {stream.found} cases"
    start = "the beginning" if stream.edge is None else stream.edge.isoformat()
    return f"created_at from {start} to the end"


def _left(stream: Stream) -> list[pd.DataFrame]:
    """Gather what came and was not handed on; at least one frame, if an empty one."""
    try:
        last = pending_rows(stream)
    except (ArrowInvalid, ValueError):  # stopped in the middle of a page: some columns lack it
        last = empty_frame(stream)
    held = stream.held
    left = [frame for frame in (held, last) if frame is not None and len(frame)] or [last]
    if stream.plan.query.limit is None:
        return left
    whole = pd.concat(left, ignore_index=True)
    return [whole.head(stream.plan.query.limit - stream.rows)]
