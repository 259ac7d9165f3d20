"""What a mirror knows of itself: whose cases it holds, by which question, and under which names.

It is kept in the file as one JSON text, from which the schema is made again without the service.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pandas as pd

from casesearch_pd.query.schema import Field, FieldType, Schema
from casesearch_pd.reading.tables import LISTED

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FORMAT", "About", "Form", "Kept", "form_of", "named", "quoted", "sql_type"]

FORMAT = 1
"""The format of the file; a reader refuses what is above its own."""

Form = Literal["plain", "lists", "json"]

_TYPES = {
    "number": "DOUBLE",
    "integer": "BIGINT",
    "boolean": "BOOLEAN",
    "datetime": "TIMESTAMPTZ",
}


class Kept(msgspec.Struct, frozen=True):
    """One field, and the column of the table ``cases`` that keeps it.

    Parameters
    ----------
    field
        The field, of a type that was settled.
    name
        The column in SQL; empty where the service never shows the field.
    form
        How its cells are kept: as they are, as lists of text, or as JSON text, which holds lists
        of anything.
    """

    field: Field
    name: str
    form: Form = "plain"


class About(msgspec.Struct, frozen=True, dict=True):
    """All that a mirror knows of itself.

    Parameters
    ----------
    source
        What the mirrored source says of itself.
    filter
        The filter that its cases met, as provenance keeps it.
    columns
        The ids of the fields that were asked for; None for every active one.
    tz
        The zone of naive times in the filter.
    kept
        The fields.
    shared
        Bare names that several of them bear.
    as_of
        The service's clock when the last sync began, as ISO 8601 text.
    now
        What relative times counted from then.
    rows
        How many cases there are.
    """

    source: dict[str, Any]
    filter: dict[str, Any]
    columns: list[str] | None
    tz: str
    kept: list[Kept]
    shared: dict[str, tuple[str, ...]]
    as_of: str
    now: str
    rows: int

    @cached_property
    def schema(self) -> Schema:
        """The fields, as a source tells them."""
        return Schema(tuple(one.field for one in self.kept), self.shared)

    @cached_property
    def by_column(self) -> dict[str, Kept]:
        """What is kept of each field, by its column in frames."""
        return {one.field.column: one for one in self.kept if one.name}

    @cached_property
    def moment(self) -> pd.Timestamp:
        """The service's clock when the last sync began."""
        return pd.Timestamp(self.as_of)

    def written(self) -> str:
        """Write it as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str) -> About:
        """Read what was written.

        Raises
        ------
        msgspec.DecodeError
            If it is something else.
        """
        return msgspec.json.decode(text, type=cls)


def sql_type(kept: Kept) -> str:
    """Tell the type of a column in SQL.

    >>> sql_type(Kept(Field("tags", "tags", "Tags", "list"), "tags", "lists"))
    'VARCHAR[]'
    """
    if kept.form == "lists":
        return "VARCHAR[]"
    return _TYPES.get(kept.field.type, "VARCHAR") if kept.form == "plain" else "VARCHAR"


def named(fields: Iterable[tuple[Field, Form]]) -> list[Kept]:
    """Name the columns in SQL, where letter case tells no names apart.

    >>> fields = [Field(name, name, name, "text") for name in ("note", "Note")]
    >>> [one.name for one in named((item, "plain") for item in fields)]
    ['note', 'Note_2']
    """
    taken: Counter[str] = Counter()
    kept = []
    for item, form in fields:
        kept.append(Kept(item, _free(item.column, taken) if item.shown else "", form))
    return kept


def _free(column: str, taken: Counter[str]) -> str:
    name, number = column, 1
    while name.casefold() in taken:
        number += 1
        name = f"{column}_{number}"
    taken[name.casefold()] += 1
    return name


def form_of(kind: FieldType) -> Form:
    """Tell how cells of a type are kept, unless some of them are odd."""
    if kind in LISTED:
        return "lists"
    return "json" if kind == "json" else "plain"


def quoted(name: str) -> str:
    """Write a name in SQL.

    >>> quoted('the "best" one')
    '"the ""best"" one"'
    """
    return '"' + name.replace('"', '""') + '"'
