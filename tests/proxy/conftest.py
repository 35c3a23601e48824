"""The proxy app behind the real server and before real backends, in this process."""

from __future__ import annotations

import gevent
import pytest

from aegis.config.schema import Retry
from aegis.http1.request_head import RequestHeads
from aegis.http1.response_head import ResponseHeads
from aegis.net.deadlines import Deadlines
from aegis.pool.backend import Backend, BackendState
from aegis.pool.backends import Backends
from aegis.pool.balancer import WeightedRoundRobin
from aegis.proxy.app import ProxyApp
from aegis.proxy.attempt import Timeouts
from aegis.proxy.retry import Budget
from aegis.transport.connection import DialSettings
from aegis.transport.connection_pool import open_pool
from aegis.transport.resolver import Address
from aegis.wire.server import Server, WireSettings, open_listener
from tests.support.clock import ManualClock
from tests.support.ports import loopback_host


class Proxied:
    """address: of the proxy. states: of its backends, `state` and `pool` the first one's."""

    def __init__(self, backends, timeouts, retry=None, policy=WeightedRoundRobin):
        deadlines = Deadlines()
        self.states = [self._state(number, *each, deadlines) for number, each in enumerate(backends)]
        self.state, self.pool = self.states[0], self.states[0].connections
        self.backends = Backends(self.states)
        self.budget = Budget(retry or Retry(), self.backends.in_flight)
        app = ProxyApp(policy(self.backends), ResponseHeads(), Timeouts(*timeouts), self.budget)
        listener = open_listener(loopback_host(), 0)
        settings = WireSettings(10.0, 10.0, 10.0, 8192, 1 << 24, 100)
        self.server = Server(listener, app, settings, deadlines, RequestHeads())
        self.server.start()
        self.address = listener.getsockname()
        self.sweeping = gevent.spawn(self._sweep, deadlines)

    def _state(self, number, url, backend_address, deadlines):
        host, port = backend_address
        dial = DialSettings((Address(host, port),), 5.0, deadlines)
        pool = open_pool(url, dial, max_idle=32, idle_timeout=60.0)
        scheme, _, rest = url.partition("://")
        backend = Backend(f"b{number}", scheme, rest.partition(":")[0], port, 1, (Address(host, port),))
        return BackendState(backend, pool)

    def _sweep(self, deadlines):
        while True:
            gevent.sleep(0.02)
            deadlines.sweep()

    def close(self):
        self.server.stop(timeout=1)
        self.sweeping.kill()
        for state in self.states:
            state.connections.close()


@pytest.fixture
def proxy():
    """`proxy(url, address)` puts a proxy before the backend at this address; its timeouts are seconds.

    more: further backends, as (url, address).
    """
    made = []

    def make(url, address, timeouts=(10.0, 10.0, 60.0), more=(), **options):
        made.append(Proxied([(url, address), *more], timeouts, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def clock():
    return ManualClock()
