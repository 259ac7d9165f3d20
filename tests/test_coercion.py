"""Values of users: times above all, and the scalars of every type."""

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd import FilterError
from casesearch_pd.query.coercion import (
    TimeSpan,
    coerce_scalar,
    coerce_time_span,
    is_collection,
    is_missing,
    members_of,
    to_hashable,
)
from casesearch_pd.query.schema import Field
from tests.bound_filters import CHOICE, LAW, NUMBER, TEXT, TIME, TRUTH, WHOLE

NOW = pd.Timestamp("2026-03-14T12:00Z")
US = pd.Timedelta(1, "us")


def at(text):
    return pd.Timestamp(text).tz_convert("UTC")


def read(value, tz="UTC"):
    return coerce_time_span(TIME, value, tz=tz, now=NOW)


def instant(text):
    return TimeSpan(at(text), at(text) + US)


def between(start, end):
    return TimeSpan(at(start), at(end))


# --- instants ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-14T09:30", "2026-03-14T09:30Z"),
        ("2026-03-14 09:30", "2026-03-14T09:30Z"),
        ("2026-03-14t09:30z", "2026-03-14T09:30Z"),
        (" 2026-03-14T09:30:15 ", "2026-03-14T09:30:15Z"),
        ("2026-03-14T09:30:15Z", "2026-03-14T09:30:15Z"),
        ("2026-03-14T09:30:15.1Z", "2026-03-14T09:30:15.100Z"),
        ("2026-03-14T09:30:15.123Z", "2026-03-14T09:30:15.123Z"),
        ("2026-03-14T09:30:15.123456Z", "2026-03-14T09:30:15.123456Z"),
        ("2026-03-14T09:30:15.123456000Z", "2026-03-14T09:30:15.123456Z"),
        ("2026-03-14T09:30+02:00", "2026-03-14T07:30Z"),
        ("2026-03-14T09:30-0330", "2026-03-14T13:00Z"),
        ("2026-03-14T09:30+05", "2026-03-14T04:30Z"),
        ("0001-01-01T00:00Z", "0001-01-01T00:00Z"),
        ("9999-12-31T23:59Z", "9999-12-31T23:59Z"),
    ],
)
def test_text_with_a_clock_time_is_an_instant(text, utc):
    """Every ISO form names one moment; an instant is one tick, so that equality is a span too."""
    assert read(text) == instant(utc)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 3, 14, 9, 30, tzinfo=UTC),
        datetime(2026, 3, 14, 10, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        pd.Timestamp("2026-03-14T09:30Z"),
        pd.Timestamp("2026-03-14T05:30", tz="America/New_York"),
        np.datetime64("2026-03-14T09:30"),
        np.datetime64("2026-03-14T09:30", "ms"),
        np.datetime64("2026-03-14T09:30", "ns"),
        timedelta(hours=-2.5),
        pd.Timedelta("-150min"),
        np.timedelta64(-150, "m"),
    ],
)
def test_every_kind_of_moment_is_the_same_instant(value):
    """Timedeltas count from now; everything else says when."""
    assert read(value) == instant("2026-03-14T09:30Z")


@pytest.mark.parametrize(
    "value",
    ["2026-03-14T09:30", datetime(2026, 3, 14, 9, 30), np.datetime64("2026-03-14T09:30")],  # noqa: DTZ001 - naive on purpose
)
def test_naive_times_are_in_the_zone(value):
    assert read(value, "America/Sao_Paulo") == instant("2026-03-14T12:30Z")


@pytest.mark.parametrize(
    "value",
    ["2026-03-14T09:30:00.0000005Z", "2026-03-14T09:30:00.000000999Z",
     pd.Timestamp("2026-03-14T09:30:00.000000001Z"), np.datetime64("2026-03-14T09:30:00.0000005")],
)  # fmt: skip
def test_an_instant_between_two_ticks_is_an_empty_span(value):
    """No case is equal to it; the ticks before it come before, the ticks after it come after."""
    between_ticks = at("2026-03-14T09:30:00.000001Z")
    assert read(value) == TimeSpan(between_ticks, between_ticks)


@LAW
@given(
    st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - Hypothesis wants it
    st.integers(0, 999),
    st.integers(-(10**6), 10**6),
)
def test_spans_compare_as_exact_moments_do(moment, nanos, away):
    """Law: with bounds finer than a tick, every case (whole ticks) is on the right side."""
    sent_request = pd.Timestamp(moment, tz="UTC").as_unit("ns") + pd.Timedelta(nanos, "ns")
    case = pd.Timestamp(moment, tz="UTC").as_unit("us") + away * US
    result = read(sent_request)
    assert (case < result.start) == (case < sent_request)
    assert (case >= result.end) == (case > sent_request)
    assert (result.start <= case < result.end) == (case == sent_request)


# --- periods -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("2026", "2026-01-01T00:00Z", "2027-01-01T00:00Z"),
        ("2024-02", "2024-02-01T00:00Z", "2024-03-01T00:00Z"),
        ("2026-12", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
        ("2026-03-14", "2026-03-14T00:00Z", "2026-03-15T00:00Z"),
        (date(2026, 3, 14), "2026-03-14T00:00Z", "2026-03-15T00:00Z"),
        (pd.Period("2026-03", "M"), "2026-03-01T00:00Z", "2026-04-01T00:00Z"),
        (pd.Period("2026Q1"), "2026-01-01T00:00Z", "2026-04-01T00:00Z"),
        (pd.Period("2026-03-14", "W"), "2026-03-09T00:00Z", "2026-03-16T00:00Z"),
        (pd.Period("2026-03-14 09", "h"), "2026-03-14T09:00Z", "2026-03-14T10:00Z"),
        (np.datetime64("2026"), "2026-01-01T00:00Z", "2027-01-01T00:00Z"),
        (np.datetime64("2026-03"), "2026-03-01T00:00Z", "2026-04-01T00:00Z"),
        (np.datetime64("2026-03-14"), "2026-03-14T00:00Z", "2026-03-15T00:00Z"),
        (np.datetime64("2026-03-14", "W"), "2026-03-12T00:00Z", "2026-03-19T00:00Z"),
        ("0001", "0001-01-01T00:00Z", "0002-01-01T00:00Z"),
        ("1500-06", "1500-06-01T00:00Z", "1500-07-01T00:00Z"),
        (date(1, 1, 1), "0001-01-01T00:00Z", "0001-01-02T00:00Z"),
    ],
)
def test_years_months_and_days_are_periods(value, start, end):
    assert read(value) == between(start, end)


@pytest.mark.parametrize(
    ("tz", "day", "start", "hours"),
    [
        ("Europe/Berlin", "2026-03-28", "2026-03-28T00:00+01:00", 24),
        ("Europe/Berlin", "2026-03-29", "2026-03-29T00:00+01:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-25T00:00+02:00", 25),
        # The clock skips midnight: the day begins at one.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00-02:00", 23),
        # Midnight comes twice, at the end of this day: it is an hour longer.
        ("America/Sao_Paulo", "2018-02-17", "2018-02-17T00:00-02:00", 25),
        ("America/Sao_Paulo", "2018-02-18", "2018-02-18T00:00-03:00", 24),
        ("Africa/Cairo", "2026-04-24", "2026-04-24T01:00+03:00", 23),
        ("Africa/Cairo", "2026-10-29", "2026-10-29T00:00+03:00", 25),
        ("Asia/Kolkata", "2026-03-14", "2026-03-14T00:00+05:30", 24),
    ],
)
def test_days_are_counted_on_the_calendar_of_the_zone(tz, day, start, hours):
    """A day of 24 hours would miss an hour of cases, or count one twice, two days a year."""
    result = read(day, tz)
    assert result.start == at(start)
    assert result.end - result.start == pd.Timedelta(hours, "h")


@LAW
@given(
    st.sampled_from(["Europe/Berlin", "America/Sao_Paulo", "Africa/Cairo", "Australia/Lord_Howe"]),
    st.dates(date(1950, 1, 1), date(2037, 12, 30)),
)
def test_days_follow_each_other_without_gap_or_overlap(tz, day):
    """A gap between two days would be a case that no day holds."""
    assert read(day, tz).end == read(day + timedelta(days=1), tz).start


@pytest.mark.parametrize(
    ("value", "tz"),
    [
        ("2026-03-29T02:30", "Europe/Berlin"),  # not at all
        ("2026-10-25T02:30", "Europe/Berlin"),  # twice
        (datetime(2026, 10, 25, 2, 30), "Europe/Berlin"),  # noqa: DTZ001 - naive on purpose
        ("2026-04-24T00:30", "Africa/Cairo"),
        ("2026-10-29T23:30", "Africa/Cairo"),
    ],
)
def test_a_naive_time_that_is_no_single_moment_is_refused(value, tz):
    """Taking one of two moments in silence would be wrong every other time."""
    with pytest.raises(FilterError, match="add an offset, such as") as refusal:
        read(value, tz)
    (advice,) = re.findall(r"such as '(.+)'", str(refusal.value))
    assert read(advice, tz) == instant(advice)  # what the message says can be typed


# --- what is no time ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["today", "now", "yesterday", "", " ", "Q1 2026", "2026-W11", "20260314", "14.03.2026", "26-03",
     "2026-3", "09:30", "NaT", 3, 2.5, True, b"2026", time(9, 30), object(), ["2026"], {"a": 1}],
)  # fmt: skip
def test_words_and_other_types_are_refused(value):
    """To pandas "today" is this very moment, another one at every read."""
    with pytest.raises(FilterError, match=r"'created_at' .*write a time such as '2026-03'"):
        read(value)


@pytest.mark.parametrize(
    "value",
    ["2026-13", "2026-02-30", "2026-00", "0000", "2026-03-14T24:00", "2026-03-14T09:60Z",
     "2026-03-14T09:30+25:00"],
)  # fmt: skip
def test_what_is_not_on_the_calendar_is_refused(value):
    with pytest.raises(FilterError, match="not a date of the calendar"):
        read(value)


@pytest.mark.parametrize(
    "value",
    [timedelta.max, timedelta.min, timedelta(days=-10**6), np.datetime64("12000"),
     np.datetime64("-0044-03-15"), np.datetime64("12000-01-01T00"), "0001-01-01T00:00+05:00",
     "1500-01-01T00:00:00.123456789Z"],
)  # fmt: skip
def test_times_beyond_the_years_are_refused(value):
    """Neither wire can spell them, and an overflow would be no answer."""
    with pytest.raises(FilterError, match="is out of range"):
        read(value)


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("value", ["9999", "9999-12", "9999-12-31", "0001", "0001-01-01"])
def test_the_first_and_last_days_can_be_asked_in_every_zone(value, tz):
    """The end of time is a favourite bound; it ends where both wires end."""
    result = read(value, tz)
    assert at("0001-01-01T00:00Z") <= result.start < result.end
    assert result.end <= at("9999-12-31T23:59:59.999Z")


# --- missing, scalars, collections -------------------------------------------------------------


@pytest.mark.parametrize("value", [None, pd.NA, pd.NaT, float("nan"), np.nan, np.datetime64("NaT")])
def test_every_kind_of_nothing_is_missing(value):
    assert is_missing(value)


@pytest.mark.parametrize("value", ["", 0, False, [], [None], "None", np.array([np.nan])])
def test_a_value_is_not_missing(value):
    assert not is_missing(value)


@pytest.mark.parametrize(
    ("field", "value", "taken"),
    [
        (TEXT, "open", "open"),
        (TEXT, np.str_("open"), "open"),
        (NUMBER, 3, 3),
        (NUMBER, np.float32(2.5), 2.5),
        (NUMBER, Fraction(1, 2), 0.5),
        (WHOLE, np.int64(7), 7),
        (WHOLE, 2.5, 2.5),
        (TRUTH, np.True_, True),
        (TRUTH, False, False),
        (CHOICE, "p1", "p1"),
        (CHOICE, "High", "p1"),
        (Field("x", "x", "X", "any"), "a", "a"),
        (Field("x", "x", "X", "any"), True, True),
        (Field("x", "x", "X", "any"), np.int64(3), 3),
    ],
)
def test_scalars_come_in_the_type_of_the_field(field, value, taken):
    result = coerce_scalar(field, value)
    assert result == taken
    assert type(result) in {type(taken), type(value)}
    assert not isinstance(result, np.generic) or isinstance(result, str)


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        (TEXT, 3, "text such as '3'"),
        (TEXT, b"red", "text such as 'red'"),
        (TEXT, b"\xff", "text such as 'open'"),
        (TEXT, object(), "text such as 'open'"),
        (NUMBER, "3", "a number such as"),
        (NUMBER, True, "a number such as"),
        (NUMBER, Decimal("0.10000000000000000001"), "a number that a float can hold"),
        (NUMBER, float("inf"), "finite"),
        (NUMBER, np.float64("-inf"), "finite"),
        (WHOLE, "many", "a number such as"),
        (TRUTH, 1, "True or False"),
        (TRUTH, "true", "True or False"),
        (CHOICE, 1, "text such as"),
        (Field("x", "x", "X", "any"), object(), "text, a number, True or False"),
    ],
)
def test_values_of_another_type_are_refused_with_what_fits(field, value, fits):
    with pytest.raises(
        FilterError, match=f"{field.column!r} is of type .* cannot be compared with .*{fits}"
    ):
        coerce_scalar(field, value)


def test_a_label_that_two_options_bear_is_taken_as_it_is():
    """Choosing one of them would leave the cases of the other out."""
    twins = Field("team", "t", "Team", "select", options=CHOICE.options[1:] + CHOICE.options[:1])
    with pytest.warns(UserWarning, match="'LOW' is not an option of 'team'"):
        assert coerce_scalar(twins, "LOW") == "LOW"


def test_a_value_that_is_no_option_warns_with_the_nearest():
    with pytest.warns(UserWarning, match="'hihg' is not an option of 'priority'; the nearest is"):
        assert coerce_scalar(CHOICE, "hihg") == "hihg"


def test_a_value_that_is_like_no_option_warns_with_the_options():
    with pytest.warns(UserWarning, match="the options are 'p1', 'p2', 'p3'"):
        coerce_scalar(CHOICE, "purple")


def test_a_select_without_known_options_takes_any_text():
    bare = Field("x", "x", "X", "select")
    assert coerce_scalar(bare, "whatever") == "whatever"


@pytest.mark.parametrize(
    "value",
    [["a"], ("a",), {"a"}, frozenset("a"), pd.Series(["a"]), pd.Index(["a"]), np.array(["a"]),
     pd.array(["a"]), {"a": 1}.keys(), range(1), (item for item in "a")],
)  # fmt: skip
def test_every_collection_means_any_of(value):
    assert is_collection(value)
    assert len(to_hashable("x", value)) == 1


@pytest.mark.parametrize("value", ["abc", b"abc", {"a": 1}, 3, None, pd.NaT, np.float64(1)])
def test_one_value_is_no_collection(value):
    """Text must not become any-of its letters."""
    assert not is_collection(value)


def test_sets_come_in_the_same_order_every_time():
    """The same question must make the same request, for caches and for people who compare."""
    words = [f"w{number}" for number in range(50)]
    assert (
        members_of(set(words))
        == members_of(frozenset(words[::-1]))
        == tuple(sorted(words, key=repr))
    )


def test_lists_keep_their_order():
    assert members_of(["b", "a"]) == ("b", "a")


@pytest.mark.parametrize("unit", ["D", "s", "ms", "us", "ns"])
def test_an_array_of_times_holds_times(unit):
    """Of nanoseconds numpy makes plain numbers, which would be no times any more."""
    (result,) = members_of(np.array(["2026-03-14"], dtype=f"datetime64[{unit}]"))
    assert at("2026-03-14T00:00Z") == read(result).start


@pytest.mark.parametrize("value", [{"a": 1}, [["a"]], [{"a": 1}], [("a", "b")], np.eye(2)])
def test_mappings_and_nested_lists_are_no_values(value):
    """They cannot be hashed, so they would end in a TypeError far from the user's line."""
    with pytest.raises(FilterError, match="'status' cannot be compared with"):
        to_hashable("status", value)
