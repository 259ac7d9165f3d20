"""A frame and its fields in, an Arrow table of just these fields out: how cases are kept in files.

Lists become lists of text, nested values JSON text: Arrow would give each all keys of all others.
Of a field that no schema told, the cells tell the type; where two types clash, text wins.
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
    "LIST_TYPE",
    "arrow_kind",
    "as_json",
    "empty_table",
    "storable",
    "to_cells",
    "to_table",
    "unify_types",
    "widen_schema",
]

LIST_TYPE: frozenset[FieldType] = frozenset({"list", "tags"})
"""Types whose cells are lists."""

_LISTS = pa.list_(pa.large_string())


def storable(fields: Sequence[Field], look: FrameFormat) -> pa.Schema:
    """Tell the schema that a file of these fields has."""
    return pa.schema([(item.column, _stored(item.type, look)) for item in fields])


def _stored(kind: FieldType, look: FrameFormat) -> pa.DataType:
    if kind in LIST_TYPE:
        return _LISTS
    return pa.timestamp("us", look.tz) if kind == "datetime" else arrow_type(kind)


def empty_table(fields: Sequence[Field], look: FrameFormat) -> pd.DataFrame:
    """Build the frame of these fields that has no rows."""
    columns, _ = Columns(fields).finish()
    return build_frame(columns, tz=look.tz, backend=look.dtype_backend)


def to_table(frame: pd.DataFrame, fields: Sequence[Field], look: FrameFormat) -> pa.Table:
    """Make a table of just these fields; pandas' description of its dtypes comes with it."""
    like = empty_table([_texted(item) for item in fields], look)
    columns = {item.column: to_cells(frame.get(item.column), item.type) for item in fields}
    shown = pd.DataFrame(
        {
            name: pd.Series(cells, index=frame.index, dtype=like[name].dtype)
            for name, cells in columns.items()
        },
        index=frame.index,
    )
    return pa.Table.from_pandas(shown, schema=storable(fields, look), preserve_index=False)


def _texted(item: Field) -> Field:
    """Take nested values as JSON text."""
    return replace(item, type="text") if item.type == "json" else item


def to_cells(column: pd.Series[Any] | None, kind: FieldType) -> Any:
    """Bring the cells of a column into the form in which they are kept; None if it is not there."""
    if column is None:
        return None
    if kind in LIST_TYPE:
        return column.map(_listed, na_action="ignore")
    if kind == "json":
        return column.map(as_json, na_action="ignore")
    if kind == "text" and not pd.api.types.is_string_dtype(column.dtype):
        return column.map(as_json, na_action="ignore")
    return column


def _listed(cell: Any) -> list[str]:
    cells = cell if isinstance(cell, list) else [cell]
    return [one if isinstance(one, str) else as_json(one) for one in cells if one is not None]


def as_json(cell: Any) -> str:
    """Write a cell as JSON text."""
    return json.dumps(cell, ensure_ascii=False, default=str)


# --- fields that no schema told -----------------------------------------------------------


def unify_types(
    late: Mapping[str, Field], chunk: pd.DataFrame, known: Sequence[Field]
) -> dict[str, Field]:
    """Add the fields that a chunk shows first; where two types clash, text wins."""
    told = {item.column for item in known}
    new = {name: arrow_kind(chunk[name].dropna()) for name in chunk.columns if name not in told}
    kinds = {name: kind for name, kind in new.items() if kind is not None}
    return {**late} | {
        name: Field(name, name, name, widen_schema(late[name].type if name in late else kind, kind))
        for name, kind in kinds.items()
    }


def arrow_kind(held: pd.Series[Any]) -> FieldType | None:
    """Tell the type of a column by its values; None if it has none."""
    types = pd.api.types
    if held.empty:
        return None
    if types.is_bool_dtype(held.dtype):
        return "boolean"
    if types.is_integer_dtype(held.dtype):
        return "integer"
    if types.is_numeric_dtype(held.dtype):
        return "number"
    if types.is_datetime64_any_dtype(held.dtype):
        return "datetime"
    return "json" if held.dtype == object else "text"


def widen_schema(one: FieldType, other: FieldType) -> FieldType:
    """Find the type that holds the values of both."""
    if one == other:
        return one
    if {one, other} == {"integer", "number"}:
        return "number"
    return "json" if "json" in (one, other) else "text"
