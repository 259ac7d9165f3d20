"""A cancelled read: it ends at once, says so, and never looks whole, wherever the cancel comes."""

import re
import threading
from collections import Counter
from contextlib import suppress

import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.reading.api import bind_arguments, read_routed, routed
from casesearch_pd.reading.fetch import pipeline as exhaust
from casesearch_pd.reading.frames.columns import describe_invalid_values
from casesearch_pd.sources.transport.context import Cancelled, ReadContext, use_context
from casesearch_pd.sources.transport.rate_limit import RateLimiter
from tests.numbered_cases import CASES, PLAIN, SERVICES, by_id, read, serve_cases, without_faults

PAGES = 46  # of 25 cases each


@pytest.fixture(scope="module")
def service():
    with serve_cases(25, pages_before_workers=3, min_split_pages=2) as running:
        yield running


@pytest.fixture
def local(service):
    yield from without_faults(service)


class At:
    """A bar that cancels the read at a page, or as a pass begins."""

    def __init__(self, run, *, page=None, begin=None):
        self.run, self.page, self.number = run, page, begin
        self.total, self.pages, self.begun = None, 0, []

    def begin(self, number, _):
        """Cancel as this pass begins."""
        self.begun.append(number)
        if number == self.number:
            self.run.cancel()

    def update(self, _):
        """Cancel at this page."""
        self.pages += 1
        if self.pages == self.page:
            self.run.cancel()


def plainly(source, run, bar=False, **named):
    """Read as `read_cases` does, with a run that somebody can cancel."""
    given = bind_arguments(source, named)
    return read_routed(routed(given), given, run, bar)


def interrupted(source, run, bar=False, **named):
    """Read, and hold what comes of it to how a cancelled read ends; hand on its rows."""
    with pytest.raises(cs.ReadInterrupted, match=r"they are in \.partial") as stopped:
        plainly(source, run, bar, **named)
    partial = stopped.value.partial
    assert partial.cases.provenance["complete"] is False
    assert partial.cases.provenance["notes"].count("stopped by the user") == 1
    assert not [one for one in threading.enumerate() if re.fullmatch(r"cases-\d+", one.name)]
    assert_some(partial)
    return partial


def assert_some(partial):
    """Hold every cell to the cases that were serve_cases, whatever columns came."""
    came = partial.dropna(axis="columns", how="all")
    some = CASES[CASES["case_id"].isin(partial["case_id"])]
    assert len(some) == len(partial)
    if len(partial):
        columns = [name for name in CASES if name in came]
        pd.testing.assert_frame_equal(by_id(came, columns), by_id(some, columns), check_dtype=False)


def hooked(monkeypatch, source, name, act):
    """Have something happen before each call of a method of a source."""
    real = getattr(source, name)

    def method(*given):
        act(*given)
        return real(*given)

    monkeypatch.setattr(source, name, method, raising=False)


# --- while pages come -------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("page", [1, 2, 7])
@pytest.mark.parametrize("name", SERVICES)
def test_a_read_ends_with_the_page_that_is_under_way(local, name, page, workers):
    run = ReadContext()
    partial = interrupted(
        local.sources[name], run, At(run, page=page), columns=PLAIN, max_workers=workers
    )
    size = local.sources[name].page_size
    assert (page - workers) * size <= len(partial) <= (page + workers) * size
    assert 0 < len(partial) < len(CASES)


@pytest.mark.parametrize("workers", [1, 4])
def test_the_last_page_is_early_enough(local, workers):
    """All rows are here, and the read was cancelled: it does not look whole."""
    run = ReadContext()
    source = local.sources["connect"]
    partial = interrupted(
        source, run, At(run, page=PAGES), columns=PLAIN, max_workers=workers, limit=None
    )
    assert len(partial) <= len(CASES)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", SERVICES)
def test_a_cancelled_run_asks_for_nothing(local, name, workers):
    source, run = local.sources[name], ReadContext()
    run.cancel()
    before = len(local.requests)
    partial = interrupted(source, run, columns=PLAIN, max_workers=workers)
    assert len(local.requests) == before
    assert list(partial) == PLAIN
    assert partial.dtypes.equals(read(source, columns=PLAIN, limit=5).dtypes)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_later_pass_leaves_its_columns_blank(local, workers):
    run = ReadContext()
    source = local.sources["connect"]
    partial = interrupted(source, run, At(run, begin=2), max_workers=workers)
    assert len(partial) == len(CASES)
    assert any("columns that were not read" in one for one in partial.cases.provenance["notes"])


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("page", [2, PAGES])
def test_no_further_pass_begins(local, workers, page):
    run = ReadContext()
    bar = At(run, page=page)
    interrupted(local.sources["connect"], run, bar, max_workers=workers)
    assert bar.begun == [1]


def test_a_later_pass_half_way(local):
    run = ReadContext()
    partial = interrupted(local.sources["connect"], run, At(run, page=PAGES + 5), max_workers=1)
    assert 0 < len(partial) < len(CASES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_filter_in_parts(local, name):
    """Half of 60 cases that are asked for by their ids: on Persona one by one."""
    run, ids = ReadContext(), CASES["case_id"].head(60).tolist()
    partial = interrupted(local.sources[name], run, At(run, page=2), columns=PLAIN, case_id=ids)
    assert 0 < len(partial) < len(ids)


def test_the_list_endpoint(local):
    run = ReadContext()
    source = local.persona_cases(fresh=True, schema=local.sources["persona"].schema)
    partial = interrupted(source, run, At(run, page=3), columns=PLAIN)
    assert 0 < len(partial) < len(CASES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_limited_read(local, name):
    run = ReadContext()
    partial = interrupted(local.sources[name], run, At(run, page=1), columns=PLAIN, limit=400)
    assert 0 < len(partial) < 400


# --- after the pages --------------------------------------------------------------------------


def test_the_sweep(local, monkeypatch):
    """The look at what changed meanwhile is a part of the read."""
    run, source = ReadContext(), local.sources["connect"]

    def cancels(scan, *_):
        if "updated_at" in repr(scan.where):
            run.cancel()

    hooked(monkeypatch, source, "read_page", cancels)
    partial = interrupted(source, run)
    assert run.cancelled
    assert len(partial) == len(CASES)


def test_the_count_of_a_short_read(local, monkeypatch):
    """A read that is short and cancelled is cancelled: nobody waits for the second try."""
    run, source = ReadContext(), local.sources["connect"]
    local.faults.append(Fault("total", 40))
    hooked(monkeypatch, source, "count", lambda *_: run.cancel())
    assert len(interrupted(source, run, columns=PLAIN)) == len(CASES)


@pytest.mark.parametrize("step", ["ordered", "digest"])
@pytest.mark.parametrize("name", SERVICES)
def test_between_the_last_page_and_the_end(local, monkeypatch, name, step):
    run, real = ReadContext(), getattr(exhaust, step)

    def cancels(*given):
        run.cancel()
        return real(*given)

    monkeypatch.setattr(exhaust, step, cancels)
    assert len(interrupted(local.sources[name], run, columns=PLAIN)) == len(CASES)


def test_cells_that_do_not_fit_are_counted_once(local, monkeypatch):
    """What is put together a second time has no more misfits than the first time."""
    run, source = ReadContext(), local.sources["connect"]
    count = source.schema.resolve("count").id
    local.faults.append(Fault("value", {"stringValue": "many"}, field=count, at=2))
    local.faults.append(Fault("total", 40))
    hooked(monkeypatch, source, "count", lambda *_: run.cancel())
    with pytest.warns(UserWarning, match="count"), pytest.raises(cs.ReadInterrupted) as stopped:
        plainly(source, run, columns=PLAIN)
    notes = stopped.value.partial.cases.provenance["notes"]
    assert describe_invalid_values(Counter({"count": 1})) in notes


# --- while it waits ---------------------------------------------------------------------------


class Waited(threading.Event):
    """A halt that tells when somebody waits for it."""

    def __init__(self, act=lambda: None):
        super().__init__()
        self.waited, self.act = threading.Event(), act

    def wait(self, timeout=None):
        """Do something, tell, and wait."""
        self.act()
        self.waited.set()
        return super().wait(timeout)


@pytest.mark.parametrize("name", SERVICES)
def test_the_rate_limit_is_not_waited_for(local, name):
    """A rate that lets one page pass in a quarter of an hour."""
    options = {"rate": 1 / 900, "schema": local.sources[name].schema}
    options |= {"burst": 1, "page_size": 25} if name == "connect" else {}
    source, halt = getattr(local, f"{name}_cases")(**options), Waited()
    source.rate_limiter = RateLimiter(1 / 900)
    run, ended = ReadContext(halt=halt), []
    reader = threading.Thread(
        target=lambda: ended.append(_stopped(source, run)), name="reader", daemon=True
    )
    reader.start()
    assert halt.waited.wait(20)
    assert 800 < run.seconds_until_next_request <= 900
    run.cancel()
    reader.join(20)
    assert not reader.is_alive()
    assert run.seconds_until_next_request == 0
    assert [len(one) for one in ended] == [source.page_size]


def test_a_run_waits_only_while_none_of_its_requests_is_under_way():
    """Of two that wait the first counts; a third on its way is no wait at all."""
    halt = Waited()
    run = ReadContext(halt=halt)
    for seconds in (900, 90):
        halt.waited.clear()
        threading.Thread(target=_rests, args=(run, seconds), daemon=True).start()
        assert halt.waited.wait(20)
    assert 60 < run.seconds_until_next_request <= 90
    run.count_request()
    assert run.seconds_until_next_request == 0
    run.count_response(0.1)
    assert 60 < run.seconds_until_next_request <= 90
    run.cancel()


def _rests(run, seconds):
    with suppress(Cancelled):
        run.sleep(seconds)


def _stopped(source, run):
    try:
        return plainly(source, run, columns=PLAIN)
    except cs.ReadInterrupted as stop:
        return stop.partial


@pytest.mark.parametrize(
    "fault",
    [Fault("throttle", 90, after=1), Fault("error", status=503, after=1), Fault("html", after=1)],
)
@pytest.mark.parametrize("name", SERVICES)
def test_no_pause_after_a_fault_is_waited_for(local, name, fault):
    halt = Waited()
    run = ReadContext(halt=halt)
    halt.act = run.cancel
    source = getattr(local, f"{name}_cases")(schema=local.sources[name].schema)
    source.rate_limiter = RateLimiter()
    local.faults.append(fault)
    partial = interrupted(source, run, columns=PLAIN)
    assert len(partial) == source.page_size
    assert local.faults.happened(fault) == 1


@pytest.mark.parametrize("on_error", ["raise", "partial"])
@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("name", SERVICES)
def test_an_error_that_comes_after_the_cancel_is_no_news(
    local, monkeypatch, name, status, on_error
):
    """The answer to a request that nobody waits for any more; it is the cause all the same."""
    run, source = ReadContext(), local.sources[name]
    local.faults.append(Fault("error", status=status, at=3))
    hooked(monkeypatch, source, "read_page", lambda *_: run.requests == 2 and run.cancel())
    real = ReadContext.raise_if_cancelled
    monkeypatch.setattr(
        ReadContext, "raise_if_cancelled", lambda self: None if self.requests < 3 else real(self)
    )
    partial = interrupted(source, run, columns=PLAIN, on_error=on_error, max_workers=1)
    assert len(partial) == 2 * source.page_size


# --- discovery --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_discovery_belongs_to_the_read_that_needs_it(service, name):
    """It is halted with the read; and asked anew by the next one."""
    source, run = getattr(service, f"{name}_cases")(), ReadContext()
    run.cancel()
    before = len(service.requests)
    with use_context(run), pytest.raises(Cancelled):
        _ = source.schema
    assert len(service.requests) == before
    assert len(read(source, columns=["case_id"], limit=3)) == 3


# --- other reads ------------------------------------------------------------------------------


def test_chunks_say_that_they_are_not_all(local, monkeypatch):
    run, source = ReadContext(), local.sources["connect"]
    monkeypatch.setattr(ReadContext, "within", lambda _: run)
    with cs.iter_cases(source, columns=PLAIN, chunksize=50, progress=False) as chunks:
        first = next(chunks)
        run.cancel()
        with pytest.raises(cs.ReadInterrupted) as stopped:
            list(chunks)
    assert_some(pd.concat([first, stopped.value.partial], ignore_index=True))
    assert stopped.value.partial.cases.provenance["complete"] is False


def test_a_file_is_not_begun_by_half(local, monkeypatch, tmp_path):
    run, source = ReadContext(), local.sources["connect"]
    monkeypatch.setattr(ReadContext, "within", lambda _: run)
    hooked(monkeypatch, source, "read_page", lambda *_: run.requests == 3 and run.cancel())
    with pytest.raises(cs.ReadInterrupted):
        cs.to_parquet(source, tmp_path / "cases.parquet", columns=PLAIN, progress=False)
    assert not (tmp_path / "cases.parquet").exists()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("what", [cs.read_events, cs.read_related])
def test_what_is_asked_case_by_case(local, monkeypatch, what, workers):
    """Each case is there with all that belongs to it, or not at all."""
    run, ids = ReadContext(), CASES["case_id"].head(40).tolist()
    monkeypatch.setattr(ReadContext, "within", lambda _: run)
    source = local.sources["connect"]
    with pytest.raises(cs.ReadInterrupted, match="of 40 cases") as stopped:
        what(source, ids, progress=At(run, page=12), max_workers=workers)
    assert stopped.value.partial["case_id"].nunique() < 40
    assert run.requests <= 12 + workers


def test_a_cancelled_read_holds_up_no_other(local):
    """Two reads share a source, its connections and its budget; nothing else."""
    source, run = local.sources["connect"], ReadContext()
    interrupted(source, run, At(run, page=3), columns=PLAIN)
    assert len(read(source, columns=PLAIN)) == len(CASES)
