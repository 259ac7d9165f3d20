"""Frames in, a table of a new file out: typed columns that grow and widen as cells show them.

What no schema told is told by the cells; a column is made when its first value comes, and
where two types clash, text wins. Lists are kept as lists of text until one of them holds
anything else; then the column holds JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from casesearch_pd.mirror.metadata import StoredColumn, quote_identifier, sql_type, storage_form
from casesearch_pd.query.schema import Field
from casesearch_pd.reading.frames.arrow_tables import (
    LIST_TYPE,
    arrow_kind,
    as_json,
    to_cells,
    widen_schema,
)
from casesearch_pd.reading.frames.columns import arrow_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import duckdb
    import pandas as pd

    from casesearch_pd.mirror.metadata import StorageForm
    from casesearch_pd.query.schema import FieldType

__all__ = ["StagingTable", "cast_column", "join_staged"]

_LISTS = pa.list_(pa.large_string())


@dataclass
class StagingTable:
    """The cases that came, and the ids of those that are gone.

    Parameters
    ----------
    connection
        A writer's.
    columns
        What there is of columns so far: the field, under the type that its cells have.
    """

    connection: duckdb.DuckDBPyConnection
    columns: dict[str, StoredColumn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the tables."""
        self._run('CREATE TABLE stage.cases ("case_id" VARCHAR)')
        self._run('CREATE TABLE stage.gone ("case_id" VARCHAR)')
        self.columns["case_id"] = StoredColumn(Field("case_id", "", "", "text"), "case_id")

    def _run(self, sql: str) -> None:
        self.connection.execute(sql)

    def add(self, frame: pd.DataFrame, fields: Mapping[str, Field]) -> None:
        """Add cases.

        Parameters
        ----------
        frame
            The cases, with the column `case_id`.
        fields
            The field of each column.
        """
        came = {}
        for column in map(str, frame.columns):
            kind = _settled(fields[column], frame[column])
            if kind is not None and len(frame):
                came[column] = self._cells(fields[column], kind, frame[column])
        if came:
            self._insert(came)

    def remove(self, ids: Iterable[str]) -> None:
        """Note the ids of cases that are gone."""
        told = pa.table({"case_id": pa.array(list(ids), pa.large_string())})
        self.connection.register("came", told)
        self._run("INSERT INTO stage.gone SELECT case_id FROM came")
        self.connection.unregister("came")

    def _insert(self, came: Mapping[str, pa.Array]) -> None:
        table = pa.table({f"c{at}": cells for at, cells in enumerate(came.values())})
        into = ", ".join(quote_identifier(self.columns[column].name) for column in came)
        self.connection.register("came", table)
        self._run(f"INSERT INTO stage.cases ({into}) SELECT * FROM came")
        self.connection.unregister("came")

    def _cells(self, item: Field, kind: FieldType, cells: pd.Series[Any]) -> pa.Array:
        """Make an array of the column's type, which may have to grow for it."""
        told = self.columns.get(item.column)
        wide = kind if told is None else widen_schema(told.field.type, kind)
        array, form = _array(cells, wide)
        kept = StoredColumn(
            _of_type(item, wide), told.name if told else f"f{len(self.columns)}", form
        )
        self.columns[item.column] = self._new(kept) if told is None else self._grown(told, kept)
        if self.columns[item.column].form == form:
            return array
        return pa.array(_json(cells), pa.large_string())  # odd lists came before

    def _new(self, kept: StoredColumn) -> StoredColumn:
        self._run(
            f"ALTER TABLE stage.cases ADD COLUMN {quote_identifier(kept.name)} {sql_type(kept)}"
        )
        return kept

    def _grown(self, told: StoredColumn, came: StoredColumn) -> StoredColumn:
        kept = join_staged(told, came)
        if sql_type(kept) != sql_type(told) or kept.form != told.form:
            self._run(
                f"ALTER TABLE stage.cases ALTER {quote_identifier(told.name)} TYPE {sql_type(kept)} "
                f"USING {cast_column(quote_identifier(told.name), told, kept)}"
            )
        return kept


def _settled(item: Field, cells: pd.Series[Any]) -> FieldType | None:
    """Tell the type of a column; None if nobody knows it yet."""
    return arrow_kind(cells.dropna()) if item.type == "any" else item.type


def _of_type(item: Field, kind: FieldType) -> Field:
    return item if item.type == kind else replace(item, type=kind)


# --- cells --------------------------------------------------------------------------------


def _array(cells: pd.Series[Any], kind: FieldType) -> tuple[pa.Array, StorageForm]:
    """Make an array of cells, and tell how they are kept."""
    form = storage_form(kind)
    if form == "lists":
        try:
            return pa.array(_lists(cells), _LISTS), form
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
            form = "json"  # one of them holds something else than whole texts
    if form == "json":
        return pa.array(_json(cells), pa.large_string()), form
    return pa.Array.from_pandas(to_cells(cells, kind), type=arrow_type(kind)), form


def _lists(cells: pd.Series[Any]) -> list[Any]:
    held = cells.tolist()
    if any(cell is not None and not isinstance(cell, list) for cell in held):
        raise pa.ArrowTypeError("a cell is no list")  # Arrow would take a text for a list
    if any(None in cell for cell in held if cell):
        raise pa.ArrowTypeError("a list has a gap")
    return held


def _json(cells: pd.Series[Any]) -> list[str | None]:
    return [None if cell is None else _whole(cell) for cell in cells]


def _whole(cell: Any) -> str:
    text = as_json(cell)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, which JSON can hold by its number
        return json.dumps(cell, default=str)
    return text


# --- types --------------------------------------------------------------------------------


def join_staged(one: StoredColumn, other: StoredColumn) -> StoredColumn:
    """Find the column that holds the cells of both; the field is told by the second."""
    kinds = (one.field.type, other.field.type)
    form: StorageForm = one.form if one.form == other.form else "json"
    if len({sql_type(one), sql_type(other)}) == 1 and one.form == other.form:
        return StoredColumn(other.field, one.name, form)
    nested = [kind for kind in kinds if storage_form(kind) != "plain"]
    kind: FieldType = widen_schema(*kinds) if not nested else nested[0] if _alike(kinds) else "json"
    return StoredColumn(_of_type(other.field, kind), one.name, form)


def _alike(kinds: tuple[FieldType, FieldType]) -> bool:
    return all(kind in LIST_TYPE for kind in kinds)


def cast_column(sql: str, told: StoredColumn, wanted: StoredColumn) -> str:
    """Write a column's cells as another column keeps them."""
    if (sql_type(told), told.form) == (sql_type(wanted), wanted.form):
        return sql
    if wanted.form == "json":
        return f"to_json({sql})::VARCHAR"
    if told.field.type == "datetime" and sql_type(wanted) == "VARCHAR":
        return f"strftime({sql}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    return f"CAST({sql} AS {sql_type(wanted)})"
