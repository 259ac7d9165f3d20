"""The state of cases: which are open, when they were closed, and as of when that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.reading.frames.frame import require_distinct_columns
from casesearch_pd.reading.local_filter import holds_lists
from casesearch_pd.reading.provenance import Provenance
from casesearch_pd.sources.traits import mixes_services

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from casesearch_pd.sources.traits import ServiceTraits

__all__ = [
    "DAY",
    "MISSING",
    "as_of",
    "closed_at",
    "column_of",
    "is_open",
    "microseconds_if_present",
    "service_traits",
    "timestamp_microseconds",
    "to_microseconds",
    "zone_of",
]

DAY = 86_400_000_000  # microseconds
MISSING = np.iinfo(np.int64).min  # how pandas and numpy store a missing time


def column_of(cases: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return a column, with Arrow's lists as Python's; raise KeyError if it was not read."""
    if column not in cases.columns:
        raise KeyError(f"column {column!r} is missing; read it too: columns=[…, {column!r}]")
    require_distinct_columns(cases, {column})
    values = cases[column]
    return values.astype(object) if holds_lists(values.dtype) else values


def service_traits(cases: pd.DataFrame) -> ServiceTraits:
    """Return what the service of the cases means by open, closed and tags.

    Raise ValueError if the origin is unknown and cases of several services, or one case twice,
    are in the frame.
    """
    provenance = Provenance.from_attrs(cases)
    if not provenance.source:
        _require_one_service(column_of(cases, "case_id"))
    return provenance.traits


def _require_one_service(ids: pd.Series[Any]) -> None:
    # This is what pd.concat makes of frames of two services, or of two reads of one service.
    texts = ids.dropna().astype("str")
    if mixes_services(texts):
        raise ValueError(
            "this DataFrame has cases of several services, which define open and closed "
            "differently; compute the metrics per service and combine the results"
        )
    if not texts.is_unique:
        raise ValueError(
            f"case_id {texts[texts.duplicated()].iloc[0]!r} occurs more than once and would be "
            "counted more than once; keep one row per case: "
            "df.drop_duplicates('case_id', keep='last')"
        )


def as_of(cases: pd.DataFrame) -> pd.Timestamp:
    """Return when the cases were read by the service's clock; the current time if not known."""
    time = Provenance.from_attrs(cases).as_of
    return pd.Timestamp.now("UTC") if time is None else time


def is_open(cases: pd.DataFrame) -> pd.Series[bool]:
    """Return whether each case is open, as its service defines that; see `ServiceTraits`."""
    closed_status = service_traits(cases).closed_status
    if closed_status is None:
        return column_of(cases, "closed_at").isna().astype(bool).rename("is_open")
    # A column of a file may hold numbers; they are the status of no closed case.
    status = column_of(cases, "status").astype("str").str.lower()
    is_closed = status.eq(closed_status.lower()).to_numpy(dtype=bool, na_value=False)
    return pd.Series(~is_closed, index=cases.index, name="is_open")


def closed_at(cases: pd.DataFrame) -> pd.Series[Any]:
    """Return when each case was closed; NaT where it is open or the time is not known."""
    # A service may keep the last closing of a case that was reopened.
    return column_of(cases, "closed_at").mask(is_open(cases).to_numpy())


def zone_of(times: pd.Series[Any]) -> Any:
    """Return the time zone of a column, UTC if it has none; raise TypeError without times."""
    # If nothing was closed yet, the column of a user's own frame may hold only None.
    if times.isna().all() and times.dtype == object:
        return "UTC"
    if not pd.api.types.is_datetime64_any_dtype(times.dtype):
        raise TypeError(
            f"{times.name!r} holds {times.dtype}, not times; convert it with "
            f"pd.to_datetime(df[{times.name!r}], utc=True, format='ISO8601')"
        )
    return times.dt.tz or "UTC"


def to_microseconds(times: pd.Series[Any]) -> NDArray[np.int64]:
    """Return the microseconds since 1970 in UTC; `MISSING` for a missing time.

    A difference of two of them is elapsed time, which no change of the clocks affects.
    """
    zone_of(times)
    if times.dtype == object:
        return np.full(len(times), MISSING, dtype=np.int64)
    return times.to_numpy(dtype="datetime64[us]").view(np.int64)


def timestamp_microseconds(time: pd.Timestamp) -> int:
    """Return the microseconds of one time, as `to_microseconds` does."""
    return int(time.as_unit("us").asm8.astype(np.int64))


def microseconds_if_present(cases: pd.DataFrame, column: str) -> NDArray[np.int64]:
    """Return `to_microseconds` of a column, all `MISSING` if the frame does not have it."""
    if column not in cases.columns:
        return np.full(len(cases), MISSING, dtype=np.int64)
    return to_microseconds(column_of(cases, column))
