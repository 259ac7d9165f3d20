"""One plan in, the whole frame out, or an error that holds what there is of it.

The passes over a result are read one after the other and joined on ``case_id``. The rows are
held against the count that the service told: fewer, with the count still standing, are read
once more and then refused. A frame that is not whole leaves here in one of three ways only:
inside an `IncompleteReadError`, inside a `ReadInterrupted`, or, asked for with
``on_error="partial"``, with a warning and a note in its provenance.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from casesearch_pd.errors import (
    AccessDeniedError,
    FilterError,
    IncompleteReadError,
    NotFoundError,
    ReadInterrupted,
    ServiceError,
    warn,
)
from casesearch_pd.query.expr import TRUE
from casesearch_pd.reading.columns import Columns, misfits
from casesearch_pd.reading.frame import Look, beside, build, keep, newest, ordered
from casesearch_pd.reading.provenance import Told, digest, inscribe
from casesearch_pd.reading.walk import Progress, Walk, follow, progress_bar
from casesearch_pd.sources.contract import Sort

if TYPE_CHECKING:
    import pandas as pd

    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.plan import Route
    from casesearch_pd.sources.pace import Run

__all__ = ["OnError", "exhaust"]

OnError = Literal["raise", "partial"]
_TRIES = 2  # readings of a result that comes out short


@dataclass
class _Reading:
    """One read under way."""

    route: Route
    run: Run
    look: Look
    bar: Any
    walks: list[Walk] = field(default_factory=list)
    told: Told = field(default_factory=Told)
    late: dict[str, Field] = field(default_factory=dict)


def exhaust(
    route: Route,
    run: Run,
    look: Look,
    *,
    progress: Progress = "auto",
    on_error: OnError = "raise",
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
        reading = _Reading(route, run, look, bar)
        try:
            return _finished(reading, _whole(reading))
        except KeyboardInterrupt as stop:
            partial = _partial(reading, "stopped by the user")
            raise ReadInterrupted(
                f"stopped after {len(partial)} rows; they are in sys.last_value.partial",
                partial=partial,
            ) from stop
        except (AccessDeniedError, NotFoundError):
            raise
        except ServiceError as error:
            if not any(walk.pages for walk in reading.walks):
                raise
            return _broken(reading, error, on_error)
        except IncompleteReadError as error:
            if on_error == "raise":
                raise
            return _warned(error)


def _whole(reading: _Reading) -> pd.DataFrame:
    """Read until the rows agree with the count."""
    short = ""
    for _ in range(_TRIES):
        frame = _once(reading)
        short = _short(reading, len(frame))
        if not short:
            return frame
        reading.told.notes.append(f"{short}; read again")
    partial = _partial(reading, short)
    raise IncompleteReadError(
        f"{short}, twice in a row; read again later, or narrow the filter",
        partial=partial,
        missing=[short],
    )


def _once(reading: _Reading) -> pd.DataFrame:
    route = reading.route
    limit = route.query.limit if route.limited else None
    frame = _walk_all(reading, limit)
    if limit is not None and reading.walks[0].more and not _head_is_sure(frame, route, limit):
        reading.told.notes.append("the service sorts in another way: all was read and sorted here")
        frame = _walk_all(reading, None)
    return frame


def _walk_all(reading: _Reading, limit: int | None) -> pd.DataFrame:
    """Read pass by pass; the parts of a filter fill the same columns one after the other."""
    route = reading.route
    reading.walks.clear()
    reading.bar.reset()
    for fields in route.passes:
        every = route.query.every and not fields
        walk = Walk(Columns(_kept(reading, fields), open=every))
        reading.walks.append(walk)
        for scan in route.walks(fields):
            follow(walk, reading.route.source, scan, reading.run, limit=limit, bar=reading.bar)
    return _joined(reading)


def _kept(reading: _Reading, fields: tuple[Field, ...]) -> list[Field]:
    """Name what a pass keeps: what it asks for and what comes free, if it is needed."""
    case_id = reading.route.source.schema.resolve("case_id")
    if reading.walks:
        first = {item.column for item in reading.walks[0].columns.fields}
        return [case_id, *(item for item in fields if item.column not in first)]
    later = {item for other in reading.route.passes[1:] for item in other} - set(fields)
    kept = dict.fromkeys([case_id, *reading.route.needed, *fields])
    return [item for item in kept if item not in later]


def _joined(reading: _Reading) -> pd.DataFrame:
    frames = [_frame_of(reading, walk) for walk in reading.walks]
    first = frames[0]
    for other in frames[1:]:
        first = beside(first, other)
    return first


def _frame_of(reading: _Reading, walk: Walk) -> pd.DataFrame:
    columns, known = walk.columns.finish()
    asked = {item.column for item in walk.columns.fields}
    reading.late |= {name: item for name, item in known.items() if name not in asked}
    return newest(build(columns, tz=reading.look.tz, backend=reading.look.backend))


def _head_is_sure(frame: pd.DataFrame, route: Route, limit: int) -> bool:
    """Tell whether the head that came is the head by our order: no missing value, no disorder."""
    keys = [item.field.column for item in route.query.sort]
    if frame[keys].isna().to_numpy().any():
        return False  # other rows may have a value, and missing comes last
    by_us = ordered(frame, route.query.sort).head(limit)
    return by_us["case_id"].tolist() == frame["case_id"].head(limit).tolist()


def _short(reading: _Reading, rows: int) -> str:
    """Say what is missing against the count; more rows than the count are no harm."""
    walk = reading.walks[0]
    if walk.total is None or walk.more or rows >= walk.total:
        return ""
    scans = reading.route.walks(reading.route.passes[0])
    now = sum(reading.route.source.count(scan, reading.run) for scan in scans)
    if rows >= now:
        reading.told.notes.append(f"the count fell from {walk.total} to {now} during the read")
        return ""
    return f"the service counts {now} cases and shows {rows}"


# --- how a read ends --------------------------------------------------------------------


def _finished(reading: _Reading, frame: pd.DataFrame) -> pd.DataFrame:
    """Check again, sort, cut, choose columns, and write down what was read."""
    query, told, walks = reading.route.query, reading.told, reading.walks
    if reading.route.split.residual != TRUE:
        frame = keep(frame, reading.route.split.residual)
    frame = ordered(frame, _whole_order(reading))
    if query.limit is not None and len(frame) > query.limit:
        frame = frame.head(query.limit)
    told.rows, told.passes = len(frame), len(walks)
    if walks:
        told.total, told.as_of = walks[0].total, walks[0].as_of
    ids = digest(frame["case_id"])
    frame = frame[[*(item.column for item in query.columns), *reading.late]].copy(deep=False)
    _tell_odd(reading)
    return inscribe(
        frame, reading.route.source, query, told, reading.run, ids=ids, tz=reading.look.tz
    )


def _whole_order(reading: _Reading) -> tuple[Sort, ...]:
    case_id = reading.route.source.schema.resolve("case_id")
    sort = reading.route.query.sort
    return sort if any(item.field == case_id for item in sort) else (*sort, Sort(case_id))


def _tell_odd(reading: _Reading) -> None:
    odd: Counter[str] = sum((walk.columns.odd for walk in reading.walks), start=Counter())
    if not odd:
        return
    said = misfits(odd)
    reading.told.notes.append(said)
    warn(said)


def _partial(reading: _Reading, why: str) -> pd.DataFrame:
    reading.told.complete = False
    reading.told.notes.append(why)
    if not reading.walks:
        reading.walks.append(Walk(Columns(_kept(reading, ()))))
    return _finished(reading, _joined(reading))


def _broken(reading: _Reading, error: ServiceError, on_error: OnError) -> pd.DataFrame:
    walk = reading.walks[-1]
    last = f"after page {walk.pages} of pass {len(reading.walks)} of {len(reading.route.passes)}"
    partial = _partial(reading, f"broke off {last}: {error}")
    broken = IncompleteReadError(
        f"the read broke off {last}, with {len(partial)} rows in .partial: {error}",
        partial=partial,
        missing=[f"all {last}"],
    )
    if on_error == "raise":
        raise broken from error
    return _warned(broken)


def _warned(error: IncompleteReadError) -> pd.DataFrame:
    assert error.partial is not None, "incomplete reads carry what they have"
    warn(f"this frame is not whole: {error}")
    return error.partial
