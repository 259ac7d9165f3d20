"""Pages to typed columns: every type, every misfit, and the borders between batches."""

from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd.query.schema import Field
from casesearch_pd.reading.frames import columns as room
from casesearch_pd.reading.frames.columns import Columns, arrow_type, to_arrow
from casesearch_pd.sources.base import Page
from tests.bound_filters import LAW

SERVED = pd.Timestamp("2026-03-14T12:00Z")
HIGH, LOW = "\ud83d", "\ude00"  # the halves of one emoji


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def field(name, kind="text"):
    return Field(name, f"{name}-id", name.capitalize(), kind, "custom")


def page(rows=None, found=(), odd=None, **columns):
    rows = len(next(iter(columns.values()))) if rows is None else rows
    return Page(rows, columns, None, None, SERVED, {item.column: item for item in found}, odd or {})


@pytest.mark.parametrize(
    ("kind", "values", "kept"),
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
def test_values_of_their_type_come_home_whole(kind, values, kept):
    array, odd = to_arrow(values, kind)
    assert array.type == arrow_type(kind)
    assert array.to_pylist() == kept
    assert odd == 0


@pytest.mark.parametrize(
    ("kind", "values", "kept", "odd"),
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
def test_what_does_not_fit_costs_itself_and_is_counted(kind, values, kept, odd):
    """One odd value must not fail a page of a hundred cases, nor vanish in silence."""
    array, counted = to_arrow(values, kind)
    assert array.type == arrow_type(kind)
    assert array.to_pylist() == kept
    assert counted == odd


def test_a_million_years_of_text_fail_nothing():
    """Strings that only look like times, of every length."""
    array, odd = to_arrow(["9" * length for length in range(1, 12)], "datetime")
    assert len(array) == 11
    assert array.null_count == odd


FIELDS = (field("case_id"), field("amount", "number"), field("labels", "list"), field("x", "any"))


def finished(columns):
    held, known = columns.finish()
    plain = {name: one if isinstance(one, list) else one.to_pylist() for name, one in held.items()}
    return plain, held, known


def test_pages_add_up():
    columns = Columns(FIELDS)
    columns.add(page(case_id=["a", "b"], amount=[1, None], labels=[["x"], None], x=[1, None]))
    columns.add(page(case_id=["c"], amount=[2.5]))
    plain, held, known = finished(columns)
    assert plain == {
        "case_id": ["a", "b", "c"],
        "amount": [1, None, 2.5],
        "labels": [["x"], None, None],
        "x": [1, None, None],
    }
    assert columns.rows == 3
    assert isinstance(held["labels"], list)
    assert list(known) == [item.column for item in FIELDS]


def test_columns_that_nobody_asked_for_are_left():
    columns = Columns(FIELDS[:1])
    columns.add(page(case_id=["a"], other=[1], found=[field("other")]))
    assert finished(columns)[0] == {"case_id": ["a"]}


def test_no_rows_have_the_types_of_many():
    """A filter that finds nothing today must not change the dtypes of the frame."""
    fields = [field(kind, kind) for kind in ("text", "number", "integer", "boolean", "datetime")]
    fields += [field(kind, kind) for kind in ("select", "url", "user")]
    held, _ = Columns(fields).finish()
    assert {name: one.type for name, one in held.items()} == {
        item.column: arrow_type(item.type) for item in fields
    }
    assert {len(one) for one in held.values()} == {0}
    assert Columns([field("labels", "list")]).finish()[0] == {"labels": []}


@LAW
@given(
    st.lists(st.integers(0, 5), max_size=12),
    st.integers(1, 7),
    st.integers(0, 12),
    st.sampled_from(["text", "number", "any", "list"]),
)
def test_batches_change_no_cell(sizes, flush, late, kind):
    """Law: wherever a batch ends, and wherever a column is first met, the cells are the same."""
    new = field("new", kind)
    kept = room._FLUSH
    room._FLUSH = flush
    try:
        columns = Columns([field("case_id")], open=True)
        expected = {"case_id": []}
        for at, rows in enumerate(sizes):
            ids = [f"{at}-{row}" for row in range(rows)]
            cells = {"case_id": ids}
            if at >= late:
                cells["new"] = [_cell(kind, number) for number in range(rows)]
            columns.add(page(rows, found=[new] if at >= late else (), **cells))
            expected["case_id"] += ids
            if at >= late or "new" in expected:
                before = [None] * (len(expected["case_id"]) - rows)
                expected["new"] = expected.get("new", before) + cells.get("new", [None] * rows)
        assert finished(columns)[0] == expected
    finally:
        room._FLUSH = kept


PAGES = st.lists(
    st.tuples(st.integers(0, 4), st.sets(st.sampled_from(["text", "number", "any", "list"]))),
    max_size=8,
)


@LAW
@given(PAGES, st.integers(1, 7), st.integers(0, 8))
def test_walks_put_together_are_one_walk(pages, flush, cut):
    """Law: who walked which part of a result changes no cell, late columns and all."""
    kept = room._FLUSH
    room._FLUSH = flush
    try:
        whole, first, second = (Columns([field("case_id")], open=True) for _ in range(3))
        for at, (rows, kinds) in enumerate(pages):
            for columns in (whole, first if at < cut else second):
                columns.add(_late_page(at, rows, sorted(kinds)))
        first.absorb(second)
        assert first.rows == whole.rows
        assert finished(first)[0] == finished(whole)[0]
    finally:
        room._FLUSH = kept


def _late_page(at, rows, kinds):
    cells = {f"new_{kind}": [_cell(kind, number) for number in range(rows)] for kind in kinds}
    cells["case_id"] = [f"{at}-{row}" for row in range(rows)]
    return page(rows, found=[field(f"new_{kind}", kind) for kind in kinds], odd={"x": 1}, **cells)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("kinds", "cells", "kept"),
    [
        (("text", "number"), (["a", None], [1.5, 2.0]), ["a", None, "1.5", "2.0"]),
        (("any", "text"), ([1, None], ["b", "c"]), ["1", None, "b", "c"]),
        (("integer", "number"), ([1, 2], [1.5, None]), [1.0, 2.0, 1.5, None]),
        (("list", "text"), ([["a"], []], ["b", None]), [["a"], [], "b", None]),
        (("boolean", "integer"), ([True], [1]), ["true", "1"]),
        (("datetime", "text"), (["2026-03-14T09Z"], ["x"]), ["2026-03-14 09:00:00.000000Z", "x"]),
    ],
)  # fmt: skip
def test_a_field_that_two_walks_met_with_two_types(kinds, cells, kept, turned):
    """Nothing tells its type, so its cells decide: text wins; no cell may be lost."""
    one, other = (Columns([field("case_id")], open=True) for _ in range(2))
    for columns, kind, held in zip((one, other), kinds, cells, strict=True):
        ids = [f"{kind}-{row}" for row in range(len(held))]
        columns.add(page(found=[field("x", kind)], case_id=ids, x=held))
    if turned:
        one, other, kept = other, one, kept[len(cells[0]) :] + kept[: len(cells[0])]
    one.absorb(other)
    assert finished(one)[0]["x"] == kept


def _cell(kind, number):
    return {"text": str(number), "number": float(number), "any": number, "list": [number]}[kind]


def test_late_columns_come_in_the_order_they_are_met():
    """The same read must give the same frame; the order of a set is another one every time."""
    late = [field(f"late_{number}") for number in range(20)]
    columns = Columns([field("case_id")], open=True)
    cells = {item.column: ["x"] for item in late}
    columns.add(page(case_id=["a"], found=late, **cells))
    assert list(finished(columns)[0]) == ["case_id", *(item.column for item in late)]


def test_a_batch_is_typed_as_soon_as_it_is_full():
    """Plain lists of a million rows would take several times the memory of the frame."""
    columns = Columns([field("case_id")])
    for number in range(room._FLUSH // 100 + 1):
        columns.add(page(case_id=[f"{number}-{row}" for row in range(100)]))
    held, _ = columns.finish()
    assert [len(chunk) for chunk in held["case_id"].chunks] == [room._FLUSH, 100]


def test_misfits_are_counted_by_column_over_all_batches():
    columns = Columns([field("amount", "number"), field("when", "datetime"), field("x", "any")])
    columns.add(page(amount=["1", 2], when=["soon", None], x=[2**70, 1], odd={"tags": 1}))
    columns.add(page(amount=[None, "3"], when=[None, None], x=[1, 1], odd={"tags": 2}))
    columns.finish()
    assert dict(columns.invalid) == {"tags": 3, "amount": 2, "when": 1, "x": 1}


@pytest.mark.parametrize(
    ("values", "kind", "kept"),
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
def test_a_column_of_no_known_type_is_typed_by_its_cells(values, kind, kept):
    """Text wins over numbers: a number can be told as text, and not the other way round."""
    columns = Columns([field("x", "any")])
    columns.add(page(x=values))
    plain, held, _ = finished(columns)
    assert held["x"].type == kind
    assert plain["x"] == kept
    assert not columns.invalid


def test_lists_and_hashes_of_no_known_type_stay_as_they_are():
    columns = Columns([field("x", "any")])
    columns.add(page(x=[["a"], {"b": 1}, "c", None]))
    assert columns.finish()[0]["x"] == [["a"], {"b": 1}, "c", None]
