"""Is a backend up, going by its probes alone? A pure counter; what a probe is and what follows is not its business."""

from enum import StrEnum
from typing import Final

from aegis.config.schema import HealthCheck


class Condition(StrEnum):
    """What the probes say of a backend."""

    UNKNOWN = "unknown"  # no result yet: eligible
    UP = "up"
    DOWN = "down"


class Event(StrEnum):
    """What moves it on."""

    FIRST_PASSED = "first probe passed"
    FIRST_FAILED = "first probe failed"
    PASSES_REACHED = "passes reached"
    FAILURES_REACHED = "failures reached"


TRANSITIONS: Final = {
    (Condition.UNKNOWN, Event.FIRST_PASSED): Condition.UP,  # the first result decides at once
    (Condition.UNKNOWN, Event.FIRST_FAILED): Condition.DOWN,
    (Condition.UP, Event.FAILURES_REACHED): Condition.DOWN,  # unhealthy_threshold failures in a row
    (Condition.DOWN, Event.PASSES_REACHED): Condition.UP,  # healthy_threshold passes in a row
}  # a pair that is absent cannot happen: KeyError is a bug of ours


class Health:
    """Counts probe results. `streak`: results in a row that speak against the condition."""

    __slots__ = ("_section", "condition", "streak")

    def __init__(self, section: HealthCheck) -> None:
        self._section = section
        self.condition = Condition.UNKNOWN
        self.streak = 0

    def __repr__(self) -> str:
        return f"<Health {self.condition} streak={self.streak}>"

    def count(self, *, passed: bool) -> Event | None:
        """One result more. Returns what it brought about; None when the condition stays."""
        event = self._event(passed=passed)
        if event is not None:
            self.condition = TRANSITIONS[self.condition, event]
            self.streak = 0
        return event

    def reconfigure(self, section: HealthCheck) -> None:
        """Other thresholds from now on; the condition and the count stay."""
        self._section = section

    def _event(self, *, passed: bool) -> Event | None:
        if self.condition is Condition.UNKNOWN:
            return Event.FIRST_PASSED if passed else Event.FIRST_FAILED
        if passed is (self.condition is Condition.UP):
            self.streak = 0  # the opposite of what was being counted
            return None
        self.streak += 1
        if passed:
            return Event.PASSES_REACHED if self.streak >= self._section.healthy_threshold else None
        return Event.FAILURES_REACHED if self.streak >= self._section.unhealthy_threshold else None
