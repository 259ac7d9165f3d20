"""What a sync leaves beside a mirror's file while it is under way, and how it ends: all at once."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
from typing import TYPE_CHECKING

from casesearch_pd.errors import CaseSearchError
from casesearch_pd.reading.checkpoint import question_of

if TYPE_CHECKING:
    from pathlib import Path

    from casesearch_pd.reading.plan import Route

__all__ = ["forget", "move", "saved", "tidy"]

_SAVED = ".{}.saved-{}"


def saved(path: Path, route: Route) -> Path:
    """Name a folder for what is read; another question has another one."""
    mark = hashlib.sha256(question_of(route, streamed=True).encode()).hexdigest()[:16]
    return path.with_name(_SAVED.format(path.name, mark))


def tidy(path: Path) -> None:
    """Remove the folders of writers that were killed."""
    _remove(path, f".{glob.escape(path.name)}-{'[a-z0-9_]' * 8}")  # as tempfile names them


def forget(path: Path) -> None:
    """Remove what was saved: it is in the mirror now."""
    _remove(path, _SAVED.format(glob.escape(path.name), "*"))


def _remove(path: Path, folders: str) -> None:
    for folder in path.parent.glob(folders):
        shutil.rmtree(folder, ignore_errors=True)


def move(new: Path, path: Path) -> None:
    """Put the new file in the place of the old one, at once and for good."""
    try:
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise CaseSearchError(
            f"the mirror {str(path)!r} cannot be replaced ({error}); what was there is intact"
        ) from error
