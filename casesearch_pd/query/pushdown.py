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
from casesearch_pd.query.expressions import (
    TRUE,
    And,
    Compare,
    Expression,
    Not,
    Or,
    all_of,
    any_of,
    fields_of,
    literals,
    to_nnf,
)
from casesearch_pd.query.limits import Strategy

__all__ = ["Pushdown", "PushdownSupport", "SupportFunction", "push_down"]

PushdownSupport = Literal["exact", "inexact", "remote_only", "unsupported"]
SupportFunction = Callable[[Compare], PushdownSupport]


@dataclass(frozen=True, slots=True)
class Pushdown:
    """What the service is asked, and what of its answer is checked again.

    Parameters
    ----------
    parts
        One filter a request; no case meets two of them.
    residual
        What is checked again.
    strategy
        What had to be done to make the requests legal, in a word.
    """

    parts: tuple[Expression, ...]
    residual: Expression
    strategy: Strategy = "as it is"

    @property
    def pushed(self) -> Expression:
        """The filter that the requests make together."""
        return any_of(self.parts)


def push_down(expression: Expression, judge: SupportFunction) -> Pushdown:
    """Divide an expression between the service and this machine.

    Raises
    ------
    FilterError
        If something that only the service can see is joined by OR, or negated, in a way
        that the service cannot be asked.
    """
    return _split(to_nnf(expression), judge)


def _one(pushed: Expression, residual: Expression) -> Pushdown:
    return Pushdown((pushed,), residual)


def _split(term: Expression, judge: SupportFunction) -> Pushdown:
    match term:
        case Compare():
            return _literal(term, judge(term), term)
        case Not(Compare() as inner):
            verdict = judge(inner)
            # The negation of an answer that is too wide would be too narrow.
            return _literal(term, "unsupported" if verdict == "inexact" else verdict, inner)
        case And(terms):
            parts = [_split(item, judge) for item in terms]
            return _one(all_of(p.pushed for p in parts), all_of(p.residual for p in parts))
        case Or(terms):
            return _either(term, [_split(item, judge) for item in terms], judge)
        case Not():
            raise AssertionError(term)  # negations stand at the literals by now
        case _:
            assert_never(term)


def _literal(term: Expression, verdict: PushdownSupport, inner: Compare) -> Pushdown:
    match verdict:
        case "exact":
            return _one(term, TRUE)
        case "remote_only":
            return _one(term, TRUE)
        case "inexact":
            return _one(term, term)
        case "unsupported":
            if not inner.target.visible:
                raise FilterError(
                    f"{inner.target.column!r} is never shown, so only what the service itself "
                    f"can compare may be asked of it"
                )
            return _one(TRUE, term)
        case _:
            assert_never(verdict)


def _either(term: Or, parts: list[Pushdown], judge: SupportFunction) -> Pushdown:
    pushed = any_of(part.pushed for part in parts)
    if all(part.residual == TRUE for part in parts):
        return _one(pushed, TRUE)
    # The whole OR is checked again, which only works where all of it can be seen.
    hidden = next((item for item in literals(term) if judge(item) == "remote_only"), None)
    if hidden is not None:
        raise FilterError(
            f"{hidden.target.column!r} can be filtered by the service but not seen in its answers, "
            "so it cannot be joined by OR with a condition that has to be checked here "
            f"({', '.join(repr(f.column) for f in fields_of(term))}); ask in two reads"
        )
    return _one(pushed, term)
