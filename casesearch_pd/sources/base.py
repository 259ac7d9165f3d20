"""The interface between reading and the services: `Scan`, `Request`, `Page` and `Source`.

A source turns a `Scan` into requests and each response into a `Page`. It knows nothing of
DataFrames, workers or progress. `Source` is what reading needs; a service of your own inherits
it from `casesearch_pd.BaseSource`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pandas as pd

from casesearch_pd.errors import unknown_name
from casesearch_pd.query.expressions import TRUE, Expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from casesearch_pd.query.expressions import Compare
    from casesearch_pd.query.pushdown import Pushdown, PushdownSupport
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.sources.traits import ServiceTraits
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
    """One result to read page by page: picklable, without a client or a secret."""

    where: Expression = TRUE  # the pushed filter, in a form that the service accepts as it is
    fields: tuple[Field, ...] = ()  # the fields to return, at most as many as one request may name
    sort: tuple[Sort, ...] = ()  # the order of the result
    search: str | None = None  # a full-text search of the service's own
    limit: int | None = None  # the maximum number of rows; only an `InProcessSource` applies it

    @property
    def is_unfiltered(self) -> bool:
        """Whether no filter is pushed."""
        return self.where == TRUE


@dataclass(frozen=True, slots=True)
class Request:
    """One request without credentials, as `explain_cases` shows it and the source sends it."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    query: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Page:
    """One page of cases, as columns of values in the order of the rows."""

    rows: int  # the number of cases
    # Column name to one value per row: text, numbers, booleans, lists, ISO 8601 text for times;
    # None where a case has no value. ``case_id`` is always there.
    columns: dict[str, list[Any]]
    cursor: str | None = None  # what the request for the next page contains; None on the last page
    total: int | None = None  # the number of cases that match, where the service counts
    # The service's clock.
    served_at: pd.Timestamp = field(default_factory=lambda: pd.Timestamp.now("UTC").floor("s"))
    # Fields that are not in the schema, by column.
    new_fields: dict[str, Field] = field(default_factory=dict)
    # Number of values of an unknown form, by column; they are None in ``columns``.
    invalid: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, Any]],
        fields: Iterable[Field],
        *,
        cursor: str | None = None,
        total: int | None = None,
    ) -> Page:
        """Return the page of a service that sends one JSON object per case.

        The keys of the objects are the ids of the fields.
        """
        records = list(records)
        columns = {field.column: [record.get(field.id) for record in records] for field in fields}
        return cls(len(records), columns, cursor, total)


@runtime_checkable
class Source(Protocol):
    """A service that cases can be read from."""

    @property
    def name(self) -> str:
        """The service in one word, for provenance."""
        ...

    @property
    def traits(self) -> ServiceTraits:
        """How to interpret the cases: which are open, what tags look like."""
        ...

    @property
    def can_count(self) -> bool:
        """Whether the service returns the number of cases that match."""
        ...

    @property
    def can_search(self) -> bool:
        """Whether the service has a full-text search."""
        ...

    @property
    def page_size(self) -> int:
        """The largest number of cases per request."""
        ...

    @property
    def rate(self) -> float:
        """Requests per second that may be sent."""
        ...

    @property
    def burst(self) -> float:
        """Requests that may be sent at once after a pause."""
        ...

    @property
    def lookback(self) -> float:
        """Seconds by which the search may lag behind writes."""
        ...

    @property
    def max_sorts(self) -> int:
        """The number of fields that one request can sort by."""
        ...

    @property
    def schema(self) -> Schema:
        """The fields, discovered once."""
        ...

    def pushdown_support(self, comparison: Compare, /) -> PushdownSupport:
        """Return how well the service evaluates one comparison."""
        ...

    def push_down(self, where: Expression) -> Pushdown:
        """Split a bound filter between the service, within its limits, and local evaluation."""
        ...

    def with_bound(self, where: Expression, bound: Expression) -> Expression | None:
        """Return a pushed filter with a bound; None if one request cannot contain both."""
        ...

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Return the fields of each pass; one pass if a request can name them all."""
        ...

    def can_sort_by(self, field: Field) -> bool:
        """Return whether the service can sort by the field."""
        ...

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Return the request for one page."""
        ...

    def command(self, request: Request) -> str:
        """Return a request as a shell command, with credentials from the environment."""
        ...

    def read_page(self, scan: Scan, cursor: str | None, context: ReadContext) -> Page:
        """Request one page, with the rate limit and the retries of the source."""
        ...

    def count(self, scan: Scan, context: ReadContext) -> int:
        """Request the number of cases that match; only called where ``can_count``."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what identifies the source in provenance: never a secret."""
        ...


@runtime_checkable
class InProcessSource(Protocol):
    """A source that has its cases in this process: one scan returns all, from a consistent state.

    It filters, sorts and limits as local evaluation does, so its rows are not evaluated again.
    """

    @property
    def as_of(self) -> pd.Timestamp | None:
        """The time of its newest information, by the service's clock."""
        ...

    def read_batches(self, scan: Scan, size: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the rows in batches of `size` (None: all at once), at least one.

        A column is an Arrow array of its type, or a list of cells where these are objects.
        """
        ...


@dataclass(frozen=True, slots=True)
class PerCaseListing:
    """A list that a service returns for one case at a time, such as its history."""

    name: str  # the noun for its entries, such as "related items"
    fields: tuple[Field, ...]  # the columns of its pages, ``case_id`` among them
    key: tuple[str, ...]  # the columns that identify an entry, to remove duplicates
    rate: float  # requests per second that may be sent
    # Requests one page by case id, cursor and context; None if the case does not exist.
    read_page: Callable[[str, str | None, ReadContext], Page | None]
    key_only: tuple[str, ...] = ()  # columns of the key that are not in the result


@runtime_checkable
class RelatedSource(Protocol):
    """A source that also returns what belongs to its cases."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of related items that it knows."""
        ...

    def related(self, kinds: tuple[str, ...]) -> PerCaseListing | None:
        """Return the listing of related items; None where columns of the cases hold them."""
        ...

    def events(self) -> PerCaseListing:
        """Return the listing of changes; raise FilterError if the service has no history."""
        ...


def merge_assumptions(
    defaults: Mapping[str, bool], assume: Mapping[str, bool] | None
) -> dict[str, bool]:
    """Return the default assumptions about a service, overridden by those of the user.

    Raise FilterError if an assumption does not exist.
    """
    unknown = next((name for name in assume or {} if name not in defaults), None)
    if unknown is not None:
        raise unknown_name("assumption", unknown, defaults, see=f"{sorted(defaults)}")
    return {**defaults, **(assume or {})}
