"""A check of a new image, in a process whose loop watches no children, as Aegis is one. (That of the tests does.)"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

WAIT = """
from gevent import monkey; monkey.patch_all()
import json, sys
import gevent
from aegis.process import handover, signals

signals.hold()
handover.CHECK_PATIENCE = float(sys.argv[1])
turns = []
gevent.spawn(lambda: [gevent.sleep(0.01) or turns.append(1) for _ in range(3)])
check = handover.Check(sys.argv[2:])
code = check.wait()
print(json.dumps([code, check.objection(code), len(turns)]))
"""


def checked(*command, patience=20.0):
    """(exit code, objection, turns that another greenlet had meanwhile)."""
    done = subprocess.run(
        [sys.executable, "-c", WAIT, str(patience), *command], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stderr == ""
    return tuple(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("script", "code", "objection"),
    [
        ("sleep 0.2; echo out; echo a warning >&2", 0, ""),
        ("sleep 0.2; echo out; echo '  why not ' >&2; exit 2", 2, "why not"),
        ("sleep 0.2; exit 3", 3, "the check ended with 3"),
        ("sleep 0.2; kill -TERM $$", -15, "the check ended with -15"),
        ("sleep 0.2; kill -KILL $$", -9, "the check ended with -9"),
        ("sleep 0.2; echo killed >&2; kill -KILL $$", -9, "killed"),
    ],
)
def test_its_exit_code_says_whether_all_is_right_and_its_stderr_what_is_wrong(script, code, objection):
    assert checked("/bin/sh", "-c", script) == (code, objection, 3)


@pytest.mark.parametrize("script", ["exec sleep 60", "echo a warning >&2; exec sleep 60"])
def test_one_that_takes_too_long_is_ended_whatever_it_has_said(script):
    started = time.monotonic()
    assert checked("/bin/sh", "-c", script, patience=0.5)[:2] == (-9, "the check took too long")
    assert time.monotonic() - started < 20


def test_the_signals_that_we_hold_reach_it():
    assert checked("/bin/sh", "-c", "kill -TERM $$; exit 3")[0] == -signal.SIGTERM
