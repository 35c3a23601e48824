"""At `max_connections`: the idle longest makes room; when none is idle, accepting waits."""

from __future__ import annotations

import gevent
from gevent.event import Event

from tests.support.poll import eventually
from tests.support.scripted_backend import HELLO, hold

LIMIT = 3
CONFIG = {"server": {"max_connections": LIMIT}}


def test_connection_idle_longest_is_closed_to_let_a_new_one_in(backend, connect):
    idle = [connect() for _ in range(LIMIT)]
    for client in idle:
        assert client.get("/idle").status == 200
        gevent.sleep(0.02)  # an order to tell apart
    assert connect().get("/new").status == 200
    assert idle[0].ends_silently(2)
    assert [client.readable() for client in idle[1:]] == [False, False]


def test_connection_waits_while_none_is_idle_and_is_served_once_one_is(backend, connect):
    release = Event()
    backend.on("/busy", hold(release, HELLO))
    busy = [connect() for _ in range(LIMIT)]
    for client in busy:
        client.request("GET", "/busy")
    eventually(lambda: len(backend.asked("/busy")) == LIMIT, "all busy at the backend")
    waiting = connect()
    waiting.request("GET", "/waiting")
    gevent.sleep(0.2)
    assert backend.asked("/waiting") == []
    release.set()
    assert [client.read_response().status for client in busy] == [200] * LIMIT
    assert waiting.read_response().status == 200
