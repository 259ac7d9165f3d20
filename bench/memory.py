"""What reading holds in memory at most: `to_parquet` at any size, and `read_cases` over its frame.

The server is a process of its own (`replay.py`), and each reading is a fresh process, whose
highest resident size is told by the kernel (`ru_maxrss`). The baseline is that of the process
after discovery and after a read of one page, so that all code is loaded and every buffer made.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from clients import connect_columns, connect_source, persona_source
from read import Mark, megabytes, replayed
from replay import PAGE, Served

import casesearch_pd as cs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casesearch_pd.sources.base import Source

_HERE = Path(__file__).resolve()
_SOURCES = {"Connect": connect_source, "Persona": persona_source}
_STREAM = Mark(80, 64)
_FRAME = Mark(1.6, 1.3, cases=1_000_000)


@dataclass(frozen=True)
class Held:
    """What one reading held.

    Parameters
    ----------
    before, peak
        Megabytes of the process at most, up to the read and up to its end.
    frame
        Megabytes of the frame, with the texts in its lists; 0 where none is made.
    rows
        How many cases came.
    """

    before: float
    peak: float
    frame: float
    rows: int


def stream_once(service: str, served: Served) -> Held:
    """Write everything to a file."""
    source, asked = _asked(service, served)
    with tempfile.TemporaryDirectory() as folder:
        cs.to_parquet(source, f"{folder}/warm.parquet", limit=PAGE, **asked)
        gc.collect()
        before = _memory()
        path = cs.to_parquet(source, f"{folder}/cases.parquet", **asked)
        rows = pq.read_metadata(path).num_rows
        return Held(before, _memory(), 0.0, rows)


def frame_once(service: str, served: Served) -> Held:
    """Read everything into a frame."""
    source, asked = _asked(service, served)
    cs.read_cases(source, limit=PAGE, **asked)
    gc.collect()
    before = _memory()
    frame = cs.read_cases(source, **asked)
    peak = _memory()  # before the frame is measured, which takes memory too
    return Held(before, peak, megabytes(frame), len(frame))


def _asked(service: str, served: Served) -> tuple[Source, dict[str, Any]]:
    source = _SOURCES[service](served)
    columns = connect_columns(source, served) if service == "Connect" else None
    return source, {"columns": columns, "progress": False}


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


_READERS = {"to_parquet": stream_once, "read_cases": frame_once}


def held(reader: str, service: str, served: Served) -> Held:
    """Read in a fresh process."""
    command = [sys.executable, _HERE, "--one", reader, service, json.dumps(asdict(served))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    told = Held(**json.loads(done.stdout.splitlines()[-1]))
    if told.rows != served.cases:
        raise SystemExit(f"{reader} on {service}: {told.rows} of {served.cases} cases came")
    return told


def show(cases: int, readers: Sequence[str]) -> None:
    """Print what each reader holds at one size."""
    with replayed(cases) as served:
        for service in _SOURCES:
            for reader in readers:
                print(_said(reader, service, held(reader, service, served)), flush=True)


def _said(reader: str, service: str, told: Held) -> str:
    over = told.peak - told.before
    named = f"{service}, {told.rows:,} cases, {reader}"
    if reader == "to_parquet":
        return f"{named}: {over:.0f} MB over {told.before:.0f} MB; {_STREAM.of(over)}"
    ratio = told.peak / told.frame
    return (
        f"{named}: {told.peak:.0f} MB ({told.before:.0f} MB before the read) "
        f"over a frame of {told.frame:.0f} MB: {ratio:.2f} x "
        f"({over / told.frame:.2f} x without what was there before); "
        f"{_FRAME.of(ratio, told.rows)}"
    )


def main() -> None:
    """Measure, or be one of the readers that are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--readers", nargs="+", choices=list(_READERS), default=list(_READERS))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        reader, service, told = given.one
        served = Served(**json.loads(told))
        print(json.dumps(asdict(_READERS[reader](service, served))))
        return
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, pandas {pd.__version__}, pyarrow {pa.__version__}"
    )
    for cases in sorted(given.cases):
        show(cases, given.readers)


if __name__ == "__main__":
    main()
