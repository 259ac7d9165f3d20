"""Serialization: unbound expressions to JSON and back, for provenance and saved forms.

Times stay as the user wrote them, so that "the last seven days" of a stored filter means the
seven days before the day on which it is used again.
"""

from __future__ import annotations

import math
import numbers
from datetime import date, datetime, timedelta
from typing import Any, assert_never

import numpy as np
import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or

__all__ = ["filter_from_json", "filter_to_json", "value_from_json", "value_to_json"]


def filter_to_json(term: Expression) -> dict[str, Any]:
    """Return an expression as JSON values; fields are stored by their names.

    >>> from casesearch_pd.query.expressions import Compare
    >>> filter_to_json(Compare("status", "eq", "open"))
    {'field': 'status', 'op': 'eq', 'value': 'open'}
    """
    match term:
        case Compare(field, op, value):
            name = field if isinstance(field, str) else field.column
            return {"field": name, "op": op, "value": value_to_json(value)}
        case And(terms):
            return {"and": [filter_to_json(item) for item in terms]}
        case Or(terms):
            return {"or": [filter_to_json(item) for item in terms]}
        case Not(inner):
            return {"not": filter_to_json(inner)}
        case _:
            assert_never(term)


def filter_from_json(record: dict[str, Any]) -> Expression:
    """Return the expression that `filter_to_json` stored.

    Raise FilterError if it is something else.
    """
    match record:
        case {"field": str(field), "op": str(op), "value": value}:
            return Compare(field, op, value_from_json(value))
        case {"and": list(terms)}:
            return And(tuple(filter_from_json(item) for item in terms))
        case {"or": list(terms)}:
            return Or(tuple(filter_from_json(item) for item in terms))
        case {"not": dict(inner)}:
            return Not(filter_from_json(inner))
        case _:
            raise FilterError(
                f"not a filter in JSON: {record!r}; read the cases again, or build the filter with "
                "cs.field"
            )


def value_to_json(value: Any) -> Any:
    """Return a value, a tuple of values, or None as JSON values."""
    match value:
        case tuple():
            return [value_to_json(item) for item in value]
        case pd.Period():
            return {"period": str(value), "freq": value.freqstr}
        case timedelta():
            return {"timedelta": pd.Timedelta(value).isoformat()}
        case np.generic():
            return _numpy_to_json(value)
        case datetime():
            return {"time": pd.Timestamp(value).isoformat()} if not pd.isna(value) else None
        case date():
            return {"date": value.isoformat()}
        case str() | bool() | int() | None:
            return value
        case numbers.Real():
            return None if math.isnan(value) else float(value)
        case _:
            return None if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)


def _numpy_to_json(value: np.generic) -> Any:
    match value:
        case np.datetime64() | np.timedelta64() if np.isnat(value):
            return None
        case np.datetime64():  # its unit determines whether it is a period
            return {"numpy": str(value), "unit": np.datetime_data(value.dtype)[0]}
        case np.timedelta64():
            return value_to_json(pd.Timedelta(value))
        case _:
            return value_to_json(value.item())


def value_from_json(value: Any) -> Any:
    """Return the value that `value_to_json` stored."""
    match value:
        case list():
            return tuple(value_from_json(item) for item in value)
        case {"period": str(text), "freq": str(freq)}:
            return pd.Period(text, freq)
        case {"numpy": str(text), "unit": str(unit)}:
            return np.array(text, dtype=f"datetime64[{unit}]")[()]
        case {"timedelta": str(text)}:
            return pd.Timedelta(text)
        case {"time": str(text)}:
            return pd.Timestamp(text)
        case {"date": str(text)}:
            return date.fromisoformat(text)
        case _:
            return value
