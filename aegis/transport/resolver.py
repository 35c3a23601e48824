"""Names → vetted addresses. The one place where a backend's name is resolved; connections use what comes out here.

Knows the SSRF rules of `security/addresses` and nothing of configs or pools. Blocks for as long as the resolver does:
with a running loop, call it from the DNS threads.
"""

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from gevent import monkey

from aegis.security.addresses import Network, disguised_host, examine

Resolve = Callable[[str, int], Sequence[tuple[int, str]]]
"""(host, port) → (family, numeric address) in the resolver's order; OSError or UnicodeError if there are none."""


class Address(NamedTuple):
    """Where to connect: numeric host, so that no connect ever asks a resolver again. A plain (host, port) pair too."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class VettingError(Exception):
    """A backend may not be connected to, or its name cannot be resolved. The message names the key that helps.

    `unresolved` tells a failed look-up, after which an old set of addresses is kept, from a refusal.
    """

    def __init__(self, message: str, *, unresolved: bool = False) -> None:
        super().__init__(message)
        self.unresolved = unresolved


def vet(
    host: str, port: int, resolve: Resolve, *, allow_loopback: bool, networks: Sequence[Network]
) -> tuple[Address, ...]:
    """All addresses of the host, each once, in the resolver's order; VettingError if any one is bad or none is there.

    host: as in the backend's url, IPv6 without brackets. An address is taken as it is, without asking `resolve`.
    """
    # [SECURITY] DisguisedHost: refused before anything resolves it, since the next resolver may read it differently.
    if words := disguised_host(host):
        raise VettingError(f"host {host} is {words}")
    addresses = tuple(dict.fromkeys(Address(text, port) for _, text in _resolved(host, port, resolve)))
    if not addresses:
        raise VettingError(f"host {host} does not resolve to any address", unresolved=True)
    for address in addresses:
        # [SECURITY] AnyBadRefusesAll: one good address beside a bad one is how DNS rebinding gets in.
        if finding := examine(address.host, allow_loopback=allow_loopback, networks=networks):
            subject = f"host {host}" if address.host == host else f"host {host} resolves to {address.host}, which"
            remedy = f"; if that is meant, set {finding.remedy}" if finding.remedy else ""
            raise VettingError(f"{subject} is {finding.words}{remedy}")
    return addresses


def system_resolve(host: str, port: int) -> list[tuple[int, str]]:
    """What libc says, by the unpatched getaddrinfo: at start no loop runs, and later only DNS threads call this."""
    getaddrinfo = monkey.get_original("socket", "getaddrinfo")
    found = getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    families = (socket.AF_INET, socket.AF_INET6)
    return [(int(family), str(sockaddr[0])) for family, _, _, _, sockaddr in found if family in families]


def _resolved(host: str, port: int, resolve: Resolve) -> Sequence[tuple[int, str]]:
    try:
        version = ip_address(host).version
    except ValueError:
        return _looked_up(host, port, resolve)
    return [(int(socket.AF_INET if version == 4 else socket.AF_INET6), host)]  # noqa: PLR2004


def _looked_up(host: str, port: int, resolve: Resolve) -> Sequence[tuple[int, str]]:
    try:
        return resolve(host, port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VettingError(f"host {host} does not resolve: {reason}", unresolved=True) from error
