"""Translation of Amazon Connect's CaseFilter to a condition, and checks of request members.

Limits are those of botocore's service model (connectcases, 2022-10-03); which operator fits which
type follows the flow block "Get case" of the Amazon Connect administrator guide: contains for text,
comparisons for numbers and times, equality for all.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from casesearch_pd.emulator.data.schema import Column, Schema
from casesearch_pd.emulator.data.store import (
    NOTHING,
    SqlValue,
    Store,
    Where,
    all_of,
    any_of,
    negate,
)
from casesearch_pd.emulator.data.values import parse_instant
from casesearch_pd.emulator.options import EmulatorOptions

OPERATORS: Mapping[str, str] = {
    "equalTo": "=",
    "contains": "contains",
    "greaterThan": ">",
    "greaterThanOrEqualTo": ">=",
    "lessThan": "<",
    "lessThanOrEqualTo": "<=",
}
# The member of FieldValueUnion that holds a value of each type.
_UNION = {
    "Text": "stringValue",
    "Url": "stringValue",
    "SingleSelect": "stringValue",
    "DateTime": "stringValue",
    "Number": "doubleValue",
    "Boolean": "booleanValue",
    "User": "userArnValue",
}
_VALUES = {"stringValue", "doubleValue", "booleanValue", "emptyValue", "userArnValue"}
_ORDERED = {"Number", "DateTime"}
_CONTAINS = {"Text", "Url"}
_MAX_MEMBERS = 10
_MAX_STRING_LENGTH = 4100
_MAX_ID_LENGTH = 500
# SQLite's parser has a stack limit that is a little above this nesting.
_MAX_SQL_DEPTH = 24
_TAG_KEY = re.compile(r"[a-zA-Z0-9 _.:/=+\-@]{1,128}")
_TAG_VALUE = re.compile(r"[a-zA-Z0-9 _.:/=+\-@]{0,256}")
_PROFILE = re.compile(r"arn:aws[\w-]*:profile:[\w-]+:\d{12}:domains/[^/]+/profiles/.+")


class InvalidRequest(ValueError):  # noqa: N818 - it becomes a ValidationException on the wire
    """A request that breaks a documented rule; its text is sent to the client."""


def condition(store: Store, body: Any, options: EmulatorOptions) -> Where:
    """Return the condition of a CaseFilter.

    Raises
    ------
    InvalidRequest
        If the service model or the field's type does not allow the filter.
    """
    return _condition(store, body, options, "filter", 1)


def _condition(store: Store, body: Any, options: EmulatorOptions, path: str, level: int) -> Where:
    if level > min(_MAX_SQL_DEPTH, options.filter_depth or _MAX_SQL_DEPTH):
        raise InvalidRequest(f"The filter is nested deeper than {level - 1} levels")
    member, value = union_member(body, {"field", "not", "tag", "andAll", "orAll"}, path)
    match member:
        case "field":
            return _field_condition(store, value, options, f"{path}.field")
        case "tag":
            return _tag_condition(store, value, f"{path}.tag")
        case "not":
            return negate(_condition(store, value, options, f"{path}.not", level + 1))
        case _:
            parts = _conditions(store, value, options, f"{path}.{member}", level)
            return all_of(parts) if member == "andAll" else any_of(parts)


def _conditions(
    store: Store, value: Any, options: EmulatorOptions, path: str, level: int
) -> Sequence[Where]:
    items = parse_list(value, path, maximum=_MAX_MEMBERS)
    return [
        _condition(store, item, options, f"{path}.{number}.member", level + 1)
        for number, item in enumerate(items, 1)
    ]


def _field_condition(store: Store, body: Any, options: EmulatorOptions, path: str) -> Where:
    name, leaf = union_member(body, set(OPERATORS), path)
    path = f"{path}.{name}"
    check_members(leaf, {"id", "value"}, path)
    # The field is looked up before the value: the union's member must fit the type of the field.
    column = find_field(store.schema, leaf.get("id"), f"{path}.id")
    kind, value = union_member(leaf.get("value"), _VALUES, f"{path}.value")
    if kind == "emptyValue":
        return _empty_condition(store, column, name, value, path)
    _check_operator(column, name, options, path)
    operand = _parse_operand(column, kind, value, f"{path}.value")
    return _compare(store, column, OPERATORS[name], operand, options)


def _empty_condition(store: Store, column: Column, operator: str, value: Any, path: str) -> Where:
    check_members(value, set(), f"{path}.value.emptyValue")
    if operator != "equalTo":
        raise InvalidRequest(f"{path}: emptyValue can be used with equalTo only")
    return Where(f"{store.expression(column.name)} IS NULL")


def _check_operator(column: Column, operator: str, options: EmulatorOptions, path: str) -> None:
    kind = column.connect_type
    # Whether text can be compared with greater or less than is not documented.
    ordered = _ORDERED | (_CONTAINS if options.text_ranges else set())
    allowed = {"equalTo": True, "contains": kind in _CONTAINS}.get(operator, kind in ordered)
    if not allowed:
        raise InvalidRequest(f"{path}: {operator} is not supported for fields of type {kind}")


def _parse_operand(column: Column, member: str, value: Any, path: str) -> SqlValue:
    kind = column.connect_type
    if member != _UNION[kind]:
        raise InvalidRequest(f"{path}: a field of type {kind} takes {_UNION[kind]}, not {member}")
    operand = _PARSERS[member](value, f"{path}.{member}")
    if kind == "DateTime":
        return _parse_datetime(str(operand), path)
    if column.connect == "customer_id" and not _PROFILE.fullmatch(str(operand)):
        form = "arn:aws:profile:REGION:ACCOUNT:domains/NAME/profiles/ID"
        raise InvalidRequest(f"{path}: customer_id takes the full customer profile ARN, {form}")
    return operand


def _parse_string(value: Any, path: str) -> str:
    return parse_text(value, path, maximum=_MAX_STRING_LENGTH)


def _parse_double(value: Any, path: str) -> float | int:
    if isinstance(value, str) and value in {"NaN", "Infinity", "-Infinity"}:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{path}: {value!r} is not a number")
    # SQLite binds integers of 64 bits only; a larger one compares as a float.
    return value if abs(value) < 2**63 else float(value)


def _parse_boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{path}: {value!r} is not a boolean")
    return value


_PARSERS: Mapping[str, Callable[[Any, str], SqlValue]] = {
    "stringValue": _parse_string,
    "userArnValue": _parse_string,
    "doubleValue": _parse_double,
    "booleanValue": _parse_boolean,
}


def _parse_datetime(value: str, path: str) -> str:
    try:
        return parse_instant(value)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{path}: {error}") from error


def _compare(
    store: Store, column: Column, operator: str, value: SqlValue, options: EmulatorOptions
) -> Where:
    expression = connect_expression(store, column)
    # SQLite has no NaN: it would be bound as NULL.
    if isinstance(value, float) and math.isnan(value):
        return NOTHING
    # Letter case is ignored here; how equality treats it is an option, as it is not documented.
    if operator == "contains":
        return Where(f"has_text({expression}, ?)", (str(value).casefold(),))
    if operator == "=" and column.connect_type == "Text" and options.text_match != "exact":
        return Where(f"{options.text_match}_equal({expression}, ?)", (str(value).casefold(),))
    return Where(f"{expression} {operator} ?", (value,))


def connect_expression(store: Store, column: Column) -> str:
    """Return the SQL of a column's value on Connect, where a list is one text."""
    expression = store.expression(column.name)
    return f"joined_list({expression})" if column.kind == "list" else expression


def _tag_condition(store: Store, body: Any, path: str) -> Where:
    _, pair = union_member(body, {"equalTo"}, path)
    check_members(pair, {"key", "value"}, f"{path}.equalTo")
    key, value = pair.get("key"), pair.get("value", "")
    if not isinstance(key, str) or not _TAG_KEY.fullmatch(key):
        raise InvalidRequest(f"{path}.equalTo.key: {key!r} is not a tag key")
    if not isinstance(value, str) or not _TAG_VALUE.fullmatch(value):
        raise InvalidRequest(f"{path}.equalTo.value: {value!r} is not a tag value")
    return Where(f"has_tag({store.expression('tags')}, ?, ?)", (key, value))


def find_field(schema: Schema, field_id: Any, path: str) -> Column:
    """Return the column of a field id, or raise InvalidRequest."""
    known_id = parse_text(field_id, path, minimum=1, maximum=_MAX_ID_LENGTH)
    column = schema.by_connect.get(known_id)
    if column is None:
        raise InvalidRequest(f"{path}: there is no field {known_id!r} in this domain")
    return column


def union_member(body: Any, known: set[str], path: str) -> tuple[str, Any]:
    """Return the name and value of the one member that a union has."""
    if not isinstance(body, dict):
        raise InvalidRequest(f"{path}: a structure is needed")
    # A second member is refused even if it is null, which elsewhere counts as absent.
    names = [name for name in body if body[name] is not None]
    if len(names) != 1 or len(body) != 1:
        raise InvalidRequest(f"{path}: exactly one member of {sorted(known)} must be set")
    check_members(body, known, path)
    return names[0], body[names[0]]


def check_members(body: Any, known: set[str], path: str) -> None:
    """Raise InvalidRequest for a value that is no structure or has an unknown member."""
    if not isinstance(body, dict):
        raise InvalidRequest(f"{path}: a structure is needed")
    unknown = sorted(set(body) - known)
    if unknown:
        raise InvalidRequest(f"{path}: unknown member {unknown[0]!r}, not one of {sorted(known)}")


def parse_list(value: Any, path: str, *, maximum: int, minimum: int = 0) -> list[Any]:
    """Return a value that must be a list of an allowed length."""
    if not isinstance(value, list):
        raise InvalidRequest(f"{path}: a list is needed")
    if not minimum <= len(value) <= maximum:
        raise InvalidRequest(f"{path}: {len(value)} members, {minimum} to {maximum} are allowed")
    return value


def parse_text(value: Any, path: str, *, maximum: int, minimum: int = 0) -> str:
    """Return a value that must be text of an allowed length."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{path}: {value!r} is not a string")
    if not minimum <= len(value) <= maximum:
        raise InvalidRequest(f"{path}: length {len(value)}, {minimum} to {maximum} is allowed")
    return value


def parse_page_size(value: Any, path: str, *, maximum: int, default: int) -> int:
    """Return the requested number of results, which must be within its limits."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{path}: {value!r} is not an integer")
    if not 1 <= value <= maximum:
        raise InvalidRequest(f"{path}: {value} is not between 1 and {maximum}")
    return value


def parse_field_ids(value: Any, *, maximum: int, minimum: int = 0) -> list[str]:
    """Return the ids of a list of field identifiers."""
    ids = []
    for number, item in enumerate(parse_list(value, "fields", minimum=minimum, maximum=maximum), 1):
        path = f"fields.{number}.member"
        check_members(item, {"id"}, path)
        ids.append(parse_text(item.get("id"), f"{path}.id", minimum=1, maximum=_MAX_ID_LENGTH))
    return ids
