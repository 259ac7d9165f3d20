"""One plan in, the whole frame out, or an error that holds what there is of it.

The passes over a result are read one after the other and joined on ``case_id``. The rows are
held against the count that the service told: fewer, with the count still standing, are read
once more and then refused. A frame that is not whole leaves here in one of three ways only:
inside an `IncompleteReadError`, inside a `ReadInterrupted`, or, asked for with
``on_error="partial"``, with a warning and a note in its provenance.
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
from casesearch_pd.query.expr import TRUE, fields_of
from casesearch_pd.reading.checkpoint import Checkpoint, question_of
from casesearch_pd.reading.columns import Columns, misfits
from casesearch_pd.reading.direct import answered
from casesearch_pd.reading.frame import Look, build, keep, ordered
from casesearch_pd.reading.passes import Pass, Reading, joined, kept_of, walk_all
from casesearch_pd.reading.plan import NO_TIME
from casesearch_pd.reading.progress import Bar, Progress, progress_bar
from casesearch_pd.reading.provenance import digest, inscribe
from casesearch_pd.reading.sweep import swept
from casesearch_pd.sources.contract import Direct, Sort
from casesearch_pd.sources.run import Halted

if TYPE_CHECKING:
    import os

    import pandas as pd

    from casesearch_pd.reading.plan import Route
    from casesearch_pd.sources.run import Run

__all__ = ["OnError", "exhaust"]

OnError = Literal["raise", "partial"]
_TRIES = 2  # readings of a result that comes out short


def exhaust(
    route: Route,
    run: Run,
    look: Look,
    *,
    progress: Progress | Bar = "auto",
    on_error: OnError = "raise",
    workers: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    overlap: pd.Timedelta = NO_TIME,
) -> pd.DataFrame:
    """Read a plan to its end.

    Raises
    ------
    ServiceError
        Before the first page, and always for what credentials or names cause.
    IncompleteReadError
        After it; ``.partial`` holds the rows.
    ReadInterrupted
        If the user stops it, also by `Run.cancel`; whatever else comes of it at the same time.
    """
    if on_error not in ("raise", "partial"):
        raise FilterError(f"on_error={on_error!r} is neither 'raise' nor 'partial'")
    if isinstance(route.source, Direct):
        return answered(route, run, look)
    with progress_bar(progress, route.source) as bar:
        reading = Reading(route, run, look, bar, workers, overlap)
        _take_up(reading, checkpoint)
        try:
            frame = _finished(reading, _whole(reading))
        except (KeyboardInterrupt, Halted, CaseSearchError) as error:
            return _unfinished(reading, error, on_error)
    if not reading.told.complete:  # cancelled when all was there
        raise _interrupted(reading, frame)
    if reading.checkpoint is not None:
        reading.checkpoint.clear()
    return frame


def _take_up(reading: Reading, folder: str | os.PathLike[str] | None) -> None:
    """Load what an earlier try of the same read has saved."""
    if folder is not None:
        reading.checkpoint = Checkpoint.open(folder, question_of(reading.route))
        reading.saved = reading.checkpoint.load()


def _whole(reading: Reading) -> pd.DataFrame:
    """Read until the rows agree with the count."""
    short = ""
    for _ in range(_TRIES):
        frame = _once(reading)
        short = _short(reading, len(frame))
        if not short:
            return swept(reading, frame)
        reading.told.notes.append(f"{short}; read again")
    if len(set(reading.counts)) > 1:
        reading.told.notes.append("the count never stood still, so it proves nothing")
        return swept(reading, frame)
    partial = _partial(reading, short)
    raise IncompleteReadError(
        f"{short}, twice in a row; read again later, or narrow the filter",
        partial=partial,
        missing=[short],
    )


def _once(reading: Reading) -> pd.DataFrame:
    route = reading.route
    if not route.limited:
        return walk_all(reading, route)
    frame = walk_all(reading, route, limit=route.query.limit)
    if reading.passes[0].more and not _head_is_sure(frame, route):
        reading.told.notes.append("the service sorts in another way: all was read and sorted here")
        frame = walk_all(reading, route)
    return frame


def _head_is_sure(frame: pd.DataFrame, route: Route) -> bool:
    """Tell whether the head that came is the head by our order: no missing value, no disorder."""
    keys = [item.field.column for item in route.query.sort]
    if frame[keys].isna().to_numpy().any():
        return False  # other rows may have a value, and missing comes last
    limit = route.query.limit or 0
    by_us = ordered(frame, route.query.sort).head(limit)
    return by_us["case_id"].tolist() == frame["case_id"].head(limit).tolist()


def _short(reading: Reading, rows: int) -> str:
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

_STOPPED = "stopped by the user"


def _unfinished(reading: Reading, error: BaseException, on_error: OnError) -> pd.DataFrame:
    """Raise what ended a read, with the rows that came; or hand them on, if that is wanted."""
    if isinstance(error, KeyboardInterrupt | Halted) or reading.run.cancelled:
        raise _interrupted(reading, _partial(reading, _STOPPED)) from error
    match error:
        case AccessDeniedError() | NotFoundError():
            raise error
        case ServiceError() if reading.told.as_of is not None:  # at least one page came
            return _broken(reading, error, on_error)
        case IncompleteReadError() if on_error == "partial":
            return _warned(error)
        case _:
            raise error


def _interrupted(reading: Reading, partial: pd.DataFrame) -> ReadInterrupted:
    where = ".partial" if reading.run.cancelled else "sys.last_value.partial"
    return ReadInterrupted(
        f"stopped after {len(partial)} rows; they are in {where}", partial=partial
    )


def _finished(reading: Reading, frame: pd.DataFrame) -> pd.DataFrame:
    """Check again, sort, cut, choose columns, and write down what was read."""
    query, told = reading.route.query, reading.told
    if reading.route.split.residual != TRUE:
        frame = keep(frame, reading.route.split.residual)
    frame = ordered(frame, _whole_order(reading))
    if query.limit is not None and len(frame) > query.limit:
        frame = frame.head(query.limit)
    told.rows, told.passes = len(frame), len(reading.route.passes)
    told.total = reading.passes[0].total if reading.passes else None
    told.late = {name: item.id for name, item in reading.late.items()}
    ids = digest(frame["case_id"])
    frame = frame[[*(item.column for item in query.columns), *reading.late]].copy(deep=False)
    if reading.odd:
        told.notes.append(misfits(reading.odd))
        warn(misfits(reading.odd))
    if told.complete and reading.run.cancelled:  # the last moment that it can be
        told.complete = False
        told.notes.append(_STOPPED)
    return inscribe(
        frame, reading.route.source, query, told, reading.run, ids=ids, tz=reading.look.tz
    )


def _whole_order(reading: Reading) -> tuple[Sort, ...]:
    case_id = reading.route.source.schema.resolve("case_id")
    sort = reading.route.query.sort
    return sort if any(item.field == case_id for item in sort) else (*sort, Sort(case_id))


def _partial(reading: Reading, why: str) -> pd.DataFrame:
    reading.told.complete = False
    reading.told.notes.append(why)
    if not reading.passes:
        reading.passes.append(Pass(kept_of(reading.route, reading.route.passes[0]), open=False))
    return _finished(reading, _so_far(reading))


def _so_far(reading: Reading) -> pd.DataFrame:
    """Join the passes that have rows; the columns of the others are missing values."""
    passes, route = reading.passes, reading.route
    while len(passes) > 1 and not any(window.columns.rows for window in passes[-1].windows):
        passes.pop()
    reading.odd.clear()  # joining counts it anew
    frame = joined(reading)
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


def _broken(reading: Reading, error: ServiceError, on_error: OnError) -> pd.DataFrame:
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
