"""Metrics against a simple model, case by case; required columns; survivorship bias."""

import math
import re
import statistics
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.analysis import metrics
from casesearch_pd.analysis.flow import flow
from casesearch_pd.analysis.survival import quantiles
from tests import metrics_model as model
from tests.metrics_model import BACKENDS, Case, days_until_closed, frame_of

SERVICES = ["connect", "persona"]
# Time zones, each with a time shortly before its clocks change.
CLOCK_CHANGES = {
    "UTC": datetime(2026, 3, 1, tzinfo=UTC),
    "Europe/Berlin": datetime(2026, 3, 20, tzinfo=UTC),
    "America/New_York": datetime(2026, 10, 20, tzinfo=UTC),
    "Pacific/Apia": datetime(2011, 12, 20, tzinfo=UTC),  # had no 30 December
    "America/Havana": datetime(2026, 10, 25, tzinfo=UTC),  # 1 November has two midnights
    "Asia/Beirut": datetime(2026, 3, 20, tzinfo=UTC),  # 29 March has no midnight
    "Australia/Lord_Howe": datetime(2026, 3, 25, tzinfo=UTC),  # changes by half an hour
}


@st.composite
def examples(draw, zones=tuple(CLOCK_CHANGES)):
    zone = draw(st.sampled_from(zones))
    base = CLOCK_CHANGES[zone]
    cases = draw(model.case_lists(base))
    now = base + timedelta(days=draw(st.integers(0, 50)), minutes=draw(st.integers(0, 1440)))
    service = draw(st.sampled_from(SERVICES))
    backend = draw(st.sampled_from(list(BACKENDS)))
    return cases, service, now, zone, frame_of(cases, service, now, zone=zone, backend=backend)


def check_flow(example, freq):
    cases, service, now, zone, frame = example
    result = flow(frame, freq)
    labels, rows = model.flow(cases, service, now, ZoneInfo(zone), freq)
    assert list(result) == ["opened", "closed", "reopened", "open"]
    assert set(result.dtypes) == {np.dtype("int64")}
    starts = [start.to_pydatetime() for start in result.index]
    assert [model.period_label(start, ZoneInfo(zone), freq) for start in starts] == labels
    assert list(result.itertuples(index=False, name=None)) == rows
    assert str(result.index.tz) == zone


@given(examples(), st.sampled_from(["D", "W", "MS"]))
@settings(deadline=None, max_examples=150)
def test_flow_counts_by_the_calendar_of_the_zone(example, freq):
    """Days of 23 or 25 hours, a skipped day, times in the wrong order: each was wrong once."""
    check_flow(example, freq)


@given(examples(zones=("UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia")))
@settings(deadline=None, max_examples=25)
def test_flow_counts_both_hours_when_clocks_go_back(example):
    check_flow(example, "h")


@given(examples())
@settings(deadline=None, max_examples=100)
def test_durations_are_elapsed_days(example):
    cases, service, now, _, frame = example
    result = metrics.durations(frame)
    assert list(result) == ["age_days", "close_days", "sla_days"]
    assert set(map(str, result.dtypes)) == {"Float64"}
    for row, case in zip(result.itertuples(index=False), cases, strict=True):
        for value, expected in zip(row, model.durations(case, service, now), strict=True):
            assert value is pd.NA if expected is None else value == pytest.approx(expected)


@given(examples())
@settings(deadline=None, max_examples=100)
def test_an_sla_is_met_missed_or_not_yet_known(example):
    cases, service, now, _, frame = example
    result = metrics.within_sla(frame)
    expected = [model.within_sla(case, service, now) for case in cases]
    assert [None if value is pd.NA else value for value in result] == expected
    assert result.dtype == "boolean"


@given(examples())
@settings(deadline=None, max_examples=100)
def test_a_summary_has_the_metrics_of_each_group(example):
    cases, service, now, _, frame = example
    result = metrics.summary(frame.assign(group=frame["status"]), "group")
    groups = {}
    for case in cases:
        groups.setdefault(case.status, []).append(case)
    assert result["count"].sum() == len(cases)
    is_known = any(
        model.within_sla(case, service, now) is not None
        for case in cases
        if not case.is_open(service)
    )
    for status, row in zip(result.index, result.itertuples(index=False), strict=True):
        check_group(row, groups[None if pd.isna(status) else status], service, now, is_known)


def check_group(row, group, service, now, is_known):
    durations = [model.durations(case, service, now) for case in group]
    ages = [age for age, _, _ in durations if age is not None]
    closed = [close for _, close, _ in durations if close is not None]
    outcomes = [model.within_sla(case, service, now) for case in group]
    within = [outcome for outcome in outcomes if outcome is not None]
    assert row.count == len(group)
    assert row.open == sum(case.is_open(service) for case in group)
    check(row.median_age_days, statistics.median(ages) if ages else None)
    check(row.median_close_days, days_until_closed(closed, ages, Fraction(1, 2)))
    check(row.p90_close_days, days_until_closed(closed, ages, Fraction(9, 10)))
    check(row.within_sla, statistics.mean(within) if within and is_known else None)


def check(value, expected):
    if expected is None or math.isnan(expected):
        assert value is pd.NA
    else:
        assert value == pytest.approx(expected)


# --- time to close ---------------------------------------------------------------------------


def closed_after(days, now):
    return Case("closed", now - timedelta(days=30), now - timedelta(days=30 - days), None, None)


def open_for(days, now):
    return Case("open", now - timedelta(days=days), None, None, None)


NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
# Seven at risk on day 1, six on day 2, two on day 4.
WAITING = [
    *(closed_after(days, NOW) for days in (1, 2, 2, 4)),
    *(open_for(d, NOW) for d in (2, 3, 5)),
]


def test_open_cases_are_censored():
    """By hand: 6/7, then 6/7 x 4/6, then 4/7 x 1/2 remain; uncensored, day 2 would be half."""
    result = metrics.time_to_close(frame_of(WAITING, "connect", NOW))
    assert result["days"].tolist() == pytest.approx([0, 1, 2, 4, 5])
    assert result["closed"].tolist() == pytest.approx([0, 1 / 7, 3 / 7, 5 / 7, 5 / 7])
    summary = metrics.summary(frame_of(WAITING, "connect", NOW).assign(all="all"), "all")
    assert summary["median_close_days"].tolist() == [4.0]
    assert summary["p90_close_days"].isna().all(), "less than nine tenths are known to close"


@pytest.mark.parametrize("number", [*range(1, 40), 300])
def test_a_share_that_is_reached_exactly_is_reached(number):
    """A product of many fractions is rounded to just below one half, which is a day later."""
    days = [float(day) for day in range(1, number + 1)]
    waiting = [float(number + 1)] * (number % 3)
    result = quantiles(np.array(days), np.array(waiting), (0.5, 0.9))
    shares = (Fraction(1, 2), Fraction(9, 10))
    expected = [days_until_closed(days, waiting, share) for share in shares]
    assert result == pytest.approx(expected, nan_ok=True)


def test_the_band_is_the_exponential_greenwood_formula():
    """Its variance at day 2 is 1/(7x6) + 2/(6x4), over the squared logarithm of what remains."""
    result = metrics.time_to_close(frame_of(WAITING, "connect", NOW)).set_index("days")
    open_share, deviation = 4 / 7, math.sqrt(1 / 42 + 2 / 24)
    z = statistics.NormalDist().inv_cdf(0.975)
    exponent = math.exp(z * deviation / abs(math.log(open_share)))
    assert result.loc[2.0, "low"] == pytest.approx(1 - open_share ** (1 / exponent))
    assert result.loc[2.0, "high"] == pytest.approx(1 - open_share**exponent)


@pytest.mark.parametrize("cases", [[], [open_for(3, NOW)], [closed_after(3, NOW)]])
def test_zero_cases_and_one_case_have_a_curve(cases):
    result = metrics.time_to_close(frame_of(cases, "connect", NOW))
    assert list(result) == ["days", "closed", "low", "high"]
    assert (
        result["closed"].tolist()
        == [0.0, *(float(case.status == "closed") for case in cases)][: 2 * len(cases)]
    )


# --- one case at a time ----------------------------------------------------------------------


def at(day):
    return NOW - timedelta(days=10 - day)


@pytest.mark.parametrize(
    ("case", "open_counts"),
    [
        (Case("open", at(1), None, None, None), [1, 1, 1, 1]),
        (Case("closed", at(1), at(3), None, None), [1, 1, 0, 0]),
        (Case("open", at(1), at(2), at(4), None), [1, 0, 0, 1]),
        (Case("closed", at(1), at(4), at(2), None), [1, 1, 1, 0]),
        (Case("open", at(1), at(4), at(2), None), [1, 1, 1, 1]),
        (Case("open", at(1), at(2), None, None), [1, 1, 1, 1]),
        (Case("closed", at(1), None, None, None), [0, 0, 0, 0]),
        (Case("closed", at(1), at(0), None, None), [0, 0, 0, 0]),
    ],
    ids=[
        "open", "closed", "closed and reopened", "reopened and closed again",
        "reopened again, time unknown", "reopened, time unknown",
        "closed, time unknown", "closed before it was created",
    ],
)  # fmt: skip
def test_when_a_case_is_open(case, open_counts):
    result = flow(frame_of([case], "connect", at(4)), "D")
    assert result["open"].tolist() == open_counts


def test_a_case_closed_after_the_read_was_closed_at_an_unknown_time():
    """With a wrong clock, `is_open` would count fewer open cases than `flow`."""
    tomorrow = datetime(2026, 3, 15, tzinfo=UTC)
    result = flow(frame_of([Case("closed", at(9), tomorrow, None, None)], "persona", NOW))
    assert result["closed"].tolist() == [0, 0]
    assert result["open"].tolist() == [0, 0]


@given(examples(), st.sampled_from(["D", "W"]))
@settings(deadline=None, max_examples=60)
def test_every_part_has_the_same_definition_of_open(example, freq):
    frame = example[-1]
    open_count, table = int(frame.cases.is_open.sum()), flow(frame, freq)
    if len(table):
        assert table["open"].iloc[-1] == open_count
        assert (table["open"] >= 0).all()
    total = metrics.summary(frame.assign(all="all"), "all")
    assert total["open"].sum() == metrics.summary(frame)["open"].sum() == open_count


@given(examples())
@settings(deadline=None, max_examples=100)
def test_no_duration_is_longer_than_the_history(example):
    """A closing in the future made 90 % of the cases take longer than there were cases."""
    cases, _, now, _, frame = example
    history = max([now - case.created for case in cases if case.created], default=model.DAY)
    total = metrics.summary(frame.assign(all="all"), "all")
    for column in ("median_close_days", "p90_close_days", "median_age_days"):
        assert (total[column].dropna() <= max(history, timedelta(0)) / model.DAY).all()
    assert (metrics.durations(frame)[["age_days", "close_days"]].fillna(0) >= 0).all(axis=None)


@pytest.mark.parametrize("by", ["status", ["queue", "status"], "closed_at", "resolution"])
def test_there_is_no_time_to_close_by_an_outcome(by):
    """Every closed case is in the group "closed", so nothing would be censored there."""
    frame = small_frame(queue="a", resolution="Approved")
    result = metrics.summary(frame, by)
    assert result[["median_close_days", "p90_close_days"]].isna().all(axis=None)
    assert metrics.summary(frame, "queue")["median_close_days"].tolist() == [1.0]


@pytest.mark.parametrize("name", SERVICES)
def test_the_last_day_counts_the_currently_open_cases(name):
    with cs.LocalCases(cases=400, seed=3, now=NOW) as local:
        frame = cs.read_cases(getattr(local, f"{name}_cases")(), tz="America/New_York")
    result = frame.cases.flow("D")
    assert result["open"].iloc[-1] == frame.cases.is_open.sum() > 0
    assert result["opened"].sum() == len(frame)
    assert result["closed"].sum() == frame["closed_at"].notna().sum()
    assert (result["reopened"].sum() > 0) == (name == "connect")


def test_a_case_created_in_the_second_of_the_read_is_0_days_old():
    """A service states its clock in whole seconds, so the case seems half a second younger."""
    cases = [
        Case("open", NOW + timedelta(seconds=delay), None, None, None) for delay in (0.5, 3600)
    ]
    result = metrics.durations(frame_of(cases, "connect", NOW))["age_days"]
    assert result.tolist() == [0.0, pd.NA]


def test_attainment_is_unknown_if_closed_cases_have_no_sla():
    """Cases on time would be missing: a team that met every SLA but one would show 0 %."""
    late = Case("open", at(1), None, None, at(2))
    without_sla = Case("closed", at(1), at(2), None, None)
    on_time = Case("closed", at(1), at(2), None, at(3))
    one = frame_of([late, without_sla], "connect", NOW).assign(all="all")
    assert metrics.summary(one, "all")["within_sla"].isna().all()
    two = frame_of([late, without_sla, on_time], "connect", NOW).assign(all="all")
    assert metrics.summary(two, "all")["within_sla"].tolist() == [0.5]


def test_every_time_delta_has_a_unit():
    """NumPy 2.5 deprecates `timedelta64(0)`: `flow` raised where warnings are errors."""
    package = Path(cs.__file__).parent
    texts = [path.read_text("utf-8") for path in package.rglob("*.py")]
    assert not [call for text in texts for call in re.findall(r"timedelta64\(-?\d+\)", text)]


# --- required columns ------------------------------------------------------------------------


def small_frame(**columns):
    return frame_of([WAITING[0], WAITING[-1]], "connect", NOW).assign(**columns)


METRICS = {
    "durations": metrics.durations,
    "flow": flow,
    "summary": metrics.summary,
    "time to close": metrics.time_to_close,
}


@pytest.mark.parametrize("column", ["created_at", "closed_at", "status"])
@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_missing_column_is_named_in_the_error(metric, column):
    with pytest.raises(KeyError, match=rf"columns=.*{column!r}"):
        metric(small_frame().drop(columns=column))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_text_is_not_a_time(metric):
    """A frame from a CSV file has its times as text, whose order is not that of the times."""
    with pytest.raises(TypeError, match=r"'created_at' holds .*, not times.*pd\.to_datetime"):
        metric(small_frame(created_at=["2026-03-01", "2026-03-02"]))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_the_frame_is_not_modified_and_its_order_kept(metric):
    frame = small_frame().set_index(pd.Index([7, 7], name="mine"))
    before = frame.copy(deep=True)
    result = metric(frame)
    pd.testing.assert_frame_equal(frame, before)
    if metric is metrics.durations:
        assert result.index.equals(frame.index)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_frame_has_an_empty_result(metric, backend):
    empty = frame_of([], "connect", NOW, backend=backend)
    result, other = metric(empty), metric(small_frame())
    assert len(result) == 0
    assert list(result) == list(other)
    assert result.dtypes.tolist() == other.dtypes.tolist()


def test_cases_of_two_services_are_rejected():
    """They define closed differently, and the result of pd.concat has no provenance."""
    two = pd.concat([small_frame(), small_frame(case_id=["case_a", "case_b"])], ignore_index=True)
    two.attrs.clear()
    with pytest.raises(ValueError, match="several services"):
        metrics.summary(two)


def test_a_repeated_case_is_rejected():
    repeated = pd.concat([small_frame(), small_frame()], ignore_index=True)
    repeated.attrs.clear()
    with pytest.raises(ValueError, match=r"'c0' occurs more than once.*drop_duplicates"):
        flow(repeated)


@pytest.mark.parametrize("freq", ["2D", "B", "s", "", "day"])
def test_an_unknown_period_is_rejected(freq):
    with pytest.raises(ValueError, match=r"unknown freq .*use one of h, D, W"):
        flow(small_frame(), freq)


@pytest.mark.parametrize(
    ("freq", "first"),
    [
        ("D", lambda start: start.hour == 0),
        ("W", lambda start: start.weekday() == 0),
        ("W-SAT", lambda start: start.weekday() == 6),
        *((freq, lambda start: start.day == 1) for freq in ("M", "MS", "ME")),
        *((freq, lambda start: start.day == 1 and start.month % 3 == 1) for freq in ("Q", "QS")),
        *((freq, lambda start: start.day_of_year == 1) for freq in ("Y", "YS")),
    ],
)
def test_every_period_begins_on_its_first_day(freq, first):
    result = flow(small_frame(), freq)
    assert result["opened"].sum() == 2
    assert result.index.equals(result.index.normalize())
    assert all(first(start) for start in result.index)


@pytest.mark.parametrize(
    "zone",
    [None, timezone(timedelta(hours=2)), ZoneInfo("Asia/Kolkata"), "Europe/Berlin"],
    ids=str,
)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_zone_and_unit_are_accepted(zone, unit):
    """A user's own frame may have no zone, which means UTC, or an offset instead of a zone."""
    frame = small_frame()
    for column in ("created_at", "closed_at", "sla_at"):
        frame[column] = frame[column].dt.tz_convert(zone).dt.as_unit(unit)  # None: naive UTC
    assert str(flow(frame).index.tz) == str(zone or "UTC")
    pd.testing.assert_frame_equal(metrics.durations(frame), metrics.durations(small_frame()))


def test_a_column_without_times_may_have_any_dtype():
    """If nothing was closed yet, a user's own column may hold None instead of NaT."""
    frame = small_frame(status="open", closed_at=None).drop(columns="sla_at")
    assert flow(frame)["closed"].sum() == 0
    assert metrics.summary(frame)["open"].tolist() == [2]
    assert metrics.durations(frame)["sla_days"].isna().all()


def test_two_columns_of_one_name_are_rejected():
    """They result from joins; using the first would be a guess."""
    frame = small_frame()
    doubled = pd.concat([frame, frame["closed_at"]], axis="columns")
    with pytest.raises(ValueError, match="2 columns 'closed_at'"):
        flow(doubled)


def test_groups_of_any_dtype_are_accepted():
    frame = small_frame(
        status=pd.Categorical(["closed", "open"]), tier=[1, None], vip=[True, False]
    )
    assert metrics.summary(frame)["count"].tolist() == [1, 1]
    assert metrics.summary(frame, ["tier", "vip"])["open"].tolist() == [0, 1]


def test_lists_are_not_groups():
    with pytest.raises(ValueError, match=r"'tags' holds lists.*df\.explode\('tags'\)"):
        metrics.summary(small_frame(tags=[["a"], []]), "tags")
    with pytest.raises(ValueError, match="needs a column to group by"):
        metrics.summary(small_frame(), [])


def test_a_summary_by_two_columns_has_two_levels():
    result = metrics.summary(small_frame(queue=["a", None]), ["status", "queue"])
    assert result.index.names == ["status", "queue"]
    assert result["count"].tolist() == [1, 1]


# --- survivorship bias -----------------------------------------------------------------------


def read(local, name, **query):
    return cs.read_cases(local.sources[name], **query)


BIASED_QUERIES = [
    ({"status": "closed"}, True, True),
    ({"closed_at__gte": "2026-03"}, True, True),
    ({"updated_at__gte": "2026-03"}, True, True),
    ({"created_at__gte": "2026-03"}, True, False),
    ({"created_at": "2026-02"}, True, False),
    ({"limit": 20}, True, True),
    ({"limit": 1000}, False, False),
    ({"queue": "cqueue_billing"}, False, False),
    ({}, False, False),
]


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(("query", "biases_flow", "biases_curve"), BIASED_QUERIES, ids=str)
def test_survivorship_bias_is_warned_of(local, name, query, biases_flow, biases_curve):
    """In a frame of closed cases all are closed soon, and there never was a backlog."""
    frame = read(local, name, **query)
    for metric, warns in ((flow, biases_flow), (metrics.time_to_close, biases_curve)):
        if warns:
            with pytest.warns(UserWarning, match="survivorship bias.*read without that") as caught:
                metric(frame)
            assert next(iter(query)).partition("__")[0] in str(caught[0].message)
            assert caught[0].filename == __file__, "the warning is at the user's line"
        else:
            metric(frame)


def test_a_limit_equal_to_the_total_is_no_bias(local):
    """Connect counts the matching cases, so it is known that none is missing."""
    frame = read(local, "connect", limit=300)
    assert frame.cases.provenance["total"] == len(frame) == 300
    assert frame.cases.flow("D")["opened"].sum() == 300


def test_a_filter_by_the_service_s_own_field_name_is_recognized(local):
    frame = read(local, "connect", where={"last_closed_datetime__gte": "2026-03"})
    with pytest.warns(UserWarning, match="survivorship bias"):
        frame.cases.flow("W")


def test_a_summary_of_open_cases_does_not_warn(local):
    """It has no time to close, so it has no bias; the most common read would always warn."""
    frame = read(local, "connect", status__ne="closed")
    assert frame.cases.summary("queue")["median_close_days"].isna().all()
    closed = read(local, "connect", status="closed")
    with pytest.warns(UserWarning, match="time to close is subject to survivorship bias"):
        closed.cases.summary("queue")


# --- the accessor ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("name", SERVICES)
def test_every_backend_gives_the_same_metrics(local, name, backend):
    default = read(local, name, tz="Europe/Berlin")
    other = read(local, name, tz="Europe/Berlin", dtype_backend=backend)
    other.attrs.update(default.attrs)  # a second may have passed between the reads
    pd.testing.assert_frame_equal(default.cases.flow("W"), other.cases.flow("W"))
    pd.testing.assert_frame_equal(default.cases.durations(), other.cases.durations())
    one, two = default.cases.summary("queue"), other.cases.summary("queue")
    assert two.index.dropna().tolist() == sorted(set(default["queue"].dropna()))
    pd.testing.assert_frame_equal(one, two.set_axis(one.index))
