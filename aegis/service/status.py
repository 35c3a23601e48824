"""The one line that `systemctl status` shows, and what the parent of several processes tells the service manager.

It is the parent who speaks: its PID is the one that the manager knows, and it is told of the others by shared memory.
"""

from time import monotonic
from typing import Final

from aegis.process.notify import Notifier
from aegis.process.shared import RUN, Board

STATUS_INTERVAL: Final = 10.0
"""Seconds from one line to the next."""


def status_line(stage: str, eligible: int, backends: int, in_flight: int, workers: int = 1) -> str:
    """How an Aegis at this stage of its life is doing."""
    if stage == "serving":
        many = f" with {workers} workers" if workers > 1 else ""
        return f"serving{many}, {eligible} of {backends} backends eligible"
    return f"draining, {in_flight} requests in flight" if stage == "draining" else stage


class Spokesman:
    """Speaks for all processes. `tick` is called often: at least twice a watchdog interval."""

    def __init__(self, notifier: Notifier, board: Board) -> None:
        self._notifier, self._board = notifier, board
        self._said_at = self._beat_at = monotonic()

    def __repr__(self) -> str:
        return f"<Spokesman {self.status()}>"

    @property
    def patience(self) -> float:
        """Most seconds from one `tick` to the next."""
        return self._notifier.watchdog_interval or STATUS_INTERVAL

    def status(self) -> str:
        """One line."""
        board = self._board
        stage = "serving" if board.stop == RUN else "draining"
        in_flight = sum(board.worker(index).in_flight for index in range(board.workers))
        return status_line(stage, *board.eligible, in_flight, board.workers)

    def ready(self) -> None:
        """The start, a reload, or a restart that could not be is over."""
        self._notifier.ready(self.status())

    def reloading(self) -> None:
        """A reload or a restart begins."""
        self._notifier.reloading()

    def stopping(self) -> None:
        """The drain begins."""
        self._notifier.stopping("draining")

    def tick(self, alive: bool) -> None:  # noqa: FBT001
        """The status line and the sign of life, when they are due. alive: every worker's loop turns."""
        now, interval = monotonic(), self._notifier.watchdog_interval
        if interval and alive and now - self._beat_at >= interval:
            self._beat_at = now
            self._notifier.watchdog()
        if now - self._said_at >= STATUS_INTERVAL:
            self._said_at = now
            self._notifier.status(self.status())
