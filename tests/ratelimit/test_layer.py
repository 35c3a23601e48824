"""The fields and the 429, in the context that the wire makes the head of."""

from __future__ import annotations

import pytest

from aegis.config.schema import RateLimit
from aegis.context import KEY, Peer, RequestContext
from aegis.proxy.app import refuse
from aegis.ratelimit.layer import MOST_KNOWN, RateLimitLayer
from aegis.reasons import Reason

PEER = "192.0.2.7"


def context_of(address=PEER, reason=Reason.OK):
    context = RequestContext("0" * 32, Peer(address, "", b"", trusted=False), "GET", b"/", None, 0.0)
    context.reason = reason
    return context


@pytest.fixture
def ask(limiter_of):
    """Send a request through the layer: (status, fields it adds)."""

    class Ask:
        def use(self, **section):
            self.limiter = limiter_of(**section)
            self.layer = RateLimitLayer(self.app, self.limiter).__call__
            return self

        def app(self, environ, start_response):
            context = environ[KEY]
            if context.reason is not Reason.OK:
                return refuse(context, start_response)
            start_response("200 OK", [])
            return [b"fine"]

        def __call__(self, context=None, **environ):
            context = context or context_of()
            statuses = []
            self.layer({KEY: context, **environ}, lambda status, fields: statuses.append(status))
            lines = context.extra.split(b"\r\n")
            assert lines.pop() == b""
            return int(statuses[0][:3]), [line.decode() for line in lines]

    return Ask()


def test_what_passed_carries_both_fields(ask):
    ask.use(rate=100.0, burst=150)
    assert ask() == (200, ['RateLimit-Policy: "ip";q=150;w=2', 'RateLimit: "ip";r=149;t=1'])
    assert ask() == (200, ['RateLimit-Policy: "ip";q=150;w=2', 'RateLimit: "ip";r=148;t=1'])


def test_a_429_carries_them_and_retry_after_equal_to_t(ask, clock):
    ask.use(rate=0.1, burst=1)
    ask()
    clock.advance(0.5)
    assert ask() == (429, ['RateLimit-Policy: "ip";q=1;w=10', 'RateLimit: "ip";r=0;t=10', "Retry-After: 10"])
    clock.advance(9)
    assert ask()[1][1:] == ['RateLimit: "ip";r=0;t=1', "Retry-After: 1"]


@pytest.mark.parametrize(
    ("rate", "burst", "window"), [(100, 150, 2), (100, 100, 1), (100, 1, 1), (0.5, 3, 6), (3, 10, 4), (500, 501, 2)]
)
def test_w_is_burst_over_rate_rounded_up(ask, rate, burst, window):
    ask.use(rate=rate, burst=burst)
    assert ask()[1][0] == f'RateLimit-Policy: "ip";q={burst};w={window}'


def test_the_fields_speak_of_the_current_rate(ask, clock):
    ask.use(rate=1.0, burst=10)
    ask()
    ask.limiter.rate = 0.25
    clock.advance(0)
    assert ask()[1] == ['RateLimit-Policy: "ip";q=10;w=40', 'RateLimit: "ip";r=8;t=4']
    ask.limiter.reconfigure(RateLimit(requests_per_second=2, burst=4))
    assert ask()[1] == ['RateLimit-Policy: "ip";q=4;w=2', 'RateLimit: "ip";r=3;t=1']


def test_what_was_refused_before_never_reaches_the_limiter(ask):
    ask.use(burst=5)
    for _ in range(20):
        assert ask(context_of(reason=Reason.HOST_NOT_ALLOWED)) == (400, [])
    assert (ask.limiter.tracked, ask.limiter.allowed, ask.limiter.limited) == (0, 0, 0)


def test_a_429_has_its_reason_and_the_text_of_the_table(ask):
    ask.use(burst=1)
    ask()
    context = context_of()
    ask(context)
    assert context.reason is Reason.RATE_LIMITED
    assert refuse(context, lambda *_: None) == [b'{"error":"rate limit exceeded"}']


def test_fields_that_others_set_stay(ask):
    context = context_of()
    context.extra = b"X-Before: 1\r\n"
    ask.use()
    assert ask(context)[1][0] == "X-Before: 1"


def test_shadow_mode_shows_nothing(ask):
    ask.use(burst=1, mode="shadow")
    assert [ask() for _ in range(3)] == [(200, [])] * 3
    assert ask.limiter.shadow_limited == 2


def test_no_field_of_the_request_is_looked_at(ask):
    ask.use(burst=3)
    answers = [
        ask(
            HTTP_X_FORWARDED_FOR=f"203.0.113.{number}",
            HTTP_X_REAL_IP=f"203.0.113.{number}",
            HTTP_FORWARDED=f"for=203.0.113.{number}",
            REMOTE_ADDR=f"203.0.113.{number}",
        )[0]
        for number in range(5)
    ]
    assert answers == [200, 200, 200, 429, 429]
    assert ask.limiter.tracked == 1


def test_an_ipv6_network_is_one_client(ask):
    ask.use(burst=3)
    answers = [ask(context_of(f"2001:db8:0:7::{number:x}"))[0] for number in range(1, 5)]
    assert answers == [200, 200, 200, 429]
    assert ask(context_of("2001:db8:0:8::1"))[0] == 200


def test_a_v4_mapped_peer_is_that_ipv4_client(ask):
    ask.use(burst=1)
    assert ask()[0] == 200
    assert ask(context_of(f"::ffff:{PEER}"))[0] == 429


def test_repr_says_the_state(ask):
    ask.use()
    assert repr(ask.layer.__self__) == "<RateLimitLayer <Limiter enforce 10/s burst 5 0 tracked>>"


def test_printed_fields_are_right_however_many_were_printed_before(ask):
    """More buckets and fillings than the layer remembers."""
    burst = 3 * MOST_KNOWN
    ask.use(rate=1.0, burst=burst)
    for left in range(burst - 1, burst - MOST_KNOWN - 3, -1):
        assert ask()[1][1] == f'RateLimit: "ip";r={left};t=1'
