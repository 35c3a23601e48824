"""What the processes of one Aegis share: numbers in shared memory, each written by whom its comment names.

Eight-byte stores are whole, so that a number with one writer needs no lock. What several may change is changed under
`Lock`, which the kernel opens when its holder dies. Knows backends as slots, and nothing of what the numbers cause.
"""

import contextlib
import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SLOTS: Final = 2048
"""Most backends; a slot is one backend's numbers."""

# Numbers of all, by place.
_VERSION: Final = 0  # counts changes in slots; under the lock
_GENERATION: Final = 1  # of the configuration; control
_STOP: Final = 2  # supervisor
_HANGUPS: Final = 3  # supervisor
_RATE: Final = 4  # of the limiter, for all workers together; control
_DELAY: Final = 5  # server.shutdown_delay; control
_TIMEOUT: Final = 6  # server.shutdown_timeout; control
_ANSWERED: Final = 7  # SIGHUPs that a reload has followed; control
_ELIGIBLE: Final = 8  # backends that may be picked; control
_BACKENDS: Final = 9  # all; control
_SCREEN: Final = 10  # whether a dashboard has the terminal; control
_TURNED: Final = 11  # when control's loop turned last; control
_GLOBAL: Final = 12

# Numbers of one worker, written by it.
_PID, _BEAT, _READY, _APPLIED, _OPEN, _IN_FLIGHT, _GAVE_WAY = range(7)
_WORKER: Final = 8

# Numbers of one slot, then two for each worker.
_HEALTH, _SHARE, _DRAINED, _BREAKER, _SINCE, _PROBED = range(6)
_SLOT: Final = 6

RUN, DRAIN, FORCE, LEAVE, ENDED, ENDED_BY_FORCE = range(6)
"""What the supervisor asks for: go on; drain; end at once; make way for a new image; say how it ended, and end."""

CONTROL: Final = -1
"""The index of the control process, where workers have 0 and on."""

UNKNOWN, UP, DOWN = range(3)
"""Health of a backend."""

_TRIES: Final = 200
_NOBODYS: Final = 1 << 60  # out of bounds: control admits nothing
_STATES: Final = 4


class BusyError(Exception):
    """The lock could not be had: its holder does not run. Nothing was changed."""


class Lock:
    """One for all processes. Waits for microseconds, or gives up: a stopped holder must not stop everybody."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("aegis-lock", os.MFD_CLOEXEC)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raises BusyError."""
        for attempt in range(_TRIES):
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if attempt == _TRIES - 1:
                    raise BusyError from None
                os.sched_yield()
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


class Board:
    """All the numbers. Made once, before the first fork."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.lock = Lock()
        self._slot = _SLOT + 2 * workers
        self._slots = _GLOBAL + workers * _WORKER
        memory = memoryview(mmap.mmap(-1, 8 * (self._slots + SLOTS * self._slot)))
        self._whole, self._real = memory.cast("q"), memory.cast("d")

    def __repr__(self) -> str:
        return f"<Board of {self.workers} workers, version {self.version}, generation {self.generation}>"

    # of all

    @property
    def version(self) -> int:
        """Changes with every change in any slot."""
        return self._whole[_VERSION]

    @property
    def generation(self) -> int:
        """Of the configuration in force."""
        return self._whole[_GENERATION]

    @generation.setter
    def generation(self, value: int) -> None:
        self._whole[_GENERATION] = value

    @property
    def stop(self) -> int:
        """RUN, DRAIN, FORCE, …"""
        return self._whole[_STOP]

    @stop.setter
    def stop(self, value: int) -> None:
        self._whole[_STOP] = value

    @property
    def hangups(self) -> int:
        """SIGHUPs that the supervisor was sent."""
        return self._whole[_HANGUPS]

    @hangups.setter
    def hangups(self, value: int) -> None:
        self._whole[_HANGUPS] = value

    @property
    def answered(self) -> int:
        """Those of them that are over, whatever came of them."""
        return self._whole[_ANSWERED]

    @answered.setter
    def answered(self, value: int) -> None:
        self._whole[_ANSWERED] = value

    @property
    def eligible(self) -> tuple[int, int]:
        """(backends that may be picked, all of them), as control sees them."""
        return self._whole[_ELIGIBLE], self._whole[_BACKENDS]

    @eligible.setter
    def eligible(self, value: tuple[int, int]) -> None:
        self._whole[_ELIGIBLE], self._whole[_BACKENDS] = value

    @property
    def screen(self) -> bool:
        """Whether a dashboard has the terminal, on which nobody else may write then."""
        return bool(self._whole[_SCREEN])

    @screen.setter
    def screen(self, value: bool) -> None:
        self._whole[_SCREEN] = int(value)

    @property
    def turned(self) -> float:
        """When control's loop turned last; 0 = it has not begun. Seconds, monotonic."""
        return self._real[_TURNED]

    @turned.setter
    def turned(self, value: float) -> None:
        self._real[_TURNED] = value

    @property
    def rate(self) -> float:
        """Requests per second and client; 0 = not said yet."""
        return self._real[_RATE]

    @rate.setter
    def rate(self, value: float) -> None:
        self._real[_RATE] = value

    @property
    def patience(self) -> tuple[float, float]:
        """server.shutdown_delay and server.shutdown_timeout, in seconds."""
        return self._real[_DELAY], self._real[_TIMEOUT]

    @patience.setter
    def patience(self, value: tuple[float, float]) -> None:
        self._real[_DELAY], self._real[_TIMEOUT] = value

    def worker(self, index: int) -> "WorkerCell":
        """One worker's numbers."""
        return WorkerCell(self._whole, self._real, _GLOBAL + index * _WORKER)

    def slot(self, number: int, worker: int) -> "Slot":
        """One backend's numbers, as this worker sees and changes them (CONTROL: as control does)."""
        return Slot(self, self._slots + number * self._slot, worker)

    def forget_worker(self, index: int) -> None:
        """A worker is dead: what it held in half-open is given back. By the supervisor."""
        self.worker(index).clear()
        with contextlib.suppress(BusyError), self.lock.held():
            for number in range(SLOTS):
                self._whole[self._slots + number * self._slot + _SLOT + 2 * index] = 0


class WorkerCell:
    """One worker's numbers."""

    def __init__(self, whole: "memoryview[int]", real: "memoryview[float]", base: int) -> None:
        self._whole, self._real, self._base = whole, real, base

    def __repr__(self) -> str:
        return f"<WorkerCell pid={self.pid} {'ready' if self.ready else 'not ready'}>"

    @property
    def pid(self) -> int:
        """Its process; 0 = none."""
        return int(self._whole[self._base + _PID])

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return bool(self._whole[self._base + _READY])

    @property
    def beat(self) -> float:
        """When its loop turned last, monotonic seconds."""
        return float(self._real[self._base + _BEAT])

    @property
    def applied(self) -> int:
        """The generation of the configuration that it goes by."""
        return int(self._whole[self._base + _APPLIED])

    @applied.setter
    def applied(self, generation: int) -> None:
        self._whole[self._base + _APPLIED] = generation

    @property
    def open(self) -> int:
        """Connections of clients."""
        return int(self._whole[self._base + _OPEN])

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return int(self._whole[self._base + _IN_FLIGHT])

    @property
    def gave_way(self) -> bool:
        """Whether it writes nothing on the terminal."""
        return bool(self._whole[self._base + _GAVE_WAY])

    @gave_way.setter
    def gave_way(self, value: bool) -> None:
        self._whole[self._base + _GAVE_WAY] = int(value)

    def serve(self, pid: int, generation: int) -> None:
        """It serves from now on."""
        self.applied = generation
        self._whole[self._base + _PID] = pid
        self._whole[self._base + _READY] = 1

    def turn(self, now: float, opened: int, in_flight: int) -> None:
        """Its loop turned."""
        self._real[self._base + _BEAT] = now
        self._whole[self._base + _OPEN] = opened
        self._whole[self._base + _IN_FLIGHT] = in_flight

    def clear(self) -> None:
        """It is gone."""
        for offset in range(_WORKER):
            self._whole[self._base + offset] = 0


class Slot:
    """One backend's numbers. The breaker's epoch counts its transitions; what refers to another epoch is refused."""

    __slots__ = ("_base", "_board", "_mine")

    def __init__(self, board: Board, base: int, worker: int) -> None:
        self._board = board
        self._base = base
        self._mine = base + _SLOT + 2 * worker if worker >= 0 else _NOBODYS

    # health, warm-up and drain: written by control

    def health(self) -> tuple[int, float, bool]:
        """(UNKNOWN, UP or DOWN; share of the weight; drained)."""
        whole, base = self._board._whole, self._base  # noqa: SLF001 - the board's other half
        return whole[base + _HEALTH], self._board._real[base + _SHARE] or 1.0, bool(whole[base + _DRAINED])  # noqa: SLF001

    def tell_health(self, health: int, share: float, *, drained: bool) -> None:
        """Raises BusyError."""
        whole, base = self._board._whole, self._base  # noqa: SLF001
        with self._board.lock.held():
            whole[base + _HEALTH], self._board._real[base + _SHARE] = health, share  # noqa: SLF001
            whole[base + _DRAINED] = int(drained)
            whole[_VERSION] += 1

    @property
    def probed_at(self) -> float | None:
        """When its last probe started, monotonic seconds; None before the first one. Written by control."""
        return self._board._real[self._base + _PROBED] or None  # noqa: SLF001

    @probed_at.setter
    def probed_at(self, value: float | None) -> None:
        self._board._real[self._base + _PROBED] = value or 0.0  # noqa: SLF001

    # the breaker: written by whoever sees something happen

    def breaker(self) -> tuple[int, int, float]:
        """(epoch, state as a number, since when on the monotonic clock)."""
        epoch, state = divmod(self._board._whole[self._base + _BREAKER], _STATES)  # noqa: SLF001
        return epoch, state, self._board._real[self._base + _SINCE]  # noqa: SLF001

    def move(self, epoch: int, state: int, now: float) -> bool:
        """Go on from `epoch` to `state`, for all. False when somebody else was first. Raises BusyError."""
        whole, base = self._board._whole, self._base  # noqa: SLF001
        with self._board.lock.held():
            if whole[base + _BREAKER] // _STATES != epoch:
                return False
            whole[base + _BREAKER] = (epoch + 1) * _STATES + state
            self._board._real[base + _SINCE] = now  # noqa: SLF001
            for offset in range(_SLOT, self._board._slot):  # noqa: SLF001
                whole[base + offset] = 0
            whole[_VERSION] += 1
            return True

    def free_permits(self, most: int) -> bool:
        """Whether fewer than `most` are out."""
        return sum(self._all(0)) < most

    def take_permit(self, epoch: int, most: int) -> bool:
        """One of the `most` permits of half-open, which all processes share. Raises BusyError."""
        with self._board.lock.held():
            if not self._is_at(epoch) or sum(self._all(0)) >= most:
                return False
            self._board._whole[self._mine] += 1  # noqa: SLF001
            return True

    def give_permit(self, epoch: int) -> None:
        """Back. Only its own worker writes the number, but a transition may clear it: hence the lock."""
        with self._board.lock.held():
            if self._is_at(epoch) and self._board._whole[self._mine] > 0:  # noqa: SLF001
                self._board._whole[self._mine] -= 1  # noqa: SLF001

    def count_success(self, epoch: int) -> int:
        """One more; returns those of all processes in this epoch. Raises BusyError."""
        with self._board.lock.held():
            if not self._is_at(epoch):
                return 0
            self._board._whole[self._mine + 1] += 1  # noqa: SLF001
            return sum(self._all(1))

    def clear(self) -> None:
        """For another backend. By control, while nobody has it."""
        with self._board.lock.held():
            for offset in range(self._board._slot):  # noqa: SLF001
                self._board._whole[self._base + offset] = 0  # noqa: SLF001
            self._board._whole[_VERSION] += 1  # noqa: SLF001

    def _is_at(self, epoch: int) -> bool:
        return bool(self._board._whole[self._base + _BREAKER] // _STATES == epoch)  # noqa: SLF001

    def _all(self, offset: int) -> "memoryview[int]":
        start = self._base + _SLOT + offset
        return self._board._whole[start : self._base + self._board._slot : 2]  # noqa: SLF001


def monotonic() -> float:
    """The clock of all of it: the same in every process of this machine."""
    return time.monotonic()
