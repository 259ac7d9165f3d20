"""Pushdown: which part of a bound filter the service evaluates, and which is evaluated locally.

The law: for every case, ``expression == pushed and residual``, and ``pushed`` keeps every case
that the expression keeps. The source says of each comparison how well it supports it:

============ ==================================================================
exact        evaluated by the service alone
inexact      the service may return too many cases: pushed, and evaluated locally too
remote_only  only the service sees the values: pushed, never evaluated locally
unsupported  the service cannot evaluate it: evaluated locally
============ ==================================================================
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
    comparisons,
    fields_of,
    to_nnf,
)
from casesearch_pd.query.limits import RequestLimits, Strategy, fit_to_limits

__all__ = [
    "Pushdown",
    "PushdownSupport",
    "SupportFunction",
    "exactness_test",
    "fit_pushdown",
    "push_down",
    "require_evaluable",
]

PushdownSupport = Literal["exact", "inexact", "remote_only", "unsupported"]
SupportFunction = Callable[[Compare], PushdownSupport]


@dataclass(frozen=True, slots=True)
class Pushdown:
    """What is sent to the service, and what is evaluated locally on its result."""

    parts: tuple[Expression, ...]  # one filter per request; no case matches two of them
    residual: Expression  # what is evaluated locally
    strategy: Strategy = "as it is"  # how the requests were made to fit the limits of the service

    @property
    def pushed(self) -> Expression:
        """The filter of all requests together."""
        return any_of(self.parts)


def push_down(expression: Expression, support: SupportFunction) -> Pushdown:
    """Split an expression between the service and local evaluation.

    Raise FilterError if a condition that only the service can evaluate is combined by OR, or
    negated, in a way that the service cannot evaluate.
    """
    return _split(to_nnf(expression), support)


def _split(term: Expression, support: SupportFunction) -> Pushdown:
    match term:
        case Compare():
            return _split_comparison(term, support(term), term)
        case Not(Compare() as comparison):
            level = support(comparison)
            # An inexact comparison returns too many cases, so its negation would lose some.
            return _split_comparison(
                term, "unsupported" if level == "inexact" else level, comparison
            )
        case And(terms):
            parts = [_split(item, support) for item in terms]
            pushed = all_of(part.pushed for part in parts)
            return Pushdown((pushed,), all_of(part.residual for part in parts))
        case Or(terms):
            return _split_or(term, [_split(item, support) for item in terms], support)
        case Not():
            raise AssertionError(term)  # in negation normal form only comparisons are negated
        case _:
            assert_never(term)


def _split_comparison(
    term: Expression, support_level: PushdownSupport, comparison: Compare
) -> Pushdown:
    match support_level:
        case "exact" | "remote_only":
            return Pushdown((term,), TRUE)
        case "inexact":
            return Pushdown((term,), term)
        case "unsupported":
            if not comparison.target.visible:
                raise FilterError(
                    f"{comparison.target.column!r} does not appear in results, so only "
                    "conditions that the service itself evaluates can use it"
                )
            return Pushdown((TRUE,), term)
        case _:
            assert_never(support_level)


def _split_or(term: Or, parts: list[Pushdown], support: SupportFunction) -> Pushdown:
    pushed = any_of(part.pushed for part in parts)
    if all(part.residual == TRUE for part in parts):
        return Pushdown((pushed,), TRUE)
    # A row may match by any member of the OR, so all of it is evaluated locally, which needs the
    # values of all its fields.
    remote_only = _first_remote_only(term, support)
    if remote_only is not None:
        columns = ", ".join(repr(item.column) for item in fields_of(term))
        raise FilterError(
            f"{remote_only.target.column!r} does not appear in results, so it cannot be combined "
            f"by OR with a condition that is evaluated locally ({columns}); use two reads"
        )
    return Pushdown((pushed,), term)


def _first_remote_only(term: Expression, support: SupportFunction) -> Compare | None:
    return next((item for item in comparisons(term) if support(item) == "remote_only"), None)


def fit_pushdown(pushdown: Pushdown, limits: RequestLimits, support: SupportFunction) -> Pushdown:
    """Return a pushdown whose requests are within the limits of the service.

    Raise FilterError if a condition that only the service can evaluate does not fit into its
    requests.
    """
    fitted = fit_to_limits(pushdown.pushed, limits, exactness_test(support))
    require_evaluable(fitted.remainder, support)
    return Pushdown(fitted.parts, all_of([pushdown.residual, fitted.remainder]), fitted.strategy)


def require_evaluable(remainder: Expression, support: SupportFunction) -> None:
    """Raise FilterError if what does not fit into a request can only be evaluated remotely."""
    remote_only = _first_remote_only(remainder, support)
    if remote_only is not None:
        raise FilterError(
            f"{remote_only.target.column!r} can only be evaluated by the service, and this filter "
            "is larger than its requests may be; use several reads"
        )


def exactness_test(support: SupportFunction) -> Callable[[Compare], bool]:
    """Return a test for comparisons that the service evaluates exactly, also if negated."""
    return lambda comparison: support(comparison) in {"exact", "remote_only"}
