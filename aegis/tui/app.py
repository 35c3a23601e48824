"""The loop of the dashboard: look, paint, wait for a key. Knows of the program only the verbs of `Control`.

Runs in one greenlet. Every write goes through the frame thread, so that a terminal that nobody reads costs frames,
never a request. However it ends, the terminal is given back as it was.
"""

import contextlib
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from time import monotonic
from typing import Final

import gevent

from aegis.control import Control, VerbError
from aegis.events import Event
from aegis.metrics.snapshot import Snapshot
from aegis.thread import SingleThread
from aegis.tui.keys import Key, table
from aegis.tui.modes import OUTPUT, in_foreground
from aegis.tui.painter import FrameWriter, Painter
from aegis.tui.panels.screen import Picture, screen
from aegis.tui.terminal import Terminal
from aegis.tui.view import Act, Order, View, press, question_of, settle

LONGEST_WAIT: Final = 0.5
"""Seconds after which the loop looks around even if no key came: whether the terminal is still there."""

EVENTS_KEPT: Final = 256
NOTE: Final = 5.0
"""Seconds that the outcome of an order stands where the keys are."""


class End(Enum):
    """Why the dashboard is over."""

    QUIT = "q was pressed"
    LOST = "the terminal is gone"


class WaitingError(Exception):
    """There is no snapshot now; the words say what is waited for. Only a remote `Control` raises it."""


class Dashboard:
    """Paints what `control` shows, every `interval` seconds and after every key."""

    def __init__(
        self,
        control: Control,
        thread: SingleThread,
        *,
        interval: float,
        on_skip: Callable[[], None],
        remote: bool = False,
        read_only: bool = False,
    ) -> None:
        """thread: where frames are written; on_skip counts frames for which the terminal was not ready.

        remote: q and Ctrl-Z leave the instance alone.
        """
        self.interval = interval
        self._on_skip = on_skip
        self.keys: tuple[Key, ...] = table(remote=remote, read_only=read_only)
        self._control = control
        self._terminal = Terminal(suspends=remote)
        self._painter = Painter(self._terminal.looks)
        self._opening = self._terminal.opening  # goes out with the next frame
        self._writer = FrameWriter(OUTPUT, thread)
        self._suspends = remote
        self._view = View()
        self._snapshot: Snapshot | None = None
        self._events: Sequence[Event] = ()
        self._waiting = ""
        self._note_until = 0.0
        self._up = False
        self._owed = False  # a frame was skipped, and none was painted since

    def __repr__(self) -> str:
        return f"<Dashboard {'up' if self._up else 'down'} every {self.interval} s>"

    def run(self) -> End:
        """Until q or until the terminal is gone. Whatever ends it, a kill too, the terminal is restored before."""
        watchers = self._watch_signals()
        try:
            self._terminal.enter()
            self._up = True
            return self._loop()
        except (EOFError, OSError):
            return End.LOST
        finally:
            self._up = False
            for unwatch in watchers:
                unwatch()
            self._leave()

    def _loop(self) -> End:
        due = 0.0
        while self._writer.lost is None:
            now = monotonic()
            if now >= due:
                due = now + self.interval
                self.tick()
            pressed = self._terminal.key(min(LONGEST_WAIT, due - now))
            if pressed:
                order = self._press(pressed)
                if order is not None and order.act is Act.QUIT:
                    return End.QUIT
                self.paint()
            elif self._owed and not self._writer.busy:
                self.paint()  # a new size would else wait for the next refresh
        return End.LOST

    def tick(self) -> None:
        """Look at the program again and paint what is there."""
        self._look()
        self.paint()

    def paint(self) -> None:
        """Hand one frame to the thread; skip it, and count that, while the last one is still being written."""
        if not self._up or self._writer.lost is not None:
            return
        if self._writer.busy:
            self._owed = True
            self._on_skip()
            return
        self._owed = False
        size = self._terminal.size()
        data = self._painter.frame(screen(self._picture(), size), size)
        if data:
            self._writer.write(self._opening + data)
            self._opening = b""

    def _look(self) -> None:
        if monotonic() > self._note_until:
            self._view = replace(self._view, note="")
        if self._view.paused:
            return
        try:
            snapshot = self._control.snapshot()
            if self._snapshot is None or not snapshot.continues(self._snapshot):
                self._events = ()  # another process counts its events anew
            self._snapshot = snapshot
            after = self._events[-1].number if self._events else 0
            self._events = [*self._events, *self._control.events(after)][-EVENTS_KEPT:]
        except WaitingError as error:
            self._snapshot, self._waiting = None, str(error)
        else:
            self._view = settle(self._view, snapshot.backends)

    def _picture(self) -> Picture:
        view = self._view
        return Picture(
            snapshot=self._snapshot,
            events=self._events,
            keys=self.keys,
            chosen=view.chosen,
            paused=view.paused,
            help=view.help,
            note=question_of(view.question) if view.question else view.note,
            asking=view.question is not None,
            waiting=self._waiting,
        )

    def _press(self, pressed: str) -> Order | None:
        backends = self._snapshot.backends if self._snapshot else ()
        paused = self._view.paused
        self._view, order = press(self._view, pressed, backends, self.keys)
        if order is not None:
            self._do(order)
        if order is not None or paused != self._view.paused:
            self._look()
        return order

    def _do(self, order: Order) -> None:
        verbs: dict[Act, Callable[[str], str]] = {Act.DRAIN: self._control.drain, Act.RESUME: self._control.resume}
        if order.act is Act.REDRAW:
            self._painter.forget()
        elif order.act in verbs:
            try:
                note = verbs[order.act](order.backend)
            except VerbError as error:
                note = f"{order.act.value} {order.backend}: {error}"
            self._view, self._note_until = replace(self._view, note=note), monotonic() + NOTE

    def _watch_signals(self) -> list[Callable[[], object]]:
        handlers = {signal.SIGWINCH: self.paint, signal.SIGCONT: self._continued}
        if self._suspends:
            handlers[signal.SIGTSTP] = self._suspend
        return [gevent.signal_handler(number, _unless_lost, handler).cancel for number, handler in handlers.items()]

    def _continued(self) -> None:
        """Somebody stopped us and lets us go on: how the terminal is set and what it shows is unknown."""
        if self._up and in_foreground():
            self._show_again()

    def _suspend(self) -> None:
        """Ctrl-Z in `aegis top`."""
        self._up = False
        self._leave()
        self._terminal.stop_here()
        self._up = True
        self._show_again()

    def _show_again(self) -> None:
        self._terminal.enter()
        self._opening = self._terminal.opening
        self._painter.forget()
        self.paint()

    def _leave(self) -> None:
        """Give the terminal back; it may be gone, or stuck."""
        if self._writer.lost is None:
            self._writer.close(self._terminal.closing)
        _unless_lost(self._terminal.leave)


def _unless_lost(act: Callable[[], None]) -> None:
    """Whether the terminal is still there is for the loop to find out."""
    with contextlib.suppress(OSError):
        act()
