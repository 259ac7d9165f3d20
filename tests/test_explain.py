"""`explain_cases`: what a read is going to send, told before it is sent."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

import casesearch_pd as cs

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
HOSTILE = '<img src=x onerror=alert(1)> & "it\'s" $(true) `true` \\ ärger'
MANY = [f"stage {number}" for number in range(401)]
QUESTIONS = {
    "everything": {},
    "one status": {"status": "open", "columns": ["status", "created_at"]},
    "a period": {"created_at__gte": "2026-02", "columns": ["case_id"], "tz": "Europe/Berlin"},
    "text": {"title__contains": "App", "columns": ["case_id"]},
    "hostile text": {"title": HOSTILE, "columns": ["title"]},
    "missing": {"closed_at": None, "columns": ["case_id"]},
    "a head": {"sort": "-updated_at", "limit": 7, "columns": ["case_id"]},
    "nobody": {"title": "no such title"},
    "no question": {"status": []},
    "a tree": {"where": ~((cs.field("status") == "open") | (cs.field("created_at") < "2026-01"))},
    "many values": {"where": {"status": ["open", "pending", *MANY]}, "columns": ["status"]},
    "two ids": {"case_id": ["case_1CYf8QGcHTmpcoZ1ruM8pAKa", "nobody"], "columns": ["status"]},
}
pytestmark = pytest.mark.filterwarnings("ignore:.*is not an option", "ignore:.*nothing of this")


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=429, seed=3, now=NOW) as service:
        service.insert({"title": HOSTILE, "created_at": datetime(2026, 1, 5, tzinfo=UTC)})
        service.advance(60)  # what changes while it is read costs more than was reckoned
        yield service


@pytest.fixture(scope="module", params=["connect", "persona"])
def source(request, local):
    made = getattr(local, f"{request.param}_cases")()
    assert made.schema  # discovery is told apart
    return made


@pytest.fixture(params=QUESTIONS)
def question(request):
    return QUESTIONS[request.param]


def sent(local):
    return [(item.method, item.path, item.query, json.dumps(item.body)) for item in local.requests]


def told(request):
    query = {}
    for name, value in request.query:
        query.setdefault(name, []).append(value)
    return (request.method, request.path, query, json.dumps(request.body))


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_nothing_but_discovery_is_sent(local, service):
    """Who asks what a read costs must not pay for it."""
    fresh = getattr(local, f"{service}_cases")()
    local.requests.clear()
    cs.explain_cases(fresh, status="open")
    discovery = len(local.requests)
    assert discovery
    assert not any("search" in item.path for item in local.requests)
    plan = cs.explain_cases(fresh, title__contains="a", sort="title")
    assert repr(plan)
    assert plan._repr_html_()
    assert plan.commands
    assert len(local.requests) == discovery


def test_the_requests_are_those_that_are_sent(local, source, question):
    """A request that is only like the one sent explains another read."""
    plan = cs.explain_cases(source, **question)
    local.requests.clear()
    cs.read_cases(source, **question)
    first = sent(local)
    asked = [told(request) for request in plan.requests]
    assert asked[:1] == first[:1]
    if question != QUESTIONS["nobody"]:  # where the first pass finds nothing there is no second
        assert all(request in first for request in asked)


def test_the_count_is_what_a_read_sends(local, source, question):
    """A read that costs more than was told is a broken promise to whoever shares the quota."""
    cost = cs.explain_cases(source, **question).count()
    local.requests.clear()
    frame = cs.read_cases(source, **question, lookback=0)  # nothing changed just before the read
    assert cost.requests == len(local.requests)
    assert cost.cases >= len(frame)
    assert cost.seconds == 0  # this source never waits


def test_what_only_the_service_sees_is_swept_part_by_part(local):
    """One walk over all that changed could not be checked here: it would drop every change."""
    source = local.persona_cases()
    question = {"assignee": local.user_id("ann@example.com"), "status": ["open", "closed", *MANY]}
    plan = cs.explain_cases(source, columns=["case_id"], **question)
    cost = plan.count()
    local.requests.clear()
    assert len(cs.read_cases(source, columns=["case_id"], **question)) == cost.cases > 0
    assert len(local.requests) == cost.requests == cost.pages + plan.partitions


def test_a_count_costs_one_request_for_each_partition_on_connect(local):
    source = local.connect_cases()
    plan = cs.explain_cases(source, status="open")
    local.requests.clear()
    assert plan.count().cases == cs.count_cases(source, status="open")
    assert [item.body["maxResults"] for item in local.requests] == [1, 1]


def test_the_seconds_are_those_of_the_rate(local):
    """Burst first, then so many a second: what the quota of the service lets pass."""
    source = local.connect_cases(rate=2, burst=3)
    cost = cs.explain_cases(source, columns=["case_id"]).count()
    assert (cost.cases, cost.pages, cost.requests) == (430, 5, 5)
    assert cost.seconds == pytest.approx((5 - 3) / 2)


def test_what_is_checked_here_is_told_with_the_reason(local):
    connect, persona = local.connect_cases(), local.persona_cases()
    plan = cs.explain_cases(connect, title="App", closed_at=None, status="open")
    assert plan.rechecked == {
        "field('title') == 'App'": "the service's answer may be too wide",
        "field('closed_at').isna()": "the service cannot compare this",
    }
    finer = pd.Timestamp("2026-03-01T00:00:00.000500Z")
    plan = cs.explain_cases(connect, created_at__gte=finer)
    assert [*plan.rechecked.values()] == ["the service's answer may be too wide"]
    assert cs.explain_cases(connect, status="open").rechecked == {}
    assert cs.explain_cases(persona, state="open").rechecked == {}
    plan = cs.explain_cases(persona, title__contains="App", status="open")
    assert plan.rechecked["field('title').contains('App')"] == "the service cannot compare this"


def test_what_fits_the_service_but_not_its_requests_is_told(local):
    """Two hundred alternatives of two fields are no hundred requests; they are checked here."""
    term = cs.field("csat_1_5") > 2
    for number in range(80):
        pair = (cs.field("contacts") > number) & (cs.field("risk_score") < number)
        term = term | (pair & (cs.field("csat_1_5") > number - 100))
        term = term | (pair & ~(cs.field("weight_kg") > number))
    plan = cs.explain_cases(local.persona_cases(), term & (cs.field("created_at") >= "2026"))
    assert "created_at" in repr(plan.pushed)
    assert {*plan.rechecked.values()} == {
        "fits the service, but not into its requests together with the rest"
    }


def test_passes_and_partitions_are_told(local):
    connect = cs.explain_cases(local.connect_cases())
    assert (connect.passes, connect.partitions, len(connect.requests)) == (2, 1, 2)
    persona = cs.explain_cases(local.persona_cases(), status=MANY)
    assert (persona.passes, persona.partitions, len(persona.requests)) == (1, 21, 21)


def test_a_plan_is_one_line(source, question):
    """What a notebook prints in passing may not fill the screen."""
    shown = repr(cs.explain_cases(source, **question))
    assert "\n" not in shown
    assert len(shown) < 500
    assert shown.startswith(f"Plan({source.name}: ")


def test_html_holds_no_markup_of_the_values(source):
    """A filter value that came from a case could run in the notebook of whoever reads it."""
    filters = {"title": HOSTILE, "summary__contains": HOSTILE, "status": HOSTILE}
    html = cs.explain_cases(source, **filters)._repr_html_()
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "the service" in html


def test_html_says_what_is_asked_and_what_is_checked(source):
    html = cs.explain_cases(source, title__contains="App", closed_at=None)._repr_html_()
    for words in ("Asked of the service", "Checked here", "the service cannot compare this"):
        assert words in html
    assert "nothing" in cs.explain_cases(source, created_at__gte="2026")._repr_html_()
    assert "no case can match" in cs.explain_cases(source, status=[])._repr_html_()


# --- for the shell -----------------------------------------------------------------------------


def run(command, **variables):
    """Run a command as a user would who copied it, with credentials from the environment."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=True,
        env={**kept, "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["one status", "a period", "hostile text", "a head"])
def test_the_aws_command_runs_as_it_is(local, name):
    """A command that has to be mended first explains nothing."""
    source, question = local.connect_cases(), QUESTIONS[name]
    (command,) = cs.explain_cases(source, **question).commands
    answer = run(
        command,
        AWS_ACCESS_KEY_ID="AKIDTEST",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_PAGER="",
        AWS_DEFAULT_OUTPUT="json",
    )
    assert_same_cases(source, question, [case["caseId"] for case in answer["cases"]])


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
@pytest.mark.parametrize("name", ["one status", "a period", "hostile text", "a head"])
def test_the_curl_command_runs_as_it_is(local, name):
    source, question = local.persona_cases(), QUESTIONS[name]
    (command,) = cs.explain_cases(source, **question).commands
    assert local.token not in command
    answer = run(command, PERSONA_API_KEY=local.token)
    assert_same_cases(source, question, [case["id"] for case in answer["data"]])


def assert_same_cases(source, question, ids):
    """Compare a first page with the head of a read."""
    shown = {"columns": ["case_id", *question.get("columns", ())]}
    head = cs.read_cases(source, **question | shown)["case_id"].head(100).tolist()
    assert head
    assert ids[: len(head)] == head
    assert len(ids) == (100 if "limit" in question else len(head))
