"""The sentences above the Search button: what a form searches for, and what the search costs.

No request is sent for them. What neither the plan nor a count has shown is left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from casesearch_pd.analysis.display_names import plural
from casesearch_pd.form.model.conversion import to_expression
from casesearch_pd.query.expressions import TRUE, Expression, Not, comparisons
from casesearch_pd.reading.explain import RESIDUAL_REASONS
from casesearch_pd.render.sentences import describe_filter, field_label, join_words

if TYPE_CHECKING:
    from casesearch_pd.form.model.query import FormQuery
    from casesearch_pd.query.schema import Schema
    from casesearch_pd.reading.explain import Cost, Plan
    from casesearch_pd.sources.base import Source

__all__ = ["Preview", "cost_sentence", "preview_sentences", "query_sentence"]


class Preview(Protocol):
    """What is known about a search before it runs."""

    @property
    def query(self) -> FormQuery:
        """What the form searches for."""
        ...

    @property
    def plan(self) -> Plan | None:
        """How the query would be read; None if it is not planned yet."""
        ...

    @property
    def cost(self) -> Cost | None:
        """What the search would cost; None if the cases are not counted."""
        ...

    @property
    def is_counting(self) -> bool:
        """Whether the cases are being counted."""
        ...


def preview_sentences(preview: Preview, source: Source) -> str:
    """Return what a form searches for and what the search costs, as far as it is known."""
    sentence = query_sentence(preview.query, source.schema)
    if preview.plan is None:
        return sentence
    cost = cost_sentence(preview.plan, preview.cost, is_counting=preview.is_counting)
    return f"{sentence} {cost}"


def query_sentence(query: FormQuery, schema: Schema) -> str:
    """Return what a query searches for, in one sentence.

    >>> from casesearch_pd.form.model.query import FormQuery
    >>> from casesearch_pd.query.schema import Schema
    >>> query_sentence(FormQuery(search="refund", limit=20), Schema(()))
    "Cases that match the search 'refund', at most 20."
    """
    parts = [
        _cases(query, schema),
        _order(query, schema),
        "" if query.limit is None else f"at most {query.limit:,}",
        "" if query.tz == "UTC" else f"times in {query.tz}",
    ]
    return ", ".join(part for part in parts if part) + "."


def _cases(query: FormQuery, schema: Schema) -> str:
    condition, exception = _conditions(to_expression(query.tree), schema)
    tags = join_words([repr(tag) for tag in query.tags], "and") if query.tags else ""
    clauses = [
        condition and f"whose {condition}",
        tags and f"with the tag{'' if len(query.tags) == 1 else 's'} {tags}",
        "" if query.search is None else f"that match the search {query.search!r}",
    ]
    positive = [clause for clause in clauses if clause]
    except_for = exception and f"except those whose {exception}"
    if not positive:
        return f"Cases {except_for}" if except_for else "All cases"
    *others, last = positive
    cases = f"Cases {', '.join(others)}, and {last}" if others else f"Cases {last}"
    return f"{cases}, {except_for}" if except_for else cases


def _conditions(where: Expression, schema: Schema) -> tuple[str, str]:
    """Return the condition that the cases meet, and the one that they must not meet."""
    if where == TRUE:
        return "", ""
    words = describe_filter(where, schema, before_read=True)
    if isinstance(where, Not):
        inner = describe_filter(where.term, schema, before_read=True)
        # "Cases except those whose A or B" is clearer than "whose not (A or B)". Where there is an
        # operator for the negation, as in "whose A is not B", the words are another sentence.
        if words in (f"not {inner}", f"not ({inner})"):
            return "", inner
    return words, ""


def _order(query: FormQuery, schema: Schema) -> str:
    match query.sort:
        case ():
            return ""
        case ("created_at",):
            return "oldest first"
        case ("-created_at",):
            return "newest first"
        case names:
            return f"sorted by {join_words([_sort_key(name, schema) for name in names], 'and')}"


def _sort_key(name: str, schema: Schema) -> str:
    column = name.removeprefix("-")
    field = schema.find(column)
    label = column if field is None else field_label(field, schema)
    return f"{label} descending" if name.startswith("-") else label


def cost_sentence(plan: Plan, cost: Cost | None = None, *, is_counting: bool = False) -> str:
    """Return what a search costs, in a sentence or two."""
    read_plan = plan.read_plan
    if not plan.partitions:
        reason = "The limit is 0" if read_plan.query.limit == 0 else "No case can match"
        return f"{reason}: no request is sent."
    if cost is not None:
        return _exact_cost(plan, cost)
    if read_plan.pushdown.strategy == "one by one":
        each = "for one case" if plan.partitions == 1 else "one for each case"
        return f"{plural(plan.partitions, 'request')}, {each}.{_local_conditions(plan)}"
    if is_counting:
        return f"Counting the matching cases …{_local_conditions(plan)}"
    return f"{_unknown_cost(plan, read_plan.source)}{_local_conditions(plan)}"


def _exact_cost(plan: Plan, cost: Cost) -> str:
    if not cost.cases:
        return "No case matches."
    pages, requests = plural(cost.pages, "page"), plural(cost.requests, "request")
    details = f"{pages}, {requests}, {_duration(cost.seconds, plan)}"
    if plan.residual == TRUE:
        return f"{_matches(plan, cost)}: {details}."
    verb = "is" if cost.cases == 1 else "are"
    return (
        f"Up to {plural(cost.cases, 'case')} {verb} fetched and filtered locally ({details}): "
        f"{_conditions_by_reason(plan)}."
    )


def _matches(plan: Plan, cost: Cost) -> str:
    limit, cases = plan.read_plan.query.limit, cost.cases
    match_count = f"{plural(cases, 'case')} {'matches' if cases == 1 else 'match'}"
    # Where the service filters and sorts exactly, the count stops at the limit.
    if limit is not None and plan.read_plan.stops_at_limit and cases == limit:
        return f"At least {match_count}, and {cases:,} {'is' if cases == 1 else 'are'} read"
    if limit is not None and cases > limit:
        return f"{match_count}, and all are read to find the first {limit:,}"
    return match_count


_EXAMPLE_CASES = 10_000  # the number of cases for which a cost is stated if nothing is counted


def _unknown_cost(plan: Plan, source: Source) -> str:
    """Return the cost of an example, because the number of matching cases is unknown."""
    if source.can_count and plan.partitions == 1:
        return "The matching cases have not been counted yet."
    if source.can_count:
        return (
            "The matching cases are not counted in advance, because the filter is split into "
            f"{plan.partitions} searches."
        )
    # Every pass reads all pages again, with other columns.
    requests = math.ceil(_EXAMPLE_CASES / source.page_size) * plan.passes
    duration = _duration(requests / source.rate, plan)
    return (
        f"{source.traits.display_name} cannot count the matching cases; {_EXAMPLE_CASES:,} cases "
        f"take {plural(requests, 'request')}, {duration}."
    )


def _duration(seconds: float, plan: Plan) -> str:
    rate = plan.read_plan.source.rate
    noun = "request" if rate == 1 else "requests"
    limit = "" if math.isinf(rate) else f" at {rate:.3g} {noun} per second"
    if seconds < 1:
        return f"no waiting{limit}"
    if seconds < 2 * 60:
        return f"about {math.ceil(seconds)} s{limit}"
    if seconds < 2 * 60 * 60:
        return f"about {math.ceil(seconds / 60)} minutes{limit}"
    return f"about {seconds / 3600:.1f} hours{limit}"


_MAX_CONDITIONS = 3  # that are named for each reason


def _local_conditions(plan: Plan) -> str:
    return "" if plan.residual == TRUE else f" Filtered locally: {_conditions_by_reason(plan)}."


def _conditions_by_reason(plan: Plan) -> str:
    """Return the conditions that are evaluated locally, with the reason."""
    source = plan.read_plan.source
    # A dict of dicts, because both orders are those of the filter and a repeated condition is
    # named once.
    conditions: dict[str, dict[str, None]] = {}
    for comparison in comparisons(plan.residual):
        words = describe_filter(comparison, source.schema, before_read=True)
        reason = RESIDUAL_REASONS[source.pushdown_support(comparison)]
        conditions.setdefault(reason, {})[words] = None
    return "; ".join(
        f"{join_words([*words], 'and', most=_MAX_CONDITIONS)} ({reason})"
        for reason, words in conditions.items()
    )
