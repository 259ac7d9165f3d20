"""What was read, when and how completely: one JSON text that travels with the frame.

It is text because pandas copies ``attrs`` deeply at every step, and because text survives
Parquet and pickle. Nothing in it is secret.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pandas.util import hash_array

from casesearch_pd.query.serialization import filter_to_json

if TYPE_CHECKING:
    import pandas as pd

    from casesearch_pd.query.schema import Schema
    from casesearch_pd.reading.plan import Query
    from casesearch_pd.sources.base import Source
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = [
    "KEY",
    "ReadMetadata",
    "combine_digests",
    "digest_ids",
    "read_provenance",
    "write_provenance",
]

KEY = "casesearch"
_FORMAT = 1


@dataclass
class ReadMetadata:
    """What a read has to tell of itself.

    Parameters
    ----------
    rows
        How many rows the frame has.
    total
        How many cases matched, where the service counts.
    as_of
        The service's clock when the read began.
    passes
        How many walks over the result it took.
    complete
        Whether every case is there.
    notes
        What a reader should know besides.
    new_fields
        Column to id of the fields that no schema told.
    is_chunk
        Whether these are some of the rows only: a chunk of a stream.
    """

    rows: int = 0
    total: int | None = None
    as_of: pd.Timestamp | None = None
    passes: int = 0
    complete: bool = True
    notes: list[str] = field(default_factory=list)
    new_fields: dict[str, str] = field(default_factory=dict)
    is_chunk: bool = False


def write_provenance(
    frame: pd.DataFrame,
    source: Source,
    query: Query,
    told: ReadMetadata,
    run: ReadContext,
    *,
    ids: str,
    tz: str,
) -> pd.DataFrame:
    """Write provenance into ``frame.attrs``."""
    said = {
        "format": _FORMAT,
        "source": source.describe(),
        "filter": filter_to_json(query.filter),
        "search": query.search,
        "tz": tz,
        "columns": {item.column: item.id for item in query.columns} | told.new_fields,
        "remote_only": _unseen(source.schema),
        "sort": [("-" if item.descending else "") + item.field.column for item in query.sort],
        "limit": query.limit,
        "now": query.now.isoformat(),
        "part": told.is_chunk,
        "rows": told.rows,
        "total": told.total,
        "requests": run.requests,
        "passes": told.passes,
        "complete": told.complete,
        "as_of": None if told.as_of is None else told.as_of.isoformat(),
        "notes": told.notes,
        "ids": ids,
    }
    frame.attrs[KEY] = json.dumps(said, ensure_ascii=False)
    return frame


def _unseen(schema: Schema) -> dict[str, str]:
    """Name what only the service can compare: whole fields, or values that begin in some way."""
    return {
        item.column: item.remote_only
        for item in schema.fields
        if item.remote_only or not item.visible
    }


def digest_ids(ids: pd.Series[Any]) -> str:
    """Fingerprint a set of case ids, whatever their order.

    It is two sums of keyed 64-bit hashes (SipHash, which pandas promises to be the same
    everywhere), so that the fingerprints of parts `combine_digests` are the fingerprint of the whole.
    """
    total = [0, 0]
    for at in range(0, len(ids), _SLICE):  # texts of Python are much larger than those of a frame
        held = ids.iloc[at : at + _SLICE].to_numpy(dtype=object)
        for half, key in enumerate(_KEYS):
            total[half] += int(hash_array(held, hash_key=key, categorize=False).sum())
    return "".join(f"{one % 2**64:016x}" for one in total)


def combine_digests(one: str, other: str) -> str:
    """Add the fingerprints of two sets of ids that have none in common."""
    halves = zip(_halves(one), _halves(other), strict=True)
    return "".join(f"{(a + b) % 2**64:016x}" for a, b in halves)


def _halves(told: str) -> tuple[int, int]:
    return int(told[:16], 16), int(told[16:], 16)


_SLICE = 10_000
_KEYS = ("casesearch_pd 01", "casesearch_pd 02")  # of 16 bytes, as SipHash takes them


def read_provenance(frame: pd.DataFrame) -> dict[str, Any]:
    """Read the provenance of a frame; empty if it has none.

    Raises
    ------
    ValueError
        If it is not what this package writes.
    """
    text = frame.attrs.get(KEY)
    if text is None:
        return {}
    try:
        told = json.loads(text)
    except (TypeError, ValueError):
        told = None
    if not isinstance(told, dict):
        raise ValueError(f"attrs[{KEY!r}] is not provenance: {text!r}")  # noqa: TRY004 - so documented
    return told
