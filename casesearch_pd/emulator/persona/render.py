"""Answers of Persona: stored rows in, JSON:API objects out, in the inflection asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from casesearch_pd.emulator.data.schema import JSON_KINDS, PERSONA_TYPES, Column, Schema, Template
from casesearch_pd.emulator.data.store import Row, SqlValue
from casesearch_pd.emulator.data.values import wire_time
from casesearch_pd.emulator.options import EmulatorOptions

Inflect = Callable[[str], str]
Show = Callable[[SqlValue], Any]

_TO_ONE = {"case_template": "case-template", "case_queue": "case-queue"}
_TO_MANY = {
    "case_comments": "case-comment",
    "accounts": "account",
    "inquiries": "inquiry",
    "reports": "report/watchlist",
    "verifications": "verification/document",
    "txns": "transaction",
}
ATTRIBUTES = (
    "status", "name", "resolution", "created_at", "updated_at", "assigned_at", "resolved_at",
    "redacted_at", "sla_expires_at", "creator_id", "creator_type", "assignee_id", "assigner_id",
    "assigner_type", "resolver_id", "resolver_type", "updater_id", "updater_type", "tags",
)  # fmt: skip
RELATIONSHIPS = (*_TO_ONE, *_TO_MANY)


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
class _Part:
    """One member of an answer: its name there, where its value is in the row, how it is shown."""

    name: str
    place: int
    show: Show
    templates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What of a case is shown: the columns to read and how each becomes a member."""

    columns: tuple[str, ...]
    attributes: tuple[_Part, ...]
    fields: tuple[_Part, ...] | None
    relationships: tuple[_Part, ...] | None


def plan(
    schema: Schema, inflect: Inflect, fieldset: str | None, *, choices: EmulatorOptions
) -> Plan:
    """Return what of a case to show.

    Parameters
    ----------
    schema
        The columns there are; what is not among them is left out of the answers.
    inflect
        Snake case → the member names in use.
    fieldset
        ``fields[case]``: names as in the answers joined by commas, ``fields.KEY`` for a custom one.
    choices
        Whether custom values are wrapped, and whether a sparse fieldset keeps relationships.
    """
    columns = ["case_id", "template_id"]
    wanted = None if fieldset is None else set(fieldset.split(","))
    attributes = _attributes(schema, inflect, wanted, columns)
    fields = _fields(schema, wanted, columns, wrapped=choices.wrapped)
    linked = None if choices.sparse_relationships else wanted
    relationships = _relationships(schema, inflect, linked, columns)
    return Plan(tuple(columns), attributes, fields, relationships)


def case_object(shown: Plan, row: Row) -> dict[str, Any]:
    """Return a case from its row of `Plan.columns`."""
    attributes = {part.name: part.show(row[part.place]) for part in shown.attributes}
    if shown.fields is not None:
        template = row[1]
        attributes["fields"] = {
            part.name: part.show(row[part.place])
            for part in shown.fields
            if not part.templates or template in part.templates
        }
    case: dict[str, Any] = {"type": "case", "id": row[0], "attributes": attributes}
    if shown.relationships is not None:
        case["relationships"] = {
            part.name: {"data": part.show(row[part.place])} for part in shown.relationships
        }
    return case


def template_object(
    schema: Schema, template: Template, inflect: Inflect, made: str
) -> dict[str, Any]:
    """Return a case template with the schemas of its custom fields."""
    fields = [column for column in schema.columns if column.persona_key]
    shown = [_field_schema(one, inflect) for one in fields if _belongs(one, template)]
    attributes = {
        "status": "active" if template.active else "archived",
        "name": template.name,
        "resolutions": list(schema.resolutions),
        "created_at": made,
        "updated_at": made,
        "archived_at": None if template.active else made,
        "field_schemas": shown,
    }
    named = {inflect(name): value for name, value in attributes.items()}
    return {"type": "case-template", "id": template.id, "attributes": named}


def _belongs(column: Column, template: Template) -> bool:
    return not column.templates or template.id in column.templates


def _field_schema(column: Column, inflect: Inflect) -> dict[str, Any]:
    config: dict[str, Any] = {"required": False, "archived_at": None, "deactivated_at": None}
    if column.kind in {"select", "choices"}:
        config["options"] = [option.value for option in column.options]
        config["option_labels"] = [option.label for option in column.options]
    named = {inflect(name): value for name, value in config.items()}
    kind = PERSONA_TYPES[column.kind]
    return {"type": kind, "key": column.persona_key, "label": column.label, "config": named}


def _attributes(
    schema: Schema, inflect: Inflect, wanted: set[str] | None, columns: list[str]
) -> tuple[_Part, ...]:
    found = []
    for name in (*ATTRIBUTES, "attachments"):
        column = schema.by_persona.get(name)
        if column is not None and (wanted is None or inflect(name) in wanted):
            show = _attachments(inflect) if name == "attachments" else _shower(column)
            found.append(_Part(inflect(name), _placed(columns, column), show))
    return tuple(found)


def _fields(
    schema: Schema, wanted: set[str] | None, columns: list[str], *, wrapped: bool
) -> tuple[_Part, ...] | None:
    custom = [column for column in schema.columns if column.persona_key]
    if wanted is not None and "fields" not in wanted:
        custom = [column for column in custom if column.persona in wanted]
        if not any(name.startswith("fields.") for name in wanted):
            return None
    show = _wrapping if wrapped else _plain
    return tuple(
        _Part(column.persona_key, _placed(columns, column), show(column), column.templates)
        for column in custom
    )


def _relationships(
    schema: Schema, inflect: Inflect, wanted: set[str] | None, columns: list[str]
) -> tuple[_Part, ...] | None:
    found = []
    for name in RELATIONSHIPS:
        column = schema.by_persona.get(f"relationships.{name}")
        if column is not None and (wanted is None or inflect(name) in wanted):
            found.append(_Part(inflect(name), _placed(columns, column), _linker(name)))
    return tuple(found) if found or wanted is None else None


def _placed(columns: list[str], column: Column) -> int:
    if column.name not in columns:
        columns.append(column.name)
    return columns.index(column.name)


def _linker(name: str) -> Show:
    if name in _TO_ONE:
        kind = _TO_ONE[name]
        return lambda value: None if value is None else {"type": kind, "id": value}
    many = _TO_MANY[name]
    return lambda value: [{"type": many, "id": one} for one in _decoded(value)]


def _decoded(value: SqlValue) -> Any:
    return [] if value is None or value == "[]" else msgspec.json.decode(str(value))


def _shower(column: Column) -> Show:
    if column.kind in JSON_KINDS:
        return lambda value: msgspec.Raw(str("[]" if value is None else value).encode())
    return _plain(column)


def _plain(column: Column) -> Show:
    match column.kind:
        case "datetime":
            return lambda value: None if value is None else wire_time(str(value))
        case "boolean":
            return lambda value: None if value is None else bool(value)
        case kind if kind in JSON_KINDS:
            return lambda value: None if value is None else msgspec.Raw(str(value).encode())
        case _:
            return _as_it_is


def _as_it_is(value: SqlValue) -> SqlValue:
    return value


def _attachments(inflect: Inflect) -> Show:
    return lambda value: [
        {inflect(name): held for name, held in one.items()} for one in _decoded(value)
    ]


def _wrapping(column: Column) -> Show:
    kind, plain = PERSONA_TYPES[column.kind], _plain(column)
    if column.kind in {"hash", "list"}:
        return lambda value: {"type": kind, "value": _wrapped_members(value)}
    if plain is _as_it_is:
        return lambda value: {"type": kind, "value": value}
    return lambda value: {"type": kind, "value": plain(value)}


def _wrapped_members(value: SqlValue) -> Any:
    return None if value is None else _wrapped(msgspec.json.decode(str(value)))["value"]


def _wrapped(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"type": "boolean", "value": value}
        case int() | float():
            return {"type": "number", "value": value}
        case dict():
            return {"type": "hash", "value": {name: _wrapped(one) for name, one in value.items()}}
        case list():
            return {"type": "array", "value": [_wrapped(one) for one in value]}
        case _:
            return {"type": "string", "value": value}
