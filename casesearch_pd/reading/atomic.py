"""Output paths, and writing that replaces a file or folder at the end or not at all.

Also the files that only their owner may read (checkpoints, mirrors), which lie under names that
others can guess, in folders that others may write to.
"""

from __future__ import annotations

import math
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from casesearch_pd.errors import CaseSearchError, FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "PART",
    "OutputPath",
    "atomic_write",
    "expand",
    "open_private",
    "private_folder",
    "read_private",
    "replace_parts",
    "temporary_sibling",
]

PART = "cases-{:05d}.parquet"
"""The name of a part file, by its number."""

_PARTS = "cases-*.parquet"
_PRIVATE_MODE = 0o600
_MAX_LINKS = 40  # as in Linux
# Windows has neither flag: making a link needs a right there that few users have.
_NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)  # for a writer at the other end of a named pipe
_BINARY: int = getattr(os, "O_BINARY", 0)


def expand(path: str | os.PathLike[str]) -> str:
    """Return a path with the home folder in place of ``~``; a slash at the end stays.

    >>> expand("cases/")
    'cases/'
    """
    return os.path.expanduser(os.fspath(path))  # noqa: PTH111 - a Path drops the slash


@dataclass(frozen=True)
class OutputPath:
    """A file to write, or a folder of part files."""

    path: Path
    is_folder: bool

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> OutputPath:
        """Return the output path that a user means, and check that it can be written."""
        text = expand(path)
        separators = tuple(filter(None, (os.sep, os.altsep)))
        is_folder = text.endswith(separators) or Path(text).is_dir()
        output = cls(Path(text), is_folder)
        output.check()
        return output

    @property
    def target(self) -> Path:
        """The path without the user's own links at its end: the file that is replaced."""
        return self.path if self.is_folder else _follow_links(self.path)

    def check(self) -> None:
        """Raise FilterError if the path cannot be written."""
        path, target = str(self.path), self.target
        if not target.parent.is_dir():
            raise FilterError(f"the folder of {path!r} does not exist; create {target.parent}")
        if not os.access(self.existing_folder, os.W_OK | os.X_OK):
            raise FilterError(f"no permission to write {path!r}; choose another folder")
        if self.is_folder and target.exists() and not target.is_dir():
            raise FilterError(f"{path!r} is a file, not a folder; omit the slash at the end")
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise FilterError(f"{path!r} is a device or a pipe; name a file or a folder")
        if self.is_folder:
            self._check_parts()

    def _check_parts(self) -> None:
        # Readers take all Parquet files of a folder for parts of one table.
        path, parts = str(self.path), set(self.path.glob(_PARTS))
        others = sorted(set(self.path.glob("*.parquet")) - parts)
        if others:
            raise FilterError(
                f"{path!r} contains other Parquet files, such as {others[0].name!r}, which would "
                "be read as cases; use a separate folder"
            )
        link = next((part for part in sorted(parts) if part.is_symlink()), None)
        if link is not None:
            raise FilterError(
                f"{str(link)!r} is a symbolic link, which a new part file would replace; remove "
                "it, or use another folder"
            )

    @property
    def existing_folder(self) -> Path:
        """The folder on whose disk the path is."""
        return self.path if self.is_folder and self.path.is_dir() else self.target.parent

    def replace_by(self, temporary: Path, *, private: bool = False) -> None:
        """Move a file here; it gets the permissions of the file that it replaces.

        If there is none, those of any new file, or with `private` only those of the owner.
        """
        _move(temporary, self.target, _PRIVATE_MODE if private else None)


@contextmanager
def temporary_sibling(output: OutputPath) -> Iterator[Path]:
    """Create a temporary folder on the same disk, and remove it at the end."""
    try:
        prefix, folder = f".{output.target.name}-", output.existing_folder
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    except OSError as error:
        raise FilterError(f"cannot write {str(output.path)!r} ({error})") from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """Yield the path of a file and a temporary one, which replaces it when all is written."""
    output = OutputPath.of(path)
    if output.is_folder:
        raise FilterError(f"{str(output.path)!r} is a folder; name a file in it")
    with temporary_sibling(output) as work:
        temporary = work / output.path.name
        try:
            yield output.path, temporary
            output.replace_by(temporary)
        except OSError as error:
            raise CaseSearchError(
                f"cannot write {str(output.path)!r} ({error}); free some space or choose another "
                "location; the old file is intact"
            ) from error


def replace_parts(work: Path, folder: Path) -> None:
    """Move new part files into a folder, and remove those of an earlier read."""
    folder.mkdir(exist_ok=True)
    new = {path.name: path for path in work.glob(_PARTS)}
    old = sorted(folder.glob(_PARTS))
    # A part file with a new number belongs to the same table as the first one of the old parts.
    mode = stat.S_IMODE(old[0].lstat().st_mode) if old else None
    for name, path in sorted(new.items()):
        _move(path, folder / name, mode)
    for part in set(old) - {folder / name for name in new}:
        part.unlink()


def _move(temporary: Path, target: Path, new_mode: int | None) -> None:
    """Replace a file and keep its permissions; a new file gets a mode, or keeps its own."""
    try:
        old = target.lstat()
    except FileNotFoundError:
        old = None
    if old is not None and stat.S_ISREG(old.st_mode) and not _is_planted(target):
        _copy_permissions(old, temporary)
    elif new_mode is not None:
        temporary.chmod(new_mode)
    temporary.replace(target)


def _copy_permissions(old: os.stat_result, temporary: Path) -> None:
    new, mode = temporary.stat(), stat.S_IMODE(old.st_mode) & 0o777
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid) and hasattr(os, "chown"):
        try:
            os.chown(temporary, old.st_uid if _user() == 0 else -1, old.st_gid)
        except OSError:
            # Without its group, the rights of the group would be given to another one.
            mode &= ~0o070
    temporary.chmod(mode)


def _user() -> int:
    return int(getattr(os, "geteuid", int)())


def _follow_links(path: Path) -> Path:
    """Return what a link of the user, or of the owner of its folder, leads to."""
    target = path
    for _ in range(_MAX_LINKS):
        if not target.is_symlink():
            return target
        if _is_planted(target):
            raise FilterError(
                f"{str(path)!r} is a symbolic link that another user made in a folder that "
                "everybody may write to; remove it, or use another path"
            )
        target = target.parent / target.readlink()
    raise FilterError(f"{str(path)!r} is a symbolic link that leads to itself; remove it")


def _is_planted(path: Path) -> bool:
    """Return whether another user made a path in a folder that everybody may write to."""
    # Linux restricts links in such folders by the same rule (fs.protected_symlinks).
    try:
        owner, folder = path.lstat().st_uid, path.parent.stat()
    except FileNotFoundError:
        return False
    return bool(folder.st_mode & stat.S_IWOTH) and owner not in {_user(), folder.st_uid}


def private_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder that only its owner may read, if there is none; ``~`` is expanded.

    Raise FilterError if somebody else may have made it, and OSError if it cannot be created.
    """
    folder = _follow_links(Path(expand(path)))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_planted(folder):
        raise FilterError(
            f"the folder {os.fspath(path)!r} was made by another user in a folder that everybody "
            "may write to; use another folder"
        )
    return folder


def open_private(path: Path, *, exist_ok: bool = False) -> int:
    """Return the descriptor of a new file that only its owner may read and write.

    With `exist_ok` the file may be there already. Raise OSError if it is, or if the name belongs
    to a link, a pipe or a device.
    """
    flags = os.O_RDWR | os.O_CREAT | _NO_FOLLOW | _NO_WAIT | _BINARY
    descriptor = os.open(path, flags | (0 if exist_ok else os.O_EXCL), _PRIVATE_MODE)
    try:
        _require_file(descriptor, path, max_names=1)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: Path) -> bytes:
    """Read a file that `open_private` made; raise OSError if it is a link or not a file."""
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_FOLLOW | _NO_WAIT | _BINARY), "rb") as file:
        _require_file(file.fileno(), path)
        return file.read()


def _require_file(descriptor: int, path: Path, *, max_names: float = math.inf) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{str(path)!r} is a pipe or a device, not a file")
    # A hard link is another user's way to have a file of ours overwritten.
    if status.st_nlink > max_names:
        raise OSError(f"{str(path)!r} is a hard link to another file; remove it")
