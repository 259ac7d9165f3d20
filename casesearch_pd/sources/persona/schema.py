"""The schema of a Persona environment: documented attributes, and the fields of case templates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from casesearch_pd.query.schema import Field, FieldType, Option, Schema
from casesearch_pd.sources.persona.codec import decode_object
from casesearch_pd.sources.persona.field_names import (
    ATTRIBUTES,
    FILE_TYPES,
    RELATIONSHIPS,
    RESERVED_COLUMNS,
    TYPES,
    USER_PREFIX,
    assign_columns,
    to_kebab_case,
    to_snake_case,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from casesearch_pd.sources.persona.columns import DecodedPage

__all__ = ["Template", "TemplateField", "decode_template", "discover_schema"]


@dataclass(frozen=True, slots=True)
class TemplateField:
    """One field of a case template; an option is a value and its label."""

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
    """Return the template in the body of a response.

    Raise ValueError if the body contains no template.
    """
    template = decode_object(body)
    attributes = to_kebab_case(template.get("attributes"))
    schemas = [
        _template_field(to_kebab_case(item)) for item in _list(attributes.get("field-schemas"))
    ]
    fields = tuple(item for item in schemas if item.key)  # no case can have a field without a key
    template_id = _text(template.get("id"))
    if not template_id:
        raise ValueError("the response has a template without an id")
    return Template(template_id, _text(attributes.get("name")) or template_id, fields)


def _template_field(field: Mapping[str, Any]) -> TemplateField:
    key, config = _text(field.get("key")), to_kebab_case(field.get("config"))
    options = _list(config.get("options"))
    labels = _list(config.get("option-labels")) or options
    return TemplateField(
        key,
        _text(field.get("type")),
        _text(field.get("label")) or key,
        tuple((str(value), str(label)) for value, label in zip(options, labels, strict=False)),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def discover_schema(
    templates: Sequence[Template], page: DecodedPage, names_on_page: frozenset[str]
) -> Schema:
    """Return the schema of an environment.

    `names_on_page` are the names that occur on the newest page; other fields are inactive.
    """
    template_names = _template_names(templates, page)
    fields = [Field("case_id", "id", "Case ID", "text")]
    fields += [
        replace(
            _attribute(name, column, kind, active=_is_active(column, name, page, names_on_page)),
            examples=_examples(column, page),
        )
        for name, (column, kind) in ATTRIBUTES.items()
    ]
    fields += [
        _relationship(
            name, column, template_names, active=_is_active(column, name, page, names_on_page)
        )
        for name, column in RELATIONSHIPS.items()
    ]
    names = tuple(Option(name, name) for name in dict.fromkeys(name for _, name in template_names))
    fields.append(Field("template", "template", "Case template", "select", options=names))
    fields.sort(key=lambda item: _COLUMN_RANK.get(item.column, len(_COLUMN_RANK)))
    return Schema(
        (*fields, *_custom(templates, page.new_fields), *_remote_only_fields()),
        open=True,
        closed_status=None,
    )


_COLUMN_RANK = {
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
_ALWAYS_ACTIVE = {"reference", "status", "created_at", "updated_at", "closed_at", "template_id"}


def _is_active(column: str, name: str, page: DecodedPage, names_on_page: frozenset[str]) -> bool:
    return column in _ALWAYS_ACTIVE or not page.rows or name in names_on_page


# An environment names these values itself, and no listing of them is documented.
_NAMED_BY_ENVIRONMENT = {"status", "resolution"}
_MAX_EXAMPLES = 50


def _examples(column: str, page: DecodedPage) -> tuple[str, ...]:
    if column not in _NAMED_BY_ENVIRONMENT:
        return ()
    values = (item for item in page.columns.get(column, ()) if isinstance(item, str))
    return tuple(dict.fromkeys(values))[:_MAX_EXAMPLES]


def _template_names(templates: Sequence[Template], page: DecodedPage) -> list[tuple[str, str]]:
    names = {item.id: item.name for item in templates}
    return list(({item: item for item in page.templates} | names).items())


def _attribute(name: str, column: str, kind: FieldType, *, active: bool) -> Field:
    label = to_snake_case(name).removesuffix("_id").replace("_", " ").capitalize()
    remote_only = USER_PREFIX if column == "assignee" else ""
    return Field(
        column,
        name,
        label,
        kind,
        aliases=(to_snake_case(name),),
        active=active,
        remote_only=remote_only,
    )


def _relationship(
    name: str, column: str, templates: Sequence[tuple[str, str]], *, active: bool
) -> Field:
    label = name.replace("-", " ").capitalize()
    aliases = (to_snake_case(name), f"{to_snake_case(name)}_id")
    if column == "template_id":
        options = tuple(Option(*item) for item in templates)
        return Field(column, name, label, "select", options=options, aliases=aliases)
    kind: FieldType = "text" if column == "queue" else "list"
    return Field(column, name, label, kind, aliases=aliases, active=active)


def _custom(templates: Sequence[Template], page_fields: Mapping[str, Field]) -> list[Field]:
    """Return the custom fields and the undocumented attributes, with different columns."""
    fields: dict[str, Field] = {}
    for field in (field for template in templates for field in template.fields):
        fields[field.key] = _merge(fields.get(field.key), _custom_field(field))
    for item in page_fields.values():
        if item.namespace == "custom":
            fields.setdefault(item.id.removeprefix("fields."), item)
    columns = assign_columns(fields)
    custom = [_with_column(item, key, columns[key]) for key, item in fields.items()]
    return [*custom, *_undocumented(page_fields.values(), {*columns.values()})]


def _custom_field(field: TemplateField) -> Field:
    options = tuple(Option(*item) for item in field.options)
    kind = TYPES.get(field.type, "any")
    return Field(
        field.key,
        f"fields.{field.key}",
        field.label,
        kind,
        "custom",
        options,
        derived=field.type in FILE_TYPES,
    )


def _with_column(item: Field, key: str, column: str) -> Field:
    aliases = () if key == column or key in RESERVED_COLUMNS else (key,)
    return replace(item, column=column, aliases=aliases)


def _undocumented(page_fields: Iterable[Field], used: set[str]) -> list[Field]:
    attributes = [item for item in page_fields if item.namespace == "system"]
    return [
        replace(
            item,
            column=f"attribute_{to_snake_case(item.id)}"
            if to_snake_case(item.id) in used
            else to_snake_case(item.id),
        )
        for item in attributes
    ]


def _merge(first: Field | None, second: Field) -> Field:
    """Return the field of one key in two templates; if the types differ, the cells decide."""
    if first is None:
        return second
    kinds = {first.type, second.type}
    kind: FieldType = (
        first.type if len(kinds) == 1 else "number" if kinds == {"number", "integer"} else "any"
    )
    options = tuple(dict.fromkeys((*first.options, *second.options)))
    derived = first.derived or second.derived
    return replace(first, type=kind, options=options, derived=derived)


def _remote_only_fields() -> list[Field]:
    """Return the attributes that search compares and responses never contain."""
    return [
        Field("state", "state", "State", "text", visible=False, active=False),
        Field("resolver", "resolver", "Resolver (user id)", "text", visible=False, active=False),
    ]
