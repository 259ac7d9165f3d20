"""A frame of cases comes in; which are open, when they were closed, and as of when, goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.reading.frames.frame import require_distinct_columns
from casesearch_pd.reading.local_filter import holds_lists
from casesearch_pd.reading.provenance import read_provenance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DAY",
    "MISSING",
    "as_of",
    "closed_at",
    "column_of",
    "is_open",
    "microseconds_if_present",
    "service_of",
    "timestamp_microseconds",
    "to_microseconds",
    "zone_of",
]

DAY = 86_400_000_000  # microseconds
MISSING = np.iinfo(np.int64).min  # how pandas and numpy store a time that is not there


def column_of(cases: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Take a column of the frame, or say that it has to be read; Arrow's lists become Python's."""
    if column not in cases.columns:
        raise KeyError(f"this needs the column {column!r}; read it too: columns=[…, {column!r}]")
    require_distinct_columns(cases, {column})
    found = cases[column]
    return found.astype(object) if holds_lists(found.dtype) else found


def service_of(cases: pd.DataFrame) -> str | None:
    """Tell which service the cases are of: its provenance's name, or None.

    Raises
    ------
    ValueError
        If the frame has no provenance and cases of several services or reads in it.
    """
    told: str | None = read_provenance(cases).get("source", {}).get("service")
    if told is None:
        _refuse_a_mixture(column_of(cases, "case_id"))
    return told


def _refuse_a_mixture(ids: pd.Series[Any]) -> None:
    """Refuse what `pd.concat` makes of frames of two services: each means other things by open.

    Persona's ids begin with ``case_`` (Persona's OpenAPI description), Connect's are UUIDs.
    """
    text = ids.dropna().astype("str")
    persona = text.str.startswith("case_")
    if persona.any() and not persona.all():
        raise ValueError(
            "this frame has cases of several services, which mean other things by open and closed; "
            "ask each frame by itself, and put the answers together"
        )
    if not text.is_unique:
        raise ValueError(
            f"case_id {text[text.duplicated()].iloc[0]!r} is there twice, so numbers would count "
            "it twice; keep one row a case: df.drop_duplicates('case_id', keep='last')"
        )


def as_of(cases: pd.DataFrame) -> pd.Timestamp:
    """Tell when the cases were as the frame shows them: the service's clock, else now."""
    as_of = read_provenance(cases).get("as_of")
    return pd.Timestamp.now("UTC") if as_of is None else pd.Timestamp(as_of)


def is_open(cases: pd.DataFrame) -> pd.Series[bool]:
    """Tell whether each case is open.

    Amazon Connect: the status is not ``closed``, letter case aside, because it keeps
    ``last_closed_datetime`` after a reopening. Persona: there is no ``closed_at``, because an
    environment names its statuses itself. A frame of neither is judged by its status.
    """
    if service_of(cases) == "persona":
        return column_of(cases, "closed_at").isna().astype(bool).rename("is_open")
    status = column_of(cases, "status").astype("str").str.lower()  # a file may hold numbers
    closed = status.eq("closed").to_numpy(dtype=bool, na_value=False)
    return pd.Series(~closed, index=cases.index, name="is_open")


def closed_at(cases: pd.DataFrame) -> pd.Series[Any]:
    """Tell when each case was closed for good; NaT where it is open or nobody knows."""
    return column_of(cases, "closed_at").mask(is_open(cases).to_numpy())


def zone_of(times: pd.Series[Any]) -> Any:
    """Tell the zone of a column of times; times without one are taken for UTC.

    Raises
    ------
    TypeError
        If the column holds something else.
    """
    if times.isna().all() and times.dtype == object:
        return "UTC"
    if not pd.api.types.is_datetime64_any_dtype(times.dtype):
        raise TypeError(
            f"{times.name!r} holds {times.dtype}, no times; make them with "
            f"pd.to_datetime(df[{times.name!r}], utc=True, format='ISO8601')"
        )
    return times.dt.tz or "UTC"


def to_microseconds(times: pd.Series[Any]) -> NDArray[np.int64]:
    """Count the microseconds since 1970 in UTC; `MISSING` where there is no time.

    Elapsed time is a difference of these, so that no change of the clocks is in it.
    """
    zone_of(times)
    if times.dtype == object:
        return np.full(len(times), MISSING, dtype=np.int64)
    return times.to_numpy(dtype="datetime64[us]").view(np.int64)


def timestamp_microseconds(moment: pd.Timestamp) -> int:
    """Count the microseconds of one moment as `to_microseconds` does."""
    return int(moment.as_unit("us").asm8.astype(np.int64))


def microseconds_if_present(cases: pd.DataFrame, column: str) -> NDArray[np.int64]:
    """Take the `to_microseconds` of a column that a service or a read may not have."""
    if column not in cases.columns:
        return np.full(len(cases), MISSING, dtype=np.int64)
    return to_microseconds(column_of(cases, column))
