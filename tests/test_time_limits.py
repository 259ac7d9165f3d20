"""A time limit and a cancel end what is under way, on both services, whatever the service does.

The limits are short and the bounds long: a limit that is not kept costs the 20 seconds of the HTTP
client or more, and a loaded machine no few seconds.
"""

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, nullcontext, suppress

import pytest

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.errors import ReadInterrupted
from casesearch_pd.reading.background import BackgroundRead
from casesearch_pd.reading.options import Query, ReadOptions
from casesearch_pd.sources.transport import interrupt
from casesearch_pd.sources.transport.context import Cancelled, ReadContext, use_context
from casesearch_pd.sources.transport.http import HttpClient
from tests.conftest import SERVICES
from tests.wire_clients import connect, persona
from tests.wire_stub import HANG, Raw, Stub

LIMIT = 0.3
BOUND = 6.0  # seconds that a limited call may take on a loaded machine
SERVICE = {"cases": 120, "seed": 2}
SOURCES = {name: {"rate": float("inf")} for name in SERVICES}

FAULTS = {
    "silent": Fault("silence", 30, operation=None),
    "dripping": Fault("drip", 0.2, operation=None),
    "dripping head": Fault("drip", ("head", 0.2), operation=None),
    "slow": Fault("latency", 0.4, operation=None),
    "throttled": Fault("throttle", 10, operation=None),
}


def drain(chunks):
    """Read all chunks."""
    for _ in chunks:
        pass


def sync(source, folder, timeout):
    """Fill a mirror."""
    cs.Mirror(folder / "cases.duckdb").sync(source, timeout=timeout, progress=False)


CALLS = {
    "read_cases": lambda source, _, timeout: cs.read_cases(source, timeout=timeout, progress=False),
    "iter_cases": lambda source, _, timeout: drain(
        cs.iter_cases(source, timeout=timeout, progress=False)
    ),
    "count_cases": lambda source, _, timeout: cs.count_cases(
        source, status="open", timeout=timeout
    ),
    "to_parquet": lambda source, folder, timeout: cs.to_parquet(
        source, folder / "cases.parquet", timeout=timeout, progress=False
    ),
    "read_related": lambda source, _, timeout: cs.read_related(
        source, source.some_cases, timeout=timeout, progress=False
    ),
    "read_events": lambda source, _, timeout: cs.read_events(
        source, source.some_cases, timeout=timeout, progress=False
    ),
    "sync": sync,
}


@pytest.fixture(scope="module", autouse=True)
def some_cases(service):
    """Read the cases of the calls that need some."""
    for source in service.sources.values():
        source.some_cases = cs.read_cases(
            source, columns=["case_id"], limit=20, sort="created_at", progress=False
        )


@contextmanager
def quickly():
    """Check that a block ends long before the timeouts of the HTTP clients."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < BOUND


def assert_no_workers():
    names = [one.name for one in threading.enumerate() if re.fullmatch(r"cases-\d+", one.name)]
    assert not names


# --- every call, every service, every way to be late ------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", SERVICES)
def test_a_call_ends_with_its_time_limit(local, tmp_path, name, call, fault):
    if (name, call) == ("persona", "read_events"):
        pytest.skip("Persona has no history")
    local.faults.append(FAULTS[fault])
    with quickly(), pytest.raises(cs.CaseSearchError, match=r"timeout=0\.3 s|in time|timeout="):
        CALLS[call](local.sources[name], tmp_path, LIMIT)
    assert_no_workers()
    local.faults.clear()  # the connections and the rate limiter are in order afterwards
    assert len(cs.read_cases(local.sources[name], limit=3, sort="created_at", progress=False)) == 3


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", SERVICES)
def test_a_read_of_many_fast_pages_ends_with_its_time_limit(local, tmp_path, name, call):
    if (name, call) == ("persona", "read_events"):
        pytest.skip("Persona has no history")
    source = local.sources[name]
    local.faults.append(Fault("latency", 0.1, operation=None))
    size, source.page_size = source.page_size, 1
    try:
        with quickly():
            counts_at_once = (name, call) == ("connect", "count_cases")
            expected = (
                nullcontext()
                if counts_at_once
                else pytest.raises(cs.CaseSearchError, match="timeout=")
            )
            with expected:
                CALLS[call](source, tmp_path, LIMIT)
    finally:
        source.page_size = size


@pytest.mark.parametrize("fault", ["silent", "dripping", "dripping head", "slow"])
@pytest.mark.parametrize("name", SERVICES)
def test_discovery_ends_with_the_time_limit_of_its_read(local, name, fault):
    source = getattr(local, f"{name}_cases")(rate=float("inf"))
    local.faults.append(FAULTS[fault])
    with (
        quickly(),
        use_context(ReadContext.with_timeout(LIMIT)),
        pytest.raises(cs.ServiceUnavailableError, match=r"timeout=0\.3 s is over"),
    ):
        _ = source.schema
    local.faults.clear()
    assert source.schema.fields  # what was cut is not kept


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", SERVICES)
def test_a_call_that_discovers_first_ends_with_its_time_limit(local, tmp_path, name, call):
    if (name, call) == ("persona", "read_events"):
        pytest.skip("Persona has no history")
    source = getattr(local, f"{name}_cases")(rate=float("inf"))
    source.some_cases = local.sources[name].some_cases
    local.faults.append(Fault("silence", 30, operation=None))
    with quickly(), pytest.raises(cs.CaseSearchError, match=r"timeout=0\.3 s is over"):
        CALLS[call](source, tmp_path, LIMIT)
    assert_no_workers()


def test_discovery_for_the_columns_of_a_history_ends_with_its_read(local):
    """The fields are discovered while the first page is decoded, in whatever thread."""
    source = local.connect_cases(rate=float("inf"))
    local.faults.append(Fault("silence", 30, wire="connect", operation="list_fields"))
    with quickly(), pytest.raises(cs.CaseSearchError, match=r"timeout=0\.3 s is over"):
        cs.read_events(source, local.sources["connect"].some_cases, timeout=LIMIT, progress=False)


@pytest.mark.parametrize("name", SERVICES)
def test_the_message_says_what_was_waited_for(local, name):
    local.faults.append(Fault("silence", 30))
    expected = {"connect": "Amazon Connect", "persona": f"{local.url}/api/v1"}[name]
    with pytest.raises(cs.CaseSearchError) as raised:
        cs.read_cases(local.sources[name], timeout=LIMIT, progress=False)
    text = str(raised.value)
    assert f"waiting for a response of {expected}" in text
    assert "longer timeout=" in text


@pytest.mark.parametrize("bind", [connect, persona])
def test_a_body_that_is_cut_is_no_shorter_result(bind):
    """The head never ends: what came may be a valid response without cases."""
    slow_head = Raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", then="hang")
    with Stub(lambda _: slow_head) as stub:
        source = bind(stub)
        with (
            quickly(),
            use_context(ReadContext.with_timeout(LIMIT)),
            pytest.raises(cs.ServiceUnavailableError, match="is over"),
        ):
            _ = source.schema


# --- cancel -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["silent", "dripping", "dripping head"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_cancel_ends_the_request_under_way(local, until, name, fault):
    local.faults.append(FAULTS[fault])
    before = len(local.requests)
    read = BackgroundRead(local.sources[name], Query(), ReadOptions(progress=False)).start()
    until(lambda: read.progress.requests)
    if fault == "silent":
        until(lambda: len(local.requests) > before)
    with quickly():
        read.cancel()
        assert read.wait(BOUND)
    assert isinstance(read.error, ReadInterrupted)
    assert_no_workers()


@pytest.mark.parametrize("bind", [connect, persona])
def test_a_cancel_ends_discovery(bind):
    with Stub(lambda _: HANG) as stub:
        source, context = bind(stub), ReadContext()
        timer = threading.Timer(0.2, context.cancel)
        timer.start()
        with quickly(), use_context(context), pytest.raises(Cancelled):
            _ = source.schema
        timer.join()


def test_a_request_after_a_cancel_is_ended():
    """Between the look at the cancel and the request, the cancel may come."""
    context = ReadContext()
    context.cancel()
    with interrupt.exchange(context) as current:
        assert current.over
    with pytest.raises(Cancelled):
        current.raise_if_over("the service")


# --- how it works -----------------------------------------------------------------------------


def test_a_late_interrupt_does_not_hit_the_next_request_of_the_connection():
    first, second = socket.socketpair()
    with first, second:
        connection = interrupt._Interruptible()
        with interrupt.exchange(ReadContext()) as earlier:
            connection._attach(first)
        with interrupt.exchange(ReadContext()) as later:
            connection._attach(first)
            earlier.interrupt()
            second.sendall(b"x")
            assert first.recv(1) == b"x"
            later.interrupt()
            assert first.recv(1) == b""


def test_the_watching_thread_ends_when_nothing_is_sent(until):
    def watching():
        return any(one.name == "casesearch-time-limits" for one in threading.enumerate())

    with interrupt.exchange(ReadContext.with_timeout(3600)):
        assert watching()
    until(lambda: not watching())


def test_many_exchanges_at_once_end_in_time():
    contexts = [ReadContext.with_timeout(0.1 + 0.01 * at) for at in range(20)]
    results = []

    def run(context):
        first, second = socket.socketpair()
        with first, second, interrupt.exchange(context) as current:
            current.attach(first)
            first.settimeout(BOUND)
            results.append((first.recv(1), current.over))

    threads = [threading.Thread(target=run, args=(context,)) for context in contexts]
    with quickly():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [(b"", True)] * 20


def test_another_version_of_botocore_keeps_its_own_timeouts(local, monkeypatch):
    monkeypatch.setattr(
        "casesearch_pd.sources.amazon_connect.client.interruptible_pools",
        lambda _: {}["missing"].attribute,
    )
    with pytest.raises(KeyError):
        local.connect_cases()
    monkeypatch.setattr(
        "casesearch_pd.sources.amazon_connect.client.interruptible_pools",
        lambda classes: classes.missing,
    )
    source = local.connect_cases(rate=float("inf"))
    assert len(cs.read_cases(source, limit=3, sort="created_at", progress=False)) == 3


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return the paths of a certificate for this machine and of its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-out", str(paths[0]), "-keyout", str(paths[1]),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return paths


@pytest.mark.parametrize("mode", ["handshake", "silent", "dripping"])
def test_an_encrypted_response_ends_with_the_time_limit(certificate, mode, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            if mode == "handshake":
                with connection:
                    ended.wait(60)
                return
            with context.wrap_socket(connection, server_side=True) as encrypted:
                encrypted.recv(4096)
                if mode == "dripping":
                    encrypted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                    with suppress(OSError):
                        while not ended.wait(0.1):
                            encrypted.sendall(b" ")
                ended.wait(60)

        thread = threading.Thread(target=serve)
        thread.start()
        client = HttpClient(f"https://127.0.0.1:{server.getsockname()[1]}", {})
        monkeypatch.setattr("casesearch_pd.sources.transport.http.is_loopback", lambda _: False)
        try:
            with quickly(), pytest.raises(cs.ServiceUnavailableError, match="is over"):
                client.send("GET", "/cases", (), None, ReadContext.with_timeout(LIMIT))
        finally:
            ended.set()
            thread.join()


def test_a_time_limit_costs_no_response(local):
    """Many reads with a limit that is not reached: each is complete."""
    for name in SERVICES:
        frame = cs.read_cases(local.sources[name], timeout=60, progress=False)
        assert len(frame) == SERVICE["cases"]
        assert json.dumps(frame.cases.provenance["complete"]) == "true"
