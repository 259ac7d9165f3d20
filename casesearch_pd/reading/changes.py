"""A question that was answered before in, what has changed since out: who left, and who is new.

What may differ has been *touched*: it was updated since the read, or its time has passed a bound
that is relative to now. For each such touch the ids of all cases are asked for first, whatever
the filter, and then the rows that match. Who is among the ids and not among the rows does not
match any more. In this order nothing is dropped wrongly: a case that changes between the two is
at worst kept in its old version, and was updated after the time that the next look begins at.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from casesearch_pd.query.expr import all_of
from casesearch_pd.reading.exhaust import exhaust
from casesearch_pd.reading.plan import plan
from casesearch_pd.reading.provenance import Told, read_back
from casesearch_pd.reading.touched import touches, updated_since
from casesearch_pd.sources.contract import Direct, Sort
from casesearch_pd.sources.run import Run

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from casesearch_pd.query.expr import Expression
    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.frame import Look
    from casesearch_pd.reading.plan import Query
    from casesearch_pd.reading.progress import Progress
    from casesearch_pd.reading.touched import Then, Touch
    from casesearch_pd.sources.contract import Source

__all__ = ["Changes", "Inquiry", "changed", "inquire", "why_anew"]


@dataclass
class Inquiry:
    """Several reads of one source that make one answer, and what they have to tell together.

    Parameters
    ----------
    source
        Who is asked.
    query
        What is wanted.
    look
        How the frames look.
    lag
        By how much the search may lag behind the writes.
    """

    source: Source
    query: Query
    look: Look
    lag: pd.Timedelta
    run: Run = field(default_factory=Run)
    new: Told = field(default_factory=Told)
    progress: Progress = "auto"
    workers: int | None = None

    @property
    def order(self) -> tuple[Sort, ...]:
        """The whole order of the rows."""
        case_id = self.source.schema.resolve("case_id")
        sort = self.query.sort
        return sort if any(item.field == case_id for item in sort) else (*sort, Sort(case_id))


@dataclass(frozen=True)
class Changes:
    """What has changed.

    Parameters
    ----------
    touched
        The ids of all cases that may not match any more.
    rows
        The cases that match, as they are now.
    stays
        What tells of any other case whether it still matches.
    """

    touched: frozenset[str]
    rows: tuple[pd.DataFrame, ...]
    stays: tuple[Expression, ...]

    @property
    def gone(self) -> frozenset[str]:
        """The ids of those that do not match any more."""
        return self.touched - {case for rows in self.rows for case in rows["case_id"]}


def inquire(inquiry: Inquiry, query: Query) -> pd.DataFrame:
    """Read one of the answers; the first tells as of when they all are."""
    route = plan(inquiry.source, query, quiet=True)
    found = exhaust(
        route,
        inquiry.run,
        inquiry.look,
        progress=inquiry.progress,
        workers=inquiry.workers,
        overlap=inquiry.lag,
    )
    told, new = read_back(found), inquiry.new
    if new.as_of is None and told["as_of"] is not None:
        new.as_of = pd.Timestamp(told["as_of"])
    new.passes = max(new.passes, told["passes"])
    new.notes += told["notes"]
    return found


def why_anew(inquiry: Inquiry, then: Then | None) -> str:
    """Say why only a whole new read can tell what changed; empty if a look at changes can.

    Parameters
    ----------
    inquiry
        Who is asked what.
    then
        When it was asked before; None if nobody knows.
    """
    query, updated = inquiry.query, inquiry.source.schema.find("updated_at")
    if isinstance(inquiry.source, Direct):
        return "the source has its cases at hand"
    if query.limit is not None:
        return f"limit={query.limit} is the head of an order that any change may change"
    if query.search is not None:
        return "what search= finds is the service's alone to say"
    if then is None:
        return "nothing was asked of the service before"
    if updated is None or inquiry.source.judge(updated_since(updated, then)) == "no":
        return "the service cannot be asked for what was updated"
    return ""


def changed(inquiry: Inquiry, then: Then, columns: Collection[str]) -> Changes:
    """Read what was touched since then.

    Parameters
    ----------
    inquiry
        Who is asked what.
    then
        When it was asked before.
    columns
        The columns that are there of the old answer.
    """
    ways = touches(inquiry.query, inquiry.source.schema, then, columns)
    asked = {touch: _ids(inquiry, touch) for touch in ways if touch.leaves}
    entering = [touch for touch in ways if touch.enters and asked.get(touch) != set()]
    fresh = tuple(_rows(inquiry, touch) for touch in entering)
    touched = frozenset().union(*asked.values())
    return Changes(touched, fresh, tuple(touch.stays for touch in ways))


def _ids(inquiry: Inquiry, touch: Touch) -> set[str]:
    """Ask for all that a touch concerns, whatever the filter."""
    columns = (inquiry.source.schema.resolve("case_id"),)
    query = replace(_touched(inquiry, touch.where, columns), every=False)
    return set(inquire(inquiry, query)["case_id"])


def _rows(inquiry: Inquiry, touch: Touch) -> pd.DataFrame:
    """Ask for the rows that a touch concerns and that match."""
    schema, query = inquiry.source.schema, inquiry.query
    keys = (item.field for item in inquiry.order)
    columns = tuple(dict.fromkeys([*query.columns, schema.resolve("updated_at"), *keys]))
    return inquire(inquiry, _touched(inquiry, all_of([query.where, touch.where]), columns))


def _touched(inquiry: Inquiry, where: Expression, columns: Sequence[Field]) -> Query:
    by_creation = (Sort(inquiry.source.schema.resolve("created_at")),)
    return replace(inquiry.query, where=where, columns=tuple(columns), sort=by_creation)
