"""Breakers of several processes over one shared board."""

from __future__ import annotations

import os

import pytest

from aegis.config.schema import CircuitBreaker
from aegis.pool.breaker import State
from aegis.process.breaker import SharedBreaker
from aegis.process.shared import Board, BusyError
from tests.support.clock import ManualClock

SECTION = CircuitBreaker(failure_threshold=3, success_threshold=2, half_open_max_requests=2)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def pair(clock):
    board = Board(2)
    return [SharedBreaker(SECTION, board.slot(5, worker), clock) for worker in range(2)]


def fail(breaker, times=3):
    for _ in range(times):
        breaker.settle(breaker.admit(), succeeded=False)


def half_open(pair, clock):
    fail(pair[0])
    clock.advance(30)
    pair[0].tick()
    pair[1].follow()


def test_each_counts_its_own_and_the_first_to_reach_the_threshold_opens_for_all(pair):
    fail(pair[0], 2)
    fail(pair[1], 2)
    assert [breaker.state for breaker in pair] == [State.CLOSED] * 2
    fail(pair[0], 1)
    assert pair[1].follow()
    assert [breaker.state for breaker in pair] == [State.OPEN] * 2
    assert not pair[1].follow()


def test_a_result_of_before_a_transition_elsewhere_does_not_count(pair):
    permit = pair[1].admit()
    fail(pair[0])
    pair[1].follow()
    pair[1].settle(permit, succeeded=False)
    assert pair[1].epoch == pair[0].epoch == 1


def test_who_comes_second_to_a_transition_follows_the_first(pair):
    fail(pair[0])
    fail(pair[1])  # it has not looked yet
    assert pair[1].state is State.OPEN
    assert pair[1].epoch == 1


def test_half_open_permits_are_dealt_out_once(pair, clock):
    half_open(pair, clock)
    first, second = pair[0].admit(), pair[1].admit()
    assert None not in (first, second)
    assert pair[0].admit() is None
    assert not pair[1].admits
    pair[1].settle(second, succeeded=None)
    assert pair[0].admits


def test_successes_of_all_close_it(pair, clock):
    half_open(pair, clock)
    pair[0].settle(pair[0].admit(), succeeded=True)
    pair[1].settle(pair[1].admit(), succeeded=True)
    assert pair[1].state is State.CLOSED
    assert pair[0].follow()
    assert pair[0].state is State.CLOSED


def test_any_failure_in_half_open_reopens_for_all_and_frees_the_permits(pair, clock):
    half_open(pair, clock)
    stale = pair[1].admit()
    pair[0].settle(pair[0].admit(), succeeded=False)
    assert pair[0].state is State.OPEN
    pair[1].settle(stale, succeeded=True)  # of the half-open that is over
    pair[1].follow()
    assert pair[1].state is State.OPEN
    clock.advance(30)
    pair[1].tick()
    pair[0].follow()
    assert [breaker.admit() is not None for breaker in (*pair, *pair)] == [True, True, False, False]


def test_who_has_not_heard_that_it_closed_elsewhere_admits_by_the_new_state(pair, clock):
    half_open(pair, clock)
    for _ in range(2):
        pair[0].settle(pair[0].admit(), succeeded=True)
    assert pair[1].admit() == pair[0].epoch
    assert pair[1].state is State.CLOSED


def test_who_has_not_heard_that_it_opened_elsewhere_does_not_seem_to_admit(pair, clock):
    """It did, and a request asked for a permit for ever, which stopped the worker: nothing else had a turn."""
    half_open(pair, clock)
    pair[0].settle(pair[0].admit(), succeeded=False)
    assert pair[1].admit() is None
    assert not pair[1].admits


def test_permits_that_a_killed_worker_held_are_given_back():
    board = Board(2)
    clock = ManualClock()
    pair = [SharedBreaker(SECTION, board.slot(0, worker), clock) for worker in range(2)]
    half_open(pair, clock)
    pair[1].admit()
    pair[1].admit()
    assert not pair[0].admits
    board.forget_worker(1)
    assert pair[0].admits


def test_the_board_is_one_for_a_child_and_its_lock_excludes_other_processes():
    board = Board(1)
    (told, tell), (hear, release) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            with board.lock.held():
                board.rate = 7.5
                os.write(tell, b"1")
                os.read(hear, 1)  # until the parent has tried
        finally:
            os._exit(0)  # whatever happened: a second copy of this test run must not go on
    try:
        assert os.read(told, 1) == b"1"
        assert board.rate == 7.5
        with pytest.raises(BusyError), board.lock.held():
            pass
    finally:
        os.write(
            release, b"1"
        )  # no close: gevent closes at the next turn of its loop, and the child's loop stands still
        os.waitpid(child, 0)
        for descriptor in (told, tell, hear, release):
            os.close(descriptor)
    with board.lock.held():
        board.rate = 1
