"""Give the columns of a DataFrame the types of a read, in whatever form they are stored.

A DataFrame may come from a file, a database or a few steps of pandas, and so hold objects,
categories, text for times or Arrow's own types. Each column is converted once, or refused with
the way to convert it: no cell counts as "not equal" because its type is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa

from casesearch_pd.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casesearch_pd.query.schema import FieldType

__all__ = [
    "arrays_to_lists",
    "cell_type",
    "holds_lists",
    "localize",
    "typed_cells",
]

# ISO 8601, as pandas and databases write it: a day, with or without a clock time and an offset.
_DAY = r"\d{4}-\d\d-\d\d"
_ISO_TIME = rf"{_DAY}([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?\s?(Z|z|UTC|[+-]\d\d(:?\d\d)?)?)?|\d{{4}}-\d\d"
_ISO_OFFSET = r".*\d\d:\d\d\S*\s?(Z|z|UTC|[+-]\d\d(:?\d\d)?)"
# Text that people read as a date, in whatever order.
_DATE_LIKE = (
    r"\d{4}[-/.](\d{1,2}|W\d\d)\b|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}\b"
    r"|\d{1,2}[ .-]+[A-Za-z]{3,9}[ .-]+\d{2,4}\b"
    r"|([A-Za-z]{3,9},? )?[A-Za-z]{3,9}\.? \d{1,2},? \d{4}\b"
)


def typed_cells(
    column: pd.Series[Any], zone: Any, kind: FieldType = "any", *, compares_times: bool = False
) -> pd.Series[Any]:
    """Return a column as a read returns it.

    Parameters
    ----------
    column
        The column, in any form.
    zone
        The zone of naive times, and of days, which begin at midnight.
    kind
        The type of the field; ``"any"`` if it is not known.
    compares_times
        Whether a filter compares the column with a time or by order, so that text which holds
        times must not be compared letter by letter.

    Raises
    ------
    FilterError
        If the column has cells of a type that no filter compares.

    Examples
    --------
    >>> typed_cells(pd.Series(["2026-03-01"]), "Europe/Berlin", "datetime").tolist()
    [Timestamp('2026-03-01 00:00:00+0100', tz='Europe/Berlin')]
    """
    cells = _typed(column, zone)
    is_time = kind == "datetime"
    if (is_time or (kind == "any" and compares_times)) and _is_text(cells.dtype):
        return _parse_times(cells, zone, is_time=is_time)
    return cells


def cell_type(column: pd.Series[Any]) -> FieldType:
    """Return the type of the cells of a column that `typed_cells` returned."""
    dtype = column.dtype
    if pd.api.types.is_object_dtype(dtype):
        types = {_type_of(type(cell)) for cell in column.dropna()}
        if types and types <= {"integer", "number"}:
            return "number"
        return (types.pop() or "any") if len(types) == 1 else "any"
    return next(type_ for matches, type_ in _TYPES if matches(dtype))


_TYPES: tuple[tuple[Callable[[Any], bool], FieldType], ...] = (
    (pd.api.types.is_bool_dtype, "boolean"),
    (pd.api.types.is_integer_dtype, "integer"),
    (pd.api.types.is_numeric_dtype, "number"),
    (pd.api.types.is_datetime64_any_dtype, "datetime"),
    (lambda _: True, "text"),
)


def holds_lists(dtype: Any) -> bool:
    """Return whether a dtype is Arrow's list, as files read with ``dtype_backend`` have it."""
    return isinstance(dtype, pd.ArrowDtype) and dtype.type is list


def arrays_to_lists(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of objects with lists in place of the arrays that a file returns."""
    if pd.api.types.infer_dtype(column, skipna=True) != "mixed":
        return column
    cells = [
        cell.tolist() if isinstance(cell, np.ndarray) else None if cell is pd.NA else cell
        for cell in column
    ]
    return _object_column(cells, column)


def localize(column: pd.Series[Any], tz: Any) -> pd.Series[Any]:
    """Return a column of naive times as times in a zone."""
    naive = column.astype("datetime64[us]")
    # An ambiguous hour, at the end of daylight saving time, is taken for the second one.
    standard_time = np.zeros(len(naive), dtype=bool)
    return naive.dt.tz_localize(tz, ambiguous=standard_time, nonexistent="shift_forward")


def _typed(column: pd.Series[Any], zone: Any) -> pd.Series[Any]:
    dtype: Any = column.dtype
    match dtype:
        case pd.CategoricalDtype():
            return _typed_categories(column, zone)
        case pd.SparseDtype():
            return _typed(column.astype(dtype.subtype), zone)
        case pd.PeriodDtype() if isinstance(dtype.freq, _DAY_OR_SHORTER):
            return localize(column.dt.start_time, zone)
        case pd.ArrowDtype():
            return _typed_arrow(column, dtype.pyarrow_dtype, zone)
        case _ if pd.api.types.is_object_dtype(dtype):
            return _typed_objects(column, zone)
        case _ if pd.api.types.is_datetime64_any_dtype(dtype):
            return column if isinstance(dtype, pd.DatetimeTZDtype) else localize(column, zone)
        case _ if _is_text(dtype) or dtype.kind in "biuf":
            return column
        case _:
            raise _unsupported(column, str(dtype))


_DAY_OR_SHORTER = (pd.offsets.Day, pd.tseries.offsets.Tick)


def _is_text(dtype: Any) -> bool:
    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype in {pa.string(), pa.large_string()}
    return isinstance(dtype, pd.StringDtype)


_NULLABLE = {"i": pd.Int64Dtype(), "u": pd.UInt64Dtype(), "b": pd.BooleanDtype()}


def _typed_categories(column: pd.Series[Any], zone: Any) -> pd.Series[Any]:
    used = column.cat.remove_unused_categories().cat
    categories = _typed(pd.Series(used.categories, name=column.name), zone)
    # Only a nullable dtype has a place for the missing cells of a category of whole numbers.
    values = categories.array
    if categories.dtype.kind in "iub":
        values = pd.array(values, dtype=_NULLABLE[categories.dtype.kind])
    cells = pd.api.extensions.take(values, used.codes.to_numpy(), allow_fill=True)
    return pd.Series(cells, index=column.index, name=column.name)


def _typed_arrow(column: pd.Series[Any], type_: Any, zone: Any) -> pd.Series[Any]:
    if pa.types.is_dictionary(type_):
        return _typed(column.astype(pd.ArrowDtype(type_.value_type)), zone)
    if pa.types.is_date(type_) or (pa.types.is_timestamp(type_) and type_.tz is None):
        return localize(column, zone)
    if holds_lists(column.dtype) or pa.types.is_null(type_):
        return _typed_objects(column.astype(object), zone)
    is_comparable = (
        _is_text(column.dtype)
        or pa.types.is_timestamp(type_)
        or any(matches(type_) for matches in _ARROW_TYPES)
    )
    if not is_comparable:
        raise _unsupported(column, str(type_))
    return column


_ARROW_TYPES = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
)


def _unsupported(column: pd.Series[Any], name: str) -> FilterError:
    advice = next((text for part, text in _ADVICE.items() if part in name.lower()), "astype(str)")
    return FilterError(
        f"{column.name!r} holds {name}, which no filter compares; convert it, for example "
        f"df[{column.name!r}].{advice}"
    )


_ADVICE = {
    "period": "dt.start_time",
    "interval": "map(lambda cell: cell.left)",
    "timedelta": "dt.total_seconds()",
    "duration": "dt.total_seconds()",
    "bytes": "str.decode('utf-8')",
    "binary": "str.decode('utf-8')",
    "complex": "map(abs)",
}


def _typed_objects(column: pd.Series[Any], zone: Any) -> pd.Series[Any]:
    # One pass in C is enough for the ordinary cases.
    if pd.api.types.infer_dtype(column, skipna=True) == "string" and not _has_enum(column):
        return column.astype("str")
    cells = [cell if type(cell) in _PLAIN else _plain_cell(cell) for cell in column]
    types = {type(cell) for cell in cells} - {type(None)}
    unknown = next((item for item in types if _type_of(item) is None), None)
    if unknown is not None:
        raise _unsupported(column, f"{unknown.__module__}.{unknown.__qualname__}")
    kinds = {_type_of(item) for item in types}
    match sorted(map(str, kinds)):
        case ["text"]:
            return pd.Series(cells, index=column.index, dtype="str", name=column.name)
        case ["boolean"]:
            return pd.Series(cells, index=column.index, dtype="boolean", name=column.name)
        case ["datetime"]:
            return _typed_times(column, cells, zone)
        case ["integer"] if all(cell is None or abs(cell) < _MAX_INTEGER for cell in cells):
            return pd.Series(cells, index=column.index, dtype="Int64", name=column.name)
        case ["number"] if types == {float}:
            return pd.Series(cells, index=column.index, dtype="Float64", name=column.name)
    if "datetime" in kinds:
        others = ", ".join(sorted(str(kind) for kind in kinds if kind != "datetime"))
        raise FilterError(
            f"{column.name!r} holds times and other values ({others}); convert it with "
            f"pd.to_datetime(df[{column.name!r}], utc=True, format='mixed', errors='coerce')"
        )
    # Numbers of several types are compared one by one, exactly; text is equal to no number.
    return _object_column(cells, column)


_MAX_INTEGER = 2**63
_PLAIN = {bool, int, str, list, dict, date, datetime, pd.Timestamp}  # never missing


def _has_enum(column: pd.Series[Any]) -> bool:
    return any(isinstance(cell, Enum) for cell in column)


def _object_column(cells: Sequence[Any], column: pd.Series[Any]) -> pd.Series[Any]:
    return pd.Series(cells, index=column.index, dtype=object, name=column.name)


def _plain_cell(cell: Any) -> Any:
    """Return a cell as one of the types that a read returns; None if it is missing."""
    match cell:
        case Enum():
            return _plain_cell(cell.value)
        case np.datetime64():
            return None if np.isnat(cell) else pd.Timestamp(cell)
        case np.ndarray():
            return cell.tolist()
        case np.generic() if not isinstance(cell, np.timedelta64):
            return _plain_cell(cell.item())
        case tuple() | list():
            return list(cell)
        case set() | frozenset():
            return sorted(cell, key=repr)
        case Mapping():
            return dict(cell)
        case UUID():
            return str(cell)
        case pd.Period() if isinstance(cell.freq, _DAY_OR_SHORTER):
            return cell.start_time
        case _:
            return None if pd.api.types.is_scalar(cell) and pd.isna(cell) else cell


def _type_of(type_: type[Any]) -> FieldType | None:
    """Return the type of the fields with such cells; None if no field has them."""
    return next((kind for base, kind in _BY_CLASS if issubclass(type_, base)), None)


# In this order: True is an integer, and a time is a date.
_BY_CLASS: tuple[tuple[type[Any], FieldType], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (Decimal, "number"),
    (Fraction, "number"),
    (str, "text"),
    (date, "datetime"),
    (list, "list"),
    (dict, "json"),
)


def _typed_times(column: pd.Series[Any], cells: Sequence[Any], zone: Any) -> pd.Series[Any]:
    """Return Python's and pandas' times as a column of times."""
    objects = _object_column(cells, column)
    has_zone = np.array([getattr(cell, "tzinfo", None) is not None for cell in cells], dtype=bool)
    try:
        naive = _to_microseconds(objects.mask(has_zone, None))
        if has_zone.any():
            naive = naive.mask(has_zone, _to_microseconds(objects.where(has_zone, None)))
    except (ValueError, OverflowError) as error:
        raise FilterError(f"{column.name!r} holds times outside the years 1 to 9999") from error
    return _combine_zones(naive, has_zone, zone)


def _to_microseconds(times: pd.Series[Any]) -> pd.Series[Any]:
    """Return objects, all with a zone or all without one, as times in UTC without a zone."""
    try:
        column = pd.to_datetime(times, utc=True)
    except (
        pd.errors.OutOfBoundsDatetime
    ):  # times in nanoseconds, and a year that they cannot represent
        ticks = [cell.as_unit("us") if isinstance(cell, pd.Timestamp) else cell for cell in times]
        column = pd.to_datetime(_object_column(ticks, times), utc=True)
    return column.dt.tz_localize(None).astype("datetime64[us]")


def _combine_zones(naive: pd.Series[Any], is_utc: Any, zone: Any) -> pd.Series[Any]:
    """Return times of which some are in UTC and the others in a zone."""
    if not is_utc.any():
        return localize(naive, zone)
    local = localize(naive.mask(is_utc), zone).dt.tz_convert("UTC")
    times: pd.Series[Any] = local.mask(is_utc, localize(naive, "UTC"))
    return times


def _parse_times(column: pd.Series[Any], zone: Any, *, is_time: bool) -> pd.Series[Any]:
    """Return the times of a column of text, or the column if it holds none.

    Raise FilterError if only some of it is ISO 8601, or if it must be (`is_time`).
    """
    texts = column.dropna()
    if texts.empty or not (is_time or texts.str.match(_DATE_LIKE).any()):
        return column
    is_iso = texts.str.fullmatch(_ISO_TIME)
    if is_iso.all():
        try:
            return _parse_iso_times(column, zone)
        except ValueError:  # no day of the calendar
            is_iso &= False
    example = texts[~is_iso.to_numpy(dtype=bool)].iloc[0]
    raise FilterError(
        f"{column.name!r} holds text such as {example!r}, not times, so that it cannot be compared "
        f"with times; convert it with pd.to_datetime(df[{column.name!r}], utc=True, format=…)"
    )


def _parse_iso_times(column: pd.Series[Any], zone: Any) -> pd.Series[Any]:
    has_offset = column.str.fullmatch(_ISO_OFFSET).to_numpy(dtype=bool, na_value=False)
    if has_offset.all():
        return pd.to_datetime(column, format="ISO8601", utc=True)
    times = pd.to_datetime(column, format="ISO8601", utc=True).dt.tz_localize(None)
    return _combine_zones(times.astype("datetime64[us]"), has_offset, zone)
