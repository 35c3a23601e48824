"""Layer 6 alone: the breaker of a backend under the proxy app, with no health checks, limiter or validation around."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event

from aegis.config.schema import CircuitBreaker
from aegis.pool.breaker import Breaker, State
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import HELLO, ScriptedBackend, answer, hold, then_close, then_reset

SECTION = CircuitBreaker(failure_threshold=3, success_threshold=2, half_open_max_requests=2)


class Guarded:
    """The proxy before one backend, whose breaker runs on the clock of the test."""

    def __init__(self, proxy, backend, clock):
        self.backend, self.clock = backend, clock
        host, port = backend.address
        self.proxied = proxy(f"http://{host}:{port}", backend.address, (0.3, 0.3, 60.0))
        state = self.proxied.state
        state.breaker, old = Breaker(SECTION, clock), state.breaker
        state.breaker.on_change = old.on_change

    @property
    def breaker(self):
        return self.proxied.state.breaker

    def pass_time(self, seconds):
        self.clock.advance(seconds)
        self.proxied.backends.tick()

    def ask(self, path="/"):
        with RawClient(self.proxied.address) as client:
            return client.get(path).status

    def trip(self):
        self.backend.on("/oops", answer(500))
        for _ in range(3):
            self.ask("/oops")
        assert self.breaker.state is State.OPEN


@pytest.fixture
def guarded(proxy, clock):
    with ScriptedBackend() as backend:
        yield Guarded(proxy, backend, clock)


def silent(connection, request):
    connection.wait_until_peer_leaves()


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (answer(500), 500),
        (answer(503), 503),
        (then_reset(b""), 502),
        (then_close(b""), 502),
        (then_close(b"garbage\r\n\r\n"), 502),
        (silent, 502),
    ],
    ids=["500", "503", "reset", "close", "malformed", "timeout"],
)
def test_consecutive_failures_of_every_kind_open_it_and_it_takes_no_traffic(guarded, failure, status):
    guarded.backend.on("/oops", failure)
    while guarded.breaker.state is State.CLOSED:
        assert guarded.ask("/oops") == status
    seen = len(guarded.backend.asked("/oops"))
    assert seen >= 3
    assert guarded.ask("/oops") == 503
    assert guarded.ask("/fine") == 503
    assert len(guarded.backend.asked("/oops")) == seen
    assert guarded.backend.asked("/fine") == []


def test_refused_connects_open_it_too(guarded):
    guarded.backend.stop_listening()
    assert [guarded.ask() for _ in range(4)] == [502, 502, 502, 503]


def test_a_success_between_them_starts_the_count_anew(guarded):
    guarded.backend.on("/oops", answer(500))
    for _ in range(5):
        assert [guarded.ask("/oops"), guarded.ask("/oops"), guarded.ask("/fine")] == [500, 500, 200]
    assert guarded.breaker.state is State.CLOSED


def test_404s_are_the_clients_and_never_open_it(guarded):
    guarded.backend.on("/missing", answer(404))
    assert [guarded.ask("/missing") for _ in range(10)] == [404] * 10
    assert guarded.breaker.state is State.CLOSED


def test_after_open_timeout_successes_close_it(guarded):
    guarded.trip()
    guarded.pass_time(29.9)
    assert guarded.ask() == 503
    guarded.pass_time(0.2)
    assert guarded.breaker.state is State.HALF_OPEN
    assert [guarded.ask(), guarded.ask()] == [200, 200]
    assert guarded.breaker.state is State.CLOSED


def test_any_failure_in_half_open_opens_it_again(guarded):
    guarded.trip()
    guarded.pass_time(31)
    assert guarded.ask() == 200
    assert guarded.ask("/oops") == 500
    assert guarded.breaker.state is State.OPEN
    assert guarded.ask() == 503


def test_half_open_admits_at_most_so_many_at_once_and_gives_places_back(guarded):
    guarded.trip()
    guarded.pass_time(31)
    release = Event()
    guarded.backend.on("/slow", hold(release, HELLO))
    with RawClient(guarded.proxied.address) as one, RawClient(guarded.proxied.address) as two:
        one.request("GET", "/slow")
        two.request("GET", "/slow")
        guarded.backend.wait_for("/slow", 2)
        assert guarded.ask() == 503, "both places are taken"
        two.close()  # leaves: neither success nor failure, but its place is free again
        until = gevent.Timeout(3, AssertionError("the place of a client that left was not given back"))
        with until:
            while guarded.ask() == 503:
                gevent.sleep(0.01)
        release.set()
        assert one.read_response().status == 200
    assert guarded.breaker.state is State.CLOSED
