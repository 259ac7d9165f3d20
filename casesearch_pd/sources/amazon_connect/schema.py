"""The schema of an Amazon Connect Cases domain: its fields, discovered from three listings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from casesearch_pd.query.schema import (
    Field,
    FieldType,
    Option,
    Schema,
    make_columns_unique,
    to_column_name,
)
from casesearch_pd.sources.amazon_connect.errors import invalid_response
from casesearch_pd.sources.transport.context import ReadContext
from casesearch_pd.sources.transport.retry import TransientError, send_with_retry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from casesearch_pd.sources.amazon_connect.client import ConnectClient
    from casesearch_pd.sources.transport.rate_limit import RateLimiter

__all__ = ["RETURNED_COLUMNS", "DiscoveryListing", "discover_schema"]

RETURNED_COLUMNS = ("case_id", "template_id", "template", "tags")
"""Columns that every case has in a response, whatever fields the request names."""

# System fields with column names of their own ("System case fields", administrator guide); every
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
_COLUMN_ORDER = (
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


@dataclass(frozen=True, slots=True)
class DiscoveryListing:
    """One listing of discovery: operation and member, the text keys of each item, its quota."""

    operation: str
    member: str
    keys: tuple[str, ...]
    rate: float
    burst: float


# Quotas: "Amazon Connect service quotas", administrator guide.
_FIELDS = DiscoveryListing(
    "ListFields", "fields", ("fieldId", "name", "type", "namespace"), rate=2.0, burst=5.0
)
_TEMPLATES = DiscoveryListing(
    "ListTemplates", "templates", ("templateId", "name"), rate=2.0, burst=5.0
)
_OPTIONS = DiscoveryListing("ListFieldOptions", "options", ("value", "name"), rate=6.0, burst=16.0)
_PAGE_SIZE = 100  # items in one request (service model)


def discover_schema(
    client: ConnectClient, rate_limiter_of: Callable[[DiscoveryListing], RateLimiter]
) -> Schema:
    """Return the schema of a domain; send the requests that this needs."""

    def read_items(listing: DiscoveryListing, **parameters: str) -> list[dict[str, Any]]:
        return _read_listing(client, listing, rate_limiter_of(listing), parameters)

    def read_options(field_id: str) -> tuple[Option, ...]:
        return tuple(
            Option(item["value"], item["name"], item.get("active", True))
            for item in read_items(_OPTIONS, fieldId=field_id)
        )

    templates = [(item["templateId"], item["name"]) for item in read_items(_TEMPLATES)]
    fields = [_field(item, read_options) for item in read_items(_FIELDS)]
    columns = {item.column for item in fields}
    return _schema_of(
        [*fields, *(item for item in _returned_fields(templates) if item.column not in columns)]
    )


def _read_listing(
    client: ConnectClient,
    listing: DiscoveryListing,
    rate_limiter: RateLimiter,
    parameters: Mapping[str, str],
) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    context = ReadContext.for_discovery()
    token, previous_tokens = "", {""}
    while True:
        page_parameters: dict[str, Any] = {"maxResults": _PAGE_SIZE, **parameters}
        if token:
            page_parameters["nextToken"] = token
        send = partial(_read_listing_page, client, listing, page_parameters, context)
        response = send_with_retry(send, rate_limiter, context)
        items += response[listing.member]
        token = response.get("nextToken") or ""
        if not token:
            return items
        if token in previous_tokens:
            raise invalid_response(
                f"{listing.operation} repeats its nextToken", response["ResponseMetadata"]
            )
        previous_tokens.add(token)


def _read_listing_page(
    client: ConnectClient,
    listing: DiscoveryListing,
    parameters: Mapping[str, Any],
    context: ReadContext,
) -> dict[str, Any]:
    response = client.call(listing.operation, parameters, context)
    items = response.get(listing.member)
    # boto3 takes a broken 200 for an empty response, without the member.
    if items is None or not all(_has_keys(item, listing.keys) for item in items):
        reason = f"{listing.operation} without {listing.member}: {', '.join(listing.keys)}"
        raise TransientError(invalid_response(reason, response["ResponseMetadata"]))
    return response


def _has_keys(item: Mapping[str, Any] | None, keys: Sequence[str]) -> bool:
    return item is not None and all(isinstance(item.get(key), str) for key in keys)


def _field(item: Mapping[str, Any], options_of: Callable[[str], tuple[Option, ...]]) -> Field:
    is_system = item["namespace"] == "System"
    name, field_type = item["fieldId"], _TYPES.get(item["type"], "any")
    return Field(
        column=_COLUMNS.get(name, name) if is_system else to_column_name(item["name"]),
        id=name,
        label=item["name"],
        type=field_type,
        namespace="system" if is_system else "custom",
        options=options_of(name) if field_type == "select" else (),
    )


def _returned_fields(templates: Sequence[tuple[str, str]]) -> list[Field]:
    ids = tuple(Option(*item) for item in templates)
    names = tuple(Option(name, name) for name in dict.fromkeys(name for _, name in templates))
    return [
        Field("case_id", "caseId", "Case ID", "text"),
        Field("template_id", "templateId", "Template ID", "select", options=ids),
        Field("template", "template", "Template", "select", options=names),
        Field("tags", "tags", "Tags", "tags"),
    ]


def _schema_of(fields: Sequence[Field]) -> Schema:
    system = [item for item in fields if item.namespace == "system"]
    reserved = {name for item in system for name in item.names}
    custom, shared = make_columns_unique(
        (item for item in fields if item.namespace == "custom"), reserved
    )
    order = {column: position for position, column in enumerate(_COLUMN_ORDER)}
    system.sort(key=lambda item: order.get(item.column, len(order)))
    return Schema((*system, *custom), shared)
