"""One socket, one persistent read watcher: how everything in Aegis waits for bytes.

Knows nothing of HTTP. gevent's own socket calls try first and wait after, which costs an EAGAIN, a Waiter, a failing
`epoll_ctl` and a `getsockopt` each time: twice the processor time of a whole request.
"""

import _socket
import contextlib
import socket
from collections.abc import Callable
from fcntl import ioctl
from sys import byteorder
from termios import TIOCOUTQ
from time import monotonic
from typing import Any, Final

from gevent import getcurrent
from gevent.hub import get_hub

from aegis.net.deadlines import NEVER, Deadlines
from aegis.net.outbox import UnaskedError, asking, empty, outbox
from aegis.net.pace import Pace
from aegis.reasons import DeadlinePassedError

READ: Final = 1
WRITE: Final = 2

PIECE: Final = 512 * 1024
"""Most bytes of a body that are moved at once."""

_scratch: Final = memoryview(bytearray(PIECE))
"""One buffer for every body of the process: it stays in the processor's cache, and a slow peer holds none of it."""

WIDE: Final = 512 * 1024
"""Unsent bytes that the kernel may hold for a peer that has shown that it takes them."""


class Stream:
    """A non-blocking socket with one reader and one writer at most, each a greenlet.

    `armed`: the read watcher runs. `deadline` (on the clock `now`, seconds) bounds whatever wait is under way; the
    sweep enforces it. `on_event` is called in the hub when the socket turns readable (or the deadline passes) while no
    greenlet waits: a pooled connection that its backend closes, a client that leaves. It must not block and not raise.
    """

    __slots__ = (
        "_deadlines",
        "_draining",
        "_hub",
        "_pacing",
        "_shelved",
        "_stall",
        "_watcher",
        "_write_watcher",
        "armed",
        "deadline",
        "on_event",
        "pace",
        "pending",
        "reader",
        "recv",
        "recv_into",
        "send",
        "sent_at",
        "sock",
        "wide",
        "writer",
    )

    def __init__(self, sock: "_socket.socket", deadlines: Deadlines) -> None:
        hub = get_hub()
        sock.setblocking(False)
        self.sock = sock
        self.recv: Callable[..., bytes] = sock.recv
        self.recv_into: Callable[..., int] = sock.recv_into
        self.send: Callable[..., int] = sock.send
        self.deadline = NEVER
        self.reader: Any = None
        self.writer: Any = None
        self.on_event: Callable[[], None] | None = None
        self.wide = False
        self.pending = b""  # to be sent at the end of this turn, or as soon as the kernel takes it
        self.sent_at = 0.0  # when the last bytes were handed to the kernel
        self.pace: Pace | None = None  # of the body under way; whoever begins one takes the last one's off
        self._pacing = False  # a wait for the peer to take bytes is under way
        self._draining = False
        self._shelved = NEVER  # the deadline that was in force when draining began
        self._stall = 0.0  # seconds in which the peer must take what the kernel did not
        self._hub = hub
        self.armed = False
        self._watcher = hub.loop.io(sock.fileno(), READ)
        self._write_watcher: Any = None
        self._deadlines = deadlines
        deadlines.streams.add(self)

    @staticmethod
    def now() -> float:
        """The clock of deadlines, in seconds. Not the loop's own, which follows the wall clock when that is set."""
        return monotonic()

    def __repr__(self) -> str:
        waits = [name for name, greenlet in (("read", self.reader), ("write", self.writer)) if greenlet is not None]
        return f"<Stream fd={self.sock.fileno()} waits for {'+'.join(waits) or 'nothing'}>"

    # reading

    def wait_read(self) -> None:
        """Wait until the socket is readable. Raises DeadlinePassedError, or what `throw` was given."""
        self.watch()
        self.reader = getcurrent()  # whoever ends the wait clears it
        self._hub.switch()

    def read_some(self, size: int) -> bytes:
        """Up to `size` bytes as soon as any are there; b"" at the end of the stream. Raises OSError on a reset.

        Waits first: the bytes are practically never there yet, and between two pieces of a large body others get
        their turn (a loop that tries first gives 500 ms of p99 to everyone else).
        """
        while True:
            if not self.armed:
                self.watch()
            self.reader = getcurrent()
            self._hub.switch()  # as wait_read, without its call: this line runs twice per request
            try:
                recv = self.recv
                return recv(size)
            except BlockingIOError:
                continue

    def read_piece(self, most: int = PIECE) -> memoryview:
        """As read_some, but a view into a buffer that all streams share: valid until this greenlet waits again.

        `send_all` sends it on at once and keeps a copy only of what the other side does not take.
        """
        while True:
            self.wait_read()
            try:
                size = self.recv_into(_scratch[:most])
                return _scratch[:size]
            except BlockingIOError:
                continue

    def receive_now(self, size: int) -> bytes | None:
        """Up to `size` bytes without waiting; None when none are there, b"" at the end. Raises OSError on a reset."""
        try:
            return self.recv(size)
        except BlockingIOError:
            return None

    def peek(self) -> bytes | None:
        """The first byte that is there, left where it is; None when there is none, b"" when the peer has closed."""
        try:
            return self.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def spoke(self) -> bool:
        """Whether there are bytes, or the end, although nothing was asked."""
        return self.peek() is not None

    def _readable(self) -> None:
        reader = self.reader
        if reader is not None:
            self.reader = None
            reader.switch()
            return
        if self.on_event is not None:
            self.on_event()
        self.pause()  # level-triggered: without this the loop would spin until somebody reads

    def pause(self) -> None:
        """Stop watching for readability until the next wait."""
        if self.armed:
            self._watcher.stop()
            self.armed = False

    def watch(self) -> None:
        """Watch for readability, also while nobody waits, so that `on_event` is called."""
        if not self.armed:
            self._watcher.start(self._readable)
            self.armed = True

    # writing

    def send_soon(self, data: bytes, stall: float) -> None:
        """Send at the end of this turn of the loop, together with what all other streams have to say.

        One send between each two requests costs 8 to 25 % more processor time (decisions/0005). Does not wait, unless
        the peer has not taken what was sent before: then as send_all. A failure is found by whoever reads next.
        """
        if self._draining:
            self.send_all(data, stall)
        elif self.pending:
            self.pending += data
        else:
            self.pending = data
            self._stall = stall
            if not outbox:
                self._hub.loop.run_callback(empty)
            outbox.append(self)

    def ask_soon(self, data: bytes, stall: float) -> None:
        """As send_soon, where nothing may come before this is sent: whoever waits for the answer gets UnaskedError."""
        asking.append(self)
        self.send_soon(data, stall)

    def take_back(self) -> None:
        """Called when something came before all was sent. Raises UnaskedError when none was, and then none will be."""
        if not self._draining:
            self.pending = b""
            raise UnaskedError

    def keep_sending(self, data: bytes, sent: int, now: float) -> None:
        """In the hub: what the kernel did not take at once follows when it does. sent: bytes of `data` it took."""
        self.pending = data[sent:]
        self._draining = self._pacing = True
        pace = self.pace = Pace(self._stall)
        pace.accepted = sent
        pace.begin(now)
        self._shelved, self.deadline = self.deadline, pace.due
        self._writes().start(self._drain)

    def _drain(self) -> None:
        """In the hub: the kernel takes bytes again."""
        try:
            sent = self.send(self.pending)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self.pending)  # nobody is there to take the rest
        self.pending = self.pending[sent:]
        pace = self.pace
        if pace is not None:
            pace.took(self.now())
            pace.accepted = sent + (pace.accepted or 0)
        if not self.pending:
            self._stop_draining()

    def _stop_draining(self) -> None:
        self._draining = self._pacing = False
        self._write_watcher.stop()
        pace = self.pace
        if pace is not None and self.deadline == pace.due:
            # What bounded the wait for the peer's next word goes on, later by the time that the last word took.
            self.deadline = self._shelved + self.now() - pace.begun

    def _writes(self) -> Any:
        if self._write_watcher is None:
            self._write_watcher = self._hub.loop.io(self.sock.fileno(), WRITE)
        return self._write_watcher

    def send_all(self, data: bytes | memoryview, stall: float, sent: int | None = None) -> None:
        """Send everything. Raises OSError, DeadlinePassedError.

        stall: seconds that may pass without a byte taken. sent: bytes of the body so far, `data` among them, when it
        has to move at the lowest rate besides.
        """
        if self.pending:
            data, self.pending = b"".join((self.pending, data)), b""
            if self._draining:
                self._stop_draining()
        try:
            taken = self.send(data)
        except BlockingIOError:
            taken = 0
        self.sent_at = monotonic()
        if taken != len(data):
            # A view may be of the shared buffer, which others fill while we wait.
            rest = memoryview(data)[taken:] if isinstance(data, bytes) else memoryview(bytes(data[taken:]))
            self._send_rest(rest, stall, sent)

    def _send_rest(self, view: memoryview, stall: float, sent: int | None) -> None:
        before, now = self.deadline, self.now()
        pace = self.pace
        if pace is None or pace.stall != stall:
            pace = self.pace = Pace(stall)
        pace.begin(now)
        self._pacing = True
        self.deadline = pace.due
        try:
            while view:
                pace.accepted = None if sent is None else sent - len(view)
                self.wait_write()
                now = self.now()
                pace.took(now)
                try:
                    taken = self.send(view)
                    view = view[taken:]
                except BlockingIOError:
                    continue
        finally:
            self._pacing = False
            self.deadline = before
        self.sent_at = now

    def wait_write(self) -> None:
        """Wait until the socket takes bytes again. Raises as wait_read does."""
        self.writer = getcurrent()
        self._writes().start(self._writable)
        try:
            self._hub.switch()
        finally:
            self.writer = None
            if self._write_watcher is not None:
                self._write_watcher.stop()

    def _writable(self) -> None:
        writer = self.writer
        if writer is not None:
            self.writer = None
            writer.switch()

    def widen(self) -> None:
        """Let the kernel hold more unsent bytes (WIDE): for a peer that has shown that it takes them."""
        if not self.wide:
            self.wide = True
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, WIDE)

    # the end

    def expire(self) -> None:
        """Run by the hub for a late stream: end the wait, or tell the owner when nobody waits."""
        now, pace = self.now(), self.pace
        if self.deadline > now:
            return
        objection = ""
        # Only a look that is due is no end: others may have set a nearer or later deadline in the meantime.
        if self._pacing and pace is not None and self.deadline == pace.due:
            objection = pace.objection(now, self._queued())
            if not objection:
                self.deadline = pace.due
                return
        self.deadline = NEVER
        if self.reader is None and self.writer is None:
            if self.on_event is not None:
                self.on_event()
            return
        self.throw(DeadlinePassedError(objection))

    def _queued(self) -> int:
        """Bytes that the kernel holds and the peer has not acknowledged."""
        return int.from_bytes(ioctl(self.sock, TIOCOUTQ, b"\0\0\0\0"), byteorder)

    def throw(self, error: BaseException) -> None:
        """End the waits of this stream with `error`. Only from a hub callback, never from another greenlet."""
        waiting = self.reader, self.writer
        self.reader = self.writer = None
        for greenlet in waiting:
            if greenlet is not None:
                greenlet.throw(error)

    def call_soon(self, call: Callable[..., object], *args: Any) -> None:
        """Let the hub make this call in its next turn."""
        self._hub.loop.run_callback(call, *args)

    def end_sending(self) -> None:
        """Tell the peer that nothing more comes, while it may still send. Does nothing when it is gone."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def reset_on_close(self) -> None:
        """Let the close be a reset, so that the peer sees an abort and the kernel drops what was not sent."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def close(self) -> None:
        """Close the socket and its watchers. A second call does nothing."""
        self._deadlines.streams.discard(self)
        self.on_event = None
        self._pacing = False
        if self.pending:
            with contextlib.suppress(OSError):
                self.send(self.pending)  # said in this very turn
            self.pending = b""
        self._watcher.stop()
        self._watcher.close()
        self.armed = True  # nobody may start the closed watcher again
        if self._write_watcher is not None:
            self._write_watcher.stop()
            self._write_watcher.close()
            self._write_watcher = None
        self.sock.close()
