"""Several workers: to clients and operators they are one Aegis."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import gevent
import pytest
import yaml
from gevent.event import Event

from tests.support.aegis_process import PACKAGE, AegisProcess, _family, config_for, environment, refuses, run_aegis
from tests.support.load import Load
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.proc import state_of, workers_of
from tests.support.raw_client import ConnectionEndedError, RawClient
from tests.support.scripted_backend import HELLO, ScriptedBackend, answer, hold
from tests.support.several import DRAINED, SOURCES, STARTED, several, started

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@pytest.fixture
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


@pytest.fixture
def admin():
    return "{}:{}".format(*free_port())


def control_of(aegis):
    """The PID of the control process; None while there is none."""
    return next((pid for pid in _family(aegis.process.pid)[1:] if pid not in workers_of(aegis)), None)


def metric(admin, name):
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=5) as response:
        text = response.read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{name}[{{ ]", line))


def test_with_one_worker_there_is_no_second_process(backend):
    with several(backend, workers=1) as aegis:
        started(aegis)
        assert _family(aegis.process.pid) == [aegis.process.pid]
        assert aegis.stop() == 0


def test_both_workers_serve_one_start_line_is_written_and_a_stop_is_clean(backend):
    with several(backend) as aegis, Load(aegis.address, clients=10, sources=SOURCES) as load:
        load.more(300)
        load.end()
        assert load.failures == []
        assert len(workers_of(aegis)) == 2
        assert aegis.stop() == 0
        assert aegis.messages().count(STARTED) == 1
        assert next(line for line in aegis.log if line["message"] == STARTED)["workers"] == 2
        assert aegis.messages()[-1] == "Aegis shutdown complete"
    assert aegis.errors == ""


def test_limits_per_client_are_exact_across_workers(backend):
    """Each client over several connections, all clients at once: who gets more or less than its bucket holds?"""
    burst, rate = 100, 10
    limit = {"requests_per_second": rate, "burst": burst}
    with several(backend, rate_limit=limit, adaptive={"enabled": False, "min_rate": 1}) as aegis:
        started(aegis)
        allowed = dict.fromkeys(SOURCES, 0)
        begun = time.monotonic()

        def ask(source):
            with RawClient(aegis.address, source=source) as client:
                for _ in range(60):
                    status = client.get("/limited").status
                    allowed[source] += status == 200

        gevent.joinall([gevent.spawn(ask, source) for source in SOURCES for _ in range(3)], raise_error=True)
        most = burst + rate * (time.monotonic() - begun) + 1
        assert min(allowed.values()) >= burst
        assert max(allowed.values()) <= most
        assert aegis.stop() == 0


def test_spread_connections_divide_the_limit_and_that_is_said(backend):
    limit = {"requests_per_second": 10, "burst": 100}
    config = {"server": {"steering": "connection"}, "rate_limit": limit, "adaptive": {"enabled": False, "min_rate": 1}}
    with several(backend, **config) as aegis:
        started(aegis)
        assert any("each worker enforces rate/2 and burst/2" in words for words in aegis.messages())
        clients = [RawClient(aegis.address) for _ in range(16)]
        statuses = [client.get("/").status for _ in range(20) for client in clients]
        assert 95 <= statuses.count(200) <= 125
        for client in clients:
            client.close()
        assert aegis.stop() == 0


def test_a_worker_that_hangs_is_killed_and_replaced_after_ten_seconds(backend):
    with several(backend) as aegis:
        started(aegis)
        before = workers_of(aegis)
        assert len(before) == 2
        os.kill(before[0], signal.SIGSTOP)  # as one in an endless loop: the kernel goes on giving it connections
        eventually(lambda: len(set(workers_of(aegis)) - set(before)) == 1, "a successor", 30)
        for source in SOURCES[:10]:
            with RawClient(aegis.address, source=source) as client:
                assert client.get("/").status == 200
        assert any("hangs" in words for words in aegis.messages())
        assert aegis.stop() == 0


def test_a_control_process_that_hangs_is_replaced_too(backend):
    with several(backend) as aegis:
        started(aegis)
        control = control_of(aegis)
        os.kill(control, signal.SIGSTOP)
        aegis.signal(signal.SIGHUP)
        eventually(lambda: control_of(aegis) not in {control, None}, "a successor", 30)
        eventually(lambda: "configuration reloaded" in aegis.messages(), "the reload that it had not heard of", 20)
        assert aegis.stop() == 0


def test_a_stop_before_all_serve_is_a_graceful_one(backend):
    with several(backend) as aegis:  # one of them listens
        assert aegis.stop() == 0
        assert aegis.messages()[-1] == "Aegis shutdown complete"


def test_a_stop_of_the_whole_group_is_the_supervisors(backend):
    with several(backend, server={"shutdown_delay": "1s"}) as aegis:
        started(aegis)
        for pid in reversed(_family(aegis.process.pid)):
            os.kill(pid, signal.SIGTERM)
        gevent.sleep(0.6)
        for source in SOURCES[:4]:
            with RawClient(aegis.address, source=source) as client:
                assert client.get("/").status == 200
        assert aegis.wait(within=10) == 0
        assert "told to stop alone: drained" not in aegis.messages()


def test_a_worker_that_is_told_to_stop_drains_and_is_replaced(backend):
    with several(backend) as aegis:
        started(aegis)
        before = workers_of(aegis)
        os.kill(before[0], signal.SIGTERM)
        eventually(lambda: len(set(workers_of(aegis)) - set(before)) == 1, "a successor", 15)
        assert "told to stop alone: drained" in aegis.messages()
        assert not [line for line in aegis.log if line["level"] == "ERROR"]
        assert aegis.stop() == 0


IGNORE_SIGCHLD = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""


class StartedWithoutSigchld(AegisProcess):
    """By somebody who does not want to hear of the end of children: that is inherited."""

    def command(self):
        return [sys.executable, "-c", IGNORE_SIGCHLD, *super().command()]


def test_a_worker_that_dies_is_replaced_whatever_signals_were_ignored_at_the_start(backend):
    with StartedWithoutSigchld(config_for([backend], server={"workers": 2})) as aegis:
        started(aegis)
        before = workers_of(aegis)
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(set(workers_of(aegis)) - set(before)) == 1, "a successor", 15)
        assert aegis.stop() == 0


def test_with_its_standard_output_closed_it_serves_and_stops_cleanly(backend, tmp_path):
    """Its number must not go to a socket, which would get the log."""
    config = config_for([backend], server={"workers": 2})
    path = tmp_path / "aegis.yml"
    path.write_text(yaml.safe_dump(config))
    command = f"exec {sys.executable} -m aegis --config {path} --headless >&-"
    process = subprocess.Popen(["sh", "-c", command], cwd=PACKAGE, env=environment(), stderr=subprocess.PIPE)
    try:
        address = (config["server"]["host"], config["server"]["port"])
        eventually(lambda: not refuses(address), "a listener", 20)
        with RawClient(address) as client:
            assert client.get("/").status == 200
        process.terminate()
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert b"Traceback" not in errors
    finally:
        process.kill()


def test_a_group_of_processes_that_is_stopped_as_a_whole_goes_on_as_it_was(backend):
    """As a virtual machine that is paused: nobody's loop has turned, and nobody hangs."""
    with several(backend) as aegis:
        started(aegis)
        before = workers_of(aegis)
        everybody = _family(aegis.process.pid)
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        gevent.sleep(12)
        for pid in everybody:  # the supervisor first: it looks before the others turn
            os.kill(pid, signal.SIGCONT)
        gevent.sleep(2)
        assert workers_of(aegis) == before, (aegis.running, aegis.lines, aegis.errors)
        assert aegis.stop() == 0


def test_the_parent_keeps_no_descriptor_of_what_it_says_of_a_death(backend):
    with several(backend) as aegis:
        started(aegis)
        opened = Path(f"/proc/{aegis.process.pid}/fd")
        before = len(list(opened.iterdir()))
        for number in (1, 2):
            os.kill(workers_of(aegis)[0], signal.SIGKILL)
            eventually(lambda number=number: _deaths(aegis) == number, "the line of its death", 10)
            eventually(lambda: len(workers_of(aegis)) == 2, "its successor", 10)
        assert len(list(opened.iterdir())) == before
        assert aegis.stop() == 0


def test_nobody_but_who_writes_it_has_the_log_file_open(backend, tmp_path):
    file = tmp_path / "aegis.log"
    with AegisProcess(config_for([backend], server={"workers": 2}, logging={"file": str(file)})) as aegis:

        def opened(pid):
            return sum(os.path.realpath(each) == str(file) for each in Path(f"/proc/{pid}/fd").iterdir())

        eventually(lambda: "Aegis started" in file.read_text(), "the start", 10)
        eventually(lambda: sorted(map(opened, _family(aegis.process.pid))) == [0, 1, 1, 1], "the parent's close")
        assert aegis.stop() == 0


def _deaths(aegis):
    return sum("ended with -9" in words for words in aegis.messages())


def test_kill_9_of_the_control_process_costs_no_request_and_it_comes_back(backend, admin):
    with several(backend, admin) as aegis:
        started(aegis)
        with Load(aegis.address, clients=10, sources=SOURCES) as load:
            load.more(100)
            (control,) = set(_family(aegis.process.pid)[1:]) - set(workers_of(aegis))
            os.kill(control, signal.SIGKILL)
            load.more(500)
        assert load.failures == []
        eventually(lambda: run_aegis("status", "--connect", admin).returncode == 0, "control again", 10)
        assert aegis.stop() == 0


def test_who_is_replaced_goes_on_by_what_was_accepted_whatever_the_file_says_by_now(backend, admin):
    """Control read the file again: an invalid one left it with the backends of the start, and deaf to everything."""
    with several(backend, admin) as aegis, ScriptedBackend() as other:
        started(aegis)
        config = dict(aegis.config)
        aegis.reload({**config, "backends": [{"url": other.url, "weight": 1}]})
        aegis.path.write_text("[")
        before = _family(aegis.process.pid)[1:]
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(set(_family(aegis.process.pid)[1:]) - set(before)) == 3, "their successors", 10)
        eventually(lambda: run_aegis("status", "--connect", admin).returncode == 0, "ready", 10)
        run_aegis("drain", other.name, "--connect", admin)
        with RawClient(aegis.address) as client:
            eventually(lambda: client.get("/").status == 503, "the drain in every worker")
        aegis.reload(config)
        eventually(lambda: _status(aegis) == 200, "an answer of the first backend")
        assert not [line for line in aegis.log if line["level"] == "ERROR" and "ended with -9" not in line["message"]]
        assert aegis.stop() == 0


def _status(aegis):
    with RawClient(aegis.address) as client:
        return client.get("/").status


def test_a_reload_reaches_every_worker_under_load_and_a_wrong_one_none(backend):
    with several(backend) as aegis, ScriptedBackend() as other:
        started(aegis)
        config = dict(aegis.config)
        with Load(aegis.address, clients=10, sources=SOURCES) as load:
            load.more(100)
            line = aegis.reload({**config, "backends": [{"url": other.url, "weight": 1}]})
            assert "added" in line["applied"]
            gevent.sleep(0.3)
            mark = backend.mark()
            load.more(300)
            assert mark.completed() == []
            aegis.path.write_text("[")
            aegis.reload(accepted=False)
            load.more(200)
        assert load.failures == []
        for source in SOURCES[:10]:
            with RawClient(aegis.address, source=source) as client:
                assert client.get("/").status == 200
        assert aegis.stop() == 0


def test_a_reload_that_is_asked_for_before_all_serve_is_not_lost(backend):
    with several(backend) as aegis:  # its port is open: that is all
        aegis.reload()
        assert aegis.stop() == 0


def test_a_stop_drains_all_workers_and_says_its_progress(backend):
    release = Event()
    backend.on("/held", hold(release, HELLO))
    with several(backend) as aegis:
        started(aegis)
        clients = [RawClient(aegis.address, source=source) for source in SOURCES[:10]]
        for client in clients:
            client.request("GET", "/held")
        backend.wait_for("/held", 10)
        aegis.signal(signal.SIGTERM)
        eventually(lambda: "draining" in aegis.messages(), "progress")
        assert next(line for line in aegis.log if line["message"] == "draining")["in_flight"] == 10
        release.set()
        for client in clients:
            assert client.read_response().status == 200
            client.close()
        assert aegis.wait() == 0


def test_a_second_signal_forces_all_and_exits_1(backend):
    release = Event()
    backend.on("/never", hold(release, HELLO))
    with several(backend) as aegis:
        started(aegis)
        clients = [RawClient(aegis.address, source=source) for source in SOURCES[:6]]
        for client in clients:
            client.request("GET", "/never")
        backend.wait_for("/never", 6)
        aegis.signal(signal.SIGTERM)
        gevent.sleep(0.3)
        assert aegis.stop(within=8) == 1
        for client in clients:
            with pytest.raises((ConnectionEndedError, ConnectionResetError)):
                client.read_response()
            client.close()
    release.set()


def test_restarts_under_load_fail_not_one_request_with_workers_too(backend, admin):
    with several(backend, admin) as aegis:
        started(aegis)
        pid = aegis.process.pid
        with Load(aegis.address, clients=10, sources=SOURCES) as load:
            for number in range(1, 4):
                load.more(100)
                before = set(workers_of(aegis))
                aegis.signal(signal.SIGUSR2)
                eventually(lambda number=number: aegis.messages().count(STARTED) == number + 1, "a new image", 20)
                eventually(
                    lambda number=number: aegis.messages().count(DRAINED) == 2 * number, "the old workers' end", 15
                )
                load.more(200)
                assert not before & set(workers_of(aegis))
        assert load.failures == []
        assert aegis.process.pid == pid
        eventually(lambda: run_aegis("status", "--connect", admin).returncode == 0, "ready", 10)
        assert aegis.stop() == 0
    assert "Traceback" not in aegis.errors + "\n".join(aegis.lines)


def test_a_breaker_that_one_worker_opens_is_open_for_all_within_100_ms(backend, admin):
    backend.on("/fail", answer(status=500))
    breaker = {"failure_threshold": 5, "open_timeout": "30s"}
    with several(backend, admin, circuit_breaker=breaker) as aegis:
        started(aegis)
        clients = [RawClient(aegis.address, source=source) for source in SOURCES]
        assert {client.get("/").status for client in clients} == {200}
        for _ in range(5):
            assert clients[0].get("/fail").status == 500
        gevent.sleep(0.1)
        assert {client.get("/").status for client in clients} == {503}
        opened = [line for line in aegis.log if line.get("event") == "breaker"]
        assert len(opened) <= 1
        eventually(lambda: metric(admin, "aegis_breaker_transitions_total") >= 1, "the transition in the metrics")
        for client in clients:
            client.close()
        assert aegis.stop() == 0


def test_half_open_permits_are_dealt_out_once_for_all_workers(backend):
    release = Event()
    backend.on("/fail", answer(status=500))
    backend.on("/held", hold(release, HELLO))
    breaker = {"failure_threshold": 2, "open_timeout": "500ms", "half_open_max_requests": 3, "success_threshold": 3}
    with several(backend, circuit_breaker=breaker) as aegis:
        started(aegis)
        clients = [RawClient(aegis.address, source=source) for source in SOURCES[:20]]
        for _ in range(2):
            clients[0].get("/fail")
        gevent.sleep(0.8)
        for client in clients:
            client.request("GET", "/held")
        backend.wait_for("/held", 3)
        gevent.sleep(0.3)
        assert len(backend.asked("/held")) == 3
        release.set()
        statuses = [client.read_response().status for client in clients]
        assert (statuses.count(200), statuses.count(503)) == (3, 17)
        gevent.sleep(0.2)
        assert {client.get("/").status for client in clients} == {200}  # three successes of all together closed it
        for client in clients:
            client.close()
        assert aegis.stop() == 0


def test_probes_are_made_once_and_what_they_find_reaches_every_worker(backend, admin):
    health = {"interval": "100ms", "timeout": "100ms", "unhealthy_threshold": 2}
    with several(backend, admin, health_check=health) as aegis:
        started(aegis)
        eventually(lambda: len(backend.probes) >= 3, "probes")
        before, begun = len(backend.probes), time.monotonic()
        gevent.sleep(1)
        assert len(backend.probes) - before <= 1.3 * (time.monotonic() - begun) / 0.1
        clients = [RawClient(aegis.address, source=source) for source in SOURCES[:10]]
        assert "no new requests" in run_aegis("drain", backend.name, "--connect", admin).stdout
        gevent.sleep(0.1)
        assert {client.get("/").status for client in clients} == {503}
        run_aegis("resume", backend.name, "--connect", admin)
        gevent.sleep(0.1)
        assert {client.get("/").status for client in clients} == {200}
        for client in clients:
            client.close()
        assert aegis.stop() == 0


def test_retry_after_names_the_next_probe_though_another_process_makes_it(backend):
    health = {"interval": "30s", "timeout": "100ms", "unhealthy_threshold": 1, "healthy_threshold": 1}
    backend.stop_listening()
    with several(backend, health_check=health) as aegis:
        started(aegis)
        eventually(lambda: [line for line in aegis.log if line.get("event") == "backend_down"], "down", 10)
        gevent.sleep(1.5)
        for source in SOURCES[:6]:
            with RawClient(aegis.address, source=source) as client:
                response = client.get("/")
                assert response.status == 503
                assert 20 <= int(response["Retry-After"]) <= 29
        assert aegis.stop() == 0


def test_counters_of_all_workers_are_one_sum(backend, admin):
    with several(backend, admin) as aegis:
        started(aegis)
        with Load(aegis.address, clients=10, sources=SOURCES) as load:
            load.more(500)
        assert load.failures == []
        eventually(lambda: metric(admin, "aegis_requests_total") == load.answered, "the same number", 5)
        for name in ("aegis_backend_response_seconds_count", "aegis_ratelimit_requests_total"):
            eventually(lambda name=name: metric(admin, name) == load.answered, name)
        assert aegis.stop() == 0


def test_each_process_is_described_in_the_metrics(backend, admin):
    with several(backend, admin) as aegis:
        started(aegis)

        def described():
            with urllib.request.urlopen(f"http://{admin}/metrics", timeout=5) as response:
                text = response.read().decode()
            return set(re.findall(r'process_resident_memory_bytes{process="(.*?)"}', text))

        eventually(lambda: described() == {"supervisor", "control", "worker-0", "worker-1"}, "all four")
        assert aegis.stop() == 0


def test_workers_whose_supervisor_is_killed_drain_and_end(backend):
    with several(backend) as aegis:
        started(aegis)
        family = _family(aegis.process.pid)[1:]
        aegis.process.kill()
        aegis.process.wait()

        def gone():
            return all(state_of(pid) == "Z" for pid in family)

        eventually(gone, "the end of all", 10)
