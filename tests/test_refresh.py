"""`df.cases.refresh`: a frame brought up to date is the frame that a new read would make."""

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
from tests.law_bench import QUICK, quietly

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
COLUMNS = ["case_id", "status", "created_at", "updated_at", "closed_at", "tags"]
SERVICES = ["connect", "persona"]
NEVER = pd.Timedelta(0)  # of lag: the local service has none unless it is told to


@pytest.fixture
def local():
    with cs.LocalCases(cases=250, seed=6, now=NOW) as running:
        yield running


@pytest.fixture(params=SERVICES)
def source(local, request):
    return getattr(local, f"{request.param}_cases")()


def pass_time(local, seconds=3600):
    """Let time pass; answers tell it in whole seconds."""
    local.advance(seconds)


def same(refreshed, fresh):
    """Hold a refreshed frame to a fresh read: cells, dtypes, order, columns, index."""
    pd.testing.assert_frame_equal(refreshed, fresh)
    told, wanted = refreshed.cases.provenance, fresh.cases.provenance
    for name in ("source", "filter", "search", "tz", "columns", "sort", "limit", "rows", "ids"):
        assert told[name] == wanted[name], name
    assert told["complete"] is True


# --- the law --------------------------------------------------------------------------------

STATUSES = ["open", "pending", "in_progress", "closed"]
FILTERS = [
    {},
    {"status": "open"},
    {"status__ne": "closed"},
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
    """Change one of the cases, or add one to them."""
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
def test_a_refreshed_frame_is_a_fresh_read(service, data):
    """Whatever came, went, moved or stayed; again and again, with any filter, order and dtypes."""
    asked = {
        **data.draw(st.sampled_from(FILTERS), label="filter"),
        "sort": data.draw(st.sampled_from(SORTS), label="sort"),
        "dtype_backend": data.draw(st.sampled_from([None, "numpy_nullable", "pyarrow"])),
        "tz": data.draw(st.sampled_from(["UTC", "Europe/Berlin"])),
        "columns": data.draw(st.sampled_from([[*COLUMNS, "title"], [*COLUMNS, "title"], None])),
    }
    with cs.LocalCases(cases=130, seed=6, now=NOW) as local, quietly():
        source, ids = getattr(local, f"{service}_cases")(), sorted(local.frame()["case_id"])
        frame = cs.read_cases(source, **asked)
        for _ in range(data.draw(st.integers(1, 3), label="rounds")):
            for drawn in data.draw(changes(), label="changes"):
                pass_time(local, 7)
                change(local, ids, *drawn)
            frame = frame.cases.refresh(source)
            same(frame, cs.read_cases(source, **asked))


@pytest.mark.parametrize("service", SERVICES)
@settings(QUICK, max_examples=15)
@given(data=st.data())
def test_what_changes_during_a_refresh_is_found_by_the_next(service, data):
    """Between two of its requests a case may come and go; no version of it may stay for good."""
    asked = {**data.draw(st.sampled_from(FILTERS), label="filter"), "columns": [*COLUMNS, "title"]}
    with cs.LocalCases(cases=230, seed=6, now=NOW) as local, quietly():
        source = (
            getattr(local, f"{service}_cases")(page_size=30)
            if service == "connect"
            else local.persona_cases()
        )
        frame = cs.read_cases(source, **asked)
        ids = sorted(local.frame()["case_id"])
        for case in ids[::2]:
            local.update(case, title="more than one page changed")
        between = [*data.draw(st.lists(changes(), max_size=8), label="between")]
        asking = source.read_page

        def page(scan, cursor, run):
            for drawn in between.pop() if between else ():
                change(local, ids, *drawn)
            pass_time(local, 0.3)
            return asking(scan, cursor, run)

        source.read_page = page
        frame = frame.cases.refresh(source)
        assert frame["case_id"].is_unique
        between.clear()
        pass_time(local, 5)
        same(frame.cases.refresh(source), cs.read_cases(source, **asked))


# --- relative times -------------------------------------------------------------------------


@pytest.fixture
def times(monkeypatch):
    """Set the moment that relative times count from, which is this machine's."""
    clock = SimpleNamespace(moment=pd.Timestamp(NOW))
    monkeypatch.setattr(
        "casesearch_pd.reading.options.binding_context",
        lambda schema, tz: BindingContext(schema, tz, clock.moment),
    )
    return clock


DAY = pd.Timedelta("1D")
ROLLING = [
    {"created_at__gte": -30 * DAY},
    {"created_at__lt": -30 * DAY},
    {"created_at__between": (-60 * DAY, -30 * DAY), "status__ne": "closed"},
    {"where": (cs.field("created_at") < -30 * DAY) | (cs.field("status") == "open")},
    {"where": ~cs.field("created_at").between(-60 * DAY, -20 * DAY)},
    {"updated_at__gte": -30 * DAY, "status__ne": "open"},
    {"created_at__gte": -30 * DAY, "updated_at__gte": -60 * DAY, "created_at__lt": -5 * DAY},
]


@pytest.mark.parametrize("columns", [None, ["case_id", "status"]])
@pytest.mark.parametrize("asked", ROLLING)
def test_relative_filters_roll(local, source, times, asked, columns):
    """No case was updated, and yet other cases are in the last thirty days."""
    asked = {**asked, "columns": columns, "sort": "case_id"}
    with quietly():
        frame = cs.read_cases(source, **asked)
        pass_time(local, 10 * 86_400)
        times.moment += 10 * DAY
        fresh = cs.read_cases(source, **asked)
        assert set(fresh["case_id"]) != set(frame["case_id"])
        same(frame.cases.refresh(source), fresh)


# --- what it costs ----------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{}, {"status": ["in_progress", "closed"]}])
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("changed", [0, 1, 250])
def test_requests_are_in_proportion_to_the_change(service, asked, changed):
    """A refresh of ten thousand cases for one that changed must not read ten thousand."""
    with cs.LocalCases(cases=1200, seed=6, now=NOW) as local:
        source = getattr(local, f"{service}_cases")()
        frame = cs.read_cases(source, columns=COLUMNS, **asked)
        whole = frame.cases.provenance["requests"]
        pass_time(local)
        for case in frame["case_id"][:changed]:
            local.update(case, title="another")
        pass_time(local, 5)  # what changes during a read costs that read a look of its own
        before = len(local.requests)
        new = frame.cases.refresh(source)
        sent = len(local.requests) - before
        assert sent == new.cases.provenance["requests"]
        scans = 2 if asked else 1  # the ids of all that changed, and the rows that match
        assert sent <= scans * ceil(changed / 100) + 2 < whole
        same(new, cs.read_cases(source, columns=COLUMNS, **asked))


def test_the_overlap_is_what_the_search_may_lag_behind(local):
    """A write that the search shows later than it was made must not be missed."""
    source = local.persona_cases()
    case = cs.read_cases(source)["case_id"].iloc[0]
    local.update(case, title="written before, shown after")
    pass_time(local, 60)
    frame = cs.read_cases(source, columns=["case_id", "title"])
    frame.loc[frame["case_id"] == case, "title"] = "what the search still showed"
    late = frame.cases.refresh(source, lookback="30s")
    assert "what the search still showed" in set(late["title"])
    told = frame.cases.refresh(source)
    assert "written before, shown after" in set(told["title"])
    with pytest.raises(cs.FilterError, match="lookback='soon' is no length of time"):
        frame.cases.refresh(source, lookback="soon")


# --- what is kept -----------------------------------------------------------------------------


def test_the_frame_given_is_left_alone(local, source):
    frame = cs.read_cases(source, columns=COLUMNS)
    before, told = frame.copy(), frame.attrs[KEY]
    pass_time(local)
    local.update(frame["case_id"][3], status="closed")
    assert not frame.cases.refresh(source).equals(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs[KEY] == told


def test_columns_that_were_left_out_stay_out(local, source):
    frame = cs.read_cases(source, columns=COLUMNS).drop(columns=["status", "updated_at"])
    pass_time(local)
    local.update(frame["case_id"][3], tags=["team=blue"])
    new = frame.cases.refresh(source)
    fresh = cs.read_cases(source, columns=[*frame.columns])
    same(new, fresh)
    assert new["tags"][3] == ["team=blue"]


def test_without_the_order_s_columns_rows_keep_their_places(local, source):
    """Nothing in the frame tells where a case that came in belongs; the note says so."""
    asked = {"columns": ["case_id", "status"], "status": ["open", "pending"]}
    frame = cs.read_cases(source, **asked)
    closed = cs.read_cases(source, status="closed")["case_id"].iloc[0]
    pass_time(local)
    local.update(frame["case_id"][5], status="pending")
    local.update(frame["case_id"][7], status="closed")
    local.update(closed, status="open")
    new = frame.cases.refresh(source)
    assert new["case_id"].tolist() == [*frame["case_id"].drop(7), closed]
    assert new["status"][5] == "pending"
    assert "without the columns created_at, case_id" in new.cases.provenance["notes"][0]
    fresh = cs.read_cases(source, **asked)
    assert set(map(tuple, new.to_numpy())) == set(map(tuple, fresh.to_numpy()))


def test_its_own_provenance_is_new(local, source):
    frame = cs.read_cases(source, columns=COLUMNS)
    pass_time(local)
    local.insert({"status": "open"})
    told = frame.cases.refresh(source).cases.provenance
    assert pd.Timestamp(told["as_of"]) >= pd.Timestamp(NOW) + pd.Timedelta("1h")
    assert told["rows"] == len(frame) + 1
    assert told["total"] is None, "nobody counted"
    assert told["notes"] == []


def test_categories_take_new_values(local, source):
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


def test_deletions_are_not_seen(local, source):
    """As the docs say: what is gone is among nothing that can be asked for."""
    frame = cs.read_cases(source, columns=COLUMNS)
    pass_time(local)
    local.delete(frame["case_id"][0])
    assert frame.cases.refresh(source)["case_id"].tolist() == frame["case_id"].tolist()


# --- frames from files, and their sources ------------------------------------------------------


@pytest.fixture
def credentials(local, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "LOCAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("PERSONA_API_KEY", local.token)


def from_parquet(frame, tmp_path, **options):
    frame.to_parquet(tmp_path / "cases.parquet")
    return pd.read_parquet(tmp_path / "cases.parquet", **options)


def plain_cells(frame):
    """Make lists of what a file made of them."""
    lists = {
        name: [[*map(str, cell)] for cell in frame[name]] for name in ("tags",) if name in frame
    }
    return frame.astype(object).where(frame.notna(), None).assign(**lists)


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("way", ["pickle", "parquet", "stream"])
def test_a_frame_from_a_file_is_refreshed_without_a_source(local, source, tmp_path, way, backend):
    """The source is made anew from the provenance, with credentials from the environment."""
    asked = {"columns": COLUMNS, "status": ["open", "pending"]}
    frame = cs.read_cases(source, dtype_backend=backend, **asked)
    if way == "stream":
        path = cs.to_parquet(source, tmp_path / "s.parquet", dtype_backend=backend, **asked)
        told = pd.read_parquet(path)
    elif way == "parquet":
        told = from_parquet(frame, tmp_path)
    else:
        told = pickle.loads(pickle.dumps(frame))
    pass_time(local)
    local.update(frame["case_id"][0], status="closed")
    local.update(frame["case_id"][1], status="pending", tags=["team=blue"])
    local.insert({"status": "open"})
    new = told.cases.refresh()
    fresh = cs.read_cases(source, dtype_backend=backend, **asked)
    if way == "pickle":
        same(new, fresh)
    assert new.dtypes.tolist() == told.dtypes.tolist()
    pd.testing.assert_frame_equal(plain_cells(new), plain_cells(fresh))


@pytest.mark.usefixtures("credentials")
def test_a_frame_of_arrow_dtypes_keeps_them(local, source, tmp_path):
    frame = cs.read_cases(source, columns=COLUMNS)
    told = from_parquet(frame, tmp_path, dtype_backend="pyarrow")
    pass_time(local)
    local.update(frame["case_id"][1], tags=["team=blue"])
    new = told.cases.refresh()
    assert new.dtypes.tolist() == told.dtypes.tolist()
    fresh = cs.read_cases(source, columns=COLUMNS)
    pd.testing.assert_frame_equal(plain_cells(new), plain_cells(fresh))


def with_source(frame, **changed):
    """Give a frame the provenance of another source."""
    told = {**frame.cases.provenance}
    told["source"] = {**told["source"], **changed}
    other = frame.copy()
    other.attrs[KEY] = pd.io.json.ujson_dumps(told)
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
def test_credentials_go_nowhere_that_only_a_file_names(local, service, address):
    """A frame may come from anybody; one that named their host would fetch them the token."""
    frame = cs.read_cases(getattr(local, f"{service}_cases")(), columns=COLUMNS, limit=5)
    with pytest.raises(cs.FilterError, match=r"not the service's own address.*source=…"):
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
def test_the_services_own_addresses_are_known(service, address):
    told = {
        "connect": {"service": "connect", "domain_id": "d", "region": "", "endpoint_url": ""},
        "persona": {"service": "persona", "base_url": "", "version": "2025-12-08", "fresh": False},
    }[service] | address
    source = resolve_source(told)
    assert source.describe() == told
    require_same_source(source, told)


def test_a_source_of_another_make_has_to_be_given(local):
    frame = with_source(cs.read_cases(local.connect_cases(), limit=3), service="mirror")
    with pytest.raises(cs.FilterError, match=r"cannot be made anew.*give it: source="):
        frame.cases.refresh()


@pytest.mark.parametrize("wrong", ["service", "domain", "region", "address"])
def test_a_source_that_is_not_the_frame_s_is_refused(local, wrong):
    """Cases of two domains in one frame would be told apart by nobody."""
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
    with pytest.raises(cs.FilterError, match="is not where the frame was read"):
        frame.cases.refresh(source)


def test_a_local_service_may_be_at_another_port():
    """It gets a new one each time it is started; the cases are the same."""
    for service in SERVICES:
        with cs.LocalCases(cases=30, seed=6, now=NOW) as one:
            frame = cs.read_cases(getattr(one, service)(), columns=COLUMNS)
        with cs.LocalCases(cases=30, seed=6, now=NOW) as other:
            source = getattr(other, service)()
            same(frame.cases.refresh(source), cs.read_cases(source, columns=COLUMNS))


# --- what is read anew ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"sort": "-updated_at", "limit": 20}, "limit=20"),
        ({"search": "refund"}, "search="),
        ({"status": []}, "nothing was asked"),
    ],
)
def test_what_cannot_be_told_from_changes_is_read_anew(local, asked, why):
    source = local.connect_cases()
    frame = cs.read_cases(source, columns=COLUMNS, **asked)
    pass_time(local)
    case = cs.read_cases(source, columns=COLUMNS, sort="-updated_at")["case_id"].iloc[30]
    local.update(case, title="refund now")
    new = frame.cases.refresh(source)
    same(new, cs.read_cases(source, columns=COLUMNS, **asked))
    assert (case in set(new["case_id"])) == (asked != {"status": []})
    assert new.cases.provenance["notes"][0].startswith("read anew: ")
    assert why in new.cases.provenance["notes"][0]


def test_persona_s_list_cannot_be_asked_for_changes(local):
    source = local.persona_cases(fresh=True)
    with quietly():
        frame = cs.read_cases(source, columns=COLUMNS, status="open")
        local.update(frame["case_id"][0], status="closed")
        new = frame.cases.refresh(source)
        same(new, cs.read_cases(source, columns=COLUMNS, status="open"))
    assert "cannot be asked for what was updated" in new.cases.provenance["notes"][0]


# --- what is refused ---------------------------------------------------------------------------


@pytest.fixture
def frame(local):
    return cs.read_cases(local.connect_cases(), columns=COLUMNS)


@pytest.mark.parametrize(
    "alter",
    [
        lambda frame: frame[frame["status"] == "open"],
        lambda frame: frame.head(0),
        lambda frame: pd.concat([frame[1:], frame[:1].assign(case_id="another")]),
        lambda frame: pd.concat([frame, frame[:1]]),
    ],
)
def test_a_frame_that_is_no_longer_what_was_read_is_refused(local, frame, alter):
    """Rows that the user took out would come back, or be missed, as they happen to change."""
    with pytest.raises(cs.FilterError, match=r"refresh first, filter after: .*where\(…\)"):
        alter(frame).cases.refresh(local.connect_cases())


def test_the_order_of_the_rows_is_no_reason(local, frame):
    shuffled = frame.sample(frac=1, random_state=1)
    same(
        shuffled.cases.refresh(local.connect_cases()),
        cs.read_cases(local.connect_cases(), columns=COLUMNS),
    )


def test_a_column_of_one_s_own_is_named(local, frame):
    with pytest.raises(
        cs.FilterError, match=r"the field of the column 'mine'.*df.drop\(columns='mine'\)"
    ):
        frame.assign(mine=1).cases.refresh(local.connect_cases())


def test_a_field_that_is_gone_is_named(local, frame):
    text = frame.attrs[KEY].replace("last_closed_datetime", "a_field_that_was")
    frame.attrs[KEY] = text
    with pytest.raises(cs.FilterError, match="no field for the column 'closed_at' any more"):
        frame.cases.refresh(local.connect_cases())


def test_a_frame_without_provenance_is_refused(frame):
    told = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    with pytest.raises(cs.FilterError, match=r"does not tell what was read.*read it again"):
        told.cases.refresh()


def test_one_chunk_is_refused(local):
    source = local.connect_cases()
    with cs.iter_cases(source, columns=COLUMNS, chunksize=100) as chunks:
        chunk = next(chunks)
    with pytest.raises(cs.FilterError, match="one chunk of what was read"):
        chunk.cases.refresh(source)


def test_an_incomplete_frame_is_refused():
    faults = [cs.Fault("error", status=400, after=1)]
    with cs.LocalCases(cases=250, now=NOW, faults=faults) as local:
        source = local.persona_cases()
        with pytest.warns(UserWarning, match="not whole"):
            frame = cs.read_cases(source, columns=COLUMNS, on_error="partial")
        with pytest.raises(cs.FilterError, match=r"not whole.*read again: read_cases"):
            frame.cases.refresh(source)


# --- new cells in old columns -------------------------------------------------------------------


def test_new_cells_take_on_the_form_of_the_old_ones():
    """Parquet holds nested values as JSON text, and a column may be all missing this time."""
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
    found = cast_like(new, old)
    assert found.dtypes.to_dict() == old.dtypes.to_dict()
    assert found["nested"].tolist()[0] == '{"b": ["ü"]}'
    assert found.isna().to_numpy().tolist() == [[False, True, False], [True, True, True]]


def test_a_cell_that_does_not_fit_is_named():
    old = pd.DataFrame({"number": pd.array([3], dtype="Int64")})
    new = pd.DataFrame({"number": pd.Series(["three"], dtype="str")})
    with pytest.raises(cs.FilterError, match="'number' now holds values that are not Int64"):
        cast_like(new, old)


def test_a_custom_field_that_discovery_does_not_meet_is_still_read(local):
    """Persona tells no list of its fields; what the frame knows by its id can be asked for."""
    frame = cs.read_cases(local.persona_cases(), columns=["case_id", "created_at", "fields.shy"])
    pass_time(local)
    local.update(frame["case_id"][0], title="another")
    new = frame.cases.refresh(local.persona_cases())
    same(new, cs.read_cases(local.persona_cases(), columns=["case_id", "created_at", "fields.shy"]))
