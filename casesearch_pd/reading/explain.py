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

from casesearch_pd.query.expressions import TRUE, literals
from casesearch_pd.reading.fetch.pipeline import full_scan, read_frame
from casesearch_pd.reading.frames.frame import FrameFormat
from casesearch_pd.reading.plan import ids_only
from casesearch_pd.sources.base import InProcessSource
from casesearch_pd.sources.transport.context import ReadContext

if TYPE_CHECKING:
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.pushdown import PushdownSupport
    from casesearch_pd.reading.plan import ReadPlan
    from casesearch_pd.sources.base import Request

__all__ = ["WHY", "Cost", "Plan"]

_short = Repr()
_short.maxother = 160  # characters of a filter in one line

WHY: dict[PushdownSupport, str] = {
    "exact": "fits the service, but not into its requests together with the rest",
    "inexact": "the service's answer may be too wide",
    "unsupported": "the service cannot compare this",
    "remote_only": "only the service can see this",
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

    route: ReadPlan

    @property
    def requests(self) -> tuple[Request, ...]:
        """The first request of every walk, exactly as it is sent; a mirror is asked once."""
        if isinstance(self.route.source, InProcessSource):
            return (self.route.source.request(full_scan(self.route)),)
        return tuple(self.route.source.request(scan) for scan in self.route.scans)

    @property
    def commands(self) -> tuple[str, ...]:
        """The same for a shell: aws CLI or curl, with credentials from the environment."""
        return tuple(self.route.source.command(request) for request in self.requests)

    @property
    def pushed(self) -> Expression:
        """What the service is asked."""
        return self.route.pushdown.pushed

    @property
    def residual(self) -> Expression:
        """What is checked again here."""
        return self.route.pushdown.residual

    @property
    def rechecked(self) -> dict[str, str]:
        """Each condition that is checked here, and why."""
        judge = self.route.source.pushdown_support
        return {repr(item): WHY[judge(item)] for item in literals(self.residual)}

    @property
    def passes(self) -> int:
        """How often the result is walked, because a request holds so many fields only."""
        return len(self.route.passes)

    @property
    def partitions(self) -> int:
        """Into how many requests with disjoint results the filter is split."""
        return len(self.route.pushdown.parts)

    def count(self) -> Cost:
        """Count the cases that would come home, and reckon the requests and seconds.

        Amazon Connect counts in one request for each partition; on Persona the ids are read.
        """
        source, run = self.route.source, ReadContext()
        found = [_counted(self.route, at, run) for at in range(self.partitions)]
        limit = self.route.query.limit if self.route.stops_at_limit else None
        home = [count if limit is None else min(count, limit) for count in found]
        pages = sum(max(1, math.ceil(count / source.page_size)) for count in home)
        # Where the first pass finds nothing there is no other; a limit that cuts needs no sweep.
        requests = pages * self.passes if any(home) else pages
        if self.route.needs_reread and home == found and (any(home) or self.partitions > 1):
            requests += 1 if self.route.checkable_locally else self.partitions
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
        how = self.route.pushdown.strategy
        shaped = "" if how == "as it is" else f"; {how}, because one request cannot hold the filter"
        size = f"{self.route.source.page_size} cases a page"
        walks = f"{_many(self.partitions, 'partition')}, {_many(self.passes, 'pass', 'passes')}"
        return f"{walks}, {size}{shaped}"


def _counted(route: ReadPlan, at: int, run: ReadContext) -> int:
    """Count the cases of one partition."""
    if route.source.can_count:
        return route.source.count(route.pass_scans(route.passes[0])[at], run)
    alone = replace(route.pushdown, parts=(route.pushdown.parts[at],))
    return len(
        read_frame(ids_only(replace(route, pushdown=alone)), run, FrameFormat(), progress=False)
    )


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
