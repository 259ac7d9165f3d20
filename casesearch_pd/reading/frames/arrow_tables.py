"""Convert frames of cases to Arrow tables, the form in which they are stored in files.

Lists become lists of text, and nested values JSON text: Arrow would give each of them all keys of
all others. The type of a field that is not in the schema is inferred from its values; text wins
over other types.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from casesearch_pd.query.schema import Field
from casesearch_pd.reading.frames.columns import Columns, arrow_type
from casesearch_pd.reading.frames.frame import build_frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from casesearch_pd.query.schema import FieldType
    from casesearch_pd.reading.frames.frame import FrameFormat

__all__ = [
    "LIST_TYPES",
    "arrow_schema",
    "as_json",
    "common_type",
    "empty_frame",
    "infer_field_type",
    "to_cells",
    "to_table",
    "unify_types",
]

LIST_TYPES: frozenset[FieldType] = frozenset({"list", "tags"})
"""Types whose cells are lists."""

_LIST_OF_TEXT = pa.list_(pa.large_string())


def arrow_schema(fields: Sequence[Field], frame_format: FrameFormat) -> pa.Schema:
    """Return the Arrow schema of these fields."""
    return pa.schema([(item.column, _stored_type(item.type, frame_format)) for item in fields])


def _stored_type(type_: FieldType, frame_format: FrameFormat) -> pa.DataType:
    if type_ in LIST_TYPES:
        return _LIST_OF_TEXT
    return pa.timestamp("us", frame_format.tz) if type_ == "datetime" else arrow_type(type_)


def empty_frame(fields: Sequence[Field], frame_format: FrameFormat) -> pd.DataFrame:
    """Return the DataFrame of these fields without rows."""
    columns, _ = Columns(fields).finish()
    return build_frame(columns, tz=frame_format.tz, backend=frame_format.dtype_backend)


def to_table(frame: pd.DataFrame, fields: Sequence[Field], frame_format: FrameFormat) -> pa.Table:
    """Return a table of these fields, with pandas' own description of the dtypes."""
    dtypes = empty_frame([_json_as_text(item) for item in fields], frame_format).dtypes
    cells = {item.column: to_cells(frame.get(item.column), item.type) for item in fields}
    columns = {
        name: pd.Series(column, index=frame.index, dtype=dtypes[name])
        for name, column in cells.items()
    }
    return pa.Table.from_pandas(
        pd.DataFrame(columns, index=frame.index),
        schema=arrow_schema(fields, frame_format),
        preserve_index=False,
    )


def _json_as_text(item: Field) -> Field:
    return replace(item, type="text") if item.type == "json" else item


def to_cells(column: pd.Series[Any] | None, type_: FieldType) -> Any:
    """Return the cells of a column as they are stored; None if there is no such column."""
    if column is None:
        return None
    if type_ in LIST_TYPES:
        return column.map(_to_list, na_action="ignore")
    if type_ == "json":
        return column.map(as_json, na_action="ignore")
    if type_ == "text" and not pd.api.types.is_string_dtype(column.dtype):
        return column.map(as_json, na_action="ignore")
    return column


def _to_list(cell: Any) -> list[str]:
    items = cell if isinstance(cell, list) else [cell]
    return [item if isinstance(item, str) else as_json(item) for item in items if item is not None]


def as_json(cell: Any) -> str:
    """Return a cell as JSON text."""
    return json.dumps(cell, ensure_ascii=False, default=str)


def unify_types(
    new_fields: Mapping[str, Field], chunk: pd.DataFrame, fields: Sequence[Field]
) -> dict[str, Field]:
    """Return the new fields with those of a chunk, each with a type that holds all its values."""
    known = {item.column for item in fields}
    unified = {**new_fields}
    for name in chunk.columns:
        type_ = None if name in known else infer_field_type(chunk[name].dropna())
        if type_ is not None:
            previous = new_fields[name].type if name in new_fields else type_
            unified[name] = Field(name, name, name, common_type(previous, type_))
    return unified


def infer_field_type(values: pd.Series[Any]) -> FieldType | None:
    """Return the type of a column by its values; None if it has none."""
    types = pd.api.types
    if values.empty:
        return None
    if types.is_bool_dtype(values.dtype):
        return "boolean"
    if types.is_integer_dtype(values.dtype):
        return "integer"
    if types.is_numeric_dtype(values.dtype):
        return "number"
    if types.is_datetime64_any_dtype(values.dtype):
        return "datetime"
    return "json" if values.dtype == object else "text"


def common_type(first: FieldType, second: FieldType) -> FieldType:
    """Return the type that holds the values of both types."""
    if first == second:
        return first
    if {first, second} == {"integer", "number"}:
        return "number"
    return "json" if "json" in (first, second) else "text"
