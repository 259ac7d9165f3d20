"""Frames from typed columns: dtypes, order, and the mask compared with a loop over the rows."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd import FilterError
from casesearch_pd.query.expressions import FALSE, TRUE, Compare, Not
from casesearch_pd.query.schema import Field
from casesearch_pd.reading.frames.columns import Columns
from casesearch_pd.reading.frames.frame import (
    build_frame,
    filter_rows,
    join_passes_on_id,
    keep_newest,
    sort_rows,
)
from casesearch_pd.reading.frames.masks import mask
from casesearch_pd.sources.base import Page, Sort
from tests.bound_filters import (
    FIELDS,
    LAW,
    LIST,
    NUMBER,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    a_row,
    an_expression,
    keeps,
)

BACKENDS = (None, "numpy_nullable", "pyarrow")
CASE_ID = Field("case_id", "id", "Case", "text")
ANY = Field("x", "fields.x", "X", "any", "custom")


def columns_of(rows, fields=FIELDS):
    columns = Columns((CASE_ID, *fields))
    cells = {item.column: [_to_cell(row[item.column]) for row in rows] for item in fields}
    cells["case_id"] = [f"case-{number:03d}" for number in range(len(rows))]
    columns.add(Page(len(rows), cells, None, None, pd.Timestamp("2026-03-14T12:00Z")))
    return columns.finish()[0]


def _to_cell(value):
    return value.isoformat() if isinstance(value, pd.Timestamp) else value


def frame_of(rows, backend=None, tz="UTC", fields=FIELDS):
    return build_frame(columns_of(rows, fields), tz=tz, backend=backend)


def rows_of(field, *values):
    return [{item.column: None for item in FIELDS} | {field.column: value} for value in values]


# --- dtypes ---------------------------------------------------------------------------------------

DTYPES = {
    None: {
        "title": pd.StringDtype(na_value=np.nan), "priority": pd.StringDtype(na_value=np.nan),
        "amount": pd.Float64Dtype(), "contacts": pd.Int64Dtype(), "vip": pd.BooleanDtype(),
        "created_at": pd.DatetimeTZDtype("us", "Europe/Berlin"), "labels": np.dtype(object),
    },
    "numpy_nullable": {
        "title": pd.StringDtype(), "priority": pd.StringDtype(),
        "amount": pd.Float64Dtype(), "contacts": pd.Int64Dtype(), "vip": pd.BooleanDtype(),
        "created_at": pd.DatetimeTZDtype("us", "Europe/Berlin"), "labels": np.dtype(object),
    },
    "pyarrow": {
        "title": pd.ArrowDtype(pa.large_string()), "priority": pd.ArrowDtype(pa.large_string()),
        "amount": pd.ArrowDtype(pa.float64()), "contacts": pd.ArrowDtype(pa.int64()),
        "vip": pd.ArrowDtype(pa.bool_()),
        "created_at": pd.ArrowDtype(pa.timestamp("us", "Europe/Berlin")),
        "labels": np.dtype(object),
    },
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_dtypes_do_not_depend_on_the_number_of_rows(backend, rows):
    """Code for a full frame must run on an empty one, and on one without any value."""
    frame = frame_of(rows_of(TEXT, *[None] * rows), backend, "Europe/Berlin")
    assert frame.dtypes.drop("case_id").to_dict() == DTYPES[backend]
    assert list(frame.columns) == ["case_id", *(item.column for item in FIELDS)]
    assert len(frame) == rows


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("field", "value"),
    [(TEXT, "日本"), (NUMBER, -1.5), (WHOLE, 2**60 + 1), (TRUTH, False), (LIST, ["a"])],
)
def test_cells_keep_their_values(field, value, backend):
    """An integer next to a missing value must not lose its last digits as a float."""
    column = frame_of(rows_of(field, value, None), backend)[field.column]
    assert column[0] == value
    assert pd.isna(column[1])


def test_times_are_in_the_time_zone():
    timestamp = pd.Timestamp("2026-03-29T01:30Z")
    cell = frame_of(rows_of(TIME, timestamp), tz="Europe/Berlin")["created_at"][0]
    assert cell == timestamp
    assert cell.isoformat() == "2026-03-29T03:30:00+02:00"


def test_an_unknown_backend_is_refused():
    with pytest.raises(
        FilterError, match="dtype_backend must be None, 'numpy_nullable' or 'pyarrow', got 'polars'"
    ):
        frame_of([], "polars")


# --- the mask -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@LAW
@given(an_expression(), st.lists(a_row(), max_size=8))
def test_the_mask_means_what_the_expression_means(backend, expression, rows):
    """Laws 1 and 2: the mask equals a loop over the values."""
    result = mask(frame_of(rows, backend, "Europe/Berlin"), expression)
    assert result.dtype == bool
    assert result.tolist() == [keeps(expression, row) for row in rows]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.column)
def test_a_column_without_values_matches_no_comparison(field, backend):
    """A comparison with a missing value is false, and its negation true."""
    frame = frame_of(rows_of(field, None, None), backend)
    comparison = Compare(field, "contains" if field is LIST else "eq", _some_value(field))
    assert not mask(frame, comparison).any()
    assert mask(frame, Not(comparison)).all()
    assert mask(frame, Compare(field, "isna", None)).all()


def _some_value(field):
    return {"boolean": True, "datetime": pd.Timestamp("2026-03-14T12:00Z")}.get(
        field.type, 1 if field.type in {"number", "integer"} else "p1"
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("cells", "op", "value", "expected"),
    [
        ([True, False, None], "eq", 1, [False, False, False]),
        ([True, False, None], "eq", True, [True, False, False]),
        ([1, 0, None], "eq", True, [False, False, False]),
        ([1, 2, None], "eq", "1", [False, False, False]),
        ([1, 2, None], "gt", "1", [False, False, False]),
        ([1, 2, None], "contains", "1", [False, False, False]),
        ([True, None], "contains", "t", [False, False]),
        (["a", None], "eq", 1, [False, False]),
        (["a", None], "lt", True, [False, False]),
        ([["a"], {"b": 1}, "a", None], "eq", "a", [False, False, True, False]),
        ([["a"], {"a": 1}, None], "contains", "a", [True, False, False]),
        ([["a"], 3, None], "gt", 2, [False, True, False]),
        ([1, "a", None], "eq", "1", [True, False, False]),  # text wins over numbers
    ],
)
def test_a_field_without_a_type_is_compared_cell_by_cell(cells, op, value, expected, backend):
    """A value of another type than the cell does not match, and is no error."""
    frame = frame_of([{"x": cell} for cell in cells], backend, fields=(ANY,))
    assert mask(frame, Compare(ANY, op, value)).tolist() == expected


def test_a_filter_that_all_rows_match_copies_nothing():
    frame = frame_of(rows_of(TEXT, "a", "b"))
    assert filter_rows(frame, TRUE) is frame
    assert filter_rows(frame, FALSE).empty


def test_filtered_rows_have_a_new_index():
    result = filter_rows(frame_of(rows_of(TEXT, "a", "b", "a")), Compare(TEXT, "eq", "b"))
    assert result.index.tolist() == [0]
    assert result["title"].tolist() == ["b"]


# --- the order ------------------------------------------------------------------------------------


def expected_order(rows, sort):
    """Sort in plain Python: by each key, the last key first, missing values last."""
    order = list(range(len(rows)))
    for item in reversed(sort):
        values = [row[item.field.column] for row in rows]
        present = [at for at in order if values[at] is not None]
        present = _sort_by_value(present, values, item.descending)
        order = present + [at for at in order if values[at] is None]
    return order


def _sort_by_value(present, values, descending):
    ranks = sorted({values[at] for at in present}, reverse=descending)
    return [at for rank in ranks for at in present if values[at] == rank]


SORTABLE = [item for item in FIELDS if item is not LIST]


@pytest.mark.parametrize("backend", BACKENDS)
@LAW
@given(
    st.lists(st.builds(Sort, st.sampled_from(SORTABLE), st.booleans()), min_size=1, max_size=3,
             unique_by=lambda item: item.field.column),
    st.lists(a_row(), max_size=8),
)  # fmt: skip
def test_rows_are_sorted_with_missing_values_last(backend, sort, rows):
    """By every key in turn, stable, missing values last in both directions."""
    result = sort_rows(frame_of(rows, backend), sort)
    assert result["case_id"].tolist() == [f"case-{at:03d}" for at in expected_order(rows, sort)]
    assert result.index.tolist() == list(range(len(rows)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_sorted_rows_are_not_sorted_again(backend):
    """The service sorts a million rows already; sorting them again would cost a second."""
    frame = frame_of(rows_of(NUMBER, 1, 1, 2), backend)
    assert sort_rows(frame, [Sort(NUMBER), Sort(CASE_ID)]) is frame
    assert sort_rows(frame, [Sort(NUMBER), Sort(CASE_ID, descending=True)]) is not frame


def test_lists_cannot_be_sorted():
    """Lists in a column without a type are refused in words."""
    frame = frame_of([{"x": ["a"]}, {"x": 3}], fields=(ANY,))
    with pytest.raises(FilterError, match="cannot sort by 'x', which holds lists"):
        sort_rows(frame, [Sort(ANY)])


# --- versions and passes --------------------------------------------------------------------------


def test_a_duplicate_case_is_kept_in_its_newest_version():
    frame = pd.DataFrame(
        {
            "case_id": ["a", "b", "a", "c", "b"],
            "updated_at": pd.to_datetime(
                ["2026-03-02", "2026-03-02", "2026-03-01", None, None], utc=True
            ),
            "n": range(5),
        }
    )
    assert keep_newest(frame)[["case_id", "n"]].to_numpy().tolist() == [
        ["a", 0],
        ["b", 1],
        ["c", 3],
    ]
    assert keep_newest(frame.drop(columns="updated_at"))["n"].tolist() == [2, 3, 4]


def test_a_frame_without_duplicates_is_not_copied():
    frame = pd.DataFrame({"case_id": ["a", "b"]})
    assert keep_newest(frame) is frame


def test_passes_are_joined_by_case_id():
    """A second pass may have another order, or lack a case that was deleted between them."""
    first = pd.DataFrame({"case_id": ["a", "b", "c"], "x": [1, 2, 3]})
    second = pd.DataFrame({"case_id": ["a", "b", "c"], "y": [1, 2, 3]})
    assert join_passes_on_id(first, second).to_dict("list") == {
        "case_id": ["a", "b", "c"], "x": [1, 2, 3], "y": [1, 2, 3],
    }  # fmt: skip
    other = pd.DataFrame({"case_id": ["c", "d", "a"], "y": [30, 40, 10]})
    assert join_passes_on_id(first, other).to_dict("list") == {
        "case_id": ["a", "c"],
        "x": [1, 3],
        "y": [10, 30],
    }


# --- the edge of the calendar -----------------------------------------------------------------


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize(
    "tz",
    [
        "UTC",
        "America/Los_Angeles",
        "Asia/Tokyo",
        "Pacific/Kiritimati",
        "Pacific/Pago_Pago",
        "Africa/Monrovia",
        "+02:00",
        "-11:30",
    ],
)
def test_placeholder_dates_can_be_shown_in_every_zone(tz, backend):
    """Year 1 and year 9999 are moved into the calendar of the zone, and never missing."""
    placeholders = ["0001-01-01T00:00Z", "2026-03-14T12:00Z", "9999-12-31T23:59:59.999Z"]
    times = pd.DatetimeIndex([pd.Timestamp(one).as_unit("us") for one in placeholders] + [pd.NaT])
    column = pa.chunked_array([pa.array(times, type=pa.timestamp("us", "UTC"))])
    frame = build_frame({"due": column}, tz=tz, backend=backend)
    for show in (repr, pd.DataFrame.to_html, pd.DataFrame.to_csv):
        assert show(frame)
    assert frame["due"].isna().tolist() == [False, False, False, True]
    utc = frame["due"].astype("datetime64[us, UTC]")[:3].reset_index(drop=True)
    moved = (utc - pd.Series(times[:3])).abs()
    assert (moved < pd.Timedelta(1, "day")).all()
    assert moved[1] == pd.Timedelta(0)
