"""Reads that are killed and taken up again, and folders that are not what they should be."""

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
from casesearch_pd.reading.fetch import workers as crew
from tests.numbered_cases import (
    CASES,
    NOW,
    PLAIN,
    SERVICES,
    assert_whole,
    numbered,
    read,
    served,
    without_faults,
)

EVERY = 3  # pages between two files


@pytest.fixture(scope="module")
def service():
    with served(50, _PAGES_A_FILE=EVERY, _ALONE=3) as running:
        yield running


@pytest.fixture
def local(service):
    yield from without_faults(service)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoint"


def searches(local):
    return sum(one.path.endswith("search") for one in local.requests)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def broken_off(local, name, folder, *, after=8, **named):
    """Read until the service fails for good; leave the checkpoint behind."""
    fault = Fault("error", status=400, after=after)
    local.faults.append(fault)
    with pytest.raises(cs.IncompleteReadError):
        read(local.sources[name], checkpoint=folder, **({"columns": PLAIN} | named))
    local.faults.remove(fault)


# --- killed -----------------------------------------------------------------------------------

KILLED = """
import os, signal, sys, threading
import boto3
import casesearch_pd as cs
from casesearch_pd.reading.fetch import workers as crew

service, url, domain, token, folder, pages, workers, columns = sys.argv[1:]
crew._PAGES_A_FILE, crew._ALONE = 3, 3
if service == "connect":
    session = boto3.Session("LOCAL", "local", region_name="us-east-1")
    source = cs.ConnectCases(
        domain, endpoint_url=url, boto3_session=session, page_size=50, rate=float("inf")
    )
else:
    source = cs.PersonaCases(token=token, base_url=url + "/api/v1", rate=float("inf"))
real, asked, lock = source.page, [], threading.Lock()

def page(*question):
    with lock:
        asked.append(1)
        if len(asked) > int(pages):
            os.kill(os.getpid(), signal.SIGKILL)
    return real(*question)

source.page = page
cs.read_cases(
    source, columns=columns.split() or None, checkpoint=folder, progress=False,
    max_workers=int(workers),
)
"""


def killed(local, name, folder, *, pages, workers, columns):
    """Read in another process, which is killed as it asks for one page more."""
    arguments = [name, local.url, local.domain_id, local.token, folder, pages, workers, columns]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("name", "pages"), [("connect", 14), ("persona", 8)])
def test_a_read_that_was_killed_goes_on_where_it_was(local, folder, name, pages, workers):
    """Nothing could be tidied up: what is on the disk is all there is."""
    killed(local, name, folder, pages=pages, workers=workers, columns=" ".join(PLAIN))
    kept = files(folder)
    before = searches(local)
    frame = read(local.sources[name], columns=PLAIN, checkpoint=folder, max_workers=workers)
    assert_whole(frame, CASES)
    size = local.sources[name].page_size
    # What no file held is read again: under three pages a reader; and each gap begins a page.
    again = EVERY * workers + len(kept) + 2
    assert kept
    assert searches(local) - before <= ceil(len(CASES) / size) - pages + again + 2 * workers
    assert searches(local) - before < ceil(len(CASES) / size) or workers > 1
    assert files(folder) == []


@pytest.mark.parametrize("pages", [10, 35])
def test_a_read_of_two_passes_goes_on_in_the_pass_it_was_in(local, folder, pages):
    killed(local, "connect", folder, pages=pages, workers=1, columns="")
    before = searches(local)
    frame = read(local.sources["connect"], checkpoint=folder, max_workers=1)
    assert_whole(frame, CASES)
    assert searches(local) - before <= 2 * 23 - pages + EVERY + 6


def test_what_changed_between_two_attempts_is_seen(folder):
    """The rows on the disk are old; who was updated since is read again, who came is found."""
    with cs.LocalCases(numbered(400), now=NOW) as local, pytest.MonkeyPatch.context() as patch:
        patch.setattr(crew, "_PAGES_A_FILE", EVERY)
        local.sources = {"connect": local.connect_cases(page_size=20)}
        broken_off(local, "connect", folder, after=12)
        assert files(folder)
        local.advance(600)
        early = numbered(400)["case_id"]
        local.update(early[3], title="changed", count=-1)
        local.update(early[399], title="changed too", count=-2)
        local.delete(early[398])
        new = local.insert({"title": "new", "status": "open", "count": 7})
        frame = read(local.sources["connect"], columns=PLAIN, checkpoint=folder)
        truth = local.frame("connect")
    told = frame.set_index("case_id")
    assert told.loc[early[3], "title"] == "changed"
    assert new in told.index
    assert sorted(told.index) == sorted(truth["case_id"])
    assert (told["title"] == truth.set_index("case_id")["title"].reindex(told.index)).all()


@pytest.mark.parametrize("name", SERVICES)
def test_a_resumed_read_tells_when_it_first_began(local, folder, name):
    """Rows on the disk are as old as that; a refresh has to begin there."""
    before = local.clock().replace(microsecond=0)
    broken_off(local, name, folder)
    local.advance(3600)
    frame = read(local.sources[name], columns=PLAIN, checkpoint=folder)
    told = pd.Timestamp(frame.cases.provenance["as_of"])
    assert before <= told < before + timedelta(seconds=60)


# --- done -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_read_that_comes_to_its_end_leaves_nothing_behind(local, folder, name):
    assert_whole(read(local.sources[name], columns=PLAIN, checkpoint=folder), CASES)
    assert files(folder) == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_read_may_break_off_as_often_as_it_will(local, folder, name):
    """Each attempt goes a little further; none loses what the others had."""
    kept = []
    for _ in range(2):
        broken_off(local, name, folder, after=4, max_workers=1)
        kept.append(len(files(folder)))
    assert kept[0] < kept[1]
    assert_whole(read(local.sources[name], columns=PLAIN, checkpoint=folder), CASES)


# --- refused ----------------------------------------------------------------------------------

OTHERS = {
    "another filter": {"status": "open"},
    "other columns": {"columns": ["case_id", "count"]},
    "more columns": {"columns": None},
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_checkpoint_of_another_read_is_refused(local, folder, other):
    """Rows of another question would be mixed in, and nobody could tell."""
    broken_off(local, "connect", folder)
    kept, before = files(folder), len(local.requests)
    with pytest.raises(cs.FilterError, match=r"belongs to another read.*another folder"):
        read(local.sources["connect"], checkpoint=folder, **({"columns": PLAIN} | OTHERS[other]))
    assert len(local.requests) == before
    assert files(folder) == kept


def test_the_checkpoint_of_the_other_service_is_refused(local, folder):
    broken_off(local, "connect", folder)
    with pytest.raises(cs.FilterError, match="belongs to another read"):
        read(local.sources["persona"], columns=PLAIN, checkpoint=folder)


class Trap:
    """What does harm as it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _truncated(held, _):
    return held[: len(held) // 2]


def _changed(held, _):
    return held[:-1] + bytes([held[-1] ^ 1])


def _foreign(*_):
    return b"case_id,status\ncase_1,open\n"


def _empty(*_):
    return b""


def _pickled(_, path):
    return pickle.dumps(Trap(path))


def _pickled_within(held, path):
    return _sealed(held, pickle.dumps(Trap(path)))


def _other_content(held, _):
    return _sealed(held, msgspec.msgpack.encode({"question": 3}))


def _sealed(held, body):
    """Put another body into a file, with a checksum that fits."""
    magic = held[: held.index(b"\n") + 1]
    return magic + zlib.crc32(body).to_bytes(4, "big") + body


SPOILED = [_truncated, _changed, _foreign, _empty, _pickled, _pickled_within, _other_content]


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_file_that_is_not_whole_and_ours_is_refused_and_not_executed(
    local, folder, tmp_path, spoil
):
    broken_off(local, "connect", folder)
    path = folder / files(folder)[0]
    path.write_bytes(spoil(path.read_bytes(), tmp_path / "harm"))
    kept, before = files(folder), len(local.requests)
    with pytest.raises(cs.FilterError, match=r"no whole checkpoint.*remove it"):
        read(local.sources["connect"], columns=PLAIN, checkpoint=folder)
    assert len(local.requests) == before
    assert files(folder) == kept
    assert not (tmp_path / "harm").exists()


def test_a_pickle_would_have_done_harm(tmp_path):
    """The trap above does work."""
    pickle.loads(_pickled(b"", tmp_path / "harm"))
    assert (tmp_path / "harm").exists()


def test_other_files_in_the_folder_are_left_alone(local, folder):
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert_whole(read(local.sources["connect"], columns=PLAIN, checkpoint=folder), CASES)
    assert files(folder) == ["notes.txt"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_asked(local, tmp_path, name):
    (tmp_path / "file").write_text("no folder")
    before = len(local.requests)
    with pytest.raises(cs.FilterError, match=r"checkpoint='.*' cannot be written"):
        read(local.sources[name], columns=PLAIN, checkpoint=str(tmp_path / "file" / "below"))
    assert len(local.requests) == before


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", SERVICES)
def test_a_disk_that_fills_keeps_what_is_there(local, folder, monkeypatch, name, workers):
    """Half a file, under the name of a whole one, would be worse than none."""
    real, written = os.fsync, []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(cs.CaseSearchError, match=r"No space left.*what is there is intact"):
        read(local.sources[name], columns=PLAIN, checkpoint=folder, max_workers=workers)
    monkeypatch.undo()
    assert len(files(folder)) == 2
    assert all(name.endswith(".cases") for name in files(folder))
    assert_whole(read(local.sources[name], columns=PLAIN, checkpoint=folder), CASES)


def test_times_relative_to_now_are_kept_as_they_were_written(local, folder):
    """Now is another one at the second attempt; the question is the same."""
    named = {"created_at__gte": -timedelta(days=3650)}
    broken_off(local, "connect", folder, **named)
    assert files(folder)
    frame = read(local.sources["connect"], columns=PLAIN, checkpoint=folder, **named)
    assert_whole(frame, CASES)
