"""DuckDB, in two ways: a file to read, that nothing can change, and a new file to write.

A mirror's file is never written in place. A sync makes a new one beside it and moves it there, so
readers, in this process and in others, go on with what they opened, and a crash leaves what was.
DuckDB may not look around: it loads no extension, opens no other file and asks no network.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from casesearch_pd.errors import CaseSearchError
from casesearch_pd.mirror.about import FORMAT, About
from casesearch_pd.mirror.text import casefolded, has_member

try:
    import duckdb
    from duckdb.func import ARROW
except ImportError as error:
    raise ImportError("a mirror needs DuckDB: pip install 'casesearch_pd[mirror]'") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Opened", "opened", "peek", "release", "told", "writer"]

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
class Opened:
    """A mirror's file that is open for reading.

    Parameters
    ----------
    connection
        A cursor of its own; the tables of the mirror need no prefix.
    about
        What the file knows of itself.
    """

    connection: duckdb.DuckDBPyConnection
    about: About


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
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
        yield Opened(cursor, held.about)
    finally:
        cursor.close()


def told(path: Path) -> About:
    """Tell what a mirror knows of itself.

    Raises
    ------
    CaseSearchError
        As `opened` does.
    """
    return _FILES.get(path).about


def release(path: Path) -> None:
    """Close a file that is about to be replaced, which not every system does to an open one."""
    _FILES.close(path)


def peek(path: Path) -> About | None:
    """Tell what a mirror knows of itself; None if there is no file.

    Raises
    ------
    CaseSearchError
        If it is no mirror that can be read.
    """
    return told(path) if path.exists() else None


# --- reading ------------------------------------------------------------------------------


class _Files:
    """The files that are open in this process: a connection costs more than a selective read."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, Path], tuple[Signature, Opened]] = {}
        self._lock = Lock()

    def get(self, path: Path) -> Opened:
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


def _read_only(path: Path) -> Opened:
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
    return Opened(connection, about)


def _connected(more: dict[str, str]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config=_SETTINGS | more)
    text = duckdb.sqltype("VARCHAR")
    truth = duckdb.sqltype("BOOLEAN")
    connection.create_function("casefold", casefolded, [text], text, type=ARROW)
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


def _about(connection: duckdb.DuckDBPyConnection, path: Path) -> About:
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
        return About.read(found[1])
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
