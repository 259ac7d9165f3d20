"""Reads in the background: the same frames, watched without waiting, whole or cancelled."""

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
from casesearch_pd.reading.fetch.passes import ReadState
from casesearch_pd.sources import registry as again
from tests.numbered_cases import CASES, PLAIN, SERVICES, by_id, read, serve_cases, without_faults

AT_MOST = 20  # seconds for what takes a moment


@pytest.fixture(scope="module")
def service():
    with serve_cases(25, pages_before_workers=3, min_split_pages=2) as running:
        yield running


@pytest.fixture
def local(service):
    yield from without_faults(service)


def until(holds, read):
    """Look again and again, as a form does, until something holds of a read that goes on."""
    for _ in range(2000):
        if holds(read):
            return
        assert not read.wait(0.01), "the read has ended"
    raise AssertionError("it does not come to pass")


class Gate:
    """A source of its own that stops before the page of a number until it is let through."""

    def __init__(self, local, name, *, page, act=lambda: None):
        options = {"page_size": 25} if name == "connect" else {}
        self.source = getattr(local, f"{name}_cases")(schema=local.sources[name].schema, **options)
        self.reached, self.opened, self.pages = threading.Event(), threading.Event(), 0
        self._real, self._page, self._act = self.source.read_page, page, act
        self._lock = threading.Lock()
        self.source.read_page = self._asked

    def _asked(self, *question):
        with self._lock:
            self.pages += 1
            mine = self.pages == self._page
        if mine:
            self.reached.set()
            self._act()
            assert self.opened.wait(AT_MOST)
        return self._real(*question)


# --- whole ------------------------------------------------------------------------------------


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
def test_it_is_the_frame_of_read_cases(local, name, filters):
    source = local.sources[name]
    found = BackgroundRead(source, filters).start()
    assert found.wait(AT_MOST)
    assert (found.done, found.cancelled, found.error, found.said) == (True, False, None, ())
    pd.testing.assert_frame_equal(found.frame, read(source, **filters))
    assert found.frame.cases.provenance["complete"] is True
    assert found.plan.requests == cs.explain_cases(source, **filters).requests


def test_the_source_of_the_frame_is_remembered(local):
    """A refresh finds it, with the credentials that the frame was read with."""
    source = local.persona_cases(rate=50)
    found = BackgroundRead(source, {"columns": PLAIN, "limit": 5}).start()
    assert found.wait(AT_MOST)
    assert source in again._ALIVE


def test_what_it_was_asked_stays_what_it_is(local):
    """The form goes on to be edited while the read begins."""
    asked = {"columns": ["case_id"], "count__lt": 7}
    found = BackgroundRead(local.sources["connect"], asked)
    asked |= {"count__lt": 700, "limit": 1}
    assert found.start().wait(AT_MOST)
    assert len(found.frame) == 7


# --- watching ---------------------------------------------------------------------------------


def test_nothing_is_asked_before_the_start(service):
    before = len(service.requests)
    found = BackgroundRead(service.connect_cases(), {})
    assert found.progress == Snapshot()
    assert (found.done, found.cancelled, found.frame, found.plan) == (False, False, None, None)
    assert not found.wait(0)
    assert len(service.requests) == before


@pytest.mark.parametrize("name", SERVICES)
def test_a_read_shows_how_far_it_is(local, name):
    gate = Gate(local, name, page=3)
    found = BackgroundRead(gate.source, {"columns": PLAIN, "max_workers": 1}).start()
    assert gate.reached.wait(AT_MOST)
    seen = found.progress
    assert (seen.rows, seen.pages, seen.requests) == (2 * gate.source.page_size, 2, 2)
    assert (seen.current_pass, seen.passes, seen.waiting) == (1, 1, 0.0)
    assert seen.total == (len(CASES) if name == "connect" else None)
    assert found.plan.passes == 1
    until(lambda one: one.progress.seconds > seen.seconds, found)
    gate.opened.set()
    assert found.wait(AT_MOST)
    assert found.progress.rows == len(CASES)
    assert found.progress == found.progress  # the clock stands still


def test_each_pass_has_rows_of_its_own(local):
    gate = Gate(local, "connect", page=46 + 3)
    found = BackgroundRead(gate.source, {"max_workers": 1}).start()
    assert gate.reached.wait(AT_MOST)
    seen = found.progress
    assert (seen.current_pass, seen.passes, seen.pages) == (2, 2, 48)
    assert (seen.rows, seen.total) == (50, len(CASES))
    gate.opened.set()
    assert found.wait(AT_MOST)
    assert (found.progress.rows, found.progress.total) == (len(CASES), len(CASES))


@pytest.mark.parametrize("name", SERVICES)
def test_the_wait_for_the_rate_limit_shows(local, name):
    with cs.LocalCases(CASES) as slow:  # a host of its own, and so a budget of its own
        options = {"burst": 1} if name == "connect" else {}
        schema = local.sources[name].schema
        source = getattr(slow, name)(rate=1 / 900, schema=schema, **options)
        found = BackgroundRead(source, {"columns": PLAIN}).start()
        until(lambda one: one.progress.waiting, found)
        assert 800 < found.progress.waiting <= 900
        assert found.progress.rows == 100
        found.cancel()
        assert found.wait(AT_MOST)
    assert found.progress.waiting == 0
    assert len(found.frame) == 100


# --- cancelling -------------------------------------------------------------------------------


def assert_cancelled(found):
    """Hold a read to how a cancelled one ends."""
    assert found.wait(AT_MOST)
    assert found.cancelled
    assert isinstance(found.error, cs.ReadInterrupted)
    assert found.frame is found.error.partial
    if found.frame is not None:
        assert found.frame.cases.provenance["complete"] is False
        assert "stopped by the user" in found.frame.cases.provenance["notes"]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("name", SERVICES)
def test_a_cancel_ends_it_with_the_page_that_is_under_way(local, name, times):
    gate = Gate(local, name, page=3)
    found = BackgroundRead(gate.source, {"columns": PLAIN, "max_workers": 1}).start()
    assert gate.reached.wait(AT_MOST)
    for _ in range(times):
        found.cancel()
    assert not found.cancelled  # it is on its way
    gate.opened.set()
    assert_cancelled(found)
    assert len(found.frame) == 2 * gate.source.page_size
    assert gate.pages == 3


@pytest.mark.parametrize("name", SERVICES)
def test_a_cancel_before_the_start_asks_for_nothing(service, name):
    before = len(service.requests)
    for source in (service.sources[name], getattr(service, f"{name}_cases")()):
        found = BackgroundRead(source, {"columns": PLAIN})
        found.cancel()
        assert_cancelled(found.start())
        assert found.frame is None or (list(found.frame), len(found.frame)) == (PLAIN, 0)
    assert len(service.requests) == before


def test_a_cancel_after_the_end_changes_nothing(local):
    found = BackgroundRead(local.sources["connect"], {"columns": PLAIN}).start()
    assert found.wait(AT_MOST)
    found.cancel()
    assert (found.cancelled, found.error, len(found.frame)) == (False, None, len(CASES))
    assert found.frame.cases.provenance["complete"] is True


@pytest.mark.parametrize(
    ("name", "operation"),
    [("connect", "list_fields"), ("connect", "list_field_options"), ("persona", "template")],
)
def test_a_cancel_wakes_discovery(name, operation):
    """A minute and a half of throttling, in which a form would be stuck; then all is well."""
    with cs.LocalCases(cases=30) as throttled:
        fault = Fault("throttle", 90, operation=operation)
        throttled.faults.append(fault)
        source = getattr(throttled, name)()
        found = BackgroundRead(source, {"columns": ["case_id"]}).start()
        until(lambda one: one.progress.waiting, found)
        assert 60 < found.progress.waiting <= 90
        found.cancel()
        assert_cancelled(found)
        assert (found.frame, found.plan) == (None, None)
        assert throttled.faults.happened(fault) == 1


def test_a_second_read_goes_on_where_the_first_is_cancelled(local):
    """Each has its own rows, pages and end; the source is the same."""
    gate = Gate(local, "connect", page=4)
    first = BackgroundRead(gate.source, {"columns": PLAIN, "max_workers": 1}).start()
    assert gate.reached.wait(AT_MOST)
    second = BackgroundRead(gate.source, {"columns": ["case_id"], "count__lt": 60}).start()
    assert second.wait(AT_MOST)
    assert (second.progress.rows, second.progress.pages, second.progress.requests) == (60, 3, 3)
    assert (first.progress.rows, first.progress.pages) == (75, 3)
    first.cancel()
    gate.opened.set()
    assert_cancelled(first)
    assert (len(second.frame), second.cancelled, second.error) == (60, False, None)
    third = BackgroundRead(gate.source, {"columns": PLAIN}).start()
    assert third.wait(AT_MOST)
    pd.testing.assert_frame_equal(third.frame, read(gate.source, columns=PLAIN))


@cache
def _whole(name, wide, some):
    """Read what the law below reads, once."""
    with serve_cases(25) as running:
        return _read(running.sources[name], wide=wide, some=some)


def _read(source, *, wide, some, **named):
    asked = _asked(wide=wide, some=some)
    return read(source, **asked, **named)


def _asked(*, wide, some):
    columns = {} if wide else {"columns": PLAIN}
    filters = {"case_id": CASES["case_id"].iloc[::29].tolist()} if some else {}
    return columns | filters


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    name=st.sampled_from(SERVICES),
    workers=st.integers(1, 4),
    page=st.integers(1, 110),
    wide=st.booleans(),
    some=st.booleans(),
    before=st.booleans(),
)
def test_it_is_whole_or_cancelled_and_nothing_else(
    service, *, name, workers, page, wide, some, before
):
    """Whenever the cancel comes: a frame is that of `read_cases`, or says that it is not."""
    asked = _asked(wide=wide, some=some)
    gate = Gate(service, name, page=page)
    found = BackgroundRead(gate.source, {**asked, "max_workers": workers})
    gate.opened.set()
    if before:
        gate._act = found.cancel
    other = threading.Thread(target=lambda: gate.reached.wait(AT_MOST) and found.cancel())
    other.start()  # at the same time as the page, or a little later
    assert found.start().wait(AT_MOST)
    gate.reached.set()
    other.join(AT_MOST)
    whole = _whole(name, wide, some)
    if found.error is None:
        pd.testing.assert_frame_equal(found.frame, whole)
        assert found.frame.cases.provenance["complete"] is True
        return
    assert_cancelled(found)
    assert list(found.frame) == list(whole)
    came = found.frame.dropna(axis="columns", how="all")
    part = whole[whole["case_id"].isin(came["case_id"])] if len(came) else came
    assert len(part) == len(came)
    columns = [name for name in CASES if name in came]
    if len(came):
        pd.testing.assert_frame_equal(by_id(came, columns), by_id(part, columns))


def test_a_cancelled_read_holds_its_rows_once(local):
    """A form keeps the read: what the error's traceback holds would double its memory."""
    gate = Gate(local, "connect", page=9)
    found = BackgroundRead(gate.source, {"columns": PLAIN, "max_workers": 1}).start()
    assert gate.reached.wait(AT_MOST)
    found.cancel()
    gate.opened.set()
    assert_cancelled(found)
    found._thread.join(AT_MOST)
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, ReadState)]
    assert "_unfinished" in "".join(format_exception(found.error))


# --- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "error", "says"),
    [
        ({"statsu": "open"}, cs.FilterError, "did you mean 'status'"),
        ({"max_workers": 0}, cs.FilterError, "max_workers=0"),
        ({"timeout": -1}, cs.FilterError, "timeout=-1"),
        ({"source": "x"}, TypeError, "source"),
        ({"dtype_backend": "fortran"}, cs.FilterError, "fortran"),
    ],
)
def test_a_question_that_cannot_be_asked_is_told(local, filters, error, says):
    found = BackgroundRead(local.sources["connect"], filters).start()
    assert found.wait(AT_MOST)
    assert isinstance(found.error, error)
    assert says in str(found.error)
    assert (found.frame, found.cancelled) == (None, False)


def test_a_service_that_refuses_is_told(local):
    local.faults.append(Fault("error", status=403))
    found = BackgroundRead(local.sources["connect"], {"columns": PLAIN}).start()
    assert found.wait(AT_MOST)
    assert isinstance(found.error, cs.AccessDeniedError)
    assert found.frame is None


@pytest.mark.parametrize("named", [{}, {"on_error": "partial"}, {"progress": True}])
def test_a_read_that_breaks_off_keeps_its_rows(local, named, capsys):
    """And its error, whatever `on_error` says; and shows no bar of its own."""
    local.faults.append(Fault("error", status=400, after=2))
    asked = {"columns": PLAIN, "max_workers": 1, **named}
    found = BackgroundRead(local.sources["connect"], asked).start()
    assert found.wait(AT_MOST)
    assert isinstance(found.error, cs.IncompleteReadError)
    assert found.frame is found.error.partial
    assert len(found.frame) == 50
    assert found.frame.cases.provenance["complete"] is False
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_mistake_of_ours_is_told_and_ends_no_thread_unheard(local, monkeypatch, error):
    """What escapes a thread is printed where nobody looks, and the form would wait for ever."""
    escaped = []
    monkeypatch.setattr(threading, "excepthook", escaped.append)

    def mistaken():
        raise error

    gate = Gate(local, "connect", page=2, act=mistaken)
    found = BackgroundRead(gate.source, {"columns": PLAIN}).start()
    assert found.wait(AT_MOST)
    assert type(found.error) is error
    assert found.frame is None
    assert not escaped


def test_a_deadline_counts_from_the_start(local):
    with cs.LocalCases(CASES) as slow:
        source = slow.connect_cases(rate=1 / 900, burst=1, schema=local.sources["connect"].schema)
        found = BackgroundRead(source, {"columns": PLAIN, "timeout": 5}).start()
        assert found.wait(AT_MOST)
    assert isinstance(found.error, cs.IncompleteReadError)
    assert "timeout" in str(found.error)
    assert len(found.frame) == 100


def test_it_is_started_once(local):
    found = BackgroundRead(local.sources["connect"], {"limit": 1}).start()
    with pytest.raises(RuntimeError):
        found.start()
    assert found.wait(AT_MOST)


# --- warnings ---------------------------------------------------------------------------------


def test_its_warnings_are_kept_for_who_shows_it(local):
    found = BackgroundRead(local.sources["connect"], {"template": "nonesuch", "limit": 1}).start()
    assert found.wait(AT_MOST)
    assert found.error is None
    assert "nonesuch" in found.said[0]


def test_a_cell_is_warned_while_a_read_goes_on(local):
    """And the filters of its warnings are as they were."""
    gate = Gate(local, "connect", page=2)
    found = BackgroundRead(gate.source, {"template": "nonesuch"})
    kept = list(warnings.filters)
    found.start()
    assert gate.reached.wait(AT_MOST) or found.wait(0)
    with pytest.warns(UserWarning, match="of this cell"):
        warn("of this cell")
    with pytest.warns(UserWarning, match="of another library"):
        warnings.warn("of another library", stacklevel=1)
    assert warnings.filters == kept
    gate.opened.set()
    assert found.wait(AT_MOST)
    assert not [one for one in found.said if "cell" in one or "library" in one]


def test_who_hears_within_who_hears(recwarn):
    with capture_warnings() as outer:
        warn("one")
        with capture_warnings() as inner:
            warn("two")
        warn("three")
    assert (outer, inner, list(recwarn)) == (["one", "three"], ["two"], [])
    with pytest.warns(UserWarning, match="four"):
        warn("four")
