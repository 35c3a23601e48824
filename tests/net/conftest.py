"""Streams over real sockets: no sleeps, the sweep is called by hand."""

from __future__ import annotations

import _socket
import socket
import ssl

import gevent
import pytest
import trustme

from aegis.net.deadlines import Deadlines
from aegis.net.stream import Stream
from aegis.net.tls import TlsStream
from tests.support.poll import eventually


@pytest.fixture
def deadlines():
    made = Deadlines()
    yield made
    for stream in list(made.streams):
        stream.close()


@pytest.fixture
def pair(deadlines):
    """Makes (stream, peer): the peer is a gevent socket with a timeout."""
    peers = []

    def make():
        ours, peer = socket.socketpair()
        peer.settimeout(5)
        peers.append(peer)
        return Stream(_socket.socket(fileno=ours.detach()), deadlines), peer

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture
def tls_pair(deadlines, authority):
    """Makes (TLS stream, peer) with the handshake done, over a socketpair."""
    sockets = []

    def make():
        ours, theirs = socket.socketpair()
        ours.settimeout(5)
        theirs.settimeout(5)
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("a.test").configure_cert(server)
        authority.configure_trust(client)
        shaking = gevent.spawn(server.wrap_socket, theirs, server_side=True)
        wrapped = client.wrap_socket(ours, server_hostname="a.test")
        peer = shaking.get(timeout=5)
        peer.settimeout(5)
        sockets.append(peer)
        wrapped.settimeout(0)
        return TlsStream(wrapped, deadlines), peer

    yield make
    for each in sockets:
        each.close()


@pytest.fixture
def sweep_until(deadlines):
    """Sweep again and again until a greenlet is done."""

    def until(greenlet):
        def swept():
            deadlines.sweep()
            return greenlet.ready()

        eventually(swept, f"the end of {greenlet!r}")

    return until
