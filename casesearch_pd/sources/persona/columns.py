"""The columns of a Persona page: what a case holds, read either way, in; a list a column out."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from casesearch_pd.query.schema import Field, FieldType
from casesearch_pd.sources.persona.field_names import (
    RELATIONSHIPS,
    TO_ONE,
    TYPES,
    columns_of,
    snake,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "NO_RELATIONSHIPS",
    "DecodedPage",
    "Known",
    "Link",
    "Ref",
    "Relationships",
    "Wrapped",
    "attachments",
    "relate",
    "spread",
    "unwrapped",
]


class Ref(msgspec.Struct, gc=False):
    """One end of a relationship."""

    id: str


class Link(msgspec.Struct, gc=False, frozen=True):
    """One relationship."""

    data: tuple[Ref, ...] | Ref | None = None


class Wrapped(msgspec.Struct, gc=False, frozen=True, forbid_unknown_fields=True):
    """A custom value with its type."""

    type: str
    value: Any = None


Relationships = msgspec.defstruct(
    "Relationships",
    # A default that has `data` too, so that all are read alike.
    [(snake(name), Link, Link()) for name in RELATIONSHIPS],
    rename="kebab",
    gc=False,
)
NO_RELATIONSHIPS = Relationships()


@dataclass(frozen=True)
class Known:
    """What a page is read by.

    Parameters
    ----------
    custom
        Key of a custom field to the field.
    templates
        Template id to name.
    attributes
        Attribute that no documentation names to its column, as far as discovery met it.
    """

    custom: Mapping[str, Field]
    templates: Mapping[str, str]
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> frozenset[str]:
        """Columns that nothing met on a page may take."""
        return frozenset(
            {item.column for item in self.custom.values()} | {*self.attributes.values()}
        )


@dataclass(slots=True)
class DecodedPage:
    """One page as columns.

    Parameters
    ----------
    rows
        How many cases.
    columns
        Column to one plain value a row.
    next
        The next link, as it was given.
    linked
        Whether the answer says anything of a next page.
    new_fields
        Fields that were not known, by column.
    templates
        Ids of the templates of these cases.
    """

    rows: int
    columns: dict[str, list[Any]]
    next: str | None
    linked: bool
    new_fields: dict[str, Field] = field(default_factory=dict)
    templates: tuple[str, ...] = ()


# --- attributes and relationships -------------------------------------------------------


def attachments(value: Any) -> Any:
    """Name and size only: the address of an attachment holds an access token."""
    if not isinstance(value, (list, tuple)):
        return None
    return tuple([_attachment(item) for item in value if isinstance(item, dict)])


def _attachment(item: Mapping[str, Any]) -> str:
    size = next((item[key] for key in ("byte-size", "byte_size", "byteSize") if key in item), None)
    name = str(item.get("filename") or "attachment")
    return name if size is None else f"{name} ({size} bytes)"


_LINK = {name: attrgetter(snake(name)) for name in RELATIONSHIPS}
_ID = attrgetter("id")


def relate(out: DecodedPage, related: Sequence[Any], known: Known, asked: set[str]) -> None:
    """Make columns of ids of the relationships, and name the templates."""
    columns = out.columns
    for name, column in RELATIONSHIPS.items():
        if not asked or name in asked or (name == "case-template" and "template" in asked):
            held = [link.data for link in map(_LINK[name], related)]
            columns[column] = _one(held) if name in TO_ONE else _many(held)
    if "template_id" in columns:
        ids = columns["template_id"]
        columns["template"] = [known.templates.get(item) for item in ids]
        out.templates = tuple(dict.fromkeys(item for item in ids if item is not None))


def _one(held: Iterable[tuple[Ref, ...] | Ref | None]) -> list[Any]:
    return [ref.id if type(ref) is Ref else None for ref in held]


def _many(held: Iterable[tuple[Ref, ...] | Ref | None]) -> list[Any]:
    return [_linked(refs) if refs else refs for refs in held]


def _linked(refs: tuple[Ref, ...] | Ref) -> tuple[str, ...]:
    return (refs.id,) if type(refs) is Ref else tuple(map(_ID, refs))  # type: ignore[arg-type]


# --- custom fields ----------------------------------------------------------------------


def spread(
    out: DecodedPage, fields: Sequence[Mapping[str, Any]], known: Known, asked: set[str]
) -> None:
    """Make columns of the custom fields of each case; meet new ones on the way."""
    slots = _slots(fields, known.custom)
    new = columns_of((key for key in slots if key not in known.custom), known.columns)
    for key, slot in slots.items():
        item = known.custom.get(key) or _met(key, slot, new[key])
        if asked and item.id not in asked:
            continue
        bare = [value.value if type(value) is Wrapped else value for value in slot]
        out.columns[item.column] = unwrapped(bare, item.type)
        if key in new:
            out.new_fields[item.column] = item


class _Slots(dict[str, list[Any]]):
    """Key of a custom field to one value a row; a key not met before gets its list at once."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __missing__(self, key: str) -> list[Any]:
        self[key] = [None] * self.rows
        return self[key]


def _slots(fields: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> _Slots:
    """Lay the custom fields of each case side by side."""
    slots = _Slots(len(fields))
    for key in keys:
        slots[key] = [None] * slots.rows
    for row, held in enumerate(fields):
        for key, value in held.items():
            slots[key][row] = value
    return slots


def _met(key: str, slot: Sequence[Any], column: str) -> Field:
    kinds = {value.type for value in slot if type(value) is Wrapped}
    kind = kinds.pop() if len(kinds) == 1 else "any"  # where they differ, the cells decide
    return Field(column, f"fields.{key}", key, TYPES.get(kind.replace("_", "-"), "any"), "custom")


_NESTED: frozenset[FieldType] = frozenset({"list", "json", "any"})
_HOLDERS = frozenset({list, dict})
_WRAPPER = len(Wrapped.__struct_fields__)


def unwrapped(values: list[Any], kind: FieldType) -> list[Any]:
    """Take ``{"type", "value"}`` wrappers off, at any depth: hashes and arrays nest them."""
    if kind not in _NESTED:
        return values
    return [_plain(value) if type(value) in _HOLDERS else value for value in values]


def _plain(value: Any) -> Any:
    if type(value) is list:
        return [_plain(item) if type(item) in _HOLDERS else item for item in value]
    if len(value) == _WRAPPER and isinstance(value.get("type"), str) and "value" in value:
        inner = value["value"]
        return _plain(inner) if type(inner) in _HOLDERS else inner
    return {key: _plain(item) if type(item) in _HOLDERS else item for key, item in value.items()}
