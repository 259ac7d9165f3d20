"""Cases that are told apart at a glance, a service of them, and the test that none is missing."""

from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.reading.fetch import workers as crew

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
SERVICES = ("connect", "persona")
PLAIN = ["case_id", "title", "status", "count", "created_at"]


def numbered(size, *, ties=1, extras=0):
    """Make cases, `ties` of them at each creation time, with so many more columns."""
    number = np.arange(size)
    cases = pd.DataFrame(
        {
            "case_id": [f"case_{one * 7919 % size:05d}" for one in number],
            "title": [f"Case {one}" for one in number],
            "status": np.where(number % 3 == 0, "open", "closed"),
            "created_at": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(number // ties, unit="min"),
            "updated_at": pd.Timestamp("2026-02-01", tz="UTC"),
            "count": pd.array(number, dtype="Int64"),
        }
    )
    more = {f"extra_{one:02d}": pd.array(number * (one + 2), "Int64") for one in range(extras)}
    return cases.assign(**more)


CASES = numbered(1150, ties=3, extras=22)


@contextmanager
def served(page_size, **crew_constants):
    """Serve the cases to a source of each service, which know their fields already.

    `page_size` is Connect's; the constants are those of the crew, smaller than in earnest, so
    that these few cases are shared among readers.
    """
    with cs.LocalCases(CASES, now=NOW) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in crew_constants.items():
            patch.setattr(crew, name, value)
        running.sources = {
            "connect": running.connect_cases(page_size=page_size),
            "persona": running.persona_cases(),
        }
        for source in running.sources.values():
            _ = source.schema
        yield running


def without_faults(service):
    """Lend a service to one test, and take its faults away again."""
    service.faults.clear()
    yield service
    service.faults.clear()


def read(source, **named):
    """Read without a bar."""
    return cs.read_cases(source, progress=False, **named)


def by_id(frame, columns=PLAIN):
    """Bring rows into an order that does not depend on how they came."""
    shown = [name for name in columns if name in frame]
    return frame[shown].sort_values("case_id", ignore_index=True)


def assert_whole(frame, cases):
    """Hold every cell of a frame to the cases that were served."""
    columns = [name for name in cases if name in frame]
    assert len(columns) >= min(len(cases.columns), 4)
    told, true = by_id(frame, columns), by_id(cases, columns)
    pd.testing.assert_frame_equal(told, true, check_dtype=False)
    assert frame.cases.provenance["complete"] is True


def assert_part(frame, cases):
    """Hold the rows of a frame that is not whole to the cases that were served."""
    assert 0 < len(frame) < len(cases)
    some = cases[cases["case_id"].isin(frame["case_id"])]
    columns = [name for name in cases if name in frame]
    told, true = by_id(frame, columns), by_id(some, columns)
    pd.testing.assert_frame_equal(told, true, check_dtype=False)
    assert frame.cases.provenance["complete"] is False
