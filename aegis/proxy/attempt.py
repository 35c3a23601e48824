"""One try on one backend: the request out, the response head in. Choosing and retrying are not its business.

A function, not an object with steps: it runs for every request, and an object for each cost 3 % of the rate.
"""

from time import monotonic
from typing import TYPE_CHECKING, Final

from gevent import getcurrent

from aegis.context import RequestBody, RequestContext
from aegis.http1.head_buffer import END
from aegis.http1.response_head import FIRST_FINAL, LARGEST_HEAD, SWITCHING, Head, ResponseHeadError, ResponseHeads
from aegis.net.deadlines import NEVER
from aegis.net.outbox import UnaskedError
from aegis.proxy.upload import FIRST_READ, Upload
from aegis.reasons import BackendError, ClientGoneError, DeadlinePassedError, Reason, Replay

if TYPE_CHECKING:
    from aegis.net.stream import Stream
    from aegis.transport.connection_pool import Connection

CONTINUE: Final = 100


class Timeouts:
    """Toward backends, in seconds: to the response head, between pieces of a body, of an event stream or tunnel."""

    __slots__ = ("read", "response_header", "stream_idle")

    def __init__(self, response_header: float, read: float, stream_idle: float) -> None:
        self.reconfigure(response_header, read, stream_idle)

    def __repr__(self) -> str:
        return f"<Timeouts head {self.response_header:g} s, body {self.read:g} s, stream {self.stream_idle:g} s>"

    def reconfigure(self, response_header: float, read: float, stream_idle: float) -> None:
        """For every wait that begins from now on."""
        self.response_header = response_header
        self.read = read
        self.stream_idle = stream_idle


class _ClosedEarlyError(Exception):
    """The connection ended before the response head was whole. `began`: bytes of it had come."""

    def __init__(self, *, began: bool) -> None:
        super().__init__("closed before its response head was whole")
        self.began = began


def attempt(
    context: RequestContext,
    connection: "Connection",
    request: bytes,
    piece: bytes,
    heads: ResponseHeads,
    timeouts: Timeouts,
) -> tuple[Head, bytes]:
    """(the final response's head, or the 101 that was asked for, and the bytes that came behind it).

    request: the head's bytes; piece: the first of the body, taken already. Sets `context.close` when the backend
    answered before it had the whole body: neither connection can be used again. Raises BackendError, and what the
    request's body raises (Refused, ClientGoneError); the connection is unfit then.
    """
    came = b""
    stream = connection.stream
    reused = stream is not None
    try:
        if stream is None:
            stream = _dial(context, connection)
        if context.body is not None:
            came = _upload(context, context.body, stream, request, piece, timeouts.read, reused)
        elif reused:
            # [SECURITY] ResponseDesync: bytes that came behind the last answer are not the answer to this request.
            stream.ask_soon(request, timeouts.read)
        else:
            stream.send_soon(request, timeouts.read)
        stream.deadline = monotonic() + timeouts.response_header
        context.waits_on = stream
        data = came or stream.read_some(FIRST_READ)
        if stream.pending:
            stream.take_back()
        end = data.find(END)
        if end < 0:
            data, end = _collect(stream, data)
        head = heads.parse(data[: end + 2])
        data = data[end + 4 :]
        while head.status < FIRST_FINAL and not _switches(context, head):
            head, data = _pass_interim(context, stream, head, data, heads)
        context.waits_on = None
        stream.deadline = NEVER
        context.answered = monotonic()
        context.backend_ms = (context.answered - stream.sent_at) * 1000
    except (OSError, UnaskedError, _ClosedEarlyError) as error:
        replay = _replay_after(error, began=bool(came) or getattr(error, "began", False), reused=reused)
        raise BackendError(Reason.BAD_GATEWAY_RESET, str(error), replay) from error
    except DeadlinePassedError as late:
        raise BackendError(Reason.BACKEND_TIMEOUT, "no response head in time") from late
    except ResponseHeadError as error:
        raise BackendError(Reason.BAD_GATEWAY_PROTOCOL, str(error)) from error
    return head, data


def _replay_after(error: Exception, *, began: bool, reused: bool) -> Replay:
    """Safe to send again only while no response byte came (RFC 9110 §9.2.2): most often a pooled connection that died
    while it was parked. One on which something came before the request had gone out has cost it nothing.
    """
    if began:
        return Replay.NEVER
    return Replay.UNSENT if reused and isinstance(error, UnaskedError) else Replay.FRESH_CONNECTION


class _Dialling:
    """The wait of this greenlet for a connect, which a client that leaves ends."""

    __slots__ = ("_greenlet",)

    def __init__(self) -> None:
        self._greenlet = getcurrent()

    def throw(self, error: BaseException) -> None:
        """As context.Waiting."""
        self._greenlet.throw(error)


def _dial(context: RequestContext, connection: "Connection") -> "Stream":
    context.waits_on = _Dialling()
    try:
        return connection.open()
    finally:
        context.waits_on = None


def _upload(
    context: RequestContext,
    body: RequestBody,
    stream: "Stream",
    request: bytes,
    piece: bytes,
    stall: float,
    reused: bool,  # noqa: FBT001
) -> bytes:
    """Send head and body; returns what the backend said meanwhile."""
    if reused and stream.spoke():
        raise UnaskedError
    upload = Upload(stream, body, stall, chunked=context.block.framing.chunked)
    context.waits_on = stream
    try:
        upload.run(request, piece)
    finally:
        context.waits_on = None
        context.close |= upload.cut
    return upload.came


def _collect(stream: "Stream", data: bytes) -> tuple[bytes, int]:
    """Read on until the head is whole: (bytes, where its empty line begins)."""
    while (end := data.find(END)) < 0 and len(data) <= LARGEST_HEAD:
        try:
            more = stream.read_some(FIRST_READ) if data else b""
        except OSError as error:
            raise _ClosedEarlyError(began=bool(data)) from error
        if not more:
            raise _ClosedEarlyError(began=bool(data))
        data += more
    if not 0 <= end <= LARGEST_HEAD:
        raise ResponseHeadError(f"head over {LARGEST_HEAD} bytes")
    return data, end


def _switches(context: RequestContext, head: Head) -> bool:
    """Whether this is the 101 that was asked for. Raises ResponseHeadError when nobody asked."""
    if head.status == SWITCHING and not context.block.websocket:
        raise ResponseHeadError("a 101 that nobody asked for")
    return head.status == SWITCHING


def _pass_interim(
    context: RequestContext, stream: "Stream", head: Head, data: bytes, heads: ResponseHeads
) -> tuple[Head, bytes]:
    """Send an interim answer on and read the next head, under the deadline of the first."""
    # The backend's 100 is no business of the client's: we answered its Expect ourselves.
    if head.status != CONTINUE and context.interim is not None:
        try:
            context.interim(head.wire + b"\r\n")
        except (OSError, DeadlinePassedError) as error:
            # Not to be taken for a silence of the backend, whose breaker would count it.
            raise ClientGoneError(f"took no interim answer: {error}") from error
    data, end = _collect(stream, data or stream.read_some(FIRST_READ))
    return heads.parse(data[: end + 2]), data[end + 4 :]
