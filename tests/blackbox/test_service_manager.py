"""Aegis under a service manager: what it tells systemd, sockets it is handed, and supervisord as it comes."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
import urllib.request

import gevent
import pytest

from tests.support.activation import ActivatedProcess
from tests.support.aegis_process import ROOT, AegisProcess, config_for, environment, refuses
from tests.support.load import Load
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.proc import workers_of
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, held

pytestmark = pytest.mark.process


@pytest.fixture
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


class Manager:
    """systemd as far as its socket goes: with NotifyAccess=main it hears nobody but the first process."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.path = path
        self.senders = set()

    def settimeout(self, seconds):
        self.socket.settimeout(seconds)

    def recv(self):
        data, credentials, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(CREDENTIALS.size))
        self.senders.add(CREDENTIALS.unpack(credentials[0][2])[0])
        return dict(line.split("=", 1) for line in data.decode().split("\n"))


CREDENTIALS = struct.Struct("3i")


@pytest.fixture
def manager(tmp_path):
    made = Manager(str(tmp_path / "notify"))
    made.settimeout(20)
    yield made
    made.socket.close()


def told(manager, key):
    """The next message that has the key."""
    while True:
        fields = manager.recv()
        if key in fields:
            return fields


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def workers(request):
    return request.param


def notifying(backend, manager, workers=1, **env):
    patient = {"response_header_timeout": "60s"}  # the status line comes every ten seconds: a held request lives on
    config = config_for([backend], server={"workers": workers}, transport=patient)
    return AegisProcess(config, env={"NOTIFY_SOCKET": manager.path, **env})


def serving(workers):
    return "serving, 1 of 1 backends eligible" if workers == 1 else "serving with 2 workers, 1 of 1 backends eligible"


def test_the_life_of_a_service_is_told_in_order_by_its_first_process(backend, manager, workers):
    expected = ["READY", "RELOADING", "READY", "RELOADING", "READY", "STOPPING"]
    heard = []

    def hear(key):
        while not heard or key not in heard[-1]:
            heard.append(manager.recv())
        return heard[-1]

    with notifying(backend, manager, workers) as aegis:
        assert hear("READY")["STATUS"] == serving(workers)
        for number in (signal.SIGHUP, signal.SIGUSR2):
            aegis.signal(number)
            assert int(hear("RELOADING")["MONOTONIC_USEC"]) > 0
            assert hear("READY")["STATUS"] == serving(workers)
        aegis.signal(signal.SIGTERM)
        assert hear("STOPPING")["STATUS"] == "draining"
        assert aegis.wait() == 0
        assert [key for fields in heard for key in fields if key in {"READY", "RELOADING", "STOPPING"}] == expected
        assert manager.senders == {aegis.process.pid}


def test_an_invalid_reload_ends_with_ready_too_or_the_manager_would_wait_for_ever(backend, manager, workers):
    with notifying(backend, manager, workers) as aegis:
        told(manager, "READY")
        aegis.path.write_text("[")
        aegis.reload(accepted=False)
        told(manager, "RELOADING")
        told(manager, "READY")


def test_a_reload_in_the_middle_of_a_drain_does_not_take_the_stop_back(backend, manager, workers):
    with notifying(backend, manager, workers) as aegis, RawClient(aegis.address) as client:
        told(manager, "READY")
        release = held(backend, client)
        aegis.signal(signal.SIGTERM)
        told(manager, "STOPPING")
        aegis.reload()
        release.set()
        assert client.read_response().status == 200
        assert aegis.wait() == 0
        manager.settimeout(0.2)
        with pytest.raises(TimeoutError):
            told(manager, "READY")


def test_the_status_line_says_what_a_drain_waits_for(backend, manager, workers):
    with notifying(backend, manager, workers) as aegis, RawClient(aegis.address, timeout=20) as client:
        told(manager, "READY")
        release = held(backend, client)
        aegis.signal(signal.SIGTERM)
        told(manager, "STOPPING")
        assert told(manager, "STATUS")["STATUS"] == "draining, 1 requests in flight"
        release.set()
        assert client.read_response().status == 200
        assert aegis.wait() == 0


def test_the_watchdog_hears_of_it_at_half_its_interval(backend, manager, workers):
    with notifying(backend, manager, workers, WATCHDOG_USEC="400000") as aegis:
        told(manager, "WATCHDOG")
        started = time.monotonic()
        for _ in range(4):
            told(manager, "WATCHDOG")
        assert 0.6 < time.monotonic() - started < 1.2
        aegis.signal(signal.SIGSTOP)  # a loop that hangs says nothing
        gevent.sleep(0.1)
        manager.settimeout(0.5)
        drained = []
        with contextlib.suppress(TimeoutError):
            while len(drained) < 10:
                drained.append(manager.recv())
        assert len(drained) < 5  # what was under way, and then nothing
        aegis.signal(signal.SIGCONT)
        assert manager.senders == {aegis.process.pid}


def test_the_watchdog_hears_nothing_while_the_loop_of_a_worker_hangs(backend, manager):
    with notifying(backend, manager, workers=2, WATCHDOG_USEC="400000") as aegis:
        told(manager, "WATCHDOG")
        victim = workers_of(aegis)[0]
        os.kill(victim, signal.SIGSTOP)
        gevent.sleep(2.5)  # a loop that has not turned for two seconds hangs
        manager.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            while True:
                manager.recv()
        manager.settimeout(1)
        with pytest.raises(TimeoutError):
            told(manager, "WATCHDOG")
        os.kill(victim, signal.SIGCONT)
        told(manager, "WATCHDOG")


@pytest.fixture
def listener():
    """One that a manager opened."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        yield opened


def test_an_inherited_socket_is_the_listener_and_stays_it_over_a_restart(backend, listener):
    config = config_for([backend])
    with ActivatedProcess(config, listener) as aegis:
        assert refuses((config["server"]["host"], config["server"]["port"]))
        with Load(aegis.address, clients=2) as load:
            load.more(50)
            aegis.signal(signal.SIGUSR2)
            eventually(lambda: "the old image has drained" in aegis.messages(), "the old image's end", 20)
            load.more(50)
        assert load.failures == []
        assert aegis.stop() == 0


def test_the_address_of_an_inherited_socket_is_what_is_said_and_shown(backend, listener, workers):
    admin = "{}:{}".format(*free_port())
    config = config_for([backend], server={"workers": workers}, admin={"listen": admin, "allow_remote": True})

    def start_lines():
        return [line["listen"] for line in aegis.log if line["message"] == "Aegis started"]

    def shown():
        with urllib.request.urlopen(f"http://{admin}/snapshot", timeout=5) as response:
            return json.load(response)["listen"]

    with ActivatedProcess(config, listener) as aegis:
        real = "{}:{}".format(*aegis.address)
        eventually(lambda: start_lines() == [real], "the start line", 10)
        assert shown() == real
        aegis.reload({**config, "logging": {"level": "debug"}})
        assert shown() == real
        aegis.signal(signal.SIGUSR2)
        eventually(lambda: start_lines() == [real, real], "the next start line", 20)
        assert shown() == real
        assert aegis.stop() == 0


# the shipped files


def test_the_systemd_unit_is_as_the_process_needs_it():
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(ROOT / "conf" / "aegis.service")
    service = unit["Service"]
    wanted = {
        "Type": "notify", "NotifyAccess": "main", "ExecReload": "/bin/kill -HUP $MAINPID",
        "RestartPreventExitStatus": "2", "TimeoutStopSec": "45", "RuntimeDirectory": "aegis", "DynamicUser": "yes",
        "ProtectSystem": "strict", "NoNewPrivileges": "yes",
    }  # fmt: skip
    assert wanted.items() <= dict(service).items()
    assert int(service["LimitNOFILE"]) >= 2 * 10_000 + 256


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path):
    text = (ROOT / "conf" / "aegis.service").read_text()
    program = shutil.which("true")
    lines = [f"ExecStart={program}" if line.startswith("ExecStart=") else line for line in text.splitlines()]
    unit = tmp_path / "aegis.service"
    unit.write_text("\n".join(lines))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "aegis.service" in line]
    assert complaints == []


@pytest.fixture
def supervisor(backend, tmp_path):
    """supervisord with the shipped program section, on a configuration and paths of the test."""
    import yaml

    pytest.importorskip("supervisor")
    config = config_for([backend])
    (tmp_path / "aegis.yml").write_text(yaml.safe_dump(config))
    shipped = configparser.ConfigParser(interpolation=None)
    shipped.read(ROOT / "conf" / "supervisord.conf")
    section = dict(shipped["program:aegis"])
    log = tmp_path / "aegis.log"
    section |= {
        "command": f"{sys.executable} -m aegis --config {tmp_path}/aegis.yml --headless",
        "directory": str(ROOT), "stdout_logfile": str(log), "startsecs": "1", "startretries": "1",
    }  # fmt: skip
    section.pop("user", None)
    program = "\n".join(f"{key}={value}" for key, value in section.items())
    conf = tmp_path / "supervisord.conf"
    conf.write_text(
        textwrap.dedent(f"""\
            [supervisord]
            nodaemon=true
            logfile={tmp_path}/supervisord.log
            pidfile={tmp_path}/supervisord.pid
            childlogdir={tmp_path}
            [unix_http_server]
            file={tmp_path}/supervisor.sock
            [rpcinterface:supervisor]
            supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
            [supervisorctl]
            serverurl=unix://{tmp_path}/supervisor.sock
            [program:aegis]
            """)
        + program
    )
    command = [sys.executable, "-W", "ignore", "-m"]
    process = subprocess.Popen(
        [*command, "supervisor.supervisord", "-c", str(conf)], env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def control(*arguments):
        done = subprocess.run(
            [*command, "supervisor.supervisorctl", "-c", str(conf), *arguments],
            capture_output=True, text=True, timeout=60, env=environment(), check=False,
        )  # fmt: skip
        return done.stdout

    address = (config["server"]["host"], config["server"]["port"])
    try:
        eventually(lambda: "RUNNING" in control("status"), "aegis under supervisord", within=20)
        eventually(lambda: not refuses(address), "its port open: RUNNING says only that it lives", within=20)
        yield address, control, log, conf
    finally:
        process.terminate()
        process.wait(60)


def test_supervisord_starts_reloads_restarts_and_stops_it(supervisor, backend):
    address, control, log, _ = supervisor
    pid = int(control("pid", "aegis"))
    with Load(address, clients=4) as load:
        load.more(50)
        control("signal", "HUP", "aegis")
        eventually(lambda: "configuration reloaded" in log.read_text(), "a reload", 10)
        control("signal", "USR2", "aegis")
        eventually(lambda: "the old image has drained" in log.read_text(), "a restart under the same PID", 20)
        load.more(50)
    assert load.failures == []
    assert int(control("pid", "aegis")) == pid
    assert "stopped" in control("stop", "aegis")
    assert "Aegis shutdown complete" in log.read_text().splitlines()[-1]
    assert "STOPPED" in control("status")


def test_supervisord_gives_up_on_a_wrong_configuration(supervisor, backend):
    """Ended within startsecs: tried `startretries` times more, FATAL; ended later: EXITED, as 2 is an expected code."""
    _, control, log, conf = supervisor
    control("stop", "aegis")
    (conf.parent / "aegis.yml").write_text("server: {prot: 1}")
    control("start", "aegis")
    eventually(lambda: {"EXITED", "FATAL"} & set(control("status").split()), "no further try", 20)
    tries = log.read_text().count("did you mean port?")
    assert tries in {1, 2}
    gevent.sleep(1.2)
    assert log.read_text().count("did you mean port?") == tries
