"""`Plan`, the explanation of a read: what is sent, what is filtered locally, and what it costs.

Only discovery requests are sent before `Plan.count` is called.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from html import escape
from reprlib import Repr
from typing import TYPE_CHECKING

from casesearch_pd.query.expressions import TRUE, comparisons
from casesearch_pd.reading.fetch.pipeline import in_process_scan, read_frame
from casesearch_pd.reading.options import NO_LOOKBACK, ReadOptions
from casesearch_pd.reading.plan import ids_only
from casesearch_pd.sources.base import InProcessSource
from casesearch_pd.sources.transport.context import ReadContext

if TYPE_CHECKING:
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.pushdown import PushdownSupport
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.base import Request

__all__ = ["RESIDUAL_REASONS", "Cost", "Plan"]

_short = Repr()
_short.maxother = 160  # characters of a filter in one line

RESIDUAL_REASONS: dict[PushdownSupport, str] = {
    "exact": "the service supports this, but not in one request with the rest",
    "inexact": "the service may return more cases than match",
    "unsupported": "the service cannot compare this",
    "remote_only": "only the service can see this",
}
"""Why a condition is evaluated locally, by the support of the service for it."""


@dataclass(frozen=True)
class Cost:
    """What a read costs.

    Parameters
    ----------
    cases
        Cases that are fetched; with conditions that are evaluated locally, more than the
        result has.
    pages
        Pages of each pass.
    requests
        All requests except discovery.
    seconds
        How long these take at the rate of the source, after its first burst.
    """

    cases: int
    pages: int
    requests: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """How a query is going to be read.

    Parameters
    ----------
    read_plan
        The plan that `read_cases` would carry out.
    """

    read_plan: ReadPlan

    @property
    def requests(self) -> tuple[Request, ...]:
        """The first request of every scan, exactly as it is sent; a mirror gets only one."""
        source = self.read_plan.source
        if isinstance(source, InProcessSource):
            return (source.request(in_process_scan(self.read_plan)),)
        return tuple(source.request(scan) for scan in self.read_plan.scans)

    @property
    def commands(self) -> tuple[str, ...]:
        """The same for a shell: aws CLI or curl, with credentials from the environment."""
        return tuple(self.read_plan.source.command(request) for request in self.requests)

    @property
    def pushed(self) -> Expression:
        """The part of the filter that the service evaluates."""
        return self.read_plan.pushdown.pushed

    @property
    def residual(self) -> Expression:
        """The part of the filter that is evaluated locally."""
        return self.read_plan.pushdown.residual

    @property
    def rechecked(self) -> dict[str, str]:
        """Each condition that is evaluated locally, and why."""
        support = self.read_plan.source.pushdown_support
        return {repr(item): RESIDUAL_REASONS[support(item)] for item in comparisons(self.residual)}

    @property
    def passes(self) -> int:
        """How many passes over the result are needed: a request has a limited number of fields."""
        return len(self.read_plan.passes)

    @property
    def partitions(self) -> int:
        """The number of requests with disjoint results into which the filter is split."""
        return len(self.read_plan.pushdown.parts)

    def count(self) -> Cost:
        """Count the cases that would be fetched, and estimate the requests and seconds.

        Amazon Connect counts in one request per partition; on Persona the ids are read.
        """
        plan, context = self.read_plan, ReadContext()
        counts = [_count_partition(plan, part, context) for part in range(self.partitions)]
        limit = plan.query.limit if plan.stops_at_limit else None
        fetched = [count if limit is None else min(count, limit) for count in counts]
        pages = sum(max(1, math.ceil(count / plan.source.page_size)) for count in fetched)
        # If the first pass finds nothing, there is no other.
        requests = pages * self.passes if any(fetched) else pages
        # What changed during the read is read again, unless the limit ends the read before.
        if plan.needs_reread and fetched == counts and (any(fetched) or self.partitions > 1):
            requests += 1 if plan.is_evaluable_locally else self.partitions
        seconds = max(0.0, requests - plan.source.burst) / plan.source.rate
        return Cost(sum(fetched), pages, requests, seconds)

    def __repr__(self) -> str:
        pushed = "every case" if self.pushed == TRUE else _short.repr(self.pushed)
        local = "" if self.residual == TRUE else f"; filtered locally: {_short.repr(self.residual)}"
        return f"Plan({self.read_plan.source.name}: {self._scans()}; pushed: {pushed}{local})"

    def _repr_html_(self) -> str:
        rows = [
            ("Source", escape(repr(self.read_plan.source))),
            ("Pushed to the service", _code(self.pushed)),
            ("Filtered locally", _conditions(self.rechecked)),
            ("Requests", escape(self._summary())),
        ]
        style = "style='text-align:left;vertical-align:top'"
        body = "".join(
            f"<tr><th scope='row' {style}>{name}</th><td {style}>{cell}</td></tr>"
            for name, cell in rows
        )
        requests = "".join(map(_request, self.requests, self.commands))
        return f"<table class='cs-plan'><caption>Plan</caption>{body}</table>{requests}"

    def _scans(self) -> str:
        return f"{_plural(self.partitions, 'partition')}, {_plural(self.passes, 'pass', 'passes')}"

    def _summary(self) -> str:
        if not self.partitions:
            return "none: no case can match"
        strategy = self.read_plan.pushdown.strategy
        reason = f"; {strategy}, because one request cannot hold the filter"
        page = f"{self.read_plan.source.page_size} cases per page"
        return f"{self._scans()}, {page}{'' if strategy == 'as it is' else reason}"


def _count_partition(plan: ReadPlan, part: int, context: ReadContext) -> int:
    if plan.source.can_count:
        return plan.source.count(plan.pass_scans(plan.passes[0])[part], context)
    pushdown = replace(plan.pushdown, parts=(plan.pushdown.parts[part],))
    options = ReadOptions(progress=False, lookback=NO_LOOKBACK)
    return len(read_frame(ids_only(replace(plan, pushdown=pushdown)), context, options))


def _plural(number: int, noun: str, plural_noun: str = "") -> str:
    return f"{number} {noun if number == 1 else plural_noun or f'{noun}s'}"


def _code(expression: Expression) -> str:
    return "every case" if expression == TRUE else f"<code>{escape(repr(expression))}</code>"


def _conditions(reasons: dict[str, str]) -> str:
    if not reasons:
        return "nothing"
    return "<br>".join(
        f"<code>{escape(condition)}</code>: {escape(reason)}"
        for condition, reason in reasons.items()
    )


_WRAP = "style='white-space:pre-wrap'"


def _request(request: Request, command: str) -> str:
    body = "" if request.body is None else json.dumps(request.body, indent=1, ensure_ascii=False)
    line = f"{request.method} {request.path}"
    return (
        f"<details><summary><code>{escape(line)}</code></summary>"
        f"<pre {_WRAP}>{escape(body)}</pre><pre {_WRAP}>{escape(command)}</pre></details>"
    )
