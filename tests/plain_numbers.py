"""The numbers of cases once more, case by case in plain Python: slow, and easy to believe."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pandas as pd
from hypothesis import strategies as st

DAY = timedelta(days=1)
TICK = timedelta(minutes=15)  # no border of a period lies between two

BACKENDS = {
    "default": ("str", "datetime64[us, {}]"),
    "numpy_nullable": ("string", "datetime64[ns, {}]"),
    "pyarrow": ("string[pyarrow]", "timestamp[us, tz={}][pyarrow]"),
}


@dataclass(frozen=True)
class Case:
    """One case; times in UTC or None."""

    status: str | None
    created: datetime | None
    closed: datetime | None
    reopened: datetime | None
    due: datetime | None

    def is_open(self, service):
        """Tell whether it is open, as the service means that."""
        if service == "persona":
            return self.closed is None
        return (self.status or "").lower() != "closed"

    def closing(self, service):
        """Tell when it was closed for good, where that is known and after its creation."""
        if self.is_open(service) or self.created is None or self.closed is None:
            return None
        return self.closed if self.closed >= self.created else None

    def spells(self, service):
        """List from when till when it was open."""
        if self.created is None:
            return []
        if not self.is_open(service):
            closing = self.closing(service)
            return [] if closing is None else [(self.created, closing)]
        if self.closed and self.reopened and self.created <= self.closed <= self.reopened:
            return [(self.created, self.closed), (self.reopened, None)]
        return [(self.created, None)]

    def happened(self, what):
        """Tell when it was created, closed or reopened, unless that is before its creation."""
        at = getattr(self, what)
        known = self.created is not None and at is not None and at >= self.created
        return at if known else None


def frame_of(cases, service, now, *, zone="UTC", backend="default", told=None):
    """Make the frame that a read of these cases gives."""
    text, times = BACKENDS[backend]
    columns = {
        "case_id": pd.Series([f"c{number}" for number in range(len(cases))], dtype=text),
        "status": pd.Series([case.status for case in cases], dtype=text),
    }
    names = {
        "created_at": "created",
        "closed_at": "closed",
        "last_reopened_datetime": "reopened",
        "sla_at": "due",
    }
    for column, name in names.items():
        held = pd.Series([getattr(case, name) for case in cases], dtype="datetime64[us, UTC]")
        columns[column] = held.dt.tz_convert(zone).astype(times.format(zone))
    frame = pd.DataFrame(columns)
    said = {"source": {"service": service}, "as_of": now.isoformat()} | (told or {})
    frame.attrs["casesearch"] = json.dumps(said)
    return frame


def label(moment, zone, freq):
    """Name the period of a moment by what a calendar and a clock on the wall show."""
    local = moment.astimezone(zone)
    match freq:
        case "h":
            return local.replace(minute=0, second=0, microsecond=0, tzinfo=None), local.fold
        case "D":
            return local.date()
        case "W":
            return local.date() - timedelta(days=local.weekday())
        case "MS":
            return local.year, local.month


def flow(cases, service, now, zone, freq):
    """Count by labels, and the open ones by their spells at the end of each period."""
    created = [case.created for case in cases if case.created is not None]
    if not created:
        return [], []
    periods = _periods(min(created), max([now, min(created)]), zone, freq)
    rows = [
        (*_happened(cases, zone, freq, name), _open_at(cases, service, end))
        for name, end in periods
    ]
    return [name for name, _ in periods], rows


def _periods(first, last, zone, freq):
    """List (label, first tick of the next label), found by walking through the time."""
    at, found, ends = first - (first - datetime.min.replace(tzinfo=UTC)) % TICK, [], []
    final = label(last, zone, freq)
    found.append(label(first, zone, freq))
    while True:
        at += TICK
        name = label(at, zone, freq)
        if name == found[-1]:
            continue
        ends.append(at)
        if found[-1] == final:
            return list(zip(found, ends, strict=True))
        found.append(name)


def _happened(cases, zone, freq, name):
    for what in ("created", "closed", "reopened"):
        times = [at for case in cases if (at := case.happened(what)) is not None]
        yield sum(1 for at in times if label(at, zone, freq) == name)


def _open_at(cases, service, end):
    spells = [spell for case in cases for spell in case.spells(service)]
    return sum(1 for start, stop in spells if start < end and (stop is None or stop >= end))


def durations(case, service, now):
    """Measure one case in days."""
    still, closing = case.is_open(service), case.closing(service)
    age = closed = left = None
    if still and case.created is not None and now - case.created >= -timedelta(minutes=1):
        age = max((now - case.created) / DAY, 0.0)
    if closing is not None:
        closed = (closing - case.created) / DAY
    if still and case.due is not None:
        left = (case.due - now) / DAY
    return age, closed, left


def within_sla(case, service, now):
    """Tell whether one case kept its SLA."""
    if case.due is None:
        return None
    if case.is_open(service):
        return False if case.due < now else None
    if case.closed is None:
        return None
    return case.closed <= case.due


def days_until_closed(closed, still_open, share):
    """Find by Kaplan and Meier, in fractions, when a share of the cases is closed."""
    left = Fraction(1)
    for day in sorted(set(closed)):
        at_risk = sum(1 for other in (*closed, *still_open) if other >= day)
        left *= Fraction(at_risk - closed.count(day), at_risk)
        if left <= 1 - share:
            return day
    return math.nan


def made_cases(base, *, span_days=40):
    """Draw cases whose times lie around a moment, some missing, some in the wrong order."""
    minutes = st.integers(0, span_days * 24 * 60)
    times = st.none() | minutes.map(lambda late: base + timedelta(minutes=late))
    statuses = st.sampled_from(["open", "pending", "closed", "CLOSED", None])
    return st.lists(st.builds(Case, statuses, times, times, times, times), max_size=12)
