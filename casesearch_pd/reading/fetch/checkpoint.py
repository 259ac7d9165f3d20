"""Finished windows of a read in files, so that a read that was killed is taken up again.

One file holds one window of one walk: its rows as plain values, as they came. A file is
written beside its place and moved there, so it is whole or not there; it bears a checksum and
the fingerprint of the question, so that a torn, a foreign and another read's file are refused.
Nothing in it is ever executed: the format is MessagePack, not pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd
from msgspec import structs

from casesearch_pd.errors import CaseSearchError, FilterError
from casesearch_pd.query.expressions import Compare, Expression, all_of
from casesearch_pd.query.schema import Field
from casesearch_pd.query.serialization import filter_to_json
from casesearch_pd.reading.fetch.pagination import ScanState, iter_pages, take_rows
from casesearch_pd.reading.fetch.windows import Window, between
from casesearch_pd.reading.frames.columns import Columns
from casesearch_pd.reading.plan import NO_LOOKBACK
from casesearch_pd.sources.base import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.base import Scan
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "Checkpoint",
    "CheckpointWriter",
    "SavedWindow",
    "StreamCheckpoint",
    "gaps",
    "query_fingerprint",
]

_MAGIC = b"casesearch_pd checkpoint 1\n"
_ENDING = ".cases"


class SavedWindow(msgspec.Struct, frozen=True):
    """One finished window of one walk.

    Parameters
    ----------
    walk
        Which walk of the read: pass and part.
    start, end
        The window of ``created_at``, as ISO 8601 text; None is open.
    began
        The service's clock when the read began.
    rows
        How many rows.
    columns
        Their plain values, by column.
    found, odd
        As in `Page`.
    """

    walk: tuple[int, int]
    start: str | None
    end: str | None
    began: str
    rows: int
    columns: dict[str, list[Any]]
    found: dict[str, Field] = {}
    odd: dict[str, int] = {}

    @property
    def window(self) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
        """The window as times."""
        start, end = (None if at is None else pd.Timestamp(at) for at in (self.start, self.end))
        return start, end

    def page(self) -> Page:
        """Hand the rows on as a page."""
        served_at = pd.Timestamp(self.began)
        return Page(
            self.rows, self.columns, None, None, served_at, new_fields=self.found, invalid=self.odd
        )


class _File(msgspec.Struct, frozen=True):
    question: str
    saved: SavedWindow


def query_fingerprint(route: ReadPlan, **more: object) -> str:
    """Say what is read, so that a checkpoint can tell another read from this one."""
    query = route.query
    asked = {
        **more,
        "source": {**route.source.describe(), "endpoint_url": None, "base_url": None},
        "filter": filter_to_json(query.filter),
        "search": query.search,
        "passes": [[item.id for item in fields] for fields in route.passes],
        "parts": len(route.pushdown.parts),
    }
    return json.dumps(asked, sort_keys=True)


@dataclass(frozen=True)
class Checkpoint:
    """A folder of finished windows of one read.

    Parameters
    ----------
    folder
        Where they are.
    question
        The fingerprint of the read.
    """

    folder: Path
    question: str

    @classmethod
    def open(cls, folder: str | os.PathLike[str], question: str) -> Checkpoint:
        """Open a folder for a read, and see that it can be written.

        Raises
        ------
        FilterError
            If it cannot, or if it holds another read.
        """
        path = Path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = path / f".probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise FilterError(
                f"checkpoint={str(folder)!r} cannot be written ({error}); name a folder of your own"
            ) from error
        return cls(path, hashlib.sha256(question.encode()).hexdigest())

    def load(self) -> list[SavedWindow]:
        """Read what is there, in the order of walks and windows.

        Raises
        ------
        FilterError
            If a file is torn, foreign, or of another read.
        """
        found = [self._read(path) for path in sorted(self.folder.glob(f"*{_ENDING}"))]
        return sorted(found, key=lambda saved: (saved.walk, saved.start or ""))

    def index(self) -> list[SavedWindow]:
        """List what is there without its rows, which need not all be in memory at once.

        Raises
        ------
        FilterError
            As `load` does.
        """
        paths = sorted(self.folder.glob(f"*{_ENDING}"))
        found = [structs.replace(self._read(path), columns={}, odd={}) for path in paths]
        return sorted(found, key=lambda saved: (saved.walk, saved.start or ""))

    def filled(self, saved: SavedWindow) -> SavedWindow:
        """Read one window again, with its rows."""
        return self._read(self._path(saved))

    def _path(self, saved: SavedWindow) -> Path:
        part = f"{saved.walk[0]}-{saved.walk[1]}"
        return self.folder / f"{part}-{_digest(saved.start, saved.end)}{_ENDING}"

    def _read(self, path: Path) -> SavedWindow:
        try:
            held = path.read_bytes()
        except OSError as error:
            raise FilterError(f"checkpoint file {path} cannot be read: {error}") from error
        file = _decoded(held)
        if file is None:
            raise FilterError(
                f"{path} is no whole checkpoint file of this version; remove it, or name another "
                "folder in checkpoint="
            )
        if file.question != self.question:
            raise FilterError(
                f"{path} belongs to another read: another source, filter or choice of columns; "
                "name another folder in checkpoint=, or remove its files to begin anew"
            )
        return file.saved

    def save(self, saved: SavedWindow) -> Path:
        """Write one window, whole or not at all, and tell where.

        Raises
        ------
        CaseSearchError
            If the disk is full; the files that are there stay as they are.
        """
        body = msgspec.msgpack.encode(_File(self.question, saved))
        path = self._path(saved)
        beside = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            with beside.open("wb") as file:
                file.write(_MAGIC + zlib.crc32(body).to_bytes(4, "big") + body)
                file.flush()
                os.fsync(file.fileno())
            return beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise CaseSearchError(
                f"the checkpoint {self.folder} cannot be written ({error}); make room and read "
                "again with the same checkpoint=: what is there is intact"
            ) from error

    def clear(self) -> None:
        """Remove the files: the read is done."""
        halves = self.folder.glob(f".*{_ENDING}-*")  # of writers that were killed
        for path in (*self.folder.glob(f"*{_ENDING}"), *halves):
            path.unlink(missing_ok=True)


def _decoded(held: bytes) -> _File | None:
    """Read a file; None if it is torn or foreign."""
    head, checksum, body = held[: len(_MAGIC)], held[len(_MAGIC) :][:4], held[len(_MAGIC) + 4 :]
    if head != _MAGIC or zlib.crc32(body).to_bytes(4, "big") != checksum:
        return None
    try:
        return msgspec.msgpack.decode(body, type=_File)
    except msgspec.DecodeError:
        return None


def _digest(start: str | None, end: str | None) -> str:
    return hashlib.sha256(f"{start}/{end}".encode()).hexdigest()[:16]


def gaps(saved: Sequence[SavedWindow]) -> list[tuple[pd.Timestamp | None, pd.Timestamp | None]]:
    """List the windows that no file covers, in order; None is open."""
    found: list[tuple[pd.Timestamp | None, pd.Timestamp | None]] = []
    at: pd.Timestamp | None = None
    for one in saved:
        start, end = one.window
        if start is not None and (at is None or start > at):
            found.append((at, start))
        if end is None:
            return found
        at = end
    return [*found, (at, None)]


_PAGES_A_FILE = 20  # pages between two files
_FIRST = pd.Timestamp.min.tz_localize("UTC")
_PROBE = pd.Timestamp(0, tz="UTC")
_Edge = pd.Timestamp | None


@dataclass
class CheckpointWriter:
    """The files of one pass in a checkpoint.

    Parameters
    ----------
    checkpoint
        Where they are.
    saved
        What was there when the read began.
    at
        The number of the pass.
    began
        The service's clock when the read first began; None until the first page.
    """

    checkpoint: Checkpoint
    saved: Sequence[SavedWindow]
    at: int
    began: Callable[[], pd.Timestamp]

    def of(self, part: int) -> list[SavedWindow]:
        """List what is held of one part."""
        return [one for one in self.saved if one.walk == (self.at, part)]

    def save(self, window: Window, *, whole: bool) -> None:
        """Save what no file holds yet: all, or what is before the last creation time."""
        edge = window.end if whole else window.trail.position
        if not whole and (edge is None or edge == window.saved):
            return  # a long tie, or no times: it goes with the next
        told, window.log = (window.log, []) if whole else _parted(window.log)
        columns = {
            name: [value for page in told for value in page.columns.get(name, [None] * page.rows)]
            for name in dict.fromkeys(name for page in told for name in page.columns)
        }
        path = self.checkpoint.save(
            SavedWindow(
                walk=(self.at, window.part),
                start=None if window.saved is None else window.saved.isoformat(),
                end=None if edge is None else edge.isoformat(),
                began=self.began().isoformat(),
                rows=sum(page.rows for page in told),
                columns=columns,
                found={name: item for page in told for name, item in page.new_fields.items()},
                odd=dict(sum((Counter(page.invalid) for page in told), Counter())),
            )
        )
        window.saved = edge
        window.files.append(path)

    def forget(self, window: Window) -> None:
        """Remove the files of a window that is read from its beginning again."""
        for path in window.files:
            path.unlink(missing_ok=True)
        window.files, window.saved = [], window.start


def _parted(pages: Sequence[Page]) -> tuple[list[Page], list[Page]]:
    """Part the rows that share the last creation time, of which more may come, from the others."""
    last = next(text for text in reversed(pages[-1].columns["created_at"]) if text is not None)
    before, tied = [], []
    for page in pages:
        rows = range(page.rows)
        same = [text == last for text in page.columns["created_at"]]
        before.append(take_rows(page, [row for row in rows if not same[row]]))
        tied.append(take_rows(page, [row for row in rows if same[row]]))
    return before, [page for page in tied if page.rows]


@dataclass
class StreamCheckpoint:
    """The checkpoint of a stream, if it has one.

    Parameters
    ----------
    route
        How the rows are read.
    checkpoint
        Where they are saved; None for nowhere.
    lookback
        By how much the service's search may lag behind its writes.
    kept
        What is there, without its rows.
    """

    route: ReadPlan
    checkpoint: Checkpoint | None = None
    lookback: pd.Timedelta = NO_LOOKBACK
    kept: list[SavedWindow] = field(default_factory=list)

    @classmethod
    def open(
        cls, route: ReadPlan, folder: str | os.PathLike[str] | None, lookback: pd.Timedelta
    ) -> StreamCheckpoint:
        """Open the folder, and see that it holds this read or nothing.

        Raises
        ------
        FilterError
            If it does not, or if a stream of this order cannot be taken up again.
        """
        if folder is None:
            return cls(route)
        _check_order(route)
        checkpoint = Checkpoint.open(folder, query_fingerprint(route, streamed=True))
        return cls(route, checkpoint, lookback, checkpoint.index())

    @property
    def began(self) -> _Edge:
        """When the read that is taken up again began, by the service's clock."""
        return min((pd.Timestamp(one.began) for one in self.kept), default=None)

    def of(self, part: int) -> list[SavedWindow]:
        """List what is held of one part of the filter."""
        return [one for one in self.kept if one.walk == (0, part)]

    def pages(self, part: int, scan: Scan, run: ReadContext) -> Iterator[Page]:
        """Yield one part of the filter, in order: from the files, and what they lack."""
        if self.checkpoint is None:
            yield from iter_pages(self.route.source, ScanState(scan, rewinds=False), run)
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
        self, part: int, scan: Scan, gap: tuple[_Edge, _Edge], run: ReadContext
    ) -> Iterator[Page]:
        """Read a window, and save it every few pages."""
        assert self.checkpoint is not None, "there is where to save it"
        start, end = gap
        asked = self._narrowed(scan, between(scan, start, end))
        assert asked is not None, "the filter has room for a window"
        window = Window(scan, asked, Columns(()), start=start, end=end, part=part, saved=start)
        window.trail = ScanState(asked, rewinds=False)
        book = CheckpointWriter(self.checkpoint, (), 0, lambda: self.began or _clock(window))
        for page in iter_pages(self.route.source, window.trail, run):
            window.log.append(page)
            if len(window.log) >= _PAGES_A_FILE:
                book.save(window, whole=False)
            yield page
        book.save(window, whole=True)

    def changes(self, run: ReadContext) -> list[Iterator[Page]]:
        """Read what changed, among the rows that are in files, since these were written."""
        updated = self.route.source.schema.find("updated_at")
        if self.began is None or updated is None:
            return []
        since = Compare(updated, "gte", self.began - self.lookback)
        found = []
        for part, scan in enumerate(self.route.pass_scans(self.route.passes[0])):
            held = self.of(part)
            edge = held[-1].window[1] if held else None
            asked = self._narrowed(scan, all_of([since, between(scan, None, edge)]))
            if held and asked is not None:
                found.append(iter_pages(self.route.source, ScanState(asked, rewinds=False), run))
        return found

    def _narrowed(self, scan: Scan, bounds: Expression) -> Scan | None:
        where = self.route.source.with_bound(scan.where, bounds)
        return None if where is None else replace(scan, where=where)

    def clear(self) -> None:
        """Remove the files: the read is done."""
        if self.checkpoint is not None:
            self.checkpoint.clear()


def _clock(window: Window) -> pd.Timestamp:
    assert window.trail.as_of is not None, "a page came before it is saved"
    return window.trail.as_of


def _check_order(route: ReadPlan) -> None:
    first = route.order[0]
    if first.field.column != "created_at" or first.descending:
        raise FilterError(
            "checkpoint= takes up a stream by its creation times; leave sort= out, or checkpoint="
        )
    probe = [Compare(first.field, "gte", _PROBE), Compare(first.field, "lt", _PROBE)]
    source = route.source
    if any(source.with_bound(part, all_of(probe)) is None for part in route.pushdown.parts):
        raise FilterError(
            f"checkpoint= takes up a stream by its creation times, which {source.name} cannot be "
            "asked for beside this filter; leave checkpoint= out, or use read_cases"
        )
