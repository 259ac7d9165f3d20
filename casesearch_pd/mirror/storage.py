"""What SQL has no words for: letter case as Unicode folds it, and members of nested lists."""

from __future__ import annotations

import atexit
import glob
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pyarrow as pa

from casesearch_pd.errors import CaseSearchError, FilterError
from casesearch_pd.mirror.metadata import FORMAT, MirrorMetadata
from casesearch_pd.reading.fetch.checkpoint import query_fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casesearch_pd.reading.plan import ReadPlan

__all__ = [
    "OpenFile",
    "casefold_array",
    "checkpoint_folder",
    "has_member",
    "irregular_letters",
    "open_mirror_file",
    "peek",
    "read_metadata",
    "release",
    "remove_checkpoint",
    "remove_leftovers",
    "replace_file",
    "write_lock",
    "writer",
]

_PLANE = 0x10000  # beyond it no letter folds into ASCII


def casefold_array(texts: pa.ChunkedArray) -> pa.Array:
    """Take letter case off, as the local mask does: lower() would leave ß and SS apart."""
    folded = [None if text is None else text.casefold() for text in texts.to_pylist()]
    return pa.array(folded, pa.large_string())


@cache
def irregular_letters() -> str:
    """Write the pattern of the letters that are no ASCII and fold into some, such as ß and ﬁ."""
    letters = (chr(code) for code in range(0x80, _PLANE))
    odd = (one for one in letters if any(part.isascii() for part in one.casefold()))
    return f"[{re.escape(''.join(odd))}]"


def has_member(cells: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.Array:
    """Tell of lists in JSON whether they have a text for a member."""
    pairs = zip(cells.to_pylist(), values.to_pylist(), strict=True)
    return pa.array([_has(cell, value) for cell, value in pairs], pa.bool_())


def _has(cell: str | None, value: str | None) -> bool:
    held = None if cell is None else json.loads(cell)
    return isinstance(held, list) and value in held


try:
    import duckdb
    from duckdb.func import ARROW
except ImportError as error:
    raise ImportError("a mirror needs DuckDB: pip install 'casesearch_pd[mirror]'") from error

_SETTINGS: dict[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # a name in SQL is a table, never a variable of Python
    "arrow_large_buffer_size": True,  # texts as frames hold them
}
_MEMORY = "1GB"  # of a writer; what is beyond goes to files beside the new one
_OPEN_AT_MOST = 8

Signature = tuple[int, ...]


@dataclass(frozen=True)
class OpenFile:
    """A mirror's file that is open for reading.

    Parameters
    ----------
    connection
        A cursor of its own; the tables of the mirror need no prefix.
    about
        What the file knows of itself.
    """

    connection: duckdb.DuckDBPyConnection
    about: MirrorMetadata


@contextmanager
def open_mirror_file(path: Path) -> Iterator[OpenFile]:
    """Open a mirror's file for reading.

    Raises
    ------
    CaseSearchError
        If there is no such file, or if it is no mirror that can be read.
    """
    held = _FILES.get(path)
    cursor = held.connection.cursor()
    try:
        cursor.execute("USE mirror")
        yield OpenFile(cursor, held.about)
    finally:
        cursor.close()


def read_metadata(path: Path) -> MirrorMetadata:
    """Tell what a mirror knows of itself.

    Raises
    ------
    CaseSearchError
        As `open_mirror_file` does.
    """
    return _FILES.get(path).about


def release(path: Path) -> None:
    """Close a file that is about to be replaced, which not every system does to an open one."""
    _FILES.close(path)


def peek(path: Path) -> MirrorMetadata | None:
    """Tell what a mirror knows of itself; None if there is no file.

    Raises
    ------
    CaseSearchError
        If it is no mirror that can be read.
    """
    return read_metadata(path) if path.exists() else None


# --- reading ------------------------------------------------------------------------------


class _Files:
    """The files that are open in this process: a connection costs more than a selective read."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, Path], tuple[Signature, OpenFile]] = {}
        self._lock = Lock()

    def get(self, path: Path) -> OpenFile:
        """Find the connection to a file, as it is now."""
        signature = _signature(path)
        key = (os.getpid(), path)  # a child of this process must not use its connections
        with self._lock:
            known = self._open.pop(key, None)
            if known is not None and known[0] != signature:
                known[1].connection.close()
                known = None
            self._open[key] = known or (signature, _read_only(path))
            while len(self._open) > _OPEN_AT_MOST:
                self._open.pop(next(iter(self._open)))[1].connection.close()
            return self._open[key][1]

    def close(self, path: Path | None = None) -> None:
        """Close one file, or all."""
        with self._lock:
            mine = [key for key in self._open if key == (os.getpid(), path or key[1])]
            for key in mine:
                self._open.pop(key)[1].connection.close()


_FILES = _Files()
atexit.register(_FILES.close)


def _signature(path: Path) -> Signature:
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise CaseSearchError(
            f"there is no mirror at {str(path)!r} yet; fill it first: mirror.sync(source)"
        ) from error
    except OSError as error:
        raise CaseSearchError(f"the mirror {str(path)!r} cannot be read: {error}") from error
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _read_only(path: Path) -> OpenFile:
    # What does not fit into memory goes to a folder of its own, which is all that may be opened.
    spilled = Path(tempfile.gettempdir()) / f"casesearch-{uuid4().hex}"
    connection = _connected({"temp_directory": str(spilled)})
    try:
        _attach(connection, path)
        about = _about(connection, path)
        # From here on nobody can open anything else, or allow it again.
        connection.execute(
            "SET GLOBAL TimeZone = 'UTC'; SET enable_external_access = false; "
            "SET lock_configuration = true"
        )
    except BaseException:
        connection.close()
        raise
    return OpenFile(connection, about)


def _connected(more: dict[str, str]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config=_SETTINGS | more)
    text = duckdb.sqltype("VARCHAR")
    truth = duckdb.sqltype("BOOLEAN")
    connection.create_function("casefold", casefold_array, [text], text, type=ARROW)
    connection.create_function("has_member", has_member, [text, text], truth, type=ARROW)
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        connection.execute(f"ATTACH {_text(path)} AS mirror (READ_ONLY)")
    except duckdb.Error as error:
        raise CaseSearchError(
            f"{str(path)!r} cannot be opened as a mirror ({_short(error)}); if it is not one, name "
            "another file"
        ) from error


def _about(connection: duckdb.DuckDBPyConnection, path: Path) -> MirrorMetadata:
    try:
        (found,) = connection.execute("SELECT format, told FROM mirror.about").fetchall()
    except (duckdb.Error, ValueError) as error:
        raise CaseSearchError(
            f"{str(path)!r} is a DuckDB file, but no mirror; name another file"
        ) from error
    if found[0] > FORMAT:
        raise CaseSearchError(
            f"the mirror {str(path)!r} has format {found[0]}, and this version knows {FORMAT}; "
            "upgrade casesearch_pd, or make a new mirror in another file"
        )
    try:
        return MirrorMetadata.read(found[1])
    except msgspec.DecodeError as error:
        raise CaseSearchError(
            f"the mirror {str(path)!r} does not say what it holds; make a new one in another file"
        ) from error


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0]


# --- writing ------------------------------------------------------------------------------


@contextmanager
def writer(work: Path, old: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a new file, ``new``, with room for what comes, ``stage``, and what was there, ``old``.

    Parameters
    ----------
    work
        A folder of its own; the new file is ``new.duckdb`` in it.
    old
        The file that is there, if one is.

    Raises
    ------
    CaseSearchError
        If the disk is full, or anything else of the file system is in the way.
    """
    # Storage that DuckDB 1.4 reads too; and of few large groups, which compress better.
    options = "STORAGE_VERSION 'v1.4.0', ROW_GROUP_SIZE 1228800"
    limits = {"temp_directory": str(work / "spilled"), "memory_limit": _MEMORY}
    connection = _connected(limits)
    try:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute(f"ATTACH {_text(work / 'new.duckdb')} AS new ({options})")
        connection.execute(f"ATTACH {_text(work / 'stage.duckdb')} AS stage ({options})")
        if old is not None:
            connection.execute(f"ATTACH {_text(old)} AS old (READ_ONLY)")
        yield connection
    except (duckdb.OperationalError, duckdb.FatalException) as error:
        raise CaseSearchError(
            f"the mirror cannot be written ({_short(error)}); make room and sync again: what was "
            "there is intact"
        ) from error
    finally:
        with suppress(duckdb.Error):  # a broken file is thrown away
            connection.close()


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Be the only writer of a file.

    Raises
    ------
    CaseSearchError
        If there is another one; it is named.
    FilterError
        If the folder cannot be written.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise FilterError(
            f"the mirror {str(path)!r} cannot be written ({error}); name a file in a folder of "
            "your own"
        ) from error
    try:
        _take(held, path)
        os.ftruncate(held, 0)
        os.write(held, str(os.getpid()).encode())
        yield
    finally:
        os.close(held)  # and the lock is free


def _take(held: int, path: Path) -> None:
    try:
        _lock(held)
    except OSError as error:
        writer = os.read(held, 20).decode("ascii", "replace") or "another one"
        raise CaseSearchError(
            f"process {writer} is just writing the mirror {str(path)!r}; wait for its sync to end, "
            "or end it. Reading goes on meanwhile"
        ) from error


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 20  # where nothing is written: what is locked there nobody else can read

    def _lock(held: int) -> None:
        os.lseek(held, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(held, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(held, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(held: int) -> None:
        # Of an open file, not of a process: two mirrors of one process exclude each other too.
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)


_SAVED = ".{}.saved-{}"


def checkpoint_folder(path: Path, route: ReadPlan) -> Path:
    """Name a folder for what is read; another question has another one."""
    mark = hashlib.sha256(query_fingerprint(route, streamed=True).encode()).hexdigest()[:16]
    return path.with_name(_SAVED.format(path.name, mark))


def remove_leftovers(path: Path) -> None:
    """Remove the folders of writers that were killed."""
    _remove(path, f".{glob.escape(path.name)}-{'[a-z0-9_]' * 8}")  # as tempfile names them


def remove_checkpoint(path: Path) -> None:
    """Remove what was saved: it is in the mirror now."""
    _remove(path, _SAVED.format(glob.escape(path.name), "*"))


def _remove(path: Path, folders: str) -> None:
    for folder in path.parent.glob(folders):
        shutil.rmtree(folder, ignore_errors=True)


def replace_file(new: Path, path: Path) -> None:
    """Put the new file in the place of the old one, at once and for good."""
    try:
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise CaseSearchError(
            f"the mirror {str(path)!r} cannot be replaced ({error}); what was there is intact"
        ) from error
