"""The real program with its dashboard in a terminal emulator."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import time
from pathlib import Path

import gevent
import pytest
import yaml

from tests.support.aegis_process import _family, config_for
from tests.support.load import Load
from tests.support.poll import eventually
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend
from tests.support.terminal import (
    ENTER_FULLSCREEN,
    HIDE_CURSOR,
    LEAVE_FULLSCREEN,
    SHOW_CURSOR,
    AegisTerminal,
    TerminalProcess,
)

pytestmark = pytest.mark.process

COMPLETE = "Aegis shutdown complete"


@pytest.fixture(scope="module")
def backend():
    with ScriptedBackend() as scripted:
        yield scripted
    assert not scripted.faults


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def start(backend, request):
    """Start Aegis on a terminal; keywords of AegisTerminal, `sections` of the configuration."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, backends=None, sections=None, **options):
            settings = {"tui": {"refresh_interval": "100ms"}, "server": {"workers": request.param}, **(sections or {})}
            config = config_for(backends or [backend], **settings)
            return stack.enter_context(AegisTerminal(config, *arguments, **options))

        yield start


def restored(terminal):
    """The terminal is as it was: modes, main screen, cursor."""
    assert terminal.modes_now() == terminal.modes
    assert terminal.received.count(ENTER_FULLSCREEN) == terminal.received.count(LEAVE_FULLSCREEN) == 1
    assert terminal.received.index(ENTER_FULLSCREEN) < terminal.received.index(LEAVE_FULLSCREEN)
    assert terminal.received.rindex(SHOW_CURSOR) > terminal.received.rindex(HIDE_CURSOR)


def test_dashboard_appears_with_all_panels_and_repaints(start, backend):
    aegis = start(size=(120, 30))  # wide enough for the whole of a backend's name
    shown = aegis.shows("EVENTS")
    for words in ("SERVING", "BACKEND", backend.name, "LIMIT", "CLOSED", "q quit"):
        assert words in shown
    aegis.shows("0 requests")
    with RawClient(aegis.address) as client:
        for _ in range(3):
            assert client.get("/").status == 200
    aegis.shows("3 requests", within=3)
    aegis.shows("2xx 3")


def test_log_lines_go_to_the_event_log_and_nothing_else_is_written_to_the_screen(start, backend):
    aegis = start()
    aegis.shows("EVENTS")
    with RawClient(aegis.address) as client:
        for _ in range(5):
            client.get("/never-shown")
    aegis.signal(signal.SIGUSR1)
    gevent.sleep(0.5)
    assert b"never-shown" not in aegis.received
    assert aegis.stop() == 0
    after_start = bytes(aegis.received[aegis.received.index(ENTER_FULLSCREEN) :])
    assert b'{"time"' not in after_start
    restored(aegis)


def test_log_file_gets_access_lines_while_the_dashboard_is_up(start, tmp_path):
    path = tmp_path / "aegis.log"
    aegis = start(sections={"logging": {"file": str(path)}})
    aegis.shows("EVENTS")
    with RawClient(aegis.address) as client:
        client.get("/in-the-file")
    eventually(lambda: "/in-the-file" in path.read_text(), "the access line in the file")


def test_resize_80x24_to_160x48_and_back(start):
    aegis = start(sections={"tui": {"refresh_interval": "1h"}})
    aegis.shows("EVENTS")
    aegis.resize(160, 48)
    eventually(lambda: "q quit" in aegis.screen.display[47], "the keys in the last line of 48", within=2)
    assert "P95 BY SECOND" in aegis.shows("P95 BY SECOND")
    aegis.resize(80, 24)
    eventually(lambda: "q quit" in aegis.screen.display[23], "the keys in the last line of 24", within=2)
    aegis.resize(20, 5)
    eventually(lambda: "q quit" in aegis.screen.display[4], "the keys in the last line of 5", within=2)
    assert aegis.process.poll() is None


def test_only_changed_lines_are_repainted(start):
    aegis = start(sections={"tui": {"refresh_interval": "50ms"}})
    aegis.shows("EVENTS")
    gevent.sleep(1.2)
    before = len(aegis.received)
    gevent.sleep(1)
    assert len(aegis.received) - before < 20 * 200  # whole frames would be twenty times some 2,000 bytes
    assert aegis.received.count(b"\x1b[H\x1b[2J") == 1


def test_arrows_select_and_d_drains_and_resumes_after_a_confirmation(start, backend):
    with ScriptedBackend() as other:
        aegis = start(backends=[backend, other], size=(120, 24))
        aegis.shows("▸")
        aegis.type("\x1b[B")
        eventually(lambda: any("▸" in line and other.name in line for line in aegis.screen.display), "the second row")
        aegis.type("d")
        aegis.shows(f"Drain {other.name}?")
        aegis.type("n")
        aegis.hides("Drain")
        assert "DRAINED" not in aegis.text
        aegis.type("d")
        aegis.shows(f"Drain {other.name}?")
        aegis.type("y")
        aegis.shows("DRAINED", within=3)
        before = len(other.requests)
        with RawClient(aegis.address) as client:
            for _ in range(6):
                assert client.get("/drained").status == 200
        assert len(other.requests) == before
        aegis.type("d")
        aegis.shows(f"Resume {other.name}?")
        aegis.type("y")
        aegis.hides("DRAINED")
        with RawClient(aegis.address) as client:
            for _ in range(6):
                assert client.get("/resumed").status == 200
        assert len(other.requests) == before + 3


def test_p_holds_the_picture_while_aegis_goes_on(start):
    aegis = start()
    aegis.shows("0 requests")
    aegis.type("p")
    aegis.shows("PAUSED")
    with RawClient(aegis.address) as client:
        assert client.get("/").status == 200
    gevent.sleep(0.5)
    assert " 0 requests" in aegis.text
    aegis.type("p")
    aegis.shows("1 requests")
    aegis.hides("PAUSED")


def test_help_shows_the_keys_and_goes_away(start):
    aegis = start()
    aegis.shows("EVENTS")
    aegis.type("?")
    aegis.shows("KEYS")
    assert "stop Aegis gracefully" in aegis.text
    aegis.type("?")
    aegis.shows("EVENTS")


def test_q_restores_the_screen_first_and_then_the_drain_lines_go_to_stderr(start):
    aegis = start()
    aegis.shows("EVENTS")
    aegis.type("q")
    assert aegis.wait() == 0
    restored(aegis)
    assert COMPLETE in aegis.errors
    assert COMPLETE.encode() not in aegis.received


def test_drain_lines_on_the_terminal_come_after_the_screen_was_restored(start):
    aegis = start(errors=False)
    aegis.shows("EVENTS")
    aegis.type("q")
    assert aegis.wait() == 0
    restored(aegis)
    assert aegis.received.index(COMPLETE.encode()) > aegis.received.index(LEAVE_FULLSCREEN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signal_restores_the_terminal_and_stops_gracefully(start, number):
    aegis = start()
    aegis.shows("EVENTS")
    aegis.signal(number)
    assert aegis.wait() == 0
    restored(aegis)
    assert COMPLETE in aegis.errors


def test_ctrl_c_stops_gracefully(start):
    aegis = start()
    aegis.shows("EVENTS")
    aegis.type("\x03")
    assert aegis.wait() == 0
    restored(aegis)


def test_crash_of_the_dashboard_restores_the_terminal_and_aegis_goes_on(start, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'aegis.tui.panels.limiter':\n"
        "            import types\n"
        "            module = types.ModuleType(name)\n"
        "            def limiter(*args): raise ZeroDivisionError('crash on purpose')\n"
        "            module.limiter = limiter\n"
        "            sys.modules[name] = module\n"
        "            from importlib.machinery import ModuleSpec\n"
        "            class Loader:\n"
        "                def create_module(self, spec): return module\n"
        "                def exec_module(self, module): pass\n"
        "            return ModuleSpec(name, Loader())\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    aegis = start(env={"PYTHONPATH": str(tmp_path)})
    aegis.shows("crash on purpose")
    assert aegis.modes_now() == aegis.modes
    with RawClient(aegis.address) as client:
        assert client.get("/").status == 200
    assert aegis.stop() == 0


def test_ctrl_z_and_ctrl_s_do_nothing(start):
    aegis = start()
    aegis.shows("EVENTS")
    assert not aegis.modes_now()[0] & termios.IXON
    aegis.type("\x1a\x13")
    with RawClient(aegis.address) as client:
        assert client.get("/").status == 200
    aegis.shows("1 requests")
    aegis.type("q")
    assert aegis.wait() == 0
    restored(aegis)


def test_sigcont_after_a_stop_repaints_and_takes_the_modes_again(start):
    aegis = start(sections={"tui": {"refresh_interval": "1h"}})
    aegis.shows("EVENTS")
    os.killpg(aegis.process.pid, signal.SIGSTOP)  # as a shell does: to the whole job
    gevent.sleep(0.2)
    termios.tcsetattr(aegis.slave, termios.TCSANOW, aegis.modes)
    aegis.screen.reset()
    os.killpg(aegis.process.pid, signal.SIGCONT)
    aegis.shows("EVENTS", within=3)
    assert not aegis.modes_now()[3] & termios.ECHO


def test_no_color_has_moves_but_no_colour(start):
    aegis = start(env={"NO_COLOR": "1"})
    aegis.shows("EVENTS")
    assert "CLOSED" in aegis.screen.display[5]
    assert aegis.colours() == set()
    coloured = start()
    coloured.shows("EVENTS")
    assert {"green", "cyan"} <= coloured.colours()


@pytest.mark.parametrize(
    ("options", "arguments"),
    [({"env": {"TERM": "dumb"}}, ()), ({"env": {"TERM": ""}}, ()), ({}, ("--headless",))],
)
def test_without_a_terminal_to_draw_on_or_headless_it_logs_lines(start, options, arguments):
    aegis = start(*arguments, **options)
    aegis.shows('{"time"')
    with RawClient(aegis.address) as client:
        assert client.get("/").status == 200
    eventually(lambda: b'"message":"request"' in aegis.received, "an access line on stdout")
    assert ENTER_FULLSCREEN not in aegis.received
    assert aegis.modes_now() == aegis.modes


def test_tui_enabled_false_logs_lines(start):
    aegis = start(sections={"tui": {"enabled": False}})
    aegis.shows('{"time"')
    assert ENTER_FULLSCREEN not in aegis.received


def test_a_terminal_that_answers_no_question_delays_nothing(start):
    """blessed would wait 5 s for the terminal to say what it can."""
    started = time.monotonic()
    aegis = start()
    aegis.shows("EVENTS", within=4)
    assert time.monotonic() - started < 4
    assert b"\x1b[6n" not in aegis.received
    assert b"\x1bP+q" not in aegis.received


def test_stalled_terminal_costs_frames_and_no_request(start):
    aegis = start(sections={"tui": {"refresh_interval": "20ms"}}, size=(160, 48))
    aegis.shows("EVENTS")
    aegis.stall()
    worst, until = 0.0, time.monotonic() + 4
    with RawClient(aegis.address) as client:
        while time.monotonic() < until:
            started = time.monotonic()
            assert client.get("/").status == 200
            worst = max(worst, time.monotonic() - started)
            if int(started * 10) != int(time.monotonic() * 10):
                aegis.type("\x0c")  # everything is drawn anew: soon the kernel takes no more
    assert worst < 0.5
    aegis.go_on()
    aegis.shows("frames skipped", within=5)
    aegis.type("q")
    assert aegis.wait() == 0
    restored(aegis)


def test_stalled_terminal_does_not_hold_up_a_stop(start):
    aegis = start(sections={"tui": {"refresh_interval": "20ms"}}, size=(160, 48))
    aegis.shows("EVENTS")
    aegis.stall()
    with RawClient(aegis.address) as client:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert client.get("/").status == 200
    started = time.monotonic()
    assert aegis.stop() == 0
    assert time.monotonic() - started < 4
    assert aegis.modes_now() == aegis.modes


def test_terminal_that_goes_away_leaves_aegis_running_headless(start, tmp_path):
    path = tmp_path / "aegis.log"
    aegis = start(sections={"logging": {"file": str(path)}})
    aegis.shows("EVENTS")
    aegis.hang_up()  # the kernel sends SIGHUP with it: we lead the session
    eventually(lambda: "goes on without a dashboard" in path.read_text(), "a line that says so")
    eventually(lambda: "no reload" in path.read_text(), "a line about the SIGHUP that came of it")
    gevent.sleep(1.2)
    assert "SIGHUP:" not in path.read_text()
    with RawClient(aegis.address) as client:
        assert client.get("/").status == 200
    aegis.signal(signal.SIGHUP)
    eventually(lambda: reloads(path.read_text()), "the next SIGHUP is a reload")
    used = cpu_seconds(aegis.process.pid)
    gevent.sleep(1)
    assert cpu_seconds(aegis.process.pid) - used < 0.2, "it does not spin on the dead terminal"
    assert aegis.stop() == 0
    assert COMPLETE in path.read_text()


def test_sighup_while_the_dashboard_is_up_reloads(start, tmp_path):
    path = tmp_path / "aegis.log"
    aegis = start(sections={"logging": {"file": str(path)}})
    aegis.shows("EVENTS")
    aegis.signal(signal.SIGHUP)
    eventually(lambda: reloads(path.read_text()), "a reload", within=3)
    assert aegis.process.poll() is None
    assert "EVENTS" in aegis.text


def test_in_the_background_of_a_shell_it_runs_headless_and_is_not_stopped(backend, tmp_path):
    config = config_for([backend])
    path = tmp_path / "aegis.yml"
    path.write_text(yaml.safe_dump(config))
    command = ["bash", "--norc", "--noprofile", "-i"]
    with TerminalProcess(command, env={"PS1": "$ "}, size=(250, 40), errors=False) as shell:
        shell.shows("$")
        shell.type(f"{sys.executable} -m aegis -c {path} &\n")
        shell.shows(" is up")
        address = (config["server"]["host"], config["server"]["port"])
        with RawClient(address) as client:
            assert client.get("/").status == 200
        assert ENTER_FULLSCREEN not in shell.received
        shell.type("\nkill %1; wait; echo is over\n")
        shell.shows(COMPLETE)


def reloads(log):
    """A line of a reload, whatever came of it."""
    return [line for line in log.splitlines() if "reload" in line and "no reload" not in line]


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_dashboard_goes_on_over_a_restart_under_the_same_pid(start, backend):
    aegis = start()
    aegis.shows("EVENTS")
    with Load(aegis.address, clients=2) as load:
        for number in (1, 2):
            load.more(50)
            before = _family(aegis.process.pid)[1:]
            aegis.signal(signal.SIGUSR2)
            eventually(
                lambda number=number: aegis.received.count(ENTER_FULLSCREEN) == number + 1, "the new image's screen", 20
            )
            eventually(
                lambda before=before: not set(before) & set(_family(aegis.process.pid)), "the end of the old one", 15
            )
            load.more(50)
    assert load.failures == []
    aegis.screen.reset()
    aegis.resize(90, 24)
    aegis.shows("EVENTS")
    assert '"request_id"' not in aegis.text
    assert aegis.received.count(LEAVE_FULLSCREEN) == 2
    aegis.type("q")
    assert aegis.wait(20) == 0
    assert COMPLETE in aegis.errors
    assert aegis.modes_now() == aegis.modes
    assert aegis.received.count(LEAVE_FULLSCREEN) == 3


def test_words_of_workers_and_of_their_parent_go_to_the_event_log(backend):
    config = config_for([backend], server={"workers": 2}, tui={"refresh_interval": "100ms"})
    with AegisTerminal(config, size=(160, 48)) as aegis:
        aegis.shows("worker 1 serves")
        os.kill(_family(aegis.process.pid)[-1], signal.SIGKILL)
        aegis.shows("ended with -9")  # said by the parent
        drawn = aegis.received.index(ENTER_FULLSCREEN)
        assert b'"level"' not in aegis.received[drawn:]
        assert aegis.stop() == 0


def test_control_process_that_is_killed_is_followed_by_one_with_a_dashboard(backend):
    config = config_for([backend], server={"workers": 2}, tui={"refresh_interval": "100ms"})
    with AegisTerminal(config) as aegis:
        aegis.shows("EVENTS")
        os.kill(_family(aegis.process.pid)[1], signal.SIGKILL)
        eventually(lambda: aegis.received.count(ENTER_FULLSCREEN) == 2, "a dashboard again", 15)
        aegis.screen.reset()
        aegis.resize(90, 24)
        aegis.shows("EVENTS")
        assert aegis.stop() == 0
        assert aegis.modes_now() == aegis.modes
