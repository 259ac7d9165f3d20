"""Read cases as a dask DataFrame: the partitions of one plan, each read where its task runs.

The graph contains the description of a source, never its client or credentials: a task uses the
source of its own process, or creates it with the credentials of its environment. Within a process
all tasks share one rate limiter; processes share the rate by dividing it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from casesearch_pd.errors import FilterError, warn
from casesearch_pd.query.expressions import all_of
from casesearch_pd.reading.distributed.partitions import plan_partitions
from casesearch_pd.reading.fetch.batches import with_fixed_type
from casesearch_pd.reading.fetch.pipeline import read_frame
from casesearch_pd.reading.frames.arrow_tables import empty_frame
from casesearch_pd.reading.frames.frame import FrameFormat
from casesearch_pd.reading.options import Query, ReadOptions, bind_query, check_positive
from casesearch_pd.reading.plan import make_plan
from casesearch_pd.sources.registry import remember_source, require_recreatable, resolve_source
from casesearch_pd.sources.transport.context import ReadContext, use_context

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence
    from datetime import timedelta

    import pandas as pd
    from dask.dataframe import DataFrame

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Schema
    from casesearch_pd.reading.fetch.windows import TimeWindow
    from casesearch_pd.reading.frames.frame import DtypeBackend
    from casesearch_pd.reading.options import BoundQuery
    from casesearch_pd.sources.base import Source

__all__ = ["to_dask"]


def to_dask(
    source: Source,
    where: Expression | Mapping[str, object] | None = None,
    *,
    search: str | None = None,
    tags: Mapping[str, str] | Iterable[str] | str | None = None,
    columns: Sequence[str] | None = None,
    dtype_backend: DtypeBackend = None,
    tz: str = "UTC",
    timeout: float | None = None,
    lookback: timedelta | str | float | None = None,
    npartitions: int | None = None,
    n_workers: int | None = None,
    **filters: object,
) -> DataFrame:
    """Read all matching cases as a dask DataFrame, in partitions.

    Parameters
    ----------
    source
        `ConnectCases`, `PersonaCases`, or a `Mirror` whose file the workers can open.
    where, search, tags, columns, dtype_backend, tz, lookback, **filters
        As in `read_cases`. Times relative to now count from the call.
    timeout
        The maximum number of seconds for the planning, and for each partition.
    npartitions
        The number of partitions; None for partitions of about 50,000 cases, smaller ones where
        several workers would have none.
    n_workers
        How many processes read at a time, each of which uses its share of the rate. None counts
        the workers of the current `distributed.Client`, or assumes that this process is the
        only one; pass it for ``scheduler="processes"``, and for a cluster that grows.

    Returns
    -------
    dask.dataframe.DataFrame
        One row per case, with the columns and dtypes of `read_cases` in every partition, in no
        particular order and with unknown divisions. Only the planning has sent requests.

    Raises
    ------
    FilterError
        If an argument is not allowed, or if a worker could not recreate the source: one of your
        own class, or at an address to which credentials are not sent unless you pass the source.
    ServiceError
        If the service does not respond.
    ImportError
        If dask is not installed.

    Notes
    -----
    A partition is a half-open window of ``created_at``. All end before the clock of the service at
    the time of planning, so what is created later is in none of them, whenever they are read.

    Planning costs requests. Amazon Connect counts: two requests, and about one for each
    partition. On Persona, 10 to 50 requests sample how densely cases were created at several
    times (fewer times, part by part, if the filter has to be split), and the windows are cut
    accordingly; pass `npartitions` if some are too large. A filter that cannot be combined with
    a window (ids of cases, ``fresh=True``) is one partition.

    Each partition is read as `read_cases` reads, with the same guarantees. Only the columns that
    are needed are requested: ``ddf["status"].value_counts()`` reads one field. Filters written on
    the dask DataFrame are not pushed; pass them here. ``head()`` reads one whole partition: for a
    first look use ``read_cases(limit=…)``, and for a number `count_cases`.

    Workers need this package, and credentials in their own environment: none are in the graph,
    its dashboard or its logs. Partitions of a lost worker are read again by another; an error
    ends the computation, unless it has ``retries=``. Fields that first appear on a later page
    of Persona are named in a warning and left out.

    For files, `to_parquet` into a folder is the shorter way, which Dask, Spark and others read.
    Dask's own ``to_parquet`` cannot infer the type of lists: pass a ``schema=``, or leave them
    out.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=500) as local:
    ...     ddf = cs.to_dask(local.connect_cases(), columns=["status"], npartitions=4)
    ...     ddf.npartitions, len(ddf.compute(scheduler="synchronous"))
    (4, 500)
    """
    dask, dd = _import_dask()
    check_positive("n_workers", n_workers)
    check_positive("npartitions", npartitions)
    processes = n_workers or _count_processes()
    query = Query(where=where, filters=filters, search=search, tags=tags, columns=columns, tz=tz)
    options = ReadOptions(
        frame_format=FrameFormat(tz, dtype_backend),
        progress=False,
        timeout=timeout,
        lookback=lookback,
    )
    context = ReadContext.with_timeout(options.timeout)
    with use_context(context):
        bound_query = bind_query(source, query)
    reader = _PartitionReader(
        description=_describe(source),
        schema=source.schema,
        query=bound_query,
        options=options,
        rate=source.rate / processes,
        source=source,
    )
    remember_source(source)
    plan = make_plan(source, bound_query)
    windows = plan_partitions(plan, context, npartitions=npartitions, n_workers=processes)
    # Dask's own conversion would turn the lists of a column into text.
    with dask.config.set({"dataframe.convert-string": False}):
        frame: DataFrame = dd.from_map(
            reader, windows, meta=reader.empty_frame(bound_query), label="read-cases"
        )
    return frame


def _import_dask() -> tuple[Any, Any]:
    try:
        import dask  # noqa: PLC0415 - an extra, and needed by nothing else
        import dask.dataframe as dd  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            "to_dask needs dask, which is not installed; add it with "
            "pip install 'casesearch_pd[dask]', or use iter_cases"
        ) from error
    return dask, dd


def _describe(source: Source) -> dict[str, Any]:
    """Return the description from which a worker recreates the source, if it can."""
    description = source.describe()
    try:
        require_recreatable(description)
    except FilterError as error:
        raise FilterError(
            f"a worker cannot recreate {source!r}, because credentials are only sent to the "
            "services' own addresses and to the worker's own machine; use read_cases, or "
            "to_parquet and dask.dataframe.read_parquet"
        ) from error
    return description


def _count_processes() -> int:
    """Return how many processes of the current cluster read; threads of one share its rate."""
    client = _current_client()
    if client is None:
        return 1
    return max(1, sum(not name.startswith("inproc:") for name in client.nthreads()))


def _current_client() -> Any:
    # A program that has a client has imported distributed already.
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client  # noqa: PLC0415 - an extra

    try:
        return default_client()  # type: ignore[no-untyped-call] # so is most of distributed
    except ValueError:
        return None


@dataclass(frozen=True, repr=False)
class _PartitionReader:
    """The function that reads one partition; without a client or a secret when pickled."""

    description: dict[str, Any]  # of the source
    schema: Schema  # so that no worker discovers it again, and all partitions have the same
    query: BoundQuery
    options: ReadOptions
    rate: float  # requests per second of one process
    source: Source | None  # stays in this process
    # Two reads of one query each have a bound and a source of their own.
    key: str = field(default_factory=lambda: uuid4().hex)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the source."""
        return {**self.__dict__, "source": None}

    def __dask_tokenize__(self) -> str:
        """Return the name of the read in the keys of its tasks."""
        return self.key

    def __repr__(self) -> str:
        return f"read_cases({self.description['service']})"

    def __call__(self, window: TimeWindow, columns: Sequence[str]) -> pd.DataFrame:
        """Read the columns of one window; dask passes those that are needed."""
        source = self.source or _worker_source(self)
        query = self._partition_query(window, columns)
        frame = read_frame(
            make_plan(source, query, quiet=True),
            ReadContext.with_timeout(self.options.timeout),
            self.options,
        )
        empty = self.empty_frame(query)
        _warn_of_new_fields({*frame} - {*empty})
        # Without a schema the cells of a partition decide a type, but all must have the same.
        differing = {name: to for name, to in empty.dtypes.items() if frame[name].dtype != to}
        return frame.astype(differing)[list(columns)]

    def _partition_query(self, window: TimeWindow, columns: Sequence[str]) -> BoundQuery:
        query, by_name = self.query, {item.column: item for item in self.query.columns}
        fields = [by_name[name] for name in columns] or [self.schema.resolve("case_id")]
        created_at = self.schema.resolve("created_at")
        return replace(
            query,
            filter=all_of([query.filter, window.where("created_at")]),
            where=all_of([query.where, window.where(created_at)]),
            columns=tuple(with_fixed_type(item) for item in fields),
            all_columns=query.all_columns and len(columns) == len(by_name),
        )

    def empty_frame(self, query: BoundQuery) -> pd.DataFrame:
        """Return the frame of a query without rows."""
        fields = [with_fixed_type(item) for item in query.columns]
        return empty_frame(fields, self.options.frame_format)


_sources: dict[str, Source] = {}  # created in this process, by the key of the read
_sources_lock = Lock()
_MAX_SOURCES = 8


def _worker_source(reader: _PartitionReader) -> Source:
    """Return the source in this process; create it with the credentials of the environment."""
    with _sources_lock:
        if reader.key not in _sources:
            _sources[reader.key] = resolve_source(
                reader.description,
                schema=reader.schema,
                rate=reader.rate,
                trusts_loopback=True,  # the user made the graph
            )
        if len(_sources) > _MAX_SOURCES:
            _sources.pop(next(iter(_sources)))
        return _sources[reader.key]


def _warn_of_new_fields(columns: set[Hashable]) -> None:
    """Warn of fields without a column, where the user sees it and not only in a worker's log."""
    if not columns:
        return
    names = ", ".join(sorted(map(str, columns)))
    message = f"fields that no template lists are left out: {names}; name them in columns="
    if "distributed" not in sys.modules:
        warn(message)
        return
    from distributed import warn as warn_everywhere  # noqa: PLC0415 - an extra

    warn_everywhere(message)
