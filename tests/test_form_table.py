"""The table of a form's results: order, pages, columns, and cells that are never markup."""

import importlib.util
import json
import re

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.form.results.paging import PAGE_SIZES, Page, sorted_positions
from casesearch_pd.form.results.results import Results
from casesearch_pd.form.results.table import MAX_GRID_ROWS
from casesearch_pd.render.cell_text import cell_text
from casesearch_pd.render.html import fragment, replace_control_chars
from tests.form_results import MARKUP, ParsedHtml, by_class, show_results, widgets_in
from tests.hostile_cases import case_rows, hostile_rows, to_frame


@pytest.fixture(scope="module")
def cases(service):
    return cs.read_cases(service.sources["connect"], tz="Europe/Berlin", progress=False)


@pytest.fixture
def hostile():
    """Return hostile cells, and markup in the name of a column, in a title and in a list."""
    frame = to_frame(hostile_rows())
    frame["title"] = [MARKUP, "a\u202egnp.exe", *frame["title"][2:]]
    frame[MARKUP] = [[MARKUP, "b"]] * len(frame)
    return frame


# --- the order and the pages ------------------------------------------------------------------


@given(case_rows(), st.data())
@settings(deadline=None, max_examples=40)
def test_the_pages_of_a_sorted_frame_have_each_row_once(rows, data):
    """Users would not notice a row that is lost or repeated between two pages."""
    frame = to_frame(rows)
    frame.index = pd.Index([7] * len(frame))  # an index that identifies no row
    column = data.draw(st.sampled_from(list(frame.columns)))
    descending, size = data.draw(st.booleans()), data.draw(st.integers(1, 45))
    order = sorted_positions(frame[column], descending=descending)
    page, positions = Page(len(frame), size), []
    while True:
        positions += list(order[page.start : page.stop])
        if page.number == page.last:
            break
        page = page.at(page.number + 1)
    assert sorted(positions) == list(range(len(frame)))
    assert positions == list(order)


@given(case_rows(), st.data())
@settings(deadline=None, max_examples=60)
def test_sorting_is_stable_with_missing_values_last(rows, data):
    """Compared with the stable sort of Python."""
    frame = to_frame(rows)
    column = frame[data.draw(st.sampled_from(list(frame.columns)))]
    descending = data.draw(st.booleans())
    cells = list(column.astype(object))
    texts = [cell_text(cell) if isinstance(cell, list) else cell for cell in cells]
    present = [at for at, cell in enumerate(cells) if isinstance(cell, list) or not pd.isna(cell)]
    missing = [at for at in range(len(cells)) if at not in set(present)]
    expected = sorted(present, key=lambda at: texts[at], reverse=descending)
    assert list(sorted_positions(column, descending=descending)) == [*expected, *missing]


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
def test_a_column_of_any_values_can_be_sorted(column):
    """A list next to a text must not end in an invisible error."""
    assert list(sorted_positions(column)) == [1, 0, 2]
    assert list(sorted_positions(column, descending=True)) == [0, 1, 2]


@given(
    st.integers(0, 300),
    st.sampled_from(PAGE_SIZES),
    st.integers(-5, 30),
    st.sampled_from(PAGE_SIZES),
)
def test_another_page_size_keeps_the_first_row_visible(rows, size, number, other):
    page = Page(rows, size).at(number)
    resized = page.with_size(other)
    assert resized.start <= page.start < max(resized.stop, 1)
    assert 0 <= resized.number <= resized.last


# --- pages of the table -----------------------------------------------------------------------


def test_the_controls_select_and_sort_pages(cases):
    results = show_results(cases)
    text = by_class(results, "cs-page-words")
    assert "rows 1\u201325 of 300" in text.value
    assert by_class(results, "cs-page-first").disabled
    by_class(results, "cs-page-next").click()
    assert results.table.page["case_id"].tolist() == cases["case_id"][25:50].tolist()
    by_class(results, "cs-page-last").click()
    assert "rows 276\u2013300 of 300" in text.value
    assert by_class(results, "cs-page-next").disabled
    by_class(results, "cs-table-sort").value = list(cases.columns).index("reference")
    by_class(results, "cs-table-descending").value = True
    by_class(results, "cs-page-size").value = 100
    expected = cases.sort_values("reference", ascending=False, kind="stable")["case_id"]
    assert results.table.page["case_id"].tolist() == expected[:100].tolist()
    assert expected.iloc[0] in by_class(results, "cs-page").value


def test_the_order_of_the_read_can_be_reversed(cases):
    results = show_results(cases)
    by_class(results, "cs-table-descending").value = True
    assert results.table.page["case_id"].tolist() == cases["case_id"][::-1][:25].tolist()


def test_columns_are_found_and_selected(cases):
    """Columns that the box for finding hides stay selected."""
    results = show_results(cases)
    count = len(results.table.page.columns)
    by_class(results, "cs-table-columns-find").value = "CREATED"
    column_list = by_class(results, "cs-table-columns-list")
    assert [name for name, _ in column_list.options] == ["created_at", "created_by"]
    column_list.value = ()
    assert len(results.table.page.columns) == count - 2
    column_list.value = (list(cases.columns).index("created_at"),)
    assert "created_at" in results.table.page.columns
    by_class(results, "cs-table-columns-all").click()
    assert list(results.table.page.columns) == list(cases.columns)
    by_class(results, "cs-table-columns-reset").click()
    assert list(results.table.page.columns) == list(cases.columns[:30])


def test_selected_columns_stay_selected_in_the_next_search(cases):
    results = show_results(cases)
    by_class(results, "cs-table-columns-list").value = (0, 2)
    results.show(cases.head(3), code="", plan=None)
    assert list(results.table.page.columns) == ["case_id", "title"]
    results.show(cases[["title", "status"]], code="", plan=None)
    assert list(results.table.page.columns) == ["title", "status"]


def test_an_empty_table_gives_the_reason(cases):
    results = show_results(cases.head(0))
    assert "No case matches" in by_class(results, "cs-table-said").value
    assert by_class(results, "cs-page").value == ""
    results.show(cases, code="", plan=None)
    by_class(results, "cs-table-columns-list").value = ()
    assert "Choose a column" in by_class(results, "cs-table-said").value


def test_cells_are_formatted_for_reading():
    """Missing cells are empty, lists are joined, times are local, numbers are right-aligned."""
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
    results = show_results(frame)
    html = ParsedHtml(by_class(results, "cs-page").value)
    assert [text for text in html.texts if text.strip()][1:] == [
        "case_id", "amount", "created_at (Europe/Berlin)", "tags", "a", "-73.9",
        "2026-03-29 01:59", "x, y", "b",
    ]  # fmt: skip
    assert ("class", "number") in html.attributes


def test_nothing_of_a_case_is_markup(hostile):
    """Neither a cell nor the name of a column may become an element."""
    results = show_results(hostile, heading=MARKUP, notes=[MARKUP], code=MARKUP)
    for place in ("cs-page", "cs-results-heading", "cs-results-notes", "cs-code"):
        for widget in widgets_in(by_class(results, place)):
            html = ParsedHtml(getattr(widget, "value", ""))
            assert {"img", "script"} & {*html.tags} == set()
            assert not any(name.startswith("on") for name, _ in html.attributes)
    page = by_class(results, "cs-page").value
    assert "\u202e" not in page
    assert ("title", MARKUP) in ParsedHtml(page).attributes


@given(st.text(max_size=40))
def test_escaped_text_reads_as_the_text(text):
    """Without misleading control characters and halves of surrogate pairs, which cannot be sent."""
    html = fragment(text)
    html.encode()
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", html
    )
    assert "".join(ParsedHtml(html).texts) == replace_control_chars(text)


# --- the widget of itables --------------------------------------------------------------------


def grid_of(results):
    (grid,) = by_class(results, "cs-grid-place").children
    return grid


def test_itables_gets_a_small_frame_completely_and_escaped(hostile):
    results = show_results(hostile, interactive=True)
    arguments = grid_of(results)._dt_args
    rows = json.loads(arguments["data_json"])
    assert len(rows) == len(hostile)
    assert {len(row) for row in rows} == {len(hostile.columns)}
    assert "downsampling_warning" not in arguments
    assert "<img" not in arguments["data_json"]
    assert {*ParsedHtml(arguments["table_html"]).tags} <= {"thead", "tbody", "tr", "th", "table"}
    assert by_class(results, "cs-table-sort") is not None
    assert results.table._pages.layout.display == "none"


def test_the_rows_of_itables_are_those_of_the_frame(cases):
    arguments = grid_of(show_results(cases, interactive=True))._dt_args
    rows = json.loads(arguments["data_json"])
    assert [row[0] for row in rows] == cases["case_id"].tolist()
    assert "NA" not in {cell for row in rows for cell in row}
    assert "created_at (Europe/Berlin)" in arguments["table_html"]


def test_the_grid_of_the_previous_search_is_closed(cases):
    """Each has a copy of all rows, in the kernel and in the browser."""
    results = show_results(cases, interactive=True)
    previous = grid_of(results)
    results.show(cases.head(3), code="", plan=None)
    assert previous.comm is None
    assert len(json.loads(grid_of(results)._dt_args["data_json"])) == 3


def test_a_large_frame_is_shown_page_by_page(cases):
    """All of its rows would have to go to the browser at once."""
    large = pd.concat([cases] * (MAX_GRID_ROWS // len(cases) + 1))
    results = show_results(large, interactive=None)
    assert by_class(results, "cs-grid-place").children == ()
    assert results.table._pages.layout.display is None
    results.show(cases, code="", plan=None)
    assert len(by_class(results, "cs-grid-place").children) == 1


def test_without_itables_the_pages_are_shown(monkeypatch, cases):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "casesearch_pd.form.results.table.find_spec",
        lambda name: None if name == "itables" else find(name),
    )
    assert by_class(show_results(cases, interactive=None), "cs-grid-place").children == ()
    with pytest.raises(ImportError, match=r"casesearch_pd\[widgets\]"):
        Results(interactive=True)
