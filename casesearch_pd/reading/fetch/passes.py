"""One plan in, its passes out: each walked by a crew, and joined on ``case_id``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.query.expressions import TRUE, Compare, all_of, fields_of
from casesearch_pd.query.pushdown import Pushdown
from casesearch_pd.reading.fetch.checkpoint import CheckpointWriter
from casesearch_pd.reading.fetch.pagination import limit_reached
from casesearch_pd.reading.fetch.progress import SilentBar
from casesearch_pd.reading.fetch.windows import Window
from casesearch_pd.reading.fetch.workers import WindowedReader
from casesearch_pd.reading.frames.columns import Columns
from casesearch_pd.reading.frames.frame import (
    FrameFormat,
    build_frame,
    filter_rows,
    join_passes_on_id,
    keep_newest,
)
from casesearch_pd.reading.plan import NO_LOOKBACK, make_plan
from casesearch_pd.reading.provenance import ReadMetadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.fetch.checkpoint import Checkpoint, SavedWindow
    from casesearch_pd.reading.fetch.progress import Bar
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.base import Page, Scan
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "Pass",
    "ReadState",
    "join_passes",
    "read_passes",
    "read_start",
    "reread_changes",
    "retained_fields",
]

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
class ReadState:
    """One read under way."""

    plan: ReadPlan
    context: ReadContext
    frame_format: FrameFormat
    bar: Bar
    workers: int | None = None
    lookback: pd.Timedelta = NO_LOOKBACK
    checkpoint: Checkpoint | None = None
    saved: list[SavedWindow] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    latest: pd.Timestamp | None = None
    metadata: ReadMetadata = field(default_factory=ReadMetadata)
    new_fields: dict[str, Field] = field(default_factory=dict)
    invalid: Counter[str] = field(default_factory=Counter)
    counts: list[int] = field(default_factory=list)  # what the service counted, if rows lack
    torn: set[str] = field(default_factory=set)  # cases whose passes hold two versions


def read_passes(reading: ReadState, route: ReadPlan, limit: int | None = None) -> pd.DataFrame:
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
        every = route.query.all_columns and not fields
        reading.passes.append(Pass(retained_fields(route, fields), open=every))
        # Cases that the first pass does not have, no other pass can add.
        found = reading.passes[0].windows if len(reading.passes) > 1 else None
        nothing = found is not None and not any(window.columns.rows for window in found)
        _walk_pass(reading, [] if nothing else route.pass_scans(fields), limit)
    return join_passes(reading)


def _walk_pass(reading: ReadState, scans: Sequence[Scan], limit: int | None) -> None:
    this = reading.passes[-1]
    crew = WindowedReader(
        reading.plan.source,
        reading.context,
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


def _book(reading: ReadState) -> CheckpointWriter | None:
    if reading.checkpoint is None:
        return None
    if reading.saved:
        reading.metadata.as_of = min(pd.Timestamp(one.began) for one in reading.saved)
    return CheckpointWriter(
        reading.checkpoint, reading.saved, len(reading.passes) - 1, lambda: read_start(reading)
    )


def read_start(reading: ReadState) -> pd.Timestamp:
    """Tell the service's clock as the read began."""
    assert reading.metadata.as_of is not None, "a page came before its window was finished"
    return reading.metadata.as_of


def _came(reading: ReadState, window: Window, page: Page, limit: int | None) -> None:
    """Tell the bar of a page, and stop the walk at the limit."""
    this = reading.passes[-1]
    if reading.metadata.as_of is None:
        reading.metadata.as_of = page.served_at
    if window.trail.pages == 1 and window.scan == window.base:
        this.counted[window.part] = page.total
        _tell_total(reading, limit)
    over = 0 if limit is None else max(0, window.trail.rows - limit)
    reading.bar.update(max(0, page.rows - over))
    if limit is not None and page.cursor is not None:
        by = [item.field.column for item in window.scan.sort]
        window.done = window.headed = this.more = limit_reached(page, by, window.trail.rows, limit)


def _tell_total(reading: ReadState, limit: int | None) -> None:
    """Tell the bar how many rows will come, once all parts of the filter are counted."""
    route, counted = reading.plan, reading.passes[0].counted
    known = [count for count in counted.values() if count is not None]
    if len(known) == len(route.pushdown.parts):
        rows = sum(known) if limit is None else min(sum(known), limit)
        reading.bar.total = rows * len(route.passes)


def retained_fields(route: ReadPlan, fields: tuple[Field, ...]) -> list[Field]:
    """Name what a pass keeps: what it asks for, and in the first what comes free, if needed."""
    case_id = route.source.schema.resolve("case_id")
    first = route.passes[0]
    if fields is not first:
        updated = [item for item in fields if item.column == "updated_at"]
        return [case_id, *updated, *(item for item in fields if item not in first)]
    later = {item for other in route.passes[1:] for item in other} - set(fields)
    kept = dict.fromkeys([case_id, *route.required_fields, *fields])
    return [item for item in kept if item not in later]


def join_passes(reading: ReadState) -> pd.DataFrame:
    """Join the passes on ``case_id``."""
    first, *others = [_frame_of(reading, this) for this in reading.passes]
    for other in others:
        first = _beside(reading, first, other)
    return first


def _frame_of(reading: ReadState, this: Pass) -> pd.DataFrame:
    whole = Columns(this.kept, open=this.open)
    for window in this.windows:
        whole.absorb(window.columns)
    columns, known = whole.finish()
    reading.invalid.update(whole.invalid)
    kept = {item.column for item in this.kept}
    reading.new_fields |= {name: item for name, item in known.items() if name not in kept}
    return keep_newest(
        build_frame(columns, tz=reading.frame_format.tz, backend=reading.frame_format.dtype_backend)
    )


def _beside(reading: ReadState, first: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Join a pass; note which of its rows are of another version than those of the first."""
    joined = join_passes_on_id(first, other.rename(columns={"updated_at": _VERSION}))
    if _VERSION not in joined:
        return joined
    differ = joined["updated_at"].ne(joined[_VERSION]).to_numpy(dtype=bool, na_value=False)
    reading.torn |= set(joined.loc[differ, "case_id"])
    return joined.drop(columns=_VERSION)


_SWEEPS = 3  # rounds after what changed meanwhile


def reread_changes(reading: ReadState, frame: pd.DataFrame) -> pd.DataFrame:
    """Read once more what was updated meanwhile, where it may have slipped between two walks.

    A case that moves from one part of a split filter into another matches all the time and may
    be in neither walk; and passes over one result may hold two versions of one case.
    """
    route, updated = reading.plan, reading.plan.source.schema.find("updated_at")
    alone = not route.needs_reread and not reading.saved
    nothing = frame.empty and len(route.pushdown.parts) == 1 and not reading.torn
    if alone or nothing or updated is None or reading.passes[0].more:
        return frame
    for _ in range(_SWEEPS):
        torn, reading.torn = reading.torn, set()
        changed = _changed(reading, Compare(updated, "gte", read_start(reading) - reading.lookback))
        # Who was torn and is not among the changed does not match any more.
        old = frame[~frame["case_id"].isin(torn.union(changed["case_id"]))]
        if len(old) < len(frame) or len(changed):
            frame = pd.concat([old, changed[frame.columns]], ignore_index=True)
        if not reading.torn:
            return frame
    reading.metadata.notes.append(
        "some cases changed so often that their columns may be of two versions"
    )
    return frame


def _changed(reading: ReadState, since: Compare) -> pd.DataFrame:
    """Read what was updated since a time: in one walk where that can be, so that none slips."""
    query, route = reading.plan.query, reading.plan
    asked = replace(query, where=all_of([query.where, since]), limit=None)
    again = make_plan(route.source, asked, quiet=True)
    again = replace(again, required_fields=route.required_fields, passes=route.passes)
    whole = _in_one_walk(route, since) if len(again.pushdown.parts) > 1 else None
    apart = replace(reading, plan=whole or again, passes=[], torn=set())
    apart = replace(apart, checkpoint=None, saved=[], bar=SilentBar(reading.bar))
    found = read_passes(apart, apart.plan)
    reading.torn = apart.torn
    return found if whole is None else filter_rows(found, query.where)


def _in_one_walk(route: ReadPlan, since: Compare) -> ReadPlan | None:
    """Ask for all that changed, and check the filter here; None if it cannot be checked here."""
    if not route.checkable_locally:
        return None
    needed = tuple(dict.fromkeys([*route.required_fields, *fields_of(route.query.where)]))
    split = Pushdown((since,), TRUE)
    passes = tuple(route.source.column_batches(needed))
    return replace(route, pushdown=split, required_fields=needed, passes=passes)
