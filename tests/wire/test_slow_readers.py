"""Readers that take their time, over real sockets: who makes progress lives, who stalls or drips is closed."""

from __future__ import annotations

import time

import gevent
import pytest

from aegis.context import KEY
from aegis.http1.response_head import ResponseHeads
from tests.support.poll import eventually
from tests.support.raw_client import RawClient

STALL = 0.5
PIECE = bytes(1 << 19)
LENGTH = 64 * len(PIECE)


def large(serve, write_timeout=STALL):
    """(function that opens clients, contexts of the requests that are over) before an app with 32 MB for everyone."""
    over = []

    def app(environ, start_response):
        environ[KEY].on_end = over.append
        start_response("200 OK", [("Content-Length", str(LENGTH))])
        return iter([PIECE] * 64)

    return serve(app, write_timeout=write_timeout), over


def read_slowly(client, size, pause, seconds, until=lambda: False):
    """Take `size` bytes every `pause` seconds; how many came in all."""
    started, got = time.monotonic(), 0
    while time.monotonic() - started < seconds and not until():
        data = client.receive(size)
        if not data:
            break
        got += len(data)
        gevent.sleep(pause)
    return got


@pytest.mark.parametrize(("size", "pause"), [(6_400, 0.1), (12_800, 0.2)])
def test_a_slow_download_that_makes_progress_lives_on(serve, size, pause):
    """The kernel calls such a socket writable again every 64 KB only, which takes it longer than the stall allows."""
    connect, over = large(serve)
    client = connect(receive_buffer=16_384)
    client.request("GET", "/")
    assert read_slowly(client, size, pause, 2.5, until=lambda: over) > 100_000
    assert over == []


def test_a_reader_that_takes_a_little_in_each_write_timeout_is_closed(serve):
    connect, over = large(serve, write_timeout=2.0)
    client = connect(receive_buffer=1)  # the least that the kernel offers: it acknowledges a few hundred bytes at once
    client.request("GET", "/")
    read_slowly(client, 50, 0.1, 10, until=lambda: over)
    (context,) = over
    assert (context.status, context.reason) == (200, "client_slow")
    assert " bytes in " in context.detail, "it never stalled, it was slow"


def test_a_reader_that_takes_nothing_is_closed_in_time(serve):
    connect, over = large(serve)
    client = connect(receive_buffer=4096)
    client.request("GET", "/")
    started = time.monotonic()
    eventually(lambda: over, "the end of a stalled answer", within=5)
    assert STALL <= time.monotonic() - started < 4 * STALL
    assert over[0].reason == "client_slow"
    assert "took nothing" in over[0].detail


# small answers, which nobody waits for: the kernel takes their rest when the reader does

SMALL = bytes(60_000)
HEAD = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: %d\r\n" % len(SMALL)


def stalled(serve, **settings):
    """(a client that asked until no kernel held one answer more and read none, its connection, the server, answers)

    The answers are as the proxy hands on those that came in one piece with their head: the hot path.
    """
    head, answered = ResponseHeads().parse(HEAD), []

    def app(environ, start_response):
        start_response("200 OK", head)
        answered.append(1)
        return [SMALL]

    connect = serve(app, **settings)
    client = connect(receive_buffer=4096)
    (connection,) = eventually(lambda: connect.server.connections, "the connection")
    for total in range(1, 100):
        answered.clear()
        client.request("GET", "/")
        eventually(lambda: answered, "an answer")
        gevent.sleep(0.002)
        if connection.stream.pending:
            return client, connection, connect.server, total
    raise AssertionError("the kernel took all of it")


def test_once_a_stalled_small_answer_is_out_the_idle_timeout_is_what_it_was(serve):
    client, connection, *_ = stalled(serve, write_timeout=STALL, idle_timeout=60.0)
    assert connection.stream.deadline - connection.stream.now() <= STALL
    until = time.monotonic() + 5
    while connection.stream.pending and time.monotonic() < until:
        client.receive(65_536)
    assert not connection.stream.pending
    left = connection.stream.deadline - connection.stream.now()
    assert 55 < left <= 60 + STALL


def test_a_reader_of_small_answers_that_stalls_is_closed_in_time_whatever_the_idle_timeout(serve):
    _, connection, server, _ = stalled(serve, write_timeout=STALL, idle_timeout=60.0)
    started = time.monotonic()
    eventually(lambda: connection not in server.connections, "its end", within=5)
    assert 0.9 * STALL <= time.monotonic() - started < 4 * STALL


def test_an_idle_timeout_shorter_than_the_write_timeout_does_not_cut_a_small_answer(serve):
    client, connection, server, _ = stalled(serve, write_timeout=5.0, idle_timeout=0.3)
    gevent.sleep(0.6)
    assert connection in server.connections
    until = time.monotonic() + 5
    while connection.stream.pending and time.monotonic() < until:
        client.receive(65_536)
    assert not connection.stream.pending
    eventually(lambda: connection not in server.connections, "the idle end", within=3)


def test_connections_whose_answers_are_on_their_way_neither_give_way_nor_hide_those_that_are_idle(serve, monkeypatch):
    """At max_connections the one idle longest is closed, however many nearer deadlines there are."""
    monkeypatch.setattr("aegis.wire.server.VICTIMS", 1)
    client, connection, server, answered = stalled(serve, write_timeout=5.0, idle_timeout=60.0, max_connections=2)
    with RawClient(server.address) as idle:
        assert idle.get("/").status == 200
        with RawClient(server.address) as fresh:
            assert fresh.get("/").status == 200
            assert idle.ends_silently()
            assert connection in server.connections
            client.timeout = 2
            assert [len(client.read_response().body) for _ in range(answered)] == [len(SMALL)] * answered
