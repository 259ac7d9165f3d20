"""Typed columns from pages: every type, invalid values, and the borders between batches."""

from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd.query.schema import Field
from casesearch_pd.reading.frames.columns import Columns, arrow_type, to_arrow
from casesearch_pd.sources.base import Page
from casesearch_pd.sources.transport.context import Tuning, use_tuning
from tests.bound_filters import LAW

SERVED_AT = pd.Timestamp("2026-03-14T12:00Z")
HIGH, LOW = "\ud83d", "\ude00"  # the halves of one emoji


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def field(name, type_="text"):
    return Field(name, f"{name}-id", name.capitalize(), type_, "custom")


def page(rows=None, new_fields=(), invalid=None, **columns):
    rows = len(next(iter(columns.values()))) if rows is None else rows
    return Page(
        rows,
        columns,
        None,
        None,
        SERVED_AT,
        {item.column: item for item in new_fields},
        invalid or {},
    )


@pytest.mark.parametrize(
    ("type_", "values", "expected"),
    [
        ("text", ["a", None, ""], ["a", None, ""]),
        ("url", ["https://example.org", None], ["https://example.org", None]),
        ("user", ["arn:aws:x"], ["arn:aws:x"]),
        ("select", ["p1", None], ["p1", None]),
        ("number", [1.5, None, 2], [1.5, None, 2.0]),
        ("number", [2**53, -(2**53)], [2.0**53, -(2.0**53)]),
        ("number", [1.5, float("nan")], [1.5, None]),
        ("number", [float("inf")], [float("inf")]),
        ("integer", [1, None, 2**63 - 1], [1, None, 2**63 - 1]),
        ("integer", [1, 2.0], [1, 2]),
        ("boolean", [True, None, False], [True, None, False]),
        ("datetime", ["2026-03-14T09:30:00Z", None], [utc(2026, 3, 14, 9, 30), None]),
        ("datetime", ["2026-03-14T09:30:00.123Z", "2026-03-14T09:30:00Z"],
         [utc(2026, 3, 14, 9, 30, 0, 123_000), utc(2026, 3, 14, 9, 30)]),
        ("datetime", ["2026-03-14T09:30:00.123456+02:00"], [utc(2026, 3, 14, 7, 30, 0, 123_456)]),
        ("datetime", ["2026-03-14T09:30:00.1234567Z"], [utc(2026, 3, 14, 9, 30, 0, 123_456)]),
        ("datetime", ["2026-03-14T09:30:00"], [utc(2026, 3, 14, 9, 30)]),
        ("datetime", ["2026-03-14"], [utc(2026, 3, 14)]),
        ("datetime", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"],
         [utc(1, 1, 1), utc(9999, 12, 31, 23, 59, 59)]),
        ("text", [], []),
        ("number", [None, None], [None, None]),
    ],
)  # fmt: skip
def test_values_of_the_type_are_kept(type_, values, expected):
    array, invalid = to_arrow(values, type_)
    assert array.type == arrow_type(type_)
    assert array.to_pylist() == expected
    assert invalid == 0


@pytest.mark.parametrize(
    ("type_", "values", "expected", "invalid"),
    [
        ("text", ["a", 3, True, 2.5, ["x"], {}], ["a"] + [None] * 5, 5),
        ("text", ["a" + HIGH, LOW, HIGH + "b", "c"], ["a\ufffd", "\ufffd", "\ufffdb", "c"], 3),
        ("select", ["p1", 3], ["p1", None], 1),
        ("number", ["3", 1.5, True, []], [None, 1.5, None, None], 3),
        ("number", [2**53 + 1, 0.1], [2.0**53, 0.1], 1),  # kept, but not the number that was sent
        ("number", [10**400, -(10**400)], [None, None], 2),
        ("integer", [2**63, -(2**63) - 1, 7], [None, None, 7], 2),
        ("integer", [1.5, "1", True, 1], [None, None, None, 1], 3),
        ("integer", [float("nan"), float("inf"), 1], [None, None, 1], 2),
        ("boolean", [1, "true", None, True], [None, None, None, True], 2),
        ("datetime", ["today", "now", "", "NaT", 3, "2026-02-30T00:00:00Z"], [None] * 6, 6),
        ("datetime", ["2026-03-14T09:30:00Z", None, True],
         [utc(2026, 3, 14, 9, 30), None, None], 1),
    ],
)  # fmt: skip
def test_invalid_values_become_missing_and_are_counted(type_, values, expected, invalid):
    """One invalid value must not fail a page of a hundred cases, nor vanish silently."""
    array, invalid_count = to_arrow(values, type_)
    assert array.type == arrow_type(type_)
    assert array.to_pylist() == expected
    assert invalid_count == invalid


def test_texts_that_look_like_times_never_raise():
    """Strings of digits, of every length."""
    array, invalid = to_arrow(["9" * length for length in range(1, 12)], "datetime")
    assert len(array) == 11
    assert array.null_count == invalid


FIELDS = (field("case_id"), field("amount", "number"), field("labels", "list"), field("x", "any"))


def finish(columns):
    arrays, fields = columns.finish()
    cells = {
        name: one if isinstance(one, list) else one.to_pylist() for name, one in arrays.items()
    }
    return cells, arrays, fields


def test_pages_are_appended():
    columns = Columns(FIELDS)
    columns.add(page(case_id=["a", "b"], amount=[1, None], labels=[["x"], None], x=[1, None]))
    columns.add(page(case_id=["c"], amount=[2.5]))
    cells, arrays, fields = finish(columns)
    assert cells == {
        "case_id": ["a", "b", "c"],
        "amount": [1, None, 2.5],
        "labels": [["x"], None, None],
        "x": [1, None, None],
    }
    assert columns.rows == 3
    assert isinstance(arrays["labels"], list)
    assert list(fields) == [item.column for item in FIELDS]


def test_columns_that_were_not_requested_are_left_out():
    columns = Columns(FIELDS[:1])
    columns.add(page(case_id=["a"], other=[1], new_fields=[field("other")]))
    assert finish(columns)[0] == {"case_id": ["a"]}


def test_columns_without_rows_have_their_types():
    """An empty result must not change the dtypes of the frame."""
    fields = [field(type_, type_) for type_ in ("text", "number", "integer", "boolean", "datetime")]
    fields += [field(type_, type_) for type_ in ("select", "url", "user")]
    arrays, _ = Columns(fields).finish()
    assert {name: one.type for name, one in arrays.items()} == {
        item.column: arrow_type(item.type) for item in fields
    }
    assert {len(one) for one in arrays.values()} == {0}
    assert Columns([field("labels", "list")]).finish()[0] == {"labels": []}


@LAW
@given(
    st.lists(st.integers(0, 5), max_size=12),
    st.integers(1, 7),
    st.integers(0, 12),
    st.sampled_from(["text", "number", "any", "list"]),
)
def test_the_size_of_a_batch_changes_no_cell(sizes, flush, first_page, type_):
    """Wherever a batch ends, and wherever a column first appears, the cells are the same."""
    new = field("new", type_)
    with use_tuning(replace(Tuning(), flush_rows=flush)):
        columns = Columns([field("case_id")], open=True)
        expected = {"case_id": []}
        for at, rows in enumerate(sizes):
            ids = [f"{at}-{row}" for row in range(rows)]
            cells = {"case_id": ids}
            if at >= first_page:
                cells["new"] = [_cell(type_, number) for number in range(rows)]
            columns.add(page(rows, new_fields=[new] if at >= first_page else (), **cells))
            expected["case_id"] += ids
            if at >= first_page or "new" in expected:
                before = [None] * (len(expected["case_id"]) - rows)
                expected["new"] = expected.get("new", before) + cells.get("new", [None] * rows)
        assert finish(columns)[0] == expected


PAGES = st.lists(
    st.tuples(st.integers(0, 4), st.sets(st.sampled_from(["text", "number", "any", "list"]))),
    max_size=8,
)


@LAW
@given(PAGES, st.integers(1, 7), st.integers(0, 8))
def test_absorbed_columns_equal_one_collection(pages, flush, split):
    """How a result is divided between workers changes no cell, not even in new columns."""
    with use_tuning(replace(Tuning(), flush_rows=flush)):
        together, first, second = (Columns([field("case_id")], open=True) for _ in range(3))
        for at, (rows, types) in enumerate(pages):
            for columns in (together, first if at < split else second):
                columns.add(_page_with_new_fields(at, rows, sorted(types)))
        first.append(second)
        assert first.rows == together.rows
        assert finish(first)[0] == finish(together)[0]


def _page_with_new_fields(at, rows, types):
    cells = {f"new_{type_}": [_cell(type_, number) for number in range(rows)] for type_ in types}
    cells["case_id"] = [f"{at}-{row}" for row in range(rows)]
    return page(
        rows,
        new_fields=[field(f"new_{type_}", type_) for type_ in types],
        invalid={"x": 1},
        **cells,
    )


@pytest.mark.parametrize("reversed_order", [False, True])
@pytest.mark.parametrize(
    ("types", "cells", "expected"),
    [
        (("text", "number"), (["a", None], [1.5, 2.0]), ["a", None, "1.5", "2.0"]),
        (("any", "text"), ([1, None], ["b", "c"]), ["1", None, "b", "c"]),
        (("integer", "number"), ([1, 2], [1.5, None]), [1.0, 2.0, 1.5, None]),
        (("list", "text"), ([["a"], []], ["b", None]), [["a"], [], "b", None]),
        (("boolean", "integer"), ([True], [1]), ["true", "1"]),
        (("datetime", "text"), (["2026-03-14T09Z"], ["x"]), ["2026-03-14 09:00:00.000000Z", "x"]),
    ],
)  # fmt: skip
def test_a_field_with_conflicting_types_is_typed_by_its_cells(
    types, cells, expected, reversed_order
):
    """Text wins over other types, and no cell is lost."""
    one, other = (Columns([field("case_id")], open=True) for _ in range(2))
    for columns, type_, values in zip((one, other), types, cells, strict=True):
        ids = [f"{type_}-{row}" for row in range(len(values))]
        columns.add(page(new_fields=[field("x", type_)], case_id=ids, x=values))
    if reversed_order:
        one, other, expected = other, one, expected[len(cells[0]) :] + expected[: len(cells[0])]
    one.append(other)
    assert finish(one)[0]["x"] == expected


def _cell(type_, number):
    return {"text": str(number), "number": float(number), "any": number, "list": [number]}[type_]


def test_new_columns_keep_the_order_of_their_appearance():
    """The same read must return the same frame, so the order must not be that of a set."""
    new = [field(f"late_{number}") for number in range(20)]
    columns = Columns([field("case_id")], open=True)
    cells = {item.column: ["x"] for item in new}
    columns.add(page(case_id=["a"], new_fields=new, **cells))
    assert list(finish(columns)[0]) == ["case_id", *(item.column for item in new)]


def test_a_full_batch_is_converted_at_once():
    """Lists of a million rows would take several times the memory of the frame."""
    columns = Columns([field("case_id")])
    for number in range(Tuning().flush_rows // 100 + 1):
        columns.add(page(case_id=[f"{number}-{row}" for row in range(100)]))
    arrays, _ = columns.finish()
    assert [len(chunk) for chunk in arrays["case_id"].chunks] == [Tuning().flush_rows, 100]


def test_invalid_values_are_counted_by_column():
    columns = Columns([field("amount", "number"), field("when", "datetime"), field("x", "any")])
    columns.add(page(amount=["1", 2], when=["soon", None], x=[2**70, 1], invalid={"tags": 1}))
    columns.add(page(amount=[None, "3"], when=[None, None], x=[1, 1], invalid={"tags": 2}))
    columns.finish()
    assert dict(columns.invalid) == {"tags": 3, "amount": 2, "when": 1, "x": 1}


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        (["a", None, "b"], pa.large_string(), ["a", None, "b"]),
        ([1, None, 2], pa.int64(), [1, None, 2]),
        ([1, 2.5, None], pa.float64(), [1.0, 2.5, None]),
        ([True, None], pa.bool_(), [True, None]),
        ([1, "a", 2.5, True, None], pa.large_string(), ["1", "a", "2.5", "true", None]),
        ([False, 1], pa.large_string(), ["false", "1"]),
        ([None, None], pa.large_string(), [None, None]),
        (["2026-03-14T09:30:00Z"], pa.large_string(), ["2026-03-14T09:30:00Z"]),
    ],
)
def test_a_column_without_a_type_is_typed_by_its_cells(values, type_, expected):
    """Text wins over numbers: a number can be written as text, but not the other way round."""
    columns = Columns([field("x", "any")])
    columns.add(page(x=values))
    cells, arrays, _ = finish(columns)
    assert arrays["x"].type == type_
    assert cells["x"] == expected
    assert not columns.invalid


def test_lists_and_hashes_without_a_type_are_unchanged():
    columns = Columns([field("x", "any")])
    columns.add(page(x=[["a"], {"b": 1}, "c", None]))
    assert columns.finish()[0]["x"] == [["a"], {"b": 1}, "c", None]
