"""`explain_cases`: what a read would send and cost."""

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
MANY_STATUSES = [f"stage {number}" for number in range(401)]
FILTERS = {
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
    "many values": {
        "where": {"status": ["open", "pending", *MANY_STATUSES]},
        "columns": ["status"],
    },
    "two ids": {"case_id": ["case_1CYf8QGcHTmpcoZ1ruM8pAKa", "nobody"], "columns": ["status"]},
}
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is not an option", "ignore:.*cannot evaluate this filter"
)


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=429, seed=3, now=NOW) as service:
        service.insert({"title": HOSTILE, "created_at": datetime(2026, 1, 5, tzinfo=UTC)})
        service.advance(60)  # changes during a read would cost more than estimated
        yield service


@pytest.fixture(scope="module", params=["connect", "persona"])
def source(request, local):
    source = getattr(local, f"{request.param}_cases")()
    assert source.schema  # discovery is counted separately
    return source


@pytest.fixture(params=FILTERS)
def filters(request):
    return FILTERS[request.param]


def sent_requests(local):
    return [(item.method, item.path, item.query, json.dumps(item.body)) for item in local.requests]


def as_sent(request):
    query = {}
    for name, value in request.query:
        query.setdefault(name, []).append(value)
    return (request.method, request.path, query, json.dumps(request.body))


@pytest.mark.parametrize("service", ["connect", "persona"])
def test_nothing_but_discovery_is_sent(local, service):
    """Asking for the cost of a read must not cost anything."""
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


def test_the_requests_are_the_ones_that_a_read_sends(local, source, filters):
    """A request that differs from the one sent would explain another read."""
    plan = cs.explain_cases(source, **filters)
    local.requests.clear()
    cs.read_cases(source, **filters)
    first = sent_requests(local)
    explained = [as_sent(request) for request in plan.requests]
    assert explained[:1] == first[:1]
    if filters != FILTERS["nobody"]:  # where the first pass finds nothing there is no second
        assert all(request in first for request in explained)


def test_the_cost_is_what_a_read_sends(local, source, filters):
    """A read that costs more than estimated surprises those who share the quota."""
    cost = cs.explain_cases(source, **filters).count()
    local.requests.clear()
    frame = cs.read_cases(source, **filters, lookback=0)  # nothing changed just before the read
    assert cost.requests == len(local.requests)
    assert cost.cases >= len(frame)
    assert cost.seconds == 0  # this source never waits


def test_changes_of_a_remote_only_filter_are_read_part_by_part(local):
    """One scan over all changes could not be filtered locally: it would drop every change."""
    source = local.persona_cases()
    filters = {
        "assignee": local.user_id("ann@example.com"),
        "status": ["open", "closed", *MANY_STATUSES],
    }
    plan = cs.explain_cases(source, columns=["case_id"], **filters)
    cost = plan.count()
    local.requests.clear()
    assert len(cs.read_cases(source, columns=["case_id"], **filters)) == cost.cases > 0
    assert len(local.requests) == cost.requests == cost.pages + plan.partitions


def test_a_count_costs_one_request_for_each_partition_on_connect(local):
    source = local.connect_cases()
    plan = cs.explain_cases(source, status="open")
    local.requests.clear()
    assert plan.count().cases == cs.count_cases(source, status="open")
    assert [item.body["maxResults"] for item in local.requests] == [1, 1]


def test_the_seconds_follow_from_the_rate(local):
    """The burst is free; then the rate applies."""
    source = local.connect_cases(rate=2, burst=3)
    cost = cs.explain_cases(source, columns=["case_id"]).count()
    assert (cost.cases, cost.pages, cost.requests) == (430, 5, 5)
    assert cost.seconds == pytest.approx((5 - 3) / 2)


def test_conditions_filtered_locally_are_explained(local):
    connect, persona = local.connect_cases(), local.persona_cases()
    plan = cs.explain_cases(connect, title="App", closed_at=None, status="open")
    assert plan.rechecked == {
        "field('title') == 'App'": "the service may return more cases than match",
        "field('closed_at').isna()": "the service cannot compare this",
    }
    finer = pd.Timestamp("2026-03-01T00:00:00.000500Z")
    plan = cs.explain_cases(connect, created_at__gte=finer)
    assert [*plan.rechecked.values()] == ["the service may return more cases than match"]
    assert cs.explain_cases(connect, status="open").rechecked == {}
    assert cs.explain_cases(persona, state="open").rechecked == {}
    plan = cs.explain_cases(persona, title__contains="App", status="open")
    assert plan.rechecked["field('title').contains('App')"] == "the service cannot compare this"


def test_a_filter_too_large_for_a_request_is_explained(local):
    """Two hundred alternatives of two fields are filtered locally, not sent in many requests."""
    term = cs.field("csat_1_5") > 2
    for number in range(80):
        pair = (cs.field("contacts") > number) & (cs.field("risk_score") < number)
        term = term | (pair & (cs.field("csat_1_5") > number - 100))
        term = term | (pair & ~(cs.field("weight_kg") > number))
    plan = cs.explain_cases(local.persona_cases(), term & (cs.field("created_at") >= "2026"))
    assert "created_at" in repr(plan.pushed)
    assert {*plan.rechecked.values()} == {
        "the service supports this, but not in one request with the rest"
    }


def test_passes_and_partitions_are_counted(local):
    connect = cs.explain_cases(local.connect_cases())
    assert (connect.passes, connect.partitions, len(connect.requests)) == (2, 1, 2)
    persona = cs.explain_cases(local.persona_cases(), status=MANY_STATUSES)
    assert (persona.passes, persona.partitions, len(persona.requests)) == (1, 21, 21)


def test_a_plan_is_one_line(source, filters):
    """The repr in a notebook must not fill the screen."""
    columns = repr(cs.explain_cases(source, **filters))
    assert "\n" not in columns
    assert len(columns) < 500
    assert columns.startswith(f"Plan({source.name}: ")


def test_html_escapes_the_values(source):
    """A filter value that came from a case could otherwise run as a script in a notebook."""
    filters = {"title": HOSTILE, "summary__contains": HOSTILE, "status": HOSTILE}
    html = cs.explain_cases(source, **filters)._repr_html_()
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "the service" in html


def test_html_shows_the_pushed_and_the_local_part(source):
    html = cs.explain_cases(source, title__contains="App", closed_at=None)._repr_html_()
    for words in ("Pushed to the service", "Filtered locally", "the service cannot compare this"):
        assert words in html
    assert "nothing" in cs.explain_cases(source, created_at__gte="2026")._repr_html_()
    assert "no case can match" in cs.explain_cases(source, status=[])._repr_html_()


# --- for the shell --------------------------------------------------------------------------------


def run(command, **variables):
    """Run a command as copied by a user, with credentials from the environment."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(
        command,
        shell=True,
        env={**environment, "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize("name", ["one status", "a period", "hostile text", "a head"])
def test_the_aws_command_runs_unchanged(local, name):
    """A command that has to be corrected first is no explanation."""
    source, filters = local.connect_cases(), FILTERS[name]
    (command,) = cs.explain_cases(source, **filters).commands
    response = run(
        command,
        AWS_ACCESS_KEY_ID="AKIDTEST",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_PAGER="",
        AWS_DEFAULT_OUTPUT="json",
    )
    assert_same_cases(source, filters, [case["caseId"] for case in response["cases"]])


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
@pytest.mark.parametrize("name", ["one status", "a period", "hostile text", "a head"])
def test_the_curl_command_runs_unchanged(local, name):
    source, filters = local.persona_cases(), FILTERS[name]
    (command,) = cs.explain_cases(source, **filters).commands
    assert local.token not in command
    response = run(command, PERSONA_API_KEY=local.token)
    assert_same_cases(source, filters, [case["id"] for case in response["data"]])


def assert_same_cases(source, filters, ids):
    """Check that a first page has the first rows of a read."""
    columns = {"columns": ["case_id", *filters.get("columns", ())]}
    head = cs.read_cases(source, **filters | columns)["case_id"].head(100).tolist()
    assert head
    assert ids[: len(head)] == head
    assert len(ids) == (100 if "limit" in filters else len(head))
