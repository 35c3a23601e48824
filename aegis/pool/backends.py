"""All backends of the pool together: who is eligible, when one may be again, what a reload makes of them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from time import monotonic
from typing import Final

from aegis.config.schema import CircuitBreaker
from aegis.events import Events, Kind
from aegis.pool.backend import Backend, BackendState
from aegis.pool.breaker import Event, State
from aegis.pool.health import Condition

BREAKER_WORDS: Final = {
    State.OPEN: "the breaker opened and lets nothing through",
    State.HALF_OPEN: "the breaker is half-open and tries a few requests",
    State.CLOSED: "the breaker closed",
}


class Backends:
    """All states in the order of the configuration. `version` counts changes of eligibility and weight."""

    def __init__(
        self,
        states: Sequence[BackendState],
        events: Events | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.version = 1
        self._round_over = False  # the first round of probes was, once
        self.states: tuple[BackendState, ...] = ()
        self._events = events or Events()
        self._clock = clock
        self._hold(states)

    def __repr__(self) -> str:
        return f"<Backends {sum(state.eligible for state in self.states)} of {len(self.states)} eligible>"

    def __iter__(self) -> Iterator[BackendState]:
        return iter(self.states)

    def get(self, name: str) -> BackendState | None:
        """The backend of this name."""
        return next((state for state in self.states if state.backend.name == name), None)

    @property
    def unprobed(self) -> list[BackendState]:
        """Those that the first round of probes has still to reach; none once it is over, whatever a reload adds."""
        if self._round_over:
            return []
        return [state for state in self.states if state.health.condition is Condition.UNKNOWN]

    def in_flight(self) -> int:
        """Attempts under way on all of them."""
        return sum(state.in_flight for state in self.states)

    def alone(self, state: BackendState) -> bool:
        """Whether no other backend is eligible."""
        return not any(other.eligible for other in self.states if other is not state)

    def retry_after(self, interval: float) -> int:
        """Whole seconds until some backend may be eligible again, at least 1.

        interval: between two probes. A backend that is down waits for a probe, one whose breaker is open for
        half-open, one that is both for the later of them; a drained one comes back by nobody's clock.
        """
        waits = [self._wait(state, interval) for state in self.states if not state.drained and state.backend.weight]
        return max(1, ceil(min(waits, default=1.0)))

    def tick(self) -> None:
        """Let the breakers whose time has come go half-open."""
        for state in self.states:
            state.breaker.tick()

    def replace(
        self, wanted: Sequence[Backend], make: Callable[[Backend], BackendState]
    ) -> tuple[list[BackendState], list[BackendState]]:
        """Hold these backends from now on, in their order. Returns (the added ones, the removed ones).

        A backend of the same name and url keeps its state: health, breaker, warm-up, drain, connections, requests in
        flight; its weight and addresses become the wanted ones. make: a new backend's state, as at start. What is
        removed gets no new request; its requests in flight go on, and its connections close as they end.
        """
        self._round_over = not self.unprobed
        held = {state.backend.origin: state for state in self.states}
        added = []
        states = []
        for backend in wanted:
            state = held.pop(backend.origin, None)
            if state is None:
                state = make(backend)
                added.append(state)
            else:
                state.become(backend)
            states.append(state)
        removed = list(held.values())
        self._hold(states)
        for state in removed:
            state.watching = None
            state.connections.retire()
        return added, removed

    def tell_nobody(self) -> None:
        """Take back what a policy had itself told of."""
        for state in self.states:
            state.released, state.record = None, state.window.record

    def reconfigure(self, section: CircuitBreaker) -> None:
        """Other thresholds of the breakers; where each stands stays."""
        for state in self.states:
            state.breaker.reconfigure(section)
        self.changed()

    def drop_parked(self) -> bool:
        """Close one connection that waits for a next request, of the backend with the most; False if none does."""
        pools = [state.connections for state in self.states]
        return max(pools, key=lambda pool: len(pool.idle())).drop_oldest()

    # told by the states

    def changed(self) -> None:
        """Eligibility or weight of a backend changed."""
        self.version += 1

    def breaker_moved(self, state: BackendState, before: State, event: Event) -> None:
        """A breaker made a transition: say so."""
        now = state.breaker.state
        self._events.emit(
            Kind.BREAKER,
            f"{state.backend.name}: {BREAKER_WORDS[now]} ({event})",
            level=logging.WARNING if now is State.OPEN else logging.INFO,
            backend=state.backend.name,
            breaker_before=str(before),
            breaker=str(now),
        )

    def _hold(self, states: Sequence[BackendState]) -> None:
        self.states = tuple(states)
        for state in self.states:
            state.watching = self
        self.changed()

    def _wait(self, state: BackendState, interval: float) -> float:
        probe = 0.0
        if not state.healthy and state.probed_at is not None:
            probe = state.probed_at + interval - self._clock()
        return max(probe, state.breaker.half_open_in())
