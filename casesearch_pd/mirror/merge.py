"""Merge the old file of a mirror and the staged cases into the new file.

Every sync writes the whole file. That takes seconds for a million cases, less than the requests of
the sync, and makes reading fast and safe: rows in the default order, no gaps, and never a file that
is half written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from msgspec import structs

from casesearch_pd.mirror.filter_sql import to_sql
from casesearch_pd.mirror.metadata import (
    StoredColumn,
    quote_identifier,
    sql_type,
    storage_form,
    stored_columns,
)
from casesearch_pd.mirror.staging import cast_column, widen_column, with_type
from casesearch_pd.query.expressions import FALSE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb

    from casesearch_pd.mirror.metadata import MirrorMetadata
    from casesearch_pd.mirror.staging import StagingTable
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Field

__all__ = ["MergeResult", "create_mirror_rows_table", "merge", "with_examples"]

_STATES = ("status", "resolution")  # columns whose values a service without options names itself
_MAX_EXAMPLES = 50
_SAMPLE_ROWS = 20_000  # rows by which a compression is chosen
_LONG_TEXT = 30  # bytes, on average
_DISTINCT_SHARE = 0.9  # of the texts of a column

_Side = Literal["old", "staged"]
_TABLES: dict[_Side, str] = {"old": "old.cases", "staged": "stage.cases"}


@dataclass(frozen=True)
class MergeResult:
    """The columns of the new file, its number of rows, and the differences from the old file."""

    columns: list[StoredColumn]
    rows: int
    added: int
    changed: int
    removed: int


@dataclass(frozen=True)
class _Column:
    """A column of the new file and the columns that its cells come from."""

    new: StoredColumn
    old: StoredColumn | None
    staged: StoredColumn | None

    @property
    def name(self) -> str:
        """The name in the new file, as an SQL identifier."""
        return quote_identifier(self.new.name)

    def source_column(self, side: _Side) -> StoredColumn | None:
        """Return the column of one side."""
        return self.old if side == "old" else self.staged

    def cells(self, side: _Side) -> str:
        """Return the SQL of the cells of one side, converted to the new type."""
        source = self.source_column(side)
        if source is None:
            return f"NULL::{sql_type(self.new)}"
        return cast_column(quote_identifier(source.name), source, self.new)


def merge(
    stage: StagingTable,
    old: MirrorMetadata | None,
    fields: Sequence[Field],
    keep_conditions: Sequence[Expression],
) -> MergeResult:
    """Write the cases of the new file, with these fields in this order.

    Cases of the old file that were not read stay if they meet all of `keep_conditions`, which is
    FALSE if all cases were read.
    """
    connection = stage.connection
    columns = _columns(stage, old, fields)
    visible = [column for column in columns if column.new.name]
    _drop_duplicates(stage)
    old_rows, changed, condition = 0, 0, None
    parameters: list[Any] = []
    staged_rows = "SELECT count(*) FROM stage.cases"
    if old is not None:
        if FALSE not in keep_conditions:
            _drop_outdated(stage, old)
        old_rows = _count(connection, "SELECT count(*) FROM old.cases")
        changed = _count_changed(connection, visible)
        condition, parameters = _keep_condition(old, fields, keep_conditions)
        staged_rows += f" ANTI JOIN (SELECT {_id(old)} AS case_id FROM old.cases) USING (case_id)"
    _create(connection, visible, _long_texts(connection, visible, "old" if old else "staged"))
    _insert(connection, visible, condition, parameters)
    rows = _count(connection, "SELECT count(*) FROM new.cases")
    added = _count(connection, staged_rows)
    removed = old_rows + added - rows
    return MergeResult([column.new for column in columns], rows, added, changed, removed)


def _count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    ((count,),) = connection.execute(sql).fetchall()
    return int(count)


def _id(metadata: MirrorMetadata) -> str:
    return quote_identifier(metadata.by_column["case_id"].name)


def _columns(
    stage: StagingTable, old: MirrorMetadata | None, fields: Sequence[Field]
) -> list[_Column]:
    old_columns = {} if old is None else old.by_id
    pairs = []
    for item in fields:
        previous, staged = old_columns.get(item.id), stage.columns.get(item.column)
        if previous is not None and _is_replaceable(stage, previous, staged, item):
            previous = None
        pairs.append((previous, staged))
    new = stored_columns(
        (with_type(item, column.field.type), column.form)
        for item, (previous, staged) in zip(fields, pairs, strict=True)
        for column in [_merged_column(item, previous, staged)]
    )
    return [
        _Column(column, previous, staged)
        for column, (previous, staged) in zip(new, pairs, strict=True)
    ]


def _merged_column(
    item: Field, old: StoredColumn | None, staged: StoredColumn | None
) -> StoredColumn:
    """Return a column that can hold the cells of both sides."""
    if old is not None and staged is not None:
        return widen_column(old, staged)
    kind = "text" if item.type == "any" else item.type
    return staged or old or StoredColumn(with_type(item, kind), "", storage_form(kind))


def _is_replaceable(
    stage: StagingTable, old: StoredColumn, staged: StoredColumn | None, item: Field
) -> bool:
    """Return whether an old column can be dropped: it has another type and no values."""
    kind = item.type if staged is None else staged.field.type
    if kind in (old.field.type, "any"):
        return False
    name = quote_identifier(old.name)
    return _count(stage.connection, f"SELECT count({name}) FROM old.cases") == 0


def _create(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[_Column], long_texts: Collection[str]
) -> None:
    definitions = ", ".join(
        f"{column.name} {sql_type(column.new)}"
        + (" USING COMPRESSION zstd" if column.name in long_texts else "")
        for column in columns
    )
    connection.execute(f"CREATE TABLE new.cases ({definitions})")


def _long_texts(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[_Column], side: _Side
) -> set[str]:
    """Return the names of the columns whose texts are long and mostly distinct."""
    # DuckDB compresses texts by dictionaries, which suits ids and repeated texts; sentences take
    # half the space as blocks of zstd.
    texts = {
        column.name: quote_identifier(source.name)
        for column in columns
        if (source := column.source_column(side)) is not None
        and column.new.field.type == "text"
        and (sql_type(source), source.form) == ("VARCHAR", "plain")
        and column.new.field.column != "case_id"
    }
    if not texts:
        return set()
    tests = ", ".join(
        f"avg(strlen({cells})) > {_LONG_TEXT} "
        f"AND count(DISTINCT {cells}) > count({cells}) * {_DISTINCT_SHARE}"
        for cells in texts.values()
    )
    sample = f"SELECT * FROM {_TABLES[side]} LIMIT {_SAMPLE_ROWS}"
    (results,) = connection.execute(f"SELECT {tests} FROM ({sample})").fetchall()
    return {name for name, is_long in zip(texts, results, strict=True) if is_long}


def with_examples(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[StoredColumn],
    closed_status: str | None,
) -> list[StoredColumn]:
    """Return the columns of the new file, those of states with the values that cases have.

    By them a misspelt status is noticed without the service, and ``is_open`` knows how the service
    spells the status of closed cases.
    """
    return [
        structs.replace(
            column,
            field=replace(column.field, examples=_examples(connection, column, closed_status)),
        )
        if _names_states(column)
        else column
        for column in columns
    ]


def _names_states(column: StoredColumn) -> bool:
    item = column.field
    return bool(column.name and item.column in _STATES and item.type == "text" and not item.options)


def _examples(
    connection: duckdb.DuckDBPyConnection, column: StoredColumn, first: str | None
) -> tuple[str, ...]:
    """Return the most frequent values of a column, after all spellings of `first`."""
    name = quote_identifier(column.name)
    rows = connection.execute(
        f"SELECT {name} FROM new.cases WHERE {name} IS NOT NULL GROUP BY {name} "
        f"ORDER BY casefold({name}) = ? DESC, count(*) DESC, {name} LIMIT {_MAX_EXAMPLES}",
        [(first or "").casefold()],
    ).fetchall()
    return tuple(value for (value,) in rows)


def _drop_duplicates(stage: StagingTable) -> None:
    """Keep each staged case once, in its newest version."""
    updated = stage.columns.get("updated_at")
    newest = "" if updated is None else f"{quote_identifier(updated.name)} DESC NULLS LAST,"
    stage.connection.execute(
        "DELETE FROM stage.cases WHERE rowid IN (SELECT row FROM (SELECT rowid AS row, "
        f"row_number() OVER (PARTITION BY case_id ORDER BY {newest} rowid DESC) AS version "
        "FROM stage.cases WHERE case_id IN "
        "(SELECT case_id FROM stage.cases GROUP BY case_id HAVING count(*) > 1)) "
        "WHERE version > 1)"
    )


def _drop_outdated(stage: StagingTable, old: MirrorMetadata) -> None:
    """Drop staged cases that are older than in the mirror: a search index may lag behind."""
    staged, previous = stage.columns.get("updated_at"), old.by_column.get("updated_at")
    if staged is None or previous is None:
        return
    stage.connection.execute(
        f"DELETE FROM stage.cases USING old.cases AS o WHERE stage.cases.case_id = o.{_id(old)} "
        f"AND o.{quote_identifier(previous.name)} > stage.cases.{quote_identifier(staged.name)}"
    )


def _count_changed(connection: duckdb.DuckDBPyConnection, columns: Sequence[_Column]) -> int:
    """Return the number of staged cases that differ from those of the old file."""
    return _count(
        connection,
        f"SELECT count(*) FROM ({_select(columns, 'old')} FROM old.cases) AS o "
        f"JOIN ({_select(columns, 'staged')} FROM stage.cases) AS s USING (case_id) "
        "WHERE o IS DISTINCT FROM s",
    )


def _select(columns: Sequence[_Column], side: _Side) -> str:
    return "SELECT " + ", ".join(f"{column.cells(side)} AS {column.name}" for column in columns)


def _keep_condition(
    old: MirrorMetadata, fields: Sequence[Field], keep_conditions: Sequence[Expression]
) -> tuple[str, list[Any]]:
    """Return the condition on which cases of the old file stay, with its parameters."""
    columns = {item.column: old.by_id[item.id] for item in fields if item.id in old.by_id}
    conditions = [to_sql(where, columns) for where in keep_conditions]
    sql = " AND ".join(f"({condition.sql})" for condition in conditions)
    return sql or "TRUE", [value for condition in conditions for value in condition.parameters]


def _insert(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[_Column],
    condition: str | None,
    parameters: list[Any],
) -> None:
    """Write the staged rows and the old rows that stay, in the default order."""
    rows = f"{_select(columns, 'staged')} FROM stage.cases"
    if condition is not None:
        (case_id,) = (column for column in columns if column.new.field.column == "case_id")
        assert case_id.old is not None, "every file has ids"
        old_rows = _unread_old_rows(quote_identifier(case_id.old.name), condition)
        rows += f" UNION ALL {_select(columns, 'old')} {old_rows}"
    order = ", ".join(
        f"{column.name} NULLS LAST"
        for name in ("created_at", "case_id")
        for column in columns
        if column.new.field.column == name
    )
    connection.execute(f"INSERT INTO new.cases SELECT * FROM ({rows}) ORDER BY {order}", parameters)


def _unread_old_rows(case_id: str, condition: str) -> str:
    """Return the FROM clause of the old rows that meet a condition and were not read."""
    # The condition has unqualified names, so it is applied before the table gets its alias.
    return (
        f"FROM (SELECT * FROM old.cases WHERE {condition}) AS o WHERE o.{case_id} NOT IN "
        "(SELECT case_id FROM stage.cases UNION ALL SELECT case_id FROM stage.removed)"
    )


def create_mirror_rows_table(
    stage: StagingTable,
    old: MirrorMetadata,
    fields: Sequence[Field],
    keep_conditions: Sequence[Expression],
) -> StoredColumn:
    """Create the table ``mirror_rows``: ids and creation times as the new file would have them.

    Return the column of the creation times.
    """
    created = old.by_column["created_at"]
    condition, parameters = _keep_condition(old, fields, keep_conditions)
    sql = (
        f"SELECT o.{_id(old)} AS case_id, o.{quote_identifier(created.name)} AS created_at "
        f"{_unread_old_rows(_id(old), condition)}"
    )
    staged = stage.columns.get("created_at")
    if staged is not None:
        sql += f" UNION ALL SELECT case_id, {quote_identifier(staged.name)} FROM stage.cases"
    stage.connection.execute(f"CREATE TEMP TABLE mirror_rows AS {sql}", parameters)
    return StoredColumn(created.field, "created_at")
