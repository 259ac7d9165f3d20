"""Several readers of one result: the same rows, disjoint windows, few requests, no thread left."""

import re
import threading
from math import ceil

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.reading.fetch import passes
from casesearch_pd.reading.fetch import workers as crew
from casesearch_pd.sources.persona import source as persona
from casesearch_pd.sources.transport.context import Cancelled
from tests.numbered_cases import (
    CASES,
    NOW,
    PLAIN,
    SERVICES,
    assert_part,
    assert_whole,
    numbered,
    read,
    served,
    without_faults,
)


@pytest.fixture(scope="module")
def service():
    with served(25, _ALONE=3, _WORTH=2) as running:
        yield running


@pytest.fixture
def local(service):
    yield from without_faults(service)


@pytest.fixture
def crews(monkeypatch):
    """Keep every crew that reads, to look at its windows."""
    kept = []

    class Kept(crew.WindowedReader):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            kept.append(self)

    monkeypatch.setattr(passes, "WindowedReader", Kept)
    return kept


def readers():
    """List the threads of reads."""
    return [one for one in threading.enumerate() if re.fullmatch(r"cases-\d+", one.name)]


# --- the same rows ----------------------------------------------------------------------------


@settings(timeout=None, max_examples=8, derandomize=True)
@given(
    workers=st.sampled_from([None, 1, 2, 3, 8, 64]),
    size=st.sampled_from([13, 25, 50, 99, 100]),
    name=st.sampled_from(SERVICES),
    wide=st.booleans(),
)
def test_rows_depend_on_neither_readers_nor_pages(service, workers, size, name, wide):
    """Law 5: equal by value and in the same order."""
    source = service.sources["persona"]
    if name == "connect":
        source = service.connect_cases(page_size=size, schema=service.sources["connect"].schema)
    columns = None if wide else PLAIN
    frame = read(source, columns=columns, max_workers=workers)
    alone = read(service.sources[name], columns=columns, max_workers=1)
    pd.testing.assert_frame_equal(frame, alone)
    assert_whole(frame, CASES)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("filters", [{"status": "open"}, {"count__gte": 200}, {"count__lt": 0}])
def test_filters_hold_in_every_window(local, name, filters):
    frame = read(local.sources[name], columns=PLAIN, max_workers=4, **filters)
    alone = read(local.sources[name], columns=PLAIN, max_workers=1, **filters)
    pd.testing.assert_frame_equal(frame, alone)


@pytest.mark.parametrize("ties", [1, 7, 1150])
@pytest.mark.parametrize("name", SERVICES)
def test_windows_are_disjoint_and_cover_everything(crews, name, ties):
    """Law 4: half-open, one after the other, open at both ends."""
    with cs.LocalCases(numbered(1150, ties=ties), now=NOW) as local:
        options = {"page_size": 25} if name == "connect" else {}
        frame = read(getattr(local, f"{name}_cases")(**options), columns=PLAIN, max_workers=4)
    assert_whole(frame, numbered(1150, ties=ties))
    (only,) = crews
    starts = [window.start for window in only.windows]
    ends = [window.end for window in only.windows]
    assert starts[0] is None
    assert ends[-1] is None
    assert starts[1:] == ends[:-1]
    assert starts[1:] == sorted(set(starts[1:]))


@pytest.mark.parametrize("name", SERVICES)
def test_windows_hold_the_cases_of_their_time_only(local, crews, name):
    read(local.sources[name], columns=PLAIN, max_workers=4)
    (only,) = crews
    assert len(only.windows) > 1
    held = [
        (window, pd.Timestamp(at))
        for window in only.windows
        for at in window.columns.finish()[0]["created_at"].to_pylist()
    ]
    assert len(held) == len(CASES)  # none twice either
    for window, at in held:
        assert window.start is None or at >= window.start
        assert window.end is None or at < window.end


def test_a_case_without_a_creation_time_is_in_one_window_only(local):
    """A window is what is not before its cut, so that nothing is in two or in none."""
    source = local.sources["connect"]
    real = source.page

    def page(scan, cursor, run):
        found = real(scan, cursor, run)
        times = found.columns.get("created_at", [])
        found.columns["created_at"] = [None if at[11:16] == "04:00" else at for at in times]
        return found

    source.page = page
    try:
        frame = read(source, columns=PLAIN, max_workers=4)
    finally:
        del source.page
    assert frame["created_at"].isna().sum() == 3
    assert sorted(frame["case_id"]) == sorted(CASES["case_id"])


# --- requests ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("workers", [None, 2, 4])
@pytest.mark.parametrize("name", SERVICES)
def test_more_readers_cost_few_more_requests(monkeypatch, crews, name, workers, wide):
    """At two requests a second each one is half a second of everybody's quota."""
    monkeypatch.setattr(persona, "_PAGE", 25)
    monkeypatch.setattr(persona.PersonaCases, "page_size", 25)
    with cs.LocalCases(CASES, now=NOW) as local:
        source = local.connect_cases(page_size=25) if name == "connect" else local.persona_cases()
        _ = source.schema
        local.faults.append(Fault("latency", 0.045))
        before = len(local.requests)
        frame = read(source, columns=None if wide else PLAIN, max_workers=workers)
        sent = len(local.requests) - before
    assert_whole(frame, CASES)
    windows = sum(len(one.windows) for one in crews)
    assert windows > len(crews) or workers == 1
    passes = frame.cases.provenance["passes"]
    assert sent <= ceil(len(CASES) / 25) * passes + windows + 2
    assert sent == frame.cases.provenance["requests"]


def test_a_short_result_is_read_by_one(local, crews):
    read(local.sources["connect"], columns=PLAIN, max_workers=8, count__lt=100)
    assert [len(one.windows) for one in crews] == [1]


@pytest.mark.parametrize("workers", [0, -1, "x", 2.0, True])
@pytest.mark.parametrize("name", SERVICES)
def test_impossible_numbers_of_readers_are_refused(local, name, workers):
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match="reads nothing; write 1 or more"):
        read(local.sources[name], max_workers=workers)
    assert len(local.requests) == before


# --- nothing is left behind -------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_no_thread_is_left_after_a_read(local, name):
    read(local.sources[name], columns=PLAIN, max_workers=4)
    assert readers() == []


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("name", SERVICES)
def test_no_thread_is_left_after_an_error(local, name, status):
    local.faults.append(Fault("error", status=status, after=8))
    with pytest.raises((cs.IncompleteReadError, cs.AccessDeniedError)):
        read(local.sources[name], columns=PLAIN, max_workers=4)
    assert readers() == []


@pytest.mark.parametrize("where", ["main", "helper"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", SERVICES)
def test_ctrl_c_within_a_page_keeps_the_rows_of_all_readers(local, name, where, wide):
    """Ten minutes of a read are not lost because the eleventh was too long."""
    source, asked = local.sources[name], []
    real = source.page

    def page(*question):
        helping = threading.current_thread() is not threading.main_thread()
        asked.append(helping)
        if len(asked) > 8 and helping == (where == "helper") and any(asked):
            raise KeyboardInterrupt
        return real(*question)

    source.page = page
    try:
        with pytest.raises(cs.ReadInterrupted, match=r"sys\.last_value\.partial") as stopped:
            read(source, columns=None if wide else PLAIN, max_workers=4)
    finally:
        del source.page
    assert readers() == []
    rows = stopped.value.partial.dropna(axis="columns", how="all")
    assert_part(rows, CASES)
    assert len(rows) >= 6 * source.page_size * 0.8 or wide
    assert isinstance(stopped.value, KeyboardInterrupt)


def test_ctrl_c_while_the_others_are_waited_for_ends_them_too(local, monkeypatch):
    """The main thread has read its window and waits: it is there that the signal comes."""
    source, wait = local.sources["connect"], crew.WindowedReader._wait
    real, shared, stopped, ended = source.page, threading.Event(), threading.Event(), []

    def page(scan, cursor, run):
        if threading.current_thread() is threading.main_thread():
            # With a helper about, no page more before it has found something to share.
            assert not readers() or shared.wait(10)
            return real(scan, cursor, run)
        if scan.sort[0].descending:  # how far there is to go
            return real(scan, cursor, run)
        shared.set()
        ended.append(run.cancel_event.wait(10))
        raise Cancelled  # as whoever waits for leave to send

    def waits(self):
        if shared.is_set() and not stopped.is_set():
            stopped.set()
            raise KeyboardInterrupt
        wait(self)

    monkeypatch.setattr(crew.WindowedReader, "_wait", waits)
    monkeypatch.setattr(source, "page", page, raising=False)
    with pytest.raises(cs.ReadInterrupted) as interrupted:
        read(source, columns=PLAIN, max_workers=2)
    assert ended == [True]
    assert readers() == []
    assert_part(interrupted.value.partial, CASES)


@pytest.mark.parametrize("name", SERVICES)
def test_chunks_that_are_closed_half_way_ask_for_nothing_more(local, name):
    chunks = cs.iter_cases(local.sources[name], columns=PLAIN, chunksize=100, progress=False)
    assert len(next(chunks)) == 100
    sent = len(local.requests)
    chunks.close()
    assert list(chunks) == []
    assert len(local.requests) == sent
    assert readers() == []
