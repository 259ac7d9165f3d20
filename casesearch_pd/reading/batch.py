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
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import warn
from casesearch_pd.query.expr import TRUE, Compare, all_of
from casesearch_pd.reading.columns import Columns
from casesearch_pd.reading.direct import batches, matching
from casesearch_pd.reading.frame import beside, build, keep, newest, ordered
from casesearch_pd.reading.merge import merged, resorted, untied
from casesearch_pd.reading.provenance import Told, digest
from casesearch_pd.reading.trail import Trail
from casesearch_pd.reading.walk import pages
from casesearch_pd.sources.contract import Direct, Sort

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from casesearch_pd.query.expr import Expression
    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.frame import Look
    from casesearch_pd.reading.plan import Route
    from casesearch_pd.reading.resume import Shelf
    from casesearch_pd.sources.contract import Page, Scan
    from casesearch_pd.sources.run import Run

__all__ = ["Stream", "completed", "nothing", "scans", "settled", "waiting"]

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

    route: Route
    run: Run
    look: Look
    open: bool
    chunksize: int
    shelf: Shelf
    told: Told = field(default_factory=Told)
    total: int | None = None
    late: dict[str, Field] = field(default_factory=dict)
    odd: Counter[str] = field(default_factory=Counter)
    bar: Any = None
    gathered: Columns | None = None  # rows that are no batch yet
    tail: list[Page] = field(default_factory=list)  # rows of whose moment more may come
    held: pd.DataFrame | None = None  # rows that are no chunk yet
    before: frozenset[str] = frozenset()  # cases of the last batch
    found: int = 0  # cases that came, each counted once
    edge: pd.Timestamp | None = None  # the last creation time among them
    rows: int = 0  # rows handed on
    ids: str = digest(pd.Series([], dtype="str"))  # and the fingerprint of their ids

    @property
    def counted(self) -> bool:
        """Whether the service tells how many rows there will be."""
        return self.route.split.residual == TRUE

    @property
    def by_creation(self) -> bool:
        """Whether the rows come by creation time, upwards."""
        first = self.route.order[0]
        return first.field.column == "created_at" and not first.descending


def nothing(stream: Stream) -> pd.DataFrame:
    """Build the frame of a read that has nothing to ask: every column, and no row."""
    route = stream.route
    fields = dict.fromkeys([route.source.schema.resolve("case_id"), *route.needed])
    return _built(stream, Columns([_settled(stream, item) for item in fields]))


def completed(stream: Stream) -> Generator[pd.DataFrame]:
    """Yield what comes home and passes the second look, a few pages at a time."""
    if isinstance(stream.route.source, Direct):
        yield from _at_hand(stream)
        return
    limit = stream.route.query.limit
    size = min(stream.chunksize, _BATCH, limit or _BATCH)
    with closing(_pages(stream)) as came:
        for whole in untied(came, _ties(stream), stream.tail):
            if _gather(stream, whole) >= size:
                yield _batch(stream)
        if stream.gathered is not None:
            yield _batch(stream)


def _at_hand(stream: Stream) -> Iterator[pd.DataFrame]:
    """Hand on what a source has at hand, which is complete as it comes."""
    route = stream.route
    assert isinstance(route.source, Direct), "the source has its cases at hand"
    stream.told.as_of = route.source.as_of
    stream.told.total = stream.total = stream.bar.total = matching(route, stream.run)
    for frame in batches(route, stream.look, stream.chunksize):
        stream.found += len(frame)
        stream.bar.update(len(frame))
        yield frame


def _gather(stream: Stream, whole: list[Page]) -> int:
    """Take pages in; tell how many rows there are now."""
    if stream.gathered is None:
        every = stream.open and stream.route.query.every
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
    order, one = stream.route.order, len(stream.route.split.parts) == 1
    settled = one and order[-1].field.column == "case_id" and _sorts(stream.route)
    return [] if settled else [item.field.column for item in stream.route.query.sort]


def _sorts(route: Route) -> bool:
    """Tell whether walks come in the order that is asked for, and not one case by one."""
    return route.split.how != "one by one" and route.source.sortable(route.order[0].field)


def _pages(stream: Stream) -> Generator[Page]:
    """Read all parts of the filter, merged into one order."""
    walks = [_walk(stream, part, scan) for part, scan in enumerate(scans(stream))]
    changes = stream.shelf.changes(stream.run)
    if not _sorts(stream.route):
        yield from resorted(chain.from_iterable(walks))
    else:
        yield from merged([*walks, *changes])


def scans(stream: Stream) -> tuple[Scan, ...]:
    """List the walks of the first pass, one for each part of the filter."""
    return stream.route.walks(stream.route.passes[0])


def _walk(stream: Stream, part: int, scan: Scan) -> Iterator[Page]:
    """Read one part of the filter, and tell of every page."""
    counted = bool(stream.shelf.of(part))  # by the read that began it
    for page in stream.shelf.pages(part, scan, stream.run):
        if not counted:
            _begin(stream, page)
        counted = True
        stream.told.as_of = stream.told.as_of or stream.shelf.began or page.served_at
        _name_late(stream, page)
        stream.bar.total = stream.total
        stream.bar.update(page.rows)
        yield page


def _begin(stream: Stream, page: Page) -> None:
    """Add the count of one part of the filter, at its first page."""
    if page.total is None:
        return
    stream.told.total = page.total + (stream.told.total or 0)
    limit = stream.route.query.limit
    if stream.route.split.residual == TRUE:
        stream.total = stream.told.total if limit is None else min(stream.told.total, limit)


def _name_late(stream: Stream, page: Page) -> None:
    late = {name: item for name, item in page.found.items() if name not in stream.late}
    if not late or not stream.route.query.every:
        return
    stream.late |= late
    if not stream.open:
        warn(
            f"fields that no template told are left out: {', '.join(sorted(late))}; name them in "
            "columns=, or use read_cases"
        )


def _kept(stream: Stream) -> list[Field]:
    route = stream.route
    later = {item for other in route.passes[1:] for item in other} - set(route.passes[0])
    kept = dict.fromkeys([route.source.schema.resolve("case_id"), *route.needed, *route.passes[0]])
    return [_settled(stream, item) for item in kept if item not in later]


def _settled(stream: Stream, item: Field) -> Field:
    return item if stream.open else settled(item)


def settled(item: Field) -> Field:
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
    stream.odd.update(gathered.odd)
    return newest(build(columns, tz=stream.look.tz, backend=stream.look.backend))


def _completed(stream: Stream, frame: pd.DataFrame) -> pd.DataFrame:
    """Read the other passes over the window of these rows, and join them."""
    known = set(frame.columns)
    for fields in stream.route.passes[1:]:
        new = [_settled(stream, item) for item in fields if item.column not in known]
        gathered = Columns([stream.route.source.schema.resolve("case_id"), *new])
        for scan in stream.route.walks(fields) if len(frame) else ():
            for page in _within(stream, scan, frame):
                gathered.add(page)
        frame = beside(frame, _built(stream, gathered))
        known |= {item.column for item in new}
    return frame


def _within(stream: Stream, scan: Scan, frame: pd.DataFrame) -> Iterator[Page]:
    """Read what a scan has in the window of some rows."""
    source, window = stream.route.source, _window(stream, frame)
    where = source.narrow(scan.where, window)
    narrowed = replace(scan, where=all_of([scan.where, window]) if where is None else where)
    return pages(source, Trail(narrowed, rewinds=False), stream.run)


def _window(stream: Stream, frame: pd.DataFrame) -> Expression:
    created = stream.route.source.schema.resolve("created_at")
    first, last = (moment.tz_convert("UTC") for moment in frame["created_at"].agg(["min", "max"]))
    return all_of([Compare(created, "gte", first), Compare(created, "lte", last)])


def _checked(stream: Stream, frame: pd.DataFrame) -> pd.DataFrame:
    query, residual = stream.route.query, stream.route.split.residual
    if residual != TRUE:
        frame = keep(frame, residual)
    if stream.route.order[: len(query.sort)] != query.sort or len(query.sort) > 1:
        return frame
    return ordered(frame, (*query.sort, Sort(stream.route.source.schema.resolve("case_id"))))


def waiting(stream: Stream) -> pd.DataFrame:
    """Build what gathered, but is no batch yet; rows that lack a pass are no rows."""
    _gather(stream, stream.tail)
    return nothing(stream) if len(stream.route.passes) > 1 else _batch(stream)
