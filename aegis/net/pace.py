"""How fast a peer takes what it is sent: the judgement of slow readers.

Pure: times and byte counts in, a verdict out. The kernel says that a socket is writable only after tens of kilobytes
have left it, so a reader that takes a little all the time would look like one that takes nothing.
"""

from typing import Final

LOWEST_RATE: Final = 1024
"""Bytes per second of waiting that a body must move at once that took longer than the bound on a stall."""

LOOKS: Final = 8
"""Looks at a waiting peer in the time that it may stall; a stall is found late by one of them at most."""

LONGEST_LOOK: Final = 10.0
"""Seconds between two looks at most, however long the peer may stall, so that its rate is judged in time."""

_UNKNOWN: Final = -1


class Pace:
    """What the waits of one body for its peer have cost and brought.

    stall: seconds that may pass without a byte taken. accepted: bytes of the body that the kernel has; None where no
    lowest rate is asked. due: when to look again.
    """

    __slots__ = ("_moved", "_queued", "_since", "_waited", "accepted", "begun", "due", "look", "stall")

    def __init__(self, stall: float) -> None:
        self.stall = stall
        self.look = min(stall / LOOKS, LONGEST_LOOK)
        self.accepted: int | None = None
        self._waited = 0.0

    def __repr__(self) -> str:
        return f"<Pace {self.accepted} bytes, {self._waited:.3f} s waited before {self._since:.3f}>"

    def begin(self, now: float) -> None:
        """A wait begins."""
        self.begun = self._since = self._moved = now
        self._queued = _UNKNOWN
        self.due = now + self.look

    def took(self, now: float) -> None:
        """The kernel takes bytes again, since the peer took some."""
        self._waited += now - self._since
        self._since = self._moved = now
        self._queued = _UNKNOWN

    def objection(self, now: float, queued: int) -> str:
        """Why the peer is to be given up, in words; "" while it is not. queued: bytes it has not acknowledged.

        The first look after the kernel took bytes only has something to compare the next one with: it counts as
        progress, or a reader that paused just before it would be wronged.
        """
        if self._queued == _UNKNOWN or queued < self._queued:
            self._moved = now
        self._queued = queued
        self.due = now + self.look
        if now - self._moved >= self.stall:
            return f"the peer took nothing for {now - self._moved:.1f} s"
        waited = self._waited + now - self._since
        # [SECURITY] SlowReader: who takes a few bytes just within each stall would hold a backend for hours.
        if self.accepted is not None and waited > self.stall and self.accepted - queued < LOWEST_RATE * waited:
            return f"the peer took {max(0, self.accepted - queued)} bytes in {waited:.1f} s"
        return ""
