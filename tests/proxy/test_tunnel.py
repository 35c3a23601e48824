"""A tunnel between two real sockets: what goes through, how it ends, and what it holds meanwhile."""

from __future__ import annotations

import _socket
import contextlib
import socket
from functools import partial

import gevent
import pytest

from aegis.net.deadlines import NEVER, Deadlines
from aegis.net.stream import Stream
from aegis.proxy import tunnel as module
from aegis.proxy.tunnel import WebSocketTunnel
from aegis.reasons import BackendError, ClientGoneError, Reason, StoppedError
from tests.security.layers import request
from tests.support.clock import ManualClock
from tests.support.poll import eventually, settled
from tests.support.ports import loopback_host

HELD = 2 << 20
"""More than the kernel and the tunnel can hold for a reader that stops (checked by the tests that use it)."""


def tcp_pair():
    """Two ends of one connection with small buffers: a reset needs TCP, and a socketpair knows none."""
    ours = socket.socket()
    with socket.socket() as listener:
        for each in (listener, ours):  # what is accepted inherits them
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        listener.bind((loopback_host(), 0))
        listener.listen()
        ours.connect(listener.getsockname())
        peer, _ = listener.accept()
    peer.settimeout(5)
    return ours, peer


class Tunneled:
    """client, backend: the far ends. ends: one entry for each time that the backend's connection was given back."""

    def __init__(self, early=b"", leftover=b"", patience=60.0):
        self.deadlines = Deadlines()
        ours, self.client = tcp_pair()
        self.toward_client = Stream(_socket.socket(fileno=ours.detach()), self.deadlines)
        ours, self.backend = tcp_pair()
        self.toward_backend = Stream(_socket.socket(fileno=ours.detach()), self.deadlines)
        self.context, self.ends = request(), []
        self.tunnel = WebSocketTunnel(
            self.context, self.toward_backend, early, patience, self.deadlines, lambda: self.ends.append(True)
        )
        self.running = gevent.spawn(self._run, leftover)

    def _run(self, leftover):
        """As the exchange does it: run, close, and let the client go by a reset if the tunnel failed."""
        failure = None
        try:
            self.tunnel.run(self.toward_client, leftover)
        except (BackendError, ClientGoneError) as error:
            failure = error
            self.toward_client.reset_on_close()
        finally:
            self.tunnel.close()
            self.toward_backend.close()
            self.toward_client.close()
        return failure

    def over(self):
        """The failure it ended with, or None."""
        with gevent.Timeout(5):
            return self.running.get()

    def hub_calls(self, call):
        gevent.get_hub().loop.run_callback(call)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.running.kill()
        for each in (self.toward_client, self.toward_backend, self.client, self.backend):
            each.close()


def exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"ended after {len(data)} of {size} bytes"
        data += piece
    return data


def both_end(tunneled):
    tunneled.client.shutdown(socket.SHUT_WR)
    tunneled.backend.shutdown(socket.SHUT_WR)
    assert tunneled.over() is None


def is_reset(sock):
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


def fill(sock):
    """Send until nobody takes more; returns how much was taken."""
    sock.setblocking(False)
    total = 0

    def push():
        nonlocal total
        try:
            while True:
                total += sock.send(bytes(65536))
        except BlockingIOError:
            return total

    taken = settled(push)
    sock.settimeout(5)
    return taken


# what goes through


def test_bytes_go_both_ways_and_are_counted():
    with Tunneled() as tunneled:
        tunneled.client.sendall(b"ping")
        assert exactly(tunneled.backend, 4) == b"ping"
        tunneled.backend.sendall(b"pong!")
        assert exactly(tunneled.client, 5) == b"pong!"
        both_end(tunneled)
        assert (tunneled.context.bytes_in, tunneled.context.bytes_out) == (4, 5)
        assert tunneled.ends == [True]


def test_early_bytes_and_those_behind_the_request_come_first():
    with Tunneled(early=b"early ", leftover=b"behind ") as tunneled:
        tunneled.client.sendall(b"up")
        tunneled.backend.sendall(b"down")
        assert exactly(tunneled.client, 10) == b"early down"
        assert exactly(tunneled.backend, 9) == b"behind up"
        both_end(tunneled)
        assert (tunneled.context.bytes_in, tunneled.context.bytes_out) == (9, 10)


def test_much_goes_both_ways_at_once():
    up, down = bytes(range(256)) * 40_000, bytes(range(255, -1, -1)) * 30_000
    with Tunneled() as tunneled:
        sending = [gevent.spawn(tunneled.client.sendall, up), gevent.spawn(tunneled.backend.sendall, down)]
        reading = [
            gevent.spawn(exactly, tunneled.backend, len(up)),
            gevent.spawn(exactly, tunneled.client, len(down)),
        ]
        gevent.joinall([*sending, *reading], timeout=20)
        assert [each.value for each in reading] == [up, down]
        both_end(tunneled)
        assert (tunneled.context.bytes_in, tunneled.context.bytes_out) == (len(up), len(down))


# half-close


@pytest.mark.parametrize(("first", "second"), [("client", "backend"), ("backend", "client")])
def test_an_end_of_one_side_goes_on_while_the_other_still_speaks(first, second):
    with Tunneled() as tunneled:
        ending, speaking = getattr(tunneled, first), getattr(tunneled, second)
        ending.sendall(b"last words")
        ending.shutdown(socket.SHUT_WR)
        assert exactly(speaking, 10) == b"last words"
        assert speaking.recv(1) == b""
        speaking.sendall(b"still here")
        assert exactly(ending, 10) == b"still here"
        assert not tunneled.running.ready()
        speaking.close()
        assert ending.recv(1) == b""
        assert tunneled.over() is None


def test_an_end_comes_behind_all_that_was_held_back():
    with Tunneled() as tunneled:
        sending = gevent.spawn(tunneled.client.sendall, bytes(HELD))
        gevent.sleep(0.05)
        assert not sending.ready(), "HELD is too little"
        reading = gevent.spawn(exactly, tunneled.backend, HELD)
        sending.get(timeout=10)
        tunneled.client.shutdown(socket.SHUT_WR)
        assert reading.get(timeout=10) == bytes(HELD)
        assert tunneled.backend.recv(1) == b""
        tunneled.backend.close()
        assert tunneled.over() is None
        assert tunneled.context.bytes_in == HELD


# back-pressure


@pytest.mark.parametrize("speaking", ["client", "backend"])
def test_a_reader_that_stops_stops_its_sender_and_nothing_piles_up(speaking):
    silent = {"client": "backend", "backend": "client"}[speaking]
    with Tunneled() as tunneled:
        sender, reader = getattr(tunneled, speaking), getattr(tunneled, silent)
        taken = fill(sender)
        assert taken < HELD, "what four kernel buffers and one piece hold"
        reader.sendall(b"the other way is open")
        assert exactly(sender, 21) == b"the other way is open"
        assert len(exactly(reader, taken)) == taken


# ends that are none


def test_a_reset_of_the_client_resets_the_backend():
    with Tunneled() as tunneled:
        tunneled.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        tunneled.client.close()
        assert isinstance(tunneled.over(), ClientGoneError)
        assert is_reset(tunneled.backend)
        assert tunneled.ends == [True]


def test_a_reset_of_the_backend_is_its_abort_and_resets_the_client():
    with Tunneled() as tunneled:
        tunneled.backend.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        tunneled.backend.close()
        failure = tunneled.over()
        assert failure.reason is Reason.BACKEND_ABORTED
        assert is_reset(tunneled.client)


@pytest.mark.parametrize("leaving", ["client", "backend"])
def test_a_reset_is_noticed_though_both_ways_are_blocked(leaving):
    with Tunneled() as tunneled:
        fill(tunneled.client)
        fill(tunneled.backend)
        getattr(tunneled, leaving).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        getattr(tunneled, leaving).close()
        failure = tunneled.over()
        assert isinstance(failure, ClientGoneError if leaving == "client" else BackendError)


@pytest.mark.parametrize("leaving", ["client", "backend"])
def test_a_side_that_ended_and_is_gone_when_more_comes_ends_the_tunnel_without_blame(leaving):
    with Tunneled() as tunneled:
        gone, other = getattr(tunneled, leaving), getattr(tunneled, {"client": "backend", "backend": "client"}[leaving])
        gone.close()
        assert other.recv(1) == b""

        def speaks_until_it_is_over():
            with contextlib.suppress(OSError):
                other.send(b"too late")  # the first is answered by a reset, the next fails on it
            return tunneled.running.ready()

        eventually(speaks_until_it_is_over, "the end")
        assert tunneled.over() is None


# time


@pytest.fixture
def clock(monkeypatch):
    made = ManualClock()
    monkeypatch.setattr(module, "monotonic", made)
    monkeypatch.setattr("aegis.net.deadlines.monotonic", made)
    return made


def swept(tunneled):
    """Sweep, and give the hub its turn."""
    tunneled.deadlines.sweep()
    gevent.sleep(0.01)
    return tunneled.running.ready()


def test_silence_in_both_directions_ends_it(clock):
    with Tunneled(patience=600) as tunneled:
        gevent.sleep(0.01)
        clock.advance(599)
        assert not swept(tunneled)
        clock.advance(2)
        assert swept(tunneled)
        assert tunneled.over() is None
        assert tunneled.context.detail == "silent for 600 s"
        assert tunneled.client.recv(1) == tunneled.backend.recv(1) == b""
        assert not tunneled.deadlines.streams


@pytest.mark.parametrize("speaking", ["client", "backend"])
def test_a_byte_in_either_direction_is_no_silence(clock, speaking):
    other = {"client": "backend", "backend": "client"}[speaking]
    with Tunneled(patience=600) as tunneled:
        for _ in range(3):
            clock.advance(599)
            getattr(tunneled, speaking).sendall(b"x")
            assert exactly(getattr(tunneled, other), 1) == b"x"
            assert not swept(tunneled)
        clock.advance(601)
        assert swept(tunneled)


def test_silence_ends_it_though_one_side_has_ended(clock):
    with Tunneled(patience=600) as tunneled:
        tunneled.client.shutdown(socket.SHUT_WR)
        assert tunneled.backend.recv(1) == b""
        clock.advance(601)
        assert swept(tunneled)
        assert tunneled.over() is None


def test_a_reader_that_takes_nothing_is_silent_too(clock):
    with Tunneled(patience=600) as tunneled:
        fill(tunneled.client)
        clock.advance(601)
        assert swept(tunneled)
        assert is_reset(tunneled.client)  # what it had sent was not taken


# stops and bugs


def test_a_stop_closes_both_sides():
    with Tunneled() as tunneled:
        gevent.sleep(0.01)
        tunneled.hub_calls(partial(tunneled.context.waits_on.throw, StoppedError()))
        assert tunneled.over() is None
        assert tunneled.context.waits_on is None
        assert tunneled.client.recv(1) == tunneled.backend.recv(1) == b""
        assert tunneled.context.detail == "closed by the stop"


def test_a_stop_in_the_turn_of_its_beginning_ends_both_directions():
    with Tunneled() as tunneled:  # begins in the next turn, as does the stop; one direction begins behind that
        tunneled.hub_calls(partial(tunneled.tunnel.throw, StoppedError()))
        assert tunneled.over() is None
        assert tunneled.ends == [True]


def test_a_tunnel_that_is_killed_leaves_no_greenlet_behind():
    with Tunneled() as tunneled:
        gevent.sleep(0.01)
        second = tunneled.toward_backend.reader
        assert second is not None
        tunneled.running.kill()
        assert second.dead
        assert tunneled.ends == [True]


@pytest.mark.parametrize("reading", ["toward_client", "toward_backend"])
def test_a_bug_in_one_direction_ends_the_other(reading, dying_greenlets):
    with Tunneled() as tunneled:
        gevent.sleep(0.01)
        stream = getattr(tunneled, reading)
        tunneled.hub_calls(lambda: stream.throw(ZeroDivisionError()))
        with pytest.raises(ZeroDivisionError):
            tunneled.over()
        assert tunneled.ends == [True]
        dying_greenlets.clear()  # gevent tells of the bug too


def test_a_tunnel_that_never_ran_gives_the_connection_back_once():
    ends = []
    tunnel = WebSocketTunnel(request(), None, b"", 1.0, Deadlines(), lambda: ends.append(True))
    assert list(tunnel) == []
    tunnel.close()
    tunnel.close()
    assert ends == [True]
    assert tunnel.deadline == NEVER
    assert "new" in repr(tunnel)
