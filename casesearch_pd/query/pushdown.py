"""One bound expression in; out come what the service is asked and what is checked here again.

The law: for every case, ``expression == pushed and residual``, and ``pushed`` keeps every
case that the expression keeps. The source judges each literal (a comparison or its negation):

========== ====================================================================
exact      the service answers it; it need not be checked again
superset   the service's answer may be too wide: pushed and checked again
unseen     only the service can answer it: pushed, and never checked again
no         the service cannot answer it: checked here
========== ====================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, assert_never

from casesearch_pd.errors import FilterError
from casesearch_pd.query.expr import (
    TRUE,
    And,
    Compare,
    Expression,
    Not,
    Or,
    all_of,
    any_of,
    fields_of,
    inward,
    literals,
)
from casesearch_pd.query.shape import How  # noqa: TC001 - a dataclass field

__all__ = ["Judge", "Split", "Verdict", "split"]

Verdict = Literal["exact", "superset", "unseen", "no"]
Judge = Callable[[Compare], Verdict]


@dataclass(frozen=True, slots=True)
class Split:
    """What the service is asked, and what of its answer is checked again.

    Parameters
    ----------
    parts
        One filter a request; no case meets two of them.
    residual
        What is checked again.
    how
        What had to be done to make the requests legal, in a word.
    """

    parts: tuple[Expression, ...]
    residual: Expression
    how: How = "as it is"

    @property
    def pushed(self) -> Expression:
        """The filter that the requests make together."""
        return any_of(self.parts)


def split(expression: Expression, judge: Judge) -> Split:
    """Divide an expression between the service and this machine.

    Raises
    ------
    FilterError
        If something that only the service can see is joined by OR, or negated, in a way
        that the service cannot be asked.
    """
    return _split(inward(expression), judge)


def _one(pushed: Expression, residual: Expression) -> Split:
    return Split((pushed,), residual)


def _split(term: Expression, judge: Judge) -> Split:
    match term:
        case Compare():
            return _literal(term, judge(term), term)
        case Not(Compare() as inner):
            verdict = judge(inner)
            # The negation of an answer that is too wide would be too narrow.
            return _literal(term, "no" if verdict == "superset" else verdict, inner)
        case And(terms):
            parts = [_split(item, judge) for item in terms]
            return _one(all_of(p.pushed for p in parts), all_of(p.residual for p in parts))
        case Or(terms):
            return _either(term, [_split(item, judge) for item in terms], judge)
        case Not():
            raise AssertionError(term)  # negations stand at the literals by now
        case _:
            assert_never(term)


def _literal(term: Expression, verdict: Verdict, inner: Compare) -> Split:
    match verdict:
        case "exact":
            return _one(term, TRUE)
        case "unseen":
            return _one(term, TRUE)
        case "superset":
            return _one(term, term)
        case "no":
            if not inner.target.shown:
                raise FilterError(
                    f"{inner.target.column!r} is never shown, so only what the service itself "
                    f"can compare may be asked of it"
                )
            return _one(TRUE, term)
        case _:
            assert_never(verdict)


def _either(term: Or, parts: list[Split], judge: Judge) -> Split:
    pushed = any_of(part.pushed for part in parts)
    if all(part.residual == TRUE for part in parts):
        return _one(pushed, TRUE)
    # The whole OR is checked again, which only works where all of it can be seen.
    hidden = next((item for item in literals(term) if judge(item) == "unseen"), None)
    if hidden is not None:
        raise FilterError(
            f"{hidden.target.column!r} can be filtered by the service but not seen in its answers, "
            "so it cannot be joined by OR with a condition that has to be checked here "
            f"({', '.join(repr(f.column) for f in fields_of(term))}); ask in two reads"
        )
    return _one(pushed, term)
