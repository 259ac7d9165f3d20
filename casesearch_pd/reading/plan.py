"""How a bound query is read: what the service is sent, and what is left to do locally.

A `ReadPlan` holds one `Scan` for every part of the pushed filter and every pass over the fields.
Planning is pure; only the schema of the source may have to be discovered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from casesearch_pd.errors import FilterError, warn
from casesearch_pd.query.expressions import FALSE, TRUE, Expression, comparisons, fields_of
from casesearch_pd.query.pushdown import Pushdown
from casesearch_pd.reading.options import bind_query, parse_sort
from casesearch_pd.sources.base import InProcessSource, Scan, Sort
from casesearch_pd.sources.registry import remember_source

if TYPE_CHECKING:
    from casesearch_pd.query.schema import Field
    from casesearch_pd.reading.options import BoundQuery, Query
    from casesearch_pd.sources.base import Source

__all__ = ["ReadPlan", "ids_only", "make_plan", "plan_read", "total_order"]

_MANY_PASSES = 2  # more than this deserve a warning
# The types that every service sorts as pandas does. Neither service documents whether "a" comes
# before "B", so the first rows by a text may be other cases than our first rows.
_CONSISTENTLY_SORTED = {"number", "integer", "boolean", "datetime"}


@dataclass(frozen=True)
class ReadPlan:
    """How a query is read."""

    source: Source
    query: BoundQuery
    pushdown: Pushdown  # disjoint parts for the service, and the residual to evaluate locally
    passes: tuple[tuple[Field, ...], ...]  # the fields of each pass over the result
    required_fields: tuple[Field, ...]  # to return, to sort by, and for the residual
    order: tuple[Sort, ...]  # the order of each scan
    stops_at_limit: bool  # a scan may stop at the limit: the service filters and sorts exactly

    def pass_scans(self, fields: tuple[Field, ...]) -> tuple[Scan, ...]:
        """Return the scans of one pass, one for each part of the filter."""
        return tuple(
            Scan(part, fields, self.order, self.query.search) for part in self.pushdown.parts
        )

    @property
    def scans(self) -> tuple[Scan, ...]:
        """Every scan, pass by pass."""
        return tuple(scan for fields in self.passes for scan in self.pass_scans(fields))

    @property
    def needs_reread(self) -> bool:
        """Whether a case that changes during the read could be missed between two scans.

        This cannot happen to cases that are requested one by one, by their ids.
        """
        return len(self.scans) > 1 and self.pushdown.strategy != "one by one"

    @property
    def is_evaluable_locally(self) -> bool:
        """Whether the whole filter can be evaluated locally: no condition is remote-only."""
        support = self.source.pushdown_support
        return not any(support(item) == "remote_only" for item in comparisons(self.query.where))


def plan_read(source: Source, query: Query) -> ReadPlan:
    """Bind and plan a query, and remember the source for `refresh`."""
    plan = make_plan(source, bind_query(source, query))
    remember_source(plan.source)
    return plan


def make_plan(
    source: Source, query: BoundQuery, *, streamed: bool = False, quiet: bool = False
) -> ReadPlan:
    """Decide what the service is sent and what is done locally.

    Rows of a streamed read are passed on as they arrive, so that only the service can sort them;
    FilterError is raised if it cannot. A quiet plan does not warn about the cost.
    """
    empty = query.where == FALSE or query.limit == 0
    pushdown = Pushdown((), TRUE) if empty else source.push_down(query.where)
    required = _required_fields(query, pushdown.residual)
    passes = tuple(source.column_batches(required))

    # The first rows of the service are our first rows only if it sorts one scan as we do.
    sortable = len(pushdown.parts) <= 1 and _can_sort(source, query.sort)
    same_order = isinstance(source, InProcessSource) or all(
        item.field.type in _CONSISTENTLY_SORTED for item in query.sort
    )
    exact_order = sortable and same_order
    if streamed:
        has_first_rows = exact_order or not query.limit or not pushdown.parts
        _require_streamable(
            query, sortable=sortable, has_first_rows=has_first_rows, passes=len(passes)
        )
    stops_at_limit = query.limit is not None and pushdown.residual == TRUE and exact_order
    if not quiet:
        _warn_about_cost(source, query, pushdown, len(passes))
    order = _scan_order(source, query.sort if stops_at_limit or streamed else ())
    return ReadPlan(source, query, pushdown, passes, required, order, stops_at_limit)


def ids_only(plan: ReadPlan) -> ReadPlan:
    """Return a plan that reads the ids alone and evaluates no residual."""
    schema = plan.source.schema
    query = replace(
        plan.query,
        columns=(schema.resolve("case_id"),),
        all_columns=False,
        sort=parse_sort(None, schema),
    )
    required = _required_fields(query, TRUE)
    return replace(
        plan,
        query=query,
        pushdown=replace(plan.pushdown, residual=TRUE),
        passes=tuple(plan.source.column_batches(required)),
        required_fields=required,
        order=_scan_order(plan.source, ()),
    )


def _can_sort(source: Source, sort: tuple[Sort, ...]) -> bool:
    return len(sort) <= source.max_sorts and all(source.can_sort_by(item.field) for item in sort)


def _require_streamable(
    query: BoundQuery, *, sortable: bool, has_first_rows: bool, passes: int
) -> None:
    by_creation = query.sort[0].field.column == "created_at" and len(query.sort) == 1
    names = ", ".join(item.field.column for item in query.sort)
    if not sortable and not (by_creation and not query.sort[0].descending):
        raise FilterError(
            f"the service cannot sort this by {names}, and chunks cannot be sorted locally; leave "
            "sort= out, or use read_cases"
        )
    if not has_first_rows:
        raise FilterError(
            f"limit={query.limit} takes the first rows by {names}, which a read in chunks cannot "
            "determine; leave limit= out, or use read_cases"
        )
    if passes > 1 and not by_creation:
        raise FilterError(
            f"{len(query.columns)} columns need {passes} passes, which can only be joined in the "
            f"order of created_at; read fewer columns=, or leave sort={names!r} out"
        )


def _scan_order(source: Source, sort: tuple[Sort, ...]) -> tuple[Sort, ...]:
    """Return the order of a scan: the given one, else by creation, which no update can change."""
    schema = source.schema
    order = sort or (Sort(schema.resolve("created_at")),)
    case_id = schema.find("case_id")
    if (
        case_id is not None
        and len(order) < source.max_sorts
        and source.can_sort_by(case_id)
        and case_id != order[0].field
    ):
        return (*order, Sort(case_id))
    return order


def total_order(source: Source, query: BoundQuery) -> tuple[Sort, ...]:
    """Return the order of the rows of a query with `case_id` as last key, so that it is unique."""
    case_id = source.schema.resolve("case_id")
    if any(item.field == case_id for item in query.sort):
        return query.sort
    return (*query.sort, Sort(case_id))


def _required_fields(query: BoundQuery, residual: Expression) -> tuple[Field, ...]:
    sort_fields = (item.field for item in query.sort)
    return tuple(dict.fromkeys([*query.columns, *sort_fields, *fields_of(residual)]))


def _warn_about_cost(source: Source, query: BoundQuery, pushdown: Pushdown, passes: int) -> None:
    """Warn before an expensive read."""
    if query.all_columns and passes > _MANY_PASSES:
        warn(
            f"reading all {len(query.columns)} columns takes {passes} requests per page; "
            "columns=['status', 'created_at', …] with the ones you need is faster"
        )
    if pushdown.parts == (TRUE,) and query.where != TRUE and query.search is None:
        requests = 10_000 // source.page_size * passes
        seconds = requests / source.rate
        time = "" if seconds < 1 else f" and {seconds:.0f} seconds at {source.rate:g} per second"
        warn(
            f"{source.name} cannot evaluate this filter; all cases are fetched and filtered "
            f"locally: {requests} requests{time} per 10,000 cases; a bound on created_at helps"
        )
