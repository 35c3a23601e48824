"""What the observer sees and publishes."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from aegis.metrics.snapshot import Snapshot
from aegis.pool.health import Condition
from aegis.service.views import missing
from tests.service.observed import CONFIG, Watched


@pytest.fixture
def watched():
    return Watched()


def test_rps_is_the_requests_of_the_last_second_and_its_history_grows_by_one_a_second(watched):
    for count in (4, 0, 7):
        for _ in range(count):
            watched.ended()
        snapshot = watched.second()
    assert (snapshot.rps, snapshot.rps_history, snapshot.requests) == (7.0, (4.0, 0.0, 7.0), 11)


def test_a_history_holds_the_last_sixty_values(watched):
    for _ in range(70):
        watched.ended()
        watched.second()
    snapshot = watched.observer.collect()
    assert len(snapshot.rps_history) == 60
    assert [len(view.latency_history) for view in snapshot.backends] == [60, 60, 60]


def test_looks_between_two_seconds_change_no_history(watched):
    watched.second()
    for _ in range(3):
        watched.clock.advance(0.25)
        watched.observer.tick()
    assert len(watched.observer.board.latest().rps_history) == 1


def test_percentiles_are_those_of_the_window_and_their_history_is_of_p95(watched):
    window = watched.state("a").window
    for latency in range(1, 101):
        window.record(float(latency), watched.clock())
    snapshot = watched.second()
    view = snapshot.backends[0]
    assert (view.p50_ms, view.p95_ms, view.p99_ms, view.samples) == (50.0, 95.0, 99.0, 100)
    assert view.latency_history == (95.0,)
    assert (snapshot.backends[1].p95_ms, snapshot.backends[1].latency_history) == (None, (0.0,))


def test_others_may_run_while_many_percentiles_are_computed():
    entries = "".join(f'  - {{url: "http://10.0.1.{number}:80", weight: 1}}\n' for number in range(1, 101))
    watched, pauses = Watched("backends:\n" + entries), []
    for state in watched.parts.backends:
        state.window.record(5.0, watched.clock())
    renewed = []
    for _ in range(4):
        watched.clock.advance(1)
        watched.observer.tick(lambda: pauses.append(1))
        renewed.append(sum(view.samples for view in watched.observer.board.latest().backends))
    assert len(pauses) == 4  # one in each second's turn of 32
    assert renewed == [32, 64, 96, 100]  # all backends have their turn


def test_counts_of_requests_are_live_and_in_every_form(watched):
    watched.ended()
    watched.ended(status=499, reason="client_gone", attempts=2)
    snapshot = watched.observer.collect()
    assert snapshot.statuses == {"1xx": 0, "2xx": 1, "3xx": 0, "4xx": 0, "499": 1, "5xx": 0}
    assert snapshot.reasons == {"ok": 1, "client_gone": 1}
    assert (snapshot.aborted, snapshot.retries) == ({"client": 1, "backend": 0}, 1)


def test_a_backend_is_shown_as_it_is(watched):
    state = watched.state("b")
    state.in_flight = 3
    state.set_share(0.5)
    view = watched.view("b")
    assert (view.url, view.addresses, view.weight, view.share) == ("http://10.0.0.6:80", ("10.0.0.6:80",), 2, 0.5)
    assert (view.in_flight, view.connections, view.drained, view.eligible) == (3, 3, False, True)


@pytest.mark.parametrize("name", ["a", "idle"])
def test_a_drained_backend_and_one_of_weight_0_are_not_eligible(watched, name):
    watched.state("a").set_drained(drained=True)
    view = watched.view(name)
    assert (view.drained, view.eligible) == (True, False)


def test_the_limiter_is_shown_with_the_rate_in_force_and_the_configured_one(watched):
    limiter = watched.parts.limiter
    limiter.rate = 42.0
    limiter.take("192.0.2.1")
    view = watched.observer.collect().limiter
    assert (view.rate, view.configured_rate, view.burst, view.allowed, view.tracked) == (42.0, 100, 150, 1, 1)
    assert (view.min_rate, view.max_rate, view.mode, view.max_entries) == (10, 500, "enforce", 65536)


def test_hub_lag_is_the_lateness_of_the_sweep(watched):
    watched.lateness["deadlines"] = 0.25
    assert watched.observer.collect().hub_lag == 0.25


def test_dropped_log_lines_are_counted(watched):
    watched.parts.writer.dropped = 3
    assert watched.observer.collect().logs_dropped == 3


def test_a_snapshot_survives_the_way_through_json(watched):
    watched.ended()
    snapshot = watched.second()
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot


# ready or not


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("starting", "not listening yet"),
        ("serving", ""),
        ("draining", "stopping"),
        ("stopped", "stopping"),
    ],
)
def test_ready_is_listening_and_not_stopping(watched, stage, words):
    watched.observer.stage = stage
    snapshot = watched.observer.collect()
    assert (snapshot.ready, snapshot.not_ready) == (not words, words)


def test_not_ready_without_an_eligible_backend_and_the_words_say_why_of_each(watched):
    watched.state("a").set_drained(drained=True)
    for _ in range(3):
        watched.parts.prober.note(watched.state("b"), "refused")
    assert (
        missing("serving", watched.parts.backends)
        == "no backend is eligible: a drained, b down (refused), idle drained"
    )
    watched.state("a").set_drained(drained=False)
    assert missing("serving", watched.parts.backends) == ""


def test_not_ready_before_the_first_round_of_probes_is_over():
    watched = Watched()
    for state in watched.parts.backends:
        state.health.condition = Condition.UNKNOWN
    assert missing("serving", watched.parts.backends) == "the first probe is not over: a, b, idle"


def test_a_backend_is_shown_with_its_breaker_and_its_failures(watched):
    state = watched.state("a")
    for _ in range(5):
        state._settle(state.breaker.epoch, False)
    view = watched.view("a")
    assert (view.breaker, view.errors, view.eligible) == ("open", 5, False)
    assert 29 < view.breaker_opens_in <= 30
    assert watched.view("b").breaker_opens_in is None
    watched.state("b").set_drained(drained=True)
    assert "a breaker open" in missing("serving", watched.parts.backends)


# what only a look can tell


def test_one_event_when_a_drained_backend_is_empty(watched):
    state = watched.state("a")
    state.in_flight = 1
    state.set_drained(drained=True)
    watched.second()
    assert watched.events("empty") == []
    state.in_flight = 0
    for _ in range(3):
        watched.second()
    assert [event.fields for event in watched.events("empty")] == [{"backend": "a"}]


def test_a_backend_of_weight_0_is_no_event(watched):
    watched.second()
    assert watched.events("empty") == []


def test_evictions_are_one_event_in_ten_seconds_with_their_number():
    watched = Watched(CONFIG + "rate_limit: {max_entries: 1}\n")
    take = watched.parts.limiter.take
    for number in range(3):
        take(f"192.0.2.{number}")
    watched.second()
    for number in range(5):
        take(f"192.0.3.{number}")
    watched.second()
    assert [event.fields for event in watched.events("evictions")] == [{"evicted": 2}]
    for _ in range(10):
        watched.second()
    assert [event.fields["evicted"] for event in watched.events("evictions")] == [2, 5]
    assert {event.level for event in watched.events("evictions")} == {"WARNING"}


def test_drops_are_a_warning_with_their_number_at_most_every_ten_seconds(watched, caplog):
    watched.parts.writer.dropped = 3
    watched.second()
    watched.parts.writer.dropped = 10
    for _ in range(9):
        watched.second()
    assert [(record.levelname, record.dropped) for record in caplog.records] == [("WARNING", 3)]
    watched.second()
    assert [record.dropped for record in caplog.records] == [3, 7]


def test_pauses_of_accepting_are_one_event_in_ten_seconds_with_their_number(watched):
    settings = SimpleNamespace(max_connections=10)
    watched.observer.server = server = SimpleNamespace(
        settings=settings, open=10, accepted=50, evicted=1, pauses=2, closed=True, in_flight=lambda: 10
    )
    watched.second()
    server.pauses = 5
    for _ in range(10):
        watched.second()
    assert [event.fields for event in watched.events("paused")] == [
        {"pauses": 2, "max_connections": 10},
        {"pauses": 3, "max_connections": 10},
    ]
    view = watched.observer.collect().connections
    assert (view.open, view.limit, view.accepted, view.idle_evicted, view.paused) == (10, 10, 50, 1, 5)


def test_the_stage_is_shown_the_moment_it_is_entered(watched):
    watched.observer.enter("draining")
    assert watched.observer.board.latest().stage == "draining"
