"""Peak EWMA: of two backends drawn by chance, the one that would answer sooner takes the next request."""

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from math import exp, inf
from time import monotonic
from typing import Final

from aegis.pool.backend import BackendState
from aegis.pool.backends import Backends
from aegis.pool.balancer import NOBODY

DECAY: Final = 10.0
"""Seconds in which a latency loses all but 1/e of its weight."""

MEAN_LIFE: Final = 1.0
"""Seconds for which the pool's mean is not computed anew."""


class PeakEwma:
    """One backend's latency in milliseconds: at once up to a peak, slowly down again, down to nothing when idle.

    So a backend that turns slow is left alone from its first slow answer on, and is tried again after a while.
    """

    __slots__ = ("_record", "_stamp", "_value")

    def __init__(self, record: Callable[[float, float], None]) -> None:
        self._record = record  # of the window, which sees every sample too
        self._value = 0.0
        self._stamp = -inf

    def __repr__(self) -> str:
        return f"<PeakEwma {self._value:.3f} ms>"

    def record(self, latency_ms: float, now: float) -> None:
        """One more sample. now: seconds, monotonic."""
        self._record(latency_ms, now)
        kept = exp((self._stamp - now) / DECAY)
        decayed = self._value * kept
        self._value = latency_ms if latency_ms >= decayed else decayed + latency_ms * (1 - kept)
        self._stamp = now

    def at(self, now: float) -> float | None:
        """What is left of it; None without a sample."""
        return None if self._stamp == -inf else self._value * exp((self._stamp - now) / DECAY)


class PowerOfTwo:
    """`peak_ewma`: two random choices by weight, the lower latency × (in flight + 1) wins.

    A backend without samples counts as the pool's mean. The second choice counts only as often as its weight is to the
    first one's: where all are equally fast each backend gets its weight's share, of two as of many.
    """

    def __init__(
        self,
        backends: Backends,
        clock: Callable[[], float] = monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._backends = backends
        self._clock = clock
        self._chance = chance
        self._version = 0
        self._eligible: list[BackendState] = []
        self._bounds: list[float] = []  # Σ weights up to and with each
        self._latencies: dict[BackendState, PeakEwma] = {}
        self._mean = 0.0
        self._mean_until = -inf

    def __repr__(self) -> str:
        return f"<PowerOfTwo {len(self._eligible)} eligible>"

    def pick(self, passing_over: AbstractSet[BackendState] = NOBODY) -> BackendState | None:
        """The backend for the next request, none of `passing_over`; None when nothing else is eligible."""
        if self._version != self._backends.version:
            self._rebuild()
        eligible, bounds = self._eligible, self._bounds
        if passing_over:
            eligible = [state for state in eligible if state not in passing_over]
            bounds = list(accumulate(state.effective_weight for state in eligible))
        if len(eligible) < 2:  # noqa: PLR2004 - nothing to choose between
            return eligible[0] if eligible else None
        first, second = self._draw(bounds)
        if second is None:
            return eligible[first]
        return self._sooner(eligible[first], eligible[second])

    def _draw(self, bounds: Sequence[float]) -> tuple[int, int | None]:
        """Two different places, each with the chance of its weight; the second may have to stand back."""
        chance = self._chance
        last = len(bounds) - 1
        first = min(bisect_right(bounds, chance() * bounds[-1]), last)
        start = bounds[first - 1] if first else 0.0
        weight = bounds[first] - start
        drawn = chance() * (bounds[-1] - weight)
        second = min(bisect_right(bounds, drawn if drawn < start else drawn + weight), last)
        if second == first:  # rounding at the very edge
            return first, None
        other = bounds[second] - (bounds[second - 1] if second else 0.0)
        return first, second if other >= weight or chance() * weight < other else None

    def _sooner(self, first: BackendState, second: BackendState) -> BackendState:
        now = self._clock()
        return first if self._cost(first, now) <= self._cost(second, now) else second

    def _cost(self, state: BackendState, now: float) -> float:
        latency = self._latencies[state].at(now)
        if latency is None:
            latency = self._pools_mean(now)
        return latency * (state.in_flight + 1)

    def _pools_mean(self, now: float) -> float:
        if now >= self._mean_until:
            known = [found for state in self._eligible if (found := self._latencies[state].at(now)) is not None]
            if not known:
                return 1.0  # nobody has answered yet: all are alike
            self._mean = sum(known) / len(known)
            self._mean_until = now + MEAN_LIFE
        # It decays as what it was made of does, or whoever has samples would be a little faster until the next look.
        return self._mean * exp((self._mean_until - MEAN_LIFE - now) / DECAY)

    def _rebuild(self) -> None:
        self._version = self._backends.version
        self._eligible = [state for state in self._backends if state.eligible]
        self._bounds = list(accumulate(state.effective_weight for state in self._eligible))
        before, self._latencies = self._latencies, {}
        for state in self._backends:
            latency = self._latencies[state] = before.get(state) or PeakEwma(state.window.record)
            state.record = latency.record
        self._mean_until = -inf
