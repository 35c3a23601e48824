"""After a stop: every greenlet is over and every socket closed, before the process ends and the kernel tidies up."""

from __future__ import annotations

import json
import signal
import sys

import pytest
from gevent.event import Event

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.load import Load
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import HELLO, ScriptedBackend, hold

pytestmark = pytest.mark.process

# The program itself, and a look at what lives once it has said how it ended.
PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gc, json, os, sys
import gevent
from aegis.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code or 0
# Before anything is collected: what nobody closed would be closed by that.
sockets = [name for name in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{name}")
           and os.readlink(f"/proc/self/fd/{name}").startswith("socket:")]
gc.unfreeze()
living = gc.get_objects()
greenlets = [repr(each) for each in living if isinstance(each, gevent.Greenlet) and each.started and not each.dead]
print(json.dumps({"greenlets": greenlets, "sockets": sockets}), file=sys.stderr)
sys.exit(code)
"""


class LookedAtProcess(AegisProcess):
    def command(self):
        return [sys.executable, "-c", PROGRAM, *super().command()[3:]]

    def left(self):
        return json.loads(self.errors.splitlines()[-1])


@pytest.fixture
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


def before(backend):
    health = {"interval": "100ms", "timeout": "100ms"}
    return config_for(
        [backend], admin={"listen": "{}:{}".format(*free_port()), "allow_remote": True}, health_check=health
    )


def test_after_a_stop_no_greenlet_lives_and_no_socket_is_open(backend):
    with LookedAtProcess(before(backend)) as aegis:
        with Load(aegis.address, clients=4) as load:
            load.more(100)
            aegis.reload()
            load.more(100)
        idle = [RawClient(aegis.address) for _ in range(3)]
        assert aegis.stop() == 0
        for client in idle:
            client.close()
        assert aegis.left() == {"greenlets": [], "sockets": []}


def test_after_a_forced_stop_neither(backend):
    release = Event()
    backend.on("/held", hold(release, HELLO))
    with LookedAtProcess(before(backend)) as aegis, RawClient(aegis.address) as client:
        client.request("GET", "/held")
        backend.wait_for("/held")
        aegis.signal(signal.SIGTERM)
        eventually(lambda: "stopping" in aegis.messages(), "the first signal's stop")
        assert aegis.stop() == 1
        assert aegis.left() == {"greenlets": [], "sockets": []}
    release.set()
