"""Layer 2 alone: the strict wire and the validation layer around an app that would answer anything."""

from __future__ import annotations

import pytest

from aegis.context import KEY
from aegis.security.hosts import whitelist
from aegis.security.validation import Validation
from tests.layers.apps import innermost
from tests.support.contract import DEFAULT_METHODS, REFUSALS

LIMIT = 1000
METHODS = sorted(DEFAULT_METHODS)


@pytest.fixture
def validated(serve):
    """(open a client, targets that reached the app)"""
    reached = []

    @innermost
    def app(environ, start_response):
        body = environ["wsgi.input"].read()
        reached.append((environ[KEY].target, body))
        start_response("200 OK", [])
        return [b"proxied"]

    layer = Validation(app, whitelist(["a.test", "*.wild.test"], [], "0.0.0.0"), METHODS, LIMIT)
    return serve(layer.__call__, max_body_bytes=LIMIT), reached


def post(length, host="a.test"):
    return b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (host.encode(), length)


def get(target="/", host="a.test", method="GET", *fields):
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode("latin-1")


def refused(connect, raw):
    """The refusal of a request that the app never saw: (status, reason's text, response)."""
    client = connect()
    client.send(raw)
    return client.read_response("HEAD" if raw.startswith(b"HEAD ") else "GET")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (post(LIMIT + 1), "body_too_large"),
        (get(method="TRACE"), "method_not_allowed"),
        (get(method="CONNECT", target="a.test:443"), "method_not_allowed"),
        (get(method="PROPFIND"), "method_not_allowed"),
        (post(3)[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad_framing"),
        (get("/../etc/passwd"), "path_traversal"),
        (get("/a/%2e%2e/b"), "path_traversal"),
        (get("/a/%252e%252e/b"), "path_traversal"),
        (get("/a/..;x/b"), "path_traversal"),
        (get("/a/..%5cb"), "path_traversal"),
        (get("/a%00b"), "path_traversal"),
        (get("/a%0d%0ab"), "path_traversal"),
        (get(host="b.test"), "host_not_allowed"),
        (get(host="a.test.evil.test"), "host_not_allowed"),
        (get(host="wild.test"), "host_not_allowed"),
        (get(host="127.0.0.1"), "host_not_allowed"),
    ],
)
def test_what_may_not_be_proxied_is_refused_and_never_reaches_the_app(validated, raw, reason):
    connect, reached = validated
    response = refused(connect, raw)
    assert response.status == REFUSALS[reason].status
    assert response.body == b'{"error":"%b"}' % REFUSALS[reason].text.encode()
    assert reached == []
    if response.status == 405:
        assert {method.strip() for method in response["Allow"].split(",")} == DEFAULT_METHODS


def test_a_body_is_counted_while_it_streams(validated):
    connect, reached = validated
    response = refused(connect, get(method="POST")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"a" * 100)
    assert response.status == 413
    assert reached == []


@pytest.mark.parametrize(
    "target",
    ["/", "/a..b", "/..a/b..", "/.../x", "/a/./b", "/?a=../..", "/?a=%2e%2e/", "/a%20b", "/%25252e%25252e/", "//a//b"],
)
def test_what_only_looks_like_it_passes_byte_for_byte(validated, target):
    connect, reached = validated
    client = connect()
    client.send(get(target))
    assert client.read_response().status == 200
    assert reached == [(target.encode(), b"")]


@pytest.mark.parametrize("host", ["a.test", "A.TEST", "a.test:8080", "a.test.", "x.wild.test", "x.y.wild.test"])
def test_a_listed_host_passes_in_every_spelling(validated, host):
    client = validated[0]()
    client.send(get(host=host))
    assert client.read_response().status == 200


def test_a_body_of_exactly_the_limit_passes(validated):
    connect, reached = validated
    client = connect()
    client.send(post(LIMIT) + b"a" * LIMIT)
    assert client.read_response().status == 200
    assert reached == [(b"/", b"a" * LIMIT)]


def test_without_a_list_the_backends_the_loopback_names_and_the_listen_host_are_served():
    hosts = whitelist([], ["backend.test", "10.0.0.5"], "proxy.test")
    assert all(each in hosts for each in ("backend.test", "10.0.0.5", "localhost", "127.0.0.1", "::1", "proxy.test"))
    assert "other.test" not in hosts
