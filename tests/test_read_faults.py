"""Whole reads on bad days: faults come over the wire; a frame is whole or says what it lacks."""

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
    without_faults,
)

MANNERS = {
    "one reader": {"columns": PLAIN, "max_workers": 1},
    "four readers": {"columns": PLAIN, "max_workers": 4},
    "two passes, four readers": {"max_workers": 4},
}


pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture(scope="module")
def service():
    """Serve cases in 24 pages of Connect and 12 of Persona: four readers share them."""
    with serve_cases(50, pages_before_workers=3) as running:
        yield running


@pytest.fixture
def local(service):
    for source in service.sources.values():
        source.__dict__.pop("rate_limiter", None)  # it has the clock of another test
    yield from without_faults(service)


def stricken(local, name, *faults, **named):
    """Read while faults happen, and see that they did."""
    for fault in faults:
        local.faults.append(fault)
    try:
        return read(local.sources[name], **named)
    finally:
        assert all(local.faults.happened(fault) for fault in faults)


# --- faults that pass -------------------------------------------------------------------------

SOME = {"after": 4, "first": 5}  # requests: each of the readers may meet one
PASSING = {
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
    "half an answer": Fault("truncated", **SOME),
    "an object without cases": Fault("body", {}, **SOME),
    "cases that are null": Fault("body", {"cases": None, "data": None}, **SOME),
    "gzip that nobody asked for": Fault("gzip", after=4, first=1),
    "bytes that are no text": Fault("not_utf8", **SOME),
    "names in snake case": Fault("keys", "snake", wire="persona", **SOME),
    "names in camel case": Fault("keys", "camel", wire="persona", **SOME),
    "bare custom values": Fault("bare_fields", wire="persona", **SOME),
    "a body shorter than told": Fault("short_body", **SOME),
    "a reset before the head": Fault("reset", "before", **SOME),
    "a reset in the head": Fault("reset", "in", **SOME),
    "a reset in the body": Fault("reset", "after", **SOME),
    "some errors in a row": Fault("error", status=503, **SOME),
    "every third request an error": Fault("error", status=500, every=3),
    "every fifth throttled": Fault("throttle", 1, every=5),
    "answers in another order": Fault("latency", (0.0, 0.01), seed=3),
}


BOTH = [
    (fault, name) for fault in PASSING for name in SERVICES if PASSING[fault].wire in (None, name)
]


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize(("fault", "service_name"), BOTH)
def test_a_fault_that_passes_costs_no_row(local, service_name, fault, manner):
    """A row lost to a bad page would be lost in silence: nobody counts 1,150 rows by eye."""
    frame = stricken(local, service_name, PASSING[fault], **MANNERS[manner])
    assert_complete(frame, CASES)


def test_cases_without_relationships_are_cases_all_the_same(local):
    frame = stricken(local, "persona", Fault("without", "relationships", **SOME), max_workers=1)
    assert_complete(frame, CASES)
    assert frame["template_id"].isna().sum() == 500


@pytest.mark.parametrize("manner", MANNERS)
def test_values_of_no_known_form_cost_one_cell(local, manner):
    """One null in a million cells must not cost the hundred cases of its page."""
    odd = {"stringValue": "many"}, {"newValue": 3}
    faults = [
        Fault("value", value, field=_field(local, "count"), after=3, first=5) for value in odd
    ]
    local.faults.append(Fault("value", {}, field=_field(local, "title"), after=3, first=5))
    for fault in faults:
        with pytest.warns(UserWarning, match=r"do not fit.*count \(\d\)"):
            frame = stricken(local, "connect", fault, **MANNERS[manner] | {"columns": PLAIN})
        assert len(frame) == len(CASES)
        kept = frame[frame["count"].notna() & frame["title"].notna()]
        assert 1140 <= len(kept) < 1150
        assert kept["title"].tolist() == [f"Case {one:.0f}" for one in kept["count"]]
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
def test_every_legal_retry_after_is_waited_for(local, clock, service_name, form, workers):
    """Who comes back too early is throttled again, and with it everybody of the account."""
    value, seconds = WAITS[form]
    faults = Fault("throttle", value, at=5)
    frame = stricken(local, service_name, faults, columns=PLAIN, max_workers=workers)
    assert_complete(frame, CASES)
    assert max(clock.slept, default=0.0) >= seconds
    assert sum(clock.slept) < 60 * workers


@pytest.mark.parametrize("service_name", SERVICES)
def test_a_minute_of_throttling_is_sat_out(local, clock, monkeypatch, service_name):
    """The service's clock goes on as the reader sleeps; after a minute it answers again."""
    rest = clock.sleep
    monkeypatch.setattr(clock, "sleep", lambda seconds: (rest(seconds), local.advance(seconds)))
    faults = Fault("throttle", None, after=2, seconds=60)
    frame = stricken(local, service_name, faults, columns=PLAIN)
    assert_complete(frame, CASES)
    assert 55 < sum(clock.slept) < 120


@pytest.mark.parametrize("kind", ["silence", "latency"])
@pytest.mark.parametrize("service_name", SERVICES)
def test_an_answer_that_does_not_come_is_asked_for_again(local, service_name, kind):
    """Without a read timeout one lost answer holds a notebook for ever."""
    with tuned(read_timeout=0.2):
        open_source = getattr(local, f"{service_name}_cases")
        source = open_source(schema=local.sources[service_name].schema)
        local.faults.append(Fault(kind, 1.0, at=3))
        assert_complete(read(source, columns=PLAIN), CASES)
    assert local.faults.happened() == 1


# --- faults that stay -------------------------------------------------------------------------

STAYING = {
    "errors": (Fault("error", status=500, after=5), cs.ServiceUnavailableError),
    "throttling": (Fault("throttle", None, after=5), cs.ThrottledError),
    "resets": (
        Fault("reset", "after", after=5),
        (cs.InvalidResponseError, cs.ServiceUnavailableError),
    ),
    "HTML": (Fault("html", after=5), cs.InvalidResponseError),
    "halves": (Fault("truncated", after=5), cs.InvalidResponseError),
    "short bodies": (
        Fault("short_body", after=5),
        (cs.InvalidResponseError, cs.ServiceUnavailableError),
    ),
    "empty pages": (Fault("empty_page", after=5), cs.InvalidResponseError),
    "refusals": (Fault("error", status=400, after=5), cs.InvalidRequestError),
}


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("service_name", SERVICES)
@pytest.mark.parametrize("fault", STAYING)
def test_what_was_read_before_a_lasting_fault_is_kept(local, service_name, fault, manner):
    """Never an empty frame, never a short one that looks whole."""
    what, cause = STAYING[fault]
    with pytest.raises(cs.IncompleteReadError) as broken:
        stricken(local, service_name, what, **MANNERS[manner])
    assert isinstance(broken.value.__cause__, cause)
    rows = broken.value.partial
    assert_partial(rows.dropna(axis="columns", how="all"), CASES)
    assert all("created_at from" in window for window in broken.value.missing)
    assert broken.value.missing


@pytest.mark.parametrize("service_name", SERVICES)
def test_a_partial_frame_is_had_by_asking_and_with_a_warning(local, service_name):
    local.faults.append(Fault("error", status=500, after=4))
    with pytest.warns(UserWarning, match=r"not whole.*created_at from"):
        rows = read(local.sources[service_name], columns=PLAIN, on_error="partial", max_workers=1)
    assert len(rows) == 4 * (50 if service_name == "connect" else 100)
    assert_partial(rows, CASES)
    assert "broke off" in str(rows.cases.provenance["notes"])


@pytest.mark.parametrize("service_name", SERVICES)
@pytest.mark.parametrize("workers", [1, 4])
def test_a_deadline_ends_errors_without_end(local, clock, service_name, workers):
    """The pages so far are kept, and no one waits longer than was allowed."""
    local.faults.append(Fault("throttle", 10, after=6))
    with pytest.raises(cs.IncompleteReadError) as broken:
        read(local.sources[service_name], columns=PLAIN, timeout=25, max_workers=workers)
    assert_partial(broken.value.partial, CASES)
    assert sum(clock.slept) <= 25 * workers


@pytest.mark.parametrize("service_name", SERVICES)
@pytest.mark.parametrize(
    ("status", "error"),
    [(400, cs.InvalidRequestError), (401, cs.AccessDeniedError), (403, cs.AccessDeniedError),
     (404, cs.NotFoundError), (422, cs.InvalidRequestError)],
)  # fmt: skip
def test_a_final_refusal_is_not_repeated(local, service_name, status, error):
    """A wrong token sent over and over locks accounts."""
    before = len(local.requests)
    local.faults.append(Fault("error", status=status))
    small = (
        local.connect_cases(page_size=20) if service_name == "connect" else local.persona_cases()
    )
    source = small if status != 400 else local.sources[service_name]
    source.__dict__.setdefault("schema", local.sources[service_name].schema)
    with pytest.raises(error) as refused:
        read(source, columns=PLAIN)
    assert refused.value.status == status
    assert len(local.requests) == before + 1


def test_more_cases_counted_than_shown_are_an_error(local):
    """Read twice, then refused: rows that the service hides are lost rows."""
    with pytest.raises(cs.IncompleteReadError, match="counts 1160 cases and shows 1150") as broken:
        stricken(local, "connect", Fault("total", 10), columns=PLAIN)
    assert len(broken.value.partial) == 1150


def test_one_window_that_fails_for_good_costs_only_itself(local):
    """The other readers finish theirs; what lacks is named by its window."""
    source = local.sources["connect"]
    first = CASES["created_at"].iloc[-30]
    real = source.read_page

    def page(scan, cursor, run):
        found = real(scan, cursor, run)
        late = [text for text in found.columns["created_at"] if text >= first.isoformat()]
        if late and "'lt'" not in repr(scan.where) and scan.sort[0].descending is False:
            raise cs.ServiceUnavailableError("this window never answers")
        return found

    source.read_page = page
    try:
        with pytest.raises(cs.IncompleteReadError, match="never answers") as broken:
            read(source, columns=PLAIN, max_workers=4)
    finally:
        del source.read_page
    lost = CASES[~CASES["case_id"].isin(broken.value.partial["case_id"])]
    (window,) = broken.value.missing
    assert window.endswith("to the end")
    assert 0 < len(lost) < 300
    assert lost["created_at"].is_monotonic_increasing
    assert_partial(broken.value.partial, CASES)


# --- what the services may do without telling -------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("size", [299, 300, 301, 600, 1000])
@pytest.mark.parametrize("service_name", SERVICES)
def test_a_result_window_is_met_by_cutting(service_name, size, workers):
    """Persona's ends without a word: the last page is full, and has no link to the next one."""
    cases = numbered(size, ties=3)
    with cs.LocalCases(cases, now=NOW, window=300) as local:
        frame = read(getattr(local, service_name)(), columns=PLAIN, max_workers=workers)
    assert_complete(frame, cases)


def test_tokens_that_expire_while_somebody_waits_are_replaced(monkeypatch):
    """A slow reader: each page comes ten seconds after the one before, a token lives for five."""
    cases = numbered(200)
    with cs.LocalCases(cases, now=NOW, token_lifetime=5) as local:
        source = local.connect_cases(page_size=20)
        real = source.read_page
        slow = lambda *asked: (local.advance(10), real(*asked))[1]  # noqa: E731 - one line of a test
        monkeypatch.setattr(source, "read_page", slow, raising=False)
        assert_complete(read(source, columns=PLAIN), cases)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("cursor", ["keyset", "offset"])
@pytest.mark.parametrize("service_name", SERVICES)
def test_hundreds_of_cases_at_one_time_are_never_lost(service_name, cursor, workers):
    """An import gives them all one creation time, over several pages; the tokens fail there too."""
    cases = numbered(1200, ties=350)
    faults = [Fault("expired_token", at=3), Fault("same_token", at=6)]
    with cs.LocalCases(cases, now=NOW, cursor=cursor, faults=faults) as local:
        options = {"page_size": 50} if service_name == "connect" else {}
        source = getattr(local, service_name)(**options)
        frame = read(source, columns=PLAIN, max_workers=workers)
    assert_complete(frame, cases)
