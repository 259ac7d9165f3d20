"""Cases that are told apart at a glance, and the test that a frame holds every one of them."""

import numpy as np
import pandas as pd

import casesearch_pd as cs

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
