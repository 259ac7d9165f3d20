"""AWS credentials stand in no message and in no frame, and leave unencrypted for no other host."""

import json
import traceback

import pytest

import casesearch_pd as cs
from casesearch_pd.sources.amazon_connect.secrets import hide_secrets
from tests.wire_stub import Stub, connect_error

TOKEN, SECRET = "SESSIONTOKENVALUE", "SECRETKEYVALUE"
HEADER = "X-Amz-Security-Token"

pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def shown(error):
    """Return all that a verbose traceback shows: messages and local variables, causes too."""
    error.__traceback__ = error.__traceback__.tb_next  # the test's own frame has the values
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(whole.format()) + repr(error) + repr(getattr(error, "__notes__", ""))


def read(url):
    source = cs.ConnectCases("d", endpoint_url=url)
    return cs.read_cases(source, progress=False, timeout=8)


def repeats(status):
    """Refuse with a message that repeats the headers."""

    def reply(request):
        headers = f"{request.headers.get(HEADER.lower())} {request.headers.get('authorization')}"
        return connect_error(status, "Refused", headers)

    return reply


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_a_message_that_repeats_the_headers_shows_no_credential(status):
    with Stub(repeats(status)) as stub, pytest.raises(cs.ServiceError) as refused:
        read(stub.url)
    assert_hidden(refused.value)
    assert "Signature=<hidden>" in str(refused.value)


def test_no_answer_shows_no_credential():
    with pytest.raises(cs.ServiceError) as refused:
        read("http://127.0.0.1:9")
    assert_hidden(refused.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_shows_no_credential(monkeypatch, error):
    def send(_session, request):
        headers = dict(request.headers)
        raise error(len(headers))

    monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", send)
    with pytest.raises((error, cs.CaseSearchError)) as refused:
        read("http://127.0.0.1:9")
    assert_hidden(refused.value)


def assert_hidden(error):
    text = shown(error)
    for secret in (TOKEN, SECRET):
        assert secret not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE\n"),
        ("AWS_ACCESS_KEY_ID", "AKIA\rEXAMPLE"),
        ("AWS_SESSION_TOKEN", f"{TOKEN}\n"),
        ("AWS_SESSION_TOKEN", f"{TOKEN}\0"),
    ],
)
def test_a_malformed_credential_is_refused_before_anything_is_sent(monkeypatch, name, value):
    monkeypatch.setattr("os.environ", {**__import__("os").environ, name: value})
    with Stub(repeats(403)) as stub:
        with pytest.raises(cs.AccessDeniedError, match="contains a line break") as refused:
            read(stub.url)
        assert not stub.requests
    assert ("session token" in str(refused.value)) == ("TOKEN" in name)
    assert_hidden(refused.value)


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_credentials_are_sent_encrypted_to_another_host(monkeypatch, by):
    address = "http://cases.example.com"
    if by == "environment":
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    with pytest.raises(cs.AccessDeniedError, match=r"cases\.example\.com unencrypted; use https"):
        cs.ConnectCases("d", endpoint_url=address if by == "argument" else None)
    assert cs.ConnectCases("d", endpoint_url="http://127.0.0.1:9")
    assert cs.ConnectCases("d", endpoint_url="https://cases.example.com")


def test_every_part_of_an_error_is_cleared():
    error = ValueError(f"{SECRET} in Authorization: Credential=AKIA/x, Signature=abc", [TOKEN])
    error.__cause__ = RuntimeError(json.dumps({HEADER: TOKEN}))

    class Credentials:
        def get_frozen_credentials(self):
            return type("Frozen", (), {"secret_key": SECRET, "token": TOKEN})

    cause = error.__cause__
    hide_secrets(error, Credentials())
    assert "Credential=<hidden>, Signature=<hidden>" in str(error)
    assert error.__cause__ is None
    for part in (error, cause):
        assert TOKEN not in repr(part)
        assert SECRET not in repr(part)
