"""The state of cases: which are open, when they were closed, and as of when that is known.

Every count, duration and plot uses these definitions, so that no two of them disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from casesearch_pd.reading.frames.cells import holds_lists, localize
from casesearch_pd.reading.frames.frame import require_distinct_columns
from casesearch_pd.reading.provenance import Provenance, zone_of_frame
from casesearch_pd.sources.traits import PERSONA, ServiceTraits, infer_traits, mixes_services

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Times = NDArray[np.int64]
    Days = NDArray[np.float64]

__all__ = [
    "DAY",
    "MISSING",
    "Lifecycle",
    "as_of",
    "case_count",
    "check_repeated_cases",
    "column_of",
    "creation_times",
    "is_open",
    "may_be_persona",
    "one_row_per_case",
    "service_traits",
    "times_if_present",
    "times_of",
    "timestamp_microseconds",
    "to_microseconds",
    "zone_of",
]

DAY = 86_400_000_000  # microseconds
MISSING = np.iinfo(np.int64).min  # how pandas and numpy store a missing time
# Clocks differ, and a service states its own in whole seconds: a case may seem to be created
# up to a minute after the read.
_MAX_SKEW = 60_000_000  # microseconds
# Rows of one case that differ in one of these were read at different times.
_STATE_COLUMNS = (
    "status", "created_at", "closed_at", "updated_at", "sla_at", "last_reopened_datetime",
)  # fmt: skip


def column_of(cases: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return a column, with Arrow's lists as Python's; raise KeyError if it was not read."""
    if column not in cases.columns:
        raise KeyError(f"column {column!r} is missing; read it too: columns=[…, {column!r}]")
    require_distinct_columns(cases, {column})
    values = cases[column]
    return values.astype(object) if holds_lists(values.dtype) else values


def service_traits(cases: pd.DataFrame) -> ServiceTraits:
    """Return what the service of the cases means by open, closed and tags.

    Raise ValueError if the origin is unknown and the frame has cases of several services.
    """
    return _origin(cases) or ServiceTraits()


def _origin(cases: pd.DataFrame) -> ServiceTraits | None:
    """Return the traits of the cases' service; None if it is unknown.

    They are those of the provenance; without it, the columns say more than the ids that the
    session remembers, because an emulator has the same ids on both services.
    """
    provenance = Provenance.from_attrs(cases)
    if provenance.source:
        return provenance.traits
    ids = column_of(cases, "case_id").dropna().astype("str")
    # This is what pd.concat makes of frames of two services.
    if mixes_services(ids):
        raise ValueError(
            "this DataFrame has cases of several services, which define open and closed "
            "differently; compute the metrics per service and combine the results"
        )
    inferred = infer_traits(map(str, cases.columns), ids)
    if inferred is None and (recalled := Provenance.of(cases)).source:
        return recalled.traits
    return inferred


def may_be_persona(cases: pd.DataFrame) -> bool:
    """Return whether some case ids of a frame have the form of Persona's."""
    matches = column_of(cases, "case_id").astype("str").str.match(PERSONA.case_id_pattern)
    return bool(matches.to_numpy(dtype=bool, na_value=False).any())


def one_row_per_case(cases: pd.DataFrame, keys: Iterable[str] = ()) -> pd.DataFrame:
    """Return the frame with one row for each case, or for each case and value of the keys.

    ``df.explode("tags")`` and a join with several rows per case repeat cases, which must not
    count more than once.

    Raises
    ------
    ValueError
        If rows of one case are equal, or show it in two states: then it is not known which
        one counts.
    """
    is_repeated = check_repeated_cases(cases)
    if is_repeated is None:
        return cases
    names = dict.fromkeys(["case_id", *keys])
    values = pd.DataFrame({name: _hashable(column_of(cases, name)) for name in names})
    return cases[~(values.duplicated().to_numpy(dtype=bool) & is_repeated)]


def case_count(cases: pd.DataFrame) -> int:
    """Return the number of cases, which may have several rows each."""
    ids = column_of(cases, "case_id")
    return len(ids) if ids.is_unique else int(ids.nunique() + ids.isna().sum())


def check_repeated_cases(cases: pd.DataFrame) -> NDArray[np.bool_] | None:
    """Return which rows are of a case with several rows; None if there is none.

    Raise ValueError where `one_row_per_case` does.
    """
    ids = column_of(cases, "case_id")
    if ids.is_unique:
        return None
    is_repeated: NDArray[np.bool_] = (ids.duplicated(keep=False) & ids.notna()).to_numpy(bool)
    rows = cases[is_repeated]
    states = rows[["case_id", *(name for name in _STATE_COLUMNS if name in cases.columns)]]
    states = states.apply(_hashable).drop_duplicates()
    conflicts = states["case_id"][states["case_id"].duplicated()]
    if len(conflicts):
        raise ValueError(
            f"case_id {conflicts.iloc[0]!r} occurs more than once, in different states, as in two "
            "reads; keep the last one: df.drop_duplicates('case_id', keep='last')"
        )
    copies = rows[_is_copy(rows)]
    if len(copies):
        raise ValueError(
            f"case_id {copies['case_id'].iloc[0]!r} occurs more than once and would be counted "
            "more than once; keep one row per case: df.drop_duplicates('case_id', keep='last')"
        )
    return is_repeated if is_repeated.any() else None


def _is_copy(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows are equal to an earlier one in every column."""
    # The text of every list and mapping takes long, so only rows are compared that are equal
    # in all other columns.
    simple = [at for at in range(rows.shape[1]) if rows.iloc[:, at].dtype != object]
    is_copy = rows.iloc[:, simple].duplicated(keep=False).to_numpy(dtype=bool, copy=True)
    if is_copy.any():
        is_copy[is_copy] = rows[is_copy].apply(_hashable).duplicated().to_numpy(dtype=bool)
    return is_copy


def _hashable(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column with lists and mappings as text."""
    is_mixed = column.dtype == object and pd.api.types.infer_dtype(column) == "mixed"
    return column.map(repr) if is_mixed or holds_lists(column.dtype) else column


def as_of(cases: pd.DataFrame) -> pd.Timestamp:
    """Return when the cases were read by the service's clock; the current time if not known."""
    # Of several reads the last one counts: what an earlier one could not know is no error.
    times = [read.as_of for read in Provenance.of(cases).reads if read.as_of is not None]
    return max(times, default=None) or pd.Timestamp.now("UTC")


def is_open(cases: pd.DataFrame) -> pd.Series[bool]:
    """Return whether each case is open, as its service defines that; see `ServiceTraits`.

    Raise ValueError where `one_row_per_case` does.
    """
    check_repeated_cases(cases)
    return pd.Series(_open_mask(cases), index=cases.index, name="is_open")


def _open_mask(cases: pd.DataFrame) -> NDArray[np.bool_]:
    traits = _origin(cases)
    open_mask = _is_open_by(cases, traits or ServiceTraits())
    if traits is None:
        _check_status_decides(cases, open_mask)
    return open_mask


def _is_open_by(cases: pd.DataFrame, traits: ServiceTraits) -> NDArray[np.bool_]:
    if traits.closed_status is None:
        return column_of(cases, "closed_at").isna().to_numpy(dtype=bool)
    # A column of a file may hold numbers; they are the status of no closed case.
    status = column_of(cases, "status").astype("str").str.lower()
    return ~status.eq(traits.closed_status.lower()).to_numpy(dtype=bool, na_value=False)


def _check_status_decides(cases: pd.DataFrame, open_mask: NDArray[np.bool_]) -> None:
    """Raise ValueError if cases of unknown origin may be open by another rule than the status."""
    if not may_be_persona(cases) and ("closed_at" not in cases.columns or not open_mask.all()):
        return
    conflicts = int((open_mask != _is_open_by(cases, PERSONA)).sum())
    if conflicts:
        raise ValueError(
            "this DataFrame has no provenance, and status and closed_at disagree on whether "
            f"{conflicts:,} of its cases are open. pandas drops attrs in merge and concat, and "
            "files have none; keep them: new.attrs.update(df.attrs). In a DataFrame of your own, "
            "give closed cases the status 'closed'"
        )


@dataclass(frozen=True)
class Lifecycle:
    """What is known of each case as of the read.

    Times are microseconds since 1970 in UTC, or `MISSING`. A time after the read is unknown, as
    is one before the creation: a clock was wrong, or day and month were swapped.
    """

    as_of: int
    is_open: NDArray[np.bool_]
    created: Times
    last_closed: Times  # also of a case that was reopened later
    reopened: Times

    @classmethod
    def of(cls, cases: pd.DataFrame, *, needs_closed_at: bool = True) -> Lifecycle:
        """Return the lifecycle row by row; repeated cases are checked by the caller."""
        now = timestamp_microseconds(as_of(cases))
        created = creation_times(cases)
        closed = (times_of if needs_closed_at else times_if_present)(cases, "closed_at")
        reopened = times_if_present(cases, "last_reopened_datetime")
        return cls(
            as_of=now,
            is_open=_open_mask(cases),
            created=created,
            last_closed=_known(closed, now, created),
            reopened=_known(reopened, now, created),
        )

    @property
    def closed(self) -> Times:
        """When each closed case was closed; `MISSING` if that is not known, or it is open."""
        # A service may keep the last closing of a case that was reopened.
        return np.where(self.is_open, MISSING, self.last_closed)

    @property
    def age_days(self) -> Days:
        """The age of each open case in days; NaN if it is not known."""
        created = np.where(self.is_open, self.created, MISSING)
        return _days(created, np.full(len(created), self.as_of))

    @property
    def close_days(self) -> Days:
        """The days from the creation to the closing of each closed case; NaN if not known."""
        return _days(self.created, self.closed)


def creation_times(cases: pd.DataFrame) -> Times:
    """Return when each case was created; `MISSING` if that is not known, or after the read."""
    return _known(times_of(cases, "created_at"), timestamp_microseconds(as_of(cases)))


def _known(times: Times, now: int, created: Times | None = None) -> Times:
    """Return the times that may be right; up to a minute after the read is the read."""
    is_known = (times != MISSING) & (times <= now + _MAX_SKEW)
    if created is not None:
        is_known &= (created == MISSING) | (np.minimum(times, now) >= created)
    return np.where(is_known, np.minimum(times, now), MISSING)


def _days(start: Times, end: Times) -> Days:
    is_known = (start != MISSING) & (end != MISSING)
    with np.errstate(over="ignore"):  # of missing times
        return np.where(is_known, (end - start) / DAY, np.nan)


def zone_of(cases: pd.DataFrame) -> Any:
    """Return the zone in which the times of a frame are shown: that of ``created_at``."""
    created = cases["created_at"] if "created_at" in cases.columns else None
    zone = getattr(getattr(created, "dt", None), "tz", None)
    return zone_of_frame(cases) if zone is None else zone


def times_of(cases: pd.DataFrame, column: str) -> Times:
    """Return `to_microseconds` of a column; naive times are in the zone of the frame."""
    return to_microseconds(column_of(cases, column), zone_of_frame(cases))


def times_if_present(cases: pd.DataFrame, column: str) -> Times:
    """Return `times_of` a column, all `MISSING` if the frame does not have it."""
    if column not in cases.columns:
        return np.full(len(cases), MISSING, dtype=np.int64)
    return times_of(cases, column)


def to_microseconds(times: pd.Series[Any], zone: Any) -> Times:
    """Return the microseconds since 1970 in UTC; `MISSING` for a missing time.

    A difference of two of them is elapsed time, which no change of the clocks affects. Naive
    times are in the zone. Raise TypeError if the column holds something else.
    """
    # If nothing was closed yet, the column of a user's own frame may hold only None.
    if times.isna().all():
        return np.full(len(times), MISSING, dtype=np.int64)
    if not pd.api.types.is_datetime64_any_dtype(times.dtype):
        unit = "unit='s'" if pd.api.types.is_numeric_dtype(times.dtype) else "format='ISO8601'"
        raise TypeError(
            f"{times.name!r} holds {times.dtype}, not times; convert it with "
            f"pd.to_datetime(df[{times.name!r}], utc=True, {unit})"
        )
    if times.dt.tz is None:
        times = localize(times, zone)
    return times.to_numpy(dtype="datetime64[us]").view(np.int64)


def timestamp_microseconds(time: pd.Timestamp) -> int:
    """Return the microseconds of one time, as `to_microseconds` does."""
    return int(time.as_unit("us").asm8.astype(np.int64))
