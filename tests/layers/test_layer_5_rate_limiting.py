"""Layer 5 alone: the limiter around an app, over a real socket. It limits though nothing else works."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import pytest

from aegis.context import KEY
from aegis.http1.request_head import RequestHeads
from aegis.net.deadlines import Deadlines
from aegis.proxy.app import refuse
from aegis.ratelimit.layer import RateLimitLayer
from aegis.reasons import Reason
from aegis.wire.server import Server, WireSettings, open_listener
from tests.support.ports import loopback_host
from tests.support.raw_client import RawClient

SETTINGS = WireSettings(
    read_timeout=5,
    write_timeout=5,
    idle_timeout=60,
    max_header_bytes=8192,
    max_body_bytes=1_000_000,
    max_connections=100,
)


def innermost(environ, start_response):
    context = environ[KEY]
    if context.reason is not Reason.OK:
        return refuse(context, start_response)
    start_response("200 OK", [("Content-Length", "4"), ("RateLimit", '"backend";r=1;t=1')])
    return [b"fine"]


@contextmanager
def serving(limiter, host):
    listener = open_listener(host, 0)
    server = Server(listener, RateLimitLayer(innermost, limiter).__call__, SETTINGS, Deadlines(), RequestHeads())
    server.start()
    try:
        yield listener.getsockname()[:2]
    finally:
        server.stop(timeout=1)


@pytest.fixture
def host():
    return loopback_host()


def statuses(address, count, fields=(), source=None):
    with RawClient(address, source=source) as client:
        return [client.get("/", list(fields)).status for _ in range(count)]


def test_over_the_limit_is_429_with_its_body_and_fields_on_a_connection_that_goes_on(limiter_of, clock, host):
    with serving(limiter_of(rate=0.5, burst=2), host) as address, RawClient(address) as client:
        first, second, third = (client.get("/") for _ in range(3))
        assert [first.status, second.status, third.status] == [200, 200, 429]
        assert first["RateLimit-Policy"] == second["RateLimit-Policy"] == third["RateLimit-Policy"] == '"ip";q=2;w=4'
        assert first.all("RateLimit") == ['"backend";r=1;t=1', '"ip";r=1;t=2']
        assert second.all("RateLimit")[1] == '"ip";r=0;t=2'
        assert third["RateLimit"] == '"ip";r=0;t=2'
        assert third["Retry-After"] == "2"
        assert third["Content-Type"] == "application/json"
        assert third.body == b'{"error":"rate limit exceeded"}'
        clock.advance(2)
        assert client.get("/").status == 200
        assert client.get("/").status == 429


def test_a_429_to_head_has_no_body_and_the_same_fields(limiter_of, host):
    with serving(limiter_of(rate=0.5, burst=1), host) as address, RawClient(address) as client:
        client.get("/")
        client.request("HEAD", "/")
        response = client.read_response("HEAD")
        assert (response.status, response["Retry-After"], response["Content-Length"]) == (429, "2", "31")


def test_a_spoofed_address_changes_nothing(limiter_of, host):
    limiter = limiter_of(burst=3)
    with serving(limiter, host) as address, RawClient(address) as client:
        answers = [
            client.get(
                "/", [("X-Forwarded-For", f"203.0.113.{n}"), ("Forwarded", f"for=203.0.113.{n}"), ("X-Real-IP", "::1")]
            ).status
            for n in range(5)
        ]
    assert answers == [200, 200, 200, 429, 429]
    assert limiter.tracked == 1


def test_connections_of_one_address_share_and_another_address_has_its_own(limiter_of, host):
    with serving(limiter_of(burst=3), host) as address:
        one, other = loopback_host(), loopback_host()
        assert statuses(address, 2, source=one) == [200, 200]
        assert statuses(address, 2, source=one) == [200, 429]
        assert statuses(address, 1, source=other) == [200]


def test_what_the_parser_refuses_costs_no_token_and_carries_no_field(limiter_of, host):
    limiter = limiter_of(burst=3)
    with serving(limiter, host) as address:
        for _ in range(5):
            with RawClient(address) as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\nbad field\r\n\r\n")
                response = client.read_response()
                assert response.status == 400
                assert "RateLimit" not in response
                assert "RateLimit-Policy" not in response
        assert limiter.tracked == 0
        assert statuses(address, 3) == [200, 200, 200]


def test_shadow_mode_is_not_seen(limiter_of, host):
    limiter = limiter_of(burst=1, mode="shadow")
    with serving(limiter, host) as address, RawClient(address) as client:
        responses = [client.get("/") for _ in range(3)]
    assert [response.status for response in responses] == [200, 200, 200]
    assert all(response["RateLimit"] == '"backend";r=1;t=1' for response in responses)
    assert limiter.shadow_limited == 2


def test_over_a_dual_stack_listener_ipv4_is_ipv4_and_ipv6_is_its_network(limiter_of):
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    limiter = limiter_of(burst=2)
    try:
        serve = serving(limiter, "::")
        with serve as (_, port):
            source = loopback_host()
            assert statuses(("127.0.0.1", port), 3, source=source) == [200, 200, 429]
            assert statuses(("::1", port), 3) == [200, 200, 429]
            assert list(limiter._buckets) == [source, "::"]
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
