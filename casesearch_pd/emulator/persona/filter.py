"""Translation of the query and sort of Persona's POST /cases/search to a condition and sort keys.

The grammar and its limits are those of Persona's OpenAPI description (2025-12-08). Which of 400 and
422 an invalid request gets is not documented: here 400 is for shape, 422 for meaning.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from casesearch_pd.emulator.data.schema import JSON_KINDS, NUMBER_KINDS, Column
from casesearch_pd.emulator.data.store import (
    SORT_LENGTH,
    SortKey,
    SqlValue,
    Store,
    Where,
    all_of,
    any_of,
    negate,
)
from casesearch_pd.emulator.data.values import parse_date, parse_instant
from casesearch_pd.emulator.options import EmulatorOptions

OPERATORS: Mapping[str, str] = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_MAX_CLAUSES = 20
_MAX_DEPTH = 2
# SQLite's parser has a stack limit that is a little above this nesting.
_MAX_SQL_DEPTH = 24
_LIST_KINDS = frozenset({"list", "choices"})

# Names in predicates → keys in responses, where template and queue are relationships.
_RESPONSE_KEYS: Mapping[str, str] = {
    "template": "relationships.case_template",
    "status": "status",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "resolved_at": "resolved_at",
    "sla_expires_at": "sla_expires_at",
    "assignee": "assignee_id",
    "case_queue": "relationships.case_queue",
    "resolver": "resolver_id",
}
_TIMES = frozenset({"created_at", "updated_at", "resolved_at", "sla_expires_at"})
_USERS = frozenset({"assignee", "resolver"})


@dataclass
class PersonaError(Exception):
    """An error of Persona's OpenAPI description: status, title, details, perhaps a pointer."""

    status: int
    title: str
    details: str = ""
    pointer: str = ""


def bad_request(details: str) -> PersonaError:
    """Return the error for a request of the wrong shape."""
    return PersonaError(400, "Bad Request", details)


def unprocessable(details: str, pointer: str) -> PersonaError:
    """Return the error for a request of the right shape with a meaning that is not allowed."""
    return PersonaError(422, "Unprocessable entity", details, pointer)


@dataclass(frozen=True, slots=True)
class _Attribute:
    """The attribute of a predicate: its SQL, its kind, and whether it is free text, not an id."""

    name: str
    sql: str
    kind: str
    is_free_text: bool = False


def condition(store: Store, query: Any, options: EmulatorOptions) -> Where:
    """Return the condition of a query.

    Raises
    ------
    PersonaError
        400 for the shape, 422 for an attribute, a nesting or a number of clauses not allowed.
    """
    return _condition(store, query, options, "/query", 0)


def _condition(store: Store, clause: Any, options: EmulatorOptions, path: str, level: int) -> Where:
    if not isinstance(clause, dict):
        raise bad_request(f"{path} must be an object")
    names = set(clause)
    if names == {"attribute", "operator", "value"}:
        return _predicate(store, clause, options, path)
    if len(names) != 1 or not names <= {"and", "or", "not"}:
        raise bad_request(f"{path} must be one of: and, or, not, {{attribute, operator, value}}")
    name = names.pop()
    inner = clause[name]
    # The documented depth counts the groups around a predicate, perhaps also `not`.
    below = level + (options.not_is_level or name != "not")
    if below > (options.filter_depth or _MAX_DEPTH) or path.count("/") > 2 * _MAX_SQL_DEPTH:
        raise unprocessable(f"query is nested deeper than {level} levels", path)
    if name == "not":
        return negate(_condition(store, inner, options, f"{path}/not", below))
    parts = _conditions(store, inner, options, f"{path}/{name}", level)
    return all_of(parts) if name == "and" else any_of(parts)


def _conditions(
    store: Store, inner: Any, options: EmulatorOptions, path: str, level: int
) -> Sequence[Where]:
    if not isinstance(inner, list):
        raise bad_request(f"{path} must be an array")
    if not inner:
        raise bad_request(f"{path} must be filled")
    if len(inner) > _MAX_CLAUSES:
        raise unprocessable(f"{path} has {len(inner)} clauses, {_MAX_CLAUSES} are allowed", path)
    return [
        _condition(store, term, options, f"{path}/{number}", level + 1)
        for number, term in enumerate(inner)
    ]


def _predicate(store: Store, leaf: Mapping[str, Any], options: EmulatorOptions, path: str) -> Where:
    value, operator = leaf["value"], leaf["operator"]
    if not isinstance(value, str | int | float):
        raise bad_request(f"{path}/value must be a string, a number or a boolean")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise bad_request(f"{path}/operator must be one of: {', '.join(OPERATORS)}")
    attribute = _attribute(store, leaf["attribute"], f"{path}/attribute")
    operand = _parse_value(attribute, value, f"{path}/value")
    if attribute.kind in _LIST_KINDS and operator == "eq" and options.list_match == "member":
        return Where(f"has_item({attribute.sql}, ?)", (operand,))
    ranged = {"datetime", "date", *NUMBER_KINDS} | ({"text"} if options.text_ranges else set())
    if attribute.kind not in (ranged if operator != "eq" else set(_PARSERS) - _LIST_KINDS):
        raise unprocessable(f"{operator} is not supported for {attribute.name}", f"{path}/operator")
    if attribute.is_free_text and operator == "eq" and options.text_match != "exact":
        return Where(f"{options.text_match}_equal({attribute.sql}, ?)", (str(operand).casefold(),))
    return Where(f"{attribute.sql} {OPERATORS[operator]} ?", (operand,))


def _attribute(store: Store, name: Any, path: str) -> _Attribute:
    if not isinstance(name, str):
        raise bad_request(f"{path} must be a string")
    if name.startswith("fields."):
        return _custom_attribute(store, name, path)
    # Not a member of responses: a case with a resolved_at is resolved.
    if name == "state":
        closed = _column_sql(store, "resolved_at")
        return _Attribute(
            name, f"CASE WHEN {closed} IS NULL THEN 'open' ELSE 'resolved' END", "text"
        )
    if name not in _RESPONSE_KEYS:
        raise unprocessable(f"{name} is not a searchable attribute", path)
    sql = _column_sql(store, _RESPONSE_KEYS[name])
    kind = "datetime" if name in _TIMES else "text"
    # Predicates take the hidden id of a user where responses show an e-mail address.
    expression = f"user_id({sql})" if name in _USERS and sql != "NULL" else sql
    return _Attribute(name, expression, kind, is_free_text=name == "status")


def _column_sql(store: Store, key: str) -> str:
    column = store.schema.by_persona.get(key)
    return "NULL" if column is None else store.expression(column.persona_name)


def _custom_attribute(store: Store, name: str, path: str) -> _Attribute:
    column = store.schema.by_persona.get(name)
    if column is None or not _searchable(column):
        raise unprocessable(f"{name} is not a searchable field of any case template", path)
    kind = column.kind if column.kind in _PARSERS else "text"
    return _Attribute(name, store.expression(column.name), kind, is_free_text=kind == "text")


def _searchable(column: Column) -> bool:
    return column.searchable and column.kind not in JSON_KINDS - _LIST_KINDS


def _parse_value(attribute: _Attribute, value: str | float, path: str) -> SqlValue:
    try:
        return _PARSERS[attribute.kind](value)
    except (ValueError, OverflowError) as error:
        raise unprocessable(f"{attribute.name}: {error}", path) from error


def _parse_text(value: str | float) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")  # noqa: TRY004 - one error for every invalid value
    return value


def _parse_number(value: str | float) -> float | int:
    if isinstance(value, bool | str):
        raise ValueError(f"{value!r} is not a number")  # noqa: TRY004 - one error for every invalid value
    # SQLite binds integers of 64 bits only; a larger one compares as a float.
    return value if abs(value) < 2**63 else float(value)


def _parse_boolean(value: str | float) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not a boolean")  # noqa: TRY004 - one error for every invalid value
    return value


def _parse_time(value: str | float) -> str:
    text = _parse_text(value)
    # A date without a time is midnight UTC.
    if "T" not in text.upper():
        return f"{parse_date(text)}T00:00:00.000"
    return parse_instant(text)


_PARSERS: Mapping[str, Callable[[str | float], SqlValue]] = {
    "text": _parse_text,
    "list": _parse_text,
    "choices": _parse_text,
    "number": _parse_number,
    "integer": _parse_number,
    "boolean": _parse_boolean,
    "datetime": _parse_time,
    "date": lambda value: parse_date(_parse_text(value)),
}


def sort_keys(store: Store, sort: Any, options: EmulatorOptions) -> list[SortKey]:
    """Return the total order of the results; newest first when the request has no sort."""
    case_id = store.key("case_id")
    if sort is None:
        return [store.key("created_at", descending=True), case_id]
    if not isinstance(sort, dict) or set(sort) != {"attribute", "direction"}:
        raise bad_request("sort must be an object of attribute and direction")
    if sort["direction"] not in ("asc", "desc"):
        raise bad_request("sort.direction must be one of: asc, desc")
    attribute = _attribute(store, sort["attribute"], "/sort/attribute")
    if attribute.kind in JSON_KINDS:
        raise unprocessable(f"{attribute.name} cannot be sorted by", "/sort/attribute")
    # No case has a column of the frame for it: all sort values are missing, and equal.
    if attribute.sql == "NULL":
        return [case_id]
    name = attribute.name if attribute.name in {"created_at", "updated_at"} else ""
    key = store.key(
        name,
        expression=_sortable(attribute),
        descending=sort["direction"] == "desc",
        nulls_last=options.nulls_last,
    )
    return [key, case_id]


def _sortable(attribute: _Attribute) -> str:
    return (
        f"substr({attribute.sql}, 1, {SORT_LENGTH})" if attribute.kind == "text" else attribute.sql
    )
