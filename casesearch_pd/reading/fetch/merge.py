"""Several walks in, their rows in one order out, a page of each in memory.

The rows of a split filter come from walks of their own, each by creation time. What all of
them have reached is handed on; what is beyond the slowest waits in its page. A walk that the
service sorts in no such way is written to a temporary file first, in sorted runs, and the runs
are merged like walks.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from casesearch_pd.errors import CaseSearchError
from casesearch_pd.reading.fetch.pagination import take_rows
from casesearch_pd.reading.frames.columns import to_arrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import IO

    from casesearch_pd.sources.base import Page

__all__ = ["hold_back_ties", "merge_ordered", "merge_pages", "sort_pages", "split_ties"]

Times = npt.NDArray[np.int64]
_RUN = 10_000  # rows that are sorted at once
_SMALL = 16 << 20  # bytes that need no file
_STEP = 500  # rows of a run that are in memory while runs are merged


# --- rows of pages ------------------------------------------------------------------------


def _portion(page: Page, rows: Sequence[int]) -> Page:
    """Take some rows of a page that is handed on in portions; what is odd in it counts once."""
    portion = take_rows(page, rows)
    return portion if 0 in rows else replace(portion, invalid={})


def merge_pages(pages: Sequence[Page]) -> Page:
    """Put the rows of pages under each other."""
    first = pages[0]
    if len(pages) == 1:
        return first
    names = dict.fromkeys(name for page in pages for name in page.columns)
    columns = {
        name: [value for page in pages for value in page.columns.get(name) or [None] * page.rows]
        for name in names
    }
    return replace(
        first,
        rows=sum(page.rows for page in pages),
        columns=columns,
        new_fields={name: item for page in pages for name, item in page.new_fields.items()},
        invalid=dict(sum((Counter(page.invalid) for page in pages), Counter())),
    )


def _times(page: Page) -> Times:
    """Tell when the cases were created; one that does not say is as old as its neighbour."""
    told, _ = to_arrow(page.columns.get("created_at") or [None] * page.rows, "datetime")
    filled = pc.fill_null_backward(pc.fill_null_forward(told)).cast(pa.int64())
    times: Times = pc.fill_null(filled, 0).to_numpy(zero_copy_only=False)
    return times


def _sorted(page: Page) -> Page:
    return take_rows(page, np.argsort(_times(page), kind="stable").tolist())


# --- merging ------------------------------------------------------------------------------


@dataclass
class _Head:
    """The first rows of a walk that were not handed on yet."""

    walk: Iterator[Page]
    page: Page
    times: Times

    @classmethod
    def of(cls, walk: Iterator[Page]) -> _Head | None:
        """Take the next page that has rows; None at the end."""
        page = next((page for page in walk if page.rows), None)
        return None if page is None else cls(walk, page, _times(page))

    def until(self, frontier: int) -> Page:
        """Take off the rows up to a time, that time included."""
        reached = self.times <= frontier
        page = _portion(self.page, np.flatnonzero(reached).tolist())
        self.page = _portion(self.page, np.flatnonzero(~reached).tolist())
        self.times = self.times[~reached]
        return page


def merge_ordered(walks: Sequence[Iterator[Page]]) -> Iterator[Page]:
    """Merge walks by creation time; rows of one time come together or in pages that follow.

    Parameters
    ----------
    walks
        Pages by creation time; of equal times, those of a later walk come later.
    """
    if len(walks) == 1:
        yield from walks[0]
        return
    heads = [head for walk in walks if (head := _Head.of(walk)) is not None]
    while heads:
        frontier = min(int(head.times.max()) for head in heads)
        reached = [page for head in heads if (page := head.until(frontier)).rows]
        yield _sorted(merge_pages(reached)) if len(reached) > 1 else reached[0]
        heads = [head for one in heads if (head := one if one.page.rows else _Head.of(one.walk))]


def hold_back_ties(
    pages: Iterable[Page], by: Sequence[str], tail: list[Page]
) -> Iterator[list[Page]]:
    """Hand pages on, but for rows tied with the last ones: these wait for the others.

    Parameters
    ----------
    pages
        The pages, in the order of `by`.
    by
        The columns of the order; none if ties need not come together.
    tail
        Where the rows wait.
    """
    for page in pages:
        if not page.rows:
            continue
        whole, tied = split_ties([*tail, page], by)
        tail[:] = tied
        if whole:
            yield whole
    if tail:
        last = tail[:]
        tail.clear()
        yield last


def split_ties(pages: Sequence[Page], by: Sequence[str]) -> tuple[list[Page], list[Page]]:
    """Part the rows at the end that share the last place of the order, of which more may come."""
    if not by:
        return list(pages), []
    last = _place(pages[-1], by, pages[-1].rows - 1)
    for at in range(len(pages) - 1, -1, -1):
        rows = range(pages[at].rows)
        first = next((row for row in reversed(rows) if _place(pages[at], by, row) != last), -1) + 1
        if first == len(rows):
            return list(pages[: at + 1]), list(pages[at + 1 :])
        if first:
            before, after = _portion(pages[at], rows[:first]), _portion(pages[at], rows[first:])
            return [*pages[:at], before], [after, *pages[at + 1 :]]
    return [], list(pages)


def _place(page: Page, by: Sequence[str], row: int) -> list[Any]:
    return [page.columns[name][row] if name in page.columns else None for name in by]


# --- what comes in no order ---------------------------------------------------------------


class _Rows(msgspec.Struct):
    rows: int
    columns: dict[str, list[Any]]
    odd: dict[str, int]


@contextmanager
def _spilled() -> Iterator[IO[bytes]]:
    try:
        with tempfile.SpooledTemporaryFile(_SMALL, prefix="casesearch-") as file:
            yield file
    except OSError as error:
        raise CaseSearchError(
            f"rows cannot be sorted on disk, in {tempfile.gettempdir()} ({error}); make room, or "
            "name another folder in TMPDIR"
        ) from error


def sort_pages(pages: Iterator[Page]) -> Iterator[Page]:
    """Bring pages of no order into that of creation time, by way of a temporary file."""
    held: list[Page] = []
    last: Page | None = None
    with _spilled() as file:
        runs: list[list[tuple[int, int]]] = []
        for last in pages:
            held.append(last)
            if sum(page.rows for page in held) >= _RUN:
                runs.append(_write(file, _sorted(merge_pages(held))))
                held.clear()
        if held:
            runs.append(_write(file, _sorted(merge_pages(held))))
        if last is not None:
            yield from merge_ordered([_read(file, run, last) for run in runs])


def _write(file: IO[bytes], page: Page) -> list[tuple[int, int]]:
    """Write a run; tell where its steps are."""
    places = []
    for at in range(0, page.rows, _STEP):
        step = _portion(page, range(at, min(at + _STEP, page.rows)))
        body = msgspec.msgpack.encode(_Rows(step.rows, step.columns, step.invalid))
        places.append((file.tell(), len(body)))
        file.write(body)
    return places


def _read(file: IO[bytes], run: Sequence[tuple[int, int]], like: Page) -> Iterator[Page]:
    for at, size in run:
        file.seek(at)
        step = msgspec.msgpack.decode(file.read(size), type=_Rows)
        yield replace(like, rows=step.rows, columns=step.columns, invalid=step.odd, new_fields={})
