"""Measure the emulator: pages per second, CPU seconds per page, and page 1 against page 1,000.

The emulator runs in a separate process; this one sends requests over one connection of http.client.
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
_WARM_UP = 5  # pages


@dataclass(frozen=True)
class Emulator:
    """What a client needs to know about the emulator in the other process."""

    port: int
    domain_id: str
    token: str


def serve(cases: int, pipe: Connection) -> None:
    """Run the emulator; reply to each message with its CPU seconds so far and peak megabytes."""
    started = time.perf_counter()
    with CaseService(cases, request_log_size=0) as service:
        pipe.send(
            (
                Emulator(service.port, service.domain_id, service.token),
                time.perf_counter() - started,
            )
        )
        while pipe.recv():
            usage = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))


def connect_pages(emulator: Emulator, connection: http.client.HTTPConnection) -> Iterator[int]:
    """Yield the number of cases of each Connect page of 100 cases and 25 fields."""
    path = f"/domains/{emulator.domain_id}"
    headers = {"Authorization": _SIGNATURE, "X-Amz-Date": "20260101T000000Z"}
    fields = _request(connection, "POST", f"{path}/fields-list", None, headers)["fields"][:25]
    body = {
        "maxResults": 100,
        "fields": [{"id": field["fieldId"]} for field in fields],
        "sorts": [{"fieldId": "created_datetime", "sortOrder": "Asc"}],
    }
    while True:
        page = _request(connection, "POST", f"{path}/cases-search", body, headers)
        yield len(page["cases"])
        if "nextToken" not in page:
            return
        body["nextToken"] = page["nextToken"]


def persona_pages(emulator: Emulator, connection: http.client.HTTPConnection) -> Iterator[int]:
    """Yield the number of cases of each Persona page of 100 cases."""
    headers = {"Authorization": f"Bearer {emulator.token}", "Content-Type": "application/json"}
    body = {"sort": {"attribute": "created_at", "direction": "asc"}, "page": {"size": 100}}
    path = "/api/v1/cases/search"
    while path is not None:
        page = _request(connection, "POST", path, body, headers)
        yield len(page["data"])
        path = page["links"]["next"]


def _request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object,
    headers: dict[str, str],
) -> dict:
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    content = response.read()
    if response.status != http.client.OK:
        raise RuntimeError(content.decode())
    return json.loads(content)


def measure(
    name: str,
    pages: Callable[[Emulator, http.client.HTTPConnection], Iterator[int]],
    emulator: Emulator,
    pipe: Connection,
    max_pages: int,
) -> None:
    """Print one line of the table."""
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port)
    requests = pages(emulator, connection)
    for _ in range(_WARM_UP):
        next(requests)
    before, times = cpu(pipe)[0], []
    started = previous = time.perf_counter()
    for _ in zip(range(max_pages), requests, strict=False):
        now = time.perf_counter()
        times.append(now - previous)
        previous = now
    seconds, wall = cpu(pipe)[0] - before, time.perf_counter() - started
    first, last = (statistics.median(part) * 1e3 for part in (times[:20], times[-20:]))
    print(
        f"{name:<8} {len(times):>5} pages  {len(times) / wall:7.0f} /s at the client  "
        f"{len(times) / seconds:7.0f} /s of server CPU  {seconds / len(times) * 1e3:5.2f} ms CPU  "
        f"first {first:5.2f} ms  last {last:5.2f} ms"
    )
    connection.close()


def cpu(pipe: Connection) -> tuple[float, float]:
    """Return the CPU seconds and the peak megabytes of the emulator's process."""
    pipe.send(True)
    return pipe.recv()


def main() -> None:
    """Start the emulator, read from both services, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--pages", type=int, default=990)
    args = parser.parse_args()
    pipe, other_end = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(args.cases, other_end)
    )
    process.start()
    emulator, ready = pipe.recv()
    print(f"{args.cases} cases, ready after {ready:.1f} s")
    measure("Connect", connect_pages, emulator, pipe, args.pages)
    measure("Persona", persona_pages, emulator, pipe, args.pages)
    print(f"peak memory of the emulator {cpu(pipe)[1]:.0f} MB")
    pipe.send(False)
    process.join()


if __name__ == "__main__":
    main()
