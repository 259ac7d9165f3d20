"""What can be asked of a source: its fields, under the names that users type.

Both services are told in one vocabulary (`created_at`, `status`, …); a custom field goes by
its label (Amazon Connect) or key (Persona). `Schema.resolve` takes any name that a user may
know the field by, and refuses what it does not know with the nearest names.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from casesearch_pd.errors import FilterError, nearest, unknown_name

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

__all__ = [
    "LOOKUPS",
    "Field",
    "FieldType",
    "Namespace",
    "Option",
    "Schema",
    "column_name",
    "key_column",
    "lookups",
    "named_apart",
]

FieldType = Literal[
    "text",
    "url",
    "user",
    "select",
    "number",
    "integer",
    "boolean",
    "datetime",
    "tags",  # a list of key=value
    "list",
    "json",
    "any",  # not known before it is read
]
Namespace = Literal["system", "custom"]

_PREFIX = "fields."  # how a service with open fields spells a custom one
_EQUALITY = ("eq", "ne", "in", "isna")
_ORDER = ("lt", "lte", "gt", "gte", "between")
LOOKUPS = (*_EQUALITY, *_ORDER, "contains")


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a select: the value that cases hold and the label that people see."""

    value: str
    label: str
    active: bool = True


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a case.

    Parameters
    ----------
    column
        The name in the frame and in filters.
    id
        The service's own name.
    label
        The name that the service shows to people.
    type
        What its values are; decides the dtype and the lookups.
    namespace
        ``"system"`` or ``"custom"``.
    options
        The choices of a select, where the service tells them.
    aliases
        Other names that mean this field.
    visible
        False where the service can filter by it but never shows it.
    active
        False where it is not among the columns of a read without ``columns=``.
    remote_only
        How values begin that the service compares and never shows, such as ids of users.
    """

    column: str
    id: str
    label: str
    type: FieldType
    namespace: Namespace = "system"
    options: tuple[Option, ...] = ()
    aliases: tuple[str, ...] = ()
    visible: bool = True
    active: bool = True
    remote_only: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that means this field, the column first."""
        return (self.column, self.id, *self.aliases)


@dataclass(frozen=True)
class Schema:
    """The fields of a source, and the names that two of them would share.

    Parameters
    ----------
    fields
        Every known field, in the order of the columns.
    shared
        Bare names that several custom fields bear, each with the columns meant.
    open
        Whether a name that is neither known nor close to one is taken as a custom field, and
        ``fields.NAME`` always: Persona does not tell all its fields.
    """

    fields: tuple[Field, ...]
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    open: bool = False

    def __post_init__(self) -> None:
        """Index every name once."""
        # Columns are entered last: a full column name beats an id or alias of another field.
        names = {name: item for item in self.fields for name in (item.id, *item.aliases)}
        names |= {item.column: item for item in self.fields}
        object.__setattr__(self, "_names", names)

    _names: dict[str, Field] = field(init=False, repr=False, compare=False)

    def find(self, name: str) -> Field | None:
        """Look a name up; None if no field bears it."""
        return self._names.get(name)

    def resolve(self, name: str) -> Field:
        """Find the field that a user means by `name`.

        Raises
        ------
        FilterError
            If no field or more than one bears the name.
        """
        if not isinstance(name, str):
            raise FilterError(f"{name!r} is no name of a field; list_fields(source) shows them")
        known = self.find(name)
        if known is not None:
            return known
        if name in self.shared:
            meant = " or ".join(map(repr, self.shared[name]))
            raise FilterError(f"{name!r} is the name of more than one field; write {meant}")
        if self.open and (name.startswith(_PREFIX) or not nearest(name, self._names)):
            return self._guessed(name.removeprefix(_PREFIX))
        raise unknown_name("field", name, self._suggestions(), see="list_fields(source)")

    def _guessed(self, key: str) -> Field:
        """Take a key that discovery did not meet for a custom field of unknown type."""
        taken = {name for item in self.fields if item.namespace == "system" for name in item.names}
        taken |= {item.column for item in self.fields}
        return Field(key_column(key, taken), f"{_PREFIX}{key}", key, "any", "custom", active=False)

    def _suggestions(self) -> list[str]:
        return [item.column for item in self.fields] + [*self._names]

    @property
    def active(self) -> tuple[Field, ...]:
        """The fields that a read without ``columns=`` holds."""
        return tuple(item for item in self.fields if item.active and item.visible)


def column_name(label: str) -> str:
    """Turn a label into a column name that can be typed as a keyword.

    >>> column_name("Order value (€)"), column_name("2nd line?"), column_name("顧客 ランク")
    ('order_value', 'field_2nd_line', '顧客_ランク')
    """
    folded = unicodedata.normalize("NFKC", label).lower()
    name = re.sub(r"\W+", "_", folded).strip("_") or "field"
    return f"field_{name}" if name[0].isdigit() else name


def key_column(key: str, taken: Container[str]) -> str:
    """Name the column of a custom field that goes by a key: ``fields_KEY`` where that is taken.

    >>> key_column("orderNumber", ()), key_column("status", ("status",)), key_column("2nd-line", ())
    ('orderNumber', 'fields_status', 'field_2nd_line')
    """
    column = key if re.fullmatch(r"[^\W\d]\w*", key) else column_name(key)
    return f"fields_{column}" if column in taken else column


def named_apart(
    custom: Iterable[Field], taken: Iterable[str]
) -> tuple[list[Field], dict[str, tuple[str, ...]]]:
    """Give every custom field a column of its own; tell which bare names are shared.

    System names win. A field of a taken name, and both of two alike, get ``_`` and the first
    eight characters of their id, so that a namesake made tomorrow never swaps a column.
    """
    reserved = set(taken)
    fields = list(custom)
    counts = Counter(item.column for item in fields)
    apart = [
        replace(item, column=f"{item.column}_{item.id[:8]}")
        if item.column in reserved or counts[item.column] > 1
        else item
        for item in fields
    ]
    shared: dict[str, tuple[str, ...]] = {}
    for before, after in zip(fields, apart, strict=True):
        if counts[before.column] > 1 and before.column not in reserved:
            shared[before.column] = (*shared.get(before.column, ()), after.column)
    return apart, shared


def lookups(kind: FieldType) -> tuple[str, ...]:
    """List the lookups that fit a field type.

    >>> lookups("boolean")
    ('eq', 'ne', 'in', 'isna')
    """
    match kind:
        case "number" | "integer" | "datetime":
            return (*_EQUALITY, *_ORDER)
        case "boolean" | "select":
            return _EQUALITY
        case "list" | "tags":
            return ("isna", "contains")
        case "json":
            return ("isna",)
        case _:
            return LOOKUPS
