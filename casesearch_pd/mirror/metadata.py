"""The metadata of a mirror file: its source, its filter, its columns and its syncs.

The file keeps it as one JSON document, from which the schema is rebuilt without the service.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pandas as pd

from casesearch_pd.query.schema import Field, FieldType, Schema
from casesearch_pd.reading.frames.arrow_tables import LIST_TYPES
from casesearch_pd.reading.frames.frame import build_frame
from casesearch_pd.sources.traits import ServiceTraits  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb
    import pyarrow as pa

__all__ = [
    "FORMAT",
    "VIEWS_SQL",
    "MirrorMetadata",
    "StorageForm",
    "StoredColumn",
    "Sync",
    "SyncKind",
    "quote_identifier",
    "read_history",
    "record_sync",
    "sql_type",
    "storage_form",
    "stored_columns",
]

FORMAT = 3
"""The format of the files that are written, and the only one that is read."""

StorageForm = Literal["plain", "lists", "json"]
SyncKind = Literal["full", "increment", "verify"]

_SQL_TYPES = {
    "number": "DOUBLE",
    "integer": "BIGINT",
    "boolean": "BOOLEAN",
    "datetime": "TIMESTAMPTZ",
}
_SYNC_COLUMNS = (
    "number BIGINT, kind VARCHAR, as_of TIMESTAMPTZ, rows BIGINT, added BIGINT, changed BIGINT, "
    "removed BIGINT, requests BIGINT, seconds DOUBLE"
)
_FIELDS_SQL = """
    SELECT unnest(range(len(columns))) AS position, unnest(columns) AS item FROM (
        SELECT from_json(document -> '$.columns', '[{"name": "VARCHAR", "field": {
            "id": "VARCHAR", "label": "VARCHAR", "type": "VARCHAR", "namespace": "VARCHAR",
            "active": "BOOLEAN",
            "options": [{"value": "VARCHAR", "label": "VARCHAR", "active": "BOOLEAN"}]
        }}]') AS columns FROM metadata)
"""
VIEWS_SQL = f"""
    CREATE VIEW cases AS FROM mirror.cases;
    CREATE VIEW metadata AS FROM mirror.metadata;
    CREATE VIEW syncs AS SELECT unnest(syncs, recursive := true) FROM metadata;
    CREATE VIEW fields AS SELECT position, item.name AS name, item.field.id AS id,
        item.field.label AS label, item.field.type AS type, item.field.namespace AS namespace,
        item.field.active AS active FROM ({_FIELDS_SQL}) WHERE item.name <> '';
    CREATE VIEW options AS SELECT field, unnest(options, recursive := true) FROM (
        SELECT item.name AS field, item.field.options AS options FROM ({_FIELDS_SQL})
        WHERE item.name <> '')
"""
"""What SQL reads: the tables of the file, and views of its metadata, which are not in the file."""


class StoredColumn(msgspec.Struct, frozen=True):
    """A field and the column of the table ``cases`` that stores it."""

    field: Field  # with the type of the stored values
    name: str  # in SQL; empty if the service never shows the field
    form: StorageForm = "plain"  # or lists of text, or JSON text (for lists of other values)


class MirrorMetadata(msgspec.Struct, frozen=True, dict=True):
    """The metadata of a mirror."""

    source: dict[str, Any]  # the description of the mirrored source
    traits: ServiceTraits
    filter: dict[str, Any]  # as in provenance
    selection: list[str] | None  # ids of the selected fields; None for every active field
    tz: str  # of naive times in the filter
    columns: list[StoredColumn]
    shared: dict[str, tuple[str, ...]]  # names of several fields, with the columns they could mean
    as_of: str  # the service's clock at the start of the last sync, in ISO 8601
    now: str  # the time from which relative times were counted, in ISO 8601
    rows: int

    @cached_property
    def schema(self) -> Schema:
        """The fields of the mirror as a source's schema."""
        return Schema(
            tuple(column.field for column in self.columns),
            self.shared,
            closed_status=self.traits.closed_status,
        )

    @cached_property
    def by_column(self) -> dict[str, StoredColumn]:
        """The stored columns by the names of their columns in frames."""
        return {column.field.column: column for column in self.columns if column.name}

    @cached_property
    def by_id(self) -> dict[str, StoredColumn]:
        """The stored columns by the ids of their fields."""
        return {column.field.id: column for column in self.columns if column.name}

    @cached_property
    def synced_at(self) -> pd.Timestamp:
        """The service's clock at the start of the last sync."""
        return pd.Timestamp(self.as_of)

    def to_json(self) -> str:
        """Return the JSON document of the file."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> MirrorMetadata:
        """Return the metadata of a JSON document; raise msgspec.DecodeError if it is another."""
        return msgspec.json.decode(text, type=cls)


@dataclass(frozen=True)
class Sync:
    """The result of a sync.

    Parameters
    ----------
    number
        1 for the first sync of a mirror.
    kind
        ``"full"`` if all cases were read: in the first sync, and where the service cannot be
        queried for changes; ``"increment"`` if only changes were read; ``"verify"`` if the
        mirror was also compared with the service.
    as_of
        The service's clock at its start; the next sync reads what was updated since.
    rows
        The number of cases in the mirror afterwards.
    added
        The number of new cases.
    changed
        The number of cases of which a different version was read.
    removed
        The number of cases that no longer match, or were deleted.
    requests
        The number of requests sent, without discovery.
    seconds
        How long it took, in seconds.
    """

    number: int
    kind: SyncKind
    as_of: pd.Timestamp
    rows: int
    added: int
    changed: int
    removed: int
    requests: int
    seconds: float


def sql_type(column: StoredColumn) -> str:
    """Return the SQL type of a column.

    >>> sql_type(StoredColumn(Field("tags", "tags", "Tags", "list"), "tags", "lists"))
    'VARCHAR[]'
    """
    if column.form == "lists":
        return "VARCHAR[]"
    return _SQL_TYPES.get(column.field.type, "VARCHAR") if column.form == "plain" else "VARCHAR"


def storage_form(kind: FieldType) -> StorageForm:
    """Return the form in which regular values of a type are stored."""
    if kind in LIST_TYPES:
        return "lists"
    return "json" if kind == "json" else "plain"


def stored_columns(fields: Iterable[tuple[Field, StorageForm]]) -> list[StoredColumn]:
    """Return a column for each field; in SQL, names that differ only in case are the same name.

    >>> fields = [(Field(name, name, name, "text"), "plain") for name in ("note", "Note")]
    >>> [column.name for column in stored_columns(fields)]
    ['note', 'Note_2']
    """
    used: Counter[str] = Counter()
    return [
        StoredColumn(field, _unused_name(field.column, used) if field.visible else "", form)
        for field, form in fields
    ]


def _unused_name(column: str, used: Counter[str]) -> str:
    name, number = column, 1
    while name.casefold() in used:
        number += 1
        name = f"{column}_{number}"
    used[name.casefold()] += 1
    return name


def quote_identifier(name: str) -> str:
    """Return a name as an SQL identifier.

    >>> quote_identifier('the "best" one')
    '"the ""best"" one"'
    """
    return '"' + name.replace('"', '""') + '"'


def record_sync(
    connection: duckdb.DuckDBPyConnection, metadata: MirrorMetadata, sync: Sync
) -> None:
    """Write the metadata of the new file, with this sync after those of the old file."""
    previous = "[]" if sync.number == 1 else "(SELECT syncs FROM old.metadata)"
    values = vars(sync) | {"as_of": sync.as_of.to_pydatetime()}
    struct = ", ".join(f"{name} := ?" for name in values)
    # One row holds it all: each table of a few rows takes a block of the file.
    columns = f"format INTEGER, document VARCHAR, syncs STRUCT({_SYNC_COLUMNS})[]"
    connection.execute(f"CREATE TABLE new.metadata ({columns})")
    connection.execute(
        f"INSERT INTO new.metadata SELECT ?, ?, list_append({previous}, struct_pack({struct}))",
        [FORMAT, metadata.to_json(), *values.values()],
    )


def read_history(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return one row per sync."""
    table: pa.Table = connection.sql("SELECT * FROM syncs ORDER BY number").to_arrow_table()
    columns = dict(zip(table.column_names, table.columns, strict=True))
    return build_frame(columns, tz="UTC", backend=None)
