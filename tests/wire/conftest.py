"""Any WSGI app behind the real server, in this process."""

from __future__ import annotations

from dataclasses import replace

import gevent
import pytest

from aegis.http1.request_head import RequestHeads
from aegis.net.deadlines import Deadlines
from aegis.wire.server import Server, WireSettings, open_listener
from tests.support.ports import loopback_host
from tests.support.raw_client import RawClient

SETTINGS = WireSettings(
    read_timeout=5.0,
    write_timeout=5.0,
    idle_timeout=5.0,
    max_header_bytes=8192,
    max_body_bytes=1 << 20,
    max_connections=100,
)


@pytest.fixture
def serve():
    """`serve(app)` starts a server and returns a function that opens a client.

    The apps are not ours, so they get the fields in their environ, as PEP 3333 wants it, unless told otherwise.
    """
    servers, clients, sweepers = [], [], []

    def start(app, *, full_environ=True, **changes):
        deadlines = Deadlines()
        listener = open_listener(loopback_host(), 0)
        server = Server(listener, app, replace(SETTINGS, **changes), deadlines, RequestHeads())
        server.full_environ = full_environ
        server.start()
        servers.append(server)

        def sweep():
            while True:
                gevent.sleep(0.02)
                deadlines.sweep()

        sweepers.append(gevent.spawn(sweep))

        def connect(**options):
            clients.append(RawClient(listener.getsockname(), **options))
            return clients[-1]

        connect.server = server
        return connect

    yield start
    for client in clients:
        client.close()
    for server in servers:
        server.stop(timeout=1)
    gevent.killall(sweepers)


@pytest.fixture
def deaths_expected(dying_greenlets):
    """For apps with a bug that nothing above them recovers from: their connection's greenlet dies of it."""
    yield dying_greenlets
    dying_greenlets.clear()
