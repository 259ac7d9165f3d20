"""Cells that an SQL column cannot hold as they are: nested lists, gaps, lone surrogates."""

import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.mirror.merge import merge
from casesearch_pd.mirror.metadata import MirrorMetadata, Sync, record_sync
from casesearch_pd.mirror.staging import StagingTable
from casesearch_pd.mirror.storage import open_writer
from casesearch_pd.query.expressions import FALSE
from casesearch_pd.query.schema import Field
from casesearch_pd.sources.traits import ServiceTraits

NOW = pd.Timestamp("2026-03-14T12:00Z")
FIELDS = {
    name: Field(name, name, name, kind)
    for name, kind in {
        "case_id": "text", "created_at": "datetime", "updated_at": "datetime", "labels": "list",
        "address": "json", "anything": "any",
    }.items()
}  # fmt: skip


def write_mirror(folder, *parts):
    """Write a mirror as a sync does, from parts with the cells of a column each."""
    work_folder = folder / "work"
    work_folder.mkdir()
    rows = 0
    with open_writer(work_folder, None) as connection:
        stage = StagingTable(connection)
        for part in parts:
            size = len(next(iter(part.values())))
            frame = pd.DataFrame(
                {name: pd.Series(cells, dtype=object) for name, cells in part.items()}
            ).infer_objects()
            for name in {"labels", "address"} & part.keys():
                frame[name] = pd.Series(part[name], dtype=object)
            frame["case_id"] = pd.Series([f"case_{rows + at}" for at in range(size)], dtype="str")
            frame["created_at"] = frame["updated_at"] = NOW.as_unit("us")
            stage.add(frame, FIELDS)
            rows += size
        merged = merge(stage, None, [*FIELDS.values()], (FALSE,))
        metadata = MirrorMetadata(
            source={},
            traits=ServiceTraits(),
            filter={"and": []},
            selection=None,
            tz="UTC",
            columns=merged.columns,
            shared={},
            as_of=NOW.isoformat(),
            now=NOW.isoformat(),
            rows=rows,
        )
        record_sync(connection, metadata, Sync(1, "full", NOW, rows, rows, 0, 0, 0, 0.0))
        connection.execute("CHECKPOINT new; DETACH new")
    (work_folder / "new.duckdb").replace(folder / "cases.duckdb")
    return cs.Mirror(folder / "cases.duckdb")


REGULAR = [["red"], [], None, ["red", "größe=XL", "a\x00b"]]
IRREGULAR = [
    [[1, 2.5, True]],
    [["red", None]],
    [[["red"], {"red": 1}]],
    ["red"],
    [{"a": ["red"]}],
    [["\ud800"]],
]


@pytest.mark.parametrize("cells", IRREGULAR, ids=repr)
@pytest.mark.parametrize("first", [True, False])
def test_lists_of_any_values_are_read_back(cells, first, tmp_path):
    """Numbers in a list that are read back as text would differ from the service's values."""
    parts = [cells, REGULAR] if first else [REGULAR, cells]
    mirror = write_mirror(tmp_path, *({"labels": part} for part in parts))
    frame = cs.read_cases(mirror, sort="case_id")
    assert frame["labels"].tolist() == parts[0] + parts[1]
    matching = cs.read_cases(mirror, labels__contains="red")
    expected = [cell for cell in frame["labels"] if isinstance(cell, list) and "red" in cell]
    assert matching["labels"].tolist() == expected
    assert cs.count_cases(mirror, labels=None) == 1
    assert cs.count_cases(mirror, ~cs.field("labels").contains("red")) == 5 - len(expected)


def test_lists_of_text_are_lists_in_sql(tmp_path):
    mirror = write_mirror(tmp_path, {"labels": REGULAR})
    counts = mirror.sql("SELECT unnest(labels) AS label, count(*) AS n FROM cases GROUP BY 1")
    assert dict(zip(counts["label"], counts["n"], strict=True)) == {
        "red": 2, "größe=XL": 1, "a\x00b": 1,
    }  # fmt: skip


def test_nested_values_are_read_back(tmp_path):
    cells = [{"street": "Größe 1", "at": [1, 2]}, None, {}, "plain", {"torn": "\udfff"}, [1], 0]
    mirror = write_mirror(tmp_path, {"address": cells})
    frame = cs.read_cases(mirror, sort="case_id")
    assert frame["address"].tolist() == cells
    assert cs.count_cases(mirror, address=None) == 1


@pytest.mark.parametrize(
    ("parts", "dtype", "expected"),
    [
        ([[None, None], [3, 4]], "Int64", [None, None, 3, 4]),
        ([[3, 4], [0.5]], "Float64", [3, 4, 0.5]),
        ([[True], ["x"]], "str", ["true", "x"]),
        ([[3], ["x"]], "str", ["3", "x"]),
        ([["x"], [3]], "str", ["x", "3"]),
        ([["x"], [{"a": 1}]], "object", ["x", {"a": 1}]),
        ([[None, None]], "str", [None, None]),
    ],
    ids=repr,
)
def test_an_unknown_type_is_determined_by_the_cells(parts, dtype, expected, tmp_path):
    """Text wins, as everywhere, and nested values stay nested."""
    mirror = write_mirror(tmp_path, *({"anything": part} for part in parts))
    column = cs.read_cases(mirror, sort="case_id")["anything"]
    assert str(column.dtype) == dtype
    assert column.astype(object).where(column.notna(), None).tolist() == expected


def test_numbers_from_sql_have_the_dtypes_of_frames(tmp_path):
    mirror = write_mirror(tmp_path, {"labels": REGULAR})
    frame = mirror.sql(
        "SELECT 1.25::DECIMAL(9, 2) AS price, 3::HUGEINT AS number, 170::HUGEINT << 64 AS beyond, "
        "DATE '2026-03-14' AS day, created_at, [1, 2] AS pair, {'a': 1} AS struct "
        "FROM cases LIMIT 1"
    )
    assert frame["price"].item() == 1.25
    assert (str(frame["number"].dtype), str(frame["price"].dtype)) == ("Int64", "Float64")
    assert frame["beyond"].item() == float(170 << 64)
    assert str(frame["created_at"].dtype) == "datetime64[us, UTC]"
    assert (frame["pair"].item(), frame["struct"].item()) == ([1, 2], {"a": 1})
