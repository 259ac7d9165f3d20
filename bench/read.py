"""Compare the cost of `read_cases` with other clients, and with the minimum for Python.

The server is a separate process (`replay.py`), and each read is a new process. The readers of a
table take turns, and medians are printed. CPU seconds are those of the reading process, from the
first request to the DataFrame; other work on the machine affects them least. All readers must
return the same cells with the same types, or the table is not printed.
"""

import argparse
import gc
import hashlib
import inspect
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from clients import (
    CONNECT_PEER,
    MINIMUM,
    OURS,
    PERSONA_PEER,
    READERS,
    connect_ours,
    connect_source,
    is_installed,
    persona_ours,
    persona_source,
)
from replay import PAGE, ReplayServer

import casesearch_pd as cs

_HERE = Path(__file__).resolve()
_MB = 1024 * 1024
_LATENCY = 0.05
_PARALLEL = "max_workers" in inspect.signature(cs.read_cases).parameters
_QUIET = {**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false"}

_IMPORTING = """
import pandas, time
started = time.process_time()
import casesearch_pd
print(time.process_time() - started)
"""


@dataclass(frozen=True)
class Measurement:
    """The cost and the result of one read.

    Parameters
    ----------
    cpu, wall
        Seconds.
    before, peak
        Peak memory in megabytes, up to the start and up to the end of the read.
    frame
        Megabytes of the frame; 0 if the cases are dropped.
    rows
        The number of cases.
    cells
        A digest of names, types and values; empty if the cases are dropped.
    """

    cpu: float
    wall: float
    before: float
    peak: float
    frame: float
    rows: int
    cells: str


@dataclass(frozen=True)
class Target:
    """The required and the desired value of a figure, from a number of cases on."""

    limit: float
    goal: float
    at_least: bool = False
    cases: int = 0

    def verdict(self, figure: float, cases: int = 0) -> str:
        """Return whether a figure meets the limit and the goal."""
        if cases < self.cases:
            return f"limit {self.limit:g} and goal {self.goal:g} are for {self.cases:,} cases"
        in_limit, in_goal = (
            figure >= value if self.at_least else figure <= value
            for value in (self.limit, self.goal)
        )
        verdict = "goal met" if in_goal else "limit met" if in_limit else "LIMIT MISSED"
        return f"{verdict} (limit {self.limit:g}, goal {self.goal:g})"


_TARGETS = {
    ("Connect", CONNECT_PEER): Target(9, 12, at_least=True),
    ("Connect", MINIMUM): Target(3.2, 2.5, cases=100_000),
    ("Persona", PERSONA_PEER): Target(4.5, 6, at_least=True),
    ("Persona", MINIMUM): Target(3.8, 3, cases=100_000),
}
_SHARES = {1: Target(90, 95, at_least=True), 8: Target(80, 90, at_least=True)}
_MEMORY = Target(1.6, 1.3, cases=1_000_000)
_IMPORT = Target(0.25, 0.25)


# --- one read, in a process of its own ----------------------------------------------------


def read_once(service: str, reader: str, server: ReplayServer, workers: int) -> Measurement:
    """Read all cases once; with `workers`, in that many threads and after discovery."""
    read = READERS[service][reader](server) if not workers else _ready(service, server, workers)
    gc.collect()
    before, cpu, wall = _memory(), time.process_time(), time.perf_counter()
    result = read()
    cpu, wall, peak = time.process_time() - cpu, time.perf_counter() - wall, _memory()
    if isinstance(result, int):
        return Measurement(cpu, wall, before, peak, 0.0, result, "")
    size = frame_megabytes(result)
    return Measurement(cpu, wall, before, peak, size, len(result), frame_digest(result))


def _ready(service: str, server: ReplayServer, workers: int):  # noqa: ANN202 - a `Read`, as all readers
    options = {"max_workers": workers} if _PARALLEL else {}
    if service == "Connect":
        return connect_ours(server, connect_source(server), **options)
    source = persona_source(server)
    source.schema  # noqa: B018 - discovered now, so that it is not measured
    return persona_ours(server, source, **options)


def frame_megabytes(frame: pd.DataFrame) -> float:
    """Return the size of a frame with the texts in its lists, which pandas does not count."""
    in_lists = 0
    for name in [name for name in frame if frame[name].dtype == object]:
        lists = (cell for cell in frame[name] if isinstance(cell, list))
        in_lists += sum(sys.getsizeof(text) for cell in lists for text in cell)
    return (frame.memory_usage(deep=True).sum() + in_lists) / _MB


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def frame_digest(frame: pd.DataFrame) -> str:
    """Return a digest of the column names, the types and every cell."""
    digest = hashlib.sha256()
    for name in sorted(frame.columns):
        column = frame[name]
        values = column.map(repr, na_action="ignore") if column.dtype == object else column
        digest.update(f"{name} {column.dtype}".encode())
        digest.update(pd.util.hash_pandas_object(values, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


# --- many reads, in turns -----------------------------------------------------------------


@contextmanager
def run_replay(cases: int, latency: float = 0.0) -> Iterator[ReplayServer]:
    """Run a replay server."""
    command = [sys.executable, _HERE.with_name("replay.py"), f"--cases={cases}"]
    with subprocess.Popen(
        [*command, f"--latency={latency}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        info = json.loads(process.stdout.readline())
        yield ReplayServer(**info | {"fields": tuple(info["fields"])})
        process.stdin.close()


def measure(service: str, reader: str, server: ReplayServer, workers: int = 0) -> Measurement:
    """Read in a new process."""
    command = [sys.executable, _HERE, "--one", service, reader, json.dumps(asdict(server))]
    process = subprocess.run(
        [*command, f"--workers={workers}"], stdout=subprocess.PIPE, env=_QUIET, check=True
    )
    return Measurement(**json.loads(process.stdout.splitlines()[-1]))


def measure_in_turns(
    service: str, readers: Sequence[str], server: ReplayServer, rounds: int
) -> dict[str, list[Measurement]]:
    """Measure each reader `rounds` times in turn; raise unless all return the same cells."""
    measurements: dict[str, list[Measurement]] = {reader: [] for reader in readers}
    for _ in range(rounds):
        for reader in readers:
            measurements[reader].append(measure(service, reader, server))
    results = [item for items in measurements.values() for item in items]
    cells = {item.cells for item in results if item.cells}
    if len(cells) > 1 or {item.rows for item in results} != {server.cases}:
        raise SystemExit(f"{service}: the readers return different cases: {measurements}")
    return measurements


def _median(results: Sequence[Measurement], attribute: str) -> float:
    return statistics.median(getattr(item, attribute) for item in results)


# --- the tables ---------------------------------------------------------------------------


def print_costs(service: str, server: ReplayServer, rounds: int, *, peers: bool) -> None:
    """Print the cost of each reader, and the ratios to the peer and to the minimum."""
    names = [name for name in READERS[service] if peers or name in (OURS, MINIMUM)]
    readers = [name for name in names if is_installed(name)]
    measurements = measure_in_turns(service, readers, server, rounds)
    ours = _median(measurements[OURS], "cpu")
    print(f"\n{service}, {server.cases:,} cases\n")
    print("| reader | CPU s | wall s | CPU relative to ours |\n| --- | --- | --- | --- |")
    for reader, results in measurements.items():
        cpu, wall = _median(results, "cpu"), _median(results, "wall")
        print(f"| {reader} | {cpu:.2f} | {wall:.2f} | {cpu / ours:.2f} |")
    print()
    for (name, reader), target in _TARGETS.items():
        if name == service and reader in measurements:
            ratio = _ratio(ours, _median(measurements[reader], "cpu"), target)
            words = f"less than {reader}" if target.at_least else "the minimum"
            print(f"read_cases takes {ratio:.1f} x {words}: {target.verdict(ratio, server.cases)}")
    for name in sorted(set(names) - set(readers)):
        print(f"{name}: not installed, not measured (install the extra `bench`)")
    _print_memory(measurements[OURS])


def _ratio(ours: float, theirs: float, target: Target) -> float:
    return theirs / ours if target.at_least else ours / theirs


def _print_memory(results: Sequence[Measurement]) -> None:
    before, peak, frame = (_median(results, name) for name in ("before", "peak", "frame"))
    print(
        f"peak memory {peak:.0f} MB, {before:.0f} MB of it before the read, for a frame of "
        f"{frame:.0f} MB: {peak / frame:.2f} x; {_MEMORY.verdict(peak / frame, results[0].rows)}"
    )


def print_share(workers: int, cases: int, rounds: int) -> None:
    """Print the share of a read that is unavoidable waiting for the service."""
    ideal = -(-cases // PAGE) / workers * _LATENCY
    with run_replay(cases, _LATENCY) as server:
        for service in READERS:
            results = [measure(service, OURS, server, workers) for _ in range(rounds)]
            share = 100 * ideal / _median(results, "wall")
            print(
                f"{service}, {cases:,} cases, {_LATENCY * 1e3:.0f} ms per page, {workers} workers: "
                f"{share:.1f} % of ideal; {_SHARES[workers].verdict(share)}"
            )


def print_import(rounds: int) -> None:
    """Print the cost of the import in addition to that of pandas."""
    command = [sys.executable, "-c", _IMPORTING]
    times = [
        float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        for _ in range(rounds)
    ]
    seconds = statistics.median(times)
    print(f"import casesearch_pd: {seconds:.2f} CPU s more than pandas; {_IMPORT.verdict(seconds)}")


def print_all(sizes: Sequence[int], rounds: int, *, full: bool) -> None:
    """Print all tables."""
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, pandas {pd.__version__}; medians of {rounds}, in turns"
    )
    for cases in sizes:
        with run_replay(cases) as server:
            for service in READERS:
                print_costs(service, server, rounds, peers=full or cases == min(sizes))
    print()
    print_share(1, 10_000, rounds=3)
    if _PARALLEL:
        print_share(8, 100_000, rounds=3)
    print_import(rounds)


def main() -> None:
    """Measure all readers, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="measure the peers at every size")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is None:
        print_all(sorted(args.cases), args.rounds, full=args.full)
        return
    service, reader, info = args.one
    server = ReplayServer(**json.loads(info))
    print(json.dumps(asdict(read_once(service, reader, server, args.workers))))


if __name__ == "__main__":
    main()
