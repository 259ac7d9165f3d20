"""An old file and what came in, a new file out: all cases in order, each once, the newest version.

The file is written whole at every sync. That costs seconds for a million cases, fewer than the
requests of a sync do, and buys what makes reading quick and safe: rows in the usual order, no
holes, and nobody ever sees a file that is half written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from casesearch_pd.mirror.filter_sql import to_sql
from casesearch_pd.mirror.metadata import (
    StoredColumn,
    quote_identifier,
    sql_type,
    storage_form,
    stored_columns,
)
from casesearch_pd.mirror.staging import StagingTable, cast_column, join_staged
from casesearch_pd.query.expressions import FALSE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb

    from casesearch_pd.mirror.metadata import MirrorMetadata
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Field

__all__ = ["MergeResult", "merge", "present"]


@dataclass(frozen=True)
class MergeResult:
    """How many cases a merge leaves, and what it did to get there."""

    kept: list[StoredColumn]
    rows: int
    added: int
    changed: int
    removed: int


@dataclass(frozen=True)
class _Column:
    """A column of the new file, and where its cells are now."""

    new: StoredColumn
    old: StoredColumn | None
    came: StoredColumn | None


def merge(
    stage: StagingTable,
    old: MirrorMetadata | None,
    fields: Sequence[Field],
    stays: Sequence[Expression],
) -> MergeResult:
    """Write the cases of the new file.

    Parameters
    ----------
    stage
        The cases that came, and the ids of those that are gone.
    old
        What the old file knows of itself, if there is one.
    fields
        The fields of the new file, in order.
    stays
        What old cases that did not come have to meet; FALSE if all that there are came.
    """
    connection = stage.connection
    columns = _columns(stage, old, fields)
    shown = [column for column in columns if column.new.name]
    _drop_doubles(stage)
    old_rows, changed, kept_rows = 0, 0, "FALSE"
    parameters: list[Any] = []
    if old is not None:
        if FALSE not in stays:
            _drop_older(stage, old)
        old_rows = _number(connection, "SELECT count(*) FROM old.cases")
        changed = _changed(connection, shown)
        kept_rows, parameters = _staying(old, fields, stays)
    _create(connection, shown, _wordy(connection, shown, "came" if old is None else "old"))
    _fill(connection, shown, kept_rows if old is not None else None, parameters)
    rows = _number(connection, "SELECT count(*) FROM new.cases")
    again = "SELECT count(*) FROM stage.cases"
    if old is not None:
        again += f" ANTI JOIN (SELECT {_id(old)} AS case_id FROM old.cases) USING (case_id)"
    added = _number(connection, again)
    return MergeResult([one.new for one in columns], rows, added, changed, old_rows + added - rows)


def _number(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    found = connection.execute(sql).fetchone()
    assert found is not None, "a count has a row"
    return int(found[0])


def _id(about: MirrorMetadata) -> str:
    return quote_identifier(about.by_column["case_id"].name)


# --- columns ------------------------------------------------------------------------------


def _columns(
    stage: StagingTable, old: MirrorMetadata | None, fields: Sequence[Field]
) -> list[_Column]:
    there = {one.field.id: one for one in old.kept if one.name} if old is not None else {}
    found = []
    for item in fields:
        came, known = stage.columns.get(item.column), there.get(item.id)
        if known is not None and _is_void(stage, known, came, item):
            known = None
        found.append((item, _held(item, known, came), known, came))
    names = stored_columns(
        (replace(one.field, **_told(item)), one.form) for item, one, _, _ in found
    )
    return [
        _Column(new, known, came) for new, (_, _, known, came) in zip(names, found, strict=True)
    ]


def _told(item: Field) -> dict[str, Any]:
    """Name all that the service tells of a field, but for its type, which the cells settle."""
    names = ("column", "id", "label", "namespace", "options", "aliases", "shown", "active")
    return {name: getattr(item, name) for name in (*names, "remote_only")}


def _held(item: Field, known: StoredColumn | None, came: StoredColumn | None) -> StoredColumn:
    """Find the column that holds what is there and what came."""
    kind = "text" if item.type == "any" else item.type
    if known is not None and came is not None:
        return join_staged(known, came)
    return came or known or StoredColumn(replace(item, type=kind), "", storage_form(kind))


def _is_void(
    stage: StagingTable, known: StoredColumn, came: StoredColumn | None, item: Field
) -> bool:
    """Tell whether a column may change its type at will: it would, and has no values."""
    kind = item.type if came is None else came.field.type
    if kind in (known.field.type, "any"):
        return False
    name = quote_identifier(known.name)
    return _number(stage.connection, f"SELECT count({name}) FROM old.cases") == 0


def _create(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[_Column], wordy: Collection[str]
) -> None:
    told = ", ".join(
        f"{quote_identifier(one.new.name)} {sql_type(one.new)}"
        + (" USING COMPRESSION zstd" if one.new.name in wordy else "")
        for one in columns
    )
    connection.execute(f"CREATE TABLE new.cases ({told})")


def _wordy(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[_Column], side: str
) -> set[str]:
    """Find the columns of texts that are long and each other, by some rows.

    DuckDB compresses texts by dictionaries, which is best for ids and for what comes again; whole
    sentences take half the room as blocks of zstd.
    """
    texts = [
        (one.new.name, quote_identifier(there.name))
        for one in columns
        if (there := getattr(one, side)) is not None
        and one.new.field.type == "text"
        and (sql_type(there), there.form) == ("VARCHAR", "plain")
        and one.new.field.column != "case_id"
    ]
    if not texts:
        return set()
    looks = ", ".join(
        f"avg(strlen({cells})) > {_LONG} AND count(DISTINCT {cells}) > count({cells}) * {_APART}"
        for _, cells in texts
    )
    table = "stage.cases" if side == "came" else "old.cases"
    found = connection.execute(f"SELECT {looks} FROM (SELECT * FROM {table} LIMIT {_SOME})")
    told = found.fetchone() or ()
    return {name for (name, _), wordy in zip(texts, told, strict=True) if wordy}


_SOME = 20_000  # rows that are looked at
_LONG = 30  # bytes of a text on average
_APART = 0.9  # share of the texts that are different


# --- rows ---------------------------------------------------------------------------------


def _drop_doubles(stage: StagingTable) -> None:
    """Keep each case that came once, in its newest version."""
    newest = _newest(stage)
    stage.connection.execute(
        "DELETE FROM stage.cases WHERE rowid IN (SELECT row FROM (SELECT rowid AS row, "
        f"row_number() OVER (PARTITION BY case_id ORDER BY {newest} rowid DESC) AS version "
        "FROM stage.cases WHERE case_id IN "
        "(SELECT case_id FROM stage.cases GROUP BY case_id HAVING count(*) > 1)) "
        "WHERE version > 1)"
    )


def _newest(stage: StagingTable) -> str:
    updated = stage.columns.get("updated_at")
    return "" if updated is None else f"{quote_identifier(updated.name)} DESC NULLS LAST,"


def _drop_older(stage: StagingTable, old: MirrorMetadata) -> None:
    """Leave a case as it is if it came in an older version than it has."""
    came, there = stage.columns.get("updated_at"), old.by_column.get("updated_at")
    if came is None or there is None:
        return
    stage.connection.execute(
        f"DELETE FROM stage.cases USING old.cases AS o WHERE stage.cases.case_id = o.{_id(old)} "
        f"AND o.{quote_identifier(there.name)} > stage.cases.{quote_identifier(came.name)}"
    )


def _changed(connection: duckdb.DuckDBPyConnection, columns: Sequence[_Column]) -> int:
    """Count the cases that came in another version than they have."""
    return _number(
        connection,
        f"SELECT count(*) FROM (SELECT {_selected(columns, 'old')} FROM old.cases) AS o "
        f"JOIN (SELECT {_selected(columns, 'came')} FROM stage.cases) AS c USING (case_id) "
        "WHERE o IS DISTINCT FROM c",
    )


def _selected(columns: Sequence[_Column], side: str) -> str:
    return ", ".join(
        f"{_cells(one.new, getattr(one, side))} AS {quote_identifier(one.new.name)}"
        for one in columns
    )


def _cells(new: StoredColumn, there: StoredColumn | None) -> str:
    return (
        f"NULL::{sql_type(new)}"
        if there is None
        else cast_column(quote_identifier(there.name), there, new)
    )


def _staying(
    old: MirrorMetadata, fields: Sequence[Field], stays: Sequence[Expression]
) -> tuple[str, list[Any]]:
    """Write what the cases meet that are taken over from the old file."""
    there = {one.field.id: one for one in old.kept if one.name}
    known = {item.column: there[item.id] for item in fields if item.id in there}
    asked = [to_sql(one, known) for one in stays]
    sql = " AND ".join(f"({one.sql})" for one in asked)
    return sql or "TRUE", [value for one in asked for value in one.parameters]


def _fill(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[_Column],
    staying: str | None,
    parameters: list[Any],
) -> None:
    """Write all rows, in the usual order."""
    rows = f"SELECT {_selected(columns, 'came')} FROM stage.cases"
    if staying is not None:
        rows += (
            f" UNION ALL SELECT {_selected(columns, 'old')} FROM (SELECT * FROM old.cases "
            f"WHERE {staying}) AS o WHERE {_old_id(columns)} NOT IN (SELECT case_id FROM "
            "stage.cases UNION ALL SELECT case_id FROM stage.gone)"
        )
    by = ", ".join(
        f"{quote_identifier(one.new.name)} NULLS LAST"
        for name in ("created_at", "case_id")
        for one in columns
        if one.new.field.column == name
    )
    connection.execute(f"INSERT INTO new.cases SELECT * FROM ({rows}) ORDER BY {by}", parameters)


def _old_id(columns: Sequence[_Column]) -> str:
    (old,) = (one.old for one in columns if one.new.field.column == "case_id")
    assert old is not None, "every file has ids"
    return f"o.{quote_identifier(old.name)}"


def present(
    stage: StagingTable, old: MirrorMetadata, fields: Sequence[Field], stays: Sequence[Expression]
) -> StoredColumn:
    """Make the table ``present``: the ids and creation times that the new file would have.

    Returns
    -------
    Kept
        The creation time in it.
    """
    created = old.by_column["created_at"]
    staying, parameters = _staying(old, fields, stays)
    came = stage.columns.get("created_at")
    new = (
        ""
        if came is None
        else f"UNION ALL SELECT case_id, {quote_identifier(came.name)} FROM stage.cases"
    )
    stage.connection.execute(
        "CREATE TEMP TABLE present AS "
        f"SELECT o.{_id(old)} AS case_id, o.{quote_identifier(created.name)} AS created_at "
        f"FROM (SELECT * FROM old.cases WHERE {staying}) AS o WHERE o.{_id(old)} NOT IN "
        f"(SELECT case_id FROM stage.cases UNION ALL SELECT case_id FROM stage.gone) {new}",
        parameters,
    )
    return StoredColumn(created.field, "created_at")
