"""The table of the form's results: order, pages, columns, and cells that nothing makes markup."""

import importlib.util
import json
import re

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.form.results.paging import SIZES, Page, in_order
from casesearch_pd.form.results.results import Results
from casesearch_pd.form.results.table import MOST_ROWS
from casesearch_pd.render.cell_text import cell_text
from casesearch_pd.render.html import fragment, replace_control_chars
from tests.hostile_cases import case_rows, hostile_rows, to_frame
from tests.results_shown import BAD, Seen, by_class, shown, tree


@pytest.fixture(scope="module")
def cases():
    with cs.LocalCases(cases=300) as local:
        return cs.read_cases(local.connect_cases(), tz="Europe/Berlin", progress=False)


@pytest.fixture
def hostile():
    """Hostile cells, and markup in a column's name, in a title and in a list."""
    frame = to_frame(hostile_rows())
    frame["title"] = [BAD, "a\u202egnp.exe", *frame["title"][2:]]
    frame[BAD] = [[BAD, "b"]] * len(frame)
    return frame


# --- the order and the pages ---------------------------------------------------------------------


@given(case_rows(), st.data())
@settings(deadline=None, max_examples=40)
def test_the_pages_of_a_sorted_frame_are_its_rows_each_once(rows, data):
    """A row that is lost or doubled at the border of a page would be believed."""
    frame = to_frame(rows)
    frame.index = pd.Index([7] * len(frame))  # an index of no use
    column = data.draw(st.sampled_from(list(frame.columns)))
    descending, size = data.draw(st.booleans()), data.draw(st.integers(1, 45))
    order = in_order(frame[column], descending=descending)
    page, found = Page(len(frame), size), []
    while True:
        found += list(order[page.start : page.stop])
        if page.number == page.last:
            break
        page = page.at(page.number + 1)
    assert sorted(found) == list(range(len(frame)))
    assert found == list(order)


@given(case_rows(), st.data())
@settings(deadline=None, max_examples=60)
def test_rows_are_in_order_stable_and_missing_ones_last(rows, data):
    """Against Python's own stable sort."""
    frame = to_frame(rows)
    column = frame[data.draw(st.sampled_from(list(frame.columns)))]
    descending = data.draw(st.booleans())
    cells = list(column.astype(object))
    texts = [cell_text(cell) if isinstance(cell, list) else cell for cell in cells]
    there = [at for at, cell in enumerate(cells) if isinstance(cell, list) or not pd.isna(cell)]
    missing = [at for at in range(len(cells)) if at not in set(there)]
    expected = sorted(there, key=lambda at: texts[at], reverse=descending)
    assert list(in_order(column, descending=descending)) == [*expected, *missing]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([["b"], ["a", "c"], None], dtype=object),
        pd.Series([["b"], ["a", "c"], None]).astype(pd.ArrowDtype(pa.list_(pa.string()))),
        pd.Series([{"b": 1}, {"a": 2}, None], dtype=object),
        pd.Series(["b", 1, None], dtype=object),
        pd.Series(
            [pd.Timestamp("2026-02-01", tz="UTC"), pd.Timestamp("2026-01-01"), None], dtype=object
        ),
        pd.Series(["b", "a", None], dtype="category"),
        pd.Series(pd.Categorical(["low", "high", None], ["high", "low"], ordered=True)),
    ],
)
def test_whatever_a_column_holds_can_be_sorted(column):
    """A list beside a text must not end in an error that nobody sees."""
    assert list(in_order(column)) == [1, 0, 2]
    assert list(in_order(column, descending=True)) == [0, 1, 2]


@given(st.integers(0, 300), st.sampled_from(SIZES), st.integers(-5, 30), st.sampled_from(SIZES))
def test_another_size_keeps_the_first_row_in_sight(rows, size, number, other):
    page = Page(rows, size).at(number)
    again = page.sized(other)
    assert again.start <= page.start < max(again.stop, 1)
    assert 0 <= again.number <= again.last


# --- the plain table -----------------------------------------------------------------------------


def test_pages_are_turned_and_sorted_by_the_controls(cases):
    results = shown(cases)
    words = by_class(results, "cs-page-words")
    assert "rows 1\u201325 of 300" in words.value
    assert by_class(results, "cs-page-first").disabled
    by_class(results, "cs-page-next").click()
    assert results.table.page["case_id"].tolist() == cases["case_id"][25:50].tolist()
    by_class(results, "cs-page-last").click()
    assert "rows 276\u2013300 of 300" in words.value
    assert by_class(results, "cs-page-next").disabled
    by_class(results, "cs-table-sort").value = list(cases.columns).index("reference")
    by_class(results, "cs-table-descending").value = True
    by_class(results, "cs-page-size").value = 100
    expected = cases.sort_values("reference", ascending=False, kind="stable")["case_id"]
    assert results.table.page["case_id"].tolist() == expected[:100].tolist()
    assert expected.iloc[0] in by_class(results, "cs-page").value


def test_the_order_of_the_read_can_be_turned_round(cases):
    results = shown(cases)
    by_class(results, "cs-table-descending").value = True
    assert results.table.page["case_id"].tolist() == cases["case_id"][::-1][:25].tolist()


def test_columns_are_found_and_chosen(cases):
    """What the box for finding hides stays as it was chosen."""
    results = shown(cases)
    before = len(results.table.page.columns)
    by_class(results, "cs-table-columns-find").value = "CREATED"
    listed = by_class(results, "cs-table-columns-list")
    assert [name for name, _ in listed.options] == ["created_at", "created_by"]
    listed.value = ()
    assert len(results.table.page.columns) == before - 2
    listed.value = (list(cases.columns).index("created_at"),)
    assert "created_at" in results.table.page.columns
    by_class(results, "cs-table-columns-all").click()
    assert list(results.table.page.columns) == list(cases.columns)
    by_class(results, "cs-table-columns-reset").click()
    assert list(results.table.page.columns) == list(cases.columns[:30])


def test_chosen_columns_stay_chosen_in_the_next_run(cases):
    results = shown(cases)
    by_class(results, "cs-table-columns-list").value = (0, 2)
    results.show(cases.head(3), code="", plan=None)
    assert list(results.table.page.columns) == ["case_id", "title"]
    results.show(cases[["title", "status"]], code="", plan=None)
    assert list(results.table.page.columns) == ["title", "status"]


def test_a_table_of_nothing_says_so(cases):
    results = shown(cases.head(0))
    assert "No case matches" in by_class(results, "cs-table-said").value
    assert by_class(results, "cs-page").value == ""
    results.show(cases, code="", plan=None)
    by_class(results, "cs-table-columns-list").value = ()
    assert "Choose a column" in by_class(results, "cs-table-said").value


def test_cells_are_shown_as_they_are_read():
    """Missing cells are empty, lists joined, times on their zone's clocks, numbers to the right."""
    frame = pd.DataFrame(
        {
            "case_id": ["a", "b"],
            "amount": pd.array([-73.9, None], dtype="Float64"),
            "created_at": pd.to_datetime(["2026-03-29T00:59:59Z", None]).tz_convert(
                "Europe/Berlin"
            ),
            "tags": [["x", "y"], []],
        }
    )
    results = shown(frame)
    seen = Seen(by_class(results, "cs-page").value)
    assert [text for text in seen.texts if text.strip()][1:] == [
        "case_id", "amount", "created_at (Europe/Berlin)", "tags", "a", "-73.9",
        "2026-03-29 01:59", "x, y", "b",
    ]  # fmt: skip
    assert ("class", "number") in seen.attributes


def test_nothing_of_a_case_is_markup(hostile):
    """Neither a cell nor a column's name may make an element."""
    results = shown(hostile, heading=BAD, notes=[BAD], code=BAD)
    for place in ("cs-page", "cs-results-heading", "cs-results-notes", "cs-code"):
        for widget in tree(by_class(results, place)):
            seen = Seen(getattr(widget, "value", ""))
            assert {"img", "script"} & {*seen.tags} == set()
            assert not any(name.startswith("on") for name, _ in seen.attributes)
    page = by_class(results, "cs-page").value
    assert "\u202e" not in page
    assert ("title", BAD) in Seen(page).attributes


@given(st.text(max_size=40))
def test_what_is_written_reads_as_its_text(text):
    """Escaped, and without signs that only mislead; halves of pairs could not even be sent."""
    html = fragment(text)
    html.encode()
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", html
    )
    assert "".join(Seen(html).texts) == replace_control_chars(text)


# --- itables' widget -----------------------------------------------------------------------------


def grid_of(results):
    (made,) = by_class(results, "cs-grid-place").children
    return made


def test_a_small_frame_is_shown_by_itables_whole_and_escaped(hostile):
    results = shown(hostile, interactive=True)
    held = grid_of(results)._dt_args
    rows = json.loads(held["data_json"])
    assert len(rows) == len(hostile)
    assert {len(row) for row in rows} == {len(hostile.columns)}
    assert "downsampling_warning" not in held
    assert "<img" not in held["data_json"]
    assert {*Seen(held["table_html"]).tags} <= {"thead", "tbody", "tr", "th", "table"}
    assert by_class(results, "cs-table-sort") is not None
    assert results.table._plain.layout.display == "none"


def test_the_rows_of_itables_are_those_of_the_frame(cases):
    held = grid_of(shown(cases, interactive=True))._dt_args
    rows = json.loads(held["data_json"])
    assert [row[0] for row in rows] == cases["case_id"].tolist()
    assert "NA" not in {cell for row in rows for cell in row}
    assert "created_at (Europe/Berlin)" in held["table_html"]


def test_the_grid_of_the_run_before_is_forgotten(cases):
    """Each holds all of its rows, here and in the browser."""
    results = shown(cases, interactive=True)
    before = grid_of(results)
    results.show(cases.head(3), code="", plan=None)
    assert before.comm is None
    assert len(json.loads(grid_of(results)._dt_args["data_json"])) == 3


def test_a_large_frame_is_shown_page_by_page(cases):
    """All of its rows would have to go to the browser at once."""
    many = pd.concat([cases] * (MOST_ROWS // len(cases) + 1))
    results = shown(many, interactive=None)
    assert by_class(results, "cs-grid-place").children == ()
    assert results.table._plain.layout.display is None
    results.show(cases, code="", plan=None)
    assert len(by_class(results, "cs-grid-place").children) == 1


def test_without_itables_there_are_plain_pages(monkeypatch, cases):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "casesearch_pd.form.results.table.find_spec",
        lambda name: None if name == "itables" else find(name),
    )
    assert by_class(shown(cases, interactive=None), "cs-grid-place").children == ()
    with pytest.raises(ImportError, match=r"casesearch_pd\[widgets\]"):
        Results(interactive=True)
