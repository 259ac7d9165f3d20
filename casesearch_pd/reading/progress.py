"""How far a read is, where somebody can see it."""

from __future__ import annotations

import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Literal

from tqdm.auto import tqdm

from casesearch_pd.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casesearch_pd.sources.contract import Source

__all__ = ["Progress", "progress_bar"]

Progress = Literal["auto"] | bool


@contextmanager
def progress_bar(progress: Progress, source: Source) -> Iterator[Any]:
    """Show how far a read is: where somebody can see it, and only if it takes a while."""
    if progress != "auto" and not isinstance(progress, bool):
        raise FilterError(f"progress={progress!r} is none of True, False, 'auto'")
    auto = progress == "auto"
    disable = None if auto and not _in_notebook() else progress is False
    bar = tqdm(
        desc=f"reading {source.name}", unit=" cases", disable=disable, delay=0.5 if auto else 0
    )
    with closing(bar):
        yield bar


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")  # a notebook has loaded it already
    return shell is not None and hasattr(shell.get_ipython(), "kernel")
