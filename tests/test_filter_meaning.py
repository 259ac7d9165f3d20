"""The filter language through the wires: each line of it, on both services."""

import json
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.query.binding import from_keywords
from casesearch_pd.query.expressions import And, Compare
from casesearch_pd.query.serialization import filter_from_json, filter_to_json
from tests import legal_requests

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BERLIN, SAO_PAULO = ZoneInfo("Europe/Berlin"), ZoneInfo("America/Sao_Paulo")
COSTLY = pytest.mark.filterwarnings("ignore:.*cannot evaluate this filter:UserWarning")
STRANGE = pytest.mark.filterwarnings("ignore:.*is not an option of:UserWarning")
PROFILE = "arn:aws:profile:us-east-1:111122223333:domains/shop/profiles/{}"
# A minute before and at the midnights around days with a clock change: in Berlin the day in
# March has 23 hours and that in October 25; in Sao Paulo the day in November begins at one.
NIGHTS = [
    datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 3, 30, tzinfo=BERLIN),
    datetime(2025, 10, 26, tzinfo=BERLIN), datetime(2025, 10, 27, tzinfo=BERLIN),
    datetime(2018, 11, 4, 1, tzinfo=SAO_PAULO), datetime(2018, 11, 5, tzinfo=SAO_PAULO),
]  # fmt: skip
CREATED = [
    night.astimezone(UTC) + step
    for night in NIGHTS
    for step in (-timedelta(minutes=1), timedelta())
]
ROWS = len(CREATED)


def cases():
    """Make one case for every moment; the other columns have a pattern of their own."""
    number = range(ROWS)
    return pd.DataFrame(
        {
            "case_id": [f"case_{n:02d}" for n in number],
            "created_at": pd.to_datetime(CREATED, utc=True),
            "closed_at": pd.to_datetime([None if n % 3 else CREATED[n] for n in number], utc=True),
            "status": pd.Categorical([["open", "Open", "closed"][n % 3] for n in number]),
            "title": [["Straße 1", "STRASSE 2", "50% off", None][n % 4] for n in number],
            "assignee": [["ann@shop.example", None][n % 2] for n in number],
            "queue": [f"cqueue_{n % 2}" for n in number],
            "tags": [[["team=red"], ["team=red", "tier=a=b"], []][n % 3] for n in number],
            "customer_id": [PROFILE.format(n % 2) for n in number],
            "amount": [float(n) if n % 4 else None for n in number],
            "amount__in": [n % 5 for n in number],
            "Order value (€)": [n % 2 for n in number],
            "Team": [["red", "blue"][n % 2] for n in number],
            "team": [["x", "y", "z"][n % 3] for n in number],
            "2nd line?": [n % 2 == 0 for n in number],
            "class": [["a", "b"][n % 2] for n in number],
            "顧客 ランク": [["金", "銀"][n % 2] for n in number],
            "due": pd.to_datetime(CREATED[::-1], utc=True),
        }
    )


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases(), now=NOW) as service:
        yield service


@pytest.fixture(scope="module")
def connect(local):
    return local.connect_cases()


@pytest.fixture(scope="module")
def persona(local):
    return local.persona_cases()


@pytest.fixture(scope="module", params=["connect", "persona"])
def source(request):
    return request.getfixturevalue(request.param)


def numbers(source, *args, **sent_request):
    """Read the numbers of the cases that a filter keeps."""
    frame = cs.read_cases(source, *args, columns=["case_id"], **sent_request)
    return sorted(int(case.removeprefix("case_")) for case in frame["case_id"])


def searched(local):
    return [item.body for item in local.requests if item.path.endswith("search")]


def check_all(local):
    for request in local.requests:
        legal_requests.check(request)


# --- one meaning in every form -----------------------------------------------------------------

FORMS = [
    ({"amount": 3}, cs.field("amount") == 3, pd.col("amount") == 3),
    ({"amount__ne": 3}, cs.field("amount") != 3, pd.col("amount") != 3),
    ({"amount__gt": 3}, cs.field("amount") > 3, pd.col("amount") > 3),
    ({"amount__gte": 3}, cs.field("amount") >= 3, pd.col("amount") >= 3),
    ({"amount__lt": 3}, cs.field("amount") < 3, pd.col("amount") < 3),
    ({"amount__lte": 3}, cs.field("amount") <= 3, 3 >= pd.col("amount")),  # noqa: SIM300 - mirrored
    ({"amount": [1, 5]}, cs.field("amount").isin([1, 5]), pd.col("amount").isin([1, 5])),
    ({"amount__between": (2, 6)}, cs.field("amount").between(2, 6), pd.col("amount").between(2, 6)),
    ({"amount__isna": True}, cs.field("amount").isna(), pd.col("amount").isna()),
    ({"amount__isna": False}, cs.field("amount").notna(), pd.col("amount").notna()),
    (
        {"title__contains": "strasse"},
        cs.field("title").contains("strasse"),
        pd.col("title").str.contains("strasse", case=False, regex=False),
    ),
    (
        {"amount__gt": 3, "closed_at": None},
        (cs.field("amount") > 3) & (cs.field("closed_at").isna()),
        (pd.col("amount") > 3) & pd.col("closed_at").isna(),
    ),
]


@COSTLY
@pytest.mark.parametrize("forms", FORMS, ids=[", ".join(forms[0]) for forms in FORMS])
def test_keywords_and_mappings_and_expressions_are_one(source, forms):
    """Law 9: a user who changes the form must not get other cases."""
    filters, *expressions = forms
    result = [numbers(source, **filters), numbers(source, filters)]
    result += [numbers(source, expression) for expression in expressions]
    assert result == [result[0]] * 4
    assert 0 < len(result[0]) < ROWS


def test_where_is_joined_to_the_keywords_by_and(source):
    both = numbers(source, cs.field("amount") > 3, amount__lt=8)
    assert both == numbers(source, {"amount__gt": 3}, amount__lt=8)
    assert both == numbers(source, amount__gt=3, amount__lt=8) == [5, 6, 7]


@COSTLY
def test_a_missing_value_meets_nothing_and_not_turns_it(source):
    """Law 2: what is missing is not below 5, so it is among what is not below 5."""
    missing = numbers(source, amount=None)
    assert missing == [0, 4, 8]
    below = numbers(source, cs.field("amount") < 5)
    assert sorted(below + numbers(source, ~(cs.field("amount") < 5))) == [*range(ROWS)]
    assert not set(missing) & {*below, *numbers(source, cs.field("amount") >= 5)}
    assert set(missing) <= {*numbers(source, amount__ne=3)}
    assert numbers(source, ~(pd.col("amount") < 5)) == numbers(source, ~(cs.field("amount") < 5))


@pytest.mark.parametrize(
    "values",
    [
        [1, 2], (1, 2), {1, 2}, frozenset({1, 2}), np.array([1, 2]), pd.Series([1, 2]),
        pd.Index([1, 2]), range(1, 3), {1: "a", 2: "b"}.keys(), pd.array([1, 2], dtype="Int64"),
    ],
    ids=lambda values: type(values).__name__,
)  # fmt: skip
def test_every_collection_is_any_of(source, values):
    assert numbers(source, amount=values) == [1, 2]
    assert numbers(source, amount__in=[1, 2]) == numbers(source, {"amount__in": [1, 2]})


REFUSED = [
    pd.col("amount").mean() > 3,
    pd.col("amount") + 1 > 3,
    pd.col("amount") > pd.col("amount__in"),
    pd.col("title").str.upper() == "A",
    pd.col("title").str.contains("a"),
    pd.col("title").str.contains("a", regex=False),
    pd.col("amount"),
]


@pytest.mark.parametrize("written", REFUSED, ids=repr)
def test_what_pandas_can_compute_and_no_service_can_be_asked_is_refused(local, source, written):
    assert source.schema
    local.requests.clear()
    with pytest.raises(
        cs.FilterError, match=r"does more than a filter can|knows no patterns|compare"
    ):
        numbers(source, written)
    assert not local.requests


# --- times -------------------------------------------------------------------------------------


def within(start, end):
    return [n for n in range(ROWS) if start <= CREATED[n] < end]


@pytest.mark.parametrize(
    ("tz", "day", "hours"),
    [("Europe/Berlin", date(2026, 3, 29), 23), ("Europe/Berlin", date(2025, 10, 26), 25),
     ("America/Sao_Paulo", date(2018, 11, 4), 23), ("UTC", date(2026, 3, 29), 24)],
)  # fmt: skip
def test_a_day_is_as_long_as_the_calendar_of_the_zone_has_it(source, tz, day, hours):
    """A day of 24 hours would hold cases of the next one, twice a year."""
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(tz)).astimezone(UTC)
    expected = within(start, start + timedelta(hours=hours))
    for spelling in (day, day.isoformat(), pd.Period(day, "D"), np.datetime64(day)):
        assert numbers(source, created_at=spelling, tz=tz) == expected
    assert numbers(source, due=day, tz=tz) == sorted(ROWS - 1 - n for n in expected)
    assert expected


def test_months_and_years_are_periods(source):
    def is_in(year, *months):
        local = [
            (moment.astimezone(BERLIN).year, moment.astimezone(BERLIN).month) for moment in CREATED
        ]
        return [n for n in range(ROWS) if local[n][0] == year and local[n][1] in months]

    sent_request = {"tz": "Europe/Berlin"}
    assert numbers(source, created_at="2026-03", **sent_request) == is_in(2026, 3)
    assert numbers(source, created_at="2025", **sent_request) == is_in(2025, *range(1, 13))
    assert numbers(source, created_at=pd.Period("2025Q4"), **sent_request) == is_in(
        2025, 10, 11, 12
    )
    outside = sorted({*range(ROWS)} - {*is_in(2026, 3)})
    assert numbers(source, created_at__ne="2026-03", **sent_request) == outside


def test_comparisons_with_a_period_are_with_its_ends(source):
    sent_request = {"tz": "Europe/Berlin"}
    before, inside = (
        numbers(source, **{name: "2025-10-26"}, **sent_request)
        for name in ("created_at__lt", "created_at")
    )
    after = numbers(source, created_at__gt="2025-10-26", **sent_request)
    assert sorted(before + inside + after) == [*range(ROWS)]
    assert numbers(source, created_at__lte="2025-10-26", **sent_request) == sorted(before + inside)
    assert numbers(source, created_at__gte="2025-10-26", **sent_request) == sorted(inside + after)
    between = numbers(source, created_at__between=("2025-10-26", "2026-03-29"), **sent_request)
    last = numbers(source, created_at__gt="2026-03-29", **sent_request)
    assert sorted(before + between + last) == [*range(ROWS)]


@pytest.mark.parametrize("at", [0, 3, 9])
def test_an_instant_is_one_moment_however_it_is_spelt(source, at):
    moment = CREATED[at]
    naive = moment.astimezone(BERLIN).replace(tzinfo=None)
    spellings = [moment, moment.isoformat(), naive, naive.isoformat(), pd.Timestamp(moment),
                 moment.astimezone(SAO_PAULO), np.datetime64(naive)]  # fmt: skip
    for spelling in spellings:
        assert numbers(source, created_at=spelling, tz="Europe/Berlin") == [at]


@COSTLY
@pytest.mark.parametrize("step", ["1ns", "1us", "999us", "1ms"])
def test_a_bound_finer_than_the_wire_loses_and_adds_no_case(source, step):
    """Both services count in milliseconds; a bound between two of them is checked again here."""
    moment = pd.Timestamp(CREATED[4]).as_unit("ns")
    for at, comes in ((moment - pd.Timedelta(step), True), (moment + pd.Timedelta(step), False)):
        assert (4 in numbers(source, created_at__gte=at)) is comes
        assert (4 in numbers(source, created_at__lt=at)) is not comes
        assert (4 in numbers(source, ~(cs.field("created_at") > at))) is not comes
        assert numbers(source, created_at=at) == []


def test_a_naive_time_that_the_clocks_skip_or_repeat_is_refused(local, source):
    assert source.schema
    local.requests.clear()
    for moment in ("2026-03-29T02:30", "2025-10-26T02:30"):
        with pytest.raises(cs.FilterError, match=r"twice or not at all.*add an offset, such as"):
            numbers(source, created_at__gte=moment, tz="Europe/Berlin")
    assert not local.requests


def test_a_timedelta_is_answered_by_the_service(local, connect):
    """Now is no finer than the wire, or the last week could be neither counted nor cut there."""
    sent_request = {"created_at__gte": -timedelta(days=10_000)}
    assert cs.explain_cases(connect, columns=["case_id"], **sent_request).rechecked == {}
    local.requests.clear()
    assert cs.count_cases(connect, **sent_request) == ROWS
    assert len(local.requests) == 1


def test_a_timedelta_counts_from_now():
    """Now is read once a read, so both bounds of a window count from the same moment."""
    now = datetime.now(UTC)
    created_filter = [now - timedelta(days=days, hours=1) for days in (0, 1, 6, 7, 30)]
    frame = pd.DataFrame({"case_id": [f"case_{n}" for n in range(5)], "created_at": created_filter})
    with cs.LocalCases(frame) as service:
        for source in (service.connect_cases(), service.persona_cases()):
            assert numbers(source, created_at__gte=-timedelta(days=7)) == [0, 1, 2]
            assert numbers(source, created_at__lt=pd.Timedelta("-7D")) == [3, 4]
            week = (np.timedelta64(-7, "D"), timedelta(days=-1))
            assert numbers(source, created_at__between=week) == [1, 2]


# --- what one service has and the other has not ------------------------------------------------


@COSTLY
def test_contains_means_the_same_pushed_and_checked_here(source):
    """A ß is found by SS on the service; it must be by the mask here too."""
    expected = [n for n in range(ROWS) if n % 4 < 2]
    assert numbers(source, title__contains="TRASSE") == expected
    here = cs.field("title").contains("STRASSE") & (cs.field("case_id") != "nobody")
    assert numbers(source, here) == expected
    assert numbers(source, title__contains="0% O") == [2, 6, 10]


@COSTLY
def test_tags_mean_all_of_them(connect, persona):
    red, both = [n for n in range(ROWS) if n % 3 < 2], [n for n in range(ROWS) if n % 3 == 1]
    assert numbers(connect, tags={"team": "red"}) == numbers(connect, tags=["team=red"]) == red
    assert numbers(persona, tags=["team=red"]) == numbers(persona, tags="team=red") == red
    # Of two equals signs nobody can tell which ends the key, so it is checked here.
    assert numbers(connect, tags={"team": "red", "tier": "a=b"}) == both
    assert numbers(persona, tags=["team=red", "tier=a=b"]) == both
    assert numbers(connect, cs.field("tags").contains("team=red")) == red


@COSTLY
@pytest.mark.parametrize("tag", ["größe=XL", "team=röt", "team", "=", "team=a,b", "t" * 129 + "=a"])
def test_a_tag_that_the_service_would_refuse_is_checked_here(local, connect, tag):
    """AWS takes some letters in tags only; a refused request would end the read."""
    local.requests.clear()
    assert numbers(connect, cs.field("tags").contains(tag)) == []
    assert [item.status for item in local.requests] == [200]
    assert "filter" not in searched(local)[0]


def test_search_is_that_of_connect(local, connect, persona):
    assert numbers(connect, search="50% off") == [2, 6, 10]
    assert numbers(connect, search="50% off", amount__gt=5) == [6, 10]
    assert cs.count_cases(connect, search="50% off") == 3
    local.requests.clear()
    with pytest.raises(cs.FilterError, match="persona has no full-text search; filter by fields"):
        numbers(persona, search="50% off")
    assert not local.requests


def test_a_customer_is_named_by_the_whole_arn(local, connect):
    mine = PROFILE.format(1)
    assert numbers(connect, customer_id=mine) == [*range(1, ROWS, 2)]
    assert numbers(connect, customer_id=[PROFILE.format(0), mine]) == [*range(ROWS)]
    local.requests.clear()
    for wrong in ("1", "profiles/1", "arn:aws:s3:::bucket"):
        with pytest.raises(
            cs.FilterError,
            match=r"customer_id must be a profile ARN, got .*; write 'arn:aws:profile:REGION",
        ):
            numbers(connect, customer_id=wrong)
    assert not local.requests


@COSTLY
def test_a_part_of_an_arn_is_looked_for_here(connect, persona):
    """The service takes full ARNs only, so a part of one is never sent."""
    for source in (connect, persona):
        assert numbers(source, customer_id__contains="PROFILES/1") == [*range(1, ROWS, 2)]


def test_cases_of_persona_are_fetched_by_their_ids(local, persona):
    """Search does not know the id; reading everything for one case would be dear."""
    local.requests.clear()
    assert numbers(persona, case_id=["case_05", "case_02", "nobody", "case/05"]) == [2, 5]
    paths = [item.path for item in local.requests]
    root = "/api/v1/cases"
    assert paths == [f"{root}/case_05", f"{root}/case_02", f"{root}/nobody", f"{root}/case%2F05"]
    assert numbers(persona, case_id=["case_05", "case_02"], amount__gt=3) == [5]
    assert numbers(
        persona, (cs.field("case_id") == "case_05") & (cs.field("status") == "closed")
    ) == [5]


@pytest.mark.parametrize("nobody", ["", ".", "..", ["", "."]])
def test_what_is_no_id_asks_for_no_other_address(local, persona, nobody):
    """Behind an empty id stands the list of all cases."""
    assert persona.schema
    local.requests.clear()
    assert numbers(persona, case_id=nobody) == []
    assert not local.requests


def test_cases_of_connect_are_searched_by_their_ids(local, connect):
    local.requests.clear()
    assert numbers(connect, case_id=["case_05", "case_02", "nobody"]) == [2, 5]
    assert len(local.requests) == 1


def test_what_only_the_service_sees_is_pushed_and_never_checked_again(local, persona):
    """The answers show an address where the filter has an id: a second look would drop all."""
    ann = local.user_id("ann@shop.example")
    for filters, expected in (
        ({"assignee": ann}, [*range(0, ROWS, 2)]),
        ({"assignee__ne": ann}, [*range(1, ROWS, 2)]),
        ({"state": "resolved"}, [*range(0, ROWS, 3)]),
        ({"state": "resolved", "assignee": ann, "amount__gt": 6}, []),
        ({"state": "resolved", "assignee__ne": ann, "amount__gt": 6}, [9]),
        ({"resolver": "user_nobody"}, []),
    ):
        plan = cs.explain_cases(persona, columns=["case_id"], **filters)
        assert not any(name in repr(plan.residual) for name in ("assignee", "state", "resolver"))
        assert numbers(persona, **filters) == expected
    local.requests.clear()
    numbers(persona, assignee=ann)
    predicate = {"attribute": "assignee", "operator": "eq", "value": ann}
    assert [body["query"] for body in searched(local)] == [predicate]


@COSTLY
def test_what_is_shown_is_matched_here(local, persona):
    local.requests.clear()
    assert numbers(persona, assignee="ann@shop.example") == [*range(0, ROWS, 2)]
    assert all("query" not in body for body in searched(local))


def test_what_only_the_service_sees_cannot_be_mixed_with_what_is_checked_here(local, persona):
    """Neither side can decide the whole OR, so some cases would be lost."""
    assert persona.schema
    local.requests.clear()
    either = (cs.field("state") == "open") | cs.field("title").contains("a")
    with pytest.raises(cs.FilterError, match=r"'state' does not appear in results.*two reads"):
        numbers(persona, either)
    with pytest.raises(cs.FilterError, match="does not appear in results, so only conditions that"):
        numbers(persona, state__contains="op")
    with pytest.raises(cs.FilterError, match="never returns it; leave it out of columns="):
        cs.read_cases(persona, columns=["case_id", "state"])
    with pytest.raises(cs.FilterError, match="cannot sort by"):
        cs.read_cases(persona, sort="resolver")
    assert not local.requests
    assert numbers(persona, (cs.field("state") == "open") | (cs.field("amount") > 9)) == [
        1, 2, 4, 5, 7, 8, 10, 11,
    ]  # fmt: skip


def test_what_only_the_service_sees_must_fit_into_its_requests(local, persona):
    """What does not fit is checked here, which cannot be done with what is never shown."""
    assert persona.schema
    local.requests.clear()
    either = cs.field("state") == "open"
    for number in range(80):
        either = either | (
            (cs.field("resolver") == f"user_{number}") & (cs.field("amount") > number)
        )
    with pytest.raises(cs.FilterError, match=r"larger than its requests may be; use several"):
        numbers(persona, either)
    assert not local.requests


# --- names -------------------------------------------------------------------------------------


def test_labels_become_columns_that_can_be_typed(connect, persona):
    for source in (connect, persona):
        columns = [*cs.list_fields(source)["column"]]
        for name in ("order_value", "field_2nd_line", "顧客_ランク", "class", "amount__in"):
            assert name in columns
        assert numbers(source, order_value=1) == [*range(1, ROWS, 2)]
        assert numbers(source, field_2nd_line=True) == [*range(0, ROWS, 2)]
        assert numbers(source, 顧客_ランク="金") == [*range(0, ROWS, 2)]
        assert numbers(source, **{"class": "b"}) == [*range(1, ROWS, 2)]


def test_a_full_name_beats_a_lookup(source):
    """A custom field may be labelled like a lookup; its column must stay reachable."""
    assert numbers(source, amount__in=3) == [3, 8]
    assert numbers(source, amount__in__in=[3]) == [3, 8]
    assert numbers(source, amount__in__gt=3) == [4, 9]


def test_two_fields_of_one_label_are_named_apart(connect):
    """The bare name of two fields would mean whichever came first."""
    twins = [name for name in cs.list_fields(connect)["column"] if name.startswith("team")]
    assert len(twins) == 2
    assert "team" not in twins
    with pytest.raises(cs.FilterError) as details:
        numbers(connect, team="red")
    assert all(repr(name) in str(details.value) for name in twins)
    result = {tuple(numbers(connect, **{name: "red"})) for name in twins}
    assert result == {(), tuple(range(0, ROWS, 2))}
    with pytest.raises(cs.FilterError, match="several fields"):
        cs.read_cases(connect, columns=["team"])


def test_keys_that_differ_in_letter_case_are_two_columns(persona):
    frame = cs.read_cases(persona, columns=["case_id", "fields.Team", "fields.team"])
    assert frame.shape == (ROWS, 3)
    assert numbers(persona, where={"fields.Team": "red"}) == [*range(0, ROWS, 2)]
    assert numbers(persona, where={"fields.team": "x"}) == [*range(0, ROWS, 3)]


def test_ids_and_labels_of_the_services_are_names_too(connect, persona):
    assert numbers(connect, created_datetime__gte="2026") == numbers(
        connect, created_at__gte="2026"
    )
    assert numbers(persona, where={"created-at__gte": "2026"}) == numbers(
        persona, created_at__gte="2026"
    )
    ids = cs.list_fields(connect).set_index("column")["id"]
    assert numbers(connect, {ids["order_value"]: 1}) == numbers(connect, order_value=1)


# --- kept filters ------------------------------------------------------------------------------

KEPT = [
    {"status": ["open", "closed"], "created_at__gte": "2026-03"},
    {"created_at__between": (date(2025, 10, 26), pd.Period("2026-03", "M"))},
    {"created_at__lt": datetime(2026, 3, 29, 2, tzinfo=BERLIN), "title__contains": "%"},
    {"amount__ne": 3, "closed_at": None, "field_2nd_line": True},
    {"created_at__gte": timedelta(days=-40_000), "amount__lte": np.float64(4.5)},
    {"due": [np.datetime64("2026-03"), "2018-11-04"]},
]


@COSTLY
@pytest.mark.parametrize("filters", KEPT, ids=[", ".join(one) for one in KEPT])
def test_a_kept_filter_finds_the_same_cases(source, filters):
    """Law 9: keywords, expression, stored JSON and back."""
    written = from_keywords(filters, source.schema)
    stored = json.loads(json.dumps(filter_to_json(written)))
    again = filter_from_json(stored)
    assert filter_to_json(again) == stored
    assert numbers(source, again) == numbers(source, **filters)
    details = json.loads(cs.read_cases(source, columns=["case_id"], **filters).attrs["casesearch"])
    assert filter_from_json(details["filter"]) == again


# --- what no single request holds --------------------------------------------------------------


@STRANGE
def test_thirty_seven_statuses_are_one_legal_request(local, source):
    statuses = ["open", *(f"stage {number}" for number in range(36))]
    local.requests.clear()
    assert numbers(source, status=statuses) == [*range(0, ROWS, 3)]
    assert len(searched(local)) == 1
    check_all(local)


@COSTLY
@pytest.mark.parametrize("exact_text", [True, False])
def test_nots_two_levels_deep_come_out_right_on_persona(local, exact_text):
    """Persona counts `not` as a level, so that this tree is three levels deep."""
    a, b, c = cs.field("amount") > 6, cs.field("status") == "open", cs.field("amount__in") > 2
    expected = [n for n in range(ROWS) if not (_above(n, 6) or (n % 3 == 0 and n % 5 <= 2))]
    persona = local.persona_cases(assume={"exact_text": exact_text})
    assert persona.schema
    local.requests.clear()
    assert numbers(persona, ~(a | (b & ~c))) == expected
    check_all(local)


def _above(number, bound):
    return number % 4 != 0 and number > bound


def test_eighty_one_columns_come_in_four_passes():
    wide = {f"Column {n}": [n * row for row in range(230)] for n in range(90)}
    created_filter = pd.date_range("2026-01-01", periods=230, freq="h", tz="UTC")
    with cs.LocalCases(pd.DataFrame({"created_at": created_filter, **wide}), now=NOW) as service:
        source = service.connect_cases()
        columns = ["case_id", *(f"column_{n}" for n in range(80))]
        service.requests.clear()
        frame = cs.read_cases(source, column_85__gte=850, columns=columns)
        check_all(service)
        assert len(searched(service)) <= 4 * 3 + 2
    assert [*frame.columns] == columns
    for n in range(80):
        assert frame[f"column_{n}"].tolist() == [n * row for row in range(10, 230)]


# --- bad input: before any search, in words, with the next step --------------------------------

BAD = [
    ({"amount__contains": "3"}, ["__contains does not fit 'amount'", "use __eq, __ne"]),
    ({"field_2nd_line__gt": True}, ["__gt does not fit", "of type boolean; use"]),
    ({"created_at__between": ("2026-04", "2026-03")}, ["is reversed", "'2026-04' comes after"]),
    ({"created_at__between": ("2026-05", "2026-03")}, ["is reversed"]),
    ({"created_at__between": (CREATED[1], CREATED[0])}, ["is reversed"]),
    ({"amount__between": (3, 2)}, ["is reversed", "3 comes after 2"]),
    ({"where": cs.field("amount")}, ["where must be an expression", "cs.field('status')"]),
    ({"where": And((Compare("statsu", "eq", "x"),))}, ["unknown field 'statsu'", "mean 'status'"]),
    ({"created_at__gte": "last week"}, ["'last week'", "a time such as '2026-03'"]),
    ({"status__is": "open"}, ["unknown lookup '__is'"]),
    ({"limit__gt": 3}, ["limit"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sent_request", "words"), BAD, ids=[str([*sent_request]) for sent_request, _ in BAD]
)
def test_what_cannot_be_asked_is_refused_before_any_search(local, connect, sent_request, words):
    assert connect.schema
    local.requests.clear()
    with pytest.raises(cs.FilterError) as details:
        cs.read_cases(connect, **sent_request)
    assert all(word in str(details.value) for word in words), str(details.value)
    assert not local.requests


def test_a_filter_that_is_nested_too_deeply_is_refused_as_it_is_written():
    """Python would give up some day with an error that says nothing of filters."""
    with pytest.raises(cs.FilterError, match=r"nested too deeply.*one chain of & or \|.*isin"):
        _ = [*_ever_deeper(cs.field("amount") > 0, levels=2_000)]


def _ever_deeper(term, levels):
    for level in range(levels):
        leaf = cs.field("amount") > level
        term = (term & leaf) if level % 2 else (term | leaf)
        yield term


def test_an_option_that_is_none_is_warned_of_with_the_nearest(connect):
    with pytest.warns(
        UserWarning, match="'opne' is not an option of 'status'; the nearest is 'open'"
    ):
        assert numbers(connect, status="opne") == []
    with pytest.warns(UserWarning, match="'xyz' is not an option of 'status'; the options are"):
        assert numbers(connect, status="xyz") == []


def test_a_filter_of_which_nothing_can_be_pushed_is_warned_of_with_its_cost(local):
    """A read of a million cases for three must not begin without a word."""
    slow = local.connect_cases(rate=2)
    with pytest.warns(UserWarning, match="connect cannot evaluate this filter") as details:
        cs.explain_cases(slow, closed_at=None, columns=["case_id"])
    (expected_text,) = [str(one.message) for one in details]
    assert "100 requests and 50 seconds at 2 per second per 10,000 cases" in expected_text
    assert "a bound on created_at helps" in expected_text
    persona = local.persona_cases()
    with pytest.warns(UserWarning, match="persona cannot evaluate this filter.*100 requests"):
        cs.explain_cases(persona, title__contains="a")


@pytest.mark.parametrize(
    "sent_request", [{"title": "a\ud800"}, {"title__contains": "\udfff"}, {"title__gt": "\ud800"}]
)
def test_half_a_surrogate_pair_is_refused_before_anything_is_sent(sent_request):
    """No JSON can carry it and no case hold it; Arrow would break off with a codec's words."""
    with cs.LocalCases(cases=3) as local:
        source = local.connect_cases()
        df = cs.read_cases(source)
        before = len(local.requests)
        with pytest.raises(cs.FilterError, match="surrogate"):
            cs.read_cases(source, **sent_request)
        with pytest.raises(cs.FilterError, match="surrogate"):
            df.cases.where(**sent_request)
        assert len(local.requests) == before
