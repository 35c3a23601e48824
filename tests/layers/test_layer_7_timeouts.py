"""Layer 7 alone: the wire before a plain app, and the proxy app before a backend, with short timeouts."""

from __future__ import annotations

import time

import gevent
import pytest

from aegis.context import KEY
from tests.layers.apps import innermost
from tests.support.poll import eventually
from tests.support.raw_client import AbortedError, RawClient
from tests.support.scripted_backend import ScriptedBackend, answer

SHORT = 0.3
LATE = 2.5


@pytest.fixture
def timed(serve):
    """(open a client, contexts of what is over) before an app that reads its body and answers 4 MB at /large."""
    over = []

    @innermost
    def app(environ, start_response):
        context = environ[KEY]
        context.on_end = over.append
        environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(8 << 20))] if context.target == b"/large" else [])
        return iter([bytes(1 << 20)] * 8) if context.target == b"/large" else [b"hello"]

    connect = serve(app, read_timeout=SHORT, write_timeout=SHORT, idle_timeout=2 * SHORT)
    return connect, over


@pytest.fixture
def took():
    started = time.monotonic()
    return lambda: time.monotonic() - started


def test_a_head_is_bounded_as_a_whole_and_answered_408(timed, took):
    client = timed[0]()
    for byte in b"GET / HTTP/1.1\r\nHost: a.test\r\nX: " + b"a" * 100:
        client.send(bytes([byte]))
        if client.readable():
            break
        gevent.sleep(0.02)
    assert client.read_response().status == 408
    assert SHORT * 0.9 < took() < LATE


def test_a_fresh_connection_without_a_byte_is_closed_silently(timed, took):
    assert timed[0]().ends_silently(LATE)
    assert took() > SHORT * 0.9


def test_each_gap_of_a_body_is_bounded(timed):
    connect, over = timed
    client = connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nsome")
    response = client.read_response()
    assert (response.status, response.body) == (408, b'{"error":"request timeout"}')
    assert over[0].reason == "body_timeout"
    assert client.ends_silently()


def test_a_body_below_1_kib_a_second_is_ended(timed):
    connect, over = timed
    client = connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n")
    until = time.monotonic() + LATE
    while not over and time.monotonic() < until:
        client.send(b"a")
        gevent.sleep(0.05)
    assert over[0].reason == "client_slow"


def test_a_reader_that_takes_nothing_is_ended(timed):
    connect, over = timed
    client = connect(receive_buffer=4096)
    client.request("GET", "/large")
    eventually(lambda: over, "the end of the answer", LATE)
    assert (over[0].status, over[0].reason) == (200, "client_slow")


def test_an_idle_connection_is_closed_silently(timed, took):
    client = timed[0]()
    assert client.get("/").status == 200
    assert client.ends_silently(LATE)
    assert took() > SHORT * 1.9


# toward the backend


@pytest.fixture
def before(proxy):
    """(client, backend) with the proxy app alone: response head 0.3 s, gaps 0.3 s, event streams 0.8 s."""
    with ScriptedBackend() as backend:
        host, port = backend.address
        with RawClient(proxy(f"http://{host}:{port}", backend.address, (SHORT, SHORT, 0.8)).address) as client:
            yield client, backend


def stuck(*sent):
    def script(connection, request):
        connection.send(*sent)
        connection.wait_until_peer_leaves()

    return script


def test_a_backend_that_never_answers_is_a_502(before, took):
    client, backend = before
    backend.on("/silent", stuck())
    client.request("POST", "/silent", body=b"x")
    response = client.read_response()
    assert (response.status, response.body) == (502, b'{"error":"bad gateway"}')
    assert SHORT * 0.9 < took() < LATE
    assert client.get("/next").status == 200


def test_a_gap_in_a_backends_body_aborts_the_answer(before, took):
    client, backend = before
    backend.on("/gap", stuck(answer(length=100), b"hello"))
    client.request("GET", "/gap")
    with pytest.raises(AbortedError):
        client.read_response()
    assert SHORT * 0.9 < took() < LATE


def test_an_event_stream_may_pause_for_longer(before, took):
    client, backend = before
    backend.on("/events", stuck(answer(fields=[("Content-Type", "text/event-stream")], length=100), b"data: 1\n\n"))
    client.request("GET", "/events")
    with pytest.raises(AbortedError):
        client.read_response()
    assert 0.75 < took() < LATE
