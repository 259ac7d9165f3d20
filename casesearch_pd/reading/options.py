"""What is asked for and how it is read: `Query` and `ReadOptions`, and the binding of a query.

A `Query` is what a user wrote. Bound to the schema of a source it is a `BoundQuery`, in which
every name is a field and every value has the type of its field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.query.binding import BindingContext, bind, from_keywords, from_tags
from casesearch_pd.query.coercion import is_collection
from casesearch_pd.query.expressions import TRUE, Expression, all_of
from casesearch_pd.query.option_values import parse_seconds, parse_zone, whole_number
from casesearch_pd.query.references import from_pandas, is_pandas_expression
from casesearch_pd.reading.frames.columns import OBJECT_TYPES
from casesearch_pd.reading.frames.frame import FrameFormat
from casesearch_pd.sources.base import Sort
from casesearch_pd.sources.registry import require_source

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.progress import Bar, Progress
    from casesearch_pd.sources.base import Source

__all__ = [
    "NO_LOOKBACK",
    "PANDAS_NAMES",
    "RESERVED_NAMES",
    "BoundQuery",
    "OnError",
    "Query",
    "ReadOptions",
    "bind_query",
    "binding_context",
    "check_positive",
    "parse_filter",
    "parse_lookback",
    "parse_sort",
]

NO_LOOKBACK = pd.Timedelta(0)
"""The lookback of a search that never lags."""

RESERVED_NAMES = frozenset({
    "where", "search", "tags", "columns", "sort", "limit", "dtype_backend", "tz", "progress",
    "max_workers", "on_error", "checkpoint", "timeout", "lookback", "chunksize", "npartitions",
    "n_workers",
})  # fmt: skip
"""Names of options, of this function or another one, that are no filter keywords."""

PANDAS_NAMES = {
    "nrows": "limit=",
    "usecols": "columns=",
    "index_col": "df.set_index(…) afterwards",
    "dtype": "dtype_backend=, or df.astype(…) afterwards",
    "parse_dates": "tz=: times are always parsed",
    "date_format": "tz=: times are always parsed",
    "skiprows": "limit= and sort=",
    "converters": "df.assign(…) afterwards",
    "na_values": "df.replace(…) afterwards",
    "iterator": "iter_cases(source, …)",
    "low_memory": "iter_cases(source, …)",
}
"""Options of pandas readers that are no filter keywords, and what to use in their place."""

_MAX_SECONDS = pd.Timedelta.max.total_seconds()
_MAX_SEARCH = 255  # characters (SearchCases, Amazon Connect API reference)

OnError = Literal["raise", "partial"]


@dataclass(frozen=True)
class ReadOptions:
    """How a query is read: the parameters of `read_cases` that do not change what is asked."""

    frame_format: FrameFormat = field(default_factory=FrameFormat)
    progress: Progress | Bar = "auto"
    max_workers: int | None = None
    on_error: OnError = "raise"
    checkpoint: str | os.PathLike[str] | None = None
    timeout: float | None = None  # seconds
    lookback: timedelta | str | float | None = None
    chunksize: int = 10_000  # rows

    def __post_init__(self) -> None:
        """Check the values once, before anything is read."""
        for name in ("max_workers", "chunksize"):
            check_positive(name, getattr(self, name), optional=name == "max_workers")
            # Frozen: what looks like an int, such as NumPy's, becomes one.
            object.__setattr__(self, name, whole_number(getattr(self, name)))
        if self.on_error not in get_args(OnError):
            raise FilterError(f"on_error must be 'raise' or 'partial', got {self.on_error!r}")
        if self.lookback is not None:
            _to_timedelta(self.lookback)

    def lookback_for(self, source: Source) -> pd.Timedelta:
        """Return the lookback of a read of this source."""
        return parse_lookback(source, self.lookback)


def check_positive(name: str, number: object, *, optional: bool = True) -> None:
    """Raise FilterError unless an option is a positive integer, or None if it is optional."""
    if number is None and optional:
        return
    integer = whole_number(number)
    if integer is None or integer < 1:
        raise FilterError(
            f"{name} must be a positive integer{' or None' if optional else ''}, got {number!r}"
        )


def parse_lookback(source: Source, lookback: timedelta | str | float | None) -> pd.Timedelta:
    """Return by how much the search of a source may lag behind its writes."""
    if lookback is None:
        return pd.Timedelta(seconds=source.lookback)
    return _to_timedelta(lookback)


def _to_timedelta(lookback: timedelta | str | float) -> pd.Timedelta:
    length = parse_seconds(lookback)
    if length is not None and 0 <= length <= _MAX_SECONDS:
        return pd.Timedelta(seconds=length)
    raise FilterError(
        "lookback must be a duration that is not negative, such as '2min', a timedelta or a "
        f"number of seconds, got {lookback!r}"
    )


@dataclass(frozen=True)
class Query:
    """What a user asks for, as written: nothing is looked up or checked before `bind_query`."""

    where: Expression | Mapping[str, object] | None = None
    filters: Mapping[str, object] = field(default_factory=dict)
    search: str | None = None
    tags: Mapping[str, str] | Iterable[str] | str | None = None
    columns: Sequence[str] | None = None
    sort: str | Sequence[str] | None = None
    limit: int | None = None
    tz: str = "UTC"  # of naive times

    def __post_init__(self) -> None:
        """Take the name of a zone object."""
        object.__setattr__(self, "tz", parse_zone(self.tz))


@dataclass(frozen=True)
class BoundQuery:
    """A query bound to the schema of a source."""

    filter: Expression  # as the user wrote it, for provenance
    where: Expression  # the same filter, bound
    columns: tuple[Field, ...]
    all_columns: bool  # whether the user named no columns
    sort: tuple[Sort, ...]
    now: pd.Timestamp  # that relative times count from; UTC
    limit: int | None = None
    search: str | None = None


def bind_query(source: Source, query: Query) -> BoundQuery:
    """Bind a query to the schema of a source; this may send discovery requests."""
    require_source(source)
    _check_keywords(query.filters)
    schema = source.schema
    expression = parse_filter(query.where, query.filters, query.tags, schema)
    context = binding_context(schema, query.tz)
    return BoundQuery(
        filter=expression,
        where=bind(expression, context),
        columns=_columns(query.columns, schema),
        all_columns=query.columns is None,
        sort=parse_sort(query.sort, schema),
        now=context.now,
        limit=_limit(query.limit),
        search=_search(query.search, source),
    )


def parse_filter(
    where: Expression | Mapping[str, object] | None,
    filters: Mapping[str, object],
    tags: Mapping[str, str] | Iterable[str] | str | None,
    schema: Schema,
) -> Expression:
    """Return all parts of a filter combined by AND, not bound yet."""
    _check_keywords(filters)
    return all_of([_where(where, schema), from_tags(tags, schema), from_keywords(filters, schema)])


def binding_context(schema: Schema, tz: str) -> BindingContext:
    """Return what a filter is bound in: the schema, the time zone, and now, read once."""
    # The services compare milliseconds. A finer "a week ago" would be filtered again locally.
    return BindingContext(schema, parse_zone(tz), pd.Timestamp.now("UTC").floor("ms"))


def _check_keywords(filters: Mapping[str, object]) -> None:
    for name in filters:
        if name in RESERVED_NAMES:
            raise FilterError(
                f"{name}= is an option that this function does not take; to filter a field of that "
                f"name, use where={{{name!r}: …}}"
            )
        if name in PANDAS_NAMES:
            raise FilterError(
                f"{name}= is an option of pandas; use {PANDAS_NAMES[name]}. To filter a field of "
                f"that name, use where={{{name!r}: …}}"
            )


def _where(where: Expression | Mapping[str, object] | None, schema: Schema) -> Expression:
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
            "where must be an expression or a mapping, not a mask of rows, which filters a "
            "DataFrame by df[mask]; write cs.field('status') == 'open' or {'status': 'open'}"
        )
    raise FilterError(
        f"where must be an expression or a mapping, got {where!r}; write "
        "cs.field('status') == 'open' or {'status': 'open'}"
    )


def _columns(columns: Sequence[str] | None, schema: Schema) -> tuple[Field, ...]:
    if columns is None:
        return schema.active
    names = _names("columns", columns)
    if not names:
        raise FilterError("columns must name at least one column, got []; None reads all of them")
    fields = tuple(dict.fromkeys(schema.resolve(name) for name in names))
    hidden = next((item for item in fields if not item.visible), None)
    if hidden is not None:
        raise FilterError(
            f"the service filters by {hidden.column!r} but never returns it; leave it out of "
            "columns="
        )
    return fields


def parse_sort(sort: str | Sequence[str] | None, schema: Schema) -> tuple[Sort, ...]:
    """Return the order that a user wrote; by default, that of creation."""
    names = [] if sort is None else _names("sort", sort)
    order = tuple(_sort_key(name, schema) for name in names)
    return order or (Sort(schema.resolve("created_at")),)


def _names(option: str, value: str | Sequence[str]) -> list[str]:
    # A generator can be read once only.
    names = [value] if isinstance(value, str) else list(value) if is_collection(value) else [None]
    if not all(isinstance(name, str) for name in names):
        raise FilterError(f"{option} must be a name or a list of names, got {value!r}")
    return [str(name) for name in names]


def _sort_key(name: str, schema: Schema) -> Sort:
    item = schema.resolve(name.removeprefix("-"))
    if item.type in OBJECT_TYPES or not item.visible:
        raise FilterError(f"cannot sort by {item.column!r}; sort by a time, number or text column")
    return Sort(item, descending=name.startswith("-"))


def _limit(limit: int | None) -> int | None:
    rows = whole_number(limit)
    if limit is not None and (rows is None or rows < 0):
        raise FilterError(f"limit must be a non-negative integer or None, got {limit!r}")
    return rows


def _search(search: str | None, source: Source) -> str | None:
    if search is None:
        return None
    if not source.can_search:
        raise FilterError(f"{source.name} has no full-text search; filter by fields instead")
    if not isinstance(search, str) or not 1 <= len(search) <= _MAX_SEARCH:
        raise FilterError(f"search must be a text of 1 to {_MAX_SEARCH} characters, got {search!r}")
    return search
