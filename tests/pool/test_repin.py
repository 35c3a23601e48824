"""Background re-resolution (specification §3.1): when a name is looked up again, and what becomes of the answer."""

from __future__ import annotations

import pytest

from aegis.pool.repin import AT_ONCE, Repinner
from aegis.transport.resolver import Address, VettingError
from tests.pool.states import kinds, pool

OLD, NEW, OTHER = (Address(f"192.0.2.{number}", 80) for number in (1, 7, 8))
BAD = VettingError("host a.test resolves to 10.0.0.1, which is private")
UNKNOWN = VettingError("host a.test does not resolve: unknown", unresolved=True)


class Settings:
    def at(self, addresses):
        return addresses


class LookUps:
    """Look-ups that the test ends when it likes, with what it likes."""

    def __init__(self, clock, names="a"):
        self.clock = clock
        self.backends, self.events = pool(clock, names)
        self.state = self.backends.get("a")
        self.redialled = []
        for state in self.backends:
            state.connections.dial_settings = Settings()
            state.connections.redial = self.redialled.append
        self.open = []
        self.repinner = Repinner(self.backends, None, self.start, self.events, clock)

    def start(self, look_up, backend):
        self.open.append(Pending(backend.name))
        return self.open[-1]

    def ask(self, found):
        """A failure, the look-up that follows at once or not at all, and its answer."""
        self.state.suspect = True
        self.repinner.tick()
        for each in self.open:
            each.found = found
        count, self.open = len(self.open), []
        self.repinner.tick()
        return count


class Pending:
    def __init__(self, name):
        self.name, self.found = name, None

    def ready(self):
        return self.found is not None

    def get(self):
        return self.found


@pytest.fixture
def lookups(clock):
    return LookUps(clock)


def test_nothing_is_looked_up_while_nothing_fails(lookups):
    for _ in range(100):
        lookups.clock.advance(10)
        lookups.repinner.tick()
    assert lookups.open == []


def test_good_addresses_are_pinned_and_said(lookups):
    assert lookups.ask((NEW, OTHER)) == 1
    assert lookups.state.backend.addresses == (NEW, OTHER)
    assert lookups.redialled == [(NEW, OTHER)]
    (event,) = lookups.events.since()
    assert (event.kind, event.message) == (
        "resolved",
        "a is now at 192.0.2.7:80, 192.0.2.8:80, no longer at 192.0.2.1:80",
    )


def test_the_same_addresses_in_another_order_change_nothing(lookups):
    lookups.ask((NEW, OLD))
    lookups.clock.advance(10)
    lookups.ask((OLD, NEW))
    assert lookups.state.backend.addresses == (NEW, OLD)
    assert kinds(lookups.events) == ["resolved"]
    assert len(lookups.redialled) == 1


@pytest.mark.parametrize(("found", "kind"), [(BAD, "resolve_refused"), (UNKNOWN, "resolve_failed")])
def test_what_is_bad_or_unknown_keeps_the_old_addresses_and_is_said_once(lookups, found, kind):
    for _ in range(5):
        assert lookups.ask(found) == 1
        lookups.clock.advance(10)
    assert lookups.state.backend.addresses == (OLD,)
    assert lookups.redialled == []
    assert kinds(lookups.events) == [kind]
    (event,) = lookups.events.since()
    assert event.level == "WARNING"
    assert str(found) in event.message
    lookups.ask((OLD,))
    lookups.clock.advance(10)
    lookups.ask(found)  # news again, after it was well
    assert kinds(lookups.events) == [kind, kind]


def test_at_most_every_ten_seconds_a_backend(lookups):
    assert [lookups.ask((OLD,)) for _ in range(5)] == [1, 0, 0, 0, 0]
    lookups.clock.advance(9.9)
    assert lookups.ask((OLD,)) == 0
    lookups.clock.advance(0.1)
    assert lookups.ask((OLD,)) == 1


def test_a_failure_within_the_ten_seconds_is_not_forgotten(lookups):
    lookups.ask((OLD,))
    lookups.ask((OLD,))
    lookups.clock.advance(10)
    lookups.repinner.tick()
    assert len(lookups.open) == 1


def test_a_look_up_that_takes_long_is_not_started_twice(lookups):
    lookups.state.suspect = True
    for _ in range(20):
        lookups.repinner.tick()
        lookups.state.suspect = True
        lookups.clock.advance(10)
    assert len(lookups.open) == 1


def test_an_address_is_never_looked_up(clock):
    lookups = LookUps(clock)
    lookups.state.backend = lookups.state.backend.__class__("a", "http", "192.0.2.1", 80, 1, (OLD,))
    assert lookups.ask((NEW,)) == 0


def test_as_many_at_once_as_there_are_threads(clock):
    lookups = LookUps(clock, "abcdefgh")
    for state in lookups.backends:
        state.suspect = True
    lookups.repinner.tick()
    assert len(lookups.open) == AT_ONCE
    for each in lookups.open:
        each.found = (OLD,)
    lookups.repinner.tick()
    assert sorted(each.name for each in lookups.open) == list("abcdefgh")


def test_what_a_reload_removed_is_let_go(clock):
    lookups = LookUps(clock, "ab")
    lookups.state.suspect = True
    lookups.repinner.tick()
    lookups.open[0].found = (NEW,)
    lookups.backends.replace([lookups.backends.get("b").backend], None)
    lookups.repinner.tick()
    assert lookups.state.backend.addresses == (OLD,)
    assert "0 look-ups" in repr(lookups.repinner)
