"""Names and types of Persona, and their columns: attributes, relationships, custom fields.

Names are those of Persona's OpenAPI description (version 2025-12-08), in kebab case.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from casesearch_pd.query.schema import FieldType, to_custom_column

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ATTRIBUTES",
    "FILE_TYPES",
    "LIST_ATTRIBUTES",
    "RELATIONSHIPS",
    "RESERVED_COLUMNS",
    "TO_ONE",
    "TYPES",
    "USER_PREFIX",
    "assign_columns",
    "to_kebab_case",
    "to_snake_case",
]

ATTRIBUTES: dict[str, tuple[str, FieldType]] = {
    "name": ("reference", "text"),
    "status": ("status", "text"),
    "resolution": ("resolution", "text"),
    "created-at": ("created_at", "datetime"),
    "updated-at": ("updated_at", "datetime"),
    "resolved-at": ("closed_at", "datetime"),
    "sla-expires-at": ("sla_at", "datetime"),
    "assigned-at": ("assigned_at", "datetime"),
    "redacted-at": ("redacted_at", "datetime"),
    "assignee-id": ("assignee", "text"),
    "assigner-id": ("assigner_id", "text"),
    "assigner-type": ("assigner_type", "text"),
    "creator-id": ("creator_id", "text"),
    "creator-type": ("creator_type", "text"),
    "resolver-id": ("resolver_id", "text"),
    "resolver-type": ("resolver_type", "text"),
    "updater-id": ("updater_id", "text"),
    "updater-type": ("updater_type", "text"),
    "tags": ("tags", "list"),
    "attachments": ("attachments", "list"),
}
"""Column and type of each attribute, in the order of the columns."""

LIST_ATTRIBUTES = ("tags", "attachments")

RELATIONSHIPS = {
    "case-template": "template_id",
    "case-queue": "queue",
    "case-comments": "case_comments",
    "accounts": "accounts",
    "inquiries": "inquiries",
    "reports": "reports",
    "verifications": "verifications",
    "txns": "txns",
}
"""Column of each relationship; those of `TO_ONE` have one id, the others a list."""

TO_ONE = ("case-template", "case-queue")

USER_PREFIX = "user_"
"""The prefix of user ids: search compares them with the assignee, but cells contain an address."""

TYPES: dict[str, FieldType] = {
    "string": "text",
    "email-address": "text",
    "date": "text",  # no clock time and no zone in it
    "choices": "select",
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
    "datetime": "datetime",
    "array": "list",
    "multi-choices": "list",
    "hash": "json",
    "json": "json",
    # Of a file only the name and the size are kept.
    "file": "text",
    "selfie": "text",
    "government-id": "text",
    "relation-schema": "json",
}
"""Field types by the type that a template names."""

FILE_TYPES = frozenset({"file", "selfie", "government-id"})
"""Types whose cells are name and size of a file, which search cannot compare."""


def to_snake_case(name: str) -> str:
    """Return a name with underscores."""
    return name.replace("-", "_")


def to_kebab_case(attributes: Any) -> dict[str, Any]:
    """Return attributes with names in kebab case, whatever the inflection of the response."""
    if not isinstance(attributes, dict):
        return {}
    return {
        re.sub(r"(?<=[a-z0-9])([A-Z])", r"-\1", key).replace("_", "-").lower(): value
        for key, value in attributes.items()
    }


RESERVED_COLUMNS = frozenset(
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
    | {column for column, _ in ATTRIBUTES.values()}
    | {to_snake_case(name) for name in ATTRIBUTES}
    | set(RELATIONSHIPS.values())
)
"""Names that no custom field has as its column."""


def assign_columns(keys: Iterable[str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """Return a column for each key of a custom field, all different.

    A key that is a valid column name is kept. Any other is rewritten, and prefixed with
    ``fields_`` where the name belongs to another field.

    >>> assign_columns(["risk-score", "risk_score", "status"])
    {'risk_score': 'risk_score', 'risk-score': 'fields_risk_score', 'status': 'fields_status'}
    """
    columns: dict[str, str] = {}
    used = set(reserved)
    for key in sorted(
        dict.fromkeys(keys), key=lambda key: to_custom_column(key, RESERVED_COLUMNS) != key
    ):
        column = to_custom_column(key, RESERVED_COLUMNS)
        while column in used:
            column = f"fields_{column}"
        columns[key] = column
        used.add(column)
    return columns
