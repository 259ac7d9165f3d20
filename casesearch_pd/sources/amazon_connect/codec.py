"""The wire format of SearchCases: encode filters, decode pages into columns.

Shapes follow botocore's service model ``connectcases/2022-10-03``. A page is decoded by
msgspec into typed structs. A page that does not fit them (a new union member, text instead of a
number, a lone surrogate) is decoded once more as JSON, value by value, so that an invalid value
costs a cell and never a page. Both ways return the same columns.
"""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, assert_never

import msgspec

from casesearch_pd.query.expressions import And, Compare, Expression, Not, Or
from casesearch_pd.sources.amazon_connect.schema import RETURNED_COLUMNS
from casesearch_pd.sources.base import Page
from casesearch_pd.sources.transport.body import count_replaced, parse_json, strip_bom
from casesearch_pd.sources.transport.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from casesearch_pd.query.schema import Field

__all__ = ["decode_page", "decode_parsed", "to_filter", "union_value"]

_MAX_TERMS = 10  # in one andAll or orAll (service model)

_OPERATORS = {
    "eq": "equalTo",
    "contains": "contains",
    "gt": "greaterThan",
    "gte": "greaterThanOrEqualTo",
    "lt": "lessThan",
    "lte": "lessThanOrEqualTo",
}
_MEMBER_BY_TYPE = {
    "number": "doubleValue",
    "integer": "doubleValue",
    "boolean": "booleanValue",
    "user": "userArnValue",
}  # of a field type; every other type travels as text
_MEMBERS = ("stringValue", "userArnValue", "doubleValue", "booleanValue")
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def to_filter(term: Expression) -> dict[str, Any]:
    """Return a filter as JSON; more than ten terms are nested, ten per level."""
    match term:
        case Compare():
            return _comparison(term)
        case Not(inner):
            return {"not": to_filter(inner)}
        case And(terms):
            return _nest("andAll", [to_filter(item) for item in terms])
        case Or(terms):
            return _nest("orAll", [to_filter(item) for item in terms])
        case _:
            assert_never(term)


def _nest(name: str, members: list[dict[str, Any]]) -> dict[str, Any]:
    while len(members) > _MAX_TERMS:
        members = [
            _combine(name, members[start : start + _MAX_TERMS])
            for start in range(0, len(members), _MAX_TERMS)
        ]
    return {name: members}


def _combine(name: str, members: list[dict[str, Any]]) -> dict[str, Any]:
    return members[0] if len(members) == 1 else {name: members}


def _comparison(comparison: Compare) -> dict[str, Any]:
    target = comparison.target
    if target.column == "tags":
        key, _, value = comparison.value.partition("=")
        return {"tag": {"equalTo": {"key": key, "value": value}}}
    if comparison.op == "isna":
        return {"field": {"equalTo": {"id": target.id, "value": {"emptyValue": {}}}}}
    value = (
        format_timestamp(comparison.value, comparison.op)
        if target.type == "datetime"
        else comparison.value
    )
    member = _MEMBER_BY_TYPE.get(target.type, "stringValue")
    return {"field": {_OPERATORS[comparison.op]: {"id": target.id, "value": {member: value}}}}


_Id = TypeVar("_Id")


class _Value(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One union value; a member that is null counts as absent (botocore would lose the page)."""

    stringValue: str | None = None  # noqa: N815 - the wire's spelling, here and below
    doubleValue: int | float | None = None  # noqa: N815
    booleanValue: bool | None = None  # noqa: N815
    userArnValue: str | None = None  # noqa: N815
    emptyValue: dict[str, None] | None = None  # noqa: N815


class _FieldValue(msgspec.Struct, Generic[_Id], gc=False):
    id: _Id
    value: _Value | None = None


class _Case(msgspec.Struct, Generic[_Id], gc=False):
    caseId: str  # noqa: N815
    templateId: str | None = None  # noqa: N815
    fields: list[_FieldValue[_Id]] = []
    tags: dict[str, str | None] | None = None


class _Response(msgspec.Struct, Generic[_Id], gc=False):
    cases: list[_Case[_Id]]
    nextToken: str | None = None  # noqa: N815
    totalCount: int | None = None  # noqa: N815


_DECODER = msgspec.json.Decoder(_Response[str])


@lru_cache(maxsize=16)
def _decoder_of(ids: tuple[str, ...]) -> msgspec.json.Decoder[_Response[str]]:
    """Return a decoder that knows the ids of the fields, so that it creates no text for them."""
    return msgspec.json.Decoder(_Response[Literal[ids]]) if ids else _DECODER  # type: ignore[valid-type]


def decode_page(body: bytes, fields: Sequence[Field], templates: Mapping[str, str]) -> Page:
    """Return the columns of a SearchCases response.

    Raise ValueError if the body is invalid: not JSON, truncated, or without ``cases``.
    """
    body = strip_bom(body)
    response = _try_decode(body, _decoder_of(tuple([item.id for item in fields])))
    if response is None and (response := _try_decode(body, _DECODER)) is None:
        value, replaced = parse_json(body)
        page = decode_parsed(value, fields, templates)
        if replaced:
            page.invalid.update(count_replaced(page.columns, page.cursor))
        return page
    columns = _returned_columns(response.cases, templates)
    _fill_columns(columns, response.cases, fields)
    return Page(len(response.cases), columns, response.nextToken or None, response.totalCount)


def _try_decode(
    body: bytes, decoder: msgspec.json.Decoder[_Response[str]]
) -> _Response[str] | None:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _returned_columns(
    cases: Sequence[_Case[str]], templates: Mapping[str, str]
) -> dict[str, list[Any]]:
    template_ids = [case.templateId for case in cases]
    return {
        "case_id": [case.caseId for case in cases],
        "template_id": template_ids,
        "template": [templates.get(item or "") for item in template_ids],
        "tags": [list(_tags(tuple(case.tags.items()))) if case.tags else [] for case in cases],
    }


@lru_cache(maxsize=1024)  # many cases have the same few tags
def _tags(tags: tuple[tuple[str, str | None], ...]) -> tuple[str, ...]:
    return tuple(sorted(f"{key}={'' if value is None else value}" for key, value in tags))


_GETTERS: dict[str, Callable[[Any], Any]] = {
    kind: attrgetter(member) for kind, member in _MEMBER_BY_TYPE.items()
}


def _fill_columns(
    columns: dict[str, list[Any]], cases: Sequence[_Case[str]], fields: Sequence[Field]
) -> None:
    slots: dict[str, tuple[list[Any], Callable[[Any], Any] | None]] = {}
    for item in fields:
        if item.column not in columns:
            columns[item.column] = [None] * len(cases)
            slots[item.id] = columns[item.column], _GETTERS.get(item.type)
    for row, case in enumerate(cases):
        for field_value in case.fields:
            try:
                column, get = slots[field_value.id]
            except KeyError:
                continue  # not requested
            if (union := field_value.value) is not None:
                value = union.stringValue if get is None else get(union)
                # None if the union is empty, or has another member than expected.
                column[row] = _any_member(union) if value is None else value


def _any_member(union: _Value) -> Any:
    values = (getattr(union, name) for name in _MEMBERS)
    return next((value for value in values if value is not None), None)


def decode_parsed(response: Any, fields: Sequence[Field], templates: Mapping[str, str]) -> Page:
    """Return the columns of a parsed response: JSON values, or what botocore made of them.

    Raise ValueError if the response is invalid.
    """
    if not isinstance(response, dict) or not isinstance(response.get("cases"), list):
        raise ValueError("the response has no list of cases")  # noqa: TRY004 - wire, not a type
    cases = [case for case in response["cases"] if case is not None]
    if not all(isinstance(case, dict) and isinstance(case.get("caseId"), str) for case in cases):
        raise ValueError("the response has a case without a caseId")
    typed: list[_Case[str]] = [
        _Case(case["caseId"], _text(case.get("templateId")), [], _text_tags(case.get("tags")))
        for case in cases
    ]
    cursor = response.get("nextToken") or None
    if cursor is not None and not isinstance(cursor, str):
        raise ValueError("the response's nextToken is not text")
    columns = _returned_columns(typed, templates)
    page = Page(len(cases), columns, cursor, _total(response))
    for item in fields:
        if item.column not in columns:
            columns[item.column] = [None] * page.rows
    requested = {item.id: item for item in fields if item.column not in RETURNED_COLUMNS}
    for row, case in enumerate(cases):
        for entry in _list(case.get("fields")):
            target = requested.get(str(entry.get("id"))) if isinstance(entry, dict) else None
            if target is not None and entry.get("value") is not None:
                _set_cell(page, target, row, entry["value"])
    return page


def _total(response: Mapping[str, Any]) -> int | None:
    total = response.get("totalCount")
    return total if isinstance(total, int) and not isinstance(total, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _text_tags(tags: Any) -> dict[str, str | None]:
    items = tags.items() if isinstance(tags, dict) else ()
    return {str(key): None if value is None else str(value) for key, value in items}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _set_cell(page: Page, target: Field, row: int, union: Any) -> None:
    is_known, value = union_value(union, _MEMBER_BY_TYPE.get(target.type, "stringValue"))
    page.columns[target.column][row] = value
    if not is_known:
        page.invalid[target.column] = page.invalid.get(target.column, 0) + 1


def union_value(union: Any, member: str = "stringValue") -> tuple[bool, Any]:
    """Return whether a union has a known form, and its value: that of `member` if it has one."""
    if not isinstance(union, dict):
        return False, None
    for name in (member, *_MEMBERS):
        value = union.get(name)
        if value is not None:
            return True, _number(value) if name == "doubleValue" else value
    unknown = set(union) - {*_MEMBERS, "emptyValue", "__type"}
    return not unknown, None


def _number(value: Any) -> Any:
    """Return a number; AWS writes NaN and the infinities, which JSON lacks, as text."""
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
