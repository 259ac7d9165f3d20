"""`Mirror.sync`: after any changes a mirror reads as its service does; what else it answers."""

import pickle
from datetime import UTC, datetime, timedelta
from math import ceil

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from tests.law_bench import QUICK, quietly
from tests.test_refresh import COLUMNS, FILTERS, STATUSES, change, changes

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
SERVICES = ["connect", "persona"]
NEVER = timedelta(0)  # of lag: the local service has none unless it is told to


@pytest.fixture
def local():
    with cs.LocalCases(cases=250, seed=6, now=NOW) as running:
        yield running


@pytest.fixture(params=SERVICES)
def source(local, request):
    return getattr(local, f"{request.param}_cases")()


@pytest.fixture
def mirror(tmp_path):
    return cs.Mirror(tmp_path / "cases.duckdb")


def same(mirror, source, **asked):
    """Hold a mirror to its service: cells, dtypes, order of rows and columns."""
    with quietly():
        pd.testing.assert_frame_equal(cs.read_cases(mirror), cs.read_cases(source, **asked))


# --- the law --------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
@settings(QUICK, max_examples=8)
@given(data=st.data())
def test_a_synced_mirror_is_a_fresh_read(service, data, tmp_path_factory):
    """Whatever came, went, moved or stayed; again and again, with any filter and columns."""
    asked = {
        **data.draw(st.sampled_from(FILTERS), label="filter"),
        "columns": data.draw(st.sampled_from([[*COLUMNS, "title"], None])),
    }
    with cs.LocalCases(cases=130, seed=6, now=NOW) as local, quietly():
        source, ids = getattr(local, f"{service}_cases")(), sorted(local.frame()["case_id"])
        mirror = cs.Mirror(tmp_path_factory.mktemp("mirror") / "cases.duckdb")
        mirror.sync(source, **asked)
        same(mirror, source, **asked)
        for _ in range(data.draw(st.integers(1, 3), label="rounds")):
            for drawn in data.draw(changes(), label="changes"):
                local.advance(7)
                change(local, ids, *drawn)
            mirror.sync(source)
            same(mirror, source, **asked)


@pytest.mark.parametrize("service", SERVICES)
@settings(QUICK, max_examples=5)
@given(data=st.data())
def test_an_audit_also_finds_what_was_deleted_and_missed(service, data, tmp_path_factory):
    """Increments see neither: a deleted case is not updated, a lagging one comes too late."""
    with cs.LocalCases(cases=330, seed=6, now=NOW) as local, quietly():
        source = getattr(local, f"{service}_cases")(
            **({"page_size": 10} if service == "connect" else {})
        )
        ids = sorted(local.frame()["case_id"])
        mirror = cs.Mirror(tmp_path_factory.mktemp("mirror") / "cases.duckdb")
        mirror.sync(source)
        which = st.sets(st.sampled_from(ids), max_size=9)
        gone = data.draw(which, label="deleted")
        for case in gone:
            local.delete(case)
        late = data.draw(which, label="late")
        for case in late - gone:  # updated, as the service tells, long before the last sync
            local.update(case, title="late", updated_at=NOW - timedelta(days=300))
        days = data.draw(st.lists(st.integers(1, 400), max_size=5), label="added, days ago")
        for day in days:
            old = NOW - timedelta(days=day)
            local.insert({"title": "missed", "created_at": old, "updated_at": old})
        local.advance(1000)
        done = mirror.sync(source, verify=True)
        assert (done.added, done.removed) == (len(days), len(gone))
        assert {*cs.read_cases(mirror)["case_id"]} == {*local.frame()["case_id"]}


# --- what a sync costs ----------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_a_sync_asks_for_what_changed(service, mirror):
    """At two requests a second, reading all again would be what a mirror is there to save."""
    with cs.LocalCases(cases=3000, seed=6, now=NOW) as local, quietly():
        source = getattr(local, f"{service}_cases")()
        passes = cs.explain_cases(source).passes
        mirror.sync(source, progress=False)
        ids = sorted(local.frame()["case_id"])
        local.advance(3600)
        for case in ids[:300]:  # within the lookback, so that they are read by the next sync too
            local.update(case, title="before")
        mirror.sync(source, progress=False)
        local.advance(1)
        for case in ids[1000:2000]:
            local.update(case, title="changed")
        local.advance(600)  # what is younger than the lookback is looked at again at the end
        before = len(local.requests)
        done = mirror.sync(source, progress=False, max_workers=1)  # several end on part pages
        sent = [one for one in local.requests[before:] if "search" in one.path]
        lookback = ceil(300 / 100)
        assert len(sent) <= ceil(1000 / 100) * passes + lookback * passes + 5
        assert (done.changed, done.added, done.removed) == (1000, 0, 0)
        assert done.requests == len(sent)
        same(mirror, source)


def test_a_sync_of_nothing_new_costs_a_request(mirror, local):
    source = local.persona_cases()
    mirror.sync(source, lookback=NEVER)
    local.advance(60)
    done = mirror.sync(source, lookback=NEVER)
    assert (done.requests, done.changed, done.rows, done.kind) == (1, 0, 250, "increment")


def test_an_audit_of_a_sound_mirror_costs_a_count(mirror, local):
    source = local.connect_cases()
    mirror.sync(source)
    local.advance(600)
    plain = mirror.sync(source, lookback=NEVER).requests
    assert mirror.sync(source, verify=True, lookback=NEVER).requests == plain + 1


def test_reading_a_mirror_sends_nothing(mirror, local):
    mirror.sync(local.connect_cases())
    before = len(local.requests)
    frame = cs.read_cases(mirror, status="open")
    cs.count_cases(mirror, title__contains="INVOICE")
    cs.explain_cases(mirror, status="open").count()
    assert len(local.requests) == before
    assert frame.cases.provenance["requests"] == 0


# --- versions, bounds, fields -----------------------------------------------------------------


def test_an_older_version_never_takes_the_place_of_a_newer_one(mirror, local):
    """A lagging index may show a case as it was; what is known already is newer."""
    source = local.persona_cases()
    case = local.frame()["case_id"].iloc[0]
    local.advance(60)
    local.update(case, title="new")
    mirror.sync(source)
    stale = NOW + timedelta(seconds=30)
    local.update(case, title="old", updated_at=stale)
    mirror.sync(source)
    assert cs.read_cases(mirror, case_id=case)["title"].item() == "new"


def test_what_passes_a_relative_bound_leaves_the_mirror(mirror):
    """The last thirty days are other days at every sync; nothing was updated for that."""
    frame = pd.DataFrame(
        {
            "case_id": [f"case_{n}" for n in range(60)],
            "status": "open",
            "created_at": [pd.Timestamp.now("UTC") - pd.Timedelta(days=n / 2) for n in range(60)],
        }
    )
    frame["updated_at"] = frame["created_at"]
    with cs.LocalCases(frame) as local:
        source = local.connect_cases()
        mirror.sync(source, created_at__gte=-timedelta(days=20))
        before = cs.count_cases(mirror)
        local.insert({"case_id": "case_new", "status": "open", "created_at": local.clock()})
        done = mirror.sync(source)
        assert done.rows == cs.count_cases(source, created_at__gte=-timedelta(days=20))
        assert done.rows in (before, before + 1)
        assert "case_new" in set(cs.read_cases(mirror)["case_id"])


def test_columns_and_their_keys(mirror, local):
    """Versions are told apart by columns that need not be shown."""
    source = local.connect_cases()
    mirror.sync(source, columns=["status", "title"])
    assert list(cs.read_cases(mirror)) == ["status", "title"]
    assert cs.count_cases(mirror, created_at__gte="2020") == 250
    with pytest.raises(cs.FilterError, match="unknown field 'priority'"):
        cs.read_cases(mirror, priority="high")


def test_fields_that_no_template_told_make_the_schema_grow(mirror):
    with cs.LocalCases(cases=60, seed=6, now=NOW, wrapped=False) as local, quietly():
        source = local.persona_cases(templates=())
        mirror.sync(source)
        same(mirror, source)


def test_a_new_field_gets_a_column_and_a_retired_one_keeps_its_values(mirror):
    """Two schemas of one service, one after the other, at one address."""
    first = pd.DataFrame({"case_id": ["a", "b"], "status": "open", "mood": ["good", "bad"]})
    first["created_at"] = first["updated_at"] = pd.Timestamp("2026-03-01", tz="UTC")
    second = first.drop(columns="mood").assign(
        place=["here", "there"], updated_at=pd.Timestamp("2026-03-14T11:59", tz="UTC")
    )
    with cs.LocalCases(first, now=NOW) as local:
        mirror.sync(local.connect_cases())
    with cs.LocalCases(second, now=NOW) as local:
        with pytest.warns(UserWarning, match="connect cannot be asked .* a value in place"):
            mirror.sync(local.connect_cases(), lookback=3600)
        same(mirror, local.connect_cases())
    found = cs.read_cases(mirror, columns=["case_id", "place"], place="here")
    assert found["case_id"].tolist() == ["a"]
    assert mirror.sql("SELECT mood FROM cases").isna().all().item()  # both came anew, without it


def test_a_field_that_is_new_here_is_filled_for_cases_of_before(mirror):
    """A key that may see more fields than the one before shows old values, which nobody updated."""
    rows = pd.DataFrame({"case_id": [f"case_{n}" for n in range(8)], "status": "open"})
    rows["created_at"] = rows["updated_at"] = pd.Timestamp("2026-03-01", tz="UTC")
    more = rows.assign(place=["here", None] * 4)
    with cs.LocalCases(rows, now=NOW) as local:
        mirror.sync(local.connect_cases(assume={"empty_filter": True}))
    with cs.LocalCases(more, now=NOW) as local:
        done = mirror.sync(local.connect_cases(assume={"empty_filter": True}))
        same(mirror, local.connect_cases())
    assert done.changed == 4


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (pd.array([1, 2], "Int64"), pd.array([1.5, 2.5], "Float64"), [1.5, 2.0]),
        (pd.array([1.5, 2.5], "Float64"), ["x", "y"], ["x", "2.5"]),
        (pd.array([True, False], "boolean"), ["x", "y"], ["x", "false"]),
        ([["p"], ["q", "r"]], ["x", "y"], ["x", ["q", "r"]]),
        (pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True), ["x", "y"],
         ["x", "2026-01-02T00:00:00.000000Z"]),
    ],
    ids=["integer-number", "number-text", "boolean-text", "list-text", "time-text"],
)  # fmt: skip
def test_a_type_that_changes_is_widened(mirror, before, after, wanted):
    """What was there and did not change has to be brought into the type that came."""
    rows = pd.DataFrame({"case_id": ["case_a", "case_b"], "status": "open"})
    rows["created_at"] = rows["updated_at"] = pd.Timestamp("2026-03-01", tz="UTC")
    with cs.LocalCases(rows.assign(thing=before), now=NOW) as local:
        mirror.sync(local.persona_cases())
    rows.loc[0, "updated_at"] = pd.Timestamp("2026-03-14T11:59", tz="UTC")
    with cs.LocalCases(rows.assign(thing=after), now=NOW) as local:
        mirror.sync(local.persona_cases(), lookback=3600)
    assert cs.read_cases(mirror)["thing"].tolist() == wanted


# --- the other answers ------------------------------------------------------------------------


def test_a_frame_of_a_mirror_is_refreshed_from_the_file(mirror, local):
    source = local.connect_cases()
    mirror.sync(source)
    asked = {"status": "open", "sort": "-created_at", "columns": ["title", "case_id"]}
    frame = cs.read_cases(mirror, **asked)
    local.advance(600)
    for case in frame["case_id"][:3]:
        local.update(case, status="closed")
    mirror.sync(source)
    again = cs.open_source(str(mirror.path))
    pd.testing.assert_frame_equal(frame.cases.refresh(), cs.read_cases(again, **asked))
    assert len(frame.cases.refresh(again)) == len(frame) - 3


def test_provenance_names_the_file_and_the_source_and_no_secret(mirror, local):
    mirror.sync(local.persona_cases())
    frame = cs.read_cases(mirror, status="open")
    told = frame.cases.provenance
    assert told["source"] == {
        "service": "mirror", "path": str(mirror.path), "of": local.persona_cases().describe(),
    }  # fmt: skip
    assert told["as_of"] == mirror.as_of.isoformat()
    assert local.token not in str(frame.attrs) + repr(mirror)
    assert local.token.encode() not in mirror.path.read_bytes()


def test_a_mirror_goes_to_another_process(mirror, local):
    mirror.sync(local.connect_cases())
    twin = pickle.loads(pickle.dumps(mirror))
    assert twin == mirror
    assert cs.count_cases(twin) == 250


def test_it_is_written_to_parquet_and_listed_like_any_source(mirror, local, tmp_path):
    source = local.connect_cases()
    mirror.sync(source)
    path = cs.to_parquet(mirror, tmp_path / "cases.parquet", status="open", chunksize=50)
    kept = pd.read_parquet(path)
    assert kept["case_id"].tolist() == cs.read_cases(source, status="open")["case_id"].tolist()
    pd.testing.assert_frame_equal(cs.list_fields(mirror), cs.list_fields(source))


def test_what_only_the_service_sees_is_refused(mirror, local):
    """A silent answer would be another one than the service gives."""
    mirror.sync(local.persona_cases())
    for asked in ({"state": "open"}, {"assignee": "user_1"}):
        with pytest.raises(cs.FilterError, match="ask there, read_cases"):
            cs.read_cases(mirror, **asked)
    assert len(cs.read_cases(mirror, assignee="ann@example.com")) > 0
    with pytest.raises(cs.FilterError, match="no full-text search"):
        cs.read_cases(mirror, search="invoice")


def test_the_plan_shows_the_sql(mirror, local):
    mirror.sync(local.connect_cases())
    plan = cs.explain_cases(mirror, status="open", columns=["case_id"], limit=3)
    (request,) = plan.requests
    assert request.body == {
        "sql": 'SELECT "case_id" FROM cases WHERE "status" = ? ORDER BY "created_at" ASC NULLS '
        'LAST, "case_id" ASC NULLS LAST LIMIT 3',
        "parameters": ["open"],
    }
    assert "SELECT" in plan._repr_html_()
    assert plan.count().requests == 1
    told = mirror.sql(request.body["sql"], request.body["parameters"])
    assert (
        told["case_id"].tolist()
        == cs.read_cases(mirror, status="open", limit=3)["case_id"].tolist()
    )


def test_pages_walk_through_all_rows(mirror, local, monkeypatch):
    """Who asks for pages, as partitions do, gets the same rows."""
    mirror.sync(local.connect_cases())
    monkeypatch.setattr(cs.Mirror, "page_size", 100)
    route = cs.explain_cases(mirror, status__ne="closed").route
    (scan,) = route.scans
    found, cursor = [], None
    while True:
        page = mirror.page(scan, cursor, None)
        found += page.columns["case_id"]
        if page.cursor is None:
            break
        cursor = page.cursor
    assert found == cs.read_cases(mirror, status__ne="closed")["case_id"].tolist()
    assert {type(cell) for cell in page.columns["created_at"]} == {str}


@pytest.mark.parametrize("name", ["it's.duckdb", "größe [1]*.duckdb", 'a "b" c.db', "x;y.duckdb"])
def test_a_file_may_have_any_name(name, local, tmp_path):
    """A name that were taken for SQL or for a pattern would open or remove other files."""
    mirror = cs.Mirror(tmp_path / name)
    source = local.persona_cases()
    mirror.sync(source, progress=False)
    local.advance(300)
    mirror.sync(progress=False)  # of the source of this session
    assert cs.count_cases(mirror) == 250
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f".{name}.lock", name])


# --- SQL --------------------------------------------------------------------------------------


def test_sql_joins_values_and_labels(mirror, local):
    """Cases hold the values of options; people know the labels."""
    mirror.sync(local.connect_cases())
    found = mirror.sql(
        "SELECT o.label, count(*) AS cases, sum(contacts) AS contacts FROM cases "
        "JOIN options AS o ON o.field = 'contact_channel' AND o.value = contact_channel "
        "GROUP BY ALL ORDER BY 1"
    )
    frame = cs.read_cases(mirror)
    assert found["cases"].sum() == frame["contact_channel"].notna().sum()
    assert found["contacts"].sum() == frame["contacts"][frame["contact_channel"].notna()].sum()
    fields = mirror.sql("SELECT name, id, label FROM fields ORDER BY position")
    assert fields["name"].tolist() == list(frame)
    assert str(found["cases"].dtype) == "Int64"
    assert mirror.sql("SELECT created_at AS x, created_at AS x FROM cases LIMIT 1").shape == (1, 2)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM cases", "CREATE TABLE x AS SELECT 1", "SET threads = 1", "INSTALL httpfs",
        "COPY cases TO 'x.csv'", "ATTACH 'x.db'", "SELECT 1; SELECT 2", "", "SELEKT 1",
        "SELECT * FROM read_csv('pyproject.toml')", "SELECT nothing FROM cases",
        "SELECT * FROM mirror", "USE memory",
    ],
)  # fmt: skip
def test_sql_only_reads(mirror, local, statement, tmp_path):
    """A mirror that a query could change would not be what the service said."""
    mirror.sync(local.persona_cases())
    before = mirror.path.read_bytes()
    with pytest.raises(cs.FilterError):
        mirror.sql(statement)
    assert mirror.path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".cases.duckdb.lock", "cases.duckdb",
    ]  # fmt: skip


def test_history_tells_each_sync(mirror, local):
    source = local.connect_cases()
    mirror.sync(source, status__ne="closed")
    local.advance(400)
    case = cs.read_cases(mirror, status="open")["case_id"].iloc[0]
    local.update(case, status="closed")
    local.insert({"status": "open"})
    second = mirror.sync(source)
    told = mirror.history()
    assert told["kind"].tolist() == ["full", "increment"]
    assert told["added"].tolist() == [told["rows"][0], 1]
    assert told["removed"].tolist() == [0, 1]
    assert told["as_of"].iloc[1] == second.as_of == mirror.as_of
    assert (second.number, second.rows) == (2, len(cs.read_cases(mirror)))


def test_statuses_used_here_are_those_of_the_service():
    """The filters above would select nothing otherwise."""
    with cs.LocalCases(cases=50) as local:
        assert set(cs.read_cases(local.connect_cases())["status"]) <= set(STATUSES)
