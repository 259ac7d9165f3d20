"""The notebook about one's own account: which source it takes, and that it tells no secret."""

import json
from pathlib import Path

import pytest

import casesearch_pd as cs

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "05-your-own-account.ipynb"
KEY, ACCESS, SECRET = "persona_key_of_a_test", "AKID_of_a_test", "secret_of_a_test"
FALLS_BACK = "The embedded service answers"


def code():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """Take every way to an account away: variables, files, and the machine's own role."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "PERSONA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def opened(capsys):
    """Run the cell of parameters, others in their place, and the one that opens a source."""
    running = []

    def run(**parameters):
        names = {}
        exec(code()[0], names)
        names |= parameters
        exec(code()[1], names)
        running.append(names["local"])
        return names["source"], capsys.readouterr().out

    yield run
    for local in running:
        local.stop()


def is_embedded(source):
    return "127.0.0.1" in json.dumps(source.describe())


def give_credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("PERSONA_API_KEY", KEY)


def test_credentials_alone_open_no_account(opened, monkeypatch):
    """Whoever runs all notebooks on a machine with credentials would spend production's quota."""
    give_credentials(monkeypatch)
    source, told = opened()
    assert is_embedded(source)
    assert FALLS_BACK in told


@pytest.mark.parametrize(
    ("service", "remedy"), [("connect", "AWS_PROFILE"), ("persona", "PERSONA_API_KEY")]
)
def test_without_credentials_it_says_what_to_set_and_goes_on(opened, service, remedy):
    source, told = opened(service=service, region="eu-west-2")
    assert is_embedded(source)
    assert FALLS_BACK in told
    assert remedy in told


@pytest.mark.parametrize(
    ("service", "kind"), [("connect", "ConnectCases"), ("persona", "PersonaCases")]
)
def test_with_credentials_it_opens_the_account_at_the_rate_of_the_first_cell(
    opened, monkeypatch, service, kind
):
    give_credentials(monkeypatch)
    source, told = opened(service=service, domain="cases-of-ours", region="eu-west-2")
    assert isinstance(source, getattr(cs, kind))
    assert not is_embedded(source)
    assert source.rate == 1
    assert FALLS_BACK not in told


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_it_says_where_credentials_are_and_nothing_of_them(opened, monkeypatch, service):
    """What is shown is stored, and what is stored is shared."""
    give_credentials(monkeypatch)
    source, told = opened(service=service, region="eu-west-2")
    assert told.strip()
    assert not [one for one in (KEY, ACCESS, SECRET) if one in told + repr(source)]


def test_the_policy_allows_reading_and_nothing_else(capsys):
    """A policy is copied as it stands."""
    names = {"json": json, "region": "eu-west-2", "domain": "cases-of-ours"}
    exec(code()[2], names)
    policy = json.loads(capsys.readouterr().out)
    actions = {action for part in policy["Statement"] for action in part["Action"]}
    told = cs.ConnectCases.__doc__
    assert actions == {word for word in told.replace("`", " ").split() if word.startswith("cases:")}
    places = {place for part in policy["Statement"] for place in part["Resource"]}
    assert places == {
        "arn:aws:cases:eu-west-2:ACCOUNT:domain/cases-of-ours",
        "arn:aws:cases:eu-west-2:ACCOUNT:domain/cases-of-ours/*",
    }
