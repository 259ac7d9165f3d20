"""A frame's provenance and the time that has passed in, out what may differ from it by now.

A case may have come to match, or not to match any more, because it was updated, or because its
time has passed a bound that is relative to now. Each of these ways is a `ChangeSet`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.query.binding import BindingContext, bind
from casesearch_pd.query.expressions import (
    TRUE,
    And,
    Compare,
    Expression,
    all_of,
    fields_of,
    literals,
)
from casesearch_pd.reading.fetch.pipeline import read_frame
from casesearch_pd.reading.plan import make_plan
from casesearch_pd.reading.provenance import ReadMetadata, read_provenance
from casesearch_pd.sources.base import InProcessSource, Sort
from casesearch_pd.sources.transport.context import ReadContext

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.fetch.progress import Progress
    from casesearch_pd.reading.frames.frame import FrameFormat
    from casesearch_pd.reading.plan import Query
    from casesearch_pd.sources.base import Source

__all__ = [
    "ChangeSet",
    "Changes",
    "IncrementalRead",
    "PreviousRead",
    "change_sets",
    "full_read_reason",
    "read_changes",
    "read_part",
    "updated_since",
]

_TICK = pd.Timedelta(1, "ms")


@dataclass(frozen=True)
class PreviousRead:
    """When a frame was read, and how it tells times.

    Parameters
    ----------
    since
        The service's clock then, less what its search may lag behind; UTC.
    now
        What relative times counted from; UTC.
    tz
        The zone of naive times.
    """

    since: pd.Timestamp
    now: pd.Timestamp
    tz: str


@dataclass(frozen=True)
class ChangeSet:
    """One way in which a case may have come to match, or not to match any more.

    Parameters
    ----------
    where
        The cases that it concerns.
    leaves
        Whether the service has to be asked who of them does not match any more.
    enters
        Whether it has to be asked who of them matches.
    stays
        What tells here which cases still match; TRUE if the service has to tell.
    """

    where: Expression
    leaves: bool = True
    enters: bool = True
    stays: Expression = TRUE


def change_sets(
    query: Query, schema: Schema, then: PreviousRead, columns: Collection[str]
) -> tuple[ChangeSet, ...]:
    """List the ways, each once.

    Parameters
    ----------
    query
        What the frame was read by, bound anew.
    schema
        The fields of the source.
    then
        When it was read.
    columns
        The columns of the frame.
    """
    updated = ChangeSet(
        updated_since(schema.resolve("updated_at"), then), leaves=query.where != TRUE
    )
    passed = [
        _passed(query, BindingContext(schema, then.tz, query.now), then.now, literal, length)
        for literal in literals(query.filter)
        for length in _relative(literal.value)
    ]
    told = (touch if _sees(touch, columns) else ChangeSet(touch.where) for touch in passed)
    return tuple(dict.fromkeys([updated, *told]))


def updated_since(updated: Field, then: PreviousRead) -> Compare:
    """Ask for what was updated since a frame was read."""
    return Compare(updated, "gte", _tick(then.since))


def _tick(moment: pd.Timestamp) -> pd.Timestamp:
    return moment.floor("ms").as_unit("us")  # what is finer, no wire can say


def _relative(value: Any) -> Iterator[timedelta]:
    """List the lengths of time that a comparison counts from now."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, timedelta):
            yield item


def _passed(
    query: Query, binding: BindingContext, then: pd.Timestamp, literal: Compare, length: timedelta
) -> ChangeSet:
    """Tell what a bound that is relative to now has passed since the frame was read."""
    target = binding.schema.resolve(str(literal.field))
    start, end = sorted((then + length, query.now + length))
    first, last = _tick(start), _tick(end) + _TICK
    where = all_of([Compare(target, "gte", first), Compare(target, "lte", last)])
    terms = query.filter.terms if isinstance(query.filter, And) else (query.filter,)
    if literal not in terms:
        return ChangeSet(where)
    # Every row has to meet it, so the frame tells who still does. As time goes by, nobody comes
    # to be later than a bound.
    enters = literal.op not in {"gt", "gte"} or query.now < then
    return ChangeSet(where, leaves=False, enters=enters, stays=bind(literal, binding))


def _sees(touch: ChangeSet, columns: Collection[str]) -> bool:
    return all(item.column in columns for item in fields_of(touch.stays))


@dataclass
class IncrementalRead:
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
    look: FrameFormat
    lag: pd.Timedelta
    run: ReadContext = field(default_factory=ReadContext)
    new: ReadMetadata = field(default_factory=ReadMetadata)
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


def read_part(inquiry: IncrementalRead, query: Query) -> pd.DataFrame:
    """Read one of the answers; the first tells as of when they all are."""
    route = make_plan(inquiry.source, query, quiet=True)
    found = read_frame(
        route,
        inquiry.run,
        inquiry.look,
        progress=inquiry.progress,
        workers=inquiry.workers,
        lookback=inquiry.lag,
    )
    told, new = read_provenance(found), inquiry.new
    if new.as_of is None and told["as_of"] is not None:
        new.as_of = pd.Timestamp(told["as_of"])
    new.passes = max(new.passes, told["passes"])
    new.notes += told["notes"]
    return found


def full_read_reason(inquiry: IncrementalRead, then: PreviousRead | None) -> str:
    """Say why only a whole new read can tell what changed; empty if a look at changes can.

    Parameters
    ----------
    inquiry
        Who is asked what.
    then
        When it was asked before; None if nobody knows.
    """
    query, updated = inquiry.query, inquiry.source.schema.find("updated_at")
    if isinstance(inquiry.source, InProcessSource):
        return "the source has its cases at hand"
    if query.limit is not None:
        return f"limit={query.limit} is the head of an order that any change may change"
    if query.search is not None:
        return "what search= finds is the service's alone to say"
    if then is None:
        return "nothing was asked of the service before"
    if (
        updated is None
        or inquiry.source.pushdown_support(updated_since(updated, then)) == "unsupported"
    ):
        return "the service cannot be asked for what was updated"
    return ""


def read_changes(inquiry: IncrementalRead, then: PreviousRead, columns: Collection[str]) -> Changes:
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
    ways = change_sets(inquiry.query, inquiry.source.schema, then, columns)
    asked = {touch: _ids(inquiry, touch) for touch in ways if touch.leaves}
    entering = [touch for touch in ways if touch.enters and asked.get(touch) != set()]
    fresh = tuple(_rows(inquiry, touch) for touch in entering)
    touched = frozenset().union(*asked.values())
    return Changes(touched, fresh, tuple(touch.stays for touch in ways))


def _ids(inquiry: IncrementalRead, touch: ChangeSet) -> set[str]:
    """Ask for all that a touch concerns, whatever the filter."""
    columns = (inquiry.source.schema.resolve("case_id"),)
    query = replace(_touched(inquiry, touch.where, columns), all_columns=False)
    return set(read_part(inquiry, query)["case_id"])


def _rows(inquiry: IncrementalRead, touch: ChangeSet) -> pd.DataFrame:
    """Ask for the rows that a touch concerns and that match."""
    schema, query = inquiry.source.schema, inquiry.query
    keys = (item.field for item in inquiry.order)
    columns = tuple(dict.fromkeys([*query.columns, schema.resolve("updated_at"), *keys]))
    return read_part(inquiry, _touched(inquiry, all_of([query.where, touch.where]), columns))


def _touched(inquiry: IncrementalRead, where: Expression, columns: Sequence[Field]) -> Query:
    by_creation = (Sort(inquiry.source.schema.resolve("created_at")),)
    return replace(inquiry.query, where=where, columns=tuple(columns), sort=by_creation)
