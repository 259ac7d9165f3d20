"""What is a source and what is not; and the source that a DataFrame was read from."""

import gc
import json
import socket

import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.sources import registry
from casesearch_pd.sources.registry import remember_source, resolve_source
from casesearch_pd.sources.traits import (
    AMAZON_CONNECT,
    PERSONA,
    ServiceTraits,
    mixes_services,
    traits_of,
)
from tests.ticket_source import TicketCases

SERVICES = ("connect", "persona")


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "PERSONA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def emulator():
    """Return an emulator without sources: these tests are about when a source is collected."""
    with cs.LocalCases(cases=30, seed=2) as running:
        yield running


# --- an argument that is not a source ---------------------------------------------------------

NOT_SOURCES = {
    "a number": (42, "got 42, which has no 'schema'; create one with ConnectCases"),
    "nothing": (None, "got None"),
    "text": ("demo://connect", r"use open_source\(text\)"),
    "a DataFrame": (pd.DataFrame({"case_id": ["a"]}), r"df\.cases\.where"),
    "a class": (cs.ConnectCases, r"got the class ConnectCases; create one: ConnectCases\("),
}


@pytest.mark.parametrize("name", NOT_SOURCES)
@pytest.mark.parametrize("function", [cs.read_cases, cs.count_cases, cs.explain_cases])
def test_what_is_not_a_source_is_refused_with_the_next_step(name, function):
    value, message = NOT_SOURCES[name]
    with pytest.raises(cs.FilterError, match=message):
        function(value)


def test_the_emulator_itself_is_not_a_source(emulator):
    with pytest.raises(cs.FilterError, match=r"local\.connect_cases\(\) or local\.persona_cases\("):
        cs.read_cases(emulator)


def test_text_that_may_contain_a_token_is_not_repeated():
    with pytest.raises(cs.FilterError) as refused:
        cs.read_cases("persona://secret-token")
    assert "secret-token" not in str(refused.value)


# --- the source of a description ---------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_source_of_this_session_is_used_with_its_credentials(emulator, name):
    """The environment of a notebook often has no credentials, or those of another account."""
    source = getattr(emulator, f"{name}_cases")()
    frame = cs.read_cases(source)
    assert resolve_source(frame.cases.provenance["source"]) is source
    assert frame.cases.refresh()["case_id"].tolist() == frame["case_id"].tolist()


@pytest.mark.parametrize("name", SERVICES)
def test_a_source_without_a_variable_exists_as_long_as_its_emulator(emulator, name):
    """In a notebook it is written where it is used: cs.read_cases(local.connect_cases())."""
    frame = cs.read_cases(getattr(emulator, f"{name}_cases")())
    gc.collect()
    assert len(frame.cases.refresh()) == len(frame)


@pytest.mark.parametrize("name", SERVICES)
def test_a_source_on_this_machine_that_was_collected_has_to_be_passed(name):
    with cs.LocalCases(cases=30, seed=2) as emulator:
        description = getattr(emulator, f"{name}_cases")().describe()
        del emulator
        gc.collect()
        registry._live_sources.clear()
        with pytest.raises(cs.FilterError, match="pass the source: source="):
            resolve_source(description)
        with pytest.raises(cs.AccessDeniedError, match=r"AWS_PROFILE|PERSONA_API_KEY"):
            _ = resolve_source(description, trusts_loopback=True).schema


def test_two_sources_with_different_credentials_are_not_confused(emulator):
    """Both have one address; a frame of one environment refreshed from another is a mixture."""
    ours = emulator.persona_cases()
    other = cs.PersonaCases(token="another", base_url=f"{emulator.url}/api/v1")
    frame = cs.read_cases(ours)
    remember_source(other)  # as a read does
    with pytest.raises(cs.FilterError, match="source=") as refused:
        frame.cases.refresh()
    assert "another" not in str(refused.value)
    assert emulator.token not in str(refused.value)
    assert len(frame.cases.refresh(ours)) == len(frame)


def test_two_sources_of_one_account_are_equivalent(emulator):
    first, second = emulator.connect_cases(), emulator.connect_cases()
    frame = cs.read_cases(first)
    assert len(cs.read_cases(second)) == len(frame.cases.refresh())


# --- registered services -------------------------------------------------------------------------


@pytest.fixture
def registered(monkeypatch):
    """Register the ticket service for this test only."""
    monkeypatch.setattr(registry, "_registrations", {})
    cs.register_source(TicketCases.name, TicketCases, hosts=[".tickets.example"])
    return TicketCases.name


@pytest.mark.parametrize("scheme", ["connect", "persona", "https", "Two words", "", None])
def test_a_scheme_of_this_package_or_no_word_is_refused(scheme):
    with pytest.raises(cs.FilterError, match="scheme must be"):
        cs.register_source(scheme, TicketCases)


@pytest.mark.parametrize("host", ["evil.example", "tickets.example.evil.example", "a@evil.example"])
def test_a_stored_address_receives_no_credentials_unless_its_host_is_registered(registered, host):
    """A DataFrame may come from a stranger, and its provenance may name any host."""
    description = {"service": registered, "address": f"{registered}://{host}/api"}
    with pytest.raises(cs.FilterError, match="source="):
        resolve_source(description)
    trusted = {"service": registered, "address": f"{registered}://eu.tickets.example/api"}
    registry.require_recreatable(trusted)


# --- traits --------------------------------------------------------------------------------------


def test_frames_written_before_provenance_had_traits_are_still_understood():
    assert traits_of({"source": {"service": "persona"}}) == PERSONA
    assert traits_of({"source": {"service": "mirror", "of": {"service": "connect"}}}) == (
        AMAZON_CONNECT
    )
    assert traits_of({}) == ServiceTraits()


def test_traits_survive_json_and_keys_of_a_later_version():
    traits = ServiceTraits("Tickets", closed_status="done", keyed_tags=False)
    assert traits_of({"traits": traits.to_json() | {"later": 1}}) == traits


def test_ids_of_two_services_are_recognized():
    assert mixes_services(["case_1", "5f0c"])
    assert not mixes_services(["case_1", "case_2"])
    assert not mixes_services(["5f0c", "a"])
    assert mixes_services(["TCK-1", "5f0c"], known=[ServiceTraits(case_id_pattern="TCK-")])


class _Listener:
    """A stranger's service on a port of this machine, which must hear nothing."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        return self

    def __exit__(self, *_):
        self.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            self.socket.accept()
        self.socket.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"


@pytest.mark.parametrize(
    "describe",
    [
        lambda url: {
            "service": "connect", "domain_id": "d", "region": "us-east-1", "endpoint_url": url,
        },
        lambda url: {
            "service": "persona", "base_url": f"{url}/api/v1", "version": "1", "fresh": False,
        },
        lambda url: {"service": "desk", "address": url.replace("http", "desk")},
    ],
    ids=["connect", "persona", "registered"],
)  # fmt: skip
def test_a_port_of_this_machine_that_a_file_names_gets_no_credentials(describe, monkeypatch):
    monkeypatch.setenv("PERSONA_API_KEY", "secret")
    monkeypatch.setattr(registry, "_registrations", {})
    cs.register_source("desk", lambda address: pytest.fail(f"{address} was opened"))
    with _Listener() as listener:
        with pytest.raises(cs.FilterError, match=r"on this machine.*pass the source: source="):
            resolve_source(describe(listener.url))
        frame = pd.DataFrame({"case_id": ["a"], "created_at": pd.to_datetime(["2026"], utc=True)})
        frame.attrs["casesearch"] = json.dumps({"source": describe(listener.url)})
        with pytest.raises((cs.FilterError, ValueError)):
            frame.cases.refresh()


def test_a_source_of_this_session_is_found_again_on_its_port():
    with cs.LocalCases(cases=20) as local:
        source = local.persona_cases()
        df = cs.read_cases(source, progress=False)
        assert resolve_source(df.cases.provenance["source"]) is source
        assert len(df.cases.refresh()) == 20
