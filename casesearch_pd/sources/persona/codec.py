"""What a Persona search is asked: a scan in, the body and the parameters of its request out.

Shapes follow Persona's OpenAPI description (version 2025-12-08).
"""

from __future__ import annotations

import json
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or, literals
from casesearch_pd.query.schema import Field
from casesearch_pd.sources.persona.columns import (
    NO_RELATIONSHIPS,
    DecodedPage,
    Known,
    Link,
    Relationships,
    Wrapped,
    attachments,
    relate,
    spread,
    unwrapped,
)
from casesearch_pd.sources.persona.field_names import (
    ATTRIBUTES,
    LISTED,
    RELATIONSHIPS,
    kebab,
    snake,
)
from casesearch_pd.sources.transport.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from casesearch_pd.sources.base import Scan

__all__ = [
    "decode",
    "decode_one",
    "fieldset",
    "list_parameters",
    "object_of",
    "read_plain",
    "search_body",
    "shown",
    "to_query",
]


def search_body(scan: Scan, size: int) -> dict[str, Any]:
    """Write the body of a search for so many cases a page."""
    body: dict[str, Any] = {}
    if not scan.is_unfiltered:
        body["query"] = to_query(scan.where)
    if scan.sort:
        (sort,) = scan.sort
        direction = "desc" if sort.descending else "asc"
        body["sort"] = {"attribute": snake(sort.field.id), "direction": direction}
    body["page"] = {"size": size}
    return body


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
    value = (
        format_timestamp(literal.value, literal.op) if target.type == "datetime" else literal.value
    )
    return {"attribute": _attribute(target), "operator": literal.op, "value": value}


_SEARCHED_AS = {"case-template": "template", "case-queue": "case_queue", "assignee-id": "assignee"}


def _attribute(target: Field) -> str:
    """Spell the attribute as predicates do: snake case, and some under another name."""
    if target.namespace == "custom":
        return target.id
    return _SEARCHED_AS.get(target.id, snake(target.id))


_FILTERS = {"status": "filter[status]", "case-template": "filter[case-template-id]"}


def list_parameters(where: Expression, size: int) -> tuple[tuple[str, str], ...]:
    """Write the parameters of the List endpoint, for so many cases a page."""
    named = tuple((_FILTERS[item.target.id], item.value) for item in literals(where))
    return (*named, ("page[size]", str(size)))


def fieldset(scan: Scan) -> tuple[tuple[str, str], ...]:
    """Name what the answer is to hold; nothing for all there is."""
    names = [
        "case-template" if item.id == "template" else item.id
        for item in scan.fields
        if item.id != "id"
    ]
    return (("fields[case]", ",".join(dict.fromkeys(names))),) if names else ()


def read_plain(answer: Any, known: Known, wanted: Sequence[Field]) -> DecodedPage:
    """Read a search or List answer.

    Parameters
    ----------
    answer
        The JSON of a 200.
    known
        The custom fields and templates that were discovered.
    wanted
        The fields that were asked for; empty for all.

    Raises
    ------
    ValueError
        If it is no list of cases.
    """
    cases = _cases(answer)
    asked = {item.id for item in wanted}
    attributes = [kebab(case.get("attributes")) for case in cases]
    out = DecodedPage(len(cases), {"case_id": [case["id"] for case in cases]}, *_next(answer))
    for name, (column, _) in ATTRIBUTES.items():
        if not asked or name in asked:
            out.columns[column] = [held.get(name) for held in attributes]
    for column, render in (("tags", _listed), ("attachments", attachments)):
        if column in out.columns:
            out.columns[column] = [render(value) for value in out.columns[column]]
    relate(out, [_related(case.get("relationships")) for case in cases], known, asked)
    spread(out, [_typed(held.get("fields")) for held in attributes], known, asked)
    _new_attributes(out, attributes, known, asked)
    return out


def _cases(answer: Any) -> list[dict[str, Any]]:
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise ValueError("the answer has no list of cases")  # noqa: TRY004 - wire, not a type
    cases: list[dict[str, Any]] = answer["data"]
    if not all(isinstance(case, dict) and isinstance(case.get("id"), str) for case in cases):
        raise ValueError("the answer has a case without an id")
    return cases


def _next(answer: Mapping[str, Any]) -> tuple[str | None, bool]:
    links = answer.get("links")
    if not isinstance(links, dict) or "next" not in links:
        return None, False
    following = links["next"]
    if following is not None and not isinstance(following, str):
        raise ValueError("links.next is not text")
    return following, True


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, (list, tuple)) else (value,)


def _related(held: Any) -> Relationships:  # type: ignore[valid-type]
    told = kebab(held)
    return Relationships(
        **{snake(name): _link(told[name]) for name in RELATIONSHIPS if name in told}
    )


def _link(value: Any) -> Link:
    try:
        return msgspec.convert(value, Link)
    except msgspec.ValidationError:
        return Link()


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
        return Wrapped(value["type"], value.get("value"))
    return value


def _new_attributes(
    out: DecodedPage, attributes: Sequence[Mapping[str, Any]], known: Known, asked: set[str]
) -> None:
    names = dict.fromkeys(name for held in attributes for name in held)
    for name in names:
        if name in ATTRIBUTES or name == "fields" or (asked and name not in asked):
            continue
        column = known.attributes.get(name) or _column(snake(name), known.columns, out.columns)
        out.columns[column] = [held.get(name) for held in attributes]
        if name not in known.attributes:
            out.new_fields[column] = Field(column, name, name, "any")


def _column(name: str, *used: Container[str]) -> str:
    return f"attribute_{name}" if any(name in held for held in used) else name


def shown(body: bytes) -> frozenset[str]:
    """List the attributes and relationships that the cases of an answer have, in kebab case."""
    cases = json.loads(body)["data"]
    held = [kebab(case.get(part)) for case in cases for part in ("attributes", "relationships")]
    return frozenset(name for names in held for name in names)


def object_of(body: bytes) -> dict[str, Any]:
    """Read the bytes of an answer that holds one thing.

    Raises
    ------
    ValueError
        If it holds none.
    """
    # Not json.loads(body): that would guess the encoding, and JSON is UTF-8.
    answer = json.loads(body.decode())
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
        raise ValueError("the answer has no data")  # noqa: TRY004 - wire, not a type
    return dict(answer["data"])


_Held = Wrapped | str | int | float | bool | list[Any] | None


class _Links(msgspec.Struct, gc=False):
    next: str | None


def _decoder(fields: Any) -> msgspec.json.Decoder[Any]:
    """Make a decoder of answers whose custom fields come as the given type."""
    attributes = msgspec.defstruct(
        "_Attributes",
        [(snake(name), Any, None) for name in ATTRIBUTES if name not in LISTED]
        # Tuples, because an empty one costs nothing, and the garbage collector lets them be.
        + [(snake(name), tuple[Any, ...] | None, None) for name in LISTED]
        + [("fields", fields, msgspec.field(default_factory=fields))],
        rename="kebab",
        forbid_unknown_fields=True,
        gc=False,
    )
    related = ("relationships", Relationships | None, None)
    case: Any = msgspec.defstruct(
        "_Case", [("id", str), ("attributes", attributes), related], gc=False
    )
    return msgspec.json.Decoder(
        msgspec.defstruct("_Answer", [("data", list[case]), ("links", _Links)], gc=False)
    )


@lru_cache(maxsize=16)
def _decoder_of(keys: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Make a decoder of answers that hold no custom fields but these."""
    absent = Wrapped("")  # it has a value as all others, so that all are read alike
    fields = msgspec.defstruct(
        "_Fields",
        [(_numbered(at), _Held, absent) for at in range(len(keys))],
        rename={_numbered(at): key for at, key in enumerate(keys)},
        forbid_unknown_fields=True,
        gc=False,
    )
    return _decoder(fields)


def _numbered(at: int) -> str:
    return f"field_{at}"  # a key need not be a name in Python


_OPEN_DECODER = _decoder(dict[str, _Held])
_GETTERS = {name: attrgetter(snake(name)) for name in ATTRIBUTES}


def decode(body: bytes, known: Known, wanted: Sequence[Field]) -> DecodedPage:
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
    answer = _decoded(body, _decoder_of(tuple(known.custom))) or _decoded(body, _OPEN_DECODER)
    if answer is None:
        # Not json.loads(body): that would guess the encoding, and JSON is UTF-8.
        return read_plain(json.loads(body.decode()), known, wanted)
    cases = answer.data
    asked = {item.id for item in wanted}
    out = DecodedPage(len(cases), {"case_id": [case.id for case in cases]}, answer.links.next, True)
    held = [case.attributes for case in cases]
    _attribute_persona_wire(out, held, asked)
    relate(out, [case.relationships or NO_RELATIONSHIPS for case in cases], known, asked)
    fields = [one.fields for one in held]
    if fields and isinstance(fields[0], dict):
        spread(out, fields, known, asked)
    else:
        _spread_known(out, fields, known, asked)
    return out


def _decoded(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _attribute_persona_wire(out: DecodedPage, held: Sequence[Any], asked: set[str]) -> None:
    for name, (column, _) in ATTRIBUTES.items():
        if not asked or name in asked:
            out.columns[column] = list(map(_GETTERS[name], held))
    if "attachments" in out.columns:
        files = out.columns["attachments"]
        out.columns["attachments"] = [attachments(some) if some else some for some in files]


def _spread_known(out: DecodedPage, fields: Sequence[Any], known: Known, asked: set[str]) -> None:
    """Make columns of the custom fields, none of which is new."""
    for at, item in enumerate(known.custom.values()):
        if not asked or item.id in asked:
            out.columns[item.column] = unwrapped(_values(fields, at), item.type)


def _values(fields: Sequence[Any], at: int) -> list[Any]:
    get = attrgetter(_numbered(at))
    try:
        return [one.value for one in map(get, fields)]
    except AttributeError:  # some come bare
        return [one.value if type(one) is Wrapped else one for one in map(get, fields)]


def decode_one(body: bytes, known: Known, wanted: Sequence[Field]) -> DecodedPage:
    """Read the bytes of a retrieval, which holds a case where search holds a list.

    Raises
    ------
    ValueError
        If the body holds no case.
    """
    return read_plain({"data": [object_of(body)], "links": {"next": None}}, known, wanted)
