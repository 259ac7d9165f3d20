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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pandas as pd
from msgspec import structs

from casesearch_pd.errors import CaseSearchError, FilterError
from casesearch_pd.query.schema import Field  # noqa: TC001 - msgspec reads the annotations
from casesearch_pd.query.stored import to_json
from casesearch_pd.sources.contract import Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casesearch_pd.reading.plan import Route

__all__ = ["Checkpoint", "Saved", "gaps", "question_of"]

_MAGIC = b"casesearch_pd checkpoint 1\n"
_ENDING = ".cases"


class Saved(msgspec.Struct, frozen=True):
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
        return Page(self.rows, self.columns, None, None, served_at, found=self.found, odd=self.odd)


class _File(msgspec.Struct, frozen=True):
    question: str
    saved: Saved


def question_of(route: Route, **more: object) -> str:
    """Say what is read, so that a checkpoint can tell another read from this one."""
    query = route.query
    asked = {
        **more,
        "source": {**route.source.describe(), "endpoint_url": None, "base_url": None},
        "filter": to_json(query.filter),
        "search": query.search,
        "passes": [[item.id for item in fields] for fields in route.passes],
        "parts": len(route.split.parts),
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

    def load(self) -> list[Saved]:
        """Read what is there, in the order of walks and windows.

        Raises
        ------
        FilterError
            If a file is torn, foreign, or of another read.
        """
        found = [self._read(path) for path in sorted(self.folder.glob(f"*{_ENDING}"))]
        return sorted(found, key=lambda saved: (saved.walk, saved.start or ""))

    def index(self) -> list[Saved]:
        """List what is there without its rows, which need not all be in memory at once.

        Raises
        ------
        FilterError
            As `load` does.
        """
        paths = sorted(self.folder.glob(f"*{_ENDING}"))
        found = [structs.replace(self._read(path), columns={}, odd={}) for path in paths]
        return sorted(found, key=lambda saved: (saved.walk, saved.start or ""))

    def filled(self, saved: Saved) -> Saved:
        """Read one window again, with its rows."""
        return self._read(self._path(saved))

    def _path(self, saved: Saved) -> Path:
        part = f"{saved.walk[0]}-{saved.walk[1]}"
        return self.folder / f"{part}-{_digest(saved.start, saved.end)}{_ENDING}"

    def _read(self, path: Path) -> Saved:
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

    def save(self, saved: Saved) -> Path:
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


def gaps(saved: Sequence[Saved]) -> list[tuple[pd.Timestamp | None, pd.Timestamp | None]]:
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
