"""Compute the figures of `docs/scale.md`: the cost of ten and a hundred million cases.

Requests and hours follow from the page sizes and rates of the sources; bytes from pages of the
emulator; partitions and windows from the real planner and the real workers, run on a simulated
source (`simulated.py`). Every table is printed as it is in the document; a test compares the two.
"""

import http.client
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from replay import SIGNATURE, EmulatorClient
from simulated import Simulated

import casesearch_pd as cs
from casesearch_pd.query.schema import Field, Schema
from casesearch_pd.reading.distributed.partitions import plan_partitions
from casesearch_pd.reading.fetch.windows import TimeWindow
from casesearch_pd.reading.fetch.workers import WindowedReader
from casesearch_pd.reading.frames.columns import Columns
from casesearch_pd.reading.options import Query, bind_query
from casesearch_pd.reading.plan import make_plan
from casesearch_pd.reading.progress import progress_bar
from casesearch_pd.sources.base import Request, Scan, Sort, Source
from casesearch_pd.sources.transport.context import ReadContext

Row = Sequence[str]
"""One line of a table."""

_SIZES = (10_000_000, 100_000_000)
_PLANNED = (10_000, 100_000, 1_000_000, *_SIZES)
_WINDOWED = (10_000, 100_000, 1_000_000)
_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_FEW_COLUMNS = ["case_id", "status", "created_at", "closed_at", "assignee"]
_CHANGED = 0.01  # share of all cases, per day
_DAY = 86_400  # seconds
_EXTRA_REQUESTS = 5  # of an increment, in addition to its pages
_WORKERS = 8


@dataclass(frozen=True)
class ReadCost:
    """The requests and bytes per page of one kind of full read."""

    name: str
    source: Source
    passes: int
    kilobytes: float
    increments: bool = True

    def requests(self, cases: int) -> int:
        """Return the number of requests for a number of cases."""
        return math.ceil(cases / self.source.page_size) * self.passes

    def hours(self, requests: float) -> float:
        """Return how long the requests take at the rate of the source."""
        return requests / self.source.rate / 3600


# --- pages --------------------------------------------------------------------------------


def read_costs() -> list[ReadCost]:
    """Return the kinds of full reads, with the bytes of a page of the emulator."""
    connect = cs.ConnectCases("domain", region_name="us-east-1")
    persona = cs.PersonaCases(token="none")
    with cs.LocalCases(2_000, now=_NOW) as local:
        local_connect, local_persona = local.connect_cases(), local.persona_cases()
        names = EmulatorClient(local).fields
        columns = ["case_id", *(local_connect.schema.resolve(name).column for name in names)]
        sizes = [
            _kilobytes(local, local_connect, columns),
            _kilobytes(local, local_connect, _FEW_COLUMNS),
            _kilobytes(local, local_persona, None),
            _kilobytes(local, local_persona, _FEW_COLUMNS),
        ]
    return [
        ReadCost("Amazon Connect, 25 columns", connect, _passes(connect, 25), sizes[0]),
        ReadCost("Amazon Connect, 60 columns", connect, _passes(connect, 60), sizes[0]),
        ReadCost(
            "Amazon Connect, 5 columns", connect, _passes(connect, 5), sizes[1], increments=False
        ),
        ReadCost("Persona, all columns", persona, 1, sizes[2]),
        ReadCost("Persona, 5 columns", persona, 1, sizes[3], increments=False),
    ]


def _passes(source: cs.ConnectCases, columns: int) -> int:
    """Return the number of passes that the source needs for a number of columns."""
    times = [
        Field("created_at", "created_datetime", "Created", "datetime"),
        Field("updated_at", "last_updated_datetime", "Updated", "datetime"),
    ]
    others = [Field(f"c{at}", f"c{at}", f"C {at}", "text", "custom") for at in range(columns - 2)]
    fields = (*times, *others)
    source = cs.ConnectCases(source.domain_id, region_name="us-east-1", schema=Schema(fields))
    return len(source.column_batches(fields))


def _kilobytes(local: cs.LocalCases, source: Source, columns: list[str] | None) -> float:
    """Return the size of the first page of a read."""
    request = cs.explain_cases(source, columns=columns).requests[0]
    return len(_response(local, request)) / 1000


def _response(local: cs.LocalCases, request: Request) -> bytes:
    persona = request.path.startswith("/api/")
    headers = {
        "Authorization": f"Bearer {local.token}" if persona else SIGNATURE,
        "X-Amz-Date": "20260101T000000Z",
        "Content-Type": "application/json",
    }
    target = f"{request.path}?{urlencode(request.query)}" if request.query else request.path
    connection = http.client.HTTPConnection("127.0.0.1", local.port)
    connection.request(request.method, target, json.dumps(request.body), headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if response.status != http.client.OK:
        raise RuntimeError(content.decode())
    return content


# --- the planner --------------------------------------------------------------------------


@dataclass(frozen=True)
class PlanCost:
    """The partitions of a number of cases, and the requests of planning and reading them."""

    partitions: int
    requests: int
    largest: int
    pages: int


def plan_cost(cases: int, *, counts: bool, readers: int = 1) -> PlanCost:
    """Run the planner on a simulated source."""
    source, context = Simulated(cases, counts), ReadContext()
    plan = make_plan(source, bind_query(source, Query()), quiet=True)
    rows = [_rows(source, item) for item in plan_partitions(plan, context, n_workers=readers)]
    if sum(rows) != cases:
        raise SystemExit(f"{sum(rows)} of {cases} cases are in a partition")
    pages = sum(math.ceil(count / source.page_size) for count in rows)
    return PlanCost(len(rows), context.requests, max(rows), pages)


def _rows(source: Simulated, partition: TimeWindow) -> int:
    return len(source.window(partition.where(source.schema.resolve("created_at"))))


def windowed_read(cases: int, workers: int) -> tuple[int, int]:
    """Read a simulated source; return the windows, and the requests in addition to the pages."""
    source, context = Simulated(cases), ReadContext()
    case_id, created, _ = source.schema.fields
    with progress_bar(progress=False, source=source) as bar:
        reader = WindowedReader(
            source,
            context,
            bar=bar,
            max_workers=workers,
            new_columns=lambda: Columns([case_id]),
            on_first_page=lambda *_: None,
        )
        reader.read([Scan(fields=(case_id, created), sort=(Sort(created),))])
    if sum(window.columns.rows for window in reader.windows) != cases:
        raise SystemExit("the workers did not read every case")
    return len(reader.windows), context.requests - math.ceil(cases / source.page_size)


# --- the tables ---------------------------------------------------------------------------


def full_reads(costs: Sequence[ReadCost]) -> Iterator[Row]:
    """Yield the costs of full reads."""
    yield ("read", "cases", "requests", "hours", "GB received")
    for cases in _SIZES:
        for read in costs:
            requests = read.requests(cases)
            gigabytes = requests * read.kilobytes / 1e6
            hours = f"{read.hours(requests):,.1f}"
            yield (read.name, f"{cases:,}", f"{requests:,}", hours, f"{gigabytes:,.0f}")


def plans() -> Iterator[Row]:
    """Yield the costs of planning."""
    yield (
        "cases", "Connect: partitions", "planning requests", "largest", "extra requests",
        "Persona: partitions", "planning requests", "largest", "extra requests",
    )  # fmt: skip
    for cases in _PLANNED:
        costs = [plan_cost(cases, counts=counts) for counts in (True, False)]
        yield (f"{cases:,}", *(cell for cost in costs for cell in _cells(cost, cases)))


def shared_plans() -> Iterator[Row]:
    """Yield the same for eight processes, which need several partitions each."""
    yield (
        "cases",
        "Connect: partitions",
        "extra requests",
        "Persona: partitions",
        "extra requests",
    )
    for cases in _PLANNED[1:3]:
        costs = [plan_cost(cases, counts=counts, readers=_WORKERS) for counts in (True, False)]
        cells = [_cells(cost, cases) for cost in costs]
        yield (f"{cases:,}", *(cell for row in cells for cell in (row[0], row[3])))


def _cells(cost: PlanCost, cases: int) -> Row:
    pages = math.ceil(cases / 100)
    extra = (cost.requests + cost.pages - pages) / pages
    return (f"{cost.partitions:,}", f"{cost.requests:,}", f"{cost.largest:,}", f"{extra:.1%}")


def windows() -> Iterator[Row]:
    """Yield the windows into which workers split one read, and the requests that they add."""
    yield ("cases", "pages", "windows of 8 workers", "requests in addition")
    for cases in _WINDOWED:
        count, extra = windowed_read(cases, _WORKERS)
        yield (f"{cases:,}", f"{cases // 100:,}", f"{count}", f"{extra}")


def increments(costs: Sequence[ReadCost]) -> Iterator[Row]:
    """Yield the costs of a daily increment if one case in a hundred changed."""
    yield ("read", "cases", "changed per day", "requests", "minutes", "of a full read")
    for cases in _SIZES:
        for read in (item for item in costs if item.increments):
            changed = round(cases * _CHANGED)
            in_lookback = math.ceil(changed * read.source.lookback / _DAY)
            requests = read.requests(changed) + read.requests(in_lookback) + _EXTRA_REQUESTS
            share = requests / read.requests(cases)
            minutes = f"{read.hours(requests) * 60:,.0f}"
            yield (
                read.name,
                f"{cases:,}",
                f"{changed:,}",
                f"{requests:,}",
                minutes,
                f"{share:.1%}",
            )


def reach(costs: Sequence[ReadCost]) -> Iterator[Row]:
    """Yield the cases that can be read in a night, a weekend and a month."""
    yield ("read", "a night of 8 hours", "a weekend of 60", "a month of 720")
    for read in costs:
        rows = read.source.page_size * read.source.rate * 3600 / read.passes
        yield (read.name, *(f"{rows * hours / 1e6:,.1f} million" for hours in (8, 60, 720)))


def tables() -> dict[str, list[Row]]:
    """Compute all tables."""
    costs = read_costs()
    return {
        "pages": [
            ("read", "requests per page of 100 cases", "kB per request"),
            *((read.name, f"{read.passes}", f"{read.kilobytes:.0f}") for read in costs),
        ],
        "full reads": [*full_reads(costs)],
        "plans": [*plans()],
        "shared plans": [*shared_plans()],
        "windows": [*windows()],
        "increments": [*increments(costs)],
        "reach": [*reach(costs)],
    }


def lines(table: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    header, *rows = table
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(row)} |"


def main() -> None:
    """Print all tables."""
    started = time.perf_counter()
    for name, table in tables().items():
        print(f"\n## {name}\n", *lines(table), sep="\n")
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
