"""The laws of the filter language on a mirror: it, its service, the mask and a plain loop agree."""

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.mirror.filter_sql import to_sql
from casesearch_pd.mirror.metadata import MirrorMetadata, StoredColumn
from casesearch_pd.mirror.staging import StagingTable
from casesearch_pd.mirror.storage import irregular_letters, open_mirror_file, writer
from casesearch_pd.query.binding import BindingContext, bind
from casesearch_pd.query.expressions import Compare
from casesearch_pd.reading.frames.frame import mask
from tests.bound_filters import FIELDS, NUMBER, TEXT, WHOLE, a_row, an_expression, keeps
from tests.filter_trees import ZONES, trees
from tests.hostile_cases import NOW, case_rows, hostile_rows
from tests.law_bench import LAW, QUICK, a_bench, quietly
from tests.plain_reading import holds

KINDS = {
    "connect": ({}, {}),
    "connect-generated": ({"cases": 130}, {}),
    "persona": ({}, {"assume": {"exact_text": True}}),
    "persona-bare": ({"wrapped": False}, {}),
    "persona-generated": ({"cases": 130}, {}),
}
SORTS = [None, "-created_at", "title", ["-status", "amount"], ["note", "-created_at"], "-case_id"]


@dataclass(frozen=True)
class Mirrored:
    """A bench, and a mirror of its service."""

    bench: object
    mirror: cs.Mirror

    def _repr_pretty_(self, printer, _cycle):
        printer.text(self.bench.kind)


@contextmanager
def mirrored(bench, folder):
    mirror = cs.Mirror(folder / "cases.duckdb")
    with quietly():
        mirror.sync(bench.source)
    yield Mirrored(bench, mirror)


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    with (
        a_bench(request.param, hostile_rows(), *KINDS[request.param]) as bench,
        mirrored(bench, tmp_path_factory.mktemp("mirror")) as made,
    ):
        yield made


def test_the_whole_frame_is_that_of_the_service(both):
    """Cells, dtypes, order of rows and columns: a difference would show in every analysis."""
    found = cs.read_cases(both.mirror)
    pd.testing.assert_frame_equal(found, both.bench.whole)


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_other_dtypes_and_zones_are_those_of_the_service(both, backend):
    asked = {"dtype_backend": backend, "tz": "Asia/Kathmandu"}
    with quietly():
        wanted = cs.read_cases(both.bench.source, **asked)
    pd.testing.assert_frame_equal(cs.read_cases(both.mirror, **asked), wanted)


def check_tree(both, tree, tz, chunksize):
    """Hold one tree to all the laws of a read."""
    bench, mirror = both.bench, both.mirror
    wanted = sorted(row["case_id"] for row in bench.asked.rows if holds(tree, row, tz))
    bound = bind(tree, BindingContext(mirror.schema, tz, pd.Timestamp(NOW)))
    assert sorted(bench.whole["case_id"][mask(bench.whole, bound)]) == wanted
    found = cs.read_cases(mirror, tree, tz=tz)
    assert sorted(found["case_id"]) == wanted
    assert cs.count_cases(mirror, tree, tz=tz) == len(wanted)
    with cs.iter_cases(mirror, tree, columns=["case_id"], tz=tz, chunksize=chunksize) as chunks:
        assert chunks.total == len(wanted)
        assert pd.concat(list(chunks))["case_id"].tolist() == found["case_id"].tolist()


@settings(QUICK, max_examples=80)
@given(data=st.data())
def test_mirror_and_mask_and_loop_agree(both, data):
    """A row too many or too few would be a wrong answer, and nobody would look twice at it."""
    tz = data.draw(st.sampled_from(ZONES), label="tz")
    tree = data.draw(trees(both.bench.asked, tz), label="tree")
    with quietly():
        check_tree(both, tree, tz, data.draw(st.sampled_from([7, 1000]), label="chunksize"))


@pytest.mark.slow
@settings(LAW, max_examples=1_000)
@given(data=st.data())
def test_mirror_and_mask_and_loop_agree_in_thousands_of_trees(both, data):
    """The same over more trees than a test run has time for."""
    tz = data.draw(st.sampled_from(ZONES), label="tz")
    tree = data.draw(trees(both.bench.asked, tz), label="tree")
    with quietly():
        check_tree(both, tree, tz, 30)


@pytest.mark.parametrize("service", ["connect", "persona"])
@settings(QUICK, max_examples=8)
@given(data=st.data())
def test_they_agree_on_any_cases(service, data, tmp_path_factory):
    """The cases of the other tests are hostile by hand; these are drawn, and the service asked."""
    with (
        a_bench(service, data.draw(case_rows(), label="cases"), {}, {}) as bench,
        mirrored(bench, tmp_path_factory.mktemp("mirror")) as both,
    ):
        for _ in range(4):
            tree = data.draw(trees(bench.asked), label="tree")
            with quietly():
                check_tree(both, tree, "UTC", 30)
                asked = cs.read_cases(bench.source, tree)
                found = cs.read_cases(both.mirror, tree)
            pd.testing.assert_frame_equal(found, asked)


@pytest.mark.parametrize("sort", SORTS, ids=str)
@pytest.mark.parametrize("limit", [None, 0, 13])
def test_order_and_limit_are_those_of_the_service(both, sort, limit):
    """Ties, missing values and text sort one way only."""
    if "generated" in both.bench.kind:
        pytest.skip("it has other columns")
    asked = {"sort": sort, "limit": limit, "columns": ["case_id", "title"]}
    with quietly():
        wanted = cs.read_cases(both.bench.source, **asked)
    found = cs.read_cases(both.mirror, **asked)
    pd.testing.assert_frame_equal(found, wanted)
    with cs.iter_cases(both.mirror, chunksize=10, **asked) as chunks:
        assert pd.concat(list(chunks))["case_id"].tolist() == wanted["case_id"].tolist()


# --- the condition alone, on values that no wire brings ---------------------------------------

KEPT = {
    item.column: StoredColumn(item, item.column, "lists" if item.type == "list" else "plain")
    for item in FIELDS
}


@contextmanager
def a_table(rows, folder):
    """Write rows as a sync writes them."""
    work = folder / "work"
    work.mkdir()
    with writer(work, None) as connection:
        stage = StagingTable(connection)
        dtypes = {"amount": "Float64", "contacts": "Int64", "vip": "boolean"}
        dtypes |= {"title": "str", "priority": "str", "created_at": "datetime64[us, UTC]"}
        cells = {name: [row[name] for row in rows] for name in rows[0]}
        frame = pd.DataFrame(
            {name: pd.Series(held, dtype=dtypes.get(name, object)) for name, held in cells.items()}
        )
        frame["case_id"] = pd.Series([f"{at}" for at in range(len(rows))], dtype="str")
        stage.add(frame, {item.column: item for item in (*FIELDS, replace(TEXT, column="case_id"))})
        made = {
            name: StoredColumn(one.field, one.name, one.form) for name, one in stage.columns.items()
        }
        yield connection, made


def found_by(connection, kept, expression):
    asked = to_sql(expression, kept)
    sql = f"SELECT case_id::INT FROM stage.cases WHERE {asked.sql} ORDER BY ALL"
    return [at for (at,) in connection.execute(sql, asked.parameters).fetchall()]


@settings(QUICK, max_examples=40)
@given(rows=st.lists(a_row(), min_size=1, max_size=12), data=st.data())
def test_sql_and_loop_agree_on_whole_numbers_beyond_doubles(rows, data, tmp_path_factory):
    """2**60 + 1 and 2.0**60 are not equal, whatever a double says."""
    with a_table(rows, tmp_path_factory.mktemp("table")) as (connection, kept):
        for _ in range(5):
            expression = data.draw(an_expression(), label="filter")
            wanted = [at for at, row in enumerate(rows) if keeps(expression, row)]
            assert found_by(connection, kept, expression) == wanted, to_sql(expression, kept)


BIG = [2**63, -(2**63) - 1, 2.0**63, 10**400, -(10**400), 1e308, 2**53 + 1, 0.1, -0.0, 5e-324]


@pytest.mark.parametrize("field", [NUMBER, WHOLE], ids=lambda item: item.type)
def test_numbers_out_of_range_are_compared_all_the_same(field, tmp_path):
    cells = {NUMBER: [0.1, -0.0, 1e308, 2.0**53, None], WHOLE: [2**63 - 1, -(2**63), 0, None]}
    row = dict.fromkeys(item.column for item in FIELDS)
    rows = [row | {field.column: cell} for cell in cells[field]]
    with a_table(rows, tmp_path) as (connection, kept):
        for value in BIG:
            for op in ("eq", "lt", "lte", "gt", "gte"):
                literal = Compare(field, op, value)
                wanted = [at for at, row in enumerate(rows) if keeps(literal, row)]
                assert found_by(connection, kept, literal) == wanted, literal
                flipped = [at for at in range(len(rows)) if at not in wanted]
                assert found_by(connection, kept, ~literal) == flipped, literal


@pytest.mark.parametrize("value", ["\ud800", "a\udfff", "\x00", "ß", "ﬃ", "İ", "ς"])
def test_half_characters_and_odd_ones_are_compared_all_the_same(value, tmp_path):
    texts = ["", "a", "a\x00b", "ẞ", "ffi", "i̇stanbul", "ΟΔΟΣ", "\ufffd", "\U0001f642", None]
    row = dict.fromkeys(item.column for item in FIELDS)
    rows = [row | {"title": text} for text in texts]
    with a_table(rows, tmp_path) as (connection, kept):
        for op in ("eq", "lt", "lte", "gt", "gte", "contains"):
            literal = Compare(TEXT, op, value)
            wanted = [at for at, row in enumerate(rows) if keeps(literal, row)]
            assert found_by(connection, kept, literal) == wanted, literal


def test_the_schema_comes_back_from_the_file_as_it_was(both):
    """Labels, options, aliases and types are what filters are bound by, offline."""
    with open_mirror_file(both.mirror.path) as mirror:
        assert MirrorMetadata.read(mirror.about.written()) == mirror.about
    there = {item.column: item for item in both.bench.source.schema.fields}
    for item in both.mirror.schema.fields:
        settled = replace(there[item.column], type=item.type)
        assert replace(item, active=settled.active) == settled


def test_lower_case_of_other_letters_is_never_ascii(tmp_path):
    """Where it were, the short way through a text would find what the mask does not."""
    letters = [chr(code) for code in range(0x80, 0x110000) if not 0xD800 <= code < 0xE000]
    odd = {one for one in letters if any(part.isascii() for part in one.casefold())}
    assert {one for one in letters if re.match(irregular_letters(), one)} == odd
    work = tmp_path / "work"
    work.mkdir()
    with writer(work, None) as connection:
        sql = (
            "SELECT x FROM (SELECT unnest(?) AS x) WHERE regexp_matches(lower(x), '[\\x00-\\x7f]')"
        )
        lowered = {one for (one,) in connection.execute(sql, [letters]).fetchall()}
        pattern = "SELECT x FROM (SELECT unnest(?) AS x) WHERE regexp_matches(x, ?)"
        matched = {
            one for (one,) in connection.execute(pattern, [letters, irregular_letters()]).fetchall()
        }
    assert lowered <= odd
    assert matched == odd
