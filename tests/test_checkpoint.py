"""Reads that are killed and resumed, and folders that are not what they should be."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import zlib
from datetime import timedelta
from math import ceil

import msgspec
import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from casesearch_pd.sources.transport.context import Tuning, use_tuning
from tests.numbered_cases import (
    CASES,
    NOW,
    PLAIN,
    SERVICES,
    assert_complete,
    numbered,
    read,
    serve_cases,
)

PAGES_PER_FILE = 3


@pytest.fixture(scope="module")
def service():
    with serve_cases(
        50, pages_per_checkpoint_file=PAGES_PER_FILE, pages_before_workers=3
    ) as service:
        yield service


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoint"


TUNING = Tuning(pages_per_checkpoint_file=PAGES_PER_FILE)


def searches(local):
    return sum(one.path.endswith("search") for one in local.requests)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def failed_read(local, name, folder, *, after=8, **options):
    """Read until the service fails for good, and leave the checkpoint."""
    fault = Fault("error", status=400, after=after)
    local.faults.append(fault)
    with pytest.raises(cs.IncompleteReadError):
        read(local.sources[name], checkpoint=folder, **({"columns": PLAIN} | options))
    local.faults.remove(fault)


# --- killed -----------------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys, threading
import boto3
import casesearch_pd as cs
from casesearch_pd.sources.transport.context import Tuning, use_tuning

service, url, domain, token, folder, pages, workers, columns = sys.argv[1:]
if service == "connect":
    session = boto3.Session("LOCAL", "local", region_name="us-east-1")
    source = cs.ConnectCases(
        domain, endpoint_url=url, boto3_session=session, page_size=50, rate=float("inf")
    )
else:
    source = cs.PersonaCases(token=token, base_url=url + "/api/v1", rate=float("inf"))
read_page, requests, lock = source.read_page, [], threading.Lock()

def killing_page(*args):
    with lock:
        requests.append(1)
        if len(requests) > int(pages):
            os.kill(os.getpid(), signal.SIGKILL)
    return read_page(*args)

source.read_page = killing_page
with use_tuning(Tuning(pages_per_checkpoint_file=3, pages_before_workers=3)):
    cs.read_cases(
        source, columns=columns.split() or None, checkpoint=folder, progress=False,
        max_workers=int(workers),
    )
"""


def killed_read(local, name, folder, *, pages, workers, columns):
    """Read in another process, which is killed at the request for one page more."""
    arguments = [name, local.url, local.domain_id, local.token, folder, pages, workers, columns]
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("name", "pages"), [("connect", 14), ("persona", 8)])
def test_a_killed_read_is_resumed(local, folder, name, pages, workers):
    """Nothing could be cleaned up: what is on the disk is all there is."""
    killed_read(local, name, folder, pages=pages, workers=workers, columns=" ".join(PLAIN))
    old_files = files(folder)
    before = searches(local)
    frame = read(local.sources[name], columns=PLAIN, checkpoint=folder, max_workers=workers)
    assert_complete(frame, CASES)
    size = local.sources[name].page_size
    # What was in no file is read again: under three pages a worker; and each gap begins a page.
    again = PAGES_PER_FILE * workers + len(old_files) + 2
    assert old_files
    assert searches(local) - before <= ceil(len(CASES) / size) - pages + again + 2 * workers
    assert searches(local) - before < ceil(len(CASES) / size) or workers > 1
    assert files(folder) == []


@pytest.mark.parametrize("pages", [10, 35])
def test_a_killed_read_of_two_passes_is_resumed_in_its_pass(local, folder, pages):
    killed_read(local, "connect", folder, pages=pages, workers=1, columns="")
    before = searches(local)
    frame = read(local.sources["connect"], checkpoint=folder, max_workers=1)
    assert_complete(frame, CASES)
    assert searches(local) - before <= 2 * 23 - pages + PAGES_PER_FILE + 6


def test_changes_between_two_attempts_are_read(folder):
    """The rows on the disk are old: what was updated or created since is read again."""
    with cs.LocalCases(numbered(400), now=NOW) as local, use_tuning(TUNING):
        local.sources = {"connect": local.connect_cases(page_size=20)}
        failed_read(local, "connect", folder, after=12)
        assert files(folder)
        local.advance(600)
        early = numbered(400)["case_id"]
        local.update(early[3], title="changed", count=-1)
        local.update(early[399], title="changed too", count=-2)
        local.delete(early[398])
        new = local.insert({"title": "new", "status": "open", "count": 7})
        frame = read(local.sources["connect"], columns=PLAIN, checkpoint=folder)
        truth = local.frame("connect")
    rows = frame.set_index("case_id")
    assert rows.loc[early[3], "title"] == "changed"
    assert new in rows.index
    assert sorted(rows.index) == sorted(truth["case_id"])
    assert (rows["title"] == truth.set_index("case_id")["title"].reindex(rows.index)).all()


@pytest.mark.parametrize("name", SERVICES)
def test_as_of_of_a_resumed_read_is_its_first_beginning(local, folder, name):
    """Rows on the disk are as old as that; a refresh has to start there."""
    before = local.clock().replace(microsecond=0)
    failed_read(local, name, folder)
    local.advance(3600)
    frame = read(local.sources[name], columns=PLAIN, checkpoint=folder)
    as_of = pd.Timestamp(frame.cases.provenance["as_of"])
    assert before <= as_of < before + timedelta(seconds=60)


# --- complete -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_complete_read_leaves_no_files(local, folder, name):
    assert_complete(read(local.sources[name], columns=PLAIN, checkpoint=folder), CASES)
    assert files(folder) == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_read_may_fail_several_times(local, folder, name):
    """Each attempt gets a little further; none loses what the others had."""
    counts = []
    for _ in range(2):
        failed_read(local, name, folder, after=4, max_workers=1)
        counts.append(len(files(folder)))
    assert counts[0] < counts[1]
    assert_complete(read(local.sources[name], columns=PLAIN, checkpoint=folder), CASES)


# --- refused ----------------------------------------------------------------------------------

OTHERS = {
    "another filter": {"status": "open"},
    "other columns": {"columns": ["case_id", "count"]},
    "more columns": {"columns": None},
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_checkpoint_of_another_read_is_refused(local, folder, other):
    """Rows of another read would be mixed in, and nothing would show it."""
    failed_read(local, "connect", folder)
    old_files, before = files(folder), len(local.requests)
    with pytest.raises(cs.FilterError, match=r"belongs to another read.*another folder"):
        read(local.sources["connect"], checkpoint=folder, **({"columns": PLAIN} | OTHERS[other]))
    assert len(local.requests) == before
    assert files(folder) == old_files


def test_the_checkpoint_of_the_other_service_is_refused(local, folder):
    failed_read(local, "connect", folder)
    with pytest.raises(cs.FilterError, match="belongs to another read"):
        read(local.sources["persona"], columns=PLAIN, checkpoint=folder)


class Trap:
    """An object that does harm when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _truncate(content, _):
    return content[: len(content) // 2]


def _flip_bit(content, _):
    return content[:-1] + bytes([content[-1] ^ 1])


def _foreign(*_):
    return b"case_id,status\ncase_1,open\n"


def _empty(*_):
    return b""


def _pickle(_, path):
    return pickle.dumps(Trap(path))


def _pickle_as_body(content, path):
    return _with_body(content, pickle.dumps(Trap(path)))


def _other_body(content, _):
    return _with_body(content, msgspec.msgpack.encode({"fingerprint": 3}))


def _with_body(content, body):
    """Return a file with another body and its checksum."""
    header = content[: content.index(b"\n") + 1]
    return header + zlib.crc32(body).to_bytes(4, "big") + body


DAMAGE = [_truncate, _flip_bit, _foreign, _empty, _pickle, _pickle_as_body, _other_body]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_file_is_refused_and_not_executed(local, folder, tmp_path, damage):
    failed_read(local, "connect", folder)
    path = folder / files(folder)[0]
    path.write_bytes(damage(path.read_bytes(), tmp_path / "harm"))
    old_files, before = files(folder), len(local.requests)
    with pytest.raises(cs.FilterError, match=r"is incomplete or damaged; remove it"):
        read(local.sources["connect"], columns=PLAIN, checkpoint=folder)
    assert len(local.requests) == before
    assert files(folder) == old_files
    assert not (tmp_path / "harm").exists()


def test_a_pickle_would_have_done_harm(tmp_path):
    """The trap above works."""
    pickle.loads(_pickle(b"", tmp_path / "harm"))
    assert (tmp_path / "harm").exists()


def test_a_file_of_an_earlier_version_is_refused(local, folder):
    """Its windows have the cases without a creation time elsewhere, and its names differ."""
    failed_read(local, "connect", folder)
    path = folder / files(folder)[0]
    path.write_bytes(path.read_bytes().replace(b"checkpoint 2\n", b"checkpoint 1\n"))
    with pytest.raises(cs.FilterError, match=r"was written by another version; remove it"):
        read(local.sources["connect"], columns=PLAIN, checkpoint=folder)


def test_other_files_in_the_folder_are_left_alone(local, folder):
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert_complete(read(local.sources["connect"], columns=PLAIN, checkpoint=folder), CASES)
    assert files(folder) == ["notes.txt"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_folder_that_cannot_be_written_is_an_error_before_any_request(local, tmp_path, name):
    (tmp_path / "file").write_text("no folder")
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match=r"checkpoint='.*' cannot be written"):
        read(local.sources[name], columns=PLAIN, checkpoint=str(tmp_path / "file" / "below"))
    assert len(local.requests) == before


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", SERVICES)
def test_a_full_disk_leaves_the_files_that_are_there(local, folder, monkeypatch, name, workers):
    """Half a file under the name of a complete one would be worse than none."""
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        cs.CaseSearchError, match=r"No space left.*the files that are there are intact"
    ):
        read(local.sources[name], columns=PLAIN, checkpoint=folder, max_workers=workers)
    monkeypatch.undo()
    assert len(files(folder)) == 2
    assert all(name.endswith(".cases") for name in files(folder))
    assert_complete(read(local.sources[name], columns=PLAIN, checkpoint=folder), CASES)


def test_relative_times_do_not_make_another_read(local, folder):
    """Now is another time at the second attempt; the filter is the same."""
    filters = {"created_at__gte": -timedelta(days=3650)}
    failed_read(local, "connect", folder, **filters)
    assert files(folder)
    frame = read(local.sources["connect"], columns=PLAIN, checkpoint=folder, **filters)
    assert_complete(frame, CASES)
