"""The laws of order and limit, on both services and on hostile cases.

The services sort in ways that no document describes; what a user gets is sorted in one.
"""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from tests.filter_trees import conditions
from tests.hostile_cases import hostile_rows
from tests.law_bench import KINDS, QUICK, a_bench, quietly
from tests.reference_filter import matches


@pytest.fixture(scope="module", params=KINDS)
def bench(request):
    with a_bench(request.param, hostile_rows(), *KINDS[request.param]) as new_bench:
        yield new_bench


def in_order(rows, sort):
    """Sort plain rows: missing last whichever way, ties by case_id."""
    rows = sorted(rows, key=lambda row: row["case_id"])
    for key in reversed(sort):
        name = key.removeprefix("-")
        there = [row for row in rows if row[name] is not None]
        there.sort(key=lambda row, name=name: row[name], reverse=key.startswith("-"))
        rows = [*there, *(row for row in rows if row[name] is None)]
    return [row["case_id"] for row in rows]


def sorts(table):
    names = [item.names[0] for item in table.columns if item.type not in {"list", "tags", "json"}]
    key = st.builds(str.__add__, st.sampled_from(["", "-"]), st.sampled_from(names))
    return st.lists(key, max_size=3, unique_by=lambda key: key.removeprefix("-"))


@settings(QUICK, max_examples=30)
@given(data=st.data())
def test_a_limit_is_the_head_of_the_whole_order(bench, data):
    """A limit that the service cut from an order of its own would show other cases."""
    tree = data.draw(st.none() | conditions(bench.table), label="tree")
    sort = data.draw(sorts(bench.table), label="sort")
    limit = data.draw(st.sampled_from([0, 1, 3, 20, 99, 100, 101, 200]), label="limit")
    rows = [row for row in bench.table.rows if tree is None or matches(tree, row)]
    expected = in_order(rows, sort or ["created_at"])[:limit]
    with quietly():
        result = cs.read_cases(bench.source, tree, columns=["case_id"], sort=sort, limit=limit)
    assert result["case_id"].tolist() == expected


@settings(QUICK, max_examples=20)
@given(data=st.data())
def test_a_limit_of_chunks_is_that_head_or_an_error(bench, data):
    """Chunks come in the order of the service, and cannot be sorted afterwards."""
    tree = data.draw(st.none() | conditions(bench.table), label="tree")
    limit = data.draw(st.sampled_from([0, 1, 3, 20, 101, 200]), label="limit")
    rows = [row for row in bench.table.rows if tree is None or matches(tree, row)]
    with quietly():
        partitions = cs.explain_cases(bench.source, tree, columns=["case_id"]).partitions
        result = in_chunks(bench.source, tree, limit)
    refusal = limit > 0 and partitions > 0 and (partitions > 1 or bench.kind == "persona-listed")
    assert result == (None if refusal else in_order(rows, ["created_at"])[:limit])


def in_chunks(source, tree, limit):
    """Read the ids in chunks; None if that cannot be."""
    try:
        chunks = cs.iter_cases(source, tree, columns=["case_id"], limit=limit, chunksize=9)
    except cs.FilterError:
        return None
    return pd.concat(list(chunks))["case_id"].tolist()
