"""The adaptive loop in the started program, under load and before a real backend whose latency is switched."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import gevent
import pytest

from tests.support.aegis_process import AegisProcess, config_for
from tests.support.poll import eventually
from tests.support.ports import loopback_host
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend

pytestmark = pytest.mark.process

SCRIPT = Path(__file__).parents[2] / "scripts" / "fake_backend.py"

RATE = 100.0
INTERVAL = 0.3
CLIENTS, PACE = 10, 0.15  # 67 requests a second: below the configured rate, far above the lowest
QUICK, SLOW = "2ms", "120ms"

RATE_LIMIT = {"requests_per_second": RATE, "burst": 20}
ADAPTIVE = {
    "enabled": True,
    "evaluation_interval": f"{round(INTERVAL * 1000)}ms",
    "latency_threshold_ms": 60,
    "reduction_factor": 0.6,
    "recovery_factor": 1.5,
    "min_rate": 15,
    "max_rate": RATE,
    "min_samples": 3,
}
METRICS = {"window": f"{round(INTERVAL * 1000)}ms"}


class FakeBackend:
    """scripts/fake_backend.py as a process; `control` sets its switches while it runs."""

    def __enter__(self):
        self.host = loopback_host()
        command = [sys.executable, str(SCRIPT), "--host", self.host, "--ports", "0", "--latency", QUICK]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(re.search(r":(\d+)$", self.process.stdout.readline())[1])
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()

    @property
    def entry(self):
        return {"url": f"http://{self.host}:{self.port}", "weight": 1}

    def control(self, switches):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        connection.request("POST", f"/_control?{switches}")
        assert connection.getresponse().status == 200
        connection.close()


class Load:
    """Clients that each ask once every `PACE` seconds until the block ends."""

    def __init__(self, address):
        self.address = address
        self.stopped = False

    def __enter__(self):
        self.greenlets = [gevent.spawn(self.run, number * PACE / CLIENTS) for number in range(CLIENTS)]
        return self

    def __exit__(self, *_):
        self.stopped = True
        gevent.joinall(self.greenlets, timeout=10, raise_error=True)

    def run(self, start):
        gevent.sleep(start)
        with RawClient(self.address) as client:
            due = time.monotonic()
            while not self.stopped:
                assert client.get("/").status in {200, 429}
                due = max(due + PACE, time.monotonic())
                gevent.sleep(due - time.monotonic())


def entries(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def epoch(line):
    return datetime.fromisoformat(line["time"]).timestamp()


@pytest.fixture
def backend():
    with FakeBackend() as made:
        yield made


@pytest.fixture
def record(tmp_path):
    return tmp_path / "ticks.jsonl"


def config(backend, record, **adaptive):
    section = ADAPTIVE | {"record": str(record)} | adaptive
    return config_for([backend.entry], rate_limit=RATE_LIMIT, adaptive=section, metrics=METRICS)


def test_the_rate_falls_while_the_backend_is_slow_and_climbs_back_when_it_has_recovered(backend, record):
    def lowest():
        return any(entry["code"] == "at_bound" and entry["rate_after"] == 15 for entry in entries(record))

    def recovered(since):
        return [entry for entry in entries(record) if epoch(entry) > since and entry["rate_after"] >= 0.95 * RATE]

    with AegisProcess(config(backend, record)) as aegis:
        with Load(aegis.address):
            eventually(lambda: any(each["samples"] > 3 for each in entries(record)), "load in the record", within=5)
            slow_since = time.time()
            backend.control(f"latency={SLOW}")
            eventually(lowest, "the lowest rate", within=20)
            gevent.sleep(2.5)  # at the lowest rate the buckets run dry
            quick_since = time.time()
            backend.control(f"latency={QUICK}")
            eventually(lambda: len(recovered(quick_since)) >= 8, "the configured rate again", within=20)
        assert aegis.stop() == 0
        requests = aegis.access_lines(message="request")
    ticks = entries(record)

    # before: no cut, nobody refused
    assert not [tick for tick in ticks if tick["action"] == "reduce" and epoch(tick) < slow_since]
    assert not [line for line in requests if line["status"] == 429 and epoch(line) < slow_since]

    # down, by the factor, with a hold between each two cuts
    cuts = [number for number, tick in enumerate(ticks) if tick["action"] == "reduce"]
    assert len(cuts) >= 3
    for number in cuts:
        tick = ticks[number]
        assert tick["p95_ms"] > 60
        assert tick["rate_after"] == pytest.approx(max(15, 0.6 * tick["rate_before"]))
    for first, second in pairwise(cuts):
        between = ticks[first + 1 : second]
        assert between
        assert between[0]["action"] == "hold"
    assert "hysteresis" in {tick["code"] for tick in ticks}

    # at the lowest rate clients are refused, and what passes is about that rate
    bottom = [epoch(tick) for tick in ticks if tick["rate_after"] == 15]
    there = [line for line in requests if bottom[0] <= epoch(line) <= quick_since]
    refused = [line for line in there if line["status"] == 429]
    assert {line["reason"] for line in refused} == {"rate_limited"}
    assert len(refused) > 20
    passed = [line for line in there if line["status"] == 200 and epoch(line) > quick_since - 1]
    assert len(passed) <= 15 + 5

    # up again
    assert ticks[-1]["rate_after"] >= 0.95 * RATE
    climb = [tick for tick in ticks if tick["action"] == "recover" and epoch(tick) > quick_since]
    assert all(tick["p95_ms"] < 42 for tick in climb)
    late = [line for line in requests if epoch(line) > epoch(ticks[-1]) - 4 * INTERVAL]
    assert late
    assert {line["status"] for line in late} == {200}


def test_in_shadow_mode_it_reports_and_nobody_is_limited(backend, record):
    backend.control(f"latency={SLOW}")
    with AegisProcess(config(backend, record, mode="shadow")) as aegis:
        with Load(aegis.address):
            eventually(lambda: any(each["rate_after"] == 15 for each in entries(record)), "the lowest rate", within=20)
            gevent.sleep(1)
        assert aegis.stop() == 0
        statuses = {line["status"] for line in aegis.access_lines(message="request")}
        events = [line for line in aegis.log if line.get("event") == "adaptive"]
    assert statuses == {200}
    assert {entry["settings"]["mode"] for entry in entries(record)} == {"shadow"}
    assert any("(shadow): reduce" in event["message"] for event in events)


def test_the_record_goes_on_in_a_new_file_after_sigusr1(record):
    with ScriptedBackend() as backend, AegisProcess(config_for([backend], adaptive=quick(record))) as aegis:
        eventually(lambda: entries(record), "a first line")
        rotated = record.rename(record.with_suffix(".1"))
        aegis.signal(signal.SIGUSR1)
        eventually(lambda: entries(record), "a line in the new file")
        assert aegis.stop() == 0
        assert not [line for line in aegis.log if line["level"] in {"WARNING", "ERROR"} and "record" in line["message"]]
    assert {entry["code"] for entry in entries(rotated) + entries(record)} == {"few_samples"}


@pytest.mark.parametrize("path", ["/dev/full", "/nowhere/at/all"])
def test_a_record_that_cannot_be_written_costs_no_request_and_is_said_once(path):
    with ScriptedBackend() as backend, AegisProcess(config_for([backend], adaptive=quick(path))) as aegis:
        with RawClient(aegis.address) as client:
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                assert client.get("/").status == 200
                gevent.sleep(0.02)
        assert aegis.stop() == 0
        said = [line for line in aegis.log if path in line["message"]]
        assert [line["level"] for line in said] == ["WARNING"]
        assert aegis.errors == ""


def quick(record):
    return {"enabled": True, "evaluation_interval": "100ms", "max_rate": 1_000_000, "record": str(record)}
