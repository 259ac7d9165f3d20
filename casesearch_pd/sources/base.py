"""What every source answers: the only thing that reading knows of a service.

A source turns a `Scan` into requests and one answer into a `Page`; it knows nothing of
frames, threads or progress. Users may write their own: whatever has these members can be
read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from casesearch_pd.errors import unknown_name
from casesearch_pd.query.expressions import TRUE, Expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd

    from casesearch_pd.query.expressions import Compare
    from casesearch_pd.query.pushdown import Pushdown, PushdownSupport
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "InProcessSource",
    "Page",
    "PerCaseListing",
    "RelatedSource",
    "Request",
    "Scan",
    "Sort",
    "Source",
    "merge_assumptions",
]


@dataclass(frozen=True, slots=True)
class Sort:
    """One field to sort by."""

    field: Field
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """One walk through one result: picklable, without client or secret.

    Parameters
    ----------
    where
        The pushed filter; the service takes it as it is.
    fields
        The fields to bring home, at most as many as one request may name.
    sort
        The order of the walk.
    search
        The service's own full-text search.
    limit
        Rows that are enough; only a `InProcessSource` source heeds it.
    """

    where: Expression = TRUE
    fields: tuple[Field, ...] = ()
    sort: tuple[Sort, ...] = ()
    search: str | None = None
    limit: int | None = None

    @property
    def is_unfiltered(self) -> bool:
        """Whether no filter is pushed."""
        return self.where == TRUE


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, as it is sent, without credentials."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    query: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Page:
    """One answer: columns of plain values in the order of the rows.

    Parameters
    ----------
    rows
        How many cases.
    columns
        Column name to one value a row: text, numbers, booleans, ISO 8601 text for times,
        lists; None where the case has none.
    cursor
        What asks for the next page; None at the end.
    total
        How many cases match in all, where the service counts.
    served_at
        The service's clock.
    new_fields
        Fields that no schema told, by column.
    invalid
        Values that are of no known form, counted by column; they are None in ``columns``.
    """

    rows: int
    columns: dict[str, list[Any]]
    cursor: str | None
    total: int | None
    served_at: pd.Timestamp
    new_fields: dict[str, Field] = field(default_factory=dict)
    invalid: dict[str, int] = field(default_factory=dict)


@runtime_checkable
class Source(Protocol):
    """A service that cases can be read from."""

    @property
    def name(self) -> str:
        """The service in a word, for progress bars and provenance."""
        ...

    @property
    def can_count(self) -> bool:
        """Whether the service tells how many cases match."""
        ...

    @property
    def can_search(self) -> bool:
        """Whether the service has a full-text search."""
        ...

    @property
    def page_size(self) -> int:
        """Cases a request, at most."""
        ...

    @property
    def rate(self) -> float:
        """Requests a second that it may be sent."""
        ...

    @property
    def burst(self) -> float:
        """Requests that may go at once after a pause."""
        ...

    @property
    def lookback(self) -> float:
        """Seconds by which its search may lag behind its writes."""
        ...

    @property
    def max_sorts(self) -> int:
        """Fields that one request can sort by."""
        ...

    @property
    def schema(self) -> Schema:
        """The fields, discovered once."""
        ...

    def push_down(self, where: Expression) -> Pushdown:
        """Divide a bound filter between the service and this machine, within its limits."""
        ...

    def with_bound(self, where: Expression, bound: Expression) -> Expression | None:
        """Add a bound to a pushed filter; None if one request cannot hold both."""
        ...

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Deal the fields to as many requests a page as the service needs."""
        ...

    def can_sort_by(self, field: Field) -> bool:
        """Tell whether the service can sort by the field."""
        ...

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Write the request for one page."""
        ...

    def command(self, request: Request) -> str:
        """Write the request as a shell command, with credentials from the environment."""
        ...

    def read_page(self, scan: Scan, cursor: str | None, run: ReadContext) -> Page:
        """Ask for one page, as patiently as the source is."""
        ...

    def count(self, scan: Scan, run: ReadContext) -> int:
        """Ask how many cases match; only where ``can_count``."""
        ...

    def describe(self) -> dict[str, Any]:
        """Tell what was read, for provenance: never a secret."""
        ...

    def pushdown_support(self, literal: Compare) -> PushdownSupport:
        """Say how well the service answers one comparison."""
        ...


@runtime_checkable
class InProcessSource(Protocol):
    """A source that has its cases at hand: it answers a whole scan at once, and pages never move.

    It filters, sorts and cuts as frames are filtered and sorted here, so nothing of its answer is
    looked at again.
    """

    @property
    def as_of(self) -> pd.Timestamp | None:
        """The time up to which it knows the service's cases, by the service's clock."""
        ...

    def read_batches(self, scan: Scan, size: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the rows as columns, so many at a time, at least one batch; None for all at once.

        A column is an Arrow array of its type, or a list of the cells where these are objects.
        """
        ...


@dataclass(frozen=True, slots=True)
class PerCaseListing:
    """A list that a service tells of one case at a time: its history, or what belongs to it.

    Parameters
    ----------
    name
        What it lists, in words.
    fields
        The columns of its pages, ``case_id`` among them.
    key
        The columns that name an entry, so that one that came twice is kept once.
    rate
        Requests a second that it may be sent.
    read_page
        Asks for one page by case id, cursor and run; None where there is no such case.
    hidden
        Columns that only tell entries apart.
    """

    name: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    rate: float
    read_page: Callable[[str, str | None, ReadContext], Page | None]
    hidden: tuple[str, ...] = ()


@runtime_checkable
class RelatedSource(Protocol):
    """A source that also tells what there is around its cases."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of related things that it knows."""
        ...

    def related(self, kinds: tuple[str, ...]) -> PerCaseListing | None:
        """List the related things of a case; None where the cases' own columns hold them."""
        ...

    def events(self) -> PerCaseListing:
        """List the changes of a case.

        Raises
        ------
        FilterError
            If the service keeps no history.
        """
        ...


def merge_assumptions(
    known: Mapping[str, bool], given: Mapping[str, bool] | None
) -> dict[str, bool]:
    """Lay what a user knows of a service over the safe assumptions about it.

    Raises
    ------
    FilterError
        If an assumption is not one of the known ones.
    """
    strange = next((name for name in given or {} if name not in known), None)
    if strange is not None:
        raise unknown_name("assumption", strange, known, see=f"{sorted(known)}")
    return {**known, **(given or {})}
