"""Clients that leave, or take nothing, at moments when the proxy waits for something else: no backend pays for it."""

from __future__ import annotations

import _socket
import socket
from types import SimpleNamespace

import gevent
import pytest

from aegis.http1.response_head import ResponseHeads
from aegis.net.deadlines import Deadlines
from aegis.net.stream import Stream
from aegis.proxy.attempt import Timeouts, attempt
from aegis.reasons import ClientGoneError, DeadlinePassedError
from tests.security.layers import request
from tests.support.poll import eventually
from tests.support.ports import loopback_host
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, answer, chunked

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
EVENTS = chunked(b"data: 1\n\n", fields=[("Content-Type", "text/event-stream")], end=b"")


@pytest.fixture
def unanswered():
    """An address where a connect is neither taken nor refused: its queue is full."""
    with socket.socket() as listener:
        listener.bind((loopback_host(), 0))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        yield listener.getsockname()
        for each in waiting:
            each.close()


def test_a_client_that_leaves_while_a_backend_is_dialled_ends_the_dialling(proxy, unanswered):
    made = proxy("http://{}:{}".format(*unanswered), unanswered)
    with RawClient(made.address) as client:
        client.send(GET)
        eventually(lambda: made.state.in_flight == 1, "the connect")
        gevent.sleep(0.05)
    eventually(lambda: made.state.in_flight == 0, "the end of it", within=0.8)
    assert made.state.failures == 0, "the backend is not to blame"
    eventually(lambda: not made.server.connections, "the end of the client's connection")


@pytest.mark.parametrize("trouble", [DeadlinePassedError(), ConnectionResetError()])
def test_a_client_that_takes_no_interim_answer_is_the_clients_fault(trouble):
    ours, peer = socket.socketpair()
    stream = Stream(_socket.socket(fileno=ours.detach()), Deadlines())
    context = request()

    def interim(head):
        raise trouble

    def hint():
        assert peer.recv(1000) == GET
        peer.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")

    context.interim = interim
    hinting = gevent.spawn(hint)
    try:
        with pytest.raises(ClientGoneError):
            attempt(context, SimpleNamespace(stream=stream), GET, b"", ResponseHeads(), Timeouts(5, 5, 5))
    finally:
        hinting.get(timeout=5)
        stream.close()
        peer.close()


def test_an_event_stream_after_a_retry_holds_no_place_in_the_budget(proxy):
    with socket.socket() as closed, ScriptedBackend() as backend:
        closed.bind((loopback_host(), 0))
        refusing = closed.getsockname()
        backend.on("/", lambda connection, request: (connection.send(EVENTS), connection.wait_until_peer_leaves()))
        made = proxy("http://{}:{}".format(*refusing), refusing, more=[(backend.url, backend.address)])
        with RawClient(made.address) as client:
            client.send(GET)
            assert client.read_head().status == 200
            assert made.states[0].failures == 1, "the first backend was tried first"
            assert made.budget.in_flight == 0


def test_a_slow_reader_gets_the_last_answer_whole_though_idle_connections_are_closed(proxy, monkeypatch):
    """As at a stop, or at max_connections: with the answer on its way the connection is idle only by its state."""
    body = bytes(7000)
    with ScriptedBackend() as backend:
        # With a Date nothing has to be added to it: it is queued, and its exchange is over.
        backend.on("/", answer(body=body, fields=[("Date", "Tue, 24 Nov 2026 18:00:00 GMT")]))
        made = proxy(backend.url, backend.address)
        with RawClient(made.address, receive_buffer=4096) as client:
            client.send(GET)
            connection = eventually(lambda: next(iter(made.server.connections), None), "the connection")
            connection.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            count = 1
            eventually(lambda: connection.waits and connection.exchange is None, "the first answer")
            while not connection.stream.pending:
                client.send(GET)
                count += 1
                gevent.sleep(0.02)
                assert count < 500
            assert connection.state.name == "IDLE"
            loop = gevent.get_hub().loop
            loop.run_callback(made.server.close_idle)
            with RawClient(made.address) as other:  # idle for less long, and the one that is to give way
                monkeypatch.setattr("aegis.wire.server.VICTIMS", 1)
                assert other.get("/").status == 200
                loop.run_callback(made.server.evict)
                assert other.ends_silently(1)
            for _ in range(count):
                assert client.read_response().body == body
            loop.run_callback(made.server.close_idle)
            assert client.ends_silently()
