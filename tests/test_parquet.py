"""`to_parquet`: the rows of a read in a file or a folder, completely or not at all."""

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
from tests.emulator_clients import CLOSED
from tests.numbered_cases import without_faults

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
SERVICES = ("connect", "persona")


@pytest.fixture(scope="module")
def service():
    with cs.LocalCases(cases=430, seed=3, now=NOW) as service:
        service.sources = {"connect": service.connect_cases(), "persona": service.persona_cases()}
        for source in service.sources.values():
            _ = source.schema
        yield service


@pytest.fixture
def local(service):
    yield from without_faults(service)


@pytest.fixture(params=SERVICES)
def source(request, local):
    return local.sources[request.param]


def restore_cells(frame, expected):
    """Restore what Parquet changes: lists are read as arrays, and nested values as JSON."""
    columns = {name: [_restore_cell(cell) for cell in frame[name]] for name in objects(expected)}
    return frame.assign(**{name: pd.Series(cells, dtype=object) for name, cells in columns.items()})


def _restore_cell(cell):
    if isinstance(cell, str):
        return json.loads(cell)
    if not isinstance(cell, np.ndarray):
        return None
    return [json.loads(item) if item.startswith("{") else item for item in cell]


def objects(frame):
    return [name for name in frame if frame[name].dtype == object]


def assert_same(stored, expected):
    """Check that a file has the cells and dtypes of a frame."""
    assert_frame_equal(restore_cells(stored, expected), expected)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- contents -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu"])
def test_the_file_is_the_frame(source, tmp_path, backend, tz):
    """The file of a result that does not fit in memory must not differ from its frame."""
    frame_format = {"dtype_backend": backend, "tz": tz}
    path = cs.to_parquet(source, tmp_path / "cases.parquet", chunksize=90, **frame_format)
    assert path == tmp_path / "cases.parquet"
    stored, expected = pd.read_parquet(path), cs.read_cases(source, **frame_format)
    assert_same(stored, expected)
    assert pq.ParquetFile(path).num_row_groups > 2


@pytest.mark.parametrize("output", ["cases.parquet", "cases/"])
def test_the_provenance_is_that_of_the_whole_read(source, tmp_path, output):
    options = {"status": ["open", *CLOSED[source.name]], "columns": ["case_id", "status"]}
    path = cs.to_parquet(source, f"{tmp_path}/{output}", chunksize=100, **options)
    stored = pd.read_parquet(path).cases.provenance
    expected = cs.read_cases(source, **options).cases.provenance
    for each in (stored, expected):
        for name in ("as_of", "now", "requests"):
            each.pop(name)
    assert stored == expected
    assert stored["rows"] == len(pd.read_parquet(path)) > 100


@pytest.mark.parametrize("output", ["cases.parquet", "cases/"])
def test_an_empty_result_is_a_file_with_the_same_columns(source, tmp_path, output):
    path = cs.to_parquet(source, f"{tmp_path}/{output}", title="no such title")
    stored = pd.read_parquet(path)
    assert stored.empty
    assert_same(stored, cs.read_cases(source, title="no such title"))
    assert stored.cases.provenance["rows"] == 0


def test_arrow_reads_the_columns_and_metadata(source, tmp_path):
    """The footer is written by hand, and Arrow itself must understand it."""
    path = cs.to_parquet(source, tmp_path / "cases.parquet", columns=["case_id", "created_at"])
    schema = pq.read_schema(path)
    assert schema.field("created_at").type == pa.timestamp("us", "UTC")
    assert schema.field("case_id").type == pa.large_string()
    assert {b"pandas", b"PANDAS_ATTRS"} <= pq.read_metadata(path).metadata.keys()
    assert json.loads(schema.metadata[b"PANDAS_ATTRS"]).keys() == {"casesearch"}


@pytest.mark.parametrize("output", ["cases.parquet", "cases/"])
def test_nested_values_are_json_text(local, tmp_path, output):
    """As structs, each would be read with the keys of all others."""
    options = {"columns": ["case_id", "address", "tags"]}
    path = cs.to_parquet(local.sources["persona"], f"{tmp_path}/{output}", **options)
    stored, expected = pd.read_parquet(path), cs.read_cases(local.sources["persona"], **options)
    assert {type(cell) for cell in expected["address"].dropna()} == {dict}
    assert stored["address"].dtype == "str"
    assert [json.loads(cell) for cell in stored["address"].dropna()] == list(
        expected["address"].dropna()
    )
    assert list(map(list, stored["tags"])) == list(expected["tags"])


# --- folders --------------------------------------------------------------------------------------


def cases_with_late_fields(**late):
    cases = {"created_at": pd.date_range("2026-01-01", periods=330, freq="h", tz="UTC")}
    return pd.DataFrame({**cases, **late})


def without_fields(local, *names):
    """Return a source that does not know some fields until they appear."""
    source = local.persona_cases()
    known = [item for item in source.schema.fields if item.column not in names]
    return local.persona_cases(schema=type(source.schema)(tuple(known), open=True))


def test_a_folder_keeps_fields_that_appear_late(tmp_path):
    """A single file has one schema, which is written before the last row is read."""
    late = [None] * 120 + ["x"] * 210
    number = [None] * 220 + [1.5] * 110
    with cs.LocalCases(cases_with_late_fields(late=late, number=number), now=NOW) as local:
        source = without_fields(local, "late", "number")
        path = cs.to_parquet(source, f"{tmp_path}/cases/", chunksize=100)
        with pytest.warns(UserWarning, match="left out: late"):
            cs.to_parquet(source, tmp_path / "cases.parquet", chunksize=100)
        expected = cs.read_cases(source)
    schemas = {frozenset(pq.read_schema(part).names) for part in path.iterdir()}
    assert len(schemas) == 3
    stored = pd.read_parquet(path)
    assert_same(stored[expected.columns], expected)
    assert not {"late", "number"} & set(pd.read_parquet(tmp_path / "cases.parquet"))


def test_conflicting_types_of_a_late_field_become_text(tmp_path):
    """Values written as numbers are read as text, like the texts that come later."""
    mixed = pd.Series([None] * 100 + [1] * 100 + [2.5] * 50 + ["x"] * 80, dtype=object)
    with cs.LocalCases(cases_with_late_fields(other=["a"] * 330), now=NOW) as local:
        source = without_fields(local, "other")
        read_page = source.read_page

        def page(*options):
            result = read_page(*options)
            if "other" in result.columns:
                start = page.rows
                page.rows += result.rows
                cells = mixed[start : page.rows].tolist()
                result.columns["other"] = [None if pd.isna(cell) else cell for cell in cells]
                result.new_fields = {"other": replace(result.new_fields["other"], type="any")}
            return result

        page.rows = 0
        source.read_page = page
        path = cs.to_parquet(source, f"{tmp_path}/cases/", chunksize=100)
    stored = pd.read_parquet(path)["other"]
    assert stored.isna().sum() == 100
    assert set(stored.dropna()) == {"1", "2.5", "x"} or set(stored.dropna()) == {"1.0", "2.5", "x"}


def test_a_second_read_replaces_the_parts_of_the_first(source, tmp_path):
    folder = tmp_path / "cases"
    cs.to_parquet(source, f"{folder}/", columns=["case_id"])
    (folder / "notes.txt").write_text("mine")
    (folder / "cases-00077.parquet").write_bytes((folder / "cases-00001.parquet").read_bytes())
    path = cs.to_parquet(source, folder, columns=["case_id"], limit=50)
    assert path == folder
    assert files(folder) == ["cases-00000.parquet", "cases-00001.parquet", "notes.txt"]
    assert len(pd.read_parquet(folder / "cases-00001.parquet")) == 50


# --- atomic replacement ---------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["cases.parquet", "cases/"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_failed_read_leaves_the_old_file_and_nothing_else(local, tmp_path, name, output):
    source, path = local.sources[name], f"{tmp_path}/{output}"
    cs.to_parquet(source, path, columns=["case_id"], limit=7)
    before = files(tmp_path)
    local.faults.append(Fault("error", status=400, after=2))
    with pytest.raises(cs.IncompleteReadError) as stored:
        cs.to_parquet(source, path, columns=["case_id"], chunksize=100)
    assert "was not written: what was there is intact" in stored.value.__notes__[0]
    assert files(tmp_path) == before
    assert len(pd.read_parquet(path)) == 7


def test_a_failed_first_read_leaves_nothing(local, tmp_path):
    for output in ("cases.parquet", "cases/"):
        local.faults.append(Fault("error", status=400, after=2))
        with pytest.raises(cs.IncompleteReadError):
            cs.to_parquet(local.sources["connect"], f"{tmp_path}/{output}", columns=["case_id"])
        local.faults.clear()
    assert files(tmp_path) == []


def test_an_interrupted_read_leaves_the_old_file(local, tmp_path, monkeypatch):
    source, path = local.sources["persona"], tmp_path / "cases.parquet"
    path.write_text("old")
    read_page, options = source.read_page, []

    def page(*arguments):
        options.append(1)
        if len(options) == 3:
            raise KeyboardInterrupt
        return read_page(*arguments)

    monkeypatch.setattr(source, "read_page", page, raising=False)
    with pytest.raises(cs.ReadInterrupted):
        cs.to_parquet(source, path, columns=["case_id"], chunksize=100)
    assert files(tmp_path) == ["cases.parquet"]
    assert path.read_text() == "old"


def test_a_partial_result_is_written_on_request(local, tmp_path):
    local.faults.append(Fault("error", status=400, after=2))
    with pytest.warns(UserWarning, match="incomplete result"):
        path = cs.to_parquet(
            local.sources["persona"], tmp_path / "x.parquet", on_error="partial", chunksize=100
        )
    stored = pd.read_parquet(path)
    assert stored.cases.provenance["complete"] is False
    assert stored.cases.provenance["rows"] == len(stored) == 200


@pytest.mark.parametrize("output", ["cases.parquet", "cases/"])
def test_a_full_disk_leaves_the_old_file(local, tmp_path, monkeypatch, output):
    source, path = local.sources["connect"], f"{tmp_path}/{output}"
    cs.to_parquet(source, path, columns=["case_id"], limit=7)
    before = files(tmp_path)
    writes = []

    def fail(*_, **__):
        writes.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    with pytest.raises(cs.CaseSearchError, match=r"No space left.*free disk space.*is intact"):
        cs.to_parquet(source, path, columns=["case_id"])
    monkeypatch.undo()
    assert writes
    assert files(tmp_path) == before
    assert len(pd.read_parquet(path)) == 7


# --- errors ---------------------------------------------------------------------------------------


def refusal(local, path, **options):
    before = len(local.requests)
    with pytest.raises(cs.FilterError) as stored:
        cs.to_parquet(local.sources["connect"], path, columns=["case_id"], **options)
    assert len(local.requests) == before
    return str(stored.value)


def test_a_path_that_cannot_be_written_is_refused_before_any_request(local, tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "mine.parquet").write_text("of others")
    assert "does not exist; create" in refusal(local, tmp_path / "no" / "cases.parquet")
    assert "does not exist; create" in refusal(local, tmp_path / "file" / "cases.parquet")
    assert "omit the slash" in refusal(local, f"{tmp_path}/file/")
    assert "'mine.parquet', which would be read" in refusal(local, tmp_path / "others")
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_write_permission_is_refused(local, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "no permission to write" in refusal(local, tmp_path / "locked" / "cases.parquet")


def test_invalid_options_are_refused(local, tmp_path):
    path = tmp_path / "x.parquet"
    assert "chunksize must be a positive integer, got 0" in refusal(local, path, chunksize=0)
    assert "max_workers must be a positive integer or None, got 0" in refusal(
        local, path, max_workers=0
    )
    assert "on_error must be 'raise' or 'partial'" in refusal(local, path, on_error="ignore")
    assert "lookback must be a duration" in refusal(local, path, lookback=timedelta(-1))
    assert files(tmp_path) == []
