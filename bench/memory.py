"""Measure the peak memory of reads: of `to_parquet`, and of `read_cases` relative to its frame.

The server is a separate process (`replay.py`), and each read is a new process, whose peak resident
size the kernel reports (`ru_maxrss`). The baseline is that of the process after discovery and a
read of one page, so that all code is loaded and every buffer allocated.
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
from read import Target, frame_megabytes, run_replay
from replay import PAGE, ReplayServer

import casesearch_pd as cs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casesearch_pd.sources.base import Source

_HERE = Path(__file__).resolve()
_SOURCES = {"Connect": connect_source, "Persona": persona_source}
_STREAM = Target(80, 64)
_FRAME = Target(1.6, 1.3, cases=1_000_000)


@dataclass(frozen=True)
class Measurement:
    """The memory of one read.

    Parameters
    ----------
    before, peak
        Peak memory of the process in megabytes, up to the start and up to the end of the read.
    frame
        Megabytes of the frame, with the texts in its lists; 0 if there is none.
    rows
        The number of cases.
    """

    before: float
    peak: float
    frame: float
    rows: int


def stream_once(service: str, server: ReplayServer) -> Measurement:
    """Write all cases to a file."""
    source, options = _source(service, server)
    with tempfile.TemporaryDirectory() as folder:
        cs.to_parquet(source, f"{folder}/warm.parquet", limit=PAGE, **options)
        gc.collect()
        before = _memory()
        path = cs.to_parquet(source, f"{folder}/cases.parquet", **options)
        rows = pq.read_metadata(path).num_rows
        return Measurement(before, _memory(), 0.0, rows)


def frame_once(service: str, server: ReplayServer) -> Measurement:
    """Read all cases into a frame."""
    source, options = _source(service, server)
    cs.read_cases(source, limit=PAGE, **options)
    gc.collect()
    before = _memory()
    frame = cs.read_cases(source, **options)
    peak = _memory()  # before its size is computed, which takes memory too
    return Measurement(before, peak, frame_megabytes(frame), len(frame))


def _source(service: str, server: ReplayServer) -> tuple[Source, dict[str, Any]]:
    source = _SOURCES[service](server)
    columns = connect_columns(source, server) if service == "Connect" else None
    return source, {"columns": columns, "progress": False}


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


_READERS = {"to_parquet": stream_once, "read_cases": frame_once}


def measure(reader: str, service: str, server: ReplayServer) -> Measurement:
    """Read in a new process."""
    command = [sys.executable, _HERE, "--one", reader, service, json.dumps(asdict(server))]
    process = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result = Measurement(**json.loads(process.stdout.splitlines()[-1]))
    if result.rows != server.cases:
        raise SystemExit(f"{reader} on {service}: {result.rows} of {server.cases} cases were read")
    return result


def print_figures(cases: int, readers: Sequence[str]) -> None:
    """Print the memory of each reader for one number of cases."""
    with run_replay(cases) as server:
        for service in _SOURCES:
            for reader in readers:
                print(_line(reader, service, measure(reader, service, server)), flush=True)


def _line(reader: str, service: str, result: Measurement) -> str:
    increase = result.peak - result.before
    title = f"{service}, {result.rows:,} cases, {reader}"
    if reader == "to_parquet":
        verdict = _STREAM.verdict(increase)
        return f"{title}: {increase:.0f} MB more than {result.before:.0f} MB; {verdict}"
    ratio = result.peak / result.frame
    return (
        f"{title}: {result.peak:.0f} MB ({result.before:.0f} MB before the read) "
        f"for a frame of {result.frame:.0f} MB: {ratio:.2f} x "
        f"({increase / result.frame:.2f} x without the memory before it); "
        f"{_FRAME.verdict(ratio, result.rows)}"
    )


def main() -> None:
    """Measure all readers, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--readers", nargs="+", choices=list(_READERS), default=list(_READERS))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        reader, service, info = args.one
        server = ReplayServer(**json.loads(info))
        print(json.dumps(asdict(_READERS[reader](service, server))))
        return
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, pandas {pd.__version__}, pyarrow {pa.__version__}"
    )
    for cases in sorted(args.cases):
        print_figures(cases, args.readers)


if __name__ == "__main__":
    main()
