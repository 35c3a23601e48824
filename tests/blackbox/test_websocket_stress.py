"""Many tunnels whose ends speak, fall silent, half-close and break off as a seed says: nothing is left behind."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

import gevent
import pytest
from gevent.pool import Pool

from tests.blackbox.test_websocket import SWITCHING, ask
from tests.support.poll import eventually
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.stress

TUNNELS = 1500
AT_ONCE = 100
RESET = b"\1\0\0\0\0\0\0\0"


def play(sock, rng):
    """Random moves on one end, with one of the ends that a connection can have."""
    with contextlib.suppress(OSError):
        for _ in range(rng.randint(0, 6)):
            move = rng.choice(["speak", "speak", "much", "listen", "pause", "half-close"])
            if move == "speak":
                sock.sendall(bytes(rng.randint(1, 2000)))
            elif move == "much":
                sock.sendall(bytes(rng.randint(100_000, 3_000_000)))
            elif move == "listen":
                sock.recv(rng.choice([1, 65536, 1 << 20]))
            elif move == "pause":
                gevent.sleep(rng.random() / 50)
            else:
                sock.shutdown(socket.SHUT_WR)
        end = rng.choice(["close", "reset", "drain"])
        if end == "drain":
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 20):
                pass
        elif end == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def descriptors(aegis):
    return len(list(Path(f"/proc/{aegis.process.pid}/fd").iterdir()))


@pytest.mark.timeout(180)
def test_nothing_is_left_of_tunnels_however_they_end(aegis, backend):
    seed = random.SystemRandom().randrange(1 << 32)
    rng = random.Random(seed)

    def script(connection, request):
        connection.recording = False
        connection.send(SWITCHING)
        connection.socket.settimeout(2)
        play(connection.socket, random.Random(f"{seed} {request.target}"))
        connection.closed = True

    backend.on("/stress", script)
    with RawClient(aegis.address) as client:
        assert client.get("/").status == 200
    before = eventually(lambda: descriptors(aegis), "the descriptors")

    def tunnel(number):
        with RawClient(aegis.address, timeout=2) as client:
            ask(client, f"/stress?{number}", bytes(rng.choice([0, 10])))
            if rng.random() < 0.9:
                with contextlib.suppress(OSError, AssertionError):
                    client.read_head()
            play(client.socket, random.Random(f"{number} {seed}"))

    pool = Pool(AT_ONCE)
    for number in range(TUNNELS):
        pool.spawn(tunnel, number)
    pool.join(timeout=150)
    assert not len(pool), f"seed {seed}"
    lines = eventually(
        lambda: (found := aegis.access_lines(path="/stress")) and len(found) >= TUNNELS and found,
        f"a line for each tunnel (seed {seed})",
        within=15,
    )
    assert len(lines) == TUNNELS
    assert {line["reason"] for line in lines} <= {"ok", "client_gone", "backend_aborted", "bad_gateway_reset"}, seed
    assert {line["status"] for line in lines} <= {101, 499, 502}
    eventually(lambda: descriptors(aegis) <= before + 1, f"every descriptor closed (seed {seed})", within=5)
    with RawClient(aegis.address) as client:
        assert client.get("/").body == b"hello"
