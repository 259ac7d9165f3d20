"""Responses of Persona: the environment, JSON:API objects in the requested inflection, errors."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, Generic, TypeVar

import msgspec

from casesearch_pd.emulator.data.files import is_file
from casesearch_pd.emulator.data.schema import (
    JSON_KINDS,
    PERSONA_ATTRIBUTES,
    PERSONA_RELATIONSHIPS,
    PERSONA_TYPES,
    Column,
    Schema,
    Template,
)
from casesearch_pd.emulator.data.store import Row, SqlValue, Store
from casesearch_pd.emulator.data.values import wire_time
from casesearch_pd.emulator.limits import RateLimitWindow
from casesearch_pd.emulator.options import EmulatorOptions
from casesearch_pd.emulator.persona.filter import PersonaError
from casesearch_pd.emulator.server import Reply

Inflect = Callable[[str], str]
Encode = Callable[[SqlValue], Any]

_CACHE_SIZE = 1000
_TO_ONE = {"case_template": "case-template", "case_queue": "case-queue"}
_TO_MANY = {
    "case_comments": "case-comment",
    "accounts": "account",
    "inquiries": "inquiry",
    "reports": "report/watchlist",
    "verifications": "verification/document",
    "txns": "transaction",
}
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class BoundedCache(Generic[_Key, _Value]):
    """A thread-safe cache of the last thousand values."""

    def __init__(self) -> None:
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: _Key) -> _Value | None:
        """Return the value of a key, or None."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: _Key, value: _Value) -> None:
        """Store a value; drop the oldest one if there are too many."""
        with self._lock:
            self._values[key] = value
            if len(self._values) > _CACHE_SIZE:
                self._values.popitem(last=False)

    def get_or_create(self, key: _Key, create: Callable[[], _Value]) -> _Value:
        """Return the value of a key; create and store it first where there is none."""
        with self._lock:
            if key not in self._values:
                self.put(key, create())
            return self._values[key]


@dataclass(frozen=True)
class Environment:
    """A Persona environment: its cases and its behavior."""

    # The cases as search sees them; List and retrieve see `live`.
    store: Store
    live: Store
    token: str = field(repr=False)
    window: RateLimitWindow
    created: datetime
    options: EmulatorOptions
    # Idempotency-Key → the request that it came with, and the reply.
    replays: BoundedCache[str, tuple[bytes, Reply]] = field(default_factory=BoundedCache)
    # Cursor → number of rows before it, where cursors are offsets.
    offsets: BoundedCache[object, int] = field(default_factory=BoundedCache)
    # Inflection and sparse fieldset → layout of a case.
    layouts: BoundedCache[object, "CaseLayout"] = field(default_factory=BoundedCache)
    request_numbers: Iterator[int] = field(default_factory=count)


def reply(status: int, body: Any) -> Reply:
    """Return a JSON reply."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Reply(status, msgspec.json.encode(body), headers)


def persona_error_reply(error: PersonaError) -> Reply:
    """Return an error in the shape of Persona's OpenAPI description."""
    members: dict[str, Any] = {"title": error.title}
    if error.details:
        members["details"] = error.details
    if error.pointer:
        members["source"] = {"pointer": error.pointer}
    return reply(error.status, {"errors": [members]})


def kebab(name: str) -> str:
    """Return a snake_case member name in kebab-case, Persona's default."""
    return name.replace("_", "-")


def camel(name: str) -> str:
    """Return a snake_case member name in camelCase."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def snake(name: str) -> str:
    """Return a snake_case member name as it is."""
    return name


INFLECTIONS: Mapping[str, Inflect] = {"kebab": kebab, "camel": camel, "snake": snake}


@dataclass(frozen=True)
class _Member:
    """One member of a response: its name, the index of its value in the row, its encoder."""

    name: str
    index: int
    encode: Encode
    templates: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseLayout:
    """The members of a case in a response, and the columns to read for them.

    It depends on inflection and fieldset only, so it is built once for many rows.
    """

    columns: tuple[str, ...]
    attributes: tuple[_Member, ...]
    fields: tuple[_Member, ...] | None
    relationships: tuple[_Member, ...] | None


def case_layout(
    schema: Schema, inflect: Inflect, fieldset: str | None, *, options: EmulatorOptions
) -> CaseLayout:
    """Return the layout of a case for an inflection and a sparse fieldset.

    `fieldset` is ``fields[case]``: member names separated by commas, ``fields.KEY`` for a custom
    field. Columns that the schema lacks are omitted from responses.
    """
    columns = ["case_id", "template_id"]
    names = None if fieldset is None else set(fieldset.split(","))
    attributes = _attributes(schema, inflect, names, columns)
    fields = _fields(schema, names, columns, wrapped=options.wrapped)
    # The documented sample of a sparse fieldset has only the chosen members, its text leaves open
    # whether relationships are among them.
    relationship_names = None if options.sparse_relationships else names
    relationships = _relationships(schema, inflect, relationship_names, columns)
    return CaseLayout(tuple(columns), attributes, fields, relationships)


def case_object(layout: CaseLayout, row: Row) -> dict[str, Any]:
    """Return the object of a case from its row of `CaseLayout.columns`."""
    attributes = {member.name: member.encode(row[member.index]) for member in layout.attributes}
    if layout.fields is not None:
        template = row[1]
        attributes["fields"] = {
            member.name: member.encode(row[member.index])
            for member in layout.fields
            if not member.templates or template in member.templates
        }
    case: dict[str, Any] = {"type": "case", "id": row[0], "attributes": attributes}
    if layout.relationships is not None:
        case["relationships"] = {
            member.name: {"data": member.encode(row[member.index])}
            for member in layout.relationships
        }
    return case


def template_object(
    schema: Schema, template: Template, inflect: Inflect, created: str
) -> dict[str, Any]:
    """Return the object of a case template with the schemas of its custom fields."""
    fields = [column for column in schema.columns if column.persona_key]
    attributes = {
        "status": "active" if template.active else "archived",
        "name": template.name,
        "resolutions": list(schema.resolutions),
        "created_at": created,
        "updated_at": created,
        "archived_at": None if template.active else created,
        "field_schemas": [
            _field_schema(field, inflect) for field in fields if _belongs(field, template)
        ],
    }
    members = {inflect(name): value for name, value in attributes.items()}
    return {"type": "case-template", "id": template.id, "attributes": members}


def _belongs(column: Column, template: Template) -> bool:
    return not column.templates or template.id in column.templates


_RELATIONS = {"selfie": "selfie", "government_id": "document-government-id"}


def _field_schema(column: Column, inflect: Inflect) -> dict[str, Any]:
    config: dict[str, Any] = {"required": False, "archived_at": None, "deactivated_at": None}
    if column.kind in {"select", "choices"}:
        config["options"] = [option.value for option in column.options]
        config["option_labels"] = [option.label for option in column.options]
    members = {inflect(name): value for name, value in config.items()}
    kind = PERSONA_TYPES[column.kind]
    if column.kind in _RELATIONS:
        # Templates describe a relation where cases have the type of its target.
        kind, members["target"] = "relation-schema", _RELATIONS[column.kind]
    return {"type": kind, "key": column.persona_key, "label": column.label, "config": members}


def _attributes(
    schema: Schema, inflect: Inflect, names: set[str] | None, columns: list[str]
) -> tuple[_Member, ...]:
    members = []
    for name in (*PERSONA_ATTRIBUTES, "attachments"):
        column = schema.by_persona.get(name)
        if column is not None and (names is None or inflect(name) in names):
            encode = (
                _attachment_encoder(inflect)
                if name == "attachments"
                else _attribute_encoder(column)
            )
            members.append(_Member(inflect(name), _column_index(columns, column), encode))
    return tuple(members)


def _fields(
    schema: Schema, names: set[str] | None, columns: list[str], *, wrapped: bool
) -> tuple[_Member, ...] | None:
    custom = [column for column in schema.columns if column.persona_key]
    if names is not None and "fields" not in names:
        custom = [column for column in custom if column.persona in names]
        # Without any custom field the member "fields" itself is left out.
        if not any(name.startswith("fields.") for name in names):
            return None
    encoder = _wrapped_encoder if wrapped else _value_encoder
    return tuple(
        _Member(
            column.persona_key, _column_index(columns, column), encoder(column), column.templates
        )
        for column in custom
    )


def _relationships(
    schema: Schema, inflect: Inflect, names: set[str] | None, columns: list[str]
) -> tuple[_Member, ...] | None:
    members = []
    for name in PERSONA_RELATIONSHIPS:
        column = schema.by_persona.get(f"relationships.{name}")
        if column is not None and (names is None or inflect(name) in names):
            index = _column_index(columns, column)
            members.append(_Member(inflect(name), index, _link_encoder(name)))
    return tuple(members) if members or names is None else None


def _column_index(columns: list[str], column: Column) -> int:
    """Return the index of a column among those to read, adding it where it is new."""
    name = column.persona_name
    if name not in columns:
        columns.append(name)
    return columns.index(name)


def _link_encoder(name: str) -> Encode:
    if name in _TO_ONE:
        kind = _TO_ONE[name]
        return lambda value: None if value is None else {"type": kind, "id": value}
    many = _TO_MANY[name]
    return lambda value: [{"type": many, "id": item_id} for item_id in _decode_list(value)]


def _decode_list(value: SqlValue) -> Any:
    return [] if value is None or value == "[]" else msgspec.json.decode(str(value))


# Lists of system attributes are empty instead of null; custom ones are null where missing.
def _attribute_encoder(column: Column) -> Encode:
    if column.kind in JSON_KINDS:
        return lambda value: msgspec.Raw(str("[]" if value is None else value).encode())
    return _value_encoder(column)


def _value_encoder(column: Column) -> Encode:
    match column.kind:
        case "datetime":
            return lambda value: None if value is None else wire_time(str(value))
        case "boolean":
            return lambda value: None if value is None else bool(value)
        case kind if kind in JSON_KINDS:
            return lambda value: None if value is None else msgspec.Raw(str(value).encode())
        case _:
            return _identity


def _identity(value: SqlValue) -> SqlValue:
    return value


def _attachment_encoder(inflect: Inflect) -> Encode:
    return lambda value: [
        {inflect(name): member for name, member in item.items()} for item in _decode_list(value)
    ]


def _wrapped_encoder(column: Column) -> Encode:
    kind, encode = PERSONA_TYPES[column.kind], _value_encoder(column)
    if column.kind in {"hash", "list", "documents"}:
        return lambda value: {"type": kind, "value": _wrap_members(value)}
    # Most columns need no conversion: a call per value saved.
    if encode is _identity:
        return lambda value: {"type": kind, "value": value}
    return lambda value: {"type": kind, "value": encode(value)}


def _wrap_members(value: SqlValue) -> Any:
    return None if value is None else _wrap(msgspec.json.decode(str(value)))["value"]


def _wrap(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"type": "boolean", "value": value}
        case int() | float():
            return {"type": "number", "value": value}
        case dict() if is_file(value):
            # The members of a file are never inflected, nor wrapped themselves.
            return {"type": "file", "value": value}
        case dict():
            return {"type": "hash", "value": {name: _wrap(item) for name, item in value.items()}}
        case list():
            return {"type": "array", "value": [_wrap(item) for item in value]}
        case _:
            return {"type": "string", "value": value}
