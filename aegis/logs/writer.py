"""Log lines on their way out: a bounded queue, written in batches by a thread of its own.

A stalled reader of stdout, a full disk or a suspended terminal must never delay a request: lines are dropped, and
counted, instead.
"""

import contextlib
import os
import select
import stat
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Final

import gevent
from gevent.threadpool import ThreadPool

if TYPE_CHECKING:
    from gevent.event import AsyncResult

QUEUED: Final = 65_536
"""Most lines that wait."""

PIPE_ATOMIC: Final = 4096
"""Bytes that a pipe takes in one piece, whoever else writes to it (POSIX PIPE_BUF)."""

STDERR: Final = 2
CUT: Final = b"...cut\n"
LAST_CHANCE: Final = 1.0


class LogWriter:
    """Queue of finished lines for one descriptor. `put` is cheap and never waits; `flush` runs as a job.

    before_flush: called first, so that whoever makes lines in batches brings what there is.
    """

    def __init__(self, descriptor: int, threads: ThreadPool) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._threads = threads
        self.before_flush: Callable[[], None] = _nothing
        self._lines: list[bytes] = []
        self._waiting = 0  # lines in `_lines`
        self._result: AsyncResult[int] | None = None  # of the last batch
        self._withholding = False
        self._retired: list[int] = []  # descriptors that the thread may still be writing to

    def __repr__(self) -> str:
        return f"<LogWriter fd={self._descriptor} {self._waiting} waiting {self.dropped} dropped>"

    @property
    def _writing(self) -> bool:
        """The thread has a batch, even when the greenlet that brought it is gone."""
        return self._result is not None and not self._result.ready()

    def put(self, lines: bytes, count: int = 1) -> None:
        """Queue lines, each with its LF; dropped and counted when too many wait."""
        if self._waiting + count > QUEUED:
            self.dropped += count
        else:
            self._lines.append(lines)
            self._waiting += count

    def flush(self) -> None:
        """Write what waits; blocks the calling greenlet only. A call while another one writes does nothing."""
        if self._writing:
            return
        self.before_flush()
        if not self._lines:
            return
        self._waiting = 0
        batch, self._lines = b"".join(self._lines), []
        if self._withholding:
            return
        self._close_retired()
        self._result = self._threads.spawn(_write, self._descriptor, batch)
        self._result.rawlink(self._written)
        self._result.get()

    def _written(self, result: "AsyncResult[int]") -> None:
        self.dropped += result.value or 0

    def withhold(self) -> None:
        """Let lines go from now on; what is queued is still written. For a terminal that shows something else."""
        self.flush()
        while self._writing or self._lines:
            gevent.sleep(0.01)
            self.flush()
        self._withholding = True

    def release(self) -> None:
        """Write lines again, from the next one on."""
        self.flush()
        self._withholding = False

    def reopen(self, path: str) -> None:
        """Go on in a new file under the old name, after a rotation. Raises OSError; then the old one stays."""
        fresh = open_log(path)
        os.dup2(fresh, self._descriptor, inheritable=False)  # atomic: the thread may be writing
        os.close(fresh)

    def redirect(self, descriptor: int) -> None:
        """Write to another descriptor from the next batch on. The old one is closed, unless it is a standard stream."""
        if self._descriptor > STDERR:
            self._retired.append(self._descriptor)
        self._descriptor = descriptor

    def settle(self, patience: float = LAST_CHANCE) -> None:
        """Write the rest; a stuck reader holds up an exit or a hand-over for no more than `patience` seconds."""
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(patience):
            self.flush()
            while self._writing or self._lines:
                gevent.sleep(0.001)
                self.flush()

    def after_fork(self) -> None:
        """In the child, before anything else runs: go on with a thread of its own.

        gevent gives a pool its threads back in the next turn of the loop. A batch that was handed over before would
        never be written, and its greenlet, with all later batches, would wait for it until the end.
        """
        self._threads = ThreadPool(self._threads.maxsize)
        self._result = None

    def _close_retired(self) -> None:
        while self._retired:
            os.close(self._retired.pop())


def open_log(path: str) -> int:
    """A descriptor that appends to the file, made when missing and readable by its group only. Raises OSError."""
    # Not blocking: to open a FIFO that nobody reads would hold the whole loop until somebody does.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)


def _nothing() -> None:
    pass


def _write(descriptor: int, lines: bytes) -> int:
    """In the thread: write the lines, return how many were lost because nobody can read them any more."""
    try:
        pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        for piece in _atomic(lines) if pipe else (lines,):
            _write_all(descriptor, piece)
    except OSError:
        return lines.count(b"\n")
    return 0


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # somebody made the shared descriptor non-blocking
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()


def _atomic(lines: bytes) -> Iterator[bytes]:
    """Whole lines in pieces that a pipe takes at once, so that workers sharing one never mix theirs."""
    piece = b""
    for line in BytesIO(lines):
        whole = line if len(line) <= PIPE_ATOMIC else line[: PIPE_ATOMIC - len(CUT)] + CUT
        if len(piece) + len(whole) > PIPE_ATOMIC:
            yield piece
            piece = b""
        piece += whole
    if piece:
        yield piece
