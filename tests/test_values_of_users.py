"""Values, labels and tags as users have them mean the same on every route, or are refused."""

import enum
import warnings
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.query.coercion import check_spelling, coerce_scalar, to_hashable, unwrap
from casesearch_pd.query.option_values import parse_seconds, parse_zone, whole_number
from casesearch_pd.query.schema import Field, Option
from casesearch_pd.sources.transport.context import ReadContext

SERVICE = {"cases": 60, "seed": 3}


class State(enum.Enum):
    """A status of the user's own code."""

    OPEN = "open"


class Level(enum.IntEnum):
    """A number with a name."""

    HIGH = 3


@pytest.mark.parametrize(
    ("value", "bare"),
    [
        (State.OPEN, "open"),
        (Level.HIGH, 3),
        (np.array(3.0), 3.0),
        (np.array("open"), "open"),
        (np.array(True), True),
        (np.int64(3), 3),
        (np.bool_(False), False),
        (Decimal(3), 3),
        (Decimal("0.1"), 0.1),
        (np.array("2026-03", "datetime64[M]"), np.datetime64("2026-03")),
    ],
)
def test_a_wrapped_value_is_the_value(value, bare):
    assert to_hashable("x", value) == bare
    assert type(unwrap(value)) is type(bare)
    assert to_hashable("x", [value]) == (bare,)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (slice("2026-01", "2026-02"), r"write x__between=\('2026-01', '2026-02'\)"),
        (np.ma.masked, "cannot be compared with masked"),
        (bytearray(b"open"), "cannot be compared with"),
        (np.array({"a": 1}, dtype=object), "mapping"),
        ([slice(1, 2)], "x__between"),
    ],
)
def test_a_value_that_no_filter_can_use_is_refused(value, message):
    with pytest.raises(cs.FilterError, match=message):
        to_hashable("x", value)


@pytest.mark.parametrize(
    ("tz", "name"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (ZoneInfo("Europe/Paris"), "Europe/Paris"),
        (UTC, "UTC"),
        (timezone(timedelta(hours=2)), "+02:00"),
        (timezone(timedelta(hours=-3, minutes=-30)), "-03:30"),
        ("+02:00", "+02:00"),
        ("+00:00", "UTC"),
        ("-0330", "-03:30"),
        (pd.Timestamp("2026-01-01", tz="Asia/Kolkata").tz, "Asia/Kolkata"),
        (pd.Timestamp("2026-01-01T00:00+02:00").tz, "+02:00"),
    ],
)
def test_a_zone_is_named_whatever_object_it_is(tz, name):
    assert parse_zone(tz) == name
    assert pd.Timestamp("2026-01-01").tz_localize(name).tz is not None


@pytest.mark.parametrize(
    "tz", ["Mars/Base", "", None, 3, "+25:00", "../etc", timezone(timedelta(seconds=30))]
)
def test_no_zone_is_refused(tz):
    with pytest.raises(cs.FilterError, match="time zone"):
        parse_zone(tz)


def test_numbers_of_options_are_taken_as_what_they_are():
    for value in (np.int64(5), np.uint8(5), Decimal(5), np.array(5), Fraction(5), 5):
        assert whole_number(value) == 5
    for value in (5.0, "5", True, np.bool_(True), Decimal("5.5"), Fraction(1, 2), None):
        assert whole_number(value) is None


def test_durations_of_options_are_taken_as_what_they_are():
    for value in (timedelta(seconds=5), pd.Timedelta("5s"), np.timedelta64(5, "s"), np.int64(5)):
        assert parse_seconds(value) == 5
    assert parse_seconds(Decimal("2.5")) == parse_seconds("2.5s") == 2.5
    assert parse_seconds(float("inf")) == float("inf")
    for value in ("5", "soon", True, None, pd.NaT, np.timedelta64("NaT"), float("nan"), [5]):
        assert parse_seconds(value) is None
    assert ReadContext.with_timeout(timedelta(minutes=1)).timeout == 60
    for value in (0, timedelta(0), "-5s", float("nan"), "5"):
        with pytest.raises(cs.FilterError, match="timeout must be a positive number of seconds"):
            ReadContext.with_timeout(value)


LEVEL = Field(
    "level", "level-id", "Level", "select",
    options=(Option("hi", "High"), Option("LO", "Low"), Option("hold", "On hold"),
             Option("x", "Both"), Option("y", "Both")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [("hi", "hi"), ("High", "hi"), ("HIGH", "hi"), ("Hi", "hi"), ("lo", "LO"), ("on HOLD", "hold")],
)
def test_an_option_is_named_by_value_or_label_in_any_letter_case(text, value):
    assert coerce_scalar(LEVEL, text) == value


@pytest.mark.parametrize(
    ("text", "nearest"), [("hihg", "High"), ("Both", "the"), ("zzz", "the options are 'hi'")]
)
def test_an_option_that_is_unknown_or_ambiguous_warns(text, nearest):
    with pytest.warns(UserWarning, match=f"{text!r} is not an option of 'level'.*{nearest}"):
        assert coerce_scalar(LEVEL, text) == text


def test_a_status_in_another_spelling_warns_and_is_kept():
    status = Field("status", "status", "Status", "text", examples=("Open", "Ready for Review"))
    for text, near in {"open": "Open", "Opne": "Open", "ready for review": "Ready"}.items():
        with pytest.warns(UserWarning, match=f"status={text!r}; the nearest is '{near}"):
            check_spelling(status, text)
    check_spelling(status, "Open")  # no warning, which would be an error here
    check_spelling(status, "Closed")


def test_options_of_a_read_are_what_they_look_like(source):
    df = cs.read_cases(
        source, tz=ZoneInfo("Europe/Paris"), limit=np.int64(7), max_workers=np.int64(2),
        columns=(name for name in ["case_id", "created_at"]), timeout=timedelta(minutes=1),
        progress=False,
    )  # fmt: skip
    assert len(df) == 7
    assert list(df.columns) == ["case_id", "created_at"]
    assert str(df["created_at"].dt.tz) == df.cases.provenance["tz"] == "Europe/Paris"
    shifted = cs.read_cases(source, tz=timezone(timedelta(hours=2)), limit=7, progress=False)
    assert shifted.cases.provenance["tz"] == "+02:00"
    assert shifted["created_at"].iloc[0] == df["created_at"].iloc[0]
    assert shifted["created_at"].iloc[0].utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"team": None}, "no filter finds cases without a key"),
        ({"team": float("nan")}, "no filter finds cases without a key"),
        ({"team": True}, "must be text such as 'True', got True"),
        ({"team": 1}, "must be text such as '1', got 1"),
        (
            {"team": ["red", "blue"]},
            r"contains\('team=red'\) \| cs.field\('tags'\).contains\('team=blue'\)",
        ),
        ({1: "x"}, "the key of a tag must be text"),
        ({"te=am": "red"}, "the key of a tag must be text without '='"),
        ([None], "tags must be texts that are not empty, got None"),
        (["team=red", 3], "tags must be texts that are not empty, got 3"),
    ],
)
def test_a_tag_that_is_no_text_is_refused(service, tags, message):
    with pytest.raises(cs.FilterError, match=message):
        cs.read_cases(service.sources["connect"], tags=tags, progress=False)


def test_is_open_means_what_the_service_means(source, tmp_path):
    df = cs.read_cases(source, progress=False)
    expected = df.loc[df.cases.is_open, "case_id"].tolist()
    assert 0 < len(expected) < len(df)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Persona finds missing times locally
        found = cs.read_cases(source, is_open=True, progress=False)
        closed = cs.read_cases(source, where=~(cs.field("is_open") == True), progress=False)  # noqa: E712
        assert cs.count_cases(source, is_open=False) == len(closed) == len(df) - len(expected)
        mirror = cs.Mirror(tmp_path / "cases.duckdb")
        mirror.sync(source, progress=False)
        stored = cs.read_cases(mirror, is_open=np.True_, progress=False)
        for value in ("yes", None, 1, [True]):
            with pytest.raises(cs.FilterError, match="is_open must be True or False"):
                cs.read_cases(source, is_open=value, progress=False)
        with pytest.raises(cs.FilterError, match="is_open must be True or False"):
            cs.read_cases(source, is_open__gt=False, progress=False)
    assert found["case_id"].tolist() == expected == stored["case_id"].tolist()
