"""The columns of a Persona page: relationships and custom fields of cases, one list per column.

Both ways of decoding a page (typed, and value by value) build their columns here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from casesearch_pd.query.schema import Field
from casesearch_pd.sources.persona.cells import TypedValue, plain_cells
from casesearch_pd.sources.persona.field_names import (
    FILE_TYPES,
    RELATIONSHIPS,
    TO_ONE,
    TYPES,
    assign_columns,
    to_snake_case,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "NO_RELATIONSHIPS",
    "DecodedPage",
    "KnownFields",
    "Reference",
    "Relationship",
    "Relationships",
    "add_custom_fields",
    "add_relationships",
]


class Reference(msgspec.Struct, gc=False):
    """The other end of a relationship."""

    id: str


class Relationship(msgspec.Struct, gc=False, frozen=True):
    """One relationship."""

    data: tuple[Reference, ...] | Reference | None = None


Relationships = msgspec.defstruct(
    "Relationships",
    # The default has `data` too, so that all are read in the same way.
    [(to_snake_case(name), Relationship, Relationship()) for name in RELATIONSHIPS],
    rename="kebab",
    gc=False,
)
NO_RELATIONSHIPS = Relationships()


@dataclass(frozen=True)
class KnownFields:
    """What discovery found, by which pages are decoded."""

    custom: Mapping[str, Field]  # custom fields by key
    templates: Mapping[str, str]  # names of templates by id
    # Columns of undocumented attributes, by name.
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> frozenset[str]:
        """Columns that a new field of a page must not have."""
        return frozenset(
            {item.column for item in self.custom.values()} | {*self.attributes.values()}
        )


@dataclass(slots=True)
class DecodedPage:
    """One page as columns."""

    rows: int  # the number of cases
    columns: dict[str, list[Any]]  # column name to one value per row
    next_link: str | None  # the link to the next page, as it was sent
    has_next_link: bool  # whether the response says anything about a next page
    # Fields that discovery did not find, by column.
    new_fields: dict[str, Field] = field(default_factory=dict)
    templates: tuple[str, ...] = ()  # ids of the templates of these cases
    invalid: dict[str, int] = field(default_factory=dict)  # number of damaged cells, by column


_RELATIONSHIP_GETTERS = {name: attrgetter(to_snake_case(name)) for name in RELATIONSHIPS}
_GET_ID = attrgetter("id")


def add_relationships(
    page: DecodedPage, relationships: Sequence[Any], known: KnownFields, requested: set[str]
) -> None:
    """Add a column of ids for each relationship, and the names of the templates."""
    columns = page.columns
    for name, column in RELATIONSHIPS.items():
        needs_names = name == "case-template" and "template" in requested
        if not requested or name in requested or needs_names:
            links = [link.data for link in map(_RELATIONSHIP_GETTERS[name], relationships)]
            columns[column] = _single_ids(links) if name in TO_ONE else _id_lists(links)
    if "template_id" in columns:
        ids = columns["template_id"]
        columns["template"] = [known.templates.get(item) for item in ids]
        page.templates = tuple(dict.fromkeys(item for item in ids if item is not None))


def _single_ids(links: Iterable[tuple[Reference, ...] | Reference | None]) -> list[Any]:
    return [ref.id if type(ref) is Reference else None for ref in links]


def _id_lists(links: Iterable[tuple[Reference, ...] | Reference | None]) -> list[Any]:
    return [_ids(refs) if refs else refs for refs in links]


def _ids(refs: tuple[Reference, ...] | Reference) -> tuple[str, ...]:
    return (refs.id,) if type(refs) is Reference else tuple(map(_GET_ID, refs))  # type: ignore[arg-type]


def add_custom_fields(
    page: DecodedPage,
    fields: Sequence[Mapping[str, Any]],
    known: KnownFields,
    requested: set[str],
    *,
    with_urls: bool = True,
) -> None:
    """Add a column for each custom field of the cases, and the fields that are new."""
    values_by_key = _transpose(fields, known.custom)
    new = assign_columns((key for key in values_by_key if key not in known.custom), known.columns)
    for key, values in values_by_key.items():
        item = known.custom.get(key) or _new_field(key, values, new[key])
        if requested and item.id not in requested:
            continue
        page.columns[item.column] = plain_cells(values, with_urls=with_urls)
        if key in new:
            page.new_fields[item.column] = item


class _ValuesByKey(dict[str, list[Any]]):
    """One value per row for each key of a custom field; an unknown key gets a list at once."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __missing__(self, key: str) -> list[Any]:
        self[key] = [None] * self.rows
        return self[key]


def _transpose(fields: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> _ValuesByKey:
    """Return the custom fields of each case as one list per key."""
    values_by_key = _ValuesByKey(len(fields))
    for key in keys:
        values_by_key[key] = [None] * values_by_key.rows
    for row, case_fields in enumerate(fields):
        for key, value in case_fields.items():
            values_by_key[key][row] = value
    return values_by_key


def _new_field(key: str, values: Sequence[Any], column: str) -> Field:
    kinds = {value.type for value in values if type(value) is TypedValue}
    kind = kinds.pop().replace("_", "-") if len(kinds) == 1 else "any"  # else the cells decide
    return Field(
        column,
        f"fields.{key}",
        key,
        TYPES.get(kind, "any"),
        "custom",
        derived=kind in FILE_TYPES,
    )
