"""One connection toward a backend: urllib3's, with the dialling and the exchange of bytes our own.

Connecting, TLS, certificate checks and closing stay urllib3's. The host stays the name, so Host, SNI and the check go
by it; the peer is one of the vetted addresses.
"""

import _socket
import socket
import ssl
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket as gevent_socket
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from aegis.net.deadlines import Deadlines
from aegis.net.shortage import SHORTAGES, MakeRoom, no_room
from aegis.net.stream import Stream
from aegis.net.tls import TlsStream
from aegis.reasons import BackendError, ExhaustedError, Reason, Replay
from aegis.transport.resolver import Address


class DialSettings:
    """What a connection needs to dial: vetted addresses in resolver order, `connect_timeout` seconds for each.

    make_room: asked when there is no descriptor left for it.
    """

    __slots__ = ("addresses", "connect_timeout", "deadlines", "make_room")

    def __init__(
        self,
        addresses: tuple[Address, ...],
        connect_timeout: float,
        deadlines: Deadlines,
        make_room: MakeRoom = no_room,
    ) -> None:
        self.addresses = addresses
        self.connect_timeout = connect_timeout
        self.deadlines = deadlines
        self.make_room = make_room

    def __repr__(self) -> str:
        return f"<DialSettings {self.places} within {self.connect_timeout:g} s>"

    @property
    def places(self) -> str:
        """The addresses, for people."""
        return ", ".join(map(str, self.addresses))

    def at(self, addresses: tuple[Address, ...]) -> "DialSettings":
        """The same toward other addresses."""
        return DialSettings(addresses, self.connect_timeout, self.deadlines, self.make_room)


def dial(settings: DialSettings) -> socket.socket:
    """Connect to the first vetted address that answers. Raises OSError with the last one's error.

    [SECURITY] PinnedAddress: no resolver is asked here (urllib3 would ask it even for a numeric host), so that a later
    DNS change cannot lead us elsewhere.
    """
    failure: OSError = OSError("no vetted address")
    for host, port in settings.addresses:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = _socket_of(family, settings.make_room)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(settings.connect_timeout)
            sock.connect((host, port))
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _socket_of(family: int, make_room: MakeRoom) -> gevent_socket.socket:
    while True:
        try:
            return gevent_socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            if error.errno not in SHORTAGES or not make_room():
                raise


class _Exchanging:
    """What plain and TLS connections share: a Stream in place of file-like reading."""

    # Slots beside urllib3's attributes: with 300 backends each look into an instance's dict is a miss in the cache.
    __slots__ = ("dial_settings", "on_idle_event", "permit", "stream")

    dial_settings: DialSettings
    """Set by the pool, right after the connection is made."""

    stream: Stream | None

    permit: int
    """What the backend's breaker gave to the request that has this connection; kept here by `pool`."""

    on_idle_event: Callable[[], None] | None
    """Called while the connection is parked and its socket turns readable or its time is over; set by the pool."""

    sock: Any

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.stream, self.permit, self.on_idle_event = None, 0, None
        super().__init__(*args, **settings)

    def open(self) -> Stream:
        """Connect. Raises BackendError, or ExhaustedError when it is we who have no descriptor left."""
        try:
            with gevent.Timeout(self._patience(), TimeoutError("connecting took too long")):
                self.connect()  # type: ignore[attr-defined]
        except (OSError, HTTPError, ssl.SSLError) as error:
            self.close()
            if getattr(error, "errno", None) in SHORTAGES:
                raise ExhaustedError(f"no connection to a backend: {error}") from error
            detail = f"{self.dial_settings.places}: {error}"
            raise BackendError(Reason.BAD_GATEWAY_CONNECT, detail, Replay.ANOTHER_BACKEND) from error
        self.stream = self._make_stream()
        return self.stream

    def _patience(self) -> float:
        # Each address has its own connect_timeout; TLS has one more.
        return self.dial_settings.connect_timeout * (len(self.dial_settings.addresses) + 1)

    def _new_conn(self) -> socket.socket:
        return dial(self.dial_settings)

    def _make_stream(self) -> Stream:
        raw = _socket.socket(fileno=self.sock.detach())
        self.sock = raw
        return Stream(raw, self.dial_settings.deadlines)

    def close(self) -> None:
        """Close for good."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        super().close()  # type: ignore[misc]


class BackendConnection(_Exchanging, HTTPConnection):
    """A plain connection."""

    def __repr__(self) -> str:
        return f"<BackendConnection {self.host}:{self.port} {self.stream!r}>"


class BackendTlsConnection(_Exchanging, HTTPSConnection):
    """A verified TLS connection."""

    def __repr__(self) -> str:
        return f"<BackendTlsConnection {self.host}:{self.port} {self.stream!r}>"

    def _make_stream(self) -> Stream:
        self.sock.settimeout(0)
        return TlsStream(self.sock, self.dial_settings.deadlines)
