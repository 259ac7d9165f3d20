"""What a file knows of itself besides the cases: whose they are, and what each sync did."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from casesearch_pd.mirror.about import FORMAT
from casesearch_pd.reading.frame import build

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

    from casesearch_pd.mirror.about import About

__all__ = ["Sync", "conclude", "history"]


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


_TYPES = {"int": "BIGINT", "str": "VARCHAR", "float": "DOUBLE", "pd.Timestamp": "TIMESTAMPTZ"}
_COLUMNS = ", ".join(f"{one.name} {_TYPES[str(one.type)]}" for one in fields(Sync))


def conclude(connection: duckdb.DuckDBPyConnection, about: About, done: Sync) -> None:
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
    return build(columns, tz="UTC", backend=None)
