"""Backends that fail and come back under load: real programs, stopped and killed for real."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from contextlib import ExitStack

import gevent
import pytest

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.fake_backends import FakeBackend
from tests.support.poll import eventually
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.process

CLIENTS = 24
SECTIONS = {
    "health_check": {"interval": "200ms", "timeout": "200ms"},
    "circuit_breaker": {"failure_threshold": 5, "success_threshold": 3, "open_timeout": "500ms"},
}
ALL_RETRIES = {"budget_percent": 100, "min": 100}
DEFAULT_BUDGET = {"budget_percent": 20, "min": 3}


class Load:
    """Clients that ask one thing after the other over connections they keep. `errors`: what was no whole 200."""

    def __init__(self, address, paths=("/",), clients=CLIENTS):
        self.address, self.paths = address, paths
        self.answers, self.errors = 0, []
        self.running = True
        self.greenlets = [gevent.spawn(self._ask, number) for number in range(clients)]

    def __enter__(self):
        eventually(lambda: self.answers > 20, "the load to run")
        return self

    def __exit__(self, *_):
        self.running = False
        gevent.joinall(self.greenlets, timeout=20, raise_error=True)

    def _ask(self, number):
        client = None
        while self.running:
            try:
                client = client or RawClient(self.address, timeout=10)
                response = client.get(self.paths[(number + self.answers) % len(self.paths)])
                self.answers += 1
                if response.status != 200:
                    self.errors.append(response.status)
            except (OSError, AssertionError) as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                client.close()
                client = None
        if client is not None:
            client.close()


@pytest.fixture
def running():
    """`running(**sections)` is (Aegis, its backends `one`, `two` and `heavy` of weights 1, 1 and 2)."""
    with ExitStack() as stack:

        def run(**sections):
            backends = [stack.enter_context(FakeBackend(name)) for name in ("one", "two", "heavy")]
            entries = [
                {"url": each.url, "name": each.name, "weight": weight}
                for each, weight in zip(backends, (1, 1, 2), strict=True)
            ]
            aegis = stack.enter_context(AegisProcess(config_for(entries, **(SECTIONS | sections))))
            wait_for(aegis, "backend_up", 3)
            return aegis, backends

        yield run


@pytest.fixture
def say(capsys):
    """What a run measured, for whoever reads the output."""

    def say(words):
        with capsys.disabled():
            sys.stdout.write(f"\n{words}\n")

    return say


def told(aegis, event, **fields):
    return [line for line in list(aegis.log) if line.get("event") == event and fields.items() <= line.items()]


def wait_for(aegis, event, count=1, within=10.0, **fields):
    return eventually(lambda: told(aegis, event, **fields)[count - 1 :], f"{count} {event} {fields}", within)


def stopped(aegis):
    """Its exit, with nothing of a fault of its own."""
    assert aegis.stop() == 0, aegis.errors
    assert "Traceback" not in aegis.errors
    assert [line for line in aegis.log if line["level"] == "ERROR"] == []


BUDGETS = pytest.mark.parametrize(
    ("budget", "name"), [(ALL_RETRIES, "budget_percent 100"), (DEFAULT_BUDGET, "default budget")]
)


@BUDGETS
def test_a_backend_that_is_stopped_and_restarted_costs_no_get(running, say, budget, name):
    aegis, backends = running(retry=budget)
    victim = backends[0]
    with Load(aegis.address) as load:
        gevent.sleep(0.5)
        victim.terminate()
        wait_for(aegis, "backend_down", backend="one")
        gevent.sleep(0.5)
        victim.start()
        wait_for(aegis, "backend_up", 2, backend="one")
        wait_for(aegis, "warm_up", backend="one", share=1)
        gevent.sleep(0.3)
    stopped(aegis)
    reasons = Counter(line["reason"] for line in aegis.access_lines())
    retried = sum(line["retries"] for line in aegis.access_lines())
    say(f"SIGTERM, {name}: {load.answers} answers, {len(load.errors)} errors, {retried} retries; {dict(reasons)}")
    assert load.answers > 500
    assert load.errors == []
    assert reasons == {"ok": load.answers}


@BUDGETS
def test_a_backend_that_is_killed_costs_no_more_than_the_answers_it_had_begun(running, say, budget, name):
    aegis, backends = running(retry=budget)
    victim = backends[2]
    for each in backends:
        each.switch("latency=10ms")
    with Load(aegis.address, ("/", "/bytes/400000")) as load:
        gevent.sleep(0.5)
        victim.kill()
        gevent.sleep(1.5)
        victim.start()
        wait_for(aegis, "backend_up", 2, backend="heavy")
        gevent.sleep(1.5)
    stopped(aegis)
    lines = aegis.access_lines()
    reasons = Counter(line["reason"] for line in lines)
    begun = reasons["backend_aborted"]
    refused = sum(line["reason"].startswith("bad_gateway") for line in lines)
    retried = sum(line["retries"] for line in lines)
    say(
        f"kill -9, {name}: {load.answers} answers, {len(load.errors)} errors, of these {begun} begun before; "
        f"{retried} retries; {dict(reasons)}"
    )
    assert load.answers > 500
    assert len(load.errors) <= begun
    assert refused == 0
    assert wait_for(aegis, "backend_up", 2, backend="heavy")


def test_a_backend_that_comes_back_warms_up_over_four_passes(running):
    aegis, backends = running(health_check={"interval": "800ms", "timeout": "400ms"})
    with Load(aegis.address, clients=4):
        backends[0].switch("health=fail")
        wait_for(aegis, "backend_down", backend="one")
        gevent.sleep(0.3)
        backends[0].switch("health=ok")
        wait_for(aegis, "warm_up", backend="one", share=1)
        gevent.sleep(0.8)
    stopped(aegis)
    shares, share = {}, None
    for line in aegis.log:
        if line.get("event") in ("backend_up", "backend_down", "warm_up") and line["backend"] == "one":
            share = line.get("share", 0)
            shares[share] = Counter()
        elif "request_id" in line and "reason" in line and share is not None:
            shares[share][line["backend"]] += 1
    got = {share: counted["one"] / counted.total() for share, counted in shares.items()}
    assert set(got) == {0, 0.25, 0.5, 0.75, 1}, shares
    for share, found in got.items():
        assert shares[share].total() > 100
        # Of Σ weights 4 the others have 3.
        assert found == pytest.approx(share / (3 + share), abs=0.02), (share, shares[share])


def test_passing_probes_never_close_the_breaker_of_a_backend_whose_traffic_fails(running):
    aegis, backends = running(retry=ALL_RETRIES)
    backends[0].switch("error_rate=1")
    with Load(aegis.address) as load:
        wait_for(aegis, "breaker", backend="one", breaker="open")
        wait_for(aegis, "breaker", 3, backend="one", breaker="open")  # half-open tried it, and it failed again
        seen = load.answers
        gevent.sleep(0.4)
    answers = load.answers - seen
    assert told(aegis, "breaker", backend="one", breaker="closed") == []
    assert told(aegis, "backend_down", backend="one") == []
    openings = len(told(aegis, "breaker", backend="one", breaker="open"))
    # At first CLIENTS may be under way, then a few for each time that half-open tries it.
    assert 5 <= load.errors.count(500) <= CLIENTS + 3 * openings
    assert answers > 100
    backends[0].switch("error_rate=0")
    with Load(aegis.address) as load:
        wait_for(aegis, "breaker", backend="one", breaker="closed")
    assert load.errors == []
    stopped(aegis)


def test_traffic_never_brings_back_a_backend_whose_probes_fail(running):
    aegis, backends = running()
    backends[0].switch("health=fail")
    wait_for(aegis, "backend_down", backend="one", error="GET /health answered 503")
    count = len(aegis.access_lines())
    with Load(aegis.address) as load:
        gevent.sleep(1.0)
    assert load.errors == []
    stopped(aegis)
    lines = aegis.access_lines()[count:]
    assert len(lines) > 200
    assert {line["backend"] for line in lines} == {"two", "heavy"}
    assert told(aegis, "breaker") == []
    assert told(aegis, "backend_up", backend="one")[1:] == []


def test_without_any_backend_the_answer_is_503_with_the_time_of_the_next_try(running):
    aegis, backends = running(
        retry=ALL_RETRIES, circuit_breaker={"failure_threshold": 2, "open_timeout": "60s"}, health_check={}
    )
    for each in backends:
        each.process.send_signal(signal.SIGKILL)
        each.process.wait()
    statuses = []
    with RawClient(aegis.address) as client:
        for _ in range(8):
            response = client.get("/")
            statuses.append(response.status)
    assert statuses[-1] == 503
    assert set(statuses) <= {502, 503}
    assert 55 <= int(response["Retry-After"]) <= 60
    stopped(aegis)
