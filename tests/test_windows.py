"""`TimeWindow`: windows of creation time are disjoint and cover everything, missing times too."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd.query.binding import bind
from casesearch_pd.reading.fetch.windows import TimeWindow, may_match_undated, missing_windows
from casesearch_pd.reading.frames.masks import mask
from casesearch_pd.reading.options import Query, bind_query, binding_context
from casesearch_pd.sources.base import Scan

FIRST = pd.Timestamp("2026-03-01", tz="UTC")
TIMES = st.integers(0, 50).map(lambda hours: FIRST + pd.Timedelta(hours, "h"))
EDGES = st.lists(TIMES, unique=True, max_size=5).map(sorted)


@pytest.fixture(scope="module")
def schema(service):
    return service.sources["connect"].schema


def windows_of(edges):
    return [TimeWindow(*pair) for pair in zip([None, *edges], [*edges, None], strict=True)]


@given(edges=EDGES, times=st.lists(st.none() | TIMES, min_size=1))
def test_each_case_is_in_one_window(schema, edges, times):
    """Law 4, for the condition that is sent as well as for rows that are here."""
    frame = pd.DataFrame({"created_at": pd.to_datetime(pd.Series(times), utc=True)})
    windows, context = windows_of(edges), binding_context(schema, "UTC")
    masks = [mask(frame, bind(window.where("created_at"), context)) for window in windows]
    assert (sum(rows.astype(int) for rows in masks) == 1).all()
    for window, rows in zip(windows, masks, strict=True):
        assert [window.contains(time) for time in times] == rows.tolist()


@given(edges=EDGES, numbers=st.sets(st.integers(0, 5)))
def test_gaps_complete_any_windows(edges, numbers):
    """A resumed read asks for the gaps: a missing one is lost, and a surplus one is read twice."""
    windows = windows_of(edges)
    saved_windows = [window for number, window in enumerate(windows) if number in numbers]
    pieces = sorted(
        [*saved_windows, *missing_windows(saved_windows)],
        key=lambda window: window.start or FIRST.floor("365D"),
    )
    assert pieces[0].start is None
    assert pieces[-1].end is None
    assert [window.end for window in pieces[:-1]] == [window.start for window in pieces[1:]]
    assert {*saved_windows} <= {*pieces}


@given(edges=EDGES.filter(bool), at=TIMES)
def test_a_split_window_is_its_two_halves(edges, at):
    window = TimeWindow(None, edges[0]) if at < edges[0] else TimeWindow(edges[0], None)
    before, after = window.split(at)
    assert (before.start, before.end, after.start, after.end) == (
        window.start, at, at, window.end,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "undated"),
    [
        ({}, True),
        ({"status": "open"}, True),
        ({"created_at__gte": "2026-01"}, False),
        ({"status": "open", "created_at__lt": "2026-01"}, False),
        ({"created_at__ne": "2026-01-01T00:00Z"}, True),
    ],
)
def test_a_filter_of_the_creation_time_leaves_no_cases_without_one(service, filters, undated):
    """Only then may the request for them be saved."""
    source = service.sources["connect"]
    query = bind_query(source, Query(filters=filters))
    assert may_match_undated(Scan(query.where)) is undated
