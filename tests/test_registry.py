"""A frame finds the source that it was read from, as long as that is there."""

import gc

import pytest

import casesearch_pd as cs
from casesearch_pd.sources.registry import remember_source, resolve_source

SERVICES = ("connect", "persona")


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "PERSONA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def local():
    with cs.LocalCases(cases=30, seed=2) as running:
        yield running


@pytest.mark.parametrize("name", SERVICES)
def test_the_source_of_the_session_is_taken_with_its_credentials(local, name):
    """The environment of a notebook often has none, or those of another account."""
    source = getattr(local, f"{name}_cases")()
    frame = cs.read_cases(source)
    assert resolve_source(frame.cases.provenance["source"]) is source
    assert frame.cases.refresh()["case_id"].tolist() == frame["case_id"].tolist()


@pytest.mark.parametrize("name", SERVICES)
def test_a_source_that_nobody_kept_lives_as_long_as_its_local_service(local, name):
    """In a notebook it is written where it is used: cs.read_cases(local.connect_cases())."""
    frame = cs.read_cases(getattr(local, f"{name}_cases")())
    gc.collect()
    assert len(frame.cases.refresh()) == len(frame)


@pytest.mark.parametrize("name", SERVICES)
def test_a_source_that_is_gone_is_made_anew_with_what_the_environment_has(local, name):
    told = cs.read_cases(getattr(local, f"{name}_cases")()).cases.provenance["source"]
    local._sources.clear()
    gc.collect()
    with pytest.raises(cs.AccessDeniedError, match=r"AWS_PROFILE|PERSONA_API_KEY"):
        _ = resolve_source(told).schema


def test_two_sources_that_differ_are_not_mistaken_for_each_other(local):
    """Both have one address; a frame of one environment refreshed from another is a mixture."""
    ours, other = (
        local.persona_cases(),
        cs.PersonaCases(token="another", base_url=f"{local.url}/api/v1"),
    )
    frame = cs.read_cases(ours)
    remember_source(other)  # as a read would
    with pytest.raises(cs.FilterError, match="source=") as refused:
        frame.cases.refresh()
    assert "another" not in str(refused.value)
    assert local.token not in str(refused.value)
    assert len(frame.cases.refresh(ours)) == len(frame)


def test_two_sources_of_one_account_are_as_good_as_one(local):
    first, second = local.connect_cases(), local.connect_cases()
    frame = cs.read_cases(first)
    assert len(cs.read_cases(second)) == len(frame.cases.refresh())
