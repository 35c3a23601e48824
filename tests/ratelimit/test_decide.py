"""The decision of the adaptive loop: the sentences of the specification, in their order, and what always holds."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.config.schema import Adaptive
from aegis.ratelimit.decide import Action, Code, LoopState, Tick, clamped, decide

SETTINGS = Adaptive()  # 500 ms, × 0.8, × 1.1, 10 to 500, 20 samples
RATE = 100.0


def tick(p95_ms=None, samples=20, healthy=1, *, refused=False):
    return Tick(p95_ms=p95_ms, samples=samples, healthy_backends=healthy, limiter_refused=refused)


def after(seen, state=None, settings=SETTINGS, configured=RATE):
    """(rate, flag, action, code) after one tick."""
    state, decision = decide(state or LoopState(RATE), seen, settings, configured)
    return state.rate, state.just_reduced, decision.action.value, decision.code.value


# the guards in their order


def test_without_a_healthy_backend_it_holds_whatever_else_was_seen():
    assert after(tick(9000.0, samples=0, healthy=0)) == (100, False, "hold", "no_healthy_backend")


def test_below_min_samples_it_holds():
    assert after(tick(9000.0, samples=19)) == (100, False, "hold", "few_samples")
    assert after(tick(9000.0, samples=20)) == (80, True, "reduce", "above_threshold")


def test_min_samples_0_decides_over_an_idle_proxy_too():
    original = Adaptive(min_samples=0)
    assert after(tick(None, samples=0), settings=original) == (pytest.approx(110), False, "recover", "below_threshold")


def test_samples_that_all_have_left_the_window_are_too_few():
    assert after(tick(None, samples=500)) == (100, False, "hold", "few_samples")


def test_above_the_threshold_right_after_a_reduction_it_holds():
    assert after(tick(501.0), LoopState(80.0, just_reduced=True)) == (80, False, "hold", "hysteresis")


def test_above_the_threshold_it_reduces_by_the_factor():
    assert after(tick(501.0)) == (80, True, "reduce", "above_threshold")


def test_a_latency_that_stays_high_is_reduced_held_reduced_held():
    state, actions = LoopState(RATE), []
    for _ in range(6):
        state, decision = decide(state, tick(900.0), SETTINGS, RATE)
        actions.append(decision.action.value)
    assert actions == ["reduce", "hold"] * 3
    assert state.rate == pytest.approx(51.2)


def test_a_reduction_ends_at_min_rate_and_then_it_holds():
    assert after(tick(501.0), LoopState(12.0)) == (10, True, "reduce", "above_threshold")
    assert after(tick(501.0), LoopState(10.0)) == (10, False, "hold", "at_bound")


def test_below_seven_tenths_of_the_threshold_it_recovers_by_the_factor():
    assert after(tick(349.0)) == (pytest.approx(110), False, "recover", "below_threshold")


def test_it_recovers_even_right_after_a_reduction():
    assert after(tick(1.0), LoopState(80.0, just_reduced=True)) == (88, False, "recover", "below_threshold")


def test_a_recovery_ends_at_max_rate_and_then_it_holds():
    assert after(tick(1.0), LoopState(490.0)) == (500, False, "recover", "below_threshold")
    assert after(tick(1.0), LoopState(500.0)) == (500, False, "hold", "at_bound")


def test_between_the_bounds_it_holds():
    assert after(tick(420.0), LoopState(80.0, just_reduced=True)) == (80, False, "hold", "between_bounds")


# grow


WHEN_LIMITING = Adaptive(grow="when_limiting")


def test_when_limiting_it_recovers_up_to_the_configured_rate_whether_clients_are_limited_or_not():
    assert after(tick(1.0), LoopState(80.0), WHEN_LIMITING) == (88, False, "recover", "below_threshold")
    assert after(tick(1.0), LoopState(95.0), WHEN_LIMITING) == (100, False, "recover", "below_threshold")


def test_when_limiting_it_grows_above_the_configured_rate_only_while_clients_are_limited():
    assert after(tick(1.0), None, WHEN_LIMITING) == (100, False, "hold", "not_limiting")
    assert after(tick(1.0, refused=True), None, WHEN_LIMITING)[2:] == ("recover", "below_threshold")


def test_when_limiting_a_rate_grown_above_the_configured_one_is_held_not_taken_back():
    assert after(tick(1.0), LoopState(250.0), WHEN_LIMITING) == (250, False, "hold", "not_limiting")


# the bounds themselves


@pytest.mark.parametrize("p95", [350.0, 500.0])
def test_a_value_exactly_at_a_bound_is_between(p95):
    assert after(tick(p95))[2:] == ("hold", "between_bounds")


@given(st.integers(1, 3_600_000))
def test_a_value_exactly_at_a_bound_is_between_whatever_way_the_bound_is_computed(threshold):
    settings = Adaptive(latency_threshold_ms=float(threshold))
    for p95 in (0.7 * threshold, 7 * threshold / 10, threshold * 70 / 100, float(threshold)):
        assert after(tick(p95), settings=settings)[3] == "between_bounds"
    assert after(tick(math.nextafter(float(threshold), math.inf)), settings=settings)[3] == "above_threshold"


# words


@pytest.mark.parametrize(
    ("seen", "state", "words"),
    [
        (tick(9.0, healthy=0), None, "hold: no healthy backend"),
        (tick(9.0, samples=4), None, "hold: 4 of 20 samples"),
        (tick(612.34), None, "reduce: P95 612.34 ms is above 500 ms, rate 100 → 80"),
        (
            tick(612.0),
            LoopState(80.0, just_reduced=True),
            "hold: P95 612 ms is above 500 ms, but the rate was reduced just before",
        ),
        (tick(612.0), LoopState(10.0), "hold: P95 612 ms is above 500 ms, but the rate is at min_rate 10"),
        (tick(40.0), LoopState(80.0), "recover: P95 40 ms is below 350 ms, rate 80 → 88"),
        (tick(40.0), LoopState(500.0), "hold: P95 40 ms is below 350 ms, but the rate is at max_rate 500"),
        (tick(412.0), None, "hold: P95 412 ms is between 350 and 500 ms"),
    ],
)
def test_the_words_name_what_the_decision_was_made_from(seen, state, words):
    assert decide(state or LoopState(RATE), seen, SETTINGS, RATE)[1].words == words


# what always holds


@st.composite
def loops(draw):
    """(settings, configured rate, ticks)"""
    low, configured, high = sorted(draw(st.lists(st.floats(0.5, 10_000), min_size=3, max_size=3)))
    settings = Adaptive(
        latency_threshold_ms=draw(st.floats(0.1, 10_000)),
        reduction_factor=draw(st.floats(0.01, 0.99)),
        recovery_factor=draw(st.floats(1.01, 10)),
        min_rate=low,
        max_rate=high,
        min_samples=draw(st.integers(0, 50)),
        grow=draw(st.sampled_from(["always", "when_limiting"])),
    )
    seen = st.builds(
        Tick,
        p95_ms=st.none() | st.floats(0, 20_000) | st.sampled_from([0.0, settings.latency_threshold_ms]),
        samples=st.integers(0, 100),
        healthy_backends=st.integers(0, 3),
        limiter_refused=st.booleans(),
    )
    return settings, configured, draw(st.lists(seen, min_size=1, max_size=40))


def run(loop):
    """[(tick, state before, state after, decision)]"""
    settings, configured, ticks = loop
    state, steps = LoopState(configured), []
    for seen in ticks:
        before, (state, decision) = state, decide(state, seen, settings, configured)
        steps.append((seen, before, state, decision))
    return steps


@given(loops())
def test_the_rate_is_always_within_its_bounds(loop):
    settings = loop[0]
    assert all(settings.min_rate <= state.rate <= settings.max_rate for _, _, state, _ in run(loop))


@given(loops())
def test_there_are_never_two_reductions_in_a_row(loop):
    actions = [decision.action for *_, decision in run(loop)]
    assert (Action.REDUCE, Action.REDUCE) not in pairwise(actions)


@given(loops())
def test_an_idle_or_dead_proxy_is_held(loop):
    settings = loop[0]
    for seen, before, state, decision in run(loop):
        if seen.healthy_backends == 0 or seen.samples < settings.min_samples:
            assert (decision.action, state.rate) == (Action.HOLD, before.rate)


@given(loops())
def test_a_hold_keeps_the_rate_and_every_other_action_moves_it_its_way(loop):
    for _, before, state, decision in run(loop):
        moved = (state.rate > before.rate) - (state.rate < before.rate)
        assert moved == {Action.HOLD: 0, Action.REDUCE: -1, Action.RECOVER: 1}[decision.action]
        assert state.just_reduced is (decision.action is Action.REDUCE)
        assert decision.words.startswith(f"{decision.action.value}: ")


@given(loops())
def test_every_action_has_its_codes(loop):
    moving = {Action.REDUCE: {Code.ABOVE_THRESHOLD}, Action.RECOVER: {Code.BELOW_THRESHOLD}}
    holding = set(Code) - {Code.ABOVE_THRESHOLD, Code.BELOW_THRESHOLD}
    assert all(decision.code in moving.get(decision.action, holding) for *_, decision in run(loop))


@given(loops())
def test_when_limiting_the_rate_passes_the_configured_one_only_while_clients_are_limited(loop):
    settings, configured, _ = loop
    for seen, before, state, _ in run(loop):
        if settings.grow == "when_limiting" and state.rate > before.rate and state.rate > configured:
            assert seen.limiter_refused


@given(st.floats(0, 1e6))
def test_a_rate_is_clamped_to_the_nearest_bound(rate):
    assert clamped(rate, SETTINGS) == (rate if 10 <= rate <= 500 else 10 if rate < 10 else 500)
