"""Smooth weighted round-robin, as properties: what holds for any weights, any subset down, any change."""

from __future__ import annotations

from collections import Counter
from math import gcd

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.pool.backend import Backend, BackendState
from aegis.pool.backends import Backends
from aegis.pool.balancer import WeightedRoundRobin
from tests.support.lines_run import lines_run

weights = st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any)


def pool(*given_weights):
    """(policy, states) of backends with these weights."""
    states = [
        BackendState(Backend(f"b{number}", "http", "127.0.0.1", 80 + number, weight, ()), None)
        for number, weight in enumerate(given_weights)
    ]
    return WeightedRoundRobin(Backends(states)), states


def picks(policy, count):
    """The names of the next picks."""
    return [state.backend.name if (state := policy.pick()) else None for _ in range(count)]


def shares(policy, count):
    return Counter(picks(policy, count))


def wanted(states, rounds=1):
    return Counter({s.backend.name: int(s.effective_weight) * rounds for s in states if s.effective_weight})


def total(states):
    return sum(int(state.effective_weight) for state in states)


class Model:
    """The rule as the specification words it, computed pick by pick; debts of those who leave are forgotten."""

    def __init__(self, states):
        self.states = states
        self.current = {}

    def pick(self):
        eligible = [state for state in self.states if state.effective_weight > 0]
        self.current = {state: self.current.get(state, 0.0) for state in eligible}
        if not eligible:
            return None
        for state in eligible:
            self.current[state] += state.effective_weight
        winner = max(eligible, key=self.current.__getitem__)  # the first of equals
        self.current[winner] -= sum(state.effective_weight for state in eligible)
        return winner


# shares


def test_one_one_two_goes_in_this_order():
    policy, _ = pool(1, 1, 2)
    assert picks(policy, 12) == ["b2", "b0", "b1", "b2"] * 3


def test_the_heavy_one_is_spread_between_the_light_ones():
    policy, _ = pool(5, 1, 1)
    assert picks(policy, 7) == ["b0", "b0", "b1", "b0", "b2", "b0", "b0"]


@given(weights, st.integers(1, 4))
@settings(deadline=None, max_examples=200)
def test_over_the_sum_of_weights_each_gets_exactly_its_weight(given_weights, rounds):
    policy, states = pool(*given_weights)
    for _ in range(rounds):
        assert shares(policy, total(states)) == wanted(states)


@given(weights, st.integers(1, 100))
@settings(deadline=None, max_examples=200)
def test_any_stretch_stays_close_to_the_shares(given_weights, count):
    policy, states = pool(*given_weights)
    got = shares(policy, count)
    for state in states:
        share = count * state.effective_weight / total(states)
        assert abs(got[state.backend.name] - share) < len(states)


@given(weights, st.integers(2, 9))
@settings(deadline=None, max_examples=50)
def test_weights_with_a_common_factor_share_as_without_it(given_weights, factor):
    policy, _ = pool(*given_weights)
    scaled, _ = pool(*(weight * factor for weight in given_weights))
    count = 3 * sum(given_weights)
    assert picks(policy, count) == picks(scaled, count)


@given(weights, st.data())
@settings(deadline=None, max_examples=200)
def test_ratios_hold_for_any_subset_that_is_down(given_weights, data):
    policy, states = pool(*given_weights)
    for state in states:
        if data.draw(st.booleans()):
            state.set_healthy(healthy=False)
    count = total(states)
    if count:
        assert shares(policy, 2 * count) == wanted(states, 2)
    else:
        assert policy.pick() is None


@given(weights)
@settings(deadline=None, max_examples=50)
def test_a_weight_of_zero_is_never_picked(given_weights):
    policy, states = pool(0, *given_weights, 0)
    assert not {"b0", states[-1].backend.name} & set(shares(policy, 2 * total(states)))


def test_without_an_eligible_backend_there_is_none():
    policy, states = pool(1, 2)
    for state in states:
        state.set_drained(drained=True)
    assert picks(policy, 3) == [None, None, None]
    states[1].set_drained(drained=False)
    assert picks(policy, 2) == ["b1", "b1"]
    assert pool(0, 0)[0].pick() is None
    assert pool()[0].pick() is None


def test_both_health_and_drain_must_agree():
    policy, (first, second) = pool(1, 1)
    first.set_healthy(healthy=False)
    first.set_drained(drained=True)
    first.set_healthy(healthy=True)
    assert set(picks(policy, 4)) == {"b1"}
    first.set_drained(drained=False)
    assert set(picks(policy, 4)) == {"b0", "b1"}
    assert second.effective_weight == 1


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_a_warming_backend_gets_its_share_of_its_weight(share):
    policy, (_, warming) = pool(4, 4)
    warming.set_share(share)
    count = int(4 * (4 + 4 * share))
    assert shares(policy, count) == Counter({"b0": 16, "b1": int(16 * share)})


@given(weights, st.sets(st.integers(0, 5)), st.integers(0, 40))
@settings(deadline=None, max_examples=150)
def test_backends_that_refused_are_passed_over_and_the_shares_stay_exact(given_weights, refusing, before):
    policy, states = pool(*given_weights)
    picks(policy, before)
    passed = frozenset(states[place % len(states)] for place in refusing)
    others = {state for state in states if state.effective_weight and state not in passed}
    for _ in range(10):
        assert policy.pick(passed) in (others or {None})
    assert shares(policy, total(states)) == wanted(states)


# changes in the middle

changes = st.lists(
    st.tuples(
        st.integers(0, 50),  # picks before it
        st.integers(0, 5),  # which backend
        st.sampled_from(["down", "up", "drain", "resume", "quarter", "half", "full"]),
    ),
    max_size=8,
)


def change(states, place, what):
    state = states[place % len(states)]
    {
        "down": lambda: state.set_healthy(healthy=False),
        "up": lambda: state.set_healthy(healthy=True),
        "drain": lambda: state.set_drained(drained=True),
        "resume": lambda: state.set_drained(drained=False),
        "quarter": lambda: state.set_share(0.25),
        "half": lambda: state.set_share(0.5),
        "full": lambda: state.set_share(1.0),
    }[what]()


@given(weights, changes)
@settings(deadline=None, max_examples=300)
def test_a_change_in_the_middle_neither_loses_nor_repeats_what_is_owed(given_weights, moves):
    policy, states = pool(*given_weights)
    model = Model(states)
    for before, place, what in moves:
        for _ in range(before):
            assert policy.pick() is model.pick()
        change(states, place, what)
    for _ in range(3 * max(1, total(states)) + 20):
        assert policy.pick() is model.pick()


@given(weights, changes)
@settings(deadline=None, max_examples=200)
def test_whole_rounds_after_a_change_are_exact_once_debts_are_paid(given_weights, moves):
    policy, states = pool(*given_weights)
    for before, place, what in moves:
        picks(policy, before)
        change(states, place, what)
    quarters = {state.backend.name: round(state.effective_weight * 4) for state in states if state.effective_weight}
    if not quarters:
        assert policy.pick() is None
        return
    divisor = gcd(*quarters.values())
    period = sum(quarters.values()) // divisor
    picks(policy, 20 * period)
    for _ in range(2):
        assert shares(policy, period) == Counter({name: each // divisor for name, each in quarters.items()})


@given(weights, st.integers(0, 60))
@settings(deadline=None, max_examples=100)
def test_a_change_that_is_taken_back_at_once_changes_nothing(given_weights, before):
    policy, states = pool(*given_weights)
    calm, _ = pool(*given_weights)
    assert picks(policy, before) == picks(calm, before)
    states[0].set_share(0.5)
    states[0].set_share(1.0)
    count = 2 * total(states)
    assert picks(policy, count) == picks(calm, count)


def test_a_drained_backend_that_returns_is_not_flooded_with_what_it_missed():
    policy, states = pool(1, 1, 1)
    picks(policy, 4)
    states[0].set_drained(drained=True)
    picks(policy, 1001)
    states[0].set_drained(drained=False)
    assert 2 <= shares(policy, 9)["b0"] <= 4


# 300 backends do not slow the path


@pytest.mark.parametrize("heavy", [1, 3])
def test_300_backends_cost_a_pick_no_more_than_3(heavy):
    cost = {}
    for size in (3, 300):
        policy, states = pool(*[heavy] * (size - 1), 1)
        picks(policy, 2 * total(states))
        cost[size] = lines_run(lambda policy=policy: [policy.pick() for _ in range(50)])
    assert cost[300] == cost[3]


def test_300_backends_share_exactly():
    policy, states = pool(*(1 + number % 7 for number in range(300)))
    for _ in range(3):
        assert shares(policy, total(states)) == wanted(states)


def test_a_round_too_long_to_be_remembered_is_exact_too():
    policy, states = pool(100_003, 7, 1)
    assert shares(policy, total(states)) == wanted(states)
    assert shares(policy, total(states)) == wanted(states)


def test_a_policy_says_its_state():
    policy, states = pool(1, 1)
    policy.pick()
    assert "2 eligible" in repr(policy)
    assert "2 of 2" in repr(Backends(states))
    states[0].set_healthy(healthy=False)
    assert "down" in repr(states[0])
    states[1].set_drained(drained=True)
    assert "drained" in repr(states[1])
    assert repr(Backends(states)).startswith("<Backends 0 of 2")


def test_a_retry_costs_no_other_backend_its_turn():
    policy, states = pool(1, 1, 2)
    first, retried = Counter(), Counter()
    for _ in range(12):
        state = policy.pick()
        first[state.backend.name] += 1
        if state is states[2]:  # it refuses
            retried[policy.pick({state}).backend.name] += 1
    assert first == {"b0": 3, "b1": 3, "b2": 6}
    assert retried == {"b0": 3, "b1": 3}
