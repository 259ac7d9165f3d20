"""The pictures of the form's results: drawn when somebody looks, in a thread, without pyplot."""

import threading

import matplotlib.pyplot as plt
import pytest

import casesearch_pd as cs
from casesearch_pd.form.results.results import CHARTS, draw, groupings
from casesearch_pd.form.runner import Jobs
from tests.results_shown import WAIT, Seen, by_class, looked_at, shown


@pytest.fixture(scope="module")
def source():
    with cs.LocalCases(cases=300) as local:
        yield local.connect_cases()


@pytest.fixture(scope="module")
def cases(source):
    return cs.read_cases(source, tz="Europe/Berlin", progress=False)


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

    monkeypatch.setattr("casesearch_pd.form.results.results.draw", slow)
    results = shown(cases)
    results._tabs.selected_index = 1
    assert going.wait(WAIT)
    results.show(cases.head(10), code="", plan=None)
    go.set()
    assert results.chart.wait(WAIT)
    assert draw(cases.head(10), "ages").words in by_class(results, "cs-chart-picture").value


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_groups_are_offered_by_columns_that_tell_some(source, backend):
    cases = cs.read_cases(source, dtype_backend=backend, progress=False)
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
