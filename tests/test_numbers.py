"""Numbers against a plain model, case by case; what a frame must have; what misleads."""

import math
import statistics
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.analysis import metrics as numbers
from casesearch_pd.analysis.survival import quantiles
from tests.plain_numbers import (
    BACKENDS,
    Case,
    days_until_closed,
    durations,
    flow,
    frame_of,
    label,
    made_cases,
    within_sla,
)

SERVICES = ["connect", "persona"]
# A zone, and a moment shortly before its clocks change.
CHANGES = {
    "UTC": datetime(2026, 3, 1, tzinfo=UTC),
    "Europe/Berlin": datetime(2026, 3, 20, tzinfo=UTC),
    "America/New_York": datetime(2026, 10, 20, tzinfo=UTC),
    "Pacific/Apia": datetime(2011, 12, 20, tzinfo=UTC),  # had no 30 December
    "America/Havana": datetime(2026, 10, 25, tzinfo=UTC),  # 1 November has two midnights
    "Asia/Beirut": datetime(2026, 3, 20, tzinfo=UTC),  # 29 March has no midnight
    "Australia/Lord_Howe": datetime(2026, 3, 25, tzinfo=UTC),  # changes by half an hour
}


@st.composite
def desks(draw, zones=tuple(CHANGES)):
    zone = draw(st.sampled_from(zones))
    base = CHANGES[zone]
    cases = draw(made_cases(base))
    now = base + timedelta(days=draw(st.integers(0, 50)), minutes=draw(st.integers(0, 1440)))
    service = draw(st.sampled_from(SERVICES))
    backend = draw(st.sampled_from(list(BACKENDS)))
    return cases, service, now, zone, frame_of(cases, service, now, zone=zone, backend=backend)


def check_flow(desk, freq):
    cases, service, now, zone, frame = desk
    found = numbers.flow(frame, freq)
    names, rows = flow(cases, service, now, ZoneInfo(zone), freq)
    assert list(found) == ["opened", "closed", "reopened", "open"]
    assert set(found.dtypes) == {np.dtype("int64")}
    starts = [start.to_pydatetime() for start in found.index]
    assert [label(start, ZoneInfo(zone), freq) for start in starts] == names
    assert list(found.itertuples(index=False, name=None)) == rows
    assert str(found.index.tz) == zone


@given(desks(), st.sampled_from(["D", "W", "MS"]))
@settings(timeout=None, max_examples=150)
def test_flow_counts_by_the_calendar_of_the_zone(desk, freq):
    """A day of 23 or 25 hours, a skipped one, a time in the wrong order: each once led astray."""
    check_flow(desk, freq)


@given(desks(zones=("UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia")))
@settings(timeout=None, max_examples=25)
def test_flow_counts_both_hours_of_the_night_when_clocks_go_back(desk):
    check_flow(desk, "h")


@given(desks())
@settings(timeout=None, max_examples=100)
def test_durations_are_elapsed_days(desk):
    cases, service, now, _, frame = desk
    found = numbers.durations(frame)
    assert list(found) == ["age_days", "close_days", "sla_days"]
    assert set(map(str, found.dtypes)) == {"Float64"}
    for row, case in zip(found.itertuples(index=False), cases, strict=True):
        for had, meant in zip(row, durations(case, service, now), strict=True):
            assert had is pd.NA if meant is None else had == pytest.approx(meant)


@given(desks())
@settings(timeout=None, max_examples=100)
def test_an_sla_is_kept_missed_or_not_yet_decided(desk):
    cases, service, now, _, frame = desk
    found = numbers.within_sla(frame)
    meant = [within_sla(case, service, now) for case in cases]
    assert [None if one is pd.NA else one for one in found] == meant
    assert found.dtype == "boolean"


@given(desks())
@settings(timeout=None, max_examples=100)
def test_a_summary_is_the_numbers_of_each_group(desk):
    cases, service, now, _, frame = desk
    found = numbers.summary(frame)
    groups = {}
    for case in cases:
        groups.setdefault(case.status, []).append(case)
    assert found["count"].sum() == len(cases)
    decides = any(
        within_sla(case, service, now) is not None for case in cases if not case.is_open(service)
    )
    for status, row in zip(found.index, found.itertuples(index=False), strict=True):
        check_group(row, groups[None if pd.isna(status) else status], service, now, decides)


def check_group(row, group, service, now, decides):
    measured = [durations(case, service, now) for case in group]
    ages = [age for age, _, _ in measured if age is not None]
    closed = [close for _, close, _ in measured if close is not None]
    kept = [one for case in group if (one := within_sla(case, service, now)) is not None]
    assert row.count == len(group)
    assert row.open == sum(case.is_open(service) for case in group)
    check(row.median_age_days, statistics.median(ages) if ages else None)
    check(row.median_close_days, days_until_closed(closed, ages, Fraction(1, 2)))
    check(row.p90_close_days, days_until_closed(closed, ages, Fraction(9, 10)))
    check(row.within_sla, statistics.mean(kept) if kept and decides else None)


def check(had, meant):
    if meant is None or math.isnan(meant):
        assert had is pd.NA
    else:
        assert had == pytest.approx(meant)


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
    """By hand: 6/7, then 6/7 x 4/6, then 4/7 x 1/2 remain; taken as closed, day 2 would be half."""
    found = numbers.time_to_close(frame_of(WAITING, "connect", NOW))
    assert found["days"].tolist() == pytest.approx([0, 1, 2, 4, 5])
    assert found["closed"].tolist() == pytest.approx([0, 1 / 7, 3 / 7, 5 / 7, 5 / 7])
    summary = numbers.summary(frame_of(WAITING, "connect", NOW).assign(all="all"), "all")
    assert summary["median_close_days"].tolist() == [4.0]
    assert summary["p90_close_days"].isna().all(), "less than nine tenths are known to close"


@pytest.mark.parametrize("many", [*range(1, 40), 300])
def test_a_share_that_is_just_reached_is_reached(many):
    """A product of many fractions ends a hair beside one half, and the next day would be told."""
    days = [float(day) for day in range(1, many + 1)]
    waiting = [float(many + 1)] * (many % 3)
    found = quantiles(np.array(days), np.array(waiting), (0.5, 0.9))
    meant = [days_until_closed(days, waiting, share) for share in (Fraction(1, 2), Fraction(9, 10))]
    assert found == pytest.approx(meant, nan_ok=True)


def test_the_band_is_the_exponential_greenwood_formula():
    """Its variance at day 2 is 1/(7x6) + 2/(6x4), over the squared logarithm of what remains."""
    found = numbers.time_to_close(frame_of(WAITING, "connect", NOW)).set_index("days")
    remain, spread = 4 / 7, math.sqrt(1 / 42 + 2 / 24)
    z = statistics.NormalDist().inv_cdf(0.975)
    side = math.exp(z * spread / abs(math.log(remain)))
    assert found.loc[2.0, "low"] == pytest.approx(1 - remain ** (1 / side))
    assert found.loc[2.0, "high"] == pytest.approx(1 - remain**side)


@pytest.mark.parametrize("cases", [[], [open_for(3, NOW)], [closed_after(3, NOW)]])
def test_few_cases_have_a_curve_too(cases):
    found = numbers.time_to_close(frame_of(cases, "connect", NOW))
    assert list(found) == ["days", "closed", "low", "high"]
    assert (
        found["closed"].tolist()
        == [0.0, *(float(case.status == "closed") for case in cases)][: 2 * len(cases)]
    )


# --- one case at a time ----------------------------------------------------------------------


def at(day):
    return NOW - timedelta(days=10 - day)


@pytest.mark.parametrize(
    ("case", "still"),
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
        "reopened again, nobody says when", "reopened, nobody says when",
        "closed, nobody says when", "closed before it was created",
    ],
)  # fmt: skip
def test_when_a_case_is_open(case, still):
    found = numbers.flow(frame_of([case], "connect", at(4)), "D")
    assert found["open"].tolist() == still


def test_what_is_yet_to_come_is_in_no_period():
    """A closing that is dated ahead, even to the very end of today, has not happened."""
    tomorrow = datetime(2026, 3, 15, tzinfo=UTC)
    found = numbers.flow(frame_of([Case("closed", at(9), tomorrow, None, None)], "persona", NOW))
    assert found["closed"].tolist() == [0, 0]
    assert found["open"].tolist() == [1, 1]


@pytest.mark.parametrize("service", SERVICES)
def test_the_last_day_has_the_open_cases_of_now(service):
    with cs.LocalCases(cases=400, seed=3, now=NOW) as local:
        frame = cs.read_cases(getattr(local, f"{service}_cases")(), tz="America/New_York")
    found = frame.cases.flow("D")
    assert found["open"].iloc[-1] == frame.cases.is_open.sum() > 0
    assert found["opened"].sum() == len(frame)
    assert found["closed"].sum() == frame["closed_at"].notna().sum()
    assert (found["reopened"].sum() > 0) == (service == "connect")


def test_a_case_of_this_very_second_is_no_traveller_in_time():
    """A service tells its clock in whole seconds; a case of half a second later is 0 days old."""
    cases = [Case("open", NOW + timedelta(seconds=late), None, None, None) for late in (0.5, 3600)]
    found = numbers.durations(frame_of(cases, "connect", NOW))["age_days"]
    assert found.tolist() == [0.0, pd.NA]


def test_a_desk_whose_closed_cases_forget_their_sla_has_no_share():
    """Those in time would be missing, and a desk that keeps every SLA but one would show 0 %."""
    late = Case("open", at(1), None, None, at(2))
    forgot = Case("closed", at(1), at(2), None, None)
    kept = Case("closed", at(1), at(2), None, at(3))
    one = frame_of([late, forgot], "connect", NOW).assign(all="all")
    assert numbers.summary(one, "all")["within_sla"].isna().all()
    two = frame_of([late, forgot, kept], "connect", NOW).assign(all="all")
    assert numbers.summary(two, "all")["within_sla"].tolist() == [0.5]


# --- what a frame must have ------------------------------------------------------------------


def desk(**more):
    return frame_of([WAITING[0], WAITING[-1]], "connect", NOW).assign(**more)


ASKED = {
    "durations": numbers.durations,
    "flow": numbers.flow,
    "summary": numbers.summary,
    "time to close": numbers.time_to_close,
}


@pytest.mark.parametrize("column", ["created_at", "closed_at", "status"])
@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_column_that_was_not_read_is_named(ask, column):
    with pytest.raises(KeyError, match=rf"columns=.*{column!r}"):
        ask(desk().drop(columns=column))


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_text_is_no_time(ask):
    """A frame back from CSV has its times as text; sorting that as time would be luck."""
    with pytest.raises(TypeError, match=r"'created_at' holds .*pd\.to_datetime"):
        ask(desk(created_at=["2026-03-01", "2026-03-02"]))


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_the_frame_is_left_alone_and_its_order_kept(ask):
    frame = desk().set_index(pd.Index([7, 7], name="mine"))
    before = frame.copy(deep=True)
    found = ask(frame)
    pd.testing.assert_frame_equal(frame, before)
    if ask is numbers.durations:
        assert found.index.equals(frame.index)


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("backend", BACKENDS)
def test_no_case_is_an_answer_too(ask, backend):
    empty = frame_of([], "connect", NOW, backend=backend)
    found, full = ask(empty), ask(desk())
    assert len(found) == 0
    assert list(found) == list(full)
    assert found.dtypes.tolist() == full.dtypes.tolist()


def test_cases_of_two_services_are_not_added_up():
    """They mean other things by closed; what pandas glues together has no provenance left."""
    two = pd.concat([desk(), desk(case_id=["case_a", "case_b"])], ignore_index=True)
    two.attrs.clear()
    with pytest.raises(ValueError, match="several services"):
        numbers.summary(two)


def test_a_case_that_is_there_twice_is_not_counted_twice():
    twice = pd.concat([desk(), desk()], ignore_index=True)
    twice.attrs.clear()
    with pytest.raises(ValueError, match=r"'c0' is there twice.*drop_duplicates"):
        numbers.flow(twice)


@pytest.mark.parametrize("freq", ["2D", "B", "s", "", "day"])
def test_an_unknown_period_is_refused(freq):
    with pytest.raises(ValueError, match=r"unknown freq .*write one of h, D, W"):
        numbers.flow(desk(), freq)


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
    found = numbers.flow(desk(), freq)
    assert found["opened"].sum() == 2
    assert found.index.equals(found.index.normalize())
    assert all(first(start) for start in found.index)


@pytest.mark.parametrize(
    "zone",
    [None, timezone(timedelta(hours=2)), ZoneInfo("Asia/Kolkata"), "Europe/Berlin"],
    ids=str,
)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_zone_and_unit_are_taken(zone, unit):
    """A user's own frame may have no zone, which is UTC, or an offset instead of a calendar."""
    frame = desk()
    for column in ("created_at", "closed_at", "sla_at"):
        frame[column] = frame[column].dt.tz_convert(zone).dt.as_unit(unit)  # None: naive UTC
    assert str(numbers.flow(frame).index.tz) == str(zone or "UTC")
    pd.testing.assert_frame_equal(numbers.durations(frame), numbers.durations(desk()))


def test_a_column_without_a_time_in_it_may_be_of_any_type():
    """Of a desk that closed nothing yet, a user's own column holds None, not NaT."""
    frame = desk(status="open", closed_at=None).drop(columns="sla_at")
    assert numbers.flow(frame)["closed"].sum() == 0
    assert numbers.summary(frame)["open"].tolist() == [2]
    assert numbers.durations(frame)["sla_days"].isna().all()


def test_two_columns_of_a_name_are_refused():
    """A join makes them; taking the first would be a guess."""
    frame = desk()
    twice = pd.concat([frame, frame["closed_at"]], axis="columns")
    with pytest.raises(ValueError, match="2 columns 'closed_at'"):
        numbers.flow(twice)


def test_groups_of_any_type_are_taken():
    frame = desk(status=pd.Categorical(["closed", "open"]), tier=[1, None], vip=[True, False])
    assert numbers.summary(frame)["count"].tolist() == [1, 1]
    assert numbers.summary(frame, ["tier", "vip"])["open"].tolist() == [0, 1]


def test_lists_are_no_groups():
    with pytest.raises(ValueError, match=r"'tags' holds lists.*df\.explode\('tags'\)"):
        numbers.summary(desk(tags=[["a"], []]), "tags")
    with pytest.raises(ValueError, match="needs a column to group by"):
        numbers.summary(desk(), [])


def test_a_summary_by_two_columns_has_two_levels():
    found = numbers.summary(desk(queue=["a", None]), ["status", "queue"])
    assert found.index.names == ["status", "queue"]
    assert found["count"].tolist() == [1, 1]


# --- survivors -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=300, seed=4, now=NOW) as running:
        yield running


def read(local, service, **asked):
    return cs.read_cases(getattr(local, f"{service}_cases")(), **asked)


SURVIVORS = [
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


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(("asked", "in_flow", "in_curve"), SURVIVORS, ids=str)
def test_numbers_of_survivors_warn(local, service, asked, in_flow, in_curve):
    """Of a frame of closed cases everyone is closed in two days, and there was no backlog."""
    frame = read(local, service, **asked)
    for ask, warns in ((numbers.flow, in_flow), (numbers.time_to_close, in_curve)):
        if warns:
            with pytest.warns(UserWarning, match="sees survivors only.*read without that") as seen:
                ask(frame)
            assert next(iter(asked)).partition("__")[0] in str(seen[0].message)
            assert seen[0].filename == __file__, "the warning is at the user's line"
        else:
            ask(frame)


def test_a_limit_that_cut_nothing_off_is_no_bound(local):
    """Connect tells how many cases match, so it is known that none is missing."""
    frame = read(local, "connect", limit=300)
    assert frame.cases.provenance["total"] == len(frame) == 300
    assert frame.cases.flow("D")["opened"].sum() == 300


def test_a_filter_by_the_service_s_own_name_is_seen_too(local):
    frame = read(local, "connect", where={"last_closed_datetime__gte": "2026-03"})
    with pytest.warns(UserWarning, match="survivors"):
        frame.cases.flow("W")


def test_a_summary_of_open_cases_misleads_nobody(local):
    """It tells no time to close, so it needs no warning; the commonest frame would always warn."""
    frame = read(local, "connect", status__ne="closed")
    assert frame.cases.summary("queue")["median_close_days"].isna().all()
    closed = read(local, "connect", status="closed")
    with pytest.warns(UserWarning, match="time to close sees survivors only"):
        closed.cases.summary("queue")


# --- the accessor ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("service", SERVICES)
def test_every_backend_has_the_same_numbers(local, service, backend):
    plain = read(local, service, tz="Europe/Berlin")
    other = read(local, service, tz="Europe/Berlin", dtype_backend=backend)
    other.attrs.update(plain.attrs)  # a second may have passed between the reads
    pd.testing.assert_frame_equal(plain.cases.flow("W"), other.cases.flow("W"))
    pd.testing.assert_frame_equal(plain.cases.durations(), other.cases.durations())
    one, two = plain.cases.summary("queue"), other.cases.summary("queue")
    assert two.index.dropna().tolist() == sorted(set(plain["queue"].dropna()))
    pd.testing.assert_frame_equal(one, two.set_axis(one.index))
