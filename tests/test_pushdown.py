"""The split between service and machine, as laws: whatever the service can do, rows are right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd import FilterError
from casesearch_pd.query.expressions import TRUE, And, Compare, Not, Or, all_of, comparisons, to_nnf
from casesearch_pd.query.pushdown import push_down
from casesearch_pd.query.schema import Field
from tests.bound_filters import FIELDS, LAW, NUMBER, TEXT, a_row, an_expression, keeps

HIDDEN = Field("state", "state", "State", "text", visible=False)
SEEN = ("exact", "inexact", "unsupported")


def verdicts(expression):
    """Draw what a service says of each comparison: any mix of what can be checked again."""
    return st.fixed_dictionaries(
        {item: st.sampled_from(SEEN) for item in dict.fromkeys(comparisons(expression))}
    )


def answers(term, row, support, wide):
    """Answer as a service does: comparisons that it knows roughly may be answered too wide."""
    match term:
        case Compare():
            assert support[term] != "unsupported", "asked for what the service cannot answer"
            return keeps(term, row) or (support[term] == "inexact" and term in wide)
        case Not(inner):
            return not answers(inner, row, support, wide)
        case And(terms):
            return all(answers(item, row, support, wide) for item in terms)
        case Or(terms):
            return any(answers(item, row, support, wide) for item in terms)


@st.composite
def _cases(draw):
    expression = draw(an_expression())
    support = draw(verdicts(expression))
    wide = {item for item in support if draw(st.booleans())}
    return expression, support, wide, draw(st.lists(a_row(), min_size=1, max_size=8))


@LAW
@given(_cases())
def test_split_is_the_expression(sample):
    """Law 1: ``expression == pushed and residual`` for every case that a service brings home.

    However wide its rough answers are; and every case that the expression keeps comes home.
    """
    expression, support, wide, rows = sample
    parts = push_down(expression, support.__getitem__)
    for row in rows:
        home = answers(parts.pushed, row, support, wide)
        assert (home and keeps(parts.residual, row)) == keeps(expression, row)
        assert home or not keeps(expression, row)


@LAW
@given(_cases())
def test_what_is_rough_is_never_pushed_negated(sample):
    """The negation of an answer that is too wide is too narrow: cases would be lost."""
    expression, support, _, _ = sample
    pushed = push_down(expression, support.__getitem__).pushed
    assert not any(support[item] == "inexact" for item in negated(pushed))


def negated(term):
    match term:
        case Not(inner):
            return comparisons(inner)
        case And(terms) | Or(terms):
            return [item for inner in terms for item in negated(inner)]
        case _:
            return []


@LAW
@given(an_expression())
def test_what_the_service_answers_exactly_is_not_checked_again(expression):
    """A residual without need would cost columns, and the limit."""
    parts = push_down(expression, lambda _: "exact")
    assert parts.residual == TRUE
    assert parts.pushed == to_nnf(expression)


@LAW
@given(an_expression())
def test_what_the_service_cannot_answer_is_checked_here(expression):
    parts = push_down(expression, lambda _: "unsupported")
    assert parts.residual == to_nnf(expression) or parts.pushed == to_nnf(expression)
    assert not comparisons(parts.pushed)


@LAW
@given(an_expression(), st.lists(a_row(), min_size=1, max_size=8))
def test_the_two_halves_of_an_expression_keep_every_row_once(expression, rows):
    """Law 2: with ``~``, no row is in both and none in neither, also through a split."""
    support = {item: SEEN[at % 3] for at, item in enumerate(comparisons(expression))}
    halves = [push_down(term, support.__getitem__) for term in (expression, Not(expression))]
    for row in rows:
        remaining_rows = [
            answers(half.pushed, row, support, set()) and keeps(half.residual, row)
            for half in halves
        ]
        assert remaining_rows.count(True) == 1


def unseen(comparison):
    return (
        "remote_only"
        if comparison.target is HIDDEN
        else "unsupported"
        if comparison.target is NUMBER
        else "exact"
    )


STATE, OPEN, RICH = (
    Compare(HIDDEN, "eq", "open"),
    Compare(TEXT, "eq", "open"),
    Compare(NUMBER, "gt", 3),
)


def test_what_only_the_service_sees_is_pushed_and_never_checked():
    assert push_down(STATE, unseen).pushed == STATE
    parts = push_down(And((STATE, RICH)), unseen)
    assert (parts.pushed, parts.residual) == (STATE, RICH)
    assert push_down(Not(STATE), unseen).pushed == Not(STATE)
    assert push_down(Or((STATE, OPEN)), unseen).pushed == Or((STATE, OPEN))


def test_what_only_the_service_sees_cannot_be_joined_by_or_with_what_is_checked_here():
    """Checking the OR again here would drop the cases that only the service knows to match."""
    with pytest.raises(
        FilterError, match="'state' does not appear in results, so it cannot be combined by OR"
    ):
        push_down(Or((STATE, RICH)), unseen)


def test_what_is_never_shown_must_be_answered_by_the_service():
    with pytest.raises(FilterError, match="'state' does not appear in results"):
        push_down(STATE, lambda _: "unsupported")


def test_an_and_is_pushed_as_far_as_it_goes():
    support = {OPEN: "inexact", RICH: "unsupported"}
    parts = push_down(all_of([OPEN, RICH]), support.get)
    assert (parts.pushed, parts.residual) == (OPEN, And((OPEN, RICH)))
    assert {item.target for item in comparisons(parts.residual)} <= set(FIELDS)
