"""`FormQuery`: everything that a form searches for, as plain values.

It is converted to a `Query`, which is what reads take, to the keyword arguments of `read_cases`,
and back from both.
"""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from casesearch_pd.errors import FilterError
from casesearch_pd.form.model.conversion import from_expression, reference_name, to_expression
from casesearch_pd.form.model.tree import EMPTY_TREE
from casesearch_pd.query.coercion import is_collection
from casesearch_pd.query.expressions import TRUE, Compare, Not, conjuncts
from casesearch_pd.query.serialization import filter_from_json
from casesearch_pd.reading.options import (
    PANDAS_NAMES,
    RESERVED_NAMES,
    Query,
    bind_query,
    parse_filter,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from casesearch_pd.form.model.tree import Group
    from casesearch_pd.query.expressions import Expression
    from casesearch_pd.query.schema import Schema
    from casesearch_pd.reading.provenance import Provenance
    from casesearch_pd.sources.base import Sort, Source

__all__ = ["FormQuery", "require_query", "tags_argument"]


@dataclass(frozen=True)
class FormQuery:
    """What a form searches for."""

    tree: Group = EMPTY_TREE
    search: str | None = None  # a text for the full-text search of the service
    tags: tuple[str, ...] = ()  # key=value where tags have keys, else text
    columns: tuple[str, ...] | None = None  # None stands for every active field
    sort: tuple[str, ...] = ()  # a - before a name sorts in descending order
    limit: int | None = None
    tz: str = "UTC"  # of times without a time zone

    @classmethod
    def from_query(cls, source: Source, query: Query) -> Self:
        """Return the form's version of a query.

        Raise FilterError if the query does not fit the source, or its filter has no rows.
        """
        tags = _reusable_tags(query.tags)
        bound = bind_query(source, replace(query, tags=tags))
        schema = source.schema
        where = parse_filter(query.where, query.filters, None, schema)
        columns = tuple(reference_name(field, schema) for field in bound.columns)
        return cls(
            tree=from_expression(where, schema),
            search=query.search,
            tags=_tag_lines(tags),
            columns=None if query.columns is None else columns,
            sort=() if query.sort is None else _sort_names(bound.sort, schema),
            limit=query.limit,
            tz=query.tz,
        )

    @classmethod
    def from_provenance(cls, provenance: Provenance, source: Source) -> Self:
        """Return the query that a DataFrame was read by.

        Raise FilterError if the provenance has no query, or the form has no rows for its filter.
        """
        require_query(provenance)
        # A frame with every column, or in the default order, was probably read without options.
        has_every_column = {field.column for field in source.schema.active} <= {*provenance.columns}
        is_default_order = provenance.sort == ("created_at",)
        query = Query(
            where=filter_from_json(dict(provenance.filter or {})),
            search=provenance.search,
            columns=None if has_every_column else list(provenance.columns.values()),
            sort=None if is_default_order else provenance.sort,
            limit=provenance.limit,
            tz=provenance.tz,
        )
        return cls.from_query(source, query)

    def to_query(self, schema: Schema) -> Query:
        """Return the query that reads the cases.

        Raise FilterError if a tag is not written as the source needs it.
        """
        expression = to_expression(self.tree)
        keywords = _keywords(expression, schema)
        return Query(
            where=expression if keywords is None else None,
            filters={} if keywords is None else keywords,
            search=self.search,
            tags=tags_argument(self.tags, schema),
            columns=None if self.columns is None else list(self.columns),
            sort=self.sort[0] if len(self.sort) == 1 else list(self.sort) or None,
            limit=self.limit,
            tz=self.tz,
        )

    def to_arguments(self, schema: Schema) -> dict[str, Any]:
        """Return the keyword arguments of `read_cases` and `CaseForm`, without default values.

        Raise FilterError if a tag is not written as the source needs it.
        """
        query = self.to_query(schema)
        options = {
            "search": query.search,
            "tags": query.tags,
            "columns": query.columns,
            "sort": query.sort,
            "limit": query.limit,
            "tz": None if query.tz == "UTC" else query.tz,
        }
        where = {} if query.where is None else {"where": query.where}
        return {
            **where,
            **query.filters,
            **{name: value for name, value in options.items() if value is not None},
        }


def require_query(provenance: Provenance) -> None:
    """Raise FilterError unless the provenance has the query that its cases were read by."""
    if provenance.filter is None:
        raise FilterError(
            "this DataFrame has no provenance of a case search; use CaseForm(source) to begin "
            "without a filter"
        )


def tags_argument(tags: tuple[str, ...], schema: Schema) -> dict[str, str] | list[str] | None:
    """Return the argument ``tags=`` of a read: a mapping where tags have keys.

    Raise FilterError if tags have keys and one of these has none, or the source has no tags.
    """
    if not tags:
        return None
    if schema.resolve("tags").type != "tags":
        return list(tags)
    parts = [tag.partition("=") for tag in tags]
    without_value = next((key for key, sign, _ in parts if not sign), None)
    if without_value is not None:
        raise FilterError(
            f"tags of this source have a key and a value; write {without_value}=value"
        )
    mapping = {key: value for key, _, value in parts}
    # Two values of one key do not fit into a mapping.
    return mapping if len(mapping) == len(parts) else list(tags)


_Tags = dict[str, str] | list[str] | str | None


def _reusable_tags(tags: Mapping[str, str] | Iterable[str] | str | None) -> _Tags:
    """Return tags that can be iterated more than once, unlike a generator."""
    if isinstance(tags, Mapping):
        return dict(tags)
    # Anything else is left to `bind_query`, which explains what tags must be.
    return list(tags) if is_collection(tags) else tags  # type: ignore[arg-type, return-value]


def _tag_lines(tags: _Tags) -> tuple[str, ...]:
    """Return tags as the lines of the form's text box."""
    match tags:
        case None:
            lines = []
        case str():
            lines = [tags]
        case dict():
            lines = [f"{key}={value}" for key, value in tags.items()]
        case _:
            lines = tags
    invalid = next((line for line in lines if {*"\n\r"} & {*line} or not line), None)
    if invalid is not None:
        raise FilterError(f"a tag must be one line of text that is not empty, got {invalid!r}")
    return tuple(lines)


def _sort_names(order: Iterable[Sort], schema: Schema) -> tuple[str, ...]:
    return tuple(
        ("-" if item.descending else "") + reference_name(item.field, schema) for item in order
    )


_LOOKUPS = {"eq": "", "in": "", "isna": "__isna"}
_NEGATED_LOOKUPS = {"eq": "__ne", "in": "__ne", "isna": "__isna"}
# Names that are no keyword for a field: options, the parameter of the source, and a constant
# that Python does not allow as a keyword.
_UNUSABLE_NAMES = {*RESERVED_NAMES, *PANDAS_NAMES, "source", "__debug__"}


def _keywords(where: Expression, schema: Schema) -> dict[str, Any] | None:
    """Return the conditions of an expression as filter keywords; None if it needs ``where``."""
    if where == TRUE:
        return {}
    keywords: dict[str, Any] = {}
    for term in conjuncts(where):
        # Python allows each keyword once, so two conditions with the same name need `where`.
        pair = _keyword(term, schema)
        if pair is None or pair[0] in keywords:
            return None
        keywords[pair[0]] = pair[1]
    return keywords


def _keyword(term: Expression, schema: Schema) -> tuple[str, Any] | None:
    match term:
        case Compare(str(field), op, value):
            lookup, operand = _LOOKUPS.get(op, f"__{op}"), value
        case Not(Compare(str(field), ("eq" | "in" | "isna") as op, value)):
            lookup, operand = _NEGATED_LOOKUPS[op], False if op == "isna" else value
        case _:
            return None
    if not _is_keyword(field, lookup, schema):
        return None
    return f"{field}{lookup}", list(operand) if op == "in" else operand


def _is_keyword(column: str, lookup: str, schema: Schema) -> bool:
    """Return whether a keyword is valid Python, and is read as this lookup of this column."""
    name = f"{column}{lookup}"
    if not name.isidentifier() or keyword.iskeyword(name) or name in _UNUSABLE_NAMES:
        return False
    # Python replaces the characters of an identifier by their NFKC form.
    if unicodedata.normalize("NFKC", name) != name:
        return False
    # A column may be named like a lookup of another column, such as amount__in.
    is_column = schema.find(name) is not None
    return not is_column if lookup else is_column or "__" not in name
