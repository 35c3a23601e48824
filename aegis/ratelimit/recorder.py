"""Lines appended to a file by a thread of its own: a full disk, a bad path or a hung mount costs no request.

What cannot be written is dropped and said once. Knows nothing of what the lines mean.
"""

import contextlib
import logging
import os
from collections import deque
from functools import partial
from typing import Final

from aegis.logs.writer import open_log
from aegis.thread import SingleThread

log = logging.getLogger("aegis")

KEPT: Final = 1024
"""Most lines that wait, while the thread is stuck; the oldest go first."""

LAST_CHANCE: Final = 1.0
"""Seconds that an exit or a hand-over waits for a stuck disk."""


class Recorder:
    """`put` is cheap and never waits; `flush` runs as a job and opens the file when it has to. path: "" is off.

    The thread is its own, not the log's: a stuck reader of the log is no reason to lose the record, nor the reverse.
    """

    def __init__(self, path: str, thread: SingleThread) -> None:
        self.dropped = 0
        self._path = path
        self._lines: deque[bytes] = deque(maxlen=KEPT)
        self._thread = thread
        self._descriptor = -1
        self._stale = bool(path)  # the file has to be opened, or opened again
        self._failing = False

    def __repr__(self) -> str:
        state = "off" if not self._path else "failing" if self._failing else "recording"
        return f"<Recorder {state} {self._path!r} {len(self._lines)} waiting {self.dropped} dropped>"

    def put(self, line: bytes) -> None:
        """Queue a line, its LF included."""
        if self._path:
            self.dropped += len(self._lines) == KEPT
            self._lines.append(line)

    def flush(self) -> None:
        """Write what waits; blocks the calling greenlet only. A call while another one writes does nothing."""
        if self._begin():
            self._thread.wait()

    def _begin(self) -> bool:
        """Hand what waits to the thread, if it is idle; whether there was something to do."""
        if self._thread.busy or not (self._lines or self._stale):
            return False
        lines, count = b"".join(self._lines), len(self._lines)
        self._lines.clear()
        self._thread.start(partial(self._write, self._path, lines), partial(self._written, count))
        return True

    def _written(self, count: int, error: OSError | None) -> None:
        if error is not None:
            self._failed(error, count)
        elif count:  # that it opens says nothing of whether the disk is full
            self._worked()

    def reopen(self) -> None:
        """Go on in a new file under the same name with the next flush, after a rotation."""
        self._stale = self._stale or bool(self._path)

    def reconfigure(self, path: str) -> None:
        """Go on under another path with the next flush."""
        if path != self._path:
            self._path, self._stale, self._failing = path, True, False

    def settle(self) -> None:
        """Write the rest, but do not let a stuck disk hold up an exit or a hand-over for more than a second."""
        self._thread.settle(LAST_CHANCE, lambda: bool(self._lines) and self._begin())

    def _failed(self, error: OSError, count: int) -> None:
        self.dropped += count
        self._stale = True  # a path may become right, a disk may be exchanged
        if not self._failing:
            log.warning(
                "adaptive.record: %s: %s; decisions are not recorded until that is put right",
                self._path,
                error.strerror or error,
            )
        self._failing = True

    def _worked(self) -> None:
        if self._failing:
            log.info("adaptive.record: %s can be written again", self._path, extra={"lines_lost": self.dropped})
        self._failing = False

    # in the thread

    def _write(self, path: str, lines: bytes) -> OSError | None:
        """The failure is returned: gevent would print to stderr what a task raises, too."""
        try:
            if self._stale:
                self._stale = False
                self._open(path)
            if lines and self._descriptor >= 0:
                _append(self._descriptor, lines)
        except OSError as error:
            return error
        return None

    def _open(self, path: str) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if path:
            self._descriptor = open_log(path)


def _append(descriptor: int, lines: bytes) -> None:
    """All of it or nothing: half a line would make the record unreadable."""
    size = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, lines)
        while written < len(lines):
            written += os.write(descriptor, lines[written:])
    except OSError:
        with contextlib.suppress(OSError):  # a device or a pipe has nothing to cut off
            os.ftruncate(descriptor, size)
        raise
