"""Saved forms: a `FormQuery` as a JSON file, unfinished rows included."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as short_repr
from typing import TYPE_CHECKING, Any

import pandas as pd

from casesearch_pd.errors import FilterError
from casesearch_pd.form.model.query import FormQuery
from casesearch_pd.form.model.tree import Group, Rule
from casesearch_pd.query.serialization import value_to_json
from casesearch_pd.reading.atomic import atomic_write, expand

if TYPE_CHECKING:
    import os

    from casesearch_pd.sources.base import Source

__all__ = [
    "load_form",
    "query_from_json",
    "query_to_json",
    "save_form",
    "tree_from_json",
    "tree_to_json",
]

_FORMAT = 1
_OPTIONS = ("search", "tags", "columns", "sort", "limit", "tz")
# Operators whose keys were other words in the first saved forms.
_FORMER_OPERATORS = {"missing": "isna", "there": "notna"}


def save_form(path: str | os.PathLike[str], query: FormQuery, source: Source) -> Path:
    """Write a query and the description of its source to a JSON file, without secrets.

    Raise FilterError if no file can be written there.
    """
    record = query_to_json(query) | {"source": source.describe()}
    with atomic_write(path) as (target, temporary):
        temporary.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return target


def load_form(path: str | os.PathLike[str]) -> FormQuery:
    """Read a query that `save_form` wrote.

    Raise FilterError if there is no such file, or it is not a saved form.
    """
    file = Path(expand(path))
    try:
        record = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise FilterError(f"{str(file)!r} cannot be read ({error}); name a saved form") from error
    except (ValueError, RecursionError) as error:
        raise FilterError(
            f"{str(file)!r} is not a saved form: it is not JSON ({error}); CaseForm.save writes one"
        ) from error
    if isinstance(record, dict):
        # The source is for readers of the file: a form may be loaded for another source.
        record.pop("source", None)
    return query_from_json(record)


def query_to_json(query: FormQuery) -> dict[str, Any]:
    """Return a query as JSON."""
    return {
        "format": _FORMAT,
        "tree": tree_to_json(query.tree),
        "search": query.search,
        "tags": list(query.tags),
        "columns": None if query.columns is None else list(query.columns),
        "sort": list(query.sort),
        "limit": query.limit,
        "tz": query.tz,
    }


def query_from_json(record: object) -> FormQuery:
    """Return the query that `query_to_json` wrote.

    Raise FilterError if it is something else, or was written by a later version.
    """
    if not isinstance(record, Mapping) or "format" not in record:
        raise FilterError("this is not a saved form; CaseForm.save writes one")
    if record["format"] != _FORMAT:
        raise FilterError(
            f"this form was saved in format {short_repr(record['format'])}, and this version reads "
            f"format {_FORMAT}; update casesearch_pd"
        )
    unknown = next((key for key in record if key not in {"format", "tree", *_OPTIONS}), None)
    if unknown is not None:
        raise FilterError(
            f"a saved form has no part {short_repr(unknown)}; CaseForm.save writes one"
        )
    columns = _text_list(record, "columns")
    return FormQuery(
        tree=tree_from_json(record.get("tree")),
        search=_text(record, "search"),
        tags=_text_list(record, "tags") or (),
        columns=columns,
        sort=_text_list(record, "sort") or (),
        limit=_integer(record, "limit"),
        tz=_text(record, "tz") or "UTC",
    )


def _text(record: Mapping[str, Any], name: str) -> str | None:
    value = record.get(name)
    if value is None or isinstance(value, str):
        return value
    raise _option_error(name, value)


def _text_list(record: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise _option_error(name, value)


def _integer(record: Mapping[str, Any], name: str) -> int | None:
    value = record.get(name)
    # JSON true is a Python bool, and so an int.
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise _option_error(name, value)


def _option_error(name: str, value: object) -> FilterError:
    return FilterError(
        f"{name} of a saved form cannot be {short_repr(value)}; CaseForm.save writes a valid one"
    )


def tree_to_json(member: Rule | Group) -> dict[str, Any]:
    """Return a tree as JSON, unfinished rules included.

    >>> rule = Rule("status", "in", ("open",))
    >>> tree_to_json(Group("or", members=(rule,)))["members"][0]["value"]
    ['open']
    """
    if isinstance(member, Rule):
        value = value_to_json(member.value)
        return {"field": member.field, "operator": member.operator, "value": value}
    members = [tree_to_json(item) for item in member.members]
    return {"combinator": member.combinator, "negated": member.negated, "members": members}


def tree_from_json(record: object) -> Group:
    """Return the tree that `tree_to_json` wrote.

    Raise FilterError if it is something else.
    """
    try:
        tree = _member(record)
    except RecursionError as error:
        raise FilterError(
            "this form has too many nested groups to be read; save a form with fewer"
        ) from error
    if isinstance(tree, Rule):
        raise FilterError(f"a saved form begins with a group, not with {short_repr(record)}")
    return tree


def _member(record: object) -> Rule | Group:
    match record:
        case {"field": str(field), "operator": str(operator), "value": value, **rest} if not rest:
            return Rule(field, _FORMER_OPERATORS.get(operator, operator), _value(value))
        case {
            "combinator": "and" | "or" as combinator,
            "negated": bool(negated),
            "members": list(members),
            **rest,
        } if not rest:
            return Group(combinator, negated, tuple(_member(item) for item in members))
        case _:
            raise FilterError(f"this is not a part of a saved form: {short_repr(record)}")


def _value(record: object) -> Any:
    if isinstance(record, list):
        return tuple(_item(item) for item in record)
    return _item(record)


def _item(record: object) -> str | bool | float | pd.Timedelta | None:
    match record:
        case None | str() | bool() | int():
            return record
        case float() if math.isfinite(record):
            return record
        case {"timedelta": str(text)} if _is_duration(text):
            return pd.Timedelta(text)
        case _:
            raise FilterError(f"a saved form cannot have the value {short_repr(record)}")


def _is_duration(text: str) -> bool:
    try:
        return not pd.isna(pd.Timedelta(text))
    except (ValueError, OverflowError):
        return False
