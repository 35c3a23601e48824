"""The adaptive loop's decision: a pure function of what was seen, and why. Knows no clock, no limiter, no metrics.

`aegis simulate` runs the very same function over recorded ticks.
"""

from enum import StrEnum

from msgspec import Struct

from aegis.config.schema import Adaptive


class Action(StrEnum):
    """What becomes of the rate."""

    REDUCE = "reduce"
    RECOVER = "recover"
    HOLD = "hold"


class Code(StrEnum):
    """Why; a closed set, the label of a metric."""

    NO_HEALTHY_BACKEND = "no_healthy_backend"
    FEW_SAMPLES = "few_samples"
    HYSTERESIS = "hysteresis"
    ABOVE_THRESHOLD = "above_threshold"
    BELOW_THRESHOLD = "below_threshold"
    AT_BOUND = "at_bound"
    NOT_LIMITING = "not_limiting"
    BETWEEN_BOUNDS = "between_bounds"


class LoopState(Struct, frozen=True):
    """What one decision leaves to the next."""

    rate: float  # tokens per second and client
    just_reduced: bool = False  # the hysteresis flag: no second reduction before its effect can be seen


class Tick(Struct, frozen=True, kw_only=True):
    """What a decision is made from."""

    p95_ms: float | None  # over the pooled windows of all healthy backends; None when they are empty
    samples: int  # since the last tick
    healthy_backends: int
    limiter_refused: bool = False  # a client was limited since the last tick


class Decision(Struct, frozen=True):
    """What was decided, and why, for programs and for people."""

    action: Action
    code: Code
    words: str


Decided = tuple[LoopState, Decision]


def decide(state: LoopState, tick: Tick, config: Adaptive, configured_rate: float) -> Decided:
    """The next state and the decision that led to it.

    configured_rate: `rate_limit.requests_per_second`, within min_rate and max_rate as `state.rate` is. A value
    exactly at a bound is between the bounds.
    """
    if tick.healthy_backends == 0:
        return _hold(state, Code.NO_HEALTHY_BACKEND, "no healthy backend")
    if tick.samples < config.min_samples:
        return _hold(state, Code.FEW_SAMPLES, f"{tick.samples} of {config.min_samples} samples")
    if tick.p95_ms is None and config.min_samples > 0:
        # Only with a window shorter than the interval: there were enough, but none of them is still known.
        return _hold(state, Code.FEW_SAMPLES, "every sample is older than the window")
    p95 = tick.p95_ms or 0.0  # min_samples 0 asks for a decision over nothing, and nothing is fast
    high = config.latency_threshold_ms
    low = min(0.7 * high, 7 * high / 10)  # they may differ in the last bit; neither is below the bound
    if p95 > high:
        return _down(state, config, f"P95 {number(p95)} ms is above {number(high)} ms")
    if p95 < low:
        return _up(state, tick, config, configured_rate, f"P95 {number(p95)} ms is below {number(low)} ms")
    return _hold(state, Code.BETWEEN_BOUNDS, f"P95 {number(p95)} ms is between {number(low)} and {number(high)} ms")


def clamped(rate: float, config: Adaptive) -> float:
    """The nearest rate within min_rate and max_rate."""
    return min(config.max_rate, max(config.min_rate, rate))


def number(value: float) -> str:
    """For people: at most two decimals, none that say nothing."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _down(state: LoopState, config: Adaptive, seen: str) -> Decided:
    if state.just_reduced:
        return _hold(state, Code.HYSTERESIS, f"{seen}, but the rate was reduced just before")
    rate = max(config.min_rate, state.rate * config.reduction_factor)
    if rate >= state.rate:
        return _hold(state, Code.AT_BOUND, f"{seen}, but the rate is at min_rate {number(config.min_rate)}")
    words = f"reduce: {seen}, rate {number(state.rate)} → {number(rate)}"
    return LoopState(rate, just_reduced=True), Decision(Action.REDUCE, Code.ABOVE_THRESHOLD, words)


def _up(state: LoopState, tick: Tick, config: Adaptive, configured_rate: float, seen: str) -> Decided:
    free = config.grow == "always" or tick.limiter_refused
    rate = min(config.max_rate if free else configured_rate, state.rate * config.recovery_factor)
    if rate > state.rate:
        words = f"recover: {seen}, rate {number(state.rate)} → {number(rate)}"
        return LoopState(rate), Decision(Action.RECOVER, Code.BELOW_THRESHOLD, words)
    if state.rate >= config.max_rate:
        return _hold(state, Code.AT_BOUND, f"{seen}, but the rate is at max_rate {number(config.max_rate)}")
    return _hold(state, Code.NOT_LIMITING, f"{seen}, but no client was limited at {number(state.rate)}")


def _hold(state: LoopState, code: Code, why: str) -> Decided:
    """The same rate; the flag is cleared, so that a latency that stays high is reduced, held, reduced, held."""
    return LoopState(state.rate), Decision(Action.HOLD, code, f"hold: {why}")
