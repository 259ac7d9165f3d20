"""Measure a mirror of a million cases and 30 columns: its size, and its reads against plain SQL.

The cases are generated: twenty thousand of the emulator, sampled with new ids, references, times
and texts. They are written by the code of a sync into a folder that is kept, so that a second run
only reads. Each time is the best of several, after a call that does not count; the plain SQL runs
on an open connection and returns the same DataFrame.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

import casesearch_pd as cs
from casesearch_pd.mirror.merge import merge
from casesearch_pd.mirror.metadata import MirrorMetadata, Sync, record_sync
from casesearch_pd.mirror.staging import StagingTable
from casesearch_pd.mirror.storage import writer
from casesearch_pd.query.expressions import FALSE

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.base import Source

COLUMNS = [
    "case_id", "reference", "title", "summary", "template_id", "template", "status", "created_at",
    "updated_at", "closed_at", "sla_at", "assignee", "queue", "tags", "case_reason", "customer_id",
    "created_by", "last_updated_user", "last_reopened_datetime", "priority", "contact_channel",
    "língua", "城市", "order_number", "product_plan", "refund_amount_eur", "weight_kg", "contacts",
    "vip_customer", "callback_due",
]  # fmt: skip
TIMES = [
    "created_at", "updated_at", "closed_at", "sla_at", "last_reopened_datetime", "callback_due",
]  # fmt: skip
WORDS = [
    "order", "refund", "parcel", "missing", "late", "damaged", "invoice", "login", "account",
    "reset", "payment", "card", "address", "change", "cancel", "subscription", "broken", "screen",
    "battery", "customer", "called", "again", "waiting", "answer", "courier", "bank", "transfer",
    "confirmed", "photo", "sent", "warehouse", "stock", "price", "discount", "voucher", "delivery",
    "street", "neighbour", "door", "signed", "name", "wrong", "size", "colour", "return", "label",
    "printed", "agent", "promised", "call", "back", "Monday", "morning", "already", "twice",
    "charged", "statement", "month", "plan", "upgrade", "downgrade", "device", "locked",
]  # fmt: skip
_CHUNK_ROWS = 5_000  # as in a sync


def generate_cases(cases: int) -> tuple[pd.DataFrame, dict[str, Field], Source]:
    """Return cases in the order of their creation, their fields and their source."""
    random = np.random.default_rng(3)
    with cs.LocalCases(cases=20_000, seed=1) as local:
        source = local.connect_cases()
        base = cs.read_cases(source, columns=COLUMNS, progress=False)
        fields = {item.column: item for item in source.schema.fields if item.column in COLUMNS}
    frame = base.iloc[random.integers(0, len(base), cases)].reset_index(drop=True)
    ids = random.bytes(16 * cases)
    frame["case_id"] = _text(
        str(uuid.UUID(bytes=ids[at : at + 16])) for at in range(0, 16 * cases, 16)
    )
    frame["reference"] = _text(f"C{number:08d}" for number in range(cases))
    orders = random.integers(10**9, 10**10, cases).astype(str)
    frame["order_number"] = _text(orders).where(frame["order_number"].notna())
    frame["title"] = frame["title"] + _text(f", order {order}" for order in orders)
    frame["summary"] = _sentences(random, cases).where(frame["summary"].notna())
    earlier = pd.to_timedelta(random.integers(0, 3 * 365 * 86_400_000, cases), unit="ms")
    frame = frame.assign(**{name: frame[name] - earlier.as_unit("us") for name in TIMES})
    return frame.sort_values(["created_at", "case_id"], ignore_index=True), fields, source


def _text(values: Any) -> pd.Series[str]:
    return pd.Series(pa.array(values, pa.large_string()).to_pandas(), dtype="str")


def _sentences(random: np.random.Generator, cases: int) -> pd.Series[str]:
    """Return texts of a few words, with common words more often."""
    shares = 1 / np.arange(1, len(WORDS) + 1)
    words = random.choice(WORDS, (cases, 10), p=shares / shares.sum())
    lengths = random.integers(4, 11, cases)
    return _text(" ".join(row[:end]) for row, end in zip(words, lengths, strict=True))


def write_mirror(path: Path, cases: int) -> float:
    """Write a mirror of generated cases, and pandas' Parquet next to it; return its seconds."""
    frame, fields, source = generate_cases(cases)
    frame.to_parquet(path.with_suffix(".parquet"))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        with writer(Path(folder), None) as connection:
            stage = StagingTable(connection)
            for at in range(0, cases, _CHUNK_ROWS):
                stage.add(frame.iloc[at : at + _CHUNK_ROWS].reset_index(drop=True), fields)
            merged = merge(stage, None, [fields[name] for name in COLUMNS], (FALSE,))
            now = pd.Timestamp.now("UTC").floor("s")
            metadata = MirrorMetadata(
                source=source.describe(),
                traits=source.traits,
                filter={"and": []},
                selection=None,
                tz="UTC",
                columns=merged.columns,
                shared={},
                as_of=now.isoformat(),
                now=now.isoformat(),
                rows=merged.rows,
            )
            record_sync(connection, metadata, Sync(1, "full", now, cases, cases, 0, 0, 0, 0.0))
            connection.execute("CHECKPOINT new; DETACH new")
        (Path(folder) / "new.duckdb").replace(path)
    return time.perf_counter() - started


@dataclass(frozen=True)
class BenchQuery:
    """A query as filters and as SQL."""

    name: str
    filters: dict[str, Any]
    sql: str
    limit: float  # milliseconds


RECENT = "created_at >= TIMESTAMPTZ '{} 00:00:00+00'"
QUERIES = [
    BenchQuery("selective", {"status": "pending", "created_at__gte": "{}"},
             f"status = 'pending' AND {RECENT}", 30),
    BenchQuery("one case", {"case_id": "?"}, "case_id = '?'", 30),
    BenchQuery("some text", {"title__contains": "ORDER 91234"},
             "contains(lower(title), 'order 91234')", 1000),
    BenchQuery("everything", {}, "TRUE", 1000),
]  # fmt: skip
_DTYPES = {
    pa.large_string(): pd.StringDtype(na_value=np.nan),
    pa.float64(): pd.Float64Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def best(call: Callable[[], object], times: int = 5) -> float:
    """Return the shortest time of several calls, in milliseconds, after one that does not count."""
    call()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds) * 1000


def read_by_sql(connection: duckdb.DuckDBPyConnection, condition: str) -> pd.DataFrame:
    """Return the result of SQL in the order and with the dtypes of `read_cases`."""
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    relation = connection.sql(
        f"SELECT {names} FROM cases WHERE {condition} ORDER BY created_at, case_id"
    )
    frame: pd.DataFrame = relation.to_arrow_table().to_pandas(types_mapper=_DTYPES.get)
    return frame


def print_figures(path: Path) -> None:
    """Print the figures of a mirror."""
    mirror, parquet = cs.Mirror(path), path.with_suffix(".parquet")
    size, other = path.stat().st_size, parquet.stat().st_size
    print(f"file {size / 1e6:.1f} MB, pandas' Parquet {other / 1e6:.1f} MB: {size / other:.2f} x")
    newest = mirror.sql(
        "SELECT case_id, created_at FROM cases ORDER BY created_at DESC LIMIT 20000"
    )
    since = f"{newest['created_at'].iloc[-1]:%Y-%m-%d}"
    with duckdb.connect(str(path), read_only=True, config={"arrow_large_buffer_size": True}) as own:
        for query in QUERIES:
            case_id = newest["case_id"].iloc[-1]
            filters = {name: value.replace("{}", since).replace("?", case_id)
                       for name, value in query.filters.items()}  # fmt: skip
            sql = query.sql.replace("{}", since).replace("?", case_id)
            frame, expected = cs.read_cases(mirror, **filters), read_by_sql(own, sql)
            if frame["case_id"].tolist() != expected["case_id"].tolist():
                raise SystemExit(f"{query.name}: {len(frame)} rows and {len(expected)} differ")
            ours = best(lambda filters=filters: cs.read_cases(mirror, **filters))
            plain_sql = best(lambda sql=sql: read_by_sql(own, sql))
            print(
                f"{query.name}: {len(frame):,} rows, {ours:.1f} ms (limit {query.limit:.0f}), "
                f"plain SQL {plain_sql:.1f} ms: {ours / plain_sql:.2f} x (limit 1.3)"
            )
    print(f"count: {best(lambda: cs.count_cases(mirror, status='open')):.1f} ms")


def main() -> None:
    """Write the mirror if there is none, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of the mirror")
    parser.add_argument("--cases", type=int, default=1_000_000)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / f"bench-{args.cases}.duckdb"
    print(
        f"{platform.machine()}, Python {platform.python_version()}, pandas {pd.__version__}, "
        f"pyarrow {pa.__version__}, DuckDB {duckdb.__version__}"
    )
    if not path.exists():
        seconds = write_mirror(path, args.cases)
        print(f"{args.cases:,} cases x {len(COLUMNS)} columns written in {seconds:.1f} s")
    print_figures(path)


if __name__ == "__main__":
    main()
