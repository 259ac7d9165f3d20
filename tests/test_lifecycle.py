"""Open, closed and counted: the same from any frame, however it came about, or refused."""

import io
import json
import sqlite3
from datetime import UTC, datetime

import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.analysis import metrics
from casesearch_pd.reading.recent_reads import forget_reads
from casesearch_pd.sources.traits import AMAZON_CONNECT, PERSONA, infer_traits

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
SERVICE = {"cases": 200, "seed": 5, "now": NOW}
ZONE = "Asia/Kathmandu"


@pytest.fixture(scope="module")
def frame(source):
    return cs.read_cases(source, tz=ZONE, progress=False)


@pytest.fixture(autouse=True)
def _no_memory():
    """Forget the reads of other tests, by which a frame would be recognized."""
    forget_reads()


# --- a frame without provenance --------------------------------------------------------------


def through_csv(frame):
    return pd.read_csv(io.StringIO(frame.drop(columns="tags").to_csv(index=False)))


def through_sqlite(frame):
    simple = frame.drop(columns=[name for name in frame if frame[name].dtype == object])
    with sqlite3.connect(":memory:") as database:
        simple.to_sql("cases", database, index=False)
        return pd.read_sql("select * from cases", database)


def halves(frame):
    """Return what pd.concat makes of two reads, whose provenance differs."""
    one, two = frame.iloc[:90].copy(), frame.iloc[90:].copy()
    two.attrs = {}
    return pd.concat([one, two])


WAYS = {
    "merge": lambda frame: frame.merge(pd.DataFrame({"status": ["open"], "team": ["x"]}), "left"),
    "concat": halves,
    "records": lambda frame: pd.DataFrame(frame.to_dict("records")),
    "CSV": through_csv,
    "SQLite": through_sqlite,
    "few columns": lambda frame: frame[["case_id", "status", "created_at", "closed_at"]].merge(
        pd.DataFrame({"status": ["open"], "team": ["x"]}), "left"
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_openness_is_the_same_or_refused(frame, way):
    """Without its attrs, which pandas drops, a Persona frame was judged by a status it lacks."""
    changed = way(frame)
    assert changed.attrs == {}
    if way is WAYS["few columns"]:
        # Ids of the emulator have the form of Persona's on both services.
        with pytest.raises(ValueError, match=r"disagree.*new\.attrs\.update\(df\.attrs\)"):
            _ = changed.cases.is_open
        changed.attrs.update(frame.attrs)
    result = changed.cases.is_open
    expected = frame.cases.is_open.set_axis(frame["case_id"])
    pd.testing.assert_series_equal(result.set_axis(changed["case_id"]), expected, check_index=False)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_was_read_in_this_session_is_recognized(source, way):
    frame = cs.read_cases(source, tz=ZONE, progress=False)
    changed = way(frame)
    assert changed.cases.is_open.tolist() == frame.cases.is_open.tolist()
    assert changed.cases.as_of == frame.cases.as_of


def test_reads_of_the_same_ids_from_another_service_are_not_confused(service):
    """The emulator has the same ids on both services, and the newest read came from the other."""
    persona, connect = (
        cs.read_cases(service.sources[name], progress=False) for name in ("persona", "connect")
    )
    cs.read_cases(service.sources["persona"], columns=["case_id"], progress=False)
    for frame in (persona, connect):
        changed = WAYS["merge"](frame)
        assert changed.cases.is_open.tolist() == frame.cases.is_open.tolist()
        assert list(changed.cases.tags()) == list(frame.cases.tags())


@pytest.mark.parametrize("bounds", [("2026-03-01", "2026-03-01"), ("2026-02-01", "2026-03-01")])
def test_a_concat_of_two_reads_has_the_numbers_of_both(source, bounds):
    early = cs.read_cases(source, created_at__lt=bounds[0], progress=False)
    late = cs.read_cases(source, created_at__gte=bounds[1], progress=False)
    both = pd.concat([early, late], ignore_index=True)
    opened = sum(int(part.cases.is_open.sum()) for part in (early, late))
    assert both.cases.is_open.sum() == both.cases.summary("queue")["open"].sum() == opened > 0
    assert both.cases.durations()["age_days"].notna().sum() == opened
    with pytest.warns(UserWarning, match="survivorship bias.*created_at.*created_at"):
        assert both.cases.flow("W")["open"].iloc[-1] == opened


def test_of_reads_at_two_times_the_last_one_counts():
    """With the first as the time of the read, the cases of the second would have no age."""
    parts = [{"as_of": "2026-03-02T01:00:00+00:00"}, {"as_of": "2026-03-20T00:00:00+00:00"}]
    record = parts[0] | {"source": {"service": "connect"}, "parts": parts}
    frame = own(["open"] * 4)
    frame.attrs["casesearch"] = json.dumps(record)
    assert frame.cases.as_of == pd.Timestamp("2026-03-20", tz="UTC")
    assert frame.cases.durations()["age_days"].tolist() == [19.0, 18.0, 17.0, 16.0]


@pytest.mark.parametrize("way", ["merge", "concat"])
def test_tags_zone_and_title_are_the_same(frame, way, tmp_path):
    changed = WAYS[way](frame)
    tags = frame.cases.tags()
    pd.testing.assert_frame_equal(changed.cases.tags(), tags, check_index_type=False)
    assert str(changed.cases.flow("W").index.tz) == ZONE
    day = frame["created_at"].iloc[50].strftime("%Y-%m-%d")
    actual, expected = (df.cases.where(created_at=day)["case_id"] for df in (changed, frame))
    assert actual.tolist() == expected.tolist() != []
    titles = {
        df.cases.report(tmp_path / "r.html").read_text("utf-8").partition("</title>")[0][-30:]
        for df in (changed, frame)
    }
    assert len(titles) == 1


def own(statuses, *, closed=(), ids=None):
    """Return a frame of the user's own; the cases at the positions `closed` have a closed_at."""
    size = len(statuses)
    created = pd.date_range("2026-03-01", periods=size, freq="D", tz="UTC")
    closed_at = (created + pd.Timedelta(days=1)).where([at in closed for at in range(size)])
    names = ids or [f"t{at}" for at in range(size)]
    columns = {"status": statuses, "created_at": created, "closed_at": closed_at}
    return pd.DataFrame({"case_id": names} | columns)


def test_in_a_frame_of_one_s_own_the_status_decides():
    assert own(["open", "Closed", "closed"], closed=[0, 1]).cases.is_open.tolist() == [
        True,
        False,
        False,
    ]
    assert own(["new", "open"]).cases.is_open.all()
    assert own(["new", "open"]).drop(columns="closed_at").cases.is_open.all()


@pytest.mark.parametrize("metric", ["is_open", "durations", "summary", "flow"])
def test_a_status_that_is_never_closed_is_refused_beside_a_closing(metric):
    """All of these cases would be called open."""
    with pytest.raises(ValueError, match=r"no provenance.*disagree on whether 1 of its cases"):
        getattr(own(["Resolved", "Open"], closed=[0]).cases, metric)()


def test_ids_of_persona_need_both_rules_to_agree():
    ids = ["case_1", "case_2"]
    assert own(["open", "closed"], closed=[1], ids=ids).cases.is_open.tolist() == [True, False]
    for statuses, closed in ((["open", "closed"], [0, 1]), (["Approved", "Open"], [0])):
        with pytest.raises(ValueError, match="disagree"):
            _ = own(statuses, closed=closed, ids=ids).cases.is_open
    with pytest.raises(KeyError, match=r"columns=.*'closed_at'"):
        _ = own(["open"], ids=["case_1"]).drop(columns="closed_at").cases.is_open


@pytest.mark.parametrize(
    ("columns", "ids", "traits"),
    [
        (["creator_type"], ["t1"], PERSONA),
        (["resolution"], ["case_1"], PERSONA),
        (["resolution"], ["0b6fd8ee"], None),  # a custom field may have that name
        (["last_reopened_datetime"], ["case_1"], AMAZON_CONNECT),
        (["last_reopened_datetime", "creator_type"], ["case_1"], None),
        (["status"], ["case_1"], None),
    ],
)
def test_columns_tell_the_service(columns, ids, traits):
    assert infer_traits(columns, ids) == traits


def test_tags_that_may_have_keys_or_not_are_refused():
    frame = pd.DataFrame({"case_id": ["case_1"], "tags": [["team=red"]]})
    with pytest.raises(ValueError, match="tags may have keys or not"):
        frame.cases.tags()
    assert list(frame.assign(tags=[["vip"]]).cases.tags()) == ["vip"]
    assert list(frame.assign(creator_id="u").cases.tags()) == ["team=red"]
    assert list(frame.assign(case_id="x").cases.tags()) == ["team"]


# --- naive times -----------------------------------------------------------------------------


def naive(frame, *columns):
    """Return the frame with local times without a zone, as Excel demands them."""
    names = columns or [name for name in frame if isinstance(frame[name].dtype, pd.DatetimeTZDtype)]
    return frame.assign(**{name: frame[name].dt.tz_localize(None) for name in names})


MIXTURES = [(), ("created_at",), ("closed_at",), ("created_at", "sla_at")]


@pytest.mark.parametrize("columns", MIXTURES, ids=str)
def test_naive_times_are_in_the_zone_of_the_read(frame, columns):
    """Durations took them for UTC, and where for the zone of the read: 5:45 h apart."""
    changed = naive(frame, *columns)
    pd.testing.assert_frame_equal(changed.cases.durations(), frame.cases.durations())
    pd.testing.assert_frame_equal(changed.cases.flow("D"), frame.cases.flow("D"))
    pd.testing.assert_series_equal(metrics.within_sla(changed), metrics.within_sla(frame))
    pd.testing.assert_frame_equal(changed.cases.summary("queue"), frame.cases.summary("queue"))
    bound = str(frame["created_at"].iloc[77])
    for zone in (None, "UTC", "America/New_York"):
        actual, expected = (
            df.cases.where(created_at__gte=bound, tz=zone)["case_id"] for df in (changed, frame)
        )
        assert actual.tolist() == expected.tolist()


def test_without_provenance_the_zone_of_another_column_counts(frame):
    changed = naive(frame, "closed_at")
    changed.attrs = {}
    days = changed.cases.durations()["close_days"]
    pd.testing.assert_series_equal(days, frame.cases.durations()["close_days"])


def test_the_history_of_a_naive_frame_is_the_same(frame):
    changed = naive(frame)
    events = pd.DataFrame(
        {"case_id": frame["case_id"], "at": frame["created_at"], "field": "status"}
    ).assign(old="new", new="open")
    expected = frame.cases.time_in_status(events)
    pd.testing.assert_frame_equal(changed.cases.time_in_status(events), expected)


# --- one case, one count ---------------------------------------------------------------------


TAGS = [["x", "y"], ["x"], [], None]


def tagged():
    frame = own(["open", "closed", "open", "open"], closed=[1])
    return frame.assign(tags=pd.Series(TAGS, dtype=object), queue=["a", "a", "b", "b"])


REPETITIONS = {
    "explode": lambda frame: frame.explode("tags"),
    "merge": lambda frame: frame.merge(
        pd.DataFrame({"queue": ["a", "a"], "skill": [1, 2]}), "left"
    ),
    "two lists": lambda frame: (
        frame.assign(other=[[1, 2], [3], [], [4, 5]]).explode("tags").explode("other")
    ),
    "twice": lambda frame: (
        frame.explode("tags")
        .assign(row=range(5))
        .merge(pd.DataFrame({"queue": ["a", "a"], "skill": [["s"], ["t"]]}), "left")
    ),
}


@pytest.mark.parametrize("repeat", REPETITIONS.values(), ids=REPETITIONS)
@pytest.mark.parametrize("attrs", [{}, {"casesearch": '{"as_of": "2026-03-14T12:00:00+00:00"}'}])
def test_a_case_in_several_rows_counts_once(repeat, attrs):
    frame = tagged()
    frame.attrs = attrs
    repeated = repeat(frame)
    repeated.attrs = attrs
    assert len(repeated) > len(frame)
    counts = ["count", "open"]
    one, two = frame.cases.summary("queue")[counts], repeated.cases.summary("queue")[counts]
    pd.testing.assert_frame_equal(one, two, check_index_type=False)
    pd.testing.assert_frame_equal(frame.cases.flow("D"), repeated.cases.flow("D"))
    assert repeated.cases.is_open.index.equals(repeated.index)
    assert len(repeated.cases.durations()) == len(repeated)


def test_the_advice_of_the_summary_works():
    """It refused lists, advised to explode them, and then refused the doubled ids."""
    with pytest.raises(ValueError, match=r"df\.explode\('tags'\)"):
        tagged().cases.summary("tags")
    result = tagged().explode("tags").cases.summary("tags")
    assert result["count"].tolist() == [2, 1, 2]
    assert result.index.dropna().tolist() == ["x", "y"]


def test_plots_and_reports_count_a_case_once(tmp_path):
    pytest.importorskip("matplotlib").use("agg")
    plt = pytest.importorskip("matplotlib.pyplot")
    frame = tagged().explode("tags")
    plot = frame.cases.plot
    assert plot.breakdown("queue").get_title().startswith("4 cases (3 open) by queue")
    bars = plot.breakdown("tags")
    assert bars.get_title().startswith("4 cases (3 open) by tags")
    widths = [sum(bar.get_width() for bar in pair) for pair in zip(*bars.containers, strict=True)]
    assert widths == [2, 2, 1]
    assert plot.ages().get_title().startswith("3 open cases")
    assert plot.heatmap().get_title().startswith("4 cases")
    assert plot.time_to_close("tags").get_title().startswith("Time to close of 4 cases")
    plt.close("all")
    page = frame.cases.report(tmp_path / "r.html").read_text("utf-8")
    assert "4 cases, as of" in page


@pytest.mark.parametrize("attrs", [{}, {"casesearch": '{"source": {"service": "connect"}}'}])
@pytest.mark.parametrize("metric", ["is_open", "summary", "flow", "durations"])
def test_rows_that_are_copies_or_of_two_states_are_refused(metric, attrs):
    """With provenance they were counted twice in silence."""
    frame = tagged()
    later = frame.assign(status="closed")
    for other, message in ((frame, "would be counted more than once"), (later, "different states")):
        doubled = pd.concat([frame, other], ignore_index=True)
        doubled.attrs = attrs
        with pytest.raises(ValueError, match=rf"'t0' occurs more than once.*{message}"):
            getattr(doubled.cases, metric)()
        advice = doubled.drop_duplicates("case_id", keep="last")
        assert advice.cases.is_open.tolist() == other.cases.is_open.tolist()


def test_the_advice_on_times_works():
    """Numbers are seconds, text is ISO 8601; the advice must not fail itself."""
    frame = own(["open", "closed"], closed=[1])
    seconds = frame["created_at"].map(pd.Timestamp.timestamp)
    for values in (seconds, frame["created_at"].astype(str)):
        with pytest.raises(TypeError, match="not times; convert it with pd") as caught:
            frame.assign(created_at=values).cases.durations()
        expression = str(caught.value).partition("convert it with ")[2]
        df = frame.assign(created_at=values)
        converted = eval(expression, {"pd": pd, "df": df})
        assert (converted == frame["created_at"]).all()
