"""A frame's provenance and the time that has passed in, out what may differ from it by now.

A case may have come to match, or not to match any more, because it was updated, or because its
time has passed a bound that is relative to now. Each of these ways is a `Touch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.query.expr import TRUE, And, Compare, Expression, all_of, fields_of, literals
from casesearch_pd.query.filters import Binding, bind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.reading.plan import Query

__all__ = ["Then", "Touch", "touches", "updated_since"]

_TICK = pd.Timedelta(1, "ms")


@dataclass(frozen=True)
class Then:
    """When a frame was read, and how it tells times.

    Parameters
    ----------
    since
        The service's clock then, less what its search may lag behind; UTC.
    now
        What relative times counted from; UTC.
    tz
        The zone of naive times.
    """

    since: pd.Timestamp
    now: pd.Timestamp
    tz: str


@dataclass(frozen=True)
class Touch:
    """One way in which a case may have come to match, or not to match any more.

    Parameters
    ----------
    where
        The cases that it concerns.
    leaves
        Whether the service has to be asked who of them does not match any more.
    enters
        Whether it has to be asked who of them matches.
    stays
        What tells here which cases still match; TRUE if the service has to tell.
    """

    where: Expression
    leaves: bool = True
    enters: bool = True
    stays: Expression = TRUE


def touches(
    query: Query, schema: Schema, then: Then, columns: Collection[str]
) -> tuple[Touch, ...]:
    """List the ways, each once.

    Parameters
    ----------
    query
        What the frame was read by, bound anew.
    schema
        The fields of the source.
    then
        When it was read.
    columns
        The columns of the frame.
    """
    updated = Touch(updated_since(schema.resolve("updated_at"), then), leaves=query.where != TRUE)
    passed = [
        _passed(query, Binding(schema, then.tz, query.now), then.now, literal, length)
        for literal in literals(query.filter)
        for length in _relative(literal.value)
    ]
    told = (touch if _sees(touch, columns) else Touch(touch.where) for touch in passed)
    return tuple(dict.fromkeys([updated, *told]))


def updated_since(updated: Field, then: Then) -> Compare:
    """Ask for what was updated since a frame was read."""
    return Compare(updated, "gte", _tick(then.since))


def _tick(moment: pd.Timestamp) -> pd.Timestamp:
    return moment.floor("ms").as_unit("us")  # what is finer, no wire can say


def _relative(value: Any) -> Iterator[timedelta]:
    """List the lengths of time that a comparison counts from now."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, timedelta):
            yield item


def _passed(
    query: Query, binding: Binding, then: pd.Timestamp, literal: Compare, length: timedelta
) -> Touch:
    """Tell what a bound that is relative to now has passed since the frame was read."""
    target = binding.schema.resolve(str(literal.field))
    start, end = sorted((then + length, query.now + length))
    first, last = _tick(start), _tick(end) + _TICK
    where = all_of([Compare(target, "gte", first), Compare(target, "lte", last)])
    terms = query.filter.terms if isinstance(query.filter, And) else (query.filter,)
    if literal not in terms:
        return Touch(where)
    # Every row has to meet it, so the frame tells who still does. As time goes by, nobody comes
    # to be later than a bound.
    enters = literal.op not in {"gt", "gte"} or query.now < then
    return Touch(where, leaves=False, enters=enters, stays=bind(literal, binding))


def _sees(touch: Touch, columns: Collection[str]) -> bool:
    return all(item.column in columns for item in fields_of(touch.stays))
