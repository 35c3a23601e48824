"""The response body on its way to the client: pieces as they come, framing checked, the connection given back."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from aegis.context import RequestContext
from aegis.http1.chunked import ChunkError, ChunkReader
from aegis.http1.framing import NO_BODY_STATUSES
from aegis.net.deadlines import NEVER
from aegis.net.stream import PIECE
from aegis.pool.breaker import FIRST_FAILURE
from aegis.reasons import BackendError, DeadlinePassedError, Reason

if TYPE_CHECKING:
    from aegis.http1.response_head import Head
    from aegis.net.stream import Stream

SMALL: Final = 64 * 1024
ANY_TRAILER: Final = frozenset[bytes]()
"""A backend's trailers are all dropped, so none of them is worth an aborted answer."""


class ResponseBody:
    """A WSGI iterable over the rest of one response.

    Pieces may be views into the shared buffer, valid until the taker waits for anything. `done(fit, succeeded)` is
    called once: fit when the message ended cleanly and its connection may serve another request; succeeded as
    `BackendState.give_back` wants it. Raises BackendError with `backend_aborted` when the backend breaks off, so that
    the client never gets a clean end.
    """

    __slots__ = ("_context", "_done", "_fit", "_head", "_read_timeout", "_rest", "_stream", "_succeeded")

    def __init__(
        self,
        context: RequestContext,
        stream: "Stream",
        head: "Head",
        rest: bytes,
        read_timeout: float,
        done: Callable[[bool, bool | None], None],
    ) -> None:
        self._context = context
        self._stream = stream
        self._head = head
        self._rest = rest
        self._read_timeout = read_timeout
        self._done: Callable[[bool, bool | None], None] | None = done
        self._fit = False
        # Until the end is seen: a client that leaves says nothing of the backend, but a 5xx was said already.
        self._succeeded = False if head.status >= FIRST_FAILURE else None

    def __iter__(self) -> Iterator[bytes | memoryview]:
        try:
            if self._head.framing.chunked:
                yield from self._chunked()
            elif self._head.framing.length is not None:
                yield from self._counted(self._head.framing.length)
            else:
                yield from self._until_close()
        except (OSError, ChunkError) as error:
            raise self._aborted(str(error)) from error
        except DeadlinePassedError as late:
            raise self._aborted(f"no byte for {self._read_timeout:g} s") from late

    def close(self) -> None:
        """Give the connection back, or close it when the message was not read to its end."""
        if self._done is not None:
            done, self._done = self._done, None
            done(self._fit, self._succeeded)

    def _finish(self, *, clean: bool) -> None:
        self._fit = clean and self._head.reusable
        if self._succeeded is None:
            self._succeeded = True
        self.close()

    def _counted(self, length: int) -> Iterator[bytes | memoryview]:
        left = length - len(self._rest)
        if left < 0:
            # [SECURITY] ResponseDesync: bytes behind the end make the connection unfit; the next answer is not theirs.
            self._finish(clean=False)
            yield self._rest[:length]
            return
        yield self._rest  # empty: lets the head go out while the body takes its time
        while left:
            # One byte more than may come: bytes behind the end are seen before the connection is parked, or whoever
            # took it in the same turn would get them for an answer.
            piece = self._read(left + 1 if left < PIECE else PIECE - 1)
            if not piece:
                raise self._aborted(f"closed with {left} of {length} bytes to come")
            if len(piece) > left:
                self._finish(clean=False)
                yield piece[:left]
                return
            left -= len(piece)
            if not left:
                self._finish(clean=True)
            yield piece
        self._finish(clean=True)

    def _chunked(self) -> Iterator[bytes | memoryview]:
        reader = ChunkReader(ANY_TRAILER)
        data = self._rest
        yield b""
        while True:
            pieces, stop = reader.feed(data, 0, len(data))
            if reader.done:
                self._finish(clean=stop == len(data))
            yield from pieces
            if reader.done:
                return
            # A copy: its pieces are sent one by one, and the shared buffer is anyone's after the first wait.
            data = bytes(self._read(SMALL))
            if not data:
                raise self._aborted("closed within a chunked body")

    def _until_close(self) -> Iterator[bytes | memoryview]:
        yield self._rest
        while piece := self._read(PIECE):
            yield piece
        self._finish(clean=False)

    def _read(self, most: int) -> memoryview:
        stream = self._stream
        stream.deadline = stream.now() + self._read_timeout
        self._context.waits_on = stream
        try:
            return stream.read_piece(most)
        finally:
            self._context.waits_on = None
            stream.deadline = NEVER

    def _aborted(self, detail: str) -> BackendError:
        self._succeeded = False
        return BackendError(Reason.BACKEND_ABORTED, detail)


def at_hand(head: "Head", rest: bytes, method: str) -> tuple[list[bytes | memoryview], bool] | None:
    """(the whole body, whether the message ended exactly there) when it came with the head; None when not."""
    length = head.framing.length
    if method == "HEAD":
        # [SECURITY] ResponseDesync: backends that send the body of a HEAD all the same may do so in a later packet,
        # which the next request would take for its answer. Only where none was announced none can be on its way.
        return [], not rest and length == 0
    if head.status in NO_BODY_STATUSES:
        return [], not rest
    if length is not None:
        return ([rest[:length]], len(rest) == length) if len(rest) >= length else None
    if not head.framing.chunked or not rest.endswith(b"0\r\n\r\n"):
        return None
    reader = ChunkReader(ANY_TRAILER)
    try:
        pieces, stop = reader.feed(rest, 0, len(rest))
    except ChunkError:
        return None  # found again, and reported, while streaming
    return (list(pieces), stop == len(rest)) if reader.done else None
