"""The sentence before a run, read aloud: what is asked, and what it is going to take."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
import pytest
from casesearch_pd.form.model.question import FormQuery

import casesearch_pd as cs
from casesearch_pd.form.model.sentence import expected_rows, prefix_for, sentence_for
from casesearch_pd.query.expressions import FALSE, TRUE
from casesearch_pd.query.schema import Field, Option, Schema
from casesearch_pd.reading.explain import Cost, Plan
from casesearch_pd.render.sentences import describe_filter
from tests.law_bench import quietly

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=60, seed=3, now=NOW) as service:
        yield service


@pytest.fixture(scope="module")
def connect(local):
    return local.connect_cases(rate=1.6)


@pytest.fixture(scope="module")
def persona(local):
    return local.persona_cases(rate=4)


def question(source, where=None, **given):
    options = ("search", "tags", "columns", "sort", "limit", "tz")
    filters = {name: value for name, value in given.items() if name not in options}
    asked_for = {name: value for name, value in given.items() if name in options}
    with quietly():
        return FormQuery.of(source, where, filters, **asked_for)


def plan(source, where=None, **given):
    with quietly():
        return cs.explain_cases(source, where, **given)


WEEK = pd.Timedelta(days=-7)
name = cs.field
ASKED = [
    ({}, "Every case."),
    ({"limit": 1, "sort": "created_at"}, "Every case, oldest first, at most 1."),
    (
        {
            "status": ["open", "pending"],
            "created_at__gte": WEEK,
            "sort": "-created_at",
            "limit": 20,
        },
        (
            "Cases whose Status is Open or Waiting for customer and Created is within the "
            "last 7 days, "
            "newest first, at most 20."
        ),
    ),
    (
        {"created_at__gte": pd.Timedelta(days=-1), "updated_at__lt": pd.Timedelta(hours=-3)},
        "Cases whose Created is within the last day and Last updated is earlier than 3 hours ago.",
    ),
    (
        {"sla_at__gte": WEEK, "created_at__lt": pd.Timedelta(0)},
        "Cases whose Next SLA breach is 7 days ago or later and Created is earlier than now.",
    ),
    (
        {"created_at": "2026-03", "sort": ["status", "-updated_at"], "tz": "Europe/Berlin"},
        (
            "Cases whose Created is in 2026-03, sorted by Status and Last updated descending, "
            "times are of Europe/Berlin."
        ),
    ),
    (
        {"created_at__ne": "2026-03-14", "updated_at__between": ("2026", "2026-02")},
        "Cases whose Created is not on 2026-03-14 and Last updated is from 2026 to 2026-02.",
    ),
    (
        {
            "where": (name("status") != "open")
            & ~name("title").contains("x")
            & name("queue").notna()
        },
        (
            "Cases whose Status is not Open and Title does not contain 'x' and Assigned queue is "
            "there."
        ),
    ),
    (
        {"where": ~((name("status") == "open") | name("queue").isna())},
        "Cases, but not those whose Status is Open or Assigned queue is missing.",
    ),
    (
        {"where": ~(name("created_at") < "2026"), "tags": {"team": "red"}},
        "Cases, but not those whose Created is before 2026, and that bear the tag 'team=red'.",
    ),
    (
        {"where": (name("title") == "a") | ((name("title") == "b") & (name("title") != "B"))},
        "Cases whose Title is 'a' or (Title is 'b' and Title is not 'B').",
    ),
    (
        {"search": "refund", "tags": ["team=red", "tier=a"], "status": "closed"},
        (
            "Cases whose Status is Closed, that bear the tags 'team=red' and 'tier=a', and that a "
            "search for 'refund' finds."
        ),
    ),
    (
        {"title": [f"t{number}" for number in range(40)]},
        "Cases whose Title is 't0', 't1', 't2', 't3', 't4', 't5', 't6' or 33 others.",
    ),
    ({"where": name("tags").contains("team=red")}, "Cases whose Tags has 'team=red'."),
    ({"status": "nowhere"}, "Cases whose Status is 'nowhere'."),
]


@pytest.mark.parametrize(("given", "said"), ASKED, ids=[said[:40] for _, said in ASKED])
def test_a_question_is_said_in_plain_english(connect, given, said):
    """What the form is about to ask must be clear to whoever does not know filters."""
    assert sentence_for(question(connect, **given), connect.schema) == said


def cost(cases, pages, requests, seconds):
    return Cost(cases=cases, pages=pages, requests=requests, seconds=seconds)


COSTS = [
    (
        {"status": "open"},
        cost(1_234, 13, 15, 7.6),
        "1,234 cases match: 13 pages, 15 requests, about 8 s at 1.6 requests a second.",
    ),
    (
        {"status": "open"},
        cost(1, 1, 1, 0.0),
        "1 case matches: 1 page, 1 request, without a wait at 1.6 requests a second.",
    ),
    ({"status": "open"}, cost(0, 1, 1, 0.0), "No case matches."),
    (
        {"created_at__lt": "2026", "limit": 20, "columns": ["case_id"]},
        cost(20, 1, 1, 0.0),
        (
            "At least 20 cases match, and 20 are read: 1 page, 1 request, without a wait at 1.6 "
            "requests a second."
        ),
    ),
    (
        {"created_at__lt": "2026", "limit": 1, "columns": ["case_id"]},
        cost(1, 1, 1, 0.0),
        (
            "At least 1 case matches, and 1 is read: 1 page, 1 request, without a wait at 1.6 "
            "requests a second."
        ),
    ),
    (
        {"created_at__lt": "2026", "limit": 20, "sort": "title"},
        cost(430, 5, 5, 0.0),
        (
            "430 cases match, and all are read to find the first 20: 5 pages, 5 requests, "
            "without a "
            "wait at 1.6 requests a second."
        ),
    ),
    (
        {"closed_at": None, "columns": ["case_id"]},
        cost(1_234, 13, 15, 300.0),
        (
            "Up to 1,234 cases come home (13 pages, 15 requests, about 5 minutes at 1.6 requests a "
            "second) and are checked here: Last closed is missing (the service cannot "
            "compare this)."
        ),
    ),
    (
        {"title": ["a", "b", "c", "d", "e"], "columns": ["case_id"]},
        cost(1, 1, 1, 9_000.0),
        (
            "Up to 1 case comes home (1 page, 1 request, about 2.5 hours at 1.6 requests a second) "
            "and is checked here: Title is 'a', Title is 'b' and 3 others (the service's "
            "answer may "
            "be too wide)."
        ),
    ),
    ({"status": "open"}, None, "How many cases match has not been counted yet."),
    ({"status": []}, None, "No case can match: nothing is read."),
    ({"limit": 0}, None, "Nothing is read."),
]


@pytest.mark.parametrize(("given", "known", "said"), COSTS, ids=[said[:40] for *_, said in COSTS])
def test_what_a_read_takes_is_said(connect, given, known, said):
    """Who sees 8 seconds waits; who sees 5 minutes asks for less."""
    assert expected_rows(plan(connect, **given), known) == said


PERSONA = [
    (
        {"status": "open"},
        (
            "Persona does not tell how many match; every 10,000 cases take 100 requests, "
            "about 25 s "
            "at 4 requests a second. Checked here: Status is 'open' (the service's answer "
            "may be too "
            "wide)."
        ),
    ),
    (
        {"created_at__gte": "2026", "title__contains": "x"},
        (
            "Persona does not tell how many match; every 10,000 cases take 100 requests, "
            "about 25 s "
            "at 4 requests a second. Checked here: Title contains 'x' (the service cannot compare "
            "this)."
        ),
    ),
    ({"case_id": ["case_a", "case_b"]}, "2 requests, one for each case."),
    ({"case_id": "case_a"}, "1 request, for one case."),
]


@pytest.mark.parametrize(("given", "said"), PERSONA, ids=[said[:40] for _, said in PERSONA])
def test_where_nobody_counts_the_price_is_said(persona, given, said):
    """A count that nobody can know must not be made up."""
    assert expected_rows(plan(persona, **given)) == said


def test_an_unpaced_source_names_no_rate(local):
    source = local.connect_cases()
    known = cost(5, 1, 1, 0.0)
    assert expected_rows(plan(source), known) == "5 cases match: 1 page, 1 request, without a wait."


@dataclass(frozen=True)
class Told:
    """What a form knows of its question."""

    question: FormQuery
    plan: Plan | None = None
    cost: Cost | None = None
    counting: bool = False


def test_the_sentence_grows_with_what_is_known(local, connect):
    """Nothing is sent for it: the form says it at every keystroke."""
    said = question(connect, status="open")
    shape = plan(connect, status="open")
    local.requests.clear()
    assert prefix_for(Told(said), connect) == "Cases whose Status is Open."
    assert prefix_for(Told(said, shape, counting=True), connect) == (
        "Cases whose Status is Open. Counting how many cases match …"
    )
    assert prefix_for(Told(said, shape, cost(2, 1, 1, 0.0)), connect) == (
        "Cases whose Status is Open. 2 cases match: 1 page, 1 request, without a wait at 1.6 "
        "requests a second."
    )
    assert not local.requests


# --- words by a schema ------------------------------------------------------------------------

ALIKE = Schema(
    (
        Field("created_at", "created_datetime", "Created", "datetime"),
        Field("status", "status", "Status", "select", options=(Option("a", "On  hold\n"),)),
        Field("status_1", "s1", "Status", "select", "custom"),
        Field("team_1", "t1", "Team", "text", "custom"),
        Field("team_2", "t2", "Team", "text", "custom"),
        Field("bare", "b", "", "boolean", "custom"),
        Field("twins", "w", "Twins", "select", "custom", (Option("x", "T"), Option("y", "T"))),
    )
)


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (name("status") == "a", "Status is On hold"),
        (name("status_1") == "a", "Status (status_1) is 'a'"),
        (name("team_1") == "a", "Team (team_1) is 'a'"),
        (name("bare") == True, "(bare) is yes"),  # noqa: E712 - a filter
        (name("twins").isin(["x", "y"]), "Twins is 'x' or 'y'"),
        (name("no such") == "a", "no such is 'a'"),
        (name("team_1") == "2026-03", "Team (team_1) is 2026-03"),
        ((name("created_at") >= WEEK), "Created is not before 7 days before the read"),
        (TRUE, "every case"),
        (FALSE, "no case"),
        (
            name("status").isin(["a", "b"]) & (name("created_at") >= WEEK),
            "Status is On hold or 'b' and Created is not before 7 days before the read",
        ),
    ],
)
def test_fields_and_choices_are_said_by_their_labels(term, said):
    """Two fields of one label must still be told apart."""
    assert describe_filter(term, ALIKE) == said


def test_a_long_text_is_cut_before_a_read_only():
    """A sentence is read at a glance; a report says all."""
    term = name("team_1") == "x" * 500
    assert len(describe_filter(term, ALIKE, before_read=True)) < 120
    assert "x" * 500 in describe_filter(term, ALIKE)
