"""While a body goes up: what the backend says meanwhile, and what TLS says without the backend."""

from __future__ import annotations

import socket
import ssl

import gevent
import pytest
import trustme

from tests.support.ports import loopback_host
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, answer, before_body

HEAD = b"POST /up HTTP/1.1\r\nHost: a.test\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
BODY = bytes(range(256)) * 2000


def upload(client, wait, framing="length"):
    """The body in two halves; `wait` is called between them."""
    half = len(BODY) // 2
    if framing == "length":
        client.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:half])
        wait()
        client.send(BODY[half:])
    else:
        chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (BODY[:half], BODY[half:])]
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks[0])
        wait()
        client.send(chunks[1] + b"0\r\n\r\n")


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", HINT, HINT * 3], ids=["100", "103", "three"])
def test_an_interim_answer_during_an_upload_does_not_stop_it(proxy, interim, framing):
    @before_body
    def script(connection, request):
        connection.send(interim)
        body = connection.read_body(request)
        connection.send(answer(body=b"%d" % len(body)))

    with ScriptedBackend() as backend:
        backend.on("/up", script)
        made = proxy(backend.url, backend.address, timeouts=(1.0, 1.0, 60.0))

        def spoken():
            backend.wait_for("/up")
            gevent.sleep(0.05)  # what it said has arrived

        with RawClient(made.address) as client:
            upload(client, spoken, framing)
            response = client.read_response()
        assert (response.status, response.body) == (200, b"%d" % len(BODY))
        assert {each.status for each in response.interim} <= {103}


def test_an_early_final_answer_is_relayed_at_once_and_both_connections_close(proxy):
    @before_body
    def script(connection, request):
        connection.send(answer(413, body=b"too much"))

    with ScriptedBackend() as backend:
        backend.on("/up", script)
        made = proxy(backend.url, backend.address)
        with RawClient(made.address) as client:
            client.send(HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000)
            response = client.read_response()
            assert (response.status, response.body) == (413, b"too much")
            assert "close" in response.tokens("Connection")
        assert made.pool.idle() == []


def test_interim_answers_do_not_extend_the_time_to_the_response_head(proxy):
    # response_header_timeout counts from the last request byte sent, whatever comes before the final head.
    def script(connection, request):
        for _ in range(40):
            connection.send(HINT)
            gevent.sleep(0.05)
        connection.send(answer(body=b"late"))

    with ScriptedBackend() as backend:
        backend.on("/slow", script)
        made = proxy(backend.url, backend.address, timeouts=(0.3, 5.0, 60.0))
        with RawClient(made.address) as client:
            assert client.get("/slow").status == 502


@pytest.fixture
def tls_backend(monkeypatch):
    """(address of a TLS backend for right.test that takes bodies with a length, its TLS context)"""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("right.test").configure_cert(context)
    listener, greenlets = socket.socket(), []
    listener.bind((loopback_host(), 0))
    listener.listen()

    def serve(plain):
        with context.wrap_socket(plain, server_side=True) as sock:
            data = b""
            while piece := sock.recv(65536):
                data += piece
                head, found, body = data.partition(b"\r\n\r\n")
                if found and len(body) >= (len(BODY) if head.startswith(b"POST") else 0):
                    sock.sendall(answer(body=b"%d" % len(body)))
                    data = b""

    def accept():
        while True:
            greenlets.append(gevent.spawn(serve, listener.accept()[0]))

    greenlets.append(gevent.spawn(accept))
    with authority.cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        yield listener.getsockname(), context
    gevent.killall(greenlets)
    listener.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_tls_says_for_itself_is_no_answer(proxy, tls_backend, version):
    # A TLS 1.3 server sends session tickets right behind the handshake: the socket turns readable, nobody has spoken.
    address, context = tls_backend
    context.maximum_version = version
    made = proxy("https://right.test:443", address, timeouts=(1.0, 1.0, 60.0))
    with RawClient(made.address) as client:
        for _ in range(3):
            upload(client, lambda: gevent.sleep(0.05))
            response = client.read_response()
            assert (response.status, response.body) == (200, b"%d" % len(BODY))
    assert made.pool.num_connections == 1
