"""The Persona wire: expression → query JSON; answer bytes → columns.

Shapes follow Persona's OpenAPI description (version 2025-12-08). A page is decoded by msgspec
into typed structs; one that does not fit them (another key inflection, an attribute added
since, a bare hash in ``fields``) is read once more as plain JSON, value by value. Both ways
give the same columns.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from casesearch_pd.query.expr import And, Compare, Expression, Not, Or
from casesearch_pd.query.schema import Field, FieldType, column_name
from casesearch_pd.sources.moments import instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "ATTRIBUTES",
    "RELATIONSHIPS",
    "TYPES",
    "Answer",
    "Known",
    "Template",
    "TemplateField",
    "custom_column",
    "decode",
    "decode_one",
    "decode_template",
    "shown",
    "to_query",
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
"""Relationship to column; the first two hold one id, the others a list."""

_TO_ONE = ("case-template", "case-queue")
_LISTED = ("tags", "attachments")

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

_NESTED: frozenset[FieldType] = frozenset({"list", "json", "any"})


# --- asking ---------------------------------------------------------------------------


def to_query(term: Expression) -> dict[str, Any]:
    """Write a query; the shape is within the limits already."""
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


def _predicate(literal: Compare) -> dict[str, Any]:
    target = literal.target
    value = instant(literal.value, literal.op) if target.type == "datetime" else literal.value
    return {"attribute": _attribute(target), "operator": literal.op, "value": value}


_SEARCHED_AS = {"case-template": "template", "case-queue": "case_queue", "assignee-id": "assignee"}


def _attribute(target: Field) -> str:
    """Spell the attribute as predicates do: snake case, and some under another name."""
    if target.namespace == "custom":
        return target.id
    return _SEARCHED_AS.get(target.id, target.id.replace("-", "_"))


# --- the answer -----------------------------------------------------------------------


class _Ref(msgspec.Struct, gc=False):
    id: str


class _Link(msgspec.Struct, gc=False):
    data: tuple[_Ref, ...] | _Ref | None = None


class _Wrapped(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    type: str
    value: Any = None


class _Links(msgspec.Struct, gc=False):
    next: str | None


_WRAPPER = len(_Wrapped.__struct_fields__)
_Held = _Wrapped | str | int | float | bool | list[Any] | None


@dataclass(frozen=True)
class Known:
    """What a page is read by: the custom fields by key, the names of templates.

    Parameters
    ----------
    custom
        Key of a custom field to the field.
    templates
        Template id to name.
    taken
        Columns that a field met on the page must not take.
    """

    custom: Mapping[str, Field]
    templates: Mapping[str, str]
    taken: frozenset[str] = frozenset()


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


@dataclass(slots=True)
class Answer:
    """One page as columns."""

    rows: int
    columns: dict[str, list[Any]]
    next: str | None
    linked: bool
    found: dict[str, Field] = field(default_factory=dict)
    templates: tuple[str, ...] = ()


def _snake(name: str) -> str:
    return name.replace("-", "_")


_Relationships = msgspec.defstruct(
    "_Relationships",
    [(_snake(name), _Link | None, None) for name in RELATIONSHIPS],
    rename="kebab",
    gc=False,
)
_NO_RELATIONSHIPS = _Relationships()


def _decoder(fields: Any) -> msgspec.json.Decoder[Any]:
    """Make a decoder of answers whose custom fields come as the given type."""
    attributes = msgspec.defstruct(
        "_Attributes",
        [(_snake(name), Any, None) for name in ATTRIBUTES if name not in _LISTED]
        # Tuples, because an empty one costs nothing, and the garbage collector lets them be.
        + [(_snake(name), tuple[Any, ...] | None, None) for name in _LISTED]
        + [("fields", fields, msgspec.field(default_factory=fields))],
        rename="kebab",
        forbid_unknown_fields=True,
        gc=False,
    )
    related = ("relationships", _Relationships | None, None)
    case: Any = msgspec.defstruct(
        "_Case", [("id", str), ("attributes", attributes), related], gc=False
    )
    return msgspec.json.Decoder(
        msgspec.defstruct("_Answer", [("data", list[case]), ("links", _Links)], gc=False)
    )


@lru_cache(maxsize=16)
def _decoder_of(keys: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Make a decoder of answers that hold no custom fields but these."""
    fields = msgspec.defstruct(
        "_Fields",
        [(_numbered(at), _Held, None) for at in range(len(keys))],
        rename={_numbered(at): key for at, key in enumerate(keys)},
        forbid_unknown_fields=True,
        gc=False,
    )
    return _decoder(fields)


def _numbered(at: int) -> str:
    return f"field_{at}"  # a key need not be a name in Python


_OPEN_DECODER = _decoder(dict[str, _Held])
_GETTERS = {name: attrgetter(_snake(name)) for name in (*ATTRIBUTES, *RELATIONSHIPS)}


def decode(body: bytes, known: Known, wanted: Sequence[Field]) -> Answer:
    """Read the bytes of a search or List answer.

    Parameters
    ----------
    body
        The whole body of a 200.
    known
        The custom fields and templates that were discovered.
    wanted
        The fields that were asked for; empty for all.

    Raises
    ------
    ValueError
        If the body is no list of cases: not JSON, cut short, or without ``data``.
    """
    keys = tuple(known.custom)
    answer = _decoded(body, _decoder_of(keys)) or _decoded(body, _OPEN_DECODER)
    if answer is None:
        # Not json.loads(body): that would guess the encoding, and JSON is UTF-8.
        return _slowly(json.loads(body.decode()), known, wanted)
    cases = answer.data
    asked = {item.id for item in wanted}
    columns: dict[str, list[Any]] = {"case_id": [case.id for case in cases]}
    every: list[Any] = [case.attributes for case in cases]
    for name, (column, _) in ATTRIBUTES.items():
        if not asked or name in asked:
            columns[column] = list(map(_GETTERS[name], every))
    for column, render in (("tags", _listed), ("attachments", _attachments)):
        if column in columns:
            columns[column] = [render(value) for value in columns[column]]
    _relate(columns, [case.relationships or _NO_RELATIONSHIPS for case in cases], known, asked)
    out = Answer(len(cases), columns, answer.links.next, linked=True, templates=_ids(columns))
    _spread(out, _slots([held.fields for held in every], keys), known, asked)
    return out


def _decoded(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def decode_one(body: bytes, known: Known, wanted: Sequence[Field]) -> Answer:
    """Read the bytes of a retrieval, which holds a case where search holds a list.

    Raises
    ------
    ValueError
        If the body holds no case.
    """
    return _slowly({"data": [_object(body)], "links": {"next": None}}, known, wanted)


def decode_template(body: bytes) -> Template:
    """Read the bytes of a case template.

    Raises
    ------
    ValueError
        If the body holds no template.
    """
    told = _object(body)
    attributes = _kebab(told.get("attributes"))
    fields = tuple(_template_field(_kebab(item)) for item in _list(attributes.get("field-schemas")))
    name = _text(told.get("id"))
    if not name or not all(item.key for item in fields):
        raise ValueError("the answer has a template without an id, or with a field without a key")
    return Template(name, _text(attributes.get("name")) or name, fields)


def _template_field(told: Mapping[str, Any]) -> TemplateField:
    key, config = _text(told.get("key")), _kebab(told.get("config"))
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


def _object(body: bytes) -> dict[str, Any]:
    answer = json.loads(body.decode())
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
        raise ValueError("the answer has no data")  # noqa: TRY004 - wire, not a type
    return dict(answer["data"])


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, (list, tuple)) else (value,)


def _attachments(value: Any) -> Any:
    """Name and size only: the address of an attachment holds an access token."""
    if not isinstance(value, (list, tuple)):
        return None
    return tuple([_attachment(item) for item in value if isinstance(item, dict)])


def _attachment(item: Mapping[str, Any]) -> str:
    size = next((item[key] for key in ("byte-size", "byte_size", "byteSize") if key in item), None)
    name = str(item.get("filename") or "attachment")
    return name if size is None else f"{name} ({size} bytes)"


def _relate(
    columns: dict[str, list[Any]], related: Sequence[Any], known: Known, asked: set[str]
) -> None:
    for name, column in RELATIONSHIPS.items():
        if not asked or name in asked or (name == "case-template" and "template" in asked):
            links = map(_GETTERS[name], related)
            held = [None if link is None else link.data for link in links]
            columns[column] = _one(held) if name in _TO_ONE else _many(held)
    if "template_id" in columns:
        columns["template"] = [known.templates.get(item) for item in columns["template_id"]]


def _one(held: Iterable[tuple[_Ref, ...] | _Ref | None]) -> list[Any]:
    return [ref.id if type(ref) is _Ref else None for ref in held]


def _many(held: Iterable[tuple[_Ref, ...] | _Ref | None]) -> list[Any]:
    return [_linked(refs) if refs else refs for refs in held]


def _linked(refs: tuple[_Ref, ...] | _Ref) -> tuple[str, ...]:
    return (refs.id,) if isinstance(refs, _Ref) else tuple([ref.id for ref in refs])


def _ids(columns: Mapping[str, list[Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for item in columns.get("template_id", ()) if item is not None))


class _Slots(dict[str, list[Any]]):
    """Key of a custom field to one value a row; a key not met before gets its list at once."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __missing__(self, key: str) -> list[Any]:
        self[key] = [None] * self.rows
        return self[key]


def _spread(out: Answer, slots: Mapping[str, list[Any]], known: Known, asked: set[str]) -> None:
    """Make columns of the custom fields; meet new ones on the way."""
    for key, slot in slots.items():
        item = known.custom.get(key) or _met(key, slot, known)
        if asked and item.id not in asked:
            continue
        out.columns[item.column] = _bare(slot, item)
        if key not in known.custom:
            out.found[item.column] = item


def _slots(fields: Sequence[Any], keys: tuple[str, ...]) -> dict[str, list[Any]]:
    """Lay the custom fields of each case side by side: structs of just these keys, or mappings."""
    if fields and not isinstance(fields[0], dict):
        return {key: list(map(attrgetter(_numbered(at)), fields)) for at, key in enumerate(keys)}
    slots = _Slots(len(fields))
    for key in keys:
        slots[key] = [None] * slots.rows
    for row, held in enumerate(fields):
        for key, value in held.items():
            slots[key][row] = value
    return slots


def _bare(slot: list[Any], item: Field) -> list[Any]:
    values = [value.value if type(value) is _Wrapped else value for value in slot]
    return [_unwrapped(value) for value in values] if item.type in _NESTED else values


def _met(key: str, slot: Sequence[Any], known: Known) -> Field:
    kinds = {value.type for value in slot if type(value) is _Wrapped}
    kind = kinds.pop() if len(kinds) == 1 else "any"  # where they differ, the cells decide
    column = custom_column(key, known.taken)
    return Field(column, f"fields.{key}", key, TYPES.get(kind.replace("_", "-"), "any"), "custom")


def custom_column(key: str, taken: frozenset[str]) -> str:
    """Name the column of a custom field: its key, ``fields_KEY`` where that is taken."""
    column = key if re.fullmatch(r"[^\W\d]\w*", key) else column_name(key)
    return f"fields_{column}" if column in taken else column


def _unwrapped(value: Any) -> Any:
    """Take ``{"type", "value"}`` wrappers off, at any depth: hashes and arrays nest them."""
    if type(value) is list:
        return [_unwrapped(item) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == _WRAPPER and isinstance(value.get("type"), str) and "value" in value:
        return _unwrapped(value["value"])
    return {key: _unwrapped(item) for key, item in value.items()}


# --- the same, value by value -----------------------------------------------------------


def _slowly(answer: Any, known: Known, wanted: Sequence[Field]) -> Answer:
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise ValueError("the answer has no list of cases")  # noqa: TRY004 - wire, not a type
    cases = answer["data"]
    if not all(isinstance(case, dict) and isinstance(case.get("id"), str) for case in cases):
        raise ValueError("the answer has a case without an id")
    asked = {item.id for item in wanted}
    attributes = [_kebab(case.get("attributes")) for case in cases]
    out = Answer(len(cases), {"case_id": [case["id"] for case in cases]}, *_next(answer))
    for name, (column, _) in ATTRIBUTES.items():
        if not asked or name in asked:
            out.columns[column] = [held.get(name) for held in attributes]
    for column, render in (("tags", _listed), ("attachments", _attachments)):
        if column in out.columns:
            out.columns[column] = [render(value) for value in out.columns[column]]
    _new_attributes(out, attributes, known, asked)
    _relate(out.columns, [_related(case.get("relationships")) for case in cases], known, asked)
    out.templates = _ids(out.columns)
    fields = [_typed(held.get("fields")) for held in attributes]
    _spread(out, _slots(fields, tuple(known.custom)), known, asked)
    return out


def shown(body: bytes) -> frozenset[str]:
    """List the attributes and relationships that the cases of an answer have, in kebab case."""
    cases = json.loads(body)["data"]
    held = [_kebab(case.get(part)) for case in cases for part in ("attributes", "relationships")]
    return frozenset(name for names in held for name in names)


def _next(answer: Mapping[str, Any]) -> tuple[str | None, bool]:
    links = answer.get("links")
    if not isinstance(links, dict) or "next" not in links:
        return None, False
    following = links["next"]
    if following is not None and not isinstance(following, str):
        raise ValueError("links.next is not text")
    return following, True


def _kebab(held: Any) -> dict[str, Any]:
    """Bring attribute names back to kebab case, whatever the inflection of the answer."""
    if not isinstance(held, dict):
        return {}
    return {
        re.sub(r"(?<=[a-z0-9])([A-Z])", r"-\1", key).replace("_", "-").lower(): value
        for key, value in held.items()
    }


def _new_attributes(
    out: Answer, attributes: Sequence[Mapping[str, Any]], known: Known, asked: set[str]
) -> None:
    names = dict.fromkeys(name for held in attributes for name in held)
    for name in names:
        if name in ATTRIBUTES or name == "fields" or (asked and name not in asked):
            continue
        column = _snake(name)
        if any(column == item.column for item in known.custom.values()):
            column = f"attribute_{column}"
        out.columns[column] = [held.get(name) for held in attributes]
        out.found[column] = Field(column, name, name, "any")


def _related(held: Any) -> _Relationships:  # type: ignore[valid-type]
    told = _kebab(held)
    return _Relationships(
        **{_snake(name): _link(told[name]) for name in RELATIONSHIPS if name in told}
    )


def _link(value: Any) -> _Link:
    try:
        return msgspec.convert(value, _Link)
    except msgspec.ValidationError:
        return _Link()


def _typed(held: Any) -> dict[str, Any]:
    """Give wrapped values the form that the typed decoder gives them."""
    if not isinstance(held, dict):
        return {}
    return {key: _wrapper(value) for key, value in held.items()}


def _wrapper(value: Any) -> Any:
    if (
        isinstance(value, dict)
        and isinstance(value.get("type"), str)
        and not value.keys() - {"type", "value"}
    ):
        return _Wrapped(value["type"], value.get("value"))
    return value
