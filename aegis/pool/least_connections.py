"""Least connections: the fewest in flight over the effective weight takes the next request."""

from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

from aegis.pool.backend import BackendState
from aegis.pool.backends import Backends
from aegis.pool.balancer import NOBODY

Entry = tuple[float, float, int]
"""(in flight over weight, turn, place among the eligible)."""

SLACK: Final = 64
"""Outdated entries that the heap may hold beside four for each backend."""


class LeastConnections:
    """A heap of loads, so that 300 backends cost a request hardly more than 3.

    Two things move a load: `pick`, which a `take` follows, and a `give_back`, of which the state tells. Each puts a new
    entry on the heap; the outdated one stays until it comes to the top. Equal loads take turns, by weight.
    """

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._version = 0
        self._eligible: list[BackendState] = []
        self._weights: list[float] = []
        self._places: dict[BackendState, int] = {}
        self._turns: dict[BackendState, float] = {}
        self._entries: list[Entry] = []  # the valid one of each place
        self._heap: list[Entry] = []

    def __repr__(self) -> str:
        return f"<LeastConnections {len(self._eligible)} eligible>"

    def pick(self, passing_over: AbstractSet[BackendState] = NOBODY) -> BackendState | None:
        """The backend for the next request, none of `passing_over`; None when nothing else is eligible."""
        if self._version != self._backends.version:
            self._rebuild()
        heap, entries = self._heap, self._entries
        passed = []
        picked = None
        while heap:
            entry = heap[0]
            place = entry[2]
            if entry != entries[place]:
                heappop(heap)
                continue
            state = self._eligible[place]
            if passing_over and state in passing_over:
                passed.append(heappop(heap))
                continue
            weight = self._weights[place]
            if not passing_over:  # else whoever failed would be owed the turns that it lost by failing
                self._turns[state] += 1 / weight
            turn = self._turns[state]
            entries[place] = entry = ((state.in_flight + 1) / weight, turn, place)
            heapreplace(heap, entry)
            picked = state
            break
        for entry in passed:
            heappush(heap, entry)
        return picked

    def released(self, state: BackendState) -> None:
        """Told by a state that one of its requests is over."""
        place = self._places.get(state)
        if place is None:
            return  # not eligible; it is looked at again when it is
        entry = self._entries[place] = (state.in_flight / self._weights[place], self._turns[state], place)
        heappush(self._heap, entry)
        if len(self._heap) > 4 * len(self._entries) + SLACK:
            self._heap = self._entries[:]
            heapify(self._heap)

    def _rebuild(self) -> None:
        self._version = self._backends.version
        self._eligible = [state for state in self._backends if state.eligible]
        self._weights = [state.effective_weight for state in self._eligible]
        self._places = {state: place for place, state in enumerate(self._eligible)}
        # Who joins has had no turns to make up for: it would take every tie until it had caught up.
        latest = max(self._turns.values(), default=0.0)
        self._turns = {state: self._turns.get(state, latest) for state in self._eligible}
        self._entries = [
            (state.in_flight / self._weights[place], self._turns[state], place)
            for place, state in enumerate(self._eligible)
        ]
        self._heap = self._entries[:]
        heapify(self._heap)
        for state in self._backends:
            state.released = self.released
