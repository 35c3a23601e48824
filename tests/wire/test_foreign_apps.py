"""Plain WSGI apps, as PEP 3333 describes them, on the strict wire."""

from __future__ import annotations

import sys
import wsgiref.validate

import gevent
import pytest

from tests.support.poll import eventually
from tests.support.raw_client import AbortedError, ConnectionEndedError

TEXT = [("Content-Type", "text/plain")]


def whole(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello ", b"world"]


def generated(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"hello "
    yield b""
    yield b"world"


def late_start(environ, start_response):
    """The head may be settled as late as the first piece."""
    yield from generated(environ, start_response)


def as_a_tuple(environ, start_response):
    start_response("200 OK", TEXT)
    return (b"hello ", b"world")


def with_its_length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "11")])
    return iter([b"hello ", b"world"])


def written(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"hello ")
    write(b"world")
    return ()


def written_then_a_list(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"hello ")
    return [b"world"]


def written_then_an_empty_list(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"hello world")
    return []


GOOD = [
    *(whole, generated, late_start, as_a_tuple, with_its_length, written, written_then_a_list),
    written_then_an_empty_list,
]


@pytest.mark.parametrize("app", GOOD)
def test_an_app_is_answered_with_its_whole_body_and_the_connection_is_kept(serve, app):
    client = serve(app)(timeout=2)
    for _ in range(3):
        response = client.get("/")
        assert (response.status, response.body) == (200, b"hello world")
        assert response.all("Content-Type") == ["text/plain"]
        assert len(response.all("Date")) == 1
        assert len(response.all("Content-Length")) + len(response.all("Transfer-Encoding")) == 1
    assert client.buffer == b""


@pytest.mark.parametrize("app", GOOD)
def test_to_head_the_same_head_and_no_body(serve, app):
    client = serve(app)(timeout=2)
    for _ in range(2):
        client.request("HEAD", "/")
        response = client.read_response("HEAD")
        assert (response.status, response.body) == (200, b"")
    assert client.get("/").body == b"hello world"


@pytest.mark.parametrize("app", GOOD)
def test_an_http_10_client_gets_the_whole_body_and_never_chunks(serve, app):
    client = serve(app)(timeout=2)
    client.send(b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n")
    response = client.read_response()
    assert response.body == b"hello world"
    assert response.framing in {"length", "close"}
    assert client.ends_silently()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("pieces", [[], [b""], iter([]), (b"ignored",)])
def test_a_status_without_a_body_has_none(serve, status, pieces):
    def app(environ, start_response):
        start_response(status, [])
        return pieces

    client = serve(app)()
    response = client.get("/")
    assert (response.status, response.framing) == (int(status[:3]), "none")
    assert "Transfer-Encoding" not in response
    assert client.get("/").status == int(status[:3])


def test_an_empty_answer_has_the_length_zero(serve):
    def app(environ, start_response):
        start_response("200 OK", [])
        return []

    assert serve(app)().get("/")["Content-Length"] == "0"


def test_the_first_piece_goes_out_when_it_comes(serve):
    more = gevent.event.Event()

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        yield b"first"
        more.wait(5)
        yield b"second"

    client = serve(app)()
    client.request("GET", "/")
    client.read_head()
    assert client.read_chunk() == b"first"
    more.set()
    assert client.read_chunk() == b"second"
    assert client.read_chunk() == b""


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 1_000_000])
def test_large_bodies_arrive_whole_in_either_form(serve, size):
    body = bytes(range(256)) * (size // 256 + 1)

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return [body[:size]] if environ["PATH_INFO"] == "/list" else iter([body[:size], b"end"])

    client = serve(app)()
    assert client.get("/list").body == body[:size]
    assert client.get("/pieces").body == body[:size] + b"end"


# start_response


def test_an_error_before_the_head_is_out_replaces_it(serve):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        try:
            int("x")
        except ValueError:
            start_response("500 Internal Server Error", [("X-Replaced", "yes")], sys.exc_info())
        return [b"sorry"]

    response = serve(app)().get("/")
    assert (response.status, response["X-Replaced"], response.body) == (500, "yes", b"sorry")
    assert "Content-Type" not in response


def test_an_error_after_the_head_is_out_is_raised_again_and_never_ends_cleanly(serve, deaths_expected):
    def app(environ, start_response):
        write = start_response("200 OK", TEXT)
        write(b"half")
        try:
            int("x")
        except ValueError:
            start_response("500 Internal Server Error", [], sys.exc_info())
        return [b"not reached"]

    client = serve(app)()
    client.request("GET", "/")
    with pytest.raises((AbortedError, ConnectionEndedError)):
        client.read_response()


def test_a_second_start_response_without_an_error_is_one(serve, deaths_expected):
    errors = []

    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            start_response("200 OK", [])
        except AssertionError as error:
            errors.append(error)
        return [b"x"]

    assert serve(app)().get("/").body == b"x"
    assert len(errors) == 1


@pytest.mark.parametrize("field", [("X", "a\r\nSet-Cookie: evil=1"), ("X\nY", "b"), ("X", "b\r")])
def test_a_line_break_in_a_field_never_reaches_the_client(serve, deaths_expected, field):
    def app(environ, start_response):
        start_response("200 OK", [field])
        return [b"x"]

    client = serve(app)()
    client.request("GET", "/")
    assert b"evil" not in client.read_to_end()[0]


# bodies that are not what their length says


@pytest.mark.parametrize("pieces", [[b"only half"], [b"only ", b"half"]])
@pytest.mark.parametrize("shape", [list, iter])
def test_a_body_shorter_than_its_length_never_ends_cleanly(serve, deaths_expected, pieces, shape):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "100")])
        return shape(pieces)

    client = serve(app)()
    client.request("GET", "/")
    with pytest.raises((AbortedError, ConnectionEndedError)):
        client.read_response()


@pytest.mark.parametrize("shape", [list, iter])
def test_a_body_longer_than_its_length_never_reaches_the_next_response(serve, deaths_expected, shape):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return shape([b"hello", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Evil: 1\r\n\r\n"])

    client = serve(app)()
    client.request("GET", "/")
    client.request("GET", "/second")
    assert b"X-Evil" not in client.read_to_end()[0]


def test_an_app_that_fails_within_its_body_never_ends_cleanly(serve, deaths_expected):
    def app(environ, start_response):
        start_response("200 OK", TEXT)
        yield b"half"
        raise ValueError("a bug")

    client = serve(app)()
    client.request("GET", "/")
    with pytest.raises((AbortedError, ConnectionEndedError)):
        client.read_response()


# close()


class Closing:
    """An iterable that knows whether it was closed."""

    def __init__(self, pieces):
        self.pieces = pieces
        self.closed = 0

    def __iter__(self):
        return iter(self.pieces)

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_iterable_is_closed_once(serve, method):
    result = Closing([b"hello ", b"world"])

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return result

    client = serve(app)()
    client.request(method, "/")
    client.read_response(method)
    eventually(lambda: result.closed == 1, "its close")


def test_an_iterable_is_closed_when_the_client_leaves(serve):
    class Endless(Closing):
        def __iter__(self):
            while True:
                yield b"x" * 65536

    result = Endless([])

    def app(environ, start_response):
        start_response("200 OK", TEXT)
        return result

    client = serve(app)()
    client.request("GET", "/")
    client.read_head()
    client.reset()
    eventually(lambda: result.closed == 1, "its close")


# under wsgiref.validate


def test_the_server_is_a_wsgi_server_by_wsgirefs_own_validator(serve):
    seen = []

    def plain(environ, start_response):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]))
        seen.append(environ["wsgi.input"].read(length))
        environ["wsgi.errors"].write("")
        environ["wsgi.errors"].flush()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"valid"]

    client = serve(wsgiref.validate.validator(plain))()
    assert client.get("/a%20b?c=%20d").body == b"valid"
    client.request("POST", "/", [("Content-Type", "text/plain")], b"hello")
    assert client.read_response().body == b"valid"
    client.request("HEAD", "/", [("X-A", "1"), ("X-A", "2"), ("X_A", "3")])
    assert client.read_response("HEAD").status == 200
    assert client.get("http://example.test/absolute").body == b"valid"
    assert seen == [
        *(("GET", "/a b", "c=%20d"), b""),
        *(("POST", "/", ""), b"hello"),
        *(("HEAD", "/", ""), b""),
        *(("GET", "/absolute", ""), b""),
    ]
