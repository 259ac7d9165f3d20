"""Tags as columns, time in status and display names: against simple loops, on both services."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.analysis.display_names import labels
from casesearch_pd.analysis.status_history import time_in_status
from casesearch_pd.analysis.tags import tags

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
SERVICE = {"cases": 200}
AGENT = "arn:aws:connect:us-east-1:111122223333:instance/8a1f/agent/{}"
ONE, TWO = "0f14d0ab-9605-4a62-a9e4-5ed26688389b", "0f14d0ab-0000-4a62-a9e4-5ed26688389b"


# --- tags ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_a_tag_key_on_connect_is_a_text_column(local, backend):
    frame = cs.read_cases(local.connect_cases(), dtype_backend=backend)
    wide = frame.cases.tags()
    expected = [dict(tag.split("=", 1) for tag in items) for items in frame["tags"]]
    assert list(wide) == sorted({key for pairs in expected for key in pairs}) != []
    for row, pairs in zip(wide.to_dict("records"), expected, strict=True):
        assert {key: value for key, value in row.items() if not pd.isna(value)} == pairs


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_a_tag_on_persona_is_a_boolean_column(local, backend):
    frame = cs.read_cases(local.persona_cases(), dtype_backend=backend)
    wide = frame.cases.tags()
    assert set(map(str, wide.dtypes)) == {"boolean"}
    for row, items in zip(wide.to_dict("records"), frame["tags"], strict=True):
        assert {tag for tag, is_set in row.items() if is_set} == set(items)


TAGS = st.text("ab=, é", min_size=1, max_size=3)


@given(st.lists(st.none() | st.lists(TAGS, max_size=3), max_size=6))
@settings(deadline=None, max_examples=100)
def test_any_tags_become_columns(lists):
    """A single tag without ``=`` means that none of them have keys."""
    frame = pd.DataFrame({"case_id": range(len(lists)), "tags": pd.Series(lists, dtype=object)})
    frame.index = pd.Index(range(9, 9 + len(lists)))
    wide = tags(frame)
    assert wide.index.equals(frame.index)
    all_tags = [tag for items in lists for tag in items or []]
    if all("=" in tag for tag in all_tags):
        expected = [values_by_key(items or []) for items in lists]
    else:
        columns = sorted(set(all_tags))
        expected = [
            {tag: None if items is None else tag in items for tag in columns} for items in lists
        ]
    rows = wide.astype(object).where(wide.notna(), None).to_dict("records")
    assert [{k: v for k, v in row.items() if v is not None} for row in rows] == [
        {k: v for k, v in row.items() if v is not None} for row in expected
    ]


def values_by_key(items):
    values = {}
    for tag in items:
        key, _, value = tag.partition("=")
        values[key] = f"{values[key]}, {value}" if key in values else value
    return values


def test_tags_from_parquet_may_be_arrays(local, tmp_path):
    frame = cs.read_cases(local.connect_cases())
    frame.to_parquet(tmp_path / "cases.parquet")
    back = pd.read_parquet(tmp_path / "cases.parquet")
    assert isinstance(back["tags"].iloc[0], np.ndarray)
    pd.testing.assert_frame_equal(back.cases.tags(), frame.cases.tags())


def test_a_frame_without_tags_is_rejected():
    with pytest.raises(KeyError, match=r"columns=.*'tags'"):
        tags(pd.DataFrame({"case_id": ["a"]}))


# --- time in status --------------------------------------------------------------------------


def history(*changes):
    """Return events from (case, day, field, old, new)."""
    rows = [
        {"case_id": case, "at": NOW - timedelta(days=30 - day), "event": "Case.Updated"}
        | {"field": field, "old": old, "new": new, "by": None}
        for case, day, field, old, new in changes
    ]
    columns = ["case_id", "at", "event", "field", "old", "new", "by"]
    events = pd.DataFrame(rows, columns=columns)
    return events.astype({"at": "datetime64[us, UTC]"})


def cases_of(**status):
    created = pd.Series([NOW - timedelta(days=30)] * len(status), dtype="datetime64[us, UTC]")
    frame = pd.DataFrame(
        {"case_id": list(status), "status": list(status.values()), "created_at": created}
    )
    frame.attrs["casesearch"] = f'{{"as_of": "{NOW.isoformat()}"}}'
    return frame


def test_days_in_each_status_by_hand():
    events = history(
        ("a", 10, "status", "open", "pending"),
        ("a", 0, "title", None, "x"),
        ("a", 25, "status", "open", "closed"),  # not in order, as in a file
        ("a", 15, "status", "pending", "open"),
        ("b", 5, "queue", None, "billing"),
        ("other", 5, "status", "open", "lost"),
    )
    result = time_in_status(cases_of(a="closed", b="open", c="open"), events)
    assert result.index.tolist() == ["a", "b", "c"]
    assert result.index.name == "case_id"
    assert list(result) == ["closed_days", "open_days", "pending_days"]
    assert result.loc["a"].tolist() == [5.0, 20.0, 5.0]
    assert result.loc["b"].tolist() == [0.0, 30.0, 0.0], "never changed, so open since created"
    assert result.loc["c"].isna().all(), "its history was not read"
    assert set(map(str, result.dtypes)) == {"Float64"}


def test_the_current_status_lasts_until_the_later_read():
    """The history is read after the cases and has the changes in between."""
    events = history(("a", 29, "status", "open", "closed"))
    events.attrs["casesearch"] = f'{{"as_of": "{(NOW + timedelta(days=2)).isoformat()}"}}'
    assert time_in_status(cases_of(a="open"), events).loc["a"].tolist() == [3.0, 29.0]


def test_no_time_in_a_status_is_negative():
    """A change before the creation, or after the read, must not take days from another status."""
    events = history(("a", -5, "status", "open", "pending"), ("a", 40, "status", "pending", "done"))
    result = time_in_status(cases_of(a="done"), events).loc["a"]
    assert result.to_dict() == {"done_days": 0.0, "open_days": 0.0, "pending_days": 30.0}


def test_time_in_status_needs_its_columns():
    cases, events = cases_of(a="open"), history(("a", 1, "status", "open", "closed"))
    with pytest.raises(KeyError, match=r"columns=.*'created_at'"):
        time_in_status(cases.drop(columns="created_at"), events)
    with pytest.raises(KeyError, match="read_events"):
        time_in_status(cases, events.drop(columns="field"))


@pytest.mark.parametrize("no_cases", [True, False])
def test_no_cases_or_no_events_give_no_time(no_cases):
    cases, events = cases_of(a="open"), history()
    result = time_in_status(cases.head(0) if no_cases else cases, events)
    assert len(result) == (0 if no_cases else 1)
    assert result.isna().all().all()


CHANGE_LISTS = st.lists(
    st.tuples(
        st.sampled_from("abz"),
        st.integers(0, 30),
        st.sampled_from(["status", "queue"]),
        st.sampled_from(["open", "pending", None]),
        st.sampled_from(["open", "closed", "pending", None]),
    ),
    max_size=10,
)


@given(CHANGE_LISTS)
@settings(deadline=None, max_examples=100)
def test_time_in_status_is_the_sum_of_the_spans(changes):
    """Changes at the same time apply in the order of the events."""
    result = time_in_status(cases_of(a="open", b="closed"), history(*changes))
    expected = {
        case: days_by_status(case, status, changes)
        for case, status in (("a", "open"), ("b", "closed"))
    }
    for case, days in expected.items():
        row = {name: value for name, value in result.loc[case].items() if value is not pd.NA}
        if days is None:
            assert row == {}
        else:
            assert {name: value for name, value in row.items() if value} == pytest.approx(days)
            assert len(row) == result.shape[1]


def days_by_status(case, status, changes):
    own = [change for change in changes if change[0] == case]
    if not own:
        return None
    steps = sorted((step for step in own if step[2] == "status"), key=lambda step: step[1])
    current, since, days = (steps[0][3] if steps else status), 0, {}
    for _, day, _, _, new in [*steps, (case, 30, "status", None, None)]:
        days[current] = days.get(current, 0) + day - since
        current, since = new, day
    return {f"{name}_days": number for name, number in days.items() if name is not None and number}


def test_the_statuses_cover_the_whole_age_of_a_case(local):
    """No hour of a case may be missing from its statuses, and none may count twice."""
    source = local.connect_cases()
    frame = cs.read_cases(source, limit=60)
    events = cs.read_events(source, frame, progress=False)
    result = frame.cases.time_in_status(events)
    read_at = max(frame.cases.as_of, pd.Timestamp(events.cases.provenance["as_of"]))
    age = (read_at - frame.set_index("case_id")["created_at"]) / pd.Timedelta(days=1)
    total = result.sum(axis="columns")
    assert total.to_numpy(dtype=float) == pytest.approx(age.to_numpy(dtype=float), abs=1e-4)
    closings = events[events["field"].eq("status") & events["new"].eq("closed")]
    was_closed = result["closed_days"].gt(0).to_numpy(dtype=bool)
    assert set(result.index[was_closed]) == set(closings["case_id"]) != set()


# --- display names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        {"q1": "Billing", "q3": " "},
        pd.Series({"q1": "Billing", "q3": None}),
        lambda value: "Billing" if value == "q1" else None,
    ],
    ids=["mapping", "series", "function"],
)
def test_names_replace_ids(names):
    """An id without a name stays an id, never a blank; a missing value stays missing."""
    result = labels(["q1", "q2", "q3", None], names)
    assert result == ["Billing", "q2", "q3", None]


def test_without_names_ids_stay_as_they_are():
    assert labels([AGENT.format(ONE), 3]) == [AGENT.format(ONE), 3]


def test_unknown_ids_are_shortened_and_stay_distinct():
    result = labels([AGENT.format(ONE), AGENT.format(TWO), ONE, "arn:aws:x", "arn:"], {})
    assert result[0] == f"agent 0f14d0ab… ({AGENT.format(ONE)})"
    assert result[2:] == ["0f14d0ab…", "aws x", "arn:"]
    assert len(set(result)) == 5


def test_two_ids_with_one_name_stay_two_groups(local):
    frame = cs.read_cases(local.connect_cases())
    result = frame.cases.summary("queue", names="team".format)
    assert result.index.is_unique
    assert result["count"].sum() == len(frame)


def test_names_apply_to_every_index_level(local):
    frame = cs.read_cases(local.connect_cases())
    result = frame.cases.summary(["status", "queue"], names={"cqueue_billing": "Billing"})
    assert "Billing" in result.index.get_level_values("queue")
    by_id = frame.cases.summary(["status", "queue"])
    assert result["count"].tolist() == by_id["count"].tolist()


def test_a_list_of_names_is_rejected():
    with pytest.raises(TypeError, match="names must be a mapping, a Series"):
        labels(["q1"], ["Billing"])
