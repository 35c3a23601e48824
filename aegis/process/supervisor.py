"""The quiet parent of all processes: forks them, watches them, replaces them, tells them to stop. No loop, no thread.

It runs no greenlet and resolves no name, so that a fork of it is clean, and it owns the listeners, so that the death of
a worker refuses nobody. What the processes do is handed in as functions.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import gevent
from gevent import monkey

from aegis.process.handover import Check, close
from aegis.process.shared import CONTROL, DRAIN, ENDED, ENDED_BY_FORCE, FORCE, LEAVE, RUN, Board
from aegis.process.signals import RECORD, SIGNALS, descriptor_of, numbers_in

TICK: Final = 1.0
START_PATIENCE: Final = 30.0
GRACE: Final = 3.0
"""Seconds beyond server.shutdown_timeout until a process that does not end is killed."""

SETTLED: Final = 10.0
"""Seconds that a process has to live for its death to count as a first one again."""

LONGEST_PAUSE: Final = 30.0

HUNG: Final = 10
"""Looks in a row, a tick apart, that find a process where the last one found it: then it is killed and replaced."""

NUDGE: Final = 0.05
"""Seconds from one look to the next whether a reload is over."""

Body = Callable[[], int]
"""What a process does; returns its exit code. Runs in the child, and nothing of the parent runs there."""

_fork: Final = monkey.get_original("os", "fork")
_waitpid: Final = monkey.get_original("os", "waitpid")
_select: Final = monkey.get_original("select", "select")
_sleep: Final = monkey.get_original("time", "sleep")


@dataclass(slots=True)
class Child:
    """One place and who is in it. deaths: in a row, none of which came after a settled life."""

    index: int
    body: Body
    pid: int = 0
    started: float = 0.0
    deaths: int = 0
    due: float = 0.0  # when to start the next one; 0 = at once
    beat: float = 0.0  # when its loop had turned last, at the last look
    still: int = 0  # looks in a row that found that unchanged

    @property
    def name(self) -> str:
        """As people call it."""
        return "control" if self.index == CONTROL else f"worker {self.index}"


@dataclass(slots=True)
class Outside:
    """What the supervisor asks of others.

    say: one line for the log. steer: index → who takes its clients. close: the listeners. tick: called every
    `patience` seconds or sooner, with whether every worker's loop turns. check: begins a check of the new image, or
    returns why not; take_over: execs the new image, and returns only when it could not.
    """

    say: Callable[[str, str], None]
    steer: Callable[[dict[int, int]], None] = lambda _: None
    close: Callable[[], None] = lambda: None
    tick: Callable[[bool], None] = lambda _: None
    patience: float = TICK
    ready: Callable[[], None] = lambda: None
    reloading: Callable[[], None] = lambda: None
    stopping: Callable[[], None] = lambda: None
    check: Callable[[], Check | str] = lambda: "not offered"
    take_over: Callable[[Sequence[int]], str] = lambda _: "not offered"
    old: set[int] = field(default_factory=set)  # workers of the image before, which drain


class Supervisor:
    """Runs until it is told to stop; `run` returns the exit code."""

    def __init__(self, board: Board, workers: Sequence[Body], control: Body, outside: Outside) -> None:
        self.board = board
        self.workers = [Child(index, body) for index, body in enumerate(workers)]
        self.control = Child(CONTROL, control)
        self.outside = outside
        self._children = [self.control, *self.workers]
        self._failed = False
        self._stopping = False
        self._forced = False
        self._check: Check | None = None
        self._reloading = False
        self._closes_at = self._deadline = self._looked_at = 0.0
        # The port is open before all serve: what is asked for meanwhile is done afterwards, each once.
        self._early: dict[signal.Signals, None] = {}
        self._signals = {*SIGNALS, signal.SIGCHLD}
        self._inbox = -1  # where they are read, once it runs

    def __repr__(self) -> str:
        living = sum(bool(child.pid) for child in self.workers)
        return f"<Supervisor {living} of {len(self.workers)} workers{' stopping' if self._stopping else ''}>"

    def run(self) -> int:
        """Start all, watch them, end with them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self._inbox = descriptor_of(self._signals)
        for child in self._children:
            self._start(child)
        if not self._wait_until_ready():
            return self._give_up()
        self._drain_old()
        self.outside.ready()
        for number in self._early:
            self._take(number)
        while not (self._stopping and not any(child.pid for child in self.workers)):
            self._turn(self._pause())
        return self._end()

    # one turn

    def _pause(self) -> float:
        """Seconds until something is due."""
        now = time.monotonic()
        due = [child.due for child in self._children if not child.pid and child.due]
        due += [each for each in (self._closes_at, self._deadline) if each]
        longest = NUDGE if self._reloading else min(TICK, self.outside.patience)
        return max(0.0, min([longest, *(each - now for each in due)]))

    def _turn(self, patience: float) -> None:
        number = self._next_signal(patience)
        if number is not None:
            self._take(number)
        self._reap()
        now = time.monotonic()
        if self._stopping:
            self._see_to_the_stop(now)
        else:
            self._respawn(now)
            self._look_for_hung(now)
            self._see_to_the_reload()
            if self._check is not None:
                self._check.kill_if_late()
        self.outside.tick(self._all_turn(now))

    def _next_signal(self, patience: float) -> signal.Signals | None:
        """The signal that came first; None when none does within so many seconds.

        Not by sigtimedwait: one that is interrupted as its time runs out, as by a SIGCONT, returns whatever happened to
        be in memory (seen with CPython 3.11).
        """
        if not _select([self._inbox], [], [], patience)[0]:
            return None
        return numbers_in(os.read(self._inbox, RECORD))[0]

    def _take(self, number: signal.Signals) -> None:
        verb = SIGNALS.get(number)
        if verb == "stop":
            self._stop()
        elif verb == "hangup":
            self._reload()
        elif verb == "reopen":
            self._tell_all(signal.SIGUSR1)
        elif verb == "restart":
            self._restart()

    def _restart(self) -> None:
        if self._stopping or self._check is not None:
            self.outside.say("WARNING", "SIGUSR2: a restart or a stop is under way already; nothing was done")
            return
        self.outside.reloading()
        check = self.outside.check()
        if isinstance(check, str):
            self._go_on(check)
        else:
            self._check = check

    def _reload(self) -> None:
        """Control does it, and says when it is over."""
        self.board.hangups += 1
        if not self._stopping:
            self._reloading = True
            self.outside.reloading()

    def _see_to_the_reload(self) -> None:
        if self._reloading and self.board.answered == self.board.hangups:
            self._reloading = False
            if self._check is None:  # a restart has begun meanwhile, and will say it
                self.outside.ready()

    def _tell_all(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.pid:
                os.kill(child.pid, number)

    def _all_turn(self, now: float) -> bool:
        """Whether every worker's loop has turned lately."""
        return all(now - self.board.worker(child.index).beat < 2 * TICK for child in self.workers if child.pid)

    # children

    def _start(self, child: Child) -> None:
        child.due = 0.0
        child.started = time.monotonic()
        parent = os.getpid()
        child.pid = _fork()
        if not child.pid:
            close(self._inbox)
            os._exit(_live(child.body, parent))

    def _reap(self) -> None:
        while True:
            try:
                pid, status = _waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            if self._check is not None and pid == self._check.pid:
                check, self._check = self._check, None
                self._checked(check.objection(code))
            elif pid in self.outside.old:
                self.outside.old.discard(pid)
            else:
                self._gone(next((child for child in self._children if child.pid == pid), None), code)

    def _gone(self, child: Child | None, code: int) -> None:
        if child is None:
            return
        pid, child.pid = child.pid, 0
        if child.index == CONTROL:
            self.board.turned = 0.0
        else:
            self.board.forget_worker(child.index)
        if self._stopping:
            self._failed |= code != 0
            return
        lived = time.monotonic() - child.started
        child.deaths = 1 if lived >= SETTLED else child.deaths + 1
        pause = 0.0 if child.deaths == 1 else min(LONGEST_PAUSE, 2.0 ** (child.deaths - 2))
        child.due = time.monotonic() + pause
        level = "ERROR" if code else "INFO"  # a worker that somebody told to stop ends with 0
        self.outside.say(level, f"{child.name} (pid {pid}) ended with {code}; the next one starts in {pause:g} s")
        self._steer()

    def _look_for_hung(self, now: float) -> None:
        """Kill whoever's loop turns no more: a worker's clients would wait for ever, and nobody else gets them; without
        control nothing is probed, reloaded or told.

        Looks are counted, not seconds, so that a machine or a group of processes that was stopped as a whole and goes
        on is not taken for one that hangs.
        """
        if now - self._looked_at < TICK:
            return
        self._looked_at = now
        for child in self._children:
            beat = self._turned(child)
            child.still = child.still + 1 if child.pid and beat and beat == child.beat else 0
            child.beat = beat
            if child.still >= HUNG:
                child.still = 0
                self.outside.say("ERROR", f"{child.name} (pid {child.pid}) hangs: it is killed")
                os.kill(child.pid, signal.SIGKILL)

    def _turned(self, child: Child) -> float:
        """When its loop turned last; 0 before it serves."""
        if child.index == CONTROL:
            return self.board.turned
        cell = self.board.worker(child.index)
        return cell.beat if cell.ready else 0.0

    def _respawn(self, now: float) -> None:
        for child in self._children:
            if not child.pid and child.due <= now:
                self._start(child)
        if any(child.deaths > 1 and self.board.worker(child.index).ready for child in self.workers):
            self._steer()

    def _steer(self) -> None:
        """From the second death in a row on, a worker's clients go to a living one until it serves again."""
        ready = [child.index for child in self.workers if self.board.worker(child.index).ready]
        away = [child.index for child in self.workers if child.deaths > 1 and child.index not in ready]
        self.outside.steer({index: ready[index % len(ready)] for index in away} if ready else {})

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + START_PATIENCE
        while not all(self.board.worker(child.index).ready for child in self.workers) or not self.board.patience[1]:
            number = self._next_signal(0.02)
            if number is not None:
                if number in self._early and SIGNALS.get(number) == "stop":
                    return False
                self._early[number] = None
            self._reap()
            if time.monotonic() > deadline or any(child.deaths for child in self._children):
                self._failed = True
                return False
        return True

    def _drain_old(self) -> None:
        for pid in self.outside.old:
            os.kill(pid, signal.SIGTERM)

    # another image

    def _checked(self, words: str) -> None:
        if self._stopping:
            return  # the new image would know nothing of the stop
        if not words:
            self.board.stop = LEAVE
            self._wait_for_control()
            words = self.outside.take_over([child.pid for child in self.workers if child.pid])
            self.board.stop = RUN
        self._go_on(words)

    def _go_on(self, words: str) -> None:
        self.outside.say("ERROR", f"the new image cannot take over, this one goes on: {words}")
        self.outside.ready()

    def _wait_for_control(self) -> None:
        """The admin addresses and the terminal are given away by the one who has them."""
        deadline = time.monotonic() + GRACE
        while self.control.pid and time.monotonic() < deadline:
            if _waitpid(self.control.pid, os.WNOHANG)[0]:
                self.control.pid = 0
            else:
                _sleep(0.01)
        if self.control.pid:
            os.kill(self.control.pid, signal.SIGKILL)
            _waitpid(self.control.pid, 0)
            self.control.pid = 0

    # the end

    def _stop(self) -> None:
        if self._stopping:
            self._force()
            return
        self._stopping = True
        if self._check is not None:
            self._check.kill()
        delay, timeout = self.board.patience
        now = time.monotonic()
        self._closes_at, self._deadline = now + delay, now + delay + timeout + GRACE
        self.board.stop = DRAIN
        self.outside.stopping()

    def _force(self) -> None:
        self._failed = self._forced = True
        self.board.stop = FORCE
        self._closes_at, self._deadline = 0.0, time.monotonic() + GRACE
        self.outside.close()

    def _see_to_the_stop(self, now: float) -> None:
        if self._closes_at and now >= self._closes_at:
            self._closes_at = 0.0
            self.outside.close()
        if self._deadline and now >= self._deadline:
            self._deadline = now + GRACE
            self._failed = True
            for child in self.workers:
                if child.pid:
                    os.kill(child.pid, signal.SIGKILL)

    def _give_up(self) -> int:
        self._stopping = True
        self.board.stop = FORCE
        deadline = time.monotonic() + GRACE
        while any(child.pid for child in self.workers) and time.monotonic() < deadline:
            self._turn(0.05)
        self._drain_old()  # nobody serves in their place, but what they have begun they end
        return self._end()

    def _end(self) -> int:
        deadline = time.monotonic() + (self.board.patience[1] or START_PATIENCE)
        while self.outside.old and time.monotonic() < deadline and not self._forced:
            self._turn(0.1)
        self.board.stop = ENDED_BY_FORCE if self._failed else ENDED
        self._wait_for_control()
        return int(self._failed)


def _live(body: Body, parent: int) -> int:
    """In the child: a loop of its own, then the body."""
    try:
        if os.getppid() != parent:
            return 1
        gevent.reinit()
        return body()
    except BaseException:  # noqa: BLE001 - nothing of the parent may run here
        traceback.print_exc()
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # it was closed when we were started
                stream.flush()
