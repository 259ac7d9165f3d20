"""`df.cases`: which cases are open, what a frame must have, what is not there in words."""

from datetime import UTC, datetime

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import casesearch_pd as cs

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=300, seed=4, now=NOW) as running:
        yield running


def test_a_frame_without_cases_has_no_accessor():
    """The message must reach the user: pandas looks for a column of that name first."""
    with pytest.raises(AttributeError, match=r"needs a frame with a 'case_id' column") as refused:
        _ = pd.DataFrame({"a": [1]}).cases
    assert 'df["cases"]' in str(refused.value)
    assert not hasattr(pd.DataFrame({"cases": [1]}), "cases")


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_on_connect_open_means_not_closed(local, backend):
    """`last_closed_datetime` stays after a reopening, so it says nothing of openness."""
    frame = cs.read_cases(
        local.connect(), columns=["case_id", "status", "closed_at"], dtype_backend=backend
    )
    is_open = frame.cases.is_open
    assert is_open.dtype == bool
    assert is_open.tolist() == [status != "closed" for status in frame["status"]]
    assert (is_open & frame["closed_at"].notna()).any(), "the data must have reopened cases"


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_on_persona_open_means_not_resolved(local, backend):
    """A Persona environment names its statuses itself; only the resolution time is sure."""
    frame = cs.read_cases(
        local.persona(), columns=["case_id", "status", "closed_at"], dtype_backend=backend
    )
    is_open = frame.cases.is_open
    assert is_open.tolist() == frame["closed_at"].isna().tolist()
    assert 0 < is_open.sum() < len(frame)
    assert is_open.name == "is_open"


@pytest.mark.parametrize("dtype", ["str", "string", "string[pyarrow]", object])
def test_openness_minds_no_letter_case_and_no_missing_status(dtype):
    status = pd.Series(["open", "Closed", "CLOSED", None], dtype=dtype)
    frame = pd.DataFrame({"case_id": list("abcd"), "status": status})
    frame.index = pd.Index([3, 1, 4, 1])
    assert frame.cases.is_open.tolist() == [True, False, False, True]
    assert frame.cases.is_open.index.tolist() == [3, 1, 4, 1]


def test_a_column_that_was_not_read_is_named():
    with pytest.raises(KeyError, match=r"columns=.*'status'"):
        _ = pd.DataFrame({"case_id": ["a"]}).cases.is_open


def test_ages_count_from_the_service_s_clock(local):
    """A frame that is opened a year later must not show cases a year older than they were."""
    frame = cs.read_cases(local.connect(), columns=["case_id", "status", "created_at"])
    as_of = frame.cases.read_at()
    assert NOW <= as_of <= local.clock()
    with mpl.rc_context({"backend": "agg"}):
        ax = frame.cases.plot.ages()
    assert f"{as_of:%Y-%m-%d}" in ax.get_title()
    mpl.pyplot.close(ax.figure)


def test_a_frame_of_your_own_is_as_of_now():
    frame = pd.DataFrame({"case_id": ["a"]})
    assert abs(frame.cases.read_at() - pd.Timestamp.now("UTC")) < pd.Timedelta("1min")
    assert frame.cases.provenance == {}


def test_open_since_is_the_creation_of_the_open_cases():
    frame = pd.DataFrame(
        {
            "case_id": ["a", "b"],
            "status": ["closed", "open"],
            "created_at": pd.to_datetime(["2026-03-01", "2026-03-02"], utc=True),
        }
    )
    assert frame.cases.open_since().tolist() == [pd.Timestamp("2026-03-02", tz="UTC")]
    assert frame.cases.open_since().dtype == frame["created_at"].dtype
    assert isinstance(frame.cases.is_open.to_numpy(), np.ndarray)
