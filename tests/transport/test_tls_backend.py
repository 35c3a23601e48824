"""https backends: verified by the system's authorities against the backend's name, dialled at a pinned address."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime

import gevent
import pytest
import trustme

from aegis.net.deadlines import Deadlines
from aegis.reasons import BackendError, Reason
from aegis.transport.connection import DialSettings
from aegis.transport.connection_pool import open_pool
from aegis.transport.resolver import Address
from tests.support.poll import eventually
from tests.support.ports import loopback_host

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class TlsBackend:
    """Answers every request on every connection; knows which names it was asked for."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.names: list[str | None] = []
        self.protocols: list[str | None] = []
        self.sockets: list[ssl.SSLSocket] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        certificate.configure_cert(self.context)
        self.context.sni_callback = lambda _, name, __: self.names.append(name)

    def __enter__(self):
        self.listener = socket.socket()
        self.listener.bind((loopback_host(), 0))
        self.listener.listen()
        self.address = self.listener.getsockname()
        self.greenlets = [gevent.spawn(self._accept)]
        return self

    def __exit__(self, *_):
        gevent.killall(self.greenlets)
        for each in self.sockets:
            each.close()
        self.listener.close()

    def _accept(self):
        while True:
            sock, _ = self.listener.accept()
            self.greenlets.append(gevent.spawn(self._serve, sock))

    def _serve(self, sock):
        try:
            sock = self.context.wrap_socket(sock, server_side=True)
        except OSError:  # the client did not like our certificate
            sock.close()
            return
        self.sockets.append(sock)
        self.protocols.append(sock.selected_alpn_protocol())
        try:
            while sock.recv(8192):
                sock.sendall(ANSWER)
        except OSError:
            pass
        finally:
            sock.close()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, monkeypatch):
    """The authority is one of the system's."""
    with authority.cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        yield


@pytest.fixture
def backend(authority):
    with TlsBackend(authority.issue_cert("right.test")) as server:
        yield server


@pytest.fixture
def make_pool():
    pools = []

    def make(url, address, connect_timeout=5.0):
        settings = DialSettings((Address(*address),), connect_timeout, Deadlines())
        pools.append(open_pool(url, settings, max_idle=4, idle_timeout=60.0))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def ask(connection):
    connection.stream.send_all(b"GET / HTTP/1.1\r\nHost: right.test\r\n\r\n", 5)
    data = b""
    with gevent.Timeout(5):
        while not data.endswith(b"hello"):
            piece = connection.stream.read_some(7)
            assert piece
            data += piece
    return data


def refused(pool):
    connection = pool.take()
    with pytest.raises(BackendError) as caught:
        connection.open()
    pool.discard(connection)
    assert caught.value.reason is Reason.BAD_GATEWAY_CONNECT
    return caught.value.detail


def test_the_right_name_is_accepted_at_a_pinned_address(trusted, backend, make_pool):
    connection = make_pool("https://right.test:443", backend.address).take()
    connection.open()
    assert ask(connection) == ANSWER
    connection.close()
    assert backend.names == ["right.test"]  # SNI goes by the name, not by the address
    assert backend.protocols in (["http/1.1"], [None])  # never h2, which we do not speak


def test_the_wrong_name_is_refused(trusted, backend, make_pool):
    assert "wrong.test" in refused(make_pool("https://wrong.test:443", backend.address))


@pytest.mark.parametrize(
    ("valid", "words"),
    [
        ({"not_before": datetime(2020, 1, 1, tzinfo=UTC), "not_after": datetime(2021, 1, 1, tzinfo=UTC)}, "expired"),
        (
            {"not_before": datetime(2090, 1, 1, tzinfo=UTC), "not_after": datetime(2091, 1, 1, tzinfo=UTC)},
            "not yet valid",
        ),
    ],
)
def test_a_certificate_that_is_not_valid_today_is_refused(trusted, authority, make_pool, valid, words):
    with TlsBackend(authority.issue_cert("right.test", **valid)) as server:
        assert words in refused(make_pool("https://right.test:443", server.address))


def test_an_address_is_no_name(trusted, backend, make_pool):
    host, port = backend.address
    assert "match" in refused(make_pool(f"https://{host}:{port}", backend.address)).lower()


def test_an_authority_that_the_system_does_not_know_is_refused(monkeypatch, authority, make_pool, backend):
    with trustme.CA().cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        assert "verify failed" in refused(make_pool("https://right.test:443", backend.address)).lower()


def test_a_connection_is_used_again(trusted, backend, make_pool):
    pool = make_pool("https://right.test:443", backend.address)
    for _ in range(20):
        connection = pool.take()
        if connection.stream is None:
            connection.open()
        assert ask(connection) == ANSWER
        pool.park(connection)
    assert (pool.num_connections, pool.num_requests) == (1, 20)
    assert "BackendTlsConnection" in repr(connection)


def test_a_connection_that_its_backend_closes_leaves_the_pool(trusted, backend, make_pool):
    pool = make_pool("https://right.test:443", backend.address)
    connection = pool.take()
    connection.open()
    ask(connection)
    pool.park(connection)
    assert pool.idle() == [connection]
    backend.sockets[0].shutdown(socket.SHUT_RDWR)
    eventually(lambda: pool.idle() == [], "an empty pool")


def test_a_handshake_that_never_ends_is_a_connect_failure(trusted, make_pool):
    with socket.socket() as listener:
        listener.bind((loopback_host(), 0))
        listener.listen()
        with gevent.Timeout(5):
            refused(make_pool("https://right.test:443", listener.getsockname(), connect_timeout=0.05))


def test_a_backend_that_speaks_no_tls_is_a_connect_failure(trusted, make_pool):
    with socket.socket() as listener:
        listener.bind((loopback_host(), 0))
        listener.listen()

        def answer():
            sock, _ = listener.accept()
            with sock:
                sock.recv(8192)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = gevent.spawn(answer)
        refused(make_pool("https://right.test:443", listener.getsockname()))
        answering.get(timeout=5)
