"""Pages per second of the embedded case service, its CPU seconds a page, and page 1 against 1,000.

The service runs in a process of its own; this one drives it over one connection with http.client.
"""

import argparse
import http.client
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from casesearch_pd.emulator import CaseService

_SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/cases/aws4_request, "
    f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
)
_WARM = 5


@dataclass(frozen=True)
class Served:
    """How to reach the service in the other process."""

    port: int
    domain_id: str
    token: str


def serve(cases: int, pipe: Connection) -> None:
    """Run the service; answer each message with the CPU seconds used so far."""
    started = time.perf_counter()
    with CaseService(cases, kept_requests=0) as service:
        pipe.send(
            (Served(service.port, service.domain_id, service.token), time.perf_counter() - started)
        )
        while pipe.recv():
            used = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send((used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))


def connect_pages(served: Served, link: http.client.HTTPConnection) -> Iterator[int]:
    """Read Connect pages of 100 cases and 25 fields, yielding the cases of each."""
    path = f"/domains/{served.domain_id}"
    headers = {"Authorization": _SIGNATURE, "X-Amz-Date": "20260101T000000Z"}
    fields = _ask(link, "POST", f"{path}/fields-list", None, headers)["fields"][:25]
    body = {
        "maxResults": 100,
        "fields": [{"id": field["fieldId"]} for field in fields],
        "sorts": [{"fieldId": "created_datetime", "sortOrder": "Asc"}],
    }
    while True:
        page = _ask(link, "POST", f"{path}/cases-search", body, headers)
        yield len(page["cases"])
        if "nextToken" not in page:
            return
        body["nextToken"] = page["nextToken"]


def persona_pages(served: Served, link: http.client.HTTPConnection) -> Iterator[int]:
    """Read whole Persona cases, 100 a page, yielding the cases of each."""
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    body = {"sort": {"attribute": "created_at", "direction": "asc"}, "page": {"size": 100}}
    path = "/api/v1/cases/search"
    while path is not None:
        page = _ask(link, "POST", path, body, headers)
        yield len(page["data"])
        path = page["links"]["next"]


def _ask(
    link: http.client.HTTPConnection, method: str, path: str, body: object, headers: dict[str, str]
) -> dict:
    link.request(method, path, None if body is None else json.dumps(body), headers)
    answer = link.getresponse()
    content = answer.read()
    if answer.status != http.client.OK:
        raise RuntimeError(content.decode())
    return json.loads(content)


def measure(
    name: str,
    pages: Callable[[Served, http.client.HTTPConnection], Iterator[int]],
    served: Served,
    pipe: Connection,
    most: int,
) -> None:
    """Print one line of the table."""
    link = http.client.HTTPConnection("127.0.0.1", served.port)
    reading = pages(served, link)
    for _ in range(_WARM):
        next(reading)
    before, times = cpu(pipe)[0], []
    began = mark = time.perf_counter()
    for _ in zip(range(most), reading, strict=False):
        now = time.perf_counter()
        times.append(now - mark)
        mark = now
    spent, wall = cpu(pipe)[0] - before, time.perf_counter() - began
    first, last = (statistics.median(part) * 1e3 for part in (times[:20], times[-20:]))
    print(
        f"{name:<8} {len(times):>5} pages  {len(times) / wall:7.0f} /s at the client  "
        f"{len(times) / spent:7.0f} /s of server CPU  {spent / len(times) * 1e3:5.2f} ms CPU  "
        f"first {first:5.2f} ms  last {last:5.2f} ms"
    )
    link.close()


def cpu(pipe: Connection) -> tuple[float, float]:
    """Return the CPU seconds and the peak megabytes of the service's process."""
    pipe.send(True)
    return pipe.recv()


def main() -> None:
    """Start the service, drive both wires, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--pages", type=int, default=990)
    given = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(given.cases, theirs))
    process.start()
    served, ready = ours.recv()
    print(f"{given.cases} cases, ready after {ready:.1f} s")
    measure("Connect", connect_pages, served, ours, given.pages)
    measure("Persona", persona_pages, served, ours, given.pages)
    print(f"peak memory of the service {cpu(ours)[1]:.0f} MB")
    ours.send(False)
    process.join()


if __name__ == "__main__":
    main()
