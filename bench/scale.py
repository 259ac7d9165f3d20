"""The figures of `docs/scale.md`: what ten and a hundred million cases cost, without reading them.

Requests and hours follow from page sizes and rates, both taken from the sources themselves; bytes
from pages that the embedded service answers; partitions and windows from the real planner and the
real readers, run on a service that exists on paper (`simulated.py`). Every table is printed as it
stands in the document, and a test holds the two together.
"""

import http.client
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from replay import SIGNATURE, Embedded
from simulated import Simulated

import casesearch_pd as cs
from casesearch_pd.query.schema import Field, Schema
from casesearch_pd.reading.distributed.partitions import Partition, partitions
from casesearch_pd.reading.fetch.workers import WindowedReader
from casesearch_pd.reading.frames.columns import Columns
from casesearch_pd.reading.plan import build_query, make_plan
from casesearch_pd.sources.base import Request, Scan, Sort, Source
from casesearch_pd.sources.transport.context import ReadContext

Row = Sequence[str]
"""One line of a table."""

_SIZES = (10_000_000, 100_000_000)
_PLANNED = (10_000, 100_000, 1_000_000, *_SIZES)
_WALKED = (10_000, 100_000, 1_000_000)
_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_FEW = ["case_id", "status", "created_at", "closed_at", "assignee"]
_CHANGED = 0.01  # of all cases, a day
_DAY = 86_400  # seconds
_MARGIN = 5  # requests of an increment beside its pages
_READERS = 8


@dataclass(frozen=True)
class Read:
    """One way to read everything: the requests and bytes that a page of cases takes."""

    name: str
    source: Source
    passes: int
    kilobytes: float
    wide: bool = True

    def requests(self, cases: int) -> int:
        """Count the requests for so many cases."""
        return math.ceil(cases / self.source.page_size) * self.passes

    def hours(self, requests: float) -> float:
        """Tell how long so many requests take at the rate of the source."""
        return requests / self.source.rate / 3600


# --- what a page is -----------------------------------------------------------------------


def reads() -> list[Read]:
    """List the ways to read, with the bytes of a page as the embedded service answers it."""
    connect = cs.ConnectCases("domain", region_name="us-east-1")
    persona = cs.PersonaCases(token="none")
    with cs.LocalCases(2_000, now=_NOW) as local:
        ours, theirs = local.connect_cases(), local.persona_cases()
        names = Embedded(local).fields
        wide = ["case_id", *(ours.schema.resolve(name).column for name in names)]
        sizes = [
            _kilobytes(local, ours, wide),
            _kilobytes(local, ours, _FEW),
            _kilobytes(local, theirs, None),
            _kilobytes(local, theirs, _FEW),
        ]
    return [
        Read("Amazon Connect, 25 columns", connect, _passes(connect, 25), sizes[0]),
        Read("Amazon Connect, 60 columns", connect, _passes(connect, 60), sizes[0]),
        Read("Amazon Connect, 5 columns", connect, _passes(connect, 5), sizes[1], wide=False),
        Read("Persona, whole cases", persona, 1, sizes[2]),
        Read("Persona, 5 columns", persona, 1, sizes[3], wide=False),
    ]


def _passes(source: cs.ConnectCases, columns: int) -> int:
    """Ask the source into how many requests it deals so many columns."""
    times = [
        Field("created_at", "created_datetime", "Created", "datetime"),
        Field("updated_at", "last_updated_datetime", "Updated", "datetime"),
    ]
    others = [Field(f"c{at}", f"c{at}", f"C {at}", "text", "custom") for at in range(columns - 2)]
    fields = (*times, *others)
    known = cs.ConnectCases(source.domain_id, region_name="us-east-1", schema=Schema(fields))
    return len(known.column_batches(fields))


def _kilobytes(local: cs.LocalCases, source: Source, columns: list[str] | None) -> float:
    """Weigh the first page of a read, as it goes over the wire."""
    request = cs.explain_cases(source, columns=columns).requests[0]
    return len(_sent(local, request)) / 1000


def _sent(local: cs.LocalCases, request: Request) -> bytes:
    persona = request.path.startswith("/api/")
    headers = {
        "Authorization": f"Bearer {local.token}" if persona else SIGNATURE,
        "X-Amz-Date": "20260101T000000Z",
        "Content-Type": "application/json",
    }
    target = f"{request.path}?{urlencode(request.query)}" if request.query else request.path
    link = http.client.HTTPConnection("127.0.0.1", local.port)
    link.request(request.method, target, json.dumps(request.body), headers)
    answer = link.getresponse()
    content = answer.read()
    link.close()
    if answer.status != http.client.OK:
        raise RuntimeError(content.decode())
    return content


# --- the planner --------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """What the planner makes of so many cases."""

    partitions: int
    requests: int
    largest: int
    pages: int


def planned(cases: int, *, counts: bool, readers: int = 1) -> Planned:
    """Run the planner on a service on paper."""
    source, run = Simulated(cases, counts), ReadContext()
    route = make_plan(source, build_query(source, None, {}), quiet=True)
    rows = [_rows(source, one) for one in partitions(route, run, readers=readers)]
    if sum(rows) != cases:
        raise SystemExit(f"{sum(rows)} of {cases} cases are in a partition")
    pages = sum(math.ceil(one / source.page_size) for one in rows)
    return Planned(len(rows), run.requests, max(rows), pages)


def _rows(source: Simulated, one: Partition) -> int:
    return len(source.window(one.where(source.schema.resolve("created_at"))))


def walked(cases: int, readers: int) -> tuple[int, int]:
    """Let readers share one read of a service on paper: windows, and requests beside the pages."""
    source, run = Simulated(cases), ReadContext()
    case_id, created, _ = source.schema.fields
    crew = WindowedReader(
        source,
        run,
        workers=readers,
        open_columns=lambda: Columns([case_id]),
        on_page=lambda *_: None,
    )
    crew.read([Scan(fields=(case_id, created), sort=(Sort(created),))])
    if sum(window.columns.rows for window in crew.windows) != cases:
        raise SystemExit("the readers do not bring every case home")
    return len(crew.windows), run.requests - math.ceil(cases / source.page_size)


# --- the tables ---------------------------------------------------------------------------


def costs(ways: Sequence[Read]) -> Iterator[Row]:
    """Tell what a whole read costs."""
    yield ("read", "cases", "requests", "hours", "GB over the wire")
    for cases in _SIZES:
        for way in ways:
            requests = way.requests(cases)
            gigabytes = requests * way.kilobytes / 1e6
            hours = f"{way.hours(requests):,.1f}"
            yield (way.name, f"{cases:,}", f"{requests:,}", hours, f"{gigabytes:,.0f}")


def plans() -> Iterator[Row]:
    """Tell how the planner's own requests grow."""
    yield (
        "cases", "Connect: partitions", "planning requests", "largest", "over the pages",
        "Persona: partitions", "planning requests", "largest", "over the pages",
    )  # fmt: skip
    for cases in _PLANNED:
        told = [planned(cases, counts=counts) for counts in (True, False)]
        yield (f"{cases:,}", *(cell for one in told for cell in _cells(one, cases)))


def shared_plans() -> Iterator[Row]:
    """Tell the same for eight processes, each of which needs some partitions."""
    yield (
        "cases",
        "Connect: partitions",
        "over the pages",
        "Persona: partitions",
        "over the pages",
    )
    for cases in _PLANNED[1:3]:
        told = [planned(cases, counts=counts, readers=_READERS) for counts in (True, False)]
        cells = [_cells(one, cases) for one in told]
        yield (f"{cases:,}", *(cell for one in cells for cell in (one[0], one[3])))


def _cells(one: Planned, cases: int) -> Row:
    pages = math.ceil(cases / 100)
    over = (one.requests + one.pages - pages) / pages
    return (f"{one.partitions:,}", f"{one.requests:,}", f"{one.largest:,}", f"{over:.1%}")


def windows() -> Iterator[Row]:
    """Tell into how many windows readers cut one read, and what that costs."""
    yield ("cases", "pages", "windows of 8 readers", "requests beside the pages")
    for cases in _WALKED:
        found, more = walked(cases, _READERS)
        yield (f"{cases:,}", f"{cases // 100:,}", f"{found}", f"{more}")


def increments(ways: Sequence[Read]) -> Iterator[Row]:
    """Tell what a day's increment costs where one case in a hundred changed."""
    yield ("read", "cases", "changed a day", "requests", "minutes", "of a whole read")
    for cases in _SIZES:
        for way in (one for one in ways if one.wide):
            changed = round(cases * _CHANGED)
            late = math.ceil(changed * way.source.lookback / _DAY)
            requests = way.requests(changed) + way.requests(late) + _MARGIN
            share = requests / way.requests(cases)
            minutes = f"{way.hours(requests) * 60:,.0f}"
            yield (way.name, f"{cases:,}", f"{changed:,}", f"{requests:,}", minutes, f"{share:.1%}")


def reach(ways: Sequence[Read]) -> Iterator[Row]:
    """Tell how many cases a night, a weekend and a month hold."""
    yield ("read", "a night of 8 hours", "a weekend of 60", "a month of 720")
    for way in ways:
        rows = way.source.page_size * way.source.rate * 3600 / way.passes
        yield (way.name, *(f"{rows * hours / 1e6:,.1f} million" for hours in (8, 60, 720)))


def tables() -> dict[str, list[Row]]:
    """Work all tables out."""
    ways = reads()
    return {
        "pages": [
            ("read", "requests a page of 100 cases", "kB a request"),
            *((way.name, f"{way.passes}", f"{way.kilobytes:.0f}") for way in ways),
        ],
        "costs": [*costs(ways)],
        "plans": [*plans()],
        "shared plans": [*shared_plans()],
        "windows": [*windows()],
        "increments": [*increments(ways)],
        "reach": [*reach(ways)],
    }


def lines(table: Sequence[Row]) -> Iterator[str]:
    """Write a table in Markdown."""
    head, *rows = table
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def main() -> None:
    """Print all tables."""
    began = time.perf_counter()
    for name, table in tables().items():
        print(f"\n## {name}\n", *lines(table), sep="\n")
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
