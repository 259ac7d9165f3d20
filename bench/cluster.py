"""What a plan costs over a plain read on Dask: from the call to the whole frame, side by side.

The service is a process of its own (`replay.py`) with a round trip of its own, and each reading is
a fresh process. The readers take turns, and medians are shown. Imports, discovery and the start of
a cluster are done before the clock; the first task of a worker that imports this package is not.
At a rate the seconds are those of the service's limit, as on a real one; unpaced they are this
machine's. All must come home with the same cells.
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
from read import fingerprint, replayed
from replay import Served

import casesearch_pd as cs
from casesearch_pd.sources.base import Source

_HERE = Path(__file__).resolve()
_LATENCY = 0.05  # seconds
_GATE = 1.2  # times a plain read
_PLAIN = "read_cases"
_MANY = 4  # partitions
_KEYS = {"AWS_ACCESS_KEY_ID": "BENCH", "AWS_SECRET_ACCESS_KEY": "bench"}

Read = Callable[[Source, list[str] | None], pd.DataFrame]


@dataclass(frozen=True)
class Took:
    """What one reading took: seconds of the clock and of this process; the cells it brought."""

    wall: float
    cpu: float
    cells: str


# --- the readers --------------------------------------------------------------------------


@contextmanager
def plain() -> Iterator[Read]:
    """Read without Dask."""
    yield lambda source, columns: cs.read_cases(source, columns=columns, progress=False)


@contextmanager
def threads(npartitions: int | None = None) -> Iterator[Read]:
    """Read on the threads of this process."""
    import dask.dataframe  # noqa: F401, PLC0415 - before the clock, and only where it is used

    yield lambda source, columns: cs.to_dask(
        source, columns=columns, npartitions=npartitions
    ).compute(scheduler="threads")


@contextmanager
def processes() -> Iterator[Read]:
    """Read on two processes, which divide the rate."""
    from distributed import Client, LocalCluster  # noqa: PLC0415 - only where it is used

    with ExitStack() as stack:
        cluster = LocalCluster(2, threads_per_worker=1, dashboard_address=":0", silence_logs=50)
        client = stack.enter_context(Client(stack.enter_context(cluster)))
        yield lambda source, columns: cs.to_dask(source, columns=columns).compute(scheduler=client)


READERS = {
    _PLAIN: plain,
    "to_dask, threads": threads,
    f"to_dask, threads, {_MANY} partitions": lambda: threads(_MANY),
    "to_dask, 2 processes": processes,
}


def read_once(service: str, reader: str, served: Served, rate: float) -> Took:
    """Read everything once."""
    os.environ.update(_KEYS, PERSONA_API_KEY=served.token)
    source, columns = _source(service, served, rate)
    with READERS[reader]() as read:
        wall, cpu = time.perf_counter(), time.process_time()
        frame = read(source, columns)
        took = time.perf_counter() - wall, time.process_time() - cpu
    return Took(*took, fingerprint(frame.sort_values("case_id", ignore_index=True)))


def _source(service: str, served: Served, rate: float) -> tuple[Source, list[str] | None]:
    if service == "Connect":
        source = cs.ConnectCases(
            served.domain_id, region_name="us-east-1", endpoint_url=served.url, rate=rate
        )
        return source, connect_columns(source, served)
    source = cs.PersonaCases(base_url=f"{served.url}/api/v1", rate=rate)
    source.schema  # noqa: B018 - discovered here, before the clock
    return source, None


# --- in turns -----------------------------------------------------------------------------


def show(service: str, served: Served, rate: float, rounds: int) -> None:
    """Print what each reader takes, and its ratio to the plain read."""
    taken: dict[str, list[Took]] = {reader: [] for reader in READERS}
    for _ in range(rounds):
        for reader, held in taken.items():
            held.append(_apart(service, reader, served, rate))
    if len({one.cells for held in taken.values() for one in held}) > 1:
        raise SystemExit(f"{service}: the readers do not bring the same home: {taken}")
    pace = "unpaced" if math.isinf(rate) else f"{rate:g} requests a second"
    print(f"\n{service}, {served.cases:,} cases, {_LATENCY * 1e3:.0f} ms a page, {pace}\n")
    print("| reader | wall s | over a plain read | CPU s of this process |")
    print("| --- | --- | --- | --- |")
    base = _median(taken[_PLAIN], "wall")
    for reader, held in taken.items():
        wall, cpu = _median(held, "wall"), _median(held, "cpu")
        said = "" if reader == _PLAIN else f"{wall / base:.2f} (gate {_GATE:g})"
        print(f"| {reader} | {wall:.2f} | {said} | {cpu:.2f} |")


def _median(taken: Sequence[Took], what: str) -> float:
    return statistics.median(getattr(one, what) for one in taken)


def _apart(service: str, reader: str, served: Served, rate: float) -> Took:
    """Read in a fresh process."""
    command = [sys.executable, _HERE, f"--rate={rate}", "--one", service, reader]
    done = subprocess.run(
        [*command, json.dumps(asdict(served))], stdout=subprocess.PIPE, check=True, timeout=120
    )
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure, or be one of the readers that are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second, or inf")
    parser.add_argument("--services", nargs="+", default=["Connect", "Persona"])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        service, reader, told = given.one
        took = read_once(service, reader, Served(**json.loads(told)), given.rate)
        print(json.dumps(asdict(took)))
        return
    with replayed(given.cases, _LATENCY) as served:
        for service in given.services:
            show(service, served, given.rate, given.rounds)


if __name__ == "__main__":
    main()
