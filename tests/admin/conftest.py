"""The admin app of parts that nobody started, behind its real listener, in this process."""

from __future__ import annotations

import gevent
import pytest

from aegis.admin.app import AdminApp, Sources
from aegis.admin.listener import AdminListener
from aegis.admin.stacks import all_stacks
from aegis.control import Reloaded, VerbError
from aegis.net.deadlines import Deadlines
from aegis.service.verbs import Verbs
from tests.service.observed import Watched
from tests.support.ports import free_port


class Served:
    """An admin listener over `watched`; `reload_does` is what a reload does."""

    def __init__(self, listen, *, health_only=False):
        self.watched = Watched()
        parts, observer = self.watched.parts, self.watched.observer
        observer.enter("serving")
        self.reload_does = lambda: Reloaded(applied=("rate_limit.burst: 150 → 200",), needs_restart=())
        self.verbs = Verbs(parts.backends, observer.board, parts.events, self._reload)
        self.sources = Sources(observer.missing, lambda accept: ("text/plain", accept.encode()), all_stacks)
        deadlines = Deadlines()
        app = AdminApp(listen, self.verbs, self.sources, health_only=health_only)
        self.text = listen
        host, _, port = listen.rpartition(":")
        self.address = (host, port) if listen.startswith("unix:") else (host, int(port))
        self.listener = AdminListener(listen, app, deadlines)
        self.listener.open()
        self.listener.start()
        self._looking = gevent.spawn(self._look, deadlines)

    def _reload(self):
        return self.reload_does()

    def _look(self, deadlines):
        while True:
            gevent.sleep(0.02)
            deadlines.sweep()
            self.watched.observer.tick()

    def close(self):
        self._looking.kill()
        self.listener.close()


def refused():
    raise VerbError("aegis.yml:3: server.port = 0: must be 1 to 65535")


@pytest.fixture
def serve():
    """`serve(listen)`; a free loopback port unless told."""
    served = []

    def start(listen="", **options):
        served.append(Served(listen or "{}:{}".format(*free_port()), **options))
        return served[-1]

    yield start
    for each in served:
        each.close()


@pytest.fixture
def served(serve):
    return serve()
