"""Reads in the background: the same frames, watched without waiting, complete or cancelled."""

import gc
import threading
import warnings
from functools import cache
from traceback import format_exception

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.errors import capture_warnings, warn
from casesearch_pd.reading.background import BackgroundRead, Snapshot
from casesearch_pd.reading.fetch.passes import PassReader
from casesearch_pd.reading.frames.frame import FrameFormat
from casesearch_pd.reading.options import Query, ReadOptions
from casesearch_pd.sources import registry
from tests.numbered_cases import CASES, PLAIN, SERVICES, by_id, read, serve_cases, without_faults

TIMEOUT = 20  # seconds, for what takes a moment


@pytest.fixture(scope="module")
def service():
    with serve_cases(25, pages_before_workers=3, min_split_pages=2) as emulator:
        yield emulator


@pytest.fixture
def local(service):
    yield from without_faults(service)


def background(
    source,
    *,
    dtype_backend=None,
    tz="UTC",
    progress="auto",
    max_workers=None,
    on_error="raise",
    timeout=None,
    where=None,
    columns=None,
    sort=None,
    limit=None,
    **filters,
):
    """Return a background read with the parameters of `read_cases`."""
    query = Query(where=where, filters=filters, columns=columns, sort=sort, limit=limit, tz=tz)
    options = ReadOptions(
        frame_format=FrameFormat(tz, dtype_backend),
        progress=progress,
        max_workers=max_workers,
        on_error=on_error,
        timeout=timeout,
    )
    return BackgroundRead(source, query, options)


def until(condition, read):
    """Poll a running read, as a form does, until a condition is true."""
    for _ in range(2000):
        if condition(read):
            return
        assert not read.wait(0.01), "the read has ended"
    raise AssertionError("the condition did not come true")


class Gate:
    """A separate source that stops before the page of a number until it is released."""

    def __init__(self, local, name, *, page, act=lambda: None):
        options = {"page_size": 25} if name == "connect" else {}
        self.source = getattr(local, f"{name}_cases")(schema=local.sources[name].schema, **options)
        self.reached, self.released, self.pages = threading.Event(), threading.Event(), 0
        self._read_page, self._page, self._act = self.source.read_page, page, act
        self._lock = threading.Lock()
        self.source.read_page = self._arguments

    def _arguments(self, *arguments):
        with self._lock:
            self.pages += 1
            is_gated = self.pages == self._page
        if is_gated:
            self.reached.set()
            self._act()
            assert self.released.wait(TIMEOUT)
        return self._read_page(*arguments)


# --- complete -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "filters",
    [
        {"columns": PLAIN},
        {},
        {"status": "open", "columns": ["case_id", "count"], "sort": "-count"},
        {"where": {"count__gte": 200}, "columns": PLAIN, "limit": 30, "tz": "Europe/Berlin"},
        {"where": cs.field("count") < 0, "dtype_backend": "pyarrow"},
    ],
)
@pytest.mark.parametrize("name", SERVICES)
def test_the_frame_is_that_of_read_cases(local, name, filters):
    source = local.sources[name]
    reading = background(source, **filters).start()
    assert reading.wait(TIMEOUT)
    assert (reading.done, reading.cancelled, reading.error, reading.warnings) == (
        True,
        False,
        None,
        (),
    )
    pd.testing.assert_frame_equal(reading.frame, read(source, **filters))
    assert reading.frame.cases.provenance["complete"] is True
    assert reading.plan.requests == cs.explain_cases(source, **filters).requests


def test_the_source_of_the_frame_is_remembered(local):
    """A refresh finds it, with the credentials that the frame was read with."""
    source = local.persona_cases(rate=50)
    reading = background(source, columns=PLAIN, limit=5).start()
    assert reading.wait(TIMEOUT)
    assert source in registry._live_sources


def test_later_changes_of_the_arguments_have_no_effect(local):
    """The form may be edited while the read begins."""
    filters = {"count__lt": 7}
    reading = BackgroundRead(local.sources["connect"], Query(filters=filters, columns=["case_id"]))
    filters |= {"count__lt": 700, "status": "open"}
    assert reading.start().wait(TIMEOUT)
    assert len(reading.frame) == 7


# --- progress -------------------------------------------------------------------------------------


def test_nothing_is_sent_before_the_start(service):
    before = len(service.requests)
    reading = background(service.connect_cases())
    assert reading.progress == Snapshot()
    assert (reading.done, reading.cancelled, reading.frame, reading.plan) == (
        False,
        False,
        None,
        None,
    )
    assert not reading.wait(0)
    assert len(service.requests) == before


@pytest.mark.parametrize("name", SERVICES)
def test_progress_counts_rows_and_pages(local, name):
    gate = Gate(local, name, page=3)
    reading = background(gate.source, columns=PLAIN, max_workers=1).start()
    assert gate.reached.wait(TIMEOUT)
    progress = reading.progress
    assert (progress.rows, progress.pages, progress.requests) == (2 * gate.source.page_size, 2, 2)
    assert (progress.current_pass, progress.passes, progress.waiting) == (1, 1, 0.0)
    assert progress.total == (len(CASES) if name == "connect" else None)
    assert reading.plan.passes == 1
    until(lambda one: one.progress.seconds > progress.seconds, reading)
    gate.released.set()
    assert reading.wait(TIMEOUT)
    assert reading.progress.rows == len(CASES)
    assert reading.progress == reading.progress  # the clock has stopped


def test_progress_counts_the_rows_of_each_pass(local):
    gate = Gate(local, "connect", page=46 + 3)
    reading = background(gate.source, max_workers=1).start()
    assert gate.reached.wait(TIMEOUT)
    progress = reading.progress
    assert (progress.current_pass, progress.passes, progress.pages) == (2, 2, 48)
    assert (progress.rows, progress.total) == (50, len(CASES))
    gate.released.set()
    assert reading.wait(TIMEOUT)
    assert (reading.progress.rows, reading.progress.total) == (len(CASES), len(CASES))


@pytest.mark.parametrize("name", SERVICES)
def test_progress_shows_the_wait_for_the_rate_limit(local, name):
    with cs.LocalCases(CASES) as slow:  # another host, and so another rate limiter
        options = {"burst": 1} if name == "connect" else {}
        schema = local.sources[name].schema
        source = getattr(slow, f"{name}_cases")(rate=1 / 900, schema=schema, **options)
        reading = background(source, columns=PLAIN).start()
        until(lambda one: one.progress.waiting, reading)
        assert 800 < reading.progress.waiting <= 900
        assert reading.progress.rows == 100
        reading.cancel()
        assert reading.wait(TIMEOUT)
    assert reading.progress.waiting == 0
    assert len(reading.frame) == 100


# --- cancelling -----------------------------------------------------------------------------------


def assert_cancelled(reading):
    """Check that a read ends as a cancelled one does."""
    assert reading.wait(TIMEOUT)
    assert reading.cancelled
    assert isinstance(reading.error, cs.ReadInterrupted)
    assert reading.frame is reading.error.partial
    if reading.frame is not None:
        assert reading.frame.cases.provenance["complete"] is False
        assert "interrupted by the user" in reading.frame.cases.provenance["notes"]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("name", SERVICES)
def test_a_cancel_ends_the_read_after_the_page_in_flight(local, name, times):
    gate = Gate(local, name, page=3)
    reading = background(gate.source, columns=PLAIN, max_workers=1).start()
    assert gate.reached.wait(TIMEOUT)
    for _ in range(times):
        reading.cancel()
    assert not reading.cancelled  # the page in flight is still read
    gate.released.set()
    assert_cancelled(reading)
    assert len(reading.frame) == 2 * gate.source.page_size
    assert gate.pages == 3


@pytest.mark.parametrize("name", SERVICES)
def test_a_cancel_before_the_start_sends_nothing(service, name):
    before = len(service.requests)
    for source in (service.sources[name], getattr(service, f"{name}_cases")()):
        reading = background(source, columns=PLAIN)
        reading.cancel()
        assert_cancelled(reading.start())
        assert reading.frame is None or (list(reading.frame), len(reading.frame)) == (PLAIN, 0)
    assert len(service.requests) == before


def test_a_cancel_after_the_end_changes_nothing(local):
    reading = background(local.sources["connect"], columns=PLAIN).start()
    assert reading.wait(TIMEOUT)
    reading.cancel()
    assert (reading.cancelled, reading.error, len(reading.frame)) == (False, None, len(CASES))
    assert reading.frame.cases.provenance["complete"] is True


@pytest.mark.parametrize(
    ("name", "operation"),
    [("connect", "list_fields"), ("connect", "list_field_options"), ("persona", "template")],
)
def test_a_cancel_interrupts_discovery(name, operation):
    """A form would otherwise wait a minute and a half for the throttled discovery."""
    with cs.LocalCases(cases=30) as emulator:
        fault = Fault("throttle", 90, operation=operation)
        emulator.faults.append(fault)
        source = getattr(emulator, f"{name}_cases")()
        reading = background(source, columns=["case_id"]).start()
        until(lambda one: one.progress.waiting, reading)
        assert 60 < reading.progress.waiting <= 90
        reading.cancel()
        assert_cancelled(reading)
        assert (reading.frame, reading.plan) == (None, None)
        assert emulator.faults.happened(fault) == 1


def test_a_second_read_is_not_affected_by_the_cancel_of_the_first(local):
    """Each has its own rows, pages and end, although the source is the same."""
    gate = Gate(local, "connect", page=4)
    first = background(gate.source, columns=PLAIN, max_workers=1).start()
    assert gate.reached.wait(TIMEOUT)
    second = background(gate.source, columns=["case_id"], count__lt=60).start()
    assert second.wait(TIMEOUT)
    assert (second.progress.rows, second.progress.pages, second.progress.requests) == (60, 3, 3)
    assert (first.progress.rows, first.progress.pages) == (75, 3)
    first.cancel()
    gate.released.set()
    assert_cancelled(first)
    assert (len(second.frame), second.cancelled, second.error) == (60, False, None)
    third = background(gate.source, columns=PLAIN).start()
    assert third.wait(TIMEOUT)
    pd.testing.assert_frame_equal(third.frame, read(gate.source, columns=PLAIN))


@cache
def _complete_frame(name, all_columns, some_ids):
    """Return the complete frame for the test below."""
    with serve_cases(25) as emulator:
        return _read(emulator.sources[name], all_columns=all_columns, some_ids=some_ids)


def _read(source, *, all_columns, some_ids, **options):
    arguments = _arguments(all_columns=all_columns, some_ids=some_ids)
    return read(source, **arguments, **options)


def _arguments(*, all_columns, some_ids):
    columns = {} if all_columns else {"columns": PLAIN}
    filters = {"case_id": CASES["case_id"].iloc[::29].tolist()} if some_ids else {}
    return columns | filters


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    name=st.sampled_from(SERVICES),
    workers=st.integers(1, 4),
    page=st.integers(1, 110),
    all_columns=st.booleans(),
    some_ids=st.booleans(),
    before=st.booleans(),
)
def test_a_read_is_either_complete_or_cancelled(
    service, *, name, workers, page, all_columns, some_ids, before
):
    """Whenever the cancel comes, a frame is that of `read_cases`, or marked as incomplete."""
    arguments = _arguments(all_columns=all_columns, some_ids=some_ids)
    gate = Gate(service, name, page=page)
    reading = background(gate.source, **arguments, max_workers=workers)
    gate.released.set()
    if before:
        gate._act = reading.cancel
    other = threading.Thread(target=lambda: gate.reached.wait(TIMEOUT) and reading.cancel())
    other.start()  # while the page is read, or a little later
    assert reading.start().wait(TIMEOUT)
    gate.reached.set()
    other.join(TIMEOUT)
    complete = _complete_frame(name, all_columns, some_ids)
    if reading.error is None:
        pd.testing.assert_frame_equal(reading.frame, complete)
        assert reading.frame.cases.provenance["complete"] is True
        return
    assert_cancelled(reading)
    assert list(reading.frame) == list(complete)
    partial = reading.frame.dropna(axis="columns", how="all")
    part = complete[complete["case_id"].isin(partial["case_id"])] if len(partial) else partial
    assert len(part) == len(partial)
    columns = [name for name in CASES if name in partial]
    if len(partial):
        pd.testing.assert_frame_equal(by_id(partial, columns), by_id(part, columns))


def test_a_cancelled_read_keeps_its_rows_in_memory_once(local):
    """A form keeps the read, and the traceback of its error must not keep the rows again."""
    gate = Gate(local, "connect", page=9)
    reading = background(gate.source, columns=PLAIN, max_workers=1).start()
    assert gate.reached.wait(TIMEOUT)
    reading.cancel()
    gate.released.set()
    assert_cancelled(reading)
    reading._thread.join(TIMEOUT)
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, PassReader)]
    assert "end_early" in "".join(format_exception(reading.error))


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "error", "message"),
    [
        ({"statsu": "open"}, cs.FilterError, "did you mean 'status'"),
        ({"timeout": -1}, cs.FilterError, "timeout must be"),
        ({"limit": -1}, cs.FilterError, "limit must be"),
    ],
)
def test_a_wrong_argument_is_an_error(local, filters, error, message):
    reading = background(local.sources["connect"], **filters).start()
    assert reading.wait(TIMEOUT)
    assert isinstance(reading.error, error)
    assert message in str(reading.error)
    assert (reading.frame, reading.cancelled) == (None, False)


def test_wrong_options_are_refused_at_once():
    with pytest.raises(cs.FilterError, match="max_workers must be a positive integer"):
        ReadOptions(max_workers=0)
    with pytest.raises(cs.FilterError, match="dtype_backend must be"):
        FrameFormat(dtype_backend="fortran")


def test_a_refusing_service_is_an_error(local):
    local.faults.append(Fault("error", status=403))
    reading = background(local.sources["connect"], columns=PLAIN).start()
    assert reading.wait(TIMEOUT)
    assert isinstance(reading.error, cs.AccessDeniedError)
    assert reading.frame is None


@pytest.mark.parametrize("options", [{}, {"on_error": "partial"}, {"progress": True}])
def test_a_failed_read_keeps_its_rows(local, options, capsys):
    """It also keeps its error, whatever `on_error` is, and shows no progress bar."""
    local.faults.append(Fault("error", status=400, after=2))
    arguments = {"columns": PLAIN, "max_workers": 1, **options}
    reading = background(local.sources["connect"], **arguments).start()
    assert reading.wait(TIMEOUT)
    assert isinstance(reading.error, cs.IncompleteReadError)
    assert reading.frame is reading.error.partial
    assert len(reading.frame) == 50
    assert reading.frame.cases.provenance["complete"] is False
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_an_unexpected_error_is_reported_too(local, monkeypatch, error):
    """An error that ended the thread would be printed unnoticed, and the form would hang."""
    unhandled = []
    monkeypatch.setattr(threading, "excepthook", unhandled.append)

    def fail():
        raise error

    gate = Gate(local, "connect", page=2, act=fail)
    reading = background(gate.source, columns=PLAIN).start()
    assert reading.wait(TIMEOUT)
    assert type(reading.error) is error
    assert reading.frame is None
    assert not unhandled


def test_a_timeout_counts_from_the_start(local):
    with cs.LocalCases(CASES) as slow:
        source = slow.connect_cases(rate=1 / 900, burst=1, schema=local.sources["connect"].schema)
        reading = background(source, columns=PLAIN, timeout=5).start()
        assert reading.wait(TIMEOUT)
    assert isinstance(reading.error, cs.IncompleteReadError)
    assert "timeout" in str(reading.error)
    assert len(reading.frame) == 100


def test_a_read_can_be_started_only_once(local):
    reading = background(local.sources["connect"], limit=1).start()
    with pytest.raises(RuntimeError):
        reading.start()
    assert reading.wait(TIMEOUT)


# --- warnings -------------------------------------------------------------------------------------


def test_warnings_are_collected(local):
    reading = background(local.sources["connect"], template="nonesuch", limit=1).start()
    assert reading.wait(TIMEOUT)
    assert reading.error is None
    assert "nonesuch" in reading.warnings[0]


def test_a_notebook_cell_is_warned_during_a_read(local):
    """A read must not change the warning filters of the process."""
    gate = Gate(local, "connect", page=2)
    reading = background(gate.source, template="nonesuch")
    filters_before = list(warnings.filters)
    reading.start()
    assert gate.reached.wait(TIMEOUT) or reading.wait(0)
    with pytest.warns(UserWarning, match="of this cell"):
        warn("of this cell")
    with pytest.warns(UserWarning, match="of another library"):
        warnings.warn("of another library", stacklevel=1)
    assert warnings.filters == filters_before
    gate.released.set()
    assert reading.wait(TIMEOUT)
    assert not [one for one in reading.warnings if "cell" in one or "library" in one]


def test_warnings_are_captured_by_the_innermost_context(recwarn):
    with capture_warnings() as outer:
        warn("one")
        with capture_warnings() as inner:
            warn("two")
        warn("three")
    assert (outer, inner, list(recwarn)) == (["one", "three"], ["two"], [])
    with pytest.warns(UserWarning, match="four"):
        warn("four")
