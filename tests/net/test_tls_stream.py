import contextlib
import os
import socket
import ssl

import gevent
import pytest

from aegis.reasons import DeadlinePassedError
from tests.net.turning import turns

LARGE = bytes(range(256)) * 8192


def read_all(stream, size, count):
    data = b""
    while len(data) < count:
        piece = stream.read_some(size)
        assert piece
        assert len(piece) <= size
        data += piece
    return data


@pytest.mark.parametrize("size", [1, 100, 1000, 9_999])
def test_bytes_that_sit_in_openssl_are_read_although_the_kernel_says_there_are_none(tls_pair, size):
    stream, peer = tls_pair()
    sent = LARGE[:10_000]  # one TLS record: the first read empties the kernel
    peer.sendall(sent)
    with gevent.Timeout(5):
        assert read_all(stream, size, len(sent)) == sent


def test_a_piece_gets_pending_bytes_too(tls_pair):
    stream, peer = tls_pair()
    peer.sendall(LARGE[:10_000])
    got = b""
    with gevent.Timeout(5):
        while len(got) < 10_000:
            got += bytes(stream.read_piece(700))
    assert got == LARGE[:10_000]


def test_a_read_waits_for_what_is_not_there(tls_pair):
    stream, peer = tls_pair()
    reader = gevent.spawn(stream.read_some, 100)
    turns()
    assert not reader.ready()
    peer.sendall(b"hello")
    assert reader.get(timeout=5) == b"hello"


def test_large_data_passes_both_ways(tls_pair):
    stream, peer = tls_pair()

    def echo():
        while data := peer.recv(65536):
            peer.sendall(data)

    echoing = gevent.spawn(echo)
    writer = gevent.spawn(stream.send_all, LARGE, 5)
    with gevent.Timeout(20):
        assert read_all(stream, 65536, len(LARGE)) == LARGE
    writer.get(timeout=5)
    stream.close()
    echoing.kill()


def test_a_closed_peer_is_an_empty_read(tls_pair):
    stream, peer = tls_pair()
    peer.sendall(b"bye")
    peer.close()
    with gevent.Timeout(5):
        assert [stream.read_some(10), stream.read_some(10)] == [b"bye", b""]


def test_a_late_read_ends_with_the_deadline_error(tls_pair, sweep_until):
    stream, _ = tls_pair()
    stream.deadline = stream.now() + 0.02
    errors = []

    def read():
        try:
            stream.read_some(10)
        except DeadlinePassedError as late:
            errors.append(late)

    reader = gevent.spawn(read)
    sweep_until(reader)
    assert len(errors) == 1


def test_a_reader_that_takes_nothing_ends_the_write_after_the_stall(tls_pair, sweep_until):
    stream, _ = tls_pair()
    errors = []

    def write():
        try:
            stream.send_all(LARGE, 0.02)
        except DeadlinePassedError as late:
            errors.append(late)

    writer = gevent.spawn(write)
    sweep_until(writer)
    assert len(errors) == 1


def test_whatever_arrives_on_an_idle_connection_is_told(tls_pair):
    stream, peer = tls_pair()
    with gevent.Timeout(5):
        peer.sendall(b"x")
        assert stream.read_some(10) == b"x"  # what follows the handshake is through
    events = []
    stream.on_event = lambda: events.append(stream.peek())
    stream.watch()
    turns()
    assert events == []
    peer.sendall(b"unasked")
    turns(10)
    assert events == [b""]  # TLS cannot be peeked: whatever comes makes the connection unfit


def test_an_end_of_sending_leaves_the_other_way_open(tls_pair):
    stream, peer = tls_pair()
    with gevent.Timeout(5):
        stream.send_all(b"last", 5)
        stream.end_sending()
        stream.end_sending()
        assert peer.recv(10) == b"last"
        with socket.socket(fileno=os.dup(peer.fileno())) as raw:
            assert raw.recv(1, socket.MSG_PEEK) == b"", "the end"
        peer.sendall(b"still here")
        assert stream.read_some(10) == b"still here"
        assert peer.recv(10) == b""  # ragged, which the ssl module takes for an end: newer ones send no more after it


def test_bytes_that_are_always_there_do_not_starve_the_others(tls_pair, monkeypatch):
    stream, peer = tls_pair()
    peer.sendall(b"x")  # so that the kernel says that there are bytes
    turns_of_others = []

    def other():
        while True:
            turns_of_others.append(len(pieces))
            gevent.sleep(0)

    pieces = []
    monkeypatch.setattr(stream, "sock", Endless(stream.sock))
    running = gevent.spawn(other)
    while len(pieces) < 1000:
        pieces.append(stream.read_some(16384))
    running.kill()
    waits = [after - before for before, after in zip([0, *turns_of_others], [*turns_of_others, 1000], strict=True)]
    assert max(waits) * 16384 <= 1 << 20, "a megabyte without a turn for anybody else"


class Endless:
    """A TLS socket whose buffer a fast peer never lets run dry."""

    def __init__(self, sock):
        self._sock = sock

    def recv(self, size):
        return bytes(size)

    def __getattr__(self, name):
        return getattr(self._sock, name)


class Stuck:
    """A TLS socket that has to send something of its own before it can read (a key update), and cannot yet."""

    def __init__(self, sock):
        self._sock = sock
        self.stuck = True

    def recv(self, size):
        if self.stuck:
            raise ssl.SSLWantWriteError
        return b"came"

    def send(self, data):
        if self.stuck:
            raise ssl.SSLWantWriteError
        return len(data)

    def __getattr__(self, name):
        return getattr(self._sock, name)


@pytest.mark.parametrize("first", ["reader", "writer"])
def test_a_reader_that_has_to_send_and_a_writer_wait_side_by_side(tls_pair, monkeypatch, first):
    stream, peer = tls_pair()
    stuck = Stuck(stream.sock)
    monkeypatch.setattr(stream, "sock", stuck)
    with contextlib.suppress(BlockingIOError):
        while True:  # so that the kernel has no room
            os.write(stream.sock.fileno(), bytes(65536))
    sides = {"reader": lambda: stream.read_some(10), "writer": lambda: stream.send_all(b"went", 60)}
    order = sorted(sides, key=lambda name: name != first)
    running = [gevent.spawn(sides[name]) for name in order]
    turns()
    assert not any(each.ready() for each in running)
    stuck.stuck = False
    peer.settimeout(0.2)
    with contextlib.suppress(OSError):
        while os.read(peer.fileno(), 1 << 20):
            pass
    gevent.joinall(running, timeout=2)
    assert [each.ready() for each in running] == [True, True]
    assert b"came" in [each.value for each in running]


def test_a_reader_that_has_to_send_can_be_ended(tls_pair, monkeypatch, sweep_until):
    stream, _ = tls_pair()
    monkeypatch.setattr(stream, "sock", Stuck(stream.sock))
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(stream.sock.fileno(), bytes(65536))

    def read():
        with pytest.raises(DeadlinePassedError):
            stream.read_some(10)

    stream.deadline = stream.now() + 0.02
    reading = gevent.spawn(read)
    sweep_until(reading)
    reading.get()
