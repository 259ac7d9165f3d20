"""Show the progress of a read, in a terminal, in a notebook, or in a bar of the caller's."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from tqdm.auto import tqdm

from casesearch_pd.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    progress = _parse_progress(progress)
    bar = _TqdmBar(_open_tqdm(progress, source.name))
    try:
        yield bar
    finally:
        bar.close()


def _parse_progress(progress: object) -> Progress:
    if isinstance(progress, str) and progress == "auto":
        return "auto"
    if isinstance(progress, (bool, np.bool_)):
        return bool(progress)
    raise FilterError(f"progress must be True, False or 'auto', got {progress!r}")


def _open_tqdm(progress: Progress, name: str) -> Any:
    """Return a bar of tqdm; None if there is no stream to draw it on."""
    auto, notebook = progress == "auto", _in_notebook()
    # pythonw and services have no standard error.
    if progress is False or (sys.stderr is None and not notebook):
        return None
    # None draws in terminals only, where notebooks are none.
    disable = None if auto and not notebook else False
    delay = _DELAY if auto else 0
    try:
        return _Drawing(desc=f"reading {name}", unit=" cases", disable=disable, delay=delay)
    except Exception:  # noqa: BLE001 - see `_TqdmBar`
        return None


class _Drawing(tqdm):  # type: ignore[misc] # it has no types
    """A bar of tqdm that draws no more once its construction has failed."""

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except BaseException:
            self.disable = True  # else it would be drawn again when it is deleted
            raise


class _TqdmBar:
    """A bar of tqdm, in a terminal or a notebook.

    A stream may be closed, a pipe broken or an encoding too narrow. A bar that cannot be drawn is
    given up; the read goes on without it.
    """

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._total: int | None = None

    @property
    def total(self) -> int | None:
        return self._total

    @total.setter
    def total(self, rows: int | None) -> None:
        self._total = rows
        self._draw(_set_total, rows)

    def begin(self, number: int, passes: int) -> None:
        self._draw(_begin_pass, number, passes)

    def update(self, rows: int) -> None:
        self._draw(_add_rows, rows)

    def close(self) -> None:
        """Draw the last state; nothing is drawn after this."""
        self._draw(_close)
        self._bar = None

    def _draw(self, action: Callable[..., object], *arguments: object) -> None:
        if self._bar is None:
            return
        try:
            action(self._bar, *arguments)
        except Exception:  # noqa: BLE001 - whatever a stream raises
            # A bar is closed when it is deleted, unless it is disabled.
            self._bar.disable, self._bar = True, None


def _set_total(bar: Any, rows: int | None) -> None:
    bar.total = rows
    if rows and hasattr(bar, "container"):
        # A notebook's bar that was made without a total is 20 pixels wide and looks full.
        widget = bar.container.children[1]
        widget.max, widget.bar_style, widget.layout.width = rows, "", None


def _begin_pass(bar: Any, number: int, passes: int) -> None:
    if number == 1 and bar.n:  # a reset redraws at once, however short the read is
        bar.reset()
    if passes > 1:
        bar.set_postfix_str(f"pass {number} of {passes}", refresh=False)


def _add_rows(bar: Any, rows: int) -> None:
    bar.update(rows)


def _close(bar: Any) -> None:
    bar.close()


def _in_notebook() -> bool:
    """Return whether this is a notebook, in which IPython is always loaded."""
    # Another thread may just be importing IPython, which then lacks some of its names.
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    try:
        return callable(get_shell) and hasattr(get_shell(), "kernel")
    except Exception:  # noqa: BLE001 - a bar never ends a read
        return False
