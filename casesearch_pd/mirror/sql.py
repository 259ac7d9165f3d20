"""One statement of SQL in, a typed frame out; nothing but reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from casesearch_pd.errors import FilterError
from casesearch_pd.reading.frame import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["queried"]

_READS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


def queried(
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
    return build(columns, tz="UTC", backend=None)


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
