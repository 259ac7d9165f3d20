"""Threads in a time that passes only while all of them sleep: real code, no waiting, no chance.

One thread runs at a time, and hands over where it goes to sleep; the clock then jumps to whoever
wakes first. The same threads do the same things at the same times whenever they are run.
"""

import heapq
import itertools
import random
import threading
from contextlib import contextmanager

from casesearch_pd.errors import ThrottledError
from casesearch_pd.sources.transport import context as context_module
from casesearch_pd.sources.transport import retry


class World:
    """A clock that stands in for ``time`` and for every wait of the request limiter."""

    def __init__(self):
        self.now = 1000.0
        self._sleepers = []
        self._order = itertools.count()
        self._mine = threading.local()

    def monotonic(self):
        """Tell the time."""
        return self.now

    time = monotonic

    def sleep(self, seconds):
        """Let the others go on, and return when the time has come."""
        turn = self._turn(self.now + seconds)
        self._wake_next()
        turn.wait()

    def run(self, *threads):
        """Run functions side by side until all have returned."""
        ended = threading.Semaphore(0)

        def live(turn, act):
            turn.wait()
            try:
                act()
            finally:
                ended.release()
                self._wake_next()

        for act in threads:
            turn = self._turn(self.now)
            threading.Thread(target=live, args=(turn, act), daemon=True).start()
        self._wake_next()
        for _ in threads:
            assert ended.acquire(timeout=60), "a thread waits for something that is no sleep"

    def _turn(self, when):
        turn = threading.Event()
        heapq.heappush(self._sleepers, (when, next(self._order), turn))
        return turn

    def _wake_next(self):
        if self._sleepers:
            when, _, turn = heapq.heappop(self._sleepers)
            self.now = max(self.now, when)
            turn.set()

    @contextmanager
    def governing(self):
        """Give the limiters this clock."""
        kept = context_module.time, context_module.ReadContext.sleep
        context_module.time, context_module.ReadContext.sleep = (
            self,
            lambda _, seconds: self.sleep(seconds),
        )
        try:
            yield self
        finally:
            context_module.time, context_module.ReadContext.sleep = kept


class Bucket:
    """A service with a token bucket, so far away that a reply takes its time."""

    def __init__(self, world, rate, burst, *, latency=0.05, jitter=0.0, seed=0, wait=None):
        self.rate, self.burst, self.wait = rate, burst, wait
        self.served, self.refused, self.arrivals = [], [], []
        self._world, self._latency, self._jitter = world, latency, jitter
        self._draw = random.Random(seed)
        self._tokens, self._at = burst, world.now

    def send(self):
        """Answer one request: with its number, or by throttling."""
        self._travel()
        now = self._world.now
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        passed = self._tokens >= 1
        self._tokens -= passed
        (self.served if passed else self.refused).append(now)
        self._travel()
        if not passed:
            raise retry.TransientError(ThrottledError("slow down"), throttled=True, wait=self.wait)
        return len(self.served)

    def _travel(self):
        self._world.sleep((self._latency + self._draw.uniform(-1, 1) * self._jitter) / 2)

    @property
    def throttled_share(self):
        """Part of all replies that told to slow down."""
        return len(self.refused) / (len(self.served) + len(self.refused))

    def used_share(self, began):
        """Part of what the service would have let pass beyond the first burst, since then."""
        wall = self._world.now - began
        return (len(self.served) - self.burst) / (wall * self.rate)


def read(world, limiter, bucket, *, workers, requests, alone=8):
    """Read as `read_cases` does: a few pages alone, then `workers` at once. Return the shares."""
    left = itertools.count()
    run, began = context_module.ReadContext(), world.now

    def work(until):
        while next(left) < until:
            retry.send_with_retry(bucket.send, limiter, run)

    work_alone = min(alone, requests)
    world.run(lambda: work(work_alone))
    left = itertools.count(work_alone + 1)
    world.run(*[lambda: work(requests)] * workers)
    return bucket.used_share(began), bucket.throttled_share
