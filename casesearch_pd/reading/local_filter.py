"""A frame and a filter in, the rows that the filter keeps out: the language without a service.

What a schema told the read is rebuilt from the frame: the names from its provenance, the types
from its dtypes. A frame that comes back from a file may hold the same values in another form
(arrays for lists, text for times); they are brought back into the first before they are compared.
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
from casesearch_pd.reading.frames.frame import mask, require_distinct_columns
from casesearch_pd.reading.plan import binding_context, parse_filter
from casesearch_pd.reading.provenance import read_provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from casesearch_pd.query.expressions import Expression

__all__ = ["filter_frame", "holds_lists", "normalize_cells"]

_CUSTOM = "fields."  # how a service with open fields spells a custom one
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d\S*(Z|[+-]\d\d:?\d\d)")


def filter_frame(
    frame: pd.DataFrame,
    where: Expression | Mapping[str, object] | None,
    filters: Mapping[str, object],
    *,
    tags: Mapping[str, str] | Iterable[str] | str | None = None,
    tz: str | None = None,
) -> pd.DataFrame:
    """Keep the rows of a frame that a filter keeps.

    Parameters
    ----------
    frame
        The frame; it stays as it is.
    where, filters, tags
        The filter, as in `read_cases`.
    tz
        The zone of naive times; that of the read if None.

    Raises
    ------
    FilterError
        If the frame lacks a column that the filter names, or only the service could tell.
    """
    _check_search(filters)
    told = read_provenance(frame)
    names = _names(frame, told)
    if tags is not None and names.find("tags") is None:
        raise _absent("tags", names, told)
    asked = parse_filter(where, filters, tags, names)
    zone = tz or told.get("tz") or "UTC"
    found = _found(asked, names, told)
    require_distinct_columns(frame, {item.column for item in found})
    held = {item.column: _held(frame[item.column], zone, told) for item in found}
    typed = tuple(replace(item, type=_typed(item, held[item.column])) for item in found)
    bound = bind(asked, binding_context(Schema(typed), zone))
    _check_seen(bound, told)
    return frame[mask(pd.DataFrame(held, index=frame.index, copy=False), bound)]


# --- names ------------------------------------------------------------------------------


def _names(frame: pd.DataFrame, told: Mapping[str, Any]) -> Schema:
    """Give every column the names that it had when it was read; types come later."""
    ids = told.get("columns", {})
    columns = [column for column in frame.columns if isinstance(column, str)]
    fields = (
        Field(column, ids.get(column, column), column, "any", aliases=_aliases(column, ids))
        for column in columns
    )
    return Schema(tuple(_tags(item, frame, told) for item in fields))


def _aliases(column: str, ids: Mapping[str, str]) -> tuple[str, ...]:
    name = ids.get(column, column)
    if not name.startswith(_CUSTOM):
        return (name.replace("-", "_"),)
    # What gave a field of a taken name its prefix goes by that name itself.
    return () if column.startswith("fields_") else (name.removeprefix(_CUSTOM),)


def _tags(item: Field, frame: pd.DataFrame, told: Mapping[str, Any]) -> Field:
    """Tell tags with a key and a value from plain ones, which ``tags=`` has to know."""
    if item.column != "tags":
        return item
    if not told:
        require_distinct_columns(frame, {"tags"})
        return replace(item, type="tags" if _keyed(frame["tags"]) else "list")
    connect = told.get("source", {}).get("service") == "connect"
    return replace(item, type="tags" if connect else "list")


def _keyed(column: pd.Series[Any]) -> bool:
    cells = (list(cell) for cell in column.dropna() if not isinstance(cell, str))
    first = next((cell for cell in cells if cell), ())
    return all("=" in str(tag) for tag in first)


def _found(asked: Expression, names: Schema, told: Mapping[str, Any]) -> list[Field]:
    """List the fields that a filter names, in the order of the frame."""
    asked_for = dict.fromkeys(str(literal.field) for literal in literals(asked))
    absent = next((name for name in asked_for if names.find(name) is None), None)
    if absent is not None:
        raise _absent(absent, names, told)
    wanted = {names.resolve(name) for name in asked_for}
    return [item for item in names.fields if item in wanted]


def _absent(name: str, names: Schema, told: Mapping[str, Any]) -> FilterError:
    if name in told.get("remote_only", {}):
        return FilterError(
            f"{name!r} can be asked of the service but is never shown, so no frame can be filtered "
            f"by it; ask there: read_cases(source, {name}=…)"
        )
    close = nearest(name, [item.column for item in names.fields])
    meant = f"did you mean {' or '.join(map(repr, close))}? If not, " if close else ""
    return FilterError(
        f"this frame has no column {name!r}; {meant}read it too: columns=[…, {name!r}]"
    )


def _check_search(filters: Mapping[str, object]) -> None:
    if "search" in filters:
        raise FilterError(
            "search= is the service's own full-text search, which no frame can answer; ask there: "
            "read_cases(source, search=…), or look into one column: title__contains=…"
        )


def _check_seen(bound: Expression, told: Mapping[str, Any]) -> None:
    """Refuse values that only the service compares: the cells show something else."""
    unseen = {column: start for column, start in told.get("remote_only", {}).items() if start}
    for literal in literals(bound):
        column, value = literal.target.column, literal.value
        start = unseen.get(column)
        if start and isinstance(value, str) and value.startswith(start):
            raise FilterError(
                f"{column}={value!r} is an id that the service compares and never shows; ask "
                f"there, read_cases(source, {column}={value!r}), or filter by what the cells show"
            )


# --- columns ----------------------------------------------------------------------------


def _held(column: pd.Series[Any], tz: str, told: Mapping[str, Any]) -> pd.Series[Any]:
    held = normalize_cells(column, tz)
    # Text files have no types; where the read is told, its own types are trusted.
    return held if told or not pd.api.types.is_string_dtype(held.dtype) else _timed(held)


def _timed(column: pd.Series[Any]) -> pd.Series[Any]:
    """Read the times that a text file holds, if that is what the column is."""
    if not _MOMENT.fullmatch(str(_first(column))):
        return column
    try:
        return pd.to_datetime(column, format="ISO8601", utc=True)
    except ValueError:
        return column


def normalize_cells(column: pd.Series[Any], tz: str) -> pd.Series[Any]:
    """Bring a column into the form that a read gives it.

    Parameters
    ----------
    column
        Any column of a frame, from a file even.
    tz
        The zone of times that name none; of an hour that comes twice it is the second.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.dtype.categories.dtype)
    if column.dtype == object or holds_lists(column.dtype):
        return _of_objects(column.astype(object))
    if pd.api.types.is_datetime64_any_dtype(column.dtype) and column.dt.tz is None:
        return _in_zone(column, tz)
    return column


def holds_lists(dtype: Any) -> bool:
    """Tell whether a dtype is Arrow's of lists, as files read with ``dtype_backend`` have it."""
    return isinstance(dtype, pd.ArrowDtype) and dtype.type is list


def _of_objects(column: pd.Series[Any]) -> pd.Series[Any]:
    """Make lists of arrays, and typed columns of plain texts and truths."""
    match pd.api.types.infer_dtype(column, skipna=True):
        case "string":
            return column.astype("str")
        case "boolean":
            return column.astype("boolean")
        case "mixed":
            cells = [_listed(cell) for cell in column]
            return pd.Series(cells, index=column.index, dtype=object, name=column.name)
        case _:
            return column


def _listed(cell: Any) -> Any:
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    return None if cell is pd.NA else cell


def _in_zone(column: pd.Series[Any], tz: str) -> pd.Series[Any]:
    naive = column.astype("datetime64[us]")
    standard = np.zeros(len(naive), dtype=bool)
    return naive.dt.tz_localize(tz, ambiguous=standard, nonexistent="shift_forward")


def _typed(item: Field, column: pd.Series[Any]) -> FieldType:
    """Tell the type of a column as a schema would have told it."""
    if item.type != "any":
        return _check_lists(item, column)
    if column.dtype == object:
        return _of_cells(column)
    return next((kind for test, kind in _KINDS if test(column.dtype)), "json")


def _check_lists(item: Field, column: pd.Series[Any]) -> FieldType:
    if column.dtype != object and column.notna().any():
        raise FilterError(
            f"{item.column!r} holds text here, not lists, as text files give them back; keep "
            "frames as Parquet or pickle"
        )
    return item.type


def _of_cells(column: pd.Series[Any]) -> FieldType:
    first = _first(column)
    if isinstance(first, list):
        return "list"
    return "json" if isinstance(first, dict) else "any"


def _first(column: pd.Series[Any]) -> Any:
    """Find the first cell with a value; None if there is none."""
    there = column.notna().to_numpy(dtype=bool)
    return column.iloc[int(there.argmax())] if there.any() else None


_KINDS: tuple[tuple[Callable[[Any], bool], FieldType], ...] = (
    (pd.api.types.is_bool_dtype, "boolean"),
    (pd.api.types.is_integer_dtype, "integer"),
    (pd.api.types.is_numeric_dtype, "number"),
    (pd.api.types.is_datetime64_any_dtype, "datetime"),
    (pd.api.types.is_string_dtype, "text"),
)
