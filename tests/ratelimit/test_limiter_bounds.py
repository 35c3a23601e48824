"""Any pattern of requests, purges, evictions and rate changes, against a model that does none of the clever things."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.config.schema import RateLimit
from aegis.ratelimit.limiter import Limiter
from tests.support.clock import ManualClock

PEER = "192.0.2.7"
NEAR = 1e-5

rates = st.sampled_from([0.1, 0.3, 1.0, 3.0, 10.0, 80.00000000000001, 500.0, 1e6])
waits = st.one_of(st.just(0.0), st.floats(0, 0.05), st.integers(0, 30).map(float), st.floats(0, 100))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 8)),
        st.tuples(st.just("wait"), waits),
        st.tuples(st.just("rate"), rates),
        st.tuples(st.just("purge"), st.none()),
        st.tuples(st.just("others"), st.integers(1, 6)),
    ),
    max_size=60,
)


class PlainBucket:
    """The sentence of the specification: tokens, when they were counted last, and the rate since."""

    def __init__(self, rate, burst, now):
        self.rate, self.burst, self.tokens, self.at = rate, burst, float(burst), now

    def refill(self, rate, now):
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at, self.rate = now, rate


def limiter_and_clock(rate, burst, max_entries):
    clock = ManualClock()
    section = RateLimit(requests_per_second=rate, burst=burst, max_entries=max_entries)
    return Limiter(section, clock), clock


@given(rates, st.integers(1, 20), steps)
@settings(max_examples=300, deadline=None)
def test_purges_and_rate_changes_never_change_a_verdict(rate, burst, plan):
    limiter, clock = limiter_and_clock(rate, burst, 10_000)
    model = PlainBucket(rate, burst, clock.now)
    for kind, value in plan:
        if kind == "wait":
            clock.advance(value)
        elif kind == "rate":
            limiter.rate = value
        elif kind == "purge":
            limiter.purge()
        for _ in range(value if kind == "take" else 0):
            model.refill(limiter.rate, clock.now)
            allowed, left, _ = limiter.take(PEER)
            if abs(model.tokens - 1) > NEAR * max(1.0, model.rate):
                assert allowed == (model.tokens >= 1)
            model.tokens -= allowed
            assert left <= max(0.0, model.tokens) + 1e-6 * limiter.rate + NEAR


@given(rates, st.integers(1, 20), st.integers(1, 5), steps)
@settings(max_examples=300, deadline=None)
def test_a_client_never_gets_more_than_burst_and_rate_times_elapsed(rate, burst, max_entries, plan):
    """The span begins anew only when the client itself is pushed out, and then with one token while that goes on."""
    limiter, clock = limiter_and_clock(rate, burst, max_entries)
    allowed, bound, others = 0, float(burst), 0
    filling = 0.0  # the rate as of the client's last request
    for kind, value in plan:
        if kind == "wait":
            clock.advance(value)
            bound += filling * value
        elif kind == "rate":
            limiter.rate = value
        elif kind == "purge":
            limiter.purge()
        elif kind == "others":
            tracked = PEER in limiter._buckets
            for _ in range(value):
                others += 1
                limiter.take(f"10.0.{others >> 8}.{others & 255}")
            if tracked and PEER not in limiter._buckets:
                allowed, bound = 0, float(burst)
        for _ in range(value if kind == "take" else 0):
            if PEER not in limiter._buckets and (limiter.evicting or limiter.tracked == max_entries):
                allowed, bound = 0, 1.0
            filling = limiter.rate
            allowed += limiter.take(PEER)[0]
        assert allowed <= bound + 1
        assert limiter.tracked <= max_entries


@given(rates, st.integers(1, 5), st.lists(st.tuples(waits, st.integers(1, 8), rates), max_size=30))
@settings(max_examples=300, deadline=None)
def test_who_obeys_retry_after_is_never_refused_again(rate, burst, plan):
    limiter, clock = limiter_and_clock(rate, burst, 100)
    for wait, requests, new_rate in plan:
        clock.advance(wait)
        for _ in range(requests):
            allowed, _, seconds = limiter.take(PEER)
            if not allowed:
                limiter.rate = new_rate
                clock.advance(seconds)
                assert limiter.take(PEER)[0]


@given(rates, st.integers(1, 50), st.lists(waits, max_size=20))
@settings(max_examples=200, deadline=None)
def test_after_t_seconds_r_has_grown_by_one(rate, burst, plan):
    limiter, clock = limiter_and_clock(rate, burst, 100)
    for wait in plan:
        clock.advance(wait)
        allowed, left, seconds = limiter.take(PEER)
        if allowed:
            clock.advance(seconds)
            assert limiter.take(PEER)[1] >= left  # one more, less the one just taken
