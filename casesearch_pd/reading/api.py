"""The public functions that read cases: `read_cases` and what answers the same query otherwise.

Each of them builds a `Query` and `ReadOptions` field by field, plans the read, and passes the
plan to the function that carries it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.query.expressions import TRUE
from casesearch_pd.query.schema import lookups_for
from casesearch_pd.reading.atomic import OutputPath
from casesearch_pd.reading.explain import Plan
from casesearch_pd.reading.fetch.chunks import Chunks
from casesearch_pd.reading.fetch.pipeline import read_frame
from casesearch_pd.reading.frames.frame import FrameFormat
from casesearch_pd.reading.options import (
    NO_LOOKBACK,
    RESERVED_NAMES,
    Query,
    ReadOptions,
    bind_query,
)
from casesearch_pd.reading.output.parquet import write_parquet
from casesearch_pd.reading.plan import make_plan, plan_read
from casesearch_pd.reading.provenance import Provenance
from casesearch_pd.reading.recent_reads import ChunkedRead, remember_read
from casesearch_pd.sources.registry import require_source
from casesearch_pd.sources.transport.context import ReadContext, use_context

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.reading.frames.frame import DtypeBackend
    from casesearch_pd.reading.options import OnError
    from casesearch_pd.reading.progress import Progress
    from casesearch_pd.sources.base import Source

__all__ = [
    "count_cases",
    "explain_cases",
    "iter_cases",
    "list_fields",
    "read_cases",
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
    """Read all matching cases into one typed DataFrame.

    Parameters
    ----------
    source
        The source to read: `ConnectCases`, `PersonaCases`, a `Mirror`, …
    where
        An expression such as ``cs.field("priority") == "high"``, or a mapping of filters, for
        names that are no keywords: ``{"limit": 3}``. It is combined with the keywords by AND.
    search
        Text for the full-text search of the service (Amazon Connect).
    tags
        Tags that a case must have, all of them: a mapping on Amazon Connect, a list on Persona.
    columns
        The columns to read, by any of their names; None reads every active field.
    sort
        A column, ``"-column"`` for descending, or a list of these; missing values come last.
        None sorts by ``created_at`` and ``case_id``.
    limit
        The maximum number of rows: the first ones in that order.
    dtype_backend
        None, ``"numpy_nullable"`` or ``"pyarrow"``, as in `pandas.read_csv`.
    tz
        The time zone of naive times in filters, and of the times in the result.
    progress
        True or False; ``"auto"`` shows a bar in notebooks and terminals if the read takes a while.
    max_workers
        The maximum number of workers for a long result, each of which reads a window of
        ``created_at``. None uses as many as useful, at most 8: several only where the service
        is limited by its response time rather than by its rate limit.
    on_error
        ``"partial"`` returns, with a warning, what was read before an error. ``"raise"``, the
        default, raises it; a partial result is never returned otherwise.
    checkpoint
        A folder for the finished windows of the read. The same read with the same folder, even
        in another process, resumes where this one was killed; a read that completes removes
        them. Times relative to now count from the later read.
    timeout
        The maximum number of seconds for the whole call.
    lookback
        By how much the search may lag behind the writes: a `datetime.timedelta`, text such as
        ``"2min"``, or seconds; None for 5 minutes on Amazon Connect and 2 on Persona. A read of
        several scans (a split filter, several passes) ends by reading again what was updated
        since it began, less this time.
    **filters
        ``name=value`` or ``name__lookup=value``. A list matches any of its values, None matches
        missing values; the lookups are ``eq ne gt gte lt lte in isna between contains``.

    Returns
    -------
    pandas.DataFrame
        One row per case. ``df.cases.provenance`` describes what was read, when, and how
        completely.

    Raises
    ------
    FilterError
        If an argument is not allowed; nothing but discovery requests has been sent.
    ServiceError
        If the service does not respond, or not with cases.
    IncompleteReadError
        If the read fails after the first page; ``.partial`` holds the rows.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=500) as local:
    ...     df = cs.read_cases(local.connect_cases(), status="open", columns=["case_id", "status"])
    >>> sorted(df["status"].unique())
    ['open']
    """
    query = Query(
        where=where,
        filters=filters,
        search=search,
        tags=tags,
        columns=columns,
        sort=sort,
        limit=limit,
        tz=tz,
    )
    options = ReadOptions(
        frame_format=FrameFormat(tz, dtype_backend),
        progress=progress,
        max_workers=max_workers,
        on_error=on_error,
        checkpoint=checkpoint,
        timeout=timeout,
        lookback=lookback,
    )
    context = ReadContext.with_timeout(options.timeout)
    with use_context(context):
        plan = plan_read(source, query)
    frame = read_frame(plan, context, options)
    remember_read(frame, Provenance.from_attrs(frame))
    return frame


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
    """Read all matching cases in chunks, in bounded memory.

    Parameters
    ----------
    source, where, search, tags, columns, limit, dtype_backend, tz, progress, timeout, **filters
        As in `read_cases`.
    sort
        As in `read_cases`, if the service can sort by it.
    max_workers
        As in `read_cases`, but without effect: chunks come in order, from one worker.
    on_error
        ``"partial"`` ends the iteration with a warning at an error of the service; the
        provenance of the last chunk says that it is incomplete. ``"raise"`` raises the error,
        whose ``.partial`` holds the rows that are in no chunk.
    checkpoint
        As in `read_cases`. The same read resumed yields the saved rows first.
    lookback
        As in `read_cases`. A read that is resumed reads again what was updated among the saved
        rows since it first began, less this time.
    chunksize
        The maximum number of rows in a chunk.

    Returns
    -------
    Chunks
        An iterator of frames with the same columns and dtypes; one empty frame if no case
        matches. ``.total`` is the number of rows, or None; close it, or use ``with``.

    Raises
    ------
    FilterError
        If an argument is not allowed, or the service cannot sort as requested.
    IncompleteReadError
        If the read fails after the first page, or returns fewer cases than the service counts.

    Notes
    -----
    Chunks cannot be taken back, so this guarantees less than `read_cases`: what changes during
    the read is not read again. The List endpoint of Persona and a list of ids have no order;
    their rows are sorted in a temporary file before the first chunk.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=250) as local, cs.iter_cases(
    ...     local.persona_cases(), columns=["case_id"], chunksize=100
    ... ) as chunks:
    ...     [len(chunk) for chunk in chunks]
    [100, 100, 50]
    """
    query = Query(
        where=where,
        filters=filters,
        search=search,
        tags=tags,
        columns=columns,
        sort=sort,
        limit=limit,
        tz=tz,
    )
    options = ReadOptions(
        frame_format=FrameFormat(tz, dtype_backend),
        progress=progress,
        max_workers=max_workers,
        on_error=on_error,
        checkpoint=checkpoint,
        timeout=timeout,
        lookback=lookback,
        chunksize=chunksize,
    )
    context = ReadContext.with_timeout(options.timeout)
    with use_context(context):
        plan = make_plan(source, bind_query(source, query), streamed=True)
    return Chunks(plan, context, options, memory=ChunkedRead())


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
    """Write all matching cases to Parquet, in bounded memory.

    Parameters
    ----------
    source, where, search, tags, columns, sort, limit, dtype_backend, tz, progress, max_workers, \
    on_error, checkpoint, timeout, lookback, **filters
        As in `iter_cases`.
    path
        A file; or, if it is a folder or ends with a slash, a folder of part files, each with one
        schema, which also keep the fields of Persona's cases that no template lists, from where
        they first appear. Existing cases there are replaced at the end, when all are read.
    chunksize
        The maximum number of rows in a row group.

    Returns
    -------
    pathlib.Path
        The file or folder. `pandas.read_parquet` returns the frame that `read_cases` returns,
        with its provenance; except for lists, which Parquet returns as arrays, and nested
        values, which are JSON text.

    Raises
    ------
    FilterError
        If an argument is not allowed or the path cannot be written; nothing but discovery
        requests has been sent.
    CaseSearchError
        If the disk is full; the old file is intact, as after any other error.

    Examples
    --------
    >>> import tempfile, pandas as pd, casesearch_pd as cs
    >>> with tempfile.TemporaryDirectory() as folder, cs.LocalCases(cases=250) as local:
    ...     path = cs.to_parquet(local.connect_cases(), f"{folder}/open.parquet", status="open")
    ...     df = pd.read_parquet(path)
    >>> df["status"].unique().tolist(), df.cases.provenance["complete"]
    (['open'], True)
    """
    output = OutputPath.of(path)
    query = Query(
        where=where,
        filters=filters,
        search=search,
        tags=tags,
        columns=columns,
        sort=sort,
        limit=limit,
        tz=tz,
    )
    options = ReadOptions(
        frame_format=FrameFormat(tz, dtype_backend),
        progress=progress,
        max_workers=max_workers,
        on_error=on_error,
        checkpoint=checkpoint,
        timeout=timeout,
        lookback=lookback,
        chunksize=chunksize,
    )
    context = ReadContext.with_timeout(options.timeout)
    with use_context(context):
        plan = make_plan(source, bind_query(source, query), streamed=True)
    return write_parquet(plan, context, options, output)


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
    """Describe how `read_cases` would read; only discovery requests are sent.

    Parameters
    ----------
    source, where, search, tags, columns, sort, limit, tz, **filters
        As in `read_cases`; its options that change no request are accepted and have no effect.

    Returns
    -------
    Plan
        The exact requests (also as shell commands), what is filtered locally and why, passes
        and partitions. ``.count()`` asks the service what the read will cost.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=50) as local:
    ...     cs.explain_cases(local.connect_cases(), status="open", columns=["case_id"])
    Plan(connect: 1 partition, 1 pass; pushed: field('status') == 'open')
    """
    filters = {name: value for name, value in filters.items() if name not in RESERVED_NAMES}
    query = Query(
        where=where,
        filters=filters,
        search=search,
        tags=tags,
        columns=columns,
        sort=sort,
        limit=limit,
        tz=tz,
    )
    return Plan(make_plan(source, bind_query(source, query)))


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
    """Count the matching cases.

    Amazon Connect counts in one request if it can evaluate the whole filter; otherwise, and
    always on Persona, the ids are read.

    Parameters
    ----------
    source, where, search, tags, tz, timeout, **filters
        As in `read_cases`.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=50) as local:
    ...     cs.count_cases(local.connect_cases())
    50
    """
    query = Query(
        where=where, filters=filters, search=search, tags=tags, columns=["case_id"], tz=tz
    )
    context = ReadContext.with_timeout(timeout)
    with use_context(context):
        plan = make_plan(source, bind_query(source, query))
    if source.can_count and plan.pushdown.residual == TRUE:
        return sum(source.count(scan, context) for scan in plan.pass_scans(plan.passes[0]))
    return len(read_frame(plan, context, ReadOptions(FrameFormat(tz), lookback=NO_LOOKBACK)))


def list_fields(source: Source) -> pd.DataFrame:
    """Return the fields of a source, which can be filtered by and read.

    Returns
    -------
    pandas.DataFrame
        ``column, id, label, type, namespace, operators, options``: the last two hold lists,
        of the lookups that fit the type and of the option values.
    """
    require_source(source)
    fields = source.schema.fields
    texts = ("column", "id", "label", "type", "namespace")
    lists = {
        "operators": [list(lookups_for(item.type)) for item in fields],
        "options": [[option.value for option in item.options] for item in fields],
    }
    return pd.DataFrame(
        {name: pd.Series([getattr(item, name) for item in fields], dtype="str") for name in texts}
        | {name: pd.Series(cells, dtype=object) for name, cells in lists.items()}
    )
