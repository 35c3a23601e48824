"""Which backend takes the next request."""

import math
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

from aegis.pool.backend import BackendState
from aegis.pool.backends import Backends

LONGEST_CYCLE: Final = 100_000
"""Most picks that are remembered; a longer cycle is computed pick by pick."""


NOBODY: Final[frozenset[BackendState]] = frozenset()


class Policy(Protocol):
    """A balancing policy."""

    def pick(self, passing_over: AbstractSet[BackendState] = NOBODY) -> BackendState | None:
        """The backend for the next request, none of `passing_over`; None when nothing else is eligible."""


class WeightedRoundRobin:
    """Smooth weighted round-robin over the effective weights.

    Each pick: every eligible `current += effective`; the highest wins; `winner.current -= Σ effective`. Over Σ weights
    picks each backend gets exactly its weight. One pick looks at every backend, so the picks of a whole cycle are
    remembered as they are made: the sequence repeats until weights or eligibility change, and 300 backends cost a
    request no more than 3.
    """

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._version = 0
        self._current: dict[BackendState, float] = {}  # what each is owed
        self._start: dict[BackendState, float] = {}  # the same at the start of the cycle
        self._owed_retries: dict[BackendState, float] = {}
        self._eligible: list[tuple[BackendState, float]] = []
        self._total = 0.0
        self._cycle: list[BackendState] = []
        self._period = 0  # picks in a cycle
        self._position = 0
        self._whole = False  # the cycle holds all picks of one round

    def __repr__(self) -> str:
        return f"<WeightedRoundRobin {len(self._eligible)} eligible, pick {self._position} of {self._cycle_name()}>"

    def pick(self, passing_over: AbstractSet[BackendState] = NOBODY) -> BackendState | None:
        """The backend for the next request, none of `passing_over`; None when nothing else is eligible."""
        if self._whole and self._version == self._backends.version and not passing_over:
            position = self._position  # the hot path
            following = position + 1
            self._position = following if following < self._period else 0
            return self._cycle[position]
        if self._version != self._backends.version:
            self._rebuild()
        return self._pick_other(passing_over) if passing_over else self._compute()

    def _pick_other(self, passing_over: AbstractSet[BackendState]) -> BackendState | None:
        """For a retry: by weight among the others, apart from the cycle. One that took the others' turns there would
        bring the turn of the backend that fails sooner: of two each request would begin with it.
        """
        return _smooth(self._owed_retries, [entry for entry in self._eligible if entry[0] not in passing_over])

    def _cycle_name(self) -> str:
        return str(len(self._cycle)) if self._whole else "an unfinished cycle"

    def _rebuild(self) -> None:
        """Take over the new weights; what each backend is owed so far is kept."""
        self._settle()
        self._version = self._backends.version
        self._eligible = [(state, state.effective_weight) for state in self._backends if state.effective_weight > 0]
        self._current = {state: self._current.get(state, 0.0) for state, _ in self._eligible}
        self._owed_retries = {state: self._owed_retries.get(state, 0.0) for state, _ in self._eligible}
        self._total = sum(weight for _, weight in self._eligible)
        self._cycle, self._position, self._whole = [], 0, False
        self._start = dict(self._current)
        quarters = [round(weight * 4) for _, weight in self._eligible]  # warm-up moves in quarters of a weight
        self._period = sum(quarters) // math.gcd(*quarters) if quarters else 0

    def _settle(self) -> None:
        """Bring `current` from the start of the cycle to where the replay stands."""
        if not self._whole or not self._position:
            return
        for state, weight in self._eligible:
            self._current[state] += weight * self._position
        for state in self._cycle[: self._position]:
            self._current[state] -= self._total

    def _compute(self) -> BackendState | None:
        best = _smooth(self._current, self._eligible)
        if best is not None:
            self._remember(best)
        return best

    def _remember(self, state: BackendState) -> None:
        if self._period > LONGEST_CYCLE:
            return
        self._cycle.append(state)
        if len(self._cycle) < self._period:
            return
        # Weights are whole numbers times quarters, exact in floating point: a cycle ends where it began, exactly.
        if self._current == self._start:
            self._whole, self._position = True, 0
        else:  # what was owed from before the change is still being paid off: record the next round instead
            self._cycle, self._start = [], dict(self._current)


def _smooth(current: dict[BackendState, float], weights: Iterable[tuple[BackendState, float]]) -> BackendState | None:
    """One pick: everybody's `current` grows by its weight; the highest wins and pays for all."""
    best: BackendState | None = None
    highest = total = 0.0
    for state, weight in weights:
        owed = current[state] = current[state] + weight
        total += weight
        if best is None or owed > highest:
            best, highest = state, owed
    if best is not None:
        current[best] -= total
    return best
