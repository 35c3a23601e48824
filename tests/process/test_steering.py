"""The steering program, in the kernel that runs the tests."""

from __future__ import annotations

import select
import socket
from collections import Counter

import pytest

from aegis.process.listeners import open_group
from aegis.process.steering import steer
from tests.support.ports import free_port, loopback_host
from tests.support.several import worker_of


@pytest.fixture
def group():
    host, port = free_port()
    listeners = open_group(host, port, 3)
    yield listeners, (host, port)
    for listener in listeners:
        listener.close()


def landing(listeners, address, source):
    with socket.socket() as client:
        client.bind((source, 0))
        client.connect(address)
        (ready,), _, _ = select.select(listeners, [], [], 2)
        ready.accept()[0].close()
        return listeners.index(ready)


SOURCES = [f"127.0.{high}.{low}" for high in range(3) for low in range(2, 42, 2)]  # all even: a pattern


def test_a_client_lands_where_its_address_says_over_every_connection(group):
    listeners, address = group
    steer(listeners[0], 3, {})
    for source in SOURCES:
        expected = worker_of(socket.inet_aton(source), 3)
        assert {landing(listeners, address, source) for _ in range(3)} == {expected}


def test_addresses_that_follow_a_pattern_are_spread(group):
    listeners, _ = group
    shares = Counter(worker_of(socket.inet_aton(source), len(listeners)) for source in SOURCES)
    assert min(shares.values()) > len(SOURCES) / 6


def test_a_dead_workers_clients_go_elsewhere_and_come_back(group):
    listeners, address = group
    mine = [source for source in SOURCES if worker_of(socket.inet_aton(source), 3) == 1][:5]
    steer(listeners[0], 3, {1: 2})
    assert {landing(listeners, address, source) for source in mine} == {2}
    steer(listeners[0], 3, {})
    assert {landing(listeners, address, source) for source in mine} == {1}


def test_ipv6_clients_are_told_apart_by_their_64():
    one, other = (socket.inet_pton(socket.AF_INET6, text) for text in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"))
    assert worker_of(one, 4) == worker_of(other, 4)
    networks = [socket.inet_pton(socket.AF_INET6, f"2001:db8:0:{number:x}::1") for number in range(64)]
    assert len({worker_of(address, 4) for address in networks}) == 4


def test_a_group_opens_wholly_or_not_at_all():
    with socket.socket() as other:
        other.bind((loopback_host(), 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            open_group(*other.getsockname(), 2)
