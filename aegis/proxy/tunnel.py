"""A WebSocket tunnel: bytes both ways between a client and the backend that answered 101.

Knows nothing of frames: what the two say to each other is not looked at.
"""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Final

import gevent

from aegis.context import RequestContext
from aegis.net.deadlines import NEVER, Deadlines
from aegis.reasons import BackendError, ClientGoneError, Reason

if TYPE_CHECKING:
    from aegis.net.stream import Stream

PIECE: Final = 256 * 1024
"""Most bytes that are moved at once and that a direction holds for a slow reader; 64 KiB move at 0.6 of the speed."""


class _OverError(Exception):
    """Ends the waits of a tunnel that is over."""


class _Side:
    """One end. taken: bytes that were handed to it. ended: it said that it sends no more."""

    __slots__ = ("ended", "stream", "taken")

    def __init__(self, stream: "Stream") -> None:
        self.stream = stream
        self.taken = 0
        self.ended = False


class WebSocketTunnel:
    """Two directions, each a greenlet that reads only when what it read before was taken.

    An end of either side goes on to the other as a half-close; the tunnel is over when both have ended. A side that
    breaks off ends it at once, and the other sees a reset. `deadline` moves with every byte in either direction.
    `done` is called once and gives the backend's connection back.
    """

    def __init__(
        self,
        context: RequestContext,
        backend: "Stream",
        early: bytes,
        patience: float,
        deadlines: Deadlines,
        done: Callable[[], None],
    ) -> None:
        self._context = context
        self._backend = _Side(backend)
        self._early = early  # came behind the 101
        self._patience = patience  # seconds of silence in both directions together
        self._deadlines = deadlines
        self._done: Callable[[], None] | None = done
        self._sides: tuple[_Side, ...] = ()
        self._ended = False
        self._failure: BackendError | ClientGoneError | None = None
        self.deadline = NEVER

    def __repr__(self) -> str:
        return f"<WebSocketTunnel {self._context.id} {'/'.join(str(side.taken) for side in self._sides) or 'new'}>"

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def run(self, stream: "Stream", leftover: bytes) -> None:
        """As context.Tunnel."""
        client, backend = _Side(stream), self._backend
        self._sides = client, backend
        # Here a client that ends its sending half has not left.
        stream.on_event = None
        self._context.waits_on = self
        self._moved()
        self._deadlines.streams.add(self)
        toward_client = gevent.spawn(self._carry, backend, client, self._early)
        try:
            self._carry(client, backend, leftover)
            toward_client.get()
        finally:
            self._context.waits_on = None
            self._deadlines.streams.discard(self)
            toward_client.kill()
            self._context.bytes_in, self._context.bytes_out = backend.taken, client.taken
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """As context.Tunnel: the backend's connection ends with the tunnel."""
        if self._done is not None:
            done, self._done = self._done, None
            done()

    def _moved(self) -> None:
        self.deadline = monotonic() + self._patience

    def _carry(self, source: _Side, sink: _Side, piece: "bytes | memoryview") -> None:
        """Move bytes one way until the source ends, `piece` first; then the sink is told."""
        at = sink
        try:
            while not self._ended:  # it may be over before the second direction has begun
                if piece:
                    at, size = sink, len(piece)
                    # The tunnel has one deadline for all its waits. The piece is a view that does not outlive one.
                    sink.stream.send_all(piece, NEVER)
                    sink.taken += size
                    self._moved()
                at = source
                piece = source.stream.read_piece(PIECE)
                self._moved()
                if not piece:
                    source.ended = True
                    sink.stream.end_sending()
                    return
        except _OverError:
            pass
        except OSError as error:
            self._break_off(at, error)
        except Exception:
            self._call_over()  # a bug: one direction alone is no tunnel
            raise

    # the ends that are none

    def _break_off(self, side: _Side, error: OSError) -> None:
        """A side reset its connection: the other is told by a reset too, and who it was goes into the log.

        A side that had ended before took its leave in two steps: nothing more can come from it, and what is still
        on its way to it is lost as it would be without us.
        """
        client, backend = self._sides
        if self._failure is None and not side.ended:
            if side is client:
                backend.stream.reset_on_close()
                self._failure = ClientGoneError(str(error))
            else:
                self._failure = BackendError(Reason.BACKEND_ABORTED, str(error))
        self._call_over()

    def _call_over(self) -> None:
        self._backend.stream.call_soon(self._over)

    # in the hub

    def _over(self) -> None:
        self._ended = True
        for side in self._sides:
            side.stream.throw(_OverError())

    def expire(self) -> None:
        """Run by the hub: end a tunnel that was silent for too long."""
        if self.deadline > monotonic():
            return
        self.deadline = NEVER
        self._context.detail = f"silent for {self._patience:g} s"
        self._over()

    def throw(self, error: BaseException) -> None:
        """As context.Waiting. It ends as cleanly as it can: both sides are told by a close."""
        self._context.detail = str(error)
        self._over()
