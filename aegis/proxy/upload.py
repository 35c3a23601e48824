"""A request's body on its way to the backend, listening meanwhile: it may answer before it has all of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aegis.context import RequestBody
from aegis.http1 import write
from aegis.http1.chunked import LAST_CHUNK
from aegis.http1.head_buffer import END
from aegis.http1.response_head import LARGEST_HEAD

if TYPE_CHECKING:
    from aegis.net.stream import Stream

FIRST_READ: Final = 8 * 1024
JOINED: Final = 64 * 1024


class _BackendSpokeError(Exception):
    """The backend gave its final answer (or closed) before the request's body was out."""


class Upload:
    """Sends head and body of one request. Afterwards `came` holds what the backend said meanwhile, and `cut` tells
    that the upload ended before the body did, so that neither connection can be used again.
    """

    def __init__(self, stream: "Stream", body: RequestBody, stall: float, *, chunked: bool) -> None:
        self.came = b""
        self.cut = False
        self._stream = stream
        self._body = body
        self._stall = stall  # seconds that one wait for the backend to take more may last
        self._chunked = chunked
        self._active = False

    def run(self, request: bytes, piece: bytes) -> None:
        """Send. request: the head; piece: the first of the body. Raises Refused, ClientGoneError, DeadlinePassedError,
        and OSError only while nothing but these two was sent.
        """
        framed = self._framed(piece)
        if len(framed) <= JOINED:
            self._stream.send_all(b"".join((request, framed)), self._stall)
        else:
            self._stream.send_all(request, self._stall)
            self._stream.send_all(framed, self._stall)
        if not self._body.complete:
            self._pump()

    def _framed(self, piece: bytes | memoryview) -> bytes | memoryview:
        if not self._chunked:
            return piece
        data = write.chunk(piece) if len(piece) else b""
        return data + LAST_CHUNK if self._body.complete else data

    def _pump(self) -> None:
        stream, body = self._stream, self._body
        self._active = True
        stream.on_event = self._readable
        stream.watch()
        try:
            while not body.complete:
                framed = self._framed(body.next_piece())
                if len(framed):
                    stream.send_all(framed, self._stall)
        except (_BackendSpokeError, OSError):
            # On an OSError the backend closed its reading side; what it answered before may still be there.
            self.cut = True
        finally:
            self._active = False
            stream.on_event = None

    # in the hub

    def _readable(self) -> None:
        self._stream.call_soon(self._listen)

    def _listen(self) -> None:
        if not self._active:
            return
        data = self._receive()
        if data:
            self.came += data
        if data == b"" or self._answered():
            self._interrupt(_BackendSpokeError())
        else:
            self._stream.watch()

    def _receive(self) -> bytes | None:
        try:
            return self._stream.receive_now(FIRST_READ)
        except OSError:
            return b""

    def _answered(self) -> bool:
        """Whether the final answer's head has come. Interim ones do not end the upload; they are passed on after it."""
        start = 0
        while (end := self.came.find(END, start)) >= 0:
            if self.came[start + 9 : start + 10] != b"1":
                return True
            start = end + len(END)
        return len(self.came) > LARGEST_HEAD

    def _interrupt(self, error: Exception) -> None:
        wake: Callable[[BaseException], None] = self._body.wake
        if self._stream.writer is not None:
            wake = self._stream.throw
        wake(error)
