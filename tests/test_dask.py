"""`to_dask`: the rows of `read_cases` on threads and on processes; no secret leaves this one."""

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
from casesearch_pd.reading.distributed import dask as cluster
from casesearch_pd.sources import registry as again
from casesearch_pd.sources.transport import rate_limit as pace
from tests.hostile_cases import NOW as HOSTILE_NOW
from tests.hostile_cases import hostile_rows, to_frame
from tests.numbered_cases import NOW, PLAIN, SERVICES, numbered, without_faults

CASES = numbered(1150, ties=3, extras=22).assign(tags=[["team=red"], []] * 575)
TOKEN = "persona_sandbox_0123456789abcdef"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PERSONA_API_KEY")


@pytest.fixture(autouse=True)
def _by_one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def service():
    with cs.LocalCases(CASES, now=NOW, token=TOKEN) as running:
        session = boto3.Session("AKIDTEST", SECRET, region_name="us-east-1")
        running.sources = {
            "connect": running.connect_cases(boto3_session=session),
            "persona": running.persona_cases(),
        }
        for source in running.sources.values():
            _ = source.schema
        yield running


@pytest.fixture
def local(service):
    yield from without_faults(service)


@pytest.fixture(params=SERVICES)
def source(request, local):
    return local.sources[request.param]


def whole(source, **asked):
    return by_id(cs.read_cases(source, progress=False, **asked))


def by_id(frame):
    return frame.sort_values("case_id", ignore_index=True)


def searches(local):
    """List what was asked for, oldest first, and forget it."""
    asked = [one for one in local.requests if "search" in one.path]
    local.requests.clear()
    return asked


# --- the same rows ----------------------------------------------------------------------------

ASKED = {
    "all": {},
    "some columns": {"columns": PLAIN},
    "a filter": {"status": "open", "count__gte": 100, "columns": PLAIN},
    "checked here": {"title__ne": "Case 7", "columns": PLAIN},
    "split": {"status__in": ["open", *(f"s{one}" for one in range(30))], "columns": PLAIN},
    "by creation": {"created_at__lt": "2026-01-01T03:00:00.0005Z", "columns": PLAIN},
    "another look": {"tz": "Europe/Berlin", "dtype_backend": "pyarrow"},
    "nullable": {"dtype_backend": "numpy_nullable", "columns": PLAIN},
}


@pytest.mark.filterwarnings("ignore:.*is not an option of")
@pytest.mark.filterwarnings("ignore:.*can answer nothing of this filter")
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("asked", ASKED)
def test_the_rows_are_those_of_a_whole_read(source, asked, scheduler):
    """Law 5: equal by value and type, whoever reads."""
    ddf = cs.to_dask(source, npartitions=5, **ASKED[asked])
    assert ddf.npartitions > 1
    assert not ddf.known_divisions
    told = by_id(ddf.compute(scheduler=scheduler))
    assert_frame_equal(told, whole(source, **ASKED[asked]))


@pytest.mark.parametrize("name", SERVICES)
def test_hostile_cases_are_the_same(name):
    with cs.LocalCases(to_frame(hostile_rows()), now=HOSTILE_NOW) as local:
        source = getattr(local, f"{name}_cases")()
        ddf = cs.to_dask(source, npartitions=4)
        told = by_id(ddf.compute())
        assert_frame_equal(told, whole(source))
        assert ddf.npartitions == 4


def test_every_partition_has_the_same_columns_and_dtypes(source):
    """Dask believes its meta, and fails far away from here where a partition differs."""
    ddf = cs.to_dask(source, npartitions=3, count__lt=20)
    empty = cs.to_dask(source, npartitions=3, count=-1)
    assert empty.npartitions == 1
    for one in (ddf, empty):
        assert_frame_equal(one._meta, cs.read_cases(source, count=-1), check_index_type=False)
        for part in one.partitions:
            assert part.compute().dtypes.equals(one.dtypes)
    assert len(empty.compute()) == 0


def test_dask_converts_no_column_later(source):
    """Its default would turn lists into text, and pandas' text into another type."""
    ddf = cs.to_dask(source, npartitions=3)
    with dask.config.set({"dataframe.convert-string": True}):
        told = ddf[ddf["count"] < 500].compute()
    assert told["tags"].map(type).eq(list).all()
    assert told["title"].dtype == "str"


def test_cases_that_are_created_after_the_plan_are_in_no_partition():
    """Windows that end at different moments would show a desk that never was."""
    with cs.LocalCases(numbered(300), now=NOW) as local:
        for name in SERVICES:
            source = getattr(local, f"{name}_cases")()
            local.advance(3600)
            ddf = cs.to_dask(source, npartitions=3)
            then = whole(source)
            local.advance(3600)
            local.insert({"case_id": f"new_{name}", "title": "new"})
            assert len(whole(source)) == len(then) + 1
            assert by_id(ddf.compute())["case_id"].tolist() == then["case_id"].tolist()


def test_times_relative_to_now_count_from_the_plan(local):
    """Of the partitions of one frame, none may have another idea of "the last day"."""
    since = pd.Timestamp("2026-01-15", tz="UTC") - pd.Timestamp.now("UTC")
    ddf = cs.to_dask(local.sources["connect"], npartitions=3, updated_at__gte=since)
    assert ddf.npartitions == 3
    bounds = set()
    for one in ddf.partitions:
        searches(local)
        one.compute()
        terms = searches(local)[0].body["filter"]["andAll"]
        found = [term.get("field", {}).get("greaterThanOrEqualTo") for term in terms]
        bounds |= {one["value"]["stringValue"] for one in found if one and "upd" in one["id"]}
    assert len(bounds) == 1


@pytest.mark.parametrize("name", SERVICES)
def test_cases_that_change_between_partitions_are_there_once(name):
    """Law 6: by a time that updates can change, a case would move into another window, or out."""
    with cs.LocalCases(numbered(400), now=NOW) as local:
        ddf = cs.to_dask(getattr(local, f"{name}_cases")(), npartitions=4, columns=PLAIN)
        ids, frames = [f"case_{one:05d}" for one in range(400)], []
        for turn, part in enumerate(ddf.partitions):
            frames.append(part.compute())
            for case in ids[turn::5]:
                local.update(case, title=f"turn {turn}", status="open")
            local.insert({"case_id": f"new_{turn}", "title": "new"})
    told = pd.concat(frames)
    assert sorted(told["case_id"]) == ids
    assert told["title"].str.startswith("turn").any()


# --- what is asked for ------------------------------------------------------------------------


def test_columns_that_are_not_needed_are_not_asked_for(local):
    """With two passes a page, each column that is left out may save half of the requests."""
    ddf = cs.to_dask(local.sources["connect"], npartitions=3)
    searches(local)
    ddf["status"].value_counts().compute()
    named = [{item["id"] for item in one.body["fields"]} for one in searches(local)]
    assert set().union(*named) == {"status", "created_datetime", "last_updated_datetime"}
    ddf = cs.to_dask(local.sources["persona"], npartitions=3)
    searches(local)
    told = ddf[["status", "count"]].compute()
    named = {tuple(one.query["fields[case]"]) for one in searches(local)}
    assert list(told) == ["status", "count"]
    assert named == {("created-at,status,fields.count",)}


def test_a_filter_of_dask_brings_home_what_it_looks_at(source):
    ddf = cs.to_dask(source, npartitions=3)
    told = ddf[ddf["count"] < 40]["title"].compute()
    assert sorted(told) == sorted(f"Case {one}" for one in range(40))


def test_the_head_reads_one_partition(local):
    for source in local.sources.values():
        ddf = cs.to_dask(source, npartitions=6, columns=PLAIN)
        searches(local)
        assert len(ddf.head()) == 5
        assert len(searches(local)) <= math.ceil(1150 / 6 / 100) + 2


def test_planning_is_all_that_is_asked_before(local):
    cs.to_dask(local.sources["connect"], npartitions=6, columns=PLAIN)
    assert len(searches(local)) <= 8
    cs.to_dask(local.sources["persona"], npartitions=6, columns=PLAIN)
    assert len(searches(local)) <= 10


# --- fields that no schema told -----------------------------------------------------------------


@pytest.fixture
def blind():
    """Serve a field that the schema does not tell, and that only later cases have."""
    late = [None] * 150 + [f"x{one}" for one in range(150)]
    frame = numbered(300).assign(**{"late one": late})
    with cs.LocalCases(frame, now=NOW) as local:
        source = local.persona_cases()
        known = [item for item in source.schema.fields if item.column != "late_one"]
        yield local.persona_cases(schema=replace(source.schema, fields=tuple(known)))


@pytest.mark.parametrize("clustered", [True, False])
def test_a_field_that_appears_late_is_named_and_left_out(blind, monkeypatch, clustered):
    ddf = cs.to_dask(blind, npartitions=3)
    if not clustered:
        monkeypatch.delitem(sys.modules, "distributed")
    with pytest.warns(UserWarning, match="left out: late_one; name them in columns="):
        told = ddf.compute()
    assert "late_one" not in told
    assert len(told) == 300


def test_a_field_without_a_type_is_text_in_every_partition(blind):
    ddf = cs.to_dask(blind, npartitions=3, columns=["case_id", "fields.late one"])
    told = by_id(ddf.compute())
    assert told["late_one"].dtype == ddf.dtypes["late_one"] == "str"
    assert told["late_one"].equals(whole(blind, columns=["case_id", "fields.late one"])["late_one"])


# --- a mirror -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mirror(service, tmp_path_factory):
    copy = cs.Mirror(tmp_path_factory.mktemp("mirror") / "cases.duckdb")
    copy.sync(service.sources["connect"], progress=False)
    return copy


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_mirror_goes_to_dask_the_same_way(local, mirror, scheduler):
    searches(local)
    ddf = cs.to_dask(mirror, npartitions=4, status="open")
    told = by_id(ddf.compute(scheduler=scheduler))
    assert ddf.npartitions == 4
    assert_frame_equal(told, whole(mirror, status="open"))
    assert searches(local) == []


def test_a_mirror_is_opened_by_its_path_where_a_task_runs(mirror, monkeypatch):
    ddf = cs.to_dask(mirror, npartitions=4)
    reader, read = far_away(ddf, monkeypatch)
    assert_frame_equal(read(), ddf.partitions[0].compute()[["case_id", "status"]])
    assert cluster._MADE[reader.key] is not mirror


def test_cases_that_came_while_a_mirror_was_filled_are_there(tmp_path):
    """The bound of a mirror is when its last sync began, and some cases are newer."""
    with cs.LocalCases(numbered(900), now=NOW) as local:
        source, mirror = local.connect_cases(), cs.Mirror(tmp_path / "cases.duckdb")
        _ = source.schema
        page, came = type(source).read_page, []

        def slowly(self, *asked):
            told = page(self, *asked)
            if not came:
                local.advance(60)
                came.append(local.insert({"case_id": "new", "title": "new"}))
            return told

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(source), "read_page", slowly)
            mirror.sync(source, progress=False)
        assert "new" in set(whole(mirror)["case_id"])
        told = by_id(cs.to_dask(mirror, npartitions=3).compute())
        assert_frame_equal(told, whole(mirror))


# --- secrets ----------------------------------------------------------------------------------


def shown(ddf):
    """Write out everything that leaves this process, or that somebody sees."""
    graph = dict(ddf.optimize().dask)
    told = [ddf, ddf.expr, *graph, *graph.values()]
    return "\n".join(
        [
            *(f"{one!r} {one}" for one in told),
            ddf._repr_html_(),
            *(repr(cloudpickle.dumps(one)) for one in (ddf, ddf.expr, graph, ddf["status"])),
            repr(pickle.dumps(ddf.expr.func)),
        ]
    )


def test_nothing_of_the_graph_holds_a_secret(source):
    """It goes to a scheduler, whose dashboard and logs others read."""
    ddf = cs.to_dask(source, npartitions=3)
    ddf.head()  # what is opened on the way must not come along either
    told = shown(ddf)
    for secret in (TOKEN, SECRET, "AKIDTEST"):
        assert secret not in told
    assert source.describe()["service"] in told  # it was looked at


def test_the_search_for_secrets_finds_one_that_is_there(local):
    """Without this the test above could pass by looking nowhere."""
    ddf = cs.to_dask(local.sources["persona"], npartitions=2, title=TOKEN)
    assert TOKEN in shown(ddf)


def far_away(ddf, monkeypatch):
    """Read the first partition as another process would: with nothing of this session."""
    monkeypatch.setattr(again, "_ALIVE", set())
    monkeypatch.setattr(cluster, "_MADE", {})
    monkeypatch.setattr(pace, "_LIMITERS", {})
    reader = pickle.loads(pickle.dumps(ddf.expr.func))
    window = ddf.expr.iterables[0][0]
    return reader, lambda: reader(window, ["case_id", "status"])


@pytest.mark.parametrize("name", SERVICES)
def test_credentials_come_from_where_a_task_runs(local, monkeypatch, name):
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    source = local.sources[name]
    ddf = cs.to_dask(source, npartitions=3, n_workers=4)
    reader, read = far_away(ddf, monkeypatch)
    with pytest.raises(cs.AccessDeniedError, match=r"AWS_PROFILE|PERSONA_API_KEY"):
        read()
    cluster._MADE.clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    monkeypatch.setenv("PERSONA_API_KEY", TOKEN)
    local.requests.clear()
    told = read()
    assert_frame_equal(told, ddf.partitions[0].compute()[["case_id", "status"]])
    assert {one.path.rpartition("/")[2] for one in local.requests} <= {"cases-search", "search"}
    assert cluster._MADE[reader.key] is not source


@pytest.mark.parametrize("name", SERVICES)
def test_processes_share_the_rate(local, monkeypatch, name):
    """The service counts them together, so eight at the full rate would be throttled."""
    for key in KEYS:
        monkeypatch.setenv(key, "any")
    source = getattr(local, f"{name}_cases")(rate=80, schema=local.sources[name].schema)
    monkeypatch.setenv("PERSONA_API_KEY", TOKEN)
    ddf = cs.to_dask(source, npartitions=2, n_workers=8)
    reader, read = far_away(ddf, monkeypatch)
    cluster._MADE.update(dict.fromkeys(range(8), source))  # of older reads
    read()
    made = cluster._MADE[reader.key]
    read()
    assert cluster._MADE[reader.key] is made  # a source a partition would be a budget a partition
    assert len(cluster._MADE) == 8  # and one for every read ever would never be let go
    assert (made.rate_limiter.rate, made.rate_limiter.burst) == (80 / 8, 1)
    assert source.rate_limiter.rate == 80  # in this process nothing is divided


def test_the_source_of_the_session_reads_in_its_own_process(local, monkeypatch):
    """Several tokens for one address are no puzzle: the frame has the one that it was made with."""
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    other = cs.PersonaCases(token="another", base_url=f"{local.url}/api/v1", rate=math.inf)
    again.remember_source(other)
    ddf = cs.to_dask(
        cs.PersonaCases(token=TOKEN, base_url=f"{local.url}/api/v1", rate=math.inf), npartitions=2
    )
    gc.collect()
    assert len(ddf.compute()) == len(CASES)


# --- what is refused --------------------------------------------------------------------------


class Own:
    """A source of somebody's own, which no worker knows how to make."""

    def __init__(self, source):
        self._source = source

    def __getattr__(self, name):
        return getattr(self._source, name)

    def describe(self):
        """Tell what nobody can make anew."""
        return {"service": "own"}


def test_a_source_that_a_worker_could_not_make_is_refused(local):
    abroad = cs.PersonaCases(token=TOKEN, base_url="https://cases.example.com/api/v1")
    for source in (Own(local.sources["connect"]), abroad):
        source.schema = local.sources["connect"].schema
        searches(local)
        with pytest.raises(cs.FilterError, match=r"could not make .* read_cases, or to_parquet"):
            cs.to_dask(source)
        assert searches(local) == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"npartitions": 0}, "npartitions=0 reads nothing; write 1 or more, or None"),
        ({"npartitions": True}, "npartitions=True"),
        ({"npartitions": 2.0}, r"npartitions=2\.0"),
        ({"n_workers": -1}, "n_workers=-1"),
        ({"timeout": 0}, "timeout=0"),
        ({"lookback": "soon"}, "lookback='soon'"),
        ({"dtype_backend": "arrow"}, "dtype_backend='arrow'"),
        ({"tz": "Nowhere"}, "tz='Nowhere'"),
        ({"limit": 3}, "limit= is the name of an option, and not of this function"),
        ({"sort": "title"}, "sort= is the name of an option"),
        ({"statsu": "open"}, "did you mean 'status'"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_costs_a_request(local, asked, said):
    searches(local)
    with pytest.raises(cs.FilterError, match=said):
        cs.to_dask(local.sources["connect"], **asked)
    assert searches(local) == []


def test_without_dask_there_is_a_way_out(monkeypatch, local):
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ImportError, match=r"pip install 'casesearch_pd\[dask\]'"):
        cs.to_dask(local.sources["connect"])


def test_without_distributed_there_is_one_process(monkeypatch):
    monkeypatch.delitem(sys.modules, "distributed")
    assert cluster._processes(None) == 1


def test_importing_the_package_does_not_import_dask():
    code = "import sys, casesearch_pd as cs; cs.to_dask; print('dask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- processes --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def abroad():
    """Serve to two processes that have credentials in their environment, and nothing of ours."""
    with (
        cs.LocalCases(CASES, now=NOW, token=TOKEN) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDWORKER")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("PERSONA_API_KEY", TOKEN)
        with (
            LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=":0") as two,
            Client(two) as running.client,
        ):
            running.sources = {
                "connect": running.connect_cases(rate=2000),
                "persona": running.persona_cases(rate=2000),
            }
            yield running


def pids(client):
    return {*client.run(os.getpid).values()}


def wait_until(holds, seconds=60):
    """Look again and again, with a bound."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        pause.wait(0.02)
    raise AssertionError("it never came to that")


@pytest.mark.parametrize("name", SERVICES)
def test_processes_bring_the_same_rows_home(abroad, name):
    source = abroad.sources[name]
    ddf = cs.to_dask(source, npartitions=4)
    assert ddf.expr.func.rate == source.rate / 2
    assert_frame_equal(by_id(ddf.compute(scheduler=abroad.client)), whole(source))


def test_threads_of_one_process_share_its_budget_and_divide_nothing(local):
    with (
        LocalCluster(2, processes=False, dashboard_address=":0") as threads,
        Client(threads, set_as_default=True) as client,
    ):
        source = local.connect_cases(rate=80, schema=local.sources["connect"].schema)
        ddf = cs.to_dask(source, npartitions=3, columns=PLAIN)
        assert ddf.expr.func.rate == 80
        told = by_id(ddf.compute(scheduler=client))
    assert_frame_equal(told, whole(local.sources["connect"], columns=PLAIN))


def test_no_secret_is_in_what_a_cluster_shows_of_a_task_that_fails(abroad):
    """The logs of workers and scheduler name the function and the arguments of such a task."""
    ddf = cs.to_dask(abroad.sources["persona"], npartitions=4)
    abroad.faults.append(cs.Fault("error", status=403))
    with pytest.raises(cs.AccessDeniedError) as raised:
        ddf.compute(scheduler=abroad.client)
    abroad.faults.clear()
    client = abroad.client
    told = f"{raised.value!r} {client.get_worker_logs()} {client.get_worker_logs(nanny=True)}"
    told += f"{client.get_scheduler_logs()} {client.get_events()}"
    assert "Compute Failed" in told
    assert "read_cases(persona)" in told
    assert TOKEN not in told
    assert SECRET not in told


@pytest.mark.parametrize("name", SERVICES)
def test_a_worker_that_is_killed_half_way_costs_no_row(abroad, name):
    """Its partitions are read again by the others, or by its successor."""
    source, client = abroad.sources[name], abroad.client
    client.wait_for_workers(2)
    expected, before = whole(source), pids(client)
    ddf = cs.to_dask(source, npartitions=24, columns=PLAIN)
    abroad.faults.append(cs.Fault("latency", 0.1))  # two seconds of reading, of which we need one
    searches(abroad)
    future = client.compute(ddf)
    wait_until(lambda: len(abroad.requests) > 6)
    os.kill(min(before), signal.SIGKILL)
    assert not future.done()
    told = future.result(timeout=60)
    abroad.faults.clear()
    assert_frame_equal(by_id(told), expected[PLAIN])
    wait_until(lambda: len(pids(client)) == 2)
    assert pids(client) != before


# --- files ------------------------------------------------------------------------------------


# Dask's writer uses what pandas 3.1 is about to take away.
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index")
def test_dask_writes_the_same_to_parquet(local, tmp_path):
    """Of lists dask cannot guess the type, so it is told: by a schema, here one partition's."""
    source = local.sources["connect"]
    ddf = cs.to_dask(source, npartitions=3)
    ddf.drop(columns="tags").to_parquet(tmp_path / "plain")
    told = by_id(pd.read_parquet(tmp_path / "plain"))
    assert_frame_equal(told, whole(source).drop(columns="tags"))
    schema = pa.Schema.from_pandas(ddf.partitions[0].compute(), preserve_index=False)
    ddf.to_parquet(tmp_path / "lists", schema=schema, write_index=False)
    told = by_id(pd.read_parquet(tmp_path / "lists"))
    assert [list(cell) for cell in told["tags"]] == whole(source)["tags"].tolist()
