"""The listener: accepts connections, caps them, hands each to its handler class."""

import _socket
import heapq
import logging
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from ipaddress import IPv4Network, IPv6Network, ip_address
from operator import itemgetter
from typing import Any, Final

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

from aegis.context import Peer, WsgiApp
from aegis.http1.request_head import RequestHeads
from aegis.net.deadlines import Deadlines
from aegis.net.shortage import SHORTAGES, MakeRoom, no_room
from aegis.security.forwarding import VIA, untrusted_peer_fields
from aegis.security.masking import masked, unmapped
from aegis.wire.connection import Connection

log = logging.getLogger(__name__)

UNACKED_OFFSET: Final = 24
"""Of tcpi_unacked in struct tcp_info: eight bytes, then the fifth 32-bit word."""

VICTIMS: Final = 64
BACKLOG: Final = 4096
SHORTAGE_PAUSE: Final = 1.0
"""Seconds without accepting when there is no descriptor left."""

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


class ConnectionGreenlet(gevent.Greenlet):  # type: ignore[type-arg]
    """Serves one connection. gevent asks for `switch_out` at each switch; finding none costs an AttributeError."""

    switch_out = None


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
        # What PEP 3333 wants in the environ costs 3 % of a request, its HTTP_* keys a tenth. Our layers read the
        # context; whoever hosts another application sets this.
        self.full_environ = False
        self.keeps = True  # False while stopping: every answer then says Connection: close
        self.peer_of: Callable[[tuple[Any, ...]], Peer] = lru_cache(maxsize=4096)(self._peer_of)
        self.open = 0
        self.accepted = 0
        self.evicted = 0  # idle connections closed to let new ones in
        self.pauses = 0  # times that accepting stopped because none was idle
        self.crowded = False  # accepting has stopped; the next connection to end or to fall idle lets it go on
        self.make_room: MakeRoom = no_room
        self._longest_idle: list[tuple[float, Connection]] = []
        super().__init__(listener, application, spawn=Pool(greenlet_class=ConnectionGreenlet), log=None)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<Server {self.address} {len(self.connections)} connections>"

    def do_read(self) -> tuple[_socket.socket, Peer] | None:  # type: ignore[override]
        """Accept one connection as a plain socket: gevent's own carries two watchers that nobody here needs.

        [SECURITY] LogHygiene: the peer stands in the place of its address, since gevent prints the arguments of what
        fails.
        """
        if self.open >= self.settings.max_connections and not self._make_room():
            return None
        try:
            fd, address = self.socket._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - the only way to a bare descriptor
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            self._run_short(error)
            return None
        self.open += 1
        self.accepted += 1
        return _socket.socket(fileno=fd), self.peer_of(address[:1])  # a unix socket's is no pair

    def handle(self, sock: _socket.socket, peer: Peer) -> None:  # type: ignore[override]
        """Serve one connection. A bug of ours costs this one, and is told in our log."""
        try:
            Connection(sock, peer, self).handle()
        except Exception:
            log.exception("a connection failed inside Aegis", extra={"client": peer.masked})

    def do_close(self, sock: Any, *args: Any) -> None:
        """After each connection."""
        super().do_close(sock, *args)
        self.open -= 1
        if self.crowded:
            self.crowded = False
            self.loop.run_callback(self._resume)

    def _resume(self) -> None:
        if self.started:
            self.start_accepting()

    def waiting(self) -> int:
        """Connections that the kernel holds for us: tcpi_unacked of a listening socket."""
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED_OFFSET + 4)
        return int.from_bytes(info[UNACKED_OFFSET:], sys.byteorder)

    def _run_short(self, error: OSError) -> None:
        """No descriptor is left: what nobody needs gives its own up; else accepting pauses, or the loop would spin."""
        if self.evict() or self.make_room():
            return
        log.warning("accepting pauses", extra={"error": str(error), "seconds": SHORTAGE_PAUSE})
        self.stop_accepting()
        self._timer = self.loop.timer(SHORTAGE_PAUSE)  # as gevent's own, so that a stop ends it too
        self._timer.start(self._resume)

    def _make_room(self) -> bool:
        """At the cap: True when the connection idle longest gave way to one that waits."""
        if not self.waiting():
            return False
        if self.evict():
            return True
        self.stop_accepting()
        self.crowded = True
        self.pauses += 1
        return False

    def evict(self) -> bool:
        """Close the keep-alive connection that is idle longest. Only from a hub callback. False when none is idle."""
        victim = self._next_victim()
        if victim is None:
            return False
        self.evicted += 1
        victim.close_idle()
        return True

    def _next_victim(self) -> Connection | None:
        # Idle connections expire in the order in which they fell idle. One look at all of them serves many evictions.
        for again in (False, True):
            if again:
                idle = ((each.stream.deadline, each) for each in self.connections if each.idle)
                self._longest_idle = heapq.nsmallest(VICTIMS, idle, key=itemgetter(0))[::-1]
            while self._longest_idle:
                deadline, connection = self._longest_idle.pop()
                if connection.stream.deadline == deadline and connection.idle and not connection.under_way:
                    return connection
        return None

    def update_environ(self) -> None:
        """What every request's environ holds. The name is the listen address: a look-up could block the start."""
        host, port = self.socket.getsockname()[:2]
        self.environ.update({"SERVER_NAME": host, "SERVER_PORT": str(port), "wsgi.input": BytesIO()})
        self.environ.pop("GATEWAY_INTERFACE", None)

    def stop_listening(self) -> None:
        """Accept what the kernel has for us already, then close. Only from a hub callback.

        Closing the listener resets the connections that wait in it, with the requests that came over them.
        """
        for _ in range(BACKLOG):
            accepted = self.do_read()
            if accepted is None:
                break
            self.do_handle(*accepted)  # type: ignore[arg-type]
        self.close()

    def reconfigure(self, settings: WireSettings) -> None:
        """Go on by other settings, open connections too: their next wait, head and body."""
        trusted, self.settings = self.settings.trusted_proxies, settings
        if settings.trusted_proxies != trusted:
            self.peer_of.cache_clear()  # type: ignore[attr-defined]
            for connection in self.connections:
                connection.peer = self.peer_of((connection.peer.address,))
        if self.crowded and self.open < settings.max_connections:
            self.crowded = False
            self.loop.run_callback(self._resume)

    def close_idle(self) -> None:
        """Close the connections that wait for a next request. Only from a hub callback."""
        for connection in list(self.connections):
            connection.close_idle()

    def stop_keeping(self) -> None:
        """Let every answer from now on, those under way included, be its connection's last."""
        self.keeps = False
        for connection in self.connections:
            connection.stop_keeping()

    def close_endless(self) -> None:
        """Break off event streams and tunnels, which would never end by themselves. Only from a hub callback."""
        for connection in [each for each in self.connections if each.endless]:
            connection.break_off()

    def in_flight(self) -> int:
        """Requests under way, from a whole head to the end of the answer."""
        return sum(connection.exchange is not None for connection in self.connections)

    def busy(self) -> int:
        """Connections with a request under way."""
        return sum(not connection.waits for connection in self.connections)

    def only_endless(self) -> bool:
        """Whether nothing is in flight but what ends only when it is told to."""
        return all(connection.endless or connection.waits for connection in self.connections)

    def give_up(self) -> None:
        """Break off every answer under way, so that none of them looks complete to its client."""
        for connection in self.connections:
            connection.give_up()
        if self.pool is not None:
            self.pool.kill(timeout=1)

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


def open_listener(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening, non-blocking socket; `::` is dual stack. Raises OSError.

    shared: others may listen there too, and the kernel deals the connections out among them (SO_REUSEPORT).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        make_listening(listener)
    except BaseException:
        listener.close()
        raise
    return listener


def make_listening(listener: socket.socket) -> None:
    """Let a bound socket listen as ours do, whoever opened it."""
    # Accepted sockets inherit both. Without the first an answer in two parts waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # [SECURITY] SlowReader: unsent bytes in the kernel are bounded, or a slow reader goes unseen for 4 MB.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LOW_WATER)
    listener.listen(BACKLOG)
    listener.setblocking(False)
