"""The connections to the backend: reuse, replay, and answers that are none."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.contract import check_refusal
from tests.support.poll import eventually
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import HELLO, ScriptedBackend, answer, before_body, chunked, then_close, then_reset


def fresh(connection):
    """This is the first request on its connection."""
    return len(connection.requests) == 1


def fails_on_reused_connections(connection, request):
    """What a connection that died while it was parked looks like."""
    if fresh(connection):
        connection.send(HELLO)
    else:
        connection.close()


def test_backend_connection_is_reused_for_other_clients(backend, connect):
    connect().get("/first")
    connect().get("/second")
    assert backend.asked("/first")[0].connection is backend.asked("/second")[0].connection


def test_requests_at_the_same_time_have_connections_of_their_own(backend, connect):
    def together(connection, request):
        eventually(lambda: len(backend.asked("/together")) == 5, "all five at once")
        connection.send(HELLO)

    backend.on("/together", together)
    clients = [connect() for _ in range(5)]
    for client in clients:
        client.request("GET", "/together")
    assert [client.read_response().status for client in clients] == [200] * 5
    assert len({id(request.connection) for request in backend.asked("/together")}) == 5


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_idempotent_request_on_a_stale_connection_is_replayed_once_on_a_fresh_one(aegis, backend, client, method):
    backend.on(f"/stale-{method}", fails_on_reused_connections)
    client.get("/park")
    client.request(method, f"/stale-{method}")
    assert client.read_response(method).status == 200
    assert [fresh(request.connection) for request in backend.asked(f"/stale-{method}")] == [False, True]
    assert aegis.wait_for_access(path=f"/stale-{method}")["retries"] == 1


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_request_whose_body_was_read_is_never_replayed(aegis, backend, client, method):
    backend.on(f"/body-{method}", fails_on_reused_connections)
    client.get("/park")
    client.request(method, f"/body-{method}", body=b"pay once")
    check_refusal(client.read_response(), "bad_gateway_reset")
    assert [request.body for request in backend.asked(f"/body-{method}")] == [b"pay once"]
    line = aegis.wait_for_access(path=f"/body-{method}")
    assert (line["reason"], line["retries"]) == ("bad_gateway_reset", 0)


def test_post_without_a_body_is_not_idempotent_and_not_replayed(backend, client):
    backend.on("/post", fails_on_reused_connections)
    client.get("/park")
    client.request("POST", "/post", [("Content-Length", "0")])
    check_refusal(client.read_response(), "bad_gateway_reset")
    assert len(backend.asked("/post")) == 1


def test_idempotent_request_is_tried_once_more_and_not_for_ever(aegis, backend, client):
    backend.on("/never", lambda connection, request: connection.close())
    check_refusal(client.get("/never"), "bad_gateway_reset")
    assert len(backend.asked("/never")) == 2
    line = aegis.wait_for_access(path="/never")
    assert (line["status"], line["reason"], line["retries"]) == (502, "bad_gateway_reset", 1)


@pytest.mark.parametrize("first", [b"H", b"HTTP/1.1 200 OK\r\nContent-Le"])
@pytest.mark.parametrize("end", [then_close, then_reset])
def test_request_that_got_a_response_byte_is_not_replayed(backend, client, first, end):
    mark = backend.mark()
    backend.on("/byte", end(first))
    response = client.get("/byte")
    assert response.status == 502
    assert len(mark.completed()) == 1
    assert client.get("/next").status == 200


def test_connection_that_the_backend_closed_while_parked_is_not_used_again(backend, client):
    def parks_and_leaves(connection, request):
        connection.send(HELLO)
        connection.half_close()
        connection.wait_until_peer_leaves()

    backend.on("/leaves", parks_and_leaves)
    client.get("/leaves")
    assert backend.wait_for("/leaves").connection.peer_left.wait(3), "Aegis notices and closes its side"
    client.request("POST", "/after", body=b"x")
    assert client.read_response().status == 200


def test_connection_close_of_the_backend_is_honoured(backend, client):
    backend.on("/last", answer(fields=[("Connection", "close")], body=b"x"))
    client.get("/last")
    assert client.get("/after-last").status == 200
    assert backend.asked("/last")[-1].connection is not backend.asked("/after-last")[-1].connection


def test_http_10_answer_of_the_backend_ends_its_connection(backend, client):
    backend.on("/ten", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert client.get("/ten").body == b"hello"
    assert client.get("/after-ten").status == 200
    assert backend.asked("/ten")[-1].connection is not backend.asked("/after-ten")[-1].connection


@pytest.mark.parametrize(
    ("method", "response"),
    [
        ("GET", answer(body=b"hello") + b"X"),
        ("GET", answer(body=b"hello") + b"\r\n"),
        ("GET", answer(body=b"hello") + answer(body=b"poison")),
        ("GET", chunked(b"hello") + answer(body=b"poison")),
        ("GET", answer(204, length=None) + answer(body=b"poison")),
        ("GET", answer(304, length=None) + answer(body=b"poison")),
        ("HEAD", answer(length=6) + b"poison"),
        ("HEAD", answer(length=0) + answer(body=b"poison")),
    ],
    ids=["byte", "crlf", "response", "chunked", "204", "304", "head-body", "head-response"],
)
def test_bytes_after_a_response_make_its_connection_unfit_for_reuse(backend, client, method, response):
    backend.on("/more", response)
    client.request(method, "/more")
    assert client.read_response(method).body in {b"hello", b""}
    after = client.get("/after-more")
    assert after.body == b"hello"
    assert backend.asked("/more")[-1].connection is not backend.asked("/after-more")[-1].connection


def test_the_body_of_a_head_that_comes_later_does_not_answer_the_request_that_is_pipelined_behind_it(backend, client):
    def in_two_packets(connection, request):
        connection.send(answer(length=40_000))
        gevent.sleep(0.0005)
        connection.send(answer(body=b"poison"))

    backend.on("/head", in_two_packets)
    for _ in range(20):
        client.request("HEAD", "/head")
        client.request("GET", "/after-head")
        assert client.read_response("HEAD").status == 200
        assert client.read_response().body == b"hello"


def test_bytes_after_a_large_response_do_not_answer_the_request_that_is_pipelined_behind_it(backend, client):
    backend.on("/large", answer(body=b"x" * 50_000) + answer(body=b"poison"))
    client.request("GET", "/large")
    client.request("GET", "/after-large")
    assert len(client.read_response().body) == 50_000
    assert client.read_response().body == b"hello"


MALFORMED_HEADS = {
    "garbage": b"garbage\r\n\r\n",
    "binary": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "http_09": b"hello\r\n\r\n",
    "http_20": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http_09_spelled": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http_12": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "rtsp": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "lower_case": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status_000": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "status_099": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status_600": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "status_999": b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "status_two_digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status_four_digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status_letters": b"HTTP/1.1 2xx OK\r\nContent-Length: 0\r\n\r\n",
    "head_over_64_kib": b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 66000 + b"\r\nContent-Length: 0\r\n\r\n",
    "head_never_ends": b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 70000,
    "length_twice": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length_plus": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "length_negative": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "length_letters": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    "length_and_chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding_gzip_chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding_gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    "coding_twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding_http_10": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "value_nul": b"HTTP/1.1 200 OK\r\nX-A: 1\x002\r\nContent-Length: 0\r\n\r\n",
    "value_bare_cr": b"HTTP/1.1 200 OK\r\nX-A: 1\r2\r\nContent-Length: 0\r\n\r\n",
    "name_space": b"HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 0\r\n\r\n",
    "space_before_colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "field_without_colon": b"HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n",
    "unsolicited_101": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "bare_101": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED_HEADS)
def test_malformed_head_of_the_backend_is_a_bad_gateway(aegis, backend, client, name):
    backend.on(f"/malformed/{name}", then_close(MALFORMED_HEADS[name]))
    response = client.get(f"/malformed/{name}")
    check_refusal(response, "bad_gateway_protocol")
    line = aegis.wait_for_access(request_id=response["X-Request-ID"])
    assert (line["reason"], line["status"]) == ("bad_gateway_protocol", 502)
    assert len(backend.asked(f"/malformed/{name}")) == 1
    assert client.get("/next").body == b"hello"


@pytest.mark.parametrize(
    "fields",
    [[("X-Large", "a" * 60_000)], [("Set-Cookie", f"c{number}={'a' * 200}") for number in range(250)]],
    ids=["one-field", "250-fields"],
)
def test_head_of_the_backend_up_to_64_kib_passes(backend, client, fields):
    backend.on("/large-head", answer(fields=fields, body=b"hello"))
    response = client.get("/large-head")
    assert [line for line in response.fields if line[0] == fields[0][0]] == fields
    assert response.body == b"hello"


@pytest.mark.parametrize("phrase", [b" ", b" Caf\xe9", b" a\tb"])
def test_reason_phrase_of_the_backend_may_be_anything_visible(backend, client, phrase):
    backend.on("/phrase", b"HTTP/1.1 200" + phrase + b"\r\nContent-Length: 0\r\n\r\n")
    response = client.get("/phrase")
    assert (response.status, response.reason) == (200, "OK")


def test_head_that_comes_byte_by_byte_is_the_same(backend, client):
    backend.on("/drip", lambda connection, request: connection.drip(chunked(b"hello", fields=[("X-A", "1")])))
    response = client.get("/drip")
    assert (response["X-A"], response.body) == ("1", b"hello")


def test_early_hints_pass_to_http_11_clients(backend, client):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    backend.on("/hints", hints + hints.replace(b"a.css", b"b.css") + HELLO)
    response = client.get("/hints")
    assert [interim.status for interim in response.interim] == [103, 103]
    assert [interim["Link"] for interim in response.interim] == ["</a.css>; rel=preload", "</b.css>; rel=preload"]
    assert response.body == b"hello"


def test_early_hints_go_out_before_the_final_answer(backend, client):
    seen = Event()

    def script(connection, request):
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        seen.wait(5)
        connection.send(HELLO)

    backend.on("/hints-first", script)
    client.request("GET", "/hints-first")
    assert client.read_head().status == 103
    seen.set()
    assert client.read_response().body == b"hello"


def test_early_hints_do_not_reach_http_10_clients(aegis, backend):
    backend.on("/hints", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + HELLO)
    with RawClient(aegis.address) as client:
        client.send(b"GET /hints HTTP/1.0\r\nHost: example.test\r\n\r\n")
        response = client.read_response()
    assert (response.interim, response.status, response.body) == ([], 200, b"hello")


def test_continue_of_the_backend_is_swallowed(backend, client):
    backend.on("/continue", b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + HELLO)
    client.request("POST", "/continue", body=b"x")
    response = client.read_response()
    assert (response.interim, response.status) == ([], 200)


def test_bytes_that_come_while_a_connection_is_parked_reach_no_one(backend, client):
    answered = Event()

    def script(connection, request):
        connection.send(HELLO)
        answered.wait(5)
        connection.send(answer(body=b"poison"))

    backend.on("/stray", script)
    assert client.get("/stray").body == b"hello"
    connection = backend.asked("/stray")[-1].connection
    before = connection.sent
    answered.set()
    eventually(lambda: connection.sent > before, "the stray answer")
    assert client.get("/after-stray").body == b"hello"
    assert connection is not backend.asked("/after-stray")[-1].connection


@pytest.fixture
def gone():
    """A backend that answers its first probe and is gone `once_up`; the next probe is an hour away."""
    with ScriptedBackend() as scripted:

        def once_up():
            eventually(lambda: scripted.probes, "its first probe")
            scripted.stop_listening()

        scripted.once_up = once_up
        yield scripted


def test_refused_connect_is_a_bad_gateway_and_keeps_the_client(gone):
    with AegisProcess(config_for([gone])) as aegis, RawClient(aegis.address) as client:
        gone.once_up()
        check_refusal(client.get("/first"), "bad_gateway_connect")
        client.request("POST", "/second", body=b"x" * 1000)
        check_refusal(client.read_response(), "bad_gateway_connect")
        assert client.get("/third").status == 502
        line = aegis.wait_for_access(path="/first")
        assert (line["status"], line["reason"]) == (502, "bad_gateway_connect")
        assert line["detail"] == "{}:{}: [Errno 111] Connection refused".format(*gone.address)


def test_refused_connect_moves_the_request_to_another_backend_with_its_body(gone, backend):
    mark = backend.mark()
    with AegisProcess(config_for([gone, backend])) as aegis, RawClient(aegis.address) as client:
        gone.once_up()
        for _ in range(4):
            assert client.get("/moves").status == 200
            client.request("POST", "/moves", body=b"x" * 1000)
            assert client.read_response().status == 200
        assert [len(request.body) for request in mark.completed() if request.method == "POST"] == [1000] * 4
        lines = eventually(lambda: len(aegis.access_lines()) == 8 and aegis.access_lines(), "all access lines")
        assert {line["backend"] for line in lines} == {backend.name}
        assert [line["retries"] for line in lines] == [1, 0] * 4 or [line["retries"] for line in lines] == [0, 1] * 4


def test_backend_that_reads_nothing_and_closes_gives_a_bad_gateway_to_an_upload(backend, client):
    backend.on("/refuses", before_body(lambda connection, request: connection.reset()))
    client.request("POST", "/refuses", body=b"x" * 100_000)
    response = client.read_response()
    assert response.status == 502
    assert len(backend.asked("/refuses")) == 1
