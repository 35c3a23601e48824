"""`aegis top` in a terminal emulator, before a real instance with an admin listener."""

from __future__ import annotations

import contextlib
import signal
import sys

import gevent
import pytest

from tests.support.aegis_process import AegisProcess, config_for, run_aegis
from tests.support.poll import eventually
from tests.support.ports import free_port
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend
from tests.support.terminal import ENTER_FULLSCREEN, LEAVE_FULLSCREEN, TerminalProcess

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def backend():
    with ScriptedBackend() as scripted:
        yield scripted
    assert not scripted.faults


@pytest.fixture(scope="module")
def config(backend):
    host, port = free_port()
    return config_for([backend], admin={"listen": f"{host}:{port}"})


@pytest.fixture(scope="module")
def aegis(config):
    with AegisProcess(config) as process:
        yield process


@pytest.fixture
def top(config):
    with contextlib.ExitStack() as stack:

        def top(*arguments, **options):
            command = [sys.executable, "-m", "aegis", "top", "--connect", config["admin"]["listen"], *arguments]
            return stack.enter_context(TerminalProcess(command, **{"size": (120, 30), **options}))

        yield top


def test_top_draws_the_dashboard_of_a_running_instance(aegis, backend, top):
    terminal = top()
    shown = terminal.shows("EVENTS")
    for words in ("SERVING", backend.name, "CLOSED", "LIMIT", "q leave"):
        assert words in shown
    terminal.shows(f"pid {aegis.process.pid}")
    with RawClient(aegis.address) as client:
        assert client.get("/").status == 200
    terminal.shows("2xx 1")


@pytest.mark.parametrize("leave", ["q", "\x03"])
def test_q_and_ctrl_c_only_leave_it(aegis, top, leave):
    terminal = top()
    terminal.shows("EVENTS")
    terminal.type(leave)
    assert terminal.wait() == 0
    assert terminal.modes_now() == terminal.modes
    assert terminal.received.count(ENTER_FULLSCREEN) == terminal.received.count(LEAVE_FULLSCREEN) == 1
    assert aegis.running
    with RawClient(aegis.address) as client:
        assert client.get("/").status == 200


def test_a_lost_terminal_only_ends_it(aegis, top):
    terminal = top()
    terminal.shows("EVENTS")
    terminal.hang_up()
    terminal.process.wait(5)
    assert aegis.running


def test_drain_and_resume_go_over_the_admin_listener(aegis, backend, top):
    terminal = top()
    terminal.shows("EVENTS")
    terminal.type("d")
    terminal.shows(f"Drain {backend.name}?")
    terminal.type("y")
    terminal.shows("DRAINED")
    terminal.type("d")
    terminal.shows("Resume")
    terminal.type("y")
    terminal.hides("DRAINED")


def test_read_only_it_has_no_drain(aegis, top):
    terminal = top("--read-only")
    assert "drain" not in terminal.shows("EVENTS").splitlines()[-1]
    terminal.type("d")
    gevent.sleep(0.3)
    assert "Drain" not in terminal.text


def test_ctrl_z_gives_the_terminal_back_and_fg_repaints(aegis, config):
    command = ["bash", "--norc", "--noprofile", "-i"]
    with TerminalProcess(command, env={"PS1": "shell> "}, size=(120, 30), errors=False) as terminal:
        terminal.shows("shell>")
        terminal.type(f"{sys.executable} -m aegis top --connect {config['admin']['listen']}\n")
        terminal.shows("EVENTS")
        terminal.type("\x1a")
        terminal.shows("Stopped")
        assert terminal.received.count(LEAVE_FULLSCREEN) == 1
        terminal.screen.reset()
        terminal.type("fg\n")
        terminal.shows("EVENTS")
        terminal.shows("q leave")
        terminal.type("q")
        eventually(lambda: terminal.received.count(LEAVE_FULLSCREEN) == 2, "the screen is given back again")


def test_it_says_what_it_waits_for_and_reconnects_when_the_instance_restarts(backend, top, config):
    host, port = free_port()
    own = config_for([backend], admin={"listen": f"{host}:{port}"})
    terminal = top("--connect", f"{host}:{port}")
    terminal.shows("WAITING")
    terminal.shows(f"{host}:{port}")
    with AegisProcess(own) as first:
        terminal.shows(f"pid {first.process.pid}")
        assert first.stop() == 0
        terminal.shows("WAITING")
    with AegisProcess(own) as second:
        terminal.shows(f"pid {second.process.pid}")
        terminal.hides("WAITING")
        assert second.stop(signal.SIGTERM) == 0


def test_a_restart_under_the_same_pid_begins_its_events_anew(backend, top):
    host, port = free_port()
    with AegisProcess(config_for([backend], admin={"listen": f"{host}:{port}"})) as own:
        terminal = top("--connect", f"{host}:{port}")
        for _ in range(3):  # more events than the new image will have had
            for verb in ("drain", "resume"):
                done = run_aegis(verb, backend.name, "--connect", f"{host}:{port}")
                assert done.returncode == 0, done.stderr
        terminal.shows("resumed")
        own.signal(signal.SIGUSR2)
        terminal.hides("resumed", within=20)
        assert run_aegis("drain", backend.name, "--connect", f"{host}:{port}").returncode == 0
        assert "SERVING" in terminal.shows("drained")


def test_without_a_terminal_it_is_a_usage_error():
    done = run_aegis("top", "--connect", "127.0.0.1:1")
    assert done.returncode == 2
    assert "terminal" in done.stderr


def test_without_an_admin_listener_it_names_the_key(tmp_path, config):
    path = tmp_path / "aegis.yml"
    path.write_text("backends: [{url: 'http://192.0.2.1', weight: 1}]\n")
    command = [sys.executable, "-m", "aegis", "top", "-c", str(path)]
    with TerminalProcess(command) as terminal:
        assert terminal.wait() == 2
        assert "admin.listen" in terminal.errors
        assert ENTER_FULLSCREEN not in terminal.received
