"""The terminal: modes, signals, keys and size, and all of it given back at the end. The only place that knows blessed.

Nothing here waits for the terminal's output: termios changes take effect at once and never wait for a stalled one to
drain, and no question is asked whose answer would have to be awaited.
"""

import codecs
import locale
import os
import select
import signal
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from blessed import Terminal as Blessed

from aegis.tui.modes import INPUT, OUTPUT, key_by_key
from aegis.tui.painter import Looks
from aegis.tui.styles import LOOKS, Style
from aegis.tui.text import Size

IGNORED: Final = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
"""A stopped proxy serves nobody: while the dashboard is up, the terminal may not stop it."""


class Keyboard(Blessed):
    """blessed with a keyboard of ours.

    On stdout blessed would ask the terminal for its capabilities and wait up to 5 s for the answer; on another stream
    it asks nothing, and reads keys through `kbhit` and `getch`.
    """

    def __init__(self) -> None:
        super().__init__(stream=open(OUTPUT, "w", closefd=False))  # noqa: SIM115 - as long-lived as the terminal
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def kbhit(self, timeout: float | None = None) -> bool:
        """Whether a key waits to be read; waits for one up to `timeout` seconds."""
        return bool(select.select([INPUT], [], [], timeout)[0])

    def getch(self, decode_latin1: bool = False) -> str:  # noqa: FBT001, FBT002 - blessed's own signature
        """One character; "" in the middle of one. Raises EOFError and OSError when the terminal is gone."""
        byte = os.read(INPUT, 1)
        if not byte:
            raise EOFError
        return chr(byte[0]) if decode_latin1 else self._decode(byte)


class Terminal:
    """The screen while the dashboard is up: `enter`, `leave`, keys and size in between."""

    def __init__(self, *, suspends: bool = False) -> None:
        """`suspends` keeps Ctrl-Z: the program is one that may be stopped."""
        self._screen = _blessed()
        self._suspends = suspends
        self._saved: list[Any] | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self.looks = _looks(self._screen)

    def __repr__(self) -> str:
        return f"<Terminal {self._screen.kind} {'ours' if self._saved else 'not ours'}>"

    @property
    def opening(self) -> bytes:
        """What the terminal has to be sent at the start."""
        return self.looks.encode(self._screen.enter_fullscreen + self._screen.hide_cursor)

    @property
    def closing(self) -> bytes:
        """What it has to be sent at the end."""
        screen = self._screen
        return self.looks.encode(screen.normal + screen.normal_cursor + screen.exit_fullscreen)

    def enter(self) -> None:
        """Take the terminal's modes. Raises OSError (termios.error is turned into one) when it is gone."""
        with _as_oserror():
            if self._saved is None:
                self._saved = termios.tcgetattr(INPUT)
                for number in () if self._suspends else IGNORED:
                    self._handlers[number] = signal.signal(number, signal.SIG_IGN)
            termios.tcsetattr(INPUT, termios.TCSANOW, key_by_key(self._saved))

    def leave(self) -> None:
        """Give the modes back as they were. Raises OSError when the terminal is gone."""
        saved, self._saved = self._saved, None
        try:
            if saved is not None:
                with _as_oserror():
                    # TCSANOW: TCSADRAIN, which blessed's own way out uses, waits for ever on a stalled terminal.
                    termios.tcsetattr(INPUT, termios.TCSANOW, saved)
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers.clear()

    def stop_here(self) -> None:
        """Let the shell have the terminal until it brings us back (Ctrl-Z and fg)."""
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when the shell continues us
        signal.signal(signal.SIGTSTP, handler)

    def size(self) -> Size:
        """Its size now; raises OSError when it is gone."""
        columns, rows = os.get_terminal_size(OUTPUT)
        return Size(columns or 80, rows or 24)  # 0 × 0: whoever made the pty said nothing

    def key(self, timeout: float) -> str:
        """The next key by its name, "" when none came in time. Raises EOFError or OSError when nobody is there."""
        pressed = self._screen.inkey(timeout=timeout)
        return pressed.name or str(pressed)


@contextmanager
def _as_oserror() -> Iterator[None]:
    try:
        yield
    except termios.error as error:
        raise OSError(*error.args) from error


def _blessed() -> Keyboard:
    # NO_COLOR switches off every sequence of blessed, cursor movements too; it means no colour.
    colourless = os.environ.pop("NO_COLOR", None)
    try:
        screen = Keyboard()
    finally:
        if colourless is not None:
            os.environ["NO_COLOR"] = colourless
    if colourless:
        screen.number_of_colors = 0
    return screen


def _looks(screen: Keyboard) -> Looks:
    sequences: Mapping[Style, str] = {
        style: "".join(str(getattr(screen, name)) for name in names) for style, names in LOOKS.items()
    }
    encoding = locale.getencoding().lower()
    return Looks(
        styles=sequences,
        normal=str(screen.normal),
        clear=str(screen.clear),
        clear_line=str(screen.clear_eol),
        move=lambda column, row: str(screen.move_xy(column, row)),
        encoding="utf-8" if encoding in {"utf-8", "utf8"} else encoding,
    )
