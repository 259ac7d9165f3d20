"""The metrics a second time, case by case in simple Python: slow, and easy to verify."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pandas as pd
from hypothesis import strategies as st

DAY = timedelta(days=1)
SKEW = timedelta(minutes=1)  # by which the clock of a service may be ahead of the read
TICK = timedelta(minutes=15)  # every period of every zone begins at one

EVENTS = ("created", "closed", "reopened")
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
        """Return whether it is open, as the service defines that."""
        if service == "persona":
            return self.closed is None
        return (self.status or "").lower() != "closed"

    def closing(self, service, now):
        """Return when it was closed, if it is closed and that time is known."""
        return None if self.is_open(service) else self.event_time("closed", now)

    def open_spans(self, service, now):
        """Return the time spans in which it was open."""
        created, closed, reopened = (self.event_time(name, now) for name in EVENTS)
        if not self.is_open(service):
            return [] if closed is None else [(created, closed)]
        if created is None:
            return [(now, None)]
        if closed and reopened and closed <= reopened:
            return [(created, closed), (reopened, None)]
        return [(created, None)]

    def event_time(self, name, now):
        """Return when it was created, closed or reopened; None before creation, after the read."""
        created, at = self.created, getattr(self, name)
        if created is None or at is None or max(created, at) > now + SKEW:
            return None
        created, at = min(created, now), min(at, now)
        return at if at >= created else None


def frame_of(cases, service, now, *, zone="UTC", backend="default", provenance=None):
    """Return the frame that a read of these cases returns."""
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
        values = pd.Series([getattr(case, name) for case in cases], dtype="datetime64[us, UTC]")
        columns[column] = values.dt.tz_convert(zone).astype(times.format(zone))
    frame = pd.DataFrame(columns)
    record = {"source": {"service": service}, "as_of": now.isoformat()} | (provenance or {})
    frame.attrs["casesearch"] = json.dumps(record)
    return frame


def period_label(time, zone, freq):
    """Return the period of a time by what a local calendar and clock show."""
    local = time.astimezone(zone)
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
    """Return the labels of the periods, and the counts in each of them."""
    created = [at for case in cases if (at := case.event_time("created", now)) is not None]
    if not created:
        return [], []
    periods = _periods(min(created), now, zone, freq)
    rows = [
        (*_event_counts(cases, now, zone, freq, label), _open_at(cases, service, now, end))
        for label, end in periods
    ]
    return [label for label, _ in periods], rows


def _periods(first, last, zone, freq):
    """Return (label, first tick of the next label) of each period, tick by tick."""
    at = first - (first - datetime.min.replace(tzinfo=UTC)) % TICK
    labels, ends = [period_label(first, zone, freq)], []
    last_label = period_label(last, zone, freq)
    while True:
        at += TICK
        label = period_label(at, zone, freq)
        if label == labels[-1]:
            continue
        ends.append(at)
        if labels[-1] == last_label:
            return list(zip(labels, ends, strict=True))
        labels.append(label)


def _event_counts(cases, now, zone, freq, label):
    for name in EVENTS:
        times = [at for case in cases if (at := case.event_time(name, now)) is not None]
        yield sum(1 for at in times if period_label(at, zone, freq) == label)


def _open_at(cases, service, now, end):
    spans = [span for case in cases for span in case.open_spans(service, now)]
    return sum(1 for start, stop in spans if start < end and (stop is None or stop >= end))


def durations(case, service, now):
    """Return age, time to close and SLA of one case in days."""
    is_open, closing = case.is_open(service), case.closing(service, now)
    created = case.event_time("created", now)
    age = close = sla = None
    if is_open and created is not None:
        age = (now - created) / DAY
    if closing is not None:
        close = (closing - created) / DAY
    if is_open and case.due is not None:
        sla = (case.due - now) / DAY
    return age, close, sla


def within_sla(case, service, now):
    """Return whether one case met its SLA; None if that is not known."""
    if case.due is None:
        return None
    if case.is_open(service):
        return False if case.due < now else None
    created = case.event_time("created", now)
    if case.closed is None or case.closed > now + SKEW:
        return None
    closed = min(case.closed, now)
    return None if created is not None and closed < created else closed <= case.due


def days_until_closed(closed, still_open, share):
    """Return by Kaplan and Meier, in fractions, when a share of the cases is closed."""
    open_share = Fraction(1)
    for day in sorted(set(closed)):
        at_risk = sum(1 for other in (*closed, *still_open) if other >= day)
        open_share *= Fraction(at_risk - closed.count(day), at_risk)
        if open_share <= 1 - share:
            return day
    return math.nan


def case_lists(base, *, span_days=40):
    """Return a strategy of cases with times after `base`, some missing, some in wrong order."""
    minutes = st.integers(0, span_days * 24 * 60)
    times = st.none() | minutes.map(lambda number: base + timedelta(minutes=number))
    statuses = st.sampled_from(["open", "pending", "closed", "CLOSED", None])
    return st.lists(st.builds(Case, statuses, times, times, times, times), max_size=12)
