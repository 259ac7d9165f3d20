"""The notebook about the user's own account: the source it opens, and no secret in its output."""

import json
from pathlib import Path

import pytest

import casesearch_pd as cs

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "05-your-own-account.ipynb"
KEY, ACCESS, SECRET = "persona_key_of_a_test", "AKID_of_a_test", "secret_of_a_test"
FALLBACK = "The emulator is used"


def code():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(autouse=True)
def without_account(monkeypatch, tmp_path):
    """Remove all credentials: variables, files, and the machine's own role."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "PERSONA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def open_account(capsys):
    """Return a function that runs the cells up to the source with these parameters."""
    emulators = []

    def run(**parameters):
        names = {}
        exec(code()[0], names)
        names |= parameters
        exec(code()[1], names)
        emulators.append(names["local"])
        return names["source"], capsys.readouterr().out

    yield run
    for local in emulators:
        local.stop()


def is_emulator(source):
    return "127.0.0.1" in json.dumps(source.describe())


def set_credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("PERSONA_API_KEY", KEY)


def test_credentials_alone_do_not_open_an_account(open_account, monkeypatch):
    """Otherwise a run of all notebooks could use production's quota."""
    set_credentials(monkeypatch)
    source, text = open_account()
    assert is_emulator(source)
    assert FALLBACK in text


@pytest.mark.parametrize(
    ("service", "remedy"), [("connect", "AWS_PROFILE"), ("persona", "PERSONA_API_KEY")]
)
def test_without_credentials_it_prints_what_to_set_and_uses_the_emulator(
    open_account, service, remedy
):
    source, text = open_account(service=service, region="eu-west-2")
    assert is_emulator(source)
    assert FALLBACK in text
    assert remedy in text


@pytest.mark.parametrize(
    ("service", "kind"), [("connect", "ConnectCases"), ("persona", "PersonaCases")]
)
def test_with_credentials_the_account_is_opened_at_the_given_rate(
    open_account, monkeypatch, service, kind
):
    set_credentials(monkeypatch)
    source, text = open_account(service=service, domain="cases-of-ours", region="eu-west-2")
    assert isinstance(source, getattr(cs, kind))
    assert not is_emulator(source)
    assert source.rate == 1
    assert FALLBACK not in text


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_it_prints_the_source_of_credentials_and_not_the_credentials(
    open_account, monkeypatch, service
):
    """A notebook stores its output, and is shared with it."""
    set_credentials(monkeypatch)
    source, text = open_account(service=service, region="eu-west-2")
    assert text.strip()
    assert not [one for one in (KEY, ACCESS, SECRET) if one in text + repr(source)]


def test_the_policy_permits_only_reading(capsys):
    """A policy is copied unchanged."""
    names = {"json": json, "region": "eu-west-2", "domain": "cases-of-ours"}
    exec(code()[2], names)
    policy = json.loads(capsys.readouterr().out)
    actions = {action for part in policy["Statement"] for action in part["Action"]}
    words = cs.ConnectCases.__doc__.replace("`", " ").split()
    assert actions == {word for word in words if word.startswith("cases:")}
    resources = {one for part in policy["Statement"] for one in part["Resource"]}
    assert resources == {
        "arn:aws:cases:eu-west-2:ACCOUNT:domain/cases-of-ours",
        "arn:aws:cases:eu-west-2:ACCOUNT:domain/cases-of-ours/*",
    }
