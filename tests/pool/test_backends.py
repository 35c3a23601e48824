"""All backends together: eligibility, permits and places, when to come back, and what a reload makes of them."""

from __future__ import annotations

import pytest

from aegis.config.schema import CircuitBreaker
from aegis.pool.balancer import WeightedRoundRobin
from aegis.pool.breaker import NOBODYS, State
from aegis.pool.health import Condition
from tests.pool.states import backend, kinds, make, pool, run


def trip(state):
    for _ in range(5):
        run(state, False)


# permits and places


@pytest.mark.parametrize("succeeded", [True, False, None])
def test_what_was_taken_is_given_back_once_in_every_state_of_the_breaker(clock, succeeded):
    backends, _ = pool(clock, "a")
    state = backends.get("a")
    trip(state)
    clock.advance(30)
    backends.tick()
    connection = state.take(False)
    assert (state.in_flight, state.breaker.permits, state.connections.out) == (1, 1, 1)
    state.give_back(connection, False, succeeded)
    assert (state.in_flight, state.breaker.permits, state.connections.out) == (0, 0, 0)


def test_half_open_takes_the_backend_out_when_its_places_are_taken_and_in_when_one_is_free(clock):
    backends, _ = pool(clock, "ab")
    a, policy = backends.get("a"), WeightedRoundRobin(backends)
    trip(a)
    clock.advance(30)
    backends.tick()
    taken = []
    for _ in range(20):
        state = policy.pick()
        taken.append((state, state.take(False)))
    of_a = [connection for state, connection in taken if state is a]
    assert len(of_a) == 3
    a.give_back(of_a[0], True, None)
    assert a in {policy.pick() for _ in range(4)}


def test_an_open_breaker_takes_the_backend_out_of_every_policy_at_once(clock):
    backends, _ = pool(clock, "ab")
    policy = WeightedRoundRobin(backends)
    for _ in range(10):
        policy.pick()
    trip(backends.get("a"))
    assert {policy.pick().backend.name for _ in range(10)} == {"b"}


def test_a_closed_breaker_without_a_failure_is_not_asked(clock, monkeypatch):
    backends, _ = pool(clock, "a")
    state = backends.get("a")
    before = backends.version
    for call in ("admit", "settle"):
        monkeypatch.setattr(type(state.breaker), call, None)
    for _ in range(10):
        run(state, True)
    assert (state.in_flight, backends.version) == (0, before)


def test_an_event_stream_counts_as_a_success_while_it_goes_on(clock):
    backends, _ = pool(clock, "a")
    state = backends.get("a")
    trip(state)
    clock.advance(30)
    backends.tick()
    streams = []
    for _ in range(3):
        streams.append(state.take(False))
        state.settle_early(streams[-1])
    assert state.breaker.state is State.CLOSED
    assert {connection.permit for connection in streams} == {NOBODYS}
    for connection in streams:
        state.give_back(connection, False, False)
    assert (state.in_flight, state.breaker.streak) == (0, 0)


def test_failures_are_counted_also_those_that_come_too_late_for_the_breaker(clock):
    backends, _ = pool(clock, "a")
    state = backends.get("a")
    late = state.take(False)
    trip(state)
    state.give_back(late, False, False)
    assert state.failures == 6


def test_each_transition_is_an_event_and_opening_a_warning(clock):
    backends, events = pool(clock, "a")
    trip(backends.get("a"))
    clock.advance(30)
    backends.tick()
    assert kinds(events) == ["breaker", "breaker"]
    opened, half = events.since()
    assert (opened.level, opened.fields["breaker"], half.level) == ("WARNING", "open", "INFO")


# when to come back


def test_retry_after_is_the_soonest_probe_or_half_open(clock):
    backends, _ = pool(clock, "abc")
    a, b, c = backends.states
    c.set_drained(drained=True)
    for state, ago in ((a, 3.5), (b, 1.0)):
        state.probed_at = clock() - ago
        state.set_healthy(healthy=False)
    assert backends.retry_after(10) == 7
    trip(a)  # down and open: the later of the two
    assert backends.retry_after(10) == 9
    b.set_healthy(healthy=True)
    trip(b)
    clock.advance(18)
    assert backends.retry_after(10) == 12


def test_retry_after_is_at_least_one_second(clock):
    backends, _ = pool(clock, "a")
    backends.get("a").set_healthy(healthy=False)
    backends.get("a").probed_at = clock() - 60
    assert backends.retry_after(10) == 1
    backends.get("a").set_drained(drained=True)
    assert backends.retry_after(10) == 1


# a reload


@pytest.fixture
def held(clock):
    """`a`: down, its breaker open, drained, two requests in flight; `b` warming up; `c`."""
    backends, _ = pool(clock, "abc")
    a, b, _ = backends.states
    a.take(False)
    a.take(False)
    trip(a)
    a.set_healthy(healthy=False)
    a.set_drained(drained=True)
    b.set_share(0.5)
    return backends


def test_what_stays_keeps_its_state(held, clock):
    a, b, c = held.states
    added, removed = held.replace([backend("b", 3), backend("a", 2)], lambda new: make(clock, name=new.name))
    assert (added, removed) == ([], [c])
    assert held.states == (b, a)
    assert (a.healthy, a.drained, a.in_flight, a.breaker.state) == (False, True, 2, State.OPEN)
    assert (a.backend.weight, b.effective_weight) == (2, 1.5)


def test_what_is_new_begins_as_at_start_and_is_picked(held, clock):
    policy = WeightedRoundRobin(held)
    policy.pick()
    added, _ = held.replace([backend("b"), backend("d")], lambda new: make(clock, name=new.name))
    assert [state.backend.name for state in added] == ["d"]
    assert {policy.pick().backend.name for _ in range(6)} == {"b", "d"}


def test_what_is_gone_gets_nothing_new_and_ends_what_it_has(held, clock):
    policy, c = WeightedRoundRobin(held), held.states[2]
    connection = c.take(False)
    held.replace([backend("b")], lambda new: make(clock, name=new.name))
    assert {policy.pick().backend.name for _ in range(6)} == {"b"}
    assert c.connections.retired
    version = held.version
    c.give_back(connection, True, True)
    trip(c)
    assert (c.in_flight, held.version) == (0, version)


def test_the_same_name_at_another_url_is_another_backend(held, clock):
    a = held.get("a")
    added, removed = held.replace([backend("a", port=81)], lambda new: make(clock, name=new.name, port=new.port))
    assert removed[0] is a
    assert [state.backend.port for state in added] == [81]
    assert held.get("a").healthy


def test_a_weight_of_0_drains_and_another_brings_back(held, clock):
    def name_and_weight(new):
        return make(clock, name=new.name, weight=new.weight)

    held.replace([backend("b", 0), backend("c")], name_and_weight)
    assert not held.get("b").eligible
    held.replace([backend("b", 1), backend("c")], name_and_weight)
    assert held.get("b").eligible


def test_other_thresholds_of_the_breakers_change_who_is_eligible_at_once(clock):
    backends, _ = pool(clock, "a")
    state = backends.get("a")
    trip(state)
    clock.advance(30)
    backends.tick()
    state.take(False)
    version = backends.version
    backends.reconfigure(CircuitBreaker(half_open_max_requests=1))
    assert not state.eligible
    assert backends.version > version


def test_a_backend_says_its_state(held):
    assert repr(held.get("a")) == "<Backend a down open drained 2 in flight>"


class Parked:
    """Stands for a backend's pool with so many connections parked."""

    def __init__(self, count):
        self.count = count

    def idle(self):
        return list(range(self.count))

    def drop_oldest(self):
        self.count -= 1
        return True


def test_the_backend_with_the_most_parked_connections_gives_one_up(clock):
    backends, _ = pool(clock, "abc")
    for state, count in zip(backends, (1, 3, 2), strict=True):
        state.connections = Parked(count)
    for left in ((1, 2, 2), (1, 1, 2), (1, 1, 1)):
        assert backends.drop_parked()
        assert tuple(state.connections.count for state in backends) == left


def test_what_a_reload_adds_after_the_first_round_of_probes_is_not_waited_for(clock):
    backends, _ = pool(clock, "a")
    assert backends.unprobed == [backends.get("a")]
    backends.get("a").health.count(passed=True)
    backends.replace([backend("a"), backend("b")], lambda new: make(clock, name=new.name))
    assert backends.get("b").health.condition is Condition.UNKNOWN
    assert backends.unprobed == []
