"""Measure how well reads use a known or unknown rate limit, in about ten minutes.

Each read has its own service and client, in separate processes; several run at the same time, since
all of them wait nearly all the time. The service is a replay with a rate limit: for Connect a token
bucket that returns ThrottlingException without a time, for Persona a window of one minute with
``RateLimit-*`` headers. Responses take 50 ms ± 20 ms (half before the limit is applied, half
after), by a seed. The service records the figures: accepted searches, throttled searches, and the
wall time from the first request to the last response.

Used is (accepted - burst) / (wall * rate). If the client does not know a limit per minute, it is
the share of the ideal time: the last window cannot begin earlier than so many minutes after the
first.
"""

import argparse
import json
import math
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from replay import PAGE, EmulatorClient, Handler, Replay, Server

import casesearch_pd as cs
from casesearch_pd.emulator import CaseService
from casesearch_pd.emulator.limits import RateLimitWindow, TokenBuckets

_SAMPLE = 200
_SMALL_PAGE = 10  # cases: the limit is measured, not the pages
_LATENCY, _JITTER = 0.05, 0.02
_MINUTE = 60.0
_PARALLEL_READS = 8
# Used: at least, goal; throttled: at most, goal. By whether the client knows the rate.
_TARGETS = {True: (95, 98, 0, 0), False: (90, 97, 10, 4)}


@dataclass(frozen=True)
class Trial:
    """One read to be measured.

    Parameters
    ----------
    service
        ``connect`` or ``persona``.
    rate, burst
        What the service accepts: requests per second, and at once.
    client_rate
        The rate of the client; infinite for none.
    workers
        Workers of the client.
    seconds
        The minimum time of the read at the actual rate.
    """

    service: str
    rate: float
    burst: float
    client_rate: float
    workers: int
    seconds: float = 60.0

    @property
    def known(self) -> bool:
        """Whether the client knows the actual rate."""
        return self.client_rate == self.rate

    @property
    def cases(self) -> int:
        """The number of cases that makes the read take that long."""
        if self.service == "persona":  # one page opens the last window
            return round(self.rate * self.seconds + 1) * PAGE
        return round(self.rate * self.seconds + self.burst) * _SMALL_PAGE


@dataclass(frozen=True)
class Counts:
    """The accepted and throttled searches, the seconds, and the rows of the client."""

    accepted: int
    throttled: int
    wall: float
    rows: int = 0

    def percent_used(self, trial: Trial) -> float:
        """Return how much of the limit was used, in per cent."""
        if trial.service == "persona" and not trial.known:
            windows = math.ceil(self.accepted / (trial.rate * _MINUTE))
            return 100 * (windows - 1) * _MINUTE / self.wall
        return 100 * (self.accepted - trial.burst) / (self.wall * trial.rate)

    @property
    def percent_throttled(self) -> float:
        """Return how many of the searches were throttled, in per cent."""
        return 100 * self.throttled / (self.accepted + self.throttled)


# --- the service ----------------------------------------------------------------------


class UnchangedReplay(Replay):
    """A replay of cases that do not change: none is updated after the start of the read."""

    def respond(self, method: str, target: str, body: bytes) -> bytes:
        """Return the body of the response to a request."""
        if b"last_updated_datetime" in body.partition(b'"filter"')[2].partition(b'"fields"')[0]:
            return b'{"cases":[],"totalCount":0}'
        return super().respond(method, target, body)


class LimitedHandler(Handler):
    """Responds to searches within a limit, and throttles the others as the service does."""

    server: "LimitedServer"

    def _response(self, method: str, target: str, body: bytes) -> bytes:
        if not urlsplit(target).path.endswith(("/cases-search", "/cases/search")):
            return super()._response(method, target, body)
        received_at = time.monotonic()
        self.server.delay()
        persona = target.startswith("/api/v1/")
        throttled, headers = self.server.apply_limit(persona=persona)
        response = _THROTTLES[persona] if throttled else super()._response(method, target, body)
        self.server.delay()
        self.server.count(received_at, throttled=throttled)
        head, _, rest = response.partition(b"\r\n")
        return b"%b\r\n%b%b" % (head, headers, rest)


def _throttle(content: dict[str, object], headers: bytes) -> bytes:
    body = json.dumps(content).encode()
    head = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n"
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, headers, len(body), body)


_THROTTLES = {
    False: _throttle({"message": "Rate exceeded"}, b"X-Amzn-ErrorType: ThrottlingException\r\n"),
    True: _throttle({"errors": [{"title": "Rate limit exceeded"}]}, b""),
}


class LimitedServer(Server):
    """A replay with a rate limit, which counts searches."""

    def __init__(self, replay: Replay, trial: Trial, seed: int) -> None:
        super().__init__(replay, 0.0)
        self.RequestHandlerClass = LimitedHandler
        self._buckets = TokenBuckets(trial.rate, trial.burst, time.monotonic)
        self._window = RateLimitWindow(round(trial.rate * _MINUTE), time.monotonic)
        self._jitter = 0.0 if trial.known else _JITTER
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._times: list[float] = []
        self._throttled = 0

    def delay(self) -> None:
        """Wait for half of the latency."""
        with self._lock:
            seconds = _LATENCY + self._random.uniform(-1, 1) * self._jitter
        time.sleep(seconds / 2)

    def apply_limit(self, *, persona: bool) -> tuple[bool, bytes]:
        """Return whether a search is throttled, and the rate limit headers of its response."""
        if not persona:
            return self._buckets.refuses("SearchCases"), b""
        status = self._window.take()
        values = (("Limit", status.limit), ("Remaining", status.remaining), ("Reset", status.reset))
        headers = "".join(f"RateLimit-{name}: {value}\r\n" for name, value in values)
        return status.exceeded, headers.encode()

    def count(self, received_at: float, *, throttled: bool) -> None:
        """Record a search whose response is sent now."""
        with self._lock:
            self._times += [received_at, time.monotonic()]
            self._throttled += throttled

    @property
    def counts(self) -> Counts:
        """The counts so far."""
        accepted = len(self._times) // 2 - self._throttled
        return Counts(accepted, self._throttled, max(self._times) - min(self._times))


def serve(trial: Trial, seed: int) -> None:
    """Serve until standard input is closed; then print the counts."""
    with CaseService(_SAMPLE, request_log_size=0) as service:
        replay = UnchangedReplay(EmulatorClient(service), trial.cases)
        with LimitedServer(replay, trial, seed) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}"
            print(json.dumps([url, service.domain_id, service.token]), flush=True)
            sys.stdin.read()
            print(json.dumps(asdict(server.counts)), flush=True)
            server.shutdown()


# --- the client -----------------------------------------------------------------------


def read(trial: Trial, url: str, domain_id: str, token: str) -> int:
    """Read all cases; return their number."""
    if trial.service == "persona":
        source = cs.PersonaCases(token=token, base_url=f"{url}/api/v1", rate=trial.client_rate)
        return len(cs.read_cases(source, max_workers=trial.workers, progress=False))
    session = boto3.Session("LOCAL", "local", region_name="us-east-1")
    source = cs.ConnectCases(
        domain_id,
        boto3_session=session,
        endpoint_url=url,
        rate=trial.client_rate,
        burst=trial.burst,
        page_size=_SMALL_PAGE,
    )
    columns = ["case_id", "created_at", "status"]
    return len(cs.read_cases(source, columns=columns, max_workers=trial.workers, progress=False))


# --- the table ------------------------------------------------------------------------


def measure(trial: Trial, seed: int) -> Counts:
    """Run service and client in separate processes."""
    command, arguments = [sys.executable, Path(__file__).resolve()], json.dumps(asdict(trial))
    with subprocess.Popen(
        [*command, "--serve", arguments, f"--seed={seed}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        address = server.stdout.readline().decode()
        client = subprocess.run(
            [*command, "--read", arguments, address], stdout=subprocess.PIPE, check=False
        )
        server.stdin.close()
        counts = json.loads(server.stdout.readline())
    return Counts(**counts | {"rows": int(client.stdout or 0)})


def line(trial: Trial, counts: Counts) -> str:
    """Return one line of the table."""
    limit, goal, throttled_limit, throttled_goal = _TARGETS[trial.known]
    used, throttled = counts.percent_used(trial), counts.percent_throttled
    in_limit = used >= limit and throttled <= throttled_limit
    in_goal = used >= goal and throttled <= throttled_goal
    verdict = "goal met" if in_goal else "limit met" if in_limit else "LIMIT MISSED"
    if counts.rows != trial.cases:
        verdict += f", READ FAILED ({counts.rows} of {trial.cases})"
    burst = "a window" if trial.service == "persona" else f"{trial.burst:g}"
    client_rate = "none" if math.isinf(trial.client_rate) else f"{trial.client_rate:g}/s"
    return (
        f"| {trial.service} | {trial.rate:g}/s | {burst} | {client_rate} | {trial.workers} | "
        f"{counts.wall:.0f} s | {used:.1f} % | {counts.throttled} of "
        f"{counts.accepted + counts.throttled} = {throttled:.1f} % | {verdict} |"
    )


def all_trials(workers: Sequence[int]) -> list[Trial]:
    """Return all reads of the table."""
    limits = [
        ("connect", 10.0, 10.0, 10.0, 60.0),
        ("connect", 10.0, 10.0, 40.0, 60.0),
        ("connect", 10.0, 10.0, math.inf, 60.0),
        ("connect", 2.0, 10.0, math.inf, 90.0),
        ("connect", 5.0, 1.0, 20.0, 60.0),
        ("persona", 5.0, 1.0, 5.0, 60.0),
        ("persona", 5.0, 1.0, math.inf, 120.0),
    ]
    return [
        Trial(service, rate, burst, client_rate, number, seconds)
        for service, rate, burst, client_rate, seconds in limits
        for number in workers
    ]


def main() -> None:
    """Print the table, or be one of the processes behind it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seed", type=int, default=0, help="of the jitter")
    parser.add_argument("--serve", type=_trial, help=argparse.SUPPRESS)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        serve(args.serve, args.seed)
    elif args.read is not None:
        print(read(_trial(args.read[0]), *json.loads(args.read[1])))
    else:
        print_table(all_trials(args.workers), args.seed)


def print_table(trials: Sequence[Trial], seed: int) -> None:
    """Print each line of the table when it is measured."""
    print(f"{datetime.now(UTC):%Y-%m-%d}, responses in 50 ms, ± 20 ms if the rate is not known\n")
    print("| service | limit | burst | client rate | workers | wall | used | throttled | |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        results = pool.map(lambda trial: measure(trial, seed), trials)
        for trial, counts in zip(trials, results, strict=True):
            print(line(trial, counts), flush=True)


def _trial(text: str) -> Trial:
    return Trial(**json.loads(text))


if __name__ == "__main__":
    main()
