"""The sentences above the Search button: what a form searches for, and what the search costs."""

from dataclasses import dataclass

import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.form.model.query import FormQuery
from casesearch_pd.form.model.sentence import cost_sentence, preview_sentences, query_sentence
from casesearch_pd.form.model.tree import Group, Rule
from casesearch_pd.query.expressions import FALSE, TRUE
from casesearch_pd.query.schema import Field, Option, Schema
from casesearch_pd.reading.explain import RESIDUAL_REASONS, Cost, Plan
from casesearch_pd.reading.options import Query
from casesearch_pd.render.sentences import describe_filter
from tests.law_bench import quietly

SERVICE = {"cases": 60, "seed": 3}
SOURCES = {"connect": {"rate": 1.6}, "persona": {"rate": 4}}


@pytest.fixture
def connect(local):
    return local.sources["connect"]


def form_query(source, where=None, **arguments):
    names = {"search", "tags", "columns", "sort", "limit", "tz"}
    options = {name: value for name, value in arguments.items() if name in names}
    filters = {name: value for name, value in arguments.items() if name not in names}
    with quietly():
        return FormQuery.from_query(source, Query(where=where, filters=filters, **options))


def plan(source, **arguments):
    with quietly():
        return cs.explain_cases(source, **arguments)


UNSUPPORTED, INEXACT = RESIDUAL_REASONS["unsupported"], RESIDUAL_REASONS["inexact"]
WEEK = pd.Timedelta(days=-7)
name = cs.field
QUERIES = [
    ({}, "All cases."),
    ({"limit": 1, "sort": "created_at"}, "All cases, oldest first, at most 1."),
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
            "times in Europe/Berlin."
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
            "not empty."
        ),
    ),
    (
        {"where": ~((name("status") == "open") | name("queue").isna())},
        "Cases except those whose Status is Open or Assigned queue is empty.",
    ),
    (
        {"where": ~(name("created_at") < "2026"), "tags": {"team": "red"}},
        "Cases with the tag 'team=red', except those whose Created is before 2026.",
    ),
    (
        {"where": (name("title") == "a") | ((name("title") == "b") & (name("title") != "B"))},
        "Cases whose Title is 'a' or (Title is 'b' and Title is not 'B').",
    ),
    (
        {"search": "refund", "tags": ["team=red", "tier=a"], "status": "closed"},
        (
            "Cases whose Status is Closed, with the tags 'team=red' and 'tier=a', and that match "
            "the search 'refund'."
        ),
    ),
    (
        {"title": [f"t{number}" for number in range(40)]},
        "Cases whose Title is 't0', 't1', 't2', 't3', 't4', 't5', 't6' or 33 others.",
    ),
    ({"where": name("tags").contains("team=red")}, "Cases whose Tags has 'team=red'."),
    ({"status": "nowhere"}, "Cases whose Status is 'nowhere'."),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), QUERIES, ids=[sentence[:40] for _, sentence in QUERIES]
)
def test_a_query_is_described_in_plain_english(connect, arguments, sentence):
    """Users who do not know filters must understand what the form searches for."""
    assert query_sentence(form_query(connect, **arguments), connect.schema) == sentence


def test_a_label_that_begins_with_not_is_no_negation():
    """The sentence would say the opposite."""
    schema = Schema((Field("unpaid", "u", "not paid", "boolean", "custom"),))
    query = FormQuery(tree=Group(members=(Rule("unpaid", "eq", True),)))
    assert query_sentence(query, schema) == "Cases whose not paid is yes."


def cost(cases, pages, requests, seconds):
    return Cost(cases=cases, pages=pages, requests=requests, seconds=seconds)


COSTS = [
    (
        {"status": "open"},
        cost(1_234, 13, 15, 7.6),
        "1,234 cases match: 13 pages, 15 requests, about 8 s at 1.6 requests per second.",
    ),
    (
        {"status": "open"},
        cost(1, 1, 1, 0.0),
        "1 case matches: 1 page, 1 request, no waiting at 1.6 requests per second.",
    ),
    ({"status": "open"}, cost(0, 1, 1, 0.0), "No case matches."),
    (
        {"created_at__lt": "2026", "limit": 20, "columns": ["case_id"]},
        cost(20, 1, 1, 0.0),
        (
            "At least 20 cases match, and 20 are read: 1 page, 1 request, no waiting at 1.6 "
            "requests per second."
        ),
    ),
    (
        {"created_at__lt": "2026", "limit": 1, "columns": ["case_id"]},
        cost(1, 1, 1, 0.0),
        (
            "At least 1 case matches, and 1 is read: 1 page, 1 request, no waiting at 1.6 "
            "requests per second."
        ),
    ),
    (
        {"created_at__lt": "2026", "limit": 20, "sort": "title"},
        cost(430, 5, 5, 0.0),
        (
            "430 cases match, and all are read to find the first 20: 5 pages, 5 requests, "
            "no waiting at 1.6 requests per second."
        ),
    ),
    (
        {"closed_at": None, "columns": ["case_id"]},
        cost(1_234, 13, 15, 300.0),
        (
            f"Up to 1,234 cases are fetched and filtered locally (13 pages, 15 requests, about 5 "
            f"minutes at 1.6 requests per second): Last closed is empty ({UNSUPPORTED})."
        ),
    ),
    (
        {"title": ["a", "b", "c", "d", "e"], "columns": ["case_id"]},
        cost(1, 1, 1, 9_000.0),
        (
            f"Up to 1 case is fetched and filtered locally (1 page, 1 request, about 2.5 hours at "
            f"1.6 requests per second): Title is 'a', Title is 'b' and 3 others ({INEXACT})."
        ),
    ),
    ({"status": "open"}, None, "The matching cases have not been counted yet."),
    ({"status": []}, None, "No case can match: no request is sent."),
    ({"limit": 0}, None, "The limit is 0: no request is sent."),
]


@pytest.mark.parametrize(
    ("arguments", "count", "sentence"), COSTS, ids=[sentence[:40] for *_, sentence in COSTS]
)
def test_the_cost_of_a_search_is_described(connect, arguments, count, sentence):
    """A user waits for 8 seconds, but narrows a search of 5 minutes."""
    assert cost_sentence(plan(connect, **arguments), count) == sentence


PERSONA = [
    (
        {"status": "open"},
        (
            "Persona cannot count the matching cases; 10,000 cases take 100 requests, about 25 s "
            f"at 4 requests per second. Filtered locally: Status is 'open' ({INEXACT})."
        ),
    ),
    (
        {"created_at__gte": "2026", "title__contains": "x"},
        (
            "Persona cannot count the matching cases; 10,000 cases take 100 requests, about 25 s "
            f"at 4 requests per second. Filtered locally: Title contains 'x' ({UNSUPPORTED})."
        ),
    ),
    ({"case_id": ["case_a", "case_b"]}, "2 requests, one for each case."),
    ({"case_id": "case_a"}, "1 request, for one case."),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), PERSONA, ids=[sentence[:40] for _, sentence in PERSONA]
)
def test_without_a_count_the_cost_of_an_example_is_described(local, arguments, sentence):
    """A count that the service does not return must not be invented."""
    assert cost_sentence(plan(local.sources["persona"], **arguments)) == sentence


def test_a_source_without_a_rate_limit_names_no_rate(local):
    source = local.connect_cases()
    sentence = cost_sentence(plan(source), cost(5, 1, 1, 0.0))
    assert sentence == "5 cases match: 1 page, 1 request, no waiting."


@dataclass(frozen=True)
class KnownSearch:
    """What a form knows about its search."""

    query: FormQuery
    plan: Plan | None = None
    cost: Cost | None = None
    is_counting: bool = False


def test_the_sentences_grow_with_what_is_known(local, connect):
    """No request is sent for them: the form shows them at every keystroke."""
    query = form_query(connect, status="open")
    read = plan(connect, status="open")
    local.requests.clear()
    assert preview_sentences(KnownSearch(query), connect) == "Cases whose Status is Open."
    assert preview_sentences(KnownSearch(query, read, is_counting=True), connect) == (
        "Cases whose Status is Open. Counting the matching cases …"
    )
    assert preview_sentences(KnownSearch(query, read, cost(2, 1, 1, 0.0)), connect) == (
        "Cases whose Status is Open. 2 cases match: 1 page, 1 request, no waiting at 1.6 "
        "requests per second."
    )
    assert not local.requests


# --- labels of a schema ------------------------------------------------------------------------

SAME_LABELS = Schema(
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
    ("expression", "sentence"),
    [
        (name("status") == "a", "Status is On hold"),
        (name("status_1") == "a", "Status (status_1) is 'a'"),
        (name("team_1") == "a", "Team (team_1) is 'a'"),
        (name("bare") == True, "(bare) is yes"),  # noqa: E712 - a filter
        (name("twins").isin(["x", "y"]), "Twins is 'x' or 'y'"),
        (name("no such") == "a", "no such is 'a'"),
        (name("team_1") == "2026-03", "Team (team_1) is 2026-03"),
        ((name("created_at") >= WEEK), "Created is on or after 7 days before the read"),
        (TRUE, "every case"),
        (FALSE, "no case"),
        (
            name("status").isin(["a", "b"]) & (name("created_at") >= WEEK),
            "Status is On hold or 'b' and Created is on or after 7 days before the read",
        ),
    ],
)
def test_fields_and_options_are_described_by_their_labels(expression, sentence):
    """Two fields with the same label must still be distinguished."""
    assert describe_filter(expression, SAME_LABELS) == sentence


def test_a_long_text_is_shortened_only_before_a_read():
    """A sentence is read at a glance; a report is complete."""
    expression = name("team_1") == "x" * 500
    assert len(describe_filter(expression, SAME_LABELS, before_read=True)) < 120
    assert "x" * 500 in describe_filter(expression, SAME_LABELS)
