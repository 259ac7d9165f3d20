"""Streams under load: their order, how they break off, and how they are taken up again."""

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
from casesearch_pd.reading.fetch import checkpoint as resume
from casesearch_pd.reading.fetch import merge
from casesearch_pd.reading.fetch import stream as batch
from tests.numbered_cases import PLAIN, numbered, without_faults

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
CASES = numbered(1150, ties=3)
SERVICES = ("connect", "persona")
MANY = ["open", "closed", *(f"stage {number}" for number in range(401))]
USUAL = settings(
    timeout=None,
    max_examples=15,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def service():
    with cs.LocalCases(CASES, now=NOW) as running:
        running.sources = {
            "connect": running.connect_cases(page_size=50),
            "persona": running.persona_cases(),
            "fresh": running.persona_cases(fresh=True),
        }
        for source in running.sources.values():
            _ = source.schema
        yield running


@pytest.fixture
def local(service):
    yield from without_faults(service)


def searches(local):
    return sum(one.path.endswith("search") for one in local.requests)


def chunks_of(source, **named):
    return list(cs.iter_cases(source, progress=False, **({"columns": PLAIN} | named)))


def put_together(chunks):
    return pd.concat(chunks, ignore_index=True)


def refused(call, *wanted, **named):
    with pytest.raises(cs.FilterError) as told:
        call(*wanted, **named)
    return str(told.value)


# --- order ------------------------------------------------------------------------------------

SPLIT = {
    "one walk": ("persona", {}),
    "two orders": ("connect", {}),
    "many parts": ("persona", {"status": MANY}),
    "a list of ids": ("persona", {"case_id": list(CASES["case_id"][::-7])}),
    "newest first": ("fresh", {}),
    "newest first, checked here": ("fresh", {"status": "open", "count__lt": 900}),
}


@pytest.mark.parametrize("chunksize", [7, 64, 10_000])
@pytest.mark.parametrize("way", SPLIT)
def test_chunks_come_in_the_order_of_the_whole_read(local, monkeypatch, way, chunksize):
    """Law 5: whoever takes the first chunks has the oldest cases, however they were asked for."""
    monkeypatch.setattr(merge, "_RUN", 300)
    monkeypatch.setattr(merge, "_STEP", 40)
    monkeypatch.setattr(merge, "_SMALL", 1000)
    name, asked = SPLIT[way]
    chunks = chunks_of(local.sources[name], chunksize=chunksize, **asked)
    whole = cs.read_cases(local.sources[name], progress=False, columns=PLAIN, **asked)
    assert len(whole) > 100
    assert_frame_equal(put_together(chunks), whole)


def test_a_merge_asks_no_more_than_a_page_a_part_beforehand(local):
    """The first chunk of many parts must not wait for the last page of each."""
    source = local.sources["persona"]
    parts = cs.explain_cases(source, status=MANY).partitions
    before = searches(local)
    with cs.iter_cases(source, columns=PLAIN, status=MANY, chunksize=10) as chunks:
        next(chunks)
    assert searches(local) - before <= parts + 1


def test_ties_longer_than_a_page_come_in_order():
    """Hundreds of cases of one moment lie on many pages, in an order of the service's own."""
    with cs.LocalCases(numbered(700, ties=350), now=NOW) as local:
        for source in (local.connect_cases(page_size=40), local.persona_cases()):
            told = put_together(chunks_of(source, chunksize=30))
            assert_frame_equal(told, cs.read_cases(source, columns=PLAIN, progress=False))


def test_a_limit_reads_no_more_than_it_needs(local):
    for name in SERVICES:
        before, size = searches(local), local.sources[name].page_size
        (chunk,) = chunks_of(local.sources[name], limit=120)
        assert len(chunk) == 120
        assert searches(local) - before <= ceil(120 / size) + 1


DRAWN = [
    *((name, asked) for name in SERVICES for asked in ({}, {"status": "open"}, {"count__lt": 400})),
    ("connect", {"title__contains": "7"}),
    ("persona", {"status": MANY}),
]


@USUAL
@given(
    way=st.sampled_from(DRAWN),
    chunksize=st.integers(1, 400),
    short=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 90)), max_size=3),
)
def test_no_split_into_pages_and_chunks_changes_a_row(
    service, tmp_path_factory, way, chunksize, short
):
    """Law 5, drawn: a page may be as short as the service likes."""
    name, asked = way
    asked, source = {"created_at__lt": "2026-01-01T01:30", **asked}, service.sources[name]
    service.faults.clear()
    whole = cs.read_cases(source, progress=False, columns=PLAIN, **asked)
    for at, size in short:
        service.faults.append(Fault("short_page", at=at, value=size))
    chunks = chunks_of(source, chunksize=chunksize, **asked)
    assert_frame_equal(put_together(chunks), whole)
    assert all(len(chunk) == chunksize for chunk in chunks[:-1])
    path = tmp_path_factory.mktemp("drawn") / "cases.parquet"
    cs.to_parquet(source, path, columns=PLAIN, chunksize=chunksize, progress=False, **asked)
    assert_frame_equal(pd.read_parquet(path), whole)
    assert pd.read_parquet(path).cases.provenance["ids"] == whole.cases.provenance["ids"]


# --- broken off -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["connect", "persona", "many parts"])
def test_a_stream_that_breaks_off_says_what_is_missing(local, way):
    source = local.sources["connect" if way == "connect" else "persona"]
    asked = {"status": MANY} if way == "many parts" else {}
    local.faults.append(Fault("error", status=400, after=5 + 21 * bool(asked)))
    chunks, handed = cs.iter_cases(source, columns=PLAIN, chunksize=70, **asked), []
    with pytest.raises(cs.IncompleteReadError, match=r"broke off after \d+ rows") as told:
        handed.extend(chunks)
    partial = told.value.partial
    assert not {*partial["case_id"]} & {*put_together(handed)["case_id"]}
    assert partial.cases.provenance["complete"] is False
    (missing,) = told.value.missing
    rest = pd.Timestamp(missing.removeprefix("created_at from ").removesuffix(" to the end"))
    come = put_together([*handed, partial])
    local.faults.clear()
    whole = cs.read_cases(source, progress=False, columns=PLAIN)
    # All that is before is there, and the rows of that moment may be.
    assert_frame_equal(come, whole.head(len(come)))
    assert (whole["created_at"] < rest).sum() <= len(come) < len(whole)


def test_a_stream_may_end_with_a_warning(local):
    local.faults.append(Fault("error", status=400, after=5))
    with pytest.warns(UserWarning, match=r"this read is not whole: .*; not read is created_at"):
        chunks = chunks_of(local.sources["connect"], chunksize=70, on_error="partial")
    assert max(map(len, chunks)) <= 70
    assert [chunk.cases.provenance["complete"] for chunk in chunks[:2]] == [True] * 2
    last = chunks[-1].cases.provenance
    assert last["complete"] is False
    assert "broke off" in last["notes"][-1]
    assert sum(map(len, chunks)) == 250


def test_rows_that_lack_a_pass_are_not_handed_out():
    """Half a row would look like a case with missing values."""
    with cs.LocalCases(numbered(300, extras=30), now=NOW) as local:
        source = local.connect_cases(page_size=50)
        assert source.schema
        local.faults.append(Fault("error", status=400, after=5))
        with pytest.raises(cs.IncompleteReadError) as told:
            list(cs.iter_cases(source, chunksize=100))
    assert told.value.partial.empty
    assert told.value.partial.columns.size > 30


@pytest.mark.parametrize("kind", ["denied", "first"])
def test_some_errors_stay_what_they_are(local, kind):
    """Nothing came, or the key is at fault: no part of the result is missing, all is."""
    status, after = {"denied": (403, 3), "first": (400, 0)}[kind]
    local.faults.append(Fault("error", status=status, after=after))
    with pytest.raises(cs.ServiceError) as told:
        chunks_of(local.sources["persona"], chunksize=50, on_error="partial")
    assert told.value.status == status


def test_a_count_that_is_not_reached_is_told(local):
    """Every page was fine and the service says there is more: nobody may believe the end."""
    local.faults.append(Fault("total", value=3, wire="connect"))
    source = local.sources["connect"]
    with pytest.raises((cs.IncompleteReadError, cs.InvalidResponseError)) as told:
        chunks_of(source, chunksize=100)
    assert told.value.partial is not None
    with pytest.warns(UserWarning, match="not whole"):
        chunks = chunks_of(source, chunksize=100, on_error="partial")
    assert chunks[-1].cases.provenance["complete"] is False
    assert sum(map(len, chunks)) == len(CASES)


def test_a_stopped_stream_holds_what_was_not_handed_on(local, monkeypatch):
    source = local.sources["persona"]
    real, asked = source.page, []

    def page(*question):
        asked.append(1)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return real(*question)

    monkeypatch.setattr(source, "page", page, raising=False)
    chunks = cs.iter_cases(source, columns=PLAIN, chunksize=150)
    first = next(chunks)
    with pytest.raises(cs.ReadInterrupted, match="stopped after 150 rows") as told:
        next(chunks)
    monkeypatch.undo()
    come = put_together([first, told.value.partial])
    whole = cs.read_cases(source, progress=False, columns=PLAIN)
    assert_frame_equal(come, whole.head(len(come)))
    assert len(come) > 250


def test_a_stream_that_is_stopped_within_a_page_holds_the_chunk_before(local, monkeypatch):
    """Some columns have the page and others not: no frame can be made of these."""
    real, added = batch.Columns.add, []

    def add(self, page):
        added.append(1)
        if len(added) == 4:
            self.rows += page.rows
            next(iter(self._plain.values())).extend(page.columns["case_id"])
            raise KeyboardInterrupt
        real(self, page)

    monkeypatch.setattr(batch.Columns, "add", add)
    chunks = cs.iter_cases(local.sources["persona"], columns=PLAIN, chunksize=150)
    assert len(next(chunks)) == 150
    with pytest.raises(cs.ReadInterrupted) as told:
        next(chunks)
    assert len(told.value.partial) == 48  # two cases are tied with the third page


def test_a_closed_stream_leaves_nothing(local, tmp_path, monkeypatch):
    """Neither a thread, nor a file, nor a walk that goes on."""
    monkeypatch.setattr(merge, "_SMALL", 1000)
    for name in ("connect", "persona", "fresh"):
        threads = set(threading.enumerate())
        chunks = cs.iter_cases(local.sources[name], columns=PLAIN, chunksize=20)
        next(chunks)
        chunks.close()
        before = len(local.requests)
        assert list(chunks) == []
        assert len(local.requests) == before
        clients = {one for one in threading.enumerate() if one not in threads}
        assert not [one for one in clients if one.name.startswith("cases")]
    assert list(tmp_path.iterdir()) == []


# --- taken up again ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "_PAGES_A_FILE", 3)
    return tmp_path / "checkpoint"


def broken_off(local, name, folder, after=8, **named):
    fault = Fault("error", status=400, after=after)
    local.faults.append(fault)
    with pytest.raises(cs.IncompleteReadError):
        chunks_of(local.sources[name], checkpoint=folder, chunksize=60, **named)
    local.faults.remove(fault)


@pytest.mark.parametrize(
    ("name", "asked"), [("connect", {}), ("persona", {}), ("persona", {"status": MANY})]
)
def test_a_stream_goes_on_where_it_was(local, folder, name, asked):
    source = local.sources[name]
    whole = cs.read_cases(source, progress=False, columns=PLAIN, **asked)
    before = searches(local)
    chunks_of(source, chunksize=60, **asked)
    once = searches(local) - before
    broken_off(local, name, folder, after=once * 2 // 3, **asked)
    assert list(folder.iterdir())
    before = searches(local)
    chunks = chunks_of(source, checkpoint=folder, chunksize=60, **asked)
    assert_frame_equal(put_together(chunks), whole)
    parts = len(cs.explain_cases(source, **asked).requests) if asked else 1
    assert searches(local) - before <= once - once * 2 // 3 + 3 * parts + 3
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", SERVICES)
def test_saved_rows_are_as_new_as_the_others(folder, name):
    """A case that was changed since the first attempt is on the disk as it was."""
    with cs.LocalCases(numbered(400), now=NOW) as local:
        local.sources = {
            "connect": local.connect_cases(page_size=20),
            "persona": local.persona_cases(),
        }
        broken_off(local, name, folder, after=13 if name == "connect" else 3)
        assert list(folder.iterdir())
        local.advance(600)
        early = numbered(400)["case_id"]
        local.update(early[3], title="changed")
        told = put_together(chunks_of(local.sources[name], checkpoint=folder, chunksize=60))
    assert told["case_id"].is_unique
    assert len(told) == 400
    assert told.set_index("case_id").loc[early[3], "title"] == "changed"


def test_files_are_read_one_at_a_time(local, folder, monkeypatch):
    """A checkpoint is as long as the read; the memory must not be."""
    broken_off(local, "connect", folder, after=15)
    assert len(list(folder.iterdir())) > 3
    held, real = [], resume.Checkpoint.filled

    def filled(self, saved):
        held.append(saved)
        return real(self, saved)

    monkeypatch.setattr(resume.Checkpoint, "filled", filled)
    with cs.iter_cases(
        local.sources["connect"], columns=PLAIN, checkpoint=folder, chunksize=60
    ) as chunks:
        next(chunks)
        assert len(held) == 1
        assert not any(one.columns for one in held)


def test_a_checkpoint_of_another_read_is_refused(local, folder):
    broken_off(local, "connect", folder)
    kept = sorted(folder.iterdir())
    source = local.sources["connect"]
    for call, other in (
        (chunks_of, {"status": "open"}),
        (chunks_of, {"columns": ["case_id"]}),
        (cs.read_cases, {"columns": PLAIN}),
    ):
        said = refused(call, source, checkpoint=folder, **other)
        assert "belongs to another read" in said
    assert "cannot be written" in refused(chunks_of, source, checkpoint=kept[0] / "below")
    kept[0].write_bytes(kept[0].read_bytes()[:-5])
    assert "no whole checkpoint file" in refused(chunks_of, source, checkpoint=folder)
    assert sorted(folder.iterdir()) == kept


def test_a_stream_in_another_order_is_not_saved(local, folder):
    """Windows of creation time are what a read is taken up by."""
    said = refused(chunks_of, local.sources["persona"], checkpoint=folder, sort="-created_at")
    assert "leave sort= out, or checkpoint=" in said
    said = refused(chunks_of, local.sources["fresh"], checkpoint=folder)
    assert "leave checkpoint= out, or use read_cases" in said


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_more_readers_than_one_are_a_bound_and_no_need(local, workers):
    """`max_workers=` says how many at most; rows that come in order are read by one."""
    chunks = cs.iter_cases(local.sources["connect"], max_workers=workers, progress=False)
    assert sum(map(len, chunks)) == len(cs.read_cases(local.sources["connect"], progress=False))


# --- refused ----------------------------------------------------------------------------------


def test_options_that_mean_nothing_are_refused(local):
    source, before = local.sources["connect"], len(local.requests)
    assert "reads nothing" in refused(chunks_of, source, max_workers=0)
    assert "neither 'raise' nor 'partial'" in refused(chunks_of, source, on_error="warn")
    assert "no length of time" in refused(chunks_of, source, lookback=timedelta(seconds=-1))
    assert len(local.requests) == before
    assert chunks_of(source, max_workers=1, lookback="2min", limit=3)[0].shape[0] == 3


def test_the_bounds_are_bounds():
    """What is held at once must not grow with the result."""
    assert batch._BATCH <= 10_000
    assert merge._RUN <= 10_000
