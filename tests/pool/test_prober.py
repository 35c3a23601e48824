"""What follows from probes, and how little of it follows from traffic; with a scripted probe and a clock."""

from __future__ import annotations

import pytest

from aegis.config.schema import HealthCheck
from aegis.pool.breaker import State
from aegis.pool.probe import ProbeFailedError
from aegis.pool.prober import Prober
from aegis.reasons import ExhaustedError
from tests.pool.states import kinds, pool, run

FAILURE = "GET /health answered 503"


class Probed:
    """`a` and `b`, and how each answers its next probe."""

    def __init__(self, clock, names="ab"):
        self.backends, self.events = pool(clock, names)
        self.answers = {}
        self.prober = Prober(self.backends, HealthCheck(), self.events, self.send, clock)
        self.a = self.backends.get("a")

    def send(self, state, section):
        error = self.answers.get(state.backend.name, "")
        if error:
            raise ProbeFailedError(error)

    def a_answers(self, results):
        for result in results:
            self.answers["a"] = "" if result == "+" else FAILURE
            self.prober.probe(self.a)


@pytest.fixture
def probed(clock):
    made = Probed(clock)
    made.prober.probe(made.backends.get("b"))
    return made


def test_before_the_first_result_a_backend_is_eligible(probed):
    assert probed.a.eligible
    assert probed.backends.unprobed == [probed.a]


def test_the_first_failure_takes_it_out_at_once_and_says_why(probed):
    probed.a_answers("-")
    assert not probed.a.eligible
    assert probed.backends.unprobed == []
    last = probed.events.since()[-1]
    assert (last.kind, last.level) == ("backend_down", "WARNING")
    assert last.message == f"a is down: {FAILURE}"
    assert probed.a.health_error == FAILURE


def test_a_start_is_no_recovery(probed):
    probed.a_answers("+")
    assert probed.a.share == 1.0


def test_a_recovery_warms_up_over_four_passes(probed):
    probed.a_answers("+---")
    seen = []
    for _ in range(6):
        probed.a_answers("+")
        seen.append(probed.a.effective_weight)
    assert seen == [0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert kinds(probed.events)[-5:] == ["backend_down", "backend_up", "warm_up", "warm_up", "warm_up"]


def test_a_failure_while_warming_falls_back_to_a_quarter(probed):
    probed.a_answers("-++++")
    assert probed.a.share == 0.75
    probed.a_answers("-")
    assert (probed.a.share, probed.a.eligible) == (0.25, True)
    probed.a_answers("--")
    assert not probed.a.eligible


def test_the_only_one_eligible_is_not_warmed_up(probed):
    b = probed.backends.get("b")
    probed.a_answers("-")
    b.set_drained(drained=True)
    probed.a_answers("++")
    assert probed.a.share == 1.0


def test_results_are_counted(probed):
    probed.a_answers("+-+--")
    assert probed.a.probes == {True: 2, False: 3}
    assert probed.a.health_error == FAILURE
    probed.a_answers("+")
    assert probed.a.health_error == ""


def test_a_change_of_eligibility_is_seen_by_whoever_picks(probed):
    before = probed.backends.version
    probed.a_answers("+")
    probed.a_answers("---")
    assert probed.backends.version > before


# health and breaker, each without the other


def test_a_passing_probe_never_closes_a_breaker(probed, clock):
    for _ in range(5):
        run(probed.a, False)
    assert probed.a.breaker.state is State.OPEN
    probed.a_answers("+" * 20)
    clock.advance(29)
    probed.backends.tick()
    assert probed.a.breaker.state is State.OPEN
    assert not probed.a.eligible


def test_traffic_never_marks_a_backend_down_and_a_failing_probe_never_opens_a_breaker(probed):
    probed.a_answers("+")
    for _ in range(5):
        run(probed.a, False)
    assert probed.a.healthy
    b = probed.backends.get("b")
    for _ in range(10):
        probed.prober.note(b, FAILURE)
    assert b.breaker.state is State.CLOSED


def test_both_must_agree(probed, clock):
    for _ in range(5):
        run(probed.a, False)
    probed.a_answers("-")
    clock.advance(30)
    probed.backends.tick()
    assert probed.a.breaker.admits
    assert not probed.a.eligible
    probed.a_answers("++")
    assert probed.a.eligible


def test_successful_traffic_does_not_bring_back_what_the_probes_took_out(probed):
    held = [probed.a.take(False) for _ in range(3)]
    probed.a_answers("-")
    for connection in held:
        probed.a.give_back(connection, True, True)
    assert not probed.a.eligible


def test_retry_after_goes_by_the_interval_in_force(probed, clock):
    probed.a_answers("-")
    probed.prober.note(probed.backends.get("b"), FAILURE)
    for _ in range(3):
        probed.prober.note(probed.backends.get("b"), FAILURE)
    assert probed.prober.retry_after() == 10
    probed.prober.reconfigure(HealthCheck(interval=4))
    assert probed.prober.retry_after() == 4


def test_other_thresholds_hold_from_the_next_probe(probed):
    probed.a_answers("+")
    probed.prober.reconfigure(HealthCheck(unhealthy_threshold=1))
    probed.a_answers("-")
    assert not probed.a.eligible


def test_our_own_lack_of_descriptors_says_nothing_of_a_backend(probed, caplog):
    def send(state, section):
        raise ExhaustedError("[Errno 24] Too many open files")

    probed.a_answers("+")
    prober = Prober(probed.backends, HealthCheck(unhealthy_threshold=1), probed.events, send)
    prober.probe(probed.a)
    assert probed.a.healthy
    assert probed.a.probes == {True: 1, False: 0}
    assert not probed.a.suspect
    assert [record.message for record in caplog.records if record.name == "aegis.pool.prober"] == [
        "a probe could not be sent"
    ]
