"""What may differ by now from an earlier read, and reading only that.

A case may have begun or ceased to match because it was updated, or because its time has passed a
bound that is relative to now. Each of these causes is a `ChangeSet`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from casesearch_pd.query.binding import BindingContext, bind
from casesearch_pd.query.expressions import (
    TRUE,
    Compare,
    Expression,
    all_of,
    comparisons,
    conjuncts,
    fields_of,
)
from casesearch_pd.reading.fetch.pipeline import read_frame
from casesearch_pd.reading.plan import make_plan, total_order
from casesearch_pd.reading.provenance import Provenance, ReadMetadata
from casesearch_pd.sources.base import InProcessSource, Sort
from casesearch_pd.sources.transport.context import ReadContext
from casesearch_pd.sources.transport.timestamps import MILLISECOND, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pandas as pd

    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.frames.frame import FrameFormat
    from casesearch_pd.reading.options import BoundQuery, ReadOptions
    from casesearch_pd.sources.base import Source

__all__ = [
    "ChangeSet",
    "Changes",
    "IncrementalRead",
    "PreviousRead",
    "change_sets",
    "full_read_reason",
    "read_changes",
    "read_query",
    "updated_since",
]


@dataclass(frozen=True)
class PreviousRead:
    """When the previous read took place."""

    since: pd.Timestamp  # the clock of the service then, less the lookback; UTC
    now: pd.Timestamp  # that relative times counted from; UTC
    tz: str  # of naive times


@dataclass
class IncrementalRead:
    """Several reads of one source that make up one result, and what they have in common."""

    source: Source
    query: BoundQuery
    options: ReadOptions
    context: ReadContext = field(default_factory=ReadContext)
    metadata: ReadMetadata = field(default_factory=ReadMetadata)  # of all reads together

    @property
    def frame_format(self) -> FrameFormat:
        """The format of all frames."""
        return self.options.frame_format

    @property
    def lookback(self) -> pd.Timedelta:
        """By how much the search may lag behind the writes."""
        return self.options.lookback_for(self.source)

    @property
    def order(self) -> tuple[Sort, ...]:
        """The complete order of the rows."""
        return total_order(self.source, self.query)


def read_query(incremental: IncrementalRead, query: BoundQuery) -> pd.DataFrame:
    """Read one of the queries; ``as_of`` is when the first of them began."""
    plan = make_plan(incremental.source, query, quiet=True)
    frame = read_frame(plan, incremental.context, incremental.options)
    provenance, metadata = Provenance.from_attrs(frame), incremental.metadata
    metadata.as_of = metadata.as_of or provenance.as_of
    metadata.passes = max(metadata.passes, provenance.passes or 0)
    metadata.notes += provenance.notes
    return frame


def full_read_reason(incremental: IncrementalRead, previous: PreviousRead | None) -> str:
    """Return why all must be read again; empty if reading the changes is enough."""
    query, updated = incremental.query, incremental.source.schema.find("updated_at")
    if isinstance(incremental.source, InProcessSource):
        return "the source is local"
    if query.limit is not None:
        return f"limit={query.limit} takes the first rows, and any change may change which"
    if query.search is not None:
        return "only the service knows what matches search="
    if previous is None:
        return "the previous read sent no request"
    if updated is None or not updated.active:
        return "the service has no updated_at"
    if incremental.source.pushdown_support(updated_since(updated, previous)) == "unsupported":
        return "the service cannot filter by updated_at"
    return ""


@dataclass(frozen=True)
class ChangeSet:
    """Cases that may have begun or ceased to match, from one cause."""

    where: Expression
    needs_ids: bool = True  # their ids must be read, because some may no longer match
    needs_rows: bool = True  # those that match must be read, because they may not have before
    # What rows of the previous result must still meet; TRUE if only the service knows.
    condition: Expression = TRUE


def change_sets(
    query: BoundQuery, schema: Schema, previous: PreviousRead, columns: Collection[str]
) -> tuple[ChangeSet, ...]:
    """Return the change sets since a previous read of these columns, each once."""
    updated = ChangeSet(
        updated_since(schema.resolve("updated_at"), previous), needs_ids=query.where != TRUE
    )
    context = BindingContext(schema, previous.tz, query.now)
    by_time = [
        _change_by_time(query, context, previous.now, comparison, offset)
        for comparison in comparisons(query.filter)
        for offset in _relative_offsets(comparison.value)
    ]
    # Without the column of its condition, a previous result cannot be filtered locally.
    evaluable = (
        item if _has_columns(item.condition, columns) else ChangeSet(item.where) for item in by_time
    )
    return tuple(dict.fromkeys([updated, *evaluable]))


def updated_since(updated: Field, previous: PreviousRead) -> Compare:
    """Return the condition that a case was updated since a previous read."""
    return Compare(updated, "gte", to_milliseconds(previous.since))


def _relative_offsets(value: Any) -> Iterator[timedelta]:
    """Yield the offsets from now that a comparison contains."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, timedelta):
            yield item


def _change_by_time(
    query: BoundQuery,
    context: BindingContext,
    previous_now: pd.Timestamp,
    comparison: Compare,
    offset: timedelta,
) -> ChangeSet:
    """Return the cases whose time a bound has passed that is relative to now."""
    target = context.schema.resolve(str(comparison.field))
    start, end = sorted((previous_now + offset, query.now + offset))
    first, last = to_milliseconds(start), to_milliseconds(end) + MILLISECOND
    where = all_of([Compare(target, "gte", first), Compare(target, "lte", last)])
    terms = conjuncts(query.filter)
    if comparison not in terms:
        return ChangeSet(where)
    # Every row must meet a term of the top-level AND, so the rows themselves show which still do.
    # As time goes by, no case begins to be later than a bound.
    needs_rows = comparison.op not in {"gt", "gte"} or query.now < previous_now
    condition = bind(comparison, context)
    return ChangeSet(where, needs_ids=False, needs_rows=needs_rows, condition=condition)


def _has_columns(condition: Expression, columns: Collection[str]) -> bool:
    return all(item.column in columns for item in fields_of(condition))


@dataclass(frozen=True)
class Changes:
    """What changed since a previous read."""

    ids: frozenset[str]  # of all cases that may no longer match
    rows: tuple[pd.DataFrame, ...]  # the cases that match, in their current version
    conditions: tuple[Expression, ...]  # that the rest of the previous result must still meet

    @property
    def removed_ids(self) -> frozenset[str]:
        """The ids of the cases that no longer match."""
        return self.ids - {case_id for frame in self.rows for case_id in frame["case_id"]}


def read_changes(
    incremental: IncrementalRead, previous: PreviousRead, columns: Collection[str]
) -> Changes:
    """Read what changed since a previous read with these columns."""
    sets = change_sets(incremental.query, incremental.source.schema, previous, columns)
    ids = {item: _read_ids(incremental, item) for item in sets if item.needs_ids}
    # A set without any case has no rows either; its second request is saved.
    with_rows = [item for item in sets if item.needs_rows and ids.get(item) != set()]
    rows = tuple(_read_matching(incremental, item) for item in with_rows)
    return Changes(frozenset().union(*ids.values()), rows, tuple(item.condition for item in sets))


def _read_ids(incremental: IncrementalRead, change_set: ChangeSet) -> set[str]:
    """Read the ids of all cases of a set, whether they match the query or not."""
    columns = (incremental.source.schema.resolve("case_id"),)
    query = replace(_query(incremental, change_set.where, columns), all_columns=False)
    return set(read_query(incremental, query)["case_id"])


def _read_matching(incremental: IncrementalRead, change_set: ChangeSet) -> pd.DataFrame:
    """Read the cases of a set that match the query."""
    schema, query = incremental.source.schema, incremental.query
    sort_fields = (item.field for item in incremental.order)
    columns = dict.fromkeys([*query.columns, schema.resolve("updated_at"), *sort_fields])
    where = all_of([query.where, change_set.where])
    return read_query(incremental, _query(incremental, where, tuple(columns)))


def _query(incremental: IncrementalRead, where: Expression, columns: Sequence[Field]) -> BoundQuery:
    by_creation = (Sort(incremental.source.schema.resolve("created_at")),)
    return replace(incremental.query, where=where, columns=tuple(columns), sort=by_creation)
