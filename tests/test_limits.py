"""Filters brought within the limits of one request, as laws: for any service, any limits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casesearch_pd.query.expressions import (
    TRUE,
    And,
    Compare,
    Not,
    Or,
    all_of,
    any_of,
    comparisons,
    negate,
    to_nnf,
)
from casesearch_pd.query.limits import RequestLimits, fit_to_limits
from casesearch_pd.query.pushdown import push_down
from casesearch_pd.query.schema import Field
from tests.bound_filters import (
    FIELDS,
    LAW,
    NUMBER,
    TEXT,
    TRUTH,
    a_row,
    an_expression,
    keeps,
)

MANY = settings(LAW, max_examples=300)
PERSONA = RequestLimits(depth=2, breadth=20)
FEW = (TEXT, NUMBER, TRUTH)
KEY = Field("key", "key", "Key", "text")
OTHERS = [Field(f"f{n}", f"f{n}", f"F{n}", "number") for n in range(30)]


def depth(term):
    match term:
        case Compare():
            return 0
        case Not(inner):
            return 1 + depth(inner)
        case And(terms) | Or(terms):
            return 1 + max(map(depth, terms), default=0)


def breadth(term):
    match term:
        case Compare():
            return 1
        case Not(inner):
            return breadth(inner)
        case And(terms) | Or(terms):
            return max([len(terms), *map(breadth, terms)])


def answers(term, row, support):
    """Answer as a service that takes no heed of letter case where it is known roughly only."""
    match term:
        case Compare(field, "eq", str(value)) if support[term] == "inexact":
            values = row[field.column]
            return values is not None and values.casefold() == value.casefold()
        case Compare():
            assert support[term] != "unsupported", "asked for what the service cannot answer"
            return keeps(term, row)
        case Not(inner):
            return not answers(inner, row, support)
        case And(terms):
            return all(answers(item, row, support) for item in terms)
        case Or(terms):
            return any(answers(item, row, support) for item in terms)


def alternatives():
    """Draw ORs of ANDs over few fields: more than one request holds, and met by the same rows."""
    comparison = st.one_of(
        st.builds(Compare, st.just(TEXT), st.just("eq"), st.sampled_from(["open", "Open"])),
        st.builds(Compare, st.just(NUMBER), st.sampled_from(["eq", "gt", "lte"]), st.just(0)),
        st.builds(Compare, st.just(TRUTH), st.just("eq"), st.booleans()),
    )
    factors = st.lists(comparison | comparison.map(negate), min_size=1, max_size=3).map(all_of)
    return st.lists(factors, min_size=2, max_size=5).map(any_of)


@st.composite
def drawn_cases(draw):
    """Draw a filter, what a service says of its conditions, its limits, and rows to try."""
    few = draw(st.sampled_from([True, True, False]))
    expression = draw(alternatives() if few else an_expression())
    text = draw(st.sampled_from(["exact", "inexact"]))
    others = st.sampled_from(["exact"] * 9 + ["unsupported"])
    support = {
        item: text if isinstance(item.value, str) and item.op == "eq" else draw(others)
        for item in dict.fromkeys(comparisons(expression))
    }
    # A negation in an AND in an OR is three levels: it has to be split, which takes some breadth.
    depth, breadth = (2, st.integers(3, 6)) if few else (draw(st.integers(1, 3)), st.integers(2, 5))
    limits = RequestLimits(depth=depth, breadth=draw(breadth))
    rows = st.lists(a_row(FEW if few else FIELDS), min_size=6, max_size=24)
    return expression, support, limits, draw(rows)


def shaped_of(expression, support, limits):
    parts = push_down(expression, support.__getitem__)
    fitted = fit_to_limits(parts.pushed, limits, lambda item: support[item] == "exact")
    return fitted, all_of([parts.residual, fitted.remainder])


@MANY
@given(drawn_cases())
def test_parts_and_residual_are_the_expression(sample):
    """Law 1 through every way of making requests legal: no row is lost, none is added."""
    expression, support, limits, rows = sample
    fitted, residual = shaped_of(expression, support, limits)
    for row in rows:
        home = any(answers(part, row, support) for part in fitted.parts)
        assert (home and keeps(residual, row)) == keeps(expression, row)


@MANY
@given(drawn_cases())
def test_no_row_meets_two_parts(sample):
    """A row that came home twice would be counted twice."""
    expression, support, limits, rows = sample
    fitted, _ = shaped_of(expression, support, limits)
    for row in rows:
        assert sum(answers(part, row, support) for part in fitted.parts) <= 1


@MANY
@given(drawn_cases())
def test_every_part_is_within_the_limits(sample):
    """A request beyond them would be refused, and the read with it."""
    expression, support, limits, _ = sample
    fitted, _ = shaped_of(expression, support, limits)
    for part in fitted.parts:
        assert depth(part) <= limits.depth
        assert breadth(part) <= limits.breadth


@MANY
@given(alternatives(), st.integers(3, 8))
def test_what_is_known_roughly_is_never_negated_to_keep_parts_apart(expression, breadth):
    """Nobody tells that a service that answers too widely does so the same way every time."""
    support = {
        item: "inexact" if item.target is TEXT else "exact" for item in comparisons(expression)
    }
    fitted, _ = shaped_of(expression, support, RequestLimits(depth=2, breadth=breadth))
    inner = [item.term for part in fitted.parts for item in nodes(part) if isinstance(item, Not)]
    assert not any(comparison.target is TEXT for term in inner for comparison in comparisons(term))


def test_letter_case_keeps_no_parts_apart():
    """A service that takes "Open" for "open" would bring the same case home in both."""
    lower, upper = (Compare(TEXT, "eq", text) for text in ("open", "Open"))
    expression = any_of(
        [
            all_of([lower, negate(Compare(TRUTH, "eq", True))]),
            all_of([upper, negate(Compare(NUMBER, "gt", 0))]),
        ]
    )
    support = dict.fromkeys(comparisons(expression), "exact") | {lower: "inexact", upper: "inexact"}
    fitted, _ = shaped_of(expression, support, PERSONA)
    row = {TEXT.column: "open", TRUTH.column: False, NUMBER.column: None}
    assert sum(answers(part, row, support) for part in fitted.parts) == 1


def nodes(term):
    yield term
    for inner in getattr(term, "terms", ()) or (getattr(term, "term", None),):
        if inner is not None:
            yield from nodes(inner)


def number(at, value=1):
    return Compare(OTHERS[at], "gt", value)


@pytest.mark.parametrize(
    ("term", "how", "parts"),
    [
        (any_of(Compare(KEY, "eq", f"k{n}") for n in range(20)), "as it is", 1),
        (any_of(Compare(KEY, "eq", f"k{n}") for n in range(37)), "nested", 1),
        (all_of(number(n) for n in range(30)), "nested", 1),
        (any_of(all_of([number(n), number(n + 1)]) for n in range(20)), "as it is", 1),
        # A `not` is a level of its own, so no single request holds ~a & (~b | c).
        (to_nnf(negate(any_of([number(0), all_of([number(1), negate(number(2))])]))), "split", 2),
        (any_of(Compare(KEY, "eq", f"k{n}") for n in range(401)), "split", 21),
        (number(0) | (number(1) & (number(2) | (number(3) & number(4)))), "distributed", 1),
    ],
)
def test_the_cheapest_way_is_taken(term, how, parts):
    """One request where one can hold it; several only where none can."""
    fitted = fit_to_limits(term, PERSONA, lambda _: True)
    assert (fitted.strategy, len(fitted.parts), fitted.remainder) == (how, parts, TRUE)


def test_what_no_requests_can_hold_is_left():
    """Beyond some number of requests, reading more and checking it here is cheaper."""
    term = any_of(
        all_of([number(n), any_of([number(n + 1), all_of([number(n + 2), number(n + 3, n)])])])
        for n in range(26)
    )
    fitted = fit_to_limits(term, RequestLimits(depth=1, breadth=2), lambda _: False)
    assert fitted.parts == (TRUE,)
    assert fitted.remainder == term
