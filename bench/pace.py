"""How well reads keep to a rate limit, told or not: `python bench/pace.py`, some ten minutes.

Each read has a service and a client of its own, in a process each; a few run side by side, since
all of them wait nearly all the time. The service is a replay behind a limit: on Connect a token
bucket that answers ThrottlingException and names no time, on Persona the window of a minute with
its ``RateLimit-*`` headers. Replies take 50 ms, give or take 20 (half of it before the limit is
asked, half after), by a seed. It keeps the figures itself: searches let pass, searches throttled,
and the wall time from the first arrival to the last reply.

Used is (passed - burst) / (wall * rate). Where nobody paces against windows of a minute, it is the
share of the ideal time: the last window cannot be opened earlier than so many minutes after the
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
_AT_ONCE = 8  # reads side by side
_GATES = {True: (95, 98, 0, 0), False: (90, 97, 10, 4)}  # used: gate, goal; throttled: both


@dataclass(frozen=True)
class Trial:
    """One read to be measured.

    Parameters
    ----------
    service
        ``connect`` or ``persona``.
    rate, burst
        What the service lets pass: requests a second, and at once.
    told
        The rate that the client is told; infinite for none.
    workers
        Readers of the client.
    seconds
        How long the read takes at least, at the true rate.
    """

    service: str
    rate: float
    burst: float
    told: float
    workers: int
    seconds: float = 60.0

    @property
    def known(self) -> bool:
        """Whether the client is told the truth."""
        return self.told == self.rate

    @property
    def cases(self) -> int:
        """How many cases make the read so long."""
        if self.service == "persona":  # one page opens the last window
            return round(self.rate * self.seconds + 1) * PAGE
        return round(self.rate * self.seconds + self.burst) * _SMALL_PAGE


@dataclass(frozen=True)
class Kept:
    """What the service counted: searches let pass and throttled, seconds; and rows that came."""

    passed: int
    throttled: int
    wall: float
    rows: int = 0

    def used(self, trial: Trial) -> float:
        """Tell the part of the limit that was used, in per cent."""
        if trial.service == "persona" and not trial.known:
            windows = math.ceil(self.passed / (trial.rate * _MINUTE))
            return 100 * (windows - 1) * _MINUTE / self.wall
        return 100 * (self.passed - trial.burst) / (self.wall * trial.rate)

    @property
    def refused(self) -> float:
        """Tell the part of the replies that were throttles, in per cent."""
        return 100 * self.throttled / (self.passed + self.throttled)


# --- the service ----------------------------------------------------------------------


class Still(Replay):
    """A replay of cases that nobody changes: none was updated after the read began."""

    def answer(self, method: str, target: str, body: bytes) -> bytes:
        """Answer one request."""
        if b"last_updated_datetime" in body.partition(b'"filter"')[2].partition(b'"fields"')[0]:
            return b'{"cases":[],"totalCount":0}'
        return super().answer(method, target, body)


class Limited(Handler):
    """Answers searches within a limit, and throttles the others as the service does."""

    server: "LimitedServer"

    def _reply(self, method: str, target: str, body: bytes) -> bytes:
        if not urlsplit(target).path.endswith(("/cases-search", "/cases/search")):
            return super()._reply(method, target, body)
        arrived = time.monotonic()
        self.server.travel()
        persona = target.startswith("/api/v1/")
        refused, headers = self.server.take(persona=persona)
        reply = _THROTTLES[persona] if refused else super()._reply(method, target, body)
        self.server.travel()
        self.server.count(arrived, refused=refused)
        head, _, rest = reply.partition(b"\r\n")
        return b"%b\r\n%b%b" % (head, headers, rest)


def _throttle(told: dict[str, object], headers: bytes) -> bytes:
    body = json.dumps(told).encode()
    head = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n"
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, headers, len(body), body)


_THROTTLES = {
    False: _throttle({"message": "Rate exceeded"}, b"X-Amzn-ErrorType: ThrottlingException\r\n"),
    True: _throttle({"errors": [{"title": "Rate limit exceeded"}]}, b""),
}


class LimitedServer(Server):
    """A replay behind a limit, and what it counted."""

    def __init__(self, replay: Replay, trial: Trial, seed: int) -> None:
        super().__init__(replay, 0.0)
        self.RequestHandlerClass = Limited
        self._buckets = TokenBuckets(trial.rate, trial.burst, time.monotonic)
        self._window = RateLimitWindow(round(trial.rate * _MINUTE), time.monotonic)
        self._jitter = 0.0 if trial.known else _JITTER
        self._draw, self._lock = random.Random(seed), threading.Lock()
        self._times: list[float] = []
        self._refused = 0

    def travel(self) -> None:
        """Be under way: half of what a reply takes."""
        with self._lock:
            seconds = _LATENCY + self._draw.uniform(-1, 1) * self._jitter
        time.sleep(seconds / 2)

    def take(self, *, persona: bool) -> tuple[bool, bytes]:
        """Ask the limit; tell whether it refuses, and the headers that say how it stands."""
        if not persona:
            return self._buckets.refuses("SearchCases"), b""
        now = self._window.take()
        said = (("Limit", now.limit), ("Remaining", now.remaining), ("Reset", now.reset))
        headers = "".join(f"RateLimit-{name}: {value}\r\n" for name, value in said)
        return now.refused, headers.encode()

    def count(self, arrived: float, *, refused: bool) -> None:
        """Note a search that is answered now."""
        with self._lock:
            self._times += [arrived, time.monotonic()]
            self._refused += refused

    @property
    def kept(self) -> Kept:
        """What was counted."""
        passed = len(self._times) // 2 - self._refused
        return Kept(passed, self._refused, max(self._times) - min(self._times))


def serve(trial: Trial, seed: int) -> None:
    """Serve until standard input ends; then print what was counted."""
    with CaseService(_SAMPLE, kept_requests=0) as service:
        replay = Still(EmulatorClient(service), trial.cases)
        with LimitedServer(replay, trial, seed) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_address[1]}"
            print(json.dumps([url, service.domain_id, service.token]), flush=True)
            sys.stdin.read()
            print(json.dumps(asdict(server.kept)), flush=True)
            server.shutdown()


# --- the client -----------------------------------------------------------------------


def read(trial: Trial, url: str, domain_id: str, token: str) -> int:
    """Read all cases; tell how many came."""
    if trial.service == "persona":
        source = cs.PersonaCases(token=token, base_url=f"{url}/api/v1", rate=trial.told)
        return len(cs.read_cases(source, max_workers=trial.workers, progress=False))
    session = boto3.Session("LOCAL", "local", region_name="us-east-1")
    source = cs.ConnectCases(
        domain_id,
        boto3_session=session,
        endpoint_url=url,
        rate=trial.told,
        burst=trial.burst,
        page_size=_SMALL_PAGE,
    )
    columns = ["case_id", "created_at", "status"]
    return len(cs.read_cases(source, columns=columns, max_workers=trial.workers, progress=False))


# --- the table ------------------------------------------------------------------------


def measured(trial: Trial, seed: int) -> Kept:
    """Run service and client, each in a process of its own."""
    me, told = [sys.executable, Path(__file__).resolve()], json.dumps(asdict(trial))
    with subprocess.Popen(
        [*me, "--serve", told, f"--seed={seed}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        where = server.stdout.readline().decode()
        done = subprocess.run([*me, "--read", told, where], stdout=subprocess.PIPE, check=False)
        server.stdin.close()
        counted = json.loads(server.stdout.readline())
    return Kept(**counted | {"rows": int(done.stdout or 0)})


def line(trial: Trial, kept: Kept) -> str:
    """Write one line of the table."""
    gate, goal, throttled_gate, throttled_goal = _GATES[trial.known]
    used, refused = kept.used(trial), kept.refused
    met = [
        used >= share and refused <= most
        for share, most in ((gate, throttled_gate), (goal, throttled_goal))
    ]
    said = "goal met" if met[1] else "gate met" if met[0] else "GATE MISSED"
    whole = "" if kept.rows == trial.cases else f", READ FAILED ({kept.rows} of {trial.cases})"
    burst = "a window" if trial.service == "persona" else f"{trial.burst:g}"
    told = "unpaced" if math.isinf(trial.told) else f"{trial.told:g}/s"
    return (
        f"| {trial.service} | {trial.rate:g}/s | {burst} | {told} | {trial.workers} | "
        f"{kept.wall:.0f} s | {used:.1f} % | {kept.throttled} of {kept.passed + kept.throttled} = "
        f"{refused:.1f} % | {said}{whole} |"
    )


def trials(workers: Sequence[int]) -> list[Trial]:
    """List all reads of the table."""
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
        Trial(service, rate, burst, told, number, seconds)
        for service, rate, burst, told, seconds in limits
        for number in workers
    ]


def main() -> None:
    """Print the table, or be one of the processes behind it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seed", type=int, default=0, help="of the jitter")
    parser.add_argument("--serve", type=_trial, help=argparse.SUPPRESS)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve, given.seed)
    elif given.read is not None:
        print(read(_trial(given.read[0]), *json.loads(given.read[1])))
    else:
        show(trials(given.workers), given.seed)


def show(every: Sequence[Trial], seed: int) -> None:
    """Print the table as its lines become known."""
    print(f"{datetime.now(UTC):%Y-%m-%d}, replies in 50 ms, ± 20 ms where the rate is not known\n")
    print("| service | limit | burst | told | readers | wall | used | throttled | |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for trial, kept in zip(
            every, pool.map(lambda one: measured(one, seed), every), strict=True
        ):
            print(line(trial, kept), flush=True)


def _trial(told: str) -> Trial:
    return Trial(**json.loads(told))


if __name__ == "__main__":
    main()
