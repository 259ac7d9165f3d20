"""Expressions: folding, negation, and what an immutable tree promises."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casesearch_pd import FilterError
from casesearch_pd.query.expressions import (
    FALSE,
    TRUE,
    And,
    Compare,
    Not,
    Or,
    all_of,
    any_of,
    comparisons,
    fields_of,
    negate,
    to_nnf,
)
from tests.bound_filters import LAW, NUMBER, TEXT, a_row, an_expression, keeps

A, B, C = (Compare(TEXT, "eq", value) for value in "abc")


def test_joining_nothing_is_the_neutral_element():
    """An empty filter keeps all rows; an empty any-of keeps none."""
    assert all_of([]) == TRUE
    assert any_of([]) == FALSE


def test_joining_flattens_and_drops_duplicates_in_order():
    """Requests would grow without need, and a limit be reached without need."""
    assert all_of([A, And((B, A)), C]) == And((A, B, C))
    assert any_of([Or((C, B)), B, A]) == Or((C, B, A))


def test_joining_one_term_leaves_it_alone():
    assert all_of([A, A]) == A
    assert any_of([A]) == A


def test_true_and_false_take_effect():
    """A FALSE that survived inside an AND would be sent as a search for nothing."""
    assert all_of([A, FALSE, B]) == FALSE
    assert any_of([A, TRUE]) == TRUE
    assert all_of([A, TRUE]) == A
    assert any_of([FALSE, A]) == A


@pytest.mark.parametrize("pair", [(1, True), (0, False), (0.0, False), ((1,), (True,))])
def test_true_is_not_one(pair):
    """Python takes True for 1; folding one into the other would lose the cases of the second."""
    first, second = (Compare("flag", "eq", value) for value in pair)
    assert first != second
    assert any_of([first, second]) == Or((first, second))


def test_equal_comparisons_are_one():
    assert Compare(NUMBER, "eq", 1) == Compare(NUMBER, "eq", 1.0)
    assert len({Compare(TEXT, "eq", "a"), A}) == 1


def test_negation_folds():
    assert negate(negate(A)) == A
    assert negate(TRUE) == FALSE
    assert negate(FALSE) == TRUE
    assert negate(A) == Not(A)


def test_operators_join_and_flip():
    assert And((A, B)) == (A & B)
    assert Or((A, B)) == (A | B)
    assert Not(A) == (~A)
    assert (A & True) == A
    assert (False | A) == A


@pytest.mark.parametrize("join", [lambda: A and B, lambda: A or B, lambda: not A])
def test_and_or_not_are_refused(join):
    """Python would quietly drop one side of ``a and b``."""
    with pytest.raises(FilterError, match=r"&, \| and ~"):
        join()


@pytest.mark.parametrize("other", ["open", 3, None])
def test_only_filters_are_joined(other):
    with pytest.raises(FilterError, match="cannot combine a filter with"):
        A & other


def test_negations_move_inward_by_de_morgan():
    assert to_nnf(Not(And((A, Or((B, Not(C))))))) == Or((Not(A), And((Not(B), C))))
    assert to_nnf(Not(Not(Not(A)))) == Not(A)
    assert to_nnf(Not(TRUE)) == FALSE


@LAW
@given(an_expression(), a_row())
def test_moving_negations_inward_changes_no_row(expression, row):
    """Law 2: only De Morgan; ``~(a < 5)`` must not turn into ``a >= 5``."""
    moved = to_nnf(expression)
    assert keeps(moved, row) == keeps(expression, row)
    assert literals_are_all_that_is_negated(moved)


def literals_are_all_that_is_negated(term):
    match term:
        case Not(inner):
            return isinstance(inner, Compare)
        case And(terms) | Or(terms):
            return all(literals_are_all_that_is_negated(item) for item in terms)
        case _:
            return True


@LAW
@given(an_expression(), a_row())
def test_a_negation_keeps_exactly_the_other_rows(expression, row):
    """Law 2, two-valued: a missing value must not make a row fall between both."""
    assert keeps(negate(expression), row) is not keeps(expression, row)


@LAW
@given(st.lists(an_expression(), max_size=4), a_row())
def test_folding_changes_no_row(terms, row):
    assert keeps(all_of(terms), row) == all(keeps(term, row) for term in terms)
    assert keeps(any_of(terms), row) == any(keeps(term, row) for term in terms)


def test_literals_and_fields_come_in_order_each_field_once():
    tree = And((Not(B), Or((Compare(NUMBER, "gt", 1), A))))
    assert comparisons(tree) == (B, Compare(NUMBER, "gt", 1), A)
    assert fields_of(tree) == (TEXT, NUMBER)


def test_expressions_are_values():
    """A plan is pickled to other processes, and kept as the key of a cache."""
    tree = And((A, Not(Or((B, C)))))
    assert pickle.loads(pickle.dumps(tree)) == tree
    assert hash(tree) == hash(And((A, Not(Or((B, C))))))
    with pytest.raises(AttributeError):
        A.value = "z"


@pytest.mark.parametrize(
    ("term", "written"),
    [
        (TRUE, "TRUE"),
        (FALSE, "FALSE"),
        (Compare("status", "eq", "open"), "field('status') == 'open'"),
        (Compare(NUMBER, "lte", 3), "field('amount') <= 3"),
        (Compare("x", "in", (1, 2)), "field('x').isin((1, 2))"),
        (Compare("x", "between", (1, 2)), "field('x').between(1, 2)"),
        (Compare("x", "isna", None), "field('x').isna()"),
        (Compare("x", "isna", False), "field('x').notna()"),
        (Compare("x", "contains", "a"), "field('x').contains('a')"),
        (Not(Compare("x", "ne", 1)), "~(field('x') != 1)"),
        (Not(Compare("x", "in", (1,))), "~field('x').isin((1,))"),
        (
            Or((And((A, Compare(NUMBER, "gt", 1))), Not(B))),
            "((field('title') == 'a') & (field('amount') > 1)) | ~(field('title') == 'b')",
        ),
    ],
)
def test_expressions_show_as_they_are_written(term, written):
    """What a plan shows can be typed again."""
    assert repr(term) == written


def test_an_unbound_comparison_has_no_target():
    with pytest.raises(AssertionError, match="not bound"):
        _ = Compare("title", "eq", "a").target
