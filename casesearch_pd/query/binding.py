"""Binding: resolve the names and coerce the values of a filter against a schema.

Binding also reduces what a user may write (``ne``, ``in``, ``between``, periods, None) to the
few comparisons that services and local evaluation know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from casesearch_pd.errors import FilterError, nearest
from casesearch_pd.query.coercion import (
    check_spelling,
    coerce_scalar,
    coerce_time_span,
    is_collection,
    is_missing,
    members_of,
    require_valid_text,
    to_hashable,
    unwrap,
)
from casesearch_pd.query.expressions import (
    And,
    Compare,
    Expression,
    Not,
    Or,
    all_of,
    any_of,
    negate,
)
from casesearch_pd.query.schema import LOOKUPS, lookups_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from casesearch_pd.query.schema import Field, Schema

__all__ = ["BindingContext", "bind", "from_keywords", "from_tags"]


@dataclass(frozen=True)
class BindingContext:
    """What a filter is bound with: the schema, the time zone of naive times, and now (UTC)."""

    schema: Schema
    tz: str
    now: pd.Timestamp


def from_keywords(filters: Mapping[str, object], schema: Schema) -> Expression:
    """Return the filter of ``name=value`` and ``name__lookup=value`` pairs, combined by AND.

    Raise FilterError if a lookup is unknown.
    """
    return all_of(_parse_keyword(name, value, schema) for name, value in filters.items())


def _parse_keyword(name: str, value: object, schema: Schema) -> Expression:
    stem, _, lookup = name.rpartition("__")
    # A full column name takes precedence over a lookup: a field may be labelled "Amount in".
    if schema.find(name) is not None:
        return Compare(name, "eq", to_hashable(name, value))
    if stem and lookup in LOOKUPS:
        return Compare(stem, lookup, to_hashable(name, value))
    field = schema.find(stem)
    # In an open schema any other name would be taken for a field that was not discovered.
    if stem and (field is not None or (schema.open and lookup in _FOREIGN_LOOKUPS)):
        raise _unknown_lookup(stem, lookup, field)
    return Compare(name, "eq", to_hashable(name, value))


# Lookups of other libraries, and what to write instead.
_FOREIGN_LOOKUPS = {
    "isnull": "isna=True for missing values, {}__isna=False for the others",
    "notnull": "isna=False",
    "notna": "isna=False",
    "exact": "eq",
    "iexact": "contains",
    "icontains": "contains",
    "like": "contains",
    "ilike": "contains",
    "startswith": "contains",
    "istartswith": "contains",
    "endswith": "contains",
    "iendswith": "contains",
    "regex": "contains",
    "iregex": "contains",
    "range": "between",
    "ge": "gte",
    "le": "lte",
    "neq": "ne",
    "nin": "ne",
    "after": "gt",
    "before": "lt",
}


def _unknown_lookup(stem: str, lookup: str, field: Field | None) -> FilterError:
    """Return an error with the lookups that there are, and the nearest of them."""
    known = LOOKUPS if field is None else lookups_for(field.type)
    instead = _FOREIGN_LOOKUPS.get(lookup)
    close = [instead] if instead else nearest(lookup, known)
    hint = f"; did you mean {stem}__{close[0].format(stem)}?" if close else ""
    names = ", ".join(f"__{item}" for item in known)
    return FilterError(f"unknown lookup '__{lookup}'{hint} (lookups of {stem!r}: {names})")


def from_tags(tags: Mapping[str, str] | Iterable[str] | str | None, schema: Schema) -> Expression:
    """Return the filter of ``tags=``: a case must have all of them.

    Raise FilterError if the tags of the service have the other form.
    """
    if tags is None:
        return all_of(())
    keyed = schema.resolve("tags").type == "tags"
    if isinstance(tags, Mapping):
        if not keyed:
            raise FilterError(f"tags of this service have no keys; write tags={[*tags.values()]!r}")
        return all_of(
            Compare("tags", "contains", _keyed_tag(key, value)) for key, value in tags.items()
        )
    if not isinstance(tags, str) and not is_collection(tags):
        raise FilterError(f"tags must be a mapping or a list of tags, got {tags!r}")
    texts = [unwrap(tag) for tag in ([tags] if isinstance(tags, str) else members_of(tags))]
    invalid = [tag for tag in texts if not isinstance(tag, str) or not tag]
    if invalid:
        raise FilterError(f"tags must be texts that are not empty, got {invalid[0]!r}")
    without_value = next((tag for tag in texts if keyed and "=" not in tag), None)
    if without_value is not None:
        raise FilterError(
            "tags of this service have a key and a value; write "
            f"tags={{{without_value!r}: 'value'}}"
        )
    return all_of(Compare("tags", "contains", tag) for tag in texts)


def _keyed_tag(key: object, value: object) -> str:
    """Return a tag as text; raise FilterError if key or value is no text."""
    key, value = unwrap(key), unwrap(value)
    if not isinstance(key, str) or not key or "=" in key:
        raise FilterError(f"the key of a tag must be text without '=', got {key!r}")
    if isinstance(value, str):
        return f"{key}={value}"
    if is_collection(value):
        terms = " | ".join(
            f"cs.field('tags').contains({f'{key}={one}'!r})" for one in members_of(value)
        )
        raise FilterError(
            f"tags={{{key!r}: {value!r}}} names several values of one key; for any of them, write "
            f"where={terms or 'None'}"
        )
    if is_missing(value):
        raise FilterError(
            f"tags={{{key!r}: {value!r}}}: no filter finds cases without a key, only those without "
            f"a tag, such as where=~cs.field('tags').contains('{key}=red'), or without any tag: "
            "where=cs.field('tags').isna()"
        )
    raise FilterError(
        f"the value of the tag {key!r} must be text such as {str(value)!r}, got {value!r}"
    )


def bind(expression: Expression, context: BindingContext) -> Expression:
    """Return an expression with resolved names and coerced values.

    Raise FilterError if a name is unknown, a lookup does not fit the field or a value does not fit
    its type.
    """
    match expression:
        case And(terms):
            return all_of([bind(term, context) for term in terms])
        case Or(terms):
            return any_of([bind(term, context) for term in terms])
        case Not(term):
            return negate(bind(term, context))
        case Compare("is_open", op, value) if context.schema.find("is_open") is None:
            return bind(_is_open(op, value, context.schema), context)
        case Compare(str(name), op, value):
            return _compare(context.schema.resolve(name), op, value, context)
        case Compare():
            return expression
        case _:
            assert_never(expression)


def _is_open(op: str, value: Any, schema: Schema) -> Expression:
    """Return the filter that ``is_open`` stands for on this service, not bound yet."""
    value = unwrap(value)
    if op not in {"eq", "ne"} or not isinstance(value, bool):
        raise FilterError(f"is_open must be True or False, got {value!r}; write is_open=True")
    if schema.closed_status is None:
        is_open: Expression = Compare("closed_at", "isna", True)
    else:
        status = schema.resolve("status")
        known = dict.fromkeys((*(option.value for option in status.options), *status.examples))
        closed = [item for item in known if item.casefold() == schema.closed_status.casefold()]
        # A service without options does not show how it spells the status.
        if not closed and not status.options:
            closed = [schema.closed_status]
        is_open = negate(Compare("status", "in", tuple(closed)))
    return is_open if value == (op == "eq") else negate(is_open)


def _compare(field: Field, op: str, value: Any, context: BindingContext) -> Expression:
    if op == "ne":
        return negate(_compare(field, "eq", value, context))
    if op == "in" or (op == "eq" and is_collection(value)):
        return any_of([_bind_equality(field, item, context) for item in _in_values(field, value)])
    _require_lookup(field, op)
    match op:
        case "eq":
            return _bind_equality(field, value, context)
        case "isna":
            return _bind_isna(field, value)
        case "between":
            return _bind_between(field, value, context)
        case "contains":
            return Compare(field, "contains", _require_substring(field, value))
        case _:
            return _bind_order(field, op, value, context)


def _require_lookup(field: Field, op: str) -> None:
    allowed = lookups_for(field.type)
    # Equality with None matches missing values, which fits every type.
    if op not in allowed and not (op == "eq" and "isna" in allowed):
        names = ", ".join(f"__{item}" for item in allowed)
        raise FilterError(f"__{op} does not fit {field.column!r} of type {field.type}; use {names}")


def _in_values(field: Field, value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return value
    if is_collection(value):
        return members_of(value)
    raise FilterError(f"{field.column}__in must be a list, got {value!r}; write [{value!r}]")


def _bind_equality(field: Field, value: Any, context: BindingContext) -> Expression:
    if is_missing(value):
        return Compare(field, "isna", None)
    if "eq" not in lookups_for(field.type):
        if "contains" not in lookups_for(field.type):
            raise FilterError(
                f"{field.column!r} contains JSON, which only {field.column}__isna can filter"
            )
        raise FilterError(
            f"{field.column!r} contains lists; filter by a member: "
            f"{field.column}__contains={value!r}"
        )
    if field.type != "datetime":
        check_spelling(field, value)
        return Compare(field, "eq", coerce_scalar(field, value))
    period = coerce_time_span(field, value, tz=context.tz, now=context.now)
    return all_of([Compare(field, "gte", period.start), Compare(field, "lt", period.end)])


def _bind_isna(field: Field, value: Any) -> Expression:
    if not isinstance(value := unwrap(value), bool):
        raise FilterError(f"{field.column}__isna must be True or False, got {value!r}")
    missing = Compare(field, "isna", None)
    return missing if value else negate(missing)


def _bind_between(field: Field, value: Any, context: BindingContext) -> Expression:
    ends = members_of(value) if is_collection(value) else ()
    if len(ends) != 2:  # noqa: PLR2004 - a pair
        raise FilterError(f"{field.column}__between must be a pair (from, to), got {value!r}")
    lower, upper = (
        _bind_order(field, "gte", ends[0], context),
        _bind_order(field, "lte", ends[1], context),
    )
    if _is_reversed(lower, upper, _bind_order(field, "gte", ends[1], context)):
        raise FilterError(
            f"{field.column}__between is reversed: {ends[0]!r} comes after {ends[1]!r}"
        )
    return all_of([lower, upper])


def _is_reversed(lower: Compare, upper: Compare, upper_start: Compare) -> bool:
    """Return whether a pair is reversed; `upper_start` is the start of the second value's span.

    An instant between two microseconds has an empty span, so ``lower >= upper`` alone does not
    mean that the pair is reversed.
    """
    return bool(lower.value >= upper.value and lower.value > upper_start.value)


def _require_substring(field: Field, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise FilterError(f"{field.column}__contains must be a non-empty text, got {value!r}")
    require_valid_text(field, value)
    return value


def _bind_order(field: Field, op: str, value: Any, context: BindingContext) -> Compare:
    if is_missing(value) or is_collection(value):
        raise FilterError(f"{field.column}__{op} must be a single value, got {value!r}")
    if field.type != "datetime":
        return Compare(field, op, coerce_scalar(field, value))
    period = coerce_time_span(field, value, tz=context.tz, now=context.now)
    # A period has a length: "after March" begins with April.
    match op:
        case "gt":
            return Compare(field, "gte", period.end)
        case "lte":
            return Compare(field, "lt", period.end)
        case _:
            return Compare(field, op, period.start)
