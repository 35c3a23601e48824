"""Latency runs from the last request byte to the response head; each attempt is a sample of its own backend."""

from __future__ import annotations

from time import monotonic

import gevent
import pytest
from gevent.event import Event

from tests.support.poll import eventually
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import HELLO, ScriptedBackend, answer, chunked, hold, then_reset


@pytest.fixture
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


def after(seconds, data=HELLO):
    def script(connection, request):
        gevent.sleep(seconds)
        connection.send(data)

    return script


def samples(proxied):
    return proxied.state.window.latencies(monotonic())


def test_every_response_is_a_sample_whatever_its_status(proxy, backend):
    backend.on("/broken", answer(503, body=b"no"))
    made = proxy(backend.url, backend.address)
    with RawClient(made.address) as client:
        assert client.get("/").status == 200
        assert client.get("/broken").status == 503
    assert len(samples(made)) == 2


def test_the_time_to_the_response_head_is_the_sample_not_that_of_the_body(proxy, backend):
    def script(connection, request):
        gevent.sleep(0.1)
        connection.send(chunked(b"first", end=b""))
        gevent.sleep(0.4)
        connection.send(b"0\r\n\r\n")

    backend.on("/slow", script)
    made = proxy(backend.url, backend.address)
    with RawClient(made.address) as client:
        assert client.get("/slow").status == 200
    (sample,) = samples(made)
    assert 95 <= sample < 400


def test_a_slow_client_is_not_in_it(proxy, backend):
    made = proxy(backend.url, backend.address)
    with RawClient(made.address) as client:
        client.send(b"POST /up HTTP/1.1\r\nHost: example.test\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            gevent.sleep(0.03)
            client.send(b"x")
        assert client.read_response().status == 200
    (sample,) = samples(made)
    assert sample < 150


def test_a_timeout_counts_as_its_timeout(proxy, backend):
    backend.on("/late", after(0.6))
    made = proxy(backend.url, backend.address, timeouts=(0.3, 5.0, 60.0))
    with RawClient(made.address) as client:
        assert client.get("/late").status == 502
    assert samples(made) == [300.0]


def test_what_never_answered_is_no_sample(proxy, backend):
    backend.on("/reset", then_reset(b""))
    made = proxy(backend.url, backend.address)
    with RawClient(made.address) as client:
        assert client.get("/reset").status == 502
    assert samples(made) == []


def test_an_attempt_whose_client_left_is_no_sample(proxy, backend):
    never = Event()
    backend.on("/held", hold(never, HELLO))
    made = proxy(backend.url, backend.address)
    with RawClient(made.address) as client:
        client.request("GET", "/held")
        backend.wait_for("/held")
    eventually(lambda: made.state.in_flight == 0, "the request to be cancelled")
    never.set()
    assert samples(made) == []
