"""The connection to the client: order, reuse, and which responses have a body."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event

from tests.support.contract import check_every_response, check_refusal
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import answer, chunked, hold, then_close

MIB = 1 << 20


def get(target, *fields, version="1.1"):
    return "\r\n".join([f"GET {target} HTTP/{version}", "Host: example.test", *fields, "", ""]).encode()


def test_pipelined_requests_are_answered_in_order(backend, client):
    first = Event()
    backend.on("/1", hold(first, answer(body=b"one")))
    backend.on("/2", answer(body=b"two"))
    backend.on("/3", chunked(b"three"))
    client.send(get("/1") + get("/2") + get("/3"))
    backend.wait_for("/1")
    gevent.sleep(0.05)
    assert not client.readable()
    first.set()
    assert [client.read_response().body for _ in range(3)] == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    "body", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
def test_request_pipelined_behind_a_body_is_served(backend, client, body):
    mark = backend.mark()
    client.send(b"POST /a HTTP/1.1\r\nHost: example.test\r\n" + body + get("/b"))
    assert [client.read_response().status for _ in range(2)] == [200, 200]
    assert [(request.target, request.body) for request in mark.completed()] == [("/a", b"hello"), ("/b", b"")]


def test_pipelined_requests_cut_anywhere_are_the_same(backend, client):
    mark = backend.mark()
    data = get("/a") + b"POST /b HTTP/1.1\r\nHost: example.test\r\nContent-Length: 5\r\n\r\nhello" + get("/c")
    for start in range(0, len(data), 7):
        client.send(data[start : start + 7])
        gevent.sleep(0.001)
    assert [client.read_response().status for _ in range(3)] == [200, 200, 200]
    assert [request.target for request in mark.completed()] == ["/a", "/b", "/c"]


def test_what_follows_connection_close_is_ignored(backend, client):
    mark = backend.mark()
    client.send(get("/a", "Connection: close") + get("/smuggled"))
    assert client.read_response().status == 200
    assert client.ends_silently()
    assert [request.target for request in mark.completed()] == ["/a"]


def test_what_follows_a_refused_request_is_ignored(backend, client):
    mark = backend.mark()
    client.send(get("/a/../b") + get("/smuggled"))
    check_refusal(client.read_response(), "path_traversal")
    assert client.ends_silently()
    assert mark.received() == b""


def test_refused_request_behind_a_good_one_waits_for_its_turn(client):
    client.send(get("/a") + get("/a/../b"))
    assert client.read_response().status == 200
    check_refusal(client.read_response(), "path_traversal")
    assert client.ends_silently()


def test_method_not_allowed_keeps_pipelined_requests(client):
    client.send(get("/a").replace(b"GET", b"PURGE") + get("/b"))
    check_refusal(client.read_response(), "method_not_allowed")
    assert client.read_response().status == 200


def test_one_empty_line_between_requests_is_ignored(client):
    client.send(b"POST /a HTTP/1.1\r\nHost: example.test\r\nContent-Length: 5\r\n\r\nhello\r\n" + get("/b"))
    assert [client.read_response().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "response",
    [answer(length=5), answer(fields=[("Transfer-Encoding", "chunked")], length=None), answer(length=None)],
    ids=["length", "chunked", "unknown"],
)
def test_head_has_no_body_and_the_connection_goes_on(backend, client, response):
    backend.on("/head", response)
    client.request("HEAD", "/head")
    check_every_response(client.read_response("HEAD"))
    assert client.get("/next").body == b"hello"


def test_head_keeps_the_length_of_the_backend(backend, client):
    backend.on("/head", answer(length=12345))
    client.request("HEAD", "/head")
    assert client.read_response("HEAD")["Content-Length"] == "12345"


def test_body_that_a_backend_sends_to_head_is_not_passed_on(backend, client):
    backend.on("/head", answer(body=b"wrong"))
    client.request("HEAD", "/head")
    assert client.read_response("HEAD").body == b""
    assert client.get("/next").body == b"hello"


@pytest.mark.parametrize(
    "response",
    [
        answer(204, length=None),
        answer(204, length=0),
        answer(204, body=b"wrong"),
        answer(304, length=None),
        answer(304, length=5),
        answer(304, body=b"wrong"),
        chunked(b"wrong", status=304),
    ],
    ids=["204", "204-zero", "204-body", "304", "304-length", "304-body", "304-chunked"],
)
def test_204_and_304_have_no_body_and_the_connection_goes_on(backend, client, response):
    backend.on("/empty", response)
    assert client.get("/empty").body == b""
    assert client.get("/next").body == b"hello"


@pytest.mark.parametrize("reason", ["path_traversal", "method_not_allowed"])
def test_refusal_to_head_has_no_body(client, reason):
    client.request("HEAD" if reason == "path_traversal" else "PURGE", "/a/../b" if reason == "path_traversal" else "/a")
    to_head = reason == "path_traversal"
    check_refusal(client.read_response("HEAD" if to_head else "GET"), reason, to_head=to_head)


def test_bad_gateway_to_head_has_no_body(backend, client):
    backend.on("/broken", then_close(b"garbage\r\n\r\n"))
    client.request("HEAD", "/broken")
    check_refusal(client.read_response("HEAD"), "bad_gateway_protocol", to_head=True)
    assert client.get("/next").body == b"hello"


def test_http_10_client_gets_an_unknown_length_delimited_by_the_close(backend, client):
    backend.on("/chunked", chunked(b"hel", b"lo"))
    client.send(get("/chunked", version="1.0"))
    response = client.read_response()
    assert (response.framing, response.body) == ("close", b"hello")


def test_http_10_client_keeps_a_known_length_and_is_closed(client):
    client.send(get("/a", version="1.0"))
    response = client.read_response()
    assert (response.framing, response.body) == ("length", b"hello")
    assert client.ends_silently()


def test_http_10_keep_alive_with_unknown_length_is_closed_all_the_same(backend, client):
    backend.on("/chunked", chunked(b"hello"))
    client.send(get("/chunked", "Connection: keep-alive", version="1.0"))
    response = client.read_response()
    assert (response.framing, response.body) == ("close", b"hello")


def test_http_10_client_gets_an_aborted_close_when_the_backend_breaks_off(backend, client):
    """A clean end would be the end of the message: only a reset tells."""

    def script(connection, request):
        connection.send(chunked(b"hello", end=b""))
        gevent.sleep(0.05)
        connection.close()

    backend.on("/broken", script)
    client.send(get("/broken", version="1.0"))
    client.read_head()
    assert client.read_to_end() == (b"hello", "reset")


def test_connection_is_kept_over_many_requests(client):
    assert [client.get(f"/{number}").status for number in range(50)] == [200] * 50


def test_request_in_flight_does_not_hold_others(backend, connect):
    release = Event()
    backend.on("/held", hold(release, answer(body=b"held")))
    waiting, other = connect(), connect()
    waiting.request("GET", "/held")
    backend.wait_for("/held")
    assert other.get("/other").body == b"hello"
    release.set()
    assert waiting.read_response().body == b"held"


def test_refused_small_body_is_read_and_the_connection_kept(client):
    client.send(b"PURGE / HTTP/1.1\r\nHost: example.test\r\nContent-Length: 65536\r\n\r\n" + b"a" * 65536)
    check_refusal(client.read_response(), "method_not_allowed")
    assert client.get("/next").status == 200


def test_refused_large_body_is_not_read_and_the_connection_closed(client):
    client.send(b"PURGE / HTTP/1.1\r\nHost: example.test\r\nContent-Length: 1000000\r\n\r\n")
    response = client.read_response()
    check_refusal(response, "method_not_allowed")
    assert "close" in response.tokens("Connection")
    assert client.ends_silently()


def test_linger_lets_the_client_read_its_413_while_it_still_sends(aegis):
    with RawClient(aegis.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: example.test\r\nContent-Length: 1000000000\r\n\r\n" + b"a" * 300_000)
        check_refusal(client.read_response(), "body_too_large")


def test_linger_after_a_refused_body_is_bounded(aegis):
    with RawClient(aegis.address, timeout=10) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: example.test\r\nContent-Length: 1000000000\r\n\r\n")
        assert sent_until_refused(client, 64 * MIB) < 32 * MIB


def sent_until_refused(client, most):
    """Bytes that went out until the peer would take no more."""
    for sent in range(0, most, 65536):
        try:
            client.send(bytes(65536))
        except (BrokenPipeError, ConnectionResetError):
            return sent
    return most
