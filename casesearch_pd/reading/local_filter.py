"""Filter a DataFrame by the filter language, without a service.

The schema is rebuilt from the DataFrame: names from its provenance, types from its dtypes. A
DataFrame that was loaded from a file may hold the same values in another form (arrays for lists,
text for times); they are normalized before they are compared.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.errors import FilterError, nearest
from casesearch_pd.query.binding import bind
from casesearch_pd.query.expressions import literals
from casesearch_pd.query.schema import Field, FieldType, Schema
from casesearch_pd.reading.frames.frame import require_distinct_columns
from casesearch_pd.reading.frames.masks import mask
from casesearch_pd.reading.options import binding_context, parse_filter
from casesearch_pd.reading.provenance import Provenance
from casesearch_pd.sources.traits import infer_traits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from casesearch_pd.query.expressions import Expression

__all__ = ["filter_frame", "holds_lists", "localize", "normalize_cells", "zone_of_frame"]

_OPEN_PREFIX = "fields."  # of the ids of custom fields, in a service with open fields
_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d\S*(Z|[+-]\d\d:?\d\d)")


def filter_frame(
    frame: pd.DataFrame,
    where: Expression | Mapping[str, object] | None,
    filters: Mapping[str, object],
    *,
    tags: Mapping[str, str] | Iterable[str] | str | None = None,
    tz: str | None = None,
) -> pd.DataFrame:
    """Return the rows that match a filter; its naive times are by default in `zone_of_frame`."""
    _check_search(filters)
    provenance = Provenance.from_attrs(frame)
    schema = _names_schema(frame, provenance)
    if tags is not None and schema.find("tags") is None:
        raise _missing_column("tags", schema, provenance)
    expression = parse_filter(where, filters, tags, schema)
    fields = _filtered_fields(expression, schema, provenance)
    require_distinct_columns(frame, {item.column for item in fields})

    # Only the columns of the filter are normalized and given a type.
    zone = zone_of_frame(frame)
    cells = {item.column: _typed_cells(frame[item.column], zone, provenance) for item in fields}
    typed = tuple(replace(item, type=_field_type(item, cells[item.column])) for item in fields)
    bound = bind(expression, binding_context(Schema(typed), tz or _zone_name(zone)))
    _check_remote_only(bound, provenance)
    return frame[mask(pd.DataFrame(cells, index=frame.index, copy=False), bound)]


# --- names --------------------------------------------------------------------------------


def _names_schema(frame: pd.DataFrame, provenance: Provenance) -> Schema:
    """Return a schema with the names that the columns had when they were read, without types."""
    fields = []
    for column in frame.columns:
        if isinstance(column, str):
            field_id = provenance.columns.get(column, column)
            aliases = _aliases(column, field_id)
            fields.append(Field(column, field_id, column, "any", aliases=aliases))
    return Schema(tuple(_with_tag_type(item, frame, provenance) for item in fields))


def _aliases(column: str, field_id: str) -> tuple[str, ...]:
    if not field_id.startswith(_OPEN_PREFIX):
        return (field_id.replace("-", "_"),)
    # The prefix "fields_" means that a system field has the plain name.
    return () if column.startswith("fields_") else (field_id.removeprefix(_OPEN_PREFIX),)


def _with_tag_type(item: Field, frame: pd.DataFrame, provenance: Provenance) -> Field:
    """Give the tags their type, on which the meaning of ``tags=`` depends."""
    if item.column != "tags":
        return item
    keyed = provenance.traits.keyed_tags
    require_distinct_columns(frame, {"tags"})
    is_text = pd.api.types.is_string_dtype(frame["tags"].dtype)
    if keyed is None and not is_text and "case_id" in frame.columns:
        traits = infer_traits(map(str, frame.columns), map(str, frame["case_id"]))
        keyed = None if traits is None else traits.keyed_tags
    if keyed is None:
        keyed = _has_keys(frame["tags"])
    return replace(item, type="tags" if keyed else "list")


def _has_keys(tags: pd.Series[Any]) -> bool:
    lists = (list(cell) for cell in tags.dropna() if not isinstance(cell, str))
    first = next((cell for cell in lists if cell), ())
    return all("=" in str(tag) for tag in first)


def _filtered_fields(expression: Expression, schema: Schema, provenance: Provenance) -> list[Field]:
    """Return the fields of a filter, in the order of the DataFrame."""
    names = dict.fromkeys(str(literal.field) for literal in literals(expression))
    missing = next((name for name in names if schema.find(name) is None), None)
    if missing is not None:
        raise _missing_column(missing, schema, provenance)
    fields = {schema.resolve(name) for name in names}
    return [item for item in schema.fields if item in fields]


def _missing_column(name: str, schema: Schema, provenance: Provenance) -> FilterError:
    if name in provenance.remote_only:
        return FilterError(
            f"the service filters by {name!r} but never returns it, so a DataFrame cannot be "
            f"filtered by it; use read_cases(source, {name}=…)"
        )
    close = nearest(name, [item.column for item in schema.fields])
    hint = f"did you mean {' or '.join(map(repr, close))}? If not, " if close else ""
    return FilterError(
        f"this DataFrame has no column {name!r}; {hint}read it too: columns=[…, {name!r}]"
    )


def _check_search(filters: Mapping[str, object]) -> None:
    if "search" in filters:
        raise FilterError(
            "search= is the full-text search of the service, which a DataFrame does not have; use "
            "read_cases(source, search=…), or search one column: title__contains=…"
        )


def _check_remote_only(bound: Expression, provenance: Provenance) -> None:
    """Refuse values that only the service compares: the cells hold something else."""
    for literal in literals(bound):
        column, value = literal.target.column, literal.value
        prefix = provenance.remote_only.get(column)
        if prefix and isinstance(value, str) and value.startswith(prefix):
            raise FilterError(
                f"{column}={value!r} is an id that the service compares but never returns; use "
                f"read_cases(source, {column}={value!r}), or filter by what the cells show"
            )


# --- cells --------------------------------------------------------------------------------


def _typed_cells(column: pd.Series[Any], tz: Any, provenance: Provenance) -> pd.Series[Any]:
    cells = normalize_cells(column, tz)
    # Text files have no types. With provenance, the types of the read are trusted.
    if provenance.exists or not pd.api.types.is_string_dtype(cells.dtype):
        return cells
    return _parse_times(cells)


def _parse_times(column: pd.Series[Any]) -> pd.Series[Any]:
    """Parse the times of a text file, if the column holds times."""
    if not _ISO_TIME.fullmatch(str(_first_value(column))):
        return column
    try:
        return pd.to_datetime(column, format="ISO8601", utc=True)
    except ValueError:
        return column


def normalize_cells(column: pd.Series[Any], tz: Any) -> pd.Series[Any]:
    """Return a column, even from a file, as a read returns it; naive times are in `tz`."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.dtype.categories.dtype)
    if column.dtype == object or holds_lists(column.dtype):
        return _normalize_objects(column.astype(object))
    if pd.api.types.is_datetime64_any_dtype(column.dtype) and column.dt.tz is None:
        return localize(column, tz)
    return column


def holds_lists(dtype: Any) -> bool:
    """Return whether a dtype is Arrow's list, as files read with ``dtype_backend`` have it."""
    return isinstance(dtype, pd.ArrowDtype) and dtype.type is list


def _normalize_objects(column: pd.Series[Any]) -> pd.Series[Any]:
    """Turn arrays into lists, and columns of only texts or Booleans into typed ones."""
    match pd.api.types.infer_dtype(column, skipna=True):
        case "string":
            return column.astype("str")
        case "boolean":
            return column.astype("boolean")
        case "mixed":
            cells = [_normalize_cell(cell) for cell in column]
            return pd.Series(cells, index=column.index, dtype=object, name=column.name)
        case _:
            return column


def _normalize_cell(cell: Any) -> Any:
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    return None if cell is pd.NA else cell


def zone_of_frame(frame: pd.DataFrame) -> Any:
    """Return the zone of naive times in a frame.

    It is that of the read; in a frame without provenance that of its first column of times with
    a zone; otherwise UTC.
    """
    provenance = Provenance.from_attrs(frame)
    if provenance.exists:
        return provenance.tz
    zones = (getattr(dtype, "tz", None) or _arrow_zone(dtype) for dtype in frame.dtypes)
    return next((zone for zone in zones if zone is not None), "UTC")


def _zone_name(zone: Any) -> str:
    """Return the name of a zone; an offset has none, so it counts as UTC."""
    name = zone if isinstance(zone, str) else getattr(zone, "key", None)
    return name or "UTC"


def _arrow_zone(dtype: Any) -> str | None:
    is_arrow = isinstance(dtype, pd.ArrowDtype)
    return getattr(dtype.pyarrow_dtype, "tz", None) if is_arrow else None


def localize(column: pd.Series[Any], tz: Any) -> pd.Series[Any]:
    """Return a column of naive times as times in a zone."""
    naive = column.astype("datetime64[us]")
    # An ambiguous hour, at the end of daylight saving time, is taken for the second one.
    standard_time = np.zeros(len(naive), dtype=bool)
    return naive.dt.tz_localize(tz, ambiguous=standard_time, nonexistent="shift_forward")


# --- types --------------------------------------------------------------------------------


def _field_type(item: Field, column: pd.Series[Any]) -> FieldType:
    """Return the type of a column as a schema would have it."""
    if item.type != "any":
        return _check_lists(item, column)
    if column.dtype == object:
        return _object_type(column)
    return next((type_ for matches, type_ in _TYPES if matches(column.dtype)), "json")


def _check_lists(item: Field, column: pd.Series[Any]) -> FieldType:
    if column.dtype != object and column.notna().any():
        raise FilterError(
            f"{item.column!r} holds text here instead of lists, as text files return them; save "
            "DataFrames as Parquet or pickle"
        )
    return item.type


def _object_type(column: pd.Series[Any]) -> FieldType:
    first = _first_value(column)
    if isinstance(first, list):
        return "list"
    return "json" if isinstance(first, dict) else "any"


def _first_value(column: pd.Series[Any]) -> Any:
    """Return the first value that is not missing; None if there is none."""
    present = column.notna().to_numpy(dtype=bool)
    return column.iloc[int(present.argmax())] if present.any() else None


_TYPES: tuple[tuple[Callable[[Any], bool], FieldType], ...] = (
    (pd.api.types.is_bool_dtype, "boolean"),
    (pd.api.types.is_integer_dtype, "integer"),
    (pd.api.types.is_numeric_dtype, "number"),
    (pd.api.types.is_datetime64_any_dtype, "datetime"),
    (pd.api.types.is_string_dtype, "text"),
)
