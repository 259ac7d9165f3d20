"""The charts of a form, drawn in the background when their tab is open, and background jobs."""

import threading

import matplotlib.pyplot as plt
import pytest

import casesearch_pd as cs
from casesearch_pd.form.jobs import Jobs
from casesearch_pd.form.results.results import CHARTS, draw, grouping_columns
from tests.form_results import WAIT, ParsedHtml, by_class, open_tab, show_results


@pytest.fixture(scope="module")
def source(service):
    return service.sources["connect"]


@pytest.fixture(scope="module")
def cases(source):
    return cs.read_cases(source, tz="Europe/Berlin", progress=False)


@pytest.mark.parametrize("chart", CHARTS)
def test_every_chart_is_drawn_without_pyplot(cases, chart):
    """Figures of pyplot stay in memory, and belong to the main thread."""
    figures = plt.get_fignums()
    picture = draw(cases, chart, "queue" if chart == "breakdown" else None)
    assert picture.png.startswith(b"\x89PNG")
    assert "as of" in picture.description
    assert plt.get_fignums() == figures


def test_a_chart_is_drawn_when_its_tab_is_open(cases):
    results = show_results(cases)
    place = by_class(results, "cs-chart-picture")
    assert results.chart.wait(WAIT)
    assert place.value == ""
    open_tab(results, "Chart")
    (alt,) = [value for name, value in ParsedHtml(place.value).attributes if name == "alt"]
    assert "open cases by age" in alt
    first = place.value
    by_class(results, "cs-chart-what").value = "breakdown"
    assert results.chart.wait(WAIT)
    assert place.value != first
    by_class(results, "cs-chart-by").value = "status"
    assert results.chart.wait(WAIT)
    assert "by status" in place.value


def test_what_a_chart_lacks_or_warns_of_is_shown(source, cases):
    results = open_tab(show_results(cases[["case_id", "status"]]), "Chart")
    assert "created_at" in by_class(results, "cs-chart-said").value
    assert by_class(results, "cs-chart-picture").value == ""
    open_cases = cs.read_cases(source, status="open", progress=False)
    results.show(open_cases, code="", plan=None)
    by_class(results, "cs-chart-what").value = "time_to_close"
    assert results.chart.wait(WAIT)
    assert "survivorship bias" in by_class(results, "cs-chart-said").value
    assert "<img" in by_class(results, "cs-chart-picture").value


def test_a_late_chart_of_the_previous_search_is_dropped(cases, monkeypatch):
    """It would be shown with the cases of another search."""
    has_begun, may_end = threading.Event(), threading.Event()

    def slow(frame, *_):
        if len(frame) == len(cases):
            has_begun.set()
            assert may_end.wait(WAIT)
        return draw(frame, "ages")

    monkeypatch.setattr("casesearch_pd.form.results.results.draw", slow)
    results = show_results(cases)
    results._tabs.selected_index = 1
    assert has_begun.wait(WAIT)
    results.show(cases.head(10), code="", plan=None)
    may_end.set()
    assert results.chart.wait(WAIT)
    assert draw(cases.head(10), "ages").description in by_class(results, "cs-chart-picture").value


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_columns_that_can_form_groups_are_offered(source, backend):
    cases = cs.read_cases(source, dtype_backend=backend, progress=False)
    columns = grouping_columns(cases)
    assert columns[:3] == ["queue", "assignee", "status"]
    assert {"case_id", "title", "created_at"} & {*columns} == set()
    results = open_tab(show_results(cases[["case_id", "created_at"]]), "Chart")
    by_class(results, "cs-chart-what").value = "breakdown"
    assert results.chart.wait(WAIT)
    assert "no column to group by" in by_class(results, "cs-chart-said").value


def test_labels_in_any_script_are_drawn_without_a_warning(cases):
    """It would look like an error of the form."""
    labelled = cases.assign(queue=["日本語の件名", "مرحبا", "👩‍👩‍👧"] * 100)
    assert draw(labelled, "breakdown", "queue").warnings == ()


# --- background jobs ---------------------------------------------------------------------


@pytest.fixture
def errors():
    return []


@pytest.fixture
def jobs(errors):
    return Jobs(threading.RLock(), errors.append)


def test_of_waiting_jobs_only_the_last_is_run(jobs):
    has_begun, may_end, runs, results = threading.Event(), threading.Event(), [], []

    def first():
        has_begun.set()
        return may_end.wait(WAIT)

    jobs.submit(first, results.append)
    assert has_begun.wait(WAIT)
    for number in range(5):
        jobs.submit(lambda number=number: runs.append(number), lambda _: results.append("last"))
    assert jobs.is_busy
    may_end.set()
    assert jobs.wait(WAIT)
    assert runs == [4]
    assert results == ["last"]


def test_a_newer_job_replaces_one_that_is_delayed(jobs):
    """Every keystroke submits a job; only the last may send a request."""
    runs = []
    for number in range(3):
        jobs.submit(lambda number=number: runs.append(number), lambda _: None, delay=0.05)
    assert jobs.wait(WAIT)
    assert runs == [2]


def test_the_result_of_a_cancelled_job_is_dropped(jobs):
    has_begun, may_end, results, end = threading.Event(), threading.Event(), [], threading.Event()

    def job():
        has_begun.set()
        return may_end.wait(WAIT)

    jobs.submit(job, results.append)
    assert has_begun.wait(WAIT)
    jobs.cancel()
    assert jobs.wait(0)
    may_end.set()
    jobs.submit(lambda: 1, lambda _: end.set())  # begins when the first one is over
    assert end.wait(WAIT)
    assert results == []


@pytest.mark.parametrize("part", ["function", "show"])
def test_the_error_of_a_job_is_shown_and_does_not_end_the_others(jobs, errors, part):
    """An error in a thread is invisible unless the form shows it."""
    if part == "function":
        jobs.submit(lambda: 1 / 0, lambda _: None)
    else:
        jobs.submit(lambda: 0, lambda zero: 1 / zero)
    assert jobs.wait(WAIT)
    assert [type(error) for error in errors] == [ZeroDivisionError]
    results = []
    jobs.submit(lambda: 1, results.append)
    assert jobs.wait(WAIT)
    assert results == [1]
