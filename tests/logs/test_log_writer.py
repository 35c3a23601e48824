"""The writer over real pipes. A pipe in packet mode shows where each write began and ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random

import gevent
import gevent.os
import pytest
from gevent.event import Event
from gevent.monkey import get_original

from aegis.logs import writer as writers
from aegis.logs.writer import LogWriter
from aegis.thread import SingleThread
from tests.support.poll import eventually

ATOMIC = 4096
close = get_original("os", "close")  # gevent's own may come later


@pytest.fixture
def thread():
    return SingleThread()


@pytest.fixture
def pipe():
    """Makes (reading end, writing end); the reading end never blocks."""
    ends = []

    def make(flags=0, size=0):
        reader, writer = os.pipe2(flags | os.O_CLOEXEC)
        os.set_blocking(reader, False)
        if size:
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, size)
        ends.extend((reader, writer))
        return reader, writer

    yield make
    for end in ends:
        with contextlib.suppress(OSError):  # the test may have closed it
            close(end)


def available(reader, size=1 << 20):
    try:
        return os.read(reader, size)
    except BlockingIOError:
        return b""


def line(number, size=20):
    return (b"%d " % number).ljust(size - 1, b"x") + b"\n"


def flushed(writer):
    return gevent.spawn(writer.flush)


def read_until(reader, flushing):
    """All that comes until the flush is over."""
    data = b""

    def over():
        nonlocal data
        data += available(reader)
        return flushing.ready()

    eventually(over, "the end of a flush", within=10)
    flushing.get()
    return data + available(reader)


def test_lines_are_written_whole_and_in_their_order(pipe, thread):
    reader, end = pipe()
    writer, lines = LogWriter(end, thread), [line(number) for number in range(500)]
    for each in lines:
        writer.put(each)
    assert available(reader) == b""  # a put writes nothing itself
    assert read_until(reader, flushed(writer)) == b"".join(lines)
    assert writer.dropped == 0


def test_each_write_to_a_pipe_is_whole_lines_of_at_most_4096_bytes(pipe, thread):
    reader, end = pipe(os.O_DIRECT)
    rng = random.Random(4096)
    sizes = [20, 4095, 4096, 1, *(rng.choice([10, 100, 1000, 2047, 2048, 3000]) for _ in range(300))]
    lines = [line(number, size) if size > 8 else b"\n" for number, size in enumerate(sizes)]
    writer = LogWriter(end, thread)
    for each in lines:
        writer.put(each)
    flushing, packets = flushed(writer), []

    def over():
        while packet := available(reader):
            packets.append(packet)
        return flushing.ready()

    eventually(over, "the end of the flush", within=10)
    while packet := available(reader):
        packets.append(packet)
    assert b"".join(packets) == b"".join(lines)
    assert all(len(packet) <= ATOMIC and packet.endswith(b"\n") for packet in packets)
    assert len(packets) < len(lines)  # lines share a write where they fit


@pytest.mark.parametrize("size", [ATOMIC + 1, 5000, 100_000])
def test_a_longer_line_is_cut_and_marked(pipe, thread, size):
    reader, end = pipe(os.O_DIRECT)
    writer = LogWriter(end, thread)
    for each in (line(1), line(2, size), line(3)):
        writer.put(each)
    data = b""
    flushing = flushed(writer)

    def over():
        nonlocal data
        data += available(reader)
        return flushing.ready()

    eventually(over, "the end of the flush")
    data += available(reader) + available(reader)
    first, cut, last = data.splitlines(keepends=True)
    assert (first, last) == (line(1), line(3))
    assert len(cut) <= ATOMIC
    assert cut.startswith(b"2 xxx")
    assert b"cut" in cut[-10:]


def test_a_file_takes_lines_of_any_length(tmp_path, thread):
    path = tmp_path / "aegis.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    writer = LogWriter(descriptor, thread)
    writer.put(line(1, 50_000))
    writer.flush()
    os.close(descriptor)
    assert path.read_bytes() == line(1, 50_000)


def test_a_stalled_reader_delays_nothing(pipe, thread):
    reader, end = pipe(size=ATOMIC)
    writer, done = LogWriter(end, thread), Event()
    for number in range(100):
        writer.put(line(number, 1000))
    flushing = flushed(writer)
    other = gevent.spawn(done.set)  # another greenlet has its turn while the thread is stuck
    assert done.wait(5)
    other.join()
    assert not flushing.ready()
    for number in range(100, 200):
        writer.put(line(number, 1000))
    writer.flush()  # while one is under way it returns at once
    assert writer.dropped == 0
    data = read_until(reader, flushing) + read_until(reader, flushed(writer))
    assert data == b"".join(line(number, 1000) for number in range(200))


def test_what_waits_is_bounded_and_the_rest_is_dropped_and_counted(pipe, thread):
    _, end = pipe()
    writer = LogWriter(end, thread)
    for number in range(writers.QUEUED + 7):
        writer.put(b"%d\n" % number)
    assert writer.dropped == 7
    assert "7 dropped" in repr(writer)
    assert f"{writers.QUEUED} waiting" in repr(writer)


def test_after_the_reader_caught_up_lines_are_taken_again(pipe, thread):
    reader, end = pipe()
    writer = LogWriter(end, thread)
    for number in range(writers.QUEUED + 1):
        writer.put(b"%d\n" % number)
    read_until(reader, flushed(writer))
    writer.put(b"again\n")
    assert read_until(reader, flushed(writer)) == b"again\n"
    assert writer.dropped == 1


def test_lines_that_nobody_can_read_any_more_are_counted(pipe, thread):
    reader, end = pipe()
    writer = LogWriter(end, thread)
    close(reader)
    for number in range(5):
        writer.put(line(number))
    writer.flush()
    assert writer.dropped == 5


def test_a_reader_that_closes_within_a_write_costs_lines_and_nothing_else(pipe, thread):
    reader, end = pipe(size=ATOMIC)
    writer = LogWriter(end, thread)
    for number in range(50):
        writer.put(line(number, 1000))
    flushing = flushed(writer)
    eventually(lambda: available(reader), "some lines")
    close(reader)
    flushing.get(timeout=5)
    assert 0 < writer.dropped <= 50


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing(pipe, thread):
    reader, end = pipe(size=ATOMIC)
    os.set_blocking(end, False)
    writer, lines = LogWriter(end, thread), [line(number, 900) for number in range(60)]
    for each in lines:
        writer.put(each)
    assert read_until(reader, flushed(writer)) == b"".join(lines)
    assert writer.dropped == 0


def test_a_close_writes_the_rest(pipe, thread):
    reader, end = pipe()
    writer = LogWriter(end, thread)
    writer.put(b"last words\n")
    closing = gevent.spawn(writer.settle)
    assert read_until(reader, closing) == b"last words\n"


def test_a_close_is_not_held_up_by_a_stuck_reader(pipe, thread):
    reader, end = pipe(size=ATOMIC)
    writer = LogWriter(end, thread)
    for number in range(100):
        writer.put(line(number, 1000))
    flushing = flushed(writer)
    gevent.sleep(0)
    closing = gevent.spawn(writer.settle)
    eventually(closing.ready, "the end of the close", within=4)
    read_until(reader, flushing)  # sets the thread free


def test_after_a_rotation_lines_go_to_a_new_file_under_the_old_name(tmp_path, thread):
    path = tmp_path / "aegis.log"
    descriptor = writers.open_log(str(path))
    writer = LogWriter(descriptor, thread)
    writer.put(b"before\n")
    writer.flush()
    path.rename(tmp_path / "aegis.log.1")
    writer.reopen(str(path))
    writer.put(b"after\n")
    writer.flush()
    assert (tmp_path / "aegis.log.1").read_bytes() == b"before\n"
    assert path.read_bytes() == b"after\n"
    assert path.stat().st_mode & 0o007 == 0  # others may not read who came
    with pytest.raises(OSError, match="aegis"):
        writer.reopen(str(tmp_path / "missing" / "aegis.log"))
    writer.put(b"still\n")
    writer.flush()
    assert path.read_bytes() == b"after\nstill\n"
    os.close(descriptor)


def test_a_line_that_is_put_right_after_a_fork_is_written_by_the_child(pipe, thread):
    reader, descriptor = pipe()
    writer = LogWriter(descriptor, thread)
    writer.put(b"parent\n")
    writer.flush()  # its thread lives now, and the fork does not take it along
    child = gevent.os.fork()
    if not child:
        try:
            with gevent.Timeout(5):
                writer.after_fork()
                writer.put(b"child\n")
                writer.flush()
        finally:
            os._exit(0)  # nothing of the tests may run here
    os.waitpid(child, 0)
    assert available(reader) == b"parent\nchild\n"


def full(pipe):
    """(reader, end) of a pipe that takes nothing: the thread is stuck with what comes now."""
    reader, end = pipe(size=ATOMIC)
    os.write(end, b"x" * ATOMIC)
    return reader, end


def test_a_batch_whose_greenlet_was_killed_is_still_waited_for(pipe, thread):
    reader, end = full(pipe)
    writer = LogWriter(end, thread)
    writer.put(b"the last words\n")
    job = gevent.spawn(writer.flush)
    gevent.sleep(0)
    job.kill()
    waiting = gevent.spawn(writer.settle, 5)
    gevent.sleep(0.05)
    assert not waiting.dead
    assert len(available(reader)) == ATOMIC
    waiting.get(timeout=5)
    assert available(reader) == b"the last words\n"


def test_withholding_has_an_end_while_lines_keep_coming_and_writes_what_was_queued(pipe, thread):
    reader, end = pipe()
    writer = LogWriter(end, thread)
    writer.before_flush = lambda: writer.put(b"one more\n")
    writer.put(b"queued\n")
    withholding = gevent.spawn(writer.withhold)
    assert read_until(reader, withholding) == b"queued\none more\n"
    writer.put(b"let go\n")
    writer.flush()
    writer.release()
    writer.before_flush = lambda: None
    writer.put(b"again\n")
    assert read_until(reader, flushed(writer)) == b"again\n"
    assert writer.dropped == 0


def test_withholding_that_is_given_up_lets_lines_be_written(pipe, thread):
    reader, end = full(pipe)
    writer = LogWriter(end, thread)
    writer.put(b"queued\n")
    withholding = gevent.spawn(writer.withhold)
    gevent.sleep(0)
    withholding.kill()
    writer.put(b"the last words\n")
    assert len(available(reader)) == ATOMIC
    assert read_until(reader, gevent.spawn(writer.settle, 5)) == b"queued\nthe last words\n"
