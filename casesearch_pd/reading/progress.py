"""Show the progress of a read, in a terminal, in a notebook, or in a bar of the caller's."""

from __future__ import annotations

import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from tqdm.auto import tqdm

from casesearch_pd.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casesearch_pd.sources.base import Source

__all__ = ["Bar", "Progress", "SilentBar", "progress_bar"]

Progress = Literal["auto"] | bool

_DELAY = 0.5  # seconds; a shorter read shows no bar


@runtime_checkable
class Bar(Protocol):
    """A progress bar; it is called by the worker whose page came, and by one at a time."""

    total: int | None  # the rows of all passes together; None as long as it is unknown

    def begin(self, number: int, passes: int) -> None:
        """Begin a pass; the first one counts all rows from 0 again."""

    def update(self, rows: int) -> None:
        """Count the rows of one page."""


@dataclass
class SilentBar:
    """A bar for rows that were counted already: it shows that pages come, and adds no rows."""

    bar: Bar
    total: int | None = None

    def begin(self, number: int, passes: int) -> None:
        """Leave the bar of the read as it is."""

    def update(self, rows: int) -> None:  # noqa: ARG002 - these rows were counted already
        """Count a page without its rows."""
        self.bar.update(0)


@contextmanager
def progress_bar(progress: Progress | Bar, source: Source) -> Iterator[Bar]:
    """Open a bar: a given one, or one that is drawn if the read takes a while."""
    if isinstance(progress, Bar):
        yield progress
        return
    if progress != "auto" and not isinstance(progress, bool):
        raise FilterError(f"progress must be True, False or 'auto', got {progress!r}")
    auto = progress == "auto"
    # None draws in terminals only, where notebooks are none.
    disable = None if auto and not _in_notebook() else progress is False
    delay = _DELAY if auto else 0
    bar = tqdm(desc=f"reading {source.name}", unit=" cases", disable=disable, delay=delay)
    with closing(bar):
        yield _TqdmBar(bar)


class _TqdmBar:
    """A bar of tqdm, in a terminal or a notebook."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    @property
    def total(self) -> int | None:
        total: int | None = self._bar.total
        return total

    @total.setter
    def total(self, rows: int | None) -> None:
        self._bar.total = rows
        if rows and hasattr(self._bar, "container"):
            # A notebook's bar that was made without a total is 20 pixels wide and looks full.
            widget = self._bar.container.children[1]
            widget.max, widget.bar_style, widget.layout.width = rows, "", None

    def begin(self, number: int, passes: int) -> None:
        if number == 1 and self._bar.n:  # a reset redraws at once, however short the read is
            self._bar.reset()
        if passes > 1:
            self._bar.set_postfix_str(f"pass {number} of {passes}", refresh=False)

    def update(self, rows: int) -> None:
        self._bar.update(rows)


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")  # loaded already in every notebook
    return shell is not None and hasattr(shell.get_ipython(), "kernel")
