"""A mirror of a million cases and 30 columns: how large, how quick, against SQL written by hand.

The frame is made: twenty thousand cases of the embedded service, drawn again and again with ids,
references, times and texts of their own. It is written by the code that a sync writes with, and
kept in a folder, so that a second run only reads. Each time is the best of several, after one
that is not counted; the hand-written SQL is run on an open connection and makes the same frame.
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
_PIECE = 5_000  # rows that a sync adds at once


def made(cases: int) -> tuple[pd.DataFrame, dict[str, Field], dict[str, Any]]:
    """Make the cases, in the order of their creation; with the fields and their source."""
    draws = np.random.default_rng(3)
    with cs.LocalCases(cases=20_000, seed=1) as local:
        source = local.connect_cases()
        base = cs.read_cases(source, columns=COLUMNS, progress=False)
        fields = {item.column: item for item in source.schema.fields if item.column in COLUMNS}
        told = source.describe()
    frame = base.iloc[draws.integers(0, len(base), cases)].reset_index(drop=True)
    ids = draws.bytes(16 * cases)
    frame["case_id"] = _text(
        str(uuid.UUID(bytes=ids[at : at + 16])) for at in range(0, 16 * cases, 16)
    )
    frame["reference"] = _text(f"C{number:08d}" for number in range(cases))
    orders = draws.integers(10**9, 10**10, cases).astype(str)
    frame["order_number"] = _text(orders).where(frame["order_number"].notna())
    frame["title"] = frame["title"] + _text(f", order {order}" for order in orders)
    frame["summary"] = _sentences(draws, cases).where(frame["summary"].notna())
    earlier = pd.to_timedelta(draws.integers(0, 3 * 365 * 86_400_000, cases), unit="ms")
    frame = frame.assign(**{name: frame[name] - earlier.as_unit("us") for name in TIMES})
    return frame.sort_values(["created_at", "case_id"], ignore_index=True), fields, told


def _text(values: Any) -> pd.Series[str]:
    return pd.Series(pa.array(values, pa.large_string()).to_pandas(), dtype="str")


def _sentences(draws: np.random.Generator, cases: int) -> pd.Series[str]:
    """Write some words each, common ones more often."""
    shares = 1 / np.arange(1, len(WORDS) + 1)
    drawn = draws.choice(WORDS, (cases, 10), p=shares / shares.sum())
    lengths = draws.integers(4, 11, cases)
    return _text(" ".join(row[:end]) for row, end in zip(drawn, lengths, strict=True))


def fill(path: Path, cases: int) -> float:
    """Write a mirror of made cases, and beside it the Parquet of pandas; tell the seconds."""
    frame, fields, told = made(cases)
    frame.to_parquet(path.with_suffix(".parquet"))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        with writer(Path(work), None) as connection:
            stage = StagingTable(connection)
            for at in range(0, cases, _PIECE):
                stage.add(frame.iloc[at : at + _PIECE].reset_index(drop=True), fields)
            merged = merge(stage, None, [fields[name] for name in COLUMNS], (FALSE,))
            now = pd.Timestamp.now("UTC").floor("s")
            named = (told, {"and": []}, None, "UTC", merged.kept, {})
            about = MirrorMetadata(*named, now.isoformat(), now.isoformat(), merged.rows)
            record_sync(connection, about, Sync(1, "first", now, cases, cases, 0, 0, 0, 0.0))
            connection.execute("CHECKPOINT new; DETACH new")
        (Path(work) / "new.duckdb").replace(path)
    return time.perf_counter() - started


@dataclass(frozen=True)
class Question:
    """A question in both languages."""

    name: str
    asked: dict[str, Any]
    sql: str
    mark: float  # milliseconds


RECENT = "created_at >= TIMESTAMPTZ '{} 00:00:00+00'"
QUESTIONS = [
    Question("selective", {"status": "pending", "created_at__gte": "{}"},
             f"status = 'pending' AND {RECENT}", 30),
    Question("one case", {"case_id": "?"}, "case_id = '?'", 30),
    Question("some text", {"title__contains": "ORDER 91234"},
             "contains(lower(title), 'order 91234')", 1000),
    Question("everything", {}, "TRUE", 1000),
]  # fmt: skip
_DTYPES = {
    pa.large_string(): pd.StringDtype(na_value=np.nan),
    pa.float64(): pd.Float64Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def best(call: Callable[[], object], times: int = 5) -> float:
    """Measure the best of several calls, after one more, in milliseconds."""
    call()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken) * 1000


def by_hand(connection: duckdb.DuckDBPyConnection, condition: str) -> pd.DataFrame:
    """Make the frame of SQL, in the order and with the dtypes that `read_cases` gives."""
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    found = connection.sql(
        f"SELECT {names} FROM cases WHERE {condition} ORDER BY created_at, case_id"
    )
    frame: pd.DataFrame = found.to_arrow_table().to_pandas(types_mapper=_DTYPES.get)
    return frame


def show(path: Path) -> None:
    """Print the figures of a file that is there."""
    mirror, parquet = cs.Mirror(path), path.with_suffix(".parquet")
    size, other = path.stat().st_size, parquet.stat().st_size
    print(f"file {size / 1e6:.1f} MB, pandas' Parquet {other / 1e6:.1f} MB: {size / other:.2f} x")
    some = mirror.sql("SELECT case_id, created_at FROM cases ORDER BY created_at DESC LIMIT 20000")
    since = f"{some['created_at'].iloc[-1]:%Y-%m-%d}"
    with duckdb.connect(str(path), read_only=True, config={"arrow_large_buffer_size": True}) as own:
        for one in QUESTIONS:
            fill_in = some["case_id"].iloc[-1] if "?" in one.sql else since
            asked = {key: str(value).replace("{}", since).replace("?", fill_in)
                     for key, value in one.asked.items()}  # fmt: skip
            sql = one.sql.replace("{}", since).replace("?", fill_in)
            frame, hand = cs.read_cases(mirror, **asked), by_hand(own, sql)
            if frame["case_id"].tolist() != hand["case_id"].tolist():
                raise SystemExit(f"{one.name}: {len(frame)} rows and {len(hand)} differ")
            ours = best(lambda asked=asked: cs.read_cases(mirror, **asked))
            theirs = best(lambda sql=sql: by_hand(own, sql))
            print(
                f"{one.name}: {len(frame):,} rows, {ours:.1f} ms (mark {one.mark:.0f}), "
                f"by hand {theirs:.1f} ms: {ours / theirs:.2f} x (mark 1.3)"
            )
    print(f"count: {best(lambda: cs.count_cases(mirror, status='open')):.1f} ms")


def main() -> None:
    """Make a mirror where none is, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the mirror is, or is to be")
    parser.add_argument("--cases", type=int, default=1_000_000)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    path = given.folder / f"bench-{given.cases}.duckdb"
    print(
        f"{platform.machine()}, Python {platform.python_version()}, pandas {pd.__version__}, "
        f"pyarrow {pa.__version__}, DuckDB {duckdb.__version__}"
    )
    if not path.exists():
        seconds = fill(path, given.cases)
        print(f"{given.cases:,} cases x {len(COLUMNS)} columns written in {seconds:.1f} s")
    show(path)


if __name__ == "__main__":
    main()
