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
        local.connect_cases(), columns=["case_id", "status", "closed_at"], dtype_backend=backend
    )
    is_open = frame.cases.is_open
    assert is_open.dtype == bool
    assert is_open.tolist() == [status != "closed" for status in frame["status"]]
    assert (is_open & frame["closed_at"].notna()).any(), "the data must have reopened cases"


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_on_persona_open_means_not_resolved(local, backend):
    """A Persona environment names its statuses itself; only the resolution time is sure."""
    frame = cs.read_cases(
        local.persona_cases(), columns=["case_id", "status", "closed_at"], dtype_backend=backend
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
    frame = cs.read_cases(local.connect_cases(), columns=["case_id", "status", "created_at"])
    as_of = frame.cases.as_of
    assert NOW <= as_of <= local.clock()
    with mpl.rc_context({"backend": "agg"}):
        ax = frame.cases.plot.ages()
    assert f"{as_of:%Y-%m-%d}" in ax.get_title()
    mpl.pyplot.close(ax.figure)


def test_a_frame_of_your_own_is_as_of_now():
    frame = pd.DataFrame({"case_id": ["a"]})
    assert abs(frame.cases.as_of - pd.Timestamp.now("UTC")) < pd.Timedelta("1min")
    assert frame.cases.provenance == {}


@pytest.mark.parametrize("statuses", [[np.nan, np.nan], [1, 2], [True, None]])
def test_a_status_that_is_no_text_is_not_closed(statuses):
    """A column of a file that holds nothing comes back as numbers."""
    frame = pd.DataFrame({"case_id": ["a", "b"], "status": statuses})
    assert frame.cases.is_open.tolist() == [True, True]


# --- odd frames -----------------------------------------------------------------------------


def test_several_columns_of_one_name_are_refused(local, tmp_path):
    """Whichever was taken, it might be the other that is meant."""
    frame = cs.read_cases(local.connect_cases())
    twice = pd.concat([frame, frame[["status"]]], axis=1)
    ways = [
        lambda: twice.cases.where(status="closed"),
        lambda: twice.cases.refresh(local.connect_cases()),
        lambda: twice.cases.is_open,
        lambda: twice.cases.to_parquet(tmp_path / "cases.parquet"),
        lambda: twice.cases.report(tmp_path / "cases.html"),
    ]
    for way in ways:
        with pytest.raises(cs.FilterError, match="has 2 columns 'status'; keep one"):
            way()
    assert twice.cases.where(priority="high")["case_id"].is_unique  # the others are clear
    two_ids = pd.concat([frame, frame[["case_id"]]], axis=1)
    with pytest.raises(cs.FilterError, match="has 2 columns 'case_id'; keep one"):
        cs.read_events(local.connect_cases(), two_ids)
    keyed = frame[["case_id", "tags"]].set_axis(["case_id", "tags"], axis=1)
    keyed.attrs = {}
    with pytest.raises(cs.FilterError, match="has 2 columns 'tags'; keep one"):
        pd.concat([keyed, keyed[["tags"]]], axis=1).cases.where(tags=["a"])


def test_text_is_no_source(local):
    """`open_source` makes one of it; an attribute that text lacks would tell nobody so."""
    frame = cs.read_cases(local.connect_cases())
    asked = "demo://connect"
    ways = [cs.read_cases, cs.count_cases, frame.cases.refresh, lambda it: cs.read_events(it, [])]
    for way in ways:
        with pytest.raises(
            cs.FilterError, match=r"text, not a source; open it: open_source\('demo"
        ):
            way(asked)


def test_lists_of_arrow_are_lists(local, tmp_path):
    """They come from Parquet that is read with ``dtype_backend="pyarrow"``."""
    frame = cs.read_cases(local.connect_cases())
    back = pd.read_parquet(
        frame.cases.to_parquet(tmp_path / "cases.parquet"), dtype_backend="pyarrow"
    )
    assert isinstance(back["tags"].dtype, pd.ArrowDtype)
    pd.testing.assert_frame_equal(back.cases.tags(), frame.cases.tags())
    bars = [made.cases.plot.breakdown("tags") for made in (frame, back)]
    labels, other = ([text.get_text() for text in ax.get_yticklabels()] for ax in bars)
    assert labels == other
    mpl.pyplot.close("all")
    with pytest.raises(ValueError, match="'tags' holds lists"):
        back.cases.summary("tags")


def test_tags_from_a_text_file_are_refused(local, tmp_path):
    """The text of several tags would be taken for one tag with a strange value."""
    frame = cs.read_cases(local.connect_cases())
    back = pd.read_csv(frame.cases.to_csv(tmp_path / "cases.csv"))
    with pytest.raises(TypeError, match="'tags' holds text here, not lists"):
        back.cases.tags()
