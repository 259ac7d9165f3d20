"""`where` on a DataFrame from elsewhere: each cell type is converted once, or refused."""

import datetime as dt
import enum
import io
import uuid
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import casesearch_pd as cs
from casesearch_pd.reading.frames.cells import cell_type, typed_cells
from casesearch_pd.reading.provenance import zone_of_frame


class State(enum.Enum):
    """A plain enumeration."""

    OPEN = "open"
    CLOSED = "closed"


class Level(enum.IntEnum):
    """Members that are numbers."""

    LOW = 1
    HIGH = 2


class Mode(str, enum.Enum):  # noqa: UP042 - str() of it is not its value
    """Members that are texts."""

    FAST = "fast"
    SLOW = "slow"


ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)
UTC = dt.UTC


def arrow(cells, type_):
    return pd.array(cells, dtype=pd.ArrowDtype(type_))


def objects(*cells):
    return pd.Series(cells, dtype=object)


def matching(cells, **filters):
    """Return the positions of the rows that match."""
    frame = pd.DataFrame({"case_id": [f"c{at}" for at in range(len(cells))], "x": cells})
    return [int(case_id[1:]) for case_id in frame.cases.where(**filters)["case_id"]]


# --- times ----------------------------------------------------------------------------------------

JANUARY, FEBRUARY = dt.datetime(2026, 1, 5, 12), dt.datetime(2026, 2, 5, 12)  # noqa: DTZ001
ROWS_OF_TIMES = {
    "naive datetimes": objects(JANUARY, FEBRUARY, None),
    "aware datetimes": objects(JANUARY.replace(tzinfo=UTC), FEBRUARY.replace(tzinfo=UTC), None),
    "timestamps": objects(pd.Timestamp(JANUARY, tz="UTC"), pd.Timestamp(FEBRUARY), pd.NaT),
    "dates": objects(dt.date(2026, 1, 5), dt.date(2026, 2, 5), None),
    "dates and times": objects(dt.date(2026, 1, 5), FEBRUARY.replace(tzinfo=UTC), pd.NA),
    "numpy times": objects(np.datetime64("2026-01-05"), np.datetime64("2026-02-05T12"), np.nan),
    "day periods": objects(pd.Period("2026-01-05", "D"), pd.Period("2026-02-05", "D"), None),
    "period": pd.PeriodIndex(["2026-01-05", "2026-02-05", None], freq="D"),
    "date32": arrow([dt.date(2026, 1, 5), dt.date(2026, 2, 5), None], pa.date32()),
    "date64": arrow([dt.date(2026, 1, 5), dt.date(2026, 2, 5), None], pa.date64()),
    "naive arrow": arrow([JANUARY, FEBRUARY, None], pa.timestamp("ms")),
    "naive dtype": pd.Series([JANUARY, FEBRUARY, None]),
    "category": pd.Categorical([pd.Timestamp(JANUARY), pd.Timestamp(FEBRUARY), None]),
    "category of dates": pd.Categorical(objects(dt.date(2026, 1, 5), dt.date(2026, 2, 5), None)),
    "days as text": ["2026-01-05", "2026-02-05", None],
    "times as text": ["2026-01-05 12:00:00", "2026-02-05T12:00:00.5", None],
    "offsets as text": ["2026-01-05T12:00:00+01:00", "2026-02-05 12:00:00.123456+00:00", None],
    "some offsets as text": ["2026-01-05T12:00Z", "2026-02-05", None],
    "category of text": pd.Categorical(["2026-01-05", "2026-02-05", None]),
    "arrow text": arrow(["2026-01-05", "2026-02-05", None], pa.string()),
    "dictionary": pd.Series(arrow(["2026-01-05", "2026-02-05", None], pa.string())).astype(
        pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))
    ),
    "months as text": ["2026-01", "2026-02", None],
}
QUESTIONS_OF_TIMES = [
    ({"x__gte": "2026-02"}, [1]),
    ({"x": "2026-01"}, [0]),
    ({"x__ne": "2026-01"}, [1, 2]),
    ({"x": ["2026-01", "2026-02"]}, [0, 1]),
    ({"x__lt": pd.Timestamp("2026-01-20", tz="UTC")}, [0]),
    ({"x__between": (dt.date(2026, 1, 1), dt.date(2026, 1, 31))}, [0]),
    ({"x__lte": "2025"}, []),
    ({"x__isna": True}, [2]),
    ({"x": None}, [2]),
]


@pytest.mark.parametrize("cells", ROWS_OF_TIMES.values(), ids=ROWS_OF_TIMES)
def test_times_in_any_form_are_compared_as_times(cells):
    for filters, expected in QUESTIONS_OF_TIMES:
        assert matching(cells, **filters) == expected, filters


@pytest.mark.parametrize("name", ["created_at", "closed_at"])
def test_a_column_of_times_by_name_is_never_compared_as_text(name):
    frame = pd.DataFrame({"case_id": ["a"], name: ["10/03/2026"]})
    for filters in ({name: "10/03/2026"}, {f"{name}__contains": "10"}, {f"{name}__ne": "x"}):
        with pytest.raises(cs.FilterError, match=f"'{name}' holds text such as '10/03/2026'"):
            frame.cases.where(**filters)
    assert len(frame.cases.where({f"{name}__isna": False})) == 1


@pytest.mark.parametrize(
    "cells",
    [
        ["10/03/2026", "10/20/2026"],
        ["3.10.2026", "20.10.2026"],
        ["2026/10/03", "2026/10/20"],
        ["2026-W01", "2026-W05"],
        ["3 Oct 2026", "20 Oct 2026"],
        ["Oct 3, 2026", "October 20, 2026"],
        ["n/a", "2026-10-03", "2026-10-20"],
        ["2026-10-03", "2026-02-30"],
    ],
)
@pytest.mark.parametrize("filters", [{"x__gte": "2026-11"}, {"x": "2026-10"}, {"x__lt": "11/2026"}])
def test_dates_as_text_that_cannot_be_read_for_certain_are_refused(cells, filters):
    with pytest.raises(cs.FilterError, match=r"'x' holds text such as .*pd\.to_datetime"):
        matching(cells, **filters)


def test_text_without_dates_is_compared_as_text():
    assert matching(["b", "2", None, "1999"], x__gte="2") == [0, 1]
    assert matching(["2026", "2025", "9"], x="2026") == [0]
    assert matching(["from 2026-10-03", "to 2026-10-04"], x__contains="2026-10-03") == [0]
    assert matching(["2026-10-03", "2026-10-04", "soon"], x__contains="10-03") == [0]
    assert matching(["2026-10-03", "2026-10-04", "soon"], x="soon") == [2]
    assert matching(["90210-1234", "10115"], x__lt="5") == [1]


def test_days_begin_at_midnight_in_the_zone_of_the_frame():
    times = pd.to_datetime(["2026-06-01 12:00"] * 2).tz_localize("Europe/Berlin")
    frame = pd.DataFrame({"case_id": ["a", "b"], "at": times, "x": ["2026-06-01", "2026-06-02"]})
    for cells in (frame["x"], frame["x"].astype("datetime64[us]").dt.date):
        where = frame.assign(x=cells).cases.where
        assert where(x__gte="2026-05-31T22:00Z", x__lt="2026-05-31T22:01Z")["case_id"].item() == "a"


@pytest.mark.parametrize("year", [1, 9999])
def test_times_at_the_edge_of_the_calendar_are_compared(year):
    cells = objects(dt.datetime(year, 6, 1), dt.datetime(2026, 1, 1, tzinfo=UTC))  # noqa: DTZ001
    assert matching(cells, x__lt="2000") == ([0] if year == 1 else [])
    assert matching([f"{year:04}-06-01", "2026-01-01"], x__gt="2100") == ([] if year == 1 else [0])


@pytest.mark.parametrize("columns", [["created_at"], ["created_at", "closed_at", "updated_at"]])
@pytest.mark.parametrize("service", ["connect", "persona"])
def test_a_frame_prepared_for_a_database_is_filtered_as_before(service, columns):
    with cs.LocalCases(cases=80, seed=4) as local:
        frame = cs.read_cases(getattr(local, f"{service}_cases")(), tz="Asia/Kathmandu")
    as_objects = frame.astype(object).where(frame.notna(), None)
    naive = frame.assign(**{name: frame[name].dt.tz_localize(None) for name in columns})
    as_text = frame.assign(**{name: frame[name].astype("str") for name in columns})
    loaded = pd.read_csv(io.StringIO(frame.drop(columns="tags").to_csv(index=False)))
    day = str(frame["created_at"].sort_values().iloc[40])[:10]
    for filters in (
        {"created_at__gte": day},
        {"created_at": day},
        {"created_at__ne": day},
        {"created_at__lt": day, "status__ne": "closed"},
        {"closed_at__isna": False},
    ):
        expected = frame.cases.where(**filters)["case_id"].tolist()
        assert expected
        for other in (as_objects, naive, as_text, loaded):
            tz = "Asia/Kathmandu" if other is loaded else None
            assert other.cases.where(**filters, tz=tz)["case_id"].tolist() == expected, filters


# --- other values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "filters", "expected"),
    [
        (objects(ONE, TWO, None), {"x": str(TWO)}, [1]),
        (objects(ONE, TWO, None), {"x": [str(ONE), str(TWO)]}, [0, 1]),
        (objects(State.OPEN, State.CLOSED, None), {"x": "open"}, [0]),
        (objects(State.OPEN, State.CLOSED, None), {"x__ne": "open"}, [1, 2]),
        (objects(Mode.FAST, Mode.SLOW), {"x": "slow"}, [1]),
        (objects(Level.LOW, Level.HIGH), {"x__gt": 1}, [1]),
        (pd.Categorical([State.OPEN, State.CLOSED]), {"x": "closed"}, [1]),
        (objects(np.str_("a"), "b"), {"x": "a"}, [0]),
        (objects(("a", "b"), ["c"], None), {"x__contains": "b"}, [0]),
        (objects({"a", "b"}, frozenset("c"), None), {"x__contains": "c"}, [1]),
        (objects(np.array(["a"]), np.array([]), None), {"x__contains": "a"}, [0]),
        (arrow([["a"], ["b"], None], pa.list_(pa.string())), {"x__contains": "b"}, [1]),
        (pd.Categorical([1, 2, None, 1]), {"x": 1}, [0, 3]),
        (pd.Categorical([1, 2, None, 1]), {"x__gte": 2}, [1]),
        (pd.Categorical([1.5, None]), {"x__lt": 2}, [0]),
        (pd.Categorical([True, False, None]), {"x": False}, [1]),
        (pd.Categorical(["a", None], categories=["b", "a"]), {"x": "a"}, [0]),
        (pd.Categorical(["a", None], categories=["b", "a"]), {"x__ne": "a"}, [1]),
        (pd.Categorical([None, None]), {"x": None}, [0, 1]),
        (objects(1, 2, None), {"x__gte": 2}, [1]),
        (objects(1, 2.5, None), {"x__gt": 1}, [1]),
        (objects(np.int64(1), np.float32(2.5)), {"x__gt": 1}, [1]),
        (objects(2**70, 2**53 + 1, 1), {"x": 2**53 + 1}, [1]),
        (objects(2**70, 2**53 + 1, 1), {"x__gt": 2**53}, [0, 1]),
        (objects(Decimal("0.1"), Decimal("NaN"), None), {"x__lte": 0.5}, [0]),
        (objects(Decimal("0.10"), Decimal(3), Fraction(1, 3)), {"x": 3}, [1]),
        (objects(True, False, None), {"x": False}, [1]),
        (objects(np.True_, None), {"x": True}, [0]),
        (arrow([Decimal("1.5"), None], pa.decimal128(4, 1)), {"x": 1.5}, [0]),
        (arrow([None, None], pa.null()), {"x__isna": True}, [0, 1]),
        (pd.arrays.SparseArray([0, 0, 3]), {"x": 3}, [2]),
        (objects("a", 3, True, None), {"x": "a"}, [0]),
        (objects("a", 3, True, None), {"x": 3}, [1]),
        (objects("a", 3, ["a"], {"b": 1}, None), {"x__ne": "a"}, [1, 2, 3, 4]),
    ],
)
def test_values_in_any_form_are_compared(cells, filters, expected):
    assert matching(cells, **filters) == expected


REFUSED = {
    "clock time": objects(dt.time(12), None),
    "clock times of arrow": arrow([dt.time(12), None], pa.time64("us")),
    "timedelta": objects(dt.timedelta(1), None),
    "timedelta dtype": pd.to_timedelta(["1D", None]),
    "duration": arrow([dt.timedelta(1), None], pa.duration("us")),
    "bytes": objects(b"a", None),
    "binary": arrow([b"a", None], pa.binary()),
    "complex": pd.Series([1j, np.nan]),
    "complex objects": objects(1j, None),
    "interval": pd.IntervalIndex.from_breaks([0, 1, 2]),
    "month period": pd.PeriodIndex(["2026-01", None], freq="M"),
    "month periods": objects(pd.Period("2026-01", "M"), None),
    "struct": arrow([{"a": 1}, None], pa.struct({"a": pa.int64()})),
    "times and text": objects(pd.Timestamp("2026"), "n/a"),
    "times and numbers": objects(dt.date(2026, 1, 1), 3),
    "own class": objects(pathlike := type("Own", (), {})(), pathlike),
}


@pytest.mark.parametrize("cells", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("filters", [{"x": "a"}, {"x__ne": 3}, {"x__gte": "2026"}])
def test_a_type_that_no_filter_compares_is_refused_with_a_way_out(cells, filters):
    with pytest.raises(cs.FilterError, match=r"'x' holds .*convert it"):
        matching(cells, **filters)


@pytest.mark.parametrize("cells", REFUSED.values(), ids=REFUSED)
def test_missing_cells_of_any_type_can_be_filtered(cells):
    missing = np.flatnonzero(pd.Series(cells).isna()).tolist()
    assert matching(cells, x__isna=True) == matching(cells, x=None) == missing
    assert len(matching(cells, x__isna=False)) == 2 - len(missing)


@pytest.mark.parametrize(
    ("cells", "kind", "result"),
    [
        (["2026-03-01"], "text", "text"),
        (["2026-03-01"], "datetime", "datetime"),
        (objects(1, 2), "any", "integer"),
        (objects(1, 2.5), "any", "number"),
        (objects([], ["a"]), "any", "list"),
        (objects({"a": 1}), "any", "json"),
        (objects({"a": 1}, "b"), "any", "any"),
        (objects(None, None), "any", "any"),
    ],
)
def test_the_type_of_a_field_is_that_of_the_read_or_of_the_cells(cells, kind, result):
    assert cell_type(typed_cells(pd.Series(cells), "UTC", kind)) == result


def test_the_zone_of_a_frame():
    naive = pd.DataFrame({"case_id": ["a"], "at": pd.to_datetime(["2026-01-01"])})
    assert zone_of_frame(naive) == "UTC"
    assert zone_of_frame(naive, "Asia/Kathmandu") == "Asia/Kathmandu"
    other = naive.assign(other=naive["at"].dt.tz_localize("Europe/Berlin"))
    assert str(zone_of_frame(other, "Asia/Kathmandu")) == "Europe/Berlin"
    by_arrow = naive.assign(other=arrow([None], pa.timestamp("us", "Europe/Berlin")))
    assert zone_of_frame(by_arrow) == "Europe/Berlin"
