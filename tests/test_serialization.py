"""Stored filters: what provenance keeps means the same when it is read again."""

import json
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd import FilterError
from casesearch_pd.query.binding import BindingContext, bind, from_keywords
from casesearch_pd.query.coercion import coerce_time_span, is_missing
from casesearch_pd.query.expressions import And, Compare, Not, Or, all_of, any_of, negate
from casesearch_pd.query.serialization import filter_from_json, filter_to_json
from tests.bound_filters import LAW, TIME, a_schema

NOW = pd.Timestamp("2026-03-14T12:00Z")


def again(term):
    """Write and read, through the JSON text that provenance is."""
    return filter_from_json(json.loads(json.dumps(filter_to_json(term), allow_nan=False)))


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), FLOATS, st.text())
VALUES = PLAIN | st.tuples(PLAIN, PLAIN)
TREES = st.recursive(
    st.builds(Compare, st.text(), st.sampled_from(["eq", "in", "gt"]), VALUES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(all_of),
        st.lists(inner, max_size=3).map(any_of),
        inner.map(negate),
    ),
    max_leaves=8,
)


@LAW
@given(TREES)
def test_every_expression_comes_back(expression):
    """A filter that came back as another would refresh other cases."""
    assert again(expression) == expression


@pytest.mark.parametrize(
    "value",
    [
        "2026-03", "2026-03-14T09:30", date(2026, 3, 14), date(1, 1, 1),
        datetime(2026, 3, 14, 9, 30), datetime(2026, 3, 14, 9, 30, tzinfo=UTC),  # noqa: DTZ001
        pd.Timestamp("2026-03-14T09:30:00.123456789", tz="Asia/Kolkata"),
        pd.Period("2026-03", "M"), pd.Period("2026Q1"), pd.Period("2026-03-14", "W"),
        pd.Period("2026-03-14 09", "h"), pd.Period("2026", "Y"),
        timedelta(days=-7), pd.Timedelta("-90min"), np.timedelta64(-3, "h"),
        np.datetime64("2026-03"), np.datetime64("2026"), np.datetime64("2026-03-14"),
        np.datetime64("2026-03-14T09:30"), np.datetime64("2026-03-14T09:30:00.123456789"),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin"])
def test_times_come_back_with_their_meaning(value, tz):
    """A period must not come back as an instant, nor a relative time as a fixed one."""
    back = again(Compare("created_at", "eq", value)).value
    for now in (NOW, NOW + pd.Timedelta("1D")):
        assert coerce_time_span(TIME, back, tz=tz, now=now) == coerce_time_span(
            TIME, value, tz=tz, now=now
        )


@pytest.mark.parametrize(
    ("value", "remaining_rows"),
    [(np.int64(3), 3), (np.float32(1.5), 1.5), (np.True_, True), (np.str_("a"), "a"),
     (Fraction(1, 2), 0.5), (2**70, 2**70), (True, True)],
)  # fmt: skip
def test_numbers_of_every_make_come_back_plain(value, remaining_rows):
    back = again(Compare("x", "eq", value)).value
    assert back == remaining_rows
    assert type(back) is type(remaining_rows)


@pytest.mark.parametrize(
    "value", [None, pd.NA, pd.NaT, float("nan"), np.float64("nan"), np.datetime64("NaT"),
              np.timedelta64("NaT")],
)  # fmt: skip
def test_every_kind_of_nothing_comes_back_missing(value):
    assert is_missing(again(Compare("x", "eq", value)).value)


def test_what_is_of_no_known_kind_is_kept_as_text():
    """Provenance must never fail a read; the filter itself was refused long before."""
    assert filter_to_json(Compare("x", "eq", 3 + 4j))["value"] == "(3+4j)"


def test_bound_fields_are_stored_by_their_column():
    assert filter_to_json(Compare(TIME, "isna", None)) == {
        "field": "created_at",
        "op": "isna",
        "value": None,
    }


def test_stored_text_is_readable():
    details = filter_to_json(
        Not(And((Compare("a", "in", ("x", None)), Or((Compare("b", "gt", 1),)))))
    )
    assert details == {
        "not": {
            "and": [
                {"field": "a", "op": "in", "value": ["x", None]},
                {"or": [{"field": "b", "op": "gt", "value": 1}]},
            ]
        }
    }


def test_a_stored_relative_time_counts_from_the_day_it_is_read():
    schema = a_schema()
    written = from_keywords({"created_at__gte": timedelta(days=-7)}, schema)
    later = bind(again(written), BindingContext(schema, "UTC", NOW + pd.Timedelta("30D")))
    assert later == Compare(TIME, "gte", pd.Timestamp("2026-04-06T12:00Z"))


@pytest.mark.parametrize(
    "details",
    [{}, {"field": 3, "op": "eq", "value": 1}, {"and": {}}, {"not": []}, [], "open", None],
)
def test_what_is_no_stored_filter_is_refused(details):
    with pytest.raises(FilterError, match="not a filter in JSON"):
        filter_from_json(details)
