"""Merge pages of several scans into one order, with a page of each in memory.

The parts of a split filter are scans of their own, each in the order of creation time. What all
of them have reached can be delivered; the rest waits in its page. Scans that the service does not
sort are written to a temporary file in sorted runs first, and the runs are merged like scans.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from casesearch_pd.errors import CaseSearchError
from casesearch_pd.reading.fetch.pagination import concat_pages, take_rows
from casesearch_pd.reading.frames.columns import to_arrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import IO

    from casesearch_pd.sources.base import Page
    from casesearch_pd.sources.transport.context import Tuning

__all__ = ["hold_back_ties", "merge_ordered", "sort_pages"]

Times = npt.NDArray[np.int64]


def _select_rows(page: Page, rows: Sequence[int]) -> Page:
    """Return some rows of a page; its invalid values are counted with the first row only."""
    selected = take_rows(page, rows)
    return selected if 0 in rows else replace(selected, invalid={})


def _creation_times(page: Page) -> Times:
    """Return the creation times; a missing one is taken from the row before, or the next."""
    array, _ = to_arrow(page.columns.get("created_at") or [None] * page.rows, "datetime")
    complete = pc.fill_null_backward(pc.fill_null_forward(array)).cast(pa.int64())
    times: Times = pc.fill_null(complete, 0).to_numpy(zero_copy_only=False)
    return times


def _sort_by_creation(page: Page) -> Page:
    return take_rows(page, np.argsort(_creation_times(page), kind="stable").tolist())


@dataclass
class _Head:
    """The next rows of one scan."""

    pages: Iterator[Page]
    page: Page
    times: Times

    @classmethod
    def next_of(cls, pages: Iterator[Page]) -> _Head | None:
        """Return the next page that has rows; None at the end."""
        page = next((page for page in pages if page.rows), None)
        return None if page is None else cls(pages, page, _creation_times(page))

    def take_until(self, frontier: int) -> Page:
        """Remove and return the rows up to a time, that time included."""
        reached = self.times <= frontier
        page = _select_rows(self.page, np.flatnonzero(reached).tolist())
        self.page = _select_rows(self.page, np.flatnonzero(~reached).tolist())
        self.times = self.times[~reached]
        return page


# The frontier is the earliest of the last times of all pages: whatever a scan brings later is not
# before its own last row, so nothing before the frontier can follow and the rows up to it are
# final. At least one page is used up in each round.
def merge_ordered(scans: Sequence[Iterator[Page]]) -> Iterator[Page]:
    """Merge scans that are sorted by creation time.

    Rows of one time keep the order of the scans and may extend over several pages.
    """
    if len(scans) == 1:
        yield from scans[0]
        return
    heads = [head for pages in scans if (head := _Head.next_of(pages)) is not None]
    while heads:
        frontier = min(int(head.times.max()) for head in heads)
        ready = [page for head in heads if (page := head.take_until(frontier)).rows]
        yield _sort_by_creation(concat_pages(ready)) if len(ready) > 1 else ready[0]
        following = (head if head.page.rows else _Head.next_of(head.pages) for head in heads)
        heads = [head for head in following if head is not None]


def hold_back_ties(
    pages: Iterable[Page], columns: Sequence[str], ties: list[Page]
) -> Iterator[list[Page]]:
    """Yield pages without the rows that are tied with the last one: these wait in `ties`.

    The caller passes the list, so that it still has these rows if the read ends early. Without
    columns, ties need not come together.
    """
    for page in pages:
        if not page.rows:
            continue
        before, ties[:] = _split_ties([*ties, page], columns)
        if before:
            yield before
    if ties:
        rest = ties[:]
        ties.clear()
        yield rest


def _split_ties(pages: Sequence[Page], columns: Sequence[str]) -> tuple[list[Page], list[Page]]:
    """Return the rows before the last tie, and the rows of the tie."""
    if not columns:
        return list(pages), []
    last = _sort_key(pages[-1], columns, pages[-1].rows - 1)
    for index in range(len(pages) - 1, -1, -1):
        page, rows = pages[index], range(pages[index].rows)
        others = (row for row in reversed(rows) if _sort_key(page, columns, row) != last)
        first = next(others, -1) + 1  # of the tie
        if first == len(rows):
            return list(pages[: index + 1]), list(pages[index + 1 :])
        if first:
            before, after = _select_rows(page, rows[:first]), _select_rows(page, rows[first:])
            return [*pages[:index], before], [after, *pages[index + 1 :]]
    return [], list(pages)


def _sort_key(page: Page, columns: Sequence[str], row: int) -> list[Any]:
    return [page.columns[name][row] if name in page.columns else None for name in columns]


class _StoredRows(msgspec.Struct):
    rows: int
    columns: dict[str, list[Any]]
    invalid: dict[str, int]


def sort_pages(pages: Iterator[Page], tuning: Tuning) -> Iterator[Page]:
    """Yield pages in the order of creation time, sorted by way of a temporary file."""
    buffer: list[Page] = []
    last: Page | None = None
    with _temporary_file(tuning) as file:
        runs: list[list[tuple[int, int]]] = []
        for last in pages:
            buffer.append(last)
            if sum(page.rows for page in buffer) >= tuning.sort_run_rows:
                runs.append(_write_run(file, buffer, tuning.merge_step_rows))
                buffer.clear()
        if buffer:
            runs.append(_write_run(file, buffer, tuning.merge_step_rows))
        if last is not None:
            yield from merge_ordered([_read_run(file, run, last) for run in runs])


@contextmanager
def _temporary_file(tuning: Tuning) -> Iterator[IO[bytes]]:
    try:
        size = tuning.merge_memory_bytes  # smaller files stay in memory
        with tempfile.SpooledTemporaryFile(size, prefix="casesearch-") as file:
            yield file
    except OSError as error:
        raise CaseSearchError(
            f"rows cannot be sorted on disk, in {tempfile.gettempdir()} ({error}); free some "
            "space, or set TMPDIR to another folder"
        ) from error


def _write_run(file: IO[bytes], pages: Sequence[Page], step: int) -> list[tuple[int, int]]:
    """Write the sorted rows of some pages; return the offset and the size of each step."""
    page = _sort_by_creation(concat_pages(pages))
    steps = []
    for start in range(0, page.rows, step):
        part = _select_rows(page, range(start, min(start + step, page.rows)))
        body = msgspec.msgpack.encode(_StoredRows(part.rows, part.columns, part.invalid))
        steps.append((file.tell(), len(body)))
        file.write(body)
    return steps


def _read_run(file: IO[bytes], run: Sequence[tuple[int, int]], template: Page) -> Iterator[Page]:
    for offset, size in run:
        file.seek(offset)
        part = msgspec.msgpack.decode(file.read(size), type=_StoredRows)
        yield replace(
            template, rows=part.rows, columns=part.columns, invalid=part.invalid, new_fields={}
        )
