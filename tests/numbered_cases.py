"""Numbered cases, an emulator that serves them, and assertions that none is missing."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd

import casesearch_pd as cs
from casesearch_pd.sources.transport.context import Tuning, use_tuning

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
SERVICES = ("connect", "persona")
PLAIN = ["case_id", "title", "status", "count", "created_at"]


def numbered(size, *, ties=1, extras=0):
    """Return cases, `ties` of them at each creation time, with a number of extra columns."""
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
def serve_cases(page_size, **tuning):
    """Serve the cases to a source of each service, fields discovered.

    Parameters
    ----------
    page_size
        The page size of Amazon Connect.
    tuning
        Fields of `Tuning`, smaller than the defaults so that these few cases have several workers
        and several files.
    """
    with cs.LocalCases(CASES, now=NOW) as service, use_tuning(replace(Tuning(), **tuning)):
        service.sources = {
            "connect": service.connect_cases(page_size=page_size),
            "persona": service.persona_cases(),
        }
        for source in service.sources.values():
            assert source.schema.fields
        yield service


def without_faults(service):
    """Yield a service to one test, and remove its faults afterwards."""
    service.faults.clear()
    yield service
    service.faults.clear()


def read(source, **options):
    """Read without a progress bar."""
    return cs.read_cases(source, progress=False, **options)


def by_id(frame, columns=PLAIN):
    """Return the rows in an order that does not depend on how they were read."""
    present = [name for name in columns if name in frame]
    return frame[present].sort_values("case_id", ignore_index=True)


def assert_complete(frame, cases):
    """Check that a frame has every case, equal in every cell."""
    columns = [name for name in cases if name in frame]
    assert len(columns) >= min(len(cases.columns), 4)
    pd.testing.assert_frame_equal(by_id(frame, columns), by_id(cases, columns), check_dtype=False)
    assert frame.cases.provenance["complete"] is True


def assert_partial(frame, cases):
    """Check that a frame has some of the cases, equal in every cell, and says so."""
    assert 0 < len(frame) < len(cases)
    expected = cases[cases["case_id"].isin(frame["case_id"])]
    columns = [name for name in cases if name in frame]
    pd.testing.assert_frame_equal(
        by_id(frame, columns), by_id(expected, columns), check_dtype=False
    )
    assert frame.cases.provenance["complete"] is False
