"""A scan in, its SQL and its columns out: the same typed columns that pages make."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from casesearch_pd.mirror.about import quoted
from casesearch_pd.mirror.ask import condition
from casesearch_pd.query.expr import TRUE
from casesearch_pd.reading.columns import arrow_type, collector_paused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from casesearch_pd.mirror.about import About, Kept
    from casesearch_pd.mirror.engine import Opened
    from casesearch_pd.sources.contract import Scan, Sort

__all__ = ["Statement", "answered", "counted", "selected"]


@dataclass(frozen=True)
class Statement:
    """A statement and its parameters."""

    sql: str
    parameters: list[Any]


def selected(about: About, scan: Scan, *, offset: int = 0) -> Statement:
    """Write the statement that answers a scan."""
    kept = [about.by_column[item.column] for item in scan.fields]
    names = ", ".join(quoted(one.name) for one in kept)
    sql, values = f"SELECT {names} FROM cases", []
    if scan.where != TRUE:
        asked = condition(scan.where, about.by_column)
        sql, values = f"{sql} WHERE {asked.sql}", asked.parameters
    order = _order(about, scan)
    sql += f" ORDER BY {order}" if order else ""
    sql += "" if scan.limit is None else f" LIMIT {scan.limit:d}"
    return Statement(f"{sql} OFFSET {offset:d}" if offset else sql, values)


def counted(about: About, scan: Scan) -> Statement:
    """Write the statement that counts what a scan finds."""
    asked = condition(scan.where, about.by_column)
    return Statement(f"SELECT count(*) FROM cases WHERE {asked.sql}", asked.parameters)


def _order(about: About, scan: Scan) -> str:
    # The file is in this order already, and so is what comes of it; but for what is looked up.
    by = [(item.field.column, item.descending) for item in scan.sort]
    if by == [("created_at", False), ("case_id", False)] and scan.where == TRUE:
        return ""
    return ", ".join(_key(about, item) for item in scan.sort)


def _key(about: About, sort: Sort) -> str:
    way = "DESC" if sort.descending else "ASC"
    return f"{quoted(about.by_column[sort.field.column].name)} {way} NULLS LAST"


def answered(
    mirror: Opened, scan: Scan, size: int | None, *, offset: int = 0
) -> Iterator[dict[str, pa.ChunkedArray | list[Any]]]:
    """Yield the columns of an answer, so many rows at a time; all at once if None."""
    statement = selected(mirror.about, scan, offset=offset)
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


def _columns(table: pa.Table, kept: Sequence[Kept]) -> dict[str, pa.ChunkedArray | list[Any]]:
    with collector_paused():
        return {one.field.column: _column(table.column(at), one) for at, one in enumerate(kept)}


def _column(cells: pa.ChunkedArray, kept: Kept) -> pa.ChunkedArray | list[Any]:
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
