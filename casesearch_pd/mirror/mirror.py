"""`Mirror`: a file of cases that answers as their service does, in milliseconds and offline."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from casesearch_pd.errors import FilterError
from casesearch_pd.mirror.metadata import history
from casesearch_pd.mirror.select import build_select, count_rows, run_sql, select_rows
from casesearch_pd.mirror.storage import open_mirror_file, peek, read_metadata
from casesearch_pd.mirror.sync import SyncRequest, run_sync
from casesearch_pd.query.expressions import all_of, literals
from casesearch_pd.query.pushdown import Pushdown, PushdownSupport
from casesearch_pd.sources.base import Page, Request, Scan

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    import pandas as pd

    from casesearch_pd.mirror.metadata import Sync
    from casesearch_pd.query.expressions import Compare, Expression
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.fetch.progress import Progress
    from casesearch_pd.sources.base import Source
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["Mirror"]


@dataclass(frozen=True, repr=False)
class Mirror:
    """A copy of a service's cases in a DuckDB file, to be read as the service itself.

    Parameters
    ----------
    path
        The file; the first `sync` makes it.
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
        """Mean the same file wherever this process may go."""
        object.__setattr__(self, "path", Path(self.path).expanduser().absolute())

    def __repr__(self) -> str:
        return f"Mirror({str(self.path)!r})"

    @property
    def _file(self) -> Path:
        return Path(self.path)

    # --- a mirror ---

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
        """Bring the mirror up to date: the first time all cases that match, later what changed.

        Parameters
        ----------
        source
            The service; None for the one of the last sync, with the environment's credentials.
        where, tags, columns, tz, **filters
            As in `read_cases`, at the first sync; later ones keep to them, and refuse others.
        verify
            Whether to look for cases that were deleted or missed, which updates do not tell: by
            the counts of windows of ``created_at`` where the service counts, else by all ids.
        progress, max_workers, timeout, lookback
            As in `read_cases`. A sync asks for what was updated since the last one began, by the
            service's clock, less the lookback.

        Returns
        -------
        Sync
            What it did.

        Raises
        ------
        FilterError
            If the mirror holds other cases than are asked for, or cannot be written there.
        CaseSearchError
            If another process is writing it, the disk is full, or the source ends the read; the
            mirror is as it was. A first sync that broke off is gone on with by the next.

        Examples
        --------
        >>> import tempfile, casesearch_pd as cs
        >>> with tempfile.TemporaryDirectory() as folder, cs.LocalCases(cases=250) as local:
        ...     mirror = cs.Mirror(f"{folder}/cases.duckdb")
        ...     first = mirror.sync(local.connect_cases(), status="open")
        ...     df = cs.read_cases(mirror, priority="high", columns=["case_id", "status"])
        >>> first.kind, first.rows == first.added, df["status"].unique().tolist()
        ('first', True, ['open'])
        """
        wish = SyncRequest(
            where=where,
            filters=filters,
            tags=tags,
            columns=columns,
            tz=tz,
            verify=verify,
            progress=progress,
            max_workers=max_workers,
            timeout=timeout,
            lookback=lookback,
        )
        return run_sync(self._file, source, wish)

    def history(self) -> pd.DataFrame:
        """Tell what each sync did, one row a sync, in the columns of `Sync`."""
        with open_mirror_file(self._file) as mirror:
            return history(mirror.connection)

    def sql(self, query: str, parameters: Sequence[object] = ()) -> pd.DataFrame:
        """Ask in SQL, as DuckDB speaks it.

        Parameters
        ----------
        query
            One statement that reads. The tables are ``cases``, ``fields`` (the name of each
            column with the service's id and label), ``options`` (the choices of selects: what
            cases hold is their value) and ``syncs``; ``casefold(text)`` takes letter case off.
        parameters
            What stands for the question marks.

        Raises
        ------
        FilterError
            If it is no statement, or not one that only reads.

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

    # --- a source ---

    @property
    def schema(self) -> Schema:
        """The fields, as they were at the last sync."""
        return read_metadata(self._file).schema

    @property
    def as_of(self) -> pd.Timestamp:
        """The service's clock when the last sync began."""
        return read_metadata(self._file).moment

    def describe(self) -> dict[str, Any]:
        """Name the file, and the source that it mirrors, if it is there."""
        about = peek(self._file)
        of = None if about is None else about.source
        return {"service": "mirror", "path": str(self.path), "of": of}

    def pushdown_support(self, literal: Compare) -> PushdownSupport:
        """Say whether a comparison can be made: not where only the service sees the value."""
        target, value = literal.target, literal.value
        hidden = (
            isinstance(value, str) and target.remote_only and value.startswith(target.remote_only)
        )
        return "remote_only" if hidden or not target.visible else "exact"

    def push_down(self, where: Expression) -> Pushdown:
        """Take the whole filter.

        Raises
        ------
        FilterError
            If only the service could tell.
        """
        unseen = next(
            (one for one in literals(where) if self.pushdown_support(one) == "remote_only"), None
        )
        if unseen is not None:
            column = unseen.target.column
            raise FilterError(
                f"{unseen!r} can be asked of the service but is never shown, so no mirror holds "
                f"it; ask there, read_cases(source, {column}=…), or filter by what cells show"
            )
        return Pushdown((where,), all_of(()))

    def with_bound(self, where: Expression, bound: Expression) -> Expression:
        """Join a bound to a filter."""
        return all_of([where, bound])

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Bring all fields home at once."""
        return [fields]

    def can_sort_by(self, field: Field) -> bool:
        """Sort by any field that has an order."""
        return field.visible

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Write the SQL."""
        asked = build_select(read_metadata(self._file), scan, offset=int(cursor or 0))
        values = [_plain_value(value) for value in asked.parameters]
        return Request("SQL", str(self.path), {"sql": asked.sql, "parameters": values})

    def command(self, request: Request) -> str:
        """Write the question as a shell command."""
        body = request.body or {}
        code = (
            "import casesearch_pd as cs; "
            f"print(cs.Mirror({request.path!r}).sql({body['sql']!r}, {body['parameters']!r}))"
        )
        return f"python -c {shlex.quote(code)}"

    def page(self, scan: Scan, cursor: str | None, run: ReadContext) -> Page:
        """Answer one page of plain values, for who reads by pages; `read_batches` is far quicker."""
        start = int(cursor or 0)
        scan = Scan(scan.where, scan.fields, scan.sort, limit=self.page_size)
        with open_mirror_file(self._file) as mirror:
            (columns,) = select_rows(mirror, scan, None, offset=start)
            as_of = mirror.about.moment
        plain = {name: _plain(cells) for name, cells in columns.items()}
        rows = len(next(iter(plain.values()), []))
        total = self.count(scan, run) if start == 0 else None
        more = str(start + rows) if rows == self.page_size else None
        return Page(rows, plain, more, total, as_of)

    def count(self, scan: Scan, run: ReadContext) -> int:  # noqa: ARG002 - a count that sends nothing
        """Count what a scan finds."""
        with open_mirror_file(self._file) as mirror:
            asked = count_rows(mirror.about, scan)
            found = mirror.connection.execute(asked.sql, asked.parameters).fetchone()
        assert found is not None, "a count has a row"
        return int(found[0])

    def read_batches(self, scan: Scan, size: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the columns of all rows of a scan, so many rows at a time."""
        with open_mirror_file(self._file) as mirror:
            yield from select_rows(mirror, scan, size)


def _plain(cells: pa.ChunkedArray | list[Any]) -> list[Any]:
    if isinstance(cells, list):
        return cells
    timed = pa.types.is_timestamp(cells.type)
    plain: list[Any] = (cells.cast(pa.string()) if timed else cells).to_pylist()
    return plain


def _plain_value(value: Any) -> Any:
    """Write a parameter as JSON can hold it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
