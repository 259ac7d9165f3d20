"""What each sync did: one row of a table in the file, one `Sync` in Python."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from casesearch_pd.reading.frame import build

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

__all__ = ["Sync", "history", "record"]


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


def record(connection: duckdb.DuckDBPyConnection, done: Sync, *, first: bool) -> None:
    """Write the history of a new file: that of the old one, and one sync more."""
    connection.execute(f"CREATE TABLE new.syncs ({_COLUMNS})")
    if not first:
        connection.execute("INSERT INTO new.syncs BY NAME SELECT * FROM old.syncs")
    values: list[Any] = [getattr(done, one.name) for one in fields(Sync)]
    values[2] = done.as_of.to_pydatetime()
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO new.syncs VALUES ({marks})", values)


def history(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Read the history, one row a sync."""
    found: pa.Table = connection.sql("SELECT * FROM syncs ORDER BY number").to_arrow_table()
    columns = dict(zip(found.column_names, found.columns, strict=True))
    return build(columns, tz="UTC", backend=None)
