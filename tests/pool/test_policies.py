"""What every policy owes, and the two that look at how busy backends are."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from math import e

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.config.schema import Balancing
from aegis.pool.backends import Backends
from aegis.pool.least_connections import SLACK, LeastConnections
from aegis.pool.peak_ewma import PeakEwma, PowerOfTwo
from aegis.pool.policies import POLICIES, policy_of
from tests.pool.states import backend, make
from tests.support.clock import ManualClock
from tests.support.lines_run import lines_run

weights = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def pool(*given_weights):
    """(backends b0, b1, … of these weights, the clock of their breakers)"""
    clock = ManualClock()
    return Backends([make(clock, name=f"b{n}", weight=w) for n, w in enumerate(given_weights)], clock=clock), clock


def two_choices(backends, clock, seed=1):
    return PowerOfTwo(backends, clock, random.Random(seed).random)


def take(policy):
    state = policy.pick()
    return state, state.take(False)


def shares(policy, count):
    """Of that many requests, each over before the next."""
    found = Counter()
    for _ in range(count):
        state, connection = take(policy)
        state.give_back(connection, True, True)
        found[state.backend.name] += 1
    return found


# every policy


@pytest.fixture(params=sorted(POLICIES))
def made(request):
    """(policy, backends, clock) of three backends."""
    backends, clock = pool(1, 1, 1)
    return policy_of(Balancing(policy=request.param), backends), backends, clock


def names(policy, count=60, **options):
    return {state.backend.name if (state := policy.pick(**options)) else None for _ in range(count)}


def test_only_eligible_backends_are_picked(made):
    policy, backends, clock = made
    assert names(policy) == {"b0", "b1", "b2"}
    backends.states[0].set_healthy(healthy=False)
    assert names(policy) == {"b1", "b2"}
    backends.states[1].set_drained(drained=True)
    assert names(policy) == {"b2"}
    for _ in range(5):
        backends.states[2].give_back(backends.states[2].take(False), False, False)
    assert names(policy) == {None}
    clock.advance(30)
    backends.tick()
    assert names(policy) == {"b2"}
    backends.states[0].set_healthy(healthy=True)
    assert names(policy) == {"b0", "b2"}


def test_half_open_gets_no_more_than_its_places_whatever_the_policy(made):
    policy, backends, clock = made
    state = backends.states[0]
    for _ in range(5):
        state.give_back(state.take(False), False, False)
    clock.advance(30)
    backends.tick()
    held = [take(policy) for _ in range(60)]
    assert state.in_flight <= 3
    for each, connection in held:
        each.give_back(connection, True, None)
    assert backends.in_flight() == 0
    assert state.breaker.permits == 0


def test_those_that_failed_are_passed_over(made):
    policy, backends, _ = made
    first, second, third = backends.states
    assert names(policy, passing_over={first}) == {"b1", "b2"}
    assert names(policy, passing_over={first, third}) == {"b1"}
    assert names(policy, passing_over={first, second, third}) == {None}
    assert names(policy) == {"b0", "b1", "b2"}


def test_backends_that_come_and_go_are_seen(made):
    policy, backends, clock = made
    names(policy)
    held = backends.states[0]
    connection = held.take(False)
    backends.replace([backend("b1"), backend("new")], lambda new: make(clock, name=new.name))
    held.give_back(connection, True, True)
    shares(policy, 1)  # it has seen the new one from here on
    for state in backends:
        state.record(5.0, clock())
    assert names(policy) == {"b1", "new"}


def test_another_policy_takes_over_what_is_in_flight(made):
    policy, backends, _ = made
    held = [take(policy) for _ in range(9)]
    for name in POLICIES:
        following = policy_of(Balancing(policy=name), backends)
        assert shares(following, 50).total() == 50
        held.append(take(following))
    for state, connection in held:
        state.give_back(connection, True, True)
    assert backends.in_flight() == 0
    policy_of(Balancing(), backends)
    assert {state.released for state in backends} == {None}
    assert all(state.record == state.window.record for state in backends)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_warming_backend_gets_less_whatever_the_policy(name):
    backends, clock = pool(4, 4)
    policy = policy_of(Balancing(policy=name), backends)
    for state in backends:
        state.record(10.0, clock())
    got = []
    for share in (0.25, 0.5, 0.75, 1.0):
        backends.states[1].set_share(share)
        got.append(shares(policy, 4000)["b1"] / 4000)
    for share, found in zip((0.25, 0.5, 0.75, 1.0), got, strict=True):
        assert found == pytest.approx(share / (1 + share), abs=0.04)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_without_load_weights_are_shares_whatever_the_policy(name):
    backends, clock = pool(1, 2, 5)
    policy = policy_of(Balancing(policy=name), backends)
    for state in backends:
        state.record(10.0, clock())
    got = shares(policy, 8000)
    for state in backends:
        assert got[state.backend.name] / 8000 == pytest.approx(state.backend.weight / 8, abs=0.05)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_300_backends_cost_a_request_hardly_more_than_3(name):
    cost = {}
    for size in (3, 300):
        backends, clock = pool(*[1] * size)
        policy = policy_of(Balancing(policy=name), backends)
        policy.pick()
        for state in backends:
            state.record(10.0, clock())
        shares(policy, 2 * size)
        cost[size] = lines_run(partial(shares, policy, 300))
    assert cost[300] <= cost[3] * 1.1


# least connections


@given(weights, st.lists(st.integers(0, 12), max_size=150), st.data())
@settings(deadline=None, max_examples=200)
def test_the_fewest_in_flight_over_the_weight_is_picked_whatever_was_taken_and_given_back(given_weights, moves, data):
    backends, _ = pool(*given_weights)
    policy, held = LeastConnections(backends), []
    for move in moves:
        if move < 7:
            loads = {state: state.in_flight / state.effective_weight for state in backends if state.eligible}
            picked = policy.pick()
            if picked is None:
                assert not loads
                continue
            assert loads[picked] == min(loads.values())
            held.append((picked, picked.take(False)))
        elif move < 11 and held:
            state, connection = held.pop(data.draw(st.integers(0, len(held) - 1)))
            state.give_back(connection, True, True)
        else:
            state = backends.states[move % len(backends.states)]
            state.set_drained(drained=not state.drained)


def test_equal_loads_take_turns():
    backends, _ = pool(1, 1, 1)
    assert [LeastConnections(backends).pick().backend.name for _ in range(3)] == ["b0", "b0", "b0"]
    policy = LeastConnections(backends)
    assert shares(policy, 9) == {"b0": 3, "b1": 3, "b2": 3}


def test_one_that_joins_is_not_flooded_with_the_turns_it_missed():
    backends, _ = pool(1, 1, 1)
    policy = LeastConnections(backends)
    backends.states[0].set_drained(drained=True)
    shares(policy, 1000)
    backends.states[0].set_drained(drained=False)
    assert shares(policy, 30)["b0"] <= 11


def test_what_is_outdated_on_the_heap_is_bounded():
    backends, _ = pool(1, 1, 1)
    policy = LeastConnections(backends)
    busy = [take(policy) for _ in range(30)]
    shares(policy, 10_000)
    assert len(policy._heap) <= 4 * 3 + SLACK + 1
    for state, connection in busy:
        state.give_back(connection, True, True)
    assert backends.in_flight() == 0


# peak EWMA


def test_a_latency_rises_at_once_and_falls_over_ten_seconds():
    seen = []
    latency = PeakEwma(lambda *sample: seen.append(sample))
    assert latency.at(0) is None
    latency.record(10, 100.0)
    latency.record(200, 100.0)
    assert latency.at(100.0) == 200
    assert latency.at(110.0) == pytest.approx(200 / e)
    latency.record(10, 110.0)
    assert latency.at(110.0) == pytest.approx(200 / e + 10 * (1 - 1 / e))
    assert seen == [(10, 100.0), (200, 100.0), (10, 110.0)]  # the window sees every sample too


def test_the_window_is_fed_whoever_listens(made):
    policy, backends, clock = made
    policy.pick()
    for state in backends:
        state.record(5.0, clock())
    assert [state.window.total for state in backends] == [1, 1, 1]


def test_the_lower_latency_times_in_flight_plus_one_wins():
    backends, clock = pool(1, 1)
    policy = two_choices(backends, clock)
    policy.pick()
    slow, fast = backends.states
    slow.record(100, clock())
    fast.record(10, clock())
    assert [take(policy)[0] for _ in range(9)] == [fast] * 9
    taken = Counter(take(policy)[0].backend.name for _ in range(22))
    assert taken == {"b0": 2, "b1": 20}


def test_a_backend_without_samples_is_no_slower_than_the_mean_while_that_is_remembered():
    backends, clock = pool(1, 1)
    policy = two_choices(backends, clock)
    policy.pick()
    backends.states[0].record(5.0, clock())
    policy.pick()
    clock.advance(0.5)
    assert names(policy) == {"b0", "b1"}


def test_a_backend_without_samples_counts_as_the_pools_mean():
    backends, clock = pool(1, 1, 1)
    policy = two_choices(backends, clock)
    policy.pick()
    backends.states[0].record(10, clock())
    backends.states[1].record(30, clock())
    clock.advance(0.001)
    costs = [policy._cost(state, clock()) for state in backends]
    assert costs == pytest.approx([10, 30, 20], rel=0.01)
    assert shares(policy, 300)["b1"] == 0


def test_a_slow_backend_is_tried_again_once_its_latency_has_decayed():
    backends, clock = pool(1, 1)
    policy = two_choices(backends, clock)
    policy.pick()
    slow, fast = backends.states
    slow.record(1000, clock())
    seconds = 0
    while True:
        fast.record(10, clock())
        if policy.pick() is slow:
            break
        clock.advance(1)
        seconds += 1
    assert 40 < seconds < 60  # 10 s × ln 100


@given(weights, st.integers(0, 1000))
@settings(deadline=None, max_examples=100)
def test_two_choices_are_always_two_and_within_the_eligible(given_weights, seed):
    backends, clock = pool(*given_weights)
    policy = two_choices(backends, clock, seed)
    policy.pick()
    for _ in range(30):
        if len(given_weights) > 1:
            first, second = policy._draw(policy._bounds)
            assert first != second
            assert {first, second} - {None} <= set(range(len(given_weights)))


def test_policies_say_their_state(made):
    policy, _, _ = made
    policy.pick()
    assert "3 eligible" in repr(policy)


def test_where_rounding_draws_the_same_twice_the_first_choice_stands():
    """2.6 − (2.6 − 0.1) is a little more than 0.1: the highest chance there is falls behind the only other place."""
    backends, clock = pool(1, 1)
    drawn = iter([0.5, 1 - 2**-53])
    assert PowerOfTwo(backends, clock, drawn.__next__)._draw([0.1, 2.6]) == (1, None)
