"""Tags and statuses as columns, and words for ids: against plain loops, and on both services."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.analysis.display_names import labels
from casesearch_pd.analysis.metrics import tags, time_in_status

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
AGENT = "arn:aws:connect:us-east-1:111122223333:instance/8a1f/agent/{}"
ONE, TWO = "0f14d0ab-9605-4a62-a9e4-5ed26688389b", "0f14d0ab-0000-4a62-a9e4-5ed26688389b"


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=200, seed=4, now=NOW) as running:
        yield running


# --- tags ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_a_key_of_connect_is_a_column_of_text(local, backend):
    frame = cs.read_cases(local.connect_cases(), dtype_backend=backend)
    wide = frame.cases.tags()
    meant = [dict(tag.split("=", 1) for tag in held) for held in frame["tags"]]
    assert list(wide) == sorted({key for one in meant for key in one}) != []
    for had, one in zip(wide.to_dict("records"), meant, strict=True):
        assert {key: value for key, value in had.items() if not pd.isna(value)} == one


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_a_tag_of_persona_is_a_column_of_truth(local, backend):
    frame = cs.read_cases(local.persona_cases(), dtype_backend=backend)
    wide = frame.cases.tags()
    assert set(map(str, wide.dtypes)) == {"boolean"}
    for had, held in zip(wide.to_dict("records"), frame["tags"], strict=True):
        assert {tag for tag, has in had.items() if has} == set(held)


WORDS = st.text("ab=, é", min_size=1, max_size=3)


@given(st.lists(st.none() | st.lists(WORDS, max_size=3), max_size=6))
@settings(timeout=None, max_examples=100)
def test_any_tags_are_spread(held):
    """A word without ``=`` among the tags means that none of them are keys."""
    frame = pd.DataFrame({"case_id": range(len(held)), "tags": pd.Series(held, dtype=object)})
    frame.index = pd.Index(range(9, 9 + len(held)))
    wide = tags(frame)
    assert wide.index.equals(frame.index)
    words = [word for one in held for word in one or []]
    if all("=" in word for word in words):
        meant = [joined(one or []) for one in held]
    else:
        columns = sorted(set(words))
        meant = [{w: None if one is None else w in one for w in columns} for one in held]
    rows = wide.astype(object).where(wide.notna(), None).to_dict("records")
    assert [{k: v for k, v in row.items() if v is not None} for row in rows] == [
        {k: v for k, v in row.items() if v is not None} for row in meant
    ]


def joined(words):
    found = {}
    for word in words:
        key, _, value = word.partition("=")
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def test_tags_come_back_from_parquet_as_arrays(local, tmp_path):
    frame = cs.read_cases(local.connect_cases())
    frame.to_parquet(tmp_path / "cases.parquet")
    again = pd.read_parquet(tmp_path / "cases.parquet")
    assert isinstance(again["tags"].iloc[0], np.ndarray)
    pd.testing.assert_frame_equal(again.cases.tags(), frame.cases.tags())


def test_a_frame_without_tags_is_told_so():
    with pytest.raises(KeyError, match=r"columns=.*'tags'"):
        tags(pd.DataFrame({"case_id": ["a"]}))


# --- time in status --------------------------------------------------------------------------


def history(*changes):
    """Make events of (case, day, field, old, new)."""
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
        ("a", 25, "status", "open", "closed"),  # not in order, as a file may be
        ("a", 15, "status", "pending", "open"),
        ("b", 5, "queue", None, "billing"),
        ("stranger", 5, "status", "open", "lost"),
    )
    found = time_in_status(cases_of(a="closed", b="open", c="open"), events)
    assert found.index.tolist() == ["a", "b", "c"]
    assert found.index.name == "case_id"
    assert list(found) == ["closed_days", "open_days", "pending_days"]
    assert found.loc["a"].tolist() == [5.0, 20.0, 5.0]
    assert found.loc["b"].tolist() == [0.0, 30.0, 0.0], "never changed, so open since created"
    assert found.loc["c"].isna().all(), "nobody read its history"
    assert set(map(str, found.dtypes)) == {"Float64"}


def test_the_status_of_now_lasts_until_the_later_read():
    """The history is read after the cases; a change between the two reads is in it."""
    events = history(("a", 29, "status", "open", "closed"))
    events.attrs["casesearch"] = f'{{"as_of": "{(NOW + timedelta(days=2)).isoformat()}"}}'
    assert time_in_status(cases_of(a="open"), events).loc["a"].tolist() == [3.0, 29.0]


def test_no_time_in_a_status_is_less_than_none():
    """A change before the creation, or after the read, would take days from another status."""
    events = history(("a", -5, "status", "open", "pending"), ("a", 40, "status", "pending", "done"))
    found = time_in_status(cases_of(a="done"), events).loc["a"]
    assert found.to_dict() == {"done_days": 0.0, "open_days": 0.0, "pending_days": 30.0}


def test_time_in_status_needs_its_columns():
    cases, events = cases_of(a="open"), history(("a", 1, "status", "open", "closed"))
    with pytest.raises(KeyError, match=r"columns=.*'created_at'"):
        time_in_status(cases.drop(columns="created_at"), events)
    with pytest.raises(KeyError, match="read_events"):
        time_in_status(cases, events.drop(columns="field"))


@pytest.mark.parametrize("no_cases", [True, False])
def test_nothing_has_spent_no_time(no_cases):
    cases, events = cases_of(a="open"), history()
    found = time_in_status(cases.head(0) if no_cases else cases, events)
    assert len(found) == (0 if no_cases else 1)
    assert found.isna().all().all()


CHANGES = st.lists(
    st.tuples(
        st.sampled_from("abz"),
        st.integers(0, 30),
        st.sampled_from(["status", "queue"]),
        st.sampled_from(["open", "pending", None]),
        st.sampled_from(["open", "closed", "pending", None]),
    ),
    max_size=10,
)


@given(CHANGES)
@settings(timeout=None, max_examples=100)
def test_time_in_status_is_the_sum_of_the_spans(changes):
    """Walks through the changes of each case; equal moments stay in the order of the events."""
    found = time_in_status(cases_of(a="open", b="closed"), history(*changes))
    meant = {
        case: spent(case, status, changes) for case, status in (("a", "open"), ("b", "closed"))
    }
    for case, days in meant.items():
        had = {name: value for name, value in found.loc[case].items() if value is not pd.NA}
        if days is None:
            assert had == {}
        else:
            assert {name: value for name, value in had.items() if value} == pytest.approx(days)
            assert len(had) == found.shape[1]


def spent(case, status, changes):
    own = [change for change in changes if change[0] == case]
    if not own:
        return None
    steps = sorted((one for one in own if one[2] == "status"), key=lambda one: one[1])
    now_in, since, days = (steps[0][3] if steps else status), 0, {}
    for _, day, _, _, new in [*steps, (case, 30, "status", None, None)]:
        days[now_in] = days.get(now_in, 0) + day - since
        now_in, since = new, day
    return {f"{name}_days": one for name, one in days.items() if name is not None and one}


def test_the_history_of_the_service_fills_the_life_of_a_case(local):
    """No hour of a case may be missing from its statuses, and none be there twice."""
    source = local.connect_cases()
    frame = cs.read_cases(source, limit=60)
    events = cs.read_events(source, frame, progress=False)
    found = frame.cases.time_in_status(events)
    read_at = max(frame.cases.as_of, pd.Timestamp(events.cases.provenance["as_of"]))
    lived = (read_at - frame.set_index("case_id")["created_at"]) / pd.Timedelta(days=1)
    total = found.sum(axis="columns")
    assert total.to_numpy(dtype=float) == pytest.approx(lived.to_numpy(dtype=float), abs=1e-4)
    closings = events[events["field"].eq("status") & events["new"].eq("closed")]
    was_closed = found["closed_days"].gt(0).to_numpy(dtype=bool)
    assert set(found.index[was_closed]) == set(closings["case_id"]) != set()


# --- words for ids ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        {"q1": "Billing", "q3": " "},
        pd.Series({"q1": "Billing", "q3": None}),
        lambda value: "Billing" if value == "q1" else None,
    ],
    ids=["mapping", "series", "function"],
)
def test_words_stand_for_ids(names):
    """An id without a word keeps its own, never a blank; a missing value stays missing."""
    found = labels(["q1", "q2", "q3", None], names)
    assert found == ["Billing", "q2", "q3", None]


def test_without_names_ids_stay_as_they_are():
    assert labels([AGENT.format(ONE), 3]) == [AGENT.format(ONE), 3]


def test_unknown_ids_are_short_and_still_told_apart():
    found = labels([AGENT.format(ONE), AGENT.format(TWO), ONE, "arn:aws:x", "arn:"], {})
    assert found[0] == f"agent 0f14d0ab… ({AGENT.format(ONE)})"
    assert found[2:] == ["0f14d0ab…", "aws x", "arn:"]
    assert len(set(found)) == 5


def test_two_ids_of_one_name_stay_two_groups(local):
    frame = cs.read_cases(local.connect_cases())
    found = frame.cases.summary("queue", names="desk".format)
    assert found.index.is_unique
    assert found["count"].sum() == len(frame)


def test_words_stand_in_every_level(local):
    frame = cs.read_cases(local.connect_cases())
    found = frame.cases.summary(["status", "queue"], names={"cqueue_billing": "Billing"})
    assert "Billing" in found.index.get_level_values("queue")
    plain = frame.cases.summary(["status", "queue"])
    assert found["count"].tolist() == plain["count"].tolist()


def test_names_without_words_are_refused():
    with pytest.raises(TypeError, match="give a mapping or Series"):
        labels(["q1"], ["Billing"])
