"""A terminal within the terminal: a program runs on all but the last lines, which are ours."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence

QUIET = 0.05  # seconds without output after which no escape sequence is half-way through
LEAST = 12  # rows that the program keeps; on a smaller terminal it has them all


class Stage:
    """Runs one command on a pseudo-terminal. Keys go to `on_key` first; what it does not take goes to the program."""

    def __init__(self, command: Sequence[str], cwd: str, lines: int, env: dict[str, str] | None = None) -> None:
        self.lines = lines
        self.master, slave = pty.openpty()
        self.resize()
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=_lead_a_session,  # noqa: PLW1509 - no thread yet
        )
        os.close(slave)
        self._up = False  # the program has the alternate screen

    @property
    def ours(self) -> int:
        """How many lines are left for us."""
        return self.lines if os.get_terminal_size(1).lines - self.lines >= LEAST else 0

    def resize(self) -> None:
        size = os.get_terminal_size(1)
        rows = size.lines - self.ours
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, size.columns, 0, 0))

    def run(self, on_key: Callable[[str], bool], below: Callable[[int], list[str]]) -> int:
        """Until the program ends; its exit code. below: the lines for that many columns."""
        before = signal.signal(signal.SIGWINCH, lambda *_: self.resize())
        try:
            with _every_key():
                while self._turn(on_key, below):
                    pass
        finally:
            signal.signal(signal.SIGWINCH, before)
        return self.process.wait()

    def _turn(self, on_key: Callable[[str], bool], below: Callable[[int], list[str]]) -> bool:
        ready, _, _ = select.select([0, self.master], [], [], QUIET)
        if 0 in ready:
            data = os.read(0, 1024)
            if not data or not on_key(data.decode(errors="replace")):
                os.write(self.master, data)
        if self.master in ready:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the program has ended
                return False
            self._up = data.rfind(b"\x1b[?1049h") > data.rfind(b"\x1b[?1049l") or (
                self._up and b"\x1b[?1049l" not in data
            )
            _write(data)
        elif self._up:
            self._draw(below)
        return True

    def _draw(self, below: Callable[[int], list[str]]) -> None:
        size = os.get_terminal_size(1)
        texts = below(size.columns)[: self.ours]
        first = size.lines - self.ours + 1
        _write(b"".join(f"\x1b[{first + row};1H\x1b[2m{text}\x1b[m\x1b[K".encode() for row, text in enumerate(texts)))


def _lead_a_session() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def _every_key() -> Iterator[None]:
    """Ctrl-C and the like are for the program."""
    saved = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSANOW)
    try:
        yield
    finally:
        sys.stdout.flush()
        termios.tcsetattr(0, termios.TCSANOW, saved)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
