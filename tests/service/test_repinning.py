"""The real look-up in the real threads, as `build` wires them."""

from __future__ import annotations

import time

import gevent
from gevent import monkey
from gevent.threadpool import ThreadPool

from aegis.config.load import load_text
from aegis.pool.backend import Backend
from aegis.pool.repin import Repinner
from aegis.service.build import build
from aegis.service.vetting import look_up_by
from aegis.transport.resolver import Address, VettingError
from tests.support.poll import eventually

CONFIG = """
server: {port: 8080}
backends: [{url: "http://a.test:80", name: a, weight: 1}]
security: {allowed_backend_networks: ["192.0.2.0/24", "127.0.0.0/8"]}
"""
PINNED = (Address("192.0.2.1", 80),)


def resolving(*hosts):
    return lambda host, port: [(2, each) for each in hosts]


def failing(host, port):
    raise OSError("no such name")


def found(resolve, host="a.test", port=80):
    return look_up_by(load_text(CONFIG, "aegis.yml", {}), resolve)(Backend("a", "http", host, port, 1, PINNED))


def test_a_later_look_up_is_vetted_as_at_start():
    assert found(resolving("192.0.2.7")) == (Address("192.0.2.7", 80),)
    for bad in (resolving("192.0.2.7", "10.0.0.1"), resolving("169.254.169.254")):
        refused = found(bad)
        assert isinstance(refused, VettingError)
        assert not refused.unresolved
    assert found(failing).unresolved
    assert "our own listener" in str(found(resolving("127.0.0.1"), port=8080))


def test_a_stuck_look_up_delays_nothing_but_itself():
    sleep = monkey.get_original("time", "sleep")  # blocks its thread, as a resolver does that gets no answer

    def stuck(host, port):
        sleep(0.3)
        return [(2, "192.0.2.7")]

    config = load_text(CONFIG, "aegis.yml", {})
    parts = build(config, [Backend("a", "http", "a.test", 80, 1, PINNED)])
    repinner = Repinner(parts.backends, look_up_by(config, stuck), ThreadPool(4).spawn, parts.events)
    (state,) = parts.backends
    state.suspect = True
    before = time.monotonic()
    repinner.tick()
    repinner.tick()
    assert time.monotonic() - before < 0.1
    assert state.backend.addresses == PINNED
    turns = 0
    while time.monotonic() - before < 0.25:
        gevent.sleep(0.005)
        turns += 1
    assert turns > 20  # the loop went on

    def pinned():
        repinner.tick()
        return state.backend.addresses != PINNED

    eventually(pinned, "the new address")
    assert state.connections.dial_settings.addresses == (Address("192.0.2.7", 80),)
