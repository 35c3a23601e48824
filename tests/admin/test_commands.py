"""What the commands say, and their exit codes."""

from __future__ import annotations

import pytest

from aegis.admin import commands
from aegis.control import Reloaded
from aegis.service.verbs import Verbs
from tests.service.observed import Watched
from tests.support.clock import ManualClock


@pytest.fixture
def watched():
    watched = Watched()
    watched.observer.enter("serving")
    return watched


@pytest.fixture
def said():
    return []


def verbs_of(watched, reload=None):
    return Verbs(watched.parts.backends, watched.observer.board, watched.parts.events, reload)


class Drain:
    """A drain on a clock of the test: `then` is called at each look, with the number of the look."""

    def __init__(self, watched, said, then, *, look=True):
        self.watched, self.then, self.look, self.looks, self.clock = watched, then, look, 0, ManualClock()
        self.code = commands.drain(verbs_of(watched), "a", said.append, self.sleep, self.clock)

    def sleep(self, seconds):
        self.clock.advance(seconds)
        self.looks += 1
        assert self.looks < 1000, "it does not end"
        self.then(self.looks)
        if self.look:
            self.watched.second()


def test_status_is_0_when_ready_and_shows_every_backend(watched, said):
    watched.ended()
    watched.state("b").set_share(0.5)
    watched.state("a").window.record(12.34, watched.clock())
    watched.second()
    assert commands.status(verbs_of(watched), said.append) == 0
    assert said[0].endswith("serving for 1s, ready")
    assert said[1] == "requests     1, 1.0/s, 0 in flight  2xx 1"
    head, a, b, idle = said[-4:]
    assert head.split("  ")[0] == "BACKEND"
    assert a.split() == ["a", "up", "closed", "1", "0", "0", "0", "12.3", "12.3", "12.3"]
    assert b.split() == ["b", "up", "closed", "2", "(50%)", "0", "0", "0", "-", "-", "-"]
    assert idle.split()[:3] == ["idle", "up,", "drained"]


def test_status_says_why_a_backend_is_down(watched, said):
    watched.state("a").health_error = "GET /health answered 503"
    watched.second()
    commands.status(verbs_of(watched), said.append)
    assert said[-1] == "a: the last probe failed: GET /health answered 503"


def test_status_is_1_when_not_ready_and_says_what_is_missing(watched, said):
    watched.observer.enter("draining")
    assert commands.status(verbs_of(watched), said.append) == 1
    assert said[0].endswith("NOT READY: stopping")


def test_columns_are_as_wide_as_their_widest_cell():
    assert commands.table([("A", "B", "C"), ("long", "b", "")]) == ["A     B  C", "long  b"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m 0s"), (185, "3m 5s"), (7380, "2h 3m"), (439_200, "5d 2h")],
)
def test_durations_have_two_units(seconds, text):
    assert commands.duration(seconds) == text


def test_drain_says_how_many_are_in_flight_until_the_backend_is_empty(watched, said):
    state = watched.state("a")
    state.in_flight = 2

    def then(look):
        state.in_flight = 2 if look < 6 else 1 if look < 10 else 0

    assert Drain(watched, said, then).code == 0
    assert said == [
        "a gets no new requests, 2 in flight",
        "a: 2 in flight",
        "a: 1 in flight",
        "a is empty",
    ]


def test_drain_of_an_idle_backend_waits_for_a_snapshot_from_after_the_drain(watched, said):
    state = watched.state("a")
    published = []

    def then(look):
        state.in_flight = 1 if look < 8 else 0  # came in just before the drain; the old snapshot does not show it
        if look >= 3:
            published.append(watched.second())

    assert Drain(watched, said, then, look=False).code == 0
    assert said[-1] == "a is empty"
    assert len(published) >= 5


def test_a_resume_meanwhile_ends_the_drain_with_1(watched, said):
    state = watched.state("a")
    state.in_flight = 1

    def then(look):
        if look == 4:
            state.set_drained(drained=False)

    assert Drain(watched, said, then).code == 1
    assert said[-1] == "a was resumed before it was empty"


def test_a_backend_that_a_reload_removes_ends_the_drain_with_1(watched, said):
    watched.state("a").in_flight = 1

    def then(look):
        if look == 4:
            watched.parts.backends.states = watched.parts.backends.states[1:]

    assert Drain(watched, said, then).code == 1
    assert said[-1] == "a is no longer configured"


def test_resume(watched, said):
    verbs = verbs_of(watched)
    verbs.drain("a")
    assert commands.resume(verbs, "a", said.append) == 0
    assert said == ["a gets requests again"]


@pytest.mark.parametrize(
    ("done", "lines"),
    [
        (Reloaded(applied=(), needs_restart=()), ["nothing changed"]),
        (
            Reloaded(applied=("a: 1 → 2",), needs_restart=("b: 3 → 4",)),
            ["applied: a: 1 → 2", "needs a restart: b: 3 → 4"],
        ),
    ],
)
def test_reload_says_what_it_changed(watched, said, done, lines):
    assert commands.reload(verbs_of(watched, lambda: done), said.append) == 0
    assert said == lines
