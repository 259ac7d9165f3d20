"""Collect the cases of a sync in a table whose typed columns grow and widen with their values.

A field without a known type gets the type of its values, and its column when the first value
arrives; where two types conflict, text wins. Lists are stored as lists of text until one of them
holds anything else; then the column stores JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from casesearch_pd.mirror.metadata import StoredColumn, quote_identifier, sql_type, storage_form
from casesearch_pd.query.schema import Field
from casesearch_pd.reading.frames.arrow_tables import (
    LIST_TYPES,
    as_json,
    common_type,
    infer_field_type,
    to_cells,
)
from casesearch_pd.reading.frames.columns import arrow_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import duckdb
    import pandas as pd

    from casesearch_pd.mirror.metadata import StorageForm
    from casesearch_pd.query.schema import FieldType

__all__ = ["StagingTable", "cast_column", "widen_column", "with_type"]

_LISTS = pa.list_(pa.large_string())


@dataclass
class StagingTable:
    """The cases that a sync has read, and the ids of the cases to remove."""

    connection: duckdb.DuckDBPyConnection  # a connection of `open_writer`
    columns: dict[str, StoredColumn] = field(default_factory=dict)  # by column name in frames

    def __post_init__(self) -> None:
        """Create the tables."""
        self.connection.execute('CREATE TABLE stage.cases ("case_id" VARCHAR)')
        self.connection.execute('CREATE TABLE stage.removed ("case_id" VARCHAR)')
        self.columns["case_id"] = StoredColumn(Field("case_id", "", "", "text"), "case_id")

    def add(self, frame: pd.DataFrame, fields: Mapping[str, Field]) -> None:
        """Add cases, given the field of each column."""
        arrays = {}
        for column in map(str, frame.columns):
            kind = _value_type(fields[column], frame[column])
            if kind is not None and len(frame):
                arrays[column] = self._array(fields[column], kind, frame[column])
        if arrays:
            names = ", ".join(quote_identifier(self.columns[column].name) for column in arrays)
            table = pa.table({f"c{at}": array for at, array in enumerate(arrays.values())})
            self._insert(f"stage.cases ({names})", table)

    def remove(self, ids: Iterable[str]) -> None:
        """Note the ids of cases to remove."""
        table = pa.table({"case_id": pa.array(list(ids), pa.large_string())})
        self._insert("stage.removed", table)

    def _insert(self, target: str, table: pa.Table) -> None:
        self.connection.register("batch", table)
        self.connection.execute(f"INSERT INTO {target} SELECT * FROM batch")
        self.connection.unregister("batch")

    def _array(self, item: Field, kind: FieldType, cells: pd.Series[Any]) -> pa.Array:
        """Return the cells with the type of their column, which is created or widened for them."""
        current = self.columns.get(item.column)
        wide = kind if current is None else common_type(current.field.type, kind)
        array, form = _to_array(cells, wide)
        name = current.name if current else f"f{len(self.columns)}"
        column = StoredColumn(with_type(item, wide), name, form)
        if current is None:
            self._add_column(column)
        else:
            column = self._widen(current, column)
        self.columns[item.column] = column
        if column.form == form:
            return array
        return pa.array(_to_json(cells), pa.large_string())  # an earlier list was irregular

    def _add_column(self, column: StoredColumn) -> None:
        name = quote_identifier(column.name)
        self.connection.execute(f"ALTER TABLE stage.cases ADD COLUMN {name} {sql_type(column)}")

    def _widen(self, current: StoredColumn, new: StoredColumn) -> StoredColumn:
        column = widen_column(current, new)
        if sql_type(column) != sql_type(current) or column.form != current.form:
            name = quote_identifier(current.name)
            self.connection.execute(
                f"ALTER TABLE stage.cases ALTER {name} TYPE {sql_type(column)} "
                f"USING {cast_column(name, current, column)}"
            )
        return column


def _value_type(item: Field, cells: pd.Series[Any]) -> FieldType | None:
    """Return the type of a column; None if neither the field nor a value determines it."""
    return infer_field_type(cells.dropna()) if item.type == "any" else item.type


def with_type(item: Field, kind: FieldType) -> Field:
    """Return a field with another type."""
    return item if item.type == kind else replace(item, type=kind)


def _to_array(cells: pd.Series[Any], kind: FieldType) -> tuple[pa.Array, StorageForm]:
    """Return an array of the cells and the form in which it stores them."""
    form = storage_form(kind)
    if form == "lists":
        try:
            return pa.array(_lists_of_text(cells), _LISTS), form
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
            form = "json"
    if form == "json":
        return pa.array(_to_json(cells), pa.large_string()), form
    return pa.Array.from_pandas(to_cells(cells, kind), type=arrow_type(kind)), form


def _lists_of_text(cells: pd.Series[Any]) -> list[Any]:
    # Arrow itself would take a text for a list of letters, and a missing member for a text.
    values = cells.tolist()
    if any(cell is not None and not isinstance(cell, list) for cell in values):
        raise pa.ArrowTypeError("a cell is not a list")
    if any(None in cell for cell in values if cell):
        raise pa.ArrowTypeError("a list has a missing member")
    return values


def _to_json(cells: pd.Series[Any]) -> list[str | None]:
    return [None if cell is None else _json_text(cell) for cell in cells]


def _json_text(cell: Any) -> str:
    text = as_json(cell)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can only hold as an escape
        return json.dumps(cell, default=str)
    return text


def widen_column(first: StoredColumn, second: StoredColumn) -> StoredColumn:
    """Return the column that can hold the cells of both, with the field of the second."""
    form: StorageForm = first.form if first.form == second.form else "json"
    if sql_type(first) == sql_type(second) and first.form == second.form:
        return StoredColumn(second.field, first.name, form)
    types = (first.field.type, second.field.type)
    nested = [item for item in types if storage_form(item) != "plain"]
    if not nested:
        merged_type = common_type(*types)
    else:
        merged_type = nested[0] if all(item in LIST_TYPES for item in types) else "json"
    return StoredColumn(with_type(second.field, merged_type), first.name, form)


def cast_column(sql: str, column: StoredColumn, target: StoredColumn) -> str:
    """Return the SQL that converts cells of a column to those of another."""
    if (sql_type(column), column.form) == (sql_type(target), target.form):
        return sql
    if target.form == "json":
        return f"to_json({sql})::VARCHAR"
    if column.field.type == "datetime" and sql_type(target) == "VARCHAR":
        return f"strftime({sql}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    return f"CAST({sql} AS {sql_type(target)})"
