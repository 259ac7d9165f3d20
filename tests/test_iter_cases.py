"""`iter_cases`: the rows of a read, a frame at a time, in bounded memory."""

import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import casesearch_pd as cs

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
ROWS = 430


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=ROWS, seed=3, now=NOW) as service:
        yield service


@pytest.fixture(scope="module", params=["connect", "persona"])
def source(request, local):
    return getattr(local, f"{request.param}_cases")()


def by_id(frame):
    return frame.sort_values("case_id", ignore_index=True)


def requests_of(local):
    return [item for item in local.requests if item.path.endswith("search")]


@pytest.mark.parametrize("chunksize", [1, 7, 100, 101, 430, 10_000])
def test_the_chunks_together_are_the_read(source, chunksize):
    """Law 5: the size of a chunk changes no cell."""
    asked = {"status": ["open", "pending", "closed"], "created_at__gte": "2026-01"}
    whole = cs.read_cases(source, **asked)
    chunks = list(cs.iter_cases(source, chunksize=chunksize, **asked))
    assert_frame_equal(by_id(pd.concat(chunks)), by_id(whole))
    assert [len(chunk) for chunk in chunks[:-1]] == [chunksize] * (len(chunks) - 1)
    assert len(chunks[-1]) <= chunksize


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu"])
def test_all_chunks_have_one_schema(source, backend, tz):
    """A writer that opens a file with the first chunk has to fit the last."""
    chunks = list(cs.iter_cases(source, chunksize=60, dtype_backend=backend, tz=tz))
    whole = cs.read_cases(source, limit=5, dtype_backend=backend, tz=tz)
    assert len(chunks) == -(-ROWS // 60)
    for chunk in chunks:
        assert chunk.dtypes.equals(chunks[0].dtypes)
        assert chunk.index.equals(pd.RangeIndex(len(chunk)))
    assert chunks[0].dtypes.equals(whole.dtypes)


def test_no_case_is_one_empty_chunk_of_the_same_schema(source):
    """A loop over nothing would leave a writer without columns."""
    full = next(iter(cs.iter_cases(source)))
    for nothing in ({"title": "no such title"}, {"title": []}, {"limit": 0}):
        (chunk,) = cs.iter_cases(source, **nothing)
        assert chunk.empty
        assert chunk.dtypes.equals(full.dtypes)


def test_the_total_is_known_where_the_service_counts_just_that(local):
    connect = local.connect_cases()
    asked = {"columns": ["case_id"]}
    with cs.iter_cases(connect, chunksize=50, **asked) as chunks:
        assert chunks.total == ROWS
        assert sum(map(len, chunks)) == ROWS  # asking for it has eaten no chunk
        assert chunks.total == ROWS
    assert cs.iter_cases(connect, status="open", **asked).total == cs.count_cases(
        connect, status="open"
    )
    assert cs.iter_cases(connect, limit=7, **asked).total == 7
    assert cs.iter_cases(connect, limit=1000, **asked).total == ROWS
    # Of what is checked here nobody knows beforehand how much remains.
    assert cs.iter_cases(connect, title="App", **asked).total is None
    assert cs.iter_cases(local.persona_cases(), **asked).total is None


def test_nothing_is_sent_before_the_first_chunk_is_taken(local, source):
    assert source.schema
    local.requests.clear()
    chunks = cs.iter_cases(source)
    assert not local.requests
    next(chunks)
    assert local.requests


def test_a_read_that_is_closed_half_way_sends_nothing_more(local, source):
    """Whoever has seen enough must not pay for the rest."""
    local.requests.clear()
    with cs.iter_cases(source, columns=["case_id"], chunksize=100) as chunks:
        next(chunks)
        sent = len(requests_of(local))
    assert sent <= 2
    assert list(chunks) == []
    assert len(requests_of(local)) == sent
    chunks.close()  # twice is no harm


def test_chunks_can_be_walked_once(source):
    chunks = cs.iter_cases(source, columns=["case_id"], chunksize=200)
    assert sum(1 for _ in chunks) == 3
    assert list(chunks) == []


@pytest.mark.parametrize("limit", [1, 99, 100, 101, 250, 430, 1000])
@pytest.mark.parametrize("sort", [None, "-created_at", "updated_at"])
def test_a_limit_is_the_head_of_the_order(local, source, limit, sort):
    asked = {"columns": ["case_id", "updated_at"], "limit": limit, "sort": sort}
    whole = cs.read_cases(source, **asked)
    local.requests.clear()
    chunks = list(cs.iter_cases(source, chunksize=60, **asked))
    assert pd.concat(chunks)["case_id"].tolist() == whole["case_id"].tolist()
    assert len(requests_of(local)) <= -(-limit // 100) + 1


@pytest.mark.parametrize("sort", ["-created_at", "updated_at", ["-closed_at"]])
def test_chunks_come_in_the_order_that_the_service_can_do(source, sort):
    whole = cs.read_cases(source, columns=["case_id"], sort=sort)
    chunks = cs.iter_cases(source, columns=["case_id"], sort=sort, chunksize=70)
    assert pd.concat(list(chunks))["case_id"].tolist() == whole["case_id"].tolist()


def test_two_passes_are_joined_chunk_by_chunk(local):
    """More fields than one request names come from a second walk over the same window."""
    source = local.connect_cases()
    whole = cs.read_cases(source)
    assert len(whole.columns) > 25
    local.requests.clear()
    chunks = list(cs.iter_cases(source, chunksize=150))
    assert_frame_equal(by_id(pd.concat(chunks)), by_id(whole))
    fields = [{item["id"] for item in request.body["fields"]} for request in requests_of(local)]
    assert len({frozenset(names) for names in fields}) == 2
    assert all(len(names) <= 25 for names in fields)


def test_two_passes_keep_ties_at_the_border_of_a_chunk():
    """Cases made in one millisecond must not be lost between two windows of creation time."""
    tied = [NOW - timedelta(hours=1)] * 30 + [NOW - timedelta(minutes=n) for n in range(40)]
    wide = {f"column {number}": range(len(tied)) for number in range(40)}
    frame = pd.DataFrame({"created_at": pd.to_datetime(tied), **wide})
    with cs.LocalCases(frame, now=NOW) as service:
        source = service.connect_cases(page_size=7)
        chunks = list(cs.iter_cases(source, chunksize=9))
        assert_frame_equal(by_id(pd.concat(chunks)), by_id(cs.read_cases(source)))


def test_a_case_in_two_parts_of_a_filter_comes_once(local):
    """Persona takes twenty values a group and two levels; the rest goes into other requests."""
    source = local.persona_cases()
    statuses = sorted(set(local.frame()["status"])) + [f"stage {n}" for n in range(401)]
    assert cs.explain_cases(source, status=statuses).partitions > 20
    chunks = list(cs.iter_cases(source, status=statuses, columns=["case_id"], chunksize=40))
    assert sorted(pd.concat(chunks)["case_id"]) == sorted(local.frame()["case_id"])


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "100"])
def test_a_chunk_has_at_least_one_row(source, size):
    with pytest.raises(cs.FilterError, match="no number of rows; write 1 or more"):
        cs.iter_cases(source, chunksize=size)


def test_the_provenance_of_a_chunk_is_its_own(source):
    first, second = list(cs.iter_cases(source, columns=["status"], chunksize=300))
    told = [json.loads(chunk.attrs["casesearch"]) for chunk in (first, second)]
    assert [item["rows"] for item in told] == [300, 130]
    assert told[0]["ids"] != told[1]["ids"]


def refused(local, source, **question):
    """Ask for chunks that cannot be; nothing may have been sent for it."""
    assert source.schema
    local.requests.clear()
    with pytest.raises(cs.FilterError) as told:
        cs.iter_cases(source, **question)
    assert not local.requests
    return str(told.value)


def test_an_order_that_the_service_cannot_do_is_refused(local):
    """Chunks that came in any other order would be taken for sorted."""
    for question in ({"sort": "status"}, {"sort": ["created_at", "status"]}):
        said = refused(local, local.persona_cases(), **question)
        assert "the service cannot sort this by" in said
        assert "leave sort= out, or use read_cases" in said
    three = refused(local, local.connect_cases(), sort=["status", "priority", "title"])
    assert "cannot sort this by status, priority, title" in three
    assert "no order to sort by" in refused(local, local.connect_cases(), sort="tags")


def test_an_order_in_which_passes_cannot_be_joined_is_refused(local):
    said = refused(local, local.connect_cases(), sort="-updated_at")
    assert "columns come in 2 passes" in said
    assert "ask for fewer columns=, or leave sort='updated_at' out" in said


def test_a_head_that_is_not_sure_is_refused(local):
    """A limit cuts what the service sends first, which may be another head than ours."""
    asked = {"columns": ["case_id"], "limit": 5}
    many = [f"stage {number}" for number in range(401)]
    for source, question in (
        (local.connect_cases(), {"sort": "title"}),  # nobody documents how text is sorted
        (local.persona_cases(), {"status": many}),  # several requests, one after the other
        (local.persona_cases(), {"case_id": ["a", "b"]}),
        (local.persona_cases(fresh=True), {}),  # newest first, whatever is asked
    ):
        said = refused(local, source, **asked, **question)
        assert "limit=5 is the head of the order by" in said
        assert "leave limit= out, or use read_cases" in said


def test_a_field_that_appears_late_is_named_and_left_out():
    """All chunks have one schema, so what no template told has no place in it."""
    cases = {"created_at": pd.date_range("2026-01-01", periods=230, freq="h", tz="UTC")}
    frame = pd.DataFrame({**cases, "late one": [None] * 120 + ["x"] * 110})
    with cs.LocalCases(frame, now=NOW) as service:
        source = service.persona_cases()
        known = [item for item in source.schema.fields if item.column != "late_one"]
        blind = service.persona_cases(schema=type(source.schema)(tuple(known), open=True))
        with pytest.warns(UserWarning, match="left out: late_one; name them in columns="):
            chunks = list(cs.iter_cases(blind, chunksize=100))
        assert not any("late_one" in chunk for chunk in chunks)
        named = cs.iter_cases(blind, columns=["case_id", "fields.late one"], chunksize=100)
        last = list(named)[-1]
        assert last.iloc[-1, 1] == "x"
        assert "late_one" in cs.read_cases(blind)
