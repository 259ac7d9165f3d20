"""A cancelled read ends at once, says so, and never looks complete, wherever the cancel comes."""

import re
import threading
from collections import Counter
from contextlib import suppress

import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.reading.fetch import pipeline
from casesearch_pd.reading.fetch.pipeline import read_frame
from casesearch_pd.reading.frames.columns import describe_invalid_values
from casesearch_pd.reading.options import Query, ReadOptions
from casesearch_pd.reading.plan import plan_read
from casesearch_pd.sources.transport.context import Cancelled, ReadContext, use_context
from casesearch_pd.sources.transport.rate_limit import RateLimiter
from tests.numbered_cases import CASES, PLAIN, SERVICES, by_id, read, serve_cases

PAGES = 46  # of 25 cases each


@pytest.fixture(scope="module")
def service():
    with serve_cases(25, pages_before_workers=3, min_split_pages=2) as service:
        yield service


class CancellingBar:
    """A progress bar that cancels the read at a page, or as a pass begins."""

    def __init__(self, context, *, page=None, begin=None):
        self.context, self.page, self.number = context, page, begin
        self.total, self.pages, self.passes = None, 0, []

    def begin(self, number, _):
        """Cancel as this pass begins."""
        self.passes.append(number)
        if number == self.number:
            self.context.cancel()

    def update(self, _):
        """Cancel at this page."""
        self.pages += 1
        if self.pages == self.page:
            self.context.cancel()


def read_in(context, source, bar=False, *, max_workers=None, on_error="raise", **query):
    """Read as `read_cases` does, in a context that the test can cancel."""
    columns, limit = query.pop("columns", None), query.pop("limit", None)
    options = ReadOptions(progress=bar, max_workers=max_workers, on_error=on_error)
    plan = plan_read(source, Query(columns=columns, limit=limit, filters=query))
    return read_frame(plan, context, options)


def interrupted(source, context, bar=False, **options):
    """Read, check that the read ends as a cancelled one does, and return its rows."""
    with pytest.raises(cs.ReadInterrupted, match=r"are kept in \.partial") as error:
        read_in(context, source, bar, **options)
    partial = error.value.partial
    assert partial.cases.provenance["complete"] is False
    assert partial.cases.provenance["notes"].count("interrupted by the user") == 1
    assert not [one for one in threading.enumerate() if re.fullmatch(r"cases-\d+", one.name)]
    assert_rows_are_true(partial)
    return partial


def assert_rows_are_true(partial):
    """Check every cell against the cases of the emulator, whatever columns were read."""
    frame = partial.dropna(axis="columns", how="all")
    expected = CASES[CASES["case_id"].isin(partial["case_id"])]
    assert len(expected) == len(partial)
    if len(partial):
        columns = [name for name in CASES if name in frame]
        pd.testing.assert_frame_equal(
            by_id(frame, columns), by_id(expected, columns), check_dtype=False
        )


def hook(monkeypatch, source, name, act):
    """Call a function before each call of a method of a source."""
    original = getattr(source, name)

    def method(*args):
        act(*args)
        return original(*args)

    monkeypatch.setattr(source, name, method, raising=False)


# --- between pages ----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("page", [1, 2, 7])
@pytest.mark.parametrize("name", SERVICES)
def test_a_read_ends_with_the_current_page(local, name, page, workers):
    context = ReadContext()
    partial = interrupted(
        local.sources[name],
        context,
        CancellingBar(context, page=page),
        columns=PLAIN,
        max_workers=workers,
    )
    size = local.sources[name].page_size
    assert (page - workers) * size <= len(partial) <= (page + workers) * size
    assert 0 < len(partial) < len(CASES)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_cancel_at_the_last_page_counts(local, workers):
    """All rows are here, but the read was cancelled: it must not look complete."""
    context = ReadContext()
    source = local.sources["connect"]
    partial = interrupted(
        source,
        context,
        CancellingBar(context, page=PAGES),
        columns=PLAIN,
        max_workers=workers,
        limit=None,
    )
    assert len(partial) <= len(CASES)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", SERVICES)
def test_a_cancelled_context_sends_nothing(local, name, workers):
    source, context = local.sources[name], ReadContext()
    context.cancel()
    before = len(local.requests)
    partial = interrupted(source, context, columns=PLAIN, max_workers=workers)
    assert len(local.requests) == before
    assert list(partial) == PLAIN
    assert partial.dtypes.equals(read(source, columns=PLAIN, limit=5).dtypes)


@pytest.mark.parametrize("workers", [1, 4])
def test_columns_of_an_unread_pass_are_missing(local, workers):
    context = ReadContext()
    source = local.sources["connect"]
    partial = interrupted(source, context, CancellingBar(context, begin=2), max_workers=workers)
    assert len(partial) == len(CASES)
    assert any("columns that were not read" in note for note in partial.cases.provenance["notes"])


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("page", [2, PAGES])
def test_no_further_pass_begins(local, workers, page):
    context = ReadContext()
    bar = CancellingBar(context, page=page)
    interrupted(local.sources["connect"], context, bar, max_workers=workers)
    assert bar.passes == [1]


def test_a_cancel_within_a_later_pass(local):
    context = ReadContext()
    partial = interrupted(
        local.sources["connect"], context, CancellingBar(context, page=PAGES + 5), max_workers=1
    )
    assert 0 < len(partial) < len(CASES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_cancel_of_a_split_filter(local, name):
    """60 cases are requested by their ids, on Persona one by one."""
    context, ids = ReadContext(), CASES["case_id"].head(60).tolist()
    partial = interrupted(
        local.sources[name], context, CancellingBar(context, page=2), columns=PLAIN, case_id=ids
    )
    assert 0 < len(partial) < len(ids)


def test_a_cancel_of_the_list_endpoint(local):
    context = ReadContext()
    source = local.persona_cases(fresh=True, schema=local.sources["persona"].schema)
    partial = interrupted(source, context, CancellingBar(context, page=3), columns=PLAIN)
    assert 0 < len(partial) < len(CASES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_cancel_of_a_limited_read(local, name):
    context = ReadContext()
    partial = interrupted(
        local.sources[name], context, CancellingBar(context, page=1), columns=PLAIN, limit=400
    )
    assert 0 < len(partial) < 400


# --- after the last page------------------------------------------------------------------------


def test_a_cancel_while_changes_are_read_again(local, monkeypatch):
    """Reading again what changed during the read is a part of it."""
    context, source = ReadContext(), local.sources["connect"]

    def cancels(scan, *_):
        if "updated_at" in repr(scan.where):
            context.cancel()

    hook(monkeypatch, source, "read_page", cancels)
    partial = interrupted(source, context)
    assert context.cancelled
    assert len(partial) == len(CASES)


def test_a_cancel_while_a_short_result_is_counted(local, monkeypatch):
    """A read that is short and cancelled is cancelled: there is no second attempt."""
    context, source = ReadContext(), local.sources["connect"]
    local.faults.append(Fault("total", 40))
    hook(monkeypatch, source, "count", lambda *_: context.cancel())
    assert len(interrupted(source, context, columns=PLAIN)) == len(CASES)


@pytest.mark.parametrize("step", ["sort_rows", "digest_ids"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_cancel_between_the_last_page_and_the_end(local, monkeypatch, name, step):
    context, function = ReadContext(), getattr(pipeline, step)

    def cancelling(*args):
        context.cancel()
        return function(*args)

    monkeypatch.setattr(pipeline, step, cancelling)
    assert len(interrupted(local.sources[name], context, columns=PLAIN)) == len(CASES)


def test_invalid_values_are_counted_once(local, monkeypatch):
    """Passes that are joined a second time must not count their values again."""
    context, source = ReadContext(), local.sources["connect"]
    count = source.schema.resolve("count").id
    local.faults.append(Fault("value", {"stringValue": "many"}, field=count, at=2))
    local.faults.append(Fault("total", 40))
    hook(monkeypatch, source, "count", lambda *_: context.cancel())
    with pytest.warns(UserWarning, match="count"), pytest.raises(cs.ReadInterrupted) as error:
        read_in(context, source, columns=PLAIN)
    notes = error.value.partial.cases.provenance["notes"]
    assert describe_invalid_values(Counter({"count": 1})) in notes


# --- while it waits ---------------------------------------------------------------------------


class WatchedEvent(threading.Event):
    """A cancel event that shows when a worker waits for it."""

    def __init__(self, act=lambda: None):
        super().__init__()
        self.waited, self.act = threading.Event(), act

    def wait(self, timeout=None):
        """Act, record the wait, and wait."""
        self.act()
        self.waited.set()
        return super().wait(timeout)


@pytest.mark.parametrize("name", SERVICES)
def test_a_cancel_ends_the_wait_for_the_rate_limit(local, name):
    """The rate permits one page in a quarter of an hour."""
    options = {"rate": 1 / 900, "schema": local.sources[name].schema}
    options |= {"burst": 1, "page_size": 25} if name == "connect" else {}
    source, event = getattr(local, f"{name}_cases")(**options), WatchedEvent()
    source.rate_limiter = RateLimiter(1 / 900)
    context, frames = ReadContext(cancel_event=event), []
    reader = threading.Thread(
        target=lambda: frames.append(_partial(source, context)), name="reader", daemon=True
    )
    reader.start()
    assert event.waited.wait(20)
    assert 800 < context.seconds_until_next_request <= 900
    context.cancel()
    reader.join(20)
    assert not reader.is_alive()
    assert context.seconds_until_next_request == 0
    assert [len(frame) for frame in frames] == [source.page_size]


def test_a_context_waits_only_while_none_of_its_requests_is_in_flight():
    """Of two that wait the first counts; with a third in flight, there is no wait."""
    event = WatchedEvent()
    context = ReadContext(cancel_event=event)
    for seconds in (900, 90):
        event.waited.clear()
        threading.Thread(target=_sleep, args=(context, seconds), daemon=True).start()
        assert event.waited.wait(20)
    assert 60 < context.seconds_until_next_request <= 90
    context.count_request()
    assert context.seconds_until_next_request == 0
    context.count_response(0.1)
    assert 60 < context.seconds_until_next_request <= 90
    context.cancel()


def _sleep(context, seconds):
    with suppress(Cancelled):
        context.sleep(seconds)


def _partial(source, context):
    try:
        return read_in(context, source, columns=PLAIN)
    except cs.ReadInterrupted as error:
        return error.partial


@pytest.mark.parametrize(
    "fault",
    [Fault("throttle", 90, after=1), Fault("error", status=503, after=1), Fault("html", after=1)],
)
@pytest.mark.parametrize("name", SERVICES)
def test_a_cancel_ends_the_pause_after_a_fault(local, name, fault):
    event = WatchedEvent()
    context = ReadContext(cancel_event=event)
    event.act = context.cancel
    source = getattr(local, f"{name}_cases")(schema=local.sources[name].schema)
    source.rate_limiter = RateLimiter()
    local.faults.append(fault)
    partial = interrupted(source, context, columns=PLAIN)
    assert len(partial) == source.page_size
    assert local.faults.happened(fault) == 1


@pytest.mark.parametrize("on_error", ["raise", "partial"])
@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("name", SERVICES)
def test_an_error_after_the_cancel_is_only_its_cause(local, monkeypatch, name, status, on_error):
    """It answers a request that is of no interest any more."""
    context, source = ReadContext(), local.sources[name]
    local.faults.append(Fault("error", status=status, at=3))
    hook(monkeypatch, source, "read_page", lambda *_: context.requests == 2 and context.cancel())
    raise_if_cancelled = ReadContext.raise_if_cancelled
    monkeypatch.setattr(
        ReadContext,
        "raise_if_cancelled",
        lambda self: None if self.requests < 3 else raise_if_cancelled(self),
    )
    partial = interrupted(source, context, columns=PLAIN, on_error=on_error, max_workers=1)
    assert len(partial) == 2 * source.page_size


# --- discovery --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_discovery_belongs_to_the_read_that_needs_it(service, name):
    """It is cancelled with the read, and sent again by the next one."""
    source, context = getattr(service, f"{name}_cases")(), ReadContext()
    context.cancel()
    before = len(service.requests)
    with use_context(context), pytest.raises(Cancelled):
        _ = source.schema
    assert len(service.requests) == before
    assert len(read(source, columns=["case_id"], limit=3)) == 3


# --- other reads ------------------------------------------------------------------------------


def test_cancelled_chunks_say_that_they_are_incomplete(local, monkeypatch):
    context, source = ReadContext(), local.sources["connect"]
    monkeypatch.setattr(ReadContext, "with_timeout", lambda _: context)
    with cs.iter_cases(source, columns=PLAIN, chunksize=50, progress=False) as chunks:
        first = next(chunks)
        context.cancel()
        with pytest.raises(cs.ReadInterrupted) as error:
            list(chunks)
    assert_rows_are_true(pd.concat([first, error.value.partial], ignore_index=True))
    assert error.value.partial.cases.provenance["complete"] is False


def test_a_cancelled_read_writes_no_file(local, monkeypatch, tmp_path):
    context, source = ReadContext(), local.sources["connect"]
    monkeypatch.setattr(ReadContext, "with_timeout", lambda _: context)
    hook(monkeypatch, source, "read_page", lambda *_: context.requests == 3 and context.cancel())
    with pytest.raises(cs.ReadInterrupted):
        cs.to_parquet(source, tmp_path / "cases.parquet", columns=PLAIN, progress=False)
    assert not (tmp_path / "cases.parquet").exists()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("function", [cs.read_events, cs.read_related])
def test_a_cancel_of_a_per_case_read(local, monkeypatch, function, workers):
    """Each case is there with all that belongs to it, or not at all."""
    context, ids = ReadContext(), CASES["case_id"].head(40).tolist()
    monkeypatch.setattr(ReadContext, "with_timeout", lambda _: context)
    source = local.sources["connect"]
    with pytest.raises(cs.ReadInterrupted, match="of 40 cases") as error:
        function(source, ids, progress=CancellingBar(context, page=12), max_workers=workers)
    assert error.value.partial["case_id"].nunique() < 40
    assert context.requests <= 12 + workers


def test_a_cancelled_read_does_not_affect_another(local):
    """Two reads share a source, its connections and its rate limiter, and nothing else."""
    source, context = local.sources["connect"], ReadContext()
    interrupted(source, context, CancellingBar(context, page=3), columns=PLAIN)
    assert len(read(source, columns=PLAIN)) == len(CASES)
