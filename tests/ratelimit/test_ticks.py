"""The adaptive loop: what a tick sees, what becomes of the decision, and who is told."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from aegis.config.duration import Duration
from aegis.config.schema import Adaptive, Metrics
from aegis.events import Events
from aegis.metrics.window import LatencyWindow
from aegis.ratelimit.decide import LoopState, Tick
from aegis.ratelimit.record import from_line
from aegis.ratelimit.ticks import KEPT, SLICE, AdaptiveLoop, Watch

EPOCH = 1_800_000_000.5
SLOW = Tick(p95_ms=900.0, samples=200, healthy_backends=2)
FAST = Tick(p95_ms=20.0, samples=200, healthy_backends=2)
IDLE = Tick(p95_ms=None, samples=4, healthy_backends=2)


# what a tick sees


class Watched:
    """A watch over backends that a test records into."""

    def __init__(self, clock, count=2):
        self.clock = clock
        self.backends = [[LatencyWindow(Metrics(window=Duration("60s"))), True] for _ in range(count)]
        self.refused = 0
        self.pauses = []
        self.watch = Watch(
            lambda: [tuple(each) for each in self.backends], lambda: self.refused, clock, lambda: self.pauses.append(1)
        )

    def record(self, number, *latencies):
        for latency in latencies:
            self.backends[number][0].record(latency, self.clock())

    def look(self):
        return self.watch.look()


@pytest.fixture
def watched(clock):
    return Watched(clock)


def test_the_p95_is_that_of_the_pooled_windows_of_all_healthy_backends(watched):
    watched.record(0, *[10.0] * 90)
    watched.record(1, *[700.0] * 10)
    assert watched.look().p95_ms == 700
    watched.backends[1][1] = False
    seen = watched.look()
    assert (seen.p95_ms, seen.healthy_backends) == (10, 1)


def test_samples_are_those_since_the_last_tick(watched):
    watched.record(0, 1.0, 2.0)
    watched.record(1, 3.0)
    assert watched.look().samples == 3
    assert watched.look().samples == 0
    watched.record(1, 4.0)
    seen = watched.look()
    assert (seen.samples, seen.p95_ms) == (1, 4)


def test_more_samples_than_a_window_holds_are_all_counted(watched):
    watched.record(0, *[1.0] * 2500)
    assert watched.look().samples == 2500


def test_what_came_while_a_backend_was_down_does_not_count_when_it_is_back(watched):
    watched.backends[1][1] = False
    watched.record(1, 5.0, 5.0)
    assert watched.look().samples == 0
    watched.backends[1][1] = True
    watched.record(1, 5.0)
    assert watched.look().samples == 1


def test_samples_older_than_the_window_are_not_in_the_p95(watched, clock):
    watched.record(0, 900.0)
    clock.advance(61)
    assert watched.look().p95_ms is None
    watched.record(0, 3.0)
    assert watched.look().p95_ms == 3


def test_without_backends_there_is_nothing_to_see(clock):
    assert Watched(clock, count=0).look() == Tick(p95_ms=None, samples=0, healthy_backends=0)


def test_it_says_whether_the_limiter_refused_since_the_last_tick(watched):
    assert not watched.look().limiter_refused
    watched.refused = 3
    assert watched.look().limiter_refused
    assert not watched.look().limiter_refused


def test_others_run_between_slices_of_many_windows(clock):
    watched = Watched(clock, count=2 * SLICE + 1)
    watched.record(2 * SLICE, 9.0)
    assert watched.look().p95_ms == 9
    assert len(watched.pauses) == 2


# what becomes of it


class Looped:
    """A loop fed by hand; `rates` is what it enforced, `lines` what it recorded."""

    def __init__(self, section, configured):
        self.seen, self.rates, self.lines = SLOW, [], []
        self.events, self.counts = Events(), Counter()
        self.loop = AdaptiveLoop(
            section,
            configured,
            lambda: self.seen,
            self.rates.append,
            self.events,
            self.lines.append,
            self.counts,
            lambda: EPOCH,
        )

    def tick(self, *seen):
        for each in seen:
            self.seen = each
            self.loop.tick()
        return self.loop.state.rate


@pytest.fixture
def looped():
    def make(configured=100.0, **section):
        return Looped(Adaptive(**section), configured)

    return make


def test_each_tick_hands_the_rate_to_the_limiter(looped):
    made = looped()
    made.tick(SLOW, SLOW, SLOW, FAST)
    assert made.rates == pytest.approx([80, 80, 64, 70.4])


def test_shadow_decides_and_reports_without_acting(looped):
    made = looped(mode="shadow")
    assert made.tick(SLOW, SLOW, SLOW) == pytest.approx(64)
    assert made.rates == []
    assert [each.action for each in made.loop.view().decisions] == ["reduce", "hold", "reduce"]
    assert made.events.since()[0].message.startswith("adaptive loop (shadow): reduce")
    assert len(made.lines) == 3


def test_switched_off_it_does_not_even_look(looped):
    made = looped(enabled=False)
    made.seen = None
    made.loop.tick()
    assert (made.rates, made.lines, made.events.since()) == ([], [], [])
    assert not made.loop.view().enabled


# who is told


def test_each_decision_is_an_event_with_its_inputs_its_code_and_words(looped, caplog):
    caplog.set_level(logging.DEBUG, "aegis")
    made = looped()
    made.tick(Tick(p95_ms=612.3456, samples=45, healthy_backends=2, limiter_refused=True))
    (event,) = made.events.since()
    assert event.kind == "adaptive"
    assert event.message == "adaptive loop: reduce: P95 612.35 ms is above 500 ms, rate 100 → 80"
    assert event.fields == {
        "action": "reduce",
        "code": "above_threshold",
        "rate_before": 100,
        "rate_after": 80,
        "p95_ms": 612.346,
        "samples": 45,
        "healthy_backends": 2,
        "limiter_refused": True,
    }


def test_an_idle_proxy_says_once_that_it_holds_but_every_decision_is_remembered(looped):
    made = looped()
    made.tick(IDLE, IDLE, IDLE, SLOW, IDLE)
    assert [event.level for event in made.events.since()] == ["INFO", "DEBUG", "DEBUG", "INFO", "INFO"]
    assert made.events.since()[0].message == "adaptive loop: hold: 4 of 20 samples"


def test_the_ring_holds_the_last_decisions_as_the_dashboard_shows_them(looped):
    made = looped()
    made.tick(*[IDLE] * KEPT, SLOW)
    view = made.loop.view()
    assert (view.mode, view.threshold_ms, view.p95_ms, len(view.decisions)) == ("enforce", 500, 900, KEPT)
    last = view.decisions[-1]
    assert (last.time, last.action, last.code, last.rate_before, last.rate_after) == (
        EPOCH,
        "reduce",
        "above_threshold",
        100,
        80,
    )
    assert (last.p95_ms, last.samples, last.words) == (900, 200, "reduce: P95 900 ms is above 500 ms, rate 100 → 80")


def test_decisions_are_counted_by_action_and_code(looped):
    made = looped()
    made.tick(SLOW, SLOW, SLOW, IDLE)
    assert made.counts == {("reduce", "above_threshold"): 2, ("hold", "hysteresis"): 1, ("hold", "few_samples"): 1}


def test_each_tick_is_a_line_of_the_record_that_is_read_back_exactly(looped):
    made = looped(latency_threshold_ms=123.4, record="somewhere")
    made.tick(Tick(p95_ms=1 / 3, samples=45, healthy_backends=2, limiter_refused=True), SLOW)
    first, second = map(from_line, made.lines)
    assert first.time == "2027-01-15T08:00:00.500Z"
    assert first.tick == Tick(p95_ms=1 / 3, samples=45, healthy_backends=2, limiter_refused=True)
    assert (first.before, first.after) == (LoopState(100.0), LoopState(100 * 1.1))
    assert (second.before, second.after) == (first.after, LoopState(100 * 1.1 * 0.8, just_reduced=True))
    assert (second.action, second.code, second.configured_rate) == ("reduce", "above_threshold", 100)
    assert first.settings.latency_threshold_ms == 123.4
    assert b"somewhere" not in made.lines[0]


# reload


def test_a_changed_configured_rate_resets_the_rate_to_it(looped):
    made = looped()
    made.tick(SLOW)
    made.loop.reconfigure(Adaptive(), 200.0)
    assert made.loop.state == LoopState(200.0)
    assert made.rates[-1] == 200


def test_else_the_rate_and_the_flag_survive(looped):
    made = looped()
    made.tick(SLOW)
    made.loop.reconfigure(Adaptive(latency_threshold_ms=50.0), 100.0)
    assert made.loop.state == LoopState(80.0, just_reduced=True)
    assert made.tick(SLOW) == 80


@pytest.mark.parametrize(("bounds", "rate"), [({"min_rate": 90.0}, 90), ({"max_rate": 70.0}, 70)])
def test_new_bounds_hold_at_once(looped, bounds, rate):
    made = looped(configured=100.0)
    made.tick(SLOW)
    made.loop.reconfigure(Adaptive(**bounds), 100.0)
    assert made.loop.state.rate == rate
    assert made.rates[-1] == rate


@pytest.mark.parametrize("section", [{"mode": "shadow"}, {"enabled": False}])
def test_a_loop_that_stops_acting_leaves_the_configured_rate_behind(looped, section):
    made = looped()
    made.tick(SLOW)
    made.loop.reconfigure(Adaptive(**section), 100.0)
    assert made.rates[-1] == 100


def test_a_rate_that_was_tuned_in_shadow_is_not_enforced_when_it_begins_to_act(looped):
    made = looped(mode="shadow")
    made.tick(SLOW, SLOW, SLOW)
    made.loop.reconfigure(Adaptive(), 100.0)
    assert made.rates == [100]
    assert made.tick(SLOW) == 80


def test_it_says_its_state(looped):
    made = looped()
    made.tick(SLOW)
    assert repr(made.loop) == "<AdaptiveLoop enforce 80/s of 100>"
