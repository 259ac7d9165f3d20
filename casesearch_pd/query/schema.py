"""Schemas: the fields of a source, under the names that users type.

All services share one vocabulary (`created_at`, `status`, …). A custom field is named by its
label (Amazon Connect) or key (Persona). `Schema.resolve` accepts every name that a user may
know a field by, and rejects others with the nearest names.
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
    "CUSTOM_PREFIX",
    "LOOKUPS",
    "Field",
    "FieldType",
    "Namespace",
    "Option",
    "Schema",
    "lookups_for",
    "make_columns_unique",
    "to_column_name",
    "to_custom_column",
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
    "any",  # not known before the first value
]
Namespace = Literal["system", "custom"]

CUSTOM_PREFIX = "fields."  # of the ids of custom fields that discovery may not find
_EQUALITY = ("eq", "ne", "in", "isna")
_ORDER = ("lt", "lte", "gt", "gte", "between")
LOOKUPS = (*_EQUALITY, *_ORDER, "contains")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a select: the value in cases, and the label for people."""

    value: str
    label: str
    active: bool = True


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a case.

    Parameters
    ----------
    column
        The name in DataFrames and filters.
    id
        The service's own name.
    label
        The name that the service displays.
    type
        The type of its values; it determines the dtype and the lookups.
    namespace
        ``"system"`` or ``"custom"``.
    options
        The options of a select, where the service lists them.
    aliases
        Other names of the field.
    visible
        False if the service can filter by it but never returns it.
    active
        False if a read without ``columns=`` leaves it out.
    remote_only
        The prefix of values that the service compares but never returns, such as ids of users.
    examples
        Values that cases have, where the service lists no options; a filter by another one may be
        misspelt.
    derived
        Whether the cells are made from the service's values, which it cannot compare with them:
        of a file only name and size.
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
    examples: tuple[str, ...] = ()
    derived: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the field, the column first."""
        return (self.column, self.id, *self.aliases)


@dataclass(frozen=True)
class Schema:
    """The fields of a source, and the ambiguous names.

    Parameters
    ----------
    fields
        All known fields, in the order of the columns.
    shared
        Ambiguous names of custom fields, each with the columns that it may mean.
    open
        Whether there may be fields that discovery does not list, as on Persona. Then
        ``fields.NAME`` is always a custom field, and so is a name that resembles no known one.
    closed_status
        The status of closed cases, in any letter case, by which ``is_open`` is evaluated. None if
        a case is open as long as it has no ``closed_at``.
    """

    fields: tuple[Field, ...]
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    open: bool = False
    closed_status: str | None = "closed"

    def __post_init__(self) -> None:
        """Index all names."""
        # Columns come last: a column name takes precedence over an id or alias of another field.
        names = {name: item for item in self.fields for name in (item.id, *item.aliases)}
        names |= {item.column: item for item in self.fields}
        object.__setattr__(self, "_names", names)

    _names: dict[str, Field] = field(init=False, repr=False, compare=False)

    def find(self, name: str) -> Field | None:
        """Return the field of a name; None if there is none."""
        return self._names.get(name)

    def resolve(self, name: str) -> Field:
        """Return the field that a user means by `name`.

        Raise FilterError if no field has the name, or more than one.
        """
        if not isinstance(name, str):
            raise FilterError(
                f"the name of a field must be text, got {name!r}; list_fields(source) shows them"
            )
        known_field = self.find(name)
        if known_field is not None:
            return known_field
        if name in self.shared:
            columns = " or ".join(map(repr, self.shared[name]))
            raise FilterError(f"{name!r} is the name of several fields; write {columns}")
        if self.open and (name.startswith(CUSTOM_PREFIX) or not nearest(name, self._names)):
            return self._undiscovered(name.removeprefix(CUSTOM_PREFIX))
        raise unknown_name("field", name, self._suggestions(), see="list_fields(source)")

    def _undiscovered(self, key: str) -> Field:
        """Return a custom field of unknown type for a key that discovery did not find."""
        reserved = {
            name for item in self.fields if item.namespace == "system" for name in item.names
        }
        reserved |= {item.column for item in self.fields}
        return Field(
            to_custom_column(key, reserved),
            f"{CUSTOM_PREFIX}{key}",
            key,
            "any",
            "custom",
            active=False,
        )

    def _suggestions(self) -> list[str]:
        return [item.column for item in self.fields] + [*self._names]

    @property
    def active(self) -> tuple[Field, ...]:
        """The fields of a read without ``columns=``."""
        return tuple(item for item in self.fields if item.active and item.visible)


def to_column_name(label: str) -> str:
    """Return a column name for a label that can be typed as a keyword.

    >>> to_column_name("Order value (€)"), to_column_name("2nd?"), to_column_name("顧客 ランク")
    ('order_value', 'field_2nd', '顧客_ランク')
    """
    folded = unicodedata.normalize("NFKC", label).lower()
    name = re.sub(r"\W+", "_", folded).strip("_") or "field"
    return f"field_{name}" if name[0].isdigit() else name


def to_custom_column(key: str, reserved: Container[str]) -> str:
    """Return a column name for the key of a custom field: ``fields_KEY`` if it is reserved.

    >>> to_custom_column("status", ("status",)), to_custom_column("2nd-line", ())
    ('fields_status', 'field_2nd_line')
    """
    column = key if re.fullmatch(r"[^\W\d]\w*", key) else to_column_name(key)
    return f"fields_{column}" if column in reserved else column


def make_columns_unique(
    custom: Iterable[Field], reserved: Iterable[str]
) -> tuple[list[Field], dict[str, tuple[str, ...]]]:
    """Return custom fields with distinct columns, and the ambiguous names with their columns.

    Reserved names take precedence. A field with a reserved name, and both of two fields with the
    same name, get the suffix ``_`` and the first eight characters of their id, so that a field
    added later never takes over a column.
    """
    reserved = set(reserved)
    fields = list(custom)
    counts = Counter(item.column for item in fields)
    unique = [
        replace(item, column=f"{item.column}_{item.id[:8]}")
        if item.column in reserved or counts[item.column] > 1
        else item
        for item in fields
    ]
    shared: dict[str, tuple[str, ...]] = {}
    for custom_field, unique_field in zip(fields, unique, strict=True):
        name = custom_field.column
        if counts[name] > 1 and name not in reserved:
            shared[name] = (*shared.get(name, ()), unique_field.column)
    return unique, shared


def lookups_for(field_type: FieldType) -> tuple[str, ...]:
    """Return the lookups that fit a field type.

    >>> lookups_for("boolean")
    ('eq', 'ne', 'in', 'isna')
    """
    match field_type:
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
