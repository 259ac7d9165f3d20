"""Case templates of Persona: the bytes of one in, its fields with types and options out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from casesearch_pd.query.schema import Field, FieldType, Option, Schema
from casesearch_pd.sources.persona.codec import object_of
from casesearch_pd.sources.persona.field_names import (
    ATTRIBUTES,
    RELATIONSHIPS,
    TAKEN,
    TYPES,
    USER,
    columns_of,
    kebab,
    snake,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from casesearch_pd.sources.persona.columns import DecodedPage

__all__ = ["Template", "TemplateField", "decode_template", "discover_schema"]


@dataclass(frozen=True, slots=True)
class TemplateField:
    """One field of a case template; an option is its value and its label."""

    key: str
    type: str
    label: str
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """One case template."""

    id: str
    name: str
    fields: tuple[TemplateField, ...]


def decode_template(body: bytes) -> Template:
    """Read the bytes of a case template.

    Raises
    ------
    ValueError
        If the body holds no template.
    """
    told = object_of(body)
    attributes = kebab(told.get("attributes"))
    fields = tuple(_template_field(kebab(item)) for item in _list(attributes.get("field-schemas")))
    name = _text(told.get("id"))
    if not name or not all(item.key for item in fields):
        raise ValueError("the answer has a template without an id, or with a field without a key")
    return Template(name, _text(attributes.get("name")) or name, fields)


def _template_field(told: Mapping[str, Any]) -> TemplateField:
    key, config = _text(told.get("key")), kebab(told.get("config"))
    options = _list(config.get("options"))
    labels = _list(config.get("option-labels")) or options
    return TemplateField(
        key,
        _text(told.get("type")),
        _text(told.get("label")) or key,
        tuple((str(value), str(label)) for value, label in zip(options, labels, strict=False)),
    )


def _text(held: Any) -> str:
    return held if isinstance(held, str) else ""


def _list(held: Any) -> list[Any]:
    return held if isinstance(held, list) else []


def discover_schema(
    templates: Sequence[Template], page: DecodedPage, shown: frozenset[str]
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
        for name, (column, kind) in ATTRIBUTES.items()
    ]
    fields += [
        _relationship(name, column, named, active=_active(column, name, page, shown))
        for name, column in RELATIONSHIPS.items()
    ]
    names = tuple(Option(name, name) for name in dict.fromkeys(name for _, name in named))
    fields.append(Field("template", "template", "Case template", "select", options=names))
    fields.sort(key=lambda item: _RANK.get(item.column, len(_RANK)))
    return Schema((*fields, *_custom(templates, page.new_fields), *_hidden()), open=True)


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


def _active(column: str, name: str, page: DecodedPage, shown: frozenset[str]) -> bool:
    return column in _ALWAYS or not page.rows or name in shown


def _named(templates: Sequence[Template], page: DecodedPage) -> list[tuple[str, str]]:
    named = {item.id: item.name for item in templates}
    return list(({item: item for item in page.templates} | named).items())


def _attribute(name: str, column: str, kind: FieldType, *, active: bool) -> Field:
    label = snake(name).removesuffix("_id").replace("_", " ").capitalize()
    unseen = USER if column == "assignee" else ""
    return Field(
        column, name, label, kind, aliases=(snake(name),), active=active, remote_only=unseen
    )


def _relationship(
    name: str, column: str, templates: Sequence[tuple[str, str]], *, active: bool
) -> Field:
    label = name.replace("-", " ").capitalize()
    aliases = (snake(name), f"{snake(name)}_id")
    if column == "template_id":
        options = tuple(Option(*item) for item in templates)
        return Field(column, name, label, "select", options=options, aliases=aliases)
    kind: FieldType = "text" if column == "queue" else "list"
    return Field(column, name, label, kind, aliases=aliases, active=active)


def _custom(templates: Sequence[Template], found: Mapping[str, Field]) -> list[Field]:
    """List the custom fields, and the attributes that no documentation names, under names apart."""
    told: dict[str, Field] = {}
    for one in (field for template in templates for field in template.fields):
        told[one.key] = _merged(told.get(one.key), _custom_field(one))
    for item in found.values():
        if item.namespace == "custom":
            told.setdefault(item.id.removeprefix("fields."), item)
    columns = columns_of(told)
    custom = [_named_as(item, key, columns[key]) for key, item in told.items()]
    return [*custom, *_undocumented(found.values(), {*columns.values()})]


def _custom_field(told: TemplateField) -> Field:
    options = tuple(Option(*item) for item in told.options)
    kind = TYPES.get(told.type, "any")
    return Field(told.key, f"fields.{told.key}", told.label, kind, "custom", options)


def _named_as(item: Field, key: str, column: str) -> Field:
    aliases = () if key == column or key in TAKEN else (key,)
    return replace(item, column=column, aliases=aliases)


def _undocumented(found: Iterable[Field], used: set[str]) -> list[Field]:
    attributes = [item for item in found if item.namespace == "system"]
    return [
        replace(
            item, column=f"attribute_{snake(item.id)}" if snake(item.id) in used else snake(item.id)
        )
        for item in attributes
    ]


def _merged(first: Field | None, second: Field) -> Field:
    """Join what two templates say of one key; where they differ in type, cells decide."""
    if first is None:
        return second
    kinds = {first.type, second.type}
    kind: FieldType = (
        first.type if len(kinds) == 1 else "number" if kinds == {"number", "integer"} else "any"
    )
    options = tuple(dict.fromkeys((*first.options, *second.options)))
    return replace(first, type=kind, options=options)


def _hidden() -> list[Field]:
    """Attributes that search knows and answers never show."""
    return [
        Field("state", "state", "State", "text", visible=False, active=False),
        Field("resolver", "resolver", "Resolver (user id)", "text", visible=False, active=False),
    ]
