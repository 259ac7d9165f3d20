"""Partitions of a result: disjoint, covering, of like sizes, and cheap to find."""

from itertools import pairwise
from math import ceil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.query.schema import Field
from casesearch_pd.reading.distributed import partitions as planning
from casesearch_pd.reading.distributed.partitions import Partition, partitions
from casesearch_pd.reading.frames.frame import mask
from casesearch_pd.reading.options import Query, bind_query
from casesearch_pd.reading.plan import make_plan
from casesearch_pd.sources.transport.context import ReadContext
from tests.numbered_cases import NOW, SERVICES, numbered

QUICK = settings(deadline=None, derandomize=True, database=None)
START = pd.Timestamp("2026-01-01", tz="UTC")
CREATED = Field("created_at", "created_datetime", "Created", "datetime")
SIZE = 2400
STATES = [f"stage {one}" for one in range(30)]  # more than one search of Persona holds


def cases():
    """Make cases that come ever faster, three at a time."""
    frame = numbered(SIZE, ties=3)
    minutes = np.floor(90_000 * (np.arange(SIZE) // 3 / (SIZE / 3)) ** 0.5)
    return frame.assign(
        created_at=START + pd.to_timedelta(minutes, unit="min"),
        status=np.resize(STATES, SIZE),
    )


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases(), now=NOW) as running:
        running.sources = {"connect": running.connect_cases(), "persona": running.persona_cases()}
        for source in running.sources.values():
            _ = source.schema
        yield running


def planned(source, *, number=None, readers=1, **filters):
    """Plan, and tell how many requests it took."""
    route = make_plan(source, bind_query(source, Query(filters=filters)), quiet=True)
    run = ReadContext()
    return partitions(route, run, number=number, readers=readers), run.requests


def held(windows, created):
    """Tell of each time in how many windows it is, by the mask of the filter language."""
    frame = pd.DataFrame({"created_at": pd.Series(created, dtype="datetime64[us, UTC]")})
    return sum(mask(frame, window.where(CREATED)).astype(int) for window in windows)


def sizes(windows, frame):
    return [int(held([window], frame["created_at"]).sum()) for window in windows]


# --- the law ----------------------------------------------------------------------------------


@settings(QUICK, max_examples=30)
@given(
    name=st.sampled_from(SERVICES),
    number=st.none() | st.integers(1, 40),
    readers=st.integers(1, 9),
    narrow=st.booleans(),
)
def test_every_case_is_in_one_partition(local, name, number, readers, narrow):
    """Law 4: disjoint and covering, up to the bound; a missing time is in exactly one."""
    asked = {"status": STATES[:24]} if narrow else {}
    windows, _ = planned(local.sources[name], number=number, readers=readers, **asked)
    end = windows[-1].end
    borders = [at for window in windows for at in (window.start, window.end) if at]
    near = [at + pd.Timedelta(us, "us") for at in borders for us in (-1, 0, 1)]
    created = [pd.NaT, START - pd.Timedelta(999, "D"), *cases()["created_at"], *near]
    inside = [int(at is pd.NaT or at < end) for at in created]
    assert held(windows, created).tolist() == inside


def test_the_bound_is_the_clock_of_the_service(local):
    """The clock of this machine may be hours behind, and cases would be missing unsaid."""
    for source in local.sources.values():
        (*_, last), _ = planned(source, number=3)
        assert abs(last.end - pd.Timestamp(local.clock())) < pd.Timedelta(2, "s")


def test_a_case_of_this_very_second_is_not_beyond_the_bound():
    """The Date of an answer tells whole seconds, so by it such a case lies in the future."""
    with cs.LocalCases(numbered(5), now=NOW) as running:
        sources = running.connect_cases(), running.persona_cases()
        for at, source in enumerate(sources):
            running.insert({"case_id": f"new_{at}", "title": "new"})
            windows, _ = planned(source)
            newest = cs.read_cases(source, progress=False)["created_at"]
            assert held(windows, newest).tolist() == [1] * len(newest)


def test_partitions_meet():
    windows = [Partition(None, START), Partition(START, NOW)]
    assert Partition().where(CREATED) == planning.TRUE
    assert held(windows, [START]).tolist() == [1]


# --- sizes and costs --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 7, 24])
def test_counted_partitions_are_of_like_sizes_for_a_request_each(local, number):
    windows, requests = planned(local.sources["connect"], number=number)
    assert len(windows) == number
    assert max(sizes(windows, cases())) <= 1.6 * SIZE / number
    assert requests <= 2 + 1.5 * number


def test_partitions_of_a_service_that_does_not_count_cost_ten_requests(local):
    """Cut into equal times, the last of these eight would hold three times its share."""
    windows, requests = planned(local.sources["persona"], number=8)
    assert len(windows) == 8
    assert max(sizes(windows, cases())) <= 1.8 * SIZE / 8
    assert requests == 10


def test_a_filter_that_is_split_is_asked_part_by_part(local):
    """Beside so many values one search of Persona has no room for a window, but two have."""
    windows, requests = planned(local.sources["persona"], number=4, status=STATES[:24])
    assert len(windows) == 4
    assert requests == 1 + 2 * (1 + 4)


def test_without_a_number_there_are_as_many_as_pay(local, monkeypatch):
    """One reader needs no partitions of a small result; several need some each."""
    for source in local.sources.values():
        assert len(planned(source)[0]) == 1
    monkeypatch.setattr(planning, "_LEAST", 100)
    for source in local.sources.values():
        assert 6 <= len(planned(source, readers=2)[0]) <= 10
    monkeypatch.setattr(planning, "_ROWS", 500)
    windows, _ = planned(local.sources["connect"])
    assert len(windows) == ceil(SIZE / 500)


def test_a_result_of_one_page_is_divided_without_another_request(local):
    for source in local.sources.values():
        windows, requests = planned(source, number=5, count__lt=90)
        assert (len(windows), requests) == (5, 1)
        assert sizes(windows, cases()[:90]) == [18] * 5


def test_nothing_to_read_is_one_partition(local):
    for source in local.sources.values():
        windows, requests = planned(source, number=5, count=-1)
        assert (len(windows), requests) == (1, 1)
        windows, requests = planned(source, number=5, status=[])
        assert (windows, requests) == ((Partition(),), 0)


@pytest.mark.parametrize("way", ["ids", "fresh"])
def test_what_leaves_no_room_for_a_window_is_one_partition(local, way):
    """A window that is only checked here would have every partition read everything."""
    source = local.persona_cases(fresh=way == "fresh", schema=local.sources["persona"].schema)
    asked = {"case_id": ["case_00000", "case_00001"]} if way == "ids" else {}
    assert planned(source, number=5, **asked) == ((Partition(),), 0)


def test_cases_of_one_moment_are_one_partition():
    frame = numbered(300).assign(created_at=START)
    with cs.LocalCases(frame, now=NOW) as running:
        for source in (running.connect_cases(), running.persona_cases()):
            windows, requests = planned(source, number=4)
            assert len(windows) == 1
            assert requests <= 10


# --- dividing by counts -----------------------------------------------------------------------


@st.composite
def moments(draw):
    """Draw the milliseconds at which cases were created: even, in bursts, ever faster."""
    size = draw(st.integers(1, 3000))
    draws = np.random.default_rng(draw(st.integers(0, 99)))
    span = draw(st.sampled_from([10, 10**6, 10**11]))
    even = draws.random(size)
    shaped = {
        "even": even,
        "faster": even ** draw(st.sampled_from([0.1, 0.5, 3])),
        "log": np.exp(-25 * even),
        "bursts": np.round(even * draw(st.integers(1, 5))) / 5 + even / 10**6,
    }[draw(st.sampled_from(["even", "faster", "log", "bursts"]))]
    return np.sort((shaped * span).astype(np.int64))


@settings(QUICK, max_examples=150)
@given(created=moments(), number=st.integers(1, 200))
def test_dividing_by_counts_shares_out_whatever_the_cases_are(created, number):
    asked = []

    def count(start, end):
        asked.append((start, end))
        low, high = ((at - START) // pd.Timedelta(1, "ms") for at in (start, end))
        return int(np.searchsorted(created, high) - np.searchsorted(created, low))

    first, last = (START + pd.Timedelta(int(at), "ms") for at in (created[0], created[-1]))
    whole = planning._Stretch(first, last + pd.Timedelta(1, "ms"), len(created))
    number = min(number, len(created))
    stretches = list(planning._divided(whole, len(created) / number, count))
    assert sum(one.rows for one in stretches) == len(created)
    assert all(one.end == other.start for one, other in pairwise(stretches))
    assert len(asked) <= 45 * number  # 2 ** 45 ms are a thousand years
    cuts = planning._even(stretches, number)
    assert cuts == sorted(cuts)
    borders = [(cut - START) // pd.Timedelta(1, "ms") for cut in sorted({*cuts})]
    held = np.diff([0, *np.searchsorted(created, borders), len(created)])
    tie = np.unique(created, return_counts=True)[1].max()
    assert len(held) <= number
    assert max(held) <= 2 * (len(created) / number + tie)
    crowded = tie > 1 or created[-1] - created[0] < 4 * len(created)
    assert crowded or len(held) == number
