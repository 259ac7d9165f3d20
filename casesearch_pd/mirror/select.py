"""Read scans and users' SQL from a mirror, as the typed columns that pages of a service become."""

from __future__ import annotations

import json
import re
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
    from typing import TypeAlias

    import pandas as pd

    from casesearch_pd.mirror.metadata import MirrorMetadata, StoredColumn
    from casesearch_pd.mirror.storage import OpenFile
    from casesearch_pd.sources.base import Scan, Sort

    Cells: TypeAlias = "pa.ChunkedArray | list[Any]"

__all__ = ["Statement", "build_select", "count_rows", "run_sql", "select_rows"]

_EXPLAIN = re.compile(r"\s*EXPLAIN\s*(ANALYZE\b|\([^)]*\))?", re.IGNORECASE)
_READING_STATEMENTS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


@dataclass(frozen=True)
class Statement:
    """An SQL statement and its parameters."""

    sql: str
    parameters: list[Any]


def build_select(metadata: MirrorMetadata, scan: Scan, *, offset: int = 0) -> Statement:
    """Return the statement that reads a scan."""
    columns = [metadata.by_column[field.column] for field in scan.fields]
    names = ", ".join(quote_identifier(column.name) for column in columns)
    sql, parameters = f"SELECT {names} FROM cases", []
    if scan.where != TRUE:
        condition = to_sql(scan.where, metadata.by_column)
        sql, parameters = f"{sql} WHERE {condition.sql}", condition.parameters
    order = _order_by(metadata, scan)
    sql += f" ORDER BY {order}" if order else ""
    sql += "" if scan.limit is None else f" LIMIT {scan.limit:d}"
    return Statement(f"{sql} OFFSET {offset:d}" if offset else sql, parameters)


def _order_by(metadata: MirrorMetadata, scan: Scan) -> str:
    # The file is in the default order, which DuckDB keeps when it reads whole tables.
    order = [(sort.field.column, sort.descending) for sort in scan.sort]
    if order == [("created_at", False), ("case_id", False)] and scan.where == TRUE:
        return ""
    return ", ".join(_sort_key(metadata, sort) for sort in scan.sort)


def _sort_key(metadata: MirrorMetadata, sort: Sort) -> str:
    direction = "DESC" if sort.descending else "ASC"
    name = quote_identifier(metadata.by_column[sort.field.column].name)
    return f"{name} {direction} NULLS LAST"


def count_rows(mirror: OpenFile, scan: Scan) -> int:
    """Return the number of cases that match a scan."""
    condition = to_sql(scan.where, mirror.metadata.by_column)
    sql = f"SELECT count(*) FROM cases WHERE {condition.sql}"
    ((count,),) = mirror.connection.execute(sql, condition.parameters).fetchall()
    return int(count)


def select_rows(
    mirror: OpenFile, scan: Scan, size: int | None, *, offset: int = 0
) -> Iterator[dict[str, Cells]]:
    """Yield the columns of a scan, at most `size` rows at a time; all at once if None."""
    statement = build_select(mirror.metadata, scan, offset=offset)
    relation = mirror.connection.sql(statement.sql, params=statement.parameters)
    columns = [mirror.metadata.by_column[field.column] for field in scan.fields]
    if size is None:
        yield _columns(relation.to_arrow_table(), columns)
        return
    reader = _arrow_reader(relation, size)
    empty = True
    for batch in reader:
        empty = False
        yield _columns(pa.Table.from_batches([batch]), columns)
    if empty:
        yield _columns(reader.schema.empty_table(), columns)


def _arrow_reader(relation: duckdb.DuckDBPyRelation, size: int) -> pa.RecordBatchReader:
    # DuckDB 2 has renamed the method, and warns about its old name.
    method = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
    return method(size)


def _columns(table: pa.Table, columns: Sequence[StoredColumn]) -> dict[str, Cells]:
    with pause_gc():
        pairs = zip(columns, table.columns, strict=True)
        return {column.field.column: _read_cells(cells, column) for column, cells in pairs}


def _read_cells(cells: pa.ChunkedArray, column: StoredColumn) -> Cells:
    match column.form:
        case "lists":
            return [cell for chunk in cells.chunks for cell in _read_lists(chunk)]
        case "json":
            return [None if cell is None else json.loads(cell) for cell in cells.to_pylist()]
        case _:
            return cells.cast(arrow_type(column.field.type))


def _read_lists(cells: pa.Array) -> list[Any]:
    """Return lists of text."""
    # Few texts of tags differ, so equal ones share one object, built once by the dictionary.
    members = cells.flatten().dictionary_encode()
    texts = np.array([*members.dictionary.to_pylist(), None], dtype=object)
    values = texts[members.indices.to_numpy(zero_copy_only=False)].tolist()
    ends = np.cumsum(cells.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)).tolist()
    lists: list[Any] = [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    for at in np.flatnonzero(cells.is_null().to_numpy(zero_copy_only=False)).tolist():
        lists[at] = None
    return lists


def run_sql(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[object]
) -> pd.DataFrame:
    """Return the result of one statement that only reads; raise FilterError for any other."""
    try:
        _require_reading(duckdb.extract_statements(query))
        relation = connection.sql(query, params=[*parameters])
        table = pa.table({}) if relation is None else relation.to_arrow_table()
    except duckdb.Error as error:
        raise FilterError(f"DuckDB cannot run this statement: {error}") from error
    table = table.rename_columns(_unique_names(table.column_names))
    columns = dict(zip(table.column_names, map(_frame_cells, table.columns), strict=True))
    return build_frame(columns, tz="UTC", backend=None)


def _require_reading(statements: Sequence[Any]) -> None:
    if len(statements) != 1:
        raise FilterError(f"sql() takes exactly one statement, got {len(statements)}")
    query = statements[0].query
    if statements[0].type == duckdb.StatementType.EXPLAIN:
        # EXPLAIN ANALYZE runs what it explains.
        _require_reading(duckdb.extract_statements(_EXPLAIN.sub("", query, count=1)))
    if statements[0].type not in _READING_STATEMENTS:
        raise FilterError(
            f"sql() only reads, got a statement of type {statements[0].type.name}; to update the "
            "mirror, call mirror.sync(source)"
        )


def _unique_names(names: Sequence[str]) -> list[str]:
    """Return the names with a number after each repeated one."""
    return [
        name if name not in names[:at] else f"{name}_{names[:at].count(name) + 1}"
        for at, name in enumerate(names)
    ]


def _frame_cells(cells: pa.ChunkedArray) -> Cells:
    """Return cells of a type that frames use; DuckDB sums integers as decimals of 38 digits."""
    kind = cells.type
    if pa.types.is_nested(kind):
        values: list[Any] = cells.to_pylist()
        return values
    if not pa.types.is_decimal(kind):
        return cells
    try:
        return cells.cast(pa.int64() if kind.scale == 0 else pa.float64())
    except pa.ArrowInvalid:  # beyond 64 bits
        return cells.cast(pa.float64())
