"""One probe over real sockets: what goes out, what passes, and how each failure is worded."""

from __future__ import annotations

import ssl

import gevent
import pytest
import trustme
from gevent.server import StreamServer

from aegis.config.duration import Duration
from aegis.config.schema import HealthCheck
from aegis.net.deadlines import Deadlines
from aegis.pool.backend import Backend
from aegis.pool.probe import LARGEST_BODY, ProbeFailedError, probe, request
from aegis.transport.connection import DialSettings
from aegis.transport.connection_pool import open_pool
from aegis.transport.resolver import Address
from aegis.version import __version__
from tests.support.poll import eventually
from tests.support.ports import free_port, loopback_host

PASS = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Listener:
    """Answers every connection with the same bytes; `asked` has what came, `taken` how much of an answer went out."""

    def __init__(self, answer=PASS, *, stay=False, tls=None):
        self.answer, self.stay, self.tls = answer, stay, tls
        self.asked, self.taken, self.over = [], 0, 0
        self.server = StreamServer((loopback_host(), 0), self.serve)
        self.server.start()
        self.address = Address(*self.server.address)

    def serve(self, sock, _):
        data = b""
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            while not data.endswith(b"\r\n\r\n"):
                data += sock.recv(65536)
            self.asked.append(data)
            for start in range(0, len(self.answer), 4096):
                self.taken += sock.send(self.answer[start : start + 4096])
            if self.stay:
                gevent.sleep(60)
        except OSError:
            pass
        finally:
            sock.close()
            self.over += 1


@pytest.fixture
def listen():
    made = []

    def listen(*args, **options):
        made.append(Listener(*args, **options))
        return made[-1]

    yield listen
    for each in made:
        each.server.stop(timeout=0.1)


def run(address, *, scheme="http", host="a.test", **section):
    """One probe of a backend of that name at this address; returns its pool."""
    backend = Backend("a", scheme, host, address.port, 1, (address,))
    pool = open_pool(backend.url, DialSettings((address,), 1.0, Deadlines()), max_idle=4, idle_timeout=60)
    try:
        probe(backend, pool, HealthCheck(**section))
    finally:
        assert pool.idle() == []
        assert (pool.num_requests, pool.num_connections) == (0, 0)  # none of the traffic's
    return pool


def words(address, **options):
    with pytest.raises(ProbeFailedError) as caught:
        run(address, **options)
    return str(caught.value)


# what goes out


def test_a_probe_is_a_get_of_the_path_with_host_agent_and_close(listen):
    listener = listen()
    run(listener.address, path="/ready?deep=1")
    assert listener.asked == [
        b"GET /ready?deep=1 HTTP/1.1\r\nHost: a.test:%d\r\nUser-Agent: aegis-health/%b\r\nConnection: close\r\n\r\n"
        % (listener.address.port, __version__.encode())
    ]


@pytest.mark.parametrize(
    ("scheme", "host", "port", "named"),
    [
        ("http", "a.test", 80, "a.test"),
        ("http", "a.test", 443, "a.test:443"),
        ("https", "a.test", 443, "a.test"),
        ("https", "a.test", 80, "a.test:80"),
        ("http", "::1", 80, "[::1]"),
        ("http", "::1", 81, "[::1]:81"),
    ],
)
def test_the_host_is_the_backends_with_its_port_unless_that_is_the_schemes(scheme, host, port, named):
    assert f"\r\nHost: {named}\r\n".encode() in request(Backend("a", scheme, host, port, 1, ()), "/health")


# what passes


@pytest.mark.parametrize(
    "answer",
    [
        PASS,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the close",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + PASS,
    ],
)
def test_a_2xx_passes_whatever_its_framing(listen, answer):
    run(listen(answer).address)


def test_at_most_64_kib_of_the_body_are_read(listen):
    listener = listen(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 50_000_000)
    run(listener.address)
    eventually(lambda: listener.over, "the end of the connection")
    assert listener.taken < 8_000_000  # what the kernel's buffers take beside LARGEST_BODY
    assert LARGEST_BODY == 65536


def test_an_answer_that_does_not_end_passes_once_64_kib_are_there(listen):
    listener = listen(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + b"x" * 0x20000, stay=True)
    run(listener.address)


# what fails, and how it is said


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("404 Not Found", "GET /health answered 404: set health_check.path"),
        ("503 Busy", "GET /health answered 503"),
        ("401 Who", "GET /health answered 401"),
        ("302 Found", "GET /health answered 302, and probes follow no redirects: set health_check.path"),
    ],
)
def test_anything_but_2xx_fails_and_says_what_to_do(listen, status, expected):
    listener = listen(f"HTTP/1.1 {status}\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".encode())
    assert words(listener.address) == expected
    assert len(listener.asked) == 1  # no redirect is followed


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: x\r\n" * 7000 + b"\r\n",
    ],
)
def test_what_breaks_off_or_is_no_http_fails(listen, answer):
    assert "got no proper answer" in words(listen(answer).address)


def test_a_refused_connect_names_the_backend_and_the_reason():
    host, port = free_port()
    assert words(Address(host, port)) == f"cannot connect to a.test:{port}: Connection refused"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfew"])
def test_timeout_bounds_the_whole_probe(listen, answer):
    listener = listen(answer, stay=True)
    assert words(listener.address, timeout=Duration("80ms")) == "no whole answer to GET /health within 80ms"


# TLS


@pytest.fixture
def tls_listener(listen, monkeypatch):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("right.test").configure_cert(context)
    with authority.cert_pem.tempfile() as path:
        monkeypatch.setenv("SSL_CERT_FILE", path)
        yield listen(tls=context)


def test_a_tls_backend_is_verified_against_its_name(tls_listener):
    run(tls_listener.address, scheme="https", host="right.test")
    assert len(tls_listener.asked) == 1


def test_a_certificate_of_another_name_fails_the_probe(tls_listener):
    found = words(tls_listener.address, scheme="https", host="wrong.test")
    assert "cannot connect to wrong.test" in found
    assert "certificate" in found.lower()
