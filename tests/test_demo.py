"""The demo, and sources named in one line."""

import io
import json
import runpy
import subprocess
import sys

import boto3
import pytest

import casesearch_pd as cs
from casesearch_pd import demo


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    picture = tmp_path_factory.mktemp("demo") / "cases.png"
    out = io.StringIO()
    demo.show(picture, out)
    return out.getvalue(), picture


def test_the_demo_shows_both_reads_and_what_was_sent(shown):
    text, _ = shown
    assert "ConnectCases: read_cases(source, status=['open', 'pending']" in text
    assert "PersonaCases: read_cases(source, created_at__gte=" in text
    assert text.count("requests sent:") == 2
    assert "/cases-search" in text
    assert "/api/v1/cases/search" in text
    assert "case_id" in text


def test_the_demo_draws_a_picture_and_says_where(shown):
    text, picture = shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture.resolve()) in text


def test_what_the_demo_says_to_try_next_works(shown):
    """The first thing that a user types must not fail."""
    text, _ = shown
    code = text.partition("notebook:")[2].replace("\n    ", "\n")
    names = {}
    exec(compile(code, "next", "exec"), names)
    assert len(names["df"]) == 20
    demo_plt = pytest.importorskip("matplotlib.pyplot")
    demo_plt.close("all")


def test_the_module_is_the_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_module("casesearch_pd", run_name="__main__")
    assert "Try next" in capsys.readouterr().out
    assert (tmp_path / "casesearch-demo.png").exists()


@pytest.mark.parametrize(
    ("text", "name"), [("demo://connect", "connect"), ("demo://persona", "persona")]
)
def test_demo_sources_have_cases(text, name):
    source = cs.open_source(text)
    assert source.name == name
    assert cs.count_cases(source) == 1000


def test_demo_sources_share_one_service():
    """A second service would be a second domain: frames of both could not be compared."""
    urls = {cs.open_source("demo://connect").client.meta.endpoint_url for _ in range(2)}
    assert len(urls) == 1


@pytest.mark.parametrize(
    "code", ["cs.count_cases(cs.open_source('demo://persona'))", "kept = cs.LocalCases(9).start()"]
)
def test_a_process_ends_though_nobody_stopped_the_service(code):
    """A script that never came back would have to be killed."""
    code = f"import casesearch_pd as cs; {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stderr == b""


def test_a_domain_in_one_line(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    boto3.DEFAULT_SESSION = None
    source = cs.open_source("connect://5f1c7B0e?region=eu-west-2")
    assert (source.domain_id, source.region_name) == ("5f1c7B0e", "eu-west-2")


def test_persona_in_one_line(monkeypatch):
    monkeypatch.setenv("PERSONA_API_KEY", "persona_sandbox_x")
    assert cs.open_source("persona://").base_url == "https://api.withpersona.com/api/v1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' names no source; write 'connect://DOMAIN"),
        ("cases.parquet", "'cases.parquet' names no source"),
        ("ftp://host", "'ftp://…' names no source"),
        ("connect://", "names no source"),
        ("connect://domain/path", "names no source"),
        ("demo://zendesk", "names no source"),
        ("persona://host", "names no source"),
        ("connect://d?regoin=eu-west-2", r"\['regoin'\] says nothing about a source"),
        ("demo://connect?cases=3", r"\['cases'\] says nothing"),
        ("persona://?token=abc", r"\['token'\] says nothing about a source.*credentials come from"),
    ],
)
def test_what_names_no_source_is_refused_with_what_does(text, said):
    with pytest.raises(cs.FilterError, match=said):
        cs.open_source(text)


@pytest.mark.parametrize(
    "text", ["persona://persona_live_abc", "persona://?token=persona_live_abc"]
)
def test_a_token_in_the_wrong_place_is_not_repeated(text):
    """Exceptions end up in logs and saved notebooks."""
    with pytest.raises(cs.FilterError) as refused:
        cs.open_source(text)
    assert "persona_live_abc" not in str(refused.value)


def test_local_sources_take_options_of_their_own():
    with cs.LocalCases(cases=5) as local:
        assert local.connect_cases(page_size=2).page_size == 2
        assert local.persona_cases(version="2025-12-08").version == "2025-12-08"
        assert json.dumps(local.connect_cases().describe())


def test_a_given_rate_holds_for_both_sides():
    """A source that is quicker than its service would be throttled all the time."""
    with cs.LocalCases(cases=5, rate=50) as local:
        assert local.connect_cases().rate_limiter.rate == 50
