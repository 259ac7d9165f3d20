"""A route in, its explanation out: what will be sent, what is checked here, what it costs.

Nothing is sent but discovery, until somebody asks `Plan.count`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from html import escape
from reprlib import Repr
from typing import TYPE_CHECKING

from casesearch_pd.query.expr import TRUE, literals
from casesearch_pd.reading.direct import whole
from casesearch_pd.reading.exhaust import exhaust
from casesearch_pd.reading.frame import Look
from casesearch_pd.reading.plan import narrowed
from casesearch_pd.sources.contract import Direct
from casesearch_pd.sources.run import Run

if TYPE_CHECKING:
    from casesearch_pd.query.expr import Expression
    from casesearch_pd.query.pushdown import Verdict
    from casesearch_pd.reading.plan import Route
    from casesearch_pd.sources.contract import Request

__all__ = ["WHY", "Cost", "Plan"]

_short = Repr()
_short.maxother = 160  # characters of a filter in one line

WHY: dict[Verdict, str] = {
    "exact": "fits the service, but not into its requests together with the rest",
    "superset": "the service's answer may be too wide",
    "no": "the service cannot compare this",
    "unseen": "only the service can see this",
}
"""Why a condition is checked again here, by what the service makes of it."""


@dataclass(frozen=True)
class Cost:
    """What a read costs.

    Parameters
    ----------
    cases
        Cases that come home; with conditions that are checked here, more than the frame has.
    pages
        Pages of each pass.
    requests
        Requests in all, discovery aside.
    seconds
        How long these take at the rate of the source, after its first burst.
    """

    cases: int
    pages: int
    requests: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """How a question is going to be read.

    Parameters
    ----------
    route
        The way that `read_cases` would go.
    """

    route: Route

    @property
    def requests(self) -> tuple[Request, ...]:
        """The first request of every walk, exactly as it is sent; a mirror is asked once."""
        if isinstance(self.route.source, Direct):
            return (self.route.source.request(whole(self.route)),)
        return tuple(self.route.source.request(scan) for scan in self.route.scans)

    @property
    def commands(self) -> tuple[str, ...]:
        """The same for a shell: aws CLI or curl, with credentials from the environment."""
        return tuple(self.route.source.command(request) for request in self.requests)

    @property
    def pushed(self) -> Expression:
        """What the service is asked."""
        return self.route.split.pushed

    @property
    def residual(self) -> Expression:
        """What is checked again here."""
        return self.route.split.residual

    @property
    def rechecked(self) -> dict[str, str]:
        """Each condition that is checked here, and why."""
        judge = self.route.source.judge
        return {repr(item): WHY[judge(item)] for item in literals(self.residual)}

    @property
    def passes(self) -> int:
        """How often the result is walked, because a request holds so many fields only."""
        return len(self.route.passes)

    @property
    def partitions(self) -> int:
        """Into how many requests with disjoint results the filter is split."""
        return len(self.route.split.parts)

    def count(self) -> Cost:
        """Count the cases that would come home, and reckon the requests and seconds.

        Amazon Connect counts in one request for each partition; on Persona the ids are read.
        """
        source, run = self.route.source, Run()
        found = [_counted(self.route, at, run) for at in range(self.partitions)]
        limit = self.route.query.limit if self.route.limited else None
        home = [count if limit is None else min(count, limit) for count in found]
        pages = sum(max(1, math.ceil(count / source.page_size)) for count in home)
        # Where the first pass finds nothing there is no other; a limit that cuts needs no sweep.
        requests = pages * self.passes if any(home) else pages
        if self.route.swept and home == found and (any(home) or self.partitions > 1):
            requests += 1 if self.route.visible else self.partitions
        seconds = max(0.0, requests - source.burst) / source.rate
        return Cost(sum(home), pages, requests, seconds)

    def __repr__(self) -> str:
        asked = "every case" if self.pushed == TRUE else _short.repr(self.pushed)
        checked = "" if self.residual == TRUE else f"; checked here: {_short.repr(self.residual)}"
        walks = f"{_many(self.partitions, 'partition')}, {_many(self.passes, 'pass', 'passes')}"
        return f"Plan({self.route.source.name}: {walks}; asked: {asked}{checked})"

    def _repr_html_(self) -> str:
        rows = [
            ("Source", escape(repr(self.route.source))),
            ("Asked of the service", _code(self.pushed)),
            ("Checked here", _rechecked(self.rechecked)),
            ("Requests", escape(self._in_words())),
        ]
        left = "style='text-align:left;vertical-align:top'"
        body = "".join(
            f"<tr><th scope='row' {left}>{name}</th><td {left}>{cell}</td></tr>"
            for name, cell in rows
        )
        sent = "".join(_request(*pair) for pair in zip(self.requests, self.commands, strict=True))
        return f"<table class='cs-plan'><caption>Plan</caption>{body}</table>{sent}"

    def _in_words(self) -> str:
        if not self.partitions:
            return "none: no case can match"
        how = self.route.split.how
        shaped = "" if how == "as it is" else f"; {how}, because one request cannot hold the filter"
        size = f"{self.route.source.page_size} cases a page"
        walks = f"{_many(self.partitions, 'partition')}, {_many(self.passes, 'pass', 'passes')}"
        return f"{walks}, {size}{shaped}"


def _counted(route: Route, at: int, run: Run) -> int:
    """Count the cases of one partition."""
    if route.source.counts:
        return route.source.count(route.walks(route.passes[0])[at], run)
    alone = replace(route.split, parts=(route.split.parts[at],))
    return len(exhaust(narrowed(replace(route, split=alone)), run, Look(), progress=False))


def _many(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or f'{one}s'}"


def _code(term: Expression) -> str:
    return "every case" if term == TRUE else f"<code>{escape(repr(term))}</code>"


def _rechecked(conditions: dict[str, str]) -> str:
    if not conditions:
        return "nothing"
    return "<br>".join(
        f"<code>{escape(condition)}</code>: {escape(why)}" for condition, why in conditions.items()
    )


_WRAP = "style='white-space:pre-wrap'"


def _request(request: Request, command: str) -> str:
    body = "" if request.body is None else json.dumps(request.body, indent=1, ensure_ascii=False)
    line = f"{request.method} {request.path}"
    return (
        f"<details><summary><code>{escape(line)}</code></summary>"
        f"<pre {_WRAP}>{escape(body)}</pre><pre {_WRAP}>{escape(command)}</pre></details>"
    )
