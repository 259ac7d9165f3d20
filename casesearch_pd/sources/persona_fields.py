"""The fields of a Persona environment: what cases show and templates tell in, a schema out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd.query.schema import Field, FieldType, Option, Schema
from casesearch_pd.sources import persona_wire as wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["TAKEN", "schema_of"]

TAKEN = frozenset(
    {
        "case_id",
        "template",
        "state",
        "resolver",
        "assignee_id",
        "case_template",
        "case_queue",
        "fields",
    }
    | {column for column, _ in wire.ATTRIBUTES.values()}
    | {name.replace("-", "_") for name in wire.ATTRIBUTES}
    | set(wire.RELATIONSHIPS.values())
)


def schema_of(
    templates: Sequence[wire.Template], page: wire.Answer, shown: frozenset[str]
) -> Schema:
    """Make the schema.

    Parameters
    ----------
    templates
        The case templates, as the service tells them.
    page
        One page of cases, for the fields of templates that cannot be read.
    shown
        The attributes and relationships that the page has, by name; what it has not, the
        service hides from this key.
    """
    named = _named(templates, page)
    fields = [Field("case_id", "id", "Case ID", "text")]
    fields += [
        _attribute(name, column, kind, active=_active(column, name, page, shown))
        for name, (column, kind) in wire.ATTRIBUTES.items()
    ]
    fields += [
        _relationship(name, column, named, active=_active(column, name, page, shown))
        for name, column in wire.RELATIONSHIPS.items()
    ]
    names = tuple(Option(name, name) for name in dict.fromkeys(name for _, name in named))
    fields.append(Field("template", "template", "Case template", "select", options=names))
    fields.sort(key=lambda item: _RANK.get(item.column, len(_RANK)))
    return Schema((*fields, *_custom(templates, page.found), *_hidden()), open=True)


_RANK = {
    column: at
    for at, column in enumerate(
        [
            "case_id",
            "reference",
            "template_id",
            "template",
            "status",
            "created_at",
            "updated_at",
            "closed_at",
            "sla_at",
            "assignee",
            "queue",
            "tags",
        ]
    )
}
_ALWAYS = {"reference", "status", "created_at", "updated_at", "closed_at", "template_id"}


def _active(column: str, name: str, page: wire.Answer, shown: frozenset[str]) -> bool:
    return column in _ALWAYS or not page.rows or name in shown


def _named(templates: Sequence[wire.Template], page: wire.Answer) -> list[tuple[str, str]]:
    named = {item.id: item.name for item in templates}
    return list(({item: item for item in page.templates} | named).items())


def _attribute(name: str, column: str, kind: FieldType, *, active: bool) -> Field:
    snake = name.replace("-", "_")
    label = snake.removesuffix("_id").replace("_", " ").capitalize()
    return Field(column, name, label, kind, aliases=(snake,), active=active)


def _relationship(
    name: str, column: str, templates: Sequence[tuple[str, str]], *, active: bool
) -> Field:
    label, snake = name.replace("-", " ").capitalize(), name.replace("-", "_")
    aliases = (snake, f"{snake}_id")
    if column == "template_id":
        options = tuple(Option(*item) for item in templates)
        return Field(column, name, label, "select", options=options, aliases=aliases)
    kind: FieldType = "text" if column == "queue" else "list"
    return Field(column, name, label, kind, aliases=aliases, active=active)


def _custom(templates: Sequence[wire.Template], found: Mapping[str, Field]) -> list[Field]:
    fields: dict[str, Field] = {}
    for template in templates:
        for told in template.fields:
            item = _custom_field(told)
            fields[item.id] = _merged(fields.get(item.id), item)
    for item in found.values():
        fields.setdefault(item.id, item)
    return list(fields.values())


def _custom_field(told: wire.TemplateField) -> Field:
    column = wire.custom_column(told.key, TAKEN)
    return Field(
        column,
        f"fields.{told.key}",
        told.label,
        wire.TYPES.get(told.type, "any"),
        "custom",
        options=tuple(Option(*item) for item in told.options),
        aliases=() if column == told.key or told.key in TAKEN else (told.key,),
    )


def _merged(first: Field | None, second: Field) -> Field:
    """Join what two templates say of one key; where they differ in type, cells decide."""
    if first is None:
        return second
    kinds = {first.type, second.type}
    kind: FieldType = (
        first.type if len(kinds) == 1 else "number" if kinds == {"number", "integer"} else "any"
    )
    options = tuple(dict.fromkeys((*first.options, *second.options)))
    return Field(first.column, first.id, first.label, kind, "custom", options, first.aliases)


def _hidden() -> list[Field]:
    """Attributes that search knows and answers never show."""
    return [
        Field("state", "state", "State", "text", shown=False, active=False),
        Field("resolver", "resolver", "Resolver (user id)", "text", shown=False, active=False),
    ]
