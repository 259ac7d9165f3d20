"""A path in, a place for Parquet out: a file or a folder, replaced at the end or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from casesearch_pd.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PART", "OutputPath", "replace_parts", "temporary_sibling"]

PART = "cases-{:05d}.parquet"
"""The name of a part file, by its number."""

_PARTS = "cases-*.parquet"


@dataclass(frozen=True)
class OutputPath:
    """Where Parquet goes.

    Parameters
    ----------
    path
        The file or folder.
    folder
        Which of them.
    """

    path: Path
    folder: bool

    @classmethod
    def of(cls, given: str | os.PathLike[str]) -> OutputPath:
        """See what a path means, and that it can be written.

        Raises
        ------
        FilterError
            If it cannot, or if there is a folder of other files.
        """
        text = os.fspath(given)
        path = Path(text)
        ends = text.endswith(tuple(filter(None, (os.sep, os.altsep))))
        place = cls(path, folder=ends or path.is_dir())
        place.check()
        return place

    def check(self) -> None:
        """Refuse what cannot be written."""
        path = str(self.path)
        if not self.path.parent.is_dir():
            raise FilterError(f"{path!r} is in no folder that there is; make {self.path.parent}")
        if self.folder and self.path.exists() and not self.path.is_dir():
            raise FilterError(f"{path!r} is a file, and no folder; leave the slash out")
        home = self.path if self.path.is_dir() else self.path.parent
        if not os.access(home, os.W_OK | os.X_OK):
            raise FilterError(f"{path!r} cannot be written; name a folder of your own")
        known = set(self.path.glob(_PARTS)) if self.folder else set()
        other = sorted(set(self.path.glob("*.parquet")) - known) if self.folder else []
        if other:
            raise FilterError(
                f"{path!r} holds Parquet files of others, such as {other[0].name!r}, that would be "
                "read as cases; name a folder of its own"
            )


@contextmanager
def temporary_sibling(place: OutputPath) -> Iterator[Path]:
    """Open a folder on the same disk that is gone afterwards, whatever happens."""
    home = place.path.parent if not place.path.is_dir() else place.path
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{place.path.name}-", dir=home))
    except OSError as error:
        raise FilterError(f"{str(place.path)!r} cannot be written ({error})") from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def replace_parts(work: Path, folder: Path) -> None:
    """Move new part files into a folder, and remove those of an earlier read."""
    folder.mkdir(exist_ok=True)
    new = {path.name: path for path in work.glob(_PARTS)}
    for name, path in sorted(new.items()):
        path.replace(folder / name)
    for old in set(folder.glob(_PARTS)) - {folder / name for name in new}:
        old.unlink()
