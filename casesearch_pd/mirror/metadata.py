"""What a mirror knows of itself: whose cases it holds, by which question, and under which names.

It is kept in the file as one JSON text, from which the schema is made again without the service.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pandas as pd

from casesearch_pd.query.schema import Field, FieldType, Schema
from casesearch_pd.reading.frames.arrow_tables import LIST_TYPE
from casesearch_pd.reading.frames.frame import build_frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb
    import pyarrow as pa

__all__ = [
    "FORMAT",
    "MirrorMetadata",
    "StorageForm",
    "StoredColumn",
    "Sync",
    "history",
    "quote_identifier",
    "record_sync",
    "sql_type",
    "storage_form",
    "stored_columns",
]

FORMAT = 1
"""The format of the file; a reader refuses what is above its own."""

StorageForm = Literal["plain", "lists", "json"]

_TYPES = {
    "number": "DOUBLE",
    "integer": "BIGINT",
    "boolean": "BOOLEAN",
    "datetime": "TIMESTAMPTZ",
}


class StoredColumn(msgspec.Struct, frozen=True):
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
    form: StorageForm = "plain"


class MirrorMetadata(msgspec.Struct, frozen=True, dict=True):
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
    kept: list[StoredColumn]
    shared: dict[str, tuple[str, ...]]
    as_of: str
    now: str
    rows: int

    @cached_property
    def schema(self) -> Schema:
        """The fields, as a source tells them."""
        return Schema(tuple(one.field for one in self.kept), self.shared)

    @cached_property
    def by_column(self) -> dict[str, StoredColumn]:
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
    def read(cls, text: str) -> MirrorMetadata:
        """Read what was written.

        Raises
        ------
        msgspec.DecodeError
            If it is something else.
        """
        return msgspec.json.decode(text, type=cls)


def sql_type(kept: StoredColumn) -> str:
    """Tell the type of a column in SQL.

    >>> sql_type(Kept(Field("tags", "tags", "Tags", "list"), "tags", "lists"))
    'VARCHAR[]'
    """
    if kept.form == "lists":
        return "VARCHAR[]"
    return _TYPES.get(kept.field.type, "VARCHAR") if kept.form == "plain" else "VARCHAR"


def stored_columns(fields: Iterable[tuple[Field, StorageForm]]) -> list[StoredColumn]:
    """Name the columns in SQL, where letter case tells no names apart.

    >>> fields = [Field(name, name, name, "text") for name in ("note", "Note")]
    >>> [one.name for one in named((item, "plain") for item in fields)]
    ['note', 'Note_2']
    """
    taken: Counter[str] = Counter()
    kept = []
    for item, form in fields:
        kept.append(StoredColumn(item, _free(item.column, taken) if item.visible else "", form))
    return kept


def _free(column: str, taken: Counter[str]) -> str:
    name, number = column, 1
    while name.casefold() in taken:
        number += 1
        name = f"{column}_{number}"
    taken[name.casefold()] += 1
    return name


def storage_form(kind: FieldType) -> StorageForm:
    """Tell how cells of a type are kept, unless some of them are odd."""
    if kind in LIST_TYPE:
        return "lists"
    return "json" if kind == "json" else "plain"


def quote_identifier(name: str) -> str:
    """Write a name in SQL.

    >>> quoted('the "best" one')
    '"the ""best"" one"'
    """
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Sync:
    """What a sync did.

    Parameters
    ----------
    number
        1 for the first.
    kind
        ``"first"``, ``"changes"``, ``"anew"`` where the service cannot tell what changed, with
        ``"+audit"`` where that was asked for.
    as_of
        The service's clock when it began; the next sync asks for what was updated since.
    rows
        Cases in the mirror now.
    added
        Cases that were not there.
    changed
        Cases that were there in another version.
    removed
        Cases that do not match any more, or were deleted.
    requests
        Requests sent, discovery aside.
    seconds
        How long it took.
    """

    number: int
    kind: str
    as_of: pd.Timestamp
    rows: int
    added: int
    changed: int
    removed: int
    requests: int
    seconds: float


_TYPES_history = {
    "int": "BIGINT",
    "str": "VARCHAR",
    "float": "DOUBLE",
    "pd.Timestamp": "TIMESTAMPTZ",
}
_COLUMNS = ", ".join(f"{one.name} {_TYPES_history[str(one.type)]}" for one in fields(Sync))


def record_sync(connection: duckdb.DuckDBPyConnection, about: MirrorMetadata, done: Sync) -> None:
    """Write what the new file knows of itself, and one sync more than the old one knew.

    For this package it is JSON and a list, in one row; for SQL there are views of them. Tables of
    a few rows would each take a block of the file.

    Parameters
    ----------
    connection
        A writer's.
    about
        What it knows.
    done
        The sync.
    """
    before = "[]" if done.number == 1 else "(SELECT syncs FROM old.about)"
    values = [done.as_of.to_pydatetime() if one.name == "as_of" else getattr(done, one.name)
              for one in fields(Sync)]  # fmt: skip
    packed = ", ".join(f"{one.name} := ?" for one in fields(Sync))
    connection.execute(
        f"CREATE TABLE new.about (format INTEGER, told VARCHAR, syncs STRUCT({_COLUMNS})[])"
    )
    connection.execute(
        f"INSERT INTO new.about SELECT ?, ?, list_append({before}, struct_pack({packed}))",
        [FORMAT, about.written(), *values],
    )
    # What is opened under another name has to find its own tables, so they have no prefix.
    connection.execute(f"USE new; {_VIEWS}; USE memory")


_KEPT = """
    SELECT unnest(range(len(kept))) AS position, unnest(kept) AS one FROM (
        SELECT from_json(told -> '$.kept', '[{"name": "VARCHAR", "field": {
            "id": "VARCHAR", "label": "VARCHAR", "type": "VARCHAR", "namespace": "VARCHAR",
            "active": "BOOLEAN",
            "options": [{"value": "VARCHAR", "label": "VARCHAR", "active": "BOOLEAN"}]
        }}]') AS kept FROM about)
"""
_VIEWS = f"""
    CREATE VIEW syncs AS SELECT unnest(syncs, recursive := true) FROM about;
    CREATE VIEW fields AS SELECT position, one.name AS name, one.field.id AS id,
        one.field.label AS label, one.field.type AS type, one.field.namespace AS namespace,
        one.field.active AS active FROM ({_KEPT}) WHERE one.name <> '';
    CREATE VIEW options AS SELECT field, unnest(options, recursive := true) FROM (
        SELECT one.name AS field, one.field.options AS options FROM ({_KEPT}) WHERE one.name <> '')
"""


def history(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Read the history, one row a sync."""
    found: pa.Table = connection.sql("SELECT * FROM syncs ORDER BY number").to_arrow_table()
    columns = dict(zip(found.column_names, found.columns, strict=True))
    return build_frame(columns, tz="UTC", backend=None)
