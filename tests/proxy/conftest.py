"""The proxy app behind the real server and before real backends, in this process."""

from __future__ import annotations

import gevent
import pytest

from aegis.http1.request_head import RequestHeads
from aegis.http1.response_head import ResponseHeads
from aegis.net.deadlines import Deadlines
from aegis.pool.backend import Backend, BackendState
from aegis.pool.backends import Backends
from aegis.pool.balancer import WeightedRoundRobin
from aegis.proxy.app import ProxyApp
from aegis.proxy.attempt import Timeouts
from aegis.transport.connection import DialSettings
from aegis.transport.connection_pool import open_pool
from aegis.transport.resolver import Address
from aegis.wire.server import Server, WireSettings, open_listener
from tests.support.clock import ManualClock
from tests.support.ports import loopback_host


class Proxied:
    """address: of the proxy. state: of its one backend."""

    def __init__(self, url, backend_address, timeouts):
        host, port = backend_address
        deadlines = Deadlines()
        dial = DialSettings((Address(host, port),), 5.0, deadlines)
        self.pool = open_pool(url, dial, max_idle=32, idle_timeout=60.0)
        scheme, _, rest = url.partition("://")
        backend = Backend("one", scheme, rest.partition(":")[0], port, 1, (Address(host, port),))
        self.state = BackendState(backend, self.pool)
        self.backends = Backends([self.state])
        app = ProxyApp(WeightedRoundRobin(self.backends), ResponseHeads(), Timeouts(*timeouts))
        listener = open_listener(loopback_host(), 0)
        settings = WireSettings(10.0, 10.0, 10.0, 8192, 1 << 24, 100)
        self.server = Server(listener, app, settings, deadlines, RequestHeads())
        self.server.start()
        self.address = listener.getsockname()
        self.sweeping = gevent.spawn(self._sweep, deadlines)

    def _sweep(self, deadlines):
        while True:
            gevent.sleep(0.02)
            deadlines.sweep()

    def close(self):
        self.server.stop(timeout=1)
        self.sweeping.kill()
        self.pool.close()


@pytest.fixture
def proxy():
    """`proxy(url, address)` puts a proxy before the backend at this address; its timeouts are seconds."""
    made = []

    def make(url, address, timeouts=(10.0, 10.0, 60.0)):
        made.append(Proxied(url, address, timeouts))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def clock():
    return ManualClock()
