"""A scan in, its SQL and its columns out: the same typed columns that pages make."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from casesearch_pd.errors import FilterError
from casesearch_pd.mirror.filter_sql import to_sql
from casesearch_pd.mirror.metadata import quote_identifier
from casesearch_pd.query.expressions import TRUE
from casesearch_pd.reading.frames.columns import arrow_type, pause_gc
from casesearch_pd.reading.frames.frame import build_frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from casesearch_pd.mirror.metadata import MirrorMetadata, StoredColumn
    from casesearch_pd.mirror.storage import OpenFile
    from casesearch_pd.sources.base import Scan, Sort

__all__ = ["Statement", "build_select", "count_rows", "run_sql", "select_rows"]


@dataclass(frozen=True)
class Statement:
    """A statement and its parameters."""

    sql: str
    parameters: list[Any]


def build_select(about: MirrorMetadata, scan: Scan, *, offset: int = 0) -> Statement:
    """Write the statement that answers a scan."""
    kept = [about.by_column[item.column] for item in scan.fields]
    names = ", ".join(quote_identifier(one.name) for one in kept)
    sql, values = f"SELECT {names} FROM cases", []
    if scan.where != TRUE:
        asked = to_sql(scan.where, about.by_column)
        sql, values = f"{sql} WHERE {asked.sql}", asked.parameters
    order = _order(about, scan)
    sql += f" ORDER BY {order}" if order else ""
    sql += "" if scan.limit is None else f" LIMIT {scan.limit:d}"
    return Statement(f"{sql} OFFSET {offset:d}" if offset else sql, values)


def count_rows(about: MirrorMetadata, scan: Scan) -> Statement:
    """Write the statement that counts what a scan finds."""
    asked = to_sql(scan.where, about.by_column)
    return Statement(f"SELECT count(*) FROM cases WHERE {asked.sql}", asked.parameters)


def _order(about: MirrorMetadata, scan: Scan) -> str:
    # The file is in this order already, and so is what comes of it; but for what is looked up.
    by = [(item.field.column, item.descending) for item in scan.sort]
    if by == [("created_at", False), ("case_id", False)] and scan.where == TRUE:
        return ""
    return ", ".join(_key(about, item) for item in scan.sort)


def _key(about: MirrorMetadata, sort: Sort) -> str:
    way = "DESC" if sort.descending else "ASC"
    return f"{quote_identifier(about.by_column[sort.field.column].name)} {way} NULLS LAST"


def select_rows(
    mirror: OpenFile, scan: Scan, size: int | None, *, offset: int = 0
) -> Iterator[dict[str, pa.ChunkedArray | list[Any]]]:
    """Yield the columns of an answer, so many rows at a time; all at once if None."""
    statement = build_select(mirror.about, scan, offset=offset)
    found = mirror.connection.sql(statement.sql, params=statement.parameters)
    kept = [mirror.about.by_column[item.column] for item in scan.fields]
    if size is None:
        yield _columns(found.to_arrow_table(), kept)
        return
    reader = _reader(found, size)
    none = True
    for batch in reader:
        none = False
        yield _columns(pa.Table.from_batches([batch]), kept)
    if none:
        yield _columns(reader.schema.empty_table(), kept)


def _reader(found: duckdb.DuckDBPyRelation, size: int) -> pa.RecordBatchReader:
    # DuckDB 2 has renamed it, and warns of the old name.
    make = getattr(found, "to_arrow_reader", None) or found.fetch_arrow_reader
    return make(size)


def _columns(
    table: pa.Table, kept: Sequence[StoredColumn]
) -> dict[str, pa.ChunkedArray | list[Any]]:
    with pause_gc():
        return {one.field.column: _column(table.column(at), one) for at, one in enumerate(kept)}


def _column(cells: pa.ChunkedArray, kept: StoredColumn) -> pa.ChunkedArray | list[Any]:
    match kept.form:
        case "lists":
            return [cell for chunk in cells.chunks for cell in _lists(chunk)]
        case "json":
            return [None if cell is None else json.loads(cell) for cell in cells.to_pylist()]
        case _:
            return cells.cast(arrow_type(kept.field.type))


def _lists(cells: pa.Array) -> list[Any]:
    """Make lists of text, each text that comes again the same object: few are different."""
    members = cells.flatten().dictionary_encode()
    texts = np.array([*members.dictionary.to_pylist(), None], dtype=object)
    held = texts[members.indices.to_numpy(zero_copy_only=False)].tolist()
    ends = np.cumsum(cells.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)).tolist()
    made: list[Any] = [held[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    for at in np.flatnonzero(cells.is_null().to_numpy(zero_copy_only=False)).tolist():
        made[at] = None
    return made


_READS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


def run_sql(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[object]
) -> pd.DataFrame:
    """Run one statement that reads.

    Raises
    ------
    FilterError
        If it is another one.
    """
    try:
        _check(duckdb.extract_statements(query))
        found = connection.sql(query, params=[*parameters])
        table = pa.table({}) if found is None else found.to_arrow_table()
    except duckdb.Error as error:
        raise FilterError(f"DuckDB cannot answer this: {error}") from error
    return _framed(table)


def _check(statements: Sequence[Any]) -> None:
    if len(statements) != 1:
        raise FilterError(f"sql() takes one statement, and this is {len(statements)}")
    if statements[0].type not in _READS:
        raise FilterError(
            f"SQL only reads a mirror, and {statements[0].type.name} does something else; what "
            "changes it is mirror.sync(source)"
        )


def _framed(table: pa.Table) -> pd.DataFrame:
    """Make the frame, with the dtypes that reads have; sums of whole numbers are whole numbers."""
    table = table.rename_columns(_apart(table.column_names))
    cells = map(_plain, table.columns)
    columns = dict(zip(table.column_names, cells, strict=True))
    return build_frame(columns, tz="UTC", backend=None)


def _apart(names: Sequence[str]) -> list[str]:
    """Give columns of one name a number: a frame with two of them is of little use."""
    return [
        name if name not in names[:at] else f"{name}_{names[:at].count(name) + 1}"
        for at, name in enumerate(names)
    ]


def _plain(cells: pa.ChunkedArray) -> pa.ChunkedArray | list[Any]:
    kind = cells.type
    if pa.types.is_nested(kind):
        plain: list[Any] = cells.to_pylist()
        return plain
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return _whole(cells)
    return cells.cast(pa.float64()) if pa.types.is_decimal(kind) else cells


def _whole(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return cells.cast(pa.int64())
    except pa.ArrowInvalid:  # beyond 64 bits
        return cells.cast(pa.float64())
