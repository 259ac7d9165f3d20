"""A mirror's file: one writer, many readers, a crash at any point, and files that are no mirror."""

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
from casesearch_pd.mirror import storage as beside
from casesearch_pd.mirror import storage as engine
from casesearch_pd.mirror import storage as lock
from casesearch_pd.mirror import sync
from casesearch_pd.mirror.metadata import FORMAT

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


@pytest.fixture
def local():
    with cs.LocalCases(cases=1500, seed=6, now=NOW) as running:
        yield running


@pytest.fixture
def mirror(tmp_path):
    return cs.Mirror(tmp_path / "cases.duckdb")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- a crash ----------------------------------------------------------------------------------

# Where a child kills itself: the first page, in the middle, the last write, before and after the
# new file takes its place.
POINTS = {
    "a page": "Stage.add", "a late page": "Stage.add:2", "the merge": "sync.merge",
    "the last table": "sync.conclude", "the move": "sync.move",
}  # fmt: skip
CHILD = """
    import os, signal, sys
    import casesearch_pd as cs
    from casesearch_pd.mirror import sync
    from casesearch_pd.mirror.staging import Stage

    url, token, path, point = sys.argv[1:]
    source = cs.PersonaCases(base_url=url, token=token, rate=float("inf"))
    owner, _, rest = point.partition(".")
    name, _, turns = rest.partition(":")
    owner = {"Stage": Stage, "sync": sync}[owner]
    left = [int(turns or 0)]
    whole = getattr(owner, name)

    def killed(*given, **named):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return whole(*given, **named)

    setattr(owner, name, killed)
    sync._PIECE = 400
    cs.Mirror(path).sync(source, progress=False)
"""


def killed_in(point, local, path):
    """Sync in a child that kills itself at a point."""
    code = textwrap.dedent(CHILD)
    command = [sys.executable, "-c", code, f"{local.url}/api/v1", local.token, path, POINTS[point]]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("point", POINTS)
def test_a_first_sync_that_is_killed_is_gone_on_with(point, local, mirror, tmp_path):
    """An hour of reading must not be for nothing; and half a mirror is none."""
    killed_in(point, local, mirror.path)
    assert not mirror.path.exists()
    with pytest.raises(cs.CaseSearchError, match="no mirror at"):
        cs.read_cases(mirror)
    done = mirror.sync(local.persona_cases(), progress=False)
    assert (done.rows, done.number) == (1500, 1)
    pd.testing.assert_frame_equal(cs.read_cases(mirror), cs.read_cases(local.persona_cases()))
    assert names(tmp_path) == [".cases.duckdb.lock", "cases.duckdb"]


def test_what_a_killed_sync_has_read_is_not_read_again(local, mirror):
    """Its pages are in a folder beside the file, until all is written."""
    killed_in("the merge", local, mirror.path)
    before = len(local.requests)
    mirror.sync(local.persona_cases(), progress=False)
    assert len([one for one in local.requests[before:] if "search" in one.path]) < 10


@pytest.mark.parametrize("point", ["a page", "the merge", "the last table", "the move"])
def test_a_later_sync_that_is_killed_leaves_the_last_good_state(point, local, mirror, tmp_path):
    mirror.sync(local.persona_cases(), progress=False)
    before, as_of = mirror.path.read_bytes(), mirror.as_of
    local.advance(600)
    local.update(local.frame()["case_id"].iloc[0], title="changed")
    killed_in(point, local, mirror.path)
    assert mirror.path.read_bytes() == before
    assert (cs.count_cases(mirror), mirror.as_of) == (1500, as_of)
    done = mirror.sync(local.persona_cases(), progress=False)
    assert (done.changed, done.number) == (1, 2)
    assert names(tmp_path) == [".cases.duckdb.lock", "cases.duckdb"]


# --- many readers, one writer -----------------------------------------------------------------


def test_readers_go_on_while_another_process_writes(local, mirror):
    """A reader sees the state before or after a sync, and never waits for it."""
    source = local.persona_cases()
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

    def asked():
        reader.stdin.write("?\n")
        reader.stdin.flush()
        return int(reader.stdout.readline())

    counts = [asked()]
    with cs.iter_cases(mirror, columns=["case_id"], chunksize=100) as chunks:
        first = next(chunks)
        local.advance(600)
        local.insert({"status": "open"})
        within = []
        whole = sync.merge
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sync, "merge", lambda *given: (within.append(asked()), whole(*given))[1])
            mirror.sync(source, progress=False)
        rest = sum(map(len, chunks))
    counts.append(asked())
    reader.communicate(timeout=20)
    assert reader.returncode == 0
    assert (counts, within) == ([1500, 1501], [1500])
    assert len(first) + rest == 1500  # what was begun is ended on the old state
    assert cs.count_cases(mirror) == 1501


def test_a_second_writer_is_told_who_writes(local, mirror, monkeypatch):
    """Two syncs at once would cost twice the requests and keep one of the answers."""
    source = local.persona_cases()
    mirror.sync(source, progress=False)
    entered, go = threading.Event(), threading.Event()
    whole = sync.merge

    def slow(*given):
        entered.set()
        assert go.wait(20)
        return whole(*given)

    monkeypatch.setattr(sync, "merge", slow)
    first = threading.Thread(target=mirror.sync, args=(source,), kwargs={"progress": False})
    first.start()
    assert entered.wait(20)
    try:
        with pytest.raises(cs.CaseSearchError, match=f"process {os.getpid()} is just writing"):
            cs.Mirror(mirror.path).sync(source)
        assert cs.count_cases(mirror) == 1500
    finally:
        go.set()
        first.join()
    monkeypatch.undo()
    assert mirror.sync(source, progress=False).number == 3


def test_a_lock_of_a_dead_process_holds_nobody_up(mirror, local):
    lock_file = mirror.path.with_name(".cases.duckdb.lock")
    lock_file.write_text("4194303")
    assert mirror.sync(local.persona_cases(), progress=False).rows == 1500


# --- files that cannot be used ------------------------------------------------------------------


def test_a_mirror_that_is_not_there_says_how_to_make_it(mirror, tmp_path):
    for read in (cs.read_cases, cs.count_cases, cs.list_fields):
        with pytest.raises(cs.CaseSearchError, match=r"fill it first: mirror\.sync\(source\)"):
            read(mirror)
    with pytest.raises(cs.FilterError, match=r"sync\(source\)"):
        mirror.sync()
    assert "cases.duckdb" not in names(tmp_path)


def test_a_file_that_is_no_duckdb_file_stays_as_it_is(mirror, local):
    mirror.path.write_bytes(b"case_id,status\n1,open\n" * 1000)
    for use in (lambda: cs.read_cases(mirror), lambda: mirror.sync(local.persona_cases())):
        with pytest.raises(cs.CaseSearchError, match="cannot be opened as a mirror"):
            use()
    assert mirror.path.read_bytes() == b"case_id,status\n1,open\n" * 1000


def test_a_duckdb_file_of_somebody_else_stays_as_it_is(mirror, local):
    with duckdb.connect(str(mirror.path)) as own:
        own.execute("CREATE TABLE cases AS SELECT 1 AS a")
    for use in (lambda: cs.read_cases(mirror), lambda: mirror.sync(local.persona_cases())):
        with pytest.raises(cs.CaseSearchError, match="is a DuckDB file, but no mirror"):
            use()
    with duckdb.connect(str(mirror.path)) as own:
        assert own.execute("SELECT a FROM cases").fetchall() == [(1,)]


def changed_inside(mirror, statement):
    with duckdb.connect(str(mirror.path)) as own:
        own.execute(statement)


def test_a_newer_format_is_refused(mirror, local):
    mirror.sync(local.persona_cases(), progress=False)
    changed_inside(mirror, f"UPDATE about SET format = {FORMAT + 1}")
    for use in (lambda: cs.read_cases(mirror), mirror.sync):
        with pytest.raises(cs.CaseSearchError, match="upgrade casesearch_pd"):
            use()


def test_a_mirror_that_forgot_itself_is_refused(mirror, local):
    mirror.sync(local.persona_cases(), progress=False)
    changed_inside(mirror, "UPDATE about SET told = '{}'")
    with pytest.raises(cs.CaseSearchError, match="does not say what it holds"):
        cs.read_cases(mirror)


def test_another_source_is_refused(mirror, local):
    """Cases of two services in one table would be nobody's answer."""
    mirror.sync(local.connect_cases(), progress=False)
    before = mirror.path.read_bytes()
    with pytest.raises(cs.FilterError, match="its service is 'connect', this one's 'persona'"):
        mirror.sync(local.persona_cases())
    elsewhere = cs.ConnectCases(
        "another-domain", region_name="us-east-1", endpoint_url=local.url, rate=1
    )
    with pytest.raises(cs.FilterError, match="its domain_id is"):
        mirror.sync(elsewhere)
    assert mirror.path.read_bytes() == before


def test_another_question_is_refused(mirror, local):
    source = local.connect_cases()
    mirror.sync(source, status="open", columns=["status"], progress=False)
    with pytest.raises(cs.FilterError, match=r"another filter, field\('status'\) == 'open'"):
        mirror.sync(source, status="closed")
    with pytest.raises(cs.FilterError, match="other columns"):
        mirror.sync(source, columns=["status", "title"])
    assert mirror.sync(source, status="open", columns=["status"]).number == 2
    assert mirror.sync(source).number == 3
    with pytest.raises(cs.FilterError, match="search= is the name of an option"):
        cs.Mirror(mirror.path.with_name("other.duckdb")).sync(source, search="invoice")
    with pytest.raises(cs.FilterError, match="nothing to mirror"):
        cs.Mirror(mirror.path.with_name("other.duckdb")).sync(source, status=[])


def test_a_folder_that_cannot_be_written(local, tmp_path, monkeypatch):
    """Root may write everywhere, so the system call is made to say no."""
    with pytest.raises(cs.FilterError, match="cannot be written"):
        cs.Mirror(tmp_path / "nowhere" / "cases.duckdb").sync(local.persona_cases())

    def refused(*_given):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(lock.os, "open", refused)
    with pytest.raises(cs.FilterError, match="a folder of your own"):
        cs.Mirror(tmp_path / "cases.duckdb").sync(local.persona_cases())


def test_a_mirror_is_read_from_a_folder_that_cannot_be_written(local, mirror, tmp_path):
    """Readers leave nothing beside the file."""
    mirror.sync(local.persona_cases(), progress=False)
    before = names(tmp_path)
    tmp_path.chmod(0o500)
    try:
        assert len(cs.read_cases(mirror)) == 1500
    finally:
        tmp_path.chmod(0o700)
    assert names(tmp_path) == before


def no_room(*_given, **_named):
    raise OSError(errno.ENOSPC, "No space left on device")


def out_of_room(*_given, **_named):
    raise duckdb.IOException("Could not write file: No space left on device")


@pytest.mark.parametrize(
    "fault",
    [
        (sync, "merge", out_of_room),
        (sync, "conclude", out_of_room),
        (sync.StagingTable, "add", out_of_room),
        (beside.os, "fsync", no_room),
    ],
    ids=["merge", "conclude", "stage", "fsync"],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_full_disk_loses_nothing(local, mirror, monkeypatch, fault, first):
    source = local.persona_cases()
    if not first:
        mirror.sync(source, progress=False)
    before = mirror.path.read_bytes() if mirror.path.exists() else b""
    local.advance(600)
    local.insert({"status": "open"})
    monkeypatch.setattr(*fault)
    with pytest.raises(cs.CaseSearchError, match=r"No space left.* (is intact|saved)"):
        mirror.sync(source, progress=False)
    monkeypatch.undo()
    assert (mirror.path.read_bytes() if mirror.path.exists() else b"") == before
    assert mirror.sync(source, progress=False).rows == 1501
    assert names(mirror.path.parent) == [".cases.duckdb.lock", "cases.duckdb"]


@contextmanager
def files_of_at_most(size):
    """Let no file of this process grow further: what a full disk does, without filling one."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


@pytest.mark.parametrize("size", [20_000, 200_000, 600_000])
@pytest.mark.parametrize("first", [True, False])
def test_a_file_that_cannot_grow_loses_nothing(local, mirror, tmp_path, size, first):
    """DuckDB names such failures in several ways, by where it is just writing."""
    source = local.persona_cases()
    if not first:
        mirror.sync(source, progress=False)
    before = mirror.path.read_bytes() if mirror.path.exists() else b""
    local.advance(600)
    local.insert({"status": "open"})
    with files_of_at_most(size), pytest.raises(cs.CaseSearchError, match="File too large"):
        mirror.sync(source, progress=False)
    assert (mirror.path.read_bytes() if mirror.path.exists() else b"") == before
    assert mirror.sync(source, progress=False).rows == 1501
    assert names(tmp_path) == [".cases.duckdb.lock", "cases.duckdb"]


@pytest.mark.parametrize("first", [True, False])
def test_a_token_that_expires_in_the_middle_loses_nothing(local, mirror, first):
    source = local.persona_cases()
    if not first:
        mirror.sync(source, progress=False)
        local.advance(600)
        for case in local.frame()["case_id"][:300]:
            local.update(case, title="changed")
    whole, turns = source.page, iter(range(2))

    def page(*given):
        if next(turns, None) is None:
            source.token = "expired"
            raise cs.AccessDeniedError("the token has expired", status=401)
        return whole(*given)

    source.page = page
    with pytest.raises(cs.AccessDeniedError, match="expired") as caught:
        mirror.sync(source, progress=False)
    assert "sync again" in caught.value.__notes__[-1]
    if not first:
        assert cs.count_cases(mirror) == 1500
    done = mirror.sync(local.persona_cases(), progress=False)
    assert (done.rows, done.changed) == (1500, 0 if first else 300)


def test_files_of_this_process_are_few(local, tmp_path):
    """Each open file holds a descriptor and a cache."""
    source = local.persona_cases()
    for number in range(10):
        mirror = cs.Mirror(tmp_path / f"{number}.duckdb")
        mirror.sync(source, columns=["status"], progress=False, status="open")
        assert cs.count_cases(mirror) > 0
    assert len(engine._FILES._open) <= engine._OPEN_AT_MOST


def test_a_missing_duckdb_says_what_to_install():
    code = (
        "import sys; sys.modules['duckdb'] = None\n"
        "import casesearch_pd as cs\n"
        "try: cs.Mirror\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout.strip() == "a mirror needs DuckDB: pip install 'casesearch_pd[mirror]'"
