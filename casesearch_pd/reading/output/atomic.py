"""Output paths, and writing that replaces a file or folder at the end or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from casesearch_pd.errors import CaseSearchError, FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PART", "OutputPath", "atomic_write", "replace_parts", "temporary_sibling"]

PART = "cases-{:05d}.parquet"
"""The name of a part file, by its number."""

_PARTS = "cases-*.parquet"


@dataclass(frozen=True)
class OutputPath:
    """A file to write, or a folder of part files."""

    path: Path
    is_folder: bool

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> OutputPath:
        """Return the output path that a user means, and check that it can be written."""
        text = os.fspath(path)
        separators = tuple(filter(None, (os.sep, os.altsep)))
        is_folder = text.endswith(separators) or Path(text).is_dir()
        output = cls(Path(text), is_folder)
        output.check()
        return output

    def check(self) -> None:
        """Raise FilterError if the path cannot be written."""
        path = str(self.path)
        if not self.path.parent.is_dir():
            raise FilterError(f"the folder of {path!r} does not exist; create {self.path.parent}")
        if self.is_folder and self.path.exists() and not self.path.is_dir():
            raise FilterError(f"{path!r} is a file, not a folder; omit the slash at the end")
        if not os.access(self._existing_folder, os.W_OK | os.X_OK):
            raise FilterError(f"no permission to write {path!r}; choose another folder")
        # Readers take all Parquet files of a folder for parts of one table.
        parts = set(self.path.glob(_PARTS)) if self.is_folder else set()
        others = sorted(set(self.path.glob("*.parquet")) - parts) if self.is_folder else []
        if others:
            raise FilterError(
                f"{path!r} contains other Parquet files, such as {others[0].name!r}, which would "
                "be read as cases; use a separate folder"
            )

    @property
    def _existing_folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent


@contextmanager
def temporary_sibling(output: OutputPath) -> Iterator[Path]:
    """Create a temporary folder on the same disk, and remove it at the end."""
    folder = output._existing_folder  # noqa: SLF001 - of the same module
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{output.path.name}-", dir=folder))
    except OSError as error:
        raise FilterError(f"cannot write {str(output.path)!r} ({error})") from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """Yield the path of a file and a temporary one, which replaces it when all is written."""
    output = OutputPath.of(os.path.expanduser(os.fspath(path)))  # noqa: PTH111 - a Path drops the slash
    if output.is_folder:
        raise FilterError(f"{str(output.path)!r} is a folder; name a file in it")
    with temporary_sibling(output) as work:
        temporary = work / output.path.name
        try:
            yield output.path, temporary
            temporary.replace(output.path)
        except OSError as error:
            raise CaseSearchError(
                f"cannot write {str(output.path)!r} ({error}); free some space or choose another "
                "location; the old file is intact"
            ) from error


def replace_parts(work: Path, folder: Path) -> None:
    """Move new part files into a folder, and remove those of an earlier read."""
    folder.mkdir(exist_ok=True)
    new = {path.name: path for path in work.glob(_PARTS)}
    for name, path in sorted(new.items()):
        path.replace(folder / name)
    for old in set(folder.glob(_PARTS)) - {folder / name for name in new}:
        old.unlink()
