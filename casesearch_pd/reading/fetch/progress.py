"""How far a read is, where somebody can see it."""

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


@runtime_checkable
class Bar(Protocol):
    """Who is told how far a read is: by the reader whose page came, and never two at a time.

    Parameters
    ----------
    total
        The rows of all passes together; None as long as nobody knows.
    """

    total: int | None

    def begin(self, number: int, passes: int) -> None:
        """Hear that a pass begins; with the first one all rows are counted anew."""

    def update(self, rows: int) -> None:
        """Hear of a page with so many rows."""


@dataclass
class SilentBar:
    """A bar for what is read besides: its pages move the read's own bar, its rows do not.

    Parameters
    ----------
    bar
        The read's own.
    """

    bar: Bar
    total: int | None = None

    def begin(self, number: int, passes: int) -> None:
        """Leave the read's own bar where it is."""

    def update(self, rows: int) -> None:  # noqa: ARG002 - these rows are counted already
        """Tell that a page came."""
        self.bar.update(0)


@contextmanager
def progress_bar(progress: Progress | Bar, source: Source) -> Iterator[Bar]:
    """Show how far a read is: where somebody can see it, and only if it takes a while."""
    if isinstance(progress, Bar):
        yield progress
        return
    if progress != "auto" and not isinstance(progress, bool):
        raise FilterError(f"progress={progress!r} is none of True, False, 'auto'")
    auto = progress == "auto"
    disable = None if auto and not _in_notebook() else progress is False
    drawn = tqdm(
        desc=f"reading {source.name}", unit=" cases", disable=disable, delay=0.5 if auto else 0
    )
    with closing(drawn):
        yield _Drawn(drawn)


class _Drawn:
    """A bar of tqdm's, in a terminal or a notebook."""

    def __init__(self, drawn: Any) -> None:
        self._drawn = drawn

    @property
    def total(self) -> int | None:
        told: int | None = self._drawn.total
        return told

    @total.setter
    def total(self, rows: int | None) -> None:
        self._drawn.total = rows
        if rows and hasattr(self._drawn, "container"):  # a notebook's has no length before
            widget = self._drawn.container.children[1]
            widget.max, widget.bar_style, widget.layout.width = rows, "", None

    def begin(self, number: int, passes: int) -> None:
        if number == 1 and self._drawn.n:  # a reset redraws at once, however short the read
            self._drawn.reset()
        if passes > 1:
            self._drawn.set_postfix_str(f"pass {number} of {passes}", refresh=False)

    def update(self, rows: int) -> None:
        self._drawn.update(rows)


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")  # a notebook has loaded it already
    return shell is not None and hasattr(shell.get_ipython(), "kernel")
