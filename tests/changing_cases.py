"""Cases that change during a read, and a model of what the read may and must return."""

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pandas as pd
from hypothesis import strategies as st

MANY_STATUSES = tuple(
    f"s{number:02d}" for number in range(24)
)  # too many for one search of Persona
STATUSES = (*MANY_STATUSES, "s28", "s29")
EXTRAS = tuple(f"extra_{number:02d}" for number in range(26))  # too many for one pass of Connect
_TARGETS = ("s00", "s23", "s29")  # the first part of the filter, the last one, none


def changing_frame(size, *, ties=4):
    """Return cases of which most match the filter, `ties` of them at each creation time."""
    number = np.arange(size)
    version = pd.array(np.zeros(size), dtype="Int64")
    return pd.DataFrame(
        {
            "case_id": [f"case_{one * 7919 % size:05d}" for one in number],
            "status": [STATUSES[one * 5 % len(STATUSES)] for one in number],
            "created_at": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(number // ties * ties, unit="h"),
            "updated_at": pd.Timestamp("2026-02-01", tz="UTC"),
            "version": version,
        }
        | dict.fromkeys(EXTRAS, version)
    )


@dataclass
class ChangingService:
    """An emulator whose cases change between pages, and a model of its states.

    Parameters
    ----------
    local
        The emulator; its cases are replaced.
    size
        The number of cases at the beginning.
    schedule
        The changes before each page but the first.
    statuses
        The statuses of the filter; None for every case.
    """

    local: object
    size: int
    schedule: list
    statuses: tuple | None = None
    now: dict = field(default_factory=dict)
    versions: dict = field(default_factory=lambda: defaultdict(set))
    throughout: set = field(default_factory=set)
    pages: int = 0
    _lock: object = field(default_factory=threading.Lock)

    def __post_init__(self):
        """Replace the cases of the emulator."""
        for case in self.local.frame()["case_id"]:
            self.local.delete(case)
        for row in changing_frame(self.size).to_dict("records"):
            self.local.insert(row)
            self._note(row["case_id"], row["status"], 0)
        self.local.advance(10)  # the service's clock has full seconds: be later than all cases
        self.throughout = {case for case in self.now if self._matches(case)}

    def change_before(self, read_page):
        """Return a `read_page` that changes cases before each page but the first."""

        def changed_page(scan, cursor, context):
            with self._lock:
                if self.pages:
                    self._apply(self.schedule[self.pages - 1 : self.pages])
                self.pages += 1
                self.local.advance(0.3)
                return read_page(scan, cursor, context)

        return changed_page

    def _apply(self, changes):
        for kind, which, status in changes[0] if changes else ():
            self.local.advance(0.002)
            cases = sorted(self.now)
            getattr(self, f"_{kind}")(cases[which % len(cases)] if cases else None, status)
            self.throughout = {case for case in self.throughout if self._matches(case)}

    def _insert(self, _, status):
        created = self.local.clock()
        case = self.local.insert({"status": status, "created_at": created} | _versions(0))
        self._note(case, status, 0)

    def _backdate(self, _, status):
        """Insert a case with a creation time in the past."""
        created = pd.Timestamp("2026-01-02", tz="UTC") + timedelta(hours=len(self.now))
        case = self.local.insert({"status": status, "created_at": created} | _versions(0))
        self._note(case, status, 0)

    def _update(self, case, _):
        if case is not None:
            self._change(case, self.now[case][0])

    def _move(self, case, status):
        if case is not None:
            self._change(case, status)

    def _change(self, case, status):
        version = self.now[case][1] + 1
        self.local.update(case, status=status, **_versions(version))
        self._note(case, status, version)

    def _delete(self, case, _):
        if case is not None:
            self.local.delete(case)
            del self.now[case]

    def _note(self, case, status, version):
        self.now[case] = (status, version)
        if self._matches(case):
            self.versions[case].add(version)

    def _matches(self, case):
        return case in self.now and (self.statuses is None or self.now[case][0] in self.statuses)

    def check(self, frame):
        """Check a frame against the model."""
        ids = frame["case_id"].tolist()
        assert len(ids) == len(set(ids)), "a case is there twice"
        assert self.throughout <= set(ids), f"lost: {sorted(self.throughout - set(ids))}"
        assert set(ids) <= set(self.versions), "a case is there that never matched"
        rows = zip(ids, frame["version"].tolist(), strict=True)
        wrong = [case for case, version in rows if version not in self.versions[case]]
        assert wrong == [], "a version is there that no matching case ever had"


def inconsistent_cases(frame):
    """Return the ids of the rows that have columns of two versions."""
    extras = [name for name in EXTRAS if name in frame]
    differ = frame[extras].ne(frame["version"], axis=0).any(axis=1)
    return frame.loc[differ, "case_id"].tolist()


def _versions(number):
    return dict.fromkeys(("version", *EXTRAS), number)


def schedules(*kinds):
    """Return a strategy of up to three changes before each of up to twelve pages."""
    which = st.integers(0, 200)
    change = st.tuples(st.sampled_from(kinds), which, st.sampled_from(_TARGETS))
    return st.lists(st.lists(change, max_size=3), max_size=12)
