"""Where a test may listen: a fresh loopback address with a free port on it."""

from __future__ import annotations

import random
import socket

_random = random.SystemRandom()


def loopback_host() -> str:
    """A random address of 127/8, so that tests which run beside each other cannot meet on a port."""
    return f"127.{_random.randint(1, 254)}.{_random.randint(1, 254)}.{_random.randint(2, 254)}"


def free_port() -> tuple[str, int]:
    """(host, port) that nobody listens on; the kernel chose the port."""
    host = loopback_host()
    with socket.socket() as probe:
        probe.bind((host, 0))
        return host, probe.getsockname()[1]
