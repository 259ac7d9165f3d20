"""`Mirror`: a file of cases that is read like its service, in milliseconds and offline."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from casesearch_pd.errors import FilterError
from casesearch_pd.mirror.metadata import read_history
from casesearch_pd.mirror.select import build_select, count_rows, run_sql, select_rows
from casesearch_pd.mirror.storage import open_mirror_file, read_metadata, read_metadata_if_exists
from casesearch_pd.mirror.sync import SyncRequest, run_sync
from casesearch_pd.query.expressions import TRUE, all_of, comparisons
from casesearch_pd.query.pushdown import Pushdown, PushdownSupport
from casesearch_pd.reading.atomic import expand
from casesearch_pd.reading.options import Query, ReadOptions
from casesearch_pd.sources.base import Page, Request, Scan

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    import pandas as pd

    from casesearch_pd.mirror.metadata import Sync
    from casesearch_pd.query.expressions import Compare, Expression
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.progress import Progress
    from casesearch_pd.sources.base import Source
    from casesearch_pd.sources.traits import ServiceTraits
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["Mirror"]


@dataclass(frozen=True, repr=False)
class Mirror:
    """A copy of a service's cases in a DuckDB file, which is read like the service itself.

    Parameters
    ----------
    path
        The file; the first `sync` creates it.
    """

    path: str | os.PathLike[str]

    name: ClassVar[str] = "mirror"
    can_count: ClassVar[bool] = True
    can_search: ClassVar[bool] = False
    page_size: ClassVar[int] = 10_000
    rate: ClassVar[float] = math.inf
    burst: ClassVar[float] = math.inf
    lookback: ClassVar[float] = 0.0
    max_sorts: ClassVar[int] = 1_000

    def __post_init__(self) -> None:
        """Make the path absolute, so that it stays the same file if the process changes folders."""
        object.__setattr__(self, "path", Path(expand(self.path)).absolute())

    def __repr__(self) -> str:
        return f"Mirror({str(self.path)!r})"

    @property
    def _file(self) -> Path:
        return Path(self.path)

    def sync(
        self,
        source: Source | None = None,
        where: Expression | Mapping[str, object] | None = None,
        *,
        tags: Mapping[str, str] | Iterable[str] | str | None = None,
        columns: Sequence[str] | None = None,
        tz: str = "UTC",
        verify: bool = False,
        progress: Progress = "auto",
        max_workers: int | None = None,
        timeout: float | None = None,
        lookback: timedelta | str | float | None = None,
        **filters: object,
    ) -> Sync:
        """Update the mirror: read all matching cases the first time, and later what changed.

        Parameters
        ----------
        source
            The service; None for that of the last sync, with the credentials of the environment.
        where, tags, columns, tz, **filters
            As in `read_cases`, in the first sync; later syncs keep them, and refuse different ones.
        verify
            Whether to look for cases that were deleted or missed, which an increment cannot
            detect: by the counts of windows of ``created_at`` if the service counts, else by all
            ids.
        progress, max_workers, timeout, lookback
            As in `read_cases`. A sync reads what was updated since the start of the last one, by
            the service's clock, minus the lookback.

        Returns
        -------
        Sync
            Its number, its kind, and how many cases were added, changed and removed.

        Raises
        ------
        FilterError
            If the mirror has the cases of another source or query, or cannot be written.
        CaseSearchError
            If another process is writing the mirror, the disk is full, or the read fails. The
            mirror is unchanged then; a first sync is resumed by the next call.

        Examples
        --------
        >>> import tempfile, casesearch_pd as cs
        >>> with tempfile.TemporaryDirectory() as folder, cs.LocalCases(cases=250) as local:
        ...     mirror = cs.Mirror(f"{folder}/cases.duckdb")
        ...     first = mirror.sync(local.connect_cases(), status="open")
        ...     df = cs.read_cases(mirror, priority="high", columns=["case_id", "status"])
        >>> first.kind, first.rows == first.added, df["status"].unique().tolist()
        ('full', True, ['open'])
        """
        request = SyncRequest(
            Query(where=where, filters=filters, tags=tags, columns=columns, tz=tz),
            ReadOptions(
                progress=progress, max_workers=max_workers, timeout=timeout, lookback=lookback
            ),
            verify=verify,
        )
        return run_sync(self._file, source, request)

    def history(self) -> pd.DataFrame:
        """Return one row per sync, with the attributes of `Sync` as columns."""
        with open_mirror_file(self._file) as mirror:
            return read_history(mirror.connection)

    def sql(self, query: str, parameters: Sequence[object] = ()) -> pd.DataFrame:
        """Return the result of a query in DuckDB's SQL.

        Parameters
        ----------
        query
            One statement that only reads. The tables are ``cases``, ``fields`` (the name of each
            column with the service's id and label), ``options`` (the options of selects; cases
            hold their values) and ``syncs``; ``casefold(text)`` removes letter case.
        parameters
            The values of the question marks.

        Raises
        ------
        FilterError
            If it is not one valid statement that only reads.

        Examples
        --------
        >>> import tempfile, casesearch_pd as cs
        >>> with tempfile.TemporaryDirectory() as folder, cs.LocalCases(cases=250) as local:
        ...     mirror = cs.Mirror(f"{folder}/cases.duckdb")
        ...     _ = mirror.sync(local.persona_cases())
        ...     df = mirror.sql("SELECT status, count(*) AS cases FROM cases GROUP BY status")
        >>> int(df["cases"].sum())
        250
        """
        with open_mirror_file(self._file) as mirror:
            return run_sql(mirror.connection, query, parameters)

    @property
    def schema(self) -> Schema:
        """The fields, as they were at the last sync."""
        return read_metadata(self._file).schema

    @property
    def traits(self) -> ServiceTraits:
        """The traits of the mirrored service."""
        return read_metadata(self._file).traits

    @property
    def as_of(self) -> pd.Timestamp:
        """The service's clock at the start of the last sync."""
        return read_metadata(self._file).synced_at

    def describe(self) -> dict[str, Any]:
        """Return the path, and the description of the mirrored source if the file exists."""
        metadata = read_metadata_if_exists(self._file)
        origin = None if metadata is None else metadata.source
        return {"service": "mirror", "path": str(self.path), "of": origin}

    def pushdown_support(self, comparison: Compare) -> PushdownSupport:
        """Return ``"remote_only"`` for values that only the service has, else ``"exact"``."""
        target, value = comparison.target, comparison.value
        prefix = target.remote_only
        hidden = isinstance(value, str) and prefix and value.startswith(prefix)
        return "remote_only" if hidden or not target.visible else "exact"

    def push_down(self, where: Expression) -> Pushdown:
        """Return the whole filter as pushed.

        Raises
        ------
        FilterError
            If only the service can evaluate it.
        """
        for comparison in comparisons(where):
            if self.pushdown_support(comparison) == "remote_only":
                raise FilterError(
                    f"{comparison!r} tests a value that the service never returns, so a mirror "
                    f"does not have it; query the service, read_cases(source, "
                    f"{comparison.target.column}=…), or filter by a value that is in the cases"
                )
        return Pushdown((where,), TRUE)

    def with_bound(self, where: Expression, bound: Expression) -> Expression:
        """Return a filter combined with a bound."""
        return all_of([where, bound])

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Return all fields as one batch."""
        return [fields]

    def can_sort_by(self, field: Field) -> bool:
        """Return whether the mirror has values to sort by."""
        return field.visible

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Return the SQL of one page."""
        statement = build_select(read_metadata(self._file), scan, offset=int(cursor or 0))
        parameters = [_json_value(value) for value in statement.parameters]
        return Request("SQL", str(self.path), {"sql": statement.sql, "parameters": parameters})

    def command(self, request: Request) -> str:
        """Return a shell command that runs the SQL of a request."""
        body = request.body or {}
        code = (
            "import casesearch_pd as cs; "
            f"print(cs.Mirror({request.path!r}).sql({body['sql']!r}, {body['parameters']!r}))"
        )
        return f"python -c {shlex.quote(code)}"

    def read_page(self, scan: Scan, cursor: str | None, context: ReadContext) -> Page:
        """Read one page of plain values, for readers that need pages; `read_batches` is faster."""
        start = int(cursor or 0)
        scan = Scan(scan.where, scan.fields, scan.sort, limit=self.page_size)
        with open_mirror_file(self._file) as mirror:
            (columns,) = select_rows(mirror, scan, None, offset=start)
            as_of = mirror.metadata.synced_at
        values = {name: _plain_values(cells) for name, cells in columns.items()}
        rows = len(next(iter(values.values()), []))
        total = self.count(scan, context) if start == 0 else None
        next_cursor = str(start + rows) if rows == self.page_size else None
        return Page(rows, values, next_cursor, total, as_of)

    def count(self, scan: Scan, context: ReadContext) -> int:  # noqa: ARG002 - it sends no request
        """Return the number of cases that match a scan."""
        with open_mirror_file(self._file) as mirror:
            return count_rows(mirror, scan)

    def read_batches(self, scan: Scan, size: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the columns of all rows of a scan, at most `size` rows at a time."""
        with open_mirror_file(self._file) as mirror:
            yield from select_rows(mirror, scan, size)


def _plain_values(cells: pa.ChunkedArray | list[Any]) -> list[Any]:
    """Return cells as the plain values of a `Page`, with times as ISO 8601 text."""
    if isinstance(cells, list):
        return cells
    values: list[Any] = (
        cells.cast(pa.string()) if pa.types.is_timestamp(cells.type) else cells
    ).to_pylist()
    return values


def _json_value(value: Any) -> Any:
    """Return a parameter as JSON can hold it."""
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
