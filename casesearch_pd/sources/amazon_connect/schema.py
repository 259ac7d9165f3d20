"""The fields of an Amazon Connect Cases domain: what the service lists in, a schema out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from casesearch_pd.query.schema import Field, FieldType, Option, Schema, column_name, named_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["FREE", "discover_schema"]

FREE = ("case_id", "template_id", "template", "tags")
"""Columns that every case brings along, whatever fields are asked for."""

# System fields under names of their own ("System case fields", administrator guide); every
# other system field goes by its id.
_COLUMNS = {
    "case_id": "case_id",
    "reference_number": "reference",
    "created_datetime": "created_at",
    "last_updated_datetime": "updated_at",
    "last_closed_datetime": "closed_at",
    "next_sla_breach_datetime": "sla_at",
    "assigned_user": "assignee",
    "assigned_queue": "queue",
}
_FIRST = (
    "case_id", "reference", "title", "summary", "template_id", "template", "status",
    "created_at", "updated_at", "closed_at", "sla_at", "assignee", "queue", "tags",
)  # fmt: skip
_TYPES: dict[str, FieldType] = {
    "Text": "text",
    "Number": "number",
    "Boolean": "boolean",
    "DateTime": "datetime",
    "SingleSelect": "select",
    "Url": "url",
    "User": "user",
}


def discover_schema(
    listed: Iterable[Mapping[str, Any]],
    templates: Sequence[tuple[str, str]],
    options_of: Callable[[str], tuple[Option, ...]],
) -> Schema:
    """Make the schema.

    Parameters
    ----------
    listed
        What ListFields answered.
    templates
        Id and name of each template.
    options_of
        Finds the options of a select by the id of its field.
    """
    fields = [_field(item, options_of) for item in listed]
    known = {item.column for item in fields}
    return _named([*fields, *(item for item in _free(templates) if item.column not in known)])


def _field(listed: Mapping[str, Any], options_of: Callable[[str], tuple[Option, ...]]) -> Field:
    system = listed["namespace"] == "System"
    name, kind = listed["fieldId"], _TYPES.get(listed["type"], "any")
    return Field(
        column=_COLUMNS.get(name, name) if system else column_name(listed["name"]),
        id=name,
        label=listed["name"],
        type=kind,
        namespace="system" if system else "custom",
        options=options_of(name) if kind == "select" else (),
    )


def _free(templates: Sequence[tuple[str, str]]) -> list[Field]:
    ids = tuple(Option(*item) for item in templates)
    names = tuple(Option(name, name) for name in dict.fromkeys(name for _, name in templates))
    return [
        Field("case_id", "caseId", "Case ID", "text"),
        Field("template_id", "templateId", "Template ID", "select", options=ids),
        Field("template", "template", "Template", "select", options=names),
        Field("tags", "tags", "Tags", "tags"),
    ]


def _named(fields: Sequence[Field]) -> Schema:
    system = [item for item in fields if item.namespace == "system"]
    taken = {name for item in system for name in item.names}
    custom, shared = named_apart((item for item in fields if item.namespace == "custom"), taken)
    order = {column: at for at, column in enumerate(_FIRST)}
    system.sort(key=lambda item: order.get(item.column, len(order)))
    return Schema((*system, *custom), shared)
