"""What the form shows after a run: pages, pictures, code, requests and files, without a browser."""

import base64
import importlib.util
import json
import re
import sys
import threading
from html.parser import HTMLParser
from types import SimpleNamespace

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.notebook.form import files as files_room
from casesearch_pd.notebook.form import results as results_room
from casesearch_pd.notebook.form.drawing import CHARTS, draw, groupings
from casesearch_pd.notebook.form.grid import MOST_ROWS
from casesearch_pd.notebook.form.jobs import Jobs
from casesearch_pd.notebook.form.paging import SIZES, Page, in_order
from casesearch_pd.notebook.form.results import Results
from casesearch_pd.notebook.lines import line
from casesearch_pd.notebook.markup import fragment, harmless
from tests.hostile_cases import case_rows, hostile_rows, to_frame

WAIT = 60  # seconds until a test gives up
BAD = "<img src=x onerror=\"alert('1')\"><script>alert(2)</script>"


@pytest.fixture(scope="module")
def source():
    with cs.LocalCases(cases=300) as local:
        yield local.connect()


@pytest.fixture(scope="module")
def cases(source):
    return cs.read_cases(source, tz="Europe/Berlin", progress=False)


@pytest.fixture
def hostile():
    """Hostile cells, and markup in a column's name, in a title and in a list."""
    frame = to_frame(hostile_rows())
    frame["title"] = [BAD, "a\u202egnp.exe", *frame["title"][2:]]
    frame[BAD] = [[BAD, "b"]] * len(frame)
    return frame


def shown(frame, interactive=False, **given):
    results = Results(interactive=interactive)
    results.show(frame, **({"code": "df = …", "plan": None} | given))
    return results


def by_class(root, name):
    """Find the one widget of a class, as a browser would find it."""
    found = [one for one in tree(root) if name in one._dom_classes]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def tree(root):
    yield root
    for child in getattr(root, "children", ()):
        yield from tree(child)


class Seen(HTMLParser):
    """The tags and the text that a browser makes of HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Note an element and its attributes."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        """Note a text."""
        self.texts.append(data)


# --- the order and the pages -----------------------------------------------------------------


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
    texts = [line(cell) if isinstance(cell, list) else cell for cell in cells]
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


# --- the plain table -------------------------------------------------------------------------


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
    by_class(results, "cs-columns-find").value = "CREATED"
    listed = by_class(results, "cs-columns-list")
    assert [name for name, _ in listed.options] == ["created_at", "created_by"]
    listed.value = ()
    assert len(results.table.page.columns) == before - 2
    listed.value = (list(cases.columns).index("created_at"),)
    assert "created_at" in results.table.page.columns
    by_class(results, "cs-columns-all").click()
    assert list(results.table.page.columns) == list(cases.columns)
    by_class(results, "cs-columns-reset").click()
    assert list(results.table.page.columns) == list(cases.columns[:30])


def test_chosen_columns_stay_chosen_in_the_next_run(cases):
    results = shown(cases)
    by_class(results, "cs-columns-list").value = (0, 2)
    results.show(cases.head(3), code="", plan=None)
    assert list(results.table.page.columns) == ["case_id", "title"]
    results.show(cases[["title", "status"]], code="", plan=None)
    assert list(results.table.page.columns) == ["title", "status"]


def test_a_table_of_nothing_says_so(cases):
    results = shown(cases.head(0))
    assert "No case matches" in by_class(results, "cs-table-said").value
    assert by_class(results, "cs-page").value == ""
    results.show(cases, code="", plan=None)
    by_class(results, "cs-columns-list").value = ()
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
    assert "".join(Seen(html).texts) == harmless(text)


# --- itables' widget -------------------------------------------------------------------------


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
    for room in ("grid",):
        monkeypatch.setattr(
            f"casesearch_pd.notebook.form.{room}.find_spec",
            lambda name: None if name == "itables" else find(name),
        )
    assert by_class(shown(cases, interactive=None), "cs-grid-place").children == ()
    with pytest.raises(ImportError, match=r"casesearch_pd\[widgets\]"):
        Results(interactive=True)


# --- charts ----------------------------------------------------------------------------------


def looked_at(results, title):
    results._tabs.selected_index = results._tabs.titles.index(title)
    assert results.chart.wait(WAIT)
    return results


@pytest.mark.parametrize("chart", CHARTS)
def test_every_picture_of_the_accessor_is_drawn_without_pyplot(cases, chart):
    """Figures of pyplot's are kept for ever, and belong to the main thread."""
    before = plt.get_fignums()
    picture = draw(cases, chart, "queue" if chart == "breakdown" else None)
    assert picture.png.startswith(b"\x89PNG")
    assert "as of" in picture.words
    assert plt.get_fignums() == before


def test_a_picture_is_drawn_when_somebody_looks(cases):
    results = shown(cases)
    place = by_class(results, "cs-chart-picture")
    assert results.chart.wait(WAIT)
    assert place.value == ""
    looked_at(results, "Chart")
    (alt,) = [value for name, value in Seen(place.value).attributes if name == "alt"]
    assert "open cases by age" in alt
    first = place.value
    by_class(results, "cs-chart-what").value = "breakdown"
    assert results.chart.wait(WAIT)
    assert place.value != first
    by_class(results, "cs-chart-by").value = "status"
    assert results.chart.wait(WAIT)
    assert "by status" in place.value


def test_what_a_picture_lacks_or_warns_of_is_told(source, cases):
    results = looked_at(shown(cases[["case_id", "status"]]), "Chart")
    assert "created_at" in by_class(results, "cs-chart-said").value
    assert by_class(results, "cs-chart-picture").value == ""
    few = cs.read_cases(source, status="open", progress=False)
    results.show(few, code="", plan=None)
    by_class(results, "cs-chart-what").value = "time_to_close"
    assert results.chart.wait(WAIT)
    assert "survivors" in by_class(results, "cs-chart-said").value
    assert "<img" in by_class(results, "cs-chart-picture").value


def test_a_late_picture_of_the_run_before_is_not_shown(cases, monkeypatch):
    """It would stand above the cases of another run."""
    going, go = threading.Event(), threading.Event()

    def slow(frame, *_):
        if len(frame) == len(cases):
            going.set()
            assert go.wait(WAIT)
        return draw(frame, "ages")

    monkeypatch.setattr("casesearch_pd.notebook.form.chart.draw", slow)
    results = shown(cases)
    results._tabs.selected_index = 1
    assert going.wait(WAIT)
    results.show(cases.head(10), code="", plan=None)
    go.set()
    assert results.chart.wait(WAIT)
    assert draw(cases.head(10), "ages").words in by_class(results, "cs-chart-picture").value


def test_groups_are_offered_by_columns_that_tell_some(cases):
    found = groupings(cases)
    assert found[:3] == ["queue", "assignee", "status"]
    assert {"case_id", "title", "created_at"} & {*found} == set()
    results = looked_at(shown(cases[["case_id", "created_at"]]), "Chart")
    by_class(results, "cs-chart-what").value = "breakdown"
    assert results.chart.wait(WAIT)
    assert "no column tells groups" in by_class(results, "cs-chart-said").value


def test_labels_in_any_script_are_drawn_without_a_warning(cases):
    """Beside the form it would look like an error of the form's."""
    named = cases.assign(queue=["日本語の件名", "مرحبا", "👩‍👩‍👧"] * 100)
    assert draw(named, "breakdown", "queue").notes == ()


def test_of_jobs_that_wait_the_last_is_done():
    jobs, done, go = Jobs(), [], threading.Event()
    jobs.ask(lambda: go.wait(WAIT))
    for number in range(5):
        jobs.ask(lambda number=number: done.append(number))
    assert jobs.busy
    go.set()
    assert jobs.wait(WAIT)
    assert done == [4]


def test_a_job_that_fails_does_not_end_the_others(caplog):
    jobs, done = Jobs(), []
    jobs.ask(lambda: 1 / 0)
    assert jobs.wait(WAIT)
    jobs.ask(lambda: done.append(1))
    assert jobs.wait(WAIT)
    assert done == [1]
    assert "failed" in caplog.text


# --- code and requests -----------------------------------------------------------------------


def test_the_code_is_copied_exactly_as_it_is():
    code = 'df = cs.read_cases(source, title="<b>&amp;\\u202e")\n'
    results = shown(pd.DataFrame({"case_id": ["a"]}), code=code)
    assert by_class(results, "cs-code-copy").text == code
    (listing,) = [one for one in tree(results.code) if isinstance(one, widgets.HTML)]
    assert "".join(Seen(listing.value).texts) == code


def test_half_a_pair_in_a_text_to_copy_can_be_sent():
    results = shown(pd.DataFrame({"case_id": ["a"]}), code="a\ud800b")
    assert by_class(results, "cs-code-copy").text == "a?b"


def test_the_requests_are_those_of_the_plan(source, cases):
    plan = cs.explain_cases(source, title="x", status=["open", "closed"])
    results = shown(cases, plan=plan)
    assert by_class(results, "cs-request-copy").text == ""  # nobody looked
    looked_at(results, "Request")
    which = by_class(results, "cs-request-which")
    assert len(which.options) == len(plan.requests) > 1
    for at, (request, command) in enumerate(zip(plan.requests, plan.commands, strict=True)):
        which.value = at
        assert json.loads(by_class(results, "cs-request-copy").text) == request.body
        assert by_class(results, "cs-command-copy").text == command
    ((condition, why),) = plan.rechecked.items()
    checked = "".join(Seen(by_class(results, "cs-request-checked").value).texts)
    assert f"{condition}: {why}" in checked


def test_of_many_requests_the_first_are_shown_and_the_rest_counted(source, cases):
    one = cs.explain_cases(source)
    many = {"requests": one.requests * 30, "commands": one.commands * 30, "rechecked": {}}
    plan = SimpleNamespace(**many)
    results = looked_at(shown(cases, plan=plan), "Request")
    assert len(by_class(results, "cs-request-which").options) == 20
    assert f"first 20 of {len(plan.requests)}" in by_class(results, "cs-request-said").value


def test_without_requests_the_reason_is_told(source, cases):
    results = looked_at(shown(cases, plan=cs.explain_cases(source, status=[])), "Request")
    assert "Nothing was sent" in by_class(results, "cs-request-said").value
    assert by_class(results, "cs-request-copy").text == ""
    results.show(cases, code="", plan=None)
    assert "not read here" in by_class(results, "cs-request-said").value


# --- files -----------------------------------------------------------------------------------


def written(results, kind):
    by_class(results, f"cs-export-{kind}").click()
    assert results.files.wait(WAIT)
    return by_class(results, "cs-export-said").value


def test_files_are_written_and_linked(cases, tmp_path):
    results = shown(cases)
    by_class(results, "cs-export-name").value = str(tmp_path / "my <b> cases.csv")
    for kind, suffix in (
        ("csv", ".csv"), ("excel", ".xlsx"), ("parquet", ".parquet"), ("report", ".html")
    ):  # fmt: skip
        assert "300 cases written to" in written(results, kind)
        held = (tmp_path / f"my <b> cases{suffix}").read_bytes()
        link = dict(Seen(by_class(results, "cs-export-link").value).attributes)
        assert link["download"] == f"my <b> cases{suffix}"
        assert base64.b64decode(link["href"].partition("base64,")[2]) == held
    assert pd.read_parquet(tmp_path / "my <b> cases.parquet")["case_id"].equals(cases["case_id"])


def test_a_file_that_is_there_is_replaced_only_if_somebody_says_so(cases, tmp_path):
    results, path = shown(cases), tmp_path / "a.csv"
    path.write_text("precious", "utf-8")
    by_class(results, "cs-export-name").value = str(tmp_path / "a")
    assert "is there already" in written(results, "csv")
    assert path.read_text("utf-8") == "precious"
    by_class(results, "cs-export-replace").value = True
    assert "written to" in written(results, "csv")
    assert len(pd.read_csv(path)) == len(cases)
    assert not by_class(results, "cs-export-replace").value
    assert "is there already" in written(results, "csv")


def test_what_cannot_be_written_is_told_in_words(cases, tmp_path, monkeypatch):
    results = shown(cases)
    name = by_class(results, "cs-export-name")
    name.value = str(tmp_path / "no such folder" / "a")
    assert "cs-error" in written(results, "csv")
    name.value = "   "
    assert "name the file" in written(results, "csv")
    name.value = str(tmp_path / "b")
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    assert "pip install" in written(results, "excel")
    assert list(tmp_path.iterdir()) == []


def test_a_file_too_large_for_a_link_is_written_all_the_same(cases, tmp_path, monkeypatch):
    monkeypatch.setattr(files_room, "LINKED", 10)
    results = shown(cases)
    by_class(results, "cs-export-name").value = str(tmp_path / "a")
    assert "written to" in written(results, "csv")
    assert "too large" in by_class(results, "cs-export-link").value


def test_one_file_is_written_at_a_time_and_the_kernel_stays_free(cases, tmp_path, monkeypatch):
    going, go = threading.Event(), threading.Event()

    def slow(_, path):
        going.set()
        assert go.wait(WAIT)
        path.write_text("a", "utf-8")
        return path

    monkeypatch.setattr("casesearch_pd.notebook.export.to_csv", slow)
    results = shown(cases)
    by_class(results, "cs-export-name").value = str(tmp_path / "a")
    by_class(results, "cs-export-csv").click()
    assert going.wait(WAIT)
    by_class(results, "cs-export-parquet").click()
    assert "being written" in by_class(results, "cs-export-said").value
    results.show(cases.head(1), code="", plan=None)
    go.set()
    assert results.files.wait(WAIT)
    assert "300 cases written" in by_class(results, "cs-export-said").value
    assert not (tmp_path / "a.parquet").exists()


# --- the whole -------------------------------------------------------------------------------

CONTROLS = (
    widgets.Button, widgets.ToggleButton, widgets.Dropdown, widgets.SelectMultiple, widgets.Text,
    widgets.Checkbox,
)  # fmt: skip


def test_every_control_has_a_label_and_a_class_that_the_docs_tell(cases):
    """Tests and screen readers find controls by these, and nothing else."""
    controls = [one for one in tree(shown(cases)) if isinstance(one, CONTROLS)]
    assert len(controls) > 20
    for control in controls:
        assert control.description
        assert not getattr(control, "description_allow_html", False)
        assert any(name.startswith("cs-") for name in control._dom_classes), control
    told = documented(results_room.__doc__)
    here = {name for one in tree(shown(cases)) for name in one._dom_classes}
    assert {name for name in here if name.startswith("cs-")} - {"cs-row"} <= told
    assert told - here == {"cs-grid"}  # a class inside itables' widget


def documented(doc):
    """List the classes that a docstring names; ``-find`` is another ending of the one before."""
    found, stem = set(), ""
    for name in re.findall(r"``(cs-[a-z-]+|-[a-z]+)``", doc):
        whole = name if name.startswith("cs-") else stem + name
        stem = whole.rpartition("-")[0]
        found.add(whole)
    return found


def test_results_are_seen_from_the_first_run_to_the_clearing(cases):
    results = Results(interactive=False)
    assert results.layout.display == "none"
    results.show(cases, code="df", plan=None, heading="300 cases")
    assert results.layout.display is None
    assert "300 cases" in by_class(results, "cs-results-heading").value
    results.clear()
    assert results.layout.display == "none"
    assert results.table.page.empty
    assert by_class(results, "cs-code-copy").text == ""


@pytest.mark.parametrize("columns", [["title"], ["case_id"], ["tags", "status"]])
def test_any_columns_of_a_read_can_be_shown(cases, columns, tmp_path):
    results = looked_at(shown(cases[columns], interactive=None), "Chart")
    by_class(results, "cs-export-name").value = str(tmp_path / "a")
    for kind in ("csv", "excel", "parquet", "report"):
        assert "cs-" in written(results, kind)


def test_shown_from_several_threads_one_of_them_is_seen_whole(cases):
    """Callbacks come on threads of subshells, and a run ends on one of its own."""
    results = Results(interactive=False)

    def show(rows):
        for _ in range(5):
            results.show(cases.head(rows), code=str(rows), plan=None)

    threads = [threading.Thread(target=show, args=(rows,)) for rows in (10, 120, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    rows = int(by_class(results, "cs-code-copy").text)
    assert f"of {rows}" in by_class(results, "cs-page-words").value
