"""A question in, a dask DataFrame out: the partitions of one plan, each read where it runs.

The graph holds what a source is, never what opens it: a task finds the source of its own
session, or makes it with the credentials of the environment that it runs in. Within a process
all tasks share one request budget; processes share the rate by dividing it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from casesearch_pd.errors import FilterError, warn
from casesearch_pd.query.expressions import all_of
from casesearch_pd.reading.distributed.partitions import Partition, partitions
from casesearch_pd.reading.fetch.pipeline import read_frame
from casesearch_pd.reading.fetch.stream import with_settled_type
from casesearch_pd.reading.frames.columns import Columns
from casesearch_pd.reading.frames.frame import FrameFormat, build_frame
from casesearch_pd.reading.plan import build_query, make_plan, parse_lookback
from casesearch_pd.sources.registry import remember_source, require_recreatable, resolve_source
from casesearch_pd.sources.transport.context import ReadContext

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence
    from datetime import timedelta

    import pandas as pd
    from dask.dataframe import DataFrame

    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Schema
    from casesearch_pd.reading.frames.frame import DtypeBackend
    from casesearch_pd.reading.plan import Query
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
    """Plan a read of all cases that match as a dask DataFrame.

    Parameters
    ----------
    source
        `ConnectCases`, `PersonaCases`, or a `Mirror` whose file the workers can open.
    where, search, tags, columns, dtype_backend, tz, lookback, **filters
        As in `read_cases`. Times relative to now count from the call.
    timeout
        Seconds that the planning may take, and each partition.
    npartitions
        How many partitions; None for partitions of about 50,000 cases, fewer where several
        workers would have none.
    n_workers
        How many processes read at a time, each of which keeps to its share of the rate. None
        counts the workers of the current `distributed.Client`, or takes this process for the
        only one; name it for ``scheduler="processes"``, and for a cluster that grows.

    Returns
    -------
    dask.dataframe.DataFrame
        One row a case, with the columns and dtypes of `read_cases` in every partition, in no
        order and with unknown divisions. Nothing but the planning has been read.

    Raises
    ------
    FilterError
        If the question cannot be asked, or if a worker could not make the source by itself: one
        of your own making, or at an address that credentials do not go to unasked.
    ServiceError
        If the service does not answer.
    ImportError
        If dask is not installed.

    Notes
    -----
    A partition is a half-open window of ``created_at``. All end before the service's clock at
    the planning, so what is created later is in none of them, whenever they are read.

    Planning costs requests. Amazon Connect counts: two requests, and about one for each
    partition. Persona does not: 10 to 50 requests look at the ends and at places between for how
    densely cases were created (at fewer places, part by part, if the filter has to be split), and
    the windows are cut by that; name `npartitions` if some come out too large. A filter that
    leaves no room for a window (ids of cases, ``fresh=True``) is one partition.

    Each partition is read as `read_cases` reads, with everything that it proves. Columns that
    are not needed are not asked for: ``ddf["status"].value_counts()`` reads one field. Filters
    written on the dask DataFrame are not sent; give them here. ``head()`` reads one whole
    partition: for a look, take ``read_cases(limit=…)``, and for a number, `count_cases`.

    Workers need this package, and credentials in their own environment: none are in the graph,
    its dashboard or its logs. Partitions of a worker that is lost are read again by another; an
    error ends the computation, unless it has ``retries=``. Fields that only a later page of
    Persona shows are named in a warning and left out.

    For files, `to_parquet` into a folder is the shorter way, which Dask, Spark and others read.
    Dask's own ``to_parquet`` cannot guess the type of lists: give it a ``schema=``, or leave them
    out.

    Examples
    --------
    >>> import casesearch_pd as cs
    >>> with cs.LocalCases(cases=500) as local:
    ...     ddf = cs.to_dask(local.connect_cases(), columns=["status"], npartitions=4)
    ...     ddf.npartitions, len(ddf.compute(scheduler="synchronous"))
    (4, 500)
    """
    dask, dd = _dask()
    processes = _processes(_positive(n_workers, "n_workers"))
    number = _positive(npartitions, "npartitions")
    question = build_query(source, where, filters, search=search, tags=tags, columns=columns, tz=tz)
    reader = _Reader(
        told=_told(source),
        schema=source.schema,
        question=question,
        look=FrameFormat(tz, dtype_backend),
        timeout=timeout,
        lookback=parse_lookback(source, lookback),
        rate=source.rate / processes,
        source=source,
    )
    remember_source(source)
    run = ReadContext.with_timeout(timeout)
    windows = partitions(make_plan(source, question), run, number=number, readers=processes)
    # Dask's own conversion would turn the lists of a column into text.
    with dask.config.set({"dataframe.convert-string": False}):
        made: DataFrame = dd.from_map(
            reader, windows, meta=reader.empty(question), label="read-cases"
        )
    return made


def _dask() -> tuple[Any, Any]:
    try:
        import dask  # noqa: PLC0415 - an extra, and needed by nothing else
        import dask.dataframe as dd  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            "to_dask needs dask, which is not installed; add it with "
            "pip install 'casesearch_pd[dask]', or use iter_cases"
        ) from error
    return dask, dd


def _positive(number: int | None, option: str) -> int | None:
    whole = isinstance(number, int) and not isinstance(number, bool)
    if number is not None and not (whole and number >= 1):
        raise FilterError(f"{option}={number!r} reads nothing; write 1 or more, or None")
    return number


def _told(source: Source) -> dict[str, Any]:
    """Tell what a worker makes the source from; refuse one that it could not make."""
    told = source.describe()
    try:
        require_recreatable(told)
    except FilterError as error:
        raise FilterError(
            f"a worker could not make {source!r} by itself, because credentials only go to the "
            "services' own addresses and to its own machine; use read_cases, or to_parquet and "
            "dask.dataframe.read_parquet"
        ) from error
    return told


def _processes(given: int | None) -> int:
    """Tell how many processes will read: threads of one share its request budget."""
    client = None if given is not None else _client()
    if client is None:
        return given or 1
    return max(1, sum(not name.startswith("inproc:") for name in client.nthreads()))


def _client() -> Any:
    """Find the cluster that dask would compute on."""
    if "distributed" not in sys.modules:  # nobody has a client who did not import it
        return None
    from distributed import default_client  # noqa: PLC0415 - an extra

    try:
        return default_client()  # type: ignore[no-untyped-call] # so is most of distributed
    except ValueError:
        return None


@dataclass(frozen=True, repr=False)
class _Reader:
    """Reads one partition, wherever it is called; without a client or a secret when pickled.

    Parameters
    ----------
    told
        What the source says of itself.
    schema
        Its fields, so that nobody discovers them again, and all partitions have the same.
    question
        What is asked, bound to them once.
    look, timeout, lookback
        How it is read.
    rate
        Requests a second that one process may send.
    source
        The source itself; stays in this process.
    key
        Tells two reads apart: of one question, each has a bound and a source of its own.
    """

    told: dict[str, Any]
    schema: Schema
    question: Query
    look: FrameFormat
    timeout: float | None
    lookback: pd.Timedelta
    rate: float
    source: Source | None
    key: str = field(default_factory=lambda: uuid4().hex)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the source behind."""
        return {**self.__dict__, "source": None}

    def __dask_tokenize__(self) -> str:
        """Name the read in the keys of its tasks."""
        return self.key

    def __repr__(self) -> str:
        return f"read_cases({self.told['service']})"

    def __call__(self, window: Partition, columns: Sequence[str]) -> pd.DataFrame:
        """Read the columns of one window; dask names those that are needed."""
        source = self.source or _at_hand(self)
        question = self._narrowed(window, columns)
        frame = read_frame(
            make_plan(source, question, quiet=True),
            ReadContext.with_timeout(self.timeout),
            self.look,
            progress=False,
            lookback=self.lookback,
        )
        whole = self.empty(question)
        _tell_late({*frame} - {*whole})
        # Without a schema, the cells of a partition decide a type: all must have the same.
        odd = {name: kind for name, kind in whole.dtypes.items() if frame[name].dtype != kind}
        return frame.astype(odd)[list(columns)]

    def _narrowed(self, window: Partition, columns: Sequence[str]) -> Query:
        """Ask for some columns of one window."""
        query, known = self.question, {item.column: item for item in self.question.columns}
        wanted = [known[name] for name in columns] or [self.schema.resolve("case_id")]
        created = self.schema.resolve("created_at")
        return replace(
            query,
            filter=all_of([query.filter, window.where("created_at")]),
            where=all_of([query.where, window.where(created)]),
            columns=tuple(with_settled_type(item) for item in wanted),
            all_columns=query.all_columns and len(columns) == len(known),
        )

    def empty(self, question: Query) -> pd.DataFrame:
        """Build the frame of a question without its rows."""
        columns, _ = Columns([with_settled_type(item) for item in question.columns]).finish()
        return build_frame(columns, tz=self.look.tz, backend=self.look.dtype_backend)


_MADE: dict[str, Source] = {}  # what this process made, by read; the last few
_MADE_LOCK = Lock()
_KEPT = 8


def _at_hand(reader: _Reader) -> Source:
    """Find the source in this process, or make it from what the environment has."""
    with _MADE_LOCK:
        if reader.key not in _MADE:
            _MADE[reader.key] = resolve_source(reader.told, schema=reader.schema, rate=reader.rate)
        if len(_MADE) > _KEPT:
            _MADE.pop(next(iter(_MADE)))
        return _MADE[reader.key]


def _tell_late(columns: set[Hashable]) -> None:
    """Warn of fields that have no column, where the user sees it and not only a worker's log."""
    if not columns:
        return
    late = ", ".join(sorted(map(str, columns)))
    said = f"fields that no template told are left out: {late}; name them in columns="
    if "distributed" not in sys.modules:
        warn(said)
        return
    from distributed import warn as warn_everywhere  # noqa: PLC0415 - an extra

    warn_everywhere(said)
