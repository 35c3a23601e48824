"""The breaker of one backend in one of several processes: counts for itself, moves for all.

The first to see the threshold opens for all; half-open permits and successes are those of all together.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

from aegis.config.schema import CircuitBreaker
from aegis.pool.breaker import TRANSITIONS, Breaker, Event, State
from aegis.process.shared import BusyError, Slot

NUMBERS: Final = (State.CLOSED, State.OPEN, State.HALF_OPEN)
"""State ↔ number in shared memory."""


class SharedBreaker(Breaker):
    """As Breaker. `follow` takes over what another process did; `slot` may be exchanged before it is used."""

    __slots__ = ("slot",)

    def __init__(self, section: CircuitBreaker, slot: Slot, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(section, clock)
        self.slot = slot
        self.follow()

    @property
    def admits(self) -> bool:
        """As Breaker.admits, by the permits of all processes."""
        if self.state is State.HALF_OPEN:
            return self.slot.free_permits(self._section.half_open_max_requests)
        return self.state is State.CLOSED

    def admit(self) -> int | None:
        """As Breaker.admit, after a transition elsewhere that this process has not heard of by the state it led to."""
        while self.state is State.HALF_OPEN:
            try:
                if self.slot.take_permit(self.epoch, self._section.half_open_max_requests):
                    return self.epoch
            except BusyError:
                return None
            if not self.follow():
                return None
        return super().admit()

    def settle(self, permit: int, succeeded: bool | None) -> None:  # noqa: FBT001
        """As Breaker.settle."""
        if permit == self.epoch and self.state is State.HALF_OPEN:
            try:
                self.slot.give_permit(permit)
            except BusyError:
                return  # who holds the lock is stopped: the permit is given back when that process is replaced
            if succeeded is not None:
                self._count(succeeded=succeeded)
            return
        super().settle(permit, succeeded)

    def follow(self) -> bool:
        """Take over a transition that another process made. True when there was one."""
        epoch, number, since = self.slot.breaker()
        if epoch == self.epoch:
            return False
        self.state, self.since, self.epoch = NUMBERS[number], since, epoch
        self.streak = self.permits = 0
        self.guarded = self.state is not State.CLOSED
        self.to[self.state] += 1
        return True

    def _count(self, *, succeeded: bool) -> None:
        if self.state is not State.HALF_OPEN or not succeeded:
            super()._count(succeeded=succeeded)
            return
        try:
            successes = self.slot.count_success(self.epoch)
        except BusyError:
            return
        if successes >= self._section.success_threshold:
            self._fire(Event.SUCCESSES_REACHED)

    def _fire(self, event: Event) -> None:
        try:
            moved = self.slot.move(self.epoch, NUMBERS.index(TRANSITIONS[self.state, event]), self._clock())
        except BusyError:
            return  # the next failure tries again
        if moved:
            super()._fire(event)
        else:
            self.follow()
