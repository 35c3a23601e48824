"""One client connection: reads heads, runs an exchange for each, keeps or closes.

The handler class of the server. What a request means is the exchange's and the stack's business.
"""

import re
import socket
from collections.abc import Callable
from enum import IntEnum
from random import getrandbits
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from aegis.context import KEY, Environ, Peer, RequestContext, Waiting
from aegis.http1 import head_buffer, request_line
from aegis.http1.block import NO_BLOCK, Block
from aegis.net.deadlines import NEVER
from aegis.net.stream import Stream
from aegis.reasons import ANSWERS, ClientGoneError, DeadlinePassedError, Reason, Refused, StoppedError
from aegis.wire.exchange import Exchange, full_environ
from aegis.wire.request_body import RequestBody, make_body

if TYPE_CHECKING:
    from aegis.wire.server import Server

FIRST_READ: Final = 8 * 1024
CR: Final = ord("\r")
LINGER_SECONDS: Final = 1.0
LINGER_BYTES: Final = 256 * 1024
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_TRUSTED_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class State(IntEnum):
    """Where a client connection stands."""

    FRESH = 0  # accepted, nothing came yet
    IDLE = 1  # between two requests
    HEAD = 2  # part of a head is here
    EXCHANGE = 3  # a request is being answered
    LINGER = 4  # answered for good; what still comes is read and thrown away
    CLOSED = 5


class Event(IntEnum):
    """What moves a client connection."""

    BYTES = 0  # the first bytes of a head, but not all of it
    COMPLETE = 1  # a whole head, well-formed or refused
    KEPT = 2  # answered, the connection lives on
    CUT = 3  # answered with input left unread
    DONE = 4  # answered for the last time, or gone


TRANSITIONS: Final = {
    (State.FRESH, Event.BYTES): State.HEAD,
    (State.FRESH, Event.COMPLETE): State.EXCHANGE,  # in one piece, as nearly always
    (State.FRESH, Event.DONE): State.CLOSED,  # closed or timed out without a byte
    (State.IDLE, Event.BYTES): State.HEAD,
    (State.IDLE, Event.COMPLETE): State.EXCHANGE,
    (State.IDLE, Event.DONE): State.CLOSED,
    (State.HEAD, Event.COMPLETE): State.EXCHANGE,
    (State.HEAD, Event.DONE): State.CLOSED,  # the client left within a head
    (State.EXCHANGE, Event.KEPT): State.IDLE,
    (State.EXCHANGE, Event.CUT): State.LINGER,
    (State.EXCHANGE, Event.DONE): State.CLOSED,
    (State.LINGER, Event.DONE): State.CLOSED,
}  # a pair that is absent cannot happen: KeyError is a bug of ours

# For the hot path: what the table says of the two events of every request, and its plainest question. A member looked
# up in its enum costs as much as the table itself.
_AFTER_COMPLETE: Final = {before: after for (before, event), after in TRANSITIONS.items() if event is Event.COMPLETE}
_AFTER_KEPT: Final = {before: after for (before, event), after in TRANSITIONS.items() if event is Event.KEPT}
_READING: Final = frozenset({State.FRESH, State.IDLE, State.HEAD})


class Connection:
    """Handler class: made per accepted socket, `handle` runs in the connection's own greenlet."""

    __slots__ = ("exchange", "peer", "send_interim", "server", "state", "stream")

    def __init__(self, sock: Any, peer: Peer, server: "Server") -> None:
        self.server = server
        self.stream = Stream(sock, server.deadlines)
        self.peer = peer
        self.exchange: Exchange | None = None  # the request under way
        self.state = State.FRESH
        self.send_interim: Callable[[bytes], None] | None = self._send_interim  # made once, not for each request

    def __repr__(self) -> str:
        return f"<Connection {self.peer!r} {self.state.name}>"

    def fire(self, event: Event) -> None:
        """Move by the table."""
        self.state = TRANSITIONS[self.state, event]

    def handle(self) -> None:
        """Serve requests until the connection ends."""
        server, stream = self.server, self.stream
        server.connections.add(self)
        stream.on_event = self._on_event
        stream.deadline = stream.now() + server.settings.read_timeout
        rest = b""
        try:
            while self.state in _READING:
                rest = self._serve(rest)
            if self.state is State.LINGER:
                self._linger()
        except (OSError, DeadlinePassedError):
            pass  # nobody is there to be answered: idle too long, or gone between two requests
        finally:
            server.connections.discard(self)
            self.state = State.CLOSED
            self.send_interim = None  # a reference to itself, which the collector would have to find
            stream.close()

    def stop_keeping(self) -> None:
        """Let the request under way be the last."""
        if self.exchange is not None:
            self.exchange.keep = False

    def break_off(self) -> None:
        """End the answer under way since Aegis stops. Only from a hub callback."""
        if self.exchange is not None and self.exchange.context.waits_on is not None:
            self.exchange.context.waits_on.throw(StoppedError())

    def give_up(self) -> None:
        """Say of the answer under way that the stop cut it off; its greenlet is killed next."""
        exchange = self.exchange
        if exchange is None:
            return
        exchange.fail(Reason.INTERNAL_ERROR, "the stop was forced")
        self.stream.reset_on_close()  # a body that ends with the close would look complete

    @property
    def endless(self) -> bool:
        """Whether it only carries an event stream or a tunnel by now, which ends when it is told to."""
        return self.exchange is not None and self.exchange.context.endless

    @property
    def waits(self) -> bool:
        """Whether no part of a request is here, and no part of an answer is still to go."""
        return self.state in (State.FRESH, State.IDLE) and not self.stream.pending

    @property
    def idle(self) -> bool:
        """Whether it waits for its next request, the last answer being out."""
        return self.state is State.IDLE and not self.stream.pending

    @property
    def under_way(self) -> bool:
        """Whether a request lies in the kernel that the loop has not come to; one system call."""
        return bool(self.stream.peek())

    def close_idle(self) -> None:
        """Close if no request is under way. Only from a hub callback."""
        if self.waits and not self.under_way:
            self.stream.throw(DeadlinePassedError())

    # heads

    def _serve(self, data: bytes) -> bytes:
        """Read one head and answer it; returns the bytes that came behind the request."""
        stream, server = self.stream, self.server
        try:
            if not data:
                data = stream.read_some(FIRST_READ)
                if not data:
                    self.fire(Event.DONE)
                    return b""
            end = data.find(head_buffer.END) + 2
            if not 1 < end <= server.settings.max_header_bytes or data[0] == CR:
                data, end = self._collect(data)
                if not end:
                    self.fire(Event.DONE)
                    return b""
            stream.deadline = NEVER
            started = monotonic()
            method, target, block = server.heads.parse(data[:end])
        except Refused as refusal:
            return self._refuse(refusal, data)
        except DeadlinePassedError:
            if self.state is not State.HEAD:
                raise
            return self._refuse(Refused(Reason.HEAD_TIMEOUT, "the head took too long"), data)
        context = RequestContext(self._identity(block), self.peer, method, target, block, started)
        return self._run(context, data[end + 2 :])

    def _collect(self, data: bytes) -> tuple[bytes, int]:
        """Read on until the head is whole: (bytes, where its fields end), 0 when the client left."""
        stream, settings = self.stream, self.server.settings
        # [SECURITY] SlowHead: set once, for the whole head: a client that drips bytes must not move its own deadline.
        if self.state is not State.FRESH:  # a fresh connection has had its deadline since it was accepted
            stream.deadline = stream.now() + settings.read_timeout
        self.fire(Event.BYTES)
        while True:
            head = head_buffer.strip_empty_line(data)
            end = head_buffer.find_end(head, settings.max_header_bytes)
            if end:
                return head, end
            more = stream.read_some(FIRST_READ)
            if not more:
                return data, 0
            data += more

    # requests

    def _identity(self, block: Block) -> str:
        if self.peer.trusted and _TRUSTED_ID.fullmatch(block.request_id):
            return block.request_id.decode()
        return getrandbits(128).to_bytes(16).hex()

    def _run(self, context: RequestContext, came: bytes) -> bytes:
        """Answer one request; `came` lies behind its head. Returns what lies behind its body."""
        server, stream, block = self.server, self.stream, context.block
        body = None
        if block.has_body:
            body = context.body = self._body(block, came)
        if block.http11:
            context.interim = self.send_interim
        self.state = _AFTER_COMPLETE[self.state]
        if not stream.armed:
            stream.watch()  # so that a client that leaves is noticed while we wait for the backend
        exchange = Exchange(context, stream, body, server.settings.write_timeout, block.keep_alive and server.keeps)
        self.exchange = exchange
        environ: Environ = {KEY: context} if not server.full_environ else full_environ(server.environ, context)
        if body is not None:
            environ["wsgi.input"] = body
        exchange.run(server.application, environ, came)
        self.exchange = None
        if not exchange.keep:
            self.fire(self._last_event(exchange))
            return b""
        self.state = _AFTER_KEPT[self.state]
        stream.deadline = monotonic() + server.settings.idle_timeout
        if server.crowded:
            stream.call_soon(server.evict)
        return came if body is None else body.came

    def _body(self, block: Block, came: bytes) -> RequestBody:
        settings = self.server.settings
        before_wait = self._send_continue if block.expects_continue and not came else None
        return make_body(block.framing, settings.max_body_bytes, self.stream, came, settings.read_timeout, before_wait)

    def _last_event(self, exchange: Exchange) -> Event:
        """Closing with unread input would reset the answer away: that takes a linger."""
        if exchange.broken:
            return Event.DONE
        unread = ANSWERS[exchange.context.reason].close or exchange.body_left() or self.stream.peek()
        return Event.CUT if unread else Event.DONE

    def _refuse(self, refusal: Refused, data: bytes) -> bytes:
        """A refused head leaves by the same door as every request: through the stack, with its reason set."""
        self.stream.deadline = NEVER
        method, target = request_line.glimpse(data)
        context = RequestContext(self._identity(NO_BLOCK), self.peer, method, target, NO_BLOCK, monotonic())
        context.reason, context.detail = refusal.reason, refusal.detail
        return self._run(context, b"")

    def _send_continue(self) -> None:
        self.stream.send_all(CONTINUE, self.server.settings.write_timeout)

    def _send_interim(self, head: bytes) -> None:
        self.stream.send_all(head, self.server.settings.write_timeout)

    # the end

    def _on_event(self) -> None:
        """In the hub: the socket turned readable while a request is under way."""
        exchange = self.exchange
        if exchange is not None and exchange.context.waits_on is not None and self.stream.peek() == b"":
            self.stream.call_soon(self._cancel, exchange.context, exchange.context.waits_on)

    def _cancel(self, context: RequestContext, waited: Waiting) -> None:
        # Looked at again: the answer may have come in this very turn, and the backend's connection be someone else's,
        # or a tunnel have begun, in which a client that only ends its sending half has not left.
        if context.waits_on is waited:
            waited.throw(ClientGoneError("closed before the answer was out"))

    def _linger(self) -> None:
        """Close so that the answer arrives: closing with unread input would reset it away (RFC 9112 §9.6)."""
        stream = self.stream
        stream.deadline = stream.now() + LINGER_SECONDS
        stream.sock.shutdown(socket.SHUT_WR)
        left = LINGER_BYTES
        while left > 0 and (data := stream.read_some(FIRST_READ)):
            left -= len(data)
        self.fire(Event.DONE)
