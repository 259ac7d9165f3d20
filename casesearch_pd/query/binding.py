"""Keywords and unbound expressions in, one expression bound to a schema out.

Binding resolves every name, coerces every value once, and folds what a user may write
(``ne``, ``in``, ``between``, periods, None) into the few comparisons that services and
frames know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np

from casesearch_pd.errors import FilterError, unknown_name
from casesearch_pd.query.coercion import (
    check_whole,
    coerce_period,
    coerce_scalar,
    is_collection,
    is_missing,
    members,
    to_hashable,
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
from casesearch_pd.query.schema import LOOKUPS, lookups

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from casesearch_pd.query.schema import Field, Schema

__all__ = ["BindingContext", "bind", "from_keywords", "from_tags"]


@dataclass(frozen=True)
class BindingContext:
    """What names and times mean: the schema, the zone of naive times, the moment now (UTC)."""

    schema: Schema
    tz: str
    now: pd.Timestamp


def from_keywords(filters: Mapping[str, object], schema: Schema) -> Expression:
    """Read ``name=value`` and ``name__lookup=value`` pairs, joined by AND.

    Raises
    ------
    FilterError
        If a lookup is unknown.
    """
    return all_of(_keyword(name, value, schema) for name, value in filters.items())


def _keyword(name: str, value: object, schema: Schema) -> Expression:
    stem, _, lookup = name.rpartition("__")
    # A full column name beats a lookup: a custom field may be labelled "Amount in".
    if not stem or schema.find(name) is not None:
        return Compare(name, "eq", to_hashable(name, value))
    if lookup in LOOKUPS:
        return Compare(stem, lookup, to_hashable(name, value))
    if schema.find(stem) is not None:
        raise unknown_name(
            "lookup", f"__{lookup}", [f"__{item}" for item in LOOKUPS], see="the README"
        )
    return Compare(name, "eq", to_hashable(name, value))


def from_tags(tags: Mapping[str, str] | Iterable[str] | str | None, schema: Schema) -> Expression:
    """Read ``tags=``: a case must bear all of them.

    Raises
    ------
    FilterError
        If the source writes its tags in the other form.
    """
    if tags is None:
        return all_of(())
    keyed = schema.resolve("tags").type == "tags"
    if isinstance(tags, Mapping):
        if not keyed:
            raise FilterError(f"tags are plain text here; write tags={[*tags.values()]!r}")
        return all_of(Compare("tags", "contains", f"{key}={value}") for key, value in tags.items())
    if not isinstance(tags, str) and not is_collection(tags):
        raise FilterError(f"tags={tags!r} is no list of tags; write tags=['urgent']")
    listed = [tags] if isinstance(tags, str) else list(tags)
    bare = next((tag for tag in listed if keyed and "=" not in str(tag)), None)
    if bare is not None:
        raise FilterError(f"tags have a key and a value here; write tags={{{bare!r}: 'value'}}")
    return all_of(Compare("tags", "contains", tag) for tag in listed)


def bind(expression: Expression, binding: BindingContext) -> Expression:
    """Resolve names and coerce values.

    Raises
    ------
    FilterError
        If a name is unknown, a lookup does not fit the field or a value does not fit its type.
    """
    match expression:
        case And(terms):
            return all_of([bind(term, binding) for term in terms])
        case Or(terms):
            return any_of([bind(term, binding) for term in terms])
        case Not(term):
            return negate(bind(term, binding))
        case Compare(str(name), op, value):
            return _compare(binding.schema.resolve(name), op, value, binding)
        case Compare():
            return expression
        case _:
            assert_never(expression)


def _compare(field: Field, op: str, value: Any, binding: BindingContext) -> Expression:
    if op == "ne":
        return negate(_compare(field, "eq", value, binding))
    if op == "in" or (op == "eq" and is_collection(value)):
        return any_of([_equal(field, item, binding) for item in _any_of(field, value)])
    _check(field, op)
    match op:
        case "eq":
            return _equal(field, value, binding)
        case "isna":
            return _isna(field, value)
        case "between":
            return _between(field, value, binding)
        case "contains":
            return Compare(field, "contains", _substring(field, value))
        case _:
            return _ordered(field, op, value, binding)


def _check(field: Field, op: str) -> None:
    fitting = lookups(field.type)
    # Equality with None asks for missing values, which fits every type.
    if op not in fitting and not (op == "eq" and "isna" in fitting):
        shown = ", ".join(f"__{item}" for item in fitting)
        raise FilterError(f"__{op} does not fit {field.column!r} of type {field.type}; use {shown}")


def _any_of(field: Field, value: Any) -> tuple[Any, ...]:
    if isinstance(value, tuple):
        return value
    if is_collection(value):
        return members(value)
    raise FilterError(f"{field.column!r} __in takes a list, not {value!r}; write [{value!r}]")


def _equal(field: Field, value: Any, binding: BindingContext) -> Expression:
    if is_missing(value):
        return Compare(field, "isna", None)
    if "eq" not in lookups(field.type):
        if "contains" not in lookups(field.type):
            raise FilterError(
                f"{field.column!r} holds JSON, which only {field.column}__isna can ask for"
            )
        raise FilterError(
            f"{field.column!r} holds lists; ask for a member: {field.column}__contains={value!r}"
        )
    if field.type != "datetime":
        return Compare(field, "eq", coerce_scalar(field, value))
    when = coerce_period(field, value, tz=binding.tz, now=binding.now)
    return all_of([Compare(field, "gte", when.start), Compare(field, "lt", when.end)])


def _isna(field: Field, value: Any) -> Expression:
    if not isinstance(value, (bool, np.bool_)):
        raise FilterError(f"{field.column!r} __isna takes True or False, not {value!r}")
    missing = Compare(field, "isna", None)
    return missing if value else negate(missing)


def _between(field: Field, value: Any, binding: BindingContext) -> Expression:
    ends = members(value) if is_collection(value) else ()
    if len(ends) != 2:  # noqa: PLR2004 - a pair
        raise FilterError(f"{field.column!r} __between takes a pair (from, to), not {value!r}")
    first, last = _ordered(field, "gte", ends[0], binding), _ordered(field, "lte", ends[1], binding)
    if _reversed(first, last, _ordered(field, "gte", ends[1], binding)):
        raise FilterError(
            f"{field.column!r} __between is reversed: {ends[0]!r} comes after {ends[1]!r}"
        )
    return all_of([first, last])


def _reversed(first: Compare, last: Compare, since: Compare) -> bool:
    """Tell whether a pair begins after its end; ``since`` is where its last period begins.

    An instant between two ticks is a period of no length, which may begin where it ends.
    """
    return bool(first.value >= last.value and first.value > since.value)


def _substring(field: Field, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise FilterError(f"{field.column!r} __contains takes some text, not {value!r}")
    check_whole(field, value)
    return value


def _ordered(field: Field, op: str, value: Any, binding: BindingContext) -> Compare:
    if is_missing(value) or is_collection(value):
        raise FilterError(f"{field.column!r} __{op} takes one value, not {value!r}")
    if field.type != "datetime":
        return Compare(field, op, coerce_scalar(field, value))
    when = coerce_period(field, value, tz=binding.tz, now=binding.now)
    # A period is as long as it is: "after March" begins with April.
    match op:
        case "gt":
            return Compare(field, "gte", when.end)
        case "lte":
            return Compare(field, "lt", when.end)
        case _:
            return Compare(field, op, when.start)
