"""The wire format of Persona: encode searches, decode pages into columns.

Shapes follow Persona's OpenAPI description (version 2025-12-08). A page is decoded by msgspec into
typed structs. A page that does not fit them is decoded once more as JSON, value by value, so
that an invalid value costs a cell and never a page. Both ways return the same columns.
"""

from __future__ import annotations

import re
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or, comparisons
from casesearch_pd.query.schema import Field
from casesearch_pd.sources.persona.cells import (
    TypedValue,
    attachment_names,
    may_hold_urls,
    plain_cells,
    plain_value,
)
from casesearch_pd.sources.persona.columns import (
    NO_RELATIONSHIPS,
    DecodedPage,
    KnownFields,
    Relationship,
    Relationships,
    add_custom_fields,
    add_relationships,
)
from casesearch_pd.sources.persona.field_names import (
    ATTRIBUTES,
    LIST_ATTRIBUTES,
    RELATIONSHIPS,
    to_kebab_case,
    to_snake_case,
)
from casesearch_pd.sources.transport.body import count_replaced, parse_json, strip_bom
from casesearch_pd.sources.transport.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from casesearch_pd.sources.base import Scan

__all__ = [
    "decode_case",
    "decode_object",
    "decode_page",
    "decode_parsed",
    "fieldset",
    "list_parameters",
    "present_names",
    "search_body",
    "to_query",
]


def search_body(scan: Scan, size: int) -> dict[str, Any]:
    """Return the body of a search for `size` cases per page."""
    body: dict[str, Any] = {}
    if not scan.is_unfiltered:
        body["query"] = to_query(scan.where)
    if scan.sort:
        (sort,) = scan.sort
        direction = "desc" if sort.descending else "asc"
        body["sort"] = {"attribute": to_snake_case(sort.field.id), "direction": direction}
    body["page"] = {"size": size}
    return body


def to_query(term: Expression) -> dict[str, Any]:
    """Return a filter as JSON; it is within the limits already."""
    match term:
        case Compare():
            return _predicate(term)
        case Not(inner):
            return {"not": to_query(inner)}
        case And(terms):
            return {"and": [to_query(item) for item in terms]}
        case Or(terms):
            return {"or": [to_query(item) for item in terms]}
        case _:
            assert_never(term)


def _predicate(comparison: Compare) -> dict[str, Any]:
    target = comparison.target
    value = (
        format_timestamp(comparison.value, comparison.op)
        if target.type == "datetime"
        else comparison.value
    )
    return {"attribute": _attribute(target), "operator": comparison.op, "value": value}


_SEARCH_NAMES = {"case-template": "template", "case-queue": "case_queue", "assignee-id": "assignee"}


def _attribute(target: Field) -> str:
    """Return the name of an attribute in predicates: in snake case, and sometimes another one."""
    if target.namespace == "custom":
        return target.id
    return _SEARCH_NAMES.get(target.id, to_snake_case(target.id))


_LIST_PARAMETERS = {"status": "filter[status]", "case-template": "filter[case-template-id]"}


def list_parameters(where: Expression, size: int) -> tuple[tuple[str, str], ...]:
    """Return the parameters of the List endpoint, for `size` cases per page."""
    filters = tuple((_LIST_PARAMETERS[item.target.id], item.value) for item in comparisons(where))
    return (*filters, ("page[size]", str(size)))


def fieldset(scan: Scan) -> tuple[tuple[str, str], ...]:
    """Return the parameter that names the fields of the response; none for all fields."""
    names = [
        "case-template" if item.id == "template" else item.id
        for item in scan.fields
        if item.id != "id"
    ]
    return (("fields[case]", ",".join(dict.fromkeys(names))),) if names else ()


_CustomValue = TypedValue | str | int | float | bool | list[Any] | None


class _Links(msgspec.Struct, gc=False):
    next: str | None


def _create_decoder(fields: Any) -> msgspec.json.Decoder[Any]:
    """Return a decoder of pages whose custom fields have the given type."""
    attributes = msgspec.defstruct(
        "_Attributes",
        [(to_snake_case(name), Any, None) for name in ATTRIBUTES if name not in LIST_ATTRIBUTES]
        # Tuples, because an empty one costs nothing and the garbage collector ignores them.
        + [(to_snake_case(name), tuple[Any, ...] | None, None) for name in LIST_ATTRIBUTES]
        + [("fields", fields, msgspec.field(default_factory=fields))],
        rename="kebab",
        forbid_unknown_fields=True,
        gc=False,
    )
    relationships = ("relationships", Relationships | None, None)
    case: Any = msgspec.defstruct(
        "_Case", [("id", str), ("attributes", attributes), relationships], gc=False
    )
    return msgspec.json.Decoder(
        msgspec.defstruct("_Response", [("data", list[case]), ("links", _Links)], gc=False)
    )


# msgspec refuses these in the names of a struct, and a key may be any text.
_REFUSED_IN_NAMES = re.compile(r'["\\\x00-\x1f]')


@lru_cache(maxsize=16)
def _decoder_of(keys: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Return a decoder of pages that have no custom fields but these."""
    if any(map(_REFUSED_IN_NAMES.search, keys)):
        return _OPEN_DECODER
    absent = TypedValue("")  # it has a value like all others, so that all are read in the same way
    fields = msgspec.defstruct(
        "_Fields",
        [(_attribute_name(index), _CustomValue, absent) for index in range(len(keys))],
        rename={_attribute_name(index): key for index, key in enumerate(keys)},
        forbid_unknown_fields=True,
        gc=False,
    )
    return _create_decoder(fields)


def _attribute_name(index: int) -> str:
    return f"field_{index}"  # a key need not be a name in Python


_OPEN_DECODER = _create_decoder(dict[str, _CustomValue])
_GETTERS = {name: attrgetter(to_snake_case(name)) for name in ATTRIBUTES}


def decode_page(body: bytes, known_fields: KnownFields, fields: Sequence[Field]) -> DecodedPage:
    """Return the columns of a search or List response.

    Raise ValueError if the body is invalid: not JSON, truncated, or without ``data``.
    """
    # The fastest decoder knows all custom fields; the next one accepts any.
    body = strip_bom(body)
    decoder = _decoder_of(tuple(known_fields.custom))
    response = _try_decode(body, decoder) or _try_decode(body, _OPEN_DECODER)
    if response is None:
        value, replaced = parse_json(body)
        page = decode_parsed(value, known_fields, fields)
        if replaced:
            page.invalid.update(count_replaced(page.columns, page.next_link))
        return page
    cases = response.data
    requested = {item.id for item in fields}
    columns: dict[str, list[Any]] = {"case_id": [case.id for case in cases]}
    page = DecodedPage(len(cases), columns, response.links.next, has_next_link=True)
    attributes = [case.attributes for case in cases]
    with_urls = may_hold_urls(body)
    _add_attributes(page, attributes, requested, with_urls=with_urls)
    relationships = [case.relationships or NO_RELATIONSHIPS for case in cases]
    add_relationships(page, relationships, known_fields, requested)
    custom = [case.attributes.fields for case in cases]
    if custom and isinstance(custom[0], dict):
        add_custom_fields(page, custom, known_fields, requested, with_urls=with_urls)
    else:
        _add_known_fields(page, custom, known_fields, requested, with_urls=with_urls)
    return page


def _try_decode(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _add_attributes(
    page: DecodedPage, attributes: Sequence[Any], requested: set[str], *, with_urls: bool
) -> None:
    for name, (column, _) in ATTRIBUTES.items():
        if not requested or name in requested:
            cells = list(map(_GETTERS[name], attributes))
            search_urls = with_urls and column != "attachments"
            page.columns[column] = plain_cells(cells) if search_urls else cells
    if "attachments" in page.columns:
        files = page.columns["attachments"]
        page.columns["attachments"] = [attachment_names(item) if item else item for item in files]


def _add_known_fields(
    page: DecodedPage,
    custom: Sequence[Any],
    known_fields: KnownFields,
    requested: set[str],
    *,
    with_urls: bool,
) -> None:
    for index, item in enumerate(known_fields.custom.values()):
        if not requested or item.id in requested:
            values = list(map(attrgetter(_attribute_name(index)), custom))
            page.columns[item.column] = plain_cells(values, with_urls=with_urls)


def decode_parsed(response: Any, known_fields: KnownFields, fields: Sequence[Field]) -> DecodedPage:
    """Return the columns of a search or List response that is JSON values.

    Raise ValueError if the response is invalid.
    """
    cases = _cases(response)
    requested = {item.id for item in fields}
    attributes = [to_kebab_case(case.get("attributes")) for case in cases]
    page = DecodedPage(
        len(cases), {"case_id": [case["id"] for case in cases]}, *_next_link(response)
    )
    for name, (column, _) in ATTRIBUTES.items():
        if not requested or name in requested:
            cells = [values.get(name) for values in attributes]
            page.columns[column] = cells if column == "attachments" else plain_cells(cells)
    for column, render in (("tags", _as_list), ("attachments", attachment_names)):
        if column in page.columns:
            page.columns[column] = [render(value) for value in page.columns[column]]
    relationships = [_relationships(case.get("relationships")) for case in cases]
    add_relationships(page, relationships, known_fields, requested)
    custom = [_wrapped_values(values.get("fields")) for values in attributes]
    add_custom_fields(page, custom, known_fields, requested)
    _add_undocumented(page, attributes, known_fields, requested)
    return page


def _cases(response: Any) -> list[dict[str, Any]]:
    if not isinstance(response, dict) or not isinstance(response.get("data"), list):
        raise ValueError("the response has no list of cases")  # noqa: TRY004 - wire, not a type
    cases: list[dict[str, Any]] = response["data"]
    if not all(isinstance(case, dict) and isinstance(case.get("id"), str) for case in cases):
        raise ValueError("the response has a case without an id")
    return cases


def _next_link(response: Mapping[str, Any]) -> tuple[str | None, bool]:
    links = response.get("links")
    if not isinstance(links, dict) or "next" not in links:
        return None, False
    link = links["next"]
    if link is not None and not isinstance(link, str):
        raise ValueError("links.next is not text")
    return link, True


def _as_list(value: Any) -> Any:
    return value if value is None or isinstance(value, (list, tuple)) else (value,)


def _relationships(value: Any) -> Relationships:  # type: ignore[valid-type]
    links = to_kebab_case(value)
    return Relationships(
        **{to_snake_case(name): _link(links[name]) for name in RELATIONSHIPS if name in links}
    )


def _link(value: Any) -> Relationship:
    try:
        return msgspec.convert(value, Relationship)
    except msgspec.ValidationError:
        return Relationship()


def _wrapped_values(fields: Any) -> dict[str, Any]:
    """Return custom fields in the form that the typed decoder gives them."""
    if not isinstance(fields, dict):
        return {}
    return {key: _wrap(value) for key, value in fields.items()}


def _wrap(value: Any) -> Any:
    if (
        isinstance(value, dict)
        and isinstance(value.get("type"), str)
        and not value.keys() - {"type", "value"}
    ):
        return TypedValue(value["type"], value.get("value"))
    return value


def _add_undocumented(
    page: DecodedPage,
    attributes: Sequence[Mapping[str, Any]],
    known_fields: KnownFields,
    requested: set[str],
) -> None:
    names = dict.fromkeys(name for values in attributes for name in values)
    for name in names:
        if name in ATTRIBUTES or name == "fields" or (requested and name not in requested):
            continue
        column = known_fields.attributes.get(name) or _unused_column(
            to_snake_case(name), known_fields.columns, page.columns
        )
        page.columns[column] = [plain_value(values.get(name), name) for values in attributes]
        if name not in known_fields.attributes:
            page.new_fields[column] = Field(column, name, name, "any")


def _unused_column(name: str, *used: Container[str]) -> str:
    return f"attribute_{name}" if any(name in columns for columns in used) else name


def present_names(body: bytes) -> frozenset[str]:
    """Return the attributes and relationships that the cases of a page have, in kebab case."""
    parts = [
        to_kebab_case(case.get(part))
        for case in parse_json(body)[0]["data"]
        for part in ("attributes", "relationships")
    ]
    return frozenset(name for part in parts for name in part)


def decode_object(body: bytes) -> dict[str, Any]:
    """Return the object in a response that contains a single one.

    Raise ValueError if it contains none.
    """
    return _data_object(parse_json(body)[0])


def _data_object(response: Any) -> dict[str, Any]:
    if not isinstance(response, dict) or not isinstance(response.get("data"), dict):
        raise ValueError("the response has no data")  # noqa: TRY004 - wire, not a type
    return dict(response["data"])


def decode_case(body: bytes, known_fields: KnownFields, fields: Sequence[Field]) -> DecodedPage:
    """Return the columns of a response that contains a single case.

    Raise ValueError if the body contains no case.
    """
    value, replaced = parse_json(body)
    response = {"data": [_data_object(value)], "links": {"next": None}}
    page = decode_parsed(response, known_fields, fields)
    if replaced:
        page.invalid.update(count_replaced(page.columns, None))
    return page
