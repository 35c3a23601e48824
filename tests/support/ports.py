"""Where a test may listen: a fresh loopback address with a port that nobody is given by chance."""

from __future__ import annotations

import errno
import random
import socket
from functools import cache
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_random = random.SystemRandom()


def loopback_host() -> str:
    """A random address of 127/8, so that tests which run beside each other cannot meet on a port."""
    return f"127.{_random.randint(1, 254)}.{_random.randint(1, 254)}.{_random.randint(2, 254)}"


def free_port() -> tuple[str, int]:
    """(host, port) that nobody listens on."""
    return loopback_host(), unused_port()


def unused_port() -> int:
    """Free on every address of both families, and the kernel gives it to no outgoing connection.

    A port of the kernel's choice would be free now, and some connection's own before a program listens on it.
    """
    return next(port for port in iter(lambda: _random.choice(_lasting()), None) if _binds(port))


@cache
def _lasting() -> list[int]:
    """The ports that the kernel never chooses by itself; where those are few, the usual ones of Linux."""
    try:
        low, high = map(int, _EPHEMERAL.read_text().split())
    except FileNotFoundError:  # not Linux: 49152 and above, by RFC 6335
        low, high = 49_152, 65_535
    outside = [port for port in range(10_000, 65_536) if not low <= port <= high]
    return outside if len(outside) >= 1_000 else list(range(10_000, 32_768))


def _binds(port: int) -> bool:
    """The wildcard takes it, so no address of that family has it; a family that is not there has nobody on it."""
    for family, wildcard in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family) as probe:
                probe.bind((wildcard, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise
    return True
