"""One call at a time in a real thread, and what a fork makes of it."""

from __future__ import annotations

import os
import threading
import time

import gevent
import gevent.os
import pytest

from aegis.thread import SingleThread
from tests.support.poll import eventually
from tests.support.stuck_call import StuckCall, stuck_in


@pytest.fixture
def thread():
    return SingleThread()


@pytest.fixture
def stuck(thread):
    with stuck_in(thread) as call:
        yield call


@pytest.fixture
def told():
    return []


def fail():
    raise ValueError("of the call")


def exit_code_of(child):
    """What a fork of this process, which does `child`, ends with."""
    pid = gevent.os.fork()
    if not pid:
        code = 1
        try:
            with gevent.Timeout(5):
                code = child()
        finally:
            os._exit(code)  # nothing of the tests may run here
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_call_runs_in_another_thread_and_what_it_returned_is_told_in_this_one(thread, told):
    native = threading.get_native_id
    thread.start(native, lambda there: told.append((there, native())))
    assert not told  # it is not waited for
    thread.wait()
    ((there, here),) = told
    assert there != here == native()


def test_it_is_busy_until_the_call_has_ended_and_others_have_their_turn_meanwhile(thread, stuck):
    assert thread.busy
    assert repr(thread) == "<SingleThread busy>"
    gevent.sleep(0.01)
    assert thread.busy
    stuck.let_go()
    thread.wait()
    assert not thread.busy
    assert repr(thread) == "<SingleThread idle>"


def test_a_second_call_is_not_taken_while_one_is_under_way(thread, stuck, told):
    with pytest.raises(RuntimeError, match="under way"):
        thread.start(int, told.append)
    stuck.let_go()
    thread.wait()
    thread.start(int, told.append)
    thread.wait()
    assert told == [0]


def test_it_stays_busy_when_the_greenlet_that_waited_is_killed(thread, stuck):
    waiting = gevent.spawn(thread.wait)
    gevent.sleep(0)
    waiting.kill()
    assert thread.busy


def test_what_a_call_raises_comes_out_of_the_wait_and_is_printed_and_the_thread_goes_on(
    thread, told, dying_greenlets, capsys
):
    thread.start(fail, told.append)
    with pytest.raises(ValueError, match="of the call"):
        thread.wait()
    assert "of the call" in dying_greenlets.pop()
    assert "of the call" in capsys.readouterr().err
    assert not told
    thread.wait()  # once is enough
    thread.start(int, told.append)
    thread.wait()
    assert told == [0]


def test_settling_begins_what_is_left_call_by_call(thread, stuck, told):
    left = [1, 2, 3]

    def begin_next():
        assert not thread.busy
        if left:
            number = left.pop(0)
            thread.start(lambda: number, told.append)
        return thread.busy

    settling = gevent.spawn(thread.settle, 5, begin_next)
    gevent.sleep(0.01)
    assert len(left) == 3
    stuck.let_go()
    assert settling.get(timeout=5)
    assert told == [1, 2, 3]


def test_settling_has_an_end_when_the_call_has_none(thread, stuck):
    started = time.monotonic()
    assert not thread.settle(0.05)
    assert 0.05 <= time.monotonic() - started < 2
    assert thread.busy


def test_settling_raises_what_a_call_raises(thread, told, dying_greenlets):
    thread.start(fail, told.append)
    with pytest.raises(ValueError, match="of the call"):
        thread.settle(5)
    dying_greenlets.clear()


def test_it_is_busy_in_every_turn_of_the_loop_until_what_the_call_returned_is_told(thread, told):
    thread.start(lambda: 7, told.append)
    while thread.busy:  # as whoever polls it, turn by turn
        assert not told
        gevent.sleep(0)
    assert told == [7]
    assert thread.settle(0)


def test_a_call_that_failed_leaves_it_idle_and_is_not_raised_by_who_comes_later(thread, told, dying_greenlets):
    thread.start(fail, told.append)
    eventually(lambda: not thread.busy, "the end of the call")
    assert thread.settle(5)
    assert "of the call" in dying_greenlets.pop()
    assert not told


def test_a_then_that_fails_is_printed_and_leaves_it_idle(thread, told, dying_greenlets):
    def refuse(number):
        raise ValueError("of then")

    thread.start(int, refuse)
    thread.wait()
    assert not thread.busy
    assert "of then" in dying_greenlets.pop()
    thread.start(int, told.append)
    thread.wait()
    assert told == [0]


def test_a_child_goes_on_with_a_thread_of_its_own(thread, told):
    thread.start(int, told.append)
    thread.wait()  # the thread lives now, and the fork does not take it along

    def child():
        thread.after_fork()
        thread.start(lambda: 7, told.append)
        thread.wait()
        return told[-1]

    assert exit_code_of(child) == 7


def test_in_a_child_nobody_waits_for_the_call_that_was_under_way(thread, stuck):
    waiting = gevent.spawn(thread.wait)
    gevent.sleep(0)

    def child():
        thread.after_fork()
        waiting.get()
        assert not thread.busy
        assert thread.settle(0)
        return 7

    assert exit_code_of(child) == 7
    assert thread.busy
    assert not waiting.ready()
    stuck.let_go()
    waiting.get(timeout=5)


def test_a_child_is_not_told_of_the_call_that_was_under_way(thread, told):
    stuck = StuckCall()
    thread.start(stuck, told.append)

    def child():
        thread.after_fork()
        thread.start(int, told.append)
        thread.wait()
        return 7 if told == [0] else 1

    assert exit_code_of(child) == 7
    stuck.let_go()
    eventually(lambda: told == ["let go"], "the end of the call where it began")
    stuck.close()
