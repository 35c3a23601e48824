"""The dashboard of a running Aegis: when there is one, where log lines go meanwhile, which SIGHUP is the terminal's.

Everything goes on without it: whatever happens to the terminal or to the dashboard's own code ends the dashboard only.
"""

import logging
import os
import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

import gevent
from gevent.event import Event as Flag

from aegis.background import Background, Job
from aegis.config.schema import Config
from aegis.control import Control
from aegis.events import Events, Kind
from aegis.logs.setup import LineHandler, RingHandler
from aegis.logs.writer import LogWriter
from aegis.metrics.counters import Counters
from aegis.thread import SingleThread
from aegis.tui.modes import in_foreground

if TYPE_CHECKING:
    from aegis.tui.app import Dashboard

log = logging.getLogger("aegis")

STDERR: Final = 2
LINES: Final = 0.1
"""Seconds between two batches of lines toward stderr."""

HANGUP_WINDOW: Final = 1.0
"""Seconds between the loss of the terminal and the SIGHUP that came of it, in either order."""


def wanted(config: Config, *, headless: bool) -> bool:
    """Whether this process shows a dashboard: `--headless` wins over `tui.enabled`, and a terminal has to be there."""
    return config.tui.enabled and not headless and has_terminal()


def has_terminal() -> bool:
    """Whether stdin and stdout are a terminal that can be drawn on, and this process is the one in front of it."""
    if os.environ.get("TERM", "") in {"", "dumb"}:
        return False
    if not all(os.isatty(stream.fileno()) for stream in (sys.__stdin__, sys.__stdout__) if stream is not None):
        return False
    return in_foreground()


class Hangups:
    """Which SIGHUP belongs to a lost terminal: one, within a second of the loss, before it or after."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lost_at: float | None = None
        self._lost = Flag()

    def __repr__(self) -> str:
        return f"<Hangups {'lost' if self._lost.is_set() else 'not lost'}>"

    def lost(self) -> None:
        """The terminal is gone."""
        self._lost_at = self._clock()
        self._lost.set()

    def swallow(self, *, up: bool) -> bool:
        """Whether the SIGHUP that just came is the terminal's. While a dashboard is up, waits whether it gets lost."""
        if up:
            self._lost.wait(HANGUP_WINDOW)
        if self._lost_at is None or self._clock() - self._lost_at > HANGUP_WINDOW:
            return False
        self._lost_at = None  # one only
        return True


class Screen:
    """From `open` to `close`; in between it may end by itself."""

    def __init__(self, control: Control, config: Config, events: Events, writer: LogWriter, counters: Counters) -> None:
        self.hangups = Hangups()
        self._control = control
        self._config = config
        self._writer = writer
        self._counters = counters
        self._ring = RingHandler(lambda words, level, fields: events.append(Kind.LOG, words, level, fields))
        self._thread = SingleThread()  # for lines too: they have to come behind the frame that gives the terminal back
        self._errors = LogWriter(STDERR, self._thread)
        self._jobs = Background([Job("write lines to stderr", LINES, self._errors.flush)])
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self.withholds = False  # the terminal is the dashboard's: nobody may write lines there
        self._up = False
        self._hiding = False
        self._dashboard: Dashboard | None = None

    def __repr__(self) -> str:
        return f"<Screen {'up' if self._up else 'down'}>"

    def reconfigure(self, config: Config) -> None:
        """Go on by another configuration; whether there is a dashboard at all needs a restart."""
        self._config = config
        if self._dashboard is not None:
            self._dashboard.interval = config.tui.refresh_interval

    def open(self, on_quit: Callable[[], None]) -> None:
        """Show the dashboard, in a greenlet of its own. on_quit is called when the person there wants an end."""
        self.withholds = True
        self._greenlet = gevent.spawn(self._show, on_quit)
        self._greenlet.name = "dashboard"

    def close(self) -> None:
        """Give the terminal back, for the process is about to stop: from now on stderr tells how it goes."""
        if self._greenlet is not None:
            self._greenlet.kill(timeout=2)
            self._greenlet = None

    def hide(self) -> None:
        """Give the terminal back to another image, which draws on it next: this one writes nothing there any more."""
        self._hiding = True
        self.close()
        self._hiding = False

    def after_fork(self) -> None:
        """In the child, before anything else runs: a frame on which the terminal is stuck holds up nothing here."""
        self._thread.after_fork()

    def end(self) -> None:
        """Write what stderr has still to be told."""
        self._jobs.stop()
        self._errors.settle()

    def swallows_hangup(self) -> bool:
        """Whether a SIGHUP that just came says that the terminal is gone, and nothing else."""
        swallowed = self.hangups.swallow(up=self._up)
        if swallowed:
            log.info("SIGHUP came from the terminal that is gone: no reload")
        return swallowed

    def _show(self, on_quit: Callable[[], None]) -> None:
        from aegis.tui.app import Dashboard, End  # noqa: PLC0415 - blessed takes 80 ms to import: not before we serve

        try:
            self._dashboard = dashboard = Dashboard(
                self._control, self._thread, interval=self._config.tui.refresh_interval, on_skip=self._skipped
            )
            self._take_logs()
            end = dashboard.run()
        except gevent.GreenletExit:  # the process is asked to stop
            if not self._hiding:
                self._tell_stderr()
            raise
        except Exception:
            self._give_logs_back()
            log.exception("the dashboard failed: Aegis goes on without it")
            return
        if end is End.QUIT:
            self._tell_stderr()
            on_quit()
        else:
            self.hangups.lost()
            self._give_logs_back()
            log.warning("the terminal is gone: Aegis goes on without a dashboard")

    def _skipped(self) -> None:
        self._counters.frames_skipped += 1

    def _take_logs(self) -> None:
        """Log lines to the ring and, where there is one, the file; without a file access lines are only counted."""
        if not self._config.logging.file:
            self._writer.withhold()
        logging.getLogger().addHandler(self._ring)
        self._up = True

    def _give_logs_back(self) -> None:
        self._up = self.withholds = False
        logging.getLogger().removeHandler(self._ring)
        self._writer.release()

    def _tell_stderr(self) -> None:
        """The end of a process that had a dashboard: its lines go where a person looks. Access lines stay counted."""
        if self._up:
            self._up = False
            root = logging.getLogger()
            root.removeHandler(self._ring)
            root.addHandler(LineHandler(self._errors.put, text=True))
            self._jobs.start()
