"""Layer 4 alone: the proxy app between real sockets, with none of the other layers around it."""

from __future__ import annotations

import pytest

from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, answer

HOP_BY_HOP = [
    *("Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer"),
    *("Trailers", "Transfer-Encoding", "Upgrade"),
]
PLAIN = [name for name in HOP_BY_HOP if name not in {"Connection", "Transfer-Encoding"}]


@pytest.fixture
def between(proxy):
    """(client, backend)"""
    with ScriptedBackend() as backend:
        host, port = backend.address
        with RawClient(proxy(f"http://{host}:{port}", backend.address).address) as client:
            yield client, backend
        assert backend.faults == []


def seen(between, fields):
    client, backend = between
    assert client.get("/seen", fields).status == 200
    return backend.asked("/seen")[-1]


def spellings(name):
    return {name, name.lower(), name.upper()}


@pytest.mark.parametrize("name", PLAIN)
def test_a_hop_by_hop_field_of_the_client_ends_here_in_every_spelling(between, name):
    for spelling in spellings(name):
        request = seen(between, [(spelling, "x-hop"), ("X-Kept", "1")])
        assert name not in request
        assert request["X-Kept"] == "1"


@pytest.mark.parametrize("value", ["X-Named", "x-named", "close, X-NAMED", "keep-alive,,x-named ,", "\tx-named"])
def test_whatever_the_clients_connection_names_ends_here(between, value):
    request = seen(between, [("Connection", value), ("X-Named", "1"), ("X-Kept", "1")])
    assert "X-Named" not in request
    assert "Connection" not in request
    assert "X-Kept" in request


def test_tokens_of_several_connection_lines_count(between):
    request = seen(between, [("Connection", "x-a"), ("X-A", "1"), ("X-B", "1"), ("connection", "x-b")])
    assert {"X-A", "X-B"} & {name for name, _ in request.fields} == set()


@pytest.mark.parametrize(
    "ours", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-ID", "Via", "Host"]
)
def test_a_client_cannot_strip_what_we_set_after(between, ours):
    fields = [("Connection", f"close, {ours.lower()}")] + ([] if ours == "Host" else [(ours, "6.6.6.6")])
    request = seen(between, fields)
    assert len(request.all(ours)) == 1
    assert b"6.6.6.6" not in request.head


@pytest.mark.parametrize("name", PLAIN)
def test_a_hop_by_hop_field_of_the_backend_ends_here(between, name):
    client, backend = between
    backend.on("/back", answer(200, [(name, "x"), ("X-Kept", "1")], b"hello"))
    response = client.get("/back")
    assert name not in response
    assert response["X-Kept"] == "1"
    assert response.body == b"hello"


def test_whatever_the_backends_connection_names_ends_here_but_not_its_framing(between):
    client, backend = between
    fields = [
        ("Connection", "x-named, content-length, date"),
        ("X-Named", "1"),
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ]
    backend.on("/back", answer(200, fields, b"hello"))
    response = client.get("/back")
    assert "X-Named" not in response
    assert response["Date"].startswith("Sun, 06")
    assert response.body == b"hello"
    assert client.get("/next").status == 200


def test_the_clients_close_is_not_the_backends(between):
    client, backend = between
    request = seen(between, [("Connection", "close")])
    assert "Connection" not in request
    assert client.ends_silently()
    assert backend.open_connections() == 1
