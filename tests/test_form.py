"""The filter form as a whole, without a browser: what it asks, its runs, what it keeps."""

import json
import threading
from datetime import UTC, datetime
from itertools import pairwise

import ipywidgets as widgets
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.form.model.question import FormQuery
from casesearch_pd.form.model.tree import Group, Rule
from casesearch_pd.form.preview import CostEstimator

AT_MOST = 30  # seconds for what takes a moment
NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
COLUMNS = ["case_id", "title", "status", "created_at"]
SERVICES = ["connect", "persona"]


@pytest.fixture(scope="module")
def service():
    with cs.LocalCases(cases=600, seed=3, now=NOW) as running:
        yield running


@pytest.fixture
def local(service):
    yield service
    service.faults.clear()


def named(form, name):
    """Find the one control of a form that has a class."""
    return only(item for item in inside(form) if name in getattr(item, "_dom_classes", ()))


def only(found):
    (one,) = found
    return one


def inside(widget):
    """List a widget and all that is in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from inside(child)


def texts(form):
    """Join all that a form shows as markup."""
    return "\n".join(item.value for item in inside(form) if isinstance(item, widgets.HTML))


def until(holds):
    """Look again and again until something holds."""
    for _ in range(AT_MOST * 50):
        if holds():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it does not come to pass")


def ran(form):
    form.run()
    assert form.wait(AT_MOST)
    return form


# --- what it asks -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_an_empty_form_asks_for_every_case(local, name):
    source = getattr(local, f"{name}_cases")()
    form = cs.CaseForm(source)
    assert form.filters == {}
    assert form.code == "df = cs.read_cases(source)"


def test_a_filled_form_asks_what_it_was_filled_with(local):
    asked = {"status": ["open", "pending"], "tags": {"team": "red"}, "sort": "-created_at"}
    form = cs.CaseForm(local.connect_cases(), **asked, limit=5, columns=COLUMNS, search="refund")
    assert form.filters == asked | {"limit": 5, "columns": COLUMNS, "search": "refund"}
    assert cs.CaseForm(local.connect_cases(), **form.filters).filters == form.filters


def test_a_nested_filter_is_an_expression(local):
    where = (cs.field("status") == "open") | ~(cs.field("title").contains("a") & (cs.field("created_at") > "2026"))  # noqa: E501  # fmt: skip
    form = cs.CaseForm(local.connect_cases(), where)
    assert repr(form.filters["where"]) == repr(where)


@pytest.mark.parametrize("asked", [{"status": []}, {"created_at": pd.Period("2026-03-14", "W")}])
def test_what_has_no_rows_is_said(local, asked):
    """A filter that was cut to what the form has rows for would find other cases."""
    with pytest.raises(cs.FilterError):
        cs.CaseForm(local.connect_cases(), **asked)


def test_an_unfinished_row_is_neither_run_nor_left_out(local):
    form = cs.CaseForm(local.connect_cases(), status="open")
    form._take(
        FormQuery(tree=Group(members=(Rule("status", "in", ("open",)), Rule("title", "eq"))))
    )
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match="2"):
        form.run()
    named(form, "cs-search").click()
    assert "2" in named(form, "cs-problem").value
    assert len(local.requests) == before
    assert form.frame is None


def test_the_form_is_told_in_one_line(local):
    """A notebook is stored with it, and nbval compares it."""
    shown = repr(cs.CaseForm(local.connect_cases(), status="open"))
    assert shown.startswith("CaseForm(")
    assert 'status="open"' in shown
    assert len(shown.splitlines()) == 1


# --- before the run ---------------------------------------------------------------------------


def test_connect_counts_while_the_filter_is_written(local):
    source = local.connect_cases()
    form = cs.CaseForm(source, status="open")
    number = cs.count_cases(source, status="open")
    until(lambda: f"{number:,} cases match" in named(form, "cs-sentence").value)


def test_an_edit_sends_nothing_itself(local):
    """A keystroke that waited for a request would stop whoever types."""
    source = local.connect_cases()
    form = cs.CaseForm(source)
    until(lambda: "match" in named(form, "cs-sentence").value)
    asked, opened = threading.Event(), threading.Event()
    real = source.count

    def count(*question):
        asked.set()
        assert opened.wait(AT_MOST)
        return real(*question)

    source.count = count
    form._take(FormQuery(tree=Group(members=(Rule("status", "in", ("open",)),))))
    assert asked.wait(AT_MOST)  # the count hangs in a thread of its own, and we are here
    form._take(FormQuery(tree=Group(members=(Rule("status", "in", ("pending",)),))))
    assert "Waiting for customer" in named(form, "cs-sentence").value  # pending's label
    opened.set()
    number = cs.count_cases(local.connect_cases(), status="pending")
    until(lambda: f"{number:,} cases match" in named(form, "cs-sentence").value)


def test_only_the_last_of_many_edits_is_counted(local):
    source, told, done = local.connect_cases(), [], threading.Event()

    def tell(outlook):
        told.append(outlook)
        if outlook.cost is not None:
            done.set()

    forecast = CostEstimator(source, tell, pause=0.2)
    source.schema  # noqa: B018 - discovery is over
    before = len(local.requests)
    for status in ("open", "pending", "closed"):
        forecast.ask(FormQuery(tree=Group(members=(Rule("status", "in", (status,)),))))
    assert done.wait(AT_MOST)
    assert len(local.requests) - before == 1
    assert {outlook.question.tree.members[0].value for outlook in told} == {("closed",)}


def test_a_count_that_fails_is_told_in_words(local):
    source = local.connect_cases()
    source.schema  # noqa: B018 - discovery is over
    local.faults.append(Fault("error", status=403, wire="connect"))
    form = cs.CaseForm(source, status="open")
    until(lambda: "cases:SearchCases" in named(form, "cs-sentence").value)


# --- the run ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_it_reads_what_its_code_reads(local, name):
    source = getattr(local, f"{name}_cases")()
    form = ran(cs.CaseForm(source, created_at__lt="2026-02", columns=["case_id", "created_at"]))
    again = {}
    exec(form.code, {"cs": cs, "source": source}, again)
    pd.testing.assert_frame_equal(form.frame, again["df"])
    assert f"{len(form.frame):,}" in named(form, "cs-status").value
    assert not named(form, "cs-search").disabled
    assert named(form, "cs-cancel").disabled


class Gate:
    """A source that waits before the page of a number until it is let through."""

    def __init__(self, source, page):
        self.reached, self.opened = threading.Event(), threading.Event()
        self.source, self._real, self._page, self._pages = source, source.read_page, page, 0
        source.read_page = self._asked

    def _asked(self, *question):
        self._pages += 1
        if self._pages == self._page:
            self.reached.set()
            assert self.opened.wait(AT_MOST)
        return self._real(*question)


def paged(local):
    """Make a source of pages of 25, whose fields are known."""
    source = local.connect_cases(page_size=25)
    source.schema  # noqa: B018 - discovery is over
    return source


def test_cancel_twice_in_a_row_and_search_again(local):
    """A late cancel that reached the next run, or a run that never ended, are what users meet."""
    source = paged(local)
    for _ in range(2):
        gate = Gate(source, 2)
        form = cs.CaseForm(source, columns=["case_id"])
        named(form, "cs-search").click()
        assert gate.reached.wait(AT_MOST)
        assert named(form, "cs-search").disabled
        named(form, "cs-cancel").click()
        assert not form.wait(0)
        gate.opened.set()
        assert form.wait(AT_MOST)
        assert 0 < len(form.frame) < 600
        assert form.frame.cases.provenance["complete"] is False
        assert "Cancelled" in named(form, "cs-problem").value
        source.read_page = gate._real
    form.cancel()  # nothing is under way
    assert len(ran(form).frame) == 600
    assert named(form, "cs-problem").value == ""


def test_one_form_is_cancelled_twice(local):
    source = paged(local)
    form = cs.CaseForm(source, columns=["case_id"])
    for _ in range(2):
        gate = Gate(source, 2)
        form.run()
        assert gate.reached.wait(AT_MOST)
        form.cancel()
        gate.opened.set()
        assert form.wait(AT_MOST)
        assert "Cancelled" in named(form, "cs-problem").value
        source.read_page = gate._real
    assert len(ran(form).frame) == 600


def test_a_second_run_never_mixes_with_the_first(local):
    source = paged(local)
    gate = Gate(source, 3)
    form = cs.CaseForm(source, columns=["case_id"])
    form.run()
    assert gate.reached.wait(AT_MOST)
    first = form._runs._read
    form._take(FormQuery(tree=Group(members=(Rule("status", "in", ("open",)),))))
    ran(form)
    number = cs.count_cases(source, status="open")
    said = named(form, "cs-status").value
    gate.opened.set()
    assert first.wait(AT_MOST)
    assert len(form.frame) == number
    assert named(form, "cs-status").value == said
    assert named(form, "cs-problem").value == ""


def test_an_expired_token_is_told_and_the_cases_before_stay(local):
    source = local.persona_cases()
    form = ran(cs.CaseForm(source, columns=["case_id"]))
    local.faults.append(Fault("error", status=401, wire="persona"))
    ran(form)
    assert "PERSONA_API_KEY" in named(form, "cs-problem").value
    assert len(form.frame) == 600
    local.faults.clear()
    assert len(ran(form).frame) == 600
    assert named(form, "cs-problem").value == ""


def test_a_read_that_breaks_off_shows_what_came(local):
    source = paged(local)
    local.faults.append(Fault("error", status=400, after=2, wire="connect"))
    form = cs.CaseForm(source, columns=["case_id"])
    form._forecast.forget()
    ran(form)
    assert 0 < len(form.frame) < 600
    assert "not all" in named(form, "cs-problem").value


def test_the_wait_for_the_rate_limit_is_told(local):
    """Nothing moving and nothing said looks like a crash."""
    source = local.connect_cases(rate=0.5, burst=1)
    form = cs.CaseForm(source, columns=["case_id"])
    form._forecast.forget()
    form.run()
    until(lambda: "waiting" in named(form, "cs-status").value)
    form.cancel()
    assert form.wait(AT_MOST)


def test_a_bug_is_told_and_the_form_goes_on(local):
    source = paged(local)
    form = cs.CaseForm(source, columns=["case_id"])
    real = source.read_page
    source.read_page = lambda *_: 1 / 0
    ran(form)
    assert "ZeroDivisionError" in named(form, "cs-problem").value
    source.read_page = real
    assert len(ran(form).frame) == 600


def test_a_closed_form_stops(local):
    source = paged(local)
    gate = Gate(source, 2)
    form = cs.CaseForm(source, columns=["case_id"])
    form.run()
    assert gate.reached.wait(AT_MOST)
    read = form._runs._read
    form.close()
    gate.opened.set()
    assert read.wait(AT_MOST)
    assert read.cancelled
    assert form.wait(0)


def test_the_bar_only_goes_on(local):
    source = paged(local)
    local.faults.append(Fault("latency", 0.05))
    form = cs.CaseForm(source, columns=["case_id"])
    seen = []
    named(form, "cs-bar").observe(lambda change: seen.append(change["new"]), "value")
    ran(form)
    climbed = seen[seen.index(0.0) + 1 :] if 0.0 in seen else seen
    assert all(one <= other for one, other in pairwise(climbed))
    assert climbed[-1] == 1.0


def test_a_mirror_is_searched_as_its_service(local, tmp_path):
    pytest.importorskip("duckdb")
    source, asked = local.connect_cases(), {"status": ["open", "pending"], "columns": COLUMNS}
    mirror = cs.Mirror(tmp_path / "cases.duckdb")
    mirror.sync(source)
    before = len(local.requests)
    form = ran(cs.CaseForm(mirror, **asked))
    until(lambda: f"{len(form.frame):,} cases match" in named(form, "cs-sentence").value)
    assert len(local.requests) == before
    pd.testing.assert_frame_equal(form.frame, cs.read_cases(source, **asked))
    assert form.frame.cases.form().filters == asked


# --- what it keeps ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_saved_form_is_the_same_again(local, name, tmp_path):
    source = getattr(local, f"{name}_cases")()
    form = cs.CaseForm(source, status=["open"], created_at__gte=-pd.Timedelta(days=7), limit=9)
    unfinished = Rule("created_at", "between", ("2026-03", None))
    held = form._held()
    form._take(FormQuery(tree=Group("or", True, (*held.tree.members, unfinished)), limit=9))
    path = form.save(tmp_path / "form.json")
    again = cs.CaseForm.load(path, getattr(local, f"{name}_cases")())
    assert again._held() == form._held()
    written = path.read_text("utf-8")
    assert local.token not in written
    assert json.loads(written)["source"] == source.describe()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[]", "no saved form"),
        ("{}", "no saved form"),
        ('{"format": 99}', "update"),
        ('{"format": 1, "tree": 5}', "no part"),
        ('{"format": 1, "tree": {"combinator": "and", "negated": false, "members": []}, "limit": "5"}', "limit"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_in_words(local, tmp_path, text, said):
    (tmp_path / "form.json").write_text(text)
    with pytest.raises(cs.FilterError, match=said):
        cs.CaseForm.load(tmp_path / "form.json", local.connect_cases())


def test_a_missing_file_is_refused_in_words(local, tmp_path):
    with pytest.raises(cs.FilterError, match="cannot be read"):
        cs.CaseForm.load(tmp_path / "none.json", local.connect_cases())


@pytest.mark.parametrize(
    "asked",
    [
        {"status": "open"},
        {"status": "open", "columns": COLUMNS, "sort": ["-created_at", "case_id"], "limit": 7},
        {"created_at__gte": -pd.Timedelta(days=30), "tz": "Europe/Berlin", "columns": COLUMNS},
    ],
)
def test_a_form_of_a_frame_asks_what_the_frame_was_read_by(local, asked):
    source = local.connect_cases()
    df = cs.read_cases(source, **asked)
    form = df.cases.form(source)
    assert form.filters == asked
    assert form.frame is df
    pd.testing.assert_frame_equal(ran(form).frame, df)


def test_a_form_of_a_frame_finds_the_source(local):
    source = local.connect_cases()
    df = cs.read_cases(source, status="open", columns=COLUMNS)
    assert cs.CaseForm.from_frame(df).filters == {"status": "open", "columns": COLUMNS}


def test_a_frame_of_ones_own_has_no_form(local):
    with pytest.raises(cs.FilterError, match="how it was read"):
        pd.DataFrame({"case_id": ["a"]}).cases.form(local.connect_cases())


# --- what it shows ----------------------------------------------------------------------------

HOSTILE = ["<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "$\\href{javascript:x}{y}$"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_text_of_a_case_or_a_filter_is_markup(name):
    frame = pd.DataFrame(
        {"case_id": list("abc"), "created_at": NOW, "title": HOSTILE, "<b>x</b>": HOSTILE}
    )
    with cs.LocalCases(frame, now=NOW) as local:
        form = cs.CaseForm(getattr(local, f"{name}_cases")(), title__ne=HOSTILE[0])
        ran(form)
        shown = texts(form)
        assert len(form.frame) == 2
    assert "<img src=x" not in shown
    assert "<script>alert" not in shown
    assert "<b>x</b>" not in shown


def test_no_secret_is_in_any_control(local):
    form = ran(cs.CaseForm(local.persona_cases(), columns=["case_id"]))
    held = json.dumps([item.get_state() for item in inside(form)], default=str)
    assert "case" in held
    assert local.token not in held


def test_the_form_fits_any_width(local):
    """A fixed width would push the buttons off a narrow screen."""
    form = cs.CaseForm(local.connect_cases())
    assert form.layout.width == "100%"
