"""Log lines on their way out: a bounded queue, written in batches by a thread of its own.

A stalled reader of stdout, a full disk or a suspended terminal must never delay a request: lines are dropped, and
counted, instead.
"""

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from typing import Final

from aegis.thread import SingleThread, write_all

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

    def __init__(self, descriptor: int, thread: SingleThread) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._thread = thread
        self.before_flush: Callable[[], None] = _nothing
        self._lines: list[bytes] = []
        self._waiting = 0  # lines in `_lines`
        self._withholding = False
        self._retired: list[int] = []  # descriptors that the thread may still be writing to

    def __repr__(self) -> str:
        return f"<LogWriter fd={self._descriptor} {self._waiting} waiting {self.dropped} dropped>"

    def put(self, lines: bytes, count: int = 1) -> None:
        """Queue lines, each with its LF; dropped and counted when too many wait, let go while withheld."""
        if self._withholding:
            return
        if self._waiting + count > QUEUED:
            self.dropped += count
        else:
            self._lines.append(lines)
            self._waiting += count

    def flush(self) -> None:
        """Write what waits; blocks the calling greenlet only. A call while another one writes does nothing."""
        if self._begin():
            self._thread.wait()

    def _begin(self) -> bool:
        """Hand what waits to the thread, if it is idle; whether there was something to hand over."""
        if self._thread.busy:
            return False
        self.before_flush()
        self._waiting = 0
        batch, self._lines = b"".join(self._lines), []
        if not batch:
            return False
        self._close_retired()
        self._thread.start(partial(_write, self._descriptor, batch), self._written)
        return True

    def _written(self, lost: int) -> None:
        self.dropped += lost

    def withhold(self) -> None:
        """Let lines go from now on; waits until what is queued is written. For a terminal that shows something else."""
        self.before_flush()
        self._withholding = True  # first, or there would be no end while lines keep coming
        try:
            self._thread.settle(None, lambda: self._withholding and self._begin())
        except BaseException:  # as when the greenlet is killed: nobody would release it
            self._withholding = False
            raise

    def release(self) -> None:
        """Write lines again, from the next one on."""
        self.before_flush()
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
        self._thread.settle(patience, self._begin)

    def after_fork(self) -> None:
        """In the child, before anything else runs. A batch that was under way is lost."""
        self._thread.after_fork()

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
            write_all(descriptor, piece)
    except OSError:
        return lines.count(b"\n")
    return 0


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
