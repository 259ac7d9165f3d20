"""The Amazon Connect Cases wire: expression → filter JSON; answer bytes → columns.

Shapes follow botocore's service model ``connectcases/2022-10-03``. A page is decoded by
msgspec into typed structs; one that does not fit them (a new union member, a text where a
number belongs, a lone surrogate) is read once more as plain JSON, value by value, so that an
odd value costs a cell and never a page. Both ways give the same columns.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, assert_never

import msgspec

from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or
from casesearch_pd.sources.amazon_connect.schema import FREE
from casesearch_pd.sources.transport.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from casesearch_pd.query.schema import Field

__all__ = ["MEMBERS", "DecodedPage", "decode_page", "read_parsed", "to_filter", "union_value"]

MEMBERS = 10  # terms in one andAll or orAll

_OPERATORS = {
    "eq": "equalTo",
    "contains": "contains",
    "gt": "greaterThan",
    "gte": "greaterThanOrEqualTo",
    "lt": "lessThan",
    "lte": "lessThanOrEqualTo",
}
_MEMBER = {
    "number": "doubleValue",
    "integer": "doubleValue",
    "boolean": "booleanValue",
    "user": "userArnValue",
}  # of a field type; every other type travels as text
_KNOWN = ("stringValue", "userArnValue", "doubleValue", "booleanValue")
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


# --- asking ---------------------------------------------------------------------------


def to_filter(term: Expression) -> dict[str, Any]:
    """Write a filter; more than ten terms are nested, ten to a level."""
    match term:
        case Compare():
            return _comparison(term)
        case Not(inner):
            return {"not": to_filter(inner)}
        case And(terms):
            return _group("andAll", [to_filter(item) for item in terms])
        case Or(terms):
            return _group("orAll", [to_filter(item) for item in terms])
        case _:
            assert_never(term)


def _group(name: str, members: list[dict[str, Any]]) -> dict[str, Any]:
    while len(members) > MEMBERS:
        members = [
            _chunk(name, members[at : at + MEMBERS]) for at in range(0, len(members), MEMBERS)
        ]
    return {name: members}


def _chunk(name: str, members: list[dict[str, Any]]) -> dict[str, Any]:
    return members[0] if len(members) == 1 else {name: members}


def _comparison(literal: Compare) -> dict[str, Any]:
    target = literal.target
    if target.column == "tags":
        key, _, value = literal.value.partition("=")
        return {"tag": {"equalTo": {"key": key, "value": value}}}
    if literal.op == "isna":
        return {"field": {"equalTo": {"id": target.id, "value": {"emptyValue": {}}}}}
    value = (
        format_timestamp(literal.value, literal.op) if target.type == "datetime" else literal.value
    )
    member = _MEMBER.get(target.type, "stringValue")
    return {"field": {_OPERATORS[literal.op]: {"id": target.id, "value": {member: value}}}}


# --- the answer -----------------------------------------------------------------------


Id = TypeVar("Id")


class _Value(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One union value; a member that is null counts as absent (botocore would lose the page)."""

    stringValue: str | None = None  # noqa: N815 - the wire's spelling, here and below
    doubleValue: int | float | None = None  # noqa: N815
    booleanValue: bool | None = None  # noqa: N815
    userArnValue: str | None = None  # noqa: N815
    emptyValue: dict[str, None] | None = None  # noqa: N815


class _FieldValue(msgspec.Struct, Generic[Id], gc=False):
    id: Id
    value: _Value | None = None


class _Case(msgspec.Struct, Generic[Id], gc=False):
    caseId: str  # noqa: N815
    templateId: str | None = None  # noqa: N815
    fields: list[_FieldValue[Id]] = []
    tags: dict[str, str | None] | None = None


class _Answer(msgspec.Struct, Generic[Id], gc=False):
    cases: list[_Case[Id]]
    nextToken: str | None = None  # noqa: N815
    totalCount: int | None = None  # noqa: N815


_DECODER = msgspec.json.Decoder(_Answer[str])


@lru_cache(maxsize=16)
def _decoder_of(ids: tuple[str, ...]) -> msgspec.json.Decoder[_Answer[str]]:
    """Make a decoder that knows the ids of the fields, and need not make text of each again."""
    return msgspec.json.Decoder(_Answer[Literal[ids]]) if ids else _DECODER  # type: ignore[valid-type]


@dataclass(slots=True)
class DecodedPage:
    """One page as columns, by the names of the fields asked for."""

    rows: int
    columns: dict[str, list[Any]]
    cursor: str | None
    total: int | None
    invalid: dict[str, int] = field(default_factory=dict)


def decode_page(body: bytes, fields: Sequence[Field], templates: Mapping[str, str]) -> DecodedPage:
    """Read the bytes of a SearchCases answer.

    Parameters
    ----------
    body
        The whole body of a 200.
    fields
        The fields that were asked for.
    templates
        Template id to name.

    Raises
    ------
    ValueError
        If the body is no SearchCases answer: not JSON, cut short, or without ``cases``.
    """
    answer = _decoded(body, _decoder_of(tuple([item.id for item in fields])))
    if answer is None and (answer := _decoded(body, _DECODER)) is None:
        # Not json.loads(body): that would guess the encoding, and JSON is UTF-8.
        return read_parsed(json.loads(body.decode()), fields, templates)
    columns = _free(answer.cases, templates)
    _fill(columns, answer.cases, fields)
    return DecodedPage(len(answer.cases), columns, answer.nextToken or None, answer.totalCount)


def _decoded(body: bytes, decoder: msgspec.json.Decoder[_Answer[str]]) -> _Answer[str] | None:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _free(cases: Sequence[_Case[str]], templates: Mapping[str, str]) -> dict[str, list[Any]]:
    template_ids = [case.templateId for case in cases]
    return {
        "case_id": [case.caseId for case in cases],
        "template_id": template_ids,
        "template": [templates.get(item or "") for item in template_ids],
        "tags": [list(_tags(tuple(case.tags.items()))) if case.tags else [] for case in cases],
    }


@lru_cache(maxsize=1024)  # many cases bear the same few tags: they are written once
def _tags(tags: tuple[tuple[str, str | None], ...]) -> tuple[str, ...]:
    return tuple(sorted(f"{key}={'' if value is None else value}" for key, value in tags))


_GETTERS: dict[str, Callable[[Any], Any]] = {
    kind: attrgetter(member) for kind, member in _MEMBER.items()
}


def _fill(
    columns: dict[str, list[Any]], cases: Sequence[_Case[str]], fields: Sequence[Field]
) -> None:
    places: dict[str, tuple[list[Any], Callable[[Any], Any] | None]] = {}
    for item in fields:
        if item.column not in columns:
            columns[item.column] = [None] * len(cases)
            places[item.id] = columns[item.column], _GETTERS.get(item.type)
    for row, case in enumerate(cases):
        for one in case.fields:
            try:
                column, get = places[one.id]
            except KeyError:
                continue  # nobody asked for it
            if (union := one.value) is not None:
                value = union.stringValue if get is None else get(union)
                # None where it is empty, or under another member than expected
                column[row] = _other(union) if value is None else value


def _other(value: _Value) -> Any:
    return next((held for name in _KNOWN if (held := getattr(value, name)) is not None), None)


# --- the same, value by value -----------------------------------------------------------


def read_parsed(answer: Any, fields: Sequence[Field], templates: Mapping[str, str]) -> DecodedPage:
    """Read an answer that is already parsed: plain JSON, or what botocore made of it.

    Raises
    ------
    ValueError
        If it is no SearchCases answer.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("cases"), list):
        raise ValueError("the answer has no list of cases")  # noqa: TRY004 - wire, not a type
    cases = [case for case in answer["cases"] if case is not None]
    if not all(isinstance(case, dict) and isinstance(case.get("caseId"), str) for case in cases):
        raise ValueError("the answer has a case without a caseId")
    typed: list[_Case[str]] = [
        _Case(case["caseId"], _text(case.get("templateId")), [], _texts(case.get("tags")))
        for case in cases
    ]
    cursor = answer.get("nextToken") or None
    if cursor is not None and not isinstance(cursor, str):
        raise ValueError("the answer's nextToken is not text")
    out = DecodedPage(len(cases), _free(typed, templates), cursor, _count(answer))
    for item in fields:
        if item.column not in out.columns:
            out.columns[item.column] = [None] * out.rows
    wanted = {item.id: item for item in fields if item.column not in FREE}
    for row, case in enumerate(cases):
        for held in _list(case.get("fields")):
            target = wanted.get(str(held.get("id"))) if isinstance(held, dict) else None
            if target is not None and held.get("value") is not None:
                _place(out, target, row, held["value"])
    return out


def _count(answer: Mapping[str, Any]) -> int | None:
    total = answer.get("totalCount")
    return total if isinstance(total, int) and not isinstance(total, bool) else None


def _text(held: Any) -> str | None:
    return held if isinstance(held, str) else None


def _texts(held: Any) -> dict[str, str | None]:
    tags = held.items() if isinstance(held, dict) else ()
    return {str(key): None if value is None else str(value) for key, value in tags}


def _list(held: Any) -> list[Any]:
    return held if isinstance(held, list) else []


def _place(out: DecodedPage, target: Field, row: int, union: Any) -> None:
    known, value = union_value(union, _MEMBER.get(target.type, "stringValue"))
    out.columns[target.column][row] = value
    if not known:
        out.invalid[target.column] = out.invalid.get(target.column, 0) + 1


def union_value(union: Any, member: str = "stringValue") -> tuple[bool, Any]:
    """Find the value in a union, `member` first; tell whether its member is a known one."""
    if not isinstance(union, dict):
        return False, None
    for name in (member, *_KNOWN):
        value = union.get(name)
        if value is not None:
            return True, _finite_or_not(value) if name == "doubleValue" else value
    strange = set(union) - {*_KNOWN, "emptyValue", "__type"}
    return not strange, None


def _finite_or_not(value: Any) -> Any:
    """Read the three numbers that JSON has no figure for; AWS writes them as text."""
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
