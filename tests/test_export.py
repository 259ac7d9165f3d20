"""Files: no cell is a formula, values are read back unchanged, no old file is lost."""

import csv
import json
import math
import re
import warnings
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape

import casesearch_pd as cs
from casesearch_pd.export import files
from casesearch_pd.export.sanitize import escape_formula, join_cell
from casesearch_pd.reading.atomic import atomic_write
from casesearch_pd.reading.recent_reads import forget_reads

# Lone surrogates are not valid text, and XML does not allow the last two characters.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"))
HOSTILE = [
    "=cmd|' /C calc'!A0", "+1", "-73.9", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1",
    "\uff0d1", "\uff20a", " =1", "\ufeff=1", "\x00=1", "\u200b=1", "'=1", "a\r=1", 'a",=1', "a;=1",
    "<r>x</r>", '<r></t></is></c><c r="Z9"><f>1+1</f></c></r>', "_x003D_1", "http://a.example",
    "{=1}", "",
]  # fmt: skip
DANGEROUS = {"=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20"}


def frame_of(texts):
    """Return texts in three kinds of columns, and numbers that begin with a sign."""
    return pd.DataFrame(
        {
            "case_id": [f"c{at}" for at in range(len(texts))],
            "title": pd.Series(texts, dtype="str"),
            "level": pd.Categorical(texts),
            "tags": pd.Series([[text, "b"] for text in texts], dtype=object),
            "amount": [-73.9 - at for at in range(len(texts))],
            "size": pd.array([-1 - at for at in range(len(texts))], dtype="Int64"),
        }
    )


def csv_cells(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def sheet_of(path):
    return openpyxl.load_workbook(path).active


def cells_of(path):
    """Return all cells of a workbook, with Excel's escapes undone."""
    return [
        [unescape(cell) if isinstance(cell, str) else cell for cell in row]
        for row in sheet_of(path).iter_rows(values_only=True)
    ]


@pytest.fixture
def csv_path(tmp_path):
    return tmp_path / "cases.csv"


# --- cells --------------------------------------------------------------------------------


@given(TEXT)
@example("\r=1")
def test_no_text_is_a_formula(text):
    """Spreadsheets look at the first visible character, whatever invisible ones precede it."""
    visible = re.sub(r"^[\s\x00-\x20\ufeff\u200b]+", "", escape_formula(text))
    assert escape_formula(text)[:1] not in DANGEROUS
    assert visible[:1] not in DANGEROUS
    assert escape_formula(text) in (text, f"'{text}")


@pytest.mark.parametrize("text", ["a=1", "1-2", "'=1", "", "ann@x.example", "(=1)", "a\n=1"])
def test_other_text_is_unchanged(text):
    assert escape_formula(text) == text


def test_lists_are_joined_and_nested_values_are_json():
    assert join_cell(["a", 1, None, {"b": [2]}]) == 'a, 1, null, {"b": [2]}'
    assert join_cell(np.array(["a", "b"], dtype=object)) == "a, b"
    assert join_cell({"ß": 1}) == '{"ß": 1}'
    assert join_cell(None) is None


# --- CSV ----------------------------------------------------------------------------------


@settings(deadline=None)  # the first file of a process is slow
@given(st.lists(TEXT | st.sampled_from(HOSTILE), min_size=1, max_size=12))
@example(HOSTILE)
@example(["00"])
@example(["1e5", "NA", "", "True"])
def test_csv_is_read_back_but_for_apostrophes(tmp_path_factory, texts):
    """A cell that was truncated, split or doubled would belong to another case."""
    frame = frame_of(texts)
    path = frame.cases.to_csv(tmp_path_factory.mktemp("csv") / "cases.csv")
    # Without a dtype pandas guesses: it reads the text "00" as the number 0.
    text_columns = dict.fromkeys(["case_id", "title", "level", "tags"], str)
    back = pd.read_csv(path, keep_default_na=False, dtype=text_columns)
    assert back["case_id"].tolist() == frame["case_id"].tolist()
    assert back["title"].tolist() == [escape_formula(text) for text in texts]
    assert back["level"].tolist() == [escape_formula(text) for text in texts]
    assert back["tags"].tolist() == [escape_formula(f"{text}, b") for text in texts]
    assert back["amount"].tolist() == frame["amount"].tolist()
    assert back["size"].tolist() == frame["size"].tolist()


@pytest.mark.parametrize("dtype", ["str", "string", "string[pyarrow]", object, "category"])
def test_text_of_every_dtype_is_escaped(csv_path, dtype):
    frame = pd.DataFrame({"case_id": ["a", "b"], "t": pd.Series(["=1", None], dtype=dtype)})
    frame.cases.to_csv(csv_path)
    assert csv_cells(csv_path) == [["case_id", "t"], ["a", "'=1"], ["b", ""]]


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_numbers_and_times_are_not_escaped(csv_path, backend):
    """An apostrophe would turn them into text, and every sum would be wrong."""
    frame = pd.DataFrame(
        {
            "case_id": ["a"], "amount": [-73.9], "size": [-1], "vip": [True],
            "at": pd.to_datetime(["2026-03-14T12:00Z"]), "object": pd.Series([-5], dtype=object),
            "exact": pd.Series([Decimal("-1.50")], dtype=object),
        }
    )  # fmt: skip
    frame = frame if backend is None else frame.convert_dtypes(dtype_backend=backend)
    frame.cases.to_csv(csv_path)
    row = ["a", "-73.9", "-1", "True", "2026-03-14 12:00:00+00:00", "-5", "-1.50"]
    assert [cell.removesuffix("0") for cell in csv_cells(csv_path)[1]] == [
        cell.removesuffix("0") for cell in row
    ]


def test_column_names_and_row_labels_are_escaped(csv_path):
    frame = pd.DataFrame({"case_id": ["a"], "=n": [1]}, index=pd.Index(["@l"], name="+i"))
    frame.cases.to_csv(csv_path, index=True)
    assert csv_cells(csv_path) == [["'+i", "case_id", "'=n"], ["'@l", "a", "1"]]
    frame.cases.to_csv(csv_path, header=["-a", "b"])
    assert csv_cells(csv_path)[0] == ["'-a", "b"]
    frame.set_index(pd.Index(["=x"]), append=True).cases.to_csv(csv_path, index=True)
    assert csv_cells(csv_path)[1][:2] == ["'@l", "'=x"]


def test_pandas_options_are_supported(csv_path):
    frame = pd.DataFrame({"case_id": ["a", "b"], "n": [1.5, None], "t": ["=1", "x"]})
    frame.cases.to_csv(csv_path, sep=";", columns=["t", "n"], na_rep="-")
    assert csv_path.read_text().splitlines() == ['"t";"n"', '"\'=1";1.5', '"x";"-"']
    compressed = frame.cases.to_csv(csv_path.with_suffix(".csv.gz"))
    assert pd.read_csv(compressed)["case_id"].tolist() == ["a", "b"]


@pytest.mark.parametrize("option", [{"quoting": csv.QUOTE_MINIMAL}, {"mode": "a"}])
def test_unsafe_options_are_rejected(csv_path, option):
    """Python's csv does not quote a bare carriage return, where readers begin a row."""
    with pytest.raises(cs.FilterError, match=f"{next(iter(option))}.*leave .* out"):
        pd.DataFrame({"case_id": ["a"]}).cases.to_csv(csv_path, **option)
    assert not csv_path.exists()


def test_two_columns_of_one_name_are_both_written(csv_path):
    frame = pd.DataFrame([["a", "=1", "+2"]], columns=["case_id", "t", "t"])
    frame.cases.to_csv(csv_path)
    assert csv_cells(csv_path)[1] == ["a", "'=1", "'+2"]


# --- Excel --------------------------------------------------------------------------------


@settings(deadline=None)  # the first file of a process is slow
@given(st.lists(TEXT | st.sampled_from(HOSTILE), min_size=1, max_size=8))
@example(HOSTILE)
def test_excel_is_read_back_but_for_apostrophes(tmp_path_factory, texts):
    """The library takes text in <r>…</r> for XML of its own: it must not get into the sheet."""
    frame = frame_of(texts)
    path = frame.cases.to_excel(tmp_path_factory.mktemp("excel") / "cases.xlsx")
    rows = cells_of(path)[1:]
    values = [[row[0], row[1] or "", row[2] or "", row[3], row[4], row[5]] for row in rows]
    assert values == [
        [f"c{at}", *[escape_formula(text)] * 2, escape_formula(f"{text}, b"), -73.9 - at, -1 - at]
        for at, text in enumerate(texts)
    ]  # fmt: skip


def test_no_cell_of_a_workbook_is_a_formula(tmp_path):
    path = frame_of(HOSTILE).cases.to_excel(tmp_path / "cases.xlsx")
    with zipfile.ZipFile(path) as archive:
        sheets = [archive.read(name) for name in archive.namelist() if "sheet" in name]
    assert not any(b"<f>" in sheet or b"<hyperlink" in sheet for sheet in sheets)


def test_times_are_excel_times_of_their_zone(tmp_path):
    """Excel has no zones; without the zone in the name an hour would be lost twice a year."""
    times = ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", None, "1850-01-01T00:00:00Z"]
    at = pd.to_datetime(times, utc=True).as_unit("us").tz_convert("Europe/Berlin")
    frame = pd.DataFrame({"case_id": list("abcd"), "at": at, "naive": at.tz_localize(None)})
    frame["duration"] = pd.to_timedelta([1, 12, None, -24], unit="h")
    rows = cells_of(frame.cases.to_excel(tmp_path / "cases.xlsx"))
    assert rows[0] == ["case_id", "at (Europe/Berlin)", "naive (Europe/Berlin)", "duration (days)"]
    local_times = [datetime(2026, 3, 29, 1, 59, 59), datetime(2026, 3, 29, 3), None]  # noqa: DTZ001
    assert [row[1] for row in rows[1:4]] == local_times == [row[2] for row in rows[1:4]]
    assert rows[4][1].startswith("1850-01-01 00:53:28")
    assert [row[3] for row in rows[1:]] == [pytest.approx(1 / 24), 0.5, None, -1]


@settings(deadline=None)  # as above
@given(st.datetimes(datetime(1900, 3, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_time_is_kept_to_the_millisecond(tmp_path_factory, time):
    frame = pd.DataFrame({"case_id": ["a"], "at": pd.Series([time]).astype("datetime64[us, UTC]")})
    path = frame.cases.to_excel(tmp_path_factory.mktemp("excel") / "cases.xlsx")
    back = cells_of(path)[1][1]
    assert abs((back.replace(tzinfo=UTC) - time).total_seconds()) <= 0.001


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_types_of_cells_are_kept(tmp_path, backend):
    frame = pd.DataFrame(
        {
            "case_id": ["a", "b"], "vip": [True, None], "size": [-1, None], "amount": [-73.9, None],
            "at": pd.to_datetime(["2026-03-14T12:00Z", None]), "tags": [["=a", "b"], None],
        }
    ).convert_dtypes(dtype_backend=backend)  # fmt: skip
    rows = cells_of(frame.cases.to_excel(tmp_path / "cases.xlsx"))
    noon = datetime(2026, 3, 14, 12)  # noqa: DTZ001
    assert rows[1] == ["a", True, -1, -73.9, noon, "'=a, b"]
    assert rows[2] == ["b", None, None, None, None, None]


def test_numbers_that_excel_would_change_are_text(tmp_path):
    big = pd.array([2**53 + 1, 10**15 - 1, None], dtype="Int64")
    frame = pd.DataFrame({"case_id": list("abc"), "n": big, "f": [math.inf, 1e300, -0.5]})
    rows = cells_of(frame.cases.to_excel(tmp_path / "cases.xlsx"))
    assert [row[1] for row in rows[1:]] == ["9007199254740993", 10**15 - 1, None]
    assert [row[2] for row in rows[1:]] == ["inf", 1e300, -0.5]


@pytest.mark.parametrize(("letter", "size"), [("x", 32_767), ("🙂", 16_383)])
def test_long_text_is_truncated_with_a_warning(tmp_path, letter, size):
    """Excel counts in UTF-16 units, and reports a file with longer text as damaged."""
    frame = pd.DataFrame({"case_id": ["a", "b", "c"], "t": [letter * 40_000, letter * size, None]})
    with pytest.warns(UserWarning, match=r"longer text was truncated \(1 in 't'\)") as caught:
        path = frame.cases.to_excel(tmp_path / "cases.xlsx")
    assert caught[0].filename == __file__
    assert [row[1] for row in cells_of(path)[1:]] == [letter * size, letter * size, None]


def test_the_sheet_has_filters_and_suitable_widths(tmp_path):
    frame = pd.DataFrame({"case_id": ["a"] * 3, "t": ["x" * 500, "two\nlines", "c"]})
    sheet = sheet_of(frame.cases.to_excel(tmp_path / "cases.xlsx"))
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:B4"
    assert sheet["A1"].font.bold
    widths = [sheet.column_dimensions[letter].width for letter in "AB"]
    assert 10 < widths[0] < 20 < widths[1] < 70


def test_an_empty_frame_gives_a_sheet_of_headings(tmp_path):
    frame = pd.DataFrame({"case_id": pd.Series([], dtype="str"), "=t": pd.Series([], dtype="str")})
    assert cells_of(frame.cases.to_excel(tmp_path / "cases.xlsx")) == [["case_id", "'=t"]]
    assert csv_cells(frame.cases.to_csv(tmp_path / "cases.csv")) == [["case_id", "'=t"]]


def test_more_than_a_sheet_can_hold_is_rejected(tmp_path):
    """A file that was truncated silently would be taken for the complete result."""
    tall = pd.DataFrame({"case_id": np.broadcast_to("a", 1_048_576)})
    with pytest.raises(cs.FilterError, match=r"1,048,576 cases do not fit.*to_parquet"):
        tall.cases.to_excel(tmp_path / "cases.xlsx")
    wide = pd.DataFrame(np.zeros((1, 16_385)), columns=["case_id", *map(str, range(16_384))])
    with pytest.raises(cs.FilterError, match="16,385 columns"):
        wide.cases.to_excel(tmp_path / "cases.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_without_xlsxwriter_the_error_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xlsxwriter", None)
    with pytest.raises(ImportError, match=r"pip install 'casesearch_pd\[excel\]'"):
        pd.DataFrame({"case_id": ["a"]}).cases.to_excel(tmp_path / "cases.xlsx")
    assert list(tmp_path.iterdir()) == []


# --- Parquet ------------------------------------------------------------------------------


def restore_item(item):
    """Return an item of a list as it was before Parquet: a mapping is JSON text there."""
    return json.loads(item) if isinstance(item, str) and item.startswith("{") else item


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_parquet_keeps_values_and_provenance(tmp_path, backend):
    with cs.LocalCases(cases=60, seed=2) as local:
        frame = cs.read_cases(local.persona_cases(), dtype_backend=backend)
    path = frame.cases.to_parquet(tmp_path / "cases.parquet")
    options = {} if backend is None else {"dtype_backend": backend}
    back = pd.read_parquet(path, **options)
    assert back.cases.provenance == frame.cases.provenance
    assert list(back) == list(frame)
    lists = [name for name in frame if frame[name].map(lambda cell: isinstance(cell, list)).any()]
    assert {"tags", "documents"} <= {*lists}
    for name in lists:
        assert back[name].isna().tolist() == frame[name].isna().tolist()
        cells = [[restore_item(item) for item in cell] for cell in back[name].dropna()]
        assert cells == frame[name].dropna().tolist()
    same = [name for name in frame if frame[name].dtype != object]
    pd.testing.assert_frame_equal(back[same], frame[same])


def test_parquet_writes_mappings_as_json(tmp_path):
    """Parquet gives each mapping the keys of all others, and rejects one without keys."""
    cells = {
        "hash": [{"a": 1}, {"b": {}}, {}, None], "none": [None] * 4, "mixed": ["x", 1, [2], None],
        "empty": [[], [], None, []], "number": [1, -2, None, 3],
        "nested": [[{"a": 1}], ["b"], [], None],
    }  # fmt: skip
    frame = pd.DataFrame({"case_id": list("abcd")} | cells).astype(dict.fromkeys(cells, object))
    frame.attrs["mine"] = object()
    before = frame.copy(deep=True)
    back = pd.read_parquet(frame.cases.to_parquet(tmp_path / "cases.parquet"))
    assert back["hash"].tolist()[:3] == ['{"a": 1}', '{"b": {}}', "{}"]
    assert back["mixed"].tolist()[:3] == ['"x"', "1", "[2]"]
    assert [list(cell) for cell in back["nested"].dropna()] == [['{"a": 1}'], ["b"], []]
    assert back["number"].tolist()[:2] == [1, -2]
    assert back["none"].isna().all()
    assert back[["hash", "mixed", "nested"]].isna().iloc[3].all()
    pd.testing.assert_frame_equal(frame, before)


# --- paths --------------------------------------------------------------------------------

METHODS = ["to_csv", "to_excel", "to_parquet"]


@pytest.mark.parametrize("method", METHODS)
def test_a_path_that_cannot_be_written_is_rejected(tmp_path, method):
    cases = pd.DataFrame({"case_id": ["a"]}).cases
    (tmp_path / "file").write_text("old")
    for path in (tmp_path / "none" / "a.csv", tmp_path, tmp_path / "file" / "a.csv"):
        with pytest.raises(cs.FilterError, match=r"does not exist; create|is a (folder|file)"):
            getattr(cases, method)(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("method", METHODS)
def test_an_old_file_survives_a_failure(tmp_path, method, monkeypatch):
    """Half a file in place of a complete one is a loss that goes unnoticed."""
    path = tmp_path / "cases.out"
    path.write_text("old")
    frame = pd.DataFrame({"case_id": ["a"]})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    monkeypatch.setattr(files, "_write_cell", full)
    with pytest.raises(cs.CaseSearchError, match=r"cannot write .*No space.*intact"):
        getattr(frame.cases, method)(path)
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["cases.out"]


def test_a_disk_that_is_full_when_a_workbook_is_closed_is_an_error(tmp_path, monkeypatch):
    """The library writes most of a workbook when it is closed, and has errors of its own."""
    path = tmp_path / "cases.xlsx"
    path.write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", full)
    with pytest.raises(cs.CaseSearchError, match=r"No space.*intact"):
        pd.DataFrame({"case_id": ["a"]}).cases.to_excel(path)
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["cases.xlsx"]


@pytest.mark.parametrize("method", METHODS)
def test_a_file_is_replaced_and_its_path_returned(tmp_path, method, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "cases.out"
    path.write_text("old")
    frame = pd.DataFrame({"case_id": ["a"], "t": ["=1"], "l": [["=x"]]})
    before = frame.copy(deep=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(frame.cases, method)("~/cases.out") == path
    assert path.read_bytes() != b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["cases.out"]
    pd.testing.assert_frame_equal(frame, before)


def test_a_file_appears_only_when_all_is_written(tmp_path):
    with atomic_write(tmp_path / "a.csv") as (target, temporary):
        temporary.write_text("all")
        assert not target.exists()
        assert temporary.parent.parent == tmp_path
    assert target.read_text() == "all"


# --- labels ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled():
    """Return cases of Amazon Connect, and the labels of their options by column and value."""
    with cs.LocalCases(cases=60, seed=3) as local:
        frame = cs.read_cases(local.connect_cases(), progress=False)
    options = frame.cases.provenance["options"]
    return frame, {name: dict(pairs) for name, pairs in options.items() if name in frame.columns}


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_labels_replace_values_on_demand(labelled, tmp_path, kind):
    """People know "Waiting for customer", not the value that the service stores."""
    frame, options = labelled
    frame = frame.assign(priority=frame["priority"].where(frame.index > 0, "unknown"))
    frame.attrs = labelled[0].attrs
    write, read = (
        (frame.cases.to_csv, partial(pd.read_csv, dtype=str))
        if kind == "csv"
        else (frame.cases.to_excel, partial(pd.read_excel, dtype=str))
    )
    plain, shown = (read(write(tmp_path / f"a.{kind}", labels=labels)) for labels in (False, True))
    changed = 0
    for name, names in options.items():
        expected = [names.get(value, value) for value in plain[name].dropna()]
        assert shown[name].dropna().tolist() == expected
        changed += expected != plain[name].dropna().tolist()
    assert changed >= 2
    assert shown["priority"][0] == "unknown", "a value without a label stays"
    others = [name for name in plain if name not in options]
    pd.testing.assert_frame_equal(plain[others], shown[others])


def test_labels_need_provenance(labelled, tmp_path):
    frame = labelled[0].copy()
    frame.attrs = {}
    forget_reads()
    for write in (frame.cases.to_csv, frame.cases.to_excel, frame.cases.report):
        with pytest.raises(cs.FilterError, match=r"no provenance.*new\.attrs\.update"):
            write(tmp_path / "a.file", labels=True)
    assert not [*tmp_path.iterdir()]


def test_options_of_one_label_stay_apart(tmp_path):
    frame = pd.DataFrame({"case_id": list("abcd"), "level": ["1", "2", "3", None]})
    record = {"options": {"level": [["1", "High"], ["2", "High"], ["3", ""]], "gone": [["x", "X"]]}}
    frame.attrs["casesearch"] = json.dumps(record)
    text = frame.cases.to_csv(tmp_path / "a.csv", labels=True).read_text("utf-8")
    assert text.splitlines()[1:] == ['"a","High (1)"', '"b","High (2)"', '"c","3"', '"d",""']


def test_a_naive_time_has_the_zone_of_the_read_in_its_heading(tmp_path):
    times = pd.to_datetime(["2026-03-01 08:00"])
    frame = pd.DataFrame({"case_id": ["a"], "created_at": times})
    frame.cases.to_excel(tmp_path / "own.xlsx")
    frame.attrs["casesearch"] = json.dumps({"tz": "Asia/Kathmandu"})
    frame.cases.to_excel(tmp_path / "read.xlsx")
    headings = [list(pd.read_excel(tmp_path / f"{name}.xlsx")) for name in ("own", "read")]
    assert headings == [["case_id", "created_at"], ["case_id", "created_at (Asia/Kathmandu)"]]
