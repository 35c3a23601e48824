"""The proxy app behind the real server and before a real backend, with many clients at once."""

from __future__ import annotations

import hashlib
import random

import gevent
import pytest

from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, answer, chunked

CLIENTS, ROUNDS = 12, 4


def echo(connection, request):
    """The same bytes back, in the framing that the request's target asks for."""
    pieces = [request.body[place : place + 50_000] for place in range(0, len(request.body), 50_000)]
    connection.send(chunked(*pieces) if request.target == "/chunked" else answer(body=request.body))


@pytest.fixture
def proxied(proxy):
    """(address of the proxy, its backend, the state of that backend)"""
    with ScriptedBackend() as backend:
        backend.on("/length", echo)
        backend.on("/chunked", echo)
        made = proxy(backend.url, backend.address)
        yield made.address, backend, made.state
        assert backend.faults == []


def framed(body, kind, rng):
    if kind == "length":
        return b"Content-Length: %d\r\n\r\n" % len(body) + body
    out, place = b"Transfer-Encoding: chunked\r\n\r\n", 0
    while place < len(body):
        piece = body[place : place + rng.randint(1, 90_000)]
        out += b"%x\r\n%b\r\n" % (len(piece), piece)
        place += len(piece)
    return out + b"0\r\n\r\n"


def client(address, number):
    """Sends bodies of its own and gets each back, slowly or at once."""
    rng = random.Random(number)
    with RawClient(address, timeout=20, receive_buffer=rng.choice([0, 8192])) as raw:
        for _ in range(ROUNDS):
            body = hashlib.sha256(rng.randbytes(8)).digest() * rng.randint(0, 40_000)
            way = rng.choice(["length", "chunked"])
            head = b"POST /%b HTTP/1.1\r\nHost: a.test\r\n" % rng.choice([b"length", b"chunked"])
            sending = gevent.spawn(raw.send, head + framed(body, way, rng))
            response = raw.read_response()
            sending.get(timeout=20)
            assert response.body == body
    return ROUNDS


def test_many_clients_at_once_each_get_their_own_bytes_back(proxied):
    address, backend, state = proxied
    clients = [gevent.spawn(client, address, number) for number in range(CLIENTS)]
    gevent.joinall(clients, timeout=50, raise_error=True)
    assert [each.get() for each in clients] == [ROUNDS] * CLIENTS
    assert len(backend.requests) == CLIENTS * ROUNDS
    assert state.in_flight == 0
    assert state.connections.num_requests == CLIENTS * ROUNDS
    assert len(backend.connections) == state.connections.num_connections <= CLIENTS


def test_pipelined_requests_with_bodies_are_answered_in_their_order(proxied):
    address, backend, _ = proxied
    rng, bodies = random.Random(1), [b"%d" % number * (number * 37 % 500) for number in range(40)]
    with RawClient(address) as raw:
        raw.send(
            b"".join(
                b"POST /length HTTP/1.1\r\nHost: a.test\r\n" + framed(body, rng.choice(["length", "chunked"]), rng)
                for body in bodies
            )
        )
        assert [raw.read_response().body for _ in bodies] == bodies
    assert len(backend.connections) == 1
