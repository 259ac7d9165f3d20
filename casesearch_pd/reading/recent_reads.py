"""The recent reads of this session, by which a DataFrame that lost its attributes is recognized.

pandas drops ``DataFrame.attrs`` in merge, in concat and on every way through a file or a
database. The case ids survive all of these, so their hashes are kept for a while, with what was
read. No value of a case is kept.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.util import hash_array

from casesearch_pd.sources.registry import differing_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]

__all__ = ["ChunkedRead", "RecalledReads", "forget_reads", "recall_reads", "remember_read"]

_MAX_READS = 64
_MAX_CASES = 4_000_000  # of all reads together, 8 bytes each
_SLICE = 10_000  # rows that are Python strings at a time
_HASH_KEY = "casesearch_pd 01"  # of 16 bytes, as SipHash requires
_PROBE = 100  # ids that are looked up before all others are hashed

# A `reading.provenance.Provenance`, which is recalled by means of this module and so above it.
Provenance = Any


@dataclass(eq=False)
class _Read:
    """What was read, and the ids of its cases."""

    provenance: Provenance
    hashes: Hashes  # sorted, each once

    def covers(self, hashes: Hashes) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which hashes are those of its cases."""
        if not len(self.hashes):
            return np.zeros(len(hashes), dtype=bool)
        positions = np.searchsorted(self.hashes, hashes)
        covered: np.ndarray[Any, np.dtype[np.bool_]] = (
            self.hashes[np.minimum(positions, len(self.hashes) - 1)] == hashes
        )
        return covered


_reads: deque[_Read] = deque()  # the newest last
_lock = threading.Lock()


# --- remembering --------------------------------------------------------------------------


def remember_read(frame: pd.DataFrame, provenance: Provenance) -> None:
    """Remember a DataFrame that is returned to the user."""
    if "case_id" in frame.columns and len(frame):
        _add(_Read(provenance, _hash_ids(frame["case_id"])))


@dataclass
class ChunkedRead:
    """The chunks of one read, which are remembered as one: there may be many."""

    _read: _Read | None = field(default=None, repr=False)

    def remember(self, chunk: pd.DataFrame, provenance: Provenance) -> None:
        """Remember one more chunk."""
        if "case_id" not in chunk.columns:
            return
        hashes = _hash_ids(chunk["case_id"])
        if self._read is None:
            self._read = _Read(provenance, hashes)
        else:
            rows = (self._read.provenance.rows or 0) + (provenance.rows or 0)
            with _lock:
                self._read.provenance = replace(provenance, rows=rows)
                self._read.hashes = np.union1d(self._read.hashes, hashes)
        _add(self._read)

    def end(self) -> None:
        """Note that all chunks were delivered: together they are the whole result."""
        if self._read is not None:
            self._read.provenance = replace(self._read.provenance, is_chunk=False)


def forget_reads() -> None:
    """Forget all reads of this session."""
    with _lock:
        _reads.clear()


def _add(read: _Read) -> None:
    with _lock:
        if read in _reads:
            _reads.remove(read)
        _reads.append(read)
        while len(_reads) > _MAX_READS or sum(len(one.hashes) for one in _reads) > _MAX_CASES:
            _reads.popleft()


def _hash_ids(ids: pd.Series[Any]) -> Hashes:
    slices = (ids.iloc[start : start + _SLICE] for start in range(0, len(ids), _SLICE))
    hashes = [
        hash_array(part.to_numpy(dtype=object), hash_key=_HASH_KEY, categorize=False)
        for part in slices
    ]
    return np.unique(np.concatenate(hashes)) if hashes else np.empty(0, dtype=np.uint64)


# --- recalling ----------------------------------------------------------------------------


@dataclass(frozen=True)
class RecalledReads:
    """The reads that the cases of a DataFrame come from."""

    provenances: tuple[Provenance, ...]
    frame_cases: int  # cases in the DataFrame
    read_cases: int  # cases of the reads


def recall_reads(frame: pd.DataFrame) -> RecalledReads | None:
    """Return the reads whose cases a DataFrame has; None if that is not clear.

    All its cases must come from reads of one source. Two services may have the same ids, as the
    emulator's have; then the columns decide.
    """
    with _lock:
        reads = [replace(read) for read in reversed(_reads)]
    if not reads or list(frame.columns).count("case_id") != 1:
        return None
    ids = frame["case_id"].dropna()
    if not len(ids) or pd.api.types.infer_dtype(ids.head(_PROBE)) not in {"string", "categorical"}:
        return None
    if isinstance(ids.dtype, pd.CategoricalDtype):
        ids = ids.astype(object)
    # Of two reads of the same cases, the one is meant whose columns the frame has.
    reads = sorted(
        (read for read in reads if _is_similar(read, frame)),
        key=lambda read: -len(_shared_columns(read, frame)),
    )
    if not _made_of(reads, _hash_ids(ids.head(_PROBE))):
        return None
    hashes = _hash_ids(ids)
    groups = [parts for group in _by_source(reads) if (parts := _made_of(group, hashes))]
    best = _best_match(groups, frame)
    if best is None:
        return None
    cases = reduce(np.union1d, [read.hashes for read in best])
    return RecalledReads(tuple(read.provenance for read in reversed(best)), len(hashes), len(cases))


def _is_similar(read: _Read, frame: pd.DataFrame) -> bool:
    """Return whether a DataFrame has more of a read than its ids, if there was more."""
    return len(read.provenance.columns) == 1 or len(_shared_columns(read, frame)) > 1


def _shared_columns(read: _Read, frame: pd.DataFrame) -> set[str]:
    return {name for name in read.provenance.columns if name in frame.columns}


def _by_source(reads: Sequence[_Read]) -> list[list[_Read]]:
    groups: list[list[_Read]] = []
    for read in reads:
        source = read.provenance.source
        for group in groups:
            if differing_key(group[0].provenance.source, source) is None:
                group.append(read)
                break
        else:
            groups.append([read])
    return groups


def _made_of(reads: Sequence[_Read], hashes: Hashes) -> list[_Read]:
    """Return the first reads that have all the cases; empty if none have."""
    # pd.concat keeps whole reads, and a filter or an inner join a part of one.
    inside = [read for read in reads if _is_inside(read, hashes)]
    single = [read for read in reads if read.covers(hashes).all()]
    return _cover(inside, hashes) or single[:1] or _cover(reads, hashes)


def _is_inside(read: _Read, hashes: Hashes) -> bool:
    return len(read.hashes) <= len(hashes) and bool(np.isin(read.hashes, hashes).all())


def _cover(reads: Sequence[_Read], hashes: Hashes) -> list[_Read]:
    """Return reads, one after the other, until they have all cases; empty if they have not."""
    used, rest = [], hashes
    for read in reads:
        covered = read.covers(rest)
        if covered.any():
            used.append(read)
            rest = rest[~covered]
        if not len(rest):
            return used
    return []


def _best_match(groups: list[list[_Read]], frame: pd.DataFrame) -> list[_Read] | None:
    """Return the reads of the one source that has all the columns in question; None if unclear."""
    columns = [
        {name for read in group for name in _shared_columns(read, frame)} for group in groups
    ]
    for group, own in zip(groups, columns, strict=True):
        if all(other is own or other < own for other in columns):
            return group
    return None
