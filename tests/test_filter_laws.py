"""The laws of the filter language, with drawn trees, on both services and on hostile cases.

Whatever a service can be asked, these three agree: what a read brings home, the local mask on
all rows, and a plain Python loop.
"""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.query.binding import BindingContext, bind
from casesearch_pd.reading.frames.masks import mask
from tests import legal_requests
from tests.emulator_clients import persona_all
from tests.filter_trees import ZONES, trees
from tests.hostile_cases import NOW, case_rows, hostile_rows
from tests.law_bench import DISJOINT, KINDS, LAW, QUICK, a_bench, quietly
from tests.reference_filter import matches


@pytest.fixture(scope="module", params=KINDS)
def bench(request):
    with a_bench(request.param, hostile_rows(), *KINDS[request.param]) as new_bench:
        yield new_bench


def check_tree(bench, tree, tz, chunksize):
    """Hold one tree to all the laws of a read."""
    bench.local.requests.clear()
    expected = sorted(row["case_id"] for row in bench.table.rows if matches(tree, row, tz))
    assert masked(bench, tree, tz) == expected
    result = cs.read_cases(bench.source, tree, columns=["case_id"], tz=tz)
    assert sorted(result["case_id"]) == expected
    if bench.kind in DISJOINT:
        check_disjoint(bench, tree, tz)
    assert cs.count_cases(bench.source, tree, tz=tz) == len(expected)
    chunks = cs.iter_cases(bench.source, tree, columns=["case_id"], tz=tz, chunksize=chunksize)
    assert sorted(pd.concat(list(chunks))["case_id"]) == expected
    for request in bench.local.requests:
        legal_requests.check(request)


def masked(bench, tree, tz):
    bound = bind(tree, BindingContext(bench.source.schema, tz, pd.Timestamp(NOW)))
    return sorted(bench.whole["case_id"][mask(bench.whole, bound)])


def check_disjoint(bench, tree, tz):
    """Ask the service itself for every part of the plan: no case is in two of its answers."""
    plan = cs.explain_cases(bench.source, tree, columns=["case_id"], tz=tz)
    bodies = [request.body for request in plan.requests if request.method == "POST"]
    if len(bodies) > 1:
        answers = [persona_all(bench.local, {"query": body["query"]}) for body in bodies]
        result = [case["id"] for answer in answers for case in answer]
        assert len(result) == len(set(result))


def draw_and_check(bench, data):
    tz = data.draw(st.sampled_from(ZONES), label="tz")
    tree = data.draw(trees(bench.table, tz), label="tree")
    chunksize = data.draw(st.sampled_from([30, 1000]), label="chunksize")
    with quietly():
        check_tree(bench, tree, tz, chunksize)


@settings(QUICK, max_examples=92)
@given(data=st.data())
def test_service_and_mask_and_loop_agree(bench, data):
    """A row too many or too few, or a refused request, would be a wrong answer to a user."""
    draw_and_check(bench, data)


@pytest.mark.slow
@settings(LAW, max_examples=2_000)
@given(data=st.data())
def test_service_and_mask_and_loop_agree_in_thousands_of_trees(bench, data):
    """The same over more trees than a test run has time for."""
    draw_and_check(bench, data)


@pytest.mark.parametrize("service", ["connect", "persona"])
@settings(QUICK, max_examples=10)
@given(data=st.data())
def test_they_agree_on_any_cases(service, data):
    """The cases of the other tests are hostile by hand; these are drawn."""
    with a_bench(service, data.draw(case_rows(), label="cases"), {}, {}) as bench:
        for _ in range(4):
            draw_and_check(bench, data)
