"""A route in, frames of a bounded size out, one after the other.

All chunks have the same columns and dtypes, so a field that only a later page shows is named
in a warning and left out, and a field whose type nobody told is text.

What was handed on cannot be taken back, so a stream proves less than a whole read: it is held
against the count at its end, and nothing is read twice.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

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
from casesearch_pd.reading.batch import Stream, completed, nothing, scans, settled, waiting
from casesearch_pd.reading.columns import misfits
from casesearch_pd.reading.plan import NO_TIME
from casesearch_pd.reading.progress import progress_bar
from casesearch_pd.reading.provenance import Told, added, digest, inscribe
from casesearch_pd.reading.resume import Shelf
from casesearch_pd.sources.run import Halted

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.exhaust import OnError
    from casesearch_pd.reading.frame import Look
    from casesearch_pd.reading.plan import Route
    from casesearch_pd.reading.progress import Progress
    from casesearch_pd.sources.run import Run

__all__ = ["Chunks", "Options"]


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
    overlap
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
    overlap: pd.Timedelta = NO_TIME
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

    def __init__(self, route: Route, run: Run, look: Look, options: Options) -> None:
        shelf = Shelf.open(route, options.checkpoint, options.overlap)
        self._stream = Stream(route, run, look, options.open, options.chunksize, shelf)
        self._frames = _frames(self._stream, options)
        self._first: pd.DataFrame | None = None

    @property
    def total(self) -> int | None:
        """How many rows there will be, if the service counts just what was asked for."""
        if self._stream.told.as_of is None and self._first is None:
            self._first = next(self._frames, None)
        return self._stream.total

    @property
    def attrs(self) -> dict[str, str]:
        """The provenance of all rows handed on so far, as ``DataFrame.attrs`` of one frame."""
        stream = self._stream
        told = replace(stream.told, rows=stream.rows)
        return _inscribed(stream, pd.DataFrame(), told, stream.ids).attrs  # type: ignore[return-value] # its keys are texts

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of every chunk, in the order of its columns."""
        return tuple(settled(item) for item in self._stream.route.query.columns)

    @property
    def late(self) -> dict[str, Field]:
        """The fields that no schema told, as far as they came, by column."""
        return dict(self._stream.late)

    @property
    def told(self) -> Told:
        """What there is to tell of the read so far."""
        return self._stream.told

    @property
    def look(self) -> Look:
        """How the frames look."""
        return self._stream.look

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
    with progress_bar(options.progress, stream.route.source) as stream.bar:
        try:
            yield from _cut(stream)
        except (KeyboardInterrupt, Halted) as stop:
            raise _interrupted(stream) from stop
        except (AccessDeniedError, NotFoundError):
            raise
        except (ServiceError, _ShortError) as error:
            if stream.told.as_of is None:  # not even one page came
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
    if stream.odd:
        warn(misfits(stream.odd))


def _cut(stream: Stream) -> Iterator[pd.DataFrame]:
    stream.held, size = nothing(stream), stream.chunksize
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
    left = stream.route.query.limit
    with closing(completed(stream)) as found:
        for frame in found:
            yield frame if left is None else frame.head(left)
            left = None if left is None else max(0, left - len(frame))
            if left == 0:
                return
    _check_count(stream)


def _handed(stream: Stream, frame: pd.DataFrame) -> pd.DataFrame:
    """Finish a chunk, and count it among those that were handed on."""
    chunk, ids = _finished(stream, frame)
    stream.rows, stream.ids = stream.rows + len(chunk), added(stream.ids, ids)
    return chunk


def _finished(stream: Stream, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    query = stream.route.query
    stream.told.passes = len(stream.route.passes)
    told = replace(stream.told, rows=len(frame), part=True)
    ids = digest(frame["case_id"])
    shown = [item.column for item in query.columns]
    late = [name for name in sorted(stream.late) if stream.open and name in frame]
    chunk = frame[[*shown, *(name for name in late if name not in shown)]].copy(deep=False)
    return _inscribed(stream, chunk, told, ids), ids


def _inscribed(stream: Stream, frame: pd.DataFrame, told: Told, ids: str) -> pd.DataFrame:
    notes = [*told.notes, misfits(stream.odd)] if stream.odd else told.notes
    route, look = stream.route, stream.look
    told = replace(told, notes=notes)
    return inscribe(frame, route.source, route.query, told, stream.run, ids=ids, tz=look.tz)


# --- how a stream ends --------------------------------------------------------------------


class _ShortError(Exception):
    """Fewer cases came than the service counts."""


def _check_count(stream: Stream) -> None:
    """Hold the cases that came against the count; more than the count are no harm."""
    source, total = stream.route.source, stream.told.total
    resumed = source.counts and stream.shelf.began is not None  # nobody counted all of it
    if not resumed and (total is None or stream.found >= total):
        return
    now = sum(source.count(scan, stream.run) for scan in scans(stream))
    if stream.found >= now:
        if total is not None:
            stream.told.notes.append(f"the count fell from {total} to {now} during the read")
    elif now == total or total is None:
        raise _ShortError(f"the service counts {now} cases and shows {stream.found}")
    else:
        stream.told.notes.append(
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
    stream.told.complete = False
    stream.told.notes.append(why)
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
        last = waiting(stream)
    except (ArrowInvalid, ValueError):  # stopped in the middle of a page: some columns lack it
        last = nothing(stream)
    held = stream.held
    left = [frame for frame in (held, last) if frame is not None and len(frame)] or [last]
    if stream.route.query.limit is None:
        return left
    whole = pd.concat(left, ignore_index=True)
    return [whole.head(stream.route.query.limit - stream.rows)]
