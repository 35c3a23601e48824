"""`wsgi.input` as other applications use it, over the real wire, in both framings."""

from __future__ import annotations

from operator import methodcaller

import gevent
import pytest

from tests.support.poll import eventually

DATA = b"first line\nsecond\n\nlast without an end"
LINES = [b"first line\n", b"second\n", b"\n", b"last without an end"]


def chunked(data, step=7):
    pieces = [data[place : place + step] for place in range(0, len(data), step)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def post(data, framing):
    head = b"POST / HTTP/1.1\r\nHost: example.test\r\n"
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(data) + data
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(data)


READS = {
    "read": methodcaller("read"),
    "read with a size": lambda body: b"".join(iter(lambda: body.read(4), b"")),
    "read of nothing": lambda body: body.read(0) + body.read(),
    "read of too much": lambda body: body.read(1000) + body.read(1000),
    "readline": lambda body: b"".join(iter(body.readline, b"")),
    "readline with a size": lambda body: b"".join(iter(lambda: body.readline(3), b"")),
    "readlines": lambda body: b"".join(body.readlines()),
    "readlines with a hint": lambda body: b"".join(body.readlines(5)) + body.read(),
    "iteration": b"".join,
    "mixed": lambda body: body.readline() + body.read(3) + body.readline() + body.read(),
}


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("way", READS)
def test_every_file_method_gives_the_whole_body_and_stops_at_its_end(serve, framing, way):
    def app(environ, start_response):
        data = READS[way](environ["wsgi.input"])
        start_response("200 OK", [])
        return [data]

    client = serve(app)()
    client.send(post(DATA, framing) + post(b"", framing) + post(b"the next", framing))
    assert [client.read_response().body for _ in range(3)] == [DATA, b"", b"the next"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_lines_are_lines_however_the_body_is_cut(serve, framing):
    seen = []

    def app(environ, start_response):
        seen.extend(environ["wsgi.input"])
        start_response("200 OK", [])
        return []

    client = serve(app)()
    client.send_byte_by_byte(post(DATA, framing))
    client.read_response()
    assert seen == LINES


def test_without_a_body_there_is_nothing_to_read(serve):
    def app(environ, start_response):
        body = environ["wsgi.input"]
        start_response("200 OK", [])
        return [repr((body.read(), body.readline(), body.readlines(), list(body))).encode()]

    client = serve(app)()
    for _ in range(2):
        assert client.get("/").body == b"(b'', b'', [], [])"


def ignoring(environ, start_response):
    start_response("200 OK", [])
    return [environ["REQUEST_METHOD"].encode()]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_small_body_that_the_app_left_is_read_off_and_the_connection_kept(serve, framing):
    client = serve(ignoring)()
    client.send(post(b"x" * 10_000, framing))
    response = client.read_response()
    if "close" not in response.tokens("Connection"):  # a chunked one may be closed instead: its size is unknown
        client.send(b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n")
        assert client.read_response().body == b"GET"
    else:
        assert framing == "chunked"


def test_a_large_body_that_the_app_left_closes_the_connection_after_the_answer(serve):
    client = serve(ignoring)()
    client.send(b"POST / HTTP/1.1\r\nHost: example.test\r\nContent-Length: 500000\r\n\r\n" + b"x" * 1000)
    response = client.read_response()
    assert response.body == b"POST"
    assert "close" in response.tokens("Connection")
    client.send(b"GET /smuggled HTTP/1.1\r\nHost: example.test\r\n\r\n")
    assert client.ends_silently()


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_continue_is_sent_at_the_first_read_and_only_then(serve, framing):
    reads = gevent.event.Event()

    def app(environ, start_response):
        reads.wait(5)
        data = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [data]

    client = serve(app)()
    client.send(f"POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\n{framing}\r\n\r\n".encode())
    eventually(lambda: reads.set() is None, "the read")
    assert client.read_head().status == 100
    client.send(b"hello" if "Length" in framing else chunked(b"hello"))
    assert client.read_response().body == b"hello"


def test_a_body_that_no_app_reads_is_never_asked_for(serve):
    client = serve(ignoring)()
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    response = client.read_response()
    assert response.interim == []
    assert "close" in response.tokens("Connection")  # nobody knows whether the body will come
