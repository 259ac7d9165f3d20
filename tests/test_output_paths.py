"""Files that are written: their permissions, links in their place, and ``~`` in their paths."""

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

import casesearch_pd as cs
from casesearch_pd.reading import atomic

SERVICE = {"cases": 60, "seed": 4}
OTHER_USER = 4711


class OpenedFiles:
    """The files that are opened for writing, while it is active; a hook cannot be removed."""

    def __init__(self):
        self.names, self.active = set(), True
        sys.addaudithook(self.note)

    def note(self, event, arguments):
        """Note one event of the interpreter."""
        if self.active and event == "open" and isinstance(arguments[0], str | os.PathLike):
            flags = arguments[2]
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.names.add(os.fspath(arguments[0]))


@pytest.fixture(scope="module")
def connect(service):
    return service.sources["connect"]


@pytest.fixture(scope="module")
def frame(connect):
    return cs.read_cases(connect, progress=False)


WRITERS = {
    "cases.csv": lambda _, df, path: df.cases.to_csv(path),
    "cases.xlsx": lambda _, df, path: df.cases.to_excel(path),
    "cases.parquet": lambda _, df, path: df.cases.to_parquet(path),
    "cases.html": lambda _, df, path: df.cases.report(path),
    "stream.parquet": lambda source, _, path: cs.to_parquet(source, path),
    "cases.duckdb": lambda source, _, path: cs.Mirror(path).sync(source, progress=False),
}


@pytest.fixture(params=WRITERS)
def write(request, connect, frame):
    """Return a function that writes cases to a path, and the name of a file for it."""
    writer = WRITERS[request.param]
    return SimpleNamespace(name=request.param, to=lambda path: writer(connect, frame, path))


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


# --- permissions --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_replaced_file_keeps_its_mode(write, mode, tmp_path):
    path = tmp_path / write.name
    write.to(path)
    path.chmod(mode)
    before = path.stat().st_ino
    write.to(path)
    assert mode_of(path) == mode
    assert path.stat().st_ino != before


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_new_file_follows_the_umask_and_a_new_mirror_is_private(write, mask, tmp_path):
    previous = os.umask(mask)
    try:
        write.to(tmp_path / write.name)
    finally:
        os.umask(previous)
    private = write.name.endswith(".duckdb")
    assert mode_of(tmp_path / write.name) == (0o600 if private else 0o666 & ~mask)
    for path in tmp_path.glob(".*"):  # the lock of a mirror
        assert mode_of(path) == 0o600


def test_part_files_keep_the_mode_of_the_parts_before(connect, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for _ in range(2):
        cs.to_parquet(connect, folder)
        for part in folder.iterdir():
            mode = mode_of(part)
            part.chmod(0o600)
    assert mode == 0o600


def test_a_part_that_is_a_link_is_refused(connect, tmp_path):
    folder, precious = tmp_path / "parts", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("precious")
    (folder / "cases-00001.parquet").symlink_to(precious)
    with pytest.raises(cs.FilterError, match="symbolic link"):
        cs.to_parquet(connect, folder)
    assert precious.read_text() == "precious"


def test_the_group_of_a_replaced_file_is_kept_or_loses_its_rights(tmp_path, monkeypatch):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    new.write_text("new")
    old.chmod(0o664)
    group = SimpleNamespace(st_uid=old.stat().st_uid, st_gid=OTHER_USER, st_mode=0o100664)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    atomic._copy_permissions(group, new)
    assert mode_of(new) == 0o604


def test_a_checkpoint_is_private(connect, tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint"
    seen = {}
    clear = "casesearch_pd.reading.fetch.checkpoint.Checkpoint.clear"
    monkeypatch.setattr(clear, lambda _: seen.update({p: mode_of(p) for p in folder.iterdir()}))
    cs.read_cases(connect, checkpoint=folder, progress=False)
    assert seen
    assert set(seen.values()) == {0o600}
    assert mode_of(folder) == 0o700


# --- links --------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [True, False])
def test_the_target_of_a_link_is_written(write, exists, tmp_path):
    """The link leads to a larger disk; a file in its place would fill the small one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    target, path = disk / "target", tmp_path / write.name
    if exists:
        write.to(target)
        target.chmod(0o600)
    (tmp_path / "hop").symlink_to("disk/target")
    path.symlink_to(tmp_path / "hop")
    before = target.stat().st_ino if exists else None
    write.to(path)
    assert path.is_symlink()
    assert (tmp_path / "hop").is_symlink()
    assert target.is_file()
    assert target.stat().st_ino != before
    assert not exists or mode_of(target) == 0o600


def test_a_mirror_is_locked_and_read_through_its_link(connect, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "link.duckdb").symlink_to(disk / "cases.duckdb")
    linked, mirror = cs.Mirror(tmp_path / "link.duckdb"), cs.Mirror(disk / "cases.duckdb")
    linked.sync(connect, progress=False)
    assert mirror.sync(progress=False, source=connect).number == 2
    assert len(cs.read_cases(linked)) == len(cs.read_cases(mirror)) == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link.duckdb"]


def test_a_link_to_a_folder_is_written_as_the_folder(connect, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "link").symlink_to("parts")
    cs.to_parquet(connect, tmp_path / "link")
    assert [*(tmp_path / "parts").glob("cases-*.parquet")]


def test_a_link_to_itself_and_a_device_are_refused(frame, tmp_path):
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(cs.FilterError, match="leads to itself"):
        frame.cases.to_csv(tmp_path / "loop.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(cs.FilterError, match="device or a pipe"):
        frame.cases.to_csv(tmp_path / "pipe.csv")
    assert stat.S_ISFIFO((tmp_path / "pipe.csv").stat().st_mode)


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """Return a folder that everybody may write to, where another user owns what is planted."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    lstat = Path.lstat

    def of_other_user(path):
        status = lstat(path)
        if path.parent == folder and path.name.startswith("planted"):
            fields = {name: getattr(status, name) for name in dir(status) if name[:3] == "st_"}
            return SimpleNamespace(**fields | {"st_uid": OTHER_USER})
        return status

    monkeypatch.setattr(Path, "lstat", of_other_user)
    return folder


def test_a_link_of_another_user_is_not_followed(write, shared, tmp_path):
    precious, path = tmp_path / "precious", shared / f"planted-{write.name}"
    precious.write_text("precious")
    path.symlink_to(precious)
    with pytest.raises(cs.FilterError, match="another user"):
        write.to(path)
    assert precious.read_text() == "precious"


def test_a_link_of_ones_own_in_a_shared_folder_is_followed(write, shared, tmp_path):
    (shared / write.name).symlink_to(tmp_path / "target")
    write.to(shared / write.name)
    assert (tmp_path / "target").is_file()


@pytest.mark.parametrize("is_link", [True, False])
def test_a_checkpoint_folder_of_another_user_is_refused(connect, shared, is_link, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    path = shared / "planted"
    path.symlink_to(precious) if is_link else path.mkdir()
    with pytest.raises(cs.FilterError, match="another user"):
        cs.read_cases(connect, checkpoint=path, progress=False)
    assert not [*path.iterdir()]


def test_the_mode_of_a_file_of_another_user_is_not_taken(frame, shared):
    """Cases would be readable by everybody because somebody else has made an open file."""
    path = shared / "planted.csv"
    path.write_text("")
    path.chmod(0o666)
    previous = os.umask(0o077)
    try:
        frame.cases.to_csv(path)
    finally:
        os.umask(previous)
    assert mode_of(path) == 0o600


def test_a_checkpoint_folder_may_be_a_link_of_ones_own(connect, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    cs.read_cases(connect, checkpoint=tmp_path / "link", progress=False)
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("make", ["symlink", "hard link", "pipe"])
def test_nothing_is_written_through_names_that_can_be_guessed(connect, frame, make, tmp_path):
    """Another user may put a link where a file of a known name is opened."""
    first, second, precious = (tmp_path / name for name in ("first", "second", "precious"))

    def write_all(folder):
        for name, writer in WRITERS.items():
            with suppress(cs.CaseSearchError, OSError):
                writer(connect, frame, folder / name)
        with suppress(cs.CaseSearchError, OSError):
            cs.read_cases(connect, checkpoint=folder / "checkpoint", progress=False)

    for folder in (first, second, precious):
        folder.mkdir()
    opened, prefix = OpenedFiles(), f"{first}{os.sep}"
    write_all(first)
    opened.active = False
    names = sorted(path.removeprefix(prefix) for path in opened.names if prefix in path)
    assert len(names) > 5
    for number, name in enumerate(names):
        target, planted = precious / str(number), second / name
        target.write_text("precious")
        planted.parent.mkdir(parents=True, exist_ok=True)
        match make:
            case "symlink":
                planted.symlink_to(target)
            case "hard link":
                planted.hardlink_to(target)
            case _:
                os.mkfifo(planted)
    write_all(second)
    assert {path.read_text() for path in precious.iterdir()} == {"precious"}


def test_private_files_are_regular_files_of_their_own(tmp_path):
    target, path = tmp_path / "target", tmp_path / "name"
    target.write_text("precious")
    os.close(atomic.open_private(tmp_path / "new"))
    assert mode_of(tmp_path / "new") == 0o600
    path.symlink_to(target)
    for exist_ok in (True, False):
        with pytest.raises(OSError):  # noqa: PT011 - its errno differs by system
            atomic.open_private(path, exist_ok=exist_ok)
    with pytest.raises(OSError):  # noqa: PT011 - its errno differs by system
        atomic.read_private(path)
    with pytest.raises(FileExistsError):
        atomic.open_private(target)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe or a device"):
        atomic.read_private(tmp_path / "pipe")
    assert target.read_text() == "precious"


# --- the home folder ----------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert not [*(tmp_path / "here").iterdir()]


def test_a_file_in_the_home_folder(write, home):
    write.to(f"~/{write.name}")
    write.to(Path("~") / write.name)
    assert (home / write.name).is_file()


def test_a_folder_and_a_checkpoint_in_the_home_folder(connect, home):
    cs.to_parquet(connect, "~/parts/")
    cs.read_cases(connect, checkpoint="~/checkpoint", progress=False)
    cs.to_parquet(connect, Path("~/all.parquet"), checkpoint=Path("~/other"))
    assert sorted(path.name for path in home.iterdir()) == [
        "all.parquet", "checkpoint", "other", "parts",
    ]  # fmt: skip


def test_a_mirror_without_a_suffix_is_opened_in_the_home_folder(connect, home):
    cs.Mirror("~/cases").sync(connect, progress=False)
    assert (home / "cases").is_file()
    assert cs.count_cases(cs.open_source("~/cases")) == 60


def test_the_home_folder_of_nobody_is_a_missing_folder(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(cs.CaseSearchError, match="nobody-of-this-name"):
        write.to(f"~nobody-of-this-name/{write.name}")
    assert not [*tmp_path.iterdir()]
