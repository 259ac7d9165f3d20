"""No secret is in anything that is shown, logged, raised, stored or sent elsewhere."""

import io
import json
import logging
import math
import pickle
import traceback

import pytest

import casesearch_pd as cs
from casesearch_pd.sources.transport import rate_limit
from tests.wire_clients import SECRET, SESSION, TOKEN, Clock, connect, persona, tuned
from tests.wire_stub import (
    HANG,
    RESET,
    Raw,
    Stub,
    connect_case,
    connect_domain,
    connect_error,
    connect_page,
    head,
    ok,
    persona_case,
    persona_environment,
    persona_next,
    persona_page,
    script,
)

FILE_TOKEN = "access_token=hush"
SECRETS = (TOKEN, SECRET, SESSION, FILE_TOKEN)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    with tuned(max_fault_attempts=2, read_timeout=0.3):
        yield Clock.installed(monkeypatch)


def assert_silent(text):
    for secret in SECRETS:
        assert secret not in text


def everything_in(error):
    """Write out an error with all that hangs on it: causes, contexts, arguments, attributes."""
    outputs, waiting, texts = set(), [error], []
    while waiting:
        one = waiting.pop()
        if id(one) in outputs:
            continue
        outputs.add(id(one))
        texts += [repr(one), str(one)]
        waiting += parts_of(one)
    return "\n".join(texts)


def parts_of(one):
    if isinstance(one, BaseException):
        return [*one.args, *vars(one).values(), one.__cause__, one.__context__]
    if isinstance(one, dict):
        return [*one.keys(), *one.values()]
    if isinstance(one, (list, tuple, set)):
        return list(one)
    named = type(one).__module__.partition(".")[0]
    if named in {"requests", "urllib3", "botocore", "http", "casesearch_pd"}:
        return [*getattr(one, "__dict__", {}).values(), getattr(one, "headers", None)]
    return []


FILES = [{"filename": "a.pdf", "url": f"https://files/a?{FILE_TOKEN}", "byte-size": 1}]
CASE = persona_case("case_1", {"attachments": FILES})
PAGE = json.dumps(persona_page([CASE])).encode()
# What a service, or a proxy in its place, may send back of what it was sent.
ECHO = f"Bearer {TOKEN} is not {TOKEN}"


def echoed(status):
    details = json.dumps({"errors": [{"title": ECHO, "details": ECHO}]}).encode()
    return status, {"Request-Id": ECHO}, details


FAULTS = {
    **{f"{status} that repeats the token": echoed(status) for status in (400, 401, 403, 404, 409)},
    **{f"{status} that repeats it": echoed(status) for status in (422, 429, 500, 503)},
    "a reason that repeats it": Raw(head(0, f"502 {TOKEN}")),
    "a redirect": (302, {"Location": f"http://127.0.0.1:1/?{TOKEN}"}, b""),
    "a next link": ok(persona_page([CASE], f"http://127.0.0.1:1/{TOKEN}")),
    "cut short": ok(PAGE[:-20]),
    "shorter than said": Raw(head(len(PAGE) + 9) + PAGE),
    "not UTF-8": ok(PAGE.replace(b"case_1", b"\xff")),
    "without links": ok({"data": [CASE] * 100}),
    "not HTTP": Raw(f"{TOKEN}\r\n\r\n".encode()),
    "a reset": RESET,
    "no answer": HANG,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("page", [1, 2])
def test_no_error_of_persona_carries_a_token(fault, page, caplog):
    """A traceback is pasted into tickets; requests' own exceptions carry the signed request."""
    caplog.set_level(logging.DEBUG, "casesearch_pd")

    def first(sent_request):
        return ok(persona_page([CASE], persona_next(sent_request, "case_1")))

    replies = [first, FAULTS[fault]][2 - page :]
    with (
        Stub(persona_environment(script(*replies))) as stub,
        pytest.raises(cs.CaseSearchError) as raised,
    ):
        cs.read_cases(persona(stub))
    assert_silent(everything_in(raised.value))
    assert_silent("".join(traceback.format_exception(raised.value)))
    assert_silent(caplog.text)


CONNECT_FAULTS = {
    "400": connect_error(400, "ValidationException"),
    "403": connect_error(403, "AccessDeniedException"),
    "429": connect_error(429, "ThrottlingException"),
    "500": connect_error(500, "InternalServerException"),
    "cut short": ok(b'{"cases": ['),
    "not HTTP": Raw(b"nonsense\r\n\r\n"),
    "half a body": Raw(head(500) + b"{", "reset"),
    "a reset": RESET,
    "no answer": HANG,
}


@pytest.mark.parametrize("fault", CONNECT_FAULTS)
def test_no_error_of_connect_carries_a_credential(fault, caplog):
    """Botocore's exceptions carry the request, and its headers the session token."""
    caplog.set_level(logging.DEBUG, "casesearch_pd")
    with (
        Stub(connect_domain(script(CONNECT_FAULTS[fault]))) as stub,
        pytest.raises(cs.CaseSearchError) as raised,
    ):
        cs.read_cases(connect(stub))
    assert stub.searches[0].headers["x-amz-security-token"] == SESSION  # it was there to be lost
    assert_silent(everything_in(raised.value))
    assert_silent("".join(traceback.format_exception(raised.value)))
    assert_silent(caplog.text)


def test_the_search_for_secrets_finds_one_that_is_there():
    """Without this the tests above could pass by looking nowhere."""
    error = ValueError()
    error.__context__ = OSError({"headers": [TOKEN]})
    result = everything_in(error)
    with pytest.raises(AssertionError):
        assert_silent(result)


def shown(source):
    details = source.describe() if hasattr(source, "describe") else ""
    return f"{source!r} {source} {getattr(source, '__dict__', '')} {details}"


@pytest.mark.parametrize("token", [TOKEN, lambda: TOKEN])
def test_a_persona_source_shows_no_token(token):
    source = cs.PersonaCases(token=token, rate=math.inf)
    assert_silent(shown(source))
    assert_silent(shown(rate_limit._LIMITERS))


def test_a_connect_source_shows_no_credential():
    with Stub(connect_domain(script(ok(connect_page([]))))) as stub:
        source = connect(stub)
        cs.read_cases(source)
        assert_silent(shown(source))


def pickled_source(frame, tmp_path):
    """Everything that a user can save of a frame."""
    path = tmp_path / "cases.parquet"
    frame.to_parquet(path)
    text = io.StringIO()
    frame.to_csv(text)
    return f"{frame.attrs} {frame.to_html()} {text.getvalue()} {path.read_bytes()!r}"


def test_a_frame_saves_no_token(tmp_path):
    with Stub(persona_environment(script(ok(persona_page([CASE]))))) as stub:
        frame = cs.read_cases(persona(stub))
    assert TOKEN not in pickled_source(frame.drop(columns=["attachments"]), tmp_path)
    assert_silent(f"{frame.attrs} {frame.to_dict()}")
    with Stub(connect_domain(script(ok(connect_page([connect_case("c1")]))))) as stub:
        frame = cs.read_cases(connect(stub))
    assert_silent(pickled_source(frame, tmp_path))


@pytest.mark.parametrize("read_before", [False, True])
def test_a_pickle_holds_no_secret(read_before, monkeypatch):
    """A pickle goes to workers, into caches and onto disks."""
    monkeypatch.setenv("PERSONA_API_KEY", "other")
    with Stub(persona_environment(script(ok(persona_page([CASE]))))) as stub:
        persona_source = persona(stub)
        if read_before:
            cs.read_cases(persona_source)
        pickled = pickle.dumps(persona_source)
    with Stub(connect_domain(script(ok(connect_page([]))))) as stub:
        connect_source = connect(stub)
        if read_before:
            cs.read_cases(connect_source)
        pickled += pickle.dumps(connect_source)
    for secret in SECRETS:
        assert secret.encode() not in pickled


def test_the_requests_that_are_shown_hold_no_secret():
    """`explain_cases` prints them for copying to curl and the aws CLI."""
    with Stub(persona_environment(script(ok(persona_page([CASE]))))) as stub:
        plan = cs.explain_cases(persona(stub), status="open")
        assert_silent(f"{plan!r} {plan._repr_html_()}")
    with Stub(connect_domain(script(ok(connect_page([]))))) as stub:
        plan = cs.explain_cases(connect(stub), status="open")
        assert_silent(f"{plan!r} {plan._repr_html_()}")
