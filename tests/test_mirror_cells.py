"""Cells that a column of a file does not take as they are: nested lists, gaps, half characters."""

import pandas as pd
import pytest

import casesearch_pd as cs
from casesearch_pd.mirror.merge import merge
from casesearch_pd.mirror.metadata import MirrorMetadata, Sync, record_sync
from casesearch_pd.mirror.staging import StagingTable
from casesearch_pd.mirror.storage import writer
from casesearch_pd.query.expressions import FALSE
from casesearch_pd.query.schema import Field

NOW = pd.Timestamp("2026-03-14T12:00Z")
FIELDS = {
    name: Field(name, name, name, kind)
    for name, kind in {
        "case_id": "text", "created_at": "datetime", "updated_at": "datetime", "labels": "list",
        "address": "json", "anything": "any",
    }.items()
}  # fmt: skip


def a_mirror(folder, *parts):
    """Write a file as a sync does, of the cells of a column for each part that comes."""
    work = folder / "work"
    work.mkdir()
    rows = 0
    with writer(work, None) as connection:
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
        about = MirrorMetadata({}, {"and": []}, None, "UTC", merged.kept, {}, NOW.isoformat(),
                      NOW.isoformat(), rows)  # fmt: skip
        record_sync(connection, about, Sync(1, "full", NOW, rows, rows, 0, 0, 0, 0.0))
        connection.execute("CHECKPOINT new; DETACH new")
    (work / "new.duckdb").replace(folder / "cases.duckdb")
    return cs.Mirror(folder / "cases.duckdb")


PLAIN = [["red"], [], None, ["red", "größe=XL", "a\x00b"]]
ODD = [
    [[1, 2.5, True]],
    [["red", None]],
    [[["red"], {"red": 1}]],
    ["red"],
    [{"a": ["red"]}],
    [["\ud800"]],
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("first", [True, False])
def test_lists_of_anything_come_back_as_they_were(odd, first, tmp_path):
    """Amounts in a list that came back as text would be other values than the service's."""
    cells = [odd, PLAIN] if first else [PLAIN, odd]
    mirror = a_mirror(tmp_path, *({"labels": part} for part in cells))
    frame = cs.read_cases(mirror, sort="case_id")
    assert frame["labels"].tolist() == cells[0] + cells[1]
    found = cs.read_cases(mirror, labels__contains="red")
    held = [cell for cell in frame["labels"] if isinstance(cell, list) and "red" in cell]
    assert found["labels"].tolist() == held
    assert cs.count_cases(mirror, labels=None) == 1
    assert cs.count_cases(mirror, ~cs.field("labels").contains("red")) == 5 - len(held)


def test_lists_of_text_are_lists_in_sql(tmp_path):
    mirror = a_mirror(tmp_path, {"labels": PLAIN})
    found = mirror.sql("SELECT unnest(labels) AS label, count(*) AS n FROM cases GROUP BY 1")
    assert dict(zip(found["label"], found["n"], strict=True)) == {
        "red": 2, "größe=XL": 1, "a\x00b": 1,
    }  # fmt: skip


def test_nested_values_come_back_as_they_were(tmp_path):
    cells = [{"street": "Größe 1", "at": [1, 2]}, None, {}, "plain", {"torn": "\udfff"}, [1], 0]
    mirror = a_mirror(tmp_path, {"address": cells})
    frame = cs.read_cases(mirror, sort="case_id")
    assert frame["address"].tolist() == cells
    assert cs.count_cases(mirror, address=None) == 1


@pytest.mark.parametrize(
    ("parts", "dtype", "wanted"),
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
def test_a_type_that_nobody_told_is_that_of_the_cells(parts, dtype, wanted, tmp_path):
    """Text wins, as everywhere; and what is nested is kept nested."""
    mirror = a_mirror(tmp_path, *({"anything": part} for part in parts))
    found = cs.read_cases(mirror, sort="case_id")["anything"]
    assert str(found.dtype) == dtype
    assert found.astype(object).where(found.notna(), None).tolist() == wanted


def test_numbers_of_sql_have_the_dtypes_of_frames(tmp_path):
    mirror = a_mirror(tmp_path, {"labels": PLAIN})
    found = mirror.sql(
        "SELECT 1.25::DECIMAL(9, 2) AS price, 3::HUGEINT AS whole, 170::HUGEINT << 64 AS beyond, "
        "DATE '2026-03-14' AS day, created_at, [1, 2] AS pair, {'a': 1} AS held FROM cases LIMIT 1"
    )
    assert found["price"].item() == 1.25
    assert (str(found["whole"].dtype), str(found["price"].dtype)) == ("Int64", "Float64")
    assert found["beyond"].item() == float(170 << 64)
    assert str(found["created_at"].dtype) == "datetime64[us, UTC]"
    assert (found["pair"].item(), found["held"].item()) == ([1, 2], {"a": 1})
