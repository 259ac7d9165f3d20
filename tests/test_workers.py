"""Several workers on one result: the same rows, disjoint windows, few requests, no thread left."""

import re
import threading
from dataclasses import replace
from math import ceil

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.query.expressions import comparisons
from casesearch_pd.reading.fetch import passes
from casesearch_pd.reading.fetch.pagination import take_rows
from casesearch_pd.reading.fetch.workers import WindowedReader
from casesearch_pd.sources.transport.context import Cancelled
from tests.numbered_cases import (
    CASES,
    NOW,
    PLAIN,
    SERVICES,
    assert_complete,
    assert_partial,
    numbered,
    read,
    serve_cases,
)


@pytest.fixture(scope="module")
def service():
    with serve_cases(25, pages_before_workers=3, min_split_pages=2) as service:
        yield service


@pytest.fixture
def readers(monkeypatch):
    """Return the list of all windowed readers of the test, to look at their windows."""
    readers = []

    class RecordedReader(WindowedReader):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            readers.append(self)

    monkeypatch.setattr(passes, "WindowedReader", RecordedReader)
    return readers


def worker_threads():
    """Return the threads of reads."""
    return [one for one in threading.enumerate() if re.fullmatch(r"cases-\d+", one.name)]


# --- the same rows ----------------------------------------------------------------------------


@settings(deadline=None, max_examples=8, derandomize=True)
@given(
    workers=st.sampled_from([None, 1, 2, 3, 8, 64]),
    size=st.sampled_from([13, 25, 50, 99, 100]),
    name=st.sampled_from(SERVICES),
    wide=st.booleans(),
)
def test_rows_depend_on_neither_workers_nor_page_size(service, workers, size, name, wide):
    """Law 5: equal by value and in the same order."""
    source = service.sources["persona"]
    if name == "connect":
        source = service.connect_cases(page_size=size, schema=service.sources["connect"].schema)
    columns = None if wide else PLAIN
    frame = read(source, columns=columns, max_workers=workers)
    alone = read(service.sources[name], columns=columns, max_workers=1)
    pd.testing.assert_frame_equal(frame, alone)
    assert_complete(frame, CASES)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("filters", [{"status": "open"}, {"count__gte": 200}, {"count__lt": 0}])
def test_filters_hold_in_every_window(local, name, filters):
    frame = read(local.sources[name], columns=PLAIN, max_workers=4, **filters)
    alone = read(local.sources[name], columns=PLAIN, max_workers=1, **filters)
    pd.testing.assert_frame_equal(frame, alone)


@pytest.mark.parametrize("ties", [1, 7, 1150])
@pytest.mark.parametrize("name", SERVICES)
def test_windows_are_disjoint_and_cover_everything(readers, name, ties):
    """Law 4: half-open, one after the other, open at both ends."""
    with cs.LocalCases(numbered(1150, ties=ties), now=NOW) as local:
        options = {"page_size": 25} if name == "connect" else {}
        frame = read(getattr(local, f"{name}_cases")(**options), columns=PLAIN, max_workers=4)
    assert_complete(frame, numbered(1150, ties=ties))
    (reader,) = readers
    starts = [window.span.start for window in reader.windows]
    ends = [window.span.end for window in reader.windows]
    assert starts[0] is None
    assert ends[-1] is None
    assert starts[1:] == ends[:-1]
    assert starts[1:] == sorted(set(starts[1:]))


@pytest.mark.parametrize("name", SERVICES)
def test_windows_hold_the_cases_of_their_time_only(local, readers, name):
    read(local.sources[name], columns=PLAIN, max_workers=4)
    (reader,) = readers
    assert len(reader.windows) > 1
    rows = [
        (window.span, pd.Timestamp(at))
        for window in reader.windows
        for at in window.columns.finish()[0]["created_at"].to_pylist()
    ]
    assert len(rows) == len(CASES)  # none twice either
    assert all(span.contains(at) for span, at in rows)


def test_a_case_without_a_creation_time_is_in_one_window_only(local, monkeypatch):
    """Law 4: it would be in none if each window asked for the times of its own only."""
    source = local.sources["connect"]
    read_page = source.read_page

    def without_some_times(scan, cursor, context):
        page = read_page(scan, cursor, context)
        times = page.columns.get("created_at", [])
        page.columns["created_at"] = [None if at[11:16] == "04:00" else at for at in times]
        return page

    monkeypatch.setattr(source, "read_page", without_some_times, raising=False)
    frame = read(source, columns=PLAIN, max_workers=4)
    assert frame["created_at"].isna().sum() == 3
    assert sorted(frame["case_id"]) == sorted(CASES["case_id"])


@pytest.mark.parametrize("name", SERVICES)
def test_cases_that_the_service_sorts_last_for_their_missing_time_are_read(
    local, monkeypatch, readers, name
):
    """Law 4: the first window ends long before them, and no later window asks for them."""
    source, without_time = local.sources[name], CASES["case_id"].iloc[[5, 700, 1149]]
    read_page = source.read_page

    def undated_last(scan, cursor, context):
        page = read_page(scan, cursor, context)
        bounds = [item.op for item in comparisons(scan.where) if item.target.column == "created_at"]
        if bounds == ["lt", "gte"] and "~" in repr(scan.where):
            columns = {column: [None] * 3 for column in page.columns}
            return replace(page, rows=3, cursor=None, total=3, columns=columns | {
                "case_id": without_time.tolist(), "title": ["undated"] * 3,
            })  # fmt: skip
        dated = [
            row for row, case in enumerate(page.columns["case_id"]) if case not in set(without_time)
        ]
        return take_rows(page, dated)

    monkeypatch.setattr(source, "read_page", undated_last, raising=False)
    frame = read(source, columns=PLAIN, max_workers=4)
    assert len(readers[0].windows) > 1
    assert sorted(frame["case_id"]) == sorted(CASES["case_id"])
    assert frame["created_at"].isna().sum() == 3


# --- requests ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("workers", [None, 2, 4])
@pytest.mark.parametrize("name", SERVICES)
def test_more_workers_cost_few_more_requests(monkeypatch, readers, name, workers, wide):
    """At two requests per second, each one is half a second of a shared quota."""
    monkeypatch.setattr(cs.PersonaCases, "page_size", 25)
    with cs.LocalCases(CASES, now=NOW) as local:
        source = local.connect_cases(page_size=25) if name == "connect" else local.persona_cases()
        _ = source.schema
        local.faults.append(Fault("latency", 0.045))
        before = len(local.requests)
        frame = read(source, columns=None if wide else PLAIN, max_workers=workers)
        requests = len(local.requests) - before
    assert_complete(frame, CASES)
    windows = sum(len(reader.windows) for reader in readers)
    assert windows > len(readers) or workers == 1
    passes = frame.cases.provenance["passes"]
    assert requests <= ceil(len(CASES) / 25) * passes + windows + 2
    assert requests == frame.cases.provenance["requests"]


def test_a_short_result_is_read_by_one_worker(local, readers):
    read(local.sources["connect"], columns=PLAIN, max_workers=8, count__lt=100)
    assert [len(reader.windows) for reader in readers] == [1]


@pytest.mark.parametrize("workers", [0, -1, "x", 2.0, True])
@pytest.mark.parametrize("name", SERVICES)
def test_invalid_numbers_of_workers_are_refused(local, name, workers):
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match="max_workers must be a positive integer or None"):
        read(local.sources[name], max_workers=workers)
    assert len(local.requests) == before


# --- nothing is left behind -------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_no_thread_is_left_after_a_read(local, name):
    read(local.sources[name], columns=PLAIN, max_workers=4)
    assert worker_threads() == []


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("name", SERVICES)
def test_no_thread_is_left_after_an_error(local, name, status):
    local.faults.append(Fault("error", status=status, after=8))
    with pytest.raises((cs.IncompleteReadError, cs.AccessDeniedError)):
        read(local.sources[name], columns=PLAIN, max_workers=4)
    assert worker_threads() == []


@pytest.mark.parametrize("where", ["main", "helper"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", SERVICES)
def test_ctrl_c_within_a_page_keeps_the_rows_of_all_workers(local, monkeypatch, name, where, wide):
    """Ten minutes of a read must not be lost because the eleventh was too long."""
    source, helped = local.sources[name], []
    read_page = source.read_page

    def interrupted_page(*args):
        is_helper = threading.current_thread() is not threading.main_thread()
        helped.append(is_helper)
        if len(helped) > 8 and is_helper == (where == "helper") and any(helped):
            raise KeyboardInterrupt
        return read_page(*args)

    monkeypatch.setattr(source, "read_page", interrupted_page, raising=False)
    with pytest.raises(cs.ReadInterrupted, match=r"sys\.last_value\.partial") as interrupted:
        read(source, columns=None if wide else PLAIN, max_workers=4)
    assert worker_threads() == []
    rows = interrupted.value.partial.dropna(axis="columns", how="all")
    assert_partial(rows, CASES)
    assert len(rows) >= 6 * source.page_size * 0.8 or wide
    assert isinstance(interrupted.value, KeyboardInterrupt)


def test_ctrl_c_while_the_main_thread_waits_ends_the_workers(local, monkeypatch):
    """The main thread has read its window and waits: that is where the signal arrives."""
    source, join_threads = local.sources["connect"], WindowedReader._join_threads
    read_page, shared, signalled = source.read_page, threading.Event(), threading.Event()
    woken = []

    def slow_page(scan, cursor, context):
        if threading.current_thread() is threading.main_thread():
            # Once there is a helper, the next page waits until it has a window.
            assert not worker_threads() or shared.wait(10)
            return read_page(scan, cursor, context)
        if scan.sort[0].descending:  # the newest case
            return read_page(scan, cursor, context)
        shared.set()
        woken.append(context.cancel_event.wait(10))
        raise Cancelled  # like a worker that waits for a permit

    def interrupted_join(self):
        if shared.is_set() and not signalled.is_set():
            signalled.set()
            raise KeyboardInterrupt
        join_threads(self)

    monkeypatch.setattr(WindowedReader, "_join_threads", interrupted_join)
    monkeypatch.setattr(source, "read_page", slow_page, raising=False)
    with pytest.raises(cs.ReadInterrupted) as interrupted:
        read(source, columns=PLAIN, max_workers=2)
    assert woken == [True]
    assert worker_threads() == []
    assert_partial(interrupted.value.partial, CASES)


@pytest.mark.parametrize("name", SERVICES)
def test_closed_chunks_send_no_more_requests(local, name):
    chunks = cs.iter_cases(local.sources[name], columns=PLAIN, chunksize=100, progress=False)
    assert len(next(chunks)) == 100
    before = len(local.requests)
    chunks.close()
    assert list(chunks) == []
    assert len(local.requests) == before
    assert worker_threads() == []
