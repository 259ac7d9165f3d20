"""`Mirror.sync`: after any changes a mirror reads like its service; and the rest of `Mirror`."""

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
NO_LOOKBACK = timedelta(0)  # the emulator's search index does not lag by default


@pytest.fixture
def emulator():
    with cs.LocalCases(cases=250, seed=6, now=NOW) as running:
        yield running


@pytest.fixture
def mirror(tmp_path):
    return cs.Mirror(tmp_path / "cases.duckdb")


def assert_same(mirror, source, **query):
    """Compare a mirror with its service: cells, dtypes, order of rows and columns."""
    with quietly():
        pd.testing.assert_frame_equal(cs.read_cases(mirror), cs.read_cases(source, **query))


# --- the law --------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
@settings(QUICK, max_examples=8)
@given(data=st.data())
def test_a_synced_mirror_equals_a_new_read(service, data, tmp_path_factory):
    """After any inserts, updates and deletes, in several syncs, with any filter and columns."""
    query = {
        **data.draw(st.sampled_from(FILTERS), label="filter"),
        "columns": data.draw(st.sampled_from([[*COLUMNS, "title"], None])),
    }
    with cs.LocalCases(cases=130, seed=6, now=NOW) as local, quietly():
        source, ids = getattr(local, f"{service}_cases")(), sorted(local.frame()["case_id"])
        mirror = cs.Mirror(tmp_path_factory.mktemp("mirror") / "cases.duckdb")
        mirror.sync(source, **query)
        assert_same(mirror, source, **query)
        for _ in range(data.draw(st.integers(1, 3), label="syncs")):
            for arguments in data.draw(changes(), label="changes"):
                local.advance(7)
                change(local, ids, *arguments)
            mirror.sync(source)
            assert_same(mirror, source, **query)


@pytest.mark.parametrize("service", SERVICES)
@settings(QUICK, max_examples=5)
@given(data=st.data())
def test_verify_finds_deleted_and_missed_cases(service, data, tmp_path_factory):
    """An increment sees neither: deleted cases are not updated, lagging ones appear too late."""
    with cs.LocalCases(cases=330, seed=6, now=NOW) as local, quietly():
        source = getattr(local, f"{service}_cases")(
            **({"page_size": 10} if service == "connect" else {})
        )
        ids = sorted(local.frame()["case_id"])
        mirror = cs.Mirror(tmp_path_factory.mktemp("mirror") / "cases.duckdb")
        mirror.sync(source)
        which = st.sets(st.sampled_from(ids), max_size=9)
        deleted = data.draw(which, label="deleted")
        for case in deleted:
            local.delete(case)
        late = data.draw(which, label="late")
        for case in late - deleted:  # updated, by the service's clock, long before the last sync
            local.update(case, title="late", updated_at=NOW - timedelta(days=300))
        local.advance(1000)
        sync = mirror.sync(source, verify=True)
        assert (sync.kind, sync.added, sync.removed) == ("verify", 0, len(deleted))
        # In a sync of their own: in one window, added and deleted cases could have equal counts.
        days = data.draw(st.lists(st.integers(1, 400), max_size=5), label="added, days ago")
        for day in days:
            old = NOW - timedelta(days=day)
            local.insert({"title": "missed", "created_at": old, "updated_at": old})
        sync = mirror.sync(source, verify=True)
        assert (sync.added, sync.removed) == (len(days), 0)
        assert {*cs.read_cases(mirror)["case_id"]} == {*local.frame()["case_id"]}


# --- what a sync costs ----------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_a_sync_reads_what_changed(service, mirror):
    """At two requests a second, a mirror is there to avoid reading all cases again."""
    with cs.LocalCases(cases=3000, seed=6, now=NOW) as local, quietly():
        source = getattr(local, f"{service}_cases")()
        passes = cs.explain_cases(source).passes
        mirror.sync(source, progress=False)
        ids = sorted(local.frame()["case_id"])
        local.advance(3600)
        for case in ids[:300]:  # within the lookback, so that the next sync reads them too
            local.update(case, title="before")
        mirror.sync(source, progress=False)
        local.advance(1)
        for case in ids[1000:2000]:
            local.update(case, title="changed")
        local.advance(600)  # what is newer than the lookback is read again at the end
        before = len(local.requests)
        sync = mirror.sync(
            source, progress=False, max_workers=1
        )  # more workers read more part pages
        searches = [request for request in local.requests[before:] if "search" in request.path]
        lookback = ceil(300 / 100)
        assert len(searches) <= ceil(1000 / 100) * passes + lookback * passes + 5
        assert (sync.changed, sync.added, sync.removed) == (1000, 0, 0)
        assert sync.requests == len(searches)
        assert_same(mirror, source)


def test_a_sync_without_changes_costs_one_request(mirror, emulator):
    source = emulator.persona_cases()
    mirror.sync(source, lookback=NO_LOOKBACK)
    emulator.advance(60)
    sync = mirror.sync(source, lookback=NO_LOOKBACK)
    assert (sync.requests, sync.changed, sync.rows, sync.kind) == (1, 0, 250, "increment")


def test_verifying_a_correct_mirror_costs_one_count(mirror, emulator):
    source = emulator.connect_cases()
    mirror.sync(source)
    emulator.advance(600)
    increment = mirror.sync(source, lookback=NO_LOOKBACK).requests
    assert mirror.sync(source, verify=True, lookback=NO_LOOKBACK).requests == increment + 1


def test_reading_a_mirror_sends_nothing(mirror, emulator):
    mirror.sync(emulator.connect_cases())
    before = len(emulator.requests)
    frame = cs.read_cases(mirror, status="open")
    cs.count_cases(mirror, title__contains="INVOICE")
    cs.explain_cases(mirror, status="open").count()
    assert len(emulator.requests) == before
    assert frame.cases.provenance["requests"] == 0


# --- versions, bounds, fields -----------------------------------------------------------------


def test_an_older_version_never_replaces_a_newer_one(mirror, emulator):
    """A lagging index may return a case as it was; the version in the mirror is newer."""
    source = emulator.persona_cases()
    case = emulator.frame()["case_id"].iloc[0]
    emulator.advance(60)
    emulator.update(case, title="new")
    mirror.sync(source)
    stale = NOW + timedelta(seconds=30)
    emulator.update(case, title="old", updated_at=stale)
    mirror.sync(source)
    assert cs.read_cases(mirror, case_id=case)["title"].item() == "new"


def test_a_case_that_passes_a_relative_bound_is_removed(mirror):
    """The last twenty days are different days in every sync, without any update."""
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
        sync = mirror.sync(source)
        assert sync.rows == cs.count_cases(source, created_at__gte=-timedelta(days=20))
        assert sync.rows in (before, before + 1)
        assert "case_new" in set(cs.read_cases(mirror)["case_id"])


def test_selected_columns_and_the_key_columns(mirror, emulator):
    """Versions are compared by columns that need not be selected."""
    source = emulator.connect_cases()
    mirror.sync(source, columns=["status", "title"])
    assert list(cs.read_cases(mirror)) == ["status", "title"]
    assert cs.count_cases(mirror, created_at__gte="2020") == 250
    with pytest.raises(cs.FilterError, match="unknown field 'priority'"):
        cs.read_cases(mirror, priority="high")


def test_fields_that_are_in_no_template_are_added_to_the_schema(mirror):
    with cs.LocalCases(cases=60, seed=6, now=NOW, wrapped=False) as local, quietly():
        source = local.persona_cases(templates=())
        mirror.sync(source)
        assert_same(mirror, source)


def test_a_new_field_gets_a_column_and_a_retired_one_keeps_its_values(mirror):
    """One service with two schemas, one after the other."""
    first = pd.DataFrame({"case_id": ["a", "b"], "status": "open", "mood": ["good", "bad"]})
    first["created_at"] = first["updated_at"] = pd.Timestamp("2026-03-01", tz="UTC")
    second = first.drop(columns="mood").assign(
        place=["here", "there"], updated_at=pd.Timestamp("2026-03-14T11:59", tz="UTC")
    )
    with cs.LocalCases(first, now=NOW) as local:
        mirror.sync(local.connect_cases())
    with cs.LocalCases(second, now=NOW) as local:
        with pytest.warns(UserWarning, match="connect cannot be queried .* a value in place"):
            mirror.sync(local.connect_cases(), lookback=3600)
        assert_same(mirror, local.connect_cases())
    frame = cs.read_cases(mirror, columns=["case_id", "place"], place="here")
    assert frame["case_id"].tolist() == ["a"]
    assert (
        mirror.sql("SELECT mood FROM cases").isna().all().item()
    )  # both were read again, without it


def test_a_new_field_is_filled_for_unchanged_cases(mirror):
    """A key with more rights than the one before returns old values that nobody updated."""
    rows = pd.DataFrame({"case_id": [f"case_{n}" for n in range(8)], "status": "open"})
    rows["created_at"] = rows["updated_at"] = pd.Timestamp("2026-03-01", tz="UTC")
    more = rows.assign(place=["here", None] * 4)
    with cs.LocalCases(rows, now=NOW) as local:
        mirror.sync(local.connect_cases(assume={"empty_filter": True}))
    with cs.LocalCases(more, now=NOW) as local:
        sync = mirror.sync(local.connect_cases(assume={"empty_filter": True}))
        assert_same(mirror, local.connect_cases())
    assert sync.changed == 4


@pytest.mark.parametrize(
    ("before", "after", "expected"),
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
def test_a_type_that_changes_is_widened(mirror, before, after, expected):
    """The values of unchanged cases have to be converted to the new type."""
    rows = pd.DataFrame({"case_id": ["case_a", "case_b"], "status": "open"})
    rows["created_at"] = rows["updated_at"] = pd.Timestamp("2026-03-01", tz="UTC")
    with cs.LocalCases(rows.assign(thing=before), now=NOW) as local:
        mirror.sync(local.persona_cases())
    rows.loc[0, "updated_at"] = pd.Timestamp("2026-03-14T11:59", tz="UTC")
    with cs.LocalCases(rows.assign(thing=after), now=NOW) as local:
        mirror.sync(local.persona_cases(), lookback=3600)
    assert cs.read_cases(mirror)["thing"].tolist() == expected


# --- the mirror as a source -------------------------------------------------------------------


def test_a_frame_read_from_a_mirror_is_refreshed_from_it(mirror, emulator):
    source = emulator.connect_cases()
    mirror.sync(source)
    query = {"status": "open", "sort": "-created_at", "columns": ["title", "case_id"]}
    frame = cs.read_cases(mirror, **query)
    emulator.advance(600)
    for case in frame["case_id"][:3]:
        emulator.update(case, status="closed")
    mirror.sync(source)
    other = cs.open_source(str(mirror.path))
    pd.testing.assert_frame_equal(frame.cases.refresh(), cs.read_cases(other, **query))
    assert len(frame.cases.refresh(other)) == len(frame) - 3


def test_provenance_names_the_file_and_the_source_and_no_secret(mirror, emulator):
    mirror.sync(emulator.persona_cases())
    frame = cs.read_cases(mirror, status="open")
    provenance = frame.cases.provenance
    assert provenance["source"] == {
        "service": "mirror", "path": str(mirror.path), "of": emulator.persona_cases().describe(),
    }  # fmt: skip
    assert provenance["as_of"] == mirror.as_of.isoformat()
    assert emulator.token not in str(frame.attrs) + repr(mirror)
    assert emulator.token.encode() not in mirror.path.read_bytes()


def test_a_mirror_can_be_pickled(mirror, emulator):
    mirror.sync(emulator.connect_cases())
    twin = pickle.loads(pickle.dumps(mirror))
    assert twin == mirror
    assert cs.count_cases(twin) == 250


def test_to_parquet_and_list_fields_take_a_mirror_like_any_source(mirror, emulator, tmp_path):
    source = emulator.connect_cases()
    mirror.sync(source)
    path = cs.to_parquet(mirror, tmp_path / "cases.parquet", status="open", chunksize=50)
    frame = pd.read_parquet(path)
    assert frame["case_id"].tolist() == cs.read_cases(source, status="open")["case_id"].tolist()
    pd.testing.assert_frame_equal(cs.list_fields(mirror), cs.list_fields(source))


def test_a_remote_only_condition_is_refused(mirror, emulator):
    """An evaluation without the values would differ from that of the service."""
    mirror.sync(emulator.persona_cases())
    for filters in ({"state": "open"}, {"assignee": "user_1"}):
        with pytest.raises(cs.FilterError, match="query the service, read_cases"):
            cs.read_cases(mirror, **filters)
    assert len(cs.read_cases(mirror, assignee="ann@example.com")) > 0
    with pytest.raises(cs.FilterError, match="no full-text search"):
        cs.read_cases(mirror, search="invoice")


def test_the_plan_shows_the_sql(mirror, emulator):
    mirror.sync(emulator.connect_cases())
    plan = cs.explain_cases(mirror, status="open", columns=["case_id"], limit=3)
    (request,) = plan.requests
    assert request.body == {
        "sql": 'SELECT "case_id" FROM cases WHERE "status" = ? ORDER BY "created_at" ASC NULLS '
        'LAST, "case_id" ASC NULLS LAST LIMIT 3',
        "parameters": ["open"],
    }
    assert "SELECT" in plan._repr_html_()
    assert plan.count().requests == 1
    frame = mirror.sql(request.body["sql"], request.body["parameters"])
    expected = cs.read_cases(mirror, status="open", limit=3)
    assert frame["case_id"].tolist() == expected["case_id"].tolist()


def test_pages_contain_all_rows(mirror, emulator, monkeypatch):
    """A reader that needs pages, such as a partition, gets the same rows."""
    mirror.sync(emulator.connect_cases())
    monkeypatch.setattr(cs.Mirror, "page_size", 100)
    (scan,) = cs.explain_cases(mirror, status__ne="closed").read_plan.scans
    ids, cursor = [], None
    while True:
        page = mirror.read_page(scan, cursor, None)
        ids += page.columns["case_id"]
        if page.cursor is None:
            break
        cursor = page.cursor
    assert ids == cs.read_cases(mirror, status__ne="closed")["case_id"].tolist()
    assert {type(cell) for cell in page.columns["created_at"]} == {str}


@pytest.mark.parametrize("name", ["it's.duckdb", "größe [1]*.duckdb", 'a "b" c.db', "x;y.duckdb"])
def test_a_file_may_have_any_name(name, emulator, tmp_path):
    """A name that is taken for SQL or for a pattern would open or remove other files."""
    mirror = cs.Mirror(tmp_path / name)
    source = emulator.persona_cases()
    mirror.sync(source, progress=False)
    emulator.advance(300)
    mirror.sync(progress=False)  # from the source of this session
    assert cs.count_cases(mirror) == 250
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f".{name}.lock", name])


# --- SQL --------------------------------------------------------------------------------------


def test_sql_joins_values_and_labels(mirror, emulator):
    """Cases have the values of options; people know the labels."""
    mirror.sync(emulator.connect_cases())
    totals = mirror.sql(
        "SELECT o.label, count(*) AS cases, sum(contacts) AS contacts FROM cases "
        "JOIN options AS o ON o.field = 'contact_channel' AND o.value = contact_channel "
        "GROUP BY ALL ORDER BY 1"
    )
    frame = cs.read_cases(mirror)
    assert totals["cases"].sum() == frame["contact_channel"].notna().sum()
    assert totals["contacts"].sum() == frame["contacts"][frame["contact_channel"].notna()].sum()
    fields = mirror.sql("SELECT name, id, label FROM fields ORDER BY position")
    assert fields["name"].tolist() == list(frame)
    assert str(totals["cases"].dtype) == "Int64"
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
def test_sql_only_reads(mirror, emulator, statement, tmp_path):
    """A mirror that a query could change would differ from its service."""
    mirror.sync(emulator.persona_cases())
    before = mirror.path.read_bytes()
    with pytest.raises(cs.FilterError):
        mirror.sql(statement)
    assert mirror.path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".cases.duckdb.lock", "cases.duckdb",
    ]  # fmt: skip


def test_history_has_a_row_for_each_sync(mirror, emulator):
    source = emulator.connect_cases()
    mirror.sync(source, status__ne="closed")
    emulator.advance(400)
    case = cs.read_cases(mirror, status="open")["case_id"].iloc[0]
    emulator.update(case, status="closed")
    emulator.insert({"status": "open"})
    second = mirror.sync(source)
    history = mirror.history()
    assert history["kind"].tolist() == ["full", "increment"]
    assert history["added"].tolist() == [history["rows"][0], 1]
    assert history["removed"].tolist() == [0, 1]
    assert history["as_of"].iloc[1] == second.as_of == mirror.as_of
    assert (second.number, second.rows) == (2, len(cs.read_cases(mirror)))


def test_the_statuses_of_these_tests_are_those_of_the_emulator():
    """Their filters would match nothing otherwise."""
    with cs.LocalCases(cases=50) as local:
        assert set(cs.read_cases(local.connect_cases())["status"]) <= set(STATUSES)
