"""A restart under the same PID: the old image goes on as a child and drains, the parent becomes the new image.

The listeners pass over open, so that no connection is refused. Knows no configuration and no HTTP.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from time import monotonic
from typing import Final

import gevent
import gevent.os
import msgspec
from gevent import monkey

log = logging.getLogger(__name__)

VARIABLE: Final = "AEGIS_HANDOVER"

# gevent's leaves it to a loop, which the parent of several processes has not.
close: Final = monkey.get_original("os", "close")
_waitpid: Final = monkey.get_original("os", "waitpid")

CHECK_PATIENCE: Final = 60.0
"""Seconds that the check of a new image may take: it resolves names."""

LOOK: Final = 0.02
"""Seconds from one look to the next whether it is over."""

MOST_SAID: Final = 64 * 1024
"""Bytes of what a program says that are kept."""


class Handed(msgspec.Struct, frozen=True, kw_only=True):
    """What an image leaves to the next one, as descriptors and PIDs."""

    listeners: dict[str, int] = {}  # name → descriptor of a listening socket
    ready: int = -1  # a byte written here says that the new image serves; its end without one, that it failed
    old: tuple[int, ...] = ()  # images that still drain; they are children of this process

    def listener(self, name: str) -> socket.socket | None:
        """The listening socket of that name."""
        descriptor = self.listeners.get(name)
        if descriptor is None:
            return None
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
        listener.setblocking(False)
        return listener

    def close_rest(self, *taken: str) -> None:
        """Close the listeners that nobody has a use for any more; those in `taken` have one."""
        for name, descriptor in self.listeners.items():
            if name not in taken:
                close(descriptor)

    def say_ready(self) -> None:
        """Tell the old image that it may stop accepting."""
        if self.ready >= 0:
            with contextlib.suppress(OSError):  # it was killed: nobody has to be told
                os.write(self.ready, b"1")
            close(self.ready)


def received(environ: MutableMapping[str, str]) -> Handed:
    """What the image before this one left; nothing at an ordinary start. Children of ours do not see it again."""
    text = environ.pop(VARIABLE, "")
    if not text:
        return Handed()
    handed = msgspec.json.decode(text, type=Handed)
    if handed.ready >= 0:
        os.set_inheritable(handed.ready, False)
    return handed


class Ready:
    """The old image's end of the pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def wait(self) -> bool:
        """Wait until the new image serves; False when it ended without."""
        gevent.os.make_nonblocking(self._descriptor)
        try:
            return bool(gevent.os.nb_read(self._descriptor, 1))
        finally:
            close(self._descriptor)


def hand_over(listeners: Mapping[str, socket.socket], environ: Mapping[str, str], old: Iterable[int]) -> Ready:
    """Fork and exec, with all signals held. Returns in the child alone, the old image, which goes on as it was.

    Raises OSError when there is no new image to exec; then nothing has changed.
    """
    theirs, ours = os.pipe()
    try:
        child = gevent.os.fork()
    except OSError:
        close(theirs)
        close(ours)
        raise
    if not child:
        close(ours)
        return Ready(theirs)
    close(theirs)
    try:
        replace(listeners, environ, (*old, child), ready=ours)
    except OSError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        close(ours)
        raise
    raise AssertionError("an exec returned")


def replace(
    listeners: Mapping[str, socket.socket], environ: Mapping[str, str], old: Iterable[int], *, ready: int = -1
) -> None:
    """Become the program as it is on disk now. Returns never; raises OSError when there is none."""
    descriptors = {name: sock.fileno() for name, sock in listeners.items()}
    handed = Handed(listeners=descriptors, ready=ready, old=tuple(old))
    inherited = [*descriptors.values(), *([ready] if ready >= 0 else [])]
    try:
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        os.execve(sys.executable, command(), {**environ, VARIABLE: msgspec.json.encode(handed).decode()})  # noqa: S606 - our own program
    except OSError:
        for descriptor in inherited:
            os.set_inheritable(descriptor, False)
        raise


class Check:
    """A program that was started to check something. No loop watches it: not every process has one.

    Raises OSError when it cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._said = os.memfd_create("aegis-said", os.MFD_CLOEXEC)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, self._said, 2),
        ]
        start = monkey.get_original("os", "posix_spawn")
        try:
            # Signals that we hold are not to be held there: it could not be told to stop.
            self.pid = int(start(command[0], command, os.environ, file_actions=actions, setsigmask=()))
        except OSError:
            close(self._said)
            raise
        self._deadline = monotonic() + CHECK_PATIENCE
        self._late = False  # it was killed for that

    def __repr__(self) -> str:
        return f"<Check {self.pid}>"

    def kill(self) -> None:
        """End it. Its PID has to be waited for all the same."""
        os.kill(self.pid, signal.SIGKILL)

    def kill_if_late(self) -> None:
        """End it if it has had its time."""
        if monotonic() >= self._deadline:
            self._late = True
            self.kill()

    def wait(self) -> int:
        """Its exit code, once it has ended or had its time. Blocks the calling greenlet only."""
        while True:
            ended, status = _waitpid(self.pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            self.kill_if_late()
            gevent.sleep(LOOK)

    def objection(self, code: int) -> str:
        """That it took too long, or what it said on stderr, or what its exit code means; "" when that is 0.

        To be asked once.
        """
        said = os.pread(self._said, MOST_SAID, 0).decode(errors="replace").strip()
        close(self._said)
        if not code:
            return ""
        if self._late and code == -signal.SIGKILL:
            return "the check took too long"
        return said or f"the check ended with {code}"


def command() -> list[str]:
    """How this program was started, to start it again as it is on disk now."""
    return [sys.executable, *sys.orig_argv[1:]]


class OldImages:
    """The images that still drain, children of this process. `reap` runs as a job."""

    def __init__(self, children: Iterable[int] = ()) -> None:
        self.children = set(children)

    def __repr__(self) -> str:
        return f"<OldImages {sorted(self.children)}>"

    def reap(self) -> None:
        """Forget those that have ended, so that no zombie stays."""
        for child in list(self.children):
            ended, status = _waitpid(child, os.WNOHANG)
            if ended:
                self.children.discard(child)
                log.info("the old image has ended", extra={"pid": child, "exit": os.waitstatus_to_exitcode(status)})

    def left(self) -> int:
        """How many have not ended yet."""
        self.reap()
        return len(self.children)
