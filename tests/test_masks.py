"""Any of many values, by a lookup: the same rows as one comparison after another."""

import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd.query.expressions import And, Compare, Not, Or, all_of, any_of
from casesearch_pd.query.schema import Field
from casesearch_pd.reading.frames.masks import mask
from tests.bound_filters import LAW, LIST, TEXT, TIME

ANY = Field("x", "x", "X", "any")
BIG = 2**53
NUMBERS = [0, 1, -1, True, False, 0.1, 2.5, BIG, BIG + 1, -BIG - 1, 2.0**60, 2**62, 2**70, 1e300]
VALUES = [*NUMBERS, "a", "A", "", "ß", "1"]
COLUMNS = {
    "int64": pd.Series([0, 1, -1, BIG, BIG + 1, 2**62]),
    "Int64": pd.Series([0, 1, None, BIG + 1, 2**62], dtype="Int64"),
    "int8": pd.Series([0, 1, -1], dtype="int8"),
    "uint64": pd.Series([0, 1, BIG + 1, 2**63 + 1], dtype="uint64"),
    "float64": pd.Series([0, 1, np.nan, 0.1, -0.0, np.inf, 2.0**60]),
    "Float64": pd.Series([0, 1, None, 0.1], dtype="Float64"),
    "float32": pd.Series([0, 1, 0.1, np.nan], dtype="float32"),
    "bool": pd.Series([True, False]),
    "boolean": pd.Series([True, False, None], dtype="boolean"),
    "arrow int": pd.Series([0, 1, None, BIG + 1], dtype=pd.ArrowDtype(pa.int64())),
    "arrow double": pd.Series([0, 1, None, 0.1], dtype=pd.ArrowDtype(pa.float64())),
    "arrow decimal": pd.Series([0, 1, None], dtype=pd.ArrowDtype(pa.decimal128(5, 1))),
    "text": pd.Series(["a", "A", None, "", "1"]),
    "nullable text": pd.Series(["a", "A", None, "", "1"], dtype="string"),
    "arrow text": pd.Series(["a", "A", None, ""], dtype=pd.ArrowDtype(pa.string())),
    "objects": pd.Series([0, 1.0, True, "a", None, np.nan, pd.NA, [1], {"a": 1}, {1}, np.int8(1)]),
    "large objects": pd.Series([2**70, BIG + 1, 0.1, float(BIG)], dtype=object),
}


def one_by_one(frame, expression):
    """Return the rows that match, by one comparison after the other."""
    match expression:
        case Or(terms):
            return np.logical_or.reduce([one_by_one(frame, term) for term in terms])
        case And(terms):
            return np.logical_and.reduce([one_by_one(frame, term) for term in terms])
        case Not(term):
            return ~one_by_one(frame, term)
        case _:
            return mask(frame, expression)


@pytest.mark.parametrize("name", COLUMNS)
@LAW
@given(values=st.lists(st.sampled_from(VALUES), min_size=2, max_size=12))
def test_any_and_none_of_values_are_what_each_of_them_is(name, values):
    frame = pd.DataFrame({"x": COLUMNS[name]})
    some = any_of([Compare(ANY, "eq", value) for value in values])
    none = all_of([Not(Compare(ANY, "eq", value)) for value in values])
    assert mask(frame, some).tolist() == one_by_one(frame, some).tolist()
    assert mask(frame, none).tolist() == one_by_one(frame, none).tolist()


MOMENTS = pd.to_datetime(
    ["1960-01-01T00:00:00.0000005", "1970", "2026-03-01", "2026-03-02", None, "2026-05-01"],
    utc=True,
    format="ISO8601",
)
TIMES = {
    "ns": MOMENTS.as_unit("ns"),
    "us": MOMENTS.as_unit("us"),
    "zone": MOMENTS.as_unit("us").tz_convert("Asia/Kathmandu"),
    "arrow": MOMENTS.as_unit("us").astype(pd.ArrowDtype(pa.timestamp("us", "UTC"))),
    "arrow ns": MOMENTS.as_unit("ns").astype(pd.ArrowDtype(pa.timestamp("ns", "UTC"))),
}
ENDS = [*MOMENTS.dropna(), *(MOMENTS.dropna() + pd.Timedelta("36h")), MOMENTS[0].floor("us")]


@pytest.mark.parametrize("name", TIMES)
@LAW
@given(st.lists(st.tuples(st.sampled_from(ENDS), st.sampled_from(ENDS)), min_size=2, max_size=8))
def test_any_of_periods_is_what_each_of_them_is(name, pairs):
    """Also if they overlap, are empty or reversed, and with times finer than microseconds."""
    frame = pd.DataFrame({TIME.column: TIMES[name]})
    periods = [And((Compare(TIME, "gte", a), Compare(TIME, "lt", b))) for a, b in pairs]
    assert mask(frame, any_of(periods)).tolist() == one_by_one(frame, any_of(periods)).tolist()


@LAW
@given(st.lists(st.sampled_from(["a", "b", "c", "1"]), min_size=2, unique=True))
def test_any_of_members_is_what_each_of_them_is(values):
    cells = [["a"], [], None, ["b", {"c": 1}], [{"a": 1}], "a", [1, "c"]]
    frame = pd.DataFrame({LIST.column: pd.Series(cells, dtype=object), TEXT.column: "ABC1"})
    for field in (LIST, TEXT):
        some = any_of([Compare(field, "contains", value) for value in values])
        assert mask(frame, some).tolist() == one_by_one(frame, some).tolist()


@pytest.mark.parametrize("kind", ["text", "integer", "datetime", "object"])
def test_the_cost_of_many_values_does_not_grow_with_their_number(kind):
    count = 100_000
    column = {
        "text": pd.Series([f"c{number:06}" for number in range(count)]),
        "integer": pd.Series(range(count)),
        "datetime": pd.Series(pd.date_range("2020", periods=count, freq="min", tz="UTC")),
        "object": pd.Series([f"c{number:06}" for number in range(count)], dtype=object),
    }[kind]
    frame = pd.DataFrame({"x": column})
    values = column.iloc[::50].tolist()
    tick = pd.Timedelta("1s")
    some = any_of(
        And((Compare(ANY, "gte", value), Compare(ANY, "lt", value + tick)))
        if kind == "datetime"
        else Compare(ANY, "eq", value)
        for value in values
    )
    for expression in (some, Not(some), all_of(Not(term) for term in some.terms)):
        begin = time.process_time()
        matches = mask(frame, expression)
        seconds = time.process_time() - begin
        assert matches.sum() in {len(values), count - len(values)}
        assert seconds < 0.5  # one by one: 2,000 comparisons of 100,000 cells take many seconds
