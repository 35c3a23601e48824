"""The circuit breaker of one backend: counters make events, only the table moves.

Judges real traffic alone; it knows nothing of probes, of requests or of who picks. Time comes from a clock, in seconds.
"""

from collections.abc import Callable
from enum import StrEnum
from time import monotonic
from typing import Final

from aegis.config.schema import CircuitBreaker

FIRST_FAILURE: Final = 500
"""A response with this status or a higher one is a failure."""

NOBODYS: Final = -1
"""A permit that is settled already: settling it again counts nothing."""


class State(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(StrEnum):
    """What moves it on."""

    FAILURES_REACHED = "failures reached"
    TIMEOUT_PASSED = "timeout passed"
    FAILURE = "failure"
    SUCCESSES_REACHED = "successes reached"


TRANSITIONS: Final = {
    (State.CLOSED, Event.FAILURES_REACHED): State.OPEN,  # failure_threshold failures in a row
    (State.OPEN, Event.TIMEOUT_PASSED): State.HALF_OPEN,  # open_timeout since it opened
    (State.HALF_OPEN, Event.FAILURE): State.OPEN,  # any single one
    (State.HALF_OPEN, Event.SUCCESSES_REACHED): State.CLOSED,  # success_threshold successes
}  # a pair that is absent cannot happen: KeyError is a bug of ours

OnChange = Callable[[State, Event], None]
"""(state before, what happened); called after each transition, in the middle of a request. Must not block."""


def _nobody(before: State, event: Event) -> None:
    del before, event


class Breaker:
    """Gives out permits and counts what becomes of them.

    A permit is the epoch in which it was given: the number of transitions so far. guarded: False only while it is
    closed without a failure; then admitting is reading `epoch`, and a success need not be settled: the hot path
    makes no call.
    """

    __slots__ = ("_clock", "_section", "epoch", "guarded", "on_change", "permits", "since", "state", "streak", "to")

    def __init__(
        self, section: CircuitBreaker, clock: Callable[[], float] = monotonic, on_change: OnChange = _nobody
    ) -> None:
        self._section = section
        self._clock = clock
        self.on_change = on_change
        self.guarded = False
        self.epoch = 0
        self.state = State.CLOSED
        self.streak = 0  # failures in a row while closed, successes while half-open
        self.permits = 0  # given out and not settled, while half-open
        self.since = clock()  # of the last transition
        self.to = dict.fromkeys(State, 0)  # transitions so far, by where they led

    def __repr__(self) -> str:
        return f"<Breaker {self.state} streak={self.streak} permits={self.permits}>"

    @property
    def admits(self) -> bool:
        """Whether `admit` would give a permit."""
        if self.state is State.HALF_OPEN:
            return self.permits < self._section.half_open_max_requests
        return self.state is State.CLOSED

    def admit(self) -> int | None:
        """A permit, to be settled exactly once; None when there is none."""
        # [SECURITY] CircuitBreaker: a backend that fails is left alone, or waiting for it takes down what still works.
        if not self.admits:
            return None
        if self.state is State.HALF_OPEN:
            self.permits += 1
        return self.epoch

    def settle(self, permit: int, succeeded: bool | None) -> None:  # noqa: FBT001
        """Give a permit back. succeeded: None counts nothing, as when the client left.

        Permits from before the last transition are stale: what they tell was decided without them.
        """
        if permit != self.epoch:
            return
        if self.state is State.HALF_OPEN:
            self.permits -= 1
        if succeeded is not None:
            self._count(succeeded=succeeded)

    def tick(self) -> None:
        """Go half-open when the time has come."""
        if self.state is State.OPEN and self.half_open_in() <= 0:
            self._fire(Event.TIMEOUT_PASSED)

    def half_open_in(self) -> float:
        """Seconds until an open breaker goes half-open; 0 for one that is not open."""
        if self.state is not State.OPEN:
            return 0.0
        return max(0.0, self.since + self._section.open_timeout - self._clock())

    def reconfigure(self, section: CircuitBreaker) -> None:
        """Other thresholds from now on; where it stands and what it counted stays."""
        self._section = section

    def _count(self, *, succeeded: bool) -> None:
        section = self._section
        if self.state is State.HALF_OPEN:
            if not succeeded:
                self._fire(Event.FAILURE)
                return
            self.streak += 1
            if self.streak >= section.success_threshold:
                self._fire(Event.SUCCESSES_REACHED)
            return
        self.streak = 0 if succeeded else self.streak + 1
        self.guarded = not succeeded
        if self.streak >= section.failure_threshold:
            self._fire(Event.FAILURES_REACHED)

    def _fire(self, event: Event) -> None:
        before, self.state = self.state, TRANSITIONS[self.state, event]
        self.since, self.streak, self.permits = self._clock(), 0, 0
        self.guarded = self.state is not State.CLOSED
        self.epoch += 1  # results of requests admitted before this no longer count
        self.to[self.state] += 1
        self.on_change(before, event)
