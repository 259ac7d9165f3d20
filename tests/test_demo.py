"""The demo, and sources opened by an address."""

import io
import json
import runpy
import subprocess
import sys

import boto3
import pytest

import casesearch_pd as cs
from casesearch_pd import demo

SERVICE = {"cases": 5}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    picture = tmp_path_factory.mktemp("demo") / "cases.png"
    out = io.StringIO()
    demo.show(picture, out)
    return out.getvalue(), picture


def test_the_demo_prints_both_reads_and_their_requests(output):
    text, _ = output
    assert "ConnectCases: read_cases(source, status=['open', 'pending']" in text
    assert "PersonaCases: read_cases(source, created_at__gte=" in text
    assert text.count("requests sent:") == 2
    assert "/cases-search" in text
    assert "/api/v1/cases/search" in text
    assert "case_id" in text


def test_the_demo_writes_a_plot_and_prints_its_path(output):
    text, picture = output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture.resolve()) in text


def test_the_next_steps_of_the_demo_work(output):
    """The first thing that a user types must not fail."""
    text, _ = output
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
    "code", ["cs.count_cases(cs.open_source('demo://persona'))", "local = cs.LocalCases(9).start()"]
)
def test_a_process_ends_although_the_service_was_not_stopped(code):
    """Otherwise a script without stop() would never end."""
    command = [sys.executable, "-c", f"import casesearch_pd as cs; {code}"]
    result = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert result.stderr == b""


def test_the_address_of_a_domain(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    boto3.DEFAULT_SESSION = None
    source = cs.open_source("connect://5f1c7B0e?region=eu-west-2")
    assert (source.domain_id, source.region_name) == ("5f1c7B0e", "eu-west-2")


def test_the_address_of_persona(monkeypatch):
    monkeypatch.setenv("PERSONA_API_KEY", "persona_sandbox_x")
    assert cs.open_source("persona://").base_url == "https://api.withpersona.com/api/v1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not the address of a source; use 'connect://DOMAIN"),
        ("cases.parquet", "'cases.parquet' is not the address of a source"),
        ("ftp://host", "'ftp://…' is not the address .* registered with register_source"),
        ("conect://domain", "'conect://…' is not .*; did you mean connect://"),
        ("connect://", "'connect://…' is not the address of a source; use"),
        ("connect://domain/path", "is not the address of a source"),
        ("demo://zendesk", "is not the address of a source"),
        ("persona://host", "is not the address of a source"),
        ("connect://d?regoin=eu-west-2", "unknown parameter 'regoin'; .* accepts region= only"),
        ("demo://connect?cases=3", "unknown parameter 'cases'; demo:// accepts no parameters"),
        ("persona://?token=abc", "unknown parameter 'token'; .*credentials come from the env"),
        (42, "must be text, got 42; use 'connect://DOMAIN"),
        (None, "must be text, got None"),
    ],
)
def test_an_unknown_address_is_an_error_that_lists_the_known_ones(text, message):
    with pytest.raises(cs.FilterError, match=message):
        cs.open_source(text)


@pytest.mark.parametrize(
    "text", ["persona://persona_live_abc", "persona://?token=persona_live_abc"]
)
def test_a_token_in_an_address_is_not_repeated_in_the_error(text):
    """Exceptions end up in logs and saved notebooks."""
    with pytest.raises(cs.FilterError) as error:
        cs.open_source(text)
    assert "persona_live_abc" not in str(error.value)


BROKEN = "[profile x\nregion=\n=broken"
# Settings of a user's account that are out of date or broken.
STALE = [
    {"AWS_PROFILE": "left-over"},
    {"AWS_DEFAULT_PROFILE": "left-over"},
    {"AWS_CONFIG_FILE": "broken"},
    {"AWS_SHARED_CREDENTIALS_FILE": "broken"},
    {"HOME": "home"},
    {"AWS_DEFAULTS_MODE": "unknown"},
    {"AWS_STS_REGIONAL_ENDPOINTS": "unknown"},
    {"AWS_REQUEST_CHECKSUM_CALCULATION": "unknown"},
    {"AWS_RETRY_MODE": "unknown"},
    {"AWS_MAX_ATTEMPTS": "many"},
    {"AWS_METADATA_SERVICE_TIMEOUT": "soon"},
    {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
    {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_CONNECTCASES": "nowhere"},
    {"AWS_DEFAULT_REGION": "no region\n", "AWS_REGION": "no region\n"},
    {"AWS_ACCESS_KEY_ID": "x\n", "AWS_SECRET_ACCESS_KEY": "x\n", "AWS_SESSION_TOKEN": "x\n"},
    {"AWS_CA_BUNDLE": "/nowhere", "REQUESTS_CA_BUNDLE": "/nowhere"},
    {"AWS_SDK_UA_APP_ID": "x" * 200},
    {"PERSONA_API_KEY": "x\n"},
]


@pytest.mark.parametrize("settings", STALE, ids="+".join)
@pytest.mark.parametrize("name", ["connect", "persona"])
def test_the_account_of_the_user_is_not_read(service, name, settings, tmp_path, monkeypatch):
    aws = tmp_path / "home" / ".aws"
    aws.mkdir(parents=True)
    for path in (tmp_path / "broken", aws / "config", aws / "credentials"):
        path.write_text(BROKEN)
    for setting, value in settings.items():
        in_folder = value in ("broken", "home")
        monkeypatch.setenv(setting, str(tmp_path / value) if in_folder else value)
    source = service.connect_cases() if name == "connect" else service.persona_cases()
    assert len(cs.read_cases(source).cases.refresh()) == 5


def test_local_sources_take_options_of_their_own():
    with cs.LocalCases(cases=5) as local:
        assert local.connect_cases(page_size=2).page_size == 2
        assert local.persona_cases(version="2025-12-08").version == "2025-12-08"
        assert json.dumps(local.connect_cases().describe())


def test_the_rate_applies_to_the_service_and_its_sources():
    """A source that is faster than its service would be throttled all the time."""
    with cs.LocalCases(cases=5, rate=50) as local:
        assert local.connect_cases().rate_limiter.rate == 50
