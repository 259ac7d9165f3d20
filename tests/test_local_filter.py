"""`df.cases.where`: a filter means the same locally as on the service."""

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


@pytest.fixture(scope="module", params=["connect", "persona"])
def bench(request):
    with a_bench(request.param, hostile_rows(), {}, {}) as bench:
        yield bench


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=200, seed=2) as emulator:
        yield emulator


@pytest.fixture(scope="module", params=["connect", "persona"])
def source(local, request):
    return getattr(local, f"{request.param}_cases")()


@pytest.fixture(scope="module", params=[None, "numpy_nullable", "pyarrow"])
def frame(source, request):
    return cs.read_cases(source, dtype_backend=request.param)


# --- the law --------------------------------------------------------------------------------------


@settings(QUICK, max_examples=60)
@given(data=st.data())
def test_a_local_filter_matches_what_the_service_returns(bench, data):
    """Filtering locally and letting the service filter give the same cases."""
    tz = data.draw(st.sampled_from(ZONES), label="tz")
    tree = data.draw(trees(bench.table, tz), label="tree")
    with quietly():
        read = cs.read_cases(bench.source, tree, columns=["case_id"], tz=tz)
        result = bench.whole.cases.where(tree, tz=tz)
    assert sorted(result["case_id"]) == sorted(read["case_id"])
    assert result["case_id"].tolist() == bench.whole["case_id"][result.index].tolist()


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
def reloaded(bench):
    return {name: travel(bench.whole) for name, travel in TRAVELS.items()}


@pytest.mark.parametrize("name", TRAVELS)
@settings(QUICK, max_examples=40)
@given(data=st.data())
def test_a_reloaded_frame_is_filtered_as_before(bench, reloaded, name, data):
    """Files return lists as arrays, and other dtypes; the same cases match."""
    tree = data.draw(trees(bench.table), label="tree")
    with quietly():
        expected = bench.whole.cases.where(tree)["case_id"].tolist()
        assert reloaded[name].cases.where(tree)["case_id"].tolist() == expected


# --- accepted filters -----------------------------------------------------------------------------


def test_keywords_expressions_mappings_and_pandas_mean_the_same(frame):
    expected = frame[frame["status"].eq("open") & frame["title"].notna()]["case_id"].tolist()
    assert 0 < len(expected) < len(frame)
    where = frame.cases.where
    for result in (
        where(status="open", title__isna=False),
        where((cs.field("status") == "open") & cs.field("title").notna()),
        where({"status": "open", "title__isna": False}),
        where(cs.field("title").notna(), status=["open"]),
        where((pd.col("status") == "open") & (pd.col("title") != None)),  # noqa: E711 - pandas' own way
    ):
        assert result["case_id"].tolist() == expected


def test_field_ids_of_the_service_are_accepted(frame):
    ids = frame.cases.provenance["columns"]
    timestamp = frame["created_at"].sort_values().iloc[50]
    by_id = frame.cases.where({f"{ids['created_at']}__lt": timestamp})
    assert len(by_id) == len(frame.cases.where(created_at__lt=timestamp)) == 50


def test_spellings_of_persona_names_are_accepted(local):
    frame = cs.read_cases(local.persona_cases())
    expected = frame.cases.where(fields_status__isna=False)["case_id"].tolist()
    for name in ("fields.status", "fields_status"):
        assert frame.cases.where({f"{name}__isna": False})["case_id"].tolist() == expected
    assert len(frame.cases.where(sla_expires_at__isna=True)) == frame["sla_at"].isna().sum()
    # "status" is the system field, although a custom one has that key too.
    assert len(frame.cases.where(status="open")) == frame["status"].eq("open").sum()


def test_all_given_tags_are_required(frame):
    tags_of_case = next(tags for tags in frame["tags"] if len(tags) > 1)
    keyed = frame.cases.provenance["source"]["service"] == "connect"
    tags = dict(tag.split("=", 1) for tag in tags_of_case) if keyed else tags_of_case
    result = frame.cases.where(tags=tags)["case_id"].tolist()
    matching = [set(tags_of_case) <= set(tags) for tags in frame["tags"]]
    assert result == frame["case_id"][matching].tolist() != []


def test_naive_times_are_in_the_time_zone_of_the_read(source):
    frame = cs.read_cases(source, columns=["case_id", "created_at"], tz="Asia/Kathmandu")
    in_kathmandu = frame["created_at"].dt.strftime("%Y-%m-%d")
    in_utc = frame["created_at"].dt.tz_convert("UTC").dt.strftime("%Y-%m-%d")
    day = in_kathmandu[in_kathmandu != in_utc].iloc[0]
    naive = frame.assign(created_at=frame["created_at"].dt.tz_localize(None))
    for days, tz in ((in_kathmandu, None), (in_utc, "UTC")):
        expected = frame["case_id"][days == day].tolist()
        for other in (frame, naive):
            assert other.cases.where(created_at=day, tz=tz)["case_id"].tolist() == expected
    assert in_kathmandu.eq(day).tolist() != in_utc.eq(day).tolist()


def test_relative_times_count_from_now():
    now = pd.Timestamp.now("UTC")
    created = [now - pd.Timedelta(days=days) for days in (1, 5, 9)]
    frame = pd.DataFrame({"case_id": list("abc"), "created_at": created})
    assert list(frame.cases.where(created_at__gte=-pd.Timedelta("7D"))["case_id"]) == ["a", "b"]


# --- results --------------------------------------------------------------------------------------


def test_the_frame_is_not_modified_and_index_and_provenance_are_kept(frame):
    indexed = frame.set_index(pd.Index(range(1000, 1000 + len(frame))))
    before = indexed.copy()
    result = indexed.cases.where(status="open")
    pd.testing.assert_frame_equal(result, before[before["status"].eq("open").to_numpy(dtype=bool)])
    assert result.attrs == frame.attrs
    result["status"] = "changed"
    pd.testing.assert_frame_equal(indexed, before)


def test_an_index_may_have_duplicates():
    frame = pd.DataFrame({"case_id": list("abc"), "n": [1, 2, 3]}, index=[7, 7, 7])
    assert frame.cases.where(n__gte=2)["case_id"].tolist() == ["b", "c"]


def test_no_filter_matches_all_and_an_empty_list_nothing(frame):
    pd.testing.assert_frame_equal(frame.cases.where(), frame)
    nothing = frame.cases.where(status=[])
    pd.testing.assert_frame_equal(nothing, frame.head(0))
    assert nothing.cases.where(status="open", created_at__gte="2026").empty


# --- frames from text files and from elsewhere ----------------------------------------------------


def test_times_of_a_frame_from_csv_are_parsed(source):
    frame = cs.read_cases(source, tz="Europe/Berlin")
    loaded = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    timestamp = frame["created_at"].sort_values().iloc[77]
    for filters in (
        {"created_at__lt": timestamp},
        {"created_at__gte": timestamp, "status__ne": "pending"},
        {"closed_at__isna": True},
        {"vip_customer": True},
    ):
        expected = frame.cases.where(filters)["case_id"].tolist()
        assert loaded.cases.where(filters)["case_id"].tolist() == expected != []
    with pytest.raises(cs.FilterError, match=r"'tags' holds text here.*Parquet"):
        loaded.cases.where(tags={"team": "red"} if source.name == "connect" else ["red"])


def test_text_that_only_starts_like_a_time_stays_text():
    frame = pd.DataFrame({"case_id": list("ab"), "note": ["2026-03-01T10:00Z", "soon"]})
    assert frame.cases.where(note__contains="soo")["case_id"].tolist() == ["b"]


def test_naive_times_in_the_frame_are_in_its_time_zone():
    """An ambiguous hour is the second one, and a nonexistent hour the next one.

    `tz` is the zone of the filter, and of naive cells only where nothing else tells their zone.
    """
    times = pd.to_datetime(["2026-03-29 02:30", "2026-10-25 02:30", "2026-06-01 00:00"])
    read_at = pd.Timestamp("2026-07-01", tz="Europe/Berlin")
    frame = pd.DataFrame({"case_id": list("abc"), "due": times, "read_at": read_at})
    where = frame.cases.where
    assert where(due="2026-06-01")["case_id"].tolist() == ["c"]
    assert where(due="2026-05-31", tz="UTC")["case_id"].tolist() == ["c"]
    assert where(due="2026-10-25T02:30+01:00")["case_id"].tolist() == ["b"]
    assert where(due="2026-03-29T03:00+02:00")["case_id"].tolist() == ["a"]
    assert where(read_at="2026-07-01")["case_id"].tolist() == list("abc")
    unknown = frame.drop(columns="read_at").cases.where
    assert unknown(due="2026-06-01T00:00Z")["case_id"].tolist() == ["c"]
    assert unknown(due="2026-06-01", tz="Europe/Berlin")["case_id"].tolist() == ["c"]
    assert unknown(due="2026-05-31T22:00Z", tz="Europe/Berlin")["case_id"].tolist() == ["c"]


def test_times_outside_of_nanoseconds_can_be_compared():
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
            "nested": [{"a": 1}, None, None],
            "none": [None, None, None],
            0: [1, 2, 3],
        }
    )
    where = frame.cases.where
    assert where(n__between=(2, 3), x__lt=3)["case_id"].tolist() == ["c"]
    assert where(tags=["b"])["case_id"].tolist() == ["a", "c"]
    assert where(nested__isna=False)["case_id"].tolist() == ["a"]
    assert where(none__isna=True, none__ne="x")["case_id"].tolist() == ["a", "b", "c"]


def test_keyed_tags_of_your_own_frame_are_filtered_by_key():
    frame = pd.DataFrame({"case_id": list("ab"), "tags": [[], ["team=red", "a=b=c"]]})
    assert frame.cases.where(tags={"team": "red"})["case_id"].tolist() == ["b"]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"statsu": "open"}, "no column 'statsu'; did you mean 'status'? If not, read it too"),
        ({"zebra__gte": 3}, "no column 'zebra'; read it too: columns=[…, 'zebra']"),
        ({"status__like": "o"}, "unknown lookup '__like'"),
        (
            {"search": "printer"},
            "full-text search of the service, which a DataFrame does not have; use read_cases",
        ),
        ({"limit": 3}, "limit= is an option that this function does not take"),
        ({"created_at__gte": "soon"}, "cannot be compared with 'soon'"),
        ({"tags__eq": "x"}, "'tags' contains lists"),
        ({"tz": "Mars/Olympus"}, "unknown time zone 'Mars/Olympus'"),
        ({"where": 3}, "where must be an expression or a mapping, got 3"),
        (
            {"where": pd.Series([True, False])},
            "not a mask of rows, which filters a DataFrame by df[mask]",
        ),
    ],
)
def test_a_wrong_argument_is_explained(frame, filters, message):
    with pytest.raises(cs.FilterError, match=re.escape(message)):
        frame.cases.where(**filters)


def test_a_column_that_was_not_read_is_named(source):
    frame = cs.read_cases(source, columns=["case_id"], limit=5)
    with pytest.raises(cs.FilterError, match=r"'status'.*read it too: columns=\[…, 'status'\]"):
        frame.cases.where(status="open")
    with pytest.raises(cs.FilterError, match="no column 'tags'"):
        frame.cases.where(tags=["urgent"])


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"state": "active"}, "the service filters by 'state' but never returns it"),
        ({"resolver": "user_1"}, "the service filters by 'resolver' but never returns it"),
        ({"assignee": "user_1"}, "an id that the service compares but never returns"),
        ({"assignee": ["a@x.example", "user_1"]}, "an id that the service compares"),
    ],
)
def test_remote_only_conditions_are_refused_with_the_reason(local, filters, message):
    """No cell has such a value, so that an empty result would be wrong without any sign of it."""
    frame = cs.read_cases(local.persona_cases(), limit=20)
    with pytest.raises(cs.FilterError, match=message):
        frame.cases.where(**filters)
    visible = frame["assignee"].dropna().iloc[0]
    assert len(frame.cases.where(assignee=visible)) > 0
