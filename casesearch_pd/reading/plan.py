"""A question in, the walks that answer it out: pure but for the source's discovery.

A `Query` is what a user wants, bound to the source's schema. A `ReadPlan` is how it is read: what
the service is asked, one `Scan` for every pass over its fields, and what remains to be done
with the rows here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd

from casesearch_pd.errors import FilterError, warn
from casesearch_pd.query.binding import BindingContext, bind, from_keywords, from_tags
from casesearch_pd.query.coercion import is_collection
from casesearch_pd.query.expressions import FALSE, TRUE, Expression, all_of, fields_of, literals
from casesearch_pd.query.pushdown import Pushdown
from casesearch_pd.query.references import from_pandas, is_pandas_expression
from casesearch_pd.reading.frames.columns import OBJECT_TYPES
from casesearch_pd.sources.base import InProcessSource, Scan, Sort
from casesearch_pd.sources.registry import require_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.sources.base import Source

__all__ = [
    "NO_LOOKBACK",
    "OPTIONS",
    "Query",
    "ReadPlan",
    "binding_context",
    "build_query",
    "ids_only",
    "make_plan",
    "parse_filter",
    "parse_lookback",
]

NO_LOOKBACK = pd.Timedelta(0)
"""The lookback of a search that never lags."""

# Names that are options of some function, now or some day, and so of no filter keyword.
OPTIONS = frozenset(
    [
        "where",
        "search",
        "tags",
        "columns",
        "sort",
        "limit",
        "dtype_backend",
        "tz",
        "progress",
        "max_workers",
        "on_error",
        "checkpoint",
        "timeout",
        "lookback",
        "chunksize",
        "npartitions",
        "n_workers",
    ]
)

_MANY_PASSES = 2  # more than this is worth a word
# What everybody sorts alike. Of text, neither service says whether "a" comes before "B", so the
# head of its order may be other cases than the head of ours.
_ALIKE = {"number", "integer", "boolean", "datetime"}


@dataclass(frozen=True)
class Query:
    """What a user wants of a source.

    Parameters
    ----------
    filter
        The filter as the user wrote it, for provenance.
    where
        The same, bound to the schema.
    columns
        The fields to show, in order.
    all_columns
        Whether the user left the columns to us.
    sort
        The order of the rows.
    now
        What relative times count from; UTC.
    limit
        How many rows at most.
    search
        The service's full-text search.
    """

    filter: Expression
    where: Expression
    columns: tuple[Field, ...]
    all_columns: bool
    sort: tuple[Sort, ...]
    now: pd.Timestamp
    limit: int | None = None
    search: str | None = None


@dataclass(frozen=True)
class ReadPlan:
    """How a query is read.

    Parameters
    ----------
    source
        Who is asked.
    query
        What is wanted.
    pushdown
        What the service is asked, in one part or several disjoint ones, and what is checked
        again on the rows that come home.
    passes
        The fields of each pass over the result.
    required_fields
        The fields that have to come home: to be shown, sorted by or checked again.
    order
        The order of a walk.
    stops_at_limit
        Whether a walk may stop at the limit: the service filters and sorts exactly.
    """

    source: Source
    query: Query
    pushdown: Pushdown
    passes: tuple[tuple[Field, ...], ...]
    required_fields: tuple[Field, ...]
    order: tuple[Sort, ...]
    stops_at_limit: bool

    def pass_scans(self, fields: tuple[Field, ...]) -> tuple[Scan, ...]:
        """List the walks of one pass, one for each part of the filter."""
        return tuple(
            Scan(part, fields, self.order, self.query.search) for part in self.pushdown.parts
        )

    @property
    def scans(self) -> tuple[Scan, ...]:
        """Every walk, pass by pass."""
        return tuple(scan for fields in self.passes for scan in self.pass_scans(fields))

    @property
    def needs_reread(self) -> bool:
        """Whether a case that changes meanwhile could slip between two walks.

        Cases that are asked for one by one, by their ids, cannot.
        """
        return len(self.scans) > 1 and self.pushdown.strategy != "one by one"

    @property
    def checkable_locally(self) -> bool:
        """Whether the whole filter can be checked here: nothing of it is the service's alone."""
        judge = self.source.pushdown_support
        return not any(judge(item) == "remote_only" for item in literals(self.query.where))


def build_query(
    source: Source,
    where: Expression | Mapping[str, object] | None,
    filters: Mapping[str, object],
    *,
    search: str | None = None,
    tags: Mapping[str, str] | Iterable[str] | str | None = None,
    columns: Sequence[str] | None = None,
    sort: str | Sequence[str] | None = None,
    limit: int | None = None,
    tz: str = "UTC",
) -> Query:
    """Bind what a user wrote to the schema of the source.

    Raises
    ------
    FilterError
        If something of it cannot be asked.
    """
    require_source(source)
    schema = source.schema
    joined = parse_filter(where, filters, tags, schema)
    binding = binding_context(schema, tz)
    return Query(
        filter=joined,
        where=bind(joined, binding),
        columns=_columns(columns, schema),
        all_columns=columns is None,
        sort=_sort(sort, schema),
        now=binding.now,
        limit=_limit(limit),
        search=_search(search, source),
    )


def parse_filter(
    where: Expression | Mapping[str, object] | None,
    filters: Mapping[str, object],
    tags: Mapping[str, str] | Iterable[str] | str | None,
    schema: Schema,
) -> Expression:
    """Join all that a user wrote of a filter, by AND; its names are not looked up yet.

    Raises
    ------
    FilterError
        If it is no filter.
    """
    taken = next((name for name in filters if name in OPTIONS), None)
    if taken is not None:
        raise FilterError(
            f"{taken}= is the name of an option, and not of this function; a field of that name is "
            f"filtered by where={{{taken!r}: …}}"
        )
    return all_of(
        [_written(where, schema), from_tags(tags, schema), from_keywords(filters, schema)]
    )


def binding_context(schema: Schema, tz: str) -> BindingContext:
    """Take the bearings of a filter: its names, its zone, and now, read once.

    Raises
    ------
    FilterError
        If there is no such zone.
    """
    # Finer than the wires' milliseconds, "a week ago" would have to be checked again here.
    return BindingContext(schema, _zone(tz), pd.Timestamp.now("UTC").floor("ms"))


def _written(where: Expression | Mapping[str, object] | None, schema: Schema) -> Expression:
    if where is None:
        return TRUE
    if isinstance(where, Expression):
        return where
    if is_pandas_expression(where):
        return from_pandas(where)
    if isinstance(where, Mapping) and all(isinstance(name, str) for name in where):
        return from_keywords(where, schema)
    if isinstance(where, pd.Series):
        raise FilterError(
            "where= takes no mask of rows, which filters a frame by df[mask]; write "
            "cs.field('status') == 'open', or a mapping such as {'status': 'open'}"
        )
    raise FilterError(
        f"where={where!r} is no filter; write cs.field('status') == 'open', or a mapping such as "
        "{'status': 'open'}"
    )


def _zone(tz: str) -> str:
    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise FilterError(
            f"tz={tz!r} is no time zone; write 'UTC' or a name such as 'Europe/Berlin'"
        ) from error
    return tz


def _columns(names: Sequence[str] | None, schema: Schema) -> tuple[Field, ...]:
    if names is None:
        return schema.active
    listed = _names(names, "columns")
    if not listed:
        raise FilterError("columns=[] asks for nothing; leave it out for all columns")
    found = tuple(dict.fromkeys(schema.resolve(name) for name in listed))
    hidden = next((item for item in found if not item.visible), None)
    if hidden is not None:
        raise FilterError(
            f"{hidden.column!r} can be filtered by but is never shown; leave it out of columns="
        )
    return found


def _sort(names: str | Sequence[str] | None, schema: Schema) -> tuple[Sort, ...]:
    listed = [] if names is None else _names(names, "sort")
    asked = tuple(_sort_by(name, schema) for name in listed)
    return asked or (Sort(schema.resolve("created_at")),)


def _names(given: str | Sequence[str], option: str) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    if not is_collection(listed) or not all(isinstance(name, str) for name in listed):
        raise FilterError(f"{option}={given!r} takes a name or a list of names")
    return list(listed)


def _sort_by(name: str, schema: Schema) -> Sort:
    item = schema.resolve(name.removeprefix("-"))
    if item.type in OBJECT_TYPES or not item.visible:
        raise FilterError(
            f"{item.column!r} has no order to sort by; sort by a time, number or text"
        )
    return Sort(item, descending=name.startswith("-"))


def _limit(limit: int | None) -> int | None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise FilterError(f"limit={limit!r} is no number of rows; write 0 or more, or None for all")
    return limit


def _search(search: str | None, source: Source) -> str | None:
    if search is None:
        return None
    if not source.can_search:
        raise FilterError(f"{source.name} has no full-text search; filter by fields instead")
    if not isinstance(search, str) or not 1 <= len(search) <= 255:  # noqa: PLR2004 - the documented limit
        raise FilterError(f"search={search!r} takes a text of 1 to 255 characters")
    return search


def make_plan(
    source: Source, query: Query, *, streamed: bool = False, quiet: bool = False
) -> ReadPlan:
    """Decide what is asked of the service and what is done here.

    Parameters
    ----------
    source
        Who is asked.
    query
        What is wanted.
    streamed
        Whether the rows are handed on as they come, so that only the service can sort them.

    quiet
        Whether to leave out the warnings of a dear read.

    Raises
    ------
    FilterError
        If the rows are streamed and the service cannot sort them as asked.
    """
    nothing = query.where == FALSE or query.limit == 0
    parts = Pushdown((), TRUE) if nothing else source.push_down(query.where)
    needed = _needed(query, parts.residual)
    passes = tuple(source.column_batches(needed))
    pushable = len(parts.parts) <= 1 and _pushable(source, query.sort)
    alike = isinstance(source, InProcessSource) or all(
        item.field.type in _ALIKE for item in query.sort
    )
    sure = pushable and alike
    if streamed:
        headed = sure or not query.limit or not parts.parts
        _check_streamed(query, pushable=pushable, headed=headed, passes=len(passes))
    limited = query.limit is not None and parts.residual == TRUE and sure
    if not quiet:
        _warn(source, query, parts, passes)
    order = _order(source, query.sort if limited or streamed else ())
    return ReadPlan(source, query, parts, passes, needed, order, limited)


def ids_only(route: ReadPlan) -> ReadPlan:
    """Take the same way for the ids alone, without a second look at the rows."""
    query = replace(
        route.query,
        columns=(route.source.schema.resolve("case_id"),),
        all_columns=False,
        sort=_sort(None, route.source.schema),
    )
    bare = replace(route.pushdown, residual=TRUE)
    needed = _needed(query, TRUE)
    passes = tuple(route.source.column_batches(needed))
    return replace(
        route,
        query=query,
        pushdown=bare,
        passes=passes,
        required_fields=needed,
        order=_order(route.source, ()),
    )


def _pushable(source: Source, sort: tuple[Sort, ...]) -> bool:
    return len(sort) <= source.max_sorts and all(source.can_sort_by(item.field) for item in sort)


def _check_streamed(query: Query, *, pushable: bool, headed: bool, passes: int) -> None:
    by_creation = query.sort[0].field.column == "created_at" and len(query.sort) == 1
    wanted = ", ".join(item.field.column for item in query.sort)
    if not pushable and not (by_creation and not query.sort[0].descending):
        raise FilterError(
            f"the service cannot sort this by {wanted}, and chunks cannot be sorted here; leave "
            "sort= out, or use read_cases"
        )
    if not headed:
        raise FilterError(
            f"limit={query.limit} is the head of the order by {wanted}, which chunks cannot be "
            "sure of here; leave limit= out, or use read_cases"
        )
    if passes > 1 and not by_creation:
        raise FilterError(
            f"{len(query.columns)} columns come in {passes} passes, which can only be joined in "
            f"the order of created_at; ask for fewer columns=, or leave sort={wanted!r} out"
        )


def _order(source: Source, asked: tuple[Sort, ...]) -> tuple[Sort, ...]:
    """Order a walk: as asked, else by the creation time, which no update can change."""
    schema = source.schema
    sort = asked or (Sort(schema.resolve("created_at")),)
    last = schema.find("case_id")
    if (
        last is not None
        and len(sort) < source.max_sorts
        and source.can_sort_by(last)
        and last != sort[0].field
    ):
        return (*sort, Sort(last))
    return sort


def _needed(query: Query, residual: Expression) -> tuple[Field, ...]:
    """List what has to come home: to be shown, sorted by, and checked again."""
    return tuple(
        dict.fromkeys([*query.columns, *(item.field for item in query.sort), *fields_of(residual)])
    )


def _warn(
    source: Source, query: Query, parts: Pushdown, passes: tuple[tuple[Field, ...], ...]
) -> None:
    """Tell before a read what makes it dear."""
    if query.all_columns and len(passes) > _MANY_PASSES:
        warn(
            f"reading all {len(query.columns)} columns takes {len(passes)} requests for every "
            "page; columns=['status', 'created_at', …] with what you need is faster"
        )
    if parts.parts == (TRUE,) and query.where != TRUE and query.search is None:
        pages = 10_000 // source.page_size * len(passes)
        seconds = pages / source.rate
        wait = "" if seconds < 1 else f" and {seconds:.0f} seconds at {source.rate:g} a second"
        warn(
            f"{source.name} can answer nothing of this filter, so every case is read and checked "
            f"here: {pages} requests{wait} for every 10,000 cases; a bound on created_at helps"
        )


def parse_lookback(source: Source, given: timedelta | str | float | None) -> pd.Timedelta:
    """Tell by how much a search may lag behind the writes.

    Raises
    ------
    FilterError
        If what the user gave is no length of time.
    """
    if given is None:
        return pd.Timedelta(seconds=source.lookback)
    try:
        number = isinstance(given, (int, float)) and not isinstance(given, bool)
        length = pd.Timedelta(given, "s") if number else pd.Timedelta(given)
        if length >= pd.Timedelta(0):
            return length
    except (ValueError, TypeError, OverflowError):
        pass
    raise FilterError(
        f"lookback={given!r} is no length of time; write '2min', a timedelta, or seconds"
    )
