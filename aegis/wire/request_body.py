"""The body of one request while it comes: `wsgi.input`, counted and bounded."""

from collections.abc import Callable, Iterator

from aegis.http1.chunked import ChunkError, ChunkReader
from aegis.http1.framing import Framing
from aegis.net.deadlines import NEVER
from aegis.net.pace import LOWEST_RATE
from aegis.net.stream import PIECE, Stream
from aegis.reasons import ClientGoneError, DeadlinePassedError, Reason, Refused

CHUNKED_PIECE = 64 * 1024


class RequestBody:
    """What both framings share: waiting under `read_timeout`, `Expect`, and the file methods of PEP 3333."""

    def __init__(
        self, stream: Stream, came: bytes, read_timeout: float, before_wait: Callable[[], None] | None
    ) -> None:
        self.stream = stream
        self.came = came  # bytes read with the head: body first, then whatever was pipelined behind it
        self.read_timeout = read_timeout
        self.before_wait = before_wait  # sends 100 Continue
        self.taken = 0
        self.complete = False
        self._line_buffer = b""
        self._waiting = False
        self._waited = 0.0  # seconds spent waiting for this client
        self._received = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.taken} bytes taken{' complete' if self.complete else ''}>"

    @property
    def unanswered_expect(self) -> bool:
        """Whether the client still waits for our 100 Continue, so that nobody knows if its body will come."""
        return self.before_wait is not None

    def next_piece(self) -> bytes | memoryview:
        """As context.RequestBody."""
        raise NotImplementedError

    def remaining(self) -> int | None:
        """Bytes still to come; None = unknown."""
        raise NotImplementedError

    def wake(self, error: BaseException) -> None:
        """Raise `error` in the greenlet that waits for the next piece, if one does. Only from a hub callback."""
        if self._waiting:
            self.stream.throw(error)

    def _receive(self, most: int) -> memoryview:
        """Wait for bytes, as many as are there."""
        if self.before_wait is not None:
            self.before_wait()
            self.before_wait = None
        stream = self.stream
        started = stream.now()
        stream.deadline = started + self.read_timeout
        self._waiting = True
        try:
            piece = stream.read_piece(most)
        except DeadlinePassedError as late:
            raise Refused(Reason.BODY_TIMEOUT, f"no byte of the body for {self.read_timeout:g} s") from late
        except OSError as error:
            raise ClientGoneError(str(error)) from error
        finally:
            self._waiting = False
            stream.deadline = NEVER
        if not piece:
            raise ClientGoneError("closed within the body")
        self._received += len(piece)
        self._waited += stream.now() - started
        # [SECURITY] SlowBody: a client that drips bytes just within the gap limit would hold a backend for hours.
        if self._waited > self.read_timeout and self._received < LOWEST_RATE * self._waited:
            raise Refused(Reason.CLIENT_SLOW, f"{self._received} bytes of the body in {self._waited:.1f} s")
        return piece

    # PEP 3333's file methods, for applications other than the proxy

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all of the body when negative."""
        data = bytearray(self._line_buffer)
        while (size < 0 or len(data) < size) and not self.complete:
            data += self.next_piece()
        cut = len(data) if size < 0 else size
        self._line_buffer = bytes(data[cut:])
        return bytes(data[:cut])

    def readline(self, size: int = -1) -> bytes:
        """One line with its LF, or up to `size` bytes of it."""
        data = bytearray(self._line_buffer)
        while b"\n" not in data and (size < 0 or len(data) < size) and not self.complete:
            data += self.next_piece()
        cut = data.find(b"\n") + 1 or len(data)
        if size >= 0:
            cut = min(cut, size)
        self._line_buffer = bytes(data[cut:])
        return bytes(data[:cut])

    def readlines(self, hint: int = -1) -> list[bytes]:
        """All lines; `hint` is ignored, as PEP 3333 allows."""
        del hint
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line


class LengthBody(RequestBody):
    """A body whose length was declared and found small enough."""

    def __init__(
        self, length: int, stream: Stream, came: bytes, read_timeout: float, before_wait: Callable[[], None] | None
    ) -> None:
        super().__init__(stream, came, read_timeout, before_wait)
        self.left = length

    def remaining(self) -> int:
        """Bytes still to come."""
        return self.left

    def next_piece(self) -> bytes | memoryview:
        """As RequestBody.next_piece."""
        piece: bytes | memoryview
        if not self.left:
            self.complete = True
            return b""
        if self.came:
            piece, self.came = self.came[: self.left], self.came[self.left :]
        else:
            piece = self._receive(min(PIECE, self.left))
        self.left -= len(piece)
        self.taken += len(piece)
        self.complete = not self.left
        return piece


class ChunkedBody(RequestBody):
    """A chunked body: framing checked strictly, size counted as it is declared by each chunk."""

    def __init__(
        self, limit: int, stream: Stream, came: bytes, read_timeout: float, before_wait: Callable[[], None] | None
    ) -> None:
        super().__init__(stream, came, read_timeout, before_wait)
        self.limit = limit
        self.reader = ChunkReader()
        self.ready: list[memoryview] = []

    def remaining(self) -> int | None:
        """0 when the end is through, else unknown."""
        return 0 if self.complete else None

    def next_piece(self) -> bytes | memoryview:
        """As RequestBody.next_piece."""
        while not self.ready and not self.reader.done:
            # A copy: its pieces are taken one by one, and the shared buffer is anyone's after the first wait.
            came, self.came = self.came or bytes(self._receive(CHUNKED_PIECE)), b""
            self._feed(came)
        if not self.ready:
            self.complete = True
            return b""
        piece = self.ready.pop(0)
        self.taken += len(piece)
        self.complete = self.reader.done and not self.ready
        return piece

    def _feed(self, data: bytes) -> None:
        try:
            self.ready, stop = self.reader.feed(data, 0, len(data))
        except ChunkError as error:
            raise Refused(Reason.BAD_FRAMING, str(error)) from error
        # [SECURITY] BodySize: judged by what the chunk declares, before its data is taken.
        if self.reader.total > self.limit:
            raise Refused(Reason.BODY_TOO_LARGE, f"over {self.limit} bytes in chunks")
        if self.reader.done:
            self.came = data[stop:]


def make_body(
    framing: Framing,
    limit: int,
    stream: Stream,
    came: bytes,
    read_timeout: float,
    before_wait: Callable[[], None] | None,
) -> RequestBody:
    """The body that this framing announces; `limit` in bytes for chunked ones."""
    if framing.chunked:
        return ChunkedBody(limit, stream, came, read_timeout, before_wait)
    return LengthBody(framing.length or 0, stream, came, read_timeout, before_wait)
