"""The listener: accepts connections, caps them, hands each to its handler class."""

import _socket
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final

from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

from aegis.context import Environ, Peer, WsgiApp
from aegis.http1.request_head import RequestHeads
from aegis.net.deadlines import Deadlines
from aegis.security.forwarding import VIA, untrusted_peer_fields
from aegis.security.masking import masked, unmapped
from aegis.wire.connection import Connection, State

BACKLOG: Final = 4096
UNSENT_LOW_WATER: Final = 128 * 1024
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class WireSettings:
    """What the wire needs to know; durations in seconds, sizes in bytes."""

    read_timeout: float
    write_timeout: float
    idle_timeout: float
    max_header_bytes: int
    max_body_bytes: int
    max_connections: int
    trusted_proxies: Sequence[Network] = ()


class Server(WSGIServer):
    """gevent's WSGIServer with the strict wire: own handler class, raw sockets, a cap on connections."""

    handler_class = Connection  # type: ignore[assignment]

    def __init__(
        self, listener: Any, application: WsgiApp, settings: WireSettings, deadlines: Deadlines, heads: RequestHeads
    ) -> None:
        self.settings = settings
        self.deadlines = deadlines
        self.heads = heads
        self.connections: set[Connection] = set()
        self.keeps = True  # False while stopping: every answer then says Connection: close
        self.peer_of: Callable[[tuple[Any, ...]], Peer] = lru_cache(maxsize=4096)(self._peer_of)
        super().__init__(listener, application, spawn=Pool(settings.max_connections), log=None)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<Server {self.address} {len(self.connections)} connections>"

    def do_read(self) -> tuple[_socket.socket, tuple[Any, ...]] | None:  # type: ignore[override]
        """Accept one connection as a plain socket: gevent's own carries two watchers that nobody here needs."""
        try:
            fd, address = self.socket._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - the only way to a bare descriptor
        except BlockingIOError:
            return None
        return _socket.socket(fileno=fd), (address[0],)

    def update_environ(self) -> None:
        """What every request's environ holds. The name is the listen address: a look-up could block the start."""
        host, port = self.socket.getsockname()[:2]
        self.environ.update({"SERVER_NAME": host, "SERVER_PORT": str(port), "wsgi.input": BytesIO()})
        self.environ.pop("GATEWAY_INTERFACE", None)

    def get_environ(self) -> Environ:
        """The shared part of the environ, copied."""
        return dict(self.environ)

    def close_idle(self) -> None:
        """Close the connections that wait for a next request. Only from a hub callback."""
        for connection in [each for each in self.connections if each.state in (State.FRESH, State.IDLE)]:
            connection.close_idle()

    def busy(self) -> int:
        """Connections with a request under way."""
        return sum(connection.state not in (State.FRESH, State.IDLE) for connection in self.connections)

    def _peer_of(self, address: tuple[Any, ...]) -> Peer:
        host = unmapped(address[0])
        trusted = is_member(host, self.settings.trusted_proxies)
        return Peer(host, masked(host), VIA if trusted else untrusted_peer_fields(host, "http"), trusted=trusted)


def is_member(address: str, networks: Iterable[Network]) -> bool:
    """Whether the address lies in one of the networks."""
    if not networks:
        return False
    parsed = ip_address(address)
    return any(parsed in network for network in networks)


def open_listener(host: str, port: int) -> socket.socket:
    """A listening, non-blocking socket; `::` is dual stack. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit both. Without the first an answer in two parts waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # [SECURITY] SlowReader: unsent bytes in the kernel are bounded, or a slow reader goes unseen for 4 MB.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LOW_WATER)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
