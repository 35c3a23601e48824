"""One try on one backend: the request out, the response head in. Choosing and retrying are not its business."""

from time import monotonic
from typing import TYPE_CHECKING, Final

from aegis.context import RequestBody, RequestContext
from aegis.http1.head_buffer import END
from aegis.http1.response_head import LARGEST_HEAD, SWITCHING, Head, ResponseHeadError, ResponseHeads
from aegis.net.deadlines import NEVER
from aegis.proxy.upload import FIRST_READ, Upload
from aegis.reasons import BackendError, ClientGoneError, DeadlinePassedError, Reason, Replay

if TYPE_CHECKING:
    from aegis.net.stream import Stream
    from aegis.pool.backend import BackendState

CONTINUE: Final = 100
FIRST_FINAL: Final = 200


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

    __slots__ = ("_state", "_timeouts", "connection", "context", "rest", "stream", "upload_cut")

    def __init__(self, context: RequestContext, state: "BackendState", timeouts: Timeouts, fresh: bool) -> None:  # noqa: FBT001
        self.context = context
        self.connection = state.connections.take_fresh() if fresh else state.connections.take()
        self.stream = self.connection.stream
        self.rest = b""
        self.upload_cut = False
        self._state: BackendState | None = state
        self._timeouts = timeouts
        state.in_flight += 1

    def finish(self, fit: bool) -> None:  # noqa: FBT001 - as context.Done
        """Give back what was taken. fit: the response ended cleanly and its connection lives on."""
        state = self._state
        if state is None:
            return
        self._state = None
        state.in_flight -= 1
        if fit and not self.upload_cut:
            state.connections.park(self.connection)
        else:
            self.context.cancel = None
            state.connections.discard(self.connection)

    def run(self, request: bytes, piece: bytes, heads: ResponseHeads) -> Head:
        """The response head. request: the head's bytes; piece: the first of the body, taken already.

        Raises BackendError, and what the request's body raises (Refused, ClientGoneError).
        """
        context, timeouts = self.context, self._timeouts
        stream = self.stream
        if stream is None:
            stream = self.stream = self.connection.open()
        try:
            if context.body is None:
                stream.send_all(request, timeouts.read)
            else:
                self._upload(stream, context.body, request, piece)
            started = monotonic()
            stream.deadline = stream.now() + timeouts.response_header
            context.cancel = self.client_left
            data = self.rest or stream.read_some(FIRST_READ)
            end = data.find(END)
            if end < 0:
                data, end = self._collect(stream, data)
            head = heads.parse(data[: end + 2])
            self.rest = data[end + 4 :]
            while head.status < FIRST_FINAL:
                head = self._pass_interim(head, heads)
            context.cancel = None
            stream.deadline = NEVER
            context.backend_ms = (monotonic() - started) * 1000
        except OSError as error:
            raise self._reset(str(error)) from error
        except DeadlinePassedError as late:
            raise BackendError(Reason.BACKEND_TIMEOUT, "no response head in time") from late
        except ResponseHeadError as error:
            raise BackendError(Reason.BAD_GATEWAY_PROTOCOL, str(error)) from error
        return head

    def client_left(self) -> None:
        """End the wait for the backend. Only from a hub callback."""
        if self.stream is not None:
            self.stream.throw(ClientGoneError("closed while the backend was working"))

    def _upload(self, stream: "Stream", body: RequestBody, request: bytes, piece: bytes) -> None:
        context = self.context
        upload = Upload(stream, body, self._timeouts.read, chunked=context.block.framing.chunked)
        context.cancel = upload.client_left
        try:
            upload.run(request, piece)
        finally:
            context.cancel = None
            self.rest, self.upload_cut = upload.came, upload.cut

    def _reset(self, detail: str) -> BackendError:
        # Safe to send again only while no response byte came (RFC 9110 §9.2.2): most often a pooled connection that
        # died while it was parked.
        replay = Replay.NEVER if self.rest else Replay.FRESH_CONNECTION
        return BackendError(Reason.BAD_GATEWAY_RESET, detail, replay)

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

    def _pass_interim(self, head: Head, heads: ResponseHeads) -> Head:
        """Send an interim answer on and read the next head, under the deadline of the first."""
        if head.status == SWITCHING or self.stream is None:
            raise ResponseHeadError("101 without an Upgrade of ours")
        # The backend's 100 is no business of the client's: we answered its Expect ourselves.
        if head.status != CONTINUE and self.context.interim is not None:
            self.context.interim(head.wire + b"\r\n")
        data, end = self._collect(self.stream, self.rest or self.stream.read_some(FIRST_READ))
        self.rest = data[end + 4 :]
        return heads.parse(data[: end + 2])
