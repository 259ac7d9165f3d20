"""The pages of a stream, by way of a checkpoint: those on the disk first, one file at a time.

What a file holds is as old as the read that wrote it. So a stream that is taken up again reads
beside the files what was updated since, in the same order: of two versions of a case the newer
stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expr import Compare, Expression, all_of
from casesearch_pd.reading.checkpoint import Checkpoint, Saved, gaps, question_of
from casesearch_pd.reading.columns import Columns
from casesearch_pd.reading.plan import NO_TIME
from casesearch_pd.reading.trail import Trail
from casesearch_pd.reading.walk import pages
from casesearch_pd.reading.windows import Book, Window, between

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from casesearch_pd.reading.plan import Route
    from casesearch_pd.sources.contract import Page, Scan
    from casesearch_pd.sources.run import Run

__all__ = ["Shelf"]

_PAGES_A_FILE = 20  # pages between two files
_FIRST = pd.Timestamp.min.tz_localize("UTC")
_PROBE = pd.Timestamp(0, tz="UTC")
_Edge = pd.Timestamp | None


@dataclass
class Shelf:
    """The checkpoint of a stream, if it has one.

    Parameters
    ----------
    route
        How the rows are read.
    checkpoint
        Where they are saved; None for nowhere.
    overlap
        By how much the service's search may lag behind its writes.
    kept
        What is there, without its rows.
    """

    route: Route
    checkpoint: Checkpoint | None = None
    overlap: pd.Timedelta = NO_TIME
    kept: list[Saved] = field(default_factory=list)

    @classmethod
    def open(
        cls, route: Route, folder: str | os.PathLike[str] | None, overlap: pd.Timedelta
    ) -> Shelf:
        """Open the folder, and see that it holds this read or nothing.

        Raises
        ------
        FilterError
            If it does not, or if a stream of this order cannot be taken up again.
        """
        if folder is None:
            return cls(route)
        _check_order(route)
        checkpoint = Checkpoint.open(folder, question_of(route, streamed=True))
        return cls(route, checkpoint, overlap, checkpoint.index())

    @property
    def began(self) -> _Edge:
        """When the read that is taken up again began, by the service's clock."""
        return min((pd.Timestamp(one.began) for one in self.kept), default=None)

    def of(self, part: int) -> list[Saved]:
        """List what is held of one part of the filter."""
        return [one for one in self.kept if one.walk == (0, part)]

    def pages(self, part: int, scan: Scan, run: Run) -> Iterator[Page]:
        """Yield one part of the filter, in order: from the files, and what they lack."""
        if self.checkpoint is None:
            yield from pages(self.route.source, Trail(scan, rewinds=False), run)
            return
        held = self.of(part)
        files = {one.window[0]: one for one in held}
        lacking = dict(gaps(held)) if held else {None: None}
        for start in sorted({*files, *lacking}, key=lambda at: at or _FIRST):
            if start in lacking:
                yield from self._recorded(part, scan, (start, lacking[start]), run)
            else:
                yield self.checkpoint.filled(files[start]).page()

    def _recorded(
        self, part: int, scan: Scan, gap: tuple[_Edge, _Edge], run: Run
    ) -> Iterator[Page]:
        """Read a window, and save it every few pages."""
        assert self.checkpoint is not None, "there is where to save it"
        start, end = gap
        asked = self._narrowed(scan, between(scan, start, end))
        assert asked is not None, "the filter has room for a window"
        window = Window(scan, asked, Columns(()), start=start, end=end, part=part, saved=start)
        window.trail = Trail(asked, rewinds=False)
        book = Book(self.checkpoint, (), 0, lambda: self.began or _clock(window))
        for page in pages(self.route.source, window.trail, run):
            window.log.append(page)
            if len(window.log) >= _PAGES_A_FILE:
                book.save(window, whole=False)
            yield page
        book.save(window, whole=True)

    def changes(self, run: Run) -> list[Iterator[Page]]:
        """Read what changed, among the rows that are in files, since these were written."""
        updated = self.route.source.schema.find("updated_at")
        if self.began is None or updated is None:
            return []
        since = Compare(updated, "gte", self.began - self.overlap)
        found = []
        for part, scan in enumerate(self.route.walks(self.route.passes[0])):
            held = self.of(part)
            edge = held[-1].window[1] if held else None
            asked = self._narrowed(scan, all_of([since, between(scan, None, edge)]))
            if held and asked is not None:
                found.append(pages(self.route.source, Trail(asked, rewinds=False), run))
        return found

    def _narrowed(self, scan: Scan, bounds: Expression) -> Scan | None:
        where = self.route.source.narrow(scan.where, bounds)
        return None if where is None else replace(scan, where=where)

    def clear(self) -> None:
        """Remove the files: the read is done."""
        if self.checkpoint is not None:
            self.checkpoint.clear()


def _clock(window: Window) -> pd.Timestamp:
    assert window.trail.as_of is not None, "a page came before it is saved"
    return window.trail.as_of


def _check_order(route: Route) -> None:
    first = route.order[0]
    if first.field.column != "created_at" or first.descending:
        raise FilterError(
            "checkpoint= takes up a stream by its creation times; leave sort= out, or checkpoint="
        )
    probe = [Compare(first.field, "gte", _PROBE), Compare(first.field, "lt", _PROBE)]
    source = route.source
    if any(source.narrow(part, all_of(probe)) is None for part in route.split.parts):
        raise FilterError(
            f"checkpoint= takes up a stream by its creation times, which {source.name} cannot be "
            "asked for beside this filter; leave checkpoint= out, or use read_cases"
        )
