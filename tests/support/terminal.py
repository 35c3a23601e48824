"""A program on a pseudo-terminal of its own, and what a terminal emulator makes of its output."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import gevent
import pyte
import yaml

from tests.support.aegis_process import PACKAGE, environment
from tests.support.poll import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENTER_FULLSCREEN = b"\x1b[?1049h"
LEAVE_FULLSCREEN = b"\x1b[?1049l"
HIDE_CURSOR = b"\x1b[?25l"
SHOW_CURSOR = b"\x1b[?25h"


def _lead_a_session() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class TerminalProcess:
    """`with TerminalProcess([...]) as terminal`: leads a session whose terminal we are.

    Its stderr is a pipe by default, so that what it says there can be told apart; `errors=False` puts it on the screen.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        size: tuple[int, int] = (80, 24),
        env: Mapping[str, str] | None = None,
        errors: bool = True,
    ) -> None:
        self.command = list(command)
        self.env = {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | dict(env or {})
        self.received = bytearray()
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self._errors_apart = errors
        self._errors = bytearray()
        self._readers: list[gevent.Greenlet] = []
        self._reading = gevent.event.Event()
        self._reading.set()

    def __enter__(self) -> Self:
        self.master, slave = os.openpty()
        self.resize(self.screen.columns, self.screen.lines)
        self.modes = termios.tcgetattr(slave)
        kept = {name: value for name, value in environment().items() if name not in {"NO_COLOR", "COLORTERM"}}
        self.process = subprocess.Popen(
            self.command,
            cwd=PACKAGE,
            env=kept | self.env,
            stdin=slave,
            stdout=slave,
            stderr=subprocess.PIPE if self._errors_apart else slave,
            preexec_fn=_lead_a_session,  # noqa: PLW1509 - no other thread of a test holds a lock of ours
        )
        self.slave = slave  # kept open: its modes can be read after the program has ended
        self._readers.append(gevent.spawn(self._read))
        if self._errors_apart:
            self._readers.append(gevent.spawn(self._read_errors))
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.hang_up()
        if self.process.stderr is not None:
            self.process.stderr.close()

    # the person at the terminal

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def stall(self) -> None:
        """Read nothing any more, as an ssh connection that hangs."""
        self._reading.clear()

    def go_on(self) -> None:
        self._reading.set()

    def hang_up(self) -> None:
        """Close the terminal, as a killed ssh session does."""
        gevent.killall(self._readers)
        for descriptor in (self.slave, self.master):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        gevent.sleep(0.01)  # gevent closes at the next turn of its loop

    # what is seen

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    @property
    def errors(self) -> str:
        return self._errors.decode()

    def shows(self, words: str, within: float = 10.0) -> str:
        """The screen, once these words are on it."""
        try:
            eventually(lambda: words in self.text, f"{words!r} on the screen", within)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.text}\n{self.errors}") from None
        return self.text

    def hides(self, words: str, within: float = 10.0) -> None:
        eventually(lambda: words not in self.text, f"{words!r} gone from the screen", within)

    def colours(self) -> set[str]:
        return {cell.fg for row in self.screen.buffer.values() for cell in row.values()} - {"default"}

    def modes_now(self) -> list[Any]:
        return termios.tcgetattr(self.slave)

    def wait(self, within: float = 10.0) -> int:
        code = self.process.wait(within)
        gevent.sleep(0.1)  # what it said last
        return code

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def _read(self) -> None:
        while True:
            self._reading.wait()
            try:
                data = os.read(self.master, 65536) if self._readable() else None
            except OSError as error:
                if error.errno in {errno.EIO, errno.EBADF}:
                    return
                raise
            if data:
                self.received += data
                self._stream.feed(data)

    def _readable(self) -> bool:
        from gevent import select  # the patched one of the stdlib has no say about this descriptor

        return bool(select.select([self.master], [], [], 0.05)[0])

    def _read_errors(self) -> None:
        for line in self.process.stderr:
            self._errors.extend(line)


class AegisTerminal(TerminalProcess):
    """The real program with its dashboard on such a terminal."""

    def __init__(self, config: Mapping[str, Any], *arguments: str, **options: Any) -> None:
        self.config = config
        self.address = (config["server"]["host"], config["server"]["port"])
        self._directory = tempfile.TemporaryDirectory(prefix="aegis-test-")
        self.path = Path(self._directory.name) / "aegis.yml"
        self.path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        super().__init__([sys.executable, "-m", "aegis", "--config", str(self.path), *arguments], **options)

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self._directory.cleanup()

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()
