"""Chunks in large reads: their order, how they fail, and how they are resumed."""

import threading
from datetime import UTC, datetime, timedelta
from math import ceil

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.reading.fetch.checkpoint import Checkpoint
from casesearch_pd.reading.frames.columns import Columns
from casesearch_pd.sources.transport.context import Tuning, use_tuning
from tests.numbered_cases import PLAIN, numbered

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
CASES = numbered(1150, ties=3)
SERVICES = ("connect", "persona")
MANY = ["open", "closed", *(f"stage {number}" for number in range(401))]
USUAL = settings(
    deadline=None,
    max_examples=15,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def service():
    with cs.LocalCases(CASES, now=NOW) as service:
        service.sources = {
            "connect": service.connect_cases(page_size=50),
            "persona": service.persona_cases(),
            "fresh": service.persona_cases(fresh=True),
        }
        for source in service.sources.values():
            assert source.schema.fields
        yield service


def searches(local):
    return sum(one.path.endswith("search") for one in local.requests)


def chunks_of(source, **options):
    return list(cs.iter_cases(source, progress=False, **({"columns": PLAIN} | options)))


def concat(chunks):
    return pd.concat(chunks, ignore_index=True)


def error_of(function, *args, **options):
    with pytest.raises(cs.FilterError) as error:
        function(*args, **options)
    return str(error.value)


# --- order ------------------------------------------------------------------------------------

QUERIES = {
    "one scan": ("persona", {}),
    "another page size": ("connect", {}),
    "many parts": ("persona", {"status": MANY}),
    "a list of ids": ("persona", {"case_id": list(CASES["case_id"][::-7])}),
    "newest first": ("fresh", {}),
    "newest first, filtered locally": ("fresh", {"status": "open", "count__lt": 900}),
}


@pytest.mark.parametrize("chunksize", [7, 64, 10_000])
@pytest.mark.parametrize("query", QUERIES)
def test_chunks_have_the_order_of_read_cases(local, query, chunksize):
    """Law 5: the first chunks have the oldest cases, however these were requested."""
    name, filters = QUERIES[query]
    with use_tuning(Tuning(sort_run_rows=300, merge_step_rows=40, merge_memory_bytes=1000)):
        chunks = chunks_of(local.sources[name], chunksize=chunksize, **filters)
    frame = cs.read_cases(local.sources[name], progress=False, columns=PLAIN, **filters)
    assert len(frame) > 100
    assert_frame_equal(concat(chunks), frame)


def test_a_merge_reads_one_page_of_each_part_before_the_first_chunk(local):
    """The first chunk of many parts must not wait for the last page of each."""
    source = local.sources["persona"]
    parts = cs.explain_cases(source, status=MANY).partitions
    before = searches(local)
    with cs.iter_cases(source, columns=PLAIN, status=MANY, chunksize=10) as chunks:
        next(chunks)
    assert searches(local) - before <= parts + 1


def test_ties_longer_than_a_page_are_in_order():
    """Hundreds of cases of one time are on many pages, in an order of the service's own."""
    with cs.LocalCases(numbered(700, ties=350), now=NOW) as local:
        for source in (local.connect_cases(page_size=40), local.persona_cases()):
            rows = concat(chunks_of(source, chunksize=30))
            assert_frame_equal(rows, cs.read_cases(source, columns=PLAIN, progress=False))


def test_a_limit_reads_no_more_pages_than_necessary(local):
    for name in SERVICES:
        before, size = searches(local), local.sources[name].page_size
        (chunk,) = chunks_of(local.sources[name], limit=120)
        assert len(chunk) == 120
        assert searches(local) - before <= ceil(120 / size) + 1


DRAWN = [
    *(
        (name, filters)
        for name in SERVICES
        for filters in ({}, {"status": "open"}, {"count__lt": 400})
    ),
    ("connect", {"title__contains": "7"}),
    ("persona", {"status": MANY}),
]


@USUAL
@given(
    query=st.sampled_from(DRAWN),
    chunksize=st.integers(1, 400),
    short=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 90)), max_size=3),
)
def test_rows_depend_on_neither_pages_nor_chunks(
    service, tmp_path_factory, query, chunksize, short
):
    """Law 5, drawn: a page may be as short as the service likes."""
    name, filters = query
    filters, source = {"created_at__lt": "2026-01-01T01:30", **filters}, service.sources[name]
    service.faults.clear()
    frame = cs.read_cases(source, progress=False, columns=PLAIN, **filters)
    for at, size in short:
        service.faults.append(Fault("short_page", at=at, value=size))
    chunks = chunks_of(source, chunksize=chunksize, **filters)
    assert_frame_equal(concat(chunks), frame)
    assert all(len(chunk) == chunksize for chunk in chunks[:-1])
    path = tmp_path_factory.mktemp("drawn") / "cases.parquet"
    cs.to_parquet(source, path, columns=PLAIN, chunksize=chunksize, progress=False, **filters)
    assert_frame_equal(pd.read_parquet(path), frame)
    assert pd.read_parquet(path).cases.provenance["ids"] == frame.cases.provenance["ids"]


# --- failed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["connect", "persona", "many parts"])
def test_failed_chunks_say_what_is_missing(local, query):
    source = local.sources["connect" if query == "connect" else "persona"]
    filters = {"status": MANY} if query == "many parts" else {}
    local.faults.append(Fault("error", status=400, after=5 + 21 * bool(filters)))
    chunks, delivered = cs.iter_cases(source, columns=PLAIN, chunksize=70, **filters), []
    with pytest.raises(cs.IncompleteReadError, match=r"read failed after \d+ rows") as error:
        delivered.extend(chunks)
    partial = error.value.partial
    assert f"(the last {len(partial)} kept in .partial)" in str(error.value)
    assert not {*partial["case_id"]} & {*concat(delivered)["case_id"]}
    assert partial.cases.provenance["complete"] is False
    (missing,) = error.value.missing
    edge = pd.Timestamp(missing.removeprefix("created_at from ").removesuffix(" to the end"))
    rows = concat([*delivered, partial])
    local.faults.clear()
    frame = cs.read_cases(source, progress=False, columns=PLAIN)
    # All cases before the edge are there, and those of its very time may be.
    assert_frame_equal(rows, frame.head(len(rows)))
    assert (frame["created_at"] < edge).sum() <= len(rows) < len(frame)


def test_failed_chunks_may_end_with_a_warning(local):
    local.faults.append(Fault("error", status=400, after=5))
    with pytest.warns(UserWarning, match=r"incomplete result: .*; missing: created_at"):
        chunks = chunks_of(local.sources["connect"], chunksize=70, on_error="partial")
    assert max(map(len, chunks)) <= 70
    assert [chunk.cases.provenance["complete"] for chunk in chunks[:2]] == [True] * 2
    last = chunks[-1].cases.provenance
    assert last["complete"] is False
    assert "read failed" in last["notes"][-1]
    assert sum(map(len, chunks)) == 250


def test_rows_that_lack_a_pass_are_not_delivered():
    """Half a row would look like a case with missing values."""
    with cs.LocalCases(numbered(300, extras=30), now=NOW) as local:
        source = local.connect_cases(page_size=50)
        assert source.schema
        local.faults.append(Fault("error", status=400, after=5))
        with pytest.raises(cs.IncompleteReadError) as error:
            list(cs.iter_cases(source, chunksize=100))
    assert error.value.partial.empty
    assert error.value.partial.columns.size > 30


@pytest.mark.parametrize("kind", ["denied", "first"])
def test_errors_before_the_first_page_and_of_credentials_are_raised_as_they_are(local, kind):
    """Nothing was received, or the credentials are at fault: all of the result is missing."""
    status, after = {"denied": (403, 3), "first": (400, 0)}[kind]
    local.faults.append(Fault("error", status=status, after=after))
    with pytest.raises(cs.ServiceError) as error:
        chunks_of(local.sources["persona"], chunksize=50, on_error="partial")
    assert error.value.status == status


def test_fewer_rows_than_the_count_are_an_error(local):
    """Every page was fine, but the service counts more: the end proves nothing."""
    local.faults.append(Fault("total", value=3, wire="connect"))
    source = local.sources["connect"]
    with pytest.raises((cs.IncompleteReadError, cs.InvalidResponseError)) as error:
        chunks_of(source, chunksize=100)
    assert error.value.partial is not None
    with pytest.warns(UserWarning, match="incomplete result"):
        chunks = chunks_of(source, chunksize=100, on_error="partial")
    assert chunks[-1].cases.provenance["complete"] is False
    assert sum(map(len, chunks)) == len(CASES)


def test_interrupted_chunks_have_the_undelivered_rows(local, monkeypatch):
    source = local.sources["persona"]
    read_page, calls = source.read_page, []

    def interrupted_page(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return read_page(*args)

    monkeypatch.setattr(source, "read_page", interrupted_page, raising=False)
    chunks = cs.iter_cases(source, columns=PLAIN, chunksize=150)
    first = next(chunks)
    with pytest.raises(cs.ReadInterrupted, match=r"interrupted after \d+ rows; the last") as error:
        next(chunks)
    monkeypatch.undo()
    rows = concat([first, error.value.partial])
    assert f"after {len(rows)} rows; the last {len(rows) - 150} are kept" in str(error.value)
    frame = cs.read_cases(source, progress=False, columns=PLAIN)
    assert_frame_equal(rows, frame.head(len(rows)))
    assert len(rows) > 250


def test_chunks_interrupted_within_a_page_have_the_rows_before_it(local, monkeypatch):
    """Some columns have the page and others do not: they make no frame."""
    add_page, calls = Columns.add, []

    def add(self, page):
        calls.append(1)
        if len(calls) == 4:
            self.rows += page.rows
            next(iter(self._values.values())).extend(page.columns["case_id"])
            raise KeyboardInterrupt
        add_page(self, page)

    monkeypatch.setattr(Columns, "add", add)
    chunks = cs.iter_cases(local.sources["persona"], columns=PLAIN, chunksize=150)
    assert len(next(chunks)) == 150
    with pytest.raises(cs.ReadInterrupted) as error:
        next(chunks)
    assert len(error.value.partial) == 48  # two cases are tied with the third page


@pytest.mark.parametrize("name", ["connect", "persona", "fresh"])
def test_closed_chunks_leave_nothing(local, tmp_path, name):
    """Neither a thread, nor a file, nor a scan that continues."""
    with use_tuning(Tuning(merge_memory_bytes=1000)):
        threads = set(threading.enumerate())
        chunks = cs.iter_cases(local.sources[name], columns=PLAIN, chunksize=20)
        next(chunks)
        chunks.close()
        before = len(local.requests)
        assert list(chunks) == []
        assert len(local.requests) == before
        new_threads = {one for one in threading.enumerate() if one not in threads}
        assert not [one for one in new_threads if one.name.startswith("cases")]
    assert list(tmp_path.iterdir()) == []


# --- resumed ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    with use_tuning(Tuning(pages_per_checkpoint_file=3)):
        yield tmp_path / "checkpoint"


def failed_read(local, name, folder, after=8, **filters):
    fault = Fault("error", status=400, after=after)
    local.faults.append(fault)
    with pytest.raises(cs.IncompleteReadError):
        chunks_of(local.sources[name], checkpoint=folder, chunksize=60, **filters)
    local.faults.remove(fault)


@pytest.mark.parametrize(
    ("name", "filters"), [("connect", {}), ("persona", {}), ("persona", {"status": MANY})]
)
def test_failed_chunks_are_resumed(local, folder, name, filters):
    source = local.sources[name]
    frame = cs.read_cases(source, progress=False, columns=PLAIN, **filters)
    before = searches(local)
    chunks_of(source, chunksize=60, **filters)
    once = searches(local) - before
    failed_read(local, name, folder, after=once * 2 // 3, **filters)
    assert list(folder.iterdir())
    before = searches(local)
    chunks = chunks_of(source, checkpoint=folder, chunksize=60, **filters)
    assert_frame_equal(concat(chunks), frame)
    parts = len(cs.explain_cases(source, **filters).requests) if filters else 1
    assert searches(local) - before <= once - once * 2 // 3 + 3 * parts + 3
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", SERVICES)
def test_saved_rows_are_brought_up_to_date(folder, name):
    """A case that was changed since the first attempt is on the disk as it was."""
    with cs.LocalCases(numbered(400), now=NOW) as local:
        local.sources = {
            "connect": local.connect_cases(page_size=20),
            "persona": local.persona_cases(),
        }
        failed_read(local, name, folder, after=13 if name == "connect" else 3)
        assert list(folder.iterdir())
        local.advance(600)
        early = numbered(400)["case_id"]
        local.update(early[3], title="changed")
        rows = concat(chunks_of(local.sources[name], checkpoint=folder, chunksize=60))
    assert rows["case_id"].is_unique
    assert len(rows) == 400
    assert rows.set_index("case_id").loc[early[3], "title"] == "changed"


def test_files_are_read_one_at_a_time(local, folder, monkeypatch):
    """A checkpoint is as long as the read; the memory must not be."""
    failed_read(local, "connect", folder, after=15)
    assert len(list(folder.iterdir())) > 3
    windows, load_rows = [], Checkpoint.load_rows

    def recorded_load(self, window):
        windows.append(window)
        return load_rows(self, window)

    monkeypatch.setattr(Checkpoint, "load_rows", recorded_load)
    with cs.iter_cases(
        local.sources["connect"], columns=PLAIN, checkpoint=folder, chunksize=60
    ) as chunks:
        next(chunks)
        assert len(windows) == 1
        assert not windows[0].columns


def test_a_checkpoint_of_another_read_is_refused(local, folder):
    failed_read(local, "connect", folder)
    old_files = sorted(folder.iterdir())
    source = local.sources["connect"]
    for call, other in (
        (chunks_of, {"status": "open"}),
        (chunks_of, {"columns": ["case_id"]}),
        (cs.read_cases, {"columns": PLAIN}),
    ):
        message = error_of(call, source, checkpoint=folder, **other)
        assert "belongs to another read" in message
    assert "cannot be written" in error_of(chunks_of, source, checkpoint=old_files[0] / "below")
    old_files[0].write_bytes(old_files[0].read_bytes()[:-5])
    assert "is incomplete or damaged" in error_of(chunks_of, source, checkpoint=folder)
    assert sorted(folder.iterdir()) == old_files


def test_chunks_in_another_order_have_no_checkpoint(local, folder):
    """A read is resumed by windows of creation time."""
    message = error_of(chunks_of, local.sources["persona"], checkpoint=folder, sort="-created_at")
    assert "leave out sort= or checkpoint=" in message
    message = error_of(chunks_of, local.sources["fresh"], checkpoint=folder)
    assert "leave out checkpoint=, or use read_cases" in message


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_max_workers_is_an_upper_bound(local, workers):
    """Rows that are delivered in order are read by one worker."""
    chunks = cs.iter_cases(local.sources["connect"], max_workers=workers, progress=False)
    assert sum(map(len, chunks)) == len(cs.read_cases(local.sources["connect"], progress=False))


# --- options ----------------------------------------------------------------------------------


def test_invalid_options_are_refused(local):
    source, before = local.sources["connect"], len(local.requests)
    assert "max_workers must be a positive integer or None, got 0" in error_of(
        chunks_of, source, max_workers=0
    )
    assert "must be 'raise' or 'partial'" in error_of(chunks_of, source, on_error="warn")
    assert "lookback must be a duration" in error_of(
        chunks_of, source, lookback=timedelta(seconds=-1)
    )
    assert len(local.requests) == before
    assert chunks_of(source, max_workers=1, lookback="2min", limit=3)[0].shape[0] == 3


def test_memory_is_bounded():
    """The rows in memory must not grow with the result."""
    assert Tuning().batch_rows <= 10_000
    assert Tuning().sort_run_rows <= 10_000
