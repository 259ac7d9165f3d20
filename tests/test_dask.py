"""`to_dask`: the rows of `read_cases` from threads and processes, and no secret in the graph."""

import gc
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import boto3
import cloudpickle
import dask
import pandas as pd
import pyarrow as pa
import pytest
from distributed import Client, LocalCluster
from pandas.testing import assert_frame_equal

import casesearch_pd as cs
from casesearch_pd.reading.distributed import dask as dask_reading
from casesearch_pd.sources import registry
from casesearch_pd.sources.transport import rate_limit
from tests.hostile_cases import NOW as HOSTILE_NOW
from tests.hostile_cases import hostile_rows, to_frame
from tests.numbered_cases import NOW, PLAIN, SERVICES, numbered, without_faults

CASES = numbered(1150, ties=3, extras=22).assign(tags=[["team=red"], []] * 575)
TOKEN = "persona_sandbox_0123456789abcdef"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PERSONA_API_KEY")


@pytest.fixture(autouse=True)
def _synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def service():
    with cs.LocalCases(CASES, now=NOW, token=TOKEN) as service:
        session = boto3.Session("AKIDTEST", SECRET, region_name="us-east-1")
        service.sources = {
            "connect": service.connect_cases(boto3_session=session),
            "persona": service.persona_cases(),
        }
        for source in service.sources.values():
            _ = source.schema
        yield service


@pytest.fixture
def local(service):
    yield from without_faults(service)


@pytest.fixture(params=SERVICES)
def source(request, local):
    return local.sources[request.param]


def read(source, **arguments):
    return by_id(cs.read_cases(source, progress=False, **arguments))


def by_id(frame):
    return frame.sort_values("case_id", ignore_index=True)


def searches(local):
    """Return the search requests so far, and forget them."""
    requests = [one for one in local.requests if "search" in one.path]
    local.requests.clear()
    return requests


# --- the same rows --------------------------------------------------------------------------------

ARGUMENTS = {
    "all": {},
    "some columns": {"columns": PLAIN},
    "a filter": {"status": "open", "count__gte": 100, "columns": PLAIN},
    "residual": {"title__ne": "Case 7", "columns": PLAIN},
    "split": {"status__in": ["open", *(f"s{one}" for one in range(30))], "columns": PLAIN},
    "by creation": {"created_at__lt": "2026-01-01T03:00:00.0005Z", "columns": PLAIN},
    "another format": {"tz": "Europe/Berlin", "dtype_backend": "pyarrow"},
    "nullable": {"dtype_backend": "numpy_nullable", "columns": PLAIN},
}


@pytest.mark.filterwarnings("ignore:.*is not an option of")
@pytest.mark.filterwarnings("ignore:.*cannot evaluate this filter")
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_the_rows_are_those_of_read_cases(source, arguments, scheduler):
    """Law 5: equal by value and type, in whatever way they are read."""
    ddf = cs.to_dask(source, npartitions=5, **ARGUMENTS[arguments])
    assert ddf.npartitions > 1
    assert not ddf.known_divisions
    result = by_id(ddf.compute(scheduler=scheduler))
    assert_frame_equal(result, read(source, **ARGUMENTS[arguments]))


@pytest.mark.parametrize("name", SERVICES)
def test_difficult_cells_are_the_same(name):
    with cs.LocalCases(to_frame(hostile_rows()), now=HOSTILE_NOW) as local:
        source = getattr(local, f"{name}_cases")()
        ddf = cs.to_dask(source, npartitions=4)
        result = by_id(ddf.compute())
        assert_frame_equal(result, read(source))
        assert ddf.npartitions == 4


def test_every_partition_has_the_same_columns_and_dtypes(source):
    """Dask trusts its meta, and fails later where a partition differs."""
    ddf = cs.to_dask(source, npartitions=3, count__lt=20)
    empty = cs.to_dask(source, npartitions=3, count=-1)
    assert empty.npartitions == 1
    for one in (ddf, empty):
        assert_frame_equal(one._meta, cs.read_cases(source, count=-1), check_index_type=False)
        for part in one.partitions:
            assert part.compute().dtypes.equals(one.dtypes)
    assert len(empty.compute()) == 0


def test_dask_converts_no_column(source):
    """Its default would turn lists into text, and text into another dtype."""
    ddf = cs.to_dask(source, npartitions=3)
    with dask.config.set({"dataframe.convert-string": True}):
        result = ddf[ddf["count"] < 500].compute()
    assert result["tags"].map(type).eq(list).all()
    assert result["title"].dtype == "str"


def test_cases_created_after_the_planning_are_in_no_partition():
    """Windows that end at different times would show a state that never existed."""
    with cs.LocalCases(numbered(300), now=NOW) as local:
        for name in SERVICES:
            source = getattr(local, f"{name}_cases")()
            local.advance(3600)
            ddf = cs.to_dask(source, npartitions=3)
            before = read(source)
            local.advance(3600)
            local.insert({"case_id": f"new_{name}", "title": "new"})
            assert len(read(source)) == len(before) + 1
            assert by_id(ddf.compute())["case_id"].tolist() == before["case_id"].tolist()


def test_relative_times_count_from_the_planning(local):
    """All partitions of a frame must have the same "last day"."""
    since = pd.Timestamp("2026-01-15", tz="UTC") - pd.Timestamp.now("UTC")
    ddf = cs.to_dask(local.sources["connect"], npartitions=3, updated_at__gte=since)
    assert ddf.npartitions == 3
    bounds = set()
    for one in ddf.partitions:
        searches(local)
        one.compute()
        terms = searches(local)[0].body["filter"]["andAll"]
        fields = [term.get("field", {}).get("greaterThanOrEqualTo") for term in terms]
        bounds |= {one["value"]["stringValue"] for one in fields if one and "upd" in one["id"]}
    assert len(bounds) == 1


@pytest.mark.parametrize("name", SERVICES)
def test_cases_that_change_between_partitions_appear_once(name):
    """Law 6: by a time that updates change, a case could move into another window."""
    with cs.LocalCases(numbered(400), now=NOW) as local:
        ddf = cs.to_dask(getattr(local, f"{name}_cases")(), npartitions=4, columns=PLAIN)
        ids, frames = [f"case_{one:05d}" for one in range(400)], []
        for step, part in enumerate(ddf.partitions):
            frames.append(part.compute())
            for case in ids[step::5]:
                local.update(case, title=f"turn {step}", status="open")
            local.insert({"case_id": f"new_{step}", "title": "new"})
    result = pd.concat(frames)
    assert sorted(result["case_id"]) == ids
    assert result["title"].str.startswith("turn").any()


# --- requests -------------------------------------------------------------------------------------


def test_columns_that_are_not_needed_are_not_requested(local):
    """Each column that is not needed may save a pass, and so half of the requests."""
    ddf = cs.to_dask(local.sources["connect"], npartitions=3)
    searches(local)
    ddf["status"].value_counts().compute()
    requested = [{item["id"] for item in one.body["fields"]} for one in searches(local)]
    assert set().union(*requested) == {"status", "created_datetime", "last_updated_datetime"}
    ddf = cs.to_dask(local.sources["persona"], npartitions=3)
    searches(local)
    result = ddf[["status", "count"]].compute()
    requested = {tuple(one.query["fields[case]"]) for one in searches(local)}
    assert list(result) == ["status", "count"]
    assert requested == {("created-at,status,fields.count",)}


def test_a_filter_of_dask_reads_its_columns(source):
    ddf = cs.to_dask(source, npartitions=3)
    result = ddf[ddf["count"] < 40]["title"].compute()
    assert sorted(result) == sorted(f"Case {one}" for one in range(40))


def test_the_head_reads_one_partition(local):
    for source in local.sources.values():
        ddf = cs.to_dask(source, npartitions=6, columns=PLAIN)
        searches(local)
        assert len(ddf.head()) == 5
        assert len(searches(local)) <= math.ceil(1150 / 6 / 100) + 2


def test_only_planning_sends_requests_before_the_computation(local):
    cs.to_dask(local.sources["connect"], npartitions=6, columns=PLAIN)
    assert len(searches(local)) <= 8
    cs.to_dask(local.sources["persona"], npartitions=6, columns=PLAIN)
    assert len(searches(local)) <= 10


# --- fields that are not in the schema ------------------------------------------------------------


@pytest.fixture
def source_without_field():
    """Return a source whose schema lacks a field that only later cases have."""
    late = [None] * 150 + [f"x{one}" for one in range(150)]
    frame = numbered(300).assign(**{"late one": late})
    with cs.LocalCases(frame, now=NOW) as local:
        source = local.persona_cases()
        known = [item for item in source.schema.fields if item.column != "late_one"]
        yield local.persona_cases(schema=replace(source.schema, fields=tuple(known)))


@pytest.mark.parametrize("with_distributed", [True, False])
def test_a_field_that_appears_late_is_named_and_left_out(
    source_without_field, monkeypatch, with_distributed
):
    ddf = cs.to_dask(source_without_field, npartitions=3)
    if not with_distributed:
        monkeypatch.delitem(sys.modules, "distributed")
    with pytest.warns(UserWarning, match="left out: late_one; name them in columns="):
        result = ddf.compute()
    assert "late_one" not in result
    assert len(result) == 300


def test_a_field_without_a_type_is_text_in_every_partition(source_without_field):
    ddf = cs.to_dask(source_without_field, npartitions=3, columns=["case_id", "fields.late one"])
    result = by_id(ddf.compute())
    assert result["late_one"].dtype == ddf.dtypes["late_one"] == "str"
    assert result["late_one"].equals(
        read(source_without_field, columns=["case_id", "fields.late one"])["late_one"]
    )


# --- a mirror -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mirror(service, tmp_path_factory):
    copy = cs.Mirror(tmp_path_factory.mktemp("mirror") / "cases.duckdb")
    copy.sync(service.sources["connect"], progress=False)
    return copy


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_mirror_can_be_read_by_dask(local, mirror, scheduler):
    searches(local)
    ddf = cs.to_dask(mirror, npartitions=4, status="open")
    result = by_id(ddf.compute(scheduler=scheduler))
    assert ddf.npartitions == 4
    assert_frame_equal(result, read(mirror, status="open"))
    assert searches(local) == []


def test_a_task_opens_a_mirror_by_its_path(mirror, monkeypatch):
    ddf = cs.to_dask(mirror, npartitions=4)
    reader, read = read_elsewhere(ddf, monkeypatch)
    assert_frame_equal(read(), ddf.partitions[0].compute()[["case_id", "status"]])
    assert dask_reading._sources[reader.key] is not mirror


def test_cases_created_during_a_sync_are_in_a_partition(tmp_path):
    """The bound of a mirror is the start of its last sync, and some cases are newer."""
    with cs.LocalCases(numbered(900), now=NOW) as local:
        source, mirror = local.connect_cases(), cs.Mirror(tmp_path / "cases.duckdb")
        _ = source.schema
        page, inserted = type(source).read_page, []

        def read_slowly(self, *arguments):
            result = page(self, *arguments)
            if not inserted:
                local.advance(60)
                inserted.append(local.insert({"case_id": "new", "title": "new"}))
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(source), "read_page", read_slowly)
            mirror.sync(source, progress=False)
        assert "new" in set(read(mirror)["case_id"])
        result = by_id(cs.to_dask(mirror, npartitions=3).compute())
        assert_frame_equal(result, read(mirror))


# --- secrets --------------------------------------------------------------------------------------


def visible_text(ddf):
    """Return everything that leaves this process or is displayed, as text."""
    graph = dict(ddf.optimize().dask)
    objects = [ddf, ddf.expr, *graph, *graph.values()]
    return "\n".join(
        [
            *(f"{one!r} {one}" for one in objects),
            ddf._repr_html_(),
            *(repr(cloudpickle.dumps(one)) for one in (ddf, ddf.expr, graph, ddf["status"])),
            repr(pickle.dumps(ddf.expr.func)),
        ]
    )


def test_the_graph_contains_no_secret(source):
    """It is sent to a scheduler, whose dashboard and logs others read."""
    ddf = cs.to_dask(source, npartitions=3)
    ddf.head()  # a client that was opened must not be in it either
    result = visible_text(ddf)
    for secret in (TOKEN, SECRET, "AKIDTEST"):
        assert secret not in result
    assert source.describe()["service"] in result  # the text is not empty


def test_the_search_for_secrets_finds_one(local):
    """Otherwise the test above could pass without looking."""
    ddf = cs.to_dask(local.sources["persona"], npartitions=2, title=TOKEN)
    assert TOKEN in visible_text(ddf)


def read_elsewhere(ddf, monkeypatch):
    """Return a reader of the first partition without any state of this session."""
    monkeypatch.setattr(registry, "_live_sources", set())
    monkeypatch.setattr(dask_reading, "_sources", {})
    monkeypatch.setattr(rate_limit, "_LIMITERS", {})
    reader = pickle.loads(pickle.dumps(ddf.expr.func))
    window = ddf.expr.iterables[0][0]
    return reader, lambda: reader(window, ["case_id", "status"])


@pytest.mark.parametrize("name", SERVICES)
def test_credentials_come_from_the_environment_of_the_task(local, monkeypatch, name):
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    source = local.sources[name]
    ddf = cs.to_dask(source, npartitions=3, n_workers=4)
    reader, read = read_elsewhere(ddf, monkeypatch)
    with pytest.raises(cs.AccessDeniedError, match=r"AWS_PROFILE|PERSONA_API_KEY"):
        read()
    dask_reading._sources.clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.setenv("PERSONA_API_KEY", TOKEN)
    local.requests.clear()
    result = read()
    assert_frame_equal(result, ddf.partitions[0].compute()[["case_id", "status"]])
    assert {one.path.rpartition("/")[2] for one in local.requests} <= {"cases-search", "search"}
    assert dask_reading._sources[reader.key] is not source


@pytest.mark.parametrize("name", SERVICES)
def test_processes_share_the_rate(local, monkeypatch, name):
    """The service counts them together: eight at the full rate would be throttled."""
    for key in KEYS:
        monkeypatch.setenv(key, "any")
    source = getattr(local, f"{name}_cases")(rate=80, schema=local.sources[name].schema)
    monkeypatch.setenv("PERSONA_API_KEY", TOKEN)
    ddf = cs.to_dask(source, npartitions=2, n_workers=8)
    reader, read = read_elsewhere(ddf, monkeypatch)
    dask_reading._sources.update(dict.fromkeys(range(8), source))  # of earlier reads
    read()
    created_source = dask_reading._sources[reader.key]
    read()
    assert (
        dask_reading._sources[reader.key] is created_source
    )  # one rate limiter for all partitions
    assert len(dask_reading._sources) == 8  # older ones are released
    assert (created_source.rate_limiter.rate, created_source.rate_limiter.burst) == (80 / 8, 1)
    assert source.rate_limiter.rate == 80  # this process keeps its full rate


def test_the_own_process_reads_with_the_given_source(local, monkeypatch):
    """With several tokens for one address, the frame has the one of its source."""
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    other = cs.PersonaCases(token="another", base_url=f"{local.url}/api/v1", rate=math.inf)
    registry.remember_source(other)
    ddf = cs.to_dask(
        cs.PersonaCases(token=TOKEN, base_url=f"{local.url}/api/v1", rate=math.inf), npartitions=2
    )
    gc.collect()
    assert len(ddf.compute()) == len(CASES)


# --- errors ---------------------------------------------------------------------------------------


class OwnSource:
    """A source that no worker can recreate."""

    def __init__(self, source):
        self._source = source

    def __getattr__(self, name):
        return getattr(self._source, name)

    def describe(self):
        """Return a description of an unknown service."""
        return {"service": "own"}


def test_a_source_that_a_worker_cannot_recreate_is_refused(local):
    remote = cs.PersonaCases(token=TOKEN, base_url="https://cases.example.com/api/v1")
    for source in (OwnSource(local.sources["connect"]), remote):
        source.schema = local.sources["connect"].schema
        searches(local)
        with pytest.raises(cs.FilterError, match=r"cannot recreate .* read_cases, or to_parquet"):
            cs.to_dask(source)
        assert searches(local) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"npartitions": 0}, "npartitions must be a positive integer or None, got 0"),
        ({"npartitions": True}, "npartitions must be .* got True"),
        ({"npartitions": 2.0}, r"npartitions must be .* got 2\.0"),
        ({"n_workers": -1}, "n_workers must be .* got -1"),
        ({"timeout": 0}, "timeout must be a positive number"),
        ({"lookback": "soon"}, "lookback must be .* got 'soon'"),
        ({"dtype_backend": "arrow"}, "dtype_backend must be .* got 'arrow'"),
        ({"tz": "Nowhere"}, "unknown time zone 'Nowhere'"),
        ({"limit": 3}, "limit= is an option that this function does not take"),
        ({"sort": "title"}, "sort= is an option that"),
        ({"statsu": "open"}, "did you mean 'status'"),
    ],
)
def test_a_wrong_argument_is_refused_before_any_request(local, arguments, message):
    searches(local)
    with pytest.raises(cs.FilterError, match=message):
        cs.to_dask(local.sources["connect"], **arguments)
    assert searches(local) == []


def test_without_dask_the_error_names_the_extra(monkeypatch, local):
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ImportError, match=r"pip install 'casesearch_pd\[dask\]'"):
        cs.to_dask(local.sources["connect"])


def test_without_distributed_there_is_one_process(monkeypatch):
    monkeypatch.delitem(sys.modules, "distributed")
    assert dask_reading._count_processes() == 1


def test_importing_the_package_does_not_import_dask():
    code = "import sys, casesearch_pd as cs; cs.to_dask; print('dask' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout == "False\n"


# --- processes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    """Serve two worker processes that have credentials in their own environment."""
    with (
        cs.LocalCases(CASES, now=NOW, token=TOKEN) as service,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDWORKER")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("PERSONA_API_KEY", TOKEN)
        with (
            LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=":0") as two,
            Client(two) as service.client,
        ):
            service.sources = {
                "connect": service.connect_cases(rate=2000),
                "persona": service.persona_cases(rate=2000),
            }
            yield service


def pids(client):
    return {*client.run(os.getpid).values()}


def wait_until(condition, seconds=60):
    """Poll a condition."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("the condition did not come true")


@pytest.mark.parametrize("name", SERVICES)
def test_processes_return_the_same_rows(cluster, name):
    source = cluster.sources[name]
    ddf = cs.to_dask(source, npartitions=4)
    assert ddf.expr.func.rate == source.rate / 2
    assert_frame_equal(by_id(ddf.compute(scheduler=cluster.client)), read(source))


def test_threads_of_one_process_share_its_rate_limiter(local):
    with (
        LocalCluster(2, processes=False, dashboard_address=":0") as threads,
        Client(threads, set_as_default=True) as client,
    ):
        source = local.connect_cases(rate=80, schema=local.sources["connect"].schema)
        ddf = cs.to_dask(source, npartitions=3, columns=PLAIN)
        assert ddf.expr.func.rate == 80
        result = by_id(ddf.compute(scheduler=client))
    assert_frame_equal(result, read(local.sources["connect"], columns=PLAIN))


def test_logs_of_a_failed_task_contain_no_secret(cluster):
    """Logs of workers and scheduler contain the function and arguments of such a task."""
    ddf = cs.to_dask(cluster.sources["persona"], npartitions=4)
    cluster.faults.append(cs.Fault("error", status=403))
    with pytest.raises(cs.AccessDeniedError) as failure:
        ddf.compute(scheduler=cluster.client)
    cluster.faults.clear()
    client = cluster.client
    result = f"{failure.value!r} {client.get_worker_logs()} {client.get_worker_logs(nanny=True)}"
    result += f"{client.get_scheduler_logs()} {client.get_events()}"
    assert "Compute Failed" in result
    assert "read_cases(persona)" in result
    assert TOKEN not in result
    assert SECRET not in result


@pytest.mark.parametrize("name", SERVICES)
def test_a_killed_worker_loses_no_row(cluster, name):
    """Its partitions are read again by another worker."""
    source, client = cluster.sources[name], cluster.client
    client.wait_for_workers(2)
    expected, before = read(source), pids(client)
    ddf = cs.to_dask(source, npartitions=24, columns=PLAIN)
    cluster.faults.append(cs.Fault("latency", 0.1))  # so that the read takes two seconds
    searches(cluster)
    future = client.compute(ddf)
    wait_until(lambda: len(cluster.requests) > 6)
    os.kill(min(before), signal.SIGKILL)
    assert not future.done()
    result = future.result(timeout=60)
    cluster.faults.clear()
    assert_frame_equal(by_id(result), expected[PLAIN])
    wait_until(lambda: len(pids(client)) == 2)
    assert pids(client) != before


# --- files ----------------------------------------------------------------------------------------


# Dask's writer uses a parameter that pandas 3.1 deprecates.
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index")
def test_dask_writes_the_same_rows_to_parquet(local, tmp_path):
    """Dask cannot infer the type of lists, so it needs a schema, here that of one partition."""
    source = local.sources["connect"]
    ddf = cs.to_dask(source, npartitions=3)
    ddf.drop(columns="tags").to_parquet(tmp_path / "plain")
    result = by_id(pd.read_parquet(tmp_path / "plain"))
    assert_frame_equal(result, read(source).drop(columns="tags"))
    schema = pa.Schema.from_pandas(ddf.partitions[0].compute(), preserve_index=False)
    ddf.to_parquet(tmp_path / "lists", schema=schema, write_index=False)
    result = by_id(pd.read_parquet(tmp_path / "lists"))
    assert [list(cell) for cell in result["tags"]] == read(source)["tags"].tolist()
