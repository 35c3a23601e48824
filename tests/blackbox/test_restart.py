"""SIGUSR2: a new image under the same PID, and nobody who is served notices."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import gevent
import pytest

from tests.support.aegis_process import AegisProcess, _family, config_for, refuses, run_aegis
from tests.support.load import Load
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.proc import state_of
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend, held

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

STARTED = "Aegis started"
DRAINED = "the old image has drained"


@pytest.fixture
def backend():
    with ScriptedBackend() as scripted:
        yield scripted


def restart(aegis, within=20.0):
    eventually(lambda: STARTED in aegis.messages(), "the first start")
    before = aegis.messages().count(STARTED)
    aegis.signal(signal.SIGUSR2)
    eventually(lambda: aegis.messages().count(STARTED) > before, "the new image", within)


def held_over_a_restart(aegis, backend, client):
    """What releases a request that was held at the backend when the new image took over."""
    release = held(backend, client)
    aegis.signal(signal.SIGUSR2)
    eventually(lambda: "a new image takes over" in aegis.messages(), "the hand-over", 20)
    return release


def test_three_restarts_in_a_row_under_load_fail_not_one_request(backend):
    with AegisProcess(config_for([backend])) as aegis:
        pid = aegis.process.pid
        with Load(aegis.address, clients=8) as load:
            for number in range(1, 4):
                load.more()
                restart(aegis)
                eventually(lambda number=number: aegis.messages().count(DRAINED) == number, "the old image's end", 10)
                load.more()
        assert load.failures == []
        assert load.answered > 1000
        assert aegis.running
        assert aegis.process.pid == pid
        eventually(lambda: _family(pid) == [pid], "no child left, not even a zombie")
        assert aegis.stop() == 0
        assert aegis.messages()[-1] == "Aegis shutdown complete"
        assert aegis.messages().count("Aegis shutdown complete") == 1
    assert "Traceback" not in aegis.errors + "\n".join(aegis.lines)


def test_a_request_in_flight_is_answered_by_the_old_image(backend):
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address, timeout=15) as client:
        release = held(backend, client)
        restart(aegis)
        with RawClient(aegis.address) as other:
            assert other.get("/new").status == 200
        eventually(lambda: "stopping" in aegis.messages(), "the old image's drain")
        release.set()
        response = client.read_response()
        assert (response.status, response.body) == (200, b"hello")
        assert "close" in response.tokens("Connection")
        assert aegis.stop() == 0


def test_a_configuration_that_the_new_image_refuses_changes_nothing(backend):
    with AegisProcess(config_for([backend])) as aegis:
        aegis.path.write_text("server: {prot: 1}")
        aegis.signal(signal.SIGUSR2)
        line = eventually(
            lambda: [one for one in aegis.log if "cannot take over" in one["message"]], "a refusal", within=20
        )[0]
        assert "did you mean port?" in line["error"]
        with RawClient(aegis.address) as client:
            assert client.get("/").status == 200
        assert _family(aegis.process.pid) == [aegis.process.pid]
        assert aegis.stop() == 0


def test_another_number_of_workers_is_refused_since_it_needs_a_stop_and_a_start(backend):
    config = config_for([backend])
    with AegisProcess(config) as aegis:
        aegis.write_config({**config, "server": {**config["server"], "workers": 2}})
        aegis.signal(signal.SIGUSR2)
        line = eventually(lambda: [one for one in aegis.log if "cannot take over" in one["message"]], "no", 10)[0]
        assert "server.workers is 1 here and 2 there" in line["error"]
        with RawClient(aegis.address) as client:
            assert client.get("/").status == 200
        assert aegis.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("what", ["the admin port", "the admin socket", "the port of clients"])
def test_an_address_that_somebody_else_has_is_noticed_before_there_is_no_way_back(backend, tmp_path, what, workers):
    config = config_for([backend], server={"workers": workers})
    host, port = free_port()
    key, changed = "admin.listen", {"admin": {"listen": f"{host}:{port}", "allow_remote": True}}
    if what == "the admin socket":
        changed = {"admin": {"listen": f"unix:{tmp_path}/admin.sock"}}
    if what == "the port of clients":
        key, changed = "server.port", {"server": {**config["server"], "host": host, "port": port}}
    with (
        AegisProcess(config) as aegis,
        socket.create_server((host, port)),
        socket.socket(socket.AF_UNIX) as other,
    ):
        other.bind(f"{tmp_path}/admin.sock")
        other.listen()
        eventually(lambda: STARTED in aegis.messages(), "the first start", 10)
        aegis.write_config({**config, **changed})
        with Load(aegis.address, clients=4) as load:
            aegis.signal(signal.SIGUSR2)
            line = eventually(lambda: [one for one in aegis.log if "cannot take over" in one["message"]], "no", 20)[0]
            assert key in line.get("error", line["message"])
            load.more(100)
            aegis.write_config(config)
            restart(aegis)
            load.more(100)
        assert load.failures == []
        assert aegis.stop(within=20) == 0


class OfAnInterpreter(AegisProcess):
    """Run by an interpreter that a test may remove."""

    interpreter = ""

    def command(self):
        return [self.interpreter, *super().command()[1:]]


@pytest.mark.parametrize("workers", [1, 2])
def test_while_the_interpreter_is_exchanged_there_is_no_new_image_and_this_one_goes_on(backend, tmp_path, workers):
    config = config_for([backend], server={"workers": workers})
    interpreter = tmp_path / "python"
    interpreter.symlink_to(Path(sys.executable).resolve())
    aegis = OfAnInterpreter(config, env={"PYTHONPATH": os.pathsep.join(sys.path)})
    aegis.interpreter = str(interpreter)
    with aegis:
        eventually(lambda: STARTED in aegis.messages(), "the first start", 10)
        interpreter.unlink()
        aegis.signal(signal.SIGUSR2)
        line = eventually(lambda: [one for one in aegis.log if "cannot take over" in one["message"]], "no", 10)[0]
        assert "No such file" in line.get("error", line["message"])
        with RawClient(aegis.address) as client:
            assert client.get("/").status == 200
        interpreter.symlink_to(Path(sys.executable).resolve())
        restart(aegis)
        eventually(lambda: aegis.messages().count(DRAINED) == workers, "the old image's end", 10)
        assert aegis.stop() == 0
    assert "Traceback" not in aegis.errors + "\n".join(aegis.lines)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_image_that_dies_before_it_serves_costs_no_request_that_is_in_flight(backend, workers):
    config = config_for([backend], server={"workers": workers})
    with AegisProcess(config) as aegis, RawClient(aegis.address, timeout=20) as client:
        eventually(lambda: STARTED in aegis.messages(), "the first start", 10)
        release = held_over_a_restart(aegis, backend, client)
        aegis.path.write_text("[")  # the check has read it, the new image has not yet
        assert aegis.process.wait(20) == 2
        eventually(lambda: refuses(aegis.address), "the end of listening", 10)
        release.set()
        assert client.read_response().status == 200
        aegis.wait()
    assert "Traceback" not in aegis.errors + "\n".join(aegis.lines)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_needs_a_restart_is_in_force_after_one(backend, workers):
    config = config_for([backend], server={"workers": workers})
    with AegisProcess(config) as aegis:
        host, port = aegis.address
        other = config_for([backend])["server"]
        config["server"] = {**config["server"], "host": other["host"], "port": other["port"]}
        aegis.write_config(config)
        restart(aegis)
        with RawClient((other["host"], other["port"])) as client:
            assert client.get("/").status == 200
        eventually(lambda: DRAINED in aegis.messages(), "the old image's end", 10)
        with pytest.raises(ConnectionRefusedError):
            RawClient((host, port))
        assert aegis.stop() == 0


def test_a_stop_waits_for_the_old_image_too_and_a_signal_to_the_group_does_not_cut_it_off(backend):
    with AegisProcess(config_for([backend])) as aegis, RawClient(aegis.address, timeout=15) as client:
        release = held(backend, client)
        restart(aegis)
        eventually(lambda: len(_family(aegis.process.pid)) == 2, "the old image beside the new one")
        _, old = _family(aegis.process.pid)

        os.kill(old, signal.SIGTERM)
        aegis.signal(signal.SIGTERM)
        gevent.sleep(0.5)
        assert aegis.running
        release.set()
        assert client.read_response().status == 200
        assert aegis.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_that_comes_while_the_image_is_replaced_is_obeyed_and_loses_nothing(backend, workers):
    config = config_for([backend], server={"workers": workers})
    with AegisProcess(config) as aegis, RawClient(aegis.address, timeout=30) as client:
        eventually(lambda: STARTED in aegis.messages(), "the first start", 10)
        release = held_over_a_restart(aegis, backend, client)
        aegis.signal(signal.SIGTERM)
        gevent.sleep(1)
        release.set()
        assert client.read_response().status == 200
        assert aegis.wait(within=20) == 0
        assert aegis.messages()[-1] == "Aegis shutdown complete"
        assert _family(aegis.process.pid) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_that_comes_during_the_check_ends_the_restart_and_is_no_error(backend, workers):
    with AegisProcess(config_for([backend], server={"workers": workers})) as aegis:
        eventually(lambda: STARTED in aegis.messages(), "the first start", 10)
        aegis.signal(signal.SIGUSR2)
        gevent.sleep(0.1)
        assert aegis.stop(within=20) == 0
        assert "a new image takes over" not in aegis.messages()
        assert not [line for line in aegis.log if line["level"] == "ERROR"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_check_that_is_slow_does_not_outlive_the_stop(backend, tmp_path, workers):
    interpreter, noted = tmp_path / "python", tmp_path / "pid"
    interpreter.symlink_to(Path(sys.executable).resolve())
    config = config_for([backend], server={"workers": workers})
    aegis = OfAnInterpreter(config, env={"PYTHONPATH": os.pathsep.join(sys.path)})
    aegis.interpreter = str(interpreter)
    with aegis:
        eventually(lambda: STARTED in aegis.messages(), "the first start", 10)
        interpreter.unlink()
        interpreter.write_text(f"#!/bin/sh\necho $$ >{noted}\nexec sleep 60\n")
        interpreter.chmod(0o755)
        aegis.signal(signal.SIGUSR2)
        check = int(eventually(lambda: noted.exists() and noted.read_text(), "the check", 10))
        assert aegis.stop(within=20) == 0
        eventually(lambda: state_of(check) == "Z", "the end of the check")
        assert not [line for line in aegis.log if line["level"] == "ERROR"]


def test_why_the_new_image_refuses_the_configuration_is_told_with_workers_too(backend):
    with AegisProcess(config_for([backend], server={"workers": 2})) as aegis:
        eventually(lambda: STARTED in aegis.messages(), "the first start", 10)
        aegis.write_config({**aegis.config, "development": {"allow_loopback_backends": False}})
        aegis.signal(signal.SIGUSR2)
        words = eventually(lambda: [each for each in aegis.messages() if "cannot take over" in each], "a refusal", 20)
        assert "loopback" in words[0], words
        assert aegis.stop() == 0


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_admin_listener_passes_over_too(backend, tmp_path, kind):
    host, port = free_port()
    listen = f"{host}:{port}" if kind == "tcp" else f"unix:{tmp_path}/admin.sock"
    with AegisProcess(config_for([backend], admin={"listen": listen, "allow_remote": True})) as aegis:

        def ask():
            done = run_aegis("status", "--connect", listen)
            return done.returncode == 0  # ready

        eventually(ask, "ready", 10)
        restart(aegis)
        eventually(ask, "ready again", 10)
        eventually(lambda: DRAINED in aegis.messages(), "the old image's end", 10)
        assert ask()
        assert aegis.stop() == 0
    assert not (tmp_path / "admin.sock").exists()
