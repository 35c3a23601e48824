"""Keeps a test run on this machine: a connect to anything but loopback or a unix socket raises."""

from __future__ import annotations

import ipaddress
import socket
import sys

_armed = False
_installed = False


class NotLoopbackError(RuntimeError):
    """A test tried to leave the machine. Not an OSError, so that no error handling under test swallows it."""


def _audit(event: str, args: tuple) -> None:
    if not _armed or event != "socket.connect":
        return
    sock, address = args
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    try:
        ip = ipaddress.ip_address(address[0].split("%")[0])
    except ValueError:
        raise NotLoopbackError(f"connect to the name {address[0]!r}") from None
    mapped = getattr(ip, "ipv4_mapped", None)
    if not (mapped or ip).is_loopback:
        raise NotLoopbackError(f"connect to {address}")


def arm() -> None:
    """From now on connects are checked, those of raw `_socket` objects too: an audit hook sees them all."""
    global _armed, _installed  # noqa: PLW0603 - the hook outlives any object; one switch for the process
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True
    _armed = True


def disarm() -> None:
    global _armed  # noqa: PLW0603
    _armed = False
