"""What Persona calls things, and what they are called here: attributes, relationships, types, keys.

Names are those of Persona's OpenAPI description (version 2025-12-08), in kebab case.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from casesearch_pd.query.schema import FieldType, key_column

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ATTRIBUTES",
    "LISTED",
    "RELATIONSHIPS",
    "TAKEN",
    "TO_ONE",
    "TYPES",
    "USER",
    "columns_of",
    "kebab",
    "snake",
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
"""Attribute to column and type, in the order of the columns."""

LISTED = ("tags", "attachments")

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
"""Relationship to column; those of `TO_ONE` hold one id, the others a list."""

TO_ONE = ("case-template", "case-queue")

USER = "user_"
"""How the ids of users begin: search takes them for an assignee, cells show an address."""

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
    "file": "json",
    "relation-schema": "json",
}
"""Field type of a template to ours."""


def snake(name: str) -> str:
    """Spell a name with underscores."""
    return name.replace("-", "_")


def kebab(held: Any) -> dict[str, Any]:
    """Bring attribute names back to kebab case, whatever the inflection of the answer."""
    if not isinstance(held, dict):
        return {}
    return {
        re.sub(r"(?<=[a-z0-9])([A-Z])", r"-\1", key).replace("_", "-").lower(): value
        for key, value in held.items()
    }


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
    | {column for column, _ in ATTRIBUTES.values()}
    | {snake(name) for name in ATTRIBUTES}
    | set(RELATIONSHIPS.values())
)
"""Names that no custom field gets as its column."""


def columns_of(keys: Iterable[str], used: Iterable[str] = ()) -> dict[str, str]:
    """Give each key of a custom field a column of its own.

    A key that can be a column is one; any other is rewritten, and gets ``fields_`` before it
    where the name is taken, used, or given to a key that needs no rewriting.

    >>> columns_of(["risk-score", "risk_score", "status"])
    {'risk_score': 'risk_score', 'risk-score': 'fields_risk_score', 'status': 'fields_status'}
    """
    given: dict[str, str] = {}
    held = set(used)
    for key in sorted(dict.fromkeys(keys), key=lambda key: key_column(key, TAKEN) != key):
        column = key_column(key, TAKEN)
        while column in held:
            column = f"fields_{column}"
        given[key] = column
        held.add(column)
    return given
