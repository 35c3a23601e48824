"""Pools over real sockets: the peers are scripted backends, or listeners that never answer."""

from __future__ import annotations

import socket

import gevent
import pytest

from aegis.net.deadlines import Deadlines
from aegis.reasons import BackendError, ExhaustedError, Reason, Replay
from aegis.transport.connection import DialSettings
from aegis.transport.connection_pool import open_pool
from aegis.transport.resolver import Address
from tests.support.descriptors import none_left
from tests.support.poll import eventually
from tests.support.ports import free_port, loopback_host
from tests.support.scripted_backend import ScriptedBackend, answer, then_close

REQUEST = b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n"


@pytest.fixture
def deadlines():
    return Deadlines()


@pytest.fixture
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


@pytest.fixture
def make_pool(deadlines):
    pools = []

    def make(*addresses, url="http://nowhere.invalid:80", max_idle=8, idle_timeout=60.0, connect_timeout=5.0):
        settings = DialSettings(tuple(Address(*each) for each in addresses), connect_timeout, deadlines)
        pools.append(open_pool(url, settings, max_idle=max_idle, idle_timeout=idle_timeout))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def pool(make_pool, backend):
    return make_pool(backend.address)


_taken = []


@pytest.fixture(autouse=True)
def closed_afterwards():
    """A pool does not close what was taken from it."""
    yield
    for connection in _taken:
        connection.close()
    _taken.clear()


def taken(pool):
    """A connection, connected."""
    connection = pool.take()
    _taken.append(connection)
    if connection.stream is None:
        connection.open()
    return connection


def ask(connection, path=b"/"):
    """One exchange; the answers are small and come whole."""
    connection.stream.send_all(REQUEST % path, 5)
    data = b""
    while not data.endswith(b"hello"):
        piece = connection.stream.read_some(8192)
        assert piece, data
        data += piece
    return data


def refused_address():
    """Nobody listens there."""
    return free_port()


@pytest.fixture
def silent_address():
    """A connect to it is neither accepted nor refused: its queue is full."""
    with socket.socket() as listener:
        listener.bind(free_port())
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        yield listener.getsockname()
        for filler in fillers:
            filler.close()


# reuse


def test_a_parked_connection_is_used_again(pool, backend):
    first = taken(pool)
    ask(first)
    pool.park(first)
    assert pool.idle() == [first]
    second = taken(pool)
    assert second is first
    ask(second)
    pool.park(second)
    assert (pool.num_connections, pool.num_requests, len(backend.connections)) == (1, 2, 1)
    assert len(backend.requests) == 2


def test_under_load_urllib3s_own_counters_show_reuse(make_pool, backend):
    pool = make_pool(backend.address, max_idle=16)

    def client():
        for _ in range(30):
            connection = taken(pool)
            ask(connection)
            pool.park(connection)

    gevent.joinall([gevent.spawn(client) for _ in range(8)], timeout=20, raise_error=True)
    assert pool.num_requests == 8 * 30
    assert pool.num_connections <= 8
    assert len(backend.connections) == pool.num_connections
    assert len(backend.requests) == 8 * 30


def test_the_last_parked_is_the_first_taken(pool):
    connections = [taken(pool) for _ in range(3)]
    for connection in connections:
        pool.park(connection)
    assert [taken(pool) for _ in range(3)] == connections[::-1]


def test_a_fresh_connection_can_be_had_whatever_is_parked(pool):
    parked = taken(pool)
    pool.park(parked)
    fresh = pool.take_fresh()
    assert fresh is not parked
    assert fresh.stream is None
    assert pool.idle() == [parked]


def test_no_more_than_max_idle_are_parked_and_the_others_are_closed(make_pool, backend):
    pool = make_pool(backend.address, max_idle=2)
    connections = [taken(pool) for _ in range(5)]  # a bound on parked ones, not on open ones
    for connection in connections:
        ask(connection)
    for connection in connections:
        pool.park(connection)
    assert pool.idle() == connections[:2]
    eventually(lambda: backend.open_connections() == 2, "three closed connections")
    for _ in range(3):
        again = [taken(pool), taken(pool)]
        assert set(again) == set(connections[:2])
        for connection in again:
            pool.park(connection)


def test_places_are_not_lost_by_failures(make_pool, backend):
    pool = make_pool(backend.address, max_idle=2)
    for _ in range(10):
        pool.discard(taken(pool))
    connections = [taken(pool), taken(pool)]
    for connection in connections:
        pool.park(connection)
    assert pool.idle() == connections


def test_a_discarded_connection_is_closed_and_not_parked(pool, backend):
    connection = taken(pool)
    ask(connection)
    pool.discard(connection)
    assert pool.idle() == []
    eventually(lambda: backend.open_connections() == 0, "its end")
    assert taken(pool) is not connection


def test_closing_the_pool_closes_what_is_parked(pool, backend):
    connections = [taken(pool) for _ in range(3)]
    for connection in connections:
        pool.park(connection)
    eventually(lambda: backend.open_connections() == 3, "three connections")
    pool.close()
    eventually(lambda: backend.open_connections() == 0, "their end")


# what happens to a connection while it is parked


def test_a_connection_that_its_backend_closes_leaves_the_pool(pool, backend):
    backend.on("/", then_close(answer(body=b"hello")))
    staying, leaving = taken(pool), taken(pool)
    ask(staying, b"/other")
    leaving.stream.send_all(REQUEST % b"/", 5)
    assert leaving.stream.read_some(8192).endswith(b"hello")
    pool.park(staying)
    pool.park(leaving)
    eventually(lambda: pool.idle() == [staying], "one parked connection")
    assert taken(pool) is staying
    ask(staying, b"/other")


def test_a_connection_on_which_bytes_come_unasked_leaves_the_pool(pool, backend):
    connection = taken(pool)
    ask(connection)
    pool.park(connection)
    backend.connections[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    eventually(lambda: pool.idle() == [], "an empty pool")
    fresh = taken(pool)
    assert fresh is not connection
    ask(fresh)


def test_a_connection_parked_too_long_leaves_the_pool(make_pool, backend, deadlines):
    pool = make_pool(backend.address, idle_timeout=0.02)
    connection = taken(pool)
    ask(connection)
    pool.park(connection)

    def swept():
        deadlines.sweep()
        return pool.idle() == []

    eventually(swept, "an empty pool")
    eventually(lambda: backend.open_connections() == 0, "its end at the backend")


def test_a_taken_connection_is_no_longer_bound_by_the_idle_timeout(make_pool, backend, deadlines):
    pool = make_pool(backend.address, idle_timeout=-1.0)  # late as soon as it is parked
    connection = taken(pool)
    ask(connection)
    pool.park(connection)
    deadlines.sweep()  # its expiry is on the way
    assert taken(pool) is connection
    deadlines.sweep()
    gevent.sleep(0.01)
    ask(connection)


def test_no_stream_is_left_behind(pool, backend, deadlines):
    connections = [taken(pool) for _ in range(4)]
    pool.park(connections[0])
    pool.discard(connections[1])
    pool.discard(connections[2])
    pool.discard(connections[3])
    pool.close()
    assert not deadlines.streams


# dialling


def test_a_connect_asks_no_resolver(make_pool, backend, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a resolver was asked")

    for module in (socket, gevent.socket):
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            monkeypatch.setattr(module, name, never)
    resolver = gevent.get_hub().resolver
    monkeypatch.setattr(resolver, "getaddrinfo", never, raising=False)
    connection = taken(make_pool(backend.address, url="http://nowhere.invalid:80"))
    assert ask(connection).endswith(b"hello")
    connection.close()


def test_a_refused_connect_goes_on_to_the_next_address(make_pool, backend):
    pool = make_pool(refused_address(), refused_address(), backend.address)
    connection = taken(pool)
    ask(connection)
    pool.park(connection)
    assert (pool.num_connections, pool.num_requests) == (1, 1)  # counted once


def test_addresses_are_tried_in_their_order(make_pool, backend):
    with ScriptedBackend() as first:
        for _ in range(3):
            pool = make_pool(first.address, backend.address)
            connection = taken(pool)
            ask(connection)
            pool.discard(connection)
        assert (len(first.connections), len(backend.connections)) == (3, 0)


@pytest.mark.parametrize("count", [1, 3])
def test_when_every_address_refuses_it_is_a_connect_failure_that_another_backend_may_mend(make_pool, count):
    pool = make_pool(*(refused_address() for _ in range(count)))
    with pytest.raises(BackendError) as caught:
        taken(pool)
    assert caught.value.reason is Reason.BAD_GATEWAY_CONNECT
    assert caught.value.replay is Replay.ANOTHER_BACKEND
    tried = ", ".join(map(str, pool.dial_settings.addresses))
    assert caught.value.detail == f"{tried}: [Errno 111] Connection refused"


def test_without_an_address_it_is_a_connect_failure(make_pool):
    with pytest.raises(BackendError) as caught:
        taken(make_pool())
    assert caught.value.reason is Reason.BAD_GATEWAY_CONNECT


def test_a_connect_that_gets_no_answer_ends_at_connect_timeout(make_pool, silent_address):
    pool = make_pool(silent_address, connect_timeout=0.05)
    with gevent.Timeout(5), pytest.raises(BackendError) as caught:
        taken(pool)
    assert caught.value.reason is Reason.BAD_GATEWAY_CONNECT


def test_each_address_has_its_own_connect_timeout(make_pool, silent_address, backend):
    pool = make_pool(silent_address, silent_address, backend.address, connect_timeout=0.1)
    with gevent.Timeout(5):
        connection = taken(pool)
    ask(connection)
    pool.discard(connection)


def test_a_killed_connect_leaves_nothing_open(make_pool, silent_address, deadlines):
    pool = make_pool(silent_address, connect_timeout=60)
    dialling = gevent.spawn(taken, pool)
    gevent.sleep(0.01)
    dialling.kill()  # a socket left to the collector would be a ResourceWarning, and so an error
    assert not deadlines.streams


def test_a_connection_says_its_state(pool, backend):
    connection = taken(pool)
    assert "nowhere.invalid:80" in repr(connection)
    assert repr(connection.stream) in repr(connection)
    pool.discard(connection)
    assert "None" in repr(connection)


# other addresses


def test_after_redialling_nothing_that_leads_to_the_old_addresses_serves_again(make_pool, backend):
    with ScriptedBackend() as other:
        pool = make_pool(backend.address)
        parked, out = taken(pool), taken(pool)
        ask(parked)
        pool.park(parked)
        pool.redial(pool.dial_settings.at((Address(*other.address),)))
        assert pool.idle() == []
        assert parked.stream is None
        ask(out)  # what is under way goes on
        pool.park(out)
        assert pool.idle() == []
        ask(taken(pool), b"/new")
        assert len(other.asked("/new")) == 1
        assert len(backend.requests) == 2


def test_a_retired_pool_parks_nothing(pool):
    parked, out = taken(pool), taken(pool)
    pool.park(parked)
    pool.retire()
    assert parked.stream is None
    ask(out)
    pool.park(out)
    assert out.stream is None
    assert pool.idle() == []


# no descriptor left


@pytest.fixture
def listening():
    """An address where connects succeed and nobody accepts, which would take a descriptor too."""
    with socket.create_server((loopback_host(), 0)) as listener:
        yield listener.getsockname()


def test_a_connect_without_a_descriptor_is_our_own_fault(make_pool, listening):
    pool = make_pool(listening)
    connection = pool.take()
    with none_left(), pytest.raises(ExhaustedError, match="Too many open files") as caught:
        connection.open()
    assert caught.value.reason is Reason.INTERNAL_ERROR
    assert taken(pool).stream is not None


def test_what_is_only_parked_gives_its_descriptor_up(make_pool, listening):
    pool, other = make_pool(listening), make_pool(listening)
    first, second = taken(other), taken(other)
    other.park(first)
    other.park(second)
    pool.dial_settings.make_room = other.drop_oldest
    with none_left():
        assert taken(pool).stream is not None
        assert other.idle() == [second]  # what was parked longest ago went first
        assert taken(pool).stream is not None
        assert other.idle() == []
        with pytest.raises(ExhaustedError):
            taken(pool)


def test_settings_for_other_addresses_make_room_by_the_same_means(pool):
    pool.dial_settings.make_room = pool.drop_oldest
    assert pool.dial_settings.at((Address("127.0.0.9", 1),)).make_room == pool.drop_oldest
