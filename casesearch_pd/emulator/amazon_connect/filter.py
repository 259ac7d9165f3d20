"""Filters of Amazon Connect Cases: the CaseFilter union of a request body in, a condition out.

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
    negated,
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
_MOST_MEMBERS = 10
_LONGEST_STRING = 4100
_LONGEST_ID = 500
_DEEPEST = 24  # the store's SQL parser ends a little later
_TAG_KEY = re.compile(r"[a-zA-Z0-9 _.:/=+\-@]{1,128}")
_TAG_VALUE = re.compile(r"[a-zA-Z0-9 _.:/=+\-@]{0,256}")
_PROFILE = re.compile(r"arn:aws[\w-]*:profile:[\w-]+:\d{12}:domains/[^/]+/profiles/.+")


class InvalidRequest(ValueError):  # noqa: N818 - it becomes a ValidationException on the wire
    """A request that breaks a documented rule; its text goes back to the client."""


def condition(store: Store, body: Any, choices: EmulatorOptions) -> Where:
    """Return the condition that a CaseFilter states.

    Raises
    ------
    InvalidRequest
        Anything that the service model or the field's type does not allow.
    """
    return _condition(store, body, choices, "filter", 1)


def _condition(store: Store, body: Any, choices: EmulatorOptions, path: str, level: int) -> Where:
    if level > min(_DEEPEST, choices.filter_depth or _DEEPEST):
        raise InvalidRequest(f"The filter is nested deeper than {level - 1} levels")
    member, value = one_member(body, {"field", "not", "tag", "andAll", "orAll"}, path)
    match member:
        case "field":
            return field_condition(store, value, choices, f"{path}.field")
        case "tag":
            return _tag(store, value, f"{path}.tag")
        case "not":
            return negated(_condition(store, value, choices, f"{path}.not", level + 1))
        case _:
            parts = _members(store, value, choices, f"{path}.{member}", level)
            return all_of(parts) if member == "andAll" else any_of(parts)


def _members(
    store: Store, value: Any, choices: EmulatorOptions, path: str, level: int
) -> Sequence[Where]:
    items = listed(value, path, most=_MOST_MEMBERS)
    return [
        _condition(store, item, choices, f"{path}.{number}.member", level + 1)
        for number, item in enumerate(items, 1)
    ]


def field_condition(store: Store, body: Any, choices: EmulatorOptions, path: str) -> Where:
    """Return the condition that a FieldFilter states."""
    name, leaf = one_member(body, set(OPERATORS), path)
    path = f"{path}.{name}"
    members(leaf, {"id", "value"}, path)
    column = known_field(store.schema, leaf.get("id"), f"{path}.id")
    kind, value = one_member(leaf.get("value"), _VALUES, f"{path}.value")
    if kind == "emptyValue":
        return _is_empty(store, column, name, value, path)
    _check_operator(column, name, choices, path)
    wanted = _value(column, kind, value, f"{path}.value")
    return _compare(store, column, OPERATORS[name], wanted, choices)


def _is_empty(store: Store, column: Column, operator: str, value: Any, path: str) -> Where:
    members(value, set(), f"{path}.value.emptyValue")
    if operator != "equalTo":
        raise InvalidRequest(f"{path}: emptyValue can be used with equalTo only")
    return Where(f"{store.expression(column.name)} IS NULL")


def _check_operator(column: Column, operator: str, choices: EmulatorOptions, path: str) -> None:
    kind = column.connect_type
    ordered = _ORDERED | (_CONTAINS if choices.text_ranges else set())
    allowed = {"equalTo": True, "contains": kind in _CONTAINS}.get(operator, kind in ordered)
    if not allowed:
        raise InvalidRequest(f"{path}: {operator} is not supported for fields of type {kind}")


def _value(column: Column, member: str, value: Any, path: str) -> SqlValue:
    kind = column.connect_type
    if member != _UNION[kind]:
        raise InvalidRequest(f"{path}: a field of type {kind} takes {_UNION[kind]}, not {member}")
    parsed: SqlValue = _PARSERS[member](value, f"{path}.{member}")
    if kind == "DateTime":
        return _instant(str(parsed), path)
    if column.connect == "customer_id" and not _PROFILE.fullmatch(str(parsed)):
        form = "arn:aws:profile:REGION:ACCOUNT:domains/NAME/profiles/ID"
        raise InvalidRequest(f"{path}: customer_id takes the full customer profile ARN, {form}")
    return parsed


def _string(value: Any, path: str) -> str:
    return text(value, path, most=_LONGEST_STRING)


def _double(value: Any, path: str) -> float | int:
    if isinstance(value, str) and value in {"NaN", "Infinity", "-Infinity"}:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{path}: {value!r} is not a number")
    return value if abs(value) < 2**63 else float(value)


def _boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{path}: {value!r} is not a boolean")
    return value


_PARSERS: Mapping[str, Callable[[Any, str], SqlValue]] = {
    "stringValue": _string,
    "userArnValue": _string,
    "doubleValue": _double,
    "booleanValue": _boolean,
}


def _instant(value: str, path: str) -> str:
    try:
        return parse_instant(value)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{path}: {error}") from error


def _compare(
    store: Store, column: Column, operator: str, value: SqlValue, choices: EmulatorOptions
) -> Where:
    expression = connect_expression(store, column)
    if isinstance(value, float) and math.isnan(value):
        return NOTHING
    if operator == "contains":
        return Where(f"has_text({expression}, ?)", (str(value).casefold(),))
    if operator == "=" and column.connect_type == "Text" and choices.text_match != "exact":
        return Where(f"{choices.text_match}_equal({expression}, ?)", (str(value).casefold(),))
    return Where(f"{expression} {operator} ?", (value,))


def connect_expression(store: Store, column: Column) -> str:
    """Return the SQL of what Connect shows of a column: lists are shown as one text."""
    expression = store.expression(column.name)
    return f"joined_list({expression})" if column.kind == "list" else expression


def _tag(store: Store, body: Any, path: str) -> Where:
    _, pair = one_member(body, {"equalTo"}, path)
    members(pair, {"key", "value"}, f"{path}.equalTo")
    key, value = pair.get("key"), pair.get("value", "")
    if not isinstance(key, str) or not _TAG_KEY.fullmatch(key):
        raise InvalidRequest(f"{path}.equalTo.key: {key!r} is not a tag key")
    if not isinstance(value, str) or not _TAG_VALUE.fullmatch(value):
        raise InvalidRequest(f"{path}.equalTo.value: {value!r} is not a tag value")
    return Where(f"has_tag({store.expression('tags')}, ?, ?)", (key, value))


def known_field(schema: Schema, field_id: Any, path: str) -> Column:
    """Return the column of a field id, or raise InvalidRequest."""
    wanted = text(field_id, path, least=1, most=_LONGEST_ID)
    column = schema.by_connect.get(wanted)
    if column is None:
        raise InvalidRequest(f"{path}: there is no field {wanted!r} in this domain")
    return column


def one_member(body: Any, known: set[str], path: str) -> tuple[str, Any]:
    """Return the one member that a union has."""
    if not isinstance(body, dict):
        raise InvalidRequest(f"{path}: a structure is needed")
    given = [name for name in body if body[name] is not None]
    if len(given) != 1 or len(body) != 1:
        raise InvalidRequest(f"{path}: exactly one member of {sorted(known)} must be set")
    members(body, known, path)
    return given[0], body[given[0]]


def members(body: Any, known: set[str], path: str) -> None:
    """Refuse what is no structure or has a member that the service model does not."""
    if not isinstance(body, dict):
        raise InvalidRequest(f"{path}: a structure is needed")
    unknown = sorted(set(body) - known)
    if unknown:
        raise InvalidRequest(f"{path}: unknown member {unknown[0]!r}, not one of {sorted(known)}")


def listed(value: Any, path: str, *, most: int, least: int = 0) -> list[Any]:
    """Return a list within its limits."""
    if not isinstance(value, list):
        raise InvalidRequest(f"{path}: a list is needed")
    if not least <= len(value) <= most:
        raise InvalidRequest(f"{path}: {len(value)} members, {least} to {most} are allowed")
    return value


def text(value: Any, path: str, *, most: int, least: int = 0) -> str:
    """Return text within its limits."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{path}: {value!r} is not a string")
    if not least <= len(value) <= most:
        raise InvalidRequest(f"{path}: length {len(value)}, {least} to {most} is allowed")
    return value


def page_size(value: Any, path: str, *, most: int, default: int) -> int:
    """Return the number of results asked for, within its limits."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{path}: {value!r} is not an integer")
    if not 1 <= value <= most:
        raise InvalidRequest(f"{path}: {value} is not between 1 and {most}")
    return value


def field_ids(value: Any, *, most: int, least: int = 0) -> list[str]:
    """Return the ids of a list of field identifiers."""
    found = []
    for number, item in enumerate(listed(value, "fields", least=least, most=most), 1):
        path = f"fields.{number}.member"
        members(item, {"id"}, path)
        found.append(text(item.get("id"), f"{path}.id", least=1, most=_LONGEST_ID))
    return found
