"""What each fault of a service becomes: class, words, number of tries, and the rows so far."""

import json
import socket

import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd import errors
from casesearch_pd.sources.transport.context import Tuning
from tests.wire_clients import Clock, connect, persona, tuned
from tests.wire_stub import (
    CREATED,
    HANG,
    RESET,
    Raw,
    Stub,
    connect_case,
    connect_domain,
    connect_error,
    connect_page,
    connect_pages,
    head,
    ok,
    persona_case,
    persona_environment,
    persona_error,
    persona_next,
    persona_page,
    persona_pages,
    script,
)

TUNING = Tuning()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    return Clock.installed(monkeypatch)


CONNECT_CASES = [connect_case(f"c{number}", {"f-num": number}) for number in range(5)]
PERSONA_CASES = [persona_case(f"case_{number}", amount=number) for number in range(5)]


def connect_service(*replies):
    return Stub(connect_domain(script(*replies)))


def persona_service(*replies):
    return Stub(persona_environment(script(*replies)))


# Bind a stub, render a whole answer, cut the cases into pages: the same tests for both services.
SERVICES = {
    "connect": (connect, connect_service, connect_page, CONNECT_CASES),
    "persona": (persona, persona_service, persona_page, PERSONA_CASES),
}


@pytest.fixture(params=SERVICES)
def service(request):
    return SERVICES[request.param]


def refusal(source, kind, **filters):
    with pytest.raises(kind) as raised:
        cs.read_cases(source, **filters)
    assert raised.type is kind
    return raised.value


# --- the tree ---------------------------------------------------------------------------------


def test_the_error_classes_form_the_documented_tree():
    """An `except` clause written after the documentation would catch something else."""
    assert issubclass(cs.FilterError, cs.CaseSearchError)
    assert issubclass(cs.FilterError, ValueError)
    for name in (
        "AccessDenied",
        "NotFound",
        "InvalidRequest",
        "Throttled",
        "ServiceUnavailable",
        "InvalidResponse",
    ):
        assert issubclass(getattr(cs, f"{name}Error"), cs.ServiceError)
    assert issubclass(cs.ServiceError, cs.CaseSearchError)
    assert issubclass(cs.IncompleteReadError, cs.CaseSearchError)
    assert not issubclass(cs.IncompleteReadError, cs.ServiceError)
    assert issubclass(cs.ReadInterrupted, KeyboardInterrupt)
    details = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert details <= set(cs.__all__)


# --- final answers: sent once ---------------------------------------------------------------------

CONNECT_FINAL = [
    (400, "ValidationException", cs.InvalidRequestError, "no reason"),
    (402, "ServiceQuotaExceededException", cs.InvalidRequestError, "no reason"),
    (409, "ConflictException", cs.InvalidRequestError, "no reason"),
    (401, "UnauthorizedException", cs.AccessDeniedError, "AWS_ACCESS_KEY_ID"),
    (403, "AccessDeniedException", cs.AccessDeniedError, "cases:SearchCases"),
    (403, "UnrecognizedClientException", cs.AccessDeniedError, "AWS_PROFILE"),
    (403, "ExpiredTokenException", cs.AccessDeniedError, "AWS_SESSION_TOKEN"),
    (400, "ExpiredTokenException", cs.AccessDeniedError, "AWS_SESSION_TOKEN"),
    (404, "ResourceNotFoundException", cs.NotFoundError, "list-domains"),
]


@pytest.mark.parametrize(("status", "code", "kind", "next_step"), CONNECT_FINAL)
def test_a_permanent_error_of_connect_is_not_retried(status, code, kind, next_step):
    """A retry of what cannot succeed costs quota that production shares."""
    with connect_service(connect_error(status, code)) as stub:
        error = refusal(connect(stub, page_size=25), kind)
        assert len(stub.searches) == 1
    assert (error.status, error.code, error.request_id) == (status, code, "req-aws-1")
    assert "no reason" in str(error)
    assert next_step in str(error)


PERSONA_FINAL = [
    (400, cs.InvalidRequestError, "Told so"),
    (422, cs.InvalidRequestError, "Told so"),
    (401, cs.AccessDeniedError, "PERSONA_API_KEY"),
    (403, cs.AccessDeniedError, "PERSONA_API_KEY"),
    (404, cs.NotFoundError, "base_url="),
]


@pytest.mark.parametrize(("status", "kind", "next_step"), PERSONA_FINAL)
def test_a_permanent_error_of_persona_is_not_retried(status, kind, next_step):
    with persona_service(persona_error(status, "Told so", "in detail")) as stub:
        error = refusal(persona(stub), kind)
        assert len(stub.searches) == 1
    assert (error.status, error.code, error.request_id) == (status, "Told so", "req_1")
    assert "Told so: in detail" in str(error)
    assert next_step in str(error)


@pytest.mark.parametrize(
    "body",
    [b"<html>Forbidden</html>", b"", b'{"errors": [1]}', b"[]", b'"\xff"', b"[" * 99_999],
    ids=["html", "empty", "strange", "list", "not UTF-8", "deep"],
)
def test_an_error_page_of_a_proxy_still_has_its_class(body, service):
    """What stands between need not speak the service's language."""
    bind, serve, *_ = service
    with serve((403, {}, body)) as stub:
        error = refusal(bind(stub), cs.AccessDeniedError)
    assert error.status == 403
    assert "403" in str(error)


def test_a_message_contains_all_errors_of_a_response():
    details = {"errors": [{"title": "A", "details": "one"}, {"title": "B"}]}
    with persona_service((400, {}, json.dumps(details).encode())) as stub:
        assert "A: one; B" in str(refusal(persona(stub), cs.InvalidRequestError))


def test_a_conflict_of_persona_is_retried():
    """Persona says of 409: "was just modified. Please try again"; to give up at once is wrong."""
    conflict = persona_error(409, "Conflict", "was just modified. Please try again.")
    with persona_service(conflict, ok(persona_page(PERSONA_CASES))) as stub:
        assert len(cs.read_cases(persona(stub))) == 5
    with persona_service(conflict) as stub:
        assert refusal(persona(stub), cs.InvalidRequestError).status == 409


@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_custom_field_of_persona_must_be_searchable(status):
    """Without the hint the user has no way to know what to change, and where."""
    with persona_service(persona_error(status, "Bad Request", "unknown attribute")) as stub:
        error = refusal(persona(stub), cs.FilterError, priority="high")
        assert len(stub.searches) == 1
    assert "fields.priority must be marked searchable" in str(error)
    assert "unknown attribute" in str(error)
    assert isinstance(error.__cause__, cs.InvalidRequestError)


def test_a_refused_filter_on_a_system_attribute_is_no_matter_of_searchable_fields():
    with persona_service(persona_error(400, "Bad Request")) as stub:
        refusal(persona(stub), cs.InvalidRequestError, status="open")


# --- passing faults: tried again --------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_server_error_is_retried_and_ends_as_service_unavailable(status, service):
    """One 500 among thousands of pages must not cost the read, nor be tried for ever."""
    bind, serve, render, cases = service
    error = (status, {"Request-Id": "req_1", "x-amzn-RequestId": "req_1"}, b"<html>oops</html>")
    with serve(error, error, ok(render(cases))) as stub:
        assert len(cs.read_cases(bind(stub))) == 5
        assert len(stub.searches) == 3
    with serve(error) as stub:
        ended = refusal(bind(stub), cs.ServiceUnavailableError)
        assert len(stub.searches) == TUNING.max_fault_attempts
    assert (ended.status, ended.request_id) == (status, "req_1")
    assert "try again later" in str(ended)


def test_every_third_request_a_500_still_gives_the_whole_frame(service):
    bind, serve, render, cases = service
    count = 0

    def reply(sent_request):
        nonlocal count
        count += 1
        return (500, {}, b"") if count % 3 == 0 else paged(sent_request)

    paged = connect_pages(cases, 1) if render is connect_page else persona_pages(cases, 1)
    with serve(reply) as stub:
        assert len(cs.read_cases(bind(stub))) == 5


THROTTLES = {"connect": connect_error(429, "ThrottlingException"), "persona": persona_error(429)}


@pytest.mark.parametrize("name", SERVICES)
def test_a_throttle_is_waited_out_as_long_as_the_service_asks(name, clock):
    """A client that comes back earlier keeps the limit shut for everybody."""
    bind, serve, render, cases = SERVICES[name]
    status, headers, body = THROTTLES[name]
    with serve((status, {**headers, "Retry-After": "7"}, body), ok(render(cases))) as stub:
        assert len(cs.read_cases(bind(stub))) == 5
    assert sum(clock.slept) == pytest.approx(7, abs=0.5)


@pytest.mark.parametrize("details", ["soon", "-3", ""])
@pytest.mark.parametrize("name", SERVICES)
def test_an_invalid_retry_after_is_ignored(name, details, clock):
    bind, serve, render, cases = SERVICES[name]
    status, headers, body = THROTTLES[name]
    with serve((status, {**headers, "Retry-After": details}, body), ok(render(cases))) as stub:
        assert len(cs.read_cases(bind(stub))) == 5
    assert 0 < sum(clock.slept) <= 1


def test_persona_tells_in_ratelimit_reset_when_to_come_back(clock):
    """Persona sends no Retry-After; without its own header the client would guess."""
    throttled = persona_error(429, "Rate limit exceeded", RateLimit_Reset="9")
    with persona_service(throttled, ok(persona_page(PERSONA_CASES))) as stub:
        cs.read_cases(persona(stub))
    assert sum(clock.slept) == pytest.approx(9, abs=0.5)


@pytest.mark.parametrize("name", SERVICES)
def test_throttles_until_the_retries_are_exhausted_are_a_throttled_error(name, clock):
    bind, serve, *_ = SERVICES[name]
    with serve(THROTTLES[name]) as stub:
        error = refusal(bind(stub), cs.ThrottledError)
    assert error.status == 429
    assert "rate=" in str(error)
    assert sum(clock.slept) <= TUNING.max_throttle_seconds


def test_the_codes_of_throttling_count_under_any_status():
    throttled = connect_error(400, "ThrottlingException")
    with connect_service(throttled, ok(connect_page(CONNECT_CASES))) as stub:
        assert len(cs.read_cases(connect(stub))) == 5


# --- no answer ----------------------------------------------------------------------------------

WHOLE = json.dumps(connect_page(CONNECT_CASES)).encode()
BROKEN_LINES = {
    "before the head": RESET,
    "closed before the head": Raw(),
    "in the head": Raw(b"HTTP/1.1 200 O", "reset"),
    "not HTTP": Raw(b"\x15\x03\x01\x00\x02\x02\x28"),
}


@pytest.mark.parametrize("fault", BROKEN_LINES)
def test_a_broken_connection_is_retried_and_ends_as_service_unavailable(fault, service):
    bind, serve, render, cases = service
    with serve(BROKEN_LINES[fault], ok(render(cases))) as stub:
        assert len(cs.read_cases(bind(stub))) == 5
    with serve(BROKEN_LINES[fault]) as stub:
        error = refusal(bind(stub), cs.ServiceUnavailableError)
        assert len(stub.searches) == TUNING.max_fault_attempts
    assert stub.url in str(error)
    assert "check the network" in str(error)


@pytest.mark.parametrize(
    "fault",
    [
        Raw(head(len(WHOLE)), "reset"),
        Raw(head(len(WHOLE)) + WHOLE[:50], "reset"),
        Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"),
    ],
    ids=["after the head", "in the body", "in a chunk"],
)
def test_a_truncated_response_is_retried_and_ends_as_an_error(fault, service):
    """Half an answer is none: taking it for the end of the result would lose rows unsaid."""
    bind, serve, render, cases = service
    with serve(fault, ok(render(cases))) as stub:
        assert len(cs.read_cases(bind(stub))) == 5
    with serve(fault) as stub, pytest.raises((cs.ServiceUnavailableError, cs.InvalidResponseError)):
        cs.read_cases(bind(stub))


def test_a_port_without_a_server_is_service_unavailable(service):
    bind, serve, *_ = service
    with serve(RESET) as stub:
        pass
    with socket.socket() as taken:  # held, so that nobody else opens it meanwhile
        taken.bind(("127.0.0.1", 0))
        stub._server.server_port = taken.getsockname()[1]
        error = refusal(bind(stub), cs.ServiceUnavailableError)
    assert stub.url in str(error)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_never_answers_ends_by_the_read_timeout(name):
    """Without a time-out the notebook hangs for ever."""
    bind, serve, *_ = SERVICES[name]
    with tuned(read_timeout=0.3, max_fault_attempts=2), serve(HANG) as stub:
        error = refusal(bind(stub), cs.ServiceUnavailableError)
        assert len(stub.searches) == 2
    assert "timed out" in str(error).lower() or "timeout" in str(error).lower()


# --- after the first page ----------------------------------------------------------------------


def first_page_then(name, *faults):
    """Answer the first page of two, and faults from then on."""
    if name == "connect":
        page = connect_page(CONNECT_CASES[:3], token="2", total=5)
        return connect_service(ok(page), *faults)

    def page(sent_request):
        return ok(persona_page(PERSONA_CASES[:3], persona_next(sent_request, "case_2")))

    return persona_service(page, *faults)


@pytest.mark.parametrize("name", SERVICES)
def test_what_was_read_before_an_error_is_in_partial(name):
    """An hour of reading must not be thrown away for the last page."""
    bind = SERVICES[name][0]
    with first_page_then(name, (500, {}, b"")) as stub:
        error = refusal(bind(stub), cs.IncompleteReadError)
    assert isinstance(error.__cause__, cs.ServiceUnavailableError)
    assert len(error.partial) == 3
    assert error.missing
    assert error.partial.dtypes["created_at"] == pd.DatetimeTZDtype("us", "UTC")
    assert "3 rows (kept in .partial)" in str(error)
    assert error.partial.cases.provenance["complete"] is False


@pytest.mark.parametrize("name", SERVICES)
def test_a_partial_frame_comes_back_only_on_demand_and_says_so(name):
    bind = SERVICES[name][0]
    with (
        first_page_then(name, (500, {}, b"")) as stub,
        pytest.warns(UserWarning, match="incomplete result"),
    ):
        frame = cs.read_cases(bind(stub), on_error="partial")
    assert len(frame) == 3
    assert frame.cases.provenance["complete"] is False
    assert any("read failed" in note for note in frame.cases.provenance["notes"])


@pytest.mark.parametrize("name", SERVICES)
def test_before_the_first_page_there_is_nothing_partial_to_return(name):
    """An empty frame in place of an error would be taken for "no case matches"."""
    bind, serve, *_ = SERVICES[name]
    with serve((500, {}, b"")) as stub, pytest.raises(cs.ServiceUnavailableError):
        cs.read_cases(bind(stub), on_error="partial")


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(("status", "kind"), [(403, cs.AccessDeniedError), (404, cs.NotFoundError)])
def test_lost_access_is_itself_on_any_page(name, status, kind):
    """Expired credentials need new ones, whatever page they expired on."""
    bind = SERVICES[name][0]
    with first_page_then(name, (status, {}, b"")) as stub:
        refusal(bind(stub), kind)


@pytest.mark.parametrize("name", SERVICES)
def test_on_error_takes_two_words_only(name):
    bind, serve, render, cases = SERVICES[name]
    with serve(ok(render(cases))) as stub, pytest.raises(cs.FilterError, match="'partial'"):
        cs.read_cases(bind(stub), on_error="ignore")


@pytest.mark.parametrize("name", SERVICES)
def test_an_interrupt_keeps_the_rows(name):
    """Ctrl-C after an hour must leave the hour's rows within reach."""
    bind = SERVICES[name][0]
    with first_page_then(name, (500, {}, b"")) as stub:
        options = {} if name == "connect" else {"token": interrupting_token(stub)}
        source = bind(stub, **options)
        if name == "connect":
            source.client.meta.events.register(
                "before-send.connectcases.SearchCases", interrupt_second(stub)
            )
        with pytest.raises(cs.ReadInterrupted) as stopped:
            cs.read_cases(source)
    assert len(stopped.value.partial) == 3
    assert "sys.last_value.partial" in str(stopped.value)
    assert stopped.value.partial.cases.provenance["complete"] is False


def interrupting_token(stub):
    def token():
        if stub.searches:
            raise KeyboardInterrupt
        return "token"

    return token


def interrupt_second(stub):
    def before_send(**_):
        if stub.searches:
            raise KeyboardInterrupt

    return before_send


# --- rows against the count ---------------------------------------------------------------------


def counted_service(*totals, rows=3):
    """Answer every search with the same rows, and one of these totals after the other."""
    pages = [ok(connect_page(CONNECT_CASES[:rows], total=total)) for total in totals]
    return connect_service(*pages)


def test_fewer_rows_than_the_count_are_read_again_and_then_refused():
    """Rows that a service loses on the way must not be missing in silence."""
    with counted_service(5) as stub:
        error = refusal(connect(stub), cs.IncompleteReadError)
        reads = [one for one in stub.searches if one.json["maxResults"] > 1]
    assert len(reads) == 4  # each time once more from the last row on
    assert len(error.partial) == 3
    assert "counts 5 cases but returned 3" in str(error)
    assert "2 of 5 cases" in error.missing[0]


def test_rows_that_turn_up_on_the_second_reading_are_enough():
    page = connect_page(CONNECT_CASES[:4], total=5)
    with connect_service(ok(page), ok(page), ok(connect_page(CONNECT_CASES))) as stub:
        frame = cs.read_cases(connect(stub))
    assert len(frame) == 5
    assert frame.cases.provenance["complete"] is True


def test_a_count_that_falls_is_accepted_with_a_note():
    """Cases are deleted while others are read; that is no fault of the read."""
    with counted_service(5, 3) as stub:
        frame = cs.read_cases(connect(stub))
    assert len(frame) == 3
    assert any("decreased from 5 to 3" in note for note in frame.cases.provenance["notes"])


def test_more_rows_than_the_count_are_no_error():
    """Cases are made while others are read, and the count is that of the first page."""
    with counted_service(2) as stub:
        assert len(cs.read_cases(connect(stub))) == 3


def test_a_case_on_two_pages_is_there_once_in_its_newest_version():
    old = connect_case("c1", {"title": "old"})
    new = connect_case("c1", {"title": "new", "last_updated_datetime": "2026-03-15T00:00:00Z"})
    for first, second in ((old, new), (new, old)):
        pages = (connect_page([first], token="1", total=1), connect_page([second], total=1))
        with connect_service(*map(ok, pages)) as stub:
            frame = cs.read_cases(connect(stub))
        assert frame["title"].tolist() == ["new"]


# --- configuration ------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """Take away every place where boto3 looks for credentials and regions."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PERSONA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.mark.usefixtures("bare")
def test_without_a_region_the_error_names_parameter_and_variable():
    with pytest.raises(cs.NotFoundError, match=r"region_name=.*AWS_DEFAULT_REGION"):
        cs.ConnectCases("d")


def test_a_profile_that_does_not_exist_is_named(bare):
    bare.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(cs.AccessDeniedError, match=r"nobody.*AWS_PROFILE"):
        cs.ConnectCases("d", region_name="us-east-1")


@pytest.mark.usefixtures("bare")
def test_without_credentials_nothing_is_sent():
    with connect_service(ok(connect_page(CONNECT_CASES))) as stub:
        source = cs.ConnectCases("d", region_name="us-east-1", endpoint_url=stub.url)
        with pytest.raises(cs.AccessDeniedError, match=r"AWS_SECRET_ACCESS_KEY.*aws sso login"):
            cs.read_cases(source)
        assert not stub.requests


def test_half_a_pair_of_credentials_is_no_matter_of_endpoints(bare):
    bare.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    with pytest.raises(cs.AccessDeniedError, match="AWS_SECRET_ACCESS_KEY"):
        cs.ConnectCases("d", region_name="us-east-1")


@pytest.mark.parametrize(
    "options", [{"region_name": "us east 1"}, {"region_name": "us-east-1", "endpoint_url": "x"}]
)
@pytest.mark.usefixtures("bare")
def test_an_invalid_region_or_address_is_named(options):
    with pytest.raises(cs.NotFoundError, match=r"region_name=, endpoint_url="):
        cs.ConnectCases("d", **options)


@pytest.mark.parametrize("domain", ["", "  ", None, 5])
def test_an_invalid_domain_is_refused_before_a_client_is_created(domain):
    with pytest.raises(cs.FilterError, match="list-domains"):
        cs.ConnectCases(domain, region_name="us-east-1")


@pytest.mark.parametrize("size", [0, 101])
def test_a_page_size_outside_the_documented_limit_is_refused(size):
    with pytest.raises(cs.FilterError, match="1 to 100"):
        cs.ConnectCases("d", region_name="us-east-1", page_size=size)


@pytest.mark.parametrize("options", [{"rate": 0}, {"rate": -1.0}])
def test_a_rate_that_lets_nothing_pass_is_refused(options):
    with pytest.raises(cs.FilterError, match="above 0"):
        cs.PersonaCases(token="t", **options)


def test_an_unknown_assumption_is_refused_with_the_nearest():
    with pytest.raises(cs.FilterError, match="did you mean 'exact_text'"):
        cs.PersonaCases(token="t", assume={"exact_txt": True})


@pytest.mark.parametrize("token", [None, "", "two words", "line\nbreak", "schlüssel"])
@pytest.mark.usefixtures("bare")
def test_an_invalid_token_names_the_variable_to_set(token):
    with pytest.raises(cs.AccessDeniedError, match=r"PERSONA_API_KEY.*token="):
        cs.PersonaCases(token=token)


def test_the_creation_time_on_the_wire_is_read_as_it_stands():
    """The stub's own constant, so that the tests above do not agree on a wrong time."""
    with connect_service(ok(connect_page(CONNECT_CASES))) as stub:
        frame = cs.read_cases(connect(stub))
    assert (frame["created_at"] == pd.Timestamp(CREATED)).all()
