"""Lines → the bytes of one frame, only what changed; and the thread that writes them, so that a terminal may stall.

Knows neither snapshots nor keys, and asks the terminal nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from aegis.thread import SingleThread, write_all
from aegis.tui.styles import Style
from aegis.tui.text import Line, Size, width

PATIENCE: Final = 0.5
"""Seconds that the last bytes of a dashboard may take; a terminal that is stuck then does not hold up a stop."""

ASCII: Final = str.maketrans("▁▂▃▄▅▆▇█▸·…–×→↑↓", "..::--##>.~-x>^v")
"""What stands for the signs of the panels where the terminal does not speak UTF-8. One cell for one cell."""


class Looks:
    """The sequences of one kind of terminal."""

    def __init__(
        self,
        *,
        styles: Mapping[Style, str],
        normal: str,
        clear: str,
        clear_line: str,
        move: Callable[[int, int], str],
        encoding: str = "utf-8",
    ) -> None:
        self.styles = styles
        self.normal = normal
        self.clear = clear
        self.clear_line = clear_line
        self.move = move  # column, row
        self.encoding = encoding

    def encode(self, text: str) -> bytes:
        """The bytes that the terminal understands."""
        if self.encoding != "utf-8":
            text = text.translate(ASCII)
        return text.encode(self.encoding, "replace")


class Painter:
    """Remembers the frame handed over last and makes the difference to the next one."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._size = Size(0, 0)
        self._lines: Sequence[Line] = ()

    def __repr__(self) -> str:
        return f"<Painter {self._size.columns}×{self._size.rows}>"

    def forget(self) -> None:
        """Draw everything anew the next time: something else may have written on the screen."""
        self._size = Size(0, 0)

    def frame(self, lines: Sequence[Line], size: Size) -> bytes:
        """What turns the last frame into this one; b"" when nothing changed."""
        looks, fresh = self._looks, size != self._size
        pieces = [looks.normal, looks.clear] if fresh else []
        for row, line in enumerate(lines):
            if fresh or row >= len(self._lines) or line != self._lines[row]:
                pieces += [looks.move(0, row), self._styled(line)]
                # At the last column a terminal still stands on it: clearing to the end would take the last cell.
                if not fresh and width(line) < size.columns:
                    pieces.append(looks.clear_line)
        self._size, self._lines = size, lines
        return looks.encode("".join(pieces))

    def _styled(self, line: Line) -> str:
        looks = self._looks
        pieces = []
        for span in line:
            sequence = looks.styles[span.style]
            pieces.append(f"{sequence}{span.text}{looks.normal}" if sequence else span.text)
        return "".join(pieces)


class FrameWriter:
    """Writes to the terminal from a thread of its own, one frame at a time."""

    def __init__(self, descriptor: int, thread: SingleThread) -> None:
        self.lost: OSError | None = None  # the terminal is gone
        self._descriptor = descriptor
        self._thread = thread
        self._farewell = b""

    def __repr__(self) -> str:
        return f"<FrameWriter fd={self._descriptor} {'lost' if self.lost else 'busy' if self.busy else 'free'}>"

    @property
    def busy(self) -> bool:
        """The last frame is still on its way."""
        return self._thread.busy

    def write(self, data: bytes) -> None:
        """Hand a frame to the thread; only while it is not busy. Does not wait."""
        self._farewell = b""
        self._thread.start(partial(self._write, data), self._written)

    def close(self, data: bytes) -> bool:
        """Write the last bytes, after the frame that is on its way. False when the terminal did not take them."""
        self._farewell = data
        self._thread.settle(PATIENCE, self._begin_farewell)
        return not self._farewell

    def _begin_farewell(self) -> bool:
        """A frame that was on its way has taken it along."""
        if not self._farewell or self.lost is not None:
            return False
        self._thread.start(partial(self._write, b""), self._written)
        return True

    def _written(self, error: OSError | None) -> None:
        self.lost = self.lost or error

    def _write(self, data: bytes) -> OSError | None:
        """In the thread. A farewell that came while it was stuck goes out too, should the terminal wake up again."""
        try:
            write_all(self._descriptor, data)
            farewell, self._farewell = self._farewell, b""
            write_all(self._descriptor, farewell)
        except OSError as error:  # returned: the thread pool would print what is raised
            return error
        return None
