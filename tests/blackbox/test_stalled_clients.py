"""Hundreds of clients that drip or do not read, beside others that are served as if they were not there."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager

import gevent
import pytest

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.contract import check_refusal
from tests.support.poll import eventually
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, answer

pytestmark = [pytest.mark.stress, pytest.mark.timeout(180)]

EACH = 200
BOUND = 3.0  # seconds: the timeouts below
CONFIG = {
    "server": {"read_timeout": f"{BOUND:.0f}s", "write_timeout": f"{BOUND:.0f}s"},
    "transport": {"response_header_timeout": "1m"},
}
HEAD = b"GET /head HTTP/1.1\r\nHost: example.test\r\nX-Slow: "
BODY = b"POST /body HTTP/1.1\r\nHost: example.test\r\nContent-Length: 100000\r\n\r\na"


@contextmanager
def dripping(clients):
    """A byte each every half second, until its connection is answered or closed."""

    def drip():
        while True:
            for client in clients:
                if not client.readable():
                    client.send(b"a")
                gevent.sleep(0.5 / len(clients))

    greenlet = gevent.spawn(drip)
    try:
        yield
    finally:
        greenlet.kill()


def served(client, backend, seconds):
    """Seconds that each of many requests took, one after the other."""
    until, took = time.monotonic() + seconds, []
    while time.monotonic() < until:
        started = time.monotonic()
        assert client.get("/served").status == 200
        took.append(time.monotonic() - started)
        gevent.sleep(0.005)
    return sorted(took)


def test_hundreds_of_stalled_clients_do_not_delay_the_others_and_all_of_them_are_closed_in_time():
    with ScriptedBackend() as backend, AegisProcess(config_for([backend], **CONFIG)) as aegis:
        backend.on("/large", answer(body=bytes(1 << 20)))
        clients = []
        try:
            heads, bodies, readers = (
                [RawClient(aegis.address, receive_buffer=4096, timeout=10) for _ in range(EACH)] for _ in range(3)
            )
            clients += [*heads, *bodies, *readers]
            for head, body, reader in zip(heads, bodies, readers, strict=True):
                head.send(HEAD)
                body.send(BODY)
                reader.request("GET", "/large")
            started = time.monotonic()
            with dripping([*heads, *bodies]), RawClient(aegis.address) as client:
                took = served(client, backend, BOUND)
                # This one process plays all clients and the backend too: the tail is its own.
                assert len(took) > 50
                assert took[len(took) // 2] < 0.1
                assert took[len(took) * 9 // 10] < 0.5
                eventually(lambda: len(ended(aegis)) >= 3 * EACH, "the end of all of them", within=4 * BOUND)
            assert time.monotonic() - started < 4 * BOUND
            for head in heads:
                check_refusal(head.read_response(), "head_timeout")
            for body in bodies:
                check_refusal(body.read_response(), "client_slow")
            assert {reader.read_to_end()[1] for reader in readers} == {"reset"}
            assert Counter(ended(aegis)) == {"head_timeout": EACH, "client_slow": 2 * EACH}
        finally:
            for client in clients:
                client.close()
        assert aegis.stop() == 0


def ended(aegis):
    """Reasons of all that is over, but for what was served."""
    return [line["reason"] for line in aegis.access_lines() if line["reason"] != "ok"]
