"""One try on one backend: the request out, the response head in. Choosing and retrying are not its business."""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from aegis.context import RequestBody, RequestContext
from aegis.http1 import write
from aegis.http1.chunked import LAST_CHUNK
from aegis.http1.head_buffer import END
from aegis.http1.response_head import LARGEST_HEAD, SWITCHING, Head, ResponseHeadError, ResponseHeads
from aegis.net.deadlines import NEVER
from aegis.reasons import BackendError, ClientGoneError, DeadlinePassedError, Reason, Replay

if TYPE_CHECKING:
    from aegis.net.stream import Stream
    from aegis.pool.backend import BackendState

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
    """Sends one request to one backend and reads the head of its response.

    After `run`: `rest` holds the bytes that came behind the head. `finish` must be called once on every path: it gives
    the connection and the place in flight back. upload_cut: the backend answered before it had the whole body, so
    that neither connection can be used again.
    """

    __slots__ = ("_heads", "_state", "_timeouts", "connection", "context", "rest", "stream", "upload_cut")

    def __init__(
        self,
        context: RequestContext,
        state: "BackendState",
        heads: ResponseHeads,
        timeouts: Timeouts,
        *,
        fresh: bool = False,
    ) -> None:
        self.context = context
        self.connection = state.connections.take_fresh() if fresh else state.connections.take()
        self.stream = self.connection.stream
        self.rest = b""
        self.upload_cut = False
        self._state: BackendState | None = state
        self._heads = heads
        self._timeouts = timeouts
        state.in_flight += 1

    def finish(self, *, fit: bool) -> None:
        """Give back what was taken. fit: the response ended cleanly and its connection lives on."""
        state, self._state = self._state, None
        if state is None:
            return
        state.in_flight -= 1
        if fit and not self.upload_cut:
            state.connections.park(self.connection)
        else:
            state.connections.discard(self.connection)

    def run(self, request: bytes, piece: bytes | memoryview) -> Head:
        """The response head. request: the head's bytes; piece: the first of the body, taken already.

        Raises BackendError, and what the request's body raises (Refused, ClientGoneError).
        """
        context = self.context
        stream = self.stream
        if stream is None:
            stream = self.stream = self.connection.open()
        try:
            if context.body is None:
                stream.send_all(request, self._timeouts.read)
            else:
                self._send_with_body(stream, request, piece)
            started = monotonic()
            while True:
                head = self._read_head(stream)
                if head.status >= FIRST_FINAL:
                    break
                self._pass_interim(head)
            context.backend_ms = (monotonic() - started) * 1000
        except OSError as error:
            raise self._reset(str(error)) from error
        except DeadlinePassedError as late:
            raise BackendError(Reason.BACKEND_TIMEOUT, "no response head in time") from late
        except ResponseHeadError as error:
            raise BackendError(Reason.BAD_GATEWAY_PROTOCOL, str(error)) from error
        return head

    def _reset(self, detail: str) -> BackendError:
        # Safe to send again only while no response byte came (RFC 9110 §9.2.2): most often a pooled connection that
        # died while it was parked.
        replay = Replay.NEVER if self.rest else Replay.FRESH_CONNECTION
        return BackendError(Reason.BAD_GATEWAY_RESET, detail, replay)

    # the response head

    def _pass_interim(self, head: Head) -> None:
        if head.status == SWITCHING:
            raise ResponseHeadError("101 without an Upgrade of ours")
        # The backend's 100 is no business of the client's: we answered its Expect ourselves.
        if head.status != 100 and self.context.interim is not None:  # noqa: PLR2004 - Continue
            self.context.interim((head.secured or head).wire + b"\r\n")

    def _read_head(self, stream: "Stream") -> Head:
        context = self.context
        stream.deadline = stream.now() + self._timeouts.response_header
        context.cancel = self._client_left
        try:
            data = self.rest or stream.read_some(FIRST_READ)
            end = data.find(END)
            if end < 0:
                data, end = self._collect(stream, data)
        finally:
            context.cancel = None
            stream.deadline = NEVER
        self.rest = data[end + 4 :]
        return self._heads.parse(data[: end + 2])

    def _collect(self, stream: "Stream", data: bytes) -> tuple[bytes, int]:
        """Read on until the head is whole: (bytes, where its empty line begins)."""
        while (end := data.find(END)) < 0 and len(data) <= LARGEST_HEAD:
            self.rest = data
            more = stream.read_some(FIRST_READ) if data else b""
            if not more:
                raise self._reset("closed before its response head was whole")
            data += more
        if not 0 <= end <= LARGEST_HEAD:
            raise ResponseHeadError(f"head over {LARGEST_HEAD} bytes")
        return data, end

    def _client_left(self) -> None:
        if self.stream is not None:
            self.stream.throw(ClientGoneError("closed while the backend was working"))

    # the request body

    def _send_with_body(self, stream: "Stream", request: bytes, piece: bytes | memoryview) -> None:
        """Head and body out, until the backend has all of it or answers early."""
        framed = self._framed(piece)
        if len(framed) <= JOINED:
            stream.send_all(b"".join((request, framed)), self._timeouts.read)
        else:
            stream.send_all(request, self._timeouts.read)
            stream.send_all(framed, self._timeouts.read)
        body = self.context.body
        if body is not None and not body.complete:
            self._upload(stream, body)

    def _framed(self, piece: bytes | memoryview) -> bytes | memoryview:
        body = self.context.body
        if body is None or not self.context.block.framing.chunked:
            return piece
        data = write.chunk(piece) if len(piece) else b""
        return data + LAST_CHUNK if body.complete else data

    def _upload(self, stream: "Stream", body: RequestBody) -> None:
        """Pump the rest of the body, listening to the backend meanwhile."""
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
