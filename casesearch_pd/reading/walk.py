"""One walk in, all its rows out: pages are followed to the end, and the end is believed late.

A walk ends when there is no cursor, or earlier at the limit. A cursor that was seen before
leads in a circle and is an error.
"""

from __future__ import annotations

import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tqdm.auto import tqdm

from casesearch_pd.errors import BadAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from casesearch_pd.reading.columns import Columns
    from casesearch_pd.sources.contract import Page, Scan, Source
    from casesearch_pd.sources.pace import Run

__all__ = ["Progress", "Walk", "follow", "pages", "progress_bar"]

Progress = Literal["auto"] | bool


@dataclass
class Walk:
    """What one walk brought home.

    Parameters
    ----------
    columns
        The rows.
    total
        How many cases matched when the walk began, where the service counts.
    as_of
        The service's clock at the first page.
    pages
        How many pages came.
    more
        Whether the service had more when the walk stopped at the limit.
    """

    columns: Columns
    total: int | None = None
    as_of: pd.Timestamp | None = None
    pages: int = 0
    more: bool = False

    def begin(self, page: Page) -> None:
        """Note what the first page of a scan tells of all of them."""
        self.as_of = page.served_at if self.as_of is None else self.as_of
        if page.total is not None:
            self.total = page.total + (self.total or 0)


def pages(source: Source, scan: Scan, run: Run) -> Iterator[Page]:
    """Follow the cursors of one walk to the end.

    Raises
    ------
    BadAnswerError
        If a cursor comes twice: following it would never end.
    """
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        page = source.page(scan, cursor, run)
        yield page
        cursor = page.cursor
        if cursor is None:
            return
        if cursor in seen:
            raise BadAnswerError(
                f"{source.name} hands out the same page cursor twice, which would never end; "
                "report it to the service, and narrow the filter meanwhile"
            )
        seen.add(cursor)


def follow(
    walk: Walk, source: Source, scan: Scan, run: Run, *, limit: int | None, bar: Any
) -> None:
    """Read one scan into `walk`; what came before an error stays in it."""
    by = [item.field.column for item in scan.sort]
    before = walk.columns.rows
    first = True
    for page in pages(source, scan, run):
        if first:
            walk.begin(page)
            bar.total = _expected(walk.total, limit)
        first = False
        walk.columns.add(page)
        walk.pages += 1
        bar.update(page.rows)
        rows = walk.columns.rows - before
        if limit is not None and page.cursor is not None and _past(page, by, rows, limit):
            walk.more = True
            return


def _expected(total: int | None, limit: int | None) -> int | None:
    known = [number for number in (total, limit) if number is not None]
    return min(known, default=None)


def _past(page: Page, by: Sequence[str], rows: int, limit: int) -> bool:
    """Tell whether the limit is reached, and the last row is not tied with later ones.

    Rows that share a sort value come in an order of the service's own; ours goes on by
    case_id, so the whole tie must be here before the head of it is taken.
    """
    if rows < limit:
        return False
    if by[-1] == "case_id":  # the service breaks ties as we do
        return True
    edge, last = max(limit - 1 - (rows - page.rows), 0), page.rows - 1
    return any(_differ(page.columns.get(name), edge, last) for name in by)


def _differ(values: list[Any] | None, edge: int, last: int) -> bool:
    return values is not None and edge <= last and values[edge] != values[last]


@contextmanager
def progress_bar(progress: Progress, source: Source) -> Iterator[Any]:
    """Show how far a read is: where somebody can see it, and only if it takes a while."""
    disable = None if progress == "auto" and not _in_notebook() else progress is False
    bar = tqdm(
        desc=f"reading {source.name}",
        unit=" cases",
        disable=disable,
        delay=0.5 if progress == "auto" else 0,
    )
    with closing(bar):
        yield bar


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")  # a notebook has loaded it already
    return shell is not None and hasattr(shell.get_ipython(), "kernel")
