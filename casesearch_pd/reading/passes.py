"""One plan in, its passes out: each walked by a crew, and joined on ``case_id``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.reading.columns import Columns
from casesearch_pd.reading.crew import Crew
from casesearch_pd.reading.frame import Look, beside, build, newest
from casesearch_pd.reading.plan import NO_TIME
from casesearch_pd.reading.provenance import Told
from casesearch_pd.reading.walk import past
from casesearch_pd.reading.windows import Book, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.checkpoint import Checkpoint, Saved
    from casesearch_pd.reading.plan import Route
    from casesearch_pd.reading.progress import Bar
    from casesearch_pd.sources.contract import Page, Scan
    from casesearch_pd.sources.run import Run

__all__ = ["Pass", "Reading", "began", "joined", "kept_of", "walk_all"]

_VERSION = "updated_at of a later pass"


@dataclass
class Pass:
    """One pass over the result: what it keeps, and the windows it was read in."""

    kept: list[Field]
    open: bool
    windows: list[Window] = field(default_factory=list)
    more: bool = False
    counted: dict[int, int | None] = field(default_factory=dict)  # of each part that has begun

    @property
    def total(self) -> int | None:
        """How many cases the service counted as the pass began, over all parts of the filter."""
        counts = [window.trail.total for window in self.windows if window.scan == window.base]
        known = [count for count in counts if count is not None]
        return sum(known) if known and len(known) == len(counts) else None


@dataclass
class Reading:
    """One read under way."""

    route: Route
    run: Run
    look: Look
    bar: Bar
    workers: int | None = None
    overlap: pd.Timedelta = NO_TIME
    checkpoint: Checkpoint | None = None
    saved: list[Saved] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    latest: pd.Timestamp | None = None
    told: Told = field(default_factory=Told)
    late: dict[str, Field] = field(default_factory=dict)
    odd: Counter[str] = field(default_factory=Counter)
    counts: list[int] = field(default_factory=list)  # what the service counted, if rows lack
    torn: set[str] = field(default_factory=set)  # cases whose passes hold two versions


def walk_all(reading: Reading, route: Route, limit: int | None = None) -> pd.DataFrame:
    """Read pass by pass, and join the passes.

    Raises
    ------
    Halted
        If the user stops it.
    """
    reading.passes.clear()
    reading.bar.total = None if limit is None else limit * len(route.passes)
    for number, fields in enumerate(route.passes, 1):
        reading.bar.begin(number, len(route.passes))
        every = route.query.every and not fields
        reading.passes.append(Pass(kept_of(route, fields), open=every))
        # Cases that the first pass does not have, no other pass can add.
        found = reading.passes[0].windows if len(reading.passes) > 1 else None
        nothing = found is not None and not any(window.columns.rows for window in found)
        _walk_pass(reading, [] if nothing else route.walks(fields), limit)
    return joined(reading)


def _walk_pass(reading: Reading, scans: Sequence[Scan], limit: int | None) -> None:
    this = reading.passes[-1]
    crew = Crew(
        reading.route.source,
        reading.run,
        workers=1 if limit is not None else reading.workers,
        open_columns=lambda: Columns(this.kept, open=this.open),
        on_page=lambda window, page: _came(reading, window, page, limit),
        book=_book(reading) if limit is None else None,
        latest=reading.latest,
    )
    try:
        crew.read(scans)
    finally:
        this.windows, reading.latest = crew.windows, crew.latest


def _book(reading: Reading) -> Book | None:
    if reading.checkpoint is None:
        return None
    if reading.saved:
        reading.told.as_of = min(pd.Timestamp(one.began) for one in reading.saved)
    return Book(reading.checkpoint, reading.saved, len(reading.passes) - 1, lambda: began(reading))


def began(reading: Reading) -> pd.Timestamp:
    """Tell the service's clock as the read began."""
    assert reading.told.as_of is not None, "a page came before its window was finished"
    return reading.told.as_of


def _came(reading: Reading, window: Window, page: Page, limit: int | None) -> None:
    """Tell the bar of a page, and stop the walk at the limit."""
    this = reading.passes[-1]
    if reading.told.as_of is None:
        reading.told.as_of = page.served_at
    if window.trail.pages == 1 and window.scan == window.base:
        this.counted[window.part] = page.total
        _tell_total(reading, limit)
    over = 0 if limit is None else max(0, window.trail.rows - limit)
    reading.bar.update(max(0, page.rows - over))
    if limit is not None and page.cursor is not None:
        by = [item.field.column for item in window.scan.sort]
        window.done = window.headed = this.more = past(page, by, window.trail.rows, limit)


def _tell_total(reading: Reading, limit: int | None) -> None:
    """Tell the bar how many rows will come, once all parts of the filter are counted."""
    route, counted = reading.route, reading.passes[0].counted
    known = [count for count in counted.values() if count is not None]
    if len(known) == len(route.split.parts):
        rows = sum(known) if limit is None else min(sum(known), limit)
        reading.bar.total = rows * len(route.passes)


def kept_of(route: Route, fields: tuple[Field, ...]) -> list[Field]:
    """Name what a pass keeps: what it asks for, and in the first what comes free, if needed."""
    case_id = route.source.schema.resolve("case_id")
    first = route.passes[0]
    if fields is not first:
        updated = [item for item in fields if item.column == "updated_at"]
        return [case_id, *updated, *(item for item in fields if item not in first)]
    later = {item for other in route.passes[1:] for item in other} - set(fields)
    kept = dict.fromkeys([case_id, *route.needed, *fields])
    return [item for item in kept if item not in later]


def joined(reading: Reading) -> pd.DataFrame:
    """Join the passes on ``case_id``."""
    first, *others = [_frame_of(reading, this) for this in reading.passes]
    for other in others:
        first = _beside(reading, first, other)
    return first


def _frame_of(reading: Reading, this: Pass) -> pd.DataFrame:
    whole = Columns(this.kept, open=this.open)
    for window in this.windows:
        whole.absorb(window.columns)
    columns, known = whole.finish()
    reading.odd.update(whole.odd)
    kept = {item.column for item in this.kept}
    reading.late |= {name: item for name, item in known.items() if name not in kept}
    return newest(build(columns, tz=reading.look.tz, backend=reading.look.backend))


def _beside(reading: Reading, first: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Join a pass; note which of its rows are of another version than those of the first."""
    joined = beside(first, other.rename(columns={"updated_at": _VERSION}))
    if _VERSION not in joined:
        return joined
    differ = joined["updated_at"].ne(joined[_VERSION]).to_numpy(dtype=bool, na_value=False)
    reading.torn |= set(joined.loc[differ, "case_id"])
    return joined.drop(columns=_VERSION)
