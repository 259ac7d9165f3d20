"""`to_parquet`: the rows of a read in a file or a folder, whole or not at all."""

import errno
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

import casesearch_pd as cs
from casesearch_pd.emulator import Fault
from tests.numbered_cases import without_faults

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
SERVICES = ("connect", "persona")


@pytest.fixture(scope="module")
def service():
    with cs.LocalCases(cases=430, seed=3, now=NOW) as running:
        running.sources = {"connect": running.connect_cases(), "persona": running.persona_cases()}
        for source in running.sources.values():
            _ = source.schema
        yield running


@pytest.fixture
def local(service):
    yield from without_faults(service)


@pytest.fixture(params=SERVICES)
def source(request, local):
    return local.sources[request.param]


def plain(frame, whole):
    """Bring back what Parquet has no room for: lists come as arrays, nested values as JSON."""
    told = {name: [_back(cell) for cell in frame[name]] for name in objects(whole)}
    return frame.assign(**{name: pd.Series(cells, dtype=object) for name, cells in told.items()})


def _back(cell):
    if isinstance(cell, str):
        return json.loads(cell)
    return list(cell) if isinstance(cell, np.ndarray) else None


def objects(frame):
    return [name for name in frame if frame[name].dtype == object]


def assert_same(told, whole):
    """Hold every cell and every dtype of a file to the frame."""
    assert_frame_equal(plain(told, whole), whole)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- what is in it ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu"])
def test_the_file_is_the_frame(source, tmp_path, backend, tz):
    """Whoever cannot hold the frame must not get another one on the disk."""
    look = {"dtype_backend": backend, "tz": tz}
    path = cs.to_parquet(source, tmp_path / "cases.parquet", chunksize=90, **look)
    assert path == tmp_path / "cases.parquet"
    told, whole = pd.read_parquet(path), cs.read_cases(source, **look)
    assert_same(told, whole)
    assert pq.ParquetFile(path).num_row_groups > 2


@pytest.mark.parametrize("place", ["cases.parquet", "cases/"])
def test_its_provenance_is_that_of_the_whole_read(source, tmp_path, place):
    asked = {"status": ["open", "closed"], "columns": ["case_id", "status"]}
    path = cs.to_parquet(source, f"{tmp_path}/{place}", chunksize=100, **asked)
    told = pd.read_parquet(path).cases.provenance
    whole = cs.read_cases(source, **asked).cases.provenance
    for each in (told, whole):
        for name in ("as_of", "now", "requests"):
            each.pop(name)
    assert told == whole
    assert told["rows"] == len(pd.read_parquet(path)) > 100


@pytest.mark.parametrize("place", ["cases.parquet", "cases/"])
def test_no_case_is_a_file_of_the_same_columns(source, tmp_path, place):
    path = cs.to_parquet(source, f"{tmp_path}/{place}", title="no such title")
    told = pd.read_parquet(path)
    assert told.empty
    assert_same(told, cs.read_cases(source, title="no such title"))
    assert told.cases.provenance["rows"] == 0


def test_other_readers_find_the_columns_too(source, tmp_path):
    """The footer is written by hand; Arrow itself has to understand it."""
    path = cs.to_parquet(source, tmp_path / "cases.parquet", columns=["case_id", "created_at"])
    schema = pq.read_schema(path)
    assert schema.field("created_at").type == pa.timestamp("us", "UTC")
    assert schema.field("case_id").type == pa.large_string()
    assert {b"pandas", b"PANDAS_ATTRS"} <= pq.read_metadata(path).metadata.keys()
    assert json.loads(schema.metadata[b"PANDAS_ATTRS"]).keys() == {"casesearch"}


@pytest.mark.parametrize("place", ["cases.parquet", "cases/"])
def test_nested_values_are_json_text(local, tmp_path, place):
    """As structs each would come back with the keys of all the others."""
    asked = {"columns": ["case_id", "address", "tags"]}
    path = cs.to_parquet(local.sources["persona"], f"{tmp_path}/{place}", **asked)
    told, whole = pd.read_parquet(path), cs.read_cases(local.sources["persona"], **asked)
    assert {type(cell) for cell in whole["address"].dropna()} == {dict}
    assert told["address"].dtype == "str"
    assert [json.loads(cell) for cell in told["address"].dropna()] == list(
        whole["address"].dropna()
    )
    assert list(map(list, told["tags"])) == list(whole["tags"])


# --- folders ----------------------------------------------------------------------------------


def late_cases(**late):
    cases = {"created_at": pd.date_range("2026-01-01", periods=330, freq="h", tz="UTC")}
    return pd.DataFrame({**cases, **late})


def blind(local, *names):
    """Know nothing of some fields until they come."""
    source = local.persona_cases()
    known = [item for item in source.schema.fields if item.column not in names]
    return local.persona_cases(schema=type(source.schema)(tuple(known), open=True))


def test_a_folder_keeps_what_is_met_late(tmp_path):
    """One file has one schema, which is written before its last row is known."""
    late = [None] * 120 + ["x"] * 210
    number = [None] * 220 + [1.5] * 110
    with cs.LocalCases(late_cases(late=late, number=number), now=NOW) as local:
        source = blind(local, "late", "number")
        path = cs.to_parquet(source, f"{tmp_path}/cases/", chunksize=100)
        with pytest.warns(UserWarning, match="left out: late"):
            cs.to_parquet(source, tmp_path / "cases.parquet", chunksize=100)
        whole = cs.read_cases(source)
    schemas = {frozenset(pq.read_schema(part).names) for part in path.iterdir()}
    assert len(schemas) == 3
    told = pd.read_parquet(path)
    assert_same(told[whole.columns], whole)
    assert not {"late", "number"} & set(pd.read_parquet(tmp_path / "cases.parquet"))


def test_of_two_types_met_late_text_wins(tmp_path):
    """What was written as numbers is read as text, beside the texts that came later."""
    mixed = pd.Series([None] * 100 + [1] * 100 + [2.5] * 50 + ["x"] * 80, dtype=object)
    with cs.LocalCases(late_cases(other=["a"] * 330), now=NOW) as local:
        source = blind(local, "other")
        real = source.read_page

        def page(*asked):
            got = real(*asked)
            if "other" in got.columns:
                start = page.rows
                page.rows += got.rows
                cells = mixed[start : page.rows].tolist()
                got.columns["other"] = [None if pd.isna(cell) else cell for cell in cells]
                got.new_fields = {"other": replace(got.new_fields["other"], type="any")}
            return got

        page.rows = 0
        source.read_page = page
        path = cs.to_parquet(source, f"{tmp_path}/cases/", chunksize=100)
    told = pd.read_parquet(path)["other"]
    assert told.isna().sum() == 100
    assert set(told.dropna()) == {"1", "2.5", "x"} or set(told.dropna()) == {"1.0", "2.5", "x"}


def test_a_second_read_replaces_the_parts_of_the_first(source, tmp_path):
    folder = tmp_path / "cases"
    cs.to_parquet(source, f"{folder}/", columns=["case_id"])
    (folder / "notes.txt").write_text("mine")
    (folder / "cases-00077.parquet").write_bytes((folder / "cases-00001.parquet").read_bytes())
    path = cs.to_parquet(source, folder, columns=["case_id"], limit=50)
    assert path == folder
    assert files(folder) == ["cases-00000.parquet", "cases-00001.parquet", "notes.txt"]
    assert len(pd.read_parquet(folder / "cases-00001.parquet")) == 50


# --- whole or not at all ----------------------------------------------------------------------


@pytest.mark.parametrize("place", ["cases.parquet", "cases/"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_read_that_breaks_off_leaves_the_old_file_and_nothing_else(local, tmp_path, name, place):
    source, path = local.sources[name], f"{tmp_path}/{place}"
    cs.to_parquet(source, path, columns=["case_id"], limit=7)
    before = files(tmp_path)
    local.faults.append(Fault("error", status=400, after=2))
    with pytest.raises(cs.IncompleteReadError) as told:
        cs.to_parquet(source, path, columns=["case_id"], chunksize=100)
    assert "was not written: what was there is intact" in told.value.__notes__[0]
    assert files(tmp_path) == before
    assert len(pd.read_parquet(path)) == 7


def test_the_first_read_that_breaks_off_leaves_nothing(local, tmp_path):
    for place in ("cases.parquet", "cases/"):
        local.faults.append(Fault("error", status=400, after=2))
        with pytest.raises(cs.IncompleteReadError):
            cs.to_parquet(local.sources["connect"], f"{tmp_path}/{place}", columns=["case_id"])
        local.faults.clear()
    assert files(tmp_path) == []


def test_a_stopped_read_leaves_the_old_file(local, tmp_path, monkeypatch):
    source, path = local.sources["persona"], tmp_path / "cases.parquet"
    path.write_text("old")
    real, asked = source.read_page, []

    def page(*question):
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(*question)

    monkeypatch.setattr(source, "read_page", page, raising=False)
    with pytest.raises(cs.ReadInterrupted):
        cs.to_parquet(source, path, columns=["case_id"], chunksize=100)
    assert files(tmp_path) == ["cases.parquet"]
    assert path.read_text() == "old"


def test_a_part_may_be_kept_if_that_is_asked_for(local, tmp_path):
    local.faults.append(Fault("error", status=400, after=2))
    with pytest.warns(UserWarning, match="this read is not whole"):
        path = cs.to_parquet(
            local.sources["persona"], tmp_path / "x.parquet", on_error="partial", chunksize=100
        )
    told = pd.read_parquet(path)
    assert told.cases.provenance["complete"] is False
    assert told.cases.provenance["rows"] == len(told) == 200


@pytest.mark.parametrize("place", ["cases.parquet", "cases/"])
def test_a_disk_that_fills_leaves_the_old_file(local, tmp_path, monkeypatch, place):
    source, path = local.sources["connect"], f"{tmp_path}/{place}"
    cs.to_parquet(source, path, columns=["case_id"], limit=7)
    before = files(tmp_path)
    written = []

    def full(*_, **__):
        written.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(cs.CaseSearchError, match=r"No space left.*make room.*is intact"):
        cs.to_parquet(source, path, columns=["case_id"])
    monkeypatch.undo()
    assert written
    assert files(tmp_path) == before
    assert len(pd.read_parquet(path)) == 7


# --- refused ----------------------------------------------------------------------------------


def refused(local, path, **named):
    before = len(local.requests)
    with pytest.raises(cs.FilterError) as told:
        cs.to_parquet(local.sources["connect"], path, columns=["case_id"], **named)
    assert len(local.requests) == before
    return str(told.value)


def test_a_place_that_cannot_be_written_is_told_before_anything_is_asked(local, tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "mine.parquet").write_text("of others")
    assert "is in no folder that there is" in refused(local, tmp_path / "no" / "cases.parquet")
    assert "is in no folder that there is" in refused(local, tmp_path / "file" / "cases.parquet")
    assert "leave the slash out" in refused(local, f"{tmp_path}/file/")
    assert "'mine.parquet', that would be read" in refused(local, tmp_path / "others")
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_written_is_refused(local, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot be written" in refused(local, tmp_path / "locked" / "cases.parquet")


def test_options_that_mean_nothing_are_refused(local, tmp_path):
    path = tmp_path / "x.parquet"
    assert "no number of rows" in refused(local, path, chunksize=0)
    assert "reads nothing" in refused(local, path, max_workers=0)
    assert "neither 'raise' nor 'partial'" in refused(local, path, on_error="ignore")
    assert "no length of time" in refused(local, path, lookback=timedelta(-1))
    assert files(tmp_path) == []
