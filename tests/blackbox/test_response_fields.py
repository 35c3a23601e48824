"""What every response carries and what is taken from the backend's."""

from __future__ import annotations

import pytest

from tests.support.contract import REQUEST_ID, SECURITY_FIELDS, check_every_response, check_refusal
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import answer, chunked, then_close

CONFIG = {"server": {"max_body_bytes": 4096, "allowed_hosts": ["example.test"]}}


@pytest.mark.parametrize(
    "response",
    [
        answer(200, body=b"x"),
        answer(201, body=b"x"),
        answer(204, length=None),
        answer(206, body=b"x"),
        answer(301, [("Location", "/b")]),
        answer(304, [("ETag", '"a"')], length=None),
        answer(404, body=b"x"),
        answer(500, body=b"x"),
        answer(503, body=b"x"),
        chunked(b"x", b"y"),
    ],
    ids=["200", "201", "204", "206", "301", "304", "404", "500", "503", "chunked"],
)
def test_security_fields_stand_on_every_response_of_the_backend(backend, client, response):
    backend.on("/status", response)
    check_every_response(client.get("/status"))


def test_security_fields_stand_on_every_answer_to_head_and_options(backend, client):
    backend.on("/status", answer(length=5))
    client.request("HEAD", "/status")
    check_every_response(client.read_response("HEAD"))
    client.request("OPTIONS", "*")
    check_every_response(client.read_response())


def test_security_fields_replace_the_backends_own(backend, client):
    backend.on("/own", answer(200, [(name.lower(), "backend") for name in SECURITY_FIELDS] * 2, b"x"))
    check_every_response(client.get("/own"))


def test_x_powered_by_is_removed(backend, client):
    backend.on("/powered", answer(200, [("X-Powered-By", "PHP/5"), ("x-powered-by", "Express")], b"x"))
    assert "X-Powered-By" not in client.get("/powered")


def test_server_is_aegis_whatever_the_backend_says(backend, client):
    backend.on("/server", answer(200, [("Server", "nginx/1.2.3")], b"x"))
    assert client.get("/server").all("Server") == ["aegis"]


def test_bad_gateway_carries_them_too_and_keeps_the_connection(backend, client):
    backend.on("/broken", then_close(b"garbage\r\n\r\n"))
    check_refusal(client.get("/broken"), "bad_gateway_protocol")
    assert client.get("/fine").status == 200


def test_hop_by_hop_fields_of_the_response_are_stripped(backend, client):
    named = [("Connection", "x-hop, Keep-Alive"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5")]
    others = ["Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Trailers", "Upgrade"]
    backend.on("/hop", answer(200, [*named, *((name, "x") for name in others), ("X-Kept", "1")], b"x"))
    response = client.get("/hop")
    assert response["X-Kept"] == "1"
    assert [name for name in ("X-Hop", "Keep-Alive", *others) if name in response] == []
    assert "x-hop" not in response.tokens("Connection")


def test_connection_named_by_the_backend_cannot_strip_what_aegis_sets(backend, client):
    names = ", ".join([*SECURITY_FIELDS, "X-Request-ID", "Date", "Content-Length"])
    backend.on("/strip", answer(200, [("Connection", names)], b"hello"))
    response = client.get("/strip")
    check_every_response(response)
    assert response.body == b"hello"


def test_connection_close_of_the_backend_does_not_close_the_clients(backend, client):
    backend.on("/close", then_close(answer(200, [("Connection", "close")], b"x")))
    assert "close" not in client.get("/close").tokens("Connection")
    assert client.get("/next").status == 200


def test_end_to_end_fields_pass_in_order_with_their_multiplicity(backend, client):
    fields = [
        ("Set-Cookie", "a=1; Path=/"),
        ("X-A", "1"),
        ("set-cookie", "b=2"),
        ("Location", "http://internal.test:8081/x"),
        ("ETag", 'W/"a"'),
        ("Content-Encoding", "gzip"),
        ("Set-Cookie", "c=3, d"),
        ("Vary", "a"),
        ("X-Latin", "caf\u00e9"),
    ]
    backend.on("/fields", answer(200, fields, b"\x1f\x8bnot really"))
    response = client.get("/fields")
    assert [line for line in response.fields if line in fields] == fields
    assert response.body == b"\x1f\x8bnot really"


def test_date_of_the_backend_passes(backend, client):
    backend.on("/dated", answer(200, [("Date", "Sun, 06 Nov 1994 08:49:37 GMT")], b"x"))
    assert client.get("/dated")["Date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_reason_phrase_toward_the_client_is_ours(backend, client):
    backend.on("/phrase", b"HTTP/1.1 404 Nope <script>\r\nContent-Length: 0\r\n\r\n")
    assert client.get("/phrase").reason == "Not Found"


def test_request_id_is_32_hex_digits_new_each_time_and_seen_by_the_backend(backend, client):
    first, second = client.get("/id"), client.get("/id")
    assert REQUEST_ID.fullmatch(first["X-Request-ID"])
    assert first["X-Request-ID"] != second["X-Request-ID"]
    assert backend.asked("/id")[-1]["X-Request-ID"] == second["X-Request-ID"]


def test_request_id_of_client_and_backend_are_replaced(backend, client):
    backend.on("/id-own", answer(200, [("X-Request-ID", "backend"), ("x-request-id", "again")], b"x"))
    response = client.get("/id-own", [("X-Request-ID", "a" * 32)])
    assert REQUEST_ID.fullmatch(response["X-Request-ID"])
    assert response["X-Request-ID"] != "a" * 32
    assert backend.asked("/id-own")[-1]["X-Request-ID"] == response["X-Request-ID"]


def test_http_10_clients_get_all_of_it(aegis):
    with RawClient(aegis.address) as client:
        client.send(b"GET / HTTP/1.0\r\nHost: example.test\r\n\r\n")
        check_every_response(client.read_response())
