"""Partitions of a result: disjoint, covering, of similar sizes, and cheap to find."""

from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.query.expressions import TRUE
from casesearch_pd.query.schema import Field
from casesearch_pd.reading.distributed import partitions
from casesearch_pd.reading.distributed.partitions import plan_partitions
from casesearch_pd.reading.fetch.windows import TimeWindow
from casesearch_pd.reading.frames.masks import mask
from casesearch_pd.reading.options import Query, bind_query
from casesearch_pd.reading.plan import make_plan
from casesearch_pd.sources.transport.context import ReadContext, Tuning, use_tuning
from tests.numbered_cases import NOW, SERVICES, numbered

QUICK = settings(deadline=None, derandomize=True, database=None)
START = pd.Timestamp("2026-01-01", tz="UTC")
CREATED = Field("created_at", "created_datetime", "Created", "datetime")
SIZE = 2400
STATES = [f"stage {one}" for one in range(30)]  # more than fit in one search of Persona


def cases():
    """Return cases that are created at an increasing rate, three at a time."""
    frame = numbered(SIZE, ties=3)
    minutes = np.floor(90_000 * (np.arange(SIZE) // 3 / (SIZE / 3)) ** 0.5)
    return frame.assign(
        created_at=START + pd.to_timedelta(minutes, unit="min"),
        status=np.resize(STATES, SIZE),
    )


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases(), now=NOW) as emulator:
        emulator.sources = {
            "connect": emulator.connect_cases(),
            "persona": emulator.persona_cases(),
        }
        for source in emulator.sources.values():
            _ = source.schema
        yield emulator


def plan_windows(source, *, npartitions=None, n_workers=1, **filters):
    """Return the partitions, and how many requests the planning sent."""
    plan = make_plan(source, bind_query(source, Query(filters=filters)), quiet=True)
    context = ReadContext()
    windows = plan_partitions(plan, context, npartitions=npartitions, n_workers=n_workers)
    return windows, context.requests


def window_counts(windows, created):
    """Return for each time the number of windows that contain it, by the mask of a filter."""
    frame = pd.DataFrame({"created_at": pd.Series(created, dtype="datetime64[us, UTC]")})
    return sum(mask(frame, window.where(CREATED)).astype(int) for window in windows)


def sizes(windows, frame):
    return [int(window_counts([window], frame["created_at"]).sum()) for window in windows]


# --- the law --------------------------------------------------------------------------------------


@settings(QUICK, max_examples=30)
@given(
    name=st.sampled_from(SERVICES),
    npartitions=st.none() | st.integers(1, 40),
    n_workers=st.integers(1, 9),
    filtered=st.booleans(),
)
def test_every_case_is_in_one_partition(local, name, npartitions, n_workers, filtered):
    """Law 4: disjoint and covering, up to the bound; a missing time is in exactly one."""
    filters = {"status": STATES[:24]} if filtered else {}
    windows, _ = plan_windows(
        local.sources[name], npartitions=npartitions, n_workers=n_workers, **filters
    )
    end = windows[-1].end
    borders = [at for window in windows for at in (window.start, window.end) if at]
    near = [at + pd.Timedelta(us, "us") for at in borders for us in (-1, 0, 1)]
    created = [pd.NaT, START - pd.Timedelta(999, "D"), *cases()["created_at"], *near]
    inside = [int(at is pd.NaT or at < end) for at in created]
    assert window_counts(windows, created).tolist() == inside


def test_the_upper_bound_is_the_clock_of_the_service(local):
    """The local clock may be hours behind, and cases would silently be missing."""
    for source in local.sources.values():
        (*_, last), _ = plan_windows(source, npartitions=3)
        assert abs(last.end - pd.Timestamp(local.clock())) < pd.Timedelta(2, "s")


def test_a_case_of_the_current_second_is_within_the_bound():
    """The Date header has whole seconds, so by it such a case is in the future."""
    with cs.LocalCases(numbered(5), now=NOW) as emulator:
        sources = emulator.connect_cases(), emulator.persona_cases()
        for at, source in enumerate(sources):
            emulator.insert({"case_id": f"new_{at}", "title": "new"})
            windows, _ = plan_windows(source)
            newest = cs.read_cases(source, progress=False)["created_at"]
            assert window_counts(windows, newest).tolist() == [1] * len(newest)


def test_adjacent_partitions_do_not_overlap():
    windows = [TimeWindow(None, START), TimeWindow(START, NOW)]
    assert TimeWindow().where(CREATED) == TRUE
    assert window_counts(windows, [START]).tolist() == [1]


# --- sizes and costs ------------------------------------------------------------------------------


@pytest.mark.parametrize("npartitions", [2, 7, 24])
def test_counted_partitions_have_similar_sizes_for_one_request_each(local, npartitions):
    windows, requests = plan_windows(local.sources["connect"], npartitions=npartitions)
    assert len(windows) == npartitions
    assert max(sizes(windows, cases())) <= 1.6 * SIZE / npartitions
    assert requests <= 2 + 1.5 * npartitions


def test_partitions_by_density_need_ten_requests(local):
    """Of eight equal durations, the last would have three times its share."""
    windows, requests = plan_windows(local.sources["persona"], npartitions=8)
    assert len(windows) == 8
    assert max(sizes(windows, cases())) <= 1.8 * SIZE / 8
    assert requests == 10


def test_a_split_filter_is_sampled_part_by_part(local):
    """With so many values one search of Persona has no room for a window, but two have."""
    windows, requests = plan_windows(local.sources["persona"], npartitions=4, status=STATES[:24])
    assert len(windows) == 4
    assert requests == 1 + 2 * (1 + 4)


def test_without_a_number_there_are_as_many_as_useful(local):
    """One worker needs no partitions of a small result; several need some each."""
    for source in local.sources.values():
        assert len(plan_windows(source)[0]) == 1
    with use_tuning(replace(Tuning(), min_partition_rows=100)):
        for source in local.sources.values():
            assert 6 <= len(plan_windows(source, n_workers=2)[0]) <= 10
    with use_tuning(replace(Tuning(), min_partition_rows=100, partition_rows=500)):
        windows, _ = plan_windows(local.sources["connect"])
    assert len(windows) == ceil(SIZE / 500)


def test_a_result_of_one_page_is_divided_without_another_request(local):
    for source in local.sources.values():
        windows, requests = plan_windows(source, npartitions=5, count__lt=90)
        assert (len(windows), requests) == (5, 1)
        assert sizes(windows, cases()[:90]) == [18] * 5


def test_nothing_to_read_is_one_partition(local):
    for source in local.sources.values():
        windows, requests = plan_windows(source, npartitions=5, count=-1)
        assert (len(windows), requests) == (1, 1)
        windows, requests = plan_windows(source, npartitions=5, status=[])
        assert (windows, requests) == ((TimeWindow(),), 0)


@pytest.mark.parametrize("reason", ["ids", "fresh"])
def test_a_filter_without_room_for_a_window_is_one_partition(local, reason):
    """A window in the residual would have every partition read everything."""
    source = local.persona_cases(fresh=reason == "fresh", schema=local.sources["persona"].schema)
    filters = {"case_id": ["case_00000", "case_00001"]} if reason == "ids" else {}
    assert plan_windows(source, npartitions=5, **filters) == ((TimeWindow(),), 0)


def test_cases_of_one_creation_time_are_one_partition():
    frame = numbered(300).assign(created_at=START)
    with cs.LocalCases(frame, now=NOW) as emulator:
        for source in (emulator.connect_cases(), emulator.persona_cases()):
            windows, requests = plan_windows(source, npartitions=4)
            assert len(windows) == 1
            assert requests <= 10


# --- dividing by counts ---------------------------------------------------------------------------


@st.composite
def creation_times(draw):
    """Draw the milliseconds at which cases were created: evenly, in bursts, ever faster."""
    size = draw(st.integers(1, 3000))
    draws = np.random.default_rng(draw(st.integers(0, 99)))
    span = draw(st.sampled_from([10, 10**6, 10**11]))
    even = draws.random(size)
    positions = {
        "even": even,
        "faster": even ** draw(st.sampled_from([0.1, 0.5, 3])),
        "log": np.exp(-25 * even),
        "bursts": np.round(even * draw(st.integers(1, 5))) / 5 + even / 10**6,
    }[draw(st.sampled_from(["even", "faster", "log", "bursts"]))]
    return np.sort((positions * span).astype(np.int64))


@settings(QUICK, max_examples=150)
@given(created=creation_times(), npartitions=st.integers(1, 200))
def test_bisecting_by_counts_gives_similar_shares(created, npartitions):
    requests = []

    def count(start, end):
        requests.append((start, end))
        low, high = ((at - START) // pd.Timedelta(1, "ms") for at in (start, end))
        return int(np.searchsorted(created, high) - np.searchsorted(created, low))

    first, last = (START + pd.Timedelta(int(at), "ms") for at in (created[0], created[-1]))
    range_ = partitions._Range(first, last + pd.Timedelta(1, "ms"), len(created))
    npartitions = min(npartitions, len(created))
    ranges = list(partitions._bisect(range_, len(created) / npartitions, count))
    assert sum(one.rows for one in ranges) == len(created)
    assert all(one.end == other.start for one, other in pairwise(ranges))
    assert len(requests) <= 45 * npartitions  # 2 ** 45 ms are a thousand years
    cuts = partitions._nearest_cuts(ranges, npartitions)
    assert cuts == sorted(cuts)
    borders = [(cut - START) // pd.Timedelta(1, "ms") for cut in sorted({*cuts})]
    shares = np.diff([0, *np.searchsorted(created, borders), len(created)])
    tie = np.unique(created, return_counts=True)[1].max()
    assert len(shares) <= npartitions
    assert max(shares) <= 2 * (len(created) / npartitions + tie)
    crowded = tie > 1 or created[-1] - created[0] < 4 * len(created)
    assert crowded or len(shares) == npartitions
