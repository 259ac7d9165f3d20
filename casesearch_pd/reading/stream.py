"""A route in, frames of a bounded size out, one after the other.

All chunks have the same columns and dtypes, so a field that only a later page shows is named
in a warning and left out, and a field whose type nobody told is text. With several passes, the
rows of a chunk are completed by walks over their own window of ``created_at``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from casesearch_pd.errors import FilterError, warn
from casesearch_pd.query.expr import TRUE, Compare, all_of
from casesearch_pd.reading.columns import Columns, misfits
from casesearch_pd.reading.frame import beside, build, keep, newest, ordered
from casesearch_pd.reading.provenance import Told, digest, inscribe
from casesearch_pd.reading.walk import Trail, pages, progress_bar
from casesearch_pd.sources.contract import Sort

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from casesearch_pd.query.expr import Expression
    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.frame import Look
    from casesearch_pd.reading.plan import Route
    from casesearch_pd.reading.walk import Progress
    from casesearch_pd.sources.contract import Page, Scan
    from casesearch_pd.sources.pace import Run

__all__ = ["Chunks"]


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
    chunksize
        Rows of a frame, at most.
    progress
        Whether to show a bar.
    """

    def __init__(
        self, route: Route, run: Run, look: Look, *, chunksize: int, progress: Progress = "auto"
    ) -> None:
        if isinstance(chunksize, bool) or not isinstance(chunksize, int) or chunksize < 1:
            raise FilterError(f"chunksize={chunksize!r} is no number of rows; write 1 or more")
        self._stream = _Stream(route, run, look)
        self._frames = _frames(self._stream, chunksize, progress)
        self._first: pd.DataFrame | None = None

    @property
    def total(self) -> int | None:
        """How many rows there will be, if the service counts just what was asked for."""
        if self._stream.told.as_of is None and self._first is None:
            self._first = next(self._frames, None)
        return self._stream.total

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


@dataclass
class _Stream:
    """One streamed read under way."""

    route: Route
    run: Run
    look: Look
    told: Told = field(default_factory=Told)
    total: int | None = None
    late: set[str] = field(default_factory=set)
    odd: Counter[str] = field(default_factory=Counter)
    bar: Any = None


def _frames(stream: _Stream, chunksize: int, progress: Progress) -> Generator[pd.DataFrame]:
    """Yield finished frames of `chunksize` rows; the last may be shorter, or the only one empty."""
    with progress_bar(progress, stream.route.source) as stream.bar:
        yield from _cut(stream, chunksize)
    if stream.odd:
        warn(misfits(stream.odd))


def _cut(stream: _Stream, chunksize: int) -> Iterator[pd.DataFrame]:
    left = stream.route.query.limit
    held, sent = _nothing(stream), 0
    for found in _batches(stream, chunksize):
        rows = found if left is None else found.head(left)
        left = None if left is None else left - len(rows)
        held = pd.concat([held, rows], ignore_index=True) if len(held) else rows
        while len(held) >= chunksize:
            yield _finished(stream, held.head(chunksize))
            held, sent = held.iloc[chunksize:].reset_index(drop=True), sent + chunksize
        if left == 0:
            break
    if len(held) or not sent:
        yield _finished(stream, held)


def _nothing(stream: _Stream) -> pd.DataFrame:
    """Build the frame of a read that has nothing to ask: every column, and no row."""
    route = stream.route
    fields = dict.fromkeys([route.source.schema.resolve("case_id"), *route.needed])
    return _built(stream, Columns([_settled(item) for item in fields]))


def _batches(stream: _Stream, chunksize: int) -> Iterator[pd.DataFrame]:
    """Yield what comes home and passes the second look, a few pages at a time."""
    before: frozenset[str] = frozenset()
    for scan in stream.route.walks(stream.route.passes[0]):
        for gathered in _gathered(stream, scan, chunksize):
            frame = _built(stream, gathered)
            # A case can move over a page border while it is read, into the next batch too.
            frame = frame[~frame["case_id"].isin(before)].reset_index(drop=True)
            before = frozenset(frame["case_id"])
            yield _checked(stream, _completed(stream, scan, frame))


def _gathered(stream: _Stream, scan: Scan, rows: int) -> Iterator[Columns]:
    columns = Columns(_kept(stream))
    first = True
    for page in pages(stream.route.source, Trail(scan, rewinds=False), stream.run):
        if first:
            _begin(stream, page)
        first = False
        _name_late(stream, page)
        columns.add(page)
        stream.bar.total = stream.total
        stream.bar.update(page.rows)
        if columns.rows >= rows:
            yield columns
            columns = Columns(_kept(stream))
    yield columns


def _begin(stream: _Stream, page: Page) -> None:
    stream.told.as_of = stream.told.as_of or page.served_at
    if page.total is None or stream.route.split.residual != TRUE:
        return
    stream.told.total = page.total + (stream.told.total or 0)
    limit = stream.route.query.limit
    stream.total = stream.told.total if limit is None else min(stream.told.total, limit)


def _name_late(stream: _Stream, page: Page) -> None:
    late = page.found.keys() - stream.late
    if late and stream.route.query.every:
        stream.late |= late
        warn(
            f"fields that no template told are left out: {', '.join(sorted(late))}; name them in "
            "columns=, or use read_cases"
        )


def _kept(stream: _Stream) -> list[Field]:
    route = stream.route
    later = {item for other in route.passes[1:] for item in other} - set(route.passes[0])
    kept = dict.fromkeys([route.source.schema.resolve("case_id"), *route.needed, *route.passes[0]])
    return [_settled(item) for item in kept if item not in later]


def _settled(item: Field) -> Field:
    """Fix a type that nobody told: all chunks must have the same."""
    return replace(item, type="text") if item.type == "any" else item


def _built(stream: _Stream, gathered: Columns) -> pd.DataFrame:
    columns, _ = gathered.finish()
    stream.odd.update(gathered.odd)
    return newest(build(columns, tz=stream.look.tz, backend=stream.look.backend))


def _completed(stream: _Stream, scan: Scan, frame: pd.DataFrame) -> pd.DataFrame:
    """Read the other passes over the window of these rows, and join them."""
    known = set(frame.columns)
    for fields in stream.route.passes[1:]:
        new = [_settled(item) for item in fields if item.column not in known]
        gathered = Columns([stream.route.source.schema.resolve("case_id"), *new])
        if len(frame):
            window = replace(scan, where=all_of([scan.where, _window(stream, frame)]))
            for page in pages(
                stream.route.source,
                Trail(replace(window, fields=fields), rewinds=False),
                stream.run,
            ):
                gathered.add(page)
        frame = beside(frame, _built(stream, gathered))
        known |= {item.column for item in new}
    return frame


def _window(stream: _Stream, frame: pd.DataFrame) -> Expression:
    created = stream.route.source.schema.resolve("created_at")
    first, last = (moment.tz_convert("UTC") for moment in frame["created_at"].agg(["min", "max"]))
    return all_of([Compare(created, "gte", first), Compare(created, "lte", last)])


def _checked(stream: _Stream, frame: pd.DataFrame) -> pd.DataFrame:
    query, residual = stream.route.query, stream.route.split.residual
    if residual != TRUE:
        frame = keep(frame, residual)
    if stream.route.order[: len(query.sort)] != query.sort or len(query.sort) > 1:
        return frame
    return ordered(frame, (*query.sort, Sort(stream.route.source.schema.resolve("case_id"))))


def _finished(stream: _Stream, frame: pd.DataFrame) -> pd.DataFrame:
    query, told = stream.route.query, stream.told
    told.rows, told.passes = len(frame), len(stream.route.passes)
    ids = digest(frame["case_id"])
    shown = frame[[item.column for item in query.columns]].copy(deep=False)
    return inscribe(shown, stream.route.source, query, told, stream.run, ids=ids, tz=stream.look.tz)
