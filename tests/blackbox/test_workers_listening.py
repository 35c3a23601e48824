"""Which worker gets whom: over IPv6, by an inherited socket, and while one of them cannot live."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.activation import ActivatedProcess
from tests.support.aegis_process import _family
from tests.support.load import Load
from tests.support.poll import eventually
from tests.support.proc import connections_of, workers_of
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend
from tests.support.several import DRAINED, SOURCES, running, several, started, worker_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

LIMIT = {"rate_limit": {"requests_per_second": 1, "burst": 20}, "adaptive": {"enabled": False, "min_rate": 1}}
CLONE_NEWNET = 0x40000000


@pytest.fixture
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


def packed(source):
    return socket.inet_pton(socket.AF_INET6 if ":" in source else socket.AF_INET, source)


@contextlib.contextmanager
def landed(aegis, address, source, to=None):
    """A client from there, and the place of the worker that has it."""
    workers = workers_of(aegis)
    before = [connections_of(pid, address) for pid in workers]
    with RawClient(to or address, source=source) as client:
        assert client.get("/").status == 200
        (place,) = [place for place, pid in enumerate(workers) if connections_of(pid, address) - before[place]]
        yield client, place


# IPv6


HOSTS = [f"2001:db8:0:{network:x}::{host}" for network in range(12) for host in ("1", "ffff:9", "b:c:d")]
NEIGHBOURS = [f"2001:db8:7:7::{host:x}" for host in range(1, 31)]


@pytest.fixture
def network():
    """One of our own, in which these addresses are this machine's."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open() as outside:
        if libc.unshare(CLONE_NEWNET):
            pytest.skip(f"no network namespace of our own: {os.strerror(ctypes.get_errno())}")
        try:
            commands = ["link set lo up", *(f"addr add {host}/64 dev lo nodad" for host in (*HOSTS, *NEIGHBOURS))]
            subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True, timeout=10)
            yield
        finally:
            assert libc.setns(outside.fileno(), CLONE_NEWNET) == 0


@pytest.mark.skipif(shutil.which("ip") is None, reason="iproute2 is not installed")
@pytest.mark.usefixtures("network")
def test_dual_stack_gives_every_64_and_every_ipv4_client_to_one_worker():
    with ScriptedBackend() as backend, running(backend, server={"host": "::"}, **LIMIT) as aegis:
        six, four = ("::1", aegis.address[1]), ("127.0.0.1", aegis.address[1])
        aegis.address = six  # the table in which its workers are told apart
        shares = Counter()
        for source in HOSTS:
            with landed(aegis, six, source) as (_, place):
                assert place == worker_of(packed(source), 2)
                shares[place] += 1
        assert len(shares) == 2
        for source in SOURCES[:8]:
            with landed(aegis, ("::", four[1]), source, to=four) as (_, place):
                assert place == worker_of(packed(source), 2)
        statuses = Counter()
        for source in NEIGHBOURS:
            with RawClient(six, source=source) as client:
                statuses[client.get("/").status] += 1
        assert 20 <= statuses[200] <= 25  # one bucket for the /64
        assert statuses.total() == statuses[200] + statuses[429]


# a socket of the service manager


def test_an_inherited_socket_is_shared_by_all_workers_limits_are_divided_and_a_restart_keeps_it(backend):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = several(backend, **LIMIT).config
        with ActivatedProcess(config, listener) as aegis:
            started(aegis)
            assert any("each worker enforces rate/2 and burst/2" in words for words in aegis.messages())
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(RawClient(aegis.address)) for _ in range(12)]
                statuses = Counter(client.get("/").status for _ in range(4) for client in clients)
            assert statuses[200] <= 20 + 5
            with Load(aegis.address, clients=6, sources=SOURCES, expected=(200, 429)) as load:
                load.more(100)
                aegis.signal(signal.SIGUSR2)
                eventually(lambda: aegis.messages().count(DRAINED) == 2, "the old workers' end", 20)
                load.more(100)
            assert load.failures == []
            assert aegis.stop() == 0


# a worker that cannot live


def test_a_crash_loop_of_one_worker_is_served_by_the_other_until_it_lives(backend):
    with several(backend) as aegis:
        started(aegis)
        address = aegis.address
        mine = [source for source in SOURCES if worker_of(packed(source), 2) == 0][:4]
        healthy = _family(aegis.process.pid)[1:]
        victim = workers_of(aegis)[0]
        healthy.remove(victim)
        deaths = []
        while len(deaths) < 3:
            os.kill(victim, signal.SIGKILL)
            deaths.append(victim)
            wanted = len(deaths)
            eventually(lambda wanted=wanted: _deaths(aegis) == wanted, "its death", 10)
            if wanted < 3:
                (victim,) = eventually(
                    lambda: set(_family(aegis.process.pid)[1:]) - {*healthy, *deaths}, "the next", 10
                )
        # Two seconds until the next one starts.
        began = time.monotonic()
        for source in mine:
            with RawClient(address, source=source, timeout=1) as client:
                assert client.get("/").status == 200
        assert time.monotonic() - began < 1
        eventually(lambda: len(workers_of(aegis)) == 2, "a worker that lives", 10)

        def back():
            with landed(aegis, address, mine[0]) as (_, place):
                return workers_of(aegis)[place] not in healthy

        eventually(back, "its clients are its own again", 10)
        assert aegis.stop() == 0


def _deaths(aegis):
    return sum("ended with -9" in words for words in aegis.messages())
