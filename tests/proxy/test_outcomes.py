"""What each way of ending means to the breaker, with real sockets; and that nothing is left behind by any of them."""

from __future__ import annotations

import gevent
import pytest

from aegis.config.schema import CircuitBreaker
from aegis.pool.breaker import Breaker, State
from tests.support.descriptors import none_left
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, answer, before_body, chunked, then_close, then_reset

EVENTS = [("Content-Type", "text/event-stream")]


@pytest.fixture
def proxied(proxy):
    with ScriptedBackend() as backend:
        made = proxy(backend.url, backend.address, timeouts=(0.3, 0.3, 60.0))
        yield made, backend


def silent(connection, request):
    gevent.sleep(2)


def leave(address, sent, *, wait=0.05):
    """A client that sends this and goes."""
    client = RawClient(address)
    client.send(sent)
    gevent.sleep(wait)
    client.close()


def idle(state):
    eventually(lambda: state.in_flight == 0, "nothing in flight")
    assert state.breaker.permits == 0


def ask(made, path="/x", method="GET"):
    with RawClient(made.address) as client:
        client.send(f"{method} {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".encode())
        client.read_to_end()


FAILING = {
    "500": answer(500, body=b"oops"),
    "503 without a body": answer(503),
    "599 chunked": chunked(b"a", status=599),
    "a 500 that breaks off": then_close(answer(500, body=b"x", length=1000)),
    "closed without a word": then_close(b""),
    "reset": then_reset(b""),
    "closed in the head": then_close(b"HTTP/1.1 200 OK\r\nConte"),
    "malformed": then_close(b"HTTP/9.9 200 OK\r\n\r\n"),
    "a status of 600": answer(600),
    "no head in time": silent,
    "a body that breaks off": then_close(answer(body=b"x", length=1000)),
    "chunks that break off": then_close(chunked(b"hello", end=b"")),
    "chunks that are none": then_close(chunked(b"hello", end=b"zz\r\n")),
}
PASSING = {
    "200": answer(body=b"hello"),
    "chunked": chunked(b"hello"),
    "404": answer(404),
    "429": answer(429, body=b"slow down"),
    "204": answer(204, length=None),
    "until the close": then_close(answer(fields=[("Connection", "close")], body=b"hello", length=None)),
    "bytes behind the end": then_close(answer(body=b"hello") + b"more"),
}


@pytest.mark.parametrize("how", FAILING)
def test_a_failure_of_the_backend_counts(proxied, how):
    made, backend = proxied
    backend.on("/x", FAILING[how])
    ask(made, method="POST")  # is never sent again
    idle(made.state)
    assert (made.state.breaker.streak, made.state.failures) == (1, 1)


@pytest.mark.parametrize("how", PASSING)
def test_any_other_answer_is_a_success(proxied, how):
    made, backend = proxied
    backend.on("/x", PASSING[how])
    made.state.breaker.settle(made.state.breaker.admit(), False)
    ask(made)
    idle(made.state)
    assert made.state.breaker.streak == 0


def test_a_connect_failure_counts(proxy):
    host, port = free_port()
    made = proxy(f"http://{host}:{port}", (host, port))
    ask(made)
    idle(made.state)
    assert (made.state.breaker.streak, made.state.failures) == (1, 1)


@pytest.mark.parametrize("when", ["before the head", "within the body", "while it uploads"])
def test_a_client_that_leaves_counts_neither_way(proxied, when):
    made, backend = proxied
    breaker = made.state.breaker
    breaker.settle(breaker.admit(), False)

    def slowly(connection, request):
        connection.send(answer(body=b"x", length=1000))
        connection.wait_until_peer_leaves()

    backend.on("/x", silent if when == "before the head" else slowly)
    if when == "while it uploads":
        leave(made.address, b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nhello")
    else:
        leave(made.address, b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n")
    idle(made.state)
    assert breaker.streak == 1


def test_a_body_that_is_refused_midway_counts_neither_way(proxied):
    made, _ = proxied
    leave(made.address, b"POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
    idle(made.state)
    assert (made.state.breaker.streak, made.state.failures) == (0, 0)


def test_an_early_answer_to_an_upload_is_judged_by_its_status(proxied):
    made, backend = proxied

    @before_body
    def early(status):
        def script(connection, request):
            connection.send(answer(status))

        return before_body(script)

    backend.on("/x", early(413), early(500))
    for expected in (0, 1):
        with RawClient(made.address) as client:
            client.send(b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nhello")
            client.read_response()
        idle(made.state)
        assert made.state.breaker.streak == expected


def test_an_event_stream_counts_as_success_at_its_head_and_holds_no_permit(proxied):
    made, backend = proxied

    def events(connection, request):
        connection.send(chunked(b"data: 1\n\n", fields=EVENTS, end=b""))
        connection.wait_until_peer_leaves()

    backend.on("/x", events)
    made.state.breaker.settle(made.state.breaker.admit(), False)
    with RawClient(made.address) as client:
        client.send(b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n")
        eventually(lambda: made.state.breaker.streak == 0, "the success")
        assert made.state.in_flight == 1
    idle(made.state)


def test_after_the_threshold_nothing_reaches_the_backend_until_half_open_tries_it(proxied, clock):
    made, backend = proxied
    breaker = made.state.breaker
    breaker._clock, breaker._section = clock, CircuitBreaker(failure_threshold=3, success_threshold=2)
    backend.on("/x", *[answer(500)] * 3, answer(200))
    with RawClient(made.address) as client:
        statuses = [client.get("/x").status for _ in range(5)]
        assert statuses == [500, 500, 500, 503, 503]
        assert len(backend.requests) == 3
        clock.advance(30)
        made.backends.tick()
        assert [client.get("/x").status for _ in range(2)] == [200, 200]
    assert breaker.state is State.CLOSED


def test_half_open_lets_no_more_through_at_once_than_it_may(proxied, clock):
    made, backend = proxied
    breaker = made.state.breaker
    breaker._clock = clock
    for _ in range(5):
        breaker.settle(breaker.admit(), False)
    clock.advance(30)
    made.backends.tick()
    release = gevent.event.Event()

    def held(connection, request):
        release.wait(5)
        connection.send(answer())

    backend.on("/x", held)

    def get():
        with RawClient(made.address) as client:
            return client.get("/x").status

    asking = [gevent.spawn(get) for _ in range(8)]
    eventually(lambda: sum(each.ready() for each in asking) == 5, "the five that find no backend")
    assert len(backend.requests) == 3
    release.set()
    gevent.joinall(asking, timeout=5)
    assert sorted(each.value for each in asking) == [200] * 3 + [503] * 5
    idle(made.state)


def test_our_own_lack_of_descriptors_is_a_500_and_counts_against_no_backend(proxied):
    made, backend = proxied
    with RawClient(made.address) as client:
        eventually(lambda: made.server.open == 1, "the connection")
        with none_left():
            client.request("GET", "/x")
            response = client.read_response()
    assert (response.status, response.body) == (500, b'{"error":"internal server error"}')
    idle(made.state)
    assert (made.state.failures, made.state.breaker.streak, made.state.suspect) == (0, 0, False)
    ask(made)
    assert len(backend.requests) == 1


class Undecided(Breaker):
    """Looks as if it admitted, and gives no permit: what another process has done, this one has not heard of."""

    admits = True

    def admit(self):
        return None


def test_a_backend_that_gives_no_permit_is_asked_once(proxied):
    made, _ = proxied
    made.state.breaker = Undecided(CircuitBreaker())
    made.state.breaker.guarded = True
    with gevent.Timeout(5), RawClient(made.address) as client:
        assert client.get("/x").status == 503


def test_a_retry_that_nobody_admits_keeps_no_place_in_the_budget(proxy):
    with ScriptedBackend() as failing, ScriptedBackend() as other:
        failing.on("/x", then_close(b""))
        made = proxy(failing.url, failing.address, more=[(other.url, other.address)])
        made.state.breaker.reconfigure(CircuitBreaker(failure_threshold=1))
        made.states[1].breaker = Undecided(CircuitBreaker())
        made.states[1].breaker.guarded = True
        with RawClient(made.address) as client:
            assert client.get("/x").status == 503
        assert len(failing.asked("/x")) == 1
        assert made.budget.in_flight == 0
