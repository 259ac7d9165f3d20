"""The public walk: what a user types in, a typed DataFrame out.

Every function here is the same few steps: bind the question, plan it, read the walks, build
the frame, finish it (check again, sort, cut, name what was read).
"""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expressions import TRUE
from casesearch_pd.query.schema import lookups
from casesearch_pd.reading.explain import Plan
from casesearch_pd.reading.fetch.pipeline import OnError, read_frame
from casesearch_pd.reading.fetch.stream import Chunks, Options
from casesearch_pd.reading.frames.frame import FrameFormat
from casesearch_pd.reading.output.atomic import OutputPath
from casesearch_pd.reading.output.parquet import MAX_PIECE_ROWS, write_parquet
from casesearch_pd.reading.plan import OPTIONS, build_query, make_plan, parse_lookback
from casesearch_pd.sources.registry import remember_source
from casesearch_pd.sources.transport.context import ReadContext

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.reading.fetch.progress import Bar, Progress
    from casesearch_pd.reading.frames.frame import DtypeBackend
    from casesearch_pd.reading.plan import Query, ReadPlan
    from casesearch_pd.sources.base import Source

__all__ = [
    "bind_arguments",
    "count_cases",
    "explain_cases",
    "iter_cases",
    "list_fields",
    "read_cases",
    "read_routed",
    "routed",
    "to_parquet",
]


def read_cases(
    source: Source,
    where: Expression | Mapping[str, object] | None = None,
    *,
    search: str | None = None,
    tags: Mapping[str, str] | Iterable[str] | str | None = None,
    columns: Sequence[str] | None = None,
    sort: str | Sequence[str] | None = None,
    limit: int | None = None,
    dtype_backend: DtypeBackend = None,
    tz: str = "UTC",
    progress: Progress = "auto",
    max_workers: int | None = None,
    on_error: OnError = "raise",
    checkpoint: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    lookback: timedelta | str | float | None = None,
    **filters: object,
) -> pd.DataFrame:
    """Read all cases that match into one typed DataFrame.

    Parameters
    ----------
    source
        Where to read: `ConnectCases`, `PersonaCases`, …
    where
        A mapping of filters whose names are no keywords, such as ``{"limit": 3}``; joined to
        the keywords by AND.
    search
        A word or phrase for the service's own full-text search (Amazon Connect).
    tags
        Tags that a case must bear, all of them: a mapping on Amazon Connect, a list on Persona.
    columns
        The columns to read, by any of their names; None reads every active field.
    sort
        A column, ``"-column"`` for descending, or a list of these; missing values come last.
        None sorts by ``created_at`` and ``case_id``.
    limit
        The first so many rows of that order.
    dtype_backend
        None, ``"numpy_nullable"`` or ``"pyarrow"``, as in `pandas.read_csv`.
    tz
        The zone of naive times in filters, and of the times in the frame.
    progress
        ``"auto"`` shows a bar in notebooks and terminals if the read takes a while.
    max_workers
        How many readers may share a long result, each with a window of ``created_at``; None
        for as many as pay, at most 8, where the service is slow to answer rather than short
        of requests.
    on_error
        ``"partial"`` returns, with a warning, what was read before an error; nothing else does.
    checkpoint
        A folder that finished windows of the read are saved in. The same read with the same
        folder, in another process even, goes on where this one was killed; a read that comes
        to its end removes them. Times relative to now count from the later read.
    timeout
        Seconds that the whole read may take.
    lookback
        By how much the search may lag behind the writes: a `datetime.timedelta`, text such as
        ``"2min"``, or seconds; None for 5 minutes on Amazon Connect and 2 on Persona. A read of
        several requests side by side (a split filter, several passes) ends with a look at what
        was updated since it began, less this time.
    **filters
        ``name=value`` or ``name__lookup=value``. A list is any-of, None is missing; lookups
        are ``ne gt gte lt lte in isna between contains``.

    Returns
    -------
    pandas.DataFrame
        One row a case. ``df.cases.provenance`` tells what was read, when, and how completely.

    Raises
    ------
    FilterError
        If the question cannot be asked; nothing but discovery has been sent.
    ServiceError
        If the service does not answer, or not with cases.
    IncompleteReadError
        If it stopped answering half-way; ``.partial`` holds the rows.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=500) as local:
    ...     df = cs.read_cases(local.connect_cases(), status="open", columns=["case_id", "status"])
    >>> sorted(df["status"].unique())
    ['open']
    """
    given = locals()
    return read_routed(routed(given), given, ReadContext.with_timeout(timeout), progress)


def bind_arguments(source: Source, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Complete what `read_cases` is called with by what it takes for granted.

    Parameters
    ----------
    source
        Where to read.
    filters
        What `read_cases` takes besides, by name: ``where``, its options, and filters.

    Returns
    -------
    dict
        Every parameter of `read_cases` by its name, and the filters under ``filters``.
    """
    bound = signature(read_cases).bind(source, **filters)
    bound.apply_defaults()
    return bound.arguments


def routed(given: Mapping[str, Any]) -> ReadPlan:
    """Plan the read that the arguments of `read_cases` ask for, by their names.

    Raises
    ------
    FilterError
        If the question cannot be asked; nothing but discovery has been sent.
    """
    route = make_plan(given["source"], _bound(given))
    remember_source(route.source)
    return route


def read_routed(
    route: ReadPlan, given: Mapping[str, Any], run: ReadContext, progress: Progress | Bar
) -> pd.DataFrame:
    """Read what was planned, with the options among the arguments of `read_cases`.

    Raises
    ------
    FilterError
        If one of them is none; and whatever `read_cases` raises.
    """
    return read_frame(
        route,
        run,
        FrameFormat(given["tz"], given["dtype_backend"]),
        progress=progress,
        on_error=given["on_error"],
        workers=_workers(given["max_workers"]),
        checkpoint=given["checkpoint"],
        lookback=parse_lookback(route.source, given["lookback"]),
    )


def iter_cases(
    source: Source,
    where: Expression | Mapping[str, object] | None = None,
    *,
    search: str | None = None,
    tags: Mapping[str, str] | Iterable[str] | str | None = None,
    columns: Sequence[str] | None = None,
    sort: str | Sequence[str] | None = None,
    limit: int | None = None,
    dtype_backend: DtypeBackend = None,
    tz: str = "UTC",
    progress: Progress = "auto",
    max_workers: int | None = None,
    on_error: OnError = "raise",
    checkpoint: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    lookback: timedelta | str | float | None = None,
    chunksize: int = 10_000,
    **filters: object,
) -> Chunks:
    """Read all cases that match, a frame at a time, in bounded memory.

    Parameters
    ----------
    source, where, search, tags, columns, limit, dtype_backend, tz, progress, timeout, **filters
        As in `read_cases`.
    sort
        As in `read_cases`, if the service can do it.
    max_workers
        Readers at most, as in `read_cases`; a stream comes in order and is read by one.
    on_error
        ``"partial"`` ends, with a warning, where the service did; the last chunk's provenance
        says that it is not whole. ``"raise"`` ends with an error, whose ``.partial`` has the
        rows that no chunk had.
    checkpoint
        As in `read_cases`. The same stream taken up again hands out the saved rows first.
    lookback
        As in `read_cases`. A stream that is taken up again reads once more what was updated
        since it first began, less this time, among the saved rows.
    chunksize
        Rows of a frame, at most.

    Returns
    -------
    Chunks
        An iterator of frames with the same columns and dtypes, and one empty frame if no case
        matches. ``.total`` is the number of rows, or None; close it, or use ``with``.

    Raises
    ------
    FilterError
        If the question cannot be asked, or its order not be had from the service.
    IncompleteReadError
        If the service stopped answering half-way, or has fewer cases than it counts.

    Notes
    -----
    Chunks that were handed on cannot be taken back, so less is proved than by `read_cases`:
    what changes while it is read is not looked for again. Persona's List endpoint and a list of
    ids come in no order; their rows are sorted by way of a temporary file before the first
    chunk.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=250) as local, cs.iter_cases(
    ...     local.persona_cases(), columns=["case_id"], chunksize=100
    ... ) as chunks:
    ...     [len(chunk) for chunk in chunks]
    [100, 100, 50]
    """
    question, run, look = (
        _bound(locals()),
        ReadContext.with_timeout(timeout),
        FrameFormat(tz, dtype_backend),
    )
    _workers(max_workers)
    options = Options(
        chunksize, progress, on_error, checkpoint, lookback=parse_lookback(source, lookback)
    )
    return Chunks(make_plan(source, question, streamed=True), run, look, options)


def to_parquet(
    source: Source,
    path: str | os.PathLike[str],
    where: Expression | Mapping[str, object] | None = None,
    *,
    search: str | None = None,
    tags: Mapping[str, str] | Iterable[str] | str | None = None,
    columns: Sequence[str] | None = None,
    sort: str | Sequence[str] | None = None,
    limit: int | None = None,
    dtype_backend: DtypeBackend = None,
    tz: str = "UTC",
    progress: Progress = "auto",
    max_workers: int | None = None,
    on_error: OnError = "raise",
    checkpoint: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    lookback: timedelta | str | float | None = None,
    chunksize: int = 20_000,
    **filters: object,
) -> Path:
    """Read all cases that match into Parquet, in bounded memory.

    Parameters
    ----------
    path
        A file; or, if it is a folder or ends with a slash, a folder of part files, each of one
        schema, which keeps what Persona's cases have beyond their templates from where it is
        first seen. What is there is replaced at the end, when all has come.
    source, where, search, tags, columns, sort, limit, dtype_backend, tz, progress, max_workers, \
    on_error, checkpoint, timeout, lookback, **filters
        As in `iter_cases`.
    chunksize
        Rows of a row group, at most.

    Returns
    -------
    pathlib.Path
        Where it is. `pandas.read_parquet` makes the frame of it that `read_cases` makes, with
        its provenance; but for lists, which Parquet gives back as arrays, and for nested
        values, which are there as JSON text.

    Raises
    ------
    FilterError
        If the question cannot be asked or the place not be written; nothing but discovery has
        been sent.
    CaseSearchError
        If the disk fills; the old file is intact, as it is after any other error.

    Examples
    --------
    >>> import tempfile, pandas as pd, casesearch_pd as cs
    >>> with tempfile.TemporaryDirectory() as folder, cs.LocalCases(cases=250) as local:
    ...     path = cs.to_parquet(local.connect_cases(), f"{folder}/open.parquet", status="open")
    ...     df = pd.read_parquet(path)
    >>> df["status"].unique().tolist(), df.cases.provenance["complete"]
    (['open'], True)
    """
    place = OutputPath.of(path)
    question, run, look = (
        _bound(locals()),
        ReadContext.with_timeout(timeout),
        FrameFormat(tz, dtype_backend),
    )
    _workers(max_workers)
    options = Options(
        chunksize,
        progress,
        on_error,
        checkpoint,
        parse_lookback(source, lookback),
        open=place.folder,
    )
    pieces = replace(options, chunksize=min(chunksize, MAX_PIECE_ROWS))
    chunks = Chunks(make_plan(source, question, streamed=True), run, look, pieces)
    return write_parquet(chunks, place, group=chunksize)


def explain_cases(
    source: Source,
    where: Expression | Mapping[str, object] | None = None,
    *,
    search: str | None = None,
    tags: Mapping[str, str] | Iterable[str] | str | None = None,
    columns: Sequence[str] | None = None,
    sort: str | Sequence[str] | None = None,
    limit: int | None = None,
    tz: str = "UTC",
    **filters: object,
) -> Plan:
    """Tell how `read_cases` would read, and send nothing but discovery.

    Parameters
    ----------
    source, where, search, tags, columns, sort, limit, tz, **filters
        As in `read_cases`; its options that change no request are taken, and have no say.

    Returns
    -------
    Plan
        The exact requests (also as shell commands), what is checked again here and why,
        passes and partitions. ``.count()`` asks the service what it will cost.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=50) as local:
    ...     cs.explain_cases(local.connect_cases(), status="open", columns=["case_id"])
    Plan(connect: 1 partition, 1 pass; asked: field('status') == 'open')
    """
    filters = {name: value for name, value in filters.items() if name not in OPTIONS}
    question = _bound(locals())
    return Plan(make_plan(source, question))


def count_cases(
    source: Source,
    where: Expression | Mapping[str, object] | None = None,
    *,
    search: str | None = None,
    tags: Mapping[str, str] | Iterable[str] | str | None = None,
    tz: str = "UTC",
    timeout: float | None = None,
    **filters: object,
) -> int:
    """Count the cases that match.

    Amazon Connect counts by itself, in one request, if it can take the whole filter; in any
    other case, and always on Persona, the ids are read and counted.

    Parameters
    ----------
    source, where, search, tags, tz, timeout, **filters
        As in `read_cases`.
    """
    question, run = _bound(locals() | {"columns": ["case_id"]}), ReadContext.with_timeout(timeout)
    route = make_plan(source, question)
    if source.can_count and route.pushdown.residual == TRUE:
        return sum(source.count(scan, run) for scan in route.pass_scans(route.passes[0]))
    return len(read_frame(route, run, FrameFormat(tz)))


def list_fields(source: Source) -> pd.DataFrame:
    """List what can be filtered by and read.

    Returns
    -------
    pandas.DataFrame
        ``column, id, label, type, namespace, operators, options``: the last two hold lists,
        of lookups that fit the type and of option values.
    """
    fields = source.schema.fields
    return pd.DataFrame(
        {
            "column": pd.Series([item.column for item in fields], dtype="str"),
            "id": pd.Series([item.id for item in fields], dtype="str"),
            "label": pd.Series([item.label for item in fields], dtype="str"),
            "type": pd.Series([item.type for item in fields], dtype="str"),
            "namespace": pd.Series([item.namespace for item in fields], dtype="str"),
            "operators": pd.Series([list(lookups(item.type)) for item in fields], dtype=object),
            "options": pd.Series(
                [[o.value for o in item.options] for item in fields], dtype=object
            ),
        }
    )


def _bound(given: Mapping[str, Any]) -> Query:
    """Bind the question among the arguments of a public function, by their names."""
    asked = {name: given[name] for name in _ASKED if name in given}
    return build_query(given["source"], given["where"], given["filters"], **asked)


_ASKED = ("search", "tags", "columns", "sort", "limit", "tz")


def _workers(number: int | None) -> int | None:
    if number is not None and (
        isinstance(number, bool) or not isinstance(number, int) or number < 1
    ):
        raise FilterError(f"max_workers={number!r} reads nothing; write 1 or more, or None")
    return number
