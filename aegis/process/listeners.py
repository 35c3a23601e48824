"""The listening sockets: inherited from the image before, from the service manager, or opened."""

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

from aegis.process.handover import Handed
from aegis.transport.resolver import Address
from aegis.wire.server import make_listening, open_listener

FIRST: Final = 3
"""The first descriptor that a service manager passes (sd_listen_fds)."""

ACTIVATED: Final = "activated"
"""The name under which a listener is handed on that the service manager opened: it is used whatever its address."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, and the name under which it is handed on."""

    name: str
    socket: socket.socket


def address_of(listener: socket.socket) -> Address:
    """Where clients connect, whoever opened it."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def name_of(host: str, port: int) -> str:
    """The name under which the listener toward clients is handed on: with another address it is another one."""
    return f"clients at {host}:{port}"


def obtain(host: str, port: int, handed: Handed, environ: MutableMapping[str, str]) -> Listener:
    """The listener toward clients. Raises OSError when the port cannot be had."""
    for name in (ACTIVATED, name_of(host, port)):
        inherited = handed.listener(name)
        if inherited is not None:
            return Listener(name, inherited)
    activated = from_manager(environ)
    if activated is not None:
        return Listener(ACTIVATED, activated)
    return Listener(name_of(host, port), open_listener(host, port))


def from_manager(environ: MutableMapping[str, str]) -> socket.socket | None:
    """The first socket that systemd (or another speaker of LISTEN_FDS) opened for this process, ready for our use."""
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "0")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or not int(count):
        return None
    for descriptor in range(FIRST, FIRST + int(count)):
        os.set_inheritable(descriptor, False)
    listener = socket.socket(fileno=FIRST)
    make_listening(listener)
    return listener


def open_group(host: str, port: int, count: int) -> list[socket.socket]:
    """Listeners at one address among which the kernel deals out connections, in the order of their workers.

    None of them may be closed while others live: the kernel would renumber the rest. Raises OSError.
    """
    listeners: list[socket.socket] = []
    try:
        for _ in range(count):
            listeners.append(open_listener(host, port, shared=True))  # noqa: PERF401 - those that are open get closed
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners
