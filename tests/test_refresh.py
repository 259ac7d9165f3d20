"""`df.cases.refresh`: a refreshed frame equals the frame of a new read."""

import io
import pickle
from datetime import UTC, datetime
from math import ceil
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.query.binding import BindingContext
from casesearch_pd.reading.incremental.refresh import cast_like
from casesearch_pd.reading.provenance import KEY
from casesearch_pd.sources.registry import require_same_source, resolve_source
from tests.emulator_clients import CLOSED
from tests.law_bench import QUICK, quietly

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
COLUMNS = ["case_id", "status", "created_at", "updated_at", "closed_at", "tags"]
SERVICES = ["connect", "persona"]
NO_LAG = pd.Timedelta(0)  # the emulator has no lag by default


@pytest.fixture
def local():
    with cs.LocalCases(cases=250, seed=6, now=NOW) as emulator:
        yield emulator


@pytest.fixture(params=SERVICES)
def source(local, request):
    return getattr(local, f"{request.param}_cases")()


def pass_time(local, seconds=3600):
    """Let time pass; responses contain the time in whole seconds."""
    local.advance(seconds)


def assert_refreshed(refreshed, fresh):
    """Check that a refreshed frame equals a new read: cells, dtypes, order, columns, index."""
    pd.testing.assert_frame_equal(refreshed, fresh)
    provenance, expected = refreshed.cases.provenance, fresh.cases.provenance
    for name in ("source", "filter", "search", "tz", "columns", "sort", "limit", "rows", "ids"):
        assert provenance[name] == expected[name], name
    assert provenance["complete"] is True


# --- the law --------------------------------------------------------------------------------------

STATUSES = ["open", "pending", "in_progress", "closed"]
FILTERS = [
    {},
    {"status": "open"},
    {"status__ne": "open"},
    {"status": ["open", "pending"], "created_at__gte": "2025-06"},
    {"title__contains": "a", "status__ne": "pending"},
    {"closed_at__isna": True},
    {"where": (cs.field("status") == "open") | (cs.field("closed_at") >= "2026-03")},
]
SORTS = [None, "-created_at", ["status", "-updated_at"], "-case_id"]


def changes():
    which = st.integers(0, 10_000)
    status = st.sampled_from(STATUSES)
    move = st.tuples(st.just("move"), which, status)
    touch = st.tuples(st.just("touch"), which, status)
    insert = st.tuples(st.just("insert"), which, status)
    return st.lists(move | touch | insert, max_size=12)


def change(local, ids, kind, which, status):
    """Change one of the cases, or add one."""
    case, at = ids[which % len(ids)], pd.Timestamp(local.clock()).floor("ms")
    if kind == "insert":
        created = at if which % 3 else at - pd.Timedelta(days=which % 400)
        ids.append(local.insert({"status": status, "title": "a new one", "created_at": created}))
    elif kind == "touch":
        local.update(case, title=f"touched {which}", tags=["team=red"])
    else:
        local.update(case, status=status, closed_at=at if status == "closed" else None)


@pytest.mark.parametrize("service", SERVICES)
@settings(QUICK, max_examples=25)
@given(data=st.data())
def test_a_refreshed_frame_equals_a_new_read(service, data):
    """After any changes, several times, with any filter, order and dtypes."""
    arguments = {
        **data.draw(st.sampled_from(FILTERS), label="filter"),
        "sort": data.draw(st.sampled_from(SORTS), label="sort"),
        "dtype_backend": data.draw(st.sampled_from([None, "numpy_nullable", "pyarrow"])),
        "tz": data.draw(st.sampled_from(["UTC", "Europe/Berlin"])),
        "columns": data.draw(st.sampled_from([[*COLUMNS, "title"], [*COLUMNS, "title"], None])),
    }
    with cs.LocalCases(cases=130, seed=6, now=NOW) as local, quietly():
        source, ids = getattr(local, f"{service}_cases")(), sorted(local.frame()["case_id"])
        frame = cs.read_cases(source, **arguments)
        for _ in range(data.draw(st.integers(1, 3), label="rounds")):
            for step in data.draw(changes(), label="changes"):
                pass_time(local, 7)
                change(local, ids, *step)
            frame = frame.cases.refresh(source)
            assert_refreshed(frame, cs.read_cases(source, **arguments))


@pytest.mark.parametrize("service", SERVICES)
@settings(QUICK, max_examples=15)
@given(data=st.data())
def test_changes_during_a_refresh_are_found_by_the_next(service, data):
    """A version that a refresh reads between two changes must not stay."""
    arguments = {
        **data.draw(st.sampled_from(FILTERS), label="filter"),
        "columns": [*COLUMNS, "title"],
    }
    with cs.LocalCases(cases=230, seed=6, now=NOW) as local, quietly():
        source = (
            getattr(local, f"{service}_cases")(page_size=30)
            if service == "connect"
            else local.persona_cases()
        )
        frame = cs.read_cases(source, **arguments)
        ids = sorted(local.frame()["case_id"])
        for case in ids[::2]:
            local.update(case, title="more than one page changed")
        between = [*data.draw(st.lists(changes(), max_size=8), label="between")]
        read_page = source.read_page

        def page(scan, cursor, context):
            for step in between.pop() if between else ():
                change(local, ids, *step)
            pass_time(local, 0.3)
            return read_page(scan, cursor, context)

        source.read_page = page
        frame = frame.cases.refresh(source)
        assert frame["case_id"].is_unique
        between.clear()
        pass_time(local, 5)
        assert_refreshed(frame.cases.refresh(source), cs.read_cases(source, **arguments))


# --- relative times -------------------------------------------------------------------------------


@pytest.fixture
def times(monkeypatch):
    """Return a clock from which relative times count."""
    clock = SimpleNamespace(now=pd.Timestamp(NOW))
    monkeypatch.setattr(
        "casesearch_pd.reading.options.binding_context",
        lambda schema, tz: BindingContext(schema, tz, clock.now),
    )
    return clock


DAY = pd.Timedelta("1D")
ROLLING = [
    {"created_at__gte": -30 * DAY},
    {"created_at__lt": -30 * DAY},
    {"created_at__between": (-60 * DAY, -30 * DAY), "status__ne": "pending"},
    {"where": (cs.field("created_at") < -30 * DAY) | (cs.field("status") == "open")},
    {"where": ~cs.field("created_at").between(-60 * DAY, -20 * DAY)},
    {"updated_at__gte": -30 * DAY, "status__ne": "open"},
    {"created_at__gte": -30 * DAY, "updated_at__gte": -60 * DAY, "created_at__lt": -5 * DAY},
]


@pytest.mark.parametrize("columns", [None, ["case_id", "status"]])
@pytest.mark.parametrize("arguments", ROLLING)
def test_relative_filters_move_with_time(local, source, times, arguments, columns):
    """Without any update, other cases are in the last thirty days."""
    arguments = {**arguments, "columns": columns, "sort": "case_id"}
    with quietly():
        frame = cs.read_cases(source, **arguments)
        pass_time(local, 10 * 86_400)
        times.now += 10 * DAY
        fresh = cs.read_cases(source, **arguments)
        assert set(fresh["case_id"]) != set(frame["case_id"])
        assert_refreshed(frame.cases.refresh(source), fresh)


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cases", ["all", "closed"])
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("number_changed", [0, 1, 250])
def test_requests_are_proportional_to_the_changes(service, cases, number_changed):
    """A refresh of ten thousand cases must not read all of them if one changed."""
    arguments = {} if cases == "all" else {"status": CLOSED[service]}
    with cs.LocalCases(cases=1200, seed=6, now=NOW) as local:
        source = getattr(local, f"{service}_cases")()
        frame = cs.read_cases(source, columns=COLUMNS, **arguments)
        full_read = frame.cases.provenance["requests"]
        pass_time(local)
        for case in frame["case_id"][:number_changed]:
            local.update(case, title="another")
        pass_time(local, 5)  # changes during a read would need another request
        before = len(local.requests)
        new = frame.cases.refresh(source)
        requests = len(local.requests) - before
        assert requests == new.cases.provenance["requests"]
        scans = 2 if arguments else 1  # the ids of all that changed, and the rows that match
        assert requests <= scans * ceil(number_changed / 100) + 2 < full_read
        assert_refreshed(new, cs.read_cases(source, columns=COLUMNS, **arguments))


def test_the_lookback_covers_the_lag_of_the_search(local):
    """A write that the search returns late must not be missed."""
    source = local.persona_cases()
    case = cs.read_cases(source)["case_id"].iloc[0]
    local.update(case, title="written before, shown after")
    pass_time(local, 60)
    frame = cs.read_cases(source, columns=["case_id", "title"])
    frame.loc[frame["case_id"] == case, "title"] = "what the search still showed"
    late = frame.cases.refresh(source, lookback="30s")
    assert "what the search still showed" in set(late["title"])
    refreshed = frame.cases.refresh(source)
    assert "written before, shown after" in set(refreshed["title"])
    with pytest.raises(cs.FilterError, match=r"lookback must be a duration.*got 'soon'"):
        frame.cases.refresh(source, lookback="soon")


# --- the result -----------------------------------------------------------------------------------


def test_the_given_frame_is_not_modified(local, source):
    frame = cs.read_cases(source, columns=COLUMNS)
    before, provenance = frame.copy(), frame.attrs[KEY]
    pass_time(local)
    local.update(frame["case_id"][3], status="closed")
    assert not frame.cases.refresh(source).equals(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs[KEY] == provenance


def test_dropped_columns_stay_dropped(local, source):
    frame = cs.read_cases(source, columns=COLUMNS).drop(columns=["status", "updated_at"])
    pass_time(local)
    local.update(frame["case_id"][3], tags=["team=blue"])
    new = frame.cases.refresh(source)
    fresh = cs.read_cases(source, columns=[*frame.columns])
    assert_refreshed(new, fresh)
    assert new["tags"][3] == ["team=blue"]


def test_without_the_sort_columns_rows_keep_their_positions(local, source):
    """The position of a new case is not known then, and a note says so."""
    arguments = {"columns": ["case_id", "status"], "status": ["open", "pending"]}
    frame = cs.read_cases(source, **arguments)
    closed = cs.read_cases(source, status=CLOSED[source.name])["case_id"].iloc[0]
    pass_time(local)
    local.update(frame["case_id"][5], status="pending")
    local.update(frame["case_id"][7], status="closed")
    local.update(closed, status="open")
    new = frame.cases.refresh(source)
    assert new["case_id"].tolist() == [*frame["case_id"].drop(7), closed]
    assert new["status"][5] == "pending"
    assert "without the columns created_at, case_id" in new.cases.provenance["notes"][0]
    fresh = cs.read_cases(source, **arguments)
    assert set(map(tuple, new.to_numpy())) == set(map(tuple, fresh.to_numpy()))


def test_the_provenance_is_updated(local, source):
    frame = cs.read_cases(source, columns=COLUMNS)
    pass_time(local)
    local.insert({"status": "open"})
    provenance = frame.cases.refresh(source).cases.provenance
    assert pd.Timestamp(provenance["as_of"]) >= pd.Timestamp(NOW) + pd.Timedelta("1h")
    assert provenance["rows"] == len(frame) + 1
    assert provenance["total"] is None
    assert provenance["notes"] == []


def test_categories_are_extended(local, source):
    frame = cs.read_cases(source, columns=COLUMNS, status=["open", "pending"])
    typed = frame.astype({"status": "category"})
    case = cs.read_cases(source, status="open")["case_id"].iloc[0]
    assert set(typed["status"].cat.categories) == {"open", "pending"}
    every = cs.read_cases(source, columns=COLUMNS)
    only = every.astype({"status": pd.CategoricalDtype(sorted(set(every["status"])))})
    pass_time(local)
    local.update(case, status="reborn")
    new = only.cases.refresh(source)
    assert isinstance(new["status"].dtype, pd.CategoricalDtype)
    assert new.set_index("case_id")["status"][case] == "reborn"


def test_deletions_are_not_detected(local, source):
    """As documented: no query returns a deleted case."""
    frame = cs.read_cases(source, columns=COLUMNS)
    pass_time(local)
    local.delete(frame["case_id"][0])
    assert frame.cases.refresh(source)["case_id"].tolist() == frame["case_id"].tolist()


# --- frames from files, and their sources ---------------------------------------------------------


@pytest.fixture
def credentials(local, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "LOCAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("PERSONA_API_KEY", local.token)


def from_parquet(frame, tmp_path, **options):
    frame.to_parquet(tmp_path / "cases.parquet")
    return pd.read_parquet(tmp_path / "cases.parquet", **options)


def plain_cells(frame):
    """Turn the arrays of a file into lists."""
    lists = {
        name: [[*map(str, cell)] for cell in frame[name]] for name in ("tags",) if name in frame
    }
    return frame.astype(object).where(frame.notna(), None).assign(**lists)


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("form", ["pickle", "parquet", "stream"])
def test_a_frame_from_a_file_is_refreshed_without_a_source(local, source, tmp_path, form, backend):
    """The source is recreated from the provenance, with credentials from the environment."""
    arguments = {"columns": COLUMNS, "status": ["open", "pending"]}
    frame = cs.read_cases(source, dtype_backend=backend, **arguments)
    if form == "stream":
        path = cs.to_parquet(source, tmp_path / "s.parquet", dtype_backend=backend, **arguments)
        loaded = pd.read_parquet(path)
    elif form == "parquet":
        loaded = from_parquet(frame, tmp_path)
    else:
        loaded = pickle.loads(pickle.dumps(frame))
    pass_time(local)
    local.update(frame["case_id"][0], status="closed")
    local.update(frame["case_id"][1], status="pending", tags=["team=blue"])
    local.insert({"status": "open"})
    new = loaded.cases.refresh()
    fresh = cs.read_cases(source, dtype_backend=backend, **arguments)
    if form == "pickle":
        assert_refreshed(new, fresh)
    assert new.dtypes.tolist() == loaded.dtypes.tolist()
    pd.testing.assert_frame_equal(plain_cells(new), plain_cells(fresh))


@pytest.mark.usefixtures("credentials")
def test_a_frame_of_arrow_dtypes_keeps_them(local, source, tmp_path):
    frame = cs.read_cases(source, columns=COLUMNS)
    loaded = from_parquet(frame, tmp_path, dtype_backend="pyarrow")
    pass_time(local)
    local.update(frame["case_id"][1], tags=["team=blue"])
    new = loaded.cases.refresh()
    assert new.dtypes.tolist() == loaded.dtypes.tolist()
    fresh = cs.read_cases(source, columns=COLUMNS)
    pd.testing.assert_frame_equal(plain_cells(new), plain_cells(fresh))


def with_source(frame, **description):
    """Return a frame with the provenance of another source."""
    provenance = {**frame.cases.provenance}
    provenance["source"] = {**provenance["source"], **description}
    other = frame.copy()
    other.attrs[KEY] = pd.io.json.ujson_dumps(provenance)
    return other


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("service", "address"),
    [
        ("connect", {"endpoint_url": "https://cases.evil.example"}),
        ("connect", {"endpoint_url": "https://amazonaws.com.evil.example"}),
        ("connect", {"endpoint_url": "http://cases.us-east-1.amazonaws.com"}),
        ("persona", {"base_url": "https://evil.example/api/v1"}),
        ("persona", {"base_url": "https://evilwithpersona.com/api/v1"}),
        ("persona", {"base_url": "https://api.withpersona.com@evil.example/api/v1"}),
    ],
)
def test_credentials_are_not_sent_to_an_address_from_a_file(local, service, address):
    """A frame from an attacker could otherwise name a host that receives the token."""
    frame = cs.read_cases(getattr(local, f"{service}_cases")(), columns=COLUMNS, limit=5)
    with pytest.raises(cs.FilterError, match=r"not a known address of the service.*source=…"):
        with_source(frame, **address).cases.refresh()


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("service", "address"),
    [
        (
            "connect",
            {"endpoint_url": "https://cases.eu-west-2.amazonaws.com", "region": "eu-west-2"},
        ),
        ("persona", {"base_url": "https://api.withpersona.com/api/v1"}),
    ],
)
def test_addresses_of_the_services_are_known(service, address):
    description = {
        "connect": {"service": "connect", "domain_id": "d", "region": "", "endpoint_url": ""},
        "persona": {"service": "persona", "base_url": "", "version": "2025-12-08", "fresh": False},
    }[service] | address
    source = resolve_source(description)
    assert source.describe() == description
    require_same_source(source, description)


def test_an_unknown_source_must_be_passed(local):
    frame = with_source(cs.read_cases(local.connect_cases(), limit=3), service="mirror")
    with pytest.raises(cs.FilterError, match=r"cannot recreate a source.*pass it: source="):
        frame.cases.refresh()


@pytest.mark.parametrize("wrong", ["service", "domain", "region", "address"])
def test_another_source_is_refused(local, wrong):
    """Cases of two domains in one frame could not be told apart."""
    frame = cs.read_cases(local.connect_cases(), columns=COLUMNS, limit=5)
    persona = cs.read_cases(local.persona_cases(), columns=COLUMNS, limit=5)
    frame, source = {
        "service": (frame, local.persona_cases()),
        "domain": (with_source(frame, domain_id="another"), local.connect_cases()),
        "region": (with_source(frame, region="eu-west-2"), local.connect_cases()),
        "address": (
            with_source(persona, base_url="https://api.withpersona.com"),
            local.persona_cases(),
        ),
    }[wrong]
    with pytest.raises(cs.FilterError, match="is not the source of this DataFrame"):
        frame.cases.refresh(source)


def test_an_emulator_may_be_at_another_port():
    """It has a new one each time it is started; the cases are the same."""
    for service in SERVICES:
        with cs.LocalCases(cases=30, seed=6, now=NOW) as one:
            frame = cs.read_cases(getattr(one, f"{service}_cases")(), columns=COLUMNS)
        with cs.LocalCases(cases=30, seed=6, now=NOW) as other:
            source = getattr(other, f"{service}_cases")()
            assert_refreshed(frame.cases.refresh(source), cs.read_cases(source, columns=COLUMNS))


# --- reading all again ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"sort": "-updated_at", "limit": 20}, "limit=20"),
        ({"search": "refund"}, "search="),
        ({"status": []}, "sent no request"),
    ],
)
def test_a_result_that_changes_do_not_determine_is_read_again(local, arguments, reason):
    source = local.connect_cases()
    frame = cs.read_cases(source, columns=COLUMNS, **arguments)
    pass_time(local)
    case = cs.read_cases(source, columns=COLUMNS, sort="-updated_at")["case_id"].iloc[30]
    local.update(case, title="refund now")
    new = frame.cases.refresh(source)
    assert_refreshed(new, cs.read_cases(source, columns=COLUMNS, **arguments))
    assert (case in set(new["case_id"])) == (arguments != {"status": []})
    assert new.cases.provenance["notes"][0].startswith("all was read again: ")
    assert reason in new.cases.provenance["notes"][0]


def test_the_list_endpoint_is_read_again(local):
    source = local.persona_cases(fresh=True)
    with quietly():
        frame = cs.read_cases(source, columns=COLUMNS, status="open")
        local.update(frame["case_id"][0], status="closed")
        new = frame.cases.refresh(source)
        assert_refreshed(new, cs.read_cases(source, columns=COLUMNS, status="open"))
    assert "cannot filter by updated_at" in new.cases.provenance["notes"][0]


# --- errors ---------------------------------------------------------------------------------------


@pytest.fixture
def frame(local):
    return cs.read_cases(local.connect_cases(), columns=COLUMNS)


@pytest.mark.parametrize(
    "alter",
    [
        lambda frame: frame[frame["status"] == "open"],
        lambda frame: frame.head(0),
        lambda frame: pd.concat([frame[1:], frame[:1].assign(case_id="another")]),
    ],
)
def test_a_frame_with_other_rows_is_refused(local, frame, alter):
    """Rows that the user removed would reappear if they changed."""
    with pytest.raises(cs.FilterError, match=r"refresh first, filter after: .*where\(…\)"):
        alter(frame).cases.refresh(local.connect_cases())


@pytest.mark.parametrize("copies", [slice(None), slice(0, 1)])
def test_a_repeated_case_is_named(local, frame, copies):
    """Pandas keeps the attributes of equal parts, so the whole result may be there twice."""
    with pytest.raises(cs.FilterError, match=r"occurs more than once; .*drop_duplicates"):
        pd.concat([frame, frame[copies]]).cases.refresh(local.connect_cases())


def test_the_parts_of_a_composed_frame_are_refreshed_one_by_one(local):
    source = local.connect_cases()
    parts = [cs.read_cases(source, status=status) for status in ("open", "closed")]
    with pytest.raises(cs.FilterError, match=r"put together of 2 reads; refresh each of them"):
        pd.concat(parts).cases.refresh(source)


def test_the_order_of_the_rows_does_not_matter(local, frame):
    shuffled = frame.sample(frac=1, random_state=1)
    assert_refreshed(
        shuffled.cases.refresh(local.connect_cases()),
        cs.read_cases(local.connect_cases(), columns=COLUMNS),
    )


def test_an_added_column_is_named(local, frame):
    with pytest.raises(
        cs.FilterError,
        match=r"the field of the column 'mine' is not known.*df.drop\(columns='mine'\)",
    ):
        frame.assign(mine=1).cases.refresh(local.connect_cases())


def test_a_deleted_field_is_named(local, frame):
    text = frame.attrs[KEY].replace("last_closed_datetime", "a_field_that_was")
    frame.attrs[KEY] = text
    with pytest.raises(cs.FilterError, match="no longer has a field for the column 'closed_at'"):
        frame.cases.refresh(local.connect_cases())


def test_a_frame_without_provenance_is_refused(frame):
    loaded = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    with pytest.raises(cs.FilterError, match=r"has no casesearch provenance.*read it again"):
        loaded.cases.refresh()


def test_one_chunk_is_refused(local):
    source = local.connect_cases()
    with cs.iter_cases(source, columns=COLUMNS, chunksize=100) as chunks:
        chunk = next(chunks)
    with pytest.raises(cs.FilterError, match="one chunk of a read cannot be refreshed"):
        chunk.cases.refresh(source)


def test_an_incomplete_frame_is_refused():
    faults = [cs.Fault("error", status=400, after=1)]
    with cs.LocalCases(cases=250, now=NOW, faults=faults) as local:
        source = local.persona_cases()
        with pytest.warns(UserWarning, match="incomplete result"):
            frame = cs.read_cases(source, columns=COLUMNS, on_error="partial")
        with pytest.raises(
            cs.FilterError, match=r"incomplete result cannot be refreshed; read again: read_cases"
        ):
            frame.cases.refresh(source)


# --- dtypes ---------------------------------------------------------------------------------------


def test_new_cells_have_the_dtypes_of_the_old_ones():
    """Parquet stores nested values as JSON text, and a new column may have no values."""
    old = pd.DataFrame(
        {
            "nested": pd.Series(['{"a": 1}'], dtype="str"),
            "number": pd.array([3], dtype="Int64"),
            "small": pd.Series(["a"], dtype="string"),
        }
    )
    new = pd.DataFrame(
        {
            "small": pd.Series(["b", None], dtype="str"),
            "other": [1, 2],
            "nested": pd.Series([{"b": ["ü"]}, None], dtype=object),
            "number": pd.Series([None, None], dtype="str"),
        }
    )
    result = cast_like(new, old)
    assert result.dtypes.to_dict() == old.dtypes.to_dict()
    assert result["nested"].tolist()[0] == '{"b": ["ü"]}'
    assert result.isna().to_numpy().tolist() == [[False, True, False], [True, True, True]]


def test_a_value_that_does_not_fit_is_named():
    old = pd.DataFrame({"number": pd.array([3], dtype="Int64")})
    new = pd.DataFrame({"number": pd.Series(["three"], dtype="str")})
    with pytest.raises(cs.FilterError, match="'number' now holds values that are not Int64"):
        cast_like(new, old)


def test_an_undiscovered_custom_field_is_still_read(local):
    """Persona does not list its fields; the frame has the id of the field."""
    frame = cs.read_cases(local.persona_cases(), columns=["case_id", "created_at", "fields.shy"])
    pass_time(local)
    local.update(frame["case_id"][0], title="another")
    new = frame.cases.refresh(local.persona_cases())
    assert_refreshed(
        new, cs.read_cases(local.persona_cases(), columns=["case_id", "created_at", "fields.shy"])
    )


# --- dtypes of your own -----------------------------------------------------------------------


OWN_CASES = pd.DataFrame(
    {
        "case_id": [f"case_{number}" for number in range(4)],
        "status": ["open", "closed"] * 2,
        "queue": ["a", "b"] * 2,
        "created_at": pd.date_range("2026-03-01", periods=4, freq="h", tz="UTC"),
        "updated_at": pd.date_range("2026-03-01", periods=4, freq="h", tz="UTC"),
        "score": [1.0, 2.0, 3.0, 4.0],
        "vip": pd.array([True, False, True, False], dtype="boolean"),
    }
)
HEAD = {"limit": 3, "sort": "created_at"}


def changed_frame(source, service, arguments, dtypes, changes):
    """Read, convert, and change a case; return the converted frame."""
    frame = cs.read_cases(source, progress=False, **arguments).astype(dtypes)
    service.advance(3600)
    service.update("case_1", **changes)
    service.advance(3600)
    return frame


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("arguments", [{}, HEAD], ids=["changes", "all"])
@pytest.mark.parametrize("name", ["connect", "persona"])
@pytest.mark.parametrize(
    ("dtypes", "changes"),
    [
        ({"queue": "category"}, {"queue": "c"}),
        ({"queue": "category", "status": "category"}, {"queue": "c", "status": "escalated"}),
        ({"score": "category"}, {"score": 9.0}),
        ({"score": "int64"}, {"score": 7.0}),
        ({"score": "float32"}, {"score": 0.5}),
        ({"score": "str"}, {"score": 9.0}),
        ({"vip": "bool"}, {"vip": True}),
        ({"vip": object}, {"vip": True}),
    ],
)
def test_new_values_take_on_the_dtypes_of_your_own(name, arguments, dtypes, changes):
    with cs.LocalCases(OWN_CASES) as service:
        source = getattr(service, f"{name}_cases")()
        frame = changed_frame(source, service, arguments, dtypes, changes)
        refreshed = frame.cases.refresh(source)
        expected = cs.read_cases(source, progress=False, **arguments).astype(dtypes)
    # New categories come last, and in a new frame in their order.
    plain = dict.fromkeys(dtypes, object)
    pd.testing.assert_frame_equal(refreshed.astype(plain), expected.astype(plain))
    for column, dtype in dtypes.items():
        assert refreshed[column].dtype.name == expected[column].dtype.name, dtype


ORDERED = pd.CategoricalDtype(["a", "b"], ordered=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("arguments", [{}, HEAD], ids=["changes", "all"])
@pytest.mark.parametrize("name", ["connect", "persona"])
@pytest.mark.parametrize(
    ("dtypes", "changes"),
    [
        ({"vip": "bool"}, {"vip": None}),
        ({"score": "bool"}, {"score": 7.0}),
        ({"score": "int64"}, {"score": 2.7}),
        ({"score": "Int64"}, {"score": 2.7}),
        ({"score": "int8"}, {"score": 1000.0}),
        ({"score": "int64"}, {"score": None}),
        ({"score": "float32"}, {"score": 2.0**25 + 1}),
        ({"queue": ORDERED}, {"queue": "c"}),
    ],
)
def test_a_value_that_a_dtype_would_change_is_refused(name, arguments, dtypes, changes):
    with cs.LocalCases(OWN_CASES) as service:
        source = getattr(service, f"{name}_cases")()
        frame = changed_frame(source, service, arguments, dtypes, changes)
        with pytest.raises(cs.FilterError, match=r"now holds values .*refresh before you convert"):
            frame.cases.refresh(source)


@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu"])
@pytest.mark.parametrize("arguments", [{}, HEAD], ids=["changes", "all"])
def test_naive_times_stay_in_the_zone_of_the_read(tz, arguments):
    with cs.LocalCases(OWN_CASES) as service:
        source = service.persona_cases()
        frame = cs.read_cases(source, tz=tz, progress=False, **arguments)
        frame["created_at"] = frame["created_at"].dt.tz_localize(None)
        service.advance(3600)
        service.update("case_1", queue="c")
        service.advance(3600)
        refreshed = frame.cases.refresh(source)
    assert refreshed["queue"].tolist()[:3] == ["a", "c", "a"]
    pd.testing.assert_series_equal(refreshed["created_at"], frame["created_at"])


@pytest.mark.parametrize("name", ["connect", "persona"])
def test_a_change_is_seen_in_cases_without_an_update_time(name):
    with cs.LocalCases(OWN_CASES.drop(columns="updated_at")) as service:
        source = getattr(service, f"{name}_cases")()
        frame = changed_frame(source, service, {}, {}, {"status": "escalated"})
        status = frame.cases.refresh(source).set_index("case_id")["status"]
    assert status["case_1"] == "escalated"
