"""Responses that are too large, packed, damaged, or errors with the status of a success."""

import gzip
import json
import math
import subprocess
import sys
import textwrap
import zlib

import hypothesis
import pytest
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.errors import InvalidResponseError
from casesearch_pd.sources.transport.body import parse_json, read_body
from tests.wire_clients import Clock, connect, persona
from tests.wire_stub import (
    Stub,
    connect_case,
    connect_domain,
    ok,
    persona_case,
    persona_environment,
    persona_page,
    script,
)

LIMIT = 100_000  # bytes
BOMB = gzip.compress(b" " * 10 * LIMIT)
CONNECT_CASES = [connect_case(f"c{at}", {"f-text": f"text {at}"}) for at in range(3)]
PERSONA_CASES = [
    persona_case(f"case_{at}", note={"type": "string", "value": f"text {at}"}) for at in range(3)
]
BODIES = {
    "connect": json.dumps({"cases": CONNECT_CASES}).encode(),
    "persona": json.dumps(persona_page(PERSONA_CASES)).encode(),
}
TEXT = {"connect": "note", "persona": "note"}  # the column of the text


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    """Let the pauses between attempts take no time."""
    Clock.installed(monkeypatch)


def serving(name, *replies):
    """Serve searches; discovery is in order."""
    search = script(*replies)
    if name == "connect":
        return Stub(connect_domain(search))
    return Stub(persona_environment(search, newest=PERSONA_CASES))


def bind(name, stub, **options):
    """Return the source of a service."""
    return {"connect": connect, "persona": persona}[name](stub, **options)


def read(name, *replies, **options):
    """Read all cases."""
    with serving(name, *replies) as stub:
        return cs.read_cases(bind(name, stub, **options), progress=False)


def failure(name, *replies):
    """Return the error of a read, and the number of searches."""
    with serving(name, *replies) as stub:
        with pytest.raises(cs.CaseSearchError) as raised:
            cs.read_cases(bind(name, stub), progress=False)
        return raised.value, len(stub.searches)


both = pytest.mark.parametrize("name", ["connect", "persona"])


# --- size -------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_page_that_unpacks_to_too_much_is_refused_at_once(name, status):
    bomb = status, {"Content-Encoding": "gzip"}, BOMB
    with serving(name, bomb) as stub:
        source = bind(name, stub, max_response_bytes=LIMIT)
        with pytest.raises(InvalidResponseError, match=r"100,000 bytes.*max_response_bytes="):
            cs.read_cases(source, progress=False)
        assert len(stub.searches) == 1


@both
def test_discovery_that_unpacks_to_too_much_is_refused_at_once(name):
    with Stub(lambda _: ok(BOMB, Content_Encoding="gzip")) as stub:
        with pytest.raises(InvalidResponseError, match="max_response_bytes="):
            cs.list_fields(bind(name, stub, max_response_bytes=LIMIT))
        assert len(stub.requests) == 1


@both
def test_a_plain_body_has_the_same_limit(name):
    body = BODIES[name] + b" " * LIMIT
    with pytest.raises(InvalidResponseError, match="max_response_bytes="):
        read(name, ok(body), max_response_bytes=LIMIT)
    assert len(read(name, ok(body), max_response_bytes=len(body))) == 3


@pytest.mark.parametrize("call", [cs.read_events, cs.read_related])
def test_a_response_about_one_case_has_the_limit_too(call):
    domain = connect_domain(script(ok(BODIES["connect"])))

    def reply(request):
        if "/cases/" in request.path:
            return ok(BOMB, Content_Encoding="gzip")
        return domain(request)

    with Stub(reply) as stub:
        source = connect(stub, max_response_bytes=LIMIT)
        cases = cs.read_cases(source, progress=False)
        with pytest.raises(InvalidResponseError, match="max_response_bytes="):
            call(source, cases, progress=False)


@both
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "64 MB", None])
def test_a_limit_that_is_none_is_refused(name, value):
    with (
        Stub(lambda _: ok({})) as stub,
        pytest.raises(cs.FilterError, match="max_response_bytes must be"),
    ):
        bind(name, stub, max_response_bytes=value)


BOMB_OF_A_GIGABYTE = """
    import gzip, resource, sys
    import casesearch_pd as cs
    from tests.wire_clients import connect, persona
    from tests.wire_stub import Stub, connect_domain, ok, persona_environment

    bomb = gzip.compress(b" " * (16 << 20)) * 64  # members of one gzip file: 1 GB
    def search(_):
        return ok(bomb, Content_Encoding="gzip")

    for bind, service in ((connect, connect_domain), (persona, persona_environment)):
        with Stub(service(search)) as stub:
            source = bind(stub)
            cs.list_fields(source)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                cs.read_cases(source, progress=False)
            except cs.CaseSearchError as error:
                print(type(error).__name__)
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print((after - before) * (1 if sys.platform == "darwin" else 1024) >> 20)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_a_gigabyte_takes_no_more_memory_than_the_limit():
    code = textwrap.dedent(BOMB_OF_A_GIGABYTE)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    first, grown, second, more = done.stdout.split()
    assert first == second == "InvalidResponseError"
    assert int(grown) <= 200
    assert int(more) <= 200


# --- packing ----------------------------------------------------------------------------------


class RawResponse:
    """A response of urllib3, in chunks."""

    def __init__(self, body, size):
        self.body, self.size = body, size

    def stream(self, *_, **__):
        """Yield the body in chunks."""
        yield from (self.body[at : at + self.size] for at in range(0, len(self.body), self.size))


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip, in capitals": ("X-GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its header": ("deflate", raw_deflate),
    "two members": ("gzip", lambda body: gzip.compress(body[:7]) + gzip.compress(body[7:])),
    "padding": ("gzip", lambda body: gzip.compress(body) + b"\0" * 20),
    "not packed": ("", bytes),
    "identity": ("identity", bytes),
    "a name that is not true": ("br", bytes),
}


@pytest.mark.parametrize("how", PACKED)
@pytest.mark.parametrize("size", [1, 3, 1000, 1 << 24])
def test_a_body_is_unpacked_whatever_its_chunks(how, size):
    coding, pack = PACKED[how]
    for body in (b"", b"{}" * 10, bytes(range(256)) * 40):
        raw = RawResponse(pack(body), size)
        assert read_body(raw, {"content-encoding": coding}, len(body) + 1) == body


def test_a_body_of_many_steps_is_unpacked():
    body = b"x" * (5 << 20)
    raw = RawResponse(gzip.compress(body), 1 << 20)
    assert read_body(raw, {"content-encoding": "gzip"}, len(body)) == body
    with pytest.raises(InvalidResponseError):
        read_body(raw, {"content-encoding": "gzip"}, len(body) - 1)


@pytest.mark.parametrize("cut", [1, 8, 20])
def test_a_packed_body_that_ends_early_is_an_error(cut):
    body = gzip.compress(b"some text " * 20)[:-cut]
    with pytest.raises(zlib.error):
        read_body(RawResponse(body, 10), {"content-encoding": "gzip"}, LIMIT)


@pytest.mark.parametrize("length", ["²", "", "many", "-5", "1e9"])
def test_an_odd_content_length_is_no_reason_to_refuse(length):
    assert read_body(RawResponse(b"{}", 1), {"content-length": length}, LIMIT) == b"{}"


@pytest.mark.parametrize("length", [str(LIMIT + 1), "9" * 5000])
def test_an_announced_length_is_refused_before_it_is_read(length):
    with pytest.raises(InvalidResponseError):
        read_body(None, {"content-length": length}, LIMIT)


@both
def test_a_packed_page_reads_as_a_plain_one(name):
    packed = read(name, ok(gzip.compress(BODIES[name]), Content_Encoding="gzip"))
    assert packed.equals(read(name, ok(BODIES[name])))


# --- encoding ---------------------------------------------------------------------------------


@both
def test_a_byte_order_mark_is_not_part_of_the_page(name):
    assert read(name, ok(b"\xef\xbb\xbf" + BODIES[name])).equals(read(name, ok(BODIES[name])))


@both
def test_a_byte_order_mark_before_every_response(name):
    with serving(name, ok(BODIES[name])) as stub:
        reply = stub.reply
        stub.reply = lambda request: _with_mark(reply(request))
        frame = cs.read_cases(bind(name, stub), progress=False)
    assert frame.equals(read(name, ok(BODIES[name])))


def _with_mark(reply):
    status, headers, body = reply
    return status, headers, b"\xef\xbb\xbf" + body


@both
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=latin-1"])
def test_a_wrong_byte_costs_its_cell_and_is_said(name, content_type):
    body = BODIES[name].replace(b"text 1", b"caf\xe9 1")
    with pytest.warns(UserWarning, match=r"note \(1\)") as warned:
        frame = read(name, ok(body, Content_Type=content_type))
    assert len(warned) == 1
    assert frame[TEXT[name]].tolist() == ["text 0", "caf\ufffd 1", "text 2"]
    rest = frame.drop(columns=TEXT[name])
    assert rest.equals(read(name, ok(BODIES[name])).drop(columns=TEXT[name]))


@both
def test_a_character_that_stands_for_a_wrong_byte_may_be_sent(name):
    body = BODIES[name].replace(b"text 1", "caf\ufffd 1".encode())
    assert read(name, ok(body))[TEXT[name]].tolist()[1] == "caf\ufffd 1"


@both
def test_a_wrong_byte_in_an_id_is_an_error(name):
    old = {"connect": b'"c1"', "persona": b'"case_1"'}[name]
    error, attempts = failure(name, ok(BODIES[name].replace(old, b'"c\xff1"')))
    assert isinstance(error, InvalidResponseError)
    assert "not UTF-8" in str(error)
    assert attempts > 1


@both
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_another_encoding_is_an_error(name, encoding):
    error, _ = failure(name, ok(BODIES[name].decode().encode(encoding)))
    assert isinstance(error, InvalidResponseError)


def test_a_wrong_byte_in_discovery_costs_its_label():
    domain = connect_domain(script(ok(BODIES["connect"])))

    def reply(request):
        status, headers, body = domain(request)
        return status, headers, body.replace(b'"Note"', b'"Not\xe9"')

    with Stub(reply) as stub:
        assert "Not\ufffd" in cs.list_fields(connect(stub))["label"].tolist()


@hypothesis.given(st.binary(max_size=40))
def test_any_bytes_are_json_or_a_value_error(body):
    try:
        _, replaced = parse_json(body)
    except ValueError:
        return
    assert not replaced or b'"' in body


# --- errors in a success ----------------------------------------------------------------------


def aws_error(code, message="the words"):
    """Return a 200 that is an error of AWS."""
    return ok({"message": message, "__type": f"com.amazonaws.connectcases#{code}"})


def persona_errors(title, details="the words"):
    """Return a 200 that is an error of Persona."""
    return ok({"errors": [{"title": title, "details": details}]})


@pytest.mark.parametrize(
    ("name", "reply", "kind", "repeated"),
    [
        ("connect", aws_error("InternalServerException"), cs.InvalidResponseError, True),
        ("connect", aws_error("AccessDeniedException"), cs.AccessDeniedError, False),
        ("connect", aws_error("ThrottlingException"), cs.ThrottledError, True),
        ("persona", persona_errors("Internal error"), cs.InvalidResponseError, True),
        ("persona", persona_errors("Forbidden"), cs.AccessDeniedError, False),
        ("persona", persona_errors("Too many requests"), cs.ThrottledError, True),
    ],
)
def test_an_error_with_the_status_of_a_success_is_that_error(name, reply, kind, repeated):
    error, attempts = failure(name, reply)
    assert type(error) is kind
    assert "the words" in str(error)
    assert (attempts > 1) is repeated


@pytest.mark.parametrize(
    ("name", "reply"),
    [("connect", aws_error("AccessDeniedException")), ("persona", persona_errors("Forbidden"))],
)
def test_discovery_knows_such_an_error_too(name, reply):
    with Stub(lambda _: reply) as stub:
        with pytest.raises(cs.AccessDeniedError, match="the words"):
            cs.list_fields(bind(name, stub))
        assert len(stub.requests) == 1


@both
def test_a_part_of_a_page_is_not_a_page(name):
    error, attempts = failure(name, (206, {}, BODIES[name]))
    assert isinstance(error, InvalidResponseError)
    assert error.status == 206
    assert attempts > 1


# --- names ------------------------------------------------------------------------------------

KEYS = ['Screen 15"', "back\\slash", "line\nbreak", "nul\0", "", "a.b", " ", "$", "1", "fields"]


@pytest.mark.parametrize("key", KEYS)
def test_any_key_of_a_custom_field_is_a_column(key):
    cases = [persona_case("case_1", {"fields": {key: {"type": "string", "value": "here"}}})]
    environment = persona_environment(script(ok(persona_page(cases))), newest=cases)
    with Stub(environment) as stub:
        frame = cs.read_cases(persona(stub), progress=False)
        assert (frame == "here").to_numpy().sum() == 1
        assert len(stub.searches) == 1


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=8), unique=True, max_size=4)
)
def test_any_keys_together_are_columns(keys):
    wrapped = {key: {"type": "string", "value": "here"} for key in keys}
    cases = [persona_case("case_1", {"fields": wrapped})]
    environment = persona_environment(script(ok(persona_page(cases))), newest=cases)
    with Stub(environment) as stub:
        frame = cs.read_cases(persona(stub, rate=math.inf), progress=False)
    assert (frame == "here").to_numpy().sum() == len(keys)


def test_a_template_field_without_a_key_is_left_out():
    schemas = [
        None,
        {"type": "string", "key": "", "label": "Nothing"},
        {"type": "string", "key": "note", "label": "Note"},
    ]
    template = {
        "type": "case-template",
        "id": "ctmpl_1",
        "attributes": {"name": "Review", "field-schemas": schemas},
    }
    search = script(ok(BODIES["persona"]))
    with Stub(persona_environment(search, newest=PERSONA_CASES, template=template)) as stub:
        fields = cs.list_fields(persona(stub))
    assert "Note" in fields["label"].tolist()
    assert "Nothing" not in fields["label"].tolist()
