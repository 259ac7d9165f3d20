"""The files of a mirror: DuckDB connections, the write lock, the checkpoint and the replacement.

Readers never wait for a writer: a sync writes a new file, which replaces the old one in one step.
"""

from __future__ import annotations

import atexit
import glob
import hashlib
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
from duckdb.func import ARROW

from casesearch_pd.errors import CaseSearchError, FilterError
from casesearch_pd.mirror.filter_sql import casefold_array, has_member
from casesearch_pd.mirror.metadata import FORMAT, VIEWS_SQL, MirrorMetadata, quote_identifier
from casesearch_pd.reading.atomic import OutputPath, open_private
from casesearch_pd.reading.fetch.checkpoint import query_fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casesearch_pd.reading.plan import ReadPlan

__all__ = [
    "OpenFile",
    "checkpoint_folder",
    "close_mirror_file",
    "locate",
    "open_mirror_file",
    "open_writer",
    "read_metadata",
    "read_metadata_if_exists",
    "remove_checkpoints",
    "remove_leftovers",
    "replace_file",
    "write_lock",
]

_DUCKDB_SETTINGS: dict[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # a name in SQL is a table, never a Python variable
    "arrow_large_buffer_size": True,  # large strings, as in frames
}
_WRITER_MEMORY = "1GB"  # more is spilled to files next to the new one
_MAX_OPEN_FILES = 8
_CHECKPOINT_NAME = ".{}.saved-{}"

Signature = tuple[int, ...]


@dataclass(frozen=True)
class OpenFile:
    """A mirror's file, open for reading."""

    connection: duckdb.DuckDBPyConnection
    metadata: MirrorMetadata
    spill_folder: Path | None = None

    def close(self) -> None:
        """Close the file and remove what its queries have spilled."""
        self.connection.close()
        if self.spill_folder is not None:
            shutil.rmtree(self.spill_folder, ignore_errors=True)


def locate(path: Path) -> Path:
    """Return the file that a link leads to: it is what is read, written and locked."""
    return Path(os.path.realpath(path))


@contextmanager
def open_mirror_file(path: Path) -> Iterator[OpenFile]:
    """Open a mirror's file for reading; raise CaseSearchError if it is not a readable mirror."""
    file = _OPEN_FILES.get(path)
    cursor = file.connection.cursor()
    try:
        yield OpenFile(cursor, file.metadata)
    finally:
        cursor.close()


def read_metadata(path: Path) -> MirrorMetadata:
    """Return the metadata of a mirror; raise CaseSearchError if it is not a readable mirror."""
    return _OPEN_FILES.get(path).metadata


def read_metadata_if_exists(path: Path) -> MirrorMetadata | None:
    """Return the metadata of a mirror, or None if there is no file."""
    return read_metadata(path) if path.exists() else None


def close_mirror_file(path: Path) -> None:
    """Close a file before it is replaced: not every system replaces an open file."""
    _OPEN_FILES.close(path)


class _OpenFiles:
    """The open files of this process: opening one takes longer than a selective read."""

    def __init__(self) -> None:
        self._files: dict[tuple[int, Path], tuple[Signature, OpenFile]] = {}
        self._lock = Lock()

    def get(self, path: Path) -> OpenFile:
        """Return the open file of a path; opened again if it was replaced."""
        path = locate(path)
        signature = _signature(path)
        key = (os.getpid(), path)  # a forked process must not use the connections of its parent
        with self._lock:
            entry = self._files.pop(key, None)
            if entry is not None and entry[0] != signature:
                entry[1].close()
                entry = None
            self._files[key] = entry or (signature, _open_for_reading(path))
            own = [other for other in self._files if other[0] == os.getpid()]
            for other in own[:-_MAX_OPEN_FILES]:
                self._files.pop(other)[1].close()
            return self._files[key][1]

    def close(self, path: Path | None = None) -> None:
        """Close one file, or all."""
        path = path and locate(path)
        with self._lock:
            for key in [key for key in self._files if key == (os.getpid(), path or key[1])]:
                self._files.pop(key)[1].close()


_OPEN_FILES = _OpenFiles()
atexit.register(_OPEN_FILES.close)


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise CaseSearchError(
            f"there is no mirror at {str(path)!r} yet; create it with mirror.sync(source)"
        ) from error
    except OSError as error:
        raise CaseSearchError(f"cannot read the mirror {str(path)!r}: {error}") from error
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _open_for_reading(path: Path) -> OpenFile:
    try:
        spill_folder = locate(Path(tempfile.mkdtemp(prefix="casesearch-")))
    except OSError:  # queries that need more than the memory fail then
        spill_folder = None
    connection = None
    try:
        connection = _connect([path], spill_folder)
        # SQL of users cannot open other files again.
        connection.execute("SET lock_configuration = true")
        _attach(connection, path, "mirror")
        metadata = _load_metadata(connection, path)
        # The tables of the file are read by views outside of it, so that no name in SQL, such as
        # that of a function, is looked up in the file.
        connection.execute(VIEWS_SQL)
        return OpenFile(connection, metadata, spill_folder)
    except BaseException:
        if connection is not None:
            connection.close()
        if spill_folder is not None:
            shutil.rmtree(spill_folder, ignore_errors=True)
        raise


def _connect(
    paths: Sequence[Path], folder: Path | None, memory_limit: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a connection that can open these files and those of a folder, and no other."""
    limit = {} if memory_limit is None else {"memory_limit": memory_limit}
    spilled = "" if folder is None else str(folder / "spilled")
    settings = _DUCKDB_SETTINGS | limit | {"temp_directory": spilled}
    connection = duckdb.connect(":memory:", config=settings)
    text, boolean = duckdb.sqltype("VARCHAR"), duckdb.sqltype("BOOLEAN")
    connection.create_function("casefold", casefold_array, [text], text, type=ARROW)
    connection.create_function("has_member", has_member, [text, text], boolean, type=ARROW)
    # The author of a file may have put views and macros into it that read other files. So access
    # is restricted before a file is attached, not after. DuckDB also looks for a file's log.
    files = [name for path in paths for name in (str(path), f"{path}.wal")]
    folders = [] if folder is None else [f"{folder}{os.sep}"]
    connection.execute(
        "SET GLOBAL TimeZone = 'UTC'; "
        f"SET allowed_paths = [{', '.join(map(_quote_text, files))}]; "
        f"SET allowed_directories = [{', '.join(map(_quote_text, folders))}]; "
        "SET enable_external_access = false"
    )
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> None:
    """Attach a mirror for reading; raise CaseSearchError if it is none, or has more than tables."""
    try:
        connection.execute(f"ATTACH {_quote_text(path)} AS {name} (READ_ONLY)")
    except duckdb.Error as error:
        raise CaseSearchError(
            f"cannot open {str(path)!r} as a mirror ({_first_line(error)}); if it is another kind "
            "of file, choose another path"
        ) from error
    _check_format(connection, path, name)
    additions = connection.execute(_ADDITIONS.format(name)).fetchall()
    if additions:
        ((addition,),) = additions
        raise CaseSearchError(
            f"the mirror {str(path)!r} has views, macros or other objects that no sync makes, such "
            f"as {addition!r}; do not use it: get the file from its owner again, or sync to "
            "another path"
        )


# What may run SQL of the file's maker. The query reads the catalog, so it runs none of that.
_ADDITIONS = """
    SELECT view_name FROM duckdb_views() WHERE database_name = '{0}' AND NOT internal
    UNION ALL SELECT function_name FROM duckdb_functions()
        WHERE database_name = '{0}' AND NOT internal
    UNION ALL SELECT table_name FROM duckdb_tables() WHERE database_name = '{0}'
        AND (schema_name <> 'main' OR table_name NOT IN ('metadata', 'cases'))
    LIMIT 1
"""


def _check_format(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> None:
    # The table was called "about" up to format 2.
    tables = (
        f"SELECT table_name FROM duckdb_tables() WHERE database_name = '{name}' "
        "AND schema_name = 'main' AND table_name IN ('metadata', 'about')"
    )
    try:
        ((table,),) = connection.execute(tables).fetchall()
        ((file_format,),) = connection.execute(f"SELECT format FROM {name}.{table}").fetchall()
    except (duckdb.Error, ValueError) as error:
        raise CaseSearchError(
            f"{str(path)!r} is a DuckDB file but not a mirror; choose another path"
        ) from error
    if file_format != FORMAT:
        advice = (
            "upgrade casesearch_pd, or create a new mirror at another path"
            if file_format > FORMAT
            else "delete the file and call mirror.sync(source) again, or sync to another path"
        )
        raise CaseSearchError(
            f"the mirror {str(path)!r} has format {file_format}, and this version reads format "
            f"{FORMAT} only; {advice}"
        )


def _load_metadata(connection: duckdb.DuckDBPyConnection, path: Path) -> MirrorMetadata:
    try:
        ((text,),) = connection.execute("SELECT document FROM mirror.metadata").fetchall()
        metadata = MirrorMetadata.from_json(text)
        names = (quote_identifier(column.name) for column in metadata.columns if column.name)
        connection.execute(f"SELECT {', '.join(names)} FROM mirror.cases LIMIT 0")
    except (duckdb.Error, msgspec.DecodeError) as error:
        raise CaseSearchError(
            f"the metadata of the mirror {str(path)!r} is damaged; create a new mirror at another "
            "path"
        ) from error
    return metadata


def _quote_text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


@contextmanager
def open_writer(folder: Path, old: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the databases of a sync: ``new`` and ``stage`` in a folder, and the ``old`` file.

    The new file is ``new.duckdb``. A full disk is a CaseSearchError.
    """
    # A storage version that DuckDB 1.4 reads too, and few large row groups, which compress better.
    options = "STORAGE_VERSION 'v1.4.0', ROW_GROUP_SIZE 1228800"
    connection = _connect([] if old is None else [old], folder, _WRITER_MEMORY)
    try:
        connection.execute(f"ATTACH {_quote_text(folder / 'new.duckdb')} AS new ({options})")
        connection.execute(f"ATTACH {_quote_text(folder / 'stage.duckdb')} AS stage ({options})")
        if old is not None:
            _attach(connection, old, "old")
        yield connection
    except (duckdb.OperationalError, duckdb.FatalException) as error:
        raise CaseSearchError(
            f"cannot write the mirror ({_first_line(error)}); free disk space and sync again, the "
            "previous state is intact"
        ) from error
    finally:
        with suppress(duckdb.Error):  # a broken file is deleted with its folder
            connection.close()


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Hold the lock of the only writer of a mirror; the error names a process that holds it."""
    try:
        descriptor = open_private(path.with_name(f".{path.name}.lock"), exist_ok=True)
    except OSError as error:
        raise FilterError(
            f"cannot write the mirror {str(path)!r} ({error}); choose a path in a folder that you "
            "can write to"
        ) from error
    try:
        _acquire_lock(descriptor, path)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)  # which also releases the lock


def _acquire_lock(descriptor: int, path: Path) -> None:
    try:
        _lock_file(descriptor)
    except OSError as error:
        owner = os.read(descriptor, 20).decode("ascii", "replace") or "(unknown)"
        raise CaseSearchError(
            f"process {owner} is writing the mirror {str(path)!r}; wait for its sync to finish, or "
            "end it. The mirror can be read in the meantime"
        ) from error


if sys.platform == "win32":
    import msvcrt

    # Windows keeps others from reading a locked byte, so one far behind the process id is locked.
    _LOCK_OFFSET = 1 << 20

    def _lock_file(descriptor: int) -> None:
        os.lseek(descriptor, _LOCK_OFFSET, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock_file(descriptor: int) -> None:
        # flock belongs to an open file, not a process: two mirrors in one process exclude each
        # other too.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def checkpoint_folder(path: Path, plan: ReadPlan) -> Path:
    """Return the folder of the checkpoint of a full read; another query has another folder."""
    digest = hashlib.sha256(query_fingerprint(plan, streamed=True).encode()).hexdigest()[:16]
    folder = path.with_name(_CHECKPOINT_NAME.format(path.name, digest))
    # The user has not named this folder, so a link there is not the user's.
    if folder.is_symlink():
        raise CaseSearchError(f"{str(folder)!r} is a symbolic link; remove it and sync again")
    return folder


def remove_checkpoints(path: Path) -> None:
    """Remove the checkpoints of a mirror."""
    _remove_folders(path, _CHECKPOINT_NAME.format(glob.escape(path.name), "*"))


def remove_leftovers(path: Path) -> None:
    """Remove the folders of writers that were killed."""
    _remove_folders(path, f".{glob.escape(path.name)}-{'[a-z0-9_]' * 8}")  # names of mkdtemp


def _remove_folders(path: Path, pattern: str) -> None:
    for folder in path.parent.glob(pattern):
        shutil.rmtree(folder, ignore_errors=True)


def replace_file(new: Path, path: Path) -> None:
    """Replace the mirror's file by the new one, atomically and durably."""
    try:
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        OutputPath(path, is_folder=False).replace_by(new, private=True)
    except OSError as error:
        raise CaseSearchError(
            f"cannot replace the mirror {str(path)!r} ({error}); the previous state is intact"
        ) from error
