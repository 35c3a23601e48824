"""Layer 3 alone: every answer on the wire carries the six fields, whoever made it."""

from __future__ import annotations

import pytest

from aegis.security.headers import SecurityHeaders
from tests.layers.apps import innermost
from tests.support.contract import SECURITY_FIELDS

THEIRS = [(name.lower(), "theirs") for name in SECURITY_FIELDS] * 2 + [("X-Powered-By", "x"), ("x-powered-by", "y")]


@pytest.fixture
def secured(serve):
    """`secured(status, fields, body)` answers everything with these; refused heads by the table."""

    def start(status="200 OK", fields=(), body=(b"hello",), **settings):
        @innermost
        def app(environ, start_response):
            start_response(status, list(fields))
            return list(body)

        return serve(SecurityHeaders(app).__call__, **settings)()

    return start


def check(response):
    for name, value in SECURITY_FIELDS.items():
        assert response.all(name) == [value]
    assert "X-Powered-By" not in response


@pytest.mark.parametrize(
    "status", ["200 OK", "204 No Content", "304 Not Modified", "404 Not Found", "500 X", "302 Found"]
)
def test_every_status_carries_them(secured, status):
    check(secured(status, body=() if status[:3] in {"204", "304"} else (b"x",)).get("/"))


def test_they_replace_what_the_app_says_and_x_powered_by_goes(secured):
    response = secured(fields=[("X-Kept", "1"), *THEIRS]).get("/")
    check(response)
    assert response["X-Kept"] == "1"


def test_an_answer_to_head_carries_them(secured):
    client = secured()
    client.request("HEAD", "/")
    check(client.read_response("HEAD"))


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
    ],
)
def test_answers_of_the_parser_carry_them_too(secured, raw, status):
    client = secured()
    client.send(raw)
    response = client.read_response()
    assert response.status == status
    check(response)


def test_a_timed_out_head_carries_them_too(secured):
    client = secured(read_timeout=0.2)
    client.send(b"GET / HTTP/1.1\r\n")
    response = client.read_response()
    assert response.status == 408
    check(response)
