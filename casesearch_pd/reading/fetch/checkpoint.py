"""Save the windows of a read that are complete in files, so that a killed read can be resumed.

A file holds the rows of one window of one scan. It is written under a temporary name and renamed,
so that it is complete or absent, and it carries a checksum and the fingerprint of the read:
truncated files and those of another read are refused. The format is MessagePack, which executes
nothing when it is read, unlike pickle.

`Checkpoint` is the folder, `PassCheckpoint` what belongs to one pass, and `WindowFiles` writes the
files of one window while it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd
from msgspec import structs

from casesearch_pd.errors import CaseSearchError, FilterError
from casesearch_pd.query.schema import Field  # noqa: TC001 - read at run time by msgspec
from casesearch_pd.query.serialization import filter_to_json
from casesearch_pd.reading.atomic import open_private, private_folder, read_private
from casesearch_pd.reading.fetch.pagination import concat_pages, take_rows
from casesearch_pd.reading.fetch.windows import TimeWindow
from casesearch_pd.sources.base import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from casesearch_pd.reading.plan import ReadPlan

__all__ = [
    "Checkpoint",
    "PassCheckpoint",
    "SavedWindow",
    "WindowFiles",
    "query_fingerprint",
]

_FORMAT = b"casesearch_pd checkpoint "
_HEADER = _FORMAT + b"2\n"
_SUFFIX = ".cases"


class SavedWindow(msgspec.Struct, frozen=True):
    """The rows of one window of one scan, as they are in a file."""

    scan: tuple[int, int]  # the numbers of its pass and its part of the filter
    start: str | None  # ISO 8601; None is open
    end: str | None
    started_at: str  # the service's clock when the read began
    rows: int
    columns: dict[str, list[Any]]
    new_fields: dict[str, Field] = {}
    invalid: dict[str, int] = {}

    @property
    def span(self) -> TimeWindow:
        """The window."""
        start, end = (None if at is None else pd.Timestamp(at) for at in (self.start, self.end))
        return TimeWindow(start, end)

    def page(self) -> Page:
        """Return the rows as one page."""
        return Page(
            self.rows,
            self.columns,
            cursor=None,
            total=None,
            served_at=pd.Timestamp(self.started_at),
            new_fields=self.new_fields,
            invalid=self.invalid,
        )


class _File(msgspec.Struct, frozen=True):
    fingerprint: str
    window: SavedWindow


def query_fingerprint(plan: ReadPlan, **extra: object) -> str:
    """Return a text that differs between reads whose rows must not be mixed."""
    query = plan.query
    content = {
        **extra,
        "source": {**plan.source.describe(), "endpoint_url": None, "base_url": None},
        "filter": filter_to_json(query.filter),
        "search": query.search,
        "passes": [[item.id for item in fields] for fields in plan.passes],
        "parts": len(plan.pushdown.parts),
    }
    return json.dumps(content, sort_keys=True)


@dataclass(frozen=True)
class Checkpoint:
    """A folder of saved windows of one read, which its fingerprint identifies."""

    folder: Path
    fingerprint: str

    @classmethod
    def open(cls, folder: str | os.PathLike[str], fingerprint: str) -> Checkpoint:
        """Create the folder if necessary; raise FilterError if it cannot be written."""
        try:
            path = private_folder(folder)
            probe = path / f".probe-{token_hex(8)}"
            os.close(open_private(probe))
            probe.unlink()
        except OSError as error:
            raise FilterError(
                f"checkpoint={str(folder)!r} cannot be written ({error}); use another folder"
            ) from error
        return cls(path, hashlib.sha256(fingerprint.encode()).hexdigest())

    def load(self, *, with_rows: bool = True) -> list[SavedWindow]:
        """Read the saved windows, in the order of scans and time; their rows may be left out.

        Raise FilterError if a file is truncated, not a checkpoint, or of another read.
        """
        windows = []
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            window = self._read(path)
            windows.append(window if with_rows else structs.replace(window, columns={}, invalid={}))
        return sorted(windows, key=lambda window: (window.scan, window.start or ""))

    def load_rows(self, window: SavedWindow) -> SavedWindow:
        """Read one window again, with its rows."""
        return self._read(self._path(window))

    def _path(self, window: SavedWindow) -> Path:
        number, part = window.scan
        digest = hashlib.sha256(f"{window.start}/{window.end}".encode()).hexdigest()[:16]
        return self.folder / f"{number}-{part}-{digest}{_SUFFIX}"

    def _read(self, path: Path) -> SavedWindow:
        try:
            content = read_private(path)
        except OSError as error:
            raise FilterError(
                f"checkpoint file {path} cannot be read ({error}); remove it, or use another "
                "folder in checkpoint="
            ) from error
        file = _decode(content)
        if file is None:
            is_other_version = content.startswith(_FORMAT) and not content.startswith(_HEADER)
            problem = (
                "was written by another version" if is_other_version else "is incomplete or damaged"
            )
            raise FilterError(
                f"checkpoint file {path} {problem}; remove it, or use another folder in checkpoint="
            )
        if file.fingerprint != self.fingerprint:
            raise FilterError(
                f"checkpoint file {path} belongs to another read (another source, filter or "
                "choice of columns); use another folder in checkpoint=, or remove its files to "
                "start over"
            )
        return file.window

    def save(self, window: SavedWindow) -> Path:
        """Write one window, completely or not at all, and return the path of its file."""
        body = msgspec.msgpack.encode(_File(self.fingerprint, window))
        path = self._path(window)
        # Nobody can guess this name and put a link there.
        temporary = path.with_name(f".{path.name}-{token_hex(8)}")
        try:
            with os.fdopen(open_private(temporary), "wb") as file:
                file.write(_HEADER + zlib.crc32(body).to_bytes(4, "big") + body)
                file.flush()
                os.fsync(file.fileno())
            return temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise CaseSearchError(
                f"the checkpoint {self.folder} cannot be written ({error}); free some space and "
                "read again with the same checkpoint=: the files that are there are intact"
            ) from error

    def clear(self) -> None:
        """Remove the files, because the read is complete."""
        temporary = self.folder.glob(f".*{_SUFFIX}-*")  # of processes that were killed
        for path in (*self.folder.glob(f"*{_SUFFIX}"), *temporary):
            path.unlink(missing_ok=True)


def _decode(content: bytes) -> _File | None:
    """Return the content of a file; None if it is truncated or not a checkpoint."""
    size = len(_HEADER)
    header, checksum, body = content[:size], content[size : size + 4], content[size + 4 :]
    if header != _HEADER or zlib.crc32(body).to_bytes(4, "big") != checksum:
        return None
    try:
        return msgspec.msgpack.decode(body, type=_File)
    except msgspec.DecodeError:
        return None


@dataclass
class WindowFiles:
    """The files of one window that is being read; each has the pages since the one before."""

    checkpoint: Checkpoint
    scan: tuple[int, int]
    start: pd.Timestamp | None  # the start of the window
    started_at: Callable[[], pd.Timestamp]
    pages_per_file: int
    _pages: list[Page] = field(default_factory=list)  # pages that are in no file yet
    _paths: list[Path] = field(default_factory=list)
    _next_start: pd.Timestamp | None = None  # where the next file starts

    def __post_init__(self) -> None:
        """Start at the beginning of the window."""
        self._next_start = self.start

    def add(self, page: Page, position: pd.Timestamp | None, *, is_last: bool = False) -> None:
        """Add a page that ends at a position, and write a file now and then."""
        is_restart = self._next_start is None or position is None or position < self._next_start
        if self._paths and is_restart:
            self._discard()  # the window is read from its beginning again
        self._pages.append(page)
        # The last page of a window that was split ends after the window; `finish` saves it.
        if len(self._pages) < self.pages_per_file or is_last:
            return
        # More rows of the last creation time may follow. They go into the next file together, so
        # that the border between two files is a border between creation times.
        if position is not None and position != self._next_start:
            pages, self._pages = _split_off_ties(self._pages)
            self._save(pages, position)

    def finish(self, end: pd.Timestamp | None) -> None:
        """Write the pages that are in no file yet, at the end of the window."""
        pages, self._pages = self._pages, []
        self._save(pages, end)

    def _save(self, pages: Sequence[Page], end: pd.Timestamp | None) -> None:
        page = concat_pages(pages) if pages else Page(0, {})
        window = SavedWindow(
            scan=self.scan,
            start=None if self._next_start is None else self._next_start.isoformat(),
            end=None if end is None else end.isoformat(),
            started_at=self.started_at().isoformat(),
            rows=page.rows,
            columns=page.columns,
            new_fields=page.new_fields,
            invalid=page.invalid,
        )
        self._paths.append(self.checkpoint.save(window))
        self._next_start = end

    def _discard(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._paths, self._next_start = [], self.start


def _split_off_ties(pages: Sequence[Page]) -> tuple[list[Page], list[Page]]:
    """Return the rows before the last creation time, and those of that time."""
    last = next(text for text in reversed(pages[-1].columns["created_at"]) if text is not None)
    before, ties = [], []
    for page in pages:
        is_tie = [text == last for text in page.columns["created_at"]]
        before.append(take_rows(page, [row for row in range(page.rows) if not is_tie[row]]))
        ties.append(take_rows(page, [row for row in range(page.rows) if is_tie[row]]))
    return before, [page for page in ties if page.rows]


@dataclass(frozen=True)
class PassCheckpoint:
    """The checkpoint of one pass."""

    checkpoint: Checkpoint
    windows: Sequence[SavedWindow]  # the windows that were saved when the read began
    number: int  # the number of the pass
    started_at: Callable[[], pd.Timestamp]  # returns the service's clock when the read began
    pages_per_file: int

    def saved_windows(self, part: int) -> list[SavedWindow]:
        """Return the saved windows of one part of the filter."""
        return [window for window in self.windows if window.scan == (self.number, part)]

    def open_files(self, part: int, span: TimeWindow) -> WindowFiles:
        """Return the files of a window that is about to be read."""
        scan = (self.number, part)
        return WindowFiles(self.checkpoint, scan, span.start, self.started_at, self.pages_per_file)
