"""The kind of a column of a frame, by its dtype or, in a column of objects, by its values."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd

_PREVIEW = 5


def kind_of(name: str, values: pd.Series) -> str:
    """Return the kind of a column; raise ValueError for a dtype that neither service has."""
    dtype = values.dtype
    types = pd.api.types
    if isinstance(dtype, pd.CategoricalDtype):
        is_select = all(isinstance(value, str) for value in dtype.categories)
        return "select" if is_select else _object_kind(name, values)
    if isinstance(dtype, pd.ArrowDtype) and dtype.type is date:
        return "date"
    for kind, fits in (
        ("boolean", types.is_bool_dtype),
        ("integer", types.is_integer_dtype),
        ("number", types.is_float_dtype),
        ("datetime", types.is_datetime64_any_dtype),
    ):
        if fits(dtype):
            return kind
    if isinstance(dtype, pd.ArrowDtype) or types.is_object_dtype(dtype):
        return _object_kind(name, values)
    if types.is_string_dtype(dtype):
        return "text"
    raise _unsupported(name, str(dtype))


def _object_kind(name: str, values: pd.Series) -> str:
    present = [value for value in values if not is_missing(value)]
    kinds = {_value_kind(value) for value in present} or {"text"}
    # A column of objects may have integers and floats: they are numbers.
    if kinds == {"integer", "number"}:
        return "number"
    if len(kinds) == 1 and "" not in kinds:
        return kinds.pop()
    names = sorted({type(value).__name__ for value in present})
    raise _unsupported(name, f"{values.dtype} with values of type {', '.join(names[:_PREVIEW])}")


def is_missing(value: Any) -> bool:
    """Return whether a cell has no value."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _value_kind(value: Any) -> str:
    return next((kind for kind, fits in _VALUE_KINDS.items() if fits(value)), "")


def _is_texts(value: Any) -> bool:
    if not pd.api.types.is_list_like(value) or isinstance(value, Mapping | set | frozenset):
        return False
    return all(isinstance(item, str) for item in value)


_VALUE_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "boolean": pd.api.types.is_bool,
    "text": lambda value: isinstance(value, str),
    "integer": pd.api.types.is_integer,
    "number": lambda value: pd.api.types.is_float(value) or isinstance(value, Decimal),
    "datetime": lambda value: isinstance(value, datetime),
    "date": lambda value: isinstance(value, date),
    "list": _is_texts,
}


def _unsupported(name: str, what: str) -> ValueError:
    return ValueError(
        f"column {name!r} has the unsupported dtype {what}; use text, numbers, booleans, "
        "date-times, categories or lists of text, or drop it"
    )
