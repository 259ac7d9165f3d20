"""`iter_cases`: the rows of a read in DataFrames of a chosen size, in bounded memory."""

import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import casesearch_pd as cs
from tests.emulator_clients import CLOSED

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
ROWS = 430
SERVICE = {"cases": ROWS, "seed": 3}


def by_id(frame):
    return frame.sort_values("case_id", ignore_index=True)


def searches(local):
    return [request for request in local.requests if request.path.endswith("search")]


@pytest.mark.parametrize("chunksize", [1, 7, 100, 101, 430, 10_000])
def test_the_chunks_together_equal_read_cases(source, chunksize):
    """Law 5: the size of a chunk changes no cell."""
    filters = {"status": ["open", *CLOSED[source.name]], "created_at__gte": "2026-01"}
    frame = cs.read_cases(source, **filters)
    chunks = list(cs.iter_cases(source, chunksize=chunksize, **filters))
    assert_frame_equal(by_id(pd.concat(chunks)), by_id(frame))
    assert [len(chunk) for chunk in chunks[:-1]] == [chunksize] * (len(chunks) - 1)
    assert len(chunks[-1]) <= chunksize


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu"])
def test_all_chunks_have_one_schema(source, backend, tz):
    """A file whose schema is that of the first chunk has to fit the last."""
    chunks = list(cs.iter_cases(source, chunksize=60, dtype_backend=backend, tz=tz))
    frame = cs.read_cases(source, limit=5, dtype_backend=backend, tz=tz)
    assert len(chunks) == -(-ROWS // 60)
    for chunk in chunks:
        assert chunk.dtypes.equals(chunks[0].dtypes)
        assert chunk.index.equals(pd.RangeIndex(len(chunk)))
    assert chunks[0].dtypes.equals(frame.dtypes)


def test_no_cases_are_one_empty_chunk_of_the_same_schema(source):
    """A loop without a chunk would leave a file without columns."""
    full = next(iter(cs.iter_cases(source)))
    for filters in ({"title": "no such title"}, {"title": []}, {"limit": 0}):
        (chunk,) = cs.iter_cases(source, **filters)
        assert chunk.empty
        assert chunk.dtypes.equals(full.dtypes)


def test_the_total_is_known_if_the_service_counts_just_the_result(local):
    connect = local.sources["connect"]
    options = {"columns": ["case_id"]}
    with cs.iter_cases(connect, chunksize=50, **options) as chunks:
        assert chunks.total == ROWS
        assert sum(map(len, chunks)) == ROWS  # the total has consumed no chunk
        assert chunks.total == ROWS
    assert cs.iter_cases(connect, status="open", **options).total == cs.count_cases(
        connect, status="open"
    )
    assert cs.iter_cases(connect, limit=7, **options).total == 7
    assert cs.iter_cases(connect, limit=1000, **options).total == ROWS
    # How many rows pass a local filter is unknown beforehand.
    assert cs.iter_cases(connect, title="App", **options).total is None
    assert cs.iter_cases(local.sources["persona"], **options).total is None


def test_no_request_is_sent_before_the_first_chunk(local, source):
    assert source.schema
    local.requests.clear()
    chunks = cs.iter_cases(source)
    assert not local.requests
    next(chunks)
    assert local.requests


def test_closed_chunks_send_no_more_requests(local, source):
    """The rest must cost nothing."""
    local.requests.clear()
    with cs.iter_cases(source, columns=["case_id"], chunksize=100) as chunks:
        next(chunks)
        before = len(searches(local))
    assert before <= 2
    assert list(chunks) == []
    assert len(searches(local)) == before
    chunks.close()  # twice is no harm


def test_chunks_can_be_iterated_once(source):
    chunks = cs.iter_cases(source, columns=["case_id"], chunksize=200)
    assert sum(1 for _ in chunks) == 3
    assert list(chunks) == []


@pytest.mark.parametrize("limit", [1, 99, 100, 101, 250, 430, 1000])
@pytest.mark.parametrize("sort", [None, "-created_at", "updated_at"])
def test_a_limit_is_the_head_of_the_order(local, source, limit, sort):
    options = {"columns": ["case_id", "updated_at"], "limit": limit, "sort": sort}
    frame = cs.read_cases(source, **options)
    local.requests.clear()
    chunks = list(cs.iter_cases(source, chunksize=60, **options))
    assert pd.concat(chunks)["case_id"].tolist() == frame["case_id"].tolist()
    assert len(searches(local)) <= -(-limit // 100) + 1


@pytest.mark.parametrize("sort", ["-created_at", "updated_at", ["-closed_at"]])
def test_chunks_have_an_order_that_the_service_has(source, sort):
    frame = cs.read_cases(source, columns=["case_id"], sort=sort)
    chunks = cs.iter_cases(source, columns=["case_id"], sort=sort, chunksize=70)
    assert pd.concat(list(chunks))["case_id"].tolist() == frame["case_id"].tolist()


def test_two_passes_are_joined_chunk_by_chunk(local):
    """More fields than one request holds come from a second scan of the same window."""
    source = local.sources["connect"]
    frame = cs.read_cases(source)
    assert len(frame.columns) > 25
    local.requests.clear()
    chunks = list(cs.iter_cases(source, chunksize=150))
    assert_frame_equal(by_id(pd.concat(chunks)), by_id(frame))
    fields = [{item["id"] for item in request.body["fields"]} for request in searches(local)]
    assert len({frozenset(names) for names in fields}) == 2
    assert all(len(names) <= 25 for names in fields)


def test_two_passes_keep_ties_at_the_border_of_a_chunk():
    """Cases of one millisecond must not be lost between two windows of creation time."""
    times = [NOW - timedelta(hours=1)] * 30 + [NOW - timedelta(minutes=n) for n in range(40)]
    wide = {f"column {number}": range(len(times)) for number in range(40)}
    frame = pd.DataFrame({"created_at": pd.to_datetime(times), **wide})
    with cs.LocalCases(frame, now=NOW) as service:
        source = service.connect_cases(page_size=7)
        chunks = list(cs.iter_cases(source, chunksize=9))
        assert_frame_equal(by_id(pd.concat(chunks)), by_id(cs.read_cases(source)))


def test_a_case_in_two_parts_of_a_filter_comes_once(local):
    """Persona takes twenty values a group and two levels; the others go into more requests."""
    source = local.sources["persona"]
    statuses = sorted(set(local.frame("persona")["status"])) + [f"stage {n}" for n in range(401)]
    assert cs.explain_cases(source, status=statuses).partitions > 20
    chunks = list(cs.iter_cases(source, status=statuses, columns=["case_id"], chunksize=40))
    assert sorted(pd.concat(chunks)["case_id"]) == sorted(local.frame()["case_id"])


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "100"])
def test_invalid_chunk_sizes_are_refused(source, size):
    with pytest.raises(cs.FilterError, match="chunksize must be a positive integer, got"):
        cs.iter_cases(source, chunksize=size)


def test_the_provenance_of_a_chunk_is_its_own(source):
    first, second = list(cs.iter_cases(source, columns=["status"], chunksize=300))
    provenance = [json.loads(chunk.attrs["casesearch"]) for chunk in (first, second)]
    assert [item["rows"] for item in provenance] == [300, 130]
    assert provenance[0]["ids"] != provenance[1]["ids"]


def error_of(local, source, **options):
    """Return the message of a read that is refused without a request."""
    assert source.schema
    local.requests.clear()
    with pytest.raises(cs.FilterError) as error:
        cs.iter_cases(source, **options)
    assert not local.requests
    return str(error.value)


def test_an_order_that_the_service_does_not_have_is_refused(local):
    """Chunks in any other order would be taken for sorted."""
    for options in ({"sort": "status"}, {"sort": ["created_at", "status"]}):
        message = error_of(local, local.sources["persona"], **options)
        assert "the service cannot sort this by" in message
        assert "leave sort= out, or use read_cases" in message
    three = error_of(local, local.sources["connect"], sort=["status", "priority", "title"])
    assert "cannot sort this by status, priority, title" in three
    assert "cannot sort by 'tags'" in error_of(local, local.sources["connect"], sort="tags")


def test_an_order_in_which_passes_cannot_be_joined_is_refused(local):
    message = error_of(local, local.sources["connect"], sort="-updated_at")
    assert "columns need 2 passes" in message
    assert "read fewer columns=, or leave sort='updated_at' out" in message


def test_a_limit_of_an_uncertain_order_is_refused(local):
    """The first rows of the service may not be the first rows of this package."""
    limited = {"columns": ["case_id"], "limit": 5}
    many = [f"stage {number}" for number in range(401)]
    for source, options in (
        (local.sources["connect"], {"sort": "title"}),  # the order of text is not documented
        (local.sources["persona"], {"status": many}),  # several requests, one after the other
        (local.sources["persona"], {"case_id": ["a", "b"]}),
        (local.persona_cases(fresh=True), {}),  # always newest first
    ):
        message = error_of(local, source, **limited, **options)
        assert "limit=5 takes the first rows by" in message
        assert "leave limit= out, or use read_cases" in message


def test_a_field_that_only_a_later_page_shows_is_named_and_left_out():
    """All chunks have one schema, which does not have it."""
    cases = {"created_at": pd.date_range("2026-01-01", periods=230, freq="h", tz="UTC")}
    frame = pd.DataFrame({**cases, "late one": [None] * 120 + ["x"] * 110})
    with cs.LocalCases(frame, now=NOW) as service:
        source = service.persona_cases()
        fields = [item for item in source.schema.fields if item.column != "late_one"]
        blind = service.persona_cases(schema=type(source.schema)(tuple(fields), open=True))
        with pytest.warns(UserWarning, match="left out: late_one; name them in columns="):
            chunks = list(cs.iter_cases(blind, chunksize=100))
        assert not any("late_one" in chunk for chunk in chunks)
        chunks = cs.iter_cases(blind, columns=["case_id", "fields.late one"], chunksize=100)
        last = list(chunks)[-1]
        assert last.iloc[-1, 1] == "x"
        assert "late_one" in cs.read_cases(blind)
