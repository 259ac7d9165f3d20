"""Reports: one self-contained file, which names what it lacks and escapes all text."""

import base64
import json
import os
import re
import subprocess
import sys
import warnings
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd import field
from casesearch_pd.query.expressions import FALSE, TRUE, Compare
from casesearch_pd.query.serialization import filter_from_json, filter_to_json
from casesearch_pd.reading.recent_reads import forget_reads
from casesearch_pd.render.sentences import describe_conditions, describe_filter

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
HOSTILE = [
    "<img src=x onerror=alert(1)>", "</style><script>alert(1)</script>", "</title>", "a & b",
    "\"quoted\" 'twice'", "&lt;b&gt;", "]]>", "<!--", "$x_1$", "日本語", "a\x00b",
    "javascript:alert(1)",
]  # fmt: skip
# All elements and attributes of a report; any other came in through a text.
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "h3", "p", "ul",
    "li", "dl", "dt", "dd", "small", "div", "figure", "figcaption", "img", "table", "caption",
    "thead", "tbody", "tr", "th", "td", "pre", "code", "details", "summary",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "src", "alt", "scope", "tabindex",
    "role", "aria-label",
}  # fmt: skip


class Page(HTMLParser):
    """The elements of a file with their attributes, and its text, as a browser sees them."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self._open = [], "", []
        self.cells, self.tables = [], []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        """Record an element and, in a table, its row or cell."""
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        """Leave an element, and those in it that have no end tag."""
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        """Record visible text."""
        if "style" in self._open:
            return
        self.text += data
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data

    def of(self, tag):
        """Return the attributes of all elements of a name."""
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def charts(self):
        """Return the content of the charts."""
        return [base64.b64decode(image["src"].partition(",")[2]) for image in self.of("img")]


@pytest.fixture(scope="module")
def frames(service):
    return {name: cs.read_cases(source) for name, source in service.sources.items()}


@pytest.fixture
def report_page(tmp_path):
    """Return a function that writes a report and parses it; a warning outside it is an error."""

    def write(frame, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return Page(frame.cases.report(tmp_path / "cases.html", **options))

    return write


def own_frame(size=1, **columns):
    created = pd.date_range("2026-03-01", periods=size, freq="h", tz="UTC", unit="us")
    values = {
        "case_id": [f"c{at}" for at in range(size)],
        "status": ["open", "closed"] * (size // 2) + ["open"] * (size % 2),
        "created_at": created,
        "closed_at": created + pd.Timedelta(days=1),
    }
    frame = pd.DataFrame(values | columns)
    return frame.assign(closed_at=frame["closed_at"].where(frame["status"] == "closed"))


# --- content ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["connect", "persona"])
def test_it_has_the_counts_and_durations(frames, report_page, name):
    """The figures are those of the accessor, so that the two never disagree."""
    frame = frames[name]
    page = report_page(frame)
    summary = frame.cases.summary()
    title = {"connect": "Amazon Connect cases", "persona": "Persona cases"}[name]
    assert page.text.strip().startswith(title)
    assert "300 cases, as of Saturday, 14 March 2026, 12:00 UTC" in page.text
    assert f"open{summary['open'].sum():,}" in page.text
    by_status = {row[0]: row[1:3] for row in page.tables[0][1:]}
    assert by_status == {
        status: [f"{row['count']:,}", f"{row['open']:,}"] for status, row in summary.iterrows()
    }
    titles = " ".join(image["alt"] for image in page.of("img"))
    for word in ("opened", "Backlog", "by age", "Time to close", "by status", "weekday and hour"):
        assert word in titles
    assert page.text.count("Not shown") == 1
    assert "Not shown (SLA): no closed case has a value in sla_at" in page.text
    assert ("states only the next breach" in page.text) == (name == "connect")
    assert "No time to close by 'status': it changes when a case is closed" in page.text


def test_it_loads_nothing(frames, report_page):
    """A report may be opened from an email, offline, in five years."""
    page = report_page(frames["connect"])
    for tag, attrs in page.elements:
        assert tag in ELEMENTS
        assert set(attrs) <= ATTRIBUTES
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in page.of("img"))
    policy = next(m["content"] for m in page.of("meta") if m.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert page.of("html") == [{"lang": "en"}]
    assert all(len(image["alt"]) > 10 for image in page.of("img"))


def test_charts_are_valid_svg(frames, report_page):
    for svg in report_page(frames["persona"]).charts:
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg")
        assert not re.search(rb"<script|xlink:href=\"http|<foreignObject", svg)


def test_a_chart_of_many_cases_is_small(report_page):
    """A curve has a step per case: a report of a million cases must open in a browser."""
    frame = own_frame(40_000, status="closed")
    frame["closed_at"] = frame["closed_at"] + pd.to_timedelta(np.arange(40_000), unit="s")
    frame.attrs["casesearch"] = json.dumps({"as_of": "2031-03-01T00:00:00+00:00"})
    charts = report_page(frame).charts
    assert max(map(len, charts)) < 200_000
    assert any(b"<image" in svg and b"Time to close" in svg for svg in charts)


def test_it_has_the_query_in_words_and_as_code(local, report_page):
    frame = cs.read_cases(
        local.connect_cases(),
        status=["open", "pending"],
        created_at__gte="2026-02",
        sort="-created_at",
    )
    page = report_page(frame)
    assert "status is 'open' or 'pending'" in page.text
    assert "created_at is on or after 2026-02" in page.text
    assert "field('created_at') >= '2026-02'" in page.text
    assert json.dumps(frame.cases.provenance["filter"]) in page.text
    assert "Order-created_at" in page.text
    assert "Completeyes" in page.text
    every = report_page(cs.read_cases(local.connect_cases(), columns=["case_id"])).text
    assert "None: every case." in every


def test_it_warns_of_survivorship_bias(local, report_page):
    """In the backlog of a frame of open cases nothing seems ever to be closed."""
    page = report_page(cs.read_cases(local.connect_cases(), status="open"))
    assert "survivorship bias" in page.text


def test_sla_attainment_is_shown_where_closed_cases_have_sla_at(report_page):
    frame = own_frame(4)
    frame.attrs["casesearch"] = json.dumps({"as_of": "2026-03-10T00:00:00+00:00"})
    page = report_page(frame.assign(sla_at=frame["created_at"] + pd.Timedelta(hours=30)))
    assert "within SLA50%" in page.text.replace("\n", "")
    assert "Not shown" not in page.text
    assert any(b"Within SLA" in svg for svg in page.charts)


WEEKS = {
    "created in a week": ({"created_at": pd.Period("2026-03-02", "W-SUN")}, None),
    "closed in a week": ({"closed_at": pd.Period("2026-03-02", "W-SUN")}, None),
    "open ones": ({"status": "open"}, None),
    "the newest": ({"limit": 50, "sort": "-created_at"}, None),
    "selected after the read": ({}, lambda frame: frame[frame["created_at"] < "2026-03-09"]),
    "without provenance": ({}, lambda frame: pd.DataFrame(frame.to_dict("series"))),
}


@pytest.mark.parametrize(("query", "change"), WEEKS.values(), ids=WEEKS)
@pytest.mark.parametrize("name", ["connect", "persona"])
def test_the_last_seven_days_are_left_out_where_cases_may_be_missing(
    local, report_page, name, query, change
):
    """A report of the week before counted the days before the read, so it told less than it had."""
    frame = cs.read_cases(local.sources[name], **query, progress=False)
    frame = frame if change is None else change(frame)
    forget_reads()
    page = report_page(frame)
    assert "in 7 days" not in page.text
    assert "Not shown (the last seven days" in page.text


def test_the_last_seven_days_are_those_of_flow(frames, report_page):
    frame = frames["connect"]
    text = report_page(frame).text
    since = pd.Timestamp(NOW) - pd.Timedelta(days=7)
    opened, closed = ((frame[name] >= since).sum() for name in ("created_at", "closed_at"))
    assert f"opened in 7 days{opened}" in text
    assert f"closed in 7 days{closed}" in text


def test_labels_are_shown_on_demand(frames, report_page):
    """The counts stay those of the values: a closed case may be labelled otherwise."""
    frame = frames["connect"]
    options = {"status": [["open", "Waiting"], ["closed", "Done"]]}
    record = frame.cases.provenance | {"options": options}
    frame = frame.copy()
    frame.attrs["casesearch"] = json.dumps(record)
    values, texts = report_page(frame), report_page(frame, labels=True)
    by_status = [{row[0]: row[1:] for row in page.tables[0][1:]} for page in (values, texts)]
    assert by_status[1]["Waiting"] == by_status[0]["open"]
    assert by_status[1]["Done"] == by_status[0]["closed"]
    at = values.tables[-1][0].index("status")
    cells = [{row[at] for row in page.tables[-1][1:]} for page in (values, texts)]
    assert "open" in cells[0] - cells[1]
    assert "Waiting" in cells[1] - cells[0]
    assert any(b"Waiting" in svg for svg in texts.charts)
    assert f"open{frame.cases.is_open.sum():,}" in texts.text


def test_groups_and_columns_of_long_names_are_different(report_page):
    names = [f"{'x' * 100} {side} {'y' * 100}" for side in ("left", "right")]
    frame = own_frame(4, queue=names * 2, **{f"{name} column": "z" for name in names})
    page = report_page(frame)
    groups = [row[0] for row in page.tables[1][1:]]
    assert len(set(groups)) == 2
    assert len(set(page.tables[-1][0])) == len(page.tables[-1][0])


def test_the_table_is_limited_and_says_so(report_page):
    frame = own_frame(250, **{f"x{at}": ["y"] * 250 for at in range(12)})
    page = report_page(frame)
    cases = page.tables[-1]
    assert [row[0] for row in cases[1:]] == [f"c{at}" for at in range(200)]
    assert len(cases[0]) == 10
    assert "50 more are not shown" in page.text
    assert "6 of 16 columns are not shown" in page.text


def test_cells_are_readable(report_page):
    at = pd.to_datetime(["2026-03-29T01:30Z"]).as_unit("us").tz_convert("Europe/Berlin")
    frame = own_frame(
        created_at=at, tags=[["a", "b"]], amount=[-73.9], title=["x" * 500], level=[pd.NA]
    ).astype({"level": "Int64"})
    head, row = report_page(frame).tables[-1]
    cells = dict(zip(head, row, strict=True))
    assert cells["created_at (Europe/Berlin)"] == "2026-03-29 03:30"
    assert cells["tags"] == "a, b"
    assert cells["amount"] == "-73.9"
    assert cells["title"].endswith("x…")
    assert len(cells["title"]) < 200
    assert "level" not in cells, "a column without values is not shown"


def test_names_replace_ids(report_page):
    queue = "arn:aws:connect:us-east-1:1:instance/i/queue/0f14d0ab-9605-4a62-a9e4-5ed26688389b"
    frame = own_frame(4, queue=[queue, queue, "q2", None])
    page = report_page(frame, names={queue: "Billing"}, title="Our week")
    assert page.text.count("Billing") == 3, "in the table of groups and in two rows"
    assert queue not in page.text
    assert b"Billing" in next(svg for svg in page.charts if b"by queue" in svg)
    assert "Our week" in page.text


def test_only_the_largest_groups_are_shown(report_page):
    names = [f"ann{at % 40}" for at in range(100)]
    page = report_page(own_frame(100, assignee=names))
    assert "12 largest of 40 groups" in page.text


# --- incomplete frames ----------------------------------------------------------------------


def test_times_without_a_zone_are_utc(frames, report_page):
    """A file may have lost the zone; the last seven days are the same."""
    naive = frames["connect"].copy()
    for column in naive.select_dtypes("datetimetz"):
        naive[column] = naive[column].dt.tz_localize(None)
    expected, page = (report_page(frame) for frame in (frames["connect"], naive))
    match = re.search(r"opened in 7 days\s*[\d,]+", expected.text)
    assert match is not None
    assert match[0] in page.text


def test_an_empty_frame_has_a_report(frames, report_page):
    page = report_page(frames["connect"].head(0))
    assert "0 cases, as of" in page.text
    assert "300 cases were read, and 0 are in this report" in page.text


def test_a_frame_without_columns_has_a_report(report_page):
    page = report_page(pd.DataFrame({"case_id": pd.Series([], dtype="str")}))
    assert "This DataFrame has no casesearch provenance" in page.text


@pytest.mark.parametrize("column", ["created_at", "closed_at", "status", "sla_at"])
def test_a_missing_column_is_named(local, report_page, column):
    names = ["case_id", "created_at", "closed_at", "status", "sla_at"]
    names.remove(column)
    page = report_page(cs.read_cases(local.connect_cases(), columns=names))
    assert f"column '{column}' is missing" in page.text
    assert len(page.tables[-1]) == 201


def test_an_incomplete_result_is_stated_first(frames, report_page):
    frame = frames["connect"].copy()
    record = frame.cases.provenance | {"complete": False, "notes": ["window 3 is missing"]}
    frame.attrs["casesearch"] = json.dumps(record)
    text = report_page(frame).text
    assert text.index("Incomplete result") < text.index("window 3") < text.index("Charts")


@pytest.mark.parametrize(
    ("record", "message"),
    [({}, "no casesearch provenance"), ({"filter": 3, "complete": True}, "filter is not known")],
)
def test_provenance_of_another_version_is_accepted(report_page, record, message):
    """A frame may have been saved by a later version with other values."""
    frame = own_frame(2)
    frame.attrs["casesearch"] = json.dumps(record)
    text = report_page(frame).text
    assert message in text
    assert "2 cases" in text


def test_cases_of_two_services_are_rejected(frames, tmp_path):
    both = pd.concat(frames.values())
    both.attrs.clear()
    both["case_id"] = [f"{'case_' if at % 2 else ''}{at}" for at in range(len(both))]
    with pytest.raises(ValueError, match="several services"):
        both.cases.report(tmp_path / "cases.html")
    assert list(tmp_path.iterdir()) == []


# --- hostile text ---------------------------------------------------------------------------


def hostile_frame():
    size = len(HOSTILE)
    frame = own_frame(
        size,
        title=HOSTILE, queue=HOSTILE, assignee=HOSTILE, status=HOSTILE,
        tags=[[text, text] for text in HOSTILE], hash=[{text: text} for text in HOSTILE],
        **{HOSTILE[0]: HOSTILE, HOSTILE[1]: np.arange(size)},
    )  # fmt: skip
    query = (field(HOSTILE[0]) == HOSTILE[1]) | field("title").isin(HOSTILE)
    record = {
        "source": {"service": HOSTILE[0], HOSTILE[1]: HOSTILE[1]}, "filter": filter_to_json(query),
        "notes": HOSTILE, "rows": 3, "tz": HOSTILE[1], "search": HOSTILE[0], "sort": HOSTILE,
        "complete": True, "as_of": NOW.isoformat(), "columns": {HOSTILE[0]: HOSTILE[1]},
    }  # fmt: skip
    frame.attrs["casesearch"] = json.dumps(record)
    return frame


def test_no_text_is_interpreted_as_markup(report_page):
    """Otherwise anyone who can create a case could run a script in the reader's browser."""
    page = report_page(hostile_frame(), names={HOSTILE[0]: HOSTILE[1]}, title=HOSTILE[1])
    for tag, attrs in page.elements:
        assert tag in ELEMENTS
        assert set(attrs) <= ATTRIBUTES
    assert not page.of("script")
    assert {image["src"][:19] for image in page.of("img")} == {"data:image/svg+xml;"}
    titles = [row[page.tables[-1][0].index("title")] for row in page.tables[-1][1:]]
    assert [text.replace("\x00", "") for text in HOSTILE] == [
        text.replace("\x00", "").replace("\ufffd", "") for text in titles
    ]


def test_charts_of_hostile_text_are_valid_svg(report_page):
    """One control character in a label makes an SVG that no browser shows."""
    for svg in report_page(hostile_frame()).charts:
        assert {element.tag.rpartition("}")[2] for element in ET.fromstring(svg).iter()} <= {
            "svg", "g", "path", "defs", "use", "text", "style", "clipPath", "rect", "metadata",
            "RDF", "Work", "type", "format", "creator", "Agent", "title", "image", "tspan",
        }  # fmt: skip


# --- sentences ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        (field("status") == "open", "status is 'open'"),
        (field("status") != "open", "status is not 'open'"),
        (field("status").isin(["a", "b", "c"]), "status is 'a', 'b' or 'c'"),
        (field("queue").isna(), "queue is empty"),
        (~field("queue").isna(), "queue is not empty"),
        (field("queue").notna(), "queue is not empty"),
        (field("queue") == None, "queue is empty"),  # noqa: E711 - the filter language
        (field("queue") != None, "queue is not empty"),  # noqa: E711 - as above
        (Compare("status", "ne", ("a", "b")), "status is not 'a' or 'b'"),
        (Compare("queue", "in", ("a", None)), "queue is 'a' or empty"),
        (Compare("queue", "in", ()), "queue is one of no values"),
        (TRUE, "every case"),
        (FALSE, "no case"),
        (field("vip") == True, "vip is True"),  # noqa: E712 - the filter language
        (field("amount") < 5, "amount is less than 5"),
        (field("amount") <= 5, "amount is at most 5"),
        (field("amount") >= 5, "amount is at least 5"),
        (field("amount").between(1, 2), "amount is from 1 to 2"),
        (field("created_at") < "2026-03", "created_at is before 2026-03"),
        (field("due") > pd.Timestamp("2026-03-14 12:00"), "due is after 2026-03-14 12:00:00"),
        (field("created_at") <= pd.Period("2026-03"), "created_at is on or before 2026-03"),
        (field("due") >= -pd.Timedelta(days=7), "due is on or after 7 days before the read"),
        (field("due") < pd.Timedelta(hours=36), "due is before 1 days 12:00:00 after the read"),
        (field("title").contains("2 <b>"), "title contains '2 <b>'"),
        (
            (field("a") == 1) | (field("b") == 2) & (field("c") < 3),
            "a is 1 or (b is 2 and c is less than 3)",
        ),
    ],
)  # fmt: skip
def test_filters_are_described_in_words(expression, sentence):
    """As they are written, and as they are read from provenance."""
    assert describe_filter(expression) == sentence
    copy = json.loads(json.dumps(filter_to_json(expression)))
    assert describe_filter(filter_from_json(copy)) == sentence


def test_each_condition_of_a_conjunction_has_a_sentence():
    both = (field("status") == "open") & (field("a") == 1)
    assert describe_conditions(both) == ["status is 'open'", "a is 1"]
    assert describe_conditions(field("a") == 1) == ["a is 1"]


# --- sessions -------------------------------------------------------------------------------


def test_it_changes_no_frame_style_or_figure(frames, report_page):
    """A report in the session's dark style would be unreadable."""
    plt = pytest.importorskip("matplotlib.pyplot")
    frame = frames["connect"]
    before, attrs = frame.copy(deep=True), dict(frame.attrs)
    with mpl.style.context("dark_background"):
        style = {name: mpl.rcParams[name] for name in mpl.rcParams}
        dark = report_page(frame).charts
        assert {name: mpl.rcParams[name] for name in mpl.rcParams} == style
    assert plt.get_fignums() == []
    assert dark == report_page(frame).charts, "the same cases give the same bytes"
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == attrs


# --- the weekly notebook --------------------------------------------------------------------

WEEKLY = Path(__file__).parents[1] / "notebooks" / "03-weekly-report.ipynb"


def test_the_weekly_notebook_accepts_a_source_a_filter_and_a_week(tmp_path):
    """It runs on a schedule: it must report on its parameters."""
    pytest.importorskip("papermill")
    parameters = {
        "source": "demo://persona", "filters": {"priority": ["high", "urgent"]},
        "tz": "Europe/Berlin", "week": f"{datetime.now(UTC):%Y-%m-%d}",
        "out": str(tmp_path / "week.html"),
    }  # fmt: skip
    (tmp_path / "parameters.yaml").write_text(json.dumps(parameters))
    command = ["papermill", str(WEEKLY), str(tmp_path / "out.ipynb"), "-f", "parameters.yaml"]
    subprocess.run(
        [sys.executable, "-m", *command, "-k", "python3", "--no-progress-bar"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(WEEKLY.parents[1])},
        check=True, timeout=120, capture_output=True,
    )  # fmt: skip
    text = Page(tmp_path / "week.html").text
    assert "Persona cases" not in text, "it has its own title"
    assert "Cases that came in from" in text
    assert "priority is 'high' or 'urgent'" in text
    assert "Time zoneEurope/Berlin" in text
    monday = pd.Timestamp(parameters["week"]).to_period("W-SUN").start_time
    assert f"from {monday:%d %B} to" in text
    assert f"created_at is {pd.Period(monday, 'W-SUN')}" in text
