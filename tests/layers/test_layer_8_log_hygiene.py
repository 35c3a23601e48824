"""Layer 8 alone: the access layer around an app, and the handler that all other lines go through."""

from __future__ import annotations

import logging

import pytest

from aegis.context import KEY
from aegis.logs.access import AccessLog
from aegis.logs.setup import LineHandler, RingHandler
from tests.layers.apps import innermost
from tests.support.poll import eventually

SECRET = "hunter2Wonderland"
FIELDS = [
    ("Authorization", f"Bearer {SECRET}"),
    ("Proxy-Authorization", f"Basic {SECRET}"),
    ("Cookie", f"sid={SECRET}"),
    ("X-Api-Key", SECRET),
    ("X-Auth-Token", SECRET),
    ("Referer", f"http://a.test/?{SECRET}"),
]


@pytest.fixture(params=["json", "text"])
def logged(request, serve):
    """(open a client, all lines that were logged): access lines and the log records of `aegis`, in both formats,
    and what the ring of the dashboard is told.
    """
    lines = []
    text = request.param == "text"
    logger = logging.getLogger("aegis")
    level = logger.level
    ring = RingHandler(lambda *event: lines.append(repr(event).encode()))
    handlers = [LineHandler(lines.append, text=text), ring]
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)

    @innermost
    def app(environ, start_response):
        context = environ[KEY]
        if context.path == "/bug":
            raise RuntimeError(f"no route to {context.peer.address}, nor to ::ffff:{context.peer.address}")
        environ["wsgi.input"].read()
        start_response("200 OK", [("Set-Cookie", f"a={SECRET}")])
        return [SECRET.encode()]

    layer = AccessLog(app, lambda made, _: lines.extend(made.splitlines()), lambda *_: None, text=text)
    yield serve(layer.__call__, read_timeout=0.3), lambda: layer.flush() or lines
    for handler in handlers:
        logger.removeHandler(handler)
    logger.setLevel(level)


def every_line(lines, count=1):
    return b"".join(eventually(lambda: lines()[count - 1 :] and lines(), f"{count} log lines")).decode()


def test_no_field_no_query_and_no_body_is_logged(logged):
    connect, lines = logged
    client = connect()
    client.request("POST", f"/a?token={SECRET}", FIELDS, SECRET.encode())
    assert client.read_response().status == 200
    told = every_line(lines)
    assert SECRET not in told
    assert "/a" in told


@pytest.mark.parametrize(
    "raw",
    [
        f"GET http://me:{SECRET}@a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        f"CONNECT me:{SECRET}@a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        f"GET me:{SECRET}@a.test HTTP/1.1\r\nHost: a.test\r\n\r\n",
        f"GET /x#{SECRET} HTTP/1.1\r\nHost: a.test\r\n\r\n",
        f"GET /x?a={SECRET} b HTTP/1.1\r\nHost: a.test\r\n\r\n",
        f"GET /x?a= {SECRET}\r\nHost: a.test\r\n\r\n",
        f"GET /x HTTP/1.1\r\nHost: a.test\r\nAuthorization : {SECRET}\r\n\r\n",
        f"GET /x HTTP/1.1\r\nHost: a.test\r\nCookie: {SECRET}\x00\r\n\r\n",
        f"GET /x?{SECRET} HTTP/1.1\r\nHost: a.test\r\nCookie: {SECRET}",
        f"POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
    ],
)
def test_what_is_refused_is_logged_without_its_secrets(logged, raw):
    connect, lines = logged
    client = connect()
    client.send(raw.encode("latin-1"))
    client.read_response()
    assert SECRET not in every_line(lines)


def test_the_client_is_masked_in_the_access_line(logged):
    connect, lines = logged
    assert connect(source="127.91.92.93").get("/").status == 200
    told = every_line(lines)
    assert "127.91.x.x" in told
    assert "92.93" not in told


def test_an_address_in_the_text_of_an_exception_is_masked(logged):
    connect, lines = logged
    assert connect(source="127.91.92.93").get("/bug").status == 500
    told = every_line(lines, 3)
    assert told.count("no route to 127.91.x.x, nor to 127.91.x.x") >= 2, "in the log and in the ring"
    assert "92.93" not in told


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        ("('203.0.113.9', 5432)", "203.0.x.x"),
        ("peer 203.0.113.9:5432 left", "203.0.x.x:5432"),
        ("('2001:db8:cafe:1:2:3:4:9', 5432, 0, 0)", "2001:db8:cafe::"),
        ("[2001:db8:cafe:1::113:9]:80", "[2001:db8:cafe::]:80"),
        ("::ffff:203.0.113.9", "203.0.x.x"),
    ],
)
def test_addresses_of_both_families_are_masked_in_tracebacks(logged, words, masked):
    _, lines = logged
    error = ConnectionResetError(words)
    logging.getLogger("aegis.test").error("it broke", exc_info=error)
    told = every_line(lines, 2)
    assert told.count(masked) >= 2, "in the log and in the ring"
    assert "113" not in told
    assert "cafe:1:" not in told
