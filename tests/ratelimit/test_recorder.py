"""The record of ticks on its way to a file: reopened when asked, and no trouble of the file is the proxy's."""

from __future__ import annotations

import os
import resource
import stat
import time

import gevent
import pytest

from aegis.ratelimit.recorder import KEPT, Recorder
from aegis.thread import SingleThread
from tests.support.stuck_call import stuck_in


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ticks.jsonl"


@pytest.fixture
def thread():
    return SingleThread()


@pytest.fixture
def recorder_to(thread):
    made = []

    def make(path):
        made.append(Recorder(str(path), thread))
        return made[-1]

    yield make
    for each in made:
        each.settle()
        each.reconfigure("")
        each.flush()  # closes the file


def test_lines_are_appended_to_what_is_there(path, recorder_to):
    path.write_bytes(b"before\n")
    recorder = recorder_to(path)
    recorder.put(b"one\n")
    recorder.put(b"two\n")
    recorder.flush()
    assert path.read_bytes() == b"before\none\ntwo\n"


def test_a_new_file_is_not_readable_by_everybody(path, recorder_to):
    recorder_to(path).flush()
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


def test_without_a_path_nothing_is_kept(recorder_to):
    recorder = recorder_to("")
    recorder.put(b"one\n")
    recorder.flush()
    assert repr(recorder) == "<Recorder off '' 0 waiting 0 dropped>"


def test_after_a_rotation_it_goes_on_in_a_new_file_once_told(path, recorder_to):
    recorder = recorder_to(path)
    recorder.put(b"one\n")
    recorder.flush()
    rotated = path.rename(path.with_suffix(".1"))
    recorder.put(b"two\n")
    recorder.flush()
    recorder.reopen()
    recorder.put(b"three\n")
    recorder.flush()
    assert rotated.read_bytes() == b"one\ntwo\n"
    assert path.read_bytes() == b"three\n"


def test_a_reload_moves_it_to_another_file_and_switches_it_off(path, recorder_to):
    recorder = recorder_to(path)
    recorder.put(b"one\n")
    recorder.flush()
    other = path.with_name("other")
    recorder.reconfigure(str(other))
    recorder.put(b"two\n")
    recorder.flush()
    recorder.reconfigure("")
    recorder.put(b"three\n")
    recorder.flush()
    assert (path.read_bytes(), other.read_bytes()) == (b"one\n", b"two\n")


def test_a_bad_path_is_said_once_and_tried_again(path, recorder_to, caplog):
    recorder = recorder_to(path / "below" / "a file")
    path.write_bytes(b"a file, not a directory")
    for _ in range(3):
        recorder.put(b"lost\n")
        recorder.flush()
    (said,) = caplog.records
    assert said.levelname == "WARNING"
    assert "adaptive.record" in said.getMessage()
    assert "Not a directory" in said.getMessage()
    assert recorder.dropped == 3
    path.unlink()
    (path / "below").mkdir(parents=True)
    caplog.set_level("INFO", "aegis")
    recorder.put(b"kept\n")
    recorder.flush()
    assert (path / "below" / "a file").read_bytes() == b"kept\n"
    assert caplog.records[-1].lines_lost == 3


def test_a_full_disk_is_said_once(recorder_to, caplog):
    recorder = recorder_to("/dev/full")
    for _ in range(3):
        recorder.put(b"lost\n")
        recorder.flush()
        recorder.flush()
    (said,) = caplog.records
    assert "No space left" in said.getMessage()
    assert recorder.dropped == 3


def test_a_disk_that_fills_within_a_line_leaves_no_half_one(path, recorder_to, caplog):
    recorder = recorder_to(path)
    recorder.put(b"whole\n")
    recorder.flush()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # the kernel takes four bytes more, then refuses
    try:
        recorder.put(b"does not fit\n")
        recorder.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"whole\n"
    assert len(caplog.records) == 1
    recorder.put(b"again\n")
    recorder.flush()
    assert path.read_bytes() == b"whole\nagain\n"


def test_a_fifo_that_nobody_reads_blocks_nothing(path, recorder_to, caplog):
    os.mkfifo(path)
    recorder = recorder_to(path)
    recorder.put(b"lost\n")
    with gevent.Timeout(3):
        recorder.flush()
    assert len(caplog.records) == 1


def test_while_the_thread_is_stuck_the_oldest_lines_go(path, recorder_to, thread):
    recorder = recorder_to(path)
    with stuck_in(thread):
        for number in range(KEPT + 2):
            recorder.put(b"%d\n" % number)
            recorder.flush()
    recorder.flush()
    assert recorder.dropped == 2
    assert path.read_bytes().splitlines()[0] == b"2"


def test_a_stuck_disk_does_not_hold_up_the_exit(path, recorder_to, thread):
    recorder = recorder_to(path)
    recorder.put(b"late\n")
    with stuck_in(thread):
        started = time.monotonic()
        recorder.settle()
        assert 1 <= time.monotonic() - started < 2
    recorder.settle()
    assert path.read_bytes() == b"late\n"


def test_what_was_never_recorded_makes_no_file_at_the_exit(path, recorder_to):
    recorder_to(path).settle()
    assert not path.exists()
