"""The filter form without a browser: its query, its searches, saved forms, and its safety."""

import json
import threading
from itertools import pairwise

import ipywidgets as widgets
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.form.jobs import CostEstimator
from casesearch_pd.form.model.query import FormQuery
from casesearch_pd.form.model.tree import Group, Rule
from tests.conftest import NOW, SERVICES

SERVICE = {"cases": 600, "seed": 3}
TIMEOUT = 30  # seconds for what takes a moment
COLUMNS = ["case_id", "title", "status", "created_at"]


@pytest.fixture(autouse=True)
def _close_forms():
    """Close the forms of a test, because their counts would outlive the service."""
    yield
    widgets.Widget.close_all()


def by_class(form, css):
    """Return the one control of a form that has a class."""
    (widget,) = [item for item in widgets_in(form) if css in getattr(item, "_dom_classes", ())]
    return widget


def widgets_in(widget):
    """Yield a widget and everything inside it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from widgets_in(child)


def markup_of(form):
    """Return everything that a form shows as HTML."""
    return "\n".join(item.value for item in widgets_in(form) if isinstance(item, widgets.HTML))


def search(form):
    form.run()
    assert form.wait(TIMEOUT)
    return form


def query_of(*rules):
    return FormQuery(tree=Group(members=rules))


def status_is(value):
    return query_of(Rule("status", "in", (value,)))


# --- the query ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_an_empty_form_searches_for_all_cases(local, name):
    form = cs.CaseForm(getattr(local, f"{name}_cases")())
    assert form.filters == {}
    assert form.code == "df = cs.read_cases(source)"


def test_a_form_searches_for_what_it_begins_with(local):
    filters = {"status": ["open", "pending"], "tags": {"team": "red"}, "sort": "-created_at"}
    form = cs.CaseForm(local.connect_cases(), **filters, limit=5, columns=COLUMNS, search="refund")
    assert form.filters == filters | {"limit": 5, "columns": COLUMNS, "search": "refund"}
    assert cs.CaseForm(local.connect_cases(), **form.filters).filters == form.filters


def test_a_nested_filter_is_an_expression(local):
    recent_or_a = cs.field("title").contains("a") & (cs.field("created_at") > "2026")
    where = (cs.field("status") == "open") | ~recent_or_a
    form = cs.CaseForm(local.connect_cases(), where)
    assert repr(form.filters["where"]) == repr(where)


@pytest.mark.parametrize("filters", [{"status": []}, {"created_at": pd.Period("2026-03-14", "W")}])
def test_a_filter_without_rows_is_refused(local, filters):
    """A filter that was reduced to what the form has rows for would find other cases."""
    with pytest.raises(cs.FilterError):
        cs.CaseForm(local.connect_cases(), **filters)


def test_an_incomplete_row_is_neither_searched_for_nor_left_out(local):
    form = cs.CaseForm(local.connect_cases(), status="open")
    form._show_query(query_of(Rule("status", "in", ("open",)), Rule("title", "eq")))
    requests = len(local.requests)
    with pytest.raises(cs.FilterError, match="2"):
        form.run()
    by_class(form, "cs-search").click()
    assert "2" in by_class(form, "cs-problem").value
    assert len(local.requests) == requests
    assert form.frame is None


def test_the_repr_of_a_form_is_one_line(local):
    """Notebooks are stored with it, and compared by nbval."""
    text = repr(cs.CaseForm(local.connect_cases(), status="open"))
    assert text.startswith("CaseForm(")
    assert 'status="open"' in text
    assert len(text.splitlines()) == 1


# --- the preview --------------------------------------------------------------------------


def test_connect_counts_while_the_form_is_edited(local, until):
    source = local.connect_cases()
    form = cs.CaseForm(source, status="open")
    count = cs.count_cases(source, status="open")
    until(lambda: f"{count:,} cases match" in by_class(form, "cs-sentence").value)


def test_an_edit_does_not_wait_for_a_request(local, until):
    """A keystroke that waited for the service would block the user."""
    source = local.connect_cases()
    form = cs.CaseForm(source)
    until(lambda: "match" in by_class(form, "cs-sentence").value)
    has_begun, may_end = threading.Event(), threading.Event()
    original = source.count

    def count(*arguments):
        has_begun.set()
        assert may_end.wait(TIMEOUT)
        return original(*arguments)

    source.count = count
    form._show_query(status_is("open"))
    assert has_begun.wait(TIMEOUT)
    # The count waits in its own thread; the next query is shown and planned at once.
    form._show_query(status_is("pending"))
    pending = "Waiting for customer"  # the label of pending
    assert pending in by_class(form, "cs-sentence").value
    until(lambda: "Counting" in by_class(form, "cs-sentence").value)
    may_end.set()
    number = cs.count_cases(local.connect_cases(), status="pending")
    until(lambda: f"{number:,} cases match" in by_class(form, "cs-sentence").value)


def test_only_the_last_of_many_edits_is_counted(local):
    source, previews, is_counted = local.connect_cases(), [], threading.Event()

    def show(preview):
        previews.append(preview)
        if preview.cost is not None:
            is_counted.set()

    estimator = CostEstimator(source, show, threading.RLock(), delay=0.2)
    assert source.schema.fields  # discovered
    requests = len(local.requests)
    for status in ("open", "pending", "closed"):
        estimator.submit(status_is(status))
    assert is_counted.wait(TIMEOUT)
    assert len(local.requests) - requests == 1
    assert {preview.query.tree.members[0].value for preview in previews} == {("closed",)}


def test_a_query_that_sends_the_same_requests_is_not_counted_again(local, until):
    source, previews = local.connect_cases(), []
    estimator = CostEstimator(source, previews.append, threading.RLock(), delay=0.0)
    estimator.submit(status_is("open"))
    until(lambda: previews and previews[-1].cost is not None)
    requests, count = len(local.requests), len(previews)
    estimator.submit(FormQuery(tree=status_is("open").tree, tz="Europe/Berlin"))
    until(lambda: len(previews) > count)
    assert previews[-1].cost is not None
    assert len(local.requests) == requests


def test_a_failed_count_is_explained(local, until):
    source = local.connect_cases()
    assert source.schema.fields  # discovered
    local.faults.append(Fault("error", status=403, wire="connect"))
    form = cs.CaseForm(source, status="open")
    until(lambda: "cases:SearchCases" in by_class(form, "cs-sentence").value)


def test_a_bug_in_the_preview_is_shown(local, until):
    """An error in a thread is invisible unless the form shows it."""
    source = local.connect_cases()
    source.count = lambda *_: 1 / 0
    form = cs.CaseForm(source, status="open")
    until(lambda: "division by zero" in by_class(form, "cs-sentence").value)


# --- the search ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_search_reads_the_same_cases_as_its_code(local, name):
    source = getattr(local, f"{name}_cases")()
    form = search(cs.CaseForm(source, created_at__lt="2026-02", columns=["case_id", "created_at"]))
    names = {"cs": cs, "source": source}
    exec(form.code, names)
    pd.testing.assert_frame_equal(form.frame, names["df"])
    assert f"{len(form.frame):,}" in by_class(form, "cs-status").value
    assert not by_class(form, "cs-search").disabled
    assert by_class(form, "cs-cancel").disabled


class Gate:
    """A source that waits before one of its pages until the gate is opened."""

    def __init__(self, source, page_number):
        self.is_reached, self._is_open = threading.Event(), threading.Event()
        self._source, self._read_page = source, source.read_page
        self._page_number, self._pages = page_number, 0
        source.read_page = self._wait_and_read

    def _wait_and_read(self, *arguments):
        self._pages += 1
        if self._pages == self._page_number:
            self.is_reached.set()
            assert self._is_open.wait(TIMEOUT)
        return self._read_page(*arguments)

    def open(self):
        """Let the page through."""
        self._is_open.set()

    def remove(self):
        """Restore the source."""
        self._source.read_page = self._read_page


def small_pages(local):
    """Return a source with 25 cases per page, fields discovered."""
    source = local.connect_cases(page_size=25)
    assert source.schema.fields
    return source


def test_two_searches_are_cancelled_and_a_third_one_is_complete(local):
    """A late cancel that reached the next search, or a search without end, would be a trap."""
    source = small_pages(local)
    for _ in range(2):
        gate = Gate(source, 2)
        form = cs.CaseForm(source, columns=["case_id"])
        by_class(form, "cs-search").click()
        assert gate.is_reached.wait(TIMEOUT)
        assert by_class(form, "cs-search").disabled
        by_class(form, "cs-cancel").click()
        assert not form.wait(0)
        gate.open()
        assert form.wait(TIMEOUT)
        assert 0 < len(form.frame) < 600
        assert form.frame.cases.provenance["complete"] is False
        assert "Cancelled" in by_class(form, "cs-problem").value
        gate.remove()
    form.cancel()  # nothing is running
    assert len(search(form).frame) == 600
    assert by_class(form, "cs-problem").value == ""


def test_one_form_is_cancelled_twice(local):
    source = small_pages(local)
    form = cs.CaseForm(source, columns=["case_id"])
    for _ in range(2):
        gate = Gate(source, 2)
        form.run()
        assert gate.is_reached.wait(TIMEOUT)
        form.cancel()
        gate.open()
        assert form.wait(TIMEOUT)
        assert "Cancelled" in by_class(form, "cs-problem").value
        gate.remove()
    assert len(search(form).frame) == 600


def test_two_searches_do_not_mix(local):
    source = small_pages(local)
    gate = Gate(source, 3)
    form = cs.CaseForm(source, columns=["case_id"])
    form.run()
    assert gate.is_reached.wait(TIMEOUT)
    first = form._runner.read
    form._show_query(status_is("open"))
    search(form)
    count = cs.count_cases(source, status="open")
    status = by_class(form, "cs-status").value
    gate.open()
    assert first.wait(TIMEOUT)
    assert len(form.frame) == count
    assert by_class(form, "cs-status").value == status
    assert by_class(form, "cs-problem").value == ""


def test_an_expired_token_is_explained_and_the_previous_cases_remain(local):
    form = search(cs.CaseForm(local.persona_cases(), columns=["case_id"]))
    local.faults.append(Fault("error", status=401, wire="persona"))
    search(form)
    assert "PERSONA_API_KEY" in by_class(form, "cs-problem").value
    assert len(form.frame) == 600
    local.faults.clear()
    assert len(search(form).frame) == 600
    assert by_class(form, "cs-problem").value == ""


def test_a_failed_search_shows_partial_results(local):
    source = small_pages(local)
    local.faults.append(Fault("error", status=400, after=2, wire="connect"))
    form = cs.CaseForm(source, columns=["case_id"])
    form._estimator.cancel()
    search(form)
    assert 0 < len(form.frame) < 600
    assert "Partial results are shown below" in by_class(form, "cs-problem").value


def test_waiting_for_the_rate_limit_is_shown(local, until):
    """A form without any movement looks like a crash."""
    source = local.connect_cases(rate=0.5, burst=1)
    form = cs.CaseForm(source, columns=["case_id"])
    form._estimator.cancel()
    form.run()
    until(lambda: "waiting" in by_class(form, "cs-status").value)
    form.cancel()
    assert form.wait(TIMEOUT)


def test_a_bug_is_shown_and_the_form_continues_to_work(local):
    source = small_pages(local)
    form = cs.CaseForm(source, columns=["case_id"])
    read_page = source.read_page
    source.read_page = lambda *_: 1 / 0
    search(form)
    assert "ZeroDivisionError" in by_class(form, "cs-problem").value
    source.read_page = read_page
    assert len(search(form).frame) == 600


@pytest.mark.parametrize("part", ["_bar.show_progress", "_results.show"])
def test_an_error_while_showing_a_search_is_shown(local, part):
    """A form whose buttons stayed disabled would need a restart."""
    source = small_pages(local)
    form = cs.CaseForm(source, columns=["case_id"])
    owner, method = part.split(".")
    original = getattr(getattr(form, owner), method)
    setattr(getattr(form, owner), method, lambda *_, **__: 1 / 0)
    local.faults.append(Fault("latency", 0.1))
    search(form)
    assert "division by zero" in by_class(form, "cs-problem").value
    assert not by_class(form, "cs-search").disabled
    setattr(getattr(form, owner), method, original)
    local.faults.clear()
    assert len(search(form).frame) == 600
    assert by_class(form, "cs-problem").value == ""


def test_a_closed_form_cancels_its_search(local):
    source = small_pages(local)
    gate = Gate(source, 2)
    form = cs.CaseForm(source, columns=["case_id"])
    form.run()
    assert gate.is_reached.wait(TIMEOUT)
    read = form._runner.read
    form.close()
    gate.open()
    assert read.wait(TIMEOUT)
    assert read.cancelled
    assert form.wait(0)


def test_the_progress_bar_never_moves_backwards(local):
    source = small_pages(local)
    local.faults.append(Fault("latency", 0.05))
    form = cs.CaseForm(source, columns=["case_id"])
    values = []
    by_class(form, "cs-bar").observe(lambda change: values.append(change["new"]), "value")
    search(form)
    progress = values[values.index(0.0) + 1 :] if 0.0 in values else values
    assert all(one <= other for one, other in pairwise(progress))
    assert progress[-1] == 1.0


def test_a_mirror_is_searched_like_its_service(local, tmp_path, until):
    pytest.importorskip("duckdb")
    source, filters = local.connect_cases(), {"status": ["open", "pending"], "columns": COLUMNS}
    mirror = cs.Mirror(tmp_path / "cases.duckdb")
    mirror.sync(source)
    requests = len(local.requests)
    form = search(cs.CaseForm(mirror, **filters))
    until(lambda: f"{len(form.frame):,} cases match" in by_class(form, "cs-sentence").value)
    assert len(local.requests) == requests
    pd.testing.assert_frame_equal(form.frame, cs.read_cases(source, **filters))
    assert form.frame.cases.form().filters == filters


# --- saved forms --------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_saved_form_is_restored(local, name, tmp_path):
    source = getattr(local, f"{name}_cases")()
    form = cs.CaseForm(source, status=["open"], created_at__gte=-pd.Timedelta(days=7), limit=9)
    incomplete = Rule("created_at", "between", ("2026-03", None))
    rules = (*form._query().tree.members, incomplete)
    form._show_query(FormQuery(tree=Group("or", True, rules), limit=9))
    path = form.save(tmp_path / "form.json")
    restored = cs.CaseForm.load(path, getattr(local, f"{name}_cases")())
    assert restored._query() == form._query()
    text = path.read_text("utf-8")
    assert local.token not in text
    assert json.loads(text)["source"] == source.describe()


SAVED_BEFORE = {
    "format": 1,
    "tree": {
        "combinator": "and",
        "negated": False,
        "members": [
            {"field": "status", "operator": "in", "value": ["open"]},
            {"field": "created_at", "operator": "gte", "value": {"timedelta": "-7 days"}},
            {"field": "queue", "operator": "there", "value": None},
        ],
    },
    "search": None,
    "tags": ["team=red"],
    "columns": None,
    "sort": ["-created_at"],
    "limit": 9,
    "tz": "UTC",
    "source": {"service": "connect"},
}


def test_a_form_that_an_earlier_version_saved_is_read(local, tmp_path):
    (tmp_path / "form.json").write_text(json.dumps(SAVED_BEFORE))
    form = cs.CaseForm.load(tmp_path / "form.json", local.connect_cases())
    assert form.filters == {
        "status": "open",
        "created_at__gte": -pd.Timedelta(days=7),
        "queue__isna": False,
        "tags": {"team": "red"},
        "sort": "-created_at",
        "limit": 9,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", "not a saved form"),
        ("{}", "not a saved form"),
        ('{"format": 99}', "update"),
        ('{"format": 1, "tree": 5}', "not a part"),
        ('{"format": 1, "tree": {"combinator": "and", "negated": false, "members": []}, "limit": "5"}', "limit"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_in_words(local, tmp_path, text, message):
    (tmp_path / "form.json").write_text(text)
    with pytest.raises(cs.FilterError, match=message):
        cs.CaseForm.load(tmp_path / "form.json", local.connect_cases())


def test_a_missing_file_is_refused_in_words(local, tmp_path):
    with pytest.raises(cs.FilterError, match="cannot be read"):
        cs.CaseForm.load(tmp_path / "none.json", local.connect_cases())


@pytest.mark.parametrize(
    "filters",
    [
        {"status": "open"},
        {"status": "open", "columns": COLUMNS, "sort": ["-created_at", "case_id"], "limit": 7},
        {"created_at__gte": -pd.Timedelta(days=30), "tz": "Europe/Berlin", "columns": COLUMNS},
    ],
)
def test_the_form_of_a_frame_has_the_query_of_the_frame(local, filters):
    source = local.connect_cases()
    df = cs.read_cases(source, **filters)
    form = df.cases.form(source)
    assert form.filters == filters
    assert form.frame is df
    pd.testing.assert_frame_equal(search(form).frame, df)


def test_the_form_of_a_frame_recreates_the_source(local):
    source = local.connect_cases()
    df = cs.read_cases(source, status="open", columns=COLUMNS)
    assert cs.CaseForm.from_frame(df).filters == {"status": "open", "columns": COLUMNS}


def test_a_frame_without_provenance_has_no_form(local):
    with pytest.raises(cs.FilterError, match="no provenance of a case search"):
        pd.DataFrame({"case_id": ["a"]}).cases.form(local.connect_cases())


# --- safety -------------------------------------------------------------------------------

HOSTILE = ["<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "$\\href{javascript:x}{y}$"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_text_of_a_case_or_a_filter_is_markup(name):
    frame = pd.DataFrame(
        {"case_id": list("abc"), "created_at": NOW, "title": HOSTILE, "<b>x</b>": HOSTILE}
    )
    with cs.LocalCases(frame, now=NOW) as local:
        form = cs.CaseForm(getattr(local, f"{name}_cases")(), title__ne=HOSTILE[0])
        search(form)
        markup = markup_of(form)
        assert len(form.frame) == 2
    assert "<img src=x" not in markup
    assert "<script>alert" not in markup
    assert "<b>x</b>" not in markup


def test_no_control_contains_a_secret(local):
    form = search(cs.CaseForm(local.persona_cases(), columns=["case_id"]))
    state = json.dumps([item.get_state() for item in widgets_in(form)], default=str)
    assert "case" in state
    assert local.token not in state


def test_the_form_has_the_width_of_the_page(local):
    """A fixed width would push the buttons off a narrow screen."""
    form = cs.CaseForm(local.connect_cases())
    assert form.layout.width == "100%"
