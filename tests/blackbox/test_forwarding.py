"""What the backend gets to see of a request from an untrusted peer."""

from __future__ import annotations

import pytest

from tests.support.raw_client import RawClient

SPOOFABLE = [
    *(
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
    ),
    *("X-Forwarded-Prefix", "X-Real-IP", "X-Client-IP", "True-Client-IP"),
]
SET_BY_AEGIS = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}


def seen(backend, client, fields, **keys):
    """The backend's view of a GET with these fields."""
    mark = backend.mark()
    assert client.get("/seen", fields, **keys).status == 200
    (request,) = mark.completed()
    return request


def test_forwarded_fields_tell_the_peer_the_scheme_and_the_host(aegis, backend):
    with RawClient(aegis.address, source="127.5.77.91") as client:
        request = seen(backend, client, [], host="example.test:8443")
    assert request["X-Forwarded-For"] == "127.5.77.91"
    assert request["X-Forwarded-Proto"] == "http"
    assert request["X-Forwarded-Host"] == "example.test:8443"


@pytest.mark.parametrize("spelling", [str, str.lower, str.upper, lambda name: name.replace("-", "_")])
def test_spoofed_forwarding_fields_are_dropped_in_every_spelling(backend, client, spelling):
    request = seen(backend, client, [(spelling(name), "6.6.6.6") for name in SPOOFABLE])
    assert b"6.6.6.6" not in request.head
    assert {name.lower() for name, _ in request.fields if "forwarded" in name.lower()} == SET_BY_AEGIS
    assert all(len(request.all(name)) == 1 for name in SET_BY_AEGIS)


@pytest.mark.parametrize("name", ["X_Forwarded-For", "X-Forwarded_For", "x_real-ip", "X-Client_IP", "True_Client-Ip"])
def test_look_alikes_with_some_underscores_are_dropped(backend, client, name):
    assert b"6.6.6.6" not in seen(backend, client, [(name, "6.6.6.6")]).head


def test_several_spoofed_lines_are_all_dropped(backend, client):
    request = seen(backend, client, [("X-Forwarded-For", "6.6.6.6")] * 3 + [("x-forwarded-for", "6.6.6.6, 7.7.7.7")])
    assert request.all("X-Forwarded-For") == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-ID", "Via"])
def test_connection_cannot_strip_what_aegis_sets(backend, client, name):
    request = seen(backend, client, [("Connection", f"close, {name.lower()}"), (name, "6.6.6.6")])
    assert len(request.all(name)) == 1
    assert b"6.6.6.6" not in request.head


def test_connection_cannot_strip_host(backend, client):
    assert seen(backend, client, [("Connection", "host")])["Host"] == "example.test"


def test_connection_cannot_strip_the_framing_of_a_body(backend, client):
    mark = backend.mark()
    client.request("POST", "/framed", [("Connection", "content-length")], b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.read_response().status == 200
    (request,) = mark.completed()
    assert request.body.startswith(b"GET /smuggled")


@pytest.mark.parametrize("host", ["example.test", "Example.Test", "example.test:8443", "example.test."])
def test_host_is_preserved(backend, client, host):
    assert seen(backend, client, [], host=host).all("Host") == [host]


def test_via_is_set(backend, client):
    assert seen(backend, client, [])["Via"] == "1.1 aegis"


def test_via_is_appended_to_what_was_there(backend, client):
    request = seen(backend, client, [("Via", "1.0 fred"), ("Via", "1.1 proxy.test")])
    entries = [entry.strip() for value in request.all("Via") for entry in value.split(",")]
    assert entries == ["1.0 fred", "1.1 proxy.test", "1.1 aegis"]


def test_via_names_the_version_the_client_spoke(aegis, backend):
    mark = backend.mark()
    with RawClient(aegis.address) as client:
        client.send(b"GET /via HTTP/1.0\r\nHost: example.test\r\n\r\n")
        assert client.read_response().status == 200
    (request,) = mark.completed()
    assert request["Via"] in {"1.0 aegis", "1.1 aegis"}  # the former is RFC 9110 §7.6.3, the latter the letter of ours


def test_nothing_is_added_that_the_client_did_not_ask_for(backend, client):
    names = {name.lower() for name, _ in seen(backend, client, []).fields}
    assert names - {"connection"} == {"host", "via", "x-request-id"} | SET_BY_AEGIS


def test_connection_toward_the_backend_is_not_the_clients(backend, client):
    request = seen(backend, client, [("Connection", "close")])
    assert "close" not in [value.lower() for value in request.all("Connection")]
