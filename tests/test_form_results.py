"""What a form shows after a search: code, requests, files and everything together."""

import base64
import json
import re
import sys
import threading
from types import SimpleNamespace

import ipywidgets as widgets
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.form.results import files as files_module
from casesearch_pd.form.results import results as results_module
from casesearch_pd.form.results.results import Results
from casesearch_pd.form.widgets import FILTER_CSS, STYLE_SHEET, CopyButton, style_sheet
from tests.form_results import WAIT, ParsedHtml, by_class, open_tab, show_results, widgets_in


@pytest.fixture(scope="module")
def source(service):
    return service.sources["connect"]


@pytest.fixture(scope="module")
def cases(source):
    return cs.read_cases(source, tz="Europe/Berlin", progress=False)


# --- code and requests ------------------------------------------------------------------------


def test_the_code_is_copied_exactly():
    code = 'df = cs.read_cases(source, title="<b>&amp;\\u202e")\n'
    results = show_results(pd.DataFrame({"case_id": ["a"]}), code=code)
    assert by_class(results, "cs-code-copy").text == code
    (listing,) = [one for one in widgets_in(results.code) if isinstance(one, widgets.HTML)]
    assert "".join(ParsedHtml(listing.value).texts) == code


def test_half_a_surrogate_pair_is_replaced_before_copying():
    results = show_results(pd.DataFrame({"case_id": ["a"]}), code="a\ud800b")
    assert by_class(results, "cs-code-copy").text == "a?b"


def test_the_requests_are_those_of_the_plan(source, cases):
    plan = cs.explain_cases(source, title="x", status=["open", "closed"])
    results = show_results(cases, plan=plan)
    assert by_class(results, "cs-request-copy").text == ""  # the tab is closed
    open_tab(results, "Request")
    selector = by_class(results, "cs-request-which")
    assert len(selector.options) == len(plan.requests) > 1
    for at, (request, command) in enumerate(zip(plan.requests, plan.commands, strict=True)):
        selector.value = at
        assert json.loads(by_class(results, "cs-request-copy").text) == request.body
        assert by_class(results, "cs-command-copy").text == command
    ((condition, why),) = plan.rechecked.items()
    conditions = "".join(ParsedHtml(by_class(results, "cs-request-checked").value).texts)
    assert f"{condition}: {why}" in conditions


def test_the_first_of_many_requests_are_shown_and_the_others_are_counted(source, cases):
    one = cs.explain_cases(source)
    attributes = {"requests": one.requests * 30, "commands": one.commands * 30, "rechecked": {}}
    plan = SimpleNamespace(**attributes)
    results = open_tab(show_results(cases, plan=plan), "Request")
    assert len(by_class(results, "cs-request-which").options) == 20
    assert f"first 20 of {len(plan.requests)}" in by_class(results, "cs-request-said").value


def test_without_requests_the_reason_is_shown(source, cases):
    results = open_tab(show_results(cases, plan=cs.explain_cases(source, status=[])), "Request")
    assert "No request was sent" in by_class(results, "cs-request-said").value
    assert by_class(results, "cs-request-copy").text == ""
    results.show(cases, code="", plan=None)
    assert "not read by this form" in by_class(results, "cs-request-said").value


# --- files ------------------------------------------------------------------------------------


def save_file(results, file_type):
    by_class(results, f"cs-export-{file_type}").click()
    assert results.files.wait(WAIT)
    return by_class(results, "cs-export-said").value


def test_files_are_written_and_linked(cases, tmp_path):
    results = show_results(cases)
    by_class(results, "cs-export-name").value = str(tmp_path / "my <b> cases.csv")
    for file_type, suffix in (
        ("csv", ".csv"), ("excel", ".xlsx"), ("parquet", ".parquet"), ("report", ".html")
    ):  # fmt: skip
        assert "300 cases written to" in save_file(results, file_type)
        content = (tmp_path / f"my <b> cases{suffix}").read_bytes()
        link = dict(ParsedHtml(by_class(results, "cs-export-link").value).attributes)
        assert link["download"] == f"my <b> cases{suffix}"
        assert base64.b64decode(link["href"].partition("base64,")[2]) == content
    assert pd.read_parquet(tmp_path / "my <b> cases.parquet")["case_id"].equals(cases["case_id"])


def test_an_existing_file_is_replaced_only_if_the_box_is_ticked(cases, tmp_path):
    results, path = show_results(cases), tmp_path / "a.csv"
    path.write_text("precious", "utf-8")
    by_class(results, "cs-export-name").value = str(tmp_path / "a")
    assert "exists already" in save_file(results, "csv")
    assert path.read_text("utf-8") == "precious"
    assert by_class(results, "cs-export-link").value == ""
    by_class(results, "cs-export-replace").value = True
    assert "written to" in save_file(results, "csv")
    assert len(pd.read_csv(path)) == len(cases)
    assert not by_class(results, "cs-export-replace").value
    assert "exists already" in save_file(results, "csv")


def test_the_reason_why_a_file_is_not_written_is_shown(cases, tmp_path, monkeypatch):
    results = show_results(cases)
    name = by_class(results, "cs-export-name")
    name.value = str(tmp_path / "no such folder" / "a")
    assert "cs-error" in save_file(results, "csv")
    name.value = "   "
    assert "name the file" in save_file(results, "csv")
    name.value = str(tmp_path / "b")
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    assert "pip install" in save_file(results, "excel")
    assert list(tmp_path.iterdir()) == []


def test_a_file_too_large_for_a_link_is_written_nevertheless(cases, tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "MAX_LINKED_BYTES", 10)
    results = show_results(cases)
    by_class(results, "cs-export-name").value = str(tmp_path / "a")
    assert "written to" in save_file(results, "csv")
    assert "too large" in by_class(results, "cs-export-link").value


def test_one_file_is_written_at_a_time_in_the_background(cases, tmp_path, monkeypatch):
    has_begun, may_end = threading.Event(), threading.Event()

    def slow(_, path):
        has_begun.set()
        assert may_end.wait(WAIT)
        path.write_text("a", "utf-8")
        return path

    monkeypatch.setattr("casesearch_pd.export.files.to_csv", slow)
    results = show_results(cases)
    by_class(results, "cs-export-name").value = str(tmp_path / "a")
    by_class(results, "cs-export-csv").click()
    assert has_begun.wait(WAIT)
    by_class(results, "cs-export-parquet").click()
    assert "being written" in by_class(results, "cs-export-said").value
    results.show(cases.head(1), code="", plan=None)
    may_end.set()
    assert results.files.wait(WAIT)
    assert "300 cases written" in by_class(results, "cs-export-said").value
    assert not (tmp_path / "a.parquet").exists()


# --- everything together ----------------------------------------------------------------------

CONTROLS = (
    widgets.Button, widgets.ToggleButton, widgets.Dropdown, widgets.SelectMultiple, widgets.Text,
    widgets.Checkbox,
)  # fmt: skip


def test_every_control_has_a_label_and_a_documented_class(cases):
    """Tests and screen readers find controls only by these."""
    view = show_results(cases)
    controls = [widget for widget in widgets_in(view) if isinstance(widget, CONTROLS)]
    assert len(controls) > 20
    for control in controls:
        assert control.description
        assert not getattr(control, "description_allow_html", False)
        assert any(name.startswith("cs-") for name in control._dom_classes), control
    documented = documented_classes(results_module.__doc__)
    classes = {name for widget in widgets_in(view) for name in widget._dom_classes}
    assert {name for name in classes if name.startswith("cs-")} - {"cs-controls"} <= documented
    assert documented - classes == {"cs-grid"}  # a class inside the widget of itables
    assert not documented & {*re.findall(r"\.(cs-[a-z-]+)", FILTER_CSS)}


def documented_classes(docstring):
    """Return the classes in a docstring; ``-find`` replaces the end of the class before it."""
    classes, stem = set(), ""
    for name in re.findall(r"``(cs-[a-z-]+|-[a-z]+)``", docstring):
        css = name if name.startswith("cs-") else stem + name
        stem = css.rpartition("-")[0]
        classes.add(css)
    return classes


def test_nothing_is_loaded_from_another_machine():
    """A style sheet or a script from another machine would reveal who uses the form."""
    assert style_sheet().value == f"<span><style>{STYLE_SHEET}</style></span>"
    for text in (STYLE_SHEET, str(CopyButton._esm)):
        code = re.sub(r"""url\(["']?data:.*?["']?\)(?=[\s;,}])""", "", text)
        assert not re.search(r"url\(|@import|https?:|import\s*[\({]|fetch\(", code)


def test_results_are_visible_from_the_first_search_until_they_are_cleared(cases):
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
    results = open_tab(show_results(cases[columns], interactive=None), "Chart")
    by_class(results, "cs-export-name").value = str(tmp_path / "a")
    for file_type in ("csv", "excel", "parquet", "report"):
        assert "cs-" in save_file(results, file_type)


def test_results_shown_from_several_threads_do_not_mix(cases):
    """Callbacks come from threads of subshells, and a search ends in a thread of its own."""
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
