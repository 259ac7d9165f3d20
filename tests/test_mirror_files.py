"""The file of a mirror: one writer, many readers, crashes, and files that are not mirrors."""

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import duckdb
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.mirror import storage, sync
from casesearch_pd.mirror.metadata import FORMAT

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


@pytest.fixture
def emulator():
    with cs.LocalCases(cases=1500, seed=6, now=NOW) as running:
        yield running


@pytest.fixture
def mirror(tmp_path):
    return cs.Mirror(tmp_path / "cases.duckdb")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- a crash ----------------------------------------------------------------------------------

# The function whose call kills a process, and the number of calls before.
POINTS = {
    "first chunk": "StagingTable.add", "third chunk": "StagingTable.add:2",
    "merge": "sync.merge", "metadata": "sync.record_sync", "replacement": "sync.replace_file",
}  # fmt: skip
CHILD = """
    import os, signal, sys
    import casesearch_pd as cs
    from casesearch_pd.mirror import sync
    from casesearch_pd.mirror.staging import StagingTable

    url, token, path, point = sys.argv[1:]
    source = cs.PersonaCases(base_url=url, token=token, rate=float("inf"))
    owner, _, rest = point.partition(".")
    name, _, calls = rest.partition(":")
    owner = {"StagingTable": StagingTable, "sync": sync}[owner]
    remaining = [int(calls or 0)]
    original = getattr(owner, name)

    def killed(*args, **kwargs):
        if not remaining[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        remaining[0] -= 1
        return original(*args, **kwargs)

    setattr(owner, name, killed)
    sync._CHUNK_ROWS = 400
    cs.Mirror(path).sync(source, progress=False)
"""


def kill_sync(point, emulator, path):
    """Sync in a child process that kills itself at a point."""
    code = textwrap.dedent(CHILD)
    command = [
        sys.executable,
        "-c",
        code,
        f"{emulator.url}/api/v1",
        emulator.token,
        path,
        POINTS[point],
    ]
    process = subprocess.run(command, check=False, timeout=60, capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr


@pytest.mark.parametrize("point", POINTS)
def test_a_first_sync_that_is_killed_is_resumed(point, emulator, mirror, tmp_path):
    """An hour of reading must not be lost, and half a mirror must not look like one."""
    kill_sync(point, emulator, mirror.path)
    assert not mirror.path.exists()
    with pytest.raises(cs.CaseSearchError, match="no mirror at"):
        cs.read_cases(mirror)
    result = mirror.sync(emulator.persona_cases(), progress=False)
    assert (result.rows, result.number) == (1500, 1)
    pd.testing.assert_frame_equal(cs.read_cases(mirror), cs.read_cases(emulator.persona_cases()))
    assert names(tmp_path) == [".cases.duckdb.lock", "cases.duckdb"]


def test_what_a_killed_sync_has_read_is_not_read_again(emulator, mirror):
    """Its pages are in a checkpoint next to the file, until all is written."""
    kill_sync("merge", emulator, mirror.path)
    before = len(emulator.requests)
    mirror.sync(emulator.persona_cases(), progress=False)
    searches = [request for request in emulator.requests[before:] if "search" in request.path]
    assert len(searches) < 10


@pytest.mark.parametrize("point", ["first chunk", "merge", "metadata", "replacement"])
def test_a_later_sync_that_is_killed_leaves_the_mirror_unchanged(point, emulator, mirror, tmp_path):
    mirror.sync(emulator.persona_cases(), progress=False)
    before, as_of = mirror.path.read_bytes(), mirror.as_of
    emulator.advance(600)
    emulator.update(emulator.frame()["case_id"].iloc[0], title="changed")
    kill_sync(point, emulator, mirror.path)
    assert mirror.path.read_bytes() == before
    assert (cs.count_cases(mirror), mirror.as_of) == (1500, as_of)
    result = mirror.sync(emulator.persona_cases(), progress=False)
    assert (result.changed, result.number) == (1, 2)
    assert names(tmp_path) == [".cases.duckdb.lock", "cases.duckdb"]


# --- many readers, one writer -----------------------------------------------------------------


def test_others_read_while_a_process_writes(emulator, mirror):
    """A reader sees the state before or after a sync, and never waits for it."""
    source = emulator.persona_cases()
    mirror.sync(source, progress=False)
    code = (
        "import sys, casesearch_pd as cs\n"
        "m = cs.Mirror(sys.argv[1])\n"
        "for line in sys.stdin: print(cs.count_cases(m), flush=True)\n"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, mirror.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def count():
        reader.stdin.write("?\n")
        reader.stdin.flush()
        return int(reader.stdout.readline())

    counts = [count()]
    with cs.iter_cases(mirror, columns=["case_id"], chunksize=100) as chunks:
        first = next(chunks)
        emulator.advance(600)
        emulator.insert({"status": "open"})
        counts_in_merge = []
        original = sync.merge

        def merge(*args):
            counts_in_merge.append(count())
            return original(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sync, "merge", merge)
            mirror.sync(source, progress=False)
        rest = sum(map(len, chunks))
    counts.append(count())
    reader.communicate(timeout=20)
    assert reader.returncode == 0
    assert (counts, counts_in_merge) == ([1500, 1501], [1500])
    assert len(first) + rest == 1500  # a read ends on the state on which it began
    assert cs.count_cases(mirror) == 1501


def test_a_second_writer_learns_which_process_writes(emulator, mirror, monkeypatch):
    """Two syncs at once would send twice the requests, and one result would be lost."""
    source = emulator.persona_cases()
    mirror.sync(source, progress=False)
    entered, go = threading.Event(), threading.Event()
    original = sync.merge

    def slow(*args):
        entered.set()
        assert go.wait(20)
        return original(*args)

    monkeypatch.setattr(sync, "merge", slow)
    first = threading.Thread(target=mirror.sync, args=(source,), kwargs={"progress": False})
    first.start()
    assert entered.wait(20)
    try:
        with pytest.raises(cs.CaseSearchError, match=f"process {os.getpid()} is writing"):
            cs.Mirror(mirror.path).sync(source)
        assert cs.count_cases(mirror) == 1500
    finally:
        go.set()
        first.join()
    monkeypatch.undo()
    assert mirror.sync(source, progress=False).number == 3


def test_a_lock_file_of_a_dead_process_blocks_no_sync(mirror, emulator):
    lock_file = mirror.path.with_name(".cases.duckdb.lock")
    lock_file.write_text("4194303")
    assert mirror.sync(emulator.persona_cases(), progress=False).rows == 1500


# --- files that cannot be used ------------------------------------------------------------------


def test_a_missing_mirror_says_how_to_create_it(mirror, tmp_path):
    for read in (cs.read_cases, cs.count_cases, cs.list_fields):
        with pytest.raises(cs.CaseSearchError, match=r"create it with mirror\.sync\(source\)"):
            read(mirror)
    with pytest.raises(cs.FilterError, match=r"sync\(source\)"):
        mirror.sync()
    assert "cases.duckdb" not in names(tmp_path)


def test_a_file_that_is_not_a_database_stays_unchanged(mirror, emulator):
    mirror.path.write_bytes(b"case_id,status\n1,open\n" * 1000)
    for use in (lambda: cs.read_cases(mirror), lambda: mirror.sync(emulator.persona_cases())):
        with pytest.raises(cs.CaseSearchError, match=r"cannot open .* as a mirror"):
            use()
    assert mirror.path.read_bytes() == b"case_id,status\n1,open\n" * 1000


def test_a_database_that_is_not_a_mirror_stays_unchanged(mirror, emulator):
    with duckdb.connect(str(mirror.path)) as own:
        own.execute("CREATE TABLE cases AS SELECT 1 AS a")
    for use in (lambda: cs.read_cases(mirror), lambda: mirror.sync(emulator.persona_cases())):
        with pytest.raises(cs.CaseSearchError, match="is a DuckDB file but not a mirror"):
            use()
    with duckdb.connect(str(mirror.path)) as own:
        assert own.execute("SELECT a FROM cases").fetchall() == [(1,)]


def execute_in_file(mirror, statement, *parameters):
    with duckdb.connect(str(mirror.path)) as own:
        own.execute(statement, parameters)


# The metadata of a file of format 1, in which "shown" and "unseen" are today's "visible" and
# "remote_only".
FORMAT_1 = """{
    "source": {"service": "persona"}, "filter": {"and": []}, "columns": null, "tz": "UTC", "kept": [
        {"field": {"column": "case_id", "id": "id", "label": "ID", "type": "text", "shown": true,
                   "unseen": ""}, "name": "case_id", "form": "plain"},
        {"field": {"column": "state", "id": "state", "label": "State", "type": "text",
                   "shown": false, "unseen": ""}, "name": "", "form": "plain"}],
    "shared": {}, "as_of": "2026-03-14T12:00:00+00:00",
    "now": "2026-03-14T12:00:00+00:00", "rows": 1
}"""


def test_an_older_format_is_refused_with_the_next_step(mirror, emulator):
    """Under today's names it would be misread: a field that is never shown would be a column."""
    execute_in_file(mirror, "CREATE TABLE cases AS SELECT 'case_1' AS case_id")
    execute_in_file(
        mirror, "CREATE TABLE about AS SELECT 1 AS format, ? AS told, [] AS syncs", FORMAT_1
    )
    before = mirror.path.read_bytes()
    for use in (lambda: cs.read_cases(mirror), lambda: mirror.sync(emulator.persona_cases())):
        with pytest.raises(cs.CaseSearchError, match=r"has format 1, .* delete the file and call"):
            use()
    assert mirror.path.read_bytes() == before
    mirror.path.unlink()
    assert mirror.sync(emulator.persona_cases(), progress=False).rows == 1500


def test_a_newer_format_is_refused(mirror, emulator):
    mirror.sync(emulator.persona_cases(), progress=False)
    execute_in_file(mirror, f"UPDATE metadata SET format = {FORMAT + 1}")
    for use in (lambda: cs.read_cases(mirror), mirror.sync):
        with pytest.raises(cs.CaseSearchError, match="upgrade casesearch_pd"):
            use()


def test_a_mirror_with_damaged_metadata_is_refused(mirror, emulator):
    mirror.sync(emulator.persona_cases(), progress=False)
    execute_in_file(mirror, "UPDATE metadata SET document = '{}'")
    with pytest.raises(cs.CaseSearchError, match=r"metadata of the mirror .* is damaged"):
        cs.read_cases(mirror)


def test_another_source_is_refused(mirror, emulator):
    """Cases of two services in one table would be the result of neither."""
    mirror.sync(emulator.connect_cases(), progress=False)
    before = mirror.path.read_bytes()
    with pytest.raises(cs.FilterError, match="its service is 'connect', got 'persona'"):
        mirror.sync(emulator.persona_cases())
    elsewhere = cs.ConnectCases(
        "another-domain", region_name="us-east-1", endpoint_url=emulator.url, rate=1
    )
    with pytest.raises(cs.FilterError, match="its domain_id is"):
        mirror.sync(elsewhere)
    assert mirror.path.read_bytes() == before


def test_another_query_is_refused(mirror, emulator):
    source = emulator.connect_cases()
    mirror.sync(source, status="open", columns=["status"], progress=False)
    with pytest.raises(cs.FilterError, match=r"another filter, field\('status'\) == 'open'"):
        mirror.sync(source, status="closed")
    with pytest.raises(cs.FilterError, match="other columns"):
        mirror.sync(source, columns=["status", "title"])
    assert mirror.sync(source, status="open", columns=["status"]).number == 2
    assert mirror.sync(source).number == 3
    with pytest.raises(cs.FilterError, match="search= is an option that this function"):
        cs.Mirror(mirror.path.with_name("other.duckdb")).sync(source, search="invoice")
    with pytest.raises(cs.FilterError, match="nothing to mirror"):
        cs.Mirror(mirror.path.with_name("other.duckdb")).sync(source, status=[])


def test_a_folder_that_cannot_be_written(emulator, tmp_path, monkeypatch):
    """Root may write everywhere, so the system call itself is made to fail."""
    with pytest.raises(cs.FilterError, match="cannot write the mirror"):
        cs.Mirror(tmp_path / "nowhere" / "cases.duckdb").sync(emulator.persona_cases())

    def fail(*_args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(storage.os, "open", fail)
    with pytest.raises(cs.FilterError, match="a folder that you can write to"):
        cs.Mirror(tmp_path / "cases.duckdb").sync(emulator.persona_cases())


def test_a_mirror_is_read_from_a_folder_that_cannot_be_written(emulator, mirror, tmp_path):
    """Readers create no file next to the mirror."""
    mirror.sync(emulator.persona_cases(), progress=False)
    before = names(tmp_path)
    tmp_path.chmod(0o500)
    try:
        assert len(cs.read_cases(mirror)) == 1500
    finally:
        tmp_path.chmod(0o700)
    assert names(tmp_path) == before


def fail_in_system(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def fail_in_duckdb(*_args, **_kwargs):
    raise duckdb.IOException("Could not write file: No space left on device")


@pytest.mark.parametrize(
    "fault",
    [
        (sync, "merge", fail_in_duckdb),
        (sync, "record_sync", fail_in_duckdb),
        (sync.StagingTable, "add", fail_in_duckdb),
        (storage.os, "fsync", fail_in_system),
    ],
    ids=["merge", "record_sync", "add", "fsync"],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_full_disk_loses_nothing(emulator, mirror, monkeypatch, fault, first):
    source = emulator.persona_cases()
    if not first:
        mirror.sync(source, progress=False)
    before = mirror.path.read_bytes() if mirror.path.exists() else b""
    emulator.advance(600)
    emulator.insert({"status": "open"})
    monkeypatch.setattr(*fault)
    with pytest.raises(cs.CaseSearchError, match=r"No space left.* intact"):
        mirror.sync(source, progress=False)
    monkeypatch.undo()
    assert (mirror.path.read_bytes() if mirror.path.exists() else b"") == before
    assert mirror.sync(source, progress=False).rows == 1501
    assert names(mirror.path.parent) == [".cases.duckdb.lock", "cases.duckdb"]


@contextmanager
def file_size_limit(size):
    """Let no file of this process grow further, as on a full disk."""
    _, maximum = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, maximum))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (maximum, maximum))


@pytest.mark.parametrize("size", [20_000, 200_000, 600_000])
@pytest.mark.parametrize("first", [True, False])
def test_a_file_that_cannot_grow_loses_nothing(emulator, mirror, tmp_path, size, first):
    """DuckDB reports such failures in several ways, depending on what it is writing."""
    source = emulator.persona_cases()
    if not first:
        mirror.sync(source, progress=False)
    before = mirror.path.read_bytes() if mirror.path.exists() else b""
    emulator.advance(600)
    emulator.insert({"status": "open"})
    with file_size_limit(size), pytest.raises(cs.CaseSearchError, match="File too large"):
        mirror.sync(source, progress=False)
    assert (mirror.path.read_bytes() if mirror.path.exists() else b"") == before
    assert mirror.sync(source, progress=False).rows == 1501
    assert names(tmp_path) == [".cases.duckdb.lock", "cases.duckdb"]


@pytest.mark.parametrize("first", [True, False])
def test_a_token_that_expires_during_a_sync_loses_nothing(emulator, mirror, first):
    source = emulator.persona_cases()
    if not first:
        mirror.sync(source, progress=False)
        emulator.advance(600)
        for case in emulator.frame()["case_id"][:300]:
            emulator.update(case, title="changed")
    original, calls = source.read_page, iter(range(2))

    def expire(*args):
        if next(calls, None) is None:
            source.token = "expired"
            raise cs.AccessDeniedError("the token has expired", status=401)
        return original(*args)

    source.read_page = expire
    with pytest.raises(cs.AccessDeniedError, match="expired") as caught:
        mirror.sync(source, progress=False)
    assert "sync again" in caught.value.__notes__[-1]
    if not first:
        assert cs.count_cases(mirror) == 1500
    result = mirror.sync(emulator.persona_cases(), progress=False)
    assert (result.rows, result.changed) == (1500, 0 if first else 300)


def test_few_files_stay_open(emulator, tmp_path):
    """Each open file has a descriptor and a cache."""
    source = emulator.persona_cases()
    for number in range(10):
        mirror = cs.Mirror(tmp_path / f"{number}.duckdb")
        mirror.sync(source, columns=["status"], progress=False, status="open")
        assert cs.count_cases(mirror) > 0
    assert len(storage._OPEN_FILES._files) <= storage._MAX_OPEN_FILES


def test_a_missing_duckdb_says_what_to_install():
    code = (
        "import sys; sys.modules['duckdb'] = None\n"
        "import casesearch_pd as cs\n"
        "try: cs.Mirror\n"
        "except ImportError as error: print(error)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert process.stdout.strip() == "a mirror needs DuckDB: pip install 'casesearch_pd[mirror]'"
