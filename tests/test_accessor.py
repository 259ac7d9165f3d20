"""`df.cases`: which cases are open, which columns it needs, and its errors."""

import json
from datetime import UTC, datetime

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import casesearch_pd as cs

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


def test_a_frame_without_case_ids_has_no_accessor():
    """The message must reach the user: pandas looks for a column of that name first."""
    with pytest.raises(
        AttributeError, match=r"needs a DataFrame with a 'case_id' column"
    ) as caught:
        _ = pd.DataFrame({"a": [1]}).cases
    assert 'df["cases"]' in str(caught.value)
    assert not hasattr(pd.DataFrame({"cases": [1]}), "cases")


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_on_connect_open_means_not_closed(local, backend):
    """`last_closed_datetime` stays after a reopening, so it does not decide this."""
    frame = cs.read_cases(
        local.connect_cases(), columns=["case_id", "status", "closed_at"], dtype_backend=backend
    )
    is_open = frame.cases.is_open
    assert is_open.dtype == bool
    assert is_open.tolist() == [status != "closed" for status in frame["status"]]
    assert (is_open & frame["closed_at"].notna()).any(), "the data must have reopened cases"


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_on_persona_open_means_not_resolved(local, backend):
    """A Persona environment names its statuses itself; only the resolution time is reliable."""
    frame = cs.read_cases(
        local.persona_cases(), columns=["case_id", "status", "closed_at"], dtype_backend=backend
    )
    is_open = frame.cases.is_open
    assert is_open.tolist() == frame["closed_at"].isna().tolist()
    assert 0 < is_open.sum() < len(frame)
    assert is_open.name == "is_open"


def test_a_service_of_your_own_defines_open_and_tags_by_its_traits():
    """Its traits are stored in provenance, because a DataFrame outlives its source."""
    frame = pd.DataFrame(
        {"case_id": ["a", "b"], "status": ["closed", "DONE"], "tags": [["team=red"], ["vip"]]}
    )
    traits = {"display_name": "Helpdesk", "closed_status": "done", "keyed_tags": False}
    frame.attrs["casesearch"] = json.dumps({"source": {"service": "helpdesk"}, "traits": traits})
    assert frame.cases.is_open.tolist() == [True, False]
    assert list(frame.cases.tags()) == ["team=red", "vip"]


@pytest.mark.parametrize("dtype", ["str", "string", "string[pyarrow]", object])
def test_letter_case_and_missing_status_do_not_affect_is_open(dtype):
    status = pd.Series(["open", "Closed", "CLOSED", None], dtype=dtype)
    frame = pd.DataFrame({"case_id": list("abcd"), "status": status})
    frame.index = pd.Index([3, 1, 4, 1])
    assert frame.cases.is_open.tolist() == [True, False, False, True]
    assert frame.cases.is_open.index.tolist() == [3, 1, 4, 1]


def test_a_missing_column_is_named_in_the_error():
    with pytest.raises(KeyError, match=r"columns=.*'status'"):
        _ = pd.DataFrame({"case_id": ["a"]}).cases.is_open


def test_ages_count_up_to_the_service_s_clock(local):
    """A frame that is opened a year later must not show cases a year older than they were."""
    frame = cs.read_cases(local.connect_cases(), columns=["case_id", "status", "created_at"])
    as_of = frame.cases.as_of
    assert NOW <= as_of <= local.clock()
    with mpl.rc_context({"backend": "agg"}):
        ax = frame.cases.plot.ages()
    assert f"{as_of:%Y-%m-%d}" in ax.get_title()
    mpl.pyplot.close(ax.figure)


def test_a_frame_without_provenance_is_as_of_now():
    frame = pd.DataFrame({"case_id": ["a"]})
    assert abs(frame.cases.as_of - pd.Timestamp.now("UTC")) < pd.Timedelta("1min")
    assert frame.cases.provenance == {}


@pytest.mark.parametrize("statuses", [[np.nan, np.nan], [1, 2], [True, None]])
def test_a_status_that_is_not_text_is_not_closed(statuses):
    """A column without values comes back from a file as numbers."""
    frame = pd.DataFrame({"case_id": ["a", "b"], "status": statuses})
    assert frame.cases.is_open.tolist() == [True, True]


# --- invalid frames -----------------------------------------------------------------------------


def test_several_columns_of_one_name_are_rejected(local, tmp_path):
    """Whichever column was used, the other one might be meant."""
    frame = cs.read_cases(local.connect_cases())
    doubled = pd.concat([frame, frame[["status"]]], axis=1)
    calls = [
        lambda: doubled.cases.where(status="closed"),
        lambda: doubled.cases.refresh(local.connect_cases()),
        lambda: doubled.cases.is_open,
        lambda: doubled.cases.to_parquet(tmp_path / "cases.parquet"),
        lambda: doubled.cases.report(tmp_path / "cases.html"),
    ]
    for call in calls:
        with pytest.raises(cs.FilterError, match="has 2 columns 'status'; keep one"):
            call()
    assert doubled.cases.where(priority="high")[
        "case_id"
    ].is_unique  # other columns are unambiguous
    two_ids = pd.concat([frame, frame[["case_id"]]], axis=1)
    with pytest.raises(cs.FilterError, match="has 2 columns 'case_id'; keep one"):
        cs.read_events(local.connect_cases(), two_ids)
    keyed = frame[["case_id", "tags"]].set_axis(["case_id", "tags"], axis=1)
    keyed.attrs = {}
    with pytest.raises(cs.FilterError, match="has 2 columns 'tags'; keep one"):
        pd.concat([keyed, keyed[["tags"]]], axis=1).cases.where(tags=["a"])


def test_text_is_not_a_source(local):
    """The error names `open_source`; a missing attribute of str would not help."""
    frame = cs.read_cases(local.connect_cases())
    address = "demo://connect"
    calls = [cs.read_cases, cs.count_cases, frame.cases.refresh, lambda it: cs.read_events(it, [])]
    for call in calls:
        with pytest.raises(cs.FilterError, match=r"got the text 'demo://….*open_source"):
            call(address)


def test_arrow_lists_are_lists(local, tmp_path):
    """A Parquet file read with ``dtype_backend="pyarrow"`` has them."""
    frame = cs.read_cases(local.connect_cases())
    back = pd.read_parquet(
        frame.cases.to_parquet(tmp_path / "cases.parquet"), dtype_backend="pyarrow"
    )
    assert isinstance(back["tags"].dtype, pd.ArrowDtype)
    pd.testing.assert_frame_equal(back.cases.tags(), frame.cases.tags())
    bars = [df.cases.plot.breakdown("tags") for df in (frame, back)]
    labels, other = ([text.get_text() for text in ax.get_yticklabels()] for ax in bars)
    assert labels == other
    mpl.pyplot.close("all")
    with pytest.raises(ValueError, match="'tags' holds lists"):
        back.cases.summary("tags")


def test_tags_from_a_text_file_are_rejected(local, tmp_path):
    """The text of several tags would be read as one tag with a strange value."""
    frame = cs.read_cases(local.connect_cases())
    back = pd.read_csv(frame.cases.to_csv(tmp_path / "cases.csv"))
    with pytest.raises(TypeError, match="'tags' must hold lists, got text"):
        back.cases.tags()
