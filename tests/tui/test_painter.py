"""Frames: only what changed, in one write, through a thread that may be stuck."""

from __future__ import annotations

import contextlib
import errno
import os
import time

import gevent
import pytest

from aegis.thread import SingleThread
from aegis.tui.painter import FrameWriter, Looks, Painter
from aegis.tui.styles import Style
from aegis.tui.text import Size, Span
from tests.support.poll import eventually

SIZE = Size(10, 3)


def looks(**changes):
    return Looks(
        **{
            "styles": {style: {Style.BAD: "<bad>"}.get(style, "") for style in Style},
            "normal": "<0>",
            "clear": "<clear>",
            "clear_line": "<eol>",
            "move": lambda column, row: f"<{column},{row}>",
            **changes,
        }
    )


def lines(*texts):
    return [(Span(text),) for text in texts]


def test_first_frame_clears_and_draws_everything():
    assert Painter(looks()).frame(lines("a", "b", "c"), SIZE) == b"<0><clear><0,0>a<0,1>b<0,2>c"


def test_next_frame_has_only_the_lines_that_changed():
    painter = Painter(looks())
    painter.frame(lines("a", "b", "c"), SIZE)
    assert painter.frame(lines("a", "x", "c"), SIZE) == b"<0,1>x<eol>"
    assert painter.frame(lines("a", "x", "c"), SIZE) == b""


def test_a_full_line_is_not_cleared_behind_its_last_cell():
    painter = Painter(looks())
    painter.frame(lines("a"), SIZE)
    assert painter.frame(lines("0123456789"), SIZE) == b"<0,0>0123456789"


def test_another_size_or_a_redraw_draws_everything():
    painter = Painter(looks())
    painter.frame(lines("a"), SIZE)
    assert b"<clear>" in painter.frame(lines("a"), Size(20, 3))
    painter.forget()
    assert b"<clear>" in painter.frame(lines("a"), Size(20, 3))


def test_a_change_of_style_alone_is_a_change():
    painter = Painter(looks())
    painter.frame([(Span("a"),)], SIZE)
    assert painter.frame([(Span("a", Style.BAD),)], SIZE) == b"<0,0><bad>a<0><eol>"


def test_terminals_that_do_not_speak_utf_8_get_signs_of_their_own_of_the_same_width():
    painter = Painter(looks(encoding="iso8859-1"))
    frame = painter.frame(lines("▁█▸–×é広"), SIZE)
    assert frame.endswith(b"<0,0>.#>-x\xe9?")


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):  # the test may have closed it
            os.close(end)


@pytest.fixture
def thread():
    return SingleThread()


def test_write_waits_for_nobody_and_the_writer_is_busy_until_it_is_out(pipe, thread):
    source, sink = pipe
    writer = FrameWriter(sink, thread)
    started = time.monotonic()
    writer.write(bytes(1 << 20))
    assert time.monotonic() - started < 0.5
    gevent.sleep(0.05)
    assert writer.busy
    read = 0
    while read < 1 << 20:
        read += len(os.read(source, 1 << 16))
        gevent.sleep(0)
    eventually(lambda: not writer.busy, "the frame is out")
    assert writer.lost is None


def test_farewell_follows_the_frame_that_is_on_its_way(pipe, thread):
    source, sink = pipe
    writer = FrameWriter(sink, thread)
    writer.write(b"frame")
    assert writer.close(b"bye")
    assert os.read(source, 100) == b"framebye"


def test_farewell_of_a_stuck_terminal_is_not_waited_for_but_goes_out_when_it_wakes_up(pipe, thread):
    source, sink = pipe
    writer = FrameWriter(sink, thread)
    writer.write(bytes(1 << 17))
    started = time.monotonic()
    assert not writer.close(b"bye")
    assert time.monotonic() - started < 2
    received = b""
    while len(received) < (1 << 17) + 3:
        received += os.read(source, 1 << 16)
        gevent.sleep(0)
    assert received.endswith(b"bye")


def test_terminal_that_is_gone_is_noticed_and_written_to_no_more(pipe, thread):
    source, sink = pipe
    os.close(source)
    gevent.sleep(0.01)  # gevent closes at the next turn of its loop
    writer = FrameWriter(sink, thread)
    writer.write(b"frame")
    eventually(lambda: writer.lost, "the loss is seen")
    assert writer.lost.errno == errno.EPIPE
    assert not writer.close(b"bye")
