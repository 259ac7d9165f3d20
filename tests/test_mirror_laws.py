"""The laws of the filter language on a mirror: mirror, service, mask and a simple loop agree."""

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.mirror.filter_sql import irregular_letters, to_sql
from casesearch_pd.mirror.metadata import MirrorMetadata, StoredColumn
from casesearch_pd.mirror.staging import StagingTable
from casesearch_pd.mirror.storage import open_mirror_file, open_writer
from casesearch_pd.query.binding import BindingContext, bind
from casesearch_pd.query.expressions import Compare, any_of, negate
from casesearch_pd.reading.frames.masks import mask
from tests.bound_filters import FIELDS, NUMBER, TEXT, TIME, WHOLE, a_row, an_expression, keeps
from tests.filter_trees import ZONES, trees
from tests.hostile_cases import NOW, case_rows, hostile_rows
from tests.law_bench import LAW, QUICK, a_bench, quietly
from tests.reference_filter import matches

KINDS = {
    "connect": ({}, {}),
    "connect-generated": ({"cases": 130}, {}),
    "persona": ({}, {"assume": {"exact_text": True}}),
    "persona-bare": ({"wrapped": False}, {}),
    "persona-generated": ({"cases": 130}, {}),
}
SORTS = [None, "-created_at", "title", ["-status", "amount"], ["note", "-created_at"], "-case_id"]


@dataclass(frozen=True)
class MirroredBench:
    """A bench, and a mirror of its service."""

    bench: object
    mirror: cs.Mirror

    def _repr_pretty_(self, printer, _cycle):
        printer.text(self.bench.kind)


@contextmanager
def mirror_of(bench, folder):
    mirror = cs.Mirror(folder / "cases.duckdb")
    with quietly():
        mirror.sync(bench.source)
    yield MirroredBench(bench, mirror)


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    with (
        a_bench(request.param, hostile_rows(), *KINDS[request.param]) as bench,
        mirror_of(bench, tmp_path_factory.mktemp("mirror")) as mirrored,
    ):
        yield mirrored


def test_the_frame_equals_that_of_the_service(both):
    """Cells, dtypes, order of rows and columns: a difference would show in every analysis."""
    pd.testing.assert_frame_equal(cs.read_cases(both.mirror), both.bench.whole)


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_other_dtypes_and_zones_equal_those_of_the_service(both, backend):
    options = {"dtype_backend": backend, "tz": "Asia/Kathmandu"}
    with quietly():
        expected = cs.read_cases(both.bench.source, **options)
    pd.testing.assert_frame_equal(cs.read_cases(both.mirror, **options), expected)


def check_tree(both, tree, tz, chunksize):
    """Check all the laws of a read for one tree."""
    bench, mirror = both.bench, both.mirror
    expected = sorted(row["case_id"] for row in bench.table.rows if matches(tree, row, tz))
    bound = bind(tree, BindingContext(mirror.schema, tz, pd.Timestamp(NOW)))
    assert sorted(bench.whole["case_id"][mask(bench.whole, bound)]) == expected
    frame = cs.read_cases(mirror, tree, tz=tz)
    assert sorted(frame["case_id"]) == expected
    assert cs.count_cases(mirror, tree, tz=tz) == len(expected)
    with cs.iter_cases(mirror, tree, columns=["case_id"], tz=tz, chunksize=chunksize) as chunks:
        assert chunks.total == len(expected)
        assert pd.concat(list(chunks))["case_id"].tolist() == frame["case_id"].tolist()


@settings(QUICK, max_examples=80)
@given(data=st.data())
def test_mirror_and_mask_and_loop_agree(both, data):
    """A row too many or too few would be a wrong result that no user would notice."""
    tz = data.draw(st.sampled_from(ZONES), label="tz")
    tree = data.draw(trees(both.bench.table, tz), label="tree")
    with quietly():
        check_tree(both, tree, tz, data.draw(st.sampled_from([7, 1000]), label="chunksize"))


@pytest.mark.slow
@settings(LAW, max_examples=1_000)
@given(data=st.data())
def test_mirror_and_mask_and_loop_agree_in_thousands_of_trees(both, data):
    """The same for more trees than a test run has time for."""
    tz = data.draw(st.sampled_from(ZONES), label="tz")
    tree = data.draw(trees(both.bench.table, tz), label="tree")
    with quietly():
        check_tree(both, tree, tz, 30)


@pytest.mark.parametrize("service", ["connect", "persona"])
@settings(QUICK, max_examples=8)
@given(data=st.data())
def test_they_agree_on_any_cases(service, data, tmp_path_factory):
    """The cases of the other tests are written by hand; these are drawn."""
    with (
        a_bench(service, data.draw(case_rows(), label="cases"), {}, {}) as bench,
        mirror_of(bench, tmp_path_factory.mktemp("mirror")) as both,
    ):
        for _ in range(4):
            tree = data.draw(trees(bench.table), label="tree")
            with quietly():
                check_tree(both, tree, "UTC", 30)
                expected = cs.read_cases(bench.source, tree)
                frame = cs.read_cases(both.mirror, tree)
            pd.testing.assert_frame_equal(frame, expected)


@pytest.mark.parametrize("sort", SORTS, ids=str)
@pytest.mark.parametrize("limit", [None, 0, 13])
def test_order_and_limit_equal_those_of_the_service(both, sort, limit):
    """Ties, missing values and text have one order only."""
    if "generated" in both.bench.kind:
        pytest.skip("these cases have other columns")
    options = {"sort": sort, "limit": limit, "columns": ["case_id", "title"]}
    with quietly():
        expected = cs.read_cases(both.bench.source, **options)
    frame = cs.read_cases(both.mirror, **options)
    pd.testing.assert_frame_equal(frame, expected)
    with cs.iter_cases(both.mirror, chunksize=10, **options) as chunks:
        assert pd.concat(list(chunks))["case_id"].tolist() == expected["case_id"].tolist()


# --- the condition alone, on values that no service returns -----------------------------------

COLUMNS = {
    item.column: StoredColumn(item, item.column, "lists" if item.type == "list" else "plain")
    for item in FIELDS
}


@contextmanager
def staged(rows, folder):
    """Write rows as a sync writes them."""
    work_folder = folder / "work"
    work_folder.mkdir()
    with open_writer(work_folder, None) as connection:
        stage = StagingTable(connection)
        dtypes = {"amount": "Float64", "contacts": "Int64", "vip": "boolean"}
        dtypes |= {"title": "str", "priority": "str", "created_at": "datetime64[us, UTC]"}
        cells = {name: [row[name] for row in rows] for name in rows[0]}
        frame = pd.DataFrame(
            {
                name: pd.Series(values, dtype=dtypes.get(name, object))
                for name, values in cells.items()
            }
        )
        frame["case_id"] = pd.Series([f"{at}" for at in range(len(rows))], dtype="str")
        stage.add(frame, {item.column: item for item in (*FIELDS, replace(TEXT, column="case_id"))})
        yield connection, dict(stage.columns)


def matching_rows(connection, columns, expression):
    condition = to_sql(expression, columns)
    sql = f"SELECT case_id::INT FROM stage.cases WHERE {condition.sql} ORDER BY ALL"
    return [at for (at,) in connection.execute(sql, condition.parameters).fetchall()]


@settings(QUICK, max_examples=40)
@given(rows=st.lists(a_row(), min_size=1, max_size=12), data=st.data())
def test_sql_and_loop_agree_on_integers_beyond_doubles(rows, data, tmp_path_factory):
    """2**60 + 1 and 2.0**60 are not equal, whatever a double says."""
    with staged(rows, tmp_path_factory.mktemp("table")) as (connection, columns):
        for _ in range(5):
            expression = data.draw(an_expression(), label="filter")
            expected = [at for at, row in enumerate(rows) if keeps(expression, row)]
            sql = to_sql(expression, columns)
            assert matching_rows(connection, columns, expression) == expected, sql


BIG = [2**63, -(2**63) - 1, 2.0**63, 10**400, -(10**400), 1e308, 2**53 + 1, 0.1, -0.0, 5e-324]


@pytest.mark.parametrize("field", [NUMBER, WHOLE], ids=lambda item: item.type)
def test_numbers_out_of_range_are_compared_correctly(field, tmp_path):
    cells = {NUMBER: [0.1, -0.0, 1e308, 2.0**53, None], WHOLE: [2**63 - 1, -(2**63), 0, None]}
    row = dict.fromkeys(item.column for item in FIELDS)
    rows = [row | {field.column: cell} for cell in cells[field]]
    with staged(rows, tmp_path) as (connection, columns):
        for value in BIG:
            for op in ("eq", "lt", "lte", "gt", "gte"):
                comparison = Compare(field, op, value)
                expected = [at for at, row in enumerate(rows) if keeps(comparison, row)]
                assert matching_rows(connection, columns, comparison) == expected, comparison
                others = [at for at in range(len(rows)) if at not in expected]
                assert matching_rows(connection, columns, ~comparison) == others, comparison


MANY = {
    NUMBER: [number / 4 for number in range(-300, 300)] + BIG,
    WHOLE: [*range(-100, 100), *BIG],
    TEXT: [f"t{at}" for at in range(200)] + ["\ud800", "", "ß"],
    TIME: [pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(at, "us") for at in range(200)],
}


@pytest.mark.parametrize("size", [1, 2, 60, 400])
@pytest.mark.parametrize("field", MANY, ids=lambda item: item.type)
def test_lists_of_values_mean_the_same_as_single_comparisons(field, size, tmp_path):
    """One list of all values is looked up instead of compared value by value."""
    values = MANY[field][-size:]
    stored = [value for value in MANY[field] if storable(field, value)]
    row = dict.fromkeys(item.column for item in FIELDS)
    rows = [row | {field.column: cell} for cell in [*stored[::7], *stored[-9:], None]]
    equal = any_of(Compare(field, "eq", value) for value in values)
    with staged(rows, tmp_path) as (connection, columns):
        for expression in (equal, negate(equal), equal | Compare(field, "isna", None)):
            expected = [at for at, row in enumerate(rows) if keeps(expression, row)]
            assert matching_rows(connection, columns, expression) == expected
        assert to_sql(negate(equal), columns).sql.count(" IN (") <= 1


def storable(field, value):
    """Return whether a column of the mirror can hold a value."""
    if field == NUMBER:
        return abs(value) < 1e300 and float(value) == value
    if field == WHOLE:
        return -(2**63) <= value < 2**63 and value == int(value)
    return value != "\ud800"


@pytest.mark.parametrize("value", ["\ud800", "a\udfff", "\x00", "ß", "ﬃ", "İ", "ς"])
def test_lone_surrogates_and_irregular_letters_are_compared_correctly(value, tmp_path):
    texts = ["", "a", "a\x00b", "ẞ", "ffi", "i̇stanbul", "ΟΔΟΣ", "\ufffd", "\U0001f642", None]
    row = dict.fromkeys(item.column for item in FIELDS)
    rows = [row | {"title": text} for text in texts]
    with staged(rows, tmp_path) as (connection, columns):
        for op in ("eq", "lt", "lte", "gt", "gte", "contains"):
            comparison = Compare(TEXT, op, value)
            expected = [at for at, row in enumerate(rows) if keeps(comparison, row)]
            assert matching_rows(connection, columns, comparison) == expected, comparison


def test_the_schema_is_read_back_from_the_file(both):
    """Filters are bound by its labels, options, aliases and types, offline."""
    with open_mirror_file(both.mirror.path) as mirror:
        assert MirrorMetadata.from_json(mirror.metadata.to_json()) == mirror.metadata
    fields = {item.column: item for item in both.bench.source.schema.fields}
    for item in both.mirror.schema.fields:
        expected = replace(fields[item.column], type=item.type)
        # A mirror knows the values of its own cases.
        assert replace(item, active=expected.active, examples=expected.examples) == expected


def test_lower_case_of_other_letters_is_never_ascii(tmp_path):
    """If it were, the fast comparison would match what the mask does not."""
    letters = [chr(code) for code in range(0x80, 0x110000) if not 0xD800 <= code < 0xE000]
    irregular = {char for char in letters if any(part.isascii() for part in char.casefold())}
    assert {char for char in letters if re.match(irregular_letters(), char)} == irregular
    with open_writer(tmp_path, None) as connection:
        sql = (
            "SELECT x FROM (SELECT unnest(?) AS x) WHERE regexp_matches(lower(x), '[\\x00-\\x7f]')"
        )
        lowered = {char for (char,) in connection.execute(sql, [letters]).fetchall()}
        pattern = "SELECT x FROM (SELECT unnest(?) AS x) WHERE regexp_matches(x, ?)"
        matched = {
            char
            for (char,) in connection.execute(pattern, [letters, irregular_letters()]).fetchall()
        }
    assert lowered <= irregular
    assert matched == irregular
