"""A route to a source that has its cases at hand in, the answer as frames out: no walk, no page.

Such a source filters, sorts and cuts exactly, so what is left to do is to give the answer its
look and to write down what was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from casesearch_pd.errors import (
    AccessDeniedError,
    CaseSearchError,
    FilterError,
    IncompleteReadError,
    NotFoundError,
    ReadInterrupted,
    ServiceError,
    warn,
)
from casesearch_pd.query.expressions import TRUE, fields_of
from casesearch_pd.reading.fetch.checkpoint import Checkpoint, query_fingerprint
from casesearch_pd.reading.fetch.passes import (
    Pass,
    ReadState,
    join_passes,
    read_passes,
    reread_changes,
    retained_fields,
)
from casesearch_pd.reading.fetch.progress import Bar, Progress, progress_bar
from casesearch_pd.reading.frames.columns import Columns, describe_invalid_values
from casesearch_pd.reading.frames.frame import FrameFormat, build_frame, filter_rows, sort_rows
from casesearch_pd.reading.plan import NO_LOOKBACK
from casesearch_pd.reading.provenance import ReadMetadata, digest_ids, write_provenance
from casesearch_pd.sources.base import InProcessSource, Scan, Sort
from casesearch_pd.sources.transport.context import Cancelled

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import pandas as pd

    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "OnError",
    "count_in_process",
    "full_scan",
    "in_process_batches",
    "read_frame",
    "read_in_process",
]


def full_scan(route: ReadPlan) -> Scan:
    """Ask for all of a route at once: its rows in order, `case_id` with them, cut at the limit."""
    query, case_id = route.query, route.source.schema.resolve("case_id")
    fields = tuple(dict.fromkeys([*query.columns, case_id]))
    sort = query.sort
    if all(item.field != case_id for item in sort):
        sort = (*sort, Sort(case_id))
    return Scan(query.where, fields, sort, limit=query.limit)


def count_in_process(route: ReadPlan, run: ReadContext) -> int:
    """Count the rows that the answer will have."""
    found, limit = route.source.count(full_scan(route), run), route.query.limit
    return found if limit is None else min(found, limit)


def in_process_batches(
    route: ReadPlan, look: FrameFormat, size: int | None = None
) -> Iterator[pd.DataFrame]:
    """Yield the answer as frames, with the column `case_id` whether it was asked for or not."""
    assert isinstance(route.source, InProcessSource), "the source has its cases at hand"
    for columns in route.source.read_batches(full_scan(route), size):
        yield build_frame(columns, tz=look.tz, backend=look.dtype_backend)


def read_in_process(route: ReadPlan, run: ReadContext, look: FrameFormat) -> pd.DataFrame:
    """Read the whole answer into one frame."""
    assert isinstance(route.source, InProcessSource), "the source has its cases at hand"
    told = ReadMetadata(as_of=route.source.as_of, passes=len(route.passes))
    (frame,) = in_process_batches(route, look)
    told.rows = told.total = len(frame)
    ids = digest_ids(frame["case_id"])
    frame = frame[[item.column for item in route.query.columns]].copy(deep=False)
    return write_provenance(frame, route.source, route.query, told, run, ids=ids, tz=look.tz)


OnError = Literal["raise", "partial"]
_TRIES = 2  # readings of a result that comes out short


def read_frame(
    route: ReadPlan,
    run: ReadContext,
    look: FrameFormat,
    *,
    progress: Progress | Bar = "auto",
    on_error: OnError = "raise",
    workers: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    lookback: pd.Timedelta = NO_LOOKBACK,
) -> pd.DataFrame:
    """Read a plan to its end.

    Raises
    ------
    ServiceError
        Before the first page, and always for what credentials or names cause.
    IncompleteReadError
        After it; ``.partial`` holds the rows.
    ReadInterrupted
        If the user stops it, also by `ReadContext.cancel`; whatever else comes of it at the same time.
    """
    if on_error not in ("raise", "partial"):
        raise FilterError(f"on_error={on_error!r} is neither 'raise' nor 'partial'")
    if isinstance(route.source, InProcessSource):
        return read_in_process(route, run, look)
    with progress_bar(progress, route.source) as bar:
        reading = ReadState(route, run, look, bar, workers, lookback)
        _take_up(reading, checkpoint)
        try:
            frame = _finished(reading, _whole(reading))
        except (KeyboardInterrupt, Cancelled, CaseSearchError) as error:
            return _unfinished(reading, error, on_error)
    if not reading.metadata.complete:  # cancelled when all was there
        raise _interrupted(reading, frame)
    if reading.checkpoint is not None:
        reading.checkpoint.clear()
    return frame


def _take_up(reading: ReadState, folder: str | os.PathLike[str] | None) -> None:
    """Load what an earlier try of the same read has saved."""
    if folder is not None:
        reading.checkpoint = Checkpoint.open(folder, query_fingerprint(reading.plan))
        reading.saved = reading.checkpoint.load()


def _whole(reading: ReadState) -> pd.DataFrame:
    """Read until the rows agree with the count."""
    short = ""
    for _ in range(_TRIES):
        frame = _once(reading)
        short = _short(reading, len(frame))
        if not short:
            return reread_changes(reading, frame)
        reading.metadata.notes.append(f"{short}; read again")
    if len(set(reading.counts)) > 1:
        reading.metadata.notes.append("the count never stood still, so it proves nothing")
        return reread_changes(reading, frame)
    partial = _partial(reading, short)
    raise IncompleteReadError(
        f"{short}, twice in a row; read again later, or narrow the filter",
        partial=partial,
        missing=[short],
    )


def _once(reading: ReadState) -> pd.DataFrame:
    route = reading.plan
    if not route.stops_at_limit:
        return read_passes(reading, route)
    frame = read_passes(reading, route, limit=route.query.limit)
    if reading.passes[0].more and not _head_is_sure(frame, route):
        reading.metadata.notes.append(
            "the service sorts in another way: all was read and sorted here"
        )
        frame = read_passes(reading, route)
    return frame


def _head_is_sure(frame: pd.DataFrame, route: ReadPlan) -> bool:
    """Tell whether the head that came is the head by our order: no missing value, no disorder."""
    keys = [item.field.column for item in route.query.sort]
    if frame[keys].isna().to_numpy().any():
        return False  # other rows may have a value, and missing comes last
    limit = route.query.limit or 0
    by_us = sort_rows(frame, route.query.sort).head(limit)
    return by_us["case_id"].tolist() == frame["case_id"].head(limit).tolist()


def _short(reading: ReadState, rows: int) -> str:
    """Say what is missing against the count; more rows than the count are no harm."""
    total = reading.passes[0].total if reading.passes else None
    resumed = bool(reading.saved) and reading.plan.source.can_count  # nobody counted all of it
    if not resumed and (total is None or reading.passes[0].more or rows >= total):
        return ""
    scans = reading.plan.pass_scans(reading.plan.passes[0])
    now = sum(reading.plan.source.count(scan, reading.context) for scan in scans)
    if rows >= now:
        if total is None:
            return ""
        reading.metadata.notes.append(f"the count fell from {total} to {now} during the read")
        return ""
    reading.counts += [now] if total is None else [total, now]
    return f"the service counts {now} cases and shows {rows}"


# --- how a read ends --------------------------------------------------------------------

_STOPPED = "stopped by the user"


def _unfinished(reading: ReadState, error: BaseException, on_error: OnError) -> pd.DataFrame:
    """Raise what ended a read, with the rows that came; or hand them on, if that is wanted."""
    if isinstance(error, KeyboardInterrupt | Cancelled) or reading.context.cancelled:
        raise _interrupted(reading, _partial(reading, _STOPPED)) from error
    match error:
        case AccessDeniedError() | NotFoundError():
            raise error
        case ServiceError() if reading.metadata.as_of is not None:  # at least one page came
            return _broken(reading, error, on_error)
        case IncompleteReadError() if on_error == "partial":
            return _warned(error)
        case _:
            raise error


def _interrupted(reading: ReadState, partial: pd.DataFrame) -> ReadInterrupted:
    where = ".partial" if reading.context.cancelled else "sys.last_value.partial"
    return ReadInterrupted(
        f"stopped after {len(partial)} rows; they are in {where}", partial=partial
    )


def _finished(reading: ReadState, frame: pd.DataFrame) -> pd.DataFrame:
    """Check again, sort, cut, choose columns, and write down what was read."""
    query, told = reading.plan.query, reading.metadata
    if reading.plan.pushdown.residual != TRUE:
        frame = filter_rows(frame, reading.plan.pushdown.residual)
    frame = sort_rows(frame, _whole_order(reading))
    if query.limit is not None and len(frame) > query.limit:
        frame = frame.head(query.limit)
    told.rows, told.passes = len(frame), len(reading.plan.passes)
    told.total = reading.passes[0].total if reading.passes else None
    told.new_fields = {name: item.id for name, item in reading.new_fields.items()}
    ids = digest_ids(frame["case_id"])
    frame = frame[[*(item.column for item in query.columns), *reading.new_fields]].copy(deep=False)
    if reading.invalid:
        told.notes.append(describe_invalid_values(reading.invalid))
        warn(describe_invalid_values(reading.invalid))
    if told.complete and reading.context.cancelled:  # the last moment that it can be
        told.complete = False
        told.notes.append(_STOPPED)
    return write_provenance(
        frame,
        reading.plan.source,
        query,
        told,
        reading.context,
        ids=ids,
        tz=reading.frame_format.tz,
    )


def _whole_order(reading: ReadState) -> tuple[Sort, ...]:
    case_id = reading.plan.source.schema.resolve("case_id")
    sort = reading.plan.query.sort
    return sort if any(item.field == case_id for item in sort) else (*sort, Sort(case_id))


def _partial(reading: ReadState, why: str) -> pd.DataFrame:
    reading.metadata.complete = False
    reading.metadata.notes.append(why)
    if not reading.passes:
        reading.passes.append(
            Pass(retained_fields(reading.plan, reading.plan.passes[0]), open=False)
        )
    return _finished(reading, _so_far(reading))


def _so_far(reading: ReadState) -> pd.DataFrame:
    """Join the passes that have rows; the columns of the others are missing values."""
    passes, route = reading.passes, reading.plan
    while len(passes) > 1 and not any(window.columns.rows for window in passes[-1].windows):
        passes.pop()
    reading.invalid.clear()  # joining counts it anew
    frame = join_passes(reading)
    fields = dict.fromkeys(item for later in route.passes[len(passes) :] for item in later)
    lacking = [item for item in fields if item.column not in frame]
    if not lacking:
        return frame
    named = ", ".join(item.column for item in lacking)
    reading.metadata.notes.append(f"columns that were not read: {named}")
    if not {*fields_of(route.pushdown.residual)}.isdisjoint(lacking):
        frame = frame.head(0)  # nobody knows which of these rows the filter keeps
    empty, _ = Columns(lacking).finish()
    blank = build_frame(
        empty, tz=reading.frame_format.tz, backend=reading.frame_format.dtype_backend
    )
    return frame.join(blank.reindex(frame.index))


def _broken(reading: ReadState, error: ServiceError, on_error: OnError) -> pd.DataFrame:
    this = f"pass {len(reading.passes)} of {len(reading.plan.passes)}"
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
