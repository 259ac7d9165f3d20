"""Reads with faults on the wire: a frame is complete, or says what is missing."""

from datetime import timedelta

import pytest

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
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
from tests.wire_clients import tuned

MODES = {
    "one worker": {"columns": PLAIN, "max_workers": 1},
    "four workers": {"columns": PLAIN, "max_workers": 4},
    "two passes, four workers": {"max_workers": 4},
}


pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture(scope="module")
def service():
    """Serve cases in 24 pages of Connect and 12 of Persona, shared by four workers."""
    with serve_cases(50, pages_before_workers=3) as service:
        yield service


@pytest.fixture
def local(service):
    for source in service.sources.values():
        source.__dict__.pop("rate_limiter", None)  # it has the clock of another test
    service.faults.clear()
    yield service
    service.faults.clear()


def read_with(local, name, *faults, **options):
    """Read while faults happen, and check that they did."""
    for fault in faults:
        local.faults.append(fault)
    try:
        return read(local.sources[name], **options)
    finally:
        assert all(local.faults.happened(fault) for fault in faults)


# --- transient faults -------------------------------------------------------------------------

SOME = {"after": 4, "first": 5}  # requests: each worker may meet one
TRANSIENT = {
    "an empty page with a token": Fault("empty_page", after=4, first=3),
    "a short page": Fault("short_page", 7, **SOME),
    "a long page": Fault("long_page", 7, **SOME),
    "the same case on two pages": Fault("repeated_case", **SOME),
    "an older version of it first": Fault("repeated_case", "older", **SOME),
    "the token that was sent": Fault("same_token", **SOME),
    "a cycle of tokens": Fault("token_cycle", first=8),
    "a token that expired": Fault("expired_token", **SOME),
    "tokens that last for two pages": Fault("expired_token", every=3),
    "a token without text": Fault("token", "", **SOME),
    "no token": Fault("no_token", **SOME),
    "a token of null": Fault("token", None, **SOME),
    "links with the whole address": Fault("absolute_link", wire="persona"),
    "a count that moves": Fault("moving_total", 3, wire="connect"),
    "a page of HTML": Fault("html", **SOME),
    "no body": Fault("empty", **SOME),
    "half a response": Fault("truncated", **SOME),
    "an object without cases": Fault("body", {}, **SOME),
    "cases that are null": Fault("body", {"cases": None, "data": None}, **SOME),
    "gzip that was not requested": Fault("gzip", after=4, first=1),
    "bytes that are not text": Fault("not_utf8", **SOME),
    "names in snake case": Fault("keys", "snake", wire="persona", **SOME),
    "names in camel case": Fault("keys", "camel", wire="persona", **SOME),
    "bare custom values": Fault("bare_fields", wire="persona", **SOME),
    "a body shorter than its header says": Fault("short_body", **SOME),
    "a reset before the head": Fault("reset", "before", **SOME),
    "a reset in the head": Fault("reset", "in", **SOME),
    "a reset in the body": Fault("reset", "after", **SOME),
    "some errors in a row": Fault("error", status=503, **SOME),
    "every third request an error": Fault("error", status=500, every=3),
    "every fifth throttled": Fault("throttle", 1, every=5),
    "answers in another order": Fault("latency", (0.0, 0.01), seed=3),
}


BOTH = [
    (fault, name)
    for fault in TRANSIENT
    for name in SERVICES
    if TRANSIENT[fault].wire in (None, name)
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("fault", "service_name"), BOTH)
def test_a_transient_fault_loses_no_row(local, service_name, fault, mode):
    """A row that is lost to a bad page would be lost silently."""
    frame = read_with(local, service_name, TRANSIENT[fault], **MODES[mode])
    assert_complete(frame, CASES)


def test_cases_without_relationships_are_read(local):
    frame = read_with(local, "persona", Fault("without", "relationships", **SOME), max_workers=1)
    assert_complete(frame, CASES)
    assert frame["template_id"].isna().sum() == 500


@pytest.mark.parametrize("mode", MODES)
def test_a_value_of_unknown_form_loses_one_cell(local, mode):
    """One null in a million cells must not lose the hundred cases of its page."""
    values = {"stringValue": "many"}, {"newValue": 3}
    faults = [
        Fault("value", value, field=_field(local, "count"), after=3, first=5) for value in values
    ]
    local.faults.append(Fault("value", {}, field=_field(local, "title"), after=3, first=5))
    for fault in faults:
        with pytest.warns(UserWarning, match=r"do not fit.*count \(\d\)"):
            frame = read_with(local, "connect", fault, **MODES[mode] | {"columns": PLAIN})
        assert len(frame) == len(CASES)
        valid = frame[frame["count"].notna() & frame["title"].notna()]
        assert 1140 <= len(valid) < 1150
        assert valid["title"].tolist() == [f"Case {one:.0f}" for one in valid["count"]]
        local.faults.remove(fault)


def _field(local, column):
    return local.sources["connect"].schema.resolve(column).id


# --- waiting ----------------------------------------------------------------------------------

WAITS = {
    "seconds": (7, 6.9),
    "zero": (0, 0.0),
    "a date": (timedelta(seconds=9), 8.0),
    "a date in the past": (timedelta(seconds=-9), 0.0),
    "rubbish": ("soon", 0.0),
    "a negative number": ("-5", 0.0),
    "a fraction": ("1.5", 0.0),
    "nothing": (None, 0.0),
}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("service_name", SERVICES)
@pytest.mark.parametrize("form", WAITS)
def test_every_valid_retry_after_is_waited_for(local, clock, service_name, form, workers):
    """A request that is repeated too early is throttled again, with all others of the account."""
    value, seconds = WAITS[form]
    faults = Fault("throttle", value, at=5)
    frame = read_with(local, service_name, faults, columns=PLAIN, max_workers=workers)
    assert_complete(frame, CASES)
    assert max(clock.slept, default=0.0) >= seconds
    assert sum(clock.slept) < 60 * workers


@pytest.mark.parametrize("service_name", SERVICES)
def test_a_minute_of_throttling_is_waited_for(local, clock, monkeypatch, service_name):
    """The service's clock advances while the worker sleeps; after a minute it answers again."""
    sleep = clock.sleep
    monkeypatch.setattr(clock, "sleep", lambda seconds: (sleep(seconds), local.advance(seconds)))
    faults = Fault("throttle", None, after=2, seconds=60)
    frame = read_with(local, service_name, faults, columns=PLAIN)
    assert_complete(frame, CASES)
    assert 55 < sum(clock.slept) < 120


@pytest.mark.parametrize("kind", ["silence", "latency"])
@pytest.mark.parametrize("service_name", SERVICES)
def test_a_response_that_does_not_arrive_is_requested_again(local, service_name, kind):
    """Without a read timeout, one lost response blocks a notebook forever."""
    with tuned(read_timeout=0.2):
        open_source = getattr(local, f"{service_name}_cases")
        source = open_source(schema=local.sources[service_name].schema)
        local.faults.append(Fault(kind, 1.0, at=3))
        assert_complete(read(source, columns=PLAIN), CASES)
    assert local.faults.happened() == 1


# --- permanent faults -------------------------------------------------------------------------

PERMANENT = {
    "errors": (Fault("error", status=500, after=5), cs.ServiceUnavailableError),
    "throttling": (Fault("throttle", None, after=5), cs.ThrottledError),
    "resets": (
        Fault("reset", "after", after=5),
        (cs.InvalidResponseError, cs.ServiceUnavailableError),
    ),
    "HTML": (Fault("html", after=5), cs.InvalidResponseError),
    "truncated bodies": (Fault("truncated", after=5), cs.InvalidResponseError),
    "short bodies": (
        Fault("short_body", after=5),
        (cs.InvalidResponseError, cs.ServiceUnavailableError),
    ),
    "empty pages": (Fault("empty_page", after=5), cs.InvalidResponseError),
    "refusals": (Fault("error", status=400, after=5), cs.InvalidRequestError),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("service_name", SERVICES)
@pytest.mark.parametrize("fault", PERMANENT)
def test_rows_before_a_permanent_fault_are_kept(local, service_name, fault, mode):
    """Never an empty frame, and never a short one that looks complete."""
    lasting, cause = PERMANENT[fault]
    with pytest.raises(cs.IncompleteReadError) as error:
        read_with(local, service_name, lasting, **MODES[mode])
    assert isinstance(error.value.__cause__, cause)
    rows = error.value.partial
    assert_partial(rows.dropna(axis="columns", how="all"), CASES)
    assert all("created_at from" in window for window in error.value.missing)
    assert error.value.missing


@pytest.mark.parametrize("service_name", SERVICES)
def test_a_partial_frame_needs_on_error_and_comes_with_a_warning(local, service_name):
    local.faults.append(Fault("error", status=500, after=4))
    with pytest.warns(UserWarning, match=r"incomplete result: read failed.*created_at from"):
        rows = read(local.sources[service_name], columns=PLAIN, on_error="partial", max_workers=1)
    assert len(rows) == 4 * (50 if service_name == "connect" else 100)
    assert_partial(rows, CASES)
    assert "read failed" in str(rows.cases.provenance["notes"])


@pytest.mark.parametrize("service_name", SERVICES)
@pytest.mark.parametrize("workers", [1, 4])
def test_a_timeout_ends_endless_throttling(local, clock, service_name, workers):
    """The pages so far are kept, and nothing waits longer than allowed."""
    local.faults.append(Fault("throttle", 10, after=6))
    with pytest.raises(cs.IncompleteReadError) as error:
        read(local.sources[service_name], columns=PLAIN, timeout=25, max_workers=workers)
    assert_partial(error.value.partial, CASES)
    assert sum(clock.slept) <= 25 * workers


@pytest.mark.parametrize("service_name", SERVICES)
@pytest.mark.parametrize(
    ("status", "error"),
    [(400, cs.InvalidRequestError), (401, cs.AccessDeniedError), (403, cs.AccessDeniedError),
     (404, cs.NotFoundError), (422, cs.InvalidRequestError)],
)  # fmt: skip
def test_a_rejected_request_is_not_repeated(local, service_name, status, error):
    """A wrong token that is sent again and again locks accounts."""
    before = len(local.requests)
    local.faults.append(Fault("error", status=status))
    small = (
        local.connect_cases(page_size=20) if service_name == "connect" else local.persona_cases()
    )
    source = small if status != 400 else local.sources[service_name]
    source.__dict__.setdefault("schema", local.sources[service_name].schema)
    with pytest.raises(error) as rejected:
        read(source, columns=PLAIN)
    assert rejected.value.status == status
    assert len(local.requests) == before + 1


def test_fewer_cases_than_the_count_are_an_error(local):
    """Read twice, then an error: rows that the service does not return are lost."""
    with pytest.raises(cs.IncompleteReadError, match="1160 cases but returned 1150") as error:
        read_with(local, "connect", Fault("total", 10), columns=PLAIN)
    assert len(error.value.partial) == 1150


def test_a_window_that_fails_loses_only_its_own_rows(local, monkeypatch):
    """The other workers finish theirs; the error names the missing window."""
    source = local.sources["connect"]
    first = CASES["created_at"].iloc[-30]
    read_page = source.read_page

    def failing_page(scan, cursor, context):
        page = read_page(scan, cursor, context)
        late = [text for text in page.columns["created_at"] if text >= first.isoformat()]
        if late and "'lt'" not in repr(scan.where) and scan.sort[0].descending is False:
            raise cs.ServiceUnavailableError("this window never answers")
        return page

    monkeypatch.setattr(source, "read_page", failing_page, raising=False)
    with pytest.raises(cs.IncompleteReadError, match="never answers") as error:
        read(source, columns=PLAIN, max_workers=4)
    lost = CASES[~CASES["case_id"].isin(error.value.partial["case_id"])]
    (window,) = error.value.missing
    assert window.endswith("to the end")
    assert 0 < len(lost) < 300
    assert lost["created_at"].is_monotonic_increasing
    assert_partial(error.value.partial, CASES)


# --- undocumented behaviour -------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("size", [299, 300, 301, 600, 1000])
@pytest.mark.parametrize("service_name", SERVICES)
def test_a_result_window_is_exceeded_by_seek(service_name, size, workers):
    """Persona's ends silently: the last page is full, and has no link to the next one."""
    cases = numbered(size, ties=3)
    with cs.LocalCases(cases, now=NOW, window=300) as local:
        frame = read(getattr(local, f"{service_name}_cases")(), columns=PLAIN, max_workers=workers)
    assert_complete(frame, cases)


def test_expired_tokens_are_replaced(monkeypatch):
    """Each page comes ten seconds after the one before, and a token is valid for five."""
    cases = numbered(200)
    with cs.LocalCases(cases, now=NOW, token_lifetime=5) as local:
        source = local.connect_cases(page_size=20)
        read_page = source.read_page

        def slow_page(*args):
            local.advance(10)
            return read_page(*args)

        monkeypatch.setattr(source, "read_page", slow_page, raising=False)
        assert_complete(read(source, columns=PLAIN), cases)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("cursor", ["keyset", "offset"])
@pytest.mark.parametrize("service_name", SERVICES)
def test_hundreds_of_cases_of_one_creation_time_are_not_lost(service_name, cursor, workers):
    """An import gives them all one creation time, over several pages; the tokens fail too."""
    cases = numbered(1200, ties=350)
    faults = [Fault("expired_token", at=3), Fault("same_token", at=6)]
    with cs.LocalCases(cases, now=NOW, cursor=cursor, faults=faults) as local:
        options = {"page_size": 50} if service_name == "connect" else {}
        source = getattr(local, f"{service_name}_cases")(**options)
        frame = read(source, columns=PLAIN, max_workers=workers)
    assert_complete(frame, cases)
