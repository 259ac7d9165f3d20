"""A question in, and what is known of its cost; out comes what is said before it runs.

Plain text, and nothing is sent for it: what a plan and a count have not told is left unsaid.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from casesearch_pd.form.model.meaning import to_expression
from casesearch_pd.query.expressions import TRUE, And, Expression, Not, Or, literals
from casesearch_pd.reading.explain import WHY
from casesearch_pd.render.sentences import filter_in_words, join_words, label_of, plural

if TYPE_CHECKING:
    from casesearch_pd.form.model.question import FormQuery
    from casesearch_pd.query.schema import Schema
    from casesearch_pd.reading.explain import Cost, Plan
    from casesearch_pd.sources.base import Source

__all__ = ["Known", "expected_rows", "prefix_for", "sentence_for"]


class Known(Protocol):
    """What is known of a question before it runs."""

    @property
    def question(self) -> FormQuery:
        """What is asked."""
        ...

    @property
    def plan(self) -> Plan | None:
        """How it would be read, if that is known."""
        ...

    @property
    def cost(self) -> Cost | None:
        """What it would cost, if somebody has counted."""
        ...

    @property
    def counting(self) -> bool:
        """Whether the count is on its way."""
        ...


def prefix_for(known: Known, source: Source) -> str:
    """Say what is asked, and what that is going to take."""
    said = sentence_for(known.question, source.schema)
    if known.plan is None:
        return said
    return f"{said} {expected_rows(known.plan, known.cost, counting=known.counting)}"


# --- what is asked ----------------------------------------------------------------------


def sentence_for(question: FormQuery, schema: Schema) -> str:
    """Say what a question asks.

    >>> from casesearch_pd.form.model.question import Question
    >>> from casesearch_pd.query.schema import Schema
    >>> asked(Question(search="refund", limit=20), Schema(()))
    "Cases that a search for 'refund' finds, at most 20."
    """
    clauses = _clauses(question, schema)
    said = f"Cases{_joined(clauses)}" if clauses else "Every case"
    zone = "" if question.tz == "UTC" else f"times are of {question.tz}"
    most = "" if question.limit is None else f"at most {question.limit:,}"
    return ", ".join(item for item in (said, _order(question, schema), most, zone) if item) + "."


def _joined(clauses: list[str]) -> str:
    comma = "," if clauses[0].startswith("but ") else ""
    more = f", and {clauses[-1]}" if len(clauses) > 1 else ""
    return f"{comma} {', '.join(clauses[:-1] if more else clauses)}{more}"


def _clauses(question: FormQuery, schema: Schema) -> list[str]:
    where = to_expression(question.tree)
    tags = join_words([repr(tag) for tag in question.tags], "and") if question.tags else ""
    clauses = [
        "" if where == TRUE else _filter(where, schema),
        tags and f"that bear the tag{'' if len(question.tags) == 1 else 's'} {tags}",
        "" if question.search is None else f"that a search for {question.search!r} finds",
    ]
    return [clause for clause in clauses if clause]


def _filter(where: Expression, schema: Schema) -> str:
    match where:
        case Not(And() | Or() as inner):
            return f"but not those whose {filter_in_words(inner, schema, ahead=True)}"
        case _:
            said = filter_in_words(where, schema, ahead=True)
            if said.startswith("not "):
                return f"but not those whose {said.removeprefix('not ')}"
            return f"whose {said}"


def _order(question: FormQuery, schema: Schema) -> str:
    match question.sort:
        case ():
            return ""
        case ("created_at",):
            return "oldest first"
        case ("-created_at",):
            return "newest first"
        case columns:
            return f"sorted by {join_words([_by(name, schema) for name in columns], 'and')}"


def _by(name: str, schema: Schema) -> str:
    column = name.removeprefix("-")
    known = schema.find(column)
    label = column if known is None else label_of(known, schema)
    return f"{label} descending" if name.startswith("-") else label


# --- what that takes --------------------------------------------------------------------


def expected_rows(plan: Plan, cost: Cost | None = None, *, counting: bool = False) -> str:
    """Say what a read is going to take.

    Parameters
    ----------
    plan
        How it would be read.
    cost
        What was counted; None if nobody has.
    counting
        Whether somebody is counting now.
    """
    query, source = plan.route.query, plan.route.source
    if not plan.partitions:
        return "Nothing is read." if query.limit == 0 else "No case can match: nothing is read."
    if cost is not None:
        return _counted(plan, cost)
    if plan.route.pushdown.strategy == "one by one":
        each = "for one case" if plan.partitions == 1 else "one for each case"
        return f"{plural(plan.partitions, 'request')}, {each}.{_checked(plan)}"
    if counting:
        return f"Counting how many cases match …{_checked(plan)}"
    return f"{_uncounted(plan, source)}{_checked(plan)}"


def _counted(plan: Plan, cost: Cost) -> str:
    if not cost.cases:
        return "No case matches."
    takes = ", ".join(
        [plural(cost.pages, "page"), plural(cost.requests, "request"), _wait(cost.seconds, plan)]
    )
    if plan.residual == TRUE:
        return f"{_matching(plan, cost)}: {takes}."
    comes, are = ("comes", "is") if cost.cases == 1 else ("come", "are")
    return (
        f"Up to {plural(cost.cases, 'case')} {comes} home ({takes}) and {are} checked here: "
        f"{_checks(plan)}."
    )


def _matching(plan: Plan, cost: Cost) -> str:
    limit, cases = plan.route.query.limit, cost.cases
    matching = f"{plural(cases, 'case')} {'matches' if cases == 1 else 'match'}"
    if limit is not None and plan.route.stops_at_limit and cases == limit:
        return f"At least {matching}, and {cases:,} {'is' if cases == 1 else 'are'} read"
    if limit is not None and cases > limit:
        return f"{matching}, and all are read to find the first {limit:,}"
    return matching


_ROUND = 10_000  # cases that the price of a read is told for


def _uncounted(plan: Plan, source: Source) -> str:
    """Tell the price of many cases, where nobody knows how many they are."""
    if source.can_count and plan.partitions == 1:
        return "How many cases match has not been counted yet."
    if source.can_count:
        return f"How many cases match is told by the run: it takes {plan.partitions} searches."
    requests = math.ceil(_ROUND / source.page_size) * plan.passes
    wait = _wait(requests / source.rate, plan)
    return (
        f"{source.name.capitalize()} does not tell how many match; every {_ROUND:,} cases take "
        f"{plural(requests, 'request')}, {wait}."
    )


def _wait(seconds: float, plan: Plan) -> str:
    rate = plan.route.source.rate
    pace = "" if math.isinf(rate) else f" at {rate:.3g} request{'' if rate == 1 else 's'} a second"
    if seconds < 1:
        return f"without a wait{pace}"
    if seconds < 2 * 60:
        return f"about {math.ceil(seconds)} s{pace}"
    if seconds < 2 * 60 * 60:
        return f"about {math.ceil(seconds / 60)} minutes{pace}"
    return f"about {seconds / 3600:.1f} hours{pace}"


_FEW = 3  # conditions of a kind that are named


def _checked(plan: Plan) -> str:
    return "" if plan.residual == TRUE else f" Checked here: {_checks(plan)}."


def _checks(plan: Plan) -> str:
    """Name what is checked again here, and why."""
    source, why = plan.route.source, dict[str, dict[str, None]]()
    for literal in literals(plan.residual):
        condition = filter_in_words(literal, source.schema, ahead=True)
        why.setdefault(WHY[source.pushdown_support(literal)], {})[condition] = None
    return "; ".join(
        f"{join_words([*found], 'and', most=_FEW)} ({reason})" for reason, found in why.items()
    )
