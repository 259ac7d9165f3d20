"""Reads against a service that limits them: what is used of the limit, and how often it throttles.

Real threads and the real limiter, in a time that passes only while all sleep; so minutes cost
nothing, and every run is the same.
"""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.sources.transport.context import ReadContext
from casesearch_pd.sources.transport.rate_limit import RateLimiter
from casesearch_pd.sources.transport.retry import TransientError, send_with_retry
from tests.virtual_time import Bucket, World, read


@pytest.fixture(autouse=True)
def world():
    random.seed(1)  # pauses are spread by chance
    with World().governing() as world:
        yield world


def shares(world, bucket, limiter, workers, seconds=60):
    """Read for so long at the true rate."""
    requests = int(bucket.rate * seconds + bucket.burst)
    return read(world, limiter, bucket, workers=workers, requests=requests)


# --- a rate that is known ----------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.floats(0.1, 50),
    st.integers(1, 12),
    st.lists(st.lists(st.floats(0, 3), max_size=15), min_size=1, max_size=4),
)
def test_no_schedule_gets_more_than_burst_and_rate(rate, burst, readers):
    """In any stretch of time, whatever the readers do: this is what keeps throttles at 0."""
    sent, limiter = [], RateLimiter(rate, burst)
    with World().governing() as world:

        def reader(pauses):
            for pause in pauses:
                world.sleep(pause)
                limiter.acquire(ReadContext())
                sent.append(world.now)

        world.run(*[lambda pauses=pauses: reader(pauses) for pauses in readers])
    for first, start in enumerate(sent):
        for last, ended in enumerate(sent[first:], first):
            assert last - first + 1 <= burst + rate * (ended - start) + 1e-6


@pytest.mark.parametrize("workers", [1, 4, 16])
@pytest.mark.parametrize(("rate", "burst"), [(10, 10), (2, 10), (40, 5), (1.6, 10)])
def test_a_known_rate_is_used_up_without_a_throttle(world, rate, burst, workers):
    """Though replies take 30 to 70 ms: who is sent later may arrive sooner."""
    bucket = Bucket(world, rate, burst, jitter=0.02 if rate < 40 else 0.01)
    if workers / 0.06 < rate:
        pytest.skip("one reader is slower than the limit")
    used, throttled = shares(world, bucket, RateLimiter(rate, burst), workers)
    assert throttled == 0
    assert used > 0.98


def test_a_share_of_the_rate_is_kept_by_each_of_many(world):
    """Workers elsewhere know nothing of each other: rate / workers each, burst / workers each."""
    bucket, runs = Bucket(world, 8, 8), [ReadContext() for _ in range(4)]
    limiters = [RateLimiter(8 / 4, 8 / 4) for _ in range(4)]

    def worker(limiter, run):
        for _ in range(60):
            send_with_retry(bucket.send, limiter, run)

    world.run(*[lambda pair=pair: worker(*pair) for pair in zip(limiters, runs, strict=True)])
    assert not bucket.refused
    assert bucket.used_share(bucket.served[0]) > 0.95


# --- a rate that is not known ---------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4, 16])
@pytest.mark.parametrize(
    ("rate", "burst", "details"),
    [(10, 10, 40), (10, 10, math.inf), (10, 5, 12), (50, 10, math.inf), (20, 20, 100)],
)
def test_an_unknown_rate_is_found(world, rate, burst, details, workers):
    """From 10 a second on: at most one reply in 25 is a throttle, and little is left unused."""
    if workers / 0.05 < 1.5 * rate:
        pytest.skip("one reader is slower than the limit")
    bucket = Bucket(world, rate, burst, jitter=0.02)
    used, throttled = shares(world, bucket, RateLimiter(details, burst), workers)
    assert used > 0.97
    assert throttled < 0.04


@pytest.mark.parametrize("workers", [1, 4, 16])
@pytest.mark.parametrize(("rate", "details"), [(2, math.inf), (2, 4), (1.6, 2)])
def test_a_slow_unknown_rate_is_found(world, rate, details, workers):
    """A minute and a half is 190 requests: what must be learned costs a greater share of them."""
    bucket = Bucket(world, rate, 10, jitter=0.02)
    used, throttled = shares(world, bucket, RateLimiter(details, 10), workers, seconds=90)
    assert used > 0.97
    assert throttled < 0.1


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_a_bucket_of_one_is_not_crawled_along(world, workers):
    """It keeps nothing of what a slow pace leaves, so that measuring it tells too little."""
    bucket = Bucket(world, 5, 1, jitter=0.02)
    used, throttled = shares(world, bucket, RateLimiter(20, 10), workers, seconds=120)
    assert used > 0.75
    assert throttled < 0.05


def test_a_rate_that_falls_is_followed(world):
    """Production takes half of it: no more than a few throttles until that is known."""
    bucket, limiter, run = Bucket(world, 20, 10, jitter=0.02), RateLimiter(), ReadContext()
    for _ in range(600):
        send_with_retry(bucket.send, limiter, run)
    bucket.rate, refusal, start = 10, len(bucket.refused), world.now
    for _ in range(600):
        send_with_retry(bucket.send, limiter, run)
    assert len(bucket.refused) - refusal < 30
    assert 600 / (world.now - start) > 9.5


def test_a_rate_that_rises_is_followed(world):
    """Production has gone home: the longer nothing is throttled, the bolder the pace."""
    bucket, limiter = Bucket(world, 5, 10, latency=0.02), RateLimiter()
    for _ in range(300):
        send_with_retry(bucket.send, limiter, ReadContext())
    assert 4.5 < limiter.current_rate < 6
    bucket.rate = 20
    for _ in range(1500):
        send_with_retry(bucket.send, limiter, ReadContext())
    assert limiter.current_rate > 18


def test_an_hour_without_requests_teaches_nothing(world):
    """Five pages, a long lunch, a burst: as a rate this would be a request in some minutes."""
    bucket, limiter = Bucket(world, 10, 10), RateLimiter()
    for _ in range(5):
        send_with_retry(bucket.send, limiter, ReadContext())
    world.sleep(3600)
    start = world.now
    for _ in range(200):
        send_with_retry(bucket.send, limiter, ReadContext())
    assert world.now - start < 25


def test_the_estimate_is_forgotten_once_the_configured_rate_is_sustained(world):
    """One throttle must not cost the burst for the rest of the day."""
    bucket, limiter = Bucket(world, 4, 1, latency=0.01), RateLimiter(8, 5)
    for _ in range(10):
        send_with_retry(bucket.send, limiter, ReadContext())
    assert limiter.current_rate < 8
    bucket.rate, bucket.burst = 10, 10
    for _ in range(1000):
        send_with_retry(bucket.send, limiter, ReadContext())
    world.sleep(10)
    start = world.now
    for _ in range(4):
        limiter.acquire(ReadContext())
    assert limiter.current_rate == 8
    assert world.now - start < 0.01


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_a_service_without_a_limit_is_not_slowed_down(world, workers):
    """The first replies open the way, so few of them that it cannot be felt."""
    bucket = Bucket(world, 1e9, 1e9, jitter=0.02)
    start = world.now
    read(world, RateLimiter(), bucket, workers=workers, requests=500)
    assert world.now - start < 1.1 * (8 + 492 / workers) * 0.05 + 0.3


# --- throttles that name a time, outages, deadlines ----------------------------------------


def test_all_workers_wait_as_long_as_one_is_asked_to(world):
    """Also those that had their places already."""
    bucket = Bucket(world, 2, 10, wait=7, jitter=0.02)
    read(world, RateLimiter(), bucket, workers=8, requests=60)
    arrivals = sorted([*bucket.served, *bucket.refused])
    for details in bucket.refused:  # known here after half a round trip, 35 ms at most; as late as
        # another half ago others were on their way
        assert not [at for at in arrivals if details + 0.07 < at < details + 7]


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_no_reader_goes_when_those_on_their_way_use_up_a_window(world, workers):
    """The headers of a reply say what is left, but not who is on the way."""
    limiter, run, left, window = RateLimiter(), ReadContext(), iter(range(700)), [world.now, 0]
    refusal = []

    def send():
        world.sleep(random.uniform(0.015, 0.035))
        if world.now >= window[0] + 60:
            window[:] = [world.now, 0]
        throttled = window[1] >= 300
        window[1] += not throttled
        remaining, reset = 300 - window[1], math.ceil(window[0] + 60 - world.now)
        world.sleep(random.uniform(0.015, 0.035))
        limiter.limit_window(remaining, reset)
        if throttled:
            refusal.append(world.now)
            raise TransientError(cs.ThrottledError("no"), throttled=True, wait=reset)

    def work():
        for _ in left:
            send_with_retry(send, limiter, run)

    start = world.now
    world.run(*[work] * workers)
    assert len(refusal) < 7  # of 707
    assert world.now - start < 120 + 30


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_a_minute_of_nothing_but_throttles_fails_no_read(world, workers):
    """And once it is over, the pace is soon what it was."""
    bucket, run = Bucket(world, 10, 10, jitter=0.02), ReadContext()
    limiter, left = RateLimiter(), iter(range(600))
    outage = (world.now + 20, world.now + 80)

    def send():
        if outage[0] < world.now < outage[1]:
            bucket.refused.append(world.now)
            raise TransientError(cs.ThrottledError("no"), throttled=True)
        return bucket.send()

    def work():
        for _ in left:
            send_with_retry(send, limiter, run)

    start = world.now
    world.run(*[work] * workers)
    assert len(bucket.served) == 600
    assert len([at for at in bucket.refused if outage[0] < at < outage[1]]) < 40 + 2 * workers
    assert world.now - start < 60 + 60 + 30


def test_a_timeout_ends_all_workers_at_once(world):
    """None of them sleeps towards a place that comes too late."""
    bucket, limiter, run, ended = (
        Bucket(world, 1, 1),
        RateLimiter(1, 1),
        ReadContext.with_timeout(20),
        [],
    )

    def work():
        try:
            while True:
                send_with_retry(bucket.send, limiter, run)
        except (cs.ThrottledError, cs.ServiceUnavailableError) as error:
            errors.append(error)
            ended.append(world.now)

    start, errors = world.now, []
    world.run(*[work] * 8)
    assert len(ended) == 8
    # Only the worker whose reply came at the limit finds it passed; no other waits for it.
    assert [*map(type, errors)] == [cs.ThrottledError] * 7 + [cs.ServiceUnavailableError]
    assert all("timeout=20 s" in str(error) for error in errors)
    assert max(ended) <= start + 20.1
    assert len(bucket.served) >= 19
