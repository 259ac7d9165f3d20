"""Compare `to_dask` with `read_cases`: the time from the call to the complete DataFrame.

The server is a separate process (`replay.py`) with a fixed latency, and each read is a new process.
The readers take turns, and medians are printed. Imports, discovery and the start of a cluster are
not measured; the first task of a worker, which imports this package, is. With a rate limit the
seconds are those of the limit, as with a real service; without one they are those of this machine.
All readers must return the same cells.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from clients import connect_columns
from read import frame_digest, run_replay
from replay import ReplayServer

import casesearch_pd as cs
from casesearch_pd.sources.base import Source

_HERE = Path(__file__).resolve()
_LATENCY = 0.05  # seconds
_MAX_RATIO = 1.2  # to read_cases
_BASELINE = "read_cases"
_MANY = 4  # partitions
_KEYS = {"AWS_ACCESS_KEY_ID": "BENCH", "AWS_SECRET_ACCESS_KEY": "bench"}

Read = Callable[[Source, list[str] | None], pd.DataFrame]


@dataclass(frozen=True)
class Measurement:
    """The seconds of one read, on the clock and of this process, and the digest of its cells."""

    wall: float
    cpu: float
    cells: str


# --- the readers --------------------------------------------------------------------------


@contextmanager
def without_dask() -> Iterator[Read]:
    """Read without Dask."""
    yield lambda source, columns: cs.read_cases(source, columns=columns, progress=False)


@contextmanager
def threads(npartitions: int | None = None) -> Iterator[Read]:
    """Read on the threads of this process."""
    import dask.dataframe  # noqa: F401, PLC0415 - not measured, and optional

    yield lambda source, columns: cs.to_dask(
        source, columns=columns, npartitions=npartitions
    ).compute(scheduler="threads")


@contextmanager
def processes() -> Iterator[Read]:
    """Read in two processes, which share the rate."""
    from distributed import Client, LocalCluster  # noqa: PLC0415 - optional

    with ExitStack() as stack:
        cluster = LocalCluster(2, threads_per_worker=1, dashboard_address=":0", silence_logs=50)
        client = stack.enter_context(Client(stack.enter_context(cluster)))
        yield lambda source, columns: cs.to_dask(source, columns=columns).compute(scheduler=client)


READERS = {
    _BASELINE: without_dask,
    "to_dask, threads": threads,
    f"to_dask, threads, {_MANY} partitions": lambda: threads(_MANY),
    "to_dask, 2 processes": processes,
}


def read_once(service: str, reader: str, server: ReplayServer, rate: float) -> Measurement:
    """Read all cases once."""
    os.environ.update(_KEYS, PERSONA_API_KEY=server.token)
    source, columns = _source(service, server, rate)
    with READERS[reader]() as read:
        wall, cpu = time.perf_counter(), time.process_time()
        frame = read(source, columns)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Measurement(wall, cpu, frame_digest(frame.sort_values("case_id", ignore_index=True)))


def _source(service: str, server: ReplayServer, rate: float) -> tuple[Source, list[str] | None]:
    if service == "Connect":
        source = cs.ConnectCases(
            server.domain_id, region_name="us-east-1", endpoint_url=server.url, rate=rate
        )
        return source, connect_columns(source, server)
    source = cs.PersonaCases(base_url=f"{server.url}/api/v1", rate=rate)
    source.schema  # noqa: B018 - discovered now, so that it is not measured
    return source, None


# --- measuring ----------------------------------------------------------------------------


def print_figures(service: str, server: ReplayServer, rate: float, rounds: int) -> None:
    """Print the time of each reader, and its ratio to `read_cases`."""
    measurements: dict[str, list[Measurement]] = {reader: [] for reader in READERS}
    for _ in range(rounds):
        for reader, results in measurements.items():
            results.append(_read_in_process(service, reader, server, rate))
    if len({item.cells for results in measurements.values() for item in results}) > 1:
        raise SystemExit(f"{service}: the readers return different cells: {measurements}")
    limit = "no rate limit" if math.isinf(rate) else f"{rate:g} requests per second"
    print(f"\n{service}, {server.cases:,} cases, {_LATENCY * 1e3:.0f} ms per page, {limit}\n")
    print("| reader | wall s | ratio to read_cases | CPU s of this process |")
    print("| --- | --- | --- | --- |")
    baseline = _median(measurements[_BASELINE], "wall")
    for reader, results in measurements.items():
        wall, cpu = _median(results, "wall"), _median(results, "cpu")
        ratio = "" if reader == _BASELINE else f"{wall / baseline:.2f} (limit {_MAX_RATIO:g})"
        print(f"| {reader} | {wall:.2f} | {ratio} | {cpu:.2f} |")


def _median(results: Sequence[Measurement], attribute: str) -> float:
    return statistics.median(getattr(item, attribute) for item in results)


def _read_in_process(service: str, reader: str, server: ReplayServer, rate: float) -> Measurement:
    """Read in a new process."""
    command = [sys.executable, _HERE, f"--rate={rate}", "--one", service, reader]
    process = subprocess.run(
        [*command, json.dumps(asdict(server))], stdout=subprocess.PIPE, check=True, timeout=120
    )
    return Measurement(**json.loads(process.stdout.splitlines()[-1]))


def main() -> None:
    """Measure all readers, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=10.0, help="requests per second, or inf")
    parser.add_argument("--services", nargs="+", default=["Connect", "Persona"])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        service, reader, server = args.one
        measurement = read_once(service, reader, ReplayServer(**json.loads(server)), args.rate)
        print(json.dumps(asdict(measurement)))
        return
    with run_replay(args.cases, _LATENCY) as server:
        for service in args.services:
            print_figures(service, server, args.rate, args.rounds)


if __name__ == "__main__":
    main()
