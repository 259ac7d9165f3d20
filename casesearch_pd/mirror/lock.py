"""One writer at a time: a lock beside the file that ends with its process, however that ends."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from casesearch_pd.errors import CaseSearchError, FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["writing"]


@contextmanager
def writing(path: Path) -> Iterator[None]:
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
