"""Which signal means what, and how it reaches the loop without ever being lost. Nothing of how it is done.

The signals are blocked for good, in every thread, and read from a descriptor: one that comes while the program is being
replaced stays pending until the next image reads it. A handler would have taken it with it.
"""

import ctypes
import os
import signal
import struct
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import gevent
from gevent.hub import get_hub

READ: Final = 1
RECORD: Final = 128
"""Bytes of struct signalfd_siginfo; the first four are the number."""


class Verbs(Protocol):
    """What signals ask of a process. Each call runs in a greenlet of its own, so it may wait."""

    def stop(self) -> None:
        """Drain and exit; a second time, exit at once."""

    def hangup(self) -> None:
        """Reload."""

    def reopen(self) -> None:
        """Go on in new files after a rotation."""

    def restart(self) -> None:
        """Let the program as it is on disk take over."""


SIGNALS: Final[Mapping[signal.Signals, str]] = {
    signal.SIGTERM: "stop",
    signal.SIGINT: "stop",
    signal.SIGQUIT: "stop",
    signal.SIGHUP: "hangup",  # reload, unless the terminal went away
    signal.SIGUSR1: "reopen",
    signal.SIGUSR2: "restart",
}


def hold() -> None:
    """Keep all of them pending from now on, for this thread and those it starts: call it before there are any.

    Whoever started us may have SIGCHLD ignored; then the kernel would keep nothing of how our children end.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


class Inbox:
    """Reads the signals as they come and calls the verbs."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self._descriptor = descriptor_of(SIGNALS)
        self._watcher = get_hub().loop.io(self._descriptor, READ)

    def __repr__(self) -> str:
        return f"<Inbox fd={self._descriptor}>"

    def open(self) -> None:
        """Begin, or go on after a pause, with those that came before."""
        self._watcher.start(self._read)

    def pause(self) -> None:
        """Leave those that come from now on pending, and return once every verb called before has begun."""
        self._watcher.stop()
        gevent.sleep(0)

    def close(self) -> None:
        """Let them be pending again."""
        self._watcher.stop()
        self._watcher.close()
        os.close(self._descriptor)

    def _read(self) -> None:
        try:
            records = os.read(self._descriptor, RECORD * len(SIGNALS))
        except BlockingIOError:
            return
        for number in numbers_in(records):
            gevent.spawn(getattr(self._verbs, SIGNALS[number]))


def numbers_in(records: bytes) -> list[signal.Signals]:
    """The signals that were read from a descriptor of `descriptor_of`."""
    return [signal.Signals(struct.unpack_from("=I", records, start)[0]) for start in range(0, len(records), RECORD)]


def descriptor_of(numbers: Iterable[int]) -> int:
    """A non-blocking descriptor from which these signals, which have to be blocked, can be read. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    # A set that is larger than the kernel's is read up to the kernel's size.
    mask = ctypes.create_string_buffer(128)
    if library.sigemptyset(mask) or any(library.sigaddset(mask, int(number)) for number in numbers):
        raise OSError(ctypes.get_errno(), "sigaddset")
    descriptor = int(library.signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return descriptor
