"""What the service offers: columns of cases, their names on both wires, templates.

One column has up to three names: its own in frames (``queue``), its field id on Amazon Connect
Cases (``assigned_queue``), its key on Persona (``case_queue``; ``fields.KEY`` for a custom field).
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

TEXT_KINDS = frozenset({"text", "select", "url", "user", "email"})
NUMBER_KINDS = frozenset({"number", "integer"})
JSON_KINDS = frozenset({"list", "choices", "hash", "json"})
"""Kinds kept as JSON text: lists of text, several choices, maps, anything."""

CONNECT_TYPES: Mapping[str, str] = {
    "text": "Text",
    "select": "SingleSelect",
    "url": "Url",
    "user": "User",
    "email": "Text",
    "list": "Text",
    "number": "Number",
    "integer": "Number",
    "boolean": "Boolean",
    "datetime": "DateTime",
    "date": "Text",
}
"""Kind of a column → FieldType of Amazon Connect Cases; lists and dates are text there."""

PERSONA_TYPES: Mapping[str, str] = {
    "text": "string",
    "select": "choices",
    "url": "string",
    "user": "string",
    "email": "email-address",
    "list": "array",
    "choices": "multi-choices",
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
    "datetime": "datetime",
    "date": "date",
    "hash": "hash",
    "json": "json",
}
"""Kind of a column → type of a field schema of a Persona case template."""

_IDS = uuid.UUID("6f0b7a52-1d0e-5c2c-9d55-0f4f3f0c8a11")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Option:
    """One value of a select: what is stored, what people read."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of cases and where each wire shows it.

    Parameters
    ----------
    name
        Its name in frames and in `CaseService.insert`.
    kind
        ``text select url user email number integer boolean datetime date list choices hash json``.
    label
        What people read: the field's name on Connect, the field schema's label on Persona.
    connect
        The field id on Connect, or "" where it is not offered.
    custom
        Whether it is a custom field on Connect.
    persona
        The attribute in snake_case, ``fields.KEY`` or ``relationships.NAME``; "" where not offered.
    options
        The values of a select or of several choices.
    templates
        The templates that have this custom field; empty means all.
    searchable
        Whether Persona lets predicates use it.
    multiline
        Whether Connect calls the text multi-line.
    """

    name: str
    kind: str
    label: str = ""
    connect: str = ""
    custom: bool = False
    persona: str = ""
    options: tuple[Option, ...] = ()
    templates: tuple[str, ...] = ()
    searchable: bool = True
    multiline: bool = False

    @property
    def connect_type(self) -> str:
        """The FieldType on Connect."""
        return CONNECT_TYPES[self.kind]

    @property
    def persona_key(self) -> str:
        """The key inside ``fields`` on Persona, or ""."""
        prefix, _, key = self.persona.partition(".")
        return key if prefix == "fields" else ""


@dataclass(frozen=True, slots=True)
class Template:
    """A case template; both wires show the same id."""

    id: str
    name: str
    active: bool = True


@dataclass(frozen=True)
class Schema:
    """All columns, in the order in which the store keeps them, and the templates.

    Parameters
    ----------
    columns
        The columns.
    templates
        The case templates.
    resolutions
        What a Persona case can be resolved as.
    generated
        Whether its cases were generated, so that more can be made up around them.
    """

    columns: tuple[Column, ...]
    templates: tuple[Template, ...]
    resolutions: tuple[str, ...] = ()
    generated: bool = False
    by_name: dict[str, Column] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {column.name: column for column in self.columns})

    @cached_property
    def by_connect(self) -> dict[str, Column]:
        """Columns by Connect's field id."""
        return {column.connect: column for column in self.columns if column.connect}

    @cached_property
    def by_persona(self) -> dict[str, Column]:
        """Columns by Persona's snake_case key, ``fields.KEY`` or ``relationships.NAME``."""
        return {column.persona: column for column in self.columns if column.persona}

    @cached_property
    def sql(self) -> dict[str, str]:
        """Column names → names in the store, which takes letter case for the same name."""
        return {column.name: f"c{index}" for index, column in enumerate(self.columns)}

    def template(self, template_id: str) -> Template | None:
        """Return the template of that id, if there is one."""
        return next((t for t in self.templates if t.id == template_id), None)


def custom_field_id(name: str) -> str:
    """Return the UUID under which Connect knows a custom field of that name."""
    return str(uuid.uuid5(_IDS, name))


def made_id(prefix: str, *parts: object) -> str:
    """Return an id as Persona writes them, ``case_`` and 24 characters, from what it stands for."""
    number = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:18])
    digits = []
    for _ in range(24):
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    return f"{prefix}_{''.join(digits)}"


@lru_cache(maxsize=100_000)
def made_user_id(shown: str) -> str:
    """Return the hidden ``user_…`` id behind a shown name or e-mail address.

    Persona's OpenAPI description: predicates take ``user_ABC123`` where answers show e-mails.
    """
    return made_id("user", "user", shown)
