"""What reading costs: ours beside the ways without us, and beside the floor.

The server is a process of its own (`replay.py`), and each reading is a fresh process too. The
readers of a table take turns, and the medians are shown. CPU seconds are those of the reading
process, from the first request to the frame; other work on the machine disturbs them least. Each
reader must come home with the same cells in the same types, or the table is not printed.
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
    FLOOR,
    OURS,
    PERSONA_PEER,
    READERS,
    connect_ours,
    connect_source,
    installed,
    persona_ours,
    persona_source,
)
from replay import PAGE, Served

import casesearch_pd as cs

_HERE = Path(__file__).resolve()
_MB = 1024 * 1024
_LATENCY = 0.05
_PARALLEL = "max_workers" in inspect.signature(cs.read_cases).parameters
_QUIET = {**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false"}

_IMPORTING = """
import pandas, time
began = time.process_time()
import casesearch_pd
print(time.process_time() - began)
"""


@dataclass(frozen=True)
class Spent:
    """What one reading took, and what it brought home.

    Parameters
    ----------
    cpu, wall
        Seconds.
    before, peak
        Megabytes of memory at most, up to the read and up to its end.
    frame
        Megabytes of the frame; 0 where nothing is kept.
    rows
        How many cases came.
    cells
        A fingerprint of names, types and values; empty where nothing is kept.
    """

    cpu: float
    wall: float
    before: float
    peak: float
    frame: float
    rows: int
    cells: str


@dataclass(frozen=True)
class Mark:
    """What is asked of a figure: a gate to hold and a goal to reach, from so many cases on."""

    gate: float
    goal: float
    high: bool = False
    cases: int = 0

    def of(self, figure: float, cases: int = 0) -> str:
        """Say how a figure stands."""
        if cases < self.cases:
            return f"gate {self.gate:g} and goal {self.goal:g} are for {self.cases:,} cases"
        met = [figure >= line if self.high else figure <= line for line in (self.gate, self.goal)]
        said = "goal met" if met[1] else "gate met" if met[0] else "GATE MISSED"
        return f"{said} (gate {self.gate:g}, goal {self.goal:g})"


_MARKS = {
    ("Connect", CONNECT_PEER): Mark(9, 12, high=True),
    ("Connect", FLOOR): Mark(3.2, 2.5, cases=100_000),
    ("Persona", PERSONA_PEER): Mark(4.5, 6, high=True),
    ("Persona", FLOOR): Mark(3.8, 3, cases=100_000),
}
_SHARES = {1: Mark(90, 95, high=True), 8: Mark(80, 90, high=True)}
_MEMORY = Mark(1.6, 1.3, cases=1_000_000)
_IMPORT = Mark(0.25, 0.25)


# --- one reading, in a process of its own -------------------------------------------------


def read_once(service: str, reader: str, served: Served, workers: int) -> Spent:
    """Read everything once; with `workers`, in so many threads and after discovery."""
    read = READERS[service][reader](served) if not workers else _ready(service, served, workers)
    gc.collect()
    before, cpu, wall = _memory(), time.process_time(), time.perf_counter()
    got = read()
    cpu, wall, peak = time.process_time() - cpu, time.perf_counter() - wall, _memory()
    if isinstance(got, int):
        return Spent(cpu, wall, before, peak, 0.0, got, "")
    size = megabytes(got)
    return Spent(cpu, wall, before, peak, size, len(got), fingerprint(got))


def _ready(service: str, served: Served, workers: int):  # noqa: ANN202 - a `Read`, as all readers
    options = {"max_workers": workers} if _PARALLEL else {}
    if service == "Connect":
        return connect_ours(served, connect_source(served), **options)
    source = persona_source(served)
    source.schema  # noqa: B018 - discovered here, so that the clock sees pages only
    return persona_ours(served, source, **options)


def megabytes(frame: pd.DataFrame) -> float:
    """Weigh a frame, with the texts in its lists, which pandas leaves out."""
    inside = 0
    for name in [name for name in frame if frame[name].dtype == object]:
        lists = (cell for cell in frame[name] if isinstance(cell, list))
        inside += sum(sys.getsizeof(text) for cell in lists for text in cell)
    return (frame.memory_usage(deep=True).sum() + inside) / _MB


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fingerprint(frame: pd.DataFrame) -> str:
    """Tell frames apart by column names, types and every cell."""
    found = hashlib.sha256()
    for name in sorted(frame.columns):
        column = frame[name]
        plain = column.map(repr, na_action="ignore") if column.dtype == object else column
        found.update(f"{name} {column.dtype}".encode())
        found.update(pd.util.hash_pandas_object(plain, index=False).to_numpy().tobytes())
    return found.hexdigest()[:16]


# --- many readings, in turns --------------------------------------------------------------


@contextmanager
def replayed(cases: int, latency: float = 0.0) -> Iterator[Served]:
    """Run a replay for a while."""
    command = [sys.executable, _HERE.with_name("replay.py"), f"--cases={cases}"]
    with subprocess.Popen(
        [*command, f"--latency={latency}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        told = json.loads(server.stdout.readline())
        yield Served(**told | {"fields": tuple(told["fields"])})
        server.stdin.close()


def spent(service: str, reader: str, served: Served, workers: int = 0) -> Spent:
    """Read in a fresh process."""
    command = [sys.executable, _HERE, "--one", service, reader, json.dumps(asdict(served))]
    done = subprocess.run(
        [*command, f"--workers={workers}"], stdout=subprocess.PIPE, env=_QUIET, check=True
    )
    return Spent(**json.loads(done.stdout.splitlines()[-1]))


def in_turns(
    service: str, readers: Sequence[str], served: Served, rounds: int
) -> dict[str, list[Spent]]:
    """Let each reader read `rounds` times, one after the other; hold all to the same cells."""
    taken: dict[str, list[Spent]] = {reader: [] for reader in readers}
    for _ in range(rounds):
        for reader in readers:
            taken[reader].append(spent(service, reader, served))
    every = [one for held in taken.values() for one in held]
    cells = {one.cells for one in every if one.cells}
    if len(cells) > 1 or {one.rows for one in every} != {served.cases}:
        raise SystemExit(f"{service}: the readers do not bring the same home: {taken}")
    return taken


def _median(taken: Sequence[Spent], what: str) -> float:
    return statistics.median(getattr(one, what) for one in taken)


# --- the tables ---------------------------------------------------------------------------


def show_costs(service: str, served: Served, rounds: int, *, peers: bool) -> None:
    """Print what each reader spends, and how we stand to the peer and to the floor."""
    named = [name for name in READERS[service] if peers or name in (OURS, FLOOR)]
    readers = [name for name in named if installed(name)]
    taken = in_turns(service, readers, served, rounds)
    ours = _median(taken[OURS], "cpu")
    print(f"\n{service}, {served.cases:,} cases\n")
    print("| reader | CPU s | wall s | CPU over ours |\n| --- | --- | --- | --- |")
    for reader, held in taken.items():
        cpu, wall = _median(held, "cpu"), _median(held, "wall")
        print(f"| {reader} | {cpu:.2f} | {wall:.2f} | {cpu / ours:.2f} |")
    print()
    for (of, reader), mark in _MARKS.items():
        if of == service and reader in taken:
            ratio = _ratio(ours, _median(taken[reader], "cpu"), mark)
            words = f"less than {reader}" if mark.high else "the floor"
            print(f"read_cases takes {ratio:.1f} x {words}: {mark.of(ratio, served.cases)}")
    for name in sorted(set(named) - set(readers)):
        print(f"{name}: not installed, not measured (it comes with the extra `bench`)")
    _show_memory(taken[OURS])


def _ratio(ours: float, theirs: float, mark: Mark) -> float:
    return theirs / ours if mark.high else ours / theirs


def _show_memory(taken: Sequence[Spent]) -> None:
    before, peak, frame = (_median(taken, what) for what in ("before", "peak", "frame"))
    print(
        f"peak memory {peak:.0f} MB, {before:.0f} MB of it before the read, over a frame of "
        f"{frame:.0f} MB: {peak / frame:.2f} x; {_MEMORY.of(peak / frame, taken[0].rows)}"
    )


def show_share(workers: int, cases: int, rounds: int) -> None:
    """Print how near a read comes to doing nothing but wait for the service."""
    ideal = -(-cases // PAGE) / workers * _LATENCY
    with replayed(cases, _LATENCY) as served:
        for service in READERS:
            taken = [spent(service, OURS, served, workers) for _ in range(rounds)]
            share = 100 * ideal / _median(taken, "wall")
            print(
                f"{service}, {cases:,} cases, {_LATENCY * 1e3:.0f} ms a page, {workers} at a time: "
                f"{share:.1f} % of ideal; {_SHARES[workers].of(share)}"
            )


def show_import(rounds: int) -> None:
    """Print what importing costs that pandas has not cost already."""
    command = [sys.executable, "-c", _IMPORTING]
    took = [
        float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        for _ in range(rounds)
    ]
    seconds = statistics.median(took)
    print(f"import casesearch_pd: {seconds:.2f} CPU s over pandas; {_IMPORT.of(seconds)}")


def show_all(sizes: Sequence[int], rounds: int, *, full: bool) -> None:
    """Print all tables."""
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, pandas {pd.__version__}; medians of {rounds}, in turns"
    )
    for cases in sizes:
        with replayed(cases) as served:
            for service in READERS:
                show_costs(service, served, rounds, peers=full or cases == min(sizes))
    print()
    show_share(1, 10_000, rounds=3)
    if _PARALLEL:
        show_share(8, 100_000, rounds=3)
    show_import(rounds)


def main() -> None:
    """Measure, or be one of the readers that are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="measure the peers at every size")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is None:
        show_all(sorted(given.cases), given.rounds, full=given.full)
        return
    service, reader, told = given.one
    served = Served(**json.loads(told))
    print(json.dumps(asdict(read_once(service, reader, served, given.workers))))


if __name__ == "__main__":
    main()
