"""The circuit breaker of the specification, §6, on a clock of the test."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.config.schema import CircuitBreaker
from aegis.pool.breaker import NOBODYS, TRANSITIONS, Breaker, Event, State
from tests.support.clock import ManualClock


@pytest.fixture
def breaker(clock):
    """With the defaults: 5 failures, 3 successes, 30 s, 3 at once."""
    return Breaker(CircuitBreaker(), clock)


def settle(breaker, *outcomes):
    for succeeded in outcomes:
        breaker.settle(breaker.admit(), succeeded)


def trip(breaker):
    settle(breaker, *[False] * 5)
    assert breaker.state is State.OPEN


def half_open(breaker, clock):
    trip(breaker)
    clock.advance(30)
    breaker.tick()
    assert breaker.state is State.HALF_OPEN


def test_opens_after_failure_threshold_failures_in_a_row(breaker):
    settle(breaker, *[False] * 4)
    assert breaker.state is State.CLOSED
    settle(breaker, False)
    assert breaker.state is State.OPEN


def test_a_success_resets_the_count(breaker):
    for _ in range(3):
        settle(breaker, *[False] * 4, True)
    assert breaker.state is State.CLOSED
    assert breaker.streak == 0


def test_a_client_that_left_counts_neither_way(breaker):
    settle(breaker, False, False, None, False, None, False)
    assert breaker.streak == 4
    settle(breaker, None, False)
    assert breaker.state is State.OPEN


def test_open_admits_nothing(breaker):
    trip(breaker)
    assert not breaker.admits
    assert breaker.admit() is None


def test_half_opens_after_open_timeout_and_not_before(breaker, clock):
    trip(breaker)
    clock.advance(29.9)
    breaker.tick()
    assert breaker.state is State.OPEN
    assert breaker.half_open_in() == pytest.approx(0.1)
    clock.advance(0.1)
    breaker.tick()
    assert breaker.state is State.HALF_OPEN
    assert breaker.half_open_in() == 0


def test_half_open_admits_at_most_half_open_max_requests_at_once(breaker, clock):
    half_open(breaker, clock)
    permits = [breaker.admit() for _ in range(3)]
    assert None not in permits
    assert breaker.admit() is None
    breaker.settle(permits[0], None)
    assert breaker.admit() is not None
    assert breaker.admit() is None


def test_closes_after_success_threshold_successes(breaker, clock):
    half_open(breaker, clock)
    settle(breaker, True, True)
    assert breaker.state is State.HALF_OPEN
    settle(breaker, True)
    assert breaker.state is State.CLOSED
    assert not breaker.guarded


def test_reopens_on_any_failure_in_half_open(breaker, clock):
    half_open(breaker, clock)
    settle(breaker, True, True, False)
    assert breaker.state is State.OPEN
    assert breaker.half_open_in() == 30


def test_results_of_requests_started_before_the_last_transition_do_not_count(breaker, clock):
    closed = [breaker.admit() for _ in range(10)]
    half_open(breaker, clock)
    for permit in closed:
        breaker.settle(permit, True)
        breaker.settle(permit, False)
    assert breaker.state is State.HALF_OPEN
    assert breaker.permits == 0
    earlier = breaker.admit()
    settle(breaker, False)
    clock.advance(30)
    breaker.tick()
    breaker.settle(earlier, False)
    assert breaker.state is State.HALF_OPEN
    settle(breaker, True, True, True)
    breaker.settle(earlier, False)
    assert breaker.streak == 0


def test_a_permit_that_is_settled_already_counts_nothing(breaker):
    breaker.settle(NOBODYS, False)
    assert breaker.streak == 0


def test_only_a_closed_breaker_without_a_failure_is_unguarded(breaker, clock):
    assert not breaker.guarded
    settle(breaker, False)
    assert breaker.guarded
    settle(breaker, True)
    assert not breaker.guarded
    trip(breaker)
    assert breaker.guarded
    clock.advance(30)
    breaker.tick()
    assert breaker.guarded


def test_each_transition_is_told_and_counted(clock):
    told = []
    breaker = Breaker(CircuitBreaker(), clock, lambda before, event: told.append((before, event)))
    half_open(breaker, clock)
    settle(breaker, False)
    clock.advance(30)
    breaker.tick()
    settle(breaker, True, True, True)
    assert [event for _, event in told] == [
        Event.FAILURES_REACHED,
        Event.TIMEOUT_PASSED,
        Event.FAILURE,
        Event.TIMEOUT_PASSED,
        Event.SUCCESSES_REACHED,
    ]
    assert breaker.to == {State.CLOSED: 1, State.OPEN: 2, State.HALF_OPEN: 2}


def test_other_thresholds_hold_at_once_and_the_state_stays(breaker, clock):
    trip(breaker)
    breaker.reconfigure(CircuitBreaker(open_timeout=5, half_open_max_requests=1, success_threshold=1))
    clock.advance(5)
    breaker.tick()
    permit = breaker.admit()
    assert breaker.admit() is None
    breaker.settle(permit, True)
    assert breaker.state is State.CLOSED


def test_every_state_is_left_and_reached_by_the_table():
    assert {state for state, _ in TRANSITIONS} == set(State) == set(TRANSITIONS.values())


def test_a_breaker_says_its_state(breaker):
    trip(breaker)
    assert repr(breaker) == "<Breaker open streak=0 permits=0>"


moves = st.lists(
    st.one_of(
        st.just("admit"),
        st.just("pass"),
        st.tuples(st.just("settle"), st.integers(0, 20), st.sampled_from([True, False, None])),
    ),
    max_size=120,
)


@given(moves)
@settings(deadline=None, max_examples=300)
def test_whatever_comes_permits_are_never_more_than_allowed_and_return_to_zero(given_moves):
    clock = ManualClock()
    section = CircuitBreaker(failure_threshold=2, success_threshold=2, open_timeout=3, half_open_max_requests=2)
    breaker, out = Breaker(section, clock), []
    for move in given_moves:
        if move == "admit":
            permit = breaker.admit()
            assert (permit is None) is (breaker.state is State.OPEN or (permit is None and breaker.permits == 2))
            if permit is not None:
                out.append(permit)
        elif move == "pass":
            clock.advance(1)
            breaker.tick()
        elif out:
            _, place, succeeded = move
            breaker.settle(out.pop(place % len(out)), succeeded)
        if breaker.state is State.HALF_OPEN:
            assert breaker.permits == sum(permit == breaker.epoch for permit in out) <= 2
        assert breaker.guarded or (breaker.state is State.CLOSED and breaker.streak == 0)
    for permit in out:
        breaker.settle(permit, None)
    assert breaker.permits == 0
