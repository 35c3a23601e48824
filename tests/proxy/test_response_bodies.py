"""Response bodies from a real socket: framing, the exact end, and what breaks off."""

from __future__ import annotations

import _socket
import socket

import gevent
import pytest

from aegis.http1.response_head import parse
from aegis.net.deadlines import Deadlines
from aegis.net.stream import PIECE, Stream
from aegis.proxy.body import ResponseBody, at_hand
from aegis.reasons import BackendError, Reason
from tests.security.layers import request
from tests.support.poll import eventually


def head(*fields, line="HTTP/1.1 200 OK"):
    return parse("".join(each + "\r\n" for each in (line, *fields)).encode())


LENGTH, CHUNKED, CLOSE = head("Content-Length: 10"), head("Transfer-Encoding: chunked"), head("Connection: close")


class Backend:
    """The other end of a response that is under way."""

    def __init__(self, parsed, rest=b"", patience=5.0):
        ours, self.peer = socket.socketpair()
        self.deadlines = Deadlines()
        self.stream = Stream(_socket.socket(fileno=ours.detach()), self.deadlines)
        self.ends = []
        self.context = request()
        self.body = ResponseBody(self.context, self.stream, parsed, rest, patience, self.end)

    def end(self, fit, succeeded):
        self.ends.append((fit, succeeded))

    def collect(self):
        """All of the body; the pieces are views that live until the next one."""
        with gevent.Timeout(5):
            return b"".join(bytes(piece) for piece in self.body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.peer.close()


@pytest.mark.parametrize(
    ("parsed", "rest", "more", "data", "fit"),
    [
        (LENGTH, b"", b"0123456789", b"0123456789", True),
        (LENGTH, b"01234", b"56789", b"0123456789", True),
        (LENGTH, b"0123456789HTTP/1.1 200", b"", b"0123456789", False),
        (LENGTH, b"01234", b"56789HTTP/1.1 200", b"0123456789", False),
        (head("Content-Length: 10", "Connection: close"), b"01234", b"56789", b"0123456789", False),
        (head("Content-Length: 10", line="HTTP/1.0 200 OK"), b"01234", b"56789", b"0123456789", False),
        (CHUNKED, b"", b"5\r\nhello\r\n0\r\n\r\n", b"hello", True),
        (CHUNKED, b"5\r\nhe", b"llo\r\n0\r\n\r\n", b"hello", True),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r", b"\n", b"hello", True),
        (CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\nHTTP/1.1 200", b"hello", False),
        (CHUNKED, b"5\r\nhello\r\n", b"0\r\nX-Sum: 1\r\n\r\n", b"hello", True),
        (CHUNKED, b"5\r\nhello\r\n", b"0\r\nContent-Length: 5\r\n\r\n", b"hello", True),
        (CHUNKED, b"0\r\n", b"\r\n", b"", True),
    ],
)
def test_a_body_is_read_to_its_exact_end_and_the_connection_given_back_once(parsed, rest, more, data, fit):
    with Backend(parsed, rest) as backend:
        backend.peer.sendall(more)
        assert backend.collect() == data
        backend.body.close()
        assert backend.ends == [(fit, True)]


def test_a_body_until_the_close_ends_with_it_and_the_connection_is_done():
    with Backend(CLOSE, b"hel") as backend:
        backend.peer.sendall(b"lo")
        backend.peer.close()
        assert backend.collect() == b"hello"
        assert backend.ends == [(False, True)]


def test_a_large_body_comes_whole_in_pieces_of_bounded_size():
    data = bytes(range(256)) * 8192
    with Backend(head(f"Content-Length: {len(data)}"), data[:1000]) as backend:
        sending = gevent.spawn(backend.peer.sendall, data[1000:])
        got = b""
        for piece in backend.body:
            assert len(piece) <= 256 * 1024
            got += piece
        sending.get(timeout=5)
        assert got == data
        assert backend.ends == [(True, True)]


@pytest.mark.parametrize(
    ("parsed", "rest", "more"),
    [
        (LENGTH, b"", b""),
        (LENGTH, b"01234", b"5678"),
        (CHUNKED, b"", b""),
        (CHUNKED, b"5\r\nhello", b""),
        (CHUNKED, b"5\r\nhello\r\n", b"0\r\n"),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r", b""),
        (CHUNKED, b"5\r\nhello\r\n", b"x\r\n"),
        (CHUNKED, b"5\r\nhelloxx", b""),
        (CHUNKED, b"", b"5\nhello\r\n0\r\n\r\n"),
    ],
)
def test_a_backend_that_breaks_off_or_errs_never_gives_a_clean_end(parsed, rest, more):
    with Backend(parsed, rest) as backend:
        backend.peer.sendall(more)
        backend.peer.close()
        with pytest.raises(BackendError) as caught:
            backend.collect()
        assert caught.value.reason is Reason.BACKEND_ABORTED
        backend.body.close()
        assert backend.ends == [(False, False)]


@pytest.mark.parametrize("parsed", [LENGTH, CHUNKED, CLOSE])
def test_a_silence_between_two_pieces_aborts(parsed):
    with Backend(parsed, patience=0.02) as backend:

        def read():
            with pytest.raises(BackendError) as caught:
                backend.collect()
            return caught.value.reason

        reading = gevent.spawn(read)

        def swept():
            backend.deadlines.sweep()
            return reading.ready()

        eventually(swept, "the abort")
        assert reading.get() is Reason.BACKEND_ABORTED


def test_a_body_that_is_not_read_to_its_end_costs_the_connection():
    with Backend(LENGTH, b"01234") as backend:
        iterator = iter(backend.body)
        next(iterator)
        backend.body.close()
        backend.body.close()
        assert backend.ends == [(False, None)]


@pytest.mark.parametrize("more", [b"0123456789", b"01234"])
def test_the_body_of_a_5xx_is_a_failure_however_it_ends(more):
    with Backend(head("Content-Length: 10", line="HTTP/1.1 503 Busy"), more) as backend:
        iterator = iter(backend.body)
        next(iterator)
        if len(more) == 10:
            list(iterator)
        backend.body.close()
        assert [succeeded for _, succeeded in backend.ends] == [False]


def test_the_head_can_go_out_before_the_body_comes():
    with Backend(LENGTH) as backend:
        assert bytes(next(iter(backend.body))) == b""


# a body that came with its head


@pytest.mark.parametrize(
    ("parsed", "rest", "method", "found"),
    [
        (LENGTH, b"0123456789", "GET", (b"0123456789", True)),
        (LENGTH, b"0123456789x", "GET", (b"0123456789", False)),
        (LENGTH, b"012345678", "GET", None),
        (head("Content-Length: 0"), b"", "GET", (b"", True)),
        (head("Content-Length: 0"), b"x", "GET", (b"", False)),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n", "GET", (b"hello", True)),
        (CHUNKED, b"0\r\n\r\n", "GET", (b"", True)),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r\nx0\r\n\r\n", "GET", (b"hello", False)),
        (CHUNKED, b"5\r\nhello\r\n", "GET", None),
        (CHUNKED, b"7\r\n0\r\n\r\n", "GET", None),
        (CHUNKED, b"x\r\n0\r\n\r\n", "GET", None),
        (CLOSE, b"hello", "GET", None),
        (LENGTH, b"", "HEAD", (b"", False)),
        (LENGTH, b"0123456789", "HEAD", (b"", False)),
        (head("Content-Length: 0"), b"", "HEAD", (b"", True)),
        (CHUNKED, b"", "HEAD", (b"", False)),
        (CLOSE, b"", "HEAD", (b"", False)),
        (head("Content-Length: 10", line="HTTP/1.1 304 Not Modified"), b"", "GET", (b"", True)),
        (head(line="HTTP/1.1 204 No Content"), b"", "GET", (b"", True)),
        (head(line="HTTP/1.1 204 No Content"), b"x", "GET", (b"", False)),
    ],
)
def test_a_body_at_hand_is_whole_and_says_whether_it_ended_exactly_there(parsed, rest, method, found):
    got = at_hand(parsed, rest, method)
    assert (None if got is None else (b"".join(map(bytes, got[0])), got[1])) == found


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_bytes_behind_a_large_body_are_seen_before_its_connection_is_given_back(size):
    with Backend(head(f"Content-Length: {size}")) as backend:
        sending = gevent.spawn(backend.peer.sendall, b"x" * size + b"HTTP/1.1 200")
        assert len(backend.collect()) == size
        assert backend.ends == [(False, True)]
        sending.get(timeout=5)
