"""The per-request slots and who writes which; the shapes that every layer of the stack speaks.

Lies below wire and proxy so that neither has to know the other.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from aegis.reasons import OK, Reason

if TYPE_CHECKING:
    from aegis.http1.block import Block
    from aegis.net.stream import Stream
    from aegis.pool.backend import Backend

Environ = dict[str, Any]
Fields = list[tuple[str, str]]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes | memoryview]]

KEY = "aegis.request"
"""Where the context lies in the WSGI environ."""


class Peer:
    """The TCP peer of one connection, in the forms that are needed per request."""

    __slots__ = ("address", "forwarded", "masked", "trusted")

    def __init__(self, address: str, masked: str, forwarded: bytes, *, trusted: bool) -> None:
        self.address = address
        self.masked = masked
        self.forwarded = forwarded  # the fields we say of it to a backend
        self.trusted = trusted  # a member of security.trusted_proxies

    def __repr__(self) -> str:
        return f"<Peer {self.masked}{' trusted' if self.trusted else ''}>"


class RequestBody(Protocol):
    """A request's body as the proxy takes it; the same object is `wsgi.input`.

    taken: data bytes handed out so far. complete: the whole body was handed out.
    """

    taken: int
    complete: bool

    def next_piece(self) -> bytes | memoryview:
        """The next data, valid until the caller waits for anything; empty at the end.

        Raises Refused, ClientGoneError.
        """

    def wake(self, error: BaseException) -> None:
        """Raise `error` in the greenlet that waits for the next piece, if one does. Only from a hub callback."""


class Waiting(Protocol):
    """A wait for a backend that can be ended."""

    def throw(self, error: BaseException) -> None:
        """End it with this error: ClientGoneError or StoppedError. Only from a hub callback."""


class Tunnel(Protocol):
    """What an app returns behind a backend's 101, to take over the client's connection. Empty when iterated."""

    def run(self, stream: "Stream", leftover: bytes) -> None:
        """Carry bytes both ways until both sides have ended. leftover: the client's bytes behind its request's head.

        Raises BackendError or ClientGoneError when that side broke off.
        """

    def close(self) -> None:
        """Give back what the tunnel holds, whether it ran or not. A second call does nothing."""


class RequestContext:
    """What Aegis knows of one request.

    Writers: wire ▸ the constructor and the first block, layers ▸ second, proxy ▸ third, whoever answers ▸ fourth,
    wire at the end ▸ last. Slots, all set: an attribute that only the class has costs ten times as much to read.
    """

    __slots__ = (
        "answered",
        "attempts",
        "backend",
        "backend_ms",
        "block",
        "body",
        "bytes_in",
        "bytes_out",
        "close",
        "detail",
        "ended",
        "endless",
        "extra",
        "id",
        "id_line",
        "interim",
        "method",
        "on_end",
        "path",
        "peer",
        "query",
        "reason",
        "secure",
        "started",
        "status",
        "target",
        "waits_on",
    )

    def __init__(self, identity: str, peer: Peer, method: str, target: bytes, block: "Block", started: float) -> None:
        self.id = identity
        self.id_line = f"X-Request-ID: {identity}\r\n".encode()  # the same, toward either side
        self.peer = peer
        self.method = method
        self.target = target  # in origin form, else as it came, never cleaned
        self.path, _, self.query = target.decode("latin-1").partition("?")
        self.block = block  # parsed fields; immutable, shared by all requests with the same bytes
        self.started = started  # seconds, monotonic
        self.body: RequestBody | None = None  # None = the request has none
        self.interim: Callable[[bytes], None] | None = None  # sends a 1xx head on; None = the client cannot take it

        self.extra = b""  # response fields of this request alone, in wire form
        self.secure: Callable[[Fields], Fields] | None = None  # what becomes of a field list before it is sent
        self.on_end: Callable[[RequestContext], None] | None = None  # called once, when the exchange is over

        self.backend: Backend | None = None
        self.attempts = 0
        self.backend_ms: float | None = None  # to response headers
        self.answered = 0.0  # when those had come; seconds, monotonic
        self.endless = False  # the answer is an event stream or a tunnel
        self.waits_on: Waiting | None = None  # what is waited for on the backend's side, if anything
        self.close = False  # the connection cannot be used after this answer

        self.reason: Reason = OK
        self.detail = ""  # why, in words, for our log only

        self.ended = 0.0  # seconds, monotonic
        self.status = 0  # 0 = no response byte went out
        self.bytes_in = 0  # of bodies
        self.bytes_out = 0

    def __repr__(self) -> str:
        return f"<Request {self.id} {self.method} {self.reason} status={self.status}>"
