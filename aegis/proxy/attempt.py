"""One try on one backend: the request out, the response head in. Choosing and retrying are not its business."""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from aegis.context import RequestContext
from aegis.http1 import write
from aegis.http1.chunked import LAST_CHUNK
from aegis.http1.head_buffer import END
from aegis.http1.response_head import LARGEST_HEAD, SWITCHING, Head, ResponseHeadError, ResponseHeads
from aegis.net.deadlines import NEVER
from aegis.reasons import BackendError, ClientGoneError, DeadlinePassedError, Reason, Replay

if TYPE_CHECKING:
    from aegis.net.stream import Stream
    from aegis.transport.connection_pool import Connection

FIRST_READ: Final = 8 * 1024
JOINED: Final = 64 * 1024
FIRST_FINAL: Final = 200


class _BackendSpokeError(Exception):
    """The backend answers (or closes) before the request's body is out: the upload stops to listen."""


class Timeouts:
    """Toward backends, in seconds: to the response head, between two pieces of a body, and of an event stream."""

    __slots__ = ("read", "response_header", "stream_idle")

    def __init__(self, response_header: float, read: float, stream_idle: float) -> None:
        self.response_header = response_header
        self.read = read
        self.stream_idle = stream_idle


class Attempt:
    """Sends one request over one connection and reads the head of its response.

    After `run`: `rest` holds the bytes that came behind the head; `upload_cut` tells that the backend answered before
    it had the whole body, so that neither connection can be used again.
    """

    __slots__ = ("_heads", "_timeouts", "connection", "context", "rest", "stream", "upload_cut")

    def __init__(
        self, context: RequestContext, connection: "Connection", stream: "Stream", heads: ResponseHeads, timeouts: Timeouts
    ) -> None:
        self.context = context
        self.connection = connection
        self.stream = stream
        self.rest = b""
        self.upload_cut = False
        self._heads = heads
        self._timeouts = timeouts

    def run(self, request: bytes, piece: bytes | memoryview) -> Head:
        """The response head. request: the head's bytes; piece: the first of the body, taken already.

        Raises BackendError, and what the request's body raises (Refused, ClientGoneError).
        """
        context, stream = self.context, self.stream
        try:
            if context.body is None:
                stream.send_all(request, self._timeouts.read)
            else:
                self._send_with_body(request, piece)
            started = monotonic()
            head = self._read_final()
            context.backend_ms = (monotonic() - started) * 1000
        except OSError as error:
            raise self._reset(str(error)) from error
        except DeadlinePassedError as late:
            raise BackendError(Reason.BACKEND_TIMEOUT, "no response head in time") from late
        except ResponseHeadError as error:
            raise BackendError(Reason.BAD_GATEWAY_PROTOCOL, str(error)) from error
        return head

    def _reset(self, detail: str) -> BackendError:
        # A pooled connection may have died while it was parked: only then is a failure no sign of a bad backend, and
        # only while no response byte came (RFC 9110 §9.2.2, RFC 9112 §9.3.1).
        stale = self.connection.served > 0 and not self.rest
        return BackendError(
            Reason.BAD_GATEWAY_RESET, detail, Replay.FRESH_CONNECTION if stale else Replay.NEVER
        )

    # the response head

    def _read_final(self) -> Head:
        while True:
            head = self._read_head()
            if head.status >= FIRST_FINAL:
                return head
            self._pass_interim(head)

    def _pass_interim(self, head: Head) -> None:
        if head.status == SWITCHING:
            raise ResponseHeadError("101 without an Upgrade of ours")
        # The backend's 100 is no business of the client's: we answered its Expect ourselves.
        if head.status != 100 and self.context.interim is not None:  # noqa: PLR2004 - Continue
            self.context.interim(head.secured.wire + b"\r\n")

    def _read_head(self) -> Head:
        context, stream = self.context, self.stream
        data = self.rest
        stream.deadline = stream.now() + self._timeouts.response_header
        context.cancel = self._client_left
        try:
            if not data:
                data = stream.read_some(FIRST_READ)
            while (end := data.find(END)) < 0:
                if len(data) > LARGEST_HEAD:
                    raise ResponseHeadError(f"head over {LARGEST_HEAD} bytes")
                self.rest = data
                more = stream.read_some(FIRST_READ) if data else b""
                if not more:
                    raise self._reset("closed before its response head was whole")
                data += more
        finally:
            context.cancel = None
            stream.deadline = NEVER
        if end > LARGEST_HEAD:
            raise ResponseHeadError(f"head over {LARGEST_HEAD} bytes")
        self.rest = data[end + 4 :]
        return self._heads.parse(data[: end + 2])

    def _client_left(self) -> None:
        self.stream.throw(ClientGoneError("closed while the backend was working"))

    # the request body

    def _send_with_body(self, request: bytes, piece: bytes | memoryview) -> None:
        """Head and body out, until the backend has all of it or answers early."""
        framed = self._framed(piece)
        if len(framed) <= JOINED:
            self.stream.send_all(request + bytes(framed), self._timeouts.read)
        else:
            self.stream.send_all(request, self._timeouts.read)
            self.stream.send_all(framed, self._timeouts.read)
        body = self.context.body
        if body is not None and not body.complete:
            self._upload()

    def _framed(self, piece: bytes | memoryview) -> bytes | memoryview:
        body = self.context.body
        if body is None or not self.context.block.framing.chunked:
            return piece
        data = write.chunk(piece) if len(piece) else b""
        return data + LAST_CHUNK if body.complete else data

    def _upload(self) -> None:
        """Pump the rest of the body, listening to the backend meanwhile."""
        stream, body = self.stream, self.context.body
        if body is None:
            return
        listening = _Listening(stream, body.wake)
        self.context.cancel = listening.client_left
        try:
            while not body.complete:
                piece = body.next_piece()
                framed = self._framed(piece)
                if len(framed):
                    stream.send_all(framed, self._timeouts.read)
        except _BackendSpokeError:
            self.upload_cut = True
        except OSError:
            # The backend closed its reading side; what it answered before may still be there to be read.
            self.upload_cut = True
        finally:
            listening.stop()
            self.context.cancel = None


class _Listening:
    """While an upload runs: when the backend's socket turns readable, end whichever wait the upload is in."""

    def __init__(self, stream: "Stream", wake: Callable[[BaseException], None]) -> None:
        self.stream = stream
        self.wake = wake
        self.active = True
        stream.on_event = self._readable
        stream.watch()

    def stop(self) -> None:
        self.active = False
        self.stream.on_event = None

    def client_left(self) -> None:
        self.stream.throw(ClientGoneError("closed within the body"))

    def _readable(self) -> None:
        self.stream.call_soon(self._interrupt)

    def _interrupt(self) -> None:
        if not self.active:
            return
        if self.stream.writer is not None:
            self.stream.throw(_BackendSpokeError())
        else:
            self.wake(_BackendSpokeError())
