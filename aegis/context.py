"""The per-request slots and who writes which; the shapes that every layer of the stack speaks.

Lies below wire and proxy so that neither has to know the other.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from aegis.reasons import Reason

if TYPE_CHECKING:
    from aegis.http1.block import Block
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


class RequestContext:
    """What Aegis knows of one request.

    Writers: wire ▸ the constructor and the first block, layers ▸ second, proxy ▸ third, whoever answers ▸ fourth,
    wire at the end ▸ last. Defaults stand on the class: 15 stores less per request than slots would need.
    """

    path = ""  # the target without its query, as text
    body: RequestBody | None = None  # None = the request has none
    interim: Callable[[bytes], None] | None = None  # sends a 1xx head on; None = the client cannot take it

    extra = b""  # response fields of this request alone, in wire form
    on_end: "Callable[[RequestContext], None] | None" = None  # called once, when the exchange is over

    backend: "Backend | None" = None
    attempts = 0
    backend_ms: float | None = None  # to response headers
    endless = False  # the answer is an event stream
    cancel: Callable[[], None] | None = None  # ends the wait for the backend; only from a hub callback
    close = False  # the connection cannot be used after this answer

    reason = Reason.OK
    detail = ""  # why, in words, for our log only

    status = 0  # 0 = no response byte went out
    bytes_in = 0  # of bodies
    bytes_out = 0

    def __init__(self, identity: str, peer: Peer, method: str, target: bytes, block: "Block", started: float) -> None:
        self.id = identity
        self.id_line = b"X-Request-ID: %b\r\n" % identity.encode()  # the same, toward either side
        self.peer = peer
        self.method = method
        self.target = target  # in origin form, else as it came, never cleaned
        self.block = block  # parsed fields; immutable, shared by all requests with the same bytes
        self.started = started  # seconds, monotonic

    def __repr__(self) -> str:
        return f"<Request {self.id} {self.method} {self.reason} status={self.status}>"
