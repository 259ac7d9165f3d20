"""One plan in, the whole frame out, or an error that holds what there is of it.

The passes over a result are read one after the other and joined on ``case_id``. The rows are
held against the count that the service told: fewer, with the count still standing, are read
once more and then refused. A frame that is not whole leaves here in one of three ways only:
inside an `IncompleteReadError`, inside a `ReadInterrupted`, or, asked for with
``on_error="partial"``, with a warning and a note in its provenance.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from casesearch_pd.errors import (
    AccessDeniedError,
    FilterError,
    IncompleteReadError,
    NotFoundError,
    ReadInterrupted,
    ServiceError,
    warn,
)
from casesearch_pd.query.expr import TRUE, Compare, all_of, fields_of
from casesearch_pd.query.pushdown import Split
from casesearch_pd.query.stored import to_json
from casesearch_pd.reading.checkpoint import Checkpoint, Saved
from casesearch_pd.reading.columns import Columns, misfits
from casesearch_pd.reading.crew import Book, Crew, Window
from casesearch_pd.reading.frame import Look, beside, build, keep, newest, ordered
from casesearch_pd.reading.plan import plan
from casesearch_pd.reading.provenance import Told, digest, inscribe
from casesearch_pd.reading.walk import Progress, past, progress_bar
from casesearch_pd.sources.contract import Sort

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.plan import Route
    from casesearch_pd.sources.contract import Page, Scan
    from casesearch_pd.sources.pace import Run

__all__ = ["OnError", "exhaust"]

OnError = Literal["raise", "partial"]
_TRIES = 2  # readings of a result that comes out short
_SWEEPS = 3  # rounds after what changed meanwhile
_NO_TIME = pd.Timedelta(0)


@dataclass
class _Pass:
    """One pass over the result: what it keeps, and the windows it was read in."""

    kept: list[Field]
    open: bool
    windows: list[Window] = field(default_factory=list)
    more: bool = False

    @property
    def total(self) -> int | None:
        """How many cases the service counted as the pass began, over all parts of the filter."""
        counts = [window.trail.total for window in self.windows if window.scan == window.base]
        known = [count for count in counts if count is not None]
        return sum(known) if known and len(known) == len(counts) else None


@dataclass
class _Reading:
    """One read under way."""

    route: Route
    run: Run
    look: Look
    bar: Any
    workers: int | None = None
    overlap: pd.Timedelta = _NO_TIME
    checkpoint: Checkpoint | None = None
    saved: list[Saved] = field(default_factory=list)
    passes: list[_Pass] = field(default_factory=list)
    told: Told = field(default_factory=Told)
    late: dict[str, Field] = field(default_factory=dict)
    odd: Counter[str] = field(default_factory=Counter)
    counts: list[int] = field(default_factory=list)  # what the service counted, if rows lack
    torn: set[str] = field(default_factory=set)  # cases whose passes hold two versions


def exhaust(
    route: Route,
    run: Run,
    look: Look,
    *,
    progress: Progress = "auto",
    on_error: OnError = "raise",
    workers: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    overlap: pd.Timedelta = _NO_TIME,
) -> pd.DataFrame:
    """Read a plan to its end.

    Raises
    ------
    ServiceError
        Before the first page, and always for what credentials or names cause.
    IncompleteReadError
        After it; ``.partial`` holds the rows.
    ReadInterrupted
        If the user stops it.
    """
    if on_error not in ("raise", "partial"):
        raise FilterError(f"on_error={on_error!r} is neither 'raise' nor 'partial'")
    with progress_bar(progress, route.source) as bar:
        reading = _Reading(route, run, look, bar, workers, overlap)
        if checkpoint is not None:
            reading.checkpoint = Checkpoint.open(checkpoint, _question(route))
            reading.saved = reading.checkpoint.load()
        try:
            frame = _finished(reading, _whole(reading))
        except KeyboardInterrupt as stop:
            partial = _partial(reading, "stopped by the user")
            raise ReadInterrupted(
                f"stopped after {len(partial)} rows; they are in sys.last_value.partial",
                partial=partial,
            ) from stop
        except (AccessDeniedError, NotFoundError):
            raise
        except ServiceError as error:
            if reading.told.as_of is None:  # not even one page came
                raise
            return _broken(reading, error, on_error)
        except IncompleteReadError as error:
            if on_error == "raise":
                raise
            return _warned(error)
    if reading.checkpoint is not None:
        reading.checkpoint.clear()
    return frame


def _whole(reading: _Reading) -> pd.DataFrame:
    """Read until the rows agree with the count."""
    short = ""
    for _ in range(_TRIES):
        frame = _once(reading)
        short = _short(reading, len(frame))
        if not short:
            return _swept(reading, frame)
        reading.told.notes.append(f"{short}; read again")
    if len(set(reading.counts)) > 1:
        reading.told.notes.append("the count never stood still, so it proves nothing")
        return _swept(reading, frame)
    partial = _partial(reading, short)
    raise IncompleteReadError(
        f"{short}, twice in a row; read again later, or narrow the filter",
        partial=partial,
        missing=[short],
    )


def _once(reading: _Reading) -> pd.DataFrame:
    route = reading.route
    if not route.limited:
        return _walk_all(reading, route)
    frame = _walk_all(reading, route, limit=route.query.limit)
    if reading.passes[0].more and not _head_is_sure(frame, route):
        reading.told.notes.append("the service sorts in another way: all was read and sorted here")
        frame = _walk_all(reading, route)
    return frame


def _walk_all(reading: _Reading, route: Route, limit: int | None = None) -> pd.DataFrame:
    """Read pass by pass, and join the passes."""
    reading.passes.clear()
    if reading.bar.n:  # a reset redraws at once, however short the read
        reading.bar.reset()
    for fields in route.passes:
        every = route.query.every and not fields
        reading.passes.append(_Pass(_kept(route, fields), open=every))
        # Cases that the first pass does not have, no other pass can add.
        found = reading.passes[0].windows if len(reading.passes) > 1 else None
        nothing = found is not None and not any(window.columns.rows for window in found)
        _walk_pass(reading, [] if nothing else route.walks(fields), limit)
    return _joined(reading)


def _walk_pass(reading: _Reading, scans: Sequence[Scan], limit: int | None) -> None:
    this = reading.passes[-1]
    crew = Crew(
        reading.route.source,
        reading.run,
        workers=1 if limit is not None else reading.workers,
        open_columns=lambda: Columns(this.kept, open=this.open),
        on_page=lambda window, page: _came(reading, window, page, limit),
        book=_book(reading) if limit is None else None,
    )
    try:
        crew.read(scans)
    finally:
        this.windows = crew.windows


def _question(route: Route) -> str:
    """Say what is read, so that a checkpoint can tell another read from this one."""
    query = route.query
    asked = {
        "source": {**route.source.describe(), "endpoint_url": None, "base_url": None},
        "filter": to_json(query.filter),
        "search": query.search,
        "passes": [[item.id for item in fields] for fields in route.passes],
        "parts": len(route.split.parts),
    }
    return json.dumps(asked, sort_keys=True)


def _book(reading: _Reading) -> Book | None:
    if reading.checkpoint is None:
        return None
    if reading.saved:
        reading.told.as_of = min(pd.Timestamp(one.began) for one in reading.saved)
    return Book(reading.checkpoint, reading.saved, len(reading.passes) - 1, lambda: _began(reading))


def _began(reading: _Reading) -> pd.Timestamp:
    assert reading.told.as_of is not None, "a page came before its window was finished"
    return reading.told.as_of


def _came(reading: _Reading, window: Window, page: Page, limit: int | None) -> None:
    """Tell the bar of a page, and stop the walk at the limit."""
    this = reading.passes[-1]
    if reading.told.as_of is None:
        reading.told.as_of = page.served_at
    if window.trail.pages == 1 and page.total is not None and window.scan == window.base:
        reading.bar.total = page.total if limit is None else min(page.total, limit)
    reading.bar.update(page.rows)
    if limit is not None and page.cursor is not None:
        by = [item.field.column for item in window.scan.sort]
        window.done = window.headed = this.more = past(page, by, window.trail.rows, limit)


def _kept(route: Route, fields: tuple[Field, ...]) -> list[Field]:
    """Name what a pass keeps: what it asks for, and in the first what comes free, if needed."""
    case_id = route.source.schema.resolve("case_id")
    first = route.passes[0]
    if fields is not first:
        updated = [item for item in fields if item.column == "updated_at"]
        return [case_id, *updated, *(item for item in fields if item not in first)]
    later = {item for other in route.passes[1:] for item in other} - set(fields)
    kept = dict.fromkeys([case_id, *route.needed, *fields])
    return [item for item in kept if item not in later]


def _joined(reading: _Reading) -> pd.DataFrame:
    first, *others = [_frame_of(reading, this) for this in reading.passes]
    for other in others:
        first = _beside(reading, first, other)
    return first


def _frame_of(reading: _Reading, this: _Pass) -> pd.DataFrame:
    whole = Columns(this.kept, open=this.open)
    for window in this.windows:
        whole.absorb(window.columns)
    columns, known = whole.finish()
    reading.odd.update(whole.odd)
    kept = {item.column for item in this.kept}
    reading.late |= {name: item for name, item in known.items() if name not in kept}
    return newest(build(columns, tz=reading.look.tz, backend=reading.look.backend))


def _beside(reading: _Reading, first: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Join a pass; note which of its rows are of another version than those of the first."""
    joined = beside(first, other.rename(columns={"updated_at": _VERSION}))
    if _VERSION not in joined:
        return joined
    differ = joined["updated_at"].ne(joined[_VERSION]).to_numpy(dtype=bool, na_value=False)
    reading.torn |= set(joined.loc[differ, "case_id"])
    return joined.drop(columns=_VERSION)


_VERSION = "updated_at of a later pass"


def _swept(reading: _Reading, frame: pd.DataFrame) -> pd.DataFrame:
    """Read once more what was updated meanwhile, where it may have slipped between two walks.

    A case that moves from one part of a split filter into another matches all the time and may
    be in neither walk; and passes over one result may hold two versions of one case.
    """
    route, updated = reading.route, reading.route.source.schema.find("updated_at")
    alone = not route.swept and not reading.saved
    nothing = frame.empty and len(route.split.parts) == 1 and not reading.torn
    if alone or nothing or updated is None or reading.passes[0].more:
        return frame
    for _ in range(_SWEEPS):
        torn, reading.torn = reading.torn, set()
        changed = _changed(reading, Compare(updated, "gte", _began(reading) - reading.overlap))
        # Who was torn and is not among the changed does not match any more.
        old = frame[~frame["case_id"].isin(torn.union(changed["case_id"]))]
        if len(old) < len(frame) or len(changed):
            frame = pd.concat([old, changed[frame.columns]], ignore_index=True)
        if not reading.torn:
            return frame
    reading.told.notes.append(
        "some cases changed so often that their columns may be of two versions"
    )
    return frame


def _changed(reading: _Reading, since: Compare) -> pd.DataFrame:
    """Read what was updated since a time: in one walk where that can be, so that none slips."""
    query, route = reading.route.query, reading.route
    asked = replace(query, where=all_of([query.where, since]), limit=None)
    again = plan(route.source, asked, quiet=True)
    again = replace(again, needed=route.needed, passes=route.passes)
    whole = _in_one_walk(route, since) if len(again.split.parts) > 1 else None
    apart = replace(reading, route=whole or again, passes=[], torn=set())
    apart = replace(apart, checkpoint=None, saved=[])
    found = _walk_all(apart, apart.route)
    reading.torn = apart.torn
    return found if whole is None else keep(found, query.where)


def _in_one_walk(route: Route, since: Compare) -> Route | None:
    """Ask for all that changed, and check the filter here; None if it cannot be checked here."""
    if not route.visible:
        return None
    needed = tuple(dict.fromkeys([*route.needed, *fields_of(route.query.where)]))
    split = Split((since,), TRUE)
    passes = tuple(route.source.passes(needed))
    return replace(route, split=split, needed=needed, passes=passes)


def _head_is_sure(frame: pd.DataFrame, route: Route) -> bool:
    """Tell whether the head that came is the head by our order: no missing value, no disorder."""
    keys = [item.field.column for item in route.query.sort]
    if frame[keys].isna().to_numpy().any():
        return False  # other rows may have a value, and missing comes last
    limit = route.query.limit or 0
    by_us = ordered(frame, route.query.sort).head(limit)
    return by_us["case_id"].tolist() == frame["case_id"].head(limit).tolist()


def _short(reading: _Reading, rows: int) -> str:
    """Say what is missing against the count; more rows than the count are no harm."""
    total = reading.passes[0].total if reading.passes else None
    resumed = bool(reading.saved) and reading.route.source.counts  # nobody counted all of it
    if not resumed and (total is None or reading.passes[0].more or rows >= total):
        return ""
    scans = reading.route.walks(reading.route.passes[0])
    now = sum(reading.route.source.count(scan, reading.run) for scan in scans)
    if rows >= now:
        if total is None:
            return ""
        reading.told.notes.append(f"the count fell from {total} to {now} during the read")
        return ""
    reading.counts += [now] if total is None else [total, now]
    return f"the service counts {now} cases and shows {rows}"


# --- how a read ends --------------------------------------------------------------------


def _finished(reading: _Reading, frame: pd.DataFrame) -> pd.DataFrame:
    """Check again, sort, cut, choose columns, and write down what was read."""
    query, told = reading.route.query, reading.told
    if reading.route.split.residual != TRUE:
        frame = keep(frame, reading.route.split.residual)
    frame = ordered(frame, _whole_order(reading))
    if query.limit is not None and len(frame) > query.limit:
        frame = frame.head(query.limit)
    told.rows, told.passes = len(frame), len(reading.route.passes)
    told.total = reading.passes[0].total if reading.passes else None
    ids = digest(frame["case_id"])
    frame = frame[[*(item.column for item in query.columns), *reading.late]].copy(deep=False)
    if reading.odd:
        told.notes.append(misfits(reading.odd))
        warn(misfits(reading.odd))
    return inscribe(
        frame, reading.route.source, query, told, reading.run, ids=ids, tz=reading.look.tz
    )


def _whole_order(reading: _Reading) -> tuple[Sort, ...]:
    case_id = reading.route.source.schema.resolve("case_id")
    sort = reading.route.query.sort
    return sort if any(item.field == case_id for item in sort) else (*sort, Sort(case_id))


def _partial(reading: _Reading, why: str) -> pd.DataFrame:
    reading.told.complete = False
    reading.told.notes.append(why)
    if not reading.passes:
        reading.passes.append(_Pass(_kept(reading.route, reading.route.passes[0]), open=False))
    return _finished(reading, _so_far(reading))


def _so_far(reading: _Reading) -> pd.DataFrame:
    """Join the passes that have rows; the columns of the others are missing values."""
    passes, route = reading.passes, reading.route
    while len(passes) > 1 and not any(window.columns.rows for window in passes[-1].windows):
        passes.pop()
    frame = _joined(reading)
    fields = dict.fromkeys(item for later in route.passes[len(passes) :] for item in later)
    lacking = [item for item in fields if item.column not in frame]
    if not lacking:
        return frame
    named = ", ".join(item.column for item in lacking)
    reading.told.notes.append(f"columns that were not read: {named}")
    if not {*fields_of(route.split.residual)}.isdisjoint(lacking):
        frame = frame.head(0)  # nobody knows which of these rows the filter keeps
    empty, _ = Columns(lacking).finish()
    blank = build(empty, tz=reading.look.tz, backend=reading.look.backend)
    return frame.join(blank.reindex(frame.index))


def _broken(reading: _Reading, error: ServiceError, on_error: OnError) -> pd.DataFrame:
    this = f"pass {len(reading.passes)} of {len(reading.route.passes)}"
    missing = [f"{this}: {window}" for window in reading.passes[-1].windows if not window.done]
    missing = missing or [f"{this}: what changed while it was read"]
    partial = _partial(reading, f"broke off in {'; '.join(missing)}: {error}")
    broken = IncompleteReadError(
        f"the read broke off with {len(partial)} rows in .partial; not read are "
        f"{'; '.join(missing)}: {error}",
        partial=partial,
        missing=missing,
    )
    if on_error == "raise":
        raise broken from error
    return _warned(broken)


def _warned(error: IncompleteReadError) -> pd.DataFrame:
    assert error.partial is not None, "incomplete reads carry what they have"
    warn(f"this frame is not whole: {error}")
    return error.partial
