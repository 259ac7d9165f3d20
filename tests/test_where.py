"""`df.cases.where`: on a frame a filter means what it means to the service."""

import io
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from tests.filter_trees import ZONES, trees
from tests.hostile_cases import hostile_rows
from tests.law_bench import QUICK, a_bench, quietly
from tests.plain_reading import holds


@pytest.fixture(scope="module", params=["connect", "persona"])
def bench(request):
    with a_bench(request.param, hostile_rows(), {}, {}) as made:
        yield made


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=200, seed=2) as running:
        yield running


@pytest.fixture(scope="module", params=["connect", "persona"])
def source(local, request):
    return getattr(local, f"{request.param}_cases")()


@pytest.fixture(scope="module", params=[None, "numpy_nullable", "pyarrow"])
def frame(source, request):
    return cs.read_cases(source, dtype_backend=request.param)


# --- the law --------------------------------------------------------------------------------


@settings(QUICK, max_examples=60)
@given(data=st.data())
def test_a_frame_answers_as_the_service_does(bench, data):
    """Read all and filter here, or let the service filter: the same cases, or one is wrong."""
    tz = data.draw(st.sampled_from(ZONES), label="tz")
    tree = data.draw(trees(bench.asked, tz), label="tree")
    with quietly():
        read = cs.read_cases(bench.source, tree, columns=["case_id"], tz=tz)
    kept = bench.whole.cases.where(tree, tz=tz)
    assert sorted(kept["case_id"]) == sorted(read["case_id"])
    assert kept["case_id"].tolist() == bench.whole["case_id"][kept.index].tolist()


def through_pickle(frame):
    return pickle.loads(pickle.dumps(frame))


def through_parquet(frame, **options):
    file = io.BytesIO()
    frame.to_parquet(file)
    return pd.read_parquet(file, **options)


TRAVELS = {
    "pickle": through_pickle,
    "parquet": through_parquet,
    "parquet-nullable": lambda frame: through_parquet(frame, dtype_backend="numpy_nullable"),
    "parquet-arrow": lambda frame: through_parquet(frame, dtype_backend="pyarrow"),
    "nullable": lambda frame: frame.convert_dtypes(dtype_backend="numpy_nullable"),
    "category": lambda frame: frame.astype({"status": "category", "level": "category"}),
    "objects": lambda frame: frame.astype({"status": object, "vip": object, "note": object}),
}


@pytest.fixture(scope="module")
def travelled(bench):
    return {name: travel(bench.whole) for name, travel in TRAVELS.items()}


@pytest.mark.parametrize("name", TRAVELS)
@settings(QUICK, max_examples=40)
@given(data=st.data())
def test_a_frame_that_was_away_answers_as_before(bench, travelled, name, data):
    """Files give lists back as arrays, and types of other families; the cases are the same."""
    tree = data.draw(trees(bench.asked), label="tree")
    wanted = sorted(row["case_id"] for row in bench.asked.rows if holds(tree, row, "UTC"))
    assert sorted(travelled[name].cases.where(tree)["case_id"]) == wanted


# --- what a user may write ----------------------------------------------------------------


def test_keywords_expressions_mappings_and_pandas_mean_the_same(frame):
    wanted = frame[frame["status"].eq("open") & frame["title"].notna()]["case_id"].tolist()
    assert 0 < len(wanted) < len(frame)
    where = frame.cases.where
    for found in (
        where(status="open", title__isna=False),
        where((cs.field("status") == "open") & cs.field("title").notna()),
        where({"status": "open", "title__isna": False}),
        where(cs.field("title").notna(), status=["open"]),
        where((pd.col("status") == "open") & (pd.col("title") != None)),  # noqa: E711 - pandas' own way
    ):
        assert found["case_id"].tolist() == wanted


def test_the_service_s_own_names_are_known(frame):
    told = frame.cases.provenance["columns"]
    moment = frame["created_at"].sort_values().iloc[50]
    by_id = frame.cases.where({f"{told['created_at']}__lt": moment})
    assert len(by_id) == len(frame.cases.where(created_at__lt=moment)) == 50


def test_spellings_of_persona_s_names_are_known(local):
    frame = cs.read_cases(local.persona_cases())
    wanted = frame.cases.where(fields_status__isna=False)["case_id"].tolist()
    for name in ("fields.status", "fields_status"):
        assert frame.cases.where({f"{name}__isna": False})["case_id"].tolist() == wanted
    assert len(frame.cases.where(sla_expires_at__isna=True)) == frame["sla_at"].isna().sum()
    # "status" is the system's field, though a custom one has that key too.
    assert len(frame.cases.where(status="open")) == frame["status"].eq("open").sum()


def test_all_of_the_tags_are_wanted(frame):
    bearing = next(tags for tags in frame["tags"] if len(tags) > 1)
    keyed = frame.cases.provenance["source"]["service"] == "connect"
    tags = dict(tag.split("=", 1) for tag in bearing) if keyed else bearing
    found = frame.cases.where(tags=tags)["case_id"].tolist()
    wanted = [set(bearing) <= set(tags) for tags in frame["tags"]]
    assert found == frame["case_id"][wanted].tolist() != []


def test_naive_times_are_in_the_zone_of_the_read(source):
    frame = cs.read_cases(source, columns=["case_id", "created_at"], tz="Asia/Kathmandu")
    day = frame["created_at"].iloc[100].strftime("%Y-%m-%d")
    same = frame["created_at"].dt.strftime("%Y-%m-%d").eq(day)
    assert frame.cases.where(created_at=day)["case_id"].tolist() == frame["case_id"][same].tolist()
    in_utc = frame["created_at"].dt.tz_convert("UTC").dt.strftime("%Y-%m-%d").eq(day)
    assert len(frame.cases.where(created_at=day, tz="UTC")) == in_utc.sum() != same.sum()


def test_relative_times_count_from_now():
    now = pd.Timestamp.now("UTC")
    created = [now - pd.Timedelta(days=days) for days in (1, 5, 9)]
    frame = pd.DataFrame({"case_id": list("abc"), "created_at": created})
    assert list(frame.cases.where(created_at__gte=-pd.Timedelta("7D"))["case_id"]) == ["a", "b"]


# --- what comes back ------------------------------------------------------------------------


def test_the_frame_is_left_alone_and_index_and_provenance_are_kept(frame):
    indexed = frame.set_index(pd.Index(range(1000, 1000 + len(frame))))
    before = indexed.copy()
    found = indexed.cases.where(status="open")
    pd.testing.assert_frame_equal(found, before[before["status"].eq("open").to_numpy(dtype=bool)])
    assert found.attrs == frame.attrs
    found["status"] = "changed"
    pd.testing.assert_frame_equal(indexed, before)


def test_an_index_may_repeat_itself():
    frame = pd.DataFrame({"case_id": list("abc"), "n": [1, 2, 3]}, index=[7, 7, 7])
    assert frame.cases.where(n__gte=2)["case_id"].tolist() == ["b", "c"]


def test_no_filter_keeps_all_and_an_empty_list_nothing(frame):
    pd.testing.assert_frame_equal(frame.cases.where(), frame)
    nothing = frame.cases.where(status=[])
    pd.testing.assert_frame_equal(nothing, frame.head(0))
    assert nothing.cases.where(status="open", created_at__gte="2026").empty


# --- frames of text files, and of your own ----------------------------------------------------


def test_a_frame_from_csv_knows_its_times_again(source):
    frame = cs.read_cases(source, tz="Europe/Berlin")
    told = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    moment = frame["created_at"].sort_values().iloc[77]
    for asked in (
        {"created_at__lt": moment},
        {"created_at__gte": moment, "status__ne": "closed"},
        {"closed_at__isna": True},
        {"vip_customer": True},
    ):
        wanted = frame.cases.where(asked)["case_id"].tolist()
        assert told.cases.where(asked)["case_id"].tolist() == wanted != []
    with pytest.raises(cs.FilterError, match=r"'tags' holds text here.*Parquet"):
        told.cases.where(tags={"team": "red"})


def test_text_that_only_begins_as_a_time_stays_text():
    frame = pd.DataFrame({"case_id": list("ab"), "note": ["2026-03-01T10:00Z", "soon"]})
    assert frame.cases.where(note__contains="soo")["case_id"].tolist() == ["b"]


def test_naive_times_in_the_frame_are_in_the_zone():
    """The hour that comes twice is taken for the second one, the hour that is none for the next."""
    times = pd.to_datetime(["2026-03-29 02:30", "2026-10-25 02:30", "2026-06-01 00:00"])
    frame = pd.DataFrame({"case_id": list("abc"), "due": times})
    where = frame.cases.where
    assert where(due="2026-06-01", tz="Europe/Berlin")["case_id"].tolist() == ["c"]
    assert where(due="2026-10-25T02:30+01:00", tz="Europe/Berlin")["case_id"].tolist() == ["b"]
    assert where(due="2026-03-29T03:00+02:00", tz="Europe/Berlin")["case_id"].tolist() == ["a"]


def test_times_outside_of_nanoseconds_compare():
    times = pd.to_datetime(["2026-03-29"], utc=True).as_unit("ns")
    frame = pd.DataFrame({"case_id": ["a"], "due": times})
    assert len(frame.cases.where(due__gt="0001-01-01")) == 1
    assert len(frame.cases.where(due__lt="9999-12-31")) == 1


def test_a_frame_of_your_own_can_be_filtered():
    frame = pd.DataFrame(
        {
            "case_id": list("abc"),
            "n": [1, 2, 3],
            "x": [0.5, np.nan, 2.5],
            "tags": [["a=1", "b"], [], ["b"]],
            "made": [{"a": 1}, None, None],
            "none": [None, None, None],
            0: [1, 2, 3],
        }
    )
    where = frame.cases.where
    assert where(n__between=(2, 3), x__lt=3)["case_id"].tolist() == ["c"]
    assert where(tags=["b"])["case_id"].tolist() == ["a", "c"]
    assert where(made__isna=False)["case_id"].tolist() == ["a"]
    assert where(none__isna=True, none__ne="x")["case_id"].tolist() == ["a", "b", "c"]


def test_keyed_tags_of_a_frame_of_your_own_are_asked_for_by_key():
    frame = pd.DataFrame({"case_id": list("ab"), "tags": [[], ["team=red", "a=b=c"]]})
    assert frame.cases.where(tags={"team": "red"})["case_id"].tolist() == ["b"]


# --- what cannot be asked -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"statsu": "open"}, "no column 'statsu'; did you mean 'status'? If not, read it too"),
        ({"zebra__gte": 3}, "no column 'zebra'; read it too: columns=[…, 'zebra']"),
        ({"status__like": "o"}, "unknown lookup '__like'"),
        ({"search": "printer"}, "no frame can answer; ask there: read_cases(source, search=…)"),
        ({"limit": 3}, "limit= is the name of an option"),
        ({"created_at__gte": "soon"}, "'soon' does not fit"),
        ({"tags__eq": "x"}, "'tags' holds lists"),
        ({"tz": "Mars/Olympus"}, "is no time zone"),
        ({"where": 3}, "where=3 is no filter"),
        ({"where": pd.Series([True, False])}, "no mask of rows, which filters a frame by df[mask]"),
    ],
)
def test_what_cannot_be_asked_is_said(frame, asked, said):
    with pytest.raises(cs.FilterError, match=re.escape(said)):
        frame.cases.where(**asked)


def test_a_column_that_was_not_read_is_named(source):
    frame = cs.read_cases(source, columns=["case_id"], limit=5)
    with pytest.raises(cs.FilterError, match=r"'status'.*read it too: columns=\[…, 'status'\]"):
        frame.cases.where(status="open")
    with pytest.raises(cs.FilterError, match="no column 'tags'"):
        frame.cases.where(tags=["urgent"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"state": "active"}, "'state' can be asked of the service but is never shown"),
        ({"resolver": "user_1"}, "'resolver' can be asked of the service but is never shown"),
        ({"assignee": "user_1"}, "an id that the service compares and never shows"),
        ({"assignee": ["a@x.example", "user_1"]}, "an id that the service compares"),
    ],
)
def test_what_only_persona_can_tell_is_refused_with_the_reason(local, asked, said):
    """An empty answer would look like one: no cell of the frame holds such a value."""
    frame = cs.read_cases(local.persona_cases(), limit=20)
    with pytest.raises(cs.FilterError, match=said):
        frame.cases.where(**asked)
    shown = frame["assignee"].dropna().iloc[0]
    assert len(frame.cases.where(assignee=shown)) > 0
