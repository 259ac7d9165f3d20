"""The one request limiter: how long it waits, for whom, and when it gives up."""

import math
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import casesearch_pd as cs
from casesearch_pd.sources.transport import rate_limit
from casesearch_pd.sources.transport.context import ReadContext, Tuning
from casesearch_pd.sources.transport.rate_limit import RateLimiter, rate_limiter_for
from casesearch_pd.sources.transport.retry import TransientError, parse_retry_after, send_with_retry
from tests.wire_clients import Clock, connect, persona
from tests.wire_stub import (
    Stub,
    connect_case,
    connect_domain,
    connect_error,
    connect_page,
    connect_pages,
    ok,
    script,
)

TUNING = Tuning()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    return Clock.installed(monkeypatch)


def sender(*outcomes):
    """Send once for each outcome, the last one often: raise errors, return anything else."""
    left = [*outcomes, *[outcomes[-1]] * 200]

    def send():
        outcome = left.pop(0)  # at the end of them somebody would go on for ever
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return send


def trouble(kind=cs.ServiceUnavailableError, **how):
    return TransientError(kind("the fault itself"), **how)


# --- the bucket --------------------------------------------------------------------------------


def test_a_burst_goes_at_once_and_the_rest_at_the_rate(clock):
    limiter, run = RateLimiter(rate=2, burst=10), ReadContext()
    for _ in range(9):  # one is kept back for those that overtake each other on the way
        limiter.acquire(run)
    assert not clock.slept
    for _ in range(20):
        limiter.acquire(run)
    assert sum(clock.slept) == pytest.approx(10, abs=0.2)
    assert run.requests == 29


def test_a_pause_fills_the_bucket_and_no_more_than_the_bucket(clock):
    limiter, run = RateLimiter(rate=2, burst=4), ReadContext()
    for _ in range(3):
        limiter.acquire(run)
    clock.sleep(1000)
    for _ in range(3):
        limiter.acquire(run)
    assert clock.slept == [1000]
    limiter.acquire(run)
    assert clock.slept[-1] == pytest.approx(0.5, abs=0.1)


def test_a_limiter_without_a_rate_never_waits(clock):
    limiter, run = RateLimiter(math.inf), ReadContext()
    for _ in range(1000):
        limiter.acquire(run)
    assert not clock.slept


@pytest.mark.parametrize("rate", [0, -1, math.nan, -math.inf, True, "fast", "2", None])
def test_a_rate_that_lets_nothing_pass_is_refused(rate):
    with pytest.raises(cs.FilterError, match="above 0"):
        RateLimiter(rate)


@pytest.mark.parametrize("rate", [0, math.nan, True, "fast"])
def test_sources_refuse_such_a_rate_before_anything_is_sent(rate):
    with Stub(connect_domain(None)) as stub:
        for source in (connect, persona):
            with pytest.raises(cs.FilterError, match="rate must be"):
                source(stub, rate=rate)
        assert not stub.requests


@pytest.mark.parametrize("burst", [0.5, 0, math.nan, True, "10"])
def test_a_burst_below_one_is_refused(burst):
    with pytest.raises(cs.FilterError, match="at least 1"):
        RateLimiter(1, burst=burst)


def test_a_closed_limiter_stops_all_workers_until_then(clock):
    limiter = RateLimiter(math.inf)
    limiter.pause(5)
    limiter.pause(3)
    limiter.acquire(ReadContext())
    assert clock.slept == [pytest.approx(5, abs=0.1)]
    limiter.acquire(ReadContext())
    assert len(clock.slept) == 1


def test_threads_share_one_limiter(clock, monkeypatch):
    """Eight readers with a limit each would be throttled eight times as much."""
    now = clock.monotonic() + 100
    monkeypatch.setattr(clock, "monotonic", lambda: now)  # it stands still, so waits add up
    limiter = RateLimiter(rate=4, burst=1)

    def read():
        for _ in range(5):
            limiter.acquire(ReadContext())

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(clock.slept) == pytest.approx([turn / 4 for turn in range(1, 40)])


def test_only_sources_of_one_account_and_region_share_a_limiter():
    """The services count them together, whatever the number of sources in a notebook."""
    with Stub(connect_domain(connect_pages([]))) as stub, Stub(connect_domain(None)) as other:
        one, two = connect(stub, rate=None), connect(stub, rate=None)
        assert one.rate_limiter is two.rate_limiter
        # The service counts all of them together, so another rate is a word to all of them.
        assert one.rate_limiter is connect(stub, rate=5).rate_limiter
        assert one.rate_limiter.rate == 5
        assert one.rate_limiter is not connect(other, rate=None).rate_limiter
        first, second = persona(stub, rate=None), persona(stub, rate=None)
        assert first.rate_limiter is second.rate_limiter
        assert first.rate_limiter is not persona(stub, rate=None, token="another").rate_limiter
        assert first.rate_limiter is not persona(other, rate=None).rate_limiter


def test_four_fifths_of_the_documented_quota_are_the_default():
    """The quota is shared with production: Connect 2 a second, Persona 300 a minute."""
    with Stub(connect_domain(None)) as stub:
        assert (connect(stub, rate=None).rate, connect(stub, rate=None).burst) == (1.6, 10)
        assert connect(stub, rate=None).rate_limiter.rate == 1.6
        assert persona(stub, rate=None).rate_limiter.rate == persona(stub, rate=None).rate == 4
        assert persona(stub, rate=7.5).rate_limiter.rate == 7.5


def test_the_last_rate_that_was_named_holds_for_everybody():
    """Two limiters for one account would spend its quota twice."""
    limiter = rate_limiter_for(("a",), rate=1, burst=1)
    assert rate_limiter_for(("a",), rate=2, burst=3) is limiter
    assert (limiter.rate, limiter.burst) == (2, 3)
    with pytest.raises(cs.FilterError, match="got 0"):
        rate_limiter_for(("a",), rate=0, burst=3)
    assert limiter.rate == 2
    assert rate_limiter_for(("b",), rate=1, burst=1) is not limiter


# --- patience ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [100.0, math.inf])
def test_a_burst_at_a_slow_rate_is_not_waited_for_at_a_quicker_one(clock, rate):
    """Whoever says that more may pass would wait a minute for what five requests went ahead."""
    limiter = rate_limit.RateLimiter(0.2, 22)
    for _ in range(21):
        limiter.acquire(ReadContext())
    assert not clock.slept
    limiter.set_limits(rate, 22)
    limiter.acquire(ReadContext())
    assert sum(clock.slept) < 1


def test_a_change_to_an_impossible_rate_leaves_the_old_one(clock):
    limiter = rate_limit.RateLimiter(2, 1)
    with pytest.raises(cs.FilterError):
        limiter.set_limits(0, 1)
    limiter.acquire(ReadContext())
    limiter.acquire(ReadContext())
    assert sum(clock.slept) == pytest.approx(0.5, abs=0.1)


def test_an_answer_is_passed_on_at_once(clock):
    run = ReadContext()
    assert send_with_retry(sender("answer"), RateLimiter(), run) == "answer"
    assert (run.requests, clock.slept) == (1, [])


def test_a_final_error_is_not_tried_again():
    run = ReadContext()
    with pytest.raises(cs.InvalidRequestError):
        send_with_retry(sender(cs.InvalidRequestError("no")), RateLimiter(), run)
    assert run.requests == 1


def test_faults_are_tried_again_with_growing_pauses(clock):
    run = ReadContext()
    with pytest.raises(cs.ServiceUnavailableError, match="the fault itself"):
        send_with_retry(sender(trouble()), RateLimiter(), run)
    assert run.requests == TUNING.max_fault_attempts
    assert len(clock.slept) == TUNING.max_fault_attempts - 1
    for attempt, pause in enumerate(clock.slept):
        assert 0.05 * 2**attempt <= pause <= 0.1 * 2**attempt
    assert sum(clock.slept) <= TUNING.max_fault_seconds


def test_slow_faults_end_by_time_before_the_attempts_are_used_up(clock):
    """Six time-outs of twenty seconds would keep a user for two minutes."""

    def send():
        clock.sleep(15)
        raise trouble()

    with pytest.raises(cs.ServiceUnavailableError):
        send_with_retry(send, RateLimiter(), ReadContext())
    assert clock.slept.count(15) == 3  # two of them are 30 s, counted from the first fault's end


def test_the_cause_of_a_fault_is_kept():
    try:
        raise trouble() from OSError("cable")
    except TransientError as caused:
        fault = caused
    with pytest.raises(cs.ServiceUnavailableError) as raised:
        send_with_retry(sender(fault), RateLimiter(), ReadContext())
    assert isinstance(raised.value.__cause__, OSError)


def test_throttles_wait_as_long_as_asked_and_count_apart_from_faults(clock):
    throttled = trouble(cs.ThrottledError, throttled=True, wait=10)
    run = ReadContext()
    faults = [trouble()] * (TUNING.max_fault_attempts - 1)
    assert (
        send_with_retry(sender(*[throttled] * 12, *faults, "answer"), RateLimiter(), run)
        == "answer"
    )
    assert 120 <= sum(clock.slept) <= 130
    assert run.throttled == 12


def test_a_throttle_longer_than_the_limit_is_raised_at_once(clock):
    throttled = trouble(cs.ThrottledError, throttled=True, wait=TUNING.max_throttle_seconds + 1)
    with pytest.raises(cs.ThrottledError):
        send_with_retry(sender(throttled), RateLimiter(), ReadContext())
    assert not clock.slept


def test_throttles_without_a_time_back_off_up_to_a_bound(clock):
    with pytest.raises(cs.ThrottledError):
        send_with_retry(
            sender(trouble(cs.ThrottledError, throttled=True)), RateLimiter(), ReadContext()
        )
    assert 0.2 <= clock.slept[0] <= 0.4
    assert max(clock.slept) <= 20
    assert TUNING.max_throttle_seconds - 20 <= sum(clock.slept) <= TUNING.max_throttle_seconds


def test_a_throttle_holds_up_every_reader(clock):
    """The service counts all together: a second reader that goes on keeps the first one out."""
    limiter = RateLimiter()
    send_with_retry(
        sender(trouble(cs.ThrottledError, throttled=True, wait=30), "answer"),
        limiter,
        ReadContext(),
    )
    assert sum(clock.slept) == pytest.approx(30, abs=0.2)
    limiter.pause(30)
    send_with_retry(sender("answer"), limiter, ReadContext())
    assert sum(clock.slept) == pytest.approx(60, abs=0.2)


def test_the_wait_that_a_fault_asks_for_is_kept(clock):
    send_with_retry(sender(trouble(wait=3), "answer"), RateLimiter(), ReadContext())
    assert clock.slept == [3]


# --- the deadline ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_a_timeout_must_be_positive(seconds):
    with pytest.raises(cs.FilterError, match="positive number of seconds"):
        ReadContext.with_timeout(seconds)


def test_without_a_timeout_there_is_no_limit():
    assert ReadContext.with_timeout(None).remaining() == math.inf
    assert 4 < ReadContext.with_timeout(5).remaining() <= 5


def test_a_timeout_ends_the_wait_for_the_rate_limit(clock):
    """Sleeping past the deadline to find out that it has passed helps nobody."""
    limiter, run = RateLimiter(rate=0.1, burst=1), ReadContext.with_timeout(5)
    limiter.acquire(run)
    with pytest.raises(cs.ThrottledError, match="timeout="):
        limiter.acquire(run)
    assert not clock.slept


def test_a_timeout_ends_the_wait_between_attempts(clock):
    with pytest.raises(cs.ServiceUnavailableError):
        send_with_retry(sender(trouble(wait=10)), RateLimiter(), ReadContext.with_timeout(5))
    assert not clock.slept


def test_a_timeout_ends_a_read_with_the_pages_so_far():
    cases = [connect_case(f"c{number}") for number in range(5)]
    with Stub(connect_domain(connect_pages(cases, 1))) as stub:
        source = connect(stub, rate=0.5, burst=2)
        with pytest.raises(cs.IncompleteReadError, match="timeout") as raised:
            cs.read_cases(source, timeout=5)
    assert isinstance(raised.value.__cause__, cs.ThrottledError)
    assert 2 <= len(raised.value.partial) < 5


def test_sixty_seconds_of_throttles_are_survived(clock):
    """A report of somebody else may take the whole quota for a minute."""
    cases = [connect_case("c1")]

    def search(_):
        if sum(clock.slept) < 60:
            return connect_error(429, "ThrottlingException")
        return ok(connect_page(cases))

    with Stub(connect_domain(search)) as stub:
        frame = cs.read_cases(connect(stub))
    assert len(frame) == 1
    assert sum(clock.slept) < TUNING.max_throttle_seconds


def test_the_first_pages_of_a_paced_read_are_a_burst(clock):
    cases = [connect_case(f"c{number:02}") for number in range(20)]
    with Stub(connect_domain(connect_pages(cases, 1))) as stub:
        source = connect(stub, rate=None)
        assert len(cs.read_cases(source)) == 20
    # 20 pages, 10 of them in the burst, at 80 % of 2 a second
    assert sum(clock.slept) == pytest.approx(10 / 1.6, abs=1)


# --- Retry-After ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("details", "seconds"),
    [("7", 7), (" 7 ", 7), ("0", 0), ("600", 600)],
)
def test_retry_after_in_seconds(details, seconds):
    assert parse_retry_after(details) == seconds


@pytest.mark.parametrize(
    "details", [None, "", "-3", "soon", "1.5", "²", "٣", "Wed, 99 Foo 2026 00:00:00 GMT"]
)
def test_rubbish_in_retry_after_is_no_time(details):
    """A header of a proxy must not end a read with a ValueError."""
    assert parse_retry_after(details) is None


def test_retry_after_as_a_date_counts_from_now():
    now = datetime.now(UTC)
    assert parse_retry_after(format_datetime(now + timedelta(seconds=90))) == pytest.approx(
        90, abs=5
    )
    assert parse_retry_after(format_datetime(now - timedelta(seconds=90))) == 0


def test_retry_after_as_a_date_counts_from_the_services_clock():
    """Ours may be minutes off."""
    details = datetime(2026, 3, 14, 12, tzinfo=UTC)
    assert parse_retry_after(format_datetime(details), served_at=details.timestamp() - 8) == 8


@given(st.text(max_size=40))
def test_no_retry_after_breaks_the_client(text):
    details = parse_retry_after(text)
    assert details is None or details >= 0


def test_a_date_in_retry_after_is_waited_for(clock):
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=12), usegmt=True)
    status, headers, body = connect_error(429, "ThrottlingException")
    throttled = (status, {**headers, "Retry-After": when}, body)
    with Stub(connect_domain(script(throttled, ok(connect_page([]))))) as stub:
        cs.read_cases(connect(stub))
    assert sum(clock.slept) == pytest.approx(12, abs=2)
