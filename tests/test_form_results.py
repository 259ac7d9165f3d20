"""What the form shows after a run: code, requests, files, and the whole, without a browser."""

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
from casesearch_pd.form.results import files as files_room
from casesearch_pd.form.results import results as results_room
from casesearch_pd.form.results.results import Results
from casesearch_pd.form.widgets import ROWS, STYLE, CopyButton, style
from tests.results_shown import WAIT, Seen, by_class, looked_at, shown, tree


@pytest.fixture(scope="module")
def source():
    with cs.LocalCases(cases=300) as local:
        yield local.connect_cases()


@pytest.fixture(scope="module")
def cases(source):
    return cs.read_cases(source, tz="Europe/Berlin", progress=False)


# --- code and requests ---------------------------------------------------------------------------


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


# --- files ---------------------------------------------------------------------------------------


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
    assert by_class(results, "cs-export-link").value == ""
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

    monkeypatch.setattr("casesearch_pd.export.files.to_csv", slow)
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


# --- the whole -----------------------------------------------------------------------------------

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
    assert {name for name in here if name.startswith("cs-")} - {"cs-controls"} <= told
    assert told - here == {"cs-grid"}  # a class inside itables' widget
    assert not told & {*re.findall(r"\.(cs-[a-z-]+)", ROWS)}  # those of the rows of the filter


def documented(doc):
    """List the classes that a docstring names; ``-find`` is another ending of the one before."""
    found, stem = set(), ""
    for name in re.findall(r"``(cs-[a-z-]+|-[a-z]+)``", doc):
        whole = name if name.startswith("cs-") else stem + name
        stem = whole.rpartition("-")[0]
        found.add(whole)
    return found


def test_nothing_is_loaded_from_outside():
    """A sheet or a script that asks another machine tells it who works here."""
    assert style().value == f"<span><style>{STYLE}</style></span>"
    for text in (STYLE, str(CopyButton._esm)):
        own = re.sub(r"""url\(["']?data:.*?["']?\)(?=[\s;,}])""", "", text)
        assert not re.search(r"url\(|@import|https?:|import\s*[\({]|fetch\(", own)


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
